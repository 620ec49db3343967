//! Signing in. Runs on a thread that may block. Whatever is wrong, a stranger gets one answer, after the same work: the
//! same look-ups, one argon2, one write.

use webauthn_rs::prelude::{AuthenticationResult, PublicKeyCredential, WebauthnError};

use super::ceremony::{Grounds, Pending};
use super::{
    Ceremony, PasswordOutcome, Proof, Proved, SignInRefusal, passkey, password, recovery, totp,
};
use crate::accounts::record::Record;
use crate::accounts::{Changed, Inner, Visit, Welcome, text};
use crate::event::{AccountEvent, Actor, EventKind};
use crate::lockout::{Attempt, CEILING, Guess};

/// What was typed as a name.
pub(super) struct Typed {
    /// As an account could have it; absent where none could.
    id: Option<Box<str>>,
    /// What failures are counted under.
    counted: Box<str>,
}

/// What stands beside the password.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Second {
    App,
    Recovery,
}

impl Typed {
    pub(super) fn of(name: &str) -> Self {
        let id = text::user(name).ok();
        let counted = id.clone().unwrap_or_else(|| "?".into());
        Self { id, counted }
    }
}

impl Inner {
    pub(super) fn begin_passkey_sign_in(
        &self,
        name: Option<&str>,
        visit: Visit<'_>,
    ) -> Result<Ceremony, SignInRefusal> {
        let rules = self.rules();
        let fail = |_: WebauthnError| SignInRefusal::Unavailable;
        let (options, pending) = match name {
            None => {
                let (challenge, state) = rules
                    .webauthn
                    .start_discoverable_authentication()
                    .map_err(fail)?;
                let options = passkey::request(&challenge, &[]);
                (options, Pending::Discoverable(Box::new(state)))
            }
            Some(name) => {
                let typed = Typed::of(name);
                let record = typed.id.as_deref().and_then(|id| self.find(id));
                let known: Vec<_> = record
                    .iter()
                    .flat_map(|record| &record.passkeys)
                    .map(|key| key.credential.clone())
                    .collect();
                let (challenge, state) = rules
                    .webauthn
                    .start_passkey_authentication(&known)
                    .map_err(fail)?;
                let name = typed.id.as_deref().unwrap_or(&typed.counted);
                let ids = passkey::credentials(record.as_deref(), name, &self.keys);
                let options = passkey::request(&challenge, &ids);
                let pending = match record {
                    Some(record) if !known.is_empty() => Pending::Named {
                        account: record.id.clone(),
                        state: Box::new(state),
                    },
                    Some(_) | None => Pending::Invented,
                };
                (options, pending)
            }
        };
        let options = options.ok_or(SignInRefusal::Unavailable)?;
        Ok(Ceremony {
            handle: self.ceremonies.begin(pending, visit, &*self.random),
            options,
        })
    }

