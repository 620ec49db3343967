//! Names of places on the Internet: hosts, domains, list servers, proxies, and the proofs that lists carry.

use std::net::{IpAddr, SocketAddr};

use http::uri::{Scheme, Uri};

use super::address::{host_fault, is_loopback};
use super::{Fault, Written};
use crate::config::egress::{DomainPattern, PacElsewhere};

/// One host name, lower case, A-labels, no pattern, no address.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostName(pub String);

impl Written for HostName {
    const KIND: &'static str = "host-name";
    const EXAMPLE: &'static str = "proxy.corp.example";
    const PATTERN: &'static str = r"^[a-z0-9_-]+(\.[a-z0-9_-]+)*$";

    fn parse(text: &str) -> Result<Self, Fault> {
        if text.contains('*') || text.starts_with('.') {
            return Err(Fault::new("is a pattern", "write one host name"));
        }
        if let Some(fault) = international(text).or_else(|| host_fault(text)) {
            return Err(fault);
        }
        if ends_in_number(text) {
            return Err(Fault::new("is an address", "write a host name"));
        }
        Ok(Self(text.to_owned()))
    }
}

impl Written for DomainPattern {
    const KIND: &'static str = "domain-pattern";
    const EXAMPLE: &'static str = ".box.com";
    const PATTERN: &'static str = r"^\.?[a-z0-9_-]+(\.[a-z0-9_-]+)*$";

    fn parse(text: &str) -> Result<Self, Fault> {
        if let Some(name) = text.strip_prefix("*.") {
            // In `[[app]] hosts` a star is exactly one label, which nobody means here.
            return Err(Fault::new(
                "begins with a star",
                format!("write `.{name}` for the name and everything below it"),
            ));
        }
        let (name, below) = text.strip_prefix('.').map_or((text, false), |n| (n, true));
        if name.is_empty() || name == "*" {
            return Err(Fault::new("would match every host", "name the domains"));
        }
        if name.contains('*') {
            return Err(Fault::new(
                "has a star in it",
                "write `box.com` for one host, or `.box.com` for the name and everything below it",
            ));
        }
        if let Some(fault) = international(name).or_else(|| host_fault(name)) {
            return Err(fault);
        }
        if ends_in_number(name) && (below || name.parse::<IpAddr>().is_err()) {
            return Err(Fault::new(
                "is neither a name nor an IPv4 address",
                "write a host name; address ranges have options of their own",
            ));
        }
        Ok(Self {
            name: name.to_owned(),
            below,
        })
    }
}

/// International names have one spelling here; this says which.
fn international(name: &str) -> Option<Fault> {
    if name.is_ascii() {
        return None;
    }
    let help = idna::domain_to_ascii(name).map_or_else(
        |_| "write international names in their `xn--` form".to_owned(),
        |name| format!("write `{name}`"),
    );
    Some(Fault::new("is not in ASCII", help))
}

/// Browsers take what ends in a number for an IPv4 address (WHATWG URL, *ends in a number*), in any of its spellings.
fn ends_in_number(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or_default();
    let hexadecimal = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    last.bytes().all(|byte| byte.is_ascii_digit())
        || last.strip_prefix("0x").is_some_and(hexadecimal)
}

/// An IP address, with a port or without.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Endpoint(pub IpAddr, pub Option<u16>);

impl Written for Endpoint {
    const KIND: &'static str = "address";
    const EXAMPLE: &'static str = "192.0.2.1";

    fn parse(text: &str) -> Result<Self, Fault> {
        let help = "write an IP address, as in `\"192.0.2.1\"` or `\"2001:db8::1\"`, or with a port, as in `\"[2001:db8::1]:853\"`";
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self(address, None));
        }
        match text.parse::<SocketAddr>() {
            Ok(both) if both.port() == 0 => Err(Fault::new("has port 0", help)),
            Ok(both) => Ok(Self(both.ip(), Some(both.port()))),
            Err(_) => Err(Fault::new("is not an IP address", help)),
        }
    }
}

