//! Sign-ins that should work, and what exactly is sent for them: against a provider on a real socket.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Value, json};

use super::testing::{
    CALLBACK, CLIENT, Parameters, World, changed, client, half_hash, load, raw, text, wanted,
};
use super::*;
use crate::capability::{Clock, SystemEntropy};
use crate::config;
use crate::config::sign_in::{AssuranceRequest, ClientAuthentication, Overage, Pushed};
use crate::issuer::testing::{self as keys, HandClock, START, Signer};
use crate::issuer::{Issuers, Local};

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

#[tokio::test]
async fn groups_have_names() {
    let world = World::with(|plan| {
        let file = plan.directory.join("groups.toml");
        std::fs::write(&file, "g1 = \"finance\"\n").unwrap();
        plan.client.group_names = Some(file);
        plan.issuer.claims.group_prefix = "corp:".into();
    })
    .await;
    let changes = json!({"groups": ["g1", "g2"]});
    let signed_in = world.sign_in(wanted(), changes).await.ok().unwrap();
    let expected: [Box<str>; 2] = ["corp:finance".into(), "corp:g2".into()];
    assert_eq!(signed_in.principal.groups(), expected);
    // The same person with an access token is in the same groups.
    let claims = json!({
        "iss": world.config.issuer, "aud": "https://apps.example", "sub": "ada", "client_id": "cli",
        "jti": "t", "iat": START, "exp": START + 60, "groups": ["g1", "g2"],
    });
    let token = world.signer.token(&claims);
    let identity = world
        .issuers
        .verify(&token, None, world.now())
        .await
        .unwrap();
    assert_eq!(identity.principal().groups(), expected);
    assert_eq!(identity.principal().id(), signed_in.principal.id());
}

#[tokio::test]
async fn userinfo_adds_what_the_token_lacks() {
    let world = World::with(|plan| plan.client.userinfo = true).await;
    let userinfo = json!({
        "sub": "ada", "groups": ["g7"], "name": "Other", "email": "x@example.com", "acr": "phr",
        "email_verified": true,
    });
    world.server.answer("/userinfo", &userinfo.to_string());
    let changes = json!({"groups": null, "email_verified": null});
    let signed_in = world.sign_in(wanted(), changes).await.ok().unwrap();
    assert_eq!(signed_in.principal.groups(), ["g7".into()]);
    assert_eq!(signed_in.principal.name(), Some("Ada"));
    assert_eq!(
        signed_in.email, None,
        "the token's address, with UserInfo's word for another"
    );
    assert!(!signed_in.authentication.phishing_resistant);
    let (head, _) = world.server.last_request("/userinfo");
    assert!(head.contains("authorization: Bearer access\r\n"));
}

fn left_out() -> Value {
    json!({"groups": null, "_claim_names": {"groups": "src1"},
        "_claim_sources": {"src1": {"endpoint": "https://evil.example/"}}})
}

#[tokio::test]
async fn too_many_groups_are_refused_or_asked_for() {
    for changes in [left_out(), json!({"groups": null, "hasgroups": true})] {
        let world = World::new().await;
        assert_eq!(world.fault(changes).await.code(), "groups-left-out");
    }

    let world = World::with(|plan| plan.client.overage = Overage::UserInfo).await;
    let whole = json!({"sub": "ada", "groups": ["a", "b"]});
    world.server.answer("/userinfo", &whole.to_string());
    let signed_in = world.sign_in(wanted(), left_out()).await.ok().unwrap();
    assert_eq!(signed_in.principal.groups(), ["a".into(), "b".into()]);
    for lacking in [
        json!({"sub": "ada"}),
        json!({"sub": "ada", "groups": ["a"], "_claim_names": {"groups": "s"}}),
    ] {
        world.server.answer("/userinfo", &lacking.to_string());
        assert_eq!(world.fault(left_out()).await.code(), "groups-left-out");
    }
}

async fn with_graph(pages: &[Value]) -> (World, Arc<Provider>) {
    let world = World::with(|plan| plan.client.overage = Overage::MicrosoftGraph).await;
    let base = format!("http://127.0.0.1:{}", world.server.address.port());
    for (number, page) in pages.iter().enumerate() {
        let path = match number {
            0 => "/v1.0/me/transitiveMemberOf".to_owned(),
            number => format!("/v1.0/page{number}"),
        };
        let page = page.to_string().replace("BASE", &base);
        world.server.answer(&path, &page);
    }
    let known = world.provider();
    let provider = Provider {
        issuer: Arc::clone(&known.issuer),
        client: known.client.clone(),
        proof: proof::Proof::Local,
        transport: known.transport.clone(),
        entropy: Arc::clone(&known.entropy),
        tables: Arc::default(),
        graph: format!("{base}/v1.0").into(),
    };
    (world, Arc::new(provider))
}

