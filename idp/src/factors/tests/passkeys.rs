//! Passkeys: registration, sign-in, and what thieves and copies of them try.

use serde_json::Value;

use super::soft_key::bytes;
use super::*;
use crate::accounts::tests::MINUTE;
use crate::event::{Actor, EventKind};

#[tokio::test]
async fn the_first_passkey_signs_in_and_uses_the_link_up() {
    let bed = Bed::new();
    bed.add("ada").await;
    let link = bed.link("ada").await;
    let welcome = bed.accounts.open_link(&link.token, at(NOW)).unwrap();
    let right = Right::Welcome(&welcome.handle);
    bed.told();
    let mut key = SoftKey::new();
    let proved = register(&bed.accounts, right, &mut key, at(NOW))
        .await
        .unwrap();
    assert_eq!(proved.account(), "ada");
    assert_eq!((proved.acr(), proved.at()), ("phr", NOW));
    assert_eq!(proved.amr(), ["hwk", "pop", "user", "mfa"]);
    assert_eq!(bed.kinds(), [EventKind::FactorAdded]);
    assert!(bed.accounts.open_link(&link.token, at(NOW)).is_err());
    let again = register(&bed.accounts, right, &mut SoftKey::new(), at(NOW)).await;
    assert_eq!(again, Err(FactorError::NoRight));
    for name in [Some("ada"), Some("ADA"), None] {
        let proved = sign_in(&bed.accounts, name, &mut key, at(NOW + 1))
            .await
            .unwrap();
        assert_eq!(proved.account(), "ada");
    }
    let seen = bed.accounts.get("ada").unwrap();
    assert_eq!(seen.passkeys[0].used_at, Some(NOW + 1));
    assert_eq!(&*seen.passkeys[0].name, "key");
    assert_eq!(seen.link_until, None);
}

#[tokio::test]
async fn two_welcomes_of_one_link_add_one_factor() {
    let bed = Bed::new();
    bed.add("ada").await;
    let link = bed.link("ada").await;
    let [one, other] = [(); 2].map(|()| bed.accounts.open_link(&link.token, at(NOW)).unwrap());
    let one = Right::Welcome(&one.handle);
    let other = Right::Welcome(&other.handle);
    let began = bed.accounts.begin_passkey(other, at(NOW)).unwrap();
    register(&bed.accounts, one, &mut SoftKey::new(), at(NOW))
        .await
        .unwrap();
    let answer = SoftKey::new().create(&began.options);
    let late = bed
        .accounts
        .finish_passkey(other, &began.handle, &answer, "", at(NOW));
    assert_eq!(late.await, Err(FactorError::NoRight));
    assert_eq!(bed.accounts.get("ada").unwrap().passkeys.len(), 1);
}

#[tokio::test]
async fn a_link_that_ends_on_the_way_adds_nothing() {
    let bed = Bed::new();
    bed.add("ada").await;
    let link = bed.link("ada").await;
    let before = at(link.until - 1);
    let welcome = bed.accounts.open_link(&link.token, before).unwrap();
    let right = Right::Welcome(&welcome.handle);
    let began = bed.accounts.begin_passkey(right, before).unwrap();
    let answer = SoftKey::new().create(&began.options);
    let late = bed
        .accounts
        .finish_passkey(right, &began.handle, &answer, "", at(link.until));
    assert_eq!(late.await, Err(FactorError::NoRight));
}

