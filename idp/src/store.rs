//! The file of accounts, `accounts.redb`. Whatever is wrong with it is an error: an account file that reads as empty would
//! let the next administrator hand out somebody else's name.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use redb::{
    Builder, Database, DatabaseError, ReadableDatabase, ReadableTable, StorageError,
    TableDefinition, TableError,
};

use crate::accounts::error::OpenError;
use crate::accounts::people::People;
use crate::accounts::record::Record;

/// What this version writes and reads.
const FORMAT: u64 = 1;

const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
const ACCOUNTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("accounts");
const REMOVED: TableDefinition<'_, &str, i64> = TableDefinition::new("removed");

const CACHE: usize = 8 << 20;

/// One change of one account.
pub(crate) enum Write<'a> {
    Put(&'a Record),
    Remove {
        id: &'a str,
        at: i64,
    },
    /// Changes nothing, at the same cost as a failure of an account that exists.
    Decoy(u64),
}

/// A change could not be written; the file is as it was.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct StoreError(String);

/// The open file. One process at a time: the operating system's lock is held as long as this lives.
pub(crate) struct Store {
    database: Database,
    path: Box<str>,
}

impl Store {
    /// Opens the file in `directory`, or makes it where `may_create` says that there never was one.
    ///
    /// # Errors
    /// [`OpenError`].
    pub(crate) fn open(directory: &Path, may_create: bool) -> Result<(Self, People), OpenError> {
        let path = directory.join("accounts.redb");
        if !exists(&path)? {
            if !may_create {
                return Err(OpenError::HalfMissing {
                    missing: shown(&path),
                    present: shown(&directory.join("accounts.key")),
                });
            }
            create(directory, &path)?;
        }
        check_private(&path)?;
        if fs::metadata(&path).map_err(|e| io_at(&path, e))?.len() == 0 {
            // redb would take an empty file for a new one.
            return Err(damaged(&path, "it is empty"));
        }
        let database = builder()
            .set_check_integrity_on_open(true)
            .open(&path)
            .map_err(|error| database_error(&path, error))?;
        let store = Self {
            database,
            path: shown(&path),
        };
        let people = store.load(&path)?;
        Ok((store, people))
    }

    /// Writes all of `changes` or none, and returns when they are on disk.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) fn commit(&self, changes: &[Write<'_>]) -> Result<(), StoreError> {
        self.write(changes).map_err(|error| {
            tracing::error!(path = %self.path, %error, "accounts cannot be written");
            StoreError(error.to_string())
        })
    }

    /// What is noted beside the accounts.
    ///
    /// # Errors
    /// [`OpenError::Damaged`].
    pub(crate) fn note(&self, name: &str) -> Result<Option<Vec<u8>>, OpenError> {
        self.read_note(name)
            .map_err(|error| damaged(Path::new(&*self.path), &error.to_string()))
    }

    /// # Errors
    /// [`StoreError`].
    pub(crate) fn set_note(&self, name: &str, value: &[u8]) -> Result<(), StoreError> {
        self.write_note(name, value)
            .map_err(|error| StoreError(error.to_string()))
    }

    fn write(&self, changes: &[Write<'_>]) -> Result<(), redb::Error> {
        let transaction = self.database.begin_write()?;
        {
            let mut accounts = transaction.open_table(ACCOUNTS)?;
            let mut removed = transaction.open_table(REMOVED)?;
            let mut meta = transaction.open_table(META)?;
            for change in changes {
                match change {
                    Write::Put(record) => {
                        let text = serde_json::to_vec(record).map_err(io::Error::from)?;
                        accounts.insert(&*record.id, text.as_slice())?;
                    }
                    Write::Remove { id, at } => {
                        accounts.remove(id)?;
                        removed.insert(id, at)?;
                    }
                    Write::Decoy(count) => {
                        meta.insert("decoy", count.to_be_bytes().as_slice())?;
                    }
                }
            }
        }
        transaction.commit()?;
        Ok(())
    }

    fn read_note(&self, name: &str) -> Result<Option<Vec<u8>>, redb::Error> {
        let table = self.database.begin_read()?.open_table(META)?;
        Ok(table.get(name)?.map(|value| value.value().to_vec()))
    }

    fn write_note(&self, name: &str, value: &[u8]) -> Result<(), redb::Error> {
        let transaction = self.database.begin_write()?;
        transaction.open_table(META)?.insert(name, value)?;
        transaction.commit()?;
        Ok(())
    }

    fn load(&self, path: &Path) -> Result<People, OpenError> {
        let fail = |error: redb::Error| damaged(path, &error.to_string());
        let format = self.note("format")?;
        let format = format
            .and_then(|bytes| bytes.try_into().ok())
            .map(u64::from_be_bytes)
            .ok_or_else(|| damaged(path, "it says no format"))?;
        if format > FORMAT {
            return Err(OpenError::Newer {
                path: shown(path),
                found: format,
                known: FORMAT,
            });
        }
        if format != FORMAT {
            return Err(damaged(path, "it says an unknown format"));
        }
        let transaction = self.database.begin_read().map_err(|e| fail(e.into()))?;
        let table_error = |error: TableError| fail(error.into());
        let storage_error = |error: StorageError| fail(error.into());
        let mut people = People::default();
        let removed = transaction.open_table(REMOVED).map_err(table_error)?;
        for entry in removed.iter().map_err(storage_error)? {
            let (id, _) = entry.map_err(storage_error)?;
            people.bury(id.value());
        }
        let accounts = transaction.open_table(ACCOUNTS).map_err(table_error)?;
        for entry in accounts.iter().map_err(storage_error)? {
            let (id, text) = entry.map_err(storage_error)?;
            let id = id.value();
            // The parser's own words could quote what is in there.
            let record = serde_json::from_slice::<Record>(text.value())
                .ok()
                .filter(|record| &*record.id == id)
                .ok_or_else(|| damaged(path, &format!("the account `{id}` is not readable")))?;
            if people.is_removed(id) {
                return Err(damaged(
                    path,
                    &format!("the account `{id}` is also removed"),
                ));
            }
            people.put(record);
        }
        Ok(people)
    }
}

