//! Events in words: one JSON object per line, with the members that `docs/audit-log.md` lists.
//!
//! Everything is borrowed from the event and written straight into the batch: a record costs no allocation of its own.

use std::fmt::Display;
use std::net::IpAddr;
use std::time::Duration;

use masugata_certs::{DeviceIdentity, VerifiedPeer};
use masugata_policy::{
    Action, App, Authentication, Device, Observation, PostureAttribute, PostureValue, Principal,
    PrincipalKind, Timestamp,
};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::chain::{Hash, Head, hex, seal};
use super::event::{Completion, Decision, Event, Operation, Outcome, Verdict};
use super::fragments::{ALWAYS, Fragments, Window, member};
use super::text::{Caps, Cutter, Guarded, Stamp, Stamps, Texts};
use super::words;
use crate::connection::{Connection, Door, Protocol};
use crate::denial::Stage;

/// The format's version: a member's meaning never changes under the same number; members may be added.
pub(super) const VERSION: u8 = 1;

/// Longest line, with its end. Below the 65,535 bytes that a transparency log's entry may have.
pub(super) const LINE_LIMIT: usize = 60 * 1024;

/// What the writer itself has to say, beyond an [`Operation`].
#[derive(Debug, Default)]
pub(super) struct Remark {
    /// The chain goes on from another file.
    pub(super) continues: bool,
    pub(super) lost_decisions: Option<u64>,
    pub(super) lost_completions: Option<u64>,
    pub(super) set_aside_bytes: Option<u64>,
    pub(super) set_aside_file: Option<String>,
}

/// Appends the line of an event after `head`, and returns where the chain then stands.
pub(super) fn write_event(
    buffer: &mut Vec<u8>,
    head: Head,
    event: &Event,
    query: bool,
    fragments: &mut Fragments,
) -> Head {
    chained(buffer, head, |buffer, caps, sequence| match event {
        Event::Decision(decision) => {
            write_decision(buffer, caps, sequence, decision, query, fragments)
        }
        Event::Completion(completion) => {
            write_completion(buffer, caps, sequence, completion, &mut fragments.stamps)
        }
        Event::Operation(operation) => {
            write_operation(buffer, caps, sequence, operation, &Remark::default(), head)
        }
        Event::Handshake(handshake) => handshake::write(buffer, caps, sequence, handshake),
        Event::Person(person) => person::write(buffer, caps, sequence, person),
    })
}

/// As [`write_event`], for what the writer says.
pub(super) fn write_remark(
    buffer: &mut Vec<u8>,
    head: Head,
    operation: &Operation,
    remark: &Remark,
) -> Head {
    chained(buffer, head, |buffer, caps, sequence| {
        write_operation(buffer, caps, sequence, operation, remark, head)
    })
}

fn chained(
    buffer: &mut Vec<u8>,
    head: Head,
    mut write: impl FnMut(&mut Vec<u8>, Caps, u64) -> serde_json::Result<()>,
) -> Head {
    let start = buffer.len();
    let sequence = head.sequence.saturating_add(1);
    let written = write(buffer, Caps::USUAL, sequence);
    if written.is_err() || buffer.len() - start > LINE_LIMIT - super::chain::SEAL_LENGTH {
        buffer.truncate(start);
        // Writing into memory what has no maps with odd keys can not fail.
        let _ = write(buffer, Caps::TIGHT, sequence);
    }
    Head {
        sequence,
        hash: seal(buffer, start, head.hash),
    }
}

pub(super) fn put(buffer: &mut Vec<u8>, line: &impl Serialize) -> serde_json::Result<()> {
    line.serialize(&mut serde_json::Serializer::with_formatter(buffer, Guarded))
}

/// How every line of this version begins.
const BEGIN: &[u8] = const {
    assert!(VERSION == 1);
    br#"{"v":1,"seq":"#
};

fn write_decision(
    buffer: &mut Vec<u8>,
    caps: Caps,
    seq: u64,
    event: &Decision,
    query: bool,
    fragments: &mut Fragments,
) -> serde_json::Result<()> {
    let mut cutter = Cutter::new(caps);
    write_answer(buffer, event, seq, &mut cutter, &mut fragments.stamps)?;
    write_question(buffer, event, query, &mut cutter)?;
    write_parties(buffer, event, &mut cutter, fragments)?;
    if !cutter.cut.is_empty() {
        member(buffer, "truncated", &cutter.cut)?;
    }
    buffer.push(b'}');
    Ok(())
}

