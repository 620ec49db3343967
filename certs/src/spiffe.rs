//! SPIFFE IDs: a strict parser for `spiffe://trust-domain/path` (SPIFFE-ID §2).
//! Nothing is repaired or decoded: two spellings of one identity would be two rows, or one too many rights.

use std::fmt;

/// A SPIFFE ID that obeys the standard, in its one spelling.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpiffeId {
    text: Box<str>,
    /// Where the trust domain ends and the path begins.
    domain_end: usize,
}

/// Why a text is no SPIFFE ID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpiffeError {
    /// §2.3: 2048 octets at most.
    #[error("longer than 2048 octets")]
    TooLong,
    /// Not `spiffe://`, in lower case.
    #[error("the scheme is not `spiffe://`")]
    Scheme,
    /// Empty, longer than 255, or with characters beside `a-z 0-9 . - _`; so neither port nor user.
    #[error("the trust domain must be 1 to 255 of `a-z`, `0-9`, `.`, `-`, `_`")]
    TrustDomain,
    /// Empty, `.` or `..`; an empty one also comes from a slash at the end.
    #[error("the path has an empty, `.` or `..` segment")]
    Segment,
    /// Characters beside `a-z A-Z 0-9 . - _`; so neither query, fragment nor percent-encoding.
    #[error("the path may have only `a-z`, `A-Z`, `0-9`, `.`, `-`, `_` between slashes")]
    PathCharacter,
}

const SCHEME: &str = "spiffe://";
const MAX_LENGTH: usize = 2048;
const MAX_TRUST_DOMAIN: usize = 255;

impl SpiffeId {
    /// # Errors
    /// The first rule of SPIFFE-ID §2 that the text breaks.
    pub fn parse(text: &str) -> Result<Self, SpiffeError> {
        if text.len() > MAX_LENGTH {
            return Err(SpiffeError::TooLong);
        }
        let rest = text.strip_prefix(SCHEME).ok_or(SpiffeError::Scheme)?;
        let (domain, path) = match rest.split_once('/') {
            Some((domain, path)) => (domain, Some(path)),
            None => (rest, None),
        };
        if domain.is_empty()
            || domain.len() > MAX_TRUST_DOMAIN
            || !domain.bytes().all(in_trust_domain)
        {
            return Err(SpiffeError::TrustDomain);
        }
        for segment in path.into_iter().flat_map(|path| path.split('/')) {
            if matches!(segment, "" | "." | "..") {
                return Err(SpiffeError::Segment);
            }
            if !segment.bytes().all(in_path) {
                return Err(SpiffeError::PathCharacter);
            }
        }
        Ok(Self {
            text: text.into(),
            domain_end: SCHEME.len().saturating_add(domain.len()),
        })
    }

