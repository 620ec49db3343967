//! Requests for `http://` destinations.
//!
//! Each destination is an app of its own to [`crate::forward`], on addresses that were checked; it is made on first use
//! and kept with its connections while it is used. Key is host, port *and* addresses: an answer of another name server
//! never meets a connection that was made under an older one.

use std::hash::{Hash, Hasher};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use http::uri::{Authority, Scheme};
use quick_cache::Equivalent;
use quick_cache::sync::Cache;

use super::guard::Checked;
use crate::config::{
    HostHeader, PassiveHealth, Timeouts, Upstream, UpstreamProtocol, UpstreamServer, UpstreamTls,
};
use crate::forward::{AppForward, ForwardError, Instance};
use crate::upstream::{Group, TICK, UpstreamError};

/// Destinations whose connections are kept.
const DESTINATIONS: usize = 1024;
/// Connections to one of them.
const CONNECTIONS: usize = 256;
/// Idle ones that are kept, and how long.
const IDLE_CONNECTIONS: usize = 8;
const IDLE: Duration = Duration::from_secs(30);
/// Ticks between two looks at idle connections.
const SWEEP: u64 = 8;

/// See the module's first lines.
pub struct Plain {
    timeouts: Timeouts,
    instance: Arc<Instance>,
    known: Cache<Key, Arc<AppForward>>,
    /// Counts for all of them: a clock that costs one load.
    ticks: Arc<AtomicU64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Key {
    host: Box<str>,
    port: u16,
    addresses: Box<[SocketAddr]>,
}

/// A key that is looked up by.
struct Asked<'a> {
    host: &'a str,
    port: u16,
    addresses: &'a [SocketAddr],
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&*self.host, self.port, &*self.addresses).hash(state);
    }
}

impl Hash for Asked<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.host, self.port, self.addresses).hash(state);
    }
}

impl Equivalent<Key> for Asked<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        self.port == key.port && *self.host == *key.host && *self.addresses == *key.addresses
    }
}

impl Plain {
    /// Makes it, or takes over `previous` with its connections if the time limits are the same. Inside a Tokio runtime it
    /// starts one task that closes idle connections, until it is dropped.
    pub fn build(
        timeouts: &Timeouts,
        instance: &Arc<Instance>,
        previous: Option<&Arc<Self>>,
    ) -> Arc<Self> {
        let same = |previous: &&Arc<Self>| {
            let (ours, theirs) = (&previous.timeouts, timeouts);
            ours.connect == theirs.connect
                && ours.response_header == theirs.response_header
                && ours.idle == theirs.idle
                && ours.total == theirs.total
                && previous.instance.pseudonym() == instance.pseudonym()
        };
        if let Some(previous) = previous.filter(same) {
            return Arc::clone(previous);
        }
        let plain = Arc::new(Self {
            timeouts: timeouts.clone(),
            instance: Arc::clone(instance),
            known: Cache::new(DESTINATIONS),
            ticks: Arc::default(),
        });
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(keep_house(Arc::downgrade(&plain)));
        }
        plain
    }

    /// The destination as [`crate::forward::forward`] takes it; `host` is lower case, an IPv6 address in brackets.
    ///
    /// # Errors
    /// `Malformed` when `host` is none.
    pub fn app_for(
        &self,
        host: &str,
        port: u16,
        checked: &Checked,
    ) -> Result<Arc<AppForward>, ForwardError> {
        let asked = Asked {
            host,
            port,
            addresses: checked.addresses(),
        };
        if let Some(app) = self.known.get(&asked) {
            return Ok(app);
        }
        let app = self
            .make(&asked)
            .map_err(|_| ForwardError::Malformed("its host is not one"))?;
        let key = Key {
            host: host.into(),
            port,
            addresses: asked.addresses.into(),
        };
        self.known.insert(key, Arc::clone(&app));
        Ok(app)
    }

    fn make(&self, asked: &Asked<'_>) -> Result<Arc<AppForward>, UpstreamError> {
        let not_a_host = |_| UpstreamError::plain("not a host");
        let Asked { host, port, .. } = asked;
        let authority = Authority::try_from(format!("{host}:{port}")).map_err(not_a_host)?;
        // RFC 9110 §4.2.1: what everybody assumes is not said.
        let told = match port {
            80 => Authority::try_from(*host).map_err(not_a_host)?,
            _ => authority.clone(),
        };
        let upstream = definition(authority);
        let group = Group::pinned(
            host,
            &upstream,
            self.timeouts.connect,
            asked.addresses,
            &self.ticks,
        )?;
        AppForward::abroad(group, &told, &self.timeouts, &self.instance)
    }
}

