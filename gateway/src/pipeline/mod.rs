//! The life of a request: one straight function, each step a different type, so that a missing step does not compile.
//!
//! ```text
//! Exchange -> Routed -> Authenticated -> Assessed -> Authorized -> Admitted -> Reached -> Response
//!           route   authenticate    posture      decide       limit     reach      forward
//! ```
//! Both doors walk it: what a request asks for (`asked::Asked`) is an app of ours or a destination on the Internet.
//! The state is loaded once and handed down; nothing below this file can reach the pointer, so one request never
//! straddles a reload. Stages return facts and never write the record: `serve` does, exactly once on every path.

mod asked;
mod authenticate;
mod decide;
mod egress;
mod lease;
mod limit;
mod own_hosts;
mod posture;
mod route;
mod well_known;
mod would;

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, LINK};
use http::request::Parts;
use http::{HeaderValue, Response};
use hyper::body::Incoming;

use crate::audit::event::Outcome;
use crate::audit::trail::{CompletionTrail, Opening, Trail};
use crate::connection::{Connection, Door};
use crate::denial::{Denial, DenialReason};
use crate::egress::refusals::Refusal;
use crate::exchange::{Exchange, Left, RequestBody, RequestId};
use crate::forward::{self, Body, ForwardError, Outbound};
use crate::framing::Violation;
use crate::gateway::Shared;
use crate::issuer::challenge;
use crate::listener::Busy;
use crate::respond::{self, Preferences, UpstreamFailure};
use crate::scim;
use crate::sign_in::{self, Navigation};
use crate::state::{AppState, Backend, State};

use asked::Asked;
use egress::{Alarm, Reached, Way};
use lease::{DecisionLease, LeasedRequest, Subject};
use limit::Admitted;
use route::{Routed, Target};
pub(crate) use would::would_open;

/// Answers one request, whatever happens to it.
pub(crate) async fn serve(
    shared: Arc<Shared>,
    connection: Arc<Connection>,
    busy: Busy,
    head: Parts,
    body: Incoming,
    violation: Option<Violation>,
) -> Response<Body> {
    let state = shared.state();
    // Read only when the answer is ours to give, but the request will be gone by then.
    let preferences = Preferences::of(&head);
    let navigation = (connection.door == Door::Ingress && state.sign_in.is_some())
        .then(|| Navigation::of(&head, preferences))
        .flatten();
    let is_form = navigation.as_ref().is_some_and(|it| it.is_form());
    let left = is_form.then(Left::default);
    // Boxed: what is handed from stage to stage is then a pointer.
    let exchange = Box::new(Exchange {
        id: shared.next_request_id(),
        connection,
        head,
        body: RequestBody::new(body, left.clone()),
        received_at: shared.clock.now(),
        started: shared.clock.monotonic(),
    });
    let (id, received_at) = (exchange.id, exchange.received_at);
    let mut trail = Trail::open(
        &shared.auditor,
        Opening {
            request: id,
            generation: state.generation,
            connection: Arc::clone(&exchange.connection),
            method: exchange.head.method.clone(),
            uri: exchange.head.uri.clone(),
            started: exchange.started,
        },
    );
    let door = exchange.connection.door;
    trail.metrics = Some(Arc::clone(match &state.egress {
        Some(egress) if door == Door::Egress => &egress.metrics,
        Some(_) | None => &shared.metrics.unrouted,
    }));
    let halt = match run(&shared, &state, exchange, violation, &mut trail, busy).await {
        Ok(response) => return response,
        Err(halt) => halt,
    };
    let (response, completion, outcome) = match halt {
        Halt::Denied(denial) => {
            tracing::debug!(request = %id, reason = denial.reason.code(), detail = denial.detail.as_deref(), "denied");
            let brand = &state.brand;
            let challenge = match &state.egress {
                Some(egress) if door == Door::Egress => {
                    shared.metrics.denied(&egress.metrics, denial.reason);
                    let facts = &trail.facts;
                    if let (Some(device), Some(to)) = (&facts.device, &facts.destination) {
                        let (host, site) = (&*to.host, to.domain.as_deref());
                        let refusal = Refusal::of(&denial, host, to.port, site, id, received_at);
                        egress.refusals.note(device.id(), refusal);
                    }
                    egress::challenges(egress, &denial)
                }
                Some(_) | None => {
                    let app = trail.facts.app.as_ref();
                    let app = app.and_then(|app| state.app(app.name()));
                    let metrics = app.map_or(&shared.metrics.unrouted, |app| &app.metrics);
                    shared.metrics.denied(metrics, denial.reason);
                    challenge(&state, app, trail.facts.host.as_deref(), &denial)
                        .into_iter()
                        .collect()
                }
            };
            let elsewhere = match &navigation {
                Some(navigation) => {
                    let body = left.and_then(|left| left.take());
                    let refusal = (&*denial, &trail.facts);
                    let of = (id, received_at);
                    Box::pin(sign_in::to_sign_in(
                        &shared, &state, navigation, refusal, of, body,
                    ))
                    .await
                }
                None => None,
            };
            trail.denied(&denial);
            let refusal = || respond::denial(&denial, preferences, id, brand, challenge, door);
            let response = elsewhere.unwrap_or_else(refusal);
            (response, trail.complete(), Outcome::Completed)
        }
        Halt::Failed(error, completion) => {
            tracing::debug!(request = %id, %error, "not forwarded");
            (
                failure(&error, preferences, id, &state, door),
                completion,
                error.outcome(),
            )
        }
        Halt::Answered(response, completion) => (response, completion, Outcome::Completed),
    };
    completion.answered(response.status());
    let (mut head, mut bytes) = response.into_parts();
    if let Some(egress) = state.egress.as_ref().filter(|_| door == Door::Egress) {
        // Programs show the body of a failed CONNECT to nobody; this field at least is in their logs.
        head.headers
            .extend(egress.help.clone().map(|help| (LINK, help)));
    }
    if preferences.head_only && !bytes.is_empty() {
        // RFC 9110 §9.3.2: the fields of GET, and no content, which HTTP/2 clients take for an error.
        head.headers
            .insert(CONTENT_LENGTH, HeaderValue::from(bytes.len()));
        bytes.clear();
    }
    Response::from_parts(head, Body::recorded(bytes, completion, outcome))
}

