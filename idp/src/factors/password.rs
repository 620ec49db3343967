//! Passwords: which are accepted (NIST SP 800-63B-4 §3.1.1), and how they are hashed (RFC 9106 argon2id).

use argon2::{Algorithm, Argon2, Params, PasswordHash, PasswordHasher, PasswordVerifier, Version};
use zxcvbn::matching::patterns::MatchPattern;
use zxcvbn::zxcvbn;

use super::breached::Breached;
use super::refusal::PasswordWeakness;
use crate::accounts::record::Record;
use crate::random::{self, Random};

/// Least characters of a password that counts alone.
pub(crate) const ALONE: usize = 15;
/// Least characters of a password beside a second factor.
pub(crate) const WITH_SECOND: usize = 8;
/// Most characters.
pub(crate) const MOST: usize = 256;

/// What one hash costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cost {
    pub(crate) memory_kib: u32,
    pub(crate) passes: u32,
    pub(crate) lanes: u32,
}

impl Cost {
    /// The smallest of the equal choices of the OWASP cheat sheet; hashes of another cost are renewed at sign-in.
    pub(crate) const STANDARD: Self = Self {
        memory_kib: 19 * 1024,
        passes: 2,
        lanes: 1,
    };
}

/// The hash of no password: verified for names that nobody has, so that they take as long.
pub(crate) struct Dummy(Box<str>);

impl Dummy {
    /// # Errors
    /// [`HashError`].
    pub(crate) fn new(cost: Cost, random: &dyn Random) -> Result<Self, HashError> {
        let nobodys = random::handle(random);
        hash(&nobodys, cost, random).map(Self)
    }

    pub(crate) fn hash(&self) -> &str {
        &self.0
    }
}

/// A password could not be hashed.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("argon2 refused")]
pub(crate) struct HashError;

/// What is stored of `password`. Takes some 20 ms and 19 MiB.
///
/// # Errors
/// [`HashError`].
pub(crate) fn hash(password: &str, cost: Cost, random: &dyn Random) -> Result<Box<str>, HashError> {
    let salt = random::bytes::<16>(random);
    let hash = argon2(cost)?
        .hash_password_with_salt(password.as_bytes(), &salt)
        .map_err(|_| HashError)?;
    Ok(hash.to_string().into())
}

/// Whether `hash` is that of `password`. Takes as long as [`hash`].
pub(crate) fn verify(password: &str, hash: &str) -> bool {
    let Ok(hash) = PasswordHash::new(hash) else {
        return false;
    };
    // The cost is taken from the hash.
    Argon2::default()
        .verify_password(password.as_bytes(), &hash)
        .is_ok()
}

/// Whether `hash` was made with other parameters than those of today.
pub(crate) fn is_outdated(hash: &str, cost: Cost) -> bool {
    let Ok(hash) = PasswordHash::new(hash) else {
        return true;
    };
    let Ok(params) = Params::try_from(&hash) else {
        return true;
    };
    hash.algorithm != Algorithm::Argon2id.ident()
        || hash.version != Some(Version::V0x13.into())
        || Cost {
            memory_kib: params.m_cost(),
            passes: params.t_cost(),
            lanes: params.p_cost(),
        } != cost
}

/// Whether a new password is good enough. Lengths are counted in characters (Unicode code points).
///
/// # Errors
/// [`PasswordWeakness`].
pub(crate) fn assess(
    password: &str,
    has_second: bool,
    record: &Record,
    organisation: &str,
    breached: &Breached,
) -> Result<(), PasswordWeakness> {
    let least = if has_second { WITH_SECOND } else { ALONE };
    let length = password.chars().count();
    if length < least {
        return Err(PasswordWeakness::TooShort { least });
    }
    if length > MOST {
        return Err(PasswordWeakness::TooLong);
    }
    if breached.contains(password) {
        return Err(PasswordWeakness::Breached);
    }
    let known = known_words(record, organisation);
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    judge(password, &known)
}