#[tokio::test]
async fn browsers_are_asked_for_what_we_need() {
    let bed = Bed::new();
    let key = with_passkey(&bed).await;
    let right = Right::SignedIn("ada");
    let options = bed.accounts.begin_passkey(right, at(NOW)).unwrap().options;
    let options: Value = serde_json::from_str(&options).unwrap();
    let options = &options["publicKey"];
    assert_eq!(options["rp"]["id"], "login.example.com");
    assert_eq!(options["rp"]["name"], "Yamada Works");
    assert_eq!(options["user"]["name"], "ada");
    assert_eq!(bytes(&options["user"]["id"]).len(), 16);
    let selection = &options["authenticatorSelection"];
    assert_eq!(selection["userVerification"], "required");
    assert_eq!(selection["residentKey"], "preferred");
    assert_eq!(bytes(&options["excludeCredentials"][0]["id"]), key.id);
    assert!(bytes(&options["challenge"]).len() >= 16);

    let options = bed
        .accounts
        .begin_passkey_sign_in(None, at(NOW))
        .unwrap()
        .options;
    let options: Value = serde_json::from_str(&options).unwrap();
    assert!(options.get("mediation").is_none());
    assert_eq!(options["publicKey"]["userVerification"], "required");
    assert_eq!(
        options["publicKey"]["allowCredentials"],
        Value::Array(Vec::new())
    );
}

#[tokio::test]
async fn nothing_but_the_exact_origin_counts() {
    let bed = Bed::new();
    let mut key = with_passkey(&bed).await;
    for origin in [
        "https://login.example.com",
        "https://login.example.com:8444",
        "http://login.example.com:8443",
        "https://login.example.com:8443/",
        "https://LOGIN.example.com:8443",
        "https://login.example.com.evil.example:8443",
        "https://evil.login.example.com:8443",
        "https://example.com:8443",
        "https://xn--lgin-6na.example.com:8443",
        "null",
        "",
    ] {
        key.origin = origin.to_owned();
        for name in [Some("ada"), None] {
            let refused = sign_in(&bed.accounts, name, &mut key, at(NOW)).await;
            assert_eq!(refused, Err(SignInRefusal::NotProved), "{origin}");
        }
        let mut new = SoftKey::new();
        new.origin = origin.to_owned();
        let refused = register(&bed.accounts, Right::SignedIn("ada"), &mut new, at(NOW)).await;
        assert_eq!(refused, Err(FactorError::NotVerified), "{origin}");
    }
    let told = bed.told();
    assert!(told.iter().all(|event| event.failure == Some("not-proved")));
    assert_eq!(told.len(), 22);
}

#[tokio::test]
async fn another_relying_party_id_does_not_count() {
    let bed = Bed::new();
    let mut key = with_passkey(&bed).await;
    key.rp_id = "example.com".to_owned();
    let refused = sign_in(&bed.accounts, Some("ada"), &mut key, at(NOW)).await;
    assert_eq!(refused, Err(SignInRefusal::NotProved));
}

#[tokio::test]
async fn a_page_that_frames_us_gets_nothing() {
    let bed = Bed::new();
    let mut key = with_passkey(&bed).await;
    key.cross_origin = true;
    for name in [Some("ada"), None] {
        let refused = sign_in(&bed.accounts, name, &mut key, at(NOW)).await;
        assert_eq!(refused, Err(SignInRefusal::NotProved));
    }
    let mut new = SoftKey::new();
    new.cross_origin = true;
    let refused = register(&bed.accounts, Right::SignedIn("ada"), &mut new, at(NOW)).await;
    assert_eq!(refused, Err(FactorError::NotVerified));
}

#[tokio::test]
async fn presence_without_verification_does_not_count() {
    let bed = Bed::new();
    let mut key = with_passkey(&bed).await;
    key.verifies = false;
    for name in [Some("ada"), None] {
        let refused = sign_in(&bed.accounts, name, &mut key, at(NOW)).await;
        assert_eq!(refused, Err(SignInRefusal::NotProved));
    }
    let mut new = SoftKey::new();
    new.verifies = false;
    let refused = register(&bed.accounts, Right::SignedIn("ada"), &mut new, at(NOW)).await;
    assert_eq!(refused, Err(FactorError::NotVerified));
}

