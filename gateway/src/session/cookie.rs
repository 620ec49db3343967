//! Cookies of ours: what they are called, how they are set, and how they are found again among those of apps.
//!
//! RFC 6265bis §4.1.3: with the prefix `__Host-` a browser takes a cookie only over TLS, for the whole host and for no other,
//! so that neither an app nor a neighbouring host can plant one. They last as long as the browser runs.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{Context, SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};

use crate::capability::Entropy;

/// The session of a host.
pub(crate) const SESSION: &str = "__Host-masugata";
/// Names the browser at the sign-in host while somebody signs in.
pub(crate) const ATTEMPT: &str = "__Host-masugata-attempt";
/// Names the browser at an app's host while somebody signs in.
pub(crate) const START: &str = "__Host-masugata-start";

/// 256 bits that a browser must show. Neither printed nor kept.
#[derive(Clone)]
pub(crate) struct Secret([u8; 32]);

/// How long the text of a secret is.
const LETTERS: usize = 43;

impl Secret {
    pub(crate) fn new(entropy: &dyn Entropy) -> Self {
        let mut bytes = [0; 32];
        entropy.fill(&mut bytes);
        Self(bytes)
    }

    /// Base64url without padding.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        let mut bytes = [0; 32];
        if text.len() != LETTERS {
            return None;
        }
        let length = URL_SAFE_NO_PAD.decode_slice(text, &mut bytes).ok()?;
        (length == bytes.len()).then_some(Self(bytes))
    }

    /// For the cookie or the link, and nothing else.
    pub(crate) fn expose(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    /// SHA-256, by which the other side of an exchange may know it.
    pub(crate) fn print(&self) -> Print {
        let mut print = [0; 32];
        print.copy_from_slice(digest(&SHA256, &self.0).as_ref());
        Print(print)
    }

    /// By what the table knows it at that host.
    pub(super) fn key(&self, host: &str) -> Key {
        let mut context = Context::new(&SHA256);
        // The secret has a fixed length, so no two pairs give the same bytes.
        context.update(&self.0);
        context.update(host.as_bytes());
        let mut key = [0; 32];
        key.copy_from_slice(context.finish().as_ref());
        Key(key)
    }
}

/// SHA-256 of a secret, and of the host it is for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key(pub(super) [u8; 32]);

impl Key {
    /// Of a secret that somebody else made.
    pub(crate) fn of_text(text: &str) -> Self {
        let mut key = [0; 32];
        key.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
        Self(key)
    }
}

/// SHA-256 of a secret: shows that two mean the same one. Public.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Print([u8; 32]);

impl Print {
    /// Base64url without padding.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Secret::parse(text.as_bytes()).map(|secret| Self(secret.0))
    }

    pub(crate) fn text(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    /// Takes the same time whatever differs.
    pub(crate) fn is(&self, other: &Self) -> bool {
        verify_slices_are_equal(&self.0, &other.0).is_ok()
    }

    /// Whether it is that of `secret`.
    pub(crate) fn is_of(&self, secret: &Secret) -> bool {
        self.is(&secret.print())
    }
}

/// What a request brings under the name of one of our cookies.
#[derive(Clone)]
pub(crate) enum Brought {
    Nothing,
    One(Secret),
    /// No secret of ours.
    Unreadable,
    /// More than one, which no browser sends.
    Several,
}

impl Brought {
    pub(crate) fn one(self) -> Option<Secret> {
        match self {
            Self::One(secret) => Some(secret),
            Self::Nothing | Self::Unreadable | Self::Several => None,
        }
    }
}

/// Looks for the cookie of that name (RFC 6265 §5.4). Allocates nothing.
pub(crate) fn brought(headers: &HeaderMap, name: &str) -> Brought {
    let mut found = Brought::Nothing;
    for field in headers.get_all(COOKIE) {
        for pair in field.as_bytes().split(|byte| *byte == b';') {
            let value = pair
                .trim_ascii()
                .strip_prefix(name.as_bytes())
                .and_then(|rest| rest.strip_prefix(b"="));
            let Some(value) = value else { continue };
            found = match found {
                Brought::Nothing => Secret::parse(value).map_or(Brought::Unreadable, Brought::One),
                Brought::One(_) | Brought::Unreadable | Brought::Several => {
                    return Brought::Several;
                }
            };
        }
    }
    found
}

