//! Behaviour through the front door. One file per behaviour; every test starts a whole gateway on loopback.

mod smoke;
mod strangers;
mod watching;
