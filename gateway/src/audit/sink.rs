//! The front of the record: takes events without blocking, bounds how many may wait, and says when it can take no more.
//!
//! What is admitted here is written: a full disk delays it, and only the process's violent end can lose it. So a permit
//! is worth its request only after [`Auditor::decided`] has taken it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::thread::Thread;
use std::time::Duration;

use tokio::sync::mpsc::error::SendError;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use super::chain::Head;
use super::checkpoint::{self, Checkpoint};
use super::event::{Completion, Decision, Event, Handshake, Operation, Person};
use super::file::{LogFile, lock_path, sync_directory};
use super::flush::Flusher;
use super::recover::{set_aside, standing};
use super::writer::{RETRY, Start, Writer};
use crate::capability::Clock;
use crate::config::{self, OnOverflow};

/// Why the log cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    #[error("cannot {action} `{}`: {source}", path.display())]
    Io {
        path: PathBuf,
        action: &'static str,
        source: io::Error,
    },
    #[error("`{}` is not a regular file", .0.display())]
    NotAFile(PathBuf),
    #[error("`{}` is being written by another process; each gateway needs a log of its own", .0.display())]
    InUse(PathBuf),
    #[error(
        "`{}` is not a checkpoint of a log; {}", path.display(), Forward(log)
    )]
    CheckpointInvalid { path: PathBuf, log: PathBuf },
    #[error(
        "`{}` has {found} bytes, but {expected} had been flushed: its end was cut off; {}", path.display(), Forward(path)
    )]
    Cut {
        path: PathBuf,
        expected: u64,
        found: u64,
    },
    #[error(
        "`{}` does not hold the line with seq {sequence} that its checkpoint names; {}", path.display(), Forward(path)
    )]
    Rewritten { path: PathBuf, sequence: u64 },
    #[error(
        "line {line} (byte {offset}) of `{}` does not follow from the lines before it; {}", path.display(), Forward(path)
    )]
    Broken {
        path: PathBuf,
        line: u64,
        offset: u64,
    },
}

/// What an operator can do about a log that does not verify.
struct Forward<'a>(&'a Path);

impl fmt::Display for Forward<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "look with `masugata audit verify {log}`, keep it as evidence, and move it and `{head}` away: a new chain \
             begins then",
            log = self.0.display(),
            head = checkpoint::path(self.0).display()
        )
    }
}

/// The record cannot take a decision: queue full, disk full, or the writer gone. The request must not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the audit log cannot be written")]
pub struct Unavailable;

/// What became of an event that was offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// It will be written.
    Recorded,
    /// There was no room. It is counted, and the count will be written.
    Counted,
}

/// The record's front; a clone is another reference to the same.
#[derive(Clone)]
pub struct Auditor(Arc<Front>);

struct Front {
    shared: Arc<Shared>,
    queue: UnboundedSender<Message>,
}

/// What the writer's thread is sent. The queue is unbounded; [`Shared::depth`] bounds it, so that room for a completion
/// need not be reserved but is always there.
pub(super) enum Message {
    Event(Event),
    Flush(SyncSender<()>),
}

/// What both sides see.
pub(super) struct Shared {
    pub(super) capacity: usize,
    on_overflow: OnOverflow,
    /// Events admitted and not yet written.
    pub(super) depth: AtomicUsize,
    /// The last write or flush failed, or the writer is gone.
    pub(super) failed: AtomicBool,
    /// The writer sleeps until somebody wakes it.
    pub(super) idle: AtomicBool,
    /// Somebody says that the file was moved away.
    pub(super) look: AtomicBool,
    pub(super) closing: AtomicBool,
    /// What ends now ends because the gateway does.
    stopping: AtomicBool,
    /// How often a failing write is tried again after `closing`.
    pub(super) closing_retries: AtomicU32,
    pub(super) lost_decisions: AtomicU64,
    pub(super) lost_completions: AtomicU64,
    pub(super) head: Mutex<Head>,
    pub(super) counters: Counters,
    pub(super) clock: Arc<dyn Clock>,
    thread: OnceLock<Thread>,
    finished: Mutex<Option<bool>>,
    finish: Condvar,
}

