//! Changes, and what follows from them: the built-in provider's accounts, the directory, sessions, the record. In this order,
//! so that whatever fails on the way leaves less access, not more, and the same request sent again repairs it.

use std::collections::BTreeSet;
use std::sync::Arc;

use masugata_idp::{Account, AccountError, Accounts, Actor as AccountActor, Change, NewAccount};

use super::Clerk;
use super::error::{Kind, ScimError};
use crate::audit::event::{Person as Event, PersonKind};
use crate::control::desk::blank;
use crate::people::{Group, People, Person, Refused, Turn, folded};
use crate::session::Which;

/// Names of members in one record.
const NAMED: usize = 50;

impl Clerk {
    /// Puts a person into the directory, new or in the place of `before`.
    pub(super) async fn put_person(
        &self,
        before: Option<Arc<Person>>,
        mut after: Person,
    ) -> Result<Arc<Person>, ScimError> {
        if let Some(before) = &before {
            after.version = before.version;
            after.modified = before.modified;
            if **before == after {
                // Once more all the same: the last time may have come to nothing half-way.
                self.follow_person(Some(before), before).await;
                return Ok(Arc::clone(before));
            }
            after.version += 1;
            after.modified = self.note.at.as_millis();
        }
        let check = after.clone();
        self.in_turn(move |turn| turn.check_person(&check)).await?;
        if let Some(accounts) = &self.desk.accounts
            && self.built_in
        {
            self.put_account(accounts, before.as_deref(), &after)
                .await?;
        }
        let person = self.in_turn(move |turn| turn.put_person(after)).await?;
        self.follow_person(before.as_ref(), &person).await;
        Ok(person)
    }

    /// Takes a person out of the directory.
    pub(super) async fn remove_person(&self, person: Arc<Person>) -> Result<(), ScimError> {
        if let Some(accounts) = &self.desk.accounts
            && self.built_in
        {
            let id = folded(&person.user_name);
            match accounts.remove(&id, AccountActor::Scim, self.now()).await {
                Ok(()) | Err(AccountError::Unknown(_)) => {}
                Err(error) => return Err(of_account(error)),
            }
        }
        let gone = Arc::clone(&person);
        self.in_turn(move |turn| turn.remove_person(&gone).map_err(Refused::from))
            .await?;
        self.end_sessions(&person).await;
        self.tell(PersonKind::AccountRemoved, &person, None);
        Ok(())
    }

    /// Puts a group into the directory, new or in the place of `before`.
    pub(super) async fn put_group(
        &self,
        before: Option<Arc<Group>>,
        mut after: Group,
    ) -> Result<Arc<Group>, ScimError> {
        let mut group = None;
        if let Some(before) = &before {
            after.version = before.version;
            after.modified = before.modified;
            if **before == after {
                group = Some(Arc::clone(before));
            } else {
                after.version += 1;
                after.modified = self.note.at.as_millis();
            }
        }
        let none = BTreeSet::new();
        let old = before
            .as_ref()
            .map_or(&none, |group| &group.members)
            .clone();
        let touched: Vec<Box<str>> = old.union(&after.members).cloned().collect();
        let unchanged = group.is_some();
        let group = match group {
            Some(group) => group,
            None => self.in_turn(move |turn| turn.put_group(after)).await?,
        };
        self.desk.moved();
        if !unchanged {
            let word = if before.is_some() {
                "changed"
            } else {
                "created"
            };
            self.tell_group(word, &group, before.as_deref());
        }
        self.put_account_groups(touched).await?;
        Ok(group)
    }

    /// Takes a group out of the directory.
    pub(super) async fn remove_group(&self, group: Arc<Group>) -> Result<(), ScimError> {
        let gone = Arc::clone(&group);
        self.in_turn(move |turn| turn.remove_group(&gone).map_err(Refused::from))
            .await?;
        self.desk.moved();
        self.tell_group("removed", &group, Some(&group));
        self.put_account_groups(group.members.iter().cloned().collect())
            .await
    }

