//! Private keys made here: ECDSA P-256. The octets are wiped when dropped, and printing one takes a call that says so.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use rustls_pki_types::PrivateKeyDer;
use zeroize::Zeroizing;

use crate::error::IssueError;

/// A private key. Neither `Debug` nor `Clone` nor `Display`.
pub struct Key {
    pair: EcdsaKeyPair,
    pkcs8: Zeroizing<Vec<u8>>,
}

impl Key {
    /// A new key from the cryptographic library's randomness.
    ///
    /// # Errors
    /// `IssueError::KeyGeneration` when the library fails.
    pub fn generate() -> Result<Self, IssueError> {
        let document =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new())
                .map_err(|_| IssueError::KeyGeneration)?;
        Self::from_pkcs8(document.as_ref()).ok_or(IssueError::KeyGeneration)
    }

    /// # Errors
    /// `IssueError::IssuingKey` unless it is one P-256 key in PKCS#8.
    pub fn from_pem(pem: &[u8]) -> Result<Self, IssueError> {
        let key = crate::pem::private_key(pem).map_err(|_| IssueError::IssuingKey)?;
        let PrivateKeyDer::Pkcs8(der) = &key else {
            return Err(IssueError::IssuingKey);
        };
        Self::from_pkcs8(der.secret_pkcs8_der()).ok_or(IssueError::IssuingKey)
    }

    /// The key as PEM (PKCS#8), to be written to a file that only its owner can read.
    pub fn expose_pem(&self) -> Zeroizing<String> {
        crate::pem::encode_secret("PRIVATE KEY", &self.pkcs8)
    }

    fn from_pkcs8(der: &[u8]) -> Option<Self> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, der).ok()?;
        Some(Self {
            pair,
            pkcs8: Zeroizing::new(der.to_vec()),
        })
    }
}

impl rcgen::PublicKeyData for Key {
    fn der_bytes(&self) -> &[u8] {
        self.pair.public_key().as_ref()
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

impl rcgen::SigningKey for Key {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let signature = self
            .pair
            .sign(&SystemRandom::new(), message)
            .map_err(|_| rcgen::Error::RingUnspecified)?;
        Ok(signature.as_ref().to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_its_own_pem() {
        let key = Key::generate().unwrap();
        let pem = key.expose_pem();
        assert!(
            pem.lines().all(|line| line.len() <= 64)
                && pem.ends_with("-----END PRIVATE KEY-----\n")
        );
        let again = Key::from_pem(pem.as_bytes()).unwrap();
        assert_eq!(again.expose_pem(), pem);
    }

    #[test]
    fn other_kinds_of_keys_are_refused() {
        let rsa = include_bytes!("../testdata/rsa1024-leaf.key");
        assert_eq!(Key::from_pem(rsa).err(), Some(IssueError::IssuingKey));
        assert_eq!(Key::from_pem(b"").err(), Some(IssueError::IssuingKey));
    }
}
