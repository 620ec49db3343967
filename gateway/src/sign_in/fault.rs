//! Why a sign-in with a browser goes no further: what a provider answered, or what is wrong on our side of it.

use http::StatusCode;

use crate::relying_party::SignInError;

/// See the module's first line.
#[derive(Debug)]
pub(crate) enum Fault {
    /// At the provider, or in its answer.
    Provider(SignInError),
    Own(OwnFault),
}

/// A closed list; the codes are in the record and in the documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum OwnFault {
    /// The link leads to nothing of ours.
    TargetUnknown,
    /// No sign-in of that kind is under way in this browser: over, finished, or begun elsewhere.
    AttemptUnknown,
    /// The hand-over to the app is unknown, used, too old, or was meant for another browser or device.
    HandOverRefused,
    /// The person just did all that was asked, and it is still not enough.
    NotEnough,
    /// No provider of that name, or none that the app accepts.
    ProviderUnknown,
    /// Another site sent the form.
    FormForeign,
    /// The page of the form was shown too long ago, or to somebody else.
    FormExpired,
    /// It cannot be read, or says nothing.
    FormMalformed,
    /// The disk does not take the session.
    StoreUnavailable,
    /// Nobody is signed in here any more.
    SignedOut,
    /// The account is disabled where accounts are kept.
    AccountDisabled,
}

impl OwnFault {
    #[cfg(test)]
    pub(crate) const ALL: [Self; 11] = [
        Self::TargetUnknown,
        Self::AttemptUnknown,
        Self::HandOverRefused,
        Self::NotEnough,
        Self::ProviderUnknown,
        Self::FormForeign,
        Self::FormExpired,
        Self::FormMalformed,
        Self::StoreUnavailable,
        Self::SignedOut,
        Self::AccountDisabled,
    ];

    /// The word in the record and on the page.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::TargetUnknown => "target-unknown",
            Self::AttemptUnknown => "attempt-unknown",
            Self::HandOverRefused => "hand-over-refused",
            Self::NotEnough => "assurance-insufficient",
            Self::ProviderUnknown => "provider-unknown",
            Self::FormForeign => "form-foreign",
            Self::FormExpired => "form-expired",
            Self::FormMalformed => "form-malformed",
            Self::StoreUnavailable => "store-unavailable",
            Self::SignedOut => "signed-out",
            Self::AccountDisabled => "account-disabled",
        }
    }

    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::TargetUnknown | Self::FormMalformed => StatusCode::BAD_REQUEST,
            Self::AttemptUnknown
            | Self::HandOverRefused
            | Self::NotEnough
            | Self::FormForeign
            | Self::FormExpired
            | Self::AccountDisabled => StatusCode::FORBIDDEN,
            Self::ProviderUnknown => StatusCode::NOT_FOUND,
            Self::StoreUnavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::SignedOut => StatusCode::UNAUTHORIZED,
        }
    }
}

impl Fault {
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Provider(error) => error.code(),
            Self::Own(fault) => fault.code(),
        }
    }

    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Provider(SignInError::Unavailable { .. }) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Provider(_) => StatusCode::FORBIDDEN,
            Self::Own(fault) => fault.status(),
        }
    }

    /// Whether beginning anew may help.
    pub(crate) fn may_try_again(&self) -> bool {
        match self {
            Self::Provider(error) => error.may_try_again(),
            Self::Own(fault) => match fault {
                OwnFault::AttemptUnknown
                | OwnFault::HandOverRefused
                | OwnFault::StoreUnavailable
                | OwnFault::FormExpired
                | OwnFault::SignedOut => true,
                OwnFault::TargetUnknown
                | OwnFault::NotEnough
                | OwnFault::ProviderUnknown
                | OwnFault::FormForeign
                | OwnFault::FormMalformed
                | OwnFault::AccountDisabled => false,
            },
        }
    }
}

impl From<OwnFault> for Fault {
    fn from(fault: OwnFault) -> Self {
        Self::Own(fault)
    }
}

impl From<SignInError> for Fault {
    fn from(error: SignInError) -> Self {
        Self::Provider(error)
    }
}
