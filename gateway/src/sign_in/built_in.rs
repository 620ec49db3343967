//! The built-in identity provider in its place: it is given requests and time, its pages the company's frame, and what it
//! tells of accounts ends sessions and goes on record.

use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use ahash::AHashMap;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{
    AUTHORIZATION, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY,
};
use http::{HeaderValue, Request, Response, StatusCode};
use masugata_idp::{
    Account, AccountEvent, Actor as By, Caller, Dress, Dressed, EventKind, Provider, Setup,
    SetupError, SignedInAs,
};
use masugata_policy::{Principal, PrincipalKind};
use secrecy::ExposeSecret as _;

use super::Visitor;
use crate::audit::event::Actor;
use crate::capability::{Clock, Entropy};
use crate::config::Config;
use crate::config::sign_in::BUILT_IN_CLIENT;
use crate::control::accounts;
use crate::gateway::Shared;
use crate::issuer::{Local, LocalAnswer};
use crate::respond::{self, Format, Framed, Host, Language, Powers, Preferences};
use crate::session::{Session, SessionId, Which};

/// Below this everything on the sign-in host is the provider's.
pub(super) const PREFIX: &str = "/id/";

/// See the module's first lines. Opened once per process, as the store it lives in.
pub(crate) struct BuiltIn {
    provider: Provider,
    clock: Arc<dyn Clock>,
    ears: Arc<Ears>,
}

/// What hears of the provider's events, and frames its pages.
struct Ears {
    /// The issuer's configured name, which does not change while running.
    name: Box<str>,
    /// Once it runs.
    shared: OnceLock<Weak<Shared>>,
    /// Who is at a page of the provider now, by account and device: that session survives what they change.
    acting: Mutex<AHashMap<AccountAndDevice, Vec<SessionId>>>,
}

type AccountAndDevice = (Box<str>, Box<str>);

impl BuiltIn {
    /// The provider of a configuration; `None`: it has none. Blocks.
    ///
    /// # Errors
    /// [`SetupError`]
    pub(crate) fn open(
        config: &Config,
        clock: &Arc<dyn Clock>,
        entropy: &Arc<dyn Entropy>,
    ) -> Result<Option<Arc<Self>>, SetupError> {
        let (Some(known), Some(store), Some(settings)) = (
            &config.identity_provider,
            &config.store,
            accounts::settings(config),
        ) else {
            return Ok(None);
        };
        let ears = Arc::new(Ears {
            name: known.name.as_str().into(),
            shared: OnceLock::new(),
            acting: Mutex::default(),
        });
        let hears = Arc::clone(&ears);
        let setup = Setup {
            issuer: format!("{}/id", settings.origin),
            directory: store.clone(),
            redirect_uris: vec![format!("{}/callback/{}", settings.origin, known.name)],
            client_id: BUILT_IN_CLIENT.into(),
            settings,
            dress: Arc::clone(&ears) as Arc<dyn Dress>,
            random: Arc::new(accounts::Chance(Arc::clone(entropy))),
            events: Arc::new(move |event| hears.hear(event)),
        };
        let provider = Provider::open(setup, clock.now().as_millis())?;
        Ok(Some(Arc::new(Self {
            provider,
            clock: Arc::clone(clock),
            ears,
        })))
    }

    /// From now on events are heard.
    pub(crate) fn runs_in(&self, shared: &Arc<Shared>) {
        let _known = self.ears.shared.set(Arc::downgrade(shared));
    }

    /// Puts a new configuration in force. Blocks.
    ///
    /// # Errors
    /// [`SetupError`]: everything stays as it was.
    pub(crate) fn reconfigure(&self, config: &Config) -> Result<(), SetupError> {
        let Some(settings) = accounts::settings(config) else {
            return Ok(());
        };
        let callback = format!("{}/callback/{}", settings.origin, self.ears.name);
        let dress = Arc::clone(&self.ears) as Arc<dyn Dress>;
        self.provider.reconfigure(vec![callback], settings, dress)
    }

