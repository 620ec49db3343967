//! What the configuration means: validated, with every default filled in and every path made absolute.
//!
//! `raw` mirrors the file and documents it, `text` knows how values are written, `shape` checks the one against the
//! other, `load` turns it into this and reports all problems at once, `defaults` holds every number with its unit and
//! reason, `schema` makes the editors' schema and the reference, `redacted` shows what runs. Nothing here is an `Option` that has a default, and no string here was meant to be a URL.

pub mod defaults;
pub mod egress;
pub mod error;
mod hosts;
pub mod load;
mod nearest;
pub mod raw;
mod redacted;
mod report;
mod schema;
mod shape;
pub mod sign_in;
pub mod text;

pub use self::egress::Egress;
pub use self::hosts::host_matches;
pub use self::load::{Examined, Loaded, Parsed};
pub(crate) use self::load::{fit, parse_checked, read_text};
pub(crate) use self::nearest::suggestion;
pub use self::redacted::redacted;
pub(crate) use self::report::Report;
pub(crate) use self::schema::INVENTORY as INVENTORY_SCHEMA;
pub use self::schema::{reference, schema};
pub(crate) use self::shape::describe;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::header::{HeaderName, HeaderValue};
use http::uri::{Authority, Scheme};
use http::{Method, StatusCode};
use ipnet::IpNet;
use masugata_policy::{Level, PostureRequirement};

/// A whole configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file it came from; relative paths in it are relative to its directory.
    pub path: PathBuf,
    /// The first door.
    pub ingress: Ingress,
    /// The second door; `None`: there is none.
    pub egress: Option<Egress>,
    /// Who issues device certificates, which are revoked, and which devices exist.
    pub devices: Devices,
    /// Who vouches for users.
    pub issuers: Vec<Issuer>,
    /// Programs that sign in with a certificate alone.
    pub services: Vec<ServiceAccount>,
    /// What is protected.
    pub apps: Vec<App>,
    /// Directories or files of Cedar policies, in the order written.
    pub policies: Vec<PathBuf>,
    /// Named address ranges, `context.network.names` in policies.
    pub networks: Vec<Network>,
    /// The company's time zone (IANA name), for `context.time`.
    pub time_zone: jiff::tz::TimeZone,
    /// Rate limits, all of which apply.
    pub limits: Vec<Limit>,
    /// What repeated failed credentials lead to (measure H-6).
    pub lockout: Lockout,
    /// The record.
    pub audit: Audit,
    /// The administrators' listener.
    pub admin: Admin,
    /// The signed assertion sent upstream.
    pub assertion: Assertion,
    /// The pages people see.
    pub pages: Pages,
    /// Process-wide matters.
    pub runtime: Runtime,
    /// Directory for what must outlive a restart (sessions, accounts, keys); `Some` whenever people can sign in.
    pub store: Option<PathBuf>,
    /// Sign-in with a browser; `None`: tokens and certificates only.
    pub sign_in: Option<sign_in::SignIn>,
    /// The built-in identity provider; `None`: off.
    pub identity_provider: Option<sign_in::IdentityProvider>,
    /// Accounts that another system provisions.
    pub scim: Option<sign_in::Scim>,
}

/// The reverse proxy's listener.
#[derive(Clone, Debug)]
pub struct Ingress {
    /// Never empty.
    pub listen: Vec<SocketAddr>,
    /// Which TLS versions, suites, groups and key strengths are accepted.
    pub tls_profile: TlsProfile,
    /// X25519MLKEM768; always false in the high profile.
    pub hybrid_key_exchange: bool,
    /// Server certificates; chosen by SNI from the names in them. Never empty.
    pub certificates: Vec<CertificateFiles>,
    /// Whether a device certificate is asked for, by host name; the first match counts. `hosts` patterns are exact
    /// names or `*.suffix` (one label).
    pub client_certificates: Vec<ClientCertificateRule>,
    /// For hosts that no rule names.
    pub client_certificate_default: ClientCertificateMode,
    /// Peers whose `PROXY` protocol header (v1 or v2) is required and believed; from others it is refused. Empty: not spoken.
    pub proxy_protocol_from: Vec<IpNet>,
    /// Peers whose `Forwarded` and `X-Forwarded-*` are believed. Empty: nobody.
    pub trusted_forwarders: Vec<IpNet>,
    /// Bounds on what one client may send or hold.
    pub bounds: Bounds,
    /// The port that clients use, where something in front of us forwards it; `None`: that of the first listener.
    pub public_port: Option<u16>,
}

