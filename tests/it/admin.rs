//! The administrators' listener: health, metrics, configuration; for this machine, and for nobody's web page.

use std::collections::BTreeMap;

use http::Method;
use masugata_tests::{SmallDisk, TestGateway, Upstream, eventually, http_get};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

async fn wiki() -> (Upstream, TestGateway) {
    let upstream = Upstream::hello().await;
    let gateway = TestGateway::new()
        .app("wiki", upstream.address)
        .start()
        .await;
    (upstream, gateway)
}

async fn get(gateway: &TestGateway, path: &str) -> masugata_tests::Answer {
    http_get(gateway.admin_address(), path, "localhost").await
}

/// Sends bytes and reads to the end.
async fn raw(gateway: &TestGateway, request: &str) -> String {
    let mut stream = TcpStream::connect(gateway.admin_address()).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_healthy_gateway_is_alive_and_ready() {
    let (_upstream, gateway) = wiki().await;
    assert_eq!(get(&gateway, "/livez").await.status, 200);
    let ready = get(&gateway, "/readyz").await;
    assert_eq!(ready.status, 200);
    let told = ready.json();
    assert_eq!(told["ready"], true);
    for check in ["configuration", "audit", "serving"] {
        assert_eq!(told["checks"][check], "ok", "{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_cannot_be_written_is_not_ready_and_recovers() {
    let Some(disk) = SmallDisk::mount(512) else {
        return;
    };
    let upstream = Upstream::hello().await;
    let gateway = TestGateway::new()
        .on_disk(&disk)
        .app("wiki", upstream.address)
        .start()
        .await;
    let mut session = gateway.ada().session("wiki").await;
    disk.fill();
    eventually("not ready", async || {
        session.get("/").await;
        get(&gateway, "/readyz").await.status == 503
    })
    .await;
    assert!(get(&gateway, "/readyz").await.json()["checks"]["audit"] != "ok");
    assert_eq!(get(&gateway, "/livez").await.status, 200);
    let page = get(&gateway, "/metrics").await.text();
    assert!(page.contains("masugata_audit_healthy 0"), "{page}");
    disk.make_room();
    eventually("ready again", async || {
        session.get("/").await;
        get(&gateway, "/readyz").await.status == 200
    })
    .await;
}

/// OpenMetrics 1.0 text, as far as a scraper relies on it: samples belong to a described family, and the page ends.
fn scraped(page: &str) -> BTreeMap<String, f64> {
    assert!(page.ends_with("# EOF\n"), "{page}");
    let mut families = BTreeMap::new();
    let mut samples = BTreeMap::new();
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(
                families.insert(name.to_owned(), kind.to_owned()).is_none(),
                "{name} twice"
            );
        } else if !line.starts_with('#') {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let name = series.split('{').next().unwrap();
            let family = families
                .keys()
                .filter(|family| name.starts_with(family.as_str()))
                .max_by_key(|family| family.len());
            let family = family.unwrap_or_else(|| panic!("{name} has no family"));
            let suffix = &name[family.len()..];
            match families[family].as_str() {
                "counter" => assert_eq!(suffix, "_total", "{line}"),
                "gauge" => assert_eq!(suffix, "", "{line}"),
                "histogram" => assert!(["_bucket", "_sum", "_count"].contains(&suffix), "{line}"),
                "info" => assert_eq!(suffix, "_info", "{line}"),
                other => panic!("{other}"),
            }
            let value = value.parse().unwrap();
            assert!(
                samples.insert(series.to_owned(), value).is_none(),
                "{series} twice"
            );
        }
    }
    samples
}

#[tokio::test(flavor = "multi_thread")]
async fn the_metrics_count_what_happened() {
    let (_upstream, gateway) = wiki().await;
    let page = get(&gateway, "/metrics").await;
    assert!(
        page.header("content-type")
            .unwrap()
            .starts_with("application/openmetrics-text"),
        "{page:?}"
    );
    let before = scraped(&page.text());
    for _ in 0..5 {
        gateway.ada().get("wiki", "/").await;
    }
    for _ in 0..2 {
        gateway.ada().token("nonsense").get("wiki", "/").await;
    }
    gateway.ada().get("nowhere", "/").await;
    let after = scraped(&get(&gateway, "/metrics").await.text());
    let grown = |series: &str| {
        after
            .get(series)
            .copied()
            .unwrap_or_else(|| panic!("no {series}"))
            - before.get(series).copied().unwrap_or(0.0)
    };
    assert_eq!(
        grown("masugata_requests_total{app=\"wiki\",outcome=\"permitted\"}"),
        5.0
    );
    assert_eq!(
        grown("masugata_requests_total{app=\"wiki\",outcome=\"denied\"}"),
        2.0
    );
    assert_eq!(
        grown("masugata_denials_total{reason=\"route-not-found\"}"),
        1.0
    );
    assert_eq!(
        grown("masugata_responses_total{app=\"wiki\",class=\"2xx\"}"),
        5.0
    );
    assert!(
        grown("masugata_handshakes_total{kind=\"full\"}")
            + grown("masugata_handshakes_total{kind=\"resumed\"}")
            >= 8.0
    );
    assert_eq!(after["masugata_audit_healthy"], 1.0);
    assert_eq!(after["masugata_configuration_generation"], 1.0);
    // Nobody is named.
    let text = get(&gateway, "/metrics").await.text();
    for name in ["ada", "laptop", "employees"] {
        assert!(!text.contains(name), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_configuration_is_shown_whole_and_without_secrets() {
    let upstream = Upstream::hello().await;
    let gateway = TestGateway::new()
        .app_with(
            "wiki",
            "internal",
            upstream.address,
            "request_headers.set = { X-Api-Key = \"planted-secret\" }",
        )
        .start()
        .await;
    let answer = get(&gateway, "/config").await;
    assert_eq!(answer.status, 200);
    let shown = answer.json();
    assert_eq!(shown["app"][0]["name"], "wiki");
    assert_eq!(shown["app"][0]["level"], "internal");
    assert!(
        shown["ingress"]["bounds"]["header_count"].is_number(),
        "{shown:#}"
    );
    let text = answer.text();
    assert!(text.to_lowercase().contains("x-api-key"), "{text}");
    assert!(!text.contains("planted-secret"));
    for line in gateway
        .read("server.key")
        .lines()
        .filter(|line| !line.contains("-----"))
    {
        assert!(!text.contains(line));
    }
    assert_eq!(answer.header("cache-control"), Some("no-store"));
}

/// A web page can make a browser ask here, under a name that points here (DNS rebinding), or with a form.
#[tokio::test(flavor = "multi_thread")]
async fn names_that_are_not_ours_are_answered_nothing() {
    let (_upstream, gateway) = wiki().await;
    for host in [
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.nip.io",
        "wiki.corp.test",
        "evil@127.0.0.1",
        "127.0.0.1@evil.example",
        "0.0.0.0",
        "[::]",
    ] {
        for path in ["/config", "/metrics", "/livez", "/lockouts"] {
            let answer = http_get(gateway.admin_address(), path, host).await;
            assert!(
                matches!(answer.status.as_u16(), 400 | 421),
                "{host}{path}: {}",
                answer.status
            );
            assert!(!answer.text().contains("wiki"), "{host}{path}");
        }
    }
    for host in ["localhost", "127.0.0.1", "LOCALHOST:9180", "[::1]"] {
        assert_eq!(
            http_get(gateway.admin_address(), "/livez", host)
                .await
                .status,
            200,
            "{host}"
        );
    }
    for request in [
        "GET /config HTTP/1.1\r\n\r\n",
        "GET /config HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n",
        "GET http://evil.example/config HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /config HTTP/1.0\r\n\r\n",
    ] {
        let answer = raw(&gateway, request).await;
        assert!(
            answer.starts_with("HTTP/1.1 4") || answer.starts_with("HTTP/1.0 4"),
            "{request:?}: {answer}"
        );
    }
    let told = get(&gateway, "/livez").await;
    assert!(told.header("access-control-allow-origin").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_need_a_header_that_a_page_cannot_send() {
    let (_upstream, gateway) = wiki().await;
    for method in [
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::OPTIONS,
        Method::TRACE,
    ] {
        for path in ["/config", "/readyz", "/lockouts", "/lockouts/abc"] {
            let answer = raw(&gateway, &format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nOrigin: https://evil.example\r\nContent-Length: 0\r\n\r\n")).await;
            assert!(
                answer.starts_with("HTTP/1.1 405"),
                "{method} {path}: {answer}"
            );
        }
    }
    let answer = raw(
        &gateway,
        "DELETE /lockouts/abc HTTP/1.1\r\nHost: localhost\r\n\r\n",
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    let answer = raw(
        &gateway,
        "DELETE /lockouts/abc HTTP/1.1\r\nHost: localhost\r\nMasugata-Admin: 1\r\n\r\n",
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_listens_on_this_machine_unless_the_contrary_is_written() {
    let upstream = Upstream::hello().await;
    let prepared = TestGateway::new().app("wiki", upstream.address).prepare();
    let config = prepared.read("masugata.toml");
    let remote = config.replace(
        "[admin]\nlisten = \"127.0.0.1:0\"",
        "[admin]\nlisten = \"0.0.0.0:0\"",
    );
    assert_ne!(config, remote);
    prepared.write("masugata.toml", &remote);
    let checked = masugata_tests::masugata([
        "check".as_ref(),
        "-c".as_ref(),
        prepared.config().as_os_str(),
    ]);
    assert_eq!(checked.code, Some(2));
    assert!(checked.err.contains("allow_remote"), "{}", checked.err);
}

/// Nothing of it is reachable through the front door, under any name.
#[tokio::test(flavor = "multi_thread")]
async fn the_front_door_does_not_lead_there() {
    let (upstream, gateway) = wiki().await;
    for path in ["/livez", "/readyz", "/metrics", "/config", "/lockouts"] {
        assert_eq!(gateway.ada().get("wiki", path).await.text(), "hello");
        assert_eq!(upstream.last().uri.path(), path);
    }
}
