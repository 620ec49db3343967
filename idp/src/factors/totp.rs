//! Codes of an app (RFC 6238): SHA-1, six digits, thirty seconds, which is what every app understands. One step before and
//! after the present one is accepted; which steps were used already is remembered by the account.

use std::fmt::Write as _;

use secrecy::{ExposeSecret, SecretString};
use totp_rs::{Algorithm, Builder, Secret, Totp};
use zeroize::Zeroizing;

use super::qr;
use crate::accounts::text::narrow;

pub(crate) const SECRET_LEN: usize = 20;
const STEP_SECONDS: u64 = 30;

/// A code that is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Step(pub(crate) u64);

/// The step that `code` belongs to, if it is one of those around `now` (in ms) and none that was used.
pub(crate) fn check(secret: &[u8], code: &str, after: u64, now: i64) -> Option<Step> {
    let code = digits(code)?;
    let totp = totp(secret)?;
    let seconds = u64::try_from(now).ok()? / 1_000;
    totp.check(&code, seconds)
        .map(Step)
        .filter(|step| step.0 > after)
}

/// What somebody sees who sets up an app.
pub(crate) struct Setup {
    pub(crate) secret: SecretString,
    pub(crate) uri: SecretString,
    pub(crate) qr_svg: SecretString,
}

/// For the account of that id; `organisation` names it in the app. `None` where the words do not fit a QR code.
pub(crate) fn setup(secret: &[u8], account: &str, organisation: &str) -> Option<Setup> {
    let secret = Zeroizing::new(base32(secret));
    // The label is `issuer:account`; a colon in the issuer would end it early.
    let issuer = encode(&organisation.replace(':', " "));
    let uri = SecretString::from(format!(
        "otpauth://totp/{issuer}:{}?secret={}&issuer={issuer}&algorithm=SHA1&digits=6&period={STEP_SECONDS}",
        encode(account),
        *secret,
    ));
    let qr_svg = qr::svg(uri.expose_secret())?;
    let mut grouped = String::with_capacity(40);
    for (index, character) in secret.chars().enumerate() {
        if index > 0 && index % 4 == 0 {
            grouped.push(' ');
        }
        grouped.push(character);
    }
    Some(Setup {
        secret: grouped.into(),
        uri,
        qr_svg: qr_svg.into(),
    })
}

/// As typed: full-width digits and spaces between them are what keyboards and apps produce.
fn digits(typed: &str) -> Option<String> {
    if typed.len() > 64 {
        return None;
    }
    let digits: String = narrow(typed)
        .chars()
        .filter(|character| !character.is_whitespace())
        .collect();
    (digits.len() == 6).then_some(digits)
}

fn totp(secret: &[u8]) -> Option<Totp> {
    let secret: [u8; SECRET_LEN] = secret.try_into().ok()?;
    Builder::new()
        .with_algorithm(Algorithm::SHA1)
        .with_digits(6)
        .with_skew(1)
        .with_step_duration(STEP_SECONDS)
        .with_secret(Secret::new_stack(secret))
        .build()
        .ok()
}

/// RFC 4648 §6, without padding, as apps want it.
fn base32(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    super::recovery::in_fives(bytes)
        .map(|value| char::from(ALPHABET.get(usize::from(value)).copied().unwrap_or(b'A')))
        .collect()
}

/// RFC 3986 §2.1, all but unreserved characters.
fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECRET: &[u8; 20] = b"12345678901234567890";

    #[test]
    fn the_vectors_of_the_rfc_are_met() {
        // RFC 6238, appendix B, SHA-1, the last six of its eight digits.
        for (seconds, code) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_234_567_890, "005924"),
            (20_000_000_000, "353130"),
        ] {
            let step = check(SECRET, code, 0, seconds * 1_000).unwrap();
            assert_eq!(step.0, seconds as u64 / 30);
        }
    }

    #[test]
    fn one_step_aside_counts_and_two_do_not() {
        let code = "287082"; // of step 1: seconds 30 to 59
        assert!(check(SECRET, code, 0, 0).is_some());
        assert!(check(SECRET, code, 0, 89_999).is_some());
        assert!(check(SECRET, code, 0, 90_000).is_none());
        assert!(check(SECRET, code, 0, -1_000).is_none());
    }

    #[test]
    fn a_step_that_was_used_is_over() {
        assert!(check(SECRET, "287082", 0, 59_000).is_some());
        assert!(check(SECRET, "287082", 1, 59_000).is_none());
        assert!(check(SECRET, "287082", 2, 59_000).is_none());
    }

    #[test]
    fn codes_are_read_as_people_type_them() {
        for typed in [
            "287082",
            "287 082",
            " 287082 ",
            "２８７０８２",
            "２８７　０８２",
        ] {
            assert!(check(SECRET, typed, 0, 59_000).is_some(), "{typed}");
        }
        for typed in [
            "", "28708", "2870820", "+287082", "+87082", "28708a", "287-082",
        ] {
            assert!(check(SECRET, typed, 0, 59_000).is_none(), "{typed}");
        }
    }

    #[test]
    fn the_address_for_apps_is_what_they_expect() {
        let setup = setup(SECRET, "ada+x@example.com", "山田: Works & Co").unwrap();
        assert_eq!(
            setup.uri.expose_secret(),
            "otpauth://totp/%E5%B1%B1%E7%94%B0%20%20Works%20%26%20Co:ada%2Bx%40example.com?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=%E5%B1%B1%E7%94%B0%20%20Works%20%26%20Co&algorithm=SHA1&digits=6&period=30"
        );
        assert_eq!(
            setup.secret.expose_secret(),
            "GEZD GNBV GY3T QOJQ GEZD GNBV GY3T QOJQ"
        );
    }

    proptest! {
        #[test]
        fn nothing_but_six_digits_is_a_code(typed in "\\PC{0,12}", now in 0_i64..4_000_000_000_000) {
            if check(SECRET, &typed, 0, now).is_some() {
                prop_assert_eq!(digits(&typed).unwrap().bytes().filter(u8::is_ascii_digit).count(), 6);
            }
        }
    }
}
