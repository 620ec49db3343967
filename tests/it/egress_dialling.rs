//! The second door: where a tunnel may lead, what it must begin with, and what is said when it does not come about.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::StatusCode;
use masugata_tests::{
    Answer, Behaviour, NameServer, Origin, Origins, ProxyClient, RawAnswer, Reply, TestGateway,
    TestGatewayBuilder, Tunnel, Upstream, assert_denied, decision_of, end_of, eventually, seconds,
    within_reason,
};
use rustls::client::{EchConfig, EchGreaseConfig, EchMode};
use rustls::crypto::aws_lc_rs::{default_provider, hpke};
use rustls::crypto::hpke::Hpke;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{EchConfigListBytes, ServerName};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

fn both(client: &ProxyClient) -> [ProxyClient; 2] {
    [client.clone(), client.clone().h2()]
}

fn door(keys: &str) -> TestGatewayBuilder {
    TestGateway::new().egress(keys)
}

fn decisions(records: &[Value]) -> impl Iterator<Item = &Value> {
    records.iter().filter(|record| record["type"] == "decision")
}

/// Whatever reaches this machine on one port, by any of its addresses, is counted.
struct Canary {
    port: u16,
    sung: Arc<std::sync::atomic::AtomicUsize>,
}

impl Canary {
    async fn start() -> Self {
        let listener = match TcpListener::bind("[::]:0").await {
            Ok(listener) => listener,
            Err(_no_ipv6) => TcpListener::bind("0.0.0.0:0").await.unwrap(),
        };
        let canary = Self {
            port: listener.local_addr().unwrap().port(),
            sung: Arc::default(),
        };
        let sung = Arc::clone(&canary.sung);
        tokio::spawn(async move {
            while listener.accept().await.is_ok() {
                sung.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            }
        });
        canary
    }

    fn sung(&self) -> usize {
        self.sung.load(std::sync::atomic::Ordering::SeqCst)
    }
}

/// Addresses in every spelling that is one, with the word that the record has for them.
const INSIDE: &[(&str, &str)] = &[
    ("127.0.0.1", "loopback"),
    ("127.0.0.53", "loopback"),
    ("127.255.255.254", "loopback"),
    ("127.0.0.1.", "loopback"),
    ("0.0.0.0", "this-network"),
    ("0.1.2.3", "this-network"),
    ("10.0.0.1", "private"),
    ("172.16.0.1", "private"),
    ("172.31.255.255", "private"),
    ("192.168.1.1", "private"),
    ("100.64.0.1", "carrier-nat"),
    ("100.127.255.255", "carrier-nat"),
    ("169.254.1.1", "link-local"),
    ("169.254.169.254", "metadata"),
    ("100.100.100.200", "metadata"),
    ("168.63.129.16", "metadata"),
    ("192.0.0.192", "metadata"),
    ("192.0.0.8", "protocol-assignments"),
    ("192.0.2.1", "documentation"),
    ("198.18.0.1", "benchmarking"),
    ("192.88.99.1", "6to4-relay"),
    ("224.0.0.1", "multicast"),
    ("240.0.0.1", "reserved"),
    ("255.255.255.255", "broadcast"),
    ("[::]", "unspecified"),
    ("[::1]", "loopback"),
    ("[0:0:0:0:0:0:0:1]", "loopback"),
    ("[0000:0000:0000:0000:0000:0000:0000:0001]", "loopback"),
    ("[::ffff:127.0.0.1]", "ipv4-mapped"),
    ("[::ffff:7f00:1]", "ipv4-mapped"),
    ("[::FFFF:169.254.169.254]", "ipv4-mapped"),
    ("[0:0:0:0:0:ffff:0a00:0001]", "ipv4-mapped"),
    ("[::ffff:0:127.0.0.1]", "ipv4-translated"),
    ("[::127.0.0.1]", "ipv4-compatible"),
    ("[::7f00:1]", "ipv4-compatible"),
    ("[64:ff9b::127.0.0.1]", "nat64"),
    ("[64:ff9b::a9fe:a9fe]", "nat64"),
    ("[64:ff9b:1::10.0.0.1]", "nat64"),
    ("[2002:7f00:1::]", "6to4"),
    ("[2002:a9fe:a9fe::1]", "6to4"),
    (
        "[2001:0:4136:e378:8000:63bf:80ff:fffe]",
        "protocol-assignments",
    ),
    ("[2001:db8::1]", "documentation"),
    ("[2400:cb00::5efe:10.0.0.1]", "isatap"),
    ("[2400:cb00::200:5efe:7f00:1]", "isatap"),
    ("[fe80::1]", "link-local"),
    ("[fec0::1]", "site-local"),
    ("[fc00::1]", "unique-local"),
    ("[fd00:ec2::254]", "metadata"),
    ("[ff02::1]", "multicast"),
    ("[100::1]", "discard"),
    ("[5f00::1]", "segment-routing"),
    ("[4000::1]", "not-global"),
];

