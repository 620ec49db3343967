//! Everything that is known of destinations at one moment: lists, services, imitations. Immutable; a new one takes its
//! place when a list changes.

use std::net::IpAddr;
use std::sync::Arc;

use super::addresses::Addresses;
use super::lookalike::LookAlikes;
use super::name;
use super::services::{Service, Services};
use super::table::{Allowed, Effect, Fingerprints, Source, Table};

/// What is known of one destination.
#[derive(Clone, Debug, Default)]
pub struct Finding {
    /// The registrable domain; `None` for addresses and public suffixes.
    pub domain: Option<Box<str>>,
    /// From lists and the service; sorted, each once.
    pub categories: Box<[Arc<str>]>,
    /// Lists behind the categories, each with its version: `jpcert-c2@a1b2c3d4e5f6`.
    pub feeds: Box<[Arc<str>]>,
    pub service: Option<Arc<Service>>,
    /// One of the lists is one that raises alerts.
    pub alert: bool,
}

/// What a feed is to its entries.
#[derive(Debug)]
pub struct FeedFacts {
    /// Name and version.
    pub shown: Arc<str>,
    /// Sorted.
    pub categories: Box<[Arc<str>]>,
    pub alert: bool,
    /// Its allowing entries count against all lists, not only its own.
    pub exempts: bool,
}

/// One state of all lists.
#[derive(Debug)]
pub struct Lists {
    pub(super) version: u64,
    /// Required feeds that have never been loaded.
    pub(super) missing: Vec<Box<str>>,
    pub(super) fingerprints: Fingerprints,
    pub(super) table: Table,
    pub(super) allowed: Allowed,
    pub(super) addresses: Addresses,
    pub(super) sets: Box<[Box<[Source]>]>,
    pub(super) feeds: Box<[FeedFacts]>,
    pub(super) services: Arc<Services>,
    pub(super) look_alikes: Arc<LookAlikes>,
    pub(super) look_alike: Arc<str>,
    pub(super) mixed_script: Arc<str>,
}

impl Lists {
    /// Grows with every change; also across configurations, as long as each is built from the one before.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Whether every required list has been loaded. Until then nothing can be said of any destination.
    pub fn ready(&self) -> bool {
        self.missing.is_empty()
    }

    /// Required lists that have never been loaded.
    pub fn missing(&self) -> &[Box<str>] {
        &self.missing
    }

    /// Names in blocking lists.
    pub fn names(&self) -> usize {
        self.table.len()
    }

    /// Bytes of the table of blocked names.
    pub fn bytes(&self) -> usize {
        self.table.bytes()
    }

    /// What is known of `host`: lower case, A-labels, no final dot; an address literal (with `address`) without brackets.
    pub fn find(&self, host: &str, address: bool) -> Finding {
        if address {
            let service = self.services.find(host).cloned();
            return match host.parse() {
                Ok(ip) => self.conclude(None, self.at(ip), Vec::new(), service),
                Err(_) => self.conclude(None, Vec::new(), Vec::new(), service),
            };
        }
        let domain = name::registrable(host);
        let service = self.services.find(host).cloned();
        let mut sources = Vec::new();
        self.table.find(&self.fingerprints, host, |set| {
            sources.extend(self.members(set));
        });
        let mut resemblances = match (&service, domain) {
            (None, Some(domain)) => self.look_alikes.find(host, domain),
            _ => Vec::new(),
        };
        // Exemptions matter only where there is something to be exempt from.
        if !sources.is_empty() || !resemblances.is_empty() {
            self.allowed.find(host, |source| sources.push(source));
        }
        if sources.iter().any(|source| self.exempts(*source)) {
            resemblances.clear();
        }
        let resemblances = resemblances.into_iter().map(|one| {
            let category = if one.category == super::lookalike::LOOK_ALIKE {
                &self.look_alike
            } else {
                &self.mixed_script
            };
            (Arc::clone(category), one.evidence)
        });
        self.conclude(domain, sources, resemblances.collect(), service)
    }

    /// What lists of addresses say of `ip`, where `host` lies. What a list allows by name, it allows wherever that lies.
    pub fn of_address_behind(&self, host: &str, ip: IpAddr) -> Finding {
        let mut sources = self.at(ip);
        if !sources.is_empty() {
            self.allowed.find(host, |source| sources.push(source));
        }
        self.conclude(None, sources, Vec::new(), None)
    }

    fn at(&self, ip: IpAddr) -> Vec<Source> {
        let set = self.addresses.find(ip);
        set.map(|set| self.members(set).to_vec())
            .unwrap_or_default()
    }

    fn members(&self, set: u32) -> &[Source] {
        let index = usize::try_from(set).unwrap_or(usize::MAX);
        self.sets
            .get(index)
            .map(|sources| &**sources)
            .unwrap_or_default()
    }

    /// Whether an entry takes the categories of all lists away.
    fn exempts(&self, source: Source) -> bool {
        source.effect() == Effect::Allow
            && self
                .feeds
                .get(source.feed())
                .is_some_and(|feed| feed.exempts)
    }

    fn conclude(
        &self,
        domain: Option<&str>,
        mut sources: Vec<Source>,
        resemblances: Vec<(Arc<str>, Arc<str>)>,
        service: Option<Arc<Service>>,
    ) -> Finding {
        sources.sort_unstable();
        sources.dedup();
        let exempt = sources.iter().any(|source| self.exempts(*source));
        let allowed = |feed| {
            let own = sources
                .iter()
                .any(|one| one.effect() == Effect::Allow && one.feed() == feed);
            exempt || own
        };
        let blocking = sources.iter().filter(|source| match source.effect() {
            Effect::Important => true,
            Effect::Block => !allowed(source.feed()),
            Effect::Allow => false,
        });
        let mut categories: Vec<Arc<str>> = Vec::new();
        let mut feeds: Vec<Arc<str>> = Vec::new();
        let mut alert = false;
        for feed in blocking.filter_map(|source| self.feeds.get(source.feed())) {
            categories.extend(feed.categories.iter().cloned());
            feeds.push(Arc::clone(&feed.shown));
            alert |= feed.alert;
        }
        for (category, evidence) in resemblances {
            categories.push(category);
            feeds.push(evidence);
        }
        if let Some(service) = &service {
            categories.extend(service.categories.iter().cloned());
        }
        categories.sort_unstable();
        categories.dedup();
        feeds.sort_unstable();
        feeds.dedup();
        Finding {
            domain: domain.map(Into::into),
            categories: categories.into(),
            feeds: feeds.into(),
            service,
            alert,
        }
    }
}
