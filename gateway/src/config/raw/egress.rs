//! `[egress]`: the second door, what is known of destinations, and how programs find it.

use std::net::SocketAddr;
use std::time::Duration;

use ipnet::IpNet;
use masugata_policy::Level;
use schemars::{JsonSchema, Schema};
use serde::Deserialize;
use serde_json::Value;

use super::{Bounds, Require, Timeouts};
use crate::config::defaults::egress as defaults;
use crate::config::egress::{
    CredentialWay, DomainPattern, Ech, FeedEffect, FeedFormat, Mode, PacElsewhere, ResolverMode,
};
use crate::config::text::{
    At, Endpoint, FeedUrl, FilePath, HostName, MinisignKey, Name, PacProxy, PlainText, RequestPath,
    Sha256, Size, Text, Vocabulary as _, Word, duration_text, size_text,
};
use crate::config::{ClientCertificateMode, defaults as common};

/// The forward proxy: the way of the company's devices to the Internet. Not written: there is none.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Egress {
    /// Addresses and ports to listen on, IPv4 and IPv6 separately. Changes need a restart.
    #[schemars(required, extend("minItems" = 1))]
    pub listen: Option<Vec<Text<SocketAddr>>>,
    /// The host name that clients write as their proxy. A certificate of `[[ingress.certificate]]` must have it; no app may.
    #[schemars(required)]
    pub name: Option<Text<HostName>>,
    /// Whether the handshake ends without a device certificate. `off` is not accepted: every decision needs a device.
    #[schemars(extend("default" = common::CLIENT_CERTIFICATES.word()))]
    pub client_certificates: Option<Text<Word<ClientCertificateMode>>>,
    /// Ways to say who the user is that are accepted at all. Which of them is enough for a destination is policy
    /// (`context.authentication.credential`). Not written: all, passwords only with a `password_key`.
    #[schemars(extend("default" = ["owner", "token", "password"], "minItems" = 1))]
    pub credentials: Option<Vec<Text<Word<CredentialWay>>>>,
    /// What must hold before any policy is asked. Policies can only demand more.
    #[schemars(transform = one_factor)]
    pub require: Option<Require>,
    /// What happens to destinations that no policy permits. Begin with `observe` to see in the record what people use.
    #[schemars(extend("default" = defaults::MODE.word()))]
    pub mode: Option<Text<Word<Mode>>>,
    /// Ports that every destination may be reached on; a service may have more.
    #[schemars(extend("default" = defaults::PORTS, "minItems" = 1), inner(range(min = 1, max = 65535)))]
    pub ports: Option<Vec<u16>>,
    /// Ports on which a tunnel must begin with a TLS ClientHello for the host that was asked for. Empty: nowhere, and
    /// what is in the tunnels is anybody's guess.
    #[schemars(extend("default" = defaults::TLS_PORTS), inner(range(min = 1, max = 65535)))]
    pub tls_ports: Option<Vec<u16>>,
    /// Whether the host in a ClientHello may be hidden (encrypted ClientHello, RFC 9849). `allow` means that the name
    /// inside is believed to be the one that was asked for.
    #[schemars(extend("default" = defaults::ECH.word()))]
    pub ech: Option<Text<Word<Ech>>>,
    /// How long a tunnel to one of `tls_ports` may take to say its ClientHello.
    #[schemars(extend("default" = duration_text(defaults::HELLO_TIMEOUT), "x-least" = "1s", "x-most" = "1m"))]
    pub hello_timeout: Option<Text<Duration>>,
    /// How often every open tunnel is decided again when nothing has changed. A reload or a new list asks at once.
    #[schemars(extend("default" = duration_text(defaults::RECHECK), "x-least" = "1s", "x-most" = "30s"))]
    pub recheck: Option<Text<Duration>>,
    /// How long the parts of a tunnel or a plain request may take.
    #[schemars(transform = long_tunnels)]
    pub timeouts: Option<Timeouts>,
    /// Tunnels at once, all devices together.
    #[schemars(extend("default" = defaults::TUNNELS, "minimum" = 1, "maximum" = 1_000_000))]
    pub tunnels: Option<usize>,
    /// Tunnels at once of one device. A browser holds fewer than 200.
    #[schemars(extend("default" = defaults::TUNNELS_PER_DEVICE, "minimum" = 1, "maximum" = 1_000_000))]
    pub tunnels_per_device: Option<At<usize>>,
    /// Public addresses of this gateway (NAT): no destination, on any port, because that would be a loop.
    #[schemars(extend("default" = ([] as [&str; 0])))]
    pub own_addresses: Option<Vec<Text<IpNet>>>,
    /// File with 32 random bytes in Base64 that seal proxy passwords, the same on all gateways (`head -c 32 /dev/urandom
    /// | base64`). Not written: no passwords.
    pub password_key: Option<Text<FilePath>>,
    /// How long a proxy password is good.
    #[schemars(extend("default" = duration_text(defaults::PASSWORD_LIFETIME), "x-least" = "5m", "x-most" = "24h"))]
    pub password_lifetime: Option<Text<Duration>>,
    /// Host on which a device sees what was refused to it and what to do; browsers show nothing of a refused tunnel. Served
    /// by the ingress listener, where its client certificate is required. Not written: no such page.
    pub why_host: Option<Text<HostName>>,
    /// Refusals kept for each device, about 200 bytes each.
    #[schemars(extend("default" = defaults::REFUSALS_PER_DEVICE, "minimum" = 0, "maximum" = 100))]
    pub refusals_per_device: Option<usize>,
    /// Bounds on what one client may send or hold at this door.
    #[schemars(transform = wide_bounds)]
    pub bounds: Option<Bounds>,
    /// Who turns names into addresses.
    pub resolver: Option<Resolver>,
    /// Names with fixed addresses, asked before the resolver; one table each.
    pub address: Option<Vec<StaticName>>,
    /// Destinations that may lie in private and other refused address ranges; one table each. Host, range and port must
    /// all match. Without one, no private address is ever dialled.
    pub reach: Option<Vec<Reach>>,
    /// Cloud services that are known by name, approved or not; one table each.
    pub service: Option<Vec<CloudService>>,
    /// Lists of domains and addresses; one table each. What is in them is for policies to judge
    /// (`resource in Masugata::Category::"c2"`).
    pub feed: Option<Vec<Feed>>,
    /// Directory where the last good copies of fetched lists are kept. Not written: no list may have a `url`.
    pub lists_directory: Option<Text<FilePath>>,
    /// Domains whose look-alikes are found (category `look-alike`), beside those of `[[egress.service]]` and common brands.
    #[schemars(extend("default" = ([] as [&str; 0])))]
    pub protect: Option<Vec<Text<HostName>>>,
    /// Proxy auto-configuration files.
    pub pac: Option<Pac>,
}

