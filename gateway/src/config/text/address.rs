//! Names of places: socket addresses, address ranges, hosts, URLs of issuers and upstreams, paths, time zones.

use std::net::{IpAddr, SocketAddr};

use http::HeaderValue;
use http::uri::{Authority, Scheme, Uri};
use ipnet::IpNet;
use jiff::tz::TimeZone;

use super::{Fault, Written};
use crate::config::{HostHeader, UpstreamServer};

impl Written for SocketAddr {
    const KIND: &'static str = "socket-address";
    const EXAMPLE: &'static str = "0.0.0.0:443";

    fn parse(text: &str) -> Result<Self, Fault> {
        let help = "write an IP address and a port, as in `\"0.0.0.0:443\"` or `\"[::]:443\"`";
        if text.parse::<IpAddr>().is_ok() {
            return Err(Fault::new("has no port", help));
        }
        text.parse()
            .map_err(|_| Fault::new("is not an IP address with a port", help))
    }
}

impl Written for IpNet {
    const KIND: &'static str = "address-range";
    const EXAMPLE: &'static str = "10.0.0.0/8";

    fn parse(text: &str) -> Result<Self, Fault> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(address.into());
        }
        let range: IpNet = text.parse().map_err(|_| {
            Fault::new(
                "is neither an IP address nor a range",
                "write a range such as `\"10.0.0.0/8\"` or `\"2001:db8::/32\"`, or one address",
            )
        })?;
        if range.trunc() != range {
            return Err(Fault::new(
                "has bits set beyond its prefix length",
                format!("did you mean `{}`?", range.trunc()),
            ));
        }
        Ok(range)
    }
}

/// A host name in lower case, or `*.suffix` for exactly one label below `suffix`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostPattern(pub String);

impl Written for HostPattern {
    const KIND: &'static str = "host-pattern";
    const EXAMPLE: &'static str = "payroll.example.com";
    const PATTERN: &'static str = r"^(\*\.)?[a-z0-9_-]+(\.[a-z0-9_-]+)*$";

    fn parse(text: &str) -> Result<Self, Fault> {
        let name = text.strip_prefix("*.").unwrap_or(text);
        if text == "*" || text == "*." {
            return Err(Fault::new(
                "would match every host",
                "name the hosts, or write `*.example.com` for one label below a name",
            ));
        }
        if name.contains('*') {
            return Err(Fault::new(
                "has a wildcard elsewhere than in front",
                "a wildcard stands for the whole first label, as in `*.example.com`",
            ));
        }
        host_fault(name).map_or_else(|| Ok(Self(text.to_owned())), Err)
    }
}

/// What is wrong with a host name, if anything (RFC 1123 §2.1 plus `_`, lower case, A-labels).
pub(super) fn host_fault(name: &str) -> Option<Fault> {
    if !name.is_ascii() {
        return Some(Fault::new(
            "is not in ASCII",
            "write international names in their `xn--` form, as browsers send them",
        ));
    }
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        let lower = name.to_ascii_lowercase();
        return Some(Fault::new(
            "is not in lower case",
            format!("write `{lower}`"),
        ));
    }
    if name.contains("://") || name.contains('/') {
        return Some(Fault::new(
            "is not a host name",
            "leave out the scheme and the path",
        ));
    }
    if name.contains(':') {
        return Some(Fault::new("is not a host name", "leave out the port"));
    }
    if name.ends_with('.') {
        return Some(Fault::new("ends with a dot", "leave out the last dot"));
    }
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    if name.is_empty() || name.len() > 253 || !name.split('.').all(label) {
        return Some(Fault::new(
            "is not a host name",
            "write labels of letters, digits and `-`, joined by dots",
        ));
    }
    None
}

/// A short name of something declared here: letters, digits, `.`, `_`, `-`; the first a letter or digit.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(pub String);

impl Written for Name {
    const KIND: &'static str = "name";
    const EXAMPLE: &'static str = "payroll";
    const PATTERN: &'static str = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$";

    fn parse(text: &str) -> Result<Self, Fault> {
        let first = text
            .bytes()
            .next()
            .is_some_and(|b| b.is_ascii_alphanumeric());
        let rest = text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        if first && rest && text.len() <= 64 {
            return Ok(Self(text.to_owned()));
        }
        // Names become parts of principal ids (`corp/ada`), metrics and records: no room for surprises.
        Err(Fault::new(
            "is not a name",
            "write up to 64 letters, digits, `.`, `_` and `-`, beginning with a letter or digit",
        ))
    }
}

