//! The record: one decision and one completion for every request, whatever became of it, and nothing secret in it.
//!
//! `TestGateway::records` verifies the chain and the pairs of whatever a test has done.

use std::net::SocketAddr;

use futures_util::{SinkExt as _, StreamExt as _};
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use masugata_tests::{
    Session, SmallDisk, TestGateway, TokenIssuer, Upstream, assert_denied, eventually, minutes,
};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::Notify;
use tokio_tungstenite::tungstenite::Message;

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_answer_is_recorded_once() {
    let (hello, echo) = (Upstream::hello().await, Upstream::websocket_echo().await);
    let broken = Upstream::new(|_request| async { panic!("the app crashes") }).await;
    let gateway = TestGateway::new()
        .app("wiki", hello.address)
        .app("away", nobody())
        .app("broken", broken.address)
        .app_with("chat", "internal", echo.address, "upgrades = true")
        .raw_app("name = \"moved\"\nlevel = \"internal\"\nhosts = [\"moved.corp.test\"]\nredirect.location = \"https://wiki.corp.test/\"")
        .raw_app("name = \"notice\"\nlevel = \"internal\"\nhosts = [\"notice.corp.test\"]\nresponse.body = \"closed\"")
        .start()
        .await;
    let ada = gateway.ada();
    let stranger = gateway.client().device(&gateway.device("laptop"));
    for client in [ada.clone(), ada.clone().h2()] {
        for (app, method, path, status) in [
            ("wiki", Method::GET, "/", 200),
            ("wiki", Method::HEAD, "/", 200),
            ("wiki", Method::POST, "/", 200),
            ("wiki", Method::GET, "/.well-known/masugata/jwks.json", 200),
            ("wiki", Method::GET, "/a//b", 400),
            ("away", Method::GET, "/", 502),
            ("broken", Method::GET, "/", 502),
            ("moved", Method::GET, "/", 308),
            ("notice", Method::GET, "/", 200),
        ] {
            let answer = client.request(app, method.clone(), path, "").await;
            assert_eq!(answer.status, status, "{method} {app}{path}");
        }
    }
    assert_denied(&stranger.get("wiki", "/").await, "credential-missing");
    let mut chat = ada.websocket("chat", "/").await.unwrap();
    chat.send(Message::text("hello")).await.unwrap();
    chat.next().await.unwrap().unwrap();
    chat.close(None).await.unwrap();
    while let Some(Ok(_)) = chat.next().await {}
    chat.get_mut().shutdown().await.unwrap();
    drop(chat);
    gateway.completions(20).await;

    let records = gateway.records().await;
    let (decisions, ends) = (of(&records, "decision"), of(&records, "completion"));
    assert_eq!((decisions.len(), ends.len()), (20, 20));
    let verdicts = |word: &str| decisions.iter().filter(|it| it["decision"] == word).count();
    assert_eq!((verdicts("permitted"), verdicts("denied")), (17, 3));
    let outcomes = |word: &str| ends.iter().filter(|it| it["outcome"] == word).count();
    assert_eq!(outcomes("upstream-failed"), 4);
    assert_eq!(outcomes("completed"), 16);
    let upgraded = ends.iter().find(|it| it["status"] == 101).unwrap();
    assert!(
        upgraded["bytes_sent"].as_u64() > Some(0) && upgraded["bytes_received"].as_u64() > Some(0)
    );
    assert_eq!(upgraded["upstream"], echo.address.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_while_it_sends_is_recorded() {
    let upstream = Upstream::hello().await;
    let gateway = TestGateway::new()
        .app("wiki", upstream.address)
        .start()
        .await;
    let mut stream = gateway.ada().stream("wiki").await.unwrap();
    let head = format!(
        "POST /upload HTTP/1.1\r\nhost: wiki.corp.test\r\nauthorization: Bearer {}\r\ncontent-length: 1000\r\n\r\nhalf",
        gateway.token("ada").sign()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    eventually("the app was asked", async || upstream.seen().len() == 1).await;
    drop(stream);
    let ends = gateway.completions(1).await;
    assert_eq!(ends[0]["outcome"], "client-gone");
    gateway.records().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_while_it_receives_is_recorded() {
    let upstream = Upstream::events().await;
    let gateway = TestGateway::new()
        .app("news", upstream.address)
        .start()
        .await;
    for client in [gateway.ada(), gateway.ada().h2()] {
        let mut session = client.session("news").await;
        let mut response = ask(&mut session, "/").await;
        response.body_mut().frame().await.unwrap().unwrap();
        drop((response, session));
    }
    for end in gateway.completions(2).await {
        assert_eq!(end["outcome"], "client-gone");
        assert_eq!(end["status"], 200);
        assert!(end["bytes_sent"].as_u64() > Some(0));
    }
    gateway.records().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_before_the_answer_is_recorded() {
    let upstream = Upstream::new(|_request| std::future::pending()).await;
    let gateway = TestGateway::new()
        .app("slow", upstream.address)
        .start()
        .await;
    for (number, client) in [gateway.ada(), gateway.ada().h2()].into_iter().enumerate() {
        let mut session = client.session("slow").await;
        let waiting = tokio::spawn(async move { session.get("/").await });
        eventually("the app was asked", async || {
            upstream.seen().len() == number + 1
        })
        .await;
        waiting.abort();
        let ends = gateway.completions(number + 1).await;
        assert_eq!(ends[number]["outcome"], "client-gone");
    }
    gateway.records().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_while_keys_are_fetched_has_abandoned() {
    let (provider, address, keys) = provider().await;
    let upstream = Upstream::hello().await;
    let gateway = TestGateway::new()
        .app("wiki", upstream.address)
        .config(&format!(
            "[[issuer]]\nname = \"slow\"\nissuer = \"http://{address}\"\naudiences = [\"masugata\"]\n\
             discovery.timeout = \"1m\""
        ))
        .start()
        .await;
    let laptop = gateway.client().device(&gateway.device("laptop"));
    let known = keys.token("ada", &["employees"], gateway.clock.seconds());
    assert_eq!(
        laptop
            .clone()
            .token(known.sign())
            .get("wiki", "/")
            .await
            .status,
        200
    );
    // A key that is not known yet makes the gateway ask again, and now nobody answers.
    gateway.clock.advance(minutes(1));
    let asked = provider.seen().len();
    let unknown = keys.token("ada", &["employees"], gateway.clock.seconds());
    let unknown = laptop.h2().token(unknown.header("kid", "key-2").sign());
    let mut session = unknown.session("wiki").await;
    let waiting = tokio::spawn(async move { session.get("/").await });
    eventually("the provider was asked", async || {
        provider.seen().len() > asked
    })
    .await;
    waiting.abort();
    let ends = gateway.completions(2).await;
    assert_eq!(ends[1]["outcome"], "client-gone");
    let records = gateway.records().await;
    assert_eq!(of(&records, "decision")[1]["decision"], "abandoned");
    assert_eq!(upstream.seen().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_secret_is_ever_in_it() {
    let upstream = Upstream::new(|request: Request<Incoming>| async move {
        let _ = request.into_body().collect().await;
        let mut answer = Upstream::text("MARKER-of-the-answer");
        let headers = answer.headers_mut();
        headers.insert("set-cookie", "session=MARKER-set-cookie".parse().unwrap());
        answer
    })
    .await;
    let gateway = TestGateway::new()
        .app_with(
            "wiki",
            "internal",
            upstream.address,
            "request_headers.set = { X-Key = \"MARKER-configured\" }",
        )
        .app("away", nobody())
        .start()
        .await;
    let mut tokens = Vec::new();
    let bad = gateway.token("ada").claim("aud", "other").sign();
    let basic = "MARKER-basic";
    for (app, token) in [
        ("wiki", gateway.token("ada").sign()),
        ("wiki", bad),
        ("away", gateway.token("ada").sign()),
    ] {
        let client = gateway.client().device(&gateway.device("laptop"));
        let client = client
            .token(&*token)
            .header("cookie", "session=MARKER-cookie")
            .header("x-api-key", "MARKER-header")
            .header("masugata-assertion", "MARKER-spoofed");
        client
            .post(app, "/path?access_token=MARKER-query", "MARKER-body")
            .await;
        client
            .h2()
            .get(app, "/path?access_token=MARKER-query")
            .await;
        tokens.push(token);
    }
    let client = gateway.client().device(&gateway.device("laptop"));
    let client = client.header("authorization", &format!("Basic {basic}"));
    client.get("wiki", "/").await;
    client
        .header("authorization", "Bearer MARKER-second")
        .get("wiki", "/")
        .await;
    let broken = gateway.client().device(&gateway.device("laptop"));
    broken.token("MARKER.broken.token").get("wiki", "/").await;
    let assertion = upstream.last().headers["masugata-assertion"]
        .to_str()
        .unwrap()
        .to_owned();
    assert!(!assertion.contains("MARKER"));
    let (status, shown) = gateway.admin("GET", "/config").await;
    assert_eq!(status, 200);
    assert!(!shown.contains("MARKER"));
    let (_, metrics) = gateway.admin("GET", "/metrics").await;
    assert!(!metrics.contains("MARKER"));

    let path = gateway.path("audit.jsonl");
    let directory = gateway.shutdown().await;
    let log = std::fs::read_to_string(path).unwrap();
    drop(directory);
    assert!(log.lines().count() > 18);
    assert!(!log.contains("MARKER"), "{}", line_with(&log, "MARKER"));
    tokens.push(assertion);
    for token in &tokens {
        for part in token.split('.') {
            assert!(!log.contains(part), "{}", line_with(&log, part));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_are_recorded_only_on_request() {
    for (audit, expected) in [("", Value::Null), ("query = true", json!("q=1"))] {
        let upstream = Upstream::hello().await;
        let gateway = TestGateway::new()
            .audit(audit)
            .app("wiki", upstream.address)
            .start()
            .await;
        gateway.ada().get("wiki", "/search?q=1").await;
        let records = gateway.records().await;
        let decision = of(&records, "decision")[0];
        assert_eq!(decision["query"], expected);
        assert_eq!(decision["path"], "/search");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_until_there_is_room() {
    let Some(disk) = SmallDisk::mount(512) else {
        return;
    };
    let upstream = Upstream::hello().await;
    let gateway = TestGateway::new()
        .on_disk(&disk)
        .app("wiki", upstream.address)
        .start()
        .await;
    let mut session = gateway.ada().session("wiki").await;
    assert_eq!(session.get("/").await.status, 200);
    disk.fill();
    eventually("a refusal", async || session.get("/").await.status == 503).await;
    let (status, checks) = gateway.admin("GET", "/readyz").await;
    assert_eq!(status, 503, "{checks}");
    assert_eq!(gateway.admin("GET", "/livez").await.0, 200);
    let asked = upstream.seen().len();
    for client in [gateway.ada(), gateway.ada().h2()] {
        assert_denied(&client.get("wiki", "/").await, "audit-unavailable");
        let keys = client.get("wiki", "/.well-known/masugata/jwks.json").await;
        assert_denied(&keys, "audit-unavailable");
    }
    assert_eq!(upstream.seen().len(), asked);
    disk.make_room();
    eventually("recovery", async || session.get("/").await.status == 200).await;
    assert_eq!(gateway.admin("GET", "/readyz").await.0, 200);
    gateway.records().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn drop_and_count_lets_through_and_says_how_much_is_lost() {
    let Some(disk) = SmallDisk::mount(512) else {
        return;
    };
    let upstream = Upstream::hello().await;
    let gateway = TestGateway::new()
        .on_disk(&disk)
        .audit("queue = 16\non_overflow = \"drop_and_count\"")
        .app("wiki", upstream.address)
        .start()
        .await;
    let mut session = gateway.ada().session("wiki").await;
    assert_eq!(session.get("/").await.status, 200);
    disk.fill();
    for _ in 0..60 {
        assert_eq!(session.get("/").await.status, 200);
    }
    disk.make_room();
    let lost = || -> u64 {
        let records = gateway.records_so_far();
        let lost = records
            .iter()
            .filter_map(|it| it["lost_decisions"].as_u64());
        lost.sum()
    };
    eventually("the loss is on record", async || lost() > 0).await;
    assert_eq!(session.get("/").await.status, 200);
    let records = gateway.records().await;
    let lost = |member: &str| -> u64 { records.iter().filter_map(|it| it[member].as_u64()).sum() };
    assert_eq!(lost("lost_decisions"), lost("lost_completions"));
    let told = of(&records, "decision").len() as u64 + lost("lost_decisions");
    assert_eq!(told, 62);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_chain_goes_on_after_rotation_and_restart() {
    let upstream = Upstream::hello().await;
    let gateway = TestGateway::new()
        .app("wiki", upstream.address)
        .start()
        .await;
    gateway.ada().get("wiki", "/").await;
    gateway.completions(1).await;
    let (current, old) = (gateway.path("audit.jsonl"), gateway.path("audit.1.jsonl"));
    std::fs::rename(&current, &old).unwrap();
    gateway.gateway().reopen_audit();
    eventually("a new file", async || current.exists()).await;
    gateway.ada().get("wiki", "/").await;
    let directory = gateway.shutdown().await;
    let report = masugata::audit::verify::verify(&[old.clone(), current.clone()], None).unwrap();
    assert_eq!(report.faults, 0, "{:?}", report.findings);
    // A line less in the older file, and it shows.
    let text = std::fs::read_to_string(&old).unwrap();
    let (_last, shorter) = text
        .trim_end()
        .rsplit_once('\n')
        .map(|(rest, last)| (last, rest))
        .unwrap();
    std::fs::write(&old, format!("{shorter}\n")).unwrap();
    let report = masugata::audit::verify::verify(&[old, current], None).unwrap();
    assert!(report.faults > 0);
    drop(directory);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_to_the_gateway_is_on_record_too() {
    let upstream = Upstream::hello().await;
    let gateway = TestGateway::new()
        .app("wiki", upstream.address)
        .start()
        .await;
    gateway.ada().get("wiki", "/").await;
    gateway.reload().await;
    gateway.ada().get("wiki", "/").await;
    gateway.edit(
        "masugata.toml",
        "level = \"internal\"",
        "level = \"interal\"",
    );
    gateway.gateway().reload().await.unwrap_err();
    gateway.ada().get("wiki", "/").await;
    let records = gateway.records().await;
    let kinds: Vec<&Value> = of(&records, "operation")
        .iter()
        .map(|it| &it["operation"])
        .collect();
    assert_eq!(kinds, ["started", "reloaded", "reload-refused", "stopped"]);
    let generations: Vec<&Value> = of(&records, "decision")
        .iter()
        .map(|it| &it["generation"])
        .collect();
    assert_eq!(generations, [1, 2, 2]);
}

fn of<'a>(records: &'a [Value], kind: &str) -> Vec<&'a Value> {
    records.iter().filter(|it| it["type"] == kind).collect()
}

fn line_with<'a>(log: &'a str, text: &str) -> &'a str {
    log.lines()
        .find(|line| line.contains(text))
        .unwrap_or_default()
}

/// Where nobody listens.
fn nobody() -> SocketAddr {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    closed.local_addr().unwrap()
}

async fn ask(session: &mut Session, path: &str) -> Response<Incoming> {
    let request = session.build(Method::GET, path);
    session
        .open(request.body(Full::default()).unwrap())
        .await
        .unwrap()
}

/// A provider that publishes its keys once and then falls silent.
async fn provider() -> (Upstream, SocketAddr, TokenIssuer) {
    let keys = std::sync::Arc::new(std::sync::OnceLock::<(String, String)>::new());
    let documents = std::sync::Arc::clone(&keys);
    let given = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let never = std::sync::Arc::new(Notify::new());
    let upstream = Upstream::new(move |request: Request<Incoming>| {
        let (documents, never) = (documents.clone(), never.clone());
        let count = given.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        async move {
            if count >= 2 {
                never.notified().await;
            }
            let (metadata, jwks) = documents.get().unwrap();
            if request.uri().path().ends_with("/jwks") {
                Upstream::text(jwks)
            } else {
                Upstream::text(metadata)
            }
        }
    })
    .await;
    let address = upstream.address;
    let issuer = TokenIssuer::new(&format!("http://{address}"), "masugata", "key-1");
    let metadata = json!({ "issuer": issuer.issuer, "jwks_uri": format!("http://{address}/jwks") });
    keys.set((metadata.to_string(), issuer.jwks().to_string()))
        .unwrap();
    (upstream, address, issuer)
}