/// Where a list is fetched: https, no user, no fragment. A query may be there, and may be a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedUrl(pub String);

impl Written for FeedUrl {
    const KIND: &'static str = "list-url";
    const EXAMPLE: &'static str = "https://lists.example/c2.txt";
    const PATTERN: &'static str = "^https://";

    fn parse(text: &str) -> Result<Self, Fault> {
        let help = "write it as in `\"https://lists.example/c2.txt\"`";
        let uri: Uri = text.parse().map_err(|_| Fault::new("is not a URL", help))?;
        if uri.scheme() != Some(&Scheme::HTTPS) {
            return Err(Fault::new(
                "is not https",
                "over plain http anybody on the way could write the list",
            ));
        }
        let Some(authority) = uri.authority() else {
            return Err(Fault::new("has no host", help));
        };
        if authority.as_str().contains('@') {
            return Err(Fault::new("has a user name in it", help));
        }
        if text.contains('#') {
            return Err(Fault::new("has a fragment", help));
        }
        check_place(authority.as_str(), Some(443))
            .map_err(|_| Fault::new("has no valid host and port", help))?;
        Ok(Self(text.to_owned()))
    }
}

/// `host:port`, host a name or an address; the port may be missing where there is a default.
fn check_place(text: &str, default: Option<u16>) -> Result<String, ()> {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => {
            (host, port.parse().ok().filter(|port| *port > 0))
        }
        _ => (text, default),
    };
    let port: u16 = port.ok_or(())?;
    let bracketed = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    let valid = match bracketed {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => host_fault(&host.to_ascii_lowercase()).is_none(),
    };
    if valid {
        Ok(format!("{}:{port}", host.to_ascii_lowercase()))
    } else {
        Err(())
    }
}

/// One proxy as PAC files name it: `HTTPS host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PacProxy(pub String);

impl Written for PacProxy {
    const KIND: &'static str = "pac-proxy";
    const EXAMPLE: &'static str = "HTTPS proxy.corp.example:8443";
    const PATTERN: &'static str = "^(HTTPS|PROXY) [^ ]+$";

    fn parse(text: &str) -> Result<Self, Fault> {
        let (scheme, place) = pac_place(text)?;
        let host = place
            .rsplit_once(':')
            .map_or(place.as_str(), |(host, _)| host);
        if scheme == "PROXY" && !is_loopback(host) {
            return Err(Fault::new(
                "would speak to the gateway in plain text",
                format!(
                    "write `HTTPS {place}`; `PROXY` is for `masugata connect` on the same machine"
                ),
            ));
        }
        Ok(Self(format!("{scheme} {place}")))
    }
}

impl Written for PacElsewhere {
    const KIND: &'static str = "pac-elsewhere";
    const EXAMPLE: &'static str = "PROXY office-proxy.corp.example:3128";

    fn parse(text: &str) -> Result<Self, Fault> {
        match text {
            "gateway" => Ok(Self::Gateway),
            "direct" => Ok(Self::Direct),
            "DIRECT" => Err(Fault::new("is written in capitals", "write `direct`")),
            _ => pac_place(text).map(|(scheme, place)| Self::Proxy(format!("{scheme} {place}"))),
        }
    }
}

/// What becomes part of a script is taken apart and put together again: nothing else gets in.
fn pac_place(text: &str) -> Result<(&'static str, String), Fault> {
    let help = "write one proxy as in `\"HTTPS proxy.corp.example:8443\"`";
    if text.contains(';') || text.contains(',') {
        return Err(Fault::new("is several", help));
    }
    let (scheme, place) = text.split_once(' ').unwrap_or((text, ""));
    let scheme = match scheme {
        "HTTPS" => "HTTPS",
        "PROXY" => "PROXY",
        "DIRECT" => {
            return Err(Fault::new(
                "would let everything past the gateway whenever it is out of reach",
                help,
            ));
        }
        _ => return Err(Fault::new("is not a proxy", help)),
    };
    let place =
        check_place(place, None).map_err(|()| Fault::new("has no valid host and port", help))?;
    Ok((scheme, place))
}

