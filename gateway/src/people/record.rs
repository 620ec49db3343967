//! What is kept of a person, of a group, and of whoever is gone. Written as JSON; a member that is not known here means
//! that a newer version wrote it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::config::sign_in::ScimUser;

/// A provisioned person. Attributes that are not here are not kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Person {
    /// Made by us; never used again.
    pub id: Box<str>,
    /// The configured name.
    pub issuer: Box<str>,
    pub user_name: Box<str>,
    pub external_id: Option<Box<str>>,
    pub active: bool,
    pub display_name: Option<Box<str>>,
    pub formatted_name: Option<Box<str>>,
    pub given_name: Option<Box<str>>,
    pub family_name: Option<Box<str>>,
    pub emails: Vec<Email>,
    /// Milliseconds since 1970.
    pub created: i64,
    pub modified: i64,
    /// Counts changes, from 1.
    pub version: u64,
}

/// An address of a person.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Email {
    pub value: Box<str>,
    pub kind: Option<Box<str>>,
    pub primary: bool,
}

/// A provisioned group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    pub id: Box<str>,
    pub issuer: Box<str>,
    pub display_name: Box<str>,
    pub external_id: Option<Box<str>>,
    /// Ids of people.
    pub members: BTreeSet<Box<str>>,
    pub created: i64,
    pub modified: i64,
    pub version: u64,
}

/// Names that somebody had: whoever shows one of them and is nobody else is inactive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Former {
    pub issuer: Box<str>,
    pub user_name: Option<Box<str>>,
    pub external_id: Option<Box<str>>,
}

impl Person {
    /// What the second half of the principal's id equals.
    pub fn name_for(&self, user: ScimUser) -> Option<&str> {
        match user {
            ScimUser::UserName => Some(&self.user_name),
            ScimUser::ExternalId => self.external_id.as_deref(),
        }
    }

    /// The address that counts: the primary one, else the first.
    pub fn email(&self) -> Option<&str> {
        let primary = self.emails.iter().find(|email| email.primary);
        primary.or(self.emails.first()).map(|email| &*email.value)
    }

    /// What people call them.
    pub fn shown_name(&self) -> Option<String> {
        let given = [&self.display_name, &self.formatted_name];
        if let Some(name) = given.into_iter().flatten().next() {
            return Some(name.to_string());
        }
        let parts = [&self.given_name, &self.family_name];
        let parts: Vec<&str> = parts.into_iter().flatten().map(|part| &**part).collect();
        (!parts.is_empty()).then(|| parts.join(" "))
    }

    /// The names that `after` does not have any more.
    pub(super) fn lost_names(&self, after: &Self) -> Option<Former> {
        let user_name = (self.user_name != after.user_name).then(|| self.user_name.clone());
        let external_id = self
            .external_id
            .clone()
            .filter(|old| after.external_id.as_ref() != Some(old));
        (user_name.is_some() || external_id.is_some()).then(|| Former {
            issuer: self.issuer.clone(),
            user_name,
            external_id,
        })
    }
}

impl Group {
    /// As it is when somebody has left it.
    pub(super) fn without(&self, person: &str) -> Self {
        let mut group = self.clone();
        group.members.remove(person);
        group.version += 1;
        group
    }
}

impl Former {
    pub(super) fn of(person: &Person) -> Self {
        Self {
            issuer: person.issuer.clone(),
            user_name: Some(person.user_name.clone()),
            external_id: person.external_id.clone(),
        }
    }

    pub(super) fn name_for(&self, user: ScimUser) -> Option<&str> {
        match user {
            ScimUser::UserName => self.user_name.as_deref(),
            ScimUser::ExternalId => self.external_id.as_deref(),
        }
    }
}
