//! Token endpoints that misbehave.

use std::time::Duration;

use serde_json::json;

use super::world::{JSON, World, raw, wanted};

#[tokio::test]
async fn a_token_endpoint_that_misbehaves_signs_nobody_in() {
    let good_but = |status: &str, head: &str, body: &str| raw(status, head, body);
    let huge = format!("{{\"x\":\"{}\"}}", "a".repeat(300 * 1024));
    for (what, answer) in [
        (
            "html",
            good_but("200 OK", "content-type: text/html\r\n", "<html>"),
        ),
        (
            "json as html",
            good_but("200 OK", "content-type: text/html\r\n", "{}"),
        ),
        ("empty", good_but("200 OK", JSON, "")),
        ("empty object", good_but("200 OK", JSON, "{}")),
        (
            "error 500",
            good_but("500 Oops", JSON, r#"{"error":"invalid_grant"}"#),
        ),
        ("huge", good_but("200 OK", JSON, &huge)),
        (
            "compressed",
            good_but("200 OK", "content-encoding: gzip\r\n", "{}"),
        ),
        (
            "repeated members",
            good_but(
                "200 OK",
                JSON,
                r#"{"access_token":"a","token_type":"bearer","id_token":"x","id_token":"y"}"#,
            ),
        ),
        (
            "another type",
            good_but(
                "200 OK",
                JSON,
                r#"{"access_token":"a","token_type":"mac","id_token":"x"}"#,
            ),
        ),
        (
            "no ID Token",
            good_but(
                "200 OK",
                JSON,
                r#"{"access_token":"a","token_type":"bearer"}"#,
            ),
        ),
        ("garbage", b"SSH-2.0-OpenSSH\r\n".to_vec()),
    ] {
        let world = World::new().await;
        let (attempt, asked) = world.begin(wanted()).await;
        world.server.answer_raw("/token", answer);
        let error = world
            .complete(attempt, &world.answer(&asked))
            .await
            .err()
            .unwrap();
        assert_eq!(error.code(), "provider-unavailable", "{what}: {error}");
    }
}

#[tokio::test]
async fn a_token_endpoint_that_redirects_is_not_followed() {
    let world = World::new().await;
    let (attempt, asked) = world.begin(wanted()).await;
    world.grant(&world.sign(&world.claims(&asked)));
    let good = json!({"access_token": "access", "token_type": "bearer", "id_token": world.sign(&world.claims(&asked))});
    world.server.answer("/elsewhere", &good.to_string());
    for status in [
        "302 Found",
        "307 Temporary Redirect",
        "308 Permanent Redirect",
    ] {
        let answer = raw(status, "location: /elsewhere\r\n", "{}");
        world.server.answer_raw("/token", answer);
    }
    let error = world
        .complete(attempt, &world.answer(&asked))
        .await
        .err()
        .unwrap();
    assert_eq!(error.code(), "provider-unavailable");
    assert_eq!(world.server.asked("/elsewhere"), 0);
}

#[tokio::test]
async fn a_token_endpoint_that_dawdles_is_not_waited_for() {
    let world = World::new().await;
    let (attempt, asked) = world.begin(wanted()).await;
    world.grant(&world.sign(&world.claims(&asked)));
    world.server.set_delay(Duration::from_secs(30));
    let query = world.answer(&asked);
    let waited = tokio::time::timeout(Duration::from_secs(5), world.complete(attempt, &query));
    let error = waited.await.unwrap().err().unwrap();
    assert_eq!(error.code(), "provider-unavailable");
}

#[tokio::test]
async fn one_secret_is_not_found_in_anything_that_prints() {
    let world = World::new().await;
    let head = "content-type: application/json\r\n";
    let (attempt, asked) = world.begin(wanted()).await;
    let body = r#"{"access_token":"t0psecret","token_type":7}"#;
    world.server.answer_raw("/token", raw("200 OK", head, body));
    let error = world
        .complete(attempt, &world.answer(&asked))
        .await
        .err()
        .unwrap();
    assert!(!format!("{error} {error:?}").contains("t0psecret"));
    assert_eq!(error.code(), "provider-unavailable");
}
