//! Lines that end in CRLF and in nothing else (RFC 9112 §2.2), found eight bytes at a time.

use super::Violation;

/// Classes of bytes in field names.
const TOKEN: u8 = 0;
const UNDERSCORE: u8 = 1;
const OTHER: u8 = 2;

const NAME: [u8; 256] = {
    let mut table = [OTHER; 256];
    let mut byte = 0u8;
    loop {
        let class = match byte {
            b'_' => UNDERSCORE,
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => TOKEN,
            b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'`'
            | b'|' | b'~' => TOKEN,
            _ => OTHER,
        };
        set(&mut table, byte, class);
        if byte == u8::MAX {
            break;
        }
        byte += 1;
    }
    table
};

#[expect(
    clippy::indexing_slicing,
    reason = "a u8 always is an index of 256 entries; evaluated at compile time"
)]
pub(super) const fn set(table: &mut [u8; 256], byte: u8, class: u8) {
    table[byte as usize] = class;
}

fn class(byte: u8) -> u8 {
    NAME.get(usize::from(byte)).copied().unwrap_or(OTHER)
}

/// RFC 9110 §5.6.2.
pub(super) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|byte| class(*byte) != OTHER)
}

/// Reads lines off the front of a stream that arrives in pieces, looking at each byte once.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Lines {
    /// Where the current line begins.
    start: usize,
    /// Up to where there is no line end.
    scanned: usize,
}

impl Lines {
    /// Bytes that whole lines have used up.
    pub(super) fn consumed(&self) -> usize {
        self.start
    }

    /// The next whole line without its CRLF; `None` until there is one. `bytes` begin where they began in the last call.
    ///
    /// INVARIANT: no verdict depends on a byte after `limit` or on where the stream was cut, so that nobody can get
    /// another answer by sending more slowly.
    ///
    /// # Errors
    /// `too_long` when the line, CRLF included, ends after `limit`; otherwise for every control byte but HTAB that is
    /// not part of a CRLF.
    pub(super) fn next<'a>(
        &mut self,
        bytes: &'a [u8],
        limit: usize,
        too_long: Violation,
    ) -> Result<Option<&'a [u8]>, Violation> {
        let rest = bytes.get(self.scanned..).unwrap_or_default();
        let Some(offset) = first_control(rest) else {
            self.scanned = bytes.len();
            return if bytes.len() > limit {
                Err(too_long)
            } else {
                Ok(None)
            };
        };
        let end = self.scanned + offset;
        if end + 2 > limit {
            return Err(too_long);
        }
        match (rest.get(offset), rest.get(offset + 1)) {
            (Some(b'\r'), Some(b'\n')) => {
                let line = bytes.get(self.start..end).unwrap_or_default();
                self.start = end + 2;
                self.scanned = self.start;
                Ok(Some(line))
            }
            (Some(b'\r'), None) => {
                self.scanned = end;
                Ok(None)
            }
            (Some(b'\r'), Some(_)) => {
                Err(Violation::malformed("carriage return without line feed"))
            }
            (Some(b'\n'), _) => Err(Violation::malformed("line feed without carriage return")),
            _ => Err(Violation::malformed("control byte in the head")),
        }
    }
}

/// Where the first byte below 0x20 (HTAB excepted) or equal to 0x7F is.
fn first_control(bytes: &[u8]) -> Option<usize> {
    let mut from = 0;
    loop {
        let found = from + first_below_space(bytes.get(from..)?)?;
        if bytes.get(found) != Some(&b'\t') {
            return Some(found);
        }
        from = found + 1;
    }
}

/// As above, with HTAB.
fn first_below_space(bytes: &[u8]) -> Option<usize> {
    let mut from = 0;
    let (blocks, _) = bytes.as_chunks::<32>();
    for block in blocks {
        // No way out within a block: the compiler makes vector instructions of it.
        let found = block
            .iter()
            .fold(false, |found, byte| found | is_control(*byte));
        if found {
            break;
        }
        from += 32;
    }
    let (words, tail) = bytes.get(from..)?.as_chunks::<8>();
    for word in words {
        let mask = controls(u64::from_le_bytes(*word));
        // The lowest bit is exact: a borrow only ever runs upwards from a true match.
        if mask != 0 {
            return Some(from + (mask.trailing_zeros() / 8) as usize);
        }
        from += 8;
    }
    let within = tail.iter().position(|byte| is_control(*byte))?;
    Some(from + within)
}

fn is_control(byte: u8) -> bool {
    (byte < 0x20) | (byte == 0x7F)
}

