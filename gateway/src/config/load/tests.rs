use std::fs;
use std::path::Path;
use std::time::Duration;

use insta::assert_snapshot;

use super::super::*;

/// The least that is a configuration.
const LEAST: &str = r#"
policies = ["policies"]

[ingress]
listen = ["127.0.0.1:8443"]

[[ingress.certificate]]
chain = "server.pem"
key = "server.key"

[devices]
authorities = ["ca.pem"]
inventory = "devices.toml"

[audit]
file = "audit.jsonl"
"#;

const ISSUER: &str = r#"
[[issuer]]
name = "corp"
issuer = "https://login.example.com"
audiences = ["masugata"]
"#;

const APP: &str = r#"
[[app]]
name = "payroll"
level = "confidential"
hosts = ["payroll.example.com"]
[app.upstream]
servers = ["http://127.0.0.1:8000"]
"#;

fn parse(text: &str) -> Result<Parsed, error::LoadError> {
    Config::parse(text, Path::new("masugata.toml"))
}

/// Every problem of the least configuration with `more` after it.
fn problems(more: &str) -> String {
    // The least configuration on one line, so that the positions below are those of `more`.
    let least = "policies = [\"p\"]\ningress = { listen = [\"127.0.0.1:8443\"], certificate = [{ chain = \"c\", key = \"k\" }] }\n\
                 devices = { authorities = [\"ca.pem\"], inventory = \"devices.toml\" }\naudit = { file = \"a\" }\n";
    problems_of(&format!("{least}{more}"))
}

fn problems_of(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}

#[test]
fn the_least_configuration_has_the_documented_defaults() {
    let config = parse(&format!("{LEAST}{ISSUER}{APP}")).unwrap().config;
    assert_eq!(
        config.ingress.client_certificate_default,
        ClientCertificateMode::Required
    );
    assert!(config.ingress.hybrid_key_exchange && config.devices.refuse_on_expired_list);
    assert_eq!(config.ingress.bounds.header_bytes, 65_536);
    assert_eq!(config.assertion.lifetime, Duration::from_secs(60));
    assert!(config.admin.listen.unwrap().ip().is_loopback());
    assert_eq!(config.audit.on_overflow, OnOverflow::Refuse);
    let app = config.apps.first().unwrap();
    assert!(app.requirements.multi_factor && !app.upgrades && !app.forward_authorization);
    assert_eq!(app.audience, "payroll");
    assert_eq!(app.path_prefix, "/");
    let issuer = config.issuers.first().unwrap();
    assert_eq!(issuer.token_types, ["at+jwt"]);
    assert!(matches!(
        issuer.keys,
        KeySource::Discovery {
            authority: None,
            ..
        }
    ));
    assert!(config.path.is_absolute() && config.audit.file.is_absolute());
}

#[test]
fn an_empty_file_is_told_everything_it_lacks() {
    assert_snapshot!(problems_of(""), @"");
}

#[test]
fn several_mistakes_are_told_at_once_each_at_its_place() {
    let text = r#"
policys = ["policies"]

[ingress]
lisen = ["0.0.0.0:443"]
tls_profile = "cryptrec-recomended"
trusted_forwarders = ["10.0.0.1/8"]

[[ingress.certificate]]
chain = "server.pem"
key = 5

[ingress.bounds]
header_timeout = 15
header_bytes = "64KB"
connections = 0

[devices]
authorities = []
inventory = "devices.toml"

[[app]]
name = "payroll"
level = "confidental"
host = ["payroll.example.com"]
"#;
    assert_snapshot!(problems_of(text), @"");
}

#[test]
fn broken_toml_is_told_with_its_place() {
    assert_snapshot!(problems_of("policies = [\n[ingress\nlisten = 5 5\n"), @"");
    assert_snapshot!(problems_of("a = 1\na = 2\n"), @"");
}

#[test]
fn an_app_without_a_level_does_not_load() {
    let app = "[[app]]\nname = \"wiki\"\nhosts = [\"wiki.example.com\"]\nresponse = {}\n";
    assert_snapshot!(problems(app), @"");
}

#[test]
fn a_key_after_a_table_header_is_told_where_it_belongs() {
    let app = format!("{APP}upgrades = true\n");
    assert_snapshot!(problems(&app), @"");
}

