//! From what lies on disk to [`Lists`].

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use ahash::{AHashSet, RandomState};
use ipnet::IpNet;
use masugata_policy::Timestamp;

use super::super::addresses::Addresses;
use super::super::builtin;
use super::super::feeds::content::{self, Proof, Summary};
use super::super::feeds::{FeedEnvironment, FeedFault, FeedProblem, FeedStatus, store};
use super::super::formats::Entry;
use super::super::lists::{FeedFacts, Lists};
use super::super::lookalike::{LOOK_ALIKE, LookAlikes, MIXED_SCRIPT};
use super::super::services::Services;
use super::super::table::{Allowed, Cover, Effect, Fingerprints, Sets, Source, Table};
use super::super::{FeedSpec, feeds};
use super::Definition;
use crate::config::egress::{FeedEffect, FeedSource, FeedTrust, signature_of};

/// What [`assemble`] needs.
pub(super) struct Ingredients<'a> {
    pub(super) definition: &'a Definition,
    pub(super) environment: &'a FeedEnvironment,
    pub(super) services: &'a Arc<Services>,
    pub(super) look_alikes: &'a Arc<LookAlikes>,
    pub(super) version: u64,
    /// How lists stood before.
    pub(super) known: &'a [FeedStatus],
    /// A fetched list that was there before has to be there again.
    pub(super) insist: bool,
}

/// Enough of a file's metadata to see that it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    length: u64,
    modified: Option<SystemTime>,
    inode: u64,
}

/// The stamp of a feed's file, or of what a URL is reached with.
pub(super) fn stamp(feed: &FeedSpec) -> Option<Stamp> {
    let path = match &feed.source {
        FeedSource::File { path, .. } => path,
        FeedSource::Https { authority, .. } => authority.as_ref()?,
    };
    let metadata = fs::metadata(path).ok()?;
    #[cfg(unix)]
    let inode = std::os::unix::fs::MetadataExt::ino(&metadata);
    #[cfg(not(unix))]
    let inode = 0;
    Some(Stamp {
        length: metadata.len(),
        modified: metadata.modified().ok(),
        inode,
    })
}

