//! Names that look like protected ones.
//!
//! Compared is what somebody registered, without its suffix, as people see it: two labels look alike if their skeletons
//! (UTS 39 §4) are the same, small and capital letters taken together. A label that *is* the protected one under another
//! suffix (`corp-example.top`) is an imitation only of the company's own domains: that `google.co.jp` belongs to the owner
//! of `google.com`, nobody can know from the name.

use std::borrow::Cow;
use std::sync::{Arc, LazyLock};

use ahash::AHashMap;
use unicode_security::MixedScript as _;
use unicode_security::confusable_detection::skeleton;

use super::name;

/// The category of imitations.
pub const LOOK_ALIKE: &str = "look-alike";
/// The category of labels that mix scripts as no language does.
pub const MIXED_SCRIPT: &str = "mixed-script";

/// Bytes of a label (RFC 1035 §2.3.4).
const LONGEST: usize = 63;
/// Shortest label whose imitations are looked for: shorter ones look like too many others.
const SHORTEST: usize = 4;

/// Protected names by their skeletons.
#[derive(Debug)]
pub struct LookAlikes {
    by_skeleton: AHashMap<Box<[u8]>, Vec<Protected>>,
    mixed: Arc<str>,
}

#[derive(Debug)]
struct Protected {
    domain: Box<str>,
    /// As people see it.
    label: Box<str>,
    /// The company's own.
    own: bool,
    /// For the record, in the place of a feed.
    shown: Arc<str>,
}

/// What a host pretends to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resemblance {
    /// [`LOOK_ALIKE`] or [`MIXED_SCRIPT`].
    pub category: &'static str,
    /// `look-alike@corp.example`, or the category again.
    pub evidence: Arc<str>,
}

impl LookAlikes {
    /// `own` and `others` are domains, lower case, A-labels.
    pub fn new<'a>(
        own: impl IntoIterator<Item = &'a str>,
        others: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let mut by_skeleton: AHashMap<Box<[u8]>, Vec<Protected>> = AHashMap::new();
        let own = own.into_iter().map(|domain| (domain, true));
        for (domain, own) in own.chain(others.into_iter().map(|domain| (domain, false))) {
            let Some(domain) = name::registrable(domain) else {
                continue;
            };
            let label = visible(domain);
            let of = by_skeleton
                .entry(skeleton_of(&label).into_bytes().into())
                .or_default();
            if of.iter().all(|known| &*known.domain != domain) {
                of.push(Protected {
                    domain: domain.into(),
                    label: (*label).into(),
                    own,
                    shown: format!("{LOOK_ALIKE}@{domain}").into(),
                });
            }
        }
        Self {
            by_skeleton,
            mixed: MIXED_SCRIPT.into(),
        }
    }

    /// What `host` pretends to be; `domain` is its registrable domain.
    pub fn find(&self, host: &str, domain: &str) -> Vec<Resemblance> {
        let mut found = Vec::new();
        let label = visible(domain);
        if let Some(known) = self.imitated(domain, &label) {
            found.push(Resemblance {
                category: LOOK_ALIKE,
                evidence: Arc::clone(&known.shown),
            });
        }
        if host.contains("xn--") && name::unicode(host).split('.').any(mixes_scripts) {
            found.push(Resemblance {
                category: MIXED_SCRIPT,
                evidence: Arc::clone(&self.mixed),
            });
        }
        found
    }

    fn imitated(&self, domain: &str, label: &str) -> Option<&Protected> {
        let mut room = [0; 2 * LONGEST];
        let known = match of_ascii(label, &mut room) {
            Some(skeleton) => self.by_skeleton.get(skeleton)?,
            None => self.by_skeleton.get(skeleton_of(label).as_bytes())?,
        };
        if known.iter().any(|known| &*known.domain == domain) {
            return None;
        }
        known.iter().find(|known| {
            let same = &*known.label == label;
            let long = known.label.chars().count() >= SHORTEST;
            (same && known.own) || (!same && (long || !label.is_ascii()))
        })
    }
}

/// The label that somebody chose, as people see it.
fn visible(domain: &str) -> Cow<'_, str> {
    name::unicode(domain.split('.').next().unwrap_or(domain))
}

fn skeleton_of(label: &str) -> String {
    // Lower case before, because hosts are; after, because the skeleton of `0` is `O`.
    skeleton(label).flat_map(char::to_lowercase).collect()
}

