//! Second stage: which device, and who. The device first: without one that the inventory knows, no credential is even
//! looked at, so a stranger cannot try tokens.
//!
//! Each way to sign in answers in three ways: not offered, verified, failed. A failed one ends the search; a later one
//! never rescues it.

mod bearer;
mod credential;
pub(super) mod device;
mod owner;
mod password;
mod service;
pub(super) mod session;

use std::sync::Arc;

use http::HeaderMap;
use http::header::{AUTHORIZATION, PROXY_AUTHORIZATION};
use masugata_policy::{Authentication, Device, Level, Principal, Timestamp};

use super::asked::Asked;
use super::route::Routed;
use crate::audit::trail::Facts;
use crate::config::Requirements;
use crate::config::egress::AcceptedCredentials;
use crate::connection::Connection;
use crate::denial::{Denial, DenialReason};
use crate::egress::password::PasswordKey;
use crate::exchange::Exchange;
use crate::gateway::Shared;
use crate::issuer::{Identity, assurance};
use crate::people::Judged;
use crate::session::Session;
use crate::state::{EgressState, State};
use credential::Presented;
pub(super) use owner::of as owner_of;

/// What a verified credential yields, whichever kind it was.
#[derive(Clone)]
pub(crate) struct Credentials {
    pub(crate) principal: Arc<Principal>,
    pub(crate) authentication: Arc<Authentication>,
    /// The first instant at which the credential no longer counts.
    pub(crate) expires_at: Timestamp,
    pub(crate) source: Source,
}

/// Where credentials come from, so that their source can be asked again.
#[derive(Clone)]
pub(crate) enum Source {
    /// What a token said.
    Token(Arc<Identity>),
    /// A service account, by the device it runs on.
    Service,
    /// The device's enrolled owner.
    Owner,
    /// A session of a person with a browser, for an app of that level.
    Session(Arc<Session>, Level),
    /// A proxy password, sealed with this key.
    Password(Arc<PasswordKey>),
}

impl Credentials {
    /// What the source of credentials that were verified earlier says of them under the configuration now in force: a
    /// token's issuer defined as it was and still publishing the key, a service account still on that device.
    pub(super) fn still_good(
        &self,
        (shared, state): (&Shared, &State),
        (device, connection): (&Device, &Connection),
        now: Timestamp,
    ) -> Result<Self, Denial> {
        let good = self.source_still_good(state, (device, connection), now)?;
        stand(shared, good)
    }

