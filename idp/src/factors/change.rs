//! Adding, changing and removing factors. Runs on a thread that may block.

use std::sync::Arc;

use secrecy::SecretString;
use webauthn_rs::prelude::Uuid;
use zeroize::Zeroizing;

use super::api::Claim;
use super::ceremony::{Grounds, Pending};
use super::{
    Ceremony, CodeFor, FactorError, LastWayIn, PasswordWeakness, Proof, Proved, TotpOffer, passkey,
    password, recovery, totp,
};
use crate::accounts::record::{Record, StoredPasskey, StoredPassword, StoredTotp};
use crate::accounts::{Changed, Inner, Visit, text};
use crate::event::{AccountEvent, EventKind};
use crate::random;

const MAX_NAME: usize = 64;

impl Inner {
    pub(super) fn begin_passkey(
        &self,
        claim: &Claim,
        visit: Visit<'_>,
    ) -> Result<Ceremony, FactorError> {
        let (record, _) = self.holder(claim, visit)?;
        if record.passkeys.len() >= passkey::MOST {
            return Err(FactorError::TooMany);
        }
        let known = record.passkeys.iter();
        let known = known.map(|key| key.credential.cred_id().clone()).collect();
        let (challenge, state) = self
            .rules()
            .webauthn
            .start_passkey_registration(
                Uuid::from_bytes(record.user_handle),
                &record.id,
                &record.display_name,
                Some(known),
            )
            .map_err(|_| FactorError::Unavailable)?;
        let options = passkey::creation(&challenge).ok_or(FactorError::Unavailable)?;
        let pending = Pending::Registration {
            account: record.id.clone(),
            state: Box::new(state),
        };
        Ok(Ceremony {
            handle: self.ceremonies.begin(pending, visit, &*self.random),
            options,
        })
    }

    pub(super) fn finish_passkey(
        &self,
        claim: &Claim,
        handle: &str,
        answer: &str,
        name: &str,
        visit: Visit<'_>,
    ) -> Result<Proved, FactorError> {
        let (holder, _) = self.holder(claim, visit)?;
        let name = passkey_name(name)?;
        let Some(Pending::Registration { account, state }) = self.ceremonies.take(handle, visit)
        else {
            return Err(FactorError::Expired);
        };
        if account != holder.id {
            return Err(FactorError::Expired);
        }
        let answer = passkey::read_creation(answer).ok_or(FactorError::NotVerified)?;
        let credential = self
            .rules()
            .webauthn
            .finish_passkey_registration(&answer, &state)
            .map_err(|error| {
                tracing::debug!(account = %holder.id, %error, "a new passkey does not verify");
                FactorError::NotVerified
            })?;
        let (eligible, synced) = passkey::backup(&credential);
        let proof = passkey::proof(eligible);
        self.change(&holder.id, |record| {
            let mut record = self.redeem(claim, record, visit)?;
            if record.passkeys.len() >= passkey::MOST {
                return Err(FactorError::TooMany);
            }
            if self.people(|people| people.owns_passkey(credential.cred_id())) {
                return Err(FactorError::KnownPasskey);
            }
            let name =
                name.unwrap_or_else(|| format!("passkey {}", record.passkeys.len() + 1).into());
            let event = AccountEvent::own(EventKind::FactorAdded, &record.id, proof.amr(), visit)
                .with_detail(name.clone());
            record.passkeys.push(StoredPasskey {
                id: random::public_id(&*self.random).into(),
                name,
                added_at: visit.now,
                used_at: None,
                counter: 0,
                eligible,
                synced,
                credential,
            });
            record.changed_at = visit.now;
            Ok(Changed {
                answer: Proved::by(proof, &record.id, visit.now),
                record: Some(record),
                events: vec![event],
            })
        })
    }

