//! Sessions of people who signed in with a browser: who they are, how they proved it, on which device, and until when that
//! counts.
//!
//! A cookie holds a secret of its own for each host; the table knows only hashes of them (`table`). What one person does in
//! one browser is a *family*: a sign-in and its step-ups, which are listed and ended together (`book`). Everything is kept
//! in a file (`store`), written by one thread off the request path, so that a restart signs nobody out.

mod book;
pub(crate) mod cookie;
mod hand_over;
mod kept;
mod one_time;
mod seal;
mod sessions;
mod store;
mod table;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use arc_swap::ArcSwap;
use masugata_policy::{Authentication, Principal, Timestamp};
use secrecy::SecretString;
use serde::Serialize;

use crate::capability::Entropy;
use crate::config::sign_in::Lifetime;

pub(crate) use cookie::Secret;
pub(crate) use hand_over::{HandOver, HandOvers};
pub(crate) use one_time::OneTime;
pub(crate) use sessions::Sessions;
pub use store::StoreError;

/// Names a session in lists and records. Not the secret: whoever knows it can do nothing with it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SessionId([u8; 16]);

impl SessionId {
    fn new(entropy: &dyn Entropy) -> Self {
        let mut bytes = [0; 16];
        entropy.fill(&mut bytes);
        Self(bytes)
    }

    /// From 32 hexadecimal digits.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let hex = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = u128::from_str_radix(text, 16).ok().filter(|_| hex)?;
        Some(Self(number.to_be_bytes()))
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

/// What was asked of the provider beyond the sign-in itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) fresh: bool,
    pub(crate) multi_factor: bool,
    pub(crate) phishing_resistant: bool,
}

impl Asked {
    /// Whether all of `other` was asked for.
    pub(crate) fn covers(self, other: Self) -> bool {
        (self.fresh || !other.fresh)
            && (self.multi_factor || !other.multi_factor)
            && (self.phishing_resistant || !other.phishing_resistant)
    }
}

/// One sign-in or step-up. Immutable but for when it was used and whether it has ended.
pub(crate) struct Session {
    pub(crate) id: SessionId,
    /// The sign-in this belongs to, with all its step-ups.
    pub(crate) family: SessionId,
    /// May be another when the provider is asked again: groups change.
    principal: ArcSwap<Principal>,
    pub(crate) authentication: Arc<Authentication>,
    /// The configured name of the issuer …
    pub(crate) issuer: Box<str>,
    /// … and its identifier then: another provider may be given the name.
    pub(crate) issuer_url: Box<str>,
    /// `sub`
    pub(crate) subject: Box<str>,
    /// `sid`, the session at the provider.
    pub(crate) provider_session: Option<Box<str>>,
    pub(crate) email: Option<Box<str>>,
    pub(crate) user_name: Option<Box<str>>,
    /// The inventory id of the device.
    pub(crate) device: Box<str>,
    /// SHA-256 of the certificate that it is bound to.
    pub(crate) thumbprint: [u8; 32],
    pub(crate) signed_in_at: Timestamp,
    /// What the person was asked for when this was made; nothing after a restart.
    pub(crate) asked: Asked,
    /// Milliseconds since the epoch.
    last_used: AtomicI64,
    /// The longest time, in milliseconds, that it was left alone so far: a level for which that was too long stays closed
    /// until the next sign-in, also when another app was used since.
    widest_gap: AtomicI64,
    /// When the provider is to be asked again, milliseconds since the epoch; `i64::MAX`: never.
    refresh_at: AtomicI64,
    ended: AtomicBool,
}

/// Why a session does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Over {
    /// Signed out, or ended by somebody who may.
    #[error("the session has ended")]
    Ended,
    #[error("the session was not used for too long")]
    Idle,
    #[error("the sign-in was too long ago")]
    Absolute,
}

impl Session {
    /// Whether it counts at `now` for what has that lifetime.
    ///
    /// # Errors
    /// [`Over`]. A session that is over for one level may count for another.
    pub(crate) fn check(&self, lifetime: Lifetime, now: Timestamp) -> Result<(), Over> {
        if self.is_ended() {
            return Err(Over::Ended);
        }
        if now >= self.ends_at(lifetime) {
            return Err(Over::Absolute);
        }
        let idle = now.since(self.last_used()).as_millis();
        let gap = u128::try_from(self.widest_gap.load(Ordering::Relaxed)).unwrap_or(u128::MAX);
        if idle.max(gap) > lifetime.idle.as_millis() {
            return Err(Over::Idle);
        }
        Ok(())
    }

    /// A request of the session was let through to the policies.
    pub(crate) fn touch(&self, now: Timestamp) {
        let before = self.last_used.load(Ordering::Relaxed);
        let gap = now.as_millis().saturating_sub(before);
        // Once a second is exact enough, and spares a line of the cache that all cores would write.
        if gap < 1000 {
            return;
        }
        if gap > self.widest_gap.load(Ordering::Relaxed) {
            self.widest_gap.fetch_max(gap, Ordering::Relaxed);
        }
        self.last_used.fetch_max(now.as_millis(), Ordering::Relaxed);
    }

    /// The first instant at which it is too old for what has that lifetime.
    pub(crate) fn ends_at(&self, lifetime: Lifetime) -> Timestamp {
        self.proved_at().plus(lifetime.absolute)
    }

