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

#[test]
fn no_acr_counts_unless_it_is_written() {
    let config = parse(&format!("{LEAST}{ISSUER}{APP}")).unwrap().config;
    let [issuer] = config.issuers.as_slice() else {
        panic!("{:?}", config.issuers);
    };
    assert!(issuer.acr_phishing_resistant.is_empty());
    assert!(issuer.acr_multi_factor.is_empty());
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
    assert_snapshot!(problems_of(""), @r##"
    error: the file has no `policies`
      --> masugata.toml:1:1
    help: files or directories of Cedar policies (`*.cedar`), in the order in which they are read

    error: the file has no `[ingress]`
      --> masugata.toml:1:1
    help: there one writes the reverse proxy's listener

    error: the file has no `[devices]`
      --> masugata.toml:1:1
    help: there one writes who issues device certificates, which are revoked, and which devices exist

    error: the file has no `[audit]`
      --> masugata.toml:1:1
    help: there one writes the tamper-evident record of decisions
    "##);
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
    assert_snapshot!(problems_of(text), @r##"
    error: the file has no `[audit]`
      --> masugata.toml:1:1
    help: there one writes the tamper-evident record of decisions

    error: unknown key `policys` in the file
      --> masugata.toml:2:1
    help: did you mean `policies`?

    error: unknown key `lisen` in `[ingress]`
      --> masugata.toml:5:1
    help: did you mean `listen`?

    error: `cryptrec-recomended` for `tls_profile` in `[ingress]` is not a word known here
      --> masugata.toml:6:15
    help: did you mean `cryptrec-recommended`?

    error: `10.0.0.1/8` for `trusted_forwarders` in `[ingress]` has bits set beyond its prefix length
      --> masugata.toml:7:23
    help: did you mean `10.0.0.0/8`?

    error: `key` in `[[ingress.certificate]]` is a number `5`, and should be a text in quotes
      --> masugata.toml:11:7
    help: write `key = "5"`

    error: `header_timeout` in `[ingress.bounds]` is a number `15`, and should be a duration in quotes
      --> masugata.toml:14:18
    help: write the unit, as in `header_timeout = "15s"`

    error: `64KB` for `header_bytes` in `[ingress.bounds]` has the unit `KB`, which means different things to different people
      --> masugata.toml:15:16
    help: write `"64KiB"` (1 KiB is 1024 bytes)

    error: `0` for `connections` in `[ingress.bounds]` is outside of what is accepted
      --> masugata.toml:16:15
    help: write a number from 1 to 1000000

    error: `authorities` in `[devices]` is empty
      --> masugata.toml:19:15
    help: name at least one

    error: app `payroll` does not say how it answers
      --> masugata.toml:23:8
    help: write one of `[app.upstream]`, `[app.redirect]` and `[app.response]`

    error: `confidental` for `level` in `[[app]]` of `payroll` is not a word known here
      --> masugata.toml:24:9
    help: did you mean `confidential`?

    error: unknown key `host` in `[[app]]` of `payroll`
      --> masugata.toml:25:1
    help: did you mean `hosts`?
    "##);
}

#[test]
fn broken_toml_is_told_with_its_place() {
    assert_snapshot!(problems_of("policies = [\n[ingress\nlisten = 5 5\n"), @r##"
    error: this is not TOML: invalid float, expected `inf`
      --> masugata.toml:2:2

    error: this is not TOML: missing comma between array elements, expected `,`
      --> masugata.toml:3:1
    "##);
    assert_snapshot!(problems_of("a = 1\na = 2\n"), @r##"
    error: this is not TOML: duplicate key at `a`
      --> masugata.toml:2:1
    "##);
}

#[test]
fn an_app_without_a_level_does_not_load() {
    let app = "[[app]]\nname = \"wiki\"\nhosts = [\"wiki.example.com\"]\nresponse = {}\n";
    assert_snapshot!(problems(app), @r##"
    error: `[[app]]` of `wiki` has no `level`
      --> masugata.toml:5:1
    help: level of the information in it: `public`, `internal`, `confidential`
    "##);
}

#[test]
fn a_key_after_a_table_header_is_told_where_it_belongs() {
    let app = format!("{APP}upgrades = true\n");
    assert_snapshot!(problems(&app), @r##"
    error: unknown key `upgrades` in `[app.upstream]` of `payroll`
      --> masugata.toml:12:1
    help: it belongs to `[[app]]`; a key written after `[app.upstream]` belongs to that table, so move it before
    "##);
}

#[test]
fn one_bracket_too_few_is_told() {
    assert_snapshot!(problems("[app]\nname = \"wiki\"\n"), @r##"
    error: `app` in the file is a table, and should be a list of tables
      --> masugata.toml:5:1
    help: write `[[app]]`, with two brackets: there may be several
    "##);
}

#[test]
fn unknown_references_are_told_with_what_was_probably_meant() {
    let text = format!(
        "{ISSUER}{APP}[app.require]\nissuers = [\"corpp\"]\n\n[[limit]]\nname = \"l\"\nkey = [\"adress\"]\napps = [\"payrol\"]\nrequests = 5\nperiod = \"1m\"\n"
    );
    assert_snapshot!(problems(&text), @r##"
    error: unknown issuer `corpp`
      --> masugata.toml:18:12
    help: issuers are declared under `[[issuer]]`; did you mean `corp`?

    error: `adress` for `key` in `[[limit]]` of `l` is not a word known here
      --> masugata.toml:22:8
    help: did you mean `address`?

    error: unknown app `payrol`
      --> masugata.toml:23:9
    help: apps are declared under `[[app]]`; did you mean `payroll`?
    "##);
}

#[test]
fn symmetric_and_missing_signatures_are_refused_with_the_reason() {
    let text = format!("{ISSUER}algorithms = [\"HS256\", \"none\", \"ES265\"]\n");
    assert_snapshot!(problems(&text), @r##"
    error: `HS256` for `algorithms` in `[[issuer]]` of `corp` is not accepted
      --> masugata.toml:10:15
    help: HMAC needs a secret shared with the issuer, and invites confusion with its public key (RFC 8725 §2.1); have the issuer sign with `ES256` or `RS256`

    error: `none` for `algorithms` in `[[issuer]]` of `corp` is not accepted
      --> masugata.toml:10:24
    help: `none` means unsigned: anybody could write such a token (RFC 8725 §3.2)

    error: `ES265` for `algorithms` in `[[issuer]]` of `corp` is not a word known here
      --> masugata.toml:10:32
    help: did you mean `ES256`?
    "##);
}

#[test]
fn an_issuer_must_not_be_reached_over_plain_http() {
    let text =
        "[[issuer]]\nname = \"corp\"\nissuer = \"http://login.example.com\"\naudiences = []\n";
    assert_snapshot!(problems(text), @r##"
    error: `http://login.example.com` for `issuer` in `[[issuer]]` of `corp` is not https
      --> masugata.toml:7:10
    help: over plain http anybody on the way could put keys of their own in place; http is only for loopback

    error: `audiences` in `[[issuer]]` of `corp` is empty
      --> masugata.toml:8:13
    help: name at least one
    "##);
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
    assert_snapshot!(problems(&format!("{APP}[app.require]\nmulti_factor = false\n")), @r##"
    error: a confidential app must require multi-factor authentication
      --> masugata.toml:13:16
    help: leave `multi_factor = false` out, or lower the level if the information permits (E-2, H-2)
    "##);
}

#[test]
fn two_things_of_one_name_or_place_are_told() {
    let text = format!(
        "{APP}{}",
        APP.replace("[[app]]\n", "[[app]]\npath_prefix = \"/\"\n")
    );
    assert_snapshot!(problems(&text), @r##"
    error: a second app `payroll`
      --> masugata.toml:15:8
    help: the first is in line 7; write one of them only, or rename it

    error: a second app at `payroll.example.com/`
      --> masugata.toml:17:10
    help: the first is in line 9; write one of them only, or rename it
    "##);
}

#[test]
fn an_upstream_that_nothing_proves_needs_a_written_word() {
    let far = APP.replace("127.0.0.1", "10.0.0.5");
    assert_snapshot!(problems(&far), @r##"
    error: nothing proves `http://10.0.0.5:8000` to us: it is http to another machine
      --> masugata.toml:11:12
    help: use https, or write `insecure = true` under `[app.upstream]` to accept it
    "##);
    let accepted = parse(&format!("{LEAST}{far}insecure = true\n")).unwrap();
    assert_snapshot!(warnings(&accepted.warnings), @r##"
    warning: `http://10.0.0.5:8000` is not verified, because `insecure = true` is written
      --> masugata.toml:23:12
    help: whoever is on the way can read and change everything, assertions included
    "##);
}

#[test]
fn an_upstream_is_scheme_host_and_port() {
    let text = APP.replace(
        "\"http://127.0.0.1:8000\"",
        "\"http://127.0.0.1:8000/api\", \"ftp://a\", \"http://u:p@a\", \"h2c://a\", \"wss://a\"",
    );
    assert_snapshot!(problems(&text), @r##"
    error: `http://127.0.0.1:8000/api` for `servers` in `[app.upstream]` of `payroll` has a path or a query
      --> masugata.toml:11:12
    help: write only scheme, host and port; `rewrite_prefix` changes the path

    error: `ftp://a` for `servers` in `[app.upstream]` of `payroll` is neither http nor https
      --> masugata.toml:11:41
    help: write scheme, host and port, as in `"http://127.0.0.1:8000"` or `"https://app.internal"`

    error: `http://u:p@a` for `servers` in `[app.upstream]` of `payroll` has a user name in it
      --> masugata.toml:11:52
    help: write scheme, host and port, as in `"http://127.0.0.1:8000"` or `"https://app.internal"`

    error: `h2c://a` for `servers` in `[app.upstream]` of `payroll` is neither http nor https
      --> masugata.toml:11:68
    help: write `http://` and, beside `servers`, `protocol = "http2"`

    error: `wss://a` for `servers` in `[app.upstream]` of `payroll` is neither http nor https
      --> masugata.toml:11:79
    help: write `http://` or `https://`; the app needs `upgrades = true`
    "##);
}

#[test]
fn our_own_headers_cannot_be_edited_and_values_are_not_shown() {
    let text = format!(
        "{APP}[app.request_headers]\nremove = [\"masugata-assertion\", \"X-A\"]\n[app.request_headers.set]\nHost = \"a\"\nX-Api-Key = \"hunter2\\n\"\nX-Number = 271828\nx-a = \"1\"\n"
    );
    let shown = problems(&text);
    assert!(!shown.contains("hunter2") && !shown.contains("271828"));
    assert_snapshot!(shown, @r##"
    error: `masugata-assertion` for `remove` in `[app.request_headers]` of `payroll` is a header that Masugata sets or interprets itself
      --> masugata.toml:13:11
    help: upstreams trust `Masugata-*`; leave them alone

    error: `Host` in `[app.request_headers.set]` of `payroll` is a header that Masugata sets or interprets itself
      --> masugata.toml:15:1
    help: write `host_header` under `[app.upstream]` instead

    error: the text for `X-Api-Key` in `[app.request_headers.set]` of `payroll` is not a header value
      --> masugata.toml:16:13
    help: write printable ASCII on one line, without spaces at the ends

    error: `X-Number` in `[app.request_headers.set]` of `payroll` is a number, and should be a text in quotes
      --> masugata.toml:17:12

    error: a second change to header `x-a`
      --> masugata.toml:18:7
    help: the first is in line 13; write one of them only, or rename it
    "##);
}

#[test]
fn an_open_admin_listener_needs_a_written_word() {
    assert_snapshot!(problems("[admin]\nlisten = \"0.0.0.0:9180\"\n"), @r##"
    error: the admin listener would be open to other machines at `0.0.0.0:9180`
      --> masugata.toml:6:10
    help: listen on `127.0.0.1` or `[::1]`, or write `allow_remote = true` and see to who can reach it
    "##);
    let text = format!("{LEAST}[admin]\nlisten = \"0.0.0.0:9180\"\nallow_remote = true\n");
    assert!(parse(&text).is_ok());
    let off = parse(&format!("{LEAST}[admin]\nenabled = false\n"))
        .unwrap()
        .config;
    assert_eq!(off.admin.listen, None);
}

#[test]
fn an_assertion_lives_a_minute_at_most() {
    assert_snapshot!(problems("[assertion]\nlifetime = \"61s\"\n"), @r##"
    error: `61s` for `lifetime` in `[assertion]` is too much
      --> masugata.toml:6:12
    help: write at most `"60s"`
    "##);
}

#[test]
fn everybody_is_not_a_trusted_proxy() {
    let text = LEAST.replace(
        "[[ingress",
        "trusted_forwarders = [\"0.0.0.0/0\"]\nproxy_protocol_from = [\"::/0\"]\n[[ingress",
    );
    assert_snapshot!(problems_of(&text), @r##"
    error: `0.0.0.0/0` would let everybody say whose request this is
      --> masugata.toml:7:23
    help: name the addresses of the proxies in front of this gateway

    error: `::/0` would let everybody say whose request this is
      --> masugata.toml:8:24
    help: name the addresses of the proxies in front of this gateway
    "##);
}

#[test]
fn empty_lists_that_could_mean_everybody_are_refused() {
    let text = format!(
        "{ISSUER}{APP}[app.require]\nissuers = []\n[[limit]]\nname = \"l\"\nkey = []\napps = []\nrequests = 1\nperiod = \"1s\"\n"
    );
    assert_snapshot!(problems(&text), @r##"
    error: `issuers` in `[app.require]` of `payroll` is empty
      --> masugata.toml:18:11
    help: name at least one

    error: `key` in `[[limit]]` of `l` is empty
      --> masugata.toml:21:7
    help: name at least one

    error: `apps` in `[[limit]]` of `l` is empty
      --> masugata.toml:22:8
    help: name at least one
    "##);
}

#[test]
fn an_app_on_a_host_without_client_certificates_is_unreachable() {
    let rule = "[[ingress.client_certificate]]\nhosts = [\"*.example.com\"]\nmode = \"off\"\n";
    let text = format!(
        "{}{APP}",
        LEAST.replace("[devices]", &format!("{rule}[devices]"))
    );
    assert_snapshot!(problems_of(&text), @r##"
    error: nobody can reach `payroll.example.com`: no client certificate is asked for there
      --> masugata.toml:24:10
    help: use `required` or `optional` for the hosts of apps
    "##);
}

#[test]
fn settings_that_contradict_each_other_are_told() {
    let text = format!(
        "{ISSUER}jwks_file = \"keys.json\"\n[issuer.discovery]\nrefresh = \"2d\"\n{APP}\
         [app.upstream.tls]\nauthority = \"ca.pem\"\n[app.upstream.health]\npath = \"/healthz\"\ninterval = \"1s\"\ntimeout = \"5s\"\n\
         [app.require]\nposture = [\"disk_encrypted\"]\nposture_max_ages = {{ managed = \"1h\", diskencrypted = \"1h\" }}\n\
         [app.redirect]\nlocation = \"//evil.example\"\nstatus = 200\n[lockout]\nlock_after = 2\nmax_delay = \"10ms\"\n"
    );
    assert_snapshot!(problems(&text), @r##"
    error: both `jwks_file` and `[issuer.discovery]` are written
      --> masugata.toml:10:13
    help: keep `jwks_file` for keys from a file, or the table for keys from the network

    error: app `payroll` says more than once how it answers
      --> masugata.toml:15:8
    help: write one of `[app.upstream]`, `[app.redirect]` and `[app.response]`

    error: TLS is configured, but `http://127.0.0.1:8000` is http
      --> masugata.toml:19:12
    help: write https in `servers`, or leave `[app.upstream.tls]` out

    error: `timeout` is longer than `interval`
      --> masugata.toml:25:11
    help: checks would pile up; write a shorter `timeout` or a longer `interval`

    error: `managed` is not among the required attributes
      --> masugata.toml:28:32
    help: add `managed` to `posture`; an age alone demands nothing

    error: `diskencrypted` in `[app.require.posture_max_ages]` of `payroll` is not a word known here
      --> masugata.toml:28:38
    help: did you mean `disk_encrypted`?

    error: `//evil.example` for `location` in `[app.redirect]` of `payroll` is not a place to redirect to
      --> masugata.toml:30:12
    help: write a URL such as `"https://www.example.com/"`, or a path such as `"/start"`

    error: `status` in `[app.redirect]` of `payroll` is not one of the numbers it may be
      --> masugata.toml:31:10
    help: write one of `301`, `302`, `303`, `307`, `308`

    error: `lock_after` (2) is not above `free_failures` (3)
      --> masugata.toml:33:14
    help: a lock comes after the failures that cost nothing

    error: `max_delay` is shorter than `first_delay`
      --> masugata.toml:34:13
    help: delays grow from the first to the longest
    "##);
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
    assert_snapshot!(load(&directory, &text).unwrap_err(), @r##"
    error: `policies` is a directory, not a file
      --> masugata.toml:8:9
    help: looked for policies

    error: `ca.pem` does not exist
      --> masugata.toml:12:16
    help: looked for ca.pem

    error: `nowhere/audit.jsonl` is in a directory that does not exist
      --> masugata.toml:16:8
    help: looked for nowhere/audit.jsonl
    "##);
}

#[test]
fn a_service_on_an_unknown_device_is_told_together_with_the_rest() {
    let directory = directory();
    let text = format!(
        "{LEAST}[[service]]\nname = \"backup\"\ndevice = \"biuld-1\"\n[[network]]\nname = \"office\"\nranges = [\"10.0.0.0/33\"]\n"
    );
    assert_snapshot!(load(&directory, &text).unwrap_err(), @r##"
    error: unknown device `biuld-1`
      --> masugata.toml:19:10
    help: did you mean `build-1`?

    error: `10.0.0.0/33` for `ranges` in `[[network]]` of `office` is neither an IP address nor a range
      --> masugata.toml:22:11
    help: write a range such as `"10.0.0.0/8"` or `"2001:db8::/32"`, or one address
    "##);
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
    assert_snapshot!(load(&directory, &text).unwrap_err(), @r##"
    error: unknown key `organization` in `[pages]`
      --> masugata.toml:18:1
    help: did you mean `organisation`?

    error: `labtop` for `kind` in `[[device]]` of `a` is not a word known here
      --> devices.toml:3:8
    help: did you mean `laptop`?
    "##);
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

// `collect` into an `Option` stops at the first `None`.
#[test]
fn every_broken_app_is_told_at_once() {
    let app = |name| {
        format!("[[app]]\nname = \"{name}\"\nlevel = \"public\"\nhosts = [\"{name}.example\"]\n")
    };
    let told = problems(&format!("{}{}", app("first"), app("second")));
    assert!(
        told.contains("`first`") && told.contains("`second`"),
        "{told}"
    );
}
