//! Administration from the same machine: accounts and sessions, over a Unix socket of the running gateway, or on the files
//! themselves where none runs.

pub(crate) mod desk;
