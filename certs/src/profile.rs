//! TLS profiles of the CRYPTREC TLS guideline (GL-3001): versions, cipher suites, groups and signature algorithms.
//! rustls has only suites with forward secrecy and authenticated encryption; a profile chooses and orders them.

use std::fmt;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs::{cipher_suite as suite, default_provider, kx_group};
use rustls::crypto::{CryptoProvider, SupportedKxGroup, WebPkiSupportedAlgorithms};
use rustls::version::{TLS12, TLS13};
use rustls::{
    CipherSuite, NamedGroup, ProtocolVersion, SignatureScheme, SupportedCipherSuite,
    SupportedProtocolVersion,
};
use webpki::aws_lc_rs as algorithm;

/// How strict TLS is. The server's order counts, not the client's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// 推奨セキュリティ型: TLS 1.3 and 1.2, 128 bit suites first.
    CryptrecRecommended,
    /// 高セキュリティ型: TLS 1.3 only, 256 bit suites first, never a hybrid group.
    CryptrecHigh,
}

/// What a profile comes to, in IANA names, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProfileDescription {
    /// As written in the configuration.
    pub name: &'static str,
    /// Newest first.
    pub versions: Vec<&'static str>,
    /// In order of preference.
    pub suites: Vec<&'static str>,
    /// In order of preference.
    pub groups: Vec<&'static str>,
    /// Accepted from clients and in certificates, in order of preference.
    pub signatures: Vec<&'static str>,
}

const RECOMMENDED_SUITES: [SupportedCipherSuite; 9] = [
    suite::TLS13_AES_128_GCM_SHA256,
    suite::TLS13_AES_256_GCM_SHA384,
    suite::TLS13_CHACHA20_POLY1305_SHA256,
    suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
];

const HIGH_SUITES: [SupportedCipherSuite; 3] = [
    suite::TLS13_AES_256_GCM_SHA384,
    suite::TLS13_CHACHA20_POLY1305_SHA256,
    suite::TLS13_AES_128_GCM_SHA256,
];

/// RSA from 2048 bit, NIST curves from P-256, Ed25519; SHA-256 and stronger. ML-DSA is left out: it is not on the
/// CRYPTREC list.
static ALGORITHMS: WebPkiSupportedAlgorithms = WebPkiSupportedAlgorithms {
    all: &[
        algorithm::ECDSA_P256_SHA256,
        algorithm::ECDSA_P256_SHA384,
        algorithm::ECDSA_P256_SHA512,
        algorithm::ECDSA_P384_SHA256,
        algorithm::ECDSA_P384_SHA384,
        algorithm::ECDSA_P384_SHA512,
        algorithm::ECDSA_P521_SHA256,
        algorithm::ECDSA_P521_SHA384,
        algorithm::ECDSA_P521_SHA512,
        algorithm::ED25519,
        algorithm::RSA_PSS_2048_8192_SHA256_LEGACY_KEY,
        algorithm::RSA_PSS_2048_8192_SHA384_LEGACY_KEY,
        algorithm::RSA_PSS_2048_8192_SHA512_LEGACY_KEY,
        algorithm::RSA_PKCS1_2048_8192_SHA256,
        algorithm::RSA_PKCS1_2048_8192_SHA384,
        algorithm::RSA_PKCS1_2048_8192_SHA512,
    ],
    // TLS 1.3 takes only the first of each row: there the scheme fixes the curve (RFC 8446 §4.2.3).
    mapping: &[
        (
            SignatureScheme::ECDSA_NISTP256_SHA256,
            &[
                algorithm::ECDSA_P256_SHA256,
                algorithm::ECDSA_P384_SHA256,
                algorithm::ECDSA_P521_SHA256,
            ],
        ),
        (
            SignatureScheme::ECDSA_NISTP384_SHA384,
            &[
                algorithm::ECDSA_P384_SHA384,
                algorithm::ECDSA_P256_SHA384,
                algorithm::ECDSA_P521_SHA384,
            ],
        ),
        (
            SignatureScheme::ECDSA_NISTP521_SHA512,
            &[
                algorithm::ECDSA_P521_SHA512,
                algorithm::ECDSA_P384_SHA512,
                algorithm::ECDSA_P256_SHA512,
            ],
        ),
        (SignatureScheme::ED25519, &[algorithm::ED25519]),
        (
            SignatureScheme::RSA_PSS_SHA256,
            &[algorithm::RSA_PSS_2048_8192_SHA256_LEGACY_KEY],
        ),
        (
            SignatureScheme::RSA_PSS_SHA384,
            &[algorithm::RSA_PSS_2048_8192_SHA384_LEGACY_KEY],
        ),
        (
            SignatureScheme::RSA_PSS_SHA512,
            &[algorithm::RSA_PSS_2048_8192_SHA512_LEGACY_KEY],
        ),
        (
            SignatureScheme::RSA_PKCS1_SHA256,
            &[algorithm::RSA_PKCS1_2048_8192_SHA256],
        ),
        (
            SignatureScheme::RSA_PKCS1_SHA384,
            &[algorithm::RSA_PKCS1_2048_8192_SHA384],
        ),
        (
            SignatureScheme::RSA_PKCS1_SHA512,
            &[algorithm::RSA_PKCS1_2048_8192_SHA512],
        ),
    ],
};

