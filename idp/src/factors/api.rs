//! Factors as the pages use them: how they are added and removed, and how people sign in with them.

use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};
use tokio::sync::OwnedSemaphorePermit;

use super::sign_in::{Second, Typed};
use super::{
    Ceremony, CodeFor, FactorError, LastWayIn, PasswordOutcome, Proved, Right, SignInRefusal,
    TotpOffer,
};
use crate::accounts::{Accounts, Interrupted, Visit, Welcome};
use crate::store::StoreError;

impl Accounts {
    /// Begins the registration of a passkey (WebAuthn §7.1). `Ceremony::options` is the argument of
    /// `navigator.credentials.create()` as JSON, bytes in base64url.
    ///
    /// # Errors
    /// [`FactorError`].
    pub fn begin_passkey(
        &self,
        right: Right<'_>,
        visit: Visit<'_>,
    ) -> Result<Ceremony, FactorError> {
        self.inner.begin_passkey(&right.into(), visit)
    }

    /// Ends it. `answer` is the browser's credential as JSON (`toJSON()`), `name` what its owner calls it (may be empty).
    ///
    /// # Errors
    /// [`FactorError`]; the ceremony is over in any case.
    pub async fn finish_passkey(
        &self,
        right: Right<'_>,
        handle: &str,
        answer: &str,
        name: &str,
        visit: Visit<'_>,
    ) -> Result<Proved, FactorError> {
        let (claim, seat) = (Claim::from(right), Seat::from(visit));
        let (handle, answer, name) = (handle.to_owned(), answer.to_owned(), name.to_owned());
        self.off_thread(move |inner| {
            inner.finish_passkey(&claim, &handle, &answer, &name, seat.visit())
        })
        .await
    }

    /// Changes what its owner calls it.
    ///
    /// # Errors
    /// [`FactorError`].
    pub async fn rename_passkey(
        &self,
        account: &str,
        passkey: &str,
        name: &str,
        visit: Visit<'_>,
    ) -> Result<(), FactorError> {
        let (account, passkey, name) = (account.to_owned(), passkey.to_owned(), name.to_owned());
        let seat = Seat::from(visit);
        self.off_thread(move |inner| inner.rename_passkey(&account, &passkey, &name, seat.visit()))
            .await
    }

    /// Removes one passkey, for good.
    ///
    /// # Errors
    /// [`FactorError::LastWayIn`] when nothing else would be left to sign in with, unless `last` says that this is known.
    pub async fn remove_passkey(
        &self,
        account: &str,
        passkey: &str,
        last: LastWayIn,
        visit: Visit<'_>,
    ) -> Result<(), FactorError> {
        let (account, passkey, seat) = (account.to_owned(), passkey.to_owned(), Seat::from(visit));
        self.off_thread(move |inner| inner.remove_passkey(&account, &passkey, last, seat.visit()))
            .await
    }

    /// Sets or replaces the password; with `totp` also a code app, in the same go, which lets the password be short.
    /// `None`: it is set, and the person has yet to sign in, since the code app that was there before was not asked.
    ///
    /// # Errors
    /// [`FactorError::Weak`] (the offer of `totp` stays good), [`FactorError`].
    pub async fn set_password(
        &self,
        right: Right<'_>,
        password: SecretString,
        totp: Option<CodeFor<'_>>,
        visit: Visit<'_>,
    ) -> Result<Option<Proved>, FactorError> {
        let (claim, seat) = (Claim::from(right), Seat::from(visit));
        let totp = totp.map(|totp| (totp.handle.to_owned(), totp.code.to_owned()));
        let places = self.hashing().await.ok_or(FactorError::Unavailable)?;
        self.off_thread(move |inner| {
            let _places = places;
            let totp = totp.as_ref().map(|(handle, code)| CodeFor { handle, code });
            inner.set_password(&claim, password.expose_secret(), totp, seat.visit())
        })
        .await
    }

