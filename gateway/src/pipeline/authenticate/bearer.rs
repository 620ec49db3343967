//! Bearer tokens (RFC 6750 §2.1, in the `Authorization` header only): cached when already verified, counted when not.

use std::sync::Arc;

use http::header::AUTHORIZATION;
use masugata_policy::Timestamp;

use super::{Credentials, Offer};
use crate::denial::{Denial, DenialReason};
use crate::gateway::Shared;
use crate::issuer::Identity;
use crate::limits::lockout::{self, Failed, Source};
use crate::pipeline::route::Routed;
use crate::state::State;

pub(super) async fn offer(
    shared: &Shared,
    state: &State,
    routed: &Routed,
    now: Timestamp,
) -> Offer {
    let token = match token_of(routed) {
        Ok(Some(token)) => token,
        Ok(None) => return Offer::Absent,
        Err(denial) => return Offer::Failed(denial),
    };
    let connection = &routed.exchange.connection;
    let thumbprint = connection
        .device()
        .map(masugata_certs::VerifiedPeer::thumbprint);
    if let Some(identity) = state.issuers.cached(token, thumbprint, now) {
        shared.metrics.tokens_hit.increment();
        return Offer::Verified(credentials(identity));
    }
    shared.metrics.tokens_missed.increment();
    // Only a token that has to be verified is held up: a lock must not end what is already proved.
    let source = Source::of(connection);
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
            if lockout::counts_as_failure(denial.reason)
                && let Failed::Locked(time) = shared.lockout.failed(&source, instant)
            {
                shared.record("locked-out", format!("{source} for {} s", time.as_secs()));
            }
            Offer::Failed(denial)
        }
    }
}

/// The token, if exactly one credential was sent and it is one.
fn token_of(routed: &Routed) -> Result<Option<&str>, Denial> {
    let mut values = routed.exchange.head.headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(Denial::new(DenialReason::CredentialMalformed)
            .with_detail("more than one Authorization field"));
    }
    let text = value
        .to_str()
        .map_err(|_error| DenialReason::CredentialMalformed)?;
    let (scheme, token) = text.split_once(' ').unwrap_or((text, ""));
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(
            Denial::new(DenialReason::CredentialMalformed).with_detail("not a Bearer credential")
        );
    }
    let token = token.trim_start_matches(' ');
    if token.is_empty() {
        return Err(
            Denial::new(DenialReason::CredentialMalformed).with_detail("empty Bearer token")
        );
    }
    Ok(Some(token))
}

fn credentials(identity: Arc<Identity>) -> Credentials {
    Credentials {
        principal: identity.principal().clone(),
        authentication: identity.authentication().clone(),
        expires_at: identity.usable_until(),
        identity: Some(identity),
    }
}
