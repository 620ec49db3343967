//! Short-lived proxy passwords for programs that can only do Basic: sealed, bound to the device certificate, not stored.
//!
//! `mgp1.` and base64url of a nonce and AES-256-GCM of what is vouched for: who, how they proved it, for which certificate,
//! until when. Whoever has the key file can make them, so all gateways share it and it is kept like a private key. They
//! cannot be taken back one by one: a lost device is refused as ever, a new key file ends all, the end of their time ends
//! each.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use masugata_policy::{Authentication, Credential, Principal, PrincipalKind, Timestamp};
use quick_cache::sync::Cache;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use crate::denial::DenialReason;

const PREFIX: &str = "mgp1.";
const CONTEXT: &[u8] = b"masugata proxy password 1";
const NONCE: usize = 12;
const TAG: usize = 16;
/// Longest password that is looked at, bytes.
const LONGEST: usize = 16 * 1024;
/// Groups, and roles, that one password carries.
const NAMES: usize = 100;
/// Opened passwords that are kept. Equal bytes give the same principal, which lets decisions be reused.
const OPENED: usize = 4096;
/// How far the clocks of two gateways may differ.
const SKEW: std::time::Duration = std::time::Duration::from_secs(300);

/// The key file cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct KeyError {
    pub path: PathBuf,
    /// Lower case, no full stop.
    pub message: String,
}

/// Why a password is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CredentialFault {
    #[error("not a proxy password")]
    Malformed,
    #[error("the proxy password was not made with this key")]
    Invalid,
    #[error("the proxy password has expired")]
    Expired,
    #[error("the proxy password was made for another certificate")]
    NotBound,
}

impl CredentialFault {
    /// The stable reason for client, record and metrics.
    pub fn reason(self) -> DenialReason {
        match self {
            Self::Malformed => DenialReason::CredentialMalformed,
            Self::Invalid => DenialReason::CredentialInvalid,
            Self::Expired => DenialReason::CredentialExpired,
            Self::NotBound => DenialReason::CredentialNotBound,
        }
    }
}

/// More groups or roles than fit. Leaving some out could leave out the one that a policy forbids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a proxy password carries at most {NAMES} groups and {NAMES} roles")]
pub struct TooMany;

/// What a password vouches for.
#[derive(Debug)]
pub struct Sealed(Claims);

