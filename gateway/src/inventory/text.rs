//! Kinds of text that only the inventory has: instants, versions, certificate identities, principal ids.

use masugata_policy::Timestamp;

use crate::config::text::{Fault, Written};

/// A point in time (RFC 3339), with its offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instant(pub Timestamp);

impl Written for Instant {
    const KIND: &'static str = "instant";
    const EXAMPLE: &'static str = "2026-11-23T09:00:00+09:00";

    fn parse(text: &str) -> Result<Self, Fault> {
        let instant: jiff::Timestamp = text.parse().map_err(|_| {
            Fault::new(
                "is not a point in time with its offset",
                "write RFC 3339, as in `2026-11-23T09:00:00+09:00` or `2026-11-23T00:00:00Z`",
            )
        })?;
        Ok(Self(Timestamp::from_millis(instant.as_millisecond())))
    }
}

/// A version in up to four numbers, of which three are compared: Windows has a fourth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version(pub u32, pub u32, pub u32);

impl Written for Version {
    const KIND: &'static str = "version";
    const EXAMPLE: &'static str = "15.6.1";
    const PATTERN: &'static str = r"^[0-9]+(\.[0-9]+){0,3}$";

    fn parse(text: &str) -> Result<Self, Fault> {
        let fault = || {
            Fault::new(
                "is not a version",
                "write up to four numbers joined by dots, as in `\"15.6.1\"`",
            )
        };
        let mut numbers = [0_u32; 4];
        let mut places = numbers.iter_mut();
        for part in text.split('.') {
            let place = places.next().ok_or_else(fault)?;
            if part.is_empty() || !part.bytes().all(|b| b.is_ascii_digit()) {
                return Err(fault());
            }
            *place = part.parse().map_err(|_| fault())?;
        }
        let [major, minor, patch, _] = numbers;
        Ok(Self(major, minor, patch))
    }
}

/// What a certificate calls its device, in the one spelling that certificates are read into.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Identity(pub Box<str>);

impl Written for Identity {
    const KIND: &'static str = "certificate-identity";
    const EXAMPLE: &'static str = "spiffe://corp.example/device/laptop-1";
    const PATTERN: &'static str = "^(spiffe://|urn:uuid:|permanent-id:|hardware:|serial:|sha256:)";

    fn parse(text: &str) -> Result<Self, Fault> {
        let fault = |why, help| Err(Fault::new(why, help));
        if text.len() > 2048 || text.chars().any(char::is_control) {
            return fault(
                "is not a certificate identity",
                "write what the certificate holds, on one line",
            );
        }
        let Some((scheme, rest)) = text.split_once(':') else {
            return fault("does not say which kind of identity it is", FORMS);
        };
        let canonical = match scheme {
            "spiffe" if is_spiffe(rest) => text.to_owned(),
            "spiffe" => {
                return fault(
                    "is not a SPIFFE ID",
                    "write `spiffe://`, a trust domain in lower case and a path",
                );
            }
            "urn" => match uuid(rest) {
                Some(uuid) => format!("urn:uuid:{uuid}"),
                None => {
                    return fault(
                        "is not a UUID",
                        "write `urn:uuid:` and 32 hex digits in five groups",
                    );
                }
            },
            "sha256" => match hex(rest, 64) {
                Some(digest) => format!("sha256:{digest}"),
                None => {
                    return fault(
                        "is not a SHA-256 thumbprint",
                        "write `sha256:` and 64 hex digits",
                    );
                }
            },
            "hardware" => match rest.split_once('/') {
                Some((oid, serial)) if is_oid(oid) && !serial.is_empty() => {
                    format!("hardware:{oid}/{}", serial.to_ascii_lowercase())
                }
                _ => {
                    return fault(
                        "is not a hardware module name",
                        "write `hardware:<type oid>/<hex serial>`",
                    );
                }
            },
            "serial" | "permanent-id" if !rest.trim().is_empty() => text.to_owned(),
            _ => return fault("is of no kind known here", FORMS),
        };
        Ok(Self(canonical.into()))
    }
}

const FORMS: &str =
    "begin with `spiffe://`, `urn:uuid:`, `permanent-id:`, `hardware:`, `serial:` or `sha256:`";

fn is_spiffe(rest: &str) -> bool {
    let Some((domain, path)) = rest
        .strip_prefix("//")
        .and_then(|rest| rest.split_once('/'))
    else {
        return false;
    };
    let in_domain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b".-_".contains(&b);
    let in_path = |b: u8| b.is_ascii_alphanumeric() || b".-_".contains(&b);
    let segment =
        |part: &str| !part.is_empty() && part != "." && part != ".." && part.bytes().all(in_path);
    !domain.is_empty() && domain.bytes().all(in_domain) && path.split('/').all(segment)
}

