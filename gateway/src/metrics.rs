//! What the gateway counts about itself, for Prometheus. The record says who did what; this says how much and how fast,
//! and holds no names of people, devices or paths.
//!
//! Hot paths add to atomics through handles that were looked up when the configuration was loaded. States of other
//! parts (the record's queue, certificates, upstreams) are read through one closure when somebody scrapes.

mod handles;
mod primitives;
mod readings;
mod scrape;

use std::fmt;
use std::sync::{Arc, OnceLock};

use http::StatusCode;
use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;

pub use handles::{AppMetrics, LimitMetrics, LockoutMetrics};
pub use primitives::{Count, Entered, Histogram, Level};
pub use readings::{
    AuditReading, CertificateReading, EgressReading, ListReading, Readings, UpstreamReading,
};

use crate::denial::DenialReason;
use crate::limits::AdmissionRefusal;
use handles::Named;

/// The media type of [`Metrics::encode`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Everything that is counted. One per process; lives across reloads.
#[derive(Default)]
pub struct Metrics {
    /// Client connections after their handshake.
    pub connections: Arc<Level>,
    pub requests_in_flight: Arc<Level>,
    pub handshakes_full: Count,
    pub handshakes_resumed: Count,
    pub decisions_fresh: Count,
    pub decisions_reused: Count,
    /// Tokens found verified already.
    pub tokens_hit: Count,
    pub tokens_missed: Count,
    pub reloads: Count,
    pub reloads_refused: Count,
    pub lockout: Arc<LockoutMetrics>,
    /// Requests of provisioning systems, by class of status.
    scim: Counts<{ handles::CLASSES.len() }>,
    /// For requests that reached no app; the label is empty.
    pub unrouted: Arc<AppMetrics>,
    handshake_failures: Counts<{ HandshakeFailure::ALL.len() }>,
    connections_refused: Counts<{ RefusedConnection::ALL.len() }>,
    denials: Counts<{ DenialReason::ALL.len() }>,
    apps: Named<AppMetrics>,
    limits: Named<LimitMetrics>,
    /// By the feed that a destination was found in.
    alerts: Named<Count>,
    readings: OnceLock<Box<dyn Fn() -> Readings + Send + Sync>>,
}

/// Why a TLS handshake failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandshakeFailure {
    /// It took too long.
    TimedOut,
    /// The client closed the connection or reset it.
    ClientGone,
    /// No device certificate where one is required.
    CertificateMissing,
    /// A device certificate that did not verify: unknown CA, expired, revoked, wrong use.
    CertificateRefused,
    /// No certificate of ours has the server name that was asked for, or none was asked for and there are several.
    NameUnknown,
    /// No common version, suite, group or protocol.
    NothingInCommon,
    /// The client did not accept our certificate.
    RefusedByClient,
    /// Not TLS, or broken TLS.
    Malformed,
}

impl HandshakeFailure {
    /// Every cause, in the order they are documented.
    pub const ALL: [Self; 8] = [
        Self::TimedOut,
        Self::ClientGone,
        Self::CertificateMissing,
        Self::CertificateRefused,
        Self::NameUnknown,
        Self::NothingInCommon,
        Self::RefusedByClient,
        Self::Malformed,
    ];

    /// The word used in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TimedOut => "timed-out",
            Self::ClientGone => "client-gone",
            Self::CertificateMissing => "certificate-missing",
            Self::CertificateRefused => "certificate-refused",
            Self::NameUnknown => "name-unknown",
            Self::NothingInCommon => "nothing-in-common",
            Self::RefusedByClient => "refused-by-client",
            Self::Malformed => "malformed",
        }
    }
}

/// Why a connection was closed before its handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusedConnection {
    Connections,
    ConnectionsPerAddress,
    HandshakesPerAddress,
    /// A missing, broken or unexpected `PROXY` header.
    ProxyProtocol,
}

