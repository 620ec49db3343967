//! What the script of our pages asks: options for the browser, and what to do with its answer. JSON both ways; refusals
//! are words for the page to show.

use bytes::Bytes;
use http::{Response, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::Language;
use crate::factors::{Right, SignInRefusal};
use crate::provider::{Asking, Provider};

use super::answer;
use super::ceremony::{Barred, Ceremony, Step};
use super::finish::Ended;
use super::notice::Notice;
use super::text::{self, Trouble};

/// A call of the script.
#[derive(Deserialize)]
struct Call {
    c: String,
    form: String,
    /// Of the account when signing in, of the passkey when adding one.
    #[serde(default)]
    name: String,
    #[serde(default)]
    credential: Value,
}

impl Provider {
    pub(crate) async fn passkey_call(&self, asking: &Asking<'_>, call: &str) -> Response<Bytes> {
        let language = asking.caller.language;
        let parsed = asking
            .is_of_type("application/json")
            .then(|| serde_json::from_slice::<Call>(asking.body).ok())
            .flatten();
        let Some(body) = parsed else {
            return troubled(Trouble::Foreign, language, StatusCode::BAD_REQUEST);
        };
        let ceremony = match self
            .ceremonies
            .take_call(asking.from(), &body.c, &body.form)
        {
            Ok(ceremony) => ceremony,
            Err(Barred::Unknown) => {
                return troubled(Trouble::Over, language, StatusCode::FORBIDDEN);
            }
            Err(Barred::Stale) => return troubled(Trouble::Stale, language, StatusCode::FORBIDDEN),
        };
        match call {
            "options" => self.sign_in_options(asking, &ceremony, &body),
            "verify" => self.verify(asking, &ceremony, &body).await,
            "new" => self.creation_options(asking, &ceremony),
            _ => self.add_passkey(asking, &ceremony, &body).await,
        }
    }

    fn sign_in_options(
        &self,
        asking: &Asking<'_>,
        ceremony: &Ceremony,
        body: &Call,
    ) -> Response<Bytes> {
        if !may_sign_in(&ceremony.step) {
            return refused(asking, ceremony, Notice::Expired);
        }
        let name = Some(body.name.trim()).filter(|name| !name.is_empty());
        match self.accounts.begin_passkey_sign_in(name, asking.visit()) {
            Ok(begun) => self.with_options(asking, ceremony, begun.handle, begun.options),
            Err(refusal) => refused(asking, ceremony, Notice::of_refusal(refusal, asking.now())),
        }
    }

    async fn verify(
        &self,
        asking: &Asking<'_>,
        ceremony: &Ceremony,
        body: &Call,
    ) -> Response<Bytes> {
        let Some(handle) = ceremony
            .passkey
            .as_ref()
            .filter(|_| may_sign_in(&ceremony.step))
        else {
            return refused(asking, ceremony, Notice::Expired);
        };
        let credential = body.credential.to_string();
        let checked = self
            .accounts
            .finish_passkey_sign_in(handle, &credential, asking.visit());
        match checked.await {
            Ok(proved) => {
                let to = match self.ended(asking, ceremony, &proved) {
                    Ended::Answered(to) | Ended::Next(to) => Some(to),
                    Ended::Over => None,
                };
                self.leading(asking, to)
            }
            Err(refusal) => {
                // What a password did wrong is not what a passkey did wrong.
                let notice = if refusal == SignInRefusal::NotProved {
                    Notice::NotVerified
                } else {
                    Notice::of_refusal(refusal, asking.now())
                };
                refused(asking, ceremony, notice)
            }
        }
    }

    fn creation_options(&self, asking: &Asking<'_>, ceremony: &Ceremony) -> Response<Bytes> {
        let Some(right) = self.right(asking, ceremony) else {
            return refused(asking, ceremony, Notice::NoRight);
        };
        match self.accounts.begin_passkey(right, asking.visit()) {
            Ok(begun) => self.with_options(asking, ceremony, begun.handle, begun.options),
            Err(error) => refused(asking, ceremony, error.into()),
        }
    }

    async fn add_passkey(
        &self,
        asking: &Asking<'_>,
        ceremony: &Ceremony,
        body: &Call,
    ) -> Response<Bytes> {
        let Some(right) = self.right(asking, ceremony) else {
            return refused(asking, ceremony, Notice::NoRight);
        };
        let Some(handle) = &ceremony.passkey else {
            return refused(asking, ceremony, Notice::TookTooLong);
        };
        let credential = body.credential.to_string();
        let name = body.name.trim();
        let added = self
            .accounts
            .finish_passkey(right, handle, &credential, name, asking.visit());
        match added.await {
            Ok(proved) if matches!(right, Right::Welcome(_)) => {
                let to = self.first_factor(asking, ceremony, proved).await;
                self.leading(asking, to)
            }
            Ok(_) => {
                let to = self.moved(asking, &ceremony.id, |ceremony| {
                    ceremony.passkey = None;
                    ceremony.notice = Some(Notice::PasskeyAdded);
                });
                self.leading(asking, to)
            }
            Err(error) => refused(asking, ceremony, error.into()),
        }
    }

    /// By what right a passkey may be added here and now.
    fn right<'a>(&self, asking: &Asking<'_>, ceremony: &'a Ceremony) -> Option<Right<'a>> {
        match &ceremony.step {
            Step::Welcome { handle, .. } => Some(Right::Welcome(handle)),
            Step::Factors { account, .. } => self
                .may_change(asking, account)
                .then_some(Right::SignedIn(account)),
            Step::SignIn
            | Step::Code { .. }
            | Step::Unmet { .. }
            | Step::Link
            | Step::Codes { .. }
            | Step::Ready { .. } => None,
        }
    }

    fn with_options(
        &self,
        asking: &Asking<'_>,
        ceremony: &Ceremony,
        handle: String,
        options: String,
    ) -> Response<Bytes> {
        let kept = self.ceremonies.at(asking.from(), &ceremony.id, |ceremony| {
            ceremony.passkey = Some(handle);
        });
        match kept {
            Some(()) => answer::raw_json(options),
            None => troubled(Trouble::Over, asking.language(ceremony), StatusCode::GONE),
        }
    }

    /// Where the script goes, with a new cookie.
    fn leading(&self, asking: &Asking<'_>, to: Option<String>) -> Response<Bytes> {
        let response = match to {
            Some(to) => answer::json(StatusCode::OK, &json!({ "to": to })),
            None => troubled(Trouble::Over, asking.caller.language, StatusCode::GONE),
        };
        let cookie = self.renewed(asking);
        answer::with_cookie(response, cookie.as_ref())
    }
}

/// Also after a password: a passkey is as good as the code that is waited for.
fn may_sign_in(step: &Step) -> bool {
    matches!(step, Step::SignIn | Step::Code { .. })
}

fn refused(asking: &Asking<'_>, ceremony: &Ceremony, notice: Notice) -> Response<Bytes> {
    let words = text::of_notice(notice, asking.language(ceremony), asking.now());
    answer::json(StatusCode::FORBIDDEN, &json!({ "error": words }))
}

fn troubled(trouble: Trouble, language: Language, status: StatusCode) -> Response<Bytes> {
    let (title, what) = text::of_trouble(trouble, language);
    let gap = match language {
        Language::English => ". ",
        Language::Japanese => "。",
    };
    answer::json(status, &json!({ "error": format!("{title}{gap}{what}") }))
}
