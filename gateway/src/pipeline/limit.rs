//! Fifth stage: rate limits of the person, the device, the address and the app. After the decision, so that a stranger
//! cannot use up somebody's quota.

use masugata_policy::{Permit, Timestamp};

use super::asked::Asked;
use super::authenticate::Credentials;
use super::decide::Authorized;
use super::route::Routed;
use crate::assertion::Facts;
use crate::audit::trail;
use crate::denial::Denial;
use crate::limits::quota::LimitSubject;
use crate::state::AppState;

/// A request that may be forwarded; the only thing `forward` accepts.
pub(super) struct Admitted(Authorized);

impl Admitted {
    pub(super) fn permit(&self) -> &Permit {
        self.0.permit()
    }
    pub(super) fn asked(&self) -> &Asked {
        &self.0.routed().asked
    }
    pub(super) fn received_at(&self) -> Timestamp {
        self.0.routed().exchange.received_at
    }
    /// What the app will be told.
    pub(super) fn assertion<'a>(&'a self, app: &'a AppState) -> Facts<'a> {
        let permit = self.0.permit();
        Facts {
            principal: permit.principal(),
            device: permit.device(),
            authentication: permit.authentication(),
            app: &app.policy,
            audience: &app.config.audience,
            credential_until: self.0.expires_at(),
        }
    }
    pub(super) fn into_parts(self) -> (Box<Routed>, Credentials) {
        self.0.into_parts()
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
    Ok(Admitted(authorized))
}
