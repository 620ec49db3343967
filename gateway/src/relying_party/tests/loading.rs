//! What a configuration makes, what a reload keeps, and the built-in provider.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;

use super::world::{CALLBACK, CLIENT, Parameters, World, client, load, wanted};
use crate::capability::{Clock, Entropy, SystemEntropy};
use crate::config;
use crate::config::sign_in::{Client, ClientAuthentication};
use crate::issuer::testing::{self as keys, HandClock, START, Signer};
use crate::issuer::{Issuers, Local};
use crate::relying_party::Providers;

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
