//! Servers behind the gateway: that they are who they should be, which of them is asked, and what happens when they fail.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use http::{Method, StatusCode, Version};
use masugata_tests::{TestGateway, TestGatewayBuilder, Upstream, eventually, http_get};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

fn app(name: &str, servers: &[String], more: &str) -> String {
    format!(
        "name = \"{name}\"\nlevel = \"internal\"\nhosts = [\"{name}.corp.test\"]\nupstream.servers = {servers:?}\n{more}\n"
    )
}

fn urls(addresses: &[SocketAddr]) -> Vec<String> {
    addresses
        .iter()
        .map(|address| format!("http://{address}"))
        .collect()
}

async fn hello() -> Upstream {
    Upstream::hello().await
}

async fn failing(status: u16) -> Upstream {
    Upstream::new(move |_request| async move {
        let mut answer = Upstream::text("failing");
        *answer.status_mut() = StatusCode::from_u16(status).unwrap();
        answer
    })
    .await
}

/// Nobody listens there, and nobody will: the port stays taken.
fn dead() -> (std::net::TcpListener, SocketAddr) {
    // Bound to another loopback address, so that the port is ours and connections to 127.0.0.1 are refused.
    let taken = std::net::TcpListener::bind("127.77.77.77:0").unwrap();
    let address = SocketAddr::from(([127, 0, 0, 1], taken.local_addr().unwrap().port()));
    (taken, address)
}

/// An upstream over TLS for `upstream.test`, with what the gateway is told about it.
async fn secured(
    alpn: &[&[u8]],
    asks: bool,
    names: &[&str],
    more: &str,
) -> (Upstream, TestGateway) {
    let builder = TestGateway::new();
    let config = builder.pki().server_config(names, alpn, asks);
    let upstream = Upstream::tls(config, |_request| async { Upstream::text("hello") }).await;
    let laptop = builder.pki().device("gateway");
    std::fs::write(builder.directory().join("own.pem"), &laptop.certificate_pem).unwrap();
    std::fs::write(builder.directory().join("own.key"), &laptop.key_pem).unwrap();
    let servers = [format!("https://127.0.0.1:{}", upstream.address.port())];
    let gateway = builder.raw_app(&app("wiki", &servers, more)).start().await;
    (upstream, gateway)
}

