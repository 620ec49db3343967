//! Names of lists, found by host: compact fingerprints for what blocks, exact names for what allows.
//!
//! A blocking list may have millions of names, and to take one for another costs somebody a page; so a name is 62 bits of
//! a keyed hash and two bits that say what it covers. With a million names about one look-up in 10^12 finds what is not
//! there, and nobody outside can aim at it. What *allows* is kept whole, because there an error would open something.

use std::collections::HashMap;

use ahash::{AHashMap, RandomState};

/// What an entry covers. Two bits of the fingerprint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cover {
    /// This host only.
    Host = 0,
    /// The name and everything below it.
    Domain = 1,
    /// Only what is below.
    Below = 2,
}

const COVER_BITS: u64 = 3;

impl Cover {
    /// Whether an entry of this name covers a host of the same name (`same`), or one below it.
    const fn holds(self, same: bool) -> bool {
        match self {
            Self::Host => same,
            Self::Domain => true,
            Self::Below => !same,
        }
    }

    const fn of(fingerprint: u64) -> Option<Self> {
        match fingerprint & COVER_BITS {
            0 => Some(Self::Host),
            1 => Some(Self::Domain),
            2 => Some(Self::Below),
            _ => None,
        }
    }
}

/// Where an entry comes from: a feed, and what the entry does there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source(u16);

/// What an entry does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Effect {
    Block = 0,
    /// Blocks whatever allows.
    Important = 1,
    Allow = 2,
}

/// Feeds that one table can tell apart.
pub const MAX_FEEDS: usize = 1 << 14;

impl Source {
    /// `None` beyond [`MAX_FEEDS`].
    pub fn new(feed: usize, effect: Effect) -> Option<Self> {
        let feed = u16::try_from(feed).ok()?;
        (usize::from(feed) < MAX_FEEDS).then_some(Self(feed << 2 | effect as u16))
    }

    pub fn feed(self) -> usize {
        usize::from(self.0 >> 2)
    }

    pub fn effect(self) -> Effect {
        match self.0 & 3 {
            0 => Effect::Block,
            1 => Effect::Important,
            _ => Effect::Allow,
        }
    }
}

/// Combinations of sources, each kept once: most names are in one feed, and few combinations occur.
#[derive(Debug, Default)]
pub struct Sets {
    members: Vec<Box<[Source]>>,
    ids: HashMap<Box<[Source]>, u32>,
}

impl Sets {
    /// `sources` are sorted and unique.
    pub fn id(&mut self, sources: &[Source]) -> u32 {
        if let Some(id) = self.ids.get(sources) {
            return *id;
        }
        // INVARIANT: there are no more sets than entries, and those are fewer than 2^32.
        let id = u32::try_from(self.members.len()).unwrap_or(u32::MAX);
        self.members.push(sources.into());
        self.ids.insert(sources.into(), id);
        id
    }

    /// Only the members, once nothing is added any more.
    pub fn finish(self) -> Box<[Box<[Source]>]> {
        self.members.into()
    }
}

/// One 62-bit hash per name.
#[derive(Clone, Debug)]
pub struct Fingerprints(pub RandomState);

impl Fingerprints {
    fn name(&self, name: &str) -> u64 {
        self.0.hash_one(name.as_bytes()) & !COVER_BITS
    }

    /// The fingerprint of an entry.
    pub fn entry(&self, name: &str, cover: Cover) -> u64 {
        self.name(name) | cover as u64
    }
}

/// Fingerprints, sorted, with the set of each.
#[derive(Debug, Default)]
pub struct Table {
    fingerprints: Box<[u64]>,
    sets: SetIds,
    /// Where the fingerprints begin whose upper bits are the index; one more than there are buckets.
    starts: Box<[u32]>,
    /// How far to shift for the upper bits.
    shift: u32,
    filter: Filter,
}

/// Two bytes each wherever they suffice.
#[derive(Debug)]
enum SetIds {
    Narrow(Box<[u16]>),
    Wide(Box<[u32]>),
}

impl Default for SetIds {
    fn default() -> Self {
        Self::Narrow(Box::default())
    }
}

impl SetIds {
    fn at(&self, index: usize) -> Option<u32> {
        match self {
            Self::Narrow(ids) => ids.get(index).map(|id| u32::from(*id)),
            Self::Wide(ids) => ids.get(index).copied(),
        }
    }
}

/// Entries per bucket, about.
const BUCKET: usize = 4;