/// CRYPTREC TLS guideline profiles; the tables are in `masugata_certs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsProfile {
    /// 推奨セキュリティ型: TLS 1.3 and 1.2.
    CryptrecRecommended,
    /// 高セキュリティ型: TLS 1.3 only, 256 bit first.
    CryptrecHigh,
}

/// A PEM chain and its PEM key.
#[derive(Clone, Debug)]
pub struct CertificateFiles {
    pub chain: PathBuf,
    pub key: PathBuf,
}

/// What the TLS handshake asks of a client for one host name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClientCertificateMode {
    /// No certificate, no connection.
    Required,
    /// Asked for; without one the request is refused with a page that says so.
    Optional,
    /// Not asked for; only built-in public endpoints answer.
    Off,
}

#[derive(Clone, Debug)]
pub struct ClientCertificateRule {
    pub hosts: Vec<String>,
    pub mode: ClientCertificateMode,
}

/// Bounds per connection, request and address. Counts are numbers, sizes are bytes.
#[derive(Clone, Debug)]
pub struct Bounds {
    pub connections: usize,
    pub connections_per_address: usize,
    pub handshakes_per_address: usize,
    pub handshake_timeout: Duration,
    pub header_timeout: Duration,
    pub header_bytes: usize,
    pub header_count: usize,
    pub concurrent_streams: u32,
    /// A connection without a request for this long is closed.
    pub keep_alive: Duration,
    /// On shutdown, how long requests in flight may take to finish.
    pub drain: Duration,
}

#[derive(Clone, Debug)]
pub struct Devices {
    /// PEM files of CAs that issue device certificates. Never empty.
    pub authorities: Vec<PathBuf>,
    /// PEM or DER CRL files.
    pub revocation_lists: Vec<PathBuf>,
    /// Refuse every certificate of a CA whose CRL is past its `nextUpdate` (true), or go on with the old list and warn (false).
    pub refuse_on_expired_list: bool,
    /// The inventory, `.toml` or `.csv`.
    pub inventory: PathBuf,
    /// For observations in the inventory that name no age of their own.
    pub posture_max_age: Duration,
}

/// An OpenID provider or OAuth authorization server whose tokens are accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issuer {
    /// Short name: first half of principal ids, `principal.issuer` in policies.
    pub name: String,
    /// Compared byte for byte with `iss` and with discovery.
    pub issuer: String,
    /// At least one must be in `aud` of an access token. Empty only with `sign_in`: no access token is accepted.
    pub audiences: Vec<String>,
    /// Allowed signature algorithms; asymmetric only. Never empty.
    pub algorithms: Vec<jsonwebtoken::Algorithm>,
    pub keys: KeySource,
    /// Allowed `typ` headers, lower case, without `application/`. Default `at+jwt`.
    pub token_types: Vec<String>,
    pub claims: ClaimNames,
    /// `acr` values that count as multi-factor.
    pub acr_multi_factor: Vec<String>,
    /// `acr` values that count as phishing-resistant (and so as multi-factor).
    pub acr_phishing_resistant: Vec<String>,
    /// The provider enforces MFA for everybody without saying so in tokens. Recorded in every event.
    pub multi_factor_out_of_band: bool,
    /// Clock difference tolerated in `exp`, `nbf`, `iat`.
    pub leeway: Duration,
    /// Longest accepted `exp - iat`; a token that lives longer is refused.
    pub max_token_lifetime: Duration,
    /// How people sign in there with a browser; `None`: access tokens only.
    pub sign_in: Option<sign_in::Client>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// A JWKS file, watched.
    File(PathBuf),
    /// OIDC discovery or RFC 8414 metadata below the issuer, over verified TLS.
    Discovery {
        /// PEM file of the CA of the provider; `None`: the system's roots.
        authority: Option<PathBuf>,
        timeout: Duration,
        /// Keys are fetched anew after this long.
        refresh: Duration,
        /// The last good copy serves at most this long after the provider stopped answering.
        max_age: Duration,
    },
    /// The built-in provider's own, asked without leaving the process.
    BuiltIn,
}

