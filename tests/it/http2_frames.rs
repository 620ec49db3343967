//! HTTP/2 written by hand, for requests that no library lets a client send (RFC 9113 §8), and for floods. What h2 refuses
//! as malformed never becomes a request, so there is no decision to record; what it lets pass is refused by the pipeline.

use std::time::Duration;

use masugata_tests::{TestGateway, Upstream};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

struct Http2(TlsStream<TcpStream>);

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// The first byte of the head: 0x88 is `:status: 200`.
    Answered {
        fine: bool,
    },
    Reset(u32),
    GoneAway(u32),
    Closed,
}

impl Http2 {
    async fn connect(gateway: &TestGateway) -> Self {
        let mut stream = gateway.ada().h2().stream("wiki").await.unwrap();
        stream
            .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            .await
            .unwrap();
        let mut http2 = Self(stream);
        http2.frame(SETTINGS, 0, 0, &[]).await;
        http2
    }

    /// The gateway may have closed already; the verdict is read all the same.
    async fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> bool {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut frame = vec![length[1], length[2], length[3], kind, flags];
        frame.extend_from_slice(&stream.to_be_bytes());
        frame.extend_from_slice(payload);
        self.0.write_all(&frame).await.is_ok()
    }

    async fn flush(&mut self) {
        let _ = self.0.flush().await;
    }

    /// What becomes of a stream.
    async fn verdict(&mut self, stream: u32) -> Verdict {
        loop {
            let mut head = [0; 9];
            let read = tokio::time::timeout(Duration::from_secs(20), self.0.read_exact(&mut head));
            match read.await {
                Err(_) => panic!("no verdict"),
                Ok(Err(_)) => return Verdict::Closed,
                Ok(Ok(_)) => {}
            }
            let length =
                usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
            let id = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            let mut payload = vec![0; length];
            if self.0.read_exact(&mut payload).await.is_err() {
                return Verdict::Closed;
            }
            let number = |at: usize| u32::from_be_bytes(payload[at..at + 4].try_into().unwrap());
            match head[3] {
                HEADERS if id == stream => {
                    // A change of the table's size may come first.
                    let status = payload.iter().find(|byte| **byte & 0xe0 != 0x20);
                    return Verdict::Answered {
                        fine: status == Some(&0x88),
                    };
                }
                RST_STREAM if id == stream => return Verdict::Reset(number(0)),
                GOAWAY if number(4) != 0 => return Verdict::GoneAway(number(4)),
                _ => {}
            }
        }
    }
}

/// Literal fields without indexing and without Huffman coding (RFC 7541 §6.2.2): any bytes at all.
fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            length(&mut block, text.len());
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

fn length(block: &mut Vec<u8>, length: usize) {
    if length < 127 {
        block.push(u8::try_from(length).unwrap());
        return;
    }
    block.push(127);
    let mut rest = length - 127;
    while rest >= 128 {
        block.push(u8::try_from(rest % 128).unwrap() | 0x80);
        rest /= 128;
    }
    block.push(u8::try_from(rest).unwrap());
}

async fn wiki() -> (Upstream, TestGateway, String) {
    let upstream = Upstream::hello().await;
    let gateway = TestGateway::new()
        .app("wiki", upstream.address)
        .start()
        .await;
    let credential = format!("Bearer {}", gateway.token("ada").sign());
    (upstream, gateway, credential)
}

const GOOD: [(&str, &str); 4] = [
    (":method", "GET"),
    (":scheme", "https"),
    (":authority", "wiki.corp.test"),
    (":path", "/"),
];

/// The good request with a pseudo-field replaced, or removed.
fn with(name: &'static str, value: Option<&'static str>) -> Vec<(&'static str, &'static str)> {
    let fields = GOOD
        .into_iter()
        .filter(|(known, _)| value.is_some() || *known != name);
    fields
        .map(|(known, old)| (known, if known == name { value.unwrap() } else { old }))
        .collect()
}