/// Base64 of a minisign public key: the second line of the `.pub` file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MinisignKey(pub String);

impl Written for MinisignKey {
    const KIND: &'static str = "minisign-key";
    const EXAMPLE: &'static str = "RWSwB0NVEnCzy/YBkbUWTQtgzr47GZXuei1Cu+2sJmg6wpc7ZH98aakf";

    fn parse(text: &str) -> Result<Self, Fault> {
        minisign_verify::PublicKey::from_base64(text)
            .map(|_| Self(text.to_owned()))
            .map_err(|_| {
                Fault::new(
                    "is not a minisign public key",
                    "write the second line of the `.pub` file, which begins with `RW`",
                )
            })
    }
}

/// SHA-256 in hexadecimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sha256(pub [u8; 32]);

impl Written for Sha256 {
    const KIND: &'static str = "sha256";
    const EXAMPLE: &'static str =
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    const PATTERN: &'static str = "^[0-9a-fA-F]{64}$";

    fn parse(text: &str) -> Result<Self, Fault> {
        let fault = || {
            Fault::new(
                "is not a SHA-256",
                "write 64 hexadecimal digits, as `sha256sum` prints them",
            )
        };
        let mut out = [0; 32];
        if text.len() != 64 {
            return Err(fault());
        }
        for (to, pair) in out.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let digit = |byte: &u8| {
                char::from(*byte)
                    .to_digit(16)
                    .and_then(|d| u8::try_from(d).ok())
            };
            let [high, low] = pair else {
                return Err(fault());
            };
            let (Some(high), Some(low)) = (digit(high), digit(low)) else {
                return Err(fault());
            };
            *to = high << 4 | low;
        }
        Ok(Self(out))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn help<T: Written + std::fmt::Debug>(text: &str) -> String {
        T::parse(text).unwrap_err().help
    }

    #[test]
    fn a_pattern_is_a_host_or_a_domain_with_all_below() {
        let one = DomainPattern::parse("box.com").unwrap();
        assert!(one.matches("box.com") && !one.matches("a.box.com"));
        let all = DomainPattern::parse(".box.com").unwrap();
        assert!(all.matches("box.com") && all.matches("a.b.box.com"));
        // Attack: a name that merely ends like it.
        assert!(!all.matches("evilbox.com") && !all.matches("box.com.evil.example"));
        for bad in [
            "",
            ".",
            "*",
            "*.",
            "..a",
            ".*.a",
            "a.*",
            "a*b.com",
            "A.com",
            "a.com.",
            "a com",
            "日本.jp",
            ".10.0.0.1",
            "127.1",
            "0x7f.1",
            "1.2.3.4.5",
            "a.0x1",
            "https://a.com",
            "a:443",
            "[::1]",
        ] {
            assert!(DomainPattern::parse(bad).is_err(), "{bad}");
        }
        assert!(DomainPattern::parse("192.0.2.7").is_ok());
    }

    #[test]
    fn a_star_and_a_foreign_script_are_answered_with_the_right_spelling() {
        assert_eq!(
            help::<DomainPattern>("*.box.com"),
            "write `.box.com` for the name and everything below it"
        );
        assert_eq!(
            help::<DomainPattern>("日本語.jp"),
            "write `xn--wgv71a119e.jp`"
        );
        assert_eq!(help::<HostName>("日本語.jp"), "write `xn--wgv71a119e.jp`");
    }

