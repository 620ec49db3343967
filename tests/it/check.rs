//! What `masugata` says to administrators before it serves: every problem at once, where it is, and a way forward.

use masugata_tests::{FakeProvider, Finished, Prepared, TestGateway, Upstream, masugata};
use serde_json::Value;

fn check(prepared: &Prepared) -> Finished {
    masugata([
        "check".as_ref(),
        "-c".as_ref(),
        prepared.config().as_os_str(),
    ])
}

#[tokio::test]
async fn what_is_fine_is_described() {
    let upstream = Upstream::hello().await;
    let prepared = TestGateway::new().app("wiki", upstream.address).prepare();
    let checked = check(&prepared);
    assert_eq!(checked.code, Some(0), "{checked:?}");
    for text in [
        "no problems",
        "*.corp.test",
        "days left",
        "internal",
        "wiki.corp.test/",
        "1 policy ",
        "1 device,",
        "1 issuer,",
        "TLS",
    ] {
        assert!(checked.out.contains(text), "no `{text}`:\n{}", checked.out);
    }
    assert!(checked.err.is_empty(), "{}", checked.err);
    assert!(!prepared.path("audit.jsonl").exists(), "nothing is changed");
}

#[tokio::test]
async fn problems_of_all_files_are_told_at_once_with_place_and_remedy() {
    let upstream = Upstream::hello().await;
    let prepared = TestGateway::new()
        .app("wiki", upstream.address)
        .app_with("pay", "secret", upstream.address, "require.posture = [\"disk_encryptd\"]")
        .config("[[limit]]\nname = \"l\"\nkey = [\"principal\"]\nrequests = 0\nperiod = \"10s\"")
        .policy("@id(\"a\") permit (principal, action, resource) when { context.nothing };\n@id(\"b\") forbid (principal")
        .prepare();
    prepared.write("server.key", "nothing");
    prepared.write("devices.toml", "[[device]]\nid = \"x\"\n");
    let checked = check(&prepared);
    assert_eq!(checked.code, Some(2), "{checked:?}");
    assert!(checked.out.is_empty(), "{}", checked.out);
    let told = &checked.err;
    for text in [
        "`secret`",
        "confidential",
        "disk_encryptd",
        "did you mean",
        "requests",
        "test.cedar:",
        "server.key",
        "devices.toml:",
        "help: ",
    ] {
        assert!(told.contains(text), "no `{text}`:\n{told}");
    }
    // Line and column of the mistake itself.
    let config = prepared.read("masugata.toml");
    let (line, text) = config
        .lines()
        .enumerate()
        .find(|(_, line)| line.contains("\"secret\""))
        .unwrap();
    let column = text.find("\"secret\"").unwrap();
    let place = |column: usize| format!("masugata.toml:{}:{column}", line + 1);
    assert!(
        told.contains(&place(column + 1)) || told.contains(&place(column + 2)),
        "{}:\n{told}",
        place(column + 1)
    );
    let count: usize = told
        .lines()
        .last()
        .unwrap()
        .split(' ')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    assert_eq!(told.matches("error: ").count(), count, "{told}");
    assert!(count >= 6, "{told}");
    for key in prepared
        .read("ca.pem")
        .lines()
        .filter(|line| line.len() > 40)
    {
        assert!(!told.contains(key));
    }
}

#[tokio::test]
async fn a_device_ca_that_is_no_certificate_and_a_missing_file_are_told() {
    let upstream = Upstream::hello().await;
    let prepared = TestGateway::new().app("wiki", upstream.address).prepare();
    std::fs::remove_file(prepared.path("server.pem")).unwrap();
    prepared.write("jwks.json", "[]");
    let checked = check(&prepared);
    assert_eq!(checked.code, Some(2));
    for text in ["server.pem", "jwks.json"] {
        assert!(checked.err.contains(text), "{}", checked.err);
    }
    let missing = masugata(["check", "-c", "/no/such.toml"]);
    assert_eq!(missing.code, Some(2));
    assert!(missing.err.contains("/no/such.toml"), "{}", missing.err);
}

