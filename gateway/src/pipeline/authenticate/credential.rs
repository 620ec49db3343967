//! The one credential that a request carries in its head (RFC 9110 §11.4), before anybody believes it.

use http::{HeaderMap, HeaderName};

use crate::denial::{Denial, DenialReason};

/// What stands in `Authorization` or `Proxy-Authorization`.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Presented<'a> {
    Nothing,
    /// The token (RFC 6750 §2.1); never empty.
    Bearer(&'a str),
    /// Base64 of user-id, colon and password (RFC 7617 §2), not decoded; never empty.
    Basic(&'a str),
    /// Several, or another scheme, or an empty one, in words for the record.
    Malformed(&'static str),
}

/// Reads the field `name`.
pub(super) fn presented(headers: &HeaderMap, name: HeaderName) -> Presented<'_> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else {
        return Presented::Nothing;
    };
    if values.next().is_some() {
        return Presented::Malformed("more than one credential");
    }
    let Ok(text) = value.to_str() else {
        return Presented::Malformed("invalid byte in a credential");
    };
    let (scheme, rest) = text.split_once(' ').unwrap_or((text, ""));
    let rest = rest.trim_matches(' ');
    let is = |known: &str| scheme.eq_ignore_ascii_case(known);
    match rest {
        "" if is("bearer") || is("basic") => Presented::Malformed("empty credential"),
        token if is("bearer") => Presented::Bearer(token),
        pair if is("basic") => Presented::Basic(pair),
        _ => Presented::Malformed(NOT_TAKEN),
    }
}

/// For schemes that are not taken here.
const NOT_TAKEN: &str = "a kind of credential that is not taken here";

/// The refusal of something that is no credential to us.
pub(super) fn malformed(what: &'static str) -> Denial {
    Denial::new(DenialReason::CredentialMalformed).with_detail(what)
}

/// The refusal of a kind of credential that this door does not take.
pub(super) fn not_taken() -> Denial {
    malformed(NOT_TAKEN)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use http::header::PROXY_AUTHORIZATION;

    use super::*;

    fn headers(values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(PROXY_AUTHORIZATION, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn one_credential_of_a_known_scheme_is_read() {
        let read =
            |value: &str| format!("{:?}", presented(&headers(&[value]), PROXY_AUTHORIZATION));
        assert_eq!(read("Bearer abc"), r#"Bearer("abc")"#);
        assert_eq!(read("bEARER   abc "), r#"Bearer("abc")"#);
        assert_eq!(read("basic eDp5"), r#"Basic("eDp5")"#);
        for value in [
            "Bearer",
            "Bearer ",
            "Basic",
            "Negotiate abc",
            "NTLM abc",
            "",
            "abc",
        ] {
            assert!(read(value).starts_with("Malformed"), "{value}");
        }
        assert_eq!(
            presented(&HeaderMap::new(), PROXY_AUTHORIZATION),
            Presented::Nothing
        );
    }

    #[test]
    fn two_credentials_are_none() {
        let headers = headers(&["Bearer abc", "Basic eDp5"]);
        let Presented::Malformed(_) = presented(&headers, PROXY_AUTHORIZATION) else {
            panic!();
        };
    }
}
