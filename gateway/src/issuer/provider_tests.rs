//! Tests of fetched keys against a real server on loopback: discovery, rotation, outage, and how often it is asked.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use masugata_policy::Timestamp;
use serde_json::json;

use super::testing::{self, HandClock, Provider, Signer, claims_with, issuer_config};
use super::*;
use crate::capability::{Clock, SystemEntropy};
use crate::config::KeySource;

const OPENID: &str = "/realm/.well-known/openid-configuration";
const OAUTH: &str = "/.well-known/oauth-authorization-server/realm";
const KEYS: &str = "/keys";

const HOUR: Duration = Duration::from_secs(3600);

/// A provider, issuers that know it, and the clock of both.
struct World {
    provider: Provider,
    clock: Arc<HandClock>,
    issuer: String,
    authority: Option<PathBuf>,
    _directory: tempfile::TempDir,
}

impl World {
    async fn http() -> Self {
        let provider = Provider::start(None).await;
        let issuer = format!("http://127.0.0.1:{}/realm", provider.address.port());
        Self::around(provider, issuer, None, tempfile::tempdir().unwrap())
    }

    fn around(
        provider: Provider,
        issuer: String,
        authority: Option<PathBuf>,
        directory: tempfile::TempDir,
    ) -> Self {
        let world = Self {
            provider,
            clock: HandClock::new(),
            issuer,
            authority,
            _directory: directory,
        };
        world.provider.answer(OPENID, &world.metadata());
        world
    }

    fn metadata(&self) -> String {
        let base = self.issuer.strip_suffix("/realm").unwrap();
        json!({"issuer": self.issuer, "jwks_uri": format!("{base}{KEYS}")}).to_string()
    }

    fn publish(&self, signers: &[&Signer]) {
        self.provider.answer(KEYS, &testing::key_set(signers));
    }

    fn config(&self) -> config::Issuer {
        config::Issuer {
            issuer: self.issuer.clone(),
            keys: KeySource::Discovery {
                authority: self.authority.clone(),
                timeout: Duration::from_secs(2),
                refresh: HOUR,
                max_age: 24 * HOUR,
            },
            // Longer than keys live here, so that what ends a token is the test's subject.
            max_token_lifetime: 1000 * HOUR,
            ..issuer_config()
        }
    }

    fn issuers(&self, previous: Option<&Issuers>) -> Issuers {
        let clock: Arc<dyn Clock> = Arc::clone(&self.clock) as Arc<dyn Clock>;
        let issuers = Issuers::build(
            &[self.config()],
            Path::new("masugata.toml"),
            previous,
            None,
            &clock,
            &SystemEntropy::default(),
        )
        .unwrap();
        issuers.start();
        issuers
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn token(&self, signer: &Signer) -> String {
        signer.token(&claims_with(json!({
            "iss": self.issuer, "exp": testing::START + 999 * 3600, "auth_time": null,
        })))
    }

    async fn verify(&self, issuers: &Issuers, token: &str) -> Result<(), CredentialError> {
        issuers.verify(token, None, self.now()).await.map(|_| ())
    }
}

async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..400 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never: {what}");
}

fn unavailable() -> CredentialError {
    CredentialError::IssuerUnavailable {
        issuer: "corp".into(),
    }
}

#[tokio::test]
async fn the_first_token_waits_for_the_keys() {
    let world = World::http().await;
    let signer = Signer::es256("k1");
    world.publish(&[&signer]);
    world.provider.set_delay(Duration::from_millis(100));
    let issuers = world.issuers(None);
    let token = world.token(&signer);
    assert_eq!(world.verify(&issuers, &token).await, Ok(()));
    assert!(issuers.cached(&token, None, world.now()).is_some());
    let status = issuers.status(world.now());
    assert_eq!((status[0].keys, status[0].available), (1, true));
    assert_eq!(status[0].fetched_at, Some(world.now()));
}

