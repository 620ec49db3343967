//! The load generator of the way out, a process of its own that is talked to as the other one is: a specification,
//! `ready`, `go`, one result; it keeps its tunnels until its input ends.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Empty;
use hyper::Request;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper::upgrade::Upgraded;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use rustls_pki_types::ServerName;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::client::TlsStream;

use super::origin::{ECHO, SEND, TAKE, piece};
use super::peer::ORIGIN;
use crate::failure::{Doing as _, Failure};
use crate::load::{self, Direction, Group, Session, line, ready, say, stay};

/// Opened at the same time where many are to be held; more would only queue.
const AT_ONCE: usize = 16;

/// What to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Specification {
    pub(super) target: SocketAddr,
    /// Where the certificates are.
    pub(super) directory: PathBuf,
    /// Port of the origin.
    pub(super) origin: u16,
    pub(super) work: Work,
}

/// Kinds of load. `streams` is how many tunnels share a connection; `None` is HTTP/1.1, where each has its own.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Work {
    /// One tunnel to the origin, one to `blocked`, one without certificate.
    Check { blocked: String },
    /// So many at a time: handshake, CONNECT, one byte back from the origin, close.
    Connect { loops: usize, seconds: f64 },
    /// The same, on connections that stay.
    Streams {
        connections: usize,
        streams: usize,
        seconds: f64,
    },
    /// So many bytes through each tunnel.
    Bulk {
        connections: usize,
        streams: Option<usize>,
        bytes: u64,
        direction: Direction,
    },
    /// Tunnels that carried one byte, then silence.
    Idle {
        connections: usize,
        streams: Option<usize>,
    },
}

/// What came of it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Outcome {
    /// Tunnels.
    pub(super) done: u64,
    /// From `go` to the end.
    pub(super) seconds: f64,
    pub(super) bytes: u64,
    /// What `Check` saw: the status of the origin, of the blocked one, and without certificate.
    pub(super) seen: Option<(u16, u16, Option<u16>)>,
}

