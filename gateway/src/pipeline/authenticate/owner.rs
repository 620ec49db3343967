//! The owner of an enrolled device: known at the egress by the device's certificate alone, because many programs can say
//! nothing more. One factor; policies may ask for another.

use std::sync::Arc;

use masugata_policy::{Principal, Timestamp};

use super::{Credentials, Offer, Source};
use crate::connection::Connection;
use crate::inventory::Lookup;
use crate::state::{EgressState, State};

/// Offered when the inventory has an owner for the device, for as long as its certificate lasts.
pub(super) fn offer(state: &State, egress: &EgressState, connection: &Connection) -> Offer {
    if !egress.config.credentials.owner {
        return Offer::Absent;
    }
    let (Some(peer), Some(principal)) = (connection.device(), of(state, connection)) else {
        return Offer::Absent;
    };
    Offer::Verified(Credentials {
        principal: Arc::clone(principal),
        authentication: Arc::clone(&egress.owner),
        expires_at: Timestamp::from_seconds(peer.not_after_seconds()),
        source: Source::Owner,
    })
}

/// Whose the device of that connection is today.
pub(in crate::pipeline) fn of<'a>(
    state: &'a State,
    connection: &Connection,
) -> Option<&'a Arc<Principal>> {
    let peer = connection.device()?;
    match state.inventory.resolve(peer.identity().as_str()) {
        Lookup::Found(record) => record.owner.as_ref(),
        Lookup::Unknown | Lookup::Ambiguous => None,
    }
}