/// Which line it is, when, and what was decided why.
fn write_answer(
    buffer: &mut Vec<u8>,
    event: &Decision,
    seq: u64,
    cutter: &mut Cutter,
    stamps: &mut Stamps,
) -> serde_json::Result<()> {
    let verdict = VerdictPart::of(&event.verdict);
    words::number(buffer, BEGIN, seq)?;
    words::stamp(buffer, b",\"time\":", stamps.of(event.at));
    buffer.extend_from_slice(br#","type":"decision""#);
    words::word(buffer, b",\"log\":", verdict.log());
    words::request_id(buffer, b",\"request_id\":", event.request);
    words::number(buffer, b",\"generation\":", event.generation)?;
    words::word(buffer, b",\"decision\":", verdict.word);
    words::word_if(buffer, b",\"code\":", verdict.code);
    words::word_if(buffer, b",\"stage\":", verdict.stage.map(Stage::as_str));
    let detail = verdict.detail.map(|text| cutter.text("detail", text));
    words::text_if(buffer, b",\"detail\":", detail)?;
    let policies = cutter.list("policies", verdict.policies);
    words::texts(buffer, b",\"policies\":", &policies)?;
    words::text_if(buffer, b",\"policy_version\":", verdict.version)?;
    let observed = cutter.list("observed_limits", &event.observed_limits);
    words::texts(buffer, b",\"observed_limits\":", &observed)
}

/// What was asked for.
fn write_question(
    buffer: &mut Vec<u8>,
    event: &Decision,
    query: bool,
    cutter: &mut Cutter,
) -> serde_json::Result<()> {
    let door = match event.connection.door {
        Door::Ingress => "ingress",
        Door::Egress => "egress",
    };
    words::word(buffer, b",\"door\":", door);
    let method = cutter.text("method", event.method.as_str());
    words::text(buffer, b",\"method\":", method)?;
    let host = event.host.as_deref().map(|host| cutter.text("host", host));
    words::text_if(buffer, b",\"host\":", host)?;
    // A tunnel has none.
    let path = Some(event.uri.path()).filter(|path| !path.is_empty());
    let path = path.map(|path| cutter.path("path", path));
    words::text_if(buffer, b",\"path\":", path)?;
    if query && let Some(query) = event.uri.query() {
        words::text(buffer, b",\"query\":", cutter.path("query", query))?;
    }
    let action = event.action.map(Action::as_str);
    words::word_if(buffer, b",\"action\":", action);
    event.destination.as_deref().map_or(Ok(()), |destination| {
        destination::write(buffer, destination, cutter)
    })
}

/// Who, proved how, on which device, over which connection, to which app.
fn write_parties(
    buffer: &mut Vec<u8>,
    event: &Decision,
    cutter: &mut Cutter,
    fragments: &mut Fragments,
) -> serde_json::Result<()> {
    let now = event.at;
    if let Some(app) = event.app.as_deref() {
        fragments
            .apps
            .append(buffer, cutter, app.revision(), now, |buffer, cutter| {
                member(buffer, "app", &AppPart::of(app, cutter)).map(|()| ALWAYS)
            })?;
    }
    if let Some(principal) = event.principal.as_deref() {
        let key = principal.revision();
        fragments
            .principals
            .append(buffer, cutter, key, now, |buffer, cutter| {
                member(buffer, "principal", &PrincipalPart::of(principal, cutter)).map(|()| ALWAYS)
            })?;
    }
    if let Some(proof) = event.authentication.as_deref() {
        let key = proof.revision();
        fragments
            .authentications
            .append(buffer, cutter, key, now, |buffer, cutter| {
                let part = AuthenticationPart::of(proof, now, cutter);
                member(buffer, "authentication", &part).map(|()| same_age(proof, now))
            })?;
    }
    if let Some(device) = event.device.as_deref() {
        let key = device.revision();
        fragments
            .devices
            .append(buffer, cutter, key, now, |buffer, cutter| {
                member(buffer, "device", &DevicePart::of(device, now, cutter))
                    .map(|()| same_freshness(device, now))
            })?;
    }
    let connection = &*event.connection;
    fragments
        .connections
        .append(buffer, cutter, connection.id, now, |buffer, cutter| {
            if let Some(peer) = connection.device() {
                member(buffer, "certificate", &CertificatePart::of(peer, cutter))?;
            }
            member(
                buffer,
                "connection",
                &ConnectionPart::of(connection, cutter),
            )
            .map(|()| ALWAYS)
        })
}

/// While the age in whole seconds stays what it is.
fn same_age(proof: &Authentication, now: Timestamp) -> Window {
    let Some(at) = proof.authenticated_at else {
        return ALWAYS;
    };
    let begun = at.plus(Duration::from_secs(now.since(at).as_secs()));
    (now, begun.plus(Duration::from_secs(1)).max(now))
}

/// While no observation becomes stale, or comes within the tolerated skew.
fn same_freshness(device: &Device, now: Timestamp) -> Window {
    let seen = PostureAttribute::ALL
        .into_iter()
        .filter_map(|attribute| device.posture().observation(attribute));
    let turns = seen.flat_map(|seen| {
        [
            seen.fresh_until(),
            seen.observed_at.minus(Observation::MAX_SKEW),
        ]
    });
    (
        now,
        turns
            .filter(|turn| *turn > now)
            .min()
            .unwrap_or(Timestamp::MAX),
    )
}

struct VerdictPart<'a> {
    word: &'static str,
    code: Option<&'static str>,
    stage: Option<Stage>,
    detail: Option<&'a str>,
    policies: &'a [Box<str>],
    version: Option<&'a str>,
}

