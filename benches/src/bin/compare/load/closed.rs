//! Closed loops: as many requests at once as told, each followed by the next. Tells what a request costs, and how many
//! there can be; says little about waiting times.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::Request;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::client::Session;
use super::wire::Connection;
use super::{Outcome, ready, request, say};
use crate::failure::{Doing as _, Failure};
use crate::fixture::HOST;

/// Requests per loop before anything counts: connections to the upstream stand, caches are warm.
const WARM_UP: usize = 30;

#[derive(Default)]
struct Tally {
    done: u64,
    errors: u64,
    refusal: Option<u16>,
    latencies: Vec<u32>,
}

impl Tally {
    fn count(&mut self, status: u16, since: Instant) {
        self.done += 1;
        if status != 200 {
            self.errors += 1;
            self.refusal = Some(status);
        }
        self.latencies
            .push(u32::try_from(since.elapsed().as_micros()).unwrap_or(u32::MAX));
    }
}

/// HTTP/1.1, one request at a time per connection.
pub(super) async fn http1(
    session: &Arc<Session>,
    connections: usize,
    seconds: f64,
) -> Result<(), Failure> {
    let (start, started) = watch::channel(None::<Instant>);
    let (warm, mut warmed) = tokio::sync::mpsc::unbounded_channel();
    let mut loops = JoinSet::new();
    for _ in 0..connections {
        let (session, mut started, warm) = (Arc::clone(session), started.clone(), warm.clone());
        loops.spawn(async move {
            let mut connection = Connection::new(session.connect(session.config()).await?);
            let request = request("GET", "/", Some(&session.token), None);
            for _ in 0..WARM_UP {
                connection.ask(&request).await?;
            }
            let _ = warm.send(());
            drop(warm);
            let until = begin(&mut started, seconds).await?;
            let mut tally = Tally::default();
            let mut now = Instant::now();
            while now < until {
                let head = connection.ask(&request).await?;
                tally.count(head.status, now);
                now = Instant::now();
            }
            Ok::<_, Failure>((tally, Some(connection)))
        });
    }
    drop(warm);
    for _ in 0..connections {
        // Ended early: the reason comes out of the set below.
        let _ = warmed.recv().await;
    }
    conclude(&start, loops).await
}

/// HTTP/2, `streams` requests at a time per connection.
pub(super) async fn http2(
    session: &Arc<Session>,
    connections: usize,
    streams: usize,
    seconds: f64,
) -> Result<(), Failure> {
    let (start, started) = watch::channel(None::<Instant>);
    let (warm, mut warmed) = tokio::sync::mpsc::unbounded_channel();
    let mut loops = JoinSet::new();
    for _ in 0..connections {
        let stream = session.connect(session.http2()).await?;
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(1024 * 1024)
            .initial_connection_window_size(16 * 1024 * 1024)
            .handshake(TokioIo::new(stream))
            .await?;
        tokio::spawn(connection);
        for _ in 0..streams {
            let (session, mut started, warm) = (Arc::clone(session), started.clone(), warm.clone());
            let mut sender = sender.clone();
            loops.spawn(async move {
                for _ in 0..WARM_UP {
                    ask(&mut sender, &session.token).await?;
                }
                let _ = warm.send(());
                drop(warm);
                let until = begin(&mut started, seconds).await?;
                let mut tally = Tally::default();
                let mut now = Instant::now();
                while now < until {
                    let status = ask(&mut sender, &session.token).await?;
                    tally.count(status, now);
                    now = Instant::now();
                }
                Ok::<_, Failure>((tally, Some(sender)))
            });
        }
    }
    drop(warm);
    for _ in 0..connections * streams {
        let _ = warmed.recv().await;
    }
    conclude(&start, loops).await
}

async fn ask(sender: &mut http2::SendRequest<Empty<Bytes>>, token: &str) -> Result<u16, Failure> {
    let request = Request::get(format!("https://{HOST}/"))
        .header("user-agent", "compare")
        .header("accept", "*/*")
        .header("authorization", format!("Bearer {token}"))
        .body(Empty::new())?;
    let response = sender.send_request(request).await.doing("h2 request")?;
    let status = response.status().as_u16();
    let mut body = response.into_body();
    while let Some(frame) = body.frame().await {
        frame.doing("h2 body")?;
    }
    Ok(status)
}

async fn begin(
    started: &mut watch::Receiver<Option<Instant>>,
    seconds: f64,
) -> Result<Instant, Failure> {
    let start = started
        .wait_for(Option::is_some)
        .await
        .map_err(|_| Failure::new("called off"))?;
    Ok(start.unwrap_or_else(Instant::now) + Duration::from_secs_f64(seconds))
}

/// Waits for the word, lets everybody go, and adds up. Connections stay open until this process is told to leave.
async fn conclude<C: 'static>(
    start: &watch::Sender<Option<Instant>>,
    mut loops: JoinSet<Result<(Tally, C), Failure>>,
) -> Result<(), Failure> {
    // A loop that could not even warm up has ended already, and all others wait.
    if let Some(ended) = loops.try_join_next() {
        ended??;
    }
    ready()?;
    let go = Instant::now();
    start.send_replace(Some(go));
    let mut total = Tally::default();
    let mut open = Vec::new();
    while let Some(ended) = loops.join_next().await {
        let (tally, connection) = ended??;
        total.done += tally.done;
        total.errors += tally.errors;
        total.refusal = total.refusal.or(tally.refusal);
        total.latencies.extend(tally.latencies);
        open.push(connection);
    }
    let outcome = Outcome {
        done: total.done,
        errors: total.errors,
        refusal: total.refusal,
        seconds: go.elapsed().as_secs_f64(),
        ..Outcome::default()
    };
    say(&outcome.with_latencies(total.latencies))?;
    super::stay();
    drop(open);
    Ok(())
}
