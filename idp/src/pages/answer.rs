//! Answers without a frame: redirects, JSON, cookies.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;

use crate::provider::Asking;

/// Binds what a person does here to their browser. `__Host-` keeps other hosts from planting it.
pub(crate) const COOKIE: &str = "__Host-masugata-id";

/// RFC 9110 §15.4.4: whatever was asked, go there with GET.
pub(crate) fn see(location: &str) -> Response<Bytes> {
    let mut response = empty(StatusCode::SEE_OTHER);
    match HeaderValue::try_from(location) {
        Ok(value) => {
            response.headers_mut().insert(header::LOCATION, value);
        }
        Err(_) => *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR,
    }
    response
}

pub(crate) fn json(status: StatusCode, value: &Value) -> Response<Bytes> {
    let mut response = empty(status);
    *response.body_mut() = Bytes::from(value.to_string());
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    response
}

/// JSON that is text already.
pub(crate) fn raw_json(text: String) -> Response<Bytes> {
    let mut response = json(StatusCode::OK, &Value::Null);
    *response.body_mut() = Bytes::from(text);
    response
}

pub(crate) fn empty(status: StatusCode) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    response
}

/// Sets our cookie where there is a new one. Lax and not Strict, because people come here from apps on other sites; what
/// changes anything is a POST with a token of the page.
pub(crate) fn with_cookie(
    mut response: Response<Bytes>,
    secret: Option<&SecretString>,
) -> Response<Bytes> {
    let value = secret.and_then(|secret| {
        let secret = secret.expose_secret();
        let text = format!("{COOKIE}={secret}; Path=/; Secure; HttpOnly; SameSite=Lax");
        HeaderValue::try_from(text).ok()
    });
    if let Some(mut value) = value {
        value.set_sensitive(true);
        response.headers_mut().append(header::SET_COOKIE, value);
    }
    response
}

/// The value of our cookie. Two of them are none: nobody can tell which is the real one.
pub(crate) fn cookie(headers: &HeaderMap) -> Option<&str> {
    let mut found = headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(|(name, _)| *name == COOKIE)
        .map(|(_, value)| value);
    let first = found.next()?;
    found.next().is_none().then_some(first)
}

impl Asking<'_> {
    /// A word where no page is worth it.
    pub(crate) fn plain(&self, status: StatusCode) -> Response<Bytes> {
        let mut response = empty(status);
        let words = status.canonical_reason().unwrap_or_default();
        *response.body_mut() = Bytes::from_static(words.as_bytes());
        response.headers_mut().insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/plain; charset=utf-8"),
        );
        response
    }

    /// RFC 9110 §15.5.6.
    pub(crate) fn method_not_allowed(&self, allowed: &[Method]) -> Response<Bytes> {
        let mut response = self.plain(StatusCode::METHOD_NOT_ALLOWED);
        let allowed: Vec<&str> = allowed.iter().map(Method::as_str).collect();
        if let Ok(value) = HeaderValue::try_from(allowed.join(", ")) {
            response.headers_mut().insert(header::ALLOW, value);
        }
        response
    }

    /// Whether this was sent by a page of `origin`: what browsers say about it cannot be changed by scripts of other
    /// sites. Whoever says nothing is no browser that we know.
    pub(crate) fn is_same_origin(&self, origin: &str) -> bool {
        let text = |name: &str| {
            let mut values = self.headers.get_all(name).iter();
            match (values.next(), values.next()) {
                (None, _) => Ok(None),
                (Some(value), None) => value.to_str().map(Some).map_err(|_| ()),
                (Some(_), Some(_)) => Err(()),
            }
        };
        match (text("sec-fetch-site"), text("origin")) {
            // A page with `Referrer-Policy: no-referrer` sends `null`; then the first header alone must do.
            (Ok(Some("same-origin")), Ok(None | Some("null"))) => true,
            (Ok(None | Some("same-origin")), Ok(Some(from))) => from == origin,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(cookies: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in cookies {
            headers.append(header::COOKIE, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn the_cookie_is_found_by_its_exact_name_and_only_once() {
        assert_eq!(cookie(&headers(&["a=b; __Host-masugata-id=x"])), Some("x"));
        assert_eq!(
            cookie(&headers(&["a=b", "__Host-masugata-id=x"])),
            Some("x")
        );
        assert_eq!(cookie(&headers(&["__host-masugata-id=x"])), None);
        assert_eq!(
            cookie(&headers(&["masugata-id=x; X__Host-masugata-id=y"])),
            None
        );
        assert_eq!(
            cookie(&headers(&["__Host-masugata-id=x; __Host-masugata-id=y"])),
            None
        );
    }
}