/// Text for people or from other systems (group names): one line, not empty, at most 256 characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PlainText(pub String);

impl Written for PlainText {
    const KIND: &'static str = "text";
    const EXAMPLE: &'static str = "";

    fn parse(text: &str) -> Result<Self, Fault> {
        if text.trim().is_empty() {
            return Err(Fault::new(
                "is empty",
                "write something, or leave the line out",
            ));
        }
        if text.chars().any(char::is_control) || text.chars().count() > 256 {
            return Err(Fault::new(
                "is not one short line of text",
                "write at most 256 characters without line breaks",
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

/// A file or directory, as written; relative to the directory of the file it is written in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilePath(pub String);

impl Written for FilePath {
    const KIND: &'static str = "path";
    const EXAMPLE: &'static str = "";

    fn parse(text: &str) -> Result<Self, Fault> {
        if text.is_empty() || text.contains('\0') {
            return Err(Fault::new("is not a path", "write the path of a file"));
        }
        Ok(Self(text.to_owned()))
    }
}

/// A path that begins with `/`, in the only spelling that routing lets through.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PathPrefix(pub String);

impl Written for PathPrefix {
    const KIND: &'static str = "path-prefix";
    const EXAMPLE: &'static str = "/api";
    const PATTERN: &'static str = "^/";

    fn parse(text: &str) -> Result<Self, Fault> {
        if !text.starts_with('/') {
            return Err(Fault::new(
                "does not begin with `/`",
                format!("write `/{text}`"),
            ));
        }
        if text.len() > 1 && text.ends_with('/') {
            let shorter = text.trim_end_matches('/');
            let help = format!(
                "write `{}`; it matches whole segments",
                if shorter.is_empty() { "/" } else { shorter }
            );
            return Err(Fault::new("ends with `/`", help));
        }
        let clean = |segment: &str| !segment.is_empty() && segment != "." && segment != "..";
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-._~!$&'()*+,=:@/%".contains(&b);
        if text.len() > 1 && !text.split('/').skip(1).all(clean) {
            return Err(Fault::new(
                "has empty or dot segments",
                "requests with such paths are refused, so this would never match",
            ));
        }
        if text.contains('%') || !text.bytes().all(allowed) {
            return Err(Fault::new(
                "has characters that a path prefix may not have",
                "write plain segments without `%`, `;`, `?`, `#` and spaces",
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

/// A path to ask for, with a query where there is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestPath(pub String);

impl Written for RequestPath {
    const KIND: &'static str = "request-path";
    const EXAMPLE: &'static str = "/healthz";
    const PATTERN: &'static str = "^/";

    fn parse(text: &str) -> Result<Self, Fault> {
        let plain = text.bytes().all(|b| b.is_ascii_graphic() && b != b'#');
        if !text.starts_with('/') || !plain || text.len() > 2048 {
            return Err(Fault::new(
                "is not a path to ask for",
                "write a path such as `\"/healthz\"`",
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

/// The identifier of an issuer (RFC 8414 §2): https, no query, no fragment; http only on loopback.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IssuerUrl(pub String);

impl Written for IssuerUrl {
    const KIND: &'static str = "issuer-url";
    const EXAMPLE: &'static str = "https://login.example.com/realms/corp";
    const PATTERN: &'static str = "^https?://";

    fn parse(text: &str) -> Result<Self, Fault> {
        let help = "write it exactly as the provider's discovery document says, as in `\"https://login.example.com\"`";
        if text.contains(['?', '#']) {
            return Err(Fault::new("has a query or a fragment", help));
        }
        let (scheme, authority, _) = web_url(text, help)?;
        if scheme == Scheme::HTTP && !is_loopback(authority.host()) {
            return Err(Fault::new(
                "is not https",
                "over plain http anybody on the way could put keys of their own in place; http is only for loopback",
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

impl Written for UpstreamServer {
    const KIND: &'static str = "server-url";
    const EXAMPLE: &'static str = "http://127.0.0.1:8000";
    const PATTERN: &'static str = "^https?://[^/?#@]+/?$";

    fn parse(text: &str) -> Result<Self, Fault> {
        let help = match text.split_once("://") {
            Some(("h2c" | "grpc", _)) => {
                "write `http://` and, beside `servers`, `protocol = \"http2\"`"
            }
            Some(("ws" | "wss", _)) => {
                "write `http://` or `https://`; the app needs `upgrades = true`"
            }
            Some(_) | None => {
                "write scheme, host and port, as in `\"http://127.0.0.1:8000\"` or `\"https://app.internal\"`"
            }
        };
        let (scheme, authority, path) = web_url(text, help)?;
        if !matches!(path.as_str(), "" | "/") || text.contains(['?', '#']) {
            return Err(Fault::new(
                "has a path or a query",
                "write only scheme, host and port; `rewrite_prefix` changes the path",
            ));
        }
        if authority.port_u16() == Some(0) {
            return Err(Fault::new("has port 0", help));
        }
        let port = authority
            .port_u16()
            .unwrap_or(if scheme == Scheme::HTTPS { 443 } else { 80 });
        let authority = format!("{}:{port}", authority.host())
            .parse()
            .map_err(|_| Fault::new("has no valid host", help))?;
        Ok(Self { scheme, authority })
    }
}

/// Scheme, authority and path of an http or https URL without user information.
fn web_url(text: &str, help: &str) -> Result<(Scheme, Authority, String), Fault> {
    let uri: Uri = text.parse().map_err(|_| Fault::new("is not a URL", help))?;
    let parts = uri.into_parts();
    let (Some(scheme), Some(authority)) = (parts.scheme, parts.authority) else {
        return Err(Fault::new("is not a URL with scheme and host", help));
    };
    if scheme != Scheme::HTTP && scheme != Scheme::HTTPS {
        return Err(Fault::new("is neither http nor https", help));
    }
    if authority.as_str().contains('@') {
        return Err(Fault::new("has a user name in it", help));
    }
    let host = authority.host();
    let bracketed = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let valid = match bracketed {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => host_fault(&host.to_ascii_lowercase()).is_none(),
    };
    // A port that is not a number leaves `port_u16` empty while a colon remains.
    let port_text = authority.as_str().get(host.len()..).unwrap_or_default();
    if !valid || (!port_text.is_empty() && authority.port_u16().is_none()) {
        return Err(Fault::new("has no valid host and port", help));
    }
    let path = parts
        .path_and_query
        .map(|p| p.path().to_owned())
        .unwrap_or_default();
    Ok((scheme, authority, path))
}

/// An address or name that by definition is this machine (RFC 6761 §6.3 for `localhost`).
pub(crate) fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare.parse::<IpAddr>().map_or_else(
        |_| {
            let lower = bare.to_ascii_lowercase();
            lower == "localhost" || lower.ends_with(".localhost")
        },
        |address| address.is_loopback(),
    )
}

impl Written for HostHeader {
    const KIND: &'static str = "host-header";
    const EXAMPLE: &'static str = "preserve";

    fn parse(text: &str) -> Result<Self, Fault> {
        let help = "write `preserve`, `upstream` or a host name, with or without a port";
        match text {
            "preserve" => return Ok(Self::Preserve),
            "upstream" => return Ok(Self::Upstream),
            _ => {}
        }
        let authority: Authority = text
            .parse()
            .map_err(|_| Fault::new("is not a host", help))?;
        if authority.as_str().contains('@')
            || host_fault(&authority.host().to_ascii_lowercase()).is_some()
        {
            return Err(Fault::new("is not a host", help));
        }
        HeaderValue::from_str(text)
            .map(Self::Literal)
            .map_err(|_| Fault::new("is not a host", help))
    }
}

impl Written for TimeZone {
    const KIND: &'static str = "time-zone";
    const EXAMPLE: &'static str = "Asia/Tokyo";

    fn parse(text: &str) -> Result<Self, Fault> {
        Self::get(text).map_err(|_| {
            Fault::new(
                "is not a time zone",
                "write the IANA name, as in `\"Asia/Tokyo\"`, `\"Europe/Berlin\"` or `\"UTC\"`",
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hosts_are_lower_case_names_or_one_leading_wildcard() {
        for good in [
            "a",
            "payroll.example.com",
            "*.example.com",
            "*.localhost",
            "xn--wgv71a.jp",
            "10.0.0.1",
        ] {
            assert!(HostPattern::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "*",
            "*.",
            "**.a",
            "a.*.b",
            "*a.b",
            "A.example",
            "a..b",
            ".a",
            "a.",
            "a b",
            "https://a",
            "a/b",
            "a:443",
            "日本.jp",
            "-a.b",
            "a-.b",
            "a\0b",
            "a\nb",
        ] {
            assert!(HostPattern::parse(bad).is_err(), "{bad}");
        }
        assert!(HostPattern::parse(&"a".repeat(64)).is_err());
        assert!(HostPattern::parse(&"a.".repeat(127)).is_err());
    }

    #[test]
    fn upstreams_are_scheme_host_and_port_only() {
        let server = |text| UpstreamServer::parse(text).map(|s| s.authority.to_string());
        assert_eq!(server("http://127.0.0.1:8000").unwrap(), "127.0.0.1:8000");
        assert_eq!(server("https://app.internal/").unwrap(), "app.internal:443");
        assert_eq!(server("http://[::1]").unwrap(), "[::1]:80");
        for bad in [
            "127.0.0.1:8000",
            "ftp://a",
            "http://",
            "http://a/b",
            "http://a?x=1",
            "http://a/#f",
            "http://u:p@a",
            "http://a:0",
            "http://a:99999",
            "http://a:",
            "http://a b",
            "unix:/run/app.sock",
            "http://[::1",
            "http://-a",
        ] {
            assert!(server(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_issuer_is_https_except_on_loopback() {
        for good in [
            "https://a.example",
            "https://a.example/realms/x",
            "http://127.0.0.1:9000",
            "http://localhost:1/x",
        ] {
            assert!(IssuerUrl::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "http://a.example",
            "https://a.example?x",
            "https://a.example#x",
            "a.example",
            "https://u@a.example",
            "http://localhost.evil.example",
            "http://127.0.0.1.evil.example",
        ] {
            assert!(IssuerUrl::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_range_with_host_bits_is_a_slip_and_not_a_range() {
        assert!(IpNet::parse("10.0.0.0/8").is_ok());
        assert_eq!(IpNet::parse("10.0.0.1").unwrap().to_string(), "10.0.0.1/32");
        assert_eq!(
            IpNet::parse("10.1.2.3/8").unwrap_err().help,
            "did you mean `10.0.0.0/8`?"
        );
        assert!(IpNet::parse("10.0.0.0/33").is_err());
    }

    #[test]
    fn a_path_prefix_has_one_spelling() {
        for good in ["/", "/api", "/api/v1", "/~ada", "/a:b@c"] {
            assert!(PathPrefix::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "", "api", "/api/", "//", "/a//b", "/./a", "/a/..", "/a%2fb", "/a;b", "/a?b", "/a b",
            "/日本",
        ] {
            assert!(PathPrefix::parse(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn every_accepted_host_is_short_lower_case_and_has_a_wildcard_only_in_front(text in r"(\*\.)?[-a-zA-Z0-9_.*]{0,80}") {
            if HostPattern::parse(&text).is_ok() {
                let name = text.strip_prefix("*.").unwrap_or(&text);
                prop_assert!(!name.contains('*') && name == name.to_ascii_lowercase());
                prop_assert!(name.split('.').all(|label| !label.is_empty() && label.len() <= 63));
            }
        }

        #[test]
        fn no_text_breaks_a_parser_of_places(text: String) {
            let _ = HostPattern::parse(&text);
            let _ = UpstreamServer::parse(&text);
            let _ = IssuerUrl::parse(&text);
            let _ = PathPrefix::parse(&text);
            let _ = IpNet::parse(&text);
            let _ = HostHeader::parse(&text);
        }

        #[test]
        fn an_accepted_upstream_never_hides_a_user_or_a_path(text in r"https?://[a-z0-9@:/?#.\[\]\\-]{1,30}") {
            if let Ok(server) = UpstreamServer::parse(&text) {
                prop_assert!(!text.contains(['@', '?', '#']));
                prop_assert!(server.authority.port_u16().is_some_and(|port| port > 0));
            }
        }
    }
}
