//! The end of a sign-in: what was proved is compared with what was asked, and the client gets its answer.

use bytes::Bytes;
use http::{Response, StatusCode};

use crate::accounts::Account;
use crate::factors::Proved;
use crate::openid::authorize::{is_recent, is_wanted};
use crate::openid::grant::SignedIn;
use crate::openid::level::Level;
use crate::openid::request::{Asked, UNMET};
use crate::provider::{Asking, Provider};

use super::ceremony::{Ceremony, Step};
use super::notice::Notice;
use super::text::Trouble;
use super::{Posted, answer};

/// Where a proof leads.
pub(crate) enum Ended {
    /// Away, to the client.
    Answered(String),
    /// On, to another page.
    Next(String),
    /// The ceremony is over.
    Over,
}

impl Provider {
    /// Ends the ceremony if what was proved is enough, else says what is missing. The browser's cookie is renewed by the
    /// caller in any case.
    pub(crate) fn ended(&self, asking: &Asking<'_>, ceremony: &Ceremony, proved: &Proved) -> Ended {
        let Some(asked) = &ceremony.asked else {
            let account = proved.account().into();
            return self.ended_at(asking, &ceremony.id, Step::Ready { account }, None);
        };
        // Between the proof and now somebody may have disabled it.
        let Some(account) = self.accounts.get(proved.account()).filter(|it| it.active) else {
            return self.ended_at(asking, &ceremony.id, Step::SignIn, Some(Notice::Disabled));
        };
        let who = SignedIn {
            account: account.id.clone(),
            amr: proved.amr().iter().map(|method| (*method).into()).collect(),
            at: proved.at(),
        };
        match lacking(
            &who,
            asked,
            &account,
            self.accounts.passwords(),
            asking.now(),
        ) {
            None => {
                let to = self.granted(asked, who, asking.now());
                self.ceremonies.end(asking.from(), &ceremony.id);
                Ended::Answered(to)
            }
            Some(Lacking::Again(notice)) => {
                self.ended_at(asking, &ceremony.id, Step::SignIn, Some(notice))
            }
            Some(Lacking::Unmet) => {
                let account = account.id;
                self.ended_at(asking, &ceremony.id, Step::Unmet { account }, None)
            }
        }
    }

    fn ended_at(&self, asking: &Asking<'_>, id: &str, step: Step, notice: Option<Notice>) -> Ended {
        let address = self.moved(asking, id, |ceremony| {
            ceremony.step = step;
            ceremony.notice = notice;
        });
        address.map_or(Ended::Over, Ended::Next)
    }

    /// The same, as the answer to a form.
    pub(crate) fn finish(
        &self,
        asking: &Asking<'_>,
        ceremony: &Ceremony,
        proved: &Proved,
    ) -> Response<Bytes> {
        let response = match self.ended(asking, ceremony, proved) {
            Ended::Answered(to) => self.leads_to(asking, asking.language(ceremony), &to),
            Ended::Next(address) => answer::see(&address),
            Ended::Over => self.trouble(asking, Trouble::Over, StatusCode::GONE),
        };
        let cookie = self.renewed(asking);
        answer::with_cookie(response, cookie.as_ref())
    }

    /// The person goes back without what was essential (OpenID Connect Core Error Code
    /// `unmet_authentication_requirements` 1.0).
    pub(crate) fn cancel(&self, asking: &Asking<'_>, posted: &Posted) -> Response<Bytes> {
        let ceremony = &posted.ceremony;
        let (Step::Unmet { .. }, Some(asked)) = (&ceremony.step, &ceremony.asked) else {
            return self.next(asking, &ceremony.id, |_| ());
        };
        self.ceremonies.end(asking.from(), &ceremony.id);
        let to = self.told(&asked.back, UNMET);
        self.leads_to(asking, asking.language(ceremony), &to)
    }
}

/// What a proof lacks.
enum Lacking {
    /// The person can do better.
    Again(Notice),
    /// They cannot, and it is essential.
    Unmet,
}

fn lacking(
    who: &SignedIn,
    asked: &Asked,
    account: &Account,
    passwords: bool,
    now: i64,
) -> Option<Lacking> {
    if !is_wanted(who, asked) {
        return Some(Lacking::Again(Notice::OtherPerson));
    }
    if !is_recent(who, asked, now) {
        return Some(Lacking::Again(Notice::TookTooLong));
    }
    let wanted = asked.level?;
    if who.level() >= wanted {
        return None;
    }
    if strongest(account, passwords) >= wanted {
        return Some(Lacking::Again(match wanted {
            Level::PhishingResistant => Notice::UsePasskey,
            Level::MultiFactor | Level::Password => Notice::UseCode,
        }));
    }
    // Voluntary: the client sees in `acr` what it got.
    asked.essential.then_some(Lacking::Unmet)
}

/// The best that the person has.
pub(crate) fn strongest(account: &Account, passwords: bool) -> Level {
    if !account.passkeys.is_empty() {
        Level::PhishingResistant
    } else if account.totp && passwords {
        Level::MultiFactor
    } else {
        Level::Password
    }
}
