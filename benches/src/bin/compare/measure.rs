//! The course of the comparison: rounds in which every proxy is started afresh and measured in turn, so that whatever
//! else the machine does meets all of them alike.

use std::collections::BTreeMap;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use clap::ValueEnum;
use serde::Serialize;

use crate::Arguments;
use crate::failure::{Doing as _, Failure};
use crate::fixture;
use crate::load::{Direction, Group, Outcome, Seen, Specification, Work};
use crate::process::{Conversation, Memory, Processor, note, part};
use crate::proxy::{Found, Proxy, Served};

/// What can be measured by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// Cost and number of requests over HTTP/1.1
    H1,
    /// Cost and number of requests over HTTP/2
    H2,
    /// Waiting times at a fixed rate
    Latency,
    /// Full and resumed TLS handshakes
    Handshakes,
    /// Large bodies, both ways
    Bulk,
    /// Memory, with and without connections
    Memory,
}

/// How much is measured.
#[derive(Debug, Serialize)]
pub(crate) struct Extent {
    pub(crate) kinds: Vec<Kind>,
    pub(crate) rounds: usize,
    pub(crate) seconds: f64,
    pub(crate) rate: u32,
    pub(crate) idle: usize,
    pub(crate) workers: usize,
    /// Bytes in each direction.
    pub(crate) bulk: u64,
}

/// Connections of the closed loop over HTTP/1.1.
pub(crate) const CONNECTIONS: usize = 64;
/// Connections, and streams on each, over HTTP/2.
pub(crate) const H2: (usize, usize) = (4, 16);
/// Connections that share the timetable of the open loop.
pub(crate) const TIMETABLE: usize = 32;
/// Handshakes at once.
pub(crate) const SHAKERS: usize = 8;
/// Large bodies at once.
pub(crate) const TRANSFERS: usize = 4;

impl Extent {
    pub(crate) fn of(arguments: &Arguments) -> Self {
        let all = Kind::value_variants().to_vec();
        let kinds = if arguments.measure.is_empty() {
            all
        } else {
            arguments.measure.clone()
        };
        let workers = arguments.workers.max(1);
        if arguments.quick {
            let (bulk, rate) = (64 << 20, arguments.rate.min(500));
            return Self {
                kinds,
                rounds: 1,
                seconds: 1.0,
                rate,
                idle: 200,
                workers,
                bulk,
            };
        }
        Self {
            kinds,
            rounds: arguments.rounds.max(1),
            seconds: arguments.duration.clamp(0.1, 600.0),
            rate: arguments.rate.max(1),
            idle: arguments.idle,
            workers,
            bulk: 1 << 30,
        }
    }
}

/// One number per measurement, by the keys of `report::ROWS`.
pub(crate) type Values = BTreeMap<&'static str, f64>;

/// Every value of every round, per proxy in the order of `Found::present`.
#[derive(Debug, Serialize)]
pub(crate) struct Results {
    pub(crate) values: Vec<Vec<Values>>,
    /// What did not come about, in words.
    pub(crate) failures: Vec<String>,
}

/// Measures all that were found.
pub(crate) fn all(found: &Found, extent: &Extent, directory: &Path) -> Result<Results, Failure> {
    fixture::write(directory)?;
    let mut upstream = Conversation::start(part("upstream")?)?;
    let upstream_port = upstream
        .hear()?
        .parse()
        .map_err(|_| Failure::new("the upstream names no port"))?;
    let mut results = Results {
        values: vec![Vec::new(); found.present.len()],
        failures: Vec::new(),
    };
    for round in 1..=extent.rounds {
        for (proxy, values) in found.present.iter().zip(&mut results.values) {
            note(&format!(
                "round {round} of {}: {} {}",
                extent.rounds, proxy.name, proxy.version
            ));
            let mut bench = Bench {
                proxy,
                extent,
                directory,
                upstream_port,
                values: Values::new(),
            };
            for &kind in &extent.kinds {
                if let Err(failure) = bench.measure(kind) {
                    let failure = format!("{}, {kind:?}, round {round}: {failure}", proxy.name);
                    note(&failure);
                    results.failures.push(failure);
                }
            }
            values.push(bench.values);
        }
    }
    Ok(results)
}

/// One proxy in one round.
struct Bench<'a> {
    proxy: &'a Proxy,
    extent: &'a Extent,
    directory: &'a Path,
    upstream_port: u16,
    values: Values,
}

