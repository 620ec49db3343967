//! Every default, with its unit and its reason, in one place. The schema and the reference are made from these values.
//!
//! Rule for choosing: an administrator who writes nothing gets the narrower of two sensible behaviours, and limits
//! that a company of a few thousand people does not meet in a normal week.

pub mod egress;
pub mod sign_in;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use jsonwebtoken::Algorithm;
use tracing::level_filters::LevelFilter;

use super::{
    Bounds, ClientCertificateMode, LimitMode, LogFormat, OnOverflow, Timeouts, TlsProfile,
    UpstreamProtocol,
};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

// The door.

/// Serves every current browser and still old libraries that stop at TLS 1.2; `cryptrec-high` shuts those out.
pub const TLS_PROFILE: TlsProfile = TlsProfile::CryptrecRecommended;
/// What is recorded today may be decrypted once quantum computers exist; costs 1 KiB per full handshake.
pub const HYBRID_KEY_EXCHANGE: bool = true;
/// H-3: the device proves itself before it can ask for anything.
pub const CLIENT_CERTIFICATES: ClientCertificateMode = ClientCertificateMode::Required;
/// Connections at once. At about 30 KiB each, 300 MiB.
pub const CONNECTIONS: usize = 10_000;
/// Connections from one address. An office behind one address has hundreds of browsers, each with few connections.
pub const CONNECTIONS_PER_ADDRESS: usize = 512;
/// Unfinished handshakes from one address: what an attacker without a certificate can hold of our work.
pub const HANDSHAKES_PER_ADDRESS: usize = 64;
/// A mobile network with losses finishes within two or three seconds.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// From the first to the last byte of a request head; slow heads are how connections are held for nothing.
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(15);
/// Bytes of a request head. Cookies and Kerberos tickets reach 30 KiB in old companies.
pub const HEADER_BYTES: u64 = 64 * 1024;
/// Fields of a request head. Browsers send about 30; more than 100 cost an allocation with every request.
pub const HEADER_COUNT: usize = 100;
/// Streams at once per HTTP/2 connection. RFC 9113 §6.5.2 recommends at least 100.
pub const CONCURRENT_STREAMS: u32 = 128;
/// Longer than the pauses of a person who reads, shorter than what NAT boxes forget.
pub const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// On shutdown. Service managers kill after 90 seconds.
pub const DRAIN: Duration = Duration::from_secs(30);

/// All of the above together.
pub const BOUNDS: Bounds = Bounds {
    connections: CONNECTIONS,
    connections_per_address: CONNECTIONS_PER_ADDRESS,
    handshakes_per_address: HANDSHAKES_PER_ADDRESS,
    handshake_timeout: HANDSHAKE_TIMEOUT,
    header_timeout: HEADER_TIMEOUT,
    header_bytes: 64 * 1024,
    header_count: HEADER_COUNT,
    concurrent_streams: CONCURRENT_STREAMS,
    keep_alive: KEEP_ALIVE,
    drain: DRAIN,
};
const _: () = assert!(BOUNDS.header_bytes as u64 == HEADER_BYTES);

// Devices.

/// A list past its `nextUpdate` may lack the newest revocations.
pub const REFUSE_ON_EXPIRED_LIST: bool = true;
/// Inventories are commonly refreshed every day; a device not seen for longer is not known to be sound.
pub const POSTURE_MAX_AGE: Duration = DAY;

// Issuers.

/// Asymmetric algorithms that providers use, without the larger RSA variants that only cost time.
pub const ALGORITHMS: [Algorithm; 5] = [
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
    Algorithm::PS256,
    Algorithm::RS256,
];
/// RFC 9068 §2.1. An ID token is not an access token and must not pass for one.
pub const TOKEN_TYPE: &str = "at+jwt";
/// Clocks kept by NTP differ by less than a second; virtual machines that resume, by some.
pub const LEEWAY: Duration = Duration::from_secs(30);
/// A token lives longer than a working day only by mistake, and a stolen one as long.
pub const MAX_TOKEN_LIFETIME: Duration = Duration::from_secs(12 * 60 * 60);
/// For one request to a provider.
pub const DISCOVERY_TIMEOUT: Duration = Duration::from_secs(5);
/// Providers publish a new key hours before they use it; an unknown key is asked for at once anyway.
pub const DISCOVERY_REFRESH: Duration = HOUR;
/// How long a provider may be down before its last known keys are no longer believed.
pub const DISCOVERY_MAX_AGE: Duration = DAY;
/// RFC 7519 §4.1.2.
pub const CLAIM_USER: &str = "sub";
/// OpenID Connect Core §5.1.
pub const CLAIM_NAME: &str = "name";
/// RFC 9068 §2.2.3.1.
pub const CLAIM_GROUPS: &str = "groups";
/// RFC 9068 §2.2.3.1.
pub const CLAIM_ROLES: &str = "roles";

// Apps.

