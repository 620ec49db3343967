//! What a verified token says: who, proved how, until when. Built once per token and shared.

use std::sync::Arc;

use super::group_names::GroupNames;
use super::keys::KeyPrint;
use crate::config;
use masugata_policy::{Authentication, Principal, Timestamp};

/// A person, or a program with a token, as a configured issuer vouches for them. Holds no token text.
#[derive(Debug)]
pub struct Identity {
    pub(super) principal: Arc<Principal>,
    pub(super) authentication: Arc<Authentication>,
    pub(super) issuer: Arc<str>,
    pub(super) subject: Box<str>,
    pub(super) token_id: Option<Box<str>>,
    pub(super) session_id: Option<Box<str>>,
    pub(super) client_id: Option<Box<str>>,
    pub(super) issued_at: Timestamp,
    pub(super) expires_at: Timestamp,
    /// With the configured leeway: from this instant …
    pub(super) usable_from: Timestamp,
    /// … until just before this one.
    pub(super) usable_until: Timestamp,
    pub(super) thumbprint: Option<[u8; 32]>,
    /// The key that signed it.
    pub(super) key: KeyPrint,
    /// The issuer as it was configured then.
    pub(super) vouched: Arc<config::Issuer>,
    /// What it called groups then.
    pub(super) group_names: Arc<GroupNames>,
}

impl Identity {
    /// Who, as policies see them; tokens of the same person with the same groups share it.
    pub fn principal(&self) -> &Arc<Principal> {
        &self.principal
    }
    /// How they proved it.
    pub fn authentication(&self) -> &Arc<Authentication> {
        &self.authentication
    }
    /// The configured name of the issuer.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }
    /// `sub`, as received.
    pub fn subject(&self) -> &str {
        &self.subject
    }
    /// `jti`.
    pub fn token_id(&self) -> Option<&str> {
        self.token_id.as_deref()
    }
    /// `sid`, the session at the issuer.
    pub fn session_id(&self) -> Option<&str> {
        self.session_id.as_deref()
    }
    /// The OAuth client that obtained the token: `client_id`, else `azp`.
    pub fn client_id(&self) -> Option<&str> {
        self.client_id.as_deref()
    }
    /// `iat`
    pub fn issued_at(&self) -> Timestamp {
        self.issued_at
    }
    /// `exp`, without leeway.
    pub fn expires_at(&self) -> Timestamp {
        self.expires_at
    }
    /// The first instant at which the token is refused: `exp` and the configured leeway.
    pub fn usable_until(&self) -> Timestamp {
        self.usable_until
    }
    /// SHA-256 of the certificate the token is bound to (RFC 8705 §3.1); it was compared with the connection's.
    pub fn certificate_thumbprint(&self) -> Option<&[u8; 32]> {
        self.thumbprint.as_ref()
    }

    /// Whether the token's own times permit its use at `now`.
    pub fn is_usable(&self, now: Timestamp) -> bool {
        self.usable_from <= now && now < self.usable_until
    }
}