    pub(super) fn rename_passkey(
        &self,
        account: &str,
        passkey: &str,
        name: &str,
        visit: Visit<'_>,
    ) -> Result<(), FactorError> {
        let name = passkey_name(name)?.ok_or(FactorError::BadName)?;
        self.change_own(account, visit, |record| {
            let key = record
                .passkeys
                .iter_mut()
                .find(|key| *key.id == *passkey)
                .ok_or(FactorError::Unknown)?;
            let words = format!("passkey {} is now called {name}", key.name);
            key.name = name;
            Ok((vec![(EventKind::AccountChanged, &[], words)], ()))
        })
    }

    pub(super) fn remove_passkey(
        &self,
        account: &str,
        passkey: &str,
        last: LastWayIn,
        visit: Visit<'_>,
    ) -> Result<(), FactorError> {
        let passwords = self.rules().settings.passwords;
        self.change_own(account, visit, |record| {
            let at = record
                .passkeys
                .iter()
                .position(|key| *key.id == *passkey)
                .ok_or(FactorError::Unknown)?;
            let key = record.passkeys.remove(at);
            keeps_a_way_in(record, passwords, last)?;
            let amr = passkey::proof(key.eligible).amr();
            Ok((
                vec![(EventKind::FactorRemoved, amr, key.name.into_string())],
                (),
            ))
        })
    }

    pub(super) fn set_password(
        &self,
        claim: &Claim,
        password: &str,
        totp: Option<CodeFor<'_>>,
        visit: Visit<'_>,
    ) -> Result<Option<Proved>, FactorError> {
        let rules = self.rules();
        if !rules.settings.passwords {
            return Err(FactorError::PasswordsOff);
        }
        let (holder, _) = self.holder(claim, visit)?;
        let second = totp.is_some() || holder.totp.is_some();
        let organisation = &rules.settings.organisation;
        // Before the code: a password that is too weak costs no try of it.
        password::assess(password, second, &holder, organisation, &rules.breached)?;
        let app = totp
            .map(|totp| self.check_offer(totp, &holder.id, visit))
            .transpose()?;
        let hash = password::hash(password, &*self.random).map_err(|_| FactorError::Unavailable)?;
        let short = password.chars().count() < password::ALONE;
        self.change(&holder.id, |record| {
            let mut record = self.redeem(claim, record, visit)?;
            let had_app = record.totp.is_some();
            if short && app.is_none() && !had_app {
                let least = password::ALONE;
                return Err(PasswordWeakness::TooShort { least }.into());
            }
            let (kind, detail) = match record.password {
                Some(_) => (EventKind::PasswordChanged, "replaced"),
                None => (EventKind::FactorAdded, "password"),
            };
            let event = AccountEvent::own(kind, &record.id, Proof::Password.amr(), visit);
            let mut events = vec![event.with_detail(detail)];
            record.password = Some(StoredPassword {
                hash,
                short,
                set_at: visit.now,
            });
            record.failures.password = 0;
            let proof = match (&totp, app) {
                (Some(totp), Some(app)) => {
                    events.push(self.put_app(&mut record, totp.handle, app, visit)?);
                    Some(Proof::PasswordAndCode)
                }
                (Some(_) | None, Some(_) | None) if had_app => None,
                (Some(_) | None, Some(_) | None) => Some(Proof::Password),
            };
            record.changed_at = visit.now;
            let id = record.id.clone();
            // Whoever has given the old password has to begin again.
            self.ceremonies.forget(&id);
            Ok(Changed {
                record: Some(record),
                events,
                answer: proof.map(|proof| Proved::by(proof, &id, visit.now)),
            })
        })
    }

    pub(super) fn remove_password(
        &self,
        account: &str,
        last: LastWayIn,
        visit: Visit<'_>,
    ) -> Result<(), FactorError> {
        let passwords = self.rules().settings.passwords;
        self.change_own(account, visit, |record| {
            record.password.take().ok_or(FactorError::Unknown)?;
            let mut events: Vec<Words> = vec![(
                EventKind::FactorRemoved,
                Proof::Password.amr(),
                "password".to_owned(),
            )];
            if record.totp.take().is_some() {
                events.push((EventKind::FactorRemoved, OTP, "code app".to_owned()));
            }
            keeps_a_way_in(record, passwords, last)?;
            Ok((events, ()))
        })?;
        self.ceremonies.forget(account);
        Ok(())
    }

