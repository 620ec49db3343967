//! The configuration file as it is written. The doc comments here *are* the documentation of each option: the JSON
//! Schema for editors and `docs/configuration.md` are made from them, and the checker reads the same schema.
//!
//! Everything is an `Option`, because defaults are filled in by `load`. Every option is a string of a known kind
//! (`text`), a number, a truth value, a list or a table: no `flatten`, no `untagged`, which would lose positions.

mod app;
pub mod egress;
mod ingress;
mod issuer;
mod process;
pub mod sign_in;

use schemars::JsonSchema;
use serde::Deserialize;

pub use self::app::*;
pub use self::ingress::*;
pub use self::issuer::*;
pub use self::process::*;
use super::defaults;
use super::text::{At, FilePath, Text};

/// Configuration of Masugata. Relative paths are relative to the directory of this file.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Files or directories of Cedar policies (`*.cedar`), in the order in which they are read. Without a permitting
    /// policy nobody gets in.
    #[schemars(required, extend("minItems" = 1))]
    pub policies: Option<Vec<Text<FilePath>>>,
    /// The company's time zone (IANA name), which rules about hours and weekdays are read in.
    #[schemars(extend("default" = defaults::TIME_ZONE))]
    pub time_zone: Option<Text<jiff::tz::TimeZone>>,
    /// Directory for what must outlive a restart: sessions, accounts, signing keys. Its files are readable by the gateway
    /// only; put it into the backup. Not written: nobody can sign in with a browser, because `[sign_in]`,
    /// `[identity_provider]` and `[scim]` need it.
    pub store: Option<Text<FilePath>>,
    /// The reverse proxy's listener.
    #[schemars(required)]
    pub ingress: Option<Ingress>,
    /// The forward proxy's listener and what is known of destinations. Not written: there is no second door.
    pub egress: Option<egress::Egress>,
    /// Who issues device certificates, which are revoked, and which devices exist.
    #[schemars(required)]
    pub devices: Option<Devices>,
    /// OpenID providers where people sign in, and authorization servers whose access tokens are accepted; one table each.
    pub issuer: Option<Vec<Issuer>>,
    /// Sign-in with a browser. Not written: tokens and certificates only.
    pub sign_in: Option<At<sign_in::SignIn>>,
    /// The built-in identity provider: accounts, passkeys and passwords of its own, for a company that has no other. Not
    /// written: there is none. The header alone turns it on.
    pub identity_provider: Option<At<sign_in::IdentityProvider>>,
    /// Accounts that another system provisions (SCIM 2.0): who is active, and in which groups. Not written: issuers alone
    /// know.
    pub scim: Option<At<sign_in::Scim>>,
    /// Programs that sign in with their device certificate alone; one table each.
    pub service: Option<Vec<Service>>,
    /// What is protected; one table for each application.
    pub app: Option<Vec<App>>,
    /// Named address ranges, which policies see as `context.network.names`; one table each.
    pub network: Option<Vec<Network>>,
    /// Rate limits; one table each, and all that fit a request apply.
    pub limit: Option<Vec<Limit>>,
    /// What repeated failed credentials lead to. Nobody who holds a valid device certificate can be locked out by others.
    pub lockout: Option<Lockout>,
    /// The tamper-evident record of decisions.
    #[schemars(required)]
    pub audit: Option<Audit>,
    /// The administrators' listener: liveness, readiness, metrics, the running configuration.
    pub admin: Option<Admin>,
    /// The signed assertion (`Masugata-Assertion`) that tells upstreams who asks.
    pub assertion: Option<Assertion>,
    /// The pages that people see.
    pub pages: Option<Pages>,
    /// Matters of the whole process.
    pub runtime: Option<Runtime>,
}
