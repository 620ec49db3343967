//! Upgrades: WebSocket and others over HTTP/1.1 (RFC 9110 §7.8), WebSocket over HTTP/2 (RFC 8441), in all four
//! combinations of the two sides. The client is told of success only after the upstream has agreed.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{
    CONNECTION, HeaderMap, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use http_body::Body as HttpBody;
use hyper::body::Incoming;
use hyper::ext::Protocol;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::time::{Duration, Instant, sleep};

use super::body::Body;
use super::headers::{self, tokens};
use super::reverse::{Plan, answer, connected, fit, send};
use super::tunnel;
use super::watch::Watch;
use super::websocket::Frames;
use crate::audit::event::Outcome;
use crate::framing::{Upgrade as Asked, upgrade_of};
use crate::upstream::{Checkout, ForwardError, Http2Facts, Link, RequestBody, SendFailure, Want};

const WEBSOCKET: &[u8] = b"websocket";
/// RFC 6455 §1.3.
const ACCEPT_SUFFIX: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// How long a new HTTP/2 connection may take to tell its settings.
const SETTINGS_PATIENCE: Duration = Duration::from_millis(500);

/// An upgrade the client asks for.
pub(super) struct Upgrade {
    downstream: OnUpgrade,
    /// The `Upgrade` field to send; `websocket` for one over HTTP/2.
    protocol: HeaderValue,
    over_http2: bool,
}

impl Upgrade {
    fn is_websocket(&self) -> bool {
        self.protocol.as_bytes().eq_ignore_ascii_case(WEBSOCKET)
    }
}

/// What the request asks for, if anything: exactly where [`upgrade_of`] says so, because that is what the policies were
/// asked about.
///
/// # Errors
/// `UpgradeNotAllowed` where the app takes none, and for CONNECT without an upgrade; `Malformed` with a body.
pub(super) fn wanted(
    head: &mut Parts,
    body: &Incoming,
    allowed: bool,
) -> Result<Option<Upgrade>, ForwardError> {
    let over_http2 = head.method == Method::CONNECT;
    let protocol = if over_http2 {
        match head.extensions.get::<Protocol>() {
            Some(protocol) if protocol.as_str().as_bytes() == WEBSOCKET => {
                HeaderValue::from_static("websocket")
            }
            Some(_) | None => return Err(ForwardError::UpgradeNotAllowed),
        }
    } else {
        match offered(head) {
            Some(protocol) => protocol,
            None => return Ok(None),
        }
    };
    if !allowed {
        return Err(ForwardError::UpgradeNotAllowed);
    }
    if !body.is_end_stream() {
        return Err(ForwardError::Malformed("it has a body before its upgrade"));
    }
    let downstream = head
        .extensions
        .remove::<OnUpgrade>()
        .ok_or(ForwardError::UpgradeNotAllowed)?;
    let upgrade = Upgrade {
        downstream,
        protocol,
        over_http2,
    };
    if upgrade.is_websocket() && !over_http2 && head.method != Method::GET {
        return Err(ForwardError::Malformed("a WebSocket begins with GET"));
    }
    Ok(Some(upgrade))
}

fn offered(head: &Parts) -> Option<HeaderValue> {
    match upgrade_of(head) {
        Asked::None => None,
        Asked::WebSocket | Asked::Other => head.headers.get(UPGRADE).cloned(),
    }
}

