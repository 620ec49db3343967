//! Attacks with ID Tokens, each beside one that is good.

use std::time::Duration;

use jsonwebtoken::Algorithm;
use serde_json::{Value, json};

use super::world::{CALLBACK, CLIENT, World, half_hash, token_fault, wanted};
use crate::capability::SystemEntropy;
use crate::config::sign_in::AssuranceRequest;
use crate::issuer::testing::{self as keys, START, Signer, encode};
use crate::issuer::{TimeFault, TokenFault};
use crate::relying_party::{SignInError, SignedIn, Unmet, Wanted};

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
