//! Who asks: the user of the operating system, by number and name, for the record.

use std::fmt;

/// See the module's first line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Operator {
    uid: u32,
    name: Option<String>,
    /// Who became that user, as they say themselves.
    through: Option<String>,
}

impl Operator {
    /// Whoever has that number.
    pub(crate) fn of(uid: u32, through: Option<&str>) -> Self {
        let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        Self {
            uid,
            name: name_of(&users, uid),
            through: through.and_then(clean),
        }
    }
}

impl fmt::Display for Operator {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = &self.name {
            write!(formatter, "{name} ")?;
        }
        write!(formatter, "(uid {}", self.uid)?;
        if let Some(through) = &self.through {
            write!(formatter, ", says to be {through}")?;
        }
        formatter.write_str(")")
    }
}

/// `name:…:uid:…`. Users of a directory service have no line there, and go by their number.
fn name_of(users: &str, uid: u32) -> Option<String> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, number) = (fields.next()?, fields.nth(1)?);
        (number.parse() == Ok(uid)).then_some(name).and_then(clean)
    })
}

/// A name fit for a record; anything else is none.
fn clean(name: &str) -> Option<String> {
    let fits = |character: char| character.is_ascii_alphanumeric() || "._-@".contains(character);
    let good = !name.is_empty() && name.len() <= 64 && name.chars().all(fits);
    good.then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_named_where_their_name_is_known() {
        let users = "root:x:0:0:root:/root:/bin/sh\nada:x:1000:1000::/home/ada:/bin/sh\nbad\n";
        assert_eq!(name_of(users, 1000).as_deref(), Some("ada"));
        assert_eq!(name_of(users, 7), None);
        let operator = Operator {
            uid: 0,
            name: name_of(users, 0),
            through: clean("ada"),
        };
        assert_eq!(operator.to_string(), "root (uid 0, says to be ada)");
        let bare = Operator {
            uid: 7,
            name: None,
            through: clean("a; rm -rf /\n{\"x\":1}"),
        };
        assert_eq!(bare.to_string(), "(uid 7)");
    }
}
