//! ID Tokens: what they must say beyond a good signature before somebody is signed in by one (OpenID Connect Core
//! §3.1.3.7), and the person in them. Access tokens have other rules, in `claims`; neither kind is taken for the other.

use std::time::Duration;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use masugata_policy::{Authentication, Principal, Timestamp};
use serde_json::Value;
use subtle::ConstantTimeEq as _;

use super::Issuer;
use super::claims::{self, MAX_VALUES, Times, identifier, required, texts};
use super::error::{Cleaned, CredentialError, TokenFault};
use super::json::Object;
use super::jws::Header;
use crate::config;

/// What the token has to agree with.
pub(crate) struct IdTokenRules<'a> {
    /// Us.
    pub(crate) client_id: &'a str,
    /// The value we sent, which the token must repeat; `None` only for a token that a refresh brought (§12.2).
    pub(crate) nonce: Option<&'a str>,
    /// The access token that came with it, for `at_hash`.
    pub(crate) access_token: &'a str,
    /// The sign-in began then; a token made before is not its answer.
    pub(crate) not_before: Timestamp,
}

/// An ID Token that passed.
pub(crate) struct IdToken {
    claims: Object,
    pub(crate) subject: Box<str>,
    /// `sid`
    pub(crate) session: Option<Box<str>>,
    pub(crate) expires_at: Timestamp,
    /// `acr` and `acrs`
    pub(crate) contexts: Vec<Box<str>>,
    pub(crate) authentication: Authentication,
}

/// The person in an ID Token and in what the UserInfo endpoint said about the same subject.
pub(crate) struct Person {
    pub(crate) principal: Principal,
    /// Lower case, and only when the provider says that it is verified.
    pub(crate) email: Option<Box<str>>,
    pub(crate) user_name: Option<Box<str>>,
}

impl Issuer {
    /// Verifies an ID Token. May wait for the issuer's keys.
    /// # Errors: why it is not believed.
    pub(crate) async fn id_token(
        &self,
        token: &str,
        rules: &IdTokenRules<'_>,
        now: Timestamp,
    ) -> Result<IdToken, CredentialError> {
        let token = self.signed(token, now).await?;
        check(&self.config, &token.header, token.claims, rules, now)
    }

    /// The person a verified token describes. `userinfo` has been found to be about the same subject; `groups` are ids
    /// that were asked for elsewhere because the token left them out.
    /// # Errors: a claim that cannot be read, or groups that were left out.
    pub(crate) fn person(
        &self,
        token: &IdToken,
        userinfo: Option<&Object>,
        groups: Option<&[String]>,
    ) -> Result<Person, TokenFault> {
        let merged = userinfo.map(|userinfo| token.merged_with(userinfo));
        let claims = merged.as_ref().unwrap_or(&token.claims);
        Ok(Person {
            principal: claims::principal(&self.config, &self.group_names, claims, groups)?,
            email: verified_email(claims),
            user_name: identifier(claims, "preferred_username")
                .ok()
                .flatten()
                .map(Into::into),
        })
    }

    /// Whether the groups of these claims were left out because there are too many.
    pub(crate) fn leaves_groups_out(&self, claims: &Object) -> bool {
        claims::is_left_out(claims, &self.config.claims.groups)
    }

    /// Whether these claims have groups at all.
    pub(crate) fn names_groups(&self, claims: &Object) -> bool {
        claims::at_path(claims, &self.config.claims.groups).is_some()
    }
}

impl IdToken {
    pub(crate) fn claims(&self) -> &Object {
        &self.claims
    }

    /// The text of a claim, at a dotted path.
    pub(crate) fn text(&self, path: &str) -> Option<&str> {
        claims::at_path(&self.claims, path).and_then(Value::as_str)
    }

    /// The token's claims, and from UserInfo those that it lacks. An address and the word that it is verified stay
    /// together: one half from each would prove nothing.
    fn merged_with(&self, userinfo: &Object) -> Object {
        let mut merged = userinfo.clone();
        if self.claims.contains_key("email") {
            merged.remove("email_verified");
        }
        let address_from_userinfo =
            userinfo.contains_key("email") && !self.claims.contains_key("email");
        for (name, value) in &self.claims {
            if name == "email_verified" && address_from_userinfo {
                continue;
            }
            merged.insert(name.clone(), value.clone());
        }
        // What the token left out is there now, if UserInfo has it and does not leave it out itself.
        for marker in ["_claim_names", "_claim_sources", "hasgroups"] {
            if self.claims.contains_key(marker) {
                match userinfo.get(marker) {
                    Some(theirs) => merged.insert(marker.to_owned(), theirs.clone()),
                    None => merged.remove(marker),
                };
            }
        }
        merged
    }
}

