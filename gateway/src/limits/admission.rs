//! Slots for connections: how many one address, and all together, may hold, counted before any cryptography.
//!
//! A slot is a value; dropping it frees it, on every path. Counts are exact: a slot is granted and counted under one
//! lock per address, so that a thousand simultaneous connections from one address cannot slip past the cap together.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::prefix::AddressPrefix;
use crate::capability::Entropy;
use crate::config::Bounds;

const SHARDS: usize = 16;

/// Counts connections and unfinished handshakes by address (IPv4 address or IPv6 /64). Lives as long as the process;
/// a reload changes the caps and keeps the counts.
#[derive(Debug)]
pub struct Admission {
    shards: [Mutex<Shard>; SHARDS],
    hasher: ahash::RandomState,
    connections: AtomicUsize,
    max_connections: AtomicUsize,
    max_connections_per_address: AtomicUsize,
    max_handshakes_per_address: AtomicUsize,
}

type Shard = HashMap<AddressPrefix, Held, ahash::RandomState>;

/// What one address holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Held {
    handshakes: usize,
    established: usize,
}

/// Which cap was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdmissionRefusal {
    /// All addresses together.
    Connections,
    ConnectionsPerAddress,
    /// Begun and not finished: what a flood of half-open handshakes looks like.
    HandshakesPerAddress,
}

impl Admission {
    /// Nothing held yet.
    pub fn new(bounds: &Bounds, entropy: &dyn Entropy) -> Arc<Self> {
        let hasher = super::keyed_hasher(entropy);
        let admission = Self {
            shards: std::array::from_fn(|_| Mutex::new(Shard::with_hasher(hasher.clone()))),
            hasher,
            connections: AtomicUsize::new(0),
            max_connections: AtomicUsize::new(0),
            max_connections_per_address: AtomicUsize::new(0),
            max_handshakes_per_address: AtomicUsize::new(0),
        };
        admission.reconfigure(bounds);
        Arc::new(admission)
    }

    /// New caps. Who is above them stays until it leaves.
    pub fn reconfigure(&self, bounds: &Bounds) {
        let caps = [
            (&self.max_connections, bounds.connections),
            (
                &self.max_connections_per_address,
                bounds.connections_per_address,
            ),
            (
                &self.max_handshakes_per_address,
                bounds.handshakes_per_address,
            ),
        ];
        for (cap, value) in caps {
            cap.store(value, Ordering::Relaxed);
        }
    }

    /// A slot for a connection that was just accepted and has its handshake before it. It counts as a connection
    /// already, so that finishing the handshake cannot fail.
    ///
    /// # Errors
    /// The cap that was reached; close the socket without a word.
    pub fn handshake(self: &Arc<Self>, address: IpAddr) -> Result<HandshakeSlot, AdmissionRefusal> {
        let address = AddressPrefix::from(address);
        self.hold()?;
        if let Err(refusal) = self.hold_for(address) {
            self.connections.fetch_sub(1, Ordering::Relaxed);
            return Err(refusal);
        }
        Ok(self.slot(Some(address)))
    }

    /// As [`Admission::handshake`], for a proxy that will name the client (PROXY protocol): held under the common cap
    /// alone until [`HandshakeSlot::belongs_to`], or all clients behind the proxy would share the caps of one address.
    ///
    /// # Errors
    /// The common cap was reached.
    pub fn behind_proxy(self: &Arc<Self>) -> Result<HandshakeSlot, AdmissionRefusal> {
        self.hold()?;
        Ok(self.slot(None))
    }

    fn slot(self: &Arc<Self>, address: Option<AddressPrefix>) -> HandshakeSlot {
        HandshakeSlot(Slot {
            admission: Arc::clone(self),
            address,
            established: false,
        })
    }

