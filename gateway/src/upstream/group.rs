//! The servers of one app: chosen by load, left alone when they fail, carried over a reload when nothing about them
//! changed.
//!
//! Two kinds of health, which weigh differently. An active check that fails takes a server out until it passes again,
//! even if nobody is left: the app is then `no-healthy-upstream`. Failures seen in passing eject a server for a while,
//! but never the last one: a single server that is restarted must be reachable the moment it is back.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use aws_lc_rs::digest::{Context as Digest, SHA256};
use http::uri::Scheme;
use secrecy::ExposeSecret;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::error::{ForwardError, UpstreamError};
use super::health;
use super::server::{Server, TICK};
use super::tls::{TlsFiles, TlsTerms, settings};
use crate::config::Upstream;

/// See the module's first lines.
pub struct Group {
    name: Arc<str>,
    servers: Vec<Arc<Server>>,
    next: AtomicUsize,
    retries: u8,
    /// Of the definition and of the contents of its files.
    fingerprint: [u8; 32],
    /// Ends the background tasks.
    _tasks: DropGuard,
}

impl Group {
    /// Builds a group, or takes the previous one with its connections if the definition, the connect timeout and the
    /// contents of all files are the same. Inside a Tokio runtime it starts the checks; outside, as in `check`, none.
    ///
    /// # Errors
    /// A certificate or key file that cannot be read or used, with its path.
    pub fn build(
        name: &str,
        upstream: &Upstream,
        connect_timeout: Duration,
        terms: &TlsTerms,
        previous: Option<&Arc<Self>>,
    ) -> Result<Arc<Self>, UpstreamError> {
        let files = TlsFiles::read(&upstream.tls)?;
        let fingerprint = fingerprint(name, upstream, connect_timeout, &files, terms);
        if let Some(previous) = previous
            && previous.fingerprint == fingerprint
        {
            return Ok(Arc::clone(previous));
        }
        let encrypted = upstream
            .servers
            .iter()
            .any(|server| server.scheme == Scheme::HTTPS);
        let tls = encrypted
            .then(|| settings(&upstream.tls, &files, upstream.protocol, terms))
            .transpose()?;
        if encrypted && upstream.tls.insecure {
            tracing::warn!(
                app = name,
                "the upstream's certificate is not checked (`insecure = true`)"
            );
        }
        let ticks = Arc::new(AtomicU64::new(0));
        let servers = upstream
            .servers
            .iter()
            .map(|server| {
                let tls = tls.as_ref().filter(|_| server.scheme == Scheme::HTTPS);
                Server::new(server, upstream, tls, connect_timeout, &ticks).map(Arc::new)
            })
            .collect::<Result<Vec<_>, _>>()?;
        if servers.is_empty() {
            return Err(UpstreamError::plain(
                "an upstream needs at least one server",
            ));
        }
        let tasks = CancellationToken::new();
        let name: Arc<str> = name.into();
        start_tasks(&name, &servers, upstream, ticks, &tasks);
        Ok(Arc::new(Self {
            name,
            servers,
            next: AtomicUsize::new(0),
            retries: upstream.retries,
            fingerprint,
            _tasks: tasks.drop_guard(),
        }))
    }

    /// A group of one server without TLS that is reached at these addresses and no others. It has no tasks of its own:
    /// whoever makes many of them keeps house for all, moves `ticks` on every [`TICK`] and calls [`Group::sweep`].
    ///
    /// # Errors
    /// When the definition does not name exactly one server.
    pub(crate) fn pinned(
        name: &str,
        upstream: &Upstream,
        connect_timeout: Duration,
        addresses: &[SocketAddr],
        ticks: &Arc<AtomicU64>,
    ) -> Result<Arc<Self>, UpstreamError> {
        let [definition] = upstream.servers.as_slice() else {
            return Err(UpstreamError::plain("a pinned group has one server"));
        };
        let server = Server::new(definition, upstream, None, connect_timeout, ticks)?;
        Ok(Arc::new(Self {
            name: name.into(),
            servers: vec![Arc::new(server.at(addresses))],
            next: AtomicUsize::new(0),
            retries: upstream.retries,
            fingerprint: [0; 32],
            _tasks: CancellationToken::new().drop_guard(),
        }))
    }

