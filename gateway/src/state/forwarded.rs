//! Who the client is when a trusted forwarder stands between us: the last address in the chain that is not a forwarder.

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;
use ipnet::IpNet;

/// Walks `Forwarded` (RFC 7239), or else `X-Forwarded-For`, from our end. What lies beyond the first address that is
/// not trusted was written by strangers and is not looked at. `None` when nothing in the chain can be read.
pub(super) fn client(headers: &HeaderMap, trusted: &[IpNet]) -> Option<IpAddr> {
    let standard = headers.get_all("forwarded");
    let mut last = None;
    if standard.iter().next().is_some() {
        let elements: Vec<&str> = standard
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(split)
            .collect();
        walk(elements.into_iter().rev().map(for_of), trusted, &mut last);
    } else {
        let values = headers.get_all("x-forwarded-for");
        let elements: Vec<&str> = values
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(split)
            .collect();
        walk(elements.into_iter().rev().map(address), trusted, &mut last);
    }
    last
}

fn split(list: &str) -> impl Iterator<Item = &str> {
    list.split(',')
        .map(str::trim)
        .filter(|element| !element.is_empty())
}

fn walk(chain: impl Iterator<Item = Option<IpAddr>>, trusted: &[IpNet], last: &mut Option<IpAddr>) {
    for hop in chain {
        let Some(hop) = hop else { return };
        *last = Some(hop);
        if !trusted.iter().any(|range| range.contains(&hop)) {
            return;
        }
    }
}

/// The node of `for=` in one element.
fn for_of(element: &str) -> Option<IpAddr> {
    let pair = element.split(';').map(str::trim).find(|pair| {
        pair.get(..4)
            .is_some_and(|name| name.eq_ignore_ascii_case("for="))
    })?;
    address(pair.get(4..)?.trim_matches('"'))
}

/// With or without port, IPv6 with or without brackets; obfuscated and unknown nodes are nobody.
fn address(node: &str) -> Option<IpAddr> {
    let bare = node
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(node);
    let parsed = bare
        .parse()
        .ok()
        .or_else(|| Some(node.parse::<SocketAddr>().ok()?.ip()));
    parsed.map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client_of(headers: &[(&'static str, &'static str)]) -> Option<String> {
        let trusted: Vec<IpNet> = vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        client(&map, &trusted).map(|address| address.to_string())
    }

    #[test]
    fn the_last_stranger_in_the_chain_is_the_client() {
        assert_eq!(
            client_of(&[("x-forwarded-for", "1.1.1.1, 192.0.2.7, 10.0.0.2")]).unwrap(),
            "192.0.2.7"
        );
        assert_eq!(
            client_of(&[
                ("x-forwarded-for", "1.1.1.1"),
                ("x-forwarded-for", "192.0.2.7")
            ])
            .unwrap(),
            "192.0.2.7"
        );
        assert_eq!(
            client_of(&[("x-forwarded-for", "[2001:db8::1]:4711, fd00::1")]).unwrap(),
            "2001:db8::1"
        );
        assert_eq!(
            client_of(&[(
                "forwarded",
                "for=1.1.1.1, for=\"[2001:db8::2]:80\";proto=https"
            )])
            .unwrap(),
            "2001:db8::2"
        );
    }

    #[test]
    fn what_cannot_be_read_ends_the_chain() {
        assert_eq!(client_of(&[]), None);
        assert_eq!(client_of(&[("x-forwarded-for", "1.1.1.1, unknown")]), None);
        assert_eq!(
            client_of(&[("x-forwarded-for", "1.1.1.1, _hidden, 10.0.0.2")]).unwrap(),
            "10.0.0.2"
        );
        // The standard field is the one a forwarder that sets it means.
        assert_eq!(
            client_of(&[
                ("forwarded", "for=192.0.2.7"),
                ("x-forwarded-for", "1.1.1.1")
            ])
            .unwrap(),
            "192.0.2.7"
        );
    }
}
