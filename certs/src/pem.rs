//! PEM in and out. Key text is kept in memory that is wiped.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

use crate::error::CertError;

/// All certificates of a PEM text, in order; text between the blocks is ignored.
pub(crate) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, CertError> {
    let found = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| CertError::Pem)?;
    if found.is_empty() {
        Err(CertError::NoCertificate)
    } else {
        Ok(found)
    }
}

/// The one private key of a PEM text: PKCS#8, PKCS#1 or SEC 1.
pub(crate) fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, CertError> {
    // The parser's own message is dropped: it may quote the text.
    let mut keys = PrivateKeyDer::pem_slice_iter(pem);
    match (keys.next(), keys.next()) {
        (Some(Ok(key)), None) => Ok(key),
        (Some(_) | None, _) => Err(CertError::NoKey),
    }
}

/// Text form of a secret in DER (RFC 7468).
pub(crate) fn encode_secret(label: &str, der: &[u8]) -> Zeroizing<String> {
    let mut digits = Zeroizing::new(String::with_capacity(der.len().saturating_mul(2)));
    STANDARD.encode_string(der, &mut digits);
    // Sized beforehand, so that no copy is left behind in memory by growing.
    let mut text = Zeroizing::new(String::with_capacity(
        digits.len().saturating_mul(2).saturating_add(128),
    ));
    for part in ["-----BEGIN ", label, "-----\n"] {
        text.push_str(part);
    }
    let mut rest = digits.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at_checked(64).unwrap_or((rest, ""));
        text.push_str(line);
        text.push('\n');
        rest = after;
    }
    for part in ["-----END ", label, "-----\n"] {
        text.push_str(part);
    }
    text
}
