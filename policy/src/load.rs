//! From policy files to a checked list of policies, or to everything that is wrong with them.
//!
//! Beyond the engine's strict validation, each policy needs a unique `@id`, its annotations are a closed list, and
//! policies that can never apply are errors: whoever writes a rule means it to do something.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::Arc;

use cedar_policy::{
    Effect, PolicyId, ValidationError, ValidationMode, ValidationWarning, Validator, pst,
};
use miette::Diagnostic;

use crate::deny::{Challenge, Guidance};
use crate::error::{LoadError, Problem, Text, line_starts, nearest};
use crate::facts::{Attributes, Facts, mentioned_by, resource_mentions};
use crate::lint;
use crate::request::Action;
use crate::schema::schema;
use crate::set::{Compiled, PolicySource};
use crate::slice::Scope;

/// The annotations that mean something to us.
pub(crate) const ANNOTATIONS: [&str; 7] = [
    "id",
    "description",
    "reason_en",
    "reason_ja",
    "remedy_en",
    "remedy_ja",
    "challenge",
];

const CHALLENGES: [(&str, Challenge); 4] = [
    ("mfa", Challenge::MultiFactor),
    ("phishing_resistant", Challenge::PhishingResistant),
    ("fresh", Challenge::Fresh),
    ("reason", Challenge::Reason),
];

/// Longest `@id`, in bytes: it is in every audit record.
const LONGEST_ID: usize = 100;

pub(crate) struct Loaded {
    pub(crate) policies: Vec<Compiled>,
    pub(crate) warnings: Vec<Problem>,
}

/// A parsed policy and where it stands.
struct Candidate<'a> {
    text: Text<'a>,
    file: Arc<str>,
    offset: usize,
    length: usize,
    policy: cedar_policy::Policy,
    /// `None` if the engine cannot show it, which no policy is known to cause.
    tree: Option<pst::Policy>,
    annotations: Annotations,
}

#[derive(Default)]
struct Annotations {
    id: Option<(Box<str>, usize)>,
    challenge: Option<Challenge>,
    guidance: Guidance,
}