/// What only some programs read as an address, and each as another: nobody's.
const NOBODYS: &[&str] = &[
    "2130706433",
    "0x7f000001",
    "0X7F000001",
    "017700000001",
    "0x7f000001.",
    "0",
    "0x0",
    "127.1",
    "127.0.1",
    "127.1.",
    "0177.0.0.1",
    "0x7f.0.0.1",
    "0x7f.1",
    "127.0.0.01",
    "127.0.0.0x1",
    "127.0.0.1..",
    "127.0.0.256",
    "127.0.0.1.5",
    "4294967297",
    "example.0x7f",
    "example.1",
    "[127.0.0.1]",
    "[::ffff:127.1]",
    "[::ffff:0177.0.0.1]",
    "[::1%lo]",
    "[::1%25lo]",
    "[fe80::1%1]",
    "[fe80::1%25eth0]",
    "[::1",
    "::1",
    "[::1]x",
    "[::1].example",
    "[[::1]]",
    "[0:0:0:0:0:0:0:0:1]",
    "[1::2::3]",
    "[v1.127.0.0.1]",
    "good.example@127.0.0.1",
    "127.0.0.1@good.example",
    "127.0.0.1,good.example",
    "127.0.0.1%2egood.example",
    "%31%32%37.0.0.1",
    "127\u{3002}0\u{3002}0\u{3002}1",
    "\u{2460}\u{2461}\u{2466}.0.0.1",
    "\u{ff11}\u{ff12}\u{ff17}.0.0.1",
    "127.0.0.1\\good.example",
    "good.example\\@127.0.0.1",
];

async fn raw_connect(client: &ProxyClient, target: &str) -> RawAnswer {
    let request = format!(
        "CONNECT {target} HTTP/1.1\r\nhost: {target}\r\naccept: application/json\r\nconnection: close\r\n\r\n"
    );
    client.raw(request.as_bytes()).await
}

async fn raw_get(client: &ProxyClient, target: &str) -> RawAnswer {
    let request = format!(
        "GET http://{target}/ HTTP/1.1\r\nhost: good.example\r\naccept: application/json\r\nconnection: close\r\n\r\n"
    );
    client.raw(request.as_bytes()).await
}

// Attack: SSRF.
#[tokio::test(flavor = "multi_thread")]
async fn no_spelling_of_an_address_leads_inside() {
    let canary = Canary::start().await;
    let port = canary.port;
    let gateway = door(&format!("ports = [80, 443, {port}]\ntls_ports = [443]"))
        .start()
        .await;
    let client = gateway.proxy();
    let session = client.clone().h2().session().await;
    for (spelling, _class) in INSIDE {
        let target = format!("{spelling}:{port}");
        for answer in [
            raw_connect(&client, &target).await,
            raw_get(&client, &target).await,
        ] {
            assert_eq!(answer.status(), Some(403), "{target}: {}", answer.text());
            let code = answer.code();
            assert_eq!(code.as_deref(), Some("destination-prohibited"), "{target}");
            let text = answer.text().to_lowercase();
            let told = "proxy-status: masugata; error=destination_ip_prohibited";
            assert!(text.contains(told), "{target}: {text}");
        }
        let Err(answer) = session.connect(&target).await else {
            panic!("a tunnel to {target}");
        };
        assert_denied(&answer, "destination-prohibited");
        // Clients are not told what is there.
        assert!(!answer.text().contains("loopback"), "{}", answer.text());
    }
    for spelling in NOBODYS {
        let target = format!("{spelling}:{port}");
        for answer in [
            raw_connect(&client, &target).await,
            raw_get(&client, &target).await,
        ] {
            assert_eq!(answer.status(), Some(400), "{target}: {}", answer.text());
        }
    }
    assert_eq!(canary.sung(), 0, "nobody came");
    let records = gateway.records().await;
    for (spelling, class) in INSIDE {
        let host = spelling.trim_matches(['[', ']', '.']);
        let Ok(address) = host.parse::<std::net::IpAddr>() else {
            panic!("{host}");
        };
        let same = |record: &&Value| {
            let host = record["destination"]["host"].as_str().unwrap_or_default();
            host.parse() == Ok(address)
        };
        let found: Vec<_> = decisions(&records).filter(same).collect();
        assert!(found.len() >= 3, "{spelling}");
        for decision in found {
            assert_eq!(decision["detail"], *class, "{spelling}: {decision}");
            assert_eq!(decision["stage"], "reach", "{decision}");
        }
    }
}

/// A door that asks a name server of the test.
async fn asking(
    server: &NameServer,
    origins: &Origins,
    keys: &str,
    build: impl FnOnce(TestGatewayBuilder) -> TestGatewayBuilder,
) -> TestGateway {
    let builder = door(keys)
        .file("origins.pem", &origins.authority_pem())
        .config(&server.config(""));
    build(builder).start().await
}

fn origins() -> Origins {
    Origins::new(door("").clock().seconds())
}

