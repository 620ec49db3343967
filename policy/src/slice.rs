//! The policies that can matter to one principal, action and resource, found by their scopes without evaluating anything,
//! and the facts that those policies mention.
//!
//! A policy left out of a slice could not have matched, nor failed to evaluate: the scope is checked before any condition.

use std::sync::Arc;

use ahash::AHashMap;
use cedar_policy::{
    ActionConstraint, EntityTypeName, EntityUid, PrincipalConstraint, ResourceConstraint,
};
use quick_cache::sync::Cache;

use crate::destination::Destination;
use crate::facts::Facts;
use crate::request::{Action, App, Level, Principal, PrincipalKind, Resource};
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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ResourceKind {
    App,
    Destination,
}

impl ResourceKind {
    fn of(resource: Resource<'_>) -> Self {
        match resource {
            Resource::App(_) => Self::App,
            Resource::Destination(_) => Self::Destination,
        }
    }
}

/// Apps and destinations can be in the same groups and levels; the rest belongs to one of the two.
#[derive(Clone, Debug)]
enum ResourceScope {
    Any,
    Kind(ResourceKind),
    App(Box<str>),
    Destination(Box<str>),
    Group(Option<ResourceKind>, Box<str>),
    Level(Option<ResourceKind>, Level),
    Domain(Box<str>),
    Category(Box<str>),
    Service(Box<str>),
    Nothing,
}

impl ResourceScope {
    /// Of which kind the resources are that it can admit; `None` for both.
    fn kind(&self) -> Option<ResourceKind> {
        match self {
            Self::Any | Self::Nothing => None,
            Self::Kind(kind) => Some(*kind),
            Self::Group(kind, _) | Self::Level(kind, _) => *kind,
            Self::App(_) => Some(ResourceKind::App),
            Self::Destination(_) | Self::Domain(_) | Self::Category(_) | Self::Service(_) => {
                Some(ResourceKind::Destination)
            }
        }
    }
}

impl Scope {
    pub(crate) fn of(policy: &cedar_policy::Policy) -> Self {
        Self {
            principal: principal_scope(&policy.principal_constraint()),
            actions: action_scope(&policy.action_constraint()),
            resource: resource_scope(&policy.resource_constraint()),
        }
    }

    fn admits(&self, principal: &Principal, action: Action, kind: ResourceKind) -> bool {
        self.includes(action)
            && self.resource.kind().is_none_or(|only| only == kind)
            && self.principal.admits(principal)
    }

    /// Whether `action` is among its actions.
    pub(crate) fn includes(&self, action: Action) -> bool {
        self.actions & action_bit(action) != 0
    }

    /// No app can be meant.
    pub(crate) fn concerns_destinations_only(&self) -> bool {
        self.resource.kind() == Some(ResourceKind::Destination)
    }

    /// No destination can be meant.
    pub(crate) fn concerns_apps_only(&self) -> bool {
        self.resource.kind() == Some(ResourceKind::App)
    }

    /// It admits every destination there is without naming one.
    pub(crate) fn opens_everything(&self) -> bool {
        matches!(self.resource, ResourceScope::Any) && self.includes(Action::Connect)
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

fn resource_kind(name: &EntityTypeName) -> Option<ResourceKind> {
    let words = vocabulary();
    if *name == words.app {
        Some(ResourceKind::App)
    } else if *name == words.destination {
        Some(ResourceKind::Destination)
    } else {
        None
    }
}

fn resource_scope(constraint: &ResourceConstraint) -> ResourceScope {
    match constraint {
        ResourceConstraint::Any => ResourceScope::Any,
        ResourceConstraint::Is(name) => {
            resource_kind(name).map_or(ResourceScope::Nothing, ResourceScope::Kind)
        }
        ResourceConstraint::Eq(uid) => one_resource(uid),
        ResourceConstraint::In(uid) => resources_in(None, uid),
        ResourceConstraint::IsIn(name, uid) => match resource_kind(name) {
            Some(kind) => resources_in(Some(kind), uid),
            None => ResourceScope::Nothing,
        },
    }
}

fn one_resource(uid: &EntityUid) -> ResourceScope {
    let id = uid.id().unescaped().into();
    match resource_kind(uid.type_name()) {
        Some(ResourceKind::App) => ResourceScope::App(id),
        Some(ResourceKind::Destination) => ResourceScope::Destination(id),
        None => ResourceScope::Nothing,
    }
}

fn resources_in(kind: Option<ResourceKind>, uid: &EntityUid) -> ResourceScope {
    let words = vocabulary();
    let (group, id) = (uid.type_name(), uid.id().unescaped());
    let destinations = kind != Some(ResourceKind::App);
    if *group == words.app_group {
        return ResourceScope::Group(kind, id.into());
    }
    if *group == words.level {
        let level = Level::parse(id);
        return level.map_or(ResourceScope::Nothing, |level| {
            ResourceScope::Level(kind, level)
        });
    }
    if *group == words.domain && destinations {
        return ResourceScope::Domain(id.into());
    }
    if *group == words.category && destinations {
        return ResourceScope::Category(id.into());
    }
    if *group == words.cloud_service && destinations {
        return ResourceScope::Service(id.into());
    }
    // Everything is in itself.
    match resource_kind(group) {
        Some(itself) if kind.is_none_or(|kind| kind == itself) => one_resource(uid),
        _ => ResourceScope::Nothing,
    }
}

/// Policies by what their resource scope names, and then by what their principal scope names.
#[derive(Debug, Default)]
pub(crate) struct Index {
    any: Bucket,
    any_app: Bucket,
    any_destination: Bucket,
    by_app: AHashMap<Box<str>, Bucket>,
    by_destination: AHashMap<Box<str>, Bucket>,
    by_group: AHashMap<Box<str>, Bucket>,
    by_level: [Bucket; Level::ALL.len()],
    by_domain: AHashMap<Box<str>, Bucket>,
    by_category: AHashMap<Box<str>, Bucket>,
    by_service: AHashMap<Box<str>, Bucket>,
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
            if let Some(bucket) = index.bucket(&scope.resource) {
                bucket.add(&scope.principal, position);
            }
        }
        index
    }

