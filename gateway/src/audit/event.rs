//! What is recorded. Events own or share what they describe, so that the writer's thread can put them into words.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Uri};
use masugata_policy::{
    Action, App, Authentication, CloudService, Device, PolicyVersion, Principal, Timestamp,
};

use crate::connection::Connection;
use crate::denial::DenialReason;
use crate::exchange::RequestId;
use crate::limits::prefix::AddressPrefix;

/// One line of the record, before it is one.
#[derive(Debug)]
pub enum Event {
    Decision(Box<Decision>),
    Completion(Box<Completion>),
    /// Start, stop, reload, rotation, loss: about the gateway itself.
    Operation(Box<Operation>),
    /// A handshake that was refused, or several.
    Handshake(Box<Handshake>),
    /// Somebody signed in or failed to, a session ended, an account or a factor changed.
    Person(Box<Person>),
}

/// The answer to a request; written before any byte of it goes upstream.
#[derive(Debug)]
pub struct Decision {
    pub at: Timestamp,
    pub request: RequestId,
    /// Counts reloads; says which configuration decided.
    pub generation: u64,
    pub connection: Arc<Connection>,
    pub method: Method,
    /// As received; the query is left out unless configured.
    pub uri: Uri,
    /// Host without port, lower case; absent when it could not be read.
    pub host: Option<Box<str>>,
    pub app: Option<Arc<App>>,
    /// At the egress: where to.
    pub destination: Option<Box<DestinationRecord>>,
    pub action: Option<Action>,
    pub principal: Option<Arc<Principal>>,
    pub authentication: Option<Arc<Authentication>>,
    pub device: Option<Arc<Device>>,
    pub verdict: Verdict,
    /// Names of limits in observe mode that would have refused.
    pub observed_limits: Vec<Arc<str>>,
}

/// What was known of a destination when it was decided.
#[derive(Clone, Debug)]
pub struct DestinationRecord {
    /// As policies name it: lower case, A-labels, no final dot, IPv6 without brackets.
    pub host: Box<str>,
    pub port: u16,
    /// Asked for by CONNECT; otherwise a request for `http://`.
    pub tunnel: bool,
    /// An IP literal was asked for.
    pub address: bool,
    /// The registrable domain.
    pub domain: Option<Box<str>>,
    pub categories: Box<[Arc<str>]>,
    /// The lists that say so, with their version: `jpcert-c2@a1b2c3d4e5f6`.
    pub feeds: Box<[Arc<str>]>,
    /// Counts changes of the lists; says which were in force.
    pub lists: u64,
    pub service: Option<Arc<CloudService>>,
    /// No policy permits it; it was let through because the door only observes.
    pub observed: bool,
    /// What the name led to, and may be dialled. Empty until that is known.
    pub addresses: Vec<SocketAddr>,
}

#[derive(Debug)]
pub enum Verdict {
    Permitted {
        policies: Arc<[Box<str>]>,
        /// Absent for built-in public endpoints, which no policy governs.
        version: Option<PolicyVersion>,
    },
    Denied {
        reason: DenialReason,
        detail: Option<Box<str>>,
        policies: Arc<[Box<str>]>,
        version: Option<PolicyVersion>,
    },
    /// The client left before there was a decision; nothing went upstream.
    Abandoned,
}

/// What became of a request.
#[derive(Debug)]
pub struct Completion {
    pub at: Timestamp,
    pub request: RequestId,
    pub generation: u64,
    pub outcome: Outcome,
    /// Status sent to the client; absent when it left before one was.
    pub status: Option<u16>,
    /// Body bytes (after an upgrade: all bytes) from and to the client.
    pub bytes_received: u64,
    pub bytes_sent: u64,
    pub duration: Duration,
    /// `host:port` of the upstream that answered.
    pub upstream: Option<Arc<str>>,
    /// How often the request was sent upstream; more than 1 after a retry.
    pub attempts: u8,
    /// A tunnel whose ClientHello hides the real name (ECH) was let through.
    pub ech: bool,
}

