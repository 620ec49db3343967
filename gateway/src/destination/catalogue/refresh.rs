//! Fetching on schedule.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{Notify, mpsc};

use super::super::feeds::content;
use super::super::feeds::fetch::{FetchError, Fetched, Validators};
use super::super::feeds::store::{self, Header, Incoming};
use super::super::feeds::{FeedFault, FeedReport, FeedStatus};
use super::assemble::{self, Ingredients};
use super::{Catalogue, Remote};
use crate::config::egress::{Feed, FeedSource, FeedTrust};

/// After a failure; doubles up to the schedule.
const FIRST_RETRY: Duration = Duration::from_secs(30);
/// The schedule goes by the gateway's clock, which no timer waits for: it is looked at this often.
const LOOK: Duration = Duration::from_secs(1);

/// What became of a round.
pub(super) struct Round {
    pub(super) changed: bool,
    /// Feeds that could not be had or are not good.
    pub(super) failed: Vec<usize>,
}

/// Fetches what is due, again and again, until nobody holds the catalogue.
pub(super) async fn keep_fresh(
    catalogue: Weak<Catalogue>,
    ended: Arc<Notify>,
    changed: impl Fn() + Send + Sync,
) {
    let mut plans: Vec<Plan> = Vec::new();
    loop {
        let Some(current) = catalogue.upgrade() else {
            return;
        };
        let clock = Arc::clone(&current.environment.clock);
        let now = clock.monotonic();
        if plans.is_empty() {
            plans = plans_of(&current, now);
        }
        let due: Vec<_> = plans
            .iter()
            .filter(|plan| plan.at <= now)
            .map(|plan| plan.feed)
            .collect();
        if !due.is_empty() {
            let round = refresh(&current, &due).await;
            if round.changed {
                changed();
            }
            let now = clock.monotonic();
            for plan in plans.iter_mut().filter(|plan| due.contains(&plan.feed)) {
                plan.after(now, round.failed.contains(&plan.feed));
            }
        }
        drop(current);
        let Some(next) = plans.iter().map(|plan| plan.at).min() else {
            return;
        };
        tokio::select! {
            () = tokio::time::sleep(LOOK.min(next.saturating_duration_since(clock.monotonic()))) => {}
            () = ended.notified() => {}
        }
    }
}

/// When a feed is due.
struct Plan {
    feed: usize,
    at: Instant,
    every: Duration,
    failures: u32,
}

impl Plan {
    fn after(&mut self, now: Instant, failed: bool) {
        self.failures = if failed {
            self.failures.saturating_add(1)
        } else {
            0
        };
        let wait = match self.failures {
            0 => self.every,
            failures => FIRST_RETRY
                .saturating_mul(2_u32.saturating_pow(failures.min(16) - 1))
                .min(self.every),
        };
        self.at = now + wait;
    }
}

fn plans_of(catalogue: &Catalogue, now: Instant) -> Vec<Plan> {
    let feeds = catalogue.definition.feeds.iter().enumerate();
    feeds
        .filter_map(|(feed, spec)| match &spec.source {
            FeedSource::File { .. } => None,
            FeedSource::Https { refresh, .. } => Some(Plan {
                feed,
                at: now,
                every: *refresh,
                failures: 0,
            }),
        })
        .collect()
}

/// Fetches the feeds `due`, and puts new lists in place if any is new.
pub(super) async fn refresh(catalogue: &Arc<Catalogue>, due: &[usize]) -> Round {
    let _one = catalogue.refreshing.lock().await;
    let mut round = Round {
        changed: false,
        failed: Vec::new(),
    };
    let mut fetched = Vec::new();
    for &index in due {
        let (Some(feed), Some(Some(remote))) = (
            catalogue.definition.feeds.get(index),
            catalogue.remotes.get(index),
        ) else {
            continue;
        };
        let outcome = fetch(catalogue, index, feed, remote).await;
        match &outcome {
            Ok(true) => fetched.push(index),
            Ok(false) => {}
            Err(fault) => {
                tell(catalogue, feed, fault);
                round.failed.push(index);
            }
        }
        note(catalogue, index, outcome.err().as_ref());
    }
    // Also when nothing is new: what came before may still wait, because another list was not good then.
    if !fetched.is_empty() || catalogue.behind.load(Ordering::Acquire) {
        let before = catalogue.status();
        round.changed = swap(catalogue).await;
        catalogue.behind.store(!round.changed, Ordering::Release);
        if round.changed {
            praise(catalogue, &before);
        } else {
            round.failed = due.to_vec();
        }
    }
    round
}

