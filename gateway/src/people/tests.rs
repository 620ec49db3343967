//! What the directory promises: whoever is inactive stays so, and a damaged file is told of.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::limits::by_hand::FixedEntropy;

const CORP: &str = "corp";

fn basis(user: ScimUser) -> Option<Basis> {
    Some(Basis {
        issuer: CORP.into(),
        user,
        group_prefix: "c:".into(),
    })
}

fn open(directory: &Path) -> People {
    People::open(directory, basis(ScimUser::UserName), &FixedEntropy).unwrap()
}

fn person(id: &str, user_name: &str, active: bool) -> Person {
    Person {
        id: id.into(),
        issuer: CORP.into(),
        user_name: user_name.into(),
        external_id: Some(format!("ext-{id}").into()),
        active,
        display_name: None,
        formatted_name: None,
        given_name: None,
        family_name: None,
        emails: Vec::new(),
        created: 1,
        modified: 1,
        version: 1,
    }
}

fn group(id: &str, name: &str, members: &[&str]) -> Group {
    Group {
        id: id.into(),
        issuer: CORP.into(),
        display_name: name.into(),
        external_id: None,
        members: members.iter().map(|id| Box::from(*id)).collect(),
        created: 1,
        modified: 1,
        version: 1,
    }
}

fn active(groups: Option<&[&str]>) -> Standing {
    Standing::Active {
        groups: groups.map(|names| names.iter().map(|name| Box::from(*name)).collect()),
    }
}

#[test]
fn nobody_is_known_before_they_are_provisioned() {
    let directory = tempfile::tempdir().unwrap();
    let people = open(directory.path());
    assert_eq!(people.standing("corp/ada"), Standing::Unknown);
    people.turn().put_person(person("1", "ada", true)).unwrap();
    assert_eq!(people.standing("corp/ada"), active(None));
    assert_eq!(people.standing("other/ada"), Standing::Unknown);
}

#[test]
fn who_is_deactivated_is_inactive_however_the_name_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let people = open(directory.path());
    let before = people.revision();
    let put = |active| {
        people
            .turn()
            .put_person(person("1", "Ada@Corp.example", active))
    };
    put(true).unwrap();
    assert!(people.revision() > before);
    put(false).unwrap();
    for name in [
        "corp/Ada@Corp.example",
        "corp/ada@corp.example",
        "CORP/ADA@CORP.EXAMPLE",
    ] {
        assert_eq!(people.standing(name), Standing::Inactive, "{name}");
    }
    assert_eq!(people.inactive(), 1);
    put(true).unwrap();
    assert_eq!(people.standing("corp/ada@corp.example"), active(None));
}

#[test]
fn who_is_deleted_stays_inactive_over_a_restart_until_provisioned_anew() {
    let directory = tempfile::tempdir().unwrap();
    {
        let people = open(directory.path());
        let ada = people.turn().put_person(person("1", "ada", true)).unwrap();
        people.turn().remove_person(&ada).unwrap();
        assert_eq!(people.standing("corp/ada"), Standing::Inactive);
    }
    let people = open(directory.path());
    assert_eq!(people.standing("corp/ada"), Standing::Inactive);
    people.turn().put_person(person("2", "ada", true)).unwrap();
    assert_eq!(people.standing("corp/ada"), active(None));
}

#[test]
fn a_former_name_is_inactive_until_somebody_else_has_it() {
    let directory = tempfile::tempdir().unwrap();
    let people = open(directory.path());
    people.turn().put_person(person("1", "ada", true)).unwrap();
    people
        .turn()
        .put_person(person("1", "ada.byron", true))
        .unwrap();
    assert_eq!(people.standing("corp/ada"), Standing::Inactive);
    assert_eq!(people.standing("corp/ada.byron"), active(None));
    people.turn().put_person(person("2", "ada", true)).unwrap();
    assert_eq!(people.standing("corp/ada"), active(None));
}

#[test]
fn names_and_external_ids_are_taken_once() {
    let directory = tempfile::tempdir().unwrap();
    let people = open(directory.path());
    people.turn().put_person(person("1", "ada", false)).unwrap();
    let refused = people.turn().put_person(person("2", "ADA", true));
    assert!(matches!(refused, Err(Refused::Taken("userName"))));
    let mut twin = person("2", "grace", true);
    twin.external_id = Some("EXT-1".into());
    let refused = people.turn().put_person(twin);
    assert!(matches!(refused, Err(Refused::Taken("externalId"))));
    assert_eq!(people.standing("corp/ada"), Standing::Inactive);
    assert_eq!(people.standing("corp/grace"), Standing::Unknown);
}

#[test]
fn groups_replace_those_of_tokens_once_there_are_any() {
    let directory = tempfile::tempdir().unwrap();
    let people = open(directory.path());
    for (id, name) in [("1", "ada"), ("2", "grace")] {
        people.turn().put_person(person(id, name, true)).unwrap();
    }
    let finance = people
        .turn()
        .put_group(group("g", "finance", &["1"]))
        .unwrap();
    assert_eq!(people.standing("corp/ada"), active(Some(&["c:finance"])));
    assert_eq!(people.standing("corp/grace"), active(Some(&[])));
    people
        .turn()
        .put_group(group("g", "Accounts", &["1", "2"]))
        .unwrap();
    assert_eq!(people.standing("corp/ada"), active(Some(&["c:Accounts"])));
    assert_eq!(people.standing("corp/grace"), active(Some(&["c:Accounts"])));
    let last = people.turn().group(CORP, &finance.id).unwrap();
    people.turn().remove_group(&last).unwrap();
    assert_eq!(people.standing("corp/ada"), active(Some(&[])));
    drop(people);
    assert_eq!(
        open(directory.path()).standing("corp/ada"),
        active(Some(&[]))
    );
}

