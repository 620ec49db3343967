//! Every way the gateway says no, as a closed list. A code never changes its meaning; clients, records and metrics use it.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use masugata_policy::{Challenge, Deny, DenyCause, Guidance, PolicyVersion, PostureFault};

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DenialReason {
    /// The request breaks HTTP: framing (of its body, too), host, header syntax.
    RequestMalformed,
    /// The path or a header name can be read in two ways.
    RequestAmbiguous,
    /// The head is larger, or has more fields, than configured.
    HeaderTooLarge,
    /// A method that is never forwarded (TRACE, CONNECT at the ingress).
    MethodNotAllowed,
    /// The host may not be served on this TLS connection (RFC 9110 §15.5.20).
    Misdirected,
    /// No app has this host and path.
    RouteNotFound,
    /// Our own name is in `Via` already.
    LoopDetected,
    /// No device certificate was presented.
    DeviceCertificateMissing,
    /// The device certificate is no longer valid.
    DeviceCertificateExpired,
    /// The device certificate is on a revocation list, or its CA's list is overdue.
    DeviceCertificateRevoked,
    /// The certificate is good, but the inventory has no such device.
    DeviceUnknown,
    /// The inventory has it more than once.
    DeviceAmbiguous,
    /// The inventory says that it is lost, retired or suspended.
    DeviceSuspended,
    /// No token was sent.
    CredentialMissing,
    /// More than one credential, or one that is not a Bearer token.
    CredentialMalformed,
    /// The token is not signed by a key of a configured issuer, or fails another check.
    CredentialInvalid,
    /// The token's time is over, or has not begun.
    CredentialExpired,
    /// The token is bound to another certificate, or to none where the app demands one.
    CredentialNotBound,
    /// The issuer's keys cannot be had, or are too old.
    IssuerUnavailable,
    /// Too many failed credentials from here.
    LockedOut,
    /// The account of that person is disabled where accounts are kept.
    AccountDisabled,
    /// More factors, better ones or fresher ones are needed (RFC 9470).
    AssuranceInsufficient,
    /// A posture attribute that the app requires was never seen.
    PostureMissing,
    /// It was seen too long ago.
    PostureStale,
    /// It is known, and bad.
    PostureFailing,
    /// No policy permits it.
    NoPermit,
    /// A policy forbids it.
    Forbidden,
    /// A forbidding policy could not be evaluated.
    PolicyError,
    /// A rate limit is reached.
    QuotaExceeded,
    /// The request body is larger than the app allows.
    BodyTooLarge,
    /// The app takes no upgrades.
    UpgradeNotAllowed,
    /// The record cannot be written.
    AuditUnavailable,
    /// The gateway stops and can wait no longer for what it still carries, or holds as many tunnels as it may.
    Overloaded,
    /// A defect in the gateway; the log has the details.
    Internal,
    /// Egress: the port is open for no destination, and not for this one.
    DestinationPortRefused,
    /// Egress: the name leads to addresses that are not the public Internet's, and nothing excepts them.
    DestinationProhibited,
    /// Egress: a policy asks for a reason, which the device's user can give.
    ReasonNeeded,
    /// Egress: a required list of domains has never been loaded.
    ListsUnavailable,
    /// Egress: the tunnel's ClientHello names another host than the CONNECT request did.
    SniMismatch,
    /// Egress: the tunnel must begin with a ClientHello, and does not.
    TunnelNotTls,
}

/// Where on the request's way it was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    Route,
    Authenticate,
    Posture,
    Decide,
    Limit,
    /// Egress only: resolving the name, and judging its addresses.
    Reach,
    Record,
    Forward,
}

impl Stage {
    /// The word used in records and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Route => "route",
            Self::Authenticate => "authenticate",
            Self::Posture => "posture",
            Self::Decide => "decide",
            Self::Limit => "limit",
            Self::Reach => "reach",
            Self::Record => "record",
            Self::Forward => "forward",
        }
    }
}

impl DenialReason {
    /// Every reason, in the order they are documented.
    pub const ALL: [Self; 40] = [
        Self::RequestMalformed,
        Self::RequestAmbiguous,
        Self::HeaderTooLarge,
        Self::MethodNotAllowed,
        Self::Misdirected,
        Self::RouteNotFound,
        Self::LoopDetected,
        Self::DeviceCertificateMissing,
        Self::DeviceCertificateExpired,
        Self::DeviceCertificateRevoked,
        Self::DeviceUnknown,
        Self::DeviceAmbiguous,
        Self::DeviceSuspended,
        Self::CredentialMissing,
        Self::CredentialMalformed,
        Self::CredentialInvalid,
        Self::CredentialExpired,
        Self::CredentialNotBound,
        Self::IssuerUnavailable,
        Self::LockedOut,
        Self::AccountDisabled,
        Self::AssuranceInsufficient,
        Self::PostureMissing,
        Self::PostureStale,
        Self::PostureFailing,
        Self::NoPermit,
        Self::Forbidden,
        Self::PolicyError,
        Self::QuotaExceeded,
        Self::BodyTooLarge,
        Self::UpgradeNotAllowed,
        Self::AuditUnavailable,
        Self::Overloaded,
        Self::Internal,
        Self::DestinationPortRefused,
        Self::DestinationProhibited,
        Self::ReasonNeeded,
        Self::ListsUnavailable,
        Self::SniMismatch,
        Self::TunnelNotTls,
    ];

