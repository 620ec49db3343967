//! A policy set: parsed, validated, indexed once at load; asked for every request.

use crate::{Deny, LoadError, Now, Permit, PolicyVersion, Request};

/// One file of policies.
#[derive(Clone, Copy, Debug)]
pub struct PolicySource<'a> {
    /// The name used in problems, e.g. a path relative to the configuration.
    pub name: &'a str,
    /// Cedar text.
    pub text: &'a str,
}

/// See the module's first line.
#[derive(Debug)]
pub struct PolicySet {}

impl PolicySet {
    /// Parses, validates (strictly) and indexes.
    ///
    /// # Errors
    /// All problems of all sources at once. An empty set is an error: it would deny everything, which nobody means.
    pub fn load(sources: &[PolicySource<'_>]) -> Result<Self, LoadError> {
        let _ = sources;
        unimplemented!()
    }

    /// Decides, reusing an earlier answer exactly as long as nothing it depended on has changed.
    ///
    /// # Errors
    /// [`Deny`], with its cause; nothing else is possible.
    pub fn decide(&self, request: &Request<'_>, now: Now) -> Result<Permit, Deny> {
        let _ = (request, now);
        unimplemented!()
    }

    /// Identity of the set, by content.
    pub fn version(&self) -> &PolicyVersion {
        unimplemented!()
    }

    /// How many policies it holds.
    pub fn len(&self) -> usize {
        0
    }

    /// Never true for a loaded set.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
