//! The second door's own stages: what a request to the proxy is for, where that lies, and the way there.

use std::borrow::Cow;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::{HeaderValue, Response, Version};
use masugata_policy::{Action, Device, Principal};

use super::Halt;
use super::asked::{Asked, Errand, Goal, Known};
use super::lease::{Abroad, DecisionLease, LeasedRequest, Subject};
use super::limit::Admitted;
use super::route::{Routed, check_size};
use crate::audit::trail::{CompletionTrail, Facts};
use crate::denial::{Denial, DenialReason};
use crate::destination::Finding;
use crate::egress::dial::dial;
use crate::egress::guard::Checked;
use crate::egress::tunnel::{self, TunnelTerms};
use crate::egress::tunnels::Entry;
use crate::exchange::Exchange;
use crate::forward::{self, Body, ForwardError, Lease, Outbound, headers};
use crate::framing::{self, Proxied, Violation};
use crate::gateway::Shared;
use crate::issuer::challenge;
use crate::listener::Busy;
use crate::state::{Alerts, EgressState, State};

/// First stage: is this one well-formed request for a destination, at a port that is open for it?
pub(super) fn resolve(
    state: &State,
    exchange: Box<Exchange>,
    violation: Option<Violation>,
    facts: &mut Facts,
) -> Result<Box<Routed>, Denial> {
    if let Some(violation) = violation {
        return Err(violation.into());
    }
    // The listener of a door that the configuration does not have: cannot be, because a reload cannot take it away.
    let egress = state.egress.as_ref().ok_or(DenialReason::Internal)?;
    let head = &exchange.head;
    if head.version == Version::HTTP_2 {
        check_size(head, &egress.config.bounds)?;
    }
    let (authority, port, tunnel) = match framing::parse_proxied(head)? {
        Proxied::Tunnel(authority, port) => (authority, port, true),
        Proxied::Plain {
            authority, port, ..
        } => (authority, port, false),
    };
    facts.host = Some(authority.host.as_ref().into());
    facts.action = Some(Action::Connect);
    if !tunnel {
        // For what is never forwarded; whatever the method, to policies it is a connection.
        framing::action_of(head)?;
    }
    if headers::is_loop(&head.headers, state.instance.pseudonym()) {
        return Err(DenialReason::LoopDetected.into());
    }
    let host = authority.host.trim_matches(['[', ']']);
    let goal = Goal {
        literal: if authority.is_address {
            host.parse().ok()
        } else {
            None
        },
        host: host.into(),
        port,
        tunnel,
    };
    let known = goal.known(state, egress, &[]);
    let errand = Box::new(Errand {
        egress: Arc::clone(egress),
        goal,
        known,
    });
    facts.destination = Some(errand.record());
    let client_address = exchange.connection.remote.ip().to_canonical();
    Ok(Box::new(Routed {
        host: errand.goal.host.clone(),
        asked: Asked::Destination(errand),
        action: Action::Connect,
        decoded_path: None,
        client_address,
        from_trusted_forwarder: false,
        exchange,
    }))
}

/// Whether the port is open, for everything or for this service. Asked when it is known whose request it is: what calls
/// home on odd ports is to be on record with its device.
pub(super) fn check_port(errand: &Errand) -> Result<(), Denial> {
    let port = errand.goal.port;
    if errand
        .egress
        .opens(port, errand.known.finding.service.as_deref())
    {
        return Ok(());
    }
    Err(Denial::new(DenialReason::DestinationPortRefused).with_detail(format!("port {port}")))
}

/// That somebody asks for what an alerting list names.
pub(super) struct Alarm {
    alerts: Arc<Alerts>,
    host: Box<str>,
    site: Box<str>,
    finding: Finding,
}

impl Alarm {
    /// Nothing, nearly always.
    pub(super) fn of(egress: &EgressState, goal: &Goal, known: &Known) -> Option<Self> {
        known.finding.alert.then(|| Self {
            alerts: Arc::clone(&egress.alerts),
            host: goal.host.clone(),
            site: known.site(goal).into(),
            finding: known.finding.clone(),
        })
    }

