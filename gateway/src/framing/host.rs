//! The host and port a request names (RFC 9110 §4.2.3, §7.2), in the one spelling that routes and policies use.

use std::borrow::Cow;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::Violation;

/// A parsed authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority<'a> {
    /// Lower case, without a trailing dot, A-labels only; an IPv6 literal in brackets and in its shortest form (RFC 5952).
    /// Borrowed when it came so.
    pub host: Cow<'a, str>,
    pub port: Option<u16>,
    /// An IPv4 or IPv6 literal.
    pub is_address: bool,
}

/// Longest DNS name in text, and longest label (RFC 1035 §2.3.4).
const NAME: usize = 253;
const LABEL: usize = 63;

/// Parses `host`, `host:port`, `[v6]` or `[v6]:port`.
///
/// # Errors
/// For user information, percent-encoding, text outside ASCII (a U-label), an empty or over-long label, a last label
/// that is a number without being part of an IPv4 address (some resolvers read `127.1` and `0x7f.0.0.1` as addresses),
/// a zone id, and a port that is empty, zero or above 65535.
pub fn parse_authority(text: &str) -> Result<Authority<'_>, Violation> {
    if let Some(rest) = text.strip_prefix('[') {
        let (inner, port) = rest.split_once(']').ok_or(INVALID)?;
        let address: Ipv6Addr = inner.parse().map_err(|_| INVALID)?;
        let port = match port.strip_prefix(':') {
            Some(digits) => Some(parse_port(digits)?),
            None if port.is_empty() => None,
            None => return Err(INVALID),
        };
        let plain = format!("[{address}]");
        let given = text.get(..inner.len() + 2);
        return Ok(Authority {
            host: match given {
                Some(given) if given == plain => Cow::Borrowed(given),
                _ => Cow::Owned(plain),
            },
            port,
            is_address: true,
        });
    }
    let (name, port) = match text.split_once(':') {
        Some((name, digits)) => (name, Some(parse_port(digits)?)),
        None => (text, None),
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    let upper = check_name(name)?;
    let is_address = check_last_label(name)?;
    Ok(Authority {
        host: if upper {
            Cow::Owned(name.to_ascii_lowercase())
        } else {
            Cow::Borrowed(name)
        },
        port,
        is_address,
    })
}

const INVALID: Violation = Violation::malformed("invalid host");

/// Whether any letter is upper case.
fn check_name(name: &str) -> Result<bool, Violation> {
    if name.is_empty() || name.len() > NAME {
        return Err(INVALID);
    }
    let (mut upper, mut label) = (false, 0);
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => label += 1,
            b'A'..=b'Z' => {
                upper = true;
                label += 1;
            }
            b'.' if label > 0 => label = 0,
            _ => return Err(INVALID),
        }
        if label > LABEL {
            return Err(INVALID);
        }
    }
    if label == 0 { Err(INVALID) } else { Ok(upper) }
}

/// Whether the name is an IPv4 address. WHATWG URL §3.5 "ends in a number".
fn check_last_label(name: &str) -> Result<bool, Violation> {
    let last = name.rsplit('.').next().unwrap_or(name);
    let hexadecimal = last
        .get(..2)
        .is_some_and(|start| start.eq_ignore_ascii_case("0x"));
    if !hexadecimal && !last.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(false);
    }
    match name.parse::<Ipv4Addr>() {
        Ok(_) => Ok(true),
        Err(_) => Err(INVALID),
    }
}

fn parse_port(digits: &str) -> Result<u16, Violation> {
    let plain = !digits.starts_with('0') && digits.bytes().all(|byte| byte.is_ascii_digit());
    let port = if plain { digits.parse().ok() } else { None };
    port.ok_or(Violation::malformed("invalid port"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn host(text: &str) -> (String, Option<u16>, bool) {
        let authority = parse_authority(text).unwrap();
        (
            authority.host.into_owned(),
            authority.port,
            authority.is_address,
        )
    }

    #[test]
    fn names_are_read_in_one_spelling() {
        assert_eq!(host("app.example"), ("app.example".into(), None, false));
        assert_eq!(
            host("APP.Example.:8443"),
            ("app.example".into(), Some(8443), false)
        );
        assert_eq!(
            host("xn--eckwd4c7c.example"),
            ("xn--eckwd4c7c.example".into(), None, false)
        );
        assert_eq!(host("192.0.2.1:80"), ("192.0.2.1".into(), Some(80), true));
        assert_eq!(
            host("[2001:DB8:0::1]:443"),
            ("[2001:db8::1]".into(), Some(443), true)
        );
        assert_eq!(host("[::1]"), ("[::1]".into(), None, true));
    }

    #[test]
    fn nothing_is_allocated_for_the_usual_spelling() {
        for text in [
            "app.example",
            "app.example:8443",
            "app.example.",
            "[::1]:1",
            "192.0.2.1",
        ] {
            let authority = parse_authority(text).unwrap();
            assert!(matches!(authority.host, Cow::Borrowed(_)), "{text}");
        }
    }

    #[test]
    fn what_resolvers_or_parsers_read_differently_is_refused() {
        let long = format!("{}.example", "a".repeat(64));
        let longer = "a.".repeat(130);
        for bad in [
            "",
            ".",
            "..",
            "a..b",
            ".a",
            "a..",
            "a b",
            "a@b",
            "user:pw@h",
            "a%2eb",
            "a/b",
            "a\\b",
            "a,b",
            "a?b",
            "a#b",
            "ドメイン.example",
            "a:",
            "a:0",
            "a:080",
            "a:65536",
            "a:+1",
            "a:1:2",
            "::1",
            "[::1",
            "[::1]x",
            "[::1]:",
            "[::1%25eth0]",
            "[fe80::1%eth0]",
            "[v1.x]",
            "[127.0.0.1]",
            "127.1",
            "2130706433",
            "0x7f.0.0.1",
            "0x7f000001",
            "0177.0.0.1",
            "1.2.3.256",
            "1.2.3.4.5",
            "a.1",
            "a\0b",
            "a\tb",
            " a",
            "a ",
            &long,
            &longer,
        ] {
            assert!(parse_authority(bad).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn parsing_twice_changes_nothing(text in "[a-zA-Z0-9.:\\[\\]-]{0,24}") {
            if let Ok(first) = parse_authority(&text) {
                let second = parse_authority(&first.host).unwrap();
                prop_assert_eq!(&first.host, &second.host);
                prop_assert_eq!(first.is_address, second.is_address);
            }
        }

        #[test]
        fn no_text_can_upset_it(text in any::<String>()) {
            let _ = parse_authority(&text);
        }
    }

    /// As `tests/fuzz/fuzz_targets/host.rs` does.
    #[test]
    fn the_fuzz_corpus_replays() {
        for input in crate::framing::corpus::fuzz("host") {
            if let Ok(first) = parse_authority(std::str::from_utf8(&input).unwrap()) {
                assert_eq!(parse_authority(&first.host).unwrap().host, first.host);
            }
        }
    }
}
