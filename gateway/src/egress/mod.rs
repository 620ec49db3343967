//! The second door: from a permitted destination to a connection that leads exactly there.

pub mod dial;
pub mod guard;
pub mod hello;
pub mod pages;
pub mod password;
pub mod plain;
pub mod refusals;
pub mod resolver;
pub mod setup;
pub mod tunnel;
pub mod tunnels;