    /// Removes the password and with it TOTP, which is good only beside it.
    ///
    /// # Errors
    /// [`FactorError`].
    pub async fn remove_password(
        &self,
        account: &str,
        last: LastWayIn,
        visit: Visit<'_>,
    ) -> Result<(), FactorError> {
        let (account, seat) = (account.to_owned(), Seat::from(visit));
        self.off_thread(move |inner| inner.remove_password(&account, last, seat.visit()))
            .await
    }

    /// A new secret for a code app (RFC 6238), to be confirmed with a code of it.
    ///
    /// # Errors
    /// [`FactorError`].
    pub fn begin_totp(&self, right: Right<'_>, visit: Visit<'_>) -> Result<TotpOffer, FactorError> {
        self.inner.begin_totp(&right.into(), visit)
    }

    /// Adds the code app to an account that has a password, or replaces the one it had.
    ///
    /// # Errors
    /// [`FactorError::WrongCode`] (the offer stays good, five times), [`FactorError`].
    pub async fn confirm_totp(
        &self,
        right: Right<'_>,
        code: CodeFor<'_>,
        visit: Visit<'_>,
    ) -> Result<(), FactorError> {
        let (claim, seat) = (Claim::from(right), Seat::from(visit));
        let (handle, code) = (code.handle.to_owned(), code.code.to_owned());
        self.off_thread(move |inner| {
            let code = CodeFor {
                handle: &handle,
                code: &code,
            };
            inner.confirm_totp(&claim, code, seat.visit())
        })
        .await
    }

    /// Removes the code app.
    ///
    /// # Errors
    /// [`FactorError::PasswordNeedsIt`] while the password is short.
    pub async fn remove_totp(&self, account: &str, visit: Visit<'_>) -> Result<(), FactorError> {
        let (account, seat) = (account.to_owned(), Seat::from(visit));
        self.off_thread(move |inner| inner.remove_totp(&account, seat.visit()))
            .await
    }

    /// Ten new recovery codes, to be shown once; those before are void.
    ///
    /// # Errors
    /// [`FactorError`].
    pub async fn make_recovery_codes(
        &self,
        account: &str,
        visit: Visit<'_>,
    ) -> Result<Vec<SecretString>, FactorError> {
        let (account, seat) = (account.to_owned(), Seat::from(visit));
        self.off_thread(move |inner| inner.make_recovery_codes(&account, seat.visit()))
            .await
    }

    /// Begins a sign-in with a passkey (WebAuthn §7.2). `Ceremony::options` is the argument of
    /// `navigator.credentials.get()` as JSON. Without a name, the authenticator offers the accounts it knows (also for
    /// `mediation: "conditional"`). With one, unknown names get an answer of the same shape, always the same credentials.
    ///
    /// # Errors
    /// [`SignInRefusal::Unavailable`].
    pub fn begin_passkey_sign_in(
        &self,
        name: Option<&str>,
        visit: Visit<'_>,
    ) -> Result<Ceremony, SignInRefusal> {
        self.inner.begin_passkey_sign_in(name, visit)
    }

    /// Ends it. Passkeys are never locked: there is nothing to guess.
    ///
    /// # Errors
    /// [`SignInRefusal`]; the ceremony is over in any case.
    pub async fn finish_passkey_sign_in(
        &self,
        handle: &str,
        answer: &str,
        visit: Visit<'_>,
    ) -> Result<Proved, SignInRefusal> {
        let (handle, answer) = (handle.to_owned(), answer.to_owned());
        let seat = Seat::from(visit);
        self.off_thread(move |inner| inner.finish_passkey_sign_in(&handle, &answer, seat.visit()))
            .await
    }

    /// The first step of the second way in. `NeedsCode` leads to [`Self::check_code`] or
    /// [`Self::check_recovery_code`] with the same handle.
    ///
    /// # Errors
    /// [`SignInRefusal`].
    pub async fn check_password(
        &self,
        name: &str,
        password: SecretString,
        visit: Visit<'_>,
    ) -> Result<PasswordOutcome, SignInRefusal> {
        let (typed, seat) = (Typed::of(name), Seat::from(visit));
        let attempt = self.inner.begin_password(&typed, visit)?;
        let Some(places) = self.hashing().await else {
            attempt.withdrawn();
            return Err(SignInRefusal::Unavailable);
        };
        self.off_thread(move |inner| {
            let _places = places;
            inner.check_password(&typed, password.expose_secret(), attempt, seat.visit())
        })
        .await
    }

