//! Delays, locks and bounds, without accounts.

use proptest::prelude::*;

use super::*;
use crate::accounts::tests::{MINUTE, NOW, settings};

fn rules() -> LockoutRules {
    settings().lockout
}

fn at(device: &str, now: i64) -> Visit<'_> {
    Visit { device, now }
}

fn begin(lockout: &Arc<Lockout>, name: &str, visit: Visit<'_>) -> Result<Attempt, LockedOut> {
    lockout.begin(name, Guess::Password, visit, &rules())
}

fn fail(lockout: &Arc<Lockout>, name: &str, visit: Visit<'_>) -> Option<Duration> {
    begin(lockout, name, visit).unwrap().failed()
}

#[test]
fn factors_are_counted_apart() {
    let lockout = Arc::<Lockout>::default();
    for _ in 0..4 {
        fail(&lockout, "ada", at("laptop", NOW));
    }
    assert!(begin(&lockout, "ada", at("laptop", NOW)).is_err());
    let code = lockout.begin("ada", Guess::Code, at("laptop", NOW), &rules());
    assert!(code.is_ok());
}

#[test]
fn old_failures_are_forgotten() {
    let lockout = Arc::<Lockout>::default();
    for _ in 0..3 {
        fail(&lockout, "ada", at("laptop", NOW));
    }
    let later = NOW + 61 * MINUTE;
    for _ in 0..3 {
        fail(&lockout, "ada", at("laptop", later));
        assert!(
            begin(&lockout, "ada", at("laptop", later))
                .map(Attempt::withdrawn)
                .is_ok()
        );
    }
}

#[test]
fn a_clock_that_goes_back_shortens_nothing() {
    let lockout = Arc::<Lockout>::default();
    let mut now = NOW;
    for _ in 0..6 {
        fail(&lockout, "ada", at("laptop", now));
        now += 30_000;
    }
    assert!(begin(&lockout, "ada", at("laptop", NOW - 60 * MINUTE)).is_err());
}

#[test]
fn what_is_under_way_counts_until_it_ends() {
    let lockout = Arc::<Lockout>::default();
    let open: Vec<_> = (0..3)
        .map(|_| begin(&lockout, "ada", at("laptop", NOW)).unwrap())
        .collect();
    let refused = begin(&lockout, "ada", at("laptop", NOW)).err().unwrap();
    assert_eq!(refused.retry_after, Duration::from_secs(1));
    assert!(begin(&lockout, "ada", at("phone", NOW)).is_ok());
    for attempt in open {
        attempt.withdrawn();
    }
    assert!(begin(&lockout, "ada", at("laptop", NOW)).is_ok());
}

#[test]
fn a_success_that_was_under_way_when_the_lock_fell_does_not_lift_it() {
    let lockout = Arc::<Lockout>::default();
    let rules = LockoutRules {
        lock_after: 2,
        ..rules()
    };
    let begin = || lockout.begin("ada", Guess::Password, at("laptop", NOW), &rules);
    let slow = begin().unwrap();
    for _ in 0..2 {
        begin().unwrap().failed();
    }
    slow.succeeded();
    assert!(begin().err().unwrap().locked);
}

#[test]
fn a_lock_is_told_once() {
    let lockout = Arc::<Lockout>::default();
    let mut now = NOW;
    let mut locks = Vec::new();
    for _ in 0..6 {
        locks.push(fail(&lockout, "ada", at("laptop", now)));
        now += 30_000;
    }
    assert_eq!(locks[..5], [None; 5]);
    assert_eq!(locks[5], Some(rules().lock));
}

#[test]
fn forgetting_a_name_lifts_its_locks_everywhere_and_no_others() {
    let lockout = Arc::<Lockout>::default();
    for name in ["ada", "bob"] {
        for device in ["laptop", "phone"] {
            for _ in 0..4 {
                fail(&lockout, name, at(device, NOW));
            }
        }
    }
    lockout.forget("ada");
    for device in ["laptop", "phone"] {
        assert!(begin(&lockout, "ada", at(device, NOW)).is_ok());
        assert!(begin(&lockout, "bob", at(device, NOW)).is_err());
    }
}

#[test]
fn the_table_is_bounded_and_keeps_those_who_wait() {
    let lockout = Arc::<Lockout>::default();
    for _ in 0..4 {
        fail(&lockout, "ada", at("evil", NOW));
    }
    for number in 0..MAX_ENTRIES {
        let device = format!("device{number}");
        if let Ok(attempt) = begin(&lockout, "ada", at(&device, NOW)) {
            attempt.failed();
        }
    }
    assert!(lockout.table().len() <= MAX_ENTRIES);
    assert!(begin(&lockout, "ada", at("evil", NOW)).is_err());
}

#[test]
fn names_that_nobody_has_are_bounded_too() {
    let lockout = Lockout::default();
    for _ in 0..5 {
        lockout.nobody_failed("admin", Guess::Password);
    }
    for number in 0..(2 * MAX_ENTRIES) {
        lockout.nobody_failed(&format!("user{number}"), Guess::Password);
    }
    assert!(lockout.nobody().len() <= MAX_ENTRIES);
    assert_eq!(lockout.failures_of_nobody("admin", Guess::Password), 5);
}

proptest! {
    /// Whatever is tried, and however long is waited in between: in an hour, one device gets few guesses at one name.
    #[test]
    fn guesses_in_an_hour_are_few(waits in proptest::collection::vec(0_i64..120_000, 1..400)) {
        let lockout = Arc::<Lockout>::default();
        let mut now = NOW;
        let mut guesses = 0;
        for wait in waits {
            now += wait;
            if now > NOW + 60 * MINUTE {
                break;
            }
            if let Ok(attempt) = begin(&lockout, "ada", at("laptop", now)) {
                attempt.failed();
                guesses += 1;
            }
        }
        // Six until the first lock, and one after each of the locks of a quarter of an hour.
        prop_assert!(guesses <= 6 + 4, "{}", guesses);
    }

    #[test]
    fn delays_grow_and_never_pass_their_bounds(failures in 1_u32..40, free in 0_u32..5, more in 1_u32..40) {
        let rules = LockoutRules { free_failures: free, lock_after: free + more, ..rules() };
        let mut entry = Entry::default();
        let mut last = 0;
        for count in 1..=failures {
            let locked = entry.failed(&rules, 1, NOW);
            let wait = (entry.blocked_until - NOW).max(0);
            prop_assert!(wait >= last);
            prop_assert_eq!(wait == 0, count <= free && count < free + more);
            let most = if count >= free + more { 900_000 } else { 30_000 };
            prop_assert!(wait <= most);
            prop_assert_eq!(locked, count == free + more);
            last = wait;
        }
    }
}
