//! An account as it is stored. No `Debug`: hashes and keys are in it.

use serde::{Deserialize, Serialize};
use webauthn_rs::prelude::Passkey;

use super::account::{Account, PasskeyView};
use crate::factors::ceremony::Grounds;
use crate::random::{self, Random};

/// Everything about one account; one value in the file, so that a change is whole or not at all.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Record {
    pub(crate) id: Box<str>,
    pub(crate) display_name: Box<str>,
    pub(crate) email: Option<Box<str>>,
    pub(crate) groups: Vec<Box<str>>,
    pub(crate) active: bool,
    pub(crate) external_id: Option<Box<str>>,
    pub(crate) created_at: i64,
    pub(crate) changed_at: i64,
    /// WebAuthn §4 user handle: random, so that it tells nothing about the person.
    pub(crate) user_handle: [u8; 16],
    pub(crate) passkeys: Vec<StoredPasskey>,
    pub(crate) password: Option<StoredPassword>,
    pub(crate) totp: Option<StoredTotp>,
    /// Keyed hashes of unused recovery codes.
    pub(crate) recovery: Vec<[u8; 32]>,
    pub(crate) link: Option<StoredLink>,
    pub(crate) failures: Failures,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StoredPasskey {
    pub(crate) id: Box<str>,
    pub(crate) name: Box<str>,
    pub(crate) added_at: i64,
    pub(crate) used_at: Option<i64>,
    /// Highest signature counter seen since registration; the credential holds its own, too, but shows it to nobody.
    pub(crate) counter: u32,
    /// Can be copied to other devices (backup eligible, WebAuthn §6.1.3), and is.
    pub(crate) eligible: bool,
    pub(crate) synced: bool,
    pub(crate) credential: Passkey,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StoredPassword {
    /// PHC string; its parameters are in it.
    pub(crate) hash: Box<str>,
    /// Less than 15 characters: counts only with a second factor.
    pub(crate) short: bool,
    pub(crate) set_at: i64,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StoredTotp {
    /// Nonce and ciphertext, see `factors::keys`.
    pub(crate) sealed: Vec<u8>,
    /// The step of the last code that was accepted; no code of this or an earlier one is accepted again (RFC 6238 §5.2).
    pub(crate) last_step: u64,
    pub(crate) added_at: i64,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StoredLink {
    /// SHA-256 of the token.
    pub(crate) hash: [u8; 32],
    pub(crate) until: i64,
}

/// Failures in a row by factor, wherever from.
#[derive(Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Failures {
    pub(crate) password: u32,
    pub(crate) code: u32,
    pub(crate) recovery: u32,
}

impl Record {
    pub(crate) fn new(id: Box<str>, display_name: Box<str>, random: &dyn Random, now: i64) -> Self {
        Self {
            id,
            display_name,
            email: None,
            groups: Vec::new(),
            active: true,
            external_id: None,
            created_at: now,
            changed_at: now,
            user_handle: random::bytes(random),
            passkeys: Vec::new(),
            password: None,
            totp: None,
            recovery: Vec::new(),
            link: None,
            failures: Failures::default(),
        }
    }

    /// What others see.
    pub(crate) fn view(&self) -> Account {
        Account {
            id: self.id.clone(),
            display_name: self.display_name.clone(),
            email: self.email.clone(),
            groups: self.groups.clone(),
            active: self.active,
            external_id: self.external_id.clone(),
            created_at: self.created_at,
            changed_at: self.changed_at,
            passkeys: self.passkeys.iter().map(StoredPasskey::view).collect(),
            password_set_at: self.password.as_ref().map(|password| password.set_at),
            password_is_short: self
                .password
                .as_ref()
                .is_some_and(|password| password.short),
            totp: self.totp.is_some(),
            recovery_codes: self.recovery.len(),
            link_until: self.link.as_ref().map(|link| link.until),
        }
    }

    pub(crate) fn passkey(&self, credential: &[u8]) -> Option<&StoredPasskey> {
        let matches = |key: &&StoredPasskey| key.credential.cred_id().as_slice() == credential;
        self.passkeys.iter().find(matches)
    }

    /// Whether a welcome for these reasons still counts.
    pub(crate) fn welcomes(&self, grounds: Grounds, now: i64) -> bool {
        match grounds {
            Grounds::Link(hash) => self.honours(&hash, now),
            Grounds::Recovery => self.active,
        }
    }

    /// Whether the link with that hash counts.
    pub(crate) fn honours(&self, hash: &[u8; 32], now: i64) -> bool {
        self.active
            && self
                .link
                .as_ref()
                .is_some_and(|link| link.hash == *hash && now < link.until)
    }
}

impl StoredPasskey {
    fn view(&self) -> PasskeyView {
        PasskeyView {
            id: self.id.clone(),
            name: self.name.clone(),
            added_at: self.added_at,
            used_at: self.used_at,
            synced: self.synced,
        }
    }
}
