//! Logout tokens: a provider's word that somebody signed out there (OpenID Connect Back-Channel Logout 1.0 §2.4 to §2.6).
//! They are signed like ID Tokens, for the same audience; the rules here keep each kind from passing for the other.

use std::time::Duration;

use masugata_policy::Timestamp;
use serde_json::Value;

use super::Issuer;
use super::claims::{self, Times, identifier, required};
use super::error::{Cleaned, CredentialError, TimeFault, TokenFault};
use super::id_token;
use super::json::Object;
use super::jws::Header;
use crate::config;

/// The one member of `events` that makes it a logout token.
const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

/// How old a logout token may be, whatever it says itself: for so long its `jti` is remembered.
pub(crate) const WINDOW: Duration = Duration::from_secs(600);

/// A logout token that passed; whether it was received before is for the caller to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogoutToken {
    pub(crate) subject: Option<Box<str>>,
    pub(crate) session: Option<Box<str>>,
    pub(crate) token_id: Box<str>,
    /// From then on it would be refused for its age.
    pub(crate) over_at: Timestamp,
}

impl Issuer {
    /// Verifies a logout token for `client_id`. May wait for the issuer's keys.
    /// # Errors: why nobody is signed out by it.
    pub(crate) async fn logout_token(
        &self,
        token: &str,
        client_id: &str,
        now: Timestamp,
    ) -> Result<LogoutToken, CredentialError> {
        let token = self.signed(token, now).await?;
        check(&self.config, &token.header, &token.claims, client_id, now)
    }
}

fn check(
    issuer: &config::Issuer,
    header: &Header,
    claims: &Object,
    client_id: &str,
    now: Timestamp,
) -> Result<LogoutToken, CredentialError> {
    let kind = claims::token_type(header);
    // §2.4 recommends the type without demanding it; the event and the missing nonce tell the kinds apart as well.
    if header.token_type.is_some() && kind != "logout+jwt" && kind != "jwt" {
        return Err(TokenFault::Type(Cleaned::new(&kind)).into());
    }
    let is_logout = claims
        .get("events")
        .and_then(Value::as_object)
        .and_then(|events| events.get(EVENT))
        .is_some_and(Value::is_object);
    if !is_logout || claims.contains_key("nonce") {
        return Err(TokenFault::NotLogoutToken.into());
    }
    id_token::check_audience(issuer, claims, client_id)?;
    let times = Times::check(issuer.leeway, claims, now)?;
    let over_at = times.issued_at.plus(WINDOW).plus(issuer.leeway);
    if now >= over_at {
        return Err(TimeFault::Over.into());
    }
    let token_id = required(identifier(claims, "jti")?, "jti")?.into();
    let subject: Option<Box<str>> = identifier(claims, "sub")?.map(Into::into);
    let session: Option<Box<str>> = identifier(claims, "sid")?.map(Into::into);
    if subject.is_none() && session.is_none() {
        return Err(TokenFault::ClaimMissing("sub".into()).into());
    }
    Ok(LogoutToken {
        subject,
        session,
        token_id,
        over_at,
    })
}
