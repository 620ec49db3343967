//! `[[app]]`: what is protected, what it demands, and how requests reach it.

use std::collections::BTreeMap;
use std::time::Duration;

use masugata_policy::{Level, PostureAttribute};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::defaults;
use crate::config::text::{
    AcrValue, At, ContentType, EditedHeader, FilePath, HeaderText, HostPattern, Location, Name,
    PathPrefix, PlainText, RequestPath, SecretHeaderText, Size, StatusRange, Text, Unlimited,
    Vocabulary as _, Word, Written as _, duration_text, size_text,
};
use crate::config::{HostHeader, UpstreamProtocol, UpstreamServer};

use super::CertificateFiles;

/// One protected application. Exactly one of `upstream`, `redirect` and `response` says how it answers.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct App {
    /// The name in policies (`Masugata::App::"payroll"`), records and metrics.
    #[schemars(required)]
    pub name: Option<Text<Name>>,
    /// Level of the information in it. Always written: an app without a level does not load.
    #[schemars(required)]
    pub level: Option<Text<Word<Level>>>,
    /// App groups, which policies can name instead of the app.
    #[schemars(extend("default" = ([] as [&str; 0])))]
    pub groups: Option<Vec<Text<Name>>>,
    /// Host names, or `*.suffix` for one label below a name.
    #[schemars(required, extend("minItems" = 1))]
    pub hosts: Option<Vec<Text<HostPattern>>>,
    /// Only paths at or below this; of several apps on a host the longest prefix wins, on whole segments.
    #[schemars(extend("default" = defaults::PATH_PREFIX))]
    pub path_prefix: Option<Text<PathPrefix>>,
    /// What must hold before any policy is asked. Policies can only demand more.
    pub require: Option<Require>,
    /// The servers that requests are forwarded to.
    pub upstream: Option<Upstream>,
    /// Instead of an upstream: an answer that leads elsewhere.
    pub redirect: Option<Redirect>,
    /// Instead of an upstream: always the same answer.
    pub response: Option<Response>,
    /// Changes to the headers of requests, after ours are set.
    pub request_headers: Option<RequestHeaders>,
    /// Changes to the headers of responses.
    pub response_headers: Option<ResponseHeaders>,
    /// Largest request body, or `unlimited`; more is answered with 413.
    #[schemars(extend("default" = size_text(defaults::MAX_BODY)))]
    pub max_body: Option<Text<Unlimited<Size>>>,
    /// How long the parts of an exchange may take.
    pub timeouts: Option<Timeouts>,
    /// Permit WebSocket and other upgrades. Policies then decide on the action `connect`.
    #[schemars(extend("default" = defaults::UPGRADES))]
    pub upgrades: Option<bool>,
    /// `aud` of the assertion that the app receives. Not written: the app's name.
    pub audience: Option<Text<PlainText>>,
    /// Forward the user's own `Authorization` header too. Only for apps that cannot read the assertion: whoever holds
    /// the token can use it elsewhere.
    #[schemars(extend("default" = defaults::FORWARD_AUTHORIZATION))]
    pub forward_authorization: Option<bool>,
}

/// What must hold before any policy is asked.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Require {
    /// Two different kinds of factors. May be turned off for `public` and `internal` apps only.
    #[schemars(extend("default" = defaults::MULTI_FACTOR))]
    pub multi_factor: Option<At<bool>>,
    /// A factor that cannot be relayed by a false site, such as a passkey.
    #[schemars(extend("default" = false))]
    pub phishing_resistant: Option<bool>,
    /// Longest time since the person last proved who they are. Not written: as long as the token is valid.
    #[schemars(extend("x-least" = "1m", "x-most" = "365d"))]
    pub max_authentication_age: Option<Text<Duration>>,
    /// `acr` values that a challenge asks for (RFC 9470) when authentication is not strong or recent enough, in order of
    /// preference.
    #[schemars(extend("default" = ([] as [&str; 0])))]
    pub acr_values: Option<Vec<Text<AcrValue>>>,
    /// Only tokens that are bound to the device certificate (RFC 8705).
    #[schemars(extend("default" = false))]
    pub certificate_bound: Option<bool>,
    /// Posture attributes that must be known, fresh and good.
    #[schemars(extend("default" = ([] as [&str; 0])))]
    pub posture: Option<Vec<Text<Word<PostureAttribute>>>>,
    /// Longest age of those observations, where stricter than their own. Not written: only their own counts.
    #[schemars(extend("x-least" = "1s", "x-most" = "365d"))]
    pub posture_max_age: Option<Text<Duration>>,
    /// Longest age for single attributes of `posture`, by name, instead of `posture_max_age`.
    #[schemars(extend("propertyNames" = Word::<PostureAttribute>::schema()))]
    pub posture_max_ages: Option<BTreeMap<String, Text<Duration>>>,
    /// Only users of these issuers, by name. Not written: all that are configured.
    #[schemars(extend("minItems" = 1))]
    pub issuers: Option<Vec<Text<Name>>>,
}

