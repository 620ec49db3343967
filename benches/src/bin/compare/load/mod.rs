//! The load generator, a process of its own. It reads one specification, connects, says `ready`, waits for `go`, works,
//! writes one result, and stays connected until its input ends, so that whoever measures can look at leisure.

mod bulk;
mod check;
mod client;
mod closed;
mod handshakes;
mod idle;
mod open;
mod wire;

use std::io::{BufRead as _, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub(crate) use client::Session;

use crate::failure::Failure;
use crate::fixture::HOST;

/// What to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Specification {
    pub(crate) target: SocketAddr,
    /// Where `fixture::write` put the certificates and the token.
    pub(crate) directory: PathBuf,
    pub(crate) group: Group,
    pub(crate) work: Work,
}

/// The only key exchange offered, so that all proxies do the same arithmetic.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum Group {
    X25519,
    X25519MlKem768,
}

/// Kinds of load.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum Work {
    /// One request without token, one without certificate, one with both.
    Check,
    /// Each connection (HTTP/1.1) asks again as soon as it has an answer.
    Closed { connections: usize, seconds: f64 },
    /// The same over HTTP/2, with several streams per connection.
    Streams {
        connections: usize,
        streams: usize,
        seconds: f64,
    },
    /// So many requests per second, whatever becomes of the answers.
    Open {
        connections: usize,
        rate: u32,
        seconds: f64,
    },
    /// Connect, finish the handshake, close.
    Handshakes {
        workers: usize,
        resume: bool,
        seconds: f64,
    },
    /// Large bodies.
    Bulk {
        connections: usize,
        bytes: u64,
        direction: Direction,
    },
    /// One request on each of many connections, then silence.
    Idle { connections: usize },
}

/// Which way large bodies go.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum Direction {
    Download,
    Upload,
}

/// What came of it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// Requests, or handshakes.
    pub(crate) done: u64,
    /// Answers other than 200, and everything that did not get that far.
    pub(crate) errors: u64,
    /// The last status that was not 200.
    pub(crate) refusal: Option<u16>,
    /// From `go` to the last answer.
    pub(crate) seconds: f64,
    /// Of bodies.
    pub(crate) bytes: u64,
    /// Handshakes that were resumptions.
    pub(crate) resumed: u64,
    /// Microseconds at 50, 90, 99 and 99.9 per cent.
    pub(crate) latency: [u32; 4],
    /// What `Check` saw.
    pub(crate) seen: Option<Seen>,
}

/// Proof that what is compared does the work.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Seen {
    /// Status with certificate and token.
    pub(crate) with_both: u16,
    /// Status with a token that has one letter changed.
    pub(crate) with_forged_token: u16,
    /// Status with certificate only.
    pub(crate) without_token: u16,
    /// Status with token only; `None` when the handshake failed, as it should.
    pub(crate) without_certificate: Option<u16>,
}

impl Outcome {
    /// Fills the percentiles from latencies in microseconds.
    fn with_latencies(mut self, mut latencies: Vec<u32>) -> Self {
        latencies.sort_unstable();
        let last = latencies.len().saturating_sub(1);
        let at = |thousandth: usize| {
            latencies
                .get(last * thousandth / 1000)
                .copied()
                .unwrap_or(0)
        };
        self.latency = [at(500), at(900), at(990), at(999)];
        self
    }
}

/// The `load` part.
pub(crate) fn run() -> Result<(), Failure> {
    let specification: Specification = serde_json::from_str(&line()?)?;
    let session = client::Session::new(&specification)?;
    match specification.work {
        Work::Check => say(&check::run(&session)?),
        Work::Open {
            connections,
            rate,
            seconds,
        } => open::run(&session, connections, rate, seconds),
        Work::Closed { .. }
        | Work::Streams { .. }
        | Work::Handshakes { .. }
        | Work::Bulk { .. }
        | Work::Idle { .. } => {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(asynchronous(session, specification.work))
        }
    }?;
    stay();
    Ok(())
}

async fn asynchronous(session: client::Session, work: Work) -> Result<(), Failure> {
    let session = std::sync::Arc::new(session);
    match work {
        Work::Closed {
            connections,
            seconds,
        } => closed::http1(&session, connections, seconds).await,
        Work::Streams {
            connections,
            streams,
            seconds,
        } => closed::http2(&session, connections, streams, seconds).await,
        Work::Handshakes {
            workers,
            resume,
            seconds,
        } => handshakes::run(&session, workers, resume, seconds).await,
        Work::Bulk {
            connections,
            bytes,
            direction,
        } => bulk::run(&session, connections, bytes, direction).await,
        Work::Idle { connections } => idle::run(&session, connections).await,
        Work::Check | Work::Open { .. } => Err(Failure::new("not asynchronous work")),
    }
}

/// Says that everything stands and waits for the word. Blocks the thread, on which nothing is to happen until then.
pub(crate) fn ready() -> Result<(), Failure> {
    let mut output = std::io::stdout().lock();
    writeln!(output, "ready")?;
    output.flush()?;
    drop(output);
    line().map(|_| ())
}

pub(crate) fn say(outcome: &impl Serialize) -> Result<(), Failure> {
    let mut output = std::io::stdout().lock();
    writeln!(output, "{}", serde_json::to_string(outcome)?)?;
    Ok(output.flush()?)
}

pub(crate) fn line() -> Result<String, Failure> {
    let mut line = String::new();
    if std::io::stdin().lock().read_line(&mut line)? == 0 {
        return Err(Failure::new("no word from whoever started this"));
    }
    Ok(line)
}

/// Until the input ends.
pub(crate) fn stay() {
    while line().is_ok() {}
}

/// A request for `path`, as it goes over the wire.
fn request(method: &str, path: &str, token: Option<&str>, length: Option<u64>) -> Vec<u8> {
    let mut text = format!(
        "{method} {path} HTTP/1.1\r\nHost: {HOST}\r\nUser-Agent: compare\r\nAccept: */*\r\n"
    );
    if let Some(token) = token {
        text += &format!("Authorization: Bearer {token}\r\n");
    }
    if let Some(length) = length {
        text += &format!("Content-Length: {length}\r\n");
    }
    text += "\r\n";
    text.into_bytes()
}
