//! Where sign-in begins and ends: an authorization request becomes a code at once (a session of the gateway that is good
//! enough), a ceremony with the person, or an error.

use bytes::Bytes;
use http::{Response, StatusCode};
use secrecy::ExposeSecret as _;
use url::form_urlencoded;

use crate::pages::answer;
use crate::pages::ceremony::{NewCeremony, Step};
use crate::pages::finish::strongest;
use crate::pages::told::Trouble;
use crate::provider::{Asking, Provider};
use crate::shelf::name_of;

use super::endpoints::PUSHED;
use super::grant::SignedIn;
use super::params::Params;
use super::request::{Asked, Back, Fault, LOGIN_REQUIRED, Prompt, Refused};

impl Provider {
    /// RFC 6749 §4.1.1.
    pub(crate) fn authorize(&self, asking: &Asking<'_>) -> Response<Bytes> {
        let query = asking.uri.query().unwrap_or_default();
        let Ok(params) = Params::parse(query.as_bytes()) else {
            return self.trouble(asking, Trouble::Malformed, StatusCode::BAD_REQUEST);
        };
        let asked = match self.asked(asking, &params) {
            Ok(asked) => asked,
            Err(Refused::UnknownClient | Refused::UnknownAddress) => {
                return self.trouble(asking, Trouble::Malformed, StatusCode::BAD_REQUEST);
            }
            Err(Refused::Told(back, fault)) => return answer::see(&self.told(&back, fault)),
        };
        let session = self.session(asking.caller);
        if let Some(who) = session
            .clone()
            .filter(|who| suits(who, &asked, asking.now()))
        {
            return answer::see(&self.granted(&asked, who, asking.now()));
        }
        if asked.prompt == Prompt::Never {
            return answer::see(&self.told(&asked.back, LOGIN_REQUIRED));
        }
        let known = session.as_ref().filter(|who| is_wanted(who, &asked));
        if let Some(who) = known.filter(|who| self.is_beyond(&asked, &who.account)) {
            // Not worth proving the same again.
            let step = Step::Unmet {
                account: who.account.clone(),
            };
            return self.begin(
                asking,
                NewCeremony {
                    language: asked.language,
                    asked: Some(asked),
                    name: String::new(),
                    step,
                },
            );
        }
        let hint = asked.login_hint.clone().or(asked.subject.clone());
        let name = hint.or(session.map(|who| who.account.into()));
        self.begin(
            asking,
            NewCeremony {
                language: asked.language,
                asked: Some(asked),
                name: name.unwrap_or_default(),
                step: Step::SignIn,
            },
        )
    }

    /// Whether what is essential is more than the account can show as it is.
    fn is_beyond(&self, asked: &Asked, account: &str) -> bool {
        let account = self.accounts.get(account);
        asked.essential
            && asked.level.zip(account).is_some_and(|(level, account)| {
                strongest(&account, self.accounts.passwords()) < level
            })
    }

    /// From the parameters, or as it was pushed.
    fn asked(&self, asking: &Asking<'_>, params: &Params) -> Result<Asked, Refused> {
        let client = self.client(asking.face);
        let Some(reference) = params
            .text("request_uri")
            .and_then(|uri| uri.strip_prefix(PUSHED))
        else {
            return Asked::parse(params, &client);
        };
        if params.text("client_id") != Some(client.id) {
            return Err(Refused::UnknownClient);
        }
        // Once: whoever reads the address in a history begins nothing.
        self.pushed
            .take(&name_of(reference), asking.now())
            .filter(|asked| client.redirect_uris.contains(&asked.back.redirect_uri))
            .ok_or(Refused::UnknownAddress)
    }

    /// The client's address with a code.
    pub(crate) fn granted(&self, asked: &Asked, who: SignedIn, now: i64) -> String {
        let code = self.grants.code(asked, who, &*self.random, now);
        self.address(&asked.back, &[("code", code.expose_secret())])
    }

    /// The client's address with an error.
    pub(crate) fn told(&self, back: &Back, fault: Fault) -> String {
        self.address(
            back,
            &[
                ("error", fault.code),
                ("error_description", fault.description),
            ],
        )
    }

    /// With `state` and, against mix-ups, `iss` (RFC 9207).
    fn address(&self, back: &Back, pairs: &[(&str, &str)]) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(pairs);
        if let Some(state) = &back.state {
            query.append_pair("state", state);
        }
        query.append_pair("iss", &self.issuer);
        let mark = if back.redirect_uri.contains('?') {
            '&'
        } else {
            '?'
        };
        format!("{}{mark}{}", back.redirect_uri, query.finish())
    }
}

/// Whether somebody who is signed in need not be asked.
fn suits(who: &SignedIn, asked: &Asked, now: i64) -> bool {
    asked.prompt != Prompt::Login
        // OpenID Connect Core §3.1.2.1, errata: the same as `prompt=login`.
        && asked.max_age != Some(0)
        && is_recent(who, asked, now)
        && asked.level.is_none_or(|level| who.level() >= level)
        && is_wanted(who, asked)
}

/// `max_age`.
pub(crate) fn is_recent(who: &SignedIn, asked: &Asked, now: i64) -> bool {
    let age = now.saturating_sub(who.at);
    let most = asked.max_age.map(|limit| {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        limit.saturating_mul(1000)
    });
    age >= 0 && most.is_none_or(|most| age <= most)
}

/// The account that was asked for, if one was.
pub(crate) fn is_wanted(who: &SignedIn, asked: &Asked) -> bool {
    asked
        .subject
        .as_deref()
        .is_none_or(|subject| subject == &*who.account)
}
