//! A denial by policy: why, by which policies, and what a person is told to do.

use std::sync::Arc;

use crate::permit::PolicyVersion;

/// Why a request is not permitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DenyCause {
    /// No permit policy matched.
    NoPermit,
    /// A forbid policy matched.
    Forbidden,
    /// A forbid policy could not be evaluated, which counts as forbidding.
    EvaluationFailed,
}

/// What the person could do to turn this denial into a permit. From `@challenge("…")` annotations; given
/// only when **every** determining forbid carries one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Challenge {
    /// `@challenge("mfa")`: more than one factor.
    MultiFactor,
    /// `@challenge("phishing_resistant")`: a passkey or an equivalent.
    PhishingResistant,
    /// `@challenge("fresh")`: a more recent proof.
    Fresh,
    /// `@challenge("reason")`: say what the destination is needed for.
    Reason,
}

/// Texts from a policy's annotations, for the person who was refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Guidance {
    /// `@reason_en`, `@reason_ja`: what is missing, in one sentence.
    pub reason_en: Option<Box<str>>,
    /// See `reason_en`.
    pub reason_ja: Option<Box<str>>,
    /// `@remedy_en`, `@remedy_ja`: what to do about it.
    pub remedy_en: Option<Box<str>>,
    /// See `remedy_en`.
    pub remedy_ja: Option<Box<str>>,
}

/// A denial. Cheap to clone: the lists are shared with the decision it came from.
#[derive(Clone, Debug)]
pub struct Deny {
    /// Why.
    pub cause: DenyCause,
    /// Ids of the policies behind it; empty for [`DenyCause::NoPermit`].
    pub policies: Arc<[Box<str>]>,
    /// What stronger authentication, or a reason, would change it.
    pub challenge: Option<Challenge>,
    /// What to tell the person: the first determining policy (by id) that has texts.
    pub guidance: Arc<Guidance>,
    /// The policy set that said so.
    pub version: PolicyVersion,
}
