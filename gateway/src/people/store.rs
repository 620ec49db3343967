//! `people.redb`: what must outlive a restart. A file that is damaged is an error, never a new beginning.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use redb::backends::FileBackend;
use redb::{Database, DatabaseError, ReadableDatabase as _, TableDefinition};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::record::{Former, Group, Person};

const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const PERSONS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("persons");
const GROUPS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("groups");
const FORMER: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("former");

/// Of what is written here.
const VERSION: u64 = 1;
const VERSION_KEY: &str = "version";
const GROUPED_KEY: &str = "grouped";

const FILE: &str = "people.redb";

/// Bytes of the store that are kept in memory; everything is there anyway.
const CACHE: usize = 4 * 1024 * 1024;

/// Why the directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PeopleError {
    #[error("cannot {action} `{}`: {source}", path.display())]
    Io {
        path: PathBuf,
        action: &'static str,
        source: io::Error,
    },
    #[error("`{}` is used by another process", .0.display())]
    InUse(PathBuf),
    #[error(
        "`{}` is damaged ({what}); put back a copy of it, or move it away and let the provisioning system send everybody anew",
        path.display()
    )]
    Damaged { path: PathBuf, what: String },
    #[error("`{}` was written by a newer version (format {found})", path.display())]
    TooNew { path: PathBuf, found: u64 },
    #[error("the directory of people cannot be written: {0}")]
    Write(String),
}

/// Everything that was kept.
pub(super) struct Content {
    pub(super) persons: Vec<Person>,
    pub(super) groups: Vec<Group>,
    pub(super) former: Vec<Former>,
    pub(super) grouped: bool,
}

pub(super) struct Store {
    database: Database,
}

impl Store {
    pub(super) fn open(directory: &Path) -> Result<(Self, Content), PeopleError> {
        let path = directory.join(FILE);
        let database = match fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => create(directory, &path)?,
            Err(source) => return Err(io_error(&path, "look at", source)),
            // The database library would take it for a new one.
            Ok(metadata) if metadata.len() == 0 => return Err(damaged(&path, "it is empty")),
            Ok(_) => connect(&path, &path)?,
        };
        let store = Self { database };
        let content = store.read(&path)?;
        Ok((store, content))
    }

    /// Makes changes: all of them or none, on the disk when this returns.
    pub(super) fn write(
        &self,
        changes: impl FnOnce(&Batch) -> Result<(), PeopleError>,
    ) -> Result<(), PeopleError> {
        let batch = Batch(self.database.begin_write().map_err(failed)?);
        changes(&batch)?;
        batch.0.commit().map_err(failed)
    }

    fn read(&self, path: &Path) -> Result<Content, PeopleError> {
        let broken = |error: redb::Error| damaged(path, &error.to_string());
        let reading = self
            .database
            .begin_read()
            .map_err(|error| broken(error.into()))?;
        let meta = reading
            .open_table(META)
            .map_err(|error| broken(error.into()))?;
        let number = |key: &str| {
            let found = meta.get(key).map_err(|error| broken(error.into()))?;
            Ok(found.map(|value| value.value()))
        };
        match number(VERSION_KEY)? {
            Some(VERSION) => {}
            Some(found) if found > VERSION => {
                let path = path.to_owned();
                return Err(PeopleError::TooNew { path, found });
            }
            Some(_) | None => return Err(damaged(path, "it does not say its format")),
        }
        let persons = reading
            .open_table(PERSONS)
            .map_err(|error| broken(error.into()))?;
        let groups = reading
            .open_table(GROUPS)
            .map_err(|error| broken(error.into()))?;
        let former = reading
            .open_table(FORMER)
            .map_err(|error| broken(error.into()))?;
        Ok(Content {
            persons: rows(path, &persons)?,
            groups: rows(path, &groups)?,
            former: rows(path, &former)?,
            grouped: number(GROUPED_KEY)?.is_some(),
        })
    }
}

/// Changes that are made together.
pub(super) struct Batch(redb::WriteTransaction);

impl Batch {
    pub(super) fn put_person(&self, person: &Person) -> Result<(), PeopleError> {
        self.put(PERSONS, &person.id, person)
    }

    pub(super) fn put_group(&self, group: &Group) -> Result<(), PeopleError> {
        self.put(GROUPS, &group.id, group)
    }