    pub(super) fn begin_totp(
        &self,
        claim: &Claim,
        visit: Visit<'_>,
    ) -> Result<TotpOffer, FactorError> {
        let rules = self.rules();
        if !rules.settings.passwords {
            return Err(FactorError::PasswordsOff);
        }
        let (record, _) = self.holder(claim, visit)?;
        let secret = Zeroizing::new(random::bytes::<{ totp::SECRET_LEN }>(&*self.random));
        let setup = totp::setup(&*secret, &record.id, &rules.settings.organisation)
            .ok_or(FactorError::Unavailable)?;
        let pending = Pending::Totp {
            account: record.id.clone(),
            secret,
            tries: 0,
        };
        Ok(TotpOffer {
            handle: self.ceremonies.begin(pending, visit, &*self.random),
            secret: setup.secret,
            uri: setup.uri,
            qr_svg: setup.qr_svg,
        })
    }

    pub(super) fn confirm_totp(
        &self,
        claim: &Claim,
        code: CodeFor<'_>,
        visit: Visit<'_>,
    ) -> Result<(), FactorError> {
        if !self.rules().settings.passwords {
            return Err(FactorError::PasswordsOff);
        }
        let (holder, _) = self.holder(claim, visit)?;
        if holder.password.is_none() {
            return Err(FactorError::NeedsPassword);
        }
        let app = self.check_offer(code, &holder.id, visit)?;
        self.change(&holder.id, |record| {
            let mut record = self.redeem(claim, record, visit)?;
            if record.password.is_none() {
                return Err(FactorError::NeedsPassword);
            }
            let event = self.put_app(&mut record, code.handle, app, visit)?;
            record.changed_at = visit.now;
            Ok(Changed {
                record: Some(record),
                events: vec![event],
                answer: (),
            })
        })
    }

    pub(super) fn remove_totp(&self, account: &str, visit: Visit<'_>) -> Result<(), FactorError> {
        self.change_own(account, visit, |record| {
            record.totp.take().ok_or(FactorError::Unknown)?;
            if record
                .password
                .as_ref()
                .is_some_and(|password| password.short)
            {
                return Err(FactorError::PasswordNeedsIt);
            }
            Ok((
                vec![(EventKind::FactorRemoved, OTP, "code app".to_owned())],
                (),
            ))
        })
    }

    pub(super) fn make_recovery_codes(
        &self,
        account: &str,
        visit: Visit<'_>,
    ) -> Result<Vec<SecretString>, FactorError> {
        let mut codes = Vec::with_capacity(recovery::COUNT);
        self.change_own(account, visit, |record| {
            record.recovery.clear();
            for _ in 0..recovery::COUNT {
                let (shown, plain) = recovery::make(&*self.random);
                record
                    .recovery
                    .push(self.keys.recovery_hash(&record.id, &*plain));
                codes.push(shown);
            }
            record.failures.recovery = 0;
            let words = format!("{} codes", recovery::COUNT);
            Ok((vec![(EventKind::RecoveryCodesMade, OTP, words)], ()))
        })?;
        Ok(codes)
    }

    /// Whose factors are to be changed, and by what right; looked at again by [`Self::redeem`] before anything is.
    fn holder(
        &self,
        claim: &Claim,
        visit: Visit<'_>,
    ) -> Result<(Arc<Record>, Option<Grounds>), FactorError> {
        let (id, grounds) = match claim {
            Claim::SignedIn(account) => (account.clone(), None),
            Claim::Welcome(handle) => match self.ceremonies.peek(handle, visit) {
                Some(Pending::Welcome { account, grounds }) => (account, Some(grounds)),
                Some(_) | None => return Err(FactorError::NoRight),
            },
        };
        let record = self
            .find(&id)
            .filter(|record| record.active)
            .ok_or(FactorError::NoRight)?;
        if grounds.is_some_and(|grounds| !record.welcomes(grounds, visit.now)) {
            return Err(FactorError::NoRight);
        }
        Ok((record, grounds))
    }

