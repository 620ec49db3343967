//! The chunked coding (RFC 9112 §7.1), followed byte for byte to know where a body ends.

use super::line::{Lines, split_field};
use super::{Limits, Violation};

/// Longest line with a chunk's size, its extensions and CRLF included, bytes.
const SIZE_LINE: usize = 1024;
/// Most bytes of chunk extensions in one body; below hyper's own limit, so that it is ours that speaks.
const EXTENSIONS: usize = 8 * 1024;

/// Follows one chunked body, which may arrive in pieces.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Chunked {
    part: Part,
    lines: Lines,
    extensions: usize,
    fields: usize,
    trailer_bytes: usize,
}

#[derive(Clone, Copy, Debug, Default)]
enum Part {
    #[default]
    Size,
    Data(u64),
    DataEnd,
    Trailers,
}

impl Chunked {
    /// Goes on with `bytes`: how many of them are checked, and whether the body ends with them or will not pass. Those not
    /// checked must be given again, with more.
    pub(super) fn advance(
        &mut self,
        bytes: &[u8],
        limits: &Limits,
    ) -> (usize, Result<bool, Violation>) {
        let mut passed = 0;
        let end = self.follow(bytes, &mut passed, limits);
        (passed, end)
    }

    fn follow(
        &mut self,
        bytes: &[u8],
        passed: &mut usize,
        limits: &Limits,
    ) -> Result<bool, Violation> {
        loop {
            let rest = bytes.get(*passed..).unwrap_or_default();
            match self.part {
                Part::Size => {
                    let Some(line) = self.lines.next(rest, SIZE_LINE, SIZE_TOO_LONG)? else {
                        return Ok(false);
                    };
                    let size = self.size_line(line)?;
                    *passed += self.take_line();
                    self.part = if size == 0 {
                        Part::Trailers
                    } else {
                        Part::Data(size)
                    };
                }
                Part::Data(left) => {
                    let available = rest.len() as u64;
                    let taken = left.min(available);
                    *passed += usize::try_from(taken).unwrap_or(rest.len());
                    if taken < left {
                        self.part = Part::Data(left - taken);
                        return Ok(false);
                    }
                    self.part = Part::DataEnd;
                }
                Part::DataEnd => match rest {
                    [b'\r', b'\n', ..] => {
                        *passed += 2;
                        self.part = Part::Size;
                    }
                    [] | [b'\r'] => return Ok(false),
                    _ => return Err(Violation::malformed("chunk does not end where it says")),
                },
                Part::Trailers => {
                    let limit = limits.head_bytes.saturating_sub(self.trailer_bytes);
                    let Some(line) = self.lines.next(rest, limit, TRAILERS_TOO_LARGE)? else {
                        return Ok(false);
                    };
                    let last = line.is_empty();
                    if !last {
                        self.trailer(line, limits)?;
                    }
                    let taken = self.take_line();
                    self.trailer_bytes += taken;
                    *passed += taken;
                    if last {
                        return Ok(true);
                    }
                }
            }
        }
    }

    fn take_line(&mut self) -> usize {
        std::mem::take(&mut self.lines).consumed()
    }

    fn size_line(&mut self, line: &[u8]) -> Result<u64, Violation> {
        let digits = line
            .iter()
            .take_while(|byte| byte.is_ascii_hexdigit())
            .count();
        let (size, extensions) = line.split_at_checked(digits).unwrap_or((line, &[]));
        if !extensions.is_empty() {
            check_extensions(extensions)?;
            self.extensions += extensions.len();
            if self.extensions > EXTENSIONS {
                return Err(Violation::malformed("too many chunk extensions"));
            }
        }
        parse_size(size).ok_or(Violation::malformed("invalid chunk size"))
    }

    fn trailer(&mut self, line: &[u8], limits: &Limits) -> Result<(), Violation> {
        self.fields += 1;
        if self.fields > limits.fields {
            return Err(TRAILERS_TOO_LARGE);
        }
        let (name, _) = split_field(line)?;
        if is_forbidden_trailer(name) {
            return Err(Violation::malformed("forbidden trailer field"));
        }
        Ok(())
    }
}

const SIZE_TOO_LONG: Violation = Violation::malformed("chunk size line too long");
const TRAILERS_TOO_LARGE: Violation = Violation::large("trailers too large");

fn parse_size(digits: &[u8]) -> Option<u64> {
    // Sixteen digits fill 64 bits; more than that is how sizes are made to overflow elsewhere.
    if digits.is_empty() || digits.len() > 16 {
        return None;
    }
    let size = digits.iter().try_fold(0u64, |size, byte| {
        let digit = char::from(*byte).to_digit(16)?;
        Some((size << 4) | u64::from(digit))
    })?;
    (size <= i64::MAX as u64).then_some(size)
}

/// `;name`, `;name=token` or `;name="text"`, any number of them, without white space.
fn check_extensions(mut rest: &[u8]) -> Result<(), Violation> {
    const INVALID: Violation = Violation::malformed("invalid chunk extension");
    while !rest.is_empty() {
        rest = rest.strip_prefix(b";").ok_or(INVALID)?;
        rest = after_token(rest).ok_or(INVALID)?;
        if let Some(value) = rest.strip_prefix(b"=") {
            rest = match value.strip_prefix(b"\"") {
                Some(quoted) => after_quoted(quoted),
                None => after_token(value),
            }
            .ok_or(INVALID)?;
        }
    }
    Ok(())
}

