//! People whom another system provisions for an issuer: who is inactive, and which groups they are in.
//!
//! Every request of a person asks for their [`Standing`]: one look-up in a table that nobody locks. Whoever was deleted or
//! renamed stays known as inactive, so that what they still hold (a token, a session elsewhere) does not count again as if
//! nobody had ever heard of them.
//!
//! Changes are written to `people.redb` before they count and before anybody is answered. They are rare, and each waits for
//! the disk: make them off the threads that serve.

mod record;
mod store;
mod table;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ahash::{AHashMap, AHashSet};

use masugata_policy::{Principal, PrincipalKind};

use crate::capability::Entropy;
use crate::config::Config;
use crate::config::sign_in::ScimUser;

pub use record::{Email, Former, Group, Person};
pub use store::PeopleError;
pub use table::{Judged, Standing};

use store::Store;
use table::Table;
pub(crate) use table::folded;

/// People that are kept at most, those who are gone included.
pub const MOST_PEOPLE: usize = 250_000;

/// Groups that are kept at most.
pub const MOST_GROUPS: usize = 20_000;

/// Members of one group at most.
pub const MOST_MEMBERS: usize = 50_000;

/// Whose people they are, and how one is recognised among principals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Basis {
    /// The issuer's configured name: first half of principal ids.
    pub issuer: Box<str>,
    /// What equals the second half.
    pub user: ScimUser,
    /// Put before each group, as the issuer's other groups have it.
    pub group_prefix: Box<str>,
}

impl Basis {
    /// As configured. Accounts of the built-in provider are known by their user names.
    pub fn of(config: &Config) -> Option<Self> {
        let scim = config.scim.as_ref()?;
        let mut issuers = config.issuers.iter();
        let issuer = issuers.find(|issuer| issuer.name == scim.issuer);
        let own = config.identity_provider.as_ref();
        let built_in = own.is_some_and(|own| own.name == scim.issuer);
        Some(Self {
            issuer: scim.issuer.as_str().into(),
            user: if built_in {
                ScimUser::UserName
            } else {
                scim.user
            },
            group_prefix: issuer
                .map(|issuer| issuer.claims.group_prefix.as_str())
                .unwrap_or_default()
                .into(),
        })
    }
}

