//! The device behind a connection: its certificate still good, its inventory row known, single and active.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use masugata_certs::RevocationStatus;
use masugata_policy::{Device, Timestamp};

use crate::connection::{Connection, IdentityError};
use crate::denial::{Denial, DenialReason};
use crate::inventory::{DeviceState, Lookup};
use crate::state::State;

/// Asked for every request, not once per connection: a certificate expires, is revoked, its authority is withdrawn, or
/// its device is reported lost while connections are open, and TLS resumption accepts revoked certificates.
pub(in crate::pipeline) fn establish(
    state: &State,
    connection: &Connection,
    now: Timestamp,
) -> Result<Arc<Device>, Denial> {
    if let Some(problem) = &connection.identity_problem {
        // A resumed session does not have its certificate validated again by TLS.
        let reason = if *problem == IdentityError::NotValidNow {
            DenialReason::DeviceCertificateExpired
        } else {
            DenialReason::DeviceUnknown
        };
        return Err(Denial::new(reason).with_detail(problem.to_string()));
    }
    let peer = connection
        .device()
        .ok_or(DenialReason::DeviceCertificateMissing)?;
    if !peer.is_valid_at(now.as_seconds()) {
        return Err(DenialReason::DeviceCertificateExpired.into());
    }
    if connection.vouched.load(Ordering::Relaxed) != state.trust {
        if !state.authorities.vouch_for(peer, now.as_seconds()) {
            return Err(Denial::new(DenialReason::DeviceCertificateRevoked)
                .with_detail("its authority is no longer configured"));
        }
        connection.vouched.store(state.trust, Ordering::Relaxed);
    }
    match state.revocations.status(peer, now.as_seconds()) {
        RevocationStatus::Good | RevocationStatus::NoList => {}
        RevocationStatus::Revoked => return Err(DenialReason::DeviceCertificateRevoked.into()),
        RevocationStatus::ListOverdue { .. } if state.config.devices.refuse_on_expired_list => {
            return Err(Denial::new(DenialReason::DeviceCertificateRevoked)
                .with_detail("revocation list is overdue"));
        }
        RevocationStatus::ListOverdue { .. } => {}
    }
    let record = match state.inventory.resolve(peer.identity().as_str()) {
        Lookup::Found(record) => record,
        Lookup::Unknown => return Err(DenialReason::DeviceUnknown.into()),
        Lookup::Ambiguous => return Err(DenialReason::DeviceAmbiguous.into()),
    };
    match record.state {
        DeviceState::Active => Ok(Arc::clone(&record.device)),
        DeviceState::Suspended | DeviceState::Lost | DeviceState::Retired => {
            Err(Denial::new(DenialReason::DeviceSuspended).with_detail(record.state.as_str()))
        }
    }
}
