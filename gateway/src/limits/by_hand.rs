//! A clock that tests move by hand, and chance without surprises.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use masugata_policy::Timestamp;

use crate::capability::{Clock, Entropy, SystemClock};

pub(crate) struct HandClock(Mutex<Duration>, Instant);

impl Default for HandClock {
    fn default() -> Self {
        Self(Mutex::default(), SystemClock.monotonic())
    }
}

impl HandClock {
    pub(crate) fn advance(&self, by: Duration) {
        *self.0.lock().unwrap() += by;
    }
}

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_seconds(1_800_000_000).plus(*self.0.lock().unwrap())
    }

    fn monotonic(&self) -> Instant {
        self.1 + *self.0.lock().unwrap()
    }
}

pub(crate) struct FixedEntropy;

impl Entropy for FixedEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::try_from(index % 251).unwrap();
        }
    }
}
