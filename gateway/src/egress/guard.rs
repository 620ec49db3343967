//! Which addresses may be dialled: public ones, and exceptions that name host, range and port at once.
//!
//! One table, each row with the word that records use. An answer of a name server and a literal are judged alike, and
//! nothing is unwrapped: an IPv4 address inside an IPv6 one is refused as what it is. Our own listeners are refused even
//! where an exception covers them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;

use arc_swap::ArcSwap;
use ipnet::IpNet;

use crate::config::egress::Reach;
use crate::denial::DenialReason;

const fn v4(a: u8, b: u8, c: u8, d: u8) -> Ipv4Addr {
    Ipv4Addr::new(a, b, c, d)
}

const fn v6(a: u16, b: u16, c: u16, d: u16) -> Ipv6Addr {
    Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0)
}

/// RFC 6890 and its registry, and the metadata services of the clouds. The first row that matches gives the word.
const REFUSED_V4: [(Ipv4Addr, u8, &str); 20] = [
    (v4(169, 254, 169, 254), 32, "metadata"),
    (v4(168, 63, 129, 16), 32, "metadata"),
    (v4(100, 100, 100, 200), 32, "metadata"),
    (v4(192, 0, 0, 192), 32, "metadata"),
    (v4(0, 0, 0, 0), 8, "this-network"),
    (v4(10, 0, 0, 0), 8, "private"),
    (v4(100, 64, 0, 0), 10, "carrier-nat"),
    (v4(127, 0, 0, 0), 8, "loopback"),
    (v4(169, 254, 0, 0), 16, "link-local"),
    (v4(172, 16, 0, 0), 12, "private"),
    (v4(192, 0, 0, 0), 24, "protocol-assignments"),
    (v4(192, 0, 2, 0), 24, "documentation"),
    (v4(192, 88, 99, 0), 24, "6to4-relay"),
    (v4(192, 168, 0, 0), 16, "private"),
    (v4(198, 18, 0, 0), 15, "benchmarking"),
    (v4(198, 51, 100, 0), 24, "documentation"),
    (v4(203, 0, 113, 0), 24, "documentation"),
    (v4(224, 0, 0, 0), 4, "multicast"),
    (v4(255, 255, 255, 255), 32, "broadcast"),
    (v4(240, 0, 0, 0), 4, "reserved"),
];

/// Everything outside 2000::/3 is refused whether it is here or not; these rows give it a word.
const REFUSED_V6: [(Ipv6Addr, u8, &str); 19] = [
    (
        Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
        128,
        "metadata",
    ),
    (Ipv6Addr::UNSPECIFIED, 128, "unspecified"),
    (Ipv6Addr::LOCALHOST, 128, "loopback"),
    (
        Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0),
        96,
        "ipv4-mapped",
    ),
    (
        Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, 0, 0),
        96,
        "ipv4-translated",
    ),
    (v6(0, 0, 0, 0), 96, "ipv4-compatible"),
    (v6(0x64, 0xff9b, 0, 0), 96, "nat64"),
    (v6(0x64, 0xff9b, 1, 0), 48, "nat64"),
    (v6(0x100, 0, 0, 0), 64, "discard"),
    (v6(0x100, 0, 0, 1), 64, "dummy"),
    (v6(0x5f00, 0, 0, 0), 16, "segment-routing"),
    (v6(0xfc00, 0, 0, 0), 7, "unique-local"),
    (v6(0xfe80, 0, 0, 0), 10, "link-local"),
    (v6(0xfec0, 0, 0, 0), 10, "site-local"),
    (v6(0xff00, 0, 0, 0), 8, "multicast"),
    // Inside 2000::/3: protocol assignments (Teredo, benchmarking, ORCHID), examples, IPv4 in disguise.
    (v6(0x2001, 0, 0, 0), 23, "protocol-assignments"),
    (v6(0x2001, 0xdb8, 0, 0), 32, "documentation"),
    (v6(0x2002, 0, 0, 0), 16, "6to4"),
    (v6(0x3fff, 0, 0, 0), 20, "documentation"),
];

/// Why an address is not the public Internet's; `None` when it is.
pub fn class_of(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => REFUSED_V4
            .iter()
            .find(|(base, length, _)| {
                let shift = 32_u32.saturating_sub(u32::from(*length));
                address.to_bits().checked_shr(shift) == base.to_bits().checked_shr(shift)
            })
            .map(|(_, _, class)| *class),
        IpAddr::V6(address) => class_of_v6(address),
    }
}

fn class_of_v6(address: Ipv6Addr) -> Option<&'static str> {
    let row = REFUSED_V6.iter().find(|(base, length, _)| {
        let shift = 128_u32.saturating_sub(u32::from(*length));
        address.to_bits().checked_shr(shift) == base.to_bits().checked_shr(shift)
    });
    if let Some((_, _, class)) = row {
        return Some(class);
    }
    let [first, _, _, _, fifth, sixth, _, _] = address.segments();
    if first >> 13 != 1 {
        return Some("not-global");
    }
    // RFC 5214 §6.1: whoever listens there unwraps an IPv4 address, private ones too.
    (matches!(fifth, 0 | 0x0200) && sixth == 0x5efe).then_some("isatap")
}

