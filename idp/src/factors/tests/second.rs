//! Code apps and recovery codes: beside a password, replayed, guessed, used up.

use super::*;
use crate::accounts::tests::MINUTE;
use crate::event::{Actor, EventKind};
use crate::lockout::CEILING;

const STEP: i64 = 30_000;

/// The first step of a sign-in.
async fn handle(bed: &Bed, name: &str, now: i64) -> String {
    handle_at(bed, name, at(now)).await
}

async fn handle_at(bed: &Bed, name: &str, visit: Visit<'_>) -> String {
    match bed
        .accounts
        .check_password(name, secret(SHORT), visit)
        .await
        .unwrap()
    {
        PasswordOutcome::NeedsCode { handle } => handle,
        PasswordOutcome::Done(_) => panic!("a code is needed"),
    }
}

#[tokio::test]
async fn a_short_password_and_a_code_sign_in_together() {
    let bed = Bed::new();
    let app = with_app(&bed, "ada").await;
    let now = NOW + STEP;
    let handle = handle(&bed, "ada", now).await;
    let code = code_of(&app, now);
    let proved = bed
        .accounts
        .check_code(&handle, &code, at(now))
        .await
        .unwrap();
    assert_eq!((proved.account(), proved.acr()), ("ada", "mfa"));
    assert_eq!(proved.amr(), ["pwd", "otp", "mfa"]);
    let again = bed.accounts.check_code(&handle, &code, at(now)).await;
    assert_eq!(again, Err(SignInRefusal::Expired));
}

