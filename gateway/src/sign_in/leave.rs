//! Signing out: here, and at the provider if it has a page for that (OpenID Connect RP-Initiated Logout).

use std::sync::Arc;

use bytes::Bytes;
use http::header::{HeaderName, SET_COOKIE};
use http::{HeaderValue, Response};
use hyper::body::Incoming;

use super::fault::OwnFault;
use super::{Visitor, pages, see};
use crate::audit::event::Actor;
use crate::denial::Denial;
use crate::session::cookie;
use crate::session::{Secret, Secrets, Session, SessionId, Which};

/// POST `/sign-out`
pub(super) async fn sign_out(
    visitor: &Visitor<'_>,
    body: Incoming,
) -> Result<Response<Bytes>, Denial> {
    let Some(session) = &visitor.session else {
        return Ok(pages::signed_out(&visitor.look(), None));
    };
    if let Err(fault) = visitor.form(session, body).await {
        return Ok(visitor.fail(&fault.into(), None));
    }
    let provider = visitor.sign_in.providers.by_issuer_name(&session.issuer);
    let secrets = end_family(visitor, session).await.unwrap_or_default();
    let back_to = format!("{}/signed-out", visitor.sign_in.origin);
    // Nobody asks for it again: what comes back changes nothing.
    let state = Secret::new(&*visitor.shared.entropy).expose();
    let onward = provider.and_then(|provider| {
        let link = provider.sign_out_url(secrets.id_token.as_ref(), &back_to, &state)?;
        Some((provider.label(), link))
    });
    let shown = onward.as_ref().map(|(label, link)| (*label, link.as_str()));
    let mut response = pages::signed_out(&visitor.look(), shown);
    let headers = response.headers_mut();
    headers.append(SET_COOKIE, cookie::unset(cookie::SESSION));
    // Not a redirect: `form-action` would have to name wherever the provider may lead.
    let refresh = onward.and_then(|(_, link)| HeaderValue::try_from(format!("0;url={link}")).ok());
    headers.extend(refresh.map(|refresh| (HeaderName::from_static("refresh"), refresh)));
    Ok(response)
}

/// POST `/sessions/end`: one of the person's own.
pub(super) async fn end_one(
    visitor: &Visitor<'_>,
    body: Incoming,
) -> Result<Response<Bytes>, Denial> {
    let Some(session) = &visitor.session else {
        return Ok(visitor.fail(&OwnFault::SignedOut.into(), Some("/")));
    };
    let fields = match visitor.form(session, body).await {
        Ok(fields) => fields,
        Err(fault) => return Ok(visitor.fail(&fault.into(), Some("/"))),
    };
    let id = fields.one("session").and_then(SessionId::parse);
    let mine = visitor.sessions.of(session.principal().id());
    let Some(id) = id.filter(|id| mine.iter().any(|view| view.id == id.to_string())) else {
        // Somebody else's, or over already: nothing is told apart.
        return Ok(see(&format!("{}/", visitor.sign_in.origin), None));
    };
    let which = Which::Family(id);
    let why = "ended by the person";
    visitor
        .shared
        .end_sessions(&which, Actor::Person, why)
        .await;
    Ok(see(&format!("{}/", visitor.sign_in.origin), None))
}

/// Ends the family of a session, puts it on record as a sign-out, and gives back what the provider is owed.
pub(super) async fn end_family(visitor: &Visitor<'_>, session: &Arc<Session>) -> Option<Secrets> {
    let secrets = visitor.sessions.secrets(session).await;
    let ending = visitor.sessions.end(&Which::Family(session.family));
    visitor.shared.cut();
    for ended in ending.durable().await {
        visitor.record_sign_out(&ended);
    }
    let token = secrets.as_ref().and_then(|it| it.refresh_token.clone());
    let provider = visitor.sign_in.providers.by_issuer_name(&session.issuer);
    if let (Some(token), Some(provider)) = (token, provider.map(Arc::clone)) {
        // The person need not wait for it.
        tokio::spawn(async move { provider.revoke(&token).await });
    }
    secrets
}