impl Profile {
    /// As written in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::CryptrecRecommended => "cryptrec-recommended",
            Self::CryptrecHigh => "cryptrec-high",
        }
    }

    /// The cryptography of the profile. `hybrid` puts X25519MLKEM768 first; the high profile ignores it, because the
    /// group is not on the CRYPTREC list.
    pub fn provider(self, hybrid: bool) -> Arc<CryptoProvider> {
        Arc::new(CryptoProvider {
            cipher_suites: self.suites().to_vec(),
            kx_groups: self.groups(hybrid),
            signature_verification_algorithms: self.algorithms(),
            ..default_provider()
        })
    }

    /// Protocol versions, newest first.
    pub fn versions(self) -> &'static [&'static SupportedProtocolVersion] {
        static RECOMMENDED: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];
        static HIGH: [&SupportedProtocolVersion; 1] = [&TLS13];
        match self {
            Self::CryptrecRecommended => &RECOMMENDED,
            Self::CryptrecHigh => &HIGH,
        }
    }

    /// What the profile comes to.
    pub fn describe(self, hybrid: bool) -> ProfileDescription {
        ProfileDescription {
            name: self.name(),
            versions: self
                .versions()
                .iter()
                .map(|version| version_name(version.version))
                .collect(),
            suites: self
                .suites()
                .iter()
                .map(|suite| suite_name(suite.suite()))
                .collect(),
            groups: self
                .groups(hybrid)
                .iter()
                .map(|group| group_name(group.name()))
                .collect(),
            signatures: self
                .algorithms()
                .mapping
                .iter()
                .map(|(scheme, _)| scheme_name(*scheme))
                .collect(),
        }
    }

    pub(crate) fn algorithms(self) -> WebPkiSupportedAlgorithms {
        match self {
            Self::CryptrecRecommended | Self::CryptrecHigh => ALGORITHMS,
        }
    }

    fn suites(self) -> &'static [SupportedCipherSuite] {
        match self {
            Self::CryptrecRecommended => &RECOMMENDED_SUITES,
            Self::CryptrecHigh => &HIGH_SUITES,
        }
    }

    fn groups(self, hybrid: bool) -> Vec<&'static dyn SupportedKxGroup> {
        let classical = [kx_group::X25519, kx_group::SECP256R1, kx_group::SECP384R1];
        match (self, hybrid) {
            (Self::CryptrecRecommended, true) => [kx_group::X25519MLKEM768]
                .into_iter()
                .chain(classical)
                .collect(),
            (Self::CryptrecRecommended, false) | (Self::CryptrecHigh, _) => classical.to_vec(),
        }
    }
}

impl fmt::Display for ProfileDescription {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "profile     {}", self.name)?;
        writeln!(formatter, "versions    {}", self.versions.join(", "))?;
        writeln!(formatter, "suites      {}", self.suites.join(", "))?;
        writeln!(formatter, "groups      {}", self.groups.join(", "))?;
        writeln!(formatter, "signatures  {}", self.signatures.join(", "))?;
        write!(
            formatter,
            "keys        RSA 2048 bit or more, ECDSA P-256, P-384 or P-521, Ed25519"
        )
    }
}

/// `TLSv1.3` or `TLSv1.2`.
pub fn version_name(version: ProtocolVersion) -> &'static str {
    const NAMES: [(ProtocolVersion, &str); 2] = [
        (ProtocolVersion::TLSv1_3, "TLSv1.3"),
        (ProtocolVersion::TLSv1_2, "TLSv1.2"),
    ];
    NAMES
        .iter()
        .find(|(known, _)| *known == version)
        .map_or("unknown", |(_, name)| name)
}

