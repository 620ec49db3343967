//! Bearer tokens (RFC 6750 §2.1): cached when already verified, counted when not.

use std::sync::Arc;
use std::time::Instant;

use masugata_policy::Timestamp;

use super::{Credentials, Offer, Source};
use crate::connection::Connection;
use crate::denial::Denial;
use crate::gateway::Shared;
use crate::issuer::Identity;
use crate::limits::lockout::{self, Failed};
use crate::state::State;

pub(super) async fn offer(
    shared: &Shared,
    state: &State,
    connection: &Connection,
    token: &str,
    now: Timestamp,
) -> Offer {
    let thumbprint = connection
        .device()
        .map(masugata_certs::VerifiedPeer::thumbprint);
    if let Some(identity) = state.issuers.cached(token, thumbprint, now) {
        shared.metrics.tokens_hit.increment();
        return Offer::Verified(credentials(identity));
    }
    shared.metrics.tokens_missed.increment();
    // Only a token that has to be verified is held up: a lock must not end what is already proved.
    let source = lockout::Source::of(connection);
    let instant = shared.clock.monotonic();
    if let Err(locked) = shared.lockout.check(&source, instant) {
        return Offer::Failed(locked.into());
    }
    // Boxed: hardly any request comes here, and none should carry the room for it.
    match Box::pin(state.issuers.verify(token, thumbprint, now)).await {
        Ok(identity) => {
            shared.lockout.succeeded(&source);
            Offer::Verified(credentials(identity))
        }
        Err(error) => {
            let denial = Denial::from(error);
            count(shared, &source, instant, &denial);
            Offer::Failed(denial)
        }
    }
}

/// Counts a failed credential, whichever kind it was, against where it came from.
pub(super) fn count(
    shared: &Shared,
    source: &lockout::Source<'_>,
    instant: Instant,
    denial: &Denial,
) {
    if lockout::counts_as_failure(denial.reason)
        && let Failed::Locked(time) = shared.lockout.failed(source, instant)
    {
        shared.record("locked-out", format!("{source} for {} s", time.as_secs()));
    }
}

fn credentials(identity: Arc<Identity>) -> Credentials {
    Credentials {
        principal: identity.principal().clone(),
        authentication: identity.authentication().clone(),
        expires_at: identity.usable_until(),
        source: Source::Token(identity),
    }
}
