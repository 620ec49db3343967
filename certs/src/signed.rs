//! The outer form that certificates and revocation lists share (RFC 5280 §4.1, §5.1), and its signature.

use rustls_pki_types::SignatureVerificationAlgorithm;

use crate::der;

/// A signed structure, taken apart but not yet believed.
pub(crate) struct Signed<'a> {
    body: &'a [u8],
    algorithm: &'a [u8],
    signature: &'a [u8],
}

/// Why a signature does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SignatureProblem {
    /// The algorithm, or its combination with this key, is not accepted.
    Algorithm,
    /// The numbers do not fit.
    Wrong,
}

impl<'a> Signed<'a> {
    pub(crate) fn split(whole: &'a [u8]) -> Option<Self> {
        let mut reader = der::Reader::new(der::sole(whole, der::SEQUENCE)?.content);
        let body = reader.expect(der::SEQUENCE)?.whole;
        let algorithm = reader.expect(der::SEQUENCE)?.content;
        let signature = der::octets_of_bits(reader.expect(der::BIT_STRING)?.content)?;
        reader.is_empty().then_some(Self {
            body,
            algorithm,
            signature,
        })
    }

    /// Whether any of the algorithms made the signature; hash and parameters count, the key does not.
    pub(crate) fn is_accepted(&self, algorithms: &[&dyn SignatureVerificationAlgorithm]) -> bool {
        algorithms
            .iter()
            .any(|algorithm| algorithm.signature_alg_id().as_ref() == self.algorithm)
    }

    /// Verifies with a SubjectPublicKeyInfo in DER. Key sizes and hashes are bounded by the algorithms given.
    pub(crate) fn verify(
        &self,
        public_key_info: &[u8],
        algorithms: &[&dyn SignatureVerificationAlgorithm],
    ) -> Result<(), SignatureProblem> {
        let (key_algorithm, key) = split_key(public_key_info).ok_or(SignatureProblem::Algorithm)?;
        let mut usable = algorithms
            .iter()
            .filter(|algorithm| {
                algorithm.signature_alg_id().as_ref() == self.algorithm
                    && algorithm.public_key_alg_id().as_ref() == key_algorithm
            })
            .peekable();
        if usable.peek().is_none() {
            return Err(SignatureProblem::Algorithm);
        }
        if usable.any(|algorithm| {
            algorithm
                .verify_signature(key, self.body, self.signature)
                .is_ok()
        }) {
            return Ok(());
        }
        Err(SignatureProblem::Wrong)
    }
}

fn split_key(public_key_info: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut reader = der::Reader::new(der::sole(public_key_info, der::SEQUENCE)?.content);
    let algorithm = reader.expect(der::SEQUENCE)?.content;
    let key = der::octets_of_bits(reader.expect(der::BIT_STRING)?.content)?;
    reader.is_empty().then_some((algorithm, key))
}
