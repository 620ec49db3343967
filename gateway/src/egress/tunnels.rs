//! Every long-lived exchange of the egress, and who asks whether it may go on.
//!
//! A tunnel has no timer of its own. One task walks over all of them, every few seconds and at once when the
//! configuration or a list has changed, asks each lease, and cuts what is now denied, idle or too old.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::task::AtomicWaker;
use masugata_policy::{PolicyVersion, Principal};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::audit::event::Outcome;
use crate::denial::DenialReason;
use crate::forward::{ForwardError, Lease};

const SHARDS: usize = 16;
/// Tunnels looked at before other tasks have their turn.
const AT_ONCE: usize = 64;
/// The shortest time between two walks.
const SHORTEST_STEP: Duration = Duration::from_millis(50);

type Map<K, V> = HashMap<K, V, ahash::RandomState>;

/// What all tunnels together keep to.
#[derive(Clone, Debug)]
pub struct TunnelBounds {
    pub total: usize,
    pub per_device: usize,
    /// Longest time between two looks at a tunnel.
    pub recheck: Duration,
    /// Without a byte in either direction.
    pub idle: Duration,
    /// Of a whole tunnel; `None`: unlimited.
    pub lifetime: Option<Duration>,
}

/// See the module's first lines. One for the whole process: reloads change its bounds.
pub struct Tunnels {
    bounds: ArcSwap<TunnelBounds>,
    shards: [Mutex<Map<u64, Arc<Live>>>; SHARDS],
    devices: Mutex<Map<Arc<str>, usize>>,
    reserved: AtomicUsize,
    next: AtomicU64,
    closed: AtomicBool,
    /// How many were cut, in the order of [`DenialReason::ALL`].
    cuts: [AtomicU64; DenialReason::ALL.len()],
    /// Milliseconds are counted from here.
    origin: Instant,
}

/// There is no room for another tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    #[error("the device has as many tunnels as it may")]
    Device,
    #[error("the gateway has as many tunnels as it may")]
    Gateway,
}

impl Full {
    /// The stable reason for client, record and metrics.
    pub fn reason(self) -> DenialReason {
        match self {
            Self::Device => DenialReason::QuotaExceeded,
            Self::Gateway => DenialReason::Overloaded,
        }
    }
}

/// A place among the tunnels, counted while it lives.
pub struct Reservation {
    tunnels: Arc<Tunnels>,
    device: Arc<str>,
}

/// What is known of a tunnel.
pub struct Entry {
    pub reservation: Reservation,
    pub lease: Arc<dyn Lease>,
    pub principal: Arc<Principal>,
    /// Lower case, without a final dot.
    pub host: Arc<str>,
    pub port: u16,
    /// The policies that let it through.
    pub policy: PolicyVersion,
}

impl Entry {
    /// The inventory's id.
    pub fn device(&self) -> &str {
        &self.reservation.device
    }

    /// Tells whoever keeps account of refusals that the tunnel was cut for this reason.
    pub fn refused(&self, reason: DenialReason) {
        self.reservation.tunnels.count(reason);
        self.lease.refused(reason);
    }
}

/// Whose tunnels lead where, and which policies let them through.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Held {
    pub user: Box<str>,
    pub device: Arc<str>,
    pub host: Arc<str>,
    pub port: u16,
    pub policy: Box<str>,
}

impl Held {
    fn of(entry: &Entry) -> Self {
        Self {
            user: entry.principal.id().into(),
            device: Arc::clone(&entry.reservation.device),
            host: Arc::clone(&entry.host),
            port: entry.port,
            policy: entry.policy.as_str().into(),
        }
    }
}

/// A tunnel that is there.
pub(super) struct Live {
    pub(super) entry: Entry,
    /// Bytes both ways.
    moved: AtomicU64,
    /// `moved` at the last look, and when it last was another. Written by the sweeper only.
    seen: AtomicU64,
    quiet_since: AtomicU64,
    since: u64,
    cut: OnceLock<Outcome>,
    waker: AtomicWaker,
}

/// Keeps a tunnel on the list while it lives.
pub(super) struct Registered {
    id: u64,
    live: Arc<Live>,
}

