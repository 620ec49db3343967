//! The log file itself: appended to in whole lines or not at all, watched for being moved away, held by one writer.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::checkpoint::beside;
use super::sink::AuditError;

/// The owner writes, the group (log shippers, reviewers) reads.
pub(super) const MODE: u32 = 0o640;

/// See the module's first line.
#[derive(Debug)]
pub(super) struct LogFile {
    pub(super) path: PathBuf,
    pub(super) file: File,
    /// What we believe is in it.
    pub(super) length: u64,
    /// Device and inode: tells whether `path` still is this file.
    place: (u64, u64),
    /// The file does not end with a line's end, through somebody else.
    mid_line: bool,
}

/// Whether the path still leads to the open file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whereabouts {
    Here,
    Moved,
}

impl LogFile {
    /// Opens or creates the log and takes the lock on it.
    pub(super) fn open(path: &Path) -> Result<Self, AuditError> {
        let failed = |source| AuditError::Io {
            path: path.to_owned(),
            action: "open",
            source,
        };
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(MODE)
            .open(path)
            .map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() {
            return Err(AuditError::NotAFile(path.to_owned()));
        }
        lock(&file, path)?;
        Self::new(path, file).map_err(failed)
    }

    pub(super) fn new(path: &Path, file: File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(Self {
            path: path.to_owned(),
            length: metadata.len(),
            place: (metadata.dev(), metadata.ino()),
            mid_line: false,
            file,
        })
    }

    /// Appends all of `bytes`, or says how many of them came to be written.
    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<(), (usize, io::Error)> {
        if self.mid_line {
            self.file.write_all(b"\n").map_err(|error| (0, error))?;
            self.mid_line = false;
            self.length = self.length.saturating_add(1);
        }
        let mut written = 0;
        while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
            match self.file.write(rest) {
                Ok(0) => return Err((written, io::ErrorKind::WriteZero.into())),
                Ok(count) => {
                    written = written.saturating_add(count);
                    self.length = self.length.saturating_add(count as u64);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err((written, error)),
            }
        }
        Ok(())
    }

    /// Takes back what is beyond `length`: the beginning of a line that did not fit.
    pub(super) fn roll_back(&mut self, length: u64) {
        if self.length == length {
            return;
        }
        match self.file.set_len(length) {
            Ok(()) => self.length = length,
            // Then at least nothing is joined to the half line.
            Err(_) => self.mid_line = true,
        }
    }

    /// Notices when somebody else wrote to the file or cut it; says what is there now, and goes on from that.
    pub(super) fn altered(&mut self) -> Option<u64> {
        let found = self
            .file
            .metadata()
            .ok()
            .filter(fs::Metadata::is_file)?
            .len();
        if found == self.length {
            return None;
        }
        self.length = found;
        self.mid_line = found > 0 && self.last_byte() != Some(b'\n');
        Some(found)
    }

    /// Whether `path` has been given to another file, or to none.
    pub(super) fn whereabouts(&self) -> Whereabouts {
        match fs::metadata(&self.path) {
            Ok(found) if (found.dev(), found.ino()) == self.place => Whereabouts::Here,
            Ok(_) => Whereabouts::Moved,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Whereabouts::Moved,
            // Not knowing is no reason to leave a file that can be written.
            Err(_) => Whereabouts::Here,
        }
    }

    /// To stable storage.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn last_byte(&mut self) -> Option<u8> {
        let mut byte = [0];
        self.file.seek(SeekFrom::End(-1)).ok()?;
        self.file.read_exact(&mut byte).ok()?;
        byte.first().copied()
    }
}

/// Held as long as the writer lives. The log's own lock does not suffice: after a rotation, and before the writer has
/// noticed, the path leads to a file that nobody holds.
pub(super) fn lock_path(log: &Path) -> Result<File, AuditError> {
    let path = beside(log, ".lock");
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(MODE)
        .open(&path)
        .map_err(|source| AuditError::Io {
            path: path.clone(),
            action: "open",
            source,
        })?;
    lock(&file, log)?;
    Ok(file)
}

fn lock(file: &File, path: &Path) -> Result<(), AuditError> {
    file.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => AuditError::InUse(path.to_owned()),
        TryLockError::Error(source) => AuditError::Io {
            path: path.to_owned(),
            action: "lock",
            source,
        },
    })
}

/// Makes the directory entry of a new file durable.
pub(super) fn sync_directory(of: &Path) -> io::Result<()> {
    let parent = of.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}
