//! A session as it is kept in the file: everything but its secrets, which are sealed beside it, and when it was last used,
//! which changes too often.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64};

use arc_swap::ArcSwap;
use masugata_policy::{Authentication, Credential, Principal, PrincipalKind, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Asked, Session, SessionId};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    family: String,
    principal: Person,
    authentication: Proof,
    issuer: Box<str>,
    issuer_url: Box<str>,
    subject: Box<str>,
    provider_session: Option<Box<str>>,
    email: Option<Box<str>>,
    user_name: Option<Box<str>>,
    device: Box<str>,
    thumbprint: [u8; 32],
    signed_in_at: i64,
    /// The provider is asked again from time to time.
    refreshes: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Person {
    id: Box<str>,
    issuer: Box<str>,
    name: Option<Box<str>>,
    groups: Vec<Box<str>>,
    roles: Vec<Box<str>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Proof {
    multi_factor: bool,
    multi_factor_out_of_band: bool,
    phishing_resistant: bool,
    acr: Option<Box<str>>,
    amr: Vec<Box<str>>,
    authenticated_at: Option<i64>,
}

/// As JSON.
pub(super) fn written(session: &Session) -> Vec<u8> {
    let (principal, proof) = (session.principal(), &session.authentication);
    let kept = Kept {
        family: session.family.to_string(),
        principal: Person {
            id: principal.id().into(),
            issuer: principal.issuer().into(),
            name: principal.name().map(Into::into),
            groups: principal.groups().to_vec(),
            roles: principal.roles().to_vec(),
        },
        authentication: Proof {
            multi_factor: proof.multi_factor,
            multi_factor_out_of_band: proof.multi_factor_out_of_band,
            phishing_resistant: proof.phishing_resistant,
            acr: proof.acr.clone(),
            amr: proof.amr.clone(),
            authenticated_at: proof.authenticated_at.map(Timestamp::as_millis),
        },
        issuer: session.issuer.clone(),
        issuer_url: session.issuer_url.clone(),
        subject: session.subject.clone(),
        provider_session: session.provider_session.clone(),
        email: session.email.clone(),
        user_name: session.user_name.clone(),
        device: session.device.clone(),
        thumbprint: session.thumbprint,
        signed_in_at: session.signed_in_at.as_millis(),
        refreshes: session.refresh_at() < Timestamp::MAX,
    };
    // Strings, numbers and lists always serialise.
    serde_json::to_vec(&kept).unwrap_or_default()
}

/// What of a session changes with its use: milliseconds since the epoch, and milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Use {
    pub(super) last_used: i64,
    pub(super) widest_gap: i64,
}

/// The session that was written so. `None`: it cannot be read.
pub(super) fn read(id: SessionId, text: &[u8], used: Option<Use>) -> Option<Session> {
    let kept: Kept = serde_json::from_slice(text).ok()?;
    let used = used.unwrap_or_default();
    let proof = kept.authentication;
    let at = proof.authenticated_at.map(Timestamp::from_millis);
    let mut authentication = bound(
        proof.multi_factor,
        proof.phishing_resistant,
        (proof.acr.as_deref(), proof.amr),
        at,
    );
    authentication.multi_factor_out_of_band = proof.multi_factor_out_of_band;
    let person = kept.principal;
    let principal = Principal::new(
        PrincipalKind::User,
        &person.id,
        &person.issuer,
        person.name.as_deref(),
        person.groups,
        person.roles,
    );
    Some(Session {
        id,
        family: SessionId::parse(&kept.family)?,
        principal: ArcSwap::from_pointee(principal),
        authentication: Arc::new(authentication),
        issuer: kept.issuer,
        issuer_url: kept.issuer_url,
        subject: kept.subject,
        provider_session: kept.provider_session,
        email: kept.email,
        user_name: kept.user_name,
        device: kept.device,
        thumbprint: kept.thumbprint,
        signed_in_at: Timestamp::from_millis(kept.signed_in_at),
        asked: Asked::default(),
        last_used: AtomicI64::new(used.last_used.max(kept.signed_in_at)),
        widest_gap: AtomicI64::new(used.widest_gap),
        refresh_at: AtomicI64::new(if kept.refreshes { 0 } else { i64::MAX }),
        ended: AtomicBool::new(false),
    })
}

/// How a session's person proved themselves: bound to the certificate, because the session is.
fn bound(
    multi_factor: bool,
    phishing_resistant: bool,
    (acr, amr): (Option<&str>, Vec<Box<str>>),
    at: Option<Timestamp>,
) -> Authentication {
    Authentication::new(multi_factor, phishing_resistant, acr, amr, at, true)
        .with_credential(Credential::Session)
}

/// The same, of a sign-in that was verified now.
pub(super) fn bound_to_device(proof: &Authentication) -> Authentication {
    let names = (proof.acr.as_deref(), proof.amr.clone());
    let mut bound = bound(
        proof.multi_factor,
        proof.phishing_resistant,
        names,
        proof.authenticated_at,
    );
    bound.multi_factor_out_of_band = proof.multi_factor_out_of_band;
    bound
}
