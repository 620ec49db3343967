//! What an app is told about a request: who asked, on which device, proved how. Signed with ES256, for one app, for at
//! most a minute, in `Masugata-Assertion`; the public key is at [`JWKS_PATH`].
//!
//! An assertion says what was true when it was signed and is reused for the same principal, device, authentication and app
//! until half of its life is over: signing costs some fifty microseconds, a hit well under one. So `jti` names the
//! assertion, not the request. It never outlives the credential it rests on.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aws_lc_rs::digest;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};
use masugata_policy::{App, Authentication, Device, Principal, PrincipalKind, Timestamp};
use quick_cache::sync::Cache;
use rustls::pki_types::{PrivatePkcs8KeyDer, pem::PemObject as _};
use serde::Serialize;

use crate::capability::Entropy;
use crate::config;
use crate::config::error::Problem;

/// The request header.
pub const HEADER: HeaderName = HeaderName::from_static("masugata-assertion");

/// Where apps find the key.
pub const JWKS_PATH: &str = "/.well-known/masugata/jwks.json";

/// `typ` of the token (RFC 8725 §3.11): nothing else that is signed can be taken for an assertion.
pub const TOKEN_TYPE: &str = "masugata-assertion+jwt";

/// Longest life, whatever is configured.
const LONGEST_LIFE: Duration = Duration::from_secs(60);

/// How much earlier than signed an assertion is valid, for apps whose clock is a little behind.
const NOT_BEFORE_SLACK: Duration = Duration::from_secs(5);

/// How long a replaced key stays published. Its last assertion is over after a minute; the rest is for late clocks.
const RETIRED_FOR: Duration = Duration::from_secs(600);

/// Many servers refuse longer header fields. Groups, then roles, are left out of what would be longer.
const MAX_HEADER_BYTES: usize = 8 * 1024;

/// A dot and 64 bytes of signature, encoded.
const SIGNATURE_BYTES: usize = 87;

/// Assertions kept for reuse.
const CACHED: usize = 4_096;

/// Signs assertions. Made anew with each configuration; see [`AssertionSigner::build`] for what lives on.
pub struct AssertionSigner {
    issuer: Box<str>,
    lifetime: Duration,
    key: Arc<Key>,
    /// Public keys of predecessors, and until when each is published.
    retired: Vec<(PublicKey, Timestamp)>,
    jwks: Bytes,
    jwks_with_retired: Bytes,
    /// Random half of every `jti`.
    process: [u8; 8],
    signed: AtomicU64,
    reusable: Cache<[u64; 4], Reusable>,
}

/// The facts of one request that are asserted.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    pub principal: &'a Principal,
    pub device: &'a Device,
    pub authentication: &'a Authentication,
    pub app: &'a App,
    /// `aud`; fixed per app.
    pub audience: &'a str,
    /// When the credential ends; an assertion does not live longer.
    pub credential_until: Timestamp,
}

/// Why there is no assertion. The request must not go upstream without one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AssertionError {
    #[error("the assertion could not be signed")]
    Signing,
    #[error("the assertion could not be written")]
    Writing,
}

struct Key {
    pair: EcdsaKeyPair,
    public: PublicKey,
    /// Encoded JWS header and its dot.
    header: String,
    /// Not from a file, so it lives as long as the process.
    generated: bool,
}

#[derive(Clone, PartialEq, Eq, Serialize)]
struct PublicKey {
    kty: &'static str,
    crv: &'static str,
    x: String,
    y: String,
    kid: String,
    alg: &'static str,
    #[serde(rename = "use")]
    usage: &'static str,
}

#[derive(Clone)]
struct Reusable {
    header: HeaderValue,
    from: Timestamp,
    until: Timestamp,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    aud: &'a str,
    sub: &'a str,
    principal_kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    iat: i64,
    nbf: i64,
    exp: i64,
    jti: &'a str,
    device: DeviceClaims<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    groups: Option<&'a [Box<str>]>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    groups_truncated: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    roles: Option<&'a [Box<str>]>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    roles_truncated: bool,
    level: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    acr: Option<&'a str>,
    amr: &'a [Box<str>],
    #[serde(skip_serializing_if = "Option::is_none")]
    auth_time: Option<i64>,
}

#[derive(Serialize)]
struct DeviceClaims<'a> {
    id: &'a str,
    kind: &'static str,
    ownership: &'static str,
}

