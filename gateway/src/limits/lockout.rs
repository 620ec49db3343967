//! What repeated failed credentials lead to: growing delays, then a lock (measure H-6).
//!
//! Failures are counted against where they come from: the verified device certificate of the connection, or else the
//! client's address. Never against the account that a token names, because then anybody could lock anybody out by
//! sending rubbish in their name. The two kinds have separate tables: whoever has no certificate cannot touch, fill or
//! overflow the table of those who have one, not even from the same address.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use serde::Serialize;

use super::prefix::AddressPrefix;
use crate::capability::Entropy;
use crate::config::Lockout as Rules;
use crate::connection::Connection;
use crate::denial::{Denial, DenialReason};
use crate::metrics::{LockoutMetrics, Metrics};

/// Sources of one kind that are remembered at a time.
pub const MAX_SOURCES: usize = 8_192;

/// Failures remembered per source; `lock_after` beyond this locks here.
pub const MAX_FAILURES: usize = 256;

const SHARDS: usize = 16;

/// Who failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source<'a> {
    /// The identity in a verified device certificate.
    Device(&'a str),
    /// A client without one.
    Address(AddressPrefix),
}

impl<'a> Source<'a> {
    /// The source of everything that arrives on `connection`.
    pub fn of(connection: &'a Connection) -> Self {
        connection.device().map_or_else(
            || Self::Address(connection.remote.ip().into()),
            |peer| Self::Device(peer.identity().as_str()),
        )
    }
}

impl fmt::Display for Source<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(identity) => write!(formatter, "device {identity}"),
            Self::Address(prefix) => write!(formatter, "address {prefix}"),
        }
    }
}

/// Too many failures; nothing more from there is verified until the time is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockedOut {
    pub retry_after: Duration,
}

impl From<LockedOut> for Denial {
    fn from(locked: LockedOut) -> Self {
        Self::new(DenialReason::LockedOut).with_retry_after(locked.retry_after)
    }
}

/// What a failure led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failed {
    /// One of the free ones.
    Counted,
    /// The source has to wait.
    Delayed(Duration),
    /// The source is locked; worth a record of its own.
    Locked(Duration),
}

/// One remembered source, for the administrators' listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LockoutEntry {
    /// Names it in `DELETE /lockouts/{key}`; made up, and never used again.
    pub key: String,
    /// `device …` or `address …/32`.
    pub source: String,
    /// Within the window.
    pub failures: usize,
    /// The number of failures reached the lock, rather than only a delay.
    pub locked: bool,
    /// Until the next credential is looked at, in milliseconds; 0: at once.
    pub retry_after_ms: u64,
}

/// Failed credentials by source. Lives as long as the process; a reload changes the rules and keeps the counts.
#[derive(Debug)]
pub struct Lockout {
    rules: ArcSwap<Rules>,
    devices: Table,
    addresses: Table,
    next_key: AtomicU64,
    metrics: Arc<LockoutMetrics>,
}

/// Whether a refusal is a failed credential. Only what a guesser or a thief would cause: an expired token was good once
/// and is what honest programs send when they sleep too long, and a missing one says nothing.
pub fn counts_as_failure(reason: DenialReason) -> bool {
    match reason {
        DenialReason::CredentialMalformed
        | DenialReason::CredentialInvalid
        | DenialReason::CredentialNotBound => true,
        DenialReason::RequestMalformed
        | DenialReason::RequestAmbiguous
        | DenialReason::HeaderTooLarge
        | DenialReason::MethodNotAllowed
        | DenialReason::Misdirected
        | DenialReason::RouteNotFound
        | DenialReason::LoopDetected
        | DenialReason::DeviceCertificateMissing
        | DenialReason::DeviceCertificateExpired
        | DenialReason::DeviceCertificateRevoked
        | DenialReason::DeviceUnknown
        | DenialReason::DeviceAmbiguous
        | DenialReason::DeviceSuspended
        | DenialReason::CredentialMissing
        | DenialReason::CredentialExpired
        | DenialReason::IssuerUnavailable
        | DenialReason::LockedOut
        | DenialReason::AccountDisabled
        | DenialReason::AssuranceInsufficient
        | DenialReason::PostureMissing
        | DenialReason::PostureStale
        | DenialReason::PostureFailing
        | DenialReason::NoPermit
        | DenialReason::Forbidden
        | DenialReason::PolicyError
        | DenialReason::QuotaExceeded
        | DenialReason::BodyTooLarge
        | DenialReason::UpgradeNotAllowed
        | DenialReason::AuditUnavailable
        | DenialReason::Overloaded
        | DenialReason::DestinationPortRefused
        | DenialReason::DestinationProhibited
        | DenialReason::ReasonNeeded
        | DenialReason::ListsUnavailable
        | DenialReason::SniMismatch
        | DenialReason::TunnelNotTls
        | DenialReason::Internal => false,
    }
}

