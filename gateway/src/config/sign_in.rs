//! What `[store]`, `[sign_in]`, `[issuer.sign_in]`, `[identity_provider]` and `[scim]` mean: how people sign in with a
//! browser, how long that lasts, and where accounts come from.

use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use masugata_policy::Level;

use super::{Config, Ingress};

/// Under which id the gateway is a client of its own built-in provider.
pub const BUILT_IN_CLIENT: &str = "masugata";

impl Ingress {
    /// What browsers call this host: `https://login.example.com`, with the port unless it is 443.
    pub fn origin_of(&self, host: &str) -> String {
        let listens = self.listen.first().map(std::net::SocketAddr::port);
        match self.public_port.or(listens) {
            // Zero: any free port, which nobody could be told beforehand.
            None | Some(443 | 0) => format!("https://{host}"),
            Some(port) => format!("https://{host}:{port}"),
        }
    }
}

impl Config {
    /// Hosts of ours for people and their providers, each with what it is for; a host may be there twice.
    pub fn people_hosts(&self) -> impl Iterator<Item = (&str, &'static str)> {
        let sign_in = self.sign_in.as_ref();
        let login = sign_in.map(|sign_in| (sign_in.host.as_str(), "of `[sign_in]`"));
        let back = sign_in.and_then(|sign_in| sign_in.back_channel_host.as_deref());
        let back = back.map(|host| (host, "of `back_channel_host`"));
        let scim = self.scim.as_ref();
        let scim = scim.map(|scim| (scim.host.as_str(), "of `[scim]`"));
        [login, back, scim].into_iter().flatten()
    }
}

/// Sign-in with a browser.
#[derive(Clone, Debug)]
pub struct SignIn {
    /// Where people sign in and find their page; served by the ingress. Lower case.
    pub host: String,
    /// Where identity providers report sign-outs (OpenID Connect Back-Channel Logout); asks for no client certificate.
    /// `None`: not received.
    pub back_channel_host: Option<String>,
    /// How long a session counts, by the level of the app that is asked for.
    pub lifetimes: Lifetimes,
}

/// How long sessions count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetimes {
    pub public: Lifetime,
    pub internal: Lifetime,
    pub confidential: Lifetime,
}

/// For apps of one level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    /// Without any request of the session.
    pub idle: Duration,
    /// Since the person proved who they are.
    pub absolute: Duration,
}

impl Lifetimes {
    /// For apps of that level.
    pub fn of(&self, level: Level) -> Lifetime {
        match level {
            Level::Public => self.public,
            Level::Internal => self.internal,
            Level::Confidential => self.confidential,
        }
    }

    /// The longest of each: after it a session is of no use to anything.
    pub fn longest(&self) -> Lifetime {
        let all = [self.public, self.internal, self.confidential];
        let most = |of: fn(&Lifetime) -> Duration| all.iter().map(of).max().unwrap_or_default();
        Lifetime {
            idle: most(|lifetime| lifetime.idle),
            absolute: most(|lifetime| lifetime.absolute),
        }
    }
}

/// The gateway as a client (relying party) of one OpenID provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    pub client_id: String,
    pub authentication: ClientAuthentication,
    /// Always with `openid`.
    pub scopes: Vec<String>,
    /// What people are shown when there are several providers.
    pub label: String,
    /// Whoever has an address in one of these is led here. Lower case.
    pub email_domains: Vec<String>,
    /// How the provider is asked for stronger authentication.
    pub asks: AssuranceRequest,
    /// RFC 9126.
    pub pushed: Pushed,
    /// Groups and names also from the UserInfo endpoint.
    pub userinfo: bool,
    /// What to do where the ID Token says that there are too many groups to name.
    pub overage: Overage,
    /// Maps the provider's group ids to names, in access tokens too; lines `id = "name"`. Ids that are not in it stay as they
    /// are.
    pub group_names: Option<PathBuf>,
    /// Claims that must be there with exactly this value (`hd`, `tid`).
    pub required_claims: Vec<(String, String)>,
    /// Ask for a refresh token, and ask the provider again when its own lifetime is over: an account that is disabled
    /// there ends here too.
    pub refresh: bool,
}

/// Products whose ways are known; see `load::preset`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    Keycloak,
    EntraId,
    Okta,
    Google,
    Auth0,
}

/// How a client secret is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretWay {
    Basic,
    Post,
}

/// How the gateway proves itself to the token endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientAuthentication {
    /// `client_secret_basic`; the file holds the secret and nothing else.
    SecretBasic(PathBuf),
    /// `client_secret_post`.
    SecretPost(PathBuf),
    /// `private_key_jwt` (RFC 7523): a PKCS #8 PEM key, P-256 (ES256) or RSA (RS256, PS256).
    PrivateKey {
        file: PathBuf,
        key_id: Option<String>,
    },
    /// The built-in provider, which is asked without leaving the process.
    BuiltIn,
}

/// How a provider is asked for stronger or fresher authentication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AssuranceRequest {
    /// `acr_values`.
    AcrValues,
    /// `claims={"id_token":{"acr":{"essential":true,"values":[…]}}}`.
    EssentialAcr,
    /// `claims={"id_token":{"acrs":{"essential":true,"values":[…]}}}` (Entra ID).
    EssentialAcrs,
    /// The provider has no way to be asked; `max_age` and `prompt` only.
    Nothing,
}

/// Pushed authorization requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// Where the provider offers them.
    Offered,
    /// A provider without them is refused.
    Required,
    Never,
}

/// Groups that did not fit into the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overage {
    /// Sign-in fails: leaving groups out could silence a policy that forbids.
    Refuse,
    /// From UserInfo.
    UserInfo,
    /// From Microsoft Graph, with the user's access token.
    MicrosoftGraph,
}

/// The built-in identity provider. Its `Issuer` is among the others, with [`ClientAuthentication::BuiltIn`].
#[derive(Clone, Debug)]
pub struct IdentityProvider {
    /// The issuer's name in policies and principal ids.
    pub name: String,
    /// How long a first sign-in link counts.
    pub link_lifetime: Duration,
    /// Whether passwords are accepted at all, beside passkeys.
    pub passwords: bool,
    /// Breached passwords: one a line, or `SHA1:count`; beside the common ones that are built in.
    pub breached_passwords: Option<PathBuf>,
}

/// Accounts that another system provisions (RFC 7644).
#[derive(Clone, Debug)]
pub struct Scim {
    /// Served by the ingress; asks for no client certificate.
    pub host: String,
    /// The issuer whose people these are, by name; the built-in provider's makes accounts that can sign in.
    pub issuer: String,
    /// Files with a bearer token each; several while one replaces another.
    pub tokens: Vec<PathBuf>,
    /// Access tokens of this issuer with this audience are accepted too.
    pub token_issuer: Option<(String, String)>,
    /// Only from these addresses; empty: from anywhere.
    pub addresses: Vec<IpNet>,
    /// What of a SCIM user equals the issuer's `claims.user`.
    pub user: ScimUser,
}

/// See [`Scim::user`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScimUser {
    ExternalId,
    UserName,
}
