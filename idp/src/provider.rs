//! The built-in provider as the gateway sees it: one function from a request to an answer, and the accounts behind it.
//! It has exactly one client, the gateway itself, which talks to it without leaving the process.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, header};
use maud::Markup;
use secrecy::{ExposeSecret as _, SecretString};
use subtle::ConstantTimeEq as _;

use crate::Language;
use crate::accounts::{Accounts, OpenError, Settings, Visit};
use crate::event::{AccountEvent, Actor, EventKind, Events};
use crate::openid::grant::{Grants, SignedIn};
use crate::openid::keys::{Keys, KeysError};
use crate::openid::params::Params;
use crate::openid::request::{Asked, Client};
use crate::pages::ceremony::Ceremonies;
use crate::random::{self, Random};
use crate::shelf::Shelf;

/// All paths begin with this.
pub(crate) const PREFIX: &str = "/id";
/// Largest body that is looked at, in bytes. An attestation with a chain of certificates fits.
const LARGEST_BODY: usize = 64 * 1024;
/// How long a pushed request counts, in milliseconds (RFC 9126 §2.2 `expires_in`).
pub(crate) const PUSHED_LIFETIME: i64 = 60 * 1000;

/// The provider. Lives as long as the process; a reload changes it with [`Provider::reconfigure`].
pub struct Provider {
    pub(crate) accounts: Accounts,
    pub(crate) keys: Keys,
    pub(crate) grants: Arc<Grants>,
    pub(crate) pushed: Shelf<Asked>,
    pub(crate) ceremonies: Arc<Ceremonies>,
    pub(crate) issuer: String,
    pub(crate) origin: String,
    pub(crate) client_id: String,
    secret: SecretString,
    pub(crate) random: Arc<dyn Random>,
    face: RwLock<Arc<Face>>,
}

/// What a reload may change.
pub(crate) struct Face {
    pub(crate) redirect_uris: Vec<String>,
    pub(crate) dress: Arc<dyn Dress>,
}

/// What the provider is made of.
pub struct Setup {
    /// The issuer identifier: `settings.origin` with `/id`.
    pub issuer: String,
    /// Where accounts and signing keys are kept; ours alone.
    pub directory: PathBuf,
    /// The gateway's callback, compared byte by byte.
    pub redirect_uris: Vec<String>,
    pub client_id: String,
    pub settings: Settings,
    pub dress: Arc<dyn Dress>,
    pub random: Arc<dyn Random>,
    pub events: Events,
}

/// The gateway's frame around our pages: head, style, `Content-Security-Policy`, the company's name and logo.
///
/// Pages need `script-src 'self'`, `connect-src 'self'`, `form-action 'self'`. `Referrer-Policy` should not be looser than
/// `same-origin`.
pub trait Dress: Send + Sync {
    /// A whole page with its headers.
    fn page(&self, page: Dressed<'_>, status: StatusCode) -> Response<Bytes>;
}

/// What goes into the frame.
pub struct Dressed<'a> {
    pub language: Language,
    /// Text.
    pub title: &'a str,
    /// For `main`, with its own `h1`.
    pub body: Markup,
    /// Paths on this host, for `<script src defer>`.
    pub scripts: &'a [&'a str],
    /// For pages that show lists.
    pub wide: bool,
    /// The same page in the other language.
    pub other_language: Option<&'a str>,
}

/// Who asks, as the gateway knows it.
pub struct Caller<'a> {
    /// The inventory id of the verified device; without one no page is shown.
    pub device: Option<&'a str>,
    pub language: Language,
    /// The gateway session of this browser, if it was begun with this provider.
    pub signed_in: Option<SignedInAs<'a>>,
    /// Milliseconds since 1970.
    pub now: i64,
}

/// What the gateway session says.
#[derive(Clone, Copy, Debug)]
pub struct SignedInAs<'a> {
    /// `sub` of the ID token.
    pub account: &'a str,
    /// `auth_time`, in milliseconds since 1970.
    pub authenticated_at: i64,
    pub amr: &'a [Box<str>],
}

/// The provider cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    #[error(transparent)]
    Accounts(#[from] OpenError),
    #[error(transparent)]
    Keys(#[from] KeysError),
    #[error("the issuer `{issuer}` is not `{origin}/id`")]
    Issuer { issuer: String, origin: String },
    #[error(
        "`{0}` cannot be an address of the client: it must be on the provider's own origin, without `#`"
    )]
    RedirectUri(String),
}

