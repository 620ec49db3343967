//! An open loop: requests leave on a timetable, whatever became of the ones before, and each is timed from the moment at
//! which it was due. So a proxy that stalls is charged for everyone who would have come meanwhile, and not only for the
//! few that a closed loop would have sent ("coordinated omission").
//!
//! Threads and blocking sockets, because their sleeps end within some 60 µs, and those of an event loop within 1 ms.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rustls::{ClientConnection, StreamOwned};

use super::client::{Session, server_name};
use super::{Outcome, ready, request, say, wire};
use crate::failure::{Doing as _, Failure};

type Stream = StreamOwned<ClientConnection, TcpStream>;

/// One connection's share of the timetable.
#[derive(Clone, Copy)]
struct Timetable {
    first: Duration,
    interval: Duration,
    end: Duration,
}

pub(super) fn run(
    session: &Session,
    connections: usize,
    rate: u32,
    seconds: f64,
) -> Result<(), Failure> {
    let rate = f64::from(rate.max(1));
    let (warm, warmed) = mpsc::channel();
    #[expect(clippy::cast_precision_loss, reason = "a few dozen connections")]
    let timetable = |index: usize| Timetable {
        first: Duration::from_secs_f64(index as f64 / rate),
        interval: Duration::from_secs_f64(connections as f64 / rate),
        end: Duration::from_secs_f64(seconds),
    };
    let loops: Vec<_> = (0..connections)
        .map(|index| {
            let (go, gone) = mpsc::channel::<Instant>();
            let (warm, timetable) = (warm.clone(), timetable(index));
            let request = request("GET", "/", Some(&session.token), None);
            let stream = connect(session);
            (
                go,
                thread::spawn(move || follow(stream, &request, warm, &gone, timetable)),
            )
        })
        .collect();
    drop(warm);
    for _ in 0..connections {
        // Ended early: the reason comes out of the thread below.
        let _ = warmed.recv();
    }
    ready()?;
    let go = Instant::now();
    for (word, _) in &loops {
        let _ = word.send(go);
    }
    let mut outcome = Outcome::default();
    let mut latencies = Vec::new();
    let mut open = Vec::new();
    for (_, thread) in loops {
        let (errors, mut measured, stream) = thread
            .join()
            .map_err(|_| Failure::new("a thread of the generator broke"))??;
        outcome.errors += errors;
        latencies.append(&mut measured);
        open.push(stream);
    }
    outcome.done = latencies.len() as u64;
    outcome.seconds = go.elapsed().as_secs_f64();
    say(&outcome.with_latencies(latencies))?;
    super::stay();
    drop(open);
    Ok(())
}

fn connect(session: &Session) -> Result<Stream, Failure> {
    let stream = TcpStream::connect(session.target).doing("connect")?;
    stream.set_nodelay(true)?;
    let connection = ClientConnection::new(Arc::clone(&session.config()), server_name()?)?;
    Ok(StreamOwned::new(connection, stream))
}

fn follow(
    stream: Result<Stream, Failure>,
    request: &[u8],
    warm: mpsc::Sender<()>,
    gone: &mpsc::Receiver<Instant>,
    timetable: Timetable,
) -> Result<(u64, Vec<u32>, Stream), Failure> {
    let mut stream = stream?;
    let mut buffer = vec![0; 16 * 1024];
    for _ in 0..10 {
        ask(&mut stream, request, &mut buffer)?;
    }
    let _ = warm.send(());
    drop(warm);
    let go = gone.recv().map_err(|_| Failure::new("called off"))?;
    let (mut errors, mut latencies) = (0, Vec::new());
    let mut due = timetable.first;
    while due < timetable.end {
        thread::sleep((go + due).saturating_duration_since(Instant::now()));
        let status = ask(&mut stream, request, &mut buffer)?;
        errors += u64::from(status != 200);
        let latency = go.elapsed().saturating_sub(due);
        latencies.push(u32::try_from(latency.as_micros()).unwrap_or(u32::MAX));
        due += timetable.interval;
    }
    Ok((errors, latencies, stream))
}

fn ask(stream: &mut Stream, request: &[u8], buffer: &mut [u8]) -> Result<u16, Failure> {
    stream.write_all(request).doing("send")?;
    stream.flush().doing("send")?;
    let mut filled = 0;
    loop {
        let length = stream
            .read(buffer.get_mut(filled..).unwrap_or_default())
            .doing("receive")?;
        if length == 0 {
            return Err(Failure::new("closed, or an answer larger than expected"));
        }
        filled += length;
        if let Some(head) = wire::head(buffer.get(..filled).unwrap_or_default())?
            && filled as u64 >= head.length as u64 + head.content
        {
            return Ok(head.status);
        }
    }
}
