//! Which facts of a request a policy can read: the leaves of `context`, as a set of bits, and how the set is found by
//! walking a policy. What a policy does not mention cannot change its answer, so it need not be built, compared or timed.

use cedar_policy::pst;

use crate::posture::PostureAttribute;

/// A set of leaves of `context`. The first [`PostureAttribute::COUNT`] bits are posture attributes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Facts(u64);

const fn bit(index: usize) -> Facts {
    Facts(1 << index)
}

impl Facts {
    pub(crate) const NONE: Self = Self(0);
    const POSTURE: Self = Self((1 << PostureAttribute::COUNT) - 1);

    pub(crate) const DEVICE_ID: Self = bit(16);
    pub(crate) const DEVICE_KIND: Self = bit(17);
    pub(crate) const DEVICE_OWNERSHIP: Self = bit(18);
    pub(crate) const DEVICE_OWNED: Self = bit(19);
    pub(crate) const DEVICE_GROUPS: Self = bit(20);
    pub(crate) const MULTI_FACTOR: Self = bit(21);
    pub(crate) const PHISHING_RESISTANT: Self = bit(22);
    pub(crate) const CERTIFICATE_BOUND: Self = bit(23);
    pub(crate) const ACR: Self = bit(24);
    pub(crate) const METHODS: Self = bit(25);
    pub(crate) const AGE: Self = bit(26);
    pub(crate) const ADDRESS: Self = bit(27);
    pub(crate) const NETWORKS: Self = bit(28);
    pub(crate) const HOUR: Self = bit(29);
    pub(crate) const MINUTE: Self = bit(30);
    pub(crate) const WEEKDAY: Self = bit(31);
    pub(crate) const DATE: Self = bit(32);
    pub(crate) const REQUEST_METHOD: Self = bit(33);
    pub(crate) const REQUEST_HOST: Self = bit(34);
    pub(crate) const REQUEST_PATH: Self = bit(35);
    pub(crate) const DEVICE_SHARED: Self = bit(36);
    pub(crate) const CREDENTIAL: Self = bit(37);
    pub(crate) const REASON_GIVEN: Self = bit(38);

    /// Everything there is to know.
    pub(crate) const ALL: Self = Self(Self::POSTURE.0 | ((1 << 39) - (1 << 16)));

    /// Facts of the device, whichever time it is.
    pub(crate) const DEVICE: Self = Self(
        Self::POSTURE.0
            | Self::DEVICE_ID.0
            | Self::DEVICE_KIND.0
            | Self::DEVICE_OWNERSHIP.0
            | Self::DEVICE_OWNED.0
            | Self::DEVICE_SHARED.0
            | Self::DEVICE_GROUPS.0,
    );
    /// Facts of the authentication.
    pub(crate) const AUTHENTICATION: Self = Self(
        Self::MULTI_FACTOR.0
            | Self::PHISHING_RESISTANT.0
            | Self::CERTIFICATE_BOUND.0
            | Self::ACR.0
            | Self::METHODS.0
            | Self::AGE.0
            | Self::CREDENTIAL.0,
    );
    /// Facts that depend on the zone's offset.
    pub(crate) const CIVIL: Self =
        Self(Self::HOUR.0 | Self::MINUTE.0 | Self::WEEKDAY.0 | Self::DATE.0);

    /// The fact that `attribute` is what it is, and fresh.
    pub(crate) const fn posture(attribute: PostureAttribute) -> Self {
        bit(attribute as usize)
    }

    /// Both.
    pub(crate) const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether any of `others` is in it.
    pub(crate) const fn any(self, others: Self) -> bool {
        self.0 & others.0 != 0
    }
}

/// Every leaf but the posture attributes, by its path under `context`.
const NAMED: [(&str, Facts); 23] = [
    ("device.id", Facts::DEVICE_ID),
    ("device.kind", Facts::DEVICE_KIND),
    ("device.ownership", Facts::DEVICE_OWNERSHIP),
    ("device.owned_by_principal", Facts::DEVICE_OWNED),
    ("device.shared", Facts::DEVICE_SHARED),
    ("device.groups", Facts::DEVICE_GROUPS),
    ("authentication.multi_factor", Facts::MULTI_FACTOR),
    (
        "authentication.phishing_resistant",
        Facts::PHISHING_RESISTANT,
    ),
    ("authentication.certificate_bound", Facts::CERTIFICATE_BOUND),
    ("authentication.acr", Facts::ACR),
    ("authentication.methods", Facts::METHODS),
    ("authentication.age_minutes", Facts::AGE),
    ("authentication.credential", Facts::CREDENTIAL),
    ("network.address", Facts::ADDRESS),
    ("network.names", Facts::NETWORKS),
    ("time.hour", Facts::HOUR),
    ("time.minute_of_day", Facts::MINUTE),
    ("time.weekday", Facts::WEEKDAY),
    ("time.date", Facts::DATE),
    ("request.method", Facts::REQUEST_METHOD),
    ("request.host", Facts::REQUEST_HOST),
    ("request.path", Facts::REQUEST_PATH),
    ("request.reason_given", Facts::REASON_GIVEN),
];

