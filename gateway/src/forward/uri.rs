//! The request target on its way upstream. Only the prefix may change; every other byte of path and query stays.

use bytes::Bytes;
use http::Uri;
use http::uri::PathAndQuery;

/// Replaces an app's path prefix by another.
#[derive(Clone, Debug)]
pub struct PrefixRewrite {
    /// Without a trailing slash; empty for `/`.
    from: Box<str>,
    to: Box<str>,
}

impl PrefixRewrite {
    /// Both start with `/`; a trailing slash makes no difference.
    pub fn new(from: &str, to: &str) -> Self {
        Self {
            from: from.trim_end_matches('/').into(),
            to: to.trim_end_matches('/').into(),
        }
    }

    /// The target with the prefix replaced; `None` when the path does not have the prefix, on a segment boundary, or the
    /// result is no path (nothing that `from` and a valid target can lead to).
    pub fn apply(&self, target: &PathAndQuery) -> Option<PathAndQuery> {
        let rest = target.as_str().strip_prefix(&*self.from)?;
        match rest.as_bytes().first() {
            None | Some(b'/' | b'?') => {}
            Some(_) => return None,
        }
        let mut path = String::with_capacity(self.to.len() + rest.len() + 1);
        path.push_str(&self.to);
        // `/app` becomes `/`, and `//` cannot come to be at the seam.
        if !rest.starts_with('/') && self.to.is_empty() {
            path.push('/');
        }
        path.push_str(rest);
        PathAndQuery::from_maybe_shared(Bytes::from(path)).ok()
    }
}

/// Path and query of any form of request target; `/` where there is none.
pub fn origin_form(uri: &Uri) -> PathAndQuery {
    uri.path_and_query()
        .cloned()
        .unwrap_or_else(|| PathAndQuery::from_static("/"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rewrite(from: &str, to: &str, target: &str) -> Option<String> {
        PrefixRewrite::new(from, to)
            .apply(&target.parse().unwrap())
            .map(|target| target.as_str().to_owned())
    }

    #[test]
    fn a_prefix_is_replaced_on_a_segment_boundary_only() {
        assert_eq!(rewrite("/app", "/", "/app/x?q=1").unwrap(), "/x?q=1");
        assert_eq!(rewrite("/app", "/", "/app").unwrap(), "/");
        assert_eq!(rewrite("/app", "/", "/app?q").unwrap(), "/?q");
        assert_eq!(rewrite("/app", "/base", "/app").unwrap(), "/base");
        assert_eq!(rewrite("/app/", "/base/", "/app/x").unwrap(), "/base/x");
        assert_eq!(rewrite("/", "/base", "/x").unwrap(), "/base/x");
        assert_eq!(rewrite("/app", "/", "/apple"), None);
        assert_eq!(rewrite("/app", "/", "/other/app"), None);
    }

    #[test]
    fn odd_bytes_behind_the_prefix_are_left_alone() {
        let target = "/app/%C3%A4//a%20b;c/../?x=%2F&y=//&&z";
        assert_eq!(
            rewrite("/app", "/b", target).unwrap(),
            "/b/%C3%A4//a%20b;c/../?x=%2F&y=//&&z"
        );
    }

    #[test]
    fn an_absolute_form_becomes_an_origin_form() {
        let uri: Uri = "https://app.example:8443/a/b?c=%20".parse().unwrap();
        assert_eq!(origin_form(&uri).as_str(), "/a/b?c=%20");
    }

    proptest! {
        #[test]
        fn everything_behind_the_prefix_survives(rest in "(/[a-zA-Z0-9%._~;=-]{0,8}){0,5}(\\?[a-z0-9=&%/]{0,12})?") {
            let target = format!("/app{rest}");
            let rewritten = rewrite("/app", "/new", &target).unwrap();
            prop_assert_eq!(rewritten, format!("/new{rest}"));
        }
    }
}