/// How an exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Answered whole, by an app or by the gateway itself (denials included).
    Completed,
    /// The client left.
    ClientGone,
    /// The upstream failed before or during the answer.
    UpstreamFailed(&'static str),
    /// A time limit ran out.
    TimedOut(&'static str),
    /// What was let through was cut off because its decision no longer held, or refused on the way because it was not
    /// what it seemed.
    Cut(DenialReason),
    /// The gateway stopped before it ended.
    ShutDown,
}

/// Something that happened to the gateway.
#[derive(Debug)]
pub struct Operation {
    pub at: Timestamp,
    pub generation: u64,
    /// `started`, `stopped`, `reloaded`, `reload-refused`, `recovered`, `rotated`, `records-lost`, `reason-given`,
    /// `alert`, …
    pub kind: &'static str,
    pub detail: String,
    pub policy_version: Option<PolicyVersion>,
}

/// Handshakes that were refused.
#[derive(Debug)]
pub struct Handshake {
    pub at: Timestamp,
    pub generation: u64,
    /// Of a closed list.
    pub cause: &'static str,
    pub count: u64,
    pub stranger: Stranger,
}

/// Who began a handshake that was refused.
#[derive(Debug)]
pub enum Stranger {
    One {
        client: SocketAddr,
        local: SocketAddr,
        server_name: Option<Box<str>>,
        certificate: Option<Presented>,
    },
    /// Several since then; without a prefix, from several addresses.
    Several {
        prefix: Option<AddressPrefix>,
        since: Timestamp,
    },
}

/// A client certificate that was refused. Nothing in it is proved. Texts are absent where it cannot be read.
#[derive(Debug)]
pub struct Presented {
    /// RFC 4514 text.
    pub subject: Option<Box<str>>,
    /// RFC 4514 text.
    pub issuer: Option<Box<str>>,
    /// Lower-case hexadecimal.
    pub serial: Option<Box<str>>,
    pub not_after: Option<Timestamp>,
    /// SHA-256 of the DER.
    pub thumbprint: [u8; 32],
}

/// What happened to somebody's sign-in, session, factors or account. Never holds a secret.
#[derive(Debug)]
pub struct Person {
    pub at: Timestamp,
    pub generation: u64,
    pub kind: PersonKind,
    /// Absent when it worked; else a code of a closed list (a denial's, or one of the sign-in pages).
    pub failure: Option<&'static str>,
    pub by: Actor,
    /// As policies name them: `issuer/user`; absent when nobody was identified.
    pub principal: Option<Box<str>>,
    /// What was typed or shown as a name.
    pub name: Option<Box<str>>,
    /// The configured name of the issuer.
    pub issuer: Option<Box<str>>,
    /// The session's public id, which is not its secret.
    pub session: Option<Box<str>>,
    /// RFC 8176 method references that were used.
    pub factors: Vec<Box<str>>,
    pub authentication: Option<Arc<Authentication>>,
    /// The app that was asked for.
    pub app: Option<Box<str>>,
    /// The inventory id of the device.
    pub device: Option<Box<str>>,
    /// SHA-256 of its certificate.
    pub thumbprint: Option<[u8; 32]>,
    pub client: Option<SocketAddr>,
    pub request: Option<RequestId>,
    pub detail: Option<Box<str>>,
}

/// Who did it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actor {
    /// The person themselves.
    Person,
    /// An administrator at the command line.
    Administrator,
    /// The identity provider of that name.
    Provider(Box<str>),
    /// The system that provisions accounts.
    Scim,
    /// The gateway: a lifetime was over, a rule was broken.
    Gateway,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PersonKind {
    SignIn,
    StepUp,
    SignOut,
    SessionEnded,
    /// A session's cookie came with another certificate than the one it was made for, or with none: an alert.
    SessionStolen,
    /// Somebody's factors were tried too often.
    LockedOut,
    FactorAdded,
    FactorRemoved,
    PasswordChanged,
    RecoveryCodesMade,
    RecoveryUsed,
    AccountCreated,
    AccountChanged,
    AccountDisabled,
    AccountEnabled,
    AccountRemoved,
    AccountReset,
}

impl PersonKind {
    /// Every kind.
    pub const ALL: [Self; 17] = [
        Self::SignIn,
        Self::StepUp,
        Self::SignOut,
        Self::SessionEnded,
        Self::SessionStolen,
        Self::LockedOut,
        Self::FactorAdded,
        Self::FactorRemoved,
        Self::PasswordChanged,
        Self::RecoveryCodesMade,
        Self::RecoveryUsed,
        Self::AccountCreated,
        Self::AccountChanged,
        Self::AccountDisabled,
        Self::AccountEnabled,
        Self::AccountRemoved,
        Self::AccountReset,
    ];

    /// The word in the record.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SignIn => "sign-in",
            Self::StepUp => "step-up",
            Self::SignOut => "sign-out",
            Self::SessionEnded => "session-ended",
            Self::SessionStolen => "session-stolen",
            Self::LockedOut => "locked-out",
            Self::FactorAdded => "factor-added",
            Self::FactorRemoved => "factor-removed",
            Self::PasswordChanged => "password-changed",
            Self::RecoveryCodesMade => "recovery-codes-made",
            Self::RecoveryUsed => "recovery-used",
            Self::AccountCreated => "account-created",
            Self::AccountChanged => "account-changed",
            Self::AccountDisabled => "account-disabled",
            Self::AccountEnabled => "account-enabled",
            Self::AccountRemoved => "account-removed",
            Self::AccountReset => "account-reset",
        }
    }

    /// Somebody should look at it soon.
    pub fn is_alert(self) -> bool {
        matches!(self, Self::SessionStolen)
    }

    /// Which of the guideline's five logs (measure J-5) it belongs to.
    pub fn log(self) -> &'static str {
        match self {
            Self::SignIn
            | Self::StepUp
            | Self::SignOut
            | Self::SessionEnded
            | Self::SessionStolen
            | Self::LockedOut => "authentication",
            Self::FactorAdded
            | Self::FactorRemoved
            | Self::PasswordChanged
            | Self::RecoveryCodesMade
            | Self::RecoveryUsed
            | Self::AccountCreated
            | Self::AccountChanged
            | Self::AccountDisabled
            | Self::AccountEnabled
            | Self::AccountRemoved
            | Self::AccountReset => "privileged",
        }
    }
}