fn verified_email(claims: &Object) -> Option<Box<str>> {
    let verified = match claims.get("email_verified") {
        Some(Value::Bool(verified)) => *verified,
        Some(Value::String(word)) => word == "true",
        None | Some(Value::Null | Value::Number(_) | Value::Array(_) | Value::Object(_)) => false,
    };
    let email = identifier(claims, "email").ok().flatten();
    email
        .filter(|_| verified)
        .map(|email| email.to_ascii_lowercase().into_boxed_str())
}

fn check(
    issuer: &config::Issuer,
    header: &Header,
    claims: Object,
    rules: &IdTokenRules<'_>,
    now: Timestamp,
) -> Result<IdToken, CredentialError> {
    check_kind(header, &claims)?;
    check_audience(issuer, &claims, rules.client_id)?;
    let times = Times::check(issuer.leeway, &claims, now)?;
    if times.issued_at < rules.not_before.minus(issuer.leeway) {
        return Err(TokenFault::Claim("iat".into()).into());
    }
    if let Some(nonce) = rules.nonce {
        let theirs = required(identifier(&claims, "nonce")?, "nonce")?;
        if !bool::from(theirs.as_bytes().ct_eq(nonce.as_bytes())) {
            return Err(TokenFault::Nonce.into());
        }
    }
    check_access_token(header, &claims, rules.access_token)?;
    let subject = required(identifier(&claims, "sub")?, "sub")?.into();
    let session = identifier(&claims, "sid")?.map(Into::into);
    let mut contexts: Vec<Box<str>> = Vec::new();
    contexts.extend(identifier(&claims, "acr")?.map(Into::into));
    contexts.extend(
        texts(&claims, "acrs", MAX_VALUES)?
            .into_iter()
            .map(Into::into),
    );
    let authentication = claims::authentication(issuer, &claims, false, now)?;
    Ok(IdToken {
        subject,
        session,
        expires_at: times.expires_at,
        contexts,
        authentication,
        claims,
    })
}

/// RFC 8725 §3.12: no other kind of token that the same key signs for the same audience is an ID Token.
fn check_kind(header: &Header, claims: &Object) -> Result<(), TokenFault> {
    let kind = claims::token_type(header);
    if header.token_type.is_some() && kind != "jwt" {
        return Err(TokenFault::Type(Cleaned::new(&kind)));
    }
    // Keycloak's own word for the kind.
    let word = claims.get("typ").and_then(Value::as_str);
    if claims.contains_key("events") || word.is_some_and(|word| word != "ID" && word != "JWT") {
        return Err(TokenFault::NotIdToken);
    }
    Ok(())
}

/// §3.1.3.7, 3 to 5: for us, for nobody whom we do not know, and issued to us.
pub(super) fn check_audience(
    issuer: &config::Issuer,
    claims: &Object,
    client_id: &str,
) -> Result<(), TokenFault> {
    let audiences = texts(claims, "aud", MAX_VALUES)?;
    if audiences.is_empty() {
        return Err(TokenFault::ClaimMissing("aud".into()));
    }
    let known = |audience: &&str| {
        *audience == client_id || issuer.audiences.iter().any(|ours| ours == audience)
    };
    if !audiences.contains(&client_id) || !audiences.iter().all(|audience| known(audience)) {
        return Err(TokenFault::Audience);
    }
    match identifier(claims, "azp")? {
        Some(party) if party != client_id => Err(TokenFault::AuthorizedParty),
        None if audiences.len() > 1 => Err(TokenFault::ClaimMissing("azp".into())),
        Some(_) | None => Ok(()),
    }
}

/// §3.1.3.6: the left half of the hash that the token's own algorithm uses.
fn check_access_token(header: &Header, claims: &Object, token: &str) -> Result<(), TokenFault> {
    let Some(theirs) = identifier(claims, "at_hash")? else {
        return Ok(());
    };
    let algorithm = match header.algorithm.as_str() {
        "ES384" | "RS384" | "PS384" => &digest::SHA384,
        "RS512" | "PS512" | "EdDSA" | "Ed25519" => &digest::SHA512,
        _ => &digest::SHA256,
    };
    let hash = digest::digest(algorithm, token.as_bytes());
    let (left, _) = hash.as_ref().split_at(hash.as_ref().len() / 2);
    if URL_SAFE_NO_PAD.encode(left) == theirs {
        Ok(())
    } else {
        Err(TokenFault::AccessTokenHash)
    }
}

/// Whether the person proved who they are as recently as was asked: within `max_age` of now, or during this very sign-in.
pub(crate) fn is_fresh(
    authentication: &Authentication,
    max_age: Duration,
    began: Timestamp,
    leeway: Duration,
    now: Timestamp,
) -> bool {
    authentication.authenticated_at.is_some_and(|at| {
        now.since(at) <= max_age.saturating_add(leeway) || at >= began.minus(leeway)
    })
}