impl AssertionSigner {
    /// A signer as configured. A generated key and the public keys of predecessors are taken over from `previous`.
    /// # Errors: the key file cannot be read or holds no P-256 key in PKCS#8 PEM.
    pub fn build(
        config: &config::Assertion,
        previous: Option<&Self>,
        now: Timestamp,
        entropy: &dyn Entropy,
    ) -> Result<Self, Problem> {
        let key = match (&config.key, previous) {
            (Some(path), _) => Arc::new(Key::read(path)?),
            (None, Some(previous)) if previous.key.generated => Arc::clone(&previous.key),
            (None, _) => Arc::new(Key::generate().ok_or_else(cannot_generate)?),
        };
        let retired = previous.map_or_else(Vec::new, |previous| previous.retire(&key.public, now));
        let published: Vec<&PublicKey> = std::iter::once(&key.public)
            .chain(retired.iter().map(|(public, _)| public))
            .collect();
        let mut process = [0; 8];
        entropy.fill(&mut process);
        Ok(Self {
            issuer: config.issuer.as_str().into(),
            lifetime: config.lifetime.clamp(Duration::from_secs(1), LONGEST_LIFE),
            jwks: key_set(&[&key.public]),
            jwks_with_retired: key_set(&published),
            key,
            retired,
            process,
            signed: AtomicU64::new(0),
            reusable: Cache::new(CACHED),
        })
    }

    /// The key set at `now`, `application/jwk-set+json`: the present key, and those replaced a short while ago.
    pub fn jwks(&self, now: Timestamp) -> Bytes {
        let fading = self.retired.iter().any(|(_, until)| now < *until);
        if fading {
            self.jwks_with_retired.clone()
        } else {
            self.jwks.clone()
        }
    }

    /// RFC 7638 thumbprint of the present key.
    pub fn key_id(&self) -> &str {
        &self.key.public.kid
    }

    /// The header's value for a request with these facts, marked as sensitive.
    /// # Errors: the library fails to sign.
    pub fn header_for(
        &self,
        facts: &Facts<'_>,
        now: Timestamp,
    ) -> Result<HeaderValue, AssertionError> {
        // Each revision stands for one immutable value, and the audience for the app's.
        let key = [
            facts.principal.revision(),
            facts.device.revision(),
            facts.authentication.revision(),
            facts.app.revision(),
        ];
        if let Some(reusable) = self.reusable.get(&key)
            && reusable.from <= now
            && now < reusable.until
        {
            return Ok(reusable.header);
        }
        let issued_at = now.as_seconds();
        let ends = now.plus(self.lifetime).min(facts.credential_until);
        let expires_at = ends.as_seconds().max(issued_at.saturating_add(1));
        let header = self.sign(facts, issued_at, expires_at)?;
        let half = expires_at.saturating_sub(issued_at).saturating_mul(500);
        let reusable = Reusable {
            header: header.clone(),
            from: now,
            until: Timestamp::from_millis(
                Timestamp::from_seconds(issued_at)
                    .as_millis()
                    .saturating_add(half),
            ),
        };
        self.reusable.insert(key, reusable);
        Ok(header)
    }

    fn sign(
        &self,
        facts: &Facts<'_>,
        issued_at: i64,
        expires_at: i64,
    ) -> Result<HeaderValue, AssertionError> {
        let token_id = self.next_token_id();
        let mut claims = self.claims(facts, &token_id, issued_at, expires_at);
        let mut token = self.encode(&claims)?;
        if token.len() + SIGNATURE_BYTES > MAX_HEADER_BYTES {
            claims.groups = None;
            claims.groups_truncated = true;
            token = self.encode(&claims)?;
        }
        if token.len() + SIGNATURE_BYTES > MAX_HEADER_BYTES {
            claims.roles = None;
            claims.roles_truncated = true;
            token = self.encode(&claims)?;
        }
        let signature = self
            .key
            .pair
            .sign(&SystemRandom::new(), token.as_bytes())
            .map_err(|_| AssertionError::Signing)?;
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature.as_ref(), &mut token);
        let mut header = HeaderValue::from_maybe_shared(Bytes::from(token))
            .map_err(|_| AssertionError::Writing)?;
        header.set_sensitive(true);
        Ok(header)
    }

    fn claims<'a>(
        &'a self,
        facts: &Facts<'a>,
        token_id: &'a str,
        issued_at: i64,
        expires_at: i64,
    ) -> Claims<'a> {
        let slack = i64::try_from(NOT_BEFORE_SLACK.as_secs()).unwrap_or(0);
        Claims {
            iss: &self.issuer,
            aud: facts.audience,
            sub: facts.principal.id(),
            principal_kind: match facts.principal.kind() {
                PrincipalKind::User => "user",
                PrincipalKind::Service => "service",
            },
            name: facts.principal.name(),
            iat: issued_at,
            nbf: issued_at.saturating_sub(slack),
            exp: expires_at,
            jti: token_id,
            device: DeviceClaims {
                id: facts.device.id(),
                kind: facts.device.kind().as_str(),
                ownership: facts.device.ownership().as_str(),
            },
            groups: Some(facts.principal.groups()),
            groups_truncated: false,
            roles: Some(facts.principal.roles()),
            roles_truncated: false,
            level: facts.app.level().as_str(),
            acr: facts.authentication.acr.as_deref(),
            amr: &facts.authentication.amr,
            auth_time: facts
                .authentication
                .authenticated_at
                .map(Timestamp::as_seconds),
        }
    }

    fn encode(&self, claims: &Claims<'_>) -> Result<String, AssertionError> {
        let payload = serde_json::to_vec(claims).map_err(|_| AssertionError::Writing)?;
        let length = self.key.header.len() + payload.len() * 4 / 3 + SIGNATURE_BYTES + 3;
        let mut token = String::with_capacity(length);
        token.push_str(&self.key.header);
        URL_SAFE_NO_PAD.encode_string(payload, &mut token);
        Ok(token)
    }

    fn next_token_id(&self) -> String {
        let number = self.signed.fetch_add(1, Ordering::Relaxed);
        let mut id = [0; 16];
        let (process, counter) = id.split_at_mut(8);
        process.copy_from_slice(&self.process);
        counter.copy_from_slice(&number.to_be_bytes());
        URL_SAFE_NO_PAD.encode(id)
    }

    /// The keys that a successor with `public` still publishes.
    fn retire(&self, public: &PublicKey, now: Timestamp) -> Vec<(PublicKey, Timestamp)> {
        let mut retired = self.retired.clone();
        retired.push((self.key.public.clone(), now.plus(RETIRED_FOR)));
        retired.retain(|(old, until)| old.kid != public.kid && now < *until);
        retired
    }
}

