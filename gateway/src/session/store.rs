//! The file of sessions. One thread writes, in the order in which it is told, many changes with one commit; whoever must not
//! answer before a change is on the disk waits for it.
//!
//! Rows: `sessions` by id (JSON, `kept`), `keys` by the hash of a cookie's secret (id, host), `used` by id, `secrets` by id
//! (sealed). A file that cannot be read is an error at the start, never an empty table: whoever damages it must not sign
//! everybody out unseen, nor bring sessions back that were ended.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition};
use tokio::sync::oneshot;

use super::cookie::Key;
use super::kept::{self, Use};
use super::{Session, SessionId};

const SESSIONS: TableDefinition<'_, &[u8; 16], &[u8]> = TableDefinition::new("sessions");
const KEYS: TableDefinition<'_, &[u8; 32], (&[u8; 16], &str)> = TableDefinition::new("keys");
const USED: TableDefinition<'_, &[u8; 16], (i64, i64)> = TableDefinition::new("used");
const SECRETS: TableDefinition<'_, &[u8; 16], &[u8]> = TableDefinition::new("secrets");
const ABOUT: TableDefinition<'_, &str, u64> = TableDefinition::new("about");

/// Of the rows' form.
const VERSION: u64 = 1;

/// Memory for pages; the table itself is in memory anyway.
const CACHE: usize = 8 * 1024 * 1024;

/// How long after a failed commit it is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has it, or it is not ours to read.
    #[error("cannot open the sessions in `{}`: {source}", .path.display())]
    Open {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(
        "`{}` is missing but `{}` is there; restore both from the same copy, or move that away, too: everybody has to sign in again",
        .path.display(), .file.display()
    )]
    KeyMissing { path: PathBuf, file: PathBuf },
    #[error("the sessions in `{}` are in use by another process; each gateway needs a `store` of its own", .0.display())]
    InUse(PathBuf),
    #[error(
        "the sessions in `{}` are damaged ({what}); move the file away to go on without them: everybody has to sign in again",
        .path.display()
    )]
    Damaged { path: PathBuf, what: String },
    /// While running.
    #[error("cannot write sessions to the disk")]
    Write,
    /// It ended while it was being changed.
    #[error("the session has ended")]
    Gone,
}

/// A change of the file.
pub(super) enum Write {
    Put(SessionId, Vec<u8>),
    Key(Key, SessionId, Box<str>),
    Secrets(SessionId, Vec<u8>),
    Used(SessionId, Use),
    Unkey(Key),
    /// With all that belongs to it but its keys.
    Drop(SessionId),
}

impl Write {
    /// What must not be forgotten because the disk was full for a moment: it would come back with the next start.
    fn must_come(&self) -> bool {
        match self {
            Self::Unkey(_) | Self::Drop(_) => true,
            Self::Put(..) | Self::Key(..) | Self::Secrets(..) | Self::Used(..) => false,
        }
    }
}

enum Message {
    Write(Vec<Write>, oneshot::Sender<Result<(), StoreError>>),
    Secrets(SessionId, oneshot::Sender<Option<Vec<u8>>>),
}

/// Everything that was in the file.
pub(super) struct Found {
    pub(super) sessions: Vec<Session>,
    pub(super) keys: Vec<(Key, SessionId, Box<str>)>,
}

/// See the module's first lines.
pub(super) struct Store {
    /// Empty once closed.
    messages: Mutex<Option<mpsc::Sender<Message>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// Whether there is a file already.
pub(super) fn is_new(path: &Path) -> bool {
    !path.exists()
}

impl Store {
    /// Opens the file, or makes it.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was changed.
    pub(super) fn open(path: &Path) -> Result<(Self, Found), StoreError> {
        if is_new(path) {
            make(path)?;
        }
        let database = open(path)?;
        let found = read(&database).map_err(|what| StoreError::Damaged {
            path: path.to_owned(),
            what,
        })?;
        let (sender, receiver) = mpsc::channel();
        let place = path.to_owned();
        let thread = std::thread::Builder::new()
            .name("sessions".into())
            .spawn(move || run(&place, database, &receiver))
            .map_err(|source| StoreError::Open {
                path: path.to_owned(),
                source,
            })?;
        let store = Self {
            messages: Mutex::new(Some(sender)),
            thread: Mutex::new(Some(thread)),
        };
        Ok((store, found))
    }

