//! The outside world behind small traits: time and chance. Tests hand in their own; nothing else reads a clock.

pub mod clock;
pub mod entropy;

pub use clock::{Clock, SystemClock};
pub use entropy::{Entropy, SystemEntropy};
