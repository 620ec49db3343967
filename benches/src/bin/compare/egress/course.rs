//! The course of it: rounds in which both proxies are started afresh for each kind of measurement, in turn.

use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use clap::ValueEnum as _;

use super::load::{Outcome, Specification, Work};
use super::peer::{Name, Peer, Served, prepare};
use super::{Arguments, Kind, names};
use crate::failure::Failure;
use crate::fixture;
use crate::load::Direction;
use crate::measure::{Results, Values, expect_ready, number, per};
use crate::process::{Conversation, Processor, note, part};

/// Tunnels opened and closed at once, each on a connection of its own.
pub(super) const LOOPS: usize = 8;
/// Connections, and tunnels opened and closed at once on each, over HTTP/2.
pub(super) const STREAMS: (usize, usize) = (4, 16);
/// Tunnels that share an idle HTTP/2 connection.
pub(super) const IDLE_STREAMS: usize = 100;

/// Shapes of the transfers: connections, tunnels on each over HTTP/2, and the keys of what comes out.
type Shape = (usize, Option<usize>, [&'static str; 4]);
const SHAPES: [Shape; 3] = [
    (
        1,
        None,
        ["down1-rate", "down1-cost", "up1-rate", "up1-cost"],
    ),
    (
        16,
        None,
        ["down16-rate", "down16-cost", "up16-rate", "up16-cost"],
    ),
    (
        1,
        Some(16),
        ["downh2-rate", "downh2-cost", "uph2-rate", "uph2-cost"],
    ),
];

/// Measures all that were found.
pub(super) fn run(
    peers: &[Peer],
    arguments: &Arguments,
    directory: &Path,
) -> Result<Results, Failure> {
    fixture::write(directory)?;
    prepare(directory, arguments.names)?;
    let mut origin = Conversation::start(part("egress-origin")?)?;
    let origin_port = origin
        .hear()?
        .parse()
        .map_err(|_| Failure::new("the origin names no port"))?;
    let mut results = Results {
        values: vec![Vec::new(); peers.len()],
        failures: Vec::new(),
    };
    for round in 1..=arguments.rounds.max(1) {
        for (peer, values) in peers.iter().zip(&mut results.values) {
            if peer.version.is_none() {
                continue;
            }
            note(&format!(
                "round {round} of {}: {}",
                arguments.rounds, peer.name
            ));
            let mut bench = Bench {
                peer,
                arguments,
                directory,
                origin: origin_port,
                values: Values::new(),
            };
            for &kind in Kind::value_variants() {
                if !arguments.measures(kind) {
                    continue;
                }
                if let Err(failure) = bench.measure(kind) {
                    let failure = format!("{}, {kind:?}, round {round}: {failure}", peer.name);
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
    peer: &'a Peer,
    arguments: &'a Arguments,
    directory: &'a Path,
    origin: u16,
    values: Values,
}

impl Bench<'_> {
    fn measure(&mut self, kind: Kind) -> Result<(), Failure> {
        match kind {
            Kind::Connect => {
                let served = self.start(false)?;
                self.connect(&served, ["connect-cost", "connect-rate"])?;
                self.streams(&served, ["stream-cost", "stream-rate"])
            }
            Kind::Bulk => self.bulk(),
            Kind::Lists => self.lists(),
            Kind::Idle => self.idle(),
        }
    }

    /// A fresh process, of which it is certain that it does the work.
    fn start(&self, lists: bool) -> Result<Served, Failure> {
        let served = self
            .peer
            .start(self.origin, self.arguments.workers, lists, self.directory)?;
        self.check(&served)?;
        Ok(served)
    }

    /// Nobody is faster by leaving something out.
    fn check(&self, served: &Served) -> Result<(), Failure> {
        let blocked = names::name(self.arguments.names / 2);
        let mut load = self.converse(served, Work::Check { blocked })?;
        let outcome: Outcome = serde_json::from_str(&load.hear()?)?;
        match outcome.seen {
            Some((200, 403, None)) => Ok(()),
            seen => Err(Failure::new(format!(
                "does not do the work: {seen:?} to the origin, to a blocked name, and without certificate"
            ))),
        }
    }

    fn connect(&mut self, served: &Served, keys: [&'static str; 2]) -> Result<(), Failure> {
        let work = Work::Connect {
            loops: LOOPS,
            seconds: self.arguments.duration,
        };
        self.count(served, work, keys)
    }

    fn streams(&mut self, served: &Served, keys: [&'static str; 2]) -> Result<(), Failure> {
        if !self.peer.name.speaks_http2() {
            return Ok(());
        }
        let (connections, streams) = STREAMS;
        let work = Work::Streams {
            connections,
            streams,
            seconds: self.arguments.duration,
        };
        self.count(served, work, keys)
    }

    fn count(
        &mut self,
        served: &Served,
        work: Work,
        [cost, rate]: [&'static str; 2],
    ) -> Result<(), Failure> {
        let (outcome, processor) = self.load(served, work)?;
        self.values
            .insert(cost, per(outcome.done, processor.total()));
        self.values.insert(rate, per(outcome.done, outcome.seconds));
        Ok(())
    }

    fn bulk(&mut self) -> Result<(), Failure> {
        let served = self.start(false)?;
        for (connections, streams, [down_rate, down_cost, up_rate, up_cost]) in SHAPES {
            if streams.is_some() && !self.peer.name.speaks_http2() {
                continue;
            }
            let tunnels = connections * streams.unwrap_or(1);
            for (direction, rate, cost) in [
                (Direction::Download, down_rate, down_cost),
                (Direction::Upload, up_rate, up_cost),
            ] {
                let work = Work::Bulk {
                    connections,
                    streams,
                    bytes: (self.arguments.bulk << 20) / tunnels as u64,
                    direction,
                };
                let (outcome, processor) = self.load(&served, work)?;
                let gigabytes = number(outcome.bytes) / 1e9;
                self.values.insert(cost, processor.total() / gigabytes);
                self.values
                    .insert(rate, gigabytes * 1000.0 / outcome.seconds);
            }
        }
        Ok(())
    }

    fn lists(&mut self) -> Result<(), Failure> {
        let served = self.start(false)?;
        sleep(Duration::from_secs(1));
        let (without, empty) = (served.started, served.running.memory_kib());
        let idle = served.running.processor().total();
        drop(served);
        let served = self.start(true)?;
        sleep(Duration::from_secs(1));
        let full = served.running.memory_kib();
        let mut say = |key, value| self.values.insert(key, value);
        say("list-seconds", served.started - without);
        say("list-cpu", served.running.processor().total() - idle);
        say("list-memory", number(full.resident) / 1024.0);
        say("list-peak", number(full.peak) / 1024.0);
        say(
            "list-each",
            number(full.resident.saturating_sub(empty.resident)) * 1024.0
                / number(self.arguments.names as u64),
        );
        self.connect(&served, ["listed-cost", "listed-rate"])?;
        self.streams(&served, ["listed-stream-cost", "listed-stream-rate"])?;
        // What loading left behind in the allocator may have been given back by now.
        sleep(Duration::from_secs(1));
        let later = number(served.running.memory_kib().resident) / 1024.0;
        self.values.insert("list-later", later);
        Ok(())
    }

    fn idle(&mut self) -> Result<(), Failure> {
        let tunnels = self.arguments.idle;
        self.hold(tunnels, None, ["idle-memory", "idle-each"])?;
        if self.peer.name == Name::Masugata {
            let connections = tunnels.div_ceil(IDLE_STREAMS);
            let keys = ["idle-h2-memory", "idle-h2-each"];
            self.hold(connections, Some(IDLE_STREAMS), keys)?;
        }
        Ok(())
    }

    fn hold(
        &mut self,
        connections: usize,
        streams: Option<usize>,
        [memory, each]: [&'static str; 2],
    ) -> Result<(), Failure> {
        let served = self.start(false)?;
        sleep(Duration::from_secs(1));
        let before = served.running.memory_kib().resident;
        let work = Work::Idle {
            connections,
            streams,
        };
        let mut load = self.converse(&served, work)?;
        expect_ready(&mut load)?;
        sleep(Duration::from_secs(2));
        let after = served.running.memory_kib().resident;
        load.say("go")?;
        let outcome: Outcome = serde_json::from_str(&load.hear()?)?;
        let mebibytes = |kib: u64| number(kib) / 1024.0;
        self.values.insert("empty-memory", mebibytes(before));
        self.values.insert(memory, mebibytes(after));
        self.values.insert(
            each,
            number(after.saturating_sub(before)) / number(outcome.done.max(1)),
        );
        Ok(())
    }

    /// Runs `work` and tells what the proxy's processes used for it, in seconds.
    fn load(&self, served: &Served, work: Work) -> Result<(Outcome, Processor), Failure> {
        let mut load = self.converse(served, work)?;
        expect_ready(&mut load)?;
        let before = served.running.processor();
        load.say("go")?;
        let outcome: Outcome = serde_json::from_str(&load.hear()?)?;
        // What is written after the answer, logs above all, is part of the price.
        sleep(Duration::from_millis(300));
        Ok((outcome, served.running.processor().since(before)))
    }

    fn converse(&self, served: &Served, work: Work) -> Result<Conversation, Failure> {
        let specification = Specification {
            target: served.address,
            directory: self.directory.to_owned(),
            origin: self.origin,
            work,
        };
        let mut load = Conversation::start(part("egress-load")?)?;
        load.say(&serde_json::to_string(&specification)?)?;
        Ok(load)
    }
}