/// The whole host.
pub const PATH_PREFIX: &str = "/";
/// H-2: multi-factor authentication wherever possible; a public app may be written out of it.
pub const MULTI_FACTOR: bool = true;
/// Bytes of a request body: office documents pass, disk images do not.
pub const MAX_BODY: u64 = 100 * 1024 * 1024;
/// A WebSocket is a standing connection; an app that needs none should not have it.
pub const UPGRADES: bool = false;
/// The app gets the assertion and never sees a token that other apps would accept.
pub const FORWARD_AUTHORIZATION: bool = false;
/// Within one network a connection stands in milliseconds; three retransmissions take about this long.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Reports and builds take a while; a minute is where people reload.
pub const RESPONSE_HEADER_TIMEOUT: Duration = MINUTE;
/// Without a byte in either direction. Server-sent events and WebSockets usually ping every 30 seconds.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(5 * 60);
/// All of the above together; streams last as long as they like.
pub const TIMEOUTS: Timeouts = Timeouts {
    connect: CONNECT_TIMEOUT,
    response_header: RESPONSE_HEADER_TIMEOUT,
    idle: IDLE_TIMEOUT,
    total: None,
};
/// See `protocol`.
pub const UPSTREAM_PROTOCOL: UpstreamProtocol = UpstreamProtocol::Auto;
/// Once more hides the restart of one of several servers; more multiplies load when they are all slow.
pub const RETRIES: u8 = 1;
/// Connections in use per server.
pub const MAX_CONNECTIONS: usize = 256;
/// Idle connections kept per server: as many as can be in use. With fewer, a burst that ebbs for a moment closes
/// connections that it opens again in the next; those that nobody wants go with `idle_timeout`.
pub const MAX_IDLE: usize = MAX_CONNECTIONS;
/// Shorter than the keep-alive of common application servers (60 to 75 seconds), so that we close first.
pub const UPSTREAM_IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// A failing server is noticed within about half a minute.
pub const HEALTH_INTERVAL: Duration = Duration::from_secs(10);
/// A health page that takes longer is not healthy.
pub const HEALTH_TIMEOUT: Duration = Duration::from_secs(2);
/// In a row, so that a flapping server stays out.
pub const HEALTHY_AFTER: u32 = 2;
/// In a row, so that one lost packet changes nothing.
pub const UNHEALTHY_AFTER: u32 = 3;
/// A redirect to a login page is a sign of life.
pub const HEALTH_STATUSES: &str = "200-399";
/// In a row.
pub const PASSIVE_FAILURES: u32 = 5;
/// Long enough to restart in.
pub const PASSIVE_EJECTION: Duration = Duration::from_secs(30);
/// Redirect that keeps method and body (RFC 9110 §15.4.9).
pub const REDIRECT_STATUS: u16 = 308;
/// Fixed response.
pub const RESPONSE_STATUS: u16 = 200;
/// Fixed response.
pub const RESPONSE_CONTENT_TYPE: &str = "text/plain; charset=utf-8";

// Limits and lockout.

/// A limit that is written is meant.
pub const LIMIT_MODE: LimitMode = LimitMode::Enforce;
/// Slips that cost nothing.
pub const FREE_FAILURES: u32 = 3;
/// Doubles with each further failure: a person hardly notices, a program does.
pub const FIRST_DELAY: Duration = SECOND;
/// The longest delay.
pub const MAX_DELAY: Duration = MINUTE;
/// NIST SP 800-63B allows at most 100 failures in a row; ten leave room for a forgotten script.
pub const LOCK_AFTER: u32 = 10;
/// Long enough to make guessing hopeless, short enough not to need the help desk.
pub const LOCK: Duration = Duration::from_secs(5 * 60);
/// Failures are forgotten after this long.
pub const LOCKOUT_WINDOW: Duration = Duration::from_secs(15 * 60);

// The process.

/// Records that may wait for the disk, two for each request: a second and a half of a gateway that serves 10,000 requests
/// a second, some 40 MiB with the heads that they hold on to. Empty, it takes nothing.
pub const AUDIT_QUEUE: usize = 32_768;
/// What is not on record did not happen; so it must not happen.
pub const ON_OVERFLOW: OnOverflow = OnOverflow::Refuse;
/// What a power cut may take. Zero costs a disk flush per batch.
pub const SYNC_INTERVAL: Duration = SECOND;
/// Queries carry secrets: reset links, signed URLs, search terms.
pub const AUDIT_QUERY: bool = false;
/// Only this machine; not 9090, which Prometheus itself takes.
pub const ADMIN_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9180);
/// `iss` of the assertion.
pub const ASSERTION_ISSUER: &str = "masugata";
/// Also the most: an assertion that leaks is soon worthless.
pub const ASSERTION_LIFETIME: Duration = MINUTE;
/// Shown in page headers.
pub const ORGANISATION: &str = "Masugata";
/// Has no daylight saving time; whoever writes rules about hours writes their zone.
pub const TIME_ZONE: &str = "UTC";
/// Reload on change.
pub const WATCH: bool = true;
/// People read it first.
pub const LOG_FORMAT: LogFormat = LogFormat::Text;
/// Per-request lines are `debug`; the record is the audit log.
pub const LOG_LEVEL: LevelFilter = LevelFilter::INFO;

/// One worker per core that this process may use; at least one.
pub fn workers() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
