//! The beginning: at an app, a browser is sent to the sign-in host with a cookie that names it; there the session that it
//! has already serves, or it is sent on to a provider.

use std::sync::Arc;

use bytes::Bytes;
use http::Response;
use masugata_policy::Challenge;

use super::callback::Pending;
use super::fault::{Fault, OwnFault};
use super::fields::{Fields, link};
use super::need::{self, JUST_NOW, Need};
use super::pages::{self, ByEmail, Choice, Chooser};
use super::target::Target;
use super::{Visitor, app_host, go};
use crate::relying_party::Provider;
use crate::session::cookie::{self, Brought, Print};
use crate::session::{HandOver, Secret, Session};
use crate::state::State;

/// What a browser asks of the sign-in host.
#[derive(Clone)]
pub(super) struct Wish {
    pub(super) target: Target,
    /// SHA-256 of the app host's start cookie; not for our own pages, which need no hand-over.
    pub(super) bind: Option<Print>,
    pub(super) policy: Option<Challenge>,
    /// In a tab of its own: another one waits with a form.
    pub(super) tab: bool,
    /// The query, for beginning anew.
    pub(super) query: Box<str>,
}

/// The start cookie of a browser at an app's host: the one that it has, so that two tabs do not overtake each other, or a
/// new one.
pub(crate) fn beginning(brought: Brought, shared: &crate::gateway::Shared) -> Secret {
    brought
        .one()
        .unwrap_or_else(|| Secret::new(&*shared.entropy))
}

/// Where a browser with that start cookie begins to sign in for `target`.
pub(crate) fn link_to_start(
    state: &State,
    target: &Target,
    start: &Secret,
    policy: Option<Challenge>,
    tab: bool,
) -> Option<String> {
    let sign_in = state.config.sign_in.as_ref()?;
    let origin = state.config.ingress.origin_of(&sign_in.host);
    let (to, bind) = (target.address(state), start.print().text());
    let mut fields = vec![("to", &*to), ("bind", &*bind)];
    fields.extend(policy.and_then(need::word).map(|word| ("need", word)));
    fields.extend(tab.then_some(("tab", "1")));
    Some(link(&format!("{origin}/start"), &fields))
}

impl Wish {
    fn read(query: &str, state: &State) -> Option<Self> {
        let fields = Fields::parse(query)?;
        let target = match fields.one("to") {
            None => Target::Own("/".into()),
            Some(to) => Target::parse(to, state)?,
        };
        let bind = match (&target, fields.one("bind")) {
            (Target::App(_), bind) => Some(Print::parse(bind?)?),
            (Target::Own(_), _) => None,
        };
        let policy = match fields.one("need") {
            None => None,
            Some(word) => Some(need::parse(word)?),
        };
        Some(Self {
            target,
            bind,
            policy,
            tab: fields.one("tab") == Some("1"),
            query: query.into(),
        })
    }

    /// For our own page, without a link.
    pub(super) fn own(path: &str) -> Self {
        Self {
            target: Target::Own(path.into()),
            bind: None,
            policy: None,
            tab: false,
            query: Box::default(),
        }
    }

    /// Where to begin anew.
    pub(super) fn again(&self, state: &State) -> String {
        let host = state.config.sign_in.as_ref();
        let host = host.map_or("", |sign_in| sign_in.host.as_str());
        let origin = state.config.ingress.origin_of(host);
        format!("{origin}/start?{}", self.query)
    }
}

/// `/start` and `/choose`.
pub(super) async fn start(visitor: &Visitor<'_>) -> Response<Bytes> {
    let query = visitor.head.uri.query().unwrap_or_default();
    let Some(wish) = Wish::read(query, visitor.state) else {
        return visitor.fail(&OwnFault::TargetUnknown.into(), None);
    };
    let fields = Fields::parse(query);
    let one = |name| fields.as_ref().and_then(|fields| fields.one(name));
    let chosen = Chosen {
        provider: one("provider"),
        email: one("email")
            .map(str::trim)
            .filter(|email| !email.is_empty()),
    };
    begin(visitor, wish, chosen).await
}

/// Which provider, in the person's words.
#[derive(Clone, Copy, Default)]
pub(super) struct Chosen<'a> {
    /// The configured name of its issuer.
    provider: Option<&'a str>,
    email: Option<&'a str>,
}

/// Lets the session serve that is there, or asks a provider.
pub(super) async fn begin(
    visitor: &Visitor<'_>,
    wish: Wish,
    chosen: Chosen<'_>,
) -> Response<Bytes> {
    let (state, now) = (visitor.state, visitor.now);
    let target = wish.target.app();
    let session = visitor.session.as_deref();
    if let Some(session) = &visitor.session
        && need::suffices(state, session, target, wish.policy, now)
    {
        return arrive(visitor, &wish, session, None);
    }
    let need = Need::of(state, target, wish.policy, session, now);
    let just_now = session.filter(|session| now.since(session.signed_in_at) < JUST_NOW);
    if just_now.is_some_and(|session| session.asked.covers(need.asked) && takes(&wish, session)) {
        return visitor.fail(&OwnFault::NotEnough.into(), None);
    }
    let provider = match choose(visitor, &wish, chosen) {
        Choosing::One(provider) => provider,
        Choosing::Ask(page) => return page,
        Choosing::Nobody => return visitor.fail(&OwnFault::ProviderUnknown.into(), None),
    };
    let hint = chosen.email.map(str::to_owned).or_else(|| {
        let session = session.filter(|session| *session.issuer == *provider.name())?;
        if provider.is_built_in() {
            return Some(session.subject.to_string());
        }
        let known = session.email.as_deref().or(session.user_name.as_deref());
        known.map(str::to_owned)
    });
    ask(visitor, wish, need, &provider, hint).await
}

