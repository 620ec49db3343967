//! The demo: a whole gateway on this machine, in a directory of its own, to try and to start from.

pub mod app;