impl<'a> VerdictPart<'a> {
    fn log(&self) -> &'static str {
        if self.stage == Some(Stage::Authenticate) {
            "authentication"
        } else {
            "access"
        }
    }

    fn of(verdict: &'a Verdict) -> Self {
        match verdict {
            Verdict::Permitted { policies, version } => Self {
                word: "permitted",
                code: None,
                stage: None,
                detail: None,
                policies,
                version: version.as_ref().map(|version| version.as_str()),
            },
            Verdict::Denied {
                reason,
                detail,
                policies,
                version,
            } => Self {
                word: "denied",
                code: Some(reason.code()),
                stage: Some(reason.stage()),
                detail: detail.as_deref(),
                policies,
                version: version.as_ref().map(|version| version.as_str()),
            },
            Verdict::Abandoned => Self {
                word: "abandoned",
                code: None,
                stage: None,
                detail: None,
                policies: &[],
                version: None,
            },
        }
    }
}

#[derive(Serialize)]
struct AppPart<'a> {
    name: &'a str,
    level: &'static str,
}

impl<'a> AppPart<'a> {
    fn of(app: &'a App, cutter: &mut Cutter) -> Self {
        Self {
            name: cutter.text("app.name", app.name()),
            level: app.level().as_str(),
        }
    }
}

#[derive(Serialize)]
struct PrincipalPart<'a> {
    kind: &'static str,
    id: &'a str,
    issuer: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Texts::is_empty")]
    roles: Texts<'a, Box<str>>,
    #[serde(skip_serializing_if = "Texts::is_empty")]
    groups: Texts<'a, Box<str>>,
}

impl<'a> PrincipalPart<'a> {
    fn of(principal: &'a Principal, cutter: &mut Cutter) -> Self {
        Self {
            kind: match principal.kind() {
                PrincipalKind::User => "user",
                PrincipalKind::Service => "service",
            },
            id: cutter.text("principal.id", principal.id()),
            issuer: cutter.text("principal.issuer", principal.issuer()),
            name: principal
                .name()
                .map(|name| cutter.text("principal.name", name)),
            roles: cutter.list("principal.roles", principal.roles()),
            groups: cutter.list("principal.groups", principal.groups()),
        }
    }
}

#[derive(Serialize)]
struct AuthenticationPart<'a> {
    multi_factor: bool,
    phishing_resistant: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    acr: Option<&'a str>,
    #[serde(skip_serializing_if = "Texts::is_empty")]
    amr: Texts<'a, Box<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    authenticated_at: Option<Stamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    age_seconds: Option<u64>,
    certificate_bound: bool,
    credential: &'static str,
}

impl<'a> AuthenticationPart<'a> {
    fn of(proof: &'a Authentication, now: Timestamp, cutter: &mut Cutter) -> Self {
        Self {
            multi_factor: proof.multi_factor,
            phishing_resistant: proof.phishing_resistant,
            acr: proof
                .acr
                .as_deref()
                .map(|acr| cutter.text("authentication.acr", acr)),
            amr: cutter.list("authentication.amr", &proof.amr),
            authenticated_at: proof.authenticated_at.map(Stamp::new),
            age_seconds: proof.authenticated_at.map(|at| now.since(at).as_secs()),
            certificate_bound: proof.certificate_bound,
            credential: proof.credential().as_str(),
        }
    }
}

#[derive(Serialize)]
struct DevicePart<'a> {
    id: &'a str,
    kind: &'static str,
    ownership: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<&'a str>,
    #[serde(skip_serializing_if = "Texts::is_empty")]
    groups: Texts<'a, Box<str>>,
    posture: PosturePart<'a>,
}

