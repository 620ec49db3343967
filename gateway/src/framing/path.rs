//! Paths that everybody reads alike. The text goes upstream as it came (RFC 9110 §7.7 forbids changing it), so a path
//! that some server would decode, fold or cut differently is refused. Routes and policies see what the app sees after
//! decoding: otherwise `/%61dmin` would be another path to them, and the same to the app.

use std::borrow::Cow;

use super::Violation;
use super::line::set;

/// Classes of bytes in a raw path.
const PLAIN: u8 = 0;
const SLASH: u8 = 1;
const DOT: u8 = 2;
const PERCENT: u8 = 3;
const SPLIT: u8 = 4;
const INVALID: u8 = 5;

const CLASS: [u8; 256] = {
    let mut table = [INVALID; 256];
    let mut byte = 0x21u8;
    while byte < 0x7F {
        let class = match byte {
            b'/' => SLASH,
            b'.' => DOT,
            b'%' => PERCENT,
            b'\\' | b';' => SPLIT,
            b'?' | b'#' | b'<' | b'>' | b'`' => INVALID,
            _ => PLAIN,
        };
        set(&mut table, byte, class);
        byte += 1;
    }
    table
};

/// Checks an absolute path without its query, in one pass and without allocation.
///
/// # Errors
/// `RequestAmbiguous` for: an encoded slash or backslash; a backslash; an empty segment; a dot segment, plain or with
/// anything encoded in it; any encoded dot; `;`; what decodes to another percent-encoding. `RequestMalformed` for: no
/// slash at the start; a byte outside visible ASCII; broken percent-encoding; what decodes to a control byte or to
/// anything but well-formed UTF-8 (over-long forms of `/` and `.` are the old trick).
pub fn check_path(path: &str) -> Result<(), Violation> {
    let mut rest = path
        .as_bytes()
        .strip_prefix(b"/")
        .ok_or(Violation::malformed("path does not start with a slash"))?;
    let mut segment = Segment::default();
    let mut decoded = Decoded::default();
    while let Some((byte, next)) = rest.split_first() {
        rest = next;
        match CLASS.get(usize::from(*byte)).copied().unwrap_or(INVALID) {
            PLAIN => {
                segment.length += 1;
                decoded.plain(*byte)?;
            }
            SLASH => {
                decoded.plain(*byte)?;
                if segment.length == 0 {
                    return Err(Violation::ambiguous("empty path segment"));
                }
                std::mem::take(&mut segment).check()?;
            }
            DOT => {
                segment.length += 1;
                segment.dots += 1;
                decoded.plain(*byte)?;
            }
            PERCENT => {
                let (value, next) = percent_decoded(rest)?;
                rest = next;
                segment.take(value)?;
                decoded.encoded(value)?;
            }
            SPLIT => return Err(Violation::ambiguous("backslash or semicolon in the path")),
            _ => return Err(Violation::malformed("invalid byte in the path")),
        }
    }
    decoded.finish()?;
    // The last one may be empty: a trailing slash.
    segment.check()
}

/// A path without its percent-encoding, for comparing. Only for what passed [`check_path`]: of such a path nobody can say
/// that decoding made slashes, dots or a second encoding appear.
pub fn decoded_path(path: &str) -> Cow<'_, str> {
    if !path.contains('%') {
        return Cow::Borrowed(path);
    }
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((byte, next)) = rest.split_first() {
        rest = next;
        let value = match percent_decoded(rest) {
            Ok((value, next)) if *byte == b'%' => {
                rest = next;
                value
            }
            Ok(_) | Err(_) => *byte,
        };
        bytes.push(value);
    }
    Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())
}

fn percent_decoded(rest: &[u8]) -> Result<(u8, &[u8]), Violation> {
    const BROKEN: Violation = Violation::malformed("broken percent-encoding in the path");
    let [high, low, rest @ ..] = rest else {
        return Err(BROKEN);
    };
    let (Some(high), Some(low)) = (hex(*high), hex(*low)) else {
        return Err(BROKEN);
    };
    Ok((high << 4 | low, rest))
}

