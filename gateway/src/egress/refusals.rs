//! The last refusals of each device, so that its user can be told why, and the reasons given for access.
//!
//! In memory only and bounded on every side: so many devices, so many refusals of each, so many reasons. What is forgotten
//! is not on the page; a reason that is forgotten is asked for again.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use masugata_policy::{Guidance, PostureFault, Timestamp};
use quick_cache::sync::Cache;

use crate::denial::{Denial, DenialReason};
use crate::exchange::RequestId;

/// How long a reason opens what it was given for.
pub const REASON_HOLDS: Duration = Duration::from_secs(8 * 3600);

/// Devices that are remembered; the least useful goes first. Ids come from the inventory, so strangers cannot fill it.
const DEVICES: usize = 16_384;
/// Reasons of one device that count at the same time.
const REASONS: usize = 64;
/// The longest host there is in DNS.
const LONGEST_HOST: usize = 253;

/// Something a device was refused.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// The last time.
    pub at: Timestamp,
    pub host: Box<str>,
    pub port: u16,
    /// The registrable domain; what a reason is given for. The host where there is none.
    pub domain: Box<str>,
    pub reason: DenialReason,
    /// The words of the policy's author.
    pub guidance: Option<Arc<Guidance>>,
    /// The posture attribute at fault.
    pub posture: Option<PostureFault>,
    /// Of the last time.
    pub request: RequestId,
    /// How often in a row, without another refusal of the same device being forgotten in between.
    pub times: u32,
}

impl Refusal {
    /// Of a request to `host` at `port`; `domain` is the registrable one, if it has one.
    pub fn of(
        denial: &Denial,
        host: &str,
        port: u16,
        domain: Option<&str>,
        request: RequestId,
        at: Timestamp,
    ) -> Self {
        let short = |text: &str| -> Box<str> {
            let end = text.floor_char_boundary(LONGEST_HOST);
            text.get(..end).unwrap_or_default().into()
        };
        Self {
            at,
            host: short(host),
            port,
            domain: short(domain.unwrap_or(host)),
            reason: denial.reason,
            guidance: denial.guidance.clone(),
            posture: denial.posture,
            request,
            times: 1,
        }
    }

    fn is_like(&self, other: &Self) -> bool {
        self.host == other.host && self.port == other.port && self.reason == other.reason
    }
}

/// See the module's first lines.
#[derive(Debug)]
pub struct Refusals {
    per_device: AtomicUsize,
    devices: Cache<String, Arc<Mutex<OfDevice>>>,
}

#[derive(Debug, Default)]
struct OfDevice {
    /// The newest first.
    refusals: VecDeque<Refusal>,
    /// What was given for each domain; one each.
    reasons: Vec<Reason>,
}

#[derive(Debug)]
struct Reason {
    domain: Box<str>,
    given: Timestamp,
}

impl Refusals {
    /// Remembers `per_device` refusals of each device.
    pub fn new(per_device: usize) -> Self {
        Self {
            per_device: AtomicUsize::new(per_device),
            devices: Cache::new(DEVICES),
        }
    }

    /// From now on remembers so many; for a reload, which must not forget reasons.
    pub fn keep(&self, per_device: usize) {
        self.per_device.store(per_device, Ordering::Relaxed);
    }

    /// Remembers `refusal`. One that is already there moves to the front and is counted: browsers try again and again.
    pub fn note(&self, device: &str, mut refusal: Refusal) {
        let most = self.per_device.load(Ordering::Relaxed);
        if most == 0 {
            return;
        }
        let entry = self.entry(device);
        let mut known = locked(&entry);
        let before = known.refusals.iter().position(|old| old.is_like(&refusal));
        if let Some(before) = before.and_then(|place| known.refusals.remove(place)) {
            refusal.times = refusal.times.saturating_add(before.times);
        }
        known.refusals.truncate(most.saturating_sub(1));
        known.refusals.push_front(refusal);
    }

    /// What `device` was refused, the newest first.
    pub fn of(&self, device: &str) -> Vec<Refusal> {
        let most = self.per_device.load(Ordering::Relaxed);
        let entry = self.devices.get(device);
        entry.map_or_else(Vec::new, |entry| {
            locked(&entry).refusals.iter().take(most).cloned().collect()
        })
    }

    /// Opens `domain` for `device` for [`REASON_HOLDS`], as far as policies let a reason open it.
    pub fn give_reason(&self, device: &str, domain: &str, now: Timestamp) {
        let entry = self.entry(device);
        let mut known = locked(&entry);
        known.reasons.retain(|reason| *reason.domain != *domain);
        if known.reasons.len() >= REASONS {
            // The one that ends first.
            let ending = (0..).zip(&known.reasons).min_by_key(|(_, it)| it.given);
            if let Some(ending) = ending.map(|(place, _)| place) {
                known.reasons.swap_remove(ending);
            }
        }
        known.reasons.push(Reason {
            domain: domain.into(),
            given: now,
        });
    }

    /// Whether a reason given for `domain` on `device` still counts.
    pub fn reason_given(&self, device: &str, domain: &str, now: Timestamp) -> bool {
        self.reason_until(device, domain, now).is_some()
    }

