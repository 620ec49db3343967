//! Which host and path a request head names, at either door, what it wants to do, and whether it wants another protocol.

use http::request::Parts;
use http::{Method, Version, header};
use hyper::ext::Protocol;
use masugata_policy::Action;

use super::host::{Authority, parse_authority};
use super::path::check_path;
use super::{Violation, check_fields, check_overrides};
use crate::denial::DenialReason;

/// What a request is for; borrowed from its head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target<'a> {
    /// Where it goes; see [`Authority`].
    pub authority: Authority<'a>,
    /// The authority as the client wrote it: what a preserved `Host` must say, also after absolute-form.
    pub written: &'a str,
    /// Without the query; exactly what goes upstream. `*` for `OPTIONS *`.
    pub path: &'a str,
}

impl Target<'_> {
    /// Lower case, without port; see [`Authority::host`].
    pub fn host(&self) -> &str {
        &self.authority.host
    }
}

/// Reads the head of a request that came over TLS, HTTP/1.1 (behind [`super::Guarded`]) or HTTP/2, refusing every
/// doubt. An absolute-form target replaces `Host` (RFC 9112 §3.2.2); in HTTP/2 both must agree (RFC 9113 §8.3.1).
///
/// # Errors
/// The violations of [`super::parse_authority`], [`super::check_path`], [`super::check_fields`] and
/// [`super::check_overrides`]; no host, several, or two that differ; a scheme that is not `https`; `*` with another
/// method than OPTIONS; CONNECT without a protocol.
pub fn parse(head: &Parts) -> Result<Target<'_>, Violation> {
    check_fields(head)?;
    check_overrides(head)?;
    if head.uri.scheme_str().is_some_and(|it| it != "https") {
        return Err(Violation::malformed("scheme is not https"));
    }
    let protocol = head.extensions.get::<Protocol>().is_some();
    if head.method == Method::CONNECT && !protocol {
        return Err(Violation::method("CONNECT without a protocol"));
    }
    let (written, authority) = authority_of(head)?;
    let path = head.uri.path();
    if path == "*" && head.method == Method::OPTIONS {
        if head.uri.query().is_some() {
            return Err(Violation::malformed("query behind an asterisk"));
        }
    } else {
        check_path(path)?;
    }
    // The query is the app's own affair, but what is no URI character must not reach an HTTP/1.1 request line.
    if head.uri.query().is_some_and(|query| !query.is_ascii()) {
        return Err(Violation::malformed("invalid byte in the query"));
    }
    Ok(Target {
        authority,
        written,
        path,
    })
}

/// What a proxy is asked for; borrowed from the head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proxied<'a> {
    /// CONNECT: bytes to a host and port.
    Tunnel(Authority<'a>, u16),
    /// `http://`: one request, forwarded.
    Plain {
        authority: Authority<'a>,
        /// 80 where none is written.
        port: u16,
        /// Without the query.
        path: &'a str,
    },
}

/// Why nothing else is for a proxy, in words for the record.
const NOT_PROXIED: Violation = Violation::malformed("origin-form: this is a proxy, not a site");

/// Reads the head of a request to the proxy: CONNECT with host and port, or an `http://` target in absolute-form
/// (RFC 9112 §3.2.2, §3.2.3; over HTTP/2 `:authority`, and `:scheme` `http`). What is behind `/` of another's site is its
/// own affair: unlike [`parse`] this takes paths that can be read in several ways, because nothing is decided by them.
///
/// # Errors
/// The violations of [`super::parse_authority`] and [`super::check_fields`]; a target that names no destination; CONNECT
/// without a port or with `:protocol`; `https://` in the clear; in HTTP/2, a `Host` that names another.
pub fn parse_proxied(head: &Parts) -> Result<Proxied<'_>, Violation> {
    check_fields(head)?;
    if head.extensions.get::<Protocol>().is_some() {
        return Err(Violation::malformed("CONNECT with a protocol"));
    }
    if head.headers.get_all(header::HOST).iter().count() > 1 {
        return Err(Violation::malformed("repeated host"));
    }
    if head.method == Method::CONNECT {
        // Nobody behind us reads `Host`, and programs write it with and without the port: it is not compared.
        let target = head.uri.authority().ok_or(NOT_PROXIED)?;
        let authority = parse_authority(target.as_str())?;
        let port = authority
            .port
            .ok_or(Violation::malformed("CONNECT without a port"))?;
        return Ok(Proxied::Tunnel(authority, port));
    }
    if head.uri.authority().is_none() {
        return Err(NOT_PROXIED);
    }
    match head.uri.scheme_str() {
        Some("http") => {}
        // What HTTP/2 clients send that take us for the site itself.
        Some("https") if head.version == Version::HTTP_2 => return Err(NOT_PROXIED),
        Some("https") => {
            return Err(Violation::malformed(
                "https in absolute-form: CONNECT is for that",
            ));
        }
        Some(_) | None => return Err(Violation::malformed("scheme is not http")),
    }
    let (_, authority) = authority_of(head)?;
    let (path, query) = (head.uri.path(), head.uri.query());
    if !path.starts_with('/') || !path.is_ascii() || !query.unwrap_or_default().is_ascii() {
        return Err(Violation::malformed("invalid byte in the path or query"));
    }
    let port = authority.port.unwrap_or(80);
    Ok(Proxied::Plain {
        authority,
        port,
        path,
    })
}

