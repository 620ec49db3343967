//! What is asked, in which words, and that a person who answers well is signed in.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::world::{CALLBACK, CLIENT, Parameters, World, half_hash, raw, text, wanted};
use crate::capability::SystemEntropy;
use crate::config::sign_in::{AssuranceRequest, Pushed};
use crate::issuer::testing::{self as keys};
use crate::relying_party::{SignInError, Wanted};

#[tokio::test]
async fn a_person_signs_in() {
    let world = World::new().await;
    let signed_in = world
        .sign_in(wanted(), json!({"at_hash": half_hash("access")}))
        .await
        .ok()
        .unwrap();
    assert_eq!(signed_in.principal.id(), "corp/ada");
    assert_eq!(signed_in.principal.issuer(), "corp");
    assert_eq!(signed_in.principal.name(), Some("Ada"));
    assert_eq!(signed_in.principal.groups(), ["g1".into()]);
    assert_eq!(&*signed_in.subject, "ada");
    assert_eq!(signed_in.provider_session.as_deref(), Some("s1"));
    assert_eq!(signed_in.email.as_deref(), Some("ada@example.com"));
    assert_eq!(signed_in.user_name.as_deref(), Some("ada.l"));
    assert!(signed_in.authentication.multi_factor);
    assert!(!signed_in.authentication.certificate_bound);
    assert_eq!(
        signed_in.vouched_until,
        world.now().plus(Duration::from_secs(300))
    );
    assert!(
        signed_in.refresh_token.is_none(),
        "not configured, so not kept"
    );
}

#[tokio::test]
async fn the_question_says_all_that_it_should() {
    let world =
        World::with(|plan| plan.client.required_claims = vec![("hd".into(), "a.example".into())])
            .await;
    let (attempt, asked) = world
        .begin(Wanted {
            login_hint: Some("ada@example.com".to_owned()),
            ..wanted()
        })
        .await;
    for (name, value) in [
        ("tenant", "a"),
        ("response_type", "code"),
        ("client_id", CLIENT),
        ("redirect_uri", CALLBACK),
        ("scope", "openid profile"),
        ("code_challenge_method", "S256"),
        ("ui_locales", "ja"),
        ("login_hint", "ada@example.com"),
        ("hd", "a.example"),
    ] {
        assert_eq!(asked[name], value, "{name}");
    }
    for absent in ["max_age", "acr_values", "claims", "prompt"] {
        assert!(!asked.has(absent), "{absent}");
    }
    assert_eq!(asked["state"], text(attempt.state()));
    let secrets = [&asked["state"], &asked["nonce"], &asked["code_challenge"]];
    assert!(secrets.iter().all(|it| it.len() == 43));
    let verifier = text(&attempt.verifier);
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, verifier.as_bytes());
    assert_eq!(asked["code_challenge"], keys::encode(hash));
    let (_, again) = world.begin(wanted()).await;
    for name in ["state", "nonce", "code_challenge"] {
        assert_ne!(asked[name], again[name], "{name} is used once");
    }
}

#[tokio::test]
async fn a_question_is_pushed_where_that_is_offered() {
    let world = World::with(|plan| {
        let par = format!("{}/par", plan.base);
        plan.metadata["pushed_authorization_request_endpoint"] = json!(par);
    })
    .await;
    let answer = json!({"request_uri": "urn:example:1", "expires_in": 60}).to_string();
    let head = "content-type: application/json\r\n";
    world
        .server
        .answer_raw("/par", raw("201 Created", head, &answer));
    let (attempt, asked) = world.begin(wanted()).await;
    assert_eq!(asked["request_uri"], "urn:example:1");
    assert_eq!(asked["client_id"], CLIENT);
    assert_eq!(asked["tenant"], "a");
    assert_eq!(
        asked.0.len(),
        3,
        "nothing else is in the browser's hands: {asked:?}"
    );
    let (head, body) = world.server.last_request("/par");
    assert!(head.contains("authorization: Basic "));
    let form = Parameters::of(&body);
    assert_eq!(form["state"], text(attempt.state()));
    assert_eq!(form["redirect_uri"], CALLBACK);
    assert!(form.has("code_challenge") && form.has("nonce") && !form.has("tenant"));
}

