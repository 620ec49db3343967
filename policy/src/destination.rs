//! Destinations on the Internet as policies see them: not one value per host, but one per *class* of hosts that the loaded
//! policies can tell apart.
//!
//! There are more hosts than could ever be remembered, and a policy names few of them. [`PolicySet::place`] keeps of a
//! destination exactly what some policy can read: its host if one names it, those of its suffixes that are named, and so
//! on. Equal classes are the same `Arc`, so that a person has a handful of remembered decisions, whatever he browses. What
//! no policy reads cannot change an answer; `tests::equivalence` holds this against the whole truth.

use std::borrow::Cow;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use ahash::AHashSet;
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{Equivalent, Weighter};

use crate::facts::Attributes;
use crate::request::{Level, next_revision};
use crate::schema::vocabulary;
use crate::set::PolicySet;

/// A cloud service that the configuration knows by name.
#[derive(Debug)]
pub struct CloudService {
    revision: u64,
    name: Box<str>,
    level: Option<Level>,
    tenant: Option<Box<str>>,
    groups: Vec<Box<str>>,
}

impl CloudService {
    /// A service as the configuration declares it. Groups are those that apps can be in as well.
    pub fn new(
        name: &str,
        level: Option<Level>,
        tenant: Option<&str>,
        groups: impl IntoIterator<Item = impl Into<Box<str>>>,
    ) -> Self {
        let mut groups: Vec<Box<str>> = groups.into_iter().map(Into::into).collect();
        groups.sort_unstable();
        groups.dedup();
        Self {
            revision: next_revision(),
            name: name.into(),
            level,
            tenant: tenant.map(Into::into),
            groups,
        }
    }

    /// The configured name.
    pub fn name(&self) -> &str {
        &self.name
    }
    /// Which level of information may go there, if the configuration says so.
    pub fn level(&self) -> Option<Level> {
        self.level
    }
    /// Which of the service's customers we are.
    pub fn tenant(&self) -> Option<&str> {
        self.tenant.as_deref()
    }
    /// App groups, sorted.
    pub fn groups(&self) -> &[Box<str>] {
        &self.groups
    }
}

/// Everything that is known of where a request wants to go.
#[derive(Clone, Copy, Debug)]
pub struct Whereto<'a> {
    /// Lower case, A-labels, no final dot; an IPv6 literal without brackets.
    pub host: &'a str,
    /// The port that was asked for.
    pub port: u16,
    /// `host` is an IP literal.
    pub address: bool,
    /// The registrable domain by the Public Suffix List; `None` for literals and public suffixes.
    pub domain: Option<&'a str>,
    /// From lists and from `service`; sorted.
    pub categories: &'a [Arc<str>],
    /// The configured service that `host` belongs to.
    pub service: Option<&'a Arc<CloudService>>,
}

/// A class of destinations; made by [`PolicySet::place`] and meaningful to that set only: another set denies it.
#[derive(Debug)]
pub struct Destination {
    revision: u64,
    set: u64,
    /// The host, if a policy names it.
    named: Option<Box<str>>,
    /// Suffixes of the host that policies name, the longest first.
    domains: Box<[Box<str>]>,
    /// Those that policies name.
    categories: Box<[Arc<str>]>,
    service: Option<Arc<CloudService>>,
    address: bool,
    // What follows is there only if some policy reads the attribute.
    host: Option<Box<str>>,
    port: Option<u16>,
    domain: Option<Box<str>>,
}

impl Destination {
    /// Unique in this process: two destinations with the same revision are the same class.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The id in `Masugata::Destination::"…"`. No policy can name `-`, which is no host.
    pub(crate) fn id(&self) -> &str {
        self.named.as_deref().unwrap_or("-")
    }
    pub(crate) fn domains(&self) -> &[Box<str>] {
        &self.domains
    }
    pub(crate) fn categories(&self) -> &[Arc<str>] {
        &self.categories
    }
    pub(crate) fn service(&self) -> Option<&CloudService> {
        self.service.as_deref()
    }
    pub(crate) fn is_address(&self) -> bool {
        self.address
    }
    pub(crate) fn host(&self) -> Option<&str> {
        self.host.as_deref()
    }
    pub(crate) fn port(&self) -> Option<u16> {
        self.port
    }
    pub(crate) fn domain(&self) -> Option<&str> {
        self.domain.as_deref()
    }

