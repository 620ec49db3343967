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

// 19 MiB, two passes, one lane: the smallest of the equal choices of the OWASP cheat sheet.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// The hash of no password: verified for names that nobody has, so that they take as long.
pub(crate) struct Dummy(Box<str>);

impl Dummy {
    /// # Errors
    /// [`HashError`].
    pub(crate) fn new(random: &dyn Random) -> Result<Self, HashError> {
        let nobodys = random::handle(random);
        hash(&nobodys, random).map(Self)
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
pub(crate) fn hash(password: &str, random: &dyn Random) -> Result<Box<str>, HashError> {
    let salt = random::bytes::<16>(random);
    let hash = argon2()?
        .hash_password_with_salt(password.as_bytes(), &salt)
        .map_err(|_| HashError)?;
    Ok(hash.to_string().into())
}

/// Whether `hash` is that of `password`. Takes as long as [`hash`].
pub(crate) fn verify(password: &str, hash: &str) -> bool {
    let (Ok(argon2), Ok(hash)) = (argon2(), PasswordHash::new(hash)) else {
        return false;
    };
    argon2.verify_password(password.as_bytes(), &hash).is_ok()
}

/// Whether `hash` was made with other parameters than those of today.
pub(crate) fn is_outdated(hash: &str) -> bool {
    let Ok(hash) = PasswordHash::new(hash) else {
        return true;
    };
    let Ok(params) = Params::try_from(&hash) else {
        return true;
    };
    hash.algorithm != Algorithm::Argon2id.ident()
        || hash.version != Some(Version::V0x13.into())
        || (params.m_cost(), params.t_cost(), params.p_cost()) != (MEMORY_KIB, PASSES, LANES)
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
    match parts.as_slice() {
        [Part::Common] => Err(PasswordWeakness::Common),
        [] | [..] => Ok(()),
    }
}

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

fn argon2() -> Result<Argon2<'static>, HashError> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).map_err(|_| HashError)?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}
