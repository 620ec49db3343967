//! Instants as plain numbers, so that this crate never reads a clock and tests choose the time.

use std::time::Duration;

/// Milliseconds since 1970-01-01T00:00:00Z. Not required to be monotonic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The far future: what "never expires" is compared as.
    pub const MAX: Self = Self(i64::MAX);

    /// From milliseconds since the epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// From seconds since the epoch; saturates instead of overflowing (token claims are an attacker's numbers).
    pub const fn from_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1000))
    }

    /// Milliseconds since the epoch.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since the epoch, rounded down.
    pub const fn as_seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// How long ago `earlier` was; zero when it lies in the future.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// This instant moved by `duration`, saturating at [`Timestamp::MAX`].
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(
            self.0
                .saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)),
        )
    }

    /// This instant moved back by `duration`, saturating.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        Self(
            self.0
                .saturating_sub(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)),
        )
    }
}

/// The instant of a decision, with what civil time needs: the zone's offset and how long that offset holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// The instant itself.
    pub at: Timestamp,
    /// Seconds east of UTC of the company's time zone at `at`.
    pub utc_offset_seconds: i32,
    /// The zone's next transition: the first instant at which `utc_offset_seconds` may be another.
    pub offset_holds_until: Timestamp,
}

impl Now {
    /// An instant in UTC, which has no transitions.
    pub const fn utc(at: Timestamp) -> Self {
        Self {
            at,
            utc_offset_seconds: 0,
            offset_holds_until: Timestamp::MAX,
        }
    }
}