    /// [`Self::of`] a request.
    pub(super) fn of_request(asked: &Asked) -> Option<Self> {
        match asked {
            Asked::App(_) => None,
            Asked::Destination(errand) => Self::of(&errand.egress, &errand.goal, &errand.known),
        }
    }

    /// Tells the administrators which device it is, whatever is then decided; without a principal where nobody has
    /// signed in, as programs that call home do not.
    pub(super) fn sound(&self, shared: &Shared, device: &Device, principal: Option<&Principal>) {
        let device = device.id();
        if !self.alerts.is_news(device, &self.site, shared.clock.now()) {
            return;
        }
        let detail = format!(
            "device={device} user={} host={} category={} feed={}",
            principal.map_or("-", Principal::id),
            self.host,
            self.finding.categories.join(","),
            self.finding.feeds.join(","),
        );
        tracing::warn!("alert: {detail}");
        for feed in &self.finding.feeds {
            // Named with its version; counted without.
            let name = feed.split_once('@').map_or(&**feed, |(name, _)| name);
            shared.metrics.alerted(name);
        }
        shared.record("alert", detail);
    }
}

/// A request whose way is known.
pub(super) struct Reached {
    pub(super) admitted: Admitted,
    pub(super) way: Way,
}

/// Where what was permitted lies.
pub(super) enum Way {
    /// With the app.
    App,
    /// At addresses that may be dialled.
    Destination(Checked),
    /// Nowhere: it was permitted, and its name has no address.
    Nowhere(io::Error),
}

/// Sixth stage, of this door only: the name is resolved, once, and only now that somebody may go there; what cannot be
/// public is left out; what lists say of its addresses is decided as well.
pub(super) async fn reach(
    shared: &Shared,
    state: &State,
    mut admitted: Admitted,
    facts: &mut Facts,
) -> Result<Reached, Denial> {
    let Asked::Destination(errand) = admitted.asked() else {
        return Ok(Reached {
            admitted,
            way: Way::App,
        });
    };
    if let Some(destination) = &mut facts.destination {
        destination.observed = admitted.permit().is_observed();
    }
    let found = match errand.goal.literal {
        Some(address) => Ok(vec![SocketAddr::new(address, errand.goal.port)]),
        None => {
            let resolver = &errand.egress.resolver;
            resolver.resolve(&errand.goal.host, errand.goal.port).await
        }
    };
    let found = match found {
        Ok(found) if !found.is_empty() => found,
        Ok(_) => {
            let way = Way::Nowhere(io::ErrorKind::NotFound.into());
            return Ok(Reached { admitted, way });
        }
        Err(error) => {
            let way = Way::Nowhere(error);
            return Ok(Reached { admitted, way });
        }
    };
    let checked = errand
        .egress
        .guard
        .check(&errand.goal.host, found)
        .map_err(|prohibited| Denial::new(prohibited.reason()).with_detail(prohibited.class))?;
    let at: Vec<IpAddr> = checked.addresses().iter().map(SocketAddr::ip).collect();
    let known = errand.goal.known(state, &errand.egress, &at);
    if known.class.revision() != errand.known.class.revision() || known.finding.alert {
        admitted.place_again(known);
        let permit = admitted.permit();
        if let Some(alarm) = Alarm::of_request(admitted.asked()) {
            alarm.sound(shared, permit.device(), Some(permit.principal()));
        }
        if let Asked::Destination(errand) = admitted.asked() {
            facts.destination = Some(errand.record());
        }
        admitted = admitted.decide_again(state)?;
    }
    if let Some(destination) = &mut facts.destination {
        destination.observed = admitted.permit().is_observed();
        destination.addresses = checked.addresses().to_vec();
    }
    Ok(Reached {
        admitted,
        way: Way::Destination(checked),
    })
}