    pub(crate) fn accounts(&self) -> &masugata_idp::Accounts {
        self.provider.accounts()
    }

    /// The account of a session, if it is one of ours.
    pub(super) fn account_of(&self, session: &Session) -> Option<Account> {
        let ours = *session.issuer == *self.ears.name;
        ours.then(|| self.accounts().get(&session.subject))
            .flatten()
    }

    /// `/id/…`, asked by a browser.
    pub(super) async fn answer_to(&self, visitor: &Visitor<'_>, body: Bytes) -> Response<Bytes> {
        let session = visitor.session.as_ref().filter(|session| {
            let longest = visitor.state.config.sign_in.as_ref();
            let longest = longest.map(|sign_in| sign_in.lifetimes.longest());
            *session.issuer == *self.ears.name
                && longest.is_some_and(|longest| session.check(longest, visitor.now).is_ok())
        });
        let device = visitor.device.id();
        let _acting = session.map(|session| self.ears.acts(session, device));
        let signed_in = session.map(|session| SignedInAs {
            account: &session.subject,
            authenticated_at: session.proved_at().as_millis(),
            amr: &session.authentication.amr,
        });
        let caller = Caller {
            device: Some(device),
            language: match visitor.look().language() {
                Language::Japanese => masugata_idp::Language::Japanese,
                Language::English => masugata_idp::Language::English,
            },
            signed_in,
            now: visitor.now.as_millis(),
        };
        let mut request = Request::new(body);
        request.method_mut().clone_from(&visitor.head.method);
        request.uri_mut().clone_from(&visitor.head.uri);
        request.headers_mut().clone_from(&visitor.head.headers);
        self.provider.answer(request, caller).await
    }
}

/// The gateway asks as the provider's one client, and proves it with a secret that never leaves the process.
impl Local for BuiltIn {
    fn answer(&self, mut request: Request<Bytes>) -> LocalAnswer<'_> {
        let secret = self.provider.client_secret().expose_secret();
        let pair = STANDARD.encode(format!("{BUILT_IN_CLIENT}:{secret}"));
        if !request.headers().contains_key(AUTHORIZATION)
            && let Ok(mut value) = HeaderValue::try_from(format!("Basic {pair}"))
        {
            value.set_sensitive(true);
            request.headers_mut().insert(AUTHORIZATION, value);
        }
        let caller = Caller {
            device: None,
            language: masugata_idp::Language::English,
            signed_in: None,
            now: self.clock.now().as_millis(),
        };
        Box::pin(self.provider.answer(request, caller))
    }
}

/// Takes the note of who acts away again.
struct Acting {
    ears: Arc<Ears>,
    key: AccountAndDevice,
    family: SessionId,
}

impl Drop for Acting {
    fn drop(&mut self) {
        let acting = self.ears.acting.lock();
        let mut acting = acting.unwrap_or_else(PoisonError::into_inner);
        if let Some(families) = acting.get_mut(&self.key) {
            if let Some(at) = families.iter().position(|family| *family == self.family) {
                families.swap_remove(at);
            }
            if families.is_empty() {
                acting.remove(&self.key);
            }
        }
    }
}

impl Ears {
    fn acts(self: &Arc<Self>, session: &Session, device: &str) -> Acting {
        let key = (session.subject.clone(), Box::from(device));
        let mut acting = self.acting.lock().unwrap_or_else(PoisonError::into_inner);
        let families = acting.entry(key.clone()).or_default();
        families.push(session.family);
        Acting {
            ears: Arc::clone(self),
            key,
            family: session.family,
        }
    }

    /// The one session that did it, if it is certain which.
    fn actor(&self, account: &str, device: Option<&str>) -> Option<SessionId> {
        let key = (Box::from(account), Box::from(device?));
        let acting = self.acting.lock().unwrap_or_else(PoisonError::into_inner);
        let families = acting.get(&key)?;
        let first = families.first()?;
        families.iter().all(|it| it == first).then_some(*first)
    }

