//! WebSockets and other upgrades, from clients of both versions to upstreams of both.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Empty;
use hyper::ext::Protocol;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::world::*;

const ASK: &str = "GET /ws?x=1 HTTP/1.1\r\nhost: app.example\r\nconnection: keep-alive, Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-protocol: chat\r\n\r\n";

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines()
        .find_map(|line| line.strip_prefix(&format!("{name}: ")))
}

fn accept_for(key: &str) -> String {
    use base64::Engine;
    let hash = aws_lc_rs::digest::digest(
        &aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY,
        format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11").as_bytes(),
    );
    base64::engine::general_purpose::STANDARD.encode(hash)
}

/// Accepts a WebSocket over HTTP/1.1 and echoes bytes; a first byte `!` makes it end the conversation.
async fn echoing() -> (std::net::SocketAddr, Seen) {
    let seen = Seen::default();
    let kept = seen.clone();
    let address = raw(move |_, mut stream| {
        let seen = seen.clone();
        async move {
            let head = read_head(&mut stream).await.unwrap();
            let key = header(&head, "sec-websocket-key").unwrap_or_default();
            let answer = format!(
                "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: {}\r\nsec-websocket-protocol: chat\r\n\r\n",
                accept_for(key)
            );
            seen.requests.lock().unwrap().push(head);
            stream.write_all(answer.as_bytes()).await.unwrap();
            let mut buffer = [0; 4096];
            while let Ok(read) = stream.read(&mut buffer).await {
                if read == 0 || buffer[0] == b'!' {
                    return;
                }
                stream.write_all(&buffer[..read]).await.unwrap();
            }
        }
    })
    .await;
    (address, kept)
}

async fn ask(gateway: &Gateway, text: &str) -> (TcpStream, String) {
    let mut client = TcpStream::connect(gateway.address).await.unwrap();
    client.write_all(text.as_bytes()).await.unwrap();
    let head = read_head(&mut client).await.unwrap();
    (client, head)
}

#[tokio::test]
async fn a_websocket_over_http1_is_joined_and_echoes() {
    let (address, seen) = echoing().await;
    let gateway = gateway(&app(upstream(&[address]))).await;
    let (mut client, head) = ask(&gateway, ASK).await;
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    assert_eq!(
        header(&head, "sec-websocket-accept"),
        Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
    );
    assert_eq!(header(&head, "sec-websocket-protocol"), Some("chat"));
    assert_eq!(header(&head, "upgrade"), Some("websocket"));
    for text in ["one", "two"] {
        client.write_all(text.as_bytes()).await.unwrap();
        assert_eq!(read_until(&mut client, text).await, text);
    }
    let asked = seen.last();
    assert!(asked.starts_with("GET /ws?x=1 HTTP/1.1\r\n"), "{asked}");
    assert_eq!(header(&asked, "connection"), Some("upgrade"));
    assert_eq!(header(&asked, "masugata-assertion"), Some("signed"));
    client.write_all(b"!").await.unwrap();
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).await.unwrap();
    assert!(rest.is_empty());
    drop(client);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(gateway.app.group().servers()[0].in_flight(), 0);
}

#[tokio::test]
async fn bytes_sent_right_behind_the_handshake_are_not_lost() {
    let (address, _) = echoing().await;
    let gateway = gateway(&app(upstream(&[address]))).await;
    let (mut client, _) = ask(&gateway, &format!("{ASK}early")).await;
    assert_eq!(read_until(&mut client, "early").await, "early");
}

#[tokio::test]
async fn a_refusal_is_passed_on_as_it_is() {
    let (address, _) = fixed("HTTP/1.1 403 Forbidden\r\ncontent-length: 4\r\n\r\nnope").await;
    let gateway = gateway(&app(upstream(&[address]))).await;
    let (mut client, head) = ask(&gateway, ASK).await;
    assert!(head.starts_with("HTTP/1.1 403"), "{head}");
    assert_eq!(read_until(&mut client, "nope").await, "nope");
}

#[tokio::test]
async fn an_app_without_upgrades_refuses_them() {
    let (address, seen) = echoing().await;
    let mut configured = app(upstream(&[address]));
    configured.upgrades = false;
    let gateway = gateway(&configured).await;
    let (_, head) = ask(&gateway, ASK).await;
    assert!(head.starts_with("HTTP/1.1 403"), "{head}");
    assert_eq!(header(&head, "x-code"), Some("upgrade-not-allowed"));
    assert!(seen.heads().is_empty());
}