/// Reads everything.
///
/// # Errors
/// Every file that cannot be used, and every copy that is lost.
pub(super) fn assemble(of: &Ingredients<'_>) -> Result<(Lists, Vec<FeedStatus>), Vec<FeedProblem>> {
    let mut collector = Collector::new(of.environment);
    if !of.definition.feeds.is_empty() {
        collector.names.reserve(ROOM);
    }
    let mut problems = Vec::new();
    let mut statuses = Vec::new();
    let mut facts = Vec::new();
    let mut missing: Vec<Box<str>> = Vec::new();
    for (index, feed) in of.definition.feeds.iter().enumerate() {
        let before = of.known.iter().find(|status| *status.name == *feed.name);
        let loaded = load(of, feed, index, before, &mut collector);
        let name: Box<str> = feed.name.as_str().into();
        let (loaded, fault) = match loaded {
            Ok(loaded) => (Some(loaded), None),
            Err(fault) => {
                let is_file = matches!(feed.source, FeedSource::File { .. });
                let is_lost = of.insist && before.is_some_and(|before| before.version.is_some());
                if is_file || is_lost || fault == FeedFault::TooMany {
                    problems.push(FeedProblem {
                        feed: name.clone(),
                        fault: fault.clone(),
                    });
                }
                if feed.required {
                    missing.push(name.clone());
                }
                (None, Some(fault.to_string().into()))
            }
        };
        let version = loaded.as_ref().map(|(summary, _)| summary.version());
        facts.push(facts_of(feed, version.as_deref()));
        let summary = loaded.as_ref().map(|(summary, _)| summary);
        statuses.push(FeedStatus {
            name,
            version: version.map(Into::into),
            entries: summary.map_or(0, |summary| summary.entries),
            bad: summary.map_or(0, |summary| summary.bad),
            first_bad: summary.and_then(|summary| summary.first_bad),
            unsupported: summary.map_or(0, |summary| summary.unsupported),
            loaded_at: loaded.as_ref().map(|(_, at)| *at),
            checked_at: before.and_then(|before| before.checked_at),
            confirmed_at: before.and_then(|before| before.confirmed_at),
            fault,
            required: feed.required,
        });
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    collector.builtins(&mut facts);
    Ok((finish(of, collector, facts, missing), statuses))
}

fn finish(
    of: &Ingredients<'_>,
    collector: Collector,
    feeds: Vec<FeedFacts>,
    missing: Vec<Box<str>>,
) -> Lists {
    let mut sets = Sets::default();
    let addresses = Addresses::build(&collector.ranges, &mut sets);
    let table = Table::build(collector.names, &mut sets);
    Lists {
        version: of.version,
        missing,
        fingerprints: collector.fingerprints,
        table,
        allowed: collector.allowed,
        addresses,
        sets: sets.finish(),
        feeds: feeds.into(),
        services: Arc::clone(of.services),
        look_alikes: Arc::clone(of.look_alikes),
        look_alike: LOOK_ALIKE.into(),
        mixed_script: MIXED_SCRIPT.into(),
    }
}

fn facts_of(feed: &FeedSpec, version: Option<&str>) -> FeedFacts {
    let mut categories: Vec<Arc<str>> = feed
        .categories
        .iter()
        .map(|name| name.as_str().into())
        .collect();
    categories.sort_unstable();
    FeedFacts {
        shown: format!("{}@{}", feed.name, version.unwrap_or("none")).into(),
        categories: categories.into(),
        alert: feed.alert,
        exempts: feed.effect == FeedEffect::Allow,
    }
}

/// Reads one feed into the collector; what it gave is taken back if the whole is not good.
fn load(
    of: &Ingredients<'_>,
    feed: &FeedSpec,
    index: usize,
    before: Option<&FeedStatus>,
    collector: &mut Collector,
) -> Result<(Summary, Timestamp), FeedFault> {
    let mut sink = collector.begin(index)?;
    let read = match &feed.source {
        FeedSource::File { path, trust } => {
            let summary =
                read_file(feed, path, trust, &mut |entry| sink.add(entry)).and_then(|summary| {
                    let known = before.map_or(0, |before| before.entries);
                    content::check_shrink(feed, known, summary.entries)?;
                    Ok(summary)
                });
            summary.map(|summary| (summary, of.environment.clock.now()))
        }
        FeedSource::Https { url, trust, .. } => of
            .definition
            .directory
            .as_deref()
            .ok_or(FeedFault::Missing)
            .and_then(|directory| {
                read_copy(feed, directory, url, trust, &mut |entry| sink.add(entry))
            }),
    };
    match read {
        Ok(found) => {
            sink.keep();
            Ok(found)
        }
        Err(fault) => {
            sink.discard();
            Err(fault)
        }
    }
}

fn read_file(
    feed: &FeedSpec,
    path: &Path,
    trust: &FeedTrust,
    out: &mut impl FnMut(Entry<'_>),
) -> Result<Summary, FeedFault> {
    let unreadable = |error: std::io::Error| FeedFault::Unreadable(error.to_string());
    let signature = match trust {
        FeedTrust::Minisign(_) => match fs::read_to_string(signature_of(path)) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(unreadable(error)),
        },
        FeedTrust::Sha256(_) | FeedTrust::Unsigned => None,
    };
    let file = File::open(path).map_err(unreadable)?;
    content::read(
        feed,
        trust,
        Proof::Minisign(signature.as_deref()),
        file,
        out,
    )
}

fn read_copy(
    feed: &FeedSpec,
    directory: &Path,
    url: &str,
    trust: &FeedTrust,
    out: &mut impl FnMut(Entry<'_>),
) -> Result<(Summary, Timestamp), FeedFault> {
    let copy = store::open(directory, &feed.name, url)
        .map_err(|error| FeedFault::Unreadable(error.to_string()))?;
    let (header, file) = copy.ok_or(FeedFault::Missing)?;
    let proof = Proof::Minisign(header.signature.as_deref());
    let summary = content::read(feed, trust, proof, file, out)?;
    Ok((summary, Timestamp::from_millis(header.fetched_at)))
}

/// Entries that there is room for from the beginning. A vector that grows leaves all its former selves to the allocator,
/// which keeps them; address space that is not used costs nothing.
const ROOM: usize = 1 << 21;

/// Entries of all feeds.
struct Collector {
    fingerprints: Fingerprints,
    names: Vec<(u64, Source)>,
    allowed: Allowed,
    ranges: Vec<(IpNet, Source)>,
}

impl Collector {
    fn new(environment: &FeedEnvironment) -> Self {
        let mut seed = [0; 32];
        environment.entropy.fill(&mut seed);
        let mut words = seed
            .as_chunks::<8>()
            .0
            .iter()
            .copied()
            .map(u64::from_le_bytes);
        let mut word = || words.next().unwrap_or_default();
        Self {
            fingerprints: Fingerprints(RandomState::with_seeds(word(), word(), word(), word())),
            names: Vec::new(),
            allowed: Allowed::default(),
            ranges: Vec::new(),
        }
    }

    fn begin(&mut self, feed: usize) -> Result<Sink<'_>, FeedFault> {
        let source = |effect| Source::new(feed, effect).ok_or(FeedFault::TooMany);
        Ok(Sink {
            feed,
            sources: [
                source(Effect::Block)?,
                source(Effect::Important)?,
                source(Effect::Allow)?,
            ],
            names: self.names.len(),
            ranges: self.ranges.len(),
            withdrawn: AHashSet::new(),
            allowances: Vec::new(),
            collector: self,
        })
    }

    /// Lists that come with the program, after the configured ones.
    fn builtins(&mut self, facts: &mut Vec<FeedFacts>) {
        for feed in builtin::FEEDS {
            let Ok(mut sink) = self.begin(facts.len()) else {
                return;
            };
            for name in feed.domains {
                sink.add(Entry::Name {
                    name,
                    cover: Cover::Domain,
                    effect: Effect::Block,
                });
            }
            sink.keep();
            facts.push(FeedFacts {
                shown: format!("{}@{}", feed.name, env!("CARGO_PKG_VERSION")).into(),
                categories: [feed.category.into()].into(),
                alert: false,
                exempts: false,
            });
        }
    }
}

/// Takes the entries of one feed.
struct Sink<'a> {
    collector: &'a mut Collector,
    feed: usize,
    /// By effect.
    sources: [Source; 3],
    /// How much there was before.
    names: usize,
    ranges: usize,
    /// Blocking names that the feed itself takes back.
    withdrawn: AHashSet<(u64, Source)>,
    /// Allowing names that it takes back.
    allowances: Vec<(Box<str>, Cover)>,
}