impl Provider {
    /// Opens accounts and keys. Blocks.
    ///
    /// # Errors
    /// [`SetupError`].
    pub fn open(setup: Setup, now: i64) -> Result<Self, SetupError> {
        let origin = setup.settings.origin.clone();
        check(&setup.issuer, &origin, &setup.redirect_uris)?;
        let grants = Arc::new(Grants::new());
        let ceremonies = Arc::new(Ceremonies::new());
        let events = watch(setup.events, grants.clone(), ceremonies.clone());
        let accounts = Accounts::open(
            &setup.directory,
            setup.settings,
            setup.random.clone(),
            events,
        )?;
        Ok(Self {
            accounts,
            keys: Keys::open(&setup.directory, now)?,
            grants,
            pushed: Shelf::new(PUSHED_LIFETIME, 10_000),
            ceremonies,
            issuer: setup.issuer,
            origin,
            client_id: setup.client_id,
            secret: random::token(&*setup.random),
            random: setup.random,
            face: RwLock::new(Arc::new(Face {
                redirect_uris: setup.redirect_uris,
                dress: setup.dress,
            })),
        })
    }

    /// What a reload brought. Blocks.
    ///
    /// # Errors
    /// [`SetupError`]: everything stays as it was. Another origin is another provider and needs a restart.
    pub fn reconfigure(
        &self,
        redirect_uris: Vec<String>,
        settings: Settings,
        dress: Arc<dyn Dress>,
    ) -> Result<(), SetupError> {
        if settings.origin != self.origin {
            return Err(SetupError::Issuer {
                issuer: self.issuer.clone(),
                origin: settings.origin,
            });
        }
        check(&self.issuer, &self.origin, &redirect_uris)?;
        self.accounts.reconfigure(settings)?;
        let face = Arc::new(Face {
            redirect_uris,
            dress,
        });
        *self.face.write().unwrap_or_else(PoisonError::into_inner) = face;
        Ok(())
    }

    pub fn accounts(&self) -> &Accounts {
        &self.accounts
    }

    /// The client's secret; another one in each process, and never outside of it.
    pub fn client_secret(&self) -> &SecretString {
        &self.secret
    }

    /// Answers a request whose path begins with `/id/`.
    pub async fn answer(&self, request: Request<Bytes>, caller: Caller<'_>) -> Response<Bytes> {
        let (head, body) = request.into_parts();
        let face = self.face();
        let asking = Asking {
            method: &head.method,
            uri: &head.uri,
            headers: &head.headers,
            body: &body,
            caller: &caller,
            face: &face,
        };
        if asking.body.len() > LARGEST_BODY {
            return asking.plain(StatusCode::PAYLOAD_TOO_LARGE);
        }
        self.route(&asking).await
    }

    async fn route(&self, asking: &Asking<'_>) -> Response<Bytes> {
        let path = asking.uri.path().strip_prefix(PREFIX).unwrap_or_default();
        let allowed: &[Method] = match path {
            "/.well-known/openid-configuration"
            | "/jwks"
            | "/authorize"
            | "/sign-in"
            | "/recovery-codes"
            | "/assets/passkey.js" => &[Method::GET],
            "/code" | "/recovery" | "/welcome" | "/factors" | "/factors/totp" | "/userinfo" => {
                &[Method::GET, Method::POST]
            }
            "/token"
            | "/par"
            | "/password"
            | "/cancel"
            | "/passkey/options"
            | "/passkey/verify"
            | "/passkey/new"
            | "/passkey/add"
            | "/welcome/password"
            | "/recovery-codes/kept"
            | "/factors/passkey/rename"
            | "/factors/passkey/remove"
            | "/factors/password"
            | "/factors/password/remove"
            | "/factors/totp/confirm"
            | "/factors/totp/remove"
            | "/factors/recovery-codes" => &[Method::POST],
            _ => return self.nothing_here(asking),
        };
        if !allowed.contains(asking.method) {
            return asking.method_not_allowed(allowed);
        }
        match path {
            "/.well-known/openid-configuration" => self.discovery(asking),
            "/jwks" => self.jwks(asking),
            "/authorize" => self.authorize(asking),
            "/par" => self.push(asking),
            "/token" => self.token(asking),
            "/userinfo" => self.userinfo(asking),
            "/assets/passkey.js" => crate::pages::script::serve(asking),
            _ => self.page(asking, path).await,
        }
    }

    fn face(&self) -> Arc<Face> {
        self.face
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The one client, by its secret in the `Authorization` header or the form (RFC 6749 §2.3.1), not both.
    pub(crate) fn is_client(&self, asking: &Asking<'_>, params: &Params) -> bool {
        let posted = params.text("client_secret");
        let (id, secret) = match (asking.headers.get(header::AUTHORIZATION), posted) {
            (Some(_), Some(_)) => return false,
            (None, Some(secret)) => (params.or_empty("client_id").to_owned(), secret.to_owned()),
            (Some(value), None) => match value.to_str().ok().and_then(basic) {
                Some(pair) => pair,
                None => return false,
            },
            (None, None) => return false,
        };
        let is_id = params.text("client_id").is_none_or(|other| other == id);
        let right = secret
            .as_bytes()
            .ct_eq(self.secret.expose_secret().as_bytes());
        is_id && id == self.client_id && bool::from(right)
    }

    pub(crate) fn client<'a>(&'a self, face: &'a Face) -> Client<'a> {
        Client {
            id: &self.client_id,
            redirect_uris: &face.redirect_uris,
        }
    }

    /// A signed-in person as the gateway's session says, if the account still counts.
    pub(crate) fn session(&self, caller: &Caller<'_>) -> Option<SignedIn> {
        let session = caller.signed_in?;
        let account = self.accounts.get(session.account)?;
        let sane = account.active && session.authenticated_at <= caller.now;
        sane.then(|| SignedIn {
            account: account.id,
            amr: session.amr.to_vec(),
            at: session.authenticated_at,
        })
    }
}

/// A request on its way through this crate.
pub(crate) struct Asking<'a> {
    pub(crate) method: &'a Method,
    pub(crate) uri: &'a Uri,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) body: &'a Bytes,
    pub(crate) caller: &'a Caller<'a>,
    pub(crate) face: &'a Face,
}

