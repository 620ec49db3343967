//! Things kept in memory for a while: bounded, each for the same time, found by the hash of a secret. What is over, or
//! pushed out by newer things, is as if it had never been.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use aws_lc_rs::digest::{SHA256, digest};

/// SHA-256 of the secret by which something is found. Looking up a hash tells nothing by its duration.
pub(crate) type Name = [u8; 32];

/// The name of what a secret leads to.
pub(crate) fn name_of(secret: &str) -> Name {
    let mut name = [0; 32];
    name.copy_from_slice(digest(&SHA256, secret.as_bytes()).as_ref());
    name
}

/// Things of one kind.
pub(crate) struct Shelf<T> {
    /// Milliseconds.
    lifetime: i64,
    capacity: usize,
    inner: Mutex<Inner<T>>,
}

struct Inner<T> {
    things: HashMap<Name, Thing<T>>,
    // INVARIANT: oldest first; every thing of `things` is in it once with its `ends_at`.
    order: VecDeque<(i64, Name)>,
}

struct Thing<T> {
    ends_at: i64,
    value: T,
}

impl<T> Shelf<T> {
    /// `lifetime` in milliseconds; the oldest thing goes when there would be more than `capacity`.
    pub(crate) fn new(lifetime: i64, capacity: usize) -> Self {
        Self {
            lifetime,
            capacity,
            inner: Mutex::new(Inner {
                things: HashMap::new(),
                order: VecDeque::new(),
            }),
        }
    }

    /// Puts `value` under `name`, at the place of what was there.
    pub(crate) fn put(&self, name: Name, value: T, now: i64) {
        let ends_at = now.saturating_add(self.lifetime);
        self.with(now, |inner| {
            if inner.things.remove(&name).is_some() {
                inner.order.retain(|(_, other)| *other != name);
            }
            while inner.things.len() >= self.capacity {
                let Some((_, oldest)) = inner.order.pop_front() else {
                    break;
                };
                inner.things.remove(&oldest);
            }
            inner.things.insert(name, Thing { ends_at, value });
            inner.order.push_back((ends_at, name));
        });
    }

    /// Takes it away: it can be taken once.
    pub(crate) fn take(&self, name: &Name, now: i64) -> Option<T> {
        self.with(now, |inner| {
            let thing = inner.things.remove(name)?;
            inner.order.retain(|(_, other)| other != name);
            (thing.ends_at > now).then_some(thing.value)
        })
    }

    /// Looks at it, or changes it, where it lies.
    pub(crate) fn at<R>(&self, name: &Name, now: i64, look: impl FnOnce(&mut T) -> R) -> Option<R> {
        self.with(now, |inner| {
            let thing = inner.things.get_mut(name)?;
            (thing.ends_at > now).then(|| look(&mut thing.value))
        })
    }

    /// Forgets what `over` says is over.
    pub(crate) fn forget(&self, now: i64, over: impl Fn(&T) -> bool) {
        self.with(now, |inner| {
            inner.things.retain(|_, thing| !over(&thing.value));
            let Inner { things, order } = inner;
            order.retain(|(_, name)| things.contains_key(name));
        });
    }

    /// Forgets the oldest of those that `alike` names, as long as there are more than `most` of them.
    pub(crate) fn thin_out(&self, now: i64, most: usize, alike: impl Fn(&T) -> bool) {
        self.with(now, |inner| {
            let Inner { things, order } = inner;
            let is_alike = |name: &Name| things.get(name).is_some_and(|thing| alike(&thing.value));
            let found: Vec<Name> = order
                .iter()
                .map(|(_, name)| *name)
                .filter(is_alike)
                .collect();
            for name in found.iter().take(found.len().saturating_sub(most)) {
                things.remove(name);
            }
            order.retain(|(_, name)| things.contains_key(name));
        });
    }

    fn with<R>(&self, now: i64, act: impl FnOnce(&mut Inner<T>) -> R) -> R {
        // What panicked under the lock was a look, not a change of the bookkeeping; it stays true.
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some((ends_at, name)) = inner.order.front().copied() {
            if ends_at > now {
                break;
            }
            inner.order.pop_front();
            inner.things.remove(&name);
        }
        act(&mut inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shelf() -> Shelf<u32> {
        Shelf::new(100, 3)
    }

    #[test]
    fn a_thing_is_taken_once() {
        let shelf = shelf();
        shelf.put(name_of("a"), 1, 0);
        assert_eq!(shelf.take(&name_of("b"), 1), None);
        assert_eq!(shelf.take(&name_of("a"), 1), Some(1));
        assert_eq!(shelf.take(&name_of("a"), 1), None);
    }

    #[test]
    fn a_thing_is_over_when_its_time_is() {
        let shelf = shelf();
        shelf.put(name_of("a"), 1, 0);
        assert_eq!(shelf.at(&name_of("a"), 99, |it| *it), Some(1));
        assert_eq!(shelf.at(&name_of("a"), 100, |it| *it), None);
        // A clock that goes back does not bring it back.
        assert_eq!(shelf.take(&name_of("a"), 50), None);
    }

    #[test]
    fn the_oldest_goes_first() {
        let shelf = shelf();
        for (at, name) in ["a", "b", "c", "d"].into_iter().enumerate() {
            shelf.put(name_of(name), 0, i64::try_from(at).unwrap());
        }
        assert_eq!(shelf.take(&name_of("a"), 5), None);
        assert_eq!(shelf.take(&name_of("b"), 5), Some(0));
    }

    #[test]
    fn one_owner_cannot_push_out_the_others() {
        let shelf = Shelf::new(100, 10);
        shelf.put(name_of("mine"), 1, 0);
        for at in 1..8 {
            shelf.put(name_of(&format!("theirs {at}")), 2, at);
            shelf.thin_out(at, 2, |owner| *owner == 2);
        }
        assert_eq!(shelf.at(&name_of("theirs 5"), 9, |it| *it), None);
        assert_eq!(shelf.at(&name_of("theirs 6"), 9, |it| *it), Some(2));
        assert_eq!(shelf.at(&name_of("mine"), 9, |it| *it), Some(1));
    }

    #[test]
    fn what_is_put_again_lasts_anew() {
        let shelf = shelf();
        shelf.put(name_of("a"), 1, 0);
        shelf.put(name_of("a"), 2, 50);
        assert_eq!(shelf.at(&name_of("a"), 120, |it| *it), Some(2));
        shelf.forget(120, |it| *it == 2);
        assert_eq!(shelf.take(&name_of("a"), 120), None);
    }
}
