//! What administrators and provisioning do with accounts. Runs on a thread that may block.

use super::account::{Account, Change, NewAccount};
use super::error::{AccountError, LinkError};
use super::inner::{Changed, Inner};
use super::people::People;
use super::record::{Failures, Record, StoredLink};
use super::{Link, Visit, Welcome, text};
use crate::event::{AccountEvent, Actor, EventKind};
use crate::factors::ceremony::{Grounds, Pending, after};
use crate::random;

use aws_lc_rs::digest::{SHA256, digest};
use secrecy::{ExposeSecret, SecretString};

impl Inner {
    pub(super) fn add(
        &self,
        new: &NewAccount,
        by: Actor,
        now: i64,
    ) -> Result<Account, AccountError> {
        let record = self.draft(new, now)?;
        let view = record.view();
        let event = created(&record, by, now);
        self.add_all(vec![record], vec![event], |people| {
            is_free(people, &view.id)?;
            external_is_free(people, view.external_id.as_deref(), &view.id)
        })?;
        Ok(view)
    }

    /// An account that nobody has yet, not even itself.
    pub(super) fn draft(&self, new: &NewAccount, now: i64) -> Result<Record, AccountError> {
        let id = text::user(&new.user)?;
        let display_name = match new.display_name.trim() {
            "" => id.clone(),
            name => text::line("name", name)?,
        };
        let mut record = Record::new(id, display_name, &*self.random, now);
        record.email = new.email.as_deref().map(text::email).transpose()?;
        record.groups = text::groups(&new.groups)?;
        record.external_id = new
            .external_id
            .as_deref()
            .map(|id| text::line("external id", id))
            .transpose()?;
        Ok(record)
    }

    pub(super) fn alter(
        &self,
        id: &str,
        change: &Change,
        by: Actor,
        now: i64,
    ) -> Result<Account, AccountError> {
        let id = known(id)?;
        let Change {
            display_name,
            email,
            groups,
            active,
            external_id,
        } = change;
        let display_name = display_name
            .as_deref()
            .map(|name| text::line("name", name))
            .transpose()?;
        let email = match email {
            Some(Some(email)) => Some(Some(text::email(email)?)),
            Some(None) => Some(None),
            None => None,
        };
        let groups = groups.as_deref().map(text::groups).transpose()?;
        let external_id = match external_id {
            Some(Some(id)) => Some(Some(text::line("external id", id)?)),
            Some(None) => Some(None),
            None => None,
        };
        self.change(&id, |record| {
            let mut record = record.ok_or_else(|| AccountError::Unknown(id.clone()))?;
            let mut words = Vec::new();
            if let Some(name) = display_name.filter(|name| *name != record.display_name) {
                words.push(format!("name {name}"));
                record.display_name = name;
            }
            if let Some(email) = email.filter(|email| *email != record.email) {
                words.push(format!("email {}", email.as_deref().unwrap_or("-")));
                record.email = email;
            }
            if let Some(groups) = groups.filter(|groups| *groups != record.groups) {
                words.push(format!("groups {}", groups.join(", ")));
                record.groups = groups;
            }
            if let Some(external) = external_id.filter(|id| *id != record.external_id) {
                self.people(|people| external_is_free(people, external.as_deref(), &id))?;
                words.push(format!(
                    "external id {}",
                    external.as_deref().unwrap_or("-")
                ));
                record.external_id = external;
            }
            let mut events = Vec::new();
            if !words.is_empty() {
                let event = AccountEvent::of(EventKind::AccountChanged, &id, by, now);
                events.push(event.with_detail(words.join("; ")));
            }
            match active.filter(|active| *active != record.active) {
                Some(true) => {
                    record.active = true;
                    events.push(AccountEvent::of(EventKind::AccountEnabled, &id, by, now));
                }
                Some(false) => {
                    record.active = false;
                    record.link = None;
                    self.ceremonies.forget(&id);
                    events.push(AccountEvent::of(EventKind::AccountDisabled, &id, by, now));
                }
                None => {}
            }
            let is_changed = !events.is_empty();
            if is_changed {
                record.changed_at = now;
            }
            Ok(Changed {
                answer: record.view(),
                record: is_changed.then_some(record),
                events,
            })
        })
    }