#[tokio::test]
async fn warnings_do_not_fail() {
    let upstream = Upstream::hello().await;
    let prepared = TestGateway::new()
        .raw_app("name = \"old\"\nlevel = \"internal\"\nhosts = [\"old.corp.test\"]\nupstream = { servers = [\"http://192.0.2.1:80\"], insecure = true }")
        .app("wiki", upstream.address)
        .prepare();
    let checked = check(&prepared);
    assert_eq!(checked.code, Some(0), "{checked:?}");
    assert!(
        checked.out.contains("Warnings") && checked.out.contains("insecure = true"),
        "{}",
        checked.out
    );
}

/// What `check` permits, `run` starts with; what it refuses, `run` refuses in the same words.
#[tokio::test]
async fn check_and_run_agree() {
    let upstream = Upstream::hello().await;
    for (policy, fine) in [
        ("@id(\"x\") permit (principal, action, resource);", true),
        ("@id(\"x\") permit (nobody, action, resource);", false),
    ] {
        let prepared = TestGateway::new()
            .app("wiki", upstream.address)
            .policy(policy)
            .prepare();
        let checked = check(&prepared);
        assert_eq!(checked.code == Some(0), fine);
        if !fine {
            let run = masugata(["run".as_ref(), "-c".as_ref(), prepared.config().as_os_str()]);
            assert_eq!(run.code, Some(2));
            let first = checked.err.split("\n\n").next().unwrap();
            assert!(run.err.contains(first), "{}\n---\n{}", run.err, checked.err);
        }
    }
}

#[test]
fn the_schema_is_one_that_editors_read() {
    let printed = masugata(["check", "--schema"]);
    assert_eq!(printed.code, Some(0));
    let schema: Value = serde_json::from_str(&printed.out).unwrap();
    assert!(
        schema["$schema"]
            .as_str()
            .unwrap()
            .contains("json-schema.org")
    );
    for table in [
        "ingress",
        "devices",
        "issuer",
        "app",
        "policies",
        "limit",
        "lockout",
        "audit",
        "admin",
        "assertion",
        "pages",
        "runtime",
    ] {
        let property = &schema["properties"][table];
        assert!(
            property["description"].is_string() || property.is_object(),
            "{table}"
        );
    }
    assert_eq!(schema["additionalProperties"], false);
}

#[test]
fn help_teaches_and_the_version_is_told() {
    let help = masugata(["--help"]);
    assert_eq!(help.code, Some(0));
    for text in [
        "run",
        "check",
        "demo",
        "audit",
        "Start here",
        "SIGHUP",
        "Exit codes",
    ] {
        assert!(help.out.contains(text), "no `{text}`:\n{}", help.out);
    }
    for command in [
        &["run", "--help"][..],
        &["check", "--help"],
        &["demo", "--help"],
        &["audit", "--help"],
        &["audit", "verify", "--help"],
    ] {
        let help = masugata(command);
        assert_eq!(help.code, Some(0), "{command:?}");
        assert!(help.out.contains("Usage:"), "{}", help.out);
    }
    let version = masugata(["--version"]);
    assert!(version.out.starts_with("masugata "), "{}", version.out);
    let nothing = masugata(Vec::<&str>::new());
    assert_eq!(nothing.code, Some(2));
    assert!(nothing.err.contains("Start here"), "{}", nothing.err);
}

#[tokio::test]
async fn what_a_provider_must_be_told_is_printed() {
    let upstream = Upstream::hello().await;
    let builder = TestGateway::new();
    let provider = FakeProvider::new(&builder, "staff").await;
    let prepared = builder
        .app("wiki", upstream.address)
        .provider(&provider)
        .accounts("")
        .scim("accounts")
        .prepare();
    let checked = check(&prepared);
    assert_eq!(checked.code, Some(0), "{checked:?}");
    for text in [
        "My page      https://login.corp.test/\n",
        "  redirect   https://login.corp.test/callback/staff\n",
        "  afterwards https://login.corp.test/signed-out\n",
        "  sign-outs  https://signals.corp.test/backchannel-logout/staff\n",
        "accounts     accounts, in `store`\n",
        "SCIM         https://scim.corp.test/scim/v2 for accounts\n",
        "confidential 15m without a request, 8h in all\n",
    ] {
        assert!(checked.out.contains(text), "no `{text}`:\n{}", checked.out);
    }
}