/// Who turns names into addresses.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Resolver {
    /// Which protocol.
    #[schemars(extend("default" = defaults::RESOLVER_MODE.word()))]
    pub mode: Option<Text<Word<ResolverMode>>>,
    /// Addresses of the servers for `tls` and `https`, with a port if it is not 853 or 443. Not written: for `system`.
    #[schemars(extend("minItems" = 1))]
    pub servers: Option<Vec<Text<Endpoint>>>,
    /// The name in the servers' certificates. Not written: for `system`.
    pub server_name: Option<Text<HostName>>,
    /// Path of the questions with `https`.
    #[schemars(extend("default" = defaults::RESOLVER_PATH))]
    pub path: Option<Text<RequestPath>>,
    /// PEM file of the certificate authority of the servers. Not written: the system's roots.
    pub authority: Option<Text<FilePath>>,
    /// Longest time for one name.
    #[schemars(extend("default" = duration_text(defaults::RESOLVER_TIMEOUT), "x-least" = "100ms", "x-most" = "1m"))]
    pub timeout: Option<Text<Duration>>,
    /// Ask for IPv6 addresses too. Turn it off where the gateway has no way to them.
    #[schemars(extend("default" = defaults::RESOLVER_IPV6))]
    pub ipv6: Option<bool>,
}

/// A name with fixed addresses.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StaticName {
    /// The host name.
    #[schemars(required)]
    pub host: Option<Text<HostName>>,
    /// IP addresses; a port after one replaces the port that was asked for.
    #[schemars(required, extend("minItems" = 1))]
    pub addresses: Option<Vec<Text<Endpoint>>>,
}

