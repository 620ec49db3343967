//! What keeps a long exchange alive: the decision that let it through, asked again whenever its answer may be another.
//!
//! A WebSocket, a download or a stream of events outlives its decision. While it lives, the carrier asks the lease about
//! once a second. The lease answers at once as long as neither the configuration nor the time it was good for has
//! changed; otherwise it asks device, assurance, posture and policies anew, and only what is now denied is cut.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use http::{Method, Uri};
use masugata_policy::{Action, Device, Permit, Resource, Timestamp};

use super::asked::Goal;
use super::authenticate::{self, Credentials};
use super::decide::{self, Circumstances, Question};
use super::egress::Alarm;
use super::posture;
use crate::config::Requirements;
use crate::connection::Connection;
use crate::denial::{Denial, DenialReason};
use crate::egress::refusals::Refusal;
use crate::exchange::RequestId;
use crate::forward::{CutOff, Lease};
use crate::gateway::Shared;
use crate::listener::Busy;
use crate::state::State;

/// See the module's first lines.
pub(super) struct DecisionLease {
    connection: Arc<Connection>,
    credentials: Credentials,
    request: LeasedRequest,
    /// The configuration and the lists that last said yes.
    epoch: AtomicU64,
    /// How many times something had ended by then that people's sessions and accounts are: what is over is cut at once.
    ends: AtomicU64,
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
    pub(super) method: Method,
    pub(super) action: Action,
    pub(super) client_address: IpAddr,
    pub(super) subject: Subject,
}

/// What it was for.
pub(super) enum Subject {
    App {
        name: Arc<str>,
        /// Where it differs from what the URI says.
        decoded_path: Option<Box<str>>,
    },
    Destination(Box<Abroad>),
}

/// A destination that was gone to.
pub(super) struct Abroad {
    pub(super) goal: Goal,
    /// Where it was dialled, if that is one place for as long as it lasts.
    pub(super) at: Option<SocketAddr>,
    /// By which request, for whoever asks why it was cut.
    pub(super) request: RequestId,
}

impl LeasedRequest {
    fn path(&self) -> &str {
        match &self.subject {
            Subject::App {
                decoded_path: Some(path),
                ..
            } => path,
            Subject::App { .. } | Subject::Destination(_) => self.uri.path(),
        }
    }
}

impl DecisionLease {
    /// `epoch` is that of the state that said yes.
    pub(super) fn new(
        epoch: u64,
        connection: Arc<Connection>,
        credentials: Credentials,
        request: LeasedRequest,
        busy: Busy,
    ) -> Self {
        Self {
            connection,
            credentials,
            request,
            epoch: AtomicU64::new(epoch),
            ends: AtomicU64::new(0),
            // Zero: the first question is always asked in full, because requirements have ages of their own.
            holds_from: AtomicI64::new(i64::MAX),
            holds_until: AtomicI64::new(0),
            busy,
        }
    }

    fn ask_again(&self, shared: &Shared, state: &State, now: Timestamp) -> Result<(), Denial> {
        let epoch = state.epoch();
        // Before the question: what ends while it is asked is asked about once more.
        let ends = shared.ends();
        let permit = match &self.request.subject {
            Subject::App { name, .. } => self.ask_of_app((shared, state), name, now)?,
            Subject::Destination(abroad) => {
                self.ask_of_destination((shared, state), abroad, now)?
            }
        };
        self.epoch.store(epoch, Ordering::Relaxed);
        self.ends.store(ends, Ordering::Relaxed);
        let horizon = permit
            .holds_until()
            .min(self.credentials.expires_at)
            .min(now.plus(LONGEST_TRUST));
        self.holds_from.store(now.as_millis(), Ordering::Relaxed);
        self.holds_until
            .store(horizon.as_millis(), Ordering::Relaxed);
        Ok(())
    }

    fn ask_of_app(
        &self,
        (shared, state): (&Shared, &State),
        name: &str,
        now: Timestamp,
    ) -> Result<Permit, Denial> {
        let request = &self.request;
        let app = state
            .routes
            .resolve(&request.host, request.path())
            .filter(|app| &*app.name == name);
        let app = app.ok_or(DenialReason::RouteNotFound)?;
        if request.action == Action::Connect && !app.config.upgrades {
            return Err(DenialReason::UpgradeNotAllowed.into());
        }
        let (resource, requirements) = (Resource::App(&app.policy), &app.config.requirements);
        self.ask((shared, state), requirements, resource, now, |_device| {
            Circumstances::default()
        })
    }

