//! Where an issuer publishes its keys: OpenID Connect Discovery 1.0 §4, then RFC 8414 §3.

use serde_json::Value;

use super::fetch::{FetchError, Location, LocationFault, Transport};
use super::json::{self, Object};
use super::provider::{MetadataFault, ProviderMetadata};

/// Why no keys could be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum DiscoveryError {
    #[error("metadata: {0}")]
    Metadata(FetchError),
    #[error("metadata: not a JSON object with unique members")]
    Json,
    #[error("metadata names another issuer than the configuration")]
    OtherIssuer,
    #[error("metadata has no usable `jwks_uri`")]
    NoKeys,
    #[error("`jwks_uri`: {0}")]
    KeysLocation(LocationFault),
    #[error("`jwks_uri` leaves TLS")]
    Downgrade,
    #[error("keys: {0}")]
    Keys(FetchError),
    #[error("keys: {0}")]
    KeySet(super::keys::KeySetFault),
}

/// What an issuer publishes.
pub(super) struct Published {
    /// Its key set, not yet read.
    pub(super) keys: bytes::Bytes,
    /// Where people sign in; keys do not depend on it.
    pub(super) provider: Result<ProviderMetadata, MetadataFault>,
}

/// Asks the issuer where its keys are, and fetches them.
/// # Errors: the step that failed.
pub(super) async fn fetch(
    transport: &Transport,
    issuer: &str,
    issuer_location: &Location,
) -> Result<Published, DiscoveryError> {
    let [openid, oauth] = metadata_locations(issuer_location);
    let metadata = match transport.document(&openid).await {
        Ok(metadata) => metadata,
        // The server is there and has no such document; anything else would fail at the second address too.
        Err(FetchError::Status(_)) => transport
            .document(&oauth)
            .await
            .map_err(DiscoveryError::Metadata)?,
        Err(error) => return Err(DiscoveryError::Metadata(error)),
    };
    let metadata = read(&metadata, issuer)?;
    let keys = keys_location(&metadata, issuer_location)?;
    if transport.is_local() && !keys.same_server(issuer_location) {
        return Err(DiscoveryError::NoKeys);
    }
    let keys = transport
        .document(&keys)
        .await
        .map_err(DiscoveryError::Keys)?;
    let provider = ProviderMetadata::parse(&metadata, issuer_location, transport.is_local());
    Ok(Published { keys, provider })
}

/// OpenID appends its well-known path to the issuer's; RFC 8414 §3.1 puts its own before it.
fn metadata_locations(issuer: &Location) -> [Location; 2] {
    let path = issuer.path().trim_end_matches('/');
    [
        issuer.with_target(&format!("{path}/.well-known/openid-configuration")),
        issuer.with_target(&format!("/.well-known/oauth-authorization-server{path}")),
    ]
}

fn read(metadata: &[u8], issuer: &str) -> Result<Object, DiscoveryError> {
    let metadata = json::parse_object(metadata).ok_or(DiscoveryError::Json)?;
    // Byte for byte (OpenID Connect Discovery §4.3, RFC 8414 §3.3): otherwise one tenant could speak for another.
    if metadata.get("issuer").and_then(Value::as_str) != Some(issuer) {
        return Err(DiscoveryError::OtherIssuer);
    }
    Ok(metadata)
}

fn keys_location(
    metadata: &Object,
    issuer_location: &Location,
) -> Result<Location, DiscoveryError> {
    let keys = metadata
        .get("jwks_uri")
        .and_then(Value::as_str)
        .ok_or(DiscoveryError::NoKeys)?;
    let keys = Location::parse(keys).map_err(DiscoveryError::KeysLocation)?;
    if issuer_location.is_secure() && !keys.is_secure() {
        return Err(DiscoveryError::Downgrade);
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn locate(metadata: &str) -> Result<Location, DiscoveryError> {
        let issuer = "https://id.example/realms/a";
        let location = Location::parse(issuer).unwrap();
        read(metadata.as_bytes(), issuer).and_then(|read| keys_location(&read, &location))
    }

    #[test]
    fn both_well_known_addresses_are_built_from_the_issuer() {
        for (issuer, openid, oauth) in [
            (
                "https://id.example",
                "https://id.example/.well-known/openid-configuration",
                "https://id.example/.well-known/oauth-authorization-server",
            ),
            (
                "https://id.example/realms/a/",
                "https://id.example/realms/a/.well-known/openid-configuration",
                "https://id.example/.well-known/oauth-authorization-server/realms/a",
            ),
        ] {
            assert_eq!(
                metadata_locations(&Location::parse(issuer).unwrap()),
                [openid, oauth].map(|url| Location::parse(url).unwrap())
            );
        }
    }

    #[test]
    fn keys_may_live_on_another_host_over_tls() {
        let keys = locate(
            r#"{"issuer":"https://id.example/realms/a","jwks_uri":"https://keys.example/v3"}"#,
        );
        assert_eq!(
            keys,
            Ok(Location::parse("https://keys.example/v3").unwrap())
        );
    }

    #[test]
    fn metadata_of_another_issuer_is_refused() {
        for issuer in [
            "https://id.example/realms/b",
            "https://id.example/realms/a/",
            "https://ID.example/realms/a",
            "",
        ] {
            let metadata = format!(r#"{{"issuer":"{issuer}","jwks_uri":"https://k.example"}}"#);
            assert_eq!(
                locate(&metadata),
                Err(DiscoveryError::OtherIssuer),
                "{issuer}"
            );
        }
        assert_eq!(
            locate(
                r#"{"issuer":"https://evil.example","issuer":"https://id.example/realms/a","jwks_uri":"https://k.example"}"#
            ),
            Err(DiscoveryError::Json)
        );
    }

    #[test]
    fn keys_never_leave_tls() {
        for (uri, error) in [
            (
                "http://keys.example/",
                DiscoveryError::KeysLocation(LocationFault::Insecure),
            ),
            ("http://127.0.0.1/", DiscoveryError::Downgrade),
            (
                "file:///etc/passwd",
                DiscoveryError::KeysLocation(LocationFault::Syntax),
            ),
        ] {
            let metadata =
                format!(r#"{{"issuer":"https://id.example/realms/a","jwks_uri":"{uri}"}}"#);
            assert_eq!(locate(&metadata), Err(error), "{uri}");
        }
        assert_eq!(
            locate(r#"{"issuer":"https://id.example/realms/a"}"#),
            Err(DiscoveryError::NoKeys)
        );
    }
}
