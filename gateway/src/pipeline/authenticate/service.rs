//! Service accounts: programs known by their device certificate alone.

use super::{Credentials, Offer};
use crate::inventory::Record;
use crate::pipeline::route::Routed;
use crate::state::State;

/// Offered when the device is one that a service account runs on. The certificate was verified with the connection.
pub(super) fn offer(state: &State, routed: &Routed, record: &Record) -> Offer {
    let Some(account) = state.services.get(record.device.id()) else {
        return Offer::Absent;
    };
    let Some(peer) = routed.exchange.connection.device() else {
        return Offer::Absent;
    };
    Offer::Verified(Credentials {
        principal: account.principal.clone(),
        authentication: account.authentication.clone(),
        expires_at: masugata_policy::Timestamp::from_seconds(peer.not_after_seconds()),
    })
}
