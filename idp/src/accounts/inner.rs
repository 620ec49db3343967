//! What all copies of `Accounts` share, and the one way in which an account changes: under the writer's lock, first on
//! disk, then in memory, then told.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use tokio::sync::Semaphore;
use url::Url;
use webauthn_rs::prelude::{Webauthn, WebauthnBuilder};

use super::Visit;
use super::error::{AccountError, OpenError};
use super::people::People;
use super::record::Record;
use super::settings::Settings;
use crate::event::{AccountEvent, Actor, EventKind, Events};
use crate::factors::breached::Breached;
use crate::factors::ceremony::Ceremonies;
use crate::factors::keys::{self, Keys};
use crate::factors::password::Dummy;
use crate::lockout::Lockout;
use crate::random::Random;
use crate::store::{self, Store, StoreError, Write};

/// Password hashes that may be computed at a time: each takes 19 MiB and a core.
const MOST_HASHES: usize = 4;
/// Those that may wait for it; whoever comes later is told to come again.
const MOST_WAITING: usize = 128;

pub(crate) struct Inner {
    people: RwLock<People>,
    /// Held over reading, changing and writing an account, so that no change is lost.
    writer: Mutex<Writer>,
    rules: RwLock<Arc<Rules>>,
    pub(crate) keys: Keys,
    pub(crate) ceremonies: Ceremonies,
    pub(crate) lockout: Arc<Lockout>,
    pub(crate) random: Arc<dyn Random>,
    pub(crate) dummy: Dummy,
    /// Places at the hashing, and in the queue before it.
    pub(crate) hashing: Arc<Semaphore>,
    pub(crate) queue: Arc<Semaphore>,
    events: Events,
}

/// What comes from the settings.
pub(crate) struct Rules {
    pub(crate) settings: Settings,
    pub(crate) webauthn: Webauthn,
    pub(crate) breached: Breached,
}

pub(crate) struct Writer {
    store: Store,
    decoys: u64,
}

/// What changed, and what to tell about it.
pub(crate) struct Changed<T> {
    /// Absent where nothing is to be written.
    pub(crate) record: Option<Record>,
    pub(crate) events: Vec<AccountEvent>,
    pub(crate) answer: T,
}

