//! Accounts: who can sign in, kept in one file. Reads are answered from memory; a change counts once it is on disk, whole
//! or not at all. Changing methods are `async` and do their work on a thread that may block; once begun, they are carried
//! out even if nobody waits for the answer any more.

mod account;
mod admin;
pub(crate) mod error;
mod import;
mod inner;
pub(crate) mod people;
pub(crate) mod record;
mod settings;
pub(crate) mod text;

use std::path::Path;
use std::sync::Arc;

use secrecy::SecretString;

pub use account::{Account, Change, NewAccount, PasskeyView};
pub use error::{AccountError, ImportError, ImportProblem, LinkError, OpenError};
pub(crate) use inner::{Changed, Inner};
pub use settings::{LockoutRules, Settings};

use crate::event::{Actor, Events};
use crate::factors::ceremony::Pending;
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

/// All accounts. Cheap to clone; the file is closed with the last of them.
#[derive(Clone)]
pub struct Accounts {
    pub(crate) inner: Arc<Inner>,
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
        let inner = Inner::open(directory, settings, random, events)?;
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// New settings, after a reload. Reads the list of breached passwords again; blocks.
    ///
    /// # Errors
    /// [`OpenError::Origin`], [`OpenError::Breached`], [`OpenError::Io`]: the old settings stay.
    pub fn reconfigure(&self, settings: Settings) -> Result<(), OpenError> {
        self.inner.reconfigure(settings)
    }

    /// The account of that id; `id` is taken as typed (case does not matter).
    pub fn get(&self, id: &str) -> Option<Account> {
        let id = text::user(id).ok()?;
        self.inner.find(&id).map(|record| record.view())
    }

    /// The account that the provisioning system knows by that id.
    pub fn with_external_id(&self, id: &str) -> Option<Account> {
        self.inner
            .people(|people| people.by_external_id(id).map(|record| record.view()))
    }

    /// All, by id.
    pub fn list(&self) -> Vec<Account> {
        self.inner
            .people(|people| people.all().map(|record| record.view()).collect())
    }

    /// Whether passwords are accepted at all.
    pub fn passwords(&self) -> bool {
        self.inner.rules().settings.passwords
    }

    /// Makes an account without factors. Its owner needs a [`Link`].
    ///
    /// # Errors
    /// [`AccountError`].
    pub async fn add(&self, new: NewAccount, by: Actor, now: i64) -> Result<Account, AccountError> {
        self.off_thread(move |inner| inner.add(&new, by, now)).await
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
        let id = id.to_owned();
        self.off_thread(move |inner| inner.alter(&id, &change, by, now))
            .await
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
        let id = id.to_owned();
        self.off_thread(move |inner| inner.remove(&id, by, now))
            .await
    }

    /// Removes all factors and failure counts and makes a new first sign-in link.
    ///
    /// # Errors
    /// [`AccountError`]; of a disabled account too.
    pub async fn reset(&self, id: &str, by: Actor, now: i64) -> Result<Link, AccountError> {
        let id = id.to_owned();
        self.off_thread(move |inner| inner.reset(&id, by, now))
            .await
    }

    /// A new first sign-in link beside the factors that are there; the one before is void.
    ///
    /// # Errors
    /// [`AccountError`]; of a disabled account too.
    pub async fn link(&self, id: &str, by: Actor, now: i64) -> Result<Link, AccountError> {
        let id = id.to_owned();
        self.off_thread(move |inner| inner.link(&id, by, now)).await
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
        self.off_thread(move |inner| inner.import(&file, by, now))
            .await
    }

    /// What the token of a first sign-in link opens. Does not use it up: the first factor does.
    ///
    /// # Errors
    /// [`LinkError::Void`].
    pub fn open_link(&self, token: &SecretString, visit: Visit<'_>) -> Result<Welcome, LinkError> {
        self.inner.open_link(token, visit)
    }

    /// Whose welcome `handle` is, if it still counts.
    pub fn welcomed(&self, handle: &str, visit: Visit<'_>) -> Option<Account> {
        match self.inner.ceremonies.peek(handle, visit)? {
            Pending::Welcome { account, grounds } => {
                let record = self.inner.find(&account)?;
                record.welcomes(grounds, visit.now).then(|| record.view())
            }
            Pending::Registration { .. }
            | Pending::Named { .. }
            | Pending::Discoverable(_)
            | Pending::Invented
            | Pending::Code { .. }
            | Pending::Totp { .. } => None,
        }
    }

    /// Does `work` where it may block. It is done even if nobody waits for it any more.
    pub(crate) async fn off_thread<T, E>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Interrupted> + Send + 'static,
    {
        let inner = Arc::clone(&self.inner);
        match tokio::task::spawn_blocking(move || work(&inner)).await {
            Ok(done) => done,
            Err(_) => Err(Interrupted.into()),
        }
    }
}

/// The work did not come to its end: the process stops.
pub(crate) struct Interrupted;

impl From<Interrupted> for AccountError {
    fn from(Interrupted: Interrupted) -> Self {
        Self::Store("interrupted".to_owned())
    }
}

impl From<Interrupted> for ImportError {
    fn from(interrupted: Interrupted) -> Self {
        Self::Account(interrupted.into())
    }
}

#[cfg(test)]
pub(crate) mod tests;
