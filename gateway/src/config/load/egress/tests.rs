use std::path::Path;
use std::time::Duration;

use insta::assert_snapshot;

use crate::config::egress::*;
use crate::config::{ClientCertificateMode, Config, Parsed, error, redacted};

const LEAST: &str = "policies = [\"p\"]\ningress = { listen = [\"127.0.0.1:8443\"], certificate = [{ chain = \"c\", key = \"k\" }] }\n\
    devices = { authorities = [\"ca.pem\"], inventory = \"devices.toml\" }\naudit = { file = \"a\" }\n";

const DOOR: &str = "[egress]\nlisten = [\"127.0.0.1:8444\"]\nname = \"proxy.corp.example\"\n";

fn parse(more: &str) -> Result<Parsed, error::LoadError> {
    Config::parse(&format!("{LEAST}{more}"), Path::new("masugata.toml"))
}

fn load(more: &str) -> Egress {
    parse(more).unwrap().config.egress.unwrap()
}

fn problems(more: &str) -> String {
    parse(&format!("{DOOR}{more}")).unwrap_err().to_string()
}

#[test]
fn without_the_section_there_is_no_second_door() {
    assert!(parse("").unwrap().config.egress.is_none());
}

#[test]
fn the_least_door_has_the_documented_defaults() {
    let egress = load(DOOR);
    assert_eq!(egress.client_certificates, ClientCertificateMode::Required);
    assert_eq!(
        egress.credentials,
        AcceptedCredentials {
            owner: true,
            token: true,
            password: false
        }
    );
    assert!(!egress.requirements.multi_factor);
    assert_eq!((egress.mode, egress.ech), (Mode::Enforce, Ech::Refuse));
    assert_eq!(egress.ports, [80, 443]);
    assert_eq!(egress.tls_ports, [443]);
    assert_eq!(egress.recheck, Duration::from_secs(10));
    assert_eq!(egress.timeouts.total, Some(Duration::from_secs(86_400)));
    assert_eq!(egress.bounds.connections_per_address, 2048);
    assert_eq!(egress.resolver.kind, ResolverKind::System);
    assert_eq!((egress.tunnels, egress.tunnels_per_device), (20_000, 512));
    assert!(egress.reach.is_empty() && egress.feeds.is_empty() && egress.pac.is_none());
}

const EVERYTHING: &str = r#"
[egress]
listen = ["0.0.0.0:8444"]
name = "proxy.corp.example"
why_host = "why.corp.example"
password_key = "proxy-password.key"
lists_directory = "lists"
protect = ["corp.example", "corp.co.jp"]
require = { phishing_resistant = true, issuers = ["corp"] }
[egress.resolver]
mode = "https"
servers = ["1.1.1.1", "[2606:4700:4700::1111]:8443"]
server_name = "cloudflare-dns.com"
[[egress.address]]
host = "erp.corp.example"
addresses = ["10.0.0.1", "[::1]:8000"]
[[egress.reach]]
hosts = [".corp.example"]
ranges = ["10.0.0.0/8"]
ports = [443]
[[egress.service]]
name = "box-corp"
hosts = ["corp.app.box.com", ".boxcdn.net"]
level = "internal"
tenant = "corp"
groups = ["cloud-storage"]
ports = [8443]
[[egress.feed]]
name = "jpcert-c2"
url = "https://lists.example/c2.txt?key=planted"
format = "plain"
categories = ["c2"]
minisign_key = "RWSwB0NVEnCzy/YBkbUWTQtgzr47GZXuei1Cu+2sJmg6wpc7ZH98aakf"
alert = true
[[egress.feed]]
name = "ours"
file = "ours.txt"
format = "adguard"
effect = "allow"
[egress.pac]
host = "pac.corp.example"
[[egress.pac.file]]
name = "staff"
proxied = [".box.com", ".boxcdn.net"]
direct = [".corp.example"]
elsewhere = "PROXY office-proxy.corp.example:3128"
[[issuer]]
name = "corp"
issuer = "https://login.example.com"
audiences = ["masugata"]
[[limit]]
name = "door"
apps = ["egress"]
key = ["device"]
requests = 100
period = "1s"
"#;

