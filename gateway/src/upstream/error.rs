//! What can go wrong on the way to an app and back, with what the client, the record and the next hop are told.

use std::io;
use std::path::PathBuf;

use http::StatusCode;

use crate::audit::event::Outcome;
use crate::denial::DenialReason;
use crate::framing::Violation;

/// A file that a definition of an upstream names cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct UpstreamError {
    /// The file at fault, if it is one.
    pub path: Option<PathBuf>,
    /// Lower case, no full stop.
    pub message: String,
}

impl UpstreamError {
    pub(super) fn file(path: &std::path::Path, message: impl Into<String>) -> Self {
        Self {
            path: Some(path.to_owned()),
            message: message.into(),
        }
    }

    pub(crate) fn plain(message: impl Into<String>) -> Self {
        Self {
            path: None,
            message: message.into(),
        }
    }
}

/// Why an exchange with an upstream failed. Codes never change their meaning.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    /// Active checks say that no server of the app is well.
    #[error("no server of the app is healthy")]
    NoHealthyUpstream,
    /// All connections stayed in use for the whole connect timeout.
    #[error("all connections to the upstream are in use")]
    Saturated,
    /// Its name has no address.
    #[error("the upstream's name does not resolve")]
    Unresolved(#[source] io::Error),
    /// None of its addresses took the connection.
    #[error("the upstream takes no connections")]
    Unreachable(#[source] io::Error),
    /// Name, address and TLS together took longer than the connect timeout.
    #[error("the upstream did not take the connection in time")]
    ConnectTimedOut,
    /// Its certificate is not one that we trust for it.
    #[error("the upstream's certificate is not acceptable")]
    Certificate(#[source] io::Error),
    /// The TLS handshake failed for another reason.
    #[error("the TLS handshake with the upstream failed")]
    Tls(#[source] io::Error),
    /// No response head within the response header timeout.
    #[error("the upstream did not answer in time")]
    HeaderTimedOut,
    /// No byte in either direction for the idle timeout, while the upstream was to act.
    #[error("nothing moved between client and upstream for too long")]
    IdleTimedOut,
    /// The whole exchange took longer than allowed.
    #[error("the exchange took longer than allowed")]
    TotalTimedOut,
    /// The client stopped sending its body.
    #[error("the client stopped sending its body")]
    RequestTimedOut,
    /// What came back is not HTTP, or not what was agreed.
    #[error("the upstream does not speak HTTP as agreed: {what}")]
    Protocol {
        /// In our words; nothing the upstream wrote.
        what: &'static str,
        #[source]
        source: Option<hyper::Error>,
    },
    /// The connection ended before the response head was whole.
    #[error("the upstream closed the connection before it answered")]
    Closed(#[source] Option<hyper::Error>),
    /// The response head is larger than we take.
    #[error("the upstream's response head is too large")]
    ResponseTooLarge(#[source] hyper::Error),
    /// The request body is larger than the app allows.
    #[error("the request body is too large")]
    BodyTooLarge,
    /// The request cannot be forwarded as it is written.
    #[error("the request is malformed: {0}")]
    Malformed(&'static str),
    /// The request body stopped making sense on its way.
    #[error("the request body is malformed: {0}")]
    Violated(Violation),
    /// The app takes no upgrades.
    #[error("the app takes no upgrades")]
    UpgradeNotAllowed,
    /// The upstream cannot be asked for this upgrade, or its acceptance is not valid.
    #[error("the upgrade failed: {0}")]
    UpgradeFailed(&'static str),
    /// The client left while its body was being sent upstream.
    #[error("the client left")]
    ClientGone,
    /// The decision behind the exchange no longer holds.
    #[error("the decision no longer holds")]
    Cut(DenialReason),
}

/// Whether a failed request may be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Nothing reached the upstream: any method, as long as the body is still whole.
    NothingSent,
    /// It may have been acted on: only idempotent methods (RFC 9110 §9.2.2) without a body.
    IfIdempotent,
    /// It must not, or it would not help.
    Never,
}

impl ForwardError {
    /// The stable code, kebab-case.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoHealthyUpstream => "no-healthy-upstream",
            Self::Saturated => "upstream-saturated",
            Self::Unresolved(_) => "upstream-unresolved",
            Self::Unreachable(_) => "upstream-unreachable",
            Self::ConnectTimedOut => "upstream-connect-timeout",
            Self::Certificate(_) => "upstream-certificate",
            Self::Tls(_) => "upstream-tls",
            Self::HeaderTimedOut => "upstream-timeout",
            Self::IdleTimedOut => "idle-timeout",
            Self::TotalTimedOut => "total-timeout",
            Self::RequestTimedOut => "request-timeout",
            Self::Protocol { .. } => "upstream-protocol",
            Self::Closed(_) => "upstream-closed",
            Self::ResponseTooLarge(_) => "upstream-header-too-large",
            Self::BodyTooLarge => DenialReason::BodyTooLarge.code(),
            Self::Malformed(_) => DenialReason::RequestMalformed.code(),
            Self::Violated(violation) => violation.reason.code(),
            Self::UpgradeNotAllowed => DenialReason::UpgradeNotAllowed.code(),
            Self::UpgradeFailed(_) => "upstream-upgrade",
            Self::ClientGone => "client-gone",
            Self::Cut(reason) => reason.code(),
        }
    }

    /// What the client is told. Those with a [`Self::denial`] are rendered from that instead.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::NoHealthyUpstream | Self::Saturated => StatusCode::SERVICE_UNAVAILABLE,
            Self::ConnectTimedOut
            | Self::HeaderTimedOut
            | Self::IdleTimedOut
            | Self::TotalTimedOut => StatusCode::GATEWAY_TIMEOUT,
            Self::Unresolved(source) if source.kind() == io::ErrorKind::TimedOut => {
                StatusCode::GATEWAY_TIMEOUT
            }
            Self::RequestTimedOut => StatusCode::REQUEST_TIMEOUT,
            Self::Unresolved(_)
            | Self::Unreachable(_)
            | Self::Certificate(_)
            | Self::Tls(_)
            | Self::Protocol { .. }
            | Self::Closed(_)
            | Self::ResponseTooLarge(_)
            | Self::UpgradeFailed(_) => StatusCode::BAD_GATEWAY,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Malformed(_) | Self::ClientGone => StatusCode::BAD_REQUEST,
            Self::Violated(violation) => violation.reason.status(),
            Self::UpgradeNotAllowed | Self::Cut(_) => StatusCode::FORBIDDEN,
        }
    }

    /// The error type for `Proxy-Status` (RFC 9209 §2.3).
    pub fn proxy_status(&self) -> &'static str {
        match self {
            Self::NoHealthyUpstream => "destination_unavailable",
            Self::Saturated => "connection_limit_reached",
            Self::Unresolved(source) if source.kind() == io::ErrorKind::TimedOut => "dns_timeout",
            Self::Unresolved(_) => "dns_error",
            Self::Unreachable(source) if source.kind() == io::ErrorKind::ConnectionRefused => {
                "connection_refused"
            }
            Self::Unreachable(_) => "destination_ip_unroutable",
            Self::ConnectTimedOut => "connection_timeout",
            Self::Certificate(_) => "tls_certificate_error",
            Self::Tls(_) => "tls_protocol_error",
            Self::HeaderTimedOut | Self::TotalTimedOut => "http_response_timeout",
            Self::IdleTimedOut => "connection_read_timeout",
            Self::Protocol { .. } => "http_protocol_error",
            Self::Closed(_) => "connection_terminated",
            Self::ResponseTooLarge(_) => "http_response_header_section_size",
            Self::UpgradeFailed(_) => "http_upgrade_failed",
            Self::RequestTimedOut
            | Self::BodyTooLarge
            | Self::Malformed(_)
            | Self::Violated(_)
            | Self::ClientGone => "http_request_error",
            Self::UpgradeNotAllowed | Self::Cut(_) => "http_request_denied",
        }
    }

    /// The denial that this is, where the gateway itself refuses.
    pub fn denial(&self) -> Option<DenialReason> {
        match self {
            Self::BodyTooLarge => Some(DenialReason::BodyTooLarge),
            Self::Malformed(_) => Some(DenialReason::RequestMalformed),
            Self::Violated(violation) => Some(violation.reason),
            Self::UpgradeNotAllowed => Some(DenialReason::UpgradeNotAllowed),
            Self::Cut(reason) => Some(*reason),
            Self::NoHealthyUpstream
            | Self::Saturated
            | Self::Unresolved(_)
            | Self::Unreachable(_)
            | Self::ConnectTimedOut
            | Self::Certificate(_)
            | Self::Tls(_)
            | Self::HeaderTimedOut
            | Self::IdleTimedOut
            | Self::TotalTimedOut
            | Self::RequestTimedOut
            | Self::Protocol { .. }
            | Self::Closed(_)
            | Self::ResponseTooLarge(_)
            | Self::UpgradeFailed(_)
            | Self::ClientGone => None,
        }
    }

    /// How the exchange ended, for the completion record.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::ConnectTimedOut
            | Self::HeaderTimedOut
            | Self::IdleTimedOut
            | Self::TotalTimedOut
            | Self::RequestTimedOut => Outcome::TimedOut(self.code()),
            Self::ClientGone => Outcome::ClientGone,
            Self::Cut(reason) => Outcome::Cut(*reason),
            // Refused after the permit was recorded: the completion is the only place left for the code.
            Self::BodyTooLarge => Outcome::Cut(DenialReason::BodyTooLarge),
            Self::Malformed(_) => Outcome::Cut(DenialReason::RequestMalformed),
            Self::Violated(violation) => Outcome::Cut(violation.reason),
            Self::UpgradeNotAllowed => Outcome::Cut(DenialReason::UpgradeNotAllowed),
            Self::NoHealthyUpstream
            | Self::Saturated
            | Self::Unresolved(_)
            | Self::Unreachable(_)
            | Self::Certificate(_)
            | Self::Tls(_)
            | Self::Protocol { .. }
            | Self::Closed(_)
            | Self::ResponseTooLarge(_)
            | Self::UpgradeFailed(_) => Outcome::UpstreamFailed(self.code()),
        }
    }

    /// Whether the same request may be sent again.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Unresolved(_)
            | Self::Unreachable(_)
            | Self::ConnectTimedOut
            | Self::Certificate(_)
            | Self::Tls(_) => Retry::NothingSent,
            Self::Closed(_) => Retry::IfIdempotent,
            // A slow or confused upstream is not helped by more of the same.
            Self::NoHealthyUpstream
            | Self::Saturated
            | Self::HeaderTimedOut
            | Self::IdleTimedOut
            | Self::TotalTimedOut
            | Self::RequestTimedOut
            | Self::Protocol { .. }
            | Self::ResponseTooLarge(_)
            | Self::BodyTooLarge
            | Self::Malformed(_)
            | Self::Violated(_)
            | Self::UpgradeNotAllowed
            | Self::UpgradeFailed(_)
            | Self::ClientGone
            | Self::Cut(_) => Retry::Never,
        }
    }

    /// The upstream, not the client or the gateway, is to blame: counts towards ejection.
    pub(crate) fn blames_upstream(&self) -> bool {
        matches!(
            self,
            Self::Unresolved(_)
                | Self::Unreachable(_)
                | Self::ConnectTimedOut
                | Self::Certificate(_)
                | Self::Tls(_)
                | Self::HeaderTimedOut
                | Self::Protocol { .. }
                | Self::Closed(_)
                | Self::ResponseTooLarge(_)
        )
    }

    pub(super) fn from_hyper(error: hyper::Error) -> Self {
        if error.is_parse_too_large() {
            Self::ResponseTooLarge(error)
        } else if error.is_parse() {
            Self::Protocol {
                what: "the response head cannot be parsed",
                source: Some(error),
            }
        } else {
            Self::Closed(Some(error))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_of_the_upstream_is_a_5xx_with_a_proxy_status() {
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        for (error, code, status, token) in [
            (
                ForwardError::NoHealthyUpstream,
                "no-healthy-upstream",
                503,
                "destination_unavailable",
            ),
            (
                ForwardError::Saturated,
                "upstream-saturated",
                503,
                "connection_limit_reached",
            ),
            (
                ForwardError::Unreachable(refused()),
                "upstream-unreachable",
                502,
                "connection_refused",
            ),
            (
                ForwardError::Unresolved(io::ErrorKind::NotFound.into()),
                "upstream-unresolved",
                502,
                "dns_error",
            ),
            (
                ForwardError::Unresolved(io::ErrorKind::TimedOut.into()),
                "upstream-unresolved",
                504,
                "dns_timeout",
            ),
            (
                ForwardError::ConnectTimedOut,
                "upstream-connect-timeout",
                504,
                "connection_timeout",
            ),
            (
                ForwardError::HeaderTimedOut,
                "upstream-timeout",
                504,
                "http_response_timeout",
            ),
            (
                ForwardError::Certificate(refused()),
                "upstream-certificate",
                502,
                "tls_certificate_error",
            ),
            (
                ForwardError::Closed(None),
                "upstream-closed",
                502,
                "connection_terminated",
            ),
        ] {
            assert_eq!(error.code(), code);
            assert_eq!(error.status().as_u16(), status);
            assert_eq!(error.proxy_status(), token);
            assert!(error.denial().is_none());
        }
    }

    #[test]
    fn an_error_never_repeats_what_the_upstream_wrote() {
        let error = ForwardError::Certificate(io::Error::other("CN=secret.internal"));
        assert!(!error.to_string().contains("secret"));
    }
}
