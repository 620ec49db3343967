use std::fs;
use std::path::Path;
use std::time::Duration;

use insta::assert_snapshot;

use crate::config::sign_in::*;
use crate::config::*;

/// The least configuration on one line each, so that the positions below are those of what follows.
const LEAST: &str = "policies = [\"p\"]\ningress = { listen = [\"127.0.0.1:443\"], certificate = [{ chain = \"c\", key = \"k\" }] }\n\
    devices = { authorities = [\"ca.pem\"], inventory = \"devices.toml\" }\naudit = { file = \"a\" }\n";

const STORE: &str = "store = \"store\"\n";

const HOST: &str = "[sign_in]\nhost = \"login.corp.example\"\n";

fn parse(more: &str) -> Result<Parsed, error::LoadError> {
    Config::parse(&format!("{LEAST}{more}"), Path::new("masugata.toml"))
}

fn load(more: &str) -> Config {
    parse(&format!("{STORE}{more}")).unwrap().config
}

fn problems(more: &str) -> String {
    parse(more).unwrap_err().to_string()
}

fn warnings(more: &str) -> String {
    let warnings = parse(&format!("{STORE}{more}")).unwrap().warnings;
    let shown: Vec<_> = warnings
        .iter()
        .map(|problem| error::Warning(problem).to_string())
        .collect();
    shown.join("\n\n")
}

fn provider(preset: &str, issuer: &str) -> String {
    format!(
        "{HOST}[[issuer]]\nname = \"corp\"\nissuer = \"{issuer}\"\npreset = \"{preset}\"\n\
         sign_in = {{ client_id = \"gw\", client_secret_file = \"secret\" }}\n"
    )
}

fn issuer_of(preset: &str, issuer: &str) -> Issuer {
    load(&provider(preset, issuer)).issuers.remove(0)
}

const TENANT: &str = "https://login.microsoftonline.com/3aa4a235-b6e2-48d5-9195-7fcf05b459b0/v2.0";

#[test]
fn without_the_sections_nobody_signs_in_with_a_browser() {
    let config = parse("").unwrap().config;
    assert!(config.sign_in.is_none() && config.identity_provider.is_none());
    assert!(config.scim.is_none() && config.store.is_none());
}

#[test]
fn the_built_in_provider_needs_three_lines() {
    let config = load(&format!("{HOST}[identity_provider]\n"));
    let provider = config.identity_provider.unwrap();
    assert_eq!(provider.name, "accounts");
    assert_eq!(provider.link_lifetime, Duration::from_secs(259_200));
    assert!(provider.passwords);
    let [issuer] = config.issuers.as_slice() else {
        panic!("{:?}", config.issuers);
    };
    assert_eq!(issuer.issuer, "https://login.corp.example/id");
    assert_eq!(issuer.keys, KeySource::BuiltIn);
    let client = issuer.sign_in.as_ref().unwrap();
    assert_eq!(client.authentication, ClientAuthentication::BuiltIn);
    assert_eq!(client.label, "Masugata");
    assert!(config.store.unwrap().is_absolute());
}

// Attack: what the built-in provider hands to the gateway, taken out of it and shown to an app as an access token.
#[test]
fn no_token_of_the_built_in_provider_is_an_access_token() {
    let config = load(&format!("{HOST}[identity_provider]\n"));
    assert!(
        config
            .issuers
            .iter()
            .all(|issuer| issuer.audiences.is_empty())
    );
}

#[test]
fn the_documented_lifetimes_are_the_defaults() {
    let sign_in = load(&format!("{HOST}[identity_provider]\n"))
        .sign_in
        .unwrap();
    let of = |level| {
        let Lifetime { idle, absolute } = sign_in.lifetimes.of(level);
        (text::duration_text(idle), text::duration_text(absolute))
    };
    let expected = |idle: &str, absolute: &str| (idle.to_owned(), absolute.to_owned());
    assert_eq!(of(masugata_policy::Level::Public), expected("1d", "7d"));
    assert_eq!(of(masugata_policy::Level::Internal), expected("1h", "12h"));
    assert_eq!(
        of(masugata_policy::Level::Confidential),
        expected("15m", "8h")
    );
    assert_eq!(sign_in.lifetimes.longest(), sign_in.lifetimes.public);
}

