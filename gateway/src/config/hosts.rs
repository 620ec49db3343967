//! Host patterns of the configuration, and which client certificate rule a host falls under.

use super::{ClientCertificateMode, Ingress};

impl Ingress {
    /// What the handshake asks of a client for `host` (lower case, no port): the first rule that names it counts.
    pub fn client_certificate_mode(&self, host: &str) -> ClientCertificateMode {
        self.client_certificates
            .iter()
            .find(|rule| rule.hosts.iter().any(|pattern| host_matches(pattern, host)))
            .map_or(self.client_certificate_default, |rule| rule.mode)
    }
}

/// Whether a pattern of the configuration, an exact name or `*.suffix` (one label), covers `host`.
pub fn host_matches(pattern: &str, host: &str) -> bool {
    match pattern.strip_prefix("*.") {
        None => pattern == host,
        Some(suffix) => host
            .split_once('.')
            .is_some_and(|(label, rest)| !label.is_empty() && rest == suffix),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_matched_exactly_or_by_one_label() {
        assert!(host_matches("a.example", "a.example"));
        assert!(host_matches("*.example", "a.example"));
        assert!(!host_matches("*.example", "example"));
        assert!(!host_matches("*.example", ".example"));
        assert!(!host_matches("*.example", "a.b.example"));
        assert!(!host_matches("*.example", "a.example.evil"));
    }
}
