//! What can go wrong upstream, each with its code; limits of time and number; leases that end.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::world::*;
use crate::config::{App, Upstream};

fn ms(number: u64) -> Duration {
    Duration::from_millis(number)
}

async fn silent() -> std::net::SocketAddr {
    raw(|_, mut stream| async move {
        let mut sink = Vec::new();
        let _ = stream.read_to_end(&mut sink).await;
    })
    .await
}

fn with(address: std::net::SocketAddr, change: impl FnOnce(&mut App)) -> App {
    let mut app = app(upstream(&[address]));
    change(&mut app);
    app
}

#[tokio::test]
async fn nobody_listening_is_upstream_unreachable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let gateway = gateway(&app(upstream(&[address]))).await;
    let answer = get(&gateway, "/").await;
    assert!(answer.starts_with("HTTP/1.1 502"), "{answer}");
    assert!(answer.contains("x-code: upstream-unreachable"), "{answer}");
}

#[tokio::test]
async fn a_name_without_an_address_is_upstream_unresolved() {
    let mut upstream = upstream(&["127.0.0.1:1".parse().unwrap()]);
    upstream.servers[0].authority = "does-not-exist.invalid:80".parse().unwrap();
    let gateway = gateway(&app(upstream)).await;
    let answer = get(&gateway, "/").await;
    assert!(answer.contains("x-code: upstream-unresolved"), "{answer}");
}

#[tokio::test]
async fn no_response_head_in_time_is_upstream_timeout() {
    let address = silent().await;
    let gateway = gateway(&with(address, |app| app.timeouts.response_header = ms(200))).await;
    let started = tokio::time::Instant::now();
    let answer = get(&gateway, "/").await;
    assert!(answer.starts_with("HTTP/1.1 504"), "{answer}");
    assert!(answer.contains("x-code: upstream-timeout"), "{answer}");
    assert!(started.elapsed() < ms(1500));
}

#[tokio::test]
async fn no_response_head_from_http2_in_time_is_upstream_timeout() {
    let address = h2c(|_| async {
        tokio::time::sleep(Duration::from_secs(30)).await;
        http::Response::new(Full::new(Bytes::new()))
    })
    .await;
    let mut configured = app(http2_only(address));
    configured.timeouts.response_header = ms(200);
    let gateway = gateway(&configured).await;
    let answer = get(&gateway, "/").await;
    assert!(answer.contains("x-code: upstream-timeout"), "{answer}");
}

#[tokio::test]
async fn a_stream_that_falls_silent_is_cut_and_seen_to_be() {
    let address = raw(|_, mut stream| async move {
        read_head(&mut stream).await.unwrap();
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n")
            .await
            .unwrap();
        tokio::time::sleep(Duration::from_secs(30)).await;
    })
    .await;
    let gateway = gateway(&with(address, |app| app.timeouts.idle = ms(300))).await;
    let started = tokio::time::Instant::now();
    let answer = get(&gateway, "/").await;
    assert!(answer.ends_with("2\r\nhi\r\n"), "{answer}");
    assert!(started.elapsed() < Duration::from_secs(5));
}

/// Sends a chunk every 50 ms for ever.
async fn chatty() -> std::net::SocketAddr {
    raw(|_, mut stream| async move {
        read_head(&mut stream).await.unwrap();
        let _ = stream
            .write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
            .await;
        while stream.write_all(b"2\r\nhi\r\n").await.is_ok() {
            tokio::time::sleep(ms(50)).await;
        }
    })
    .await
}

#[tokio::test]
async fn a_stream_that_goes_on_is_not_idle_but_ends_with_its_total_time() {
    let address = chatty().await;
    let gateway = gateway(&with(address, |app| {
        app.timeouts.idle = ms(300);
        app.timeouts.total = Some(ms(1000));
    }))
    .await;
    let started = tokio::time::Instant::now();
    let answer = get(&gateway, "/").await;
    assert!(started.elapsed() >= ms(900), "{:?}", started.elapsed());
    assert!(started.elapsed() < ms(4000));
    assert!(!answer.ends_with("0\r\n\r\n"));
}

