//! WebSockets over HTTP/1.1 (RFC 6455) and over HTTP/2 (RFC 8441), to apps that speak either.

use futures_util::{SinkExt as _, StreamExt as _};
use http::{Method, Request};
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::body::Incoming;
use hyper::ext::Protocol;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use masugata_tests::{
    Client, RawUpstream, Session, TestGateway, Upstream, assert_denied, within_reason,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role};
use tokio_tungstenite::tungstenite::{Error, Message};

/// Echoes; a text `close N` is answered by closing with that code.
async fn echo<IO: AsyncRead + AsyncWrite + Unpin>(mut socket: WebSocketStream<IO>) {
    while let Some(Ok(message)) = socket.next().await {
        if let Message::Text(text) = &message
            && let Some(code) = text.strip_prefix("close ")
        {
            let frame = CloseFrame {
                code: CloseCode::from(code.parse::<u16>().unwrap()),
                reason: "as told".into(),
            };
            let _ = socket.close(Some(frame)).await;
        } else if (message.is_text() || message.is_binary()) && socket.send(message).await.is_err()
        {
            return;
        }
    }
}

async fn over_http1() -> Upstream {
    Upstream::connections(|stream| async move {
        if let Ok(socket) = tokio_tungstenite::accept_async(stream).await {
            echo(socket).await;
        }
    })
    .await
}

async fn over_http2() -> Upstream {
    Upstream::h2c(|mut request: Request<Incoming>| async move {
        assert_eq!(request.method(), Method::CONNECT);
        assert_eq!(
            request.extensions().get::<Protocol>().unwrap().as_str(),
            "websocket"
        );
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let io = TokioIo::new(upgrade.await.unwrap());
            echo(WebSocketStream::from_raw_socket(io, Role::Server, None).await).await;
        });
        Upstream::text("")
    })
    .await
}

struct World {
    _upstreams: (Upstream, Upstream),
    gateway: TestGateway,
}

async fn world() -> World {
    let (one, two) = (over_http1().await, over_http2().await);
    let gateway = TestGateway::new()
        .app_with("h1", "internal", one.address, "upgrades = true")
        .app_with(
            "h2",
            "internal",
            two.address,
            "upgrades = true\nupstream.protocol = \"http2\"",
        )
        .start()
        .await;
    World {
        _upstreams: (one, two),
        gateway,
    }
}

fn handshake(gateway: &TestGateway, app: &str) -> Request<()> {
    Request::builder()
        .uri(format!("wss://{app}.corp.test/socket"))
        .header("host", format!("{app}.corp.test"))
        .header(
            "authorization",
            format!("Bearer {}", gateway.token("ada").sign()),
        )
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
        .body(())
        .unwrap()
}

async fn open_http1(
    gateway: &TestGateway,
    app: &str,
) -> Result<WebSocketStream<TlsStream<TcpStream>>, Error> {
    let stream = gateway.ada().stream(app).await.unwrap();
    let (socket, _response) =
        tokio_tungstenite::client_async(handshake(gateway, app), stream).await?;
    Ok(socket)
}

/// The session goes on carrying other requests; it must be kept as long as the socket.
async fn open_http2(client: &Client, app: &str) -> (Session, WebSocketStream<TokioIo<Upgraded>>) {
    let mut session = client.clone().h2().session(app).await;
    // One exchange, so that the gateway's settings have arrived, which permit extended CONNECT.
    session.get("/.well-known/masugata/jwks.json").await;
    let mut request = session
        .build(Method::CONNECT, "/socket")
        .header("sec-websocket-version", "13")
        .body(Empty::<bytes::Bytes>::new())
        .unwrap();
    request
        .extensions_mut()
        .insert(Protocol::from_static("websocket"));
    let mut response = session.open_any(request).await.unwrap();
    if response.status() != 200 {
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        panic!("{status}: {}", String::from_utf8_lossy(&body));
    }
    let io = TokioIo::new(hyper::upgrade::on(&mut response).await.unwrap());
    (
        session,
        WebSocketStream::from_raw_socket(io, Role::Client, None).await,
    )
}

