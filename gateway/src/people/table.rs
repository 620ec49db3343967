//! How people stand, for whoever asks on the way of a request: no lock, no allocation.
//!
//! Many small tables, each replaced whole when somebody in it changes. Names are compared without regard to case: an
//! issuer that writes `Ada` where the provisioning system wrote `ada` must not bring back whom it has deactivated.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use ahash::RandomState;
use arc_swap::{ArcSwap, ArcSwapOption};
use masugata_policy::Principal;

use super::Basis;
use crate::capability::Entropy;

/// What the directory knows of a principal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nobody was ever provisioned under that name: what the credential says counts.
    Unknown,
    Active {
        /// Instead of those of the token, sorted; `None`: groups are not provisioned, the token's count.
        groups: Option<Arc<[Box<str>]>>,
    },
    /// Deactivated, deleted or renamed: nothing of theirs counts.
    Inactive,
}

/// What becomes of a principal.
#[derive(Debug)]
pub enum Judged {
    /// Nothing is said about it.
    Unchanged,
    /// The same person, with other groups.
    As(Arc<Principal>),
    Inactive,
}

/// What is kept of a name.
#[derive(Clone, Debug)]
pub(super) enum Entry {
    Unknown,
    Active {
        /// The only spelling that counts.
        exact: Option<Box<str>>,
        groups: Option<Arc<[Box<str>]>>,
        /// The last principal that was given these groups, by the revision of the one it was made of.
        made: Arc<ArcSwapOption<(u64, Arc<Principal>)>>,
    },
    Inactive,
}

const SHARDS: usize = 256;

type Shard = HashMap<Name, Entry, RandomState>;

pub(super) struct Table {
    /// Length: [`SHARDS`].
    shards: Box<[ArcSwap<Shard>]>,
    hasher: RandomState,
}

impl Table {
    pub(super) fn new(entropy: &dyn Entropy) -> Self {
        let mut seeds = [0; 32];
        entropy.fill(&mut seeds);
        let mut seeds = seeds.chunks_exact(8).map(|chunk| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(chunk);
            u64::from_le_bytes(bytes)
        });
        let mut seed = || seeds.next().unwrap_or_default();
        let hasher = RandomState::with_seeds(seed(), seed(), seed(), seed());
        let empty = || ArcSwap::from_pointee(Shard::with_hasher(hasher.clone()));
        Self {
            shards: (0..SHARDS).map(|_| empty()).collect(),
            hasher,
        }
    }

    pub(super) fn standing(&self, principal: &str) -> Standing {
        let asked: &dyn Folded = &principal;
        let shard = self.shard(asked).load();
        match shard.get(asked) {
            None | Some(Entry::Unknown) => Standing::Unknown,
            Some(Entry::Inactive) => Standing::Inactive,
            Some(Entry::Active { exact, groups, .. }) => match exact {
                Some(exact) if !principal.ends_with(&**exact) => Standing::Unknown,
                Some(_) | None => Standing::Active {
                    groups: groups.clone(),
                },
            },
        }
    }

    pub(super) fn judge(&self, principal: &Arc<Principal>) -> Judged {
        let id = principal.id();
        let asked: &dyn Folded = &id;
        let shard = self.shard(asked).load();
        match shard.get(asked) {
            None | Some(Entry::Unknown) => Judged::Unchanged,
            Some(Entry::Inactive) => Judged::Inactive,
            Some(Entry::Active {
                exact,
                groups,
                made,
            }) => {
                let other = exact.as_ref().is_some_and(|exact| !id.ends_with(&**exact));
                let groups = groups.as_ref().filter(|_| !other);
                match groups.filter(|groups| groups[..] != *principal.groups()) {
                    Some(groups) => Judged::As(with_groups(principal, groups, made)),
                    None => Judged::Unchanged,
                }
            }
        }
    }

    pub(super) fn set(&self, basis: &Basis, name: &str, entry: Entry) {
        let name = Name::new(basis, name);
        let place = self.shard(&name);
        let mut shard = Shard::clone(&place.load());
        match entry {
            Entry::Unknown => shard.remove(&name),
            Entry::Active { .. } | Entry::Inactive => shard.insert(name, entry),
        };
        place.store(Arc::new(shard));
    }

    pub(super) fn replace(&self, basis: Option<&Basis>, all: Vec<(&str, Entry)>) {
        let mut shards: Vec<Shard> = (0..SHARDS)
            .map(|_| Shard::with_hasher(self.hasher.clone()))
            .collect();
        if let Some(basis) = basis {
            for (name, entry) in all {
                let name = Name::new(basis, name);
                if let Some(shard) = shards.get_mut(self.place(&name)) {
                    shard.insert(name, entry);
                }
            }
        }
        for (place, shard) in self.shards.iter().zip(shards) {
            place.store(Arc::new(shard));
        }
    }

    pub(super) fn inactive(&self) -> u64 {
        let count = |shard: &ArcSwap<Shard>| {
            let shard = shard.load();
            let inactive = shard.values().filter(|it| matches!(it, Entry::Inactive));
            inactive.count() as u64
        };
        self.shards.iter().map(count).sum()
    }

    fn place(&self, name: &dyn Folded) -> usize {
        // Not the bits by which the small table itself looks.
        usize::try_from((self.hasher.hash_one(name) >> 32) % SHARDS as u64).unwrap_or_default()
    }

    fn shard(&self, name: &dyn Folded) -> &ArcSwap<Shard> {
        let place = self.place(name);
        #[expect(clippy::indexing_slicing, reason = "a remainder of the slice's length")]
        &self.shards[place]
    }
}

