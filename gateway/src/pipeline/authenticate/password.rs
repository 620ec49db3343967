//! Proxy passwords: what programs send that can do Basic (RFC 7617) and nothing else. Sealed by us for one device, so there
//! is nothing to look up and nothing to guess; failures count all the same.

use std::sync::Arc;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use masugata_policy::Timestamp;

use super::bearer::count;
use super::{Credentials, Offer, Source, credential};
use crate::connection::Connection;
use crate::denial::Denial;
use crate::egress::password::PasswordKey;
use crate::gateway::Shared;
use crate::limits::lockout;

/// Programs leave the padding out, or not.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Opens the password in `pair`, which is still encoded. The user-id says nothing: programs insist on one.
pub(super) fn offer(
    shared: &Shared,
    key: &PasswordKey,
    connection: &Connection,
    pair: &str,
    now: Timestamp,
) -> Offer {
    match open(key, connection, pair, now) {
        Ok(credentials) => Offer::Verified(credentials),
        Err(denial) => {
            // Opening costs no more than asking for a lock, so a good password is never held up by one.
            let source = lockout::Source::of(connection);
            let instant = shared.clock.monotonic();
            if let Err(locked) = shared.lockout.check(&source, instant) {
                return Offer::Failed(locked.into());
            }
            count(shared, &source, instant, &denial);
            Offer::Failed(denial)
        }
    }
}

fn open(
    key: &PasswordKey,
    connection: &Connection,
    pair: &str,
    now: Timestamp,
) -> Result<Credentials, Denial> {
    let pair = BASE64
        .decode(pair)
        .map_err(|_error| credential::malformed("not Base64 behind Basic"))?;
    let pair = String::from_utf8(pair)
        .map_err(|_error| credential::malformed("not UTF-8 behind Basic"))?;
    let (_user, password) = pair
        .split_once(':')
        .ok_or_else(|| credential::malformed("no colon behind Basic"))?;
    let peer = connection
        .device()
        .ok_or_else(|| credential::malformed("a password without a device"))?;
    let opened = key.open(password, peer.thumbprint(), now)?;
    Ok(Credentials {
        principal: Arc::clone(&opened.principal),
        authentication: Arc::clone(&opened.authentication),
        expires_at: opened.expires_at,
        source: Source::Password(opened),
    })
}