/// Why a change is not made.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    #[error("`{0}` is taken already")]
    Taken(&'static str),
    #[error("`{0}` is missing, and tells who it is")]
    Nameless(&'static str),
    #[error("there are as many {0} already as are kept")]
    Full(&'static str),
    #[error("member `{0}` is not a user here")]
    NoSuchMember(Box<str>),
    #[error("{0}")]
    Store(#[from] PeopleError),
}

/// See the module's first lines.
pub struct People {
    table: Table,
    /// Moves after each change that a decision may depend on.
    revision: AtomicU64,
    inactive: AtomicU64,
    changing: tokio::sync::Mutex<()>,
    directory: Mutex<Directory>,
}

impl std::fmt::Debug for People {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("People")
    }
}

/// Everything that is known, in memory; the store has the same.
struct Directory {
    store: Store,
    basis: Option<Basis>,
    persons: BTreeMap<Box<str>, Arc<Person>>,
    groups: BTreeMap<Box<str>, Arc<Group>>,
    /// Gone or renamed; the place is their number in the store.
    former: Vec<Former>,
    /// Ids by folded names.
    by_user_name: AHashMap<Key, Box<str>>,
    by_external_id: AHashMap<Key, Box<str>>,
    /// User names and external ids of those who are gone or renamed.
    former_names: [AHashSet<Key>; 2],
    member_of: AHashMap<Box<str>, BTreeSet<Box<str>>>,
    /// There was a group once: from then on the groups of tokens do not count.
    grouped: bool,
}

impl People {
    /// Opens `people.redb` in `directory`, or makes it where there is none. Without a basis nobody has a standing.
    ///
    /// # Errors
    /// The file cannot be opened, is damaged, or was written by a newer version: an empty directory is never put in its
    /// place.
    pub fn open(
        directory: &Path,
        basis: Option<Basis>,
        entropy: &dyn Entropy,
    ) -> Result<Self, PeopleError> {
        let (store, content) = Store::open(directory)?;
        let mut known = Directory {
            store,
            basis,
            persons: BTreeMap::new(),
            groups: BTreeMap::new(),
            former: Vec::new(),
            by_user_name: AHashMap::new(),
            by_external_id: AHashMap::new(),
            former_names: Default::default(),
            member_of: AHashMap::new(),
            grouped: content.grouped,
        };
        for former in content.former {
            known.remember(former);
        }
        for group in content.groups {
            known.index_group(&group);
            known.groups.insert(group.id.clone(), Arc::new(group));
        }
        for person in content.persons {
            known.index_person(&person);
            known.persons.insert(person.id.clone(), Arc::new(person));
        }
        let people = Self {
            table: Table::new(entropy),
            revision: AtomicU64::new(1),
            inactive: AtomicU64::new(0),
            changing: tokio::sync::Mutex::new(()),
            directory: Mutex::new(known),
        };
        people.turn().publish_all();
        Ok(people)
    }

    /// How somebody stands. `principal` is a principal's id, `issuer/user`.
    pub fn standing(&self, principal: &str) -> Standing {
        self.table.standing(principal)
    }

    /// What becomes of somebody who proved who they are: refused, or known with the groups that are provisioned. The same
    /// principal gives the same again, so that decisions about it can be reused.
    pub fn judge(&self, principal: &Arc<Principal>) -> Judged {
        if principal.kind() != PrincipalKind::User {
            return Judged::Unchanged;
        }
        self.table.judge(principal)
    }

    /// Moves with each change, after it counts: whoever keeps an answer asks again when this differs.
    pub fn revision(&self) -> u64 {
        self.revision.load(Ordering::Acquire)
    }

    /// People who are inactive now, those who are gone included.
    pub fn inactive(&self) -> u64 {
        self.inactive.load(Ordering::Relaxed)
    }

    /// After a reload: whose people count, and by which name.
    pub fn rest_on(&self, basis: Option<Basis>) {
        let mut turn = self.turn();
        if turn.directory.basis != basis {
            turn.directory.basis = basis;
            turn.publish_all();
        }
    }

    /// For whoever has to wait between looking and writing: the next change begins when this is given back.
    pub async fn one_at_a_time(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.changing.lock().await
    }

    /// Takes the turn: one at a time looks and writes. Blocks.
    pub fn turn(&self) -> Turn<'_> {
        Turn {
            people: self,
            // Whoever panicked had not begun to change what is in memory: the store comes first and answers with errors.
            directory: self
                .directory
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        }
    }
}

/// Whoever holds it sees nobody else's changes. Not to be held across an await.
pub struct Turn<'a> {
    people: &'a People,
    directory: MutexGuard<'a, Directory>,
}

