//! The filters that are understood (RFC 7644 §3.4.2.2): `attribute eq value`, joined by `and`. Everything else is an
//! `invalidFilter`, so that nobody takes a part of the answer for all of it.

use super::error::{Kind, ScimError};

/// Bytes of the longest filter or path.
const LONGEST: usize = 2_048;

/// Comparisons in one filter.
const MOST: usize = 8;

/// All of these hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Filter(pub(super) Vec<Clause>);

/// `attribute eq operand`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Clause {
    /// Lower case, without a schema before it.
    pub(super) attribute: Box<str>,
    pub(super) operand: Operand,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Operand {
    Text(Box<str>),
    Flag(bool),
}

impl Operand {
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Flag(_) => None,
        }
    }
}

/// Where a PATCH applies: `attribute`, `attribute.sub`, `attribute[filter]` or `attribute[filter].sub` (§3.5.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Path {
    /// Lower case, without a schema before it.
    pub(super) attribute: Box<str>,
    pub(super) filter: Option<Filter>,
    pub(super) sub: Option<Box<str>>,
}

impl Filter {
    /// `known` are the attributes that can be compared, in lower case.
    pub(super) fn parse(text: &str, known: &[&str]) -> Result<Self, ScimError> {
        if text.len() > LONGEST {
            return Err(invalid("it is too long"));
        }
        let (filter, rest) = clauses(text)?;
        if !rest.is_empty() {
            return Err(invalid(
                "only `attribute eq value` and `and` are understood",
            ));
        }
        let stranger = filter
            .0
            .iter()
            .find(|clause| !known.contains(&&*clause.attribute));
        match stranger {
            Some(_) => Err(invalid("an attribute in it cannot be searched for")),
            None => Ok(filter),
        }
    }

    /// Whether every comparison holds.
    pub(super) fn holds(&self, compare: impl Fn(&Clause) -> bool) -> bool {
        self.0.iter().all(compare)
    }

    /// What `attribute` must equal.
    pub(super) fn wants(&self, attribute: &str) -> Option<&str> {
        let clause = self.0.iter().find(|it| &*it.attribute == attribute)?;
        clause.operand.text()
    }
}

impl Path {
    pub(super) fn parse(text: &str) -> Result<Self, ScimError> {
        let wrong = || ScimError::of(Kind::InvalidPath, "the path cannot be read");
        if text.len() > LONGEST {
            return Err(wrong());
        }
        let (name, rest) = name(text.trim_matches(' ')).ok_or_else(wrong)?;
        let name = without_schema(name);
        let (attribute, mut sub) = match name.split_once('.') {
            // `urn:…:2.0:User` and the like, which no attribute of ours is.
            _ if name.contains(':') => (&*name, None),
            Some((attribute, sub)) => (attribute, Some(sub)),
            None => (&*name, None),
        };
        let mut filter = None;
        let mut rest = rest;
        let after;
        if let Some(inside) = rest.strip_prefix('[') {
            if sub.is_some() {
                return Err(wrong());
            }
            let (found, behind) = clauses(inside).map_err(|_| wrong())?;
            filter = Some(found);
            rest = behind.strip_prefix(']').ok_or_else(wrong)?;
            if let Some(behind) = rest.strip_prefix('.') {
                let (name, behind) = self::name(behind).ok_or_else(wrong)?;
                after = name.to_ascii_lowercase();
                sub = Some(&*after);
                rest = behind;
            }
        }
        if !rest.is_empty() || attribute.is_empty() || sub.is_some_and(str::is_empty) {
            return Err(wrong());
        }
        Ok(Self {
            attribute: attribute.into(),
            filter,
            sub: sub.map(Into::into),
        })
    }
}

/// Comparisons as far as they go, and what follows them.
fn clauses(text: &str) -> Result<(Filter, &str), ScimError> {
    let mut found = Vec::new();
    let mut rest = text;
    loop {
        let (clause, behind) = clause(rest)?;
        found.push(clause);
        if found.len() > MOST {
            return Err(invalid("it has too many comparisons"));
        }
        rest = behind.trim_start_matches(' ');
        match word(rest) {
            Some((joint, behind))
                if joint.eq_ignore_ascii_case("and") && behind.starts_with(' ') =>
            {
                rest = behind;
            }
            Some(_) | None => return Ok((Filter(found), rest)),
        }
    }
}