/// Attributes of a destination that differ from host to host, as far as they are read. The others are few and always kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Attributes {
    pub(crate) host: bool,
    pub(crate) port: bool,
    pub(crate) domain: bool,
}

impl Attributes {
    pub(crate) const NONE: Self = Self {
        host: false,
        port: false,
        domain: false,
    };
    pub(crate) const ALL: Self = Self {
        host: true,
        port: true,
        domain: true,
    };

    /// Both.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            host: self.host || other.host,
            port: self.port || other.port,
            domain: self.domain || other.domain,
        }
    }

    /// Those that `resource.name` reads. What is no attribute is no reason to be careless.
    fn read(name: &str) -> Self {
        match name {
            "host" => Self {
                host: true,
                ..Self::NONE
            },
            "port" => Self {
                port: true,
                ..Self::NONE
            },
            "domain" => Self {
                domain: true,
                ..Self::NONE
            },
            "name" | "address" | "service" | "tenant" | "level" => Self::NONE,
            _ => Self::ALL,
        }
    }
}

/// Every leaf with its path under `context`, in the order of the documentation.
pub(crate) fn leaves() -> impl Iterator<Item = (String, Facts)> {
    let posture = PostureAttribute::ALL.into_iter().map(|attribute| {
        let path = format!("device.posture.{}", attribute.as_str());
        (path, Facts::posture(attribute))
    });
    let named = NAMED
        .into_iter()
        .map(|(path, fact)| (path.to_owned(), fact));
    named.chain(posture)
}

/// The facts that a policy's conditions mention. Whatever is not understood counts as mentioning everything.
pub(crate) fn mentioned_by(policy: &pst::Template) -> Facts {
    let mut facts = Facts::NONE;
    for clause in policy.clauses() {
        let (pst::Clause::When(condition) | pst::Clause::Unless(condition)) = clause;
        facts = facts.and(mentioned_in(condition));
    }
    facts
}

fn mentioned_in(expression: &pst::Expr) -> Facts {
    use pst::Expr;
    if let Some(path) = context_path(expression) {
        return under(&path);
    }
    match expression {
        Expr::HasAttr { expr, attrs } => match context_path(expr) {
            Some(mut path) => {
                path.extend(attrs.iter().map(|attr| attr.as_str()));
                under(&path)
            }
            None => mentioned_in(expr),
        },
        Expr::UnaryOp { expr, .. } | Expr::GetAttr { expr, .. } | Expr::Like { expr, .. } => {
            mentioned_in(expr)
        }
        Expr::BinaryOp { left, right, .. } => mentioned_in(left).and(mentioned_in(right)),
        Expr::Is { expr, in_expr, .. } => in_expr
            .as_ref()
            .map_or(Facts::NONE, |group| mentioned_in(group))
            .and(mentioned_in(expr)),
        Expr::IfThenElse {
            cond,
            then_expr,
            else_expr,
        } => mentioned_in(cond)
            .and(mentioned_in(then_expr))
            .and(mentioned_in(else_expr)),
        Expr::Set(members) => all_of(members.iter()),
        Expr::Record(fields) => all_of(fields.values()),
        Expr::Literal(_) | Expr::Var(_) => Facts::NONE,
        // `Unknown`, slots and whatever a later engine brings.
        Expr::Slot(_) | Expr::Unknown { .. } | _ => Facts::ALL,
    }
}

fn all_of<'a>(expressions: impl Iterator<Item = &'a std::sync::Arc<pst::Expr>>) -> Facts {
    expressions.fold(Facts::NONE, |facts, each| facts.and(mentioned_in(each)))
}

/// What a policy's conditions read of `resource`. Comparing the resource itself reads nothing: which hosts it is compared
/// with is known from the literals. Wherever else it stands by itself, everything may be read.
pub(crate) fn resource_mentions(policy: &pst::Template) -> Attributes {
    let clauses = policy.clauses().iter().map(|clause| {
        let (pst::Clause::When(condition) | pst::Clause::Unless(condition)) = clause;
        read_in(condition)
    });
    clauses.fold(Attributes::NONE, Attributes::and)
}

