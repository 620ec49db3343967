//! Every row of the table, by literal and by answer; exceptions; our own listeners.

use std::net::TcpListener;

use proptest::prelude::*;

use super::*;
use crate::config::egress::DomainPattern;

fn guard() -> Guard {
    Guard::new(&[], OwnAddresses::default())
}

fn at(address: &str, port: u16) -> SocketAddr {
    SocketAddr::new(address.parse().unwrap(), port)
}

fn refusal(guard: &Guard, host: &str, addresses: &[&str]) -> Prohibited {
    let found = addresses.iter().map(|address| at(address, 443)).collect();
    guard.check(host, found).unwrap_err()
}

/// The first and the last address of each refused range, with its word.
const REFUSED: &[(&str, &str)] = &[
    ("0.0.0.0", "this-network"),
    ("0.255.255.255", "this-network"),
    ("10.0.0.0", "private"),
    ("10.255.255.255", "private"),
    ("100.64.0.0", "carrier-nat"),
    ("100.127.255.255", "carrier-nat"),
    ("100.100.100.200", "metadata"),
    ("127.0.0.0", "loopback"),
    ("127.0.0.1", "loopback"),
    ("127.255.255.255", "loopback"),
    ("168.63.129.16", "metadata"),
    ("169.254.0.0", "link-local"),
    ("169.254.169.254", "metadata"),
    ("169.254.255.255", "link-local"),
    ("172.16.0.0", "private"),
    ("172.31.255.255", "private"),
    ("192.0.0.0", "protocol-assignments"),
    ("192.0.0.192", "metadata"),
    ("192.0.0.255", "protocol-assignments"),
    ("192.0.2.0", "documentation"),
    ("192.0.2.255", "documentation"),
    ("192.88.99.0", "6to4-relay"),
    ("192.88.99.255", "6to4-relay"),
    ("192.168.0.0", "private"),
    ("192.168.255.255", "private"),
    ("198.18.0.0", "benchmarking"),
    ("198.19.255.255", "benchmarking"),
    ("198.51.100.0", "documentation"),
    ("198.51.100.255", "documentation"),
    ("203.0.113.0", "documentation"),
    ("203.0.113.255", "documentation"),
    ("224.0.0.0", "multicast"),
    ("239.255.255.255", "multicast"),
    ("240.0.0.0", "reserved"),
    ("255.255.255.254", "reserved"),
    ("255.255.255.255", "broadcast"),
    ("::", "unspecified"),
    ("::1", "loopback"),
    ("::2", "ipv4-compatible"),
    ("::127.0.0.1", "ipv4-compatible"),
    ("::255.255.255.255", "ipv4-compatible"),
    ("::1:0:0", "not-global"),
    ("::ffff:0.0.0.0", "ipv4-mapped"),
    ("::ffff:93.184.216.34", "ipv4-mapped"),
    ("::ffff:255.255.255.255", "ipv4-mapped"),
    ("::ffff:0:10.0.0.1", "ipv4-translated"),
    ("64:ff9b::", "nat64"),
    ("64:ff9b::10.0.0.1", "nat64"),
    ("64:ff9b::ffff:ffff", "nat64"),
    ("64:ff9b:1::", "nat64"),
    ("64:ff9b:1:ffff:ffff:ffff:ffff:ffff", "nat64"),
    ("64:ff9b:2::", "not-global"),
    ("100::", "discard"),
    ("100::ffff:ffff:ffff:ffff", "discard"),
    ("100:0:0:1::1", "dummy"),
    ("200::1", "not-global"),
    ("1fff:ffff::1", "not-global"),
    ("2001::", "protocol-assignments"),
    (
        "2001:0:4136:e378:8000:63bf:3fff:fdd2",
        "protocol-assignments",
    ),
    ("2001:2::1", "protocol-assignments"),
    ("2001:20::1", "protocol-assignments"),
    ("2001:1ff:ffff::1", "protocol-assignments"),
    ("2001:db8::", "documentation"),
    ("2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", "documentation"),
    ("2002::", "6to4"),
    ("2002:a00:1::1", "6to4"),
    ("2002:ffff::1", "6to4"),
    ("2400:cb00::5efe:10.0.0.1", "isatap"),
    ("2400:cb00::200:5efe:10.0.0.1", "isatap"),
    ("3fff::", "documentation"),
    ("3fff:fff:ffff::1", "documentation"),
    ("4000::1", "not-global"),
    ("5f00::1", "segment-routing"),
    ("fc00::1", "unique-local"),
    ("fd00:ec2::254", "metadata"),
    ("fe80::1", "link-local"),
    ("fec0::1", "site-local"),
    ("ff02::1", "multicast"),
];