/// Destinations that may lie in refused address ranges.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Reach {
    /// Hosts: `erp.corp.example`, or `.corp.example` for the name and everything below.
    #[schemars(required, extend("minItems" = 1))]
    pub hosts: Option<Vec<Text<DomainPattern>>>,
    /// Address ranges in which they may lie.
    #[schemars(required, extend("minItems" = 1))]
    pub ranges: Option<Vec<Text<IpNet>>>,
    /// Ports.
    #[schemars(required, extend("minItems" = 1), inner(range(min = 1, max = 65535)))]
    pub ports: Option<Vec<u16>>,
}

/// A cloud service that is known by name.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CloudService {
    /// The name in policies (`Masugata::CloudService::"box-corp"`) and records.
    #[schemars(required)]
    pub name: Option<Text<Name>>,
    /// Its hosts: `corp.app.box.com`, or `.boxcdn.net` for the name and everything below. The most specific of all
    /// services wins.
    #[schemars(required, extend("minItems" = 1))]
    pub hosts: Option<Vec<Text<DomainPattern>>>,
    /// The highest level of information that may be kept there. Not written: it has none, and no rule by level reaches it.
    pub level: Option<Text<Word<Level>>>,
    /// The company's tenant there, for policies (`resource.tenant`). Not written: unknown.
    pub tenant: Option<Text<PlainText>>,
    /// App groups that it belongs to, the same as those of apps.
    #[schemars(extend("default" = ([] as [&str; 0])))]
    pub groups: Option<Vec<Text<Name>>>,
    /// Categories that it has whatever the lists say.
    #[schemars(extend("default" = ([] as [&str; 0])))]
    pub categories: Option<Vec<Text<Name>>>,
    /// Ports beside `egress.ports`.
    #[schemars(extend("default" = ([] as [u16; 0])), inner(range(min = 1, max = 65535)))]
    pub ports: Option<Vec<u16>>,
}

/// A list of domains and addresses, from a file or over https.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Feed {
    /// The name in records.
    #[schemars(required)]
    pub name: Option<Text<Name>>,
    /// File to read, again whenever it changes. Not written: there is a `url`.
    pub file: Option<Text<FilePath>>,
    /// https URL to fetch. Redirects are not followed. Not written: there is a `file`.
    pub url: Option<Text<FeedUrl>>,
    /// How the list is written.
    #[schemars(required)]
    pub format: Option<Text<Word<FeedFormat>>>,
    /// What its entries are, for policies. Not written: only with `effect = "allow"`.
    #[schemars(extend("minItems" = 1))]
    pub categories: Option<Vec<Text<Name>>>,
    /// What an entry does.
    #[schemars(extend("default" = defaults::FEED_EFFECT.word()))]
    pub effect: Option<Text<Word<FeedEffect>>>,
    /// Base64 of the minisign public key by which the list is signed; the signature lies beside it,
    /// `.minisig`. Not written: something else vouches for it.
    pub minisign_key: Option<Text<MinisignKey>>,
    /// SHA-256 of the list in hexadecimal, for one that never changes. Not written: something else vouches for
    /// it.
    pub sha256: Option<Text<Sha256>>,
    /// Accept a list from a `url` that nothing but the server's certificate vouches for.
    #[schemars(extend("default" = false))]
    pub unsigned: Option<At<bool>>,
    /// PEM file of the certificate authority of the server. Not written: the system's roots.
    pub authority: Option<Text<FilePath>>,
    /// How often a `url` is asked for something newer.
    #[schemars(extend("default" = duration_text(defaults::FEED_REFRESH), "x-least" = "5m", "x-most" = "7d"))]
    pub refresh: Option<Text<Duration>>,
    /// A larger list is refused, and the last good copy stays.
    #[schemars(extend("default" = size_text(defaults::FEED_BYTES), "x-least" = "1KiB", "x-most" = "4GiB"))]
    pub max_bytes: Option<Text<Size>>,
    /// Let nothing through this door until the list has been loaded once.
    #[schemars(extend("default" = defaults::FEED_REQUIRED))]
    pub required: Option<bool>,
    /// Raise an alert that names the device when one of its entries is asked for.
    #[schemars(extend("default" = false))]
    pub alert: Option<bool>,
    /// Largest loss of entries, per cent, from one copy to the next; a list that shrinks more is refused.
    #[schemars(extend("default" = defaults::FEED_SHRINK, "minimum" = 0, "maximum" = 100))]
    pub max_shrink: Option<u8>,
}

