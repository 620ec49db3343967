//! First stage: is this one well-formed request for something we serve, on a connection that may ask for it?

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::COOKIE;
use http::request::Parts;
use http::{Method, Response, Version};
use masugata_policy::Action;

use super::asked::Asked;
use super::own_hosts::{self, Own};
use super::well_known;
use crate::audit::trail::Facts;
use crate::config::Bounds;
use crate::denial::{Denial, DenialReason};
use crate::exchange::Exchange;
use crate::forward::headers;
use crate::framing::{self, Violation};
use crate::sign_in;
use crate::state::{EgressState, State};

/// A request with what it is for.
pub(super) struct Routed {
    pub(super) exchange: Box<Exchange>,
    pub(super) asked: Asked,
    pub(super) action: Action,
    /// Lower case, without port.
    pub(super) host: Box<str>,
    /// Decoded, where it was encoded at all.
    pub(super) decoded_path: Option<Box<str>>,
    /// The client, or what a trusted forwarder says it is.
    pub(super) client_address: IpAddr,
    pub(super) from_trusted_forwarder: bool,
}

impl Routed {
    /// The path as the app reads it.
    pub(super) fn path(&self) -> &str {
        let written = || self.exchange.head.uri.path();
        self.decoded_path.as_deref().unwrap_or_else(written)
    }
}

/// What a request is for.
pub(super) enum Target {
    App(Box<Routed>),
    /// A built-in public endpoint, answered already.
    WellKnown(Box<Response<Bytes>>),
    /// Another system provisions people.
    Scim(Box<Exchange>),
    /// A device's own refusals.
    Why(Arc<EgressState>, Box<Exchange>),
    /// Where people sign in, on its own host or on an app's.
    Own(Own, Box<Exchange>),
}

pub(super) fn resolve(
    state: &State,
    exchange: Box<Exchange>,
    violation: Option<Violation>,
    facts: &mut Facts,
) -> Result<Target, Denial> {
    if let Some(violation) = violation {
        return Err(violation.into());
    }
    let head = &exchange.head;
    if head.version == Version::HTTP_2 {
        check_size(head, &state.config.ingress.bounds)?;
    }
    let parsed = framing::parse(head)?;
    let host: Box<str> = parsed.host().into();
    facts.host = Some(host.clone());
    if !state.host_modes.may_serve(&exchange.connection.tls, &host) {
        return Err(DenialReason::Misdirected.into());
    }
    if headers::is_loop(&head.headers, state.instance.pseudonym()) {
        return Err(DenialReason::LoopDetected.into());
    }
    let scim = state.config.scim.as_ref();
    if scim.is_some_and(|scim| scim.host == *host) {
        return Ok(Target::Scim(exchange));
    }
    if let Some(response) = well_known::answer(state, head, &host, exchange.received_at) {
        return Ok(Target::WellKnown(Box::new(response)));
    }
    if matches!(head.method, Method::GET | Method::HEAD)
        && let Some(response) = state.brand.logo(head).or_else(|| script(state, head))
    {
        return Ok(Target::WellKnown(Box::new(response)));
    }
    if let Some(egress) = &state.egress {
        if let Some(response) = own_hosts::pac(egress, head, &host) {
            return Ok(Target::WellKnown(Box::new(response)));
        }
        if egress.config.why_host.as_deref() == Some(&*host) {
            return Ok(Target::Why(Arc::clone(egress), exchange));
        }
    }
    let path = framing::decoded_path(head.uri.path());
    if let Some(own) = Own::of(state, &host, &path) {
        return Ok(Target::Own(own, exchange));
    }
    let app = Arc::clone(
        state
            .routes
            .resolve(&host, &path)
            .ok_or(DenialReason::RouteNotFound)?,
    );
    let decoded_path = match path {
        Cow::Borrowed(_) => None,
        Cow::Owned(path) => Some(path.into()),
    };
    let action = framing::action_of(head)?;
    facts.app = Some(Arc::clone(&app.policy));
    facts.action = Some(action);
    if action == Action::Connect && !app.config.upgrades {
        return Err(DenialReason::UpgradeNotAllowed.into());
    }
    let (client_address, from_trusted_forwarder) =
        state.client_address(&exchange.connection, &exchange.head.headers);
    Ok(Target::App(Box::new(Routed {
        exchange,
        asked: Asked::App(app),
        action,
        host,
        decoded_path,
        client_address,
        from_trusted_forwarder,
    })))
}

/// What our own pages run; public, as there is nothing in it.
fn script(state: &State, head: &Parts) -> Option<Response<Bytes>> {
    state.config.sign_in.as_ref()?;
    sign_in::pages::asset(&head.method, head.uri.path())
}

/// HTTP/1.1 is counted on the wire. Sizes are those of RFC 9113 §6.5.2; browsers send each cookie in a field of its own
/// (§8.2.3), and all of them count as one.
pub(super) fn check_size(head: &Parts, bounds: &Bounds) -> Result<(), Denial> {
    const FIELD: usize = 32;
    let mut bytes = head.uri.path().len() + head.uri.query().map_or(0, str::len);
    let (mut fields, mut cookies) = (0, 0);
    for (name, value) in &head.headers {
        bytes += name.as_str().len() + value.len() + FIELD;
        *(if name == COOKIE {
            &mut cookies
        } else {
            &mut fields
        }) += 1;
    }
    if bytes > bounds.header_bytes {
        return Err(Denial::new(DenialReason::HeaderTooLarge).with_detail("too many bytes"));
    }
    if fields + cookies.min(1) > bounds.header_count {
        return Err(Denial::new(DenialReason::HeaderTooLarge).with_detail("too many fields"));
    }
    Ok(())
}
