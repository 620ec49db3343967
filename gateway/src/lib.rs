//! Masugata: a zero-trust access gateway. This crate is the only one that touches sockets, time, files and chance.
//!
//! Start at [`pipeline`]: a request walks one straight function there. `ARCHITECTURE.md` says what else lives where.

pub mod admin;
pub mod assertion;
pub mod audit;
pub mod capability;
pub mod cli;
pub mod config;
pub mod connection;
pub mod control;
pub mod demo;
pub mod denial;
pub mod destination;
pub mod egress;
pub mod exchange;
pub mod forward;
pub mod framing;
pub mod gateway;
pub mod inventory;
pub mod issuer;
pub mod limits;
pub mod listener;
pub mod metrics;
pub mod people;
pub mod pipeline;
mod proxy_protocol;
pub mod reload;
pub mod relying_party;
pub mod respond;
pub mod routes;
mod scim;
pub mod session;
mod sign_in;
pub mod state;
pub mod tls;
pub mod upstream;
mod view;