impl Sink<'_> {
    fn source(&self, effect: Effect) -> Source {
        let [block, important, allow] = self.sources;
        match effect {
            Effect::Block => block,
            Effect::Important => important,
            Effect::Allow => allow,
        }
    }

    fn add(&mut self, entry: Entry<'_>) {
        match entry {
            Entry::Name {
                name,
                cover,
                effect: Effect::Allow,
            } => {
                let source = self.source(Effect::Allow);
                self.collector.allowed.insert(name, cover, source);
            }
            Entry::Name {
                name,
                cover,
                effect,
            } => {
                let source = self.source(effect);
                let fingerprint = self.collector.fingerprints.entry(name, cover);
                self.collector.names.push((fingerprint, source));
            }
            Entry::Range { range, effect } => {
                let source = self.source(effect);
                self.collector.ranges.push((range, source));
            }
            Entry::Withdrawn {
                name,
                cover,
                effect: Effect::Allow,
            } => self.allowances.push((name.into(), cover)),
            Entry::Withdrawn {
                name,
                cover,
                effect,
            } => {
                let fingerprint = self.collector.fingerprints.entry(name, cover);
                let source = self.source(effect);
                self.withdrawn.insert((fingerprint, source));
            }
        }
    }

    fn keep(self) {
        for (name, cover) in &self.allowances {
            self.collector.allowed.remove(name, *cover, self.feed);
        }
        if !self.withdrawn.is_empty() {
            let own = self.collector.names.split_off(self.names);
            let kept = own
                .into_iter()
                .filter(|entry| !self.withdrawn.contains(entry));
            self.collector.names.extend(kept);
        }
    }

    fn discard(self) {
        self.collector.names.truncate(self.names);
        self.collector.ranges.truncate(self.ranges);
        self.collector
            .allowed
            .retain_feeds(|feed| feed != self.feed);
    }
}

/// Reads a fetched list without keeping its entries.
pub(super) fn examine(
    feed: &FeedSpec,
    trust: &FeedTrust,
    signature: Option<&str>,
    incoming: &feeds::store::Incoming,
) -> Result<Summary, FeedFault> {
    let file = incoming
        .content()
        .map_err(|error| FeedFault::Unreadable(error.to_string()))?;
    content::read(feed, trust, Proof::Minisign(signature), file, &mut |_| ())
}