impl Asking<'_> {
    pub(crate) fn now(&self) -> i64 {
        self.caller.now
    }

    pub(crate) fn visit(&self) -> Visit<'_> {
        Visit {
            device: self.caller.device.unwrap_or_default(),
            now: self.caller.now,
        }
    }

    /// Whether the body says that it is of this type.
    pub(crate) fn is_of_type(&self, wanted: &str) -> bool {
        self.headers
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split(';').next())
            .is_some_and(|value| value.trim().eq_ignore_ascii_case(wanted))
    }
}

/// RFC 7617, with both parts form-encoded (RFC 6749 §2.3.1).
fn basic(value: &str) -> Option<(String, String)> {
    let (scheme, credentials) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(credentials.trim()).ok()?).ok()?;
    let (id, secret) = decoded.split_once(':')?;
    let plain = |part: &str| {
        let pair = ["x=", part].concat();
        let mut pairs = url::form_urlencoded::parse(pair.as_bytes());
        let (_, value) = pairs.next()?;
        pairs.next().is_none().then(|| value.into_owned())
    };
    Some((plain(id)?, plain(secret)?))
}

fn check(issuer: &str, origin: &str, redirect_uris: &[String]) -> Result<(), SetupError> {
    if issuer.strip_suffix(PREFIX) != Some(origin) {
        return Err(SetupError::Issuer {
            issuer: issuer.to_owned(),
            origin: origin.to_owned(),
        });
    }
    let is_ours = |uri: &str| {
        let path = uri.strip_prefix(origin);
        path.is_some_and(|path| path.starts_with('/'))
            && uri.bytes().all(|it| it.is_ascii_graphic())
            && !uri.contains(['#', '"', '\\'])
    };
    match redirect_uris.iter().find(|uri| !is_ours(uri)) {
        Some(uri) => Err(SetupError::RedirectUri(uri.clone())),
        None => Ok(()),
    }
}

/// Passes events on, once what they make void is void: a code, a half-finished sign-in.
fn watch(events: Events, grants: Arc<Grants>, ceremonies: Arc<Ceremonies>) -> Events {
    Arc::new(move |event: AccountEvent| {
        if let Some(account) = &event.account
            && voids(&event)
        {
            grants.forget(account, event.at);
            ceremonies.forget(account, event.at);
        }
        events(event);
    })
}

fn voids(event: &AccountEvent) -> bool {
    match event.kind {
        EventKind::AccountDisabled | EventKind::AccountRemoved | EventKind::AccountReset => true,
        // What people change themselves is part of a ceremony that goes on.
        EventKind::FactorRemoved | EventKind::PasswordChanged => event.by != Actor::Person,
        EventKind::SignIn
        | EventKind::LockedOut
        | EventKind::FactorAdded
        | EventKind::RecoveryCodesMade
        | EventKind::RecoveryUsed
        | EventKind::AccountCreated
        | EventKind::AccountChanged
        | EventKind::AccountEnabled => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_our_own_origin_are_the_clients() {
        let origin = "https://login.example";
        let issuer = "https://login.example/id";
        let ours = |uri: &str| check(issuer, origin, &[uri.to_owned()]).is_ok();
        assert!(ours("https://login.example/callback/people"));
        for uri in [
            "https://login.example.evil.example/",
            "https://login.example@evil.example/",
            "http://login.example/callback",
            "https://login.example/callback#x",
            "https://login.example/\r\nx: y",
            "//login.example/",
            "",
        ] {
            assert!(!ours(uri), "{uri}");
        }
        assert!(check("https://other.example/id", origin, &[]).is_err());
        assert!(check("https://login.example", origin, &[]).is_err());
    }

    #[test]
    fn basic_credentials_are_form_encoded() {
        let value = |text: &str| format!("Basic {}", STANDARD.encode(text));
        assert_eq!(
            basic(&value("a%3Ab:c+d%25")),
            Some(("a:b".to_owned(), "c d%".to_owned()))
        );
        assert_eq!(basic(&value("a&x=1:b")), None);
        assert_eq!(basic("Bearer x"), None);
    }
}