#[tokio::test]
async fn many_first_tokens_share_one_fetch() {
    let world = Arc::new(World::http().await);
    let signer = Signer::es256("k1");
    world.publish(&[&signer]);
    world.provider.set_delay(Duration::from_millis(100));
    let issuers = Arc::new(world.issuers(None));
    let token = world.token(&signer);
    let tasks: Vec<_> = (0..50)
        .map(|_| {
            let (world, issuers, token) = (world.clone(), issuers.clone(), token.clone());
            tokio::spawn(async move { world.verify(&issuers, &token).await })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.unwrap(), Ok(()));
    }
    assert_eq!(world.provider.asked(KEYS), 1);
}

#[tokio::test]
async fn the_oauth_address_is_tried_second() {
    let world = World::http().await;
    let signer = Signer::es256("k1");
    world.publish(&[&signer]);
    world.provider.answer_raw(
        OPENID,
        b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".to_vec(),
    );
    world.provider.answer(OAUTH, &world.metadata());
    let issuers = world.issuers(None);
    let token = world.token(&signer);
    assert_eq!(world.verify(&issuers, &token).await, Ok(()));
    assert_eq!(world.provider.asked(OPENID), 1);
    assert_eq!(world.provider.asked(OAUTH), 1);
}

#[tokio::test]
async fn documents_that_are_not_what_they_should_be_give_no_keys() {
    let signer = Signer::es256("k1");
    let raw = |head: &str| format!("HTTP/1.1 {head}\r\n\r\n").into_bytes();
    let other = json!({"issuer": "http://127.0.0.1/other", "jwks_uri": "http://127.0.0.1/"});
    let big = "x".repeat(300 * 1024);
    for (path, answer) in [
        (
            KEYS,
            raw("302 Found\r\nlocation: /elsewhere\r\ncontent-length: 0"),
        ),
        (KEYS, raw("500 Oops\r\ncontent-length: 0")),
        (
            KEYS,
            raw("200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 0"),
        ),
        (KEYS, raw("200 OK\r\ncontent-length: 0")),
        (KEYS, raw("200 OK\r\ncontent-length: 100")),
        (KEYS, b"nonsense\r\n\r\n".to_vec()),
        (
            KEYS,
            format!("HTTP/1.1 200 OK\r\n\r\n{{\"a\":\"{big}\"}}").into_bytes(),
        ),
        (
            OPENID,
            format!("HTTP/1.1 200 OK\r\n\r\n{other}").into_bytes(),
        ),
        (OPENID, b"HTTP/1.1 200 OK\r\n\r\n[]".to_vec()),
    ] {
        let world = World::http().await;
        world.publish(&[&signer]);
        world
            .provider
            .answer("/elsewhere", &testing::key_set(&[&signer]));
        world.provider.answer_raw(path, answer);
        let issuers = world.issuers(None);
        let token = world.token(&signer);
        assert_eq!(world.verify(&issuers, &token).await, Err(unavailable()));
        assert_eq!(world.provider.asked("/elsewhere"), 0);
        let status = issuers.status(world.now());
        assert!(!status[0].available && status[0].error.is_some());
    }
}

#[tokio::test]
async fn a_provider_that_hangs_is_given_up_on() {
    let world = World::http().await;
    world.provider.set_delay(Duration::from_secs(60));
    let issuers = world.issuers(None);
    let token = world.token(&Signer::es256("k1"));
    assert_eq!(world.verify(&issuers, &token).await, Err(unavailable()));
}

#[tokio::test]
async fn a_new_key_is_fetched_when_a_token_names_it() {
    let world = World::http().await;
    let (old, new) = (Signer::es256("k1"), Signer::es256("k2"));
    world.publish(&[&old]);
    let issuers = world.issuers(None);
    assert_eq!(world.verify(&issuers, &world.token(&old)).await, Ok(()));
    world.publish(&[&old, &new]);
    // Too soon after the last fetch.
    assert!(world.verify(&issuers, &world.token(&new)).await.is_err());
    assert_eq!(world.provider.asked(KEYS), 1);
    world.clock.advance(Duration::from_secs(30));
    // The refusal before was not remembered.
    assert_eq!(world.verify(&issuers, &world.token(&new)).await, Ok(()));
    assert_eq!(world.provider.asked(KEYS), 2);
}

