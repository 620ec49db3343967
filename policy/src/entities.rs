//! From typed requests to what the engine evaluates: entities, built once per principal, resource and action, and the
//! context, of which only the facts that the policies mention are built.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use ahash::AHashSet;
use cedar_policy::{Context, Entities, Entity, EntityUid, RestrictedExpression as Expression};

use crate::destination::Destination;
use crate::facts::Facts;
use crate::posture::{PostureAttribute, PostureValue};
use crate::request::{Action, App, Principal, PrincipalKind, Request, Resource};
use crate::schema::{action_groups, uid, vocabulary};
use crate::time::Now;
use crate::window::{Civil, age_minutes};

/// The engine would not take what it was given. No input is known to cause it, and it never permits.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the request could not be put to the policies: {0}")]
pub(crate) struct Unaskable(pub(crate) String);

fn unaskable(error: impl std::fmt::Display) -> Unaskable {
    Unaskable(error.to_string())
}

/// Principal, action and resource as the engine names them, with what hangs on them.
pub(crate) struct Parties {
    pub(crate) principal: EntityUid,
    pub(crate) action: EntityUid,
    pub(crate) resource: EntityUid,
    pub(crate) entities: Entities,
}

/// The groups and roles that policies name. No policy can tell whether a principal is in another one, and people are in
/// hundreds.
#[derive(Debug, Default)]
pub(crate) struct Named {
    groups: AHashSet<Box<str>>,
    roles: AHashSet<Box<str>>,
}

impl Named {
    pub(crate) fn by<'a>(policies: impl Iterator<Item = &'a cedar_policy::Policy>) -> Self {
        let words = vocabulary();
        let mut named = Self::default();
        for literal in policies.flat_map(cedar_policy::Policy::entity_literals) {
            if *literal.type_name() == words.group {
                named.groups.insert(literal.id().unescaped().into());
            } else if *literal.type_name() == words.role {
                named.roles.insert(literal.id().unescaped().into());
            }
        }
        named
    }
}

impl Parties {
    /// With those groups and roles of `principal` that are `named`, or all.
    pub(crate) fn new(
        principal: &Principal,
        action: Action,
        resource: Resource<'_>,
        named: Option<&Named>,
    ) -> Result<Self, Unaskable> {
        let who = principal_entity(principal, named)?;
        let what = action_entity(action);
        let whither = match resource {
            Resource::App(app) => app_entity(app)?,
            Resource::Destination(destination) => destination_entity(destination)?,
        };
        Ok(Self {
            principal: who.uid(),
            action: what.uid(),
            resource: whither.uid(),
            // Groups, roles, levels, domains and the like are only ever named on the right of `in`, where their uid is enough.
            entities: Entities::from_entities([who, what, whither], None).map_err(unaskable)?,
        })
    }

    /// The request as the engine takes it, with those of its facts that are in `facts`.
    pub(crate) fn ask(
        &self,
        facts: Facts,
        request: &Request<'_>,
        now: Now,
    ) -> Result<cedar_policy::Request, Unaskable> {
        cedar_policy::Request::new(
            self.principal.clone(),
            self.action.clone(),
            self.resource.clone(),
            context(facts, request, now)?,
            None,
        )
        .map_err(unaskable)
    }
}

fn principal_entity(principal: &Principal, named: Option<&Named>) -> Result<Entity, Unaskable> {
    let words = vocabulary();
    let kind = match principal.kind() {
        PrincipalKind::User => &words.user,
        PrincipalKind::Service => &words.service,
    };
    let groups = principal.groups().iter();
    let groups = groups.filter(|id| named.is_none_or(|named| named.groups.contains(*id)));
    let roles = principal.roles().iter();
    let roles = roles.filter(|id| named.is_none_or(|named| named.roles.contains(*id)));
    let parents: HashSet<EntityUid> = groups
        .map(|id| uid(&words.group, id))
        .chain(roles.map(|id| uid(&words.role, id)))
        .collect();
    let mut attributes = HashMap::from([
        ("id".to_owned(), string(principal.id())),
        ("issuer".to_owned(), string(principal.issuer())),
    ]);
    if let Some(name) = principal.name() {
        attributes.insert("name".to_owned(), string(name));
    }
    Entity::new(uid(kind, principal.id()), attributes, parents).map_err(unaskable)
}