impl Lockout {
    /// Nobody has failed yet.
    pub fn new(rules: &Rules, entropy: &dyn Entropy, metrics: &Metrics) -> Self {
        Self::with_room(rules, entropy, metrics, MAX_SOURCES)
    }

    /// New rules; they count from the next failure on. Delays and locks that run already end when they were to end.
    pub fn reconfigure(&self, rules: &Rules) {
        self.rules.store(Arc::new(rules.clone()));
    }

    /// Whether a credential from `source` is looked at now. Costs one atomic load while nobody has failed.
    ///
    /// # Errors
    /// [`LockedOut`] with the time that remains.
    pub fn check(&self, source: &Source<'_>, now: Instant) -> Result<(), LockedOut> {
        let table = self.table(source);
        if table.tracked.load(Ordering::Acquire) == 0 {
            return Ok(());
        }
        let Some(until) = table.blocked_until(source, now) else {
            return Ok(());
        };
        self.metrics.refusals.increment();
        Err(LockedOut {
            retry_after: until.saturating_duration_since(now),
        })
    }

    /// A credential from `source` failed verification (see [`counts_as_failure`]).
    pub fn failed(&self, source: &Source<'_>, now: Instant) -> Failed {
        let rules = self.rules.load();
        let key = || self.next_key.fetch_add(1, Ordering::Relaxed);
        let outcome = self.table(source).failed(source, &rules, now, key);
        match source {
            Source::Device(_) => self.metrics.failures_by_device.increment(),
            Source::Address(_) => self.metrics.failures_by_address.increment(),
        }
        match outcome {
            Failed::Counted | Failed::Delayed(_) => {}
            Failed::Locked(_) => self.metrics.locks.increment(),
        }
        outcome
    }

    /// A credential from `source` was good. That clears a device's slate. It does not clear an address's: many share
    /// one, and whoever owns one good token there could otherwise guess for ever, one success between two failures. Nor
    /// does it lift a lock.
    pub fn succeeded(&self, source: &Source<'_>) {
        match source {
            Source::Device(_) => self.devices.forget(source),
            Source::Address(_) => {}
        }
    }

    /// All remembered sources, those that wait longest first. At most twice [`MAX_SOURCES`], and two shared entries.
    pub fn list(&self, now: Instant) -> Vec<LockoutEntry> {
        let mut entries = self.devices.list(now);
        entries.extend(self.addresses.list(now));
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.retry_after_ms));
        entries
    }

    /// Forgets the failures behind `key`; says whose they were. Put it on record.
    pub fn lift(&self, key: &str) -> Option<String> {
        let key = key.parse().ok()?;
        self.devices.lift(key).or_else(|| self.addresses.lift(key))
    }

    /// Forgets sources whose failures are all older than the window. Every few seconds, off the request path.
    pub fn purge(&self, now: Instant) {
        let window = self.rules.load().window;
        for table in [&self.devices, &self.addresses] {
            table.purge(window, now);
        }
        let blocked = self.devices.blocked(now) + self.addresses.blocked(now);
        self.metrics.blocked.set(blocked);
    }

    fn with_room(rules: &Rules, entropy: &dyn Entropy, metrics: &Metrics, room: usize) -> Self {
        Self {
            rules: ArcSwap::from_pointee(rules.clone()),
            devices: Table::new("device", room, entropy),
            addresses: Table::new("address", room, entropy),
            next_key: AtomicU64::new(1),
            metrics: Arc::clone(&metrics.lockout),
        }
    }

    fn table(&self, source: &Source<'_>) -> &Table {
        match source {
            Source::Device(_) => &self.devices,
            Source::Address(_) => &self.addresses,
        }
    }
}

type Shard = HashMap<u64, Entry, ahash::RandomState>;