/// IANA name of a cipher suite, e.g. `TLS_AES_128_GCM_SHA256`.
pub fn suite_name(suite: CipherSuite) -> &'static str {
    const NAMES: [(CipherSuite, &str); 3] = [
        (
            CipherSuite::TLS13_AES_128_GCM_SHA256,
            "TLS_AES_128_GCM_SHA256",
        ),
        (
            CipherSuite::TLS13_AES_256_GCM_SHA384,
            "TLS_AES_256_GCM_SHA384",
        ),
        (
            CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
            "TLS_CHACHA20_POLY1305_SHA256",
        ),
    ];
    let renamed = NAMES
        .iter()
        .find(|(known, _)| *known == suite)
        .map(|(_, name)| *name);
    renamed.or_else(|| suite.as_str()).unwrap_or("unknown")
}

/// IANA name of a key exchange group, e.g. `X25519MLKEM768`.
pub fn group_name(group: NamedGroup) -> &'static str {
    if group == NamedGroup::X25519 {
        "x25519"
    } else {
        group.as_str().unwrap_or("unknown")
    }
}

fn scheme_name(scheme: SignatureScheme) -> &'static str {
    const NAMES: [(SignatureScheme, &str); 10] = [
        (
            SignatureScheme::ECDSA_NISTP256_SHA256,
            "ecdsa_secp256r1_sha256",
        ),
        (
            SignatureScheme::ECDSA_NISTP384_SHA384,
            "ecdsa_secp384r1_sha384",
        ),
        (
            SignatureScheme::ECDSA_NISTP521_SHA512,
            "ecdsa_secp521r1_sha512",
        ),
        (SignatureScheme::ED25519, "ed25519"),
        (SignatureScheme::RSA_PSS_SHA256, "rsa_pss_rsae_sha256"),
        (SignatureScheme::RSA_PSS_SHA384, "rsa_pss_rsae_sha384"),
        (SignatureScheme::RSA_PSS_SHA512, "rsa_pss_rsae_sha512"),
        (SignatureScheme::RSA_PKCS1_SHA256, "rsa_pkcs1_sha256"),
        (SignatureScheme::RSA_PKCS1_SHA384, "rsa_pkcs1_sha384"),
        (SignatureScheme::RSA_PKCS1_SHA512, "rsa_pkcs1_sha512"),
    ];
    NAMES
        .iter()
        .find(|(known, _)| *known == scheme)
        .map_or("unknown", |(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recommended_profile_prefers_128_bit_and_the_hybrid_group() {
        let text = Profile::CryptrecRecommended.describe(true);
        assert_eq!(text.versions, ["TLSv1.3", "TLSv1.2"]);
        assert_eq!(text.suites.first(), Some(&"TLS_AES_128_GCM_SHA256"));
        assert_eq!(
            text.groups,
            ["X25519MLKEM768", "x25519", "secp256r1", "secp384r1"]
        );
        assert!(
            !Profile::CryptrecRecommended
                .describe(false)
                .groups
                .contains(&"X25519MLKEM768")
        );
    }

    #[test]
    fn the_high_profile_has_neither_tls_1_2_nor_a_hybrid_group() {
        let text = Profile::CryptrecHigh.describe(true);
        assert_eq!(text.versions, ["TLSv1.3"]);
        assert_eq!(
            text.suites,
            [
                "TLS_AES_256_GCM_SHA384",
                "TLS_CHACHA20_POLY1305_SHA256",
                "TLS_AES_128_GCM_SHA256"
            ]
        );
        assert_eq!(text.groups, ["x25519", "secp256r1", "secp384r1"]);
    }

    #[test]
    fn no_profile_knows_sha_1_or_nameless_parameters() {
        for profile in [Profile::CryptrecRecommended, Profile::CryptrecHigh] {
            let text = profile.describe(true);
            let names = [
                &text.suites[..],
                &text.groups,
                &text.signatures,
                &text.versions,
            ]
            .concat();
            assert!(
                !names
                    .iter()
                    .any(|name| name.contains("sha1") || *name == "unknown"),
                "{names:?}"
            );
        }
    }

    #[test]
    fn the_page_for_administrators_shows_what_the_code_does() {
        let page = include_str!("../../docs/device-certificates.md");
        for (profile, hybrid) in [
            (Profile::CryptrecRecommended, true),
            (Profile::CryptrecHigh, false),
        ] {
            let text = profile.describe(hybrid).to_string();
            assert!(
                page.contains(&text),
                "docs/device-certificates.md must contain\n{text}"
            );
        }
    }
}
