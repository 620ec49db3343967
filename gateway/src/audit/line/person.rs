//! Lines about people: sign-ins, sessions, factors, accounts.

use std::net::IpAddr;

use serde::Serialize;

use super::{AuthenticationPart, Hex, Shown, VERSION, put};
use crate::audit::event::{Actor, Person};
use crate::audit::text::{Caps, Cutter, Stamp, Texts};
use crate::exchange::RequestId;

#[derive(Serialize)]
struct PersonLine<'a> {
    v: u8,
    seq: u64,
    time: Stamp,
    r#type: &'static str,
    log: &'static str,
    generation: u64,
    event: &'static str,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    #[serde(skip_serializing_if = "<&bool as std::ops::Not>::not")]
    alert: &'a bool,
    by: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    provider: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<Shown<RequestId>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    principal: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    issuer: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<&'a str>,
    #[serde(skip_serializing_if = "Texts::is_empty")]
    factors: Texts<'a, Box<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    authentication: Option<AuthenticationPart<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    app: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thumbprint: Option<Hex>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_address: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    truncated: &'a [&'static str],
}

pub(super) fn write(
    buffer: &mut Vec<u8>,
    caps: Caps,
    seq: u64,
    event: &Person,
) -> serde_json::Result<()> {
    let mut cutter = Cutter::new(caps);
    let mut text = |field, text: &Option<Box<str>>| {
        // Bound to the event, which outlives the line.
        text.as_deref()
            .map(|text| cutter.text(field, text).to_owned())
    };
    let principal = text("principal", &event.principal);
    let name = text("name", &event.name);
    let issuer = text("issuer", &event.issuer);
    let app = text("app", &event.app);
    let device = text("device", &event.device);
    let detail = text("detail", &event.detail);
    let (by, provider) = match &event.by {
        Actor::Person => ("person", None),
        Actor::Administrator => ("administrator", None),
        Actor::Provider(name) => ("provider", Some(&**name)),
        Actor::Scim => ("scim", None),
        Actor::Gateway => ("gateway", None),
    };
    let factors = cutter.list("factors", &event.factors);
    let authentication = event
        .authentication
        .as_deref()
        .map(|proof| AuthenticationPart::of(proof, event.at, &mut cutter));
    put(
        buffer,
        &PersonLine {
            v: VERSION,
            seq,
            time: Stamp::new(event.at),
            r#type: "person",
            log: event.kind.log(),
            generation: event.generation,
            event: event.kind.as_str(),
            outcome: if event.failure.is_none() {
                "success"
            } else {
                "failure"
            },
            code: event.failure,
            alert: &event.kind.is_alert(),
            by,
            provider,
            request_id: event.request.map(Shown),
            principal: principal.as_deref(),
            name: name.as_deref(),
            issuer: issuer.as_deref(),
            session: event.session.as_deref(),
            factors,
            authentication,
            app: app.as_deref(),
            device: device.as_deref(),
            thumbprint: event.thumbprint.as_ref().map(Hex::of),
            client_address: event.client.map(|client| client.ip().to_canonical()),
            detail: detail.as_deref(),
            truncated: &cutter.cut,
        },
    )
}

#[cfg(test)]
#[path = "person_tests.rs"]
pub(super) mod tests;
