//! The policies that can matter to one principal, action and app, found by their scopes without evaluating anything,
//! and the facts that those policies mention.
//!
//! A policy left out of a slice could not have matched, nor failed to evaluate: the scope is checked before any condition.

use std::sync::Arc;

use ahash::AHashMap;
use cedar_policy::{
    ActionConstraint, EntityTypeName, EntityUid, PrincipalConstraint, ResourceConstraint,
};
use quick_cache::sync::Cache;

use crate::facts::Facts;
use crate::request::{Action, App, Level, Principal, PrincipalKind};
use crate::schema::{action_groups, vocabulary};
use crate::set::Compiled;

/// The head of a policy, in a form that is cheap to match.
#[derive(Clone, Debug)]
pub(crate) struct Scope {
    principal: PrincipalScope,
    /// One bit per [`Action`].
    actions: u8,
    resource: ResourceScope,
}

#[derive(Clone, Debug)]
enum PrincipalScope {
    Any,
    Kind(PrincipalKind),
    One(PrincipalKind, Box<str>),
    Group(Option<PrincipalKind>, Box<str>),
    Role(Option<PrincipalKind>, Box<str>),
    Nobody,
}

#[derive(Clone, Debug)]
enum ResourceScope {
    Any,
    One(Box<str>),
    Group(Box<str>),
    Level(Level),
    Nothing,
}

impl Scope {
    pub(crate) fn of(policy: &cedar_policy::Policy) -> Self {
        Self {
            principal: principal_scope(&policy.principal_constraint()),
            actions: action_scope(&policy.action_constraint()),
            resource: resource_scope(&policy.resource_constraint()),
        }
    }

    fn admits(&self, principal: &Principal, action: Action) -> bool {
        self.actions & action_bit(action) != 0 && self.principal.admits(principal)
    }
}

impl PrincipalScope {
    fn admits(&self, principal: &Principal) -> bool {
        let is = |kind: &PrincipalKind| *kind == principal.kind();
        match self {
            Self::Any => true,
            Self::Kind(kind) => is(kind),
            Self::One(kind, id) => is(kind) && **id == *principal.id(),
            Self::Group(kind, id) => {
                kind.as_ref().is_none_or(is) && principal.groups().binary_search(id).is_ok()
            }
            Self::Role(kind, id) => {
                kind.as_ref().is_none_or(is) && principal.roles().binary_search(id).is_ok()
            }
            Self::Nobody => false,
        }
    }
}

fn principal_kind(name: &EntityTypeName) -> Option<PrincipalKind> {
    let words = vocabulary();
    if *name == words.user {
        Some(PrincipalKind::User)
    } else if *name == words.service {
        Some(PrincipalKind::Service)
    } else {
        None
    }
}

fn principal_scope(constraint: &PrincipalConstraint) -> PrincipalScope {
    match constraint {
        PrincipalConstraint::Any => PrincipalScope::Any,
        PrincipalConstraint::Is(name) => {
            principal_kind(name).map_or(PrincipalScope::Nobody, PrincipalScope::Kind)
        }
        PrincipalConstraint::Eq(uid) => match principal_kind(uid.type_name()) {
            Some(kind) => PrincipalScope::One(kind, uid.id().unescaped().into()),
            None => PrincipalScope::Nobody,
        },
        PrincipalConstraint::In(uid) => principals_in(None, uid),
        PrincipalConstraint::IsIn(name, uid) => match principal_kind(name) {
            Some(kind) => principals_in(Some(kind), uid),
            None => PrincipalScope::Nobody,
        },
    }
}

fn principals_in(kind: Option<PrincipalKind>, uid: &EntityUid) -> PrincipalScope {
    let words = vocabulary();
    let id: Box<str> = uid.id().unescaped().into();
    if *uid.type_name() == words.group {
        return PrincipalScope::Group(kind, id);
    }
    if *uid.type_name() == words.role {
        return PrincipalScope::Role(kind, id);
    }
    // Everything is in itself.
    match principal_kind(uid.type_name()) {
        Some(itself) if kind.is_none_or(|kind| kind == itself) => PrincipalScope::One(itself, id),
        _ => PrincipalScope::Nobody,
    }
}

