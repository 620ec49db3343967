//! Public keys of an issuer: from a JWKS (RFC 7517) to keys that know the one algorithm they are for.
//!
//! The algorithm is part of the key (RFC 8725 §3.1): a token's header can only agree with it. Signatures are checked with
//! aws-lc directly; the key is parsed once, which is also what makes it cheap.

use aws_lc_rs::digest;
use aws_lc_rs::rsa::PublicKeyComponents;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, ParsedPublicKey,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512,
    RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters,
    VerificationAlgorithm,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use serde_json::Value;

use super::error::{Cleaned, TokenFault};
use super::json::{self, Object};

/// More keys than this are no key set that a person meant.
const MAX_KEYS: usize = 64;

/// Bits of the shortest RSA modulus that is accepted, and of the longest.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// The keys of an issuer that can verify something.
#[derive(Debug, Default)]
pub(super) struct KeySet {
    keys: Vec<VerificationKey>,
}

/// A public key with the one algorithm it is for.
pub(super) struct VerificationKey {
    id: Option<Box<str>>,
    algorithm: Algorithm,
    signature_bytes: usize,
    key: ParsedPublicKey,
}

/// A JWK that is not used, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("key {name}: {fault}")]
pub(super) struct RefusedKey {
    /// `kid` in backticks, or its place in the list.
    pub(super) name: String,
    pub(super) fault: KeyFault,
}

/// Why a JWK is not used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum KeyFault {
    #[error("is a private key")]
    Private,
    #[error("is a symmetric key")]
    Symmetric,
    #[error("is for encryption")]
    Encryption,
    #[error("has the unknown type `{0}`")]
    UnknownType(Cleaned),
    #[error("is for `{0}`, which this issuer may not use")]
    AlgorithmNotAllowed(Cleaned),
    #[error("fits none of the algorithms that this issuer may use")]
    NoAlgorithmFits,
    #[error("is an RSA key of {0} bits; 2048 to 8192 are accepted")]
    RsaSize(usize),
    #[error("has no usable member `{0}`")]
    Member(&'static str),
    #[error("is not a valid public key")]
    Rejected,
    #[error("shares its `kid` with another key")]
    DuplicateId,
}

impl KeyFault {
    /// Nothing is wrong with such a key; it is merely not for us. Providers publish them side by side.
    pub(super) fn is_harmless(&self) -> bool {
        match self {
            Self::Encryption
            | Self::UnknownType(_)
            | Self::AlgorithmNotAllowed(_)
            | Self::NoAlgorithmFits => true,
            Self::Private
            | Self::Symmetric
            | Self::RsaSize(_)
            | Self::Member(_)
            | Self::Rejected
            | Self::DuplicateId => false,
        }
    }
}

/// Why a document is no key set at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum KeySetFault {
    #[error("not a JSON object with unique members")]
    Json,
    #[error("no list `keys` of objects")]
    NoKeys,
    #[error("more than {MAX_KEYS} keys")]
    TooMany,
}

impl KeySet {
    /// Reads a JWKS document; `allowed` are the issuer's algorithms in order of preference. A key that names no `alg` is
    /// for the first allowed one that fits its type.
    /// # Errors: the document is no key set. Single keys that cannot be used are returned beside the set.
    pub(super) fn parse(
        document: &[u8],
        allowed: &[Algorithm],
    ) -> Result<(Self, Vec<RefusedKey>), KeySetFault> {
        let document = json::parse_object(document).ok_or(KeySetFault::Json)?;
        let Some(Value::Array(entries)) = document.get("keys") else {
            return Err(KeySetFault::NoKeys);
        };
        if entries.len() > MAX_KEYS {
            return Err(KeySetFault::TooMany);
        }
        let mut keys = Vec::new();
        let mut refused = Vec::new();
        for (index, entry) in entries.iter().enumerate() {
            let entry = entry.as_object().ok_or(KeySetFault::NoKeys)?;
            match VerificationKey::parse(entry, allowed) {
                Ok(key) => keys.push(key),
                Err(fault) => refused.push(RefusedKey {
                    name: name_of(entry, index),
                    fault,
                }),
            }
        }
        let keys = without_ambiguity(keys, &mut refused);
        Ok((Self { keys }, refused))
    }

