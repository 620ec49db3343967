//! Adding, changing, disabling, removing; links.

use proptest::prelude::*;

use super::*;

const BY: Actor = Actor::Administrator;

#[tokio::test]
async fn an_account_is_what_was_asked_for() {
    let bed = Bed::new();
    let new = NewAccount {
        user: "Ada".to_owned(),
        display_name: " Ada Lovelace ".to_owned(),
        email: Some("ada@example.com".to_owned()),
        groups: ["staff", "finance", "staff"].map(str::to_owned).into(),
        external_id: Some("4711".to_owned()),
    };
    let ada = bed.accounts.add(new, BY, NOW).await.unwrap();
    assert_eq!(&*ada.id, "ada");
    assert_eq!(&*ada.display_name, "Ada Lovelace");
    assert_eq!(ada.groups, ["finance".into(), "staff".into()]);
    assert!(ada.active && !ada.can_sign_in(true));
    assert_eq!(bed.accounts.get("ＡＤＡ"), Some(ada.clone()));
    assert_eq!(bed.accounts.with_external_id("4711"), Some(ada.clone()));
    assert_eq!(bed.accounts.list(), [ada]);
    let told = bed.told();
    assert_eq!(told[0].kind, EventKind::AccountCreated);
    assert_eq!(told[0].account.as_deref(), Some("ada"));
    assert_eq!(told[0].by, BY);
}

#[tokio::test]
async fn a_name_is_given_out_once_and_never_again() {
    let bed = Bed::new();
    bed.add("ada").await;
    let again = || NewAccount {
        user: "ADA".to_owned(),
        ..NewAccount::default()
    };
    let error = bed.accounts.add(again(), BY, NOW).await.unwrap_err();
    assert!(matches!(error, AccountError::Exists(_)), "{error}");
    bed.accounts.remove("ada", BY, NOW).await.unwrap();
    assert_eq!(bed.accounts.get("ada"), None);
    let error = bed.accounts.add(again(), BY, NOW).await.unwrap_err();
    assert!(matches!(error, AccountError::Used(_)), "{error}");
    let bed = bed.reopen();
    let error = bed.accounts.add(again(), BY, NOW).await.unwrap_err();
    assert!(matches!(error, AccountError::Used(_)), "{error}");
}

#[tokio::test]
async fn an_external_id_belongs_to_one_account() {
    let bed = Bed::new();
    bed.add("ada").await;
    bed.add("bob").await;
    let change = || Change {
        external_id: Some(Some("4711".to_owned())),
        ..Change::default()
    };
    bed.accounts.change("ada", change(), BY, NOW).await.unwrap();
    let error = bed
        .accounts
        .change("bob", change(), BY, NOW)
        .await
        .unwrap_err();
    assert!(matches!(error, AccountError::ExternalId(_)), "{error}");
    // Its own again is no conflict, and given up it is free.
    bed.accounts.change("ada", change(), BY, NOW).await.unwrap();
    let none = Change {
        external_id: Some(None),
        ..Change::default()
    };
    bed.accounts.change("ada", none, BY, NOW).await.unwrap();
    bed.accounts.change("bob", change(), BY, NOW).await.unwrap();
}

#[tokio::test]
async fn a_change_that_changes_nothing_is_not_told() {
    let bed = Bed::new();
    bed.add("ada").await;
    bed.told();
    let groups = || ["b", "a"].map(str::to_owned).into();
    bed.accounts
        .set_groups("ada", groups(), BY, NOW)
        .await
        .unwrap();
    assert_eq!(bed.kinds(), [EventKind::AccountChanged]);
    bed.accounts
        .set_groups("ada", groups(), BY, NOW + 1)
        .await
        .unwrap();
    bed.accounts.enable("ada", BY, NOW + 1).await.unwrap();
    assert_eq!(bed.kinds(), []);
    assert_eq!(bed.accounts.get("ada").unwrap().changed_at, NOW);
}

