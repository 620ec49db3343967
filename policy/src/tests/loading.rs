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
    assert_snapshot!(problem_with("context.device.knid == Masugata::DeviceKind::\"laptop\""), @r###"
    there is no `context.device.knid`
      --> wiki.cedar:4:18
    help: did you mean `context.device.kind`?
    "###);
}

#[test]
fn a_misspelt_posture_attribute_is_found() {
    assert_snapshot!(problem_with("context.device.posture has disk_encripted && context.device.posture.disk_encripted"), @r###"
    there is no `context.device.posture.disk_encripted`
      --> wiki.cedar:4:30
    help: did you mean `context.device.posture.disk_encrypted`?
    "###);
}

/// The type checker takes a `has` of an attribute that does not exist for false, and is content.
#[test]
fn a_misspelt_posture_attribute_is_found_even_where_it_would_load() {
    assert_snapshot!(problem("@id(\"x\")\nforbid (principal, action, resource)\nunless {\n  context.device.posture has disk_encripted &&\n  context.device.posture.disk_encripted\n};"), @r###"
    there is no `context.device.posture.disk_encripted`
      --> wiki.cedar:4:30
    help: did you mean `context.device.posture.disk_encrypted`?
    "###);
    assert_snapshot!(problem_with("context has device.posture.os_version.mayor || principal has nmae || resource.nmae == \"\" || context.device.posture.is_good"), @r###"
    there is no `context.device.posture.os_version.mayor`
      --> wiki.cedar:4:41
    help: did you mean `context.device.posture.os_version.major`?

    there is no `principal.nmae`
      --> wiki.cedar:4:64
    help: did you mean `principal.name`?

    there is no `resource.nmae`
      --> wiki.cedar:4:64
    help: did you mean `resource.name`?

    there is no `context.device.posture.is_good`
      --> wiki.cedar:4:118
    help: docs/policies.md lists what there is
    "###);
}

#[test]
fn an_optional_attribute_without_has_is_found_once() {
    assert_snapshot!(problem_with("context.device.posture.disk_encrypted"), @r###"
    unable to guarantee safety of access to optional attribute `context.device.posture.disk_encrypted`
      --> wiki.cedar:4:3
    help: try testing for the attribute's presence with `context.device.posture has disk_encrypted && ..`
    "###);
}

#[test]
fn a_misspelt_kind_of_device_is_found() {
    assert_snapshot!(problem_with("context.device.kind == Masugata::DeviceKind::\"labtop\""), @r###"
    unknown word `Masugata::DeviceKind::"labtop"`
      --> wiki.cedar:4:26
    help: did you mean `Masugata::DeviceKind::"laptop"`?
    "###);
}

#[test]
fn a_kind_of_device_written_as_a_string_is_explained() {
    assert_snapshot!(problem_with("context.device.kind == \"laptop\""), @r###"
    the types String and Masugata::DeviceKind are not compatible
      --> wiki.cedar:4:3
    help: write it with its type: `Masugata::DeviceKind::"laptop"`
    "###);
    assert_snapshot!(problem_with("[\"saturday\", \"sunday\"].contains(context.time.weekday)"), @r###"
    the types String and Masugata::Weekday are not compatible
      --> wiki.cedar:4:3
    help: write it with its type: `Masugata::Weekday::"monday"`
    "###);
}

#[test]
fn an_unknown_action_is_found() {
    assert_snapshot!(problem("@id(\"x\")\npermit (\n  principal,\n  action == Masugata::Action::\"raed\",\n  resource\n);"), @r###"
    unrecognized action `Masugata::Action::"raed"`
      --> wiki.cedar:4:13
    help: did you mean `Masugata::Action::"read"`?
    "###);
    let message = problem("@id(\"x\") permit (principal, action == Action::\"read\", resource);");
    assert!(
        message.ends_with("did you mean `Masugata::Action::\"read\"`?"),
        "{message}"
    );
    let message = problem("@id(\"x\") permit (principal in Team::\"hr\", action, resource);");
    assert!(message.contains("all begin with `Masugata::`"), "{message}");
}

#[test]
fn an_unknown_entity_type_is_found() {
    assert_snapshot!(problem("@id(\"x\")\npermit (principal in Masugata::Gruop::\"hr\", action, resource);"), @r###"
    unrecognized entity type `Masugata::Gruop`
      --> wiki.cedar:2:22
    help: did you mean `Masugata::Group`?
    "###);
}

#[test]
fn a_group_of_actions_compared_with_equals_can_never_apply() {
    assert_snapshot!(problem("@id(\"x\")\npermit (principal, action == Masugata::Action::\"modify\", resource);"), @r###"
    the policy can never apply to any request
      --> wiki.cedar:1:1
    help: look for comparisons that cannot hold together, and for `==` with a group of actions, which needs `in`
    "###);
}

#[test]
fn a_condition_that_never_holds_is_found() {
    assert_snapshot!(problem("@id(\"x\")\npermit (principal is Masugata::User, action, resource) when { principal is Masugata::Service };"), @r###"
    the policy can never apply to any request
      --> wiki.cedar:1:1
    help: look for comparisons that cannot hold together, and for `==` with a group of actions, which needs `in`
    "###);
}

#[test]
fn a_missing_id_is_found() {
    assert_snapshot!(problem("// a comment\n\n  permit (principal, action, resource);"), @r###"
    the policy has no `@id`
      --> wiki.cedar:3:3
    help: write `@id("a-short-name")` above it; the name appears in the audit log
    "###);
}

#[test]
fn an_id_used_twice_is_found_across_files() {
    assert_snapshot!(problems_of(&[
        ("a.cedar", "\n@id(\"same\")\npermit (principal, action, resource);"),
        ("b.cedar", "permit_\n"),
        ("c.cedar", "@description(\"d\")\n@id(\"same\")\nforbid (principal, action, resource);"),
    ]), @r###"
    unexpected end of input
      --> b.cedar:1:8
    help: expected `(`

    two policies have the id `same`
      --> c.cedar:2:1
    help: the first is at a.cedar:2; ids are unique
    "###);
}

#[test]
fn syntax_errors_have_a_place() {
    assert_snapshot!(problem("@id(\"x\")\npermit (principal, action resource);"), @r###"
    unexpected token `resource`
      --> wiki.cedar:2:27
    help: expected `!=`, `)`, `,`, `:`, `<`, `<=`, `==`, `>`, `>=`, `in`, or `is`
    "###);
    assert_snapshot!(problem("@id(\"公開\") permit (principal, action, resource) when { 公開 };"), @r###"
    invalid token
      --> wiki.cedar:1:55
    "###);
    assert_snapshot!(problem("@id(\"x\")\npermit (principal, action, resource)\nwhen { true }"), @r###"
    unexpected end of input
      --> wiki.cedar:3:14
    help: expected `;` or identifier
    "###);
}

#[test]
fn annotations_are_a_closed_list() {
    assert_snapshot!(problem("@id(\"x\")\n@reason_jp(\"理由\")\n@chalenge(\"mfa\")\n@owner(\"me\")\nforbid (principal, action, resource);"), @r###"
    unknown annotation `@reason_jp`
      --> wiki.cedar:2:1
    help: did you mean `@reason_ja`?

    unknown annotation `@chalenge`
      --> wiki.cedar:3:1
    help: did you mean `@challenge`?

    unknown annotation `@owner`
      --> wiki.cedar:4:1
    help: known annotations are @id, @description, @reason_en, @reason_ja, @remedy_en, @remedy_ja, @challenge
    "###);
}

#[test]
fn challenges_are_checked() {
    assert_snapshot!(problem("@id(\"x\")\n@challenge(\"mfaa\")\nforbid (principal, action, resource);\n@id(\"y\")\n@challenge\nforbid (principal, action, resource);\n@id(\"z\") @challenge(\"mfa\") permit (principal, action, resource);"), @r###"
    unknown challenge `mfaa`
      --> wiki.cedar:2:1
    help: did you mean `@challenge("mfa")`?

    unknown challenge ``
      --> wiki.cedar:5:1
    help: challenges are `mfa`, `phishing_resistant`, `fresh`, `reason`

    `@challenge` on a `permit`
      --> wiki.cedar:7:10
    help: a challenge says what would lift a `forbid`; write it there
    "###);
}

#[test]
fn empty_texts_and_odd_ids_are_found() {
    assert_snapshot!(problem("@id(\"two words\")\n@reason_en(\" \")\nforbid (principal, action, resource);\n@id(\"\")\npermit (principal, action, resource);\n@id(\"x\\n1\") permit (principal, action, resource);"), @r###"
    the `@id` contains ` `
      --> wiki.cedar:1:1
    help: use letters, digits, `-`, `_`, `.`, `/` and `:`; an id is a short name, for example `@id("internal-needs-mfa")`

    `@reason_en` has no text
      --> wiki.cedar:2:1
    help: write the text for people: `@reason_en("…")`

    the `@id` is empty
      --> wiki.cedar:4:1
    help: an id is a short name, for example `@id("internal-needs-mfa")`

    the `@id` contains `\n`
      --> wiki.cedar:6:1
    help: use letters, digits, `-`, `_`, `.`, `/` and `:`; an id is a short name, for example `@id("internal-needs-mfa")`
    "###);
    let long = "x".repeat(101);
    let message = problem(&format!(
        "@id(\"{long}\") permit (principal, action, resource);"
    ));
    assert!(message.starts_with("the `@id` is longer than 100 bytes"));
}

#[test]
fn templates_are_refused() {
    assert_snapshot!(problem("@id(\"x\") permit (principal, action, resource);\n@id(\"t\")\npermit (principal == ?principal, action, resource);"), @r###"
    policy templates cannot be used here
      --> wiki.cedar:2:1
    help: replace `?principal` and `?resource` by groups of people and apps
    "###);
}

#[test]
fn an_empty_set_is_refused() {
    assert_snapshot!(problem("// nothing yet"), @r###"
    no policies found, so that every request would be denied
      --> wiki.cedar
    help: write at least one `permit`; the starter set in deploy/policies is a good beginning
    "###);
    assert_snapshot!(problems_of(&[]), @r###"
    no policies found, so that every request would be denied
      --> policies
    help: write at least one `permit`; the starter set in deploy/policies is a good beginning
    "###);
}

#[test]
fn comparisons_that_no_request_fulfils_are_found() {
    assert_snapshot!(problem_with("context.request.method == \"get\" || [\"GET\", \"Post\"].contains(context.request.method)"), @r###"
    no request has the method `get`
      --> wiki.cedar:4:29
    help: methods are written in capitals: `GET`

    no request has the method `Post`
      --> wiki.cedar:4:46
    help: methods are written in capitals: `POST`
    "###);
    assert_snapshot!(problem_with("context.request.host == \"Wiki.example\" || context.request.host == \"wiki.example:443\""), @r###"
    no request has the host `Wiki.example`
      --> wiki.cedar:4:27
    help: hosts are compared in lower case: `wiki.example`

    no request has the host `wiki.example:443`
      --> wiki.cedar:4:69
    help: a host has neither scheme nor port nor path
    "###);
    assert_snapshot!(problem_with("context.request.path != \"admin\" && context.request.path != \"/a?b=c\""), @r###"
    no request has the path `admin`
      --> wiki.cedar:4:27
    help: a path begins with `/`

    no request has the path `/a?b=c`
      --> wiki.cedar:4:62
    help: a path has neither query nor fragment
    "###);
}

#[test]
fn text_that_reads_otherwise_than_it_works_is_refused() {
    let message = problem_with("context.device.id == \"user\u{202e}nimda\"");
    assert!(message.contains("BIDI control characters"), "{message}");
}

#[test]
fn a_date_that_does_not_exist_is_found() {
    assert_snapshot!(problem_with("context.time.date < datetime(\"2027-02-30\")"), @r###"
    error during extension function argument validation: failed to parse as a datetime value: `"2027-02-30"`
      --> wiki.cedar:4:23
    help: valid datetime strings start with `YYYY-MM-DD` and may optionally include `THH:MM:SS` plus `Z`, `.SSSZ`, or an offset like `+0700`
    "###);
}

#[test]
fn all_problems_of_all_files_are_told_at_once() {
    assert_snapshot!(problems_of(&[
        ("b.cedar", "permit (principal, action, resource) when { context.device.knid == 1 };\n@id(\"x\") forbid (principal, action == Masugata::Action::\"raed\", resource);"),
        ("a.cedar", "@idd(\"y\") permit (principal, action, resource);"),
    ]), @r###"
    unknown annotation `@idd`
      --> a.cedar:1:1
    help: did you mean `@id`?

    the policy has no `@id`
      --> a.cedar:1:1
    help: write `@id("a-short-name")` above it; the name appears in the audit log

    the policy has no `@id`
      --> b.cedar:1:1
    help: write `@id("a-short-name")` above it; the name appears in the audit log

    there is no `context.device.knid`
      --> b.cedar:1:60
    help: did you mean `context.device.kind`?

    unrecognized action `Masugata::Action::"raed"`
      --> b.cedar:2:39
    help: did you mean `Masugata::Action::"read"`?
    "###);
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
    assert_snapshot!(set.warnings()[0], @r###"
    there is no `permit` policy, so that every request is denied
      --> test.cedar
    help: what no policy permits is denied; `forbid` only takes away
    "###);
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
  when { principal == Masugata::Service::"restore" && context.device.groups.contains("kiosk") };
@id("f") permit (principal, action, resource in Masugata::CloudService::"box-crop")
  unless { resource in [Masugata::Category::"c2", Masugata::Category::"malwear"] };"#,
    );
    let known = Known {
        categories: Some(&["c2"]),
        cloud_services: Some(&["box-corp"]),
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
    assert_snapshot!(told.join("\n\n"), @r###"
    unknown app `wkii`
      --> test.cedar:1:90
    help: did you mean `wiki`?

    unknown issuer `crop` in user `crop/ada`
      --> test.cedar:2:47
    help: did you mean `corp`?

    the user `ada` has no issuer
      --> test.cedar:3:47
    help: users are named `issuer/user`, as in `corp/ada`

    unknown app group `tolos`
      --> test.cedar:3:94
    help: did you mean `tools`?

    unknown network `offise`
      --> test.cedar:5:41
    help: did you mean `office`?

    unknown network `vpn`
      --> test.cedar:5:99
    help: the policy would never match; no network has this name

    unknown service `restore`
      --> test.cedar:7:42
    help: the policy would never match; no service has this name

    unknown device group `kiosk`
      --> test.cedar:7:86
    help: the policy would never match; no device group has this name

    unknown cloud service `box-crop`
      --> test.cedar:8:73
    help: did you mean `box-corp`?

    unknown category `malwear`
      --> test.cedar:9:71
    help: the policy would never match; no category has this name
    "###);
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

#[test]
fn a_rule_about_apps_that_does_not_say_so_is_told_what_to_write() {
    assert_snapshot!(
        problem(
            r#"@id("a") permit (principal, action, resource) when { resource.level == Masugata::Level::"public" };
@id("b") permit (principal, action, resource) when { resource.name == "wiki" };
@id("c") permit (principal, action, resource is Masugata::Destination) when { resource.domain == "x" };
@id("d") permit (principal, action, resource is Masugata::Destination) when { resource has name };
@id("e") permit (principal, action == Masugata::Action::"read", resource in Masugata::Category::"c2");
@id("f") @challenge("reason") forbid (principal, action, resource in Masugata::AppGroup::"tools");
@id("g") permit (principal, action, resource) when { context.authentication.credential == "token" };"#
        ),
        @r###"
    unable to guarantee safety of access to optional attribute `level` on entity type `Masugata::Destination`
      --> wiki.cedar:1:54
    help: only configured services have a level; write `resource is Masugata::App`, or ask `resource has level`

    attribute `name` on entity type `Masugata::Destination` not found
      --> wiki.cedar:2:54
    help: only apps have a name; write `resource is Masugata::App`

    unable to guarantee safety of access to optional attribute `domain` on entity type `Masugata::Destination`
      --> wiki.cedar:3:79
    help: addresses have no domain; ask `resource has domain` first

    there is no `resource.name`
      --> wiki.cedar:4:92
    help: docs/policies.md lists what there is

    the policy can never apply to any request
      --> wiki.cedar:5:1
    help: towards a destination every action is `connect`

    `@challenge("reason")` on a policy that concerns apps
      --> wiki.cedar:6:1
    help: a reason can be given for a destination on the Internet; write `resource is Masugata::Destination`

    the types String and Masugata::Credential are not compatible
      --> wiki.cedar:7:54
    help: write it with its type: `Masugata::Credential::"certificate"`
    "###
    );
}

#[test]
fn names_that_no_destination_has_are_told() {
    let named = |kind: &str, name: &str| {
        let text = format!(
            r#"@id("x") permit (principal, action, resource in Masugata::{kind}::"{name}");"#
        );
        let source = PolicySource {
            name: "test.cedar",
            text: &text,
        };
        match PolicySet::load(&[source]) {
            Ok(_) => format!("{kind} {name}: good"),
            Err(error) => {
                let problem = &error.problems[0];
                let help = problem.help.clone().unwrap_or_default();
                format!("{} ({help})", problem.message)
            }
        }
    };
    let told = [
        named("Domain", "box.com"),
        named("Destination", "a_b.xn--wgv71a.jp"),
        named("Destination", "192.0.2.7"),
        named("Destination", "2001:db8::7"),
        named("Destination", "[2001:db8::7]"),
        named("Destination", "2001:DB8::7"),
        named("Domain", "192.0.2.7"),
        named("Domain", "*.box.com"),
        named("Domain", ".box.com"),
        named("Domain", "Box.com"),
        named("Destination", "box.com."),
        named("Destination", "https://box.com"),
        named("Destination", "box.com:443"),
        named("Destination", "日本.jp"),
        named("Destination", "-"),
        named("Destination", ""),
        named("Domain", "box..com"),
    ];
    assert_snapshot!(told.join("\n"), @r###"
    Domain box.com: good
    Destination a_b.xn--wgv71a.jp: good
    Destination 192.0.2.7: good
    Destination 2001:db8::7: good
    no destination is called `[2001:db8::7]` (write it as `2001:db8::7`)
    no destination is called `2001:DB8::7` (write it as `2001:db8::7`)
    no domain is called `192.0.2.7` (an address is in no domain; write `resource == Masugata::Destination::"…"`)
    no domain is called `*.box.com` (`resource in Masugata::Domain::"box.com"` is the name and everything below it)
    no domain is called `.box.com` (names are compared in lower case, without dots at the ends: `box.com`)
    no domain is called `Box.com` (names are compared in lower case, without dots at the ends: `box.com`)
    no destination is called `box.com.` (names are compared in lower case, without dots at the ends: `box.com`)
    no destination is called `https://box.com` (a host has neither scheme nor port nor path)
    no destination is called `box.com:443` (a host has neither scheme nor port nor path)
    no destination is called `日本.jp` (write the name as it is on the wire, beginning with `xn--`)
    no destination is called `-` (a host is letters, digits and `-`, in parts with dots between)
    no destination is called `` (a host is letters, digits and `-`, in parts with dots between)
    no domain is called `box..com` (a host is letters, digits and `-`, in parts with dots between)
    "###);
}