    /// When the person proved who they are. A provider cannot put it off by naming the future.
    pub(crate) fn proved_at(&self) -> Timestamp {
        let said = self.authentication.authenticated_at;
        said.unwrap_or(self.signed_in_at).min(self.signed_in_at)
    }

    pub(crate) fn principal(&self) -> Arc<Principal> {
        self.principal.load_full()
    }

    pub(crate) fn last_used(&self) -> Timestamp {
        Timestamp::from_millis(self.last_used.load(Ordering::Relaxed))
    }

    pub(crate) fn is_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    pub(crate) fn refresh_at(&self) -> Timestamp {
        Timestamp::from_millis(self.refresh_at.load(Ordering::Relaxed))
    }

    /// The provider is asked again then. Not kept: after a restart it is asked at once.
    pub(crate) fn refresh_again(&self, at: Timestamp) {
        self.refresh_at.store(at.as_millis(), Ordering::Relaxed);
    }
}

/// Never shows whose it is: sessions are named by their id.
impl fmt::Debug for Session {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Session({})", self.id)
    }
}

/// What a verified sign-in makes a session of.
pub(crate) struct Beginning {
    pub(crate) principal: Arc<Principal>,
    pub(crate) authentication: Arc<Authentication>,
    pub(crate) issuer: Box<str>,
    pub(crate) issuer_url: Box<str>,
    pub(crate) subject: Box<str>,
    pub(crate) provider_session: Option<Box<str>>,
    pub(crate) email: Option<Box<str>>,
    pub(crate) user_name: Option<Box<str>>,
    pub(crate) device: Box<str>,
    pub(crate) thumbprint: [u8; 32],
    pub(crate) asked: Asked,
    /// Kept sealed.
    pub(crate) secrets: Secrets,
    /// When the provider is to be asked again; `None`: never.
    pub(crate) refresh_at: Option<Timestamp>,
}

/// What a provider gave with a sign-in. Sealed in the store, and nowhere else.
#[derive(Clone, Default)]
pub(crate) struct Secrets {
    /// For `id_token_hint` when signing out there.
    pub(crate) id_token: Option<SecretString>,
    pub(crate) refresh_token: Option<SecretString>,
}

/// Whose sessions are to end.
#[cfg_attr(
    not(test),
    allow(
        dead_code,
        reason = "what administrators may ask for, whether or not a command does yet"
    )
)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    /// One sign-in with its step-ups.
    Family(SessionId),
    /// All of a person (`issuer/user`).
    Principal(Box<str>),
    /// All of a person but one.
    Others {
        principal: Box<str>,
        keep: SessionId,
    },
    /// What a provider says is over: one of its sessions, or all of a subject.
    Provider {
        /// The configured name of the issuer.
        issuer: Box<str>,
        subject: Option<Box<str>>,
        session: Option<Box<str>>,
    },
    /// Whoever has that subject, user name or e-mail address at that issuer.
    User {
        issuer: Box<str>,
        subject: Option<Box<str>>,
        user_name: Option<Box<str>>,
        email: Option<Box<str>>,
    },
    /// All on a device, by its inventory id.
    Device(Box<str>),
    All,
}

impl Which {
    fn matches(&self, session: &Session) -> bool {
        let same = |wanted: &Option<Box<str>>, is: Option<&str>| {
            wanted.as_deref().is_some_and(|wanted| is == Some(wanted))
        };
        match self {
            Self::Family(family) => session.family == *family,
            Self::Principal(id) => session.principal.load().id() == &**id,
            Self::Others { principal, keep } => {
                session.principal.load().id() == &**principal && session.family != *keep
            }
            Self::Provider {
                issuer,
                subject,
                session: sid,
            } => {
                let of_subject = same(subject, Some(&session.subject));
                let of_session = same(sid, session.provider_session.as_deref());
                session.issuer == *issuer
                    && (subject.is_some() || sid.is_some())
                    && (of_subject || subject.is_none())
                    && (of_session || sid.is_none())
            }
            Self::User {
                issuer,
                subject,
                user_name,
                email,
            } => {
                let is_email = session.email.as_deref().zip(email.as_deref());
                session.issuer == *issuer
                    && (same(subject, Some(&session.subject))
                        || same(user_name, session.user_name.as_deref())
                        || is_email.is_some_and(|(is, wanted)| is.eq_ignore_ascii_case(wanted)))
            }
            Self::Device(id) => session.device == *id,
            Self::All => true,
        }
    }
}

/// A family that was ended.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    pub(crate) family: SessionId,
    /// The newest of its sessions.
    pub(crate) session: Arc<Session>,
}

/// A family as people are shown it. Times are milliseconds since the epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct SessionView {
    pub(crate) id: String,
    pub(crate) principal: String,
    pub(crate) name: Option<String>,
    pub(crate) issuer: String,
    pub(crate) email: Option<String>,
    /// The inventory id.
    pub(crate) device: String,
    pub(crate) signed_in_at: i64,
    pub(crate) proved_at: i64,
    pub(crate) last_used: i64,
    /// RFC 8176 method references.
    pub(crate) factors: Vec<String>,
    pub(crate) multi_factor: bool,
    pub(crate) phishing_resistant: bool,
    /// Hosts whose cookie leads to it, sorted.
    pub(crate) hosts: Vec<String>,
}
