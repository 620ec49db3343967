//! When an earlier decision still is the decision: exactly when the principal, resource, action and every fact that its
//! policies mention are the same, and the clock is within the answer's window. There is no time-to-live.
//!
//! Values are compared, never only their hashes: with chosen paths an attacker could look for a collision.

use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;

use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{Equivalent, Weighter};

use crate::decide::Verdict;
use crate::entities::Parties;
use crate::facts::Facts;
use crate::request::{Action, NetworkNames, Request};
use crate::slice::Slice;
use crate::time::{Now, Timestamp};
use crate::window::Window;

/// What is kept for a principal, action and resource as long as none of the three changes.
pub(crate) struct Prepared {
    pub(crate) slice: Arc<Slice>,
    pub(crate) parties: Parties,
}

/// A verdict and the times at which it is the verdict. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Answer {
    pub(crate) verdict: Verdict,
    pub(crate) window: Window,
    utc_offset_seconds: i32,
    civil: bool,
}

impl Answer {
    pub(crate) fn new(verdict: Verdict, window: Window, facts: Facts, now: Now) -> Self {
        Self {
            verdict,
            window,
            utc_offset_seconds: now.utc_offset_seconds,
            civil: facts.any(Facts::CIVIL),
        }
    }

    /// Whether it is the answer at `now`, if nothing but time has passed.
    fn holds(&self, now: Now) -> bool {
        self.window.contains(now.at)
            && (!self.civil || self.utc_offset_seconds == now.utc_offset_seconds)
    }

    /// The first instant after `now` at which it may be another.
    pub(crate) fn holds_until(&self, now: Now) -> Timestamp {
        if self.civil {
            self.window.until().min(now.offset_holds_until)
        } else {
            self.window.until()
        }
    }
}

/// Which principal, action and resource. Revisions are never used twice in a process, so equal ones mean equal contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Triple {
    principal: u64,
    resource: u64,
    action: Action,
}

impl Triple {
    fn of(request: &Request<'_>) -> Self {
        Self {
            principal: request.principal.revision(),
            resource: request.resource.revision(),
            action: request.action,
        }
    }
}

/// Everything that an answer depends on but time. Facts that the policies do not mention are left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Question<'a> {
    triple: Triple,
    device: u64,
    authentication: u64,
    address: Option<IpAddr>,
    reason_given: Option<bool>,
    // `None` and not empty: comparing empty texts that point nowhere costs 100 ns each on some processors, where a masked
    // vector load from an unmapped page takes the slow way.
    method: Option<&'a str>,
    host: Option<&'a str>,
    path: Option<&'a str>,
    networks: &'a [Box<str>],
}

impl<'a> Question<'a> {
    fn of(facts: Facts, request: &Request<'a>) -> Self {
        let text = |fact: Facts, text: &'a str| facts.any(fact).then_some(text);
        let revision = |fact: Facts, revision: u64| if facts.any(fact) { revision } else { 0 };
        let http = &request.facts;
        let networks: &'a [Box<str>] = if facts.any(Facts::NETWORKS) {
            http.networks
        } else {
            &[]
        };
        Self {
            triple: Triple::of(request),
            device: revision(Facts::DEVICE, request.device.revision()),
            authentication: revision(Facts::AUTHENTICATION, request.authentication.revision()),
            address: facts
                .any(Facts::ADDRESS)
                .then(|| http.address.to_canonical()),
            reason_given: facts.any(Facts::REASON_GIVEN).then_some(http.reason_given),
            method: text(Facts::REQUEST_METHOD, http.method),
            host: text(Facts::REQUEST_HOST, http.host),
            path: text(Facts::REQUEST_PATH, http.path),
            networks,
        }
    }
}

/// A [`Question`] that owns its texts.
struct KeptQuestion {
    triple: Triple,
    device: u64,
    authentication: u64,
    address: Option<IpAddr>,
    reason_given: Option<bool>,
    method: Option<Box<str>>,
    host: Option<Box<str>>,
    path: Option<Box<str>>,
    networks: Option<NetworkNames>,
}

impl KeptQuestion {
    fn of(question: &Question<'_>, request: &Request<'_>) -> Self {
        Self {
            triple: question.triple,
            device: question.device,
            authentication: question.authentication,
            address: question.address,
            reason_given: question.reason_given,
            method: question.method.map(Box::from),
            host: question.host.map(Box::from),
            path: question.path.map(Box::from),
            networks: (!question.networks.is_empty()).then(|| Arc::clone(request.facts.networks)),
        }
    }

