//! What is known of products that people sign in with: it fills what an issuer does not write.
//!
//! A line here is a default like any other: what is written wins. Where a preset would have to guess, it says nothing, and
//! the loader asks for it.

use jsonwebtoken::Algorithm;

use crate::config::defaults;
use crate::config::defaults::sign_in as sign_in_defaults;
use crate::config::sign_in::{AssuranceRequest, Overage, Preset};

/// Defaults of one issuer.
pub(super) struct Ways {
    pub(super) algorithms: &'static [Algorithm],
    pub(super) token_types: &'static [&'static str],
    pub(super) user: &'static str,
    pub(super) roles: &'static str,
    pub(super) acr_multi_factor: &'static [&'static str],
    pub(super) acr_phishing_resistant: &'static [&'static str],
    pub(super) asks: AssuranceRequest,
    pub(super) scopes: &'static [&'static str],
    pub(super) overage: Overage,
    pub(super) refresh: bool,
}

/// Without a preset.
const STANDARD: Ways = Ways {
    algorithms: &defaults::ALGORITHMS,
    token_types: &[defaults::TOKEN_TYPE],
    user: defaults::CLAIM_USER,
    roles: defaults::CLAIM_ROLES,
    acr_multi_factor: &[],
    acr_phishing_resistant: &[],
    asks: sign_in_defaults::ASKS,
    scopes: &sign_in_defaults::SCOPES,
    overage: sign_in_defaults::OVERAGE,
    refresh: sign_in_defaults::REFRESH,
};

/// All four sign with it unless told otherwise, and Entra ID publishes keys without saying what for.
const RS256: &[Algorithm] = &[Algorithm::RS256];

/// `browsers`: people sign in there, rather than only bring access tokens.
pub(super) fn ways(preset: Option<Preset>, browsers: bool) -> Ways {
    match preset {
        None => STANDARD,
        // `acr_values` is voluntary there: a flow that cannot meet it goes on without.
        Some(Preset::Keycloak) => Ways {
            token_types: &["jwt"],
            roles: "realm_access.roles",
            asks: AssuranceRequest::EssentialAcr,
            ..STANDARD
        },
        // `sub` differs from app to app for one person. Graph wants a scope of its own.
        Some(Preset::EntraId) => Ways {
            algorithms: RS256,
            token_types: &["jwt"],
            user: "oid",
            asks: AssuranceRequest::EssentialAcrs,
            scopes: &["openid", "profile", "email", "User.Read"],
            overage: Overage::MicrosoftGraph,
            ..STANDARD
        },
        // The stable id is `sub` in ID Tokens and `uid` in access tokens, whose `sub` is the login name.
        Some(Preset::Okta) => Ways {
            algorithms: RS256,
            token_types: &["absent", "jwt"],
            user: if browsers {
                defaults::CLAIM_USER
            } else {
                "uid"
            },
            acr_multi_factor: &["urn:okta:loa:2fa:any"],
            acr_phishing_resistant: &["phr", "phrh"],
            scopes: &["openid", "profile", "email", "groups"],
            ..STANDARD
        },
        // Access tokens are opaque there. Refresh tokens come once per person and client, so they are not asked for.
        Some(Preset::Google) => Ways {
            algorithms: RS256,
            token_types: &["jwt", "id-token"],
            asks: AssuranceRequest::Nothing,
            refresh: false,
            ..STANDARD
        },
        Some(Preset::Auth0) => Ways {
            algorithms: RS256,
            acr_multi_factor: &["http://schemas.openid.net/pape/policies/2007/06/multi-factor"],
            ..STANDARD
        },
    }
}

/// The tenant in an issuer of Entra ID: `https://login.microsoftonline.com/<tenant>/v2.0`.
pub(super) fn tenant(issuer: &str) -> Option<&str> {
    let (_, rest) = issuer.split_once("://")?;
    let tenant = rest.split('/').nth(1)?;
    (!tenant.is_empty()).then_some(tenant)
}

/// Whether this names one tenant, as `tid` has it.
pub(super) fn is_tenant_id(tenant: &str) -> bool {
    let lengths = tenant.split('-').map(str::len);
    lengths.eq([8, 4, 4, 4, 12])
        && tenant
            .bytes()
            .all(|b| b == b'-' || b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}
