//! From the bytes of a list to its entries, and whether they are believed: one pass, so that what is verified is what is
//! read.

use std::io::Read;

use aws_lc_rs::digest;
use minisign_verify::{PublicKey, Signature};

use super::FeedFault;
use crate::config::egress::{Feed, FeedTrust};
use crate::destination::formats::{Entry, Line, MAX_LINE, Parser};
use crate::destination::name::{self, Suffix};
use crate::destination::table::{Cover, Effect};

/// Names that one list may allow. They are kept whole, in some hundred bytes each.
pub const MAX_ALLOWED: usize = 200_000;
/// Of so many lines one may be nonsense.
const LINES_PER_BAD: u64 = 10;
const CHUNK: usize = 64 * 1024;

/// What a list turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// SHA-256.
    pub hash: [u8; 32],
    pub entries: u64,
    /// Lines that make no sense, and entries that would cover a public suffix.
    pub bad: u64,
    /// The first such line, counted from 1.
    pub first_bad: Option<u64>,
    pub unsupported: u64,
    /// Seconds since 1970, as the signature says.
    pub signed_at: Option<i64>,
}

impl Summary {
    /// First 12 hexadecimal digits of the hash.
    pub fn version(&self) -> String {
        version(&self.hash)
    }
}

/// First 12 hexadecimal digits of a hash.
pub fn version(hash: &[u8; 32]) -> String {
    hash.iter()
        .take(6)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// The proof beside a list.
#[derive(Clone, Copy, Debug)]
pub enum Proof<'a> {
    /// Text of the `.minisig` file.
    Minisign(Option<&'a str>),
    None,
}

/// Reads a whole list and gives its entries to `out`. What `out` was given counts only if this succeeds.
///
/// # Errors
/// It is too large, empty, nonsense, or not what the configuration demands.
pub fn read(
    spec: &Feed,
    trust: &FeedTrust,
    proof: Proof<'_>,
    content: impl Read,
    out: &mut impl FnMut(Entry<'_>),
) -> Result<Summary, FeedFault> {
    let key = match trust {
        FeedTrust::Minisign(key) => Some(PublicKey::from_base64(key).map_err(signature_fault)?),
        FeedTrust::Sha256(_) | FeedTrust::Unsigned => None,
    };
    let signature = match (&key, proof) {
        (Some(_), Proof::Minisign(Some(text))) => {
            Some(Signature::decode(text).map_err(signature_fault)?)
        }
        (Some(_), _) => return Err(FeedFault::Unsigned),
        (None, _) => None,
    };
    let mut verifier = match (&key, &signature) {
        (Some(key), Some(signature)) => {
            Some(key.verify_stream(signature).map_err(signature_fault)?)
        }
        _ => None,
    };
    let mut lines = Lines::new(spec, verifier.is_some());
    let mut hash = digest::Context::new(&digest::SHA256);
    each_chunk(content, spec.max_bytes, |chunk| {
        hash.update(chunk);
        if let Some(verifier) = &mut verifier {
            verifier.update(chunk);
        }
        lines.chunk(chunk, out);
    })?;
    lines.end(out);
    if let Some(verifier) = &mut verifier {
        verifier.finalize().map_err(signature_fault)?;
    }
    let mut summary = lines.summary;
    summary.hash = hash.finish().as_ref().try_into().unwrap_or([0; 32]);
    summary.signed_at = signature
        .as_ref()
        .and_then(|one| signed_at(one.trusted_comment()));
    if let FeedTrust::Sha256(pinned) = trust
        && *pinned != summary.hash
    {
        return Err(FeedFault::Pin);
    }
    if lines.allowed > MAX_ALLOWED {
        return Err(FeedFault::TooManyAllowed(MAX_ALLOWED));
    }
    if lines.nonsense.saturating_mul(LINES_PER_BAD) > lines.seen {
        return Err(FeedFault::Nonsense {
            bad: lines.nonsense,
            lines: lines.seen,
            first: lines.first_nonsense,
        });
    }
    if summary.entries == 0 {
        return Err(FeedFault::Empty);
    }
    Ok(summary)
}

/// Whether a list may take the place of another.
///
/// # Errors
/// It is much smaller.
pub fn check_shrink(spec: &Feed, before: u64, after: u64) -> Result<(), FeedFault> {
    let percent = u128::from(100_u8.saturating_sub(spec.max_shrink));
    if u128::from(after) * 100 < u128::from(before) * percent {
        return Err(FeedFault::Shrunk { before, after });
    }
    Ok(())
}

fn signature_fault(error: minisign_verify::Error) -> FeedFault {
    FeedFault::Signature(error.to_string().to_lowercase())
}

/// `timestamp:1633700835` in a trusted comment, which is signed too.
fn signed_at(comment: &str) -> Option<i64> {
    comment
        .split_ascii_whitespace()
        .find_map(|word| word.strip_prefix("timestamp:"))?
        .parse()
        .ok()
}

fn each_chunk(
    mut content: impl Read,
    most: u64,
    mut with: impl FnMut(&[u8]),
) -> Result<(), FeedFault> {
    let mut buffer = vec![0; CHUNK];
    let mut total = 0_u64;
    loop {
        let count = match content.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(FeedFault::Unreadable(error.to_string())),
        };
        total = total.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
        if total > most {
            return Err(FeedFault::TooLarge(most));
        }
        with(buffer.get(..count).unwrap_or_default());
    }
}

/// Cuts chunks into lines.
struct Lines {
    parser: Parser,
    /// The beginning of a line that goes on in the next chunk; bounded.
    begun: Vec<u8>,
    summary: Summary,
    /// Of the current line, blank ones counted.
    number: u64,
    seen: u64,
    nonsense: u64,
    /// The first line that is nonsense.
    first_nonsense: u64,
    allowed: usize,
    signed: bool,
    /// The feed's own entries allow.
    allows: bool,
}

impl Lines {
    fn new(spec: &Feed, signed: bool) -> Self {
        Self {
            parser: Parser::new(spec.format),
            begun: Vec::new(),
            summary: Summary {
                hash: [0; 32],
                entries: 0,
                bad: 0,
                first_bad: None,
                unsupported: 0,
                signed_at: None,
            },
            number: 0,
            seen: 0,
            nonsense: 0,
            first_nonsense: 0,
            allowed: 0,
            signed,
            allows: spec.effect == crate::config::egress::FeedEffect::Allow,
        }
    }

    fn chunk(&mut self, chunk: &[u8], out: &mut impl FnMut(Entry<'_>)) {
        let mut rest = chunk;
        while let Some(at) = rest.iter().position(|byte| *byte == b'\n') {
            let (line, after) = rest.split_at(at);
            rest = after.get(1..).unwrap_or_default();
            if self.begun.is_empty() {
                self.line(line, out);
            } else {
                let mut whole = std::mem::take(&mut self.begun);
                extend(&mut whole, line);
                self.line(&whole, out);
                whole.clear();
                self.begun = whole;
            }
        }
        extend(&mut self.begun, rest);
    }

    fn end(&mut self, out: &mut impl FnMut(Entry<'_>)) {
        let last = std::mem::take(&mut self.begun);
        if !last.is_empty() {
            self.line(&last, out);
        }
    }

    fn line(&mut self, line: &[u8], out: &mut impl FnMut(Entry<'_>)) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        self.number = self.number.saturating_add(1);
        let (number, signed, allows) = (self.number, self.signed, self.allows);
        let summary = &mut self.summary;
        let allowed = &mut self.allowed;
        let became = self.parser.line(line, &mut |entry| {
            let Some(entry) = judge(entry, signed, allows) else {
                summary.bad = summary.bad.saturating_add(1);
                summary.first_bad.get_or_insert(number);
                return;
            };
            if let Entry::Name {
                effect: Effect::Allow,
                ..
            } = entry
            {
                *allowed = allowed.saturating_add(1);
                if *allowed > MAX_ALLOWED {
                    return;
                }
            }
            summary.entries = summary.entries.saturating_add(1);
            out(entry);
        });
        match became {
            Line::Blank => return,
            Line::Entries => {}
            Line::Unsupported => summary.unsupported = summary.unsupported.saturating_add(1),
            Line::Bad => {
                summary.bad = summary.bad.saturating_add(1);
                summary.first_bad.get_or_insert(number);
                if self.nonsense == 0 {
                    self.first_nonsense = number;
                }
                self.nonsense = self.nonsense.saturating_add(1);
            }
        }
        self.seen = self.seen.saturating_add(1);
    }
}

/// Appends, up to what makes a line too long to be looked at.
fn extend(line: &mut Vec<u8>, more: &[u8]) {
    let room = (MAX_LINE + 1).saturating_sub(line.len());
    line.extend_from_slice(more.get(..room.min(more.len())).unwrap_or_default());
}

/// An entry of a feed whose own entries allow is an exemption. `None`: it would cover what many people share.
fn judge(entry: Entry<'_>, signed: bool, allows: bool) -> Option<Entry<'_>> {
    let exempt = |effect| if allows { Effect::Allow } else { effect };
    Some(match entry {
        Entry::Name {
            name,
            cover,
            effect,
        } => {
            let effect = exempt(effect);
            if cover != Cover::Host && covers_too_much(name, effect, signed) {
                return None;
            }
            Entry::Name {
                name,
                cover,
                effect,
            }
        }
        Entry::Range { range, effect } => Entry::Range {
            range,
            effect: exempt(effect),
        },
        Entry::Withdrawn {
            name,
            cover,
            effect,
        } => Entry::Withdrawn {
            name,
            cover,
            effect: exempt(effect),
        },
    })
}

/// `co.jp` and everything below it is no entry but a slip, or worse. Whole top-level domains are blocked on purpose by
/// some, so a signature is enough for that. What companies share out (`github.io`) may be blocked, but not exempted.
fn covers_too_much(name: &str, effect: Effect, signed: bool) -> bool {
    match name::suffix(name) {
        None => false,
        Some(Suffix::Company) => effect == Effect::Allow,
        Some(Suffix::Registry | Suffix::Unknown) => {
            effect == Effect::Allow || name.contains('.') || !signed
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::egress::{FeedEffect, FeedFormat, FeedSource};

    fn spec(format: FeedFormat, effect: FeedEffect) -> Feed {
        Feed {
            name: "test".to_owned(),
            source: FeedSource::File {
                path: "x".into(),
                trust: FeedTrust::Unsigned,
            },
            format,
            categories: vec!["c2".to_owned()],
            effect,
            max_bytes: 10_000,
            required: true,
            alert: false,
            max_shrink: 50,
        }
    }

    fn read_text(text: &str, effect: FeedEffect) -> (Result<Summary, FeedFault>, Vec<String>) {
        let mut said = Vec::new();
        let found = read(
            &spec(FeedFormat::Plain, effect),
            &FeedTrust::Unsigned,
            Proof::None,
            text.as_bytes(),
            &mut |entry| {
                if let Entry::Name { name, effect, .. } = entry {
                    said.push(format!("{effect:?} {name}"));
                }
            },
        );
        (found, said)
    }

    #[test]
    fn a_list_is_read_with_any_line_ends_and_without_the_last() {
        let (found, said) = read_text("a.example\r\nb.example\n\nc.example", FeedEffect::Block);
        assert_eq!(
            said,
            ["Block a.example", "Block b.example", "Block c.example"]
        );
        assert_eq!(found.unwrap().entries, 3);
    }

    #[test]
    fn lines_that_straddle_chunks_are_whole() {
        struct Drip<'a>(&'a [u8]);
        impl Read for Drip<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
                let Some((first, rest)) = self.0.split_first() else {
                    return Ok(0);
                };
                buffer[0] = *first;
                self.0 = rest;
                Ok(1)
            }
        }
        let mut count = 0;
        let spec = spec(FeedFormat::Plain, FeedEffect::Block);
        let found = read(
            &spec,
            &FeedTrust::Unsigned,
            Proof::None,
            Drip(b"a.example\r\nbb.example\nc.example"),
            &mut |_| count += 1,
        );
        assert_eq!((found.unwrap().entries, count), (3, 3));
    }

    #[test]
    fn empty_huge_and_senseless_lists_are_refused() {
        let fault = |text: &str| read_text(text, FeedEffect::Block).0.unwrap_err();
        assert_eq!(fault(""), FeedFault::Empty);
        assert_eq!(fault("# nothing today\n"), FeedFault::Empty);
        assert_eq!(
            fault(&"a.example\n".repeat(2000)),
            FeedFault::TooLarge(10_000)
        );
        assert_eq!(
            fault("a.example\n\n<html>\n"),
            FeedFault::Nonsense {
                bad: 1,
                lines: 2,
                first: 3
            }
        );
        // A line without an end is not kept in memory.
        assert_eq!(
            fault(&"a".repeat(9000)),
            FeedFault::Nonsense {
                bad: 1,
                lines: 1,
                first: 1
            }
        );
        // One bad line in ten is a slip.
        let slip = format!("{}<html>\n", "a.example\n".repeat(9));
        let slip = read_text(&slip, FeedEffect::Block).0.unwrap();
        assert_eq!((slip.bad, slip.first_bad), (1, Some(10)));
    }

    // Attack: one line that opens or closes half the web.
    #[test]
    fn an_entry_that_covers_a_public_suffix_is_dropped() {
        let (found, said) = read_text("co.jp\ncom\ngithub.io\nbox.com\n=co.jp", FeedEffect::Block);
        assert_eq!(said, ["Block github.io", "Block box.com", "Block co.jp"]);
        assert_eq!(found.unwrap().bad, 2);
        let (_, said) = read_text("co.jp\ncom\ngithub.io\nbox.com", FeedEffect::Allow);
        assert_eq!(said, ["Allow box.com"]);
    }

    #[test]
    fn a_pin_fits_one_content_only() {
        let spec = spec(FeedFormat::Plain, FeedEffect::Block);
        let read =
            |trust: &FeedTrust| read(&spec, trust, Proof::None, &b"a.example\n"[..], &mut |_| ());
        let hash = read(&FeedTrust::Unsigned).unwrap().hash;
        assert!(read(&FeedTrust::Sha256(hash)).is_ok());
        assert_eq!(read(&FeedTrust::Sha256([0; 32])), Err(FeedFault::Pin));
    }

    #[test]
    fn a_list_may_lose_as_much_as_is_configured() {
        let spec = spec(FeedFormat::Plain, FeedEffect::Block);
        assert!(check_shrink(&spec, 100, 50).is_ok());
        assert!(check_shrink(&spec, 100, 1000).is_ok());
        assert!(check_shrink(&spec, 0, 0).is_ok());
        assert_eq!(
            check_shrink(&spec, 100, 49),
            Err(FeedFault::Shrunk {
                before: 100,
                after: 49
            })
        );
    }

    // The example of the format's own tests, of its author's key.
    const KEY: &str = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3";
    const LEGACY: &str = "untrusted comment: signature from minisign secret key\n\
        RWQf6LRCGA9i59SLOFxz6NxvASXDJeRtuZykwQepbDEGt87ig1BNpWaVWuNrm73YiIiJbq71Wi+dP9eKL8OC351vwIasSSbXxwA=\n\
        trusted comment: timestamp:1555779966\tfile:test\n\
        QtKMXWyYcwdpZAlPF7tE2ENJkRd1ujvKjlj1m9RtHTBnZPa5WKU5uWRs5GoP5M/VqE81QFuMKI5k/SfNQUaOAA==";

    #[test]
    fn a_signed_list_without_a_good_signature_is_refused() {
        let spec = spec(FeedFormat::Plain, FeedEffect::Block);
        let trust = FeedTrust::Minisign(KEY.to_owned());
        let read =
            |proof| read(&spec, &trust, proof, &b"a.example\n"[..], &mut |_| ()).unwrap_err();
        assert_eq!(read(Proof::None), FeedFault::Unsigned);
        assert_eq!(read(Proof::Minisign(None)), FeedFault::Unsigned);
        for text in [
            "",
            "nonsense",
            LEGACY,
            "untrusted comment: x\nAAAA\ntrusted comment: \nAAAA",
        ] {
            assert!(
                matches!(read(Proof::Minisign(Some(text))), FeedFault::Signature(_)),
                "{text}"
            );
        }
    }

    #[test]
    fn the_date_of_a_signature_is_in_its_trusted_comment() {
        assert_eq!(
            signed_at("timestamp:1633700835\tfile:test\tprehashed"),
            Some(1_633_700_835)
        );
        assert_eq!(signed_at("file:test"), None);
    }
}