fn definition(authority: Authority) -> Upstream {
    Upstream {
        servers: vec![UpstreamServer {
            scheme: Scheme::HTTP,
            authority,
        }],
        protocol: UpstreamProtocol::Http1,
        tls: UpstreamTls {
            authority: None,
            client_certificate: None,
            server_name: None,
            insecure: false,
        },
        rewrite_prefix: None,
        host_header: HostHeader::Preserve,
        health: None,
        // One server is never ejected.
        passive: PassiveHealth {
            failures: u32::MAX,
            ejection: Duration::ZERO,
        },
        // Whether to ask again is for the client to decide.
        retries: 0,
        max_connections: CONNECTIONS,
        max_idle: IDLE_CONNECTIONS,
        idle_timeout: IDLE,
    }
}

async fn keep_house(plain: Weak<Plain>) {
    let mut interval = tokio::time::interval(TICK);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Burst);
    loop {
        interval.tick().await;
        let Some(plain) = plain.upgrade() else {
            return;
        };
        if plain.ticks.fetch_add(1, Ordering::Relaxed) % SWEEP == SWEEP - 1 {
            let all: Vec<_> = plain.known.iter().map(|(_, app)| app).collect();
            for app in all {
                app.group().sweep();
            }
        }
    }
}

impl std::fmt::Debug for Plain {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Plain")
            .field("destinations", &self.known.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::super::guard::{Guard, OwnAddresses};
    use super::*;
    use crate::capability::SystemEntropy;
    use crate::config::egress::{DomainPattern, Reach};
    use crate::upstream::TlsTerms;

    fn instance() -> Arc<Instance> {
        Arc::new(Instance::new(
            Arc::new(SystemEntropy::default()),
            TlsTerms {
                profile: masugata_certs::Profile::CryptrecRecommended,
                hybrid: true,
                time: Arc::new(rustls::time_provider::DefaultTimeProvider),
            },
        ))
    }

    fn timeouts(connect: u64) -> Timeouts {
        Timeouts {
            connect: Duration::from_secs(connect),
            response_header: Duration::from_secs(60),
            idle: Duration::from_secs(60),
            total: None,
        }
    }

    fn checked(address: &str) -> Checked {
        let reach = Reach {
            hosts: vec![DomainPattern {
                name: "name.example".to_owned(),
                below: false,
            }],
            ranges: vec!["127.0.0.0/8".parse().unwrap()],
            ports: vec![80, 8080],
        };
        let guard = Guard::new(&[reach], OwnAddresses::default());
        guard
            .check("name.example", vec![address.parse().unwrap()])
            .unwrap()
    }

    #[test]
    fn a_destination_is_one_while_its_addresses_are_the_same() {
        let plain = Plain::build(&timeouts(5), &instance(), None);
        let first = plain
            .app_for("name.example", 80, &checked("127.0.0.1:80"))
            .unwrap();
        let again = plain
            .app_for("name.example", 80, &checked("127.0.0.1:80"))
            .unwrap();
        assert!(Arc::ptr_eq(&first, &again));
        let moved = plain
            .app_for("name.example", 80, &checked("127.0.0.2:80"))
            .unwrap();
        assert!(!Arc::ptr_eq(&first, &moved));
        let other = plain
            .app_for("name.example", 8080, &checked("127.0.0.1:8080"))
            .unwrap();
        assert!(!Arc::ptr_eq(&first, &other));
    }

    #[test]
    fn literals_in_brackets_are_hosts_and_nonsense_is_refused() {
        let plain = Plain::build(&timeouts(5), &instance(), None);
        let checked = checked("127.0.0.1:80");
        assert!(plain.app_for("[2001:db8::1]", 80, &checked).is_ok());
        assert!(plain.app_for("a b", 80, &checked).is_err());
        assert!(plain.app_for("a/b", 80, &checked).is_err());
    }

    #[test]
    fn a_reload_that_changes_no_time_limit_keeps_the_connections() {
        let instance = instance();
        let first = Plain::build(&timeouts(5), &instance, None);
        let same = Plain::build(&timeouts(5), &instance, Some(&first));
        assert!(Arc::ptr_eq(&first, &same));
        let other = Plain::build(&timeouts(6), &instance, Some(&first));
        assert!(!Arc::ptr_eq(&first, &other));
    }
}
