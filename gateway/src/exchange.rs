//! One request as it arrives: head, body, id, start; nothing decided yet.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
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
    pub body: RequestBody,
    /// Wall clock, for records and decisions.
    pub received_at: Timestamp,
    /// Monotonic, for durations.
    pub started: Instant,
}

/// A request's body. Where somebody may want it who comes after a refusal, whoever drops it unread leaves it there.
#[derive(Debug)]
pub struct RequestBody {
    body: Option<Incoming>,
    left: Option<Left>,
}

/// Where a body is left that nobody read.
#[derive(Clone, Debug, Default)]
pub struct Left(Arc<Mutex<Option<Incoming>>>);

impl RequestBody {
    /// `left`: where it goes when nobody reads it.
    pub fn new(body: Incoming, left: Option<Left>) -> Self {
        Self {
            body: Some(body),
            left,
        }
    }

    /// To be read. Always there.
    pub fn into_inner(mut self) -> Option<Incoming> {
        self.left = None;
        self.body.take()
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if let Some(left) = &self.left {
            *left.0.lock().unwrap_or_else(PoisonError::into_inner) = self.body.take();
        }
    }
}

impl Left {
    /// What was left.
    pub fn take(&self) -> Option<Incoming> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