    fn source_still_good(
        &self,
        state: &State,
        (device, connection): (&Device, &Connection),
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
            Source::Owner => {
                let owner = owner::of(state, connection)
                    .filter(|owner| owner.id() == self.principal.id())
                    .filter(|_| accepted(state).is_some_and(|ways| ways.owner))
                    .ok_or(DenialReason::CredentialInvalid)?;
                Ok(Self {
                    principal: Arc::clone(owner),
                    ..self.clone()
                })
            }
            Source::Session(of, level) => session::good(state, of, *level, now),
            Source::Password(key) => {
                // The same file is the same key over all reloads; another one ends all passwords.
                let egress = state.egress.as_ref();
                egress
                    .and_then(|egress| egress.password_key.as_ref())
                    .filter(|current| Arc::ptr_eq(current, key))
                    .filter(|_| accepted(state).is_some_and(|ways| ways.password))
                    .ok_or(DenialReason::CredentialInvalid)?;
                Ok(self.clone())
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
    let device = match device::establish(state, &routed.exchange.connection, now) {
        Ok(device) => device,
        Err(denial) => {
            if let Asked::App(_) = &routed.asked {
                cookie_of(shared, &routed).refuse_stolen()?;
            }
            return Err(denial);
        }
    };
    facts.device = Some(Arc::clone(&device));

    let offer = match &routed.asked {
        Asked::App(app) => {
            let level = app.config.level;
            to_app(shared, state, &routed, (&device, level), facts).await
        }
        Asked::Destination(errand) => {
            to_destination(shared, state, &errand.egress, &routed.exchange, &device).await
        }
    };
    let credentials = match offer {
        Offer::Verified(credentials) => {
            // Also whose account is disabled goes on record.
            facts.principal = Some(Arc::clone(&credentials.principal));
            stand(shared, credentials)?
        }
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

fn accepted(state: &State) -> Option<AcceptedCredentials> {
    state
        .egress
        .as_ref()
        .map(|egress| egress.config.credentials)
}

fn cookie_of<'a>(shared: &'a Shared, routed: &'a Routed) -> session::At<'a> {
    session::At {
        shared,
        host: &routed.host,
        connection: &routed.exchange.connection,
        headers: &routed.exchange.head.headers,
        request: routed.exchange.id,
    }
}

/// How the person stands where accounts are kept, whatever they proved who they are with: the one place where it is asked.
///
/// # Errors
/// The account is disabled.
pub(super) fn stand(shared: &Shared, credentials: Credentials) -> Result<Credentials, Denial> {
    match shared.judge(&credentials.principal) {
        Judged::Unchanged => Ok(credentials),
        Judged::Inactive => Err(DenialReason::AccountDisabled.into()),
        Judged::As(principal) => Ok(Credentials {
            principal,
            ..credentials
        }),
    }
}

/// The ways to sign in to an app.
async fn to_app(
    shared: &Shared,
    state: &State,
    routed: &Routed,
    (device, level): (&Device, Level),
    facts: &mut Facts,
) -> Offer {
    let exchange = &routed.exchange;
    let connection = &exchange.connection;
    match credential::presented(&exchange.head.headers, AUTHORIZATION) {
        Presented::Nothing => {
            let (at, now) = (cookie_of(shared, routed), exchange.received_at);
            match session::offer(state, &at, level, facts, now) {
                Offer::Absent => service::offer(state, connection, device),
                offered @ (Offer::Verified(_) | Offer::Failed(_)) => offered,
            }
        }
        Presented::Bearer(token) => {
            bearer::offer(shared, state, connection, token, exchange.received_at).await
        }
        Presented::Basic(_) => Offer::Failed(credential::not_taken()),
        Presented::Malformed(what) => Offer::Failed(credential::malformed(what)),
    }
}

/// The ways to sign in to the proxy. `Authorization` is for whoever is behind it.
async fn to_destination(
    shared: &Shared,
    state: &State,
    egress: &EgressState,
    exchange: &Exchange,
    device: &Device,
) -> Offer {
    let connection = &exchange.connection;
    let now = exchange.received_at;
    let accepted = egress.config.credentials;
    match credential::presented(&exchange.head.headers, PROXY_AUTHORIZATION) {
        Presented::Nothing => match service::offer(state, connection, device) {
            Offer::Absent => owner::offer(state, egress, connection),
            offered @ (Offer::Verified(_) | Offer::Failed(_)) => offered,
        },
        Presented::Bearer(token) if accepted.token => {
            bearer::offer(shared, state, connection, token, now).await
        }
        Presented::Basic(pair) if accepted.password => match &egress.password_key {
            Some(key) => password::offer(shared, key, connection, pair, now),
            None => Offer::Failed(credential::not_taken()),
        },
        Presented::Bearer(_) | Presented::Basic(_) => Offer::Failed(credential::not_taken()),
        Presented::Malformed(what) => Offer::Failed(credential::malformed(what)),
    }
}

/// Who a token says that somebody is, at a page of ours; there is no other way to sign in there.
pub(super) async fn by_token(
    shared: &Shared,
    state: &State,
    connection: &Connection,
    headers: &HeaderMap,
    now: Timestamp,
) -> Result<Credentials, Denial> {
    let offer = match credential::presented(headers, AUTHORIZATION) {
        Presented::Nothing => Offer::Absent,
        Presented::Bearer(token) => bearer::offer(shared, state, connection, token, now).await,
        Presented::Basic(_) => Offer::Failed(credential::not_taken()),
        Presented::Malformed(what) => Offer::Failed(credential::malformed(what)),
    };
    match offer {
        Offer::Verified(credentials) => stand(shared, credentials),
        Offer::Absent => Err(DenialReason::CredentialMissing.into()),
        Offer::Failed(denial) => Err(denial),
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