/// Totals since start, for metrics.
#[derive(Debug, Default)]
pub struct Counters {
    /// Lines written.
    pub written: AtomicU64,
    /// Bytes written.
    pub bytes: AtomicU64,
    /// Decisions and completions that found no room and are only counted in the log.
    pub lost: AtomicU64,
    /// Permits withdrawn because they could not be recorded.
    pub refused: AtomicU64,
    /// Writes and flushes that failed.
    pub failures: AtomicU64,
    /// Flushes to stable storage.
    pub syncs: AtomicU64,
    /// Times that the log went on in a new file.
    pub rotations: AtomicU64,
}

impl Auditor {
    /// Opens the log, takes up its chain and starts the writer.
    ///
    /// # Errors
    /// Files that cannot be opened, a second writer, and a log that does not verify where it must. A full disk is no
    /// error: the auditor is then unhealthy until there is room.
    pub fn open(config: &config::Audit, clock: Arc<dyn Clock>) -> Result<Self, AuditError> {
        let lock = lock_path(&config.file)?;
        let checkpoint = Checkpoint::read(&config.file).map_err(|source| {
            let path = checkpoint::path(&config.file);
            if source.kind() == io::ErrorKind::InvalidData {
                let log = config.file.clone();
                return AuditError::CheckpointInvalid { path, log };
            }
            AuditError::Io {
                path,
                action: "read",
                source,
            }
        })?;
        let mut log = LogFile::open(&config.file)?;
        let standing = standing(&mut log, checkpoint)?;
        let excess = log.length.saturating_sub(standing.whole);
        let set_aside = if excess > 0 {
            Some((excess, set_aside(&mut log, &standing)?))
        } else {
            None
        };
        // A file whose name is lost in a power cut is found missing by the checkpoint; this only makes that rarer.
        let _ = sync_directory(&config.file);
        let start = Start {
            head: standing.head,
            continues: standing.continues,
            unchecked: standing.unchecked,
            set_aside,
            lock: Some(lock),
        };
        Self::start(config, clock, log, start, Flusher::start)
    }

    /// Starts the writer on an open log.
    pub(super) fn start(
        config: &config::Audit,
        clock: Arc<dyn Clock>,
        log: LogFile,
        start: Start,
        flusher: impl FnOnce(Arc<Shared>) -> io::Result<Flusher>,
    ) -> Result<Self, AuditError> {
        let (queue, receiver) = unbounded_channel();
        let shared = Arc::new(Shared::new(config, clock, start.head));
        let path = log.path.clone();
        let failed = |source| AuditError::Io {
            path,
            action: "start the writer of",
            source,
        };
        let thread = flusher(Arc::clone(&shared))
            .and_then(|flusher| {
                let writer =
                    Writer::new(Arc::clone(&shared), receiver, log, flusher, config, start);
                std::thread::Builder::new()
                    .name("audit".to_owned())
                    .spawn(move || writer.run())
            })
            .map_err(failed)?;
        let _ = shared.thread.set(thread.thread().clone());
        Ok(Self(Arc::new(Front { shared, queue })))
    }

    /// Takes the decision of a request that is about to go upstream.
    ///
    /// # Errors
    /// [`Unavailable`] when it cannot be recorded and the configuration says `refuse`: the request must be refused.
    pub fn decided(&self, decision: Decision) -> Result<Kept, Unavailable> {
        self.offer(Box::new(decision)).map_err(|_| Unavailable)
    }

    /// As [`Auditor::decided`]; gives back what it cannot take, so that the denial that follows can tell the same.
    pub(super) fn offer(&self, decision: Box<Decision>) -> Result<Kept, Box<Decision>> {
        let shared = &*self.0.shared;
        let refuse = shared.on_overflow == OnOverflow::Refuse;
        if refuse && shared.failed.load(Ordering::Relaxed) {
            shared.counters.refused.fetch_add(1, Ordering::Relaxed);
            return Err(decision);
        }
        match self.admit(Event::Decision(decision)) {
            Ok(()) => Ok(Kept::Recorded),
            Err(Event::Decision(decision)) if refuse => {
                shared.counters.refused.fetch_add(1, Ordering::Relaxed);
                Err(decision)
            }
            Err(_) => {
                shared.lose(&shared.lost_decisions);
                Ok(Kept::Counted)
            }
        }
    }