#[test]
fn one_bracket_too_few_is_told() {
    assert_snapshot!(problems("[app]\nname = \"wiki\"\n"), @"");
}

#[test]
fn unknown_references_are_told_with_what_was_probably_meant() {
    let text = format!(
        "{ISSUER}{APP}[app.require]\nissuers = [\"corpp\"]\n\n[[limit]]\nname = \"l\"\nkey = [\"adress\"]\napps = [\"payrol\"]\nrequests = 5\nperiod = \"1m\"\n"
    );
    assert_snapshot!(problems(&text), @"");
}

#[test]
fn symmetric_and_missing_signatures_are_refused_with_the_reason() {
    let text = format!("{ISSUER}algorithms = [\"HS256\", \"none\", \"ES265\"]\n");
    assert_snapshot!(problems(&text), @"");
}

#[test]
fn an_issuer_must_not_be_reached_over_plain_http() {
    let text =
        "[[issuer]]\nname = \"corp\"\nissuer = \"http://login.example.com\"\naudiences = []\n";
    assert_snapshot!(problems(text), @"");
}

// Attack: an issuer named like the one of service accounts could mint their principals.
#[test]
fn no_issuer_may_call_itself_certificate() {
    assert!(
        problems(&ISSUER.replace("corp", "certificate"))
            .contains("the name `certificate` is taken")
    );
}

#[test]
fn a_confidential_app_requires_several_factors() {
    assert_snapshot!(problems(&format!("{APP}[app.require]\nmulti_factor = false\n")), @"");
}

#[test]
fn two_things_of_one_name_or_place_are_told() {
    let text = format!(
        "{APP}{}",
        APP.replace("[[app]]\n", "[[app]]\npath_prefix = \"/\"\n")
    );
    assert_snapshot!(problems(&text), @"");
}

#[test]
fn an_upstream_that_nothing_proves_needs_a_written_word() {
    let far = APP.replace("127.0.0.1", "10.0.0.5");
    assert_snapshot!(problems(&far), @"");
    let accepted = parse(&format!("{LEAST}{far}insecure = true\n")).unwrap();
    assert_snapshot!(warnings(&accepted.warnings), @"");
}

#[test]
fn an_upstream_is_scheme_host_and_port() {
    let text = APP.replace(
        "\"http://127.0.0.1:8000\"",
        "\"http://127.0.0.1:8000/api\", \"ftp://a\", \"http://u:p@a\"",
    );
    assert_snapshot!(problems(&text), @"");
}

#[test]
fn our_own_headers_cannot_be_edited_and_values_are_not_shown() {
    let text = format!(
        "{APP}[app.request_headers]\nremove = [\"masugata-assertion\", \"X-A\"]\n[app.request_headers.set]\nHost = \"a\"\nX-Api-Key = \"hunter2\\n\"\nX-Number = 271828\nx-a = \"1\"\n"
    );
    let shown = problems(&text);
    assert!(!shown.contains("hunter2") && !shown.contains("271828"));
    assert_snapshot!(shown, @"");
}

#[test]
fn an_open_admin_listener_needs_a_written_word() {
    assert_snapshot!(problems("[admin]\nlisten = \"0.0.0.0:9180\"\n"), @"");
    let text = format!("{LEAST}[admin]\nlisten = \"0.0.0.0:9180\"\nallow_remote = true\n");
    assert!(parse(&text).is_ok());
    let off = parse(&format!("{LEAST}[admin]\nenabled = false\n"))
        .unwrap()
        .config;
    assert_eq!(off.admin.listen, None);
}

#[test]
fn an_assertion_lives_a_minute_at_most() {
    assert_snapshot!(problems("[assertion]\nlifetime = \"61s\"\n"), @"");
}

#[test]
fn everybody_is_not_a_trusted_proxy() {
    let text = LEAST.replace(
        "[[ingress",
        "trusted_forwarders = [\"0.0.0.0/0\"]\nproxy_protocol_from = [\"::/0\"]\n[[ingress",
    );
    assert_snapshot!(problems_of(&text), @"");
}

#[test]
fn empty_lists_that_could_mean_everybody_are_refused() {
    let text = format!(
        "{ISSUER}{APP}[app.require]\nissuers = []\n[[limit]]\nname = \"l\"\nkey = []\napps = []\nrequests = 1\nperiod = \"1s\"\n"
    );
    assert_snapshot!(problems(&text), @"");
}

