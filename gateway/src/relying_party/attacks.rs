//! Attacks on sign-in, each beside a sign-in that works: forged, stolen, mixed-up and replayed answers, tokens of every
//! wrong kind, providers that misbehave, and logout tokens.

use std::time::Duration;

use jsonwebtoken::Algorithm;
use serde_json::{Value, json};

use super::testing::{CALLBACK, CLIENT, World, changed, half_hash, raw, text, wanted};
use super::*;
use crate::capability::SystemEntropy;
use crate::config::sign_in::AssuranceRequest;
use crate::issuer::testing::{self as keys, START, Signer, encode};
use crate::issuer::{CredentialError, TimeFault, TokenFault};

const JSON: &str = "content-type: application/json\r\n";

fn token_fault(error: SignInError) -> TokenFault {
    let SignInError::Token(CredentialError::Invalid(fault)) = error else {
        panic!("{error:?}");
    };
    fault
}

/// A sign-in in which the token endpoint gives what `make` makes of the good claims.
async fn with_token(
    world: &World,
    make: impl FnOnce(&World, &Value) -> String,
) -> Result<SignedIn, SignInError> {
    let (attempt, asked) = world.begin(wanted()).await;
    world.grant(&make(world, &world.claims(&asked)));
    world.complete(attempt, &world.answer(&asked)).await
}

async fn token_refused(world: &World, make: impl FnOnce(&World, &Value) -> String) -> TokenFault {
    token_fault(with_token(world, make).await.err().unwrap())
}

#[tokio::test]
async fn an_id_token_of_another_sign_in_is_refused() {
    let world = World::new().await;
    let (_, other) = world.begin(wanted()).await;
    let fault = world.fault(json!({"nonce": other["nonce"]})).await;
    assert_eq!(token_fault(fault), TokenFault::Nonce);
    let fault = world.fault(json!({"nonce": null})).await;
    assert_eq!(token_fault(fault), TokenFault::ClaimMissing("nonce".into()));
    assert!(world.sign_in(wanted(), json!({})).await.is_ok());
}

#[tokio::test]
async fn an_unsigned_id_token_is_refused() {
    let world = World::new().await;
    for algorithm in ["none", "None", "NONE"] {
        let header = json!({"alg": algorithm, "kid": "k1"}).to_string();
        let fault = token_refused(&world, |world, claims| {
            world.signer.token_of(&header, &claims.to_string())
        });
        assert!(matches!(fault.await, TokenFault::Algorithm(_)));
        let fault = token_refused(&world, |_, claims| {
            format!("{}.{}.", encode(&header), encode(claims.to_string()))
        });
        assert_eq!(fault.await, TokenFault::Syntax("no signature"));
    }
}

#[tokio::test]
async fn an_id_token_signed_by_another_key_is_refused() {
    let world = World::new().await;
    let forger = Signer::es256("k1");
    let header = json!({"alg": "ES256", "kid": "k1"}).to_string();
    let forged = |_: &World, claims: &Value| forger.token_of(&header, &claims.to_string());
    assert_eq!(token_refused(&world, forged).await, TokenFault::Signature);
    let embedded = json!({"alg": "ES256", "kid": "k9", "jwk": forger.jwk}).to_string();
    let forged = |_: &World, claims: &Value| forger.token_of(&embedded, &claims.to_string());
    assert!(matches!(
        token_refused(&world, forged).await,
        TokenFault::KeyUnknown(_)
    ));
}

#[tokio::test]
async fn the_public_key_is_no_hmac_secret_and_neither_is_ours() {
    let world = World::new().await;
    let published = keys::key_set(&[&world.signer]).into_bytes();
    for secret in [published, "s3cret%+ é".as_bytes().to_vec()] {
        let forger = Signer {
            key_id: "k1".to_owned(),
            algorithm: Algorithm::HS256,
            encoding: jsonwebtoken::EncodingKey::from_secret(&secret),
            jwk: Value::Null,
        };
        let header = json!({"alg": "HS256", "kid": "k1"}).to_string();
        let forged = |_: &World, claims: &Value| forger.token_of(&header, &claims.to_string());
        assert!(matches!(
            token_refused(&world, forged).await,
            TokenFault::Algorithm(_)
        ));
    }
}

