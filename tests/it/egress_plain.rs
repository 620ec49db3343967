//! The second door without tunnels: `http://` requests in absolute form, what becomes of their fields and bodies, and
//! WebSockets on every way there is.

mod origins;
mod websockets;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use aws_lc_rs::digest::{Context, SHA256, digest};
use futures_util::{SinkExt as _, StreamExt as _};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::body::{Bytes, Incoming};
use masugata_tests::{
    Behaviour, Origins, ProxyClient, RawUpstream, TestGateway, TestGatewayBuilder, Upstream,
    WEBSOCKET, Wire, assert_denied, eventually, fed, within_reason,
};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::{WebSocketStream, client_async};

const URL: &str = "http://site.example/";

fn door() -> TestGatewayBuilder {
    TestGateway::new()
        .device("kiosk", "owner = \"\"")
        .egress("recheck = \"1s\"\nbounds.drain = \"1s\"")
}

/// A door that leads to that site.
async fn open(address: SocketAddr) -> TestGateway {
    door().origin("site.example", address).start().await
}

fn both(client: &ProxyClient) -> [ProxyClient; 2] {
    [client.clone(), client.clone().h2()]
}

/// A site that says which method it was asked with, and sends the body back with its trailers.
async fn mirror() -> Upstream {
    Upstream::new(|request: Request<Incoming>| async move {
        let method = request.method().clone();
        let collected = request.into_body().collect().await;
        let (trailers, bytes) = match collected {
            Ok(collected) => (collected.trailers().cloned(), collected.to_bytes()),
            Err(error) => (None, Bytes::from(error.to_string())),
        };
        let mut frames = vec![Ok::<_, Infallible>(Frame::data(bytes))];
        frames.extend(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
        let body = StreamBody::new(futures_util::stream::iter(frames));
        http::Response::builder()
            .header("x-method", method.as_str())
            .header("trailer", "x-sum")
            .body(BodyExt::boxed(body))
            .unwrap()
    })
    .await
}

/// Whole heads one after the other, with the body that each says it has.
async fn answer(wire: &mut Wire) -> (String, String) {
    let head = wire.head().await;
    let lower = head.to_ascii_lowercase();
    let length = lower
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .map_or(0, |length| length.trim().parse().unwrap());
    let body = wire.bytes(length).await;
    (head, String::from_utf8(body).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_usual_method_arrives_with_its_body_as_it_was_sent() {
    let site = mirror().await;
    let gateway = open(site.address).await;
    for client in both(&gateway.proxy()) {
        let session = client.session().await;
        for (method, body) in [
            ("GET", ""),
            ("POST", "a=b"),
            ("PUT", "whole"),
            ("PATCH", "part"),
            ("DELETE", ""),
            ("OPTIONS", ""),
            ("PROPFIND", "<propfind/>"),
            ("REPORT", "<report/>"),
        ] {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let answer = session
                .send(
                    method.clone(),
                    "http://site.example/a//b/../%2e%2e/%zz;c?d=e&f",
                    body,
                )
                .await;
            assert_eq!(answer.status, StatusCode::OK, "{method}: {}", answer.text());
            assert_eq!(answer.header("x-method"), Some(method.as_str()));
            assert_eq!(answer.text(), body, "{method}");
            // Somebody else's path is their own affair: not a byte of it is repaired.
            let seen = site.last();
            assert_eq!(seen.uri, "/a//b/../%2e%2e/%zz;c?d=e&f");
            assert_eq!(seen.one("host").as_deref(), Some("site.example"));
        }
        for method in ["TRACE", "TRACK", "get", "dElete"] {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let answer = session.send(method, URL, "").await;
            assert_denied(&answer, "method-not-allowed");
            assert!(answer.header("allow").unwrap().contains("CONNECT"));
        }
    }
    assert_eq!(site.count(), 16);
    let actions: Vec<_> = gateway
        .records()
        .await
        .into_iter()
        .filter(|record| record["decision"] == "permitted")
        .map(|record| record["action"].clone())
        .collect();
    assert!(actions.iter().all(|it| it == "connect"), "{actions:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_of_unknown_length_and_trailers_pass_both_ways() {
    let site = mirror().await;
    let gateway = open(site.address).await;
    for client in both(&gateway.proxy()) {
        let session = client.session().await;
        let http2 = session.is_http2();
        let (feed, body) = fed();
        let request = Request::post(URL)
            .header("te", "trailers")
            .header("trailer", "x-sum")
            .body(body)
            .unwrap();
        let sending = tokio::spawn(async move { session.send_any(request).await });
        for piece in ["one ", "two ", "three"] {
            assert!(feed.data(piece).await);
        }
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", "42".parse().unwrap());
        // What is for the proxy, and what we alone may say, does not pass here either.
        if http2 {
            // Over HTTP/1.1 the connection ends over such a trailer.
            trailers.insert("proxy-authorization", "Bearer secret".parse().unwrap());
            trailers.insert("authorization", "Basic smuggled".parse().unwrap());
            trailers.insert("masugata-assertion", "forged".parse().unwrap());
        }
        assert!(feed.trailers(trailers).await);
        drop(feed);
        let answer = within_reason("an answer", sending).await.unwrap().unwrap();
        assert_eq!(answer.text(), "one two three");
        let trailers = answer.trailers.unwrap();
        assert_eq!(trailers["x-sum"], "42");
        for gone in ["proxy-authorization", "authorization", "masugata-assertion"] {
            assert!(!trailers.contains_key(gone), "{gone}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn large_bodies_stream_both_ways_and_arrive_whole() {
    const PIECES: u8 = 96;
    const PIECE: usize = 128 * 1024;
    let site = mirror().await;
    let gateway = open(site.address).await;
    let bytes = |number: u8| Bytes::from(vec![number.wrapping_mul(31); PIECE]);
    let mut sum = Context::new(&SHA256);
    (0..PIECES).for_each(|number| sum.update(&bytes(number)));
    let sum = sum.finish();
    for client in both(&gateway.proxy()) {
        let session = client.session().await;
        let (feed, body) = fed();
        let request = Request::put(URL).body(body).unwrap();
        let sending = tokio::spawn(async move { session.send_any(request).await });
        for number in 0..PIECES {
            assert!(within_reason("room", feed.data(bytes(number))).await);
        }
        drop(feed);
        let answer = within_reason("an answer", sending).await.unwrap().unwrap();
        assert_eq!(answer.body.len(), PIECE * usize::from(PIECES));
        assert_eq!(digest(&SHA256, &answer.body).as_ref(), sum.as_ref());
    }
    for end in gateway.completions(2).await {
        assert_eq!(end["bytes_received"], PIECE * usize::from(PIECES), "{end}");
        assert_eq!(end["bytes_sent"], PIECE * usize::from(PIECES), "{end}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn host_is_made_from_the_target_whatever_the_client_wrote() {
    let site = Upstream::hello().await;
    let gateway = TestGateway::new()
        .egress("ports = [80, 443, 8080]")
        .origin("site.example", site.address)
        .start()
        .await;
    for (target, written, told, path) in [
        (
            "http://site.example/x",
            "evil.example",
            "site.example",
            "/x",
        ),
        (
            "http://site.example:80/",
            "site.example:80",
            "site.example",
            "/",
        ),
        (
            "http://site.example:8080/",
            "site.example",
            "site.example:8080",
            "/",
        ),
        (
            "HTTP://SITE.Example./?q",
            "SITE.Example.",
            "site.example",
            "/?q",
        ),
        (
            "http://site.example?q=1",
            "site.example",
            "site.example",
            "/?q=1",
        ),
        ("http://site.example", "site.example", "site.example", "/"),
    ] {
        let mut wire = gateway.proxy().wire().await;
        wire.send(format!("GET {target} HTTP/1.1\r\nhost: {written}\r\n\r\n"))
            .await;
        let (head, body) = answer(&mut wire).await;
        assert!(head.starts_with("HTTP/1.1 200"), "{target}: {head}{body}");
        let seen = site.last();
        assert_eq!(seen.all("host"), [told], "{target}");
        assert_eq!(seen.uri, path, "{target}");
    }
    let count = site.count();
    // Over HTTP/2 both are about the same host, or it is nobody's request (RFC 9113 §8.3.1).
    let two = gateway.proxy().h2().header("host", "evil.example");
    assert_denied(&two.get(URL).await, "request-malformed");
    // Two of them are none.
    let mut wire = gateway.proxy().wire().await;
    wire.send(
        "GET http://site.example/ HTTP/1.1\r\nhost: site.example\r\nhost: evil.example\r\n\r\n",
    )
    .await;
    assert!(wire.head().await.starts_with("HTTP/1.1 400"));
    // HTTP/1.0 may leave it out.
    let mut wire = gateway.proxy().wire().await;
    wire.send("GET http://site.example/old HTTP/1.0\r\n\r\n")
        .await;
    assert!(wire.rest().await.ends_with("hello"));
    assert_eq!(site.last().uri, "/old");
    assert_eq!(site.count(), count + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_of_this_hop_and_those_that_tell_of_the_network_stay_here() {
    let site = Upstream::hello().await;
    let gateway = open(site.address).await;
    let mut wire = gateway.proxy().wire().await;
    wire.send(
        "GET http://site.example/ HTTP/1.1\r\nhost: site.example\r\n\
         connection: keep-alive, x-mine, authorization-2\r\nx-mine: 1\r\nauthorization-2: 2\r\n\
         keep-alive: timeout=5\r\nproxy-connection: keep-alive\r\nproxy-authorization: Bearer \
         nonsense-that-is-looked-at\r\n\r\n",
    )
    .await;
    let (head, body) = answer(&mut wire).await;
    assert!(head.starts_with("HTTP/1.1 407"), "{head}{body}");

    for client in both(&gateway.proxy().token(gateway.token("ada").sign())) {
        let http2 = client.session().await.is_http2();
        let mut request = Request::get(URL)
            .header("te", "trailers")
            .header("forwarded", "for=10.1.2.3;host=intranet")
            .header("x-forwarded-for", "10.1.2.3")
            .header("x-forwarded-host", "intranet")
            .header("x-forwarded-proto", "https")
            .header("x-forwarded-port", "8443")
            .header("x-real-ip", "10.1.2.3")
            .header("x-client-ip", "10.1.2.3")
            .header("masugata-assertion", "forged")
            .header("proxy-authenticate", "Basic")
            .header("via", "1.1 somebody")
            .header("cookie", "a=1; b=2")
            .header("cookie", "c=3")
            .header("authorization", "Basic Zm9yOnNpdGU=")
            .header("user-agent", "ours/1.0")
            .header("referer", "http://site.example/before")
            .header("x-request-id", "theirs");
        if !http2 {
            request = request
                .header("connection", "te, x-hop")
                .header("x-hop", "1")
                .header("keep-alive", "timeout=5")
                .header("proxy-connection", "keep-alive")
                .header("upgrade", "h2c")
                .header("http2-settings", "AAMAAABkAAQAAP__");
        }
        let session = client.session().await;
        let answer = session.send_any(request.body(Empty::new()).unwrap()).await;
        assert_eq!(answer.unwrap().text(), "hello");
        let seen = site.last();
        for gone in [
            "proxy-authorization",
            "proxy-authenticate",
            "proxy-connection",
            "forwarded",
            "x-forwarded-for",
            "x-forwarded-host",
            "x-forwarded-proto",
            "x-forwarded-port",
            "x-real-ip",
            "x-client-ip",
            "x-hop",
            "keep-alive",
            "upgrade",
            "http2-settings",
            "masugata-assertion",
        ] {
            assert_eq!(seen.all(gone), [""; 0], "{gone}");
        }
        assert_eq!(seen.all("authorization"), ["Basic Zm9yOnNpdGU="]);
        assert_eq!(seen.all("cookie"), ["a=1; b=2; c=3"]);
        assert_eq!(seen.all("user-agent"), ["ours/1.0"]);
        assert_eq!(seen.all("referer"), ["http://site.example/before"]);
        assert_eq!(seen.all("x-request-id"), ["theirs"]);
        let via = seen.one("via").unwrap();
        let version = if http2 { "2.0" } else { "1.1" };
        let ours = via.strip_prefix("1.1 somebody, ").unwrap();
        let name = ours.strip_prefix(&format!("{version} ")).unwrap();
        for tells in ["proxy", "corp", "127.0.0.1", "laptop"] {
            assert!(!name.contains(tells), "{via} tells of us");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn public_sites_may_be_asked_with_an_override_because_the_decision_is_about_the_connection() {
    let site = Upstream::hello().await;
    let gateway = open(site.address).await;
    for client in both(&gateway.proxy()) {
        let client = client
            .header("x-http-method-override", "PATCH")
            .header("x-original-url", "/elsewhere");
        assert_eq!(client.get(URL).await.status, StatusCode::OK);
        let seen = site.last();
        assert_eq!(seen.all("x-http-method-override"), ["PATCH"]);
        assert_eq!(seen.all("x-original-url"), ["/elsewhere"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_has_been_here_before_is_a_loop() {
    let site = Upstream::hello().await;
    let gateway = open(site.address).await;
    gateway.proxy().get(URL).await;
    let ours = site.last().one("via").unwrap();
    for via in [
        ours.clone(),
        format!("1.0 first, {ours} (comment), 1.1 last"),
    ] {
        for client in both(&gateway.proxy().header("via", &via)) {
            let answer = client.get(URL).await;
            assert_denied(&answer, "loop-detected");
            assert_eq!(answer.status, StatusCode::LOOP_DETECTED);
            let status = answer.header("proxy-status").unwrap();
            assert!(status.contains("error=proxy_loop_detected"), "{status}");
            assert_denied(&client.refused("site.example:80").await, "loop-detected");
        }
    }
    assert_eq!(site.count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_lose_what_was_for_our_hop_and_keep_the_rest() {
    let site = RawUpstream::new(|_head| {
        "HTTP/1.1 407 Odd\r\nconnection: x-hop\r\nx-hop: 1\r\nkeep-alive: timeout=9\r\n\
         proxy-authenticate: Basic realm=\"your proxy password, please\"\r\n\
         proxy-connection: close\r\nalt-svc: h3=\":443\"\r\nmasugata-assertion: forged\r\n\
         upgrade: h2c\r\nset-cookie: a=1\r\nset-cookie: b=2\r\nserver: theirs\r\n\
         www-authenticate: Basic realm=\"site\"\r\ncontent-length: 4\r\n\r\nbody"
            .to_owned()
    })
    .await;
    let gateway = open(site.address).await;
    for client in both(&gateway.proxy()) {
        let answer = client.get(URL).await;
        assert_eq!(answer.text(), "body");
        // An origin must not be able to ask for what is for the proxy.
        assert_eq!(answer.header("proxy-authenticate"), None);
        for gone in [
            "connection",
            "x-hop",
            "keep-alive",
            "proxy-connection",
            "alt-svc",
            "upgrade",
            "masugata-assertion",
        ] {
            assert_eq!(answer.header(gone), None, "{gone}");
        }
        let cookies: Vec<_> = answer.headers.get_all("set-cookie").iter().collect();
        assert_eq!(cookies, ["a=1", "b=2"]);
        assert_eq!(answer.header("server"), Some("theirs"));
        assert_eq!(
            answer.header("www-authenticate"),
            Some("Basic realm=\"site\"")
        );
        assert!(answer.header("via").unwrap().starts_with("1.1 "));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_asks_first_is_asked_for_its_body_or_keeps_it() {
    let site = RawUpstream::new(|head| {
        if head.starts_with("PUT /yes") {
            "HTTP/1.1 100 Continue\r\n\r\n".to_owned()
        } else if head.starts_with("PUT /no") {
            "HTTP/1.1 401 No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".to_owned()
        } else {
            // The body of the first one, which looks like a head.
            "HTTP/1.1 201 Created\r\ncontent-length: 4\r\n\r\ndone".to_owned()
        }
    })
    .await;
    let gateway = open(site.address).await;
    let put = |path: &str| {
        format!(
            "PUT http://site.example{path} HTTP/1.1\r\nhost: site.example\r\n\
             expect: 100-continue\r\ncontent-length: 8\r\n\r\n"
        )
    };
    let mut wire = gateway.proxy().wire().await;
    wire.send(put("/yes")).await;
    assert!(wire.head().await.starts_with("HTTP/1.1 100"));
    wire.send("bodi\r\n\r\n").await;
    let (head, body) = answer(&mut wire).await;
    assert!(head.starts_with("HTTP/1.1 201"), "{head}");
    assert_eq!(body, "done");

    let mut wire = gateway.proxy().wire().await;
    wire.send(put("/no")).await;
    let (head, _) = answer(&mut wire).await;
    assert!(head.starts_with("HTTP/1.1 401"), "{head}");
    assert_eq!(site.heads().len(), 3, "no body was sent");
    // Who may not, is not asked.
    let kiosk = gateway.stranger().device(&gateway.device("kiosk"));
    let mut wire = kiosk.wire().await;
    wire.send(put("/yes")).await;
    assert!(wire.head().await.starts_with("HTTP/1.1 407"));
    assert_eq!(site.heads().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_without_a_body_leave_the_connection_in_step() {
    let site = RawUpstream::new(|head| {
        let (status, fields) = if head.starts_with("HEAD ") {
            ("200 OK", "content-length: 1234\r\n")
        } else if head.contains("/nothing") {
            ("204 No Content", "")
        } else if head.contains("/same") {
            (
                "304 Not Modified",
                "etag: \"a\"\r\ncontent-length: 1234\r\n",
            )
        } else {
            return "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello".to_owned();
        };
        format!("HTTP/1.1 {status}\r\n{fields}\r\n")
    })
    .await;
    let gateway = open(site.address).await;
    // All at once: whatever is out of step shows at the next one.
    let mut wire = gateway.proxy().wire().await;
    let ask = |line: &str| format!("{line} HTTP/1.1\r\nhost: site.example\r\n\r\n");
    wire.send(
        [
            "HEAD http://site.example/",
            "GET http://site.example/nothing",
            "GET http://site.example/same",
            "GET http://site.example/",
        ]
        .map(ask)
        .concat(),
    )
    .await;
    let heads = [
        wire.head().await,
        wire.head().await,
        wire.head().await,
        wire.head().await,
    ];
    for (head, status) in heads.iter().zip(["200", "204", "304", "200"]) {
        assert!(head.starts_with(&format!("HTTP/1.1 {status}")), "{heads:?}");
    }
    assert_eq!(wire.bytes(5).await, b"hello");
    assert!(
        heads[0]
            .to_ascii_lowercase()
            .contains("content-length: 1234")
    );

    let session = gateway.proxy().h2().session().await;
    for (method, path, status) in [
        (Method::HEAD, "", 200),
        (Method::GET, "nothing", 204),
        (Method::GET, "same", 304),
    ] {
        let answer = session.send(method, &format!("{URL}{path}"), "").await;
        assert_eq!(answer.status, status, "{path}");
        assert!(answer.body.is_empty());
    }
    // A refusal of HEAD has no body either.
    let refused = session
        .send(Method::HEAD, "http://site.example:25/", "")
        .await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    assert!(refused.body.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn redirects_are_the_clients_to_follow() {
    let site = RawUpstream::new(|head| {
        let place = if head.contains("/inside") {
            "http://169.254.169.254/latest/"
        } else {
            "https://elsewhere.example/?q#f"
        };
        format!("HTTP/1.1 302 Found\r\nlocation: {place}\r\ncontent-length: 0\r\n\r\n")
    })
    .await;
    let gateway = open(site.address).await;
    for client in both(&gateway.proxy()) {
        let answer = client.get(URL).await;
        assert_eq!(answer.status, StatusCode::FOUND);
        assert_eq!(
            answer.header("location"),
            Some("https://elsewhere.example/?q#f")
        );
        let answer = client.get("http://site.example/inside").await;
        let place = answer.header("location").unwrap().to_owned();
        let followed = client.get(&place).await;
        assert_denied(&followed, "destination-prohibited");
    }
    assert_eq!(site.heads().len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn targets_that_are_no_destination_are_refused() {
    let site = Upstream::hello().await;
    let gateway = open(site.address).await;
    for (line, code) in [
        ("GET https://site.example/", "request-malformed"),
        ("GET http://user:secret@site.example/", "request-malformed"),
        ("GET http://user@site.example/", "request-malformed"),
        ("GET http://site.example/#fragment", "request-malformed"),
        ("GET ftp://site.example/", "request-malformed"),
        ("GET ws://site.example/", "request-malformed"),
        ("GET http:///", "request-malformed"),
        ("GET http://", "request-malformed"),
        ("GET http:site.example", "request-malformed"),
        ("GET //site.example/", "request-malformed"),
        ("GET /", "request-malformed"),
        ("OPTIONS *", "request-malformed"),
        ("GET *", "request-malformed"),
        ("GET site.example", "request-malformed"),
        ("GET site.example:80", "request-malformed"),
        ("GET http://site.example:0/", "request-malformed"),
        ("GET http://site.example:65536/", "request-malformed"),
        ("GET http://site.example:/", "request-malformed"),
        ("GET http://site%2eexample/", "request-malformed"),
        (
            "GET http://site.example%00.evil.example/",
            "request-malformed",
        ),
        ("GET http://[::1/", "request-malformed"),
        ("GET http://0x7f.1/", "request-malformed"),
        ("GET http://127.1/", "request-malformed"),
        ("GET http://site..example/", "request-malformed"),
        ("GET http://s\u{ef}te.example/", "request-malformed"),
        ("GET http://site.example/\u{e9}", "request-malformed"),
        (
            "GET http://site.example\\@evil.example/",
            "request-malformed",
        ),
    ] {
        let request = format!(
            "{line} HTTP/1.1\r\nhost: site.example\r\naccept: application/json\r\n\
             connection: close\r\n\r\n"
        );
        let answer = gateway.proxy().raw(request.as_bytes()).await;
        assert_eq!(answer.status(), Some(400), "{line}: {}", answer.text());
        assert_eq!(answer.code().as_deref(), Some(code), "{line}");
        assert!(!answer.text().contains("secret"), "{}", answer.text());
    }
    assert_eq!(site.count(), 0);
    // Passwords in targets are not in the record.
    let directory = gateway.shutdown().await;
    let record = std::fs::read_to_string(directory.path().join("audit.jsonl")).unwrap();
    assert!(!record.contains("secret"), "{record}");
}
