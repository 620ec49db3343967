//! The sessions of a process: begun, found, attached to hosts, listed, ended, kept.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use masugata_policy::{Principal, Timestamp};
use tokio::sync::oneshot;

use super::book::{Book, Taken};
use super::cookie::Secret;
use super::kept::{self, Use};
use super::seal::Seal;
use super::store::{self, Found, Store, StoreError, Write};
use super::table::Table;
use super::{Beginning, Ended, Secrets, Session, SessionId, SessionView, Which};
use crate::capability::Entropy;
use crate::config::sign_in::Lifetime;

/// See the module's first line. Opened once per process; lives through reloads.
pub(crate) struct Sessions {
    table: Table,
    /// INVARIANT: every change of the table and every message to the store is made under this lock, so that all three
    /// agree on what came first.
    book: Mutex<Book>,
    store: Store,
    seal: Seal,
    entropy: Arc<dyn Entropy>,
    /// Moves when something that lasting exchanges depend on has ended.
    epoch: AtomicU64,
    /// Until when uses are in the file, milliseconds since the epoch.
    flushed: AtomicI64,
}

/// Sessions that count no more; on the disk once [`Ending::durable`] is back.
#[must_use = "what has ended goes on record"]
pub(crate) struct Ending {
    pub(crate) ended: Vec<Ended>,
    written: Option<oneshot::Receiver<Result<(), StoreError>>>,
}

impl Ending {
    /// Waits for the disk. What cannot be written is tried again until it is.
    pub(crate) async fn durable(self) -> Vec<Ended> {
        if let Some(written) = self.written {
            let _tried_again = written.await;
        }
        self.ended
    }
}

impl Sessions {
    /// Opens `sessions.redb` and `sessions.key` in that directory.
    ///
    /// # Errors
    /// [`StoreError`]: in use by another process, not to be read, or damaged.
    pub(crate) fn open(directory: &Path, entropy: Arc<dyn Entropy>) -> Result<Self, StoreError> {
        let (file, key) = (
            directory.join("sessions.redb"),
            directory.join("sessions.key"),
        );
        let seal = Seal::open(&key, store::is_new(&file), &*entropy).map_err(|source| {
            let path = key.clone();
            if source.kind() == io::ErrorKind::NotFound {
                return StoreError::KeyMissing {
                    path,
                    file: file.clone(),
                };
            }
            StoreError::Open { path, source }
        })?;
        let (store, found) = Store::open(&file)?;
        let sessions = Self {
            table: Table::default(),
            book: Mutex::default(),
            store,
            seal,
            entropy,
            epoch: AtomicU64::new(0),
            flushed: AtomicI64::new(0),
        };
        sessions.take_over(found);
        Ok(sessions)
    }

    fn take_over(&self, found: Found) {
        let mut book = self.book();
        let mut by_id = ahash::AHashMap::new();
        for session in found.sessions {
            let session = Arc::new(session);
            by_id.insert(session.id, Arc::clone(&session));
        }
        // In the order in which they were made.
        let mut in_order: Vec<&Arc<Session>> = by_id.values().collect();
        in_order.sort_unstable_by_key(|session| (session.signed_in_at, session.id));
        for session in in_order {
            book.add(Arc::clone(session));
        }
        let mut spare = Vec::new();
        for (key, id, host) in found.keys {
            match by_id.get(&id) {
                Some(session) if book.add_key(session, key, &host) => {
                    self.table.insert(key, Arc::clone(session));
                }
                Some(_) | None => spare.push(Write::Unkey(key)),
            }
        }
        for session in by_id.values() {
            if book.without_keys(session.family).contains(&session.id) {
                spare.push(Write::Drop(session.id));
            }
        }
        drop(by_id);
        book.forget_unheld();
        if !spare.is_empty() {
            let _later = self.store.write(spare);
        }
    }

    /// The session of a cookie's secret at that host: one hash, one look-up, no lock.
    pub(crate) fn find(&self, host: &str, secret: &Secret) -> Option<Arc<Session>> {
        self.table.find(&secret.key(host))
    }

