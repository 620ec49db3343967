//! The record: two events per request, each exactly once, chained so that no edit goes unseen.
//!
//! Stages never write here; they return facts, and `pipeline` records them through a [`trail::Trail`].
//! ```text
//! Trail -> Auditor (bounded queue) -> writer thread -> line (JSON) -> chain (hash) -> file
//!                                     flush thread -> stable storage -> checkpoint
//! ```
//! `docs/audit-log.md` is the format's contract with everyone who reads the file; tests hold both to each other.

pub mod chain;
mod checkpoint;
pub mod event;
mod file;
mod flush;
mod fragments;
pub mod handshakes;
mod line;
mod recover;
pub mod sink;
mod text;
pub mod trail;
pub mod verify;
mod words;
mod writer;

pub use sink::{AuditError, Auditor, Counters, Kept, Unavailable};
pub use trail::{CompletionTrail, Facts, Opening, Trail};

pub(crate) use text::is_deceptive;

/// Writes `value` as JSON in which nothing can deceive whoever reads it in a terminal, as in the record itself.
pub(crate) fn write_guarded(
    out: &mut dyn std::io::Write,
    value: &impl serde::Serialize,
) -> std::io::Result<()> {
    let mut buffer = Vec::new();
    line::put(&mut buffer, value)?;
    out.write_all(&buffer)
}

#[cfg(test)]
pub(crate) mod fixtures;