#[tokio::test]
async fn a_change_with_something_wrong_in_it_changes_nothing() {
    let bed = Bed::new();
    let before = bed.add("ada").await;
    let change = Change {
        display_name: Some("Ada".to_owned()),
        email: Some(Some("not an address".to_owned())),
        ..Change::default()
    };
    assert!(bed.accounts.change("ada", change, BY, NOW).await.is_err());
    assert_eq!(bed.accounts.get("ada"), Some(before));
}

#[tokio::test]
async fn what_nobody_has_cannot_be_changed() {
    let bed = Bed::new();
    for id in ["ada", "", "a/b", &"x".repeat(1_000)] {
        let results = [
            bed.accounts.disable(id, BY, NOW).await.err(),
            bed.accounts.remove(id, BY, NOW).await.err(),
            bed.accounts.reset(id, BY, NOW).await.err(),
            bed.accounts.link(id, BY, NOW).await.err(),
        ];
        for error in results {
            assert!(matches!(error, Some(AccountError::Unknown(_))), "{id:?}");
        }
    }
    assert_eq!(bed.kinds(), []);
}

#[tokio::test]
async fn a_disabled_account_gets_no_link_and_keeps_none() {
    let bed = Bed::new();
    bed.add("ada").await;
    let link = bed.link("ada").await;
    let welcome = bed.accounts.open_link(&link.token, at(NOW)).unwrap();
    bed.accounts.disable("ada", BY, NOW).await.unwrap();
    assert!(bed.accounts.open_link(&link.token, at(NOW)).is_err());
    assert!(bed.accounts.welcomed(&welcome.handle, at(NOW)).is_none());
    for result in [
        bed.accounts.link("ada", BY, NOW).await,
        bed.accounts.reset("ada", BY, NOW).await,
    ] {
        assert!(matches!(result.unwrap_err(), AccountError::Disabled(_)));
    }
    bed.accounts.enable("ada", BY, NOW).await.unwrap();
    assert!(bed.accounts.open_link(&link.token, at(NOW)).is_err());
}

#[tokio::test]
async fn opening_a_link_does_not_use_it_up() {
    let bed = Bed::new();
    bed.add("ada").await;
    let link = bed.link("ada").await;
    for _ in 0..3 {
        let welcome = bed.accounts.open_link(&link.token, at(NOW)).unwrap();
        let account = bed.accounts.welcomed(&welcome.handle, at(NOW)).unwrap();
        assert_eq!(&*account.id, "ada");
    }
}

#[tokio::test]
async fn a_link_ends_and_a_new_one_voids_it() {
    let bed = Bed::new();
    bed.add("ada").await;
    let old = bed.link("ada").await;
    let new = bed.link("ada").await;
    assert!(bed.accounts.open_link(&old.token, at(NOW)).is_err());
    assert!(
        bed.accounts
            .open_link(&new.token, at(new.until - 1))
            .is_ok()
    );
    assert!(bed.accounts.open_link(&new.token, at(new.until)).is_err());
    assert_eq!(new.until, NOW + 24 * 60 * MINUTE);
    assert!(
        bed.accounts
            .open_link(&String::new().into(), at(NOW))
            .is_err()
    );
}

#[tokio::test]
async fn a_welcome_is_for_the_device_that_opened_the_link() {
    let bed = Bed::new();
    let welcome = bed.welcome("ada").await;
    let other = Visit {
        device: "phone",
        now: NOW,
    };
    assert!(bed.accounts.welcomed(&welcome.handle, other).is_none());
    assert!(bed.accounts.welcomed(&welcome.handle, at(NOW)).is_some());
    assert!(
        bed.accounts
            .welcomed(&welcome.handle, at(NOW + 30 * MINUTE))
            .is_none()
    );
    assert!(bed.accounts.welcomed("", at(NOW)).is_none());
}