#[tokio::test]
async fn a_push_that_fails_is_not_replaced_by_a_plain_question() {
    for (status, body, code) in [
        (
            "400 Bad Request",
            r#"{"error":"invalid_request"}"#,
            "refused-by-provider",
        ),
        (
            "401 Unauthorized",
            r#"{"error":"invalid_client"}"#,
            "client-refused",
        ),
        ("500 Oops", "{}", "provider-unavailable"),
        ("302 Found", "{}", "provider-unavailable"),
        ("201 Created", "{}", "provider-unavailable"),
        (
            "201 Created",
            r#"{"request_uri":"a b"}"#,
            "provider-unavailable",
        ),
        ("201 Created", "<html>", "provider-unavailable"),
    ] {
        let world = World::with(|plan| {
            let par = format!("{}/par", plan.base);
            plan.metadata["pushed_authorization_request_endpoint"] = json!(par);
        })
        .await;
        world.server.answer_raw("/par", raw(status, "", body));
        assert_eq!(begin_fault(&world).await.code(), code, "{status} {body}");
    }
}

async fn begin_fault(world: &World) -> SignInError {
    let entropy = SystemEntropy::default();
    let begun = world
        .provider()
        .begin(wanted(), CALLBACK, &entropy, world.now())
        .await;
    begun.err().unwrap()
}

#[tokio::test]
async fn pushing_that_is_required_and_not_offered_is_told() {
    for (pushed, required) in [
        (Pushed::Required, false),
        (Pushed::Offered, true),
        (Pushed::Never, true),
    ] {
        let world = World::with(|plan| {
            plan.client.pushed = pushed;
            plan.metadata["require_pushed_authorization_requests"] = json!(required);
        })
        .await;
        assert_eq!(begin_fault(&world).await.code(), "provider-metadata");
    }
}

#[tokio::test]
async fn stronger_authentication_is_asked_for_in_the_provider_s_way() {
    let strong = || Wanted {
        multi_factor: true,
        max_age: Some(300),
        ..wanted()
    };
    for (asks, acr_values, claims) in [
        (AssuranceRequest::AcrValues, Some("gold phr"), None),
        (
            AssuranceRequest::EssentialAcr,
            None,
            Some(json!({"id_token": {
                "acr": {"essential": true, "values": ["gold", "phr"]},
                "auth_time": {"essential": true}}})),
        ),
        (
            AssuranceRequest::EssentialAcrs,
            None,
            Some(json!({"id_token": {
                "acrs": {"essential": true, "values": ["gold", "phr"]},
                "auth_time": {"essential": true}}})),
        ),
        (AssuranceRequest::Nothing, None, None),
    ] {
        let world = World::with(|plan| plan.client.asks = asks).await;
        let (_, asked) = world.begin(strong()).await;
        let sent = asked.0.get("acr_values").map(String::as_str);
        assert_eq!(sent, acr_values, "{asks:?}");
        let sent = asked.0.get("claims");
        let sent = sent.map(|text| serde_json::from_str::<Value>(text).unwrap());
        assert_eq!(sent, claims, "{asks:?}");
        assert_eq!(asked["max_age"], "300");
        assert_eq!(asked.has("prompt"), asks == AssuranceRequest::Nothing);
    }
}

#[tokio::test]
async fn only_context_classes_that_suffice_are_asked_for() {
    let world = World::new().await;
    let resistant = Wanted {
        acr_values: vec!["gold".into(), "phr".into()],
        phishing_resistant: true,
        max_age: Some(0),
        ..wanted()
    };
    let (_, asked) = world.begin(resistant).await;
    assert_eq!(asked["acr_values"], "phr");
    assert_eq!(asked["prompt"], "login");
    let foreign = Wanted {
        acr_values: vec!["of-another-provider".into()],
        multi_factor: true,
        ..wanted()
    };
    assert_eq!(world.begin(foreign).await.1["acr_values"], "gold phr");
    let own = Wanted {
        acr_values: vec!["department".into()],
        ..wanted()
    };
    assert_eq!(world.begin(own).await.1["acr_values"], "department");
}

#[test]
fn a_code_challenge_is_known_by_heart() {
    // RFC 7636 appendix B.
    let verifier =
        oauth2::PkceCodeVerifier::new("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk".into());
    let challenge = oauth2::PkceCodeChallenge::from_code_verifier_sha256(&verifier);
    assert_eq!(
        challenge.as_str(),
        "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
    );
    assert!(URL_SAFE_NO_PAD.decode(challenge.as_str()).is_ok());
}
