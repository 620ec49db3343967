//! Which keys and signatures are strong enough (CRYPTREC TLS guideline; key life by CRYPTREC LS-0003).
//! Both profiles ask the same of keys; what differs between them is in `profile`.

use std::fmt;

use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

/// 2030-12-31T23:59:59Z: the last second in which 112 bit of security (RSA with 2048 bit) may be in use.
const END_OF_112_BIT_SECONDS: i64 = 1_924_991_999;
const MIN_RSA_BITS: usize = 2048;
/// RSA length that gives 128 bit of security (NIST SP 800-57 part 1, table 2).
const RSA_128_BITS: usize = 3072;

/// What kind of public key a certificate has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// Length of the modulus in bits.
    Rsa {
        /// Significant bits.
        bits: usize,
    },
    /// NIST curve P-256.
    P256,
    /// NIST curve P-384.
    P384,
    /// NIST curve P-521.
    P521,
    /// RFC 8410.
    Ed25519,
    /// Anything else; never accepted.
    Other,
}

impl KeyKind {
    pub(crate) fn of(info: &SubjectPublicKeyInfo<'_>) -> Self {
        match info.algorithm.algorithm.to_id_string().as_str() {
            "1.2.840.113549.1.1.1" => rsa(info),
            "1.2.840.10045.2.1" => curve(info),
            "1.3.101.112" => Self::Ed25519,
            _ => Self::Other,
        }
    }

    /// Whether the CRYPTREC profiles accept the key at all.
    pub fn is_accepted(self) -> bool {
        match self {
            Self::Rsa { bits } => bits >= MIN_RSA_BITS,
            Self::P256 | Self::P384 | Self::P521 | Self::Ed25519 => true,
            Self::Other => false,
        }
    }

    /// Whether a certificate with this key would be in use after 2030 with less than 128 bit of security.
    pub(crate) fn outlives_112_bit(self, not_after_seconds: i64) -> bool {
        match self {
            Self::Rsa { bits } => bits < RSA_128_BITS && not_after_seconds > END_OF_112_BIT_SECONDS,
            Self::P256 | Self::P384 | Self::P521 | Self::Ed25519 | Self::Other => false,
        }
    }
}

impl fmt::Display for KeyKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rsa { bits } => write!(formatter, "RSA {bits} bit"),
            Self::P256 => formatter.write_str("ECDSA P-256"),
            Self::P384 => formatter.write_str("ECDSA P-384"),
            Self::P521 => formatter.write_str("ECDSA P-521"),
            Self::Ed25519 => formatter.write_str("Ed25519"),
            Self::Other => formatter.write_str("unknown kind"),
        }
    }
}

/// Short name of a signature algorithm, or its object identifier.
pub(crate) fn signature_name(dotted: &str) -> String {
    const NAMES: [(&str, &str); 12] = [
        ("1.2.840.113549.1.1.4", "RSA with MD5"),
        ("1.2.840.113549.1.1.5", "RSA with SHA-1"),
        ("1.2.840.113549.1.1.10", "RSASSA-PSS"),
        ("1.2.840.113549.1.1.11", "RSA with SHA-256"),
        ("1.2.840.113549.1.1.12", "RSA with SHA-384"),
        ("1.2.840.113549.1.1.13", "RSA with SHA-512"),
        ("1.2.840.10045.4.1", "ECDSA with SHA-1"),
        ("1.2.840.10045.4.3.1", "ECDSA with SHA-224"),
        ("1.2.840.10045.4.3.2", "ECDSA with SHA-256"),
        ("1.2.840.10045.4.3.3", "ECDSA with SHA-384"),
        ("1.2.840.10045.4.3.4", "ECDSA with SHA-512"),
        ("1.3.101.112", "Ed25519"),
    ];
    NAMES
        .iter()
        .find(|(number, _)| *number == dotted)
        .map_or(dotted, |(_, name)| name)
        .to_owned()
}

fn rsa(info: &SubjectPublicKeyInfo<'_>) -> KeyKind {
    match info.parsed() {
        Ok(PublicKey::RSA(key)) => {
            let modulus = crate::name::significant(key.modulus);
            let unused = modulus.first().map_or(0, |octet| octet.leading_zeros());
            let bits = modulus
                .len()
                .saturating_mul(8)
                .saturating_sub(usize::try_from(unused).unwrap_or(0));
            KeyKind::Rsa { bits }
        }
        _ => KeyKind::Other,
    }
}

fn curve(info: &SubjectPublicKeyInfo<'_>) -> KeyKind {
    let parameters = info.algorithm.parameters.as_ref();
    match parameters
        .and_then(|any| any.as_oid().ok())
        .map(|oid| oid.to_id_string())
        .as_deref()
    {
        Some("1.2.840.10045.3.1.7") => KeyKind::P256,
        Some("1.3.132.0.34") => KeyKind::P384,
        Some("1.3.132.0.35") => KeyKind::P521,
        Some(_) | None => KeyKind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rsa_counts_from_2048_bit_and_until_2030() {
        assert!(!KeyKind::Rsa { bits: 2047 }.is_accepted());
        assert!(KeyKind::Rsa { bits: 2048 }.is_accepted());
        assert!(!KeyKind::Other.is_accepted());
        let last = END_OF_112_BIT_SECONDS;
        assert!(!KeyKind::Rsa { bits: 2048 }.outlives_112_bit(last));
        assert!(KeyKind::Rsa { bits: 2048 }.outlives_112_bit(last + 1));
        assert!(!KeyKind::Rsa { bits: 3072 }.outlives_112_bit(last + 1));
        assert!(!KeyKind::P256.outlives_112_bit(last + 1));
    }
}
