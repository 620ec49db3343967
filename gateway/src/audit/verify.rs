//! Reading the record back: does every line follow from the line before it, and is the end where the checkpoint says?
//!
//! Streams, so that a log of any size can be checked while it is being written, and goes on after a fault, so that one
//! run names all of them.

use std::borrow::Cow;
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::chain::{Hash, Head, unseal};
use super::checkpoint::Checkpoint;

/// Longest line that is looked at; ours are far shorter.
const LINE_LIMIT: u64 = 1024 * 1024;

/// How many findings are kept; the rest are counted.
pub const FINDINGS_KEPT: usize = 100;

/// What a verification came to.
#[derive(Debug, Default)]
pub struct Report {
    pub files: Vec<Summary>,
    /// The first [`FINDINGS_KEPT`].
    pub findings: Vec<Finding>,
    /// All of them.
    pub faults: u64,
}

/// One file, as read.
#[derive(Debug)]
pub struct Summary {
    pub file: PathBuf,
    /// Whole lines, broken ones included.
    pub lines: u64,
    pub first_seq: Option<u64>,
    /// Of the first and the last record.
    pub first_time: Option<String>,
    pub last_time: Option<String>,
    /// Where the chain stood before the first line, when that is not its beginning.
    pub follows: Option<Head>,
    /// Where it stands after the last.
    pub head: Head,
    /// Bytes after the last whole line: a line that is just being written, or was torn by a crash.
    pub remainder: u64,
    /// The line up to which a checkpoint vouches for the file's being whole.
    pub checkpoint: Option<u64>,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub file: PathBuf,
    /// Counted from 1; the last line for what is missing after it.
    pub line: u64,
    /// What the line itself says it is.
    pub seq: Option<u64>,
    /// Where the line begins.
    pub offset: u64,
    pub fault: Fault,
}

/// Kinds of faults. Every one of them means that somebody else than the gateway changed the file, or that it was damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Not a JSON object that ends in a hash.
    NotARecord,
    /// The content, or the hash of the line before, is not what was written.
    Changed { stated: Hash, computed: Hash },
    /// Lines between this one and the one before are gone.
    Missing { first: u64, last: u64 },
    /// Its number has passed: repeated, inserted or moved.
    Displaced { expected: u64 },
    /// The chain does not begin here, and the line does not say what it follows.
    Beginning,
    /// It follows another line than the one given or the earlier file's last.
    Elsewhere { follows: Hash, given: Hash },
    /// The file ends before the line that the checkpoint names.
    Cut { checkpoint: u64 },
    /// The line that the checkpoint names has another hash or place: the log was computed anew, or the checkpoint changed.
    Rewritten { checkpoint: Hash },
    /// `<log>.head` is not a checkpoint.
    CheckpointInvalid,
}

/// A file that could not be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read `{}`: {source}", path.display())]
pub struct Unreadable {
    pub path: PathBuf,
    pub source: io::Error,
}

/// Verifies files in the order of the chain. `from` is the hash that the first line must follow, known from elsewhere;
/// without it the first file's own word is taken. A path `-` is standard input.
///
/// # Errors
/// The first file that cannot be read.
pub fn verify(files: &[PathBuf], from: Option<Hash>) -> Result<Report, Unreadable> {
    let mut report = Report::default();
    let mut anchor = Anchor::First(from);
    for path in files {
        let unreadable = |source| Unreadable {
            path: path.clone(),
            source,
        };
        let summary = verify_file(path, anchor, &mut report).map_err(unreadable)?;
        anchor = Anchor::Follows(summary.head);
        report.files.push(summary);
    }
    Ok(report)
}

/// What the first line of a file is held against.
#[derive(Clone, Copy)]
enum Anchor {
    First(Option<Hash>),
    Follows(Head),
}

fn verify_file(path: &Path, anchor: Anchor, report: &mut Report) -> io::Result<Summary> {
    if path == Path::new("-") {
        return Walk::new(path, anchor, None, report).through(io::stdin().lock());
    }
    // Read before the log: a log that grows meanwhile can only be ahead of it.
    let checkpoint = match Checkpoint::read(path) {
        Ok(checkpoint) => checkpoint,
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            report.add(path, 0, None, 0, Fault::CheckpointInvalid);
            None
        }
        Err(error) => return Err(error),
    };
    let mut reader = BufReader::with_capacity(256 * 1024, File::open(path)?);
    if is_compressed(reader.fill_buf()?) {
        return Err(io::Error::other(
            "it is compressed; try `zcat FILE | masugata audit verify -`",
        ));
    }
    Walk::new(path, anchor, checkpoint, report).through(reader)
}

