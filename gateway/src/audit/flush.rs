//! The thread that flushes: stable storage may take as long as it likes, within bounds, while the writer goes on.
//!
//! One flush at a time. Its checkpoint is what was in the file when it began, so that it never runs ahead of the log.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};

use super::checkpoint::Checkpoint;
use super::sink::Shared;

/// What is to be flushed, and what may be vouched for afterwards.
pub(super) struct Job {
    pub(super) file: File,
    pub(super) log: PathBuf,
    pub(super) checkpoint: Checkpoint,
}

/// How a flush ended.
pub(super) struct Flushed {
    pub(super) synced: io::Result<()>,
    /// An older checkpoint is no untruth: this may fail.
    pub(super) vouched: io::Result<()>,
}

/// The writer's end of the thread, which ends with it.
pub(super) struct Flusher {
    jobs: SyncSender<Job>,
    done: Receiver<Flushed>,
}

impl Flusher {
    pub(super) fn start(shared: Arc<Shared>) -> io::Result<Self> {
        let (jobs, queue) = sync_channel::<Job>(1);
        let (results, done) = sync_channel(1);
        std::thread::Builder::new()
            .name("audit-flush".to_owned())
            .spawn(move || {
                for job in queue {
                    if results.send(job.run()).is_err() {
                        return;
                    }
                    shared.unpark();
                }
            })?;
        Ok(Self { jobs, done })
    }

    /// One whose flushes end when a test says so.
    #[cfg(test)]
    pub(super) fn by_hand() -> (Self, Receiver<Job>, SyncSender<Flushed>) {
        let (jobs, queue) = sync_channel(1);
        let (results, done) = sync_channel(1);
        (Self { jobs, done }, queue, results)
    }

    /// Begins a flush, of which none may be under way.
    ///
    /// # Errors
    /// The job, when there is nobody to do it.
    pub(super) fn begin(&self, job: Job) -> Result<(), Job> {
        use std::sync::mpsc::TrySendError;
        self.jobs.try_send(job).map_err(|refused| match refused {
            TrySendError::Full(job) | TrySendError::Disconnected(job) => job,
        })
    }

    /// The end of the flush under way, if it has come.
    pub(super) fn ended(&self) -> Option<Flushed> {
        match self.done.try_recv() {
            Ok(flushed) => Some(flushed),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(Flushed::lost()),
        }
    }

    /// Waits for the end of the flush under way.
    pub(super) fn wait(&self) -> Flushed {
        self.done.recv().unwrap_or_else(|_gone| Flushed::lost())
    }
}

impl Job {
    pub(super) fn run(self) -> Flushed {
        let synced = self.file.sync_data();
        let vouched = match synced {
            Ok(()) => self.checkpoint.write(&self.log),
            Err(_) => Ok(()),
        };
        Flushed { synced, vouched }
    }
}

impl Flushed {
    fn lost() -> Self {
        Self {
            synced: Err(io::Error::other("the thread that flushes has ended")),
            vouched: Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::chain::Head;
    use super::super::fixtures::place;
    use super::*;

    fn job(file: &Path, log: &Path) -> Job {
        Job {
            file: File::options().append(true).open(file).unwrap(),
            log: log.to_owned(),
            checkpoint: Checkpoint {
                head: Head::GENESIS,
                bytes: 77,
            },
        }
    }

    #[test]
    fn only_what_was_flushed_is_vouched_for() {
        let (_directory, log) = place();
        // A device that cannot be flushed.
        let flushed = job(Path::new("/dev/null"), &log).run();
        assert!(flushed.synced.is_err());
        assert_eq!(Checkpoint::read(&log).unwrap(), None);

        std::fs::write(&log, "x").unwrap();
        let flushed = job(&log, &log).run();
        assert!(flushed.synced.is_ok() && flushed.vouched.is_ok());
        assert_eq!(Checkpoint::read(&log).unwrap().unwrap().bytes, 77);
    }

    #[test]
    fn a_flush_that_nobody_ends_is_a_failed_one() {
        let (flusher, queue, results) = Flusher::by_hand();
        assert!(flusher.ended().is_none());
        drop((queue, results));
        assert!(flusher.ended().unwrap().synced.is_err());
        assert!(flusher.wait().synced.is_err());
    }
}