impl Sealed {
    /// For this principal on the connections of this certificate, from `issued` until just before `expires`.
    ///
    /// # Errors
    /// When the principal does not fit.
    pub fn new(
        principal: &Principal,
        authentication: &Authentication,
        thumbprint: &[u8; 32],
        issued: Timestamp,
        expires: Timestamp,
    ) -> Result<Self, TooMany> {
        let owned = |names: &[Box<str>]| {
            (names.len() <= NAMES)
                .then(|| names.to_vec())
                .ok_or(TooMany)
        };
        Ok(Self(Claims {
            principal: Who {
                service: principal.kind() == PrincipalKind::Service,
                id: principal.id().into(),
                issuer: principal.issuer().into(),
                name: principal.name().map(Into::into),
                groups: owned(principal.groups())?,
                roles: owned(principal.roles())?,
            },
            authentication: How {
                mfa: authentication.multi_factor,
                oob: authentication.multi_factor_out_of_band,
                pr: authentication.phishing_resistant,
                acr: authentication.acr.clone(),
                amr: authentication.amr.clone(),
                at: authentication.authenticated_at.map(Timestamp::as_millis),
            },
            thumbprint: URL_SAFE_NO_PAD.encode(thumbprint),
            issued: issued.as_millis(),
            expires: expires.as_millis(),
        }))
    }
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Claims {
    principal: Who,
    authentication: How,
    thumbprint: String,
    /// Milliseconds since the epoch.
    issued: i64,
    expires: i64,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Who {
    service: bool,
    id: Box<str>,
    issuer: Box<str>,
    name: Option<Box<str>>,
    groups: Vec<Box<str>>,
    roles: Vec<Box<str>>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct How {
    mfa: bool,
    oob: bool,
    pr: bool,
    acr: Option<Box<str>>,
    amr: Vec<Box<str>>,
    at: Option<i64>,
}

/// A password that was believed.
#[derive(Debug)]
pub struct Opened {
    pub principal: Arc<Principal>,
    pub authentication: Arc<Authentication>,
    /// The first instant at which it no longer counts.
    pub expires_at: Timestamp,
    issued_at: Timestamp,
    thumbprint: [u8; 32],
}

impl Opened {
    fn of(claims: Claims) -> Option<Self> {
        let Claims {
            principal: who,
            authentication: how,
            ..
        } = &claims;
        let kind = if who.service {
            PrincipalKind::Service
        } else {
            PrincipalKind::User
        };
        let principal = Principal::new(
            kind,
            &who.id,
            &who.issuer,
            who.name.as_deref(),
            who.groups.iter().cloned(),
            who.roles.iter().cloned(),
        );
        let mut authentication = Authentication::new(
            how.mfa,
            how.pr,
            how.acr.as_deref(),
            how.amr.iter().cloned(),
            how.at.map(Timestamp::from_millis),
            // To the certificate of the device, which is checked whenever it is presented.
            true,
        )
        .with_credential(Credential::Password);
        authentication.multi_factor_out_of_band = how.oob;
        let thumbprint = URL_SAFE_NO_PAD.decode(&claims.thumbprint).ok()?;
        Some(Self {
            principal: Arc::new(principal),
            authentication: Arc::new(authentication.with_credential(Credential::Password)),
            expires_at: Timestamp::from_millis(claims.expires),
            issued_at: Timestamp::from_millis(claims.issued),
            thumbprint: thumbprint.try_into().ok()?,
        })
    }

    fn judge(&self, thumbprint: &[u8; 32], now: Timestamp) -> Result<(), CredentialFault> {
        if self.thumbprint != *thumbprint {
            return Err(CredentialFault::NotBound);
        }
        if now >= self.expires_at {
            return Err(CredentialFault::Expired);
        }
        if self.issued_at > now.plus(SKEW) {
            return Err(CredentialFault::Invalid);
        }
        Ok(())
    }
}

/// Makes passwords, and opens them.
pub struct PasswordKey {
    key: RandomizedNonceKey,
    /// SHA-256 of the key, to tell it from another.
    print: [u8; 32],
    /// By SHA-256 of the text.
    opened: Cache<[u8; 32], Arc<Opened>>,
}

impl PasswordKey {
    /// Reads a key file: base64 of 32 bytes, as `openssl rand -base64 32` writes it.
    ///
    /// # Errors
    /// When it cannot be read, or is anything else.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let fault = |message: String| KeyError {
            path: path.to_owned(),
            message,
        };
        let text = std::fs::read_to_string(path)
            .map(SecretString::from)
            .map_err(|error| fault(format!("cannot be read: {error}")))?;
        Self::parse(&text).ok_or_else(|| {
            fault("is not base64 of 32 bytes; make it with `openssl rand -base64 32`".to_owned())
        })
    }

    fn parse(text: &SecretString) -> Option<Self> {
        use secrecy::ExposeSecret as _;
        let bytes = STANDARD.decode(text.expose_secret().trim()).ok()?;
        let bytes = secrecy::SecretSlice::from(bytes);
        if bytes.expose_secret().len() != 32 {
            return None;
        }
        Some(Self {
            key: RandomizedNonceKey::new(&AES_256_GCM, bytes.expose_secret()).ok()?,
            print: sha256(bytes.expose_secret()),
            opened: Cache::new(OPENED),
        })
    }

    /// The same key with what it has opened, if `previous` is the same; otherwise this one.
    #[must_use]
    pub fn or_previous(self, previous: Option<&Arc<Self>>) -> Arc<Self> {
        match previous {
            Some(previous) if previous.print == self.print => Arc::clone(previous),
            Some(_) | None => Arc::new(self),
        }
    }

    /// Makes a password.
    #[expect(
        clippy::expect_used,
        reason = "strings and numbers always serialise, and AES-GCM seals any length that fits into memory; without randomness nothing here can be secure"
    )]
    pub fn seal(&self, sealed: &Sealed) -> SecretString {
        let mut bytes = serde_json::to_vec(&sealed.0).expect("plain data serialises");
        let nonce = self
            .key
            .seal_in_place_append_tag(Aad::from(CONTEXT), &mut bytes)
            .expect("sealing answers");
        let mut whole = nonce.as_ref().to_vec();
        whole.append(&mut bytes);
        format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(whole)).into()
    }

    /// What a password vouches for, presented on a connection with this certificate (SHA-256 of the leaf).
    ///
    /// # Errors
    /// Why it is not believed.
    pub fn open(
        &self,
        text: &str,
        thumbprint: &[u8; 32],
        now: Timestamp,
    ) -> Result<Arc<Opened>, CredentialFault> {
        if text.len() > LONGEST {
            return Err(CredentialFault::Malformed);
        }
        let name = sha256(text.as_bytes());
        let opened = match self.opened.get(&name) {
            Some(opened) => opened,
            None => {
                let opened = Arc::new(self.unseal(text)?);
                self.opened.insert(name, Arc::clone(&opened));
                opened
            }
        };
        opened.judge(thumbprint, now)?;
        Ok(opened)
    }

    fn unseal(&self, text: &str) -> Result<Opened, CredentialFault> {
        let encoded = text
            .strip_prefix(PREFIX)
            .ok_or(CredentialFault::Malformed)?;
        let mut bytes = URL_SAFE_NO_PAD
            .decode(encoded)
            .map_err(|_| CredentialFault::Malformed)?;
        if bytes.len() < NONCE + TAG {
            return Err(CredentialFault::Malformed);
        }
        let (nonce, sealed) = bytes
            .split_at_mut_checked(NONCE)
            .ok_or(CredentialFault::Malformed)?;
        let nonce =
            Nonce::try_assume_unique_for_key(nonce).map_err(|_| CredentialFault::Malformed)?;
        let plain = self
            .key
            .open_in_place(nonce, Aad::from(CONTEXT), sealed)
            .map_err(|_| CredentialFault::Invalid)?;
        // It is ours: anything odd in it was made by another version.
        serde_json::from_slice(plain)
            .ok()
            .and_then(Opened::of)
            .ok_or(CredentialFault::Invalid)
    }
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    for (to, from) in out.iter_mut().zip(digest(&SHA256, bytes).as_ref()) {
        *to = *from;
    }
    out
}