impl<'a> DevicePart<'a> {
    fn of(device: &'a Device, now: Timestamp, cutter: &mut Cutter) -> Self {
        Self {
            id: cutter.text("device.id", device.id()),
            kind: device.kind().as_str(),
            ownership: device.ownership().as_str(),
            owner: device
                .owner()
                .map(|owner| cutter.text("device.owner", owner)),
            groups: cutter.list("device.groups", device.groups()),
            posture: PosturePart { device, now },
        }
    }
}

/// What counted at the decision; `"stale"` for what was known but no longer counted. Never seen: absent.
struct PosturePart<'a> {
    device: &'a Device,
    now: Timestamp,
}

impl Serialize for PosturePart<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for attribute in PostureAttribute::ALL {
            let Some(seen) = self.device.posture().observation(attribute) else {
                continue;
            };
            map.serialize_key(attribute.as_str())?;
            match seen.value {
                _ if !seen.is_fresh(self.now) => map.serialize_value("stale")?,
                PostureValue::Flag(flag) => map.serialize_value(&flag)?,
                PostureValue::Version(major, minor, patch) => {
                    map.serialize_value(&Shown(format_args!("{major}.{minor}.{patch}")))?;
                }
            }
        }
        map.end()
    }
}

#[derive(Serialize)]
struct CertificatePart<'a> {
    identity: &'a str,
    identity_kind: &'static str,
    serial: &'a str,
    issuer: &'a str,
    thumbprint: Hex,
    not_after: Stamp,
}

impl<'a> CertificatePart<'a> {
    fn of(peer: &'a VerifiedPeer, cutter: &mut Cutter) -> Self {
        Self {
            identity: cutter.text("certificate.identity", peer.identity().as_str()),
            identity_kind: identity_kind(peer.identity()),
            serial: cutter.text("certificate.serial", peer.serial()),
            issuer: cutter.text("certificate.issuer", peer.issuer()),
            thumbprint: Hex::of(peer.thumbprint()),
            not_after: Stamp::new(Timestamp::from_seconds(peer.not_after_seconds())),
        }
    }
}

fn identity_kind(identity: &DeviceIdentity) -> &'static str {
    match identity {
        DeviceIdentity::Spiffe(_) => "spiffe",
        DeviceIdentity::Uuid(_) => "uuid",
        DeviceIdentity::PermanentIdentifier(_) => "permanent_identifier",
        DeviceIdentity::HardwareModule(_) => "hardware_module",
        DeviceIdentity::SerialNumber(_) => "serial_number",
        DeviceIdentity::Thumbprint(_) => "thumbprint",
    }
}

#[derive(Serialize)]
struct ConnectionPart<'a> {
    id: u64,
    client_address: IpAddr,
    client_port: u16,
    local_address: IpAddr,
    local_port: u16,
    protocol: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    server_name: Option<&'a str>,
    tls_version: &'static str,
    cipher_suite: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    key_exchange_group: &'static str,
    resumed: bool,
}

impl<'a> ConnectionPart<'a> {
    fn of(connection: &'a Connection, cutter: &mut Cutter) -> Self {
        let tls = &connection.tls;
        Self {
            id: connection.id,
            // An IPv4 client on a socket for both families is one client, with one spelling to search for.
            client_address: connection.remote.ip().to_canonical(),
            client_port: connection.remote.port(),
            local_address: connection.local.ip().to_canonical(),
            local_port: connection.local.port(),
            protocol: match tls.protocol {
                Protocol::Http1 => "http/1.1",
                Protocol::Http2 => "h2",
            },
            server_name: tls
                .server_name
                .as_deref()
                .map(|name| cutter.text("connection.server_name", name)),
            tls_version: tls.version,
            cipher_suite: tls.suite,
            key_exchange_group: tls.group,
            resumed: tls.resumed,
        }
    }
}

