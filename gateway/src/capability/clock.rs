//! Time as an argument.

use std::time::Instant;

use masugata_policy::Timestamp;

/// Where the time comes from. Tokens, certificates, posture and policies are judged by `now`; durations are measured
/// with `monotonic`.
pub trait Clock: Send + Sync + 'static {
    /// Wall-clock time; not required to be monotonic.
    fn now(&self) -> Timestamp;
    /// Never goes back.
    fn monotonic(&self) -> Instant;
}

/// The operating system's clocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place where the wall clock is read"
    )]
    fn now(&self) -> Timestamp {
        let since_epoch = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
        Timestamp::from_millis(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the one place where the monotonic clock is read"
    )]
    fn monotonic(&self) -> Instant {
        Instant::now()
    }
}
