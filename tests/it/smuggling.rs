//! Requests that two readers would read differently: refused with a problem document, on record, and never repaired.
//! Every payload carries a good token and would reach the app if only it were taken for what it pretends to be; the
//! smuggled request in it asks for `/smuggled`.

use http::{Method, StatusCode};
use masugata_tests::{RawAnswer, TestGateway, Upstream, assert_denied};

/// `{H}`: host and credential lines. `{S}`: a whole request for `/smuggled`.
const REFUSED: &[(&str, &str)] = &[
    // Two lengths.
    (
        "CL.TE",
        "POST / HTTP/1.1\r\n{H}Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{S}",
    ),
    (
        "TE.CL",
        "POST / HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n5c\r\n{S}\r\n0\r\n\r\n",
    ),
    (
        "TE.0",
        "OPTIONS / HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n0\r\n\r\n{S}",
    ),
    (
        "CL twice, different",
        "POST / HTTP/1.1\r\n{H}Content-Length: 0\r\nContent-Length: 44\r\n\r\n{S}",
    ),
    (
        "CL twice, same",
        "POST / HTTP/1.1\r\n{H}Content-Length: 0\r\nContent-Length: 0\r\n\r\n{S}",
    ),
    (
        "CL list",
        "POST / HTTP/1.1\r\n{H}Content-Length: 0, 0\r\n\r\n{S}",
    ),
    (
        "CL signed",
        "POST / HTTP/1.1\r\n{H}Content-Length: +0\r\n\r\n{S}",
    ),
    (
        "CL negative",
        "POST / HTTP/1.1\r\n{H}Content-Length: -1\r\n\r\n{S}",
    ),
    (
        "CL hexadecimal",
        "POST / HTTP/1.1\r\n{H}Content-Length: 0x0\r\n\r\n{S}",
    ),
    (
        "CL octal",
        "POST / HTTP/1.1\r\n{H}Content-Length: 00\r\n\r\n{S}",
    ),
    (
        "CL overflows",
        "POST / HTTP/1.1\r\n{H}Content-Length: 18446744073709551616\r\n\r\n{S}",
    ),
    (
        "CL empty",
        "POST / HTTP/1.1\r\n{H}Content-Length:\r\n\r\n{S}",
    ),
    (
        "CL with a tail",
        "POST / HTTP/1.1\r\n{H}Content-Length: 0 x\r\n\r\n{S}",
    ),
    (
        "CL.0 by name",
        "POST / HTTP/1.1\r\n{H}Content-Length : 44\r\n\r\n{S}",
    ),
    // A transfer coding that one of two overlooks.
    (
        "TE.TE twice",
        "POST / HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{S}",
    ),
    (
        "TE.TE cow",
        "POST / HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\nTransfer-Encoding: cow\r\n\r\n0\r\n\r\n{S}",
    ),
    (
        "TE list",
        "POST / HTTP/1.1\r\n{H}Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n{S}",
    ),
    (
        "TE not final",
        "POST / HTTP/1.1\r\n{H}Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n{S}",
    ),
    (
        "TE identity",
        "POST / HTTP/1.1\r\n{H}Transfer-Encoding: identity\r\n\r\n{S}",
    ),
    (
        "TE xchunked",
        "POST / HTTP/1.1\r\n{H}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n{S}",
    ),
    (
        "TE quoted",
        "POST / HTTP/1.1\r\n{H}Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n{S}",
    ),
    (
        "TE tab",
        "POST / HTTP/1.1\r\n{H}Transfer-Encoding:\tchunked\r\n\r\n0\r\n\r\n{S}",
    ),
    (
        "TE vertical tab",
        "POST / HTTP/1.1\r\n{H}Transfer-Encoding: \u{b}chunked\r\n\r\n0\r\n\r\n{S}",
    ),
    (
        "TE space before the colon",
        "POST / HTTP/1.1\r\n{H}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n{S}",
    ),
    (
        "TE folded",
        "POST / HTTP/1.1\r\n{H}Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n{S}",
    ),
    (
        "TE behind a fold",
        "POST / HTTP/1.1\r\n{H}X: y\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n{S}",
    ),
    (
        "TE behind a bare LF",
        "POST / HTTP/1.1\r\n{H}X: y\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{S}",
    ),
    (
        "TE behind a bare CR",
        "POST / HTTP/1.1\r\n{H}X: y\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{S}",
    ),
    (
        "TE with NUL",
        "POST / HTTP/1.1\r\n{H}Transfer-Encoding: chunked\0\r\n\r\n0\r\n\r\n{S}",
    ),
    (
        "TE underscore",
        "POST / HTTP/1.1\r\n{H}Transfer_Encoding: chunked\r\n\r\n0\r\n\r\n{S}",
    ),
    (
        "TE in HTTP/1.0",
        "POST / HTTP/1.0\r\n{H}Connection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{S}",
    ),
    // Lines and fields.
    ("bare LF everywhere", "GET / HTTP/1.1\n{L}\n{S}"),
    ("bare LF ends the head", "GET / HTTP/1.1\r\n{H}\n{S}"),
    (
        "bare CR in a value",
        "GET / HTTP/1.1\r\n{H}X: a\rb\r\n\r\n{S}",
    ),
    ("obs-fold", "GET / HTTP/1.1\r\n{H}X: a\r\n b\r\n\r\n{S}"),
    ("NUL in a value", "GET / HTTP/1.1\r\n{H}X: a\0b\r\n\r\n{S}"),
    ("NUL in a name", "GET / HTTP/1.1\r\n{H}X\0: a\r\n\r\n{S}"),
    (
        "escape in a value",
        "GET / HTTP/1.1\r\n{H}X: a\u{1b}b\r\n\r\n{S}",
    ),
    (
        "space before the colon",
        "GET / HTTP/1.1\r\n{H}X : a\r\n\r\n{S}",
    ),
    ("no colon", "GET / HTTP/1.1\r\n{H}X\r\n\r\n{S}"),
    ("no name", "GET / HTTP/1.1\r\n{H}: a\r\n\r\n{S}"),
    (
        "first field behind a space",
        "GET / HTTP/1.1\r\n {H}\r\n{S}",
    ),
    ("space before the method", " GET / HTTP/1.1\r\n{H}\r\n{S}"),
    (
        "two empty lines first",
        "\r\n\r\nGET / HTTP/1.1\r\n{H}\r\n{S}",
    ),
    ("two spaces", "GET  / HTTP/1.1\r\n{H}\r\n{S}"),
    ("tab", "GET\t/ HTTP/1.1\r\n{H}\r\n{S}"),
    ("trailing space", "GET / HTTP/1.1 \r\n{H}\r\n{S}"),
    ("four words", "GET / x HTTP/1.1\r\n{H}\r\n{S}"),
    ("HTTP/0.9", "GET /\r\n{H}\r\n{S}"),
    ("HTTP/1.2", "GET / HTTP/1.2\r\n{H}\r\n{S}"),
    ("HTTP/2.0", "GET / HTTP/2.0\r\n{H}\r\n{S}"),
    ("h2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    // Hosts and targets.
    ("no host", "GET / HTTP/1.1\r\n{T}\r\n{S}"),
    (
        "two hosts",
        "GET / HTTP/1.1\r\n{H}Host: wiki.corp.test\r\n\r\n{S}",
    ),
    (
        "other host",
        "GET / HTTP/1.1\r\n{H}Host: files.corp.test\r\n\r\n{S}",
    ),
    ("empty host", "GET / HTTP/1.1\r\nHost:\r\n{T}\r\n{S}"),
    (
        "host list",
        "GET / HTTP/1.1\r\nHost: wiki.corp.test, files.corp.test\r\n{T}\r\n{S}",
    ),
    (
        "host with a user",
        "GET / HTTP/1.1\r\nHost: files@wiki.corp.test\r\n{T}\r\n{S}",
    ),
    (
        "host with a path",
        "GET / HTTP/1.1\r\nHost: wiki.corp.test/x\r\n{T}\r\n{S}",
    ),
    (
        "host with a space",
        "GET / HTTP/1.1\r\nHost: wiki.corp.test x\r\n{T}\r\n{S}",
    ),
    (
        "host with an odd port",
        "GET / HTTP/1.1\r\nHost: wiki.corp.test:80x\r\n{T}\r\n{S}",
    ),
    (
        "absolute form, plain",
        "GET http://wiki.corp.test/ HTTP/1.1\r\n{H}\r\n{S}",
    ),
    (
        "absolute form with a user",
        "GET https://a@wiki.corp.test/ HTTP/1.1\r\n{H}\r\n{S}",
    ),
    (
        "absolute form, other scheme",
        "GET ftp://wiki.corp.test/ HTTP/1.1\r\n{H}\r\n{S}",
    ),
    ("fragment", "GET /#x HTTP/1.1\r\n{H}\r\n{S}"),
    ("no slash", "GET x HTTP/1.1\r\n{H}\r\n{S}"),
    ("asterisk", "GET * HTTP/1.1\r\n{H}\r\n{S}"),
    (
        "authority form",
        "GET wiki.corp.test:443 HTTP/1.1\r\n{H}\r\n{S}",
    ),
    ("raw byte in the path", "GET /\u{fc} HTTP/1.1\r\n{H}\r\n{S}"),
    // Fields that apps take for the path or the method.
    (
        "X-Original-URL",
        "GET / HTTP/1.1\r\n{H}X-Original-URL: /smuggled\r\n\r\n{S}",
    ),
    (
        "X-Rewrite-URL",
        "GET / HTTP/1.1\r\n{H}X-Rewrite-URL: /smuggled\r\n\r\n{S}",
    ),
    (
        "X-HTTP-Method-Override",
        "GET / HTTP/1.1\r\n{H}X-HTTP-Method-Override: DELETE\r\n\r\n{S}",
    ),
];

struct World {
    upstream: Upstream,
    gateway: TestGateway,
    token: String,
}

async fn world() -> World {
    let upstream = Upstream::hello().await;
    let gateway = TestGateway::new()
        .app("wiki", upstream.address)
        .app("files", upstream.address)
        .start()
        .await;
    let token = gateway.token("ada").sign();
    World {
        upstream,
        gateway,
        token,
    }
}

impl World {
    async fn send(&self, payload: &str) -> RawAnswer {
        let credential = format!("Authorization: Bearer {}\r\n", self.token);
        let host = format!("Host: wiki.corp.test\r\n{credential}");
        let smuggled = format!("GET /smuggled HTTP/1.1\r\n{host}\r\n");
        let payload = payload
            .replace("{L}", &host.replace('\r', ""))
            .replace("{H}", &host)
            .replace("{T}", &credential)
            .replace("{S}", &smuggled);
        self.gateway.ada().raw("wiki", payload.as_bytes()).await
    }
    fn nothing_smuggled(&self, name: &str) {
        let smuggled = self
            .upstream
            .seen()
            .iter()
            .any(|seen| seen.uri.path() == "/smuggled");
        assert!(!smuggled, "{name}: the app was asked for /smuggled");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ambiguous_requests_are_refused_closed_and_recorded() {
    let world = world().await;
    for (name, payload) in REFUSED {
        let answer = world.send(payload).await;
        let text = answer.text();
        let status = answer
            .status()
            .unwrap_or_else(|| panic!("{name}: {text:?}"));
        assert!((400..500).contains(&status), "{name}: {text}");
        assert!(matches!(status, 400 | 405 | 431), "{name}: {text}");
        assert!(
            text.to_lowercase()
                .contains("content-type: application/problem+json"),
            "{name}: {text}"
        );
        let code = answer.code().unwrap_or_else(|| panic!("{name}: {text}"));
        assert!(
            [
                "request-malformed",
                "request-ambiguous",
                "method-not-allowed"
            ]
            .contains(&code.as_str()),
            "{name}: {code}"
        );
        // What follows an ambiguous head is nobody's request. Where the head itself is clear, only its fields are
        // refused, and a second request on the connection is a request like any other.
        if !CLEAR.contains(name) {
            assert_eq!(answer.count(), 1, "{name}: {text}");
            assert!(answer.closed, "{name}: the connection stays open");
            world.nothing_smuggled(name);
            assert_eq!(
                world.upstream.count(),
                0,
                "{name}: {:?}",
                world.upstream.seen()
            );
        }
    }
    let clear = CLEAR.len();
    let records = world.gateway.records().await;
    let denied: Vec<_> = records
        .iter()
        .filter(|record| record["decision"] == "denied")
        .collect();
    assert_eq!(denied.len(), REFUSED.len());
    for record in denied {
        assert_eq!(record["stage"], "route");
        assert!(record["detail"].is_string(), "{record}");
        let completions = records.iter().filter(|other| {
            other["type"] == "completion" && other["request_id"] == record["request_id"]
        });
        assert_eq!(completions.count(), 1, "{record}");
    }
    let permitted = records
        .iter()
        .filter(|record| record["decision"] == "permitted")
        .count();
    assert!(permitted <= clear, "{permitted} of {clear}");
}

/// Their framing is unambiguous; what is behind them is honestly a second request.
const CLEAR: &[&str] = &[
    "host list",
    "host with a user",
    "host with a path",
    "host with a space",
    "host with an odd port",
    "empty host",
    "absolute form, plain",
    "X-Original-URL",
    "X-Rewrite-URL",
    "X-HTTP-Method-Override",
];

/// The head of these is fine and goes to the app at once; the body is cut where it stops making sense.
#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_do_not_add_up_are_cut_off() {
    let world = world().await;
    let chunked = "POST / HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\n\r\n";
    for (name, body) in [
        (
            "extension ends in a bare LF",
            "2;\nxx\r\n4c\r\n{S}0\r\n\r\n",
        ),
        ("extension hides a chunk", "1;x\nA\r\n0\r\n\r\n{S}"),
        ("extension with CR", "2;a\rb\r\nxx\r\n0\r\n\r\n{S}"),
        ("size line ends in a bare LF", "2\nxx\r\n0\r\n\r\n{S}"),
        ("chunk ends in a bare LF", "2\r\nxx\n0\r\n\r\n{S}"),
        ("chunk ends in a bare CR", "2\r\nxx\r0\r\n\r\n{S}"),
        ("chunk is longer than it says", "2\r\nxxxx\r\n0\r\n\r\n{S}"),
        ("chunk is shorter than it says", "8\r\nxx\r\n0\r\n\r\n{S}"),
        ("size overflows", "ffffffffffffffff1\r\nx\r\n0\r\n\r\n{S}"),
        ("size has a sign", "+2\r\nxx\r\n0\r\n\r\n{S}"),
        ("size has a prefix", "0x2\r\nxx\r\n0\r\n\r\n{S}"),
        ("size has a space", "2 \r\nxx\r\n0\r\n\r\n{S}"),
        ("size is empty", "\r\nxx\r\n0\r\n\r\n{S}"),
        ("end has a bare LF", "0\n\n{S}"),
        ("trailer folds", "0\r\nX: a\r\n b\r\n\r\n{S}"),
        ("trailer is a length", "0\r\nContent-Length: 44\r\n\r\n{S}"),
        (
            "trailer is a coding",
            "0\r\nTransfer-Encoding: chunked\r\n\r\n{S}",
        ),
        (
            "trailer is a request",
            "0\r\nGET /smuggled HTTP/1.1\r\n\r\n",
        ),
    ] {
        let answer = world.send(&format!("{chunked}{body}")).await;
        assert!(answer.closed, "{name}");
        assert_eq!(answer.status(), Some(400), "{name}: {}", answer.text());
        assert_eq!(
            answer.code().as_deref(),
            Some("request-malformed"),
            "{name}"
        );
        assert_eq!(answer.count(), 1, "{name}: {}", answer.text());
        world.nothing_smuggled(name);
    }
    // No connection to the app on which half a body went is used again.
    let seen = world.upstream.count();
    assert_eq!(world.gateway.ada().get("wiki", "/after").await.status, 200);
    assert_eq!(world.upstream.count(), seen + 1);
    let permitted = world.gateway.records().await;
    let pairs = |kind: &str| {
        permitted
            .iter()
            .filter(|record| record["type"] == kind)
            .count()
    };
    assert_eq!((pairs("decision"), pairs("completion")), (19, 19));
    let cut = permitted
        .iter()
        .filter(|record| record["outcome"] == "cut")
        .inspect(|record| assert_eq!(record["cause"], "request-malformed", "{record}"));
    assert_eq!(cut.count(), 18);
}

/// The gateway reads bodies by the one length they have, to the byte: what looks like a request in one is content.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_inside_a_body_is_content() {
    let world = world().await;
    for payload in [
        "POST /a HTTP/1.1\r\n{H}Connection: close\r\nContent-Length: 46\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: wiki.corp.test\r\n",
        "POST /a HTTP/1.1\r\n{H}Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n2e\r\nGET /smuggled HTTP/1.1\r\nHost: wiki.corp.test\r\n\r\n0\r\n\r\n",
        "GET /a HTTP/1.1\r\n{H}Connection: close\r\nContent-Length: 46\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: wiki.corp.test\r\n",
    ] {
        let before = world.upstream.count();
        let answer = world.send(payload).await;
        assert_eq!(
            (answer.status(), answer.count()),
            (Some(200), 1),
            "{}",
            answer.text()
        );
        assert_eq!(world.upstream.count(), before + 1);
    }
    world.nothing_smuggled("content");
}

/// The answer to a request that is dropped belongs to nobody else: a connection to the app is not used again after an
/// exchange that ended early.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_never_reaches_another_request() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    // Says 200 before it has read the body, then answers every further line it reads as if it were a request.
    let upstream = Upstream::connections(|mut stream| async move {
        let mut buffer = [0; 4096];
        loop {
            match stream.read(&mut buffer).await {
                Ok(0) | Err(_) => return,
                Ok(read) => {
                    let text = String::from_utf8_lossy(&buffer[..read]).into_owned();
                    let path = text.split(' ').nth(1).unwrap_or("?").to_owned();
                    let answer = format!(
                        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{path}",
                        path.len()
                    );
                    if stream.write_all(answer.as_bytes()).await.is_err() {
                        return;
                    }
                }
            }
        }
    })
    .await;
    let gateway = TestGateway::new()
        .app("wiki", upstream.address)
        .start()
        .await;
    let token = gateway.token("ada").sign();
    for _ in 0..10 {
        // The body stays away; the connection ends with it missing.
        let half = format!(
            "POST /early HTTP/1.1\r\nHost: wiki.corp.test\r\nAuthorization: Bearer {token}\r\nContent-Length: 50\r\n\r\nhalf"
        );
        let mut stream = gateway.ada().stream("wiki").await.unwrap();
        stream.write_all(half.as_bytes()).await.unwrap();
        let mut some = [0; 64];
        let _ = stream.read(&mut some).await;
        drop(stream);
        let answer = gateway.ada().get("wiki", "/mine").await;
        assert_eq!(answer.text(), "/mine");
    }
}

