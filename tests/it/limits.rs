//! Limits: quotas by whom and what they count, lockout of guessers, caps on unfinished handshakes.

use masugata_tests::{
    Client, TestGateway, TestGatewayBuilder, Upstream, assert_denied, decision_of, eventually,
    seconds,
};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_counts_what_its_key_says() {
    // Who: person, device, address, app; the first two requests use the quota up.
    let first = ("ada", "laptop", "192.0.2.1", "wiki");
    for (key, same, other) in [
        (
            "\"principal\"",
            ("ada", "phone", "192.0.2.2", "mail"),
            ("bob", "laptop", "192.0.2.1", "wiki"),
        ),
        (
            "\"device\"",
            ("bob", "laptop", "192.0.2.2", "mail"),
            ("ada", "phone", "192.0.2.1", "wiki"),
        ),
        (
            "\"address\"",
            ("bob", "phone", "192.0.2.1", "mail"),
            ("ada", "laptop", "192.0.2.2", "wiki"),
        ),
        (
            "\"app\"",
            ("bob", "phone", "192.0.2.2", "wiki"),
            ("ada", "laptop", "192.0.2.1", "mail"),
        ),
        (
            "\"principal\", \"app\"",
            ("ada", "phone", "192.0.2.2", "wiki"),
            ("ada", "laptop", "192.0.2.1", "mail"),
        ),
    ] {
        let (gateway, _upstream) =
            limited(&format!("key = [{key}]\nrequests = 2\nperiod = \"1m\"")).await;
        let ask = async |(user, device, address, app): (&str, &str, &str, &str)| {
            let client = gateway.client().device(&gateway.device(device));
            let client = client.token(gateway.token(user).sign());
            client
                .header("x-forwarded-for", address)
                .get(app, "/")
                .await
        };
        assert_eq!(ask(first).await.status, 200, "{key}");
        assert_eq!(ask(first).await.status, 200, "{key}");
        let answer = ask(same).await;
        assert_denied(&answer, "quota-exceeded");
        assert_eq!(answer.header("retry-after"), Some("30"), "{key}");
        assert_eq!(ask(other).await.status, 200, "{key}");
        gateway.clock.advance(seconds(29));
        assert_denied(&ask(same).await, "quota-exceeded");
        gateway.clock.advance(seconds(1));
        assert_eq!(ask(same).await.status, 200, "{key}");
        gateway.records().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_forgives_nothing() {
    let (gateway, _upstream) =
        limited("key = [\"principal\"]\nrequests = 1\nperiod = \"1m\"").await;
    assert_eq!(gateway.ada().get("wiki", "/").await.status, 200);
    gateway.reload().await;
    assert_denied(&gateway.ada().get("wiki", "/").await, "quota-exceeded");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_uses_up_a_quota_with_requests_that_are_denied() {
    let (gateway, _upstream) = limited("key = [\"address\"]\nrequests = 1\nperiod = \"1h\"").await;
    let guest = gateway.token("eve").claim("groups", json!([])).sign();
    let guest = on_laptop(&gateway).token(guest);
    for _ in 0..5 {
        assert_denied(&guest.get("wiki", "/").await, "no-permit");
        assert_denied(
            &on_laptop(&gateway).get("wiki", "/").await,
            "credential-missing",
        );
    }
    assert_eq!(gateway.ada().get("wiki", "/").await.status, 200);
    assert_denied(&gateway.ada().get("wiki", "/").await, "quota-exceeded");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_concerns_the_apps_and_methods_it_names() {
    let (gateway, _upstream) = limited(
        "key = [\"principal\"]\nrequests = 1\nperiod = \"1h\"\napps = [\"wiki\"]\nmethods = [\"POST\"]",
    )
    .await;
    for _ in 0..3 {
        assert_eq!(gateway.ada().get("wiki", "/").await.status, 200);
        assert_eq!(gateway.ada().post("mail", "/", "").await.status, 200);
    }
    assert_eq!(gateway.ada().post("wiki", "/", "").await.status, 200);
    assert_denied(&gateway.ada().post("wiki", "/", "").await, "quota-exceeded");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_observed_limit_is_recorded_and_lets_through() {
    let (gateway, _upstream) =
        limited("key = [\"principal\"]\nrequests = 1\nperiod = \"1h\"\nmode = \"observe\"").await;
    assert_eq!(gateway.ada().get("wiki", "/").await.status, 200);
    assert_eq!(gateway.ada().get("wiki", "/").await.status, 200);
    let records = gateway.records().await;
    let observed: Vec<&Value> = records
        .iter()
        .filter(|it| it["type"] == "decision")
        .map(|it| &it["observed_limits"])
        .collect();
    assert_eq!(observed, [&Value::Null, &json!(["calm"])]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_is_permitted_and_then_the_rate_holds() {
    let (gateway, _upstream) =
        limited("key = [\"principal\"]\nrequests = 60\nperiod = \"1m\"\nburst = 3").await;
    let mut session = gateway.ada().session("wiki").await;
    for _ in 0..3 {
        assert_eq!(session.get("/").await.status, 200);
    }
    assert_denied(&session.get("/").await, "quota-exceeded");
    gateway.clock.advance(seconds(1));
    assert_eq!(session.get("/").await.status, 200);
    assert_denied(&session.get("/").await, "quota-exceeded");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guesser_cannot_lock_out_whoever_owns_another_device() {
    let (gateway, upstream) =
        guarded("free_failures = 1\nlock_after = 3\nfirst_delay = \"1ms\"\nmax_delay = \"1ms\"")
            .await;
    let phone = || gateway.client().device(&gateway.device("phone"));
    // The thief has a device of the company and guesses in ada's name, from ada's address.
    for _ in 0..3 {
        gateway.clock.advance(seconds(1));
        let guess = gateway.token("ada").claim("aud", "guess").sign();
        assert_denied(
            &phone().token(guess).get("wiki", "/").await,
            "credential-invalid",
        );
    }
    let good = gateway.token("ada").sign();
    let answer = phone().token(&*good).get("wiki", "/").await;
    assert_denied(&answer, "locked-out");
    assert!(
        upstream.seen().is_empty(),
        "not even a good one is looked at"
    );
    assert_eq!(gateway.ada().get("wiki", "/").await.status, 200);
    assert_eq!(
        on_laptop(&gateway)
            .token(&*good)
            .get("wiki", "/")
            .await
            .status,
        200
    );
    // Renewing the certificate does not help: it is the device that counts.
    let renewed = gateway.client().device(&gateway.pki().issue("phone", 30));
    assert_denied(&renewed.token(&*good).get("wiki", "/").await, "locked-out");
    // Strangers without a device never come so far.
    let records = gateway.records().await;
    let locked = records
        .iter()
        .find(|it| it["operation"] == "locked-out")
        .unwrap();
    assert!(
        locked["detail"]
            .as_str()
            .unwrap()
            .contains("device spiffe://test/device/phone")
    );
    assert_eq!(decision_of(&records, &answer)["device"]["id"], "phone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_does_not_end_what_is_proved_already() {
    let (gateway, _upstream) = guarded("free_failures = 0\nlock_after = 1").await;
    let proved = gateway.ada();
    assert_eq!(proved.get("wiki", "/").await.status, 200);
    let guess = on_laptop(&gateway).token("guess");
    assert_denied(&guess.get("wiki", "/").await, "credential-invalid");
    assert_denied(&guess.get("wiki", "/").await, "locked-out");
    assert_eq!(proved.get("wiki", "/").await.status, 200);
    assert_denied(&gateway.ada().get("wiki", "/").await, "locked-out");
}

#[tokio::test(flavor = "multi_thread")]
async fn delays_grow_and_end() {
    let (gateway, _upstream) = guarded(
        "free_failures = 1\nfirst_delay = \"2s\"\nmax_delay = \"1m\"\nlock_after = 5\nlock = \"10m\"\nwindow = \"1h\"",
    )
    .await;
    let mut session = on_laptop(&gateway).session("wiki").await;
    session.set_token("guess-0");
    assert_denied(&session.get("/").await, "credential-invalid");
    for (number, wait) in [(1, 2), (2, 4), (3, 8), (4, 600)] {
        session.set_token(format!("guess-{number}"));
        assert_denied(&session.get("/").await, "credential-invalid");
        let answer = session.get("/").await;
        assert_denied(&answer, "locked-out");
        assert_eq!(answer.header("retry-after"), Some(&*wait.to_string()));
        // Asking meanwhile neither helps nor harms.
        gateway.clock.advance(seconds(wait - 1));
        let answer = session.get("/").await;
        assert_denied(&answer, "locked-out");
        assert_eq!(answer.header("retry-after"), Some("1"));
        gateway.clock.advance(seconds(1));
    }
    session.set_token(gateway.token("ada").sign());
    assert_eq!(session.get("/").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_token_clears_a_devices_slate() {
    let (gateway, _upstream) = guarded("free_failures = 2\nlock_after = 4").await;
    for round in 0..4 {
        for number in 0..2 {
            let guess = on_laptop(&gateway).token(format!("guess-{round}-{number}"));
            assert_denied(&guess.get("wiki", "/").await, "credential-invalid");
        }
        assert_eq!(gateway.ada().get("wiki", "/").await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn honest_mistakes_lock_nobody_out() {
    let (gateway, _upstream) = guarded("free_failures = 0\nlock_after = 1").await;
    let now = gateway.clock.seconds();
    let expired = gateway
        .token("ada")
        .claim("iat", now - 7200)
        .claim("exp", now - 3600);
    let expired = on_laptop(&gateway).token(expired.sign());
    let weak = on_laptop(&gateway).token(gateway.token("ada").password_only().sign());
    for _ in 0..3 {
        assert_denied(&expired.get("wiki", "/").await, "credential-expired");
        assert_denied(
            &on_laptop(&gateway).get("wiki", "/").await,
            "credential-missing",
        );
        assert_denied(&weak.get("wiki", "/").await, "assurance-insufficient");
    }
    assert_eq!(gateway.ada().get("wiki", "/").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_lifts_a_lock() {
    let (gateway, _upstream) = guarded("free_failures = 0\nlock_after = 1\nlock = \"1h\"").await;
    let guess = on_laptop(&gateway).token("guess");
    guess.get("wiki", "/").await;
    assert_denied(&gateway.ada().get("wiki", "/").await, "locked-out");
    let lockouts = async || -> Value {
        let (status, body) = gateway.admin("GET", "/lockouts").await;
        assert_eq!(status, 200);
        serde_json::from_str(&body).unwrap()
    };
    let listed = lockouts().await;
    assert_eq!(
        listed["lockouts"][0]["source"],
        "device spiffe://test/device/laptop"
    );
    assert_eq!(listed["lockouts"][0]["locked"], true);
    let key = listed["lockouts"][0]["key"].as_str().unwrap().to_owned();
    assert_eq!(gateway.admin("DELETE", "/lockouts/nobody").await.0, 404);
    assert_denied(&gateway.ada().get("wiki", "/").await, "locked-out");
    assert_eq!(
        gateway.admin("DELETE", &format!("/lockouts/{key}")).await.0,
        204
    );
    assert_eq!(gateway.ada().get("wiki", "/").await.status, 200);
    assert_eq!(lockouts().await, json!({ "lockouts": [] }));
    assert_eq!(
        gateway.admin("DELETE", &format!("/lockouts/{key}")).await.0,
        404
    );
    let records = gateway.records().await;
    assert!(records.iter().any(|it| it["operation"] == "lockout-lifted"));
}

#[tokio::test(flavor = "multi_thread")]
async fn unfinished_handshakes_are_few_per_address() {
    let upstream = Upstream::hello().await;
    let gateway = TestGateway::new()
        .app("wiki", upstream.address)
        .config("[ingress.bounds]\nhandshakes_per_address = 2\nhandshake_timeout = \"2m\"")
        .start()
        .await;
    let mut open = gateway.ada().session("wiki").await;
    assert_eq!(open.get("/").await.status, 200);
    let silent = [
        TcpStream::connect(gateway.address()).await.unwrap(),
        TcpStream::connect(gateway.address()).await.unwrap(),
    ];
    // Accepted in the order of arrival, so the third finds both places taken: it is closed without a word.
    let mut third = TcpStream::connect(gateway.address()).await.unwrap();
    let end = third.read(&mut [0; 16]).await;
    assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
    assert!(gateway.ada().try_session("wiki").await.is_err());
    assert_eq!(open.get("/").await.status, 200, "who is in stays in");
    drop(silent);
    eventually("places are free again", async || {
        gateway.ada().try_session("wiki").await.is_ok()
    })
    .await;
    gateway.records().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_bounded_per_address() {
    let upstream = Upstream::hello().await;
    let gateway = TestGateway::new()
        .app("wiki", upstream.address)
        .config("[ingress.bounds]\nconnections_per_address = 2")
        .start()
        .await;
    let mut first = gateway.ada().session("wiki").await;
    let mut second = gateway.ada().session("wiki").await;
    assert_eq!(first.get("/").await.status, 200);
    assert_eq!(second.get("/").await.status, 200);
    assert!(gateway.ada().try_session("wiki").await.is_err());
    drop(first);
    eventually("a place is free again", async || {
        gateway.ada().try_session("wiki").await.is_ok()
    })
    .await;
    assert_eq!(second.get("/").await.status, 200);
}

async fn limited(limit: &str) -> (TestGateway, Upstream) {
    start(
        TestGateway::new()
            .ingress("trusted_forwarders = [\"127.0.0.1/32\"]")
            .config(&format!("[[limit]]\nname = \"calm\"\n{limit}")),
    )
    .await
}

async fn guarded(lockout: &str) -> (TestGateway, Upstream) {
    start(TestGateway::new().config(&format!("[lockout]\n{lockout}"))).await
}

async fn start(builder: TestGatewayBuilder) -> (TestGateway, Upstream) {
    let upstream = Upstream::hello().await;
    let gateway = builder
        .device("phone", "")
        .app("wiki", upstream.address)
        .app("mail", upstream.address)
        .start()
        .await;
    (gateway, upstream)
}

fn on_laptop(gateway: &TestGateway) -> Client {
    gateway.client().device(&gateway.device("laptop"))
}
