//! Asking again: whether the provider still vouches for somebody who signed in some time ago (RFC 6749 §6, RFC 9700
//! §4.14), and telling it when we stop asking (RFC 7009).

use std::time::Duration;

use masugata_policy::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};

use super::complete::vouched_until;
use super::exchange::{Granted, NotGranted};
use super::tables::NotNow;
use super::{Provider, RefreshError, Refreshed, SignInError};
use crate::issuer::{Cleaned, IdTokenRules, ProviderMetadata};

/// When to ask again after the provider renewed a token that could not be verified at that moment.
const SOON: Duration = Duration::from_secs(60);

impl Provider {
    pub(super) async fn ask_again(
        &self,
        token: &SecretString,
        subject: &str,
        now: Timestamp,
    ) -> Result<Refreshed, RefreshError> {
        let asking = match self.tables.ask(token.expose_secret()) {
            Ok(asking) => asking,
            Err(NotNow::Replaced) => return Err(RefreshError::Reused),
            Err(NotNow::Busy) => return Err(unreachable("it is being asked at this moment")),
        };
        let published = self.issuer.provider(now).await;
        let published = published.map_err(|error| unreachable(&error.to_string()))?;
        let metadata = published
            .metadata()
            .map_err(|error| unreachable(&error.to_string()))?;
        let granted = self.renew(token, metadata, now).await.map_err(refused)?;
        if let Some(next) = &granted.refresh_token
            && !asking.replaced_by(next.expose_secret())
        {
            return Err(RefreshError::Reused);
        }
        // From here on the old token may be worth nothing: whatever cannot be verified now, the new one must be kept.
        match self.look_again(&granted, metadata, subject, now).await {
            Ok(refreshed) => Ok(Refreshed {
                refresh_token: granted.refresh_token,
                ..refreshed
            }),
            Err(SignInError::Unavailable { .. } | SignInError::Metadata { .. }) => Ok(Refreshed {
                refresh_token: granted.refresh_token,
                id_token: None,
                principal: None,
                vouched_until: now.plus(SOON),
            }),
            Err(
                error @ (SignInError::Malformed(_)
                | SignInError::OtherAttempt
                | SignInError::MixedUp
                | SignInError::TimedOut
                | SignInError::Denied
                | SignInError::InteractionRequired(_)
                | SignInError::Unmet(_)
                | SignInError::Refused(_)
                | SignInError::CodeRefused(_)
                | SignInError::ClientRefused(_)
                | SignInError::Token(_)
                | SignInError::OtherSubject(_)
                | SignInError::NotAdmitted(_)
                | SignInError::GroupsLeftOut(_)),
            ) => Err(RefreshError::Gone(error.to_string().into())),
        }
    }

    /// OpenID Connect Core §12.2: a new ID Token is about the same person, and says what they are now.
    async fn look_again(
        &self,
        granted: &Granted,
        metadata: &ProviderMetadata,
        subject: &str,
        now: Timestamp,
    ) -> Result<Refreshed, SignInError> {
        let Some(raw) = &granted.id_token else {
            return Ok(Refreshed {
                refresh_token: None,
                id_token: None,
                principal: None,
                vouched_until: vouched_until(granted, None, now),
            });
        };
        let rules = IdTokenRules {
            client_id: &self.client().client_id,
            nonce: None,
            access_token: granted.access_token.expose_secret(),
            not_before: now,
        };
        let token = self
            .issuer
            .id_token(raw.expose_secret(), &rules, now)
            .await
            .map_err(|error| self.not_believed(error))?;
        if *token.subject != *subject {
            return Err(SignInError::OtherSubject("a refreshed ID Token"));
        }
        self.check_required(&token)?;
        let person = self.person(&token, granted, metadata).await?;
        Ok(Refreshed {
            refresh_token: None,
            id_token: Some(raw.clone()),
            principal: Some(person.principal.into()),
            vouched_until: vouched_until(granted, Some(&token), now),
        })
    }

    pub(super) async fn give_back(&self, token: &SecretString, now: Timestamp) {
        let Some(published) = self.issuer.provider_as_known() else {
            return;
        };
        let Ok(metadata) = published.metadata() else {
            return;
        };
        let (Some(endpoint), Ok(shown)) = (&metadata.revocation, self.show(metadata, now)) else {
            return;
        };
        let question = shown.question([
            ("token", token.expose_secret()),
            ("token_type_hint", "refresh_token"),
            ("client_id", &self.client().client_id),
        ]);
        let issuer = self.name();
        match self.transport.send(&endpoint.location, question).await {
            Ok(answer) if answer.status.is_success() => {}
            Ok(answer) => {
                let status = answer.status.as_u16();
                tracing::debug!(issuer, status, "a refresh token was not revoked");
            }
            Err(error) => tracing::debug!(issuer, %error, "a refresh token was not revoked"),
        }
    }
}

/// Errors that say something about us, or nothing, leave the session as it is; any other word is a no.
fn refused(fault: NotGranted) -> RefreshError {
    match fault {
        NotGranted::Silent(detail) => RefreshError::Unreachable(detail),
        NotGranted::Stated(word) => {
            let cleaned = Cleaned::new(&word).to_string();
            match &*word {
                "invalid_client"
                | "unauthorized_client"
                | "invalid_request"
                | "invalid_scope"
                | "unsupported_grant_type"
                | "temporarily_unavailable"
                | "server_error" => unreachable(&cleaned),
                _ => RefreshError::Gone(cleaned.into()),
            }
        }
    }
}

fn unreachable(detail: &str) -> RefreshError {
    RefreshError::Unreachable(detail.into())
}