#[tokio::test]
async fn made_up_key_names_cannot_hammer_the_provider() {
    let world = World::http().await;
    let signer = Signer::es256("k1");
    world.publish(&[&signer]);
    let issuers = world.issuers(None);
    assert_eq!(world.verify(&issuers, &world.token(&signer)).await, Ok(()));
    let forger = Signer::es256("x");
    for round in 0..60 {
        let mut forger_token = world.token(&forger);
        forger_token.push_str(&"A".repeat(round % 4 * 4));
        assert!(world.verify(&issuers, &forger_token).await.is_err());
        world.clock.advance(Duration::from_secs(10));
    }
    // Ten minutes: twenty times thirty seconds, but ten and the two that came back.
    let asked = world.provider.asked(KEYS);
    assert!((2..=13).contains(&asked), "{asked}");
    // An algorithm that is not allowed does not even get so far.
    world.clock.advance(Duration::from_secs(600));
    let before = world.provider.asked(KEYS);
    let mut header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::HS256);
    header.kid = Some("y".to_owned());
    let token = jsonwebtoken::encode(
        &header,
        &claims_with(json!({"iss": world.issuer})),
        &jsonwebtoken::EncodingKey::from_secret(b"x"),
    )
    .unwrap();
    assert!(world.verify(&issuers, &token).await.is_err());
    assert_eq!(world.provider.asked(KEYS), before);
}

#[tokio::test]
async fn a_key_that_is_withdrawn_takes_its_tokens_along() {
    let world = World::http().await;
    let (old, new) = (Signer::es256("k1"), Signer::es256("k2"));
    world.publish(&[&old]);
    let issuers = world.issuers(None);
    let token = world.token(&old);
    assert_eq!(world.verify(&issuers, &token).await, Ok(()));
    assert!(issuers.cached(&token, None, world.now()).is_some());
    world.publish(&[&new]);
    world.clock.advance(Duration::from_secs(31));
    assert_eq!(world.verify(&issuers, &world.token(&new)).await, Ok(()));
    assert!(issuers.cached(&token, None, world.now()).is_none());
    assert!(matches!(
        world.verify(&issuers, &token).await,
        Err(CredentialError::Invalid(TokenFault::KeyUnknown(_)))
    ));
}

#[tokio::test]
async fn a_fetch_of_the_same_keys_forgets_nothing() {
    let world = World::http().await;
    let signer = Signer::es256("k1");
    world.publish(&[&signer]);
    let issuers = world.issuers(None);
    let token = world.token(&signer);
    assert_eq!(world.verify(&issuers, &token).await, Ok(()));
    world.clock.advance(HOUR + Duration::from_secs(1));
    // Overdue: the next miss starts a fetch without waiting for it.
    let other = world.token(&Signer::es256("k1"));
    assert!(world.verify(&issuers, &other).await.is_err());
    eventually("a second fetch", || world.provider.asked(KEYS) == 2).await;
    eventually("its result", || {
        issuers.status(world.now())[0].fetched_at == Some(world.now())
    })
    .await;
    assert!(issuers.cached(&token, None, world.now()).is_some());
}

#[tokio::test]
async fn the_last_good_copy_serves_until_it_is_too_old() {
    let world = World::http().await;
    let signer = Signer::es256("k1");
    world.publish(&[&signer]);
    let issuers = world.issuers(None);
    let token = world.token(&signer);
    assert_eq!(world.verify(&issuers, &token).await, Ok(()));
    world.provider.set_down(true);

    world.clock.advance(24 * HOUR);
    assert!(issuers.cached(&token, None, world.now()).is_some());
    issuers.revoke_all();
    assert_eq!(world.verify(&issuers, &token).await, Ok(()));

    world.clock.advance(Duration::from_millis(1));
    assert!(issuers.cached(&token, None, world.now()).is_none());
    assert_eq!(world.verify(&issuers, &token).await, Err(unavailable()));
    assert!(!issuers.status(world.now())[0].available);

    world.provider.set_down(false);
    world.clock.advance(Duration::from_secs(60));
    assert_eq!(world.verify(&issuers, &token).await, Ok(()));
    assert_eq!(issuers.status(world.now())[0].error, None);
}

