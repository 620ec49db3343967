//! Scopes and colours.

use super::{Fault, Written};

/// One OAuth scope (RFC 6749 §3.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope(pub String);

impl Written for Scope {
    const KIND: &'static str = "scope";
    const EXAMPLE: &'static str = "profile";
    const PATTERN: &'static str = r"^[!#-\[\]-~]+$";

    fn parse(text: &str) -> Result<Self, Fault> {
        let plain = |b: u8| b.is_ascii_graphic() && b != b'"' && b != b'\\';
        if text.is_empty() || text.len() > 256 || !text.bytes().all(plain) {
            return Err(Fault::new(
                "is not a scope",
                "write one without spaces and quotes; several are several entries of the list",
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

/// A colour of sRGB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Colour(pub [u8; 3]);

impl Written for Colour {
    const KIND: &'static str = "colour";
    const EXAMPLE: &'static str = "#1d5fa8";
    const PATTERN: &'static str = "^#[0-9A-Fa-f]{6}$";

    fn parse(text: &str) -> Result<Self, Fault> {
        let fault = || {
            Fault::new(
                "is not a colour",
                "write six hexadecimal digits after `#`, as in `\"#1d5fa8\"`",
            )
        };
        let digits = text.strip_prefix('#').ok_or_else(fault)?;
        if digits.len() != 6 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(fault());
        }
        let number = u32::from_str_radix(digits, 16).map_err(|_| fault())?;
        let [_, red, green, blue] = number.to_be_bytes();
        Ok(Self([red, green, blue]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_colour_has_six_digits_and_nothing_else() {
        assert_eq!(Colour::parse("#1D5fa8").unwrap().0, [0x1d, 0x5f, 0xa8]);
        for text in [
            "", "#", "1d5fa8", "#1d5fa", "#1d5fa80", "#+d5fa8", "red", "#１d5fa",
        ] {
            assert!(Colour::parse(text).is_err(), "{text}");
        }
    }

    // Attack: further parameters smuggled into the request through a scope.
    #[test]
    fn a_scope_is_one_word() {
        assert!(Scope::parse("https://graph.microsoft.com/User.Read").is_ok());
        for text in ["", "openid profile", "a\"b", "a\\b", "a\nb", "日"] {
            assert!(Scope::parse(text).is_err(), "{text}");
        }
    }
}
