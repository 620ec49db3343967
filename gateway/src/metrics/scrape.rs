//! From counters to the exposition format (OpenMetrics 1.0 text). Names, units and labels are a promise to operators:
//! `docs/operations.md` lists them, and a test compares the list with a scrape.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use super::handles::{AppMetrics, CLASSES};
use super::primitives::{Count, Histogram};
use super::readings::{EgressReading, Readings};
use super::{HandshakeFailure, Metrics, RefusedConnection};
use crate::denial::DenialReason;

/// Hands everything to the encoder in one go.
#[derive(Debug)]
pub(super) struct Scrape(pub(super) Arc<Metrics>);

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut page = Page(encoder);
        let metrics = &*self.0;
        process(&mut page, metrics)?;
        connections(&mut page, metrics)?;
        requests(&mut page, metrics)?;
        apps(&mut page, metrics)?;
        limits(&mut page, metrics)?;
        page.counters(
            "masugata_scim_requests",
            "Requests of provisioning systems by class of status.",
            metrics
                .scim_answers()
                .map(|(class, count)| ([("class", class)], count)),
        )?;
        let alerts = metrics.alerts();
        page.counters(
            "masugata_alerts",
            "Devices that asked for a destination which an alerting list names.",
            alerts
                .iter()
                .map(|(feed, count)| ([("feed", &**feed)], count.value())),
        )?;
        match metrics.readings() {
            Some(readings) => states(&mut page, &readings),
            None => Ok(()),
        }
    }
}

fn process(page: &mut Page<'_>, metrics: &Metrics) -> fmt::Result {
    page.info(
        "masugata_build",
        "The running program.",
        [("version", env!("CARGO_PKG_VERSION"))],
    )?;
    page.counters(
        "masugata_reloads",
        "Attempts to load a changed configuration.",
        [
            ([("result", "ok")], metrics.reloads.value()),
            ([("result", "refused")], metrics.reloads_refused.value()),
        ],
    )
}

fn connections(page: &mut Page<'_>, metrics: &Metrics) -> fmt::Result {
    page.gauge(
        "masugata_connections",
        "Client connections after their handshake.",
        metrics.connections.value(),
    )?;
    page.counters(
        "masugata_handshakes",
        "Finished TLS handshakes.",
        [
            ([("kind", "full")], metrics.handshakes_full.value()),
            ([("kind", "resumed")], metrics.handshakes_resumed.value()),
        ],
    )?;
    page.counters(
        "masugata_handshake_failures",
        "TLS handshakes that failed.",
        HandshakeFailure::ALL.map(|cause| {
            (
                [("cause", cause.as_str())],
                metrics.handshake_failures(cause),
            )
        }),
    )?;
    page.counters(
        "masugata_connections_refused",
        "Connections closed before any cryptography.",
        RefusedConnection::ALL.map(|cause| {
            (
                [("cause", cause.as_str())],
                metrics.connections_refused(cause),
            )
        }),
    )
}

fn requests(page: &mut Page<'_>, metrics: &Metrics) -> fmt::Result {
    page.gauge(
        "masugata_requests_in_flight",
        "Requests that are not answered to the end.",
        metrics.requests_in_flight.value(),
    )?;
    page.counters(
        "masugata_denials",
        "Refused requests by code.",
        DenialReason::ALL.map(|reason| ([("reason", reason.code())], metrics.denials(reason))),
    )?;
    page.counters(
        "masugata_decisions",
        "Policy decisions, taken anew or reused because nothing they depend on has changed.",
        [
            ([("kind", "fresh")], metrics.decisions_fresh.value()),
            ([("kind", "reused")], metrics.decisions_reused.value()),
        ],
    )?;
    page.counters(
        "masugata_token_lookups",
        "Bearer tokens by whether they had been verified before.",
        [
            ([("result", "hit")], metrics.tokens_hit.value()),
            ([("result", "miss")], metrics.tokens_missed.value()),
        ],
    )
}

