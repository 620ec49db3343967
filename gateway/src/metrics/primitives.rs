//! What the hot path touches: plain atomics, without locks, look-ups or allocation.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// Only goes up.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// By one.
    pub fn increment(&self) {
        self.add(1);
    }

    /// By `amount`.
    pub fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    /// So far.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Goes up and down.
#[derive(Debug, Default)]
pub struct Level(AtomicUsize);

impl Level {
    /// One more, for as long as the answer lives.
    #[must_use = "it counts only while the answer lives"]
    pub fn enter(self: &Arc<Self>) -> Entered {
        self.0.fetch_add(1, Ordering::Relaxed);
        Entered(Arc::clone(self))
    }

    /// To what was measured elsewhere.
    pub fn set(&self, value: usize) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Now.
    pub fn value(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// One unit of a [`Level`].
#[derive(Debug)]
pub struct Entered(Arc<Level>);

impl Drop for Entered {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Buckets of one histogram: upper bounds in microseconds, rising.
pub(super) type Bounds = &'static [u64];

/// Our own work on a request, 25 µs to 100 ms.
pub(super) const OVERHEAD: Bounds = &[
    25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 100_000,
];

/// Whole exchanges, 1 ms to 60 s.
pub(super) const EXCHANGE: Bounds = &[
    1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    5_000_000, 10_000_000, 60_000_000,
];

/// Durations by size. The library's own histogram takes a mutex for each observation.
#[derive(Debug)]
pub struct Histogram {
    bounds: Bounds,
    /// One for each bound, and one for what is above them all.
    buckets: Box<[AtomicU64]>,
    sum_nanos: AtomicU64,
}

/// One reading of a histogram, as the exposition format wants it.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    pub sum_seconds: f64,
    pub count: u64,
    /// Upper bound in seconds, and how many fell into this bucket alone.
    pub buckets: Vec<(f64, u64)>,
}

impl Histogram {
    /// Empty.
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            buckets: (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(),
            sum_nanos: AtomicU64::new(0),
        }
    }

    /// Counts `duration`.
    pub fn observe(&self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let micros = nanos.div_ceil(1_000);
        let index = self.bounds.partition_point(|bound| *bound < micros);
        if let Some(bucket) = self.buckets.get(index) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.sum_nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    /// What was counted so far.
    pub fn reading(&self) -> Reading {
        let bounds = self.bounds.iter().map(|micros| *micros as f64 / 1e6);
        let buckets: Vec<_> = bounds
            .chain([f64::INFINITY])
            .zip(
                self.buckets
                    .iter()
                    .map(|bucket| bucket.load(Ordering::Relaxed)),
            )
            .collect();
        Reading {
            sum_seconds: self.sum_nanos.load(Ordering::Relaxed) as f64 / 1e9,
            // From the buckets, so that a scrape between two additions is consistent in itself.
            count: buckets.iter().map(|(_, count)| count).sum(),
            buckets,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_falls_into_the_first_bucket_that_holds_it() {
        let histogram = Histogram::new(&[10, 100]);
        for micros in [1, 10, 11, 100, 101, 5_000_000] {
            histogram.observe(Duration::from_micros(micros));
        }
        histogram.observe(Duration::from_nanos(10_001));
        let reading = histogram.reading();
        assert_eq!(reading.count, 7);
        assert_eq!(reading.buckets, [(1e-5, 2), (1e-4, 3), (f64::INFINITY, 2)]);
    }

    #[test]
    fn a_level_falls_when_what_it_counts_is_gone() {
        let level = Arc::new(Level::default());
        let entered = [level.enter(), level.enter()];
        assert_eq!(level.value(), 2);
        drop(entered);
        assert_eq!(level.value(), 0);
    }
}