#[test]
fn whoever_shortens_the_whole_shortens_its_parts() {
    let config = load(&format!(
        "{HOST}internal = {{ absolute = \"30m\" }}\nconfidential = {{ absolute = \"10m\" }}\n[identity_provider]\n"
    ));
    let lifetimes = config.sign_in.unwrap().lifetimes;
    assert_eq!(lifetimes.internal.idle, Duration::from_secs(1800));
    assert_eq!(lifetimes.confidential.idle, Duration::from_secs(600));
}

#[test]
fn hosts_of_people_get_their_handshakes() {
    let config = load(&format!(
        "{HOST}back_channel_host = \"signals.corp.example\"\n[identity_provider]\n\
         [scim]\nhost = \"signals.corp.example\"\nissuer = \"accounts\"\ntoken_files = [\"t\"]\n"
    ));
    let mode = |host: &str| {
        let rules = &config.ingress.client_certificates;
        let rule = rules
            .iter()
            .find(|rule| rule.hosts.contains(&host.to_owned()));
        rule.unwrap().mode
    };
    assert_eq!(mode("login.corp.example"), ClientCertificateMode::Required);
    assert_eq!(mode("signals.corp.example"), ClientCertificateMode::Off);
    assert_eq!(config.scim.unwrap().user, ScimUser::UserName);
}

#[test]
fn the_origin_has_the_port_that_browsers_use() {
    let config = load(&format!("{HOST}[identity_provider]\n"));
    let mut ingress = config.ingress;
    assert_eq!(ingress.origin_of("a.example"), "https://a.example");
    ingress.listen = vec!["127.0.0.1:8443".parse().unwrap()];
    assert_eq!(ingress.origin_of("a.example"), "https://a.example:8443");
    ingress.public_port = Some(443);
    assert_eq!(ingress.origin_of("a.example"), "https://a.example");
}

#[test]
fn presets_know_their_products() {
    let client = |issuer: &Issuer| issuer.sign_in.clone().unwrap();

    let keycloak = issuer_of("keycloak", "https://id.corp.example/realms/corp");
    assert_eq!(keycloak.claims.roles, "realm_access.roles");
    assert_eq!(keycloak.claims.user, "sub");
    assert_eq!(client(&keycloak).asks, AssuranceRequest::EssentialAcr);

    let entra = issuer_of("entra-id", TENANT);
    assert_eq!(entra.claims.user, "oid");
    assert_eq!(entra.algorithms, [jsonwebtoken::Algorithm::RS256]);
    assert_eq!(client(&entra).asks, AssuranceRequest::EssentialAcrs);
    assert_eq!(client(&entra).overage, Overage::MicrosoftGraph);
    assert_eq!(
        client(&entra).required_claims,
        [(
            "tid".to_owned(),
            "3aa4a235-b6e2-48d5-9195-7fcf05b459b0".to_owned()
        )]
    );

    let okta = issuer_of("okta", "https://corp.okta.com");
    assert_eq!(okta.acr_multi_factor, ["urn:okta:loa:2fa:any"]);
    assert_eq!(okta.acr_phishing_resistant, ["phr", "phrh"]);
    assert_eq!(okta.claims.user, "sub");

    let google = issuer_of("google", "https://accounts.google.com");
    assert_eq!(client(&google).asks, AssuranceRequest::Nothing);
    assert!(!client(&google).refresh && !google.multi_factor_out_of_band);

    let auth0 = issuer_of("auth0", "https://corp.eu.auth0.com/");
    assert_eq!(
        auth0.acr_multi_factor,
        ["http://schemas.openid.net/pape/policies/2007/06/multi-factor"]
    );
    for issuer in [keycloak, entra, okta, google, auth0] {
        assert!(issuer.audiences.is_empty());
        assert!(client(&issuer).scopes.iter().any(|scope| scope == "openid"));
    }
}

