//! Refused handshakes, put on record without letting strangers write the record: each address and cause is told once at
//! once and from then on counted, with one line per interval, in a table of bounded size.
//!
//! What finds no room in the queue stays counted and is told later, so that no request has to be refused for it.

use std::collections::HashMap;
use std::mem;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use masugata_certs::CertificateSummary;
use masugata_policy::Timestamp;

use super::event::{Handshake, Presented, Stranger};
use super::sink::Auditor;
use super::text::head_of;
use crate::limits::prefix::AddressPrefix;

/// How often counts are put on record.
pub const INTERVAL: Duration = Duration::from_secs(60);
/// Addresses and causes that are told apart at a time.
const KEYS: usize = 1024;
/// Kept of each text in a certificate that nobody vouches for, bytes: these wait in memory.
const TEXT: usize = 512;
/// The cause of a count over everything that found no place of its own.
const VARIOUS: &str = "various";

/// What is known of a refused handshake.
#[derive(Clone, Copy, Debug)]
pub struct Refusal<'a> {
    pub at: Timestamp,
    pub generation: u64,
    pub client: SocketAddr,
    pub local: SocketAddr,
    /// Of a closed list: it is part of the key.
    pub cause: &'static str,
    /// Lower case, without a trailing dot.
    pub server_name: Option<&'a str>,
    /// DER as sent, proved by nothing.
    pub certificate: Option<&'a rustls_pki_types::CertificateDer<'a>>,
}

/// See the module's first lines.
#[derive(Debug, Default)]
pub struct Handshakes(Mutex<Table>);

type Key = (AddressPrefix, &'static str);

#[derive(Debug, Default)]
struct Table {
    known: HashMap<Key, Tally>,
    others: Option<Tally>,
}

/// Handshakes that were not told one by one.
#[derive(Clone, Copy, Debug)]
struct Tally {
    since: Timestamp,
    count: u64,
}

impl Handshakes {
    /// Records a handshake, or counts it.
    pub fn refused(&self, auditor: &Auditor, refusal: Refusal<'_>) {
        let key = (AddressPrefix::from(refusal.client.ip()), refusal.cause);
        if self.table().is_first(key, refusal.at) && auditor.strangers(refusal.described()).is_err()
        {
            // No room: told with the next count.
            let _known = self.table().is_first(key, refusal.at);
        }
    }

    /// Puts on record what was counted. What finds no room is kept for the next time; `last` makes room.
    pub fn report(&self, auditor: &Auditor, at: Timestamp, generation: u64, last: bool) {
        let tell = |stranger, cause, tally: &mut Tally| {
            let count = mem::replace(&mut tally.count, 0);
            if count == 0 {
                return false;
            }
            let event = Handshake {
                at,
                generation,
                cause,
                count,
                stranger,
            };
            if last {
                auditor.last_strangers(event);
            } else if auditor.strangers(event).is_err() {
                tally.count = count;
                return true;
            }
            tally.since = at;
            true
        };
        let mut table = self.table();
        table.known.retain(|(prefix, cause), tally| {
            let (prefix, since) = (Some(*prefix), tally.since);
            tell(Stranger::Several { prefix, since }, cause, tally)
        });
        if let Some(tally) = &mut table.others {
            let (prefix, since) = (None, tally.since);
            if !tell(Stranger::Several { prefix, since }, VARIOUS, tally) {
                table.others = None;
            }
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// Whether it is to be told at once; otherwise it is counted now.
    fn is_first(&mut self, key: Key, since: Timestamp) -> bool {
        let full = self.known.len() >= KEYS;
        let tally = match self.known.get_mut(&key) {
            Some(tally) => Some(tally),
            None if full => self.others.as_mut(),
            None => None,
        };
        if let Some(tally) = tally {
            tally.count = tally.count.saturating_add(1);
            return false;
        }
        let tally = Tally { since, count: 0 };
        if full {
            self.others = Some(tally);
        } else {
            self.known.insert(key, tally);
        }
        true
    }
}

impl Refusal<'_> {
    fn described(&self) -> Handshake {
        let certificate = self.certificate.map(|der| {
            let summary = masugata_certs::summarize(der).ok();
            Presented::of(summary.as_ref(), masugata_certs::thumbprint(der))
        });
        Handshake {
            at: self.at,
            generation: self.generation,
            cause: self.cause,
            count: 1,
            stranger: Stranger::One {
                client: self.client,
                local: self.local,
                server_name: self.server_name.map(Into::into),
                certificate,
            },
        }
    }
}

impl Presented {
    fn of(summary: Option<&CertificateSummary>, thumbprint: [u8; 32]) -> Self {
        let text = |text: &str| head_of(text, TEXT).into();
        Self {
            subject: summary.map(|summary| text(&summary.subject)),
            issuer: summary.map(|summary| text(&summary.issuer)),
            serial: summary.map(|summary| text(&summary.serial)),
            not_after: summary.map(|summary| Timestamp::from_seconds(summary.not_after_seconds)),
            thumbprint,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const AT: Timestamp = Timestamp::from_seconds(1_795_426_868);

    fn key(number: u32) -> Key {
        let address = std::net::IpAddr::from(Ipv4Addr::from_bits(number));
        (AddressPrefix::from(address), "certificate-missing")
    }

    #[test]
    fn the_first_of_each_address_and_cause_is_told_and_the_rest_counted() {
        let mut table = Table::default();
        assert!(table.is_first(key(1), AT));
        assert!(!table.is_first(key(1), AT));
        assert!(!table.is_first(key(1), AT));
        assert!(table.is_first(key(2), AT));
        let (prefix, _) = key(1);
        assert!(table.is_first((prefix, "malformed"), AT));
        assert_eq!(table.known[&key(1)].count, 2);
    }

    #[test]
    fn a_flood_of_addresses_is_counted_in_one_place() {
        let mut table = Table::default();
        let told = (0..100_000).filter(|n| table.is_first(key(*n), AT)).count();
        assert_eq!(told, KEYS + 1);
        assert_eq!(table.known.len(), KEYS);
        assert_eq!(table.others.unwrap().count, 100_000 - KEYS as u64 - 1);
        assert!(
            !table.is_first(key(0), AT),
            "those who were here keep their place"
        );
    }
}
