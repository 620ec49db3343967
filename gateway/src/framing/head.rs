//! One HTTP/1.1 request head (RFC 9112 §2 to §6): complete or not, and how long its body is.

use super::line::{Lines, first_of, is_token, set, split_field};
use super::{Limits, Violation};

/// What follows a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    None,
    Sized(u64),
    Chunked,
}

/// A head that can be read in one way only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// Bytes, up to and with the empty line.
    pub(super) len: usize,
    pub(super) body: Body,
    /// What follows the body may be another protocol.
    pub(super) switch: bool,
}

/// Reads one head, which may arrive in pieces.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct HeadScan {
    lines: Lines,
    part: Part,
    old: bool,
    connect: bool,
    host: bool,
    upgrade: bool,
    chunked: bool,
    length: Option<u64>,
    fields: usize,
}

#[derive(Clone, Copy, Debug, Default)]
enum Part {
    #[default]
    Leading,
    RequestLine,
    Fields,
}

impl HeadScan {
    /// Goes on with `bytes`, which begin at the head's first byte. `None`: there must be more of them.
    pub(super) fn advance(
        &mut self,
        bytes: &[u8],
        limits: &Limits,
    ) -> Result<Option<Head>, Violation> {
        loop {
            let limit = match self.part {
                Part::Leading | Part::RequestLine => limits.head_bytes.min(Limits::REQUEST_LINE),
                Part::Fields => limits.head_bytes,
            };
            let Some(line) = self.lines.next(bytes, limit, TOO_LARGE)? else {
                return Ok(None);
            };
            match self.part {
                // RFC 9112 §2.2: one empty line before a request is forgiven, as old clients send it after a body.
                Part::Leading if line.is_empty() => self.part = Part::RequestLine,
                Part::Leading | Part::RequestLine => {
                    self.request_line(line)?;
                    self.part = Part::Fields;
                }
                Part::Fields if line.is_empty() => return self.conclude().map(Some),
                Part::Fields => self.field(line, limits)?,
            }
        }
    }

    fn request_line(&mut self, line: &[u8]) -> Result<(), Violation> {
        const WORDS: Violation = Violation::malformed("request line is not three words");
        let (method, rest) = first_word(line).ok_or(WORDS)?;
        let (target, version) = first_word(rest).ok_or(WORDS)?;
        if !is_token(method) {
            return Err(Violation::malformed("invalid method"));
        }
        self.connect = method == b"CONNECT";
        self.old = match version {
            b"HTTP/1.1" => false,
            b"HTTP/1.0" => true,
            _ => return Err(Violation::malformed("unknown protocol version")),
        };
        check_form(method, target)
    }

    fn field(&mut self, line: &[u8], limits: &Limits) -> Result<(), Violation> {
        self.fields += 1;
        if self.fields > limits.fields {
            return Err(Violation::large("too many fields"));
        }
        let (name, value) = split_field(line)?;
        // By length first: most names are none of these.
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => once(&mut self.host, "repeated host")?,
            7 if name.eq_ignore_ascii_case(b"upgrade") => self.upgrade = true,
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                let length = parse_length(unpadded(value))?;
                if self.length.replace(length).is_some() {
                    return Err(Violation::malformed("repeated content-length"));
                }
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                if !unpadded(value).eq_ignore_ascii_case(b"chunked") {
                    return Err(Violation::malformed("transfer-encoding is not `chunked`"));
                }
                once(&mut self.chunked, "repeated transfer-encoding")?;
            }
            _ => {}
        }
        Ok(())
    }

    fn conclude(&self) -> Result<Head, Violation> {
        if !self.host && !self.old {
            return Err(Violation::malformed("no host"));
        }
        let body = match (self.chunked, self.length) {
            (true, Some(_)) => {
                return Err(Violation::malformed(
                    "content-length beside transfer-encoding",
                ));
            }
            (true, None) if self.old => {
                return Err(Violation::malformed("transfer-encoding in HTTP/1.0"));
            }
            (true, None) => Body::Chunked,
            (false, Some(0) | None) => Body::None,
            (false, Some(length)) => Body::Sized(length),
        };
        // RFC 9110 §9.3.6 gives content of CONNECT no meaning, so its end has none either.
        if self.connect && (self.chunked || self.length.is_some()) {
            return Err(Violation::malformed("CONNECT with content"));
        }
        Ok(Head {
            len: self.lines.consumed(),
            body,
            // INVARIANT: the same condition as in `Handle::switching`.
            switch: self.connect || (self.upgrade && !self.old),
        })
    }
}