#[test]
fn a_preset_serves_access_tokens_too_and_what_is_written_wins() {
    let config = parse(
        "[[issuer]]\nname = \"corp\"\nissuer = \"https://corp.okta.com/oauth2/default\"\npreset = \"okta\"\n\
         audiences = [\"api://default\"]\nacr_phishing_resistant = []\ntoken_types = [\"jwt\"]\n",
    );
    let [issuer] = config.unwrap().config.issuers.try_into().unwrap();
    assert_eq!(issuer.claims.user, "uid");
    assert_eq!(issuer.token_types, ["jwt"]);
    assert!(issuer.acr_phishing_resistant.is_empty());
    assert!(issuer.sign_in.is_none());
}

#[test]
fn openid_is_always_among_the_scopes() {
    let text = provider("okta", "https://corp.okta.com")
        .replace("\"secret\" }", "\"secret\", scopes = [\"groups\"] }");
    let config = load(&text);
    let client = config.issuers.first().unwrap().sign_in.as_ref().unwrap();
    assert_eq!(client.scopes, ["openid", "groups"]);
}

const EVERYTHING: &str = r##"
[ingress]
public_port = 443
listen = ["0.0.0.0:8443"]
[[ingress.certificate]]
chain = "c"
key = "k"
[pages]
organisation = "Corp"
logo = "logo.svg"
colour = "#0A7d3c"
[sign_in]
host = "login.corp.example"
back_channel_host = "signals.corp.example"
public = { idle = "2d", absolute = "14d" }
[identity_provider]
name = "guests"
label = "Guests"
link_lifetime = "1d"
passwords = false
breached_passwords = "breached.txt"
[[issuer]]
name = "corp"
issuer = "https://id.corp.example/realms/corp"
audiences = ["masugata"]
acr_multi_factor = ["gold"]
preset = "keycloak"
[issuer.sign_in]
client_id = "gw"
client_key_file = "client.key"
client_key_id = "2026"
scopes = ["openid", "microprofile-jwt"]
label = "Staff"
email_domains = ["corp.example"]
asks = "acr-values"
pushed = "required"
userinfo = true
overage = "userinfo"
group_names = "groups.toml"
required_claims = { hd = "corp.example" }
refresh = false
[scim]
host = "scim.corp.example"
issuer = "corp"
token_files = ["scim.token"]
token = { issuer = "corp", audience = "scim" }
addresses = ["192.0.2.0/24"]
user = "user-name"
"##;

#[test]
fn everything_that_can_be_written_is_understood_and_shown() {
    let least = "policies = [\"p\"]\nstore = \"store\"\n\
        devices = { authorities = [\"ca.pem\"], inventory = \"devices.toml\" }\naudit = { file = \"a\" }\n";
    let text = format!("{least}{EVERYTHING}");
    let parsed = Config::parse(&text, Path::new("/etc/masugata/masugata.toml")).unwrap();
    assert!(parsed.warnings.is_empty(), "{:?}", parsed.warnings);
    let config = parsed.config;
    assert_eq!(config.pages.colour, Some([0x0a, 0x7d, 0x3c]));
    assert_eq!(
        config.issuers.last().unwrap().issuer,
        "https://login.corp.example/id"
    );
    let shown = redacted(&config);
    let corp = &shown["issuer"][0]["sign_in"];
    assert_snapshot!(
        serde_json::to_string_pretty(&serde_json::json!([
            corp,
            shown["sign_in"],
            shown["identity_provider"],
            shown["scim"],
            shown["pages"],
            shown["store"],
            shown["ingress"]["public_port"],
        ]))
        .unwrap()
    );
    let watched = config.files();
    for file in [
        "client.key",
        "groups.toml",
        "breached.txt",
        "scim.token",
        "logo.svg",
    ] {
        assert!(
            watched.contains(&Path::new("/etc/masugata").join(file)),
            "{file}"
        );
    }
}

