//! Header fields that could make the app behind us read another request than the one decided about; for both protocols.

use http::request::Parts;
use http::{Version, header};

use super::Violation;
use super::target::action_of_method;

/// Some frameworks serve the path in these instead of the request's.
const PATH_OVERRIDES: [&str; 2] = ["x-original-url", "x-rewrite-url"];
/// Some frameworks act on the method in these instead of the request's.
const METHOD_OVERRIDES: [&str; 3] = [
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
];

/// Checks what neither hyper nor h2 checks. (h2 itself refuses upper case, connection-specific fields, `te` other than
/// `trailers`, repeated or misplaced pseudo-fields, control bytes, and a `content-length` that the data contradicts.)
///
/// # Errors
/// `RequestAmbiguous` for an underscore in a field name; `RequestMalformed` for repeated or signed lengths and for white
/// space at the edges of a value in HTTP/2 (RFC 9113 §8.2.1).
pub fn check_fields(head: &Parts) -> Result<(), Violation> {
    if head.version == Version::HTTP_2 {
        check_http2(head)?;
    }
    Ok(())
}

/// For apps, where path and method decide. To a destination abroad every request is a connection, and public APIs rely
/// on these fields.
///
/// # Errors
/// `RequestAmbiguous` for fields that replace the path, and for fields that replace the method by one that means another
/// action.
pub fn check_overrides(head: &Parts) -> Result<(), Violation> {
    for name in head.headers.keys() {
        // One letter settles most.
        let name = name.as_str();
        if !name.starts_with('x') {
            continue;
        }
        if PATH_OVERRIDES.contains(&name) {
            return Err(Violation::ambiguous("field that replaces the path"));
        }
        if METHOD_OVERRIDES.contains(&name) {
            check_method_override(head, name)?;
        }
    }
    Ok(())
}

fn check_method_override(head: &Parts, name: &str) -> Result<(), Violation> {
    for value in head.headers.get_all(name) {
        let action = action_of_method(value.to_str().unwrap_or_default());
        if action.is_err() || action != action_of_method(head.method.as_str()) {
            return Err(Violation::ambiguous("field that replaces the method"));
        }
    }
    Ok(())
}

fn check_http2(head: &Parts) -> Result<(), Violation> {
    for (name, value) in &head.headers {
        if name.as_str().contains('_') {
            return Err(Violation::ambiguous("underscore in a field name"));
        }
        if let [b' ' | b'\t', ..] | [.., b' ' | b'\t'] = value.as_bytes() {
            return Err(Violation::malformed("white space around a field value"));
        }
    }
    let mut lengths = head.headers.get_all(header::CONTENT_LENGTH).iter();
    if let Some(length) = lengths.next() {
        let digits = length.as_bytes();
        let plain = !digits.is_empty()
            && digits.iter().all(u8::is_ascii_digit)
            && (digits.len() == 1 || !digits.starts_with(b"0"));
        if !plain || lengths.next().is_some() {
            return Err(Violation::malformed("invalid content-length"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn check(version: Version, method: &str, fields: &[(&str, &str)]) -> Result<(), Violation> {
        let mut request = Request::builder().version(version).method(method);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let head = request.body(()).unwrap().into_parts().0;
        check_fields(&head)?;
        check_overrides(&head)
    }

    #[test]
    fn plain_fields_pass() {
        let fields = [("content-length", "5"), ("te", "trailers"), ("x-a", "b c")];
        assert_eq!(check(Version::HTTP_2, "POST", &fields), Ok(()));
        assert_eq!(check(Version::HTTP_11, "POST", &fields), Ok(()));
    }

    #[test]
    fn http2_fields_that_would_be_twins_or_break_framing_behind_us_are_refused() {
        for fields in [
            &[("x_forwarded_for", "::1")][..],
            &[("masugata_assertion", "x")],
            &[("x-a", " b")],
            &[("x-a", "b\t")],
            &[("content-length", "5"), ("content-length", "5")],
            &[("content-length", "05")],
            &[("content-length", "")],
        ] {
            assert!(
                check(Version::HTTP_2, "POST", fields).is_err(),
                "{fields:?}"
            );
        }
    }

    #[test]
    fn nobody_smuggles_another_path_or_action_past_the_policy() {
        for (method, name, value) in [
            ("GET", "X-Original-URL", "/admin"),
            ("GET", "X-Rewrite-URL", "/admin"),
            ("POST", "X-HTTP-Method-Override", "DELETE"),
            ("GET", "X-HTTP-Method", "PUT"),
            ("POST", "X-Method-Override", "GET"),
            ("POST", "X-HTTP-Method-Override", "put, DELETE"),
            ("POST", "X-HTTP-Method-Override", ""),
        ] {
            assert!(
                check(Version::HTTP_11, method, &[(name, value)]).is_err(),
                "{value}"
            );
        }
        let same = [("X-HTTP-Method-Override", "PATCH")];
        assert_eq!(check(Version::HTTP_11, "POST", &same), Ok(()));
    }
}