    fn hold(&self) -> Result<(), AdmissionRefusal> {
        let max = self.max_connections.load(Ordering::Relaxed);
        self.connections
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| {
                (held < max).then_some(held + 1)
            })
            .map(|_| ())
            .map_err(|_| AdmissionRefusal::Connections)
    }

    /// Sockets open now, handshakes included.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    fn hold_for(&self, address: AddressPrefix) -> Result<(), AdmissionRefusal> {
        let mut shard = self.shard(address);
        let held = shard.get(&address).copied().unwrap_or_default();
        if held.handshakes >= self.max_handshakes_per_address.load(Ordering::Relaxed) {
            return Err(AdmissionRefusal::HandshakesPerAddress);
        }
        let connections = held.handshakes.saturating_add(held.established);
        if connections >= self.max_connections_per_address.load(Ordering::Relaxed) {
            return Err(AdmissionRefusal::ConnectionsPerAddress);
        }
        shard.entry(address).or_default().handshakes += 1;
        Ok(())
    }

    fn establish(&self, address: AddressPrefix) {
        if let Some(held) = self.shard(address).get_mut(&address) {
            held.handshakes = held.handshakes.saturating_sub(1);
            held.established += 1;
        }
    }

    fn release(&self, address: Option<AddressPrefix>, established: bool) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
        let Some(address) = address else { return };
        let mut shard = self.shard(address);
        let Entry::Occupied(mut entry) = shard.entry(address) else {
            return;
        };
        let held = entry.get_mut();
        let count = if established {
            &mut held.established
        } else {
            &mut held.handshakes
        };
        *count = count.saturating_sub(1);
        if *held == Held::default() {
            entry.remove();
        }
    }

    fn shard(&self, address: AddressPrefix) -> MutexGuard<'_, Shard> {
        let hash = self.hasher.hash_one(address);
        let index = usize::try_from((hash >> 40) % (SHARDS as u64)).unwrap_or_default();
        #[expect(clippy::indexing_slicing, reason = "a remainder of the array's length")]
        let shard = &self.shards[index];
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Held from `accept` until the handshake is over, whichever way.
#[derive(Debug)]
#[must_use = "the slot is free again as soon as this is dropped"]
pub struct HandshakeSlot(Slot);

