//! What an app tells OAuth clients about itself: protected resource metadata, RFC 9728.

use bytes::Bytes;
use serde::Serialize;

/// Where the metadata of a resource without a path is (RFC 9728 §3).
pub const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

/// What goes into the document.
#[derive(Clone, Copy, Debug)]
pub struct ProtectedResource<'a> {
    /// `https://host[:port]`, as clients write it.
    pub origin: &'a str,
    /// The app's path prefix; starts with `/`.
    pub path_prefix: &'a str,
    /// The app's name, for people.
    pub name: &'a str,
    /// `iss` of every issuer whose tokens the app accepts.
    pub authorization_servers: &'a [&'a str],
    /// Tokens must be bound to the client certificate (RFC 8705).
    pub certificate_bound: bool,
}

#[derive(Serialize)]
struct Document<'a> {
    resource: String,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    authorization_servers: &'a [&'a str],
    bearer_methods_supported: [&'static str; 1],
    resource_name: &'a str,
    tls_client_certificate_bound_access_tokens: bool,
}

/// The path at which an app's metadata is served: the well-known one, then the app's own (RFC 9728 §3.1).
pub fn path(path_prefix: &str) -> String {
    format!("{WELL_KNOWN}{}", path_prefix.trim_end_matches('/'))
}

/// The JSON document (RFC 9728 §2); `application/json`.
pub fn protected_resource_metadata(resource: ProtectedResource<'_>) -> Bytes {
    let document = Document {
        resource: format!(
            "{}{}",
            resource.origin,
            resource.path_prefix.trim_end_matches('/')
        ),
        authorization_servers: resource.authorization_servers,
        bearer_methods_supported: ["header"],
        resource_name: resource.name,
        tls_client_certificate_bound_access_tokens: resource.certificate_bound,
    };
    // Strings and a flag always serialise; an empty document would only tell clients less.
    serde_json::to_vec(&document).unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_resource_is_where_the_client_looked() {
        assert_eq!(path("/"), "/.well-known/oauth-protected-resource");
        assert_eq!(
            path("/payroll/"),
            "/.well-known/oauth-protected-resource/payroll"
        );
        let document = protected_resource_metadata(ProtectedResource {
            origin: "https://apps.example:8443",
            path_prefix: "/payroll",
            name: "payroll",
            authorization_servers: &["https://id.example/realms/corp"],
            certificate_bound: true,
        });
        insta::assert_snapshot!(
            std::str::from_utf8(&document).unwrap(),
            @r#"{"resource":"https://apps.example:8443/payroll","authorization_servers":["https://id.example/realms/corp"],"bearer_methods_supported":["header"],"resource_name":"payroll","tls_client_certificate_bound_access_tokens":true}"#
        );
    }
}