#[test]
fn everything_that_can_be_written_is_understood() {
    let config = parse(EVERYTHING).unwrap().config;
    let egress = config.egress.as_ref().unwrap();
    assert!(egress.credentials.password && egress.requirements.multi_factor);
    let ResolverKind::Https { servers, path } = &egress.resolver.kind else {
        panic!("{:?}", egress.resolver);
    };
    assert_eq!(path, "/dns-query");
    assert_eq!(servers.addresses[0], "1.1.1.1:443".parse().unwrap());
    assert_eq!(servers.addresses[1].port(), 8443);
    assert_eq!(egress.addresses[0].addresses[1].1, Some(8000));
    assert!(egress.reach[0].covers("a.corp.example", "10.9.9.9:443".parse().unwrap()));
    assert!(!egress.reach[0].covers("a.corp.example", "10.9.9.9:80".parse().unwrap()));
    assert!(!egress.reach[0].covers("a.corp.example", "11.9.9.9:443".parse().unwrap()));
    assert!(!egress.reach[0].covers("corp.example.evil", "10.9.9.9:443".parse().unwrap()));
    assert_eq!(
        egress.pac.as_ref().unwrap().files[0].proxies,
        ["HTTPS proxy.corp.example:8444"]
    );
    // The pages of this door are served by the first, each with the handshake it needs.
    let mode = |host| config.ingress.client_certificate_mode(host);
    assert_eq!(mode("why.corp.example"), ClientCertificateMode::Required);
    assert_eq!(mode("pac.corp.example"), ClientCertificateMode::Off);
    let files = config.files();
    for name in ["proxy-password.key", "ours.txt"] {
        assert!(files.iter().any(|file| file.ends_with(name)), "{name}");
    }
}

#[test]
fn the_running_configuration_shows_the_door_without_keys_in_urls() {
    let shown = redacted(&parse(EVERYTHING).unwrap().config).to_string();
    assert!(
        shown.contains("box-corp")
            && shown.contains("office-proxy")
            && shown.contains("lists.example")
    );
    assert!(!shown.contains("planted"));
}

#[test]
fn slips_at_the_door_are_named_with_a_way_forward() {
    let text = r#"client_certificates = "off"
credentials = ["password"]
tunnels = 10
tunnels_per_device = 11
own_addresses = ["0.0.0.0/0"]
protect = ["www.corp.example", "co.jp"]
ports = [0, 443]
recheck = "1m"
[egress.resolver]
mode = "tls"
[[egress.service]]
name = "all"
hosts = ["*.co.jp", ".co.jp", "box.com"]
[[egress.service]]
name = "all"
hosts = ["box.com"]
"#;
    assert_snapshot!(problems(text));
}

#[test]
fn a_list_must_say_where_it_is_and_why_it_is_believed() {
    let text = r#"[[egress.feed]]
name = "nothing"
url = "https://lists.example/a"
format = "plain"
categories = ["c2"]
[[egress.feed]]
name = "open"
url = "https://lists.example/b"
format = "plain"
effect = "allow"
unsigned = true
[[egress.feed]]
name = "both"
url = "https://lists.example/b"
file = "b"
format = "plain"
categories = ["c2"]
unsigned = true
[[egress.feed]]
name = "doh"
file = "b"
format = "hosts"
refresh = "1h"
[[egress.feed]]
name = "Both"
file = "b"
format = "rpz"
effect = "allow"
categories = ["c2"]
sha256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
unsigned = true
"#;
    assert_snapshot!(problems(text));
}

#[test]
fn a_pac_file_is_exactly_one_scope() {
    let text = r#"why_host = "pac.corp.example"
[egress.pac]
host = "pac.corp.example"
proxies = ["HTTPS proxy.corp.example:8443; DIRECT"]
[[egress.pac.file]]
name = "a"
[[egress.pac.file]]
name = "b"
proxied = [".box.com"]
everything = true
[[egress.pac.file]]
name = "c"
everything = true
elsewhere = "direct"
[[egress.pac.file]]
name = "C"
proxied = [".box.com"]
direct = ["box.com"]
elsewhere = "direct"
"#;
    assert_snapshot!(problems(text));
}

#[test]
fn our_own_hosts_and_names_are_no_apps() {
    let text = r#"why_host = "why.corp.example"
[[app]]
name = "egress"
level = "public"
hosts = ["why.corp.example"]
redirect = { location = "/x" }
[[ingress.client_certificate]]
hosts = ["why.corp.example"]
mode = "optional"
"#;
    let least = "policies = [\"p\"]\n[ingress]\nlisten = [\"127.0.0.1:8444\"]\n[[ingress.certificate]]\nchain = \"c\"\nkey = \"k\"\n\
        [devices]\nauthorities = [\"ca.pem\"]\ninventory = \"devices.toml\"\n[audit]\nfile = \"a\"\n";
    let all = format!("{least}{DOOR}{text}");
    let found = Config::parse(&all, Path::new("masugata.toml")).unwrap_err();
    assert_snapshot!(found.to_string());
}

#[test]
fn what_goes_past_the_gateway_is_a_warning() {
    let text = "[egress.pac]\nhost = \"pac.corp.example\"\n[[egress.pac.file]]\nname = \"staff\"\nproxied = [\".box.com\"]\nelsewhere = \"direct\"\n";
    let parsed = parse(&format!("{DOOR}{text}")).unwrap();
    assert_eq!(parsed.warnings.len(), 1, "{:?}", parsed.warnings);
}
