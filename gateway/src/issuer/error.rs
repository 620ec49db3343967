//! Why a token is refused: a closed list, worded for the record, and what each means to the client.
//!
//! No variant carries token text. The few words of the sender's choosing (`kid`, `iss`, `alg`, `typ`) are cut short and
//! reduced to harmless characters by [`Cleaned`] before they come anywhere near a log.

use std::fmt;
use std::time::Duration;

use crate::denial::{Denial, DenialReason};

/// When it is worth asking again after an issuer could not be reached: fetches are tried about this often.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// Why a credential is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// Not something that RFC 6750 §2.1 lets a client send after `Bearer`.
    #[error("malformed credential: {0}")]
    Malformed(&'static str),
    /// A token that is not acceptable, whatever the time.
    #[error("{0}")]
    Invalid(#[from] TokenFault),
    /// A token whose time is over or has not begun.
    #[error("{0}")]
    Expired(TimeFault),
    /// A token that belongs to another key.
    #[error("{0}")]
    NotBound(BindingFault),
    /// The issuer's keys were never had, or are older than configured.
    #[error("no usable keys of issuer `{issuer}`")]
    IssuerUnavailable {
        /// The configured name.
        issuer: Box<str>,
    },
}

/// What is wrong with a token at any time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenFault {
    #[error("not a compact JWS: {0}")]
    Syntax(&'static str),
    #[error("encrypted tokens are not accepted")]
    Encrypted,
    #[error("nested tokens are not accepted")]
    Nested,
    #[error("the header demands an extension (`crit` or `b64`)")]
    Critical,
    #[error("algorithm `{0}` is not allowed for this issuer")]
    Algorithm(Cleaned),
    #[error("token type `{0}` is not accepted from this issuer")]
    Type(Cleaned),
    #[error("an ID Token (or a logout or event token) is not an access token")]
    NotAccessToken,
    #[error("the token is not an ID Token")]
    NotIdToken,
    #[error("the token is not a logout token")]
    NotLogoutToken,
    #[error("the ID Token was made for another sign-in (`nonce`)")]
    Nonce,
    #[error("the token was issued to another client (`azp`)")]
    AuthorizedParty,
    #[error("the ID Token belongs to another access token (`at_hash`)")]
    AccessTokenHash,
    #[error("issuer `{0}` is not configured")]
    IssuerUnknown(Cleaned),
    #[error("no `kid`, and more than one key could be meant")]
    KeyUnnamed,
    #[error("issuer has no key `{0}`")]
    KeyUnknown(Cleaned),
    #[error("key `{0}` is for another algorithm than the header says")]
    KeyAlgorithm(Cleaned),
    #[error("the signature does not verify")]
    Signature,
    #[error("the token is for another audience")]
    Audience,
    #[error("claim `{0}` is missing")]
    ClaimMissing(Box<str>),
    #[error("claim `{0}` has the wrong type or an impossible value")]
    Claim(Box<str>),
    #[error("the token lives longer than the configuration accepts")]
    Lifetime,
    #[error("claim `{0}` is too large")]
    TooLarge(Box<str>),
    #[error(
        "the issuer left claim `{0}` out because there are too many values (overage); let it send only the groups assigned to the application"
    )]
    Overage(Box<str>),
    #[error("the address in claim `email` is not verified")]
    EmailUnverified,
}

/// What is wrong with a token now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TimeFault {
    #[error("the token expired")]
    Over,
    #[error("the token is not valid yet")]
    NotYet,
    #[error("the token was issued in the future")]
    IssuedInFuture,
}

/// What is wrong with a token's confirmation key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BindingFault {
    #[error("the token is bound to a certificate, and the client presented none")]
    NoCertificate,
    #[error("the token is bound to another certificate")]
    OtherCertificate,
    #[error("the token is bound by a method other than `x5t#S256`, which cannot be checked here")]
    UnknownMethod,
    #[error("claim `cnf` cannot be read")]
    Unreadable,
    #[error("the app demands a token that is bound to the device certificate")]
    Demanded,
}

impl CredentialError {
    /// The stable reason for client, record and metrics.
    pub fn reason(&self) -> DenialReason {
        match self {
            Self::Malformed(_) => DenialReason::CredentialMalformed,
            Self::Invalid(_) => DenialReason::CredentialInvalid,
            Self::Expired(_) => DenialReason::CredentialExpired,
            Self::NotBound(_) => DenialReason::CredentialNotBound,
            Self::IssuerUnavailable { .. } => DenialReason::IssuerUnavailable,
        }
    }
}

impl From<TimeFault> for CredentialError {
    fn from(fault: TimeFault) -> Self {
        Self::Expired(fault)
    }
}

impl From<BindingFault> for CredentialError {
    fn from(fault: BindingFault) -> Self {
        Self::NotBound(fault)
    }
}

impl From<CredentialError> for Denial {
    fn from(error: CredentialError) -> Self {
        let denial = Self::new(error.reason()).with_detail(error.to_string());
        match error {
            CredentialError::IssuerUnavailable { .. } => denial.with_retry_after(RETRY_AFTER),
            CredentialError::Malformed(_)
            | CredentialError::Invalid(_)
            | CredentialError::Expired(_)
            | CredentialError::NotBound(_) => denial,
        }
    }
}

/// A word of the sender's choosing, fit for a record: at most 64 characters, printable ASCII, no quotes.
#[derive(Clone, PartialEq, Eq)]
pub struct Cleaned(Box<str>);

impl Cleaned {
    const CHARACTERS: usize = 64;

    pub(crate) fn new(text: &str) -> Self {
        let harmless = |character: char| match character {
            '`' | '"' | '\\' => '?',
            graphic if graphic.is_ascii_graphic() => graphic,
            _ => '?',
        };
        let mut cleaned: String = text.chars().take(Self::CHARACTERS).map(harmless).collect();
        if text.chars().nth(Self::CHARACTERS).is_some() {
            cleaned.push_str("...");
        }
        Self(cleaned.into_boxed_str())
    }
}

impl fmt::Display for Cleaned {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for Cleaned {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_the_sender_cannot_forge_log_lines() {
        let cleaned = Cleaned::new("a\r\n{\"x\":`1`}\u{202e}");
        assert_eq!(cleaned.to_string(), "a??{?x?:?1?}?");
        assert_eq!(Cleaned::new(&"k".repeat(500)).to_string().len(), 67);
    }

    #[test]
    fn each_kind_has_its_reason() {
        let reasons = [
            CredentialError::Malformed("x").reason(),
            CredentialError::from(TokenFault::Signature).reason(),
            CredentialError::from(TimeFault::Over).reason(),
            CredentialError::from(BindingFault::NoCertificate).reason(),
            CredentialError::IssuerUnavailable {
                issuer: "corp".into(),
            }
            .reason(),
        ];
        assert_eq!(
            reasons.map(DenialReason::code),
            [
                "credential-malformed",
                "credential-invalid",
                "credential-expired",
                "credential-not-bound",
                "issuer-unavailable"
            ]
        );
    }
}
