//! Events, clocks and places for the tests of the record.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use http::{Method, Uri};
use masugata_certs::Peer;
use masugata_policy::{
    Action, App, Authentication, CloudService, Device, DeviceKind, DevicePosture, Level,
    Observation, Ownership, PostureAttribute, PostureSource, PostureValue, Principal,
    PrincipalKind, Timestamp,
};
use serde_json::Value;
use tempfile::TempDir;

use super::event::{Completion, Decision, DestinationRecord, Operation, Outcome, Verdict};
use super::sink::Auditor;
use super::trail::{CompletionTrail, Opening, Trail};
use crate::capability::{Clock, SystemClock};
use crate::config::{self, ClientCertificateMode, OnOverflow};
use crate::connection::{Connection, Door, Protocol, TlsFacts};
use crate::exchange::RequestId;

/// 2026-04-01T09:00:00.000Z
pub(super) const NOW: Timestamp = Timestamp::from_millis(1_775_034_000_000);

/// A clock that moves by hand.
pub(super) struct HandClock {
    start: Instant,
    moved_ms: AtomicU64,
}

impl HandClock {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            start: SystemClock.monotonic(),
            moved_ms: AtomicU64::new(0),
        })
    }

    pub(super) fn advance(&self, by: Duration) {
        let by = u64::try_from(by.as_millis()).unwrap();
        self.moved_ms.fetch_add(by, Ordering::Relaxed);
    }

    fn moved(&self) -> Duration {
        Duration::from_millis(self.moved_ms.load(Ordering::Relaxed))
    }
}

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        NOW.plus(self.moved())
    }
    fn monotonic(&self) -> Instant {
        self.start + self.moved()
    }
}

pub(super) fn config(file: &Path) -> config::Audit {
    config::Audit {
        file: file.to_owned(),
        queue: 10_000,
        on_overflow: OnOverflow::Refuse,
        sync_interval: Duration::ZERO,
        query: false,
    }
}

/// A directory of its own, and the log in it.
pub(super) fn place() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("audit.jsonl");
    (directory, log)
}

pub(super) fn open(log: &Path) -> Auditor {
    Auditor::open(&config(log), HandClock::new()).unwrap()
}

