//! Why a factor was not accepted. Two lists: what strangers are told when they try to sign in, which says nothing about
//! whether a name exists, and what somebody is told who changes their own factors.

use std::time::Duration;

/// Somebody did not prove who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignInRefusal {
    /// Unknown name, wrong password or code, wrong passkey, no such factor: not told apart.
    #[error("that is not right")]
    NotProved,
    /// Too many failures of this device for this name.
    #[error("too many failures; wait {} s", .retry_after.as_secs())]
    LockedOut {
        retry_after: Duration,
        /// The lock, rather than one of the delays before it.
        locked: bool,
    },
    /// This factor failed too often in a row, wherever from (NIST SP 800-63B §5.2.2): it takes another factor or a reset.
    #[error("this factor failed too often; use another one or ask for a reset")]
    Exhausted,
    /// Everything was right, and the account is disabled.
    #[error("the account is disabled")]
    Disabled,
    /// Everything was right, but a password this short counts only with a second factor, and there is none.
    #[error("this password is too short to count alone")]
    NeedsSecondFactor,
    /// The handle is unknown, used, over or of another device.
    #[error("this took too long or was done already; begin again")]
    Expired,
    /// Passwords are not accepted here.
    #[error("passwords are not accepted")]
    PasswordsOff,
    /// The accounts could not be written, or too much is under way.
    #[error("not available for the moment")]
    Unavailable,
}

impl SignInRefusal {
    /// For the record; a closed list.
    pub fn code(self) -> &'static str {
        match self {
            Self::NotProved => "not-proved",
            Self::LockedOut { .. } => "locked-out",
            Self::Exhausted => "factor-exhausted",
            Self::Disabled => "account-disabled",
            Self::NeedsSecondFactor => "second-factor-needed",
            Self::Expired => "attempt-expired",
            Self::PasswordsOff => "passwords-off",
            Self::Unavailable => "unavailable",
        }
    }
}

/// A factor could not be added, changed or removed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FactorError {
    /// No right to it: the welcome is over, the account is gone or disabled.
    #[error("there is no right to change this")]
    NoRight,
    /// The handle is unknown, used, over or of another device.
    #[error("this took too long or was done already; begin again")]
    Expired,
    /// The browser's answer does not verify.
    #[error("the passkey could not be verified")]
    NotVerified,
    /// Somebody has this passkey already.
    #[error("this passkey is known already")]
    KnownPasskey,
    /// Twenty passkeys are enough.
    #[error("there are too many passkeys")]
    TooMany,
    #[error("the name of a passkey is at most 64 characters without control characters")]
    BadName,
    #[error("there is no such factor")]
    Unknown,
    #[error("nothing else would be left to sign in with")]
    LastWayIn,
    #[error("the code is not right")]
    WrongCode,
    /// TOTP is a second factor beside a password.
    #[error("a code app needs a password beside it")]
    NeedsPassword,
    /// The password counts only with a second factor.
    #[error("the password is too short without a second factor; change it first")]
    PasswordNeedsIt,
    #[error("{0}")]
    Weak(#[from] PasswordWeakness),
    #[error("passwords are not accepted")]
    PasswordsOff,
    #[error("the change could not be written")]
    Unavailable,
}

/// Why a password is not accepted (NIST SP 800-63B §3.1.1.2). There are no rules about kinds of characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordWeakness {
    /// Alone, at least 15 characters; with a second factor, at least 8.
    #[error("at least {least} characters are needed")]
    TooShort { least: usize },
    #[error("more than 256 characters are not accepted")]
    TooLong,
    /// In the list of breached passwords.
    #[error("this password is known from a breach elsewhere")]
    Breached,
    /// One common word, a sequence, a repetition, a date or a keyboard row.
    #[error("this password is a common word, a row or a repetition")]
    Common,
    /// The person's name, address or organisation.
    #[error("this password is made of a name that everybody knows")]
    Personal,
}