/// Held for as long as the connection is.
#[derive(Debug)]
#[must_use = "the slot is free again as soon as this is dropped"]
pub struct ConnectionSlot(#[expect(dead_code, reason = "held for what its drop does")] Slot);

impl HandshakeSlot {
    /// Whose connection it is, as the proxy says.
    ///
    /// # Errors
    /// The client has reached a cap; close the socket.
    pub fn belongs_to(&mut self, address: IpAddr) -> Result<(), AdmissionRefusal> {
        let address = AddressPrefix::from(address);
        if self.0.address.is_none() {
            self.0.admission.hold_for(address)?;
            self.0.address = Some(address);
        }
        Ok(())
    }

    /// The handshake succeeded.
    pub fn established(mut self) -> ConnectionSlot {
        if let Some(address) = self.0.address {
            self.0.admission.establish(address);
        }
        self.0.established = true;
        ConnectionSlot(self.0)
    }
}

#[derive(Debug)]
struct Slot {
    admission: Arc<Admission>,
    /// `None` until a proxy has said whose it is.
    address: Option<AddressPrefix>,
    established: bool,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.admission.release(self.address, self.established);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::limits::by_hand::FixedEntropy;

    #[test]
    fn half_open_handshakes_are_capped_per_address_and_others_are_not_hurt() {
        let admission = admission(100, 10, 2);
        let held = [
            admission.handshake(A).unwrap(),
            admission.handshake(A).unwrap(),
        ];
        assert_eq!(
            refusal(&admission, A),
            AdmissionRefusal::HandshakesPerAddress
        );
        assert!(admission.handshake(B).is_ok());
        drop(held);
        assert!(admission.handshake(A).is_ok());
    }

    #[test]
    fn clients_behind_a_proxy_are_counted_each_under_its_own_address() {
        let admission = admission(3, 10, 1);
        let mut first = admission.behind_proxy().unwrap();
        let mut second = admission.behind_proxy().unwrap();
        first.belongs_to(A).unwrap();
        assert_eq!(
            second.belongs_to(A),
            Err(AdmissionRefusal::HandshakesPerAddress)
        );
        second.belongs_to(B).unwrap();
        let _first = first.established();
        let third = admission.behind_proxy().unwrap();
        assert_eq!(
            admission.behind_proxy().unwrap_err(),
            AdmissionRefusal::Connections
        );
        drop((second, third));
        assert_eq!(admission.connections(), 1);
    }

    #[test]
    fn a_finished_handshake_makes_room_for_the_next_one() {
        let admission = admission(100, 2, 1);
        let first = admission.handshake(A).unwrap().established();
        let second = admission.handshake(A).unwrap().established();
        assert_eq!(
            refusal(&admission, A),
            AdmissionRefusal::ConnectionsPerAddress
        );
        drop((first, second));
        assert_eq!(admission.connections(), 0);
    }

    #[test]
    fn handshakes_count_towards_the_connections_of_their_address() {
        let admission = admission(100, 2, 2);
        let _first = admission.handshake(A).unwrap();
        let _second = admission.handshake(A).unwrap().established();
        assert_eq!(
            refusal(&admission, A),
            AdmissionRefusal::ConnectionsPerAddress
        );
    }

    #[test]
    fn all_addresses_together_are_capped() {
        let admission = admission(1, 10, 10);
        let _held = admission.handshake(A).unwrap().established();
        assert_eq!(refusal(&admission, B), AdmissionRefusal::Connections);
    }

    #[test]
    fn a_refusal_leaves_nothing_behind() {
        let admission = admission(100, 1, 1);
        let held = admission.handshake(A).unwrap();
        for _ in 0..10 {
            assert!(admission.handshake(A).is_err());
        }
        assert_eq!(admission.connections(), 1);
        drop(held);
        assert_eq!(admission.connections(), 0);
        assert_eq!(addresses(&admission), 0);
    }

    #[test]
    fn an_ipv6_client_is_its_64_and_an_ipv4_client_is_itself_in_both_spellings() {
        let admission = admission(100, 1, 1);
        let _v6 = admission.handshake("2001:db8::1".parse().unwrap()).unwrap();
        assert!(admission.handshake("2001:db8::2".parse().unwrap()).is_err());
        let _v4 = admission
            .handshake("::ffff:192.0.2.1".parse().unwrap())
            .unwrap();
        assert!(admission.handshake("192.0.2.1".parse().unwrap()).is_err());
    }

    #[test]
    fn a_lower_cap_holds_for_newcomers() {
        let admission = admission(100, 10, 10);
        let _held = [
            admission.handshake(A).unwrap(),
            admission.handshake(A).unwrap(),
        ];
        admission.reconfigure(&bounds(100, 2, 2));
        assert!(admission.handshake(A).is_err());
    }

    #[test]
    fn many_threads_never_hold_more_than_the_cap_and_leave_nothing() {
        let admission = admission(40, 25, 7);
        let (peak, now) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for thread in 0..16 {
                let (admission, peak, now) = (&admission, &peak, &now);
                scope.spawn(move || {
                    for round in 0..500 {
                        let Ok(slot) = admission.handshake(A) else {
                            continue;
                        };
                        let unfinished = now.fetch_add(1, Ordering::SeqCst) + 1;
                        peak.fetch_max(unfinished, Ordering::SeqCst);
                        now.fetch_sub(1, Ordering::SeqCst);
                        if (round + thread) % 2 == 0 {
                            drop(slot.established());
                        }
                    }
                });
            }
        });
        assert!(peak.into_inner() <= 7);
        assert_eq!((admission.connections(), addresses(&admission)), (0, 0));
    }

    #[test]
    fn sixteen_threads_get_exactly_the_cap() {
        let admission = admission(1_000, 1_000, 100);
        let slots = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        if let Ok(slot) = admission.handshake(A) {
                            slots.lock().unwrap().push(slot);
                        }
                    }
                });
            }
        });
        assert_eq!(slots.into_inner().unwrap().len(), 100);
    }

    const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const B: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    fn admission(connections: usize, per_address: usize, handshakes: usize) -> Arc<Admission> {
        Admission::new(&bounds(connections, per_address, handshakes), &FixedEntropy)
    }

    fn refusal(admission: &Arc<Admission>, address: IpAddr) -> AdmissionRefusal {
        admission.handshake(address).unwrap_err()
    }

    fn addresses(admission: &Admission) -> usize {
        admission
            .shards
            .iter()
            .map(|shard| shard.lock().unwrap().len())
            .sum()
    }

    fn bounds(connections: usize, per_address: usize, handshakes: usize) -> Bounds {
        Bounds {
            connections,
            connections_per_address: per_address,
            handshakes_per_address: handshakes,
            handshake_timeout: Duration::from_secs(10),
            header_timeout: Duration::from_secs(10),
            header_bytes: 65_536,
            header_count: 100,
            concurrent_streams: 100,
            keep_alive: Duration::from_secs(60),
            drain: Duration::from_secs(30),
        }
    }
}
