//! What has begun and waits for its end: challenges, offers, half a sign-in. In memory only, bounded, for minutes, each
//! under a handle that nobody can guess and for the device that began it. A device that begins very many loses its own
//! oldest ones, not those of others.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use webauthn_rs::prelude::{
    DiscoverableAuthentication, PasskeyAuthentication, PasskeyRegistration,
};
use zeroize::Zeroizing;

use super::totp::SECRET_LEN;
use crate::accounts::Visit;
use crate::random::{self, Random};

/// Remembered at a time.
pub(crate) const MAX: usize = 4_096;
/// Remembered at a time of one device.
pub(crate) const MAX_PER_DEVICE: usize = 32;

const CEREMONY: Duration = Duration::from_secs(5 * 60);
const OFFER: Duration = Duration::from_secs(15 * 60);
const WELCOME: Duration = Duration::from_secs(30 * 60);
/// Wrong codes that a handle survives, but one.
const TRIES: u8 = 5;

/// What waits.
#[derive(Clone)]
pub(crate) enum Pending {
    Registration {
        account: Box<str>,
        state: Box<PasskeyRegistration>,
    },
    /// A sign-in with a passkey of a named account.
    Named {
        account: Box<str>,
        state: Box<PasskeyAuthentication>,
    },
    /// Of whichever account the authenticator knows.
    Discoverable(Box<DiscoverableAuthentication>),
    /// For a name that has no passkey, or that nobody has. Ends in a refusal.
    Invented,
    /// The password was right; a code is missing.
    Code {
        account: Box<str>,
        /// The hash that was right: with another password the first step is to be done again.
        hash: Box<str>,
        tries: u8,
    },
    Totp {
        account: Box<str>,
        secret: Zeroizing<[u8; SECRET_LEN]>,
        tries: u8,
    },
    Welcome {
        account: Box<str>,
        grounds: Grounds,
    },
}

/// Why somebody without a session may add a factor.
#[derive(Clone, Copy)]
pub(crate) enum Grounds {
    /// The link with that hash.
    Link([u8; 32]),
    /// A recovery code, which is used up.
    Recovery,
}

impl Pending {
    fn lifetime(&self) -> Duration {
        match self {
            Self::Registration { .. }
            | Self::Named { .. }
            | Self::Discoverable(_)
            | Self::Invented
            | Self::Code { .. } => CEREMONY,
            Self::Totp { .. } => OFFER,
            Self::Welcome { .. } => WELCOME,
        }
    }

    fn account(&self) -> Option<&str> {
        match self {
            Self::Registration { account, .. }
            | Self::Named { account, .. }
            | Self::Code { account, .. }
            | Self::Totp { account, .. }
            | Self::Welcome { account, .. } => Some(account),
            Self::Discoverable(_) | Self::Invented => None,
        }
    }

    fn tries(&mut self) -> Option<&mut u8> {
        match self {
            Self::Code { tries, .. } | Self::Totp { tries, .. } => Some(tries),
            Self::Registration { .. }
            | Self::Named { .. }
            | Self::Discoverable(_)
            | Self::Invented
            | Self::Welcome { .. } => None,
        }
    }
}

/// Everything that waits.
#[derive(Default)]
pub(crate) struct Ceremonies {
    slots: Mutex<HashMap<Key, Slot>>,
}

/// SHA-256 of the handle: looking it up tells nothing about the handles there are.
type Key = [u8; 32];

struct Slot {
    device: Box<str>,
    until: i64,
    pending: Pending,
}

impl Ceremonies {
    /// Remembers `pending`; returns its handle.
    pub(crate) fn begin(&self, pending: Pending, visit: Visit<'_>, random: &dyn Random) -> String {
        let handle = random::handle(random);
        let mut slots = self.slots();
        slots.retain(|_, slot| visit.now < slot.until);
        let of_device = slots.values().filter(|slot| *slot.device == *visit.device);
        if of_device.count() >= MAX_PER_DEVICE {
            evict(&mut slots, |slot| *slot.device == *visit.device);
        }
        if slots.len() >= MAX {
            evict(&mut slots, |_| true);
        }
        let slot = Slot {
            device: visit.device.into(),
            until: after(visit.now, pending.lifetime()),
            pending,
        };
        slots.insert(key(&handle), slot);
        handle
    }

    /// What waits under `handle`, if it still counts and `visit` is of the device that began it.
    pub(crate) fn peek(&self, handle: &str, visit: Visit<'_>) -> Option<Pending> {
        let slots = self.slots();
        let slot = slots.get(&key(handle))?;
        slot.counts(visit).then(|| slot.pending.clone())
    }