impl Bench<'_> {
    /// Each kind begins with a fresh process: what one leaves in caches and pools is not the next one's memory.
    fn measure(&mut self, kind: Kind) -> Result<(), Failure> {
        let served = self
            .proxy
            .start(self.upstream_port, self.extent.workers, self.directory)?;
        if kind == Kind::Memory {
            return self.memory(&served);
        }
        self.check(&served)?;
        match kind {
            Kind::H1 => self.http1(&served),
            Kind::H2 => self.http2(&served),
            Kind::Latency => self.latency(&served),
            Kind::Handshakes => self.handshakes(&served),
            Kind::Bulk => self.bulk(&served),
            Kind::Memory => Ok(()),
        }
    }

    /// Nobody is faster by leaving something out.
    fn check(&self, served: &Served) -> Result<(), Failure> {
        let mut load = self.converse(served, Group::X25519, Work::Check)?;
        let outcome: Outcome = serde_json::from_str(&load.hear()?)?;
        let Some(Seen {
            with_both,
            with_forged_token,
            without_token,
            without_certificate,
        }) = outcome.seen
        else {
            return Err(Failure::new("the check saw nothing"));
        };
        let refused = |status: u16| matches!(status, 401 | 403);
        // nginx finishes the handshake and answers 400.
        let no_entry = without_certificate.is_none_or(|status| (400..500).contains(&status));
        let tokens = refused(without_token) && refused(with_forged_token);
        if with_both == 200 && no_entry && (tokens || !self.proxy.name.verifies_tokens()) {
            return Ok(());
        }
        Err(Failure::new(format!(
            "does not do the work: {with_both} with certificate and token, {with_forged_token} with a forged token, \
             {without_token} without token, {without_certificate:?} without certificate"
        )))
    }

    fn http1(&mut self, served: &Served) -> Result<(), Failure> {
        let work = Work::Closed {
            connections: CONNECTIONS,
            seconds: self.extent.seconds,
        };
        let (outcome, processor) = self.load(served, Group::X25519, work)?;
        self.values
            .insert("h1-cost", per_100_000(processor.total(), outcome.done));
        self.values
            .insert("h1-user", per_100_000(processor.user, outcome.done));
        self.values
            .insert("h1-rate", per(outcome.done, outcome.seconds));
        Ok(())
    }

    fn http2(&mut self, served: &Served) -> Result<(), Failure> {
        let (connections, streams) = H2;
        let work = Work::Streams {
            connections,
            streams,
            seconds: self.extent.seconds,
        };
        let (outcome, processor) = self.load(served, Group::X25519, work)?;
        self.values
            .insert("h2-cost", per_100_000(processor.total(), outcome.done));
        self.values
            .insert("h2-rate", per(outcome.done, outcome.seconds));
        Ok(())
    }

    fn latency(&mut self, served: &Served) -> Result<(), Failure> {
        let (rate, seconds) = (self.extent.rate, self.extent.seconds);
        let work = Work::Open {
            connections: TIMETABLE,
            rate,
            seconds,
        };
        let (outcome, processor) = self.load(served, Group::X25519, work)?;
        for (key, microseconds) in ["p50", "p90", "p99", "p99.9"]
            .into_iter()
            .zip(outcome.latency)
        {
            self.values.insert(key, f64::from(microseconds) / 1000.0);
        }
        self.values
            .insert("latency-cost", per_100_000(processor.total(), outcome.done));
        Ok(())
    }

    fn handshakes(&mut self, served: &Served) -> Result<(), Failure> {
        self.shake(served, Group::X25519, false, ["full-cost", "full-rate"])?;
        let resumed = self.shake(
            served,
            Group::X25519,
            true,
            ["resumed-cost", "resumed-rate"],
        )?;
        if resumed < 0.99 {
            self.values.remove("resumed-cost");
            self.values.remove("resumed-rate");
            let share = resumed * 100.0;
            return Err(Failure::new(format!(
                "only {share:.0} % of the handshakes were resumptions"
            )));
        }
        if self.proxy.name.speaks_hybrid() {
            self.shake(
                served,
                Group::X25519MlKem768,
                false,
                ["hybrid-cost", "hybrid-rate"],
            )?;
        }
        Ok(())
    }

    /// The share of resumptions.
    fn shake(
        &mut self,
        served: &Served,
        group: Group,
        resume: bool,
        [cost, rate]: [&'static str; 2],
    ) -> Result<f64, Failure> {
        let work = Work::Handshakes {
            workers: SHAKERS,
            resume,
            seconds: self.extent.seconds,
        };
        let (outcome, processor) = self.load(served, group, work)?;
        self.values
            .insert(cost, per(outcome.done, processor.total()));
        self.values.insert(rate, per(outcome.done, outcome.seconds));
        Ok(per(outcome.resumed, number(outcome.done)))
    }

    fn bulk(&mut self, served: &Served) -> Result<(), Failure> {
        let bytes = self.extent.bulk / TRANSFERS as u64;
        for (direction, cost, rate) in [
            (Direction::Download, "download-cost", "download-rate"),
            (Direction::Upload, "upload-cost", "upload-rate"),
        ] {
            let work = Work::Bulk {
                connections: TRANSFERS,
                bytes,
                direction,
            };
            let (outcome, processor) = self.load(served, Group::X25519, work)?;
            let gigabytes = number(outcome.bytes) / 1e9;
            self.values.insert(cost, processor.total() / gigabytes);
            self.values
                .insert(rate, gigabytes * 1000.0 / outcome.seconds);
        }
        Ok(())
    }

    fn memory(&mut self, served: &Served) -> Result<(), Failure> {
        sleep(Duration::from_secs(1));
        let before = served.running.memory_kib();
        let work = Work::Idle {
            connections: self.extent.idle,
        };
        let mut load = self.converse(served, Group::X25519, work)?;
        expect_ready(&mut load)?;
        sleep(Duration::from_secs(1));
        let after = served.running.memory_kib();
        load.say("go")?;
        let outcome: Outcome = serde_json::from_str(&load.hear()?)?;
        if outcome.errors > 0 {
            return Err(Failure::new(format!(
                "{} connections were refused",
                outcome.errors
            )));
        }
        let mebibytes =
            |memory: Memory| [memory.proportional, memory.resident].map(|it| number(it) / 1024.0);
        let ([pss_before, rss_before], [pss_after, rss_after]) =
            (mebibytes(before), mebibytes(after));
        self.values.insert("memory-empty", pss_before);
        self.values.insert("memory-idle", pss_after);
        self.values.insert(
            "memory-each",
            (pss_after - pss_before) * 1024.0 / number(outcome.done),
        );
        self.values.insert("resident-empty", rss_before);
        self.values.insert("resident-idle", rss_after);
        Ok(())
    }

    /// Runs `work` and tells what the proxy's processes used for it, in seconds.
    fn load(
        &self,
        served: &Served,
        group: Group,
        work: Work,
    ) -> Result<(Outcome, Processor), Failure> {
        let mut load = self.converse(served, group, work)?;
        expect_ready(&mut load)?;
        let before = served.running.processor();
        load.say("go")?;
        let outcome: Outcome = serde_json::from_str(&load.hear()?)?;
        // What is written after the answer, logs above all, is part of the price.
        sleep(Duration::from_millis(300));
        let processor = served.running.processor().since(before);
        if outcome.errors > 0 {
            let Outcome {
                errors,
                done,
                refusal,
                ..
            } = outcome;
            let example = refusal
                .map(|status| format!(", but for example {status}"))
                .unwrap_or_default();
            return Err(Failure::new(format!(
                "{errors} of {done} answers were not 200{example}"
            )));
        }
        Ok((outcome, processor))
    }

    fn converse(&self, served: &Served, group: Group, work: Work) -> Result<Conversation, Failure> {
        let specification = Specification {
            target: served.address,
            directory: self.directory.to_owned(),
            group,
            work,
        };
        let mut load = Conversation::start(part("load")?)?;
        load.say(&serde_json::to_string(&specification)?)?;
        Ok(load)
    }
}

pub(crate) fn expect_ready(load: &mut Conversation) -> Result<(), Failure> {
    match load.hear().doing("before the load")?.as_str() {
        "ready" => Ok(()),
        other => Err(Failure::new(format!("`{other}` instead of `ready`"))),
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts and sizes far below 2^52"
)]
pub(crate) fn number(count: u64) -> f64 {
    count as f64
}

pub(crate) fn per(count: u64, of: f64) -> f64 {
    number(count) / of.max(f64::MIN_POSITIVE)
}

fn per_100_000(seconds: f64, count: u64) -> f64 {
    seconds * 100_000.0 / number(count.max(1))
}