#[test]
fn an_app_on_a_host_without_client_certificates_is_unreachable() {
    let rule = "[[ingress.client_certificate]]\nhosts = [\"*.example.com\"]\nmode = \"off\"\n";
    let text = format!(
        "{}{APP}",
        LEAST.replace("[devices]", &format!("{rule}[devices]"))
    );
    assert_snapshot!(problems_of(&text), @"");
}

#[test]
fn settings_that_contradict_each_other_are_told() {
    let text = format!(
        "{ISSUER}jwks_file = \"keys.json\"\n[issuer.discovery]\nrefresh = \"2d\"\n{APP}\
         [app.upstream.tls]\nauthority = \"ca.pem\"\n[app.upstream.health]\npath = \"/healthz\"\ninterval = \"1s\"\ntimeout = \"5s\"\n\
         [app.require]\nposture = [\"disk_encrypted\"]\nposture_max_ages = {{ managed = \"1h\", diskencrypted = \"1h\" }}\n\
         [app.redirect]\nlocation = \"//evil.example\"\nstatus = 200\n[lockout]\nlock_after = 2\nmax_delay = \"10ms\"\n"
    );
    assert_snapshot!(problems(&text), @"");
}

#[test]
fn the_high_profile_has_no_hybrid_key_exchange() {
    let high = |more: &str| {
        LEAST.replace(
            "[[ingress",
            &format!("tls_profile = \"cryptrec-high\"\n{more}\n[[ingress"),
        )
    };
    assert!(!parse(&high("")).unwrap().config.ingress.hybrid_key_exchange);
    assert!(parse(&high("hybrid_key_exchange = true")).is_err());
}

fn warnings(warnings: &[error::Problem]) -> String {
    warnings
        .iter()
        .map(|one| error::Warning(one).to_string())
        .collect::<Vec<_>>()
        .join("\n\n")
}

/// A directory with everything `LEAST` names.
fn directory() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for name in ["server.pem", "server.key", "ca.pem"] {
        fs::write(directory.path().join(name), "").unwrap();
    }
    fs::create_dir(directory.path().join("policies")).unwrap();
    fs::write(
        directory.path().join("devices.toml"),
        "[[device]]\nid = \"build-1\"\nkind = \"server\"\nownership = \"company\"\n",
    )
    .unwrap();
    directory
}

fn load(directory: &tempfile::TempDir, text: &str) -> Result<Loaded, String> {
    let path = directory.path().join("masugata.toml");
    fs::write(&path, text).unwrap();
    let place = format!("{}/", directory.path().display());
    Config::load(&path).map_err(|error| error.to_string().replace(&place, ""))
}

#[test]
fn files_that_are_not_there_are_told_as_they_are_written() {
    let directory = directory();
    fs::remove_file(directory.path().join("ca.pem")).unwrap();
    let text = LEAST
        .replace("server.pem", "policies")
        .replace("audit.jsonl", "nowhere/audit.jsonl");
    assert_snapshot!(load(&directory, &text).unwrap_err(), @"");
}

#[test]
fn a_service_on_an_unknown_device_is_told_together_with_the_rest() {
    let directory = directory();
    let text = format!(
        "{LEAST}[[service]]\nname = \"backup\"\ndevice = \"biuld-1\"\n[[network]]\nname = \"office\"\nranges = [\"10.0.0.0/33\"]\n"
    );
    assert_snapshot!(load(&directory, &text).unwrap_err(), @"");
}

#[test]
fn problems_of_the_inventory_are_told_with_those_of_the_configuration() {
    let directory = directory();
    fs::write(
        directory.path().join("devices.toml"),
        "[[device]]\nid = \"a\"\nkind = \"labtop\"\nownership = \"company\"\n",
    )
    .unwrap();
    let text = format!("{LEAST}[pages]\norganization = \"Example\"\n");
    assert_snapshot!(load(&directory, &text).unwrap_err(), @"");
}

#[test]
fn a_configuration_that_is_not_there_or_not_text_is_told() {
    let directory = directory();
    let missing = Config::load(&directory.path().join("nowhere.toml"))
        .unwrap_err()
        .to_string();
    assert!(
        missing.starts_with("error: the file does not exist"),
        "{missing}"
    );
    let path = directory.path().join("binary.toml");
    fs::write(&path, [b'a', 0xff]).unwrap();
    assert!(
        Config::load(&path)
            .unwrap_err()
            .to_string()
            .contains("the first bad byte is number 2")
    );
}

