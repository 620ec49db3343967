//! Accounts as administrators see them; and the bed that all tests of this crate stand on.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use secrecy::ExposeSecret;
use tempfile::TempDir;

use super::*;
use crate::event::{AccountEvent, EventKind};

mod admin;
mod file;
mod import;

/// So cheap that tests can be many.
pub(crate) const CHEAP: Cost = Cost {
    memory_kib: 8,
    passes: 1,
    lanes: 1,
};

/// Other bytes each time, and the same ones in each run.
#[derive(Default)]
pub(crate) struct Chance(AtomicU64);

impl Random for Chance {
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(32) {
            let count = self.0.fetch_add(1, Ordering::Relaxed);
            let block = digest(&SHA256, &count.to_be_bytes());
            chunk.copy_from_slice(&block.as_ref()[..chunk.len()]);
        }
    }
}

pub(crate) const MINUTE: i64 = 60_000;
pub(crate) const NOW: i64 = 1_800_000_000_000;
pub(crate) const ORIGIN: &str = "https://login.example.com:8443";

/// Accounts in a directory of their own, and all that was told.
pub(crate) struct Bed {
    pub(crate) directory: TempDir,
    pub(crate) accounts: Accounts,
    pub(crate) told: Arc<Mutex<Vec<AccountEvent>>>,
}

pub(crate) fn settings() -> Settings {
    Settings {
        origin: ORIGIN.to_owned(),
        organisation: "Yamada Works".to_owned(),
        link_lifetime: Duration::from_secs(24 * 3600),
        passwords: true,
        breached: None,
        lockout: LockoutRules {
            free_failures: 3,
            first_delay: Duration::from_secs(1),
            max_delay: Duration::from_secs(30),
            lock_after: 6,
            lock: Duration::from_secs(15 * 60),
            window: Duration::from_secs(3600),
        },
    }
}

pub(crate) fn open_at(directory: &Path) -> Result<Accounts, OpenError> {
    open_with(directory, settings(), CHEAP, Arc::new(|_| {}))
}

pub(crate) fn open_with(
    directory: &Path,
    settings: Settings,
    cost: Cost,
    events: Events,
) -> Result<Accounts, OpenError> {
    let inner = Inner::open(
        directory,
        settings,
        cost,
        Arc::new(Chance::default()),
        events,
    )?;
    Ok(Accounts {
        inner: Arc::new(inner),
    })
}

pub(crate) fn at(now: i64) -> Visit<'static> {
    Visit {
        device: "laptop",
        now,
    }
}

impl Bed {
    pub(crate) fn new() -> Self {
        Self::with(settings())
    }

    pub(crate) fn with(settings: Settings) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let told = Arc::new(Mutex::new(Vec::new()));
        let events: Events = {
            let told = Arc::clone(&told);
            Arc::new(move |event| told.lock().unwrap().push(event))
        };
        let accounts = open_with(directory.path(), settings, CHEAP, events).unwrap();
        Self {
            directory,
            accounts,
            told,
        }
    }

    /// The same file, opened again.
    pub(crate) fn reopen(self) -> Self {
        let Self {
            directory,
            accounts,
            told,
        } = self;
        drop(accounts);
        let events: Events = {
            let told = Arc::clone(&told);
            Arc::new(move |event| told.lock().unwrap().push(event))
        };
        let accounts = open_with(directory.path(), settings(), CHEAP, events).unwrap();
        Self {
            directory,
            accounts,
            told,
        }
    }

    pub(crate) async fn add(&self, user: &str) -> Account {
        let new = NewAccount {
            user: user.to_owned(),
            ..NewAccount::default()
        };
        self.accounts
            .add(new, Actor::Administrator, NOW)
            .await
            .unwrap()
    }

    /// With a welcome for the laptop.
    pub(crate) async fn welcome(&self, user: &str) -> Welcome {
        self.add(user).await;
        let link = self.link(user).await;
        self.accounts.open_link(&link.token, at(NOW)).unwrap()
    }

    pub(crate) async fn link(&self, user: &str) -> Link {
        self.accounts
            .link(user, Actor::Administrator, NOW)
            .await
            .unwrap()
    }

    /// What was told since the last time.
    pub(crate) fn told(&self) -> Vec<AccountEvent> {
        std::mem::take(&mut *self.told.lock().unwrap())
    }

    pub(crate) fn kinds(&self) -> Vec<EventKind> {
        self.told().iter().map(|event| event.kind).collect()
    }
}

#[test]
fn a_token_is_256_bits_and_never_the_same() {
    let random = Chance::default();
    let [one, other] = [(); 2].map(|()| crate::random::token(&random));
    assert_eq!(one.expose_secret().len(), 43);
    assert_ne!(one.expose_secret(), other.expose_secret());
}