impl Table {
    /// Sorts `entries` (fingerprint and source, repetitions welcome) and puts them in place. At most 2^32 − 1.
    pub fn build(mut entries: Vec<(u64, Source)>, sets: &mut Sets) -> Self {
        entries.truncate(usize::try_from(u32::MAX).unwrap_or(usize::MAX));
        entries.sort_unstable();
        entries.dedup();
        let names = entries.chunk_by(|a, b| a.0 == b.0).count();
        let mut fingerprints = Vec::with_capacity(names);
        let mut ids: Vec<u16> = Vec::with_capacity(names);
        let mut wide: Option<Vec<u32>> = None;
        let mut sources = Vec::new();
        for same in entries.chunk_by(|a, b| a.0 == b.0) {
            sources.clear();
            sources.extend(same.iter().map(|(_, source)| *source));
            let Some((fingerprint, _)) = same.first() else {
                continue;
            };
            fingerprints.push(*fingerprint);
            let id = sets.id(&sources);
            match (&mut wide, u16::try_from(id)) {
                (None, Ok(id)) => ids.push(id),
                (Some(wide), _) => wide.push(id),
                (None, Err(_)) => {
                    let mut all: Vec<u32> = ids.drain(..).map(u32::from).collect();
                    all.push(id);
                    wide = Some(all);
                }
            }
        }
        drop(entries);
        let bits = (names / BUCKET).max(1).ilog2();
        let (starts, shift) = index(&fingerprints, bits);
        let filter = Filter::of(&fingerprints);
        Self {
            filter,
            fingerprints: fingerprints.into(),
            sets: wide.map_or_else(
                || SetIds::Narrow(ids.into()),
                |wide| SetIds::Wide(wide.into()),
            ),
            starts,
            shift,
        }
    }

    /// Names.
    pub fn len(&self) -> usize {
        self.fingerprints.len()
    }

    pub fn is_empty(&self) -> bool {
        self.fingerprints.is_empty()
    }

    /// Bytes on the heap.
    pub fn bytes(&self) -> usize {
        let ids = match &self.sets {
            SetIds::Narrow(ids) => size_of_val(&**ids),
            SetIds::Wide(ids) => size_of_val(&**ids),
        };
        let filter = size_of_val(&*self.filter.words);
        size_of_val(&*self.fingerprints) + size_of_val(&*self.starts) + ids + filter
    }

    /// The sets of all entries that cover `host`, which is in its one spelling (`name::ascii`).
    pub fn find(&self, fingerprints: &Fingerprints, host: &str, mut found: impl FnMut(u32)) {
        if self.is_empty() {
            return;
        }
        // First all hashes, then all reads of the filter, then the index and the entries of what passes it: the reads wait
        // for memory at the same time.
        let mut hashes = [0_u64; PROBES];
        let mut same = true;
        let mut rest = Some(host);
        while rest.is_some() {
            let mut count = 0;
            for slot in &mut hashes {
                let Some(name) = rest else {
                    break;
                };
                *slot = fingerprints.name(name);
                count += 1;
                rest = name.split_once('.').map(|(_, parent)| parent);
            }
            let hashes = hashes.get(..count).unwrap_or_default();
            let mut passes = [false; PROBES];
            for (passes, hash) in passes.iter_mut().zip(hashes) {
                *passes = self.filter.may_hold(*hash);
            }
            let mut ranges = [(0, 0); PROBES];
            for ((range, hash), _) in ranges.iter_mut().zip(hashes).zip(passes).filter(|it| it.1) {
                *range = self.bucket(*hash);
            }
            for (hash, (from, to)) in hashes.iter().zip(ranges) {
                self.scan(*hash, from..to, same, &mut found);
                same = false;
            }
        }
    }

    fn bucket(&self, hash: u64) -> (usize, usize) {
        // A shift by 64 would overflow; one bucket is bucket 0.
        let bucket = hash.checked_shr(self.shift).unwrap_or(0);
        let bucket = usize::try_from(bucket).unwrap_or(usize::MAX);
        let at = |index: usize| self.starts.get(index).map_or(0, |start| *start as usize);
        (at(bucket), at(bucket.saturating_add(1)))
    }

    fn scan(
        &self,
        hash: u64,
        range: std::ops::Range<usize>,
        same: bool,
        found: &mut impl FnMut(u32),
    ) {
        let from = range.start;
        let entries = self.fingerprints.get(range).unwrap_or_default();
        for (offset, entry) in entries.iter().enumerate() {
            if entry & !COVER_BITS != hash {
                continue;
            }
            if Cover::of(*entry).is_some_and(|cover| cover.holds(same))
                && let Some(set) = self.sets.at(from.saturating_add(offset))
            {
                found(set);
            }
        }
    }
}

/// Says of most names that are not in the table that they are not, from a place small enough for the cache: a Bloom filter
/// of four bits in one word for each name. It lets through about one in forty of the others, which are then looked for.
#[derive(Debug, Default)]
struct Filter {
    words: Box<[u64]>,
}

/// Names per word, about: a byte for each.
const WORD: usize = 8;