pub(crate) fn load(sources: &[PolicySource<'_>]) -> Result<Loaded, LoadError> {
    let mut problems = Vec::new();
    let mut candidates = Vec::new();
    let lines: Vec<Vec<usize>> = sources
        .iter()
        .map(|source| line_starts(source.text))
        .collect();
    for (source, lines) in sources.iter().zip(&lines) {
        let text = Text {
            file: source.name,
            text: source.text,
            lines,
        };
        parse(text, &mut candidates, &mut problems);
    }
    if candidates.is_empty() && problems.is_empty() {
        problems.push(nothing_there(sources));
    }
    check_ids(&candidates, &mut problems);
    let mut warnings = Vec::new();
    validate(&candidates, &mut problems, &mut warnings);
    let policies: Vec<Compiled> = candidates
        .into_iter()
        .map(|candidate| compile(candidate, &mut problems))
        .collect();
    if !problems.is_empty() {
        problems.sort_by(Problem::by_position);
        problems.dedup();
        return Err(LoadError { problems });
    }
    warnings.extend(permits_nothing(&policies));
    Ok(Loaded { policies, warnings })
}

fn nothing_there(sources: &[PolicySource<'_>]) -> Problem {
    Problem {
        file: sources
            .first()
            .map_or("policies", |source| source.name)
            .into(),
        line: None,
        column: None,
        message: "no policies found, so that every request would be denied".to_owned(),
        help: Some(
            "write at least one `permit`; the starter set in deploy/policies is a good beginning"
                .to_owned(),
        ),
    }
}

fn permits_nothing(policies: &[Compiled]) -> Option<Problem> {
    let first = policies.first()?;
    policies
        .iter()
        .all(|policy| policy.forbids)
        .then(|| Problem {
            file: first.file.as_ref().into(),
            line: None,
            column: None,
            message: "there is no `permit` policy, so that every request is denied".to_owned(),
            help: Some("what no policy permits is denied; `forbid` only takes away".to_owned()),
        })
}

fn parse<'a>(text: Text<'a>, candidates: &mut Vec<Candidate<'a>>, problems: &mut Vec<Problem>) {
    let parsed = match cedar_policy::PolicySet::from_str(text.text) {
        Ok(parsed) => parsed,
        Err(errors) => {
            problems.extend(errors.iter().map(|error| translate(text, error)));
            return;
        }
    };
    for template in parsed.templates() {
        let offset = template.as_ref().loc().map(|place| place.span.offset());
        problems.push(text.problem(
            offset,
            "policy templates cannot be used here",
            Some("replace `?principal` and `?resource` by groups of people and apps".to_owned()),
        ));
    }
    let file: Arc<str> = text.file.into();
    let mut found: Vec<Candidate<'a>> = parsed
        .policies()
        .map(|policy| {
            let span = policy.as_ref().loc().map(|place| place.span);
            Candidate {
                text,
                file: Arc::clone(&file),
                offset: span.map_or(0, |span| span.offset()),
                length: span.map_or(0, |span| span.len()),
                annotations: annotations(text, policy, problems),
                tree: policy.to_pst().ok(),
                policy: policy.clone(),
            }
        })
        .collect();
    found.sort_by_key(|candidate| candidate.offset);
    candidates.append(&mut found);
}

fn annotations(
    text: Text<'_>,
    policy: &cedar_policy::Policy,
    problems: &mut Vec<Problem>,
) -> Annotations {
    let mut ours = Annotations::default();
    for (name, annotation) in policy.as_ref().annotations() {
        let name: &str = name.as_ref();
        let value = annotation.val.as_str();
        let offset = annotation.loc.as_ref().map(|place| place.span.offset());
        let texts = &mut ours.guidance;
        let slot = match name {
            "id" => {
                if let Some((message, help)) = wrong_with_id(value) {
                    problems.push(text.problem(offset, message, Some(help)));
                }
                ours.id = Some((value.into(), offset.unwrap_or(0)));
                continue;
            }
            "challenge" => {
                let result = challenge(value, policy.effect());
                match result {
                    Ok(challenge) => ours.challenge = Some(challenge),
                    Err((message, help)) => {
                        problems.push(text.problem(offset, message, Some(help)))
                    }
                }
                continue;
            }
            "description" => continue,
            "reason_en" => &mut texts.reason_en,
            "reason_ja" => &mut texts.reason_ja,
            "remedy_en" => &mut texts.remedy_en,
            "remedy_ja" => &mut texts.remedy_ja,
            unknown => {
                let help = match nearest(unknown, ANNOTATIONS) {
                    Some(meant) => format!("did you mean `@{meant}`?"),
                    None => format!("known annotations are @{}", ANNOTATIONS.join(", @")),
                };
                let message = format!("unknown annotation `@{unknown}`");
                problems.push(text.problem(offset, message, Some(help)));
                continue;
            }
        };
        if value.trim().is_empty() {
            let help = format!("write the text for people: `@{name}(\"…\")`");
            problems.push(text.problem(offset, format!("`@{name}` has no text"), Some(help)));
        }
        *slot = Some(value.into());
    }
    ours
}

fn wrong_with_id(id: &str) -> Option<(String, String)> {
    let help = "an id is a short name, for example `@id(\"internal-needs-mfa\")`".to_owned();
    if id.is_empty() {
        return Some(("the `@id` is empty".to_owned(), help));
    }
    if id.len() > LONGEST_ID {
        let message = format!("the `@id` is longer than {LONGEST_ID} bytes");
        return Some((message, help));
    }
    let strange = |letter: &char| !letter.is_alphanumeric() && !"-_./:".contains(*letter);
    id.chars().find(strange).map(|letter| {
        let message = format!("the `@id` contains `{}`", letter.escape_debug());
        let help = format!("use letters, digits, `-`, `_`, `.`, `/` and `:`; {help}");
        (message, help)
    })
}

fn challenge(value: &str, effect: Effect) -> Result<Challenge, (String, String)> {
    if effect == Effect::Permit {
        return Err((
            "`@challenge` on a `permit`".to_owned(),
            "a challenge says what would lift a `forbid`; write it there".to_owned(),
        ));
    }
    let known = CHALLENGES.into_iter().find(|(word, _)| *word == value);
    known.map(|(_, challenge)| challenge).ok_or_else(|| {
        let words = CHALLENGES.map(|(word, _)| word);
        let help = match nearest(value, words) {
            Some(meant) => format!("did you mean `@challenge(\"{meant}\")`?"),
            None => format!("challenges are `{}`", words.join("`, `")),
        };
        (format!("unknown challenge `{value}`"), help)
    })
}

fn check_ids(candidates: &[Candidate<'_>], problems: &mut Vec<Problem>) {
    let mut first_at: BTreeMap<&str, (&Candidate<'_>, usize)> = BTreeMap::new();
    for candidate in candidates {
        let Some((id, offset)) = &candidate.annotations.id else {
            let help = "write `@id(\"a-short-name\")` above it; the name appears in the audit log";
            problems.push(candidate.text.problem(
                Some(candidate.offset),
                "the policy has no `@id`",
                Some(help.to_owned()),
            ));
            continue;
        };
        if let Some((first, first_offset)) = first_at.get(&**id) {
            let (line, _) = first.text.position(*first_offset);
            let help = format!("the first is at {}:{line}; ids are unique", first.text.file);
            let message = format!("two policies have the id `{id}`");
            problems.push(candidate.text.problem(Some(*offset), message, Some(help)));
        } else {
            first_at.insert(id, (candidate, *offset));
        }
    }
}

fn validate(
    candidates: &[Candidate<'_>],
    problems: &mut Vec<Problem>,
    warnings: &mut Vec<Problem>,
) {
    // Own ids, since those of the author may be missing or twice there.
    let numbered = (0..)
        .zip(candidates)
        .map(|(number, candidate): (usize, _)| {
            candidate.policy.new_id(PolicyId::new(number.to_string()))
        });
    let set = match cedar_policy::PolicySet::from_policies(numbered) {
        Ok(set) => set,
        Err(error) => {
            // Our numbers are unique, so this does not happen; and if it did, nothing was validated.
            problems.push(Problem {
                file: candidates
                    .first()
                    .map_or("policies", |first| first.text.file)
                    .into(),
                line: None,
                column: None,
                message: error.to_string(),
                help: None,
            });
            return;
        }
    };
    let mut validated = Validated::new(candidates, problems, warnings);
    let result = Validator::new(schema().clone()).validate(&set, ValidationMode::Strict);
    for error in result.validation_errors() {
        validated.error(error);
    }
    for warning in result.validation_warnings() {
        validated.warning(warning);
    }
}

/// Sorts what the validator says into problems and warnings, and leaves out what only follows from something said.
struct Validated<'a, 'b> {
    candidates: &'b [Candidate<'a>],
    /// For each candidate: facts that do not exist were found, and anything was.
    unknown_facts: Vec<bool>,
    broken: Vec<bool>,
    problems: &'b mut Vec<Problem>,
    warnings: &'b mut Vec<Problem>,
}

impl<'a, 'b> Validated<'a, 'b> {
    fn new(
        candidates: &'b [Candidate<'a>],
        problems: &'b mut Vec<Problem>,
        warnings: &'b mut Vec<Problem>,
    ) -> Self {
        let unknown_facts: Vec<bool> = candidates
            .iter()
            .map(|candidate| {
                let tree = candidate.tree.as_ref();
                let found = tree.map(|tree| {
                    let scope = Scope::of(&candidate.policy);
                    lint::unknown_facts(tree.body(), &scope, candidate.place())
                });
                let found = found.unwrap_or_default();
                let any = !found.is_empty();
                problems.extend(found);
                any
            })
            .collect();
        Self {
            candidates,
            broken: unknown_facts.clone(),
            unknown_facts,
            problems,
            warnings,
        }
    }

    fn of(&self, id: &PolicyId) -> Option<(usize, &'b Candidate<'a>)> {
        let number = AsRef::<str>::as_ref(id).parse::<usize>().ok()?;
        Some((number, self.candidates.get(number)?))
    }

    fn breaks(&mut self, number: usize) -> bool {
        let mark = self.broken.get_mut(number);
        mark.is_none_or(|mark| std::mem::replace(mark, true))
    }

    fn error(&mut self, error: &ValidationError) {
        let Some((number, candidate)) = self.of(error.policy_id()) else {
            return;
        };
        let told = self.unknown_facts.get(number) == Some(&true);
        if told && matches!(error, ValidationError::UnsafeAttributeAccess(_)) {
            return;
        }
        self.breaks(number);
        let mut problem = candidate.explained(error);
        if matches!(error, ValidationError::InvalidEnumEntity(_)) {
            problem = unknown_word(problem);
        }
        if matches!(
            error,
            ValidationError::UnrecognizedActionId(_) | ValidationError::UnrecognizedEntityType(_)
        ) {
            problem.help = Some(declared_like(&problem));
        }
        problem.help = better_help(&problem).or(problem.help);
        self.problems.push(problem);
    }

    fn warning(&mut self, warning: &ValidationWarning) {
        let Some((number, candidate)) = self.of(warning.policy_id()) else {
            return;
        };
        let problem = candidate.explained(warning);
        match warning {
            ValidationWarning::ImpossiblePolicy(_)
            | ValidationWarning::InvalidActionApplication(_) => {
                if !self.breaks(number) {
                    let scope = Scope::of(&candidate.policy);
                    self.problems.push(never_applies(problem, &scope));
                }
            }
            // Text that reads otherwise than it works has no place in a security rule.
            ValidationWarning::BidiCharsInString(_)
            | ValidationWarning::BidiCharsInIdentifier(_) => self.problems.push(problem),
            ValidationWarning::MixedScriptString(_)
            | ValidationWarning::MixedScriptIdentifier(_)
            | ValidationWarning::ConfusableIdentifier(_)
            | _ => {
                if !problem.message.chars().all(usual_in_japan) {
                    self.warnings.push(problem);
                }
            }
        }
    }
}

fn never_applies(problem: Problem, scope: &Scope) -> Problem {
    let help = if scope.concerns_destinations_only() && !scope.includes(Action::Connect) {
        "towards a destination every action is `connect`"
    } else {
        "look for comparisons that cannot hold together, and for `==` with a group of actions, which needs `in`"
    };
    Problem {
        message: "the policy can never apply to any request".to_owned(),
        help: Some(help.to_owned()),
        ..problem
    }
}

/// Which declared action or type was meant. The engine suggests too, but not always the same.
fn declared_like(problem: &Problem) -> String {
    let wrong = problem.message.split('`').nth(1).unwrap_or_default();
    let actions = schema().actions().chain(schema().action_groups());
    let actions = actions.map(ToString::to_string);
    let types = schema().entity_types().map(ToString::to_string);
    let mut declared: Vec<String> = actions.chain(types).collect();
    declared.sort_unstable();
    declared.dedup();
    let forgotten = format!("Masugata::{wrong}");
    let meant = declared.iter().find(|name| **name == forgotten);
    let near = || nearest(wrong, declared.iter().map(String::as_str));
    match meant.map(String::as_str).or_else(near) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => "docs/policies.md lists actions and types; all begin with `Masugata::`".to_owned(),
    }
}

/// A word that is not in its fixed list; the engine's help quotes the list.
fn unknown_word(problem: Problem) -> Problem {
    let Some(entity) = problem.message.split('`').nth(1) else {
        return problem;
    };
    let word = entity.split('"').nth(1).unwrap_or_default();
    let help = problem.help.as_deref().unwrap_or_default();
    let words: Vec<&str> = help.split('"').skip(1).step_by(2).collect();
    let help = match nearest(word, words.iter().copied()) {
        Some(meant) => format!("did you mean `{}`?", entity.replace(word, meant)),
        None => format!("the words are `{}`", words.join("`, `")),
    };
    Problem {
        message: format!("unknown word `{entity}`"),
        help: Some(help),
        ..problem
    }
}

/// Latin, kana and kanji are mixed in ordinary Japanese names, and not confused with each other.
fn usual_in_japan(letter: char) -> bool {
    letter.is_ascii()
        || matches!(letter, '\u{3000}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{ff00}'..='\u{ffef}')
}

impl<'a> Candidate<'a> {
    fn place(&self) -> lint::Place<'a> {
        lint::Place {
            text: self.text,
            offset: self.offset,
            length: self.length,
        }
    }

    fn explained(&self, error: &impl Diagnostic) -> Problem {
        let mut problem = translate(self.text, error);
        if problem.line.is_none() {
            let (line, column) = self.text.position(self.offset);
            (problem.line, problem.column) = (Some(line), Some(column));
        }
        problem
    }
}

