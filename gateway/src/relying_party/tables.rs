//! What must not come twice: logout tokens, and refresh tokens that were replaced. Bounded, in memory, by hash; lives on
//! over reloads.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use aws_lc_rs::digest;
use masugata_policy::Timestamp;

/// Logout tokens remembered; each counts for some ten minutes, and only the provider can make one.
const LOGOUTS: usize = 65_536;

/// Replaced refresh tokens remembered; the oldest make room.
const REPLACED: usize = 65_536;

type Hash = [u8; 32];

/// See the module's first lines.
#[derive(Default)]
pub(super) struct Tables {
    logouts: Mutex<HashMap<Hash, Timestamp>>,
    refreshes: Mutex<Refreshes>,
}

#[derive(Default)]
struct Refreshes {
    replaced: HashSet<Hash>,
    in_order: VecDeque<Hash>,
    asking: HashSet<Hash>,
}

/// A refresh token that is being used; dropped when that is over.
pub(super) struct Asking<'a> {
    tables: &'a Tables,
    token: Hash,
}

/// Why a refresh token is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotNow {
    /// It was replaced by another.
    Replaced,
    /// It is being used at this moment.
    Busy,
}

impl Tables {
    /// Whether the logout token of that id is new; remembered until `over_at`, after which its age is enough to refuse it.
    pub(super) fn is_first(&self, token_id: &str, over_at: Timestamp, now: Timestamp) -> bool {
        let mut logouts = lock(&self.logouts);
        if logouts.len() >= LOGOUTS {
            logouts.retain(|_, over_at| *over_at > now);
        }
        if logouts.len() >= LOGOUTS {
            // A repeated logout ends a session too many; a refused one leaves a session too many.
            let oldest = logouts.iter().min_by_key(|(_, over_at)| **over_at);
            if let Some(oldest) = oldest.map(|(id, _)| *id) {
                logouts.remove(&oldest);
            }
        }
        logouts.insert(hash(token_id), over_at).is_none()
    }

    /// Begins to use a refresh token.
    /// # Errors: it must not be used.
    pub(super) fn ask(&self, token: &str) -> Result<Asking<'_>, NotNow> {
        let token = hash(token);
        let mut refreshes = lock(&self.refreshes);
        if refreshes.replaced.contains(&token) {
            return Err(NotNow::Replaced);
        }
        if !refreshes.asking.insert(token) {
            return Err(NotNow::Busy);
        }
        Ok(Asking {
            tables: self,
            token,
        })
    }
}

impl Asking<'_> {
    /// Notes that `next` takes this token's place; false when `next` itself was replaced before.
    #[must_use]
    pub(super) fn replaced_by(&self, next: &str) -> bool {
        let next = hash(next);
        if next == self.token {
            return true;
        }
        let mut refreshes = lock(&self.tables.refreshes);
        if refreshes.replaced.insert(self.token) {
            refreshes.in_order.push_back(self.token);
        }
        if refreshes.in_order.len() > REPLACED
            && let Some(oldest) = refreshes.in_order.pop_front()
        {
            refreshes.replaced.remove(&oldest);
        }
        !refreshes.replaced.contains(&next)
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        lock(&self.tables.refreshes).asking.remove(&self.token);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn hash(text: &str) -> Hash {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, text.as_bytes()).as_ref());
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    #[test]
    fn a_logout_token_counts_once() {
        let tables = Tables::default();
        assert!(tables.is_first("a", at(600), at(0)));
        assert!(!tables.is_first("a", at(600), at(1)));
        assert!(tables.is_first("b", at(600), at(1)));
    }

    #[test]
    fn a_full_table_forgets_the_oldest_and_stays_bounded() {
        let tables = Tables::default();
        for number in 0..LOGOUTS {
            let over_at = at(1_000 + i64::try_from(number).unwrap());
            assert!(tables.is_first(&number.to_string(), over_at, at(0)));
        }
        assert!(tables.is_first("one more", at(900_000), at(0)));
        assert_eq!(lock(&tables.logouts).len(), LOGOUTS);
        assert!(!tables.is_first("1", at(900_000), at(0)));
        assert!(tables.is_first("0", at(900_000), at(0)), "forgotten");
    }

    #[test]
    fn a_replaced_token_is_never_used_again() {
        let tables = Tables::default();
        let asking = tables.ask("one").ok().unwrap();
        assert_eq!(tables.ask("one").err(), Some(NotNow::Busy));
        assert!(asking.replaced_by("two"));
        drop(asking);
        assert_eq!(tables.ask("one").err(), Some(NotNow::Replaced));
        let asking = tables.ask("two").ok().unwrap();
        assert!(!asking.replaced_by("one"), "it came back");
    }

    #[test]
    fn a_token_that_stays_is_not_replaced() {
        let tables = Tables::default();
        let asking = tables.ask("one").ok().unwrap();
        assert!(asking.replaced_by("one"));
        drop(asking);
        assert!(tables.ask("one").is_ok());
    }
}