#[tokio::test]
async fn a_client_that_leaves_does_not_cancel_the_fetch() {
    let world = World::http().await;
    let signer = Signer::es256("k1");
    world.publish(&[&signer]);
    world.provider.set_delay(Duration::from_millis(100));
    let issuers = world.issuers(None);
    let token = world.token(&signer);
    let gone = tokio::time::timeout(
        Duration::from_millis(20),
        issuers.verify(&token, None, world.now()),
    );
    assert!(gone.await.is_err());
    assert_eq!(world.verify(&issuers, &token).await, Ok(()));
    assert_eq!(world.provider.asked(KEYS), 1);
}

#[tokio::test]
async fn a_reload_keeps_fetched_keys_and_forgets_verified_tokens() {
    let world = World::http().await;
    let signer = Signer::es256("k1");
    world.publish(&[&signer]);
    let first = world.issuers(None);
    let token = world.token(&signer);
    assert_eq!(world.verify(&first, &token).await, Ok(()));
    world.provider.set_down(true);
    let second = world.issuers(Some(&first));
    drop(first);
    assert!(second.cached(&token, None, world.now()).is_none());
    assert_eq!(world.verify(&second, &token).await, Ok(()));
    assert_eq!(world.provider.asked(KEYS), 1);
}

#[tokio::test]
async fn a_set_without_keys_means_no_keys() {
    let world = World::http().await;
    let signer = Signer::es256("k1");
    world.publish(&[]);
    let issuers = world.issuers(None);
    let refused = world.verify(&issuers, &world.token(&signer)).await;
    assert!(matches!(
        refused,
        Err(CredentialError::Invalid(TokenFault::KeyUnknown(_)))
    ));
    assert!(!issuers.status(world.now())[0].available);
}

/// A provider over TLS whose certificate, for `name`, comes from the CA in the returned file.
async fn https(name: &str) -> (Provider, PathBuf, tempfile::TempDir) {
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let mut ca = rcgen::CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca_certificate = ca.self_signed(&ca_key).unwrap();
    let ca_issuer = rcgen::Issuer::new(ca, &ca_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let leaf = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
    let certificate = leaf.signed_by(&key, &ca_issuer).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ca.pem");
    std::fs::write(&file, ca_certificate.pem()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
        .unwrap();
    (
        Provider::start(Some(Arc::new(config))).await,
        file,
        directory,
    )
}

#[tokio::test]
async fn keys_come_over_verified_tls() {
    let signer = Signer::es256("k1");
    let (provider, ca, directory) = https("localhost").await;
    let issuer = format!("https://localhost:{}/realm", provider.address.port());
    let world = World::around(provider, issuer, Some(ca), directory);
    world.publish(&[&signer]);
    let issuers = world.issuers(None);
    assert_eq!(world.verify(&issuers, &world.token(&signer)).await, Ok(()));
}

#[tokio::test]
async fn a_certificate_of_another_ca_or_name_gives_no_keys() {
    let signer = Signer::es256("k1");
    let (other_ca, _, other) = https("localhost").await;
    drop(other_ca);
    for (name, authority) in [
        ("other.example", None),
        ("localhost", Some(other.path().join("ca.pem"))),
    ] {
        let (provider, ca, directory) = https(name).await;
        let issuer = format!("https://localhost:{}/realm", provider.address.port());
        let world = World::around(provider, issuer, authority.or(Some(ca)), directory);
        world.publish(&[&signer]);
        let issuers = world.issuers(None);
        let refused = world.verify(&issuers, &world.token(&signer)).await;
        assert_eq!(refused, Err(unavailable()));
        assert_eq!(world.provider.asked(OPENID), 0);
    }
}
