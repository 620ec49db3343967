//! Logout tokens, and that no kind of token passes for another.

use serde_json::{Value, json};

use super::world::{CLIENT, World, changed, load, text, token_fault, wanted};
use crate::issuer::testing::{START, Signer};
use crate::issuer::{CredentialError, TimeFault, TokenFault};
use crate::relying_party::{LogoutFault, LogoutNotice};

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
    let (issuers, _providers) = load(&config, None, &world.clock).unwrap();
    issuers.start();
    let fault = issuers
        .verify(text(&signed_in.id_token), None, world.now())
        .await;
    assert_eq!(fault.err(), Some(TokenFault::NotAccessToken.into()));
}
