//! Accounts: who can sign in, kept in one file. Reads are answered from memory; a change counts once it is on disk, whole
//! or not at all. Changing methods are `async` and do their work on a thread that may block; once begun, they are carried
//! out even if nobody waits for the answer any more.

mod account;
mod settings;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;

pub use account::{Account, Change, NewAccount, PasskeyView};
pub use settings::{LockoutRules, Settings};

use crate::event::{Actor, Events};
use crate::factors::{
    Ceremony, CodeFor, FactorError, LastWayIn, PasswordOutcome, Proved, Right, SignInRefusal,
    TotpOffer,
};
use crate::random::Random;

/// Where and when somebody asks: the device, as failures and ceremonies are bound to it, and the time.
#[derive(Clone, Copy, Debug)]
pub struct Visit<'a> {
    /// The identity of the verified device; never empty.
    pub device: &'a str,
    /// Milliseconds since 1970.
    pub now: i64,
}

/// A first sign-in link, without the address before it.
pub struct Link {
    /// 43 characters, base64url. Only its hash is stored.
    pub token: SecretString,
    /// Milliseconds since 1970.
    pub until: i64,
}

/// Whoever holds this may give the account its first factor (see [`Right::Welcome`]).
pub struct Welcome {
    /// For a cookie or a hidden field; counts for half an hour, for the same device, until a factor is there.
    pub handle: String,
    pub account: Account,
}

/// One line of an import that worked.
pub struct Imported {
    pub account: Account,
    pub link: Link,
}

/// The accounts could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("another process has `{0}` open")]
    InUse(Box<str>),
    #[error("`{path}` cannot be read as accounts: {cause}; restore it from a copy")]
    Damaged { path: Box<str>, cause: String },
    #[error("`{path}` was written by a newer version (format {found}, known is {known})")]
    Newer {
        path: Box<str>,
        found: u64,
        known: u64,
    },
    #[error("`{missing}` is missing but `{present}` is there; restore both from the same copy")]
    HalfMissing {
        missing: Box<str>,
        present: Box<str>,
    },
    #[error("`{path}` can be read by others (mode {mode:o}); make it 0600")]
    TooOpen { path: Box<str>, mode: u32 },
    #[error("{path}: {source}")]
    Io {
        path: Box<str>,
        source: std::io::Error,
    },
    #[error("`{0}` cannot be the origin of passkeys: it must be `https://` and a host name")]
    Origin(String),
    #[error("breached passwords `{path}`, line {line}: {problem}")]
    Breached {
        path: Box<str>,
        line: usize,
        problem: &'static str,
    },
}

/// An account could not be made or changed.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    #[error("there is no account `{0}`")]
    Unknown(Box<str>),
    #[error("there is already an account `{0}`")]
    Exists(Box<str>),
    #[error("`{0}` was the name of a removed account, and names are never given out again")]
    Used(Box<str>),
    #[error("{field}: {problem}")]
    Invalid {
        field: &'static str,
        problem: &'static str,
    },
    #[error("the account `{0}` is disabled")]
    Disabled(Box<str>),
    #[error("the change could not be written: {0}")]
    Store(String),
}

/// A first sign-in link leads nowhere. One answer for all reasons: a stranger learns nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    #[error("the link is unknown, used, replaced by a newer one or over")]
    Void,
}