#[tokio::test]
async fn a_counter_that_goes_back_is_a_copy() {
    let bed = Bed::new();
    let welcome = bed.welcome("ada").await;
    let mut key = SoftKey::new();
    key.counter = 5;
    let right = Right::Welcome(&welcome.handle);
    register(&bed.accounts, right, &mut key, at(NOW))
        .await
        .unwrap();
    sign_in(&bed.accounts, Some("ada"), &mut key, at(NOW))
        .await
        .unwrap();
    bed.told();
    // The copy was made before the last sign-in.
    for (name, counter) in [(Some("ada"), 6), (None, 6), (None, 5), (Some("ada"), 0)] {
        key.counter = counter;
        let refused = sign_in(&bed.accounts, name, &mut key, at(NOW)).await;
        assert_eq!(refused, Err(SignInRefusal::NotProved), "{counter}");
        let told = bed.told();
        assert_eq!(told[0].failure, Some("passkey-copied"));
        assert_eq!(told[0].account.as_deref(), Some("ada"));
    }
    key.counter = 7;
    assert!(
        sign_in(&bed.accounts, Some("ada"), &mut key, at(NOW))
            .await
            .is_ok()
    );
    let bed = bed.reopen();
    key.counter = 7;
    assert!(
        sign_in(&bed.accounts, Some("ada"), &mut key, at(NOW))
            .await
            .is_err()
    );
}

#[tokio::test]
async fn two_ceremonies_side_by_side_do_not_hide_a_copy() {
    let bed = Bed::new();
    let welcome = bed.welcome("ada").await;
    let mut key = SoftKey::new();
    key.counter = 1;
    let right = Right::Welcome(&welcome.handle);
    register(&bed.accounts, right, &mut key, at(NOW))
        .await
        .unwrap();
    let begin = || {
        bed.accounts
            .begin_passkey_sign_in(Some("ada"), at(NOW))
            .unwrap()
    };
    let (one, other) = (begin(), begin());
    key.counter = 9;
    let mine = key.sign(&one.options);
    key.counter = 9;
    let copied = key.sign(&other.options);
    let finish = |handle: String, answer: String| {
        let accounts = bed.accounts.clone();
        async move {
            accounts
                .finish_passkey_sign_in(&handle, &answer, at(NOW))
                .await
        }
    };
    assert!(finish(one.handle, mine).await.is_ok());
    assert_eq!(
        finish(other.handle, copied).await,
        Err(SignInRefusal::NotProved)
    );
}

#[tokio::test]
async fn an_answer_counts_once_and_for_its_own_ceremony() {
    let bed = Bed::new();
    let mut key = with_passkey(&bed).await;
    let accounts = &bed.accounts;
    let one = accounts.begin_passkey_sign_in(None, at(NOW)).unwrap();
    let other = accounts.begin_passkey_sign_in(None, at(NOW)).unwrap();
    let answer = key.sign(&one.options);
    let elsewhere = accounts
        .finish_passkey_sign_in(&other.handle, &answer, at(NOW))
        .await;
    assert_eq!(elsewhere, Err(SignInRefusal::NotProved));
    assert!(
        accounts
            .finish_passkey_sign_in(&one.handle, &answer, at(NOW))
            .await
            .is_ok()
    );
    let again = accounts
        .finish_passkey_sign_in(&one.handle, &answer, at(NOW))
        .await;
    assert_eq!(again, Err(SignInRefusal::Expired));
}

#[tokio::test]
async fn a_ceremony_is_over_after_five_minutes_and_at_other_devices() {
    let bed = Bed::new();
    let mut key = with_passkey(&bed).await;
    let accounts = &bed.accounts;
    let ceremony = accounts.begin_passkey_sign_in(None, at(NOW)).unwrap();
    let answer = key.sign(&ceremony.options);
    let phone = Visit {
        device: "phone",
        now: NOW,
    };
    for visit in [phone, at(NOW + 5 * MINUTE)] {
        let late = accounts
            .finish_passkey_sign_in(&ceremony.handle, &answer, visit)
            .await;
        assert_eq!(late, Err(SignInRefusal::Expired));
    }
    let registration = accounts
        .begin_passkey(Right::SignedIn("ada"), at(NOW))
        .unwrap();
    let answer = key.sign(&registration.options);
    let mixed = accounts
        .finish_passkey_sign_in(&registration.handle, &answer, at(NOW))
        .await;
    assert_eq!(mixed, Err(SignInRefusal::Expired));
}

