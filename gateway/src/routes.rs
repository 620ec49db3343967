//! Which app serves a host and path, what the TLS connection must have asked of its client, and whether a connection
//! may carry a request for a host at all.

use std::collections::HashMap;
use std::net::IpAddr;

use ahash::RandomState;

use crate::config::{ClientCertificateMode, ClientCertificateRule};
use crate::connection::TlsFacts;

type Map<K, V> = HashMap<K, V, RandomState>;

/// Host patterns and path prefixes, each pair with what serves it.
#[derive(Debug)]
pub struct RouteTable<T> {
    hosts: ByHost<Prefixes<T>>,
}

/// The same pattern and prefix were given twice.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("host `{host}` with path prefix `{prefix}` is declared twice")]
pub struct RouteConflict {
    pub host: String,
    pub prefix: String,
}

/// One route to be: exact names or `*.suffix`, lower case; a prefix that starts with `/`; what serves it.
#[derive(Clone, Debug)]
pub struct Route<'a, T> {
    pub hosts: &'a [String],
    pub prefix: &'a str,
    pub service: T,
}

impl<T: Clone> RouteTable<T> {
    /// # Errors
    /// [`RouteConflict`] when two routes share a host pattern and a prefix (`/a` and `/a/` are one).
    pub fn build<'a>(routes: impl IntoIterator<Item = Route<'a, T>>) -> Result<Self, RouteConflict>
    where
        T: 'a,
    {
        let mut hosts = ByHost::<Prefixes<T>>::default();
        for route in routes {
            let prefix = route.prefix.trim_end_matches('/');
            for host in route.hosts {
                let prefixes = hosts.entry(host);
                if prefixes.insert(prefix, route.service.clone()).is_some() {
                    return Err(RouteConflict {
                        host: host.clone(),
                        prefix: route.prefix.to_owned(),
                    });
                }
            }
        }
        Ok(Self { hosts })
    }
}

impl<T> RouteTable<T> {
    /// The route for a host (lower case, without port) and a checked path. Routes of the exact host come before those of a
    /// wildcard; among them the longest prefix wins that ends where a segment ends. Allocates nothing.
    pub fn resolve(&self, host: &str, path: &str) -> Option<&T> {
        let within = |prefixes: &'_ Prefixes<T>| prefixes.covers(path);
        let exact = self.hosts.exact(host).filter(|it| within(it));
        let prefixes = exact.or_else(|| self.hosts.wildcard(host))?;
        prefixes.longest(path)
    }

    /// Whether any route has this host; for telling a wrong path from a wrong host in the record.
    pub fn knows_host(&self, host: &str) -> bool {
        self.hosts.exact(host).is_some() || self.hosts.wildcard(host).is_some()
    }
}

/// Host patterns: exact names, and `*.suffix`, where the star is one label.
#[derive(Debug)]
struct ByHost<T> {
    exact: Map<Box<str>, T>,
    /// By what stands behind `*.`
    wildcards: Map<Box<str>, T>,
}

impl<T> Default for ByHost<T> {
    fn default() -> Self {
        Self {
            exact: Map::default(),
            wildcards: Map::default(),
        }
    }
}

impl<T> ByHost<T> {
    fn exact(&self, host: &str) -> Option<&T> {
        self.exact.get(host)
    }

    fn wildcard(&self, host: &str) -> Option<&T> {
        let (label, suffix) = host.split_once('.')?;
        // An empty label would make `.example` match `*.example`.
        if label.is_empty() {
            return None;
        }
        self.wildcards.get(suffix)
    }
}

impl<T: Default> ByHost<T> {
    fn entry(&mut self, pattern: &str) -> &mut T {
        match pattern.strip_prefix("*.") {
            Some(suffix) => self.wildcards.entry(suffix.into()).or_default(),
            None => self.exact.entry(pattern.into()).or_default(),
        }
    }
}

/// The prefixes of one host pattern, without trailing slashes; the empty one is `/`.
#[derive(Debug)]
struct Prefixes<T> {
    services: Map<Box<str>, T>,
    /// INVARIANT: no key is longer, so that a long path costs no more look-ups than the longest prefix has segments.
    longest: usize,
}

impl<T> Default for Prefixes<T> {
    fn default() -> Self {
        Self {
            services: Map::default(),
            longest: 0,
        }
    }
}

impl<T> Prefixes<T> {
    fn insert(&mut self, prefix: &str, service: T) -> Option<T> {
        self.longest = self.longest.max(prefix.len());
        self.services.insert(prefix.into(), service)
    }

    fn covers(&self, path: &str) -> bool {
        self.longest(path).is_some()
    }

