//! The posture: what the app demands of a device is known, fresh and good, also while a stream is open.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use http::{Method, Response};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use masugata_tests::{
    Client, TestGateway, TestGatewayBuilder, Upstream, WebSocket, assert_denied, hours, minutes,
};
use tokio_tungstenite::tungstenite::Message;

const ATTRIBUTES: [&str; 12] = [
    "disk_encrypted",
    "firewall_enabled",
    "antivirus_running",
    "antivirus_current",
    "edr_running",
    "screen_lock",
    "secure_boot",
    "integrity_intact",
    "patches_current",
    "os_supported",
    "managed",
    "compliant",
];

#[tokio::test(flavor = "multi_thread")]
async fn every_attribute_is_missing_stale_failing_or_good() {
    let upstream = Upstream::hello().await;
    let mut builder = TestGateway::new();
    for attribute in ATTRIBUTES {
        let name = attribute.replace('_', "-");
        let requirement = format!("require.posture = [\"{attribute}\"]");
        builder = builder.app_with(&name, "confidential", upstream.address, &requirement);
    }
    let gateway = builder.start().await;
    let now = gateway.clock.seconds();
    let (fresh, old) = (stamp(now - 60), stamp(now - 25 * 3600));
    let rows = [
        row("bare", &fresh, |_| String::new()),
        row("bad", &fresh, |attribute| {
            format!("posture.{attribute} = false")
        }),
        row("old", &old, |attribute| {
            format!("posture.{attribute} = true")
        }),
        row("good", &fresh, |attribute| {
            format!("posture.{attribute} = true")
        }),
    ];
    gateway.write("devices.toml", &rows.concat());
    gateway.reload().await;
    for (device, code) in [
        ("bare", Some("posture-missing")),
        ("bad", Some("posture-failing")),
        ("old", Some("posture-stale")),
        ("good", None),
    ] {
        let client = gateway.ada().device(&gateway.device(device));
        for attribute in ATTRIBUTES {
            let answer = client.get(&attribute.replace('_', "-"), "/").await;
            assert_eq!(
                answer.denial_code().as_deref(),
                code,
                "{device} {attribute}"
            );
            if code.is_some() {
                assert_eq!(answer.json()["attribute"], attribute);
            } else {
                assert_eq!(answer.status, 200);
            }
        }
    }
    assert_eq!(upstream.seen().len(), ATTRIBUTES.len());
    gateway.records().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_observation_grows_old_under_a_reused_decision() {
    let upstream = Upstream::hello().await;
    let gateway = TestGateway::new()
        .app("wiki", upstream.address)
        .app_with("lax", "internal", upstream.address, "")
        .device("tablet", "max_age = \"40m\"")
        .policy(
            r#"@id("encrypted") permit (principal, action, resource == Masugata::App::"wiki")
               when { context.device.posture has disk_encrypted && context.device.posture.disk_encrypted };
               @id("lax") permit (principal, action, resource == Masugata::App::"lax");"#,
        )
        .start()
        .await;
    let client = gateway.ada().device(&gateway.device("tablet"));
    let mut session = client.session("wiki").await;
    let mut lax = client.session("lax").await;
    for _ in 0..3 {
        assert_eq!(session.get("/").await.status, 200);
        assert_eq!(lax.get("/").await.status, 200);
    }
    gateway.clock.advance(minutes(38));
    assert_eq!(session.get("/").await.status, 200);
    gateway.clock.advance(minutes(2));
    assert_denied(&session.get("/").await, "no-permit");
    assert_eq!(lax.get("/").await.status, 200, "nothing asked for it there");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_may_want_fresher_observations_than_the_device_offers() {
    let upstream = Upstream::hello().await;
    let gateway = TestGateway::new()
        .app_with(
            "wiki",
            "confidential",
            upstream.address,
            "require.posture = [\"disk_encrypted\", \"screen_lock\"]\nrequire.posture_max_age = \"30m\"\n\
             require.posture_max_ages = { screen_lock = \"10m\" }",
        )
        .start()
        .await;
    let mut session = gateway.ada().session("wiki").await;
    assert_eq!(session.get("/").await.status, 200);
    gateway.clock.advance(minutes(10));
    let answer = session.get("/").await;
    assert_denied(&answer, "posture-stale");
    assert_eq!(answer.json()["attribute"], "screen_lock");
    gateway.clock.advance(minutes(20));
    let answer = session.get("/").await;
    assert_eq!(answer.json()["attribute"], "disk_encrypted");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_observation_from_the_future_is_no_observation() {
    let (gateway, upstream) = vault().await;
    let ahead = stamp(gateway.clock.seconds() + 3600);
    let row = row("laptop", &ahead, |attribute| {
        format!("posture.{attribute} = true")
    });
    gateway.write("devices.toml", &row);
    if gateway.gateway().reload().await.is_ok() {
        let answer = gateway.ada().get("vault", "/").await;
        assert!(answer.denial_code().unwrap().starts_with("posture-"));
    }
    assert!(upstream.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_report_counts_for_the_next_request_of_every_open_connection() {
    let (gateway, _upstream) = vault().await;
    let mut session = gateway.ada().session("vault").await;
    let mut session_h2 = gateway.ada().h2().session("vault").await;
    assert_eq!(session.get("/").await.status, 200);
    assert_eq!(session_h2.get("/").await.status, 200);
    gateway.edit(
        "devices.toml",
        "disk_encrypted = true",
        "disk_encrypted = false",
    );
    gateway.reload().await;
    for session in [&mut session, &mut session_h2] {
        let answer = session.get("/").await;
        assert_denied(&answer, "posture-failing");
        assert_eq!(answer.json()["attribute"], "disk_encrypted");
    }
    gateway.edit(
        "devices.toml",
        "disk_encrypted = false",
        "disk_encrypted = true",
    );
    gateway.reload().await;
    assert_eq!(session.get("/").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_report_ends_open_streams_of_the_apps_that_care_and_no_others() {
    let (gateway, _upstreams) = streams(WANTS_ENCRYPTION).start().await;
    let mut chat = socket(&gateway.ada(), "chat").await;
    let mut news = listen(&gateway.ada(), "news").await;
    let mut news_h2 = listen(&gateway.ada().h2(), "news").await;
    let mut weather = listen(&gateway.ada(), "weather").await;
    let mut weather_h2 = listen(&gateway.ada().h2(), "weather").await;

    gateway.edit(
        "devices.toml",
        "disk_encrypted = true",
        "disk_encrypted = false",
    );
    gateway.reload().await;
    ended_socket(&mut chat).await;
    ended(&mut news).await;
    ended(&mut news_h2).await;
    let ends = gateway.completions(3).await;
    for end in &ends {
        assert_eq!(end["outcome"], "cut", "{end}");
        assert_eq!(end["cause"], "posture-failing", "{end}");
    }
    // Longer than it takes to ask each lease again.
    for body in [&mut weather, &mut weather_h2] {
        for _ in 0..30 {
            assert!(next(body).await.is_some(), "the public stream goes on");
        }
    }
    drop((weather, weather_h2));
    let ends = gateway.completions(5).await;
    let gone = ends.iter().filter(|end| end["outcome"] == "client-gone");
    assert_eq!(gone.count(), 2);
    gateway.records().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_observation_that_grows_old_ends_an_open_stream() {
    let (gateway, _upstreams) =
        streams("require.posture = [\"disk_encrypted\"]\nrequire.posture_max_age = \"30m\"")
            .start()
            .await;
    let mut chat = socket(&gateway.ada(), "chat").await;
    let mut news = listen(&gateway.ada(), "news").await;
    let mut weather = listen(&gateway.ada(), "weather").await;
    gateway.clock.advance(minutes(31));
    ended_socket(&mut chat).await;
    ended(&mut news).await;
    assert!(next(&mut weather).await.is_some());
    for end in gateway.completions(2).await {
        assert_eq!(end["cause"], "posture-stale", "{end}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_ends_takes_its_streams_with_it() {
    let (gateway, _upstreams) = streams("").start().await;
    let mut chat = socket(&gateway.ada(), "chat").await;
    let mut news = listen(&gateway.ada(), "news").await;
    let long = gateway
        .token("ada")
        .claim("exp", gateway.clock.seconds() + 3 * 3600);
    let mut weather = listen(&gateway.ada().token(long.sign()), "weather").await;
    gateway.clock.advance(hours(2));
    ended_socket(&mut chat).await;
    ended(&mut news).await;
    assert!(next(&mut weather).await.is_some());
    for end in gateway.completions(2).await {
        assert_eq!(end["outcome"], "cut", "{end}");
        assert_eq!(end["cause"], "credential-expired", "{end}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_policy_ends_only_what_is_denied_now() {
    let (gateway, _upstreams) = streams("").start().await;
    let bob = gateway.client().device(&gateway.device("laptop"));
    let bob = bob.token(gateway.token("bob").sign());
    let mut chat = socket(&gateway.ada(), "chat").await;
    let mut chat_of_bob = socket(&bob, "chat").await;
    let mut news = listen(&gateway.ada(), "news").await;
    gateway
        .set_policy(
            r#"@id("all") permit (principal, action, resource);
               @id("not-ada") forbid (principal == Masugata::User::"corp/ada", action == Masugata::Action::"connect", resource);"#,
        )
        .await;
    ended_socket(&mut chat).await;
    for _ in 0..30 {
        assert!(next(&mut news).await.is_some());
    }
    speak(&mut chat_of_bob).await;
    let ends = gateway.completions(1).await;
    assert_eq!(ends.len(), 1);
    assert_eq!(ends[0]["outcome"], "cut");
    assert_eq!(ends[0]["cause"], "forbidden");
    assert!(ends[0]["bytes_sent"].as_u64().unwrap() > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_device_and_a_revoked_certificate_end_open_streams() {
    let builder = streams("");
    let empty = builder.gateway.pki().revocation_list(&[], 30, 1);
    let (gateway, _upstreams) = builder
        .with(|gateway| gateway.device("phone", "").file("ca.crl", &empty))
        .start()
        .await;
    let mut chat = socket(&gateway.ada(), "chat").await;
    let phone = gateway.ada().device(&gateway.device("phone"));
    let mut news = listen(&phone, "news").await;
    let list = gateway
        .pki()
        .revocation_list(&[&gateway.device("phone")], 30, 2);
    gateway.write("ca.crl", &list);
    gateway.edit(
        "devices.toml",
        "id = \"laptop\"",
        "id = \"laptop\"\nstate = \"lost\"",
    );
    gateway.reload().await;
    ended_socket(&mut chat).await;
    ended(&mut news).await;
    let ends = gateway.completions(2).await;
    let mut causes: Vec<&str> = ends
        .iter()
        .map(|end| end["cause"].as_str().unwrap())
        .collect();
    causes.sort_unstable();
    assert_eq!(causes, ["device-certificate-revoked", "device-suspended"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_app_and_a_removed_issuer_end_open_streams() {
    let (gateway, _upstreams) = streams("").start().await;
    let mut chat = socket(&gateway.ada(), "chat").await;
    let mut weather = listen(&gateway.ada(), "weather").await;
    gateway.edit(
        "masugata.toml",
        "hosts = [\"chat.corp.test\"]",
        "hosts = [\"talk.corp.test\"]",
    );
    gateway.reload().await;
    ended_socket(&mut chat).await;
    assert!(next(&mut weather).await.is_some());
    gateway.edit("masugata.toml", "name = \"corp\"", "name = \"company\"");
    gateway.reload().await;
    ended(&mut weather).await;
    let ends = gateway.completions(2).await;
    assert_eq!(ends[0]["cause"], "route-not-found");
    assert_eq!(ends[1]["cause"], "credential-invalid");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_waits_for_its_app_is_cut_too() {
    let upstream = Upstream::new(|_request| std::future::pending()).await;
    let gateway = TestGateway::new()
        .app("slow", upstream.address)
        .start()
        .await;
    let mut session = gateway.ada().session("slow").await;
    let waiting = tokio::spawn(async move { session.get("/").await });
    masugata_tests::eventually("the app was asked", async || upstream.seen().len() == 1).await;
    gateway
        .set_policy(r#"@id("none") forbid (principal, action, resource);"#)
        .await;
    let answer = waiting.await.unwrap();
    assert_denied(&answer, "forbidden");
    let records = gateway.records().await;
    let end = masugata_tests::end_of(&records, &answer);
    assert_eq!(end["outcome"], "cut");
    assert_eq!(end["cause"], "forbidden");
}

const WANTS_ENCRYPTION: &str = "require.posture = [\"disk_encrypted\"]";

/// A chat and news with requirements, and weather for everybody.
struct WorldBuilder {
    gateway: TestGatewayBuilder,
    more: String,
}

fn streams(more: &str) -> WorldBuilder {
    WorldBuilder {
        gateway: TestGateway::new().config("[ingress.bounds]\ndrain = \"0s\""),
        more: more.to_owned(),
    }
}

impl WorldBuilder {
    fn with(mut self, change: impl FnOnce(TestGatewayBuilder) -> TestGatewayBuilder) -> Self {
        self.gateway = change(self.gateway);
        self
    }

    async fn start(self) -> (TestGateway, [Upstream; 2]) {
        let (echo, events) = (Upstream::websocket_echo().await, Upstream::events().await);
        let chat = format!("upgrades = true\n{}", self.more);
        let gateway = self
            .gateway
            .app_with("chat", "confidential", echo.address, &chat)
            .app_with("news", "confidential", events.address, &self.more)
            .app_with("weather", "public", events.address, "")
            .policy(r#"@id("all") permit (principal, action, resource);"#)
            .start()
            .await;
        (gateway, [echo, events])
    }
}

async fn vault() -> (TestGateway, Upstream) {
    let upstream = Upstream::hello().await;
    let gateway = TestGateway::new()
        .app_with("vault", "confidential", upstream.address, WANTS_ENCRYPTION)
        .start()
        .await;
    (gateway, upstream)
}

/// An open WebSocket that has been used.
async fn socket(client: &Client, app: &str) -> WebSocket {
    let mut socket = client.websocket(app, "/").await.unwrap();
    speak(&mut socket).await;
    socket
}

async fn speak(socket: &mut WebSocket) {
    socket.send(Message::text("hello")).await.unwrap();
    let echo = patiently(socket.next()).await.unwrap().unwrap();
    assert_eq!(echo, Message::text("hello"));
}

async fn ended_socket(socket: &mut WebSocket) {
    let end = patiently(socket.next()).await;
    assert!(
        !matches!(end, Some(Ok(Message::Text(_) | Message::Binary(_)))),
        "{end:?}"
    );
}

/// An open stream of events that has begun.
async fn listen(client: &Client, app: &str) -> Response<Incoming> {
    let mut session = client.session(app).await;
    let request = session.build(Method::GET, "/events");
    let request = request.body(http_body_util::Full::default()).unwrap();
    let mut response = session.open(request).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(next(&mut response).await.unwrap(), "data: tick\n\n");
    // A connection of HTTP/2 ends with its last sender.
    std::mem::forget(session);
    response
}

async fn next(response: &mut Response<Incoming>) -> Option<Bytes> {
    let frame = patiently(response.body_mut().frame()).await?.ok()?;
    frame.into_data().ok()
}

async fn ended(response: &mut Response<Incoming>) {
    while next(response).await.is_some() {}
}

async fn patiently<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(30), future)
        .await
        .expect("waited in vain")
}

fn row(name: &str, observed_at: &str, posture: impl Fn(&str) -> String) -> String {
    let posture: Vec<String> = ATTRIBUTES
        .iter()
        .map(|attribute| posture(attribute))
        .collect();
    format!(
        "[[device]]\nid = \"{name}\"\nidentities = [\"{}\"]\nkind = \"laptop\"\nownership = \"company\"\n\
         observed_at = \"{observed_at}\"\n{}\n",
        masugata_tests::Pki::identity(name),
        posture.join("\n")
    )
}

fn stamp(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).unwrap().to_string()
}