#[tokio::test]
async fn a_passkey_does_not_sign_in_for_somebody_else() {
    let bed = Bed::new();
    let mut ada = with_passkey(&bed).await;
    let welcome = bed.welcome("bob").await;
    let mut bob = SoftKey::new();
    let right = Right::Welcome(&welcome.handle);
    register(&bed.accounts, right, &mut bob, at(NOW))
        .await
        .unwrap();
    let refused = sign_in(&bed.accounts, Some("ada"), &mut bob, at(NOW)).await;
    assert_eq!(refused, Err(SignInRefusal::NotProved));
    // Ada's key with Bob's user handle, named and not.
    ada.user.clone_from(&bob.user);
    for name in [Some("ada"), None] {
        let refused = sign_in(&bed.accounts, name, &mut ada, at(NOW)).await;
        assert_eq!(refused, Err(SignInRefusal::NotProved));
    }
    // Ada's credential id, Bob's signature.
    bob.user.clone_from(&ada.user);
    bob.id.clone_from(&ada.id);
    for name in [Some("ada"), Some("bob"), None] {
        let refused = sign_in(&bed.accounts, name, &mut bob, at(NOW)).await;
        assert_eq!(refused, Err(SignInRefusal::NotProved));
    }
}

#[tokio::test]
async fn one_registration_cannot_be_finished_for_another_account() {
    let bed = Bed::new();
    bed.add("ada").await;
    bed.add("bob").await;
    let began = bed
        .accounts
        .begin_passkey(Right::SignedIn("ada"), at(NOW))
        .unwrap();
    let answer = SoftKey::new().create(&began.options);
    let right = Right::SignedIn("bob");
    let mixed = bed
        .accounts
        .finish_passkey(right, &began.handle, &answer, "", at(NOW))
        .await;
    assert_eq!(mixed, Err(FactorError::Expired));
}

#[tokio::test]
async fn a_credential_belongs_to_one_account() {
    let bed = Bed::new();
    let mut key = with_passkey(&bed).await;
    bed.add("bob").await;
    let taken = register(&bed.accounts, Right::SignedIn("bob"), &mut key, at(NOW)).await;
    assert_eq!(taken, Err(FactorError::KnownPasskey));
    let again = register(&bed.accounts, Right::SignedIn("ada"), &mut key, at(NOW)).await;
    assert!(again.is_err());
    assert_eq!(bed.accounts.get("ada").unwrap().passkeys.len(), 1);
}

#[tokio::test]
async fn answers_that_are_none_are_refused() {
    let bed = Bed::new();
    with_passkey(&bed).await;
    for odd in ["", "{}", "null", "[]", &"x".repeat(100_000)] {
        let ceremony = bed
            .accounts
            .begin_passkey_sign_in(Some("ada"), at(NOW))
            .unwrap();
        let refused = bed
            .accounts
            .finish_passkey_sign_in(&ceremony.handle, odd, at(NOW))
            .await;
        assert_eq!(refused, Err(SignInRefusal::NotProved));
        let right = Right::SignedIn("ada");
        let ceremony = bed.accounts.begin_passkey(right, at(NOW)).unwrap();
        let refused = bed
            .accounts
            .finish_passkey(right, &ceremony.handle, odd, "", at(NOW))
            .await;
        assert_eq!(refused, Err(FactorError::NotVerified));
    }
}

