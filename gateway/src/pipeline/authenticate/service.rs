//! Service accounts: programs known by their device certificate alone.

use masugata_policy::{Device, Timestamp};

use super::{Credentials, Offer, Source};
use crate::connection::Connection;
use crate::state::State;

/// Offered when the device is one that a service account runs on. The certificate was verified with the connection.
pub(super) fn offer(state: &State, connection: &Connection, device: &Device) -> Offer {
    let Some(account) = state.services.get(device.id()) else {
        return Offer::Absent;
    };
    let Some(peer) = connection.device() else {
        return Offer::Absent;
    };
    Offer::Verified(Credentials {
        principal: account.principal.clone(),
        authentication: account.authentication.clone(),
        expires_at: Timestamp::from_seconds(peer.not_after_seconds()),
        source: Source::Service,
    })
}