#[tokio::test]
async fn an_offer_of_h2c_is_passed_over() {
    // Smuggling by `Upgrade: h2c`: the upstream must not see it.
    let (address, seen) = fixed("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    let mut configured = app(upstream(&[address]));
    configured.upgrades = false;
    let gateway = gateway(&configured).await;
    let (_, head) = ask(
        &gateway,
        "GET / HTTP/1.1\r\nhost: app.example\r\nconnection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n\r\n",
    )
    .await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let asked = seen.last();
    assert!(
        !asked.contains("upgrade") && !asked.contains("http2-settings"),
        "{asked}"
    );
}

#[tokio::test]
async fn a_wrong_answer_to_the_key_is_no_agreement() {
    let (address, _) = fixed(
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: AAAA\r\n\r\n",
    )
    .await;
    let gateway = gateway(&app(upstream(&[address]))).await;
    let (_, head) = ask(&gateway, ASK).await;
    assert!(head.starts_with("HTTP/1.1 502"), "{head}");
    assert_eq!(header(&head, "x-code"), Some("upstream-upgrade"));
}

#[tokio::test]
async fn another_protocol_than_asked_for_is_no_agreement() {
    let (address, _) =
        fixed("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n")
            .await;
    let gateway = gateway(&app(upstream(&[address]))).await;
    let (_, head) = ask(&gateway, ASK).await;
    assert!(head.starts_with("HTTP/1.1 502"), "{head}");
}

#[tokio::test]
async fn an_upgrade_with_a_body_is_malformed() {
    let (address, seen) = echoing().await;
    let gateway = gateway(&app(upstream(&[address]))).await;
    let (_, head) = ask(
        &gateway,
        "GET / HTTP/1.1\r\nhost: app.example\r\nconnection: upgrade\r\nupgrade: websocket\r\ncontent-length: 3\r\n\r\nabc",
    )
    .await;
    assert!(head.starts_with("HTTP/1.1 400"), "{head}");
    assert!(seen.heads().is_empty());
}

#[tokio::test]
async fn half_closing_still_delivers_the_rest() {
    let address = raw(|_, mut stream| async move {
        read_head(&mut stream).await.unwrap();
        stream
            .write_all(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: lines\r\n\r\n")
            .await
            .unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await.unwrap();
        stream.write_all(format!("got {}", all.len()).as_bytes()).await.unwrap();
    })
    .await;
    let gateway = gateway(&app(upstream(&[address]))).await;
    let (mut client, head) = ask(
        &gateway,
        "GET / HTTP/1.1\r\nhost: app.example\r\nconnection: upgrade\r\nupgrade: lines\r\n\r\n",
    )
    .await;
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    client.write_all(&vec![1; 100_000]).await.unwrap();
    client.shutdown().await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "got 100000");
}

#[tokio::test]
async fn a_tunnel_that_falls_silent_is_closed() {
    let (address, _) = echoing().await;
    let mut configured = app(upstream(&[address]));
    configured.timeouts.idle = Duration::from_millis(300);
    let gateway = gateway(&configured).await;
    let (mut client, _) = ask(&gateway, ASK).await;
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(3), client.read_to_end(&mut rest)).await;
    assert!(ended.is_ok());
}

#[tokio::test]
async fn a_lease_that_ends_closes_the_tunnel() {
    let (address, _) = echoing().await;
    let gateway = gateway(&app(upstream(&[address]))).await;
    let (mut client, _) = ask(&gateway, ASK).await;
    client.write_all(b"x").await.unwrap();
    assert_eq!(read_until(&mut client, "x").await, "x");
    gateway.tether.0.store(true, Ordering::Relaxed);
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(3), client.read_to_end(&mut rest)).await;
    assert!(ended.is_ok());
}

fn extended(path: &str) -> http::Request<Empty<Bytes>> {
    let mut asked = request("CONNECT", path, Empty::new());
    asked
        .extensions_mut()
        .insert(Protocol::from_static("websocket"));
    asked.headers_mut().insert(
        "sec-websocket-version",
        http::HeaderValue::from_static("13"),
    );
    asked
}

/// A client that has seen the gateway's settings.
async fn ready_http2_client(
    gateway: &Gateway,
) -> hyper::client::conn::http2::SendRequest<Empty<Bytes>> {
    let client = http2_client(gateway).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    client
}

