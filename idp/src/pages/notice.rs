//! What is said at the top of a page after something was tried.

use crate::factors::{FactorError, PasswordWeakness, SignInRefusal};

/// See [`super::text::of_notice`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    /// Name or proof: not told which.
    NotProved,
    /// Milliseconds since 1970.
    Wait {
        until: i64,
    },
    Exhausted,
    Disabled,
    NeedsSecondFactor,
    Expired,
    PasswordsOff,
    Unavailable,
    LinkVoid,
    /// What was asked for takes the passkey that the person has.
    UsePasskey,
    /// What was asked for takes a code too.
    UseCode,
    /// Somebody else was asked for.
    OtherPerson,
    TookTooLong,
    NotVerified,
    KnownPasskey,
    TooMany,
    BadName,
    UnknownFactor,
    LastWayIn,
    WrongCode,
    NeedsPassword,
    PasswordNeedsCode,
    Weak(PasswordWeakness),
    NoRight,
    /// It worked.
    PasskeyAdded,
    PasskeyRenamed,
    PasskeyRemoved,
    PasswordChanged,
    PasswordRemoved,
    CodeAppAdded,
    CodeAppRemoved,
}

impl Notice {
    pub(crate) fn of_refusal(refusal: SignInRefusal, now: i64) -> Self {
        match refusal {
            SignInRefusal::NotProved => Self::NotProved,
            SignInRefusal::LockedOut { retry_after, .. } => {
                let wait = i64::try_from(retry_after.as_millis()).unwrap_or(i64::MAX);
                Self::Wait {
                    until: now.saturating_add(wait),
                }
            }
            SignInRefusal::Exhausted => Self::Exhausted,
            SignInRefusal::Disabled => Self::Disabled,
            SignInRefusal::NeedsSecondFactor => Self::NeedsSecondFactor,
            SignInRefusal::Expired => Self::Expired,
            SignInRefusal::PasswordsOff => Self::PasswordsOff,
            SignInRefusal::Unavailable => Self::Unavailable,
        }
    }

    pub(crate) fn is_good(self) -> bool {
        matches!(
            self,
            Self::PasskeyAdded
                | Self::PasskeyRenamed
                | Self::PasskeyRemoved
                | Self::PasswordChanged
                | Self::PasswordRemoved
                | Self::CodeAppAdded
                | Self::CodeAppRemoved
        )
    }
}

impl From<FactorError> for Notice {
    fn from(error: FactorError) -> Self {
        match error {
            FactorError::NoRight => Self::NoRight,
            FactorError::Expired => Self::TookTooLong,
            FactorError::NotVerified => Self::NotVerified,
            FactorError::KnownPasskey => Self::KnownPasskey,
            FactorError::TooMany => Self::TooMany,
            FactorError::BadName => Self::BadName,
            FactorError::Unknown => Self::UnknownFactor,
            FactorError::LastWayIn => Self::LastWayIn,
            FactorError::WrongCode => Self::WrongCode,
            FactorError::NeedsPassword => Self::NeedsPassword,
            FactorError::PasswordNeedsIt => Self::PasswordNeedsCode,
            FactorError::Weak(weakness) => Self::Weak(weakness),
            FactorError::PasswordsOff => Self::PasswordsOff,
            FactorError::Unavailable => Self::Unavailable,
        }
    }
}
