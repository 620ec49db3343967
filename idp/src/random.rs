//! Chance as an argument, and what is made from it: tokens, handles, identifiers.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::SecretString;

/// Where random bytes come from. The gateway hands in the operating system's generator.
pub trait Random: Send + Sync {
    /// Fills `bytes`, or stops the process: going on with predictable secrets is worse.
    fn fill(&self, bytes: &mut [u8]);
}

/// `N` bytes nobody can foresee.
pub(crate) fn bytes<const N: usize>(random: &dyn Random) -> [u8; N] {
    let mut bytes = [0; N];
    random.fill(&mut bytes);
    bytes
}

/// 256 bits as base64url, 43 characters: for links.
pub(crate) fn token(random: &dyn Random) -> SecretString {
    SecretString::from(URL_SAFE_NO_PAD.encode(zeroize::Zeroizing::new(bytes::<32>(random))))
}

/// 256 bits as base64url, 43 characters: names something that is kept in memory for a while.
pub(crate) fn handle(random: &dyn Random) -> String {
    URL_SAFE_NO_PAD.encode(bytes::<32>(random))
}

/// 96 bits as base64url, 16 characters: a public name, never a secret.
pub(crate) fn public_id(random: &dyn Random) -> String {
    URL_SAFE_NO_PAD.encode(bytes::<12>(random))
}
