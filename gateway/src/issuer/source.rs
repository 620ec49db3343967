//! Where the keys of one issuer come from (and where people sign in there), and how old they may be.
//!
//! A file is read once, at load. A provider is asked by one task per issuer, at intervals and when a token names a key
//! that we do not have; requests never fetch, they wait for that task. So a client that hangs up cannot cancel a fetch,
//! many requests share one, and how often the provider is asked does not depend on how many tokens arrive.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use jsonwebtoken::Algorithm;
use masugata_policy::Timestamp;
use tokio::sync::{Notify, watch};

use super::discovery::{self, DiscoveryError};
use super::fetch::{Location, Transport};
use super::keys::KeySet;
use super::provider::{MetadataFault, ProviderMetadata};
use crate::capability::Clock;

/// Least time between two fetches that requests cause.
const SPACING: Duration = Duration::from_secs(30);

/// How many fetches unknown `kid`s may cause at once; one more is granted each `BUDGET_REFILL`. A fetch that brings new
/// keys gives all back: only senders of made-up names use it up.
const BUDGET: u32 = 10;
const BUDGET_REFILL: Duration = Duration::from_secs(300);

/// Without any keys a request may cause a fetch this soon after the last one failed.
const SPACING_WITHOUT_KEYS: Duration = Duration::from_secs(5);

/// Longest wait between attempts while the provider does not answer.
const LONGEST_BACKOFF: Duration = Duration::from_secs(30);

/// Keys as they were at one time.
#[derive(Clone, Debug)]
pub(super) struct Snapshot {
    pub(super) keys: Arc<KeySet>,
    /// Changes whenever the keys do, and only then.
    pub(super) revision: u64,
    /// Where people sign in; `None` for a file.
    pub(super) provider: Option<Arc<Result<ProviderMetadata, MetadataFault>>>,
    fetched_at: Timestamp,
}

/// The keys of one issuer.
#[derive(Clone)]
pub(super) enum KeySource {
    /// From a file.
    Fixed(Arc<Snapshot>),
    /// From the provider; shared with later configurations that define it alike.
    Remote(Arc<RemoteKeys>),
}

impl KeySource {
    /// Keys that stay as they are.
    pub(super) fn fixed(keys: KeySet) -> Self {
        Self::Fixed(Arc::new(Snapshot {
            keys: Arc::new(keys),
            revision: 0,
            provider: None,
            fetched_at: Timestamp::MAX,
        }))
    }

    /// The revision of the keys that may be used at `now`; `None` when there are none. Costs two loads.
    pub(super) fn revision(&self, now: Timestamp) -> Option<u64> {
        match self {
            Self::Fixed(snapshot) => Some(snapshot.revision),
            Self::Remote(remote) => remote
                .snapshot
                .load()
                .as_ref()
                .filter(|snapshot| remote.is_usable(snapshot, now))
                .map(|snapshot| snapshot.revision),
        }
    }

    /// The keys that may be used at `now`, without waiting for any.
    pub(super) fn known(&self, now: Timestamp) -> Option<Arc<Snapshot>> {
        match self {
            Self::Fixed(snapshot) => Some(Arc::clone(snapshot)),
            Self::Remote(remote) => remote.usable(now),
        }
    }

    /// What was fetched last, however long ago.
    pub(super) fn latest(&self) -> Option<Arc<Snapshot>> {
        match self {
            Self::Fixed(snapshot) => Some(Arc::clone(snapshot)),
            Self::Remote(remote) => remote.snapshot.load_full(),
        }
    }

    /// How the issuer is asked; `None` for a file.
    pub(super) fn transport(&self) -> Option<&Transport> {
        match self {
            Self::Fixed(_) => None,
            Self::Remote(remote) => Some(&remote.transport),
        }
    }

