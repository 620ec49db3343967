//! Signing in with a passkey, for a name or for whichever account the authenticator knows.

use webauthn_rs::prelude::{AuthenticationResult, PublicKeyCredential, WebauthnError};

use super::{DISABLED, NOT_PROVED, Typed, failed};
use crate::accounts::record::StoredPasskey;
use crate::accounts::{Changed, Inner, Visit};
use crate::factors::ceremony::Pending;
use crate::factors::{Ceremony, Proved, SignInRefusal, passkey};

/// The signature counter went back (WebAuthn §6.1.1).
const COPIED: &str = "passkey-copied";

impl Inner {
    pub(in crate::factors) fn begin_passkey_sign_in(
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

    pub(in crate::factors) fn finish_passkey_sign_in(
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
        let rules = self.rules();
        let Some(answer) = passkey::read_request(answer, &rules.settings.origin) else {
            return Err(refuse(None, NOT_PROVED));
        };
        let (account, result) = match pending {
            Pending::Named { account, state } => {
                let result = rules
                    .webauthn
                    .finish_passkey_authentication(&answer, &state);
                (account, result)
            }
            Pending::Discoverable(state) => {
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
            let at = |key: &StoredPasskey| key.credential.cred_id() == result.cred_id();
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
}