    /// INVARIANT: candidates are tried from the longest to the shortest, and each ends before a `/` or at the end of the
    /// path, so the first match is the answer and `/admin` never matches `/administrator`.
    fn longest(&self, path: &str) -> Option<&T> {
        let whole = Some(path.len()).filter(|length| *length <= self.longest);
        let within = path.get(..=self.longest).unwrap_or(path);
        let boundaries = within.rmatch_indices('/').map(|(at, _)| at);
        whole
            .into_iter()
            .chain(boundaries)
            .find_map(|end| self.services.get(path.get(..end)?))
    }
}

/// What the handshake asks of a client, by host name.
#[derive(Debug)]
pub struct HostModes {
    /// With the position of the rule: the first rule in the file that matches counts, exact or not.
    rules: ByHost<Option<(usize, ClientCertificateMode)>>,
    otherwise: ClientCertificateMode,
}

impl HostModes {
    /// The configured rules, and the mode for hosts that none names.
    pub fn new(rules: &[ClientCertificateRule], otherwise: ClientCertificateMode) -> Self {
        let mut by_host = ByHost::<Option<(usize, ClientCertificateMode)>>::default();
        for (position, rule) in rules.iter().enumerate() {
            for host in &rule.hosts {
                by_host.entry(host).get_or_insert((position, rule.mode));
            }
        }
        Self {
            rules: by_host,
            otherwise,
        }
    }

    /// The mode for a host or server name (lower case); `None` is a client that sent no name.
    pub fn mode(&self, host: Option<&str>) -> ClientCertificateMode {
        let Some(host) = host else {
            return self.otherwise;
        };
        let exact = self.rules.exact(host).copied().flatten();
        let wildcard = self.rules.wildcard(host).copied().flatten();
        let first = match (exact, wildcard) {
            (Some(exact), Some(wildcard)) if wildcard.0 < exact.0 => Some(wildcard),
            (exact, wildcard) => exact.or(wildcard),
        };
        first.map_or(self.otherwise, |(_, mode)| mode)
    }

    /// Whether a connection may carry requests for `host`; if not, the answer is 421 (RFC 9110 §15.5.20) and a browser
    /// opens a connection of its own.
    ///
    /// Strict on purpose: the name in the handshake must be the host. Browsers share an HTTP/2 connection between all
    /// hosts of a wildcard certificate, and what was asked of the client then was for another host. A client without
    /// SNI may ask for address literals only, which never appear in SNI. After a reload the host may demand more than
    /// this handshake asked for; such a connection will not do any more either.
    pub fn may_serve(&self, tls: &TlsFacts, host: &str) -> bool {
        let named = match tls.server_name.as_deref() {
            Some(name) => name == host,
            None => is_address(host),
        };
        named && strictness(tls.client_certificate) >= strictness(self.mode(Some(host)))
    }
}

fn is_address(host: &str) -> bool {
    let inner = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    inner.unwrap_or(host).parse::<IpAddr>().is_ok()
}

