//! A permit: proof that a request was decided and allowed, together with what was allowed.

use std::sync::Arc;

use crate::request::{Action, App, Authentication, Device, Held, Principal};
use crate::time::Timestamp;

/// Identifies a policy set by content: `sha256:` and 64 hex digits over the sorted sources.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PolicyVersion(pub(crate) Arc<str>);

impl PolicyVersion {
    /// The text form.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Made only by [`crate::PolicySet::decide`] and its siblings; holds the request it permits, so that a permit for one request can not
/// be shown for another.
#[derive(Clone, Debug)]
pub struct Permit {
    pub(crate) principal: Arc<Principal>,
    pub(crate) device: Arc<Device>,
    pub(crate) authentication: Arc<Authentication>,
    pub(crate) action: Action,
    pub(crate) resource: Held,
    pub(crate) observed: bool,
    pub(crate) grant: Arc<Grant>,
    pub(crate) holds_until: Timestamp,
}

/// What is the same for all permits that come from one answer: one count to keep instead of two.
#[derive(Debug)]
pub(crate) struct Grant {
    /// Ids of the permits that matched, sorted; empty only for what is merely observed.
    pub(crate) policies: Arc<[Box<str>]>,
    pub(crate) version: PolicyVersion,
}

impl Permit {
    /// Who was allowed.
    pub fn principal(&self) -> &Arc<Principal> {
        &self.principal
    }
    /// On which device.
    pub fn device(&self) -> &Arc<Device> {
        &self.device
    }
    /// Proved how.
    pub fn authentication(&self) -> &Arc<Authentication> {
        &self.authentication
    }
    /// To do what.
    pub fn action(&self) -> Action {
        self.action
    }
    /// To what.
    pub fn resource(&self) -> &Held {
        &self.resource
    }
    /// To which app, if it was one.
    pub fn app(&self) -> Option<&Arc<App>> {
        match &self.resource {
            Held::App(app) => Some(app),
            Held::Destination(_) => None,
        }
    }
    /// No policy permits it; it is let through because it was asked with [`crate::PolicySet::decide_observing`].
    pub fn is_observed(&self) -> bool {
        self.observed
    }
    /// Ids of the permit policies that matched.
    pub fn policies(&self) -> &Arc<[Box<str>]> {
        &self.grant.policies
    }
    /// The policy set that said so.
    pub fn version(&self) -> &PolicyVersion {
        &self.grant.version
    }
    /// The first instant at which the same question could be answered differently because time has passed.
    pub fn holds_until(&self) -> Timestamp {
        self.holds_until
    }
}