fn note(catalogue: &Catalogue, index: usize, fault: Option<&FeedFault>) {
    let now = catalogue.environment.clock.now();
    if let Some(status) = catalogue.statuses().get_mut(index) {
        // A refused list was an answer all the same.
        if !matches!(fault, Some(FeedFault::Fetch(_))) {
            status.checked_at = Some(now);
        }
        // What nobody has yet stays told until it is there.
        if fault.is_some() || status.version.is_some() {
            status.fault = fault.map(|fault| fault.to_string().into());
        }
    }
}

fn tell(catalogue: &Catalogue, feed: &Feed, fault: &FeedFault) {
    let name = feed.name.as_str();
    let report = if is_absence(fault) {
        tracing::warn!(feed = name, %fault, "a list could not be fetched; the last good copy stays");
        FeedReport::Unreachable { feed: name, fault }
    } else {
        tracing::warn!(feed = name, %fault, "a list is refused; the last good copy stays");
        FeedReport::Refused { feed: name, fault }
    };
    (catalogue.environment.report)(&report);
}

/// Nothing came, as against: what came is not good.
fn is_absence(fault: &FeedFault) -> bool {
    match fault {
        FeedFault::Fetch(error) => match error {
            FetchError::Url
            | FetchError::Connect(_)
            | FetchError::Tls(_)
            | FetchError::Http(_)
            | FetchError::Status(_)
            | FetchError::TimedOut
            | FetchError::Disk(_) => true,
            FetchError::Encoding | FetchError::TooLarge(_) | FetchError::CutShort { .. } => false,
        },
        FeedFault::Missing | FeedFault::Store(_) => true,
        FeedFault::Unreadable(_)
        | FeedFault::TooLarge(_)
        | FeedFault::Unsigned
        | FeedFault::Signature(_)
        | FeedFault::Pin
        | FeedFault::RolledBack
        | FeedFault::Empty
        | FeedFault::Nonsense { .. }
        | FeedFault::Shrunk { .. }
        | FeedFault::TooManyAllowed(_)
        | FeedFault::TooMany
        | FeedFault::Authority(_) => false,
    }
}

/// Tells of every list that is another than it was.
fn praise(catalogue: &Catalogue, before: &[FeedStatus]) {
    let statuses = catalogue.status();
    for (status, before) in statuses.iter().zip(before) {
        let Some(version) = status.version.as_deref() else {
            continue;
        };
        if before.version.as_deref() == Some(version) {
            continue;
        }
        tracing::info!(feed = %status.name, version, entries = status.entries, "a list is new");
        (catalogue.environment.report)(&FeedReport::Loaded {
            feed: &status.name,
            version,
            entries: status.entries,
        });
    }
}

/// Fetches and judges one list; true when there is a new copy.
async fn fetch(
    catalogue: &Catalogue,
    index: usize,
    feed: &Feed,
    remote: &Remote,
) -> Result<bool, FeedFault> {
    let FeedSource::Https { url, trust, .. } = &feed.source else {
        return Ok(false);
    };
    let store_fault = |error: std::io::Error| FeedFault::Store(error.to_string());
    let directory = catalogue.definition.directory.clone();
    let directory = directory.ok_or(FeedFault::Missing)?;
    let place = (directory.clone(), feed.name.clone(), url.clone());
    let used = catalogue
        .statuses()
        .get(index)
        .and_then(|status| status.version.clone());
    let in_use = used.is_some();
    let (good, incoming, file) = blocking(move || {
        let (directory, name, url) = place;
        let copy = store::open(&directory, &name, &url).ok().flatten();
        // Only a copy that was found good is a reason not to ask for the whole, or to refuse another.
        let good = copy.map(|(header, _)| header).filter(|_| in_use);
        let (incoming, file) = Incoming::create(&directory, &name).map_err(store_fault)?;
        Ok((good, incoming, file))
    })
    .await?;
    let known = good.as_ref().map(Header::validators).unwrap_or_default();
    let (mut pieces, written) = write_down(file);
    let way = &*catalogue.environment.connect;
    let fetched = remote
        .transport
        .list(way, &remote.location, &known, feed.max_bytes, &mut pieces)
        .await;
    drop(pieces);
    // Why the disk failed says more than that the fetch stopped.
    written.await?;
    let fetched = fetched?;
    let Fetched::New(validators) = fetched else {
        return Ok(false);
    };
    let signature = match trust {
        FeedTrust::Minisign(_) => remote.transport.signature(way, &remote.location).await?,
        FeedTrust::Sha256(_) | FeedTrust::Unsigned => None,
    };
    let arrival = Arrival {
        feed: feed.clone(),
        url: url.clone(),
        validators,
        signature,
        good,
        used,
        fetched_at: catalogue.environment.clock.now().as_millis(),
    };
    blocking(move || arrival.judge(incoming, &directory)).await
}

