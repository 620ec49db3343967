//! What a person is in the middle of: signing in, a first link, changing factors. Kept in memory, found by the cookie of
//! the browser and a public id, since one browser may do several things at once. Every form carries a token that counts
//! once; the cookie changes whenever the person has proved something, so that a planted one is worth nothing.

use std::sync::Arc;

use secrecy::{ExposeSecret as _, SecretString};
use subtle::ConstantTimeEq as _;

use crate::Language;
use crate::factors::{Proved, TotpOffer};
use crate::openid::request::Asked;
use crate::random::{self, Random};
use crate::shelf::{Shelf, name_of};

use super::notice::Notice;

/// How long a browser may rest, and how long one ceremony lasts, in milliseconds.
const LIFETIME: i64 = 30 * 60 * 1000;
/// Things one browser can be in the middle of; the oldest goes.
const MOST: usize = 8;
/// Browsers of one device, and of all.
const MOST_OF_DEVICE: usize = 32;
const MOST_OF_ALL: usize = 20_000;

/// One thing a person is in the middle of.
#[derive(Clone)]
pub(crate) struct Ceremony {
    /// Public; in addresses.
    pub(crate) id: String,
    /// What the next POST must bring.
    pub(crate) form: String,
    pub(crate) language: Option<Language>,
    /// What is answered at the end, if a client asked.
    pub(crate) asked: Option<Asked>,
    /// What was typed as a name.
    pub(crate) name: String,
    pub(crate) step: Step,
    /// What is to be said on the next page.
    pub(crate) notice: Option<Notice>,
    /// A passkey ceremony that the page has begun.
    pub(crate) passkey: Option<String>,
    /// Milliseconds since 1970.
    ends_at: i64,
}

/// Where they are.
#[derive(Clone)]
pub(crate) enum Step {
    /// Name and password, or a passkey.
    SignIn,
    /// The password was right; a code is wanted. The handle of [`crate::PasswordOutcome::NeedsCode`].
    Code { handle: String },
    /// Signed in, but not as well as was asked, and it cannot be helped here.
    Unmet { account: Box<str> },
    /// The token of a first link is wanted.
    Link,
    /// A first factor is wanted. The handle of [`crate::Welcome`].
    Welcome {
        handle: String,
        account: Box<str>,
        offer: Option<Arc<TotpOffer>>,
    },
    /// Recovery codes to be kept. With a proof, the sign-in goes on afterwards; without, back to the factors.
    Codes {
        account: Box<str>,
        codes: Arc<[SecretString]>,
        proved: Option<Proved>,
    },
    /// The first factor is there, and nobody waits for an answer.
    Ready { account: Box<str> },
    /// Changing factors.
    Factors {
        account: Box<str>,
        offer: Option<Arc<TotpOffer>>,
    },
}

impl Step {
    /// Whose it is, as far as that is proved.
    pub(crate) fn account(&self) -> Option<&str> {
        match self {
            Self::SignIn | Self::Code { .. } | Self::Link => None,
            Self::Unmet { account }
            | Self::Welcome { account, .. }
            | Self::Codes { account, .. }
            | Self::Ready { account }
            | Self::Factors { account, .. } => Some(account),
        }
    }
}

/// How a ceremony begins.
pub(crate) struct NewCeremony {
    pub(crate) language: Option<Language>,
    pub(crate) asked: Option<Asked>,
    pub(crate) name: String,
    pub(crate) step: Step,
}

struct Browser {
    device: Box<str>,
    ceremonies: Vec<Ceremony>,
}

/// Where a browser is known from.
#[derive(Clone, Copy)]
pub(crate) struct From<'a> {
    pub(crate) cookie: Option<&'a str>,
    /// A cookie counts only on the device it was given to.
    pub(crate) device: &'a str,
    pub(crate) now: i64,
}

/// A POST is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Barred {
    /// Over, of another browser, or never begun.
    Unknown,
    /// The page was used already, or was not ours.
    Stale,
}

/// All browsers.
pub(crate) struct Ceremonies {
    browsers: Shelf<Browser>,
}

impl Ceremonies {
    pub(crate) fn new() -> Self {
        Self {
            browsers: Shelf::new(LIFETIME, MOST_OF_ALL),
        }
    }

