//! One server of an app: where it is, how it fares, and the connections to it.

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::HeaderValue;
use http::uri::{Authority, Scheme};
use rustls_pki_types::ServerName;
use tokio::sync::Semaphore;

use super::error::UpstreamError;
use super::tls::TlsSettings;
use super::wire::{Multiplexed, Wire};
use crate::config::{PassiveHealth, Upstream, UpstreamProtocol, UpstreamServer};

/// See the module's first line.
pub struct Server {
    /// `host:port`, as records name it.
    authority: Arc<str>,
    uri_authority: Authority,
    host_header: HeaderValue,
    scheme: Scheme,
    host: Box<str>,
    port: u16,
    /// Addresses to connect to, checked by whoever gives them; nothing is looked up then.
    pinned: Option<Box<[SocketAddr]>>,
    tls: Option<TlsTarget>,
    protocol: UpstreamProtocol,
    /// It has chosen HTTP/2 at least once.
    pub(super) speaks_http2: AtomicBool,
    pub(super) connect_timeout: Duration,

    /// Connections that may still be put to use.
    pub(super) connections: Semaphore,
    pub(super) in_flight: AtomicUsize,
    /// Newest last; taken from and put back at the end, so that spare ones grow old and go.
    #[expect(
        clippy::vec_box,
        reason = "they go to and come from exchanges as the pointers they are"
    )]
    idle: Mutex<Vec<Box<Wire>>>,
    max_idle: usize,
    idle_ticks: u64,
    multiplexed: Mutex<Vec<Multiplexed>>,
    /// One connection attempt at a time where requests will share the result.
    pub(super) dialling: tokio::sync::Mutex<()>,
    /// Half seconds since the group was built: a clock that costs one load.
    ticks: Arc<AtomicU64>,

    passive: PassiveHealth,
    /// What active checks say.
    healthy: AtomicBool,
    failures: AtomicU32,
    /// The tick until which it is left alone; zero: it is not.
    ejected_until: AtomicU64,
}

/// How TLS to this server is spoken.
pub(super) struct TlsTarget {
    pub(super) settings: TlsSettings,
    pub(super) name: ServerName<'static>,
}

/// The length of a tick.
pub(crate) const TICK: Duration = Duration::from_millis(500);

pub(super) fn ticks_in(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis().div_ceil(TICK.as_millis())).unwrap_or(u64::MAX)
}

impl Server {
    pub(super) fn new(
        definition: &UpstreamServer,
        upstream: &Upstream,
        tls: Option<&TlsSettings>,
        connect_timeout: Duration,
        ticks: &Arc<AtomicU64>,
    ) -> Result<Self, UpstreamError> {
        let authority = &definition.authority;
        let host = authority.host();
        let port = authority.port_u16().ok_or_else(|| {
            UpstreamError::plain(format!("the upstream `{authority}` names no port"))
        })?;
        let host_header = HeaderValue::from_str(authority.as_str())
            .map_err(|_| UpstreamError::plain(format!("`{authority}` is not a host")))?;
        let tls = tls
            .map(|settings| {
                Ok(TlsTarget {
                    settings: settings.clone(),
                    name: super::tls::server_name(&upstream.tls, host)?,
                })
            })
            .transpose()?;
        let bare = host
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .unwrap_or(host);
        Ok(Self {
            authority: authority.as_str().into(),
            uri_authority: authority.clone(),
            host_header,
            scheme: definition.scheme.clone(),
            host: bare.into(),
            port,
            pinned: None,
            tls,
            protocol: upstream.protocol,
            speaks_http2: AtomicBool::new(upstream.protocol == UpstreamProtocol::Http2),
            connect_timeout,
            connections: Semaphore::new(upstream.max_connections.clamp(1, Semaphore::MAX_PERMITS)),
            in_flight: AtomicUsize::new(0),
            idle: Mutex::new(Vec::new()),
            max_idle: upstream.max_idle,
            idle_ticks: ticks_in(upstream.idle_timeout),
            multiplexed: Mutex::new(Vec::new()),
            dialling: tokio::sync::Mutex::new(()),
            ticks: Arc::clone(ticks),
            passive: upstream.passive.clone(),
            healthy: AtomicBool::new(true),
            failures: AtomicU32::new(0),
            ejected_until: AtomicU64::new(0),
        })
    }

    /// The same server, reached at these addresses and no others.
    #[must_use]
    pub(super) fn at(mut self, addresses: &[SocketAddr]) -> Self {
        self.pinned = Some(addresses.into());
        self
    }

    pub(super) fn pinned(&self) -> Option<&[SocketAddr]> {
        self.pinned.as_deref()
    }

    /// `host:port`.
    pub fn authority(&self) -> &Arc<str> {
        &self.authority
    }

    pub(crate) fn uri_authority(&self) -> &Authority {
        &self.uri_authority
    }

    pub(crate) fn host_header(&self) -> &HeaderValue {
        &self.host_header
    }

