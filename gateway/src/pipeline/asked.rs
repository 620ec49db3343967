//! What a request asks for: the one place where the two doors differ for the stages.

use std::sync::Arc;

use masugata_policy::Resource;

use crate::config::Requirements;
use crate::limits::quota::AppLimits;
use crate::metrics::AppMetrics;
use crate::state::AppState;

/// See the module's first line.
pub(super) enum Asked {
    /// One of ours.
    App(Arc<AppState>),
}

impl Asked {
    /// What must hold before any policy is asked.
    pub(super) fn requirements(&self) -> &Requirements {
        match self {
            Self::App(app) => &app.config.requirements,
        }
    }

    /// What policies are asked about.
    pub(super) fn resource(&self) -> Resource<'_> {
        match self {
            Self::App(app) => Resource::App(&app.policy),
        }
    }

    pub(super) fn limits(&self) -> &AppLimits {
        match self {
            Self::App(app) => &app.limits,
        }
    }

    pub(super) fn metrics(&self) -> &Arc<AppMetrics> {
        match self {
            Self::App(app) => &app.metrics,
        }
    }
}