    pub(super) fn finish_passkey_sign_in(
        &self,
        handle: &str,
        answer: &str,
        visit: Visit<'_>,
    ) -> Result<Proved, SignInRefusal> {
        let pending = self
            .ceremonies
            .take(handle, visit)
            .ok_or(SignInRefusal::Expired)?;
        let refuse = |account: Option<&str>, failure| {
            self.tell(vec![failed(account, None, &["pop"], failure, visit)]);
            SignInRefusal::NotProved
        };
        let Some(answer) = passkey::read_request(answer) else {
            return Err(refuse(None, NOT_PROVED));
        };
        let (account, result) = match pending {
            Pending::Named { account, state } => {
                let result = self
                    .rules()
                    .webauthn
                    .finish_passkey_authentication(&answer, &state);
                (account, result)
            }
            Pending::Discoverable(state) => {
                let rules = self.rules();
                let Some((record, id)) = rules
                    .webauthn
                    .identify_discoverable_authentication(&answer)
                    .ok()
                    .and_then(|(handle, id)| {
                        let handle = *handle.as_bytes();
                        let record = self.people(|people| people.by_handle(&handle).cloned())?;
                        Some((record, id))
                    })
                else {
                    return Err(refuse(None, NOT_PROVED));
                };
                let Some(key) = record.passkey(id) else {
                    return Err(refuse(Some(&record.id), NOT_PROVED));
                };
                let result = rules.webauthn.finish_discoverable_authentication_v2(
                    &answer,
                    *state,
                    &key.credential,
                );
                (record.id.clone(), result)
            }
            Pending::Invented => return Err(refuse(None, NOT_PROVED)),
            Pending::Registration { .. }
            | Pending::Code { .. }
            | Pending::Totp { .. }
            | Pending::Welcome { .. } => return Err(SignInRefusal::Expired),
        };
        match result {
            Ok(result) => self.admit_passkey(&account, &answer, &result, visit),
            Err(WebauthnError::CredentialPossibleCompromise) => Err(refuse(Some(&account), COPIED)),
            Err(error) => {
                tracing::debug!(%account, %error, "a passkey does not verify");
                Err(refuse(Some(&account), NOT_PROVED))
            }
        }
    }

    /// The signature is good; now it is held against the account as it is at this moment.
    fn admit_passkey(
        &self,
        account: &str,
        answer: &PublicKeyCredential,
        result: &AuthenticationResult,
        visit: Visit<'_>,
    ) -> Result<Proved, SignInRefusal> {
        let refusal = |failure, answer| Changed {
            record: None,
            events: vec![failed(Some(account), None, &["pop"], failure, visit)],
            answer: Err(answer),
        };
        self.change(account, |record| {
            let handle = answer.get_user_unique_id();
            let Some(mut record) = record.filter(|record| {
                result.user_verified() && handle.is_none_or(|handle| handle == record.user_handle)
            }) else {
                return Ok::<_, SignInRefusal>(refusal(NOT_PROVED, SignInRefusal::NotProved));
            };
            let active = record.active;
            let at = |key: &crate::accounts::record::StoredPasskey| {
                key.credential.cred_id() == result.cred_id()
            };
            let Some(key) = record.passkeys.iter_mut().find(|key| at(key)) else {
                return Ok(refusal(NOT_PROVED, SignInRefusal::NotProved));
            };
            // The library has looked at the counter as it was when the ceremony began; two of them may run side by side.
            if key.counter > 0 && result.counter() <= key.counter {
                return Ok(refusal(COPIED, SignInRefusal::NotProved));
            }
            if !active {
                return Ok(refusal(DISABLED, SignInRefusal::Disabled));
            }
            key.counter = result.counter();
            key.eligible |= result.backup_eligible();
            key.synced = result.backup_state();
            key.used_at = Some(visit.now);
            key.credential.update_credential(result);
            let proof = passkey::proof(key.eligible);
            Ok(Changed {
                record: Some(record),
                events: Vec::new(),
                answer: Ok(Proved::by(proof, account, visit.now)),
            })
        })?
    }

    /// Whether a password may be tried now.
    pub(super) fn begin_password(
        &self,
        typed: &Typed,
        visit: Visit<'_>,
    ) -> Result<Attempt, SignInRefusal> {
        let rules = self.rules();
        if !rules.settings.passwords {
            return Err(SignInRefusal::PasswordsOff);
        }
        self.attempt(&typed.counted, Guess::Password, visit)
    }

