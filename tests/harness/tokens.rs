//! An issuer of access tokens (RFC 9068) whose keys the gateway reads from a file, and tokens of every make.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// Signs with one P-256 key.
pub struct TokenIssuer {
    pub issuer: String,
    pub audience: String,
    key_id: String,
    key: EcdsaKeyPair,
}

impl TokenIssuer {
    pub fn new(issuer: &str, audience: &str, key_id: &str) -> Self {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        Self {
            issuer: issuer.into(),
            audience: audience.into(),
            key_id: key_id.into(),
            key,
        }
    }

    /// The public half, as a JWKS document.
    pub fn jwks(&self) -> Value {
        // Uncompressed point: 04 || x || y.
        let point = self.key.public_key().as_ref();
        json!({ "keys": [{
            "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": self.key_id,
            "x": URL_SAFE_NO_PAD.encode(&point[1..33]), "y": URL_SAFE_NO_PAD.encode(&point[33..65]),
        }]})
    }

    /// A good MFA token for `user`, issued at `now` for an hour, to be changed as the test needs.
    pub fn token(&self, user: &str, groups: &[&str], now: i64) -> TokenBuilder<'_> {
        TokenBuilder {
            issuer: self,
            header: json!({ "alg": "ES256", "typ": "at+jwt", "kid": self.key_id }),
            claims: json!({
                "iss": self.issuer, "aud": self.audience, "sub": user, "client_id": "tests", "name": user,
                "jti": format!("{user}-{}", next()),
                "iat": now, "exp": now + 3600, "auth_time": now,
                "groups": groups, "amr": ["pwd", "otp"],
            }),
        }
    }

    /// Signs anything at all.
    pub fn sign(&self, header: &Value, claims: &Value) -> String {
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", encode(header), encode(claims));
        let signature = self
            .key
            .sign(&SystemRandom::new(), message.as_bytes())
            .unwrap();
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
    }
}

fn next() -> u64 {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
    NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}

/// A token about to be signed.
pub struct TokenBuilder<'a> {
    issuer: &'a TokenIssuer,
    header: Value,
    claims: Value,
}

impl TokenBuilder<'_> {
    pub fn header(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.header[name] = value.into();
        self
    }
    pub fn claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.claims[name] = value.into();
        self
    }
    pub fn without(mut self, name: &str) -> Self {
        self.claims.as_object_mut().unwrap().remove(name);
        self
    }
    /// Only a password was used.
    pub fn password_only(self) -> Self {
        self.claim("amr", json!(["pwd"]))
    }
    /// Bound to that certificate (RFC 8705).
    pub fn bound_to(self, thumbprint: &[u8; 32]) -> Self {
        self.claim(
            "cnf",
            json!({ "x5t#S256": URL_SAFE_NO_PAD.encode(thumbprint) }),
        )
    }
    pub fn sign(self) -> String {
        self.issuer.sign(&self.header, &self.claims)
    }
}
