//! What somebody sends to the second door who means harm: requests that can be read in two ways, destinations in disguise,
//! guessed and borrowed credentials, floods, and pages in the browser of a device that may go out.

mod credentials;
mod pages;

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{Method, StatusCode};
use masugata::egress::password::{PasswordKey, Sealed};
use masugata_policy::{Authentication, Principal, PrincipalKind, Timestamp};
use masugata_tests::{
    Behaviour, Client, Origin, Origins, Process, ProxyClient, TestGateway, TestGatewayBuilder,
    Upstream, assert_denied, decision_of, eventually, hours, within_reason,
};
use secrecy::ExposeSecret as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

const SITE: &str = "site.example:80";

fn door(egress: &str) -> TestGatewayBuilder {
    TestGateway::new()
        .device("tablet", "")
        .device("kiosk", "owner = \"\"")
        .egress(&format!(
            "password_key = \"password.key\"\nbounds.drain = \"1s\"\n{egress}"
        ))
        .file("password.key", &STANDARD.encode([7; 32]))
}

/// A door, and an origin behind it that only listens.
async fn open(egress: &str) -> (TestGateway, Origin) {
    let site = Origins::plain(Behaviour::Silent).await;
    let builder = door(egress).origin("site.example", site.address);
    (builder.start().await, site)
}

fn both(client: &ProxyClient) -> [ProxyClient; 2] {
    [client.clone(), client.clone().h2()]
}

fn of(gateway: &TestGateway, device: &str) -> ProxyClient {
    gateway.stranger().device(&gateway.device(device))
}

async fn tunnels(gateway: &TestGateway) -> u64 {
    let (_status, body) = gateway.admin("GET", "/tunnels").await;
    let view: serde_json::Value = serde_json::from_str(&body).unwrap();
    view["open"].as_u64().unwrap()
}