impl Inner {
    pub(crate) fn open(
        directory: &Path,
        settings: Settings,
        random: Arc<dyn Random>,
        events: Events,
    ) -> Result<Self, OpenError> {
        let rules = Rules::new(settings)?;
        store::prepare(directory)?;
        let (store, people) = Store::open(directory, !keys::is_there(directory)?)?;
        let keys = Keys::open(directory, &store, &*random)?;
        let dummy = Dummy::new(&*random).map_err(|error| OpenError::Io {
            path: "argon2".into(),
            source: std::io::Error::other(error),
        })?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Self {
            people: RwLock::new(people),
            writer: Mutex::new(Writer { store, decoys: 0 }),
            rules: RwLock::new(Arc::new(rules)),
            keys,
            ceremonies: Ceremonies::default(),
            lockout: Arc::default(),
            random,
            dummy,
            hashing: Arc::new(Semaphore::new(cores.clamp(1, MOST_HASHES))),
            queue: Arc::new(Semaphore::new(MOST_WAITING)),
            events,
        })
    }

    pub(crate) fn reconfigure(&self, settings: Settings) -> Result<(), OpenError> {
        let rules = Arc::new(Rules::new(settings)?);
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) = rules;
        Ok(())
    }

    pub(crate) fn rules(&self) -> Arc<Rules> {
        Arc::clone(&self.rules.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn people<T>(&self, look: impl FnOnce(&People) -> T) -> T {
        look(&self.people.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn find(&self, id: &str) -> Option<Arc<Record>> {
        self.people(|people| people.get(id).cloned())
    }

    /// Changes the account `id`: `change` is given a copy of it and says what becomes of it. What it returns as an error
    /// changes nothing.
    pub(crate) fn change<T, E: From<StoreError>>(
        &self,
        id: &str,
        change: impl FnOnce(Option<Record>) -> Result<Changed<T>, E>,
    ) -> Result<T, E> {
        let writer = self.writer();
        let record = self.find(id).map(|record| Record::clone(&record));
        let Changed {
            record,
            events,
            answer,
        } = change(record)?;
        if let Some(record) = record {
            writer.store.commit(&[Write::Put(&record)])?;
            self.remember(|people| drop(people.put(record)));
        }
        drop(writer);
        self.tell(events);
        Ok(answer)
    }

    /// Adds all of `records`, or none. `check` is asked under the lock.
    pub(crate) fn add_all<E: From<StoreError>>(
        &self,
        records: Vec<Record>,
        events: Vec<AccountEvent>,
        check: impl FnOnce(&People) -> Result<(), E>,
    ) -> Result<(), E> {
        let writer = self.writer();
        self.people(check)?;
        let writes: Vec<Write<'_>> = records.iter().map(Write::Put).collect();
        writer.store.commit(&writes)?;
        self.remember(|people| {
            for record in records {
                people.put(record);
            }
        });
        drop(writer);
        self.tell(events);
        Ok(())
    }

    pub(crate) fn bury(&self, id: &str, by: Actor, now: i64) -> Result<(), AccountError> {
        let writer = self.writer();
        if self.find(id).is_none() {
            return Err(AccountError::Unknown(id.into()));
        }
        writer.store.commit(&[Write::Remove { id, at: now }])?;
        self.remember(|people| people.bury(id));
        self.ceremonies.forget(id);
        drop(writer);
        self.tell(vec![AccountEvent::of(
            EventKind::AccountRemoved,
            id,
            by,
            now,
        )]);
        Ok(())
    }

    /// Costs what it costs to note a failure of an account that exists.
    pub(crate) fn decoy(&self) -> Result<(), StoreError> {
        let mut writer = self.writer();
        writer.decoys = writer.decoys.wrapping_add(1);
        writer.store.commit(&[Write::Decoy(writer.decoys)])
    }

    pub(crate) fn tell(&self, events: Vec<AccountEvent>) {
        for event in events {
            (self.events)(event);
        }
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remember(&self, change: impl FnOnce(&mut People)) {
        change(&mut self.people.write().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Rules {
    fn new(settings: Settings) -> Result<Self, OpenError> {
        let webauthn =
            webauthn(&settings).ok_or_else(|| OpenError::Origin(settings.origin.clone()))?;
        let breached = match &settings.breached {
            Some(path) => Breached::read(path)?,
            None => Breached::default(),
        };
        Ok(Self {
            settings,
            webauthn,
            breached,
        })
    }
}

fn webauthn(settings: &Settings) -> Option<Webauthn> {
    let origin = Url::parse(&settings.origin).ok()?;
    let host = origin.domain()?.to_owned();
    // Exactly an origin: a path or a user name in it would be a misunderstanding, and a host without TLS no secure context.
    let exact = origin.origin().ascii_serialization() == settings.origin;
    if origin.scheme() != "https" || !exact {
        return None;
    }
    WebauthnBuilder::new(&host, &origin)
        .ok()?
        .rp_name(&settings.organisation)
        .build()
        .ok()
}

impl AccountEvent {
    pub(crate) fn of(kind: EventKind, account: &str, by: Actor, now: i64) -> Self {
        Self {
            kind,
            at: now,
            by,
            account: Some(account.into()),
            name: None,
            failure: None,
            factors: Vec::new(),
            device: None,
            detail: None,
        }
    }

    /// Something that the person did.
    pub(crate) fn own(
        kind: EventKind,
        account: &str,
        factors: &[&'static str],
        visit: Visit<'_>,
    ) -> Self {
        Self {
            device: Some(visit.device.into()),
            factors: factors.to_vec(),
            ..Self::of(kind, account, Actor::Person, visit.now)
        }
    }

    pub(crate) fn with_detail(mut self, detail: impl Into<Box<str>>) -> Self {
        self.detail = Some(detail.into());
        self
    }
}

impl From<StoreError> for AccountError {
    fn from(error: StoreError) -> Self {
        Self::Store(error.to_string())
    }
}