    /// Names are looked up in the lists again, addresses in the table: either may have changed. Lists that are not there
    /// yet cut nothing: they say so themselves when they come.
    fn ask_of_destination(
        &self,
        (shared, state): (&Shared, &State),
        Abroad { goal, at, .. }: &Abroad,
        now: Timestamp,
    ) -> Result<Permit, Denial> {
        let egress = state.egress.as_ref().ok_or(DenialReason::Overloaded)?;
        let address = at.map(|at| at.ip());
        let known = goal.known(state, egress, address.as_slice());
        // What a list names only now may have been open for long.
        if let Some(alarm) = Alarm::of(egress, goal, &known) {
            let device = authenticate::device::establish(state, &self.connection, now)?;
            alarm.sound(shared, &device, Some(&self.credentials.principal));
        }
        if !egress.opens(goal.port, known.finding.service.as_deref()) {
            return Err(DenialReason::DestinationPortRefused.into());
        }
        if at.is_some_and(|at| !egress.guard.still_open(&goal.host, at)) {
            return Err(DenialReason::DestinationProhibited.into());
        }
        let (resource, requirements) = (
            Resource::Destination(&known.class),
            &egress.config.requirements,
        );
        self.ask((shared, state), requirements, resource, now, |device| {
            Circumstances::at(egress, device, known.site(goal), now)
        })
    }

    /// What is the same at both doors: device, credentials, assurance, posture, policies.
    fn ask(
        &self,
        (shared, state): (&Shared, &State),
        requirements: &Requirements,
        resource: Resource<'_>,
        now: Timestamp,
        circumstances: impl FnOnce(&Device) -> Circumstances,
    ) -> Result<Permit, Denial> {
        let request = &self.request;
        // The device first, as for a request: the credential may be its certificate.
        let device = authenticate::device::establish(state, &self.connection, now)?;
        if now >= self.credentials.expires_at {
            return Err(DenialReason::CredentialExpired.into());
        }
        let credentials =
            self.credentials
                .still_good((shared, state), (&device, &self.connection), now)?;
        authenticate::check_assurance(requirements, &credentials, now)?;
        posture::check(requirements, &device, now)?;
        decide::ask(
            state,
            &Question {
                principal: &credentials.principal,
                authentication: &credentials.authentication,
                device: &device,
                action: request.action,
                resource,
                acr_values: &requirements.acr_values,
                method: request.method.as_str(),
                host: &request.host,
                path: request.path(),
                address: request.client_address,
                circumstances: circumstances(&device),
            },
            now,
        )
    }
}

/// Requirements of the app (posture age, authentication age) have deadlines of their own that the permit does not know.
const LONGEST_TRUST: std::time::Duration = std::time::Duration::from_secs(5);

impl Lease for DecisionLease {
    fn check(&self) -> Result<(), DenialReason> {
        // Nobody is left who could answer for it.
        let shared = self.busy.shared().ok_or(DenialReason::Overloaded)?;
        if shared.drain.is_cut(self.connection.door) {
            return Err(DenialReason::Overloaded);
        }
        let now = shared.clock.now();
        let state = shared.state();
        let unchanged = state.epoch() == self.epoch.load(Ordering::Relaxed)
            && shared.ends() == self.ends.load(Ordering::Relaxed);
        let from = self.holds_from.load(Ordering::Relaxed);
        let until = self.holds_until.load(Ordering::Relaxed);
        if unchanged && (from..until).contains(&now.as_millis()) {
            return Ok(());
        }
        self.ask_again(&shared, &state, now)
            .map_err(|denial| denial.reason)
    }

    fn cut_off(&self) -> CutOff {
        self.busy.cut_off()
    }

    fn is_carried(&self) {
        self.busy.is_carried();
    }

    fn refused(&self, reason: DenialReason) {
        let (Some(shared), Subject::Destination(abroad)) =
            (self.busy.shared(), &self.request.subject)
        else {
            return;
        };
        let (state, now) = (shared.state(), shared.clock.now());
        let device = authenticate::device::establish(&state, &self.connection, now);
        if let (Some(egress), Ok(device)) = (&state.egress, device) {
            let Abroad { goal, request, .. } = &**abroad;
            let lists = egress.catalogue.lists();
            let site = lists.find(&goal.host, goal.literal.is_some()).domain;
            let denial = Denial::new(reason);
            let (host, site) = (&*goal.host, site.as_deref());
            let refusal = Refusal::of(&denial, host, goal.port, site, *request, now);
            egress.refusals.note(device.id(), refusal);
        }
    }
}
