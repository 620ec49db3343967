//! What people read when their policies do not load.

use insta::assert_snapshot;

use crate::{Known, PolicySet, PolicySource};

fn problems_of(sources: &[(&str, &str)]) -> String {
    let sources: Vec<PolicySource<'_>> = sources
        .iter()
        .map(|(name, text)| PolicySource { name, text })
        .collect();
    PolicySet::load(&sources).unwrap_err().to_string()
}

fn problem(text: &str) -> String {
    problems_of(&[("wiki.cedar", text)])
}

fn problem_with(condition: &str) -> String {
    problem(&format!(
        "@id(\"x\")\npermit (principal, action, resource)\nwhen {{\n  {condition}\n}};\n"
    ))
}

#[test]
fn a_misspelt_attribute_is_found() {
    assert_snapshot!(problem_with("context.device.knid == Masugata::DeviceKind::\"laptop\""), @"");
}

#[test]
fn a_misspelt_posture_attribute_is_found() {
    assert_snapshot!(problem_with("context.device.posture has disk_encripted && context.device.posture.disk_encripted"), @"");
}

#[test]
fn an_optional_attribute_without_has_is_found_once() {
    assert_snapshot!(problem_with("context.device.posture.disk_encrypted"), @"");
}

#[test]
fn a_misspelt_kind_of_device_is_found() {
    assert_snapshot!(problem_with("context.device.kind == Masugata::DeviceKind::\"labtop\""), @"");
}

#[test]
fn a_kind_of_device_written_as_a_string_is_explained() {
    assert_snapshot!(problem_with("context.device.kind == \"laptop\""), @"");
    assert_snapshot!(problem_with("[\"saturday\", \"sunday\"].contains(context.time.weekday)"), @"");
}

#[test]
fn an_unknown_action_is_found() {
    assert_snapshot!(problem("@id(\"x\")\npermit (\n  principal,\n  action == Masugata::Action::\"raed\",\n  resource\n);"), @"");
}

#[test]
fn an_unknown_entity_type_is_found() {
    assert_snapshot!(problem("@id(\"x\")\npermit (principal in Masugata::Gruop::\"hr\", action, resource);"), @"");
}

#[test]
fn a_group_of_actions_compared_with_equals_can_never_apply() {
    assert_snapshot!(problem("@id(\"x\")\npermit (principal, action == Masugata::Action::\"modify\", resource);"), @"");
}

#[test]
fn a_condition_that_never_holds_is_found() {
    assert_snapshot!(problem("@id(\"x\")\npermit (principal is Masugata::User, action, resource) when { principal is Masugata::Service };"), @"");
}

#[test]
fn a_missing_id_is_found() {
    assert_snapshot!(problem("// a comment\n\n  permit (principal, action, resource);"), @"");
}

#[test]
fn an_id_used_twice_is_found_across_files() {
    assert_snapshot!(problems_of(&[
        ("a.cedar", "\n@id(\"same\")\npermit (principal, action, resource);"),
        ("b.cedar", "permit_\n"),
        ("c.cedar", "@description(\"d\")\n@id(\"same\")\nforbid (principal, action, resource);"),
    ]), @"");
}

#[test]
fn syntax_errors_have_a_place() {
    assert_snapshot!(problem("@id(\"x\")\npermit (principal, action resource);"), @"");
    assert_snapshot!(problem("@id(\"公開\") permit (principal, action, resource) when { 公開 };"), @"");
    assert_snapshot!(problem("@id(\"x\")\npermit (principal, action, resource)\nwhen { true }"), @"");
}

#[test]
fn annotations_are_a_closed_list() {
    assert_snapshot!(problem("@id(\"x\")\n@reason_jp(\"理由\")\n@chalenge(\"mfa\")\n@owner(\"me\")\nforbid (principal, action, resource);"), @"");
}

#[test]
fn challenges_are_checked() {
    assert_snapshot!(problem("@id(\"x\")\n@challenge(\"mfaa\")\nforbid (principal, action, resource);\n@id(\"y\")\n@challenge\nforbid (principal, action, resource);\n@id(\"z\") @challenge(\"mfa\") permit (principal, action, resource);"), @"");
}

#[test]
fn empty_texts_and_odd_ids_are_found() {
    assert_snapshot!(problem("@id(\"two words\")\n@reason_en(\" \")\nforbid (principal, action, resource);\n@id(\"\")\npermit (principal, action, resource);\n@id(\"x\\n1\") permit (principal, action, resource);"), @"");
    let long = "x".repeat(101);
    let message = problem(&format!(
        "@id(\"{long}\") permit (principal, action, resource);"
    ));
    assert!(message.starts_with("the `@id` is longer than 100 bytes"));
}

