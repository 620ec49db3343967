//! Watch, build, swap: a configuration comes into force whole, or the old one stays and everybody is told why.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use notify::{RecursiveMode, Watcher};
use tokio::sync::{Mutex, mpsc};
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::config::error::{LoadError, Problem};
use crate::gateway::{Shared, load_off_thread};
use crate::state::{Environment, State};

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
    shared.admission.reconfigure(&state.config.ingress.bounds);
    shared.lockout.reconfigure(&state.config.lockout);
    shared.metrics.retain(
        |app| state.config.apps.iter().any(|known| known.name == app),
        |limit| state.config.limits.iter().any(|known| known.name == limit),
    );
    state.issuers.start();
    for warning in &state.warnings {
        tracing::warn!("{warning}");
    }
    shared.replace_state(state);
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
const PATIENCE: Duration = Duration::from_secs(2);

/// Reloads when a file that the configuration names has changed in content. Directories are watched, not files, because
/// editors and Kubernetes replace files instead of writing them.
pub(crate) fn watch(
    shared: Arc<Shared>,
    path: PathBuf,
    stop: CancellationToken,
) -> Result<impl Future<Output = ()>, notify::Error> {
    let (sender, mut changes) = mpsc::unbounded_channel();
    let record = shared.state().config.audit.file.clone();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let interesting = event.map_or(true, |event| {
            !matches!(event.kind, notify::EventKind::Access(_))
                && !event.paths.iter().all(|path| is_record(path, &record))
        });
        if interesting {
            let _ = sender.send(());
        }
    })?;
    let mut watched = BTreeSet::new();
    follow(&mut watcher, &mut watched, &shared.state().config)?;
    let mut seen = fingerprint(&shared.state().config);
    Ok(async move {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                change = changes.recv() => if change.is_none() { return },
            }
            let until_quiet = async {
                while tokio::time::timeout(QUIET, changes.recv())
                    .await
                    .is_ok_and(|change| change.is_some())
                {}
            };
            let _ = tokio::time::timeout(PATIENCE, until_quiet).await;
            let current = fingerprint(&shared.state().config);
            if current == seen {
                continue;
            }
            seen = current;
            if reload(&shared, &path).await.is_ok() {
                let config = Arc::clone(&shared.state().config);
                if let Err(error) = follow(&mut watcher, &mut watched, &config) {
                    tracing::warn!(%error, "cannot watch all files; reload by SIGHUP");
                }
                // The new configuration may name other files.
                seen = fingerprint(&config);
            }
        }
    })
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
        let directory = if file.is_dir() {
            Some(file.as_path())
        } else {
            file.parent()
        };
        if let Some(directory) = directory
            && watched.insert(directory.to_owned())
        {
            watcher.watch(directory, RecursiveMode::NonRecursive)?;
        }
    }
    Ok(())
}

/// Content of every file, hashed: touching a file, or a change to its neighbour, is not a reason to reload.
fn fingerprint(config: &Config) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    for file in config.files() {
        add(&mut context, &file);
    }
    let mut fingerprint = [0; 32];
    fingerprint.copy_from_slice(context.finish().as_ref());
    fingerprint
}

/// A file, or the policy files of a directory.
fn add(context: &mut Context, path: &Path) {
    if path.is_dir() {
        return crate::state::policy_files(path)
            .iter()
            .for_each(|file| add(context, file));
    }
    context.update(path.as_os_str().as_encoded_bytes());
    match std::fs::read(path) {
        Ok(content) => {
            context.update(&content.len().to_be_bytes());
            context.update(&content);
        }
        Err(_unreadable) => context.update(b"unreadable"),
    }
}
