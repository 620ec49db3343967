//! The answer: from what the browser brought back to a person, or to a reason why not. Each step believes only what the
//! one before has shown; the order is that of OpenID Connect Core §3.1.2.7, §3.1.3.5 and §3.1.3.7.

use std::time::Duration;

use masugata_policy::Timestamp;
use secrecy::ExposeSecret as _;
use subtle::ConstantTimeEq as _;

use super::callback::{Callback, Outcome};
use super::exchange::{Granted, NotGranted};
use super::{Attempt, Provider, SignInError, SignedIn, Unmet};
use crate::config::sign_in::AssuranceRequest;
use crate::issuer::{Cleaned, CredentialError, IdToken, IdTokenRules, ProviderMetadata, is_fresh};

/// How long a person may take at the provider.
const LONGEST: Duration = Duration::from_secs(600);

/// When to ask again where the provider says nothing about it, and the bounds of what it may say.
const VOUCHED: Duration = Duration::from_secs(3600);
const VOUCHED_LEAST: Duration = Duration::from_secs(60);
const VOUCHED_MOST: Duration = Duration::from_secs(24 * 3600);

impl Provider {
    pub(super) async fn answer(
        &self,
        attempt: Attempt,
        query: &str,
        now: Timestamp,
    ) -> Result<SignedIn, SignInError> {
        let callback = Callback::parse(query).map_err(SignInError::Malformed)?;
        let state = attempt.state.expose_secret().as_bytes();
        if !bool::from(callback.state.as_bytes().ct_eq(state)) {
            return Err(SignInError::OtherAttempt);
        }
        if now.since(attempt.began) > LONGEST {
            return Err(SignInError::TimedOut);
        }
        // Before code or error mean anything: whose are they (RFC 9207 §2.4)?
        let issuer = &self.issuer.config().issuer;
        let named = callback.issuer.as_deref();
        let named_right = named == Some(issuer.as_str());
        let unnamed_right = named.is_none() && !attempt.names_itself;
        if *attempt.issuer != *self.name() || !(named_right || unnamed_right) {
            return Err(SignInError::MixedUp);
        }
        let code = match callback.outcome {
            Outcome::Code(code) => code,
            Outcome::Error(error) => return Err(stated(&error)),
        };

        let published = self.published(now).await?;
        let metadata = published
            .metadata()
            .map_err(|error| self.metadata_fault(&error.to_string()))?;
        let granted = self
            .redeem(&attempt, code, metadata, now)
            .await
            .map_err(|fault| self.not_granted(&fault, metadata))?;
        let raw = granted
            .id_token
            .as_ref()
            .ok_or_else(|| self.unavailable("no ID Token with the access token"))?;
        let rules = IdTokenRules {
            client_id: &self.client().client_id,
            nonce: Some(attempt.nonce.expose_secret()),
            access_token: granted.access_token.expose_secret(),
            not_before: attempt.began,
        };
        let token = self
            .issuer
            .id_token(raw.expose_secret(), &rules, now)
            .await
            .map_err(|error| self.not_believed(error))?;
        self.check_required(&token)?;
        self.check_assurance(&attempt, &token, now)
            .map_err(SignInError::Unmet)?;
        let person = self.person(&token, &granted, metadata).await?;
        let vouched_until = vouched_until(&granted, Some(&token), now);
        let Granted {
            id_token,
            refresh_token,
            ..
        } = granted;
        Ok(SignedIn {
            principal: person.principal.into(),
            subject: token.subject,
            provider_session: token.session,
            authentication: token.authentication.into(),
            email: person.email,
            user_name: person.user_name,
            id_token: id_token.unwrap_or_default(),
            refresh_token: refresh_token.filter(|_| self.client().refresh),
            vouched_until,
        })
    }

    /// Claims that the configuration pins: another tenant's people are signed by the same keys.
    pub(super) fn check_required(&self, token: &IdToken) -> Result<(), SignInError> {
        let wrong = self
            .client()
            .required_claims
            .iter()
            .find(|(name, value)| token.text(name) != Some(value));
        match wrong {
            Some((name, _)) => Err(SignInError::NotAdmitted(name.as_str().into())),
            None => Ok(()),
        }
    }