    /// Called when the change is on the disk and before anybody is answered, from a thread that may block.
    fn hear(&self, event: AccountEvent) {
        let Some(shared) = self.shared.get().and_then(Weak::upgrade) else {
            return;
        };
        if let (None, Some(account)) = (event.failure, event.account.as_deref()) {
            self.follow(&shared, &event, account);
        }
        let generation = shared.state().generation;
        let person = accounts::recorded(event, &self.name, generation, None);
        shared.auditor.person(person);
    }

    /// What somebody changed takes effect on what was begun before.
    fn follow(&self, shared: &Shared, event: &AccountEvent, account: &str) {
        let principal: Box<str> = format!("{}/{account}", self.name).into();
        let by = match event.by {
            By::Person => Actor::Person,
            By::Administrator => Actor::Administrator,
            By::Scim => Actor::Scim,
            By::Gateway => Actor::Gateway,
        };
        let which = match event.kind {
            EventKind::SignIn | EventKind::LockedOut | EventKind::AccountCreated => return,
            EventKind::AccountEnabled => return,
            EventKind::AccountChanged => return self.regroup(shared, &principal, account),
            EventKind::FactorAdded
            | EventKind::FactorRemoved
            | EventKind::PasswordChanged
            | EventKind::RecoveryCodesMade
            | EventKind::RecoveryUsed => match self.actor(account, event.device.as_deref()) {
                Some(keep) if event.by == By::Person => Which::Others { principal, keep },
                Some(_) | None => Which::Principal(principal),
            },
            EventKind::AccountDisabled | EventKind::AccountRemoved | EventKind::AccountReset => {
                Which::Principal(principal)
            }
        };
        shared.end_sessions_now(&which, &by, event.kind.as_str());
    }

    /// Other groups or another name: sessions go on, and are decided about anew.
    fn regroup(&self, shared: &Shared, principal: &str, account: &str) {
        let (Some(sessions), Some(built_in)) = (&shared.sessions, &shared.built_in) else {
            return;
        };
        let Some(account) = built_in.accounts().get(account) else {
            return;
        };
        let state = shared.state();
        let issuers = &state.config.issuers;
        let issuer = issuers.iter().find(|issuer| *issuer.name == *self.name);
        let prefix = issuer.map_or("", |issuer| issuer.claims.group_prefix.as_str());
        let groups = account
            .groups
            .iter()
            .map(|group| format!("{prefix}{group}"));
        sessions.change(principal, &|before: &Principal| {
            Principal::new(
                PrincipalKind::User,
                principal,
                before.issuer(),
                Some(&*account.display_name),
                groups.clone(),
                before.roles().iter().cloned(),
            )
        });
        shared.cut();
    }
}

impl Dress for Ears {
    fn page(&self, page: Dressed<'_>, status: StatusCode) -> Response<Bytes> {
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = status;
        let Some(shared) = self.shared.get().and_then(Weak::upgrade) else {
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            return response;
        };
        let language = match page.language {
            masugata_idp::Language::Japanese => Language::Japanese,
            masugata_idp::Language::English => Language::English,
        };
        let preferences = Preferences {
            format: Format::Page,
            language,
            head_only: false,
            http1: false,
            grpc: false,
        };
        let state = shared.state();
        let framed = Framed {
            language,
            brand: &state.brand,
            host: Host::Ours,
            title: page.title,
            other_language: page.other_language,
            scripts: page.scripts,
            wide: page.wide,
            body: &page.body.0,
            footer: "",
        };
        let content = framed.to_string();
        let headers = response.headers_mut();
        respond::negotiated_headers(headers, preferences);
        for (name, value) in [
            (
                CONTENT_TYPE,
                HeaderValue::from_static("text/html; charset=utf-8"),
            ),
            (REFERRER_POLICY, HeaderValue::from_static("same-origin")),
            (
                CONTENT_SECURITY_POLICY,
                state.brand.policy(Powers::Scripted),
            ),
            (CONTENT_LENGTH, HeaderValue::from(content.len())),
        ] {
            headers.insert(name, value);
        }
        *response.body_mut() = Bytes::from(content);
        response
    }
}