fn is_resource(expression: &pst::Expr) -> bool {
    matches!(expression, pst::Expr::Var(pst::Var::Resource))
}

fn read_in(expression: &pst::Expr) -> Attributes {
    use pst::{BinaryOp, Expr};
    let compared = |side: &pst::Expr| {
        if is_resource(side) {
            Attributes::NONE
        } else {
            read_in(side)
        }
    };
    let each = |members: &mut dyn Iterator<Item = &std::sync::Arc<pst::Expr>>| {
        members.fold(Attributes::NONE, |read, member| read.and(read_in(member)))
    };
    match expression {
        Expr::GetAttr { expr, attr } if is_resource(expr) => Attributes::read(attr.as_str()),
        Expr::HasAttr { expr, attrs } if is_resource(expr) => {
            let first = attrs.iter().next();
            first.map_or(Attributes::ALL, |attr| Attributes::read(attr.as_str()))
        }
        Expr::BinaryOp {
            op: BinaryOp::Eq | BinaryOp::NotEq | BinaryOp::In,
            left,
            right,
        } => compared(left).and(compared(right)),
        Expr::BinaryOp { left, right, .. } => read_in(left).and(read_in(right)),
        Expr::Is { expr, in_expr, .. } => compared(expr).and(
            in_expr
                .as_ref()
                .map_or(Attributes::NONE, |group| compared(group)),
        ),
        Expr::UnaryOp { expr, .. }
        | Expr::GetAttr { expr, .. }
        | Expr::HasAttr { expr, .. }
        | Expr::Like { expr, .. } => read_in(expr),
        Expr::IfThenElse {
            cond,
            then_expr,
            else_expr,
        } => read_in(cond)
            .and(read_in(then_expr))
            .and(read_in(else_expr)),
        Expr::Set(members) => each(&mut members.iter()),
        Expr::Record(fields) => each(&mut fields.values()),
        Expr::Var(pst::Var::Resource) => Attributes::ALL,
        Expr::Literal(_) | Expr::Var(_) => Attributes::NONE,
        // `Unknown`, slots and whatever a later engine brings.
        Expr::Slot(_) | Expr::Unknown { .. } | _ => Attributes::ALL,
    }
}

/// `["device", "kind"]` for `context.device.kind`, `[]` for `context` itself, `None` for anything else.
pub(crate) fn context_path(expression: &pst::Expr) -> Option<Vec<&str>> {
    let (root, path) = path_of(expression)?;
    (*root == pst::Var::Context).then_some(path)
}

/// The variable that a chain of attributes begins at, and the chain.
pub(crate) fn path_of(expression: &pst::Expr) -> Option<(&pst::Var, Vec<&str>)> {
    if let pst::Expr::GetAttr { expr, attr } = expression {
        let (root, mut path) = path_of(expr)?;
        path.push(attr.as_str());
        return Some((root, path));
    }
    if let pst::Expr::Var(root) = expression {
        return Some((root, Vec::new()));
    }
    None
}