#[tokio::test]
async fn a_removed_account_takes_its_link_along() {
    let bed = Bed::new();
    bed.add("ada").await;
    let link = bed.link("ada").await;
    let welcome = bed.accounts.open_link(&link.token, at(NOW)).unwrap();
    bed.accounts.remove("ada", BY, NOW).await.unwrap();
    assert!(bed.accounts.open_link(&link.token, at(NOW)).is_err());
    assert!(bed.accounts.welcomed(&welcome.handle, at(NOW)).is_none());
}

/// One thing that an administrator does.
#[derive(Clone, Debug)]
enum Step {
    Add(u8),
    Remove(u8),
    Disable(u8),
    Enable(u8),
    Groups(u8, Vec<String>),
    Link(u8),
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let who = 0_u8..4;
    let step = prop_oneof![
        who.clone().prop_map(Step::Add),
        who.clone().prop_map(Step::Remove),
        who.clone().prop_map(Step::Disable),
        who.clone().prop_map(Step::Enable),
        (who.clone(), proptest::collection::vec("[a-c]", 0..3))
            .prop_map(|(who, groups)| Step::Groups(who, groups)),
        who.prop_map(Step::Link),
        Just(Step::Reopen),
    ];
    proptest::collection::vec(step, 1..24)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Against maps, and across restarts.
    #[test]
    fn accounts_are_what_a_plain_map_would_hold(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            use std::collections::{BTreeMap, BTreeSet};
            let mut model: BTreeMap<String, (bool, BTreeSet<String>)> = BTreeMap::new();
            let mut gone = BTreeSet::new();
            let mut bed = Bed::new();
            for step in steps {
                let name = |who: u8| format!("user{who}");
                match step {
                    Step::Add(who) => {
                        let new = NewAccount { user: name(who), ..NewAccount::default() };
                        let fits = !model.contains_key(&name(who)) && !gone.contains(&name(who));
                        assert_eq!(bed.accounts.add(new, BY, NOW).await.is_ok(), fits);
                        if fits { model.insert(name(who), (true, BTreeSet::new())); }
                    }
                    Step::Remove(who) => {
                        let fits = model.remove(&name(who)).is_some();
                        assert_eq!(bed.accounts.remove(&name(who), BY, NOW).await.is_ok(), fits);
                        if fits { gone.insert(name(who)); }
                    }
                    Step::Disable(who) => {
                        let done = bed.accounts.disable(&name(who), BY, NOW).await.is_ok();
                        let entry = model.get_mut(&name(who));
                        assert_eq!(done, entry.is_some());
                        if let Some(entry) = entry { entry.0 = false; }
                    }
                    Step::Enable(who) => {
                        let done = bed.accounts.enable(&name(who), BY, NOW).await.is_ok();
                        let entry = model.get_mut(&name(who));
                        assert_eq!(done, entry.is_some());
                        if let Some(entry) = entry { entry.0 = true; }
                    }
                    Step::Groups(who, groups) => {
                        let done = bed.accounts.set_groups(&name(who), groups.clone(), BY, NOW).await.is_ok();
                        let entry = model.get_mut(&name(who));
                        assert_eq!(done, entry.is_some());
                        if let Some(entry) = entry { entry.1 = groups.into_iter().collect(); }
                    }
                    Step::Link(who) => {
                        let done = bed.accounts.link(&name(who), BY, NOW).await.is_ok();
                        assert_eq!(done, model.get(&name(who)).is_some_and(|entry| entry.0));
                    }
                    Step::Reopen => bed = bed.reopen(),
                }
                let held: Vec<_> = bed.accounts.list().into_iter().map(|account| {
                    let groups: BTreeSet<String> = account.groups.iter().map(ToString::to_string).collect();
                    (account.id.into_string(), (account.active, groups))
                }).collect();
                assert_eq!(held, model.clone().into_iter().collect::<Vec<_>>());
            }
        });
    }
}
