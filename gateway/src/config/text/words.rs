//! Enumerated words: the one table per vocabulary that files, schema, documentation and the running configuration share.

use jsonwebtoken::Algorithm;
use masugata_policy::{DeviceKind, Level, Ownership, PostureAttribute, PostureSource};
use serde_json::{Map, Value, json};
use tracing::level_filters::LevelFilter;

use super::{Fault, Written};
use crate::config::egress::{CredentialWay, Ech, FeedEffect, FeedFormat, Mode, ResolverMode};
use crate::config::sign_in::{AssuranceRequest, Overage, Preset, Pushed, ScimUser, SecretWay};
use crate::config::{
    ClientCertificateMode, LimitKey, LimitMode, LogFormat, OnOverflow, TlsProfile, UpstreamProtocol,
};
use crate::inventory::DeviceState;

/// A closed set of words, each with its meaning.
pub trait Vocabulary: Copy + PartialEq + 'static {
    /// Word, value, what it means.
    const WORDS: &'static [(&'static str, Self, &'static str)];

    /// The word for a value; every value has one (tested).
    fn word(self) -> &'static str {
        Self::WORDS
            .iter()
            .find_map(|(word, value, _)| (*value == self).then_some(*word))
            .unwrap_or_default()
    }
}

/// A value written as one word of its vocabulary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word<T>(pub T);

impl<T: Vocabulary> Written for Word<T> {
    const KIND: &'static str = "word";
    const EXAMPLE: &'static str = "";

    fn parse(text: &str) -> Result<Self, Fault> {
        T::WORDS
            .iter()
            .find_map(|(word, value, _)| (*word == text).then_some(Self(*value)))
            .ok_or_else(|| {
                let words: Vec<_> = T::WORDS
                    .iter()
                    .map(|(word, ..)| format!("`{word}`"))
                    .collect();
                Fault::new(
                    "is not a word known here",
                    format!("write one of {}", words.join(", ")),
                )
            })
    }

    fn schema() -> Map<String, Value> {
        let one =
            |(word, _, meaning): &(&str, T, &str)| json!({"const": word, "description": meaning});
        let mut schema = Map::new();
        schema.insert("type".into(), json!("string"));
        schema.insert("oneOf".into(), T::WORDS.iter().map(one).collect());
        schema
    }
}

/// Why a word that people know from elsewhere is not in the vocabulary of `key`.
pub fn refused_word(key: &str, word: &str) -> Option<&'static str> {
    match (key, word) {
        ("algorithms", "none") => {
            Some("`none` means unsigned: anybody could write such a token (RFC 8725 §3.2)")
        }
        ("algorithms", "HS256" | "HS384" | "HS512") => Some(
            "HMAC needs a secret shared with the issuer, and invites confusion with its public key (RFC 8725 §2.1); \
             have the issuer sign with `ES256` or `RS256`",
        ),
        ("client_certificates" | "mode", "none") => Some("write `off`"),
        _ => None,
    }
}

impl Vocabulary for Level {
    const WORDS: &'static [(&'static str, Self, &'static str)] = &[
        ("public", Self::Public, "公開情報: meant for everybody"),
        ("internal", Self::Internal, "業務情報: for people at work"),
        (
            "confidential",
            Self::Confidential,
            "機密情報: for few, on trustworthy devices",
        ),
    ];
}

impl Vocabulary for PostureAttribute {
    const WORDS: &'static [(&'static str, Self, &'static str)] = &[
        (
            "disk_encrypted",
            Self::DiskEncrypted,
            "all fixed disks are encrypted",
        ),
        (
            "firewall_enabled",
            Self::FirewallEnabled,
            "the host firewall is on",
        ),
        (
            "antivirus_running",
            Self::AntivirusRunning,
            "malware protection is running",
        ),
        (
            "antivirus_current",
            Self::AntivirusCurrent,
            "its definitions are current",
        ),
        (
            "edr_running",
            Self::EdrRunning,
            "an endpoint detection agent is running",
        ),
        (
            "screen_lock",
            Self::ScreenLock,
            "the screen locks itself and asks for a secret",
        ),
        ("secure_boot", Self::SecureBoot, "booted with verified boot"),
        (
            "integrity_intact",
            Self::IntegrityIntact,
            "not jailbroken or rooted",
        ),
        (
            "patches_current",
            Self::PatchesCurrent,
            "security updates are installed in time",
        ),
        (
            "os_supported",
            Self::OsSupported,
            "the system still receives security updates",
        ),
        ("managed", Self::Managed, "enrolled in device management"),
        (
            "compliant",
            Self::Compliant,
            "the overall verdict of device management",
        ),
        (
            "os_version",
            Self::OsVersion,
            "the version of the system is known",
        ),
    ];
}