/// Why a request does not come back from upstream.
enum Halt {
    /// A stage said no; the record is still to be written.
    Denied(Box<Denial>),
    /// It was permitted, and the upstream failed.
    Failed(ForwardError, Arc<CompletionTrail>),
    /// The gateway itself is the resource.
    Answered(Response<Bytes>, Arc<CompletionTrail>),
}

async fn run(
    shared: &Arc<Shared>,
    state: &Arc<State>,
    exchange: Box<Exchange>,
    violation: Option<Violation>,
    trail: &mut Trail,
    busy: Busy,
) -> Result<Response<Body>, Halt> {
    match examine(shared, state, exchange, violation, trail).await {
        Err(denial) => Err(Halt::Denied(Box::new(denial))),
        Ok(Examined::WellKnown(response)) => Err(Halt::Answered(*response, trail.complete())),
        Ok(Examined::Reached(reached)) => match reached.way {
            Way::App => forward(state, reached.admitted, trail.complete(), busy).await,
            // Boxed: requests to apps should not carry the room for it.
            Way::Destination(_) | Way::Nowhere(_) => {
                Box::pin(egress::forward(state, reached, trail.complete(), busy)).await
            }
        },
    }
}

/// What may go on.
enum Examined {
    Reached(Reached),
    WellKnown(Box<Response<Bytes>>),
}

/// Every step in order. What leaves here with `Ok` is on record as permitted.
async fn examine(
    shared: &Arc<Shared>,
    state: &Arc<State>,
    exchange: Box<Exchange>,
    violation: Option<Violation>,
    trail: &mut Trail,
) -> Result<Examined, Denial> {
    let facts = &mut trail.facts;
    let routed = match exchange.connection.door {
        Door::Egress => egress::resolve(state, exchange, violation, facts)?,
        Door::Ingress => match route::resolve(state, exchange, violation, facts)? {
            Target::App(routed) => routed,
            Target::WellKnown(response) => {
                // Public, and governed by no policy; recorded like everything else.
                trail
                    .permitted(Arc::default(), None)
                    .map_err(|_full| DenialReason::AuditUnavailable)?;
                return Ok(Examined::WellKnown(response));
            }
            Target::Scim(exchange) => {
                let answer = Box::pin(scim::answer(shared, state, exchange, facts));
                let response = Box::new(answer.await?);
                trail
                    .permitted(Arc::default(), None)
                    .map_err(|_full| DenialReason::AuditUnavailable)?;
                return Ok(Examined::WellKnown(response));
            }
            Target::Own(own, exchange) => {
                let answer = Box::pin(own_hosts::own(shared, state, own, exchange, facts));
                let response = Box::new(answer.await?);
                trail
                    .permitted(Arc::default(), None)
                    .map_err(|_full| DenialReason::AuditUnavailable)?;
                return Ok(Examined::WellKnown(response));
            }
            Target::Why(egress, exchange) => {
                let why = Box::pin(own_hosts::why(shared, state, &egress, exchange, facts));
                let response = Box::new(why.await?);
                trail
                    .permitted(Arc::default(), None)
                    .map_err(|_full| DenialReason::AuditUnavailable)?;
                return Ok(Examined::WellKnown(response));
            }
        },
    };
    trail.metrics = Some(Arc::clone(routed.asked.metrics()));
    let alarm = Alarm::of_request(&routed.asked);
    let authenticated = authenticate::establish(shared, state, routed, facts).await;
    if let (Some(alarm), Some(device)) = (alarm, &facts.device) {
        alarm.sound(shared, device, facts.principal.as_deref());
    }
    let authenticated = authenticated?;
    if let Asked::Destination(errand) = &authenticated.routed().asked {
        egress::check_port(errand)?;
    }
    let assessed = posture::assess(authenticated)?;
    let authorized = decide::decide(state, assessed)?;
    let admitted = limit::admit(authorized, facts)?;
    let reached = match admitted.asked() {
        Asked::App(_) => Reached {
            admitted,
            way: Way::App,
        },
        Asked::Destination(_) => Box::pin(egress::reach(shared, state, admitted, facts)).await?,
    };
    let permit = reached.admitted.permit();
    trail
        .permitted(
            Arc::clone(permit.policies()),
            Some(permit.version().clone()),
        )
        .map_err(|_full| DenialReason::AuditUnavailable)?;
    Ok(Examined::Reached(reached))
}

