//! Who vouches for people: bearer tokens in, verified identities out.
//!
//! A token's way: `jws` takes it apart, `iss` picks one configured issuer, `keys` of that issuer check the signature,
//! `claims` checks everything else and [`assurance`] weighs how well the person proved who they are. `source` keeps
//! the keys, `fetch` and `discovery` get them, `cache` sees to it that no token is verified twice. [`challenge`] and
//! [`metadata`] tell clients what they should have sent.
//!
//! The signature library is aws-lc, called directly: the header and claims have to be read more strictly than a JWT
//! library reads them (repeated members, one spelling, own clock), which leaves only the signature, and a key that is
//! parsed once is cheaper there. `jsonwebtoken` names the algorithms and is the second opinion in the tests.

pub mod assurance;
#[cfg(test)]
mod attacks;
mod build;
mod cache;
pub mod challenge;
mod claims;
mod discovery;
mod error;
mod fetch;
mod group_names;
mod id_token;
mod identity;
mod json;
mod jws;
mod keys;
mod logout_token;
pub mod metadata;
mod provider;
#[cfg(test)]
mod provider_tests;
mod source;
#[cfg(test)]
pub(crate) mod testing;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use masugata_policy::{Principal, Timestamp};
use quick_cache::sync::Cache;
use serde_json::Value;

use crate::config;
use crate::denial::{Denial, DenialReason};

pub use assurance::AssuranceShortfall;
pub use error::{BindingFault, Cleaned, CredentialError, TimeFault, TokenFault};
pub(crate) use fetch::{
    Answer, FetchError, Location, Question, Transport, WallTime, roots_from_pem, system_roots,
};
pub use fetch::{Local, LocalAnswer};
pub(crate) use id_token::{IdToken, IdTokenRules, Person, is_fresh};
pub use identity::Identity;
pub(crate) use json::{Object, parse_object};
pub use jws::MAX_TOKEN_BYTES;
pub(crate) use provider::{Endpoint, ProviderError, ProviderMetadata};

use cache::{Refused, TokenCache, Verified};
use group_names::GroupNames;
use jws::Unverified;
use keys::KeyPrint;
use source::{KeySource, Snapshot};

/// The configured issuers with their keys, and the tokens they vouched for lately. Belongs to one generation of the
/// configuration; fetched keys live on in the next.
pub struct Issuers {
    issuers: Vec<Arc<Issuer>>,
    tokens: TokenCache,
    /// The last principal of each id, so that a new token of the same person is the same person to later decisions.
    principals: Cache<Box<str>, Arc<Principal>>,
    epoch: AtomicU64,
}

/// One of them.
pub(crate) struct Issuer {
    config: Arc<config::Issuer>,
    /// The same for tokens and for sessions, so that policies see the same person.
    group_names: Arc<GroupNames>,
    keys: KeySource,
}

/// One issuer's keys, for the administrators' view.
#[derive(Clone, Debug)]
pub struct IssuerStatus {
    /// The configured name.
    pub name: Box<str>,
    /// Keys that can be used now.
    pub keys: usize,
    /// When they were fetched last; `None` for a file, or before the first success.
    pub fetched_at: Option<Timestamp>,
    /// Whether tokens can be verified now.
    pub available: bool,
    /// Why the last fetch failed; `None` after a success.
    pub error: Option<Box<str>>,
}

impl Issuers {
    /// Starts keeping fetched keys fresh; needs a tokio runtime. May be called again without effect.
    pub fn start(&self) {
        for issuer in &self.issuers {
            if let KeySource::Remote(remote) = &issuer.keys {
                remote.start();
            }
        }
    }

    /// The identity of a token that was verified before, on a connection with the same client certificate
    /// (`thumbprint`: SHA-256 of it). Never waits and reads no clock; `None` means "ask [`Issuers::verify`]".
    pub fn cached(
        &self,
        token: &str,
        thumbprint: Option<&[u8; 32]>,
        now: Timestamp,
    ) -> Option<Arc<Identity>> {
        self.recall(&self.tokens.key(token, thumbprint)?, now)
    }