/// Only what is recognised whole: a phrase may well hold common words.
fn judge(password: &str, known: &[&str]) -> Result<(), PasswordWeakness> {
    let estimate = zxcvbn(password, known);
    let parts: Vec<Part> = estimate
        .sequence()
        .iter()
        .map(|part| Part::of(&part.pattern, known))
        .collect();
    if !parts.is_empty() && parts.iter().all(|part| *part == Part::Personal) {
        return Err(PasswordWeakness::Personal);
    }
    // A common word and a row of digits is guessed as soon as the word alone.
    let guessed = estimate.guesses_log10() < GUESSES_LOG10;
    match parts.as_slice() {
        [Part::Common] => Err(PasswordWeakness::Common),
        [_, ..] if guessed => Err(PasswordWeakness::Common),
        [] | [..] => Ok(()),
    }
}

/// Passwords that a list of a million of the likeliest ones has, whatever their parts are.
const GUESSES_LOG10: f64 = 6.0;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Personal,
    Common,
    Unknown,
}

impl Part {
    fn of(pattern: &MatchPattern, known: &[&str]) -> Self {
        match pattern {
            MatchPattern::Dictionary(word) if known.contains(&word.matched_word.as_str()) => {
                Self::Personal
            }
            MatchPattern::Dictionary(_)
            | MatchPattern::Spatial(_)
            | MatchPattern::Sequence(_)
            | MatchPattern::Regex(_)
            | MatchPattern::Date(_) => Self::Common,
            MatchPattern::Repeat(repeat) => {
                let base: Vec<Self> = repeat
                    .base_matches
                    .iter()
                    .map(|part| Self::of(&part.pattern, known))
                    .collect();
                if !base.is_empty() && base.iter().all(|part| *part == Self::Personal) {
                    Self::Personal
                } else {
                    Self::Common
                }
            }
            MatchPattern::BruteForce => Self::Unknown,
        }
    }
}

/// What everybody knows about the person.
fn known_words(record: &Record, organisation: &str) -> Vec<String> {
    let whole = [
        &*record.id,
        &*record.display_name,
        record.email.as_deref().unwrap_or_default(),
        organisation,
    ];
    let mut words = Vec::new();
    for text in whole {
        words.push(text.to_lowercase());
        let joined: String = text.chars().filter(|c| c.is_alphanumeric()).collect();
        words.push(joined.to_lowercase());
        let parts = text.split(|c: char| !c.is_alphanumeric());
        words.extend(parts.map(str::to_lowercase));
    }
    // Shorter ones would be found in anything.
    words.retain(|word| word.chars().count() >= 3 || !word.is_ascii() && !word.is_empty());
    words.sort();
    words.dedup();
    words
}

