//! Fetching on schedule.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::super::feeds::content;
use super::super::feeds::fetch::{FetchError, Fetched, Validators};
use super::super::feeds::store::{self, Header, Incoming};
use super::super::feeds::{FeedFault, FeedReport, FeedStatus};
use super::super::lists::Lists;
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
    /// Something could not be had or is not good.
    pub(super) failed: bool,
}

/// Fetches one feed whenever it is due, until nobody holds the catalogue. Each feed has a task of its own: a server that
/// keeps us waiting must not keep the lists of others from coming.
pub(super) async fn keep_fresh(
    catalogue: Weak<Catalogue>,
    feed: usize,
    every: Duration,
    ended: CancellationToken,
    changed: Arc<impl Fn() + Send + Sync>,
) {
    let mut failures = 0_u32;
    // At once.
    let mut due = None;
    loop {
        let Some(current) = catalogue.upgrade() else {
            return;
        };
        let clock = Arc::clone(&current.environment.clock);
        let now = clock.monotonic();
        if due.is_none_or(|due| due <= now) {
            let round = refresh(&current, &[feed]).await;
            if round.changed {
                changed();
            }
            let failed = round.failed;
            failures = if failed {
                failures.saturating_add(1)
            } else {
                0
            };
            due = now.checked_add(wait(failures, every));
        }
        drop(current);
        let left = due.map(|due| due.saturating_duration_since(clock.monotonic()));
        tokio::select! {
            () = tokio::time::sleep(LOOK.min(left.unwrap_or(LOOK))) => {}
            () = ended.cancelled() => return,
        }
    }
}

/// How long to leave a server alone.
fn wait(failures: u32, every: Duration) -> Duration {
    match failures {
        0 => every,
        failures => FIRST_RETRY
            .saturating_mul(2_u32.saturating_pow(failures.min(16) - 1))
            .min(every),
    }
}

/// The feeds that are fetched, and how often.
pub(super) fn schedule(catalogue: &Catalogue) -> impl Iterator<Item = (usize, Duration)> {
    let feeds = catalogue.definition.feeds.iter().enumerate();
    feeds.filter_map(|(feed, spec)| match &spec.source {
        FeedSource::File { .. } => None,
        FeedSource::Https { refresh, .. } => Some((feed, *refresh)),
    })
}

/// Fetches these feeds, and puts new lists in place if any is new.
pub(super) async fn refresh(catalogue: &Arc<Catalogue>, feeds: &[usize]) -> Round {
    let mut failed = false;
    for feed in feeds {
        match fetch_and_note(catalogue, *feed).await {
            Ok(true) => catalogue.behind.store(true, Ordering::Release),
            Ok(false) => {}
            Err(()) => failed = true,
        }
    }
    let changed = take_up(catalogue).await;
    Round {
        changed,
        failed: failed || catalogue.behind.load(Ordering::Acquire),
    }
}

/// True when there is a new copy; what went wrong is told.
async fn fetch_and_note(catalogue: &Catalogue, index: usize) -> Result<bool, ()> {
    let (Some(feed), Some(Some(remote))) = (
        catalogue.definition.feeds.get(index),
        catalogue.remotes.get(index),
    ) else {
        return Ok(false);
    };
    let outcome = fetch(catalogue, index, feed, remote).await;
    if let Err(fault) = &outcome {
        tell(catalogue, feed, fault);
    }
    note(catalogue, index, outcome.as_ref().err());
    outcome.map_err(drop)
}

/// Puts new lists in place if there are good copies that they do not have: from now, or from when another list was not
/// good. What came while somebody else did the same is taken up with one more step.
async fn take_up(catalogue: &Arc<Catalogue>) -> bool {
    let _one = catalogue.refreshing.lock().await;
    if !catalogue.behind.swap(false, Ordering::AcqRel) {
        return false;
    }
    let before = catalogue.status();
    let mut swapped = swap(catalogue).await;
    if let Err(lost) = &swapped
        && !lost.is_empty()
    {
        // Copies that were there, and are not any more: they are fetched again rather than missed.
        for feed in lost {
            let _told = fetch_and_note(catalogue, *feed).await;
        }
        swapped = swap(catalogue).await;
    }
    match swapped {
        Ok(()) => praise(catalogue, &before),
        Err(_) => catalogue.behind.store(true, Ordering::Release),
    }
    swapped.is_ok()
}

fn note(catalogue: &Catalogue, index: usize, fault: Option<&FeedFault>) {
    let now = catalogue.environment.clock.now();
    if let Some(status) = catalogue.statuses().get_mut(index) {
        // A refused list was an answer all the same.
        if !matches!(fault, Some(FeedFault::Fetch(_))) {
            status.checked_at = Some(now);
        }
        if fault.is_none() {
            status.confirmed_at = Some(now);
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

/// Reads all lists again and puts them in place. When one is not good the old lists stay, and the answer is which copies
/// of fetched ones have gone.
async fn swap(catalogue: &Arc<Catalogue>) -> Result<(), Vec<usize>> {
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
            insist: true,
        }))
    })
    .await;
    match assembled {
        Ok(Ok((lists, statuses))) => {
            put_in_place(catalogue, lists, statuses);
            Ok(())
        }
        Ok(Err(problems)) => {
            for problem in &problems {
                tracing::warn!(feed = %problem.feed, fault = %problem.fault, "lists stay as they are");
                (catalogue.environment.report)(&FeedReport::Refused {
                    feed: &problem.feed,
                    fault: &problem.fault,
                });
            }
            let is_lost = |feed: &str| problems.iter().any(|problem| *problem.feed == *feed);
            let feeds = schedule(catalogue).map(|(feed, _)| feed);
            Err(feeds
                .filter(|feed| {
                    let spec = catalogue.definition.feeds.get(*feed);
                    spec.is_some_and(|spec| is_lost(&spec.name))
                })
                .collect())
        }
        Err(fault) => {
            tracing::error!(%fault, "lists stay as they are");
            Err(Vec::new())
        }
    }
}

fn put_in_place(catalogue: &Catalogue, lists: Lists, mut statuses: Vec<FeedStatus>) {
    let mut known = catalogue.statuses();
    for (new, old) in statuses.iter_mut().zip(known.iter()) {
        if new.version != old.version {
            new.fault = None;
        } else if old.fault.is_some() {
            // What came last is still not used, and why says more than that there is nothing.
            new.fault.clone_from(&old.fault);
        }
        new.checked_at = old.checked_at;
        new.confirmed_at = old.confirmed_at;
    }
    *known = statuses;
    drop(known);
    catalogue.lists.store(Arc::new(lists));
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
