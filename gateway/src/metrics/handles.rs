//! Counters that belong to something named in the configuration. Looked up by name once, when a configuration is
//! loaded; afterwards whoever counts holds the handle.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::StatusCode;

use super::primitives::{Count, EXCHANGE, Histogram, Level, OVERHEAD};

/// Status classes, by first digit.
pub(super) const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// What is counted for one app.
#[derive(Debug)]
pub struct AppMetrics {
    pub permitted: Count,
    pub denied: Count,
    /// The client left before the decision.
    pub abandoned: Count,
    /// Requests sent upstream again.
    pub retries: Count,
    pub bytes_received: Count,
    pub bytes_sent: Count,
    pub(super) responses: [Count; 5],
    pub(super) duration: Histogram,
    pub(super) overhead: Histogram,
    upstream_failures: Mutex<BTreeMap<&'static str, u64>>,
}

impl Default for AppMetrics {
    fn default() -> Self {
        Self {
            permitted: Count::default(),
            denied: Count::default(),
            abandoned: Count::default(),
            retries: Count::default(),
            bytes_received: Count::default(),
            bytes_sent: Count::default(),
            responses: Default::default(),
            duration: Histogram::new(EXCHANGE),
            overhead: Histogram::new(OVERHEAD),
            upstream_failures: Mutex::default(),
        }
    }
}

impl AppMetrics {
    /// The status that the client is told.
    pub fn answered(&self, status: StatusCode) {
        let class = usize::from(status.as_u16() / 100).checked_sub(1);
        if let Some(count) = class.and_then(|class| self.responses.get(class)) {
            count.increment();
        }
    }

    /// The exchange is over, after `duration`. Bytes are of bodies, or of everything after an upgrade.
    pub fn completed(&self, duration: Duration, bytes_received: u64, bytes_sent: u64) {
        self.duration.observe(duration);
        self.bytes_received.add(bytes_received);
        self.bytes_sent.add(bytes_sent);
    }

    /// Our own part: from the request's head to the moment it is handed upstream, or refused.
    pub fn overhead(&self, duration: Duration) {
        self.overhead.observe(duration);
    }

    /// The upstream failed. `code` comes from a closed list, never from the network: each is a time series.
    pub fn upstream_failed(&self, code: &'static str) {
        let mut failures = self
            .upstream_failures
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *failures.entry(code).or_default() += 1;
    }

    pub(super) fn upstream_failures(&self) -> BTreeMap<&'static str, u64> {
        self.upstream_failures
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// What is counted for one rate limit.
#[derive(Debug, Default)]
pub struct LimitMetrics {
    /// Refused requests.
    pub exceeded: Count,
    /// Requests that would have been refused.
    pub observed: Count,
    /// Requests counted in the bucket that all keys share which found no room.
    pub overflowed: Count,
    /// Keys remembered, as of the last purge.
    pub keys: Level,
}

/// What the lockout counts.
#[derive(Debug, Default)]
pub struct LockoutMetrics {
    pub failures_by_device: Count,
    pub failures_by_address: Count,
    /// Times that a source was locked.
    pub locks: Count,
    /// Requests refused while their source was delayed or locked.
    pub refusals: Count,
    /// Sources delayed or locked, as of the last purge.
    pub blocked: Level,
}

/// Handles by name.
#[derive(Debug)]
pub(super) struct Named<T>(Mutex<BTreeMap<Arc<str>, Arc<T>>>);

impl<T> Default for Named<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Default> Named<T> {
    pub(super) fn of(&self, name: &str) -> Arc<T> {
        let mut handles = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(handle) = handles.get(name) {
            return Arc::clone(handle);
        }
        Arc::clone(handles.entry(name.into()).or_default())
    }

    pub(super) fn retain(&self, keep: impl Fn(&str) -> bool) {
        let mut handles = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        handles.retain(|name, _| keep(name));
    }

    pub(super) fn all(&self) -> Vec<(Arc<str>, Arc<T>)> {
        let handles = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        handles
            .iter()
            .map(|(name, handle)| (Arc::clone(name), Arc::clone(handle)))
            .collect()
    }
}
