//! How the gateway proves to a provider's servers that it is the client it says: a secret, or a key of its own
//! (RFC 6749 §2.3.1, RFC 7523 §2.2). Nothing in here can be printed.

use std::path::Path;
use std::time::Duration;

use aws_lc_rs::digest;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::HeaderValue;
use masugata_policy::Timestamp;
use rustls::pki_types::{PrivatePkcs8KeyDer, pem::PemObject as _};
use secrecy::{ExposeSecret as _, SecretSlice, SecretString};
use serde_json::json;
use url::form_urlencoded;

use crate::capability::Entropy;
use crate::config::error::Problem;
use crate::config::sign_in::ClientAuthentication;
use crate::issuer::{ProviderMetadata, Question};

/// How long an assertion counts; it is made for one request.
const ASSERTION_LIFE: Duration = Duration::from_secs(60);

/// Longest secret, bytes.
const MAX_SECRET_BYTES: usize = 4096;

/// `client_assertion_type` (RFC 7523 §2.2).
pub(super) const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// A proof, ready to be used.
pub(super) enum Proof {
    Basic(SecretString),
    Post(SecretString),
    Key(Box<SigningKey>),
    /// The built-in provider sees who asks: the request never leaves the process.
    Local,
}

/// What proves it in one request: a header, or more parameters.
#[derive(Default)]
pub(super) struct Shown {
    pub(super) authorization: Option<HeaderValue>,
    pub(super) parameters: Vec<(&'static str, SecretString)>,
}

/// A key for assertions.
pub(super) struct SigningKey {
    pair: Pair,
    key_id: Option<String>,
    /// Names the file's content, to see whether it changed.
    print: [u8; 32],
}

enum Pair {
    P256(EcdsaKeyPair),
    Rsa(RsaKeyPair),
}

impl Shown {
    /// A form with these parameters, and the proof.
    pub(super) fn question<N: AsRef<str>, V: AsRef<str>>(
        self,
        parameters: impl IntoIterator<Item = (N, V)>,
    ) -> Question {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.extend_pairs(parameters);
        for (name, value) in &self.parameters {
            form.append_pair(name, value.expose_secret());
        }
        let question = Question::post(form.finish());
        match self.authorization {
            Some(value) => question.with_authorization(value),
            None => question,
        }
    }
}

/// The library refused to sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the client assertion could not be signed")]
pub(super) struct SigningFault;

impl Proof {
    /// Reads what the configuration names.
    /// # Errors: the file cannot be used.
    pub(super) fn load(authentication: &ClientAuthentication) -> Result<Self, Problem> {
        match authentication {
            ClientAuthentication::SecretBasic(file) => secret(file).map(Self::Basic),
            ClientAuthentication::SecretPost(file) => secret(file).map(Self::Post),
            ClientAuthentication::PrivateKey { file, key_id } => {
                let key = SigningKey::load(file, key_id.clone())?;
                Ok(Self::Key(Box::new(key)))
            }
            ClientAuthentication::BuiltIn => Ok(Self::Local),
        }
    }

    /// The name in `token_endpoint_auth_methods_supported`.
    pub(super) fn method(&self) -> &'static str {
        match self {
            Self::Basic(_) => "client_secret_basic",
            Self::Post(_) => "client_secret_post",
            Self::Key(_) => "private_key_jwt",
            Self::Local => "none",
        }
    }

    /// Whether both prove the same.
    pub(super) fn same_as(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Basic(one), Self::Basic(other)) | (Self::Post(one), Self::Post(other)) => {
                one.expose_secret() == other.expose_secret()
            }
            (Self::Key(one), Self::Key(other)) => {
                one.print == other.print && one.key_id == other.key_id
            }
            (Self::Local, Self::Local) => true,
            (Self::Basic(_) | Self::Post(_) | Self::Key(_) | Self::Local, _) => false,
        }
    }

    /// For one request. `client_id` is among its parameters in any case.
    /// # Errors: nothing can be signed.
    pub(super) fn show(
        &self,
        client_id: &str,
        issuer: &str,
        metadata: &ProviderMetadata,
        entropy: &dyn Entropy,
        now: Timestamp,
    ) -> Result<Shown, SigningFault> {
        let parameters = match self {
            Self::Local => Vec::new(),
            Self::Post(secret) => vec![("client_secret", secret.clone())],
            Self::Basic(secret) => {
                return Ok(Shown {
                    authorization: Some(basic(client_id, secret)?),
                    parameters: Vec::new(),
                });
            }
            Self::Key(key) => {
                let assertion = key.assertion(client_id, issuer, metadata, entropy, now)?;
                vec![
                    ("client_assertion_type", ASSERTION_TYPE.to_owned().into()),
                    ("client_assertion", assertion),
                ]
            }
        };
        Ok(Shown {
            authorization: None,
            parameters,
        })
    }
}

/// RFC 6749 §2.3.1: both halves are form-encoded before they are joined.
fn basic(client_id: &str, secret: &SecretString) -> Result<HeaderValue, SigningFault> {
    let encode = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let pair = format!("{}:{}", encode(client_id), encode(secret.expose_secret()));
    let mut value = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(pair)))
        .map_err(|_| SigningFault)?;
    value.set_sensitive(true);
    Ok(value)
}