    /// The account that may be changed now, under the writer's lock. Uses the right up, and with it the link behind it.
    fn redeem(
        &self,
        claim: &Claim,
        record: Option<Record>,
        visit: Visit<'_>,
    ) -> Result<Record, FactorError> {
        let mut record = record
            .filter(|record| record.active)
            .ok_or(FactorError::NoRight)?;
        let Claim::Welcome(handle) = claim else {
            return Ok(record);
        };
        match self.ceremonies.take(handle, visit) {
            Some(Pending::Welcome { account, grounds })
                if account == record.id && record.welcomes(grounds, visit.now) =>
            {
                match grounds {
                    Grounds::Link(_) => record.link = None,
                    Grounds::Recovery => {}
                }
                Ok(record)
            }
            Some(_) | None => Err(FactorError::NoRight),
        }
    }

    /// A change that somebody makes who is signed in.
    fn change_own<T>(
        &self,
        account: &str,
        visit: Visit<'_>,
        change: impl FnOnce(&mut Record) -> Result<(Vec<Words>, T), FactorError>,
    ) -> Result<T, FactorError> {
        let id = text::user(account).map_err(|_| FactorError::NoRight)?;
        self.change(&id, |record| {
            let mut record = record
                .filter(|record| record.active)
                .ok_or(FactorError::NoRight)?;
            let (words, answer) = change(&mut record)?;
            record.changed_at = visit.now;
            let events = words
                .into_iter()
                .map(|(kind, amr, detail)| {
                    AccountEvent::own(kind, &id, amr, visit).with_detail(detail)
                })
                .collect();
            Ok(Changed {
                record: Some(record),
                events,
                answer,
            })
        })
    }

    /// The app that was offered under this handle to that account, if the code is one of its.
    fn check_offer(
        &self,
        offer: CodeFor<'_>,
        account: &str,
        visit: Visit<'_>,
    ) -> Result<StoredTotp, FactorError> {
        let Some(Pending::Totp {
            account: of,
            secret,
            ..
        }) = self.ceremonies.peek(offer.handle, visit)
        else {
            return Err(FactorError::Expired);
        };
        if *of != *account {
            return Err(FactorError::Expired);
        }
        let Some(step) = totp::check(&*secret, offer.code, 0, visit.now) else {
            self.ceremonies.wrong(offer.handle);
            return Err(FactorError::WrongCode);
        };
        let sealed = self
            .keys
            .seal(&*secret, account, &*self.random)
            .map_err(|_| FactorError::Unavailable)?;
        Ok(StoredTotp {
            sealed,
            // The code that confirmed it signs nobody in.
            last_step: step.0,
            added_at: visit.now,
        })
    }

    fn put_app(
        &self,
        record: &mut Record,
        handle: &str,
        app: StoredTotp,
        visit: Visit<'_>,
    ) -> Result<AccountEvent, FactorError> {
        self.ceremonies
            .take(handle, visit)
            .ok_or(FactorError::Expired)?;
        let detail = match record.totp.replace(app) {
            Some(_) => "code app replaced",
            None => "code app",
        };
        record.failures.code = 0;
        let event = AccountEvent::own(EventKind::FactorAdded, &record.id, OTP, visit);
        Ok(event.with_detail(detail))
    }
}

/// Kind, factors and words of an event.
type Words = (EventKind, &'static [&'static str], String);

const OTP: &[&str] = &["otp"];

fn keeps_a_way_in(record: &Record, passwords: bool, last: LastWayIn) -> Result<(), FactorError> {
    match last {
        LastWayIn::Keep if !record.view().can_sign_in(passwords) => Err(FactorError::LastWayIn),
        LastWayIn::Keep | LastWayIn::RemoveKnowingly => Ok(()),
    }
}

/// `None` where nothing was typed.
fn passkey_name(typed: &str) -> Result<Option<Box<str>>, FactorError> {
    if typed.trim().is_empty() {
        return Ok(None);
    }
    text::line("name", typed)
        .ok()
        .filter(|name| name.chars().count() <= MAX_NAME)
        .map(Some)
        .ok_or(FactorError::BadName)
}
