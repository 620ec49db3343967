//! Streams that try to outlive what let them through.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http_body::Frame;
use http_body_util::BodyExt as _;
use masugata_tests::{
    RawUpstream, TestGateway, TestGatewayBuilder, TokenIssuer, Upstream, Wire, eventually, hours,
};

async fn chat(upstream: &RawUpstream) -> TestGatewayBuilder {
    TestGateway::new().app_with("chat", "internal", upstream.address, "upgrades = true")
}

/// ada's WebSocket on a gateway with an app that echoes.
async fn open(gateway: &TestGateway) -> Wire {
    let client = gateway.client().device(&gateway.device("laptop"));
    client
        .tunnel("chat", Some(&gateway.token("ada").sign()))
        .await
}

async fn change(gateway: &TestGateway, from: &str, to: &str) {
    let text = gateway.read("masugata.toml");
    assert!(text.contains(from), "{text}");
    gateway.write("masugata.toml", &text.replace(from, to));
    gateway.gateway().reload().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_that_changes_nothing_for_a_stream_leaves_it_alone() {
    let upstream = RawUpstream::websocket().await;
    let gateway = chat(&upstream).await.start().await;
    let mut stream = open(&gateway).await;
    gateway.gateway().reload().await.unwrap();
    gateway.clock.advance(Duration::from_secs(600));
    // Longer than a lease takes to be asked.
    for _ in 0..15 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        stream.echoes().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_its_issuer_withdraws_ends_the_streams_of_its_tokens() {
    let upstream = RawUpstream::websocket().await;
    let gateway = chat(&upstream).await.start().await;
    let mut stream = open(&gateway).await;
    // The stolen key is replaced, under the same name.
    let next = TokenIssuer::new("https://idp.test", "masugata", "key-1");
    gateway.write("jwks.json", &next.jwks().to_string());
    gateway.gateway().reload().await.unwrap();
    assert_eq!(stream.rest().await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_that_is_believed_for_less_ends_its_streams() {
    let upstream = RawUpstream::websocket().await;
    let gateway = chat(&upstream).await.start().await;
    let mut stream = open(&gateway).await;
    change(
        &gateway,
        "audiences = [\"masugata\"]",
        "audiences = [\"another\"]",
    )
    .await;
    assert_eq!(stream.rest().await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_takes_no_upgrades_any_more_closes_those_it_took() {
    let upstream = RawUpstream::websocket().await;
    let gateway = chat(&upstream).await.start().await;
    let mut stream = open(&gateway).await;
    change(&gateway, "upgrades = true", "upgrades = false").await;
    assert_eq!(stream.rest().await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_account_that_leaves_a_group_leaves_its_streams() {
    let upstream = RawUpstream::websocket().await;
    let gateway = TestGateway::new()
        .app_with(
            "chat",
            "internal",
            upstream.address,
            "upgrades = true\nrequire.multi_factor = false",
        )
        .device("server", "kind = \"server\"")
        .config("[[service]]\nname = \"backup\"\ndevice = \"server\"\ngroups = [\"employees\"]")
        .start()
        .await;
    let client = gateway.client().device(&gateway.device("server"));
    let mut stream = client.tunnel("chat", None).await;
    change(
        &gateway,
        "groups = [\"employees\"]",
        "groups = [\"visitors\"]",
    )
    .await;
    assert_eq!(stream.rest().await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_set_back_does_not_prolong_a_lease() {
    let upstream = RawUpstream::websocket().await;
    let gateway = TestGateway::new()
        .app_with(
            "chat",
            "internal",
            upstream.address,
            "upgrades = true\nrequire.posture = [\"disk_encrypted\"]",
        )
        .start()
        .await;
    let mut stream = open(&gateway).await;
    // Time for the lease to be asked once. If it was not, it is asked in full now, and the test proves less.
    tokio::time::sleep(Duration::from_millis(1300)).await;
    stream.echoes().await;
    // From here on the posture was seen in the future, which is not believed.
    gateway.clock.set_back(hours(1));
    assert_eq!(stream.rest().await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_keeps_its_place_under_the_cap_of_its_address() {
    let upstream = RawUpstream::websocket().await;
    let gateway = chat(&upstream)
        .await
        .ingress("bounds.connections_per_address = 2")
        .start()
        .await;
    let first = open(&gateway).await;
    let _second = open(&gateway).await;
    let client = gateway.client().device(&gateway.device("laptop"));
    assert!(client.stream("chat").await.is_err());
    drop(first);
    eventually("there is room again", async || {
        client.stream("chat").await.is_ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_tunnels_and_records_how() {
    let upstream = RawUpstream::websocket().await;
    let gateway = chat(&upstream)
        .await
        .ingress("bounds.drain = \"1s\"")
        .start()
        .await;
    let mut stream = open(&gateway).await;
    let (records, rest) = tokio::join!(gateway.records(), stream.rest());
    assert_eq!(rest, "");
    let completions: Vec<_> = records
        .iter()
        .filter(|record| record["type"] == "completion")
        .collect();
    assert_eq!(completions.len(), 1, "{records:?}");
    assert_eq!(completions[0]["outcome"], "shut-down", "{records:?}");
}

/// As much as is taken.
struct Endless;

impl http_body::Body for Endless {
    type Data = Bytes;
    type Error = Infallible;
    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(
            &[b'x'; 64 * 1024],
        )))))
    }
}

/// Sets a flag when it goes.
struct Ends(Arc<AtomicBool>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_ends_with_its_lease_although_nobody_reads_the_answer() {
    let ended = Arc::new(AtomicBool::new(false));
    let (begun, flag) = (Arc::new(AtomicBool::new(false)), Arc::clone(&ended));
    let started = Arc::clone(&begun);
    let upstream = Upstream::new(move |request| {
        let (ends, started) = (Ends(Arc::clone(&flag)), Arc::clone(&started));
        async move {
            let mut body = request.into_body();
            tokio::spawn(async move {
                let _ends = ends;
                while let Some(Ok(_)) = body.frame().await {
                    started.store(true, Ordering::SeqCst);
                }
            });
            Response::new(Endless.boxed())
        }
    })
    .await;
    let gateway = TestGateway::new()
        .app("wiki", upstream.address)
        .start()
        .await;
    let token = gateway.token("ada").sign();
    let client = gateway.client().device(&gateway.device("laptop"));
    let mut wire = client.wire("wiki").await;
    wire.send(format!(
        "POST / HTTP/1.1\r\nhost: wiki.corp.test\r\nauthorization: Bearer {token}\r\n\
         transfer-encoding: chunked\r\n\r\n"
    ))
    .await;
    let upload = tokio::spawn(async move {
        while wire.try_send("4\r\ndata\r\n").await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    eventually("the upload runs", async || begun.load(Ordering::SeqCst)).await;
    let devices = gateway.read("devices.toml");
    let suspended = devices.replace("id = \"laptop\"", "id = \"laptop\"\nstate = \"suspended\"");
    gateway.write("devices.toml", &suspended);
    gateway.gateway().reload().await.unwrap();
    eventually("the upload has ended", async || {
        ended.load(Ordering::SeqCst)
    })
    .await;
    upload.abort();
}
