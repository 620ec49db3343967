//! Our one script: in the program, not on disk.

use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};

use crate::provider::Asking;

use super::answer;

const SCRIPT: &str = include_str!("../assets/passkey.js");

/// Its hash, so that a new version has a new address.
static VERSION: LazyLock<String> = LazyLock::new(|| {
    let hash = digest(&SHA256, SCRIPT.as_bytes());
    URL_SAFE_NO_PAD.encode(hash.as_ref().get(..12).unwrap_or_default())
});

/// For `<script src>`.
pub(crate) static ADDRESS: LazyLock<String> =
    LazyLock::new(|| format!("/id/assets/passkey.js?v={}", *VERSION));

pub(crate) fn serve(asking: &Asking<'_>) -> Response<Bytes> {
    let tag = format!("\"{}\"", *VERSION);
    let is_known = asking
        .headers
        .get(header::IF_NONE_MATCH)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| {
            value
                .split(',')
                .any(|it| it.trim().trim_start_matches("W/") == tag)
        });
    let mut response = answer::empty(if is_known {
        StatusCode::NOT_MODIFIED
    } else {
        StatusCode::OK
    });
    // The address with this version will always be this; another one may come with the next release.
    let is_this = asking
        .uri
        .query()
        .and_then(|query| query.strip_prefix("v="))
        == Some(&**VERSION);
    let kept = if is_this {
        "private, max-age=31536000, immutable"
    } else {
        "no-cache"
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(kept));
    if let Ok(tag) = HeaderValue::try_from(tag) {
        headers.insert(header::ETAG, tag);
    }
    if !is_known {
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/javascript; charset=utf-8"),
        );
        *response.body_mut() = Bytes::from_static(SCRIPT.as_bytes());
    }
    response
}
