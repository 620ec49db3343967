//! A change of protocol as a way round the decision: what is decided as one action must not be carried out as another.

use masugata_tests::{RawUpstream, TestGateway, WEBSOCKET};

const UPGRADES: &str = "upgrades = true\n";
const READERS: &str = r#"
@id("readers") permit (principal, action == Masugata::Action::"read", resource);
"#;
const LISTENERS: &str = r#"
@id("listeners") permit (principal, action == Masugata::Action::"connect", resource);
"#;

async fn gateway(upstream: &RawUpstream, policy: &str) -> TestGateway {
    TestGateway::new()
        .raw_app(&format!(
            "name = \"chat\"\nlevel = \"internal\"\nhosts = [\"chat.corp.test\"]\n{UPGRADES}\
             upstream.servers = [\"http://{}\"]",
            upstream.address
        ))
        .policy(policy)
        .start()
        .await
}

/// The head of the answer to a request of ada's with these fields.
async fn ask(gateway: &TestGateway, line: &str, fields: &str) -> String {
    let token = gateway.token("ada").sign();
    let mut wire = gateway
        .client()
        .device(&gateway.device("laptop"))
        .wire("chat")
        .await;
    wire.send(format!(
        "{line} HTTP/1.1\r\nhost: chat.corp.test\r\nauthorization: Bearer {token}\r\n{fields}\r\n"
    ))
    .await;
    wire.head().await
}

fn status(head: &str) -> &str {
    head.split(' ').nth(1).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_hidden_in_a_list_is_not_opened_by_who_may_only_read() {
    let upstream = RawUpstream::websocket().await;
    let gateway = gateway(&upstream, READERS).await;
    assert_eq!(status(&ask(&gateway, "GET /", WEBSOCKET).await), "403");
    for list in ["h2c, websocket", "websocket, h2c", "tls, websocket"] {
        let fields = WEBSOCKET.replace("upgrade: websocket", &format!("upgrade: {list}"));
        // Passed over, and so an ordinary read.
        assert_eq!(
            status(&ask(&gateway, "GET /", &fields).await),
            "200",
            "{list}"
        );
    }
    let twice = WEBSOCKET.replace("upgrade: websocket", "upgrade: websocket\r\nupgrade: h2c");
    assert_eq!(status(&ask(&gateway, "GET /", &twice).await), "200");
    for head in upstream.heads() {
        assert!(!head.to_ascii_lowercase().contains("upgrade"), "{head}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_method_that_changes_things_is_not_decided_as_a_connection() {
    let upstream =
        RawUpstream::new(|_| "HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\ndeleted".to_owned())
            .await;
    let gateway = gateway(&upstream, LISTENERS).await;
    for method in ["DELETE", "POST", "PUT"] {
        for protocol in ["websocket", "anything/1"] {
            let fields = format!("connection: upgrade\r\nupgrade: {protocol}\r\n");
            let head = ask(&gateway, &format!("{method} /pay"), &fields).await;
            assert_eq!(status(&head), "403", "{method} {protocol}: {head}");
        }
    }
    assert_eq!(upstream.heads().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_ignores_the_upgrade_does_not_answer_a_read_nobody_permitted() {
    let upstream =
        RawUpstream::new(|_| "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nsecret".to_owned()).await;
    let gateway = gateway(&upstream, LISTENERS).await;
    assert_eq!(status(&ask(&gateway, "GET /", "").await), "403");
    let head = ask(&gateway, "GET /", WEBSOCKET).await;
    assert_eq!(status(&head), "502", "{head}");
}