fn action_bit(action: Action) -> u8 {
    1 << action as u8
}

fn action_scope(constraint: &ActionConstraint) -> u8 {
    let matching = |matches: &dyn Fn(Action) -> bool| {
        let actions = Action::ALL.into_iter().filter(|action| matches(*action));
        actions.fold(0, |bits, action| bits | action_bit(action))
    };
    let is = |action: Action, uid: &EntityUid| {
        *uid.type_name() == vocabulary().action && uid.id().unescaped() == action.as_str()
    };
    let is_in = |action: Action, uid: &EntityUid| {
        let groups = action_groups(action);
        let named =
            *uid.type_name() == vocabulary().action && groups.contains(&uid.id().unescaped());
        named || is(action, uid)
    };
    match constraint {
        ActionConstraint::Any => matching(&|_| true),
        ActionConstraint::Eq(uid) => matching(&|action| is(action, uid)),
        ActionConstraint::In(uids) => matching(&|action| uids.iter().any(|uid| is_in(action, uid))),
    }
}

fn resource_scope(constraint: &ResourceConstraint) -> ResourceScope {
    let words = vocabulary();
    let is_app = |name: &EntityTypeName| *name == words.app;
    match constraint {
        ResourceConstraint::Any => ResourceScope::Any,
        ResourceConstraint::Is(name) if is_app(name) => ResourceScope::Any,
        ResourceConstraint::Eq(uid) if is_app(uid.type_name()) => {
            ResourceScope::One(uid.id().unescaped().into())
        }
        ResourceConstraint::In(uid) => apps_in(uid),
        ResourceConstraint::IsIn(name, uid) if is_app(name) => apps_in(uid),
        ResourceConstraint::Is(_) | ResourceConstraint::Eq(_) | ResourceConstraint::IsIn(..) => {
            ResourceScope::Nothing
        }
    }
}

fn apps_in(uid: &EntityUid) -> ResourceScope {
    let words = vocabulary();
    let id = uid.id().unescaped();
    if *uid.type_name() == words.app {
        ResourceScope::One(id.into())
    } else if *uid.type_name() == words.app_group {
        ResourceScope::Group(id.into())
    } else if *uid.type_name() == words.level {
        Level::parse(id).map_or(ResourceScope::Nothing, ResourceScope::Level)
    } else {
        ResourceScope::Nothing
    }
}

/// Policies by what their resource scope names, and then by what their principal scope names.
#[derive(Debug, Default)]
pub(crate) struct Index {
    any: Bucket,
    by_app: AHashMap<Box<str>, Bucket>,
    by_group: AHashMap<Box<str>, Bucket>,
    by_level: [Bucket; Level::ALL.len()],
}

/// Positions in the set.
#[derive(Debug, Default)]
struct Bucket {
    any: Vec<u32>,
    by_id: AHashMap<Box<str>, Vec<u32>>,
    by_group: AHashMap<Box<str>, Vec<u32>>,
    by_role: AHashMap<Box<str>, Vec<u32>>,
}

impl Bucket {
    fn add(&mut self, scope: &PrincipalScope, position: u32) {
        let list = match scope {
            PrincipalScope::Any | PrincipalScope::Kind(_) => &mut self.any,
            PrincipalScope::One(_, id) => self.by_id.entry(id.clone()).or_default(),
            PrincipalScope::Group(_, id) => self.by_group.entry(id.clone()).or_default(),
            PrincipalScope::Role(_, id) => self.by_role.entry(id.clone()).or_default(),
            PrincipalScope::Nobody => return,
        };
        list.push(position);
    }

