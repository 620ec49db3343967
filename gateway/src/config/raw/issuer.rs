//! `[[issuer]]`, `[[service]]` and `[[network]]`: who vouches for users, which programs sign in, and from where.

use std::time::Duration;

use ipnet::IpNet;
use jsonwebtoken::Algorithm;
use schemars::JsonSchema;
use serde::Deserialize;

use super::sign_in::Client;
use crate::config::defaults;
use crate::config::sign_in::Preset;
use crate::config::text::{
    AcrValue, At, ClaimPath, FilePath, IssuerUrl, Name, PlainText, Text, TokenType,
    Vocabulary as _, Word, duration_text,
};

/// An OpenID provider or OAuth authorization server.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Issuer {
    /// Short name: the first half of principal ids (`corp/ada`) and `principal.issuer` in policies. Changing it changes
    /// who people are to policies.
    #[schemars(required)]
    pub name: Option<Text<Name>>,
    /// The issuer's identifier, compared byte for byte with `iss` in tokens and with the discovery document.
    #[schemars(required)]
    pub issuer: Option<Text<IssuerUrl>>,
    /// The product, which fills in what is not written: claims, types of tokens, algorithms, `acr` values, and how it is
    /// asked for more. Not written: the defaults below, for a provider that follows the standards.
    pub preset: Option<Text<Word<Preset>>>,
    /// How people sign in there with a browser. Not written: only access tokens of this issuer are accepted.
    pub sign_in: Option<At<Client>>,
    /// Accepted audiences of access tokens: at least one must be in `aud`. Tokens made for others are refused. Not
    /// written: none is accepted, and `[issuer.sign_in]` must be there.
    pub audiences: Option<At<Vec<Text<PlainText>>>>,
    /// Accepted signature algorithms; asymmetric only. Name fewer where the provider uses one, as presets do.
    #[schemars(extend("default" = defaults::ALGORITHMS.map(|algorithm| algorithm.word()), "minItems" = 1))]
    pub algorithms: Option<Vec<Text<Word<Algorithm>>>>,
    /// File with the issuer's keys (JWKS), read anew when it changes. Instead of `[issuer.discovery]`.
    pub jwks_file: Option<Text<FilePath>>,
    /// How the issuer's keys are fetched: OpenID discovery or RFC 8414 metadata below its identifier. This is what
    /// happens when `jwks_file` is not written; the table changes its details.
    pub discovery: Option<Discovery>,
    /// Accepted `typ` in token headers, without `application/`. Add `jwt` for providers that do not follow RFC 9068,
    /// as presets do.
    #[schemars(extend("default" = [defaults::TOKEN_TYPE], "minItems" = 1))]
    pub token_types: Option<Vec<Text<TokenType>>>,
    /// Which claims mean what.
    pub claims: Option<Claims>,
    /// `acr` values that count as multi-factor authentication, beside what `amr` tells; the provider is asked for the
    /// first of them where an app demands that. Presets bring theirs.
    #[schemars(extend("default" = ([] as [&str; 0])))]
    pub acr_multi_factor: Option<Vec<Text<AcrValue>>>,
    /// `acr` values that count as phishing-resistant, and so as multi-factor. The provider is asked
    /// for them where an app demands that. Empty unless written, or brought by the preset `okta`: `phr` alone says nothing
    /// about the number of factors.
    #[schemars(extend("default" = ([] as [&str; 0])))]
    pub acr_phishing_resistant: Option<Vec<Text<AcrValue>>>,
    /// The provider enforces multi-factor authentication for everybody but does not say so in tokens. Your word for it
    /// is written into every record.
    #[schemars(extend("default" = false))]
    pub multi_factor_out_of_band: Option<At<bool>>,
    /// Clock difference tolerated in `exp`, `nbf` and `iat`.
    #[schemars(extend("default" = duration_text(defaults::LEEWAY), "x-least" = "0s", "x-most" = "5m"))]
    pub leeway: Option<Text<Duration>>,
    /// Longest accepted lifetime (`exp` minus `iat`); a token that lives longer is refused.
    #[schemars(extend("default" = duration_text(defaults::MAX_TOKEN_LIFETIME), "x-least" = "1m", "x-most" = "30d"))]
    pub max_token_lifetime: Option<Text<Duration>>,
}

/// How keys are fetched.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Discovery {
    /// PEM file of the certificate authority of the provider. Not written: the system's roots.
    pub authority: Option<Text<FilePath>>,
    /// Longest time for one request to the provider.
    #[schemars(extend("default" = duration_text(defaults::DISCOVERY_TIMEOUT), "x-least" = "100ms", "x-most" = "1m"))]
    pub timeout: Option<Text<Duration>>,
    /// Keys are fetched anew after this long, and at a limited rate when a token names an unknown key.
    #[schemars(extend("default" = duration_text(defaults::DISCOVERY_REFRESH), "x-least" = "10s", "x-most" = "7d"))]
    pub refresh: Option<Text<Duration>>,
    /// How long the last good keys serve after the provider stopped answering.
    #[schemars(extend("default" = duration_text(defaults::DISCOVERY_MAX_AGE), "x-least" = "1m", "x-most" = "30d"))]
    pub max_age: Option<Text<Duration>>,
}

/// Which claims mean what; dots reach into objects.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Claims {
    /// What identifies the person within the issuer. It must never be given to another person: Entra ID wants `oid`,
    /// and an address or user name is a poor choice.
    #[schemars(extend("default" = defaults::CLAIM_USER))]
    pub user: Option<Text<ClaimPath>>,
    /// Where `user` is `email`: only addresses count that the provider says are verified (`email_verified: true`).
    /// `false` also takes tokens that say nothing about it, for a provider that hands out addresses itself; `false` in
    /// the token is refused all the same.
    #[schemars(extend("default" = true))]
    pub require_verified_email: Option<At<bool>>,
    /// A name to show to people.
    #[schemars(extend("default" = defaults::CLAIM_NAME))]
    pub name: Option<Text<ClaimPath>>,
    /// The person's groups, a list of strings.
    #[schemars(extend("default" = defaults::CLAIM_GROUPS))]
    pub groups: Option<Text<ClaimPath>>,
    /// The person's roles, a list of strings. Keycloak has them in `realm_access.roles`.
    #[schemars(extend("default" = defaults::CLAIM_ROLES))]
    pub roles: Option<Text<ClaimPath>>,
    /// Put before every group and role of this issuer, so that a partner's `finance` is not ours.
    pub group_prefix: Option<Text<PlainText>>,
}

/// A program that is known by its client certificate alone.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// The name in policies: `Masugata::Service::"backup"`.
    #[schemars(required)]
    pub name: Option<Text<Name>>,
    /// The inventory id of the device that it runs on. One service per device.
    #[schemars(required)]
    pub device: Option<Text<PlainText>>,
    /// Groups that the service is in.
    #[schemars(extend("default" = ([] as [&str; 0])))]
    pub groups: Option<Vec<Text<PlainText>>>,
}

/// Named address ranges.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// The name in policies.
    #[schemars(required)]
    pub name: Option<Text<Name>>,
    /// Address ranges or single addresses.
    #[schemars(required, extend("minItems" = 1))]
    pub ranges: Option<Vec<Text<IpNet>>>,
}
