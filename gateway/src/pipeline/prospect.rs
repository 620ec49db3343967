//! What would become of somebody who opened an app now, asked without a request: for the page that shows people their
//! apps. The stages' own rules answer; nothing is recorded, because nothing is opened.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use masugata_policy::{
    Action, Authentication, Device, DevicePosture, Effect, Explanation, Observation, Outcome,
    PostureAttribute, PostureSource, PostureValue, Principal, Request, RequestFacts, Resource,
    Timestamp,
};

use super::decide::{self, Circumstances, Question};
use super::posture;
use crate::denial::{Denial, DenialReason};
use crate::issuer::assurance;
use crate::state::{AppState, State};

/// Who asks, on which device, from where.
pub(crate) struct Visitor<'a> {
    pub(crate) principal: &'a Arc<Principal>,
    pub(crate) authentication: &'a Arc<Authentication>,
    pub(crate) device: &'a Arc<Device>,
    pub(crate) address: IpAddr,
}

/// What an app would say.
#[derive(Debug)]
pub(crate) enum Prospect {
    Open,
    /// It would ask for stronger or fresher authentication, and then open.
    StrongerSignIn,
    /// It is for this person, but not now, or not on this device as it is.
    Closed(Denial),
    /// Nothing this person can do would open it; not even its name is theirs to know.
    NotTheirs,
}

/// Asks for one app, at its first host and the path where it begins.
pub(crate) fn of(state: &State, app: &AppState, visitor: &Visitor<'_>, now: Timestamp) -> Prospect {
    let requirements = &app.config.requirements;
    let accepted = &requirements.issuers;
    let issuer = visitor.principal.issuer();
    if !accepted.is_empty() && !accepted.iter().any(|name| name == issuer) {
        return Prospect::NotTheirs;
    }
    let asked = Asked { state, app, now };
    let assured = assurance::meets(requirements, visitor.authentication, issuer, now)
        .map_err(|shortfall| shortfall.into_denial(requirements));
    let sound = posture::check(requirements, visitor.device, now);
    let permitted = asked.decide(visitor);
    if let (Ok(()), Ok(()), Ok(())) = (&assured, &sound, &permitted) {
        return Prospect::Open;
    }

    // The same person at their best. If no rule opens the app even then, it is none of theirs.
    let (strong, fit) = (strong(visitor, now), fit(visitor.device, now));
    let at_best = asked.explain(&Visitor {
        authentication: &strong,
        device: &fit,
        ..*visitor
    });
    let mut matched = at_best.considered.iter();
    if !matched.any(|one| one.effect == Effect::Permit && one.outcome == Outcome::Matched) {
        return Prospect::NotTheirs;
    }
    if let Err(deny) = at_best.decision {
        return Prospect::Closed(deny.into());
    }
    let by_sign_in = || {
        let visitor = Visitor {
            authentication: &strong,
            ..*visitor
        };
        asked.explain(&visitor).decision.is_ok()
    };
    match (assured, sound, permitted) {
        // What signing in cannot help with is said first, or it would be done in vain.
        (_, Err(denial), _) => Prospect::Closed(denial),
        (Err(denial), Ok(()), _) if denial.challenge.is_none() => Prospect::Closed(denial),
        (Err(_), Ok(()), _) if by_sign_in() => Prospect::StrongerSignIn,
        (Err(_), Ok(()), Ok(())) => Prospect::StrongerSignIn,
        (Ok(()), Ok(()), Err(denial)) if denial.challenge.is_some() && by_sign_in() => {
            Prospect::StrongerSignIn
        }
        // A rule that simply does not match names no reason; these are the two there can be.
        (_, Ok(()), Err(denial)) if denial.reason == DenialReason::NoPermit => {
            let reason = if by_sign_in() {
                DenialReason::AssuranceInsufficient
            } else {
                DenialReason::PostureFailing
            };
            Prospect::Closed(Denial { reason, ..denial })
        }
        (_, Ok(()), Err(denial)) => Prospect::Closed(denial),
        (Ok(()), Ok(()), Ok(())) => Prospect::Open,
    }
}

struct Asked<'a> {
    state: &'a State,
    app: &'a AppState,
    now: Timestamp,
}

impl Asked<'_> {
    fn host(&self) -> &str {
        let first = self.app.config.hosts.first();
        first.map_or("", |host| host.strip_prefix("*.").unwrap_or(host))
    }

    /// As the pipeline asks; the answer may be a remembered one.
    fn decide(&self, visitor: &Visitor<'_>) -> Result<(), Denial> {
        let question = Question {
            principal: visitor.principal,
            authentication: visitor.authentication,
            device: visitor.device,
            action: Action::Read,
            resource: Resource::App(&self.app.policy),
            acr_values: &self.app.config.requirements.acr_values,
            method: "GET",
            host: self.host(),
            path: &self.app.config.path_prefix,
            address: visitor.address,
            circumstances: Circumstances::default(),
        };
        decide::ask(self.state, &question, self.now).map(drop)
    }

    /// About somebody who does not exist, so that nothing is remembered.
    fn explain(&self, visitor: &Visitor<'_>) -> Explanation {
        let request = Request {
            principal: visitor.principal,
            device: visitor.device,
            authentication: visitor.authentication,
            action: Action::Read,
            resource: Resource::App(&self.app.policy),
            facts: RequestFacts {
                method: "GET",
                host: self.host(),
                path: &self.app.config.path_prefix,
                address: visitor.address,
                networks: self.state.networks.containing(visitor.address),
                reason_given: false,
            },
        };
        let now = self.state.zone.now(self.now);
        self.state.policies.explain(&request, now)
    }
}

/// The strongest proof there is, given this moment.
fn strong(visitor: &Visitor<'_>, now: Timestamp) -> Arc<Authentication> {
    let known = visitor.authentication;
    let strong = Authentication::new(
        true,
        true,
        known.acr.as_deref(),
        known.amr.iter().cloned(),
        Some(now),
        true,
    );
    Arc::new(strong.with_credential(known.credential()))
}

/// The same device with everything in order.
fn fit(device: &Device, now: Timestamp) -> Arc<Device> {
    let posture =
        PostureAttribute::ALL
            .into_iter()
            .fold(DevicePosture::default(), |posture, attribute| {
                let value = if attribute == PostureAttribute::OsVersion {
                    PostureValue::Version(999, 0, 0)
                } else {
                    PostureValue::Flag(true)
                };
                let observation = Observation {
                    value,
                    source: PostureSource::Attested,
                    observed_at: now,
                    max_age: Duration::from_secs(3600),
                };
                posture.with(attribute, observation)
            });
    Arc::new(Device::new(
        device.id(),
        device.kind(),
        device.ownership(),
        device.owner(),
        device.groups().iter().cloned(),
        posture,
    ))
}
