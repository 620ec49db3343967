//! The claims of a token whose signature is good: are they for us, now, from this connection, and what do they say?
//!
//! RFC 7519, RFC 9068 §4, RFC 8725 §3.8 to §3.12, RFC 8705 §3.1. Types are exact; a claim of another type is never read
//! as if it were absent.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use masugata_policy::{Authentication, Principal, PrincipalKind, Timestamp};
use serde_json::Value;
use subtle::ConstantTimeEq as _;

use super::assurance::{self, Evidence};
use super::error::{BindingFault, Cleaned, CredentialError, TimeFault, TokenFault};
use super::group_names::GroupNames;
use super::identity::Identity;
use super::json::Object;
use super::jws::Header;
use super::keys::KeyPrint;
use crate::config;

/// More groups, or roles, than this are refused: leaving some out could silence a policy that forbids.
pub(super) const MAX_NAMES: usize = 1_000;
/// Longest identifier (user, group, role, `jti`, …), bytes.
const MAX_NAME_BYTES: usize = 256;
/// Most values of `aud`, `amr` and `acrs`.
pub(super) const MAX_VALUES: usize = 64;
/// 9999-12-31T23:59:59Z; no `NumericDate` means a later time.
const LAST_SECOND: i64 = 253_402_300_799;

/// The word in `token_types` for tokens without a `typ` header.
const TYPE_ABSENT: &str = "absent";
/// The word in `token_types` that admits ID Tokens.
const TYPE_ID_TOKEN: &str = "id-token";

/// Checks verified claims and reads the identity out of them.
/// # Errors: the first check that fails.
pub(super) fn accept(
    issuer: &Arc<config::Issuer>,
    group_names: &Arc<GroupNames>,
    key: KeyPrint,
    header: &Header,
    claims: &Object,
    thumbprint: Option<&[u8; 32]>,
    now: Timestamp,
) -> Result<Identity, CredentialError> {
    check_type(issuer, header, claims)?;
    check_audience(issuer, claims)?;
    let times = Times::check(issuer.leeway, claims, now)?;
    if times.expires_at.since(times.issued_at) > issuer.max_token_lifetime {
        return Err(TokenFault::Lifetime.into());
    }
    let bound_to = check_binding(claims, thumbprint)?;
    let client_id = match identifier(claims, "client_id")? {
        Some(id) => Some(id),
        None => identifier(claims, "azp")?,
    };
    let token_id = identifier(claims, "jti")?;
    if token_type(header) == "at+jwt" {
        // RFC 9068 §2.2. Several providers set the type and name the client in `azp` only, which says the same.
        required(client_id, "client_id")?;
        required(token_id, "jti")?;
    }
    let subject = required(identifier(claims, "sub")?, "sub")?;
    Ok(Identity {
        principal: principal(issuer, group_names, claims, None)?.into(),
        authentication: authentication(issuer, claims, bound_to.is_some(), now)?.into(),
        issuer: issuer.name.as_str().into(),
        subject: subject.into(),
        token_id: token_id.map(Into::into),
        session_id: identifier(claims, "sid")?.map(Into::into),
        client_id: client_id.map(Into::into),
        issued_at: times.issued_at,
        expires_at: times.expires_at,
        usable_from: times.usable_from,
        usable_until: times.usable_until,
        thumbprint: bound_to,
        key,
        vouched: Arc::clone(issuer),
        group_names: Arc::clone(group_names),
    })
}

/// `typ` in lower case and without `application/` (RFC 7515 §4.1.9), or the word for none.
pub(super) fn token_type(header: &Header) -> String {
    let Some(text) = &header.token_type else {
        return TYPE_ABSENT.to_owned();
    };
    let text = text.to_ascii_lowercase();
    match text.strip_prefix("application/") {
        Some(short) if !short.contains('/') => short.to_owned(),
        _ => text,
    }
}

fn check_type(issuer: &config::Issuer, header: &Header, claims: &Object) -> Result<(), TokenFault> {
    let accepts = |word: &str| issuer.token_types.iter().any(|accepted| accepted == word);
    let token_type = token_type(header);
    // `absent` and `id-token` are words of the configuration, not types that a token may claim.
    let claimed =
        header.token_type.is_some() && [TYPE_ABSENT, TYPE_ID_TOKEN].contains(&&*token_type);
    if claimed || !accepts(&token_type) {
        return Err(TokenFault::Type(Cleaned::new(&token_type)));
    }
    // RFC 8725 §3.12: the other kinds of tokens of the same issuer, which often share key, type and audience.
    if claims.contains_key("events") {
        return Err(TokenFault::NotAccessToken);
    }
    if is_id_token(claims) && !accepts(TYPE_ID_TOKEN) {
        return Err(TokenFault::NotAccessToken);
    }
    Ok(())
}