/// Asks the upstream, and joins the two sides if it agrees. Its refusal is passed on as it is.
pub(super) async fn forward(
    mut head: Parts,
    upgrade: Upgrade,
    plan: Plan,
) -> Result<Response<Body>, ForwardError> {
    let mut watch = Watch::new(&plan.app.timeouts);
    // Never sent twice: a handshake that was lost may have been acted on.
    let mut stale: u8 = 0;
    let (mut response, checkout, key) = loop {
        let server = plan.app.group.choose(None)?;
        let mut checkout = connected(server, Want::Upgrade, &mut watch).await?;
        plan.trail.upstream(server.authority(), 1);
        let key = handshake_key(&head.headers, &upgrade, &plan);
        if let Some(Link::Http2(stream)) = checkout.link() {
            let facts = Arc::clone(&stream.facts);
            offered_by_peer(facts).await?;
        }
        let request = request(head, &upgrade, &key, &checkout, &plan)?;
        match send(&mut checkout, request, &mut watch, None, &plan).await {
            Ok(response) => break (response, checkout, key),
            Err(SendFailure {
                unsent: Some(unsent),
                ..
            }) if checkout.is_reused() && stale < 2 => {
                stale = stale.saturating_add(1);
                head = unsent.into_parts().0;
            }
            Err(failure) => {
                if failure.error.blames_upstream() {
                    server.failed();
                }
                return Err(failure.error);
            }
        }
    };
    let agreed = match checkout.is_http2() {
        true => response.status() == StatusCode::OK,
        false => response.status() == StatusCode::SWITCHING_PROTOCOLS,
    };
    if !agreed {
        // To a client over HTTP/2 any 2xx would mean that the tunnel stands; and over HTTP/1.1 it would be the answer to a
        // request to read, which nobody decided about.
        if response.status().is_success() {
            return Err(ForwardError::UpgradeFailed("it answers without upgrading"));
        }
        return Ok(answer(response, checkout, watch, None, plan));
    }
    if !checkout.is_http2() {
        verify(&response, &upgrade, &key)?;
    }
    checkout.server().succeeded();
    let upstream = hyper::upgrade::on(&mut response);
    let ours = accepted(&response, &upgrade, &key, &plan);
    join(checkout, upstream, upgrade, watch, plan);
    Ok(ours)
}

/// The WebSocket key the answer is checked against: the client's, or one of ours where HTTP/2 has none.
fn handshake_key(headers: &HeaderMap, upgrade: &Upgrade, plan: &Plan) -> Option<HeaderValue> {
    if !upgrade.is_websocket() {
        return None;
    }
    if !upgrade.over_http2
        && let Some(key) = headers.get(SEC_WEBSOCKET_KEY)
    {
        return Some(key.clone());
    }
    let mut random = [0; 16];
    plan.app.instance.entropy.fill(&mut random);
    HeaderValue::try_from(STANDARD.encode(random)).ok()
}

