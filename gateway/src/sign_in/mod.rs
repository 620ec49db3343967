//! How people sign in with a browser: at the sign-in host, which knows the providers, and at the hosts of apps, to which a
//! one-time code hands a session over.
//!
//! ```text
//! app ──302──▶ /start ──302──▶ provider ──302──▶ /callback ──302──▶ app/.masugata/session ──302──▶ app
//!      start cookie     attempt cookie                 session cookie here         session cookie there
//! ```
//! Three browsers must be one: that with the start cookie at the app, that with the attempt cookie at the sign-in host, and
//! that behind the device certificate at both. So neither a link that somebody else began, nor a code that somebody else
//! carries, signs anybody in.

mod app_host;
mod back_channel;
mod callback;
pub(crate) mod fault;
mod fields;
mod kept;
mod leave;
mod my;
mod need;
pub(crate) mod pages;
pub(crate) mod record;
pub(crate) mod redirect;
pub(crate) mod refresh;
mod start;
mod target;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, LOCATION, REFERRER_POLICY, SET_COOKIE};
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use masugata_policy::{Device, Timestamp};

use crate::capability::Entropy;
use crate::connection::Connection;
use crate::denial::{Denial, DenialReason};
use crate::egress::pages::form::{self, FormKey};
use crate::exchange::RequestId;
use crate::framing;
use crate::gateway::Shared;
use crate::respond::Preferences;
use crate::session::{HandOvers, OneTime, Session, Sessions};
use crate::state::{SignInState, State};

pub(crate) use app_host::PREFIX;
pub(crate) use back_channel::receive as receive_logout;
pub(crate) use redirect::{Navigation, to_sign_in};
pub(crate) use target::AppTarget;

use fault::{Fault, OwnFault};
use pages::Look;

/// What is remembered of sign-ins under way, over reloads.
pub(crate) struct UnderWay {
    attempts: OneTime<callback::Pending>,
    hand_overs: HandOvers,
    form: FormKey,
}

/// How long somebody may take at the provider.
const PATIENCE_WITH_PEOPLE: Duration = Duration::from_secs(600);
/// Sign-ins under way of one device, and of all. A browser that restores its tabs begins one for each app.
const ATTEMPTS: usize = 32;
const MOST_ATTEMPTS: usize = 16_384;

impl UnderWay {
    pub(crate) fn new(entropy: &dyn Entropy) -> Self {
        Self {
            attempts: OneTime::new(PATIENCE_WITH_PEOPLE, ATTEMPTS, MOST_ATTEMPTS),
            hand_overs: HandOvers::default(),
            form: FormKey::new(entropy),
        }
    }
}

/// Somebody with an enrolled device at one of our own pages.
pub(crate) struct Visitor<'a> {
    pub(crate) shared: &'a Arc<Shared>,
    pub(crate) state: &'a Arc<State>,
    pub(crate) sessions: &'a Arc<Sessions>,
    pub(crate) sign_in: &'a Arc<SignInState>,
    pub(crate) request: RequestId,
    pub(crate) connection: &'a Arc<Connection>,
    pub(crate) head: &'a Parts,
    /// Lower case, without port.
    pub(crate) host: &'a str,
    pub(crate) now: Timestamp,
    pub(crate) device: Arc<Device>,
    /// Of its certificate.
    pub(crate) thumbprint: [u8; 32],
    /// The session of this host's cookie: not ended, and bound to that certificate.
    pub(crate) session: Option<Arc<Session>>,
}

/// Answers on the sign-in host.
///
/// # Errors
/// [`Denial`]: a path that leads nowhere, a method that it does not take.
pub(crate) async fn at_sign_in_host(
    visitor: &Visitor<'_>,
    body: Incoming,
) -> Result<Response<Bytes>, Denial> {
    let reads = visitor.head.method == Method::GET || visitor.head.method == Method::HEAD;
    let posts = visitor.head.method == Method::POST;
    let path = visitor.head.uri.path();
    match path {
        "/" if reads => my::page(visitor).await,
        "/start" | "/choose" if reads => Ok(start::start(visitor).await),
        "/signed-out" if reads => Ok(pages::signed_out(&visitor.look(), None)),
        "/sign-out" if posts => leave::sign_out(visitor, body).await,
        "/sessions/end" if posts => leave::end_one(visitor, body).await,
        "/" | "/start" | "/choose" | "/signed-out" | "/sign-out" | "/sessions/end" => {
            Err(DenialReason::MethodNotAllowed.into())
        }
        _ => match path.strip_prefix("/callback/") {
            Some(issuer) if reads => Ok(callback::callback(visitor, issuer).await),
            Some(_) => Err(DenialReason::MethodNotAllowed.into()),
            None => Err(DenialReason::RouteNotFound.into()),
        },
    }
}

