//! What the door tells people: why something was refused, how to set a program up.

pub mod form;
pub mod setup;
pub mod why;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};

use crate::respond::{self, Preferences};

/// A page of ours as it is sent.
fn answer(
    status: StatusCode,
    (content_type, content): (&'static str, Vec<u8>),
    policy: HeaderValue,
    preferences: Preferences,
) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(content.len()));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    respond::negotiated_headers(headers, preferences);
    // With `no-referrer` browsers say `Origin: null` on the page's own forms (Fetch §3.2), which then do not count.
    headers.insert(
        header::REFERRER_POLICY,
        HeaderValue::from_static("same-origin"),
    );
    headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    if !preferences.head_only {
        *response.body_mut() = Bytes::from(content);
    }
    response
}
