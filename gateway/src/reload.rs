//! Watch, build, swap: a configuration comes into force whole, or the old one stays and everybody is told why.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use notify::{RecursiveMode, Watcher};
use tokio::sync::{Mutex, mpsc};
use tokio_util::sync::CancellationToken;

use crate::config::error::{LoadError, Problem};
use crate::config::{Config, Loaded};
use crate::connection::Door;
use crate::gateway::{Shared, load_off_thread};
use crate::state::{EGRESS, Environment, State};

/// A reload that succeeded.
#[derive(Clone, Debug)]
pub struct Reloaded {
    pub generation: u64,
    pub policy_version: String,
}

/// One at a time: two reloads must not both count as the next generation.
static TURN: Mutex<()> = Mutex::const_new(());

/// Reads everything again and puts it in force.
pub(crate) async fn reload(shared: &Arc<Shared>, path: &Path) -> Result<Reloaded, LoadError> {
    let _turn = TURN.lock().await;
    let outcome = build_next(shared, path).await;
    match &outcome {
        Ok(reloaded) => {
            shared.metrics.reloads.increment();
            tracing::info!(generation = reloaded.generation, policies = %reloaded.policy_version, "reloaded");
            shared.record("reloaded", path.display().to_string());
        }
        Err(error) => {
            shared.metrics.reloads_refused.increment();
            tracing::error!(
                problems = error.problems.len(),
                "not reloaded, the configuration in force stays"
            );
            // One line each: a log line that holds several is hard to read and harder to search.
            for problem in &error.problems {
                let help = problem.help.as_deref();
                tracing::error!(at = %place(problem), help, "{}", problem.message);
            }
            let detail = error
                .problems
                .iter()
                .map(summary)
                .collect::<Vec<_>>()
                .join("; ");
            shared.record("reload-refused", detail);
        }
    }
    outcome
}

fn summary(problem: &Problem) -> String {
    format!("{}: {}", place(problem), problem.message)
}

fn place(problem: &Problem) -> String {
    let file = problem.file.display();
    problem.position.map_or_else(
        || file.to_string(),
        |(line, column)| format!("{file}:{line}:{column}"),
    )
}

async fn build_next(shared: &Arc<Shared>, path: &Path) -> Result<Reloaded, LoadError> {
    let previous = shared.state();
    let loaded = load_off_thread(path, Some(Arc::clone(&previous))).await?;
    refuse_what_needs_a_restart(&previous.config, &loaded.config)?;
    let environment = Environment {
        clock: Arc::clone(&shared.clock),
        entropy: Arc::clone(&shared.entropy),
        metrics: Arc::clone(&shared.metrics),
    };
    // Key sets and health checks start tasks, so the thread that builds must know the runtime.
    let runtime = tokio::runtime::Handle::current();
    let built = tokio::task::spawn_blocking(move || {
        let _guard = runtime.enter();
        State::build(loaded, Some(&previous), &environment)
    })
    .await;
    let state = match built {
        Ok(built) => built?,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    };
    let reloaded = Reloaded {
        generation: state.generation,
        policy_version: state.policies.version().as_str().to_owned(),
    };
    for door in [Door::Ingress, Door::Egress] {
        shared.admission(door).reconfigure(state.bounds(door));
    }
    shared.lockout.reconfigure(&state.config.lockout);
    shared.metrics.retain(
        |app| {
            let door = state.egress.is_some() && app == EGRESS;
            door || state.config.apps.iter().any(|known| known.name == app)
        },
        |limit| state.config.limits.iter().any(|known| known.name == limit),
    );
    state.issuers.start();
    for warning in &state.warnings {
        tracing::warn!("{warning}");
    }
    if let Some(egress) = &state.egress {
        egress.take_over();
    }
    shared.replace_state(state);
    shared.follow_lists();
    Ok(reloaded)
}

