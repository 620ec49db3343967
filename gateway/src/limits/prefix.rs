//! What counts as one address: an IPv4 address, or an IPv6 /64.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The part of a client's address that it cannot easily change. A whole /64 belongs to one IPv6 customer (RFC 6177),
/// who could otherwise come from 2^64 "different" addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AddressPrefix {
    V4(Ipv4Addr),
    /// The upper 64 bits.
    V6(u64),
}

impl From<IpAddr> for AddressPrefix {
    fn from(address: IpAddr) -> Self {
        // An IPv4 client of a dual-stack socket arrives as `::ffff:a.b.c.d`. Taken as IPv6, all of them would share one /64.
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address),
            IpAddr::V6(address) => {
                Self::V6(u64::try_from(address.to_bits() >> 64).unwrap_or_default())
            }
        }
    }
}

impl fmt::Display for AddressPrefix {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4(address) => write!(formatter, "{address}/32"),
            Self::V6(upper) => {
                let network = Ipv6Addr::from_bits(u128::from(*upper) << 64);
                write!(formatter, "{network}/64")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> AddressPrefix {
        AddressPrefix::from(text.parse::<IpAddr>().unwrap())
    }

    #[test]
    fn a_client_cannot_multiply_itself_inside_its_own_64() {
        assert_eq!(
            prefix("2001:db8:1:2::1"),
            prefix("2001:db8:1:2:ffff:ffff:ffff:ffff")
        );
        assert_ne!(prefix("2001:db8:1:2::1"), prefix("2001:db8:1:3::1"));
    }

    #[test]
    fn ipv4_addresses_stay_apart_on_a_dual_stack_socket() {
        assert_eq!(prefix("::ffff:192.0.2.1"), prefix("192.0.2.1"));
        assert_ne!(prefix("::ffff:192.0.2.1"), prefix("::ffff:192.0.2.2"));
    }

    #[test]
    fn it_reads_as_a_network() {
        assert_eq!(prefix("192.0.2.1").to_string(), "192.0.2.1/32");
        assert_eq!(prefix("2001:db8:1:2::1").to_string(), "2001:db8:1:2::/64");
    }
}