/// What lets a host lie at an address of this machine.
fn reach(hosts: &str, range: &str, port: u16) -> String {
    format!("[[egress.reach]]\nhosts = [\"{hosts}\"]\nranges = [\"{range}\"]\nports = [{port}]\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn no_name_leads_inside_whatever_name_servers_say() {
    const NAMES: &[(&str, &[&str], &str)] = &[
        ("loopback.example", &["127.0.0.1"], "loopback"),
        ("six.example", &["::1"], "loopback"),
        ("metadata.example", &["169.254.169.254"], "metadata"),
        ("metadata6.example", &["fd00:ec2::254"], "metadata"),
        ("private.example", &["10.1.2.3", "192.168.0.1"], "private"),
        ("mapped.example", &["::ffff:127.0.0.1"], "ipv4-mapped"),
        ("nat64.example", &["64:ff9b::7f00:1"], "nat64"),
        ("sixtofour.example", &["2002:7f00:1::1"], "6to4"),
        ("local.example", &["fe80::1"], "link-local"),
        ("any.example", &["0.0.0.0"], "this-network"),
        ("any6.example", &["::"], "unspecified"),
        ("cgnat.example", &["100.64.1.1"], "carrier-nat"),
    ];
    let canary = Canary::start().await;
    for https in [false, true] {
        let origins = origins();
        let server = NameServer::start(&origins, https, |name, _| {
            if name == "alias.example" {
                return Reply::alias("intranet.corp.example", &["127.0.0.1"]);
            }
            let known = NAMES.iter().find(|(known, ..)| *known == name);
            known.map_or(Reply::Absent, |(_, addresses, _)| Reply::at(addresses))
        })
        .await;
        let port = canary.port;
        let gateway = asking(&server, &origins, &format!("ports = [80, {port}]"), |it| it).await;
        for client in both(&gateway.proxy()) {
            for (name, ..) in NAMES {
                let answer = client.refused(&format!("{name}:{port}")).await;
                assert_denied(&answer, "destination-prohibited");
                let plain = client.get(&format!("http://{name}:{port}/")).await;
                assert_denied(&plain, "destination-prohibited");
            }
            let alias = client.refused(&format!("alias.example:{port}")).await;
            assert_denied(&alias, "destination-prohibited");
        }
        let records = gateway.records().await;
        for (name, _, class) in NAMES {
            let found: Vec<_> = decisions(&records)
                .filter(|record| record["destination"]["host"] == *name)
                .collect();
            assert_eq!(found.len(), 4);
            for decision in found {
                assert_eq!(decision["detail"], *class, "{decision}");
                assert!(decision["destination"].get("addresses").is_none());
            }
        }
    }
    assert_eq!(canary.sung(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_machines_own_names_lead_nowhere() {
    let canary = Canary::start().await;
    let gateway = door(&format!("ports = [80, {}]", canary.port))
        .start()
        .await;
    for name in ["localhost", "LOCALHOST.", "x.localhost", "ip6-localhost"] {
        let answer = gateway
            .proxy()
            .refused(&format!("{name}:{}", canary.port))
            .await;
        // Whether the machine knows the name is its own affair.
        let code = answer.denial_code().unwrap();
        assert!(
            ["destination-prohibited", "upstream-unresolved"].contains(&&*code),
            "{name}: {code}"
        );
    }
    assert_eq!(canary.sung(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_mixed_answers_only_what_may_be_reached_is_dialled() {
    let canary = Canary::start().await;
    let origin = Origins::plain(Behaviour::Echo).await;
    let port = origin.port();
    let origins = origins();
    let server = NameServer::start(&origins, false, |_, _| {
        Reply::at(&[
            "10.0.0.1",
            "169.254.169.254",
            "127.0.0.1",
            "::1",
            "127.0.0.3",
        ])
    })
    .await;
    let gateway = asking(&server, &origins, &format!("ports = [{port}]"), |builder| {
        builder.config(&reach("mixed.example", "127.0.0.1/32", port))
    })
    .await;
    for client in both(&gateway.proxy()) {
        let mut tunnel = client
            .connect(&format!("mixed.example:{port}"))
            .await
            .unwrap();
        echo(&mut tunnel).await;
    }
    gateway.completions(2).await;
    let records = gateway.records().await;
    for decision in decisions(&records) {
        let addresses = decision["destination"]["addresses"].as_array().unwrap();
        assert_eq!(*addresses, [format!("127.0.0.1:{port}")], "{decision}");
    }
    assert_eq!(canary.sung(), 0);
}

async fn echo(tunnel: &mut Tunnel) {
    tunnel.write_all(b"ping").await.unwrap();
    let mut back = [0; 4];
    within_reason("an echo", tunnel.read_exact(&mut back))
        .await
        .unwrap();
    assert_eq!(&back, b"ping");
}

// Attack: DNS rebinding. The name server says one thing to whoever checks, and another to whoever connects.
#[tokio::test(flavor = "multi_thread")]
async fn the_address_that_was_checked_is_the_one_that_is_dialled() {
    for https in [false, true] {
        let origin = Origins::plain(Behaviour::Echo).await;
        let port = origin.port();
        let inside = TcpListener::bind(("127.0.0.2", port)).await.unwrap();
        let origins = origins();
        let server = NameServer::start(&origins, https, |_, before| {
            let odd = before % 2 == 1;
            Reply::at(if odd { &["127.0.0.2"] } else { &["127.0.0.1"] })
        })
        .await;
        let keys = format!("ports = [{port}]");
        let gateway = door(&keys)
            .file("origins.pem", &origins.authority_pem())
            .config(&server.config("ipv6 = false"))
            .config(&reach(".rebind.example", "127.0.0.1/32", port))
            .start()
            .await;
        for (client, host) in both(&gateway.proxy())
            .iter()
            .zip(["a.rebind.example", "b.rebind.example"])
        {
            let target = format!("{host}:{port}");
            let mut tunnel = client.connect(&target).await.unwrap();
            echo(&mut tunnel).await;
            assert_eq!(server.asked(host), 1, "one look-up for one request");
            // It counts for a while, though the server says that it does not.
            client.connect(&target).await.unwrap();
            assert_eq!(server.asked(host), 1);
            gateway.clock.advance(seconds(11));
            let answer = client.refused(&target).await;
            assert_denied(&answer, "destination-prohibited");
            assert_eq!(server.asked(host), 2);
            // What is open lies where it lay.
            echo(&mut tunnel).await;
            gateway.clock.advance(seconds(11));
            client.connect(&target).await.unwrap();
        }
        // The same for requests in the clear, on a connection that is kept.
        let plain = Upstream::hello().await;
        let port = plain.address.port();
        let gateway = door(&format!("ports = [{port}]"))
            .file("origins.pem", &origins.authority_pem())
            .config(&server.config("ipv6 = false"))
            .config(&reach(".rebind.example", "127.0.0.1/32", port))
            .start()
            .await;
        let url = format!("http://c.rebind.example:{port}/");
        let session = gateway.proxy().session().await;
        let answer = session.send(http::Method::GET, &url, "").await;
        assert_eq!(answer.text(), "hello");
        gateway.clock.advance(seconds(11));
        let answer = session.send(http::Method::GET, &url, "").await;
        assert_denied(&answer, "destination-prohibited");
        let came = tokio::time::timeout(std::time::Duration::ZERO, inside.accept()).await;
        assert!(came.is_err(), "nobody came inside");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_server_learns_nothing_of_what_is_refused() {
    let origins = origins();
    let server = NameServer::start(&origins, false, |_, _| Reply::Absent).await;
    let policy =
        r#"@id("some") permit (principal, action, resource in Masugata::Domain::"good.example");"#;
    let gateway = asking(&server, &origins, "", |builder| builder.policy(policy)).await;
    for client in both(&gateway.proxy()) {
        assert_denied(&client.refused("secret.example:443").await, "no-permit");
        assert_denied(
            &client.refused("good.example:25").await,
            "destination-port-refused",
        );
        assert_denied(&client.get("http://secret.example/").await, "no-permit");
    }
    assert_eq!(server.questions(), 0);
    let answer = gateway.proxy().refused("www.good.example:443").await;
    assert_denied(&answer, "upstream-unresolved");
    assert_eq!(server.questions(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_leads_back_to_the_gateway_is_a_loop() {
    let site = Upstream::hello().await;
    let gateway = door("own_addresses = [\"203.0.113.0/24\"]")
        .ingress("listen = [\"0.0.0.0:0\"]")
        .app("wiki", site.address)
        .start()
        .await;
    let (ingress, egress) = (gateway.address().port(), gateway.egress_address().port());
    let admin = gateway.admin_address().port();
    let mut own = vec!["203.0.113.7:443".to_owned()];
    for port in [ingress, egress, admin] {
        own.extend([
            format!("127.0.0.1:{port}"),
            format!("[::ffff:127.0.0.1]:{port}"),
            format!("0.0.0.0:{port}"),
        ]);
    }
    // Bound to every address of the machine.
    own.extend(
        ["127.0.0.2", "127.8.9.10", "[::ffff:127.0.0.9]"].map(|it| format!("{it}:{ingress}")),
    );
    let mut config = gateway.read("masugata.toml");
    for (number, at) in own.iter().enumerate() {
        config += &format!(
            "[[egress.address]]\nhost = \"own-{number}.example\"\naddresses = [\"{at}\"]\n"
        );
    }
    // Bound to 127.0.0.1 alone, the second door is not there; nobody is.
    config += &format!(
        "[[egress.address]]\nhost = \"other.example\"\naddresses = [\"127.0.0.2:{egress}\"]\n\
         [[egress.reach]]\nhosts = [\".example\"]\n\
         ranges = [\"127.0.0.0/8\", \"0.0.0.0/8\", \"::ffff:0:0/96\", \"203.0.113.0/24\"]\n\
         ports = [443, {ingress}, {egress}, {admin}]\n"
    );
    gateway.write("masugata.toml", &config);
    gateway.reload().await;
    for client in both(&gateway.proxy()) {
        for (number, at) in own.iter().enumerate() {
            let answer = client.refused(&format!("own-{number}.example:443")).await;
            assert_eq!(
                answer.denial_code().as_deref(),
                Some("loop-detected"),
                "{at}"
            );
            assert_eq!(answer.status, StatusCode::LOOP_DETECTED);
            let told = answer.header("proxy-status").unwrap();
            assert!(told.contains("error=proxy_loop_detected"), "{told}");
            let plain = client.get(&format!("http://own-{number}.example/")).await;
            assert_denied(&plain, "loop-detected");
        }
        let answer = client.refused("other.example:443").await;
        assert_denied(&answer, "upstream-unreachable");
    }
    assert_eq!(site.count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_has_been_here_is_a_loop_and_others_hops_are_none() {
    let site = Upstream::hello().await;
    let gateway = door("").origin("site.example", site.address).start().await;
    for client in both(&gateway.proxy()) {
        let others = client
            .clone()
            .header("via", "1.0 squid.example, 1.1 masugata");
        assert_eq!(others.get("http://site.example/").await.text(), "hello");
        let via = site.last().all("via").join(", ");
        let own = via.rsplit(' ').next().unwrap().to_owned();
        assert!(
            via.starts_with("1.0 squid.example, 1.1 masugata, "),
            "{via}"
        );
        for hops in [
            format!("1.1 {own}"),
            format!("2.0 {own}"),
            format!("HTTP/1.1 {own} (a comment)"),
            format!("1.0 squid.example, 1.1 {own}, 1.1 another.example"),
            format!("1.1 {}", own.to_uppercase()),
        ] {
            let before = site.count();
            let again = client.clone().header("via", &hops);
            assert_denied(&again.get("http://site.example/").await, "loop-detected");
            assert_denied(&again.refused("site.example:80").await, "loop-detected");
            assert_eq!(site.count(), before, "{hops}");
        }
        others.connect("site.example:80").await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_is_open_for_the_service_that_has_it_and_for_nobody_else() {
    let site = Upstream::hello().await;
    let gateway = door("")
        .origin("git.box.example", site.address)
        .origin("other.example", site.address)
        .config(
            "[[egress.service]]\nname = \"box\"\nhosts = [\".box.example\"]\nports = [22, 8443]",
        )
        .start()
        .await;
    for client in both(&gateway.proxy()) {
        client.connect("git.box.example:22").await.unwrap();
        client.connect("git.box.example:80").await.unwrap();
        let answer = client.get("http://git.box.example:8443/").await;
        assert_eq!(answer.text(), "hello");
        for target in ["other.example:22", "git.box.example:25"] {
            let answer = client.refused(target).await;
            assert_denied(&answer, "destination-port-refused");
            assert_eq!(answer.status, StatusCode::FORBIDDEN);
            let told = answer.header("proxy-status").unwrap();
            assert!(told.contains("error=http_request_denied"), "{told}");
            let plain = client.get(&format!("http://{target}/")).await;
            assert_denied(&plain, "destination-port-refused");
        }
    }
    let refused = gateway.proxy().refused("other.example:8443").await;
    let records = gateway.records().await;
    let decision = decision_of(&records, &refused);
    assert_eq!(decision["detail"], "port 8443", "{decision}");
    assert_eq!(decision["device"]["id"], "laptop", "{decision}");
    assert_eq!(decision["principal"]["id"], "corp/ada", "{decision}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exception_that_is_taken_back_ends_what_it_let_through() {
    let origin = Origins::plain(Behaviour::Echo).await;
    let gateway = door("recheck = \"1s\"")
        .origin("lab.example", origin.address)
        .origin("other.example", origin.address)
        .start()
        .await;
    let client = gateway.proxy();
    let mut lab = client.connect("lab.example:80").await.unwrap();
    let mut other = client.connect("other.example:80").await.unwrap();
    echo(&mut lab).await;
    let hosts = "[[egress.reach]]\nhosts = [\"lab.example\"]";
    gateway.edit("masugata.toml", hosts, &hosts.replace("lab", "nobody"));
    gateway.reload().await;
    within_reason("the cut", lab.ended()).await;
    echo(&mut other).await;
    drop(other);
    let completions = gateway.completions(2).await;
    let cut = completions
        .iter()
        .filter(|record| record["cause"] == "destination-prohibited");
    assert_eq!(cut.count(), 1, "{completions:?}");
}

/// A site with TLS, and a door to it. Its own address is open too.
async fn sealed(keys: &str) -> (TestGateway, Origin, RootCertStore) {
    let origins = origins();
    let origin = origins
        .tls(
            &["site.example", "outer.example", "127.0.0.1"],
            Behaviour::Http,
        )
        .await;
    let port = origin.port();
    let gateway = door(&format!(
        "ports = [443, {port}]\ntls_ports = [443, {port}]\n{keys}"
    ))
    .origin("site.example", origin.address)
    .config(&reach("127.0.0.1", "127.0.0.1/32", port))
    .start()
    .await;
    (gateway, origin, origins.roots())
}

/// What a client of today says, but for what `change` does to it.
fn tls(roots: &RootCertStore, change: impl FnOnce(&mut ClientConfig)) -> ClientConfig {
    let provider = Arc::new(default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots.clone())
        .with_no_client_auth();
    change(&mut config);
    config
}

fn hiding(roots: &RootCertStore, mode: EchMode) -> ClientConfig {
    ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_ech(mode)
        .unwrap()
        .with_root_certificates(roots.clone())
        .with_no_client_auth()
}

async fn shake<S>(stream: S, config: ClientConfig, name: &str) -> io::Result<TlsStream<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let shaking = TlsConnector::from(Arc::new(config)).connect(name, stream);
    within_reason("a handshake", shaking).await
}

/// The site answers through it.
async fn works<S>(mut stream: TlsStream<S>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    stream
        .write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    stream.flush().await.unwrap();
    let mut answer = [0; 15];
    within_reason("an answer", stream.read_exact(&mut answer))
        .await
        .unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200 OK");
}

/// Waits for so many ends of tunnels, and says how the last of them was.
async fn last_end(gateway: &TestGateway, count: usize) -> Value {
    gateway.completions(count).await.pop().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_carries_a_handshake_with_the_host_that_was_asked_for() {
    let (gateway, origin, roots) = sealed("").await;
    let address = format!("127.0.0.1:{}", origin.port());
    let nameless = |config: &mut ClientConfig| config.enable_sni = false;
    let mut ends = 0;
    for client in both(&gateway.proxy()) {
        for target in ["site.example:443", "SITE.example.:443"] {
            let tunnel = client.connect(target).await.unwrap();
            works(
                shake(tunnel, tls(&roots, |_| ()), "site.example")
                    .await
                    .unwrap(),
            )
            .await;
            ends += 1;
        }
        // Addresses have no name (RFC 6066 §3).
        let tunnel = client.connect(&address).await.unwrap();
        works(
            shake(tunnel, tls(&roots, |_| ()), "127.0.0.1")
                .await
                .unwrap(),
        )
        .await;
        ends += 1;
        // A hello may come byte by byte, each in a record of its own to the proxy.
        let tunnel = Drip(client.connect("site.example:443").await.unwrap());
        works(
            shake(tunnel, tls(&roots, |_| ()), "site.example")
                .await
                .unwrap(),
        )
        .await;
        ends += 1;
        gateway.completions(ends).await;
        let before = origin.seen();
        for (target, name, config) in [
            ("site.example:443", "outer.example", tls(&roots, |_| ())),
            ("site.example:443", "site.example", tls(&roots, nameless)),
            ("site.example:443", "127.0.0.1", tls(&roots, |_| ())),
            (&*address, "site.example", tls(&roots, |_| ())),
            ("site.example:443", "www.site.example", tls(&roots, |_| ())),
            (
                "site.example:443",
                "site.example.evil.example",
                tls(&roots, |_| ()),
            ),
        ] {
            let tunnel = client.connect(target).await.unwrap();
            let refused = shake(tunnel, config, name).await.err().unwrap();
            assert!(refused.to_string().contains("AccessDenied"), "{refused}");
            ends += 1;
            let end = last_end(&gateway, ends).await;
            assert_eq!(end["cause"], "sni-mismatch", "{target}, {name}: {end}");
        }
        let after = origin.seen();
        assert_eq!(after.names, before.names);
        assert_eq!(after.bytes, before.bytes, "not one byte went out");
    }
    let names = origin.seen().names;
    assert_eq!(
        names.iter().filter(|name| name.is_empty()).count(),
        2,
        "{names:?}"
    );
    let cut = "masugata_tunnels_cut_total{reason=\"sni-mismatch\"} 12";
    let (_, metrics) = gateway.admin("GET", "/metrics").await;
    assert!(metrics.contains(cut), "{metrics}");
}

/// One byte at a time.
struct Drip(Tunnel);

impl AsyncRead for Drip {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Drip {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, &bytes[..bytes.len().min(1)])
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

const SUITE: &dyn Hpke = hpke::DH_KEM_X25519_HKDF_SHA256_AES_128;

/// What every browser adds, so that nobody can tell who hides.
fn grease() -> EchMode {
    let (key, _) = SUITE.generate_key_pair().unwrap();
    EchGreaseConfig::new(SUITE, key).into()
}

/// As somebody hides who has a key of `public` (RFC 9849 §4).
fn behind(public: &str) -> EchMode {
    let (key, _) = SUITE.generate_key_pair().unwrap();
    let mut contents = vec![7, 0x00, 0x20];
    contents.extend(u16::try_from(key.0.len()).unwrap().to_be_bytes());
    contents.extend(&key.0);
    // HKDF-SHA256 and AES-128-GCM; names as long as they like.
    contents.extend([0, 4, 0, 1, 0, 1, 0]);
    contents.push(u8::try_from(public.len()).unwrap());
    contents.extend(public.as_bytes());
    contents.extend([0, 0]);
    let length = u16::try_from(contents.len()).unwrap();
    let mut list = (length + 4).to_be_bytes().to_vec();
    list.extend([0xfe, 0x0d]);
    list.extend(length.to_be_bytes());
    list.extend(contents);
    let config = EchConfig::new(EchConfigListBytes::from(list), hpke::ALL_SUPPORTED_SUITES);
    config.unwrap().into()
}

#[tokio::test(flavor = "multi_thread")]
async fn greased_hellos_pass_and_hidden_names_are_refused() {
    let (gateway, origin, roots) = sealed("").await;
    let mut ends = 0;
    for client in both(&gateway.proxy()) {
        let tunnel = client.connect("site.example:443").await.unwrap();
        let stream = shake(tunnel, hiding(&roots, grease()), "site.example").await;
        works(stream.unwrap()).await;
        ends += 1;
        let end = last_end(&gateway, ends).await;
        assert_ne!(end["outcome"], "cut", "{end}");
        let before = origin.seen();
        // Attack: asked for is one name, shown another, meant a third.
        let tunnel = client.connect("site.example:443").await.unwrap();
        let hidden = hiding(&roots, behind("outer.example"));
        let refused = shake(tunnel, hidden, "secret.example").await.err().unwrap();
        assert!(refused.to_string().contains("AccessDenied"), "{refused}");
        ends += 1;
        let end = last_end(&gateway, ends).await;
        assert_eq!(end["cause"], "sni-mismatch", "{end}");
        assert_eq!(origin.seen().bytes, before.bytes);
        assert_eq!(origin.seen().names, before.names);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hidden_names_pass_where_the_configuration_gives_up_on_them_and_are_on_record() {
    let (gateway, origin, roots) = sealed("ech = \"allow\"").await;
    for (round, client) in both(&gateway.proxy()).iter().enumerate() {
        let tunnel = client.connect("site.example:443").await.unwrap();
        let hidden = hiding(&roots, behind("outer.example"));
        // The site knows no such key, and says so as RFC 9849 §7.1 has it: the hello has reached it.
        let refused = shake(tunnel, hidden, "secret.example").await.err().unwrap();
        assert!(!refused.to_string().contains("AccessDenied"), "{refused}");
        let end = last_end(&gateway, 3 * round + 1).await;
        assert_eq!(end["ech"], true, "{end}");
        assert!(
            !end["cause"].is_string() || end["cause"] != "sni-mismatch",
            "{end}"
        );
        // Without the extension the name has to be right, here too.
        let tunnel = client.connect("site.example:443").await.unwrap();
        let refused = shake(tunnel, tls(&roots, |_| ()), "outer.example").await;
        assert!(refused.err().unwrap().to_string().contains("AccessDenied"));
        let end = last_end(&gateway, 3 * round + 2).await;
        assert_eq!(end["cause"], "sni-mismatch", "{end}");
        let tunnel = client.connect("site.example:443").await.unwrap();
        works(
            shake(tunnel, hiding(&roots, grease()), "site.example")
                .await
                .unwrap(),
        )
        .await;
        let end = last_end(&gateway, 3 * round + 3).await;
        assert!(end.get("ech").is_none(), "grease hides nothing: {end}");
    }
    assert!(origin.seen().names.contains(&"site.example".to_owned()));
}

/// A hello for `site.example`, as it goes over the wire.
fn hello() -> Vec<u8> {
    let config = tls(&RootCertStore::empty(), |_| ());
    let name = ServerName::try_from("site.example").unwrap();
    let mut client = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let mut bytes = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut bytes).unwrap();
    }
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_hello_is_cut_on_the_ports_of_tls() {
    let (gateway, origin, _roots) = sealed("").await;
    let good = hello();
    let body = &good[5..];
    // Cut into two records, the second of another kind.
    let mut mixed = vec![22, 3, 1, 0, 4];
    mixed.extend(&body[..4]);
    mixed.extend([23, 3, 3, 0, 1, 0]);
    let mut trailing = good.clone();
    let length = u16::try_from(body.len() + 1).unwrap().to_be_bytes();
    trailing[3..5].copy_from_slice(&length);
    trailing.push(0);
    let mut oversized = vec![22, 3, 1, 0x40, 0];
    oversized.extend([1, 0, 0xff, 0xff]);
    oversized.resize(5 + (1 << 14), 0);
    let talks: Vec<(&str, Vec<u8>)> = vec![
        (
            "HTTP",
            b"GET / HTTP/1.1\r\nhost: site.example\r\n\r\n".to_vec(),
        ),
        ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec()),
        ("SSH", b"SSH-2.0-OpenSSH_9.9\r\n".to_vec()),
        ("SOCKS", vec![5, 1, 0]),
        ("SSL 2", vec![0x80, 0x2e, 1, 0, 2, 0, 0x15, 0, 0, 0, 0x10]),
        ("an alert", vec![21, 3, 3, 0, 2, 1, 0]),
        ("data", vec![23, 3, 3, 0, 3, 1, 2, 3]),
        ("a server's hello", vec![22, 3, 3, 0, 4, 2, 0, 0, 0]),
        ("an empty record", vec![22, 3, 1, 0, 0]),
        ("a record between", mixed),
        ("something behind the hello", trailing),
        ("a hello of 16 KiB", oversized),
        ("an unknown version", vec![22, 4, 0, 0, 4, 1, 0, 0, 0]),
    ];
    let mut ends = 0;
    for client in both(&gateway.proxy()) {
        for (what, bytes) in &talks {
            let mut tunnel = client.connect("site.example:443").await.unwrap();
            // It may be cut before everything is said.
            let _ = tunnel.write_all(bytes).await;
            let _ = tunnel.flush().await;
            within_reason(what, tunnel.ended()).await;
            ends += 1;
            let end = last_end(&gateway, ends).await;
            assert_eq!(end["cause"], "tunnel-not-tls", "{what}: {end}");
        }
        // Half a hello, and the end.
        let mut tunnel = client.connect("site.example:443").await.unwrap();
        tunnel.write_all(&good[..good.len() / 2]).await.unwrap();
        tunnel.shutdown().await.unwrap();
        within_reason("the cut", tunnel.ended()).await;
        ends += 1;
        let end = last_end(&gateway, ends).await;
        assert_eq!(end["cause"], "tunnel-not-tls", "{end}");
    }
    assert_eq!(origin.seen().bytes, b"");
    assert_eq!(origin.seen().names, [""; 0]);
    let records = gateway.records().await;
    assert!(decisions(&records).all(|record| record["decision"] == "permitted"));
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_hello_and_nothing_at_all_are_not_waited_for() {
    let (gateway, origin, roots) = sealed("hello_timeout = \"1s\"").await;
    let good = hello();
    let mut ends = 0;
    for client in both(&gateway.proxy()) {
        for bytes in [&good[..0], &good[..1], &good[..good.len() - 1]] {
            let mut tunnel = client.connect("site.example:443").await.unwrap();
            tunnel.write_all(bytes).await.unwrap();
            tunnel.flush().await.unwrap();
            within_reason("the cut", tunnel.ended()).await;
            ends += 1;
            let end = last_end(&gateway, ends).await;
            assert_eq!(
                end["cause"],
                "tunnel-not-tls",
                "{} bytes: {end}",
                bytes.len()
            );
        }
    }
    assert_eq!(origin.seen().bytes, b"");
    let tunnel = gateway.proxy().connect("site.example:443").await.unwrap();
    works(
        shake(tunnel, tls(&roots, |_| ()), "site.example")
            .await
            .unwrap(),
    )
    .await;
}

/// A listener whose queue is full: whoever knocks hears nothing.
struct Silent {
    address: SocketAddr,
    _listener: tokio::net::TcpListener,
    _queue: Vec<tokio::task::JoinHandle<()>>,
}

impl Silent {
    async fn start() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        let waiting = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let queue = (0..8)
            .map(|_| {
                let waiting = Arc::clone(&waiting);
                tokio::spawn(async move {
                    let stream = TcpStream::connect(address).await;
                    waiting.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                    std::future::pending::<()>().await;
                    drop(stream);
                })
            })
            .collect();
        eventually("the queue is full", async || {
            waiting.load(std::sync::atomic::Ordering::SeqCst) >= 2
        })
        .await;
        Self {
            address,
            _listener: listener,
            _queue: queue,
        }
    }
}

/// Nobody listens there.
async fn closed() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}

/// A name with several addresses on this machine.
fn several(host: &str, addresses: &[SocketAddr]) -> String {
    let list: Vec<_> = addresses.iter().map(|at| format!("\"{at}\"")).collect();
    let ports: Vec<_> = addresses.iter().map(|at| at.port().to_string()).collect();
    format!(
        "[[egress.address]]\nhost = \"{host}\"\naddresses = [{}]\n\
         [[egress.reach]]\nhosts = [\"{host}\"]\nranges = [\"127.0.0.0/8\", \"::1/128\"]\nports = [{}]\n",
        list.join(", "),
        ports.join(", ")
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_address_makes_room_for_a_living_one() {
    let site = Upstream::hello().await;
    let (silent, closed) = (Silent::start().await, closed().await);
    let v6 = SocketAddr::new("::1".parse().unwrap(), closed.port());
    let gateway = door("")
        .config(&several("refused.example", &[closed, site.address]))
        .config(&several("family.example", &[v6, site.address]))
        .config(&several("silent.example", &[silent.address, site.address]))
        .start()
        .await;
    let hosts = ["refused.example", "family.example", "silent.example"];
    for client in both(&gateway.proxy()) {
        for host in hosts {
            let tunnel = client.connect(&format!("{host}:80")).await.unwrap();
            assert!(tunnel.http_get(host).await.ends_with("hello"), "{host}");
            let plain = client.get(&format!("http://{host}/")).await;
            assert_eq!(plain.text(), "hello", "{host}");
        }
    }
    gateway.completions(12).await;
    let records = gateway.records().await;
    for end in records
        .iter()
        .filter(|record| record["type"] == "completion")
    {
        // Requests in the clear share connections, which are known by name.
        let upstream = end["upstream"].as_str().unwrap();
        let by_name = hosts.iter().any(|host| upstream == format!("{host}:80"));
        assert!(by_name || upstream == site.address.to_string(), "{end}");
    }
    for decision in decisions(&records) {
        let addresses = decision["destination"]["addresses"].as_array().unwrap();
        assert_eq!(addresses.len(), 2, "{decision}");
    }
}

/// What is said when it was permitted and did not come about.
#[track_caller]
fn assert_failed(answer: &Answer, code: &str, status: u16, error: &str) {
    assert_denied(answer, code);
    assert_eq!(answer.status.as_u16(), status, "{code}");
    let told = answer.header("proxy-status").unwrap();
    assert!(told.contains(&format!("error={error};")), "{told}");
    assert!(told.contains(code), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_come_about_is_told_with_its_cause() {
    let origins = origins();
    let server = NameServer::start(&origins, false, |name, _| match name {
        "failing.example" => Reply::Failure,
        "silent-dns.example" => Reply::Silence,
        "empty.example" => Reply::at(&[]),
        _ => Reply::Absent,
    })
    .await;
    let (silent, closed) = (Silent::start().await, closed().await);
    let gateway = door("timeouts.connect = \"1s\"")
        .file("origins.pem", &origins.authority_pem())
        .config(&server.config("timeout = \"500ms\""))
        .config(&several("refused.example", &[closed]))
        .config(&several("silent.example", &[silent.address]))
        .start()
        .await;
    let mut answers = Vec::new();
    for client in both(&gateway.proxy()) {
        for (host, code, status, error) in [
            ("nowhere.example", "upstream-unresolved", 502, "dns_error"),
            ("empty.example", "upstream-unresolved", 502, "dns_error"),
            ("failing.example", "upstream-unresolved", 502, "dns_error"),
            (
                "silent-dns.example",
                "upstream-unresolved",
                504,
                "dns_timeout",
            ),
            (
                "refused.example",
                "upstream-unreachable",
                502,
                "connection_refused",
            ),
            (
                "silent.example",
                "upstream-connect-timeout",
                504,
                "connection_timeout",
            ),
        ] {
            let tunnel = client.refused(&format!("{host}:80")).await;
            assert_failed(&tunnel, code, status, error);
            let plain = client.get(&format!("http://{host}/")).await;
            assert_failed(&plain, code, status, error);
            answers.extend([(tunnel, code), (plain, code)]);
        }
    }
    let records = gateway.records().await;
    for (answer, code) in &answers {
        let decision = decision_of(&records, answer);
        assert_eq!(decision["decision"], "permitted", "{decision}");
        let end = end_of(&records, answer);
        assert_eq!(end["cause"], *code, "{end}");
        assert_eq!(end["status"], answer.status.as_u16(), "{end}");
    }
}

// Attack: whoever sits between the gateway and its name server.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_server_that_is_not_the_one_is_not_believed_and_nobody_else_is_asked() {
    let (origins, others) = (origins(), origins());
    for https in [false, true] {
        let server = NameServer::start(&others, https, |_, _| Reply::at(&["127.0.0.1"])).await;
        let gateway = asking(&server, &origins, "", |it| it).await;
        // The system would know this one.
        let answer = gateway.proxy().refused("site.example:80").await;
        assert_denied(&answer, "upstream-unresolved");
        assert_eq!(server.questions(), 0);
    }
}
