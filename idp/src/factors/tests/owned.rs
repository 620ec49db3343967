//! What people do with their own passkeys, and what a reset leaves of them.

use super::*;
use crate::event::{Actor, EventKind};

#[tokio::test]
async fn the_last_way_in_is_removed_only_knowingly() {
    let bed = Bed::new();
    let mut first = with_passkey(&bed).await;
    let mut second = SoftKey::new();
    register(&bed.accounts, Right::SignedIn("ada"), &mut second, at(NOW))
        .await
        .unwrap();
    bed.told();
    let ids: Vec<_> = bed.accounts.get("ada").unwrap().passkeys;
    let remove = |id: Box<str>, last| {
        let accounts = bed.accounts.clone();
        async move { accounts.remove_passkey("ada", &id, last, at(NOW)).await }
    };
    assert_eq!(remove(ids[0].id.clone(), LastWayIn::Keep).await, Ok(()));
    let kept = remove(ids[1].id.clone(), LastWayIn::Keep).await;
    assert_eq!(kept, Err(FactorError::LastWayIn));
    assert!(
        sign_in(&bed.accounts, None, &mut first, at(NOW))
            .await
            .is_err()
    );
    assert!(
        sign_in(&bed.accounts, None, &mut second, at(NOW))
            .await
            .is_ok()
    );
    let unknown = remove(ids[0].id.clone(), LastWayIn::RemoveKnowingly).await;
    assert_eq!(unknown, Err(FactorError::Unknown));
    assert_eq!(
        remove(ids[1].id.clone(), LastWayIn::RemoveKnowingly).await,
        Ok(())
    );
    assert!(
        sign_in(&bed.accounts, Some("ada"), &mut second, at(NOW))
            .await
            .is_err()
    );
    let kinds = bed.kinds();
    let removed = kinds
        .iter()
        .filter(|kind| **kind == EventKind::FactorRemoved);
    assert_eq!(removed.count(), 2);
}

#[tokio::test]
async fn passkeys_have_names_that_can_be_changed() {
    let bed = Bed::new();
    with_passkey(&bed).await;
    let id = bed.accounts.get("ada").unwrap().passkeys[0].id.clone();
    let accounts = &bed.accounts;
    accounts
        .rename_passkey("ada", &id, " 私の携帯 ", at(NOW))
        .await
        .unwrap();
    assert_eq!(&*accounts.get("ada").unwrap().passkeys[0].name, "私の携帯");
    for bad in ["", "a\nb", &"x".repeat(65)] {
        let refused = accounts.rename_passkey("ada", &id, bad, at(NOW)).await;
        assert_eq!(refused, Err(FactorError::BadName), "{bad:?}");
    }
    bed.add("bob").await;
    let foreign = accounts.rename_passkey("bob", &id, "x", at(NOW)).await;
    assert_eq!(foreign, Err(FactorError::Unknown));
    let foreign = accounts
        .remove_passkey("bob", &id, LastWayIn::RemoveKnowingly, at(NOW))
        .await;
    assert_eq!(foreign, Err(FactorError::Unknown));
}

#[tokio::test]
async fn a_reset_removes_every_factor_and_leaves_a_link() {
    let bed = Bed::new();
    let mut key = with_passkey(&bed).await;
    let codes = bed
        .accounts
        .make_recovery_codes("ada", at(NOW))
        .await
        .unwrap();
    let began = bed
        .accounts
        .begin_passkey(Right::SignedIn("ada"), at(NOW))
        .unwrap();
    bed.told();
    let link = bed
        .accounts
        .reset("ada", Actor::Administrator, NOW)
        .await
        .unwrap();
    assert_eq!(bed.kinds(), [EventKind::AccountReset]);
    let ada = bed.accounts.get("ada").unwrap();
    assert!(!ada.can_sign_in(true) && ada.recovery_codes == 0);
    assert!(
        sign_in(&bed.accounts, None, &mut key, at(NOW))
            .await
            .is_err()
    );
    let recovered = bed
        .accounts
        .recover("ada", codes[0].expose_secret(), at(NOW))
        .await;
    assert_eq!(recovered.err(), Some(SignInRefusal::NotProved));
    // What had begun before is over.
    let answer = SoftKey::new().create(&began.options);
    let right = Right::SignedIn("ada");
    let late = bed
        .accounts
        .finish_passkey(right, &began.handle, &answer, "", at(NOW))
        .await;
    assert_eq!(late, Err(FactorError::Expired));
    assert!(bed.accounts.open_link(&link.token, at(NOW)).is_ok());
}

#[tokio::test]
async fn twenty_passkeys_are_enough() {
    let bed = Bed::new();
    bed.add("ada").await;
    for _ in 0..20 {
        register(
            &bed.accounts,
            Right::SignedIn("ada"),
            &mut SoftKey::new(),
            at(NOW),
        )
        .await
        .unwrap();
    }
    let more = register(
        &bed.accounts,
        Right::SignedIn("ada"),
        &mut SoftKey::new(),
        at(NOW),
    )
    .await;
    assert_eq!(more, Err(FactorError::TooMany));
}