fn authority_of(head: &Parts) -> Result<(&str, Authority<'_>), Violation> {
    let mut hosts = head.headers.get_all(header::HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(Violation::malformed("repeated host"));
    }
    let named = match host {
        Some(value) => {
            let text = value
                .to_str()
                .map_err(|_| Violation::malformed("invalid host"))?;
            Some((text, parse_authority(text)?))
        }
        None => None,
    };
    let Some(direct) = head.uri.authority() else {
        return named.ok_or(Violation::malformed("no host"));
    };
    let authority = parse_authority(direct.as_str())?;
    let differs = named.is_some_and(|(_, named)| named != authority);
    if differs && head.version == Version::HTTP_2 {
        return Err(Violation::malformed("host differs from :authority"));
    }
    Ok((direct.as_str(), authority))
}

/// The change of protocol that a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upgrade {
    /// None, or one that is ignored as RFC 9110 §7.8 allows: `h2c` and `TLS` would carry requests past the gateway.
    None,
    /// RFC 6455 over HTTP/1.1, or RFC 8441 over HTTP/2.
    WebSocket,
    /// Something else.
    Other,
}

/// What change of protocol is asked for, by `Upgrade` and `Connection` or by `:protocol`. Only of a GET: a POST or DELETE
/// that asks would be decided as `connect`, and an app that ignores the wish would act on the method.
pub fn upgrade_of(head: &Parts) -> Upgrade {
    if let Some(protocol) = head.extensions.get::<Protocol>() {
        return if protocol.as_str().eq_ignore_ascii_case("websocket") {
            Upgrade::WebSocket
        } else {
            Upgrade::Other
        };
    }
    let mut wanted = head.headers.get_all(header::UPGRADE).iter();
    let (Some(first), None) = (wanted.next(), wanted.next()) else {
        return Upgrade::None;
    };
    if head.version != Version::HTTP_11 || head.method != Method::GET || !names_upgrade(head) {
        return Upgrade::None;
    }
    let first = first.as_bytes();
    if first.eq_ignore_ascii_case(b"websocket") {
        return Upgrade::WebSocket;
    }
    let past_us = first
        .split(|byte| matches!(byte, b',' | b'/'))
        .map(<[u8]>::trim_ascii)
        .any(|word| {
            [&b"h2c"[..], b"http", b"tls"]
                .iter()
                .any(|known| word.eq_ignore_ascii_case(known))
        });
    if past_us || first.is_empty() {
        Upgrade::None
    } else {
        Upgrade::Other
    }
}

fn names_upgrade(head: &Parts) -> bool {
    head.headers
        .get_all(header::CONNECTION)
        .iter()
        .any(|value| {
            value
                .as_bytes()
                .split(|byte| *byte == b',')
                .any(|option| option.trim_ascii().eq_ignore_ascii_case(b"upgrade"))
        })
}

/// The action that policies decide about.
///
/// # Errors
/// `MethodNotAllowed` for TRACE and TRACK, for CONNECT without `:protocol`, and for methods that are not upper case
/// (`delete` is an unknown method to us and perhaps DELETE to the app).
pub fn action_of(head: &Parts) -> Result<Action, Violation> {
    match upgrade_of(head) {
        Upgrade::WebSocket | Upgrade::Other => Ok(Action::Connect),
        Upgrade::None => action_of_method(head.method.as_str()),
    }
}

pub(super) fn action_of_method(method: &str) -> Result<Action, Violation> {
    match method {
        "GET" | "HEAD" | "OPTIONS" => Ok(Action::Read),
        "DELETE" => Ok(Action::Delete),
        "TRACE" | "TRACK" => Err(Violation::method("method that echoes credentials")),
        "CONNECT" => Err(Violation::method("CONNECT without a protocol")),
        _ if !method.is_empty()
            && method
                .bytes()
                .all(|byte| matches!(byte, b'A'..=b'Z' | b'-')) =>
        {
            Ok(Action::Write)
        }
        _ => Err(Violation {
            reason: DenialReason::MethodNotAllowed,
            what: "method is not upper case",
        }),
    }
}

