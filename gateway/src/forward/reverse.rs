//! Requests and responses: one exchange with an upstream, tried again only where that cannot do harm.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    CONNECTION, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue, MAX_FORWARDS, TE,
    TRANSFER_ENCODING,
};
use http::request::Parts;
use http::uri::{Authority, PathAndQuery};
use http::{Method, Request, Response, StatusCode, Uri, Version};
use http_body::Body as HttpBody;
use hyper::body::Incoming;

use super::app::HostChoice;
use super::body::Body;
use super::headers::{self, RequestFacts};
use super::watch::{STEP, Watch};
use super::{AppForward, Lease, Outbound, upgrade, uri};
use crate::audit::event::Outcome;
use crate::audit::trail::CompletionTrail;
use crate::upstream::{
    Checkout, ForwardError, Link, RequestBody, Retry, SendFailure, Server, UploadEnd, UploadState,
    Want,
};

/// How long a client that asks first (`Expect: 100-continue`) waits for an upstream that does not answer the question.
const EXPECT_PATIENCE: Duration = Duration::from_secs(1);
/// Connections found closed in a row before we stop believing in the next one.
const STALE_LIMIT: u8 = 8;

/// Sends a permitted request to its app and gives the answer. The trail is told which upstream answered, the bytes both
/// ways and, through the body, how it ended; the caller tells it the status, and on an error how it ended
/// ([`ForwardError::outcome`]).
///
/// # Errors
/// Whatever kept the upstream from giving an answer, with code, status and `Proxy-Status`.
pub async fn forward(outbound: Outbound) -> Result<Response<Body>, ForwardError> {
    let Outbound {
        mut head,
        body,
        app,
        connection,
        client_address,
        request_id,
        assertion,
        from_trusted_forwarder,
        trail,
        lease,
    } = outbound;
    if head.method == Method::OPTIONS && is_last_hop(&mut head.headers)? {
        return Ok(Response::new(Body::recorded(
            Bytes::new(),
            trail,
            Outcome::Completed,
        )));
    }
    let upgrade = upgrade::wanted(&mut head, &body, app.upgrades)?;
    let host = addressed_host(&head)?;
    let target = target(&head.uri, &app)?;
    let held = expects_continue(&mut head, &body);
    let taken = headers::prepare_request(
        &mut head.headers,
        RequestFacts {
            host: &host,
            peer: connection.remote.ip(),
            client: client_address,
            trusted: from_trusted_forwarder,
            request_id,
            assertion,
            forward_authorization: app.forward_authorization,
            disclose: app.disclose,
            via: app.instance.via(head.version),
            edits: &app.request_edits,
        },
    );
    head.extensions.clear();
    let plan = Plan {
        app,
        host,
        target,
        trailers: taken.trailers,
        trail,
        lease,
    };
    if let Some(upgrade) = upgrade {
        return Box::pin(upgrade::forward(head, upgrade, plan)).await;
    }
    let (body, upload) = upload(body, &plan, held)?;
    let mut request = Request::from_parts(head, body);
    if let Some(upload) = upload.as_ref().filter(|upload| upload.is_held()) {
        let upload = Arc::clone(upload);
        hyper::ext::on_informational(&mut request, move |response| {
            if response.status() == StatusCode::CONTINUE {
                upload.let_go();
            }
        });
    }
    exchange(request, upload, plan).await
}

/// What stays the same however often the request is sent.
pub(super) struct Plan {
    pub(super) app: Arc<AppForward>,
    /// As the client addressed us.
    pub(super) host: HeaderValue,
    /// Set when it differs from the request's own.
    pub(super) target: Option<PathAndQuery>,
    /// The client takes trailers.
    pub(super) trailers: bool,
    pub(super) trail: Arc<CompletionTrail>,
    pub(super) lease: Arc<dyn Lease>,
}