    pub(super) fn check_password(
        &self,
        typed: &Typed,
        password: &str,
        attempt: Attempt,
        visit: Visit<'_>,
    ) -> Result<PasswordOutcome, SignInRefusal> {
        let record = typed.id.as_deref().and_then(|id| self.find(id));
        let stored = record.as_deref().and_then(|record| record.password.clone());
        let hash = stored
            .as_ref()
            .map_or_else(|| self.dummy.hash(), |stored| &stored.hash);
        // Looked at in any case and before anything else, so that all refusals take as long.
        let right = password.chars().count() <= password::MOST && password::verify(password, hash);
        if self.exhausted(record.as_deref(), typed, Guess::Password) {
            attempt.withdrawn();
            return Err(SignInRefusal::Exhausted);
        }
        let (Some(record), Some(stored), true) = (&record, &stored, right) else {
            return Err(self.miss(record.as_deref(), typed, Guess::Password, attempt, visit));
        };
        let renewed = password::is_outdated(&stored.hash)
            .then(|| password::hash(password, &*self.random).ok())
            .flatten();
        let record = self.change(&record.id, |now| {
            let mut now = now.ok_or(SignInRefusal::NotProved)?;
            // Changed while it was verified: what was right is not any more.
            match &mut now.password {
                Some(current) if current.hash == stored.hash => {
                    if let Some(renewed) = &renewed {
                        current.hash = renewed.clone();
                    }
                }
                Some(_) | None => return Err(SignInRefusal::NotProved),
            }
            let changed = renewed.is_some() || now.failures.password > 0;
            now.failures.password = 0;
            Ok(Changed {
                record: changed.then(|| now.clone()),
                events: Vec::new(),
                answer: now,
            })
        })?;
        attempt.succeeded();
        if !record.active {
            let event = failed(Some(&record.id), None, PASSWORD, DISABLED, visit);
            self.tell(vec![event]);
            return Err(SignInRefusal::Disabled);
        }
        let Some(stored) = record.password else {
            return Err(SignInRefusal::NotProved);
        };
        if record.totp.is_some() {
            let pending = Pending::Code {
                account: record.id,
                hash: stored.hash,
                tries: 0,
            };
            let handle = self.ceremonies.begin(pending, visit, &*self.random);
            return Ok(PasswordOutcome::NeedsCode { handle });
        }
        if stored.short {
            let refusal = SignInRefusal::NeedsSecondFactor;
            let event = failed(Some(&record.id), None, PASSWORD, refusal.code(), visit);
            self.tell(vec![event]);
            return Err(refusal);
        }
        let proved = Proved::by(Proof::Password, &record.id, visit.now);
        Ok(PasswordOutcome::Done(proved))
    }

    pub(super) fn check_second(
        &self,
        handle: &str,
        code: &str,
        second: Second,
        visit: Visit<'_>,
    ) -> Result<Proved, SignInRefusal> {
        let Some(Pending::Code { account, hash, .. }) = self.ceremonies.peek(handle, visit) else {
            return Err(SignInRefusal::Expired);
        };
        let attempt = self.attempt(&account, Guess::Code, visit)?;
        let outcome = self.change(&account, |record| {
            let mut record = record
                .filter(|record| {
                    let current = record.password.as_ref();
                    current.is_some_and(|current| current.hash == hash)
                })
                .ok_or(SignInRefusal::Expired)?;
            if !record.active {
                return Err(SignInRefusal::Disabled);
            }
            if record.failures.code >= CEILING {
                return Err(SignInRefusal::Exhausted);
            }
            let used = match second {
                Second::App => self.use_app(&mut record, code, visit),
                Second::Recovery => self.use_recovery(&mut record, code, visit),
            };
            // Two who hold the same handle and two good codes: one of them.
            let used = used.filter(|_| self.ceremonies.take(handle, visit).is_some());
            let (events, answer) = match used {
                Some(events) => {
                    record.failures.code = 0;
                    let proved = Proved::by(Proof::PasswordAndCode, &account, visit.now);
                    (events, Ok(proved))
                }
                None => {
                    record.failures.code += 1;
                    let reached = record.failures.code >= CEILING;
                    let event = failed(Some(&account), None, OTP, NOT_PROVED, visit);
                    let mut events = vec![event];
                    events.extend(reached.then(|| exhausted(&account, OTP, visit)));
                    (events, Err(SignInRefusal::NotProved))
                }
            };
            Ok(Changed {
                record: Some(record),
                events,
                answer,
            })
        });
        match outcome {
            Ok(Ok(proved)) => {
                attempt.succeeded();
                Ok(proved)
            }
            Ok(Err(refusal)) => {
                self.ceremonies.wrong(handle);
                self.lock(attempt, Some(&account), None, OTP, visit);
                Err(refusal)
            }
            Err(refusal) => {
                attempt.withdrawn();
                Err(refusal)
            }
        }
    }

