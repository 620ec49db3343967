//! What the provider says of itself (OpenID Connect Discovery 1.0 §3, RFC 8414, RFC 9126 §5, RFC 9207 §3).

use serde_json::{Value, json};

use super::level::Level;

/// The discovery document of `issuer`.
pub(crate) fn document(issuer: &str) -> Value {
    let acr: Vec<_> = Level::ALL.into_iter().map(Level::acr).collect();
    let client = ["client_secret_basic", "client_secret_post"];
    json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{issuer}/authorize"),
        "token_endpoint": format!("{issuer}/token"),
        "userinfo_endpoint": format!("{issuer}/userinfo"),
        "jwks_uri": format!("{issuer}/jwks"),
        "pushed_authorization_request_endpoint": format!("{issuer}/par"),
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": ["authorization_code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
        "scopes_supported": ["openid", "profile", "email", "groups"],
        "claims_supported": [
            "iss", "sub", "aud", "exp", "iat", "nonce", "auth_time", "acr", "amr", "at_hash",
            "name", "preferred_username", "email", "email_verified", "groups",
        ],
        "acr_values_supported": acr,
        "prompt_values_supported": ["none", "login"],
        "ui_locales_supported": ["ja", "en"],
        "token_endpoint_auth_methods_supported": client,
        "pushed_authorization_request_endpoint_auth_methods_supported": client,
        "code_challenge_methods_supported": ["S256"],
        "claims_parameter_supported": true,
        "request_parameter_supported": false,
        "request_uri_parameter_supported": false,
        "authorization_response_iss_parameter_supported": true,
    })
}