/// `Set-Cookie` for a secret.
pub(crate) fn set(name: &str, secret: &Secret) -> HeaderValue {
    let text = format!(
        "{name}={}; Secure; HttpOnly; SameSite=Lax; Path=/",
        secret.expose()
    );
    let mut value = HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""));
    value.set_sensitive(true);
    value
}

/// `Set-Cookie` that takes the cookie away.
pub(crate) fn unset(name: &str) -> HeaderValue {
    let text = format!("{name}=; Max-Age=0; Secure; HttpOnly; SameSite=Lax; Path=/");
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    struct Counting(std::sync::atomic::AtomicU8);

    impl Entropy for Counting {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
        }
    }

    fn secrets() -> (Secret, Secret) {
        let entropy = Counting(1.into());
        (Secret::new(&entropy), Secret::new(&entropy))
    }

    fn headers(fields: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(COOKIE, HeaderValue::from_str(field).unwrap());
        }
        headers
    }

    #[test]
    fn a_cookie_is_for_this_host_and_this_browser_only() {
        let (secret, _) = secrets();
        let set = set(SESSION, &secret);
        assert!(set.is_sensitive());
        let text = set.to_str().unwrap();
        assert_eq!(
            text,
            format!(
                "__Host-masugata={}; Secure; HttpOnly; SameSite=Lax; Path=/",
                secret.expose()
            )
        );
        assert!(!text.to_ascii_lowercase().contains("domain"));
        assert!(unset(START).to_str().unwrap().contains("Max-Age=0; Secure"));
    }

    #[test]
    fn it_is_found_among_those_of_apps() {
        let (secret, other) = secrets();
        let (text, other) = (secret.expose(), other.expose());
        for fields in [
            &[format!("{SESSION}={text}")][..],
            &[format!("a=b; {SESSION}={text};c=d")],
            &["a=b".to_owned(), format!("{SESSION}={text}")],
            &[format!(
                "{START}={other}; {ATTEMPT}={other}; {SESSION}={text}"
            )],
            &[format!(
                "x{SESSION}={other}; {SESSION}={text}; {SESSION}x={other}"
            )],
            &[format!("__host-masugata={other}; {SESSION}={text}")],
        ] {
            let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
            let found = brought(&headers(&fields), SESSION).one().unwrap();
            assert_eq!(found.expose(), text, "{fields:?}");
        }
    }

    #[test]
    fn what_is_no_secret_is_none_and_two_are_none() {
        let (secret, _) = secrets();
        let text = secret.expose();
        assert!(matches!(
            brought(&HeaderMap::new(), SESSION),
            Brought::Nothing
        ));
        for field in [
            format!("{SESSION}="),
            format!("{SESSION}={}", &text[1..]),
            format!("{SESSION}={text}A"),
            format!("{SESSION}={text}="),
            format!("{SESSION}=\"{text}\""),
            format!("{SESSION}={}!", &text[1..]),
        ] {
            let found = brought(&headers(&[&field]), SESSION);
            assert!(matches!(found, Brought::Unreadable), "{field}");
        }
        let twice = format!("{SESSION}={text}; {SESSION}={text}");
        assert!(matches!(
            brought(&headers(&[&twice]), SESSION),
            Brought::Several
        ));
    }

    #[test]
    fn a_secret_is_another_one_at_another_host() {
        let (secret, other) = secrets();
        let key = secret.key("a.example");
        assert!(key == secret.key("a.example"));
        assert!(key != secret.key("b.example") && key != other.key("a.example"));
        assert!(secret.print().is_of(&secret) && !secret.print().is_of(&other));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_stumble(field in "[ -~]{0,120}") {
            let _ = brought(&headers(&[&field]), SESSION);
        }
    }
}
