//! The provider and the browser that tests of sign-in stand on behave as real ones do.

use std::collections::BTreeMap;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::Method;
use masugata_tests::{Bend, FakeProvider, TestGateway, Upstream, pairs, query_of};
use serde_json::Value;

const VERIFIER: &str = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFG";

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_with_everything_about_people_starts() {
    let upstream = Upstream::hello().await;
    let builder = TestGateway::new();
    let provider = FakeProvider::new(&builder, "staff").await;
    let gateway = builder
        .app("wiki", upstream.address)
        .accounts("")
        .provider(&provider)
        .scim("accounts")
        .start()
        .await;
    let answer = gateway.ada().get("wiki", "/").await;
    assert_eq!(answer.status, 200, "tokens count as before");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_provider_hands_out_a_code_once_and_only_to_whoever_asked() {
    let (gateway, provider) = beside("staff").await;
    let mut browser = gateway.browser("laptop");
    let code = ask(&mut browser, &provider).await["code"].clone();

    let mut form = vec![
        ("grant_type", "authorization_code"),
        ("code", &code),
        ("redirect_uri", "https://wiki.corp.test/back"),
        ("code_verifier", VERIFIER),
    ];
    assert_eq!(token(&gateway, &provider, "wrong", &form).await.0, 401);
    let (status, answer) = token(&gateway, &provider, &provider.client_secret, &form).await;
    assert_eq!(status, 200, "{answer}");
    let claims = claims(answer["id_token"].as_str().unwrap());
    assert_eq!(claims["nonce"], "n");
    assert_eq!(claims["acr"], "gold");
    assert_eq!(claims["sub"], "ada");
    let again = token(&gateway, &provider, &provider.client_secret, &form).await;
    assert_eq!(again.0, 400);

    let code = ask(&mut browser, &provider).await["code"].clone();
    form[1].1 = &code;
    form[3].1 = "another verifier";
    let stolen = token(&gateway, &provider, &provider.client_secret, &form).await;
    assert_eq!(stolen.0, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_can_be_bent_and_straightened() {
    let (gateway, provider) = beside("staff").await;
    provider.bend(Bend::Redirect, |answer| answer["iss"] = "https://x".into());
    let mut browser = gateway.browser("laptop");
    assert_eq!(ask(&mut browser, &provider).await["iss"], "https://x");
    provider.straighten();
    assert_eq!(ask(&mut browser, &provider).await["iss"], provider.issuer);
    assert_eq!(provider.asked("/authorize").len(), 2);
    let notice = claims(&provider.logout_token(Some("ada"), None));
    assert!(notice["nonce"].is_null() && notice["events"].is_object());
}

async fn beside(name: &str) -> (TestGateway, FakeProvider) {
    let upstream = Upstream::hello().await;
    let builder = TestGateway::new();
    let provider = FakeProvider::new(&builder, name).await;
    let gateway = builder.app("wiki", upstream.address).start().await;
    (gateway, provider)
}

/// The parameters with which the provider sends back.
async fn ask(
    browser: &mut masugata_tests::Browser,
    provider: &FakeProvider,
) -> BTreeMap<String, String> {
    let challenge = URL_SAFE_NO_PAD.encode(digest(&SHA256, VERIFIER.as_bytes()));
    let query = pairs(&[
        ("client_id", &provider.client_id),
        ("redirect_uri", "https://wiki.corp.test/back"),
        ("state", "s"),
        ("nonce", "n"),
        ("acr_values", "gold silver"),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
    ]);
    let url = format!("{}/authorize?{query}", provider.issuer);
    let answer = browser.step(&url).await;
    let to = answer.header("location").unwrap();
    query_of(to.split_once('?').unwrap().1)
}

async fn token(
    gateway: &TestGateway,
    provider: &FakeProvider,
    secret: &str,
    form: &[(&str, &str)],
) -> (u16, Value) {
    let address = provider.authority().replace("localhost", "127.0.0.1");
    let client =
        masugata_tests::Client::of(address.parse().unwrap(), gateway.pki().root(), "localhost");
    let basic = STANDARD.encode(format!("{}:{secret}", provider.client_id));
    let client = client
        .header("authorization", &format!("Basic {basic}"))
        .header("content-type", "application/x-www-form-urlencoded");
    let answer = client
        .request("", Method::POST, "/token", &pairs(form))
        .await;
    (answer.status.as_u16(), answer.json())
}

fn claims(token: &str) -> Value {
    let middle = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(middle).unwrap()).unwrap()
}
