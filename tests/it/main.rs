//! Behaviour through the front door. One file per behaviour; every test starts a whole gateway on loopback.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests stop where they fail"
)]

mod attack_catalogue;
mod attack_devices;
mod attack_exhaustion;
mod attack_streams;
mod attack_upgrades;
mod denials;
mod device;
mod smoke;
mod user;
mod watching;
