//! The thread that writes: gathers events into batches, chains them, appends each batch with one system call, has them
//! flushed now and then. An event leaves memory only after its whole line is in the file; the chain advances by exactly those lines.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{Ordering, fence};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, PoisonError};
use std::thread::park_timeout;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::mpsc::error::TryRecvError;

use super::chain::Head;
use super::checkpoint::Checkpoint;
use super::event::{Event, Operation};
use super::file::{LogFile, Whereabouts, sync_directory};
use super::flush::{Flushed, Flusher, Job};
use super::fragments::Fragments;
use super::line::{Remark, write_event, write_remark};
use super::sink::{Message, Shared};
use crate::config;

pub(super) const ROTATED: &str = "rotated";
pub(super) const RECOVERED: &str = "recovered";
pub(super) const LOST: &str = "records-lost";
pub(super) const RESUMED: &str = "writing-resumed";
pub(super) const ALTERED: &str = "altered";
pub(super) const CHECKPOINT_MISSING: &str = "checkpoint-missing";

/// Pause between attempts while the disk is full.
pub(super) const RETRY: Duration = Duration::from_millis(250);
/// How long events gather before they are written; bounds the system calls under load, and what a `kill -9` can take.
/// Nobody waits for it: a request goes on once its decision is in the queue.
const GATHER: Duration = Duration::from_millis(4);
/// How long lines are written beside a flush. After that the writer waits: what a power cut can take must not grow
/// without end, and a queue that fills refuses permits.
const FLUSH_PATIENCE: Duration = Duration::from_secs(5);
/// How often an idle writer looks whether its file was moved away.
const LOOK: Duration = Duration::from_secs(1);
/// Bytes after which a batch is written.
const BATCH_BYTES: usize = 256 * 1024;

/// How the chain was found.
pub(super) struct Start {
    pub(super) head: Head,
    pub(super) continues: bool,
    pub(super) unchecked: bool,
    pub(super) set_aside: Option<(u64, PathBuf)>,
    /// Kept for as long as the writer lives.
    pub(super) lock: Option<File>,
}

/// See the module's first line.
pub(super) struct Writer {
    shared: Arc<Shared>,
    receiver: UnboundedReceiver<Message>,
    log: LogFile,
    query: bool,
    sync_interval: Duration,
    /// The last line in the file.
    head: Head,
    /// Taken from the queue and not in the file yet, in order.
    pending: VecDeque<Entry>,
    waiters: Vec<SyncSender<()>>,
    /// The batch, and where in it each line ends; reused.
    buffer: Vec<u8>,
    fragments: Fragments,
    marks: Vec<(usize, Head)>,
    /// Lines are in the file that no flush has begun for.
    unsynced: bool,
    /// When the last flush began, and that of the one under way.
    synced_at: Instant,
    flushing: Option<Instant>,
    flusher: Flusher,
    /// When the file was last looked for where it should be, and whether it is to be now.
    looked_at: Instant,
    look: bool,
    trouble: Option<Trouble>,
    generation: u64,
    /// Nothing more can come.
    drained: bool,
    warned: bool,
    /// Everything was written to the end.
    complete: bool,
    lock: Option<File>,
}

enum Entry {
    Event(Event),
    Remark(Operation, Remark),
}

struct Trouble {
    since: Instant,
    error: String,
}

impl Writer {
    pub(super) fn new(
        shared: Arc<Shared>,
        receiver: UnboundedReceiver<Message>,
        log: LogFile,
        flusher: Flusher,
        config: &config::Audit,
        start: Start,
    ) -> Self {
        let mut writer = Self {
            query: config.query,
            sync_interval: config.sync_interval,
            head: start.head,
            pending: VecDeque::new(),
            waiters: Vec::new(),
            buffer: Vec::with_capacity(BATCH_BYTES),
            fragments: Fragments::default(),
            marks: Vec::new(),
            unsynced: false,
            synced_at: shared.clock.monotonic(),
            flushing: None,
            flusher,
            looked_at: shared.clock.monotonic(),
            look: true,
            trouble: None,
            generation: 0,
            drained: false,
            warned: false,
            complete: false,
            lock: start.lock,
            shared,
            receiver,
            log,
        };
        if start.continues {
            writer.remark_rotation("the earlier file was moved away while no gateway was running");
        }
        if start.unchecked {
            let remark = writer.remark(CHECKPOINT_MISSING, checkpoint_missing(&writer.log.path));
            writer.pending.push_back(remark);
        }
        if let Some((bytes, path)) = start.set_aside {
            let remark = writer.recovered(bytes, &path);
            writer.pending.push_back(remark);
        }
        writer
    }

