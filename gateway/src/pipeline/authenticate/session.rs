//! Sessions of people who signed in with a browser: a cookie, its session, the certificate that it is bound to.
//!
//! The way of nearly every request of a person: one hash, one look-up, one atomic store, no lock.

use std::sync::Arc;

use http::HeaderMap;
use masugata_policy::{Level, Timestamp};

use super::{Credentials, Offer, Source, credential};
use crate::audit::trail::Facts;
use crate::connection::Connection;
use crate::denial::{Denial, DenialReason};
use crate::exchange::RequestId;
use crate::gateway::Shared;
use crate::session::cookie::{self, Brought};
use crate::session::{Over, Session, Which};
use crate::sign_in::record;
use crate::state::State;

/// Where a cookie is looked for, and in what company it came.
pub(in crate::pipeline) struct At<'a> {
    pub(in crate::pipeline) shared: &'a Shared,
    /// Lower case, without port.
    pub(in crate::pipeline) host: &'a str,
    pub(in crate::pipeline) connection: &'a Connection,
    pub(in crate::pipeline) headers: &'a HeaderMap,
    pub(in crate::pipeline) request: RequestId,
}

/// What a request brings.
enum Found {
    Nothing,
    /// A cookie of ours that leads to no session: ended, or never made.
    Unknown,
    One(Arc<Session>),
}

impl At<'_> {
    /// The session that the cookie leads to, for pages that work without one as well.
    ///
    /// # Errors
    /// It is stolen, or there are several.
    pub(in crate::pipeline) fn find(&self) -> Result<Option<Arc<Session>>, Denial> {
        match self.look()? {
            Found::One(session) => Ok(Some(session)),
            Found::Unknown | Found::Nothing => Ok(None),
        }
    }

    /// For a connection whose device is not accepted: a live cookie that does not belong to its certificate is stolen all
    /// the same.
    ///
    /// # Errors
    /// What to answer then.
    pub(in crate::pipeline) fn refuse_stolen(&self) -> Result<(), Denial> {
        self.find().map(drop)
    }

    fn look(&self) -> Result<Found, Denial> {
        let Some(sessions) = &self.shared.sessions else {
            return Ok(Found::Nothing);
        };
        let secret = match cookie::brought(self.headers, cookie::SESSION) {
            Brought::Nothing => return Ok(Found::Nothing),
            Brought::Unreadable => return Ok(Found::Unknown),
            Brought::Several => return Err(credential::malformed("more than one session")),
            Brought::One(secret) => secret,
        };
        let Some(session) = sessions.find(self.host, &secret) else {
            return Ok(Found::Unknown);
        };
        let thumbprint = self.connection.device().map(|peer| peer.thumbprint());
        if thumbprint == Some(&session.thumbprint) {
            return Ok(Found::One(session));
        }
        Err(self.stolen(&session))
    }

    /// Somebody has the cookie without the device: nobody goes on with it, its owner neither, who hears of it by that.
    fn stolen(&self, session: &Arc<Session>) -> Denial {
        let shared = self.shared;
        if let Some(sessions) = &shared.sessions {
            let ending = sessions.end(&Which::Family(session.family));
            shared.cut();
            let when = (shared.clock.now(), shared.state().generation);
            if !ending.ended.is_empty() {
                let theft = record::of_theft(session, self.connection, self.request, when);
                shared.auditor.person(theft);
                tracing::warn!(session = %session.family, device = %session.device, "a session was used without its device");
            }
        }
        let reason = match self.connection.device() {
            Some(_) => DenialReason::CredentialNotBound,
            None => DenialReason::DeviceCertificateMissing,
        };
        Denial::new(reason).with_detail("the session is bound to another certificate")
    }
}

/// Offered when the request has a cookie of ours.
pub(super) fn offer(
    state: &State,
    at: &At<'_>,
    level: Level,
    facts: &mut Facts,
    now: Timestamp,
) -> Offer {
    let session = match at.look() {
        Ok(Found::Nothing) => return Offer::Absent,
        Ok(Found::Unknown) => {
            let denial = Denial::new(DenialReason::CredentialExpired);
            return Offer::Failed(denial.with_detail("no session has this cookie"));
        }
        Ok(Found::One(session)) => session,
        Err(denial) => return Offer::Failed(denial),
    };
    facts.session = Some(Arc::clone(&session));
    match good(state, &session, level, now) {
        Ok(credentials) => {
            session.touch(now);
            Offer::Verified(credentials)
        }
        Err(denial) => {
            facts.principal = Some(session.principal());
            Offer::Failed(denial)
        }
    }
}

/// What the session is worth for an app of that level now; a lease asks it again.
///
/// # Errors
/// It has ended or is too old, or its provider is not configured any more.
pub(in crate::pipeline) fn good(
    state: &State,
    session: &Arc<Session>,
    level: Level,
    now: Timestamp,
) -> Result<Credentials, Denial> {
    let (Some(sign_in), Some(config)) = (&state.sign_in, &state.config.sign_in) else {
        return Err(DenialReason::CredentialInvalid.into());
    };
    if !sign_in.vouches_for(session) {
        let denial = Denial::new(DenialReason::CredentialExpired);
        return Err(denial.with_detail("nobody signs in at its provider any more"));
    }
    let lifetime = config.lifetimes.of(level);
    session.check(lifetime, now).map_err(|over: Over| {
        Denial::new(DenialReason::CredentialExpired).with_detail(over.to_string())
    })?;
    Ok(Credentials {
        principal: session.principal(),
        authentication: Arc::clone(&session.authentication),
        expires_at: session.ends_at(lifetime),
        source: Source::Session(Arc::clone(session), level),
    })
}
