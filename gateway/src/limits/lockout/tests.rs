//! Of `lockout`, with a clock that is moved by hand.

use std::net::IpAddr;

use super::*;
use crate::capability::Clock;
use crate::limits::by_hand::{FixedEntropy, HandClock};

#[test]
fn free_failures_then_doubling_delays_then_a_lock() {
    let bench = Bench::new();
    let outcomes: Vec<_> = (0..7).map(|_| bench.fail_when_allowed(&OFFICE)).collect();
    let seconds = Duration::from_secs;
    assert_eq!(
        outcomes,
        [
            Failed::Counted,
            Failed::Counted,
            Failed::Delayed(seconds(1)),
            Failed::Delayed(seconds(2)),
            Failed::Delayed(seconds(4)),
            Failed::Delayed(seconds(4)),
            Failed::Locked(seconds(600)),
        ]
    );
    assert_eq!(
        bench.check(&OFFICE),
        Err(LockedOut {
            retry_after: seconds(600)
        })
    );
    bench.clock.advance(seconds(600));
    assert_eq!(bench.check(&OFFICE), Ok(()));
}

#[test]
fn an_attacker_without_the_certificate_cannot_lock_out_its_owner() {
    let bench = Bench::new();
    let owner = Source::Device("serial:SN-1");
    // From the owner's own address, and about the owner's own account: neither is what is counted.
    for _ in 0..1_000 {
        bench.fail(&OFFICE);
    }
    assert!(bench.check(&OFFICE).is_err());
    assert_eq!(bench.check(&owner), Ok(()));
}

#[test]
fn filling_the_table_from_many_addresses_does_not_reach_a_device() {
    let bench = Bench::new();
    for upper in 0..2_000 {
        let source = Source::Address(AddressPrefix::V6(upper));
        for _ in 0..7 {
            bench.fail(&source);
        }
    }
    assert_eq!(bench.check(&Source::Device("serial:SN-1")), Ok(()));
    assert!(bench.lockout.list(bench.now()).len() <= 64 + 1);
}

#[test]
fn one_device_that_guesses_does_not_lock_its_neighbour_behind_the_same_address() {
    let bench = Bench::new();
    for _ in 0..20 {
        bench.fail(&Source::Device("serial:SN-666"));
    }
    assert!(bench.check(&Source::Device("serial:SN-666")).is_err());
    assert_eq!(bench.check(&Source::Device("serial:SN-1")), Ok(()));
    assert_eq!(bench.check(&OFFICE), Ok(()));
}

#[test]
fn a_guesser_cannot_escape_into_its_own_64() {
    let bench = Bench::new();
    let at = |text: &str| Source::Address(text.parse::<IpAddr>().unwrap().into());
    for host in 0..7 {
        bench.fail(&at(&format!("2001:db8::{host}")));
    }
    assert!(bench.check(&at("2001:db8::ffff")).is_err());
}

#[test]
fn newcomers_share_one_slate_once_everything_is_locked() {
    let bench = Bench::new();
    for upper in 0..1_000 {
        for _ in 0..7 {
            bench.fail(&Source::Address(AddressPrefix::V6(upper)));
        }
    }
    // Fresh addresses no longer buy fresh guesses.
    let fresh = Source::Address(AddressPrefix::V6(1_000_000));
    assert!(bench.check(&fresh).is_err());
    bench.clock.advance(Duration::from_secs(3_600));
    bench.lockout.purge(bench.now());
    assert_eq!(bench.check(&fresh), Ok(()));
    assert_eq!(bench.lockout.list(bench.now()), []);
}

#[test]
fn room_is_taken_from_those_who_are_not_locked() {
    let bench = Bench::new();
    for _ in 0..7 {
        bench.fail(&OFFICE);
    }
    for upper in 0..1_000 {
        bench.fail(&Source::Address(AddressPrefix::V6(upper)));
    }
    assert!(bench.check(&OFFICE).is_err());
}

#[test]
fn failures_are_forgotten_one_by_one_when_the_window_has_passed() {
    let bench = Bench::new();
    for _ in 0..10 {
        // One honest mistake every four minutes, in a window of five: never more than two at a time.
        assert_eq!(bench.fail(&OFFICE), Failed::Counted);
        bench.clock.advance(Duration::from_secs(240));
    }
}

#[test]
fn a_success_clears_a_device_but_not_a_shared_address() {
    let bench = Bench::new();
    let device = Source::Device("serial:SN-1");
    for source in [&device, &OFFICE] {
        bench.fail(source);
        bench.fail(source);
        bench.lockout.succeeded(source);
    }
    assert_eq!(bench.fail(&device), Failed::Counted);
    assert_eq!(bench.fail(&OFFICE), Failed::Delayed(Duration::from_secs(1)));
}

#[test]
fn a_late_success_does_not_lift_a_lock() {
    let bench = Bench::new();
    let device = Source::Device("serial:SN-1");
    for _ in 0..7 {
        bench.fail(&device);
    }
    bench.lockout.succeeded(&device);
    assert!(bench.check(&device).is_err());
}

