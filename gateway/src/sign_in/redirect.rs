//! Where a person is sent whose request was refused for want of a sign-in, instead of a page that only says so. Programs are
//! told with a status and a challenge, as they always are.

use std::sync::Arc;

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{HeaderName, Method, Response, Uri};
use hyper::body::Incoming;
use masugata_policy::Timestamp;

use super::kept::{Posted, kept};
use super::pages::Look;
use super::target::{AppTarget, Target};
use super::{go, need, start};
use crate::audit::trail::Facts;
use crate::denial::Denial;
use crate::exchange::RequestId;
use crate::gateway::Shared;
use crate::respond::{Format, Preferences};
use crate::session::cookie::{self, Brought};
use crate::state::State;

/// What has to be known of a request whose sender can be sent elsewhere: somebody looks at the answer.
pub(crate) struct Navigation {
    uri: Uri,
    start: Brought,
    /// A form was sent.
    posted: Option<Posted>,
    preferences: Preferences,
}

static SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

impl Navigation {
    /// `None` for programs: no navigation, another method than GET and POST, or a credential that a page cannot give.
    pub(crate) fn of(head: &Parts, preferences: Preferences) -> Option<Box<Self>> {
        let gets = head.method == Method::GET;
        if !gets && head.method != Method::POST || head.headers.contains_key(AUTHORIZATION) {
            return None;
        }
        let mode = head.headers.get(&SEC_FETCH_MODE);
        let navigates = match mode {
            Some(mode) => mode == "navigate",
            // An old browser; of a form it cannot be told from a program.
            None => gets && preferences.format == Format::Page,
        };
        navigates.then(|| {
            Box::new(Self {
                uri: head.uri.clone(),
                start: cookie::brought(&head.headers, cookie::START),
                posted: (!gets).then(|| Posted::of(head)),
                preferences,
            })
        })
    }

    /// Whether its body may be asked for again.
    pub(crate) fn is_form(&self) -> bool {
        self.posted.is_some()
    }
}

/// The answer that leads to a sign-in. `None`: it would not help. `body` is that of a form, unread.
pub(crate) async fn to_sign_in(
    shared: &Shared,
    state: &Arc<State>,
    navigation: &Navigation,
    (denial, facts): (&Denial, &Facts),
    (request, now): (RequestId, Timestamp),
    body: Option<Incoming>,
) -> Option<Response<Bytes>> {
    let sign_in = state.sign_in.as_ref()?;
    // Whoever has no enrolled device cannot sign in either.
    facts.device.as_ref()?;
    let app = state.app(facts.app.as_ref()?.name())?;
    let accepted = &app.config.requirements.issuers;
    if sign_in.providers.for_app(accepted).is_empty() {
        return None;
    }
    let path = navigation.uri.path_and_query()?.as_str();
    let target = AppTarget {
        app: Arc::clone(app),
        host: facts.host.clone()?,
        path: path.into(),
    };
    if !need::helps(state, &target, denial, facts.session.as_deref(), now) {
        return None;
    }
    let secret = start::beginning(navigation.start.clone(), shared);
    let set = cookie::set(cookie::START, &secret);
    let target = Target::App(target);
    let tab = navigation.posted.is_some();
    let link = start::link_to_start(state, &target, &secret, denial.need, tab)?;
    let Some(posted) = &navigation.posted else {
        return Some(go(&link, [set]));
    };
    let look = Look {
        brand: &state.brand,
        preferences: navigation.preferences,
        request,
        now: state.zone.now(now),
    };
    let action = target.address(state);
    let page = (&*app.config.name, &*action, &*link);
    let mut response = kept(&look, page, posted, body).await;
    response.headers_mut().append(http::header::SET_COOKIE, set);
    Some(response)
}