impl SigningKey {
    fn load(file: &Path, key_id: Option<String>) -> Result<Self, Problem> {
        let refuse = || {
            problem(
                file,
                "is not a PKCS #8 private key in PEM, P-256 or RSA of at least 2048 bits",
                "make one with `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256`, and give its public half to the provider",
            )
        };
        let pem = read(file)?;
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem.expose_secret()).map_err(|_| refuse())?;
        let der = der.secret_pkcs8_der();
        let mut print = [0; 32];
        print.copy_from_slice(digest::digest(&digest::SHA256, der).as_ref());
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der)
            .map(Pair::P256)
            .or_else(|_| RsaKeyPair::from_pkcs8(der).map(Pair::Rsa))
            .map_err(|_| refuse())?;
        Ok(Self {
            pair,
            key_id,
            print,
        })
    }

    /// RFC 7523 §3: who we are, for whom, once, for a minute.
    fn assertion(
        &self,
        client_id: &str,
        issuer: &str,
        metadata: &ProviderMetadata,
        entropy: &dyn Entropy,
        now: Timestamp,
    ) -> Result<SecretString, SigningFault> {
        let takes = |name: &str| {
            metadata
                .assertion_algorithms
                .iter()
                .any(|algorithm| &**algorithm == name)
        };
        let algorithm = match &self.pair {
            Pair::P256(_) => "ES256",
            Pair::Rsa(_) if takes("PS256") => "PS256",
            Pair::Rsa(_) => "RS256",
        };
        let mut id = [0; 16];
        entropy.fill(&mut id);
        let mut header = json!({"alg": algorithm, "typ": "JWT"});
        if let (Some(key_id), Some(header)) = (&self.key_id, header.as_object_mut()) {
            header.insert("kid".to_owned(), key_id.as_str().into());
        }
        let claims = json!({
            "iss": client_id,
            "sub": client_id,
            "aud": audience(issuer, metadata),
            "jti": URL_SAFE_NO_PAD.encode(id),
            "iat": now.as_seconds(),
            "exp": now.plus(ASSERTION_LIFE).as_seconds(),
        });
        let encode = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", encode(header), encode(claims));
        let signature = self.sign(message.as_bytes(), algorithm)?;
        Ok(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)).into())
    }

    fn sign(&self, message: &[u8], algorithm: &str) -> Result<Vec<u8>, SigningFault> {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::P256(pair) => pair
                .sign(&random, message)
                .map(|signature| signature.as_ref().to_vec())
                .map_err(|_| SigningFault),
            Pair::Rsa(pair) => {
                let padding: &'static dyn aws_lc_rs::signature::RsaEncoding =
                    if algorithm == "PS256" {
                        &RSA_PSS_SHA256
                    } else {
                        &RSA_PKCS1_SHA256
                    };
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(padding, &random, message, &mut signature)
                    .map_err(|_| SigningFault)?;
                Ok(signature)
            }
        }
    }
}

/// The issuer's identifier, as `rfc7523bis` wants it: with the token endpoint in its place, a hostile provider could name
/// another's endpoint and be handed an assertion that counts there. Two products insist on their token endpoint; they get
/// it only on the issuer's own server, so that nobody else is named.
fn audience<'a>(issuer: &'a str, metadata: &'a ProviderMetadata) -> &'a str {
    let token = &metadata.token;
    let path = token.location.path();
    let entra = path.ends_with("/oauth2/v2.0/token");
    let okta = path.contains("/oauth2/") && path.ends_with("/v1/token");
    let same_server = crate::issuer::Location::parse(issuer)
        .is_ok_and(|issuer| issuer.same_server(&token.location));
    if (entra || okta) && same_server {
        &token.url
    } else {
        issuer
    }
}

fn read(file: &Path) -> Result<SecretSlice<u8>, Problem> {
    std::fs::read(file).map(Into::into).map_err(|error| {
        problem(
            file,
            &format!("cannot be read: {error}"),
            "the path is relative to the configuration file",
        )
    })
}

/// One line of text; what an editor adds at its end is no part of it.
fn secret(file: &Path) -> Result<SecretString, Problem> {
    let bytes = read(file)?;
    let text = std::str::from_utf8(bytes.expose_secret()).ok();
    let text = text.map(|text| text.trim_end_matches(['\r', '\n']));
    let usable = |text: &&str| {
        !text.is_empty()
            && text.len() <= MAX_SECRET_BYTES
            && text.trim().len() == text.len()
            && !text.chars().any(char::is_control)
    };
    match text.filter(usable) {
        Some(text) => Ok(text.to_owned().into()),
        None => Err(problem(
            file,
            "is empty or not one line of text, so it is no client secret",
            "write the secret that the provider shows for this client, and nothing else, into the file",
        )),
    }
}

fn problem(file: &Path, message: &str, help: &str) -> Problem {
    Problem {
        file: file.to_owned(),
        position: None,
        message: message.to_owned(),
        help: Some(help.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn id_and_secret_are_encoded_before_they_are_joined() {
        let value = basic("my client:1", &"a b%c+é".to_owned().into()).unwrap();
        let encoded = value.to_str().unwrap().strip_prefix("Basic ").unwrap();
        let pair = String::from_utf8(STANDARD.decode(encoded).unwrap()).unwrap();
        assert_eq!(pair, "my+client%3A1:a+b%25c%2B%C3%A9");
        assert!(value.is_sensitive());
    }

    #[test]
    fn a_secret_is_one_line() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for (text, good) in [
            ("s3cret\n", true),
            ("s3cret", true),
            ("s3cret\r\n", true),
            ("", false),
            ("\n", false),
            (" s3cret\n", false),
            ("a\nb\n", false),
            ("a\u{0}b", false),
        ] {
            std::fs::write(file.path(), text).unwrap();
            let read = secret(file.path());
            assert_eq!(read.is_ok(), good, "{text:?}");
            if let Ok(read) = read {
                assert_eq!(read.expose_secret(), "s3cret");
            }
        }
        std::fs::write(file.path(), b"\xff\xfe").unwrap();
        assert!(secret(file.path()).is_err());
        assert!(secret(Path::new("/nowhere/secret")).is_err());
    }
}