    fn bucket(&mut self, scope: &ResourceScope) -> Option<&mut Bucket> {
        let (map, name) = match scope {
            ResourceScope::Any => return Some(&mut self.any),
            ResourceScope::Kind(ResourceKind::App) => return Some(&mut self.any_app),
            ResourceScope::Kind(ResourceKind::Destination) => {
                return Some(&mut self.any_destination);
            }
            ResourceScope::Level(_, level) => return self.by_level.get_mut(*level as usize),
            ResourceScope::Nothing => return None,
            ResourceScope::App(name) => (&mut self.by_app, name),
            ResourceScope::Destination(host) => (&mut self.by_destination, host),
            ResourceScope::Group(_, name) => (&mut self.by_group, name),
            ResourceScope::Domain(name) => (&mut self.by_domain, name),
            ResourceScope::Category(name) => (&mut self.by_category, name),
            ResourceScope::Service(name) => (&mut self.by_service, name),
        };
        Some(map.entry(name.clone()).or_default())
    }

    /// Positions of the policies whose scope admits the three, ascending.
    pub(crate) fn admitting(
        &self,
        policies: &[Compiled],
        principal: &Principal,
        action: Action,
        resource: Resource<'_>,
    ) -> Vec<u32> {
        let buckets = match resource {
            Resource::App(app) => self.concerning_app(app),
            Resource::Destination(destination) => self.concerning_destination(destination),
        };
        let kind = ResourceKind::of(resource);
        let mut found: Vec<u32> = buckets
            .into_iter()
            .flat_map(|bucket| bucket.concerning(principal))
            .filter(|position| {
                let policy = policies.get(*position as usize);
                policy.is_some_and(|policy| policy.scope.admits(principal, action, kind))
            })
            .collect();
        found.sort_unstable();
        // A list that names a category twice must not make a policy count twice.
        found.dedup();
        found
    }

    fn concerning_app<'a>(&'a self, app: &'a App) -> Vec<&'a Bucket> {
        let mut buckets = vec![&self.any, &self.any_app];
        buckets.extend(self.by_app.get(app.name()));
        buckets.extend(self.grouped(app.groups()));
        buckets.extend(self.by_level.get(app.level() as usize));
        buckets
    }

    fn concerning_destination<'a>(&'a self, destination: &'a Destination) -> Vec<&'a Bucket> {
        let mut buckets = vec![&self.any, &self.any_destination];
        buckets.extend(self.by_destination.get(destination.id()));
        let domains = destination.domains().iter();
        buckets.extend(domains.filter_map(|domain| self.by_domain.get(domain)));
        let categories = destination.categories().iter();
        buckets.extend(categories.filter_map(|category| self.by_category.get(&**category)));
        if let Some(service) = destination.service() {
            buckets.extend(self.by_service.get(service.name()));
            buckets.extend(self.grouped(service.groups()));
            let level = service.level();
            buckets.extend(level.and_then(|level| self.by_level.get(level as usize)));
        }
        buckets
    }

    fn grouped<'a>(&'a self, groups: &'a [Box<str>]) -> impl Iterator<Item = &'a Bucket> {
        groups.iter().filter_map(|group| self.by_group.get(group))
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
