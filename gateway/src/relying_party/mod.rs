//! The gateway as a client of OpenID providers: people leave for their provider with a question, and come back with an
//! answer that is believed only after every check of OpenID Connect Core §3.1.3.7.
//!
//! The `oauth2` crate writes the protocol's messages; tokens are verified in [`crate::issuer`], by the same keys and the
//! same strict reader as access tokens (see `docs/adr/0007`). Nothing here knows cookies, sessions or pages.

mod begin;
mod build;
mod callback;
mod complete;
mod error;
mod exchange;
mod groups;
mod proof;
mod refresh;
mod tables;

#[cfg(test)]
mod attacks;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use masugata_policy::{Authentication, Principal, Timestamp};
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use crate::capability::Entropy;
use crate::config::KeySource;
use crate::config::sign_in::Client;
use crate::issuer::{Issuer, ProviderError, ProviderMetadata, Published, Transport};
use crate::respond::Language;

use proof::{Proof, Shown, SigningFault};
use tables::Tables;

pub use error::{SignInError, Unmet, Words};

/// Longest ID Token that goes into the URL of a sign-out, bytes; servers refuse longer URLs, and `client_id` is there too.
const MAX_HINT_BYTES: usize = 4096;

/// Providers at which people can sign in, in the order of the configuration. Belongs to one generation of it.
#[derive(Default)]
pub struct Providers {
    list: Vec<Arc<Provider>>,
}

/// One `[[issuer]]` with sign-in.
pub struct Provider {
    issuer: Arc<Issuer>,
    client: Client,
    proof: Proof,
    transport: Transport,
    entropy: Arc<dyn Entropy>,
    tables: Arc<Tables>,
    /// Where Microsoft Graph is; tests have their own.
    graph: Box<str>,
}

/// What a sign-in has to bring.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Context classes to ask for, in order of preference; empty: what the flags below need.
    pub acr_values: Vec<String>,
    /// Seconds since the person last proved who they are; 0: now.
    pub max_age: Option<u64>,
    pub phishing_resistant: bool,
    pub multi_factor: bool,
    /// Who it probably is; the provider may fill in the name.
    pub login_hint: Option<String>,
    pub language: Language,
}

/// A sign-in under way: what the answer is compared with. Good for one answer, within ten minutes; kept in memory only,
/// by the caller, under the browser's own secret.
pub struct Attempt {
    issuer: Box<str>,
    state: SecretString,
    nonce: SecretString,
    /// PKCE (RFC 7636 §4.1)
    verifier: SecretString,
    redirect_uri: String,
    began: Timestamp,
    wanted: Wanted,
    /// Context classes that were asked for, `acr` or `acrs`.
    contexts: Vec<String>,
    /// The provider said that its answers say whose they are.
    names_itself: bool,
}

/// A person as the provider vouches for them.
pub struct SignedIn {
    pub principal: Arc<Principal>,
    pub authentication: Arc<Authentication>,
    /// `sub`, as received: together with the issuer it names the person for ever.
    pub subject: Box<str>,
    /// `sid`, the session at the provider.
    pub provider_session: Option<Box<str>>,
    /// A verified address, lower case.
    pub email: Option<Box<str>>,
    /// `preferred_username`.
    pub user_name: Option<Box<str>>,
    /// For the hint at sign-out.
    pub id_token: SecretString,
    /// Only where the configuration says `refresh`.
    pub refresh_token: Option<SecretString>,
    /// When the provider's own word is over and it should be asked again with the refresh token.
    pub vouched_until: Timestamp,
}

/// What asking again brought.
pub struct Refreshed {
    /// The token for the next time; the one used is worth nothing any more. `None`: the same goes on.
    pub refresh_token: Option<SecretString>,
    /// A newer ID Token, and the person as it says (groups may have changed); `None`: the provider sent none.
    pub id_token: Option<SecretString>,
    pub principal: Option<Arc<Principal>>,
    /// When to ask again.
    pub vouched_until: Timestamp,
}

/// Why asking again brought nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RefreshError {
    /// The provider says no (the account is disabled, the session there is over): the session ends.
    #[error("the provider does not vouch any more: {0}")]
    Gone(Box<str>),
    /// A token that had been replaced was used or sent again: somebody has a copy. The session ends, with an alert.
    #[error("a refresh token came back that had been replaced")]
    Reused,
    /// Nobody knows: the session goes on until its own end.
    #[error("the provider cannot be asked: {0}")]
    Unreachable(Box<str>),
}

/// A provider says that somebody signed out there (OpenID Connect Back-Channel Logout §2.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogoutNotice {
    /// The configured name of the issuer.
    pub issuer: Box<str>,
    /// `sub`: all sessions of this person, unless `session` narrows it.
    pub subject: Option<Box<str>>,
    /// `sid`: only this session.
    pub session: Option<Box<str>>,
    /// `jti`
    pub token_id: Box<str>,
}

/// Why a logout token is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogoutFault {
    #[error("no provider `{0}` at which people sign in")]
    ProviderUnknown(Box<str>),
    #[error("{0}")]
    Token(#[from] crate::issuer::CredentialError),
    #[error("the logout token was received before")]
    Replayed,
}

impl Providers {
    /// All of them.
    pub fn all(&self) -> &[Arc<Provider>] {
        &self.list
    }

    /// The one of that configured name.
    pub fn by_issuer_name(&self, name: &str) -> Option<&Arc<Provider>> {
        self.list.iter().find(|provider| provider.name() == name)
    }

