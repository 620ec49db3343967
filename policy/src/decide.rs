//! The decision: evaluate a slice, read the engine's answer so that every doubt denies, and turn it into a [`Permit`] or
//! a [`Deny`].

use std::sync::atomic::Ordering;
use std::sync::{Arc, LazyLock};

use cedar_policy::{AuthorizationError, Authorizer, Decision, PolicyId, Response};

use crate::deny::{Challenge, Deny, DenyCause, Guidance};
use crate::entities::{Parties, Unaskable};
use crate::permit::{Grant, Permit};
use crate::request::Request;
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
        if let Some(facts) = self.memo.facts(request)
            && let Some(answer) = self.memo.answer(facts, request, now)
        {
            self.reused.fetch_add(1, Ordering::Relaxed);
            return say(answer, request, now);
        }
        self.fresh.fetch_add(1, Ordering::Relaxed);
        let prepared = match self.memo.prepared(request) {
            Some(prepared) => prepared,
            None => self.prepare_and_keep(request)?,
        };
        let answer = self.answer(&prepared, request, now);
        let facts = prepared.slice.facts;
        self.memo.keep_answer(facts, request, answer.clone());
        say(answer, request, now)
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
        let (principal, action, app) = (request.principal, request.action, request.app);
        let members = self.index.admitting(&self.policies, principal, action, app);
        Ok(Prepared {
            slice: self.slices.of(&self.policies, members)?,
            parties: Parties::new(principal, action, app, Some(&self.named))?,
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
            app: Arc::clone(request.app),
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

/// The strongest challenge, if meeting challenges is all that is missing.
fn common_challenge(forbids: &[&Compiled]) -> Option<Challenge> {
    let strength = |challenge: &Challenge| match challenge {
        Challenge::Fresh => 0,
        Challenge::MultiFactor => 1,
        Challenge::PhishingResistant => 2,
    };
    let challenges: Option<Vec<Challenge>> =
        forbids.iter().map(|policy| policy.challenge).collect();
    challenges?.into_iter().max_by_key(strength)
}

/// What is said when no policy has texts.
pub(crate) fn no_guidance() -> Arc<Guidance> {
    Arc::new(Guidance::default())
}
