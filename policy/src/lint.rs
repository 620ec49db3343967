//! Mistakes that a type checker cannot see because they are in strings: comparisons that no request can fulfil, and names
//! that nothing configured has.

use cedar_policy::pst::{self, BinaryOp, Expr, Literal};

use crate::error::{Problem, Text, nearest};
use crate::facts::{context_path, leaves, path_of};
use crate::schema::vocabulary;
use crate::slice::Scope;

/// Where a policy stands: from which byte of the text, and how many.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) text: Text<'a>,
    pub(crate) offset: usize,
    pub(crate) length: usize,
}

impl Place<'_> {
    /// Where `word` first stands in this policy; where the policy begins, if it is not found.
    fn of_word(&self, word: &str) -> usize {
        let end = self.offset.saturating_add(self.length);
        let policy = self.text.text.get(self.offset..end).unwrap_or_default();
        self.offset + policy.find(word).unwrap_or(0)
    }

    /// Where `word` first stands in quotes.
    fn of_literal(&self, word: &str) -> usize {
        self.of_word(&format!("\"{word}\""))
    }
}

/// What names in policies can refer to. `None` where the caller does not know, which checks nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Known<'a> {
    /// `Masugata::App::"…"`
    pub apps: Option<&'a [&'a str]>,
    /// `Masugata::AppGroup::"…"`
    pub app_groups: Option<&'a [&'a str]>,
    /// `Masugata::Service::"…"`
    pub services: Option<&'a [&'a str]>,
    /// The part before the slash of `Masugata::User::"corp/ada"`.
    pub issuers: Option<&'a [&'a str]>,
    /// `context.network.names`
    pub networks: Option<&'a [&'a str]>,
    /// `context.device.groups`
    pub device_groups: Option<&'a [&'a str]>,
    /// `Masugata::Category::"…"`: of every list and service, and those that are found without a list.
    pub categories: Option<&'a [&'a str]>,
    /// `Masugata::CloudService::"…"`
    pub cloud_services: Option<&'a [&'a str]>,
}

/// A name in a policy.
#[derive(Clone, Debug)]
pub(crate) struct Mention {
    kind: MentionKind,
    name: Box<str>,
    line: usize,
    column: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MentionKind {
    App,
    AppGroup,
    Service,
    User,
    Network,
    DeviceGroup,
    Category,
    CloudService,
}

impl Mention {
    /// The problem with it, if the configuration has nothing of that name.
    pub(crate) fn unknown(&self, known: &Known<'_>, file: &str) -> Option<Problem> {
        let (list, what) = match self.kind {
            MentionKind::App => (known.apps?, "app"),
            MentionKind::AppGroup => (known.app_groups?, "app group"),
            MentionKind::Service => (known.services?, "service"),
            MentionKind::User => (known.issuers?, "issuer"),
            MentionKind::Network => (known.networks?, "network"),
            MentionKind::DeviceGroup => (known.device_groups?, "device group"),
            MentionKind::Category => (known.categories?, "category"),
            MentionKind::CloudService => (known.cloud_services?, "cloud service"),
        };
        let name = &*self.name;
        let wanted = match (self.kind, name.split_once('/')) {
            (MentionKind::User, Some((issuer, _))) => issuer,
            _ => name,
        };
        if list.contains(&wanted) && (self.kind != MentionKind::User || name.contains('/')) {
            return None;
        }
        let message = match (self.kind, name.contains('/')) {
            (MentionKind::User, false) => format!("the user `{name}` has no issuer"),
            (MentionKind::User, true) => format!("unknown issuer `{wanted}` in user `{name}`"),
            _ => format!("unknown {what} `{name}`"),
        };
        let help = match nearest(wanted, list.iter().copied()) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None if self.kind == MentionKind::User => {
                "users are named `issuer/user`, as in `corp/ada`".to_owned()
            }
            None => format!("the policy would never match; no {what} has this name"),
        };
        Some(Problem {
            file: file.into(),
            line: Some(self.line),
            column: Some(self.column),
            message,
            help: Some(help),
        })
    }
}

/// Every name in `policy` that [`Known`] can check.
pub(crate) fn mentions(
    policy: &cedar_policy::Policy,
    tree: &pst::Template,
    place: Place<'_>,
) -> Vec<Mention> {
    let words = vocabulary();
    let kinds = [
        (&words.app, MentionKind::App),
        (&words.app_group, MentionKind::AppGroup),
        (&words.service, MentionKind::Service),
        (&words.user, MentionKind::User),
        (&words.category, MentionKind::Category),
        (&words.cloud_service, MentionKind::CloudService),
    ];
    let mention = |kind: MentionKind, name: &str| {
        let (line, column) = place.text.position(place.of_literal(name));
        Mention {
            kind,
            name: name.into(),
            line,
            column,
        }
    };
    let literals = policy.entity_literals();
    let entities = literals.iter().filter_map(|uid| {
        let (_, kind) = kinds.iter().find(|(name, _)| uid.type_name() == *name)?;
        Some(mention(*kind, uid.id().unescaped()))
    });
    let mut found: Vec<Mention> = entities.collect();
    for_each_comparison(tree, &mut |path, operator, word| {
        let kind = match path {
            ["network", "names"] => MentionKind::Network,
            ["device", "groups"] => MentionKind::DeviceGroup,
            _ => return,
        };
        if is_membership(operator) {
            found.push(mention(kind, word));
        }
    });
    found
}

