//! Every way of saying no, seen from outside: status, code, headers, and the same in the record.

use http::Method;
use masugata::denial::{DenialReason, Stage};
use masugata_tests::{
    Answer, Client, SCIM_TOKEN, SmallDisk, TestGateway, TestGatewayBuilder, Upstream, days,
    decision_of, end_of, eventually, hours, minutes,
};
use serde_json::Value;

/// How it is known that a reason can be met.
enum Proof {
    /// By this test.
    Shown(fn()),
    /// Not from outside, because:
    Hidden(&'static str),
}

/// Exhaustive on purpose: a new reason stops the build until it has a test.
fn proof(reason: DenialReason) -> Proof {
    use DenialReason as Reason;
    use Proof::{Hidden, Shown};
    match reason {
        Reason::RequestMalformed => Shown(request_malformed),
        Reason::RequestAmbiguous => Shown(request_ambiguous),
        Reason::HeaderTooLarge => Shown(header_too_large),
        Reason::MethodNotAllowed => Shown(method_not_allowed),
        Reason::Misdirected => Shown(misdirected),
        Reason::RouteNotFound => Shown(route_not_found),
        Reason::LoopDetected => Shown(loop_detected),
        Reason::DeviceCertificateMissing => Shown(device_certificate_missing),
        Reason::DeviceCertificateExpired => Shown(device_certificate_expired),
        Reason::DeviceCertificateRevoked => Shown(device_certificate_revoked),
        Reason::DeviceUnknown => Shown(device_unknown),
        Reason::DeviceAmbiguous => Shown(device_ambiguous),
        Reason::DeviceSuspended => Shown(device_suspended),
        Reason::CredentialMissing => Shown(credential_missing),
        Reason::CredentialMalformed => Shown(credential_malformed),
        Reason::CredentialInvalid => Shown(credential_invalid),
        Reason::CredentialExpired => Shown(credential_expired),
        Reason::CredentialNotBound => Shown(credential_not_bound),
        Reason::IssuerUnavailable => Shown(issuer_unavailable),
        Reason::AccountDisabled => Shown(account_disabled),
        Reason::LockedOut => Shown(locked_out),
        Reason::AssuranceInsufficient => Shown(assurance_insufficient),
        Reason::PostureMissing => Shown(posture_missing),
        Reason::PostureStale => Shown(posture_stale),
        Reason::PostureFailing => Shown(posture_failing),
        Reason::NoPermit => Shown(no_permit),
        Reason::Forbidden => Shown(forbidden),
        Reason::PolicyError => Shown(policy_error),
        Reason::QuotaExceeded => Shown(quota_exceeded),
        Reason::BodyTooLarge => Shown(body_too_large),
        Reason::UpgradeNotAllowed => Shown(upgrade_not_allowed),
        Reason::AuditUnavailable => Shown(audit_unavailable),
        Reason::Overloaded => Hidden(
            "said when the gateway cuts what is left at its end, when the connection ends, too; the record says \
             `shut-down`, which `operations` and `attack_streams` show",
        ),
        Reason::DestinationPortRefused => Shown(destination_port_refused),
        Reason::DestinationProhibited => Shown(destination_prohibited),
        Reason::ReasonNeeded => Shown(reason_needed),
        Reason::ListsUnavailable => Shown(lists_unavailable),
        Reason::SniMismatch | Reason::TunnelNotTls => Hidden(
            "the tunnel is open by then and is cut; `egress_door` shows what its record says",
        ),
        Reason::Internal => Hidden("takes a defect; the unit tests of the trail show its record"),
    }
}

#[test]
fn every_reason_is_shown_or_cannot_be_met() {
    let mut shown = Vec::new();
    for reason in DenialReason::ALL {
        match proof(reason) {
            Proof::Shown(test) => shown.push(test as usize),
            Proof::Hidden(because) => assert!(!because.is_empty(), "{}", reason.code()),
        }
    }
    let count = shown.len();
    shown.sort_unstable();
    shown.dedup();
    assert_eq!(shown.len(), count, "each reason has a test of its own");
    assert_eq!(count, DenialReason::ALL.len() - 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn request_malformed() {
    let (gateway, _upstream) = wiki().await;
    let mut session = gateway.ada().session("wiki").await;
    session.set_host("0x7f.1");
    let answer = session.get("/").await;
    assert_eq!(answer.header("connection"), Some("close"));
    let twice = gateway.ada().h2().header("host", "other.corp.test");
    assert_refusal(
        &twice.get("wiki", "/").await,
        DenialReason::RequestMalformed,
    );
    assert_recorded(gateway, &answer, DenialReason::RequestMalformed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn request_ambiguous() {
    let (gateway, upstream) = wiki().await;
    let answer = gateway.ada().get("wiki", "/a%2f..%2fadmin").await;
    for client in [gateway.ada(), gateway.ada().h2()] {
        let twin = client.header("x_forwarded_for", "192.0.2.1");
        assert_refusal(&twin.get("wiki", "/").await, DenialReason::RequestAmbiguous);
    }
    assert!(upstream.seen().is_empty());
    assert_recorded(gateway, &answer, DenialReason::RequestAmbiguous).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn header_too_large() {
    let (gateway, _upstream) = wiki().await;
    let padded = gateway.ada().header("x-pad", &"p".repeat(70 * 1024));
    let answer = padded.get("wiki", "/").await;
    let mut many = gateway.ada();
    for number in 0..130 {
        many = many.header(&format!("x-{number}"), "");
    }
    assert_refusal(&many.get("wiki", "/").await, DenialReason::HeaderTooLarge);
    assert_recorded(gateway, &answer, DenialReason::HeaderTooLarge).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn method_not_allowed() {
    let (gateway, upstream) = wiki().await;
    let answer = gateway.ada().request("wiki", Method::TRACE, "/", "").await;
    assert!(answer.header("allow").is_some(), "RFC 9110 §15.5.6");
    let lower = Method::from_bytes(b"delete").unwrap();
    let answer_h2 = gateway.ada().h2().request("wiki", lower, "/", "").await;
    assert_refusal(&answer_h2, DenialReason::MethodNotAllowed);
    assert!(upstream.seen().is_empty());
    assert_recorded(gateway, &answer, DenialReason::MethodNotAllowed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn misdirected() {
    let upstream = Upstream::hello().await;
    let gateway = TestGateway::new()
        .app("wiki", upstream.address)
        .app("mail", upstream.address)
        .start()
        .await;
    let mut session = gateway.ada().session("wiki").await;
    session.set_host("mail.corp.test");
    let answer = session.get("/").await;
    let mut session = gateway.ada().h2().session("wiki").await;
    session.set_host("mail.corp.test");
    assert_refusal(&session.get("/").await, DenialReason::Misdirected);
    session.set_host("wiki.corp.test");
    assert_eq!(session.get("/").await.status, 200);
    assert_recorded(gateway, &answer, DenialReason::Misdirected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn route_not_found() {
    let upstream = Upstream::hello().await;
    let app = format!(
        "name = \"wiki\"\nlevel = \"internal\"\nhosts = [\"wiki.corp.test\"]\npath_prefix = \"/wiki\"\n\
         upstream.servers = [\"http://{}\"]",
        upstream.address
    );
    let gateway = TestGateway::new().raw_app(&app).start().await;
    assert_eq!(gateway.ada().get("wiki", "/wiki/x").await.status, 200);
    let answer = gateway.ada().get("wiki", "/wikipedia").await;
    let elsewhere = gateway.ada().h2().get("nowhere", "/").await;
    assert_refusal(&elsewhere, DenialReason::RouteNotFound);
    assert_recorded(gateway, &answer, DenialReason::RouteNotFound).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn loop_detected() {
    let (gateway, upstream) = wiki().await;
    gateway.ada().get("wiki", "/").await;
    let via = upstream.last().headers["via"].to_str().unwrap().to_owned();
    let via = format!("1.1 elsewhere, {via}");
    let answer = gateway.ada().header("via", &via).get("wiki", "/").await;
    assert_eq!(upstream.seen().len(), 1);
    assert_recorded(gateway, &answer, DenialReason::LoopDetected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn device_certificate_missing() {
    let upstream = Upstream::hello().await;
    let gateway = TestGateway::new()
        .ingress("client_certificates = \"optional\"")
        .app("wiki", upstream.address)
        .start()
        .await;
    let stranger = gateway.client().token(gateway.token("ada").sign());
    let answer = stranger.get("wiki", "/").await;
    let answer_h2 = stranger.h2().get("wiki", "/").await;
    assert_refusal(&answer_h2, DenialReason::DeviceCertificateMissing);
    let decision = assert_recorded(gateway, &answer, DenialReason::DeviceCertificateMissing).await;
    assert_eq!(decision["principal"], Value::Null, "no token is looked at");
    assert_eq!(decision["log"], "authentication");
}

#[tokio::test(flavor = "multi_thread")]
async fn device_certificate_expired() {
    let (gateway, _upstream) = wiki().await;
    let device = gateway.pki().issue("laptop", 2);
    let mut session = gateway.client().device(&device).session("wiki").await;
    session.set_token(gateway.token("ada").sign());
    assert_eq!(session.get("/").await.status, 200);
    gateway.clock.advance(days(3));
    session.set_token(gateway.token("ada").sign());
    let answer = session.get("/").await;
    assert_recorded(gateway, &answer, DenialReason::DeviceCertificateExpired).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn device_certificate_revoked() {
    let upstream = Upstream::hello().await;
    let builder = TestGateway::new().app("wiki", upstream.address);
    let list = builder
        .pki()
        .revocation_list(&[&builder.pki().device("laptop")], 30, 1);
    let gateway = builder.file("ca.crl", &list).start().await;
    let answer = gateway.ada().get("wiki", "/").await;
    assert_recorded(gateway, &answer, DenialReason::DeviceCertificateRevoked).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn device_unknown() {
    let (gateway, _upstream) = wiki().await;
    let stranger = gateway.ada().device(&gateway.device("unlisted"));
    let answer = stranger.get("wiki", "/").await;
    assert_recorded(gateway, &answer, DenialReason::DeviceUnknown).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn device_ambiguous() {
    let (gateway, _upstream) = wiki().await;
    let row = gateway.read("devices.toml");
    let twin = row.replace("id = \"laptop\"", "id = \"twin\"");
    gateway.write("devices.toml", &format!("{row}{twin}"));
    gateway.reload().await;
    let answer = gateway.ada().get("wiki", "/").await;
    assert_recorded(gateway, &answer, DenialReason::DeviceAmbiguous).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn device_suspended() {
    let upstream = Upstream::hello().await;
    let gateway = TestGateway::new()
        .app("wiki", upstream.address)
        .device("phone", "state = \"lost\"")
        .start()
        .await;
    let lost = gateway.ada().device(&gateway.device("phone"));
    let answer = lost.get("wiki", "/").await;
    let decision = assert_recorded(gateway, &answer, DenialReason::DeviceSuspended).await;
    assert_eq!(decision["detail"], "lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn credential_missing() {
    let (gateway, _upstream) = wiki().await;
    let nobody = gateway.client().device(&gateway.device("laptop"));
    let answer = nobody.get("wiki", "/").await;
    let challenge = answer.header("www-authenticate").unwrap();
    assert!(!challenge.contains("error="), "RFC 6750 §3.1: {challenge}");
    let answer_h2 = nobody.h2().get("wiki", "/").await;
    assert_refusal(&answer_h2, DenialReason::CredentialMissing);
    assert_recorded(gateway, &answer, DenialReason::CredentialMissing).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn credential_malformed() {
    let (gateway, _upstream) = wiki().await;
    let basic = device_of(&gateway).header("authorization", "Basic YWRhOmFkYQ==");
    let answer = basic.get("wiki", "/").await;
    let twice = gateway.ada().h2().header("authorization", "Bearer x");
    assert_refusal(
        &twice.get("wiki", "/").await,
        DenialReason::CredentialMalformed,
    );
    assert_recorded(gateway, &answer, DenialReason::CredentialMalformed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn credential_invalid() {
    let (gateway, _upstream) = wiki().await;
    let token = gateway.token("ada").claim("aud", "somebody-else").sign();
    let answer = device_of(&gateway).token(token).get("wiki", "/").await;
    let decision = assert_recorded(gateway, &answer, DenialReason::CredentialInvalid).await;
    assert_eq!(decision["detail"], "the token is for another audience");
}

#[tokio::test(flavor = "multi_thread")]
async fn credential_expired() {
    let (gateway, _upstream) = wiki().await;
    let mut session = gateway.ada().session("wiki").await;
    assert_eq!(session.get("/").await.status, 200);
    gateway.clock.advance(hours(2));
    let answer = session.get("/").await;
    assert_recorded(gateway, &answer, DenialReason::CredentialExpired).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn credential_not_bound() {
    let (gateway, _upstream) = wiki().await;
    let other = gateway.device("phone").thumbprint;
    let stolen = gateway.token("ada").bound_to(&other).sign();
    let answer = device_of(&gateway).token(stolen).get("wiki", "/").await;
    assert_recorded(gateway, &answer, DenialReason::CredentialNotBound).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn account_disabled() {
    let upstream = Upstream::hello().await;
    let gateway = TestGateway::new()
        .app("wiki", upstream.address)
        .scim("corp");
    let gateway = gateway.accounts("").start().await;
    assert_eq!(gateway.ada().get("wiki", "/").await.status, 200);
    let disabled = r#"{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"userName":"ada@corp.test",
        "externalId":"ada","active":false}"#;
    let scim = gateway.client().token(SCIM_TOKEN);
    let scim = scim.header("content-type", "application/scim+json");
    let answer = scim.post("scim", "/scim/v2/Users", disabled).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    let answer = gateway.ada().get("wiki", "/").await;
    let decision = assert_recorded(gateway, &answer, DenialReason::AccountDisabled).await;
    assert_eq!(decision["principal"]["id"], "corp/ada", "{decision}");
}

#[tokio::test(flavor = "multi_thread")]
async fn issuer_unavailable() {
    let upstream = Upstream::hello().await;
    // Bound and closed again: nobody answers there.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nowhere = format!("http://{}", closed.local_addr().unwrap());
    drop(closed);
    let gateway = TestGateway::new()
        .app("wiki", upstream.address)
        .config(&format!(
            "[[issuer]]\nname = \"away\"\nissuer = \"{nowhere}\"\naudiences = [\"masugata\"]"
        ))
        .start()
        .await;
    let token = gateway.token("ada").claim("iss", nowhere.as_str()).sign();
    let answer = device_of(&gateway).token(token).get("wiki", "/").await;
    assert!(answer.header("retry-after").is_some());
    assert_recorded(gateway, &answer, DenialReason::IssuerUnavailable).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn locked_out() {
    let upstream = Upstream::hello().await;
    let gateway = TestGateway::new()
        .app("wiki", upstream.address)
        .config("[lockout]\nfree_failures = 0\nlock_after = 1\nlock = \"5m\"")
        .start()
        .await;
    let guesser = device_of(&gateway).token("guess");
    guesser.get("wiki", "/").await;
    let answer = guesser.get("wiki", "/").await;
    assert_eq!(answer.header("retry-after"), Some("300"));
    assert_recorded(gateway, &answer, DenialReason::LockedOut).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn assurance_insufficient() {
    let (gateway, _upstream) = wiki().await;
    let weak = gateway.token("ada").password_only().sign();
    let answer = device_of(&gateway).token(weak).get("wiki", "/").await;
    let challenge = answer.header("www-authenticate").unwrap();
    assert!(challenge.contains("error=\"insufficient_user_authentication\""));
    let decision = assert_recorded(gateway, &answer, DenialReason::AssuranceInsufficient).await;
    assert_eq!(
        decision["principal"]["id"], "corp/ada",
        "the token was good"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn posture_missing() {
    let (gateway, _upstream) = confidential("require.posture = [\"edr_running\"]", "").await;
    let answer = gateway.ada().get("wiki", "/").await;
    assert_eq!(answer.json()["attribute"], "edr_running");
    assert_recorded(gateway, &answer, DenialReason::PostureMissing).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn posture_stale() {
    let more = "require.posture = [\"disk_encrypted\"]\nrequire.posture_max_age = \"30m\"";
    let (gateway, _upstream) = confidential(more, "").await;
    assert_eq!(gateway.ada().get("wiki", "/").await.status, 200);
    gateway.clock.advance(minutes(31));
    let answer = gateway.ada().h2().get("wiki", "/").await;
    assert_recorded(gateway, &answer, DenialReason::PostureStale).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn posture_failing() {
    let more = "require.posture = [\"firewall_enabled\"]";
    let (gateway, _upstream) = confidential(more, "posture.firewall_enabled = false").await;
    let client = gateway.ada().device(&gateway.device("sick"));
    let answer = client.get("wiki", "/").await;
    let decision = assert_recorded(gateway, &answer, DenialReason::PostureFailing).await;
    assert_eq!(decision["device"]["posture"]["firewall_enabled"], false);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_permit() {
    let (gateway, upstream) = wiki().await;
    let guest = gateway.token("eve").claim("groups", vec!["guests"]).sign();
    let client = device_of(&gateway).token(guest);
    let answer = client.get("wiki", "/").await;
    assert_refusal(&client.h2().get("wiki", "/").await, DenialReason::NoPermit);
    assert!(upstream.seen().is_empty());
    assert_recorded(gateway, &answer, DenialReason::NoPermit).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn forbidden() {
    let gateway = governed(
        r#"@id("all") permit (principal, action, resource);
           @id("no-writing") forbid (principal, action in Masugata::Action::"modify", resource);"#,
    );
    let gateway = gateway.start().await;
    let answer = gateway.ada().post("wiki", "/", "x").await;
    assert_refusal(
        &gateway.ada().h2().post("wiki", "/", "x").await,
        DenialReason::Forbidden,
    );
    let decision = assert_recorded(gateway, &answer, DenialReason::Forbidden).await;
    assert_eq!(decision["policies"], serde_json::json!(["no-writing"]));
    assert!(!answer.text().contains("no-writing"), "names stay inside");
}

#[tokio::test(flavor = "multi_thread")]
async fn policy_error() {
    let gateway = governed(
        r#"@id("all") permit (principal, action, resource);
           @id("broken") forbid (principal, action, resource)
           when { context.time.hour + 1 + 9223372036854775807 > 0 };"#,
    );
    let gateway = gateway.start().await;
    let answer = gateway.ada().get("wiki", "/").await;
    let decision = assert_recorded(gateway, &answer, DenialReason::PolicyError).await;
    assert_eq!(decision["policies"], serde_json::json!(["broken"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn quota_exceeded() {
    let upstream = Upstream::hello().await;
    let gateway = TestGateway::new()
        .app("wiki", upstream.address)
        .config("[[limit]]\nname = \"calm\"\nkey = [\"principal\"]\nrequests = 1\nperiod = \"1m\"")
        .start()
        .await;
    assert_eq!(gateway.ada().get("wiki", "/").await.status, 200);
    let answer = gateway.ada().get("wiki", "/").await;
    assert_eq!(answer.header("retry-after"), Some("60"));
    assert_refusal(
        &gateway.ada().h2().get("wiki", "/").await,
        DenialReason::QuotaExceeded,
    );
    assert_recorded(gateway, &answer, DenialReason::QuotaExceeded).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn body_too_large() {
    let upstream = Upstream::hello().await;
    let gateway = TestGateway::new()
        .app_with("wiki", "internal", upstream.address, "max_body = \"1KiB\"")
        .start()
        .await;
    let reason = DenialReason::BodyTooLarge;
    let body = "x".repeat(2000);
    let answer = gateway.ada().post("wiki", "/", &body).await;
    assert_refusal(&answer, reason);
    assert_refusal(&gateway.ada().h2().post("wiki", "/", &body).await, reason);
    // It was permitted, and then not forwarded: the completion says why.
    assert_eq!(reason.stage(), Stage::Forward);
    let records = gateway.records().await;
    assert_eq!(decision_of(&records, &answer)["decision"], "permitted");
    let end = end_of(&records, &answer);
    assert_eq!(end["outcome"], "cut");
    assert_eq!(end["cause"], reason.code());
    assert_eq!(end["status"], 413);
}

#[tokio::test(flavor = "multi_thread")]
async fn upgrade_not_allowed() {
    let (gateway, upstream) = wiki().await;
    let asking = gateway
        .ada()
        .header("connection", "upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    let answer = asking.get("wiki", "/").await;
    assert!(upstream.seen().is_empty());
    let decision = assert_recorded(gateway, &answer, DenialReason::UpgradeNotAllowed).await;
    assert_eq!(decision["action"], "connect");
}

#[tokio::test(flavor = "multi_thread")]
async fn audit_unavailable() {
    let Some(disk) = SmallDisk::mount(512) else {
        return;
    };
    let upstream = Upstream::hello().await;
    let builder = TestGateway::new().on_disk(&disk);
    let gateway = builder.app("wiki", upstream.address).start().await;
    let mut session = gateway.ada().session("wiki").await;
    assert_eq!(session.get("/").await.status, 200);
    disk.fill();
    let mut answer = session.get("/").await;
    eventually("a refusal", async || {
        answer = session.get("/").await;
        answer.status != 200
    })
    .await;
    let asked = upstream.seen().len();
    assert_refusal(&session.get("/").await, DenialReason::AuditUnavailable);
    assert_eq!(upstream.seen().len(), asked, "nothing goes upstream");
    disk.make_room();
    eventually("recovery", async || session.get("/").await.status == 200).await;
    assert_recorded(gateway, &answer, DenialReason::AuditUnavailable).await;
}

/// Holds a refusal against what clients are promised.
#[track_caller]
fn assert_refusal(answer: &Answer, reason: DenialReason) {
    let code = reason.code();
    assert_eq!(answer.status, reason.status(), "{code}: {}", answer.text());
    assert_eq!(
        answer.header("content-type"),
        Some("application/problem+json")
    );
    let problem = answer.json();
    assert_eq!(problem["code"], code);
    assert_eq!(problem["status"], reason.status().as_u16());
    assert_eq!(problem["type"], format!("urn:masugata:denial:{code}"));
    for member in ["title", "detail", "remedy"] {
        assert!(!problem[member].as_str().unwrap().is_empty(), "{member}");
    }
    assert_eq!(problem["request_id"].as_str().unwrap().len(), 32);
    let hop = answer.header("proxy-status").unwrap();
    assert!(hop.starts_with("masugata; error="), "{hop}");
    assert!(hop.ends_with(&format!("; details=\"{code}\"")), "{hop}");
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let asks_for_a_token = reason.status() == 401 || reason == DenialReason::CredentialMalformed;
    match answer.header("www-authenticate") {
        Some(challenge) => {
            assert!(asks_for_a_token, "{code}: {challenge}");
            assert!(challenge.starts_with("Bearer realm="), "{challenge}");
            assert!(challenge.contains("resource_metadata="), "{challenge}");
        }
        None => assert!(!asks_for_a_token, "{code} has no challenge"),
    }
}

/// Stops the gateway and finds the refusal in the record, with the same code and its stage.
async fn assert_recorded(gateway: TestGateway, answer: &Answer, reason: DenialReason) -> Value {
    assert_refusal(answer, reason);
    let records = gateway.records().await;
    let decision = decision_of(&records, answer);
    assert_eq!(decision["decision"], "denied");
    assert_eq!(decision["code"], reason.code());
    assert_eq!(decision["stage"], reason.stage().as_str());
    let end = end_of(&records, answer);
    assert_eq!(end["outcome"], "completed");
    assert_eq!(end["status"], reason.status().as_u16());
    decision.clone()
}

async fn wiki() -> (TestGateway, Upstream) {
    let upstream = Upstream::hello().await;
    let gateway = TestGateway::new().app("wiki", upstream.address).start();
    (gateway.await, upstream)
}

/// An app with requirements, and a device `sick` beside the good one.
async fn confidential(more: &str, sick: &str) -> (TestGateway, Upstream) {
    let upstream = Upstream::hello().await;
    let gateway = TestGateway::new()
        .app_with("wiki", "confidential", upstream.address, more)
        .device("sick", sick)
        .start();
    (gateway.await, upstream)
}

/// Nothing behind it: for what must not get so far.
fn governed(policy: &str) -> TestGatewayBuilder {
    TestGateway::new()
        .app("wiki", std::net::SocketAddr::from(([127, 0, 0, 1], 9)))
        .policy(policy)
}

fn device_of(gateway: &TestGateway) -> Client {
    gateway.client().device(&gateway.device("laptop"))
}

#[tokio::test(flavor = "multi_thread")]
async fn destination_port_refused() {
    let gateway = TestGateway::new().egress("").start().await;
    let answer = gateway.proxy().refused("site.example:25").await;
    assert_recorded(gateway, &answer, DenialReason::DestinationPortRefused).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn destination_prohibited() {
    let private = "[[egress.address]]\nhost = \"wiki.example\"\naddresses = [\"10.0.0.7\"]";
    let gateway = TestGateway::new().egress("").config(private).start().await;
    let answer = gateway.proxy().refused("wiki.example:443").await;
    assert_recorded(gateway, &answer, DenialReason::DestinationProhibited).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reason_needed() {
    let gateway = TestGateway::new()
        .egress("")
        .policy(
            r#"@id("everywhere") permit (principal, action, resource is Masugata::Destination);
               @id("why") @challenge("reason") forbid (principal, action, resource is Masugata::Destination)
               unless { context.request.reason_given };"#,
        )
        .start()
        .await;
    let answer = gateway.proxy().refused("files.example:443").await;
    assert_recorded(gateway, &answer, DenialReason::ReasonNeeded).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_unavailable() {
    let gateway = TestGateway::new()
        .file("lists/readme", "")
        .egress("lists_directory = \"lists\"")
        .config(
            "[[egress.feed]]\nname = \"far\"\nurl = \"https://127.0.0.1:9/list.txt\"\nformat = \"plain\"\n\
             categories = [\"malware\"]\nunsigned = true",
        )
        .start()
        .await;
    let answer = gateway.proxy().refused("site.example:443").await;
    assert_recorded(gateway, &answer, DenialReason::ListsUnavailable).await;
}
