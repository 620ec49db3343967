//! Fourth stage: the policies decide.

use std::net::IpAddr;
use std::sync::Arc;

use masugata_policy::{
    Action, Authentication, Device, Permit, Principal, Request, RequestFacts, Timestamp,
};

use super::authenticate::Credentials;
use super::posture::Assessed;
use super::route::Routed;
use crate::denial::Denial;
use crate::issuer::Identity;
use crate::state::{AppState, State};

/// A request with the permit that covers it.
pub(super) struct Authorized {
    routed: Box<Routed>,
    permit: Permit,
    /// When the credential behind the permit ends.
    expires_at: Timestamp,
    identity: Option<Arc<Identity>>,
}

impl Authorized {
    /// The request, and what a lease holds on to.
    pub(super) fn into_parts(self) -> (Box<Routed>, Credentials) {
        let credentials = Credentials {
            principal: Arc::clone(self.permit.principal()),
            authentication: Arc::clone(self.permit.authentication()),
            expires_at: self.expires_at,
            identity: self.identity,
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
        app: &routed.app,
        method: routed.exchange.head.method.as_str(),
        host: &routed.host,
        path: routed.path(),
        address: routed.client_address,
    };
    let permit = ask(state, &question, routed.exchange.received_at)?;
    Ok(Authorized {
        routed,
        permit,
        expires_at: credentials.expires_at,
        identity: credentials.identity,
    })
}

/// Everything a decision depends on besides the state and the time; a lease keeps it and asks again.
pub(super) struct Question<'a> {
    pub(super) principal: &'a Arc<Principal>,
    pub(super) authentication: &'a Arc<Authentication>,
    pub(super) device: &'a Arc<Device>,
    pub(super) action: Action,
    pub(super) app: &'a AppState,
    pub(super) method: &'a str,
    pub(super) host: &'a str,
    pub(super) path: &'a str,
    pub(super) address: IpAddr,
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
        app: &question.app.policy,
        facts: RequestFacts {
            method: question.method,
            host: question.host,
            path: question.path,
            address: question.address,
            networks: state.networks.containing(question.address),
        },
    };
    state
        .policies
        .decide(&request, state.zone.now(now))
        .map_err(|deny| {
            let mut denial = Denial::from(deny);
            if let Some(challenge) = denial.challenge.as_mut() {
                challenge
                    .acr_values
                    .clone_from(&question.app.config.requirements.acr_values);
            }
            denial
        })
}