/// The leaves at, below or above `path`. A path that leads to none of them mentions everything.
fn under(path: &[&str]) -> Facts {
    let begins = |longer: &[&str], shorter: &[&str]| longer.starts_with(shorter);
    let facts = leaves()
        .filter(|(leaf, _)| {
            let leaf: Vec<&str> = leaf.split('.').collect();
            begins(&leaf, path) || begins(path, &leaf)
        })
        .fold(Facts::NONE, |facts, (_, fact)| facts.and(fact));
    if facts == Facts::NONE {
        Facts::ALL
    } else {
        facts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts_of(condition: &str) -> Facts {
        let text = format!("permit(principal, action, resource) when {{ {condition} }};");
        let policy = cedar_policy::Policy::parse(None, text).unwrap();
        mentioned_by(policy.to_pst().unwrap().body())
    }

    #[test]
    fn every_leaf_has_its_own_bit_and_all_is_their_union() {
        let mut seen = Facts::NONE;
        for (path, fact) in leaves() {
            assert_eq!(fact.0.count_ones(), 1, "{path}");
            assert!(!seen.any(fact), "{path} shares its bit");
            seen = seen.and(fact);
        }
        assert_eq!(seen, Facts::ALL);
    }

    #[test]
    fn a_leaf_mentions_itself_only() {
        for (path, fact) in leaves() {
            assert_eq!(facts_of(&format!("context.{path} == 1")), fact, "{path}");
            assert_eq!(facts_of(&format!("context has {path}")), fact, "{path}");
        }
        assert_eq!(
            facts_of("context.device.posture.os_version.major > 3"),
            Facts::posture(PostureAttribute::OsVersion)
        );
        assert_eq!(
            facts_of("context[\"device\"][\"kind\"] == 1"),
            Facts::DEVICE_KIND
        );
    }

    #[test]
    fn a_record_passed_around_mentions_all_its_leaves() {
        let posture = facts_of("context.device.posture == context.device.posture");
        assert_eq!(posture, Facts::POSTURE);
        assert_eq!(
            facts_of("(if true then context.device else context.device).kind == 1"),
            Facts::DEVICE
        );
        assert_eq!(facts_of("context == context"), Facts::ALL);
        assert_eq!(facts_of("[context].contains(context)"), Facts::ALL);
        assert_eq!(facts_of("{a: context}.a.b == 1"), Facts::ALL);
    }

    #[test]
    fn an_unknown_path_mentions_everything() {
        assert_eq!(facts_of("context.mood == 1"), Facts::ALL);
        assert_eq!(facts_of("context has mood"), Facts::ALL);
    }

    #[test]
    fn mentions_are_found_wherever_they_hide() {
        let hour = "context.time.hour";
        for condition in [
            format!("-{hour} == 1"),
            format!("[1, {hour}].contains(1)"),
            format!("{{a: {hour}}}.a == 1"),
            format!("if {hour} == 1 then true else false"),
            format!("if true then {hour} == 1 else false"),
            format!("if true then true else {hour} == 1"),
            format!("1 + {hour} == 1"),
            format!("principal in {hour}"),
            format!("principal is Masugata::User in {hour}"),
            format!("{hour} like \"*\""),
            format!("!({hour} == 1)"),
            format!("true || {hour} == 1"),
        ] {
            assert_eq!(facts_of(&condition), Facts::HOUR, "{condition}");
        }
        assert_eq!(facts_of("principal has name"), Facts::NONE);
    }

    fn read_by(condition: &str) -> Attributes {
        let text = format!("permit(principal, action, resource) when {{ {condition} }};");
        let policy = cedar_policy::Policy::parse(None, text).unwrap();
        resource_mentions(policy.to_pst().unwrap().body())
    }

    #[test]
    fn attributes_of_the_resource_are_found_wherever_they_hide() {
        let host = Attributes {
            host: true,
            ..Attributes::NONE
        };
        for condition in [
            "resource.host == \"a\"",
            "resource has host",
            "resource has host.x",
            "resource[\"host\"] like \"*\"",
            "[resource.host].contains(\"a\")",
            "{a: resource.host}.a == \"a\"",
            "if resource.address then true else \"a\" == resource.host",
            "!(resource is Masugata::Destination && resource.host == \"a\")",
        ] {
            assert_eq!(read_by(condition), host, "{condition}");
        }
        assert!(read_by("resource.port > 1").port);
        assert!(read_by("resource has domain").domain);
    }

    #[test]
    fn comparing_the_resource_reads_nothing_of_it() {
        for condition in [
            "resource == Masugata::Destination::\"a\"",
            "Masugata::Destination::\"a\" != resource",
            "resource in [Masugata::Domain::\"a\"]",
            "resource is Masugata::Destination in Masugata::Category::\"a\"",
            "resource.level == Masugata::Level::\"public\" && resource has tenant",
            "context.request.host == \"a\" && principal.id == \"b\"",
        ] {
            assert_eq!(read_by(condition), Attributes::NONE, "{condition}");
        }
    }

    #[test]
    fn a_resource_passed_around_is_read_wholly() {
        for condition in [
            "[resource].contains(resource)",
            "{a: resource}.a.port == 1",
            "(if true then resource else resource).host == \"a\"",
            "Masugata::Domain::\"a\" in [resource]",
            "resource.mood == 1",
            "resource.contains(1)",
        ] {
            assert_eq!(read_by(condition), Attributes::ALL, "{condition}");
        }
    }

    #[test]
    fn an_unless_clause_mentions_like_a_when_clause() {
        let text = "permit(principal, action, resource) when { context.time.hour > 3 } unless { context.network.names.contains(\"x\") };";
        let policy = cedar_policy::Policy::parse(None, text).unwrap();
        assert_eq!(
            mentioned_by(policy.to_pst().unwrap().body()),
            Facts::HOUR.and(Facts::NETWORKS)
        );
    }
}
