//! To be written.

pub mod logging;