/// Sockets, threads and the record are opened once. Taking a change half would be worse than saying so.
fn refuse_what_needs_a_restart(old: &Config, new: &Config) -> Result<(), LoadError> {
    let mut problems = Vec::new();
    let mut fixed = |changed: bool, what: &str| {
        if changed {
            problems.push(Problem {
                file: new.path.clone(),
                position: None,
                message: format!("`{what}` can not change while running"),
                help: Some("restart masugata to put it in force, or change it back".into()),
            });
        }
    };
    fixed(old.ingress.listen != new.ingress.listen, "ingress.listen");
    let listens = |config: &Config| config.egress.as_ref().map(|door| door.listen.clone());
    fixed(listens(old) != listens(new), "egress.listen");
    fixed(old.admin.listen != new.admin.listen, "admin.listen");
    fixed(old.audit.file != new.audit.file, "audit.file");
    fixed(old.audit.queue != new.audit.queue, "audit.queue");
    fixed(
        old.audit.on_overflow != new.audit.on_overflow,
        "audit.on_overflow",
    );
    fixed(
        old.audit.sync_interval != new.audit.sync_interval,
        "audit.sync_interval",
    );
    fixed(old.audit.query != new.audit.query, "audit.query");
    fixed(
        old.runtime.workers != new.runtime.workers,
        "runtime.workers",
    );
    fixed(old.store != new.store, "store");
    fixed(old.sign_in.is_some() != new.sign_in.is_some(), "sign_in");
    if problems.is_empty() {
        Ok(())
    } else {
        Err(LoadError { problems })
    }
}

/// How long files must be quiet before they are read: editors and `git pull` write in several steps.
const QUIET: Duration = Duration::from_millis(300);

/// And how long to wait for that. The record may lie in the same directory, where a busy gateway writes without a pause;
/// a device that was reported lost must lose its rights then, too.
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// How often files are looked at although nothing was heard of them: some file systems tell nothing, a link may lead to
/// a directory that is not watched, and a queue of events can overflow.
const LOOK_ANYWAY: Duration = Duration::from_secs(30);

/// Reads the configuration once more, and says what its files were before: what has changed since, while they were read
/// or before anybody watched them, is seen when the watch begins. A change that cannot be taken over leaves what was
/// loaded, and is then refused like at any reload.
pub(crate) async fn load_to_watch(loaded: Loaded) -> (Loaded, Fingerprints) {
    let mut seen = Fingerprints::take(Arc::new(loaded.config.clone())).await;
    match load_off_thread(&loaded.config.path, None).await {
        Ok(again) if refuse_what_needs_a_restart(&loaded.config, &again.config).is_ok() => {
            (again, seen)
        }
        Ok(_) | Err(_) => {
            seen.files.clear();
            (loaded, seen)
        }
    }
}

/// Reloads when a file that the configuration names has changed in content since `seen`. Directories are watched, not
/// files, because editors and Kubernetes replace files instead of writing them; the one with the record in it is not,
/// but looked at.
pub(crate) fn watch(
    shared: Arc<Shared>,
    path: PathBuf,
    mut seen: Fingerprints,
    stop: CancellationToken,
) -> Result<impl Future<Output = ()>, notify::Error> {
    // One word that something happened is enough.
    let (sender, mut changes) = mpsc::channel(1);
    let record = shared.state().config.audit.file.clone();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let interesting = event.map_or(true, |event| {
            // An event without paths says that others were lost.
            let of_record =
                !event.paths.is_empty() && event.paths.iter().all(|path| is_record(path, &record));
            !matches!(event.kind, notify::EventKind::Access(_)) && !of_record
        });
        if interesting {
            let _full = sender.try_send(());
        }
    })?;
    let mut watched = BTreeSet::new();
    let config = Arc::clone(&shared.state().config);
    follow(&mut watcher, &mut watched, &config)?;
    let mut beside = Stamps::of(&config);
    Ok(async move {
        let mut current = Fingerprints::take(Arc::clone(&config)).await;
        seen.learn(&current);
        loop {
            while current != seen {
                seen = current;
                if reload(&shared, &path).await.is_err() {
                    break;
                }
                let config = Arc::clone(&shared.state().config);
                if let Err(error) = follow(&mut watcher, &mut watched, &config) {
                    tracing::warn!(%error, "cannot watch all files; they are looked at every half minute");
                }
                beside.learn(&config);
                // What changed while it was being read has to be read again; what the new configuration names for the
                // first time is read.
                current = Fingerprints::take(config).await;
                seen.learn(&current);
            }
            tokio::select! {
                () = stop.cancelled() => return,
                change = changes.recv() => match change {
                    Some(()) => quiet(&mut changes).await,
                    None => return,
                },
                () = beside.change(&shared), if !beside.is_empty() => {
                    tokio::time::sleep(QUIET).await;
                }
                () = tokio::time::sleep(LOOK_ANYWAY) => {}
            }
            current = Fingerprints::take(Arc::clone(&shared.state().config)).await;
        }
    })
}