/// Proxy auto-configuration files.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pac {
    /// Host that serves them, on the ingress listener and without a client certificate: programs fetch them before they
    /// can prove anything.
    #[schemars(required)]
    pub host: Option<Text<HostName>>,
    /// This gateway, as PAC files name proxies, in order of preference; `PROXY` only on loopback, for `masugata connect`.
    /// Not written: `HTTPS <egress.name>:<port of egress.listen>`.
    #[schemars(extend("minItems" = 1))]
    pub proxies: Option<Vec<Text<PacProxy>>>,
    /// The files, usually one for each group of people; one table each.
    #[schemars(required, extend("minItems" = 1))]
    pub file: Option<Vec<PacFile>>,
}

/// One proxy auto-configuration file: exactly the agreed scope of breakout.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PacFile {
    /// Served as `/<name>.pac`.
    #[schemars(required)]
    pub name: Option<Text<Name>>,
    /// For this file, `["PROXY 127.0.0.1:3128"]` where programs go through `masugata connect`. Not written: those of
    /// `[egress.pac]`.
    #[schemars(extend("minItems" = 1))]
    pub proxies: Option<Vec<Text<PacProxy>>>,
    /// Destinations that go through the gateway, and never past it: `box.com`, or `.box.com` for the name and everything
    /// below. Not written: `everything = true` is.
    #[schemars(extend("minItems" = 1))]
    pub proxied: Option<Vec<Text<DomainPattern>>>,
    /// Everything goes through the gateway.
    #[schemars(extend("default" = false))]
    pub everything: Option<At<bool>>,
    /// Names that are reached without any proxy, such as hosts of the internal network. The most specific of `proxied`
    /// and `direct` wins.
    #[schemars(extend("default" = ([] as [&str; 0])))]
    pub direct: Option<Vec<Text<DomainPattern>>>,
    /// Where everything else goes: `gateway`, `direct`, or the company's other proxy.
    #[schemars(extend("default" = "gateway"))]
    pub elsewhere: Option<Text<PacElsewhere>>,
}

/// `[app.require]` with the defaults of this door.
fn one_factor(schema: &mut Schema) {
    change(schema, "multi_factor", |key| {
        key.insert("default".into(), defaults::MULTI_FACTOR.into());
        key.insert(
            "description".into(),
            "Two different kinds of factors. Off here, because the certificate of a device says who its owner is with \
             one; policies ask for more where it matters."
                .into(),
        );
    });
}

/// `[app.timeouts]` with the defaults of this door.
fn long_tunnels(schema: &mut Schema) {
    let times = defaults::TIMEOUTS;
    let mut of = |name, duration| {
        change(schema, name, |key| {
            key.insert("default".into(), duration_text(duration).into());
        });
    };
    of("connect", times.connect);
    of("response_header", times.response_header);
    of("idle", times.idle);
    of("total", times.total.unwrap_or_default());
}

/// `[ingress.bounds]` with the defaults of this door.
fn wide_bounds(schema: &mut Schema) {
    let bounds = defaults::BOUNDS;
    let mut of = |name, value: Value| {
        change(schema, name, |key| {
            key.insert("default".into(), value);
        });
    };
    of("connections", bounds.connections.into());
    of(
        "connections_per_address",
        bounds.connections_per_address.into(),
    );
    of("concurrent_streams", bounds.concurrent_streams.into());
    of("keep_alive", duration_text(bounds.keep_alive).into());
}

/// Changes what is said of one key of a table.
fn change(schema: &mut Schema, name: &str, with: impl FnOnce(&mut serde_json::Map<String, Value>)) {
    let Some(object) = schema.as_object_mut() else {
        return;
    };
    let direct = object.contains_key("properties");
    let table = if direct {
        Some(object)
    } else {
        object
            .get_mut("anyOf")
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
            .filter_map(Value::as_object_mut)
            .find(|one| one.contains_key("properties"))
    };
    let key = table
        .and_then(|table| table.get_mut("properties")?.get_mut(name))
        .and_then(Value::as_object_mut);
    if let Some(key) = key {
        with(key);
    }
}
