//! WebSockets by `Upgrade` on an absolute target, and by CONNECT.

use super::*;

async fn echoes<S>(mut socket: WebSocketStream<S>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    for text in ["hello", "", "さようなら"] {
        socket.send(Message::text(text)).await.unwrap();
        let back = within_reason("an echo", socket.next()).await;
        assert_eq!(back.unwrap().unwrap(), Message::text(text));
    }
    let large = vec![b'm'; 300_000];
    socket.send(Message::binary(large.clone())).await.unwrap();
    let back = within_reason("an echo", socket.next()).await;
    assert_eq!(back.unwrap().unwrap(), Message::binary(large));
    socket.close(None).await.unwrap();
    while let Some(Ok(_)) = within_reason("the goodbye", socket.next()).await {}
    let _ = socket.get_mut().shutdown().await;
}

/// A handshake on an absolute target.
async fn upgraded(gateway: &TestGateway) -> (Wire, String) {
    let mut wire = gateway.proxy().wire().await;
    wire.send(format!(
        "GET http://site.example/chat HTTP/1.1\r\nhost: site.example\r\n{WEBSOCKET}\r\n"
    ))
    .await;
    let head = wire.head().await;
    (wire, head)
}

#[tokio::test(flavor = "multi_thread")]
async fn websockets_go_by_upgrade_and_by_connect_to_both_ports() {
    let site = Upstream::websocket_echo().await;
    let builder = door();
    let config = builder
        .pki()
        .server_config(&["sealed.corp.test"], &[b"http/1.1"], false);
    let sealed = Upstream::websocket_echo_tls(config).await;
    let gateway = builder
        .origin("site.example", site.address)
        .origin("sealed.corp.test", sealed.address)
        .start()
        .await;
    let (wire, head) = upgraded(&gateway).await;
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    assert!(head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
    let socket = WebSocketStream::from_raw_socket(wire.into_inner(), Role::Client, None).await;
    echoes(socket).await;
    let seen = site.last();
    assert_eq!(seen.uri, "/chat");
    assert_eq!(seen.all("host"), ["site.example"]);

    for client in both(&gateway.proxy()) {
        let tunnel = client.connect("site.example:80").await.unwrap();
        let (socket, _) = client_async("ws://site.example/chat", tunnel)
            .await
            .unwrap();
        echoes(socket).await;

        let tunnel = client.connect("sealed.corp.test:443").await.unwrap();
        let root = gateway.pki().root();
        let tls = tunnel.tls("sealed.corp.test", root).await.unwrap();
        let (socket, _) = client_async("wss://sealed.corp.test/chat", tls)
            .await
            .unwrap();
        echoes(socket).await;
    }
    assert_eq!((site.count(), sealed.count()), (3, 2));
    let ends = gateway.completions(5).await;
    for end in &ends {
        assert_eq!(end["outcome"], "completed", "{end}");
        assert!(end["bytes_sent"].as_u64() > Some(300_000), "{end}");
        assert!(end["bytes_received"].as_u64() > Some(300_000), "{end}");
    }
    gateway.records().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_by_upgrade_is_held_to_its_decision_and_told_why_it_ends() {
    let site = Upstream::websocket_echo().await;
    let gateway = open(site.address).await;
    let (wire, head) = upgraded(&gateway).await;
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    let mut socket = WebSocketStream::from_raw_socket(wire.into_inner(), Role::Client, None).await;
    socket.send(Message::text("hello")).await.unwrap();
    socket.next().await.unwrap().unwrap();
    let apps = "@id(\"apps\") permit (principal, action, resource is Masugata::App);";
    gateway.set_policy(apps).await;
    let Some(Ok(Message::Close(Some(goodbye)))) = within_reason("the cut", socket.next()).await
    else {
        panic!("no goodbye");
    };
    assert_eq!(u16::from(goodbye.code), 1008);
    let end = gateway.completions(1).await.remove(0);
    assert_eq!(
        (&end["outcome"], &end["cause"]),
        (&"cut".into(), &"no-permit".into())
    );
    // And is not even opened any more.
    let (_wire, head) = upgraded(&gateway).await;
    assert!(head.starts_with("HTTP/1.1 403"), "{head}");
    assert_eq!(site.count(), 1);
}