    fn concerning<'a>(&'a self, principal: &'a Principal) -> impl Iterator<Item = u32> + 'a {
        let own = self.by_id.get(principal.id());
        let groups = named_in(&self.by_group, principal.groups());
        let roles = named_in(&self.by_role, principal.roles());
        let lists = [&self.any]
            .into_iter()
            .chain(own)
            .chain(groups)
            .chain(roles);
        lists.flatten().copied()
    }
}

fn named_in<'a>(
    map: &'a AHashMap<Box<str>, Vec<u32>>,
    names: &'a [Box<str>],
) -> impl Iterator<Item = &'a Vec<u32>> {
    // Most buckets name nobody, and a principal may be in hundreds of groups.
    let names = if map.is_empty() { &[] } else { names };
    names.iter().filter_map(|name| map.get(name))
}

impl Index {
    pub(crate) fn of(policies: &[Compiled]) -> Self {
        let mut index = Self::default();
        for (position, policy) in (0..).zip(policies) {
            let scope = &policy.scope;
            let bucket = match &scope.resource {
                ResourceScope::Any => Some(&mut index.any),
                ResourceScope::One(app) => Some(index.by_app.entry(app.clone()).or_default()),
                ResourceScope::Group(group) => {
                    Some(index.by_group.entry(group.clone()).or_default())
                }
                ResourceScope::Level(level) => index.by_level.get_mut(*level as usize),
                ResourceScope::Nothing => None,
            };
            if let Some(bucket) = bucket {
                bucket.add(&scope.principal, position);
            }
        }
        index
    }

    /// Positions of the policies whose scope admits the three, ascending.
    pub(crate) fn admitting(
        &self,
        policies: &[Compiled],
        principal: &Principal,
        action: Action,
        app: &App,
    ) -> Vec<u32> {
        let own = self.by_app.get(app.name());
        let grouped = app
            .groups()
            .iter()
            .filter_map(|group| self.by_group.get(group));
        let levelled = self.by_level.get(app.level() as usize);
        let buckets = [&self.any]
            .into_iter()
            .chain(own)
            .chain(grouped)
            .chain(levelled);
        let mut found: Vec<u32> = buckets
            .flat_map(|bucket| bucket.concerning(principal))
            .filter(|position| {
                let policy = policies.get(*position as usize);
                policy.is_some_and(|policy| policy.scope.admits(principal, action))
            })
            .collect();
        found.sort_unstable();
        found
    }
}

/// Policies that are evaluated together, and what they mention.
pub(crate) struct Slice {
    pub(crate) members: Box<[u32]>,
    pub(crate) policies: cedar_policy::PolicySet,
    pub(crate) facts: Facts,
}

impl Slice {
    pub(crate) fn new(
        set: &[Compiled],
        members: Box<[u32]>,
    ) -> Result<Self, crate::entities::Unaskable> {
        let chosen = || {
            members
                .iter()
                .filter_map(|position| set.get(*position as usize))
        };
        let facts = chosen().fold(Facts::NONE, |facts, policy| facts.and(policy.facts));
        let policies =
            cedar_policy::PolicySet::from_policies(chosen().map(|policy| policy.policy.clone()))
                .map_err(|error| crate::entities::Unaskable(error.to_string()))?;
        Ok(Self {
            policies,
            facts,
            members,
        })
    }
}

/// Slices by their members: people with the same rights share one.
pub(crate) struct Slices(Cache<Box<[u32]>, Arc<Slice>>);

impl Slices {
    /// How many are kept. A company has about as many as it has combinations of groups and apps that policies tell apart.
    const KEPT: usize = 2048;

    pub(crate) fn new() -> Self {
        Self(Cache::new(Self::KEPT))
    }

    pub(crate) fn of(
        &self,
        set: &[Compiled],
        members: Vec<u32>,
    ) -> Result<Arc<Slice>, crate::entities::Unaskable> {
        if let Some(slice) = self.0.get(members.as_slice()) {
            return Ok(slice);
        }
        let members: Box<[u32]> = members.into();
        let slice = Arc::new(Slice::new(set, members.clone())?);
        self.0.insert(members, Arc::clone(&slice));
        Ok(slice)
    }
}