    /// Until when it does.
    pub fn reason_until(&self, device: &str, domain: &str, now: Timestamp) -> Option<Timestamp> {
        let entry = self.devices.get(device)?;
        let known = locked(&entry);
        let reason = known.reasons.iter().find(|it| *it.domain == *domain)?;
        let until = reason.given.plus(REASON_HOLDS);
        // Not before it was given either: a clock set back prolongs nothing.
        (reason.given <= now && now < until).then_some(until)
    }

    fn entry(&self, device: &str) -> Arc<Mutex<OfDevice>> {
        let made: Result<_, std::convert::Infallible> = self
            .devices
            .get_or_insert_with(device, || Ok(Arc::default()));
        match made {
            Ok(entry) => entry,
            Err(never) => match never {},
        }
    }
}

/// What a panic left is whole: nothing here is changed in two steps that belong together.
fn locked(entry: &Mutex<OfDevice>) -> MutexGuard<'_, OfDevice> {
    entry.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_795_426_868);

    fn refused(host: &str, seconds: i64) -> Refusal {
        let at = Timestamp::from_seconds(NOW.as_seconds() + seconds);
        let denial = Denial::new(DenialReason::NoPermit);
        Refusal::of(&denial, host, 443, None, RequestId(1), at)
    }

    fn hosts(refusals: &Refusals, device: &str) -> Vec<String> {
        let listed = refusals.of(device);
        listed.iter().map(|each| each.host.to_string()).collect()
    }

    #[test]
    fn the_newest_come_first_and_the_oldest_go() {
        let refusals = Refusals::new(3);
        for (second, host) in (0..).zip(["a", "b", "c", "d"]) {
            refusals.note("laptop-1", refused(host, second));
        }
        assert_eq!(hosts(&refusals, "laptop-1"), ["d", "c", "b"]);
    }

    #[test]
    fn a_device_sees_only_its_own() {
        let refusals = Refusals::new(3);
        refusals.note("laptop-1", refused("a", 0));
        assert!(refusals.of("laptop-2").is_empty());
    }

    #[test]
    fn what_is_tried_again_and_again_is_one_line() {
        let refusals = Refusals::new(3);
        refusals.note("laptop-1", refused("a", 0));
        for second in 1..100 {
            refusals.note("laptop-1", refused("b", second));
        }
        refusals.note("laptop-1", refused("a", 100));
        let listed = refusals.of("laptop-1");
        assert_eq!(hosts(&refusals, "laptop-1"), ["a", "b"]);
        assert_eq!((listed[0].times, listed[1].times), (2, 99));
        assert_eq!(listed[0].at.as_seconds(), NOW.as_seconds() + 100);
    }

    #[test]
    fn nothing_is_remembered_where_nothing_is_wanted_but_reasons_count() {
        let refusals = Refusals::new(3);
        refusals.note("laptop-1", refused("a", 0));
        refusals.keep(0);
        refusals.note("laptop-1", refused("b", 0));
        assert!(refusals.of("laptop-1").is_empty());
        refusals.give_reason("laptop-1", "box.com", NOW);
        assert!(refusals.reason_given("laptop-1", "box.com", NOW));
    }

    #[test]
    fn a_reason_counts_for_its_domain_on_its_device_until_it_ends() {
        let refusals = Refusals::new(3);
        let until = NOW.plus(REASON_HOLDS);
        refusals.give_reason("laptop-1", "box.com", NOW);
        assert!(refusals.reason_given("laptop-1", "box.com", NOW));
        assert!(!refusals.reason_given("laptop-2", "box.com", NOW));
        assert!(!refusals.reason_given("laptop-1", "app.box.com", NOW));
        assert!(!refusals.reason_given("laptop-1", "box.com", until));
        refusals.give_reason("laptop-1", "box.com", until);
        assert!(refusals.reason_given("laptop-1", "box.com", until));
        assert!(
            !refusals.reason_given("laptop-1", "box.com", NOW),
            "set back"
        );
    }

    // Attack: a script on a device fills the memory, with hosts of any length or with reasons.
    #[test]
    fn a_device_cannot_make_it_grow() {
        let refusals = Refusals::new(2);
        for number in 0..10_000 {
            refusals.note(
                "laptop-1",
                refused(&format!("{number}{}", "é".repeat(4000)), number),
            );
            let given = NOW.plus(Duration::from_millis(u64::try_from(number).unwrap()));
            refusals.give_reason("laptop-1", &format!("{number}.example"), given);
        }
        let entry = refusals.entry("laptop-1");
        let known = locked(&entry);
        assert_eq!((known.refusals.len(), known.reasons.len()), (2, REASONS));
        assert!(known.refusals.iter().all(|each| each.host.len() <= 253));
        drop(known);
        let last = NOW.plus(Duration::from_secs(10));
        assert!(refusals.reason_given("laptop-1", "9999.example", last));
        for number in 0..2 * DEVICES {
            refusals.note(&format!("device-{number}"), refused("a", 0));
        }
        assert!(refusals.devices.len() <= DEVICES);
    }
}
