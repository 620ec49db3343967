//! A policy set: parsed, validated, indexed once at load; asked for every request.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use ahash::AHashMap;
use sha2::{Digest, Sha256};

use crate::decide::no_guidance;
use crate::deny::{Challenge, Guidance};
use crate::destination::Placer;
use crate::entities::Named;
use crate::error::{LoadError, Problem};
use crate::facts::{Attributes, Facts};
use crate::lint::{Known, Mention};
use crate::load;
use crate::permit::{Grant, PolicyVersion};
use crate::reuse::Memo;
use crate::slice::{Index, Scope, Slices};

/// One file of policies.
#[derive(Clone, Copy, Debug)]
pub struct PolicySource<'a> {
    /// The name used in problems, e.g. a path relative to the configuration.
    pub name: &'a str,
    /// Cedar text.
    pub text: &'a str,
}

/// One policy with everything about it that can be known before a request comes.
pub(crate) struct Compiled {
    pub(crate) id: Box<str>,
    pub(crate) file: Arc<str>,
    pub(crate) line: usize,
    pub(crate) forbids: bool,
    pub(crate) policy: cedar_policy::Policy,
    pub(crate) scope: Scope,
    pub(crate) facts: Facts,
    /// What it reads of `resource`.
    pub(crate) attributes: Attributes,
    pub(crate) challenge: Option<Challenge>,
    /// `None` when it has no texts.
    pub(crate) guidance: Option<Arc<Guidance>>,
    pub(crate) mentions: Vec<Mention>,
}

/// See the module's first line.
pub struct PolicySet {
    pub(crate) policies: Vec<Compiled>,
    by_id: AHashMap<Box<str>, usize>,
    pub(crate) index: Index,
    pub(crate) named: Named,
    pub(crate) placer: Placer,
    pub(crate) slices: Slices,
    pub(crate) memo: Memo,
    /// Decisions since they were last counted.
    pub(crate) fresh: AtomicU64,
    pub(crate) reused: AtomicU64,
    pub(crate) version: PolicyVersion,
    /// The grant of permits that are merely observed.
    pub(crate) nothing_granted: Arc<Grant>,
    pub(crate) no_guidance: Arc<Guidance>,
    warnings: Vec<Problem>,
}

impl PolicySet {
    /// Parses, validates (strictly) and indexes.
    ///
    /// # Errors
    /// All problems of all sources at once. An empty set is an error: it would deny everything, which nobody means.
    pub fn load(sources: &[PolicySource<'_>]) -> Result<Self, LoadError> {
        let loaded = load::load(sources)?;
        let policies = loaded.policies;
        let by_id = (0..)
            .zip(&policies)
            .map(|(position, policy)| (policy.id.clone(), position))
            .collect();
        let version = version(sources);
        let attributes = policies.iter().map(|policy| policy.attributes);
        let attributes = attributes.fold(Attributes::NONE, Attributes::and);
        Ok(Self {
            by_id,
            index: Index::of(&policies),
            named: Named::by(policies.iter().map(|policy| &policy.policy)),
            placer: Placer::new(policies.iter().map(|policy| &policy.policy), attributes),
            slices: Slices::new(),
            memo: Memo::new(),
            fresh: AtomicU64::new(0),
            reused: AtomicU64::new(0),
            nothing_granted: Arc::new(Grant {
                policies: Arc::default(),
                version: version.clone(),
            }),
            version,
            no_guidance: no_guidance(),
            warnings: loaded.warnings,
            policies,
        })
    }

    /// Identity of the set, by content: neither the names nor the order of the files matter.
    pub fn version(&self) -> &PolicyVersion {
        &self.version
    }

    /// How many policies it holds.
    pub fn len(&self) -> usize {
        self.policies.len()
    }

    /// Never true for a loaded set.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What is allowed and yet worth a look: letters of different scripts in one word, a set that permits nothing.
    pub fn warnings(&self) -> &[Problem] {
        &self.warnings
    }

    /// Permits that name no resource, and so would let people go wherever they like on the Internet once there is a second
    /// door. In order of file and position; empty without such a permit.
    pub fn opens_everything(&self) -> Vec<Problem> {
        let policies = self.policies.iter();
        let opening = policies.filter(|policy| !policy.forbids && policy.scope.opens_everything());
        let mut problems: Vec<Problem> = opening
            .map(|policy| Problem {
                file: policy.file.as_ref().into(),
                line: Some(policy.line),
                column: None,
                message: format!(
                    "the permit `{}` names no resource, and so opens the whole Internet",
                    policy.id
                ),
                help: Some(
                    "write `resource is Masugata::App`, or `resource is Masugata::Destination` if the Internet is meant"
                        .to_owned(),
                ),
            })
            .collect();
        problems.sort_by(Problem::by_position);
        problems
    }

    /// Names in policies that nothing configured has, so that the policy never matches what its author meant: apps, app
    /// groups, named networks, services, device groups, categories, cloud services, and people of unknown issuers. In
    /// order of file and position.
    pub fn unknown_names(&self, known: &Known<'_>) -> Vec<Problem> {
        let policies = self.policies.iter();
        let mut problems: Vec<Problem> = policies
            .flat_map(|policy| {
                let mentions = policy.mentions.iter();
                mentions.filter_map(|mention| mention.unknown(known, &policy.file))
            })
            .collect();
        problems.sort_by(Problem::by_position);
        problems.dedup();
        problems
    }

    pub(crate) fn policy(&self, id: &str) -> Option<&Compiled> {
        self.policies.get(*self.by_id.get(id)?)
    }
}

impl fmt::Debug for PolicySet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("PolicySet")
            .field("version", &self.version.as_str())
            .field("policies", &self.len())
            .finish_non_exhaustive()
    }
}

fn version(sources: &[PolicySource<'_>]) -> PolicyVersion {
    let mut texts: Vec<&str> = sources.iter().map(|source| source.text).collect();
    texts.sort_unstable();
    let mut digest = Sha256::new();
    for text in texts {
        // The length keeps two files apart from one with both texts.
        digest.update((text.len() as u64).to_be_bytes());
        digest.update(text);
    }
    let hex: String = digest
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    PolicyVersion(format!("sha256:{hex}").into())
}