#[test]
fn groups_lose_whoever_is_deleted_and_take_nobody_unknown() {
    let directory = tempfile::tempdir().unwrap();
    let people = open(directory.path());
    let ada = people.turn().put_person(person("1", "ada", true)).unwrap();
    people
        .turn()
        .put_group(group("g", "finance", &["1"]))
        .unwrap();
    people.turn().remove_person(&ada).unwrap();
    assert!(people.turn().group(CORP, "g").unwrap().members.is_empty());
    let refused = people.turn().put_group(group("g", "finance", &["1"]));
    assert!(matches!(refused, Err(Refused::NoSuchMember(_))));
    let refused = people.turn().put_group(group("h", "FINANCE", &[]));
    assert!(matches!(refused, Err(Refused::Taken("displayName"))));
}

#[test]
fn external_ids_count_in_their_own_spelling_and_deactivate_in_any() {
    let directory = tempfile::tempdir().unwrap();
    let people =
        People::open(directory.path(), basis(ScimUser::ExternalId), &FixedEntropy).unwrap();
    people.turn().put_person(person("Aa", "ada", true)).unwrap();
    assert_eq!(people.standing("corp/ext-Aa"), active(None));
    assert_eq!(people.standing("corp/ext-aa"), Standing::Unknown);
    assert_eq!(people.standing("corp/ada"), Standing::Unknown);
    people
        .turn()
        .put_person(person("Aa", "ada", false))
        .unwrap();
    assert_eq!(people.standing("corp/ext-aa"), Standing::Inactive);
    let mut nameless = person("b", "grace", true);
    nameless.external_id = None;
    let refused = people.turn().put_person(nameless);
    assert!(matches!(refused, Err(Refused::Nameless("externalId"))));
}

#[test]
fn another_basis_is_another_table() {
    let directory = tempfile::tempdir().unwrap();
    let people = open(directory.path());
    people.turn().put_person(person("1", "ada", false)).unwrap();
    people.rest_on(basis(ScimUser::ExternalId));
    assert_eq!(people.standing("corp/ada"), Standing::Unknown);
    assert_eq!(people.standing("corp/ext-1"), Standing::Inactive);
    people.rest_on(None);
    assert_eq!(people.standing("corp/ext-1"), Standing::Unknown);
}

#[test]
fn the_file_is_for_its_owner_only_and_for_one_process() {
    let directory = tempfile::tempdir().unwrap();
    let _people = open(directory.path());
    let path = directory.path().join("people.redb");
    let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    let again = People::open(directory.path(), None, &FixedEntropy);
    assert!(matches!(again, Err(PeopleError::InUse(_))), "{again:?}");
}

#[test]
fn a_damaged_file_is_told_of_and_never_replaced() {
    let directory = tempfile::tempdir().unwrap();
    {
        let people = open(directory.path());
        people.turn().put_person(person("1", "ada", false)).unwrap();
    }
    let path = directory.path().join("people.redb");
    let whole = fs::read(&path).unwrap();
    let mut cut = whole.clone();
    cut.truncate(whole.len() / 2);
    let mut flipped = whole.clone();
    for byte in &mut flipped[4096..] {
        *byte ^= 0x5a;
    }
    for damage in [
        Vec::new(),
        b"people".to_vec(),
        vec![0; 65_536],
        cut,
        flipped,
    ] {
        fs::write(&path, &damage).unwrap();
        let refused = People::open(directory.path(), None, &FixedEntropy);
        assert!(
            matches!(refused, Err(PeopleError::Damaged { .. })),
            "{} bytes: {refused:?}",
            damage.len()
        );
    }
    fs::write(&path, whole).unwrap();
    assert_eq!(
        open(directory.path()).standing("corp/ada"),
        Standing::Inactive
    );
}

#[test]
fn whoever_proved_who_they_are_gets_the_provisioned_groups_and_stays_the_same() {
    let principal = |kind, id: &str, groups: &[&str]| {
        let none: [&str; 0] = [];
        Arc::new(Principal::new(
            kind,
            id,
            CORP,
            Some("Ada"),
            groups.iter().copied(),
            none,
        ))
    };
    let directory = tempfile::tempdir().unwrap();
    let people = open(directory.path());
    let ada = principal(PrincipalKind::User, "corp/Ada", &["c:root"]);
    assert!(matches!(people.judge(&ada), Judged::Unchanged));
    people.turn().put_person(person("1", "ada", true)).unwrap();
    assert!(
        matches!(people.judge(&ada), Judged::Unchanged),
        "no groups are provisioned"
    );
    people
        .turn()
        .put_group(group("g", "finance", &["1"]))
        .unwrap();
    let judged = |of| match people.judge(of) {
        Judged::As(principal) => principal,
        Judged::Unchanged | Judged::Inactive => panic!("as she was"),
    };
    let first = judged(&ada);
    assert_eq!(first.groups(), ["c:finance".into()]);
    assert_eq!((first.id(), first.name()), ("corp/Ada", Some("Ada")));
    assert!(Arc::ptr_eq(&first, &judged(&ada)));
    let as_provisioned = principal(PrincipalKind::User, "corp/ada", &["c:finance"]);
    assert!(matches!(people.judge(&as_provisioned), Judged::Unchanged));
    people.turn().put_group(group("g", "finance", &[])).unwrap();
    assert!(judged(&ada).groups().is_empty());
    people.turn().put_person(person("1", "ada", false)).unwrap();
    assert!(matches!(people.judge(&ada), Judged::Inactive));
    // A program is nobody's account.
    let service = principal(PrincipalKind::Service, "corp/ada", &[]);
    assert!(matches!(people.judge(&service), Judged::Unchanged));
}
