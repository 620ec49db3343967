//! Changing one's own factors. The gateway's session must be fresh and as strong as the person can be: a thief with a
//! password alone, or with an unlocked screen, must not be able to add a passkey of theirs.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Response, StatusCode};
use url::form_urlencoded::byte_serialize;

use crate::accounts::Account;
use crate::factors::{CodeFor, FactorError, LastWayIn, Right};
use crate::openid::grant::SignedIn;
use crate::openid::level::Level;
use crate::provider::{Asking, Provider};

use super::ceremony::{Ceremony, NewCeremony, Step};
use super::finish::strongest;
use super::notice::Notice;
use super::text::Trouble;
use super::{Posted, address, answer, factors_view};

/// How old an authentication may be, in milliseconds.
const FRESH: i64 = 10 * 60 * 1000;

/// Whether somebody may change factors.
enum Standing {
    Good(Box<Account>),
    /// Nobody is signed in, or too long ago.
    Stale,
    /// Not as strong as they could be.
    Weak(Level),
    Gone,
}

impl Provider {
    fn standing(&self, asking: &Asking<'_>) -> Standing {
        let Some(who) = self.session(asking.caller) else {
            return if asking.caller.signed_in.is_some() {
                Standing::Gone
            } else {
                Standing::Stale
            };
        };
        let Some(account) = self.accounts.get(&who.account) else {
            return Standing::Gone;
        };
        judge(&who, account, self.accounts.passwords(), asking.now())
    }

    /// Whether the factors of `account` may be changed by this request.
    pub(crate) fn may_change(&self, asking: &Asking<'_>, account: &str) -> bool {
        matches!(self.standing(asking), Standing::Good(found) if *found.id == *account)
    }