async fn exchange(
    mut request: Request<RequestBody>,
    upload: Option<Arc<UploadState>>,
    plan: Plan,
) -> Result<Response<Body>, ForwardError> {
    let app = &plan.app;
    let retries = app.group.retries();
    let replay = Replay::of(&request, retries);
    let mut watch = Watch::new(&app.timeouts);
    let mut failures: u8 = 0;
    let mut stale: u8 = 0;
    let mut attempts: u8 = 0;
    let mut avoid: Option<Arc<Server>> = None;
    let (response, checkout) = loop {
        let server = app.group.choose(avoid.as_ref())?;
        let mut checkout = match connected(server, Want::Any, &mut watch).await {
            Ok(checkout) => checkout,
            Err(error) if error.retry() == Retry::NothingSent && failures < retries => {
                failures = failures.saturating_add(1);
                avoid = Some(Arc::clone(server));
                continue;
            }
            Err(error) => {
                plan.trail.upstream(server.authority(), attempts);
                return Err(error);
            }
        };
        fit(&mut request, &checkout, &plan)?;
        attempts = attempts.saturating_add(1);
        let sent = send(&mut checkout, request, &mut watch, upload.as_deref(), &plan).await;
        let SendFailure { error, unsent } = match sent {
            Ok(response) => break (response, checkout),
            Err(failure) => failure,
        };
        let again = match unsent {
            // The connection had been closed while it was idle: not the server's fault, and nothing was sent.
            Some(unsent) if checkout.is_reused() && stale < STALE_LIMIT => {
                stale = stale.saturating_add(1);
                attempts = attempts.saturating_sub(1);
                server.discard_closed();
                request = *unsent;
                continue;
            }
            Some(unsent) => Some(*unsent),
            None if error.retry() == Retry::IfIdempotent => {
                replay.as_ref().and_then(Replay::request)
            }
            None => None,
        };
        let error = blame(error, upload.as_deref());
        if error.blames_upstream() {
            server.failed();
        }
        match again {
            Some(again) if failures < retries && error.retry() != Retry::Never => {
                failures = failures.saturating_add(1);
                avoid = Some(Arc::clone(server));
                request = again;
            }
            _ => {
                plan.trail.upstream(server.authority(), attempts);
                return Err(error);
            }
        }
    };
    plan.trail.upstream(checkout.server().authority(), attempts);
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return Err(ForwardError::Protocol {
            what: "it switches protocols unasked",
            source: None,
        });
    }
    if !headers::is_plainly_coded(response.headers()) {
        checkout.server().failed();
        return Err(ForwardError::Protocol {
            what: "its transfer coding is not `chunked`",
            source: None,
        });
    }
    Ok(answer(response, checkout, watch, upload, plan))
}

/// A connection to `server`: one that is idle, or else a new one.
pub(super) async fn connected(
    server: &Arc<Server>,
    want: Want,
    watch: &mut Watch,
) -> Result<Checkout, ForwardError> {
    if let Some(checkout) = server.checkout_idle(want) {
        return Ok(checkout);
    }
    // Boxed: the usual request does not come here, and should not carry the room for it.
    let connected = Box::pin(server.checkout(want)).await;
    watch.skip();
    if let Err(error) = &connected
        && error.blames_upstream()
    {
        server.failed();
    }
    connected
}

/// Sends, and waits for the response head within all limits.
pub(super) async fn send(
    checkout: &mut Checkout,
    request: Request<RequestBody>,
    watch: &mut Watch,
    upload: Option<&UploadState>,
    plan: &Plan,
) -> Result<Response<Incoming>, SendFailure> {
    if let Some(Link::Http1(wire)) = checkout.link_mut() {
        watch.adopt(wire.timer.take());
    }
    let mut waiting = Waiting {
        watch,
        upload,
        lease: &*plan.lease,
        limit: plan.app.timeouts.response_header,
        waited: Duration::ZERO,
        held: Duration::ZERO,
        moved: 0,
    };
    checkout.send(request, |cx| waiting.poll(cx)).await
}

/// The limits that run while there is no response head.
struct Waiting<'a> {
    watch: &'a mut Watch,
    upload: Option<&'a UploadState>,
    lease: &'a dyn Lease,
    limit: Duration,
    /// Since the upload ended.
    waited: Duration,
    held: Duration,
    moved: u64,
}