    /// Verifies a token. May wait for the issuer's keys, for at most a few of its timeouts.
    /// # Errors: why it is not believed.
    pub async fn verify(
        &self,
        token: &str,
        thumbprint: Option<&[u8; 32]>,
        now: Timestamp,
    ) -> Result<Arc<Identity>, CredentialError> {
        let Some(key) = self.tokens.key(token, thumbprint) else {
            return Err(CredentialError::Malformed("longer than 16 KiB"));
        };
        if let Some(identity) = self.recall(&key, now) {
            return Ok(identity);
        }
        if let Some(error) = self
            .tokens
            .refused(&key, now, |index| self.revision(index, now))
        {
            return Err(error);
        }
        // Read before anything is checked: a revocation that comes in between makes the entry worthless.
        let epoch = self.epoch.load(Ordering::Acquire);
        let token = jws::parse(token)?;
        let (index, issuer) = self.issuer_of(&token)?;
        let snapshot = issuer.snapshot_for(&token, now).await?;
        let revision = snapshot.revision;
        match issuer.accept(&token, &snapshot, thumbprint, now) {
            Ok(mut identity) => {
                identity.principal = self.intern(identity.principal);
                let identity = Arc::new(identity);
                let verified = Verified {
                    identity: Arc::clone(&identity),
                    issuer: index,
                    revision,
                    epoch,
                };
                self.tokens.remember(key, verified);
                Ok(identity)
            }
            Err(error) => {
                if is_lasting(&error) {
                    let refused = Refused {
                        error: error.clone(),
                        issuer: index,
                        revision,
                        at: now,
                    };
                    self.tokens.remember_refusal(key, refused);
                }
                Err(error)
            }
        }
    }

    /// Makes every token be verified anew, at its next use.
    ///
    /// The seam for live revocation: whoever adds a `jti`, `sub` or `sid` to a list of the revoked calls this after; a
    /// verification that began before cannot leave an entry that counts.
    pub fn revoke_all(&self) {
        self.epoch.fetch_add(1, Ordering::AcqRel);
    }

    /// Whether the token behind `identity` would be believed now as it was then, as far as that depends on us: for
    /// exchanges that outlive the request in which it was verified.
    /// # Errors: its issuer is gone, or defined differently, or no longer publishes the key; or its keys are too old.
    pub fn still_vouch_for(&self, identity: &Identity, now: Timestamp) -> Result<(), Denial> {
        let issuer = self
            .issuers
            .iter()
            .find(|issuer| {
                issuer.config == identity.vouched && issuer.group_names == identity.group_names
            })
            .ok_or(DenialReason::CredentialInvalid)?;
        let snapshot = issuer
            .keys
            .known(now)
            .ok_or(DenialReason::IssuerUnavailable)?;
        if snapshot.keys.has(&identity.key) {
            Ok(())
        } else {
            Err(DenialReason::CredentialInvalid.into())
        }
    }

    /// All of them, in the order of the configuration.
    pub(crate) fn all(&self) -> &[Arc<Issuer>] {
        &self.issuers
    }

    /// How each issuer's keys are, in the order of the configuration.
    pub fn status(&self, now: Timestamp) -> Vec<IssuerStatus> {
        self.issuers
            .iter()
            .map(|issuer| issuer.status(now))
            .collect()
    }

    fn recall(&self, key: &cache::Key, now: Timestamp) -> Option<Arc<Identity>> {
        let verified = self.tokens.verified(key)?;
        let holds = verified.epoch == self.epoch.load(Ordering::Acquire)
            && verified.identity.is_usable(now)
            && self.revision(verified.issuer, now) == Some(verified.revision);
        holds.then(|| Arc::clone(&verified.identity))
    }

    fn revision(&self, index: usize, now: Timestamp) -> Option<u64> {
        self.issuers.get(index)?.keys.revision(now)
    }

    /// The issuer a token claims to be from. Whatever the token says, only that issuer's keys are then tried.
    fn issuer_of(&self, token: &Unverified<'_>) -> Result<(usize, &Arc<Issuer>), TokenFault> {
        let claimed = match token.claims.get("iss") {
            None => return Err(TokenFault::ClaimMissing("iss".into())),
            Some(Value::String(claimed)) => claimed,
            Some(_) => return Err(TokenFault::Claim("iss".into())),
        };
        self.issuers
            .iter()
            .enumerate()
            .find(|(_, issuer)| issuer.config.issuer == *claimed)
            .ok_or_else(|| TokenFault::IssuerUnknown(Cleaned::new(claimed)))
    }

    fn intern(&self, principal: Arc<Principal>) -> Arc<Principal> {
        match self.principals.get(principal.id()) {
            Some(known) if is_same(&known, &principal) => known,
            _ => {
                self.principals
                    .insert(principal.id().into(), Arc::clone(&principal));
                principal
            }
        }
    }
}

impl std::fmt::Debug for Issuers {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = self.issuers.iter().map(|issuer| &issuer.config.name);
        formatter.debug_list().entries(names).finish()
    }
}

impl Issuer {
    /// Keys among which the token's may be found: the present ones, or newer ones if they do not have it.
    async fn snapshot_for(
        &self,
        token: &Unverified<'_>,
        now: Timestamp,
    ) -> Result<Arc<Snapshot>, CredentialError> {
        // Before any key is looked for: a name that is not allowed must not cause a fetch.
        let allowed = keys::algorithm_named(&token.header.algorithm)
            .is_some_and(|algorithm| self.config.algorithms.contains(&algorithm));
        if !allowed {
            let name = Cleaned::new(&token.header.algorithm);
            return Err(TokenFault::Algorithm(name).into());
        }
        let Some(snapshot) = self.keys.current(now).await else {
            return Err(CredentialError::IssuerUnavailable {
                issuer: self.config.name.as_str().into(),
            });
        };
        let found = snapshot
            .keys
            .find(token.header.key_id.as_deref(), &token.header.algorithm);
        if !matches!(found, Err(TokenFault::KeyUnknown(_))) {
            return Ok(snapshot);
        }
        Ok(self.keys.newer(&snapshot, now).await.unwrap_or(snapshot))
    }

