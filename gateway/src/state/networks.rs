//! Named address ranges: which of them contain an address, without looking at all of them or allocating per request.

use std::net::IpAddr;

use ipnet::IpNet;
use masugata_policy::NetworkNames;

use crate::config;

/// Every range with the names of all networks that contain it. Ranges nest or are disjoint, so the longest range that
/// contains an address knows all the others that do.
#[derive(Debug)]
pub(crate) struct Networks {
    // INVARIANT: longest prefix first.
    ranges: Vec<(IpNet, NetworkNames)>,
    none: NetworkNames,
}

impl Networks {
    pub(crate) fn build(networks: &[config::Network]) -> Self {
        let all = || {
            networks.iter().flat_map(|network| {
                network
                    .ranges
                    .iter()
                    .map(|range| (range.trunc(), &network.name))
            })
        };
        let mut ranges: Vec<(IpNet, NetworkNames)> = all()
            .map(|(range, _)| {
                let mut names: Vec<Box<str>> = all()
                    .filter(|(outer, _)| outer.contains(&range))
                    .map(|(_, name)| name.as_str().into())
                    .collect();
                names.sort_unstable();
                names.dedup();
                (range, names.into())
            })
            .collect();
        ranges.sort_by_key(|(range, _)| std::cmp::Reverse(range.prefix_len()));
        ranges.dedup_by(|left, right| left.0 == right.0);
        Self {
            ranges,
            none: NetworkNames::from([]),
        }
    }

    /// Names of the networks that contain `address`, sorted.
    pub(crate) fn containing(&self, address: IpAddr) -> &NetworkNames {
        let address = address.to_canonical();
        self.ranges
            .iter()
            .find(|(range, _)| range.contains(&address))
            .map_or(&self.none, |(_, names)| names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn network(name: &str, ranges: &[&str]) -> config::Network {
        config::Network {
            name: name.into(),
            ranges: ranges.iter().map(|range| range.parse().unwrap()).collect(),
        }
    }

    #[test]
    fn nested_ranges_give_all_their_names() {
        let networks = Networks::build(&[
            network("all", &["10.0.0.0/8"]),
            network("tokyo", &["10.1.0.0/16", "fd00::/8"]),
        ]);
        let names = |address: &str| -> Vec<String> {
            networks
                .containing(address.parse().unwrap())
                .iter()
                .map(ToString::to_string)
                .collect()
        };
        assert_eq!(names("10.1.2.3"), ["all", "tokyo"]);
        assert_eq!(names("10.2.2.3"), ["all"]);
        assert_eq!(names("::ffff:10.2.2.3"), ["all"]);
        assert_eq!(names("fd00::1"), ["tokyo"]);
        assert!(names("192.0.2.1").is_empty());
    }

    proptest! {
        #[test]
        fn the_longest_range_knows_all_networks(
            ranges in prop::collection::vec((any::<u32>(), 0u8..=32, 0usize..4), 0..12),
            address in any::<u32>(),
        ) {
            let names = ["a", "b", "c", "d"];
            let networks: Vec<config::Network> = ranges
                .iter()
                .map(|(base, length, name)| {
                    // A small address space, so that ranges really nest.
                    let base = std::net::Ipv4Addr::from(base & 0x0300_0003);
                    network(names[*name], &[&format!("{base}/{length}")])
                })
                .collect();
            let address = IpAddr::from(std::net::Ipv4Addr::from(address & 0x0300_0003));
            let mut expected: Vec<Box<str>> = networks
                .iter()
                .filter(|network| network.ranges.iter().any(|range| range.contains(&address)))
                .map(|network| network.name.as_str().into())
                .collect();
            expected.sort_unstable();
            expected.dedup();
            let networks = Networks::build(&networks);
            prop_assert_eq!(&**networks.containing(address), &expected[..]);
        }
    }
}