/// Claims that only ID Tokens have (OpenID Connect Core §2 and §3.3.2.11). Keycloak writes the kind into a claim `typ`,
/// and its older versions put `nonce` into access tokens too.
fn is_id_token(claims: &Object) -> bool {
    let kind = claims.get("typ").and_then(Value::as_str);
    let bearer = kind == Some("Bearer");
    let other_kind = matches!(kind, Some("ID" | "Refresh" | "Offline" | "Logout"));
    let hashes = ["at_hash", "c_hash", "s_hash"];
    other_kind
        || hashes.iter().any(|hash| claims.contains_key(*hash))
        || (claims.contains_key("nonce") && !bearer)
}

fn check_audience(issuer: &config::Issuer, claims: &Object) -> Result<(), TokenFault> {
    let audiences = texts(claims, "aud", MAX_VALUES)?;
    if audiences.is_empty() {
        return Err(TokenFault::ClaimMissing("aud".into()));
    }
    let ours = |audience: &&str| issuer.audiences.iter().any(|accepted| accepted == audience);
    if audiences.iter().any(ours) {
        Ok(())
    } else {
        Err(TokenFault::Audience)
    }
}

/// The times of a token that is in force.
pub(super) struct Times {
    pub(super) issued_at: Timestamp,
    pub(super) expires_at: Timestamp,
    usable_from: Timestamp,
    usable_until: Timestamp,
}

impl Times {
    /// Whether the token is in force at `now`.
    pub(super) fn check(
        leeway: Duration,
        claims: &Object,
        now: Timestamp,
    ) -> Result<Self, CredentialError> {
        let expires_at = required(instant(claims, "exp")?, "exp")?;
        let issued_at = required(instant(claims, "iat")?, "iat")?;
        let not_before = instant(claims, "nbf")?.unwrap_or(issued_at);
        if expires_at <= issued_at {
            return Err(TokenFault::Claim("exp".into()).into());
        }
        let usable_from = not_before.max(issued_at).minus(leeway);
        let usable_until = expires_at.plus(leeway);
        if now >= usable_until {
            return Err(TimeFault::Over.into());
        }
        if now < issued_at.minus(leeway) {
            return Err(TimeFault::IssuedInFuture.into());
        }
        if now < usable_from {
            return Err(TimeFault::NotYet.into());
        }
        Ok(Self {
            issued_at,
            expires_at,
            usable_from,
            usable_until,
        })
    }
}

/// RFC 8705 §3.1. Any other confirmation method is refused: a binding that nobody checks is no binding.
fn check_binding(
    claims: &Object,
    thumbprint: Option<&[u8; 32]>,
) -> Result<Option<[u8; 32]>, BindingFault> {
    let Some(confirmation) = claims.get("cnf") else {
        return Ok(None);
    };
    let confirmation = confirmation.as_object().ok_or(BindingFault::Unreadable)?;
    if confirmation.keys().any(|method| method != "x5t#S256") {
        return Err(BindingFault::UnknownMethod);
    }
    let expected: [u8; 32] = confirmation
        .get("x5t#S256")
        .and_then(Value::as_str)
        .and_then(|encoded| URL_SAFE_NO_PAD.decode(encoded).ok())
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or(BindingFault::Unreadable)?;
    let presented = thumbprint.ok_or(BindingFault::NoCertificate)?;
    if bool::from(expected.ct_eq(presented)) {
        Ok(Some(expected))
    } else {
        Err(BindingFault::OtherCertificate)
    }
}