    pub(super) fn run(mut self) {
        self.complete = loop {
            let closing = self.shared.closing.load(Ordering::Acquire);
            if closing {
                self.receiver.close();
            }
            self.end_flush(false);
            self.collect();
            self.follow_the_file();
            self.write();
            self.sync(closing);
            self.recover();
            self.answer();
            if closing && self.drained && self.pending.is_empty() && self.is_flushed() {
                break !self.has_losses();
            }
            if closing && self.trouble.is_some() && self.no_more_retries() {
                break false;
            }
            self.sleep(closing);
        };
        if !self.complete {
            tracing::error!(
                file = %self.log.path.display(),
                events = self.shared.depth.load(Ordering::Relaxed),
                "the audit log was closed with events that could not be written"
            );
        }
    }

    /// Takes what waits. While writing fails everything stays in the queue, where it is counted.
    fn collect(&mut self) {
        if self.trouble.is_some() {
            return;
        }
        while self.pending.len() < 1024 {
            match self.receiver.try_recv() {
                Ok(Message::Event(event)) => self.pending.push_back(Entry::Event(event)),
                Ok(Message::Flush(waiter)) => self.waiters.push(waiter),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => {
                    self.drained = true;
                    break;
                }
            }
        }
        self.own_up_to_losses();
    }

    /// There is room again: the log says what it could not take.
    fn own_up_to_losses(&mut self) {
        if !self.has_losses() {
            return;
        }
        let decisions = self.shared.lost_decisions.swap(0, Ordering::Relaxed);
        let completions = self.shared.lost_completions.swap(0, Ordering::Relaxed);
        let operation = self.operation(
            LOST,
            format!("no room for {decisions} decisions and {completions} completions"),
        );
        let remark = Remark {
            lost_decisions: Some(decisions),
            lost_completions: Some(completions),
            ..Remark::default()
        };
        self.pending.push_back(Entry::Remark(operation, remark));
    }

    fn has_losses(&self) -> bool {
        self.shared.lost_decisions.load(Ordering::Relaxed) > 0
            || self.shared.lost_completions.load(Ordering::Relaxed) > 0
    }

    /// Goes on in a new file when the old one was moved away, and notices when somebody else wrote to ours.
    fn follow_the_file(&mut self) {
        if self.must_look() && self.log.whereabouts() == Whereabouts::Moved {
            self.rotate();
        }
        let expected = self.log.length;
        match self.log.altered() {
            Some(0) => {
                self.vouch();
                self.remark_rotation("the file was emptied in place");
            }
            Some(found) => {
                tracing::error!(
                    file = %self.log.path.display(), expected, found,
                    "somebody else changed the audit log"
                );
                let detail = format!(
                    "somebody else changed the file: {expected} bytes expected, {found} found"
                );
                let remark = self.remark(ALTERED, detail);
                self.pending.push_front(remark);
            }
            None => {}
        }
    }

    /// Once a second, when asked to, and whenever there is nothing else to do; not for every batch.
    fn must_look(&mut self) -> bool {
        let asked = self.shared.look.load(Ordering::Relaxed)
            && self.shared.look.swap(false, Ordering::Acquire);
        if std::mem::take(&mut self.look) || asked || self.trouble.is_some() {
            return true;
        }
        let now = self.shared.clock.monotonic();
        let due = now.saturating_duration_since(self.looked_at) >= LOOK;
        if due {
            self.looked_at = now;
        }
        due
    }

    fn rotate(&mut self) {
        // What can not be flushed now has been written all the same, and the new file's first line vouches for it.
        let _ = self.log.sync();
        // If we are killed before the new file's first flush, the next start must find what that file follows.
        self.vouch();
        let path = self.log.path.clone();
        match LogFile::open(&path) {
            Ok(next) if next.length == 0 => {
                let _ = sync_directory(&path);
                self.log = next;
                self.warned = false;
                self.shared
                    .counters
                    .rotations
                    .fetch_add(1, Ordering::Relaxed);
                self.remark_rotation("the earlier file was moved away");
            }
            // Nothing is lost: the moved file is still open and takes the lines.
            Ok(_) => self.warn_once(
                "another file with content has taken the audit log's place; move it away",
            ),
            Err(error) => self.warn_once(&error.to_string()),
        }
    }

    fn warn_once(&mut self, problem: &str) {
        if !self.warned {
            tracing::error!(
                file = %self.log.path.display(), problem,
                "the audit log was moved away, but no new one can be begun; the moved one is still written"
            );
        }
        self.warned = true;
    }

    fn remark_rotation(&mut self, how: &str) {
        let waiting =
            matches!(self.pending.front(), Some(Entry::Remark(_, remark)) if remark.continues);
        if waiting || self.head == Head::GENESIS {
            return;
        }
        let operation = self.operation(ROTATED, how.to_owned());
        let remark = Remark {
            continues: true,
            ..Remark::default()
        };
        self.pending.push_front(Entry::Remark(operation, remark));
    }

