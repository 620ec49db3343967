//! Where providers tell that somebody signed out there (OpenID Connect Back-Channel Logout 1.0). Anybody can ask; only a
//! token that the provider signed ends anything.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode};
use hyper::body::Incoming;

use super::collect;
use super::fields::Fields;
use crate::audit::event::Actor;
use crate::connection::Connection;
use crate::denial::{Denial, DenialReason};
use crate::egress::pages::form;
use crate::gateway::Shared;
use crate::limits::lockout::{Failed, Source};
use crate::session::Which;
use crate::state::SignInState;

const PREFIX: &str = "/backchannel-logout/";

/// Bytes of a form with one token.
const LONGEST: usize = 64 * 1024;

/// POST `/backchannel-logout/<issuer>`
///
/// # Errors
/// [`Denial`]: another path or method, or too many bad tokens from there.
pub(crate) async fn receive(
    shared: &Arc<Shared>,
    sign_in: &SignInState,
    connection: &Connection,
    head: &Parts,
    body: Incoming,
) -> Result<Response<Bytes>, Denial> {
    let issuer = head.uri.path().strip_prefix(PREFIX);
    let issuer = issuer.ok_or(DenialReason::RouteNotFound)?;
    if head.method != Method::POST {
        return Err(DenialReason::MethodNotAllowed.into());
    }
    let source = Source::of(connection);
    let instant = shared.clock.monotonic();
    shared.lockout.check(&source, instant)?;
    let Some(token) = token(head, body).await else {
        return Ok(answer(StatusCode::BAD_REQUEST));
    };
    let providers = &sign_in.providers;
    match providers
        .logout_token(issuer, &token, shared.clock.now())
        .await
    {
        Ok(notice) => {
            shared.lockout.succeeded(&source);
            let by = Actor::Provider(notice.issuer.clone());
            let which = Which::Provider {
                issuer: notice.issuer,
                subject: notice.subject,
                session: notice.session,
            };
            let _ended = shared.end_sessions(&which, by, "signed out there").await;
            Ok(answer(StatusCode::OK))
        }
        Err(fault) => {
            tracing::debug!(issuer, %fault, "logout token refused");
            if let Failed::Locked(time) = shared.lockout.failed(&source, instant) {
                let seconds = time.as_secs();
                shared.record("locked-out", format!("{source} for {seconds} s"));
            }
            Ok(answer(StatusCode::BAD_REQUEST))
        }
    }
}

async fn token(head: &Parts, body: Incoming) -> Option<String> {
    if !form::is_form(&head.headers) {
        return None;
    }
    let body = collect(body, LONGEST).await?;
    let fields = Fields::parse(std::str::from_utf8(&body).ok()?)?;
    fields.one("logout_token").map(str::to_owned)
}

/// §2.8: 200, or 400 with an error; never kept anywhere.
fn answer(status: StatusCode) -> Response<Bytes> {
    let body = if status.is_success() {
        Bytes::new()
    } else {
        Bytes::from_static(br#"{"error":"invalid_request"}"#)
    };
    let length = HeaderValue::from(body.len());
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(CONTENT_LENGTH, length);
    if !status.is_success() {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    response
}
