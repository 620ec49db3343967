//! The syntaxes of lists, one parser each: a line in, entries out.
//!
//! Lists are text that others write. A line is never trusted to be short, to be UTF-8 or to make sense; what is not
//! understood is counted, and a list of which much is not understood is refused by whoever reads it.

mod adguard;
mod hosts;
mod plain;
mod rpz;

use std::net::IpAddr;

use ipnet::IpNet;

use super::name;
use super::table::{Cover, Effect};
use crate::config::egress::FeedFormat;

/// Longest line that is looked at, bytes; a name has at most 253.
pub const MAX_LINE: usize = 4096;

/// One thing that a list says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry<'a> {
    /// A name in its one spelling.
    Name {
        name: &'a str,
        cover: Cover,
        effect: Effect,
    },
    Range {
        range: IpNet,
        effect: Effect,
    },
    /// Takes back a name of the same list (`$badfilter`), wherever it stands.
    Withdrawn {
        name: &'a str,
        cover: Cover,
        effect: Effect,
    },
}

/// What became of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// Nothing to say: empty, a comment, a header.
    Blank,
    Entries,
    /// Sound, but about something that a list of destinations cannot say.
    Unsupported,
    Bad,
}

/// Reads one list, line by line.
#[derive(Debug)]
pub struct Parser {
    format: FeedFormat,
    zone: rpz::Zone,
}

impl Parser {
    pub fn new(format: FeedFormat) -> Self {
        Self {
            format,
            zone: rpz::Zone::default(),
        }
    }

    /// Reads one line without its line break and gives what it says to `out`.
    pub fn line(&mut self, line: &[u8], out: &mut impl FnMut(Entry<'_>)) -> Line {
        if line.len() > MAX_LINE {
            return Line::Bad;
        }
        let Ok(line) = str::from_utf8(line) else {
            return Line::Bad;
        };
        let line = line.trim_start_matches('\u{feff}').trim_end();
        match self.format {
            FeedFormat::Hosts => hosts::line(line, out),
            FeedFormat::Plain => plain::line(line, out),
            FeedFormat::Adguard => adguard::line(line, out),
            FeedFormat::Rpz => self.zone.line(line, out),
        }
    }
}

/// A name or address, as most formats write it.
fn place(text: &str, cover: Cover, effect: Effect, out: &mut impl FnMut(Entry<'_>)) -> Line {
    if let Some(range) = range(text) {
        out(Entry::Range { range, effect });
        return Line::Entries;
    }
    let Some(name) = host(text) else {
        return Line::Bad;
    };
    out(Entry::Name {
        name: &name,
        cover,
        effect,
    });
    Line::Entries
}

/// An address or a range; bits beyond the prefix are dropped, as list makers are careless with them.
fn range(text: &str) -> Option<IpNet> {
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(text);
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Some(address.into());
    }
    let range: IpNet = text.parse().ok()?;
    // Everything is no list entry but a slip.
    (range.prefix_len() > 0).then(|| range.trunc())
}

/// A host name in its one spelling. Names that end in a number are addresses that nobody can read alike.
fn host(text: &str) -> Option<std::borrow::Cow<'_, str>> {
    let found = name::ascii(text)?;
    let last = found.rsplit('.').next().unwrap_or_default();
    (!last.bytes().all(|byte| byte.is_ascii_digit())).then_some(found)
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What `text` says, one line for each entry, and what became of each line.
    pub(crate) fn read(format: FeedFormat, text: &str) -> (Vec<String>, Vec<Line>) {
        let mut parser = Parser::new(format);
        let mut said = Vec::new();
        let lines = text
            .lines()
            .map(|line| {
                parser.line(line.as_bytes(), &mut |entry| {
                    said.push(match entry {
                        Entry::Name {
                            name,
                            cover,
                            effect,
                        } => format!("{effect:?} {cover:?} {name}"),
                        Entry::Range { range, effect } => format!("{effect:?} {range}"),
                        Entry::Withdrawn {
                            name,
                            cover,
                            effect,
                        } => {
                            format!("not {effect:?} {cover:?} {name}")
                        }
                    });
                })
            })
            .collect();
        (said, lines)
    }

    pub(crate) const FORMATS: [FeedFormat; 4] = [
        FeedFormat::Hosts,
        FeedFormat::Plain,
        FeedFormat::Adguard,
        FeedFormat::Rpz,
    ];

    #[test]
    fn a_line_too_long_or_not_text_is_bad_in_every_format() {
        for format in FORMATS {
            let mut parser = Parser::new(format);
            assert_eq!(parser.line(&[b'a'; MAX_LINE + 1], &mut |_| ()), Line::Bad);
            assert_eq!(parser.line(b"\xff\xfe.example", &mut |_| ()), Line::Bad);
        }
    }

    // A captive portal or an error page in the place of a list.
    #[test]
    fn a_page_is_no_list() {
        let page = "<!DOCTYPE html>\n<html lang=\"en\">\n<head><title>Sign in</title></head>\n<body onload=\"go()\">\n\
                    <p>Please sign in to use this network.</p>\n</body>\n</html>";
        for format in FORMATS {
            let (said, lines) = read(format, page);
            assert!(said.is_empty(), "{format:?}: {said:?}");
            assert!(!lines.contains(&Line::Entries));
        }
    }

    #[test]
    fn the_fuzzing_corpus_holds() {
        let directory = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../tests/fuzz/corpus/list_line"
        );
        for file in std::fs::read_dir(directory).unwrap() {
            let data = std::fs::read(file.unwrap().path()).unwrap();
            let mut parser = Parser::new(FORMATS[usize::from(data[0] % 4)]);
            for line in data[1..].split(|byte| *byte == b'\n') {
                parser.line(line, &mut |entry| {
                    if let Entry::Name { name, .. } = entry {
                        assert_eq!(name::ascii(name).as_deref(), Some(name));
                    }
                });
            }
        }
    }

    proptest! {
        #[test]
        fn no_line_breaks_a_parser_and_every_name_has_its_one_spelling(lines in prop::collection::vec("\\PC{0,40}|[|@a-z0-9.^$*/:= \t;()-]{0,30}", 0..6)) {
            for format in FORMATS {
                let mut parser = Parser::new(format);
                for line in &lines {
                    let mut count = 0;
                    let became = parser.line(line.as_bytes(), &mut |entry| {
                        count += 1;
                        match entry {
                            Entry::Name { name, .. } | Entry::Withdrawn { name, .. } => {
                                assert_eq!(name::ascii(name).as_deref(), Some(name));
                            }
                            Entry::Range { range, .. } => assert!(range.prefix_len() > 0),
                        }
                    });
                    prop_assert_eq!(count > 0, became == Line::Entries);
                }
            }
        }
    }
}
