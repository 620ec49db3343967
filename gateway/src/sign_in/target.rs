//! Where somebody is to be after signing in. The address comes from a link that anybody can write, so it leads to an app of
//! ours or to our own pages, and never anywhere else.

use std::sync::Arc;

use crate::framing;
use crate::state::{AppState, State};

/// See the module's first lines.
#[derive(Clone)]
pub(crate) enum Target {
    App(AppTarget),
    /// A page of the sign-in host: path and query.
    Own(Box<str>),
}

/// A place in an app.
#[derive(Clone)]
pub(crate) struct AppTarget {
    pub(crate) app: Arc<AppState>,
    /// Lower case, without port.
    pub(crate) host: Box<str>,
    /// Path and query, as written.
    pub(crate) path: Box<str>,
}

/// Longer addresses are nobody's who was sent here by us: a head is no larger.
const LONGEST: usize = 8 * 1024;

impl Target {
    /// Reads an absolute address: `https`, a host of ours, our public port, no user, a path that everybody reads alike.
    pub(crate) fn parse(text: &str, state: &State) -> Option<Self> {
        let (host, path) = split(text, |host| state.config.ingress.origin_of(host))?;
        let sign_in = state.config.sign_in.as_ref()?;
        if *host == *sign_in.host {
            return Some(Self::Own(path));
        }
        let bare = path.split('?').next().unwrap_or_default();
        let app = state.routes.resolve(&host, &framing::decoded_path(bare))?;
        Some(Self::App(AppTarget {
            app: Arc::clone(app),
            host,
            path,
        }))
    }

    pub(crate) fn app(&self) -> Option<&AppTarget> {
        match self {
            Self::App(app) => Some(app),
            Self::Own(_) => None,
        }
    }

    /// The absolute address. Never only a path: `//elsewhere.example` would be one.
    pub(crate) fn address(&self, state: &State) -> String {
        let ingress = &state.config.ingress;
        match self {
            Self::App(app) => format!("{}{}", ingress.origin_of(&app.host), app.path),
            Self::Own(path) => {
                let host = state.config.sign_in.as_ref();
                let host = host.map_or("", |sign_in| sign_in.host.as_str());
                format!("{}{path}", ingress.origin_of(host))
            }
        }
    }
}

/// Host (lower case), and path with query, of an address that is written exactly as we write those of our hosts.
fn split(text: &str, origin_of: impl Fn(&str) -> String) -> Option<(Box<str>, Box<str>)> {
    // Others do not stand in an address that a browser sends, and are read differently by different readers.
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"\"<>#".contains(&byte);
    if text.len() > LONGEST || !text.bytes().all(plain) {
        return None;
    }
    let rest = text.strip_prefix("https://")?;
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at_checked(end)?;
    let authority = authority.to_ascii_lowercase();
    let is_port = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if is_port(port) => host,
        _ => authority.as_str(),
    };
    // Byte for byte: no user before it, no other port behind it.
    if origin_of(host).strip_prefix("https://") != Some(&*authority) {
        return None;
    }
    let path = if rest.starts_with('/') {
        rest.to_owned()
    } else {
        format!("/{rest}")
    };
    framing::check_path(path.split('?').next()?).ok()?;
    Some((host.into(), path.into()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Option<(Box<str>, Box<str>)> {
        split(text, |host| format!("https://{host}:8443"))
    }

    #[test]
    fn our_own_addresses_are_read() {
        for (text, host, path) in [
            ("https://app.example:8443/", "app.example", "/"),
            ("https://app.example:8443", "app.example", "/"),
            ("https://App.Example:8443/a?b=c", "app.example", "/a?b=c"),
            ("https://app.example:8443?b=//x", "app.example", "/?b=//x"),
            (
                "https://app.example:8443/?q=a|{b}^`\\c",
                "app.example",
                "/?q=a|{b}^`\\c",
            ),
            (
                "https://app.example:8443/%E3%81%82?q=%2F",
                "app.example",
                "/%E3%81%82?q=%2F",
            ),
        ] {
            assert_eq!(read(text), Some((host.into(), path.into())), "{text}");
        }
    }

    // Attack: a link to the sign-in that ends on the attacker's site.
    #[test]
    fn nothing_else_is() {
        for text in [
            "",
            "/",
            "//evil.test/",
            "http://app.example:8443/",
            "HTTPS://app.example:8443/",
            "https:app.example:8443/",
            "https:/app.example:8443/",
            "https:///app.example:8443/",
            "https://app.example/",
            "https://app.example:443/",
            "https://app.example:8443:8443/",
            "https://user@app.example:8443/",
            "https://app.example:8443@evil.test/",
            "https://app.example:8443@evil.test:8443/",
            "https://app.example:8443\\@evil.test/",
            "https://app.example:8443#@evil.test/",
            "https://app.example:8443//evil.test",
            "https://app.example:8443/a//b",
            "https://app.example:8443/../x",
            "https://app.example:8443/%2e%2e/x",
            "https://app.example:8443/\t",
            "https://app.example:8443/a b",
            "https://app.example:8443/\r\nSet-Cookie: a=b",
            "https://app.example:8443/あ",
            "https://あpp.example:8443/",
            "https://app.example%2eevil.test:8443/",
            "https://[::1]:8443/\u{0}",
            "javascript:alert(1)",
            " https://app.example:8443/",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
        let long = format!("https://app.example:8443/{}", "a".repeat(LONGEST));
        assert_eq!(read(&long), None);
    }

    proptest! {
        /// Whatever is taken means, to a browser's reader of addresses, the host that we found.
        #[test]
        fn what_is_taken_leads_to_that_host(
            text in "(https://)?[a-z.@:/\\\\?#%0-9\\[\\]\\t -]{0,12}(app\\.example)?(:8443)?[a-z.@:/\\\\?#%0-9-]{0,12}"
        ) {
            if let Some((host, path)) = read(&text) {
                let again = url::Url::parse(&format!("https://{host}:8443{path}")).unwrap();
                prop_assert_eq!(again.host_str(), Some(&*host));
                prop_assert_eq!(again.port(), Some(8443));
                let written = url::Url::parse(&text).unwrap();
                prop_assert_eq!(written.host_str(), Some(&*host));
                prop_assert_eq!(written.port(), Some(8443));
                prop_assert_eq!(written.username(), "");
            }
        }
    }
}
