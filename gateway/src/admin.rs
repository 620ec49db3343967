//! The administrators' listener: liveness, readiness, metrics, the running configuration, lockouts, tunnels
//! and lists.
//!
//! Plain HTTP/1.1 on loopback, without a login of its own: whoever may open a socket there may read it. What needs
//! defence is the administrator's browser, which can open that socket too, on behalf of any web page. So `Host` must
//! name an address of ours and not a DNS name that an attacker points at loopback (DNS rebinding), changes need a
//! header that a page cannot send without asking first, and no answer permits a page to ask.

mod answer;
mod server;

use serde_json::Value;

use crate::limits::LockoutEntry;

pub use server::Admin;

/// What the listener shows, read at the moment somebody asks.
pub trait AdminView: Send + Sync + 'static {
    /// Everything that must be well for traffic to be sent here. An empty list counts as not ready.
    fn readiness(&self) -> Vec<Check>;
    /// The running configuration, without secrets.
    fn configuration(&self) -> Value;
    /// A page for Prometheus; see [`crate::metrics::Metrics::encode`].
    fn metrics(&self) -> String;
    /// Sources of failed credentials.
    fn lockouts(&self) -> Vec<LockoutEntry>;
    /// Open tunnels of the second door; with the hosts that have most of them only if `hosts`, because where people go is
    /// nobody's business who only has a way to this listener.
    fn tunnels(&self, hosts: bool) -> Value;
    /// How lists of destinations stand, in the order of the configuration.
    fn lists(&self) -> Value;
    /// Lifts one and puts that on record; false when there is no such key.
    fn lift_lockout(&self, key: &str) -> bool;
}

/// One condition of readiness.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// `configuration`, `audit`, `draining`, …
    pub name: &'static str,
    /// `None`: well. Otherwise what is wrong, in a few words without secrets.
    pub problem: Option<String>,
}

impl Check {
    /// All is well.
    pub fn passed(name: &'static str) -> Self {
        Self {
            name,
            problem: None,
        }
    }

    /// Something is wrong.
    pub fn failed(name: &'static str, problem: impl Into<String>) -> Self {
        Self {
            name,
            problem: Some(problem.into()),
        }
    }
}
