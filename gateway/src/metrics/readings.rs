//! What is not counted as it happens but read when somebody asks: the state of other parts of the gateway.

use std::time::Duration;

use masugata_policy::Timestamp;

use crate::denial::DenialReason;

/// One reading of everything that has a state rather than a count.
#[derive(Clone, Debug, Default)]
pub struct Readings {
    pub audit: AuditReading,
    /// The configuration in force.
    pub generation: u64,
    /// When it came into force.
    pub loaded_at: Option<Timestamp>,
    /// Server certificates in use.
    pub certificates: Vec<CertificateReading>,
    pub upstreams: Vec<UpstreamReading>,
    /// Provisioned people who are inactive, where there is a store.
    pub people_inactive: Option<u64>,
    /// Sign-ins that are not over, where people can sign in.
    pub sessions: Option<u64>,
    /// The second door, where there is one.
    pub egress: Option<EgressReading>,
}

/// The state of the record.
#[derive(Clone, Copy, Debug, Default)]
pub struct AuditReading {
    /// Records that wait for the disk.
    pub queued: u64,
    /// Records written since the start.
    pub written: u64,
    /// Records given up since the start; not 0 only with `drop-and-count`.
    pub lost: u64,
    /// The last write succeeded.
    pub healthy: bool,
}

/// One server certificate.
#[derive(Clone, Debug)]
pub struct CertificateReading {
    /// The first name in it.
    pub name: String,
    /// Seconds since the epoch.
    pub not_after_seconds: i64,
}

/// One server behind an app.
#[derive(Clone, Debug)]
pub struct UpstreamReading {
    pub app: String,
    /// `host:port`.
    pub server: String,
    /// Neither failing its checks nor ejected.
    pub healthy: bool,
}

/// The state of the second door.
#[derive(Clone, Debug, Default)]
pub struct EgressReading {
    /// Open now.
    pub tunnels: usize,
    /// Cut since the start, by reason.
    pub cuts: Vec<(DenialReason, u64)>,
    pub lists: Vec<ListReading>,
}

/// One list of domains and addresses.
#[derive(Clone, Debug)]
pub struct ListReading {
    pub feed: String,
    pub entries: usize,
    /// Since it was last known to be the newest; `None` until it has been loaded.
    pub age: Option<Duration>,
}