fn after_token(bytes: &[u8]) -> Option<&[u8]> {
    let length = bytes
        .iter()
        .take_while(|byte| super::line::is_token(std::slice::from_ref(byte)))
        .count();
    let (token, rest) = bytes.split_at_checked(length)?;
    (!token.is_empty()).then_some(rest)
}

fn after_quoted(mut bytes: &[u8]) -> Option<&[u8]> {
    loop {
        bytes = match bytes {
            [b'"', rest @ ..] => return Some(rest),
            [b'\\', _, rest @ ..] | [_, rest @ ..] => rest,
            [] => return None,
        };
    }
}

/// RFC 9110 §6.5.1: framing, routing, credentials, controls, and what names the content; and our own names, which the
/// app believes.
fn is_forbidden_trailer(name: &[u8]) -> bool {
    const NAMES: [&[u8]; 30] = [
        b"accept-encoding",
        b"age",
        b"authorization",
        b"cache-control",
        b"client-cert",
        b"client-cert-chain",
        b"connection",
        b"content-encoding",
        b"content-length",
        b"content-range",
        b"content-type",
        b"cookie",
        b"date",
        b"expect",
        b"forwarded",
        b"host",
        b"keep-alive",
        b"location",
        b"max-forwards",
        b"pragma",
        b"range",
        b"set-cookie",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"vary",
        b"via",
        b"warning",
        b"www-authenticate",
    ];
    const PREFIXES: [&[u8]; 4] = [b"if-", b"masugata-", b"proxy-", b"x-forwarded-"];
    NAMES.iter().any(|it| name.eq_ignore_ascii_case(it))
        || PREFIXES.iter().any(|prefix| {
            name.get(..prefix.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(prefix))
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::denial::DenialReason;

    const LIMITS: Limits = Limits {
        head_bytes: 200,
        fields: 3,
    };

    fn follow(body: &[u8]) -> Result<(usize, bool), Violation> {
        let (passed, end) = Chunked::default().advance(body, &LIMITS);
        end.map(|done| (passed, done))
    }

    #[test]
    fn bodies_end_where_they_end() {
        for body in [
            &b"0\r\n\r\n"[..],
            b"000\r\n\r\n",
            b"5\r\nhello\r\n0\r\n\r\n",
            b"A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n",
            b"5;name=value\r\nhello\r\n0;last\r\n\r\n",
            b"5;a=\"q;\\\"uoted\";b\r\nhello\r\n0\r\n\r\n",
            b"0\r\nGrpc-Status: 0\r\nX-Sum: 5\r\n\r\n",
        ] {
            let mut text = body.to_vec();
            text.extend_from_slice(b"GET");
            assert_eq!(follow(&text), Ok((body.len(), true)), "{body:?}");
        }
    }

    #[test]
    fn whatever_two_parsers_may_read_differently_is_refused() {
        for body in [
            &b"\r\n"[..],
            b"5\nhello\r\n",
            b"5\rhello\r\n",
            b" 5\r\nhello\r\n",
            b"5 \r\nhello\r\n",
            b"5\t;a\r\nhello\r\n",
            b"0x5\r\nhello\r\n",
            b"+5\r\nhello\r\n",
            b"-1\r\n",
            b"g\r\n",
            b"5;\r\nhello\r\n",
            b"5; a\r\nhello\r\n",
            b"5;a =b\r\nhello\r\n",
            b"5;a=\r\nhello\r\n",
            b"5;a=\"b\r\nhello\r\n",
            b"5;a\nb\r\nhello\r\n",
            b"5;a\0\r\nhello\r\n",
            b"5\r\nhelloX\r\n",
            b"5\r\nhello\n0\r\n",
            b"5\r\nhello0\r\n\r\n",
            b"8000000000000000\r\n",
            b"ffffffffffffffff\r\n",
            b"10000000000000005\r\nhello\r\n",
            b"00000000000000005\r\nhello\r\n",
            b"0\r\nContent-Length: 5\r\n\r\n",
            b"0\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"0\r\nHost: other\r\n\r\n",
            b"0\r\nMasugata-Assertion: x\r\n\r\n",
            b"0\r\nX-Forwarded-For: ::1\r\n\r\n",
            b"0\r\na_b: c\r\n\r\n",
            b"0\r\n a: c\r\n\r\n",
            b"0\r\na : c\r\n\r\n",
            b"0\r\na\r\n\r\n",
            b"0\r\n\n",
            b"0\n\n",
        ] {
            assert!(follow(body).is_err(), "{:?}", String::from_utf8_lossy(body));
        }
    }

    #[test]
    fn trailers_and_extensions_are_bounded() {
        let many = follow(b"0\r\na: b\r\na: b\r\na: b\r\na: b\r\n\r\n").unwrap_err();
        assert_eq!(many.reason, DenialReason::HeaderTooLarge);
        let long = [b"0\r\na: ".as_slice(), &[b'x'; 300]].concat();
        assert_eq!(
            follow(&long).unwrap_err().reason,
            DenialReason::HeaderTooLarge
        );
        let line = [b"5;".as_slice(), &[b'x'; 2000]].concat();
        assert!(follow(&line).is_err());
        let chunk = [b"1;".as_slice(), &[b'x'; 1000], b"\r\nx\r\n"].concat();
        assert!(follow(&chunk.repeat(7)).is_ok());
        assert!(follow(&chunk.repeat(9)).is_err());
    }
}