impl Tunnels {
    pub fn new(bounds: TunnelBounds) -> Arc<Self> {
        Arc::new(Self {
            bounds: ArcSwap::from_pointee(bounds),
            shards: std::array::from_fn(|_| Mutex::default()),
            devices: Mutex::default(),
            reserved: AtomicUsize::new(0),
            next: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            cuts: std::array::from_fn(|_| AtomicU64::new(0)),
            origin: Instant::now(),
        })
    }

    /// Other bounds from now on. What is open stays open, unless it is idle or too old by the new ones.
    pub fn set_bounds(&self, bounds: TunnelBounds) {
        self.bounds.store(Arc::new(bounds));
    }

    /// A place for a tunnel of this device.
    ///
    /// # Errors
    /// When there is none.
    pub fn try_reserve(self: &Arc<Self>, device: &str) -> Result<Reservation, Full> {
        let bounds = self.bounds.load();
        if self.closed.load(Ordering::Acquire) {
            return Err(Full::Gateway);
        }
        let mut devices = lock(&self.devices);
        if self.reserved.load(Ordering::Relaxed) >= bounds.total {
            return Err(Full::Gateway);
        }
        let device = match devices.get_key_value(device) {
            Some((_, count)) if *count >= bounds.per_device => return Err(Full::Device),
            Some((known, _)) => Arc::clone(known),
            None => device.into(),
        };
        let count = devices.entry(Arc::clone(&device)).or_default();
        *count = count.saturating_add(1);
        // Under the lock, so that the bound is exact.
        self.reserved.fetch_add(1, Ordering::Relaxed);
        drop(devices);
        Ok(Reservation {
            tunnels: Arc::clone(self),
            device,
        })
    }

    /// Puts a tunnel on the list.
    pub(super) fn register(self: &Arc<Self>, entry: Entry) -> Registered {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let now = self.now();
        let live = Arc::new(Live {
            entry,
            moved: AtomicU64::new(0),
            seen: AtomicU64::new(0),
            quiet_since: AtomicU64::new(now),
            since: now,
            cut: OnceLock::new(),
            waker: AtomicWaker::new(),
        });
        if let Some(shard) = self.shard(id) {
            lock(shard).insert(id, Arc::clone(&live));
        }
        if self.closed.load(Ordering::Acquire) {
            live.cut(Outcome::ShutDown);
        }
        Registered { id, live }
    }

    /// Tunnels that are open.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).len()).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Open tunnels per host, most first, at most `most`.
    pub fn by_destination(&self, most: usize) -> Vec<(Arc<str>, usize)> {
        let mut counts: Map<Arc<str>, usize> = Map::default();
        for shard in &self.shards {
            for live in lock(shard).values() {
                let count = counts.entry(Arc::clone(&live.entry.host)).or_default();
                *count = count.saturating_add(1);
            }
        }
        let mut counts: Vec<_> = counts.into_iter().collect();
        counts.sort_unstable_by(|(one, few), (other, many)| many.cmp(few).then(one.cmp(other)));
        counts.truncate(most);
        counts
    }

    /// Open tunnels per user, device, destination and policy version, most first, at most `most`.
    pub fn by_owner(&self, most: usize) -> Vec<(Held, usize)> {
        let mut counts: Map<Held, usize> = Map::default();
        for shard in &self.shards {
            for live in lock(shard).values() {
                let count = counts.entry(Held::of(&live.entry)).or_default();
                *count = count.saturating_add(1);
            }
        }
        let mut counts: Vec<_> = counts.into_iter().collect();
        counts.sort_unstable_by(|(one, few), (other, many)| many.cmp(few).then(one.cmp(other)));
        counts.truncate(most);
        counts
    }

    /// How many tunnels were cut for each reason since the start; only reasons that have happened.
    pub fn cuts(&self) -> impl Iterator<Item = (DenialReason, u64)> {
        let counts = self.cuts.iter().map(|count| count.load(Ordering::Relaxed));
        DenialReason::ALL
            .into_iter()
            .zip(counts)
            .filter(|(_, count)| *count > 0)
    }

