//! What failures lead to, by name *and* device: growing delays, then a lock. Counting by name alone would let anybody lock
//! anybody out; here an attacker at another device locks out nobody but that device. Names that nobody has are counted
//! like others, so that a lock does not tell them apart.
//!
//! What this does not stop, many devices guessing one factor of one account, ends at a ceiling that the account itself
//! remembers ([`CEILING`]). One device guessing at many names is stopped by its sum over all names.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};

use crate::accounts::{LockoutRules, Visit};
use crate::factors::ceremony::after;

/// Failures of one factor in a row, wherever from, after which it counts no more until another factor or a reset. NIST SP
/// 800-63B §5.2.2 allows at most 100; the rest is for attempts that are under way at the same time.
pub(crate) const CEILING: u32 = 90;

/// Name and device pairs that are remembered at a time.
const MAX_ENTRIES: usize = 8_192;
/// Failures remembered of each.
const MAX_FAILURES: usize = 256;
/// A device may fail this many times as often in sum as for one name: terminals are shared.
const SHARED: u32 = 10;

/// What is guessed at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Guess {
    Password,
    /// Of the app or of the recovery list, after the password.
    Code,
    /// A recovery code alone.
    Recovery,
}

/// Too many failures, for the time being.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LockedOut {
    pub(crate) retry_after: Duration,
    /// The lock rather than a delay.
    pub(crate) locked: bool,
}

/// Failures, in memory: a restart forgives delays and locks but not what counts for the ceiling.
#[derive(Default)]
pub(crate) struct Lockout {
    table: Mutex<HashMap<Key, Entry>>,
    /// Failures in a row for names that nobody has, so that these reach the ceiling, too.
    nobody: Mutex<HashMap<([u8; 16], Guess), u32>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    /// Hash of the name; zero for the sum over all names.
    name: [u8; 16],
    device: [u8; 16],
    guess: Guess,
}

#[derive(Default)]
struct Entry {
    /// Times, oldest first.
    failures: VecDeque<i64>,
    blocked_until: i64,
    locked: bool,
    /// Attempts that have begun and not ended. They count as failures until they do: otherwise a hundred at once would
    /// all pass before the first has failed.
    under_way: u32,
}

/// An attempt that was let through. Dropped without a word, it counts as a failure.
pub(crate) struct Attempt {
    lockout: Arc<Lockout>,
    rules: LockoutRules,
    keys: [Key; 2],
    now: i64,
    ended: bool,
}

impl Lockout {
    /// Lets an attempt at `name` begin, or not yet.
    ///
    /// # Errors
    /// [`LockedOut`].
    pub(crate) fn begin(
        self: &Arc<Self>,
        name: &str,
        guess: Guess,
        visit: Visit<'_>,
        rules: &LockoutRules,
    ) -> Result<Attempt, LockedOut> {
        let device = hash(&[b"device", visit.device.as_bytes()]);
        let keys = [
            Key {
                name: hash(&[b"name", name.as_bytes()]),
                device,
                guess,
            },
            Key {
                name: [0; 16],
                device,
                guess,
            },
        ];
        let [own, sum] = keys;
        let mut table = self.table();
        for (key, factor) in [(own, 1), (sum, SHARED)] {
            if let Some(entry) = table.get_mut(&key) {
                entry.check(rules, factor, visit.now)?;
            }
        }
        make_room(&mut table, rules, visit.now, [own, sum])?;
        for key in keys {
            table.entry(key).or_default().under_way += 1;
        }
        Ok(Attempt {
            lockout: Arc::clone(self),
            rules: rules.clone(),
            keys,
            now: visit.now,
            ended: false,
        })
    }

    /// Forgets all failures for `name`, also locks: an administrator made a new start of it.
    pub(crate) fn forget(&self, name: &str) {
        let name = hash(&[b"name", name.as_bytes()]);
        self.table().retain(|key, _| key.name != name);
    }

    /// How often somebody failed for a name that nobody has.
    pub(crate) fn failures_of_nobody(&self, name: &str, guess: Guess) -> u32 {
        let key = (hash(&[b"name", name.as_bytes()]), guess);
        self.nobody().get(&key).copied().unwrap_or_default()
    }

    /// Once more. The new number.
    pub(crate) fn nobody_failed(&self, name: &str, guess: Guess) -> u32 {
        let key = (hash(&[b"name", name.as_bytes()]), guess);
        let mut nobody = self.nobody();
        if nobody.len() >= MAX_ENTRIES && !nobody.contains_key(&key) {
            let fewest = nobody.iter().min_by_key(|(_, count)| **count);
            if let Some(fewest) = fewest.map(|(key, _)| *key) {
                nobody.remove(&fewest);
            }
        }
        let count = nobody.entry(key).or_default();
        *count = count.saturating_add(1);
        *count
    }

    fn nobody(&self) -> MutexGuard<'_, HashMap<([u8; 16], Guess), u32>> {
        self.nobody.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn table(&self) -> MutexGuard<'_, HashMap<Key, Entry>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Attempt {
    /// It was right. Clears the slate of this name at this device; lifts no lock. The device's sum stays: whoever owns one
    /// good account could otherwise guess at others for ever.
    pub(crate) fn succeeded(mut self) {
        self.ended = true;
        let [own, sum] = self.keys;
        let mut table = self.lockout.table();
        for key in [own, sum] {
            if let Some(entry) = table.get_mut(&key) {
                entry.under_way = entry.under_way.saturating_sub(1);
                if key == own && !entry.is_locked(self.now) {
                    entry.failures.clear();
                    entry.blocked_until = 0;
                }
                if entry.failures.is_empty() && entry.under_way == 0 {
                    table.remove(&key);
                }
            }
        }
    }

