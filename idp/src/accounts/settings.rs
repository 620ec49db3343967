//! What an operator decides about accounts. A reload hands in a new set; see [`crate::Accounts::reconfigure`].

use std::path::PathBuf;
use std::time::Duration;

/// How accounts and factors are to behave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Origin of the sign-in host as browsers write it: `https://login.example.com` or with a port. Passkeys count
    /// there and nowhere else; its host is the relying party id (WebAuthn §5.1.2), so a new host voids all passkeys.
    pub origin: String,
    /// What people are shown as whose account it is: in passkey dialogs and in authenticator apps. No password either.
    pub organisation: String,
    /// How long a first sign-in link counts.
    pub link_lifetime: Duration,
    /// Whether passwords are accepted at all, beside passkeys.
    pub passwords: bool,
    /// Breached passwords: one a line, or `SHA1:count`; beside the common ones that are built in.
    pub breached: Option<PathBuf>,
    pub lockout: LockoutRules,
}

/// What failures from one device against one name lead to; same meaning as `[lockout]` of the gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockoutRules {
    /// Failures that cost nothing.
    pub free_failures: u32,
    /// Delay after the first failure beyond them; doubles with each.
    pub first_delay: Duration,
    pub max_delay: Duration,
    /// Failures after which the device is locked for that name.
    pub lock_after: u32,
    pub lock: Duration,
    /// Failures older than this are forgotten.
    pub window: Duration,
}