/// The person whom verified claims describe. `groups`: ids that were asked for elsewhere, in place of those in the claims.
pub(super) fn principal(
    issuer: &config::Issuer,
    group_names: &GroupNames,
    claims: &Object,
    groups: Option<&[String]>,
) -> Result<Principal, TokenFault> {
    let names = &issuer.claims;
    let user = match at_path(claims, &names.user) {
        None => return Err(TokenFault::ClaimMissing(names.user.as_str().into())),
        Some(value) => checked_identifier(value, &names.user)?,
    };
    check_email(names, claims)?;
    let name = match at_path(claims, &names.name) {
        None | Some(Value::Null) => None,
        Some(Value::String(name)) => displayable(name),
        Some(_) => return Err(TokenFault::Claim(names.name.as_str().into())),
    };
    Ok(Principal::new(
        PrincipalKind::User,
        &format!("{}/{user}", issuer.name),
        &issuer.name,
        name.as_deref(),
        named_groups(names, group_names, claims, groups)?,
        prefixed(memberships(claims, &names.roles)?, &names.group_prefix),
    ))
}

/// An address that its holder never proved would let anybody become anybody. Providers write the word as text, too.
fn check_email(names: &config::ClaimNames, claims: &Object) -> Result<(), TokenFault> {
    let proof = match names.user.rsplit_once('.') {
        None if names.user == "email" => "email_verified".to_owned(),
        Some((path, "email")) => format!("{path}.email_verified"),
        None | Some(_) => return Ok(()),
    };
    match at_path(claims, &proof) {
        Some(Value::Bool(true)) => Ok(()),
        Some(Value::String(word)) if word == "true" => Ok(()),
        None if !names.require_verified_email => Ok(()),
        None | Some(_) => Err(TokenFault::EmailUnverified),
    }
}

pub(super) fn authentication(
    issuer: &config::Issuer,
    claims: &Object,
    certificate_bound: bool,
    now: Timestamp,
) -> Result<Authentication, CredentialError> {
    let amr = texts(claims, "amr", MAX_VALUES)?;
    let acrs = texts(claims, "acrs", MAX_VALUES)?;
    let evidence = Evidence {
        acr: identifier(claims, "acr")?,
        acrs: &acrs,
        amr: &amr,
    };
    let assurance = assurance::weigh(issuer, evidence);
    // Zero is what providers write that do not know: as if nothing were said, which satisfies no demand for freshness.
    let authenticated_at =
        instant(claims, "auth_time")?.filter(|at| *at != Timestamp::from_seconds(0));
    // Otherwise a date far ahead would count as fresh for as long as the token lives.
    if authenticated_at.is_some_and(|at| at > now.plus(issuer.leeway)) {
        return Err(TokenFault::Claim("auth_time".into()).into());
    }
    let mut authentication = Authentication::new(
        assurance.multi_factor,
        assurance.phishing_resistant,
        assurance.acr,
        amr.iter().copied(),
        authenticated_at,
        certificate_bound,
    );
    authentication.multi_factor_out_of_band = assurance.out_of_band;
    Ok(authentication)
}

pub(super) fn required<T>(claim: Option<T>, name: &'static str) -> Result<T, TokenFault> {
    claim.ok_or_else(|| TokenFault::ClaimMissing(name.into()))
}

/// A `NumericDate` (RFC 7519 §2): a number, whole or not, between 1970 and 9999.
pub(super) fn instant(
    claims: &Object,
    name: &'static str,
) -> Result<Option<Timestamp>, TokenFault> {
    let Some(value) = claims.get(name) else {
        return Ok(None);
    };
    let wrong = || TokenFault::Claim(name.into());
    let number = value.as_number().ok_or_else(wrong)?;
    if let Some(seconds) = number.as_i64() {
        return (0..=LAST_SECOND)
            .contains(&seconds)
            .then(|| Some(Timestamp::from_seconds(seconds)))
            .ok_or_else(wrong);
    }
    let seconds = number.as_f64().ok_or_else(wrong)?;
    // `f64` holds every second of that span exactly, and NaN is in no range.
    if !(0.0..=253_402_300_799.0).contains(&seconds) {
        return Err(wrong());
    }
    let millis = Duration::from_secs_f64(seconds).as_millis();
    i64::try_from(millis)
        .map(|millis| Some(Timestamp::from_millis(millis)))
        .map_err(|_| wrong())
}

/// A claim that is one identifier.
pub(super) fn identifier<'a>(
    claims: &'a Object,
    name: &'static str,
) -> Result<Option<&'a str>, TokenFault> {
    match claims.get(name) {
        None => Ok(None),
        Some(value) => checked_identifier(value, name).map(Some),
    }
}