/// The engine's error in our shape.
fn translate(text: Text<'_>, error: &(impl Diagnostic + ?Sized)) -> Problem {
    let label = error.labels().and_then(|mut labels| labels.next());
    let help = error.help().map(|help| in_our_words(&help.to_string()));
    let expected = || {
        label
            .as_ref()
            .and_then(|label| label.label())
            .map(str::to_owned)
    };
    text.problem(
        label.as_ref().map(|label| label.offset()),
        in_our_words(&error.to_string()),
        help.or_else(expected),
    )
}

/// The engine names policies by the numbers we gave them, which mean nothing to the author, and repeats what is wrong
/// with an attribute of the context for each action.
fn in_our_words(text: &str) -> String {
    let rest = text
        .strip_prefix("for policy `")
        .and_then(|rest| rest.split_once("`, ").or(rest.split_once("`: ")));
    let text = rest.map_or(text, |(_, rest)| rest);
    let context = " in context for Masugata::Action::\"";
    let Some((before, after)) = text.split_once(context) else {
        return text.to_owned();
    };
    let (_, after) = after.split_once('"').unwrap_or_default();
    let before = before.replace("attribute `", "attribute `context.");
    format!("{before}{after}")
}

/// Words from a fixed list are entities, which people will forget.
fn better_help(problem: &Problem) -> Option<String> {
    let examples = [
        ("Masugata::DeviceKind", "laptop"),
        ("Masugata::Ownership", "company"),
        ("Masugata::Weekday", "monday"),
        ("Masugata::Level", "internal"),
        ("Masugata::Credential", "certificate"),
    ];
    if let Some(help) = about_destinations(&problem.message) {
        return Some(help.to_owned());
    }
    if !problem.message.contains("String") {
        return None;
    }
    let named = |(kind, _): &(&str, &str)| problem.message.contains(kind);
    let (kind, word) = examples.into_iter().find(named)?;
    Some(format!("write it with its type: `{kind}::\"{word}\"`"))
}