#[tokio::test]
async fn an_id_token_out_of_its_time_is_refused() {
    let world = World::new().await;
    for (changes, fault) in [
        (json!({"iat": START - 20, "exp": START - 30 }), None),
        (json!({"iat": START - 29, "exp": START - 10}), None),
        (json!({"iat": START + 31}), Some(TimeFault::IssuedInFuture)),
        (json!({"nbf": START + 31}), Some(TimeFault::NotYet)),
    ] {
        let error = world.sign_in(wanted(), changes.clone()).await.err();
        match fault {
            Some(fault) => assert_eq!(error, Some(SignInError::Token(fault.into()))),
            None if changes["exp"] == json!(START - 10) => assert_eq!(error, None, "leeway"),
            None => assert!(error.is_some()),
        }
    }
    let (attempt, asked) = world.begin(wanted()).await;
    world.grant(&world.sign(&world.claims(&asked)));
    world.clock.advance(Duration::from_secs(330));
    let error = world.complete(attempt, &world.answer(&asked)).await.err();
    assert_eq!(error, Some(SignInError::Token(TimeFault::Over.into())));
}

#[tokio::test]
async fn an_id_token_older_than_its_sign_in_is_refused() {
    let world = World::new().await;
    let fault = world.fault(json!({"iat": START - 31})).await;
    assert_eq!(token_fault(fault), TokenFault::Claim("iat".into()));
    assert!(
        world
            .sign_in(wanted(), json!({"iat": START - 30}))
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn an_id_token_for_others_is_refused() {
    let world = World::new().await;
    for (changes, expected) in [
        (json!({"aud": "other"}), TokenFault::Audience),
        (json!({"aud": "https://apps.example"}), TokenFault::Audience),
        (json!({"aud": []}), TokenFault::ClaimMissing("aud".into())),
        (json!({"aud": null}), TokenFault::ClaimMissing("aud".into())),
        (
            json!({"aud": [CLIENT, "stranger"], "azp": CLIENT}),
            TokenFault::Audience,
        ),
        (
            json!({"aud": [CLIENT, "https://apps.example"]}),
            TokenFault::ClaimMissing("azp".into()),
        ),
        (
            json!({"aud": [CLIENT, "https://apps.example"], "azp": "other"}),
            TokenFault::AuthorizedParty,
        ),
        (json!({"azp": "other"}), TokenFault::AuthorizedParty),
        (json!({"sub": null}), TokenFault::ClaimMissing("sub".into())),
        (json!({"sub": ""}), TokenFault::Claim("sub".into())),
    ] {
        let fault = world.fault(changes.clone()).await;
        assert_eq!(token_fault(fault), expected, "{changes}");
    }
    for changes in [
        json!({"aud": [CLIENT]}),
        json!({"azp": CLIENT}),
        json!({"aud": [CLIENT, "https://apps.example"], "azp": CLIENT}),
    ] {
        assert!(
            world.sign_in(wanted(), changes.clone()).await.is_ok(),
            "{changes}"
        );
    }
}

#[tokio::test]
async fn an_id_token_of_another_issuer_is_refused() {
    let world = World::new().await;
    for issuer in ["https://evil.example", &format!("{}/", world.config.issuer)] {
        let fault = token_fault(world.fault(json!({ "iss": issuer })).await);
        assert!(matches!(fault, TokenFault::IssuerUnknown(_)));
    }
    let fault = token_fault(world.fault(json!({"iss": null})).await);
    assert_eq!(fault, TokenFault::ClaimMissing("iss".into()));
}

#[tokio::test]
async fn other_kinds_of_tokens_are_no_id_tokens() {
    let world = World::new().await;
    for kind in [
        "at+jwt",
        "logout+jwt",
        "secevent+jwt",
        "application/at+jwt",
        "absent",
    ] {
        let header = json!({"alg": "ES256", "kid": "k1", "typ": kind}).to_string();
        let typed =
            |world: &World, claims: &Value| world.signer.token_of(&header, &claims.to_string());
        assert!(
            matches!(token_refused(&world, typed).await, TokenFault::Type(_)),
            "{kind}"
        );
    }
    for changes in [
        json!({"events": {}}),
        json!({"typ": "Bearer"}),
        json!({"typ": "Logout"}),
    ] {
        assert_eq!(
            token_fault(world.fault(changes).await),
            TokenFault::NotIdToken
        );
    }
    assert!(world.sign_in(wanted(), json!({"typ": "ID"})).await.is_ok());
}

#[tokio::test]
async fn an_access_token_of_another_answer_is_refused() {
    let world = World::new().await;
    let fault = world.fault(json!({"at_hash": half_hash("another")})).await;
    assert_eq!(token_fault(fault), TokenFault::AccessTokenHash);
    let good = json!({"at_hash": half_hash("access")});
    assert!(world.sign_in(wanted(), good).await.is_ok());
}

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
async fn keys_that_changed_in_between_are_fetched() {
    let world = World::new().await;
    let (attempt, asked) = world.begin(wanted()).await;
    let newer = Signer::es256("k2");
    world.server.answer("/keys", &keys::key_set(&[&newer]));
    world.clock.advance(Duration::from_secs(31));
    let header = json!({"alg": "ES256", "kid": "k2"}).to_string();
    world.grant(&newer.token_of(&header, &world.claims(&asked).to_string()));
    assert!(world.complete(attempt, &world.answer(&asked)).await.is_ok());
    // And the old one signs nobody in any more.
    let error = world
        .sign_in(wanted(), json!({"iat": START + 31}))
        .await
        .err()
        .unwrap();
    assert!(matches!(token_fault(error), TokenFault::KeyUnknown(_)));
}

#[tokio::test]
async fn keys_that_are_too_old_verify_nothing() {
    let world = World::new().await;
    let (attempt, asked) = world.begin(wanted()).await;
    drop(attempt);
    world.grant(&world.sign(&world.claims(&asked)));
    world.server.set_down(true);
    world.clock.advance(Duration::from_secs(25 * 3600));
    let entropy = SystemEntropy::default();
    let begun = world
        .provider()
        .begin(wanted(), CALLBACK, &entropy, world.now())
        .await;
    assert_eq!(begun.err().unwrap().code(), "provider-unavailable");
}

#[tokio::test]
async fn metadata_with_a_downgraded_endpoint_sign_nobody_in() {
    let world =
        World::with(|plan| plan.metadata["token_endpoint"] = json!("http://evil.example/token"))
            .await;
    let entropy = SystemEntropy::default();
    let begun = world
        .provider()
        .begin(wanted(), CALLBACK, &entropy, world.now())
        .await;
    assert_eq!(begun.err().unwrap().code(), "provider-metadata");
    // Its access tokens are as good as before.
    let claims = json!({
        "iss": world.config.issuer, "aud": "https://apps.example", "sub": "ada", "client_id": "cli",
        "jti": "t", "iat": START, "exp": START + 60,
    });
    let token = world.signer.token(&claims);
    assert!(
        world
            .issuers
            .verify(&token, None, world.now())
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn freshness_that_the_provider_ignored_is_not_assumed() {
    let world = World::new().await;
    let fresh = |max_age| Wanted {
        max_age: Some(max_age),
        ..wanted()
    };
    for changes in [
        json!({"auth_time": null}),
        json!({"auth_time": START - 331}),
    ] {
        let error = world.sign_in(fresh(300), changes.clone()).await.err();
        assert_eq!(error, Some(SignInError::Unmet(Unmet::Fresh)), "{changes}");
    }
    let error = world
        .sign_in(fresh(0), json!({"auth_time": START - 31}))
        .await
        .err();
    assert_eq!(error, Some(SignInError::Unmet(Unmet::Fresh)));
    for (max_age, at) in [(300, START - 330), (0, START - 30), (0, START)] {
        let signed_in = world
            .sign_in(fresh(max_age), json!({"auth_time": at}))
            .await;
        assert!(signed_in.is_ok(), "{max_age} {at}");
    }
    let error = world
        .sign_in(fresh(300), json!({"auth_time": START + 31}))
        .await;
    assert_eq!(
        token_fault(error.err().unwrap()),
        TokenFault::Claim("auth_time".into())
    );
}

#[tokio::test]
async fn assurance_that_was_asked_for_and_not_given_is_not_assumed() {
    let strong = |phishing_resistant| Wanted {
        multi_factor: true,
        phishing_resistant,
        ..wanted()
    };
    let weak = json!({"acr": "1", "amr": ["pwd"]});
    let world = World::new().await;
    for (wanted, changes, unmet) in [
        (strong(false), weak.clone(), Unmet::MultiFactor),
        (
            strong(false),
            json!({"acr": null, "amr": null}),
            Unmet::MultiFactor,
        ),
        (strong(true), json!({}), Unmet::PhishingResistant),
        (
            strong(true),
            json!({"acr": "gold", "amr": ["hwk", "pin"]}),
            Unmet::PhishingResistant,
        ),
        (
            Wanted {
                acr_values: vec!["department".into()],
                ..wanted()
            },
            json!({"acr": "1"}),
            Unmet::Context,
        ),
    ] {
        let error = world.sign_in(wanted, changes.clone()).await.err();
        assert_eq!(error, Some(SignInError::Unmet(unmet)), "{changes}");
    }
    for (wanted, changes) in [
        (strong(false), json!({})),
        (strong(false), json!({"acr": "1", "amr": ["pwd", "otp"]})),
        (strong(true), json!({"acr": "phr"})),
        (wanted(), weak),
    ] {
        assert!(
            world.sign_in(wanted, changes.clone()).await.is_ok(),
            "{changes}"
        );
    }

    // What was demanded must be there by name; evidence of another kind is not it.
    let world = World::with(|plan| plan.client.asks = AssuranceRequest::EssentialAcr).await;
    let evidence = json!({"acr": "1", "amr": ["pwd", "otp"]});
    let error = world.sign_in(strong(false), evidence).await.err();
    assert_eq!(error, Some(SignInError::Unmet(Unmet::Context)));
    let world = World::with(|plan| plan.client.asks = AssuranceRequest::EssentialAcrs).await;
    let contexts = json!({"acr": null, "acrs": ["gold"], "amr": null});
    assert!(world.sign_in(strong(false), contexts).await.is_ok());
}

#[tokio::test]
async fn userinfo_of_somebody_else_is_refused() {
    let world = World::with(|plan| plan.client.userinfo = true).await;
    for (answer, code) in [
        (r#"{"sub":"eve","groups":["admins"]}"#, "subject-mismatch"),
        (r#"{"groups":["admins"]}"#, "subject-mismatch"),
        ("[]", "provider-unavailable"),
        (r#"{"sub":"ada","sub":"ada"}"#, "provider-unavailable"),
    ] {
        world.server.answer("/userinfo", answer);
        assert_eq!(world.fault(json!({})).await.code(), code, "{answer}");
    }
    let html = raw("200 OK", "content-type: text/html\r\n", r#"{"sub":"ada"}"#);
    world.server.answer_raw("/userinfo", html);
    assert_eq!(world.fault(json!({})).await.code(), "provider-unavailable");
    world.server.answer("/userinfo", r#"{"sub":"ada"}"#);
    assert!(world.sign_in(wanted(), json!({})).await.is_ok());
}

#[tokio::test]
async fn another_tenant_is_refused() {
    let world = World::with(|plan| {
        plan.client.required_claims = vec![("tid".into(), "ours".into())];
    })
    .await;
    for changes in [
        json!({}),
        json!({"tid": "theirs"}),
        json!({"tid": ["ours"]}),
        json!({"tid": "Ours"}),
    ] {
        assert_eq!(
            world.fault(changes.clone()).await.code(),
            "not-admitted",
            "{changes}"
        );
    }
    assert!(
        world
            .sign_in(wanted(), json!({"tid": "ours"}))
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn an_address_that_nobody_verified_is_not_the_person_s() {
    let world = World::new().await;
    for changes in [
        json!({"email_verified": false}),
        json!({"email_verified": null}),
        json!({"email_verified": 1}),
    ] {
        let signed_in = world.sign_in(wanted(), changes.clone()).await.ok().unwrap();
        assert_eq!(signed_in.email, None, "{changes}");
    }
}

fn logout_claims(world: &World) -> Value {
    json!({
        "iss": world.config.issuer, "aud": CLIENT, "iat": START, "exp": START + 120, "jti": "l1",
        "sub": "ada", "sid": "s1",
        "events": {"http://schemas.openid.net/event/backchannel-logout": {}},
    })
}

async fn log_out(
    world: &World,
    kind: Option<&str>,
    claims: &Value,
) -> Result<LogoutNotice, LogoutFault> {
    let mut header = json!({"alg": "ES256", "kid": "k1"});
    if let Some(kind) = kind {
        header["typ"] = json!(kind);
    }
    let token = world
        .signer
        .token_of(&header.to_string(), &claims.to_string());
    world
        .providers
        .logout_token("corp", &token, world.now())
        .await
}

#[tokio::test]
async fn a_logout_token_names_whom_it_signs_out() {
    let world = World::new().await;
    for (number, kind) in [
        None,
        Some("logout+jwt"),
        Some("JWT"),
        Some("application/logout+jwt"),
    ]
    .into_iter()
    .enumerate()
    {
        let jti = format!("l{number}");
        let claims = changed(logout_claims(&world), json!({"jti": jti}));
        let notice = log_out(&world, kind, &claims).await.unwrap();
        assert_eq!(&*notice.issuer, "corp");
        assert_eq!(notice.subject.as_deref(), Some("ada"));
        assert_eq!(notice.session.as_deref(), Some("s1"));
        assert_eq!(*notice.token_id, *jti);
    }
    let only = changed(logout_claims(&world), json!({"jti": "x", "sub": null}));
    assert_eq!(log_out(&world, None, &only).await.unwrap().subject, None);
}

#[tokio::test]
async fn a_logout_token_counts_once() {
    let world = World::new().await;
    let claims = logout_claims(&world);
    assert!(log_out(&world, None, &claims).await.is_ok());
    assert_eq!(
        log_out(&world, None, &claims).await,
        Err(LogoutFault::Replayed)
    );
    let (_issuers, after) =
        world.reload(|config| config.sign_in.as_mut().unwrap().label = "New".into());
    let header = json!({"alg": "ES256", "kid": "k1"}).to_string();
    let token = world.signer.token_of(&header, &claims.to_string());
    let again = after.logout_token("corp", &token, world.now()).await;
    assert_eq!(again, Err(LogoutFault::Replayed), "nor after a reload");
}

#[tokio::test]
async fn what_is_no_logout_token_signs_nobody_out() {
    let world = World::new().await;
    let invalid = |fault: TokenFault| LogoutFault::Token(CredentialError::Invalid(fault));
    for (changes, expected) in [
        (json!({"nonce": "n"}), invalid(TokenFault::NotLogoutToken)),
        (json!({"events": null}), invalid(TokenFault::NotLogoutToken)),
        (
            json!({"events": {"other": {}}}),
            invalid(TokenFault::NotLogoutToken),
        ),
        (
            json!({"events": {"http://schemas.openid.net/event/backchannel-logout": true}}),
            invalid(TokenFault::NotLogoutToken),
        ),
        (json!({"aud": "other"}), invalid(TokenFault::Audience)),
        (
            json!({"aud": [CLIENT, "stranger"], "azp": CLIENT}),
            invalid(TokenFault::Audience),
        ),
        (
            json!({"jti": null}),
            invalid(TokenFault::ClaimMissing("jti".into())),
        ),
        (
            json!({"exp": null}),
            invalid(TokenFault::ClaimMissing("exp".into())),
        ),
        (
            json!({"iat": null}),
            invalid(TokenFault::ClaimMissing("iat".into())),
        ),
        (
            json!({"sub": null, "sid": null}),
            invalid(TokenFault::ClaimMissing("sub".into())),
        ),
        (
            json!({"iat": START + 31}),
            LogoutFault::Token(TimeFault::IssuedInFuture.into()),
        ),
        (
            json!({"iat": START - 200, "exp": START - 31}),
            LogoutFault::Token(TimeFault::Over.into()),
        ),
        (
            json!({"iat": START - 630, "exp": START + 9999}),
            LogoutFault::Token(TimeFault::Over.into()),
        ),
    ] {
        let claims = changed(logout_claims(&world), changes.clone());
        assert_eq!(
            log_out(&world, None, &claims).await,
            Err(expected),
            "{changes}"
        );
    }
    for kind in ["at+jwt", "secevent+jwt"] {
        let fault = log_out(&world, Some(kind), &logout_claims(&world)).await;
        assert!(matches!(
            fault,
            Err(LogoutFault::Token(CredentialError::Invalid(
                TokenFault::Type(_)
            )))
        ));
    }
    let fault = world
        .providers
        .logout_token("partner", "x", world.now())
        .await;
    assert_eq!(fault, Err(LogoutFault::ProviderUnknown("partner".into())));
    let forger = Signer::es256("k1");
    let header = json!({"alg": "ES256", "kid": "k1"}).to_string();
    let token = forger.token_of(&header, &logout_claims(&world).to_string());
    let fault = world
        .providers
        .logout_token("corp", &token, world.now())
        .await;
    assert_eq!(fault, Err(invalid(TokenFault::Signature)));
    assert!(log_out(&world, None, &logout_claims(&world)).await.is_ok());
}

#[tokio::test]
async fn neither_kind_passes_for_the_other() {
    let world = World::new().await;
    let signed_in = world.sign_in(wanted(), json!({})).await.ok().unwrap();
    let fault = world
        .providers
        .logout_token("corp", text(&signed_in.id_token), world.now())
        .await;
    let expected = CredentialError::Invalid(TokenFault::NotLogoutToken);
    assert_eq!(fault, Err(LogoutFault::Token(expected)));
    // Not even one with the nonce of the sign-in in it.
    let changes =
        json!({"events": {"http://schemas.openid.net/event/backchannel-logout": {}}, "jti": "l"});
    assert_eq!(
        token_fault(world.fault(changes).await),
        TokenFault::NotIdToken
    );
    // And an ID Token is no access token, though the client were an audience.
    let mut config = world.config.clone();
    config.audiences.push(CLIENT.to_owned());
    config.token_types.push("jwt".to_owned());
    let (issuers, _providers) = super::testing::load(&config, None, &world.clock).unwrap();
    issuers.start();
    let fault = issuers
        .verify(text(&signed_in.id_token), None, world.now())
        .await;
    assert_eq!(fault.err(), Some(TokenFault::NotAccessToken.into()));
}