fn apps(page: &mut Page<'_>, metrics: &Metrics) -> fmt::Result {
    let apps = metrics.apps();
    let outcomes = apps.iter().flat_map(|(name, app)| {
        [
            ("permitted", &app.permitted),
            ("denied", &app.denied),
            ("abandoned", &app.abandoned),
        ]
        .map(|(outcome, count)| ([("app", &**name), ("outcome", outcome)], count.value()))
    });
    page.counters("masugata_requests", "Requests by decision.", outcomes)?;
    let responses = apps.iter().flat_map(|(name, app)| {
        let classes = CLASSES.iter().zip(&app.responses);
        classes.map(|(class, count)| ([("app", &**name), ("class", *class)], count.value()))
    });
    page.counters(
        "masugata_responses",
        "Answers by class of status.",
        responses,
    )?;
    let histogram = |page: &mut Page<'_>, name, help, pick: fn(&AppMetrics) -> &Histogram| {
        let samples = apps
            .iter()
            .map(|(name, app)| ([("app", &**name)], pick(app)));
        page.histograms(name, help, samples)
    };
    histogram(
        page,
        "masugata_request_duration",
        "From the head of a request to the end of its answer, streams included.",
        |app| &app.duration,
    )?;
    histogram(
        page,
        "masugata_request_overhead",
        "From the head of a request to the moment it is handed upstream or refused.",
        |app| &app.overhead,
    )?;
    let count = |page: &mut Page<'_>, name, unit, help, pick: fn(&AppMetrics) -> &Count| {
        let samples = apps
            .iter()
            .map(|(name, app)| ([("app", &**name)], pick(app).value()));
        page.counters_in(name, unit, help, samples)
    };
    count(
        page,
        "masugata_received",
        BYTES,
        "Request body bytes from clients.",
        |app| &app.bytes_received,
    )?;
    count(
        page,
        "masugata_sent",
        BYTES,
        "Answer body bytes to clients.",
        |app| &app.bytes_sent,
    )?;
    count(
        page,
        "masugata_upstream_retries",
        None,
        "Requests sent upstream again.",
        |app| &app.retries,
    )?;
    let failures: Vec<_> = apps
        .iter()
        .flat_map(|(name, app)| {
            app.upstream_failures()
                .into_iter()
                .map(move |(c, n)| (name, c, n))
        })
        .collect();
    let failures = failures
        .iter()
        .map(|(name, code, count)| ([("app", &***name), ("code", *code)], *count));
    page.counters(
        "masugata_upstream_failures",
        "Exchanges that failed upstream.",
        failures,
    )
}

fn limits(page: &mut Page<'_>, metrics: &Metrics) -> fmt::Result {
    let limits = metrics.limits();
    let refusals = limits.iter().flat_map(|(name, limit)| {
        [("enforce", &limit.exceeded), ("observe", &limit.observed)]
            .map(|(mode, count)| ([("limit", &**name), ("mode", mode)], count.value()))
    });
    page.counters(
        "masugata_limit_exceeded",
        "Requests that a rate limit refused, or would have refused.",
        refusals,
    )?;
    page.counters(
        "masugata_limit_overflowed",
        "Requests counted in the bucket that keys without room share.",
        limits
            .iter()
            .map(|(name, limit)| ([("limit", &**name)], limit.overflowed.value())),
    )?;
    page.gauges(
        "masugata_limit_keys",
        None,
        "Keys that a rate limit tells apart now.",
        limits
            .iter()
            .map(|(name, limit)| ([("limit", &**name)], signed(limit.keys.value()))),
    )?;
    let lockout = &metrics.lockout;
    page.counters(
        "masugata_failed_credentials",
        "Credentials that failed verification, by what they are counted against.",
        [
            ([("source", "device")], lockout.failures_by_device.value()),
            ([("source", "address")], lockout.failures_by_address.value()),
        ],
    )?;
    page.counter(
        "masugata_lockouts",
        "Times that a source was locked.",
        lockout.locks.value(),
    )?;
    page.counter(
        "masugata_lockout_refusals",
        "Requests refused because their source is delayed or locked.",
        lockout.refusals.value(),
    )?;
    page.gauge(
        "masugata_lockout_sources",
        "Sources delayed or locked now.",
        lockout.blocked.value(),
    )
}

fn states(page: &mut Page<'_>, readings: &Readings) -> fmt::Result {
    let audit = &readings.audit;
    page.gauge(
        "masugata_audit_queue",
        "Records that wait for the disk.",
        clamped(audit.queued),
    )?;
    page.counter("masugata_audit_written", "Records written.", audit.written)?;
    page.counter("masugata_audit_lost", "Records given up.", audit.lost)?;
    page.gauge(
        "masugata_audit_healthy",
        "1 while records can be written.",
        usize::from(audit.healthy),
    )?;
    page.gauge(
        "masugata_configuration_generation",
        "Counts configurations since the start.",
        clamped(readings.generation),
    )?;
    if let Some(inactive) = readings.people_inactive {
        page.gauge(
            "masugata_people_inactive",
            "Provisioned people whose access is ended, those who are gone included.",
            clamped(inactive),
        )?;
    }
    if let Some(sessions) = readings.sessions {
        page.gauge(
            "masugata_sessions",
            "Sign-ins that are not over.",
            clamped(sessions),
        )?;
    }
    let loaded = readings.loaded_at.map(|at| (NONE, at.as_seconds()));
    page.gauges(
        "masugata_configuration_loaded_timestamp",
        SECONDS,
        "When the configuration in force was loaded.",
        loaded,
    )?;
    let expiries = readings.certificates.iter().map(|certificate| {
        (
            [("name", certificate.name.as_str())],
            certificate.not_after_seconds,
        )
    });
    page.gauges(
        "masugata_certificate_not_after_timestamp",
        SECONDS,
        "When a server certificate in use expires.",
        expiries,
    )?;
    let upstreams = readings.upstreams.iter().map(|upstream| {
        let labels = [
            ("app", upstream.app.as_str()),
            ("server", upstream.server.as_str()),
        ];
        (labels, i64::from(upstream.healthy))
    });
    page.gauges(
        "masugata_upstream_healthy",
        None,
        "1 while a server is in use.",
        upstreams,
    )?;
    readings
        .egress
        .as_ref()
        .map_or(Ok(()), |door| egress(page, door))
}

