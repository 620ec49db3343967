//! Where people sign in at an issuer: the part of its published metadata that is not about keys (OpenID Connect
//! Discovery §3, RFC 8414 §2, RFC 9126 §5, RFC 9207 §3). Fetched with the keys, and as old as they are.
//!
//! Secrets and codes are sent to these addresses, so each is judged like the one of the keys: over TLS or on this
//! machine, never downgraded, and for the built-in provider nowhere else than there.

use std::sync::Arc;

use serde_json::Value;

use super::fetch::{Location, LocationFault};
use super::json::Object;
use super::source::Snapshot;

/// Most methods or algorithms that are read from one list.
const MAX_WORDS: usize = 64;

/// Longest address, bytes.
const MAX_URL_BYTES: usize = 2048;

/// An address of the provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// As published.
    pub(crate) url: Box<str>,
    pub(crate) location: Location,
}

/// See the module's first lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProviderMetadata {
    pub(crate) authorization: Endpoint,
    pub(crate) token: Endpoint,
    pub(crate) pushed: Option<Endpoint>,
    pub(crate) userinfo: Option<Endpoint>,
    pub(crate) revocation: Option<Endpoint>,
    pub(crate) end_session: Option<Endpoint>,
    /// `iss` is in every answer (RFC 9207).
    pub(crate) names_itself: bool,
    /// Only pushed requests are accepted (RFC 9126).
    pub(crate) requires_pushed: bool,
    /// How clients may prove themselves to the token endpoint; empty: not said.
    pub(crate) client_proofs: Vec<Box<str>>,
    /// Which algorithms it takes for `private_key_jwt`; empty: not said.
    pub(crate) assertion_algorithms: Vec<Box<str>>,
    /// The `claims` parameter is understood.
    pub(crate) takes_claims: bool,
}