    pub(super) fn remove(&self, id: &str, by: Actor, now: i64) -> Result<(), AccountError> {
        let id = known(id)?;
        self.bury(&id, by, now)?;
        self.lockout.forget(&id);
        Ok(())
    }

    pub(super) fn reset(&self, id: &str, by: Actor, now: i64) -> Result<Link, AccountError> {
        let link = self.new_link(
            id,
            by,
            now,
            "all factors removed, new first sign-in link",
            |record| {
                record.passkeys.clear();
                record.password = None;
                record.totp = None;
                record.recovery.clear();
                record.failures = Failures::default();
            },
        )?;
        self.lockout.forget(&known(id)?);
        Ok(link)
    }

    pub(super) fn link(&self, id: &str, by: Actor, now: i64) -> Result<Link, AccountError> {
        self.new_link(id, by, now, "new first sign-in link", |_| {})
    }

    fn new_link(
        &self,
        id: &str,
        by: Actor,
        now: i64,
        detail: &str,
        also: impl FnOnce(&mut Record),
    ) -> Result<Link, AccountError> {
        let id = known(id)?;
        let link = self.mint(now);
        self.change(&id, |record| {
            let mut record = record.ok_or_else(|| AccountError::Unknown(id.clone()))?;
            if !record.active {
                return Err(AccountError::Disabled(id.clone()));
            }
            also(&mut record);
            record.link = Some(stored(&link));
            record.changed_at = now;
            self.ceremonies.forget(&id);
            let event = AccountEvent::of(EventKind::AccountReset, &id, by, now);
            Ok(Changed {
                record: Some(record),
                events: vec![event.with_detail(detail)],
                answer: (),
            })
        })?;
        Ok(link)
    }

    /// A link that is not yet anybody's.
    pub(super) fn mint(&self, now: i64) -> Link {
        Link {
            token: random::token(&*self.random),
            until: after(now, self.rules().settings.link_lifetime),
        }
    }

    pub(super) fn open_link(
        &self,
        token: &SecretString,
        visit: Visit<'_>,
    ) -> Result<Welcome, LinkError> {
        let hash = link_hash(token);
        let record = self
            .people(|people| people.by_link(&hash).cloned())
            .filter(|record| record.honours(&hash, visit.now))
            .ok_or(LinkError::Void)?;
        let pending = Pending::Welcome {
            account: record.id.clone(),
            grounds: Grounds::Link(hash),
        };
        Ok(Welcome {
            handle: self.ceremonies.begin(pending, visit, &*self.random),
            account: record.view(),
        })
    }
}

/// What is stored of a link. 256 random bits need no more than a plain hash.
pub(super) fn stored(link: &Link) -> StoredLink {
    StoredLink {
        hash: link_hash(&link.token),
        until: link.until,
    }
}

pub(super) fn created(record: &Record, by: Actor, now: i64) -> AccountEvent {
    AccountEvent::of(EventKind::AccountCreated, &record.id, by, now)
        .with_detail(format!("groups {}", record.groups.join(", ")))
}

/// # Errors
/// [`AccountError::Exists`], [`AccountError::Used`].
pub(super) fn is_free(people: &People, id: &str) -> Result<(), AccountError> {
    if people.get(id).is_some() {
        return Err(AccountError::Exists(id.into()));
    }
    if people.is_removed(id) {
        return Err(AccountError::Used(id.into()));
    }
    Ok(())
}

fn external_is_free(people: &People, external: Option<&str>, id: &str) -> Result<(), AccountError> {
    match external.and_then(|external| people.by_external_id(external)) {
        Some(other) if *other.id != *id => Err(AccountError::ExternalId(other.id.clone())),
        Some(_) | None => Ok(()),
    }
}

/// A name that no account can have is one that no account has.
fn known(id: &str) -> Result<Box<str>, AccountError> {
    text::user(id).map_err(|_| {
        AccountError::Unknown(id.chars().take(text::MAX_USER).collect::<String>().into())
    })
}

fn link_hash(token: &SecretString) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, token.expose_secret().as_bytes()).as_ref());
    hash
}