impl Turn<'_> {
    /// Those of this issuer, in an order that stays the same.
    pub fn persons<'t>(&'t self, issuer: &'t str) -> impl Iterator<Item = &'t Arc<Person>> {
        let all = self.directory.persons.values();
        all.filter(move |person| &*person.issuer == issuer)
    }

    /// Those of this issuer, in an order that stays the same.
    pub fn groups<'t>(&'t self, issuer: &'t str) -> impl Iterator<Item = &'t Arc<Group>> {
        let all = self.directory.groups.values();
        all.filter(move |group| &*group.issuer == issuer)
    }

    pub fn person(&self, issuer: &str, id: &str) -> Option<Arc<Person>> {
        let found = self.directory.persons.get(id);
        found.filter(|it| &*it.issuer == issuer).cloned()
    }

    pub fn group(&self, issuer: &str, id: &str) -> Option<Arc<Group>> {
        let found = self.directory.groups.get(id);
        found.filter(|it| &*it.issuer == issuer).cloned()
    }

    pub fn person_named(&self, issuer: &str, user_name: &str) -> Option<Arc<Person>> {
        let id = self.directory.by_user_name.get(&key(issuer, user_name))?;
        self.directory.persons.get(id).cloned()
    }

    pub fn person_with_external_id(&self, issuer: &str, external: &str) -> Option<Arc<Person>> {
        let id = self.directory.by_external_id.get(&key(issuer, external))?;
        self.directory.persons.get(id).cloned()
    }

    /// The groups that somebody is in.
    pub fn groups_of(&self, person: &str) -> Vec<Arc<Group>> {
        let ids = self.directory.member_of.get(person).into_iter().flatten();
        ids.filter_map(|id| self.directory.groups.get(id).cloned())
            .collect()
    }

    /// Puts a person into the directory, new or in the place of what has the same id. What they were called before stays
    /// known as inactive.
    ///
    /// # Errors
    /// [`Refused`]; nothing is changed then.
    pub fn put_person(&mut self, person: Person) -> Result<Arc<Person>, Refused> {
        let before = self.directory.persons.get(&person.id).cloned();
        self.check_person(&person)?;
        let former = before.as_deref().and_then(|old| old.lost_names(&person));
        let number = self.directory.former.len() as u64;
        self.directory.store.write(|batch| {
            batch.put_person(&person)?;
            match &former {
                Some(former) => batch.put_former(number, former),
                None => Ok(()),
            }
        })?;
        let person = Arc::new(person);
        if let Some(old) = &before {
            self.directory.forget_person(old);
        }
        if let Some(former) = former {
            self.directory.remember(former);
        }
        self.directory.index_person(&person);
        let id = person.id.clone();
        self.directory.persons.insert(id, Arc::clone(&person));
        for known in before.as_deref().into_iter().chain([&*person]) {
            self.publish(known);
        }
        self.changed();
        Ok(person)
    }

    /// Takes a person out of the directory and of all groups. They stay known as inactive.
    ///
    /// # Errors
    /// The store; nothing is changed then.
    pub fn remove_person(&mut self, person: &Person) -> Result<(), PeopleError> {
        let groups: Vec<Group> = self
            .groups_of(&person.id)
            .iter()
            .map(|group| group.without(&person.id))
            .collect();
        let former = Former::of(person);
        let number = self.directory.former.len() as u64;
        self.directory.store.write(|batch| {
            batch.remove_person(&person.id)?;
            batch.put_former(number, &former)?;
            groups.iter().try_for_each(|group| batch.put_group(group))
        })?;
        for group in groups {
            self.directory.replace_group(group);
        }
        self.directory.forget_person(person);
        self.directory.persons.remove(&person.id);
        self.directory.member_of.remove(&person.id);
        self.directory.remember(former);
        self.publish(person);
        self.changed();
        Ok(())
    }

    /// Puts a group into the directory, new or in the place of what has the same id.
    ///
    /// # Errors
    /// [`Refused`]; nothing is changed then.
    pub fn put_group(&mut self, group: Group) -> Result<Arc<Group>, Refused> {
        self.check_group(&group)?;
        let before = self.directory.groups.get(&group.id).cloned();
        self.directory.store.write(|batch| {
            batch.put_group(&group)?;
            batch.set_grouped()
        })?;
        let group = self.directory.replace_group(group);
        if self.directory.grouped {
            let renamed = before
                .as_ref()
                .is_none_or(|old| old.display_name != group.display_name);
            let none = BTreeSet::new();
            let old = before.as_ref().map_or(&none, |old| &old.members);
            // Who is in both has other groups only if this one is called differently now.
            let touched: Vec<_> = if renamed {
                old.union(&group.members).cloned().collect()
            } else {
                old.symmetric_difference(&group.members).cloned().collect()
            };
            self.publish_ids(&touched);
        } else {
            self.directory.grouped = true;
            self.publish_all();
        }
        self.changed();
        Ok(group)
    }

    /// Takes a group out of the directory.
    ///
    /// # Errors
    /// The store; nothing is changed then.
    pub fn remove_group(&mut self, group: &Group) -> Result<(), PeopleError> {
        self.directory
            .store
            .write(|batch| batch.remove_group(&group.id))?;
        for member in &group.members {
            if let Some(groups) = self.directory.member_of.get_mut(member) {
                groups.remove(&group.id);
            }
        }
        self.directory.groups.remove(&group.id);
        let members: Vec<_> = group.members.iter().cloned().collect();
        self.publish_ids(&members);
        self.changed();
        Ok(())
    }

    /// The principal's id, under the present basis.
    pub fn principal_of(&self, person: &Person) -> Option<String> {
        let basis = self.directory.basis.as_ref()?;
        (basis.issuer == person.issuer).then_some(())?;
        let name = person.name_for(basis.user)?;
        Some(format!("{}/{name}", basis.issuer))
    }

    /// Whether [`Turn::put_person`] would take it.
    ///
    /// # Errors
    /// Why not.
    pub fn check_person(&self, person: &Person) -> Result<(), Refused> {
        let directory = &*self.directory;
        let known = directory.persons.contains_key(&person.id);
        if !known && directory.persons.len() + directory.former.len() >= MOST_PEOPLE {
            return Err(Refused::Full("people"));
        }
        let is_other = |id: Option<&Box<str>>| id.is_some_and(|id| *id != person.id);
        if is_other(
            directory
                .by_user_name
                .get(&key(&person.issuer, &person.user_name)),
        ) {
            return Err(Refused::Taken("userName"));
        }
        let external = person.external_id.as_deref();
        let basis = directory.basis.as_ref();
        if basis.is_some_and(|basis| basis.user == ScimUser::ExternalId) && external.is_none() {
            return Err(Refused::Nameless("externalId"));
        }
        if let Some(external) = external
            && is_other(directory.by_external_id.get(&key(&person.issuer, external)))
        {
            return Err(Refused::Taken("externalId"));
        }
        Ok(())
    }

    fn check_group(&self, group: &Group) -> Result<(), Refused> {
        let directory = &*self.directory;
        let before = directory.groups.get(&group.id);
        if before.is_none() && directory.groups.len() >= MOST_GROUPS {
            return Err(Refused::Full("groups"));
        }
        if group.members.len() > MOST_MEMBERS {
            return Err(Refused::Full("members of a group"));
        }
        let is_twin = |other: &&Arc<Group>| {
            other.id != group.id && folded(&other.display_name) == folded(&group.display_name)
        };
        let renamed = before.is_none_or(|before| before.display_name != group.display_name);
        if renamed && self.groups(&group.issuer).any(|other| is_twin(&other)) {
            return Err(Refused::Taken("displayName"));
        }
        let is_known = |id: &str| {
            let person = directory.persons.get(id);
            person.is_some_and(|person| person.issuer == group.issuer)
        };
        match group.members.iter().find(|id| !is_known(id)) {
            Some(stranger) => Err(Refused::NoSuchMember(stranger.clone())),
            None => Ok(()),
        }
    }

    /// Lets everybody see how those who have or had a name of this person stand now.
    fn publish(&self, person: &Person) {
        let Some(basis) = &self.directory.basis else {
            return;
        };
        if person.issuer == basis.issuer
            && let Some(name) = person.name_for(basis.user)
        {
            let standing = self.directory.standing_of(basis, name);
            self.people.table.set(basis, name, standing);
        }
    }

    fn publish_ids(&self, ids: &[Box<str>]) {
        for id in ids {
            if let Some(person) = self.directory.persons.get(id) {
                self.publish(person);
            }
        }
    }

    fn publish_all(&self) {
        let directory = &*self.directory;
        let mut all = Vec::new();
        if let Some(basis) = &directory.basis {
            let former = directory.former.iter();
            let names = former
                .filter(|former| former.issuer == basis.issuer)
                .filter_map(|former| former.name_for(basis.user))
                .chain(
                    self.persons(&basis.issuer)
                        .filter_map(|person| person.name_for(basis.user)),
                );
            all.extend(names.map(|name| (name, directory.standing_of(basis, name))));
        }
        self.people.table.replace(directory.basis.as_ref(), all);
        self.changed();
    }

    fn changed(&self) {
        let inactive = self.people.table.inactive();
        self.people.inactive.store(inactive, Ordering::Relaxed);
        self.people.revision.fetch_add(1, Ordering::AcqRel);
    }
}

