//! Fourth stage: the policies decide.

use std::net::IpAddr;
use std::sync::Arc;

use masugata_policy::{
    Action, Authentication, Device, Permit, Principal, Request, RequestFacts, Resource, Timestamp,
};

use super::asked::{Asked, Known};
use super::authenticate::{Credentials, Source};
use super::posture::Assessed;
use super::route::Routed;
use crate::config::egress::Mode;
use crate::denial::{Denial, DenialReason};
use crate::state::{EgressState, State};

/// A request with the permit that covers it.
pub(super) struct Authorized {
    routed: Box<Routed>,
    permit: Permit,
    /// When the credential behind the permit ends.
    expires_at: Timestamp,
    source: Source,
}

impl Authorized {
    /// The request, and what a lease holds on to.
    pub(super) fn into_parts(self) -> (Box<Routed>, Credentials) {
        let credentials = Credentials {
            principal: Arc::clone(self.permit.principal()),
            authentication: Arc::clone(self.permit.authentication()),
            expires_at: self.expires_at,
            source: self.source,
        };
        (self.routed, credentials)
    }
    pub(super) fn routed(&self) -> &Routed {
        &self.routed
    }
    pub(super) fn permit(&self) -> &Permit {
        &self.permit
    }
    /// With more known of where it goes; whether that may be is still to be asked.
    pub(super) fn place_again(&mut self, known: Known) {
        if let Asked::Destination(errand) = &mut self.routed.asked {
            errand.known = known;
        }
    }
    /// Under another permit for the same request.
    pub(super) fn under(&mut self, permit: Permit) {
        self.permit = permit;
    }
    pub(super) fn expires_at(&self) -> Timestamp {
        self.expires_at
    }
}

pub(super) fn decide(state: &State, assessed: Assessed) -> Result<Authorized, Denial> {
    let (routed, device, credentials) = assessed.into_parts().into_parts();
    let now = routed.exchange.received_at;
    let circumstances = Circumstances::of(&routed.asked, &device, now)?;
    let question = Question {
        principal: &credentials.principal,
        authentication: &credentials.authentication,
        device: &device,
        action: routed.action,
        resource: routed.asked.resource(),
        acr_values: &routed.asked.requirements().acr_values,
        method: routed.exchange.head.method.as_str(),
        host: &routed.host,
        path: routed.path(),
        address: routed.client_address,
        circumstances,
    };
    let permit = ask(state, &question, now)?;
    Ok(Authorized {
        routed,
        permit,
        expires_at: credentials.expires_at,
        source: credentials.source,
    })
}

/// Everything a decision depends on besides the state and the time; a lease keeps it and asks again.
pub(super) struct Question<'a> {
    pub(super) principal: &'a Arc<Principal>,
    pub(super) authentication: &'a Arc<Authentication>,
    pub(super) device: &'a Arc<Device>,
    pub(super) action: Action,
    pub(super) resource: Resource<'a>,
    /// To be named where a policy asks for a stronger credential.
    pub(super) acr_values: &'a [String],
    pub(super) method: &'a str,
    pub(super) host: &'a str,
    pub(super) path: &'a str,
    pub(super) address: IpAddr,
    pub(super) circumstances: Circumstances,
}

/// What else the second door has to say. At the first, nothing.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Circumstances {
    /// The person has said what the destination is needed for.
    reason_given: bool,
    /// What no policy permits is let through, and marked.
    observe: bool,
}

impl Circumstances {
    /// # Errors
    /// `ListsUnavailable`: nobody knows yet what the destination is.
    fn of(asked: &Asked, device: &Device, now: Timestamp) -> Result<Self, Denial> {
        match asked {
            Asked::App(_) => Ok(Self::default()),
            Asked::Destination(errand) if !errand.known.ready => {
                Err(DenialReason::ListsUnavailable.into())
            }
            Asked::Destination(errand) => {
                let site = errand.known.site(&errand.goal);
                Ok(Self::at(&errand.egress, device, site, now))
            }
        }
    }

    pub(super) fn at(egress: &EgressState, device: &Device, site: &str, now: Timestamp) -> Self {
        Self {
            reason_given: egress.refusals.reason_given(device.id(), site, now),
            observe: egress.config.mode == Mode::Observe,
        }
    }
}

/// The same request, asked about once more, because more is known of where it goes.
pub(super) fn again(state: &State, authorized: &Authorized) -> Result<Permit, Denial> {
    let (routed, before) = (&authorized.routed, &authorized.permit);
    let now = routed.exchange.received_at;
    let question = Question {
        principal: before.principal(),
        authentication: before.authentication(),
        device: before.device(),
        action: routed.action,
        resource: routed.asked.resource(),
        acr_values: &routed.asked.requirements().acr_values,
        method: routed.exchange.head.method.as_str(),
        host: &routed.host,
        path: routed.path(),
        address: routed.client_address,
        circumstances: Circumstances::of(&routed.asked, before.device(), now)?,
    };
    ask(state, &question, now)
}

pub(super) fn ask(
    state: &State,
    question: &Question<'_>,
    now: Timestamp,
) -> Result<Permit, Denial> {
    let request = Request {
        principal: question.principal,
        device: question.device,
        authentication: question.authentication,
        action: question.action,
        resource: question.resource,
        facts: RequestFacts {
            method: question.method,
            host: question.host,
            path: question.path,
            address: question.address,
            networks: state.networks.containing(question.address),
            reason_given: question.circumstances.reason_given,
        },
    };
    let now = state.zone.now(now);
    let decided = if question.circumstances.observe {
        state.policies.decide_observing(&request, now)
    } else {
        state.policies.decide(&request, now)
    };
    decided.map_err(|deny| {
        let mut denial = Denial::from(deny);
        if let Some(challenge) = denial.challenge.as_mut() {
            challenge.acr_values.extend_from_slice(question.acr_values);
        }
        denial
    })
}