/// Why metadata do not let anybody sign in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MetadataFault {
    #[error("metadata have no usable `{0}`")]
    Missing(&'static str),
    #[error("`{0}`: {1}")]
    Location(&'static str, LocationFault),
    #[error("`{0}` leaves TLS")]
    Downgrade(&'static str),
    #[error("`{0}` is not at the built-in provider")]
    Elsewhere(&'static str),
    #[error("`{0}` has the wrong type")]
    Type(&'static str),
}

/// Why the metadata of an issuer cannot be used now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ProviderError {
    #[error("its metadata and keys could not be fetched")]
    Unavailable,
    #[error("{0}")]
    Fault(MetadataFault),
}

/// Usable metadata as they were fetched.
#[derive(Clone)]
pub(crate) struct Published(Arc<Result<ProviderMetadata, MetadataFault>>);

impl Published {
    pub(super) fn of(snapshot: &Snapshot) -> Result<Self, ProviderError> {
        let published = snapshot
            .provider
            .as_ref()
            .ok_or(ProviderError::Unavailable)?;
        match &**published {
            Ok(_) => Ok(Self(Arc::clone(published))),
            Err(fault) => Err(ProviderError::Fault(fault.clone())),
        }
    }

    /// What they say. `None` never happens: faulty metadata are not made into this type.
    pub(crate) fn metadata(&self) -> Result<&ProviderMetadata, ProviderError> {
        match &*self.0 {
            Ok(metadata) => Ok(metadata),
            Err(fault) => Err(ProviderError::Fault(fault.clone())),
        }
    }
}

impl ProviderMetadata {
    /// Reads the metadata of the issuer at `issuer`; `local`: it lives in this process.
    /// # Errors: the first member that cannot be used. Members that may be absent must be right when they are there.
    pub(super) fn parse(
        metadata: &Object,
        issuer: &Location,
        local: bool,
    ) -> Result<Self, MetadataFault> {
        let reader = Reader {
            metadata,
            issuer,
            local,
        };
        Ok(Self {
            authorization: reader.required("authorization_endpoint")?,
            token: reader.required("token_endpoint")?,
            pushed: reader.endpoint("pushed_authorization_request_endpoint")?,
            userinfo: reader.endpoint("userinfo_endpoint")?,
            revocation: reader.endpoint("revocation_endpoint")?,
            end_session: reader.endpoint("end_session_endpoint")?,
            names_itself: reader.flag("authorization_response_iss_parameter_supported")?,
            requires_pushed: reader.flag("require_pushed_authorization_requests")?,
            client_proofs: reader.words("token_endpoint_auth_methods_supported")?,
            assertion_algorithms: reader
                .words("token_endpoint_auth_signing_alg_values_supported")?,
            takes_claims: reader.flag("claims_parameter_supported")?,
        })
    }
}

struct Reader<'a> {
    metadata: &'a Object,
    issuer: &'a Location,
    local: bool,
}

impl Reader<'_> {
    fn required(&self, name: &'static str) -> Result<Endpoint, MetadataFault> {
        self.endpoint(name)?.ok_or(MetadataFault::Missing(name))
    }

    fn endpoint(&self, name: &'static str) -> Result<Option<Endpoint>, MetadataFault> {
        let url = match self.metadata.get(name) {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::String(url)) if url.len() <= MAX_URL_BYTES => url,
            Some(_) => return Err(MetadataFault::Type(name)),
        };
        let location =
            Location::parse(url).map_err(|fault| MetadataFault::Location(name, fault))?;
        if self.issuer.is_secure() && !location.is_secure() {
            return Err(MetadataFault::Downgrade(name));
        }
        if self.local && !location.same_server(self.issuer) {
            return Err(MetadataFault::Elsewhere(name));
        }
        Ok(Some(Endpoint {
            url: url.as_str().into(),
            location,
        }))
    }

    fn flag(&self, name: &'static str) -> Result<bool, MetadataFault> {
        match self.metadata.get(name) {
            None | Some(Value::Null) => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(_) => Err(MetadataFault::Type(name)),
        }
    }

    fn words(&self, name: &'static str) -> Result<Vec<Box<str>>, MetadataFault> {
        match self.metadata.get(name) {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(Value::Array(words)) => Ok(words
                .iter()
                .filter_map(Value::as_str)
                .take(MAX_WORDS)
                .map(Into::into)
                .collect()),
            Some(_) => Err(MetadataFault::Type(name)),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ISSUER: &str = "https://id.example/a";

    fn read(changes: Value, local: bool) -> Result<ProviderMetadata, MetadataFault> {
        let mut metadata = json!({
            "authorization_endpoint": "https://id.example/a/authorize",
            "token_endpoint": "https://id.example/a/token",
        });
        for (name, value) in changes.as_object().unwrap() {
            metadata[name] = value.clone();
        }
        let issuer = Location::parse(ISSUER).unwrap();
        ProviderMetadata::parse(metadata.as_object().unwrap(), &issuer, local)
    }

    #[test]
    fn the_least_is_where_to_sign_in_and_where_to_change_the_code() {
        let metadata = read(json!({}), false).unwrap();
        assert_eq!(&*metadata.token.url, "https://id.example/a/token");
        assert!(!metadata.names_itself && !metadata.requires_pushed);
        for name in ["authorization_endpoint", "token_endpoint"] {
            assert_eq!(
                read(json!({ name: null }), false),
                Err(MetadataFault::Missing(name))
            );
        }
    }

    #[test]
    fn every_endpoint_is_over_tls() {
        for name in [
            "authorization_endpoint",
            "token_endpoint",
            "pushed_authorization_request_endpoint",
            "userinfo_endpoint",
            "revocation_endpoint",
            "end_session_endpoint",
        ] {
            assert_eq!(
                read(json!({name: "http://id.example/x"}), false),
                Err(MetadataFault::Location(name, LocationFault::Insecure))
            );
            assert_eq!(
                read(json!({name: "http://127.0.0.1/x"}), false),
                Err(MetadataFault::Downgrade(name))
            );
            assert_eq!(
                read(json!({name: "javascript:alert(1)"}), false).map_err(|_| ()),
                Err(())
            );
            assert_eq!(
                read(json!({name: 1}), false),
                Err(MetadataFault::Type(name))
            );
            assert!(read(json!({name: "https://other.example/x"}), false).is_ok());
        }
    }

    #[test]
    fn the_built_in_provider_is_nowhere_else() {
        let elsewhere = json!({"token_endpoint": "https://evil.example/a/token"});
        assert_eq!(
            read(elsewhere, true),
            Err(MetadataFault::Elsewhere("token_endpoint"))
        );
        let port = json!({"userinfo_endpoint": "https://id.example:444/a"});
        assert_eq!(
            read(port, true),
            Err(MetadataFault::Elsewhere("userinfo_endpoint"))
        );
        assert!(read(json!({}), true).is_ok());
    }

    #[test]
    fn flags_and_lists_have_types() {
        let flag = "authorization_response_iss_parameter_supported";
        assert_eq!(
            read(json!({flag: "true"}), false),
            Err(MetadataFault::Type(flag))
        );
        assert!(read(json!({flag: true}), false).unwrap().names_itself);
        let list = "token_endpoint_auth_methods_supported";
        assert_eq!(
            read(json!({list: "x"}), false),
            Err(MetadataFault::Type(list))
        );
        let read = read(json!({list: ["private_key_jwt", 1]}), false).unwrap();
        assert_eq!(read.client_proofs, ["private_key_jwt".into()]);
    }
}
