//! An account as others see it. No secrets, and nothing a secret could be computed from.

use serde::Serialize;

/// Somebody who can sign in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Account {
    /// The user name: what people type, and `<provider>/<id>` in policies. Never given to anybody else again.
    pub id: Box<str>,
    pub display_name: Box<str>,
    pub email: Option<Box<str>>,
    /// Sorted, without repetition.
    pub groups: Vec<Box<str>>,
    /// A disabled account keeps its factors and can do nothing.
    pub active: bool,
    /// The provisioning system's own id (RFC 7643 §3.1 `externalId`).
    pub external_id: Option<Box<str>>,
    /// Milliseconds since 1970.
    pub created_at: i64,
    /// Last change of anything but counters, in milliseconds since 1970.
    pub changed_at: i64,
    pub passkeys: Vec<PasskeyView>,
    /// When the password was set; absent without one.
    pub password_set_at: Option<i64>,
    /// The password has less than 15 characters and counts only with a second factor.
    pub password_is_short: bool,
    pub totp: bool,
    /// Unused ones.
    pub recovery_codes: usize,
    /// Until when the first sign-in link counts; absent without one.
    pub link_until: Option<i64>,
}

impl Account {
    /// There is some way to sign in without a link.
    pub fn can_sign_in(&self, passwords: bool) -> bool {
        let password = passwords && self.password_set_at.is_some();
        !self.passkeys.is_empty() || (password && (self.totp || !self.password_is_short))
    }
}

/// One passkey of an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PasskeyView {
    /// Names it in [`crate::Accounts::remove_passkey`]; not the credential id.
    pub id: Box<str>,
    /// What its owner calls it.
    pub name: Box<str>,
    pub added_at: i64,
    pub used_at: Option<i64>,
    /// The authenticator says that it is copied to other devices (backup state, WebAuthn §6.1.3).
    pub synced: bool,
}

/// Somebody who is to get an account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewAccount {
    pub user: String,
    /// Empty: the user name.
    pub display_name: String,
    pub email: Option<String>,
    pub groups: Vec<String>,
    pub external_id: Option<String>,
}

/// What is to be different; absent means as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    pub display_name: Option<String>,
    pub email: Option<Option<String>>,
    /// All of them, not those to add.
    pub groups: Option<Vec<String>>,
    pub active: Option<bool>,
    pub external_id: Option<Option<String>>,
}
