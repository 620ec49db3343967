//! Names for the ids that some providers have for groups: a TOML file of lines `id = "name"`, so that policies can say
//! `finance` where the provider says `6f2c…`. The same for access tokens and for people who sign in.

use std::collections::BTreeMap;
use std::path::Path;

use ahash::AHashMap;
use toml::{Spanned, Value};

use crate::config::Report;
use crate::config::error::{LoadError, Problem};

/// Longest name, bytes; longer ones would not be accepted from a token either.
const MAX_NAME_BYTES: usize = 256;

/// See the module's first lines. Empty: every id is its own name.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct GroupNames(AHashMap<Box<str>, Box<str>>);

impl GroupNames {
    /// Reads the file's text.
    /// # Errors: every line that is not an id and a name.
    pub(super) fn parse(file: &Path, text: &[u8]) -> Result<Self, LoadError> {
        let text = std::str::from_utf8(text).map_err(|_| LoadError {
            problems: vec![Problem {
                file: file.to_owned(),
                position: None,
                message: "is not UTF-8 text".to_owned(),
                help: None,
            }],
        })?;
        let mut report = Report::new(file, text);
        let help = "each line is the provider's id of a group and our name for it, as in `6f2c0d1e = \"finance\"`";
        let lines = toml::from_str::<BTreeMap<String, Spanned<Value>>>(text);
        let lines = lines.unwrap_or_else(|error| {
            let at = error.span().map_or(0, |span| span.start);
            report.error(at, error.message(), help.to_owned());
            BTreeMap::new()
        });
        let mut names = AHashMap::with_capacity(lines.len());
        for (id, name) in lines {
            let at = name.span().start;
            match name.into_inner() {
                Value::String(name) if is_name(&name) => {
                    names.insert(id.into_boxed_str(), name.into_boxed_str());
                }
                Value::String(_) => report.error(
                    at,
                    format!(
                        "the name of group `{id}` is empty, too long, or has control characters"
                    ),
                    help.to_owned(),
                ),
                Value::Integer(_)
                | Value::Float(_)
                | Value::Boolean(_)
                | Value::Datetime(_)
                | Value::Array(_)
                | Value::Table(_) => {
                    let message = format!("the name of group `{id}` is not a string");
                    report.error(at, message, help.to_owned());
                }
            }
        }
        report.finish()?;
        Ok(Self(names))
    }

    /// The name of a group; an id without one is its own.
    pub(super) fn of<'a>(&'a self, id: &'a str) -> &'a str {
        self.0.get(id).map_or(id, |name| name)
    }
}

fn is_name(name: &str) -> bool {
    let trimmed = name.trim();
    !trimmed.is_empty()
        && trimmed.len() == name.len()
        && name.len() <= MAX_NAME_BYTES
        && !name.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<GroupNames, LoadError> {
        GroupNames::parse(Path::new("groups.toml"), text.as_bytes())
    }

    #[test]
    fn ids_have_names_and_the_rest_stay_as_they_are() {
        let text = "# accounts\n6f2c-0d1e = \"finance\"\n\"a b/c\" = \"経理\"\n1234 = \"hr\"\n";
        let names = parse(text).unwrap();
        assert_eq!(names.of("6f2c-0d1e"), "finance");
        assert_eq!(names.of("a b/c"), "経理");
        assert_eq!(names.of("1234"), "hr");
        assert_eq!(names.of("other"), "other");
    }

    #[test]
    fn mistakes_are_shown_at_their_lines() {
        for (text, line) in [
            ("a = \"x\"\nb = 1\n", 2),
            ("a = \"x\"\n\nb = \"\"\n", 3),
            ("a = \"x\"\na = \"y\"\n", 2),
            ("a = \"x\"\nb\n", 2),
            ("[a]\nb = \"x\"\n", 1),
            ("a = \" x\"\n", 1),
        ] {
            let problems = parse(text).unwrap_err().problems;
            assert_eq!(problems[0].position.unwrap().0, line, "{text}");
        }
        assert!(GroupNames::parse(Path::new("x"), b"\xff").is_err());
    }
}