    /// Closes connections that nobody wants.
    pub(crate) fn sweep(&self) {
        for server in &self.servers {
            server.sweep();
        }
    }

    /// The app's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// In the order configured.
    pub fn servers(&self) -> &[Arc<Server>] {
        &self.servers
    }

    pub(crate) fn retries(&self) -> u8 {
        self.retries
    }

    /// The server with the least to do; among equals each in turn. `avoid` is the one that has just failed.
    ///
    /// # Errors
    /// `NoHealthyUpstream` when active checks have taken out all of them.
    pub(crate) fn choose(&self, avoid: Option<&Arc<Server>>) -> Result<&Arc<Server>, ForwardError> {
        if let [only] = self.servers.as_slice() {
            return if only.is_healthy() {
                Ok(only)
            } else {
                Err(ForwardError::NoHealthyUpstream)
            };
        }
        let start = self.next.fetch_add(1, Ordering::Relaxed);
        let avoided =
            |server: &Arc<Server>| avoid.is_some_and(|failed| Arc::ptr_eq(failed, server));
        self.least_loaded(start, |server| !server.is_ejected() && !avoided(server))
            .or_else(|| self.least_loaded(start, |server| !avoided(server)))
            .or_else(|| self.least_loaded(start, |_| true))
            .ok_or(ForwardError::NoHealthyUpstream)
    }

    fn least_loaded(
        &self,
        start: usize,
        eligible: impl Fn(&Arc<Server>) -> bool,
    ) -> Option<&Arc<Server>> {
        let (before, after) = self.servers.split_at(start % self.servers.len().max(1));
        after
            .iter()
            .chain(before)
            .filter(|server| server.is_healthy() && eligible(server))
            .min_by_key(|server| server.in_flight())
    }
}

fn fingerprint(
    name: &str,
    upstream: &Upstream,
    connect_timeout: Duration,
    files: &TlsFiles,
    terms: &TlsTerms,
) -> [u8; 32] {
    let mut digest = Digest::new(&SHA256);
    // The definition holds paths, never secrets.
    let (profile, hybrid) = (terms.profile, terms.hybrid);
    digest.update(
        format!("{name:?} {connect_timeout:?} {upstream:?} {profile:?} {hybrid}").as_bytes(),
    );
    let key = files.key.as_ref().map(|key| key.expose_secret());
    for file in [files.authority.as_deref(), files.chain.as_deref(), key] {
        let length = file.map_or(u64::MAX, |bytes| {
            u64::try_from(bytes.len()).unwrap_or(u64::MAX)
        });
        digest.update(&length.to_be_bytes());
        digest.update(file.unwrap_or_default());
    }
    let mut out = [0; 32];
    for (to, from) in out.iter_mut().zip(digest.finish().as_ref()) {
        *to = *from;
    }
    out
}

fn start_tasks(
    name: &Arc<str>,
    servers: &[Arc<Server>],
    upstream: &Upstream,
    ticks: Arc<AtomicU64>,
    stop: &CancellationToken,
) {
    let Ok(runtime) = tokio::runtime::Handle::try_current() else {
        return;
    };
    runtime.spawn(keep_house(servers.to_vec(), ticks, stop.clone()));
    if let Some(check) = &upstream.health {
        for server in servers {
            runtime.spawn(health::watch(
                Arc::clone(name),
                Arc::clone(server),
                check.clone(),
                stop.clone(),
            ));
        }
    }
}

/// Moves the ticks on, and closes connections that nobody wants.
async fn keep_house(servers: Vec<Arc<Server>>, ticks: Arc<AtomicU64>, stop: CancellationToken) {
    let mut interval = tokio::time::interval(TICK);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Burst);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = interval.tick() => {}
        }
        if ticks.fetch_add(1, Ordering::Relaxed) % 4 == 3 {
            for server in &servers {
                server.sweep();
            }
        }
    }
}

impl fmt::Debug for Group {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Group")
            .field("name", &self.name)
            .field("servers", &self.servers)
            .finish_non_exhaustive()
    }
}