    /// Begins one. Returns its id, and a cookie where the browser has none that counts.
    pub(crate) fn begin(
        &self,
        from: From<'_>,
        new: NewCeremony,
        random: &dyn Random,
    ) -> (String, Option<SecretString>) {
        let ceremony = Ceremony {
            id: random::public_id(random),
            form: random::handle(random),
            language: new.language,
            asked: new.asked,
            name: new.name,
            step: new.step,
            notice: None,
            passkey: None,
            ends_at: from.now.saturating_add(LIFETIME),
        };
        let id = ceremony.id.clone();
        let mut waiting = Some(ceremony);
        self.browser(from, |browser| {
            if let Some(ceremony) = waiting.take() {
                if browser.ceremonies.len() >= MOST {
                    browser.ceremonies.remove(0);
                }
                browser.ceremonies.push(ceremony);
            }
        });
        let Some(ceremony) = waiting else {
            return (id, None);
        };
        let secret = random::token(random);
        let browser = Browser {
            device: from.device.into(),
            ceremonies: vec![ceremony],
        };
        self.browsers
            .put(name_of(secret.expose_secret()), browser, from.now);
        self.browsers.thin_out(from.now, MOST_OF_DEVICE, |other| {
            *other.device == *from.device
        });
        (id, Some(secret))
    }

    /// Looks at one, or changes it.
    pub(crate) fn at<R>(
        &self,
        from: From<'_>,
        id: &str,
        look: impl FnOnce(&mut Ceremony) -> R,
    ) -> Option<R> {
        self.browser(from, |browser| {
            browser
                .ceremonies
                .iter_mut()
                .find(|it| it.id == id && it.ends_at > from.now)
                .map(look)
        })
        .flatten()
    }

    /// The latest one of which `is` says yes.
    pub(crate) fn find(&self, from: From<'_>, is: impl Fn(&Ceremony) -> bool) -> Option<String> {
        self.browser(from, |browser| {
            browser
                .ceremonies
                .iter()
                .rev()
                .find(|it| it.ends_at > from.now && is(it))
                .map(|it| it.id.clone())
        })
        .flatten()
    }

    /// Takes a form: its token is spent, and what was said is said.
    /// # Errors: [`Barred`].
    pub(crate) fn take_form(
        &self,
        from: From<'_>,
        id: &str,
        form: &str,
        random: &dyn Random,
    ) -> Result<Ceremony, Barred> {
        let next = random::handle(random);
        self.at(from, id, |ceremony| {
            is_same(&ceremony.form, form)?;
            ceremony.form = next;
            ceremony.notice = None;
            Ok(ceremony.clone())
        })
        .unwrap_or(Err(Barred::Unknown))
    }

    /// Takes a call of the page's script; the page goes on being good.
    /// # Errors: [`Barred`].
    pub(crate) fn take_call(
        &self,
        from: From<'_>,
        id: &str,
        form: &str,
    ) -> Result<Ceremony, Barred> {
        self.at(from, id, |ceremony| {
            is_same(&ceremony.form, form)?;
            Ok(ceremony.clone())
        })
        .unwrap_or(Err(Barred::Unknown))
    }

    /// The person has proved something: the browser gets a new cookie, and the one before is void.
    pub(crate) fn renew(&self, from: From<'_>, random: &dyn Random) -> Option<SecretString> {
        let old = name_of(from.cookie?);
        let is_theirs = self.browser(from, |_| ()).is_some();
        let browser = is_theirs
            .then(|| self.browsers.take(&old, from.now))
            .flatten()?;
        let secret = random::token(random);
        self.browsers
            .put(name_of(secret.expose_secret()), browser, from.now);
        Some(secret)
    }

    /// It is done.
    pub(crate) fn end(&self, from: From<'_>, id: &str) {
        self.browser(from, |browser| browser.ceremonies.retain(|it| it.id != id));
    }

    /// Everything that was proved of this account counts no longer.
    pub(crate) fn forget(&self, account: &str, now: i64) {
        let concerns = |browser: &Browser| {
            let mut all = browser.ceremonies.iter();
            all.any(|it| it.step.account() == Some(account))
        };
        self.browsers.forget(now, concerns);
    }

    fn browser<R>(&self, from: From<'_>, look: impl FnOnce(&mut Browser) -> R) -> Option<R> {
        let name = name_of(from.cookie?);
        self.browsers
            .at(&name, from.now, |browser| {
                (*browser.device == *from.device).then(|| look(browser))
            })
            .flatten()
    }
}

fn is_same(kept: &str, sent: &str) -> Result<(), Barred> {
    if bool::from(kept.as_bytes().ct_eq(sent.as_bytes())) {
        Ok(())
    } else {
        Err(Barred::Stale)
    }
}