    /// How many keys can verify something.
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether both sets believe exactly the same signatures.
    pub(super) fn same_as(&self, other: &Self) -> bool {
        self.keys.len() == other.keys.len()
            && self
                .keys
                .iter()
                .all(|key| other.keys.iter().any(|candidate| candidate.same_as(key)))
    }

    /// Whether this very key is still among them.
    pub(super) fn has(&self, print: &KeyPrint) -> bool {
        self.keys.iter().any(|key| key.print() == *print)
    }

    /// The key a header means.
    /// # Errors: `KeyUnknown` when there is no such `kid` (a newer set may have it), others when no set could help.
    pub(super) fn find(
        &self,
        key_id: Option<&str>,
        algorithm: &str,
    ) -> Result<&VerificationKey, TokenFault> {
        let Some(id) = key_id else {
            let mut fitting = self.keys.iter().filter(|key| key.is_for(algorithm));
            return match (fitting.next(), fitting.next()) {
                (Some(only), None) => Ok(only),
                _ => Err(TokenFault::KeyUnnamed),
            };
        };
        let key = self
            .keys
            .iter()
            .find(|key| key.id.as_deref() == Some(id))
            .ok_or_else(|| TokenFault::KeyUnknown(Cleaned::new(id)))?;
        if key.is_for(algorithm) {
            Ok(key)
        } else {
            Err(TokenFault::KeyAlgorithm(Cleaned::new(id)))
        }
    }
}

/// Names a key by its material, whatever the issuer calls it.
pub(super) type KeyPrint = [u8; 32];

/// The `alg` names of RFC 7518 §3.1 and RFC 8037, compared case by case. `None` for every other, `none` and HMAC included.
pub(super) fn algorithm_named(name: &str) -> Option<Algorithm> {
    Some(match name {
        "ES256" => Algorithm::ES256,
        "ES384" => Algorithm::ES384,
        "RS256" => Algorithm::RS256,
        "RS384" => Algorithm::RS384,
        "RS512" => Algorithm::RS512,
        "PS256" => Algorithm::PS256,
        "PS384" => Algorithm::PS384,
        "PS512" => Algorithm::PS512,
        // RFC 9864 gives EdDSA over Ed25519 a name of its own; other curves are not supported under either.
        "EdDSA" | "Ed25519" => Algorithm::EdDSA,
        _ => return None,
    })
}

impl VerificationKey {
    fn parse(jwk: &Object, allowed: &[Algorithm]) -> Result<Self, KeyFault> {
        const PRIVATE: [&str; 7] = ["d", "p", "q", "dp", "dq", "qi", "oth"];
        let kty = text(jwk, "kty").ok_or(KeyFault::Member("kty"))?;
        if kty == "oct" || jwk.contains_key("k") {
            return Err(KeyFault::Symmetric);
        }
        if PRIVATE.iter().any(|member| jwk.contains_key(*member)) {
            return Err(KeyFault::Private);
        }
        check_use(jwk)?;
        let id = match jwk.get("kid") {
            None => None,
            Some(Value::String(id)) if !id.is_empty() => Some(id.as_str().into()),
            Some(_) => return Err(KeyFault::Member("kid")),
        };
        let algorithm = choose_algorithm(jwk, kty, allowed)?;
        let (key, signature_bytes) = match kty {
            "RSA" => rsa_key(jwk, algorithm)?,
            "EC" => ec_key(jwk, algorithm)?,
            _ => ed_key(jwk)?,
        };
        Ok(Self {
            id,
            algorithm,
            signature_bytes,
            key,
        })
    }

    fn is_for(&self, algorithm: &str) -> bool {
        algorithm_named(algorithm) == Some(self.algorithm)
    }

    fn same_as(&self, other: &Self) -> bool {
        self.id == other.id && self.same_material(other)
    }

    fn same_material(&self, other: &Self) -> bool {
        self.algorithm == other.algorithm && self.key.as_ref() == other.key.as_ref()
    }

    /// SHA-256 of the public key.
    pub(super) fn print(&self) -> KeyPrint {
        let mut print = [0; 32];
        print.copy_from_slice(digest::digest(&digest::SHA256, self.key.as_ref()).as_ref());
        print
    }

