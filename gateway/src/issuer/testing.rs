//! What the tests of this module share: an issuer with keys, its tokens, and a clock that is moved by hand.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use masugata_policy::Timestamp;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::capability::{Clock, SystemClock};
use crate::config::{self, ClaimNames, KeySource};

/// 2026-01-01T00:00:00Z
pub(crate) const START: i64 = 1_767_225_600;

pub(crate) const ISSUER: &str = "https://id.example/realms/corp";

/// An issuer without any `acr` of its own.
pub(crate) fn issuer_config() -> config::Issuer {
    config::Issuer {
        sign_in: None,
        name: "corp".to_owned(),
        issuer: ISSUER.to_owned(),
        audiences: vec!["https://apps.example".to_owned()],
        algorithms: vec![
            Algorithm::ES256,
            Algorithm::ES384,
            Algorithm::RS256,
            Algorithm::PS256,
            Algorithm::EdDSA,
        ],
        keys: KeySource::File(PathBuf::new()),
        token_types: vec!["at+jwt".to_owned()],
        claims: ClaimNames {
            user: "sub".to_owned(),
            require_verified_email: true,
            name: "name".to_owned(),
            groups: "groups".to_owned(),
            roles: "realm_access.roles".to_owned(),
            group_prefix: String::new(),
        },
        acr_multi_factor: Vec::new(),
        acr_phishing_resistant: Vec::new(),
        multi_factor_out_of_band: false,
        leeway: Duration::from_secs(30),
        max_token_lifetime: Duration::from_secs(3600),
    }
}

pub(crate) fn now() -> Timestamp {
    Timestamp::from_seconds(START)
}

/// Claims that are accepted at [`now`].
pub(crate) fn good_claims() -> Value {
    json!({
        "iss": ISSUER, "aud": "https://apps.example", "sub": "ada", "client_id": "cli", "jti": "t1",
        "iat": START - 10, "exp": START + 300, "auth_time": START - 60, "name": "Ada",
        "groups": ["finance"], "realm_access": {"roles": ["approver"]}, "amr": ["pwd", "otp"], "acr": "1",
    })
}

/// Those claims with members replaced; `Value::Null` takes one away.
pub(crate) fn claims_with(changes: Value) -> Value {
    let mut claims = good_claims();
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value.clone();
        }
    }
    claims
}

/// A private key of the test's issuer, used through `jsonwebtoken`: another implementation than the one under test.
pub(crate) struct Signer {
    pub(crate) key_id: String,
    pub(crate) algorithm: Algorithm,
    pub(crate) encoding: EncodingKey,
    pub(crate) jwk: Value,
}

impl Signer {
    pub(crate) fn es256(key_id: &str) -> Self {
        use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let point = pair.public_key().as_ref().to_vec();
        Self {
            key_id: key_id.to_owned(),
            algorithm: Algorithm::ES256,
            encoding: EncodingKey::from_ec_der(pair.to_pkcs8v1().unwrap().as_ref()),
            jwk: json!({"kty": "EC", "crv": "P-256", "kid": key_id, "use": "sig", "alg": "ES256",
                "x": encode(&point[1..33]), "y": encode(&point[33..])}),
        }
    }

    pub(crate) fn es384(key_id: &str) -> Self {
        use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
        let pair = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap();
        let point = pair.public_key().as_ref().to_vec();
        Self {
            key_id: key_id.to_owned(),
            algorithm: Algorithm::ES384,
            encoding: EncodingKey::from_ec_der(pair.to_pkcs8v1().unwrap().as_ref()),
            jwk: json!({"kty": "EC", "crv": "P-384", "kid": key_id, "alg": "ES384",
                "x": encode(&point[1..49]), "y": encode(&point[49..])}),
        }
    }

    pub(crate) fn rsa(key_id: &str, algorithm: Algorithm, name: &str) -> Self {
        use aws_lc_rs::encoding::AsDer as _;
        use aws_lc_rs::rsa::KeySize;
        use aws_lc_rs::signature::{KeyPair as _, RsaKeyPair};
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let public = pair.public_key();
        let pkcs8: aws_lc_rs::encoding::Pkcs8V1Der<'_> = pair.as_der().unwrap();
        // `jsonwebtoken` wants the PKCS#1 structure inside: after version, algorithm and the octet string's head.
        let pkcs1 = &pkcs8.as_ref()[26..];
        Self {
            key_id: key_id.to_owned(),
            algorithm,
            encoding: EncodingKey::from_rsa_der(pkcs1),
            jwk: json!({"kty": "RSA", "kid": key_id, "use": "sig", "alg": name,
                "n": encode(public.modulus().big_endian_without_leading_zero()),
                "e": encode(public.exponent().big_endian_without_leading_zero())}),
        }
    }

    pub(crate) fn ed25519(key_id: &str) -> Self {
        use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
        let pair = Ed25519KeyPair::generate().unwrap();
        Self {
            key_id: key_id.to_owned(),
            algorithm: Algorithm::EdDSA,
            encoding: EncodingKey::from_ed_der(pair.to_pkcs8v1().unwrap().as_ref()),
            jwk: json!({"kty": "OKP", "crv": "Ed25519", "kid": key_id, "alg": "EdDSA",
                "x": encode(pair.public_key().as_ref())}),
        }
    }