    fn class(&self) -> Class<'_> {
        Class {
            named: self.named.as_deref(),
            within: self.domains.first().map(|domain| &**domain),
            categories: Chosen {
                all: &self.categories,
                named: Names::ALL,
            },
            service: self.service.as_ref(),
            address: self.address,
            host: self.host.as_deref(),
            port: self.port,
            domain: self.domain.as_deref(),
        }
    }

    fn texts(&self) -> usize {
        let texts = [&self.named, &self.host, &self.domain];
        let texts = texts.into_iter().flatten().map(|text| text.len());
        let domains = self.domains.iter().map(|domain| domain.len() + 16);
        texts.sum::<usize>() + domains.sum::<usize>() + 16 * self.categories.len()
    }
}

impl PolicySet {
    /// What this set can tell apart of `to`. Equal classes are the same value, as long as they are remembered.
    pub fn place(&self, to: &Whereto<'_>) -> Arc<Destination> {
        self.placer.place(to)
    }

    /// Domains that policies name, in no order: the gateway checks that none is a public suffix.
    pub fn mentioned_domains(&self) -> Vec<&str> {
        self.placer.domains.words().collect()
    }
}

/// Words that policies name; without a set every word counts as named.
#[derive(Debug)]
pub(crate) struct Names(Option<AHashSet<Box<str>>>);

impl Names {
    const ALL: &'static Self = &Self(None);

    fn contains(&self, word: &str) -> bool {
        self.0.as_ref().is_none_or(|words| words.contains(word))
    }

    fn words(&self) -> impl Iterator<Item = &str> {
        self.0.iter().flatten().map(|word| &**word)
    }
}

/// Places destinations for one policy set.
#[derive(Debug)]
pub(crate) struct Placer {
    set: u64,
    hosts: Names,
    domains: Names,
    categories: Names,
    attributes: Attributes,
    classes: Cache<Kept, Arc<Destination>, Bytes, ahash::RandomState, Lifecycle>,
}

type Lifecycle = DefaultLifecycle<Kept, Arc<Destination>>;

impl Placer {
    const BYTES: u64 = 16 << 20;

    /// For policies that read `attributes` of `resource`.
    pub(crate) fn new<'a>(
        policies: impl Iterator<Item = &'a cedar_policy::Policy>,
        attributes: Attributes,
    ) -> Self {
        let words = vocabulary();
        let [mut hosts, mut domains, mut categories] = [const { Vec::new() }; 3];
        for literal in policies.flat_map(cedar_policy::Policy::entity_literals) {
            let list = if *literal.type_name() == words.destination {
                &mut hosts
            } else if *literal.type_name() == words.domain {
                &mut domains
            } else if *literal.type_name() == words.category {
                &mut categories
            } else {
                continue;
            };
            list.push(Box::from(literal.id().unescaped()));
        }
        let names = |list: Vec<Box<str>>| Names(Some(list.into_iter().collect()));
        Self::with(names(hosts), names(domains), names(categories), attributes)
    }

    fn with(hosts: Names, domains: Names, categories: Names, attributes: Attributes) -> Self {
        Self {
            set: next_revision(),
            hosts,
            domains,
            categories,
            attributes,
            classes: Cache::with(
                4096,
                Self::BYTES,
                Bytes,
                ahash::RandomState::new(),
                DefaultLifecycle::default(),
            ),
        }
    }

    /// Leaves nothing out, as if policies named and read everything; places for the set of `self`.
    #[cfg(test)]
    pub(crate) fn whole(&self) -> Self {
        let all = || Names(None);
        Self {
            set: self.set,
            ..Self::with(all(), all(), all(), Attributes::ALL)
        }
    }

    #[cfg(test)]
    pub(crate) fn weight(&self) -> u64 {
        self.classes.weight()
    }

    /// Whether `destination` means anything to this set: a class of another one may lack what a policy here reads.
    pub(crate) fn made(&self, destination: &Destination) -> bool {
        destination.set == self.set
    }

    pub(crate) fn place(&self, to: &Whereto<'_>) -> Arc<Destination> {
        let host = normal(to.host);
        let class = self.class(to, &host);
        if let Some(known) = self.classes.get(&class) {
            return known;
        }
        // Two at once may make the same class twice; that costs one decision and nothing else.
        let made = Arc::new(self.destination(&class, &host));
        self.classes
            .insert(Kept(Arc::clone(&made)), Arc::clone(&made));
        made
    }

    fn class<'a>(&'a self, to: &Whereto<'a>, host: &'a str) -> Class<'a> {
        Class {
            named: self.hosts.contains(host).then_some(host),
            within: self.suffixes(to.address, host).next(),
            categories: Chosen {
                all: to.categories,
                named: &self.categories,
            },
            service: to.service,
            address: to.address,
            host: self.attributes.host.then_some(host),
            port: self.attributes.port.then_some(to.port),
            domain: to.domain.filter(|_| self.attributes.domain),
        }
    }

    /// Those that policies name, the longest first. The parts of an address are no domains.
    fn suffixes<'a>(&'a self, address: bool, host: &'a str) -> impl Iterator<Item = &'a str> {
        let first = (!address).then_some(host);
        let suffixes = std::iter::successors(first, |name| Some(name.split_once('.')?.1));
        suffixes.filter(|name| self.domains.contains(name))
    }

    fn destination(&self, class: &Class<'_>, host: &str) -> Destination {
        Destination {
            revision: next_revision(),
            set: self.set,
            named: class.named.map(Into::into),
            domains: self.suffixes(class.address, host).map(Into::into).collect(),
            categories: class.categories.iter().map(Arc::clone).collect(),
            service: class.service.cloned(),
            address: class.address,
            host: class.host.map(Into::into),
            port: class.port,
            domain: class.domain.map(Into::into),
        }
    }
}

