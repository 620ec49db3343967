//! All families with their sessions and the keys that lead to them: what lists, ends and tidies. Requests never come here.

use std::sync::Arc;

use ahash::AHashMap;

use super::cookie::Key;
use super::{Ended, Session, SessionId, SessionView, Which};

#[derive(Default)]
pub(super) struct Book {
    families: AHashMap<SessionId, Family>,
}

/// What one person does in one browser.
#[derive(Default)]
pub(super) struct Family {
    /// In the order in which they were made; the last is the newest.
    sessions: Vec<Entry>,
}

struct Entry {
    session: Arc<Session>,
    keys: Vec<(Key, Box<str>)>,
}

impl Book {
    pub(super) fn add(&mut self, session: Arc<Session>) {
        let family = self.families.entry(session.family).or_default();
        family.sessions.push(Entry {
            session,
            keys: Vec::new(),
        });
    }

    /// Whether the session is still there: ended ones are not.
    pub(super) fn has(&self, session: &Session) -> bool {
        self.entry(session).is_some()
    }

    fn entry(&self, session: &Session) -> Option<&Entry> {
        let family = self.families.get(&session.family)?;
        family
            .sessions
            .iter()
            .find(|it| it.session.id == session.id)
    }

    /// `false`: the session is not there.
    pub(super) fn add_key(&mut self, session: &Session, key: Key, host: &str) -> bool {
        let family = self.families.get_mut(&session.family);
        let mut entries = family.into_iter().flat_map(|family| &mut family.sessions);
        let Some(entry) = entries.find(|it| it.session.id == session.id) else {
            return false;
        };
        entry.keys.push((key, host.into()));
        true
    }

    pub(super) fn remove_key(&mut self, session: &Session, key: &Key) {
        let family = self.families.get_mut(&session.family);
        for entry in family.into_iter().flat_map(|family| &mut family.sessions) {
            entry.keys.retain(|(known, _)| known != key);
        }
    }

    pub(super) fn count(&self) -> usize {
        self.families.len()
    }

    /// Takes away all keys of the family at that host.
    pub(super) fn take_keys(&mut self, family: SessionId, host: &str) -> Vec<Key> {
        let mut taken = Vec::new();
        let Some(family) = self.families.get_mut(&family) else {
            return taken;
        };
        for entry in &mut family.sessions {
            entry.keys.retain(|(key, at)| {
                let here = **at == *host;
                if here {
                    taken.push(*key);
                }
                !here
            });
        }
        taken
    }

    /// Sessions of the family that no cookie leads to. They stay known as long as something holds on to them (a WebSocket),
    /// so that they can be ended.
    pub(super) fn without_keys(&self, family: SessionId) -> Vec<SessionId> {
        let family = self.families.get(&family);
        let entries = family.into_iter().flat_map(|family| &family.sessions);
        let bare = entries.filter(|entry| entry.keys.is_empty());
        bare.map(|entry| entry.session.id).collect()
    }

    /// Forgets sessions that neither a cookie nor an exchange leads to.
    pub(super) fn forget_unheld(&mut self) {
        for family in self.families.values_mut() {
            family
                .sessions
                .retain(|entry| !entry.keys.is_empty() || Arc::strong_count(&entry.session) > 1);
        }
        self.families
            .retain(|_, family| !family.sessions.is_empty());
    }

    /// Takes out whole families of which any session matches.
    pub(super) fn take(&mut self, which: &dyn Fn(&Session) -> bool) -> Vec<Taken> {
        let ids: Vec<SessionId> = self
            .families
            .iter()
            .filter(|(_, family)| family.sessions.iter().any(|it| which(&it.session)))
            .map(|(id, _)| *id)
            .collect();
        let families = ids.into_iter().filter_map(|id| {
            let family = self.families.remove(&id)?;
            Some(Taken(family))
        });
        families.collect()
    }

    /// Takes one family.
    pub(super) fn take_one(&mut self, which: &Which) -> Option<Vec<Taken>> {
        let Which::Family(id) = which else {
            return None;
        };
        let family = self.families.remove(id);
        Some(family.map(Taken).into_iter().collect())
    }

    pub(super) fn sessions(&self) -> impl Iterator<Item = &Arc<Session>> {
        let families = self.families.values();
        families.flat_map(|family| family.sessions.iter().map(|entry| &entry.session))
    }

    /// The newest session of each family that `which` is true of, newest first.
    pub(super) fn views(&self, which: &dyn Fn(&Session) -> bool) -> Vec<SessionView> {
        let mut views: Vec<SessionView> = self
            .families
            .values()
            .filter(|family| family.sessions.iter().any(|it| which(&it.session)))
            .filter_map(Family::view)
            .collect();
        views.sort_unstable_by(|a, b| (b.signed_in_at, &b.id).cmp(&(a.signed_in_at, &a.id)));
        views
    }
}

impl Family {
    fn newest(&self) -> Option<&Arc<Session>> {
        self.sessions.last().map(|entry| &entry.session)
    }

    fn view(&self) -> Option<SessionView> {
        let session = self.newest()?;
        let (principal, proof) = (session.principal(), &session.authentication);
        let keys = self.sessions.iter().flat_map(|entry| &entry.keys);
        let mut hosts: Vec<String> = keys.map(|(_, host)| host.to_string()).collect();
        hosts.sort_unstable();
        hosts.dedup();
        let used = self.sessions.iter().map(|entry| entry.session.last_used());
        Some(SessionView {
            id: session.family.to_string(),
            principal: principal.id().into(),
            name: principal.name().map(Into::into),
            issuer: session.issuer.to_string(),
            email: session.email.as_deref().map(Into::into),
            device: session.device.to_string(),
            signed_in_at: session.signed_in_at.as_millis(),
            proved_at: session.proved_at().as_millis(),
            last_used: used.max().unwrap_or(session.signed_in_at).as_millis(),
            factors: proof.amr.iter().map(ToString::to_string).collect(),
            multi_factor: proof.multi_factor,
            phishing_resistant: proof.phishing_resistant,
            hosts,
        })
    }
}

/// A family that is no longer in the book.
pub(super) struct Taken(Family);

impl Taken {
    pub(super) fn sessions(&self) -> impl Iterator<Item = &Arc<Session>> {
        self.0.sessions.iter().map(|entry| &entry.session)
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = Key> {
        let entries = self.0.sessions.iter();
        entries.flat_map(|entry| entry.keys.iter().map(|(key, _)| *key))
    }

    pub(super) fn ended(&self) -> Option<Ended> {
        self.0.newest().map(|session| Ended {
            family: session.family,
            session: Arc::clone(session),
        })
    }
}
