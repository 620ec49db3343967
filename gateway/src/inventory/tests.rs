use insta::assert_snapshot;
use masugata_policy::{Observation, PostureAttribute as A, PostureSource, PostureValue, Timestamp};

use super::*;

const DAY: Duration = Duration::from_secs(86_400);

const TWO: &str = r#"
[[device]]
id = "laptop-1"
identities = ["spiffe://corp.example/device/laptop-1", "serial:C02XG0AAJGH5"]
kind = "laptop"
ownership = "company"
owner = "corp/ada"
groups = ["engineering"]
serial = "C02XG0AAJGH5"
model = "MacBook Pro 14"
hostname = "ada-mbp"
os = { kind = "macos", version = "15.6.1" }
applications = ["Firefox 145"]
patch_status = "current"
location = "Tokyo"
source = "mdm"
observed_at = 2026-11-23T09:00:00+09:00

[device.posture]
disk_encrypted = true
firewall_enabled = { value = false, source = "agent", observed_at = "2026-11-23T01:00:00Z", max_age = "1h" }
os_version = "15.6.1"

[[device]]
id = "phone-1"
identities = ["urn:uuid:F81D4FAE-7DEC-11D0-A765-00A0C91E6BF6"]
kind = "phone"
ownership = "personal"
state = "lost"
"#;

fn parse(text: &str) -> Result<Inventory, String> {
    Inventory::parse(text, Path::new("devices.toml"), DAY, None).map_err(|error| error.to_string())
}

fn parse_csv(text: &str) -> Result<Inventory, String> {
    Inventory::parse(text, Path::new("devices.csv"), DAY, None).map_err(|error| error.to_string())
}

fn found<'a>(inventory: &'a Inventory, identity: &str) -> &'a Record {
    match inventory.resolve(identity) {
        Lookup::Found(record) => record,
        other @ (Lookup::Unknown | Lookup::Ambiguous) => panic!("{identity}: {other:?}"),
    }
}

fn warnings(inventory: &Inventory) -> String {
    let shown: Vec<_> = inventory
        .warnings()
        .iter()
        .map(|one| crate::config::error::Warning(one).to_string())
        .collect();
    shown.join("\n\n")
}

fn seen(value: bool, source: PostureSource, at_seconds: i64) -> Observation {
    Observation {
        value: PostureValue::Flag(value),
        source,
        observed_at: Timestamp::from_seconds(at_seconds),
        max_age: Duration::from_secs(3600),
    }
}

#[test]
fn a_row_keeps_everything_that_is_asked_to_be_known_of_a_device() {
    let inventory = parse(TWO).unwrap();
    let record = found(&inventory, "spiffe://corp.example/device/laptop-1");
    assert!(std::ptr::eq(
        record,
        found(&inventory, "serial:C02XG0AAJGH5")
    ));
    assert_eq!(record.device.id(), "laptop-1");
    assert_eq!(record.device.owner(), Some("corp/ada"));
    assert_eq!(record.os_version.as_deref(), Some("15.6.1"));
    assert_eq!(record.location.as_deref(), Some("Tokyo"));
    let posture = record.device.posture();
    let disk = posture.observation(A::DiskEncrypted).unwrap();
    assert_eq!((disk.source, disk.max_age), (PostureSource::Mdm, DAY));
    assert_eq!(disk.observed_at.as_seconds(), 1_795_392_000);
    let firewall = posture.observation(A::FirewallEnabled).unwrap();
    assert_eq!(
        (firewall.value, firewall.source),
        (PostureValue::Flag(false), PostureSource::Agent)
    );
    assert_eq!(
        posture.observation(A::OsVersion).unwrap().value,
        PostureValue::Version(15, 6, 1)
    );
    assert_eq!(posture.observation(A::Managed), None);
    assert_eq!(
        inventory
            .devices()
            .map(|record| record.device.id())
            .collect::<Vec<_>>(),
        ["laptop-1", "phone-1"]
    );
}