fn write_completion(
    buffer: &mut Vec<u8>,
    caps: Caps,
    seq: u64,
    event: &Completion,
    stamps: &mut Stamps,
) -> serde_json::Result<()> {
    let mut cutter = Cutter::new(caps);
    let (outcome, cause) = outcome(event.outcome);
    let upstream = event
        .upstream
        .as_deref()
        .map(|upstream| cutter.text("upstream", upstream));
    words::number(buffer, BEGIN, seq)?;
    words::stamp(buffer, b",\"time\":", stamps.of(event.at));
    buffer.extend_from_slice(br#","type":"completion","log":"access""#);
    words::request_id(buffer, b",\"request_id\":", event.request);
    words::number(buffer, b",\"generation\":", event.generation)?;
    words::word(buffer, b",\"outcome\":", outcome);
    words::word_if(buffer, b",\"cause\":", cause);
    if let Some(status) = event.status {
        words::number(buffer, b",\"status\":", status.into())?;
    }
    words::number(buffer, b",\"bytes_received\":", event.bytes_received)?;
    words::number(buffer, b",\"bytes_sent\":", event.bytes_sent)?;
    words::millis(buffer, b",\"duration_ms\":", event.duration)?;
    words::text_if(buffer, b",\"upstream\":", upstream)?;
    words::number(buffer, b",\"attempts\":", event.attempts.into())?;
    if event.ech {
        buffer.extend_from_slice(b",\"ech\":true");
    }
    if !cutter.cut.is_empty() {
        member(buffer, "truncated", &cutter.cut)?;
    }
    buffer.push(b'}');
    Ok(())
}

/// The word for it, and what brought it about.
fn outcome(outcome: Outcome) -> (&'static str, Option<&'static str>) {
    match outcome {
        Outcome::Completed => ("completed", None),
        Outcome::ClientGone => ("client-gone", None),
        Outcome::UpstreamFailed(cause) => ("upstream-failed", Some(cause)),
        Outcome::TimedOut(which) => ("timed-out", Some(which)),
        Outcome::Cut(reason) => ("cut", Some(reason.code())),
        Outcome::ShutDown => ("shut-down", None),
    }
}

#[derive(Serialize)]
struct OperationLine<'a> {
    v: u8,
    seq: u64,
    time: Stamp,
    r#type: &'static str,
    log: &'static str,
    privileged: bool,
    generation: u64,
    operation: &'static str,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy_version: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    previous_seq: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    previous_hash: Option<Shown<Hash>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lost_decisions: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lost_completions: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    set_aside_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    set_aside_file: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    truncated: &'a [&'static str],
}

fn write_operation(
    buffer: &mut Vec<u8>,
    caps: Caps,
    seq: u64,
    event: &Operation,
    remark: &Remark,
    head: Head,
) -> serde_json::Result<()> {
    let mut cutter = Cutter::new(caps);
    let (log, privileged) = kind_of_log(event.kind);
    let mut line = OperationLine {
        v: VERSION,
        seq,
        time: Stamp::new(event.at),
        r#type: "operation",
        log,
        privileged,
        generation: event.generation,
        operation: event.kind,
        detail: cutter.path("detail", &event.detail),
        policy_version: event
            .policy_version
            .as_ref()
            .map(|version| version.as_str()),
        previous_seq: remark.continues.then_some(head.sequence),
        previous_hash: remark.continues.then_some(Shown(head.hash)),
        lost_decisions: remark.lost_decisions,
        lost_completions: remark.lost_completions,
        set_aside_bytes: remark.set_aside_bytes,
        set_aside_file: remark
            .set_aside_file
            .as_deref()
            .map(|file| cutter.path("set_aside_file", file)),
        truncated: &[],
    };
    line.truncated = &cutter.cut;
    put(buffer, &line)
}

/// Which of the five kinds of logs (measure J-5) an operation belongs to, and whether it took an operator's rights.
/// What the gateway did by itself is an event; everything else somebody did: users for themselves, or an operator.
fn kind_of_log(operation: &str) -> (&'static str, bool) {
    use super::writer::{ALTERED, CHECKPOINT_MISSING, LOST, RECOVERED, RESUMED, ROTATED};
    let by_itself = [
        ALTERED,
        CHECKPOINT_MISSING,
        LOST,
        RECOVERED,
        RESUMED,
        ROTATED,
        "alert",
        "feed-loaded",
        "feed-refused",
    ];
    if by_itself.contains(&operation) {
        ("event", false)
    } else if matches!(operation, "reason-given" | "proxy-password-issued") {
        ("operation", false)
    } else {
        ("operation", true)
    }
}

/// Anything by its `Display`.
struct Shown<T>(T);

impl<T: Display> Serialize for Shown<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

struct Hex([u8; 64]);

impl Hex {
    fn of(bytes: &[u8; 32]) -> Self {
        let mut text = [0; 64];
        hex(bytes, &mut text);
        Self(text)
    }
}

impl Serialize for Hex {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(std::str::from_utf8(&self.0).unwrap_or_default())
    }
}

mod destination;
mod handshake;
mod person;
#[cfg(test)]
mod tests;
