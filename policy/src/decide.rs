//! The decision: evaluate a slice, read the engine's answer so that every doubt denies, and turn it into a [`Permit`] or
//! a [`Deny`].

use std::sync::atomic::Ordering;
use std::sync::{Arc, LazyLock};

use cedar_policy::{AuthorizationError, Authorizer, Decision, PolicyId, Response};

use crate::deny::{Challenge, Deny, DenyCause, Guidance};
use crate::entities::{Parties, Unaskable};
use crate::permit::{Grant, Permit};
use crate::request::{Request, Resource};
use crate::reuse::{Answer, Prepared};
use crate::set::{Compiled, PolicySet};
use crate::slice::Slice;
use crate::time::Now;
use crate::window::Window;

/// What the policies say, apart from who asked and for how long it stands.
#[derive(Clone, Debug)]
pub(crate) enum Verdict {
    Permit(Arc<Grant>),
    Deny(Deny),
}

pub(crate) fn authorizer() -> &'static Authorizer {
    static AUTHORIZER: LazyLock<Authorizer> = LazyLock::new(Authorizer::new);
    &AUTHORIZER
}

impl PolicySet {
    /// Decides, reusing an earlier answer exactly as long as nothing it depended on has changed.
    ///
    /// # Errors
    /// [`Deny`], with its cause; nothing else is possible.
    pub fn decide(&self, request: &Request<'_>, now: Now) -> Result<Permit, Deny> {
        say(self.answered(request, now)?, request, now)
    }

    fn answered(&self, request: &Request<'_>, now: Now) -> Result<Answer, Deny> {
        if let Some(facts) = self.memo.facts(request)
            && let Some(answer) = self.memo.answer(facts, request, now)
        {
            self.reused.fetch_add(1, Ordering::Relaxed);
            return Ok(answer);
        }
        self.fresh.fetch_add(1, Ordering::Relaxed);
        let prepared = match self.memo.prepared(request) {
            Some(prepared) => prepared,
            None => self.prepare_and_keep(request)?,
        };
        let answer = self.answer(&prepared, request, now);
        let facts = prepared.slice.facts;
        self.memo.keep_answer(facts, request, answer.clone());
        Ok(answer)
    }

    /// As [`PolicySet::decide`], but lets through what no policy permits, as a permit that says so. What a policy
    /// forbids, and whatever is in doubt, is denied all the same.
    ///
    /// # Errors
    /// [`Deny`], whose cause is never [`DenyCause::NoPermit`].
    pub fn decide_observing(&self, request: &Request<'_>, now: Now) -> Result<Permit, Deny> {
        let mut answer = self.answered(request, now)?;
        let observed =
            matches!(&answer.verdict, Verdict::Deny(deny) if deny.cause == DenyCause::NoPermit);
        if observed {
            answer.verdict = Verdict::Permit(Arc::clone(&self.nothing_granted));
        }
        let permit = say(answer, request, now)?;
        Ok(Permit { observed, ..permit })
    }

    /// How many decisions were made fresh and how many reused since this was last asked.
    pub fn take_counts(&self) -> (u64, u64) {
        (
            self.fresh.swap(0, Ordering::Relaxed),
            self.reused.swap(0, Ordering::Relaxed),
        )
    }

    /// Decides without reusing or keeping anything: what [`PolicySet::decide`] must always agree with.
    ///
    /// # Errors
    /// [`Deny`], with its cause; nothing else is possible.
    pub fn decide_fresh(&self, request: &Request<'_>, now: Now) -> Result<Permit, Deny> {
        let prepared = self.prepare(request).map_err(|_| self.undecidable())?;
        say(self.answer(&prepared, request, now), request, now)
    }

    fn prepare_and_keep(&self, request: &Request<'_>) -> Result<Arc<Prepared>, Deny> {
        let prepared = Arc::new(self.prepare(request).map_err(|_| self.undecidable())?);
        self.memo.keep_prepared(request, &prepared);
        Ok(prepared)
    }

    pub(crate) fn prepare(&self, request: &Request<'_>) -> Result<Prepared, Unaskable> {
        let (principal, action, resource) = (request.principal, request.action, request.resource);
        if let Resource::Destination(destination) = resource
            && !self.placer.made(destination)
        {
            let why = "the destination was placed by another policy set";
            return Err(Unaskable(why.to_owned()));
        }
        let policies = &self.policies;
        let members = self.index.admitting(policies, principal, action, resource);
        Ok(Prepared {
            slice: self.slices.of(policies, members)?,
            parties: Parties::new(principal, action, resource, Some(&self.named))?,
        })
    }

