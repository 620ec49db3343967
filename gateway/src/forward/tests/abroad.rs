//! Destinations on the Internet, reached at addresses that were checked.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::world::{Gateway, Seen, fixed, gateway_to, instance, raw, read_head, talk};
use crate::config::Timeouts;
use crate::config::egress::{DomainPattern, Reach};
use crate::egress::guard::{Checked, Guard, OwnAddresses};
use crate::egress::plain::Plain;
use crate::forward::AppForward;

const HOST: &str = "plain.example";

fn checked(at: SocketAddr) -> Checked {
    let reach = Reach {
        hosts: vec![DomainPattern {
            name: HOST.to_owned(),
            below: false,
        }],
        ranges: vec!["127.0.0.0/8".parse().unwrap()],
        ports: vec![at.port()],
    };
    let guard = Guard::new(&[reach], OwnAddresses::default());
    guard.check(HOST, vec![at]).unwrap()
}

/// A destination named `plain.example:80`, wherever it really is.
fn destination(at: SocketAddr) -> (Arc<Plain>, Arc<AppForward>) {
    let timeouts = Timeouts {
        connect: Duration::from_secs(5),
        response_header: Duration::from_secs(5),
        idle: Duration::from_secs(5),
        total: None,
    };
    let plain = Plain::build(&timeouts, &instance(), None);
    let app = plain.app_for(HOST, 80, &checked(at)).unwrap();
    (plain, app)
}

async fn world() -> (Arc<Plain>, Seen, Gateway) {
    let (origin, seen) = fixed("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").await;
    let (plain, app) = destination(origin);
    let gateway = gateway_to(app).await;
    (plain, seen, gateway)
}

#[tokio::test]
async fn the_host_is_the_target_s_and_nothing_tells_of_the_client() {
    let (_plain, seen, gateway) = world().await;
    let answer = talk(
        &gateway,
        "GET http://plain.example/a?b HTTP/1.1\r\nHost: other.example\r\nAuthorization: Basic abc\r\n\
         Proxy-Authorization: Bearer for-us\r\nX-Forwarded-For: 10.0.0.1\r\nConnection: close\r\n\r\n",
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let head = seen.last().to_lowercase();
    assert!(head.starts_with("get /a?b http/1.1\r\n"), "{head}");
    assert!(head.contains("\r\nhost: plain.example\r\n"), "{head}");
    assert_eq!(head.matches("host:").count(), 1, "{head}");
    assert!(head.contains("\r\nauthorization: basic abc\r\n"), "{head}");
    assert!(head.contains("\r\nvia: 1.1 masugata-"), "{head}");
    for gone in [
        "proxy-",
        "forwarded",
        "x-request-id",
        "masugata-assertion",
        "10.0.0.1",
        "127.0.0.1",
    ] {
        assert!(!head.contains(gone), "{gone}: {head}");
    }
}

#[tokio::test]
async fn connections_are_kept_for_the_next_request() {
    let (_plain, seen, gateway) = world().await;
    for _ in 0..3 {
        let request = "GET http://plain.example/ HTTP/1.1\r\nHost: plain.example\r\nConnection: close\r\n\r\n";
        assert!(talk(&gateway, request).await.starts_with("HTTP/1.1 200 "));
    }
    assert_eq!(seen.connections(), 1);
}

#[tokio::test]
async fn a_websocket_is_upgraded_to() {
    use tokio::io::AsyncWriteExt as _;
    let origin = raw(|_, mut stream| async move {
        let head = read_head(&mut stream).await.unwrap();
        assert!(head.to_lowercase().contains("upgrade: websocket"), "{head}");
        let answer = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
                      Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\nhello";
        stream.write_all(answer.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
    })
    .await;
    let (_plain, app) = destination(origin);
    let gateway = gateway_to(app).await;
    let answer = talk(
        &gateway,
        "GET http://plain.example/ws HTTP/1.1\r\nHost: plain.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    assert!(answer.ends_with("\r\n\r\nhello"), "{answer}");
}

#[tokio::test]
async fn nobody_there_is_said_and_nothing_is_looked_up() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = listener.local_addr().unwrap();
    drop(listener);
    let (_plain, app) = destination(closed);
    let gateway = gateway_to(app).await;
    let request =
        "GET http://plain.example/ HTTP/1.1\r\nHost: plain.example\r\nConnection: close\r\n\r\n";
    let answer = talk(&gateway, request).await;
    assert!(answer.contains("upstream-unreachable"), "{answer}");
}
