//! Time limits of one exchange: idle, total, lease. One timer, moved on once a second at most, and not looked at while
//! answers come at once.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

use super::Lease;
use crate::config::Timeouts;
use crate::upstream::ForwardError;

/// How often a lease is asked, and the coarsest step of every other limit.
pub(super) const STEP: Duration = Duration::from_secs(1);

pub(super) struct Watch {
    /// Borrowed from the connection where it has one; made at the first look where not.
    timer: Option<Pin<Box<Sleep>>>,
    step: Duration,
    last: Instant,
    /// Time without a sign of life.
    quiet: Duration,
    /// Time since the exchange began, as of `last`.
    lived: Duration,
    idle_limit: Duration,
    total_limit: Option<Duration>,
}

impl Watch {
    pub(super) fn new(timeouts: &Timeouts) -> Self {
        let step = STEP
            .min(timeouts.idle)
            .min(timeouts.response_header)
            .min(timeouts.total.unwrap_or(STEP))
            .max(Duration::from_millis(1));
        Self {
            timer: None,
            step,
            last: Instant::now(),
            quiet: Duration::ZERO,
            lived: Duration::ZERO,
            idle_limit: timeouts.idle,
            total_limit: timeouts.total,
        }
    }

    /// Takes over a timer that is registered already.
    pub(super) fn adopt(&mut self, timer: Option<Pin<Box<Sleep>>>) {
        if let Some(mut timer) = timer {
            timer.as_mut().reset(self.last + self.step);
            self.timer = Some(timer);
        }
    }

    pub(super) fn surrender(&mut self) -> Option<Pin<Box<Sleep>>> {
        self.timer.take()
    }

    /// Starts the step anew: what passed since the last one counts as life, not as silence.
    pub(super) fn skip(&mut self) {
        let now = Instant::now();
        self.lived = self
            .lived
            .saturating_add(now.saturating_duration_since(self.last));
        self.last = now;
        if let Some(timer) = &mut self.timer {
            timer.as_mut().reset(now + self.step);
        }
    }

    /// Ready when a step has passed, with its real length.
    pub(super) fn poll_step(&mut self, cx: &mut Context<'_>) -> Poll<Duration> {
        let due = self.last + self.step;
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
        if timer.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        let now = Instant::now();
        let passed = now.saturating_duration_since(self.last);
        self.last = now;
        self.lived = self.lived.saturating_add(passed);
        timer.as_mut().reset(now + self.step);
        Poll::Ready(passed)
    }

    /// Judges a step. `moved`: there was a sign of life in it.
    pub(super) fn judge(
        &mut self,
        passed: Duration,
        moved: bool,
        lease: &dyn Lease,
    ) -> Result<(), ForwardError> {
        lease.is_carried();
        lease.check().map_err(ForwardError::Cut)?;
        if self.total_limit.is_some_and(|limit| self.lived >= limit) {
            return Err(ForwardError::TotalTimedOut);
        }
        if moved {
            self.quiet = Duration::ZERO;
        } else {
            self.quiet = self.quiet.saturating_add(passed);
            if self.quiet >= self.idle_limit {
                return Err(ForwardError::IdleTimedOut);
            }
        }
        Ok(())
    }
}
