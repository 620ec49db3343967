//! What `[egress]` means: the proxy through which devices reach the Internet.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use masugata_policy::Level;

use super::{Bounds, ClientCertificateMode, Requirements, Timeouts};

/// The forward proxy's listener, and everything that is known of destinations.
#[derive(Clone, Debug)]
pub struct Egress {
    /// Never empty.
    pub listen: Vec<SocketAddr>,
    /// What clients write as their proxy; lower case.
    pub name: String,
    /// `Required` or `Optional`; never `Off`, because every decision needs a device.
    pub client_certificates: ClientCertificateMode,
    /// Ways to say who the user is that are accepted at all; which is enough is policy.
    pub credentials: AcceptedCredentials,
    /// What must hold before any policy is asked.
    pub requirements: Requirements,
    pub mode: Mode,
    /// Ports that every destination may be reached on. Never empty.
    pub ports: Vec<u16>,
    /// Ports on which a tunnel must begin with a TLS ClientHello for the host that was asked for.
    pub tls_ports: Vec<u16>,
    pub ech: Ech,
    /// How long a tunnel to one of `tls_ports` may take to say its ClientHello.
    pub hello_timeout: Duration,
    /// How often every open tunnel is decided again when nothing has changed; at most 30 s.
    pub recheck: Duration,
    /// `connect`, `response_header`, `idle` and `total` of tunnels and plain requests.
    pub timeouts: Timeouts,
    /// Tunnels at once, in all and for one device.
    pub tunnels: usize,
    pub tunnels_per_device: usize,
    /// Public addresses of this gateway (NAT); never dialled, on any port.
    pub own_addresses: Vec<IpNet>,
    /// 32 bytes that seal proxy passwords; `None`: no passwords.
    pub password_key: Option<PathBuf>,
    pub password_lifetime: Duration,
    /// Where a device sees its own refusals; served by the ingress listener.
    pub why_host: Option<String>,
    pub refusals_per_device: usize,
    pub bounds: Bounds,
    pub resolver: Resolver,
    /// Names with fixed addresses, asked before the resolver.
    pub addresses: Vec<StaticName>,
    /// The only exceptions from refused address ranges.
    pub reach: Vec<Reach>,
    /// Cloud services that are known by name.
    pub services: Vec<CloudService>,
    pub feeds: Vec<Feed>,
    /// Where last good copies of fetched feeds are kept; `Some` whenever a feed has a URL.
    pub lists_directory: Option<PathBuf>,
    /// Registrable domains whose imitations are found, beside those of `services`. Lower case, A-labels.
    pub protect: Vec<String>,
    pub pac: Option<Pac>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AcceptedCredentials {
    /// The device's enrolled owner, by its certificate alone.
    pub owner: bool,
    /// A bearer token in `Proxy-Authorization`.
    pub token: bool,
    /// A proxy password in `Proxy-Authorization: Basic`.
    pub password: bool,
}

/// A way to say who the user is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialWay {
    Owner,
    Token,
    Password,
}

/// What happens to a destination that no policy permits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Enforce,
    /// Let through, and recorded as such. What a policy forbids is refused all the same.
    Observe,
}

/// A ClientHello whose outer name is not the host that was asked for, because the real one is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ech {
    Refuse,
    Allow,
}

/// Who turns names into addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolver {
    pub kind: ResolverKind,
    pub timeout: Duration,
    /// Whether IPv6 addresses are asked for.
    pub ipv6: bool,
}

/// [`ResolverKind`] as a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResolverMode {
    System,
    Tls,
    Https,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResolverKind {
    System,
    /// DNS over TLS (RFC 7858). Never falls back to the system.
    Tls(DnsServers),
    /// DNS over HTTPS (RFC 8484). Never falls back to the system.
    Https {
        servers: DnsServers,
        path: String,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsServers {
    /// With port. Never empty.
    pub addresses: Vec<SocketAddr>,
    /// The name in their certificate.
    pub server_name: String,
    /// PEM file of their CA; `None`: the system's roots.
    pub authority: Option<PathBuf>,
}

/// A name with fixed addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaticName {
    pub host: String,
    /// Never empty. A port replaces the one that was asked for.
    pub addresses: Vec<(IpAddr, Option<u16>)>,
}

/// Destinations that may lie in refused ranges: host, range and port must all match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reach {
    pub hosts: Vec<DomainPattern>,
    pub ranges: Vec<IpNet>,
    pub ports: Vec<u16>,
}

