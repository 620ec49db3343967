//! Fourth stage: the policies decide.

use std::net::IpAddr;
use std::sync::Arc;

use masugata_policy::{
    Action, Authentication, Device, Permit, Principal, Request, RequestFacts, Resource, Timestamp,
};

use super::authenticate::{Credentials, Source};
use super::posture::Assessed;
use super::route::Routed;
use crate::denial::Denial;
use crate::state::State;

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
    pub(super) fn expires_at(&self) -> Timestamp {
        self.expires_at
    }
}

pub(super) fn decide(state: &State, assessed: Assessed) -> Result<Authorized, Denial> {
    let (routed, device, credentials) = assessed.into_parts().into_parts();
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
        reason_given: false,
        observe: false,
    };
    let permit = ask(state, &question, routed.exchange.received_at)?;
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
    /// The person has said what the destination is needed for.
    pub(super) reason_given: bool,
    /// What no policy permits is let through, and marked.
    pub(super) observe: bool,
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
            reason_given: question.reason_given,
        },
    };
    let now = state.zone.now(now);
    let decided = if question.observe {
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
