//! What names, addresses and groups may look like. Strict, because they end up in policies, records and tables.

use super::error::AccountError;

/// Longest user name, in characters.
pub(crate) const MAX_USER: usize = 64;
const MAX_TEXT: usize = 128;
const MAX_EMAIL: usize = 254;
const MAX_GROUPS: usize = 1_000;

/// A user name as it is stored: 1 to 64 of `a-z 0-9 . _ - @ +`, first and last a letter or digit. Upper case becomes
/// lower case, and the full-width letters of Japanese keyboards become plain ones; anything else is refused rather than
/// folded, so that no two spellings mean the same person (the case-mapped profile of RFC 8265 §3.3, cut down to ASCII).
///
/// # Errors
/// [`AccountError::Invalid`].
pub(crate) fn user(typed: &str) -> Result<Box<str>, AccountError> {
    let refuse = |problem| {
        Err(AccountError::Invalid {
            field: "user",
            problem,
        })
    };
    // Before anything is copied: what is typed may be long.
    if typed.len() > 4 * MAX_USER {
        return refuse("more than 64 characters");
    }
    let user = narrow(typed).trim().to_ascii_lowercase();
    if user.is_empty() {
        return refuse("empty");
    }
    if user.chars().count() > MAX_USER {
        return refuse("more than 64 characters");
    }
    if !user
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"._-@+".contains(&byte))
    {
        return refuse("only a-z, 0-9, and . _ - @ + are possible");
    }
    let ends = [user.bytes().next(), user.bytes().next_back()];
    if !ends
        .iter()
        .flatten()
        .all(|byte| byte.is_ascii_alphanumeric())
    {
        return refuse("must begin and end with a letter or digit");
    }
    Ok(user.into())
}

/// Full-width ASCII (U+FF01 to U+FF5E) and the ideographic space as their plain forms, as NFKC has it.
pub(crate) fn narrow(typed: &str) -> String {
    typed
        .chars()
        .map(|character| match character {
            '\u{ff01}'..='\u{ff5e}' => {
                char::from_u32(u32::from(character) - 0xfee0).unwrap_or(character)
            }
            '\u{3000}' => ' ',
            _ => character,
        })
        .collect()
}

/// A name to show: 1 to 128 characters on one line.
///
/// # Errors
/// [`AccountError::Invalid`].
pub(crate) fn line(field: &'static str, typed: &str) -> Result<Box<str>, AccountError> {
    let line = typed.trim();
    if line.is_empty() {
        return Err(AccountError::Invalid {
            field,
            problem: "empty",
        });
    }
    if line.chars().count() > MAX_TEXT {
        return Err(AccountError::Invalid {
            field,
            problem: "more than 128 characters",
        });
    }
    if line.chars().any(is_odd) {
        return Err(AccountError::Invalid {
            field,
            problem: "control characters",
        });
    }
    Ok(line.into())
}

/// An address of somebody. Not RFC 5322: one `@`, something before and after it, nothing that no mail system uses.
///
/// # Errors
/// [`AccountError::Invalid`].
pub(crate) fn email(typed: &str) -> Result<Box<str>, AccountError> {
    let email = typed.trim();
    let refuse = |problem| {
        Err(AccountError::Invalid {
            field: "email",
            problem,
        })
    };
    if email.len() > MAX_EMAIL {
        return refuse("more than 254 bytes");
    }
    if email.chars().any(|character| {
        character.is_whitespace() || is_odd(character) || "<>\",;()".contains(character)
    }) {
        return refuse("characters that no address has");
    }
    match email.split_once('@') {
        Some((local, domain))
            if !local.is_empty()
                && !domain.is_empty()
                && !domain.contains('@')
                && !domain.starts_with('.')
                && !domain.ends_with('.') =>
        {
            Ok(email.into())
        }
        Some(_) | None => refuse("not an address"),
    }
}

/// Groups, sorted and each once.
///
/// # Errors
/// [`AccountError::Invalid`].
pub(crate) fn groups(typed: &[String]) -> Result<Vec<Box<str>>, AccountError> {
    if typed.len() > MAX_GROUPS {
        return Err(AccountError::Invalid {
            field: "groups",
            problem: "more than 1000",
        });
    }
    let mut groups = typed
        .iter()
        .map(|group| line("groups", group))
        .collect::<Result<Vec<_>, _>>()?;
    groups.sort();
    groups.dedup();
    Ok(groups)
}

/// Control characters, and those that make text look like other text (bidirectional controls, U+FEFF, line separators).
fn is_odd(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}'
        )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_folded_to_one_spelling() {
        for typed in ["ada", "ADA", " Ada ", "ＡＤＡ", "ａｄａ\u{3000}"] {
            assert_eq!(&*user(typed).unwrap(), "ada", "{typed}");
        }
        assert_eq!(
            &*user("Ada.Lovelace+x@Example.com").unwrap(),
            "ada.lovelace+x@example.com"
        );
    }

    #[test]
    fn names_that_look_like_others_are_refused() {
        // Cyrillic а, dotless ı, Kelvin sign (lower-cases to k), soft hyphen, a path, a header, a formula.
        for typed in [
            "аda",
            "dına",
            "\u{212a}im",
            "a\u{ad}da",
            "a/b",
            "a\r\nb",
            "=1+1",
            "-x",
            "x-",
            "",
            "a b",
        ] {
            assert!(user(typed).is_err(), "{typed:?}");
        }
        assert!(user(&"a".repeat(64)).is_ok());
        assert!(user(&"a".repeat(65)).is_err());
    }

    #[test]
    fn texts_hold_no_controls() {
        assert_eq!(&*line("name", " 山田 花子 ").unwrap(), "山田 花子");
        for typed in ["", "  ", "a\nb", "a\u{202e}b", "a\u{0}"] {
            assert!(line("name", typed).is_err(), "{typed:?}");
        }
    }

    #[test]
    fn addresses_have_one_at() {
        assert!(email("ada@example.com").is_ok());
        for typed in [
            "ada",
            "@example.com",
            "ada@",
            "a@b@c",
            "a b@c",
            "a@.c",
            "<a@b>",
            "a@b\r\nBcc:x",
        ] {
            assert!(email(typed).is_err(), "{typed:?}");
        }
    }

    proptest! {
        #[test]
        fn a_name_that_is_accepted_is_its_own_spelling(typed in "\\PC{0,80}") {
            if let Ok(name) = user(&typed) {
                prop_assert_eq!(&*user(&name).unwrap(), &*name);
                prop_assert!(name.is_ascii() && !name.contains('/') && name.len() <= 64);
            }
        }
    }
}