impl fmt::Debug for PasswordKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("PasswordKey")
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use secrecy::ExposeSecret as _;

    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
    const DEVICE: [u8; 32] = [7; 32];

    fn key(byte: u8) -> PasswordKey {
        let text = format!("{}\n", STANDARD.encode([byte; 32]));
        PasswordKey::parse(&text.into()).unwrap()
    }

    fn after(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(NOW.as_seconds() + seconds)
    }

    fn sealed() -> Sealed {
        let principal = Principal::new(
            PrincipalKind::User,
            "corp/ada",
            "corp",
            Some("阿田 英"),
            ["staff", "finance"],
            ["approver"],
        );
        let authentication = Authentication::new(
            true,
            true,
            Some("urn:mfa"),
            ["hwk", "pin"],
            Some(after(-60)),
            false,
        );
        Sealed::new(&principal, &authentication, &DEVICE, NOW, after(3600)).unwrap()
    }

    fn password(key: &PasswordKey) -> String {
        key.seal(&sealed()).expose_secret().to_owned()
    }

    #[test]
    fn what_was_sealed_is_what_is_opened() {
        let key = key(1);
        let opened = key.open(&password(&key), &DEVICE, NOW).unwrap();
        let principal = &opened.principal;
        assert_eq!(principal.kind(), PrincipalKind::User);
        assert_eq!((principal.id(), principal.issuer()), ("corp/ada", "corp"));
        assert_eq!(principal.name(), Some("阿田 英"));
        assert_eq!(principal.groups(), ["finance".into(), "staff".into()]);
        assert_eq!(principal.roles(), ["approver".into()]);
        let authentication = &opened.authentication;
        assert!(authentication.multi_factor && authentication.phishing_resistant);
        assert!(authentication.certificate_bound);
        assert_eq!(authentication.credential(), Credential::Password);
        assert_eq!(authentication.acr.as_deref(), Some("urn:mfa"));
        assert_eq!(authentication.amr, ["hwk".into(), "pin".into()]);
        assert_eq!(authentication.authenticated_at, Some(after(-60)));
        assert_eq!(opened.expires_at, after(3600));
    }

    #[test]
    fn the_same_text_gives_the_same_principal_and_no_two_passwords_are_alike() {
        let key = key(1);
        let (one, other) = (password(&key), password(&key));
        assert_ne!(one, other);
        let first = key.open(&one, &DEVICE, NOW).unwrap();
        let again = key.open(&one, &DEVICE, NOW).unwrap();
        assert!(Arc::ptr_eq(&first.principal, &again.principal));
    }

    #[test]
    fn it_counts_on_its_device_and_for_its_time_only_however_often_it_was_opened() {
        let key = key(1);
        let password = password(&key);
        for _ in 0..2 {
            let fault = |device: &[u8; 32], now| key.open(&password, device, now).unwrap_err();
            assert_eq!(fault(&[8; 32], NOW), CredentialFault::NotBound);
            assert_eq!(fault(&DEVICE, after(3600)), CredentialFault::Expired);
            assert_eq!(fault(&DEVICE, after(-301)), CredentialFault::Invalid);
            assert!(key.open(&password, &DEVICE, after(-300)).is_ok());
            assert!(key.open(&password, &DEVICE, after(3599)).is_ok());
        }
        assert_eq!(
            CredentialFault::NotBound.reason(),
            DenialReason::CredentialNotBound
        );
    }

    #[test]
    fn another_key_opens_nothing() {
        let password = password(&key(1));
        assert_eq!(
            key(2).open(&password, &DEVICE, NOW).unwrap_err(),
            CredentialFault::Invalid
        );
    }

    #[test]
    fn a_reload_keeps_the_key_only_while_it_is_the_same() {
        let first = Arc::new(key(1));
        assert!(Arc::ptr_eq(&first, &key(1).or_previous(Some(&first))));
        assert!(!Arc::ptr_eq(&first, &key(2).or_previous(Some(&first))));
    }

    #[test]
    fn other_texts_are_malformed() {
        let key = key(1);
        let long = format!("mgp1.{}", "A".repeat(LONGEST));
        for text in [
            "",
            "mgp1.",
            "mgp1.AAAA",
            "mgp2.AAAA",
            "hunter2",
            "mgp1.!!",
            &long,
        ] {
            assert_eq!(
                key.open(text, &DEVICE, NOW).unwrap_err(),
                CredentialFault::Malformed
            );
        }
    }

    #[test]
    fn too_many_groups_are_refused_and_not_cut_short() {
        let groups: Vec<_> = (0..101).map(|number| format!("g{number}")).collect();
        let principal = Principal::new(
            PrincipalKind::User,
            "corp/ada",
            "corp",
            None,
            groups,
            Vec::<Box<str>>::new(),
        );
        let authentication =
            Authentication::new(false, false, None, Vec::<Box<str>>::new(), None, false);
        let sealed = Sealed::new(&principal, &authentication, &DEVICE, NOW, after(1));
        assert_eq!(sealed.unwrap_err(), TooMany);
    }

    #[test]
    fn a_key_file_is_32_bytes_in_base64() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for wrong in [
            "",
            "secret",
            &STANDARD.encode([1; 31]),
            &STANDARD.encode([1; 33]),
        ] {
            std::fs::write(file.path(), wrong).unwrap();
            let error = PasswordKey::read(file.path()).unwrap_err();
            assert!(error.message.contains("openssl rand -base64 32"));
            assert!(wrong.is_empty() || !error.to_string().contains(wrong));
        }
        std::fs::write(file.path(), STANDARD.encode([1; 32])).unwrap();
        let read = PasswordKey::read(file.path()).unwrap();
        assert!(read.open(&password(&key(1)), &DEVICE, NOW).is_ok());
        assert!(!format!("{read:?}").contains("01"));
        assert!(PasswordKey::read(Path::new("/no/such/key")).is_err());
    }

    proptest! {
        #[test]
        fn no_changed_byte_goes_unnoticed(at in 0_usize..10_000, bit in 0_u8..8) {
            let key = key(1);
            let password = password(&key);
            let mut bytes = URL_SAFE_NO_PAD.decode(&password[PREFIX.len()..]).unwrap();
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            let changed = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes));
            prop_assert_eq!(
                key.open(&changed, &DEVICE, NOW).unwrap_err(),
                CredentialFault::Invalid
            );
        }

        #[test]
        fn no_text_makes_trouble(text in "(mgp1\\.)?[A-Za-z0-9_.=-]{0,200}") {
            prop_assert!(key(1).open(&text, &DEVICE, NOW).is_err());
        }
    }
}