    fn borrowed(&self) -> Question<'_> {
        Question {
            triple: self.triple,
            device: self.device,
            authentication: self.authentication,
            address: self.address,
            reason_given: self.reason_given,
            method: self.method.as_deref(),
            host: self.host.as_deref(),
            path: self.path.as_deref(),
            networks: self.networks.as_deref().unwrap_or_default(),
        }
    }

    fn texts(&self) -> usize {
        let networks = self.networks.as_deref().unwrap_or_default();
        let names: usize = networks.iter().map(|name| name.len() + 16).sum();
        let texts = [&self.method, &self.host, &self.path];
        let texts = texts.into_iter().flatten().map(|text| text.len());
        texts.sum::<usize>() + names
    }
}

impl PartialEq for KeptQuestion {
    fn eq(&self, other: &Self) -> bool {
        self.borrowed() == other.borrowed()
    }
}

impl Eq for KeptQuestion {}

impl Hash for KeptQuestion {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.borrowed().hash(state);
    }
}

impl Equivalent<KeptQuestion> for Question<'_> {
    fn equivalent(&self, kept: &KeptQuestion) -> bool {
        *self == kept.borrowed()
    }
}

/// Bytes, roughly: what an entry costs beside its texts was counted, not guessed to the byte.
#[derive(Clone, Copy)]
struct Bytes;

impl Weighter<KeptQuestion, Answer> for Bytes {
    fn weight(&self, question: &KeptQuestion, _: &Answer) -> u64 {
        384 + question.texts() as u64
    }
}

impl Weighter<Triple, Facts> for Bytes {
    fn weight(&self, _: &Triple, _: &Facts) -> u64 {
        64
    }
}

impl Weighter<Triple, Arc<Prepared>> for Bytes {
    fn weight(&self, _: &Triple, prepared: &Arc<Prepared>) -> u64 {
        let parties = &prepared.parties;
        let ancestors = parties.entities.ancestors(&parties.principal);
        1536 + 64 * ancestors.map_or(0, Iterator::count) as u64
    }
}

type Bounded<Key, Val> = Cache<Key, Val, Bytes, ahash::RandomState, DefaultLifecycle<Key, Val>>;

/// Earlier answers and what they were made with, bounded by weight. Least useful entries go first.
pub(crate) struct Memo {
    /// What `prepared` also tells; alone it is copied without counting a reference, on the way that every request takes.
    facts: Bounded<Triple, Facts>,
    prepared: Bounded<Triple, Arc<Prepared>>,
    answers: Bounded<KeptQuestion, Answer>,
}

impl Memo {
    const FACTS_BYTES: u64 = 8 << 20;
    const PREPARED_BYTES: u64 = 64 << 20;
    pub(crate) const ANSWER_BYTES: u64 = 32 << 20;

    pub(crate) fn new() -> Self {
        let keyed = ahash::RandomState::new;
        Self {
            facts: Cache::with(8192, Self::FACTS_BYTES, Bytes, keyed(), Default::default()),
            prepared: Cache::with(
                4096,
                Self::PREPARED_BYTES,
                Bytes,
                keyed(),
                Default::default(),
            ),
            answers: Cache::with(8192, Self::ANSWER_BYTES, Bytes, keyed(), Default::default()),
        }
    }

    #[cfg(test)]
    pub(crate) fn weight(&self) -> u64 {
        self.answers.weight()
    }

    /// The facts that decide for the principal, action and resource of `request`, if known.
    pub(crate) fn facts(&self, request: &Request<'_>) -> Option<Facts> {
        self.facts.get(&Triple::of(request))
    }

    /// What is kept for the principal, action and resource of `request`.
    pub(crate) fn prepared(&self, request: &Request<'_>) -> Option<Arc<Prepared>> {
        self.prepared.get(&Triple::of(request))
    }

    pub(crate) fn keep_prepared(&self, request: &Request<'_>, prepared: &Arc<Prepared>) {
        let triple = Triple::of(request);
        self.facts.insert(triple, prepared.slice.facts);
        self.prepared.insert(triple, Arc::clone(prepared));
    }

    /// The earlier answer to the same question, if it still is one.
    pub(crate) fn answer(&self, facts: Facts, request: &Request<'_>, now: Now) -> Option<Answer> {
        let answer = self.answers.get(&Question::of(facts, request))?;
        answer.holds(now).then_some(answer)
    }

    pub(crate) fn keep_answer(&self, facts: Facts, request: &Request<'_>, answer: Answer) {
        let question = Question::of(facts, request);
        let kept = KeptQuestion::of(&question, request);
        self.answers.insert(kept, answer);
    }
}
