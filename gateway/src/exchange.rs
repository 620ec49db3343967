//! One request as it arrives: head, body, id, start; nothing decided yet.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use http::request::Parts;
use hyper::body::Incoming;
use masugata_policy::Timestamp;

use crate::connection::Connection;

/// Joins the two records of a request, the client's answer and the upstream's log: 32 hex digits, half of them random
/// per process, half counting up.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestId(pub u128);

impl fmt::Display for RequestId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:032x}", self.0)
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// See the module's first line.
#[derive(Debug)]
pub struct Exchange {
    pub id: RequestId,
    pub connection: Arc<Connection>,
    pub head: Parts,
    pub body: Incoming,
    /// Wall clock, for records and decisions.
    pub received_at: Timestamp,
    /// Monotonic, for durations.
    pub started: Instant,
}
