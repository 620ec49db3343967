//! The first link: its token opens the account once, the person makes a first factor, then keeps recovery codes.

use std::sync::Arc;

use bytes::Bytes;
use http::{Response, StatusCode};

use crate::factors::{CodeFor, FactorError, Proved, Right, TotpOffer};
use crate::provider::{Asking, Provider};

use super::ceremony::{Ceremony, NewCeremony, Step};
use super::finish::Ended;
use super::notice::Notice;
use super::text::Trouble;
use super::{Posted, answer};

impl Provider {
    /// Where links lead. The token is after `#`, so it is not here yet.
    pub(crate) fn welcome(&self, asking: &Asking<'_>) -> Response<Bytes> {
        let (id, cookie) = self.ceremonies.begin(
            asking.from(),
            NewCeremony {
                language: None,
                asked: None,
                name: String::new(),
                step: Step::Link,
            },
            &*self.random,
        );
        // No redirect: the part after `#` must stay where the script finds it.
        let from = super::From {
            cookie: cookie
                .as_ref()
                .map(secrecy::ExposeSecret::expose_secret)
                .or(asking.from().cookie),
            ..asking.from()
        };
        let Some(ceremony) = self.ceremonies.at(from, &id, |it| it.clone()) else {
            return self.trouble(asking, Trouble::Over, StatusCode::GONE);
        };
        let language = asking.language(&ceremony);
        let sheet = super::view::link(&ceremony, language, asking.now());
        let page = self.dressed(asking, language, sheet, None, StatusCode::OK);
        answer::with_cookie(page, cookie.as_ref())
    }

    pub(crate) fn open_link(&self, asking: &Asking<'_>, posted: &Posted) -> Response<Bytes> {
        let ceremony = &posted.ceremony;
        if !matches!(ceremony.step, Step::Link) {
            return self.next(asking, &ceremony.id, |_| ());
        }
        // Whoever pastes may bring the mark along.
        let typed = posted.params.or_empty("token").trim();
        let token = typed.rsplit('#').next().unwrap_or_default();
        match self.accounts.open_link(&token.into(), asking.visit()) {
            Ok(welcome) => self.next_renewed(asking, &ceremony.id, |ceremony| {
                ceremony.step = Step::Welcome {
                    handle: welcome.handle,
                    account: welcome.account.id,
                    offer: None,
                };
            }),
            Err(_) => self.next(asking, &ceremony.id, |ceremony| {
                ceremony.notice = Some(Notice::LinkVoid);
            }),
        }
    }

    /// A secret for a code app, the same each time the page is shown.
    pub(crate) fn offer(&self, asking: &Asking<'_>, ceremony: &Ceremony) -> Option<Arc<TotpOffer>> {
        let Step::Welcome { handle, offer, .. } = &ceremony.step else {
            return None;
        };
        if offer.is_some() || !self.accounts.passwords() {
            return offer.clone();
        }
        let fresh = self
            .accounts
            .begin_totp(Right::Welcome(handle), asking.visit());
        let fresh = Arc::new(fresh.ok()?);
        self.ceremonies
            .at(asking.from(), &ceremony.id, |ceremony| {
                if let Step::Welcome { offer, .. } = &mut ceremony.step {
                    *offer = Some(fresh.clone());
                }
            })?;
        Some(fresh)
    }

    pub(crate) async fn first_password(
        &self,
        asking: &Asking<'_>,
        posted: &Posted,
    ) -> Response<Bytes> {
        let ceremony = &posted.ceremony;
        let Step::Welcome { handle, offer, .. } = &ceremony.step else {
            return self.next(asking, &ceremony.id, |_| ());
        };
        let code = posted.params.text("code").map(str::trim);
        let totp = offer.as_ref().zip(code).map(|(offer, code)| CodeFor {
            handle: &offer.handle,
            code,
        });
        let password = posted.params.secret("password");
        let right = Right::Welcome(handle);
        match self
            .accounts
            .set_password(right, password, totp, asking.visit())
            .await
        {
            Ok(Some(proved)) => {
                let address = self.first_factor(asking, ceremony, proved).await;
                self.with_renewed(asking, address)
            }
            // There is a code app from before: with it the person signs in.
            Ok(None) => self.next_renewed(asking, &ceremony.id, |ceremony| {
                ceremony.notice = Some(Notice::PasswordChanged);
                ceremony.step = match (&ceremony.asked, ceremony.step.account()) {
                    (None, Some(account)) => Step::Ready {
                        account: account.into(),
                    },
                    _ => Step::SignIn,
                };
            }),
            Err(error) => self.next(asking, &ceremony.id, |ceremony| {
                if let (FactorError::Expired, Step::Welcome { offer, .. }) =
                    (&error, &mut ceremony.step)
                {
                    *offer = None;
                }
                ceremony.notice = Some(error.into());
            }),
        }
    }

    /// The first factor is there: recovery codes come next. Returns the address of the next page.
    pub(crate) async fn first_factor(
        &self,
        asking: &Asking<'_>,
        ceremony: &Ceremony,
        proved: Proved,
    ) -> Option<String> {
        let account: Box<str> = proved.account().into();
        match self
            .accounts
            .make_recovery_codes(&account, asking.visit())
            .await
        {
            Ok(codes) => self.moved(asking, &ceremony.id, |ceremony| {
                ceremony.notice = None;
                ceremony.step = Step::Codes {
                    account,
                    codes: codes.into(),
                    proved: Some(proved),
                };
            }),
            // The factor counts; codes can be made later.
            Err(_) => match self.ended(asking, ceremony, &proved) {
                Ended::Answered(to) | Ended::Next(to) => Some(to),
                Ended::Over => None,
            },
        }
    }

    pub(crate) fn with_renewed(
        &self,
        asking: &Asking<'_>,
        address: Option<String>,
    ) -> Response<Bytes> {
        let response = match address {
            Some(to) if to.starts_with('/') => answer::see(&to),
            Some(to) => self.leads_to(asking, asking.caller.language, &to),
            None => self.trouble(asking, Trouble::Over, StatusCode::GONE),
        };
        let cookie = self.renewed(asking);
        answer::with_cookie(response, cookie.as_ref())
    }

    /// The codes were kept: they are forgotten here, and what was begun goes on.
    pub(crate) fn codes_kept(&self, asking: &Asking<'_>, posted: &Posted) -> Response<Bytes> {
        let ceremony = &posted.ceremony;
        match &ceremony.step {
            Step::Codes {
                proved: Some(proved),
                ..
            } => self.finish(asking, ceremony, proved),
            Step::Codes { proved: None, .. } => {
                self.ceremonies.end(asking.from(), &ceremony.id);
                answer::see("/id/factors")
            }
            Step::SignIn
            | Step::Code { .. }
            | Step::Unmet { .. }
            | Step::Link
            | Step::Welcome { .. }
            | Step::Ready { .. }
            | Step::Factors { .. } => self.next(asking, &ceremony.id, |_| ()),
        }
    }
}