fn action_entity(action: Action) -> Entity {
    let kind = &vocabulary().action;
    let groups = action_groups(action).iter().map(|id| uid(kind, id));
    Entity::new_no_attrs(uid(kind, action.as_str()), groups.collect())
}

fn app_entity(app: &App) -> Result<Entity, Unaskable> {
    let words = vocabulary();
    let level = uid(&words.level, app.level().as_str());
    let groups = app.groups().iter().map(|id| uid(&words.app_group, id));
    let parents: HashSet<EntityUid> = groups.chain([level.clone()]).collect();
    let attributes = HashMap::from([
        ("name".to_owned(), string(app.name())),
        ("level".to_owned(), Expression::new_entity_uid(level)),
    ]);
    Entity::new(uid(&words.app, app.name()), attributes, parents).map_err(unaskable)
}

/// With those attributes and parents that the placer kept.
fn destination_entity(destination: &Destination) -> Result<Entity, Unaskable> {
    let words = vocabulary();
    let domains = destination
        .domains()
        .iter()
        .map(|id| uid(&words.domain, id));
    let categories = destination.categories().iter();
    let categories = categories.map(|id| uid(&words.category, id));
    let mut parents: HashSet<EntityUid> = domains.chain(categories).collect();
    let address = Expression::new_bool(destination.is_address());
    let mut attributes = HashMap::from([("address".to_owned(), address)]);
    let mut add = |name: &str, value: Option<Expression>| {
        attributes.extend(value.map(|value| (name.to_owned(), value)));
    };
    add("host", destination.host().map(string));
    let port = destination.port().map(i64::from);
    add("port", port.map(Expression::new_long));
    add("domain", destination.domain().map(string));
    if let Some(service) = destination.service() {
        let level = service
            .level()
            .map(|level| uid(&words.level, level.as_str()));
        add("service", Some(string(service.name())));
        add("tenant", service.tenant().map(string));
        add("level", level.clone().map(Expression::new_entity_uid));
        parents.insert(uid(&words.cloud_service, service.name()));
        parents.extend(service.groups().iter().map(|id| uid(&words.app_group, id)));
        parents.extend(level);
    }
    let id = uid(&words.destination, destination.id());
    Entity::new(id, attributes, parents).map_err(unaskable)
}

/// Fields of a record, of which only those in `facts` are built.
struct Fields {
    facts: Facts,
    pairs: Vec<(String, Expression)>,
}

impl Fields {
    fn of(facts: Facts) -> Self {
        Self {
            facts,
            pairs: Vec::new(),
        }
    }

    fn add(&mut self, fact: Facts, name: &str, value: impl FnOnce() -> Expression) {
        self.add_some(fact, name, || Some(value()));
    }

    fn add_some(&mut self, fact: Facts, name: &str, value: impl FnOnce() -> Option<Expression>) {
        if self.facts.any(fact)
            && let Some(value) = value()
        {
            self.pairs.push((name.to_owned(), value));
        }
    }

    fn record(self) -> Result<Expression, Unaskable> {
        Expression::new_record(self.pairs).map_err(unaskable)
    }
}

fn context(facts: Facts, request: &Request<'_>, now: Now) -> Result<Context, Unaskable> {
    // The records themselves are always there, since `context has device` is always true.
    Context::from_pairs([
        ("device".to_owned(), device(facts, request, now)?),
        (
            "authentication".to_owned(),
            authentication(facts, request, now)?,
        ),
        ("network".to_owned(), network(facts, request)?),
        ("time".to_owned(), time(facts, now)?),
        ("request".to_owned(), http(facts, request)?),
    ])
    .map_err(unaskable)
}

fn device(facts: Facts, request: &Request<'_>, now: Now) -> Result<Expression, Unaskable> {
    let words = vocabulary();
    let device = request.device;
    let mut fields = Fields::of(facts);
    fields.add(Facts::DEVICE_ID, "id", || string(device.id()));
    fields.add(Facts::DEVICE_KIND, "kind", || {
        Expression::new_entity_uid(uid(&words.device_kind, device.kind().as_str()))
    });
    fields.add(Facts::DEVICE_OWNERSHIP, "ownership", || {
        Expression::new_entity_uid(uid(&words.ownership, device.ownership().as_str()))
    });
    fields.add(Facts::DEVICE_OWNED, "owned_by_principal", || {
        Expression::new_bool(owned_by_principal(request))
    });
    fields.add(Facts::DEVICE_SHARED, "shared", || {
        Expression::new_bool(device.owner().is_none())
    });
    fields.add(Facts::DEVICE_GROUPS, "groups", || strings(device.groups()));
    let posture = posture(facts, request, now)?;
    fields.pairs.push(("posture".to_owned(), posture));
    fields.record()
}

