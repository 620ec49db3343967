//! Passwords: setting, signing in, guessing.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::*;
use crate::accounts::Change;
use crate::accounts::tests::{CHEAP, MINUTE, open_with, settings};
use crate::event::{Actor, EventKind};
use crate::factors::password::Cost;
use crate::lockout::CEILING;

async fn check(
    bed: &Bed,
    name: &str,
    password: &str,
    visit: Visit<'_>,
) -> Result<PasswordOutcome, SignInRefusal> {
    bed.accounts
        .check_password(name, secret(password), visit)
        .await
}

async fn refusal(bed: &Bed, name: &str, password: &str, visit: Visit<'_>) -> SignInRefusal {
    check(bed, name, password, visit).await.unwrap_err()
}

fn done(outcome: Result<PasswordOutcome, SignInRefusal>) -> Proved {
    match outcome.unwrap() {
        PasswordOutcome::Done(proved) => proved,
        PasswordOutcome::NeedsCode { .. } => panic!("no code is needed"),
    }
}

fn device(device: &str, now: i64) -> Visit<'_> {
    Visit { device, now }
}

#[tokio::test]
async fn a_long_password_signs_in_alone() {
    let bed = Bed::new();
    let welcome = bed.welcome("ada").await;
    let right = Right::Welcome(&welcome.handle);
    bed.told();
    let proved = bed
        .accounts
        .set_password(right, secret(LONG), None, at(NOW))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (proved.account(), proved.acr(), proved.amr()),
        ("ada", "pwd", &["pwd"][..])
    );
    assert_eq!(bed.kinds(), [EventKind::FactorAdded]);
    let again = bed
        .accounts
        .set_password(right, secret(LONG), None, at(NOW))
        .await;
    assert_eq!(again, Err(FactorError::NoRight), "the link is used up");
    for name in ["ada", "Ada", "ＡＤＡ"] {
        assert_eq!(
            done(check(&bed, name, LONG, at(NOW)).await).account(),
            "ada"
        );
    }
    let bed = bed.reopen();
    assert_eq!(done(check(&bed, "ada", LONG, at(NOW)).await).acr(), "pwd");
    assert_eq!(
        bed.kinds(),
        [],
        "what worked is told by whoever begins the session"
    );
}

