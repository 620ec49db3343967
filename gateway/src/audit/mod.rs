//! The record: two events per request, each exactly once, chained so that no edit goes unseen.
//!
//! Stages never write here; they return facts, and `pipeline` records them through a [`trail::Trail`].

pub mod chain;
pub mod event;
pub mod sink;
pub mod trail;
pub mod verify;
