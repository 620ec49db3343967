//! First stage: is this one well-formed request for something we serve, on a connection that may ask for it?

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::Response;
use http::header::COOKIE;
use http::request::Parts;
use masugata_policy::Action;

use super::well_known;
use crate::audit::trail::Facts;
use crate::denial::{Denial, DenialReason};
use crate::exchange::Exchange;
use crate::forward::headers;
use crate::framing::{self, Violation};
use crate::state::{AppState, State};

/// A request with the app it is for.
pub(super) struct Routed {
    pub(super) exchange: Exchange,
    pub(super) app: Arc<AppState>,
    pub(super) action: Action,
    /// Lower case, without port.
    pub(super) host: Box<str>,
    /// The client, or what a trusted forwarder says it is.
    pub(super) client_address: IpAddr,
    pub(super) from_trusted_forwarder: bool,
}

/// What a request is for.
pub(super) enum Target {
    App(Box<Routed>),
    /// A built-in public endpoint, answered already.
    WellKnown(Box<Response<Bytes>>),
}

pub(super) fn resolve(
    state: &State,
    exchange: Exchange,
    violation: Option<Violation>,
    facts: &mut Facts,
) -> Result<Target, Denial> {
    if let Some(violation) = violation {
        return Err(violation.into());
    }
    let head = &exchange.head;
    // HTTP/1.1 was counted on the wire; h2 bounds bytes only.
    if fields(head) > state.config.ingress.bounds.header_count {
        return Err(Denial::new(DenialReason::HeaderTooLarge).with_detail("too many fields"));
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
    if let Some(response) = well_known::answer(state, head, &host, exchange.received_at) {
        return Ok(Target::WellKnown(Box::new(response)));
    }
    let app = Arc::clone(
        state
            .routes
            .resolve(&host, head.uri.path())
            .ok_or(DenialReason::RouteNotFound)?,
    );
    let action = framing::action_of(head)?;
    facts.app = Some(Arc::clone(&app.policy));
    facts.action = Some(action);
    if action == Action::Connect && !app.config.upgrades {
        return Err(DenialReason::UpgradeNotAllowed.into());
    }
    let (client_address, from_trusted_forwarder) = state.client_address(&exchange);
    Ok(Target::App(Box::new(Routed {
        exchange,
        app,
        action,
        host,
        client_address,
        from_trusted_forwarder,
    })))
}

/// How many fields a head has. Browsers send each cookie in a field of its own over HTTP/2 (RFC 9113 §8.2.3): they are one.
fn fields(head: &Parts) -> usize {
    let cookies = head.headers.get_all(COOKIE).iter().count();
    head.headers.len() - cookies.saturating_sub(1)
}