impl Waiting<'_> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ForwardError> {
        while let Poll::Ready(passed) = self.watch.poll_step(cx) {
            if let Err(error) = self.judge(passed) {
                return Poll::Ready(error);
            }
        }
        Poll::Pending
    }

    fn judge(&mut self, passed: Duration) -> Result<(), ForwardError> {
        let running = self
            .upload
            .filter(|upload| upload.end() == UploadEnd::Running);
        let Some(upload) = running else {
            self.watch.judge(passed, true, self.lease)?;
            self.waited = self.waited.saturating_add(passed);
            return if self.waited >= self.limit {
                Err(ForwardError::HeaderTimedOut)
            } else {
                Ok(())
            };
        };
        if upload.is_held() {
            self.held = self.held.saturating_add(passed);
            if self.held >= EXPECT_PATIENCE {
                upload.let_go();
            }
        }
        let moved = upload.moved();
        let judged = self.watch.judge(passed, moved != self.moved, self.lease);
        self.moved = moved;
        match judged {
            Err(ForwardError::IdleTimedOut) if upload.awaits_client() => {
                Err(ForwardError::RequestTimedOut)
            }
            judged => judged,
        }
    }
}

/// An upload that was stopped shows as a broken connection; says what it really was.
pub(super) fn blame(error: ForwardError, upload: Option<&UploadState>) -> ForwardError {
    match upload.map(UploadState::end) {
        Some(UploadEnd::TooLarge) => ForwardError::BodyTooLarge,
        Some(UploadEnd::Malformed(violation)) => ForwardError::Violated(violation),
        Some(UploadEnd::ClientGone) => ForwardError::ClientGone,
        Some(UploadEnd::Running | UploadEnd::Finished) | None => error,
    }
}

/// Turns an upstream's response into ours.
pub(super) fn answer(
    response: Response<Incoming>,
    mut checkout: Checkout,
    mut watch: Watch,
    upload: Option<Arc<UploadState>>,
    plan: Plan,
) -> Response<Body> {
    let app = &plan.app;
    let (mut parts, incoming) = response.into_parts();
    match parts.status {
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
            checkout.server().failed()
        }
        _ => checkout.server().succeeded(),
    }
    let via = app.instance.via(parts.version);
    headers::prepare_response(&mut parts.headers, via, &app.response_edits);
    parts.version = Version::HTTP_11;
    let uploading = upload
        .as_ref()
        .filter(|upload| upload.end() != UploadEnd::Finished);
    if incoming.is_end_stream() {
        match uploading {
            Some(upload) => upload.abort(),
            None => {
                if let Some(Link::Http1(wire)) = checkout.link_mut() {
                    wire.timer = watch.surrender();
                }
                checkout.give_back();
            }
        }
        let body = Body::recorded(Bytes::new(), plan.trail, Outcome::Completed);
        return Response::from_parts(parts, body);
    }
    if let Some(upload) = uploading {
        if let Some(Link::Http1(wire)) = checkout.link_mut()
            && !upload.is_held()
        {
            // Upload and download at once: neither must wait for the other.
            wire.detach();
        }
        tokio::spawn(hold_to_lease(Arc::clone(upload), Arc::clone(&plan.lease)));
    }
    let body = Body::streaming(incoming, checkout, watch, upload, plan.trail, plan.lease);
    Response::from_parts(parts, body)
}

/// Asks the lease for an upload that goes on beside its response: a client that takes nothing of the response keeps
/// whoever carries that from asking.
async fn hold_to_lease(upload: Arc<UploadState>, lease: Arc<dyn Lease>) {
    while upload.goes_on() {
        tokio::time::sleep(STEP).await;
        if lease.check().is_err() {
            upload.abort();
        }
    }
}

/// A request that can be sent again: idempotent and without a body.
struct Replay {
    method: Method,
    uri: Uri,
    // One piece of memory, not a map: it is nearly always thrown away, and a clone of a map counts references up and
    // down once for each field.
    text: Vec<u8>,
    fields: usize,
}

