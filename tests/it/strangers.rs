//! Clients that do not get as far as a request.

use masugata_tests::{TestGateway, Upstream};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// In TLS 1.3 a client believes that the handshake is over, and sends its request, before it is refused.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_without_certificate_can_read_why_it_is_refused() {
    let upstream = Upstream::hello().await;
    let gateway = TestGateway::new()
        .app("wiki", upstream.address)
        .start()
        .await;
    let mut stream = gateway.client().stream("wiki").await.unwrap();
    stream.write_all(&[b'x'; 8192]).await.unwrap();
    stream.get_ref().0.readable().await.unwrap();
    // A reset would take the address away, and with it the alert from many clients.
    stream.get_ref().0.peer_addr().unwrap();
    let error = stream.read(&mut [0; 16]).await.unwrap_err();
    assert!(error.to_string().contains("CertificateRequired"), "{error}");
}