/// A name that is spelt otherwise is not another name. The gateway hands in the normal form; a forbid must not depend on it.
fn normal(host: &str) -> Cow<'_, str> {
    let host = host.strip_suffix('.').unwrap_or(host);
    if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(host.to_ascii_lowercase())
    } else {
        Cow::Borrowed(host)
    }
}

/// The categories of a destination that policies name.
#[derive(Clone, Copy)]
struct Chosen<'a> {
    all: &'a [Arc<str>],
    named: &'a Names,
}

impl<'a> Chosen<'a> {
    fn iter(self) -> impl Iterator<Item = &'a Arc<str>> {
        self.all
            .iter()
            .filter(move |category| self.named.contains(category))
    }
}

/// What makes two destinations the same. Borrowed, so that looking one up allocates nothing.
#[derive(Clone, Copy)]
struct Class<'a> {
    named: Option<&'a str>,
    /// The longest suffix that policies name; the shorter ones follow from it.
    within: Option<&'a str>,
    categories: Chosen<'a>,
    service: Option<&'a Arc<CloudService>>,
    address: bool,
    host: Option<&'a str>,
    port: Option<u16>,
    domain: Option<&'a str>,
}

impl<'a> Class<'a> {
    /// All but the categories.
    fn rest(&self) -> impl PartialEq + Hash + use<'a> {
        (
            (self.named, self.within, self.host, self.domain),
            self.service.map(|service| service.revision),
            (self.address, self.port),
        )
    }
}

impl PartialEq for Class<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.rest() == other.rest() && self.categories.iter().eq(other.categories.iter())
    }
}

impl Hash for Class<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.rest().hash(state);
        self.categories
            .iter()
            .for_each(|category| category.hash(state));
    }
}

/// The class of a destination, as a key.
#[derive(Debug)]
struct Kept(Arc<Destination>);

impl PartialEq for Kept {
    fn eq(&self, other: &Self) -> bool {
        self.0.class() == other.0.class()
    }
}

impl Eq for Kept {}

impl Hash for Kept {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.class().hash(state);
    }
}

impl Equivalent<Kept> for Class<'_> {
    fn equivalent(&self, kept: &Kept) -> bool {
        *self == kept.0.class()
    }
}

/// Roughly, what a class costs beside its texts.
#[derive(Clone, Copy, Debug)]
struct Bytes;

impl Weighter<Kept, Arc<Destination>> for Bytes {
    fn weight(&self, _: &Kept, destination: &Arc<Destination>) -> u64 {
        256 + destination.texts() as u64
    }
}