    /// Makes a session of a verified sign-in, with a secret for `host`. `before` is the session that this browser had: the
    /// new one joins its family if it is the same person's on the same device; otherwise that family ends.
    ///
    /// # Errors
    /// [`StoreError`]: there is no session.
    pub(crate) async fn begin(
        &self,
        host: &str,
        beginning: Beginning,
        before: Option<&Session>,
        now: Timestamp,
    ) -> Result<(Arc<Session>, Secret), StoreError> {
        let id = SessionId::new(&*self.entropy);
        let same = |before: &&Session| {
            before.principal.load().id() == beginning.principal.id()
                && before.thumbprint == beginning.thumbprint
                && before.issuer_url == beginning.issuer_url
        };
        let joined = before.filter(same).map(|before| before.family);
        let sealed = self.seal.close(id, &beginning.secrets, &*self.entropy);
        let session = Arc::new(made(id, joined.unwrap_or(id), beginning, now));
        {
            let mut book = self.book();
            // Ended meanwhile, and everything of its family with it.
            if before.is_some_and(|before| joined.is_some() && !book.has(before)) {
                return Err(StoreError::Gone);
            }
            book.add(Arc::clone(&session));
        }
        let more = sealed.map(|sealed| Write::Secrets(id, sealed));
        let put = Write::Put(id, kept::written(&session));
        let writes = [put].into_iter().chain(more).collect();
        let secret = self.attach_with(&session, host, writes).await?;
        Ok((session, secret))
    }

    /// A new secret of the session for `host`; those that its family had there die.
    ///
    /// # Errors
    /// [`StoreError`]: the session has ended, or the disk does not take it.
    pub(crate) async fn attach(
        &self,
        session: &Arc<Session>,
        host: &str,
    ) -> Result<Secret, StoreError> {
        self.attach_with(session, host, Vec::new()).await
    }

    async fn attach_with(
        &self,
        session: &Arc<Session>,
        host: &str,
        mut writes: Vec<Write>,
    ) -> Result<Secret, StoreError> {
        let secret = Secret::new(&*self.entropy);
        let key = secret.key(host);
        let written = {
            let mut book = self.book();
            if !book.has(session) {
                return Err(StoreError::Gone);
            }
            for old in book.take_keys(session.family, host) {
                self.table.remove(&old);
                writes.push(Write::Unkey(old));
            }
            book.add_key(session, key, host);
            writes.push(Write::Key(key, session.id, host.into()));
            for bare in book.without_keys(session.family) {
                writes.push(Write::Drop(bare));
            }
            self.store.write(writes)
        };
        let written = written.await.unwrap_or(Err(StoreError::Write));
        let mut book = self.book();
        match written {
            // Between the two it may have ended, and must not come back.
            Ok(()) if book.has(session) => {
                self.table.insert(key, Arc::clone(session));
                Ok(secret)
            }
            Ok(()) => Err(StoreError::Gone),
            Err(error) => {
                book.remove_key(session, &key);
                book.forget_unheld();
                Err(error)
            }
        }
    }

    /// All families, newest first.
    pub(crate) fn list(&self) -> Vec<SessionView> {
        self.book().views(&|_| true)
    }

    /// Those of a person (`issuer/user`), newest first.
    pub(crate) fn of(&self, principal: &str) -> Vec<SessionView> {
        self.book()
            .views(&|session| session.principal.load().id() == principal)
    }

    /// Ends families at once: no cookie of theirs counts any more when this is back, and lasting exchanges are cut within a
    /// second.
    pub(crate) fn end(&self, which: &Which) -> Ending {
        let mut book = self.book();
        let taken = match book.take_one(which) {
            Some(taken) => taken,
            None => book.take(&|session| which.matches(session)),
        };
        self.bury(taken)
    }

    /// Ends what is over for everything, and forgets what nothing leads to.
    pub(crate) fn end_spent(&self, longest: Lifetime, now: Timestamp) -> Ending {
        let mut book = self.book();
        book.forget_unheld();
        // A family lives as long as its newest session.
        let alive: ahash::AHashSet<SessionId> = book
            .sessions()
            .filter(|session| session.check(longest, now).is_ok())
            .map(|session| session.family)
            .collect();
        let taken = book.take(&|session| !alive.contains(&session.family));
        self.bury(taken)
    }

    /// The lock is held by the caller.
    fn bury(&self, taken: Vec<Taken>) -> Ending {
        let mut writes = Vec::new();
        for family in &taken {
            for session in family.sessions() {
                session.ended.store(true, Ordering::Release);
                writes.push(Write::Drop(session.id));
            }
            for key in family.keys() {
                self.table.remove(&key);
                writes.push(Write::Unkey(key));
            }
        }
        if taken.is_empty() {
            return Ending {
                ended: Vec::new(),
                written: None,
            };
        }
        self.moved();
        Ending {
            ended: taken.iter().filter_map(Taken::ended).collect(),
            written: Some(self.store.write(writes)),
        }
    }