    /// The same, and nothing waits under `handle` any more. Another device takes nothing away.
    pub(crate) fn take(&self, handle: &str, visit: Visit<'_>) -> Option<Pending> {
        let mut slots = self.slots();
        let key = key(handle);
        if !slots.get(&key)?.counts(visit) {
            return None;
        }
        slots.remove(&key).map(|slot| slot.pending)
    }

    /// A code was wrong; after the fifth, `handle` is void.
    pub(crate) fn wrong(&self, handle: &str) {
        let mut slots = self.slots();
        let key = key(handle);
        let Some(tries) = slots.get_mut(&key).and_then(|slot| slot.pending.tries()) else {
            return;
        };
        *tries += 1;
        if *tries >= TRIES {
            slots.remove(&key);
        }
    }

    /// Nothing that waits for that account counts any more.
    pub(crate) fn forget(&self, account: &str) {
        self.slots()
            .retain(|_, slot| slot.pending.account() != Some(account));
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<Key, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot {
    fn counts(&self, visit: Visit<'_>) -> bool {
        visit.now < self.until && *self.device == *visit.device
    }
}

/// `now` and a while, in milliseconds.
pub(crate) fn after(now: i64, lifetime: Duration) -> i64 {
    now.saturating_add(i64::try_from(lifetime.as_millis()).unwrap_or(i64::MAX))
}

fn key(handle: &str) -> Key {
    let mut key = [0; 32];
    key.copy_from_slice(digest(&SHA256, handle.as_bytes()).as_ref());
    key
}

/// Removes the one of `those` that ends first.
fn evict(slots: &mut HashMap<Key, Slot>, those: impl Fn(&Slot) -> bool) {
    let first = slots
        .iter()
        .filter(|(_, slot)| those(slot))
        .min_by_key(|(_, slot)| slot.until)
        .map(|(key, _)| *key);
    if let Some(first) = first {
        slots.remove(&first);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounts::tests::Chance;

    fn visit(device: &str, now: i64) -> Visit<'_> {
        Visit { device, now }
    }

    fn code(account: &str) -> Pending {
        Pending::Code {
            account: account.into(),
            hash: "".into(),
            tries: 0,
        }
    }

    #[test]
    fn a_handle_counts_once_for_its_device_and_five_minutes() {
        let (all, random) = (Ceremonies::default(), Chance::default());
        let handle = all.begin(code("ada"), visit("laptop", 0), &random);
        assert!(all.peek(&handle, visit("phone", 0)).is_none());
        assert!(all.take(&handle, visit("phone", 0)).is_none());
        assert!(all.peek(&handle, visit("laptop", 299_999)).is_some());
        assert!(all.peek(&handle, visit("laptop", 300_000)).is_none());
        assert!(all.take(&handle, visit("laptop", 1)).is_some());
        assert!(all.take(&handle, visit("laptop", 1)).is_none());
    }

    #[test]
    fn five_wrong_codes_void_a_handle() {
        let (all, random) = (Ceremonies::default(), Chance::default());
        let handle = all.begin(code("ada"), visit("laptop", 0), &random);
        for _ in 0..4 {
            all.wrong(&handle);
        }
        assert!(all.peek(&handle, visit("laptop", 0)).is_some());
        all.wrong(&handle);
        assert!(all.peek(&handle, visit("laptop", 0)).is_none());
    }

    #[test]
    fn a_flood_of_one_device_costs_others_nothing() {
        let (all, random) = (Ceremonies::default(), Chance::default());
        let handle = all.begin(code("ada"), visit("laptop", 0), &random);
        for now in 1..10_000 {
            all.begin(Pending::Invented, visit("flood", now), &random);
        }
        assert!(all.peek(&handle, visit("laptop", 10_000)).is_some());
        assert_eq!(all.slots().len(), MAX_PER_DEVICE + 1);
    }

    #[test]
    fn many_devices_together_stay_within_bounds() {
        let (all, random) = (Ceremonies::default(), Chance::default());
        for now in 0..(MAX as i64 + 100) {
            all.begin(Pending::Invented, visit(&format!("d{now}"), now), &random);
        }
        assert_eq!(all.slots().len(), MAX);
    }

    #[test]
    fn forgetting_an_account_leaves_others() {
        let (all, random) = (Ceremonies::default(), Chance::default());
        let ada = all.begin(code("ada"), visit("laptop", 0), &random);
        let bob = all.begin(code("bob"), visit("laptop", 0), &random);
        all.forget("ada");
        assert!(all.peek(&ada, visit("laptop", 0)).is_none());
        assert!(all.peek(&bob, visit("laptop", 0)).is_some());
    }
}