#[test]
fn an_identity_is_found_in_its_canonical_spelling_only() {
    let inventory = parse(TWO).unwrap();
    let phone = found(&inventory, "urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6");
    assert_eq!(phone.state, DeviceState::Lost);
    assert!(matches!(inventory.resolve("laptop-1"), Lookup::Unknown));
    assert!(matches!(inventory.resolve(""), Lookup::Unknown));
    assert!(matches!(
        inventory.resolve("serial:c02xg0aajgh5"),
        Lookup::Unknown
    ));
}

// Attack: a second row with the identity of somebody else's device, to inherit its rights.
#[test]
fn rows_that_share_an_identity_both_lose_their_rights_and_no_other_row_does() {
    let third = "[[device]]\nid = \"evil\"\nidentities = [\"serial:C02XG0AAJGH5\", \"serial:EVIL\"]\nkind = \"other\"\nownership = \"personal\"\n";
    let inventory = parse(&format!("{TWO}{third}")).unwrap();
    for identity in [
        "serial:C02XG0AAJGH5",
        "serial:EVIL",
        "spiffe://corp.example/device/laptop-1",
    ] {
        assert!(
            matches!(inventory.resolve(identity), Lookup::Ambiguous),
            "{identity}"
        );
    }
    assert!(matches!(inventory.find("evil"), Lookup::Ambiguous));
    assert_eq!(
        found(&inventory, "urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6")
            .device
            .id(),
        "phone-1"
    );
    assert_snapshot!(warnings(&inventory), @r##"
    warning: devices `laptop-1` and `evil` have the same identity `serial:C02XG0AAJGH5`
      --> devices.toml:32:15
    help: neither has rights until one of them lets it go; the other row is in line 3
    "##);
}

#[test]
fn rows_of_one_id_are_ambiguous_and_a_repeated_identity_in_one_row_is_not() {
    let row = |identity: &str| {
        format!(
            "[[device]]\nid = \"a\"\nidentities = {identity}\nkind = \"other\"\nownership = \"company\"\n"
        )
    };
    let twice = parse(&row("[\"serial:1\", \"serial:1\"]")).unwrap();
    assert!(matches!(twice.resolve("serial:1"), Lookup::Found(_)));
    assert_eq!(twice.warnings().len(), 1);
    let two = parse(&format!(
        "{}{}",
        row("[\"serial:1\"]"),
        row("[\"serial:2\"]")
    ))
    .unwrap();
    assert!(matches!(two.resolve("serial:1"), Lookup::Ambiguous));
    assert!(matches!(two.resolve("serial:2"), Lookup::Ambiguous));
    assert!(matches!(two.find("a"), Lookup::Ambiguous));
}

#[test]
fn malformed_rows_are_all_told() {
    let text = r#"
[[device]]
id = "laptop-1"
identities = ["laptop-1", "spiffe://Corp.example/a"]
kind = "labtop"
owner = "ada"
[device.posture]
disk_encryption = true
firewall_enabled = "yes"
os_version = 15

[[device]]
id = "phone-1"
kind = "phone"
ownership = "personal"
posture = { managed = true, screen_lock = { value = true, observed_at = "2026-11-23T00:00:00Z" } }
"#;
    assert_snapshot!(parse(text).unwrap_err(), @r##"
    error: `[[device]]` of `laptop-1` has no `ownership`
      --> devices.toml:2:1
    help: whose it is: `company`, `personal`

    error: `laptop-1` for `identities` in `[[device]]` of `laptop-1` does not say which kind of identity it is
      --> devices.toml:4:15
    help: begin with `spiffe://`, `urn:uuid:`, `permanent-id:`, `hardware:`, `serial:` or `sha256:`

    error: `spiffe://Corp.example/a` for `identities` in `[[device]]` of `laptop-1` is not a SPIFFE ID
      --> devices.toml:4:27
    help: write `spiffe://`, a trust domain in lower case and a path

    error: `labtop` for `kind` in `[[device]]` of `laptop-1` is not a word known here
      --> devices.toml:5:8
    help: did you mean `laptop`?

    error: `ada` for `owner` in `[[device]]` of `laptop-1` is not a principal id
      --> devices.toml:6:9
    help: write the issuer's name, `/` and the user, as in `"corp/ada"`

    error: unknown key `disk_encryption` in `[device.posture]` of `laptop-1`
      --> devices.toml:8:1
    help: did you mean `disk_encrypted`?

    error: `firewall_enabled` in `[device.posture]` of `laptop-1` is a string `yes`, and should be `true` or `false`
      --> devices.toml:9:20

    error: `os_version` in `[device.posture]` of `laptop-1` is a number `15`, and should be a text in quotes
      --> devices.toml:10:14
    help: write `os_version = "15"`

    error: the posture of `phone-1` does not say when it was observed: `managed`
      --> devices.toml:13:6
    help: write `observed_at` for the device or for each attribute; what is not dated never passes
    "##);
}

const CSV: &str = "\
id,identities,kind,ownership,owner,groups,os.kind,observed_at,source,posture.disk_encrypted,posture.firewall_enabled,posture.firewall_enabled.max_age,posture.os_version
laptop-1,serial:C1; sha256:abababababababababababababababababababababababababababababababab,laptop,company,corp/ada,engineering;tokyo,macos,2026-11-23T00:00:00Z,mdm,true,false,1h,15.6.1

\"phone, of Ada\",,phone,personal,,,,,,,,,
";

#[test]
fn csv_is_read_as_toml_is() {
    let inventory = parse_csv(CSV).unwrap();
    let record = found(&inventory, "serial:C1");
    assert_eq!(record.identities.len(), 2);
    assert_eq!(record.device.groups().len(), 2);
    assert_eq!(record.os_kind.as_deref(), Some("macos"));
    let posture = record.device.posture();
    assert_eq!(
        posture.observation(A::DiskEncrypted).unwrap().source,
        PostureSource::Mdm
    );
    assert_eq!(
        posture.observation(A::FirewallEnabled).unwrap().max_age,
        Duration::from_secs(3600)
    );
    assert_eq!(
        posture.observation(A::OsVersion).unwrap().value,
        PostureValue::Version(15, 6, 1)
    );
    assert!(matches!(inventory.find("phone, of Ada"), Lookup::Found(_)));
}

#[test]
fn mistakes_in_csv_are_told_with_their_rows() {
    let text = "id,kind,owner_ship,posture.managed\na,laptop,company,true\n";
    assert_snapshot!(parse_csv(text).unwrap_err(), @r##"
    error: unknown column `owner_ship`
      --> devices.csv:1:1
    help: did you mean `ownership`?

    error: there is no column `ownership`
      --> devices.csv:1:1
    help: whose it is: `company`, `personal`
    "##);
    let text = "id,kind,ownership,posture.managed\na,labtop,company,true\nb,phone,personal,yes\n\nc,phone,a,b,c,d\n";
    assert_snapshot!(parse_csv(text).unwrap_err(), @r##"
    error: `labtop` for `kind` in `[[device]]` of `a` is not a word known here
      --> devices.csv:2:1
    help: did you mean `laptop`?

    error: the posture of `a` does not say when it was observed: `managed`
      --> devices.csv:2:1
    help: write `observed_at` for the device or for each attribute; what is not dated never passes

    error: `value` in `[device.posture.managed]` of `b` is a string `yes`, and should be `true` or `false`
      --> devices.csv:3:1

    error: this row has 6 cells, and the header 4
      --> devices.csv:5:1
    help: quote cells that hold commas
    "##);
}

#[test]
fn a_device_that_did_not_change_stays_the_same_device() {
    let first = parse(TWO).unwrap();
    let changed = TWO
        .replace("ownership = \"personal\"", "ownership = \"company\"")
        .replace("location = \"Tokyo\"", "location = \"Osaka\"");
    let second = Inventory::parse(&changed, Path::new("devices.toml"), DAY, Some(&first)).unwrap();
    let device = |inventory: &Inventory, id| match inventory.find(id) {
        Lookup::Found(record) => Arc::clone(&record.device),
        other @ (Lookup::Unknown | Lookup::Ambiguous) => panic!("{other:?}"),
    };
    assert!(Arc::ptr_eq(
        &device(&first, "laptop-1"),
        &device(&second, "laptop-1")
    ));
    assert!(!Arc::ptr_eq(
        &device(&first, "phone-1"),
        &device(&second, "phone-1")
    ));
    assert_eq!(
        found(&second, "serial:C02XG0AAJGH5").location.as_deref(),
        Some("Osaka")
    );
}

#[test]
fn the_newest_observation_wins_and_survives_a_reload() {
    let first = parse(TWO).unwrap();
    let at = 1_795_392_000;
    let next = first.with_observations([
        (
            "laptop-1",
            A::DiskEncrypted,
            seen(false, PostureSource::Mdm, at + 60),
        ),
        ("laptop-1", A::Managed, seen(true, PostureSource::Mdm, at)),
        ("nobody", A::Managed, seen(true, PostureSource::Mdm, at)),
    ]);
    let value = |inventory: &Inventory, attribute| {
        found(inventory, "serial:C02XG0AAJGH5")
            .device
            .posture()
            .observation(attribute)
            .unwrap()
            .value
    };
    assert_eq!(value(&first, A::DiskEncrypted), PostureValue::Flag(true));
    assert_eq!(value(&next, A::DiskEncrypted), PostureValue::Flag(false));
    let older = next.with_observations([(
        "laptop-1",
        A::DiskEncrypted,
        seen(true, PostureSource::Attested, at + 59),
    )]);
    assert_eq!(value(&older, A::DiskEncrypted), PostureValue::Flag(false));
    let reloaded = Inventory::parse(TWO, Path::new("devices.toml"), DAY, Some(&older)).unwrap();
    assert_eq!(
        value(&reloaded, A::DiskEncrypted),
        PostureValue::Flag(false)
    );
    assert_eq!(value(&reloaded, A::Managed), PostureValue::Flag(true));
    let (before, after) = (
        found(&older, "serial:C02XG0AAJGH5"),
        found(&reloaded, "serial:C02XG0AAJGH5"),
    );
    assert!(Arc::ptr_eq(&before.device, &after.device));
}

#[test]
fn an_observation_that_changes_nothing_changes_no_device() {
    let first = parse(TWO).unwrap();
    let next = first.with_observations([(
        "laptop-1",
        A::DiskEncrypted,
        seen(false, PostureSource::Mdm, 0),
    )]);
    let identity = "serial:C02XG0AAJGH5";
    assert!(Arc::ptr_eq(
        &found(&first, identity).device,
        &found(&next, identity).device
    ));
}

// Attack: the user of a device that management found unencrypted declares it sound, at once or by way of a false "no".
#[test]
fn a_less_believable_source_can_worsen_but_not_better() {
    let old = seen(false, PostureSource::Mdm, 0);
    assert!(!live::supersedes(
        &seen(true, PostureSource::SelfDeclared, 10),
        &old
    ));
    let good = seen(true, PostureSource::Mdm, 0);
    assert!(live::supersedes(
        &seen(false, PostureSource::Agent, 10),
        &good
    ));
    assert!(live::supersedes(
        &seen(true, PostureSource::Attested, 10),
        &old
    ));
    assert!(
        live::supersedes(&seen(true, PostureSource::Agent, 3600), &old),
        "what went stale binds nobody"
    );
    let laundered = parse(TWO).unwrap().with_observations([
        ("phone-1", A::Managed, seen(false, PostureSource::Mdm, 0)),
        (
            "phone-1",
            A::Managed,
            seen(false, PostureSource::SelfDeclared, 10),
        ),
        (
            "phone-1",
            A::Managed,
            seen(true, PostureSource::SelfDeclared, 20),
        ),
    ]);
    let phone = found(&laundered, "urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6");
    assert_eq!(
        phone
            .device
            .posture()
            .observation(A::Managed)
            .unwrap()
            .value,
        PostureValue::Flag(false)
    );
}

proptest::proptest! {
    #[test]
    fn no_csv_breaks_the_reader(text in "(id|kind|ownership|posture\\.managed|[a-z,;\"\n: ]){0,60}") {
        let _ = parse_csv(&text);
    }
}

#[test]
fn a_large_inventory_full_of_mistakes_is_told_row_by_row() {
    let mut text = String::from("id,kind,ownership\n");
    for number in 0..20_000 {
        text.push_str(&format!("laptop-{number},labtop,company\n"));
    }
    let error = Inventory::parse(&text, Path::new("devices.csv"), DAY, None).unwrap_err();
    assert_eq!(error.problems.len(), 20_000);
    assert_eq!(error.problems.last().unwrap().position, Some((20_001, 1)));
}

const OWNED: &str = r#"
[[device]]
id = "laptop-1"
identities = ["serial:1"]
kind = "laptop"
ownership = "company"
owner = "corp/ada"
owner_name = "Ada Lovelace"
owner_groups = ["staff", "finance", "staff"]
owner_roles = ["accountant"]
"#;

#[test]
fn an_owner_is_a_person_with_the_groups_that_the_row_tells() {
    let inventory = parse(OWNED).unwrap();
    let owner = found(&inventory, "serial:1").owner.as_ref().unwrap();
    assert_eq!((owner.id(), owner.issuer()), ("corp/ada", "corp"));
    assert_eq!(owner.kind(), masugata_policy::PrincipalKind::User);
    assert_eq!(owner.name(), Some("Ada Lovelace"));
    assert_eq!(owner.groups(), [Box::from("finance"), Box::from("staff")]);
    assert_eq!(owner.roles(), [Box::from("accountant")]);
    let csv = "id,identities,kind,ownership,owner,owner_name,owner_groups,owner_roles\n\
               laptop-1,serial:1,laptop,company,corp/ada,Ada Lovelace,finance; staff,accountant\n";
    let inventory = parse_csv(csv).unwrap();
    let same = found(&inventory, "serial:1").owner.as_ref().unwrap();
    assert_eq!((same.id(), same.name()), (owner.id(), owner.name()));
    assert_eq!(
        (same.groups(), same.roles()),
        (owner.groups(), owner.roles())
    );
}

#[test]
fn a_shared_device_has_no_owner_and_a_row_cannot_give_groups_to_nobody() {
    let shared = OWNED
        .lines()
        .filter(|line| !line.starts_with("owner_") && !line.starts_with("owner "));
    let inventory = parse(&shared.collect::<Vec<_>>().join("\n")).unwrap();
    assert!(found(&inventory, "serial:1").owner.is_none());
    assert_snapshot!(parse(&OWNED.replace("owner = \"corp/ada\"\n", "")).unwrap_err(), @r"
    error: `laptop-1` says something about an owner, and has none
      --> devices.toml:3:6
    help: write `owner`, or leave out `owner_name`, `owner_groups` and `owner_roles`
    ");
}

#[test]
fn an_unchanged_owner_stays_the_same_person_over_a_reload() {
    let before = parse(OWNED).unwrap();
    let reload =
        |text: &str| Inventory::parse(text, Path::new("devices.toml"), DAY, Some(&before)).unwrap();
    let owner =
        |inventory: &Inventory| Arc::clone(found(inventory, "serial:1").owner.as_ref().unwrap());
    let moved = OWNED.replace("kind = \"laptop\"", "kind = \"desktop\"");
    assert!(Arc::ptr_eq(&owner(&before), &owner(&reload(&moved))));
    let promoted = OWNED.replace("accountant", "auditor");
    let after = reload(&promoted);
    assert!(!Arc::ptr_eq(&owner(&before), &owner(&after)));
    assert_eq!(owner(&after).roles(), [Box::from("auditor")]);
}