#[cfg(test)]
mod tests {
    use http::Request;
    use http::request::Builder;

    use super::*;

    fn head(request: Builder) -> Parts {
        request.body(()).unwrap().into_parts().0
    }

    fn http1(target: &str, host: &str) -> Parts {
        head(Request::builder().uri(target).header("host", host))
    }

    fn http2(target: &str) -> Builder {
        Request::builder().version(Version::HTTP_2).uri(target)
    }

    #[test]
    fn host_and_path_come_out_as_policies_use_them() {
        let parts = http1("/a/b?c=%2f..", "App.Example:8443");
        let target = parse(&parts).unwrap();
        assert_eq!(target.host(), "app.example");
        assert_eq!(target.authority.port, Some(8443));
        assert_eq!(target.path, "/a/b");
        assert_eq!(target.written, "App.Example:8443");
    }

    // RFC 9112 §3.2.2
    #[test]
    fn absolute_form_replaces_host() {
        let parts = http1("https://app.example/a", "other.example");
        let target = parse(&parts).unwrap();
        assert_eq!(
            (target.host(), target.written),
            ("app.example", "app.example")
        );
        assert!(parse(&http1("http://app.example/a", "app.example")).is_err());
        assert!(parse(&http1("https://u@app.example/a", "app.example")).is_err());
    }

    #[test]
    fn hosts_that_are_missing_repeated_or_broken_are_refused() {
        assert!(parse(&head(Request::builder().uri("/"))).is_err());
        let twice = Request::builder()
            .uri("/")
            .header("host", "a")
            .header("host", "a");
        assert!(parse(&head(twice)).is_err());
        for host in ["", "a b", "a,b", "a@b", "a/b", "a:x"] {
            assert!(parse(&http1("/", host)).is_err(), "{host}");
        }
        // The one that counts is fine, the other is not.
        assert!(parse(&http1("https://app.example/", "a b")).is_err());
    }

    // RFC 9113 §8.3.1
    #[test]
    fn in_http2_host_and_authority_agree() {
        let both =
            |host: &str| parse(&head(http2("https://app.example/").header("host", host))).is_ok();
        assert!(both("app.example"));
        assert!(both("APP.example"));
        assert!(!both("other.example"));
        assert!(!both("app.example:1"));
        assert!(parse(&head(http2("/").header("host", "app.example"))).is_ok());
        assert!(parse(&head(http2("http://app.example/"))).is_err());
    }

    #[test]
    fn an_asterisk_belongs_to_options() {
        let star = |method: &str| {
            parse(&head(
                Request::builder()
                    .method(method)
                    .uri("*")
                    .header("host", "h"),
            ))
            .is_ok()
        };
        assert!(star("OPTIONS"));
        assert!(!star("GET"));
    }

    #[test]
    fn connect_needs_a_protocol() {
        let plain = head(
            Request::builder()
                .method("CONNECT")
                .uri("h:443")
                .header("host", "h:443"),
        );
        assert_eq!(
            parse(&plain).unwrap_err().reason,
            DenialReason::MethodNotAllowed
        );
        let mut extended = head(http2("https://h/chat").method("CONNECT"));
        extended
            .extensions
            .insert(Protocol::from_static("websocket"));
        assert_eq!(parse(&extended).unwrap().path, "/chat");
        assert_eq!(upgrade_of(&extended), Upgrade::WebSocket);
        assert_eq!(action_of(&extended), Ok(Action::Connect));
    }

    #[test]
    fn only_a_whole_websocket_upgrade_is_one() {
        let ask = |method: &str, upgrade: &str, connection: &str| {
            upgrade_of(&head(
                Request::builder()
                    .method(method)
                    .header("upgrade", upgrade)
                    .header("connection", connection),
            ))
        };
        assert_eq!(
            ask("GET", "WebSocket", "keep-alive, Upgrade"),
            Upgrade::WebSocket
        );
        assert_eq!(ask("GET", "websocket", "close"), Upgrade::None);
        // Decided as `connect` and acted on as POST: the app may ignore the wish.
        assert_eq!(ask("POST", "websocket", "upgrade"), Upgrade::None);
        assert_eq!(ask("DELETE", "foo/1", "upgrade"), Upgrade::None);
        assert_eq!(ask("GET", "foo/1", "upgrade"), Upgrade::Other);
        // h2c smuggling: a tunnel of requests that nobody looks at.
        assert_eq!(ask("GET", "h2c", "Upgrade, HTTP2-Settings"), Upgrade::None);
        assert_eq!(ask("GET", "websocket, h2c", "upgrade"), Upgrade::None);
        assert_eq!(ask("GET", "TLS/1.2", "upgrade"), Upgrade::None);
        assert_eq!(ask("GET", "HTTP/2.0", "upgrade"), Upgrade::None);
        assert_eq!(ask("GET", "", "upgrade"), Upgrade::None);
    }

