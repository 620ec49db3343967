//! Trust that ends while connections are open.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use masugata_tests::{Pki, RawUpstream, TestGateway};

fn pem(pki: &Pki) -> String {
    format!(
        "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
        STANDARD.encode(pki.root())
    )
}

/// A gateway that trusts a second CA for now, and that CA.
async fn with_second_ca(upstream: std::net::SocketAddr) -> (TestGateway, Arc<Pki>) {
    let gateway = TestGateway::new()
        .app_with("wiki", "internal", upstream, "upgrades = true")
        .start()
        .await;
    let second = Arc::new(Pki::new(gateway.clock.seconds()));
    let first = gateway.read("ca.pem");
    gateway.write("ca.pem", &format!("{first}{}", pem(&second)));
    gateway.gateway().reload().await.unwrap();
    gateway.write("ca-without-second.pem", &first);
    (gateway, second)
}

async fn distrust(gateway: &TestGateway) {
    gateway.write("ca.pem", &gateway.read("ca-without-second.pem"));
    gateway.gateway().reload().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_that_is_taken_out_ends_open_streams() {
    let upstream = RawUpstream::websocket().await;
    let (gateway, second) = with_second_ca(upstream.address).await;
    let token = gateway.token("ada").sign();
    let client = gateway.client().device(&second.device("laptop"));
    let mut stream = client.tunnel("wiki", Some(&token)).await;
    distrust(&gateway).await;
    assert_eq!(stream.rest().await, "");
}
