//! What the administrators' listener and the metrics may see of the running gateway.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use masugata_policy::Timestamp;
use serde_json::{Value, json};

use crate::admin::{AdminView, Check};
use crate::destination::FeedStatus;
use crate::gateway::Shared;
use crate::limits::lockout::LockoutEntry;
use crate::metrics::{
    AuditReading, CertificateReading, EgressReading, ListReading, Readings, UpstreamReading,
};
use crate::state::{Backend, EgressState};

/// See the module's first line.
pub(crate) struct View {
    shared: Arc<Shared>,
}

impl View {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

impl AdminView for View {
    fn readiness(&self) -> Vec<Check> {
        let shared = &self.shared;
        let mut checks = vec![Check::passed("configuration")];
        checks.push(if shared.auditor.healthy() {
            Check::passed("audit")
        } else {
            Check::failed(
                "audit",
                "the record cannot be written: disk full, or slower than the requests",
            )
        });
        checks.push(if shared.drain.has_begun() {
            Check::failed("serving", "stopping: no new connections are accepted")
        } else {
            Check::passed("serving")
        });
        let state = shared.state();
        for issuer in state.issuers.status(shared.clock.now()) {
            if !issuer.available {
                // A single provider that is away must not take the gateway out of service for the others.
                let problem = issuer
                    .error
                    .as_deref()
                    .unwrap_or("its keys have not been fetched yet");
                tracing::warn!(issuer = %issuer.name, problem, "tokens of this issuer cannot be verified");
            }
        }
        checks
    }

    fn configuration(&self) -> Value {
        crate::config::redacted(&self.shared.state().config)
    }

    fn metrics(&self) -> String {
        self.shared.count_decisions();
        // Writing to a string cannot fail; an empty scrape would be noticed.
        self.shared.metrics.encode().unwrap_or_default()
    }

    fn lockouts(&self) -> Vec<LockoutEntry> {
        self.shared.lockout.list(self.shared.clock.monotonic())
    }

    fn tunnels(&self, hosts: bool) -> Value {
        let state = self.shared.state();
        let Some(egress) = &state.egress else {
            return json!({ "open": 0 });
        };
        let mut tunnels = json!({ "open": egress.tunnels.len() });
        if hosts && let Some(members) = tunnels.as_object_mut() {
            let most = egress.tunnels.by_destination(MOST_HOSTS).into_iter();
            let most = most.map(|(host, open)| json!({ "host": &*host, "open": open }));
            members.insert("hosts".into(), most.collect());
            let held = egress.tunnels.by_owner(MOST_HOSTS).into_iter();
            let held = held.map(|(held, open)| {
                json!({
                    "user": held.user, "device": &*held.device, "host": &*held.host,
                    "port": held.port, "policy": held.policy, "open": open,
                })
            });
            members.insert("tunnels".into(), held.collect());
        }
        tunnels
    }

    fn lists(&self) -> Value {
        let state = self.shared.state();
        let lists = state
            .egress
            .as_ref()
            .map(|egress| egress.catalogue.status());
        lists.unwrap_or_default().iter().map(list).collect()
    }

    fn lift_lockout(&self, key: &str) -> bool {
        let lifted = self.shared.lockout.lift(key);
        if let Some(source) = &lifted {
            self.shared.record("lockout-lifted", source.clone());
        }
        lifted.is_some()
    }
}

fn list(list: &FeedStatus) -> Value {
    let at = |at: Option<Timestamp>| {
        at.and_then(|at| jiff::Timestamp::from_millisecond(at.as_millis()).ok())
            .map(|at| at.to_string())
    };
    json!({
        "name": &*list.name,
        "required": list.required,
        "version": list.version.as_deref(),
        "entries": list.entries,
        "bad_lines": list.bad,
        "first_bad_line": list.first_bad,
        "unsupported_lines": list.unsupported,
        "loaded_at": at(list.loaded_at),
        "checked_at": at(list.checked_at),
        "confirmed_at": at(list.confirmed_at),
        "fault": list.fault.as_deref(),
    })
}

/// Lines in a list of tunnels.
const MOST_HOSTS: usize = 100;

/// Lets the metrics read what is a state and not a count.
pub(crate) fn read_states(shared: &Arc<Shared>) {
    // Weak: the metrics belong to what they read.
    let weak = Arc::downgrade(shared);
    shared.metrics.read_states_from(move || {
        weak.upgrade()
            .map(|shared| readings(&shared))
            .unwrap_or_default()
    });
}

fn readings(shared: &Arc<Shared>) -> Readings {
    let state = shared.state();
    let counters = shared.auditor.counters();
    let mut upstreams = Vec::new();
    for app in &state.apps {
        if let Backend::Proxy(forward) = &app.backend {
            upstreams.extend(
                forward
                    .group()
                    .servers()
                    .iter()
                    .map(|server| UpstreamReading {
                        app: app.name.to_string(),
                        server: server.authority().to_string(),
                        healthy: server.is_healthy() && !server.is_ejected(),
                    }),
            );
        }
    }
    Readings {
        audit: AuditReading {
            queued: shared.auditor.depth() as u64,
            written: counters.written.load(Ordering::Relaxed),
            lost: counters.lost.load(Ordering::Relaxed),
            healthy: shared.auditor.healthy(),
        },
        generation: state.generation,
        loaded_at: Some(state.loaded_at),
        certificates: state
            .certificates
            .summaries()
            .iter()
            .map(|summary| CertificateReading {
                name: summary.names.first().unwrap_or(&summary.subject).clone(),
                not_after_seconds: summary.not_after_seconds,
            })
            .collect(),
        upstreams,
        people_inactive: shared.people.as_ref().map(|people| people.inactive()),
        sessions: shared
            .desk(&state)
            .sessions
            .map(|sessions| sessions.count() as u64),
        egress: state
            .egress
            .as_deref()
            .map(|egress| door(egress, shared.clock.now())),
    }
}

fn door(egress: &EgressState, now: Timestamp) -> EgressReading {
    let lists = egress.catalogue.status().into_iter();
    EgressReading {
        tunnels: egress.tunnels.len(),
        cuts: egress.tunnels.cuts().collect(),
        lists: lists
            .map(|list| ListReading {
                feed: list.name.into(),
                entries: usize::try_from(list.entries).unwrap_or(usize::MAX),
                age: list.confirmed_at.or(list.loaded_at).map(|at| now.since(at)),
            })
            .collect(),
    }
}