    fn accept(
        &self,
        token: &Unverified<'_>,
        snapshot: &Snapshot,
        thumbprint: Option<&[u8; 32]>,
        now: Timestamp,
    ) -> Result<Identity, CredentialError> {
        let key = check_signature(token, snapshot)?;
        claims::accept(
            &self.config,
            &self.group_names,
            key,
            &token.header,
            &token.claims,
            thumbprint,
            now,
        )
    }

    /// A token of this very issuer whose signature verifies; nothing else in it has been looked at.
    /// # Errors: it is another issuer's, or not signed by a key of this one, or its keys cannot be had.
    async fn signed<'a>(
        &self,
        token: &'a str,
        now: Timestamp,
    ) -> Result<Unverified<'a>, CredentialError> {
        let token = jws::parse(token)?;
        match token.claims.get("iss") {
            None => return Err(TokenFault::ClaimMissing("iss".into()).into()),
            Some(Value::String(issuer)) if *issuer == self.config.issuer => {}
            Some(Value::String(issuer)) => {
                return Err(TokenFault::IssuerUnknown(Cleaned::new(issuer)).into());
            }
            Some(_) => return Err(TokenFault::Claim("iss".into()).into()),
        }
        let snapshot = self.snapshot_for(&token, now).await?;
        check_signature(&token, &snapshot)?;
        Ok(token)
    }

    /// As configured.
    pub(crate) fn config(&self) -> &Arc<config::Issuer> {
        &self.config
    }

    /// How it is asked; `None` where its keys are in a file.
    pub(crate) fn transport(&self) -> Option<&Transport> {
        self.keys.transport()
    }

    /// Where people sign in, as the provider publishes it, waiting for a fetch under way.
    /// # Errors: it is not known now, or of no use.
    pub(crate) async fn provider(
        &self,
        now: Timestamp,
    ) -> Result<Arc<ProviderMetadata>, ProviderError> {
        let snapshot = self.keys.current(now).await;
        let provider = snapshot.and_then(|snapshot| snapshot.provider.clone());
        provider
            .ok_or(ProviderError::Unavailable)?
            .map_err(ProviderError::Fault)
    }

    /// The same without waiting, however old.
    pub(crate) fn provider_as_known(&self) -> Option<Arc<ProviderMetadata>> {
        self.keys.latest()?.provider.clone()?.ok()
    }

    /// Whether nothing that matters to sign-in differs, so that what was built for one serves the other.
    pub(crate) fn same_as(&self, other: &Self) -> bool {
        self.config == other.config
            && self.group_names == other.group_names
            && self.keys.same_as(&other.keys)
    }

    fn status(&self, now: Timestamp) -> IssuerStatus {
        let (keys, fetched_at, error) = match &self.keys {
            KeySource::Fixed(snapshot) => (snapshot.keys.len(), None, None),
            KeySource::Remote(remote) => remote.status(),
        };
        IssuerStatus {
            name: self.config.name.as_str().into(),
            keys,
            fetched_at,
            available: keys > 0 && self.keys.revision(now).is_some(),
            error,
        }
    }
}

fn check_signature(token: &Unverified<'_>, snapshot: &Snapshot) -> Result<KeyPrint, TokenFault> {
    let header = &token.header;
    let key = snapshot
        .keys
        .find(header.key_id.as_deref(), &header.algorithm)?;
    key.verify(token.signing_input, &token.signature)?;
    Ok(key.print())
}

/// Whether the same token will be refused for the same reason as long as the keys are the same. Those that a moment or
/// another fetch can change are looked at each time.
fn is_lasting(error: &CredentialError) -> bool {
    match error {
        CredentialError::Invalid(TokenFault::KeyUnknown(_) | TokenFault::KeyUnnamed)
        | CredentialError::Expired(TimeFault::NotYet | TimeFault::IssuedInFuture)
        | CredentialError::Malformed(_)
        | CredentialError::IssuerUnavailable { .. } => false,
        CredentialError::Invalid(_)
        | CredentialError::Expired(TimeFault::Over)
        | CredentialError::NotBound(_) => true,
    }
}

fn is_same(one: &Principal, other: &Principal) -> bool {
    one.kind() == other.kind()
        && one.id() == other.id()
        && one.issuer() == other.issuer()
        && one.name() == other.name()
        && one.groups() == other.groups()
        && one.roles() == other.roles()
}