async fn sign_in_with_graph(pages: &[Value]) -> Result<SignedIn, SignInError> {
    let (world, provider) = with_graph(pages).await;
    let (attempt, asked) = world.begin(wanted()).await;
    world.grant(&world.sign(&changed(world.claims(&asked), left_out())));
    let query = world.answer(&asked);
    provider.complete(attempt, &query, world.now()).await
}

#[tokio::test]
async fn graph_is_read_to_its_last_page() {
    let signed_in = sign_in_with_graph(&[
        json!({"value": [
            {"@odata.type": "#microsoft.graph.group", "id": "a"},
            {"@odata.type": "#microsoft.graph.directoryRole", "id": "role"},
        ], "@odata.nextLink": "BASE/v1.0/page1"}),
        json!({"value": [{"id": "b"}]}),
    ])
    .await;
    let groups = signed_in.ok().unwrap().principal.groups().to_vec();
    assert_eq!(groups, ["a".into(), "b".into()]);
}

#[tokio::test]
async fn graph_neither_leads_elsewhere_nor_on_for_ever() {
    for (pages, code) in [
        (
            vec![json!({"value": [], "@odata.nextLink": "https://evil.example/v1.0/page1"})],
            "provider-unavailable",
        ),
        (
            vec![
                json!({"value": [], "@odata.nextLink": "BASE/v1.0/page1"}),
                json!({"value": [], "@odata.nextLink": "BASE/v1.0/page1"}),
            ],
            "groups-left-out",
        ),
        (vec![json!({"value": "x"})], "provider-unavailable"),
        (vec![json!({"value": [{"id": 1}]})], "provider-unavailable"),
        (
            vec![
                json!({"value": (0..1001).map(|id| json!({"id": id.to_string()})).collect::<Vec<_>>()}),
            ],
            "groups-left-out",
        ),
        (vec![], "provider-unavailable"),
    ] {
        let fault = sign_in_with_graph(&pages).await.err().unwrap();
        assert_eq!(fault.code(), code, "{pages:.200?}");
    }
}

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

#[tokio::test]
async fn a_reload_keeps_what_is_defined_as_before() {
    let world = World::new().await;
    let (_, same) = world.reload(|_| {});
    assert!(Arc::ptr_eq(world.provider(), &same.all()[0]));
    let (_, other) = world.reload(|config| {
        config.sign_in.as_mut().unwrap().label = "Another".to_owned();
    });
    assert!(!Arc::ptr_eq(world.provider(), &other.all()[0]));
    assert!(Arc::ptr_eq(
        &world.provider().tables,
        &other.all()[0].tables
    ));
    std::fs::write(world.directory.path().join("secret"), "new").unwrap();
    let (_, rotated) = world.reload(|_| {});
    assert!(!Arc::ptr_eq(world.provider(), &rotated.all()[0]));
}

#[tokio::test]
async fn providers_are_found_by_name_address_and_app() {
    let world = World::new().await;
    let found = |email: &str| world.providers.for_email(email).is_some();
    assert!(found("ada@example.com") && found(" ada@EXAMPLE.com "));
    for email in [
        "ada@example.org",
        "ada@sub.example.com",
        "ada@notexample.com",
        "example.com",
        "",
    ] {
        assert!(!found(email), "{email}");
    }
    assert_eq!(world.providers.for_app(&[]).len(), 1);
    assert_eq!(world.providers.for_app(&["corp".into()]).len(), 1);
    assert!(world.providers.for_app(&["partner".into()]).is_empty());
    assert_eq!(world.provider().label(), "Example KK");
    assert!(!world.provider().is_built_in());
}

#[test]
fn what_cannot_work_is_told_at_load() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    std::fs::write(path("secret"), "s\n").unwrap();
    std::fs::write(path("empty"), "\n").unwrap();
    std::fs::write(path("keys"), keys::key_set(&[&Signer::es256("k")])).unwrap();
    std::fs::write(path("groups"), "a = 1\n").unwrap();
    let good = || client(ClientAuthentication::SecretBasic(path("secret")));
    let discovery = || config::KeySource::Discovery {
        authority: None,
        timeout: Duration::from_secs(1),
        refresh: Duration::from_secs(60),
        max_age: Duration::from_secs(60),
    };
    let problems = |client, keys| {
        let config = config::Issuer {
            sign_in: Some(client),
            keys,
            ..keys::issuer_config()
        };
        let loaded = load(&config, None, &HandClock::new());
        let problems = loaded.err().unwrap_or_default();
        problems
            .into_iter()
            .map(|it| it.message)
            .collect::<Vec<_>>()
            .join("\n")
    };
    assert_eq!(problems(good(), discovery()), "");
    let key = |name: &str| ClientAuthentication::PrivateKey {
        file: path(name),
        key_id: None,
    };
    for (client, keys, expected) in [
        (
            Client {
                label: " ".into(),
                ..good()
            },
            discovery(),
            "has no `label`",
        ),
        (
            Client {
                client_id: String::new(),
                ..good()
            },
            discovery(),
            "has no `client_id`",
        ),
        (
            client(ClientAuthentication::SecretPost(path("empty"))),
            discovery(),
            "is empty",
        ),
        (
            client(ClientAuthentication::SecretPost(path("none"))),
            discovery(),
            "cannot be read",
        ),
        (
            client(key("secret")),
            discovery(),
            "is not a PKCS #8 private key",
        ),
        (client(key("none")), discovery(), "cannot be read"),
        (
            client(ClientAuthentication::BuiltIn),
            discovery(),
            "do not fit",
        ),
        (good(), config::KeySource::BuiltIn, "do not fit"),
        (
            good(),
            config::KeySource::File(path("keys")),
            "keys come from a file",
        ),
        (
            Client {
                group_names: Some(path("groups")),
                ..good()
            },
            discovery(),
            "is not a string",
        ),
        (
            Client {
                group_names: Some(path("none")),
                ..good()
            },
            discovery(),
            "cannot be read",
        ),
    ] {
        let found = problems(client, keys);
        assert!(found.contains(expected), "{expected}: {found}");
    }
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