pub(super) fn checked_identifier<'a>(value: &'a Value, name: &str) -> Result<&'a str, TokenFault> {
    let text = value
        .as_str()
        .ok_or_else(|| TokenFault::Claim(name.into()))?;
    if text.len() > MAX_NAME_BYTES {
        return Err(TokenFault::TooLarge(name.into()));
    }
    if text.is_empty() || text.chars().any(is_deceptive) {
        return Err(TokenFault::Claim(name.into()));
    }
    Ok(text)
}

/// Control characters, and those that make text read in another order than it is stored.
fn is_deceptive(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn displayable(name: &str) -> Option<String> {
    let clean: String = name
        .chars()
        .filter(|character| !is_deceptive(*character))
        .take(128)
        .collect();
    let clean = clean.trim();
    (!clean.is_empty()).then(|| clean.to_owned())
}

/// A claim that is a string or a list of strings; absent is an empty list.
pub(super) fn texts<'a>(
    claims: &'a Object,
    name: &'static str,
    limit: usize,
) -> Result<Vec<&'a str>, TokenFault> {
    claims
        .get(name)
        .map_or_else(|| Ok(Vec::new()), |value| listed(value, name, limit))
}

pub(super) fn listed<'a>(
    value: &'a Value,
    name: &str,
    limit: usize,
) -> Result<Vec<&'a str>, TokenFault> {
    match value {
        Value::Array(values) if values.len() > limit => Err(TokenFault::TooLarge(name.into())),
        Value::Array(values) => values
            .iter()
            .map(|value| checked_identifier(value, name))
            .collect(),
        Value::String(_) => checked_identifier(value, name).map(|one| vec![one]),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => {
            Err(TokenFault::Claim(name.into()))
        }
    }
}

fn named_groups(
    names: &config::ClaimNames,
    group_names: &GroupNames,
    claims: &Object,
    given: Option<&[String]>,
) -> Result<Vec<Box<str>>, TokenFault> {
    let ids = match given {
        Some(ids) if ids.len() > MAX_NAMES => {
            return Err(TokenFault::TooLarge(names.groups.as_str().into()));
        }
        Some(ids) => ids.iter().map(String::as_str).collect(),
        None => memberships(claims, &names.groups)?,
    };
    let named = ids.into_iter().map(|id| group_names.of(id));
    Ok(prefixed(named, &names.group_prefix))
}

/// With the issuer's prefix, so that a partner's `finance` is not ours.
fn prefixed<'a>(names: impl IntoIterator<Item = &'a str>, prefix: &str) -> Vec<Box<str>> {
    names
        .into_iter()
        .map(|name| format!("{prefix}{name}").into_boxed_str())
        .collect()
}

/// Groups or roles, as the issuer writes them.
fn memberships<'a>(claims: &'a Object, path: &str) -> Result<Vec<&'a str>, TokenFault> {
    if is_left_out(claims, path) {
        return Err(TokenFault::Overage(path.into()));
    }
    at_path(claims, path).map_or_else(|| Ok(Vec::new()), |value| listed(value, path, MAX_NAMES))
}

/// Entra ID replaces a long list by a pointer to where it can be asked for. Reading that as "no groups" would be wrong in
/// the dangerous direction for policies that forbid.
pub(super) fn is_left_out(claims: &Object, path: &str) -> bool {
    let pointed_at = claims
        .get("_claim_names")
        .and_then(Value::as_object)
        .is_some_and(|names| names.contains_key(path));
    let flagged = path == "groups"
        && claims
            .get("hasgroups")
            .is_some_and(|flag| flag == &Value::Bool(true) || flag == "true");
    pointed_at || flagged
}

/// The claim at a dotted path. A member whose own name has the dots comes first, so that `https://app.example/groups`
/// and `resource_access.my.client.roles` mean what their authors think.
pub(super) fn at_path<'a>(claims: &'a Object, path: &str) -> Option<&'a Value> {
    if path.is_empty() {
        return None;
    }
    if let Some(value) = claims.get(path) {
        return Some(value);
    }
    path.match_indices('.').find_map(|(dot, _)| {
        let (first, rest) = path.split_at(dot);
        let inner = claims.get(first)?.as_object()?;
        at_path(inner, rest.get(1..)?)
    })
}

#[cfg(test)]
#[path = "claims_tests.rs"]
mod tests;