async fn quiet(changes: &mut mpsc::Receiver<()>) {
    let silence = async {
        while tokio::time::timeout(QUIET, changes.recv())
            .await
            .is_ok_and(|change| change.is_some())
        {}
    };
    let _noisy = tokio::time::timeout(LONGEST_WAIT, silence).await;
}

/// The log of the record or its checkpoint: what is written all the time.
fn is_record(path: &Path, record: &Path) -> bool {
    let name = |path: &Path| {
        path.file_name()
            .map(|name| name.as_encoded_bytes().to_vec())
    };
    let (Some(path), Some(record)) = (name(path), name(record)) else {
        return false;
    };
    path.strip_prefix(record.as_slice())
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(b".head"))
}

fn follow(
    watcher: &mut notify::RecommendedWatcher,
    watched: &mut BTreeSet<PathBuf>,
    config: &Config,
) -> Result<(), notify::Error> {
    for file in config.files() {
        if let Some(directory) = directory_of(&file)
            && !holds_record(directory, config)
            && watched.insert(directory.to_owned())
        {
            watcher.watch(directory, RecursiveMode::NonRecursive)?;
        }
    }
    Ok(())
}

fn directory_of(file: &Path) -> Option<&Path> {
    if file.is_dir() {
        Some(file)
    } else {
        file.parent()
    }
}

/// Whether the record is written there. The system tells of every write to every file of a directory that is watched, so
/// each batch of records would wake somebody up to throw the news away.
fn holds_record(directory: &Path, config: &Config) -> bool {
    let same = |other: &Path| match (directory.canonicalize(), other.canonicalize()) {
        (Ok(one), Ok(other)) => one == other,
        _ => directory == other,
    };
    config.audit.file.parent().is_some_and(same)
}

/// How often the files beside the record are looked at.
const LOOK_BESIDE_RECORD: Duration = Duration::from_secs(1);

/// Size, place and time of change of the files that lie beside the record, where nothing is watched.
#[derive(Default)]
struct Stamps(BTreeMap<PathBuf, Option<Stamp>>);

/// Device, inode, size, and seconds and nanoseconds of the last change.
type Stamp = (u64, u64, u64, i64, i64);

impl Stamps {
    fn of(config: &Config) -> Self {
        let beside = config.files().into_iter().filter(|file| {
            directory_of(file).is_some_and(|directory| holds_record(directory, config))
        });
        let mut stamps = BTreeMap::new();
        for file in beside {
            // A directory of policies in which somebody keeps the record: what is in it counts, and what is not yet.
            let inside = file.is_dir().then(|| crate::state::policy_files(&file));
            for file in inside.unwrap_or_else(|| vec![file]) {
                let stamp = stamp(&file);
                stamps.insert(file, stamp);
            }
        }
        Self(stamps)
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Goes on from what is there now; changes that are missed here are found by the fingerprints.
    fn learn(&mut self, config: &Config) {
        *self = Self::of(config);
    }

    /// Waits until one of the files is another. Can be given up at any time.
    async fn change(&mut self, shared: &Shared) {
        loop {
            tokio::time::sleep(LOOK_BESIDE_RECORD).await;
            let config = Arc::clone(&shared.state().config);
            let Ok(current) = tokio::task::spawn_blocking(move || Self::of(&config)).await else {
                continue;
            };
            if current.0 != self.0 {
                *self = current;
                return;
            }
        }
    }
}

fn stamp(file: &Path) -> Option<Stamp> {
    use std::os::unix::fs::MetadataExt as _;
    let found = std::fs::metadata(file).ok()?;
    Some((
        found.dev(),
        found.ino(),
        found.len(),
        found.ctime(),
        found.ctime_nsec(),
    ))
}

/// Content of every file, hashed: touching a file, or a change to its neighbour, is not a reason to reload.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Fingerprints {
    files: BTreeMap<PathBuf, [u8; 32]>,
    /// As the configuration names them: what is in one of them is not new, even when it has just appeared.
    named: Vec<PathBuf>,
}