/// A file of accounts was refused; nothing of it was taken.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// Every problem, in the order of lines.
    #[error("{} problems in the file, nothing was imported", .0.len())]
    Problems(Vec<ImportProblem>),
    #[error(transparent)]
    Account(#[from] AccountError),
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct ImportProblem {
    /// From 1; the header is a line too.
    pub line: u64,
    pub problem: String,
}

/// All accounts. Cheap to clone; the file is closed with the last of them.
#[derive(Clone)]
pub struct Accounts {
    inner: Arc<Inner>,
}

struct Inner;

fn later() -> AccountError {
    AccountError::Store("not yet".to_owned())
}

impl Accounts {
    /// Opens `accounts.redb` and `accounts.key` in `directory`, or makes them. Blocks.
    ///
    /// # Errors
    /// [`OpenError`]; never with some accounts left out.
    pub fn open(
        directory: &Path,
        settings: Settings,
        random: Arc<dyn Random>,
        events: Events,
    ) -> Result<Self, OpenError> {
        let _ = (directory, settings, random, events);
        Ok(Self {
            inner: Arc::new(Inner),
        })
    }

    /// New settings, after a reload. Reads the list of breached passwords again; blocks.
    ///
    /// # Errors
    /// [`OpenError::Origin`], [`OpenError::Breached`], [`OpenError::Io`]: the old settings stay.
    pub fn reconfigure(&self, settings: Settings) -> Result<(), OpenError> {
        let _ = (&self.inner, settings);
        Ok(())
    }

    /// The account of that id; `id` is taken as typed (case does not matter).
    pub fn get(&self, id: &str) -> Option<Account> {
        let _ = id;
        None
    }

    /// All, by id.
    pub fn list(&self) -> Vec<Account> {
        Vec::new()
    }

    /// Whether passwords are accepted at all.
    pub fn passwords(&self) -> bool {
        true
    }

    /// Makes an account without factors. Its owner needs a [`Link`].
    ///
    /// # Errors
    /// [`AccountError`].
    pub async fn add(&self, new: NewAccount, by: Actor, now: i64) -> Result<Account, AccountError> {
        let _ = (new, by, now);
        Err(later())
    }

    /// Changes what is named in `change`, in one go. One event for groups, names and addresses, one for `active`; none
    /// where nothing is different.
    ///
    /// # Errors
    /// [`AccountError`].
    pub async fn change(
        &self,
        id: &str,
        change: Change,
        by: Actor,
        now: i64,
    ) -> Result<Account, AccountError> {
        let _ = (id, change, by, now);
        Err(later())
    }

    /// Exactly these groups.
    ///
    /// # Errors
    /// [`AccountError`].
    pub async fn set_groups(
        &self,
        id: &str,
        groups: Vec<String>,
        by: Actor,
        now: i64,
    ) -> Result<Account, AccountError> {
        let change = Change {
            groups: Some(groups),
            ..Change::default()
        };
        self.change(id, change, by, now).await
    }

    /// Nobody can sign in with it any more, until [`Self::enable`]. Its link is void.
    ///
    /// # Errors
    /// [`AccountError`].
    pub async fn disable(&self, id: &str, by: Actor, now: i64) -> Result<Account, AccountError> {
        let change = Change {
            active: Some(false),
            ..Change::default()
        };
        self.change(id, change, by, now).await
    }

    /// Undoes [`Self::disable`].
    ///
    /// # Errors
    /// [`AccountError`].
    pub async fn enable(&self, id: &str, by: Actor, now: i64) -> Result<Account, AccountError> {
        let change = Change {
            active: Some(true),
            ..Change::default()
        };
        self.change(id, change, by, now).await
    }

    /// Removes account and factors for good. Its name is kept so that nobody gets it again.
    ///
    /// # Errors
    /// [`AccountError`].
    pub async fn remove(&self, id: &str, by: Actor, now: i64) -> Result<(), AccountError> {
        let _ = (id, by, now);
        Err(later())
    }

    /// Removes all factors and failure counts and makes a new first sign-in link.
    ///
    /// # Errors
    /// [`AccountError`]; of a disabled account too.
    pub async fn reset(&self, id: &str, by: Actor, now: i64) -> Result<Link, AccountError> {
        let _ = (id, by, now);
        Err(later())
    }

    /// A new first sign-in link beside the factors that are there; the one before is void.
    ///
    /// # Errors
    /// [`AccountError`]; of a disabled account too.
    pub async fn link(&self, id: &str, by: Actor, now: i64) -> Result<Link, AccountError> {
        let _ = (id, by, now);
        Err(later())
    }

    /// Makes an account for every line of a CSV file (RFC 4180, UTF-8, header `user,name,email,groups` in any order;
    /// groups separated by `;`), or none.
    ///
    /// # Errors
    /// [`ImportError`] with every problem at its line.
    pub async fn import_csv(
        &self,
        file: Vec<u8>,
        by: Actor,
        now: i64,
    ) -> Result<Vec<Imported>, ImportError> {
        let _ = (file, by, now);
        Err(later().into())
    }

    /// What the token of a first sign-in link opens. Does not use it up: the first factor does.
    ///
    /// # Errors
    /// [`LinkError::Void`].
    pub fn open_link(&self, token: &SecretString, visit: Visit<'_>) -> Result<Welcome, LinkError> {
        let _ = (token, visit);
        Err(LinkError::Void)
    }

    /// Whose welcome `handle` is, if it still counts.
    pub fn welcomed(&self, handle: &str, visit: Visit<'_>) -> Option<Account> {
        let _ = (handle, visit);
        None
    }

    /// Begins the registration of a passkey (WebAuthn §7.1). `Ceremony::options` is the argument of
    /// `navigator.credentials.create()` as JSON, bytes in base64url.
    ///
    /// # Errors
    /// [`FactorError`].
    pub fn begin_passkey(
        &self,
        right: Right<'_>,
        visit: Visit<'_>,
    ) -> Result<Ceremony, FactorError> {
        let _ = (right, visit);
        Err(FactorError::Expired)
    }

    /// Ends it. `answer` is the browser's credential as JSON (`toJSON()`), `name` what its owner calls it (may be empty).
    ///
    /// # Errors
    /// [`FactorError`]; the ceremony is over in any case.
    pub async fn finish_passkey(
        &self,
        right: Right<'_>,
        handle: &str,
        answer: &str,
        name: &str,
        visit: Visit<'_>,
    ) -> Result<Proved, FactorError> {
        let _ = (right, handle, answer, name, visit);
        Err(FactorError::Expired)
    }

    /// # Errors
    /// [`FactorError`].
    pub async fn rename_passkey(
        &self,
        account: &str,
        passkey: &str,
        name: &str,
        visit: Visit<'_>,
    ) -> Result<(), FactorError> {
        let _ = (account, passkey, name, visit);
        Err(FactorError::Expired)
    }

    /// # Errors
    /// [`FactorError::LastWayIn`] when nothing else would be left to sign in with, unless `last` says that this is known.
    pub async fn remove_passkey(
        &self,
        account: &str,
        passkey: &str,
        last: LastWayIn,
        visit: Visit<'_>,
    ) -> Result<(), FactorError> {
        let _ = (account, passkey, last, visit);
        Err(FactorError::Expired)
    }

    /// Sets or replaces the password; with `totp` also a code app, in the same go, which lets the password be short.
    ///
    /// # Errors
    /// [`FactorError::Weak`] (the offer of `totp` stays good), [`FactorError`].
    pub async fn set_password(
        &self,
        right: Right<'_>,
        password: SecretString,
        totp: Option<CodeFor<'_>>,
        visit: Visit<'_>,
    ) -> Result<Proved, FactorError> {
        let _ = (right, password, totp, visit);
        Err(FactorError::Expired)
    }

    /// Removes the password and with it TOTP, which is good only beside it.
    ///
    /// # Errors
    /// [`FactorError`].
    pub async fn remove_password(
        &self,
        account: &str,
        last: LastWayIn,
        visit: Visit<'_>,
    ) -> Result<(), FactorError> {
        let _ = (account, last, visit);
        Err(FactorError::Expired)
    }

    /// A new secret for a code app (RFC 6238), to be confirmed with a code of it.
    ///
    /// # Errors
    /// [`FactorError`].
    pub fn begin_totp(&self, right: Right<'_>, visit: Visit<'_>) -> Result<TotpOffer, FactorError> {
        let _ = (right, visit);
        Err(FactorError::Expired)
    }

    /// Adds the code app to an account that has a password, or replaces the one it had.
    ///
    /// # Errors
    /// [`FactorError::WrongCode`] (the offer stays good, five times), [`FactorError`].
    pub async fn confirm_totp(
        &self,
        right: Right<'_>,
        code: CodeFor<'_>,
        visit: Visit<'_>,
    ) -> Result<(), FactorError> {
        let _ = (right, code, visit);
        Err(FactorError::Expired)
    }

    /// # Errors
    /// [`FactorError::PasswordNeedsIt`] while the password is short.
    pub async fn remove_totp(&self, account: &str, visit: Visit<'_>) -> Result<(), FactorError> {
        let _ = (account, visit);
        Err(FactorError::Expired)
    }

    /// Ten new recovery codes, to be shown once; those before are void.
    ///
    /// # Errors
    /// [`FactorError`].
    pub async fn make_recovery_codes(
        &self,
        account: &str,
        visit: Visit<'_>,
    ) -> Result<Vec<SecretString>, FactorError> {
        let _ = (account, visit);
        Err(FactorError::Expired)
    }

    /// Begins a sign-in with a passkey (WebAuthn §7.2). `Ceremony::options` is the argument of
    /// `navigator.credentials.get()` as JSON. Without a name, the authenticator offers the accounts it knows (also for
    /// `mediation: "conditional"`). With one, unknown names get an answer of the same shape, always the same credentials.
    ///
    /// # Errors
    /// [`SignInRefusal::Unavailable`].
    pub fn begin_passkey_sign_in(
        &self,
        name: Option<&str>,
        visit: Visit<'_>,
    ) -> Result<Ceremony, SignInRefusal> {
        let _ = (name, visit);
        Err(SignInRefusal::Expired)
    }

    /// Ends it. Passkeys are never locked: there is nothing to guess.
    ///
    /// # Errors
    /// [`SignInRefusal`]; the ceremony is over in any case.
    pub async fn finish_passkey_sign_in(
        &self,
        handle: &str,
        answer: &str,
        visit: Visit<'_>,
    ) -> Result<Proved, SignInRefusal> {
        let _ = (handle, answer, visit);
        Err(SignInRefusal::Expired)
    }

    /// The first step of the second way in. `NeedsCode` leads to [`Self::check_code`] or
    /// [`Self::check_recovery_code`] with the same handle.
    ///
    /// # Errors
    /// [`SignInRefusal`].
    pub async fn check_password(
        &self,
        name: &str,
        password: SecretString,
        visit: Visit<'_>,
    ) -> Result<PasswordOutcome, SignInRefusal> {
        let _ = (name, password, visit);
        Err(SignInRefusal::Expired)
    }

    /// A code of the app, after the password.
    ///
    /// # Errors
    /// [`SignInRefusal::NotProved`] (the handle stays good, five times), [`SignInRefusal`].
    pub async fn check_code(
        &self,
        handle: &str,
        code: &str,
        visit: Visit<'_>,
    ) -> Result<Proved, SignInRefusal> {
        let _ = (handle, code, visit);
        Err(SignInRefusal::Expired)
    }

    /// A recovery code in place of the app's, after the password. Uses it up.
    ///
    /// # Errors
    /// As [`Self::check_code`].
    pub async fn check_recovery_code(
        &self,
        handle: &str,
        code: &str,
        visit: Visit<'_>,
    ) -> Result<Proved, SignInRefusal> {
        let _ = (handle, code, visit);
        Err(SignInRefusal::Expired)
    }

    /// A recovery code of somebody who lost all passkeys and has no password. Uses it up; what it gives is no sign-in, but
    /// the right to add a new factor, as a first sign-in link does.
    ///
    /// # Errors
    /// [`SignInRefusal`]; of an account with a password too, where a code alone would go round the password.
    pub async fn recover(
        &self,
        name: &str,
        code: &str,
        visit: Visit<'_>,
    ) -> Result<Welcome, SignInRefusal> {
        let _ = (name, code, visit);
        Err(SignInRefusal::Expired)
    }
}

/// How long a welcome counts.
pub(crate) const WELCOME: Duration = Duration::from_secs(30 * 60);