    /// Takes a decision that lets nothing through: a denial, or a client that left before it. Where there is no room it is
    /// counted, and the answer stands all the same.
    ///
    /// The last quarter of the queue is not for these: strangers who collect denials must not keep everybody out.
    pub fn noted(&self, decision: Decision) -> Kept {
        let capacity = self.0.shared.capacity;
        let room = self.depth() < capacity - capacity / 4;
        if room && self.admit(Event::Decision(Box::new(decision))).is_ok() {
            return Kept::Recorded;
        }
        self.0.shared.lose(&self.0.shared.lost_decisions);
        Kept::Counted
    }

    /// Takes the completion of an exchange whose decision was recorded. There is always room: no more of these can come
    /// than decisions were admitted.
    pub fn completed(&self, completion: Completion) {
        if !self.send(Event::Completion(Box::new(completion))) {
            self.completion_lost();
        }
    }

    /// Counts the completion of an exchange whose decision was only counted.
    pub fn completion_lost(&self) {
        self.0.shared.lose(&self.0.shared.lost_completions);
    }

    /// Takes what happened to the gateway itself. There is always room: these are rare.
    pub fn operation(&self, operation: Operation) {
        if !self.send(Event::Operation(Box::new(operation))) {
            tracing::error!("an operation came after the audit log was closed");
        }
    }

    /// Takes what happened to somebody's sign-in, session or account. Where there is no room it is counted as lost; what
    /// strangers can cause only takes what half of the queue leaves.
    pub fn person(&self, person: Person) {
        let room = person.failure.is_none() || self.depth() < self.capacity() / 2;
        if !room || self.admit(Event::Person(Box::new(person))).is_err() {
            self.0.shared.lose(&self.0.shared.lost_decisions);
        }
    }

    /// Takes refused handshakes, as long as half of the queue is free: anybody can cause these.
    pub(super) fn strangers(&self, handshake: Handshake) -> Result<(), Unavailable> {
        if self.depth() >= self.capacity() / 2 {
            return Err(Unavailable);
        }
        self.admit(Event::Handshake(Box::new(handshake)))
            .map_err(|_| Unavailable)
    }

    /// As [`Auditor::strangers`], for the end, when nobody can be refused any more. There is always room.
    pub(super) fn last_strangers(&self, handshake: Handshake) {
        if !self.send(Event::Handshake(Box::new(handshake))) {
            tracing::error!("a handshake came after the audit log was closed");
        }
    }

    /// Makes the writer look at once whether its file was moved away (it looks every second in any case).
    pub fn reopen(&self) {
        self.0.shared.look.store(true, Ordering::Release);
        self.0.shared.unpark();
    }

    /// Waits until everything taken so far is on stable storage. Blocks: not for async code.
    /// Returns false when that did not come about within `patience`.
    pub fn flush(&self, patience: Duration) -> bool {
        let (sender, receiver) = sync_channel(1);
        let sent = self.0.queue.send(Message::Flush(sender)).is_ok();
        self.0.shared.unpark();
        sent && receiver.recv_timeout(patience).is_ok()
    }

    /// Writes what is left, flushes and ends the writer; later events are refused. Blocks: not for async code.
    /// Returns false when something could not be written within `patience`.
    pub fn close(&self, patience: Duration) -> bool {
        self.0.shared.close(patience);
        self.0.shared.await_finish(patience.saturating_add(RETRY))
    }

    /// From now on exchanges that are cut off are cut off by the gateway's own end.
    pub fn stopping(&self) {
        self.0.shared.stopping.store(true, Ordering::Release);
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.0.shared.stopping.load(Ordering::Acquire)
    }

    /// Decisions can be recorded at this moment.
    pub fn healthy(&self) -> bool {
        !self.0.shared.failed.load(Ordering::Relaxed) && self.depth() < self.capacity()
    }

    /// Events that wait for the disk.
    pub fn depth(&self) -> usize {
        self.0.shared.depth.load(Ordering::Relaxed)
    }

    /// Events that may wait.
    pub fn capacity(&self) -> usize {
        self.0.shared.capacity
    }

    /// Totals for metrics.
    pub fn counters(&self) -> &Counters {
        &self.0.shared.counters
    }