    /// Whether both are the same keys of one provider, now and later.
    pub(super) fn same_as(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Remote(one), Self::Remote(other)) => Arc::ptr_eq(one, other),
            (Self::Fixed(_) | Self::Remote(_), _) => false,
        }
    }

    /// The keys that may be used at `now`, waiting for a fetch under way when there are none.
    pub(super) async fn current(&self, now: Timestamp) -> Option<Arc<Snapshot>> {
        match self {
            Self::Fixed(snapshot) => Some(Arc::clone(snapshot)),
            Self::Remote(remote) => remote.current(now).await,
        }
    }

    /// Keys fetched after `known`, if asking for them is allowed now and brings another set.
    pub(super) async fn newer(&self, known: &Snapshot, now: Timestamp) -> Option<Arc<Snapshot>> {
        match self {
            Self::Fixed(_) => None,
            Self::Remote(remote) => {
                remote.wait_for_fetch(now, Cause::UnknownKey).await;
                remote
                    .usable(now)
                    .filter(|snapshot| snapshot.revision != known.revision)
            }
        }
    }
}

/// What two configurations must agree on to share fetched keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Definition {
    pub(super) name: Box<str>,
    pub(super) issuer: Box<str>,
    pub(super) algorithms: Vec<Algorithm>,
    /// PEM text of the provider's CA; `None`: the system's roots.
    pub(super) authority: Option<Vec<u8>>,
    pub(super) timeout: Duration,
    pub(super) refresh: Duration,
    pub(super) max_age: Duration,
}

/// The keys a provider publishes, kept fresh.
pub(super) struct RemoteKeys {
    definition: Definition,
    location: Location,
    transport: Transport,
    clock: Arc<dyn Clock>,
    snapshot: ArcSwapOption<Snapshot>,
    schedule: Mutex<Schedule>,
    /// Counts finished fetches.
    finished: watch::Sender<u64>,
    wanted: Arc<Notify>,
    started: AtomicBool,
}

/// When the provider was asked, and may be again.
#[derive(Debug, Default)]
struct Schedule {
    /// A fetch was asked for or is under way.
    pending: bool,
    last_attempt: Option<Timestamp>,
    /// Failures since the last success.
    failures: u32,
    last_error: Option<Box<str>>,
    spent: u32,
    refilled_at: Option<Timestamp>,
}

/// Why a request wants a fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    UnknownKey,
    NoKeys,
    Overdue,
}