/// Whether the app takes people of that session's issuer at all; if not, asking another provider may help.
fn takes(wish: &Wish, session: &Session) -> bool {
    wish.target.app().is_none_or(|target| {
        let accepted = &target.app.config.requirements.issuers;
        accepted.is_empty() || accepted.iter().any(|name| **name == *session.issuer)
    })
}

/// Sends the browser to the provider, with a cookie that names it.
pub(super) async fn ask(
    visitor: &Visitor<'_>,
    wish: Wish,
    need: Need,
    provider: &Arc<Provider>,
    hint: Option<String>,
) -> Response<Bytes> {
    let again = wish.again(visitor.state);
    let language = visitor.look().language();
    let wanted = need.wanted(wish.target.app(), hint, language);
    let entropy = &*visitor.shared.entropy;
    let callback = format!("{}/callback/{}", visitor.sign_in.origin, provider.name());
    let begun = provider
        .begin(wanted, &callback, entropy, visitor.now)
        .await;
    let (attempt, address) = match begun {
        Ok(begun) => begun,
        Err(error) => {
            let fault = Fault::from(error);
            visitor.record_failure(&fault, Some(provider.name()), &wish);
            return visitor.fail(&fault, Some(&again));
        }
    };
    let browser = cookie::brought(&visitor.head.headers, cookie::ATTEMPT).one();
    let browser = browser.unwrap_or_else(|| Secret::new(entropy));
    let pending = Pending {
        browser: browser.print(),
        thumbprint: visitor.thumbprint,
        wish,
        need,
        attempt,
    };
    let attempts = &visitor.under_way().attempts;
    pending.keep(attempts, visitor.device.id(), visitor.now);
    go(&address, [cookie::set(cookie::ATTEMPT, &browser)])
}

enum Choosing {
    One(Arc<Provider>),
    Ask(Response<Bytes>),
    Nobody,
}

fn choose(visitor: &Visitor<'_>, wish: &Wish, chosen: Chosen<'_>) -> Choosing {
    let providers = &visitor.sign_in.providers;
    let fit = match wish.target.app() {
        Some(target) => providers.for_app(&target.app.config.requirements.issuers),
        None => providers.for_app(&[]),
    };
    let among = |name: &str| fit.iter().find(|provider| provider.name() == name);
    if let Some(name) = chosen.provider {
        return among(name).map_or(Choosing::Nobody, |it| Choosing::One(Arc::clone(it)));
    }
    let by_email = chosen.email.and_then(|email| providers.for_email(email));
    let of_session = visitor.session.as_ref().map(|session| &*session.issuer);
    let certain = by_email.map(|provider| provider.name()).or(of_session);
    if let Some(provider) = certain.and_then(among) {
        return Choosing::One(Arc::clone(provider));
    }
    match fit.as_slice() {
        [] => Choosing::Nobody,
        [only] => Choosing::One(Arc::clone(only)),
        several => Choosing::Ask(ask_which(visitor, wish, several, chosen)),
    }
}

fn ask_which(
    visitor: &Visitor<'_>,
    wish: &Wish,
    several: &[&Arc<Provider>],
    chosen: Chosen<'_>,
) -> Response<Bytes> {
    let to = wish.target.address(visitor.state);
    let mut carried = vec![("to", to)];
    carried.extend(wish.bind.map(|bind| ("bind", bind.text())));
    let word = wish.policy.and_then(need::word);
    carried.extend(word.map(|word| ("need", word.to_owned())));
    carried.extend(wish.tab.then(|| ("tab", "1".to_owned())));
    let link_to = |provider: &Provider| {
        let carried = carried.iter().map(|(name, value)| (*name, &**value));
        let fields: Vec<(&str, &str)> = carried.chain([("provider", provider.name())]).collect();
        link("/start", &fields)
    };
    let choices: Vec<Choice<'_>> = several
        .iter()
        .map(|provider| Choice {
            label: provider.label(),
            link: link_to(provider),
        })
        .collect();
    let by_email = visitor.sign_in.by_email.then_some(ByEmail {
        carried: &carried,
        unknown: chosen.email,
    });
    let chooser = Chooser {
        app: wish.target.app().map(|target| &*target.app.config.name),
        choices: &choices,
        by_email,
    };
    pages::chooser(&visitor.look(), &chooser)
}

/// Goes to where the person wanted to be, with a session that serves. `cookie` is one of this host, just made.
pub(super) fn arrive(
    visitor: &Visitor<'_>,
    wish: &Wish,
    session: &Arc<Session>,
    cookie: Option<http::HeaderValue>,
) -> Response<Bytes> {
    let (state, now) = (visitor.state, visitor.now);
    let (target, bind) = match (&wish.target, wish.bind) {
        (Target::App(target), Some(bind)) => (target, bind),
        (Target::Own(_) | Target::App(_), _) => {
            return go(&wish.target.address(state), cookie);
        }
    };
    let hand_over = HandOver {
        session: Arc::clone(session),
        bind,
        to: if wish.tab {
            app_host::SIGNED_IN.into()
        } else {
            target.path.clone()
        },
    };
    let hand_overs = &visitor.under_way().hand_overs;
    let code = hand_overs.give(&target.host, hand_over, &*visitor.shared.entropy, now);
    let origin = state.config.ingress.origin_of(&target.host);
    let fields = [("code", &*code.expose())];
    go(
        &link(&format!("{origin}{}", app_host::SESSION), &fields),
        cookie,
    )
}