/// The addresses that our listeners are bound to; one for the whole process, because they are known only when it serves.
#[derive(Debug, Default)]
pub struct Listeners(ArcSwap<Vec<SocketAddr>>);

impl Listeners {
    /// Says what all our listeners are bound to, with the ports they have really got.
    pub fn set(&self, bound: Vec<SocketAddr>) {
        self.0.store(Arc::new(bound));
    }
}

/// What leads back to ourselves.
#[derive(Clone, Debug, Default)]
pub struct OwnAddresses {
    /// Refused at their ports.
    pub listeners: Arc<Listeners>,
    /// Refused at all ports: the public addresses by which others know us.
    pub ranges: Vec<IpNet>,
}

impl OwnAddresses {
    fn has(&self, at: SocketAddr) -> bool {
        // Dialled, a mapped address is the one inside.
        let address = at.ip().to_canonical();
        if self.ranges.iter().any(|range| range.contains(&address)) {
            return true;
        }
        self.listeners.0.load().iter().any(|listener| {
            let bound = listener.ip().to_canonical();
            listener.port() == at.port()
                && (bound == address
                    || bound.is_unspecified() && is_of_this_machine(address)
                    // Dialled, the unspecified address is loopback.
                    || bound.is_loopback() && address.is_unspecified())
        })
    }
}

/// Whether the kernel takes an address for one of this machine's: those it would answer itself, it also speaks from.
/// Nothing is sent. (Whether one can bind to it says less: some hosts allow that for every address.)
fn is_of_this_machine(address: IpAddr) -> bool {
    if address.is_loopback() || address.is_unspecified() {
        return true;
    }
    let any: IpAddr = match address {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let source = UdpSocket::bind((any, 0)).and_then(|socket| {
        socket.connect((address, 9))?;
        socket.local_addr()
    });
    source.is_ok_and(|source| source.ip() == address)
}

/// Judges addresses. Made anew with each configuration.
#[derive(Debug)]
pub struct Guard {
    reach: Vec<Reach>,
    own: OwnAddresses,
}

/// Addresses that may be dialled for one host: the only thing [`super::dial::dial`] takes, made only by
/// [`Guard::check`], never empty.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Checked(Vec<SocketAddr>);

impl Checked {
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.0
    }
}

/// None of a host's addresses may be dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{class}")]
pub struct Prohibited {
    /// The word of the table for the first of them; `own` for our own.
    pub class: &'static str,
    /// It leads back to us.
    pub own: bool,
}

impl Prohibited {
    /// The stable reason for client, record and metrics.
    pub fn reason(&self) -> DenialReason {
        if self.own {
            DenialReason::LoopDetected
        } else {
            DenialReason::DestinationProhibited
        }
    }
}

const OWN: Prohibited = Prohibited {
    class: "own",
    own: true,
};

impl Guard {
    pub fn new(reach: &[Reach], own: OwnAddresses) -> Self {
        Self {
            reach: reach.to_vec(),
            own,
        }
    }

    /// Keeps what may be dialled. `host` is lower case, without a final dot; `found` is what it resolved to, or itself.
    ///
    /// # Errors
    /// When nothing is left.
    pub fn check(&self, host: &str, found: Vec<SocketAddr>) -> Result<Checked, Prohibited> {
        let mut refused = None;
        let mut open = Vec::with_capacity(found.len());
        for address in found {
            // Without flow and scope, which no name server can mean.
            let address = SocketAddr::new(address.ip(), address.port());
            match self.judge(host, address) {
                Ok(()) if !open.contains(&address) => open.push(address),
                Ok(()) => {}
                // That it leads to us is the better reason.
                Err(why) if why.own => refused = Some(why),
                Err(why) => refused = refused.or(Some(why)),
            }
        }
        if open.is_empty() {
            return Err(refused.unwrap_or(Prohibited {
                class: "no-address",
                own: false,
            }));
        }
        Ok(Checked(open))
    }

    /// Whether a connection that was made to `at` for `host` could be made again.
    pub fn still_open(&self, host: &str, at: SocketAddr) -> bool {
        self.judge(host, at).is_ok()
    }

    fn judge(&self, host: &str, at: SocketAddr) -> Result<(), Prohibited> {
        if let Some(class) = class_of(at.ip())
            && !self.excepts(host, at)
        {
            return Err(Prohibited { class, own: false });
        }
        if self.own.has(at) { Err(OWN) } else { Ok(()) }
    }

    fn excepts(&self, host: &str, at: SocketAddr) -> bool {
        self.reach.iter().any(|reach| {
            reach.ports.contains(&at.port())
                && reach.ranges.iter().any(|range| range.contains(&at.ip()))
                && reach.hosts.iter().any(|pattern| pattern.matches(host))
        })
    }
}

#[cfg(test)]
#[path = "guard_tests.rs"]
mod tests;
