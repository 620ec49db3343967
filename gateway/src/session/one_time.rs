//! Things that count once and for a short time: sign-ins under way, hand-over codes.
//!
//! Bounded, because strangers with an enrolled device can begin as many as they like: each device has a share, within which
//! its own oldest goes first, so that none can push out another's.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ahash::AHashMap;
use masugata_policy::Timestamp;

use super::cookie::Key;

/// See the module's first lines.
pub(crate) struct OneTime<T> {
    lifetime: Duration,
    /// For one device.
    share: usize,
    /// For all.
    most: usize,
    kept: Mutex<Kept<T>>,
}

struct Kept<T> {
    by_key: AHashMap<Key, Thing<T>>,
    /// The oldest first; may name what is gone.
    order: VecDeque<Key>,
    by_device: AHashMap<Box<str>, VecDeque<Key>>,
}

struct Thing<T> {
    made_at: Timestamp,
    device: Box<str>,
    it: T,
}

impl<T> OneTime<T> {
    pub(crate) fn new(lifetime: Duration, share: usize, most: usize) -> Self {
        Self {
            lifetime,
            share,
            most,
            kept: Mutex::new(Kept {
                by_key: AHashMap::new(),
                order: VecDeque::new(),
                by_device: AHashMap::new(),
            }),
        }
    }

    /// Keeps `it` until it is taken, is too old, or the device has too many.
    pub(crate) fn put(&self, key: Key, device: &str, it: T, now: Timestamp) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = &mut *kept;
        kept.sweep(now, self.lifetime);
        let of_device = kept.by_device.get(device).map_or(0, VecDeque::len);
        if of_device >= self.share {
            let oldest = kept.by_device.get(device).and_then(|keys| keys.front());
            if let Some(oldest) = oldest.copied() {
                kept.take(&oldest);
            }
        }
        // What was taken early stays in the order until its time comes.
        if kept.order.len() >= 2 * self.most {
            let by_key = &kept.by_key;
            kept.order.retain(|key| by_key.contains_key(key));
        }
        while kept.by_key.len() >= self.most {
            let Some(oldest) = kept.order.pop_front() else {
                break;
            };
            kept.take(&oldest);
        }
        let thing = Thing {
            made_at: now,
            device: device.into(),
            it,
        };
        kept.by_key.insert(key, thing);
        kept.order.push_back(key);
        let keys = kept.by_device.entry(device.into()).or_default();
        keys.push_back(key);
    }

    /// Takes it: nobody gets it a second time, also when it turns out to be too old.
    pub(crate) fn take(&self, key: &Key, now: Timestamp) -> Option<T> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let thing = kept.take(key)?;
        is_young(thing.made_at, self.lifetime, now).then_some(thing.it)
    }
}

fn is_young(made_at: Timestamp, lifetime: Duration, now: Timestamp) -> bool {
    // A clock that was set back makes nothing last longer.
    made_at <= now && now < made_at.plus(lifetime)
}

impl<T> Kept<T> {
    fn take(&mut self, key: &Key) -> Option<Thing<T>> {
        let thing = self.by_key.remove(key)?;
        if let Some(keys) = self.by_device.get_mut(&thing.device) {
            keys.retain(|other| other != key);
            if keys.is_empty() {
                self.by_device.remove(&thing.device);
            }
        }
        Some(thing)
    }

    fn sweep(&mut self, now: Timestamp, lifetime: Duration) {
        while let Some(oldest) = self.order.front().copied() {
            let made_at = self.by_key.get(&oldest).map(|thing| thing.made_at);
            if made_at.is_some_and(|at| is_young(at, lifetime, now)) {
                break;
            }
            self.order.pop_front();
            self.take(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    fn key(number: u32) -> Key {
        let mut key = [0; 32];
        key[..4].copy_from_slice(&number.to_be_bytes());
        Key(key)
    }

    fn table() -> OneTime<u32> {
        OneTime::new(Duration::from_secs(60), 3, 10)
    }

    #[test]
    fn a_thing_is_taken_once() {
        let table = table();
        table.put(key(1), "laptop", 1, at(0));
        assert_eq!(table.take(&key(1), at(59)), Some(1));
        assert_eq!(table.take(&key(1), at(59)), None);
    }

    #[test]
    fn a_thing_ages_and_a_clock_set_back_does_not_help() {
        let table = table();
        table.put(key(1), "laptop", 1, at(0));
        assert_eq!(table.take(&key(1), at(60)), None);
        table.put(key(2), "laptop", 2, at(100));
        assert_eq!(table.take(&key(2), at(99)), None);
    }

    // Attack: one device begins as many as it can, to make those of others fail.
    #[test]
    fn a_device_pushes_out_only_its_own() {
        let table = table();
        table.put(key(0), "victim", 0, at(0));
        for number in 1..1000 {
            table.put(key(number), "attacker", number, at(1));
        }
        assert_eq!(table.take(&key(0), at(2)), Some(0));
        assert_eq!(table.take(&key(996), at(2)), None);
        assert_eq!(table.take(&key(997), at(2)), Some(997));
        assert!(table.kept.lock().unwrap().order.len() <= 20);
    }

    #[test]
    fn there_are_never_more_than_are_kept_for_all() {
        let table = table();
        for number in 0..100 {
            table.put(key(number), &format!("device-{number}"), number, at(0));
        }
        let kept = table.kept.lock().unwrap();
        assert_eq!(kept.by_key.len(), 10);
        assert_eq!(kept.by_device.len(), 10);
        assert!(kept.order.len() <= 20);
    }

    #[test]
    fn what_is_too_old_leaves_nothing_behind() {
        let table = table();
        for number in 0..50_u32 {
            table.put(key(number), "laptop", number, at(i64::from(number) * 100));
        }
        let kept = table.kept.lock().unwrap();
        assert_eq!((kept.by_key.len(), kept.order.len()), (1, 1));
    }
}
