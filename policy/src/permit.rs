//! A permit: proof that a request was decided and allowed, together with what was allowed.

use std::sync::Arc;

use crate::request::{Action, App, Authentication, Device, Principal};
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

/// Made only by [`crate::PolicySet::decide`]; holds the request it permits, so that a permit for one request can not
/// be shown for another.
#[derive(Clone, Debug)]
pub struct Permit {
    pub(crate) principal: Arc<Principal>,
    pub(crate) device: Arc<Device>,
    pub(crate) authentication: Arc<Authentication>,
    pub(crate) action: Action,
    pub(crate) app: Arc<App>,
    pub(crate) grant: Arc<Grant>,
    pub(crate) holds_until: Timestamp,
}

/// What is the same for all permits that come from one answer: one count to keep instead of two.
#[derive(Debug)]
pub(crate) struct Grant {
    /// Ids of the permits that matched, sorted; never empty.
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
    /// To which app.
    pub fn app(&self) -> &Arc<App> {
        &self.app
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