#[tokio::test]
async fn a_websocket_over_http2_reaches_an_http1_upstream() {
    let (address, seen) = echoing().await;
    let gateway = http2_gateway(&app(upstream(&[address]))).await;
    let mut client = ready_http2_client(&gateway).await;
    let mut answer = client.send_request(extended("/ws")).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert!(answer.headers().get("sec-websocket-accept").is_none());
    assert!(answer.headers().get("upgrade").is_none());
    assert_eq!(answer.headers()["sec-websocket-protocol"], "chat");
    let mut tunnel = TokioIo::new(hyper::upgrade::on(&mut answer).await.unwrap());
    tunnel.write_all(b"hello").await.unwrap();
    let mut buffer = [0; 5];
    tunnel.read_exact(&mut buffer).await.unwrap();
    assert_eq!(&buffer, b"hello");
    let asked = seen.last();
    assert!(asked.starts_with("GET /ws HTTP/1.1\r\n"), "{asked}");
    assert_eq!(header(&asked, "upgrade"), Some("websocket"));
    assert_eq!(header(&asked, "sec-websocket-key").map(str::len), Some(24));
    assert_eq!(header(&asked, "host"), Some("app.example"));
}

#[tokio::test]
async fn an_ordinary_answer_to_a_websocket_over_http2_is_not_success() {
    let (address, _) = fixed("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    let gateway = http2_gateway(&app(upstream(&[address]))).await;
    let mut client = ready_http2_client(&gateway).await;
    let answer = client.send_request(extended("/ws")).await.unwrap();
    assert_eq!(answer.status(), StatusCode::BAD_GATEWAY);
}

#[tokio::test]
async fn connect_without_a_protocol_is_refused() {
    let (address, seen) = echoing().await;
    let gateway = http2_gateway(&app(upstream(&[address]))).await;
    let mut client = ready_http2_client(&gateway).await;
    let asked = http::Request::builder()
        .method("CONNECT")
        .uri("internal.example:22")
        .body(Empty::<Bytes>::new())
        .unwrap();
    let answer = client.send_request(asked).await.unwrap();
    assert_eq!(answer.status(), StatusCode::FORBIDDEN);
    assert!(seen.heads().is_empty());
}

async fn http2_echo() -> std::net::SocketAddr {
    h2c(|mut request| async move {
        assert_eq!(request.method(), http::Method::CONNECT);
        assert!(request.headers().get("sec-websocket-key").is_none());
        let upgrading = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let mut tunnel = TokioIo::new(upgrading.await.unwrap());
            let mut buffer = [0; 4096];
            while let Ok(read) = tunnel.read(&mut buffer).await {
                if read == 0 {
                    return;
                }
                tunnel.write_all(&buffer[..read]).await.unwrap();
            }
        });
        Response::new(Empty::<Bytes>::new())
    })
    .await
}

#[tokio::test]
async fn a_websocket_over_http2_reaches_an_http2_upstream() {
    let address = http2_echo().await;
    let gateway = http2_gateway(&app(http2_only(address))).await;
    let mut client = ready_http2_client(&gateway).await;
    let mut answer = client.send_request(extended("/ws")).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let mut tunnel = TokioIo::new(hyper::upgrade::on(&mut answer).await.unwrap());
    tunnel.write_all(b"hello").await.unwrap();
    let mut buffer = [0; 5];
    tunnel.read_exact(&mut buffer).await.unwrap();
    assert_eq!(&buffer, b"hello");
}

#[tokio::test]
async fn a_websocket_over_http1_reaches_an_http2_upstream() {
    let address = http2_echo().await;
    let gateway = gateway(&app(http2_only(address))).await;
    let (mut client, head) = ask(&gateway, ASK).await;
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    assert_eq!(
        header(&head, "sec-websocket-accept"),
        Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
    );
    client.write_all(b"hello").await.unwrap();
    assert_eq!(read_until(&mut client, "hello").await, "hello");
}

#[tokio::test]
async fn an_http2_upstream_that_takes_no_websockets_is_an_error() {
    let address = raw(|_, stream| async move {
        let service = hyper::service::service_fn(|_| async {
            Ok::<_, std::convert::Infallible>(Response::new(Empty::<Bytes>::new()))
        });
        let _ = hyper::server::conn::http2::Builder::new(hyper_util::rt::TokioExecutor::new())
            .serve_connection(TokioIo::new(stream), service)
            .await;
    })
    .await;
    let gateway = gateway(&app(http2_only(address))).await;
    let (_, head) = ask(&gateway, ASK).await;
    assert!(head.starts_with("HTTP/1.1 502"), "{head}");
    assert_eq!(header(&head, "x-code"), Some("upstream-upgrade"));
}