    /// Whether a URI claims to be a SPIFFE ID, in whatever spelling; then only a valid one is tolerated.
    pub(crate) fn is_claimed_by(uri: &str) -> bool {
        let scheme = "spiffe:";
        uri.get(..scheme.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    }

    /// The whole ID.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Who vouches for the ID.
    pub fn trust_domain(&self) -> &str {
        self.text
            .get(SCHEME.len()..self.domain_end)
            .unwrap_or_default()
    }

    /// With its leading slash; empty for the ID of a trust domain itself.
    pub fn path(&self) -> &str {
        self.text.get(self.domain_end..).unwrap_or_default()
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl fmt::Debug for SpiffeId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

fn in_trust_domain(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'_')
}

fn in_path(byte: u8) -> bool {
    byte.is_ascii_uppercase() || in_trust_domain(byte)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_id_comes_apart_into_trust_domain_and_path() {
        let id = SpiffeId::parse("spiffe://corp.example/device/Laptop_7").unwrap();
        assert_eq!(
            (id.trust_domain(), id.path()),
            ("corp.example", "/device/Laptop_7")
        );
        let id = SpiffeId::parse("spiffe://corp.example").unwrap();
        assert_eq!((id.trust_domain(), id.path()), ("corp.example", ""));
    }

    #[test]
    fn every_other_spelling_is_refused() {
        use SpiffeError::*;
        for (text, problem) in [
            ("", Scheme),
            ("SPIFFE://corp.example/a", Scheme),
            ("spiffe:/corp.example/a", Scheme),
            ("https://corp.example/a", Scheme),
            ("spiffe://", TrustDomain),
            ("spiffe:///a", TrustDomain),
            ("spiffe://Corp.example/a", TrustDomain),
            ("spiffe://corp.example:443/a", TrustDomain),
            ("spiffe://user@corp.example/a", TrustDomain),
            ("spiffe://corp%2eexample/a", TrustDomain),
            ("spiffe://corp.example?a", TrustDomain),
            ("spiffe://企業/a", TrustDomain),
            ("spiffe://corp.example/", Segment),
            ("spiffe://corp.example/a/", Segment),
            ("spiffe://corp.example//a", Segment),
            ("spiffe://corp.example/a/../b", Segment),
            ("spiffe://corp.example/./b", Segment),
            ("spiffe://corp.example/%2e%2e/b", PathCharacter),
            ("spiffe://corp.example/a?b", PathCharacter),
            ("spiffe://corp.example/a#b", PathCharacter),
            ("spiffe://corp.example/a b", PathCharacter),
            ("spiffe://corp.example/a\0", PathCharacter),
            ("spiffe://corp.example/a\n", PathCharacter),
            ("spiffe://corp.example/端末", PathCharacter),
        ] {
            assert_eq!(SpiffeId::parse(text), Err(problem), "{text:?}");
        }
    }

    #[test]
    fn lengths_are_bounded() {
        let longest = format!(
            "spiffe://{}/{}",
            "d".repeat(255),
            "p".repeat(2048 - 9 - 255 - 1)
        );
        assert!(SpiffeId::parse(&longest).is_ok());
        assert_eq!(
            SpiffeId::parse(&format!("{longest}p")),
            Err(SpiffeError::TooLong)
        );
        assert_eq!(
            SpiffeId::parse(&format!("spiffe://{}/p", "d".repeat(256))),
            Err(SpiffeError::TrustDomain)
        );
    }

    #[test]
    fn any_spelling_of_the_scheme_is_a_claim() {
        assert!(SpiffeId::is_claimed_by("SpIfFe:whatever") && SpiffeId::is_claimed_by("spiffe:"));
        assert!(!SpiffeId::is_claimed_by("spiffé:") && !SpiffeId::is_claimed_by("urn:uuid:"));
    }

    /// The standard's grammar, written the slow way.
    fn obeys_the_standard(text: &str) -> bool {
        let characters: Vec<char> = text.chars().collect();
        if text.len() > 2048 || characters.iter().take(9).collect::<String>() != "spiffe://" {
            return false;
        }
        let parts: Vec<String> = characters
            .iter()
            .skip(9)
            .collect::<String>()
            .split('/')
            .map(str::to_owned)
            .collect();
        let domain_is_fine = (1..=255).contains(&parts[0].len())
            && parts[0]
                .chars()
                .all(|c| "abcdefghijklmnopqrstuvwxyz0123456789.-_".contains(c));
        domain_is_fine
            && parts.iter().skip(1).all(|part| {
                !part.is_empty()
                    && part != "."
                    && part != ".."
                    && part
                        .chars()
                        .all(|c| c.is_ascii() && (c.is_alphanumeric() || ".-_".contains(c)))
            })
    }

    proptest! {
        #[test]
        fn the_parser_agrees_with_the_grammar(text in "(spiffe://|SPIFFE://|spiffe:/|)[a-cA-C0-9./_%:@?#é-]{0,24}") {
            prop_assert_eq!(SpiffeId::parse(&text).is_ok(), obeys_the_standard(&text));
        }

        #[test]
        fn a_parsed_id_is_its_text_and_its_parts(text in "spiffe://[a-z0-9.-]{1,9}(/[a-zA-Z0-9_-]{1,5}){0,3}") {
            let id = SpiffeId::parse(&text).unwrap();
            prop_assert_eq!(id.as_str(), &text);
            prop_assert_eq!(format!("spiffe://{}{}", id.trust_domain(), id.path()), text);
        }
    }
}
