//! The apps of one person on one device: which would open now, which would not and why. Apps that nothing this person can
//! do would open are not among them: a list of all apps is a map for whoever stole a session.

use std::sync::Arc;

use masugata_policy::{Guidance, Level, PostureFault, Timestamp};

use crate::denial::{Denial, DenialReason};
use crate::pipeline::prospect::{self, Prospect, Visitor};
use crate::state::{AppState, State};

/// An app as My page shows it.
pub(crate) struct AppCard {
    pub(crate) name: Arc<str>,
    /// Absolute; `None` where it has no exact host to lead to.
    pub(crate) link: Option<String>,
    pub(crate) level: Level,
    /// Why it would not open now.
    pub(crate) refused: Option<Refusal>,
}

/// Why an app would not open now.
#[derive(Clone)]
pub(crate) struct Refusal {
    pub(crate) reason: DenialReason,
    pub(crate) guidance: Option<Arc<Guidance>>,
    pub(crate) posture: Option<PostureFault>,
    /// Opening it leads through a stronger or fresher sign-in, after which it would (so it is shown as a link).
    pub(crate) step_up: bool,
}

impl AppCard {
    /// It can be clicked on: it opens, if need be after a stronger sign-in.
    pub(crate) fn leads_on(&self) -> bool {
        self.refused.as_ref().is_none_or(|refusal| refusal.step_up)
    }
}

impl Refusal {
    fn of(denial: Denial) -> Self {
        Self {
            reason: denial.reason,
            guidance: denial.guidance,
            posture: denial.posture,
            step_up: false,
        }
    }
}

/// In the order of the configuration.
pub(crate) fn list(state: &State, visitor: &Visitor<'_>, now: Timestamp) -> Vec<AppCard> {
    let of = |app: &Arc<AppState>| {
        let refused = match prospect::of(state, app, visitor, now) {
            Prospect::Open => None,
            Prospect::StrongerSignIn => Some(Refusal {
                step_up: true,
                ..Refusal::of(DenialReason::AssuranceInsufficient.into())
            }),
            Prospect::Closed(denial) => Some(Refusal::of(denial)),
            Prospect::NotTheirs => return None,
        };
        Some(AppCard {
            name: Arc::clone(&app.name),
            link: link(state, app),
            level: app.config.level,
            refused,
        })
    };
    state.apps.iter().filter_map(of).collect()
}

fn link(state: &State, app: &AppState) -> Option<String> {
    let mut hosts = app.config.hosts.iter();
    let host = hosts.find(|host| !host.starts_with('*'))?;
    Some(format!("{}{}", state.origin(host), app.config.path_prefix))
}