    /// The stable code.
    pub fn code(self) -> &'static str {
        match self {
            Self::RequestMalformed => "request-malformed",
            Self::RequestAmbiguous => "request-ambiguous",
            Self::HeaderTooLarge => "header-too-large",
            Self::MethodNotAllowed => "method-not-allowed",
            Self::Misdirected => "misdirected",
            Self::RouteNotFound => "route-not-found",
            Self::LoopDetected => "loop-detected",
            Self::DeviceCertificateMissing => "device-certificate-missing",
            Self::DeviceCertificateExpired => "device-certificate-expired",
            Self::DeviceCertificateRevoked => "device-certificate-revoked",
            Self::DeviceUnknown => "device-unknown",
            Self::DeviceAmbiguous => "device-ambiguous",
            Self::DeviceSuspended => "device-suspended",
            Self::CredentialMissing => "credential-missing",
            Self::CredentialMalformed => "credential-malformed",
            Self::CredentialInvalid => "credential-invalid",
            Self::CredentialExpired => "credential-expired",
            Self::CredentialNotBound => "credential-not-bound",
            Self::IssuerUnavailable => "issuer-unavailable",
            Self::LockedOut => "locked-out",
            Self::AccountDisabled => "account-disabled",
            Self::AssuranceInsufficient => "assurance-insufficient",
            Self::PostureMissing => "posture-missing",
            Self::PostureStale => "posture-stale",
            Self::PostureFailing => "posture-failing",
            Self::NoPermit => "no-permit",
            Self::Forbidden => "forbidden",
            Self::PolicyError => "policy-error",
            Self::QuotaExceeded => "quota-exceeded",
            Self::BodyTooLarge => "body-too-large",
            Self::UpgradeNotAllowed => "upgrade-not-allowed",
            Self::AuditUnavailable => "audit-unavailable",
            Self::Overloaded => "overloaded",
            Self::Internal => "internal",
            Self::DestinationPortRefused => "destination-port-refused",
            Self::DestinationProhibited => "destination-prohibited",
            Self::ReasonNeeded => "reason-needed",
            Self::ListsUnavailable => "lists-unavailable",
            Self::SniMismatch => "sni-mismatch",
            Self::TunnelNotTls => "tunnel-not-tls",
        }
    }

    /// The stage that refuses for this reason.
    pub fn stage(self) -> Stage {
        match self {
            Self::RequestMalformed
            | Self::RequestAmbiguous
            | Self::HeaderTooLarge
            | Self::MethodNotAllowed
            | Self::Misdirected
            | Self::RouteNotFound
            | Self::LoopDetected
            | Self::DestinationPortRefused => Stage::Route,
            Self::DeviceCertificateMissing
            | Self::DeviceCertificateExpired
            | Self::DeviceCertificateRevoked
            | Self::DeviceUnknown
            | Self::DeviceAmbiguous
            | Self::DeviceSuspended
            | Self::CredentialMissing
            | Self::CredentialMalformed
            | Self::CredentialInvalid
            | Self::CredentialExpired
            | Self::CredentialNotBound
            | Self::IssuerUnavailable
            | Self::LockedOut
            | Self::AccountDisabled
            | Self::AssuranceInsufficient => Stage::Authenticate,
            Self::PostureMissing | Self::PostureStale | Self::PostureFailing => Stage::Posture,
            Self::NoPermit
            | Self::Forbidden
            | Self::PolicyError
            | Self::ReasonNeeded
            | Self::ListsUnavailable => Stage::Decide,
            Self::DestinationProhibited => Stage::Reach,
            Self::QuotaExceeded | Self::Overloaded => Stage::Limit,
            Self::AuditUnavailable => Stage::Record,
            Self::BodyTooLarge
            | Self::UpgradeNotAllowed
            | Self::Internal
            | Self::SniMismatch
            | Self::TunnelNotTls => Stage::Forward,
        }
    }

    /// The HTTP status.
    pub fn status(self) -> StatusCode {
        match self {
            Self::RequestMalformed | Self::RequestAmbiguous => StatusCode::BAD_REQUEST,
            Self::HeaderTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::Misdirected => StatusCode::MISDIRECTED_REQUEST,
            Self::RouteNotFound => StatusCode::NOT_FOUND,
            Self::LoopDetected => StatusCode::LOOP_DETECTED,
            Self::CredentialMissing
            | Self::CredentialInvalid
            | Self::CredentialExpired
            | Self::CredentialNotBound
            | Self::AssuranceInsufficient => StatusCode::UNAUTHORIZED,
            Self::CredentialMalformed => StatusCode::BAD_REQUEST,
            Self::DeviceCertificateMissing
            | Self::DeviceCertificateExpired
            | Self::DeviceCertificateRevoked
            | Self::DeviceUnknown
            | Self::DeviceAmbiguous
            | Self::DeviceSuspended
            | Self::AccountDisabled
            | Self::PostureMissing
            | Self::PostureStale
            | Self::PostureFailing
            | Self::NoPermit
            | Self::Forbidden
            | Self::PolicyError
            | Self::UpgradeNotAllowed
            | Self::DestinationPortRefused
            | Self::DestinationProhibited
            | Self::ReasonNeeded
            | Self::SniMismatch
            | Self::TunnelNotTls => StatusCode::FORBIDDEN,
            Self::LockedOut | Self::QuotaExceeded => StatusCode::TOO_MANY_REQUESTS,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::IssuerUnavailable
            | Self::AuditUnavailable
            | Self::Overloaded
            | Self::ListsUnavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// A refusal with what the client and the record need to know beyond the reason.
#[derive(Clone, Debug)]
pub struct Denial {
    pub reason: DenialReason,
    /// For `Retry-After`.
    pub retry_after: Option<Duration>,
    /// What stronger authentication would help.
    pub challenge: Option<AssuranceChallenge>,
    /// In which words a policy asked for it; a browser is taken through exactly that.
    pub need: Option<Challenge>,
    /// Texts of the policy's author.
    pub guidance: Option<Arc<Guidance>>,
    /// The posture attribute at fault.
    pub posture: Option<PostureFault>,
    /// Policies behind a denial by policy.
    pub policies: Arc<[Box<str>]>,
    pub version: Option<PolicyVersion>,
    /// For the record and the operator's log only: never shown to the client, never a secret.
    pub detail: Option<Box<str>>,
}

/// An RFC 9470 challenge.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AssuranceChallenge {
    /// In order of preference; space-separated in the header.
    pub acr_values: Vec<String>,
    /// Seconds.
    pub max_age: Option<u64>,
}

impl Denial {
    /// A refusal that needs no further words.
    pub fn new(reason: DenialReason) -> Self {
        Self {
            reason,
            retry_after: None,
            challenge: None,
            need: None,
            guidance: None,
            posture: None,
            policies: Arc::default(),
            version: None,
            detail: None,
        }
    }

    /// With a detail for the record.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<Box<str>>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// With a time after which it is worth trying again.
    #[must_use]
    pub fn with_retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }
}

