//! Using up what others need.

use http::Method;
use masugata_tests::{TestGateway, Upstream, assert_denied, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn clients_behind_a_proxy_do_not_share_its_connections() {
    let upstream = Upstream::hello().await;
    let gateway = TestGateway::new()
        .app("wiki", upstream.address)
        .ingress("proxy_protocol_from = [\"127.0.0.1/32\"]\nbounds.connections_per_address = 1")
        .start()
        .await;
    let client = gateway.client().device(&gateway.device("laptop"));
    let from = |address: &str| {
        let preface = format!("PROXY TCP4 {address} 192.0.2.1 5000 443\r\n");
        client.clone().preface(preface.as_bytes())
    };
    let (one, other) = (from("198.51.100.1"), from("198.51.100.2"));
    let held = one.stream("wiki").await.unwrap();
    assert!(one.stream("wiki").await.is_err());
    let _other = other.stream("wiki").await.unwrap();
    drop(held);
    eventually("the first address has room again", async || {
        one.stream("wiki").await.is_ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_are_counted_over_http2_too() {
    let upstream = Upstream::hello().await;
    let gateway = TestGateway::new()
        .app("wiki", upstream.address)
        .ingress("bounds.header_count = 40")
        .start()
        .await;
    let many = |name: fn(usize) -> String| {
        (0..60).fold(gateway.ada().h2(), |client, at| {
            client.header(&name(at), "value")
        })
    };
    let answer = many(|at| format!("x-{at}")).get("wiki", "/").await;
    assert_denied(&answer, "header-too-large");
    let answer = many(|_| "x-same".into()).get("wiki", "/").await;
    assert_denied(&answer, "header-too-large");
    // Browsers send each cookie in a field of its own.
    let answer = many(|_| "cookie".into()).get("wiki", "/").await;
    assert_eq!(answer.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_to_head_has_no_body_in_either_protocol() {
    let upstream = Upstream::hello().await;
    let gateway = TestGateway::new()
        .app("wiki", upstream.address)
        .start()
        .await;
    let stranger = gateway.client().device(&gateway.device("laptop"));
    for client in [stranger.clone(), stranger.h2()] {
        let mut session = client.session("wiki").await;
        for _ in 0..2 {
            let answer = session.request(Method::HEAD, "/", "").await;
            assert_eq!((answer.status.as_u16(), answer.body.len()), (401, 0));
        }
    }
}
