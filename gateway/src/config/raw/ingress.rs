//! `[ingress]` and `[devices]`: the door, and who may knock.

use std::net::SocketAddr;
use std::time::Duration;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::defaults;
use crate::config::text::{
    At, FilePath, HostPattern, Size, Text, Vocabulary as _, Word, duration_text, size_text,
};
use crate::config::{ClientCertificateMode, TlsProfile};

/// The reverse proxy's listener.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ingress {
    /// Addresses and ports to listen on, IPv4 and IPv6 separately.
    #[schemars(required, extend("minItems" = 1))]
    pub listen: Option<Vec<Text<SocketAddr>>>,
    /// Port that browsers use, where something in front of the gateway forwards it. Not written: that of the first address
    /// of `listen`.
    #[schemars(extend("minimum" = 1, "maximum" = 65535))]
    pub public_port: Option<u16>,
    /// CRYPTREC profile: which TLS versions, suites, groups and key strengths are accepted. `cryptrec-high` shuts out
    /// clients that only speak TLS 1.2.
    #[schemars(extend("default" = defaults::TLS_PROFILE.word()))]
    pub tls_profile: Option<Text<Word<TlsProfile>>>,
    /// Offer X25519MLKEM768, which keeps recorded traffic safe from later quantum computers. Off in `cryptrec-high`,
    /// whose list does not have it; turn it off elsewhere only for a middlebox that fails on large handshakes.
    #[schemars(extend("default" = defaults::HYBRID_KEY_EXCHANGE))]
    pub hybrid_key_exchange: Option<At<bool>>,
    /// Whether a device certificate is asked for on hosts that no `[[ingress.client_certificate]]` names.
    #[schemars(extend("default" = defaults::CLIENT_CERTIFICATES.word()))]
    pub client_certificates: Option<Text<Word<ClientCertificateMode>>>,
    /// Server certificates, chosen by the name the client asks for. A client that names none is served only while there
    /// is exactly one.
    #[schemars(required, extend("minItems" = 1))]
    pub certificate: Option<Vec<CertificateFiles>>,
    /// Other rules for single hosts; the first that names the host counts.
    pub client_certificate: Option<Vec<ClientCertificateRule>>,
    /// Address ranges of load balancers that speak the PROXY protocol (v1 or v2): from them the header is required and
    /// believed. Empty: not spoken.
    #[schemars(extend("default" = ([] as [&str; 0])))]
    pub proxy_protocol_from: Option<Vec<Text<IpNet>>>,
    /// Address ranges of HTTP proxies in front of us whose `Forwarded` and `X-Forwarded-*` are believed. Empty: nobody;
    /// the headers of everybody else are removed.
    #[schemars(extend("default" = ([] as [&str; 0])))]
    pub trusted_forwarders: Option<Vec<Text<IpNet>>>,
    /// Bounds on what one client may send or hold.
    pub bounds: Option<Bounds>,
}

/// A certificate chain and its private key.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CertificateFiles {
    /// PEM file: the certificate, then the intermediates.
    #[schemars(required)]
    pub chain: Option<Text<FilePath>>,
    /// PEM file with the private key, readable by the gateway only.
    #[schemars(required)]
    pub key: Option<Text<FilePath>>,
}

/// What the handshake asks of clients on some hosts.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClientCertificateRule {
    /// Host names, or `*.suffix` for one label below a name.
    #[schemars(required, extend("minItems" = 1))]
    pub hosts: Option<Vec<Text<HostPattern>>>,
    /// Whether a device certificate is asked for on these hosts.
    #[schemars(required)]
    pub mode: Option<Text<Word<ClientCertificateMode>>>,
}

/// Bounds per connection, request and address.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Bounds {
    /// Connections at once, all clients together. About 30 KiB of memory each.
    #[schemars(extend("default" = defaults::CONNECTIONS, "minimum" = 1, "maximum" = 1_000_000))]
    pub connections: Option<usize>,
    /// Connections at once from one address. Raise it for a large office behind one address.
    #[schemars(extend("default" = defaults::CONNECTIONS_PER_ADDRESS, "minimum" = 1, "maximum" = 1_000_000))]
    pub connections_per_address: Option<usize>,
    /// Unfinished TLS handshakes at once from one address.
    #[schemars(extend("default" = defaults::HANDSHAKES_PER_ADDRESS, "minimum" = 1, "maximum" = 1_000_000))]
    pub handshakes_per_address: Option<usize>,
    /// Longest time for a TLS handshake. Raise it for satellite links.
    #[schemars(extend("default" = duration_text(defaults::HANDSHAKE_TIMEOUT), "x-least" = "100ms", "x-most" = "2m"))]
    pub handshake_timeout: Option<Text<Duration>>,
    /// Longest time from the first to the last byte of a request head.
    #[schemars(extend("default" = duration_text(defaults::HEADER_TIMEOUT), "x-least" = "100ms", "x-most" = "5m"))]
    pub header_timeout: Option<Text<Duration>>,
    /// Largest request head; more is answered with 431.
    #[schemars(extend("default" = size_text(defaults::HEADER_BYTES), "x-least" = "8KiB", "x-most" = "1MiB"))]
    pub header_bytes: Option<Text<Size>>,
    /// Most fields in a request head; more is answered with 431.
    #[schemars(extend("default" = defaults::HEADER_COUNT, "minimum" = 16, "maximum" = 1000))]
    pub header_count: Option<usize>,
    /// Requests at once on one HTTP/2 connection.
    #[schemars(extend("default" = defaults::CONCURRENT_STREAMS, "minimum" = 1, "maximum" = 10_000))]
    pub concurrent_streams: Option<u32>,
    /// A connection without a request for this long is closed.
    #[schemars(extend("default" = duration_text(defaults::KEEP_ALIVE), "x-least" = "1s", "x-most" = "1h"))]
    pub keep_alive: Option<Text<Duration>>,
    /// On shutdown, how long requests in flight may take to finish. Keep it below what the service manager grants.
    #[schemars(extend("default" = duration_text(defaults::DRAIN), "x-least" = "0s", "x-most" = "1h"))]
    pub drain: Option<Text<Duration>>,
}

/// Who issues device certificates, which are revoked, and which devices exist.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Devices {
    /// PEM files of the certificate authorities that issue device certificates.
    #[schemars(required, extend("minItems" = 1))]
    pub authorities: Option<Vec<Text<FilePath>>>,
    /// Certificate revocation lists, PEM or DER. Read anew when they change.
    #[schemars(extend("default" = ([] as [&str; 0])))]
    pub revocation_lists: Option<Vec<Text<FilePath>>>,
    /// Refuse all certificates of an authority whose revocation list is past its `nextUpdate`. Turn it off only where
    /// the list is late more often than devices are lost.
    #[schemars(extend("default" = defaults::REFUSE_ON_EXPIRED_LIST))]
    pub refuse_on_expired_list: Option<bool>,
    /// The device inventory, `.toml` or `.csv`. A device that is not in it has no rights.
    #[schemars(required)]
    pub inventory: Option<Text<FilePath>>,
    /// How long a posture observation counts that names no age of its own.
    #[schemars(extend("default" = duration_text(defaults::POSTURE_MAX_AGE), "x-least" = "1s", "x-most" = "365d"))]
    pub posture_max_age: Option<Text<Duration>>,
}