/// As rotated files often are: gzip, Zstandard, xz, bzip2. Their bytes would pass for a log of which nothing is left.
fn is_compressed(beginning: &[u8]) -> bool {
    let magic: [&[u8]; 4] = [b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ\0", b"BZh"];
    magic.iter().any(|magic| beginning.starts_with(magic))
}

impl Report {
    /// Nothing is wrong.
    pub fn is_intact(&self) -> bool {
        self.faults == 0
    }

    fn add(&mut self, file: &Path, line: u64, seq: Option<u64>, offset: u64, fault: Fault) {
        self.faults = self.faults.saturating_add(1);
        if self.findings.len() < FINDINGS_KEPT {
            self.findings.push(Finding {
                file: file.to_owned(),
                line,
                seq,
                offset,
                fault,
            });
        }
    }
}

/// Where a walk through one file stands.
struct Walk<'r> {
    report: &'r mut Report,
    path: &'r Path,
    anchor: Anchor,
    checkpoint: Option<Checkpoint>,
    /// Those of earlier files.
    faults_before: u64,
    /// `None` before the first record.
    head: Option<Head>,
    /// Lines since `head` that were no records.
    unknown: u64,
    /// The checkpoint's line was seen, and was the same.
    vouched: bool,
    first_seq: Option<u64>,
    first_time: Option<String>,
    last_time: Option<String>,
    follows: Option<Head>,
}

impl<'r> Walk<'r> {
    fn new(
        path: &'r Path,
        anchor: Anchor,
        checkpoint: Option<Checkpoint>,
        report: &'r mut Report,
    ) -> Self {
        Self {
            faults_before: report.faults,
            report,
            path,
            anchor,
            checkpoint,
            head: None,
            unknown: 0,
            vouched: false,
            first_seq: None,
            first_time: None,
            last_time: None,
            follows: None,
        }
    }

    fn through(mut self, reader: impl BufRead) -> io::Result<Summary> {
        let mut lines = Lines::new(reader);
        let (mut count, mut remainder) = (0, 0);
        let (mut line, mut offset) = (0, 0);
        while let Some(framed) = lines.next_line()? {
            if matches!(framed.body, Body::Remainder) {
                remainder = framed.end.saturating_sub(framed.start);
                break;
            }
            (line, offset) = (framed.number, framed.start);
            count = framed.number;
            match framed.body.line().and_then(Record::parse) {
                Some(record) => self.take(&record, (line, offset, framed.end)),
                None => {
                    self.unknown = self.unknown.saturating_add(1);
                    self.report
                        .add(self.path, line, None, offset, Fault::NotARecord);
                }
            }
        }
        self.compare_with_checkpoint(line, offset);
        let head = self.head.unwrap_or_else(|| self.before_first(None));
        Ok(Summary {
            file: self.path.to_owned(),
            lines: count,
            first_seq: self.first_seq,
            first_time: self.first_time,
            last_time: self.last_time,
            follows: self.follows,
            head,
            remainder,
            checkpoint: self
                .checkpoint
                .filter(|_| self.vouched)
                .map(|seen| seen.head.sequence),
        })
    }

    /// `place`: line, where it begins and where it ends.
    fn take(&mut self, record: &Record<'_>, place: (u64, u64, u64)) {
        let (line, offset, _) = place;
        let stated = record.stated();
        let fault = match self.head {
            Some(head) => self.compare(record, head),
            None => self.begin(record),
        };
        if let Some(fault) = fault {
            self.report
                .add(self.path, line, Some(stated.sequence), offset, fault);
        }
        self.unknown = 0;
        self.head = Some(stated);
        self.first_seq.get_or_insert(stated.sequence);
        // Shown to people and programs, so only what looks like a time.
        let time =
            record.members.time.as_deref().filter(|time| {
                time.len() == 24 && time.bytes().all(|byte| byte.is_ascii_graphic())
            });
        if self.first_time.is_none() {
            self.first_time = time.map(str::to_owned);
        }
        match (&mut self.last_time, time) {
            (Some(last), Some(time)) => time.clone_into(last),
            (last, time) => *last = time.map(str::to_owned),
        }
        if let Some(checkpoint) = self.checkpoint
            && checkpoint.head.sequence == stated.sequence
        {
            self.vouch(checkpoint, stated.hash, place);
        }
    }

