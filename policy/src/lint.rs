//! Mistakes that a type checker cannot see because they are in strings: comparisons that no request can fulfil, and names
//! that nothing configured has.

use cedar_policy::pst::{self, BinaryOp, Expr, Literal};

use crate::error::{Problem, Text, nearest};
use crate::facts::context_path;
use crate::schema::vocabulary;

/// Where a policy begins.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) text: Text<'a>,
    pub(crate) policy: usize,
}

impl Place<'_> {
    /// Where `word` stands in quotes in this policy; where the policy begins, if it is not found.
    fn of_literal(&self, word: &str) -> usize {
        let rest = self.text.text.get(self.policy..).unwrap_or_default();
        let quoted = format!("\"{word}\"");
        self.policy + rest.find(&quoted).unwrap_or(0)
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
    for clause in tree.clauses() {
        let (pst::Clause::When(condition) | pst::Clause::Unless(condition)) = clause;
        visit(condition, found);
    }
}

fn visit(expression: &Expr, found: &mut dyn FnMut(&[&str], BinaryOp, &str)) {
    match expression {
        Expr::BinaryOp { op, left, right } => {
            for (side, other) in [(left, right), (right, left)] {
                if let Some(path) = context_path(side) {
                    for word in strings_in(other) {
                        found(&path, *op, word);
                    }
                }
            }
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