fn egress(page: &mut Page<'_>, door: &EgressReading) -> fmt::Result {
    page.gauge("masugata_tunnels", "Tunnels that are open.", door.tunnels)?;
    let cuts = door.cuts.iter();
    page.counters(
        "masugata_tunnels_cut",
        "Tunnels cut although they had been permitted.",
        cuts.map(|(reason, count)| ([("reason", reason.code())], *count)),
    )?;
    let lists = door.lists.iter();
    page.gauges(
        "masugata_list_entries",
        None,
        "Entries of a list in force.",
        lists.map(|list| ([("feed", list.feed.as_str())], signed(list.entries))),
    )?;
    let lists = door.lists.iter().filter_map(|list| Some((list, list.age?)));
    page.gauges(
        "masugata_feed_age",
        SECONDS,
        "Time since a list was last known to be the newest.",
        lists.map(|(list, age)| {
            let seconds = i64::try_from(age.as_secs()).unwrap_or(i64::MAX);
            ([("feed", list.feed.as_str())], seconds)
        }),
    )
}

const NONE: [(&str, &str); 0] = [];
const SECONDS: Option<&Unit> = Some(&Unit::Seconds);
const BYTES: Option<&Unit> = Some(&Unit::Bytes);

fn signed(value: usize) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn clamped(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

/// The encoder, in the words of this file. A family without samples is left out.
struct Page<'a>(DescriptorEncoder<'a>);

impl Page<'_> {
    fn info<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        labels: [(&str, &str); N],
    ) -> fmt::Result {
        self.0
            .encode_descriptor(name, help, None, MetricType::Info)?
            .encode_info(&labels)
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        count(
            self.0
                .encode_descriptor(name, help, None, MetricType::Counter)?,
            value,
        )
    }

    fn gauge(&mut self, name: &str, help: &str, value: usize) -> fmt::Result {
        self.0
            .encode_descriptor(name, help, None, MetricType::Gauge)?
            .encode_gauge(&signed(value))
    }

    fn counters<'l, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = ([(&'l str, &'l str); N], u64)>,
    ) -> fmt::Result {
        self.counters_in(name, None, help, samples)
    }

    fn counters_in<'l, const N: usize>(
        &mut self,
        name: &str,
        unit: Option<&Unit>,
        help: &str,
        samples: impl IntoIterator<Item = ([(&'l str, &'l str); N], u64)>,
    ) -> fmt::Result {
        let mut samples = samples.into_iter().peekable();
        if samples.peek().is_none() {
            return Ok(());
        }
        let mut family = self
            .0
            .encode_descriptor(name, help, unit, MetricType::Counter)?;
        samples.try_for_each(|(labels, value)| count(family.encode_family(&labels)?, value))
    }

    fn gauges<'l, const N: usize>(
        &mut self,
        name: &str,
        unit: Option<&Unit>,
        help: &str,
        samples: impl IntoIterator<Item = ([(&'l str, &'l str); N], i64)>,
    ) -> fmt::Result {
        let mut samples = samples.into_iter().peekable();
        if samples.peek().is_none() {
            return Ok(());
        }
        let mut family = self
            .0
            .encode_descriptor(name, help, unit, MetricType::Gauge)?;
        samples.try_for_each(|(labels, value)| match N {
            0 => family.encode_gauge(&value),
            _ => family.encode_family(&labels)?.encode_gauge(&value),
        })
    }

    fn histograms<'l, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = ([(&'l str, &'l str); N], &'l Histogram)>,
    ) -> fmt::Result {
        let mut family = self
            .0
            .encode_descriptor(name, help, SECONDS, MetricType::Histogram)?;
        samples.into_iter().try_for_each(|(labels, histogram)| {
            let reading = histogram.reading();
            family
                .encode_family(&labels)?
                .encode_histogram::<NoLabelSet>(
                    reading.sum_seconds,
                    reading.count,
                    &reading.buckets,
                    None,
                )
        })
    }
}

fn count(mut metric: MetricEncoder<'_>, value: u64) -> fmt::Result {
    metric.encode_counter::<NoLabelSet, u64, f64>(&value, None)
}
