//! What one client may ask of us: rate limits, lockout after failed credentials, and slots for connections.
//!
//! All three keep state per key that a client chooses (an address, a name), so all three are bounded in memory, and
//! all three become narrower, never wider, when the bound is reached.

pub mod admission;
pub mod lockout;
pub mod prefix;
pub mod quota;
mod store;

#[cfg(test)]
pub(crate) mod by_hand;

pub use admission::{Admission, AdmissionRefusal, ConnectionSlot, HandshakeSlot};
pub use lockout::{Failed, LockedOut, Lockout, LockoutEntry, Source};
pub use prefix::AddressPrefix;
pub use quota::{AppLimits, Exceeded, LimitSubject, Limits};

use crate::capability::Entropy;

/// A hasher with a secret of its own, so that nobody can choose keys that collide.
fn keyed_hasher(entropy: &dyn Entropy) -> ahash::RandomState {
    let mut seed = [0; 32];
    entropy.fill(&mut seed);
    let mut words = seed
        .as_chunks::<8>()
        .0
        .iter()
        .copied()
        .map(u64::from_le_bytes);
    let mut word = || words.next().unwrap_or_default();
    ahash::RandomState::with_seeds(word(), word(), word(), word())
}