    /// The last line written.
    pub fn head(&self) -> Head {
        *self
            .0
            .shared
            .head
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn clock(&self) -> &dyn Clock {
        &*self.0.shared.clock
    }

    fn admit(&self, event: Event) -> Result<(), Event> {
        let shared = &*self.0.shared;
        // Taken first and given back when there was no room, so that two at once never share the last place.
        if shared.depth.fetch_add(1, Ordering::Relaxed) >= shared.capacity {
            shared.depth.fetch_sub(1, Ordering::Relaxed);
            return Err(event);
        }
        self.push(event)
    }

    fn send(&self, event: Event) -> bool {
        self.0.shared.depth.fetch_add(1, Ordering::Relaxed);
        self.push(event).is_ok()
    }

    fn push(&self, event: Event) -> Result<(), Event> {
        let shared = &*self.0.shared;
        match self.0.queue.send(Message::Event(event)) {
            Err(SendError(Message::Event(event))) => {
                shared.depth.fetch_sub(1, Ordering::Relaxed);
                Err(event)
            }
            // What comes back is what was sent, so the other case is none.
            Err(SendError(Message::Flush(_))) | Ok(()) => {
                shared.wake();
                Ok(())
            }
        }
    }
}

impl fmt::Debug for Auditor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Auditor")
            .field("depth", &self.depth())
            .field("head", &self.head())
            .finish_non_exhaustive()
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        // Nobody is left to call `close`; the writer writes what it has.
        if !self.shared.closing.load(Ordering::Acquire) {
            self.shared.close(Duration::from_secs(5));
        }
    }
}

impl Shared {
    fn new(config: &config::Audit, clock: Arc<dyn Clock>, head: Head) -> Self {
        Self {
            // A queue for nothing would refuse everybody, which nobody means.
            capacity: config.queue.max(1),
            on_overflow: config.on_overflow,
            depth: AtomicUsize::new(0),
            failed: AtomicBool::new(false),
            idle: AtomicBool::new(false),
            look: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            closing_retries: AtomicU32::new(0),
            lost_decisions: AtomicU64::new(0),
            lost_completions: AtomicU64::new(0),
            head: Mutex::new(head),
            counters: Counters::default(),
            clock,
            thread: OnceLock::new(),
            finished: Mutex::new(None),
            finish: Condvar::new(),
        }
    }

    /// How many events make a batch that is not waited for.
    pub(super) fn batch(&self) -> usize {
        (self.capacity / 2).clamp(1, 1024)
    }

    /// The writer has ended; `complete` when it wrote everything.
    pub(super) fn finish(&self, complete: bool) {
        self.failed.store(true, Ordering::Relaxed);
        let mut finished = self.finished.lock().unwrap_or_else(PoisonError::into_inner);
        *finished = Some(complete);
        self.finish.notify_all();
    }

    fn await_finish(&self, patience: Duration) -> bool {
        let finished = self.finished.lock().unwrap_or_else(PoisonError::into_inner);
        let (finished, _) = self
            .finish
            .wait_timeout_while(finished, patience, |finished| finished.is_none())
            .unwrap_or_else(PoisonError::into_inner);
        *finished == Some(true)
    }

    fn close(&self, patience: Duration) {
        let retries = patience.as_millis() / RETRY.as_millis().max(1);
        self.closing_retries.store(
            u32::try_from(retries).unwrap_or(u32::MAX),
            Ordering::Relaxed,
        );
        self.closing.store(true, Ordering::Release);
        self.unpark();
    }

    fn lose(&self, what: &AtomicU64) {
        what.fetch_add(1, Ordering::Relaxed);
        self.counters.lost.fetch_add(1, Ordering::Relaxed);
    }

    /// A system call only when the writer sleeps, or when so much has gathered that it should not wait any longer.
    fn wake(&self) {
        // Pairs with the fence in `Writer::sleep`: either we see that it sleeps, or it sees our event.
        fence(Ordering::SeqCst);
        let asleep = self.idle.load(Ordering::Relaxed) && self.idle.swap(false, Ordering::Relaxed);
        if asleep || self.depth.load(Ordering::Relaxed) == self.batch() {
            self.unpark();
        }
    }

    pub(super) fn unpark(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }
}

#[cfg(test)]
mod tests;