#[test]
fn sections_that_need_each_other_are_told() {
    assert_snapshot!(problems(HOST), @r##"
    error: `[sign_in]` without anybody who can say who people are
      --> masugata.toml:5:1
    help: write `[issuer.sign_in]` below an `[[issuer]]`, or `[identity_provider]` for accounts of your own

    error: `[sign_in]` without `store`
      --> masugata.toml:5:1
    help: write `store = "/var/lib/masugata"` at the top of the file: a directory for sessions, accounts and keys
    "##);
    assert_snapshot!(problems("[identity_provider]\n"), @r##"
    error: `[identity_provider]` without `[sign_in]`
      --> masugata.toml:5:1
    help: write `[sign_in]` with the `host` where people sign in

    error: `[identity_provider]` without `store`
      --> masugata.toml:5:1
    help: write `store = "/var/lib/masugata"` at the top of the file: a directory for sessions, accounts and keys
    "##);
    let text = provider("okta", "https://corp.okta.com").replace(HOST, "");
    assert_snapshot!(problems(&text), @r##"
    error: `[issuer.sign_in]` without `[sign_in]`
      --> masugata.toml:9:11
    help: write `[sign_in]` with the `host` where people sign in
    "##);
    assert_snapshot!(problems("[scim]\nhost = \"scim.corp.example\"\nissuer = \"crp\"\n"), @r##"
    error: `[scim]` without `store`
      --> masugata.toml:5:1
    help: write `store = "/var/lib/masugata"` at the top of the file: a directory for sessions, accounts and keys

    error: `[scim]` accepts no token, so nobody could provision anything
      --> masugata.toml:5:1
    help: write `token_files = ["scim.token"]` with a random token in it, or `[scim.token]` for access tokens of an issuer

    error: unknown issuer `crp`
      --> masugata.toml:7:10
    help: issuers are declared under `[[issuer]]`
    "##);
}

#[test]
fn an_issuer_without_any_use_is_told() {
    assert_snapshot!(problems("[[issuer]]\nname = \"corp\"\nissuer = \"https://id.corp.example\"\n"), @r##"
    error: issuer `corp` has neither `audiences` nor `[issuer.sign_in]`
      --> masugata.toml:6:8
    help: write `audiences` to accept access tokens, `[issuer.sign_in]` to let people sign in with a browser, or both
    "##);
}

#[test]
fn hosts_are_one_thing_each() {
    let text = format!(
        "{STORE}{HOST}back_channel_host = \"login.corp.example\"\n[identity_provider]\n\
         [[app]]\nname = \"wiki\"\nlevel = \"internal\"\nhosts = [\"login.corp.example\"]\nresponse = {{}}\n"
    );
    assert_snapshot!(problems(&text), @r##"
    error: `login.corp.example` is a host of app `wiki`
      --> masugata.toml:7:8
    help: give it a host name of its own

    error: `login.corp.example` asks people for a device certificate, which providers do not have
      --> masugata.toml:8:21
    help: give this a host name of its own
    "##);
    let text = format!(
        "{STORE}{HOST}[identity_provider]\n\
         [egress]\nlisten = [\"127.0.0.1:8444\"]\nname = \"proxy.corp.example\"\nwhy_host = \"login.corp.example\"\n"
    );
    assert_snapshot!(problems(&text), @r##"
    error: a second use of the host `login.corp.example`
      --> masugata.toml:12:12
    help: the first is in line 7; write one of them only, or rename it
    "##);
}

#[test]
fn a_rule_that_contradicts_is_told() {
    let text = format!("{STORE}{HOST}[identity_provider]\n");
    let text = format!("{LEAST}{text}").replace(
        "ingress = {",
        "ingress = { client_certificate = [{ hosts = [\"login.corp.example\"], mode = \"off\" }],",
    );
    let problems = Config::parse(&text, Path::new("masugata.toml")).unwrap_err();
    assert_snapshot!(problems.to_string(), @r##"
    error: `[[ingress.client_certificate]]` says something else for `login.corp.example`
      --> masugata.toml:7:8
    help: leave the host out there: what its pages need is known
    "##);
}

#[test]
fn lifetimes_that_contradict_are_told() {
    let text = format!(
        "{STORE}{HOST}internal = {{ idle = \"2d\" }}\nconfidential = {{ idle = \"3h\", absolute = \"2h\" }}\n\
         public = {{ idle = \"60d\" }}\n[identity_provider]\n"
    );
    assert_snapshot!(problems(&text), @r##"
    error: `idle` (2d) is longer than `absolute` (12h)
      --> masugata.toml:8:21
    help: a session ends with the first of the two; write a shorter `idle`, or a longer `absolute`

    error: `idle` (3h) is longer than `absolute` (2h)
      --> masugata.toml:9:25
    help: a session ends with the first of the two; write a shorter `idle`, or a longer `absolute`

    error: `60d` for `idle` in `[sign_in.public]` is too much
      --> masugata.toml:10:19
    help: write at most `"30d"`
    "##);
    let text = format!(
        "{HOST}confidential = {{ idle = \"2h\", absolute = \"1d\" }}\n[identity_provider]\n"
    );
    assert_snapshot!(warnings(&text), @r##"
    warning: `idle` is longer for confidential apps (2h) than for internal ones (1h)
      --> masugata.toml:8:25
    help: what is worth more is usually asked for more often

    warning: `absolute` is longer for confidential apps (1d) than for internal ones (12h)
      --> masugata.toml:8:25
    help: what is worth more is usually asked for more often
    "##);
}

#[test]
fn a_client_must_be_able_to_prove_itself_and_once() {
    let client = |keys: &str| {
        let text = provider("okta", "https://corp.okta.com");
        let text = text.replace("client_secret_file = \"secret\"", keys);
        problems(&format!("{STORE}{text}"))
    };
    let none =
        provider("okta", "https://corp.okta.com").replace(", client_secret_file = \"secret\"", "");
    assert_snapshot!(problems(&format!("{STORE}{none}")), @r##"
    error: `[issuer.sign_in]` of `corp` has neither `client_secret_file` nor `client_key_file`
      --> masugata.toml:12:11
    help: the gateway must prove to the provider that it is the client; write one of them
    "##);
    assert_snapshot!(
        client("client_secret_file = \"s\", client_key_file = \"k\""), @r##"
    error: both `client_secret_file` and `client_key_file` are written
      --> masugata.toml:12:75
    help: keep the key where the provider accepts it: then it holds no secret that could leak there
    "##
    );
    assert_snapshot!(
        client("client_key_file = \"k\", client_authentication = \"post\""), @r##"
    error: `client_authentication` says how a secret is sent, and there is none
      --> masugata.toml:12:78
    help: leave it out: a key is always used for `private_key_jwt`
    "##
    );
    assert_snapshot!(
        client("client_secret_file = \"s\", client_key_id = \"1\""), @r##"
    error: `client_key_id` without `client_key_file`
      --> masugata.toml:12:73
    help: write the file of the key that has this id
    "##
    );
}

// Attack: a person of any tenant signs in, because the issuer stands for all of them.
#[test]
fn entra_wants_one_tenant() {
    for issuer in ["common", "organizations", "consumers", "corp.example"] {
        let issuer = format!("https://login.microsoftonline.com/{issuer}/v2.0");
        let text = format!("{STORE}{}", provider("entra-id", &issuer));
        assert!(problems(&text).contains("does not name one tenant"));
    }
    let other = provider("entra-id", TENANT).replace(
        "\"secret\" }",
        "\"secret\", required_claims = { tid = \"another\" } }",
    );
    assert_snapshot!(problems(&format!("{STORE}{other}")), @r##"
    error: `tid` is another tenant than the issuer's
      --> masugata.toml:12:88
    help: leave it out: it is known from `issuer`
    "##);
}

#[test]
fn a_provider_that_cannot_be_asked_is_told() {
    assert_snapshot!(warnings(&provider("entra-id", TENANT)), @r##"
    warning: `corp` cannot be asked for several factors: no `acr` value is known for them
      --> masugata.toml:12:11
    help: write `acr_multi_factor` with the provider's own value, or `asks = "nothing"` if it has none
    "##);
    assert_snapshot!(warnings(&provider("google", "https://accounts.google.com")), @r##"
    warning: `corp` does not say how people signed in, so apps that require several factors refuse them
      --> masugata.toml:12:11
    help: write `multi_factor_out_of_band = true` if 2-Step Verification is enforced for everybody

    warning: every Google account in the world can sign in with `corp`
      --> masugata.toml:12:11
    help: write `required_claims = { hd = "example.com" }` with your Workspace domain
    "##);
    assert_snapshot!(warnings(&provider("okta", "https://corp.okta.com")), @"");
}

#[test]
fn okta_users_are_the_same_people_in_both_kinds_of_tokens() {
    let text = provider("okta", "https://corp.okta.com/oauth2/default")
        .replace("preset", "audiences = [\"api://default\"]\npreset");
    assert_snapshot!(problems(&format!("{STORE}{text}")), @r##"
    error: `corp` does not say what identifies people in both kinds of tokens
      --> masugata.toml:9:8
    help: Okta's ID Tokens have the user's id in `sub`, its access tokens in `uid`; add a claim `uid` to ID Tokens and write `claims.user = "uid"`
    "##);
    let text = text.replace("preset", "claims = { user = \"uid\" }\npreset");
    assert_eq!(load(&text).issuers.first().unwrap().claims.user, "uid");
}

#[test]
fn endpoints_come_from_discovery() {
    let text = provider("keycloak", "https://id.corp.example/realms/corp")
        .replace("preset", "jwks_file = \"keys.json\"\npreset");
    assert_snapshot!(problems(&format!("{STORE}{text}")), @r##"
    error: `jwks_file` does not say where people sign in
      --> masugata.toml:11:13
    help: leave it out: endpoints and keys are read from the provider's discovery document
    "##);
}

#[test]
fn the_port_that_browsers_use_must_be_known() {
    let text = format!("{LEAST}{STORE}{HOST}[identity_provider]\n").replace(":443", ":0");
    let problems = Config::parse(&text, Path::new("masugata.toml")).unwrap_err();
    assert_snapshot!(problems.to_string(), @r##"
    error: people sign in at a port that is not known before the gateway listens
      --> masugata.toml:6:1
    help: write `public_port` under `[ingress]`: providers send people back to it
    "##);
    let text = text.replace(
        "ingress = { listen = [\"127.0.0.1:0\"]",
        "ingress = { listen = [\"127.0.0.1:8443\"], proxy_protocol_from = [\"10.0.0.1\"]",
    );
    let warnings = Config::parse(&text, Path::new("masugata.toml"))
        .unwrap()
        .warnings;
    assert_snapshot!(error::Warning(warnings.first().unwrap()).to_string(), @r##"
    warning: something stands in front of the gateway, and people are sent to port 8443
      --> masugata.toml:6:1
    help: write `public_port` under `[ingress]`: providers send people back to it
    "##);
}

// Attack: a token with which somebody reaches apps also writes accounts.
#[test]
fn provisioning_has_an_audience_of_its_own() {
    let scim = "[scim]\nhost = \"scim.corp.example\"\nissuer = \"corp\"\n\
        token = { issuer = \"corp\", audience = \"masugata\" }\n";
    let issuer = "[[issuer]]\nname = \"corp\"\nissuer = \"https://id.corp.example\"\naudiences = [\"masugata\"]\n";
    assert_snapshot!(problems(&format!("{STORE}{issuer}{scim}")), @r##"
    error: `masugata` is an audience under which people reach apps
      --> masugata.toml:13:39
    help: whoever has such a token could write accounts; have the issuer make tokens for an audience of its own
    "##);
    let built_in = scim.replace("\"corp\"", "\"accounts\"");
    let text = format!("{STORE}{HOST}[identity_provider]\n{built_in}user = \"external-id\"\n");
    assert_snapshot!(problems(&text), @r##"
    error: the built-in provider makes no access tokens
      --> masugata.toml:12:20
    help: write `token_files`, or name another issuer

    error: accounts of the built-in provider are called by their `userName`
      --> masugata.toml:13:8
    help: leave `user` out
    "##);
}

#[test]
fn names_of_issuers_are_one_issuer_each() {
    let issuer = "[[issuer]]\nname = \"accounts\"\nissuer = \"https://id.corp.example\"\naudiences = [\"masugata\"]\n";
    assert_snapshot!(problems(&format!("{STORE}{HOST}[identity_provider]\n{issuer}")), @r##"
    error: a second issuer `accounts`
      --> masugata.toml:8:1
    help: the built-in provider is an issuer like the others; give it a name of its own under `[identity_provider]`
    "##);
    let text = format!("{STORE}{HOST}[identity_provider]\nname = \"certificate\"\n");
    assert!(problems(&text).contains("the name `certificate` is taken"));
    let two = format!(
        "{}{}",
        provider("okta", "https://corp.okta.com"),
        provider("okta", "https://other.okta.com")
            .replace(HOST, "")
            .replace("\"corp\"", "\"other\"")
    )
    .replace(
        "\"secret\" }",
        "\"secret\", email_domains = [\"corp.example\"] }",
    );
    assert_snapshot!(problems(&format!("{STORE}{two}")), @r##"
    error: a second provider for addresses in `corp.example`
      --> masugata.toml:17:79
    help: the first is in line 12; write one of them only, or rename it
    "##);
}

#[test]
fn the_logo_is_an_image() {
    assert_snapshot!(problems("[pages]\nlogo = \"logo.gif\"\ncolour = \"blue\"\n"), @r##"
    error: `logo.gif` is neither `.svg` nor `.png`
      --> masugata.toml:6:8
    help: the ending says what browsers are told

    error: `blue` for `colour` in `[pages]` is not a colour
      --> masugata.toml:7:10
    help: write six hexadecimal digits after `#`, as in `"#1d5fa8"`
    "##);
}

// Attack: another account on the machine reads the client's secret.
#[cfg(unix)]
#[test]
fn a_secret_that_others_can_read_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().unwrap();
    let base = directory.path();
    for file in ["p", "c", "k", "ca.pem", "secret"] {
        fs::write(base.join(file), "x").unwrap();
    }
    fs::write(base.join("devices.toml"), "").unwrap();
    fs::create_dir(base.join("store")).unwrap();
    fs::write(base.join("logo.png"), vec![0; 65 * 1024]).unwrap();
    let path = base.join("masugata.toml");
    let text = provider("okta", "https://corp.okta.com");
    let text = format!("{LEAST}{STORE}pages = {{ logo = \"logo.png\" }}\n{text}");
    fs::write(&path, text).unwrap();
    for (mode, refused) in [(0o640, true), (0o604, true), (0o600, false), (0o400, false)] {
        fs::set_permissions(base.join("secret"), fs::Permissions::from_mode(mode)).unwrap();
        let examined = Config::examine(&path, None).unwrap();
        let found: Vec<_> = examined.problems.iter().map(ToString::to_string).collect();
        assert_eq!(
            found
                .iter()
                .any(|text| text.contains("secret `secret` can be read by others")),
            refused,
            "{mode:o} {found:?}"
        );
        assert!(
            found.iter().any(|text| text.contains("has 66560 bytes")),
            "{found:?}"
        );
    }
}