    /// Does something with the directory, off the threads that serve: changes wait for the disk.
    pub(super) async fn in_turn<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Turn<'_>) -> Result<T, Refused> + Send + 'static,
    ) -> Result<T, ScimError> {
        let people = Arc::clone(&self.people);
        let done = tokio::task::spawn_blocking(move || {
            let people: &People = &people;
            work(&mut people.turn())
        });
        match done.await {
            Ok(result) => result.map_err(ScimError::from),
            Err(error) => Err(ScimError::internal(&error)),
        }
    }

    async fn put_account(
        &self,
        accounts: &Accounts,
        before: Option<&Person>,
        after: &Person,
    ) -> Result<(), ScimError> {
        let id = folded(&after.user_name);
        if before.is_some_and(|before| folded(&before.user_name) != id) {
            let detail = "an account keeps its name";
            return Err(ScimError::of(Kind::Mutability, detail));
        }
        let (by, now) = (AccountActor::Scim, self.now());
        let known = accounts.get(&id);
        if before.is_none() && known.is_none() {
            let new = NewAccount {
                user: id.to_string(),
                display_name: after.shown_name().unwrap_or_default(),
                email: after.email().map(str::to_owned),
                groups: Vec::new(),
                external_id: after.external_id.as_deref().map(str::to_owned),
            };
            accounts.add(new, by, now).await.map_err(of_account)?;
            if !after.active {
                accounts.disable(&id, by, now).await.map_err(of_account)?;
            }
            return Ok(());
        }
        let change = Change {
            display_name: after.shown_name(),
            email: Some(after.email().map(str::to_owned)),
            groups: None,
            // An administrator may have disabled it, too; what does not speak of that must not undo it.
            active: match before {
                _ if !after.active => Some(false),
                Some(before) if before.active => None,
                Some(_) | None => Some(true),
            },
            external_id: Some(after.external_id.as_deref().map(str::to_owned)),
        };
        match accounts.change(&id, change, by, now).await {
            Ok(_) => Ok(()),
            // An administrator removed it; that it is to be inactive is true.
            Err(AccountError::Unknown(_)) if !after.active => Ok(()),
            Err(error) => Err(of_account(error)),
        }
    }

    /// Gives the accounts of these people the groups that the directory has for them.
    async fn put_account_groups(&self, ids: Vec<Box<str>>) -> Result<(), ScimError> {
        let Some(accounts) = self.desk.accounts.as_ref().filter(|_| self.built_in) else {
            return Ok(());
        };
        let issuer = self.issuer.clone();
        let wanted = self
            .in_turn(move |turn| {
                let of = |id: Box<str>| {
                    let person = turn.person(&issuer, &id)?;
                    let groups = turn.groups_of(&id);
                    let mut names: Vec<String> = groups
                        .iter()
                        .map(|group| group.display_name.to_string())
                        .collect();
                    names.sort_unstable();
                    names.dedup();
                    Some((folded(&person.user_name), names))
                };
                Ok(ids.into_iter().filter_map(of).collect::<Vec<_>>())
            })
            .await?;
        for (id, groups) in wanted {
            let same = |account: &Account| account.groups.iter().map(|it| &**it).eq(groups.iter());
            if accounts.get(&id).is_none_or(|account| same(&account)) {
                continue;
            }
            let (by, now) = (AccountActor::Scim, self.now());
            match accounts.set_groups(&id, groups, by, now).await {
                Ok(_) | Err(AccountError::Unknown(_)) => {}
                Err(error) => return Err(of_account(error)),
            }
        }
        Ok(())
    }

    /// Sessions and the record, after a change.
    async fn follow_person(&self, before: Option<&Arc<Person>>, after: &Person) {
        if !after.active {
            self.end_sessions(after).await;
        }
        let Some(before) = before else {
            self.tell(PersonKind::AccountCreated, after, None);
            return;
        };
        if **before == *after {
            return;
        }
        let renamed = before.name_for(self.user) != after.name_for(self.user);
        if renamed {
            self.end_sessions(before).await;
        }
        let kind = match (before.active, after.active) {
            (true, false) => PersonKind::AccountDisabled,
            (false, true) => PersonKind::AccountEnabled,
            (true, true) | (false, false) => PersonKind::AccountChanged,
        };
        let detail = renamed.then(|| format!("was {}", before.user_name));
        self.tell(kind, after, detail);
        self.desk.moved();
    }

    /// Ends whatever somebody has open who does not count any more.
    async fn end_sessions(&self, person: &Person) {
        self.desk.moved();
        self.desk.end_inactive(&self.note).await;
        let which = Which::User {
            issuer: self.issuer.clone(),
            subject: person.external_id.clone(),
            user_name: Some(person.user_name.clone()),
            email: None,
        };
        self.desk.end(&which, &self.note).await;
    }

    /// Accounts tell of themselves.
    fn tell(&self, kind: PersonKind, person: &Person, detail: Option<String>) {
        if self.built_in && self.desk.accounts.is_some() {
            return;
        }
        let name = person.name_for(self.user);
        let about = Event {
            principal: name.map(|name| format!("{}/{name}", self.issuer).into()),
            name: Some(person.user_name.clone()),
            issuer: Some(self.issuer.clone()),
            detail: detail.map(Into::into),
            ..blank()
        };
        self.desk.note(&self.note, kind, about);
    }

    fn tell_group(&self, word: &str, group: &Group, before: Option<&Group>) {
        let none = BTreeSet::new();
        let old = before.map_or(&none, |before| &before.members);
        let removed = word == "removed";
        let joined = group.members.difference(old).cloned();
        let left: Vec<_> = if removed {
            group.members.iter().cloned().collect()
        } else {
            old.difference(&group.members).cloned().collect()
        };
        let mut detail = format!("group `{}` {word}", group.display_name);
        let was = before.filter(|before| before.display_name != group.display_name);
        if let Some(was) = was {
            detail.push_str(&format!("; was `{}`", was.display_name));
        }
        for (what, ids) in [("joined", joined.collect::<Vec<_>>()), ("left", left)] {
            if !ids.is_empty() {
                detail.push_str(&format!("; {what} ({}): {}", ids.len(), self.names(&ids)));
            }
        }
        let about = Event {
            issuer: Some(self.issuer.clone()),
            detail: Some(detail.into()),
            ..blank()
        };
        self.desk
            .note(&self.note, PersonKind::AccountChanged, about);
    }

    /// Of the first of these people.
    fn names(&self, ids: &[Box<str>]) -> String {
        let turn = self.people.turn();
        let named = ids.iter().take(NAMED).map(|id| {
            let person = turn.person(&self.issuer, id);
            person.map_or_else(|| id.clone(), |person| person.user_name.clone())
        });
        let mut names = named.collect::<Vec<_>>().join(", ");
        if ids.len() > NAMED {
            names.push_str(", …");
        }
        names
    }

    fn now(&self) -> i64 {
        self.note.at.as_millis()
    }
}

fn of_account(error: AccountError) -> ScimError {
    match error {
        AccountError::Exists(_) | AccountError::Used(_) | AccountError::ExternalId(_) => {
            ScimError::of(Kind::Uniqueness, error.to_string())
        }
        AccountError::Invalid { .. } => ScimError::value(error.to_string()),
        AccountError::Unknown(_) | AccountError::Disabled(_) => {
            ScimError::new(http::StatusCode::CONFLICT, error.to_string())
        }
        AccountError::Store(_) => ScimError::internal(&error),
    }
}