/// The servers that requests are forwarded to.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Upstream {
    /// Servers, each scheme, host and port; all with the same scheme. The least loaded healthy one is chosen.
    #[schemars(required, extend("minItems" = 1))]
    pub servers: Option<Vec<Text<UpstreamServer>>>,
    /// HTTP version.
    #[schemars(extend("default" = defaults::UPSTREAM_PROTOCOL.word()))]
    pub protocol: Option<Text<Word<UpstreamProtocol>>>,
    /// Accept that nothing proves the servers to us: https whose certificate is not checked, or http to another
    /// machine. Logged at every start; without it both are refused.
    #[schemars(extend("default" = false))]
    pub insecure: Option<bool>,
    /// How TLS to the servers is verified.
    pub tls: Option<UpstreamTls>,
    /// What the app's `path_prefix` becomes. Not written: it stays.
    pub rewrite_prefix: Option<Text<PathPrefix>>,
    /// The `Host` that the servers see: `preserve` for the client's, `upstream` for their own, or a host name.
    #[schemars(extend("default" = "preserve"))]
    pub host_header: Option<Text<HostHeader>>,
    /// Active health checks. Not written: none; failing servers are still set aside (`passive`).
    pub health: Option<Health>,
    /// When a failing server is set aside.
    pub passive: Option<Passive>,
    /// How often a request is sent again, and only when that is safe (RFC 9110 §9.2.2).
    #[schemars(extend("default" = defaults::RETRIES, "minimum" = 0, "maximum" = 5))]
    pub retries: Option<u8>,
    /// Connections in use per server; more requests wait for up to the connect timeout.
    #[schemars(extend("default" = defaults::MAX_CONNECTIONS, "minimum" = 1, "maximum" = 100_000))]
    pub max_connections: Option<usize>,
    /// Idle connections kept per server.
    #[schemars(extend("default" = defaults::MAX_IDLE, "minimum" = 0, "maximum" = 100_000))]
    pub max_idle: Option<usize>,
    /// Idle connections are closed after this long. Keep it below the keep-alive of the servers.
    #[schemars(extend("default" = duration_text(defaults::UPSTREAM_IDLE_TIMEOUT), "x-least" = "100ms", "x-most" = "1h"))]
    pub idle_timeout: Option<Text<Duration>>,
}

/// How TLS to upstream servers is verified.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpstreamTls {
    /// PEM file of the certificate authority of the servers. Not written: the system's roots.
    pub authority: Option<Text<FilePath>>,
    /// Certificate and key by which we prove ourselves to the servers.
    pub client_certificate: Option<CertificateFiles>,
    /// Name that the servers' certificates must have. Not written: the host in the URL.
    pub server_name: Option<Text<HostPattern>>,
}

