//! The record of one exchange: its decision, then its completion, each exactly once on every path.
//!
//! A [`Trail`] is opened when a request arrives and is closed by whatever happens first: a permit, a denial, or its being
//! dropped, which is what the client's leaving looks like from here. A panic drops it, too, and is told apart.

use std::fmt;
use std::mem;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use http::{Method, StatusCode, Uri};
use masugata_policy::{Action, App, Authentication, Device, PolicyVersion, Principal};

use super::event::{Completion, Decision, DestinationRecord, Outcome, Verdict};
use super::sink::{Auditor, Kept, Unavailable};
use crate::connection::Connection;
use crate::denial::{Denial, DenialReason};
use crate::exchange::RequestId;
use crate::metrics::AppMetrics;
use crate::session::Session;

/// What is known of a request before anything is decided.
#[derive(Debug)]
pub struct Opening {
    pub request: RequestId,
    /// Of the state that decides.
    pub generation: u64,
    pub connection: Arc<Connection>,
    pub method: Method,
    pub uri: Uri,
    /// Monotonic; the completion's duration counts from here.
    pub started: Instant,
}

/// What the stages found out so far; fill it in as they return, so that a later denial can say it.
#[derive(Debug, Default)]
pub struct Facts {
    /// Host without port, lower case.
    pub host: Option<Box<str>>,
    pub app: Option<Arc<App>>,
    /// At the egress: where to.
    pub destination: Option<Box<DestinationRecord>>,
    pub action: Option<Action>,
    pub principal: Option<Arc<Principal>>,
    pub authentication: Option<Arc<Authentication>>,
    pub device: Option<Arc<Device>>,
    /// Names of limits in observe mode that would have refused.
    pub observed_limits: Vec<Arc<str>>,
    /// The session that the request came with, also one that does not count; for the answer, not for the record.
    pub(crate) session: Option<Arc<Session>>,
}

/// The first half of an exchange's record. See the module's first lines.
pub struct Trail {
    /// Goes into the decision, whatever it is.
    pub facts: Facts,
    /// Where the exchange is counted: under its app as soon as that is known.
    pub metrics: Option<Arc<AppMetrics>>,
    auditor: Auditor,
    connection: Arc<Connection>,
    request: RequestId,
    generation: u64,
    method: Method,
    uri: Uri,
    started: Instant,
    stage: Stage,
}

/// How far the record has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Undecided,
    Decided(Kept),
    /// Somebody else holds the completion.
    HandedOver,
}

impl Trail {
    /// Opens the record of one exchange.
    pub fn open(auditor: &Auditor, opening: Opening) -> Self {
        Self {
            facts: Facts::default(),
            metrics: None,
            auditor: auditor.clone(),
            connection: opening.connection,
            request: opening.request,
            generation: opening.generation,
            method: opening.method,
            uri: opening.uri,
            started: opening.started,
            stage: Stage::Undecided,
        }
    }

    /// Records that the request is permitted. Only when this has returned `Ok` may anything go upstream. `version` is
    /// absent for built-in endpoints, which no policy governs.
    ///
    /// # Errors
    /// [`Unavailable`]: the request must be denied with [`DenialReason::AuditUnavailable`], through
    /// [`Trail::denied`] like every denial. Also when there is a decision already: one trail permits once.
    pub fn permitted(
        &mut self,
        policies: Arc<[Box<str>]>,
        version: Option<PolicyVersion>,
    ) -> Result<(), Unavailable> {
        if self.stage != Stage::Undecided {
            return Err(Unavailable);
        }
        let decision = self.decision(Verdict::Permitted { policies, version });
        match self.auditor.offer(Box::new(decision)) {
            Ok(kept) => {
                self.stage = Stage::Decided(kept);
                Ok(())
            }
            Err(decision) => {
                // The denial that follows has to tell the same.
                self.facts = Facts::of(*decision);
                Err(Unavailable)
            }
        }
    }

    /// Records that the request is denied; the denial stands even when there is no room to record it. After a permit this
    /// does nothing: what was let through and then cut off is told by [`CompletionTrail::end`].
    pub fn denied(&mut self, denial: &Denial) {
        self.settle(Verdict::Denied {
            reason: denial.reason,
            detail: denial.detail.clone(),
            policies: Arc::clone(&denial.policies),
            version: denial.version.clone(),
        });
    }

    /// Whether a permit or a denial is on record.
    pub fn is_decided(&self) -> bool {
        self.stage != Stage::Undecided
    }

    /// Goes on to the completion. Without a decision there is nothing to complete: that is a defect, and recorded as one.
    pub fn into_completion(mut self) -> Arc<CompletionTrail> {
        self.complete()
    }

    /// As [`Trail::into_completion`], for whoever keeps the trail where it is. What comes after it here counts for
    /// nothing.
    pub fn complete(&mut self) -> Arc<CompletionTrail> {
        if self.stage == Stage::Undecided {
            let denial = Denial::new(DenialReason::Internal);
            self.denied(&denial.with_detail("completed without a decision"));
        }
        Arc::new(self.hand_over())
    }

    fn hand_over(&mut self) -> CompletionTrail {
        let recorded = self.stage == Stage::Decided(Kept::Recorded);
        self.stage = Stage::HandedOver;
        CompletionTrail {
            auditor: self.auditor.clone(),
            request: self.request,
            generation: self.generation,
            started: self.started,
            recorded,
            metrics: self.metrics.take(),
            ended: AtomicBool::new(false),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            status: AtomicU16::new(0),
            attempts: AtomicU8::new(0),
            ech: AtomicBool::new(false),
            upstream: Mutex::new(None),
        }
    }

