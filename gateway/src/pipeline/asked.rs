//! What a request asks for: the one place where the two doors differ for the stages.

use std::net::IpAddr;
use std::sync::Arc;

use masugata_policy::{Destination, Resource, Whereto};

use crate::audit::event::DestinationRecord;
use crate::config::Requirements;
use crate::destination::Finding;
use crate::limits::quota::AppLimits;
use crate::metrics::AppMetrics;
use crate::state::{AppState, EgressState, State};

/// See the module's first line.
pub(super) enum Asked {
    /// One of ours.
    App(Arc<AppState>),
    /// Somewhere on the Internet.
    Destination(Box<Errand>),
}

/// A request to the proxy.
pub(super) struct Errand {
    pub(super) egress: Arc<EgressState>,
    pub(super) goal: Goal,
    pub(super) known: Known,
}

/// Where it wants to go, in its own words.
#[derive(Clone, Debug)]
pub(super) struct Goal {
    /// Lower case, without a final dot; an IPv6 literal without brackets.
    pub(super) host: Box<str>,
    pub(super) port: u16,
    /// CONNECT; otherwise one request that is forwarded.
    pub(super) tunnel: bool,
    /// The address, if that is what was asked for.
    pub(super) literal: Option<IpAddr>,
}

/// What is known of that place under one configuration and one version of the lists.
pub(super) struct Known {
    pub(super) finding: Finding,
    /// Version of the lists.
    pub(super) lists: u64,
    /// All lists that must be there are.
    pub(super) ready: bool,
    pub(super) class: Arc<Destination>,
}

impl Asked {
    /// What must hold before any policy is asked.
    pub(super) fn requirements(&self) -> &Requirements {
        match self {
            Self::App(app) => &app.config.requirements,
            Self::Destination(errand) => &errand.egress.config.requirements,
        }
    }

    /// What policies are asked about.
    pub(super) fn resource(&self) -> Resource<'_> {
        match self {
            Self::App(app) => Resource::App(&app.policy),
            Self::Destination(errand) => Resource::Destination(&errand.known.class),
        }
    }

    pub(super) fn limits(&self) -> &AppLimits {
        match self {
            Self::App(app) => &app.limits,
            Self::Destination(errand) => &errand.egress.limits,
        }
    }

    pub(super) fn metrics(&self) -> &Arc<AppMetrics> {
        match self {
            Self::App(app) => &app.metrics,
            Self::Destination(errand) => &errand.egress.metrics,
        }
    }
}

impl Errand {
    /// For the record.
    pub(super) fn record(&self) -> Box<DestinationRecord> {
        let (goal, finding) = (&self.goal, &self.known.finding);
        Box::new(DestinationRecord {
            host: goal.host.clone(),
            port: goal.port,
            tunnel: goal.tunnel,
            address: goal.literal.is_some(),
            domain: finding.domain.clone(),
            categories: finding.categories.clone(),
            feeds: finding.feeds.clone(),
            lists: self.known.lists,
            service: finding
                .service
                .as_ref()
                .map(|service| Arc::clone(&service.policy)),
            observed: false,
            addresses: Vec::new(),
        })
    }
}

impl Goal {
    /// What lists and services say of it, also by the addresses `at` which it lies, and its class for the policies.
    pub(super) fn known(&self, state: &State, egress: &EgressState, at: &[IpAddr]) -> Known {
        let lists = egress.catalogue.lists();
        let mut finding = lists.find(&self.host, self.literal.is_some());
        for address in at.iter().chain(&self.literal) {
            add(&mut finding, &lists.of_address_behind(&self.host, *address));
        }
        let class = state.policies.place(&Whereto {
            host: &self.host,
            port: self.port,
            address: self.literal.is_some(),
            domain: finding.domain.as_deref(),
            categories: &finding.categories,
            service: finding.service.as_ref().map(|service| &service.policy),
        });
        Known {
            lists: lists.version(),
            ready: lists.ready(),
            finding,
            class,
        }
    }
}

impl Known {
    /// What reasons are given for: the site rather than one of its hosts, whose number nobody knows.
    pub(super) fn site<'a>(&'a self, goal: &'a Goal) -> &'a str {
        self.finding.domain.as_deref().unwrap_or(&goal.host)
    }
}

/// What lists say of an address joins what they say of the name.
fn add(finding: &mut Finding, more: &Finding) {
    finding.alert |= more.alert;
    union(&mut finding.categories, &more.categories);
    union(&mut finding.feeds, &more.feeds);
}

/// Sorted as both were.
fn union(words: &mut Box<[Arc<str>]>, more: &[Arc<str>]) {
    if more.iter().all(|word| words.contains(word)) {
        return;
    }
    let mut all: Vec<Arc<str>> = words.iter().chain(more).map(Arc::clone).collect();
    all.sort_unstable();
    all.dedup();
    *words = all.into();
}