fn uuid(rest: &str) -> Option<String> {
    let text = rest.strip_prefix("uuid:")?;
    let groups: Vec<usize> = text.split('-').map(str::len).collect();
    let digits = text.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
    (groups == [8, 4, 4, 4, 12] && digits).then(|| text.to_ascii_lowercase())
}

/// Hex digits, with or without the colons that `openssl x509 -fingerprint` prints.
fn hex(text: &str, digits: usize) -> Option<String> {
    let bare: String = text.chars().filter(|c| *c != ':').collect();
    let fits = bare.len() == digits && bare.bytes().all(|b| b.is_ascii_hexdigit());
    fits.then(|| bare.to_ascii_lowercase())
}

fn is_oid(text: &str) -> bool {
    text.contains('.')
        && text
            .split('.')
            .all(|arc| !arc.is_empty() && arc.bytes().all(|b| b.is_ascii_digit()))
}

/// A principal id of a person: `<issuer name>/<user claim>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrincipalId(pub Box<str>);

impl Written for PrincipalId {
    const KIND: &'static str = "principal-id";
    const EXAMPLE: &'static str = "corp/ada";

    fn parse(text: &str) -> Result<Self, Fault> {
        let whole = text
            .split_once('/')
            .is_some_and(|(issuer, user)| !issuer.is_empty() && !user.is_empty());
        if !whole || text.chars().any(char::is_control) {
            return Err(Fault::new(
                "is not a principal id",
                "write the issuer's name, `/` and the user, as in `\"corp/ada\"`",
            ));
        }
        Ok(Self(text.into()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn identities_have_one_spelling() {
        let canonical = |text: &str| Identity::parse(text).map(|identity| identity.0.into_string());
        assert_eq!(
            canonical("urn:uuid:F81D4FAE-7DEC-11D0-A765-00A0C91E6BF6").unwrap(),
            "urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6"
        );
        let colons = vec!["AB"; 32].join(":");
        assert_eq!(
            canonical(&format!("sha256:{colons}")).unwrap(),
            format!("sha256:{}", "ab".repeat(32))
        );
        assert_eq!(
            canonical("serial:C02XG0AAJGH5").unwrap(),
            "serial:C02XG0AAJGH5"
        );
        assert_eq!(
            canonical("hardware:1.3.6.1.4.1.9/0AFF").unwrap(),
            "hardware:1.3.6.1.4.1.9/0aff"
        );
        for bad in [
            "",
            "laptop-1",
            "serial:",
            "serial: ",
            "spiffe://Corp.example/a",
            "spiffe://corp.example",
            "spiffe://corp.example/",
            "spiffe://corp.example/a//b",
            "spiffe://corp.example/../a",
            "urn:uuid:1234",
            "urn:isbn:1",
            "sha256:abcd",
            "hardware:1/",
            "hardware:x/01",
            "https://a/b",
        ] {
            assert!(canonical(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn versions_are_numbers() {
        assert_eq!(Version::parse("15").unwrap(), Version(15, 0, 0));
        assert_eq!(
            Version::parse("10.0.22631.4317").unwrap(),
            Version(10, 0, 22631)
        );
        for bad in [
            "",
            "15.",
            ".1",
            "1.2.3.4.5",
            "15.6b",
            "+1",
            "-1",
            "99999999999",
        ] {
            assert!(Version::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_instant_has_an_offset() {
        assert_eq!(
            Instant::parse("1970-01-01T09:00:01+09:00").unwrap().0,
            Timestamp::from_seconds(1)
        );
        for bad in ["", "2026-11-23", "2026-11-23T09:00:00", "yesterday"] {
            assert!(Instant::parse(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_canonical_identity_is_its_own_canonical_form(text: String) {
            if let Ok(identity) = Identity::parse(&text) {
                prop_assert_eq!(Identity::parse(&identity.0).unwrap(), identity);
            }
        }

        #[test]
        fn hex_and_uuid_case_never_matters(digits in "[0-9a-fA-F]{64}") {
            let lower = Identity::parse(&format!("sha256:{}", digits.to_lowercase())).unwrap();
            prop_assert_eq!(Identity::parse(&format!("sha256:{digits}")).unwrap(), lower);
        }
    }
}