    #[test]
    fn host_names_are_neither_patterns_nor_addresses() {
        assert!(HostName::parse("proxy.corp.example").is_ok());
        for bad in ["*.a", ".a", "10.0.0.1", "a.1", "::1", "A", "a.", ""] {
            assert!(HostName::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn endpoints_are_addresses_with_or_without_port() {
        assert_eq!(
            Endpoint::parse("1.1.1.1"),
            Ok(Endpoint([1, 1, 1, 1].into(), None))
        );
        assert_eq!(Endpoint::parse("[::1]:853").unwrap().1, Some(853));
        for bad in [
            "",
            "a.example",
            "1.1.1.1:0",
            "1.1.1.1:99999",
            "[::1]",
            "1.1.1",
        ] {
            assert!(Endpoint::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn lists_come_over_https_only() {
        for good in [
            "https://a.example/x",
            "https://a.example:8443/x?key=1",
            "https://[::1]:1/",
            "https://127.0.0.1:1/x",
        ] {
            assert!(FeedUrl::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "http://a.example/",
            "a.example",
            "https://u:p@a.example/",
            "https://a.example/#f",
            "https://",
            "https://a.example:0/",
            "https://a.example:x/",
            "file:///etc/passwd",
        ] {
            assert!(FeedUrl::parse(bad).is_err(), "{bad}");
        }
    }

    // Attack (by slip): a list of proxies that ends in `DIRECT` lets everything past a gateway that is out of reach.
    #[test]
    fn no_proxy_list_can_hold_direct_or_a_script() {
        assert_eq!(
            PacProxy::parse("HTTPS Proxy.corp.example:8443").unwrap().0,
            "HTTPS proxy.corp.example:8443"
        );
        assert!(PacProxy::parse("PROXY 127.0.0.1:3128").is_ok());
        for bad in [
            "DIRECT",
            "HTTPS a:1; DIRECT",
            "PROXY a.example:1",
            "HTTPS a",
            "HTTPS a:0",
            "https a:1",
            "SOCKS5 a:1",
            "HTTPS a:1\"; evil()",
            "HTTPS a\n:1",
            "HTTPS  a:1",
            "",
        ] {
            assert!(PacProxy::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(PacElsewhere::parse("direct"), Ok(PacElsewhere::Direct));
        assert!(PacElsewhere::parse("PROXY office.example:3128; DIRECT").is_err());
        assert!(PacElsewhere::parse("DIRECT").is_err());
    }

    #[test]
    fn proofs_are_keys_and_hashes() {
        assert!(MinisignKey::parse(MinisignKey::EXAMPLE).is_ok());
        assert!(MinisignKey::parse("RWQ").is_err());
        assert!(Sha256::parse(Sha256::EXAMPLE).is_ok());
        assert!(
            Sha256::parse("e3").is_err()
                && Sha256::parse(&"g".repeat(64)).is_err()
                && Sha256::parse(&"é".repeat(32)).is_err()
        );
    }

    proptest! {
        #[test]
        fn no_text_breaks_a_parser_and_what_is_accepted_has_one_spelling(text: String) {
            let _ = (HostName::parse(&text), FeedUrl::parse(&text), Endpoint::parse(&text), Sha256::parse(&text), MinisignKey::parse(&text));
            if let Ok(pattern) = DomainPattern::parse(&text) {
                prop_assert_eq!(pattern.to_string(), text.clone());
            }
            for script in [PacProxy::parse(&text).map(|p| p.0), PacElsewhere::parse(&text).map(|p| p.to_string())].into_iter().flatten() {
                prop_assert!(!script.contains(['"', '\\', ';', '\n', '<']));
            }
        }

        #[test]
        fn an_accepted_proxy_holds_nothing_but_a_place(text in r#"(HTTPS|PROXY|DIRECT) [a-zA-Z0-9.:;\[\]"' -]{1,30}"#) {
            if let Ok(PacProxy(proxy)) = PacProxy::parse(&text) {
                prop_assert!(!proxy.contains([';', '"', '\'']) && proxy.split(' ').count() == 2);
            }
        }
    }
}