fn and(more: &[(&'static str, &'static str)]) -> Vec<(&'static str, &'static str)> {
    [&GOOD[..], more].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_requests_never_reach_the_app() {
    let (upstream, gateway, credential) = wiki().await;
    let cases: Vec<(&str, Vec<(&str, &str)>)> = vec![
        ("no method", with(":method", None)),
        ("no scheme", with(":scheme", None)),
        ("no path", with(":path", None)),
        ("empty path", with(":path", Some(""))),
        ("path without a slash", with(":path", Some("x"))),
        (
            "absolute path",
            with(":path", Some("https://wiki.corp.test/")),
        ),
        ("asterisk", with(":path", Some("*"))),
        ("space in the path", with(":path", Some("/a b"))),
        (
            "request line in the path",
            with(":path", Some("/ HTTP/1.1\r\nHost: x\r\n\r\nGET /smuggled")),
        ),
        ("encoded slash", with(":path", Some("/a%2fb"))),
        ("dot segments", with(":path", Some("/a/../b"))),
        (
            "space in the method",
            with(":method", Some("GET /smuggled HTTP/1.1")),
        ),
        (
            "line break in the method",
            with(":method", Some("GET\r\nX: y")),
        ),
        ("empty method", with(":method", Some(""))),
        ("lower case method", with(":method", Some("get"))),
        ("TRACE", with(":method", Some("TRACE"))),
        ("plain scheme", with(":scheme", Some("http"))),
        ("odd scheme", with(":scheme", Some("https://x/"))),
        (
            "user in the authority",
            with(":authority", Some("a@wiki.corp.test")),
        ),
        (
            "path in the authority",
            with(":authority", Some("wiki.corp.test/x")),
        ),
        (
            "line break in the authority",
            with(":authority", Some("wiki.corp.test\r\nX: y")),
        ),
        ("empty authority", with(":authority", Some(""))),
        ("no authority and no host", with(":authority", None)),
        ("method twice", and(&[(":method", "POST")])),
        ("path twice", and(&[(":path", "/smuggled")])),
        ("authority twice", and(&[(":authority", "wiki.corp.test")])),
        (
            "pseudo-field after a field",
            [&[("x", "y")], &GOOD[..]].concat(),
        ),
        ("unknown pseudo-field", and(&[(":evil", "x")])),
        ("status in a request", and(&[(":status", "200")])),
        (
            "protocol without CONNECT",
            and(&[(":protocol", "websocket")]),
        ),
        ("host differs", and(&[("host", "files.corp.test")])),
        (
            "host twice",
            and(&[("host", "wiki.corp.test"), ("host", "wiki.corp.test")]),
        ),
        ("upper case name", and(&[("X-Upper", "y")])),
        ("colon in a name", and(&[("x:y", "z")])),
        ("space in a name", and(&[("x y", "z")])),
        ("line break in a name", and(&[("x\r\ny", "z")])),
        ("NUL in a name", and(&[("x\0", "z")])),
        ("empty name", and(&[("", "z")])),
        (
            "line break in a value",
            and(&[("x", "a\r\nTransfer-Encoding: chunked")]),
        ),
        ("bare LF in a value", and(&[("x", "a\ny: b")])),
        ("bare CR in a value", and(&[("x", "a\rb")])),
        ("NUL in a value", and(&[("x", "a\0b")])),
        ("space before a value", and(&[("x", " a")])),
        ("space behind a value", and(&[("x", "a ")])),
        ("connection", and(&[("connection", "close")])),
        ("keep-alive", and(&[("keep-alive", "5")])),
        ("proxy-connection", and(&[("proxy-connection", "close")])),
        (
            "transfer-encoding",
            and(&[("transfer-encoding", "chunked")]),
        ),
        ("upgrade", and(&[("upgrade", "h2c")])),
        ("te", and(&[("te", "gzip")])),
        ("length without data", and(&[("content-length", "5")])),
        (
            "length twice",
            and(&[("content-length", "0"), ("content-length", "0")]),
        ),
        ("length with a sign", and(&[("content-length", "+0")])),
        ("length is a list", and(&[("content-length", "0, 0")])),
        ("underscore twin", and(&[("masugata_assertion", "x")])),
        ("path in a field", and(&[("x-original-url", "/smuggled")])),
    ];
    for (name, mut fields) in cases {
        let mut http2 = Http2::connect(&gateway).await;
        fields.push(("authorization", &credential));
        http2
            .frame(HEADERS, END_STREAM | END_HEADERS, 1, &block(&fields))
            .await;
        http2.flush().await;
        let verdict = http2.verdict(1).await;
        assert_ne!(verdict, Verdict::Answered { fine: true }, "{name}");
        assert_eq!(upstream.count(), 0, "{name}: {:?}", upstream.seen());
    }
    // So that the cases fail for what is wrong with them, and for nothing else.
    let mut http2 = Http2::connect(&gateway).await;
    let fields = [&GOOD[..], &[("authorization", credential.as_str())]].concat();
    http2
        .frame(HEADERS, END_STREAM | END_HEADERS, 1, &block(&fields))
        .await;
    http2.flush().await;
    assert_eq!(http2.verdict(1).await, Verdict::Answered { fine: true });
    assert_eq!(upstream.count(), 1);
    // h2 takes a fragment off before anybody else sees the path: what is decided about is what is sent on.
    let mut http2 = Http2::connect(&gateway).await;
    let mut fields = with(":path", Some("/public#/../smuggled"));
    fields.push(("authorization", &credential));
    http2
        .frame(HEADERS, END_STREAM | END_HEADERS, 1, &block(&fields))
        .await;
    http2.flush().await;
    http2.verdict(1).await;
    assert!(
        upstream
            .seen()
            .iter()
            .all(|seen| ["/", "/public"].contains(&seen.uri.path()))
    );
}

/// RFC 9113 §8.1.1: more or less data than the length says would be a second request to an HTTP/1.1 app.
#[tokio::test(flavor = "multi_thread")]
async fn data_that_contradicts_the_length_is_cut_off() {
    let (upstream, gateway, credential) = wiki().await;
    for (length, data) in [
        ("0", "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"),
        ("3", "abcGET /smuggled HTTP/1.1\r\n\r\n"),
        ("50", "short"),
    ] {
        let mut http2 = Http2::connect(&gateway).await;
        let fields = [
            &[(":method", "POST")][..],
            &GOOD[1..],
            &[
                ("authorization", credential.as_str()),
                ("content-length", length),
            ],
        ]
        .concat();
        http2.frame(HEADERS, END_HEADERS, 1, &block(&fields)).await;
        http2.frame(DATA, END_STREAM, 1, data.as_bytes()).await;
        http2.flush().await;
        assert_ne!(
            http2.verdict(1).await,
            Verdict::Answered { fine: true },
            "{length}"
        );
    }
    assert!(upstream.seen().iter().all(|seen| seen.uri.path() == "/"));
}

// CVE-2023-44487
#[tokio::test(flavor = "multi_thread")]
async fn rapid_resets_end_the_connection_and_harm_nobody_else() {
    let (upstream, gateway, credential) = wiki().await;
    let mut http2 = Http2::connect(&gateway).await;
    let fields = [&GOOD[..], &[("authorization", credential.as_str())]].concat();
    let request = block(&fields);
    let mut stream = 1;
    for _ in 0..20_000 {
        let sent = http2
            .frame(HEADERS, END_STREAM | END_HEADERS, stream, &request)
            .await
            && http2
                .frame(RST_STREAM, 0, stream, &8u32.to_be_bytes())
                .await;
        if !sent {
            break;
        }
        stream += 2;
    }
    http2.flush().await;
    let verdict = http2.verdict(u32::MAX).await;
    assert!(
        matches!(verdict, Verdict::GoneAway(_) | Verdict::Closed),
        "{verdict:?}"
    );
    assert!(upstream.count() < 20_000);
    assert_eq!(gateway.ada().get("wiki", "/").await.status.as_u16(), 200);
}

// CVE-2024-27316
#[tokio::test(flavor = "multi_thread")]
async fn endless_continuations_end_the_connection() {
    let (upstream, gateway, _credential) = wiki().await;
    let mut http2 = Http2::connect(&gateway).await;
    http2.frame(HEADERS, END_STREAM, 1, &block(&GOOD)).await;
    let filler = block(&[("x-filler", &"a".repeat(8000))]);
    for _ in 0..10_000 {
        if !http2.frame(CONTINUATION, 0, 1, &filler).await {
            break;
        }
    }
    http2.flush().await;
    let verdict = http2.verdict(u32::MAX).await;
    assert!(
        matches!(verdict, Verdict::GoneAway(_) | Verdict::Closed),
        "{verdict:?}"
    );
    assert_eq!(upstream.count(), 0);
    assert_eq!(
        gateway.ada().h2().get("wiki", "/").await.status.as_u16(),
        200
    );
}

/// Answers that are never read must not be piled up in our memory.
#[tokio::test(flavor = "multi_thread")]
async fn pings_and_settings_that_nobody_reads_the_answers_of_stop_the_reading() {
    let (_upstream, gateway, _credential) = wiki().await;
    let mut http2 = Http2::connect(&gateway).await;
    let flood = async {
        for _ in 0..400_000 {
            if !http2.frame(PING, 0, 0, &[0; 8]).await || !http2.frame(SETTINGS, 0, 0, &[]).await {
                return;
            }
        }
    };
    // Either the connection ends, or the gateway stops reading: it must not take everything.
    let _ = tokio::time::timeout(Duration::from_secs(3), flood).await;
    assert_eq!(
        gateway.ada().h2().get("wiki", "/").await.status.as_u16(),
        200
    );
}
