//! The gateway as a client of OpenID providers: people leave for their provider with a question, and come back with an
//! answer that is believed only after every check of OpenID Connect Core §3.1.3.7.
//!
//! The `oauth2` crate writes the protocol's messages; tokens are verified in [`crate::issuer`], by the same keys and the
//! same strict reader as access tokens (see `docs/adr/0007`). Nothing here knows cookies, sessions or pages.

mod error;

use std::sync::Arc;

use masugata_policy::{Authentication, Principal, Timestamp};
use secrecy::SecretString;

use crate::capability::Entropy;
use crate::respond::Language;

pub use error::{SignInError, Unmet, Words};

/// Providers at which people can sign in, in the order of the configuration. Belongs to one generation of it.
#[derive(Default)]
pub struct Providers {
    list: Vec<Arc<Provider>>,
}

/// One `[[issuer]]` with sign-in.
pub struct Provider {
    name: Box<str>,
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
    pub fn for_email(&self, _email: &str) -> Option<&Arc<Provider>> {
        None
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
        _token: &str,
        _now: Timestamp,
    ) -> Result<LogoutNotice, LogoutFault> {
        Err(LogoutFault::ProviderUnknown(issuer_name.into()))
    }
}

impl Provider {
    /// The issuer's configured name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What people call it.
    pub fn label(&self) -> &str {
        &self.name
    }

    /// Whether it is our own.
    pub fn is_built_in(&self) -> bool {
        false
    }

    /// Begins a sign-in: the attempt to keep, and the URL to send the browser to.
    /// # Errors: the provider cannot be asked.
    pub async fn begin(
        &self,
        _wanted: Wanted,
        _redirect_uri: &str,
        _entropy: &dyn Entropy,
        _now: Timestamp,
    ) -> Result<(Attempt, String), SignInError> {
        Err(SignInError::TimedOut)
    }

    /// Ends it: `query` is what the browser brought back, as received.
    /// # Errors: why nobody is signed in; the attempt is used up either way.
    pub async fn complete(
        &self,
        _attempt: Attempt,
        _query: &str,
        _now: Timestamp,
    ) -> Result<SignedIn, SignInError> {
        Err(SignInError::TimedOut)
    }

    /// Asks the provider whether it still vouches for the person of `subject` (`sub`).
    /// # Errors: it does not, or cannot be asked.
    pub async fn refresh(
        &self,
        _token: &SecretString,
        _subject: &str,
        _now: Timestamp,
    ) -> Result<Refreshed, RefreshError> {
        Err(RefreshError::Unreachable("".into()))
    }

    /// Tells the provider that a refresh token will not be used any more (RFC 7009), where it wants to know.
    pub async fn revoke(&self, _token: &SecretString) {}

    /// Where to send a browser that signed out here, so that the provider forgets it too (OpenID Connect RP-Initiated
    /// Logout §2); `None`: the provider has no such page. `back_to` must be registered there.
    pub fn sign_out_url(
        &self,
        _id_token: Option<&SecretString>,
        _back_to: &str,
        _state: &str,
    ) -> Option<String> {
        None
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