const AMBIGUOUS_PATHS: &[&str] = &[
    "/a%2fb",
    "/a%2Fb",
    "/a%5cb",
    "/a\\b",
    "/../a",
    "/a/../b",
    "/a/./b",
    "/a/..",
    "/.",
    "/%2e%2e/a",
    "/a/%2e",
    "/.%2e/a",
    "/a/..;/b",
    "/a;b=c",
    "/a%3b/..%3b/b",
    "//a",
    "/a//b",
    "/%252e%252e/a",
    "/%25%32%65/a",
    "/a%00",
    "/a%00.html",
    "/a%0d%0aX:y",
    "/a%7f",
    "/a%",
    "/a%2",
    "/a%zz",
    "/%c0%af",
    "/%e0%80%af",
    "/%c0%ae%c0%ae/",
    "/%ff",
    "/..%c0%af",
];

#[tokio::test(flavor = "multi_thread")]
async fn paths_that_apps_could_read_differently_are_refused_in_both_versions() {
    let world = world().await;
    for path in AMBIGUOUS_PATHS {
        let raw = world
            .send(&format!(
                "GET {path} HTTP/1.1\r\n{{H}}Connection: close\r\n\r\n"
            ))
            .await;
        assert_eq!(raw.status(), Some(400), "{path}: {}", raw.text());
        if let Ok(uri) = format!("https://wiki.corp.test{path}").parse::<http::Uri>()
            && uri.path() == *path
        {
            let answer = world.gateway.ada().h2().get("wiki", path).await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{path}");
            assert!(
                ["request-ambiguous", "request-malformed"]
                    .contains(&answer.denial_code().unwrap().as_str())
            );
        }
    }
    assert_eq!(world.upstream.count(), 0);
    // What only looks like it passes as it is.
    for path in [
        "/a..b",
        "/...",
        "/a%20b",
        "/%E3%81%82",
        "/a?b=%2f..;%00",
        "/a/",
        "/~x/@y:z",
        "/a%25",
    ] {
        let answer = world.gateway.ada().get("wiki", path).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.text());
        assert_eq!(world.upstream.last().uri.to_string(), path);
    }
}