/// Writes pieces into `file` on a thread that may wait for the disk.
fn write_down(
    mut file: File,
) -> (
    mpsc::Sender<Bytes>,
    impl Future<Output = Result<(), FeedFault>>,
) {
    let (sender, mut pieces) = mpsc::channel::<Bytes>(16);
    let written = blocking(move || {
        while let Some(piece) = pieces.blocking_recv() {
            file.write_all(&piece)
                .map_err(|error| FeedFault::Store(error.to_string()))?;
        }
        Ok(())
    });
    (sender, written)
}

/// A list that has come whole.
struct Arrival {
    feed: Feed,
    url: String,
    validators: Validators,
    signature: Option<String>,
    /// The copy in use.
    good: Option<Header>,
    /// Its version.
    used: Option<Box<str>>,
    fetched_at: i64,
}

impl Arrival {
    /// Keeps it if it is good; true when it says something else than the copy in use.
    fn judge(self, incoming: Incoming, directory: &Path) -> Result<bool, FeedFault> {
        let FeedSource::Https { trust, .. } = &self.feed.source else {
            return Err(FeedFault::Missing);
        };
        let signature = self.signature.as_deref();
        let summary = assemble::examine(&self.feed, trust, signature, &incoming)?;
        let header = Header {
            url: self.url,
            entries: summary.entries,
            signed_at: summary.signed_at,
            etag: self.validators.etag,
            last_modified: self.validators.last_modified,
            signature: self.signature,
            fetched_at: self.fetched_at,
        };
        if let Some(good) = &self.good {
            check_age(good, &header)?;
            content::check_shrink(&self.feed, good.entries, summary.entries)?;
        }
        incoming
            .keep(directory, &self.feed.name, &header)
            .map_err(|error| FeedFault::Store(error.to_string()))?;
        Ok(self.used.as_deref() != Some(summary.version().as_str()))
    }
}

/// Attack: an old list, rightly signed, that does not know the newest names. The date in the signature counts where there
/// is one, else what the server says.
fn check_age(good: &Header, new: &Header) -> Result<(), FeedFault> {
    let older = match (good.signed_at, new.signed_at) {
        (Some(good), Some(new)) => new < good,
        // Dates that were signed are not given up for a signature without.
        (Some(_), None) => true,
        (None, _) => match (good.modified_at(), new.modified_at()) {
            (Some(good), Some(new)) => new < good,
            _ => false,
        },
    };
    if older {
        return Err(FeedFault::RolledBack);
    }
    Ok(())
}

/// Reads all lists again and puts them in place; false when they are not good, and the old ones stay.
async fn swap(catalogue: &Arc<Catalogue>) -> bool {
    let current = Arc::clone(catalogue);
    let assembled = blocking(move || {
        let known = current.status();
        Ok(assemble::assemble(&Ingredients {
            definition: &current.definition,
            environment: &current.environment,
            services: &current.services,
            look_alikes: &current.look_alikes,
            version: current.lists().version().saturating_add(1),
            known: &known,
        }))
    })
    .await;
    match assembled {
        Ok(Ok((lists, mut statuses))) => {
            let mut known = catalogue.statuses();
            for (new, old) in statuses.iter_mut().zip(known.iter()) {
                // A feed that was refused in this round is still served from its old copy.
                if new.fault.is_none() {
                    new.fault.clone_from(&old.fault);
                }
                if new.version != old.version {
                    new.fault = None;
                }
                new.checked_at = old.checked_at;
            }
            *known = statuses;
            drop(known);
            catalogue.lists.store(Arc::new(lists));
            true
        }
        Ok(Err(problems)) => {
            for problem in problems {
                tracing::warn!(feed = %problem.feed, fault = %problem.fault, "lists stay as they are");
                (catalogue.environment.report)(&FeedReport::Refused {
                    feed: &problem.feed,
                    fault: &problem.fault,
                });
            }
            false
        }
        Err(fault) => {
            tracing::error!(%fault, "lists stay as they are");
            false
        }
    }
}

/// Runs what takes long where it stalls nobody.
fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, FeedFault> + Send + 'static,
) -> impl Future<Output = Result<T, FeedFault>> {
    // Begins at once, whether or not anybody waits.
    let task = tokio::task::spawn_blocking(work);
    async {
        task.await
            .unwrap_or_else(|error| Err(FeedFault::Store(error.to_string())))
    }
}