impl Vocabulary for PostureSource {
    const WORDS: &'static [(&'static str, Self, &'static str)] = &[
        ("attested", Self::Attested, "signed by the hardware"),
        ("mdm", Self::Mdm, "the device management server"),
        ("agent", Self::Agent, "an agent on the device"),
        ("inspection", Self::Inspection, "a person who looked"),
        (
            "self_declared",
            Self::SelfDeclared,
            "the user of the device",
        ),
    ];
}

impl Vocabulary for DeviceKind {
    const WORDS: &'static [(&'static str, Self, &'static str)] = &[
        ("laptop", Self::Laptop, "a portable computer"),
        ("desktop", Self::Desktop, "a computer that stays"),
        ("phone", Self::Phone, "a telephone"),
        ("tablet", Self::Tablet, "a tablet"),
        (
            "server",
            Self::Server,
            "a server, where service accounts live",
        ),
        ("other", Self::Other, "anything else"),
    ];
}

impl Vocabulary for Ownership {
    const WORDS: &'static [(&'static str, Self, &'static str)] = &[
        ("company", Self::Company, "the company's"),
        ("personal", Self::Personal, "the person's own (BYOD)"),
    ];
}

impl Vocabulary for DeviceState {
    const WORDS: &'static [(&'static str, Self, &'static str)] = &[
        ("active", Self::Active, "in use"),
        ("suspended", Self::Suspended, "no rights for the time being"),
        ("lost", Self::Lost, "lost or stolen: no rights"),
        ("retired", Self::Retired, "no longer in use: no rights"),
    ];
}

impl Vocabulary for TlsProfile {
    const WORDS: &'static [(&'static str, Self, &'static str)] = &[
        (
            "cryptrec-recommended",
            Self::CryptrecRecommended,
            "推奨セキュリティ型: TLS 1.3 and 1.2, forward secrecy, AEAD only",
        ),
        (
            "cryptrec-high",
            Self::CryptrecHigh,
            "高セキュリティ型: TLS 1.3 only, 256 bit first",
        ),
    ];
}

impl Vocabulary for ClientCertificateMode {
    const WORDS: &'static [(&'static str, Self, &'static str)] = &[
        ("required", Self::Required, "no certificate, no connection"),
        (
            "optional",
            Self::Optional,
            "asked for; without one a page says what is missing",
        ),
        (
            "off",
            Self::Off,
            "not asked for; only public endpoints of Masugata answer",
        ),
    ];
}

impl Vocabulary for UpstreamProtocol {
    const WORDS: &'static [(&'static str, Self, &'static str)] = &[
        (
            "auto",
            Self::Auto,
            "HTTP/2 where TLS negotiates it, else HTTP/1.1",
        ),
        ("http1", Self::Http1, "HTTP/1.1 only"),
        (
            "http2",
            Self::Http2,
            "HTTP/2 only; without TLS with prior knowledge (h2c), as gRPC does",
        ),
    ];
}

impl Vocabulary for LimitKey {
    const WORDS: &'static [(&'static str, Self, &'static str)] = &[
        ("address", Self::Address, "the client's address"),
        ("device", Self::Device, "the device"),
        ("principal", Self::Principal, "the person or service"),
        ("app", Self::App, "the app"),
    ];
}

impl Vocabulary for LimitMode {
    const WORDS: &'static [(&'static str, Self, &'static str)] = &[
        ("enforce", Self::Enforce, "refuse with 429"),
        ("observe", Self::Observe, "record, and let through"),
    ];
}

impl Vocabulary for CredentialWay {
    const WORDS: &'static [(&'static str, Self, &'static str)] = &[
        (
            "owner",
            Self::Owner,
            "the device's owner in the inventory, by its certificate alone",
        ),
        (
            "token",
            Self::Token,
            "an access token, `Proxy-Authorization: Bearer`",
        ),
        (
            "password",
            Self::Password,
            "a short-lived proxy password, `Proxy-Authorization: Basic`",
        ),
    ];
}

