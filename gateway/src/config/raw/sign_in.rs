//! `[sign_in]`, `[issuer.sign_in]`, `[identity_provider]` and `[scim]`: people with a browser, and where their accounts
//! come from.

use std::collections::BTreeMap;
use std::time::Duration;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::defaults::sign_in as defaults;
use crate::config::sign_in::{AssuranceRequest, Overage, Pushed, ScimUser, SecretWay};
use crate::config::text::{
    ClaimPath, FilePath, HostName, Name, PlainText, Scope, Text, Vocabulary as _, Word,
    Written as _, duration_text,
};

/// Sign-in with a browser.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SignIn {
    /// Host name where people sign in and find their page, `login.example.com`. It belongs to no app, and a device
    /// certificate is required there whatever `[ingress]` says. Identity providers send people back to
    /// `https://<host>/callback/<issuer name>`; register that there.
    #[schemars(required)]
    pub host: Option<Text<HostName>>,
    /// Host name where identity providers report sign-outs (OpenID Connect Back-Channel Logout), at
    /// `https://<host>/backchannel-logout/<issuer name>`. No device certificate is asked for there, and nothing else is
    /// answered; it may be the host of `[scim]`. Not written: such reports are not received, and a sign-out at the
    /// provider ends a session here only when its own lifetime is over.
    pub back_channel_host: Option<Text<HostName>>,
    /// How long a session counts for apps of level `public`.
    pub public: Option<Lifetime>,
    /// How long a session counts for apps of level `internal`.
    pub internal: Option<Lifetime>,
    /// How long a session counts for apps of level `confidential`.
    pub confidential: Option<Lifetime>,
}

/// How long a session counts.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Lifetime {
    /// Longest time without a request of the session. Not written: `1d` for public, `1h` for internal and `15m` for
    /// confidential apps. Longer where people read long between two clicks, shorter where screens stay unlocked.
    #[schemars(extend("x-least" = "1m", "x-most" = "30d"))]
    pub idle: Option<Text<Duration>>,
    /// Longest time since the person proved who they are. Not written: `7d` for public, `12h` for internal and `8h` for
    /// confidential apps. NIST SP 800-63B accepts at most 30 days for anything.
    #[schemars(extend("x-least" = "1m", "x-most" = "30d"))]
    pub absolute: Option<Text<Duration>>,
}

/// The gateway as a client (relying party) of this provider.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Client {
    /// The id under which the gateway is registered there.
    #[schemars(required)]
    pub client_id: Option<Text<PlainText>>,
    /// File with the client's secret and nothing else; nobody but the gateway may read it. Not written:
    /// `client_key_file` must be.
    pub client_secret_file: Option<Text<FilePath>>,
    /// PEM file (PKCS #8) with a P-256 or RSA key, for `private_key_jwt` (RFC 7523): the provider holds no secret that
    /// could leak there. Instead of `client_secret_file`.
    pub client_key_file: Option<Text<FilePath>>,
    /// `kid` of that key, where the provider knows several. Not written: none is sent.
    pub client_key_id: Option<Text<PlainText>>,
    /// How `client_secret_file` is sent. Change it only where the provider demands that.
    #[schemars(extend("default" = defaults::SECRET_WAY.word()))]
    pub client_authentication: Option<Text<Word<SecretWay>>>,
    /// Scopes to ask for; `openid` always is. Add what the provider wants for groups. A `preset` may bring others.
    #[schemars(extend("default" = defaults::SCOPES, "minItems" = 1))]
    pub scopes: Option<Vec<Text<Scope>>>,
    /// What people are shown where there are several providers, `Staff` or `Partners`. Not written: the issuer's name.
    pub label: Option<Text<PlainText>>,
    /// Whoever has an address in one of these domains is led to this provider without being asked. Write it where there
    /// are several providers.
    #[schemars(extend("default" = ([] as [&str; 0])))]
    pub email_domains: Option<Vec<Text<HostName>>>,
    /// How the provider is asked for stronger authentication. Whatever it answers is verified. A `preset` knows its
    /// provider's way.
    #[schemars(extend("default" = defaults::ASKS.word()))]
    pub asks: Option<Text<Word<AssuranceRequest>>>,
    /// Whether requests are pushed to the provider (RFC 9126), so that nothing on the device can read or change them.
    #[schemars(extend("default" = defaults::PUSHED.word()))]
    pub pushed: Option<Text<Word<Pushed>>>,
    /// Also ask the UserInfo endpoint for name and groups. Write it for a provider that keeps them out of ID Tokens; it
    /// costs a request at each sign-in.
    #[schemars(extend("default" = defaults::USERINFO))]
    pub userinfo: Option<bool>,
    /// What to do where an ID Token says that somebody is in too many groups to name. The preset `entra-id` brings
    /// `microsoft-graph`.
    #[schemars(extend("default" = defaults::OVERAGE.word()))]
    pub overage: Option<Text<Word<Overage>>>,
    /// TOML file that gives the provider's group ids names, one `id = "name"` a line. Not written: groups are called
    /// what the provider calls them.
    pub group_names: Option<Text<FilePath>>,
    /// Claims that an ID Token must have with exactly this value, such as `hd = "example.com"` for Google.
    #[schemars(extend("propertyNames" = ClaimPath::schema()))]
    pub required_claims: Option<BTreeMap<String, Text<PlainText>>>,
    /// Ask for a refresh token, and ask the provider again each time its tokens end: an account that is disabled there
    /// ends here too. `false` for a provider that gives this client none; then sessions end by lifetime, back-channel
    /// logout and SCIM.
    #[schemars(extend("default" = defaults::REFRESH))]
    pub refresh: Option<bool>,
}

