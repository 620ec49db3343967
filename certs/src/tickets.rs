//! Session tickets that die with the configuration they came from.
//!
//! Each server configuration has keys of its own, so a ticket from a host that asks for no certificate is noise to one
//! that does, and a reload with other CAs ends all earlier sessions. Time comes from the caller, unlike in rustls's own.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use rustls::server::ProducesTickets;
use rustls::time_provider::TimeProvider;
use zeroize::Zeroizing;

/// How long a ticket is accepted, and how long a key seals. Each key opens for twice as long, so that the last ticket
/// it sealed can live out its life.
const LIFETIME_SECONDS: u32 = 6 * 60 * 60;
/// How far a ticket may lie in the future, in seconds, before the clock is thought to have been set back.
const CLOCK_STEP_SECONDS: u64 = 60;
/// rustls sends tickets of a few hundred octets plus the client's chain; nothing of ours is longer.
const MAX_TICKET: usize = 1 << 16;

/// Seals sessions with AES-256-GCM: key name, nonce, then the issue time and the session, encrypted.
pub(crate) struct Tickets {
    time: Arc<dyn TimeProvider>,
    ring: RwLock<Ring>,
}

struct Ring {
    current: TicketKey,
    previous: Option<TicketKey>,
}

struct TicketKey {
    name: [u8; NAME_LENGTH],
    key: RandomizedNonceKey,
    born_seconds: u64,
}

const NAME_LENGTH: usize = 16;
const TIME_LENGTH: usize = 8;

impl Tickets {
    /// `None` when there is no time or no randomness.
    pub(crate) fn new(time: Arc<dyn TimeProvider>) -> Option<Self> {
        let current = TicketKey::generate(time.current_time()?.as_secs())?;
        Some(Self {
            time,
            ring: RwLock::new(Ring {
                current,
                previous: None,
            }),
        })
    }

    fn rotate(&self, now_seconds: u64) -> Option<()> {
        let fresh = TicketKey::generate(now_seconds)?;
        let mut ring = self.ring.write().unwrap_or_else(PoisonError::into_inner);
        // Another thread may have been here while this one waited.
        if ring.current.is_due(now_seconds) {
            ring.previous = Some(std::mem::replace(&mut ring.current, fresh));
        }
        Some(())
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        LIFETIME_SECONDS
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let now = self.time.current_time()?.as_secs();
        let is_due = self
            .ring
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .current
            .is_due(now);
        if is_due {
            self.rotate(now)?;
        }
        self.ring
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .current
            .seal(plain, now)
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        if cipher.len() > MAX_TICKET {
            return None;
        }
        let now = self.time.current_time()?.as_secs();
        let (name, sealed) = cipher.split_first_chunk::<NAME_LENGTH>()?;
        let ring = self.ring.read().unwrap_or_else(PoisonError::into_inner);
        // The name is public: comparing it in constant time would hide nothing.
        let key = [Some(&ring.current), ring.previous.as_ref()]
            .into_iter()
            .flatten()
            .find(|key| key.name == *name)?;
        key.open(sealed, now)
    }
}

impl TicketKey {
    fn generate(now_seconds: u64) -> Option<Self> {
        let mut name = [0; NAME_LENGTH];
        let mut secret = Zeroizing::new([0; 32]);
        aws_lc_rs::rand::fill(&mut name).ok()?;
        aws_lc_rs::rand::fill(secret.as_mut_slice()).ok()?;
        let key = RandomizedNonceKey::new(&AES_256_GCM, secret.as_slice()).ok()?;
        Some(Self {
            name,
            key,
            born_seconds: now_seconds,
        })
    }

    fn is_due(&self, now_seconds: u64) -> bool {
        now_seconds.saturating_sub(self.born_seconds) >= u64::from(LIFETIME_SECONDS)
    }

    fn seal(&self, plain: &[u8], now_seconds: u64) -> Option<Vec<u8>> {
        let mut body = Vec::with_capacity(
            plain
                .len()
                .saturating_add(TIME_LENGTH)
                .saturating_add(AES_256_GCM.tag_len()),
        );
        body.extend_from_slice(&now_seconds.to_be_bytes());
        body.extend_from_slice(plain);
        let nonce = self
            .key
            .seal_in_place_append_tag(Aad::from(self.name), &mut body)
            .ok()?;
        let sealed = [&self.name[..], nonce.as_ref(), &body].concat();
        (sealed.len() <= MAX_TICKET).then_some(sealed)
    }

    fn open(&self, sealed: &[u8], now_seconds: u64) -> Option<Vec<u8>> {
        let (nonce, body) = sealed.split_first_chunk::<NONCE_LEN>()?;
        let mut body = body.to_vec();
        let opened = self
            .key
            .open_in_place(Nonce::from(nonce), Aad::from(self.name), &mut body)
            .ok()?;
        let (issued, plain) = opened.split_first_chunk::<TIME_LENGTH>()?;
        let issued = u64::from_be_bytes(*issued);
        let is_old = now_seconds.saturating_sub(issued) > u64::from(LIFETIME_SECONDS);
        let is_ahead = issued.saturating_sub(now_seconds) > CLOCK_STEP_SECONDS;
        if is_old || is_ahead {
            None
        } else {
            Some(plain.to_vec())
        }
    }
}

impl fmt::Debug for Tickets {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Tickets").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Clock;

    const HOUR: u64 = 3600;

    fn tickets() -> (Tickets, Arc<Clock>) {
        let clock = Clock::start();
        (Tickets::new(clock.clone()).unwrap(), clock)
    }

    #[test]
    fn a_ticket_lives_for_six_hours_across_one_change_of_keys() {
        let (tickets, clock) = tickets();
        clock.advance(5 * HOUR);
        let ticket = tickets.encrypt(b"session").unwrap();
        clock.advance(2 * HOUR);
        let later = tickets.encrypt(b"later").unwrap();
        assert_ne!(
            ticket[..NAME_LENGTH],
            later[..NAME_LENGTH],
            "the key has changed"
        );
        assert_eq!(tickets.decrypt(&ticket).unwrap(), b"session");
        clock.advance(4 * HOUR);
        assert_eq!(tickets.decrypt(&ticket).unwrap(), b"session");
        clock.advance(1);
        assert_eq!(tickets.decrypt(&ticket), None);
    }

    #[test]
    fn another_configuration_does_not_open_it() {
        let ((one, _), (other, _)) = (tickets(), tickets());
        assert_eq!(other.decrypt(&one.encrypt(b"session").unwrap()), None);
    }

    #[test]
    fn changed_cut_or_invented_tickets_are_refused() {
        let (tickets, _) = tickets();
        let ticket = tickets.encrypt(b"session").unwrap();
        for index in 0..ticket.len() {
            let mut changed = ticket.clone();
            changed[index] ^= 1;
            assert_eq!(tickets.decrypt(&changed), None, "octet {index}");
            assert_eq!(tickets.decrypt(&ticket[..index]), None, "cut at {index}");
        }
        assert_eq!(tickets.decrypt(&vec![0; MAX_TICKET + 1]), None);
    }

    #[test]
    fn a_clock_set_back_does_not_prolong_a_ticket() {
        let (tickets, clock) = tickets();
        let ticket = tickets.encrypt(b"session").unwrap();
        clock.set_back(HOUR);
        assert_eq!(tickets.decrypt(&ticket), None);
    }

    #[test]
    fn debug_output_has_no_key() {
        assert_eq!(format!("{:?}", tickets().0), "Tickets { .. }");
    }
}
