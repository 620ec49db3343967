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