    pub(super) fn recover(
        &self,
        typed: &Typed,
        code: &str,
        visit: Visit<'_>,
    ) -> Result<Welcome, SignInRefusal> {
        let attempt = self.attempt(&typed.counted, Guess::Recovery, visit)?;
        let record = typed.id.as_deref().and_then(|id| self.find(id));
        if self.exhausted(record.as_deref(), typed, Guess::Recovery) {
            attempt.withdrawn();
            return Err(SignInRefusal::Exhausted);
        }
        let right = record.as_ref().filter(|record| {
            // With a password, a code is its second factor and not a way round it.
            record.password.is_none() && self.recovery_at(record, code).is_some()
        });
        let Some(record) = right else {
            return Err(self.miss(record.as_deref(), typed, Guess::Recovery, attempt, visit));
        };
        let id = record.id.clone();
        let account = self.change(&id, |record| {
            let mut record = record
                .filter(|record| record.password.is_none())
                .ok_or(SignInRefusal::NotProved)?;
            if !record.active {
                return Err(SignInRefusal::Disabled);
            }
            let events = self
                .use_recovery(&mut record, code, visit)
                .ok_or(SignInRefusal::NotProved)?;
            record.failures.recovery = 0;
            Ok(Changed {
                answer: record.view(),
                record: Some(record),
                events,
            })
        })?;
        attempt.succeeded();
        let pending = Pending::Welcome {
            account: id,
            grounds: Grounds::Recovery,
        };
        Ok(Welcome {
            handle: self.ceremonies.begin(pending, visit, &*self.random),
            account,
        })
    }

    fn use_app(
        &self,
        record: &mut Record,
        code: &str,
        visit: Visit<'_>,
    ) -> Option<Vec<AccountEvent>> {
        let app = record.totp.as_mut()?;
        let Ok(secret) = self.keys.unseal(&app.sealed, &record.id) else {
            tracing::error!(account = %record.id, "the secret of a code app cannot be read");
            return None;
        };
        let step = totp::check(&secret, code, app.last_step, visit.now)?;
        app.last_step = step.0;
        Some(Vec::new())
    }

    fn use_recovery(
        &self,
        record: &mut Record,
        code: &str,
        visit: Visit<'_>,
    ) -> Option<Vec<AccountEvent>> {
        let at = self.recovery_at(record, code)?;
        record.recovery.remove(at);
        let event = AccountEvent::own(EventKind::RecoveryUsed, &record.id, OTP, visit);
        Some(vec![event.with_detail(format!(
            "{} codes are left",
            record.recovery.len()
        ))])
    }

    /// Hashes are keyed, so that comparing them tells nobody anything who does not have the key.
    fn recovery_at(&self, record: &Record, code: &str) -> Option<usize> {
        let plain = recovery::read(code)?;
        let hash = self.keys.recovery_hash(&record.id, &*plain);
        record.recovery.iter().position(|stored| *stored == hash)
    }

    fn attempt(
        &self,
        name: &str,
        guess: Guess,
        visit: Visit<'_>,
    ) -> Result<Attempt, SignInRefusal> {
        let rules = self.rules();
        self.lockout
            .begin(name, guess, visit, &rules.settings.lockout)
            .map_err(|locked| SignInRefusal::LockedOut {
                retry_after: locked.retry_after,
                locked: locked.locked,
            })
    }

