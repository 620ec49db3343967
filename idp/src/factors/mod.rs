//! What people prove themselves with: passkeys, passwords, codes of an app, recovery codes.

mod api;
pub(crate) mod breached;
pub(crate) mod ceremony;
mod change;
pub(crate) mod keys;
mod passkey;
pub(crate) mod password;
mod qr;
pub(crate) mod recovery;
mod refusal;
mod sign_in;
pub(crate) mod totp;

use secrecy::SecretString;

pub use refusal::{FactorError, PasswordWeakness, SignInRefusal};

/// Somebody proved who they are. Made only in this crate, and only from a factor that was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proved {
    account: Box<str>,
    amr: &'static [&'static str],
    acr: &'static str,
    at: i64,
}

/// How somebody proved themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    /// A passkey that cannot leave its authenticator, and verified the person.
    BoundPasskey,
    /// One that is copied between devices.
    SyncedPasskey,
    PasswordAndCode,
    Password,
}

impl Proof {
    pub(crate) fn amr(self) -> &'static [&'static str] {
        match self {
            Self::BoundPasskey => &["hwk", "pop", "user", "mfa"],
            Self::SyncedPasskey => &["swk", "pop", "user", "mfa"],
            Self::PasswordAndCode => &["pwd", "otp", "mfa"],
            Self::Password => &["pwd"],
        }
    }

    /// OpenID EAP ACR Values 1.0 for passkeys; `phrh` would take an attestation.
    fn acr(self) -> &'static str {
        match self {
            Self::BoundPasskey | Self::SyncedPasskey => "phr",
            Self::PasswordAndCode => "mfa",
            Self::Password => "pwd",
        }
    }
}

impl Proved {
    pub(crate) fn by(proof: Proof, account: &str, at: i64) -> Self {
        Self {
            account: account.into(),
            amr: proof.amr(),
            acr: proof.acr(),
            at,
        }
    }

    /// The account's id.
    pub fn account(&self) -> &str {
        &self.account
    }

    /// RFC 8176 method references.
    pub fn amr(&self) -> &'static [&'static str] {
        self.amr
    }

    /// `phr`, `mfa` or `pwd`.
    pub fn acr(&self) -> &'static str {
        self.acr
    }

    /// Milliseconds since 1970.
    pub fn at(&self) -> i64 {
        self.at
    }
}

/// By what right a factor is added.
#[derive(Clone, Copy, Debug)]
pub enum Right<'a> {
    /// The account of that id is signed in, freshly enough; the caller has seen to that.
    SignedIn(&'a str),
    /// The handle of a [`crate::Welcome`].
    Welcome(&'a str),
}

/// A passkey ceremony that has begun. Counts for five minutes, once, for the same device.
#[derive(Clone, Debug)]
pub struct Ceremony {
    /// Opaque; for a cookie or a hidden field.
    pub handle: String,
    /// JSON for the browser: `{"publicKey":{…}}`.
    pub options: String,
}

/// A code for something that waits for one.
#[derive(Clone, Copy)]
pub struct CodeFor<'a> {
    pub handle: &'a str,
    pub code: &'a str,
}

/// A secret for a code app, which is not yet one. Counts for fifteen minutes, for the same device.
pub struct TotpOffer {
    pub handle: String,
    /// Base32 in groups of four, to be typed.
    pub secret: SecretString,
    /// `otpauth://totp/…`, for a link on a phone.
    pub uri: SecretString,
    /// The same as a picture: an `<svg>` element without style, black on white.
    pub qr_svg: SecretString,
}

/// What a right password leads to.
#[derive(Debug)]
pub enum PasswordOutcome {
    Done(Proved),
    /// The person has a code app: see [`crate::Accounts::check_code`]. Five minutes, five tries, for the same device.
    NeedsCode {
        handle: String,
    },
}

/// Whether the person was told that nothing else is left to sign in with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastWayIn {
    Keep,
    /// They were, and want it.
    RemoveKnowingly,
}
