//! Why a decision came out as it did: every policy that was considered, and what became of it.

use std::sync::Arc;

use cedar_policy::{AuthorizationError, PolicySet as Engine};

use crate::decide::authorizer;
use crate::deny::Deny;
use crate::facts::leaves;
use crate::permit::Permit;
use crate::request::Request;
use crate::reuse::Prepared;
use crate::set::{Compiled, PolicySet};
use crate::time::Now;

/// What a policy does when it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// `permit`
    Permit,
    /// `forbid`
    Forbid,
}

/// What became of a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Its conditions hold.
    Matched,
    /// Its scope admits the request, its conditions do not hold.
    NotMatched,
    /// It could not be evaluated, and why. A permit is then skipped, a forbid forbids.
    Failed(String),
}

/// One policy whose scope admits the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Considered {
    /// Its `@id`.
    pub policy: Box<str>,
    /// The file it is in, as named when the set was loaded.
    pub file: Box<str>,
    /// The line it begins on, counted from 1.
    pub line: usize,
    /// Permit or forbid.
    pub effect: Effect,
    /// What became of it.
    pub outcome: Outcome,
}

/// A decision with its reasons.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// What [`PolicySet::decide`] answers.
    pub decision: Result<Permit, Deny>,
    /// In the order of the files. Policies that concern other principals, actions or apps are not among them.
    pub considered: Vec<Considered>,
    /// Paths of the facts that these policies can read, e.g. `context.device.posture.disk_encrypted`; nothing else
    /// about the request could have changed the answer.
    pub facts: Vec<String>,
}

impl PolicySet {
    /// The decision, fresh, with the policies considered. For people; costs one evaluation per policy.
    pub fn explain(&self, request: &Request<'_>, now: Now) -> Explanation {
        let decision = self.decide_fresh(request, now);
        let Ok(prepared) = self.prepare(request) else {
            return Explanation {
                decision,
                considered: Vec::new(),
                facts: Vec::new(),
            };
        };
        let members = prepared.slice.members.iter();
        let policies = members.filter_map(|position| self.policies.get(*position as usize));
        let considered = policies
            .map(|policy| Considered {
                policy: policy.id.clone(),
                file: Arc::clone(&policy.file).as_ref().into(),
                line: policy.line,
                effect: if policy.forbids {
                    Effect::Forbid
                } else {
                    Effect::Permit
                },
                outcome: outcome(policy, &prepared, request, now),
            })
            .collect();
        let facts = leaves()
            .filter(|(_, fact)| prepared.slice.facts.any(*fact))
            .map(|(path, _)| format!("context.{path}"))
            .collect();
        Explanation {
            decision,
            considered,
            facts,
        }
    }
}

/// The policy evaluated alone, since the engine does not name the permits that a forbid overrides.
fn outcome(policy: &Compiled, prepared: &Prepared, request: &Request<'_>, now: Now) -> Outcome {
    let alone = match Engine::from_policies([policy.policy.clone()]) {
        Ok(alone) => alone,
        Err(error) => return Outcome::Failed(error.to_string()),
    };
    let asked = match prepared.parties.ask(policy.facts, request, now) {
        Ok(asked) => asked,
        Err(error) => return Outcome::Failed(error.to_string()),
    };
    let response = authorizer().is_authorized(&asked, &alone, &prepared.parties.entities);
    let diagnostics = response.diagnostics();
    let mut errors = diagnostics.errors();
    if let Some(AuthorizationError::PolicyEvaluationError(error)) = errors.next() {
        return Outcome::Failed(error.inner().to_string());
    }
    if diagnostics.reason().next().is_some() {
        Outcome::Matched
    } else {
        Outcome::NotMatched
    }
}
