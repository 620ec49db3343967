//! The record of one exchange: its decision, then its completion, each exactly once on every path.

use std::sync::Arc;

use http::StatusCode;

use super::event::Outcome;

/// The second half of an exchange's record. Shared by whatever carries its bytes; the first `end` counts, and if nobody
/// says how it ended before the last holder is gone, the client left.
#[derive(Debug)]
pub struct CompletionTrail {}

impl CompletionTrail {
    /// Body bytes from the client.
    pub fn received(&self, bytes: u64) {
        let _ = bytes;
    }
    /// Body bytes to the client.
    pub fn sent(&self, bytes: u64) {
        let _ = bytes;
    }
    /// The status the client is told.
    pub fn answered(&self, status: StatusCode) {
        let _ = status;
    }
    /// Which upstream answered, after how many attempts.
    pub fn upstream(&self, authority: &Arc<str>, attempts: u8) {
        let _ = (authority, attempts);
    }
    /// How it ended.
    pub fn end(&self, outcome: Outcome) {
        let _ = outcome;
    }
}