/// A rule that reads an attribute of `resource` and does not say which kind of resource it means.
fn about_destinations(message: &str) -> Option<&'static str> {
    if !message.contains("`Masugata::Destination`") {
        return None;
    }
    let of = |name: &str| message.contains(&format!("attribute `{name}`"));
    if of("name") {
        Some("only apps have a name; write `resource is Masugata::App`")
    } else if of("level") {
        Some(
            "only configured services have a level; write `resource is Masugata::App`, or ask `resource has level`",
        )
    } else if of("domain") {
        Some("addresses have no domain; ask `resource has domain` first")
    } else if of("service") {
        Some("only configured services have one; ask `resource has service` first")
    } else if of("tenant") {
        Some("only configured services have a tenant; ask `resource has tenant` first")
    } else {
        None
    }
}

fn compile(candidate: Candidate<'_>, problems: &mut Vec<Problem>) -> Compiled {
    let place = candidate.place();
    let Candidate {
        text,
        file,
        offset,
        policy,
        tree,
        annotations,
        ..
    } = candidate;
    let (line, _) = text.position(offset);
    let id = annotations.id.map_or_else(Box::default, |(id, _)| id);
    let guidance = annotations.guidance;
    let scope = Scope::of(&policy);
    if annotations.challenge == Some(Challenge::Reason) && !scope.concerns_destinations_only() {
        let help = "a reason can be given for a destination on the Internet; write `resource is Masugata::Destination`";
        let message = "`@challenge(\"reason\")` on a policy that concerns apps";
        problems.push(text.problem(Some(offset), message, Some(help.to_owned())));
    }
    problems.extend(lint::impossible_names(&policy, place));
    let (facts, attributes, mentions) = match tree {
        Some(tree) => {
            problems.extend(lint::dead_comparisons(tree.body(), place));
            let mentions = lint::mentions(&policy, tree.body(), place);
            let attributes = resource_mentions(tree.body());
            (mentioned_by(tree.body()), attributes, mentions)
        }
        None => (Facts::ALL, Attributes::ALL, Vec::new()),
    };
    Compiled {
        forbids: policy.effect() == Effect::Forbid,
        scope,
        policy: policy.new_id(PolicyId::new(&id)),
        challenge: annotations.challenge,
        guidance: (guidance != Guidance::default()).then(|| Arc::new(guidance)),
        id,
        file,
        line,
        facts,
        attributes,
        mentions,
    }
}
