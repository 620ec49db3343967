//! A proxy password for whoever shows a token: for programs that can do Basic and nothing else, on the device that asks.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Response};
use masugata_policy::{Guidance, Timestamp};
use secrecy::ExposeSecret as _;
use serde::Serialize;

use super::super::authenticate::{self, Credentials};
use crate::audit::trail::Facts;
use crate::connection::Connection;
use crate::denial::{Denial, DenialReason};
use crate::egress::password::Sealed;
use crate::gateway::Shared;
use crate::state::{EgressState, State};

/// Where passwords are asked for, on `why_host`, with POST and `Authorization: Bearer`.
pub(super) const PATH: &str = "/proxy-password";

/// By whom, and when.
pub(super) struct Asked<'a> {
    pub(super) connection: &'a Connection,
    pub(super) headers: &'a HeaderMap,
    pub(super) now: Timestamp,
}

/// What comes back, as JSON. It has no `Debug`.
#[derive(Serialize)]
struct Issued<'a> {
    password: &'a str,
    user: &'a str,
    device: &'a str,
    /// RFC 3339.
    expires_at: String,
}

/// Makes one, with what the token said of the person sealed in. It counts on this device's certificate only, so a token
/// that would count anywhere is only taken from the device's own owner: it may have been stolen.
pub(super) async fn issue(
    shared: &Shared,
    state: &State,
    egress: &EgressState,
    asked: &Asked<'_>,
    facts: &mut Facts,
) -> Result<Response<Bytes>, Denial> {
    let key = egress
        .password_key
        .as_ref()
        .filter(|_| egress.config.credentials.password)
        .ok_or(DenialReason::RouteNotFound)?;
    let Asked {
        connection,
        headers,
        now,
    } = *asked;
    let credentials = authenticate::by_token(shared, state, connection, headers, now).await?;
    facts.principal = Some(credentials.principal.clone());
    facts.authentication = Some(credentials.authentication.clone());
    check_holder(state, connection, &credentials)?;
    authenticate::check_assurance(&egress.config.requirements, &credentials, now)?;
    let peer = connection
        .device()
        .ok_or(DenialReason::DeviceCertificateMissing)?;
    // The certificate counts in its last second too.
    let ends = Timestamp::from_seconds(peer.not_after_seconds().saturating_add(1));
    let expires = now.plus(egress.config.password_lifetime).min(ends);
    let (principal, known) = (&credentials.principal, &credentials.authentication);
    let sealed =
        Sealed::new(principal, known, peer.thumbprint(), now, expires).map_err(|error| {
            Denial::new(DenialReason::CredentialInvalid).with_detail(error.to_string())
        })?;
    let password = key.seal(&sealed);
    let device = facts.device.as_ref().map_or("", |device| device.id());
    let expires_at = jiff::Timestamp::from_millisecond(expires.as_millis())
        .unwrap_or(jiff::Timestamp::UNIX_EPOCH)
        .to_string();
    shared.record(
        "proxy-password-issued",
        format!("device={device} user={} until={expires_at}", principal.id()),
    );
    let issued = Issued {
        password: password.expose_secret(),
        user: principal.id(),
        device,
        expires_at,
    };
    let body = serde_json::to_vec(&issued)
        .map_err(|error| Denial::new(DenialReason::Internal).with_detail(error.to_string()))?;
    let mut response = Response::new(Bytes::from(body));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

fn check_holder(
    state: &State,
    connection: &Connection,
    credentials: &Credentials,
) -> Result<(), Denial> {
    let owner = authenticate::owner_of(state, connection);
    let is_owner = owner.is_some_and(|owner| owner.id() == credentials.principal.id());
    if is_owner || credentials.authentication.certificate_bound {
        return Ok(());
    }
    let said = |text: &str| Some(text.into());
    // Our own words for this code are about a token that is bound to another certificate.
    let guidance = Guidance {
        reason_en: said(
            "The token counts on any device, and this one is not registered in your name.",
        ),
        reason_ja: said(
            "どの端末でも使えるトークンですが、この端末はあなたの名前で登録されていません。",
        ),
        remedy_en: said(
            "Use the device that is registered in your name, or a token that is bound to this one.",
        ),
        remedy_ja: said(
            "あなたの名前で登録された端末を使うか、この端末に結び付いたトークンを使ってください。",
        ),
    };
    let denial = Denial::new(DenialReason::CredentialNotBound);
    Err(Denial {
        guidance: Some(Arc::new(guidance)),
        ..denial
            .with_detail("neither bound to this certificate nor the token of the device's owner")
    })
}