fn hex(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

/// The segment under way.
#[derive(Default)]
struct Segment {
    length: usize,
    dots: usize,
}

impl Segment {
    fn take(&mut self, decoded: u8) -> Result<(), Violation> {
        match decoded {
            b'/' | b'\\' => return Err(Violation::ambiguous("encoded slash in the path")),
            b'.' => return Err(Violation::ambiguous("encoded dot in the path")),
            // `..%3b` is `..` to whoever cuts parameters after decoding.
            b';' if self.is_dots() => return Err(DOTS),
            0..0x20 | 0x7F => return Err(Violation::malformed("encoded control byte in the path")),
            _ => self.length += 1,
        }
        Ok(())
    }

    fn is_dots(&self) -> bool {
        self.length == self.dots && (1..=2).contains(&self.dots)
    }

    fn check(self) -> Result<(), Violation> {
        if self.is_dots() { Err(DOTS) } else { Ok(()) }
    }
}

const DOTS: Violation = Violation::ambiguous("dot segment in the path");

/// What the path would be after decoding, as far as it matters: UTF-8 sequences and a second layer of encoding.
#[derive(Default)]
struct Decoded {
    /// Continuation bytes still to come, and the bounds of the next one (RFC 3629 §4).
    continuations: u8,
    low: u8,
    high: u8,
    /// 1 after a decoded percent sign, 2 after that and a hexadecimal digit.
    percent: u8,
}

impl Decoded {
    fn plain(&mut self, byte: u8) -> Result<(), Violation> {
        // Nearly always there is nothing under way.
        if self.continuations | self.percent == 0 {
            return Ok(());
        }
        self.finish()?;
        self.second_layer(byte)
    }

    fn encoded(&mut self, byte: u8) -> Result<(), Violation> {
        if self.continuations > 0 {
            if !(self.low..=self.high).contains(&byte) {
                return Err(NOT_UTF8);
            }
            self.continuations -= 1;
            (self.low, self.high) = (0x80, 0xBF);
            return Ok(());
        }
        (self.continuations, self.low, self.high) = match byte {
            0..0x80 => (0, 0, 0),
            0xC2..=0xDF => (1, 0x80, 0xBF),
            0xE0 => (2, 0xA0, 0xBF),
            0xED => (2, 0x80, 0x9F),
            0xE1..=0xEF => (2, 0x80, 0xBF),
            0xF0 => (3, 0x90, 0xBF),
            0xF1..=0xF3 => (3, 0x80, 0xBF),
            0xF4 => (3, 0x80, 0x8F),
            _ => return Err(NOT_UTF8),
        };
        self.second_layer(byte)
    }

    fn second_layer(&mut self, byte: u8) -> Result<(), Violation> {
        self.percent = match (byte, self.percent) {
            (b'%', _) => 1,
            (_, 1) if byte.is_ascii_hexdigit() => 2,
            (_, 2) if byte.is_ascii_hexdigit() => {
                return Err(Violation::ambiguous("path is percent-encoded twice"));
            }
            _ => 0,
        };
        Ok(())
    }

    fn finish(&self) -> Result<(), Violation> {
        if self.continuations > 0 {
            return Err(NOT_UTF8);
        }
        Ok(())
    }
}

const NOT_UTF8: Violation = Violation::malformed("path is not UTF-8");

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::denial::DenialReason::{self, RequestAmbiguous, RequestMalformed};

    fn reason(path: &str) -> Option<DenialReason> {
        check_path(path).err().map(|it| it.reason)
    }

    #[test]
    fn a_path_is_compared_as_the_app_reads_it() {
        for (path, decoded) in [
            ("/admin", "/admin"),
            ("/%61dmin", "/admin"),
            ("/%61%64%6D%69%6e/x", "/admin/x"),
            ("/%40me", "/@me"),
            ("/caf%c3%a9", "/caf\u{e9}"),
            ("/caf%C3%A9", "/caf\u{e9}"),
            ("/100%25", "/100%"),
            ("/a%3Bb", "/a;b"),
        ] {
            assert_eq!(check_path(path), Ok(()), "{path}");
            assert_eq!(decoded_path(path), decoded);
        }
    }

    proptest! {
        #[test]
        fn decoding_moves_no_segment(path in "(/([a-z.~-]|%[2-7][0-9a-fA-F]){1,5}){1,3}") {
            if check_path(&path).is_err() {
                return Ok(());
            }
            let decoded = decoded_path(&path);
            prop_assert_eq!(path.matches('/').count(), decoded.matches('/').count());
            let dots = |segment: &str| segment == "." || segment == "..";
            prop_assert!(!decoded.split('/').any(dots));
        }
    }

    #[test]
    fn ordinary_paths_pass() {
        for path in [
            "/",
            "/a",
            "/a/",
            "/a/b.c",
            "/.well-known/x",
            "/..a",
            "/a..",
            "/...",
            "/a.b/..c/d",
            "/~user/@x:y",
            "/%E3%81%82%E3%81%84",
            "/a%20b",
            "/100%25",
            "/100%25zz",
            "/100%25/b",
            "/%25a",
            "/a%3Bb",
            "/a|b^[c]",
            "/%F0%9F%8D%A3",
            "/a=b&c,d+e$f!g*h'i(j)",
            "/%2525",
        ] {
            // The last is double: `%25` and then `25`.
            let expected = (path == "/%2525").then_some(RequestAmbiguous);
            assert_eq!(reason(path), expected, "{path}");
        }
    }

    #[test]
    fn ambiguous_paths_are_refused() {
        for path in [
            "//",
            "//a",
            "/a//b",
            "/a//",
            "/.",
            "/..",
            "/./a",
            "/../a",
            "/a/.",
            "/a/..",
            "/a/./b",
            "/a/../b",
            "/%2e/a",
            "/%2E%2e/a",
            "/.%2e/a",
            "/%2e./a",
            "/a%2eb",
            "/a%2fb",
            "/a%2Fb",
            "/a%5cb",
            "/a%5Cb",
            "/..%2fa",
            "/..%5ca",
            "/a\\b",
            "/..\\a",
            "/a;b",
            "/a;/b",
            "/..;/a",
            "/;/a",
            "/..%3b/a",
            "/.%3Bx/a",
            "/..%3ba",
            "/%252e%252e/a",
            "/%252fa",
            "/%25%32%65",
            "/%25%32e",
            "/%%32%65",
            "/a%255c",
            "/%2500",
        ] {
            let got = reason(path);
            // `%%` is broken before it can be ambiguous.
            let expected = if path == "/%%32%65" {
                RequestMalformed
            } else {
                RequestAmbiguous
            };
            assert_eq!(got, Some(expected), "{path}");
        }
    }

    #[test]
    fn malformed_paths_are_refused() {
        for path in [
            "",
            "a",
            "*",
            "/%",
            "/%2",
            "/%zz",
            "/%u002f",
            "/%u2215",
            "/%00",
            "/a%00.png",
            "/%0d%0aX:y",
            "/%7f",
            "/%1b",
            "/a b",
            "/a\tb",
            "/a\0",
            "/あ",
            "/a?b",
            "/a#b",
            "/<a>",
            "/%c0%af",
            "/%c0%ae%c0%ae/",
            "/%c1%9c",
            "/%e0%80%af",
            "/%f0%80%80%af",
            "/%f8%80%80%80%af",
            "/%ed%a0%80",
            "/%f4%90%80%80",
            "/%80",
            "/%bf",
            "/%e3%81",
            "/%e3%81/",
            "/%e3a",
            "/%e3%81%2f",
            "/%ff",
            "/%fe",
            "/%83%5c",
        ] {
            assert!(
                matches!(reason(path), Some(RequestMalformed | RequestAmbiguous)),
                "{path}"
            );
        }
    }

    /// The obvious way: decode, look again.
    fn slow(path: &str) -> bool {
        let visible = path.bytes().all(|byte| (0x21..0x7F).contains(&byte));
        if !visible || !path.starts_with('/') || path.contains(['\\', ';', '?', '#', '<', '>', '`'])
        {
            return false;
        }
        let Some(decoded) = decode(path) else {
            return false;
        };
        let Ok(text) = std::str::from_utf8(&decoded) else {
            return false;
        };
        let lower = path.to_ascii_lowercase();
        if ["%2f", "%5c", "%2e"].iter().any(|it| lower.contains(it)) {
            return false;
        }
        let twice = text
            .as_bytes()
            .windows(3)
            .any(|it| it[0] == b'%' && it[1].is_ascii_hexdigit() && it[2].is_ascii_hexdigit());
        if twice || text.bytes().any(|byte| byte < 0x20 || byte == 0x7F) {
            return false;
        }
        let segments: Vec<&str> = text[1..].split('/').collect();
        segments.iter().enumerate().all(|(index, segment)| {
            let name = segment.split(';').next().unwrap();
            name != "." && name != ".." && (!segment.is_empty() || index + 1 == segments.len())
        })
    }

    fn decode(path: &str) -> Option<Vec<u8>> {
        let (mut out, mut bytes) = (Vec::new(), path.bytes());
        while let Some(byte) = bytes.next() {
            if byte == b'%' {
                let digits = [bytes.next()?, bytes.next()?];
                if !digits.iter().all(u8::is_ascii_hexdigit) {
                    return None;
                }
                out.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
            } else {
                out.push(byte);
            }
        }
        Some(out)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn one_pass_agrees_with_decoding_and_looking_again(
            parts in proptest::collection::vec(proptest::sample::select(vec![
                "/", "/", ".", "..", "a", "2", "e", "f", "5", "%", "%25", "%2e", "%2F", "%3b", "%32", "%65", "%41",
                "%e3%81%82", "%e3", "%81", "%c0", "%af", "%00", ";", "\\", "?", "~",
            ]), 0..9),
        ) {
            let path = format!("/{}", parts.concat());
            prop_assert_eq!(check_path(&path).is_ok(), slow(&path), "{}", path);
        }
    }
}