fn first_word(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let (word, rest) = line.split_at_checked(first_of(line, b' ')?)?;
    Some((word, rest.get(1..)?))
}

fn once(seen: &mut bool, repeated: &'static str) -> Result<(), Violation> {
    if std::mem::replace(seen, true) {
        return Err(Violation::malformed(repeated));
    }
    Ok(())
}

const TOO_LARGE: Violation = Violation::large("head too large");

/// The value behind at most one space. RFC 9110 lets more white space pass, but only those who look for a parser that
/// disagrees about it send any around these two fields.
fn unpadded(value: &[u8]) -> &[u8] {
    value.strip_prefix(b" ").unwrap_or(value)
}

/// Digits only, without sign, list, or a leading zero that somebody may take for octal.
fn parse_length(value: &[u8]) -> Result<u64, Violation> {
    const INVALID: Violation = Violation::malformed("invalid content-length");
    if value.is_empty() || (value.len() > 1 && value.starts_with(b"0")) {
        return Err(INVALID);
    }
    let length = value.iter().try_fold(0u64, |length, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        length.checked_mul(10)?.checked_add(digit)
    });
    // Signed 64-bit counters are common behind us.
    length
        .filter(|length| *length <= i64::MAX as u64)
        .ok_or(INVALID)
}

/// The four forms of RFC 9112 §3.2, and which method may use them.
fn check_form(method: &[u8], target: &[u8]) -> Result<(), Violation> {
    const INVALID: Violation = Violation::malformed("invalid request target");
    if method == b"CONNECT" {
        let uri = http::Uri::try_from(target).map_err(|_| INVALID)?;
        return if uri.authority().is_some() && uri.scheme().is_none() && uri.path().is_empty() {
            Ok(())
        } else {
            Err(INVALID)
        };
    }
    match target {
        [b'/', ..] => check_origin_form(target),
        b"*" if method == b"OPTIONS" => Ok(()),
        _ => {
            // hyper's `Uri` drops a fragment silently.
            if target.contains(&b'#') {
                return Err(Violation::malformed("fragment in the request target"));
            }
            let uri = http::Uri::try_from(target).map_err(|_| INVALID)?;
            let known = matches!(uri.scheme_str(), Some("http" | "https"));
            if !known || uri.authority().is_none_or(|it| it.as_str().contains('@')) {
                return Err(INVALID);
            }
            Ok(())
        }
    }
}

/// What `http::Uri` would take, so that hyper never answers in our place, and without a fragment.
fn check_origin_form(target: &[u8]) -> Result<(), Violation> {
    let mut wanted = IN_PATH;
    for byte in target {
        let class = TARGET.get(usize::from(*byte)).copied().unwrap_or(0);
        if class & wanted == 0 {
            if *byte != b'?' {
                return Err(Violation::malformed("invalid byte in the request target"));
            }
            wanted = IN_QUERY;
        }
    }
    Ok(())
}

const IN_PATH: u8 = 1;
const IN_QUERY: u8 = 2;

