//! Behaviour through the front door. One file per behaviour; every test starts a whole gateway on loopback.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests stop where they fail"
)]

mod accounts;
mod admin;
mod attack_catalogue;
mod attack_devices;
mod attack_exhaustion;
mod attack_streams;
mod attack_upgrades;
mod bounds;
mod check;
mod decision;
mod demo;
mod denials;
mod device;
mod egress_attacks;
mod egress_clients;
mod egress_decision;
mod egress_dialling;
mod egress_door;
mod egress_lists;
mod egress_pac;
mod egress_pages;
mod egress_plain;
mod egress_tunnels;
mod grpc;
mod handshakes;
mod http2_frames;
mod identity;
mod large;
mod limits;
mod operations;
mod posture;
mod proxying;
mod record;
mod routing;
mod sign_in;
mod sign_in_attacks;
mod sign_in_harness;
mod smoke;
mod smuggling;
mod strangers;
mod upstreams;
mod user;
mod watching;
mod websockets;
