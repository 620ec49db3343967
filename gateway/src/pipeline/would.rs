//! Whether an app would open now: what My page shows. The same questions as for a request, in the same order, of the same
//! functions; nothing is counted and nothing is recorded.

use std::sync::Arc;

use masugata_policy::{Action, Resource};

use super::authenticate::{self, session};
use super::decide::{self, Circumstances, Question};
use super::posture;
use crate::denial::Denial;
use crate::session::Session;
use crate::sign_in::{AppTarget, Visitor};

/// See the module's first lines.
///
/// # Errors
/// What a GET of `target` would be refused for.
pub(crate) fn would_open(
    visitor: &Visitor<'_>,
    session: &Arc<Session>,
    target: &AppTarget,
) -> Result<(), Denial> {
    let (state, now, app) = (visitor.state, visitor.now, &target.app);
    let requirements = &app.config.requirements;
    let credentials = session::good(state, session, app.config.level, now)?;
    let credentials = authenticate::stand(visitor.shared, credentials)?;
    authenticate::check_assurance(requirements, &credentials, now)?;
    posture::check(requirements, &visitor.device, now)?;
    let question = Question {
        principal: &credentials.principal,
        authentication: &credentials.authentication,
        device: &visitor.device,
        action: Action::Read,
        resource: Resource::App(&app.policy),
        acr_values: &requirements.acr_values,
        method: "GET",
        host: &target.host,
        path: &target.path,
        address: visitor.connection.remote.ip().to_canonical(),
        circumstances: Circumstances::default(),
    };
    decide::ask(state, &question, now).map(drop)
}