    /// The one for addresses in that domain.
    pub fn for_email(&self, email: &str) -> Option<&Arc<Provider>> {
        let (_, domain) = email.trim().rsplit_once('@')?;
        self.list.iter().find(|provider| {
            let domains = &provider.client.email_domains;
            domains.iter().any(|own| own.eq_ignore_ascii_case(domain))
        })
    }

    /// Those that an app accepts (`requirements.issuers`; empty: all).
    pub fn for_app(&self, accepted: &[String]) -> Vec<&Arc<Provider>> {
        self.list
            .iter()
            .filter(|it| accepted.is_empty() || accepted.iter().any(|name| name == it.name()))
            .collect()
    }

    /// Verifies a logout token that was posted for the issuer of that configured name.
    /// # Errors: why nobody is signed out by it.
    pub async fn logout_token(
        &self,
        issuer_name: &str,
        token: &str,
        now: Timestamp,
    ) -> Result<LogoutNotice, LogoutFault> {
        let provider = self
            .by_issuer_name(issuer_name)
            .ok_or_else(|| LogoutFault::ProviderUnknown(issuer_name.into()))?;
        let client_id = &provider.client.client_id;
        let token = provider.issuer.logout_token(token, client_id, now).await?;
        if !provider
            .tables
            .is_first(&token.token_id, token.over_at, now)
        {
            return Err(LogoutFault::Replayed);
        }
        Ok(LogoutNotice {
            issuer: issuer_name.into(),
            subject: token.subject,
            session: token.session,
            token_id: token.token_id,
        })
    }
}

impl Provider {
    /// The issuer's configured name.
    pub fn name(&self) -> &str {
        &self.issuer.config().name
    }

    /// What people call it.
    pub fn label(&self) -> &str {
        &self.client.label
    }

    /// Whether it is our own.
    pub fn is_built_in(&self) -> bool {
        self.issuer.config().keys == KeySource::BuiltIn
    }

    /// Begins a sign-in: the attempt to keep, and the URL to send the browser to.
    /// # Errors: the provider cannot be asked.
    pub async fn begin(
        &self,
        wanted: Wanted,
        redirect_uri: &str,
        entropy: &dyn Entropy,
        now: Timestamp,
    ) -> Result<(Attempt, String), SignInError> {
        self.ask(wanted, redirect_uri, entropy, now).await
    }

    /// Ends it: `query` is what the browser brought back, as received, without `?`.
    /// # Errors: why nobody is signed in; the attempt is used up either way.
    pub async fn complete(
        &self,
        attempt: Attempt,
        query: &str,
        now: Timestamp,
    ) -> Result<SignedIn, SignInError> {
        self.answer(attempt, query, now).await
    }

    /// Asks the provider whether it still vouches for the person of `subject` (`sub`). One call at a time for each token.
    /// # Errors: it does not, or cannot be asked.
    pub async fn refresh(
        &self,
        token: &SecretString,
        subject: &str,
        now: Timestamp,
    ) -> Result<Refreshed, RefreshError> {
        self.ask_again(token, subject, now).await
    }

    /// Tells the provider that a refresh token will not be used any more (RFC 7009), where it wants to know.
    pub async fn revoke(&self, token: &SecretString, now: Timestamp) {
        self.give_back(token, now).await;
    }

    /// Where to send a browser that signed out here, so that the provider forgets it too (OpenID Connect RP-Initiated
    /// Logout §2); `None`: the provider has no such page. `back_to` must be registered there.
    pub fn sign_out_url(
        &self,
        id_token: Option<&SecretString>,
        back_to: &str,
        state: &str,
    ) -> Option<String> {
        let published = self.issuer.provider_as_known()?;
        let endpoint = published.metadata().ok()?.end_session.as_ref()?;
        let mut url = Url::parse(&endpoint.url).ok()?;
        let hint = id_token
            .map(|token| token.expose_secret())
            .filter(|token| !token.is_empty() && token.len() <= MAX_HINT_BYTES);
        let mut query = url.query_pairs_mut();
        if let Some(hint) = hint {
            query.append_pair("id_token_hint", hint);
        }
        query
            .append_pair("client_id", &self.client.client_id)
            .append_pair("post_logout_redirect_uri", back_to)
            .append_pair("state", state);
        drop(query);
        Some(url.into())
    }

    fn client(&self) -> &Client {
        &self.client
    }

    async fn published(&self, now: Timestamp) -> Result<Published, SignInError> {
        self.issuer
            .provider(now)
            .await
            .map_err(|error| match error {
                ProviderError::Unavailable => self.unavailable(&error.to_string()),
                ProviderError::Fault(_) => self.metadata_fault(&error.to_string()),
            })
    }

    fn show(&self, metadata: &ProviderMetadata, now: Timestamp) -> Result<Shown, SigningFault> {
        let issuer = &self.issuer.config().issuer;
        let client_id = &self.client.client_id;
        self.proof
            .show(client_id, issuer, metadata, &*self.entropy, now)
    }

    fn unavailable(&self, detail: &str) -> SignInError {
        SignInError::Unavailable {
            provider: self.name().into(),
            detail: detail.into(),
        }
    }

    fn metadata_fault(&self, detail: &str) -> SignInError {
        SignInError::Metadata {
            provider: self.name().into(),
            detail: detail.into(),
        }
    }
}

impl Attempt {
    /// The configured name of the issuer that was asked.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The `state` parameter, for finding the attempt among several of one browser; the answer's is compared with it by
    /// [`Provider::complete`] all the same.
    pub fn state(&self) -> &SecretString {
        &self.state
    }
}