/// Hosts and domains that no destination has, however it is asked for.
pub(crate) fn impossible_names(policy: &cedar_policy::Policy, place: Place<'_>) -> Vec<Problem> {
    let words = vocabulary();
    let literals = policy.entity_literals();
    let wrong = literals.iter().filter_map(|literal| {
        let id = literal.id().unescaped();
        let (what, wrong) = if *literal.type_name() == words.destination {
            ("destination", wrong_with_host(id, true))
        } else if *literal.type_name() == words.domain {
            ("domain", wrong_with_host(id, false))
        } else {
            return None;
        };
        let offset = Some(place.of_literal(id));
        let message = format!("no {what} is called `{}`", id.escape_debug());
        Some(place.text.problem(offset, message, Some(wrong?)))
    });
    let mut problems: Vec<Problem> = wrong.collect();
    problems.sort_by(Problem::by_position);
    problems
}

/// Help for a name that cannot be matched, `None` for a good one.
fn wrong_with_host(name: &str, addresses: bool) -> Option<String> {
    let literal = name.trim_matches(['[', ']']);
    if let Ok(address) = literal.parse::<std::net::IpAddr>() {
        let text = address.to_string();
        return if !addresses {
            Some(
                "an address is in no domain; write `resource == Masugata::Destination::\"…\"`"
                    .to_owned(),
            )
        } else if text != name {
            Some(format!("write it as `{text}`"))
        } else {
            None
        };
    }
    let lower = name.trim_matches('.').to_ascii_lowercase();
    if let Some(rest) = lower.strip_prefix("*.") {
        return Some(format!(
            "`resource in Masugata::Domain::\"{rest}\"` is the name and everything below it"
        ));
    }
    if !lower.is_ascii() {
        return Some("write the name as it is on the wire, beginning with `xn--`".to_owned());
    }
    if lower.contains([':', '/', '@']) {
        return Some("a host has neither scheme nor port nor path".to_owned());
    }
    let usual = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(usual)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if lower.len() > 253 || !lower.split('.').all(label) {
        return Some("a host is letters, digits and `-`, in parts with dots between".to_owned());
    }
    (lower != name)
        .then(|| format!("names are compared in lower case, without dots at the ends: `{lower}`"))
}

/// Attributes that exist nowhere. The type checker knows that `has` of such an attribute is false and then does not look at
/// what the `has` guards: `unless { context.device.posture has disk_encripted && … }` would load, and forbid everybody.
pub(crate) fn unknown_facts(tree: &pst::Template, scope: &Scope, place: Place<'_>) -> Vec<Problem> {
    let mut problems = Vec::new();
    let resource: &[&str] = if scope.concerns_apps_only() {
        &OF_APPS
    } else if scope.concerns_destinations_only() {
        &OF_DESTINATIONS
    } else {
        &OF_BOTH
    };
    for_each_path(tree, &mut |root, path| {
        let whole = path.join(".");
        let known: Vec<String> = match root {
            pst::Var::Context => leaves().map(|(leaf, _)| leaf).collect(),
            pst::Var::Principal => ["id", "issuer", "name"].map(str::to_owned).into(),
            pst::Var::Resource => resource.iter().map(|name| (*name).to_owned()).collect(),
            pst::Var::Action => return,
        };
        let parts = ["major", "minor", "patch"];
        let version = parts.map(|part| format!("device.posture.os_version.{part}"));
        let above = format!("{whole}.");
        let exists = |leaf: &String| *leaf == whole || leaf.starts_with(&above);
        if path.is_empty() || known.iter().chain(&version).any(exists) {
            return;
        }
        let root = root_word(root);
        let candidates = known.iter().chain(&version).map(String::as_str);
        let help = match nearest(&whole, candidates) {
            Some(meant) => format!("did you mean `{root}.{meant}`?"),
            None => "docs/policies.md lists what there is".to_owned(),
        };
        let offset = place.of_word(path.last().copied().unwrap_or_default());
        let message = format!("there is no `{root}.{whole}`");
        problems.push(place.text.problem(Some(offset), message, Some(help)));
    });
    problems
}

const OF_APPS: [&str; 2] = ["name", "level"];
const OF_DESTINATIONS: [&str; 7] = [
    "host", "port", "address", "domain", "service", "tenant", "level",
];
const OF_BOTH: [&str; 8] = [
    "name", "level", "host", "port", "address", "domain", "service", "tenant",
];

fn root_word(root: &pst::Var) -> &'static str {
    match root {
        pst::Var::Principal => "principal",
        pst::Var::Action => "action",
        pst::Var::Resource => "resource",
        pst::Var::Context => "context",
    }
}

