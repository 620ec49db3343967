//! Carrying permitted requests to apps and their answers back: what is taken off, what is put on, what ends them.
//!
//! [`forward`] is the one way in. Bodies stream with back-pressure and are never collected.

mod app;
mod body;
pub mod headers;
mod reverse;
pub(crate) mod tunnel;
mod upgrade;
pub mod uri;
mod watch;
mod websocket;

#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;

use http::HeaderValue;
use http::request::Parts;
use hyper::body::Incoming;

pub use crate::upstream::{ForwardError, Retry};
pub use app::{AppForward, Instance};
pub use body::{Body, BodyError};
pub use reverse::forward;

use crate::audit::trail::CompletionTrail;
use crate::connection::Connection;
use crate::denial::DenialReason;
use crate::exchange::RequestId;

/// A permitted request and everything that goes with it.
pub struct Outbound {
    pub head: Parts,
    pub body: Incoming,
    pub app: Arc<AppForward>,
    pub connection: Arc<Connection>,
    /// The client: the connection's, or whom a trusted forwarder names.
    pub client_address: IpAddr,
    pub request_id: RequestId,
    /// `Masugata-Assertion`.
    pub assertion: Option<HeaderValue>,
    /// The connection comes from a configured forwarder, whose forwarding fields are kept and added to.
    pub from_trusted_forwarder: bool,
    pub trail: Arc<CompletionTrail>,
    pub lease: Arc<dyn Lease>,
}

/// What keeps an exchange alive. Asked about once a second while one lasts longer than that.
pub trait Lease: Send + Sync + 'static {
    /// # Errors
    /// Why the exchange must end now.
    fn check(&self) -> Result<(), DenialReason>;

    /// Ready when the gateway stops and can wait no longer. A tunnel asks, because the connection that it came from has
    /// ended for everybody else.
    fn cut_off(&self) -> CutOff {
        Box::pin(std::future::pending())
    }
    /// Whoever carries the exchange says, about once a second, that it was able to look at it. A client that takes
    /// nothing keeps it from that.
    fn is_carried(&self) {}
    /// Whoever carries the exchange has cut it for this reason.
    fn refused(&self, _reason: DenialReason) {}
}

/// See [`Lease::cut_off`].
pub type CutOff = Pin<Box<dyn Future<Output = ()> + Send>>;