/// Which claims mean what; dotted paths reach into objects (`realm_access.roles`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimNames {
    /// Identifies the person within the issuer. Default `sub`.
    pub user: String,
    /// Where the user is an `email`, tokens that do not say that it is verified are refused.
    pub require_verified_email: bool,
    pub name: String,
    pub groups: String,
    pub roles: String,
    /// Put before every group and role of this issuer, so that a partner's `finance` is not ours.
    pub group_prefix: String,
}

/// A program that is known by its client certificate alone.
#[derive(Clone, Debug)]
pub struct ServiceAccount {
    /// `Masugata::Service::"<name>"`.
    pub name: String,
    /// The inventory id of the device it runs on.
    pub device: String,
    pub groups: Vec<String>,
}

#[derive(Clone, Debug)]
pub struct Network {
    pub name: String,
    pub ranges: Vec<IpNet>,
}

/// One protected application and how requests reach it.
#[derive(Clone, Debug)]
pub struct App {
    pub name: String,
    /// Mandatory in the file: an unlabelled app does not load (E-1).
    pub level: Level,
    pub groups: Vec<String>,
    /// Exact names or `*.suffix`, lower case. Never empty.
    pub hosts: Vec<String>,
    /// Starts with `/`; the longest match wins, on segment boundaries.
    pub path_prefix: String,
    pub requirements: Requirements,
    pub backend: Backend,
    pub request_headers: HeaderEdits,
    pub response_headers: HeaderEdits,
    /// Largest request body, bytes; `None`: unlimited (written `"unlimited"`).
    pub max_body_bytes: Option<u64>,
    pub timeouts: Timeouts,
    /// WebSocket and other upgrades.
    pub upgrades: bool,
    /// Name of the upstream audience in the assertion; default the app's name.
    pub audience: String,
    /// Forward the user's own `Authorization` header too. Default false: the app gets the assertion.
    pub forward_authorization: bool,
}

/// What must hold before any policy is asked; policies can only demand more.
#[derive(Clone, Debug)]
pub struct Requirements {
    pub multi_factor: bool,
    pub phishing_resistant: bool,
    /// Longest time since the person last proved who they are.
    pub max_authentication_age: Option<Duration>,
    /// `acr` values to name in an RFC 9470 challenge, in order of preference.
    pub acr_values: Vec<String>,
    /// Only tokens with a matching `cnf` (RFC 8705).
    pub certificate_bound: bool,
    pub posture: Vec<PostureRequirement>,
    /// Only these issuers; empty: all that are configured.
    pub issuers: Vec<String>,
}

#[derive(Clone, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "there are as many as apps, and nearly all are upstreams"
)]
pub enum Backend {
    Proxy(Upstream),
    Redirect {
        status: StatusCode,
        location: String,
    },
    Fixed {
        status: StatusCode,
        content_type: HeaderValue,
        body: String,
    },
}

#[derive(Clone, Debug)]
pub struct Upstream {
    /// Never empty; all have the same scheme.
    pub servers: Vec<UpstreamServer>,
    pub protocol: UpstreamProtocol,
    pub tls: UpstreamTls,
    /// What the path prefix of the app becomes; `None`: unchanged.
    pub rewrite_prefix: Option<String>,
    pub host_header: HostHeader,
    pub health: Option<HealthCheck>,
    pub passive: PassiveHealth,
    /// How often a request may be sent again, and only when that is safe (RFC 9110 §9.2.2).
    pub retries: u8,
    /// Connections in use per server; more wait for up to the connect timeout.
    pub max_connections: usize,
    /// Idle connections kept per server.
    pub max_idle: usize,
    pub idle_timeout: Duration,
}