fn clause(text: &str) -> Result<(Clause, &str), ScimError> {
    let only = || invalid("only `attribute eq value` and `and` are understood");
    let (attribute, rest) = name(text.trim_start_matches(' ')).ok_or_else(only)?;
    let rest = rest.strip_prefix(' ').ok_or_else(only)?;
    let (operator, rest) = word(rest.trim_start_matches(' ')).ok_or_else(only)?;
    if !operator.eq_ignore_ascii_case("eq") {
        return Err(only());
    }
    let rest = rest.strip_prefix(' ').ok_or_else(only)?;
    let rest = rest.trim_start_matches(' ');
    let (operand, rest) = if rest.starts_with('"') {
        let mut values = serde_json::Deserializer::from_str(rest).into_iter::<String>();
        let Some(Ok(value)) = values.next() else {
            return Err(invalid("a value in it is not a JSON string"));
        };
        let end = values.byte_offset();
        (
            Operand::Text(value.into()),
            rest.get(end..).unwrap_or_default(),
        )
    } else {
        let (value, rest) = word(rest).ok_or_else(only)?;
        let flag = match value.to_ascii_lowercase().as_str() {
            "true" => true,
            "false" => false,
            _ => return Err(invalid("a value in it is neither a string nor a boolean")),
        };
        (Operand::Flag(flag), rest)
    };
    let attribute = without_schema(attribute);
    Ok((Clause { attribute, operand }, rest))
}

fn word(text: &str) -> Option<(&str, &str)> {
    split(text, |byte| byte.is_ascii_alphabetic())
}

/// Of an attribute, perhaps with its schema before it.
fn name(text: &str) -> Option<(&str, &str)> {
    split(text, |byte| {
        byte.is_ascii_alphanumeric() || matches!(byte, b':' | b'.' | b'_' | b'-' | b'$')
    })
}

/// The longest beginning of such bytes, if there is one, and the rest.
fn split(text: &str, belongs: impl Fn(u8) -> bool) -> Option<(&str, &str)> {
    let end = text.bytes().position(|byte| !belongs(byte));
    let (head, rest) = text.split_at_checked(end.unwrap_or(text.len()))?;
    (!head.is_empty()).then_some((head, rest))
}

/// Schemas of which we keep attributes.
const SCHEMAS: [&str; 2] = [
    "urn:ietf:params:scim:schemas:core:2.0:user:",
    "urn:ietf:params:scim:schemas:core:2.0:group:",
];

/// Attribute names are compared without case (RFC 7643 §2.1), and may have their schema before them (RFC 7644 §3.10).
fn without_schema(name: &str) -> Box<str> {
    let name = name.to_ascii_lowercase();
    let bare = SCHEMAS.iter().find_map(|schema| name.strip_prefix(schema));
    bare.unwrap_or(&name).into()
}

