//! Addresses and ranges of lists.
//!
//! Ranges overlap and nest, also between feeds. They are cut into segments that do not, so that a look-up is one binary
//! search.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use super::table::{Sets, Source};

/// All ranges, by family.
#[derive(Debug, Default)]
pub struct Addresses {
    v4: Segments<u32>,
    v6: Segments<u128>,
}

impl Addresses {
    pub fn build(ranges: &[(IpNet, Source)], sets: &mut Sets) -> Self {
        let v4 = ranges.iter().filter_map(|(range, source)| match range {
            IpNet::V4(net) => Some((net.network().to_bits(), net.broadcast().to_bits(), *source)),
            IpNet::V6(_) => None,
        });
        let v6 = ranges.iter().filter_map(|(range, source)| match range {
            IpNet::V6(net) => Some((net.network().to_bits(), net.broadcast().to_bits(), *source)),
            IpNet::V4(_) => None,
        });
        Self {
            v4: Segments::build(v4, |at| at.checked_add(1), sets),
            v6: Segments::build(v6, |at| at.checked_add(1), sets),
        }
    }

    /// The set of all ranges that hold `address`. An IPv4 address in IPv6 clothes (`::ffff:192.0.2.1`) is the IPv4 address.
    pub fn find(&self, address: IpAddr) -> Option<u32> {
        match address.to_canonical() {
            IpAddr::V4(address) => self.v4.find(address.to_bits()),
            IpAddr::V6(address) => self.v6.find(address.to_bits()),
        }
    }

    /// Bytes on the heap.
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.v4.list) + size_of_val(&*self.v6.list)
    }

    pub fn is_empty(&self) -> bool {
        self.v4.list.is_empty() && self.v6.list.is_empty()
    }
}

/// Where something changes, sorted, and the set from there on.
#[derive(Debug)]
struct Segments<T> {
    list: Box<[(T, Option<u32>)]>,
}

impl<T> Default for Segments<T> {
    fn default() -> Self {
        Self {
            list: Box::default(),
        }
    }
}

impl<T: Ord + Copy> Segments<T> {
    /// `ranges` are first and last address; `next` is the address after one, if there is any.
    fn build(
        ranges: impl Iterator<Item = (T, T, Source)>,
        next: impl Fn(T) -> Option<T>,
        sets: &mut Sets,
    ) -> Self {
        let mut events: BTreeMap<T, Vec<(bool, Source)>> = BTreeMap::new();
        for (first, last, source) in ranges {
            events.entry(first).or_default().push((true, source));
            if let Some(after) = next(last) {
                events.entry(after).or_default().push((false, source));
            }
        }
        let mut open: BTreeMap<Source, u32> = BTreeMap::new();
        let mut list: Vec<(T, Option<u32>)> = Vec::new();
        for (place, changes) in events {
            for (begins, source) in changes {
                let count = open.entry(source).or_default();
                // Within one place an end may stand before the beginning that it does not belong to.
                *count = if begins {
                    count.wrapping_add(1)
                } else {
                    count.wrapping_sub(1)
                };
            }
            open.retain(|_, count| *count != 0);
            let sources: Vec<_> = open.keys().copied().collect();
            let set = (!sources.is_empty()).then(|| sets.id(&sources));
            if list.last().and_then(|(_, before)| *before) != set || list.is_empty() {
                list.push((place, set));
            }
        }
        Self { list: list.into() }
    }

    fn find(&self, at: T) -> Option<u32> {
        let after = self.list.partition_point(|(first, _)| *first <= at);
        self.list.get(after.checked_sub(1)?)?.1
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::table::Effect;
    use super::*;

    fn feeds(ranges: &[(&str, usize)], address: &str) -> Vec<usize> {
        let ranges: Vec<_> = ranges
            .iter()
            .map(|(net, feed)| {
                (
                    net.parse().unwrap(),
                    Source::new(*feed, Effect::Block).unwrap(),
                )
            })
            .collect();
        found(&ranges, address.parse().unwrap())
    }

    fn found(ranges: &[(IpNet, Source)], address: IpAddr) -> Vec<usize> {
        let mut sets = Sets::default();
        let addresses = Addresses::build(ranges, &mut sets);
        let sets = sets.finish();
        let sources = addresses.find(address).map(|set| &sets[set as usize]);
        sources
            .into_iter()
            .flatten()
            .map(|source| source.feed())
            .collect()
    }

    #[test]
    fn nested_and_touching_ranges_all_answer() {
        let list = [
            ("10.0.0.0/8", 1),
            ("10.1.0.0/16", 2),
            ("10.1.2.3/32", 3),
            ("11.0.0.0/8", 1),
        ];
        assert_eq!(feeds(&list, "10.1.2.3"), [1, 2, 3]);
        assert_eq!(feeds(&list, "10.1.2.4"), [1, 2]);
        assert_eq!(feeds(&list, "10.255.255.255"), [1]);
        assert_eq!(feeds(&list, "11.255.255.255"), [1]);
        assert!(feeds(&list, "12.0.0.0").is_empty());
        assert!(feeds(&list, "9.255.255.255").is_empty());
    }

    #[test]
    fn the_ends_of_the_address_space_are_ends() {
        let list = [
            ("255.255.255.0/24", 1),
            ("0.0.0.0/32", 2),
            ("ffff::/16", 3),
            ("::/0", 4),
        ];
        assert_eq!(feeds(&list, "255.255.255.255"), [1]);
        assert_eq!(feeds(&list, "0.0.0.0"), [2]);
        assert_eq!(
            feeds(&list, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
            [3, 4]
        );
        assert_eq!(feeds(&list, "::"), [4]);
    }

    // Attack: a listed IPv4 address, written as IPv6.
    #[test]
    fn a_mapped_address_is_the_address() {
        assert_eq!(feeds(&[("192.0.2.1/32", 1)], "::ffff:192.0.2.1"), [1]);
    }

    proptest! {
        #[test]
        fn segments_agree_with_a_walk_through_the_list(
            list in prop::collection::vec((0..8_u32, 24..=32_u8, 0..4_usize), 0..20),
            address in 0..0x800_u32,
        ) {
            let ranges: Vec<_> = list.iter().map(|(at, length, feed)| {
                let net = ipnet::Ipv4Net::new((at * 0x55).into(), *length).unwrap().trunc();
                (IpNet::V4(net), Source::new(*feed, Effect::Block).unwrap())
            }).collect();
            let address = IpAddr::V4(address.into());
            let mut expected: Vec<_> = ranges.iter().filter(|(net, _)| net.contains(&address)).map(|(_, source)| source.feed()).collect();
            expected.sort_unstable();
            expected.dedup();
            prop_assert_eq!(found(&ranges, address), expected);
        }
    }
}