/// Neighbours of refused ranges, and some that everybody knows.
const PUBLIC: &[&str] = &[
    "1.0.0.0",
    "1.1.1.1",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.0",
    "168.63.129.15",
    "169.253.255.255",
    "169.255.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "192.0.1.0",
    "192.0.3.0",
    "192.88.98.255",
    "192.88.100.0",
    "192.167.255.255",
    "192.169.0.0",
    "198.17.255.255",
    "198.20.0.0",
    "203.0.112.255",
    "203.0.114.0",
    "223.255.255.255",
    "2000::1",
    "2001:200::1",
    "2001:db9::1",
    "2003::1",
    "2606:4700:4700::1111",
    "3fff:1000::1",
];

#[test]
fn every_row_is_refused_as_a_literal_and_as_an_answer() {
    for &(address, class) in REFUSED {
        let expected = Prohibited { class, own: false };
        for host in [address, "name.example"] {
            assert_eq!(refusal(&guard(), host, &[address]), expected, "{address}");
        }
        assert!(!guard().still_open("name.example", at(address, 443)));
    }
    assert_eq!(
        refusal(&guard(), "x", &["10.0.0.1"]).reason(),
        DenialReason::DestinationProhibited
    );
}

#[test]
fn each_row_of_the_tables_is_in_the_test() {
    let v4 = REFUSED_V4
        .iter()
        .map(|(base, _, class)| (IpAddr::V4(*base), *class));
    let v6 = REFUSED_V6
        .iter()
        .map(|(base, _, class)| (IpAddr::V6(*base), *class));
    for (base, class) in v4.chain(v6) {
        assert!(class_of(base).is_some(), "{base}");
        assert!(
            REFUSED.iter().any(|(_, tested)| *tested == class),
            "{class}"
        );
    }
}

#[test]
fn public_addresses_are_open() {
    for address in PUBLIC {
        let checked = guard().check("name.example", vec![at(address, 443)]);
        assert_eq!(
            checked.unwrap().addresses(),
            [at(address, 443)],
            "{address}"
        );
        assert!(guard().still_open("name.example", at(address, 443)));
    }
}

#[test]
fn of_mixed_answers_only_public_ones_are_kept() {
    let found = [
        "10.0.0.1",
        "1.1.1.1",
        "::ffff:1.1.1.1",
        "1.1.1.1",
        "2606:4700::1",
    ];
    let found = found.iter().map(|address| at(address, 443)).collect();
    let checked = guard().check("rebind.example", found).unwrap();
    assert_eq!(
        checked.addresses(),
        [at("1.1.1.1", 443), at("2606:4700::1", 443)]
    );
}

#[test]
fn no_addresses_are_no_permission() {
    assert_eq!(
        guard().check("x", Vec::new()).unwrap_err().class,
        "no-address"
    );
}

#[test]
fn a_scope_does_not_survive() {
    let scoped = std::net::SocketAddrV6::new("2606:4700::1".parse().unwrap(), 443, 7, 3);
    let checked = guard().check("x", vec![scoped.into()]).unwrap();
    assert_eq!(checked.addresses(), [at("2606:4700::1", 443)]);
}

fn reach(own: OwnAddresses) -> Guard {
    let pattern = |name: &str, below| DomainPattern {
        name: name.to_owned(),
        below,
    };
    let reach = Reach {
        hosts: vec![
            pattern("wiki.corp.example", false),
            pattern("lab.example", true),
        ],
        ranges: vec![
            "10.1.0.0/16".parse().unwrap(),
            "127.0.0.0/8".parse().unwrap(),
        ],
        ports: vec![443, 8443],
    };
    Guard::new(&[reach], own)
}

#[test]
fn an_exception_needs_host_range_and_port_at_once() {
    let guard = reach(OwnAddresses::default());
    for (host, address, port, open) in [
        ("wiki.corp.example", "10.1.2.3", 443, true),
        ("wiki.corp.example", "10.1.2.3", 8443, true),
        ("lab.example", "10.1.2.3", 443, true),
        ("a.b.lab.example", "10.1.2.3", 443, true),
        ("wiki.corp.example", "10.1.2.3", 80, false),
        ("wiki.corp.example", "10.2.0.0", 443, false),
        ("wiki.corp.example", "::ffff:10.1.2.3", 443, false),
        ("evil.wiki.corp.example", "10.1.2.3", 443, false),
        ("evillab.example", "10.1.2.3", 443, false),
        ("10.1.2.3", "10.1.2.3", 443, false),
        ("other.example", "10.1.2.3", 443, false),
    ] {
        let checked = guard.check(host, vec![at(address, port)]);
        assert_eq!(checked.is_ok(), open, "{host} {address} {port}");
        assert_eq!(guard.still_open(host, at(address, port)), open);
    }
}