    pub(crate) fn scheme(&self) -> &Scheme {
        &self.scheme
    }

    pub(super) fn endpoint(&self) -> (&str, u16) {
        (&self.host, self.port)
    }

    pub(super) fn tls(&self) -> Option<&TlsTarget> {
        self.tls.as_ref()
    }

    /// What is configured; upgrades to servers that negotiate use HTTP/1.1.
    pub(crate) fn protocol(&self) -> UpstreamProtocol {
        self.protocol
    }

    /// Exchanges going on now.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// What the active checks last said; true where there are none.
    pub fn is_healthy(&self) -> bool {
        self.healthy.load(Ordering::Relaxed)
    }

    /// Left alone for a while after failures in a row.
    pub fn is_ejected(&self) -> bool {
        let until = self.ejected_until.load(Ordering::Relaxed);
        until != 0 && self.tick() < until
    }

    pub(super) fn set_healthy(&self, healthy: bool) -> bool {
        self.healthy.swap(healthy, Ordering::Relaxed) != healthy
    }

    /// An exchange went well. Costs one load when nothing was wrong.
    pub(crate) fn succeeded(&self) {
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
            self.ejected_until.store(0, Ordering::Relaxed);
        }
    }

    /// An exchange failed by the server's fault.
    pub(crate) fn failed(&self) {
        let failures = self
            .failures
            .fetch_add(1, Ordering::Relaxed)
            .saturating_add(1);
        if failures < self.passive.failures.max(1) {
            return;
        }
        let until = self
            .tick()
            .saturating_add(ticks_in(self.passive.ejection))
            .max(1);
        if self.ejected_until.swap(until, Ordering::Relaxed) == 0 {
            tracing::warn!(upstream = %self.authority, failures, "upstream server ejected");
        }
    }

    pub(super) fn tick(&self) -> u64 {
        self.ticks.load(Ordering::Relaxed)
    }

    pub(super) fn give_back_connection(&self) {
        self.connections.add_permits(1);
    }

    /// The connection used last, if it is not too old.
    pub(super) fn take_idle(&self) -> Option<Box<Wire>> {
        let mut idle = lock(&self.idle);
        let wire = idle.pop()?;
        if self.tick().saturating_sub(wire.idle_since) > self.idle_ticks {
            // All below it are older still. Closed after the lock is gone.
            let stale = std::mem::take(&mut *idle);
            drop(idle);
            drop(stale);
            return None;
        }
        Some(wire)
    }

    /// Puts a connection away for the next request, if it is fit for one and there is room.
    pub(super) fn put_idle(&self, mut wire: Box<Wire>) {
        if !wire.settle() {
            return;
        }
        wire.idle_since = self.tick();
        wire.reused = true;
        let mut idle = lock(&self.idle);
        if idle.len() < self.max_idle {
            idle.push(wire);
        }
    }

    /// Looks for a shared connection. `overfull`: also one without room, where requests queue in hyper.
    pub(super) fn shared(&self, overfull: bool) -> Option<super::wire::Stream> {
        let mut known = lock(&self.multiplexed);
        known.retain(|connection| !connection.sender.is_closed());
        let best = known
            .iter()
            .min_by_key(|connection| connection.facts.streams())?;
        (overfull || best.facts.has_room()).then(|| super::wire::Stream::open(best, self.tick()))
    }

    pub(super) fn share(&self, connection: Multiplexed) -> super::wire::Stream {
        self.speaks_http2.store(true, Ordering::Relaxed);
        let stream = super::wire::Stream::open(&connection, self.tick());
        lock(&self.multiplexed).push(connection);
        stream
    }

    /// After one idle connection turned out to be closed: the others may be, too.
    pub(crate) fn discard_closed(&self) {
        self.sweep();
    }

    /// Closes what is closed already or has been idle for too long.
    pub(super) fn sweep(&self) {
        let now = self.tick();
        let mut idle = lock(&self.idle);
        let mut closed = Vec::new();
        let mut index = 0;
        while index < idle.len() {
            let keep = idle.get_mut(index).is_some_and(|wire| {
                now.saturating_sub(wire.idle_since) <= self.idle_ticks && wire.settle()
            });
            if keep {
                index += 1;
            } else {
                closed.push(idle.remove(index));
            }
        }
        drop(idle);
        drop(closed);
        lock(&self.multiplexed).retain(|connection| {
            let facts = &connection.facts;
            let unused = now.saturating_sub(facts.last_used.load(Ordering::Relaxed));
            !connection.sender.is_closed() && (facts.streams() > 0 || unused <= self.idle_ticks)
        });
    }

    #[cfg(test)]
    pub(crate) fn idle_connections(&self) -> usize {
        lock(&self.idle).len()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that can panic runs under these locks; what they guard stays usable.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Server {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Server")
            .field("authority", &self.authority)
            .field("healthy", &self.is_healthy())
            .field("in_flight", &self.in_flight())
            .finish_non_exhaustive()
    }
}
