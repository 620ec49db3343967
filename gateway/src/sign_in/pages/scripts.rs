//! The one script of these pages, served from our own host so that no page needs inline code.

use bytes::Bytes;
use http::{HeaderValue, Method, Response, header};

/// Tells the waiting tab.
pub(super) const TABS: &str = "/.masugata/assets/tabs.js";

/// The file at that path, if it is one of ours. Public, the same for everybody.
pub(crate) fn asset(method: &Method, path: &str) -> Option<Response<Bytes>> {
    if method != Method::GET && method != Method::HEAD {
        return None;
    }
    let content: &'static str = match path {
        TABS => include_str!("tabs.js"),
        _ => return None,
    };
    let mut response = Response::new(if method == Method::HEAD {
        Bytes::new()
    } else {
        Bytes::from_static(content.as_bytes())
    });
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, "text/javascript; charset=utf-8"),
        (header::CACHE_CONTROL, "public, max-age=300"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert(
        "cross-origin-resource-policy",
        HeaderValue::from_static("same-origin"),
    );
    Some(response)
}