impl Replay {
    fn of(request: &Request<RequestBody>, retries: u8) -> Option<Self> {
        let empty = matches!(request.body(), RequestBody::Empty);
        if retries == 0 || !empty || !request.method().is_idempotent() {
            return None;
        }
        let mut text = Vec::with_capacity(2048);
        for (name, value) in request.headers() {
            // Neither a name nor a value has a line feed; the first byte of a value says whether it is secret.
            text.extend_from_slice(name.as_str().as_bytes());
            text.extend_from_slice(if value.is_sensitive() { b"\ns" } else { b"\n-" });
            text.extend_from_slice(value.as_bytes());
            text.push(b'\n');
        }
        Some(Self {
            method: request.method().clone(),
            uri: request.uri().clone(),
            text,
            fields: request.headers().len(),
        })
    }

    fn request(&self) -> Option<Request<RequestBody>> {
        let mut request = Request::new(RequestBody::Empty);
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        let mut headers = HeaderMap::with_capacity(self.fields);
        let mut lines = self.text.split(|byte| *byte == b'\n');
        for _ in 0..self.fields {
            let name = HeaderName::from_bytes(lines.next()?).ok()?;
            let (mark, value) = lines.next()?.split_first()?;
            let mut value = HeaderValue::from_bytes(value).ok()?;
            value.set_sensitive(*mark == b's');
            headers.append(name, value);
        }
        *request.headers_mut() = headers;
        Some(request)
    }
}

/// Makes a request fit for the connection it goes out on. May run again for another connection.
pub(super) fn fit(
    request: &mut Request<RequestBody>,
    checkout: &Checkout,
    plan: &Plan,
) -> Result<(), ForwardError> {
    if checkout.is_http2() {
        return fit_http2(request, checkout, plan);
    }
    if let Some(target) = &plan.target {
        *request.uri_mut() = Uri::from(target.clone());
    } else if request.uri().authority().is_some() {
        *request.uri_mut() = Uri::from(uri::origin_form(request.uri()));
    }
    *request.version_mut() = Version::HTTP_11;
    let unsized_body =
        !request.body().is_end_stream() && request.body().size_hint().exact().is_none();
    let headers = request.headers_mut();
    match &plan.app.host {
        HostChoice::Preserve => {
            // It is there already when the client spoke HTTP/1.1.
            let mut hosts = headers.get_all(HOST).iter();
            if hosts.next() != Some(&plan.host) || hosts.next().is_some() {
                headers.insert(HOST, plan.host.clone());
            }
        }
        HostChoice::Upstream => {
            headers.insert(HOST, checkout.server().host_header().clone());
        }
        HostChoice::Literal(value, _) => {
            headers.insert(HOST, value.clone());
        }
    }
    if plan.trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
        headers.insert(CONNECTION, HeaderValue::from_static("te"));
    }
    if unsized_body {
        // Without it hyper takes a GET for one without a body, and drops what there is.
        headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    Ok(())
}

fn fit_http2(
    request: &mut Request<RequestBody>,
    checkout: &Checkout,
    plan: &Plan,
) -> Result<(), ForwardError> {
    let server = checkout.server();
    let authority = match &plan.app.host {
        HostChoice::Preserve => Authority::try_from(plan.host.as_bytes())
            .map_err(|_| ForwardError::Malformed("its host is not one"))?,
        HostChoice::Upstream => server.uri_authority().clone(),
        HostChoice::Literal(_, authority) => authority.clone(),
    };
    let target = plan
        .target
        .clone()
        .unwrap_or_else(|| uri::origin_form(request.uri()));
    *request.uri_mut() = Uri::builder()
        .scheme(server.scheme().clone())
        .authority(authority)
        .path_and_query(target)
        .build()
        .map_err(|_| ForwardError::Malformed("its target does not fit HTTP/2"))?;
    *request.version_mut() = Version::HTTP_2;
    // hyper tells of a 100 over HTTP/1.1 only.
    request.body().let_go();
    let headers = request.headers_mut();
    headers.remove(HOST);
    headers.remove(CONNECTION);
    headers.remove(TRANSFER_ENCODING);
    if plan.trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    Ok(())
}