/// A service account may be called like a person; it owns nothing.
fn owned_by_principal(request: &Request<'_>) -> bool {
    request.principal.kind() == PrincipalKind::User
        && request.device.owner() == Some(request.principal.id())
}

fn posture(facts: Facts, request: &Request<'_>, now: Now) -> Result<Expression, Unaskable> {
    let mut fields = Fields::of(facts);
    for attribute in PostureAttribute::ALL {
        let fact = Facts::posture(attribute);
        let Some(value) = request.device.posture().fresh(attribute, now.at) else {
            continue;
        };
        match (attribute, value) {
            (PostureAttribute::OsVersion, PostureValue::Version(major, minor, patch)) => {
                let version = version(major, minor, patch)?;
                fields.add(fact, attribute.as_str(), || version);
            }
            // A value of the wrong kind is no value.
            (PostureAttribute::OsVersion, PostureValue::Flag(_))
            | (_, PostureValue::Version(..)) => {}
            (_, PostureValue::Flag(flag)) => {
                fields.add(fact, attribute.as_str(), || Expression::new_bool(flag));
            }
        }
    }
    fields.record()
}

fn version(major: u32, minor: u32, patch: u32) -> Result<Expression, Unaskable> {
    let number = |name: &str, value: u32| (name.to_owned(), Expression::new_long(value.into()));
    let parts = [
        number("major", major),
        number("minor", minor),
        number("patch", patch),
    ];
    Expression::new_record(parts).map_err(unaskable)
}

fn authentication(facts: Facts, request: &Request<'_>, now: Now) -> Result<Expression, Unaskable> {
    let proof = request.authentication;
    let mut fields = Fields::of(facts);
    fields.add(Facts::MULTI_FACTOR, "multi_factor", || {
        Expression::new_bool(proof.multi_factor)
    });
    fields.add(Facts::PHISHING_RESISTANT, "phishing_resistant", || {
        Expression::new_bool(proof.phishing_resistant)
    });
    fields.add(Facts::CERTIFICATE_BOUND, "certificate_bound", || {
        Expression::new_bool(proof.certificate_bound)
    });
    fields.add_some(Facts::ACR, "acr", || proof.acr.as_deref().map(string));
    fields.add(Facts::METHODS, "methods", || strings(&proof.amr));
    fields.add_some(Facts::AGE, "age_minutes", || {
        let age = age_minutes(now.at, proof.authenticated_at?)?;
        Some(Expression::new_long(age))
    });
    fields.add(Facts::CREDENTIAL, "credential", || {
        let word = proof.credential().as_str();
        Expression::new_entity_uid(uid(&vocabulary().credential, word))
    });
    fields.record()
}

fn network(facts: Facts, request: &Request<'_>) -> Result<Expression, Unaskable> {
    let mut fields = Fields::of(facts);
    fields.add(Facts::ADDRESS, "address", || {
        Expression::new_ip(address_text(request.facts.address.to_canonical()))
    });
    fields.add(Facts::NETWORKS, "names", || strings(request.facts.networks));
    fields.record()
}

/// Cedar refuses the mixed notation (`::ffff:192.0.2.1`) that the standard library writes for some IPv6 addresses.
fn address_text(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => address
            .segments()
            .map(|group| format!("{group:x}"))
            .join(":"),
    }
}

fn time(facts: Facts, now: Now) -> Result<Expression, Unaskable> {
    let civil = Civil::at(now);
    let mut fields = Fields::of(facts);
    fields.add(Facts::HOUR, "hour", || Expression::new_long(civil.hour));
    fields.add(Facts::MINUTE, "minute_of_day", || {
        Expression::new_long(civil.minute_of_day)
    });
    fields.add(Facts::WEEKDAY, "weekday", || {
        Expression::new_entity_uid(uid(&vocabulary().weekday, civil.weekday))
    });
    fields.add(Facts::DATE, "date", || {
        let (year, month, day) = (civil.year, civil.month, civil.day);
        Expression::new_datetime(format!("{year:04}-{month:02}-{day:02}"))
    });
    fields.record()
}

