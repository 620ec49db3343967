//! Fifth stage: rate limits of the person, the device, the address and the app. After the decision, so that a stranger
//! cannot use up somebody's quota.

use masugata_policy::{Permit, Timestamp};

use super::asked::{Asked, Errand, Known};
use super::authenticate::Credentials;
use super::decide::{self, Authorized};
use super::route::Routed;
use crate::assertion::Facts;
use crate::audit::trail;
use crate::denial::Denial;
use crate::egress::tunnels::Reservation;
use crate::limits::quota::LimitSubject;
use crate::state::{AppState, State};

/// A request that may be forwarded; the only thing `forward` accepts.
pub(super) struct Admitted {
    authorized: Authorized,
    /// The place among the tunnels, if it is to be one.
    reservation: Option<Reservation>,
}

impl Admitted {
    pub(super) fn permit(&self) -> &Permit {
        self.authorized.permit()
    }
    pub(super) fn asked(&self) -> &Asked {
        &self.authorized.routed().asked
    }
    pub(super) fn received_at(&self) -> Timestamp {
        self.authorized.routed().exchange.received_at
    }
    /// What the app will be told.
    pub(super) fn assertion<'a>(&'a self, app: &'a AppState) -> Facts<'a> {
        let permit = self.authorized.permit();
        Facts {
            principal: permit.principal(),
            device: permit.device(),
            authentication: permit.authentication(),
            app: &app.policy,
            audience: &app.config.audience,
            credential_until: self.authorized.expires_at(),
        }
    }
    /// With more known of where it goes, asked about once more.
    ///
    /// # Errors
    /// What is now known is not permitted.
    pub(super) fn decide_again(mut self, state: &State) -> Result<Self, Denial> {
        let permit = decide::again(state, &self.authorized)?;
        self.authorized.under(permit);
        Ok(self)
    }
    pub(super) fn place_again(&mut self, known: Known) {
        self.authorized.place_again(known);
    }
    /// The request, what a lease holds on to, and the place among the tunnels.
    pub(super) fn into_parts(self) -> (Box<Routed>, Credentials, Option<Reservation>) {
        let (routed, credentials) = self.authorized.into_parts();
        (routed, credentials, self.reservation)
    }
}

pub(super) fn admit(authorized: Authorized, facts: &mut trail::Facts) -> Result<Admitted, Denial> {
    let routed = authorized.routed();
    let permit = authorized.permit();
    let subject = LimitSubject {
        address: routed.client_address,
        device: permit.device().id(),
        principal: permit.principal().id(),
        method: &routed.exchange.head.method,
    };
    match routed.asked.limits().admit(&subject) {
        Ok(observed) => facts.observed_limits.extend(observed),
        Err(exceeded) => return Err(exceeded.into()),
    }
    let reservation = match &routed.asked {
        Asked::Destination(errand) if errand.goal.tunnel => Some(reserve(errand, &authorized)?),
        Asked::Destination(_) | Asked::App(_) => None,
    };
    Ok(Admitted {
        authorized,
        reservation,
    })
}

/// A place among the tunnels: they are held, so there are only so many, for one device and for all.
fn reserve(errand: &Errand, authorized: &Authorized) -> Result<Reservation, Denial> {
    let device = authorized.permit().device().id();
    let reserved = errand.egress.tunnels.try_reserve(device);
    reserved.map_err(|full| Denial::new(full.reason()).with_detail(full.to_string()))
}