impl Fingerprints {
    /// Off the threads that serve: lists of revoked certificates can be long.
    async fn take(config: Arc<Config>) -> Self {
        match tokio::task::spawn_blocking(move || Self::of(&config)).await {
            Ok(taken) => taken,
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }

    fn of(config: &Config) -> Self {
        let named = config.files();
        let files = named
            .iter()
            .flat_map(|path| {
                if path.is_dir() {
                    crate::state::policy_files(path)
                } else {
                    vec![path.clone()]
                }
            })
            .map(|file| {
                let print = print(&file);
                (file, print)
            })
            .collect();
        Self { files, named }
    }

    /// Takes over what a reload has brought into sight or put out of it, so that only changes of what was known before
    /// make a difference.
    fn learn(&mut self, current: &Self) {
        let was_in_sight = |file: &PathBuf| {
            self.named
                .iter()
                .any(|named| file == named || file.parent() == Some(named))
        };
        let mut files = BTreeMap::new();
        for (file, print) in &current.files {
            match self.files.get(file) {
                Some(known) => {
                    files.insert(file.clone(), *known);
                }
                None if was_in_sight(file) => {}
                None => {
                    files.insert(file.clone(), *print);
                }
            }
        }
        let gone = |file: &&PathBuf| {
            let still_named = |named: &PathBuf| *file == named || file.parent() == Some(named);
            !current.files.contains_key(*file) && current.named.iter().any(still_named)
        };
        for file in self.files.keys().filter(gone) {
            files.insert(file.clone(), [0; 32]);
        }
        self.files = files;
        self.named.clone_from(&current.named);
    }
}

fn print(path: &Path) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    match std::fs::read(path) {
        Ok(content) => {
            context.update(b"content");
            context.update(&content);
        }
        Err(_unreadable) => context.update(b"unreadable"),
    }
    let mut print = [0; 32];
    print.copy_from_slice(context.finish().as_ref());
    print
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prints(named: &[&str], files: &[(&str, u8)]) -> Fingerprints {
        Fingerprints {
            files: files
                .iter()
                .map(|(file, print)| (PathBuf::from(file), [*print; 32]))
                .collect(),
            named: named.iter().map(PathBuf::from).collect(),
        }
    }

    /// Whether a reload that began when `before` was seen has to be followed by another when `after` is seen.
    fn is_read_again(before: &Fingerprints, after: &Fingerprints) -> bool {
        let mut seen = before.clone();
        seen.learn(after);
        seen != *after
    }

    #[test]
    fn every_way_to_change_a_file_changes_its_stamp() {
        let directory = tempfile::tempdir().unwrap();
        let (file, other) = (directory.path().join("a"), directory.path().join("b"));
        assert_eq!(stamp(&file), None);
        std::fs::write(&file, "one").unwrap();
        let written = stamp(&file);
        assert!(written.is_some());
        std::fs::write(&other, "two").unwrap();
        std::fs::rename(&other, &file).unwrap();
        let replaced = stamp(&file);
        assert_ne!(replaced, written);
        std::fs::write(&file, "three").unwrap();
        assert_ne!(stamp(&file), replaced);
        std::fs::remove_file(&file).unwrap();
        assert_eq!(stamp(&file), None);
    }

    #[test]
    fn a_file_that_changes_while_it_is_read_is_read_again() {
        let before = prints(&["c", "p"], &[("c", 1), ("p/a.cedar", 1)]);
        assert!(!is_read_again(&before, &before));
        let after = prints(&["c", "p"], &[("c", 1), ("p/a.cedar", 2)]);
        assert!(is_read_again(&before, &after));
        let more = prints(&["c", "p"], &[("c", 1), ("p/a.cedar", 1), ("p/b.cedar", 1)]);
        assert!(is_read_again(&before, &more));
        assert!(is_read_again(&more, &before));
    }

    #[test]
    fn a_file_that_changes_before_the_watch_begins_is_read_again() {
        let loaded = prints(&["c", "i"], &[("c", 1), ("i", 1)]);
        let watched = prints(&["c", "i"], &[("c", 1), ("i", 2)]);
        assert!(is_read_again(&loaded, &watched));
    }

    #[test]
    fn a_file_that_is_named_for_the_first_time_has_been_read() {
        let before = prints(&["c", "old"], &[("c", 1), ("old", 1)]);
        let after = prints(&["c", "new"], &[("c", 1), ("new", 7)]);
        assert!(!is_read_again(&before, &after));
    }
}