/// Waits until an HTTP/2 upstream has said whether it takes WebSockets.
async fn offered_by_peer(facts: Arc<Http2Facts>) -> Result<(), ForwardError> {
    let deadline = Instant::now() + SETTINGS_PATIENCE;
    while !facts.offers_extended_connect() {
        if Instant::now() >= deadline {
            return Err(ForwardError::UpgradeFailed(
                "it takes no WebSockets over HTTP/2",
            ));
        }
        facts.refresh();
        sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

fn request(
    head: Parts,
    upgrade: &Upgrade,
    key: &Option<HeaderValue>,
    checkout: &Checkout,
    plan: &Plan,
) -> Result<Request<RequestBody>, ForwardError> {
    let mut request = Request::from_parts(head, RequestBody::Empty);
    if checkout.is_http2() {
        if !upgrade.is_websocket() {
            return Err(ForwardError::UpgradeFailed(
                "HTTP/2 carries WebSockets only",
            ));
        }
        *request.method_mut() = Method::CONNECT;
        request
            .extensions_mut()
            .insert(Protocol::from_static("websocket"));
        request.headers_mut().remove(SEC_WEBSOCKET_KEY);
        request.headers_mut().remove(UPGRADE);
        fit(&mut request, checkout, plan)?;
        return Ok(request);
    }
    if upgrade.over_http2 {
        *request.method_mut() = Method::GET;
        request.extensions_mut().remove::<Protocol>();
    }
    fit(&mut request, checkout, plan)?;
    let headers = request.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, upgrade.protocol.clone());
    if let Some(key) = key {
        headers.insert(SEC_WEBSOCKET_KEY, key.clone());
        if !headers.contains_key(SEC_WEBSOCKET_VERSION) {
            headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        }
    }
    Ok(request)
}

/// A 101 must name one of the protocols asked for, and answer the key (RFC 6455 §4.1).
fn verify(
    response: &Response<Incoming>,
    upgrade: &Upgrade,
    key: &Option<HeaderValue>,
) -> Result<(), ForwardError> {
    let named = response.headers().get(UPGRADE).map(HeaderValue::as_bytes);
    let asked = |chosen: &[u8]| {
        tokens(upgrade.protocol.as_bytes()).any(|token| token.eq_ignore_ascii_case(chosen))
    };
    if !named.is_some_and(asked) {
        return Err(ForwardError::UpgradeFailed(
            "it switches to another protocol",
        ));
    }
    let Some(key) = key else { return Ok(()) };
    if response.headers().get(SEC_WEBSOCKET_ACCEPT) == Some(&accept_value(key)) {
        Ok(())
    } else {
        Err(ForwardError::UpgradeFailed(
            "its answer to the key is wrong",
        ))
    }
}

fn accept_value(key: &HeaderValue) -> HeaderValue {
    let mut text = key.as_bytes().to_vec();
    text.extend_from_slice(ACCEPT_SUFFIX);
    let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, &text);
    HeaderValue::try_from(STANDARD.encode(hash.as_ref()))
        .unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// What the client is told: 101, or over HTTP/2 200.
fn accepted(
    response: &Response<Incoming>,
    upgrade: &Upgrade,
    key: &Option<HeaderValue>,
    plan: &Plan,
) -> Response<Body> {
    let mut ours = Response::new(Body::empty());
    let mut fields = response.headers().clone();
    let chosen = fields
        .get(UPGRADE)
        .cloned()
        .unwrap_or_else(|| upgrade.protocol.clone());
    headers::prepare_response(
        &mut fields,
        plan.app.instance.via(response.version()),
        &plan.app.response_edits,
    );
    fields.remove(http::header::CONTENT_LENGTH);
    if upgrade.over_http2 {
        fields.remove(SEC_WEBSOCKET_ACCEPT);
    } else {
        *ours.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        fields.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        fields.insert(UPGRADE, chosen);
        if let Some(key) = key {
            fields.insert(SEC_WEBSOCKET_ACCEPT, accept_value(key));
        }
    }
    *ours.headers_mut() = fields;
    ours
}

/// Starts the tunnel; it keeps its place at the server, the trail and the lease until it ends.
fn join(checkout: Checkout, upstream: OnUpgrade, upgrade: Upgrade, mut watch: Watch, plan: Plan) {
    let (place, stream) = checkout.into_tunnel();
    let frames = upgrade.is_websocket().then(Frames::default);
    tokio::spawn(async move {
        let held = (place, stream);
        let both = async { tokio::try_join!(upgrade.downstream, upstream) };
        let both = tokio::time::timeout(plan.app.timeouts.idle, both);
        let (downstream, upstream) = tokio::select! {
            biased;
            () = plan.lease.cut_off() => return plan.trail.end(Outcome::ShutDown),
            both = both => match both {
                Ok(Ok(both)) => both,
                Ok(Err(_)) => return plan.trail.end(Outcome::ClientGone),
                Err(_) => {
                    let outcome = ForwardError::IdleTimedOut.outcome();
                    return plan.trail.end(outcome);
                }
            },
        };
        watch.skip();
        let (mut downstream, upstream) = (TokioIo::new(downstream), TokioIo::new(upstream));
        let record = (&plan.trail, &*plan.lease);
        let ended = tunnel::run(&mut downstream, upstream, watch, record, frames).await;
        // The app's end goes first: from here on nothing passes.
        drop(held);
        plan.trail.end(ended.outcome);
        if let Some(goodbye) = ended.goodbye {
            tunnel::part(downstream, goodbye).await;
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_the_rfc_has_the_answer_of_the_rfc() {
        let key = HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(accept_value(&key), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    fn head(upgrade: &'static str, connection: &'static str) -> Parts {
        Request::builder()
            .header("upgrade", upgrade)
            .header("connection", connection)
            .body(())
            .unwrap()
            .into_parts()
            .0
    }

    #[test]
    fn versions_of_http_and_tls_are_not_upgraded_to() {
        assert_eq!(offered(&head("h2c", "Upgrade, HTTP2-Settings")), None);
        assert_eq!(offered(&head("TLS/1.2, HTTP/2.0", "upgrade")), None);
    }

    #[test]
    fn what_was_not_decided_as_an_upgrade_is_not_made_one() {
        for list in [
            "h2c, websocket",
            "websocket, h2c",
            "websocket, tls",
            "HTTP/2.0, websocket",
        ] {
            assert_eq!(offered(&head(list, "keep-alive, Upgrade")), None, "{list}");
        }
        assert_eq!(offered(&head("websocket", "upgrade")).unwrap(), "websocket");
    }

    #[test]
    fn an_upgrade_that_the_connection_does_not_name_is_none() {
        assert_eq!(offered(&head("websocket", "keep-alive")), None);
    }
}
