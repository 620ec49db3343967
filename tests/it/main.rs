//! Behaviour through the front door. One file per behaviour; every test starts a whole gateway on loopback.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests stop where they fail"
)]

mod denials;
mod device;
mod smoke;
mod user;
mod watching;