impl Vocabulary for Mode {
    const WORDS: &'static [(&'static str, Self, &'static str)] = &[
        ("enforce", Self::Enforce, "refuse what no policy permits"),
        (
            "observe",
            Self::Observe,
            "let it through and record that; what a policy forbids is refused all the same",
        ),
    ];
}

impl Vocabulary for Ech {
    const WORDS: &'static [(&'static str, Self, &'static str)] = &[
        ("refuse", Self::Refuse, "cut the tunnel"),
        ("allow", Self::Allow, "let it through and record that"),
    ];
}

impl Vocabulary for ResolverMode {
    const WORDS: &'static [(&'static str, Self, &'static str)] = &[
        ("system", Self::System, "as the machine is set up"),
        (
            "tls",
            Self::Tls,
            "DNS over TLS (RFC 7858); never the system",
        ),
        (
            "https",
            Self::Https,
            "DNS over HTTPS (RFC 8484); never the system",
        ),
    ];
}

impl Vocabulary for FeedFormat {
    const WORDS: &'static [(&'static str, Self, &'static str)] = &[
        ("hosts", Self::Hosts, "a hosts file: `0.0.0.0 bad.example`"),
        (
            "plain",
            Self::Plain,
            "one on a line: `bad.example` (and everything below), `=bad.example` (this host), `*.bad.example` (only \
             below), an address or a range",
        ),
        (
            "adguard",
            Self::Adguard,
            "AdGuard's and Adblock's rules for domains: `||bad.example^`, `@@||good.example^`",
        ),
        (
            "rpz",
            Self::Rpz,
            "a response policy zone: `bad.example CNAME .`",
        ),
    ];
}

impl Vocabulary for FeedEffect {
    const WORDS: &'static [(&'static str, Self, &'static str)] = &[
        (
            "block",
            Self::Block,
            "gives its `categories`, which policies forbid",
        ),
        (
            "allow",
            Self::Allow,
            "takes the categories of all lists away again",
        ),
    ];
}

impl Vocabulary for Preset {
    const WORDS: &'static [(&'static str, Self, &'static str)] = &[
        (
            "keycloak",
            Self::Keycloak,
            "Keycloak: access tokens of type `jwt`, roles in `realm_access.roles`, asks for `acr` as an essential claim; \
             write `acr_multi_factor` as the realm maps its levels",
        ),
        (
            "entra-id",
            Self::EntraId,
            "Microsoft Entra ID: people are known by `oid`, `tid` must be the tenant of `issuer`, RS256, access tokens of \
             type `jwt`, asks for `acrs`, too many groups are fetched from Microsoft Graph; write `acr_multi_factor` with \
             the authentication contexts (`c1`) that Conditional Access ties to factors",
        ),
        (
            "okta",
            Self::Okta,
            "Okta: RS256, access tokens without a type or of type `jwt`, asks with `acr_values`; \
             `urn:okta:loa:2fa:any` is multi-factor, `phr` and `phrh` are phishing-resistant; people are known by `sub` \
             where they sign in with a browser, and by `uid` where only access tokens are accepted",
        ),
        (
            "google",
            Self::Google,
            "Google Workspace: RS256, no groups, cannot be asked for more; write `required_claims.hd`, and \
             `multi_factor_out_of_band` if 2-Step Verification is enforced for everybody",
        ),
        (
            "auth0",
            Self::Auth0,
            "Auth0: RS256, asks with `acr_values`; \
             `http://schemas.openid.net/pape/policies/2007/06/multi-factor` is multi-factor",
        ),
    ];
}

impl Vocabulary for SecretWay {
    const WORDS: &'static [(&'static str, Self, &'static str)] = &[
        (
            "basic",
            Self::Basic,
            "in the `Authorization` header (`client_secret_basic`)",
        ),
        ("post", Self::Post, "in the body (`client_secret_post`)"),
    ];
}

