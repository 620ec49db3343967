//! What follows a sign-in: asking again, giving back, signing out at the provider.

use std::time::Duration;

use serde_json::{Value, json};

use super::world::{CLIENT, Parameters, World, raw, text, wanted};
use crate::issuer::testing::START;
use crate::relying_party::{RefreshError, Refreshed};
use secrecy::SecretString;

async fn refreshing() -> World {
    let world = World::with(|plan| plan.client.refresh = true).await;
    let signed_in = world.sign_in(wanted(), json!({})).await.ok().unwrap();
    assert_eq!(signed_in.refresh_token.as_ref().map(text), Some("r1"));
    world
}

async fn refresh(world: &World, token: &str) -> Result<Refreshed, RefreshError> {
    let token = SecretString::from(token.to_owned());
    world.provider().refresh(&token, "ada", world.now()).await
}

fn token_answer(world: &World, answer: &Value) {
    world.server.answer("/token", &answer.to_string());
}

#[tokio::test]
async fn asking_again_brings_the_person_as_they_are_now() {
    let world = refreshing().await;
    let claims = json!({
        "iss": world.config.issuer, "aud": CLIENT, "sub": "ada", "iat": START, "exp": START + 300,
        "groups": ["g9"],
    });
    let answer = json!({
        "access_token": "a2", "token_type": "Bearer", "expires_in": 600, "refresh_token": "r2",
        "id_token": world.sign(&claims),
    });
    token_answer(&world, &answer);
    let refreshed = refresh(&world, "r1").await.ok().unwrap();
    assert_eq!(refreshed.refresh_token.as_ref().map(text), Some("r2"));
    assert_eq!(refreshed.principal.unwrap().groups(), ["g9".into()]);
    assert_eq!(
        refreshed.vouched_until,
        world.now().plus(Duration::from_secs(600))
    );
    let form = Parameters::of(&world.server.last_request("/token").1);
    assert_eq!(form["grant_type"], "refresh_token");
    assert_eq!(form["refresh_token"], "r1");

    let asked = world.server.asked("/token");
    assert_eq!(
        refresh(&world, "r1").await.err(),
        Some(RefreshError::Reused)
    );
    assert_eq!(world.server.asked("/token"), asked, "it is not sent again");
    let again = json!({"access_token": "a3", "token_type": "Bearer", "refresh_token": "r1"});
    token_answer(&world, &again);
    assert_eq!(
        refresh(&world, "r2").await.err(),
        Some(RefreshError::Reused)
    );
}

#[tokio::test]
async fn a_no_is_not_an_outage() {
    let world = refreshing().await;
    let head = "content-type: application/json\r\n";
    for (word, gone) in [
        ("invalid_grant", true),
        ("inactive_user", true),
        ("invalid_client", false),
        ("temporarily_unavailable", false),
    ] {
        let body = json!({ "error": word }).to_string();
        world
            .server
            .answer_raw("/token", raw("400 Bad Request", head, &body));
        let error = refresh(&world, "r1").await.err().unwrap();
        assert_eq!(matches!(error, RefreshError::Gone(_)), gone, "{word}");
        assert_eq!(
            matches!(error, RefreshError::Unreachable(_)),
            !gone,
            "{word}"
        );
    }
    for (status, body) in [
        ("500 Oops", "{}"),
        ("200 OK", "<html>"),
        ("429 Slow", "{}"),
        ("403 Forbidden", "<html>"),
    ] {
        world.server.answer_raw("/token", raw(status, "", body));
        let error = refresh(&world, "r1").await.err().unwrap();
        assert!(matches!(error, RefreshError::Unreachable(_)), "{status}");
    }
    world.server.set_down(true);
    let error = refresh(&world, "r1").await.err().unwrap();
    assert!(matches!(error, RefreshError::Unreachable(_)));
}

#[tokio::test]
async fn a_refreshed_token_of_somebody_else_ends_it() {
    let world = refreshing().await;
    let claims = json!({
        "iss": world.config.issuer, "aud": CLIENT, "sub": "eve", "iat": START, "exp": START + 300,
    });
    let answer = json!({
        "access_token": "a2", "token_type": "Bearer", "id_token": world.sign(&claims),
    });
    token_answer(&world, &answer);
    let error = refresh(&world, "r1").await.err().unwrap();
    assert!(matches!(error, RefreshError::Gone(_)), "{error}");
}

#[tokio::test]
async fn a_new_token_is_kept_though_the_rest_cannot_be_asked_for() {
    let world = World::with(|plan| {
        plan.client.refresh = true;
        plan.client.userinfo = true;
    })
    .await;
    let (_, asked) = world.begin(wanted()).await;
    world
        .server
        .answer_raw("/userinfo", raw("503 Later", "", ""));
    let answer = json!({
        "access_token": "a2", "token_type": "Bearer", "refresh_token": "r2",
        "id_token": world.sign(&world.claims(&asked)),
    });
    token_answer(&world, &answer);
    let refreshed = refresh(&world, "r1").await.ok().unwrap();
    assert_eq!(refreshed.refresh_token.as_ref().map(text), Some("r2"));
    assert!(refreshed.principal.is_none());
}

#[tokio::test]
async fn a_token_that_is_given_back_is_revoked() {
    let world = refreshing().await;
    let token = SecretString::from("r1".to_owned());
    world.provider().revoke(&token, world.now()).await;
    let (head, body) = world.server.last_request("/revoke");
    assert!(head.contains("authorization: Basic "));
    let form = Parameters::of(&body);
    assert_eq!(form["token"], "r1");
    assert_eq!(form["token_type_hint"], "refresh_token");
}

#[tokio::test]
async fn signing_out_leads_to_the_provider_and_back() {
    let world = World::new().await;
    let signed_in = world.sign_in(wanted(), json!({})).await.ok().unwrap();
    let provider = world.provider();
    let back = "https://login.example/signed-out";
    let url = provider
        .sign_out_url(Some(&signed_in.id_token), back, "s")
        .unwrap();
    assert!(url.starts_with(world.metadata["end_session_endpoint"].as_str().unwrap()));
    let asked = Parameters::of_url(&url);
    assert_eq!(asked["id_token_hint"], text(&signed_in.id_token));
    assert_eq!(asked["post_logout_redirect_uri"], back);
    assert_eq!((&*asked["state"], &*asked["client_id"]), ("s", CLIENT));
    let long = SecretString::from("x".repeat(5000));
    let asked = Parameters::of_url(&provider.sign_out_url(Some(&long), back, "s").unwrap());
    assert!(!asked.has("id_token_hint"));
    let world = World::with(|plan| plan.metadata["end_session_endpoint"] = Value::Null).await;
    world.begin(wanted()).await;
    assert_eq!(world.provider().sign_out_url(None, back, "s"), None);
}
