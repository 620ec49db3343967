//! How long, how large and how many: every bound ends what goes beyond it, says so, and harms nobody else.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::body::Incoming;
use masugata_tests::{
    Client, TestGateway, Upstream, assert_denied, eventually, fed, http_get, within_reason,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

/// Takes connections and never says a word.
async fn silent() -> Upstream {
    Upstream::connections(|mut stream| async move {
        let mut buffer = [0; 4096];
        while matches!(stream.read(&mut buffer).await, Ok(1..)) {}
    })
    .await
}

/// A head and a first piece; then `again` after each pause, or nothing.
async fn begins(again: bool) -> Upstream {
    Upstream::connections(move |mut stream| async move {
        let mut buffer = [0; 4096];
        let _ = stream.read(&mut buffer).await;
        let _ = stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\npiece")
            .await;
        if again {
            while stream.write_all(b"piece").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            return;
        }
        while matches!(stream.read(&mut buffer).await, Ok(1..)) {}
    })
    .await
}

fn completions(records: &[serde_json::Value]) -> Vec<(String, String)> {
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    records
        .iter()
        .filter(|record| record["type"] == "completion")
        .map(|record| (text(&record["outcome"]), text(&record["cause"])))
        .collect()
}

fn timed_out(cause: &str) -> (String, String) {
    ("timed-out".into(), cause.into())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_does_not_come_about_is_a_gateway_timeout() {
    // TLS included: this one accepts and never shakes hands.
    let upstream = silent().await;
    let gateway = TestGateway::new()
        .raw_app(&format!(
            "name = \"wiki\"\nlevel = \"internal\"\nhosts = [\"wiki.corp.test\"]\nupstream.servers = [\"https://{}\"]\n\
             upstream.tls.authority = \"ca.pem\"\nupstream.retries = 0\ntimeouts.connect = \"200ms\"",
            upstream.address
        ))
        .start()
        .await;
    let answer = within_reason("an answer", gateway.ada().get("wiki", "/")).await;
    assert_eq!(answer.status.as_u16(), 504);
    assert_eq!(
        answer.denial_code().as_deref(),
        Some("upstream-connect-timeout")
    );
    assert_eq!(
        completions(&gateway.records().await),
        [timed_out("upstream-connect-timeout")]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_does_not_begin_is_a_gateway_timeout() {
    let upstream = silent().await;
    let gateway = TestGateway::new()
        .app_with(
            "wiki",
            "internal",
            upstream.address,
            "timeouts.response_header = \"200ms\"",
        )
        .start()
        .await;
    for client in [gateway.ada(), gateway.ada().h2()] {
        let answer = within_reason("an answer", client.post("wiki", "/", "body")).await;
        assert_eq!(answer.status.as_u16(), 504);
        assert_eq!(answer.denial_code().as_deref(), Some("upstream-timeout"));
        assert!(
            answer
                .header("proxy-status")
                .unwrap()
                .contains("http_response_timeout")
        );
    }
    assert_eq!(
        completions(&gateway.records().await),
        vec![timed_out("upstream-timeout"); 2]
    );
}

/// Reads to the end, which must be an error: a part must not pass for the whole.
async fn broken_off(client: &Client, what: &str) {
    let mut session = client.session("wiki").await;
    let request = session
        .build(Method::GET, "/")
        .body(Empty::<Bytes>::new())
        .unwrap();
    let answer = within_reason("a head", session.open_any(request))
        .await
        .unwrap();
    assert_eq!(answer.status().as_u16(), 200);
    let end = within_reason("the end", answer.into_body().collect()).await;
    assert!(end.is_err(), "{what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_falls_silent_is_cut() {
    let upstream = begins(false).await;
    let gateway = TestGateway::new()
        .app_with(
            "wiki",
            "internal",
            upstream.address,
            "timeouts.idle = \"300ms\"",
        )
        .start()
        .await;
    broken_off(&gateway.ada(), "h1").await;
    broken_off(&gateway.ada().h2(), "h2").await;
    assert_eq!(
        completions(&gateway.records().await),
        vec![timed_out("idle-timeout"); 2]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_without_end_ends_with_its_total_time() {
    let upstream = begins(true).await;
    let gateway = TestGateway::new()
        .app_with(
            "wiki",
            "internal",
            upstream.address,
            "timeouts = { connect = \"500ms\", response_header = \"500ms\", idle = \"500ms\", total = \"600ms\" }",
        )
        .start()
        .await;
    broken_off(&gateway.ada(), "h1").await;
    broken_off(&gateway.ada().h2(), "h2").await;
    assert_eq!(
        completions(&gateway.records().await),
        vec![timed_out("total-timeout"); 2]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_stops_arriving_is_a_request_timeout() {
    let upstream = Upstream::hello().await;
    let gateway = TestGateway::new()
        .app_with(
            "wiki",
            "internal",
            upstream.address,
            "timeouts.idle = \"300ms\"",
        )
        .start()
        .await;
    for client in [gateway.ada(), gateway.ada().h2()] {
        let mut session = client.session("wiki").await;
        let (feed, body) = fed();
        let request = session.build(Method::POST, "/").body(body).unwrap();
        assert!(feed.data("the beginning").await);
        let answer = within_reason("an answer", session.open_any(request))
            .await
            .unwrap();
        assert_eq!(answer.status().as_u16(), 408);
        drop(feed);
    }
    assert_eq!(
        completions(&gateway.records().await),
        vec![timed_out("request-timeout"); 2]
    );
}

/// Reads until the other side hangs up.
async fn hangs_up(stream: &mut (impl tokio::io::AsyncRead + Unpin), what: &str) {
    let mut buffer = [0; 4096];
    loop {
        match within_reason(what, stream.read(&mut buffer)).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_handshakes_heads_and_idle_connections_are_ended() {
    let upstream = Upstream::hello().await;
    let gateway = TestGateway::new()
        .app("wiki", upstream.address)
        .ingress("bounds = { handshake_timeout = \"200ms\", header_timeout = \"200ms\", keep_alive = \"1s\" }")
        .start()
        .await;
    let mut stream = TcpStream::connect(gateway.address()).await.unwrap();
    hangs_up(&mut stream, "no handshake").await;
    let mut stream = TcpStream::connect(gateway.address()).await.unwrap();
    stream.write_all(&[22, 3, 1]).await.unwrap();
    hangs_up(&mut stream, "half a handshake").await;

    let mut stream = gateway.ada().stream("wiki").await.unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: wiki")
        .await
        .unwrap();
    hangs_up(&mut stream, "half a head").await;
    // A byte now and then is half a head, too.
    let (mut from, mut to) = tokio::io::split(gateway.ada().stream("wiki").await.unwrap());
    let dripping = tokio::spawn(async move {
        for byte in b"GET / HTTP/1.1\r\nHost: wiki.corp.test\r\nX: "
            .iter()
            .chain(&[b'x'; 10_000])
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
            if to.write_all(&[*byte]).await.is_err() || to.flush().await.is_err() {
                return;
            }
        }
    });
    hangs_up(&mut from, "a dripping head").await;
    dripping.abort();

    for client in [gateway.ada(), gateway.ada().h2()] {
        let mut idle = client.stream("wiki").await.unwrap();
        hangs_up(&mut idle, "an idle connection").await;
    }
    assert_eq!(upstream.count(), 0);
    let page = http_get(gateway.admin_address(), "/metrics", "localhost")
        .await
        .text();
    assert!(
        page.contains("masugata_handshake_failures_total{cause=\"timed-out\"} 2"),
        "{page}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_too_large_is_refused_before_or_while_it_is_sent() {
    let upstream = Upstream::hello().await;
    let gateway = TestGateway::new()
        .app_with("wiki", "internal", upstream.address, "max_body = \"1KiB\"")
        .app_with(
            "any",
            "internal",
            upstream.address,
            "max_body = \"unlimited\"",
        )
        .start()
        .await;
    for client in [gateway.ada(), gateway.ada().h2()] {
        assert_eq!(
            client.post("wiki", "/", &"x".repeat(1024)).await.text(),
            "hello"
        );
        let before = upstream.count();
        let answer = client.post("wiki", "/", &"x".repeat(1025)).await;
        assert_denied(&answer, "body-too-large");
        assert_eq!(answer.status.as_u16(), 413);
        assert_eq!(upstream.count(), before, "declared: the app is not asked");
        // Without a length it is found out on the way.
        let mut session = client.session("wiki").await;
        let (feed, body) = fed();
        let request = session.build(Method::POST, "/").body(body).unwrap();
        let feeding = tokio::spawn(async move { while feed.data(vec![b'x'; 500]).await {} });
        let answer = within_reason("an answer", session.open_any(request))
            .await
            .unwrap();
        assert_eq!(answer.status().as_u16(), 413);
        feeding.abort();
        assert_eq!(
            client.post("any", "/", &"x".repeat(300_000)).await.text(),
            "hello"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_that_are_too_large_or_too_many_fields_are_refused() {
    let upstream = Upstream::hello().await;
    let gateway = TestGateway::new()
        .app("wiki", upstream.address)
        .ingress("bounds = { header_count = 40, header_bytes = \"16KiB\" }")
        .start()
        .await;
    for client in [gateway.ada(), gateway.ada().h2()] {
        let fine = (0..30).fold(client.clone(), |client, number| {
            client.header(&format!("x-{number}"), "y")
        });
        assert_eq!(fine.get("wiki", "/").await.text(), "hello");
        let many = (0..50).fold(client.clone(), |client, number| {
            client.header(&format!("x-{number}"), "y")
        });
        // The same name again and again is many fields, too.
        let same = (0..50).fold(client.clone(), |client, _| client.header("x-same", "y"));
        let large = client.clone().header("x-large", &"y".repeat(20_000));
        for client in [many, same, large] {
            let answer = client.get("wiki", "/").await;
            assert_denied(&answer, "header-too-large");
            assert_eq!(answer.status.as_u16(), 431);
        }
        let path = format!("/{}", "a".repeat(20_000));
        assert_denied(&client.get("wiki", &path).await, "header-too-large");
    }
    assert_eq!(upstream.count(), 2);
}

/// Answers `/hold…` when there is a permit.
async fn holding() -> (Upstream, Arc<Semaphore>) {
    let permits = Arc::new(Semaphore::new(0));
    let wanted = Arc::clone(&permits);
    let upstream = Upstream::new(move |request: http::Request<Incoming>| {
        let wanted = Arc::clone(&wanted);
        async move {
            if request.uri().path().starts_with("/hold") {
                wanted.acquire().await.unwrap().forget();
            }
            Upstream::text("hello")
        }
    })
    .await;
    (upstream, permits)
}

#[tokio::test(flavor = "multi_thread")]
async fn more_streams_than_allowed_wait_for_their_turn() {
    let (upstream, permits) = holding().await;
    let gateway = TestGateway::new()
        .app("wiki", upstream.address)
        .ingress("bounds.concurrent_streams = 2")
        .start()
        .await;
    let mut session = gateway.ada().h2().session("wiki").await;
    // So that the client has seen the gateway's settings.
    session.get("/").await;
    let mut answers = Vec::new();
    for number in 0..4 {
        let request = session
            .build(Method::GET, &format!("/hold/{number}"))
            .body(Full::<Bytes>::default())
            .unwrap();
        answers.push(tokio::spawn(session.start(request)));
    }
    eventually("two are there", async || upstream.count() == 3).await;
    // One at a time finishes, and only then comes the next.
    for finished in 0..2 {
        permits.add_permits(1);
        eventually("the next is there", async || {
            upstream.count() == 4 + finished
        })
        .await;
    }
    permits.add_permits(2);
    for answer in answers {
        assert_eq!(
            within_reason("an answer", answer)
                .await
                .unwrap()
                .unwrap()
                .status()
                .as_u16(),
            200
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_holds_so_many_connections_and_no_more() {
    let upstream = Upstream::hello().await;
    let gateway = TestGateway::new()
        .app("wiki", upstream.address)
        .ingress("bounds.connections_per_address = 3")
        .start()
        .await;
    let ada = gateway.ada();
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut session = ada.session("wiki").await;
        assert_eq!(session.get("/").await.text(), "hello");
        held.push(session);
    }
    assert!(ada.try_session("wiki").await.is_err());
    // Who is in stays in.
    assert_eq!(held[0].get("/").await.text(), "hello");
    held.pop();
    eventually("there is room again", async || {
        ada.try_session("wiki").await.is_ok()
    })
    .await;
    let page = http_get(gateway.admin_address(), "/metrics", "localhost")
        .await
        .text();
    let refused = page
        .lines()
        .find(|line| line.contains("connections_refused_total{cause=\"connections-per-address\"}"));
    assert!(!refused.unwrap().ends_with(" 0"), "{page}");
}

const V1: &[u8] = b"PROXY TCP4 192.0.2.77 192.0.2.1 56324 443\r\n";

fn v2(address: [u8; 4]) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    header.extend_from_slice(&address);
    header.extend_from_slice(&[192, 0, 2, 1, 0xdc, 0x04, 1, 187]);
    header
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configured_load_balancer_names_the_client_and_must_do_so() {
    let upstream = Upstream::hello().await;
    let gateway = TestGateway::new()
        .app("wiki", upstream.address)
        .ingress("proxy_protocol_from = [\"127.0.0.0/8\"]\nbounds.handshake_timeout = \"2s\"")
        .start()
        .await;
    let ada = gateway.ada();
    for (preface, client) in [
        (V1.to_vec(), "192.0.2.77"),
        (v2([192, 0, 2, 78]), "192.0.2.78"),
    ] {
        for version in [ada.clone(), ada.clone().h2()] {
            assert_eq!(
                version.preface(&preface).get("wiki", "/").await.text(),
                "hello"
            );
            assert_eq!(
                upstream.last().one("x-forwarded-for").as_deref(),
                Some(client)
            );
        }
    }
    // The balancer's own checks speak for itself.
    let local = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0".to_vec();
    assert_eq!(
        ada.clone().preface(&local).get("wiki", "/").await.text(),
        "hello"
    );
    assert_eq!(
        upstream.last().one("x-forwarded-for").as_deref(),
        Some("127.0.0.1")
    );
    for malformed in [
        &b""[..],
        b"PROXY TCP4 192.0.2.77 192.0.2.1 56324\r\n",
        b"PROXY TCP4 999.0.2.77 192.0.2.1 56324 443\r\n",
        b"PROXY TCP6 192.0.2.77 192.0.2.1 56324 443\r\n",
        b"proxy TCP4 192.0.2.77 192.0.2.1 56324 443\r\n",
        b"PROXY TCP4 192.0.2.77 192.0.2.1 56324 443\n",
        b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\x0c\xc0\0\x02\x4d\xc0\0\x02\x01\xdc\x04\x01\xbb",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x02\xc0\0",
        b"GET / HTTP/1.1\r\n\r\n",
    ] {
        let refused = within_reason(
            "a refusal",
            ada.clone().preface(malformed).try_session("wiki"),
        )
        .await;
        assert!(refused.is_err(), "{malformed:?}");
    }
    let records = gateway.records().await;
    let addresses: Vec<_> = records
        .iter()
        .filter(|record| record["type"] == "decision")
        .map(|record| record["connection"]["client_address"].as_str().unwrap())
        .collect();
    assert_eq!(
        addresses,
        [
            "192.0.2.77",
            "192.0.2.77",
            "192.0.2.78",
            "192.0.2.78",
            "127.0.0.1"
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_else_may_name_the_client() {
    let upstream = Upstream::hello().await;
    let gateway = TestGateway::new()
        .app("wiki", upstream.address)
        .ingress("proxy_protocol_from = [\"10.0.0.0/8\"]")
        .start()
        .await;
    assert_eq!(gateway.ada().get("wiki", "/").await.text(), "hello");
    for preface in [V1.to_vec(), v2([192, 0, 2, 78])] {
        let refused = within_reason(
            "a refusal",
            gateway.ada().preface(&preface).try_session("wiki"),
        )
        .await;
        assert!(refused.is_err());
    }
    assert_eq!(upstream.count(), 1);
}

/// Closed at once, the connection would break under the upload, and nobody would learn why (RFC 9112 §9.6).
#[tokio::test(flavor = "multi_thread")]
async fn a_large_upload_that_is_refused_still_gets_its_answer() {
    let upstream = Upstream::hello().await;
    let gateway = TestGateway::new()
        .app("wiki", upstream.address)
        .start()
        .await;
    let token = gateway.token("ada").password_only().sign();
    let denied = gateway.ada().token(token);
    let large = "x".repeat(8 << 20);
    for _ in 0..2 {
        for client in [denied.clone(), denied.clone().h2()] {
            let answer = within_reason("an answer", client.post("wiki", "/", &large)).await;
            assert_denied(&answer, "assurance-insufficient");
        }
    }
    // By hand: everything is written before anything is read, as simple clients do.
    let mut stream = denied.stream("wiki").await.unwrap();
    let head = format!(
        "POST / HTTP/1.1\r\nHost: wiki.corp.test\r\nContent-Length: {}\r\n\r\n",
        large.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    within_reason("to write", stream.write_all(large.as_bytes()))
        .await
        .unwrap();
    let mut answer = vec![0; 12];
    within_reason("an answer", stream.read_exact(&mut answer))
        .await
        .unwrap();
    assert_eq!(answer, b"HTTP/1.1 401");
    assert_eq!(upstream.count(), 0);
}

/// Connections on which nothing was ever asked hold up neither a restart nor a slot for ever.
#[tokio::test(flavor = "multi_thread")]
async fn silent_connections_do_not_hold_up_a_restart() {
    let upstream = Upstream::hello().await;
    let gateway = TestGateway::new()
        .app("wiki", upstream.address)
        .ingress("bounds.drain = \"1h\"")
        .start()
        .await;
    let _one = gateway.ada().stream("wiki").await.unwrap();
    let _two = gateway.ada().h2().stream("wiki").await.unwrap();
    let mut three = gateway.ada().session("wiki").await;
    three.get("/").await;
    let mut four = gateway.ada().h2().session("wiki").await;
    four.get("/").await;
    within_reason("the end", gateway.shutdown()).await;
}

/// Everybody comes from the balancer's address; what counts is whom it names.
#[tokio::test(flavor = "multi_thread")]
async fn behind_a_load_balancer_clients_are_counted_by_their_own_address() {
    let upstream = Upstream::hello().await;
    let gateway = TestGateway::new()
        .app("wiki", upstream.address)
        .ingress("proxy_protocol_from = [\"127.0.0.0/8\"]\nbounds.connections_per_address = 2")
        .start()
        .await;
    let mut held = Vec::new();
    for client in 1..=4 {
        for _ in 0..2 {
            let mut session = gateway
                .ada()
                .preface(&v2([192, 0, 2, client]))
                .session("wiki")
                .await;
            assert_eq!(session.get("/").await.text(), "hello");
            held.push(session);
        }
        let third = gateway
            .ada()
            .preface(&v2([192, 0, 2, client]))
            .try_session("wiki")
            .await;
        assert!(third.is_err(), "client {client}");
    }
}