/// Flushed and parsed.
pub(super) fn lines(log: &Path) -> Vec<Value> {
    std::fs::read_to_string(log)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Waits for another thread; fails the test when it takes too long.
#[track_caller]
pub(super) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..2000 {
        if holds() {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("never came true: {what}");
}

pub(super) const PATIENCE: Duration = Duration::from_secs(10);

pub(super) fn connection() -> Arc<Connection> {
    connection_at(Door::Ingress)
}

fn connection_at(door: Door) -> Arc<Connection> {
    Arc::new(Connection {
        id: if door == Door::Ingress { 7 } else { 8 },
        door,
        remote: "[::ffff:203.0.113.5]:50222".parse().unwrap(),
        local: "192.0.2.1:443".parse().unwrap(),
        peer: Peer::Anonymous,
        identity_problem: None,
        vouched: std::sync::atomic::AtomicU64::default(),
        tls: TlsFacts {
            server_name: Some("hr.corp.example".into()),
            client_certificate: ClientCertificateMode::Required,
            version: "TLSv1.3",
            suite: "TLS_AES_128_GCM_SHA256",
            group: "X25519MLKEM768",
            resumed: false,
            protocol: Protocol::Http2,
        },
    })
}

pub(super) fn permitted() -> Verdict {
    Verdict::Permitted {
        policies: Arc::new(["staff-read".into()]),
        version: None,
    }
}

/// A decision about which nothing is known but its request.
pub(super) fn decision(request: u128) -> Decision {
    Decision {
        at: NOW,
        request: RequestId(request),
        generation: 3,
        connection: connection(),
        method: Method::GET,
        uri: "/salaries/2026?token=planted-secret".parse().unwrap(),
        host: Some("hr.corp.example".into()),
        app: None,
        destination: None,
        action: None,
        principal: None,
        authentication: None,
        device: None,
        verdict: permitted(),
        observed_limits: Vec::new(),
    }
}

/// A decision about which everything is known.
pub(super) fn full_decision() -> Decision {
    Decision {
        app: Some(Arc::new(App::new(
            "hr",
            Level::Confidential,
            ["back-office"],
        ))),
        action: Some(Action::Read),
        principal: Some(Arc::new(Principal::new(
            PrincipalKind::User,
            "corp/ada",
            "corp",
            Some("Ada Lovelace"),
            ["finance", "staff"],
            ["accountant"],
        ))),
        authentication: Some(Arc::new(Authentication::new(
            true,
            false,
            Some("urn:corp:mfa"),
            ["otp", "pwd"],
            Some(NOW.minus(Duration::from_secs(600))),
            true,
        ))),
        device: Some(Arc::new(Device::new(
            "LT-0042",
            DeviceKind::Laptop,
            Ownership::Company,
            Some("corp/ada"),
            ["tokyo"],
            posture(),
        ))),
        observed_limits: vec!["per-person".into()],
        ..decision(0x0042)
    }
}

/// A tunnel to a cloud service, about which everything is known.
pub(super) fn egress_decision() -> Decision {
    let crm = CloudService::new(
        "crm",
        Some(Level::Internal),
        Some("corp"),
        ["cloud-services"],
    );
    Decision {
        connection: connection_at(Door::Egress),
        method: Method::CONNECT,
        uri: "app.crm.example:443".parse().unwrap(),
        host: Some("app.crm.example".into()),
        app: None,
        action: Some(Action::Connect),
        destination: Some(Box::new(DestinationRecord {
            host: "app.crm.example".into(),
            port: 443,
            tunnel: true,
            address: false,
            domain: Some("crm.example".into()),
            categories: Box::new(["business".into(), "crm".into()]),
            feeds: Box::new(["allowed@a1b2c3d4e5f6".into()]),
            lists: 7,
            service: Some(Arc::new(crm)),
            observed: false,
            addresses: vec![
                "203.0.113.80:443".parse().unwrap(),
                "[2001:db8::80]:443".parse().unwrap(),
            ],
        })),
        ..full_decision()
    }
}

fn posture() -> DevicePosture {
    let seen = |value, age| Observation {
        value,
        source: PostureSource::Mdm,
        observed_at: NOW.minus(Duration::from_secs(age)),
        max_age: Duration::from_secs(3600),
    };
    DevicePosture::default()
        .with(
            PostureAttribute::DiskEncrypted,
            seen(PostureValue::Flag(true), 60),
        )
        .with(
            PostureAttribute::FirewallEnabled,
            seen(PostureValue::Flag(false), 60),
        )
        .with(
            PostureAttribute::EdrRunning,
            seen(PostureValue::Flag(true), 7200),
        )
        .with(
            PostureAttribute::OsVersion,
            seen(PostureValue::Version(14, 2, 1), 60),
        )
}

pub(super) fn completion(request: u128) -> Completion {
    Completion {
        at: NOW,
        request: RequestId(request),
        generation: 3,
        outcome: Outcome::Completed,
        status: Some(200),
        bytes_received: 12,
        bytes_sent: 3456,
        duration: Duration::from_micros(7250),
        upstream: Some("10.0.0.9:8080".into()),
        attempts: 1,
        ech: false,
    }
}

pub(super) fn operation(kind: &'static str) -> Operation {
    Operation {
        at: NOW,
        generation: 3,
        kind,
        detail: "configuration `masugata.toml`".to_owned(),
        policy_version: None,
    }
}

/// A completion for tests of those who carry bytes; one record serves all tests of the process.
pub(crate) fn trail() -> Arc<CompletionTrail> {
    static AUDITOR: OnceLock<(TempDir, Auditor)> = OnceLock::new();
    let (_, auditor) = AUDITOR.get_or_init(|| {
        let (directory, log) = place();
        let auditor = open(&log);
        (directory, auditor)
    });
    permitted_on(auditor)
}

/// A completion on a record of its own, which can be read.
pub(crate) struct Watched {
    _directory: TempDir,
    log: PathBuf,
    auditor: Auditor,
    pub(crate) trail: Arc<CompletionTrail>,
}

impl Watched {
    pub(crate) fn new() -> Self {
        let (directory, log) = place();
        let auditor = open(&log);
        Self {
            _directory: directory,
            log,
            trail: permitted_on(&auditor),
            auditor,
        }
    }

    /// The completion, once it is written.
    pub(crate) fn completion(&self) -> Option<Value> {
        self.auditor.flush(PATIENCE);
        let mut lines = lines(&self.log).into_iter();
        lines.find(|line| line.get("type").is_some_and(|kind| kind == "completion"))
    }
}

fn permitted_on(auditor: &Auditor) -> Arc<CompletionTrail> {
    let mut trail = Trail::open(
        auditor,
        Opening {
            request: RequestId(1),
            generation: 1,
            connection: connection(),
            method: Method::GET,
            uri: Uri::from_static("/"),
            started: auditor.clock().monotonic(),
        },
    );
    trail.permitted(Arc::default(), None).unwrap();
    trail.into_completion()
}