#[test]
fn after_a_lock_the_next_failure_locks_again() {
    let mut rules = rules();
    rules.window = Duration::from_secs(3_600);
    let bench = Bench::with(&rules);
    for _ in 0..7 {
        bench.fail(&OFFICE);
    }
    bench.clock.advance(Duration::from_secs(600));
    assert_eq!(bench.check(&OFFICE), Ok(()));
    assert_eq!(
        bench.fail(&OFFICE),
        Failed::Locked(Duration::from_secs(600))
    );
}

#[test]
fn an_administrator_sees_and_lifts_it() {
    let bench = Bench::new();
    for _ in 0..7 {
        bench.fail(&Source::Device("serial:SN-1"));
    }
    let listed = bench.lockout.list(bench.now());
    let [entry] = listed.as_slice() else {
        panic!("{listed:?}")
    };
    assert_eq!(
        (
            entry.source.as_str(),
            entry.failures,
            entry.locked,
            entry.retry_after_ms
        ),
        ("device serial:SN-1", 7, true, 600_000)
    );
    assert_eq!(bench.lockout.lift("no such"), None);
    assert_eq!(
        bench.lockout.lift(&entry.key).as_deref(),
        Some("device serial:SN-1")
    );
    assert_eq!(bench.check(&Source::Device("serial:SN-1")), Ok(()));
    assert_eq!(bench.lockout.lift(&entry.key), None);
}

#[test]
fn what_is_remembered_is_counted_exactly() {
    let bench = Bench::new();
    for upper in 0..500 {
        bench.fail(&Source::Address(AddressPrefix::V6(upper)));
        bench.fail(&Source::Device(&format!("serial:{upper}")));
    }
    for upper in 0..100 {
        bench
            .lockout
            .succeeded(&Source::Device(&format!("serial:{upper}")));
    }
    let listed = bench.lockout.list(bench.now()).len();
    let table = |table: &Table| table.tracked.load(Ordering::SeqCst);
    assert_eq!(
        table(&bench.lockout.devices) + table(&bench.lockout.addresses),
        listed
    );
    bench.clock.advance(Duration::from_secs(3_600));
    bench.lockout.purge(bench.now());
    assert_eq!(
        table(&bench.lockout.devices) + table(&bench.lockout.addresses),
        0
    );
}

#[test]
fn rules_from_the_far_end_lock_rather_than_overflow() {
    let endless = Rules {
        free_failures: 0,
        first_delay: Duration::MAX,
        max_delay: Duration::MAX,
        lock_after: u32::MAX,
        lock: Duration::MAX,
        window: Duration::MAX,
    };
    let bench = Bench::with(&endless);
    for _ in 0..300 {
        bench.fail(&OFFICE);
    }
    assert!(bench.check(&OFFICE).is_err());
    let listed = bench.lockout.list(bench.now());
    assert!(
        listed
            .iter()
            .all(|entry| entry.failures <= MAX_FAILURES && entry.locked)
    );
}

#[test]
fn an_expired_token_is_not_a_guess() {
    assert!(!counts_as_failure(DenialReason::CredentialExpired));
    assert!(!counts_as_failure(DenialReason::CredentialMissing));
    let counted: Vec<_> = DenialReason::ALL
        .into_iter()
        .filter(|reason| counts_as_failure(*reason))
        .map(DenialReason::code)
        .collect();
    assert_eq!(
        counted,
        [
            "credential-malformed",
            "credential-invalid",
            "credential-not-bound"
        ]
    );
}

const OFFICE: Source<'static> =
    Source::Address(AddressPrefix::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)));

struct Bench {
    lockout: Lockout,
    clock: HandClock,
}

impl Bench {
    fn new() -> Self {
        Self::with(&rules())
    }

    fn with(rules: &Rules) -> Self {
        let lockout = Lockout::with_room(rules, &FixedEntropy, &Metrics::new(), 64);
        Self {
            lockout,
            clock: HandClock::default(),
        }
    }

    fn now(&self) -> Instant {
        self.clock.monotonic()
    }

    fn check(&self, source: &Source<'_>) -> Result<(), LockedOut> {
        self.lockout.check(source, self.now())
    }

    fn fail(&self, source: &Source<'_>) -> Failed {
        self.lockout.failed(source, self.now())
    }

    fn fail_when_allowed(&self, source: &Source<'_>) -> Failed {
        if let Err(locked) = self.check(source) {
            self.clock.advance(locked.retry_after);
        }
        self.fail(source)
    }
}

fn rules() -> Rules {
    Rules {
        free_failures: 2,
        first_delay: Duration::from_secs(1),
        max_delay: Duration::from_secs(4),
        lock_after: 7,
        lock: Duration::from_secs(600),
        window: Duration::from_secs(300),
    }
}
