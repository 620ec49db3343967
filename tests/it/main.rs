//! Behaviour through the front door. One file per behaviour; every test starts a whole gateway on loopback.

mod denials;
mod device;
mod smoke;
mod user;