    fn exhausted(&self, record: Option<&Record>, typed: &Typed, guess: Guess) -> bool {
        let failures = match (record, guess) {
            (Some(record), Guess::Password) => record.failures.password,
            (Some(record), Guess::Code) => record.failures.code,
            (Some(record), Guess::Recovery) => record.failures.recovery,
            (None, _) => self.lockout.failures_of_nobody(&typed.counted, guess),
        };
        failures >= CEILING
    }

    /// A wrong guess, or one at a name that nobody has: noted on disk in either case.
    fn miss(
        &self,
        record: Option<&Record>,
        typed: &Typed,
        guess: Guess,
        attempt: Attempt,
        visit: Visit<'_>,
    ) -> SignInRefusal {
        let factors = match guess {
            Guess::Password => PASSWORD,
            Guess::Code | Guess::Recovery => OTP,
        };
        let account = record.map(|record| &*record.id);
        // What is no possible name may well be a password in the wrong field; it is not told.
        let name = typed.id.as_deref();
        let noted = match record {
            Some(record) => self.change(&record.id, |record| {
                let mut events = vec![failed(account, name, factors, NOT_PROVED, visit)];
                let record = record.map(|mut record| {
                    let failures = match guess {
                        Guess::Password => &mut record.failures.password,
                        Guess::Code => &mut record.failures.code,
                        Guess::Recovery => &mut record.failures.recovery,
                    };
                    *failures = failures.saturating_add(1);
                    if *failures == CEILING {
                        events.push(exhausted(&record.id, factors, visit));
                    }
                    record
                });
                Ok::<_, SignInRefusal>(Changed {
                    record,
                    events,
                    answer: (),
                })
            }),
            None => {
                self.lockout.nobody_failed(&typed.counted, guess);
                let noted = self.decoy().map_err(SignInRefusal::from);
                self.tell(vec![failed(None, name, factors, NOT_PROVED, visit)]);
                noted
            }
        };
        self.lock(attempt, account, name, factors, visit);
        match noted {
            Ok(()) => SignInRefusal::NotProved,
            Err(refusal) => refusal,
        }
    }

    /// The attempt failed; tells when that leads to a lock.
    fn lock(
        &self,
        attempt: Attempt,
        account: Option<&str>,
        name: Option<&str>,
        factors: &[&'static str],
        visit: Visit<'_>,
    ) {
        let Some(lock) = attempt.failed() else {
            return;
        };
        let words = format!("this device, for {} s", lock.as_secs());
        self.tell(vec![AccountEvent {
            kind: EventKind::LockedOut,
            detail: Some(words.into()),
            ..failed(account, name, factors, "locked-out", visit)
        }]);
    }
}

const PASSWORD: &[&str] = &["pwd"];
const OTP: &[&str] = &["otp"];

const NOT_PROVED: &str = "not-proved";
const DISABLED: &str = "account-disabled";
/// The signature counter went back (WebAuthn §6.1.1).
const COPIED: &str = "passkey-copied";

fn failed(
    account: Option<&str>,
    name: Option<&str>,
    factors: &[&'static str],
    failure: &'static str,
    visit: Visit<'_>,
) -> AccountEvent {
    AccountEvent {
        kind: EventKind::SignIn,
        at: visit.now,
        by: Actor::Person,
        account: account.map(Into::into),
        name: name.map(Into::into),
        failure: Some(failure),
        factors: factors.to_vec(),
        device: Some(visit.device.into()),
        detail: None,
    }
}

fn exhausted(account: &str, factors: &[&'static str], visit: Visit<'_>) -> AccountEvent {
    let words = "failed too often in a row; it counts again after a reset or a new one";
    AccountEvent {
        kind: EventKind::LockedOut,
        ..failed(Some(account), None, factors, "factor-exhausted", visit)
    }
    .with_detail(words)
}
