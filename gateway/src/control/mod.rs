//! Administration from the same machine: accounts and sessions, over a Unix socket of the running gateway, or on the files
//! themselves where none runs. Both carry out the same requests with the same code (`execute`).
//!
//! The socket lies in the store, which is for the gateway's own user alone; whoever connects must be that user or root. One
//! line of JSON asks, one line answers. Every change is on record with the name of whoever asked for it.

pub(crate) mod accounts;
pub(crate) mod client;
pub(crate) mod desk;
pub(crate) mod execute;
pub(crate) mod offline;
pub(crate) mod operator;
pub(crate) mod request;
pub mod socket;
#[cfg(test)]
mod tests;