fn http(facts: Facts, request: &Request<'_>) -> Result<Expression, Unaskable> {
    let mut fields = Fields::of(facts);
    fields.add(Facts::REQUEST_METHOD, "method", || {
        string(request.facts.method)
    });
    fields.add(Facts::REQUEST_HOST, "host", || string(request.facts.host));
    fields.add(Facts::REQUEST_PATH, "path", || string(request.facts.path));
    fields.add(Facts::REASON_GIVEN, "reason_given", || {
        Expression::new_bool(request.facts.reason_given)
    });
    fields.record()
}

fn string(text: &str) -> Expression {
    Expression::new_string(text.to_owned())
}

fn strings(texts: &[Box<str>]) -> Expression {
    Expression::new_set(texts.iter().map(|text| string(text)))
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};
    use std::sync::Arc;

    use super::*;
    use crate::request::Authentication;
    use crate::schema::schema;
    use crate::testing::{Asked, asked, laptop, user};
    use crate::time::Timestamp;

    fn addresses() -> [IpAddr; 7] {
        [
            Ipv4Addr::new(192, 0, 2, 1).into(),
            Ipv6Addr::LOCALHOST.into(),
            Ipv6Addr::UNSPECIFIED.into(),
            Ipv4Addr::new(192, 0, 2, 1).to_ipv6_mapped().into(),
            Ipv4Addr::new(192, 0, 2, 1).to_ipv6_compatible().into(),
            "2001:db8::1".parse().unwrap(),
            "fe80:1:2:3:4:5:ffff:ffff".parse().unwrap(),
        ]
    }

    #[test]
    fn whatever_we_build_is_what_the_schema_promises() {
        let none: [&str; 0] = [];
        let rich = asked();
        let service = Principal::new(
            PrincipalKind::Service,
            "backup",
            "certificate",
            None,
            ["ops"],
            none,
        );
        let poor = Asked {
            principal: Arc::new(service),
            device: laptop(Default::default()),
            authentication: Arc::new(Authentication::new(false, false, None, none, None, false)),
            path: "/\"\u{202e}\\".to_owned(),
            networks: Arc::from(["office".into()]),
            ..asked()
        };
        let hostile = Asked {
            principal: user("corp/\"q\\", &["\"", "情報"]),
            ..asked()
        };
        for mut asked in [rich, poor, hostile] {
            for (action, address) in Action::ALL.iter().cycle().zip(addresses()) {
                (asked.action, asked.address) = (*action, address);
                conforms(&asked);
            }
        }
    }

    fn conforms(asked: &Asked) {
        let parties = Parties::new(
            &asked.principal,
            asked.action,
            asked.request().resource,
            None,
        )
        .unwrap();
        let context = context(Facts::ALL, &asked.request(), asked.now).unwrap();
        let (principal, action) = (parties.principal.clone(), parties.action.clone());
        let resource = parties.resource.clone();
        cedar_policy::Request::new(principal, action, resource, context, Some(schema())).unwrap();
        Entities::from_entities(parties.entities, Some(schema())).unwrap();
    }

    #[test]
    fn a_device_is_not_owned_by_a_service_that_is_called_like_its_owner() {
        let none: [&str; 0] = [];
        let alike = Principal::new(
            PrincipalKind::Service,
            "corp/ada",
            "certificate",
            None,
            none,
            none,
        );
        let owned_by = |principal: Arc<Principal>| {
            let asked = Asked {
                principal,
                ..asked()
            };
            owned_by_principal(&asked.request())
        };
        assert!(owned_by(user("corp/ada", &[])));
        assert!(!owned_by(user("corp/bob", &[])));
        assert!(!owned_by(Arc::new(alike)));
    }

    #[test]
    fn a_date_beyond_the_calendar_cannot_be_asked_about_and_so_is_denied() {
        let far = Now::utc(Timestamp::MAX);
        assert!(
            time(Facts::DATE, far).is_ok(),
            "only evaluated by the engine"
        );
        let built = Context::from_pairs([("time".to_owned(), time(Facts::DATE, far).unwrap())]);
        assert!(built.is_err());
    }
}