/// The `egress-load` part.
pub(crate) fn run() -> Result<(), Failure> {
    let specification: Specification = serde_json::from_str(&line()?)?;
    let session = Session::new(&load::Specification {
        target: specification.target,
        directory: specification.directory,
        group: Group::X25519,
        work: load::Work::Check,
    })?;
    let way = Arc::new(Way {
        session,
        authority: format!("{ORIGIN}:{}", specification.origin),
        hello: hello()?,
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(work(&way, specification.work))
}

async fn work(way: &Arc<Way>, work: Work) -> Result<(), Failure> {
    match work {
        Work::Check { blocked } => {
            let blocked = format!("{blocked}:443");
            let certified = way.session.config();
            let open = way.ask(certified.clone(), &way.authority).await?.0;
            let closed = way.ask(certified, &blocked).await?.0;
            let bare = way.session.without_certificate()?;
            let bare = way.ask(bare, &way.authority).await.ok().map(|it| it.0);
            say(&Outcome {
                seen: Some((open, closed, bare)),
                ..Outcome::default()
            })
        }
        Work::Connect { loops, seconds } => connect(way, loops, seconds).await,
        Work::Streams {
            connections,
            streams,
            seconds,
        } => self::streams(way, connections, streams, seconds).await,
        Work::Bulk {
            connections,
            streams,
            bytes,
            direction,
        } => bulk(way, connections, streams, bytes, direction).await,
        Work::Idle {
            connections,
            streams,
        } => {
            let open = way.many(connections, streams).await?;
            ready()?;
            say(&Outcome {
                done: open.iter().map(|held| held.tunnels.len() as u64).sum(),
                ..Outcome::default()
            })?;
            stay();
            drop(open);
            Ok(())
        }
    }
}

/// Through the proxy to the origin.
struct Way {
    session: Session,
    authority: String,
    /// A TLS ClientHello for the origin.
    hello: Vec<u8>,
}

/// Tunnels, and what keeps their connection.
struct Held {
    tunnels: Vec<Tunnel>,
    sender: Option<SendRequest<Empty<Bytes>>>,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}
type Tunnel = Box<dyn Stream>;

impl Way {
    /// The status of a CONNECT on a connection of its own, and the connection.
    async fn ask(
        &self,
        config: Arc<ClientConfig>,
        authority: &str,
    ) -> Result<(u16, TlsStream<TcpStream>), Failure> {
        let mut stream = self.session.connect(config).await?;
        let request = format!(
            "CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: compare\r\n\r\n"
        );
        stream
            .write_all(request.as_bytes())
            .await
            .doing("CONNECT")?;
        stream.flush().await.doing("CONNECT")?;
        let (mut head, mut filled) = (vec![0; 4096], 0);
        loop {
            let space = head.get_mut(filled..).unwrap_or_default();
            let length = stream.read(space).await.doing("answer to CONNECT")?;
            filled += length;
            let text = String::from_utf8_lossy(head.get(..filled).unwrap_or_default());
            let status = text.get(9..12).and_then(|it| it.parse().ok());
            match status {
                // The origin says nothing before it is spoken to: what ends the head ends what has come.
                Some(200) if text.ends_with("\r\n\r\n") => return Ok((200, stream)),
                Some(status) if status != 200 => return Ok((status, stream)),
                _ if length == 0 => {
                    return Err(Failure::new("closed instead of an answer to CONNECT"));
                }
                _ => {}
            }
        }
    }

    async fn tunnel(&self) -> Result<TlsStream<TcpStream>, Failure> {
        let (status, mut stream) = self.ask(self.session.config(), &self.authority).await?;
        if status != 200 {
            return Err(Failure::new(format!("CONNECT was answered with {status}")));
        }
        self.greet(&mut stream).await?;
        Ok(stream)
    }

    async fn http2(&self) -> Result<SendRequest<Empty<Bytes>>, Failure> {
        let stream = self.session.connect(self.session.http2()).await?;
        let (sender, connection) = Builder::new(TokioExecutor::new())
            .initial_stream_window_size(1024 * 1024)
            .initial_connection_window_size(16 * 1024 * 1024)
            .handshake(TokioIo::new(stream))
            .await?;
        tokio::spawn(connection);
        Ok(sender)
    }

    async fn stream(
        &self,
        sender: &mut SendRequest<Empty<Bytes>>,
    ) -> Result<TokioIo<Upgraded>, Failure> {
        let request = Request::connect(&self.authority)
            .header("user-agent", "compare")
            .body(Empty::new())?;
        sender.ready().await?;
        let response = sender.send_request(request).await.doing("h2 CONNECT")?;
        if response.status() != 200 {
            let status = response.status();
            return Err(Failure::new(format!(
                "h2 CONNECT was answered with {status}"
            )));
        }
        let mut stream = TokioIo::new(hyper::upgrade::on(response).await?);
        self.greet(&mut stream).await?;
        Ok(stream)
    }

    /// The hello, and one byte back: now the tunnel has been used.
    async fn greet(
        &self,
        stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    ) -> Result<(), Failure> {
        let mut first = self.hello.clone();
        first.push(ECHO);
        first.extend(0_u64.to_be_bytes());
        stream.write_all(&first).await.doing("hello")?;
        stream.flush().await.doing("hello")?;
        stream.read_u8().await.doing("echo")?;
        Ok(())
    }

    async fn open(&self, streams: Option<usize>) -> Result<Held, Failure> {
        let Some(streams) = streams else {
            return Ok(Held {
                tunnels: vec![Box::new(self.tunnel().await?)],
                sender: None,
            });
        };
        let mut sender = self.http2().await?;
        let mut tunnels: Vec<Tunnel> = Vec::with_capacity(streams);
        for _ in 0..streams {
            tunnels.push(Box::new(self.stream(&mut sender).await?));
        }
        Ok(Held {
            tunnels,
            sender: Some(sender),
        })
    }

    async fn many(
        self: &Arc<Self>,
        connections: usize,
        streams: Option<usize>,
    ) -> Result<Vec<Held>, Failure> {
        let mut opening = JoinSet::new();
        let mut open = Vec::with_capacity(connections);
        for started in 0..connections + AT_ONCE {
            if started >= AT_ONCE
                && let Some(opened) = opening.join_next().await
            {
                open.push(opened??);
            }
            if started < connections {
                let way = Arc::clone(self);
                opening.spawn(async move { way.open(streams).await });
            }
        }
        while let Some(opened) = opening.join_next().await {
            open.push(opened??);
        }
        Ok(open)
    }
}

async fn connect(way: &Arc<Way>, loops: usize, seconds: f64) -> Result<(), Failure> {
    drop(way.many(loops, None).await?);
    ready()?;
    let go = Instant::now();
    let until = go + Duration::from_secs_f64(seconds);
    let mut running = JoinSet::new();
    for _ in 0..loops {
        let way = Arc::clone(way);
        running.spawn(async move {
            let mut done = 0;
            while Instant::now() < until {
                let mut tunnel = way.tunnel().await?;
                tunnel.shutdown().await.doing("close")?;
                done += 1;
            }
            Ok(done)
        });
    }
    conclude(running, go).await
}

async fn streams(
    way: &Arc<Way>,
    connections: usize,
    streams: usize,
    seconds: f64,
) -> Result<(), Failure> {
    let mut senders = Vec::new();
    for _ in 0..connections {
        let mut sender = way.http2().await?;
        drop(way.stream(&mut sender).await?);
        senders.push(sender);
    }
    ready()?;
    let go = Instant::now();
    let until = go + Duration::from_secs_f64(seconds);
    let mut running = JoinSet::new();
    for sender in &senders {
        for _ in 0..streams {
            let (way, mut sender) = (Arc::clone(way), sender.clone());
            running.spawn(async move {
                let mut done = 0;
                while Instant::now() < until {
                    let mut tunnel = way.stream(&mut sender).await?;
                    tunnel.shutdown().await.doing("close")?;
                    done += 1;
                }
                Ok(done)
            });
        }
    }
    conclude(running, go).await
}

async fn bulk(
    way: &Arc<Way>,
    connections: usize,
    streams: Option<usize>,
    bytes: u64,
    direction: Direction,
) -> Result<(), Failure> {
    let open = way.many(connections, streams).await?;
    ready()?;
    let go = Instant::now();
    let mut running = JoinSet::new();
    let mut senders = Vec::new();
    let mut tunnels = 0;
    for held in open {
        senders.push(held.sender);
        for mut tunnel in held.tunnels {
            tunnels += 1;
            running.spawn(async move {
                transfer(&mut tunnel, bytes, direction).await?;
                Ok::<_, Failure>(tunnel)
            });
        }
    }
    let mut kept = Vec::new();
    while let Some(ended) = running.join_next().await {
        kept.push(ended??);
    }
    say(&Outcome {
        done: tunnels,
        seconds: go.elapsed().as_secs_f64(),
        bytes: bytes * tunnels,
        seen: None,
    })?;
    stay();
    drop((kept, senders));
    Ok(())
}

async fn transfer(tunnel: &mut Tunnel, bytes: u64, direction: Direction) -> Result<(), Failure> {
    let word = match direction {
        Direction::Download => SEND,
        Direction::Upload => TAKE,
    };
    tunnel.write_u8(word).await?;
    tunnel.write_u64(bytes).await?;
    tunnel.flush().await?;
    let mut left = bytes;
    match direction {
        Direction::Download => {
            let mut buffer = vec![0; 64 * 1024];
            while left > 0 {
                let taken = tunnel.read(&mut buffer).await.doing("download")?;
                if taken == 0 {
                    return Err(Failure::new("the tunnel ended early"));
                }
                left = left.saturating_sub(taken as u64);
            }
        }
        Direction::Upload => {
            while left > 0 {
                let piece = piece(left);
                tunnel.write_all(piece).await.doing("upload")?;
                left -= piece.len() as u64;
            }
            tunnel.flush().await?;
            tunnel.read_u8().await.doing("upload")?;
        }
    }
    Ok(())
}

async fn conclude(mut running: JoinSet<Result<u64, Failure>>, go: Instant) -> Result<(), Failure> {
    let mut outcome = Outcome::default();
    while let Some(ended) = running.join_next().await {
        outcome.done += ended??;
    }
    outcome.seconds = go.elapsed().as_secs_f64();
    say(&outcome)?;
    stay();
    Ok(())
}

fn hello() -> Result<Vec<u8>, Failure> {
    let config = ClientConfig::builder()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let mut connection = ClientConnection::new(Arc::new(config), ServerName::try_from(ORIGIN)?)?;
    let mut bytes = Vec::new();
    connection.write_tls(&mut bytes)?;
    Ok(bytes)
}