impl Vocabulary for AssuranceRequest {
    const WORDS: &'static [(&'static str, Self, &'static str)] = &[
        ("acr-values", Self::AcrValues, "with `acr_values`"),
        (
            "essential-acr",
            Self::EssentialAcr,
            "with `acr` as an essential claim",
        ),
        (
            "essential-acrs",
            Self::EssentialAcrs,
            "with `acrs` as an essential claim, as Entra ID wants it",
        ),
        (
            "nothing",
            Self::Nothing,
            "it cannot be asked; `max_age` and `prompt` only",
        ),
    ];
}

impl Vocabulary for Pushed {
    const WORDS: &'static [(&'static str, Self, &'static str)] = &[
        ("offered", Self::Offered, "where the provider offers it"),
        (
            "required",
            Self::Required,
            "a provider that does not offer it is refused",
        ),
        ("never", Self::Never, "not even where it is offered"),
    ];
}

impl Vocabulary for Overage {
    const WORDS: &'static [(&'static str, Self, &'static str)] = &[
        (
            "refuse",
            Self::Refuse,
            "sign-in fails: leaving groups out could silence a policy that forbids",
        ),
        (
            "userinfo",
            Self::UserInfo,
            "fetch them from the UserInfo endpoint",
        ),
        (
            "microsoft-graph",
            Self::MicrosoftGraph,
            "fetch them from Microsoft Graph with the person's own access token",
        ),
    ];
}

impl Vocabulary for ScimUser {
    const WORDS: &'static [(&'static str, Self, &'static str)] = &[
        ("external-id", Self::ExternalId, "`externalId`"),
        ("user-name", Self::UserName, "`userName`"),
    ];
}

impl Vocabulary for OnOverflow {
    const WORDS: &'static [(&'static str, Self, &'static str)] = &[
        ("refuse", Self::Refuse, "no record, no access: 503"),
        (
            "drop_and_count",
            Self::DropAndCount,
            "let through, and record later how many records were lost",
        ),
    ];
}

impl Vocabulary for LogFormat {
    const WORDS: &'static [(&'static str, Self, &'static str)] = &[
        ("text", Self::Text, "for people"),
        ("json", Self::Json, "one object a line"),
    ];
}

impl Vocabulary for LevelFilter {
    const WORDS: &'static [(&'static str, Self, &'static str)] = &[
        ("error", Self::ERROR, "we are not serving"),
        ("warn", Self::WARN, "worth looking at in the morning"),
        (
            "info",
            Self::INFO,
            "what an operator would tell a colleague",
        ),
        ("debug", Self::DEBUG, "every request"),
        ("trace", Self::TRACE, "everything"),
    ];
}

impl Vocabulary for Algorithm {
    const WORDS: &'static [(&'static str, Self, &'static str)] = &[
        ("ES256", Self::ES256, "ECDSA, P-256"),
        ("ES384", Self::ES384, "ECDSA, P-384"),
        ("EdDSA", Self::EdDSA, "Ed25519"),
        ("PS256", Self::PS256, "RSA-PSS, SHA-256"),
        ("PS384", Self::PS384, "RSA-PSS, SHA-384"),
        ("PS512", Self::PS512, "RSA-PSS, SHA-512"),
        ("RS256", Self::RS256, "RSA PKCS #1 v1.5, SHA-256"),
        ("RS384", Self::RS384, "RSA PKCS #1 v1.5, SHA-384"),
        ("RS512", Self::RS512, "RSA PKCS #1 v1.5, SHA-512"),
    ];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_those_of_policies_and_records() {
        assert!(Level::ALL.iter().all(|v| v.word() == v.as_str()));
        assert!(PostureAttribute::ALL.iter().all(|v| v.word() == v.as_str()));
        assert!(PostureSource::ALL.iter().all(|v| v.word() == v.as_str()));
        assert!(DeviceKind::ALL.iter().all(|v| v.word() == v.as_str()));
        assert!(Ownership::ALL.iter().all(|v| v.word() == v.as_str()));
    }

    // Attack: HMAC with the issuer's public key as secret, or no signature at all.
    #[test]
    fn no_symmetric_or_empty_algorithm_can_be_written() {
        for word in [
            "none", "None", "NONE", "HS256", "HS384", "HS512", "hs256", "",
        ] {
            assert!(Word::<Algorithm>::parse(word).is_err(), "{word}");
        }
        assert!(refused_word("algorithms", "HS256").is_some());
        assert!(refused_word("algorithms", "none").is_some());
    }
}
