//! Exchanges over real sockets on loopback: a client, a server that calls `forward`, and upstreams written by hand.

mod abroad;
mod bodies;
mod exchange;
mod failures;
mod health;
mod secured;
mod upgrades;
mod world;