async fn forward(
    state: &Arc<State>,
    admitted: Admitted,
    completion: Arc<CompletionTrail>,
    busy: Busy,
) -> Result<Response<Body>, Halt> {
    let Asked::App(app) = admitted.asked() else {
        return Err(defect(completion));
    };
    app.metrics.permitted.increment();
    let forward = match &app.backend {
        Backend::Proxy(forward) => Arc::clone(forward),
        Backend::Answer(answer) => return Err(Halt::Answered(answer.clone(), completion)),
    };
    let assertion = state
        .signer
        .header_for(&admitted.assertion(app), admitted.received_at());
    let Ok(assertion) = assertion else {
        tracing::error!("cannot sign an assertion");
        return Err(defect(completion));
    };
    let (routed, credentials, _no_tunnel) = admitted.into_parts();
    let Routed {
        exchange,
        asked,
        action,
        host,
        decoded_path,
        client_address,
        from_trusted_forwarder,
    } = *routed;
    let Asked::App(app) = asked else {
        return Err(defect(completion));
    };
    let Some(body) = exchange.body.into_inner() else {
        return Err(defect(completion));
    };
    let request = LeasedRequest {
        host,
        uri: exchange.head.uri.clone(),
        method: exchange.head.method.clone(),
        action,
        client_address,
        subject: Subject::App {
            name: Arc::clone(&app.name),
            decoded_path,
        },
    };
    let connection = Arc::clone(&exchange.connection);
    let lease = DecisionLease::new(state.epoch(), connection, credentials, request, busy);
    let outbound = Outbound {
        head: exchange.head,
        body,
        app: forward,
        connection: exchange.connection,
        client_address,
        request_id: exchange.id,
        assertion: Some(assertion),
        from_trusted_forwarder,
        trail: Arc::clone(&completion),
        lease: Arc::new(lease),
    };
    match forward::forward(outbound).await {
        Ok(response) => {
            completion.answered(response.status());
            app.metrics.answered(response.status());
            Ok(response)
        }
        Err(error) => {
            app.metrics.answered(error.status());
            app.metrics.upstream_failed(error.code());
            Err(Halt::Failed(error, completion))
        }
    }
}

fn defect(completion: Arc<CompletionTrail>) -> Halt {
    Halt::Failed(ForwardError::Cut(DenialReason::Internal), completion)
}

/// `WWW-Authenticate` for a denial that better credentials would change.
fn challenge(
    state: &State,
    app: Option<&Arc<AppState>>,
    host: Option<&str>,
    denial: &Denial,
) -> Option<HeaderValue> {
    let metadata = app
        .zip(host)
        .map(|(app, host)| app.metadata_url(state, host));
    challenge::header(
        denial.reason,
        denial.challenge.as_ref(),
        metadata.as_deref(),
    )
}

/// What the client is told when its request was permitted and still did not come back.
fn failure(
    error: &ForwardError,
    preferences: Preferences,
    id: RequestId,
    state: &State,
    door: Door,
) -> Response<Bytes> {
    let brand = &state.brand;
    match error.denial() {
        Some(reason) => respond::denial(&reason.into(), preferences, id, brand, Vec::new(), door),
        None => {
            let failure = UpstreamFailure {
                code: error.code(),
                status: error.status(),
                error: error.proxy_status(),
                retry_after: None,
            };
            respond::upstream_failure(&failure, preferences, id, brand, door)
        }
    }
}
