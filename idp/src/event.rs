//! What is told of accounts and factors: who did what, with which factors, never a secret. The gateway puts it on record
//! and ends the sessions that must not outlive it.

use std::sync::Arc;

/// Where events go. Called after the change is on disk, from a thread that may block, and before the caller is answered.
pub type Events = Arc<dyn Fn(AccountEvent) + Send + Sync>;

/// Something happened to an account or its factors, or somebody failed to prove who they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountEvent {
    pub kind: EventKind,
    /// Milliseconds since 1970.
    pub at: i64,
    pub by: Actor,
    /// The account's id; absent when what was typed names none.
    pub account: Option<Box<str>>,
    /// What was typed as a name, when somebody failed. At most 64 characters, no control characters.
    pub name: Option<Box<str>>,
    /// Absent when it worked; else a code of a closed list, see [`crate::SignInRefusal::code`].
    pub failure: Option<&'static str>,
    /// RFC 8176 method references that were used or that the change is about.
    pub factors: Vec<&'static str>,
    /// The device it came from.
    pub device: Option<Box<str>>,
    /// In words for the record: the name of a passkey, the new groups.
    pub detail: Option<Box<str>>,
}

/// What happened. The words are those of the gateway's record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// Only failures: the gateway records a sign-in that worked when the session begins.
    SignIn,
    /// Failures reached the lock, or the ceiling of a factor.
    LockedOut,
    FactorAdded,
    FactorRemoved,
    PasswordChanged,
    RecoveryCodesMade,
    RecoveryUsed,
    AccountCreated,
    AccountChanged,
    AccountDisabled,
    AccountEnabled,
    AccountRemoved,
    /// All factors are gone, or a new first sign-in link was made (`detail` says which).
    AccountReset,
}

impl EventKind {
    /// The word in the record.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SignIn => "sign-in",
            Self::LockedOut => "locked-out",
            Self::FactorAdded => "factor-added",
            Self::FactorRemoved => "factor-removed",
            Self::PasswordChanged => "password-changed",
            Self::RecoveryCodesMade => "recovery-codes-made",
            Self::RecoveryUsed => "recovery-used",
            Self::AccountCreated => "account-created",
            Self::AccountChanged => "account-changed",
            Self::AccountDisabled => "account-disabled",
            Self::AccountEnabled => "account-enabled",
            Self::AccountRemoved => "account-removed",
            Self::AccountReset => "account-reset",
        }
    }
}

/// Who did it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Actor {
    /// The person themselves.
    Person,
    /// An administrator at the command line.
    Administrator,
    /// The system that provisions accounts.
    Scim,
    /// The gateway: a rule asked for it.
    Gateway,
}
