//! Answers for programs: `application/problem+json` (RFC 9457).

use serde::Serialize;

/// The document. `type` is a stable name, not an address.
#[derive(Debug, Serialize)]
pub(super) struct Problem<'a> {
    pub(super) r#type: String,
    pub(super) title: &'a str,
    pub(super) status: u16,
    pub(super) detail: &'a str,
    /// One of the codes in `docs/denials.md`.
    pub(super) code: &'a str,
    pub(super) request_id: &'a str,
    pub(super) remedy: &'a str,
    /// The posture attribute at fault, in the word used in files and policies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) attribute: Option<&'a str>,
    /// Seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) retry_after: Option<u64>,
    /// Whom to ask.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) contact: Option<&'a str>,
}

impl Problem<'_> {
    pub(super) fn render(&self) -> Vec<u8> {
        // Strings and numbers always serialise; an empty document would be the worst that can happen.
        let mut document = serde_json::to_vec(self).unwrap_or_default();
        // For whoever reads it in a terminal.
        document.push(b'\n');
        document
    }
}