impl Filter {
    fn of(fingerprints: &[u64]) -> Self {
        let mut words = vec![0; fingerprints.len().div_ceil(WORD)];
        let count = words.len();
        for fingerprint in fingerprints {
            if let Some(word) = words.get_mut(Self::place(*fingerprint, count)) {
                *word |= Self::bits(*fingerprint);
            }
        }
        Self {
            words: words.into(),
        }
    }

    fn may_hold(&self, hash: u64) -> bool {
        let word = self.words.get(Self::place(hash, self.words.len()));
        let bits = Self::bits(hash);
        word.is_some_and(|word| word & bits == bits)
    }

    /// The upper half of the hash, scaled to `count` words.
    fn place(hash: u64, count: usize) -> usize {
        // INVARIANT: both factors are below 2^32.
        let scaled = (hash >> 32).saturating_mul(count as u64) >> 32;
        usize::try_from(scaled).unwrap_or(usize::MAX)
    }

    /// Four bits, named by the lower half without what an entry covers.
    fn bits(hash: u64) -> u64 {
        let lower = hash >> 2;
        1 << (lower & 63)
            | 1 << (lower >> 6 & 63)
            | 1 << (lower >> 12 & 63)
            | 1 << (lower >> 18 & 63)
    }
}

/// Labels looked up at once; hosts with more take another round.
const PROBES: usize = 8;

/// Where each bucket begins.
fn index(fingerprints: &[u64], bits: u32) -> (Box<[u32]>, u32) {
    let shift = u64::BITS - bits;
    let buckets = 1_usize << bits;
    let mut starts = Vec::with_capacity(buckets + 1);
    let mut at = 0_usize;
    for bucket in 0..buckets {
        starts.push(u32::try_from(at).unwrap_or(u32::MAX));
        let here = |fingerprint: &&u64| {
            fingerprint.checked_shr(shift).unwrap_or(0) == u64::try_from(bucket).unwrap_or(u64::MAX)
        };
        let rest = fingerprints.get(at..).unwrap_or_default();
        at = at.saturating_add(rest.iter().take_while(here).count());
    }
    starts.push(u32::try_from(at).unwrap_or(u32::MAX));
    (starts.into(), shift)
}

/// Names that allow, whole.
#[derive(Debug, Default)]
pub struct Allowed {
    names: AHashMap<Box<str>, Vec<(Cover, Source)>>,
}

impl Allowed {
    pub fn insert(&mut self, name: &str, cover: Cover, source: Source) {
        let of = self.names.entry(name.into()).or_default();
        if !of.contains(&(cover, source)) {
            of.push((cover, source));
        }
    }

    /// Takes back what one feed said of one name.
    pub fn remove(&mut self, name: &str, cover: Cover, feed: usize) {
        if let Some(of) = self.names.get_mut(name) {
            of.retain(|(c, source)| *c != cover || source.feed() != feed);
        }
    }

    pub fn retain_feeds(&mut self, keep: impl Fn(usize) -> bool) {
        self.names.retain(|_, of| {
            of.retain(|(_, source)| keep(source.feed()));
            !of.is_empty()
        });
    }

