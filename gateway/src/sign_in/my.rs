//! A person's own page: apps that would open now, the device, sessions.

use std::sync::Arc;

use bytes::Bytes;
use http::Response;
use masugata_policy::PostureFault;

use super::Visitor;
use super::need;
use super::pages::{self, AppCard, MyPage, Refusal};
use super::start::{self, Chosen, Wish};
use super::target::AppTarget;
use crate::denial::{Denial, DenialReason};
use crate::pipeline;
use crate::respond::{Format, Preferences};
use crate::session::Session;
use crate::state::AppState;

/// `/`: My page, or the way to it.
pub(super) async fn page(visitor: &Visitor<'_>) -> Result<Response<Bytes>, Denial> {
    let longest = visitor.state.config.sign_in.as_ref();
    let longest = longest.map(|sign_in| sign_in.lifetimes.longest());
    let session = visitor.session.as_ref().filter(|session| {
        longest.is_some_and(|longest| session.check(longest, visitor.now).is_ok())
    });
    let Some(session) = session else {
        if Preferences::of(visitor.head).format == Format::Problem {
            return Err(DenialReason::CredentialMissing.into());
        }
        return Ok(start::begin(visitor, Wish::own("/"), Chosen::default()).await);
    };
    session.touch(visitor.now);
    let principal = session.principal();
    let provider = visitor.sign_in.providers.by_issuer_name(&session.issuer);
    let built_in = provider.is_some_and(|provider| provider.is_built_in());
    let mut device_faults = Vec::new();
    let cards = visitor.state.apps.iter();
    let apps: Vec<AppCard> = cards
        .map(|app| card(visitor, session, app, &mut device_faults))
        .collect();
    let sessions = visitor.sessions.of(principal.id());
    let token = visitor
        .under_way()
        .form
        .token(&visitor.form_of(session), visitor.now);
    let my = MyPage {
        name: principal.name().unwrap_or(principal.id()),
        email: session.email.as_deref(),
        provider: provider.map_or(&session.issuer, |provider| provider.label()),
        apps: &apps,
        device: &visitor.device,
        device_faults: &device_faults,
        sessions: &sessions,
        current: &session.family.to_string(),
        factors: built_in.then_some("/id/factors"),
        token: &token,
    };
    Ok(pages::my_page(&visitor.look(), &my))
}

/// An app with what would become of opening it.
fn card(
    visitor: &Visitor<'_>,
    session: &Arc<Session>,
    app: &Arc<AppState>,
    device_faults: &mut Vec<PostureFault>,
) -> AppCard {
    // A pattern names no one host to go to.
    let host = app.config.hosts.iter().find(|host| !host.starts_with("*."));
    let origin = host.map(|host| visitor.state.config.ingress.origin_of(host));
    let denied = host.and_then(|host| {
        let target = AppTarget {
            app: Arc::clone(app),
            host: host.as_str().into(),
            path: app.config.path_prefix.as_str().into(),
        };
        let opened = pipeline::would_open(visitor, session, &target);
        opened.err().map(|denial| (denial, target))
    });
    let refused = denied.map(|(denial, target)| {
        let fault = denial.posture;
        device_faults.extend(fault.filter(|fault| !device_faults.contains(fault)));
        Refusal {
            reason: denial.reason,
            step_up: need::helps(visitor.state, &target, &denial, Some(session), visitor.now),
            guidance: denial.guidance,
            posture: denial.posture,
        }
    });
    AppCard {
        name: Arc::clone(&app.name),
        link: origin.map(|origin| format!("{origin}{}", app.config.path_prefix)),
        level: app.config.level,
        refused,
    }
}