    fn vouch(&mut self, checkpoint: Checkpoint, found: Hash, (line, offset, end): (u64, u64, u64)) {
        // Another length is what faults before this line leave behind: they are reported, and the end is still the end.
        let displaced = self.report.faults > self.faults_before;
        if checkpoint.head.hash == found && (checkpoint.bytes == end || displaced) {
            self.vouched = true;
        } else {
            let fault = Fault::Rewritten {
                checkpoint: checkpoint.head.hash,
            };
            let seq = Some(checkpoint.head.sequence);
            self.report.add(self.path, line, seq, offset, fault);
        }
    }

    /// The first record of a file.
    fn begin(&mut self, record: &Record<'_>) -> Option<Fault> {
        let before = self.before_first(Some(record));
        self.follows = Some(before).filter(|before| *before != Head::GENESIS);
        self.vouched = self.checkpoint.is_some_and(|seen| seen.head == before);
        let seq = record.members.seq;
        let named = record.previous();
        let given = match self.anchor {
            Anchor::First(None) if named.is_none() && seq != 1 && self.unknown == 0 => {
                return Some(Fault::Beginning);
            }
            // What is no record has taken the beginning with it, and is reported already.
            Anchor::First(None) if self.unknown > 0 && named.is_none() => return None,
            Anchor::First(None) => None,
            Anchor::First(Some(hash)) => Some(hash),
            Anchor::Follows(head) => Some(head.hash),
        };
        match (given, named) {
            (Some(given), Some(named)) if named.hash != given && record.after(named).is_some() => {
                Some(Fault::Elsewhere {
                    follows: named.hash,
                    given,
                })
            }
            _ => self.compare(record, before),
        }
    }

    /// Where the chain stood before the first record, as far as anybody says.
    fn before_first(&self, record: Option<&Record<'_>>) -> Head {
        match self.anchor {
            Anchor::Follows(head) => head,
            Anchor::First(Some(hash)) => Head {
                sequence: record.map_or(0, |record| record.members.seq.saturating_sub(1)),
                hash,
            },
            Anchor::First(None) => record.and_then(Record::previous).unwrap_or(Head::GENESIS),
        }
    }

    fn compare(&self, record: &Record<'_>, head: Head) -> Option<Fault> {
        if record.after(head).is_some() {
            return None;
        }
        let expected = head.sequence.saturating_add(1);
        let seq = record.members.seq;
        let computed = head.hash.followed_by(record.content);
        // Lines that are no records were reported already, and may have had numbers.
        let latest = expected.saturating_add(self.unknown);
        if seq < expected {
            Some(Fault::Displaced { expected })
        } else if seq > latest {
            Some(Fault::Missing {
                first: latest,
                last: seq.saturating_sub(1),
            })
        } else if self.unknown > 0 && seq > expected {
            None
        } else {
            Some(Fault::Changed {
                stated: record.hash,
                computed,
            })
        }
    }

    fn compare_with_checkpoint(&mut self, line: u64, offset: u64) {
        let Some(checkpoint) = self.checkpoint else {
            return;
        };
        // A new file, in which nothing has been written yet.
        if self.head.is_none() && checkpoint.bytes == 0 {
            return;
        }
        let last = self.head.map_or(0, |head| head.sequence);
        if checkpoint.head.sequence > last {
            let fault = Fault::Cut {
                checkpoint: checkpoint.head.sequence,
            };
            let seq = self.head.map(|head| head.sequence);
            self.report.add(self.path, line, seq, offset, fault);
        }
    }
}

impl Fault {
    /// A stable word for programs.
    pub fn code(self) -> &'static str {
        match self {
            Self::NotARecord => "not-a-record",
            Self::Changed { .. } => "changed",
            Self::Missing { .. } => "missing",
            Self::Displaced { .. } => "displaced",
            Self::Beginning => "beginning-missing",
            Self::Elsewhere { .. } => "follows-another",
            Self::Cut { .. } => "cut",
            Self::Rewritten { .. } => "rewritten",
            Self::CheckpointInvalid => "checkpoint-invalid",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotARecord => formatter.write_str("not a record: damaged, cut short or put here by somebody else"),
            Self::Changed { stated, computed } => write!(
                formatter,
                "changed, or the line before it was: it states hash {stated}, but its content gives {computed}"
            ),
            Self::Missing { first, last } if first == last => {
                write!(formatter, "the line before it, seq {first}, is missing")
            }
            Self::Missing { first, last } => {
                write!(formatter, "the lines before it, seq {first} to {last}, are missing")
            }
            Self::Displaced { expected } => write!(
                formatter,
                "repeated, inserted or moved here: seq {expected} was expected"
            ),
            Self::Beginning => formatter.write_str(
                "the lines before it are missing: a file begins with seq 1 or with the operation `rotated`",
            ),
            Self::Elsewhere { follows, given } => write!(
                formatter,
                "follows a line with hash {follows}, not the one given or read last, {given}: files are missing or in \
                 another order"
            ),
            Self::Cut { checkpoint } => write!(
                formatter,
                "the end is missing: the checkpoint says that seq {checkpoint} was written"
            ),
            Self::Rewritten { checkpoint } => write!(
                formatter,
                "the log was computed anew, or its checkpoint was changed, which says that hash {checkpoint} is here"
            ),
            Self::CheckpointInvalid => formatter.write_str("its `.head` is not a checkpoint: changed or damaged"),
        }
    }
}

