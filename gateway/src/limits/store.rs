//! Where the rate limiter keeps one number per key, in bounded memory.
//!
//! The limiter's own keyed maps grow with every key they see and never refuse one. Here keys are hashes already, each
//! shard takes a fixed number of them, and whoever comes when a shard is full shares one bucket with all the others who
//! do: limits get narrower under a flood of invented keys, and memory does not grow.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::state::keyed::ShrinkableKeyedStateStore;

use crate::metrics::LimitMetrics;

const SHARDS: usize = 16;

type Shard = HashMap<u64, Nanos, BuildHasherDefault<AlreadyHashed>>;

/// Theoretical arrival times by keyed hash. Clones share them, because the limiter keeps its store to itself.
#[derive(Clone, Debug)]
pub(super) struct KeyStore(Arc<Shards>);

#[derive(Debug)]
struct Shards {
    shards: [Mutex<Shard>; SHARDS],
    per_shard: usize,
    /// Shared by every key that found its shard full.
    overflow: Mutex<Option<Nanos>>,
    metrics: Arc<LimitMetrics>,
}

impl KeyStore {
    /// Room for `max_keys`, rounded up to a multiple of the number of shards.
    pub(super) fn new(max_keys: usize, metrics: Arc<LimitMetrics>) -> Self {
        Self(Arc::new(Shards {
            shards: Default::default(),
            per_shard: max_keys.div_ceil(SHARDS).max(1),
            overflow: Mutex::default(),
            metrics,
        }))
    }

    /// Gives back one request of weight `interval`, for a request that another limit refused.
    pub(super) fn refund(&self, key: u64, interval: Nanos) {
        // A key that sits in the shared bucket gets nothing back: only narrower, and it need not be remembered who it was.
        if let Some(arrival) = self.shard(key).get_mut(&key) {
            *arrival = arrival.saturating_sub(interval);
        }
    }

    fn shard(&self, key: u64) -> MutexGuard<'_, Shard> {
        // The map inside uses the lowest and the highest bits.
        let index = usize::try_from((key >> 40) % (SHARDS as u64)).unwrap_or_default();
        #[expect(clippy::indexing_slicing, reason = "a remainder of the array's length")]
        let shard = &self.0.shards[index];
        lock(shard)
    }
}

/// A panic while the lock was held leaves at worst one number unset; refusing everybody afterwards would be worse.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl StateStore for KeyStore {
    type Key = u64;

    fn measure_and_replace<T, F, E>(&self, key: &u64, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let mut shard = self.shard(*key);
        if let Some(arrival) = shard.get_mut(key) {
            let (answer, next) = decide(Some(*arrival))?;
            *arrival = next;
            return Ok(answer);
        }
        if shard.len() < self.0.per_shard {
            let (answer, next) = decide(None)?;
            shard.insert(*key, next);
            return Ok(answer);
        }
        drop(shard);
        self.0.metrics.overflowed.increment();
        let mut shared = lock(&self.0.overflow);
        let (answer, next) = decide(*shared)?;
        *shared = Some(next);
        Ok(answer)
    }
}

impl ShrinkableKeyedStateStore<u64> for KeyStore {
    fn retain_recent(&self, drop_below: Nanos) {
        for shard in &self.0.shards {
            let mut shard = lock(shard);
            shard.retain(|_, arrival| *arrival > drop_below);
            // Give memory back after a flood, but not for every lull.
            if shard.capacity() > 64 && shard.len() < shard.capacity() / 8 {
                let keep = shard.len() * 2;
                shard.shrink_to(keep);
            }
        }
    }

    fn len(&self) -> usize {
        self.0.shards.iter().map(|shard| lock(shard).len()).sum()
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Keys are keyed hashes; hashing them again would buy nothing.
#[derive(Default)]
pub(super) struct AlreadyHashed(u64);

impl Hasher for AlreadyHashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }
}
