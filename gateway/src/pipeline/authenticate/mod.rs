//! Second stage: which device, and who. The device first: without one that the inventory knows, no credential is even
//! looked at, so a stranger cannot try tokens.
//!
//! Each way to sign in answers in three ways: not offered, verified, failed. A failed one ends the search; a later one
//! never rescues it.

mod bearer;
mod credential;
pub(super) mod device;
mod service;

use std::sync::Arc;

use masugata_policy::{Authentication, Device, Principal, Timestamp};

use super::asked::Asked;
use super::route::Routed;
use crate::audit::trail::Facts;
use crate::config::Requirements;
use crate::denial::{Denial, DenialReason};
use crate::exchange::Exchange;
use crate::gateway::Shared;
use crate::issuer::{Identity, assurance};
use crate::state::State;
use credential::Presented;
use http::header::AUTHORIZATION;

/// What a verified credential yields, whichever kind it was.
#[derive(Clone, Debug)]
pub(crate) struct Credentials {
    pub(crate) principal: Arc<Principal>,
    pub(crate) authentication: Arc<Authentication>,
    /// The first instant at which the credential no longer counts.
    pub(crate) expires_at: Timestamp,
    pub(crate) source: Source,
}

/// Where credentials come from, so that their source can be asked again.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// What a token said.
    Token(Arc<Identity>),
    /// A service account, by the device it runs on.
    Service,
}

impl Credentials {
    /// What the source of credentials that were verified earlier says of them under the configuration now in force: a
    /// token's issuer defined as it was and still publishing the key, a service account still on that device.
    pub(super) fn still_good(
        &self,
        state: &State,
        device: &Device,
        now: Timestamp,
    ) -> Result<Self, Denial> {
        match &self.source {
            Source::Token(identity) => {
                state.issuers.still_vouch_for(identity, now)?;
                Ok(self.clone())
            }
            Source::Service => {
                let account = state
                    .services
                    .get(device.id())
                    .filter(|account| account.principal.id() == self.principal.id())
                    .ok_or(DenialReason::CredentialInvalid)?;
                // Its groups may be others by now.
                Ok(Self {
                    principal: Arc::clone(&account.principal),
                    authentication: Arc::clone(&account.authentication),
                    ..self.clone()
                })
            }
        }
    }
}

/// A request from a known device and a known principal with enough assurance.
pub(super) struct Authenticated {
    routed: Box<Routed>,
    device: Arc<Device>,
    credentials: Credentials,
}

impl Authenticated {
    pub(in crate::pipeline) fn into_parts(self) -> (Box<Routed>, Arc<Device>, Credentials) {
        (self.routed, self.device, self.credentials)
    }
    pub(super) fn routed(&self) -> &Routed {
        &self.routed
    }
    pub(super) fn device(&self) -> &Device {
        &self.device
    }
}

/// The answer of one way to sign in.
enum Offer {
    Absent,
    Verified(Credentials),
    Failed(Denial),
}

pub(super) async fn establish(
    shared: &Shared,
    state: &State,
    routed: Box<Routed>,
    facts: &mut Facts,
) -> Result<Authenticated, Denial> {
    let now = routed.exchange.received_at;
    let device = device::establish(state, &routed.exchange.connection, now)?;
    facts.device = Some(Arc::clone(&device));

    let offer = match &routed.asked {
        Asked::App(_) => to_app(shared, state, &routed.exchange, &device).await,
    };
    let credentials = match offer {
        Offer::Verified(credentials) => credentials,
        Offer::Absent => return Err(missing(routed.asked.requirements())),
        Offer::Failed(denial) => return Err(denial),
    };
    facts.principal = Some(Arc::clone(&credentials.principal));
    facts.authentication = Some(Arc::clone(&credentials.authentication));
    check_assurance(routed.asked.requirements(), &credentials, now)?;
    Ok(Authenticated {
        routed,
        device,
        credentials,
    })
}

/// The ways to sign in to an app.
async fn to_app(shared: &Shared, state: &State, exchange: &Exchange, device: &Device) -> Offer {
    let connection = &exchange.connection;
    match credential::presented(&exchange.head.headers, AUTHORIZATION) {
        Presented::Nothing => service::offer(state, connection, device),
        Presented::Bearer(token) => {
            bearer::offer(shared, state, connection, token, exchange.received_at).await
        }
        Presented::Basic(_) => Offer::Failed(credential::not_taken()),
        Presented::Malformed(what) => Offer::Failed(credential::malformed(what)),
    }
}

/// Enough factors, fresh and bound enough, from an issuer that is accepted there; a lease asks it again.
pub(super) fn check_assurance(
    requirements: &Requirements,
    credentials: &Credentials,
    now: Timestamp,
) -> Result<(), Denial> {
    assurance::meets(
        requirements,
        &credentials.authentication,
        credentials.principal.issuer(),
        now,
    )
    .map_err(|shortfall| shortfall.into_denial(requirements))
}

/// Tells a program what to come back with.
fn missing(requirements: &Requirements) -> Denial {
    let asks = !requirements.acr_values.is_empty() || requirements.max_authentication_age.is_some();
    let challenge = asks.then(|| assurance::challenge(requirements));
    Denial {
        challenge,
        ..Denial::new(DenialReason::CredentialMissing)
    }
}