    /// The account whose factors may be changed, or what has to come first.
    #[expect(
        clippy::result_large_err,
        reason = "the error is the answer, once per request"
    )]
    fn owner(&self, asking: &Asking<'_>) -> Result<Account, Response<Bytes>> {
        match self.standing(asking) {
            Standing::Good(account) => Ok(*account),
            Standing::Stale => Err(answer::see(&self.start("fresh"))),
            Standing::Weak(level) => {
                let language = asking.caller.language;
                let need = match level {
                    Level::PhishingResistant => "phishing-resistant",
                    Level::MultiFactor | Level::Password => "multi-factor",
                };
                let sheet = factors_view::stronger(language, level, &self.start(need));
                Err(self.dressed(asking, language, sheet, None, StatusCode::FORBIDDEN))
            }
            Standing::Gone => Err(self.trouble(asking, Trouble::NoAccount, StatusCode::FORBIDDEN)),
        }
    }

    /// The gateway's way to a better sign-in, and back here.
    fn start(&self, need: &str) -> String {
        let here = format!("{}/id/factors", self.origin);
        let to: String = byte_serialize(here.as_bytes()).collect();
        format!("/start?to={to}&need={need}")
    }

    /// The page.
    pub(crate) fn factors(&self, asking: &Asking<'_>, path: &str) -> Response<Bytes> {
        let account = match self.owner(asking) {
            Ok(account) => account,
            Err(first) => return first,
        };
        let is_theirs = |ceremony: &Ceremony| matches!(&ceremony.step, Step::Factors { account: owner, .. } if **owner == *account.id);
        let Some(ceremony) = self.current(asking).filter(is_theirs) else {
            let Some(id) = self.ceremonies.find(asking.from(), is_theirs) else {
                return self.begin(
                    asking,
                    NewCeremony {
                        language: None,
                        asked: None,
                        name: String::new(),
                        step: Step::Factors {
                            account: account.id,
                            offer: None,
                        },
                    },
                );
            };
            return answer::see(&address("/factors", &id));
        };
        let language = asking.language(&ceremony);
        let sheet = match (&ceremony.step, path) {
            (
                Step::Factors {
                    offer: Some(offer), ..
                },
                "/factors/totp",
            ) => factors_view::code_app(&ceremony, offer, language, asking.now()),
            (_, "/factors/totp") => return answer::see(&address("/factors", &ceremony.id)),
            _ => factors_view::all(
                &ceremony,
                &account,
                self.accounts.passwords(),
                language,
                asking.now(),
            ),
        };
        // Said once.
        self.ceremonies
            .at(asking.from(), &ceremony.id, |it| it.notice = None);
        self.dressed(
            asking,
            language,
            sheet,
            Some((path, &ceremony.id)),
            StatusCode::OK,
        )
    }

    /// Every form of the page.
    pub(crate) async fn change_factors(
        &self,
        asking: &Asking<'_>,
        path: &str,
        posted: &Posted,
    ) -> Response<Bytes> {
        debug_assert_eq!(asking.method, Method::POST);
        let account = match self.owner(asking) {
            Ok(account) => account,
            Err(first) => return first,
        };
        let ceremony = &posted.ceremony;
        let offer = if let Step::Factors {
            account: owner,
            offer,
        } = &ceremony.step
            && *owner == account.id
        {
            offer.clone()
        } else {
            // Begun by somebody else in the same browser.
            return self.trouble(asking, Trouble::Over, StatusCode::FORBIDDEN);
        };
        match path {
            "/factors/totp" => self.begin_code_app(asking, &ceremony.id, &account.id),
            "/factors/totp/confirm" => {
                self.confirm_code_app(asking, posted, &account.id, offer)
                    .await
            }
            "/factors/recovery-codes" => self.new_codes(asking, &ceremony.id, &account.id).await,
            _ => {
                let changed = self.changed(asking, path, posted, &account.id).await;
                let notice = changed.unwrap_or_else(Notice::from);
                self.next(asking, &ceremony.id, |it| it.notice = Some(notice))
            }
        }
    }

    /// What one form changes.
    async fn changed(
        &self,
        asking: &Asking<'_>,
        path: &str,
        posted: &Posted,
        account: &str,
    ) -> Result<Notice, FactorError> {
        let (accounts, params, visit) = (&self.accounts, &posted.params, asking.visit());
        let passkey = params.or_empty("passkey");
        match path {
            "/factors/passkey/rename" => {
                let name = params.or_empty("name").trim();
                accounts
                    .rename_passkey(account, passkey, name, visit)
                    .await?;
                Ok(Notice::PasskeyRenamed)
            }
            "/factors/passkey/remove" => {
                accounts
                    .remove_passkey(account, passkey, LastWayIn::Keep, visit)
                    .await?;
                Ok(Notice::PasskeyRemoved)
            }
            "/factors/password" => {
                let password = params.secret("password");
                accounts
                    .set_password(Right::SignedIn(account), password, None, visit)
                    .await?;
                Ok(Notice::PasswordChanged)
            }
            "/factors/password/remove" => {
                accounts
                    .remove_password(account, LastWayIn::Keep, visit)
                    .await?;
                Ok(Notice::PasswordRemoved)
            }
            "/factors/totp/remove" => {
                accounts.remove_totp(account, visit).await?;
                Ok(Notice::CodeAppRemoved)
            }
            _ => Err(FactorError::Unknown),
        }
    }

    fn begin_code_app(&self, asking: &Asking<'_>, id: &str, account: &str) -> Response<Bytes> {
        match self
            .accounts
            .begin_totp(Right::SignedIn(account), asking.visit())
        {
            Ok(fresh) => {
                let fresh = Arc::new(fresh);
                self.next(asking, id, |ceremony| {
                    if let Step::Factors { offer, .. } = &mut ceremony.step {
                        *offer = Some(fresh);
                    }
                });
                answer::see(&address("/factors/totp", id))
            }
            Err(error) => self.next(asking, id, |ceremony| {
                ceremony.notice = Some(error.into());
            }),
        }
    }

    async fn confirm_code_app(
        &self,
        asking: &Asking<'_>,
        posted: &Posted,
        account: &str,
        offer: Option<Arc<crate::factors::TotpOffer>>,
    ) -> Response<Bytes> {
        let id = &posted.ceremony.id;
        let Some(offer) = offer else {
            return self.next(asking, id, |_| ());
        };
        let code = CodeFor {
            handle: &offer.handle,
            code: posted.params.or_empty("code").trim(),
        };
        let confirmed = self
            .accounts
            .confirm_totp(Right::SignedIn(account), code, asking.visit())
            .await;
        let notice = confirmed.map_or_else(Notice::from, |()| Notice::CodeAppAdded);
        let again = notice == Notice::WrongCode;
        let back = self.next(asking, id, |ceremony| {
            ceremony.notice = Some(notice);
            if let (false, Step::Factors { offer, .. }) = (again, &mut ceremony.step) {
                *offer = None;
            }
        });
        if again {
            answer::see(&address("/factors/totp", id))
        } else {
            back
        }
    }

    async fn new_codes(&self, asking: &Asking<'_>, id: &str, account: &str) -> Response<Bytes> {
        match self
            .accounts
            .make_recovery_codes(account, asking.visit())
            .await
        {
            Ok(codes) => self.next(asking, id, |ceremony| {
                ceremony.step = Step::Codes {
                    account: account.into(),
                    codes: codes.into(),
                    proved: None,
                };
            }),
            Err(error) => self.next(asking, id, |ceremony| {
                ceremony.notice = Some(error.into());
            }),
        }
    }
}

fn judge(who: &SignedIn, account: Account, passwords: bool, now: i64) -> Standing {
    if now.saturating_sub(who.at) > FRESH {
        return Standing::Stale;
    }
    let strongest = strongest(&account, passwords);
    if who.level() < strongest {
        return Standing::Weak(strongest);
    }
    Standing::Good(Box::new(account))
}