#[derive(Clone, Debug)]
pub struct UpstreamServer {
    /// `http` or `https`.
    pub scheme: Scheme,
    /// Host and port, always with a port.
    pub authority: Authority,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpstreamProtocol {
    /// h2 by ALPN over TLS, else HTTP/1.1.
    Auto,
    Http1,
    /// Over TLS, or with prior knowledge (h2c).
    Http2,
}

#[derive(Clone, Debug)]
pub struct UpstreamTls {
    /// PEM file; `None`: the system's roots.
    pub authority: Option<PathBuf>,
    pub client_certificate: Option<CertificateFiles>,
    /// Checked instead of the host in the URL, and sent as SNI.
    pub server_name: Option<String>,
    /// Written out, logged at start: the server's certificate is not checked, or http goes to another machine.
    pub insecure: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostHeader {
    /// The client's host. The default.
    Preserve,
    /// The upstream's authority.
    Upstream,
    Literal(HeaderValue),
}

#[derive(Clone, Debug)]
pub struct HealthCheck {
    pub path: String,
    pub interval: Duration,
    pub timeout: Duration,
    pub healthy_after: u32,
    pub unhealthy_after: u32,
    /// Inclusive.
    pub statuses: (u16, u16),
}

#[derive(Clone, Debug)]
pub struct PassiveHealth {
    /// Consecutive connection failures or 502, 503, 504 answers.
    pub failures: u32,
    pub ejection: Duration,
}

#[derive(Clone, Debug, Default)]
pub struct HeaderEdits {
    pub set: Vec<(HeaderName, HeaderValue)>,
    pub remove: Vec<HeaderName>,
}

#[derive(Clone, Debug)]
pub struct Timeouts {
    pub connect: Duration,
    /// From the last request byte sent to the response head.
    pub response_header: Duration,
    /// Without a byte in either direction; ends streams too.
    pub idle: Duration,
    /// Whole exchange, streams included; `None`: unlimited.
    pub total: Option<Duration>,
}

#[derive(Clone, Debug)]
pub struct Limit {
    pub name: String,
    /// What is counted together. Never empty.
    pub key: Vec<LimitKey>,
    /// Only these apps; empty: all.
    pub apps: Vec<String>,
    pub methods: Vec<Method>,
    pub requests: u32,
    pub period: Duration,
    /// How many may come at once; at least 1.
    pub burst: u32,
    pub mode: LimitMode,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LimitKey {
    Address,
    Device,
    Principal,
    App,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitMode {
    Enforce,
    /// Counted, recorded, let through.
    Observe,
}

#[derive(Clone, Debug)]
pub struct Lockout {
    /// Failures that cost nothing.
    pub free_failures: u32,
    /// Delay after the first failure beyond them; doubles with each.
    pub first_delay: Duration,
    pub max_delay: Duration,
    /// Failures after which the source is locked.
    pub lock_after: u32,
    pub lock: Duration,
    /// Failures older than this are forgotten.
    pub window: Duration,
}

#[derive(Clone, Debug)]
pub struct Audit {
    pub file: PathBuf,
    /// Records that may wait for the disk.
    pub queue: usize,
    pub on_overflow: OnOverflow,
    /// Flush to stable storage at most this often; zero: after each batch.
    pub sync_interval: Duration,
    /// Record the query string. Default false: queries carry secrets.
    pub query: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnOverflow {
    /// No record, no access: 503. The default.
    Refuse,
    /// Let through and count what was lost, in a record of its own once there is room.
    DropAndCount,
}

#[derive(Clone, Debug)]
pub struct Admin {
    /// Loopback unless `allow_remote = true` is written.
    pub listen: Option<SocketAddr>,
}

#[derive(Clone, Debug)]
pub struct Assertion {
    /// `iss` of the assertion.
    pub issuer: String,
    /// P-256 PKCS#8 PEM; `None`: made at start and kept in memory.
    pub key: Option<PathBuf>,
    /// At most 60 s.
    pub lifetime: Duration,
}

#[derive(Clone, Debug)]
pub struct Pages {
    /// Shown in page headers; default `Masugata`.
    pub organisation: String,
    /// Help desk: free text (telephone included), shown on every page.
    pub contact: Option<String>,
    /// Shown beside the name: SVG or PNG, at most 64 KiB.
    pub logo: Option<PathBuf>,
    /// `#rrggbb` of buttons and links; a shade that can be read is made of it for light and for dark.
    pub colour: Option<[u8; 3]>,
}

#[derive(Clone, Debug)]
pub struct Runtime {
    /// Worker threads; default one per core.
    pub workers: usize,
    /// Watch files and reload on change.
    pub watch: bool,
    pub log_format: LogFormat,
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub log_level: tracing::level_filters::LevelFilter,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}
