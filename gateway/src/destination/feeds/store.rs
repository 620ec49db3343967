//! Last good copies of fetched lists, one file each, replaced in one step.
//!
//! A copy carries its own proof: a header of fixed length with where it came from and the signature, then the list as it
//! came. It is verified again whenever it is read, so that nobody who can write to the directory can slip in a
//! list that must be signed or pinned.

use std::fs::{self, File};
use std::io::{self, Read, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::fetch::Validators;

/// Bytes before the list.
pub const HEADER: usize = 16 * 1024;
const MARK: &str = "masugata-list-1 ";

/// What is known of a copy.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Header {
    /// A copy from elsewhere is none.
    pub url: String,
    pub entries: u64,
    /// Seconds since 1970, as the signature says.
    pub signed_at: Option<i64>,
    pub etag: Option<String>,
    pub last_modified: Option<String>,
    /// Text of the `.minisig` file.
    pub signature: Option<String>,
    /// Milliseconds since 1970.
    pub fetched_at: i64,
}

impl Header {
    pub fn validators(&self) -> Validators {
        Validators {
            etag: self.etag.clone(),
            last_modified: self.last_modified.clone(),
        }
    }

    /// Seconds since 1970: when the server says that the list was written.
    pub fn modified_at(&self) -> Option<i64> {
        http_date(self.last_modified.as_deref()?)
    }
}

/// Seconds since 1970 of an HTTP date (RFC 9110 §5.6.7).
pub fn http_date(text: &str) -> Option<i64> {
    jiff::fmt::rfc2822::parse(text)
        .ok()
        .map(|zoned| zoned.timestamp().as_second())
}

/// Where the copy of a list is. Names of lists are checked by the configuration and hold no separators.
pub fn path_of(directory: &Path, feed: &str) -> PathBuf {
    directory.join(format!("{feed}.list"))
}

/// The copy of a list from `url`, positioned at its content; `None` where there is none.
///
/// # Errors
/// There is one and it cannot be read.
pub fn open(directory: &Path, feed: &str, url: &str) -> io::Result<Option<(Header, File)>> {
    let mut file = match File::open(path_of(directory, feed)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut header = vec![0; HEADER];
    match file.read_exact(&mut header) {
        Ok(()) => {}
        // Not written by us to the end.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let header = str::from_utf8(&header)
        .ok()
        .and_then(|text| text.strip_prefix(MARK))
        .and_then(|text| serde_json::from_str::<Header>(text.trim_end()).ok());
    Ok(header
        .filter(|header| header.url == url)
        .map(|header| (header, file)))
}

/// A place for a list that is being fetched; goes away unless it is kept.
#[derive(Debug)]
pub struct Incoming {
    path: PathBuf,
    kept: bool,
}

/// Tells apart what one process fetches at once.
static COUNT: AtomicU64 = AtomicU64::new(0);

/// What this process is fetching. Its number alone does not tell: in a container, the next process has the same.
static ARRIVING: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

fn arriving() -> MutexGuard<'static, Vec<PathBuf>> {
    // Nothing that can panic runs under this lock.
    ARRIVING.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Incoming {
    /// Makes an empty file with room for the header.
    ///
    /// # Errors
    /// The directory cannot be written to.
    pub fn create(directory: &Path, feed: &str) -> io::Result<(Self, File)> {
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = directory.join(format!(".{feed}.{}-{count}.new", std::process::id()));
        let mut options = File::options();
        // Whatever has this name is left over from another process.
        options.read(true).write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        arriving().push(path.clone());
        let incoming = Self { path, kept: false };
        let mut file = options.open(&incoming.path)?;
        file.write_all(&[b' '; HEADER])?;
        Ok((incoming, file))
    }

    /// The content, from its beginning.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn content(&self) -> io::Result<File> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(HEADER as u64))?;
        Ok(file)
    }

    /// Puts it in the place of the last copy: wholly or not at all, also if the power fails.
    ///
    /// # Errors
    /// It cannot be written; the last copy is as it was.
    pub fn keep(mut self, directory: &Path, feed: &str, header: &Header) -> io::Result<()> {
        let text = serde_json::to_string(header)?;
        if MARK.len().saturating_add(text.len()) >= HEADER {
            return Err(io::Error::other("what is known of it is too long"));
        }
        let mut file = File::options().write(true).open(&self.path)?;
        file.write_all(MARK.as_bytes())?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&self.path, path_of(directory, feed))?;
        self.kept = true;
        // The name is in the directory, which has to reach the disk as well.
        #[cfg(unix)]
        File::open(directory)?.sync_all()?;
        Ok(())
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if !self.kept {
            let _ = fs::remove_file(&self.path);
        }
        arriving().retain(|path| *path != self.path);
    }
}

/// Removes what a process that was stopped left behind; what this one is fetching stays.
pub fn tidy(directory: &Path, feed: &str) {
    let begin = format!(".{feed}.");
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    for entry in entries {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let path = entry.path();
        if name.starts_with(&begin) && name.ends_with(".new") && !arriving().contains(&path) {
            let _ = fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(url: &str) -> Header {
        Header {
            url: url.to_owned(),
            entries: 1,
            signed_at: Some(7),
            etag: None,
            last_modified: Some("Sun, 06 Nov 1994 08:49:37 GMT".to_owned()),
            signature: None,
            fetched_at: 1,
        }
    }

    fn put(directory: &Path, text: &[u8], header: &Header) {
        let (incoming, mut file) = Incoming::create(directory, "feed").unwrap();
        file.write_all(text).unwrap();
        incoming.keep(directory, "feed", header).unwrap();
    }

    #[test]
    fn a_copy_is_what_was_kept_and_for_its_url_only() {
        let directory = tempfile::tempdir().unwrap();
        assert!(open(directory.path(), "feed", "u").unwrap().is_none());
        put(directory.path(), b"a.example\n", &header("u"));
        put(directory.path(), b"b.example\n", &header("u"));
        let (found, mut file) = open(directory.path(), "feed", "u").unwrap().unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert_eq!((found, text.as_str()), (header("u"), "b.example\n"));
        assert!(
            open(directory.path(), "feed", "elsewhere")
                .unwrap()
                .is_none()
        );
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_is_not_kept_goes_away() {
        let directory = tempfile::tempdir().unwrap();
        drop(Incoming::create(directory.path(), "feed").unwrap());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
        let ours = std::process::id();
        for left in [
            ".feed.1-1.new".to_owned(),
            format!(".feed.{ours}-999999999.new"),
        ] {
            fs::write(directory.path().join(left), "x").unwrap();
        }
        let (arriving, _file) = Incoming::create(directory.path(), "feed").unwrap();
        tidy(directory.path(), "feed");
        assert!(arriving.content().is_ok(), "this one is being fetched");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_copy_that_was_not_written_by_us_is_none() {
        let directory = tempfile::tempdir().unwrap();
        for text in [&b"a.example\n"[..], &[b' '; HEADER], &[0xff; HEADER + 9]] {
            fs::write(path_of(directory.path(), "feed"), text).unwrap();
            assert!(open(directory.path(), "feed", "u").unwrap().is_none());
        }
    }

    #[test]
    fn dates_of_servers_are_read() {
        assert_eq!(header("u").modified_at(), Some(784_111_777));
        assert_eq!(http_date("yesterday"), None);
    }
}