    /// Looks after all tunnels until `stop`, which ends them. `changed` moves with every configuration and list.
    pub async fn sweep(
        self: Arc<Self>,
        mut changed: watch::Receiver<u64>,
        stop: CancellationToken,
    ) {
        let mut hears = true;
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                heard = changed.changed(), if hears => hears = heard.is_ok(),
                () = tokio::time::sleep(self.step()) => {}
            }
            // A walk over thousands must not keep anybody from stopping.
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = self.look_at_all() => {}
            }
        }
        self.closed.store(true, Ordering::Release);
        for shard in &self.shards {
            let all: Vec<_> = lock(shard).values().cloned().collect();
            for live in all {
                live.cut(Outcome::ShutDown);
            }
        }
    }

    fn step(&self) -> Duration {
        let bounds = self.bounds.load();
        bounds
            .recheck
            .min(bounds.idle)
            .min(bounds.lifetime.unwrap_or(bounds.recheck))
            .max(SHORTEST_STEP)
    }

    /// Asks about each tunnel once. No lock is held while a lease is asked.
    async fn look_at_all(&self) {
        let mut all = Vec::new();
        for shard in &self.shards {
            all.extend(lock(shard).values().cloned());
            for some in all.chunks(AT_ONCE) {
                let bounds = self.bounds.load_full();
                for live in some {
                    live.look(&bounds, self.now());
                }
                tokio::task::yield_now().await;
            }
            all.clear();
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn shard(&self, id: u64) -> Option<&Mutex<Map<u64, Arc<Live>>>> {
        let index = usize::try_from(id).unwrap_or_default() % SHARDS;
        self.shards.get(index)
    }

    fn count(&self, reason: DenialReason) {
        let place = DenialReason::ALL.iter().position(|known| *known == reason);
        if let Some(count) = place.and_then(|place| self.cuts.get(place)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Live {
    fn look(&self, bounds: &TunnelBounds, now: u64) {
        if self.cut.get().is_some() {
            return;
        }
        self.entry.lease.is_carried();
        if let Err(reason) = self.entry.lease.check() {
            return self.cut(Outcome::Cut(reason));
        }
        let longer_than = |since: u64, limit: Duration| {
            u128::from(now.saturating_sub(since)) >= limit.as_millis()
        };
        if bounds
            .lifetime
            .is_some_and(|limit| longer_than(self.since, limit))
        {
            return self.cut(ForwardError::TotalTimedOut.outcome());
        }
        let moved = self.moved.load(Ordering::Relaxed);
        if self.seen.swap(moved, Ordering::Relaxed) != moved {
            self.quiet_since.store(now, Ordering::Relaxed);
        } else if longer_than(self.quiet_since.load(Ordering::Relaxed), bounds.idle) {
            self.cut(ForwardError::IdleTimedOut.outcome());
        }
    }

    fn cut(&self, outcome: Outcome) {
        // The first word counts.
        let _ = self.cut.set(outcome);
        self.waker.wake();
    }
}

impl Registered {
    pub(super) fn entry(&self) -> &Entry {
        &self.live.entry
    }

    pub(super) fn moved(&self, bytes: u64) {
        self.live.moved.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Ready when the tunnel must end.
    pub(super) fn poll_cut(&self, cx: &mut Context<'_>) -> Poll<Outcome> {
        if let Some(outcome) = self.live.cut.get() {
            return Poll::Ready(*outcome);
        }
        self.live.waker.register(cx.waker());
        // Between the two somebody may have cut it, and woken nobody.
        match self.live.cut.get() {
            Some(outcome) => Poll::Ready(*outcome),
            None => Poll::Pending,
        }
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        let tunnels = Arc::clone(&self.live.entry.reservation.tunnels);
        if let Some(shard) = tunnels.shard(self.id) {
            lock(shard).remove(&self.id);
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut devices = lock(&self.tunnels.devices);
        self.tunnels.reserved.fetch_sub(1, Ordering::Relaxed);
        if let Some(count) = devices.get_mut(&self.device) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                devices.remove(&self.device);
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that can panic runs under these locks; what they guard stays usable.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Tunnels {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Tunnels")
            .field("open", &self.len())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Reservation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_tuple("Reservation")
            .field(&self.device)
            .finish()
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Entry")
            .field("device", &self.device())
            .field("principal", &self.principal.id())
            .field("host", &self.host)
            .field("port", &self.port)
            .field("policy", &self.policy.as_str())
            .finish_non_exhaustive()
    }
}