#[test]
fn templates_are_refused() {
    assert_snapshot!(problem("@id(\"x\") permit (principal, action, resource);\n@id(\"t\")\npermit (principal == ?principal, action, resource);"), @"");
}

#[test]
fn an_empty_set_is_refused() {
    assert_snapshot!(problem("// nothing yet"), @"");
    assert_snapshot!(problems_of(&[]), @"");
}

#[test]
fn comparisons_that_no_request_fulfils_are_found() {
    assert_snapshot!(problem_with("context.request.method == \"get\" || [\"GET\", \"Post\"].contains(context.request.method)"), @"");
    assert_snapshot!(problem_with("context.request.host == \"Wiki.example\" || context.request.host == \"wiki.example:443\""), @"");
    assert_snapshot!(problem_with("context.request.path != \"admin\" && context.request.path != \"/a?b=c\""), @"");
}

#[test]
fn text_that_reads_otherwise_than_it_works_is_refused() {
    let message = problem_with("context.device.id == \"user\u{202e}nimda\"");
    assert!(message.contains("BIDI control characters"), "{message}");
}

#[test]
fn a_date_that_does_not_exist_is_found() {
    assert_snapshot!(problem_with("context.time.date < datetime(\"2027-02-30\")"), @"");
}

#[test]
fn all_problems_of_all_files_are_told_at_once() {
    assert_snapshot!(problems_of(&[
        ("b.cedar", "permit (principal, action, resource) when { context.device.knid == 1 };\n@id(\"x\") forbid (principal, action == Masugata::Action::\"raed\", resource);"),
        ("a.cedar", "@idd(\"y\") permit (principal, action, resource);"),
    ]), @"");
}

#[test]
fn ordinary_japanese_is_not_worth_a_warning_and_false_letters_are() {
    let load = |name: &str| {
        let text = format!(
            "@id(\"x\") permit (principal in Masugata::Group::\"{name}\", action, resource) when {{ context.device.groups.contains(\"{name}\") }};"
        );
        let source = PolicySource {
            name: "a.cedar",
            text: &text,
        };
        PolicySet::load(&[source]).unwrap().warnings().len()
    };
    assert_eq!(load("開発チームA"), 0);
    assert_ne!(
        load("\u{430}dmins"),
        0,
        "a Cyrillic letter among Latin ones"
    );
}

#[test]
fn a_set_that_permits_nothing_loads_with_a_warning() {
    let set = crate::testing::set("@id(\"x\") forbid (principal, action, resource);");
    assert_snapshot!(set.warnings()[0], @"");
}

#[test]
fn names_that_nothing_has_are_told_to_whoever_knows_the_names() {
    let set = crate::testing::set(
        r#"@id("a") permit (principal in Masugata::Group::"any", action, resource == Masugata::App::"wkii");
@id("b") permit (principal == Masugata::User::"crop/ada", action, resource in Masugata::AppGroup::"tools");
@id("c") permit (principal == Masugata::User::"ada", action, resource in Masugata::AppGroup::"tolos");
@id("d") permit (principal == Masugata::Service::"backup", action, resource)
  when { context.network.names.contains("offise") || context.network.names.containsAny(["office", "vpn"]) };
@id("e") permit (principal, action, resource)
  when { principal == Masugata::Service::"restore" && context.device.groups.contains("kiosk") };"#,
    );
    let known = Known {
        apps: Some(&["wiki"]),
        app_groups: Some(&["tools"]),
        services: Some(&["backup"]),
        issuers: Some(&["corp"]),
        networks: Some(&["office"]),
        device_groups: Some(&[]),
    };
    let told: Vec<String> = set
        .unknown_names(&known)
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_snapshot!(told.join("\n\n"), @"");
    assert_eq!(set.unknown_names(&Known::default()), []);
}

#[test]
fn the_version_is_of_the_contents_alone() {
    let version = |sources: &[(&str, &str)]| {
        let sources: Vec<PolicySource<'_>> = sources
            .iter()
            .map(|(name, text)| PolicySource { name, text })
            .collect();
        let set = PolicySet::load(&sources).unwrap();
        set.version().as_str().to_owned()
    };
    let (one, two) = (
        "@id(\"1\") permit (principal, action, resource);",
        "@id(\"2\") permit (principal, action, resource);",
    );
    let both = version(&[("a", one), ("b", two)]);
    assert!(both.starts_with("sha256:") && both.len() == 71);
    assert_eq!(both, version(&[("c", two), ("d", one)]));
    assert_ne!(both, version(&[("a", &format!("{one}{two}"))]));
    assert_ne!(both, version(&[("a", one)]));
}
