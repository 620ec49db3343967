//! The decision: policies over people, devices, apps, networks and hours; and what people are told.

use std::time::Duration;

use http::Method;
use masugata_tests::{
    Client, TestGateway, TestGatewayBuilder, Upstream, assert_denied, decision_of, minutes,
};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn levels_groups_and_roles_open_what_they_name() {
    let upstream = Upstream::hello().await;
    let gateway = TestGateway::new()
        .app_with("home", "public", upstream.address, "")
        .app_with("wiki", "internal", upstream.address, "groups = [\"docs\"]")
        .app_with("vault", "confidential", upstream.address, "")
        .policy(
            r#"@id("public") permit (principal, action == Masugata::Action::"read", resource in Masugata::Level::"public");
               @id("docs") permit (principal in Masugata::Group::"writers", action, resource in Masugata::AppGroup::"docs");
               @id("vault") permit (principal in Masugata::Role::"keeper", action, resource in Masugata::Level::"confidential");"#,
        )
        .start()
        .await;
    let as_member = |groups: &[&str], roles: &[&str]| {
        let token = gateway.token("ada").claim("groups", json!(groups));
        on_laptop(&gateway).token(token.claim("roles", json!(roles)).sign())
    };
    let guest = as_member(&[], &[]);
    let writer = as_member(&["writers"], &[]);
    let keeper = as_member(&[], &["keeper"]);
    // A group is no role, and a role no group.
    let swapped = as_member(&["keeper"], &["writers"]);
    for (client, home, wiki, vault) in [
        (&guest, 200, 403, 403),
        (&writer, 200, 200, 403),
        (&keeper, 200, 403, 200),
        (&swapped, 200, 403, 403),
    ] {
        for (app, status) in [("home", home), ("wiki", wiki), ("vault", vault)] {
            assert_eq!(client.get(app, "/").await.status.as_u16(), status, "{app}");
        }
        assert_denied(&client.post("home", "/", "x").await, "no-permit");
    }
    gateway.records().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_token_of_the_same_person_is_decided_by_its_own_groups() {
    let gateway = permitting(
        r#"@id("staff") permit (principal in Masugata::Group::"staff", action, resource);"#,
    );
    let (gateway, _upstream) = start(gateway).await;
    let with = |groups: &[&str]| gateway.token("ada").claim("groups", json!(groups)).sign();
    let mut session = on_laptop(&gateway).session("wiki").await;
    for _ in 0..2 {
        session.set_token(with(&["staff"]));
        assert_eq!(session.get("/").await.status, 200);
        session.set_token(with(&["former-staff"]));
        assert_denied(&session.get("/").await, "no-permit");
        session.set_token(with(&[]));
        assert_denied(&session.get("/").await, "no-permit");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn methods_are_actions() {
    let gateway = permitting(
        r#"@id("read") permit (principal, action == Masugata::Action::"read", resource);
           @id("modify") permit (principal in Masugata::Group::"editors", action in Masugata::Action::"modify", resource);
           @id("never") forbid (principal, action == Masugata::Action::"delete", resource) unless { principal in Masugata::Group::"it" };"#,
    );
    let (gateway, upstream) = start(gateway).await;
    let member = |group: &str| {
        let token = gateway
            .token("ada")
            .claim("groups", json!([group, "editors"]));
        on_laptop(&gateway).token(token.sign())
    };
    let reader = on_laptop(&gateway).token(gateway.token("eve").sign());
    let (editor, it) = (member("editors"), member("it"));
    for (method, by_reader, by_editor, by_it) in [
        ("GET", 200, 200, 200),
        ("HEAD", 200, 200, 200),
        ("OPTIONS", 200, 200, 200),
        ("POST", 403, 200, 200),
        ("PUT", 403, 200, 200),
        ("PATCH", 403, 200, 200),
        ("PROPFIND", 403, 200, 200),
        ("DELETE", 403, 403, 200),
    ] {
        for (client, status) in [(&reader, by_reader), (&editor, by_editor), (&it, by_it)] {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let answer = client.request("wiki", method.clone(), "/", "").await;
            assert_eq!(answer.status.as_u16(), status, "{method}");
        }
    }
    // Another method in a header is another action behind us.
    let asked = upstream.seen().len();
    let sly = editor.header("x-http-method-override", "DELETE");
    assert_denied(&sly.post("wiki", "/", "").await, "request-ambiguous");
    assert_eq!(upstream.seen().len(), asked);
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_are_matched_as_the_app_reads_them() {
    let gateway = permitting(
        r#"@id("all") permit (principal, action, resource);
           @id("admin") forbid (principal, action, resource)
           when { context.request.path like "/admin/*" || context.request.path == "/admin" };"#,
    );
    let (gateway, upstream) = start(gateway).await;
    let mut session = gateway.ada().session("wiki").await;
    assert_eq!(session.get("/public").await.status, 200);
    assert_denied(&session.get("/admin").await, "forbidden");
    assert_denied(&session.get("/admin/x?y").await, "forbidden");
    for path in [
        "/%61dmin",
        "/%61dmin/x",
        "//admin/x",
        "/./admin",
        "/x/../admin",
        "/x/%2e%2e/admin",
        "/admin%2fx",
        "/admin;x=1/y",
        "/%2561dmin",
        "/admin\\x",
    ] {
        let answer = gateway.ada().get("wiki", path).await;
        assert_ne!(answer.status, 200, "{path}");
    }
    assert_eq!(upstream.seen().len(), 1);
    // Upstream it goes as it came.
    assert_eq!(gateway.ada().get("wiki", "/%7Eada/%61").await.status, 200);
    assert_eq!(upstream.last().uri.path(), "/%7Eada/%61");
}

#[tokio::test(flavor = "multi_thread")]
async fn hours_are_those_of_the_companys_zone() {
    let gateway = permitting(
        r#"@id("by-day") permit (principal, action, resource)
           when { context.time.hour >= 9 && context.time.hour < 18 };"#,
    );
    let (gateway, _upstream) = start(gateway.top("time_zone = \"Asia/Tokyo\"")).await;
    // 17:50 in Tokyo is 8:50 in London and night in New York.
    advance_to(&gateway, 17, 50);
    let mut session = gateway.ada().session("wiki").await;
    for _ in 0..3 {
        assert_eq!(session.get("/").await.status, 200);
    }
    gateway.clock.advance(minutes(9));
    assert_eq!(session.get("/").await.status, 200);
    gateway.clock.advance(minutes(1));
    assert_denied(&session.get("/").await, "no-permit");
    advance_to(&gateway, 8, 59);
    session.set_token(gateway.token("ada").sign());
    assert_denied(&session.get("/").await, "no-permit");
    gateway.clock.advance(minutes(1));
    assert_eq!(session.get("/").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_is_where_the_client_is_and_not_where_it_says() {
    const OFFICE: &str = r#"@id("office") permit (principal, action, resource)
        when { context.network.names.contains("office") };"#;
    const RANGES: &str =
        "[[network]]\nname = \"office\"\nranges = [\"192.0.2.0/24\", \"2001:db8::/32\"]";
    let (gateway, _upstream) = start(permitting(OFFICE).config(RANGES)).await;
    let claims = |gateway: &TestGateway, name: &str, value: &str| gateway.ada().header(name, value);
    for (name, value) in [
        ("x-forwarded-for", "192.0.2.1"),
        ("forwarded", "for=192.0.2.1"),
        ("x-real-ip", "192.0.2.1"),
    ] {
        let liar = claims(&gateway, name, value);
        assert_denied(&liar.get("wiki", "/").await, "no-permit");
    }
    let trusting = permitting(OFFICE).config(RANGES);
    let trusting = trusting.ingress("trusted_forwarders = [\"127.0.0.1/32\", \"203.0.113.7/32\"]");
    let (gateway, _upstream) = start(trusting).await;
    for (name, value, inside) in [
        ("x-forwarded-for", "192.0.2.1", true),
        ("x-forwarded-for", "192.0.2.1, 203.0.113.7", true),
        // What stands before the first stranger was written by the stranger.
        ("x-forwarded-for", "192.0.2.1, 198.51.100.1", false),
        ("x-forwarded-for", "198.51.100.1", false),
        ("x-forwarded-for", "nonsense", false),
        ("forwarded", "for=192.0.2.1;proto=https", true),
        ("forwarded", "for=\"[2001:db8::1]:443\"", true),
        ("forwarded", "for=192.0.2.1, for=198.51.100.1", false),
        ("forwarded", "for=unknown", false),
    ] {
        let answer = claims(&gateway, name, value).get("wiki", "/").await;
        let expected = if inside { 200 } else { 403 };
        assert_eq!(answer.status, expected, "{name}: {value}");
    }
    // The two disagree: the standard one counts.
    let both =
        claims(&gateway, "x-forwarded-for", "192.0.2.1").header("forwarded", "for=198.51.100.1");
    assert_denied(&both.get("wiki", "/").await, "no-permit");
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_are_told_apart_by_kind_owner_and_group() {
    let builder = permitting(
        r#"@id("own") permit (principal, action, resource)
           when { context.device.owned_by_principal && context.device.ownership == Masugata::Ownership::"company" };
           @id("shared") permit (principal, action, resource)
           when { context.device.kind == Masugata::DeviceKind::"desktop" && context.device.groups.contains("reception") };"#,
    );
    let (gateway, _upstream) = start(
        builder
            .device("byod", "ownership = \"personal\"")
            .device("bobs", "owner = \"corp/bob\"")
            .device(
                "counter",
                "kind = \"desktop\"\ngroups = [\"reception\"]\nowner = \"corp/bob\"",
            ),
    )
    .await;
    for (device, code) in [
        ("laptop", None),
        ("byod", Some("no-permit")),
        ("bobs", Some("no-permit")),
        ("counter", None),
    ] {
        let client = gateway.ada().device(&gateway.device(device));
        let answer = client.get("wiki", "/").await;
        assert_eq!(answer.denial_code().as_deref(), code, "{device}");
    }
}

/// A token that is bound to nothing is stolen and used on a healthy device of the company that is somebody else's.
#[tokio::test(flavor = "multi_thread")]
async fn a_stolen_token_opens_nothing_confidential_on_somebody_elses_device() {
    let upstream = Upstream::hello().await;
    let gateway = TestGateway::new()
        .app_with(
            "payroll",
            "confidential",
            upstream.address,
            "groups = [\"hr-apps\"]",
        )
        .policy(concat!(
            include_str!("../../deploy/policies/confidential.cedar"),
            include_str!("../../deploy/policies/apps.cedar"),
        ))
        .device("bobs", "owner = \"corp/bob\"")
        .device("counter", "kind = \"desktop\"\nowner = \"corp/nobody\"")
        .start()
        .await;
    // The harness gives every device an owner; this one loses it.
    gateway.edit("devices.toml", "owner = \"corp/nobody\"\n", "");
    gateway.reload().await;
    let stolen = gateway.token("ada").claim("groups", json!(["hr"])).sign();
    let on = async |device: &str| {
        let client = gateway.client().device(&gateway.device(device));
        client.token(stolen.as_str()).get("payroll", "/").await
    };
    assert_eq!(on("laptop").await.status, 200);
    assert_eq!(on("counter").await.status, 200);
    assert_denied(&on("bobs").await, "forbidden");
    let records = gateway.records().await;
    let denied = records.iter().find(|record| record["decision"] == "denied");
    assert_eq!(
        denied.unwrap()["policies"],
        json!(["confidential-needs-own-device"])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_challenge_turns_a_refusal_into_a_step_up() {
    let upstream = Upstream::hello().await;
    let step = |app: &str, kind: &str, condition: &str| {
        format!(
            r#"@id("{app}") @challenge("{kind}") @reason_en("Confirm it is you.")
               forbid (principal, action, resource == Masugata::App::"{app}") unless {{ {condition} }};"#
        )
    };
    let policy = [
        r#"@id("all") permit (principal, action, resource);"#.to_owned(),
        step("mfa", "mfa", "context.authentication.multi_factor"),
        step(
            "key",
            "phishing_resistant",
            "context.authentication.phishing_resistant",
        ),
        step(
            "fresh",
            "fresh",
            "context.authentication has age_minutes && context.authentication.age_minutes < 5",
        ),
        step("both", "mfa", "context.authentication.multi_factor"),
        r#"@id("hard") forbid (principal, action, resource == Masugata::App::"both");"#.to_owned(),
    ];
    let lax = "require.multi_factor = false\nrequire.acr_values = [\"gold\"]";
    let mut builder = TestGateway::new()
        .policy(&policy.join("\n"))
        .issuer_keys("acr_phishing_resistant = [\"phr\"]");
    for app in ["mfa", "key", "fresh", "both"] {
        builder = builder.app_with(app, "internal", upstream.address, lax);
    }
    let gateway = builder.start().await;
    let weak = on_laptop(&gateway).token(gateway.token("ada").password_only().sign());
    let old = gateway
        .token("ada")
        .claim("auth_time", gateway.clock.seconds() - 600);
    let old = on_laptop(&gateway).token(old.sign());
    for (client, app, max_age) in [
        (&weak, "mfa", false),
        (&weak, "key", false),
        (&old, "fresh", true),
    ] {
        let answer = client.get(app, "/").await;
        assert_denied(&answer, "assurance-insufficient");
        assert_eq!(answer.status, 401);
        let challenge = answer.header("www-authenticate").unwrap();
        assert!(challenge.contains("error=\"insufficient_user_authentication\""));
        assert!(challenge.contains("acr_values=\"gold\""), "{challenge}");
        assert_eq!(challenge.contains("max_age=\"0\""), max_age, "{challenge}");
        assert_eq!(answer.json()["detail"], "Confirm it is you.");
    }
    assert_eq!(gateway.ada().get("mfa", "/").await.status, 200);
    assert_eq!(gateway.ada().get("fresh", "/").await.status, 200);
    let passkey = gateway.token("ada").claim("acr", "phr").sign();
    assert_eq!(
        on_laptop(&gateway)
            .token(passkey)
            .get("key", "/")
            .await
            .status,
        200
    );
    // Nobody is sent to sign in again where that would not be enough.
    assert_denied(&weak.get("both", "/").await, "forbidden");
    // What was fresh grows old under a reused decision.
    let mut session = gateway.ada().session("fresh").await;
    assert_eq!(session.get("/").await.status, 200);
    gateway.clock.advance(minutes(5));
    assert_denied(&session.get("/").await, "assurance-insufficient");
    let records = gateway.records().await;
    let stepped = records
        .iter()
        .find(|it| it["code"] == "assurance-insufficient")
        .unwrap();
    assert_eq!(stepped["policies"], json!(["mfa"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_authors_words_reach_people_in_their_language() {
    let gateway = permitting(
        r#"@id("all") permit (principal, action, resource);
           @id("closed")
           @reason_en("Closed for <b>stock-taking</b>.") @reason_ja("棚卸しのため閉鎖中です。")
           @remedy_en("Come back on Monday & bring coffee.") @remedy_ja("月曜日にお越しください。")
           forbid (principal, action, resource);"#,
    );
    let (gateway, _upstream) = start(gateway).await;
    let page = |language: &str| {
        gateway
            .ada()
            .header("accept", "text/html,application/xhtml+xml,*/*;q=0.8")
            .header("accept-language", language)
    };
    let answer = page("ja,en;q=0.5").get("wiki", "/").await;
    assert_eq!(answer.status, 403);
    assert_eq!(
        answer.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    assert_eq!(answer.header("content-language"), Some("ja"));
    let text = answer.text();
    assert!(text.contains("棚卸しのため閉鎖中です。") && text.contains("月曜日にお越しください。"));
    assert!(text.contains("forbidden"), "the code is shown");
    assert!(!text.contains("closed\""), "the policy's name is not");
    let answer = page("en-GB").get("wiki", "/").await;
    assert_eq!(answer.header("content-language"), Some("en"));
    let text = answer.text();
    assert!(
        text.contains("Closed for &lt;b&gt;stock-taking&lt;/b&gt;."),
        "{text}"
    );
    assert!(
        text.contains("Come back on Monday &amp; bring coffee."),
        "{text}"
    );
    let program = gateway.ada().header("accept-language", "ja");
    let problem = program.get("wiki", "/").await.json();
    assert_eq!(problem["detail"], "棚卸しのため閉鎖中です。");
    assert_eq!(problem["remedy"], "月曜日にお越しください。");
}

#[tokio::test(flavor = "multi_thread")]
async fn forbid_wins_and_an_error_never_opens() {
    const OVERFLOWS: &str = "context.time.hour + 1 + 9223372036854775807 > 0";
    let gateway = permitting(r#"@id("all") permit (principal, action, resource);"#);
    let (gateway, upstream) = start(gateway).await;
    let mut session = gateway.ada().session("wiki").await;
    assert_eq!(session.get("/").await.status, 200);
    let all = r#"@id("all") permit (principal, action, resource);"#;
    let forbid = r#"@id("no") forbid (principal, action, resource);"#;
    let broken =
        format!(r#"@id("broken") forbid (principal, action, resource) when {{ {OVERFLOWS} }};"#);
    let hollow =
        format!(r#"@id("hollow") permit (principal, action, resource) when {{ {OVERFLOWS} }};"#);
    for (policy, code) in [
        (format!("{all}{forbid}"), Some("forbidden")),
        (format!("{forbid}{all}"), Some("forbidden")),
        (format!("{all}{broken}"), Some("policy-error")),
        (hollow.clone(), Some("no-permit")),
        (format!("{hollow}{all}"), None),
        (forbid.to_owned(), Some("forbidden")),
    ] {
        gateway.set_policy(&policy).await;
        let asked = upstream.seen().len();
        for _ in 0..2 {
            let answer = session.get("/").await;
            assert_eq!(answer.denial_code().as_deref(), code, "{policy}");
        }
        assert_eq!(
            upstream.seen().len() - asked,
            if code.is_some() { 0 } else { 2 }
        );
    }
    // A policy that does not load changes nothing.
    gateway.write(
        "policies/test.cedar",
        "@id(\"x\") permit (principal, action, resource) when { context.nonsense };",
    );
    gateway.gateway().reload().await.unwrap_err();
    assert_denied(&session.get("/").await, "forbidden");
    let answer = session.get("/").await;
    let records = gateway.records().await;
    let decision = decision_of(&records, &answer);
    assert_eq!(decision["policies"], json!(["no"]));
    assert!(
        decision["policy_version"]
            .as_str()
            .unwrap()
            .starts_with("sha256:")
    );
    assert!(records.iter().any(|it| it["operation"] == "reload-refused"));
}

fn permitting(policy: &str) -> TestGatewayBuilder {
    TestGateway::new().policy(policy)
}

async fn start(builder: TestGatewayBuilder) -> (TestGateway, Upstream) {
    let upstream = Upstream::hello().await;
    let gateway = builder.app("wiki", upstream.address).start().await;
    (gateway, upstream)
}

fn on_laptop(gateway: &TestGateway) -> Client {
    gateway.client().device(&gateway.device("laptop"))
}

/// To the next time at which the clocks in Tokyo show that; there is no summer time.
fn advance_to(gateway: &TestGateway, hour: i64, minute: i64) {
    let now = (gateway.clock.seconds() + 9 * 3600) % 86_400;
    let wait = (hour * 3600 + minute * 60 - now).rem_euclid(86_400);
    gateway
        .clock
        .advance(Duration::from_secs(u64::try_from(wait).unwrap()));
}