    fn write(&mut self) {
        while !self.pending.is_empty() {
            self.put_into_words();
            let start = self.log.length;
            let outcome = self.log.append(&self.buffer);
            let written = outcome
                .as_ref()
                .map_or_else(|(written, _)| *written, |()| self.buffer.len());
            let whole = self.marks.partition_point(|(end, _)| *end <= written);
            self.advance(whole);
            if let Err((_, error)) = outcome {
                let kept = whole.checked_sub(1).and_then(|last| self.marks.get(last));
                let end = kept.map_or(0, |(end, _)| *end as u64);
                self.log.roll_back(start.saturating_add(end));
                return self.fail(&error);
            }
        }
    }

    /// Fills the batch from the front of `pending`.
    fn put_into_words(&mut self) {
        self.buffer.clear();
        self.marks.clear();
        let mut head = self.head;
        for entry in &self.pending {
            if self.buffer.len() >= BATCH_BYTES {
                break;
            }
            head = match entry {
                Entry::Event(event) => write_event(
                    &mut self.buffer,
                    head,
                    event,
                    self.query,
                    &mut self.fragments,
                ),
                Entry::Remark(operation, remark) => {
                    write_remark(&mut self.buffer, head, operation, remark)
                }
            };
            self.marks.push((self.buffer.len(), head));
        }
    }

    /// The first `lines` of the batch are in the file.
    fn advance(&mut self, lines: usize) {
        let Some((end, head)) = lines.checked_sub(1).and_then(|last| self.marks.get(last)) else {
            return;
        };
        self.head = *head;
        self.unsynced = true;
        let counters = &self.shared.counters;
        counters.bytes.fetch_add(*end as u64, Ordering::Relaxed);
        counters.written.fetch_add(lines as u64, Ordering::Relaxed);
        let mut events = 0;
        for entry in self.pending.drain(..lines) {
            if let Entry::Event(event) = entry {
                events += 1;
                self.generation = generation(&event);
            }
        }
        self.shared.depth.fetch_sub(events, Ordering::Relaxed);
        *self
            .shared
            .head
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = self.head;
    }

    fn sync(&mut self, closing: bool) {
        let at_once = closing || !self.waiters.is_empty() || self.sync_interval.is_zero();
        self.end_flush(at_once);
        if !self.unsynced || self.flushing.is_some() {
            return;
        }
        let now = self.shared.clock.monotonic();
        let due = now.saturating_duration_since(self.synced_at) >= self.sync_interval;
        if !due && !at_once {
            return;
        }
        self.synced_at = now;
        if at_once || !self.begin_flush(now) {
            let flushed = Flushed {
                synced: self.log.sync(),
                vouched: Ok(()),
            };
            if self.conclude(flushed) {
                self.unsynced = false;
                self.vouch();
            }
        }
    }

    /// Flushes beside the writing. False when that is not possible.
    fn begin_flush(&mut self, now: Instant) -> bool {
        let Ok(file) = self.log.file.try_clone() else {
            return false;
        };
        let job = Job {
            file,
            log: self.log.path.clone(),
            checkpoint: self.checkpoint(),
        };
        let begun = self.flusher.begin(job).is_ok();
        if begun {
            self.unsynced = false;
            self.flushing = Some(now);
        }
        begun
    }

    /// Takes note of the end of the flush under way; waits for it when asked to, or when it takes too long.
    fn end_flush(&mut self, wait: bool) {
        let Some(begun) = self.flushing else { return };
        let lasts = self
            .shared
            .clock
            .monotonic()
            .saturating_duration_since(begun);
        let flushed = if wait || lasts >= FLUSH_PATIENCE {
            self.flusher.wait()
        } else {
            let Some(flushed) = self.flusher.ended() else {
                return;
            };
            flushed
        };
        self.flushing = None;
        if !self.conclude(flushed) {
            self.unsynced = true;
        }
    }

    /// True when what was flushed is on stable storage.
    fn conclude(&mut self, flushed: Flushed) -> bool {
        if let Err(error) = flushed.synced {
            self.fail(&error);
            return false;
        }
        self.shared.counters.syncs.fetch_add(1, Ordering::Relaxed);
        self.note(flushed.vouched);
        true
    }

    /// Replaces the checkpoint. Never beside a flush, whose older one could take its place.
    fn vouch(&mut self) {
        self.end_flush(true);
        self.note(self.checkpoint().write(&self.log.path));
    }

    fn checkpoint(&self) -> Checkpoint {
        Checkpoint {
            head: self.head,
            bytes: self.log.length,
        }
    }

    fn note(&self, vouched: io::Result<()>) {
        // An older checkpoint is no untruth, and a full disk shows itself at the next line.
        if let Err(error) = vouched {
            self.shared
                .counters
                .failures
                .fetch_add(1, Ordering::Relaxed);
            tracing::warn!(%error, "the audit log's checkpoint cannot be written");
        }
    }