fn invalid(why: &str) -> ScimError {
    ScimError::of(Kind::InvalidFilter, format!("the filter is refused: {why}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KNOWN: &[&str] = &["username", "externalid", "active", "id", "emails.value"];

    fn read(text: &str) -> Option<Vec<(String, Operand)>> {
        let filter = Filter::parse(text, KNOWN).ok()?;
        let pairs = filter.0.into_iter();
        Some(pairs.map(|it| (it.attribute.into(), it.operand)).collect())
    }

    fn text(text: &str) -> Operand {
        Operand::Text(text.into())
    }

    #[test]
    fn what_entra_and_okta_ask_is_understood() {
        let one = |name: &str, value| Some(vec![(name.to_owned(), value)]);
        assert_eq!(
            read(r#"userName eq "ada@corp.example""#),
            one("username", text("ada@corp.example"))
        );
        assert_eq!(
            read(r#"USERNAME EQ "a\"b\u00e9""#),
            one("username", text("a\"bé"))
        );
        assert_eq!(
            read(r#"urn:ietf:params:scim:schemas:core:2.0:User:externalId eq "1""#),
            one("externalid", text("1"))
        );
        assert_eq!(read("active eq True"), one("active", Operand::Flag(true)));
        assert_eq!(
            read(r#"id eq "a and b" and active eq false"#).unwrap(),
            [
                ("id".to_owned(), text("a and b")),
                ("active".to_owned(), Operand::Flag(false))
            ]
        );
    }

    #[test]
    fn everything_else_is_refused_and_never_half_read() {
        for filter in [
            "",
            "userName",
            "userName eq",
            "userName eq ada",
            "userName eq 'ada'",
            r#"userName eq "ada"#,
            r#"userName eq "ada" or active eq true"#,
            r#"userName eq "ada" or "1" eq "1""#,
            r#"userName eq "ada" and"#,
            r#"userName eq "ada" andactive eq true"#,
            r#"userName eq "ada")"#,
            r#"(userName eq "ada")"#,
            r#"not (userName eq "ada")"#,
            r#"userName co "a""#,
            r#"userName sw "a""#,
            "userName pr",
            r#"password eq "x""#,
            r#"emails[type eq "work"]"#,
            r#"userName eq "ada"; drop table users"#,
            "userName eq null",
            "active eq 1",
        ] {
            let refused = Filter::parse(filter, KNOWN).unwrap_err();
            assert_eq!(refused.kind, Some(Kind::InvalidFilter), "{filter}");
        }
        let long = format!("userName eq \"{}\"", "a".repeat(LONGEST));
        assert!(Filter::parse(&long, KNOWN).is_err());
        let many = [r#"id eq "1""#; MOST + 1].join(" and ");
        assert!(Filter::parse(&many, KNOWN).is_err());
    }

    #[test]
    fn paths_of_patches_are_read() {
        let path = |attribute: &str, filter: Option<(&str, &str)>, sub: Option<&str>| Path {
            attribute: attribute.into(),
            filter: filter.map(|(attribute, value)| {
                Filter(vec![Clause {
                    attribute: attribute.into(),
                    operand: text(value),
                }])
            }),
            sub: sub.map(Into::into),
        };
        for (written, read) in [
            ("active", path("active", None, None)),
            ("Name.GivenName", path("name", None, Some("givenname"))),
            (
                r#"members[value eq "1]"]"#,
                path("members", Some(("value", "1]")), None),
            ),
            (
                r#"emails[type eq "work"].value"#,
                path("emails", Some(("type", "work")), Some("value")),
            ),
            (
                "urn:ietf:params:scim:schemas:core:2.0:User:name.familyName",
                path("name", None, Some("familyname")),
            ),
            (
                "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department",
                path(
                    "urn:ietf:params:scim:schemas:extension:enterprise:2.0:user:department",
                    None,
                    None,
                ),
            ),
        ] {
            assert_eq!(Path::parse(written).unwrap(), read, "{written}");
        }
        for wrong in [
            "",
            ".",
            "name.",
            ".x",
            "members[",
            "members[]",
            r#"members[value eq "1""#,
            r#"members[value eq "1"]x"#,
            r#"name.x[value eq "1"]"#,
            "a b",
            "../x",
        ] {
            assert!(Path::parse(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn a_value_comes_back_as_it_was_whatever_is_in_it(value in any::<String>(), flag in any::<bool>()) {
            let written = serde_json::to_string(&value).unwrap();
            prop_assume!(written.len() < LONGEST - 64);
            let filter = format!("userName eq {written} and active eq {flag}");
            let expected = vec![
                ("username".to_owned(), text(&value)),
                ("active".to_owned(), Operand::Flag(flag)),
            ];
            prop_assert_eq!(read(&filter), Some(expected));
        }

        #[test]
        fn nothing_makes_the_parsers_fail(text in any::<String>(), near in r#"[a-z\[\]". ()\\]{0,40}"#) {
            for text in [text, near] {
                let _ = Filter::parse(&text, KNOWN);
                let _ = Path::parse(&text);
            }
        }
    }
}