    /// Lasting exchanges are to be asked about again at once: a session has ended, or somebody's standing changed.
    pub(crate) fn moved(&self) {
        self.epoch.fetch_add(1, Ordering::AcqRel);
    }

    /// Changes with [`Sessions::moved`].
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Has the uses since the last time written.
    pub(crate) fn flush(&self, now: Timestamp) {
        let before = self.flushed.swap(now.as_millis(), Ordering::Relaxed);
        let book = self.book();
        let used = book.sessions().filter(|session| {
            // A clock that was set back hides no use.
            let at = session.last_used().as_millis();
            at >= before || before > now.as_millis()
        });
        let writes: Vec<Write> = used
            .map(|session| {
                let times = Use {
                    last_used: session.last_used().as_millis(),
                    widest_gap: session.widest_gap.load(Ordering::Relaxed),
                };
                Write::Used(session.id, times)
            })
            .collect();
        if !writes.is_empty() {
            let _later = self.store.write(writes);
        }
    }

    /// What the provider gave with that session.
    pub(crate) async fn secrets(&self, session: &Session) -> Option<Secrets> {
        let sealed = self.store.secrets(session.id).await?;
        self.seal.open_sealed(session.id, &sealed)
    }

    /// What the provider said when it was asked again: other secrets, and the person with other groups perhaps.
    ///
    /// # Errors
    /// [`StoreError`]: after a restart everything is as it was before.
    pub(crate) async fn renew(
        &self,
        session: &Session,
        secrets: &Secrets,
        principal: Option<Arc<Principal>>,
    ) -> Result<(), StoreError> {
        let sealed = self.seal.close(session.id, secrets, &*self.entropy);
        let written = {
            let book = self.book();
            if !book.has(session) {
                return Err(StoreError::Gone);
            }
            if let Some(principal) = principal {
                session.principal.store(principal);
                self.moved();
            }
            // Not for one that no cookie leads to: nothing of it is in the file any more.
            if book.without_keys(session.family).contains(&session.id) {
                return Ok(());
            }
            let mut writes = vec![Write::Put(session.id, kept::written(session))];
            writes.extend(sealed.map(|sealed| Write::Secrets(session.id, sealed)));
            self.store.write(writes)
        };
        written.await.unwrap_or(Err(StoreError::Write))
    }

    /// Somebody is known otherwise from now on (`issuer/user`): other groups, another name.
    pub(crate) fn change(&self, principal: &str, now_is: &dyn Fn(&Principal) -> Principal) {
        let book = self.book();
        let mut writes = Vec::new();
        for session in book.sessions() {
            let before = session.principal();
            if before.id() != principal {
                continue;
            }
            session.principal.store(Arc::new(now_is(&before)));
            if !book.without_keys(session.family).contains(&session.id) {
                writes.push(Write::Put(session.id, kept::written(session)));
            }
        }
        if !writes.is_empty() {
            let _later = self.store.write(writes);
        }
        self.moved();
    }

    /// Those whose provider is to be asked again by now.
    pub(crate) fn due(&self, now: Timestamp) -> Vec<Arc<Session>> {
        let book = self.book();
        let due = book
            .sessions()
            .filter(|session| session.refresh_at() <= now);
        due.map(Arc::clone).collect()
    }

    /// How many families there are.
    pub(crate) fn count(&self) -> usize {
        self.book().count()
    }

    /// Writes what is left and closes the file.
    pub(crate) fn close(&self, now: Timestamp) {
        self.flush(now);
        self.store.close();
    }

    #[cfg(test)]
    pub(super) fn stop_writing(&self) {
        self.store.close();
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn made(id: SessionId, family: SessionId, of: Beginning, now: Timestamp) -> Session {
    Session {
        id,
        family,
        authentication: Arc::new(kept::bound_to_device(&of.authentication)),
        principal: ArcSwap::new(of.principal),
        issuer: of.issuer,
        issuer_url: of.issuer_url,
        subject: of.subject,
        provider_session: of.provider_session,
        email: of.email,
        user_name: of.user_name,
        device: of.device,
        thumbprint: of.thumbprint,
        signed_in_at: now,
        asked: of.asked,
        last_used: AtomicI64::new(now.as_millis()),
        widest_gap: AtomicI64::new(0),
        refresh_at: AtomicI64::new(of.refresh_at.map_or(i64::MAX, Timestamp::as_millis)),
        ended: AtomicBool::new(false),
    }
}