/// The host the client asked for: the target's where it has one (RFC 9112 §3.2.2), else `Host`.
fn addressed_host(head: &Parts) -> Result<HeaderValue, ForwardError> {
    if let Some(authority) = head.uri.authority() {
        return HeaderValue::from_str(authority.as_str())
            .map_err(|_| ForwardError::Malformed("its host is not one"));
    }
    head.headers
        .get(HOST)
        .cloned()
        .ok_or(ForwardError::Malformed("it names no host"))
}

fn target(uri: &Uri, app: &AppForward) -> Result<Option<PathAndQuery>, ForwardError> {
    let Some(rewrite) = &app.rewrite else {
        return Ok(None);
    };
    let target = uri::origin_form(uri);
    if target.as_str() == "*" {
        return Ok(None);
    }
    rewrite
        .apply(&target)
        .map(Some)
        .ok_or(ForwardError::Malformed("its path is outside the app"))
}

/// Whether the client waits to be asked for its body. From HTTP/1.0, or without a body, the field means nothing
/// (RFC 9110 §10.1.1).
fn expects_continue(head: &mut Parts, body: &Incoming) -> bool {
    let Some(value) = head.headers.get(EXPECT) else {
        return false;
    };
    let asked = value.as_bytes().eq_ignore_ascii_case(b"100-continue");
    if asked && (head.version == Version::HTTP_10 || body.is_end_stream()) {
        head.headers.remove(EXPECT);
        return false;
    }
    asked
}

/// `Max-Forwards` (RFC 9110 §7.6.2): true when the request ends here.
fn is_last_hop(headers: &mut HeaderMap) -> Result<bool, ForwardError> {
    let Some(value) = headers.get(MAX_FORWARDS) else {
        return Ok(false);
    };
    let hops: u64 = value
        .to_str()
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or(ForwardError::Malformed("its Max-Forwards is not a number"))?;
    let Some(rest) = hops.checked_sub(1) else {
        return Ok(true);
    };
    headers.insert(MAX_FORWARDS, HeaderValue::from(rest));
    Ok(false)
}

fn upload(
    body: Incoming,
    plan: &Plan,
    held: bool,
) -> Result<(RequestBody, Option<Arc<UploadState>>), ForwardError> {
    if body.is_end_stream() {
        return Ok((RequestBody::Empty, None));
    }
    let limit = plan.app.max_body_bytes;
    if let (Some(limit), Some(length)) = (limit, body.size_hint().exact())
        && length > limit
    {
        return Err(ForwardError::BodyTooLarge);
    }
    let (body, state) = RequestBody::streaming(
        body,
        Arc::clone(&plan.trail),
        limit,
        held,
        headers::cleanse_request_trailers,
    );
    Ok((body, Some(state)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_sent_again_is_the_same_request() {
        let mut request = Request::new(RequestBody::Empty);
        *request.method_mut() = Method::PUT;
        *request.uri_mut() = Uri::from_static("/a?b");
        let mut secret = HeaderValue::from_static("signed");
        secret.set_sensitive(true);
        let headers = request.headers_mut();
        headers.append("x-empty", HeaderValue::from_static(""));
        headers.append("accept", HeaderValue::from_static("a"));
        headers.append("accept", HeaderValue::from_static("b,\tc"));
        headers.append("x-bytes", HeaderValue::from_bytes(b"\xff\x80").unwrap());
        headers.append("masugata-assertion", secret);
        let again = Replay::of(&request, 1).unwrap().request().unwrap();
        assert_eq!(again.method(), request.method());
        assert_eq!(again.uri(), request.uri());
        assert_eq!(again.headers(), request.headers());
        assert!(again.headers()["masugata-assertion"].is_sensitive());
        assert!(!again.headers()["accept"].is_sensitive());
    }

    #[test]
    fn what_must_not_be_sent_twice_is_not_kept() {
        let mut request = Request::new(RequestBody::Empty);
        assert!(Replay::of(&request, 0).is_none());
        *request.method_mut() = Method::POST;
        assert!(Replay::of(&request, 1).is_none());
    }
}