/// RFC 9112 §3.2.2: the target's host counts, `Host` is overwritten; both are asked about.
#[tokio::test(flavor = "multi_thread")]
async fn an_absolute_target_decides_which_app_is_asked() {
    let world = world().await;
    let answer = world
        .send("GET https://wiki.corp.test/x HTTP/1.1\r\nHost: files.corp.test\r\n{T}Connection: close\r\n\r\n")
        .await;
    assert_eq!(answer.status(), Some(200), "{}", answer.text());
    let seen = world.upstream.last();
    assert_eq!(seen.one("host").as_deref(), Some("wiki.corp.test"));
    assert_eq!(seen.uri.to_string(), "/x");
    // Neither way leads past the name in the handshake.
    for head in [
        "GET https://files.corp.test/x HTTP/1.1\r\n{H}Connection: close\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost: files.corp.test\r\n{T}Connection: close\r\n\r\n",
    ] {
        let answer = world.send(head).await;
        assert_eq!(answer.status(), Some(421), "{}", answer.text());
    }
    assert_eq!(world.upstream.count(), 1);
    let records = world.gateway.records().await;
    let decision = records
        .iter()
        .find(|record| record["type"] == "decision")
        .unwrap();
    assert_eq!(
        (&decision["app"]["name"], &decision["host"]),
        (&"wiki".into(), &"wiki.corp.test".into())
    );
}