    /// Checks a signature (RFC 7518 §3.3 to §3.5, RFC 8037 §3.1).
    pub(super) fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), TokenFault> {
        // The length is fixed by key and algorithm; a DER-encoded ECDSA signature ends here.
        if signature.len() != self.signature_bytes {
            return Err(TokenFault::Signature);
        }
        self.key
            .verify_sig(message, signature)
            .map_err(|_| TokenFault::Signature)
    }
}

impl std::fmt::Debug for VerificationKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("VerificationKey")
            .field("id", &self.id)
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

/// Two keys under one name would let the sender choose which is used: neither is.
fn without_ambiguity(
    keys: Vec<VerificationKey>,
    refused: &mut Vec<RefusedKey>,
) -> Vec<VerificationKey> {
    let mut ambiguous: Vec<Box<str>> = Vec::new();
    let mut kept: Vec<VerificationKey> = Vec::new();
    for key in keys {
        let twin = kept
            .iter()
            .find(|other| key.id.is_some() && other.id == key.id);
        match (twin, &key.id) {
            (Some(twin), Some(_)) if twin.same_material(&key) => {}
            (Some(_), Some(id)) => ambiguous.push(id.clone()),
            _ => kept.push(key),
        }
    }
    kept.retain(|key| key.id.as_ref().is_none_or(|id| !ambiguous.contains(id)));
    refused.extend(ambiguous.iter().map(|id| RefusedKey {
        name: format!("`{}`", Cleaned::new(id)),
        fault: KeyFault::DuplicateId,
    }));
    kept
}

fn name_of(jwk: &Object, index: usize) -> String {
    match text(jwk, "kid") {
        Some(id) => format!("`{}`", Cleaned::new(id)),
        None => format!("number {}", index + 1),
    }
}

fn text<'a>(jwk: &'a Object, member: &str) -> Option<&'a str> {
    jwk.get(member).and_then(Value::as_str)
}

fn check_use(jwk: &Object) -> Result<(), KeyFault> {
    match jwk.get("use") {
        None => {}
        Some(Value::String(word)) if word == "sig" => {}
        Some(_) => return Err(KeyFault::Encryption),
    }
    match jwk.get("key_ops") {
        None => Ok(()),
        Some(Value::Array(operations)) if operations.iter().any(|word| word == "verify") => Ok(()),
        Some(_) => Err(KeyFault::Encryption),
    }
}

fn choose_algorithm(jwk: &Object, kty: &str, allowed: &[Algorithm]) -> Result<Algorithm, KeyFault> {
    let fitting = fitting_algorithms(jwk, kty)?;
    match jwk.get("alg") {
        None => allowed
            .iter()
            .copied()
            .find(|algorithm| fitting.contains(algorithm))
            .ok_or(KeyFault::NoAlgorithmFits),
        Some(Value::String(name)) => {
            let algorithm = algorithm_named(name)
                .filter(|algorithm| allowed.contains(algorithm))
                .ok_or_else(|| KeyFault::AlgorithmNotAllowed(Cleaned::new(name)))?;
            if fitting.contains(&algorithm) {
                Ok(algorithm)
            } else {
                Err(KeyFault::Member("alg"))
            }
        }
        Some(_) => Err(KeyFault::Member("alg")),
    }
}

fn fitting_algorithms(jwk: &Object, kty: &str) -> Result<&'static [Algorithm], KeyFault> {
    const RSA: [Algorithm; 6] = [
        Algorithm::RS256,
        Algorithm::RS384,
        Algorithm::RS512,
        Algorithm::PS256,
        Algorithm::PS384,
        Algorithm::PS512,
    ];
    match (kty, text(jwk, "crv")) {
        ("RSA", _) => Ok(&RSA),
        ("EC", Some("P-256")) => Ok(&[Algorithm::ES256]),
        ("EC", Some("P-384")) => Ok(&[Algorithm::ES384]),
        ("OKP", Some("Ed25519")) => Ok(&[Algorithm::EdDSA]),
        ("EC" | "OKP", Some(curve)) => Err(KeyFault::UnknownType(Cleaned::new(curve))),
        ("EC" | "OKP", None) => Err(KeyFault::Member("crv")),
        (other, _) => Err(KeyFault::UnknownType(Cleaned::new(other))),
    }
}