#[tokio::test]
async fn unknown_names_look_like_known_ones() {
    let bed = Bed::new();
    with_passkey(&bed).await;
    bed.add("bob").await;
    let options = |name: &str| -> Value {
        let ceremony = bed
            .accounts
            .begin_passkey_sign_in(Some(name), at(NOW))
            .unwrap();
        serde_json::from_str(&ceremony.options).unwrap()
    };
    let keys =
        |value: &Value| -> Vec<String> { value.as_object().unwrap().keys().cloned().collect() };
    let known = options("ada");
    for name in ["bob", "nobody", "eve@example.com", "no such/name", ""] {
        let made_up = options(name);
        assert_eq!(keys(&made_up), keys(&known), "{name}");
        assert_eq!(
            keys(&made_up["publicKey"]),
            keys(&known["publicKey"]),
            "{name}"
        );
        let [of_known, of_made_up] =
            [&known, &made_up].map(|options| &options["publicKey"]["allowCredentials"]);
        assert_eq!(keys(&of_known[0]), keys(&of_made_up[0]), "{name}");
        assert_eq!(options(name)["publicKey"]["allowCredentials"], *of_made_up);
        assert_ne!(
            options(name)["publicKey"]["challenge"],
            made_up["publicKey"]["challenge"]
        );
        // Nor does the end of it tell.
        let refused = sign_in(&bed.accounts, Some(name), &mut SoftKey::new(), at(NOW)).await;
        let of_known = sign_in(&bed.accounts, Some("ada"), &mut SoftKey::new(), at(NOW)).await;
        assert_eq!(refused, of_known, "{name}");
    }
    // After a restart, too.
    let before = options("nobody")["publicKey"]["allowCredentials"].clone();
    let bed = bed.reopen();
    let ceremony = bed
        .accounts
        .begin_passkey_sign_in(Some("nobody"), at(NOW))
        .unwrap();
    let after: Value = serde_json::from_str(&ceremony.options).unwrap();
    assert_eq!(after["publicKey"]["allowCredentials"], before);
}

#[tokio::test]
async fn a_disabled_account_is_told_so_after_the_proof_only() {
    let bed = Bed::new();
    let mut key = with_passkey(&bed).await;
    let ceremony = bed.accounts.begin_passkey_sign_in(None, at(NOW)).unwrap();
    let early = key.sign(&ceremony.options);
    bed.accounts.disable("ada", Actor::Scim, NOW).await.unwrap();
    let began_before = bed
        .accounts
        .finish_passkey_sign_in(&ceremony.handle, &early, at(NOW))
        .await;
    assert_eq!(began_before, Err(SignInRefusal::Disabled));
    for name in [Some("ada"), None] {
        let refused = sign_in(&bed.accounts, name, &mut key, at(NOW)).await;
        assert_eq!(refused, Err(SignInRefusal::Disabled));
    }
    let refused = sign_in(&bed.accounts, Some("ada"), &mut SoftKey::new(), at(NOW)).await;
    assert_eq!(refused, Err(SignInRefusal::NotProved));
    let right = Right::SignedIn("ada");
    assert_eq!(
        bed.accounts.begin_passkey(right, at(NOW)).err(),
        Some(FactorError::NoRight)
    );
    bed.accounts.enable("ada", Actor::Scim, NOW).await.unwrap();
    assert!(
        sign_in(&bed.accounts, None, &mut key, at(NOW))
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn passkeys_are_never_locked() {
    let bed = Bed::new();
    let mut key = with_passkey(&bed).await;
    for _ in 0..50 {
        let _ = sign_in(&bed.accounts, Some("ada"), &mut SoftKey::new(), at(NOW)).await;
    }
    assert!(
        sign_in(&bed.accounts, Some("ada"), &mut key, at(NOW))
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn backup_flags_are_kept_up_to_date_and_name_the_method() {
    let bed = Bed::new();
    let welcome = bed.welcome("ada").await;
    let mut key = SoftKey::new();
    key.eligible = true;
    let right = Right::Welcome(&welcome.handle);
    let proved = register(&bed.accounts, right, &mut key, at(NOW))
        .await
        .unwrap();
    assert_eq!(proved.amr(), ["swk", "pop", "user", "mfa"]);
    let synced = || bed.accounts.get("ada").unwrap().passkeys[0].synced;
    assert!(!synced());
    key.synced = true;
    let proved = sign_in(&bed.accounts, Some("ada"), &mut key, at(NOW))
        .await
        .unwrap();
    assert_eq!(proved.amr(), ["swk", "pop", "user", "mfa"]);
    assert!(synced());
}