/// RFC 9110 §15.5.20: connections of HTTP/2 are shared between hosts, so each request is asked whether its host may be
/// served on a connection that demanded this little.
#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_demands_more_is_not_served_on_a_connection_that_demanded_less() {
    let upstream = Upstream::hello().await;
    let gateway = TestGateway::new()
        .app("wiki", upstream.address)
        .app("open", upstream.address)
        .config("[[ingress.client_certificate]]\nhosts = [\"open.corp.test\"]\nmode = \"optional\"")
        .start()
        .await;
    let token = gateway.token("ada").sign();
    for client in [gateway.client(), gateway.client().h2()] {
        let mut session = client.token(&token).session("open").await;
        let mut request = session
            .build(Method::GET, "/")
            .body(http_body_util::Empty::<bytes::Bytes>::new())
            .unwrap();
        if request.version() == http::Version::HTTP_2 {
            *request.uri_mut() = "https://wiki.corp.test/".parse().unwrap();
        } else {
            request
                .headers_mut()
                .insert("host", "wiki.corp.test".parse().unwrap());
        }
        let answer = session.send_any(request).await.unwrap();
        assert_denied(&answer, "misdirected");
        assert_eq!(answer.status.as_u16(), 421);
    }
    assert_eq!(upstream.count(), 0);
}