    fn answer(&self, prepared: &Prepared, request: &Request<'_>, now: Now) -> Answer {
        let Slice {
            policies, facts, ..
        } = &*prepared.slice;
        let verdict = match prepared.parties.ask(*facts, request, now) {
            Ok(asked) => {
                let entities = &prepared.parties.entities;
                self.verdict(&authorizer().is_authorized(&asked, policies, entities))
            }
            Err(_) => Verdict::Deny(self.undecidable()),
        };
        let window = Window::around(now, *facts, request.device, request.authentication);
        Answer::new(verdict, window, *facts, now)
    }

    /// The engine skips a policy that cannot be evaluated. For a permit that only narrows; a forbid that is skipped would
    /// let in whom it was written against, so it counts as forbidding.
    pub(crate) fn verdict(&self, response: &Response) -> Verdict {
        let failed: Vec<&PolicyId> = response
            .diagnostics()
            .errors()
            .map(|AuthorizationError::PolicyEvaluationError(error)| error.policy_id())
            .filter(|id| self.of(id).is_none_or(|policy| policy.forbids))
            .collect();
        let reasons = || response.diagnostics().reason();
        match response.decision() {
            Decision::Allow if failed.is_empty() => {
                let policies = ids(reasons());
                if policies.is_empty() {
                    return Verdict::Deny(self.deny(DenyCause::NoPermit, &[]));
                }
                let version = self.version.clone();
                Verdict::Permit(Arc::new(Grant { policies, version }))
            }
            Decision::Allow => Verdict::Deny(self.deny(DenyCause::EvaluationFailed, &failed)),
            Decision::Deny => {
                let matched: Vec<&PolicyId> = reasons().collect();
                let cause = match (failed.is_empty(), matched.is_empty()) {
                    (false, _) => DenyCause::EvaluationFailed,
                    (true, false) => DenyCause::Forbidden,
                    (true, true) => DenyCause::NoPermit,
                };
                Verdict::Deny(self.deny(cause, &[failed, matched].concat()))
            }
        }
    }

    fn deny(&self, cause: DenyCause, behind: &[&PolicyId]) -> Deny {
        let policies = ids(behind.iter().copied());
        let known: Vec<&Compiled> = policies.iter().filter_map(|id| self.policy(id)).collect();
        let guidance = known.iter().find_map(|policy| policy.guidance.as_ref());
        Deny {
            challenge: match cause {
                DenyCause::Forbidden => common_challenge(&known),
                DenyCause::NoPermit | DenyCause::EvaluationFailed => None,
            },
            cause,
            policies,
            guidance: Arc::clone(guidance.unwrap_or(&self.no_guidance)),
            version: self.version.clone(),
        }
    }

    /// The engine did not take the question: no policy is to blame and nobody gets in.
    fn undecidable(&self) -> Deny {
        self.deny(DenyCause::EvaluationFailed, &[])
    }

    fn of(&self, id: &PolicyId) -> Option<&Compiled> {
        self.policy(id.as_ref())
    }
}

fn say(answer: Answer, request: &Request<'_>, now: Now) -> Result<Permit, Deny> {
    let holds_until = answer.holds_until(now);
    match answer.verdict {
        Verdict::Permit(grant) => Ok(Permit {
            principal: Arc::clone(request.principal),
            device: Arc::clone(request.device),
            authentication: Arc::clone(request.authentication),
            action: request.action,
            resource: request.resource.held(),
            observed: false,
            grant,
            holds_until,
        }),
        Verdict::Deny(deny) => Err(deny),
    }
}

fn ids<'a>(ids: impl Iterator<Item = &'a PolicyId>) -> Arc<[Box<str>]> {
    let mut ids: Vec<Box<str>> = ids.map(|id| AsRef::<str>::as_ref(id).into()).collect();
    ids.sort_unstable();
    ids.dedup();
    ids.into()
}

/// The strongest challenge, if meeting challenges is all that is missing. A reason is asked for last: it would be given in
/// vain by somebody who then fails to prove who they are.
fn common_challenge(forbids: &[&Compiled]) -> Option<Challenge> {
    let strength = |challenge: &Challenge| match challenge {
        Challenge::Reason => 0,
        Challenge::Fresh => 1,
        Challenge::MultiFactor => 2,
        Challenge::PhishingResistant => 3,
    };
    let challenges: Option<Vec<Challenge>> =
        forbids.iter().map(|policy| policy.challenge).collect();
    challenges?.into_iter().max_by_key(strength)
}

/// What is said when no policy has texts.
pub(crate) fn no_guidance() -> Arc<Guidance> {
    Arc::new(Guidance::default())
}
