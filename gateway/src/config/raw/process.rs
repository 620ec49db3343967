//! `[[limit]]`, `[lockout]`, `[audit]`, `[admin]`, `[assertion]`, `[pages]` and `[runtime]`.

use std::net::SocketAddr;
use std::time::Duration;

use http::Method;
use schemars::JsonSchema;
use serde::Deserialize;
use tracing::level_filters::LevelFilter;

use crate::config::defaults;
use crate::config::text::{
    At, Colour, FilePath, Name, PlainText, Text, Vocabulary as _, Word, duration_text,
};
use crate::config::{LimitKey, LimitMode, LogFormat, OnOverflow};

/// A rate limit (GCRA).
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// The name in records and metrics.
    #[schemars(required)]
    pub name: Option<Text<Name>>,
    /// What is counted together; several mean each combination.
    #[schemars(required, extend("minItems" = 1))]
    pub key: Option<Vec<Text<Word<LimitKey>>>>,
    /// Only these apps, by name. Not written: all.
    #[schemars(extend("minItems" = 1))]
    pub apps: Option<Vec<Text<Name>>>,
    /// Only these methods. Not written: all.
    #[schemars(extend("minItems" = 1))]
    pub methods: Option<Vec<Text<Method>>>,
    /// Requests per `period`.
    #[schemars(required, extend("minimum" = 1, "maximum" = 1_000_000_000))]
    pub requests: Option<u32>,
    /// The time in which `requests` are permitted.
    #[schemars(required, extend("x-least" = "1ms", "x-most" = "30d"))]
    pub period: Option<Text<Duration>>,
    /// How many may come at once. Not written: as many as `requests`.
    #[schemars(extend("minimum" = 1, "maximum" = 1_000_000_000))]
    pub burst: Option<u32>,
    /// Begin with `observe` to see in the record whom a new limit would meet.
    #[schemars(extend("default" = defaults::LIMIT_MODE.word()))]
    pub mode: Option<Text<Word<LimitMode>>>,
}

/// What repeated failed credentials lead to.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Lockout {
    /// Failures that cost nothing.
    #[schemars(extend("default" = defaults::FREE_FAILURES, "minimum" = 0, "maximum" = 100))]
    pub free_failures: Option<At<u32>>,
    /// Delay after the first failure beyond them; doubles with each.
    #[schemars(extend("default" = duration_text(defaults::FIRST_DELAY), "x-least" = "1ms", "x-most" = "1h"))]
    pub first_delay: Option<Text<Duration>>,
    /// The longest delay.
    #[schemars(extend("default" = duration_text(defaults::MAX_DELAY), "x-least" = "1ms", "x-most" = "1d"))]
    pub max_delay: Option<Text<Duration>>,
    /// Failures after which the source is locked.
    #[schemars(extend("default" = defaults::LOCK_AFTER, "minimum" = 1, "maximum" = 100))]
    pub lock_after: Option<At<u32>>,
    /// For how long it is locked.
    #[schemars(extend("default" = duration_text(defaults::LOCK), "x-least" = "1s", "x-most" = "30d"))]
    pub lock: Option<Text<Duration>>,
    /// Failures older than this are forgotten.
    #[schemars(extend("default" = duration_text(defaults::LOCKOUT_WINDOW), "x-least" = "1s", "x-most" = "30d"))]
    pub window: Option<Text<Duration>>,
}

/// The tamper-evident record of decisions.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Audit {
    /// The file that records are appended to, one JSON object a line. Its directory must exist.
    #[schemars(required)]
    pub file: Option<Text<FilePath>>,
    /// Records that may wait for the disk. About 1 KiB each.
    #[schemars(extend("default" = defaults::AUDIT_QUEUE, "minimum" = 16, "maximum" = 10_000_000))]
    pub queue: Option<usize>,
    /// What happens to requests when the queue or the disk is full.
    #[schemars(extend("default" = defaults::ON_OVERFLOW.word()))]
    pub on_overflow: Option<Text<Word<OnOverflow>>>,
    /// Records are flushed to stable storage at most this often; `0s`: after each batch, which costs disk time.
    #[schemars(extend("default" = duration_text(defaults::SYNC_INTERVAL), "x-least" = "0s", "x-most" = "1m"))]
    pub sync_interval: Option<Text<Duration>>,
    /// Record query strings too. They often carry secrets.
    #[schemars(extend("default" = defaults::AUDIT_QUERY))]
    pub query: Option<bool>,
}

/// The administrators' listener.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Admin {
    /// Whether there is one.
    #[schemars(extend("default" = true))]
    pub enabled: Option<bool>,
    /// Address and port.
    #[schemars(extend("default" = defaults::ADMIN_LISTEN.to_string()))]
    pub listen: Option<Text<SocketAddr>>,
    /// Permit an address other than loopback. The listener has no authentication of its own: let a firewall or a
    /// network namespace see to it.
    #[schemars(extend("default" = false))]
    pub allow_remote: Option<bool>,
}

/// The signed assertion sent upstream.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Assertion {
    /// `iss` of the assertion.
    #[schemars(extend("default" = defaults::ASSERTION_ISSUER))]
    pub issuer: Option<Text<PlainText>>,
    /// PEM file (PKCS #8) with a P-256 key. Not written: one is made at start and kept in memory. Write it where
    /// several gateways stand before the same apps.
    pub key: Option<Text<FilePath>>,
    /// How long an assertion is valid.
    #[schemars(extend("default" = duration_text(defaults::ASSERTION_LIFETIME), "x-least" = "1s", "x-most" = "60s"))]
    pub lifetime: Option<Text<Duration>>,
}

/// The pages that people see.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pages {
    /// Name shown at the top.
    #[schemars(extend("default" = defaults::ORGANISATION))]
    pub organisation: Option<Text<PlainText>>,
    /// Whom to ask for help, telephone included; shown on every page of refusal.
    pub contact: Option<Text<PlainText>>,
    /// File with a logo shown beside the name, `.svg` or `.png`, at most 64 KiB. Not written: the name alone.
    pub logo: Option<Text<FilePath>>,
    /// Colour of buttons and links. Not written: Masugata's blue. A shade that can be read is made of it for light and for
    /// dark.
    pub colour: Option<Text<Colour>>,
}

/// Matters of the whole process.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Runtime {
    /// Worker threads. Not written: one per core.
    #[schemars(extend("minimum" = 1, "maximum" = 1024))]
    pub workers: Option<usize>,
    /// Watch the files named here and reload when they change. SIGHUP reloads in any case.
    #[schemars(extend("default" = defaults::WATCH))]
    pub watch: Option<bool>,
    /// Form of the log on standard error.
    #[schemars(extend("default" = defaults::LOG_FORMAT.word()))]
    pub log_format: Option<Text<Word<LogFormat>>>,
    /// How much is logged.
    #[schemars(extend("default" = defaults::LOG_LEVEL.word()))]
    pub log_level: Option<Text<Word<LevelFilter>>>,
}
