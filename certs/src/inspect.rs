//! What a certificate says, for `check`, the admin listener and messages. Text is safe to print.

use rustls_pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;
use x509_parser::x509::X509Version;

use crate::error::CertError;
use crate::name::{distinguished_name, hex, printable, significant};
use crate::strength::{KeyKind, signature_name};

/// The facts of one certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateSummary {
    /// RFC 4514 text.
    pub subject: String,
    /// RFC 4514 text.
    pub issuer: String,
    /// Lower-case hexadecimal.
    pub serial: String,
    /// Subject alternative names, as `dns:…`, `ip:…`, `uri:…`, `email:…`, `other:<oid>`.
    pub names: Vec<String>,
    /// Seconds since the epoch.
    pub not_before_seconds: i64,
    /// Seconds since the epoch; valid up to and including this second.
    pub not_after_seconds: i64,
    /// Kind and size.
    pub key: KeyKind,
    /// How the issuer signed.
    pub signature: String,
    /// basicConstraints cA.
    pub is_authority: bool,
    /// SHA-256 of the DER, lower-case hexadecimal.
    pub thumbprint: String,
}

impl CertificateSummary {
    /// What an operator should know about it at `now_seconds`; empty when all is well.
    pub fn warnings(&self, now_seconds: i64) -> Vec<String> {
        const DAY: i64 = 86_400;
        let mut found = Vec::new();
        let left = self.not_after_seconds.saturating_sub(now_seconds);
        if left < 0 {
            found.push(format!("`{}` has expired", self.subject));
        } else if now_seconds < self.not_before_seconds {
            found.push(format!("`{}` is not valid yet", self.subject));
        } else if left < 14 * DAY {
            found.push(format!("`{}` expires in {} days", self.subject, left / DAY));
        }
        if self.key.outlives_112_bit(self.not_after_seconds) {
            found.push(format!(
                "`{}` has a key of {} and expires after 2030-12-31, when CRYPTREC asks for 128 bit of security; take RSA 3072 or ECDSA P-256",
                self.subject, self.key
            ));
        }
        found
    }
}

/// Facts of every certificate in a PEM text, in order.
///
/// # Errors
/// When the text is not PEM, has no certificate, or one that cannot be read.
pub fn certificates(pem: &[u8]) -> Result<Vec<CertificateSummary>, CertError> {
    let chain = crate::pem::certificates(pem)?;
    (1..)
        .zip(&chain)
        .map(|(position, der)| parse(der, position).map(|certificate| summary(&certificate, der)))
        .collect()
}

/// Facts of one certificate in DER.
///
/// # Errors
/// `CertError::Malformed` when it cannot be read.
pub fn summarize(der: &CertificateDer<'_>) -> Result<CertificateSummary, CertError> {
    parse(der, 1).map(|certificate| summary(&certificate, der))
}

/// Reads an X.509 v3 certificate and nothing after it. `position` is for the message, counted from 1.
pub(crate) fn parse<'a>(
    der: &'a CertificateDer<'_>,
    position: usize,
) -> Result<X509Certificate<'a>, CertError> {
    match parse_x509_certificate(der) {
        Ok(([], certificate)) if certificate.version() == X509Version::V3 => Ok(certificate),
        Ok(_) | Err(_) => Err(CertError::Malformed { position }),
    }
}

pub(crate) fn subject(certificate: &X509Certificate<'_>) -> String {
    distinguished_name(certificate.subject())
}

/// SHA-256 of the DER.
pub fn thumbprint(der: &CertificateDer<'_>) -> [u8; 32] {
    let mut octets = [0; 32];
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, der);
    for (to, from) in octets.iter_mut().zip(digest.as_ref()) {
        *to = *from;
    }
    octets
}

fn summary(certificate: &X509Certificate<'_>, der: &CertificateDer<'_>) -> CertificateSummary {
    CertificateSummary {
        subject: subject(certificate),
        issuer: distinguished_name(certificate.issuer()),
        serial: hex(significant(certificate.raw_serial())),
        names: names(certificate),
        not_before_seconds: certificate.validity().not_before.timestamp(),
        not_after_seconds: certificate.validity().not_after.timestamp(),
        key: KeyKind::of(certificate.public_key()),
        signature: signature_name(&certificate.signature_algorithm.algorithm.to_id_string()),
        is_authority: certificate.is_ca(),
        thumbprint: hex(&thumbprint(der)),
    }
}

fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(extension)) = certificate.subject_alternative_name() else {
        return Vec::new();
    };
    extension.value.general_names.iter().map(name).collect()
}

fn name(name: &GeneralName<'_>) -> String {
    match name {
        GeneralName::DNSName(text) => format!("dns:{}", printable(text)),
        GeneralName::URI(text) => format!("uri:{}", printable(text)),
        GeneralName::RFC822Name(text) => format!("email:{}", printable(text)),
        GeneralName::IPAddress(octets) => address(octets).map_or_else(
            || "ip:invalid".to_owned(),
            |address| format!("ip:{address}"),
        ),
        GeneralName::DirectoryName(name) => format!("directory:{}", distinguished_name(name)),
        GeneralName::OtherName(kind, _) => format!("other:{}", kind.to_id_string()),
        GeneralName::RegisteredID(kind) => format!("id:{}", kind.to_id_string()),
        GeneralName::X400Address(_) | GeneralName::EDIPartyName(_) | GeneralName::Invalid(..) => {
            "unreadable".to_owned()
        }
    }
}

pub(crate) fn address(octets: &[u8]) -> Option<std::net::IpAddr> {
    let version_4 = <[u8; 4]>::try_from(octets).map(std::net::IpAddr::from);
    version_4
        .or_else(|_| <[u8; 16]>::try_from(octets).map(std::net::IpAddr::from))
        .ok()
}
