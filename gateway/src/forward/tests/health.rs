//! Several servers: who gets a request, who is left alone, and when nobody is left.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use super::world::*;
use crate::config::{HealthCheck, PassiveHealth, Upstream};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

async fn dead() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}

#[tokio::test]
async fn equals_take_turns() {
    let (first, one) = fixed(OK).await;
    let (second, two) = fixed(OK).await;
    let gateway = gateway(&app(upstream(&[first, second]))).await;
    for _ in 0..10 {
        get(&gateway, "/").await;
    }
    assert_eq!((one.heads().len(), two.heads().len()), (5, 5));
}

#[tokio::test]
async fn the_server_with_less_to_do_is_chosen() {
    let busy = raw(|_, mut stream| async move {
        read_head(&mut stream).await.unwrap();
        tokio::time::sleep(Duration::from_secs(30)).await;
        drop(stream);
    })
    .await;
    let (free, seen) = fixed(OK).await;
    let gateway = Arc::new(gateway(&app(upstream(&[busy, free]))).await);
    // One of these two hangs at the busy one.
    for _ in 0..2 {
        let gateway = Arc::clone(&gateway);
        tokio::spawn(async move { get(&gateway, "/").await });
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let before = seen.heads().len();
    for _ in 0..6 {
        assert!(get(&gateway, "/").await.ends_with("ok"));
    }
    assert_eq!(seen.heads().len() - before, 6);
}

#[tokio::test]
async fn a_dead_server_costs_no_request_and_is_ejected() {
    let gone = dead().await;
    let (alive, _) = fixed(OK).await;
    let gateway = gateway(&app(Upstream {
        passive: PassiveHealth {
            failures: 2,
            ejection: Duration::from_secs(60),
        },
        ..upstream(&[gone, alive])
    }))
    .await;
    for _ in 0..10 {
        assert!(get(&gateway, "/").await.ends_with("ok"));
    }
    let servers = gateway.app.group().servers();
    assert!(servers[0].is_ejected());
    assert!(!servers[1].is_ejected());
}

#[tokio::test]
async fn even_a_post_goes_to_another_server_when_nothing_was_sent() {
    let gone = dead().await;
    let (alive, seen) = fixed(OK).await;
    let gateway = gateway(&app(upstream(&[gone, alive]))).await;
    for _ in 0..2 {
        let answer = talk(
            &gateway,
            "POST / HTTP/1.1\r\nhost: app.example\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
        )
        .await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    assert_eq!(seen.heads().len(), 2);
}

#[tokio::test]
async fn gateway_errors_in_a_row_eject_and_success_forgives() {
    let (bad, _) = fixed("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n").await;
    let (good, _) = fixed(OK).await;
    let gateway = gateway(&app(Upstream {
        passive: PassiveHealth {
            failures: 2,
            ejection: Duration::from_millis(600),
        },
        ..upstream(&[bad, good])
    }))
    .await;
    for _ in 0..6 {
        get(&gateway, "/").await;
    }
    assert!(gateway.app.group().servers()[0].is_ejected());
    tokio::time::sleep(Duration::from_millis(1800)).await;
    assert!(!gateway.app.group().servers()[0].is_ejected());
}

#[tokio::test]
async fn the_last_server_is_never_ejected() {
    let (only, seen) = fixed("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n").await;
    let gateway = gateway(&app(upstream(&[only]))).await;
    for _ in 0..8 {
        let answer = get(&gateway, "/").await;
        assert!(!answer.contains("no-healthy-upstream"), "{answer}");
    }
    assert_eq!(seen.heads().len(), 8);
}

fn checked(address: SocketAddr) -> Upstream {
    Upstream {
        health: Some(HealthCheck {
            path: "/healthz".to_owned(),
            interval: Duration::from_millis(50),
            timeout: Duration::from_millis(500),
            healthy_after: 2,
            unhealthy_after: 2,
            statuses: (200, 299),
        }),
        ..upstream(&[address])
    }
}

async fn until(what: impl Fn() -> bool) {
    for _ in 0..100 {
        if what() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("it did not happen");
}

#[tokio::test]
async fn a_server_that_fails_its_checks_gets_nothing_until_it_passes_again() {
    let well = Arc::new(AtomicBool::new(true));
    let state = Arc::clone(&well);
    let address = raw(move |_, mut stream| {
        let well = Arc::clone(&state);
        async move {
            while let Some(head) = read_head(&mut stream).await {
                let answer = if head.starts_with("GET /healthz") && !well.load(Ordering::SeqCst) {
                    "HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n"
                } else {
                    OK
                };
                if stream.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
        }
    })
    .await;
    let gateway = gateway(&app(checked(address))).await;
    assert!(get(&gateway, "/").await.ends_with("ok"));
    let server = Arc::clone(&gateway.app.group().servers()[0]);
    well.store(false, Ordering::SeqCst);
    until(|| !server.is_healthy()).await;
    let answer = get(&gateway, "/").await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.contains("no-healthy-upstream"), "{answer}");
    well.store(true, Ordering::SeqCst);
    until(|| server.is_healthy()).await;
    assert!(get(&gateway, "/").await.ends_with("ok"));
}

#[tokio::test]
async fn checks_end_with_the_group() {
    let (address, seen) = fixed(OK).await;
    let prepared = prepared(&app(checked(address)));
    until(|| seen.heads().len() > 2).await;
    assert!(seen.last().starts_with("GET /healthz HTTP/1.1\r\n"));
    drop(prepared);
    tokio::time::sleep(Duration::from_millis(200)).await;
    let after = seen.heads().len();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(seen.heads().len(), after);
}

#[tokio::test]
async fn http2_servers_are_checked_too() {
    let address = h2c(|_| async {
        http::Response::builder()
            .status(503)
            .body(http_body_util::Empty::<bytes::Bytes>::new())
            .unwrap()
    })
    .await;
    let mut upstream = checked(address);
    upstream.protocol = crate::config::UpstreamProtocol::Http2;
    let prepared = prepared(&app(upstream));
    let server = Arc::clone(&prepared.group().servers()[0]);
    until(|| !server.is_healthy()).await;
}