/// Active health checks.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Health {
    /// Path that is asked for with GET.
    #[schemars(required)]
    pub path: Option<Text<RequestPath>>,
    /// Time between two checks of a server.
    #[schemars(extend("default" = duration_text(defaults::HEALTH_INTERVAL), "x-least" = "100ms", "x-most" = "1h"))]
    pub interval: Option<Text<Duration>>,
    /// Longest time for one check.
    #[schemars(extend("default" = duration_text(defaults::HEALTH_TIMEOUT), "x-least" = "10ms", "x-most" = "1m"))]
    pub timeout: Option<Text<Duration>>,
    /// Good answers in a row after which a server is used again.
    #[schemars(extend("default" = defaults::HEALTHY_AFTER, "minimum" = 1, "maximum" = 100))]
    pub healthy_after: Option<u32>,
    /// Bad answers in a row after which a server is set aside.
    #[schemars(extend("default" = defaults::UNHEALTHY_AFTER, "minimum" = 1, "maximum" = 100))]
    pub unhealthy_after: Option<u32>,
    /// Statuses that count as good, first and last.
    #[schemars(extend("default" = defaults::HEALTH_STATUSES))]
    pub statuses: Option<Text<StatusRange>>,
}

/// When a failing server is set aside.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Passive {
    /// Failed connections or answers 502, 503, 504 in a row.
    #[schemars(extend("default" = defaults::PASSIVE_FAILURES, "minimum" = 1, "maximum" = 1000))]
    pub failures: Option<u32>,
    /// For how long.
    #[schemars(extend("default" = duration_text(defaults::PASSIVE_EJECTION), "x-least" = "100ms", "x-most" = "1h"))]
    pub ejection: Option<Text<Duration>>,
}

/// An answer that leads elsewhere.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Redirect {
    /// URL, or a path on the same host.
    #[schemars(required)]
    pub location: Option<Text<Location>>,
    /// 301, 302, 303, 307 or 308.
    #[schemars(extend("default" = defaults::REDIRECT_STATUS, "enum" = [301, 302, 303, 307, 308]))]
    pub status: Option<u16>,
}

/// Always the same answer.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Response {
    /// HTTP status.
    #[schemars(extend("default" = defaults::RESPONSE_STATUS, "minimum" = 200, "maximum" = 599))]
    pub status: Option<u16>,
    /// Media type of the body.
    #[schemars(extend("default" = defaults::RESPONSE_CONTENT_TYPE))]
    pub content_type: Option<Text<ContentType>>,
    /// The body; `"""` takes several lines.
    #[schemars(extend("default" = ""))]
    pub body: Option<String>,
}

/// Changes to the headers of requests.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RequestHeaders {
    /// Headers to set, name and value, in place of what the client sent. Values are treated as secrets: they are shown
    /// and logged nowhere.
    #[schemars(extend("propertyNames" = EditedHeader::schema()))]
    pub set: Option<BTreeMap<String, Text<SecretHeaderText>>>,
    /// Headers to remove.
    #[schemars(extend("default" = ([] as [&str; 0])))]
    pub remove: Option<Vec<Text<EditedHeader>>>,
}

/// Changes to the headers of responses.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResponseHeaders {
    /// Headers to set, name and value, in place of what the upstream sent.
    #[schemars(extend("propertyNames" = EditedHeader::schema()))]
    pub set: Option<BTreeMap<String, Text<HeaderText>>>,
    /// Headers to remove.
    #[schemars(extend("default" = ([] as [&str; 0])))]
    pub remove: Option<Vec<Text<EditedHeader>>>,
}

/// How long the parts of an exchange may take.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Timeouts {
    /// Until a connection to a server stands, TLS included.
    #[schemars(extend("default" = duration_text(defaults::CONNECT_TIMEOUT), "x-least" = "10ms", "x-most" = "5m"))]
    pub connect: Option<Text<Duration>>,
    /// From the last byte of the request to the head of the response. Raise it for apps that compute for long.
    #[schemars(extend("default" = duration_text(defaults::RESPONSE_HEADER_TIMEOUT), "x-least" = "10ms", "x-most" = "1d"))]
    pub response_header: Option<Text<Duration>>,
    /// Without a byte in either direction; ends WebSockets and event streams too.
    #[schemars(extend("default" = duration_text(defaults::IDLE_TIMEOUT), "x-least" = "100ms", "x-most" = "7d"))]
    pub idle: Option<Text<Duration>>,
    /// The whole exchange, streams included, or `unlimited`.
    #[schemars(extend("default" = "unlimited", "x-least" = "100ms"))]
    pub total: Option<Text<Unlimited<Duration>>>,
}