    /// A code of the app, after the password.
    ///
    /// # Errors
    /// [`SignInRefusal::NotProved`] (the handle stays good, five times), [`SignInRefusal`].
    pub async fn check_code(
        &self,
        handle: &str,
        code: &str,
        visit: Visit<'_>,
    ) -> Result<Proved, SignInRefusal> {
        let (handle, code, seat) = (handle.to_owned(), code.to_owned(), Seat::from(visit));
        self.off_thread(move |inner| inner.check_second(&handle, &code, Second::App, seat.visit()))
            .await
    }

    /// A recovery code in place of the app's, after the password. Uses it up.
    ///
    /// # Errors
    /// As [`Self::check_code`].
    pub async fn check_recovery_code(
        &self,
        handle: &str,
        code: &str,
        visit: Visit<'_>,
    ) -> Result<Proved, SignInRefusal> {
        let (handle, code, seat) = (handle.to_owned(), code.to_owned(), Seat::from(visit));
        self.off_thread(move |inner| {
            inner.check_second(&handle, &code, Second::Recovery, seat.visit())
        })
        .await
    }

    /// A recovery code of somebody who lost all passkeys and has no password. Uses it up; what it gives is no sign-in, but
    /// the right to add a new factor, as a first sign-in link does.
    ///
    /// # Errors
    /// [`SignInRefusal`]; of an account with a password too, where a code alone would go round the password.
    pub async fn recover(
        &self,
        name: &str,
        code: &str,
        visit: Visit<'_>,
    ) -> Result<Welcome, SignInRefusal> {
        let (typed, code, seat) = (Typed::of(name), code.to_owned(), Seat::from(visit));
        self.off_thread(move |inner| inner.recover(&typed, &code, seat.visit()))
            .await
    }

    /// A place in the queue and one at the hashing; `None` where the queue is full.
    async fn hashing(&self) -> Option<[OwnedSemaphorePermit; 2]> {
        let queue = Arc::clone(&self.inner.queue).try_acquire_owned().ok()?;
        let hashing = Arc::clone(&self.inner.hashing).acquire_owned().await.ok()?;
        Some([queue, hashing])
    }
}

/// A [`Visit`] that can be taken to another thread.
pub(super) struct Seat {
    device: Box<str>,
    now: i64,
}

impl Seat {
    fn visit(&self) -> Visit<'_> {
        Visit {
            device: &self.device,
            now: self.now,
        }
    }
}

impl From<Visit<'_>> for Seat {
    fn from(visit: Visit<'_>) -> Self {
        Self {
            device: visit.device.into(),
            now: visit.now,
        }
    }
}

/// A [`Right`] that can be taken to another thread.
pub(super) enum Claim {
    SignedIn(Box<str>),
    Welcome(Box<str>),
}

impl From<Right<'_>> for Claim {
    fn from(right: Right<'_>) -> Self {
        match right {
            Right::SignedIn(account) => Self::SignedIn(account.into()),
            Right::Welcome(handle) => Self::Welcome(handle.into()),
        }
    }
}

impl From<Interrupted> for FactorError {
    fn from(Interrupted: Interrupted) -> Self {
        Self::Unavailable
    }
}

impl From<Interrupted> for SignInRefusal {
    fn from(Interrupted: Interrupted) -> Self {
        Self::Unavailable
    }
}

impl From<StoreError> for FactorError {
    fn from(_: StoreError) -> Self {
        Self::Unavailable
    }
}

impl From<StoreError> for SignInRefusal {
    fn from(_: StoreError) -> Self {
        Self::Unavailable
    }
}