/// Whether there is a file, rather than an error that looks like none.
///
/// # Errors
/// [`OpenError::Io`].
pub(crate) fn exists(path: &Path) -> Result<bool, OpenError> {
    path.try_exists().map_err(|error| io_at(path, error))
}

/// # Errors
/// [`OpenError::TooOpen`] when others than the owner may read or write it.
pub(crate) fn check_private(path: &Path) -> Result<(), OpenError> {
    let mode = fs::metadata(path).map_err(|e| io_at(path, e))?.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(OpenError::TooOpen {
            path: shown(path),
            mode,
        });
    }
    Ok(())
}

/// A new file of our own, 0600.
///
/// # Errors
/// [`OpenError::Io`], also when it exists.
pub(crate) fn create_private(path: &Path) -> Result<File, OpenError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(|error| io_at(path, error))
}

/// Makes `directory` where it is missing, for its owner alone.
///
/// # Errors
/// [`OpenError::Io`].
pub(crate) fn prepare(directory: &Path) -> Result<(), OpenError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(|error| io_at(directory, error))
}

/// Makes sure that a new name survives a power failure.
///
/// # Errors
/// [`OpenError::Io`].
pub(crate) fn sync_directory(directory: &Path) -> Result<(), OpenError> {
    File::open(directory)
        .and_then(|file| file.sync_all())
        .map_err(|error| io_at(directory, error))
}

pub(crate) fn io_at(path: &Path, source: io::Error) -> OpenError {
    OpenError::Io {
        path: shown(path),
        source,
    }
}

pub(crate) fn shown(path: &Path) -> Box<str> {
    path.display().to_string().into()
}

/// Makes the file under another name and gives it its own only when it is whole: a crash on the way leaves no file that
/// could be taken for an empty one.
fn create(directory: &Path, path: &Path) -> Result<(), OpenError> {
    let draft: PathBuf = directory.join(format!("accounts.redb.{}.new", std::process::id()));
    if exists(&draft)? {
        fs::remove_file(&draft).map_err(|e| io_at(&draft, e))?;
    }
    create_private(&draft)?;
    let database = builder()
        .create(&draft)
        .map_err(|error| database_error(&draft, error))?;
    let fill = || -> Result<(), redb::Error> {
        let transaction = database.begin_write()?;
        transaction.open_table(ACCOUNTS)?;
        transaction.open_table(REMOVED)?;
        transaction
            .open_table(META)?
            .insert("format", FORMAT.to_be_bytes().as_slice())?;
        transaction.commit()?;
        Ok(())
    };
    fill().map_err(|error| damaged(&draft, &error.to_string()))?;
    drop(database);
    // A link, not a rename: where another process was faster, its file stays.
    match fs::hard_link(&draft, path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(io_at(path, error)),
    }
    fs::remove_file(&draft).map_err(|e| io_at(&draft, e))?;
    sync_directory(directory)
}

fn builder() -> Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE);
    builder
}

fn database_error(path: &Path, error: DatabaseError) -> OpenError {
    if matches!(
        error,
        DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch
    ) {
        return OpenError::InUse(shown(path));
    }
    damaged(path, &error.to_string())
}

fn damaged(path: &Path, cause: &str) -> OpenError {
    OpenError::Damaged {
        path: shown(path),
        cause: cause.to_owned(),
    }
}
