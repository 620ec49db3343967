//! Pieces of HTTP and of tokens: header names we let people edit, values, methods, statuses, claims.

use http::header::{HeaderName, HeaderValue};
use http::uri::Uri;
use http::{Method, header};

use super::{Fault, Written};

/// The name of a header that an administrator may set or remove: not one that Masugata answers for itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EditedHeader(pub HeaderName);

impl Written for EditedHeader {
    const KIND: &'static str = "header-name";
    const EXAMPLE: &'static str = "X-Robots-Tag";

    fn parse(text: &str) -> Result<Self, Fault> {
        let help = "write letters, digits and `-`, as in `X-Robots-Tag`";
        if text.contains('_') {
            // Many servers read `_` and `-` as the same, so such a name can be a twin of another.
            return Err(Fault::new("has an underscore", help));
        }
        let name = HeaderName::from_bytes(text.as_bytes())
            .map_err(|_| Fault::new("is not a header name", help))?;
        own_header(&name).map_or(Ok(Self(name)), |why| {
            Err(Fault::new(
                "is a header that Masugata sets or interprets itself",
                why,
            ))
        })
    }
}

/// Why a header is not to be edited by configuration; `None`: it may be.
fn own_header(name: &HeaderName) -> Option<&'static str> {
    const HOP_BY_HOP: [&str; 9] = [
        "connection",
        "keep-alive",
        "proxy-connection",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ];
    const FORWARDING: [&str; 3] = ["forwarded", "via", "x-real-ip"];
    const IDENTITY: [&str; 3] = [
        "client-cert",
        "client-cert-chain",
        "x-forwarded-client-cert",
    ];
    let text = name.as_str();
    if text.starts_with("masugata-") {
        return Some("upstreams trust `Masugata-*`; leave them alone");
    }
    if HOP_BY_HOP.contains(&text) {
        return Some("it concerns one connection only (RFC 9110 §7.6.1)");
    }
    if *name == header::CONTENT_LENGTH || *name == header::EXPECT {
        return Some("it frames the message; changing it would corrupt or smuggle requests");
    }
    if *name == header::HOST {
        return Some("write `host_header` under `[app.upstream]` instead");
    }
    if FORWARDING.contains(&text) || text.starts_with("x-forwarded-") {
        return Some("forwarding headers are always written anew; see `trusted_forwarders`");
    }
    if IDENTITY.contains(&text) {
        return Some("upstreams take it for a verified identity");
    }
    if *name == header::AUTHORIZATION {
        return Some("see `forward_authorization` of the app");
    }
    None
}

/// A header value that anybody may see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderText(pub HeaderValue);

impl Written for HeaderText {
    const KIND: &'static str = "header-value";
    const EXAMPLE: &'static str = "noindex";

    fn parse(text: &str) -> Result<Self, Fault> {
        header_value(text).map(Self)
    }
}

/// A header value that may be a key to an upstream: marked sensitive, so it prints nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretHeaderText(pub HeaderValue);

impl Written for SecretHeaderText {
    const KIND: &'static str = "secret-header-value";
    const EXAMPLE: &'static str = "";

    fn parse(text: &str) -> Result<Self, Fault> {
        let mut value = header_value(text)?;
        value.set_sensitive(true);
        Ok(Self(value))
    }

    fn schema() -> serde_json::Map<String, serde_json::Value> {
        let mut schema = serde_json::Map::new();
        schema.insert("type".into(), "string".into());
        schema.insert("x-kind".into(), Self::KIND.into());
        schema.insert("x-secret".into(), true.into());
        schema
    }
}

fn header_value(text: &str) -> Result<HeaderValue, Fault> {
    let help = "write printable ASCII on one line, without spaces at the ends";
    let plain = text
        .bytes()
        .all(|b| (0x20..0x7f).contains(&b) || b == b'\t');
    if !plain || text.trim() != text {
        return Err(Fault::new("is not a header value", help));
    }
    HeaderValue::from_str(text).map_err(|_| Fault::new("is not a header value", help))
}