    /// In the order of the calls. The answer comes once the changes are on the disk.
    pub(super) fn write(&self, writes: Vec<Write>) -> oneshot::Receiver<Result<(), StoreError>> {
        let (answer, answered) = oneshot::channel();
        self.send(Message::Write(writes, answer));
        answered
    }

    /// What was sealed for that session.
    pub(super) async fn secrets(&self, id: SessionId) -> Option<Vec<u8>> {
        let (answer, answered) = oneshot::channel();
        self.send(Message::Secrets(id, answer));
        answered.await.ok()?
    }

    /// A closed store drops the message, and with it the sender of the answer.
    fn send(&self, message: Message) {
        let messages = self.messages.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(messages) = &*messages {
            let _closed = messages.send(message);
        }
    }

    /// Waits until everything is on the disk and the file is closed.
    pub(super) fn close(&self) {
        let lock = |it: &Mutex<Option<mpsc::Sender<Message>>>| {
            it.lock().unwrap_or_else(PoisonError::into_inner).take()
        };
        drop(lock(&self.messages));
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(thread) = thread.take() {
            let _panicked = thread.join();
        }
    }
}

/// An empty file with its tables, whole or not at all.
fn make(path: &Path) -> Result<(), StoreError> {
    let failed = |source: io::Error| StoreError::Open {
        path: path.to_owned(),
        source,
    };
    let new = path.with_extension("redb.new");
    match std::fs::remove_file(&new) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    options.open(&new).map_err(failed)?;
    let database = Database::builder()
        .create(&new)
        .map_err(|error| failed(io::Error::other(error)))?;
    let tables = || -> Result<(), redb::Error> {
        let transaction = database.begin_write()?;
        transaction.open_table(ABOUT)?.insert("version", VERSION)?;
        transaction.open_table(SESSIONS)?;
        transaction.open_table(KEYS)?;
        transaction.open_table(USED)?;
        transaction.open_table(SECRETS)?;
        transaction.commit()?;
        Ok(())
    };
    tables().map_err(|error| failed(io::Error::other(error)))?;
    drop(database);
    std::fs::rename(&new, path).map_err(failed)?;
    if let Some(directory) = path.parent() {
        let directory = std::fs::File::open(directory).map_err(failed)?;
        directory.sync_all().map_err(failed)?;
    }
    Ok(())
}

fn open(path: &Path) -> Result<Database, StoreError> {
    let damaged = |what: String| StoreError::Damaged {
        path: path.to_owned(),
        what,
    };
    let opened = Database::builder()
        .set_cache_size(CACHE)
        .set_check_integrity_on_open(true)
        .open(path);
    opened.map_err(|error| {
        use redb::{DatabaseError, StorageError};
        if matches!(
            error,
            DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch
        ) {
            return StoreError::InUse(path.to_owned());
        }
        // What the operating system refuses is no damage.
        if let DatabaseError::Storage(StorageError::Io(source)) = &error
            && source.kind() == io::ErrorKind::PermissionDenied
        {
            return StoreError::Open {
                path: path.to_owned(),
                source: io::ErrorKind::PermissionDenied.into(),
            };
        }
        damaged(error.to_string())
    })
}

/// All rows. In words: why they make no sense.
fn read(database: &Database) -> Result<Found, String> {
    let rows = || -> Result<Option<Found>, redb::Error> {
        let transaction = database.begin_read()?;
        let version = transaction.open_table(ABOUT)?.get("version")?;
        if version.is_none_or(|version| version.value() != VERSION) {
            return Ok(None);
        }
        let used = transaction.open_table(USED)?;
        let mut sessions = Vec::new();
        for row in transaction.open_table(SESSIONS)?.iter()? {
            let (id, text) = row?;
            let id = SessionId(*id.value());
            let used = used.get(&id.0)?.map(|used| {
                let (last_used, widest_gap) = used.value();
                Use {
                    last_used,
                    widest_gap,
                }
            });
            match kept::read(id, text.value(), used) {
                Some(session) => sessions.push(session),
                None => return Ok(None),
            }
        }
        let mut keys = Vec::new();
        for row in transaction.open_table(KEYS)?.iter()? {
            let (key, of) = row?;
            let (id, host) = of.value();
            keys.push((Key(*key.value()), SessionId(*id), host.into()));
        }
        Ok(Some(Found { sessions, keys }))
    };
    match rows() {
        Ok(Some(found)) => Ok(found),
        Ok(None) => Err("a row that cannot be read".into()),
        Err(error) => Err(error.to_string()),
    }
}

/// The thread: until nobody is left who could tell it anything.
fn run(path: &Path, database: Database, messages: &mpsc::Receiver<Message>) {
    let mut database = Some(database);
    // Ends that could not be written yet.
    let mut owed: Vec<Write> = Vec::new();
    loop {
        let first = if owed.is_empty() {
            messages
                .recv()
                .map_err(|_| mpsc::RecvTimeoutError::Disconnected)
        } else {
            messages.recv_timeout(AGAIN)
        };
        let closed = matches!(first, Err(mpsc::RecvTimeoutError::Disconnected));
        if closed && owed.is_empty() {
            return;
        }
        let mut writes = std::mem::take(&mut owed);
        let (mut answers, mut questions) = (Vec::new(), Vec::new());
        for message in first
            .into_iter()
            .chain(messages.try_iter().take(MOST_AT_ONCE))
        {
            match message {
                Message::Write(more, answer) => {
                    writes.extend(more);
                    answers.push(answer);
                }
                Message::Secrets(id, answer) => questions.push((id, answer)),
            }
        }
        if database.is_none() {
            database = open(path).ok();
        }
        let done = database.as_ref().is_some_and(|database| {
            let done = write(database, &writes);
            if let Err(error) = &done {
                tracing::error!(%error, "sessions cannot be written to the disk");
            }
            done.is_ok()
        });
        if !done {
            // After an error of the disk redb takes nothing more until the file is opened again.
            database = None;
            owed = writes;
            owed.retain(Write::must_come);
        }
        for answer in answers {
            let _left = answer.send(if done { Ok(()) } else { Err(StoreError::Write) });
        }
        for (id, answer) in questions {
            let database = database.as_ref();
            let found = database.and_then(|database| secrets(database, id).ok().flatten());
            let _left = answer.send(found);
        }
        if closed {
            if !owed.is_empty() {
                tracing::error!("stopped with ended sessions that could not be taken off the disk");
            }
            return;
        }
    }
}

/// Messages for one commit.
const MOST_AT_ONCE: usize = 1024;

fn write(database: &Database, writes: &[Write]) -> Result<(), redb::Error> {
    if writes.is_empty() {
        return Ok(());
    }
    let transaction = database.begin_write()?;
    {
        let mut sessions = transaction.open_table(SESSIONS)?;
        let mut keys = transaction.open_table(KEYS)?;
        let mut used = transaction.open_table(USED)?;
        let mut secrets = transaction.open_table(SECRETS)?;
        for change in writes {
            match change {
                Write::Put(id, text) => {
                    sessions.insert(&id.0, text.as_slice())?;
                }
                Write::Key(key, id, host) => {
                    keys.insert(&key.0, (&id.0, &**host))?;
                }
                Write::Secrets(id, sealed) => {
                    secrets.insert(&id.0, sealed.as_slice())?;
                }
                Write::Used(id, times) => {
                    if sessions.get(&id.0)?.is_some() {
                        used.insert(&id.0, (times.last_used, times.widest_gap))?;
                    }
                }
                Write::Unkey(key) => {
                    keys.remove(&key.0)?;
                }
                Write::Drop(id) => {
                    sessions.remove(&id.0)?;
                    used.remove(&id.0)?;
                    secrets.remove(&id.0)?;
                }
            }
        }
    }
    transaction.commit()?;
    Ok(())
}

fn secrets(database: &Database, id: SessionId) -> Result<Option<Vec<u8>>, redb::Error> {
    let transaction = database.begin_read()?;
    let found = transaction.open_table(SECRETS)?.get(&id.0)?;
    Ok(found.map(|sealed| sealed.value().to_vec()))
}