#[tokio::test]
async fn a_client_that_stops_sending_its_body_is_told_so() {
    let address = silent().await;
    let gateway = gateway(&with(address, |app| app.timeouts.idle = ms(300))).await;
    let answer = talk(
        &gateway,
        "POST / HTTP/1.1\r\nhost: app.example\r\nconnection: close\r\ncontent-length: 10\r\n\r\nhalf",
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(answer.contains("request-timeout"));
}

#[tokio::test]
async fn a_lease_that_ends_cuts_a_stream_within_two_seconds() {
    let address = chatty().await;
    let gateway = gateway(&app(upstream(&[address]))).await;
    let mut client = TcpStream::connect(gateway.address).await.unwrap();
    client
        .write_all(b"GET / HTTP/1.1\r\nhost: app.example\r\n\r\n")
        .await
        .unwrap();
    read_head(&mut client).await.unwrap();
    gateway.tether.0.store(true, Ordering::Relaxed);
    let mut rest = Vec::new();
    tokio::time::timeout(Duration::from_secs(3), client.read_to_end(&mut rest))
        .await
        .expect("cut")
        .ok();
    assert!(!rest.ends_with(b"0\r\n\r\n"));
}

#[tokio::test]
async fn a_stream_that_never_pauses_cannot_outrun_its_lease() {
    let address = raw(|_, mut stream| async move {
        read_head(&mut stream).await.unwrap();
        let _ = stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100000000000\r\n\r\n")
            .await;
        let chunk = vec![0; 256 * 1024];
        while stream.write_all(&chunk).await.is_ok() {}
    })
    .await;
    let gateway = gateway(&app(upstream(&[address]))).await;
    let mut client = TcpStream::connect(gateway.address).await.unwrap();
    client
        .write_all(b"GET / HTTP/1.1\r\nhost: app.example\r\n\r\n")
        .await
        .unwrap();
    read_head(&mut client).await.unwrap();
    gateway.tether.0.store(true, Ordering::Relaxed);
    let reading = async {
        let mut sink = vec![0; 1024 * 1024];
        while matches!(client.read(&mut sink).await, Ok(read) if read > 0) {}
    };
    tokio::time::timeout(Duration::from_secs(4), reading)
        .await
        .expect("cut");
}

#[tokio::test]
async fn a_lease_that_ends_while_the_upstream_thinks_is_a_denial() {
    let address = silent().await;
    let gateway = gateway(&app(upstream(&[address]))).await;
    gateway.tether.0.store(true, Ordering::Relaxed);
    let answer = get(&gateway, "/").await;
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    assert!(answer.contains("device-suspended"));
}

#[tokio::test]
async fn a_lease_that_ends_resets_an_http2_stream_and_its_upload() {
    let address = h2c(|request| async { http::Response::new(request.into_body()) }).await;
    let gateway = http2_gateway(&app(http2_only(address))).await;
    let mut client = http2_client(&gateway).await;
    let (hold, held) = tokio::io::duplex(16);
    struct Never(tokio::io::DuplexStream, bool);
    impl hyper::body::Body for Never {
        type Data = Bytes;
        type Error = std::convert::Infallible;
        fn poll_frame(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
            if std::mem::replace(&mut self.1, false) {
                std::task::Poll::Ready(Some(Ok(http_body::Frame::data(Bytes::from("x")))))
            } else {
                let _ = &self.0;
                std::task::Poll::Pending
            }
        }
    }
    let answer = client
        .send_request(request("POST", "/", Never(held, true)))
        .await
        .unwrap();
    let mut body = answer.into_body();
    assert_eq!(
        body.frame().await.unwrap().unwrap().into_data().unwrap(),
        "x"
    );
    gateway.tether.0.store(true, Ordering::Relaxed);
    let ended = tokio::time::timeout(Duration::from_secs(3), body.frame()).await;
    assert!(ended.expect("cut").unwrap().is_err());
    drop(hold);
    tokio::time::sleep(ms(200)).await;
    assert_eq!(gateway.app.group().servers()[0].in_flight(), 0);
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let address = raw(|_, mut stream| async move {
        read_head(&mut stream).await.unwrap();
        let _ = stream
            .write_all(format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(300_000)).as_bytes())
            .await;
        tokio::time::sleep(Duration::from_secs(5)).await;
    })
    .await;
    let gateway = gateway(&app(upstream(&[address]))).await;
    let answer = get(&gateway, "/").await;
    assert!(answer.starts_with("HTTP/1.1 502"), "{answer}");
    assert!(answer.contains("upstream-header-too-large"), "{answer}");
}