impl Directory {
    fn standing_of(&self, basis: &Basis, name: &str) -> table::Entry {
        let index = match basis.user {
            ScimUser::UserName => &self.by_user_name,
            ScimUser::ExternalId => &self.by_external_id,
        };
        let id = index.get(&key(&basis.issuer, name));
        let Some(person) = id.and_then(|id| self.persons.get(id)) else {
            let [user_names, external_ids] = &self.former_names;
            let former = match basis.user {
                ScimUser::UserName => user_names,
                ScimUser::ExternalId => external_ids,
            };
            return if former.contains(&key(&basis.issuer, name)) {
                table::Entry::Inactive
            } else {
                table::Entry::Unknown
            };
        };
        if !person.active {
            return table::Entry::Inactive;
        }
        let exact = match basis.user {
            ScimUser::UserName => None,
            // Case matters there (RFC 7643 §3.1), and so it does in `sub`.
            ScimUser::ExternalId => person.external_id.clone(),
        };
        let groups = self.grouped.then(|| self.group_names(basis, &person.id));
        table::Entry::Active {
            exact,
            groups,
            made: Arc::default(),
        }
    }

    fn group_names(&self, basis: &Basis, person: &str) -> Arc<[Box<str>]> {
        let ids = self.member_of.get(person).into_iter().flatten();
        let mut names: Vec<Box<str>> = ids
            .filter_map(|id| self.groups.get(id))
            .map(|group| format!("{}{}", basis.group_prefix, group.display_name).into())
            .collect();
        names.sort_unstable();
        names.dedup();
        names.into()
    }

