//! The way back from a provider: the browser that left, with an answer that is believed only after every check.

use std::sync::Arc;

use bytes::Bytes;
use http::Response;
use masugata_policy::Timestamp;
use secrecy::ExposeSecret as _;

use super::Visitor;
use super::fault::{Fault, OwnFault};
use super::fields::Fields;
use super::need::{self, Need};
use super::start::{self, Wish};
use crate::audit::event::{Actor, PersonKind};
use crate::relying_party::{Attempt, Provider, SignedIn};
use crate::session::cookie::{self, Print};
use crate::session::{Beginning, OneTime, Secrets, Session, Which};

/// A sign-in under way, known by its `state`.
pub(super) struct Pending {
    /// SHA-256 of the attempt cookie of the browser that left.
    pub(super) browser: Print,
    /// Of the device's certificate.
    pub(super) thumbprint: [u8; 32],
    pub(super) wish: Wish,
    pub(super) need: Need,
    pub(super) attempt: Attempt,
}

impl Pending {
    pub(super) fn keep(self, attempts: &OneTime<Self>, device: &str, now: Timestamp) {
        let key = cookie::Key::of_text(self.attempt.state().expose_secret());
        attempts.put(key, device, self, now);
    }
}

/// `/callback/<issuer>`
pub(super) async fn callback(visitor: &Visitor<'_>, issuer: &str) -> Response<Bytes> {
    let query = visitor.head.uri.query().unwrap_or_default();
    let Some(pending) = pending(visitor, issuer, query) else {
        let fault = Fault::from(OwnFault::AttemptUnknown);
        visitor.record_failure(&fault, Some(issuer), &Wish::own("/"));
        // To the person's own page: where they wanted to be is not known.
        let again = format!("{}/", visitor.sign_in.origin);
        return visitor.fail(&fault, Some(&again));
    };
    let Some(provider) = visitor.sign_in.providers.by_issuer_name(issuer) else {
        return visitor.fail(&OwnFault::ProviderUnknown.into(), None);
    };
    let Pending {
        wish,
        need,
        attempt,
        ..
    } = pending;
    let completed = provider.complete(attempt, query, visitor.now).await;
    let who = completed.as_ref().ok().map(|it| Arc::clone(&it.principal));
    let outcome = match completed {
        Ok(signed_in) => admit(visitor, provider, &wish, need, signed_in).await,
        Err(error) => Err(error.into()),
    };
    outcome.unwrap_or_else(|fault| {
        let who = who.as_ref().map(|who| who.id());
        visitor.record_failure_of(who, &fault, Some(issuer), &wish);
        visitor.fail(&fault, Some(&wish.again(visitor.state)))
    })
}

/// The sign-in of that answer, if it was begun by this browser on this device at that provider. It is used up.
fn pending(visitor: &Visitor<'_>, issuer: &str, query: &str) -> Option<Pending> {
    let fields = Fields::parse(query)?;
    let key = cookie::Key::of_text(fields.one("state")?);
    let browser = cookie::brought(&visitor.head.headers, cookie::ATTEMPT).one()?;
    let pending = visitor.under_way().attempts.take(&key, visitor.now)?;
    let same = pending.browser.is_of(&browser)
        && pending.thumbprint == visitor.thumbprint
        && pending.attempt.issuer() == issuer;
    same.then_some(pending)
}

/// Makes a session of what the provider vouches for, and goes on.
async fn admit(
    visitor: &Visitor<'_>,
    provider: &Arc<Provider>,
    wish: &Wish,
    need: Need,
    signed_in: SignedIn,
) -> Result<Response<Bytes>, Fault> {
    let (state, name) = (visitor.state, provider.name());
    // The provider took its time.
    let now = visitor.shared.clock.now();
    let requirements = wish.target.app().map(|it| &it.app.config.requirements);
    if !need::is_met(&signed_in, need, requirements, name, now) {
        return Err(OwnFault::NotEnough.into());
    }
    if visitor.shared.is_inactive(&signed_in.principal) {
        return Err(OwnFault::AccountDisabled.into());
    }
    let lifetimes = state.config.sign_in.as_ref().map(|it| it.lifetimes);
    let lifetime = lifetimes.map(|it| match wish.target.app() {
        Some(target) => it.of(target.app.config.level),
        None => it.longest(),
    });
    let proved_at = signed_in.authentication.authenticated_at.unwrap_or(now);
    if let Some(lifetime) = lifetime
        && now >= proved_at.plus(lifetime.absolute)
    {
        // The provider let in whoever signed in there long ago: once more, and this time it is told how old is too old.
        if need.max_age.is_some() {
            return Err(OwnFault::NotEnough.into());
        }
        let mut fresher = need;
        fresher.ask_age(lifetime.absolute.as_secs());
        return Ok(start::ask(visitor, wish.clone(), fresher, provider, None).await);
    }
    let before = visitor.session.as_ref();
    let (session, cookie) = begin(visitor, provider, need, signed_in, now).await?;
    let step_up = before.is_some_and(|before| before.family == session.family);
    if let Some(before) = before.filter(|_| !step_up) {
        let which = Which::Family(before.family);
        let why = "another sign-in in the same browser";
        visitor
            .shared
            .end_sessions(&which, Actor::Gateway, why)
            .await;
    }
    let kind = if step_up {
        PersonKind::StepUp
    } else {
        PersonKind::SignIn
    };
    visitor.record_session(kind, &session, wish.target.app());
    Ok(start::arrive(visitor, wish, &session, Some(cookie)))
}

async fn begin(
    visitor: &Visitor<'_>,
    provider: &Provider,
    need: Need,
    signed_in: SignedIn,
    now: Timestamp,
) -> Result<(Arc<Session>, http::HeaderValue), Fault> {
    let issuers = &visitor.sign_in.issuers;
    let issuer_url = issuers
        .get(provider.name())
        .ok_or(OwnFault::ProviderUnknown)?;
    let refresh_at = signed_in.refresh_token.as_ref();
    let beginning = Beginning {
        principal: signed_in.principal,
        authentication: signed_in.authentication,
        issuer: provider.name().into(),
        issuer_url: issuer_url.clone(),
        subject: signed_in.subject,
        provider_session: signed_in.provider_session,
        email: signed_in.email,
        user_name: signed_in.user_name,
        device: visitor.device.id().into(),
        thumbprint: visitor.thumbprint,
        asked: need.asked,
        refresh_at: refresh_at.map(|_| signed_in.vouched_until),
        secrets: Secrets {
            id_token: Some(signed_in.id_token),
            refresh_token: signed_in.refresh_token,
        },
    };
    let before = visitor.session.as_deref();
    let begun = visitor.sessions.begin(visitor.host, beginning, before, now);
    match begun.await {
        Ok((session, secret)) => Ok((session, cookie::set(cookie::SESSION, &secret))),
        Err(error) => {
            tracing::error!(%error, "nobody can sign in");
            Err(OwnFault::StoreUnavailable.into())
        }
    }
}
