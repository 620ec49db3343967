//! Tokens that were verified already, and a few that were refused a moment ago.
//!
//! The key is SHA-256 over a secret of this process, the client certificate and the whole token: it cannot be computed
//! outside, holds no token, and a token on another connection's certificate is another key. Nothing is ever purged; each
//! entry says under which keys and which epoch it was verified, and is worth nothing once either has changed.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;
use masugata_policy::Timestamp;
use quick_cache::sync::Cache;

use super::error::CredentialError;
use super::identity::Identity;
use super::jws::MAX_TOKEN_BYTES;
use crate::capability::Entropy;

/// Tokens in use at once; the least used make room.
const VERIFIED: usize = 32_768;

/// Refused tokens kept, and for how long: enough to make a repeated bad token cheap, too short to matter to a good one.
const REFUSED: usize = 1_024;
const REFUSED_FOR: Duration = Duration::from_secs(5);

/// What names a token on a certificate.
pub(super) type Key = [u8; 32];

/// See the module's first lines.
pub(super) struct TokenCache {
    /// SHA-256 that has taken in the secret.
    keyed: digest::Context,
    verified: Cache<Key, Arc<Verified>>,
    refused: Cache<Key, Arc<Refused>>,
}

/// A token that was good.
pub(super) struct Verified {
    pub(super) identity: Arc<Identity>,
    /// Place of the issuer in the configuration.
    pub(super) issuer: usize,
    /// Of the issuer's keys.
    pub(super) revision: u64,
    /// Read before the verification began.
    pub(super) epoch: u64,
}

/// A token that was bad.
pub(super) struct Refused {
    pub(super) error: CredentialError,
    pub(super) issuer: usize,
    pub(super) revision: u64,
    pub(super) at: Timestamp,
}

impl TokenCache {
    pub(super) fn new(entropy: &dyn Entropy) -> Self {
        // One whole block of SHA-256, so that taking it in is done once.
        let mut secret = [0; 64];
        entropy.fill(&mut secret);
        let mut keyed = digest::Context::new(&digest::SHA256);
        keyed.update(&secret);
        Self {
            keyed,
            verified: Cache::new(VERIFIED),
            refused: Cache::new(REFUSED),
        }
    }

    /// `None` for a token that is too long to be one.
    pub(super) fn key(&self, token: &str, thumbprint: Option<&[u8; 32]>) -> Option<Key> {
        if token.len() > MAX_TOKEN_BYTES {
            return None;
        }
        let mut hash = self.keyed.clone();
        match thumbprint {
            Some(thumbprint) => {
                hash.update(&[1]);
                hash.update(thumbprint);
            }
            None => hash.update(&[0]),
        }
        hash.update(token.as_bytes());
        hash.finish().as_ref().try_into().ok()
    }

    pub(super) fn verified(&self, key: &Key) -> Option<Arc<Verified>> {
        self.verified.get(key)
    }

    pub(super) fn remember(&self, key: Key, verified: Verified) {
        self.verified.insert(key, Arc::new(verified));
    }

    /// Why the token was refused within the last seconds, under keys of `revision`.
    pub(super) fn refused(
        &self,
        key: &Key,
        now: Timestamp,
        revision: impl FnOnce(usize) -> Option<u64>,
    ) -> Option<CredentialError> {
        let refused = self.refused.get(key)?;
        let recent = refused.at <= now && now.since(refused.at) < REFUSED_FOR;
        (recent && revision(refused.issuer) == Some(refused.revision))
            .then(|| refused.error.clone())
    }

    pub(super) fn remember_refusal(&self, key: Key, refused: Refused) {
        self.refused.insert(key, Arc::new(refused));
    }
}