    fn settle(&mut self, verdict: Verdict) {
        if self.stage == Stage::Undecided {
            let decision = self.decision(verdict);
            self.stage = Stage::Decided(self.auditor.noted(decision));
        }
    }

    fn decision(&mut self, verdict: Verdict) -> Decision {
        let facts = mem::take(&mut self.facts);
        Decision {
            at: self.auditor.clock().now(),
            request: self.request,
            generation: self.generation,
            connection: Arc::clone(&self.connection),
            method: self.method.clone(),
            uri: self.uri.clone(),
            host: facts.host,
            app: facts.app,
            destination: facts.destination,
            action: facts.action,
            principal: facts.principal,
            authentication: facts.authentication,
            device: facts.device,
            verdict,
            observed_limits: facts.observed_limits,
        }
    }
}

impl Facts {
    fn of(decision: Decision) -> Self {
        Self {
            host: decision.host,
            app: decision.app,
            destination: decision.destination,
            action: decision.action,
            principal: decision.principal,
            authentication: decision.authentication,
            device: decision.device,
            observed_limits: decision.observed_limits,
            session: None,
        }
    }
}

impl Drop for Trail {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let denial = Denial::new(DenialReason::Internal);
            self.denied(&denial.with_detail("a defect ended the exchange"));
        }
        if self.stage == Stage::Undecided {
            if let Some(metrics) = &self.metrics {
                metrics.abandoned.increment();
            }
            self.settle(Verdict::Abandoned);
        }
        if self.stage != Stage::HandedOver {
            // Dropped in its turn, it tells that the client is gone, or the panic.
            drop(self.hand_over());
        }
    }
}

impl fmt::Debug for Trail {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Trail")
            .field("request", &self.request)
            .field("decided", &self.is_decided())
            .finish_non_exhaustive()
    }
}

/// The second half of an exchange's record. Shared by whatever carries its bytes; the first `end` counts, and if nobody
/// says how it ended before the last holder is gone, the client left.
#[derive(Debug)]
pub struct CompletionTrail {
    auditor: Auditor,
    request: RequestId,
    generation: u64,
    started: Instant,
    /// The decision is on record; otherwise both are only counted.
    recorded: bool,
    metrics: Option<Arc<AppMetrics>>,
    ended: AtomicBool,
    received: AtomicU64,
    sent: AtomicU64,
    /// 0: none yet.
    status: AtomicU16,
    attempts: AtomicU8,
    ech: AtomicBool,
    upstream: Mutex<Option<Arc<str>>>,
}

impl CompletionTrail {
    /// Body bytes from the client.
    pub fn received(&self, bytes: u64) {
        self.received.fetch_add(bytes, Ordering::Relaxed);
    }
    /// Body bytes to the client.
    pub fn sent(&self, bytes: u64) {
        self.sent.fetch_add(bytes, Ordering::Relaxed);
    }
    /// The status the client is told.
    pub fn answered(&self, status: StatusCode) {
        self.status.store(status.as_u16(), Ordering::Relaxed);
    }
    /// Which upstream answered, after how many attempts. The last word counts.
    pub fn upstream(&self, authority: &Arc<str>, attempts: u8) {
        self.attempts.store(attempts, Ordering::Relaxed);
        *self.authority() = Some(Arc::clone(authority));
    }
    /// The real name of where it goes is hidden (ECH), and that was let through.
    pub fn ech(&self) {
        self.ech.store(true, Ordering::Relaxed);
    }
    /// How it ended.
    pub fn end(&self, outcome: Outcome) {
        // Acquire and release: whoever ends it has seen the bytes that others counted before.
        if self.ended.swap(true, Ordering::AcqRel) {
            return;
        }
        let cut_off = matches!(outcome, Outcome::ClientGone | Outcome::Cut(_));
        let outcome = if cut_off && self.auditor.is_stopping() {
            Outcome::ShutDown
        } else {
            outcome
        };
        let clock = self.auditor.clock();
        let duration = clock.monotonic().saturating_duration_since(self.started);
        let bytes_received = self.received.load(Ordering::Relaxed);
        let bytes_sent = self.sent.load(Ordering::Relaxed);
        if let Some(metrics) = &self.metrics {
            metrics.completed(duration, bytes_received, bytes_sent);
        }
        if !self.recorded {
            return self.auditor.completion_lost();
        }
        let status = self.status.load(Ordering::Relaxed);
        self.auditor.completed(Completion {
            at: clock.now(),
            request: self.request,
            generation: self.generation,
            outcome,
            status: Some(status).filter(|status| *status != 0),
            bytes_received,
            bytes_sent,
            duration,
            upstream: self.authority().take(),
            attempts: self.attempts.load(Ordering::Relaxed),
            ech: self.ech.load(Ordering::Relaxed),
        });
    }

    fn authority(&self) -> std::sync::MutexGuard<'_, Option<Arc<str>>> {
        self.upstream.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for CompletionTrail {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.end(Outcome::Cut(DenialReason::Internal));
        }
        self.end(Outcome::ClientGone);
    }
}

#[cfg(test)]
mod tests;
