//! What is known of a request so far: filled in by the stages, read when the record is written, also after a stage
//! has consumed the request and said no.

use std::sync::Arc;

use http::{HeaderValue, Method, Uri};
use masugata_policy::{Action, Authentication, Device, Principal, Timestamp};

use crate::audit::event::{Decision, Verdict};
use crate::connection::Connection;
use crate::denial::Denial;
use crate::exchange::{Exchange, RequestId};
use crate::issuer::challenge;
use crate::metrics::AppMetrics;
use crate::state::{AppState, State};

/// See the module's first line. Everything shared is an `Arc`; nothing here is needed to decide.
pub(crate) struct Facts {
    at: Timestamp,
    request: RequestId,
    generation: u64,
    connection: Arc<Connection>,
    method: Method,
    uri: Uri,
    pub(super) host: Option<Box<str>>,
    pub(super) app: Option<Arc<AppState>>,
    pub(super) action: Option<Action>,
    pub(super) principal: Option<Arc<Principal>>,
    pub(super) authentication: Option<Arc<Authentication>>,
    pub(super) device: Option<Arc<Device>>,
    pub(super) observed_limits: Vec<Arc<str>>,
}

impl Facts {
    pub(super) fn of(exchange: &Exchange, generation: u64) -> Self {
        Self {
            at: exchange.received_at,
            request: exchange.id,
            generation,
            connection: Arc::clone(&exchange.connection),
            method: exchange.head.method.clone(),
            uri: exchange.head.uri.clone(),
            host: None,
            app: None,
            action: None,
            principal: None,
            authentication: None,
            device: None,
            observed_limits: Vec::new(),
        }
    }

    /// The decision event; the facts stay, because a completion or a denial may still follow.
    pub(super) fn decision(&mut self, verdict: Verdict) -> Decision {
        Decision {
            at: self.at,
            request: self.request,
            generation: self.generation,
            connection: Arc::clone(&self.connection),
            method: self.method.clone(),
            uri: self.uri.clone(),
            host: self.host.take(),
            app: self.app.as_ref().map(|app| Arc::clone(&app.policy)),
            action: self.action,
            principal: self.principal.take(),
            authentication: self.authentication.take(),
            device: self.device.take(),
            verdict,
            observed_limits: std::mem::take(&mut self.observed_limits),
        }
    }

    pub(super) fn into_decision(mut self, verdict: Verdict) -> Decision {
        self.decision(verdict)
    }

    pub(super) fn app_metrics(&self) -> Option<&Arc<AppMetrics>> {
        self.app.as_ref().map(|app| &app.metrics)
    }

    /// `WWW-Authenticate` for a denial that better credentials would change.
    pub(super) fn challenge(&self, state: &State, denial: &Denial) -> Option<HeaderValue> {
        let metadata = self.app.as_ref().zip(self.host.as_deref()).map(|(app, host)| app.metadata_url(state, host));
        challenge::header(denial.reason, denial.challenge.as_ref(), metadata.as_deref())
    }
}