/// A media type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContentType(pub HeaderValue);

impl Written for ContentType {
    const KIND: &'static str = "content-type";
    const EXAMPLE: &'static str = "text/plain; charset=utf-8";

    fn parse(text: &str) -> Result<Self, Fault> {
        let essence = text.split(';').next().unwrap_or_default().trim();
        let halves = essence.split_once('/');
        if halves.is_none_or(|(kind, subtype)| !is_token(kind) || !is_token(subtype)) {
            return Err(Fault::new(
                "is not a media type",
                "write a type such as `\"text/html; charset=utf-8\"`",
            ));
        }
        header_value(text).map(Self)
    }
}

/// Where a redirect leads: an http or https URL, or a path on the same host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location(pub String);

impl Written for Location {
    const KIND: &'static str = "location";
    const EXAMPLE: &'static str = "https://www.example.com/";

    fn parse(text: &str) -> Result<Self, Fault> {
        let help =
            "write a URL such as `\"https://www.example.com/\"`, or a path such as `\"/start\"`";
        // `//host` and `/\host` are other hosts to a browser, and not to the person who reads the file.
        let path = text.starts_with('/') && !text.starts_with("//") && !text.starts_with("/\\");
        let url = text.parse::<Uri>().ok().is_some_and(|uri| {
            uri.authority().is_some() && matches!(uri.scheme_str(), Some("http" | "https"))
        });
        if !(path || url) || header_value(text).is_err() || text.contains(' ') {
            return Err(Fault::new("is not a place to redirect to", help));
        }
        Ok(Self(text.to_owned()))
    }
}

impl Written for Method {
    const KIND: &'static str = "method";
    const EXAMPLE: &'static str = "POST";

    fn parse(text: &str) -> Result<Self, Fault> {
        let upper = text.to_ascii_uppercase();
        if upper != text {
            return Err(Fault::new(
                "is not in upper case",
                format!("write `{upper}`"),
            ));
        }
        Self::from_bytes(text.as_bytes()).map_err(|_| {
            Fault::new(
                "is not an HTTP method",
                "write a method such as `GET` or `POST`",
            )
        })
    }
}

/// An inclusive range of statuses, `200-399`, or one status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusRange(pub u16, pub u16);

impl Written for StatusRange {
    const KIND: &'static str = "status-range";
    const EXAMPLE: &'static str = "200-399";
    const PATTERN: &'static str = "^[1-5][0-9]{2}(-[1-5][0-9]{2})?$";

    fn parse(text: &str) -> Result<Self, Fault> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let status = |text: &str| {
            let digits = text.len() == 3 && text.bytes().all(|b| b.is_ascii_digit());
            digits
                .then(|| text.parse::<u16>().ok())
                .flatten()
                .filter(|s| (100..600).contains(s))
        };
        match (status(first), status(last)) {
            (Some(first), Some(last)) if first <= last => Ok(Self(first, last)),
            _ => Err(Fault::new(
                "is not a range of HTTP statuses",
                "write the first and the last, as in `\"200-399\"`",
            )),
        }
    }
}

/// An authentication context class: what can stand in the space-separated list of RFC 9470 §3.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcrValue(pub String);

impl Written for AcrValue {
    const KIND: &'static str = "acr";
    const EXAMPLE: &'static str = "urn:okta:loa:2fa:any";
    const PATTERN: &'static str = r#"^[!#-\[\]-~]+$"#;