fn own(bound: &[&str], ranges: &[&str]) -> OwnAddresses {
    let own = OwnAddresses {
        ranges: ranges.iter().map(|range| range.parse().unwrap()).collect(),
        ..OwnAddresses::default()
    };
    let bound = bound.iter().map(|address| address.parse().unwrap());
    own.listeners.set(bound.collect());
    own
}

#[test]
fn our_own_listeners_stay_refused_inside_an_exception() {
    for bound in ["127.0.0.1:8443", "0.0.0.0:8443", "[::]:8443"] {
        let guard = reach(own(&[bound], &[]));
        let found = vec![at("127.0.0.1", 8443)];
        let refused = guard.check("lab.example", found).unwrap_err();
        assert_eq!(refused, OWN, "{bound}");
        assert_eq!(refused.reason(), DenialReason::LoopDetected);
        assert!(
            guard
                .check("lab.example", vec![at("127.0.0.1", 443)])
                .is_ok()
        );
    }
}

#[test]
fn other_spellings_of_our_own_addresses_are_ours_too() {
    let everywhere = Reach {
        hosts: vec![DomainPattern {
            name: "lab.example".to_owned(),
            below: true,
        }],
        ranges: vec!["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()],
        ports: vec![8443],
    };
    let guard = Guard::new(&[everywhere], own(&["127.0.0.1:8443", "0.0.0.0:8443"], &[]));
    for address in [
        "127.0.0.1",
        "127.9.9.9",
        "0.0.0.0",
        "::",
        "::1",
        "::ffff:127.0.0.1",
    ] {
        let refused = guard.check("lab.example", vec![at(address, 8443)]);
        assert_eq!(refused.unwrap_err(), OWN, "{address}");
    }
}

#[test]
fn a_wildcard_listener_has_every_address_of_this_machine() {
    // An address of this machine that is not loopback, if it has one.
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    let Ok(local) = socket
        .connect("198.51.100.1:9")
        .and_then(|()| socket.local_addr())
    else {
        return;
    };
    assert!(is_of_this_machine(local.ip()));
    assert!(!is_of_this_machine("198.51.100.1".parse().unwrap()));
    let own = own(&["0.0.0.0:443"], &[]);
    assert!(own.has(SocketAddr::new(local.ip(), 443)));
    assert!(!own.has(SocketAddr::new(local.ip(), 80)));
    assert!(!own.has(at("1.1.1.1", 443)));
}

#[test]
fn addresses_that_others_know_us_by_are_refused_at_every_port() {
    let guard = Guard::new(&[], own(&[], &["1.2.3.0/24", "2606:4700::/32"]));
    for address in ["1.2.3.4", "2606:4700::1"] {
        for port in [80, 443, 22] {
            let refused = guard.check("name.example", vec![at(address, port)]);
            assert_eq!(refused.unwrap_err(), OWN);
        }
    }
    assert!(
        guard
            .check("name.example", vec![at("1.2.4.4", 443)])
            .is_ok()
    );
}

#[test]
fn listeners_that_are_bound_later_are_known_then() {
    let own = OwnAddresses::default();
    let guard = reach(own.clone());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let bound = listener.local_addr().unwrap();
    let open = SocketAddr::new(bound.ip(), 8443);
    assert!(guard.still_open("lab.example", open));
    own.listeners.set(vec![bound, open]);
    assert!(!guard.still_open("lab.example", open));
}

proptest! {
    #[test]
    fn what_the_standard_library_calls_special_is_refused(bits in any::<u32>()) {
        let address = Ipv4Addr::from_bits(bits);
        let special = address.is_private()
            || address.is_loopback()
            || address.is_link_local()
            || address.is_multicast()
            || address.is_broadcast()
            || address.is_documentation()
            || address.is_unspecified();
        prop_assert!(!special || class_of(address.into()).is_some());
    }

    #[test]
    fn nothing_outside_global_unicast_is_open(bits in any::<u128>()) {
        let address = Ipv6Addr::from_bits(bits);
        if class_of(address.into()).is_none() {
            prop_assert_eq!(bits >> 125, 1);
            prop_assert!(address.to_ipv4().is_none());
        }
    }

    #[test]
    fn no_ipv4_address_passes_in_the_dress_of_ipv6(bits in any::<u32>()) {
        let v4 = u128::from(bits);
        for prefix in [0, 0xffff << 32, 0xffff << 48, 0x0064_ff9b << 96, 0x2002 << 112 | v4 << 80] {
            prop_assert!(class_of(Ipv6Addr::from_bits(prefix | v4).into()).is_some());
        }
    }
}