/// Skeletons of single ASCII characters, one or two bytes each; that of a text is theirs in a row (tested). Nearly all hosts
/// are ASCII, and are looked at for every request.
static OF_ASCII: LazyLock<[[u8; 2]; 128]> = LazyLock::new(|| {
    std::array::from_fn(|at| {
        let mut of = [0; 2];
        let c = u8::try_from(at).map_or(' ', char::from);
        let skeleton = skeleton_of(c.encode_utf8(&mut [0; 4]));
        for (to, byte) in of.iter_mut().zip(skeleton.bytes()) {
            *to = byte;
        }
        of
    })
});

/// The skeleton of a label of letters, digits, `-` and `_`, without an allocation.
fn of_ascii<'r>(label: &str, room: &'r mut [u8; 2 * LONGEST]) -> Option<&'r [u8]> {
    let mut length = 0;
    for byte in label.bytes() {
        let plain = byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        let skeleton = OF_ASCII.get(usize::from(byte)).filter(|_| plain)?;
        for byte in skeleton.iter().filter(|byte| **byte != 0) {
            *room.get_mut(length)? = *byte;
            length += 1;
        }
    }
    room.get(..length)
}

/// Whether a label mixes scripts as no writing system does. Japanese, Chinese and Korean labels may have Latin letters
/// (UTS 39 §5.2, highly restrictive).
fn mixes_scripts(label: &str) -> bool {
    if label.is_ascii() || label.is_single_script() {
        return false;
    }
    let rest: String = label.chars().filter(|c| !c.is_ascii()).collect();
    let scripts = rest.as_str().resolve_script_set();
    !(scripts.jpan || scripts.hanb || scripts.kore)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn categories(host: &str) -> Vec<&'static str> {
        let known = LookAlikes::new(
            ["corp-example.jp", "日本語.jp"]
                .map(|d| &*Box::leak(name::ascii(d).unwrap().into_owned().into_boxed_str())),
            [
                "google.com",
                "microsoft.com",
                "rakuten.co.jp",
                "paypal.com",
                "au.com",
            ],
        );
        let host = name::ascii(host).unwrap();
        let domain = name::registrable(&host).unwrap();
        known
            .find(&host, domain)
            .iter()
            .map(|one| one.category)
            .collect()
    }

    #[test]
    fn imitations_are_found_in_any_script() {
        for host in [
            "g00gle.com",
            "www.rnicrosoft.com",
            "paypaI.com",
            "paypa1.net",
            "gооgle.com",
            "rakutén.example",
            "c0rp-example.jp",
        ] {
            let found = categories(host);
            if host == "rakutén.example" || host == "paypaI.com" {
                // An accent is seen; and a capital I has become a small one before it arrives.
                assert!(found.is_empty(), "{host}");
            } else {
                assert!(found.contains(&LOOK_ALIKE), "{host}: {found:?}");
            }
        }
    }

    #[test]
    fn the_names_themselves_and_their_other_homes_are_no_imitations() {
        for host in [
            "google.com",
            "www.google.com",
            "google.co.jp",
            "rakuten.com",
            "corp-example.jp",
            "xn--wgv71a119e.jp",
            "au.example",
            "box.example",
        ] {
            assert!(categories(host).is_empty(), "{host}");
        }
    }

    proptest::proptest! {
        #[test]
        fn the_short_way_to_a_skeleton_is_the_same_way(label in "[A-Za-z0-9_-]{1,63}") {
            let mut room = [0; 2 * LONGEST];
            let whole = skeleton_of(&label);
            proptest::prop_assert_eq!(of_ascii(&label, &mut room).unwrap(), whole.as_bytes());
        }
    }

    #[test]
    fn our_own_name_elsewhere_is_an_imitation() {
        assert_eq!(categories("login.corp-example.top"), [LOOK_ALIKE]);
        assert_eq!(categories("日本語.com"), [LOOK_ALIKE]);
    }

    #[test]
    fn scripts_mix_in_japanese_and_nowhere_else() {
        assert!(categories("日本abcカナ.jp").is_empty());
        assert!(categories("한국abc.example").is_empty());
        assert!(categories("москва.example").is_empty());
        // Cyrillic and Latin.
        assert_eq!(categories("abвгд.example"), [MIXED_SCRIPT]);
    }
}