/// The smuggled part: if anything reaches the site, it is seen there.
const SECOND: &str = "GET http://site.example/smuggled HTTP/1.1\r\nhost: site.example\r\n\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn what_can_be_read_in_two_ways_is_refused_and_nothing_behind_it_is_read_at_all() {
    let (gateway, site) = open("").await;
    let post = "POST http://site.example/ HTTP/1.1\r\nhost: site.example\r\n";
    for (name, head) in [
        (
            "both lengths",
            format!("{post}content-length: 6\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
        ),
        (
            "two lengths",
            format!("{post}content-length: 0\r\ncontent-length: 90\r\n\r\n"),
        ),
        (
            "the same length twice",
            format!("{post}content-length: 0\r\ncontent-length: 0\r\n\r\n"),
        ),
        (
            "a list of lengths",
            format!("{post}content-length: 0, 0\r\n\r\n"),
        ),
        (
            "a length with a sign",
            format!("{post}content-length: +0\r\n\r\n"),
        ),
        (
            "an odd coding",
            format!("{post}transfer-encoding: xchunked\r\n\r\n0\r\n\r\n"),
        ),
        (
            "chunked twice",
            format!("{post}transfer-encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
        ),
        ("a folded field", format!("{post}x: a\r\n b\r\n\r\n")),
        (
            "a bare line feed",
            format!("{post}x: a\ncontent-length: 5\r\n\r\n"),
        ),
        ("a bare carriage return", format!("{post}x: a\rb\r\n\r\n")),
        ("NUL", format!("{post}x: a\0b\r\n\r\n")),
        (
            "a space before the colon",
            format!("{post}content-length : 5\r\n\r\n"),
        ),
        (
            "a space before the first field",
            "POST http://site.example/ HTTP/1.1\r\n host: a\r\nhost: site.example\r\n\r\n".into(),
        ),
        ("two hosts", format!("{post}host: evil.example\r\n\r\n")),
        (
            "two spaces in the line",
            "GET  http://site.example/ HTTP/1.1\r\nhost: site.example\r\n\r\n".into(),
        ),
        (
            "a tab in the line",
            "GET\thttp://site.example/ HTTP/1.1\r\nhost: site.example\r\n\r\n".into(),
        ),
        (
            "another version",
            "GET http://site.example/ HTTP/1.2\r\nhost: site.example\r\n\r\n".into(),
        ),
        (
            "CONNECT with a length",
            format!("CONNECT {SITE} HTTP/1.1\r\nhost: {SITE}\r\ncontent-length: 3\r\n\r\nabc"),
        ),
        (
            "CONNECT with length zero",
            format!("CONNECT {SITE} HTTP/1.1\r\nhost: {SITE}\r\ncontent-length: 0\r\n\r\n"),
        ),
        (
            "CONNECT with a coding",
            format!(
                "CONNECT {SITE} HTTP/1.1\r\nhost: {SITE}\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"
            ),
        ),
        (
            "CONNECT with a folded field",
            format!("CONNECT {SITE} HTTP/1.1\r\nhost: {SITE}\r\nx: a\r\n b\r\n\r\n"),
        ),
        (
            "CONNECT with bare line feeds",
            format!("CONNECT {SITE} HTTP/1.1\nhost: {SITE}\n\n"),
        ),
        (
            "CONNECT with two hosts",
            format!("CONNECT {SITE} HTTP/1.1\r\nhost: {SITE}\r\nhost: {SITE}\r\n\r\n"),
        ),
        (
            "CONNECT without a host",
            format!("CONNECT {SITE} HTTP/1.1\r\n\r\n"),
        ),
        (
            "connect in lower case",
            format!("connect {SITE} HTTP/1.1\r\nhost: {SITE}\r\n\r\n"),
        ),
        (
            "CONNECT of HTTP/2 in HTTP/1.1",
            format!("CONNECT {SITE} HTTP/2.0\r\nhost: {SITE}\r\n\r\n"),
        ),
    ] {
        let request = format!("{head}{SECOND}");
        let answer = gateway.proxy().raw(request.as_bytes()).await;
        let status = answer.status();
        assert!(
            status.is_some_and(|status| (400..=505).contains(&status)),
            "{name}: {}",
            answer.text()
        );
        assert_eq!(answer.count(), 1, "{name}: {}", answer.text());
        assert!(answer.closed, "{name}");
    }
    assert_eq!(site.seen().connections, 0, "{:?}", site.seen().text());
    assert_eq!(tunnels(&gateway).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_leads_to_a_host_and_a_port_in_one_spelling_or_nowhere() {
    let (gateway, site) = open("").await;
    for target in [
        "site.example",
        "site.example:",
        "site.example:0",
        "site.example:080",
        "site.example:65536",
        "site.example:-80",
        "site.example:+80",
        "site.example:80:80",
        "site.example:http",
        ":80",
        "user@site.example:80",
        "user:secret@site.example:80",
        "evil.example:80@site.example:80",
        "site.example:80/",
        "site.example:80/path",
        "site.example:80?query",
        "site.example:80#fragment",
        "/site.example:80",
        "//site.example:80",
        "http://site.example:80",
        "http://site.example:80/",
        "https://site.example/",
        "*",
        "/",
        "::1:80",
        "2001:db8::1:80",
        "[::1]",
        "[::1:80",
        "::1]:80",
        "[site.example]:80",
        "[::1%25lo]:80",
        "[::1%lo]:80",
        "[]:80",
        "site%2eexample:80",
        "%73ite.example:80",
        "site.example%00.evil:80",
        "site.example..:80",
        ".site.example:80",
        "site..example:80",
        "site.example\\:80",
        "site.example,evil.example:80",
        "site.example evil:80",
        "site.example :80",
        " site.example:80",
        "site.example\t:80",
        "s\u{ef}te.example:80",
        "\u{441}ite.example:80",
        "site\u{3002}example:80",
        "site.example\u{ff1a}80",
        "0x7f000001:80",
        "127.1:80",
        "2130706433:80",
        "0177.0.0.1:80",
        "127.0.0.1.:80.",
    ] {
        let request = format!(
            "CONNECT {target} HTTP/1.1\r\nhost: site.example\r\naccept: application/json\r\nconnection: close\r\n\r\n"
        );
        let answer = gateway.proxy().raw(request.as_bytes()).await;
        assert_eq!(answer.status(), Some(400), "{target}: {}", answer.text());
        assert_eq!(answer.count(), 1, "{target}");
        assert!(!answer.text().contains("secret"), "{}", answer.text());
    }
    assert_eq!(site.seen().connections, 0);
    // What is one spelling of the same name is that name, for policies and record as for the resolver.
    for target in ["SITE.example:80", "site.example.:80", "Site.EXAMPLE.:80"] {
        for client in both(&gateway.proxy()) {
            client.connect(target).await.unwrap();
        }
    }
    gateway.completions(6).await;
    let directory = gateway.shutdown().await;
    let record = std::fs::read_to_string(directory.path().join("audit.jsonl")).unwrap();
    let named = record.matches("\"host\":\"site.example\"").count();
    assert!(named >= 6, "{record}");
    assert!(!record.contains("secret"), "{record}");
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_in_disguise_are_the_addresses_they_are() {
    let (gateway, site) = open("").await;
    for (target, detail) in [
        ("127.0.0.1:80", "loopback"),
        ("[::1]:80", "loopback"),
        ("[0:0:0:0:0:0:0:1]:80", "loopback"),
        ("[::ffff:127.0.0.1]:80", "ipv4-mapped"),
        ("[::ffff:7f00:1]:80", "ipv4-mapped"),
        ("[64:ff9b::127.0.0.1]:80", "nat64"),
        ("169.254.169.254:80", "metadata"),
        ("0.0.0.0:80", "this-network"),
    ] {
        for client in both(&gateway.proxy()) {
            assert_denied(&client.refused(target).await, "destination-prohibited");
        }
        let answer = gateway.proxy().get(&format!("http://{target}/")).await;
        assert_denied(&answer, "destination-prohibited");
        let _ = detail;
    }
    assert_eq!(site.seen().connections, 0);
}

/// HTTP/2 by hand.
struct Frames(TlsStream<TcpStream>);

impl Frames {
    async fn open(client: &ProxyClient) -> Self {
        let mut stream = client.clone().h2().stream().await.unwrap();
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
        stream.write_all(preface).await.unwrap();
        Self(stream)
    }

    async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> bool {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut frame = vec![length[1], length[2], length[3], kind, flags];
        frame.extend_from_slice(&stream.to_be_bytes());
        frame.extend_from_slice(payload);
        self.0.write_all(&frame).await.is_ok() && self.0.flush().await.is_ok()
    }

    /// HEADERS; with literal fields, neither indexed nor coded.
    async fn ask(&mut self, stream: u32, end: bool, fields: &[(&str, &str)]) -> bool {
        let mut block = Vec::new();
        for (name, value) in fields {
            block.push(0);
            for text in [name, value] {
                assert!(text.len() < 127);
                block.push(u8::try_from(text.len()).unwrap());
                block.extend_from_slice(text.as_bytes());
            }
        }
        self.send(1, 4 | u8::from(end), stream, &block).await
    }

    /// Whether the stream is opened: `:status: 200`.
    async fn is_fine(&mut self, stream: u32) -> bool {
        let reading = async {
            loop {
                let mut head = [0; 9];
                if self.0.read_exact(&mut head).await.is_err() {
                    return false;
                }
                let length =
                    usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
                let id = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
                let mut payload = vec![0; length];
                if self.0.read_exact(&mut payload).await.is_err() {
                    return false;
                }
                match head[3] {
                    1 if id == stream => {
                        return payload.iter().find(|byte| **byte & 0xe0 != 0x20) == Some(&0x88);
                    }
                    3 if id == stream => return false,
                    7 if payload[4..8] != [0; 4] => return false,
                    _ => {}
                }
            }
        };
        within_reason("a verdict", reading).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connect_over_http2_has_a_method_and_an_authority_and_nothing_else() {
    let (gateway, site) = open("").await;
    let good = [(":method", "CONNECT"), (":authority", SITE)];
    let and = |more: &[(&'static str, &'static str)]| [&good[..], more].concat();
    for (name, fields) in [
        (
            "scheme and path",
            and(&[(":scheme", "https"), (":path", "/")]),
        ),
        ("scheme", and(&[(":scheme", "http")])),
        ("path", and(&[(":path", "/")])),
        (
            "extended CONNECT",
            and(&[
                (":scheme", "https"),
                (":path", "/"),
                (":protocol", "websocket"),
            ]),
        ),
        (
            "connect-udp",
            and(&[
                (":scheme", "https"),
                (":path", "/"),
                (":protocol", "connect-udp"),
            ]),
        ),
        ("no authority", vec![(":method", "CONNECT")]),
        (
            "host instead of authority",
            vec![(":method", "CONNECT"), ("host", SITE)],
        ),
        ("authority twice", and(&[(":authority", SITE)])),
        ("host twice", and(&[("host", SITE), ("host", SITE)])),
        (
            "no port",
            vec![(":method", "CONNECT"), (":authority", "site.example")],
        ),
        (
            "port 0",
            vec![(":method", "CONNECT"), (":authority", "site.example:0")],
        ),
        (
            "user",
            vec![(":method", "CONNECT"), (":authority", "a@site.example:80")],
        ),
        (
            "space",
            vec![(":method", "CONNECT"), (":authority", "site.example :80")],
        ),
        (
            "line break",
            vec![
                (":method", "CONNECT"),
                (":authority", "site.example:80\r\nx: y"),
            ],
        ),
        (
            "NUL",
            vec![(":method", "CONNECT"), (":authority", "site.example\0:80")],
        ),
        (
            "transfer-encoding",
            and(&[("transfer-encoding", "chunked")]),
        ),
        ("connection", and(&[("connection", "close")])),
        ("underscore", and(&[("proxy_authorization", "x")])),
    ] {
        let mut frames = Frames::open(&gateway.proxy()).await;
        frames.ask(1, false, &fields).await;
        assert!(!frames.is_fine(1).await, "{name}");
        assert_eq!(site.seen().connections, 0, "{name}");
    }
    assert_eq!(tunnels(&gateway).await, 0);
    let mut frames = Frames::open(&gateway.proxy()).await;
    frames.ask(1, false, &good).await;
    assert!(
        frames.is_fine(1).await,
        "so that the cases fail for what is wrong with them"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_client_sends_before_the_answer_goes_nowhere_unless_it_is_yes() {
    let (gateway, site) = open("").await;
    let mut frames = Frames::open(&gateway.proxy()).await;
    let refused = [(":method", "CONNECT"), (":authority", "site.example:25")];
    frames.ask(1, false, &refused).await;
    frames.send(0, 0, 1, b"EHLO evil\r\n").await;
    assert!(!frames.is_fine(1).await);
    assert_eq!(site.seen().connections, 0);
    let good = [(":method", "CONNECT"), (":authority", SITE)];
    frames.ask(3, false, &good).await;
    frames.send(0, 0, 3, b"early").await;
    assert!(frames.is_fine(3).await);
    eventually("it is there", async || site.seen().bytes == b"early").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tunnels_that_are_asked_for_and_reset_at_once_leave_nothing_behind() {
    let (gateway, _site) = open("tunnels_per_device = 8").await;
    let mut frames = Frames::open(&gateway.proxy()).await;
    let fields = [(":method", "CONNECT"), (":authority", SITE)];
    let mut stream = 1;
    for _ in 0..2000 {
        let sent = frames.ask(stream, false, &fields).await
            && frames.send(3, 0, stream, &8_u32.to_be_bytes()).await;
        if !sent {
            break;
        }
        stream += 2;
    }
    drop(frames);
    eventually("nothing is left", async || tunnels(&gateway).await == 0).await;
    eventually("places are free", async || {
        gateway.proxy().connect(SITE).await.is_ok()
    })
    .await;
    gateway.records().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_and_refused_ones_take_nobodys_place() {
    let (gateway, site) = open("tunnels = 2\ntunnels_per_device = 2").await;
    let mut frames = Frames::open(&of(&gateway, "kiosk")).await;
    let fields = [(":method", "CONNECT"), (":authority", SITE)];
    for number in 0..100 {
        frames.ask(number * 2 + 1, false, &fields).await;
        assert!(!frames.is_fine(number * 2 + 1).await);
    }
    assert_eq!(tunnels(&gateway).await, 0);
    let _held = gateway.proxy().connect(SITE).await.unwrap();
    let _other = of(&gateway, "tablet").connect(SITE).await.unwrap();
    assert_eq!(site.seen().connections, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_are_bounded_in_number_size_and_time() {
    let (gateway, site) = open("bounds.header_timeout = \"1s\"\nbounds.header_count = 32").await;
    let many: String = (0..100)
        .map(|number| format!("x-{number}: y\r\n"))
        .collect();
    let long = format!("x-long: {}\r\n", "a".repeat(200_000));
    for fields in [many, long] {
        let head = format!("CONNECT {SITE} HTTP/1.1\r\nhost: {SITE}\r\n{fields}\r\n");
        let answer = gateway.proxy().raw(head.as_bytes()).await;
        assert_eq!(answer.status(), Some(431), "{}", answer.text());
    }
    let client = (0..60).fold(gateway.proxy().h2(), |client, number| {
        client.header(&format!("x-{number}"), "y")
    });
    let answer = client.refused(SITE).await;
    assert_denied(&answer, "header-too-large");

    // One byte now and then keeps nothing open.
    let mut wire = gateway.proxy().wire().await;
    wire.send(format!("CONNECT {SITE} HTTP/1.1\r\nhost: {SITE}\r\n"))
        .await;
    let dribbling = async {
        while wire.try_send("x").await {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    within_reason("the end of patience", dribbling).await;
    assert_eq!(site.seen().connections, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_is_asked_for_forges_a_line_of_the_record() {
    let (gateway, _site) = open("").await;
    let client = gateway
        .proxy()
        .header("user-agent", "x\", \"decision\": \"permitted\", \"a\": \"");
    let answer = client
        .get("http://site.example:25/%0a{\"type\":\"decision\"}")
        .await;
    assert_denied(&answer, "destination-port-refused");
    let records = gateway.records().await;
    let decision = decision_of(&records, &answer);
    assert_eq!(decision["decision"], "denied");
    let decisions = records.iter().filter(|record| record["type"] == "decision");
    assert_eq!(decisions.count(), 1);
}