/// Answers on an app's host, below [`PREFIX`].
///
/// # Errors
/// [`Denial`], as above.
pub(crate) async fn at_app_host(visitor: &Visitor<'_>) -> Result<Response<Bytes>, Denial> {
    app_host::answer(visitor).await
}

impl Visitor<'_> {
    fn look(&self) -> Look<'_> {
        Look {
            brand: &self.state.brand,
            preferences: Preferences::of(self.head),
            request: self.request,
            now: self.state.zone.now(self.now),
        }
    }

    fn under_way(&self) -> &UnderWay {
        &self.shared.under_way
    }

    /// A page that says why it goes no further.
    fn fail(&self, fault: &Fault, again: Option<&str>) -> Response<Bytes> {
        let again = again.filter(|_| fault.may_try_again());
        pages::error(&self.look(), fault, again)
    }

    /// What the tokens of this visitor's forms are for: their session on this device.
    fn form_of(&self, session: &Session) -> String {
        format!("{} {}", session.family, self.device.id())
    }

    /// Reads a form of one of our pages, sent from there by the person who was shown it.
    ///
    /// # Errors
    /// [`OwnFault`]; nothing was changed.
    async fn form(&self, session: &Session, body: Incoming) -> Result<fields::Fields, OwnFault> {
        if !self.is_from_here() {
            return Err(OwnFault::FormForeign);
        }
        if !form::is_form(&self.head.headers) {
            return Err(OwnFault::FormMalformed);
        }
        let body = collect(body, form::LONGEST).await;
        let body = body.ok_or(OwnFault::FormMalformed)?;
        let text = std::str::from_utf8(&body).map_err(|_| OwnFault::FormMalformed)?;
        let fields = fields::Fields::parse(text).ok_or(OwnFault::FormMalformed)?;
        let token = fields.one("token").ok_or(OwnFault::FormMalformed)?;
        let whose = self.form_of(session);
        if !self.under_way().form.knows(token, &whose, self.now) {
            return Err(OwnFault::FormExpired);
        }
        Ok(fields)
    }

    /// The browser says that a page of this very host sent the request.
    fn is_from_here(&self) -> bool {
        let written = framing::parse(self.head).map(|target| target.written.to_owned());
        written.is_ok_and(|written| form::is_our_own(&self.head.headers, &written))
    }
}

/// How long a form may take to arrive.
const PATIENCE: Duration = Duration::from_secs(10);

/// All of a body that is no longer than that. `None`: it is, or does not come.
async fn collect(body: Incoming, longest: usize) -> Option<Bytes> {
    let collected = tokio::time::timeout(PATIENCE, Limited::new(body, longest).collect());
    Some(collected.await.ok()?.ok()?.to_bytes())
}

/// Sends a browser on. The address is absolute, and made by us or by a provider's client.
fn go(address: &str, cookies: impl IntoIterator<Item = HeaderValue>) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::FOUND;
    let headers = response.headers_mut();
    match HeaderValue::try_from(address) {
        Ok(address) => {
            headers.insert(LOCATION, address);
        }
        // Cannot be: addresses are made of letters that a field can carry.
        Err(_) => *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR,
    }
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    for cookie in cookies {
        headers.append(SET_COOKIE, cookie);
    }
    response
}

/// After a form: the answer is read with GET, also when it is loaded again (RFC 9110 §15.4.4).
fn see(address: &str, cookies: impl IntoIterator<Item = HeaderValue>) -> Response<Bytes> {
    let mut response = go(address, cookies);
    if response.status() == StatusCode::FOUND {
        *response.status_mut() = StatusCode::SEE_OTHER;
    }
    response
}