impl From<DenialReason> for Denial {
    fn from(reason: DenialReason) -> Self {
        Self::new(reason)
    }
}

impl From<PostureFault> for Denial {
    fn from(fault: PostureFault) -> Self {
        let reason = match fault {
            PostureFault::Missing(_) => DenialReason::PostureMissing,
            PostureFault::Stale(_) => DenialReason::PostureStale,
            PostureFault::Failing(_) => DenialReason::PostureFailing,
        };
        Self {
            posture: Some(fault),
            ..Self::new(reason)
        }
    }
}

impl From<Deny> for Denial {
    fn from(deny: Deny) -> Self {
        let reason = match (deny.cause, deny.challenge) {
            (DenyCause::Forbidden, Some(Challenge::Reason)) => DenialReason::ReasonNeeded,
            (DenyCause::Forbidden, Some(_)) => DenialReason::AssuranceInsufficient,
            (DenyCause::Forbidden, None) => DenialReason::Forbidden,
            (DenyCause::NoPermit, _) => DenialReason::NoPermit,
            (DenyCause::EvaluationFailed, _) => DenialReason::PolicyError,
        };
        let need = deny.challenge;
        let challenge = deny.challenge.and_then(|challenge| match challenge {
            Challenge::MultiFactor | Challenge::PhishingResistant => {
                Some(AssuranceChallenge::default())
            }
            Challenge::Fresh => Some(AssuranceChallenge {
                max_age: Some(0),
                ..AssuranceChallenge::default()
            }),
            // Signing in again would not give it.
            Challenge::Reason => None,
        });
        Self {
            challenge,
            need,
            guidance: Some(deny.guidance),
            policies: deny.policies,
            version: Some(deny.version),
            ..Self::new(reason)
        }
    }
}