    /// A token as RFC 9068 wants it.
    pub(crate) fn token(&self, claims: &Value) -> String {
        let mut header = Header::new(self.algorithm);
        header.typ = Some("at+jwt".to_owned());
        header.kid = Some(self.key_id.clone());
        jsonwebtoken::encode(&header, claims, &self.encoding).unwrap()
    }

    /// A token with any header and payload text, signed correctly.
    pub(crate) fn token_of(&self, header: &str, payload: &str) -> String {
        let message = format!("{}.{}", encode(header), encode(payload));
        let signature =
            jsonwebtoken::crypto::sign(message.as_bytes(), &self.encoding, self.algorithm).unwrap();
        format!("{message}.{signature}")
    }
}

pub(crate) fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub(crate) fn key_set(signers: &[&Signer]) -> String {
    let keys: Vec<&Value> = signers.iter().map(|signer| &signer.jwk).collect();
    json!({ "keys": keys }).to_string()
}

/// A wall clock that stands still until it is moved.
pub(crate) struct HandClock(AtomicI64);

impl HandClock {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(START * 1000)))
    }

    pub(crate) fn advance(&self, by: Duration) -> Timestamp {
        let millis = i64::try_from(by.as_millis()).unwrap();
        self.0.fetch_add(millis, Ordering::SeqCst);
        self.now()
    }
}

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> Instant {
        SystemClock.monotonic()
    }
}

/// A provider on loopback: documents by path, and how often each was asked for.
pub(crate) struct Provider {
    pub(crate) address: SocketAddr,
    state: Arc<ProviderState>,
}

#[derive(Default)]
struct ProviderState {
    /// Whole answers, head included, by path.
    answers: Mutex<HashMap<String, Vec<u8>>>,
    asked: Mutex<HashMap<String, usize>>,
    /// The last request for each path: head and body.
    requests: Mutex<HashMap<String, (String, String)>>,
    delay: Mutex<Duration>,
    down: std::sync::atomic::AtomicBool,
    connections: AtomicUsize,
}

impl Provider {
    /// Over plain HTTP, or over TLS with `tls`.
    pub(crate) async fn start(tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::<ProviderState>::default();
        let shared = Arc::clone(&state);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let state = Arc::clone(&shared);
                let tls = tls.clone();
                tokio::spawn(async move {
                    state.connections.fetch_add(1, Ordering::SeqCst);
                    if state.down.load(Ordering::SeqCst) {
                        return;
                    }
                    match tls {
                        None => state.serve(stream).await,
                        Some(config) => {
                            let acceptor = tokio_rustls::TlsAcceptor::from(config);
                            if let Ok(stream) = acceptor.accept(stream).await {
                                state.serve(stream).await;
                            }
                        }
                    }
                });
            }
        });
        Self { address, state }
    }

    pub(crate) fn answer(&self, path: &str, document: &str) {
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{document}",
            document.len()
        );
        self.answer_raw(path, answer.into_bytes());
    }

    pub(crate) fn answer_raw(&self, path: &str, answer: Vec<u8>) {
        let mut answers = self.state.answers.lock().unwrap();
        answers.insert(path.to_owned(), answer);
    }

    pub(crate) fn asked(&self, path: &str) -> usize {
        let asked = self.state.asked.lock().unwrap();
        asked.get(path).copied().unwrap_or(0)
    }

    /// Head and body of the last request for a path.
    pub(crate) fn last_request(&self, path: &str) -> (String, String) {
        self.state.requests.lock().unwrap()[path].clone()
    }

    pub(crate) fn set_down(&self, down: bool) {
        self.state.down.store(down, Ordering::SeqCst);
    }

    pub(crate) fn set_delay(&self, delay: Duration) {
        *self.state.delay.lock().unwrap() = delay;
    }
}

impl ProviderState {
    async fn serve(&self, mut stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let Ok(byte) = stream.read_u8().await else {
                return;
            };
            head.push(byte);
        }
        let head = String::from_utf8(head).unwrap();
        let path = head.split(' ').nth(1).unwrap().to_owned();
        *self.asked.lock().unwrap().entry(path.clone()).or_default() += 1;
        let length = head
            .lines()
            .filter_map(|line| line.split_once(": "))
            .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
            .map_or(0, |(_, length)| length.parse().unwrap());
        let mut body = vec![0; length];
        if stream.read_exact(&mut body).await.is_err() {
            return;
        }
        let body = String::from_utf8(body).unwrap();
        self.requests
            .lock()
            .unwrap()
            .insert(path.clone(), (head, body));
        let delay = *self.delay.lock().unwrap();
        tokio::time::sleep(delay).await;
        let answers = self.answers.lock().unwrap().clone();
        let bare = path.split('?').next().unwrap();
        let answer = answers.get(&path).or_else(|| answers.get(bare)).cloned();
        let answer = answer
            .unwrap_or_else(|| b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".to_vec());
        let _ = stream.write_all(&answer).await;
        let _ = stream.shutdown().await;
    }
}
