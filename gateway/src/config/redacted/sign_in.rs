//! How people sign in, as it runs. Secrets are in files, and only their paths appear.

use serde_json::{Value, json};

use super::{Vocabulary, duration, path, paths};
use crate::config::sign_in::{
    Client, ClientAuthentication, IdentityProvider, Lifetime, Lifetimes, Scim, SignIn,
};

pub(super) fn sign_in(sign_in: &SignIn) -> Value {
    let SignIn {
        host,
        back_channel_host,
        lifetimes:
            Lifetimes {
                public,
                internal,
                confidential,
            },
    } = sign_in;
    json!({
        "host": host,
        "back_channel_host": back_channel_host,
        "public": lifetime(public),
        "internal": lifetime(internal),
        "confidential": lifetime(confidential),
    })
}

fn lifetime(lifetime: &Lifetime) -> Value {
    let Lifetime { idle, absolute } = lifetime;
    json!({ "idle": duration(*idle), "absolute": duration(*absolute) })
}

pub(super) fn client(client: &Client) -> Value {
    let Client {
        client_id,
        authentication,
        scopes,
        label,
        email_domains,
        asks,
        pushed,
        userinfo,
        overage,
        group_names,
        required_claims,
        refresh,
    } = client;
    let authentication = match authentication {
        ClientAuthentication::SecretBasic(file) => json!({ "basic": path(file) }),
        ClientAuthentication::SecretPost(file) => json!({ "post": path(file) }),
        ClientAuthentication::PrivateKey { file, key_id } => {
            json!({ "key": path(file), "key_id": key_id })
        }
        ClientAuthentication::BuiltIn => json!({ "built_in": true }),
    };
    let required: serde_json::Map<_, _> = required_claims
        .iter()
        .map(|(claim, value)| (claim.clone(), Value::String(value.clone())))
        .collect();
    json!({
        "client_id": client_id,
        "authentication": authentication,
        "scopes": scopes,
        "label": label,
        "email_domains": email_domains,
        "asks": asks.word(),
        "pushed": pushed.word(),
        "userinfo": userinfo,
        "overage": overage.word(),
        "group_names": group_names.as_deref().map(path),
        "required_claims": required,
        "refresh": refresh,
    })
}

pub(super) fn identity_provider(provider: &IdentityProvider) -> Value {
    let IdentityProvider {
        name,
        link_lifetime,
        passwords,
        breached_passwords,
    } = provider;
    json!({
        "name": name,
        "link_lifetime": duration(*link_lifetime),
        "passwords": passwords,
        "breached_passwords": breached_passwords.as_deref().map(path),
    })
}

pub(super) fn scim(scim: &Scim) -> Value {
    let Scim {
        host,
        issuer,
        tokens,
        token_issuer,
        addresses,
        user,
    } = scim;
    let token = token_issuer
        .as_ref()
        .map(|(issuer, audience)| json!({ "issuer": issuer, "audience": audience }));
    json!({
        "host": host,
        "issuer": issuer,
        "token_files": paths(tokens),
        "token": token,
        "addresses": addresses,
        "user": user.word(),
    })
}
