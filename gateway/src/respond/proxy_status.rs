//! `Proxy-Status` (RFC 9209): tells operators that it was this hop that spoke, and in which sense.

use http::HeaderValue;

use crate::denial::DenialReason;

/// The error type of RFC 9209 §2.3 that comes closest.
pub(super) fn error_type(reason: DenialReason) -> &'static str {
    match reason {
        DenialReason::RequestMalformed
        | DenialReason::RequestAmbiguous
        | DenialReason::HeaderTooLarge
        | DenialReason::MethodNotAllowed
        | DenialReason::Misdirected
        | DenialReason::BodyTooLarge
        | DenialReason::UpgradeNotAllowed => "http_request_error",
        DenialReason::RouteNotFound => "destination_not_found",
        DenialReason::DestinationProhibited => "destination_ip_prohibited",
        DenialReason::LoopDetected => "proxy_loop_detected",
        DenialReason::Overloaded => "connection_limit_reached",
        DenialReason::Internal
        | DenialReason::AuditUnavailable
        | DenialReason::ListsUnavailable => "proxy_internal_error",
        DenialReason::DeviceCertificateMissing
        | DenialReason::DeviceCertificateExpired
        | DenialReason::DeviceCertificateRevoked
        | DenialReason::DeviceUnknown
        | DenialReason::DeviceAmbiguous
        | DenialReason::DeviceSuspended
        | DenialReason::CredentialMissing
        | DenialReason::CredentialMalformed
        | DenialReason::CredentialInvalid
        | DenialReason::CredentialExpired
        | DenialReason::CredentialNotBound
        | DenialReason::IssuerUnavailable
        | DenialReason::LockedOut
        | DenialReason::AccountDisabled
        | DenialReason::AssuranceInsufficient
        | DenialReason::PostureMissing
        | DenialReason::PostureStale
        | DenialReason::PostureFailing
        | DenialReason::NoPermit
        | DenialReason::Forbidden
        | DenialReason::PolicyError
        | DenialReason::QuotaExceeded
        | DenialReason::DestinationPortRefused
        | DenialReason::ReasonNeeded
        | DenialReason::SniMismatch
        | DenialReason::TunnelNotTls => "http_request_denied",
    }
}

/// `masugata; error=…; details="…"`, or without the error when the two words are not plain.
pub(super) fn field(error: &str, details: &str) -> HeaderValue {
    HeaderValue::try_from(format!("masugata; error={error}; details=\"{details}\""))
        .unwrap_or(HeaderValue::from_static("masugata"))
}