fn strictness(mode: ClientCertificateMode) -> u8 {
    match mode {
        ClientCertificateMode::Off => 0,
        ClientCertificateMode::Optional => 1,
        ClientCertificateMode::Required => 2,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::connection::Protocol;

    fn table(routes: &[(&str, &str)]) -> RouteTable<usize> {
        let hosts: Vec<Vec<String>> = routes
            .iter()
            .map(|(host, _)| vec![(*host).to_owned()])
            .collect();
        let routes = routes.iter().zip(&hosts).enumerate();
        RouteTable::build(routes.map(|(service, ((_, prefix), hosts))| Route {
            hosts,
            prefix,
            service,
        }))
        .unwrap()
    }

    #[test]
    fn the_longest_prefix_on_a_segment_boundary_wins() {
        let table = table(&[
            ("h", "/"),
            ("h", "/admin"),
            ("h", "/admin/users/"),
            ("h", "/api"),
        ]);
        for (path, expected) in [
            ("/", 0),
            ("/x", 0),
            ("/administrator", 0),
            ("/admin", 1),
            ("/admin/", 1),
            ("/admin/user", 1),
            ("/admin/users", 2),
            ("/admin/users/", 2),
            ("/admin/users/7/edit", 2),
            ("/admin/usersx", 1),
            ("/api/v1", 3),
            ("/apiv1", 0),
            ("*", 0),
        ] {
            // `*` belongs to no prefix.
            let expected = (path != "*").then_some(expected);
            assert_eq!(table.resolve("h", path).copied(), expected, "{path}");
        }
        assert_eq!(table.resolve("other", "/"), None);
    }

    #[test]
    fn an_exact_host_comes_before_a_wildcard_of_one_label() {
        let table = table(&[
            ("*.example", "/"),
            ("a.example", "/x"),
            ("*.example", "/x/y"),
        ]);
        assert_eq!(table.resolve("a.example", "/x/y"), Some(&1));
        assert_eq!(table.resolve("a.example", "/z"), Some(&0));
        assert_eq!(table.resolve("b.example", "/x/y"), Some(&2));
        for other in ["example", ".example", "a.b.example", "aexample", ""] {
            assert_eq!(table.resolve(other, "/"), None, "{other}");
        }
        assert!(table.knows_host("b.example") && !table.knows_host("a.b.example"));
    }

    #[test]
    fn an_empty_table_serves_nobody() {
        assert_eq!(table(&[]).resolve("h", "/"), None);
    }

    #[test]
    fn the_same_route_twice_is_an_error() {
        let hosts = ["h".to_owned()];
        let route = |prefix| Route {
            hosts: &hosts,
            prefix,
            service: (),
        };
        let conflict = RouteTable::build([route("/a"), route("/a/")]).unwrap_err();
        assert_eq!(
            conflict.to_string(),
            "host `h` with path prefix `/a/` is declared twice"
        );
    }

    proptest! {
        #[test]
        fn resolving_agrees_with_a_linear_scan(
            routes in proptest::collection::btree_set(
                (proptest::sample::select(vec!["a.e", "b.e", "*.e", "*.b.e"]), "(/[ab]{1,2}){0,3}"), 0..12),
            host in proptest::sample::select(vec!["a.e", "b.e", "c.e", "a.b.e", "e"]),
            path in "(/[ab]{1,2}){0,5}/?",
        ) {
            let path = if path.is_empty() { "/".to_owned() } else { path };
            let routes: Vec<(&str, String)> = routes.into_iter().collect();
            let prefixes: Vec<(&str, &str)> = routes
                .iter()
                .map(|(host, prefix)| (*host, if prefix.is_empty() { "/" } else { prefix.as_str() }))
                .collect();
            let slow = routes
                .iter()
                .enumerate()
                .filter(|(_, (pattern, prefix))| {
                    let host_matches = match pattern.strip_prefix("*.") {
                        Some(suffix) => host.split_once('.').is_some_and(|(_, rest)| rest == suffix),
                        None => *pattern == host,
                    };
                    host_matches && (path == *prefix || path.starts_with(&format!("{prefix}/")))
                })
                .max_by_key(|(_, (pattern, prefix))| (!pattern.starts_with('*'), prefix.len()))
                .map(|(index, _)| index);
            prop_assert_eq!(table(&prefixes).resolve(host, &path).copied(), slow);
        }
    }

    use ClientCertificateMode::{Off, Optional, Required};

    fn modes(rules: &[(&str, ClientCertificateMode)]) -> HostModes {
        let rules: Vec<ClientCertificateRule> = rules
            .iter()
            .map(|(host, mode)| ClientCertificateRule {
                hosts: vec![(*host).to_owned()],
                mode: *mode,
            })
            .collect();
        HostModes::new(&rules, Required)
    }

    fn tls(server_name: Option<&str>, client_certificate: ClientCertificateMode) -> TlsFacts {
        TlsFacts {
            server_name: server_name.map(Into::into),
            client_certificate,
            version: "TLSv1.3",
            suite: "",
            group: "",
            resumed: false,
            protocol: Protocol::Http2,
        }
    }

    #[test]
    fn the_first_rule_that_matches_counts() {
        let modes = modes(&[
            ("*.e", Optional),
            ("a.e", Off),
            ("b.f", Off),
            ("*.f", Optional),
        ]);
        assert_eq!(modes.mode(Some("a.e")), Optional);
        assert_eq!(modes.mode(Some("b.f")), Off);
        assert_eq!(modes.mode(Some("c.f")), Optional);
        assert_eq!(modes.mode(Some("other")), Required);
        assert_eq!(modes.mode(None), Required);
    }

    // RFC 9110 §15.5.20, RFC 9113 §9.1.1: connection coalescing.
    #[test]
    fn a_connection_serves_the_host_of_its_handshake_only() {
        let modes = modes(&[("open.e", Off), ("*.e", Optional)]);
        assert!(modes.may_serve(&tls(Some("a.e"), Optional), "a.e"));
        assert!(!modes.may_serve(&tls(Some("a.e"), Optional), "b.e"));
        assert!(!modes.may_serve(&tls(Some("open.e"), Off), "a.e"));
        assert!(!modes.may_serve(&tls(None, Required), "a.e"));
        assert!(modes.may_serve(&tls(None, Required), "192.0.2.1"));
        assert!(modes.may_serve(&tls(None, Required), "[::1]"));
        assert!(!modes.may_serve(&tls(None, Off), "[::1]"));
        assert!(!modes.may_serve(&tls(Some("a.e"), Optional), "[::1]"));
    }

    #[test]
    fn a_handshake_that_asked_for_less_than_the_host_now_demands_will_not_do() {
        let modes = modes(&[("a.e", Required)]);
        assert!(!modes.may_serve(&tls(Some("a.e"), Optional), "a.e"));
        assert!(!modes.may_serve(&tls(Some("a.e"), Off), "a.e"));
        assert!(modes.may_serve(&tls(Some("a.e"), Required), "a.e"));
    }
}