const TARGET: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0x21u8;
    while byte < 0x7F {
        let class = match byte {
            b'#' | b'<' | b'>' => 0,
            b'"' => IN_PATH,
            b'?' | b'`' => IN_QUERY,
            _ => IN_PATH | IN_QUERY,
        };
        set(&mut table, byte, class);
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::denial::DenialReason;

    const LIMITS: Limits = Limits {
        head_bytes: 4096,
        fields: 20,
    };

    fn scan(head: &[u8]) -> Result<Option<Head>, Violation> {
        HeadScan::default().advance(head, &LIMITS)
    }

    #[test]
    fn a_plain_head_is_taken_whole() {
        let text = b"GET /a?b HTTP/1.1\r\nHost: h\r\n\r\nrest";
        let head = scan(text).unwrap().unwrap();
        assert_eq!(head.len, text.len() - 4);
        assert_eq!(head.body, Body::None);
        assert!(!head.switch);
    }

    #[test]
    fn one_empty_line_before_a_request_is_forgiven_and_two_are_not() {
        assert!(
            scan(b"\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n")
                .unwrap()
                .is_some()
        );
        assert!(scan(b"\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n").is_err());
        assert!(scan(b"\nGET / HTTP/1.1\r\nHost: h\r\n\r\n").is_err());
        assert!(scan(b" GET / HTTP/1.1\r\nHost: h\r\n\r\n").is_err());
    }

    #[test]
    fn each_form_of_target_has_its_methods() {
        for good in [
            "GET /",
            "OPTIONS *",
            "GET http://h/",
            "GET https://h:8443/x?y",
            "CONNECT h:443",
        ] {
            let text = format!("{good} HTTP/1.1\r\nHost: h\r\n\r\n");
            assert!(scan(text.as_bytes()).unwrap().is_some(), "{good}");
        }
        for bad in [
            "GET *",
            "GET h:443",
            "GET foo",
            "CONNECT /",
            "CONNECT http://h/",
            "GET ftp://h/",
            "GET http://user@h/",
            "GET http:///x",
            "GET /#x",
            "GET http://h/#x",
            "GET /\u{e9}",
            "GET /<",
            "GET /?<",
            "GET ",
            "GET",
            "GE(T /",
            "GET  /",
            "GET /a b",
            "get\t/",
        ] {
            let text = format!("{bad} HTTP/1.1\r\nHost: h\r\n\r\n");
            assert!(scan(text.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn other_versions_are_refused() {
        for version in [
            "HTTP/0.9",
            "HTTP/1.2",
            "HTTP/2.0",
            "HTTP/2",
            "http/1.1",
            "HTTP/1.10",
            "HTTP/01.1",
            "ICY",
        ] {
            let text = format!("GET / {version}\r\nHost: h\r\n\r\n");
            assert!(scan(text.as_bytes()).is_err(), "{version}");
        }
        assert!(scan(b"GET /\r\nHost: h\r\n\r\n").is_err());
        assert!(scan(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").is_err());
    }

    #[test]
    fn too_much_has_a_code_of_its_own() {
        let long_line = format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "a".repeat(5000));
        let long_field = format!("GET / HTTP/1.1\r\nHost: h\r\nA: {}", "a".repeat(5000));
        let many = format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", "A: b\r\n".repeat(20));
        for text in [long_line, long_field, many] {
            let reason = scan(text.as_bytes()).unwrap_err().reason;
            assert_eq!(reason, DenialReason::HeaderTooLarge);
        }
        let just_enough = format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", "A: b\r\n".repeat(19));
        assert!(scan(just_enough.as_bytes()).unwrap().is_some());
    }

    #[test]
    fn upgrades_are_noticed_where_hyper_notices_them() {
        let switch = |text: &[u8]| scan(text).unwrap().unwrap().switch;
        assert!(switch(b"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: x\r\n\r\n"));
        assert!(!switch(b"GET / HTTP/1.0\r\nHost: h\r\nUpgrade: x\r\n\r\n"));
        assert!(switch(b"CONNECT h:1 HTTP/1.1\r\nHost: h\r\n\r\n"));
        assert!(scan(b"CONNECT h:1 HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n").is_err());
    }

    proptest! {
        #[test]
        fn what_passes_is_what_hyper_can_parse(target in "[ -~]{1,12}") {
            let text = format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n");
            if scan(text.as_bytes()).is_ok() {
                let uri = http::Uri::try_from(target.as_str());
                prop_assert!(uri.is_ok());
                // Nothing was dropped on the way.
                prop_assert!(target == "/" || target.starts_with("http") || uri.unwrap() == *target);
            }
        }
    }

    /// `cargo test --release -p masugata --lib framing::head -- --ignored --nocapture`
    #[test]
    #[ignore = "a measurement"]
    #[expect(clippy::disallowed_methods, reason = "a measurement of real time")]
    fn cost_of_a_typical_head() {
        let text = typical_head();
        let rounds = 200_000u32;
        let start = std::time::Instant::now();
        for _ in 0..rounds {
            let head = scan(std::hint::black_box(text.as_bytes()));
            assert!(std::hint::black_box(head).is_ok());
        }
        println!("{} bytes: {:?} each", text.len(), start.elapsed() / rounds);
    }

    fn typical_head() -> String {
        [
            "GET /reports/2026/11/summary?tab=all&lang=ja HTTP/1.1",
            "Host: reports.example.co.jp",
            "User-Agent: Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:145.0) Gecko/20100101 Firefox/145.0",
            "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
            "Accept-Language: ja,en-US;q=0.7,en;q=0.3",
            "Accept-Encoding: gzip, deflate, br, zstd",
            "Referer: https://reports.example.co.jp/reports/2026/11/",
            &format!("Authorization: Bearer {}", "eyJhbGciOi".repeat(40)),
            "Connection: keep-alive",
            "Upgrade-Insecure-Requests: 1",
            "Sec-Fetch-Dest: document",
            "Sec-Fetch-Mode: navigate",
            "\r\n",
        ]
        .join("\r\n")
    }
}