/// What every socket must carry.
async fn converse<IO: AsyncRead + AsyncWrite + Unpin>(
    socket: &mut WebSocketStream<IO>,
    what: &str,
) {
    let large = vec![7; 4 << 20];
    for message in [
        Message::text("こんにちは"),
        Message::text(""),
        Message::binary(vec![0, 255, 13, 10]),
        Message::binary(large),
    ] {
        within_reason("to send", socket.send(message.clone()))
            .await
            .unwrap();
        let back = within_reason("an echo", socket.next())
            .await
            .unwrap()
            .unwrap();
        assert!(back == message, "{what}: {} bytes came back", back.len());
    }
    within_reason("to ping", socket.send(Message::Ping(vec![1, 2].into())))
        .await
        .unwrap();
    let pong = within_reason("a pong", socket.next())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(pong, Message::Pong(vec![1, 2].into()), "{what}");
    socket.send(Message::text("close 4321")).await.unwrap();
    let closed = within_reason("a close", socket.next())
        .await
        .unwrap()
        .unwrap();
    let Message::Close(Some(frame)) = closed else {
        panic!("{what}: {closed:?}");
    };
    assert_eq!(
        (frame.code, frame.reason.as_str()),
        (CloseCode::Library(4321), "as told"),
        "{what}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_pair_of_versions_carries_messages_of_every_kind() {
    let world = world().await;
    for app in ["h1", "h2"] {
        let mut socket = open_http1(&world.gateway, app).await.unwrap();
        converse(&mut socket, &format!("h1 to {app}")).await;
        let (mut session, mut socket) = open_http2(&world.gateway.ada(), app).await;
        converse(&mut socket, &format!("h2 to {app}")).await;
        // Beside the socket, and after it, the connection serves requests.
        assert_eq!(
            session
                .get("/.well-known/masugata/jwks.json")
                .await
                .status
                .as_u16(),
            200
        );
    }
    let records = world.gateway.records().await;
    let sockets: Vec<_> = records
        .iter()
        .filter(|record| record["action"] == "connect")
        .collect();
    assert_eq!(sockets.len(), 4);
    for decision in sockets {
        let completion = records.iter().find(|record| {
            record["type"] == "completion" && record["request_id"] == decision["request_id"]
        });
        let completion = completion.unwrap_or_else(|| panic!("{decision}"));
        assert!(
            completion["bytes_received"].as_u64().unwrap() > 4 << 20,
            "{completion}"
        );
        assert!(
            completion["bytes_sent"].as_u64().unwrap() > 4 << 20,
            "{completion}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_close_from_the_client_arrives_with_its_code() {
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    let upstream = Upstream::connections(move |stream| {
        let sender = sender.clone();
        async move {
            let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
            while let Some(Ok(message)) = socket.next().await {
                let _ = sender.send(message);
            }
        }
    })
    .await;
    let gateway = TestGateway::new()
        .app_with("h1", "internal", upstream.address, "upgrades = true")
        .start()
        .await;
    let mut socket = open_http1(&gateway, "h1").await.unwrap();
    let frame = CloseFrame {
        code: CloseCode::Away,
        reason: "good bye".into(),
    };
    socket.close(Some(frame.clone())).await.unwrap();
    let seen = within_reason("the close", receiver.recv()).await.unwrap();
    assert_eq!(seen, Message::Close(Some(frame)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_that_falls_silent_is_closed_and_recorded() {
    let upstream = over_http1().await;
    let gateway = TestGateway::new()
        .app_with(
            "h1",
            "internal",
            upstream.address,
            "upgrades = true\ntimeouts.idle = \"300ms\"",
        )
        .start()
        .await;
    let mut socket = open_http1(&gateway, "h1").await.unwrap();
    socket.send(Message::text("x")).await.unwrap();
    socket.next().await.unwrap().unwrap();
    let end = within_reason("the end", socket.next()).await;
    assert!(!matches!(end, Some(Ok(_))), "{end:?}");
    let (_session, mut socket) = open_http2(&gateway.ada(), "h1").await;
    let end = within_reason("the end", socket.next()).await;
    assert!(!matches!(end, Some(Ok(_))), "{end:?}");
    drop((socket, _session));
    let records = gateway.records().await;
    let ended: Vec<_> = records
        .iter()
        .filter(|record| record["type"] == "completion" && record["outcome"] == "timed-out")
        .collect();
    assert_eq!(ended.len(), 2, "{records:#?}");
    assert!(ended.iter().all(|record| record["cause"] == "idle-timeout"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_takes_no_upgrades_gets_none() {
    let upstream = over_http1().await;
    let gateway = TestGateway::new().app("h1", upstream.address).start().await;
    match open_http1(&gateway, "h1").await {
        Err(Error::Http(answer)) => assert_eq!(answer.status().as_u16(), 403),
        other => panic!("{:?}", other.map(|_| "a socket")),
    }
    let mut session = gateway.ada().h2().session("h1").await;
    session.get("/.well-known/masugata/jwks.json").await;
    let mut request = session
        .build(Method::CONNECT, "/socket")
        .body(Empty::<bytes::Bytes>::new())
        .unwrap();
    request
        .extensions_mut()
        .insert(Protocol::from_static("websocket"));
    let answer = session.send_any(request).await.unwrap();
    assert_denied(&answer, "upgrade-not-allowed");
}

/// Reading is not connecting: a socket is its own action in policies.
#[tokio::test(flavor = "multi_thread")]
async fn policies_decide_about_sockets_separately() {
    let upstream = over_http1().await;
    let gateway = TestGateway::new()
        .app_with("h1", "internal", upstream.address, "upgrades = true")
        .policy(
            "@id(\"readers\") permit (principal, action == Masugata::Action::\"read\", resource);",
        )
        .start()
        .await;
    match open_http1(&gateway, "h1").await {
        Err(Error::Http(answer)) => assert_eq!(answer.status().as_u16(), 403),
        other => panic!("{:?}", other.map(|_| "a socket")),
    }
    // h2c would carry requests past the gateway: it is passed over, and the request is an ordinary one.
    let mut session = gateway.ada().session("h1").await;
    let request = session
        .build(Method::GET, "/")
        .header("connection", "upgrade, http2-settings")
        .header("upgrade", "h2c")
        .header("http2-settings", "AAMAAABkAAQAAP__")
        .body(Full::<bytes::Bytes>::default())
        .unwrap();
    let answer = session.send_any(request).await;
    assert!(answer.is_ok_and(|answer| answer.status.as_u16() != 101));
}

/// What was let through is asked about again: a policy that changes, or a device that is taken away, ends open sockets.
#[tokio::test(flavor = "multi_thread")]
async fn a_socket_ends_soon_after_its_decision_no_longer_holds() {
    let world = world().await;
    let mut one = open_http1(&world.gateway, "h1").await.unwrap();
    let (_session, mut two) = open_http2(&world.gateway.ada(), "h2").await;
    one.send(Message::text("x")).await.unwrap();
    one.next().await.unwrap().unwrap();
    world
        .gateway
        .set_policy("@id(\"nobody\") forbid (principal, action, resource);")
        .await;
    // Told why, a browser's application does not come back again and again.
    let end = within_reason("the end", one.next()).await;
    assert_eq!(code_of(end), Some(CloseCode::Policy), "h1");
    let end = within_reason("the end", two.next()).await;
    assert_eq!(code_of(end), Some(CloseCode::Policy), "h2");
    drop((one, two, _session));
    let records = world.gateway.records().await;
    let cut = records
        .iter()
        .filter(|record| record["outcome"] == "cut" && record["cause"] == "forbidden");
    assert_eq!(cut.count(), 2, "{records:#?}");
}

/// A frame of ours inside one of the app's would be read as content of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_socket_that_is_cut_inside_a_frame_gets_no_goodbye() {
    let upstream = RawUpstream::websocket().await;
    let gateway = TestGateway::new()
        .app_with("h1", "internal", upstream.address, "upgrades = true")
        .start()
        .await;
    let token = gateway.token("ada").sign();
    let mut stream = gateway.ada().tunnel("h1", Some(token.as_str())).await;
    // What is echoed is the begin of a frame of 0x69 bytes.
    stream.echoes().await;
    gateway
        .set_policy("@id(\"nobody\") forbid (principal, action, resource);")
        .await;
    assert_eq!(stream.rest().await, "");
}

/// `None`: it ended without a word.
fn code_of(end: Option<Result<Message, Error>>) -> Option<CloseCode> {
    match end {
        Some(Ok(Message::Close(frame))) => Some(frame.expect("a code").code),
        Some(Ok(other)) => panic!("{other:?}"),
        Some(Err(_)) | None => None,
    }
}

/// A socket is a connection as long as it lives: it counts as one, a restart waits for it, and its end is on record.
#[tokio::test(flavor = "multi_thread")]
async fn an_open_socket_counts_and_a_restart_waits_for_it() {
    let upstream = over_http1().await;
    let gateway = TestGateway::new()
        .app_with("h1", "internal", upstream.address, "upgrades = true")
        .ingress("bounds = { connections_per_address = 2, drain = \"1h\" }")
        .start()
        .await;
    let mut one = open_http1(&gateway, "h1").await.unwrap();
    let mut two = open_http1(&gateway, "h1").await.unwrap();
    assert!(gateway.ada().try_session("h1").await.is_err());
    let records = tokio::spawn(gateway.records());
    // While it waits, the sockets go on.
    for _ in 0..10 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        for socket in [&mut one, &mut two] {
            socket.send(Message::text("x")).await.unwrap();
            assert_eq!(
                within_reason("an echo", socket.next())
                    .await
                    .unwrap()
                    .unwrap(),
                Message::text("x")
            );
        }
    }
    assert!(!records.is_finished());
    one.close(None).await.unwrap();
    drop((one, two));
    let records = within_reason("the end", records).await.unwrap();
    let ends = records
        .iter()
        .filter(|record| record["type"] == "completion")
        .count();
    assert_eq!(ends, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_that_outlasts_the_grace_is_cut_and_recorded() {
    let upstream = over_http1().await;
    let gateway = TestGateway::new()
        .app_with("h1", "internal", upstream.address, "upgrades = true")
        .ingress("bounds.drain = \"200ms\"")
        .start()
        .await;
    let mut one = open_http1(&gateway, "h1").await.unwrap();
    let (_session, mut two) = open_http2(&gateway.ada(), "h1").await;
    let records = within_reason("the end", gateway.records()).await;
    let end = within_reason("the end", one.next()).await;
    assert_eq!(code_of(end), Some(CloseCode::Away));
    // The connection below ends at the same moment.
    let end = within_reason("the end", two.next()).await;
    assert!(matches!(code_of(end), None | Some(CloseCode::Away)));
    let outcomes: Vec<_> = records
        .iter()
        .filter(|record| {
            record["type"] == "completion" && record["status"] != 200
                || record["outcome"] == "shut-down"
        })
        .map(|record| record["outcome"].as_str().unwrap())
        .collect();
    assert_eq!(outcomes, ["shut-down"; 2], "{records:#?}");
}