/// Where `wanted` is first.
pub(super) fn first_of(bytes: &[u8], wanted: u8) -> Option<usize> {
    let (words, tail) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let difference = u64::from_le_bytes(*word) ^ (ONES * u64::from(wanted));
        let equal = difference.wrapping_sub(ONES) & !difference & TOPS;
        if equal != 0 {
            return Some(index * 8 + (equal.trailing_zeros() / 8) as usize);
        }
    }
    let within = tail.iter().position(|byte| *byte == wanted)?;
    Some(bytes.len() - tail.len() + within)
}

const ONES: u64 = u64::from_ne_bytes([0x01; 8]);
const TOPS: u64 = u64::from_ne_bytes([0x80; 8]);

/// The top bit of each byte that is below 0x20 or equal to 0x7F, and perhaps of bytes above such a one.
fn controls(word: u64) -> u64 {
    let below = word.wrapping_sub(ONES * 0x20) & !word;
    let delete = word ^ (ONES * 0x7F);
    let deleted = delete.wrapping_sub(ONES) & !delete;
    (below | deleted) & TOPS
}

/// Splits a field line at its colon. The value still has its white space.
///
/// # Errors
/// For an empty or invalid name, white space at the start of the line (also an old folded line, RFC 9112 §5.2) or before
/// the colon, and a name with an underscore: CGI, WSGI and PHP read `a_b` as `a-b`, so a field that we would remove or
/// set could come through as its twin.
pub(super) fn split_field(line: &[u8]) -> Result<(&[u8], &[u8]), Violation> {
    let colon = first_of(line, b':').unwrap_or(line.len());
    let (name, value) = line.split_at_checked(colon).unwrap_or((line, &[]));
    // Without a branch per byte: nearly every name is clean.
    let seen = name.iter().fold(TOKEN, |seen, byte| seen | class(*byte));
    if name.is_empty() || value.is_empty() || seen != TOKEN {
        return Err(bad_field(name, value, seen));
    }
    Ok((name, value.get(1..).unwrap_or_default()))
}

fn bad_field(name: &[u8], value: &[u8], seen: u8) -> Violation {
    match name {
        [b' ' | b'\t', ..] => Violation::malformed("white space before a field name"),
        _ if value.is_empty() => Violation::malformed("field line without a colon"),
        [] => Violation::malformed("field without a name"),
        [.., b' ' | b'\t'] => Violation::malformed("white space before a colon"),
        _ if seen == UNDERSCORE => Violation::ambiguous("underscore in a field name"),
        _ => Violation::malformed("invalid byte in a field name"),
    }
}
#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LONG: Violation = Violation::large("long");

    proptest! {
        #[test]
        fn the_first_control_is_found_as_by_looking_at_each_byte(
            bytes in proptest::collection::vec(prop_oneof![
                8 => 0x1Eu8..=0x82,
                1 => Just(b':'),
                1 => any::<u8>(),
            ], 0..80),
        ) {
            let slow = bytes.iter().position(|byte| (*byte < 0x20 && *byte != b'\t') || *byte == 0x7F);
            prop_assert_eq!(first_control(&bytes), slow);
            prop_assert_eq!(first_of(&bytes, b':'), bytes.iter().position(|byte| *byte == b':'));
        }

        #[test]
        fn a_line_does_not_depend_on_where_it_was_cut(
            text in "[a\r\n\t\u{1}]{0,30}", limit in 0usize..30, cut in 0usize..30,
        ) {
            let bytes = text.as_bytes();
            let at_once = Lines::default().next(bytes, limit, LONG);
            let mut lines = Lines::default();
            let part = bytes.get(..cut.min(bytes.len())).unwrap();
            let in_two = match lines.next(part, limit, LONG) {
                Ok(None) => lines.next(bytes, limit, LONG),
                // A verdict on the first part is the verdict.
                verdict => verdict,
            };
            prop_assert_eq!(at_once, in_two);
        }
    }

    #[test]
    fn names_are_tokens() {
        assert_eq!(split_field(b"a: b"), Ok((&b"a"[..], &b" b"[..])));
        for bad in [
            &b": x"[..],
            b" a: b",
            b"\ta: b",
            b"a : b",
            b"a\t: b",
            b"a",
            b"a(b): c",
            b"\xe3\x81: c",
            b"a\"b: c",
        ] {
            assert!(split_field(bad).is_err(), "{bad:?}");
        }
        assert_eq!(
            split_field(b"content_length: 3").unwrap_err().reason,
            crate::denial::DenialReason::RequestAmbiguous
        );
    }
}