impl RefusedConnection {
    /// Every cause, in the order they are documented.
    pub const ALL: [Self; 4] = [
        Self::Connections,
        Self::ConnectionsPerAddress,
        Self::HandshakesPerAddress,
        Self::ProxyProtocol,
    ];

    /// The word used in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::ConnectionsPerAddress => "connections-per-address",
            Self::HandshakesPerAddress => "handshakes-per-address",
            Self::ProxyProtocol => "proxy-protocol",
        }
    }
}

impl From<AdmissionRefusal> for RefusedConnection {
    fn from(refusal: AdmissionRefusal) -> Self {
        match refusal {
            AdmissionRefusal::Connections => Self::Connections,
            AdmissionRefusal::ConnectionsPerAddress => Self::ConnectionsPerAddress,
            AdmissionRefusal::HandshakesPerAddress => Self::HandshakesPerAddress,
        }
    }
}

impl Metrics {
    /// Everything at zero.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Where states are read from at each scrape. The first call counts.
    pub fn read_states_from(&self, readings: impl Fn() -> Readings + Send + Sync + 'static) {
        let _first_counts = self.readings.set(Box::new(readings));
    }

    /// The counters of an app, made at first use. Keep them beside the route.
    pub fn app(&self, name: &str) -> Arc<AppMetrics> {
        self.apps.of(name)
    }

    /// The counters of a limit, made at first use.
    pub fn limit(&self, name: &str) -> Arc<LimitMetrics> {
        self.limits.of(name)
    }

    /// After a reload: apps and limits that are gone disappear from the next scrape.
    pub fn retain(&self, app: impl Fn(&str) -> bool, limit: impl Fn(&str) -> bool) {
        self.apps.retain(app);
        self.limits.retain(limit);
    }

    /// A device asked for a destination that an alerting feed names.
    pub fn alerted(&self, feed: &str) {
        self.alerts.of(feed).increment();
    }

    /// A request was refused.
    pub fn denied(&self, app: &AppMetrics, reason: DenialReason) {
        app.denied.increment();
        self.denials.increment(reason as usize);
    }

    /// A request of a provisioning system was answered.
    pub fn scim_answered(&self, status: StatusCode) {
        let class = usize::from(status.as_u16() / 100);
        self.scim.increment(class.saturating_sub(1));
    }

    /// A TLS handshake failed.
    pub fn handshake_failed(&self, cause: HandshakeFailure) {
        self.handshake_failures.increment(cause as usize);
    }

    /// A connection was closed before its handshake.
    pub fn connection_refused(&self, cause: RefusedConnection) {
        self.connections_refused.increment(cause as usize);
    }

    /// OpenMetrics text, ending with `# EOF`.
    ///
    /// # Errors
    /// Only if a `String` cannot be written to.
    pub fn encode(self: &Arc<Self>) -> Result<String, fmt::Error> {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(scrape::Scrape(Arc::clone(self))));
        let mut page = String::with_capacity(16 * 1024);
        text::encode(&mut page, &registry)?;
        Ok(page)
    }

    fn apps(&self) -> Vec<(Arc<str>, Arc<AppMetrics>)> {
        let mut apps = self.apps.all();
        apps.push(("".into(), Arc::clone(&self.unrouted)));
        apps
    }

    fn limits(&self) -> Vec<(Arc<str>, Arc<LimitMetrics>)> {
        self.limits.all()
    }

    fn alerts(&self) -> Vec<(Arc<str>, Arc<Count>)> {
        self.alerts.all()
    }

    fn readings(&self) -> Option<Readings> {
        self.readings.get().map(|read| read())
    }

    fn denials(&self, reason: DenialReason) -> u64 {
        self.denials.value(reason as usize)
    }

    fn scim_answers(&self) -> [(&'static str, u64); 5] {
        let mut index = 0;
        handles::CLASSES.map(|class| {
            let count = self.scim.value(index);
            index += 1;
            (class, count)
        })
    }

    fn handshake_failures(&self, cause: HandshakeFailure) -> u64 {
        self.handshake_failures.value(cause as usize)
    }

    fn connections_refused(&self, cause: RefusedConnection) -> u64 {
        self.connections_refused.value(cause as usize)
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// One counter for each case of an enum, in its order; `every_cause_has_a_counter_of_its_own` counts them.
struct Counts<const N: usize>([Count; N]);

impl<const N: usize> Default for Counts<N> {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Count::default()))
    }
}