    /// Whether what was asked for was given: providers may ignore it, and an answer through the browser may be from
    /// another question.
    fn check_assurance(
        &self,
        attempt: &Attempt,
        token: &IdToken,
        now: Timestamp,
    ) -> Result<(), Unmet> {
        let config = self.issuer.config();
        let wanted = &attempt.wanted;
        let authentication = &token.authentication;
        if wanted.phishing_resistant && !authentication.phishing_resistant {
            return Err(Unmet::PhishingResistant);
        }
        if wanted.multi_factor && !authentication.multi_factor {
            return Err(Unmet::MultiFactor);
        }
        if !attempt.contexts.is_empty() {
            let given = |asked: &String| token.contexts.iter().any(|context| **context == **asked);
            // `acr_values` is a wish (§5.5.1.1): a provider that shows the factors in `amr` instead has met it. One that was
            // demanded has to be there.
            let shown = self.client().asks == AssuranceRequest::AcrValues
                && (wanted.multi_factor || wanted.phishing_resistant)
                && !authentication.multi_factor_out_of_band;
            let met = attempt.contexts.iter().any(given)
                || config.acr_phishing_resistant.iter().any(given)
                || shown;
            if !met {
                return Err(Unmet::Context);
            }
        }
        match wanted.max_age.map(Duration::from_secs) {
            Some(max_age)
                if !is_fresh(authentication, max_age, attempt.began, config.leeway, now) =>
            {
                Err(Unmet::Fresh)
            }
            Some(_) | None => Ok(()),
        }
    }

    fn not_granted(&self, fault: &NotGranted, metadata: &ProviderMetadata) -> SignInError {
        match fault {
            NotGranted::Silent(detail) => self.unavailable(&format!("token endpoint: {detail}")),
            NotGranted::Stated(word) => match &**word {
                "invalid_grant" => SignInError::CodeRefused(Cleaned::new(word)),
                "invalid_client" | "unauthorized_client" => {
                    self.explain_refusal(metadata);
                    SignInError::ClientRefused(Cleaned::new(word))
                }
                "access_denied" => SignInError::Denied,
                "temporarily_unavailable" | "server_error" => {
                    self.unavailable(&format!("token endpoint: {}", Cleaned::new(word)))
                }
                _ => SignInError::Refused(Cleaned::new(word)),
            },
        }
    }

    /// The most frequent reason, which only the administrator can see.
    fn explain_refusal(&self, metadata: &ProviderMetadata) {
        let method = self.proof.method();
        let taken = &metadata.client_proofs;
        if !taken.is_empty() && !taken.iter().any(|taken| **taken == *method) {
            let issuer = self.name();
            tracing::warn!(
                issuer,
                method,
                "the provider does not list this way for clients to prove themselves"
            );
        }
    }

    /// A token that cannot be verified now is not a wrong one.
    pub(super) fn not_believed(&self, error: CredentialError) -> SignInError {
        match error {
            CredentialError::IssuerUnavailable { .. } => self.unavailable(&error.to_string()),
            CredentialError::Malformed(_)
            | CredentialError::Invalid(_)
            | CredentialError::Expired(_)
            | CredentialError::NotBound(_) => SignInError::Token(error),
        }
    }
}

/// Errors of the authorization endpoint: RFC 6749 §4.1.2.1, OpenID Connect Core §3.1.2.6, Unmet Authentication
/// Requirements 1.0 §2.
fn stated(error: &str) -> SignInError {
    match error {
        "access_denied" => SignInError::Denied,
        "unmet_authentication_requirements" => SignInError::Unmet(Unmet::Stated),
        "login_required"
        | "interaction_required"
        | "consent_required"
        | "account_selection_required" => SignInError::InteractionRequired(Cleaned::new(error)),
        "unauthorized_client" => SignInError::ClientRefused(Cleaned::new(error)),
        other => SignInError::Refused(Cleaned::new(other)),
    }
}

/// When the provider's word is over: with the access token, which it renews as long as it likes the account.
pub(super) fn vouched_until(
    granted: &Granted,
    token: Option<&IdToken>,
    now: Timestamp,
) -> Timestamp {
    let of_token = token.map(|token| token.expires_at.since(now));
    let lifetime = granted.expires_in.or(of_token).unwrap_or(VOUCHED);
    now.plus(lifetime.clamp(VOUCHED_LEAST, VOUCHED_MOST))
}