/// Sources of one kind.
#[derive(Debug)]
struct Table {
    shards: [Mutex<Shard>; SHARDS],
    per_shard: usize,
    hasher: ahash::RandomState,
    /// Entries in all shards, and one while the shared entry is in use.
    tracked: AtomicUsize,
    /// Shared by newcomers who find their shard full of locked sources.
    overflow: Mutex<Option<Entry>>,
    overflow_name: String,
}

#[derive(Clone, Debug)]
struct Entry {
    key: u64,
    source: Box<str>,
    /// Oldest first.
    failures: VecDeque<Instant>,
    blocked_until: Option<Instant>,
    locked: bool,
}

impl Table {
    fn new(kind: &str, room: usize, entropy: &dyn Entropy) -> Self {
        let hasher = super::keyed_hasher(entropy);
        Self {
            shards: std::array::from_fn(|_| Mutex::new(Shard::with_hasher(hasher.clone()))),
            per_shard: room.div_ceil(SHARDS).max(1),
            hasher,
            tracked: AtomicUsize::new(0),
            overflow: Mutex::default(),
            overflow_name: format!("{kind} (all that found no room)"),
        }
    }

    fn blocked_until(&self, source: &Source<'_>, now: Instant) -> Option<Instant> {
        let hash = self.hasher.hash_one(source);
        {
            let shard = self.shard(hash);
            if let Some(entry) = shard.get(&hash) {
                return entry.blocked_until.filter(|until| *until > now);
            }
            if shard.len() < self.per_shard {
                return None;
            }
        }
        let overflow = lock(&self.overflow);
        let until = overflow.as_ref()?.blocked_until?;
        (until > now).then_some(until)
    }

    fn failed(
        &self,
        source: &Source<'_>,
        rules: &Rules,
        now: Instant,
        key: impl FnOnce() -> u64,
    ) -> Failed {
        let hash = self.hasher.hash_one(source);
        let mut shard = self.shard(hash);
        if let Some(entry) = shard.get_mut(&hash) {
            return entry.failed(rules, now);
        }
        if shard.len() >= self.per_shard && !self.evict(&mut shard, rules.window, now) {
            drop(shard);
            let mut overflow = lock(&self.overflow);
            let entry = overflow.get_or_insert_with(|| {
                self.tracked.fetch_add(1, Ordering::Release);
                Entry::new(key(), &self.overflow_name)
            });
            return entry.failed(rules, now);
        }
        let mut entry = Entry::new(key(), &source.to_string());
        let outcome = entry.failed(rules, now);
        shard.insert(hash, entry);
        self.tracked.fetch_add(1, Ordering::Release);
        outcome
    }

    /// Makes room: whatever is outdated, or else the source that failed longest ago and is not locked.
    fn evict(&self, shard: &mut Shard, window: Duration, now: Instant) -> bool {
        if self.drop_outdated(shard, window, now) > 0 {
            return true;
        }
        let oldest = shard
            .iter()
            .filter(|(_, entry)| !entry.is_locked(now))
            .min_by_key(|(_, entry)| entry.failures.back().copied())
            .map(|(hash, _)| *hash);
        let evicted = oldest.and_then(|hash| shard.remove(&hash)).is_some();
        self.tracked
            .fetch_sub(usize::from(evicted), Ordering::Release);
        evicted
    }

    fn drop_outdated(&self, shard: &mut Shard, window: Duration, now: Instant) -> usize {
        let before = shard.len();
        shard.retain(|_, entry| !entry.is_outdated(window, now));
        let dropped = before - shard.len();
        self.tracked.fetch_sub(dropped, Ordering::Release);
        dropped
    }

    fn forget(&self, source: &Source<'_>) {
        if self.tracked.load(Ordering::Acquire) == 0 {
            return;
        }
        let hash = self.hasher.hash_one(source);
        let mut shard = self.shard(hash);
        // A request that was under way when the lock fell may still succeed; that does not lift it.
        if shard.get(&hash).is_some_and(|entry| !entry.locked) {
            shard.remove(&hash);
            self.tracked.fetch_sub(1, Ordering::Release);
        }
    }

