//! The hash chain: what ties each line to all lines before it.
//!
//! `h(i) = SHA-256(0x02 || h(i-1) || length || bytes(i))`, where `bytes(i)` is the line exactly as stored up to, and
//! without, its last member `,"hash":"…"}`, and `length` is its number of bytes as 8 bytes, big-endian. Hashing what is
//! stored, and not a canonical form of it, leaves nothing to interpret.

use std::fmt;

use aws_lc_rs::digest::{Context, SHA256};

/// Tells these hashes from any other use of SHA-256; 0x00 and 0x01 are RFC 9162 §2.1 leaves and nodes, kept free for a
/// tree over the same lines.
const DOMAIN: [u8; 1] = [0x02];

const MEMBER: &[u8] = b",\"hash\":\"";
const END: &[u8] = b"\"}";

/// Bytes of `,"hash":"<64 hex digits>"}`.
pub const SEAL_LENGTH: usize = MEMBER.len() + 64 + END.len();

/// The hash of a line, and through it of all lines before.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hash([u8; 32]);

impl Hash {
    /// What the first line ever follows.
    pub const GENESIS: Self = Self([0; 32]);

    /// The hash of a line with this content after a line with this hash.
    #[must_use]
    pub fn followed_by(self, content: &[u8]) -> Self {
        let mut context = Context::new(&SHA256);
        context.update(&DOMAIN);
        context.update(&self.0);
        context.update(&(content.len() as u64).to_be_bytes());
        context.update(content);
        let mut hash = Self::GENESIS;
        for (slot, byte) in hash.0.iter_mut().zip(context.finish().as_ref()) {
            *slot = *byte;
        }
        hash
    }

    /// From 64 lower-case hex digits; anything else is `None`, so that one hash has one spelling.
    pub fn parse(text: &[u8]) -> Option<Self> {
        if text.len() != 64 {
            return None;
        }
        let mut hash = Self::GENESIS;
        for (slot, pair) in hash.0.iter_mut().zip(text.chunks_exact(2)) {
            let [high, low] = pair else { return None };
            *slot = digit(*high)? << 4 | digit(*low)?;
        }
        Some(hash)
    }

    /// 64 lower-case hex digits.
    pub fn to_hex(self) -> [u8; 64] {
        let mut text = [0; 64];
        hex(&self.0, &mut text);
        text
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// Where the chain stands: the last line's number and hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// 0 before the first line.
    pub sequence: u64,
    pub hash: Hash,
}

impl Head {
    /// Before the first line ever.
    pub const GENESIS: Self = Self {
        sequence: 0,
        hash: Hash::GENESIS,
    };
}

/// Turns the JSON object that starts at `start` into a chained line: adds the member `hash` and the line's end.
/// The object must be complete and not empty.
pub fn seal(buffer: &mut Vec<u8>, start: usize, previous: Hash) -> Hash {
    buffer.pop();
    let hash = previous.followed_by(buffer.get(start..).unwrap_or_default());
    buffer.extend_from_slice(MEMBER);
    buffer.extend_from_slice(&hash.to_hex());
    buffer.extend_from_slice(END);
    buffer.push(b'\n');
    hash
}

/// Splits a stored line (without its line feed) into what the hash covers, and the hash that it states.
pub fn unseal(line: &[u8]) -> Option<(&[u8], Hash)> {
    let (content, seal) = line.split_at_checked(line.len().checked_sub(SEAL_LENGTH)?)?;
    let stated = seal.strip_prefix(MEMBER)?.strip_suffix(END)?;
    Some((content, Hash::parse(stated)?))
}

/// Writes `bytes` as lower-case hex into `text`, which is twice as long.
pub(super) fn hex(bytes: &[u8], text: &mut [u8]) {
    let (pairs, _) = text.as_chunks_mut::<2>();
    for (pair, byte) in pairs.iter_mut().zip(bytes) {
        *pair = PAIRS.get(usize::from(*byte)).copied().unwrap_or([b'0'; 2]);
    }
}

/// The digits of every byte.
static PAIRS: [[u8; 2]; 256] = {
    #[expect(
        clippy::indexing_slicing,
        reason = "a nibble is below 16, a byte below 256; evaluated at compile time"
    )]
    const fn table() -> [[u8; 2]; 256] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut table = [[0; 2]; 256];
        let mut byte = 0;
        while byte < 256 {
            table[byte] = [DIGITS[byte >> 4], DIGITS[byte & 15]];
            byte += 1;
        }
        table
    }
    table()
};

fn digit(character: u8) -> Option<u8> {
    match character {
        b'0'..=b'9' => Some(character - b'0'),
        b'a'..=b'f' => Some(character - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_covers_domain_predecessor_length_and_bytes() {
        // printf '\x02' | cat - <(head -c 32 /dev/zero) <(printf '\0\0\0\0\0\0\0\x06{"v":1') | sha256sum
        let hash = Hash::GENESIS.followed_by(b"{\"v\":1");
        assert_eq!(
            hash.to_string(),
            "8955e00f045cbb0e50edc745ccab76cf006bbf5eb8ebcc98f5f4de3966bb63ff",
        );
    }

    #[test]
    fn a_sealed_line_unseals_to_what_was_hashed() {
        let mut buffer = b"earlier\n{\"v\":1}".to_vec();
        let hash = seal(&mut buffer, 8, Hash::GENESIS);
        let line = &buffer[8..buffer.len() - 1];
        assert_eq!(unseal(line), Some((&b"{\"v\":1"[..], hash)));
        assert!(serde_json::from_slice::<serde_json::Value>(line).is_ok());
    }

    #[test]
    fn a_hash_has_one_spelling() {
        let hash = Hash::GENESIS.followed_by(b"x");
        let text = hash.to_string();
        assert_eq!(Hash::parse(text.as_bytes()), Some(hash));
        assert_eq!(Hash::parse(text.to_uppercase().as_bytes()), None);
        assert_eq!(Hash::parse(&text.as_bytes()[..62]), None);
        assert_eq!(Hash::parse(format!("{text}00").as_bytes()), None);
    }

    #[test]
    fn moving_bytes_between_neighbours_changes_the_hash() {
        let one = Hash::GENESIS.followed_by(b"ab").followed_by(b"c");
        let other = Hash::GENESIS.followed_by(b"a").followed_by(b"bc");
        assert_ne!(one, other);
    }

    #[test]
    fn lines_too_short_for_a_hash_do_not_unseal() {
        for line in [&b""[..], b"{}", b"\"}", b",\"hash\":\"\"}"] {
            assert_eq!(unseal(line), None);
        }
    }
}
