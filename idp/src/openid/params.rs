//! Parameters as they arrive in a query or a form: few, short, and none twice (RFC 6749 §3.1: "MUST NOT be included more
//! than once").

use std::fmt;

use secrecy::SecretString;
use url::form_urlencoded;

/// Longest query or form, in bytes.
const LONGEST: usize = 16 * 1024;
/// Longest value, in bytes.
const LONGEST_VALUE: usize = 4 * 1024;
const MOST: usize = 40;

/// Why parameters are not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ParamsError {
    #[error("the parameters are too long")]
    TooLong,
    #[error("a parameter is there twice")]
    Twice,
    #[error("the parameters are not UTF-8")]
    NotText,
}

/// Parameters by name. An empty value is as if the parameter were not there (RFC 6749 §3.1).
pub(crate) struct Params(Vec<(String, String)>);

impl Params {
    /// # Errors: [`ParamsError`].
    pub(crate) fn parse(encoded: &[u8]) -> Result<Self, ParamsError> {
        if encoded.len() > LONGEST {
            return Err(ParamsError::TooLong);
        }
        let mut found: Vec<(String, String)> = Vec::new();
        for (name, value) in form_urlencoded::parse(encoded) {
            if found.len() == MOST || value.len() > LONGEST_VALUE {
                return Err(ParamsError::TooLong);
            }
            // What cannot be decoded comes out as this; nothing of ours contains it.
            if name.contains('\u{fffd}') || value.contains('\u{fffd}') {
                return Err(ParamsError::NotText);
            }
            if found.iter().any(|(other, _)| *other == name) {
                return Err(ParamsError::Twice);
            }
            found.push((name.into_owned(), value.into_owned()));
        }
        Ok(Self(found))
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(other, _)| other == name)
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    }

    /// The value, or nothing of it.
    pub(crate) fn or_empty(&self, name: &str) -> &str {
        self.text(name).unwrap_or_default()
    }

    /// The value as a secret.
    pub(crate) fn secret(&self, name: &str) -> SecretString {
        SecretString::from(self.or_empty(name))
    }
}

impl fmt::Debug for Params {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Values may be passwords.
        out.debug_list()
            .entries(self.0.iter().map(|(name, _)| name))
            .finish()
    }
}

impl Drop for Params {
    fn drop(&mut self) {
        for (_, value) in &mut self.0 {
            zeroize::Zeroize::zeroize(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_is_there_once() {
        assert_eq!(
            Params::parse(b"a=1&b=2&a=1").unwrap_err(),
            ParamsError::Twice
        );
        assert_eq!(Params::parse(b"a=1&%61=2").unwrap_err(), ParamsError::Twice);
        let params = Params::parse(b"a=1&b=&c=%E3%81%82+x").unwrap();
        assert_eq!(params.text("a"), Some("1"));
        assert_eq!(params.text("b"), None);
        assert_eq!(params.text("c"), Some("あ x"));
    }

    #[test]
    fn huge_parameters_are_refused() {
        let long = format!("a={}", "x".repeat(5000));
        assert_eq!(
            Params::parse(long.as_bytes()).unwrap_err(),
            ParamsError::TooLong
        );
        let longer = "x".repeat(20_000);
        assert_eq!(
            Params::parse(longer.as_bytes()).unwrap_err(),
            ParamsError::TooLong
        );
        let many: Vec<_> = (0..50).map(|at| format!("p{at}=1")).collect();
        assert_eq!(
            Params::parse(many.join("&").as_bytes()).unwrap_err(),
            ParamsError::TooLong
        );
    }

    #[test]
    fn debugging_shows_no_values() {
        let params = Params::parse(b"password=correct-horse").unwrap();
        assert!(!format!("{params:?}").contains("horse"));
    }
}
