//! Registrable domains and the two spellings of international names.

use std::borrow::Cow;

use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};

/// What a public suffix is (publicsuffix.org).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suffix {
    /// Under which registries sell names: `com`, `co.jp`.
    Registry,
    /// Under which a company gives names to its customers: `github.io`.
    Company,
    /// A last label that no list knows, as of internal networks.
    Unknown,
}

/// The domain that somebody registered, of a host in lower case and A-labels: `box.com` of `a.app.box.com`. `None` for
/// public suffixes themselves and single labels. Nonsense for address literals; do not ask.
pub fn registrable(host: &str) -> Option<&str> {
    psl::domain_str(host)
}

/// Whether `name` is a public suffix, and of what sort.
pub fn suffix(name: &str) -> Option<Suffix> {
    let found = psl::suffix(name.as_bytes())?;
    if found.as_bytes().len() != name.len() {
        return None;
    }
    Some(match found.typ() {
        Some(psl::Type::Icann) => Suffix::Registry,
        Some(psl::Type::Private) => Suffix::Company,
        None => Suffix::Unknown,
    })
}

/// The one spelling in which hosts are compared: lower case, A-labels, no final dot (UTS 46, non-transitional). Hosts
/// with underscores pass, because they exist. `None` for what is no host name.
pub fn ascii(name: &str) -> Option<Cow<'_, str>> {
    let name = name.strip_suffix('.').unwrap_or(name);
    if is_plain(name) {
        return Some(Cow::Borrowed(name));
    }
    let found = Uts46::new()
        .to_ascii(
            name.as_bytes(),
            AsciiDenyList::URL,
            Hyphens::Allow,
            DnsLength::Verify,
        )
        .ok()?;
    is_plain_but_international(&found).then(|| Cow::Owned(found.into_owned()))
}

/// How people read a host; the host itself where that cannot be said.
pub fn unicode(host: &str) -> Cow<'_, str> {
    if !host.contains("xn--") {
        return Cow::Borrowed(host);
    }
    let (text, sound) =
        Uts46::new().to_unicode(host.as_bytes(), AsciiDenyList::URL, Hyphens::Allow);
    if sound.is_ok() {
        text
    } else {
        Cow::Borrowed(host)
    }
}

/// The common case, without tables: labels of letters, digits, `-` and `_`, none of them an A-label.
fn is_plain(name: &str) -> bool {
    !name.contains("xn--") && is_plain_but_international(name)
}

fn is_plain_but_international(name: &str) -> bool {
    let bytes = name.as_bytes();
    let mut length = 0_usize;
    for byte in bytes {
        match byte {
            b'.' if length == 0 => return false,
            b'.' => length = 0,
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => {
                length = length.saturating_add(1);
                if length > 63 {
                    return false;
                }
            }
            _ => return false,
        }
    }
    length > 0 && bytes.len() <= 253
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_somebody_registered_is_found_under_every_kind_of_suffix() {
        assert_eq!(registrable("a.b.box.com"), Some("box.com"));
        assert_eq!(registrable("www.corp.co.jp"), Some("corp.co.jp"));
        assert_eq!(registrable("ada.github.io"), Some("ada.github.io"));
        assert_eq!(registrable("co.jp"), None);
        assert_eq!(registrable("com"), None);
        assert_eq!(registrable("intranet"), None);
        // 公司.cn and 中国, as hosts arrive.
        assert_eq!(
            registrable("www.example.xn--55qx5d.cn"),
            Some("example.xn--55qx5d.cn")
        );
        assert_eq!(registrable("a.b.xn--fiqs8s"), Some("b.xn--fiqs8s"));
    }

    #[test]
    fn public_suffixes_are_known() {
        assert_eq!(suffix("co.jp"), Some(Suffix::Registry));
        assert_eq!(suffix("github.io"), Some(Suffix::Company));
        assert_eq!(suffix("box.com"), None);
        assert_eq!(suffix("localhost"), Some(Suffix::Unknown));
        assert_eq!(suffix("xn--55qx5d.cn"), Some(Suffix::Registry));
    }

    #[test]
    fn an_international_name_has_one_spelling() {
        for spelling in [
            "日本語.JP",
            "日本語。jp",
            "xn--wgv71a119e.jp",
            "XN--WGV71A119E.jp.",
        ] {
            assert_eq!(
                ascii(spelling).as_deref(),
                Some("xn--wgv71a119e.jp"),
                "{spelling}"
            );
        }
        assert_eq!(unicode("xn--wgv71a119e.jp"), "日本語.jp");
        assert_eq!(unicode("xn--a.jp"), "xn--a.jp");
        assert_eq!(ascii("ＢＯＸ.com").as_deref(), Some("box.com"));
        assert_eq!(ascii("a_b.Example").as_deref(), Some("a_b.example"));
        for bad in [
            "",
            ".",
            "a..b",
            ".a",
            "a b",
            "a/b",
            "a:1",
            "xn--a.jp",
            "xn--box-.com",
            "a\u{200b}",
            "%61.com",
            "a@b",
            &"a".repeat(64),
            &"a.".repeat(130),
        ] {
            assert_eq!(ascii(bad).filter(|found| found != "a"), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn the_spelling_is_stable_and_safe(text in "\\PC{0,20}(\\.\\PC{1,8})?") {
            if let Some(one) = ascii(&text) {
                prop_assert!(one.is_ascii() && !one.ends_with('.') && one.len() <= 253);
                prop_assert!(one.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b)));
                let again = ascii(&one).map(Cow::into_owned);
                prop_assert_eq!(again.as_deref(), Some(&*one));
                let _ = (registrable(&one), suffix(&one), unicode(&one));
            }
        }
    }
}