impl RemoteKeys {
    /// Keys that nobody has fetched yet; see [`RemoteKeys::start`].
    pub(super) fn new(
        definition: Definition,
        location: Location,
        transport: Transport,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            definition,
            location,
            transport,
            clock,
            snapshot: ArcSwapOption::empty(),
            schedule: Mutex::default(),
            finished: watch::Sender::new(0),
            wanted: Arc::default(),
            started: AtomicBool::new(false),
        }
    }

    pub(super) fn definition(&self) -> &Definition {
        &self.definition
    }

    pub(super) fn transport(&self) -> &Transport {
        &self.transport
    }

    /// Starts the task that keeps the keys fresh, once. It ends with the last holder of `self`.
    pub(super) fn start(self: &Arc<Self>) {
        if self.started.swap(true, Ordering::AcqRel) {
            return;
        }
        self.schedule().pending = true;
        let wanted = Arc::clone(&self.wanted);
        tokio::spawn(keep_fresh(Arc::downgrade(self), wanted));
    }

    /// Number of keys, when they were fetched, and the last error if the last attempt failed.
    pub(super) fn status(&self) -> (usize, Option<Timestamp>, Option<Box<str>>) {
        let snapshot = self.snapshot.load();
        let error = self.schedule().last_error.clone();
        match snapshot.as_ref() {
            Some(snapshot) => (snapshot.keys.len(), Some(snapshot.fetched_at), error),
            None => (0, None, error),
        }
    }

    fn schedule(&self) -> MutexGuard<'_, Schedule> {
        self.schedule.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_usable(&self, snapshot: &Snapshot, now: Timestamp) -> bool {
        now.since(snapshot.fetched_at) <= self.definition.max_age
    }

    fn usable(&self, now: Timestamp) -> Option<Arc<Snapshot>> {
        self.snapshot
            .load_full()
            .filter(|snapshot| self.is_usable(snapshot, now))
    }

    async fn current(&self, now: Timestamp) -> Option<Arc<Snapshot>> {
        if let Some(snapshot) = self.usable(now) {
            if now.since(snapshot.fetched_at) > self.definition.refresh {
                self.ask(now, Cause::Overdue);
            }
            return Some(snapshot);
        }
        self.wait_for_fetch(now, Cause::NoKeys).await;
        self.usable(now)
    }

    /// Waits until a fetch ends that is under way or may be started now; returns at once when none may.
    async fn wait_for_fetch(&self, now: Timestamp, cause: Cause) {
        let Some(mut finished) = self.ask(now, cause) else {
            return;
        };
        // A fetch is at most three documents, each bounded; the rest is slack for a busy machine.
        let limit = self.transport.timeout().saturating_mul(3) + Duration::from_secs(1);
        let _ = tokio::time::timeout(limit, finished.changed()).await;
    }

    /// Joins the pending fetch or asks for one; `None` when it is too early.
    fn ask(&self, now: Timestamp, cause: Cause) -> Option<watch::Receiver<u64>> {
        let mut schedule = self.schedule();
        if !schedule.pending {
            if !schedule.grant(now, cause) {
                return None;
            }
            schedule.pending = true;
            self.wanted.notify_one();
        }
        // Subscribed under the lock that ends `pending`, so that its end cannot be missed.
        let finished = self.finished.subscribe();
        drop(schedule);
        Some(finished)
    }

    async fn fetch(&self) {
        {
            let mut schedule = self.schedule();
            schedule.pending = true;
            schedule.last_attempt = Some(self.clock.now());
        }
        let fetched = discovery::fetch(&self.transport, &self.definition.issuer, &self.location)
            .await
            .and_then(|published| {
                let (keys, refused) = KeySet::parse(&published.keys, &self.definition.algorithms)
                    .map_err(DiscoveryError::KeySet)?;
                Ok((keys, refused, published.provider))
            });
        let issuer = &*self.definition.name;
        let outcome = match fetched {
            Ok((keys, refused, provider)) => {
                for key in refused.iter().filter(|key| !key.fault.is_harmless()) {
                    tracing::warn!(issuer, %key, "a published key is not used");
                }
                Ok(self.install(keys, provider))
            }
            Err(error) => {
                tracing::warn!(issuer, %error, "the issuer's keys could not be fetched");
                Err(error.to_string().into_boxed_str())
            }
        };
        let mut schedule = self.schedule();
        schedule.conclude(outcome);
        self.finished.send_modify(|count| *count += 1);
    }

    /// Takes over a fetched set; true when it is another than before.
    fn install(&self, keys: KeySet, provider: Result<ProviderMetadata, MetadataFault>) -> bool {
        let fetched_at = self.clock.now();
        let provider = Some(Arc::new(provider));
        let previous = self.snapshot.load_full();
        let (snapshot, changed) = match previous {
            Some(previous) if previous.keys.same_as(&keys) => (
                Snapshot {
                    keys: Arc::clone(&previous.keys),
                    revision: previous.revision,
                    provider,
                    fetched_at,
                },
                false,
            ),
            previous => (
                Snapshot {
                    keys: Arc::new(keys),
                    revision: previous.map_or(0, |previous| previous.revision) + 1,
                    provider,
                    fetched_at,
                },
                true,
            ),
        };
        if changed {
            let issuer = &*self.definition.name;
            tracing::info!(
                issuer,
                keys = snapshot.keys.len(),
                "the issuer's keys changed"
            );
        }
        self.snapshot.store(Some(Arc::new(snapshot)));
        changed
    }

    fn delay(&self) -> Duration {
        let failures = self.schedule().failures;
        if failures == 0 {
            return self.definition.refresh;
        }
        let doubled = 1_u64.checked_shl(failures.min(16) - 1).unwrap_or(u64::MAX);
        Duration::from_secs(doubled)
            .min(LONGEST_BACKOFF)
            .min(self.definition.refresh)
    }
}