    fn parse(text: &str) -> Result<Self, Fault> {
        let plain = |b: u8| b.is_ascii_graphic() && b != b'"' && b != b'\\';
        if text.is_empty() || text.len() > 256 || !text.bytes().all(plain) {
            return Err(Fault::new(
                "is not an `acr` value",
                "write one value without spaces and quotes; several are several entries of the list",
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

/// The place of a claim in a token, dotted into objects: `realm_access.roles`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimPath(pub String);

impl Written for ClaimPath {
    const KIND: &'static str = "claim";
    const EXAMPLE: &'static str = "realm_access.roles";

    fn parse(text: &str) -> Result<Self, Fault> {
        let whole = text
            .split('.')
            .all(|part| !part.is_empty() && !part.contains(char::is_control));
        if !whole || text.len() > 256 {
            return Err(Fault::new(
                "is not the name of a claim",
                "write a name, or names joined by dots to reach into objects",
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

/// The `typ` of a token header, in the short form of RFC 7515 §4.1.9.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenType(pub String);

impl Written for TokenType {
    const KIND: &'static str = "token-type";
    const EXAMPLE: &'static str = "at+jwt";

    fn parse(text: &str) -> Result<Self, Fault> {
        let short = text.to_ascii_lowercase();
        let short = short.strip_prefix("application/").unwrap_or(&short);
        if !is_token(short) {
            return Err(Fault::new(
                "is not a token type",
                "write the `typ` of the tokens, as in `at+jwt`",
            ));
        }
        if short != text {
            return Err(Fault::new(
                "is not in the short form",
                format!("write `{short}`; case and `application/` do not matter in tokens"),
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

/// RFC 9110 §5.6.2.
fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    // Attack: an administrator's copied snippet, or a slip, that forges what upstreams trust or breaks framing.
    #[test]
    fn headers_that_carry_identity_or_framing_cannot_be_edited() {
        for ours in [
            "Masugata-Assertion",
            "masugata-anything",
            "Host",
            "Connection",
            "Transfer-Encoding",
            "Content-Length",
            "TE",
            "Upgrade",
            "Forwarded",
            "X-Forwarded-For",
            "x-forwarded-proto",
            "Via",
            "Client-Cert",
            "Authorization",
            "X_Forwarded_For",
            "Masugata_Assertion",
            "",
            "a b",
            "a:b",
        ] {
            assert!(EditedHeader::parse(ours).is_err(), "{ours}");
        }
        for free in [
            "X-Robots-Tag",
            "Strict-Transport-Security",
            "Accept-Encoding",
            "Cookie",
            "Server",
        ] {
            assert!(EditedHeader::parse(free).is_ok(), "{free}");
        }
    }

    #[test]
    fn a_header_value_cannot_split_the_message() {
        for bad in ["a\r\nb: c", "a\nb", "a\0", " a", "a ", "é"] {
            assert!(HeaderText::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_secret_header_value_does_not_print() {
        let value = SecretHeaderText::parse("hunter2-hunter2").unwrap();
        assert!(!format!("{value:?}").contains("hunter2"));
    }

    #[test]
    fn a_redirect_stays_on_the_web_and_says_which_host() {
        for good in ["/", "/start?x=1", "https://www.example.com/a", "http://a"] {
            assert!(Location::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "//evil.example",
            "/\\evil.example",
            "javascript:alert(1)",
            "start",
            "https://a\r\nX: y",
        ] {
            assert!(Location::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn token_types_are_compared_in_their_short_form() {
        assert!(TokenType::parse("at+jwt").is_ok());
        assert_eq!(
            TokenType::parse("application/at+JWT").unwrap_err().help,
            "write `at+jwt`; case and `application/` do not matter in tokens"
        );
    }

    #[test]
    fn status_ranges_run_upwards() {
        assert_eq!(
            StatusRange::parse("200-399").unwrap(),
            StatusRange(200, 399)
        );
        assert_eq!(StatusRange::parse("204").unwrap(), StatusRange(204, 204));
        for bad in [
            "", "399-200", "200-", "-200", "2000", "099-200", "+20-300", "200-600",
        ] {
            assert!(StatusRange::parse(bad).is_err(), "{bad}");
        }
    }
}