    /// Nothing was tried: it counts neither way.
    pub(crate) fn withdrawn(mut self) {
        self.ended = true;
        let mut table = self.lockout.table();
        for key in self.keys {
            if let Some(entry) = table.get_mut(&key) {
                entry.under_way = entry.under_way.saturating_sub(1);
            }
        }
    }

    /// It was wrong; the lock, if this was the failure that led to it.
    pub(crate) fn failed(mut self) -> Option<Duration> {
        self.fail()
    }

    fn fail(&mut self) -> Option<Duration> {
        self.ended = true;
        let mut table = self.lockout.table();
        let mut lock = None;
        for (key, factor) in self.keys.into_iter().zip([1, SHARED]) {
            let entry = table.entry(key).or_default();
            entry.under_way = entry.under_way.saturating_sub(1);
            if entry.failed(&self.rules, factor, self.now) {
                lock = Some(self.rules.lock);
            }
        }
        lock
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if !self.ended {
            self.fail();
        }
    }
}

impl Entry {
    fn check(&mut self, rules: &LockoutRules, factor: u32, now: i64) -> Result<(), LockedOut> {
        if now < self.blocked_until {
            let left = u64::try_from(self.blocked_until.saturating_sub(now)).unwrap_or(0);
            return Err(LockedOut {
                retry_after: Duration::from_millis(left),
                locked: self.locked,
            });
        }
        self.forget_old(rules, now);
        // Beyond the free failures, one at a time.
        if self.under_way > 0
            && self.count() + self.under_way >= rules.free_failures.saturating_mul(factor).max(1)
        {
            return Err(LockedOut {
                retry_after: Duration::from_secs(1),
                locked: false,
            });
        }
        Ok(())
    }

    /// Whether this was the failure that locked.
    fn failed(&mut self, rules: &LockoutRules, factor: u32, now: i64) -> bool {
        self.forget_old(rules, now);
        let most = MAX_FAILURES * factor as usize;
        if self.failures.len() >= most {
            self.failures.pop_front();
        }
        self.failures.push_back(now);
        let lock_after = rules
            .lock_after
            .min(MAX_FAILURES as u32)
            .saturating_mul(factor);
        if self.count() >= lock_after {
            let news = !self.is_locked(now);
            self.block(now, rules.lock);
            self.locked = true;
            return news;
        }
        let free = rules.free_failures.saturating_mul(factor);
        if let Some(beyond) = self.count().checked_sub(free).filter(|beyond| *beyond > 0) {
            let delay = rules
                .first_delay
                .saturating_mul(2_u32.saturating_pow(beyond - 1))
                .min(rules.max_delay);
            self.block(now, delay);
        }
        false
    }

    fn block(&mut self, now: i64, delay: Duration) {
        // A later, shorter delay never ends an earlier one.
        self.blocked_until = self.blocked_until.max(after(now, delay));
    }

    fn forget_old(&mut self, rules: &LockoutRules, now: i64) {
        let window = i64::try_from(rules.window.as_millis()).unwrap_or(i64::MAX);
        while self
            .failures
            .front()
            .is_some_and(|first| now.saturating_sub(*first) > window)
        {
            self.failures.pop_front();
        }
        if now >= self.blocked_until {
            self.locked = false;
        }
    }

    fn count(&self) -> u32 {
        u32::try_from(self.failures.len()).unwrap_or(u32::MAX)
    }

    fn is_locked(&self, now: i64) -> bool {
        self.locked && now < self.blocked_until
    }

    fn is_outdated(&mut self, rules: &LockoutRules, now: i64) -> bool {
        self.forget_old(rules, now);
        self.under_way == 0 && self.failures.is_empty() && now >= self.blocked_until
    }
}

/// Makes room for two more: what is outdated goes, or else the pair that failed longest ago and is not blocked. Where all
/// are blocked, a newcomer has to wait: that takes thousands of devices or names that were guessed at.
fn make_room(
    table: &mut HashMap<Key, Entry>,
    rules: &LockoutRules,
    now: i64,
    wanted: [Key; 2],
) -> Result<(), LockedOut> {
    let missing = wanted
        .iter()
        .filter(|key| !table.contains_key(*key))
        .count();
    if table.len() + missing <= MAX_ENTRIES {
        return Ok(());
    }
    table.retain(|_, entry| !entry.is_outdated(rules, now));
    while table.len() + missing > MAX_ENTRIES {
        let oldest = table
            .iter()
            .filter(|(key, entry)| {
                // The sums stay: they are what stops a device that goes through names.
                entry.under_way == 0 && now >= entry.blocked_until && key.name != [0; 16]
            })
            .filter(|(key, _)| !wanted.contains(key))
            .min_by_key(|(_, entry)| entry.failures.back().copied())
            .map(|(key, _)| *key);
        let Some(oldest) = oldest else {
            return Err(LockedOut {
                retry_after: rules.max_delay.max(Duration::from_secs(1)),
                locked: false,
            });
        };
        table.remove(&oldest);
    }
    Ok(())
}

fn hash(parts: &[&[u8]]) -> [u8; 16] {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(part);
        context.update(&[0]);
    }
    let mut half = [0; 16];
    half.copy_from_slice(context.finish().as_ref().get(..16).unwrap_or(&[0; 16]));
    half
}

#[cfg(test)]
mod tests;