    pub(super) fn put_former(&self, number: u64, former: &Former) -> Result<(), PeopleError> {
        let bytes = serde_json::to_vec(former).map_err(failed)?;
        let mut table = self.0.open_table(FORMER).map_err(failed)?;
        table.insert(number, &*bytes).map_err(failed)?;
        Ok(())
    }

    pub(super) fn remove_person(&self, id: &str) -> Result<(), PeopleError> {
        self.remove(PERSONS, id)
    }

    pub(super) fn remove_group(&self, id: &str) -> Result<(), PeopleError> {
        self.remove(GROUPS, id)
    }

    pub(super) fn set_grouped(&self) -> Result<(), PeopleError> {
        let mut meta = self.0.open_table(META).map_err(failed)?;
        meta.insert(GROUPED_KEY, 1).map_err(failed)?;
        Ok(())
    }

    fn put(
        &self,
        table: TableDefinition<'_, &'static str, &'static [u8]>,
        id: &str,
        row: &impl Serialize,
    ) -> Result<(), PeopleError> {
        let bytes = serde_json::to_vec(row).map_err(failed)?;
        let mut table = self.0.open_table(table).map_err(failed)?;
        table.insert(id, &*bytes).map_err(failed)?;
        Ok(())
    }

    fn remove(
        &self,
        table: TableDefinition<'_, &'static str, &'static [u8]>,
        id: &str,
    ) -> Result<(), PeopleError> {
        let mut table = self.0.open_table(table).map_err(failed)?;
        table.remove(id).map_err(failed)?;
        Ok(())
    }
}

/// Under another name first, so that a file with the right name is always whole.
fn create(directory: &Path, path: &Path) -> Result<Database, PeopleError> {
    let unfinished = directory.join(".people.redb.new");
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options
        .open(&unfinished)
        .map_err(|source| io_error(&unfinished, "create", source))?;
    drop(file);
    let database = connect(&unfinished, path)?;
    let begin = || -> Result<(), redb::Error> {
        let writing = database.begin_write()?;
        writing.open_table(META)?.insert(VERSION_KEY, VERSION)?;
        writing.open_table(PERSONS)?;
        writing.open_table(GROUPS)?;
        writing.open_table(FORMER)?;
        writing.commit()?;
        Ok(())
    };
    begin().map_err(failed)?;
    fs::rename(&unfinished, path).map_err(|source| io_error(path, "create", source))?;
    // The name is in the directory, which has to reach the disk as well.
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(|source| io_error(path, "create", source))?;
    Ok(database)
}

fn connect(file: &Path, path: &Path) -> Result<Database, PeopleError> {
    let opened = File::options()
        .read(true)
        .write(true)
        .open(file)
        .map_err(|source| io_error(path, "open", source))?;
    let backend = FileBackend::new(opened).map_err(|error| judged(path, error))?;
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE);
    // Without it a damaged file may end the process instead of being told of.
    builder.set_check_integrity_on_open(true);
    builder
        .create_with_backend(backend)
        .map_err(|error| judged(path, error))
}

fn judged(path: &Path, error: DatabaseError) -> PeopleError {
    if matches!(
        error,
        DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch
    ) {
        return PeopleError::InUse(path.to_owned());
    }
    let what = error.to_string();
    if let DatabaseError::Storage(redb::StorageError::Io(source)) = error
        && !matches!(
            source.kind(),
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
        )
    {
        return io_error(path, "open", source);
    }
    damaged(path, &what)
}

fn rows<K: redb::Key + 'static, T: DeserializeOwned>(
    path: &Path,
    table: &impl redb::ReadableTable<K, &'static [u8]>,
) -> Result<Vec<T>, PeopleError> {
    let broken = |error: redb::StorageError| damaged(path, &error.to_string());
    let mut rows = Vec::new();
    for row in table.iter().map_err(broken)? {
        let (_, value) = row.map_err(broken)?;
        let row = serde_json::from_slice(value.value())
            .map_err(|error| damaged(path, &error.to_string()))?;
        rows.push(row);
    }
    Ok(rows)
}

fn io_error(path: &Path, action: &'static str, source: io::Error) -> PeopleError {
    PeopleError::Io {
        path: path.to_owned(),
        action,
        source,
    }
}

fn damaged(path: &Path, what: &str) -> PeopleError {
    PeopleError::Damaged {
        path: path.to_owned(),
        what: what.to_owned(),
    }
}

fn failed(error: impl std::fmt::Display) -> PeopleError {
    PeopleError::Write(error.to_string())
}