fn argon2(cost: Cost) -> Result<Argon2<'static>, HashError> {
    let params =
        Params::new(cost.memory_kib, cost.passes, cost.lanes, None).map_err(|_| HashError)?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounts::tests::{CHEAP, Chance};

    fn ada() -> Record {
        let mut record = Record::new(
            "ada.lovelace".into(),
            "Ada Lovelace".into(),
            &Chance::default(),
            0,
        );
        record.email = Some("ada@analytical.example".into());
        record
    }

    fn assess_alone(password: &str) -> Result<(), PasswordWeakness> {
        assess(
            password,
            false,
            &ada(),
            "Yamada Works",
            &Breached::default(),
        )
    }

    fn assess_beside(password: &str) -> Result<(), PasswordWeakness> {
        assess(password, true, &ada(), "Yamada Works", &Breached::default())
    }

    #[test]
    fn fifteen_characters_count_alone_and_eight_beside_a_second_factor() {
        let least = |least| Err(PasswordWeakness::TooShort { least });
        assert_eq!(assess_alone("q8#fZ_wL0v!mTs"), least(15));
        assert_eq!(assess_alone("q8#fZ_wL0v!mTsx"), Ok(()));
        assert_eq!(assess_beside("q8#fZ_w"), least(8));
        assert_eq!(assess_beside("q8#fZ_wL"), Ok(()));
    }

    #[test]
    fn lengths_are_counted_in_characters() {
        assert_eq!(
            assess_beside("紫陽花と雨蛙だ"),
            Err(PasswordWeakness::TooShort { least: 8 })
        );
        assert_eq!(assess_beside("紫陽花と雨蛙だよ"), Ok(()));
        let long = "紫陽花と雨蛙だよ".repeat(32);
        assert_eq!(long.chars().count(), 256);
        assert_ne!(assess_alone(&long), Err(PasswordWeakness::TooLong));
        assert_eq!(
            assess_alone(&format!("{long}x")),
            Err(PasswordWeakness::TooLong)
        );
    }

    #[test]
    fn phrases_without_digits_or_capitals_are_welcome() {
        for phrase in [
            "seven quiet herons under bridge",
            "あさがおは朝だけ咲くのに夜も待つ",
        ] {
            assert_eq!(assess_alone(phrase), Ok(()), "{phrase}");
        }
    }

    #[test]
    fn what_is_one_common_thing_is_refused() {
        for (password, alone) in [
            ("aaaaaaaaaaaaaaaaaaaa", true),
            ("abcabcabcabcabcabc", true),
            ("abcdefghijklmnopqrst", true),
            ("qwertyuiop", false),
            ("password", false),
            ("P@ssword", false),
            ("drowssap", false),
            ("iloveyou", false),
            ("1990-12-24", false),
            ("password1234567", true),
        ] {
            let verdict = if alone {
                assess_alone(password)
            } else {
                assess_beside(password)
            };
            assert_eq!(verdict, Err(PasswordWeakness::Common), "{password}");
        }
    }

    #[test]
    fn what_is_made_of_the_persons_names_is_refused() {
        for password in [
            "ada.lovelace",
            "AdaLovelace",
            "lovelaceada",
            "ada@analytical.example",
            "Ada Lovelace",
            "Yamada Works",
            "YamadaWorks",
            "lovelacelovelace",
            "l0velace",
        ] {
            assert_eq!(
                assess_beside(password),
                Err(PasswordWeakness::Personal),
                "{password}"
            );
        }
        assert_eq!(
            assess_alone("Ada Lovelace hates marmalade on Mondays"),
            Ok(())
        );
    }

    #[test]
    fn what_is_known_from_a_breach_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "q8#fZ_wL0v!mTsx\n").unwrap();
        let list = Breached::read(file.path()).unwrap();
        let verdict = |password| assess(password, true, &ada(), "Yamada Works", &list);
        assert_eq!(verdict("q8#fZ_wL0v!mTsx"), Err(PasswordWeakness::Breached));
        assert_eq!(verdict("q8#fZ_wL0v!mTsX"), Ok(()));
    }

    #[test]
    fn hashes_are_argon2id_with_their_parameters_in_them() {
        let random = Chance::default();
        let hash = hash("q8#fZ_wL0v!mTsx", Cost::STANDARD, &random).unwrap();
        assert!(
            hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
            "{hash}"
        );
        assert!(verify("q8#fZ_wL0v!mTsx", &hash));
        assert!(!verify("q8#fZ_wL0v!mTsX", &hash));
        assert!(!is_outdated(&hash, Cost::STANDARD));
        assert!(is_outdated(&hash, CHEAP));
    }

    #[test]
    fn two_hashes_of_one_password_differ() {
        let random = Chance::default();
        let make = || hash("same", CHEAP, &random).unwrap();
        assert_ne!(make(), make());
    }

    #[test]
    fn what_is_no_hash_verifies_nothing() {
        for odd in [
            "",
            "$argon2id$",
            "$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHQ",
            "plain",
        ] {
            assert!(!verify("", odd) && !verify("plain", odd), "{odd}");
            assert!(is_outdated(odd, CHEAP));
        }
    }
}