impl Drop for RemoteKeys {
    fn drop(&mut self) {
        // The task finds nobody left and ends.
        self.wanted.notify_one();
    }
}

async fn keep_fresh(remote: Weak<RemoteKeys>, wanted: Arc<Notify>) {
    loop {
        let delay = {
            let Some(remote) = remote.upgrade() else {
                return;
            };
            remote.fetch().await;
            remote.delay()
        };
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            () = wanted.notified() => {}
        }
    }
}

impl Schedule {
    /// Whether a request may cause a fetch now; takes from the budget when it may.
    fn grant(&mut self, now: Timestamp, cause: Cause) -> bool {
        let spacing = match cause {
            Cause::NoKeys => SPACING_WITHOUT_KEYS,
            Cause::UnknownKey | Cause::Overdue => SPACING,
        };
        if self
            .last_attempt
            .is_some_and(|last| elapsed(now, last) < spacing)
        {
            return false;
        }
        cause != Cause::UnknownKey || self.take_from_budget(now)
    }

    fn take_from_budget(&mut self, now: Timestamp) -> bool {
        let refilled_at = *self.refilled_at.get_or_insert(now);
        let since = elapsed(now, refilled_at);
        let refills = since.as_secs() / BUDGET_REFILL.as_secs();
        if refills > 0 {
            self.spent = self
                .spent
                .saturating_sub(u32::try_from(refills).unwrap_or(u32::MAX));
            self.refilled_at = Some(now);
        }
        if self.spent >= BUDGET {
            return false;
        }
        self.spent += 1;
        true
    }

    /// `Ok(true)`: other keys than before.
    fn conclude(&mut self, outcome: Result<bool, Box<str>>) {
        self.pending = false;
        match outcome {
            Ok(changed) => {
                self.failures = 0;
                self.last_error = None;
                if changed {
                    self.spent = 0;
                }
            }
            Err(error) => {
                self.failures = self.failures.saturating_add(1);
                self.last_error = Some(error);
            }
        }
    }
}

/// Time since `earlier`; very long when the wall clock was set back, so that nothing waits for it to catch up.
fn elapsed(now: Timestamp, earlier: Timestamp) -> Duration {
    if now < earlier {
        Duration::MAX
    } else {
        now.since(earlier)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(1_000_000 + seconds)
    }

    fn attempt(schedule: &mut Schedule, seconds: i64) -> bool {
        let granted = schedule.grant(at(seconds), Cause::UnknownKey);
        if granted {
            schedule.last_attempt = Some(at(seconds));
        }
        granted
    }

    #[test]
    fn unknown_keys_cause_a_fetch_at_most_every_thirty_seconds() {
        let mut schedule = Schedule::default();
        assert!(attempt(&mut schedule, 0));
        assert!(!attempt(&mut schedule, 0));
        assert!(!attempt(&mut schedule, 29));
        assert!(attempt(&mut schedule, 30));
    }

    #[test]
    fn made_up_keys_use_up_a_budget_that_comes_back_slowly() {
        let mut schedule = Schedule::default();
        let granted: Vec<i64> = (0..3600)
            .filter(|second| attempt(&mut schedule, *second))
            .collect();
        assert!(granted.len() <= 10 + 12, "{granted:?}");
        assert_eq!(granted.get(..3), Some(&[0, 30, 60][..]));
        assert!(granted.last() > Some(&3000), "never starved: {granted:?}");
    }

    #[test]
    fn new_keys_give_the_budget_back() {
        let mut schedule = Schedule::default();
        for round in 0..100 {
            assert!(attempt(&mut schedule, round * 30), "{round}");
            schedule.conclude(Ok(true));
        }
    }

    #[test]
    fn a_clock_set_back_does_not_stop_fetches() {
        let mut schedule = Schedule::default();
        assert!(attempt(&mut schedule, 100_000));
        assert!(attempt(&mut schedule, 0));
    }
}
