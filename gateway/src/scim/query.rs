//! The parameters of a request's address (RFC 7644 §3.4.2).

use super::error::{Kind, ScimError};

/// Resources on one page.
pub(super) const MOST: usize = 200;
const USUAL: usize = 100;

/// What was asked for.
#[derive(Debug, Default)]
pub(super) struct Query {
    pub(super) filter: Option<String>,
    /// Counted from 1.
    pub(super) from: usize,
    pub(super) count: usize,
    pub(super) attributes: Option<String>,
    pub(super) excluded: Option<String>,
}

impl Query {
    /// Parameters that are not known are left alone, as the standard asks; `sortBy` is one of them.
    pub(super) fn parse(query: Option<&str>) -> Result<Self, ScimError> {
        let mut read = Self {
            from: 1,
            count: USUAL,
            ..Self::default()
        };
        let mut seen = Vec::new();
        for (name, value) in url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            let name = name.to_ascii_lowercase();
            if seen.contains(&name) {
                let detail = "a parameter is there twice";
                return Err(ScimError::of(Kind::InvalidSyntax, detail));
            }
            match name.as_str() {
                "filter" => read.filter = Some(value.into_owned()),
                "attributes" => read.attributes = Some(value.into_owned()),
                "excludedattributes" => read.excluded = Some(value.into_owned()),
                "startindex" => read.from = number(&value)?.max(1),
                "count" => read.count = number(&value)?.min(MOST),
                _ => continue,
            }
            seen.push(name);
        }
        Ok(read)
    }
}

/// Less than nothing counts as nothing (§3.4.2.4).
fn number(text: &str) -> Result<usize, ScimError> {
    let number: i64 = text
        .parse()
        .map_err(|_| ScimError::value("`startIndex` or `count` is not a number"))?;
    Ok(usize::try_from(number.max(0)).unwrap_or(usize::MAX))
}