impl Reach {
    /// Whether `host` may lie at this address and port in spite of everything.
    pub fn covers(&self, host: &str, address: SocketAddr) -> bool {
        self.ports.contains(&address.port())
            && self
                .ranges
                .iter()
                .any(|range| range.contains(&address.ip()))
            && self.hosts.iter().any(|pattern| pattern.matches(host))
    }
}

/// `box.com`: this host; `.box.com`: this name and everything below it. Lower case, A-labels, no final dot.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DomainPattern {
    pub name: String,
    pub below: bool,
}

impl DomainPattern {
    /// `host` is lower case, without a final dot.
    pub fn matches(&self, host: &str) -> bool {
        match host.strip_suffix(self.name.as_str()) {
            Some("") => true,
            Some(rest) => self.below && rest.ends_with('.'),
            None => false,
        }
    }
}

impl fmt::Display for DomainPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dot = if self.below { "." } else { "" };
        write!(f, "{dot}{}", self.name)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloudService {
    pub name: String,
    /// Never empty.
    pub hosts: Vec<DomainPattern>,
    pub level: Option<Level>,
    pub tenant: Option<String>,
    pub groups: Vec<String>,
    pub categories: Vec<String>,
    /// Open for this service beside `Egress::ports`.
    pub ports: Vec<u16>,
}

/// A list of domains and addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feed {
    pub name: String,
    pub source: FeedSource,
    pub format: FeedFormat,
    /// What its entries are, for policies. Never empty for a blocking feed.
    pub categories: Vec<String>,
    pub effect: FeedEffect,
    /// Bytes; a larger feed is refused.
    pub max_bytes: u64,
    /// Nothing is let through until this feed has been loaded once.
    pub required: bool,
    /// A match is an alert that names the device.
    pub alert: bool,
    /// Largest loss of entries, per cent, from one copy to the next.
    pub max_shrink: u8,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FeedSource {
    File {
        path: PathBuf,
        trust: FeedTrust,
    },
    Https {
        /// `https://…`
        url: String,
        trust: FeedTrust,
        /// PEM file of the server's CA; `None`: the system's roots.
        authority: Option<PathBuf>,
        refresh: Duration,
    },
}

/// Why the content of a feed is believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FeedTrust {
    /// Base64 of a minisign public key; the signature lies beside the list, `.minisig`.
    Minisign(String),
    /// SHA-256 of the content.
    Sha256([u8; 32]),
    /// Written out by the administrator; for files the default.
    Unsigned,
}

/// Where the signature of a list lies.
pub fn signature_of(list: &Path) -> PathBuf {
    let mut name = list.as_os_str().to_owned();
    name.push(".minisig");
    name.into()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeedFormat {
    Hosts,
    Plain,
    Adguard,
    Rpz,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeedEffect {
    Block,
    /// Its names lose the categories that blocking feeds give them.
    Allow,
}

/// Proxy auto-configuration files.
#[derive(Clone, Debug)]
pub struct Pac {
    /// Served by the ingress listener, without a client certificate.
    pub host: String,
    pub files: Vec<PacFile>,
}

/// One scope of breakout, usually for one group of people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PacFile {
    /// `/<name>.pac`
    pub name: String,
    /// `HTTPS proxy.corp.example:8443`, in order of preference. Never empty.
    pub proxies: Vec<String>,
    pub proxied: PacScope,
    /// Names that never go through the gateway.
    pub direct: Vec<DomainPattern>,
    pub elsewhere: PacElsewhere,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PacScope {
    Everything,
    /// Never empty.
    Only(Vec<DomainPattern>),
}

/// Where everything else goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PacElsewhere {
    /// To the gateway, which decides, records and explains.
    Gateway,
    Direct,
    /// `PROXY host:port` or `HTTPS host:port`: the company's other way out.
    Proxy(String),
}

/// As it is written in the configuration.
impl fmt::Display for PacElsewhere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gateway => "gateway",
            Self::Direct => "direct",
            Self::Proxy(proxy) => proxy,
        })
    }
}
