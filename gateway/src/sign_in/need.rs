//! What a sign-in has to bring for an app: what the app requires, what a policy asked for, and what is still left of the
//! session that is there.

use std::time::Duration;

use masugata_policy::{Challenge, Timestamp};

use super::target::AppTarget;
use crate::config::Requirements;
use crate::denial::{Denial, DenialReason};
use crate::issuer::assurance;
use crate::relying_party::{SignedIn, Wanted};
use crate::respond::Language;
use crate::session::{Asked, Over, Session};
use crate::state::State;

/// How long after a sign-in one that asked for the same is not asked for again: it did not help.
pub(crate) const JUST_NOW: Duration = Duration::from_secs(60);

/// The word in a link.
pub(crate) fn word(need: Challenge) -> Option<&'static str> {
    match need {
        Challenge::MultiFactor => Some("multi-factor"),
        Challenge::PhishingResistant => Some("phishing-resistant"),
        Challenge::Fresh => Some("fresh"),
        // Signing in again would not give it.
        Challenge::Reason => None,
    }
}

/// The need of that word.
pub(crate) fn parse(word: &str) -> Option<Challenge> {
    let needs = [
        Challenge::MultiFactor,
        Challenge::PhishingResistant,
        Challenge::Fresh,
    ];
    needs
        .into_iter()
        .find(|need| self::word(*need) == Some(word))
}

/// What has to be asked of a provider.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Need {
    pub(crate) asked: Asked,
    /// Seconds.
    pub(crate) max_age: Option<u64>,
}

impl Need {
    /// For an app, where a policy asked for `policy`, from a browser with that session.
    pub(crate) fn of(
        state: &State,
        target: Option<&AppTarget>,
        policy: Option<Challenge>,
        session: Option<&Session>,
        now: Timestamp,
    ) -> Self {
        let mut need = Self::by_policy(policy);
        let Some(target) = target else {
            return need;
        };
        let requirements = &target.app.config.requirements;
        need.asked.multi_factor |= requirements.multi_factor;
        need.asked.phishing_resistant |= requirements.phishing_resistant;
        if let Some(age) = requirements.max_authentication_age {
            need.ask_age(age.as_secs());
        }
        let lifetimes = state.config.sign_in.as_ref().map(|it| it.lifetimes);
        let lifetime = lifetimes.map(|it| it.of(target.app.config.level));
        // Only of a provider that says when it was: of another nothing could be verified, and nobody would come in.
        let told = |session: &&Session| session.authentication.authenticated_at.is_some();
        if let (Some(session), Some(lifetime)) = (session.filter(told), lifetime) {
            match session.check(lifetime, now) {
                Err(Over::Idle) => need.ask_age(0),
                Err(Over::Absolute) => need.ask_age(lifetime.absolute.as_secs()),
                Err(Over::Ended) | Ok(()) => {}
            }
        }
        need
    }

    fn by_policy(policy: Option<Challenge>) -> Self {
        let mut need = Self::default();
        match policy {
            Some(Challenge::MultiFactor) => need.asked.multi_factor = true,
            Some(Challenge::PhishingResistant) => need.asked.phishing_resistant = true,
            Some(Challenge::Fresh) => need.ask_age(0),
            Some(Challenge::Reason) | None => {}
        }
        need
    }

    /// The smaller age counts.
    pub(crate) fn ask_age(&mut self, seconds: u64) {
        self.asked.fresh = true;
        self.max_age = Some(self.max_age.map_or(seconds, |known| known.min(seconds)));
    }

    /// In the words of the provider's client.
    pub(crate) fn wanted(
        self,
        target: Option<&AppTarget>,
        login_hint: Option<String>,
        language: Language,
    ) -> Wanted {
        let stronger = self.asked.multi_factor || self.asked.phishing_resistant;
        let acr_values = target.filter(|_| stronger);
        let acr_values = acr_values.map(|it| it.app.config.requirements.acr_values.clone());
        Wanted {
            acr_values: acr_values.unwrap_or_default(),
            max_age: self.max_age,
            phishing_resistant: self.asked.phishing_resistant,
            multi_factor: self.asked.multi_factor,
            login_hint,
            language,
        }
    }
}

/// Whether a session that is there serves for `target` without asking anybody.
pub(crate) fn suffices(
    state: &State,
    session: &Session,
    target: Option<&AppTarget>,
    policy: Option<Challenge>,
    now: Timestamp,
) -> bool {
    let Some(lifetimes) = state.config.sign_in.as_ref().map(|it| it.lifetimes) else {
        return false;
    };
    let Some(target) = target else {
        return session.check(lifetimes.longest(), now).is_ok();
    };
    let proof = &session.authentication;
    let by_policy = match policy {
        Some(Challenge::MultiFactor) => proof.multi_factor,
        Some(Challenge::PhishingResistant) => proof.phishing_resistant,
        // A policy's idea of fresh is its own: only what was proved for the asking is surely fresh.
        Some(Challenge::Fresh) => session.asked.fresh && now.since(session.signed_in_at) < JUST_NOW,
        Some(Challenge::Reason) | None => true,
    };
    let requirements = &target.app.config.requirements;
    by_policy
        && session
            .check(lifetimes.of(target.app.config.level), now)
            .is_ok()
        && assurance::meets(requirements, proof, &session.issuer, now).is_ok()
}

/// Whether what a provider vouches for is what was asked for and is enough. The relying party has verified the answer to
/// its own question; this asks the app's.
pub(crate) fn is_met(
    signed_in: &SignedIn,
    need: Need,
    requirements: Option<&Requirements>,
    issuer: &str,
    now: Timestamp,
) -> bool {
    let proof = &signed_in.authentication;
    let asked = (!need.asked.multi_factor || proof.multi_factor)
        && (!need.asked.phishing_resistant || proof.phishing_resistant);
    asked
        && requirements.is_none_or(|requirements| {
            match assurance::meets(requirements, proof, issuer, now) {
                // The session will be bound to the certificate, whatever the provider's token is.
                Ok(()) | Err(assurance::AssuranceShortfall::NotBound) => true,
                Err(_) => false,
            }
        })
}

/// Whether signing in once more may turn this refusal of a request with a session, or with nothing at all, into a permit.
/// Not right after a sign-in that asked for just that: nobody is to be sent around in circles.
pub(crate) fn helps(
    state: &State,
    target: &AppTarget,
    denial: &Denial,
    session: Option<&Session>,
    now: Timestamp,
) -> bool {
    let just_now = session.filter(|session| now.since(session.signed_in_at) < JUST_NOW);
    if matches!(
        denial.reason,
        DenialReason::CredentialMissing
            | DenialReason::CredentialExpired
            | DenialReason::CredentialNotBound
    ) {
        return true;
    }
    // Of an issuer that the app does not take.
    if denial.reason == DenialReason::CredentialInvalid {
        return session.is_some() && just_now.is_none();
    }
    if denial.reason != DenialReason::AssuranceInsufficient || denial.challenge.is_none() {
        return false;
    }
    let need = Need::of(state, Some(target), denial.need, session, now);
    just_now.is_none_or(|session| !session.asked.covers(need.asked))
}
