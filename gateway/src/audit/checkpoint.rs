//! The checkpoint beside the log, `<log>.head`: how far the log had come at the last flush to stable storage. Without it,
//! whole lines could be cut off the end and nothing would show.
//!
//! It is never ahead of the log: written after the log's flush, and replaced as a whole. Signatures over it, which an
//! attacker on this machine could not make, have their place as further members of the same object.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::chain::{Hash, Head};
use super::line::VERSION;

/// Largest checkpoint that is read.
const LIMIT: u64 = 64 * 1024;

/// What `<log>.head` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Checkpoint {
    pub(super) head: Head,
    /// Length of the log up to and with the line of `head`.
    pub(super) bytes: u64,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    v: u8,
    seq: u64,
    hash: String,
    bytes: u64,
}

impl Checkpoint {
    /// `None` when there is none.
    ///
    /// # Errors
    /// Unreadable, or not a checkpoint ([`io::ErrorKind::InvalidData`]): it is replaced whole, so a crash can not do that.
    pub(super) fn read(log: &Path) -> io::Result<Option<Self>> {
        let file = match fs::File::open(path(log)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let text = io::read_to_string(io::Read::take(file, LIMIT))?;
        let invalid = || io::Error::new(io::ErrorKind::InvalidData, "not a checkpoint");
        let stored: Stored = serde_json::from_str(&text).map_err(|_| invalid())?;
        if stored.v != VERSION {
            return Err(invalid());
        }
        Ok(Some(Self {
            head: Head {
                sequence: stored.seq,
                hash: Hash::parse(stored.hash.as_bytes()).ok_or_else(invalid)?,
            },
            bytes: stored.bytes,
        }))
    }

    /// Replaces the checkpoint of `log`; after a crash there is the old one or the new one.
    pub(super) fn write(&self, log: &Path) -> io::Result<()> {
        let stored = Stored {
            v: VERSION,
            seq: self.head.sequence,
            hash: self.head.hash.to_string(),
            bytes: self.bytes,
        };
        let mut text = serde_json::to_vec(&stored)?;
        text.push(b'\n');
        let temporary = beside(log, ".head.new");
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(super::file::MODE)
            .open(&temporary)?;
        file.write_all(&text)?;
        file.sync_data()?;
        fs::rename(&temporary, path(log))
    }
}

/// Where the checkpoint of `log` is.
pub(super) fn path(log: &Path) -> PathBuf {
    beside(log, ".head")
}

/// `log` with something more to its name.
pub(super) fn beside(log: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(log);
    name.push(suffix);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_is_read_as_it_was_written_and_replaced_whole() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("audit.jsonl");
        assert_eq!(Checkpoint::read(&log).unwrap(), None);
        for sequence in [3, 400] {
            let head = Head {
                sequence,
                hash: Hash::GENESIS.followed_by(b"x"),
            };
            let checkpoint = Checkpoint { head, bytes: 77 };
            checkpoint.write(&log).unwrap();
            assert_eq!(Checkpoint::read(&log).unwrap(), Some(checkpoint));
        }
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn members_added_later_are_not_an_error_but_nonsense_is() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("audit.jsonl");
        let hash = Hash::GENESIS;
        let text =
            format!("{{\"v\":1,\"seq\":1,\"hash\":\"{hash}\",\"bytes\":9,\"signatures\":[]}}");
        fs::write(path(&log), &text).unwrap();
        assert!(Checkpoint::read(&log).unwrap().is_some());
        for broken in ["", "{}", &text.replace("\"v\":1", "\"v\":2"), &text[..60]] {
            fs::write(path(&log), broken).unwrap();
            assert!(Checkpoint::read(&log).is_err(), "{broken}");
        }
    }
}
