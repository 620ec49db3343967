//! Attacks through the browser: forged, mixed-up, late and malformed answers.

use std::time::Duration;

use serde_json::json;

use super::world::{JSON, World, raw, wanted};
use crate::relying_party::SignInError;
use crate::respond::Language;

#[tokio::test]
async fn an_answer_for_another_browser_is_refused() {
    let world = World::new().await;
    let (mine, _) = world.begin(wanted()).await;
    let (_, theirs) = world.begin(wanted()).await;
    world.grant(&world.sign(&world.claims(&theirs)));
    let error = world.complete(mine, &world.answer(&theirs)).await.err();
    assert_eq!(error, Some(SignInError::OtherAttempt));
    assert_eq!(world.server.asked("/token"), 0, "the code is not even sent");
}

#[tokio::test]
async fn an_answer_of_another_provider_is_refused() {
    let world = World::new().await;
    for (iss, expected) in [
        (Some("https://evil.example"), SignInError::MixedUp),
        (Some(""), SignInError::MixedUp),
        (None, SignInError::MixedUp),
    ] {
        for outcome in ["code=c", "error=access_denied"] {
            let (attempt, asked) = world.begin(wanted()).await;
            let iss = iss.map(|iss| format!("&iss={iss}")).unwrap_or_default();
            let query = format!("{outcome}&state={}{iss}", asked["state"]);
            let error = world.complete(attempt, &query).await.err();
            assert_eq!(error.as_ref(), Some(&expected), "{query}");
        }
    }
    assert_eq!(world.server.asked("/token"), 0);

    // One that does not promise to say who it is may leave it out, and must be right if it does not.
    let world = World::with(|plan| {
        plan.metadata["authorization_response_iss_parameter_supported"] = json!(false);
    })
    .await;
    let (attempt, asked) = world.begin(wanted()).await;
    world.grant(&world.sign(&world.claims(&asked)));
    let query = format!("code=c&state={}", asked["state"]);
    assert!(world.complete(attempt, &query).await.is_ok());
    let (attempt, asked) = world.begin(wanted()).await;
    let query = format!("code=c&state={}&iss=https://evil.example", asked["state"]);
    assert_eq!(
        world.complete(attempt, &query).await.err(),
        Some(SignInError::MixedUp)
    );
}

#[tokio::test]
async fn an_attempt_at_one_provider_is_none_at_another() {
    let world = World::new().await;
    let (mut attempt, asked) = world.begin(wanted()).await;
    attempt.issuer = "partner".into();
    let error = world.complete(attempt, &world.answer(&asked)).await.err();
    assert_eq!(error, Some(SignInError::MixedUp));
}

#[tokio::test]
async fn a_code_that_comes_twice_is_the_provider_s_no() {
    let world = World::new().await;
    let (attempt, asked) = world.begin(wanted()).await;
    let body = r#"{"error":"invalid_grant","error_description":"code was used"}"#;
    world
        .server
        .answer_raw("/token", raw("400 Bad Request", JSON, body));
    let error = world
        .complete(attempt, &world.answer(&asked))
        .await
        .err()
        .unwrap();
    assert_eq!(error.code(), "code-refused");
}

#[tokio::test]
async fn an_answer_after_ten_minutes_is_refused() {
    let world = World::new().await;
    let (attempt, asked) = world.begin(wanted()).await;
    world.clock.advance(Duration::from_secs(601));
    let error = world.complete(attempt, &world.answer(&asked)).await.err();
    assert_eq!(error, Some(SignInError::TimedOut));
}

#[tokio::test]
async fn malformed_answers_are_refused_before_anything_is_asked() {
    let world = World::new().await;
    for query in [
        "",
        "code=c",
        "state=STATE",
        "code=c&code=d&state=STATE",
        "code=c&state=STATE&state=STATE",
        "code=c&error=x&state=STATE",
        "code=c&state=STATE&id_token=x",
    ] {
        let (attempt, asked) = world.begin(wanted()).await;
        let query = query.replace("STATE", &asked["state"]);
        let error = world.complete(attempt, &query).await.err().unwrap();
        assert_eq!(error.code(), "answer-malformed", "{query}");
    }
    assert_eq!(world.server.asked("/token"), 0);
}

#[tokio::test]
async fn the_provider_s_errors_have_their_meaning() {
    let world = World::new().await;
    for (error, code) in [
        ("access_denied", "denied-by-provider"),
        ("login_required", "interaction-required"),
        ("interaction_required", "interaction-required"),
        ("unmet_authentication_requirements", "assurance-unmet"),
        ("unauthorized_client", "client-refused"),
        ("server_error", "refused-by-provider"),
        ("<script>", "refused-by-provider"),
    ] {
        let (attempt, asked) = world.begin(wanted()).await;
        let query = format!(
            "error={error}&state={}&iss={}",
            asked["state"], world.config.issuer
        );
        let fault = world.complete(attempt, &query).await.err().unwrap();
        assert_eq!(fault.code(), code, "{error}");
        for language in [Language::Japanese, Language::English] {
            let words = fault.words(language);
            assert!(!words.text.is_empty() && !words.text.contains("script"));
        }
    }
}
