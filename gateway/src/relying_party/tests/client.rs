//! How the gateway proves who it is when it redeems a code.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Value, json};

use super::world::{CALLBACK, CLIENT, Parameters, World, text, wanted};
use crate::config::sign_in::ClientAuthentication;
use crate::issuer::testing::{self as keys, START};
use crate::relying_party::proof;

#[tokio::test]
async fn the_code_goes_to_the_token_endpoint_with_the_verifier_and_the_secret() {
    let world = World::new().await;
    let (attempt, asked) = world.begin(wanted()).await;
    let verifier = text(&attempt.verifier).to_owned();
    world.grant(&world.sign(&world.claims(&asked)));
    let answer = world.answer(&asked);
    assert!(world.complete(attempt, &answer).await.is_ok());
    let (head, body) = world.server.last_request("/token");
    let form = Parameters::of(&body);
    assert_eq!(form["grant_type"], "authorization_code");
    assert_eq!(form["code"], "c0de");
    assert_eq!(form["redirect_uri"], CALLBACK);
    assert_eq!(form["code_verifier"], verifier);
    assert!(!form.has("client_secret"));
    let basic = STANDARD.encode("gateway%3A1:s3cret%25%2B+%C3%A9");
    assert!(
        head.contains(&format!("authorization: Basic {basic}\r\n")),
        "{head}"
    );
    assert!(head.starts_with("POST /token HTTP/1.1\r\n"));
}

#[tokio::test]
async fn a_secret_can_be_in_the_form() {
    let world = World::with(|plan| {
        plan.client.authentication =
            ClientAuthentication::SecretPost(plan.directory.join("secret"));
    })
    .await;
    assert!(world.sign_in(wanted(), json!({})).await.is_ok());
    let (head, body) = world.server.last_request("/token");
    let form = Parameters::of(&body);
    assert_eq!(form["client_secret"], "s3cret%+ é");
    assert_eq!(form["client_id"], CLIENT);
    assert!(!head.contains("authorization:"));
}

fn pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n")
}

/// The claims of an assertion, verified by another library.
fn assertion(form: &Parameters, key: &DecodingKey, algorithm: Algorithm, issuer: &str) -> Value {
    assert_eq!(form["client_assertion_type"], proof::ASSERTION_TYPE);
    let mut validation = Validation::new(algorithm);
    validation.validate_exp = false;
    validation.set_audience(&[issuer]);
    let decoded = jsonwebtoken::decode::<Value>(&form["client_assertion"], key, &validation);
    let decoded = decoded.unwrap();
    assert_eq!(decoded.header.kid.as_deref(), Some("key-1"));
    decoded.claims
}

#[tokio::test]
async fn a_key_proves_who_we_are_for_one_minute() {
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let der = pair.to_pkcs8v1().unwrap();
    let world = World::with(|plan| {
        let file = plan.directory.join("key.pem");
        std::fs::write(&file, pem(der.as_ref())).unwrap();
        let key_id = Some("key-1".to_owned());
        plan.client.authentication = ClientAuthentication::PrivateKey { file, key_id };
    })
    .await;
    assert!(world.sign_in(wanted(), json!({})).await.is_ok());
    let (head, body) = world.server.last_request("/token");
    assert!(!head.contains("authorization:"));
    let form = Parameters::of(&body);
    assert_eq!(form["client_id"], CLIENT);
    let point = pair.public_key().as_ref();
    let (x, y) = (keys::encode(&point[1..33]), keys::encode(&point[33..]));
    let key = DecodingKey::from_ec_components(&x, &y).unwrap();
    let claims = assertion(&form, &key, Algorithm::ES256, &world.config.issuer);
    assert_eq!(claims["iss"], CLIENT);
    assert_eq!(claims["sub"], CLIENT);
    assert_eq!(claims["aud"], world.config.issuer);
    assert_eq!(claims["exp"], START + 60);
    assert!(world.sign_in(wanted(), json!({})).await.is_ok());
    let form = Parameters::of(&world.server.last_request("/token").1);
    let again = assertion(&form, &key, Algorithm::ES256, &world.config.issuer);
    assert_ne!(claims["jti"], again["jti"]);
}

#[tokio::test]
async fn an_rsa_key_signs_as_the_provider_likes_it() {
    use aws_lc_rs::encoding::AsDer as _;
    use aws_lc_rs::rsa::KeySize;
    use aws_lc_rs::signature::{KeyPair as _, RsaKeyPair};
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let der: aws_lc_rs::encoding::Pkcs8V1Der<'_> = pair.as_der().unwrap();
    let public = pair.public_key();
    let n = keys::encode(public.modulus().big_endian_without_leading_zero());
    let e = keys::encode(public.exponent().big_endian_without_leading_zero());
    let key = DecodingKey::from_rsa_components(&n, &e).unwrap();
    for (listed, algorithm) in [
        (json!(["RS256", "PS256"]), Algorithm::PS256),
        (json!(["RS256"]), Algorithm::RS256),
    ] {
        let world = World::with(|plan| {
            let file = plan.directory.join("key.pem");
            std::fs::write(&file, pem(der.as_ref())).unwrap();
            let key_id = Some("key-1".to_owned());
            plan.client.authentication = ClientAuthentication::PrivateKey { file, key_id };
            plan.metadata["token_endpoint_auth_signing_alg_values_supported"] = listed;
        })
        .await;
        assert!(world.sign_in(wanted(), json!({})).await.is_ok());
        let form = Parameters::of(&world.server.last_request("/token").1);
        assertion(&form, &key, algorithm, &world.config.issuer);
    }
}