#[cfg(unix)]
#[test]
fn a_key_that_others_can_read_is_a_warning() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = directory();
    let key = directory.path().join("server.key");
    let mode = |mode| fs::set_permissions(&key, fs::Permissions::from_mode(mode)).unwrap();
    mode(0o644);
    let loaded = load(&directory, LEAST).unwrap();
    assert_eq!(loaded.warnings.len(), 1);
    assert_eq!(
        loaded.warnings[0].message,
        "private key `server.key` can be read by others (mode 0644)"
    );
    mode(0o600);
    assert!(load(&directory, LEAST).unwrap().warnings.is_empty());
    assert!(loaded.config.files().contains(&key));
}

#[test]
fn no_secret_is_shown_by_debug_or_by_the_running_configuration() {
    let text = format!(
        "{LEAST}{APP}[app.request_headers]\nset = {{ X-Api-Key = \"planted-secret\" }}\n[app.response_headers]\nset = {{ X-Frame-Options = \"DENY\" }}\n"
    );
    let config = parse(&text).unwrap().config;
    assert!(!format!("{config:?}").contains("planted-secret"));
    let shown = redacted(&config).to_string();
    assert!(
        !shown.contains("planted-secret") && shown.contains("x-api-key") && shown.contains("DENY")
    );
    let raw: raw::Config = toml::from_str(&text).unwrap();
    assert!(!format!("{raw:?}").contains("planted-secret"));
}

#[test]
fn the_running_configuration_shows_every_default() {
    let config = parse(&format!("{LEAST}{ISSUER}{APP}")).unwrap().config;
    let shown = redacted(&config);
    assert_eq!(shown["ingress"]["bounds"]["header_timeout"], "15s");
    assert_eq!(
        shown["app"][0]["backend"]["upstream"]["servers"][0],
        "http://127.0.0.1:8000"
    );
    assert_eq!(shown["app"][0]["max_body"], "100MiB");
    assert_eq!(shown["issuer"][0]["keys"]["discovery"]["refresh"], "1h");
    assert_eq!(shown["runtime"]["log_level"], "info");
    assert_eq!(shown["time_zone"], "UTC");
}

#[test]
fn the_example_is_a_configuration_one_can_start_from() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/example");
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("example");
    fs::create_dir_all(place.join("tls")).unwrap();
    fs::create_dir_all(directory.path().join("policies")).unwrap();
    for name in ["masugata.toml", "devices.toml"] {
        fs::copy(example.join(name), place.join(name)).unwrap();
    }
    for name in ["server.pem", "server.key", "device-ca.pem"] {
        fs::write(place.join("tls").join(name), "").unwrap();
    }
    let loaded =
        Config::load(&place.join("masugata.toml")).unwrap_or_else(|error| panic!("{error}"));
    let levels: Vec<_> = loaded
        .config
        .apps
        .iter()
        .map(|app| app.level.as_str())
        .collect();
    assert_eq!(levels, ["public", "internal", "confidential"]);
    assert!(loaded.inventory.devices().len() >= 3);
}

#[test]
fn hosts_are_matched_exactly_or_by_one_label() {
    assert!(host_matches("a.example", "a.example"));
    assert!(host_matches("*.example", "a.example"));
    assert!(!host_matches("*.example", "example"));
    assert!(!host_matches("*.example", ".example"));
    assert!(!host_matches("*.example", "a.b.example"));
    assert!(!host_matches("*.example", "a.example.evil"));
}

proptest::proptest! {
    #[test]
    fn no_text_breaks_the_reader(text in "([a-z\\[\\]\"=., \n{}0-9_]|app|ingress|listen){0,60}") {
        let _ = parse(&text);
    }

    #[test]
    fn a_configuration_with_bytes_changed_is_read_or_refused_and_never_breaks(at in 0_usize..300, junk in "[\\[\\]\"=.,\n{}a0]{1,3}") {
        let mut text = format!("{LEAST}{ISSUER}{APP}");
        let at = at.min(text.len());
        text.insert_str(at, &junk);
        let _ = parse(&text);
    }
}
