//! The life of a request: one straight function, each step a different type, so that a missing step does not compile.
//!
//! ```text
//! Exchange -> Routed -> Authenticated -> Assessed -> Authorized -> Admitted -> Response
//!           route   authenticate    posture      decide       limit      forward
//! ```
//! The state is loaded once and handed down; nothing below this file can reach the pointer, so one request never
//! straddles a reload. Stages return facts and never write the record: [`serve`] does, exactly once on every path.

mod authenticate;
mod decide;
pub(crate) mod facts;
mod lease;
mod limit;
mod posture;
mod route;
mod well_known;

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;

use crate::audit::event::{Decision, Verdict};
use crate::audit::trail::Trail;
use crate::connection::Connection;
use crate::denial::{Denial, DenialReason};
use crate::exchange::Exchange;
use crate::forward::{self, Body, Outbound};
use crate::framing::h1::Violation;
use crate::gateway::Shared;
use crate::respond;
use crate::state::State;

use facts::Facts;
use lease::DecisionLease;
use limit::Admitted;
use route::Target;

/// Answers one request, whatever happens to it.
pub(crate) async fn serve(
    shared: Arc<Shared>,
    connection: Arc<Connection>,
    request: Request<Incoming>,
    violation: Option<Violation>,
) -> Response<Body> {
    let state = shared.state();
    let started = shared.clock.monotonic();
    let (head, body) = request.into_parts();
    let exchange = Exchange {
        id: shared.next_request_id(),
        connection,
        head,
        body,
        received_at: shared.clock.now(),
        started,
    };
    let preferences = respond::Preferences::of(&exchange.head);
    let id = exchange.id;
    let mut trail = shared.auditor.trail(id, state.generation, exchange.started);
    let mut facts = Facts::of(&exchange, state.generation);

    let halt = match run(&shared, &state, exchange, violation, &mut facts, &mut trail).await {
        Ok(response) => return response,
        Err(halt) => halt,
    };
    let (response, completion) = match halt {
        Halt::Denied(denial) => {
            shared.metrics.denied(denial.reason, facts.app_metrics());
            tracing::debug!(request = %id, reason = denial.reason.code(), detail = denial.detail.as_deref(), "denied");
            let challenge = facts.challenge(&state, &denial);
            let response = respond::denial(&denial, &preferences, id, &state.config.pages, challenge);
            let completion = trail.denied(facts.into_decision(verdict_of(&denial)));
            (response, completion)
        }
        Halt::Failed { error, completion } => {
            shared.metrics.upstream_failed(facts.app_metrics(), error.code());
            tracing::debug!(request = %id, error = %error, "not forwarded");
            (respond::upstream_failure(&error, &preferences, id, &state.config.pages), completion)
        }
        Halt::Answered { response, completion } => (response, completion),
    };
    completion.answered(response.status());
    let (head, bytes) = response.into_parts();
    Response::from_parts(head, Body::recorded(bytes, completion))
}

/// Why a request does not come back from upstream.
enum Halt {
    /// A stage said no.
    Denied(Denial),
    /// It was permitted, and the upstream failed.
    Failed { error: forward::ForwardError, completion: Arc<crate::audit::trail::CompletionTrail> },
    /// The gateway itself is the resource.
    Answered { response: Response<Bytes>, completion: Arc<crate::audit::trail::CompletionTrail> },
}

impl From<Denial> for Halt {
    fn from(denial: Denial) -> Self {
        Self::Denied(denial)
    }
}

impl From<DenialReason> for Halt {
    fn from(reason: DenialReason) -> Self {
        Self::Denied(reason.into())
    }
}

async fn run(
    shared: &Arc<Shared>,
    state: &Arc<State>,
    exchange: Exchange,
    violation: Option<Violation>,
    facts: &mut Facts,
    trail: &mut Trail,
) -> Result<Response<Body>, Halt> {
    let routed = match route::resolve(state, exchange, violation, facts)? {
        Target::App(routed) => routed,
        Target::WellKnown(response) => return Err(answer(*response, facts, trail)?),
    };
    let authenticated = authenticate::establish(shared, state, routed, facts).await?;
    let assessed = posture::assess(authenticated)?;
    let authorized = decide::decide(state, assessed, facts)?;
    let admitted = limit::admit(state, authorized, facts)?;
    let completion = trail
        .permitted(facts.decision(Verdict::Permitted {
            policies: Arc::clone(admitted.permit().policies()),
            version: Some(admitted.permit().version().clone()),
        }))
        .map_err(|_full| DenialReason::AuditUnavailable)?;
    forward(shared, state, admitted, completion).await
}

/// A built-in public endpoint: recorded like everything else, governed by no policy.
fn answer(response: Response<Bytes>, facts: &mut Facts, trail: &mut Trail) -> Result<Halt, Halt> {
    let completion = trail
        .permitted(facts.decision(Verdict::Permitted { policies: Arc::default(), version: None }))
        .map_err(|_full| DenialReason::AuditUnavailable)?;
    Ok(Halt::Answered { response, completion })
}

async fn forward(
    shared: &Arc<Shared>,
    state: &Arc<State>,
    admitted: Admitted,
    completion: Arc<crate::audit::trail::CompletionTrail>,
) -> Result<Response<Body>, Halt> {
    let lease = DecisionLease::new(shared, state, &admitted);
    let (exchange, app, permit, client_address, from_trusted_forwarder) = admitted.into_parts();
    app.metrics.permitted();
    let assertion = state.signer.header_for(&permit, &app.config.audience, exchange.received_at);
    let outbound = Outbound {
        head: exchange.head,
        body: exchange.body,
        app: Arc::clone(&app.forward),
        connection: exchange.connection,
        client_address,
        request_id: exchange.id,
        assertion: Some(assertion),
        from_trusted_forwarder,
        trail: Arc::clone(&completion),
        lease: Box::new(lease),
    };
    let started = exchange.started;
    match forward::forward(outbound).await {
        Ok(response) => {
            completion.answered(response.status());
            app.metrics.answered(response.status(), shared.clock.monotonic().saturating_duration_since(started));
            Ok(response)
        }
        Err(error) => Err(Halt::Failed { error, completion }),
    }
}

fn verdict_of(denial: &Denial) -> Verdict {
    Verdict::Denied {
        reason: denial.reason,
        detail: denial.detail.clone(),
        policies: Arc::clone(&denial.policies),
        version: denial.version.clone(),
    }
}