impl<const N: usize> Counts<N> {
    fn increment(&self, index: usize) {
        if let Some(count) = self.0.get(index) {
            count.increment();
        }
    }

    fn value(&self, index: usize) -> u64 {
        self.0.get(index).map_or(0, Count::value)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::time::Duration;

    use http::StatusCode;
    use masugata_policy::Timestamp;

    use super::*;

    #[test]
    fn every_cause_has_a_counter_of_its_own() {
        let metrics = Metrics::new();
        for reason in DenialReason::ALL {
            assert_eq!(metrics.denials(reason), 0);
            metrics.denied(&metrics.unrouted, reason);
            assert_eq!(metrics.denials(reason), 1, "{reason:?}");
        }
        for cause in HandshakeFailure::ALL {
            assert_eq!(metrics.handshake_failures(cause), 0);
            metrics.handshake_failed(cause);
            assert_eq!(metrics.handshake_failures(cause), 1, "{cause:?}");
        }
        for cause in RefusedConnection::ALL {
            assert_eq!(metrics.connections_refused(cause), 0);
            metrics.connection_refused(cause);
            assert_eq!(metrics.connections_refused(cause), 1, "{cause:?}");
        }
    }

    #[test]
    fn the_documented_table_is_what_a_scrape_shows() {
        let scraped = families(&busy().encode().unwrap());
        let documented = documented();
        assert_eq!(
            documented.keys().collect::<BTreeSet<_>>(),
            scraped.keys().collect::<BTreeSet<_>>()
        );
        for (name, family) in &scraped {
            assert_eq!(documented.get(name), Some(family), "{name}");
        }
    }

    #[test]
    fn a_fresh_process_shows_every_denial_code_at_zero() {
        let page = Metrics::new().encode().unwrap();
        for reason in DenialReason::ALL {
            let line = format!("masugata_denials_total{{reason=\"{}\"}} 0\n", reason.code());
            assert!(page.contains(&line), "{line}");
        }
        assert!(page.ends_with("# EOF\n"));
    }

    #[test]
    fn counters_of_an_app_survive_a_reload_and_leave_with_it() {
        let metrics = Metrics::new();
        metrics.app("payroll").permitted.increment();
        metrics.app("payroll").permitted.increment();
        assert!(metrics.encode().unwrap().contains(PAYROLL_PERMITTED_TWICE));
        metrics.retain(|app| app != "payroll", |_| true);
        assert!(!metrics.encode().unwrap().contains("payroll"));
    }

    #[test]
    fn names_cannot_break_out_of_their_label() {
        let metrics = Metrics::new();
        metrics
            .app("a\"} 1\nmasugata_fake 1\\")
            .permitted
            .increment();
        let page = metrics.encode().unwrap();
        assert!(
            !page.lines().any(|line| line.starts_with("masugata_fake")),
            "{page}"
        );
    }

    #[test]
    fn a_histogram_adds_up() {
        let metrics = Metrics::new();
        let app = metrics.app("payroll");
        for millis in [1, 3, 70_000] {
            app.completed(Duration::from_millis(millis), 10, 20);
        }
        let page = metrics.encode().unwrap();
        for line in [
            "masugata_request_duration_seconds_bucket{le=\"0.001\",app=\"payroll\"} 1",
            "masugata_request_duration_seconds_bucket{le=\"0.005\",app=\"payroll\"} 2",
            "masugata_request_duration_seconds_bucket{le=\"+Inf\",app=\"payroll\"} 3",
            "masugata_request_duration_seconds_count{app=\"payroll\"} 3",
            "masugata_request_duration_seconds_sum{app=\"payroll\"} 70.004",
            "masugata_received_bytes_total{app=\"payroll\"} 30",
            "masugata_sent_bytes_total{app=\"payroll\"} 60",
        ] {
            assert!(page.lines().any(|found| found == line), "{line}\n{page}");
        }
    }

    const PAYROLL_PERMITTED_TWICE: &str =
        "masugata_requests_total{app=\"payroll\",outcome=\"permitted\"} 2\n";

    /// Metrics in which every family has a sample.
    fn busy() -> Arc<Metrics> {
        let metrics = Metrics::new();
        let app = metrics.app("payroll");
        app.answered(StatusCode::OK);
        app.overhead(Duration::from_micros(30));
        app.upstream_failed("connection-refused");
        metrics.limit("per-user").exceeded.increment();
        metrics.alerted("c2");
        metrics.read_states_from(|| Readings {
            loaded_at: Some(Timestamp::from_seconds(1_800_000_000)),
            certificates: vec![CertificateReading {
                name: "app.example".into(),
                not_after_seconds: 1_900_000_000,
            }],
            people_inactive: Some(1),
            sessions: Some(1),
            upstreams: vec![UpstreamReading {
                app: "payroll".into(),
                server: "10.0.0.7:8443".into(),
                healthy: true,
            }],
            egress: Some(EgressReading {
                tunnels: 7,
                cuts: vec![(DenialReason::SniMismatch, 1)],
                lists: vec![ListReading {
                    feed: "c2".into(),
                    entries: 1000,
                    age: Some(Duration::from_secs(60)),
                }],
            }),
            ..Readings::default()
        });
        metrics
    }

    /// Type and labels.
    type Family = (String, BTreeSet<String>);

    /// Families of a page, by the name that samples have in queries. Checks on the way that each sample belongs to the
    /// family announced before it.
    fn families(page: &str) -> BTreeMap<String, Family> {
        let mut families = BTreeMap::new();
        let mut current = (String::new(), String::new());
        for line in page.lines() {
            if let Some(announced) = line.strip_prefix("# TYPE ") {
                let (name, kind) = announced.split_once(' ').unwrap();
                current = (name.into(), kind.into());
                let suffix = match kind {
                    "counter" => "_total",
                    "info" => "_info",
                    _ => "",
                };
                let entry = (kind.to_owned(), BTreeSet::new());
                assert!(
                    families.insert(format!("{name}{suffix}"), entry).is_none(),
                    "{name} twice"
                );
            } else if !line.starts_with('#') {
                let (sample, _value) = line.rsplit_once(' ').unwrap();
                let (name, labels) = sample.split_once('{').unwrap_or((sample, ""));
                let suffix = name.strip_prefix(&current.0).unwrap();
                assert!(["", "_total", "_info", "_sum", "_count", "_bucket"].contains(&suffix));
                let key = families.keys().find(|key| {
                    key.as_str() == name || (current.1 == "histogram" && **key == current.0)
                });
                let key = key.cloned().unwrap();
                let found = labels
                    .trim_end_matches('}')
                    .split("\",")
                    .filter(|l| !l.is_empty());
                let found = found.map(|label| label.split_once('=').unwrap().0.to_owned());
                families
                    .get_mut(&key)
                    .unwrap()
                    .1
                    .extend(found.filter(|label| label != "le"));
            }
        }
        families
    }

    /// The table rows that name a metric.
    fn documented() -> BTreeMap<String, Family> {
        let docs = include_str!("../../docs/operations.md");
        let rows = docs.lines().filter(|line| line.starts_with("| `masugata_"));
        rows.map(|row| {
            let cells: Vec<_> = row.split('|').map(str::trim).collect();
            let labels = cells[3]
                .split(',')
                .map(|label| label.trim().trim_matches('`'));
            let labels = labels
                .filter(|label| !label.is_empty())
                .map(str::to_owned)
                .collect();
            (
                cells[1].trim_matches('`').to_owned(),
                (cells[2].to_owned(), labels),
            )
        })
        .collect()
    }
}