    fn fail(&mut self, error: &io::Error) {
        self.shared
            .counters
            .failures
            .fetch_add(1, Ordering::Relaxed);
        self.shared.failed.store(true, Ordering::Relaxed);
        if self.trouble.is_none() {
            tracing::error!(file = %self.log.path.display(), %error, "the audit log cannot be written");
            self.trouble = Some(Trouble {
                since: self.shared.clock.monotonic(),
                error: error.to_string(),
            });
        }
    }

    /// Ends a failure once everything that was held back is in the file, and puts it on record.
    fn recover(&mut self) {
        if self.trouble.is_none() || !self.pending.is_empty() {
            return;
        }
        if let Err(error) = self.log.sync() {
            return self.fail(&error);
        }
        let Some(trouble) = self.trouble.take() else {
            return;
        };
        let lasted = self
            .shared
            .clock
            .monotonic()
            .saturating_duration_since(trouble.since);
        let detail = format!(
            "could not be written for {} ms: {}",
            lasted.as_millis(),
            trouble.error
        );
        tracing::info!(file = %self.log.path.display(), "the audit log can be written again");
        let remark = self.remark(RESUMED, detail);
        self.pending.push_back(remark);
        self.shared.failed.store(false, Ordering::Relaxed);
    }

    /// Everything that is in the file is on stable storage.
    fn is_flushed(&self) -> bool {
        !self.unsynced && self.flushing.is_none()
    }

    fn answer(&mut self) {
        if self.pending.is_empty() && self.is_flushed() {
            for waiter in self.waiters.drain(..) {
                let _ = waiter.try_send(());
            }
        }
    }

    /// Until there is something to do; then a moment longer, so that what comes together is written together.
    fn sleep(&mut self, closing: bool) {
        if self.trouble.is_some() {
            return park_timeout(RETRY);
        }
        if !self.pending.is_empty() || !self.waiters.is_empty() {
            return;
        }
        self.shared.idle.store(true, Ordering::Relaxed);
        // Pairs with the fence in `Shared::wake`.
        fence(Ordering::SeqCst);
        if !closing && self.receiver.is_empty() && !self.has_losses() {
            park_timeout(self.patience());
        }
        self.shared.idle.store(false, Ordering::Relaxed);
        let gathered = self.shared.depth.load(Ordering::Relaxed);
        self.look = gathered == 0;
        if closing || (gathered > 0 && gathered < self.shared.batch()) {
            park_timeout(GATHER);
        }
    }

    /// How long nothing has to be done. The end of a flush wakes us.
    fn patience(&self) -> Duration {
        if !self.unsynced || self.flushing.is_some() {
            return LOOK;
        }
        let now = self.shared.clock.monotonic();
        let since = now.saturating_duration_since(self.synced_at);
        self.sync_interval
            .saturating_sub(since)
            .clamp(Duration::from_millis(1), LOOK)
    }

    fn no_more_retries(&self) -> bool {
        self.shared
            .closing_retries
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(1)
            })
            .is_err()
    }

    fn recovered(&self, bytes: u64, path: &std::path::Path) -> Entry {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let operation = self.operation(
            RECOVERED,
            format!("{bytes} bytes after the last whole line were set aside"),
        );
        let remark = Remark {
            set_aside_bytes: Some(bytes),
            set_aside_file: Some(name.into_owned()),
            ..Remark::default()
        };
        Entry::Remark(operation, remark)
    }

    fn remark(&self, kind: &'static str, detail: String) -> Entry {
        Entry::Remark(self.operation(kind, detail), Remark::default())
    }

    fn operation(&self, kind: &'static str, detail: String) -> Operation {
        Operation {
            at: self.shared.clock.now(),
            generation: self.generation,
            kind,
            detail,
            policy_version: None,
        }
    }
}

impl Drop for Writer {
    /// Also when the thread panics: nobody may believe that anything is still recorded.
    fn drop(&mut self) {
        // Before anybody learns that it is over: they may open the log at once.
        if self.flushing.take().is_some() {
            let _ = self.flusher.wait();
        }
        let _ = self.log.file.unlock();
        if let Some(lock) = &self.lock {
            let _ = lock.unlock();
        }
        self.shared.finish(self.complete);
    }
}

fn generation(event: &Event) -> u64 {
    match event {
        Event::Decision(decision) => decision.generation,
        Event::Completion(completion) => completion.generation,
        Event::Operation(operation) => operation.generation,
        Event::Handshake(handshake) => handshake.generation,
        Event::Person(person) => person.generation,
    }
}

fn checkpoint_missing(log: &std::path::Path) -> String {
    format!(
        "no checkpoint was found beside `{}`; whether lines are missing at its end cannot be told",
        log.display()
    )
}
