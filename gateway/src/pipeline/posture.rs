//! Third stage: is what is demanded of a device known, fresh and good? Policies may read the same facts; this stage
//! exists so that the person is told exactly which one to repair.

use masugata_policy::{Device, Timestamp};

use super::authenticate::Authenticated;
use crate::config::Requirements;
use crate::denial::Denial;

/// A request from a device that meets the app's posture requirements.
pub(super) struct Assessed(Authenticated);

impl Assessed {
    pub(in crate::pipeline) fn into_parts(self) -> Authenticated {
        self.0
    }
}

pub(super) fn assess(authenticated: Authenticated) -> Result<Assessed, Denial> {
    let routed = authenticated.routed();
    check(
        routed.asked.requirements(),
        authenticated.device(),
        routed.exchange.received_at,
    )?;
    Ok(Assessed(authenticated))
}

/// The rule itself; a lease asks it again.
pub(super) fn check(
    requirements: &Requirements,
    device: &Device,
    now: Timestamp,
) -> Result<(), Denial> {
    Ok(device.posture().assess(&requirements.posture, now)?)
}