/// The built-in identity provider.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IdentityProvider {
    /// Name of its issuer in policies and principal ids (`accounts/ada`). Changing it changes who people are to
    /// policies.
    #[schemars(extend("default" = defaults::PROVIDER_NAME))]
    pub name: Option<Text<Name>>,
    /// What people are shown where there are several providers. Not written: the name of the organisation in `[pages]`.
    pub label: Option<Text<PlainText>>,
    /// How long the link for the first sign-in works. Longer where it travels by post.
    #[schemars(extend("default" = duration_text(defaults::LINK_LIFETIME), "x-least" = "5m", "x-most" = "30d"))]
    pub link_lifetime: Option<Text<Duration>>,
    /// Accept passwords beside passkeys. `false` where every device can have a passkey: then nothing can be phished.
    #[schemars(extend("default" = defaults::PASSWORDS))]
    pub passwords: Option<bool>,
    /// File of breached passwords that nobody may choose, one a line, or lines `SHA1:count` as in the lists of Have I
    /// Been Pwned. Not written: the common ones that are built in are refused.
    pub breached_passwords: Option<Text<FilePath>>,
}

/// Accounts that another system provisions (SCIM 2.0, RFC 7644).
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Scim {
    /// Host name of the service, at `https://<host>/scim/v2`. No device certificate is asked for there, and nothing
    /// else is answered; it may be the `back_channel_host`.
    #[schemars(required)]
    pub host: Option<Text<HostName>>,
    /// Name of the issuer whose people are provisioned. The built-in provider's: accounts that can sign in. Another: who
    /// is active, and in which groups.
    #[schemars(required)]
    pub issuer: Option<Text<Name>>,
    /// Files with one bearer token each, of at least 32 characters; nobody but the gateway may read them. Two while one
    /// replaces the other.
    #[schemars(extend("default" = ([] as [&str; 0])))]
    pub token_files: Option<Vec<Text<FilePath>>>,
    /// Access tokens that are accepted beside those in files.
    pub token: Option<ScimToken>,
    /// Address ranges that may ask. Empty: any; the token decides. Write those of the provisioning service where they are
    /// published.
    #[schemars(extend("default" = ([] as [&str; 0])))]
    pub addresses: Option<Vec<Text<IpNet>>>,
    /// What of a SCIM user is the id that the issuer has in its tokens (`claims.user`). Not written: `user-name` for the
    /// built-in provider, whose accounts are called so, and `external-id` for others.
    pub user: Option<Text<Word<ScimUser>>>,
}

/// Access tokens for provisioning.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScimToken {
    /// Name of the issuer that makes them.
    #[schemars(required)]
    pub issuer: Option<Text<Name>>,
    /// Their audience. It must be none of those under which people reach apps.
    #[schemars(required)]
    pub audience: Option<Text<PlainText>>,
}
