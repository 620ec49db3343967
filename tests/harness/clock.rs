//! Time, moved by hand.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use masugata::capability::Clock;
use masugata_policy::Timestamp;

/// Starts at the real time, so that certificates made by other programs are valid too, and then moves only when told.
#[derive(Debug)]
pub struct TestClock {
    start: Instant,
    now_millis: AtomicI64,
    passed_millis: AtomicU64,
}

impl Default for TestClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one reading from which test time starts"
    )]
    fn default() -> Self {
        let since_epoch = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap();
        Self {
            start: Instant::now(),
            now_millis: AtomicI64::new(i64::try_from(since_epoch.as_millis()).unwrap()),
            passed_millis: AtomicU64::new(0),
        }
    }
}

impl TestClock {
    /// Moves both clocks on.
    pub fn advance(&self, by: Duration) {
        let millis = u64::try_from(by.as_millis()).unwrap();
        self.now_millis
            .fetch_add(i64::try_from(millis).unwrap(), Ordering::SeqCst);
        self.passed_millis.fetch_add(millis, Ordering::SeqCst);
    }

    /// Sets the wall clock back; the monotonic clock never goes back.
    pub fn set_back(&self, by: Duration) {
        self.now_millis
            .fetch_sub(i64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
    }

    /// Seconds since the epoch.
    pub fn seconds(&self) -> i64 {
        self.now().as_seconds()
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.now_millis.load(Ordering::SeqCst))
    }
    fn monotonic(&self) -> Instant {
        self.start + Duration::from_millis(self.passed_millis.load(Ordering::SeqCst))
    }
}

pub const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}
pub const fn minutes(count: u64) -> Duration {
    Duration::from_secs(count * 60)
}
pub const fn hours(count: u64) -> Duration {
    Duration::from_secs(count * 3600)
}
pub const fn days(count: u64) -> Duration {
    Duration::from_secs(count * 86400)
}