/// The lines of a log with their places, in bounded memory.
pub(super) struct Lines<R> {
    reader: R,
    buffer: Vec<u8>,
    number: u64,
    offset: u64,
}

/// A line and its place.
pub(super) struct Framed<'a> {
    /// From 1.
    pub(super) number: u64,
    pub(super) start: u64,
    /// After its line feed.
    pub(super) end: u64,
    pub(super) body: Body<'a>,
}

pub(super) enum Body<'a> {
    /// Without its line feed.
    Line(&'a [u8]),
    /// Longer than any record.
    Oversize,
    /// What comes after the last line feed.
    Remainder,
}

impl<'a> Body<'a> {
    pub(super) fn line(&self) -> Option<&'a [u8]> {
        match self {
            Self::Line(line) => Some(line),
            Self::Oversize | Self::Remainder => None,
        }
    }
}

impl<R: BufRead> Lines<R> {
    pub(super) fn new(reader: R) -> Self {
        Self {
            reader,
            buffer: Vec::new(),
            number: 0,
            offset: 0,
        }
    }

    pub(super) fn next_line(&mut self) -> io::Result<Option<Framed<'_>>> {
        self.buffer.clear();
        let mut length =
            Read::take(&mut self.reader, LINE_LIMIT).read_until(b'\n', &mut self.buffer)? as u64;
        if length == 0 {
            return Ok(None);
        }
        let whole = self.buffer.pop_if(|byte| *byte == b'\n').is_some();
        let body = if whole {
            Body::Line(&self.buffer)
        } else if length == LINE_LIMIT {
            let more = self.reader.skip_until(b'\n')? as u64;
            length = length.saturating_add(more);
            Body::Oversize
        } else {
            Body::Remainder
        };
        let start = self.offset;
        self.number = self.number.saturating_add(1);
        self.offset = start.saturating_add(length);
        Ok(Some(Framed {
            number: self.number,
            start,
            end: self.offset,
            body,
        }))
    }
}

/// A line that has the form of a record.
pub(super) struct Record<'a> {
    content: &'a [u8],
    hash: Hash,
    members: Members<'a>,
}

#[derive(Deserialize)]
struct Members<'a> {
    seq: u64,
    #[serde(borrow, default)]
    time: Option<Cow<'a, str>>,
    #[serde(default)]
    previous_seq: Option<u64>,
    #[serde(borrow, default)]
    previous_hash: Option<Cow<'a, str>>,
}

impl<'a> Record<'a> {
    pub(super) fn parse(line: &'a [u8]) -> Option<Self> {
        let (content, hash) = unseal(line)?;
        let members = serde_json::from_slice(line).ok()?;
        Some(Self {
            content,
            hash,
            members,
        })
    }

    /// Where the chain stands after this line, by its own word.
    pub(super) fn stated(&self) -> Head {
        Head {
            sequence: self.members.seq,
            hash: self.hash,
        }
    }

    /// Where the chain stood before it, by its own word: only the first line of a later file says so.
    pub(super) fn previous(&self) -> Option<Head> {
        Some(Head {
            sequence: self.members.previous_seq?,
            hash: Hash::parse(self.members.previous_hash.as_deref()?.as_bytes())?,
        })
    }

    /// Where the chain stands after it, if it follows `head`.
    pub(super) fn after(&self, head: Head) -> Option<Head> {
        let follows = self.members.seq == head.sequence.saturating_add(1)
            && self.hash == head.hash.followed_by(self.content);
        follows.then(|| self.stated())
    }
}

#[cfg(test)]
mod tests;