/// Comparisons of request facts with strings that these facts never are.
pub(crate) fn dead_comparisons(tree: &pst::Template, place: Place<'_>) -> Vec<Problem> {
    let mut problems = Vec::new();
    for_each_comparison(tree, &mut |path, operator, word| {
        if !matches!(
            operator,
            BinaryOp::Eq | BinaryOp::NotEq | BinaryOp::Contains
        ) {
            return;
        }
        let (message, help) = match path {
            ["request", "method"] if is_misspelt_method(word) => (
                format!("no request has the method `{word}`"),
                format!(
                    "methods are written in capitals: `{}`",
                    word.to_ascii_uppercase()
                ),
            ),
            ["request", "host"] if word.to_lowercase() != word => (
                format!("no request has the host `{word}`"),
                format!(
                    "hosts are compared in lower case: `{}`",
                    word.to_lowercase()
                ),
            ),
            ["request", "host"] if word.contains(['/', ':']) && !word.starts_with('[') => (
                format!("no request has the host `{word}`"),
                "a host has neither scheme nor port nor path".to_owned(),
            ),
            ["request", "path"] if !word.starts_with('/') && word != "*" => (
                format!("no request has the path `{word}`"),
                "a path begins with `/`".to_owned(),
            ),
            ["request", "path"] if word.contains(['?', '#']) => (
                format!("no request has the path `{word}`"),
                "a path has neither query nor fragment".to_owned(),
            ),
            _ => return,
        };
        let offset = Some(place.of_literal(word));
        problems.push(place.text.problem(offset, message, Some(help)));
    });
    problems
}

fn is_misspelt_method(word: &str) -> bool {
    const METHODS: [&str; 9] = [
        "GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE", "CONNECT",
    ];
    METHODS
        .iter()
        .any(|method| word.eq_ignore_ascii_case(method) && word != *method)
}

fn is_membership(operator: BinaryOp) -> bool {
    matches!(
        operator,
        BinaryOp::Contains | BinaryOp::ContainsAll | BinaryOp::ContainsAny
    )
}

/// Calls `found` for every string literal that is compared with a path under `context`, on whichever side it stands, also
/// as a member of a set.
fn for_each_comparison(tree: &pst::Template, found: &mut dyn FnMut(&[&str], BinaryOp, &str)) {
    for_each_expression(tree, &mut |expression| {
        let Expr::BinaryOp { op, left, right } = expression else {
            return;
        };
        for (side, other) in [(left, right), (right, left)] {
            let path = context_path(side).unwrap_or_default();
            for word in strings_in(other) {
                found(&path, *op, word);
            }
        }
    });
}

/// Calls `found` for every path of attributes that is read or asked for with `has`, with the variable it begins at. Parts
/// of a path are paths as well.
fn for_each_path(tree: &pst::Template, found: &mut dyn FnMut(&pst::Var, &[&str])) {
    for_each_expression(tree, &mut |expression| {
        if let Some((root, path)) = path_of(expression) {
            found(root, &path);
        }
        if let Expr::HasAttr { expr, attrs } = expression
            && let Some((root, mut path)) = path_of(expr)
        {
            path.extend(attrs.iter().map(|attr| attr.as_str()));
            found(root, &path);
        }
    });
}

fn for_each_expression<'a>(tree: &'a pst::Template, found: &mut dyn FnMut(&'a Expr)) {
    for clause in tree.clauses() {
        let (pst::Clause::When(condition) | pst::Clause::Unless(condition)) = clause;
        visit(condition, found);
    }
}

fn visit<'a>(expression: &'a Expr, found: &mut dyn FnMut(&'a Expr)) {
    found(expression);
    match expression {
        Expr::BinaryOp { left, right, .. } => {
            visit(left, found);
            visit(right, found);
        }
        Expr::UnaryOp { expr, .. }
        | Expr::GetAttr { expr, .. }
        | Expr::HasAttr { expr, .. }
        | Expr::Like { expr, .. } => visit(expr, found),
        Expr::Is { expr, in_expr, .. } => {
            visit(expr, found);
            in_expr.iter().for_each(|group| visit(group, found));
        }
        Expr::IfThenElse {
            cond,
            then_expr,
            else_expr,
        } => {
            visit(cond, found);
            visit(then_expr, found);
            visit(else_expr, found);
        }
        Expr::Set(members) => members.iter().for_each(|member| visit(member, found)),
        Expr::Record(fields) => fields.values().for_each(|field| visit(field, found)),
        Expr::Literal(_) | Expr::Var(_) | Expr::Slot(_) | Expr::Unknown { .. } | _ => {}
    }
}

fn strings_in(expression: &Expr) -> Vec<&str> {
    if let Expr::Set(members) = expression {
        return members
            .iter()
            .flat_map(|member| strings_in(member))
            .collect();
    }
    if let Expr::Literal(Literal::String(word)) = expression {
        return vec![word.as_str()];
    }
    Vec::new()
}
