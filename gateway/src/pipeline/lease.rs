//! What keeps a long exchange alive: the decision that let it through, asked again whenever its answer may be another.
//!
//! A WebSocket, a download or a stream of events outlives its decision. While it lives, the carrier asks the lease about
//! once a second. The lease answers at once as long as neither the configuration nor the time it was good for has
//! changed; otherwise it asks device, assurance, posture and policies anew, and only what is now denied is cut.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use http::{Method, Uri};
use masugata_policy::{Action, Resource, Timestamp};

use super::authenticate::{self, Credentials};
use super::decide::{self, Question};
use super::posture;
use crate::connection::Connection;
use crate::denial::{Denial, DenialReason};
use crate::forward::{CutOff, Lease};
use crate::listener::Busy;
use crate::state::State;

/// See the module's first lines.
pub(super) struct DecisionLease {
    connection: Arc<Connection>,
    credentials: Credentials,
    request: LeasedRequest,
    /// The configuration that last said yes.
    generation: AtomicU64,
    /// Milliseconds since the epoch between which that yes holds under the same configuration. Both ends count: a wall
    /// clock can be set back.
    holds_from: AtomicI64,
    holds_until: AtomicI64,
    busy: Busy,
}

/// What of a request the decision depends on.
pub(super) struct LeasedRequest {
    pub(super) host: Box<str>,
    pub(super) uri: Uri,
    /// Where it differs from what the URI says.
    pub(super) decoded_path: Option<Box<str>>,
    pub(super) method: Method,
    pub(super) action: Action,
    pub(super) app: Arc<str>,
    pub(super) client_address: IpAddr,
}

impl LeasedRequest {
    fn path(&self) -> &str {
        self.decoded_path
            .as_deref()
            .unwrap_or_else(|| self.uri.path())
    }
}

impl DecisionLease {
    /// `generation` is that of the state that said yes.
    pub(super) fn new(
        generation: u64,
        connection: Arc<Connection>,
        credentials: Credentials,
        request: LeasedRequest,
        busy: Busy,
    ) -> Self {
        Self {
            connection,
            credentials,
            request,
            generation: AtomicU64::new(generation),
            // Zero: the first question is always asked in full, because requirements have ages of their own.
            holds_from: AtomicI64::new(i64::MAX),
            holds_until: AtomicI64::new(0),
            busy,
        }
    }

    fn ask_again(&self, state: &State, now: Timestamp) -> Result<(), Denial> {
        if now >= self.credentials.expires_at {
            return Err(DenialReason::CredentialExpired.into());
        }
        let request = &self.request;
        let app = state
            .routes
            .resolve(&request.host, request.path())
            .filter(|app| app.name == request.app);
        let app = app.ok_or(DenialReason::RouteNotFound)?;
        if request.action == Action::Connect && !app.config.upgrades {
            return Err(DenialReason::UpgradeNotAllowed.into());
        }
        let device = authenticate::device::establish(state, &self.connection, now)?;
        let credentials = self.credentials.still_good(state, &device, now)?;
        let requirements = &app.config.requirements;
        authenticate::check_assurance(requirements, &credentials, now)?;
        posture::check(requirements, &device, now)?;
        let permit = decide::ask(
            state,
            &Question {
                principal: &credentials.principal,
                authentication: &credentials.authentication,
                device: &device,
                action: request.action,
                resource: Resource::App(&app.policy),
                acr_values: &requirements.acr_values,
                method: request.method.as_str(),
                host: &request.host,
                path: request.path(),
                address: request.client_address,
                reason_given: false,
                observe: false,
            },
            now,
        )?;
        self.generation.store(state.generation, Ordering::Relaxed);
        let horizon = permit
            .holds_until()
            .min(self.credentials.expires_at)
            .min(now.plus(LONGEST_TRUST));
        self.holds_from.store(now.as_millis(), Ordering::Relaxed);
        self.holds_until
            .store(horizon.as_millis(), Ordering::Relaxed);
        Ok(())
    }
}

/// Requirements of the app (posture age, authentication age) have deadlines of their own that the permit does not know.
const LONGEST_TRUST: std::time::Duration = std::time::Duration::from_secs(5);

impl Lease for DecisionLease {
    fn check(&self) -> Result<(), DenialReason> {
        // Nobody is left who could answer for it.
        let shared = self.busy.shared().ok_or(DenialReason::Overloaded)?;
        if shared.drain.is_cut() {
            return Err(DenialReason::Overloaded);
        }
        let now = shared.clock.now();
        let state = shared.state();
        let unchanged = state.generation == self.generation.load(Ordering::Relaxed);
        let from = self.holds_from.load(Ordering::Relaxed);
        let until = self.holds_until.load(Ordering::Relaxed);
        if unchanged && (from..until).contains(&now.as_millis()) {
            return Ok(());
        }
        self.ask_again(&state, now).map_err(|denial| denial.reason)
    }

    fn cut_off(&self) -> CutOff {
        self.busy.cut_off()
    }

    fn is_carried(&self) {
        self.busy.is_carried();
    }
}
