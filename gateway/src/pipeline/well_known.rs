//! Public endpoints that every host answers without a credential: the keys of our assertion, and RFC 9728 metadata.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderValue, Method, Response};

use masugata_policy::Timestamp;

use crate::assertion::JWKS_PATH;
use crate::issuer::metadata::WELL_KNOWN as RESOURCE_METADATA;
use crate::state::State;

/// The answer, or `None` when the path is not one of ours. Only GET and HEAD are: anything else is an app's business.
pub(super) fn answer(
    state: &State,
    head: &Parts,
    host: &str,
    now: Timestamp,
) -> Option<Response<Bytes>> {
    if head.method != Method::GET && head.method != Method::HEAD {
        return None;
    }
    let path = head.uri.path();
    if !path.starts_with("/.well-known/") {
        return None;
    }
    let body = if path == JWKS_PATH {
        state.signer.jwks(now)
    } else {
        // RFC 9728 §3.1: the resource's path follows the well-known name.
        let resource = path.strip_prefix(RESOURCE_METADATA)?;
        let resource = if resource.is_empty() { "/" } else { resource };
        if !resource.starts_with('/') {
            return None;
        }
        state.routes.resolve(host, resource)?.metadata(state, host)
    };
    let body = if head.method == Method::HEAD {
        Bytes::new()
    } else {
        body
    };
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(
        CACHE_CONTROL,
        HeaderValue::from_static("public, max-age=60"),
    );
    Some(response)
}