const OURS: &str =
    "upstream.tls.authority = \"ca.pem\"\nupstream.tls.server_name = \"upstream.test\"";

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_the_right_name_of_the_right_authority_is_believed() {
    for (alpn, version) in [
        (&[b"http/1.1".as_slice()][..], Version::HTTP_11),
        (&[b"h2".as_slice(), b"http/1.1"], Version::HTTP_2),
    ] {
        let (upstream, gateway) = secured(alpn, false, &["upstream.test"], OURS).await;
        for client in [gateway.ada(), gateway.ada().h2()] {
            assert_eq!(client.get("wiki", "/").await.text(), "hello");
        }
        assert!(upstream.seen().iter().all(|seen| seen.version == version));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_in_the_certificate_is_a_name_too() {
    let (_upstream, gateway) = secured(
        &[],
        false,
        &["127.0.0.1"],
        "upstream.tls.authority = \"ca.pem\"",
    )
    .await;
    assert_eq!(gateway.ada().get("wiki", "/").await.text(), "hello");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_asks_is_shown_the_gateways_certificate() {
    let more = format!(
        "{OURS}\nupstream.tls.client_certificate = {{ chain = \"own.pem\", key = \"own.key\" }}"
    );
    let (upstream, gateway) = secured(&[b"h2"], true, &["upstream.test"], &more).await;
    assert_eq!(gateway.ada().get("wiki", "/").await.text(), "hello");
    assert_eq!(upstream.last().certificates, 1);
    // Without one it is turned away, and that is the server's failure to the client.
    let (upstream, gateway) = secured(&[b"http/1.1"], true, &["upstream.test"], OURS).await;
    let answer = gateway.ada().get("wiki", "/").await;
    assert_eq!(answer.status.as_u16(), 502, "{}", answer.text());
    assert_eq!(upstream.count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_name_or_another_authority_is_not_believed() {
    for (names, more) in [
        (["other.test"], OURS),
        (
            ["upstream.test"],
            "upstream.tls.server_name = \"upstream.test\"",
        ),
        (["upstream.test"], "upstream.tls.authority = \"ca.pem\""),
    ] {
        let (upstream, gateway) = secured(&[b"http/1.1"], false, &names, more).await;
        let answer = gateway.ada().get("wiki", "/").await;
        assert_eq!(answer.status.as_u16(), 502, "{more}");
        assert_eq!(
            answer.denial_code().as_deref(),
            Some("upstream-certificate")
        );
        assert!(
            answer
                .header("proxy-status")
                .unwrap()
                .contains("tls_certificate_error")
        );
        assert_eq!(upstream.count(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_verified_is_written_out_and_recorded_at_every_start() {
    let (_upstream, gateway) = secured(
        &[b"http/1.1"],
        false,
        &["whoever.test"],
        "upstream.insecure = true",
    )
    .await;
    assert_eq!(gateway.ada().get("wiki", "/").await.text(), "hello");
    let records = gateway.records().await;
    let warned = records.iter().any(|record| {
        record["operation"] == "warning"
            && record["detail"]
                .as_str()
                .unwrap()
                .contains("insecure = true")
    });
    assert!(warned, "{records:#?}");
    let remote = TestGateway::new()
        .raw_app(&app("wiki", &["http://192.0.2.1:80".into()], ""))
        .try_start()
        .await;
    let refused = remote
        .err()
        .expect("plain http to another machine is refused")
        .to_string();
    assert!(refused.contains("insecure = true"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_with_the_least_to_do_is_asked() {
    let released = Arc::new(tokio::sync::Notify::new());
    let held = Arc::clone(&released);
    let program = move |request: http::Request<hyper::body::Incoming>| {
        let held = Arc::clone(&held);
        async move {
            if request.uri().path() == "/hold" {
                held.notified().await;
            }
            Upstream::text("hello")
        }
    };
    let (one, two) = (
        Upstream::new(program.clone()).await,
        Upstream::new(program).await,
    );
    let gateway = TestGateway::new()
        .raw_app(&app("wiki", &urls(&[one.address, two.address]), ""))
        .start()
        .await;
    // Equals take turns.
    for _ in 0..10 {
        gateway.ada().get("wiki", "/").await;
    }
    assert_eq!((one.count(), two.count()), (5, 5));
    let holding = tokio::spawn({
        let ada = gateway.ada();
        async move { ada.get("wiki", "/hold").await }
    });
    eventually("one is busy", || async { one.count() + two.count() == 11 }).await;
    let (busy, free) = if one.count() == 6 {
        (&one, &two)
    } else {
        (&two, &one)
    };
    for _ in 0..10 {
        gateway.ada().get("wiki", "/").await;
    }
    assert_eq!((busy.count(), free.count()), (6, 15));
    released.notify_waiters();
    assert_eq!(holding.await.unwrap().text(), "hello");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_down_costs_no_request_whatever_its_method() {
    let (_taken, nobody) = dead();
    let upstream = hello().await;
    let gateway = TestGateway::new()
        .raw_app(&app(
            "wiki",
            &urls(&[nobody, upstream.address]),
            "upstream.passive.failures = 2",
        ))
        .start()
        .await;
    for method in [
        Method::GET,
        Method::POST,
        Method::PUT,
        Method::DELETE,
        Method::PATCH,
    ] {
        for _ in 0..4 {
            let answer = gateway
                .ada()
                .request("wiki", method.clone(), "/", "body")
                .await;
            assert_eq!(answer.text(), "hello", "{method}");
        }
    }
    assert_eq!(upstream.count(), 20);
    // Set aside by now: seen in the metrics.
    let page = http_get(gateway.admin_address(), "/metrics", "localhost")
        .await
        .text();
    let unhealthy = page.lines().any(|line| {
        line.starts_with("masugata_upstream")
            && line.contains(&nobody.to_string())
            && line.ends_with(" 0")
    });
    assert!(unhealthy, "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_to_ask_is_a_bad_gateway_that_says_so() {
    let (_taken, nobody) = dead();
    let gateway = TestGateway::new().app("wiki", nobody).start().await;
    let answer = gateway.ada().get("wiki", "/").await;
    assert_eq!(answer.status.as_u16(), 502);
    assert_eq!(
        answer.denial_code().as_deref(),
        Some("upstream-unreachable")
    );
    assert!(
        answer
            .header("proxy-status")
            .unwrap()
            .contains("connection_refused")
    );
    let records = gateway.records().await;
    let completion = records
        .iter()
        .find(|record| record["type"] == "completion")
        .unwrap();
    assert_eq!(completion["outcome"], "upstream-failed");
    assert_eq!(completion["cause"], "upstream-unreachable");
    assert_eq!(completion["status"], 502);
}

/// Reads a request, then hangs up without a word; counts.
async fn hangs_up() -> (Upstream, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    let upstream = Upstream::connections(move |mut stream| {
        let counter = Arc::clone(&counter);
        async move {
            let mut buffer = [0; 4096];
            if matches!(stream.read(&mut buffer).await, Ok(1..)) {
                counter.fetch_add(1, Ordering::SeqCst);
            }
        }
    })
    .await;
    (upstream, asked)
}

// RFC 9110 §9.2.2
#[tokio::test(flavor = "multi_thread")]
async fn only_what_may_be_repeated_is_repeated() {
    for (method, body, times) in [
        (Method::GET, "", 2),
        (Method::HEAD, "", 2),
        (Method::DELETE, "", 2),
        (Method::POST, "", 1),
        (Method::POST, "pay", 1),
        (Method::PATCH, "", 1),
        // Idempotent, but its body is gone.
        (Method::PUT, "all of it", 1),
    ] {
        let (upstream, asked) = hangs_up().await;
        let gateway = TestGateway::new()
            .app("wiki", upstream.address)
            .start()
            .await;
        let answer = gateway
            .ada()
            .request("wiki", method.clone(), "/", body)
            .await;
        assert_eq!(answer.status.as_u16(), 502, "{method}");
        assert_eq!(asked.load(Ordering::SeqCst), times, "{method} `{body}`");
        let records = gateway.records().await;
        let completion = records
            .iter()
            .find(|record| record["type"] == "completion")
            .unwrap();
        assert_eq!(completion["attempts"], times);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_retries_everything_is_sent_once() {
    let (upstream, asked) = hangs_up().await;
    let gateway = TestGateway::new()
        .app_with("wiki", "internal", upstream.address, "upstream.retries = 0")
        .start()
        .await;
    assert_eq!(gateway.ada().get("wiki", "/").await.status.as_u16(), 502);
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_fails_in_a_row_is_set_aside() {
    let (bad, good) = (failing(503).await, hello().await);
    let gateway = TestGateway::new()
        .raw_app(&app(
            "wiki",
            &urls(&[bad.address, good.address]),
            "upstream.passive = { failures = 2, ejection = \"1h\" }",
        ))
        .start()
        .await;
    for _ in 0..20 {
        gateway.ada().get("wiki", "/").await;
    }
    assert_eq!((bad.count(), good.count()), (2, 18));
    // Answers of the app itself are no failure of the server.
    let (ill, well) = (failing(500).await, hello().await);
    let gateway = TestGateway::new()
        .raw_app(&app(
            "wiki",
            &urls(&[ill.address, well.address]),
            "upstream.passive.failures = 1",
        ))
        .start()
        .await;
    for _ in 0..10 {
        gateway.ada().get("wiki", "/").await;
    }
    assert_eq!((ill.count(), well.count()), (5, 5));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_fails_its_checks_is_left_alone_until_it_passes_them() {
    let well = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&well);
    let moody = Upstream::new(move |request: http::Request<hyper::body::Incoming>| {
        let fine = told.load(Ordering::SeqCst) || request.uri().path() != "/health";
        async move {
            let mut answer = Upstream::text("moody");
            if !fine {
                *answer.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            }
            answer
        }
    })
    .await;
    let steady = hello().await;
    let check = "upstream.health = { path = \"/health\", interval = \"100ms\", timeout = \"100ms\", healthy_after = 1, unhealthy_after = 1 }";
    let gateway = TestGateway::new()
        .raw_app(&app("wiki", &urls(&[moody.address, steady.address]), check))
        .start()
        .await;
    let reached = |upstream: &Upstream| {
        upstream
            .seen()
            .iter()
            .filter(|seen| seen.uri.path() == "/page")
            .count()
    };
    let ada = gateway.ada();
    let moody_is = async |expected: bool| {
        eventually("the check is noticed", || async {
            let before = reached(&moody);
            for _ in 0..4 {
                ada.get("wiki", "/page").await;
            }
            (reached(&moody) > before) == expected
        })
        .await;
    };
    moody_is(false).await;
    well.store(true, Ordering::SeqCst);
    moody_is(true).await;
    // Checks carry no claim about anybody.
    let checks = moody
        .seen()
        .into_iter()
        .filter(|seen| seen.uri.path() == "/health");
    assert!(
        checks
            .into_iter()
            .all(|seen| !seen.headers.contains_key("masugata-assertion"))
    );
    assert!(reached(&steady) > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_servers_sick_is_unavailable() {
    let sick = failing(500).await;
    let check = "upstream.health = { path = \"/health\", interval = \"100ms\", timeout = \"100ms\", unhealthy_after = 1 }";
    let gateway = TestGateway::new()
        .raw_app(&app("wiki", &urls(&[sick.address]), check))
        .start()
        .await;
    let ada = gateway.ada();
    eventually("the check is noticed", || async {
        ada.get("wiki", "/").await.denial_code().as_deref() == Some("no-healthy-upstream")
    })
    .await;
    assert_eq!(ada.get("wiki", "/").await.status.as_u16(), 503);
}

/// What an upstream sends that is no HTTP is a bad gateway, and its connection is not used again.
#[tokio::test(flavor = "multi_thread")]
async fn answers_that_cannot_be_read_in_one_way_are_a_bad_gateway() {
    for garbage in [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX : a\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nx",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        "SMTP ready\r\n\r\n",
        "HTTP/1.1 999999 OK\r\n\r\n",
    ] {
        let upstream = Upstream::connections(move |mut stream| async move {
            let mut buffer = [0; 4096];
            let _ = stream.read(&mut buffer).await;
            let _ = stream.write_all(garbage.as_bytes()).await;
        })
        .await;
        let gateway = TestGateway::new()
            .app("wiki", upstream.address)
            .start()
            .await;
        let mut session = gateway.ada().session("wiki").await;
        let request = session
            .build(Method::GET, "/")
            .body(http_body_util::Empty::<bytes::Bytes>::new())
            .unwrap();
        match session.send_any(request).await {
            Ok(answer) => {
                let mended = answer.status.as_u16() == 200
                    && answer.headers.get_all("content-length").iter().count() <= 1
                    && answer.text().is_empty();
                assert!(
                    answer.status.as_u16() == 502 || mended,
                    "{garbage:?}: {answer:?}"
                );
            }
            // Seen only behind the head: cut.
            Err(error) => assert!(
                error.is_incomplete_message() || error.is_body_write_aborted() || error.is_closed(),
                "{error:?}"
            ),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_of_one_app_share_one_scheme() {
    let builder: TestGatewayBuilder = TestGateway::new().raw_app(&app(
        "wiki",
        &["http://127.0.0.1:1".into(), "https://127.0.0.1:2".into()],
        "",
    ));
    let refused = builder.try_start().await.err().unwrap().to_string();
    assert!(
        refused.contains("has another scheme than the first server"),
        "{refused}"
    );
}