    pub fn len(&self) -> usize {
        self.names.len()
    }

    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// The sources of all entries that cover `host`.
    pub fn find(&self, host: &str, mut found: impl FnMut(Source)) {
        if self.names.is_empty() {
            return;
        }
        let mut rest = Some(host);
        while let Some(name) = rest {
            for (cover, source) in self.names.get(name).into_iter().flatten() {
                if cover.holds(name.len() == host.len()) {
                    found(*source);
                }
            }
            rest = name.split_once('.').map(|(_, parent)| parent);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn keys() -> Fingerprints {
        Fingerprints(RandomState::with_seeds(1, 2, 3, 4))
    }

    fn table(entries: &[(&str, Cover, usize)]) -> (Table, Box<[Box<[Source]>]>) {
        let entries = entries.iter().map(|(name, cover, feed)| {
            (
                keys().entry(name, *cover),
                Source::new(*feed, Effect::Block).unwrap(),
            )
        });
        let mut sets = Sets::default();
        let table = Table::build(entries.collect(), &mut sets);
        (table, sets.finish())
    }

    fn feeds(of: &(Table, Box<[Box<[Source]>]>), host: &str) -> Vec<usize> {
        let mut found = Vec::new();
        of.0.find(&keys(), host, |set| {
            found.extend(of.1[set as usize].iter().map(|source| source.feed()));
        });
        found.sort_unstable();
        found.dedup();
        found
    }

    #[test]
    fn a_host_is_not_a_domain_and_below_is_not_the_name() {
        let table = table(&[
            ("one.example", Cover::Host, 1),
            ("all.example", Cover::Domain, 2),
            ("sub.example", Cover::Below, 3),
        ]);
        assert_eq!(feeds(&table, "one.example"), [1]);
        assert!(feeds(&table, "a.one.example").is_empty());
        assert_eq!(feeds(&table, "all.example"), [2]);
        assert_eq!(feeds(&table, "a.b.all.example"), [2]);
        assert!(feeds(&table, "sub.example").is_empty());
        assert_eq!(feeds(&table, "a.sub.example"), [3]);
        // Attack: names that only end alike.
        assert!(feeds(&table, "evilall.example").is_empty());
        assert!(feeds(&table, "example").is_empty());
    }

    #[test]
    fn all_feeds_of_all_labels_answer() {
        let table = table(&[
            ("a.b.example", Cover::Host, 1),
            ("a.b.example", Cover::Domain, 2),
            ("b.example", Cover::Domain, 3),
            ("b.example", Cover::Domain, 4),
            ("b.example", Cover::Domain, 4),
        ]);
        assert_eq!(feeds(&table, "a.b.example"), [1, 2, 3, 4]);
        assert_eq!(table.0.len(), 3);
    }

    // Attack: as many labels as a name can have, so that the look-up gives up before the one that is listed.
    #[test]
    fn a_host_of_many_labels_is_looked_up_to_the_last() {
        let table = table(&[("evil.example", Cover::Domain, 1)]);
        let host = format!("{}evil.example", "a.".repeat(120));
        assert_eq!(feeds(&table, &host), [1]);
    }

    #[test]
    fn an_empty_table_knows_nothing() {
        assert!(feeds(&table(&[]), "a.example").is_empty());
    }

    #[test]
    fn more_combinations_than_two_bytes_can_number_are_kept() {
        let mut entries = Vec::new();
        for id in 0..70_000_usize {
            for bit in 0..17 {
                if id >> bit & 1 == 1 {
                    entries.push((
                        keys().entry(&format!("{id}.example"), Cover::Domain),
                        Source::new(bit, Effect::Block).unwrap(),
                    ));
                }
            }
        }
        let mut sets = Sets::default();
        let table = (Table::build(entries, &mut sets), sets.finish());
        for id in [1, 255, 65_535, 65_536, 69_999] {
            let expected: Vec<_> = (0..17).filter(|bit| id >> bit & 1 == 1).collect();
            assert_eq!(feeds(&table, &format!("{id}.example")), expected, "{id}");
        }
    }

    #[test]
    fn the_filter_lets_every_name_through_and_few_others() {
        let keys = keys();
        let of = |kind: &str, n: u32| keys.entry(&format!("{kind}{n}.example"), Cover::Domain);
        let mut names: Vec<_> = (0..100_000).map(|n| of("listed", n)).collect();
        names.sort_unstable();
        let filter = Filter::of(&names);
        assert!(names.iter().all(|name| filter.may_hold(*name)));
        let others = (0..100_000).filter(|n| filter.may_hold(of("other", *n)));
        assert!(others.count() < 5_000);
    }

    #[test]
    fn a_name_takes_less_than_sixteen_bytes() {
        let entries = (0..200_000).map(|n| {
            (
                keys().entry(&format!("{n}.example"), Cover::Domain),
                Source::new(0, Effect::Block).unwrap(),
            )
        });
        let table = Table::build(entries.collect(), &mut Sets::default());
        assert!(table.bytes() < 16 * table.len(), "{}", table.bytes());
    }

    fn name() -> impl Strategy<Value = String> {
        "[ab](\\.[ab]){0,4}"
    }

    fn cover() -> impl Strategy<Value = Cover> {
        prop_oneof![Just(Cover::Host), Just(Cover::Domain), Just(Cover::Below)]
    }

    proptest! {
        #[test]
        fn table_and_exact_names_agree_with_a_walk_through_the_list(
            list in prop::collection::vec((name(), cover(), 0..5_usize), 0..60),
            hosts in prop::collection::vec(name(), 1..10),
        ) {
            let entries: Vec<_> = list.iter().map(|(name, cover, feed)| (name.as_str(), *cover, *feed)).collect();
            let table = table(&entries);
            let mut allowed = Allowed::default();
            for (name, cover, feed) in &entries {
                allowed.insert(name, *cover, Source::new(*feed, Effect::Allow).unwrap());
            }
            for host in hosts {
                let mut expected: Vec<usize> = entries.iter().filter(|(name, cover, _)| {
                    let same = host == *name;
                    let below = host.ends_with(&format!(".{name}"));
                    match cover {
                        Cover::Host => same,
                        Cover::Domain => same || below,
                        Cover::Below => below,
                    }
                }).map(|(.., feed)| *feed).collect();
                expected.sort_unstable();
                expected.dedup();
                prop_assert_eq!(feeds(&table, &host), expected.clone());
                let mut exact = Vec::new();
                allowed.find(&host, |source| exact.push(source.feed()));
                exact.sort_unstable();
                exact.dedup();
                prop_assert_eq!(exact, expected);
            }
        }
    }
}
