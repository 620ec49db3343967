//! Defaults of the second door.

use std::time::Duration;

use super::{DAY, HOUR, MINUTE};
use crate::config::egress::{Ech, FeedEffect, Mode, PacElsewhere, ResolverMode};
use crate::config::{Bounds, Timeouts};

/// An owner's certificate is one factor. Policies ask for more where a destination is worth it.
pub const MULTI_FACTOR: bool = false;
/// What no policy permits is refused.
pub const MODE: Mode = Mode::Enforce;
/// The web. SSH, mail and databases are written out for the services that need them.
pub const PORTS: [u16; 2] = [443, 80];
/// What claims to be https has to be: other protocols hide behind 443. Not 80: `ws://` and `http://` go there.
pub const TLS_PORTS: [u16; 1] = [443];
/// A hidden name makes the check of names worthless.
pub const ECH: Ech = Ech::Refuse;
/// Clients speak first and at once; a tunnel that says nothing is held for nothing.
pub const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// A third of the 30 s after which nothing may stand that would be refused now.
pub const RECHECK: Duration = Duration::from_secs(10);
/// The Internet is farther away than an application server; SSH and mail are silent for minutes; a day is a session.
pub const TIMEOUTS: Timeouts = Timeouts {
    connect: Duration::from_secs(10),
    response_header: MINUTE,
    idle: Duration::from_secs(15 * 60),
    total: Some(DAY),
};
/// 5,000 people with four open pages each.
pub const TUNNELS: usize = 20_000;
/// Browsers hold fewer than 200; beside them run mail, chat and updates.
pub const TUNNELS_PER_DEVICE: usize = 512;
/// A working day.
pub const PASSWORD_LIFETIME: Duration = Duration::from_secs(8 * 60 * 60);
/// What a person looks back upon. With 10,000 devices at most 40 MB.
pub const REFUSALS_PER_DEVICE: usize = 20;
/// As at the first door, but every page opens tunnels to many hosts, and browsers keep the connection to their proxy.
pub const BOUNDS: Bounds = Bounds {
    connections: 20_000,
    connections_per_address: 2_048,
    handshakes_per_address: super::HANDSHAKES_PER_ADDRESS,
    handshake_timeout: super::HANDSHAKE_TIMEOUT,
    header_timeout: super::HEADER_TIMEOUT,
    header_bytes: 64 * 1024,
    header_count: super::HEADER_COUNT,
    concurrent_streams: 256,
    keep_alive: Duration::from_secs(5 * 60),
    drain: super::DRAIN,
};
/// What the machine is set up with: the company's own resolver.
pub const RESOLVER_MODE: ResolverMode = ResolverMode::System;
/// RFC 8484 §4.1 leaves it open; this is what all servers use.
pub const RESOLVER_PATH: &str = "/dns-query";
/// As long as resolvers themselves take before they give up.
pub const RESOLVER_TIMEOUT: Duration = Duration::from_secs(5);
/// Happy eyeballs sees to a family that leads nowhere.
pub const RESOLVER_IPV6: bool = true;
/// A list names what is bad, unless it says otherwise.
pub const FEED_EFFECT: FeedEffect = FeedEffect::Block;
/// Most lists appear once a day or more often; asking costs one conditional request.
pub const FEED_REFRESH: Duration = HOUR;
/// The largest public lists have some 3 million names, 100 MiB.
pub const FEED_BYTES: u64 = 256 * 1024 * 1024;
/// Without the list nobody knows what it would have said.
pub const FEED_REQUIRED: bool = true;
/// Per cent. Lists that lose half of their entries have usually been cut short where they are made.
pub const FEED_SHRINK: u8 = 50;
/// To the gateway, which decides, records and explains.
pub const PAC_ELSEWHERE: PacElsewhere = PacElsewhere::Gateway;