    fn index_person(&mut self, person: &Person) {
        let id = &person.id;
        self.by_user_name
            .insert(key(&person.issuer, &person.user_name), id.clone());
        if let Some(external) = &person.external_id {
            self.by_external_id
                .insert(key(&person.issuer, external), id.clone());
        }
    }

    fn forget_person(&mut self, person: &Person) {
        self.by_user_name
            .remove(&key(&person.issuer, &person.user_name));
        if let Some(external) = &person.external_id {
            self.by_external_id.remove(&key(&person.issuer, external));
        }
    }

    fn remember(&mut self, former: Former) {
        let [user_names, external_ids] = &mut self.former_names;
        if let Some(name) = &former.user_name {
            user_names.insert(key(&former.issuer, name));
        }
        if let Some(name) = &former.external_id {
            external_ids.insert(key(&former.issuer, name));
        }
        self.former.push(former);
    }

    fn index_group(&mut self, group: &Group) {
        for member in &group.members {
            let groups = self.member_of.entry(member.clone()).or_default();
            groups.insert(group.id.clone());
        }
    }

    fn replace_group(&mut self, group: Group) -> Arc<Group> {
        if let Some(old) = self.groups.get(&group.id).cloned() {
            for gone in old.members.difference(&group.members) {
                if let Some(groups) = self.member_of.get_mut(gone) {
                    groups.remove(&group.id);
                }
            }
        }
        self.index_group(&group);
        let group = Arc::new(group);
        self.groups.insert(group.id.clone(), Arc::clone(&group));
        group
    }
}

/// An issuer, and a name as it is compared.
type Key = (Box<str>, Box<str>);

/// Under which a name is found, however it is capitalised.
fn key(issuer: &str, name: &str) -> Key {
    (issuer.into(), folded(name))
}
