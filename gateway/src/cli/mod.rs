//! To be written.

pub mod audit;