#[tokio::test]
async fn an_upstream_that_switches_protocols_unasked_is_refused() {
    let (address, _) =
        fixed("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n")
            .await;
    let gateway = gateway(&app(upstream(&[address]))).await;
    let answer = get(&gateway, "/").await;
    assert!(answer.starts_with("HTTP/1.1 502"), "{answer}");
    assert!(answer.contains("upstream-protocol"), "{answer}");
}

#[tokio::test]
async fn an_early_hint_does_not_confuse_the_answer() {
    let (address, _) = fixed(
        "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
    )
    .await;
    let gateway = gateway(&app(upstream(&[address]))).await;
    let answer = get(&gateway, "/").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

/// Answers after a while, and counts how many it works on at once.
async fn slow(delay: Duration) -> (std::net::SocketAddr, Seen) {
    let seen = Seen::default();
    let kept = seen.clone();
    let address = raw(move |_, mut stream| {
        let seen = seen.clone();
        async move {
            seen.connections.fetch_add(1, Ordering::SeqCst);
            while read_head(&mut stream).await.is_some() {
                tokio::time::sleep(delay).await;
                let _ = stream
                    .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
                    .await;
            }
        }
    })
    .await;
    (address, kept)
}

#[tokio::test]
async fn no_more_connections_than_allowed_and_the_rest_wait() {
    let (address, seen) = slow(ms(50)).await;
    let gateway = std::sync::Arc::new(
        gateway(&app(Upstream {
            max_connections: 2,
            ..upstream(&[address])
        }))
        .await,
    );
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let gateway = std::sync::Arc::clone(&gateway);
        all.spawn(async move { get(&gateway, "/").await });
    }
    for answer in all.join_all().await {
        assert!(answer.ends_with("ok"), "{answer}");
    }
    assert_eq!(seen.connections(), 2);
}

#[tokio::test]
async fn waiting_for_a_connection_ends_with_the_connect_timeout() {
    let (address, _) = slow(Duration::from_secs(5)).await;
    let mut configured = app(Upstream {
        max_connections: 1,
        ..upstream(&[address])
    });
    configured.timeouts.connect = ms(200);
    let gateway = std::sync::Arc::new(gateway(&configured).await);
    let first = std::sync::Arc::clone(&gateway);
    tokio::spawn(async move { get(&first, "/").await });
    tokio::time::sleep(ms(100)).await;
    let answer = get(&gateway, "/").await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.contains("upstream-saturated"), "{answer}");
}

#[tokio::test]
async fn idle_connections_are_closed_when_their_time_is_over() {
    let (address, seen) = fixed("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    let gateway = gateway(&app(Upstream {
        idle_timeout: ms(500),
        ..upstream(&[address])
    }))
    .await;
    get(&gateway, "/").await;
    let server = std::sync::Arc::clone(&gateway.app.group().servers()[0]);
    assert_eq!(server.idle_connections(), 1);
    tokio::time::sleep(ms(4500)).await;
    assert_eq!(server.idle_connections(), 0, "swept");
    get(&gateway, "/").await;
    assert_eq!(seen.connections(), 2);
}

#[tokio::test]
async fn a_second_address_is_tried_when_the_first_refuses() {
    // `localhost` has two addresses on most machines; the upstream listens on one of them.
    let (address, _) = fixed("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    let mut upstream = upstream(&[address]);
    upstream.servers[0].authority = format!("localhost:{}", address.port()).parse().unwrap();
    let gateway = gateway(&app(upstream)).await;
    assert!(get(&gateway, "/").await.ends_with("ok"));
}

#[tokio::test]
async fn an_upstream_over_tls_that_is_none_is_upstream_tls() {
    let address = silent().await;
    let mut upstream = upstream(&[address]);
    upstream.servers[0].scheme = http::uri::Scheme::HTTPS;
    upstream.tls.insecure = true;
    let mut configured = app(upstream);
    configured.timeouts.connect = ms(300);
    let started: Instant = tokio::time::Instant::now().into_std();
    let gateway = gateway(&configured).await;
    let answer = get(&gateway, "/").await;
    assert!(answer.contains("upstream-connect-timeout"), "{answer}");
    assert!(tokio::time::Instant::now().into_std() - started < Duration::from_secs(5));
}
