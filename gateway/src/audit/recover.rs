//! Where an existing log is taken up again: after a stop, a crash, a power cut, or a rotation while nobody wrote.
//!
//! What the checkpoint covers was on stable storage: if that is not there any more, somebody cut or rewrote it, and the
//! gateway does not start over it. What came after it counts as far as it verifies; the rest is what a crash leaves
//! behind, and is set aside unchanged. Without a checkpoint, the whole file has to verify.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::chain::Head;
use super::checkpoint::{Checkpoint, beside};
use super::file::{LogFile, MODE};
use super::line::LINE_LIMIT;
use super::sink::AuditError;
use super::verify::{Body, Lines, Record};

/// Where to go on.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) head: Head,
    /// Bytes that count.
    pub(super) whole: u64,
    /// The file is new, and the chain began in another.
    pub(super) continues: bool,
    /// There were lines, but no checkpoint.
    pub(super) unchecked: bool,
}

/// Finds where the chain of `log` stands.
pub(super) fn standing(
    log: &mut LogFile,
    checkpoint: Option<Checkpoint>,
) -> Result<Standing, AuditError> {
    let path = log.path.clone();
    let failed = |source| AuditError::Io {
        path: path.clone(),
        action: "read",
        source,
    };
    let known = checkpoint.filter(|checkpoint| checkpoint.head.sequence > 0);
    if log.length == 0 {
        return Ok(Standing {
            head: known.map_or(Head::GENESIS, |checkpoint| checkpoint.head),
            whole: 0,
            continues: known.is_some(),
            unchecked: false,
        });
    }
    match checkpoint {
        Some(checkpoint) => after_checkpoint(log, checkpoint, failed),
        None => from_the_start(log, failed),
    }
}

fn after_checkpoint(
    log: &mut LogFile,
    checkpoint: Checkpoint,
    failed: impl Fn(io::Error) -> AuditError,
) -> Result<Standing, AuditError> {
    let covered = line_ending_at(&mut log.file, checkpoint.bytes).map_err(&failed)?;
    let start = if covered == Some(checkpoint.head) {
        checkpoint.bytes
    } else if first_line_follows(&mut log.file, checkpoint.head).map_err(&failed)? {
        // Rotated, and stopped before the next checkpoint.
        0
    } else if log.length < checkpoint.bytes {
        return Err(AuditError::Cut {
            path: log.path.clone(),
            expected: checkpoint.bytes,
            found: log.length,
        });
    } else {
        return Err(AuditError::Rewritten {
            path: log.path.clone(),
            sequence: checkpoint.head.sequence,
        });
    };
    log.file.seek(SeekFrom::Start(start)).map_err(&failed)?;
    let mut lines = Lines::new(BufReader::new(&log.file));
    let mut standing = Standing {
        head: checkpoint.head,
        whole: start,
        continues: false,
        unchecked: false,
    };
    while let Some(framed) = lines.next_line().map_err(&failed)? {
        let record = framed.body.line().and_then(Record::parse);
        let Some(head) = record.and_then(|record| record.after(standing.head)) else {
            break;
        };
        standing.head = head;
        standing.whole = start.saturating_add(framed.end);
    }
    Ok(standing)
}

fn from_the_start(
    log: &mut LogFile,
    failed: impl Fn(io::Error) -> AuditError,
) -> Result<Standing, AuditError> {
    log.file.seek(SeekFrom::Start(0)).map_err(&failed)?;
    let mut lines = Lines::new(BufReader::new(&log.file));
    let mut standing = Standing {
        head: Head::GENESIS,
        whole: 0,
        continues: false,
        unchecked: false,
    };
    while let Some(framed) = lines.next_line().map_err(&failed)? {
        if matches!(framed.body, Body::Remainder) {
            break;
        }
        let record = framed.body.line().and_then(Record::parse);
        if framed.number == 1 {
            let before = record.as_ref().and_then(Record::previous);
            standing.head = before.unwrap_or(Head::GENESIS);
        }
        let Some(head) = record.and_then(|record| record.after(standing.head)) else {
            return Err(AuditError::Broken {
                path: log.path.clone(),
                line: framed.number,
                offset: standing.whole,
            });
        };
        standing.head = head;
        standing.whole = framed.end;
        standing.unchecked = true;
    }
    Ok(standing)
}

/// The number and hash stated by the line that ends at `end`.
fn line_ending_at(file: &mut File, end: u64) -> io::Result<Option<Head>> {
    let start = end.saturating_sub(LINE_LIMIT as u64 + 1);
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    (&mut *file).take(end - start).read_to_end(&mut bytes)?;
    if (bytes.len() as u64) < end - start || bytes.pop() != Some(b'\n') {
        return Ok(None);
    }
    let line = bytes
        .rsplit(|byte| *byte == b'\n')
        .next()
        .unwrap_or_default();
    Ok(Record::parse(line).map(|record| record.stated()))
}

fn first_line_follows(file: &mut File, head: Head) -> io::Result<bool> {
    file.seek(SeekFrom::Start(0))?;
    let mut lines = Lines::new(BufReader::new(&*file));
    let first = lines.next_line()?;
    let record = first.and_then(|framed| framed.body.line().and_then(Record::parse));
    Ok(record.is_some_and(|record| record.after(head).is_some()))
}

/// Copies everything from `whole` on to a file of its own, then takes it out of the log. Returns the copy's path.
pub(super) fn set_aside(log: &mut LogFile, standing: &Standing) -> Result<PathBuf, AuditError> {
    let failed = |action, path: &Path| {
        let path = path.to_owned();
        move |source| AuditError::Io {
            path,
            action,
            source,
        }
    };
    let next = standing.head.sequence.saturating_add(1);
    let (path, mut copy) = side_file(&log.path, next)?;
    log.file
        .seek(SeekFrom::Start(standing.whole))
        .and_then(|_| io::copy(&mut log.file, &mut copy))
        .and_then(|_| copy.flush())
        .and_then(|()| copy.sync_all())
        .map_err(failed("write", &path))?;
    log.file
        .set_len(standing.whole)
        .and_then(|()| log.file.sync_all())
        .map_err(failed("shorten", &log.path))?;
    log.length = standing.whole;
    Ok(path)
}

/// `<log>.torn-<seq>`, or with a further number: an earlier copy is never overwritten.
fn side_file(log: &Path, sequence: u64) -> Result<(PathBuf, File), AuditError> {
    let mut path = beside(log, &format!(".torn-{sequence}"));
    for attempt in 2..=100 {
        let opened = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(MODE)
            .open(&path);
        match opened {
            Ok(file) => return Ok((path, file)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && attempt < 100 => {
                path = beside(log, &format!(".torn-{sequence}.{attempt}"));
            }
            Err(source) => {
                return Err(AuditError::Io {
                    path,
                    action: "create",
                    source,
                });
            }
        }
    }
    Err(AuditError::Io {
        path,
        action: "create",
        source: io::ErrorKind::AlreadyExists.into(),
    })
}