#[tokio::test]
async fn weak_passwords_leave_the_welcome_as_it_was() {
    let bed = Bed::new();
    let welcome = bed.welcome("ada").await;
    let right = Right::Welcome(&welcome.handle);
    for weak in [
        SHORT,
        "abcdefghijklmnopqrstuvwxyz",
        "yamadaworksyamadaworks",
        &"x1".repeat(129),
    ] {
        let refused = bed
            .accounts
            .set_password(right, secret(weak), None, at(NOW))
            .await;
        assert!(matches!(refused, Err(FactorError::Weak(_))), "{weak}");
    }
    assert!(
        bed.accounts
            .set_password(right, secret(LONG), None, at(NOW))
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn all_that_is_wrong_gets_one_answer_for_one_price() {
    let bed = Bed::new();
    with_password(&bed, "ada").await;
    bed.add("bob").await; // without factors
    with_passkey_named(&bed, "cy").await;
    let spent = || {
        let [hashes, writes] = &bed.accounts.inner.spent;
        (
            hashes.swap(0, Ordering::Relaxed),
            writes.swap(0, Ordering::Relaxed),
        )
    };
    for name in [
        "ada",
        "bob",
        "cy",
        "nobody",
        "no such/name",
        "",
        &"x".repeat(10_000),
    ] {
        spent();
        let refused = refusal(&bed, name, "something else entirely", at(NOW)).await;
        assert_eq!(refused, SignInRefusal::NotProved, "{name}");
        assert_eq!(spent(), (1, 1), "{name}");
    }
    let long = "x".repeat(100_000);
    assert_eq!(
        refusal(&bed, "ada", &long, at(NOW)).await,
        SignInRefusal::NotProved
    );
    assert_eq!(
        refusal(&bed, "ada", "", at(NOW)).await,
        SignInRefusal::NotProved
    );
}

async fn with_passkey_named(bed: &Bed, user: &str) {
    let welcome = bed.welcome(user).await;
    let right = Right::Welcome(&welcome.handle);
    register(&bed.accounts, right, &mut SoftKey::new(), at(NOW))
        .await
        .unwrap();
}

#[tokio::test]
async fn failures_delay_and_then_lock_whether_or_not_the_name_exists() {
    let bed = Bed::new();
    with_password(&bed, "ada").await;
    let mut stories = Vec::new();
    for name in ["ada", "nobody"] {
        let mut story = Vec::new();
        let mut now = NOW;
        for _ in 0..12 {
            let refused = refusal(&bed, name, "wrong wrong wrong", at(now)).await;
            story.push((refused, now - NOW));
            if let SignInRefusal::LockedOut { retry_after, .. } = refused {
                now += retry_after.as_millis() as i64;
            }
        }
        stories.push(story);
    }
    assert_eq!(stories[0], stories[1]);
    let story: Vec<_> = stories[0].iter().map(|(refusal, _)| *refusal).collect();
    let wait = |seconds, locked| SignInRefusal::LockedOut {
        retry_after: Duration::from_secs(seconds),
        locked,
    };
    use SignInRefusal::NotProved;
    // Three are free, then 1 s and 2 s, the sixth locks; so does every further one while the window lasts.
    assert_eq!(
        story,
        [
            NotProved,
            NotProved,
            NotProved,
            NotProved,
            wait(1, false),
            NotProved,
            wait(2, false),
            NotProved,
            wait(900, true),
            NotProved,
            wait(900, true),
            NotProved
        ]
    );
    let locks: Vec<_> = bed
        .told()
        .into_iter()
        .filter(|event| event.kind == EventKind::LockedOut)
        .collect();
    assert_eq!(locks.len(), 6);
    assert_eq!(locks[0].device.as_deref(), Some("laptop"));
    assert_eq!(locks[0].account.as_deref(), Some("ada"));
}

#[tokio::test]
async fn a_right_password_does_not_end_a_lock_but_clears_the_slate_before() {
    let bed = Bed::new();
    with_password(&bed, "ada").await;
    for _ in 0..3 {
        refusal(&bed, "ada", "wrong", at(NOW)).await;
    }
    done(check(&bed, "ada", LONG, at(NOW)).await);
    let mut now = NOW;
    for step in [0, 0, 0, 0, 1_000, 2_000] {
        now += step;
        assert_eq!(
            refusal(&bed, "ada", "wrong", at(now)).await,
            SignInRefusal::NotProved
        );
    }
    let locked = refusal(&bed, "ada", LONG, at(now)).await;
    assert!(
        matches!(locked, SignInRefusal::LockedOut { locked: true, .. }),
        "{locked:?}"
    );
    assert!(
        check(&bed, "ada", LONG, at(now + 15 * MINUTE))
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn others_cannot_lock_the_owner_out() {
    let bed = Bed::new();
    with_password(&bed, "ada").await;
    for attacker in 0..8 {
        for _ in 0..6 {
            refusal(
                &bed,
                "ada",
                "wrong",
                device(&format!("evil{attacker}"), NOW),
            )
            .await;
        }
    }
    done(check(&bed, "ada", LONG, at(NOW)).await);
    let evil = refusal(&bed, "ada", LONG, device("evil0", NOW)).await;
    assert!(matches!(evil, SignInRefusal::LockedOut { .. }));
    // And the owner's success begins the count towards the ceiling anew.
    assert_eq!(bed.accounts.inner.find("ada").unwrap().failures.password, 0);
}

#[tokio::test]
async fn many_devices_together_reach_a_ceiling_that_survives_a_restart() {
    let bed = Bed::new();
    with_password(&bed, "ada").await;
    for attacker in 0..CEILING {
        let device = format!("evil{attacker}");
        let refused = refusal(
            &bed,
            "ada",
            "wrong",
            Visit {
                device: &device,
                now: NOW,
            },
        )
        .await;
        assert_eq!(refused, SignInRefusal::NotProved);
    }
    let told = bed.told();
    assert_eq!(told.last().unwrap().failure, Some("factor-exhausted"));
    assert_eq!(told.last().unwrap().kind, EventKind::LockedOut);
    assert_eq!(
        refusal(&bed, "ada", LONG, at(NOW)).await,
        SignInRefusal::Exhausted
    );
    // Names that nobody has end the same way.
    for attacker in 0..CEILING {
        let device = format!("evil{attacker}");
        refusal(
            &bed,
            "nobody",
            "wrong",
            Visit {
                device: &device,
                now: NOW,
            },
        )
        .await;
    }
    assert_eq!(
        refusal(&bed, "nobody", LONG, at(NOW)).await,
        SignInRefusal::Exhausted
    );
    let bed = bed.reopen();
    assert_eq!(
        refusal(&bed, "ada", LONG, at(NOW)).await,
        SignInRefusal::Exhausted
    );
    // A passkey still works, and a new password makes a new start.
    let mut key = SoftKey::new();
    let right = Right::SignedIn("ada");
    register(&bed.accounts, right, &mut key, at(NOW))
        .await
        .unwrap();
    sign_in(&bed.accounts, Some("ada"), &mut key, at(NOW))
        .await
        .unwrap();
    bed.accounts
        .set_password(right, secret(LONG), None, at(NOW))
        .await
        .unwrap();
    done(check(&bed, "ada", LONG, at(NOW)).await);
}

#[tokio::test]
async fn going_through_names_locks_the_device() {
    let bed = Bed::new();
    let mut refused = None;
    for name in 0..70 {
        let last = refusal(
            &bed,
            &format!("user{name}"),
            "Winter2026",
            at(NOW + name * MINUTE / 2),
        )
        .await;
        refused = matches!(last, SignInRefusal::LockedOut { .. }).then_some(name);
        if refused.is_some() {
            break;
        }
    }
    let waited = refused.expect("the device has to wait at some time");
    assert!(waited > 29, "thirty are free: terminals are shared");
    with_password(&bed, "ada").await;
    done(check(&bed, "ada", LONG, device("elsewhere", NOW + 30 * MINUTE)).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_guesses_at_once_are_not_a_hundred_guesses() {
    let bed = Bed::new();
    with_password(&bed, "ada").await;
    let guesses: Vec<_> = (0..100)
        .map(|_| {
            let accounts = bed.accounts.clone();
            tokio::spawn(async move {
                accounts
                    .check_password("ada", secret("wrong"), at(NOW))
                    .await
            })
        })
        .collect();
    let mut looked_at = 0;
    for guess in guesses {
        match guess.await.unwrap().unwrap_err() {
            SignInRefusal::NotProved => looked_at += 1,
            SignInRefusal::LockedOut { .. } | SignInRefusal::Unavailable => {}
            refusal @ (SignInRefusal::Exhausted
            | SignInRefusal::Disabled
            | SignInRefusal::NeedsSecondFactor
            | SignInRefusal::Expired
            | SignInRefusal::PasswordsOff) => panic!("{refusal}"),
        }
    }
    assert!(looked_at <= 4, "{looked_at} were looked at");
}

#[tokio::test]
async fn hanging_up_before_the_answer_is_a_failure() {
    let bed = Bed::new();
    with_password(&bed, "ada").await;
    for _ in 0..4 {
        let hashing = bed.accounts.inner.hashing.clone();
        let all = hashing.available_permits() as u32;
        let busy = hashing.acquire_many_owned(all).await.unwrap();
        let guess = bed.accounts.check_password("ada", secret("wrong"), at(NOW));
        let hung_up = tokio::time::timeout(Duration::from_millis(5), guess).await;
        assert!(hung_up.is_err());
        drop(busy);
    }
    let refused = refusal(&bed, "ada", LONG, at(NOW)).await;
    assert!(
        matches!(refused, SignInRefusal::LockedOut { .. }),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_disabled_account_is_told_so_only_to_who_knows_the_password() {
    let bed = Bed::new();
    with_password(&bed, "ada").await;
    bed.accounts
        .disable("ada", Actor::Administrator, NOW)
        .await
        .unwrap();
    assert_eq!(
        refusal(&bed, "ada", "wrong", at(NOW)).await,
        SignInRefusal::NotProved
    );
    assert_eq!(
        refusal(&bed, "ada", LONG, at(NOW)).await,
        SignInRefusal::Disabled
    );
    let told = bed.told();
    assert_eq!(told.last().unwrap().failure, Some("account-disabled"));
}

#[tokio::test]
async fn passwords_can_be_off() {
    let mut off = settings();
    off.passwords = false;
    let bed = Bed::new();
    with_password(&bed, "ada").await;
    bed.accounts.reconfigure(off).unwrap();
    assert_eq!(
        refusal(&bed, "ada", LONG, at(NOW)).await,
        SignInRefusal::PasswordsOff
    );
    let right = Right::SignedIn("ada");
    let set = bed
        .accounts
        .set_password(right, secret(LONG), None, at(NOW))
        .await;
    assert_eq!(set, Err(FactorError::PasswordsOff));
    assert_eq!(
        bed.accounts.begin_totp(right, at(NOW)).err(),
        Some(FactorError::PasswordsOff)
    );
    assert!(!bed.accounts.get("ada").unwrap().can_sign_in(false));
}

#[tokio::test]
async fn a_new_password_replaces_the_old_one() {
    let bed = Bed::new();
    with_password(&bed, "ada").await;
    let new = "eleven loud geese over meadow";
    let right = Right::SignedIn("ada");
    bed.accounts
        .set_password(right, secret(new), None, at(NOW))
        .await
        .unwrap();
    assert_eq!(bed.kinds(), [EventKind::PasswordChanged]);
    assert_eq!(
        refusal(&bed, "ada", LONG, at(NOW)).await,
        SignInRefusal::NotProved
    );
    done(check(&bed, "ada", new, at(NOW)).await);
}

#[tokio::test]
async fn removing_the_password_removes_its_second_factor() {
    let bed = Bed::new();
    with_app(&bed, "ada").await;
    let remove = |last| bed.accounts.remove_password("ada", last, at(NOW));
    assert_eq!(remove(LastWayIn::Keep).await, Err(FactorError::LastWayIn));
    assert!(bed.accounts.get("ada").unwrap().totp);
    register(
        &bed.accounts,
        Right::SignedIn("ada"),
        &mut SoftKey::new(),
        at(NOW),
    )
    .await
    .unwrap();
    bed.told();
    assert_eq!(remove(LastWayIn::Keep).await, Ok(()));
    assert_eq!(
        bed.kinds(),
        [EventKind::FactorRemoved, EventKind::FactorRemoved]
    );
    let ada = bed.accounts.get("ada").unwrap();
    assert!(!ada.totp && ada.password_set_at.is_none());
    assert_eq!(remove(LastWayIn::Keep).await, Err(FactorError::Unknown));
}

#[tokio::test]
async fn hashes_of_another_cost_are_renewed_at_sign_in() {
    let bed = Bed::new();
    with_password(&bed, "ada").await;
    let hash = |accounts: &Accounts| {
        let record = accounts.inner.find("ada").unwrap();
        record.password.clone().unwrap().hash
    };
    let before = hash(&bed.accounts);
    done(check(&bed, "ada", LONG, at(NOW)).await);
    assert_eq!(hash(&bed.accounts), before);
    let crate::accounts::tests::Bed {
        directory,
        accounts,
        ..
    } = bed;
    drop(accounts);
    let other = Cost {
        passes: CHEAP.passes + 1,
        ..CHEAP
    };
    let accounts = open_with(
        directory.path(),
        settings(),
        other,
        std::sync::Arc::new(|_| {}),
    )
    .unwrap();
    assert!(
        accounts
            .check_password("ada", secret("wrong"), at(NOW))
            .await
            .is_err()
    );
    assert_eq!(hash(&accounts), before);
    done(accounts.check_password("ada", secret(LONG), at(NOW)).await);
    let after = hash(&accounts);
    assert!(after != before && after.contains("t=2"), "{after}");
    done(accounts.check_password("ada", secret(LONG), at(NOW)).await);
    assert_eq!(hash(&accounts), after);
}

#[tokio::test]
async fn what_is_no_name_is_not_put_on_record() {
    let bed = Bed::new();
    refusal(&bed, "nobody", "x", at(NOW)).await;
    refusal(&bed, "My Pa$$word, in the wrong field", "x", at(NOW)).await;
    let names: Vec<_> = bed.told().into_iter().map(|event| event.name).collect();
    assert_eq!(names, [Some("nobody".into()), None]);
}

#[tokio::test]
async fn a_change_of_groups_leaves_factors_alone() {
    let bed = Bed::new();
    with_password(&bed, "ada").await;
    let change = Change {
        groups: Some(vec!["staff".to_owned()]),
        ..Change::default()
    };
    bed.accounts
        .change("ada", change, Actor::Scim, NOW)
        .await
        .unwrap();
    done(check(&bed, "ada", LONG, at(NOW)).await);
}