#[tokio::test]
async fn a_code_counts_once_also_across_sign_ins_and_restarts() {
    let bed = Bed::new();
    let app = with_app(&bed, "ada").await;
    // The one that confirmed the app is spent.
    let first = handle(&bed, "ada", NOW).await;
    let refused = bed
        .accounts
        .check_code(&first, &code_of(&app, NOW), at(NOW))
        .await;
    assert_eq!(refused, Err(SignInRefusal::NotProved));
    let now = NOW + STEP;
    let code = code_of(&app, now);
    bed.accounts
        .check_code(&first, &code, at(now))
        .await
        .unwrap();
    let second = handle(&bed, "ada", now).await;
    let refused = bed.accounts.check_code(&second, &code, at(now)).await;
    assert_eq!(refused, Err(SignInRefusal::NotProved));
    let bed = bed.reopen();
    let third = handle(&bed, "ada", now).await;
    let refused = bed.accounts.check_code(&third, &code, at(now)).await;
    assert_eq!(refused, Err(SignInRefusal::NotProved));
    // Nor does one of the step before, which was never seen.
    let earlier = code_of(&app, NOW);
    let refused = bed.accounts.check_code(&third, &earlier, at(now)).await;
    assert_eq!(refused, Err(SignInRefusal::NotProved));
    let now = now + STEP;
    assert!(
        bed.accounts
            .check_code(&third, &code_of(&app, now), at(now))
            .await
            .is_ok()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_code_in_two_places_at_once_counts_in_one() {
    let bed = Bed::new();
    let app = with_app(&bed, "ada").await;
    let now = NOW + STEP;
    let code = code_of(&app, now);
    let mut tries = Vec::new();
    for device in ["one", "two", "three"] {
        let handle = handle_at(&bed, "ada", Visit { device, now }).await;
        let (accounts, code) = (bed.accounts.clone(), code.clone());
        tries.push(tokio::spawn(async move {
            accounts
                .check_code(&handle, &code, Visit { device, now })
                .await
                .is_ok()
        }));
    }
    let mut admitted = 0;
    for one in tries {
        admitted += usize::from(one.await.unwrap());
    }
    assert_eq!(admitted, 1);
}

#[tokio::test]
async fn a_handle_is_no_use_to_others_later_or_with_another_password() {
    let bed = Bed::new();
    let app = with_app(&bed, "ada").await;
    let now = NOW + STEP;
    let code = code_of(&app, now);
    let mine = handle(&bed, "ada", now).await;
    let phone = Visit {
        device: "phone",
        now,
    };
    assert_eq!(
        bed.accounts.check_code(&mine, &code, phone).await,
        Err(SignInRefusal::Expired)
    );
    let later = at(now + 5 * MINUTE);
    assert_eq!(
        bed.accounts.check_code(&mine, &code, later).await,
        Err(SignInRefusal::Expired)
    );
    assert_eq!(
        bed.accounts.check_code("", &code, at(now)).await,
        Err(SignInRefusal::Expired)
    );
    let right = Right::SignedIn("ada");
    bed.accounts
        .set_password(right, secret(LONG), None, at(now))
        .await
        .unwrap();
    assert_eq!(
        bed.accounts.check_code(&mine, &code, at(now)).await,
        Err(SignInRefusal::Expired)
    );
}

#[tokio::test]
async fn a_disabled_account_ends_between_the_steps() {
    let bed = Bed::new();
    let app = with_app(&bed, "ada").await;
    let now = NOW + STEP;
    let handle = handle(&bed, "ada", now).await;
    bed.accounts.disable("ada", Actor::Scim, now).await.unwrap();
    let refused = bed
        .accounts
        .check_code(&handle, &code_of(&app, now), at(now))
        .await;
    assert!(refused.is_err());
}

#[tokio::test]
async fn the_right_password_does_not_excuse_wrong_codes() {
    let bed = Bed::new();
    let app = with_app(&bed, "ada").await;
    let now = NOW + STEP;
    let mut refused = Vec::new();
    for _ in 0..4 {
        // Whoever knows the password begins again before each guess.
        let handle = handle(&bed, "ada", now).await;
        refused.push(
            bed.accounts
                .check_code(&handle, "000000", at(now))
                .await
                .unwrap_err(),
        );
    }
    assert_eq!(refused, [SignInRefusal::NotProved; 4]);
    let again = handle(&bed, "ada", now).await;
    let refused = bed
        .accounts
        .check_code(&again, &code_of(&app, now), at(now))
        .await;
    assert!(
        matches!(refused, Err(SignInRefusal::LockedOut { .. })),
        "{refused:?}"
    );
    // The same number for both kinds of codes.
    let refused = bed
        .accounts
        .check_recovery_code(&again, "0000", at(now))
        .await;
    assert!(
        matches!(refused, Err(SignInRefusal::LockedOut { .. })),
        "{refused:?}"
    );
}

#[tokio::test]
async fn codes_have_a_ceiling_wherever_from() {
    let bed = Bed::new();
    let app = with_app(&bed, "ada").await;
    let now = NOW + STEP;
    for attacker in 0..CEILING {
        let device = format!("evil{attacker}");
        let visit = Visit {
            device: &device,
            now,
        };
        let handle = handle_at(&bed, "ada", visit).await;
        let refused = bed.accounts.check_code(&handle, "000000", visit).await;
        assert_eq!(refused, Err(SignInRefusal::NotProved));
    }
    assert_eq!(bed.told().last().unwrap().failure, Some("factor-exhausted"));
    let mine = handle(&bed, "ada", now).await;
    let refused = bed
        .accounts
        .check_code(&mine, &code_of(&app, now), at(now))
        .await;
    assert_eq!(refused, Err(SignInRefusal::Exhausted));
    let link = bed
        .accounts
        .reset("ada", Actor::Administrator, now)
        .await
        .unwrap();
    assert!(bed.accounts.open_link(&link.token, at(now)).is_ok());
}

#[tokio::test]
async fn an_app_is_offered_confirmed_and_removed() {
    let bed = Bed::new();
    with_password(&bed, "ada").await;
    let right = Right::SignedIn("ada");
    let accounts = &bed.accounts;
    let offer = accounts.begin_totp(right, at(NOW)).unwrap();
    assert!(
        offer
            .uri
            .expose_secret()
            .starts_with("otpauth://totp/Yamada%20Works:ada?secret=")
    );
    assert!(offer.qr_svg.expose_secret().starts_with("<svg "));
    let app = read_base32(offer.secret.expose_secret());
    let confirm = |code: String, now| {
        let (accounts, handle) = (accounts.clone(), offer.handle.clone());
        async move {
            let totp = CodeFor {
                handle: &handle,
                code: &code,
            };
            accounts
                .confirm_totp(Right::SignedIn("ada"), totp, at(now))
                .await
        }
    };
    assert_eq!(
        confirm("000000".to_owned(), NOW).await,
        Err(FactorError::WrongCode)
    );
    assert!(!accounts.get("ada").unwrap().totp);
    assert_eq!(confirm(code_of(&app, NOW), NOW).await, Ok(()));
    assert_eq!(
        confirm(code_of(&app, NOW + STEP), NOW + STEP).await,
        Err(FactorError::Expired)
    );
    assert_eq!(bed.kinds(), [EventKind::FactorAdded]);
    // From now on the long password does not do alone.
    let outcome = accounts
        .check_password("ada", secret(LONG), at(NOW))
        .await
        .unwrap();
    assert!(matches!(outcome, PasswordOutcome::NeedsCode { .. }));
    accounts.remove_totp("ada", at(NOW)).await.unwrap();
    assert_eq!(bed.kinds(), [EventKind::FactorRemoved]);
    let outcome = accounts
        .check_password("ada", secret(LONG), at(NOW))
        .await
        .unwrap();
    assert!(matches!(outcome, PasswordOutcome::Done(_)));
    assert_eq!(
        accounts.remove_totp("ada", at(NOW)).await,
        Err(FactorError::Unknown)
    );
}

#[tokio::test]
async fn a_short_password_keeps_its_app_and_an_app_its_password() {
    let bed = Bed::new();
    with_app(&bed, "ada").await;
    let refused = bed.accounts.remove_totp("ada", at(NOW)).await;
    assert_eq!(refused, Err(FactorError::PasswordNeedsIt));
    let mut bed2 = with_no_password().await;
    let right = Right::SignedIn("bob");
    let offer = bed2.accounts.begin_totp(right, at(NOW)).unwrap();
    let code = code_of(&read_base32(offer.secret.expose_secret()), NOW);
    let totp = CodeFor {
        handle: &offer.handle,
        code: &code,
    };
    let refused = bed2.accounts.confirm_totp(right, totp, at(NOW)).await;
    assert_eq!(refused, Err(FactorError::NeedsPassword));
    // Together they may come, and the offer is still good.
    let proved = bed2
        .accounts
        .set_password(right, secret(SHORT), Some(totp), at(NOW))
        .await;
    assert_eq!(proved.unwrap().unwrap().acr(), "mfa");
    bed2 = bed2.reopen();
    assert!(bed2.accounts.get("bob").unwrap().totp);
}

async fn with_no_password() -> Bed {
    let bed = Bed::new();
    bed.add("bob").await;
    bed
}

#[tokio::test]
async fn a_welcome_beside_an_app_sets_a_password_but_does_not_go_round_the_app() {
    let bed = Bed::new();
    with_app(&bed, "ada").await;
    let link = bed.link("ada").await;
    let welcome = bed.accounts.open_link(&link.token, at(NOW)).unwrap();
    let right = Right::Welcome(&welcome.handle);
    let set = bed
        .accounts
        .set_password(right, secret(LONG), None, at(NOW))
        .await;
    assert_eq!(set, Ok(None));
    let outcome = bed
        .accounts
        .check_password("ada", secret(LONG), at(NOW))
        .await
        .unwrap();
    assert!(matches!(outcome, PasswordOutcome::NeedsCode { .. }));
}

#[tokio::test]
async fn an_offer_is_for_one_account_one_device_and_five_tries() {
    let bed = Bed::new();
    with_password(&bed, "ada").await;
    with_password(&bed, "bob").await;
    let accounts = &bed.accounts;
    let offer = accounts
        .begin_totp(Right::SignedIn("ada"), at(NOW))
        .unwrap();
    let code = code_of(&read_base32(offer.secret.expose_secret()), NOW);
    let right = CodeFor {
        handle: &offer.handle,
        code: &code,
    };
    let foreign = accounts
        .confirm_totp(Right::SignedIn("bob"), right, at(NOW))
        .await;
    assert_eq!(foreign, Err(FactorError::Expired));
    let phone = Visit {
        device: "phone",
        now: NOW,
    };
    let foreign = accounts
        .confirm_totp(Right::SignedIn("ada"), right, phone)
        .await;
    assert_eq!(foreign, Err(FactorError::Expired));
    let wrong = CodeFor {
        handle: &offer.handle,
        code: "000000",
    };
    for _ in 0..5 {
        let refused = accounts
            .confirm_totp(Right::SignedIn("ada"), wrong, at(NOW))
            .await;
        assert_eq!(refused, Err(FactorError::WrongCode));
    }
    let late = accounts
        .confirm_totp(Right::SignedIn("ada"), right, at(NOW))
        .await;
    assert_eq!(late, Err(FactorError::Expired));
}

#[tokio::test]
async fn recovery_codes_stand_in_for_the_app_once_each() {
    let bed = Bed::new();
    with_app(&bed, "ada").await;
    let codes = bed
        .accounts
        .make_recovery_codes("ada", at(NOW))
        .await
        .unwrap();
    assert_eq!(codes.len(), 10);
    assert_eq!(bed.kinds(), [EventKind::RecoveryCodesMade]);
    let first = handle(&bed, "ada", NOW).await;
    let code = codes[3].expose_secret().to_lowercase();
    let proved = bed
        .accounts
        .check_recovery_code(&first, &code, at(NOW))
        .await
        .unwrap();
    assert_eq!(
        (proved.acr(), proved.amr()),
        ("mfa", &["pwd", "otp", "mfa"][..])
    );
    let told = bed.told();
    assert_eq!(told[0].kind, EventKind::RecoveryUsed);
    assert_eq!(told[0].detail.as_deref(), Some("9 codes are left"));
    let bed = bed.reopen();
    let second = handle(&bed, "ada", NOW).await;
    let again = bed
        .accounts
        .check_recovery_code(&second, &code, at(NOW))
        .await;
    assert_eq!(again, Err(SignInRefusal::NotProved));
    // New ones void those that are left.
    let new = bed
        .accounts
        .make_recovery_codes("ada", at(NOW))
        .await
        .unwrap();
    let old = bed
        .accounts
        .check_recovery_code(&second, codes[4].expose_secret(), at(NOW))
        .await;
    assert_eq!(old, Err(SignInRefusal::NotProved));
    let new = bed
        .accounts
        .check_recovery_code(&second, new[0].expose_secret(), at(NOW))
        .await;
    assert!(new.is_ok());
}

#[tokio::test]
async fn a_recovery_code_of_somebody_else_is_none() {
    let bed = Bed::new();
    with_app(&bed, "ada").await;
    with_app(&bed, "bob").await;
    let codes = bed
        .accounts
        .make_recovery_codes("bob", at(NOW))
        .await
        .unwrap();
    let ada = handle(&bed, "ada", NOW).await;
    let refused = bed
        .accounts
        .check_recovery_code(&ada, codes[0].expose_secret(), at(NOW))
        .await;
    assert_eq!(refused, Err(SignInRefusal::NotProved));
}

#[tokio::test]
async fn whoever_lost_all_passkeys_recovers_with_a_code() {
    let bed = Bed::new();
    with_passkey(&bed).await;
    let codes = bed
        .accounts
        .make_recovery_codes("ada", at(NOW))
        .await
        .unwrap();
    bed.told();
    let code = codes[0].expose_secret();
    let welcome = bed.accounts.recover("ada", code, at(NOW)).await.unwrap();
    assert_eq!(bed.kinds(), [EventKind::RecoveryUsed]);
    let right = Right::Welcome(&welcome.handle);
    let mut key = SoftKey::new();
    let proved = register(&bed.accounts, right, &mut key, at(NOW))
        .await
        .unwrap();
    assert_eq!(proved.acr(), "phr");
    let more = register(&bed.accounts, right, &mut SoftKey::new(), at(NOW)).await;
    assert_eq!(more, Err(FactorError::NoRight), "one code, one factor");
    let again = bed.accounts.recover("ada", code, at(NOW)).await;
    assert_eq!(again.err(), Some(SignInRefusal::NotProved));
}

#[tokio::test]
async fn a_recovery_code_does_not_go_round_a_password() {
    let bed = Bed::new();
    with_app(&bed, "ada").await;
    let codes = bed
        .accounts
        .make_recovery_codes("ada", at(NOW))
        .await
        .unwrap();
    for name in ["ada", "nobody"] {
        let refused = bed
            .accounts
            .recover(name, codes[0].expose_secret(), at(NOW))
            .await;
        assert_eq!(refused.err(), Some(SignInRefusal::NotProved), "{name}");
    }
    assert_eq!(bed.accounts.get("ada").unwrap().recovery_codes, 10);
}

#[tokio::test]
async fn guessing_recovery_codes_locks_the_device() {
    let bed = Bed::new();
    with_passkey(&bed).await;
    let codes = bed
        .accounts
        .make_recovery_codes("ada", at(NOW))
        .await
        .unwrap();
    let mut locked = 0;
    for _ in 0..8 {
        let refused = bed
            .accounts
            .recover("ada", "0000-0000-0000-0000", at(NOW))
            .await
            .err();
        locked += usize::from(matches!(refused, Some(SignInRefusal::LockedOut { .. })));
    }
    assert_eq!(locked, 4);
    let phone = Visit {
        device: "phone",
        now: NOW,
    };
    assert!(
        bed.accounts
            .recover("ada", codes[0].expose_secret(), phone)
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn a_recovery_is_not_used_up_by_a_passkey_that_is_known_already() {
    let bed = Bed::new();
    let mut key = with_passkey(&bed).await;
    let codes = bed
        .accounts
        .make_recovery_codes("ada", at(NOW))
        .await
        .unwrap();
    let welcome = bed
        .accounts
        .recover("ada", codes[0].expose_secret(), at(NOW))
        .await
        .unwrap();
    let right = Right::Welcome(&welcome.handle);
    // Not with the library's own check, which looks at the list of those to exclude.
    let weak = bed
        .accounts
        .set_password(right, secret(SHORT), None, at(NOW))
        .await;
    assert!(matches!(weak, Err(FactorError::Weak(_))));
    assert!(
        register(&bed.accounts, right, &mut key, at(NOW))
            .await
            .is_err()
    );
    assert!(
        register(&bed.accounts, right, &mut SoftKey::new(), at(NOW))
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn a_welcome_that_rests_on_recovery_ends_with_the_account() {
    let bed = Bed::new();
    with_passkey(&bed).await;
    let codes = bed
        .accounts
        .make_recovery_codes("ada", at(NOW))
        .await
        .unwrap();
    let recover = |at_code: usize| {
        let (accounts, code) = (
            bed.accounts.clone(),
            codes[at_code].expose_secret().to_owned(),
        );
        async move { accounts.recover("ada", &code, at(NOW)).await.unwrap() }
    };
    for (number, reset) in [true, false].into_iter().enumerate() {
        let welcome = recover(number).await;
        if reset {
            bed.accounts
                .link("ada", Actor::Administrator, NOW)
                .await
                .unwrap();
        } else {
            bed.accounts
                .disable("ada", Actor::Administrator, NOW)
                .await
                .unwrap();
            bed.accounts
                .enable("ada", Actor::Administrator, NOW)
                .await
                .unwrap();
        }
        assert!(bed.accounts.welcomed(&welcome.handle, at(NOW)).is_none());
    }
}