/// The built-in provider, played by a function.
struct InProcess {
    issuer: String,
    signer: Signer,
    nonce: std::sync::Mutex<String>,
}

impl Local for InProcess {
    fn answer(
        &self,
        request: http::Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = http::Response<Bytes>> + Send + '_>> {
        Box::pin(async move {
            assert_eq!(request.headers()["host"], "login.example");
            let base = &self.issuer;
            let body = match request.uri().path() {
                "/id/.well-known/openid-configuration" => json!({
                    "issuer": base, "jwks_uri": format!("{base}/jwks"),
                    "authorization_endpoint": format!("{base}/authorize"),
                    "token_endpoint": format!("{base}/token"),
                }),
                "/id/jwks" => json!({"keys": [self.signer.jwk]}),
                "/id/token" => {
                    let form = Parameters::of(std::str::from_utf8(request.body()).unwrap());
                    assert_eq!(form["client_id"], CLIENT);
                    let claims = json!({
                        "iss": base, "aud": CLIENT, "sub": "ada", "iat": START, "exp": START + 60,
                        "nonce": *self.nonce.lock().unwrap(), "acr": "phr", "amr": ["hwk", "user"],
                    });
                    let header = json!({"alg": "ES256", "kid": "k1"}).to_string();
                    json!({"access_token": "a", "token_type": "Bearer",
                        "id_token": self.signer.token_of(&header, &claims.to_string())})
                }
                other => panic!("{other}"),
            };
            http::Response::builder()
                .header("content-type", "application/json")
                .body(Bytes::from(body.to_string()))
                .unwrap()
        })
    }
}

#[tokio::test]
async fn the_built_in_provider_is_asked_without_leaving_the_process() {
    let issuer = "https://login.example/id".to_owned();
    let local = Arc::new(InProcess {
        issuer: issuer.clone(),
        signer: Signer::es256("k1"),
        nonce: std::sync::Mutex::default(),
    });
    let config = config::Issuer {
        issuer: issuer.clone(),
        keys: config::KeySource::BuiltIn,
        acr_phishing_resistant: vec!["phr".into()],
        sign_in: Some(client(ClientAuthentication::BuiltIn)),
        ..keys::issuer_config()
    };
    let clock: Arc<dyn Clock> = HandClock::new();
    let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy::default());
    let file = std::path::Path::new("masugata.toml");
    let build = |previous: Option<&Issuers>, local: Option<Arc<dyn Local>>| {
        let config = std::slice::from_ref(&config);
        Issuers::build(config, file, previous, local.as_ref(), &clock, &*entropy).unwrap()
    };
    let shared: Arc<dyn Local> = Arc::clone(&local) as Arc<dyn Local>;
    let issuers = build(None, Some(Arc::clone(&shared)));
    issuers.start();
    let providers = Providers::build(&issuers, file, None, &entropy).unwrap();
    let provider = Arc::clone(&providers.all()[0]);
    assert!(provider.is_built_in());
    // In a task of its own: what begins and ends a sign-in must be able to move between threads.
    let now = clock.now();
    let signed_in = tokio::spawn(async move {
        let entropy = SystemEntropy::default();
        let (attempt, url) = provider
            .begin(wanted(), CALLBACK, &entropy, now)
            .await
            .ok()?;
        let asked = Parameters::of_url(&url);
        *local.nonce.lock().unwrap() = asked["nonce"].clone();
        let query = format!("code=c&state={}", asked["state"]);
        provider.complete(attempt, &query, now).await.ok()
    });
    let signed_in = signed_in.await.unwrap().unwrap();
    assert!(signed_in.authentication.phishing_resistant);
    assert_eq!(signed_in.principal.id(), "corp/ada");

    let again = build(Some(&issuers), Some(shared));
    assert!(
        again.all()[0].same_as(&issuers.all()[0]),
        "keys are taken over"
    );
    let without = build(Some(&issuers), None);
    assert!(!without.all()[0].same_as(&issuers.all()[0]));
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