fn with_groups(
    principal: &Arc<Principal>,
    groups: &[Box<str>],
    made: &ArcSwapOption<(u64, Arc<Principal>)>,
) -> Arc<Principal> {
    let revision = principal.revision();
    if let Some(known) = &*made.load()
        && known.0 == revision
    {
        return Arc::clone(&known.1);
    }
    let new = Arc::new(Principal::new(
        principal.kind(),
        principal.id(),
        principal.issuer(),
        principal.name(),
        groups.iter().cloned(),
        principal.roles().iter().cloned(),
    ));
    made.store(Some(Arc::new((revision, Arc::clone(&new)))));
    new
}

impl fmt::Debug for Table {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Table")
    }
}

/// A text as it is compared: lower case.
pub(crate) fn folded(text: &str) -> Box<str> {
    lower(text).collect::<String>().into()
}

fn lower(text: &str) -> impl Iterator<Item = char> {
    text.chars().flat_map(char::to_lowercase)
}

/// A text that equals every capitalisation of itself; lets a borrowed one be looked up among owned ones.
trait Folded {
    fn text(&self) -> &str;
}

/// `issuer/user`.
#[derive(Clone)]
struct Name(Box<str>);

impl Name {
    fn new(basis: &Basis, name: &str) -> Self {
        Self(format!("{}/{name}", basis.issuer).into())
    }
}

impl Folded for Name {
    fn text(&self) -> &str {
        &self.0
    }
}

impl Folded for &str {
    fn text(&self) -> &str {
        self
    }
}

impl Hash for dyn Folded + '_ {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for character in lower(self.text()) {
            state.write_u32(u32::from(character));
        }
        // So that no text is the beginning of another.
        state.write_u32(u32::MAX);
    }
}

impl PartialEq for dyn Folded + '_ {
    fn eq(&self, other: &Self) -> bool {
        lower(self.text()).eq(lower(other.text()))
    }
}

impl Eq for dyn Folded + '_ {}

impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self as &dyn Folded).hash(state);
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        (self as &dyn Folded) == (other as &dyn Folded)
    }
}

impl Eq for Name {}

impl<'a> Borrow<dyn Folded + 'a> for Name {
    fn borrow(&self) -> &(dyn Folded + 'a) {
        self
    }
}