/// Dials, and carries what was permitted.
pub(super) async fn forward(
    state: &Arc<State>,
    reached: Reached,
    completion: Arc<CompletionTrail>,
    busy: Busy,
) -> Result<Response<Body>, Halt> {
    let Reached { admitted, way } = reached;
    let metrics = Arc::clone(admitted.asked().metrics());
    metrics.permitted.increment();
    let trail = Arc::clone(&completion);
    let answered = match way {
        Way::Destination(checked) => carry(state, admitted, &checked, trail, busy).await,
        Way::Nowhere(error) => Err(ForwardError::Unresolved(error)),
        Way::App => Err(DEFECT),
    };
    match answered {
        Ok(response) => {
            completion.answered(response.status());
            metrics.answered(response.status());
            Ok(response)
        }
        Err(error) => {
            metrics.answered(error.status());
            metrics.upstream_failed(error.code());
            Err(Halt::Failed(error, completion))
        }
    }
}

async fn carry(
    state: &Arc<State>,
    admitted: Admitted,
    checked: &Checked,
    trail: Arc<CompletionTrail>,
    busy: Busy,
) -> Result<Response<Body>, ForwardError> {
    let policy = admitted.permit().version().clone();
    let (routed, credentials, reservation) = admitted.into_parts();
    let Routed {
        exchange,
        asked,
        action,
        host,
        client_address,
        ..
    } = *routed;
    let Asked::Destination(errand) = asked else {
        return Err(DEFECT);
    };
    let Errand { egress, goal, .. } = *errand;
    let principal = Arc::clone(&credentials.principal);
    let id = exchange.id;
    let lease = |at| -> Arc<dyn Lease> {
        let request = LeasedRequest {
            host,
            uri: exchange.head.uri.clone(),
            method: exchange.head.method.clone(),
            action,
            client_address,
            subject: Subject::Destination(Box::new(Abroad {
                goal: goal.clone(),
                at,
                request: id,
            })),
        };
        let connection = Arc::clone(&exchange.connection);
        let epoch = state.epoch();
        Arc::new(DecisionLease::new(
            epoch,
            connection,
            credentials,
            request,
            busy,
        ))
    };
    let Some(reservation) = reservation else {
        let body = exchange
            .body
            .into_inner()
            .ok_or(ForwardError::Cut(DenialReason::Internal))?;
        let written = match goal.literal {
            Some(IpAddr::V6(address)) => Cow::Owned(format!("[{address}]")),
            Some(IpAddr::V4(_)) | None => Cow::Borrowed(&*goal.host),
        };
        let outbound = Outbound {
            app: egress.plain.app_for(&written, goal.port, checked)?,
            lease: lease(None),
            head: exchange.head,
            body,
            connection: exchange.connection,
            client_address,
            request_id: id,
            assertion: None,
            from_trusted_forwarder: false,
            trail,
        };
        return forward::forward(outbound).await;
    };
    let (upstream, at) = dial(checked, egress.config.timeouts.connect).await?;
    let terms = TunnelTerms {
        tls: egress.config.tls_ports.contains(&goal.port),
        is_address: goal.literal.is_some(),
        ech: egress.config.ech,
        hello_timeout: egress.config.hello_timeout,
    };
    let entry = Entry {
        reservation,
        lease: lease(Some(at)),
        principal,
        host: goal.host.as_ref().into(),
        port: goal.port,
        policy,
    };
    tunnel::open(
        exchange.head,
        upstream,
        terms,
        trail,
        &egress.tunnels,
        entry,
    )
}

/// An app at the second door, or none at the first: cannot be.
const DEFECT: ForwardError = ForwardError::Cut(DenialReason::Internal);

/// `Proxy-Authenticate` for a refusal that better credentials would change, one value for each kind that is taken.
pub(super) fn challenges(egress: &EgressState, denial: &Denial) -> Vec<HeaderValue> {
    let Some(bearer) = challenge::header(denial.reason, denial.challenge.as_ref(), None) else {
        return Vec::new();
    };
    let accepted = &egress.config.credentials;
    let basic = HeaderValue::from_static("Basic realm=\"masugata\", charset=\"UTF-8\"");
    let passwords = accepted.password && egress.password_key.is_some();
    let token = accepted.token.then_some(bearer);
    token
        .into_iter()
        .chain(passwords.then_some(basic))
        .collect()
}