fn bytes(jwk: &Object, member: &'static str) -> Result<Vec<u8>, KeyFault> {
    text(jwk, member)
        .and_then(|encoded| URL_SAFE_NO_PAD.decode(encoded).ok())
        .ok_or(KeyFault::Member(member))
}

fn rsa_key(jwk: &Object, algorithm: Algorithm) -> Result<(ParsedPublicKey, usize), KeyFault> {
    let without_zeros =
        |number: Vec<u8>| -> Vec<u8> { number.into_iter().skip_while(|byte| *byte == 0).collect() };
    let modulus = without_zeros(bytes(jwk, "n")?);
    let exponent = without_zeros(bytes(jwk, "e")?);
    let leading = modulus
        .first()
        .map_or(0, |byte| byte.leading_zeros() as usize);
    let bits = (modulus.len() * 8).saturating_sub(leading);
    if !RSA_BITS.contains(&bits) {
        return Err(KeyFault::RsaSize(bits));
    }
    // With exponent 1 every message is its own signature; an even one is no RSA key.
    let odd = exponent.last().is_some_and(|byte| byte & 1 == 1);
    if !odd || exponent == [1] || exponent.len() > 4 {
        return Err(KeyFault::Member("e"));
    }
    let signature_bytes = modulus.len();
    let parameters = rsa_parameters(algorithm).ok_or(KeyFault::NoAlgorithmFits)?;
    let key = PublicKeyComponents {
        n: modulus,
        e: exponent,
    }
    .to_parsed_public_key(parameters)
    .map_err(|_| KeyFault::Rejected)?;
    Ok((key, signature_bytes))
}

fn rsa_parameters(algorithm: Algorithm) -> Option<&'static RsaParameters> {
    match algorithm {
        Algorithm::RS256 => Some(&RSA_PKCS1_2048_8192_SHA256),
        Algorithm::RS384 => Some(&RSA_PKCS1_2048_8192_SHA384),
        Algorithm::RS512 => Some(&RSA_PKCS1_2048_8192_SHA512),
        Algorithm::PS256 => Some(&RSA_PSS_2048_8192_SHA256),
        Algorithm::PS384 => Some(&RSA_PSS_2048_8192_SHA384),
        Algorithm::PS512 => Some(&RSA_PSS_2048_8192_SHA512),
        Algorithm::HS256
        | Algorithm::HS384
        | Algorithm::HS512
        | Algorithm::ES256
        | Algorithm::ES384
        | Algorithm::EdDSA => None,
        _ => None,
    }
}

fn ec_key(jwk: &Object, algorithm: Algorithm) -> Result<(ParsedPublicKey, usize), KeyFault> {
    let (verification, coordinate_bytes): (&'static dyn VerificationAlgorithm, usize) =
        if algorithm == Algorithm::ES256 {
            (&ECDSA_P256_SHA256_FIXED, 32)
        } else {
            (&ECDSA_P384_SHA384_FIXED, 48)
        };
    let mut point = vec![4];
    for member in ["x", "y"] {
        let coordinate = bytes(jwk, member)?;
        // RFC 7518 §6.2.1.2: full length, leading zeros included.
        if coordinate.len() != coordinate_bytes {
            return Err(KeyFault::Member(member));
        }
        point.extend_from_slice(&coordinate);
    }
    // Parsing checks that the point is on the curve.
    let key = ParsedPublicKey::new(verification, point).map_err(|_| KeyFault::Rejected)?;
    Ok((key, coordinate_bytes * 2))
}

fn ed_key(jwk: &Object) -> Result<(ParsedPublicKey, usize), KeyFault> {
    let point = bytes(jwk, "x")?;
    if point.len() != 32 {
        return Err(KeyFault::Member("x"));
    }
    let key = ParsedPublicKey::new(&ED25519, point).map_err(|_| KeyFault::Rejected)?;
    Ok((key, 64))
}

#[cfg(test)]
#[path = "keys_tests.rs"]
mod tests;
