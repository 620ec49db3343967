//! Fifth stage: rate limits of the person, the device, the address and the app. After the decision, so that a stranger
//! cannot use up somebody's quota.

use std::net::IpAddr;
use std::sync::Arc;

use masugata_policy::{Permit, Timestamp};

use super::decide::Authorized;
use crate::audit::trail::Facts;
use crate::denial::{Denial, DenialReason};
use crate::exchange::Exchange;
use crate::limits::quota::LimitSubject;
use crate::state::{AppState, State};

/// A request that may be forwarded; the only thing `forward` accepts.
pub(super) struct Admitted(Authorized);

impl Admitted {
    pub(super) fn permit(&self) -> &Permit {
        self.0.permit()
    }
    pub(super) fn authorized(&self) -> &Authorized {
        &self.0
    }
    pub(in crate::pipeline) fn into_parts(self) -> (Exchange, Arc<AppState>, Permit, IpAddr, bool) {
        let (routed, permit, _expires_at): (_, _, Timestamp) = self.0.into_parts();
        (routed.exchange, routed.app, permit, routed.client_address, routed.from_trusted_forwarder)
    }
}

pub(super) fn admit(state: &State, authorized: Authorized, facts: &mut Facts) -> Result<Admitted, Denial> {
    let routed = authorized.routed();
    let permit = authorized.permit();
    let subject = LimitSubject {
        address: routed.client_address,
        device: permit.device().id(),
        principal: permit.principal().id(),
        app: permit.app().name(),
        method: &routed.exchange.head.method,
    };
    match state.limits.admit(&subject) {
        Ok(observed) => facts.observed_limits.extend(observed),
        Err(exceeded) => {
            return Err(Denial::new(DenialReason::QuotaExceeded)
                .with_retry_after(exceeded.retry_after)
                .with_detail(format!("limit `{}`", exceeded.limit)));
        }
    }
    Ok(Admitted(authorized))
}