    fn lift(&self, key: u64) -> Option<String> {
        for shard in &self.shards {
            let mut shard = lock(shard);
            let found = shard
                .iter()
                .find(|(_, entry)| entry.key == key)
                .map(|(hash, _)| *hash);
            if let Some(entry) = found.and_then(|hash| shard.remove(&hash)) {
                self.tracked.fetch_sub(1, Ordering::Release);
                return Some(entry.source.into());
            }
        }
        let entry = lock(&self.overflow).take_if(|entry| entry.key == key)?;
        self.tracked.fetch_sub(1, Ordering::Release);
        Some(entry.source.into())
    }

    fn purge(&self, window: Duration, now: Instant) {
        for shard in &self.shards {
            let mut shard = lock(shard);
            if self.drop_outdated(&mut shard, window, now) > 0 {
                shard.shrink_to_fit();
            }
        }
        let overflow = lock(&self.overflow).take_if(|entry| entry.is_outdated(window, now));
        self.tracked
            .fetch_sub(usize::from(overflow.is_some()), Ordering::Release);
    }

    fn blocked(&self, now: Instant) -> usize {
        let mut blocked = 0;
        self.each(|entry| {
            blocked += usize::from(entry.blocked_until.is_some_and(|until| until > now))
        });
        blocked
    }

    fn list(&self, now: Instant) -> Vec<LockoutEntry> {
        let mut entries = Vec::new();
        self.each(|entry| entries.push(entry.listed(now)));
        entries
    }

    fn each(&self, mut visit: impl FnMut(&Entry)) {
        for shard in &self.shards {
            lock(shard).values().for_each(&mut visit);
        }
        lock(&self.overflow).iter().for_each(visit);
    }

    fn shard(&self, hash: u64) -> MutexGuard<'_, Shard> {
        let index = usize::try_from((hash >> 40) % (SHARDS as u64)).unwrap_or_default();
        #[expect(clippy::indexing_slicing, reason = "a remainder of the array's length")]
        let shard = &self.shards[index];
        lock(shard)
    }
}

impl Entry {
    fn new(key: u64, source: &str) -> Self {
        Self {
            key,
            source: source.into(),
            failures: VecDeque::new(),
            blocked_until: None,
            locked: false,
        }
    }

    fn failed(&mut self, rules: &Rules, now: Instant) -> Failed {
        while self
            .failures
            .front()
            .is_some_and(|first| now.saturating_duration_since(*first) > rules.window)
        {
            self.failures.pop_front();
        }
        if self.failures.len() >= MAX_FAILURES {
            self.failures.pop_front();
        }
        self.failures.push_back(now);
        let count = u32::try_from(self.failures.len()).unwrap_or(u32::MAX);
        let lock_after = rules.lock_after.min(MAX_FAILURES as u32);
        if count >= lock_after {
            self.block(now, rules.lock);
            self.locked = true;
            return Failed::Locked(rules.lock);
        }
        let Some(beyond) = count
            .checked_sub(rules.free_failures)
            .filter(|beyond| *beyond > 0)
        else {
            return Failed::Counted;
        };
        let doubled = 2_u32.saturating_pow(beyond - 1);
        let delay = rules
            .first_delay
            .saturating_mul(doubled)
            .min(rules.max_delay);
        self.block(now, delay);
        Failed::Delayed(delay)
    }

    /// Requests that were verified side by side may fail out of order; a later, shorter delay never ends an earlier one.
    fn block(&mut self, now: Instant, delay: Duration) {
        let until = now.checked_add(delay).or_else(|| now.checked_add(FOR_GOOD));
        self.blocked_until = self.blocked_until.max(until);
    }

    fn is_locked(&self, now: Instant) -> bool {
        self.locked && self.blocked_until.is_some_and(|until| until > now)
    }

    fn is_outdated(&self, window: Duration, now: Instant) -> bool {
        let blocked = self.blocked_until.is_some_and(|until| until > now);
        let recent = self
            .failures
            .back()
            .is_some_and(|last| now.saturating_duration_since(*last) <= window);
        !blocked && !recent
    }

    fn listed(&self, now: Instant) -> LockoutEntry {
        let left = self
            .blocked_until
            .map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
        LockoutEntry {
            key: self.key.to_string(),
            source: self.source.to_string(),
            failures: self.failures.len(),
            locked: self.is_locked(now),
            retry_after_ms: u64::try_from(left.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

/// For a lock so long that its end cannot be written down.
const FOR_GOOD: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// A panic while the lock was held must not turn into a lockout of everybody.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
