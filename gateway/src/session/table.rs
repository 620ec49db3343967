//! From the hash of a cookie's secret to its session: read by every request without a lock, written when somebody signs in
//! or out.
//!
//! Each shard is a map that is never changed but replaced. A look-up costs one hash and one probe; a change copies one
//! shard, a 256th of everything.

use std::sync::Arc;

use ahash::AHashMap;
use arc_swap::ArcSwap;

use super::Session;
use super::cookie::Key;

type Shard = AHashMap<Key, Arc<Session>>;

const SHARDS: usize = 256;

/// INVARIANT: changed only under the lock of the book, so that no change is lost between copy and store.
pub(super) struct Table(Vec<ArcSwap<Shard>>);

impl Default for Table {
    fn default() -> Self {
        Self((0..SHARDS).map(|_| ArcSwap::default()).collect())
    }
}

impl Table {
    pub(super) fn find(&self, key: &Key) -> Option<Arc<Session>> {
        self.shard(key)?.load().get(key).map(Arc::clone)
    }

    pub(super) fn insert(&self, key: Key, session: Arc<Session>) {
        self.change(&key, |shard| {
            shard.insert(key, session);
        });
    }

    pub(super) fn remove(&self, key: &Key) {
        self.change(key, |shard| {
            shard.remove(key);
        });
    }

    fn change(&self, key: &Key, change: impl FnOnce(&mut Shard)) {
        if let Some(shard) = self.shard(key) {
            let mut copy = Shard::clone(&shard.load());
            change(&mut copy);
            shard.store(Arc::new(copy));
        }
    }

    /// The first byte of a SHA-256 spreads them evenly.
    fn shard(&self, key: &Key) -> Option<&ArcSwap<Shard>> {
        let [first, ..] = key.0;
        self.0.get(usize::from(first))
    }
}
