//! All lists of a configuration, kept fresh: reads them, fetches newer ones on schedule, and swaps the whole at once.
//!
//! Whatever takes time runs on blocking threads; requests see the old [`Lists`] until the new ones stand.

mod assemble;
mod refresh;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;

use self::assemble::Stamp;
use super::feeds::fetch::{Location, Transport};
use super::feeds::{FeedEnvironment, FeedFault, FeedProblem, FeedStatus};
use super::lists::Lists;
use super::lookalike::LookAlikes;
use super::services::Services;
use super::{FeedSpec, ServiceSpec, builtin};
use crate::config::egress::FeedSource;
use crate::issuer::{roots_from_pem, system_roots};

/// The lists of one configuration.
pub struct Catalogue {
    definition: Definition,
    stamps: Vec<Option<Stamp>>,
    environment: FeedEnvironment,
    /// For each feed; `None` for files.
    remotes: Vec<Option<Remote>>,
    services: Arc<Services>,
    look_alikes: Arc<LookAlikes>,
    lists: ArcSwap<Lists>,
    status: Mutex<Vec<FeedStatus>>,
    /// Good copies lie on disk that the lists do not have yet.
    behind: AtomicBool,
    /// One change at a time.
    refreshing: tokio::sync::Mutex<()>,
    started: AtomicBool,
    ended: CancellationToken,
}

impl fmt::Debug for Catalogue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lists = self.lists.load();
        f.debug_struct("Catalogue")
            .field("version", &lists.version())
            .field("names", &lists.names())
            .finish_non_exhaustive()
    }
}

/// What two configurations must agree on to share a catalogue.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Definition {
    feeds: Vec<FeedSpec>,
    services: Vec<ServiceSpec>,
    protect: Vec<String>,
    directory: Option<PathBuf>,
}

/// A feed that is fetched.
#[derive(Debug)]
struct Remote {
    location: Location,
    transport: Transport,
}

impl Catalogue {
    /// Reads every list that is there: files, and last good copies of what is fetched. Takes about a second per million
    /// names; call it where blocking is fine. The same definition and unchanged files give `previous` again.
    ///
    /// # Errors
    /// Every file that cannot be used. A fetched list that is not there yet is none: see [`Lists::ready`].
    pub fn build(
        specs: &[FeedSpec],
        services: &[ServiceSpec],
        protect: &[String],
        directory: Option<&Path>,
        previous: Option<&Arc<Self>>,
        environment: &FeedEnvironment,
    ) -> Result<Arc<Self>, Vec<FeedProblem>> {
        let definition = Definition {
            feeds: specs.to_vec(),
            services: services.to_vec(),
            protect: protect.to_vec(),
            directory: directory.map(Path::to_path_buf),
        };
        let stamps = definition.feeds.iter().map(assemble::stamp).collect();
        if let Some(previous) = previous
            && previous.definition == definition
            && previous.stamps == stamps
        {
            return Ok(Arc::clone(previous));
        }
        let remotes = remotes(&definition, environment)?;
        let services = match previous {
            // The same service is the same value, so that earlier decisions about it stay reusable.
            Some(previous) if previous.definition.services == definition.services => {
                Arc::clone(&previous.services)
            }
            _ => Arc::new(Services::new(&definition.services)),
        };
        let look_alikes = Arc::new(look_alikes(&definition));
        let before = previous.map(|previous| (previous.status(), previous.lists()));
        let (lists, status) = assemble::assemble(&assemble::Ingredients {
            definition: &definition,
            environment,
            services: &services,
            look_alikes: &look_alikes,
            version: before
                .as_ref()
                .map_or(1, |(_, lists)| lists.version().saturating_add(1)),
            known: before
                .as_ref()
                .map(|(status, _)| status.as_slice())
                .unwrap_or_default(),
            insist: false,
        })?;
        Ok(Arc::new(Self {
            definition,
            stamps,
            environment: environment.clone(),
            remotes,
            services,
            look_alikes,
            lists: ArcSwap::from_pointee(lists),
            status: Mutex::new(status),
            behind: AtomicBool::new(false),
            refreshing: tokio::sync::Mutex::new(()),
            started: AtomicBool::new(false),
            ended: CancellationToken::new(),
        }))
    }

    /// Begins to fetch on schedule, once; `changed` is called after every swap. Ends with the last holder of `self`. Call
    /// it inside a runtime.
    pub fn start(self: &Arc<Self>, changed: impl Fn() + Send + Sync + 'static) {
        if self.started.swap(true, Ordering::AcqRel) || self.remotes.iter().all(Option::is_none) {
            return;
        }
        if let Some(directory) = &self.definition.directory {
            for feed in &self.definition.feeds {
                super::feeds::store::tidy(directory, &feed.name);
            }
        }
        let changed = Arc::new(changed);
        for (feed, every) in refresh::schedule(self) {
            let (catalogue, ended) = (Arc::downgrade(self), self.ended.clone());
            let changed = Arc::clone(&changed);
            tokio::spawn(refresh::keep_fresh(catalogue, feed, every, ended, changed));
        }
    }

    /// Asks for newer lists now, whatever the schedule says; true when something changed.
    pub async fn refresh(self: &Arc<Self>) -> bool {
        let all: Vec<_> = (0..self.remotes.len()).collect();
        refresh::refresh(self, &all).await.changed
    }

    /// What is known at this moment.
    pub fn lists(&self) -> Arc<Lists> {
        self.lists.load_full()
    }

    /// How each list stands, in the order of the configuration.
    pub fn status(&self) -> Vec<FeedStatus> {
        self.statuses().clone()
    }

    fn statuses(&self) -> MutexGuard<'_, Vec<FeedStatus>> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Catalogue {
    fn drop(&mut self) {
        self.ended.cancel();
    }
}

fn remotes(
    definition: &Definition,
    environment: &FeedEnvironment,
) -> Result<Vec<Option<Remote>>, Vec<FeedProblem>> {
    let mut problems = Vec::new();
    let mut remotes = Vec::new();
    for feed in &definition.feeds {
        match remote(feed, environment) {
            Ok(remote) => remotes.push(remote),
            Err(fault) => problems.push(FeedProblem {
                feed: feed.name.as_str().into(),
                fault,
            }),
        }
    }
    if problems.is_empty() {
        Ok(remotes)
    } else {
        Err(problems)
    }
}

fn remote(feed: &FeedSpec, environment: &FeedEnvironment) -> Result<Option<Remote>, FeedFault> {
    let FeedSource::Https { url, authority, .. } = &feed.source else {
        return Ok(None);
    };
    let roots = match authority {
        None => system_roots(),
        Some(path) => {
            let pem = std::fs::read(path).map_err(|e| FeedFault::Authority(e.to_string()))?;
            roots_from_pem(&pem).map_err(FeedFault::Authority)?
        }
    };
    let transport = Transport::new(roots, Arc::clone(&environment.clock));
    Ok(Some(Remote {
        location: Location::parse(url)?,
        transport: transport.map_err(|error| FeedFault::Authority(error.to_string()))?,
    }))
}

fn look_alikes(definition: &Definition) -> LookAlikes {
    let services = definition
        .services
        .iter()
        .flat_map(|service| &service.hosts);
    let services = services.map(|pattern| pattern.name.as_str());
    LookAlikes::new(
        definition.protect.iter().map(String::as_str),
        services.chain(builtin::BRANDS.iter().copied()),
    )
}