    #[test]
    fn methods_mean_actions_and_some_are_never_forwarded() {
        let action = |method: &str| action_of(&head(Request::builder().method(method))).ok();
        for method in ["GET", "HEAD", "OPTIONS"] {
            assert_eq!(action(method), Some(Action::Read));
        }
        for method in ["POST", "PUT", "PATCH", "PROPFIND", "VERSION-CONTROL"] {
            assert_eq!(action(method), Some(Action::Write));
        }
        assert_eq!(action("DELETE"), Some(Action::Delete));
        for method in ["TRACE", "TRACK", "CONNECT", "delete", "Get", "trace", "X_Y"] {
            assert_eq!(action(method), None, "{method}");
        }
    }

    #[test]
    fn a_query_outside_ascii_is_refused() {
        assert!(parse(&head(http2("https://h/?ああ"))).is_err());
        assert!(parse(&head(http2("https://h/?a=%E3%81"))).is_ok());
    }

    /// As `tests/fuzz/fuzz_targets/target.rs` does.
    #[test]
    fn the_fuzz_corpus_replays() {
        for input in crate::framing::corpus::fuzz("target") {
            let text = std::str::from_utf8(&input).unwrap();
            let (host, uri) = text.split_once('\n').unwrap();
            let Ok(request) = Request::get(uri).header("host", host).body(()) else {
                continue;
            };
            let parts = request.into_parts().0;
            if let Ok(target) = parse(&parts) {
                assert!(check_path(target.path).is_ok());
                assert!(!target.path.contains("..%") && !target.path.contains("//"));
            }
        }
    }

    fn connect(target: &str) -> Parts {
        head(Request::builder().method("CONNECT").uri(target))
    }

    #[test]
    fn a_proxy_is_asked_for_tunnels_and_for_http() {
        let tunnel = connect("Box.Example.:443");
        let Ok(Proxied::Tunnel(authority, 443)) = parse_proxied(&tunnel) else {
            panic!("{:?}", parse_proxied(&tunnel));
        };
        assert_eq!(authority.host, "box.example");
        let plain = http1("http://box.example/a//b/%2e%2e?q", "elsewhere.example");
        let Ok(Proxied::Plain {
            authority,
            port: 80,
            path: "/a//b/%2e%2e",
        }) = parse_proxied(&plain)
        else {
            panic!("{:?}", parse_proxied(&plain));
        };
        assert_eq!(authority.host, "box.example", "the target counts, not Host");
        let over_http2 = head(http2("http://box.example:8080/"));
        assert!(matches!(
            parse_proxied(&over_http2),
            Ok(Proxied::Plain { port: 8080, .. })
        ));
        let literal = connect("[2001:DB8::1]:443");
        let Ok(Proxied::Tunnel(authority, 443)) = parse_proxied(&literal) else {
            panic!("{:?}", parse_proxied(&literal));
        };
        assert!(authority.is_address && authority.host == "[2001:db8::1]");
    }

    #[test]
    fn what_names_no_destination_is_not_for_a_proxy() {
        let what = |head: &Parts| parse_proxied(head).unwrap_err().what;
        assert_eq!(what(&http1("/", "box.example")), NOT_PROXIED.what);
        assert_eq!(what(&head(http2("https://box.example/"))), NOT_PROXIED.what);
        assert_eq!(
            what(&http1("https://box.example/", "box.example")),
            "https in absolute-form: CONNECT is for that"
        );
        assert_eq!(what(&connect("box.example")), "CONNECT without a port");
        assert_eq!(what(&connect("box.example:0")), "invalid port");
        assert_eq!(what(&connect("box.example:65536")), "invalid port");
        for target in [
            "a@box.example:443",
            "127.1:443",
            "0x7f.1:443",
            "b\u{fc}r.example:443",
        ] {
            if let Ok(uri) = target.parse::<http::Uri>() {
                let head = head(Request::builder().method("CONNECT").uri(uri));
                assert!(parse_proxied(&head).is_err(), "{target}");
            }
        }
        let mut extended = connect("box.example:443");
        extended
            .extensions
            .insert(Protocol::from_static("websocket"));
        assert_eq!(what(&extended), "CONNECT with a protocol");
        let mut twice = http1("http://box.example/", "box.example");
        twice
            .headers
            .append("host", http::HeaderValue::from_static("other.example"));
        assert_eq!(what(&twice), "repeated host");
        let differs = head(http2("http://box.example/").header("host", "other.example"));
        assert_eq!(what(&differs), "host differs from :authority");
    }
}