impl std::fmt::Debug for AssertionSigner {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("AssertionSigner")
            .field("issuer", &self.issuer)
            .field("key_id", &self.key.public.kid)
            .finish_non_exhaustive()
    }
}

impl Key {
    fn generate() -> Option<Self> {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).ok()?;
        Self::new(pair, true)
    }

    fn read(path: &Path) -> Result<Self, Problem> {
        let problem = |message: String| Problem {
            file: path.to_owned(),
            position: None,
            message,
            help: Some(
                "make one with `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256`"
                    .to_owned(),
            ),
        };
        // The library's error may quote what it read: only its kind is told.
        let key = PrivatePkcs8KeyDer::from_pem_file(path).map_err(|error| {
            problem(if let rustls::pki_types::pem::Error::Io(error) = error {
                format!("the assertion key cannot be read: {error}")
            } else {
                "the assertion key is not a PKCS#8 key in PEM (`BEGIN PRIVATE KEY`)".to_owned()
            })
        })?;
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key.secret_pkcs8_der())
            .ok()
            .and_then(|pair| Self::new(pair, false))
            .ok_or_else(|| problem("the assertion key is not a P-256 key".to_owned()))
    }

    fn new(pair: EcdsaKeyPair, generated: bool) -> Option<Self> {
        let public = PublicKey::of(pair.public_key().as_ref())?;
        let header = serde_json::json!({"alg": "ES256", "typ": TOKEN_TYPE, "kid": public.kid});
        let header = format!("{}.", URL_SAFE_NO_PAD.encode(header.to_string()));
        Some(Self {
            pair,
            public,
            header,
            generated,
        })
    }
}

impl PublicKey {
    /// From an uncompressed point: 4, x, y.
    fn of(point: &[u8]) -> Option<Self> {
        let (x, y) = point.strip_prefix(&[4])?.split_at_checked(32)?;
        let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
        // RFC 7638 §3.2: the required members in this order, without white space.
        let canonical = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
        let kid = URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, canonical.as_bytes()));
        Some(Self {
            kty: "EC",
            crv: "P-256",
            x,
            y,
            kid,
            alg: "ES256",
            usage: "sig",
        })
    }
}

fn key_set(keys: &[&PublicKey]) -> Bytes {
    #[derive(Serialize)]
    struct KeySet<'a> {
        keys: &'a [&'a PublicKey],
    }
    // Strings always serialise; an empty body would make apps refuse every assertion.
    serde_json::to_vec(&KeySet { keys })
        .unwrap_or_default()
        .into()
}

fn cannot_generate() -> Problem {
    Problem {
        file: std::path::PathBuf::new(),
        position: None,
        message: "no key for assertions could be made".to_owned(),
        help: Some("set `key` under [assertion] to a file with one".to_owned()),
    }
}

#[cfg(test)]
#[path = "assertion_tests.rs"]
mod tests;
