//! Handshakes and nothing else: connect, say farewell, and wait for the session ticket or the server's farewell, which a
//! TLS 1.3 server sends only once it has verified the client's certificate.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use rustls::{ClientConfig, HandshakeKind};
use tokio::io::{AsyncRead as _, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::client::TlsStream;

use super::client::Session;
use super::{Outcome, ready, say};
use crate::failure::{Doing as _, Failure};

pub(super) async fn run(
    session: &Arc<Session>,
    workers: usize,
    resume: bool,
    seconds: f64,
) -> Result<(), Failure> {
    let mut configs = Vec::new();
    for _ in 0..workers {
        let config = if resume {
            session.resuming()?
        } else {
            session.config()
        };
        // The first of each is full and leaves a ticket.
        shake(session, &config).await?;
        configs.push(config);
    }
    ready()?;
    let go = Instant::now();
    let until = go + Duration::from_secs_f64(seconds);
    let mut loops = JoinSet::new();
    for config in configs {
        let session = Arc::clone(session);
        loops.spawn(async move {
            let (mut done, mut resumed) = (0, 0);
            while Instant::now() < until {
                let kind = shake(&session, &config).await?;
                done += 1;
                resumed += u64::from(kind == HandshakeKind::Resumed);
            }
            Ok::<_, Failure>((done, resumed))
        });
    }
    let mut outcome = Outcome::default();
    while let Some(ended) = loops.join_next().await {
        let (done, resumed) = ended??;
        outcome.done += done;
        outcome.resumed += resumed;
    }
    outcome.seconds = go.elapsed().as_secs_f64();
    say(&outcome)
}

async fn shake(session: &Session, config: &Arc<ClientConfig>) -> Result<HandshakeKind, Failure> {
    let mut stream = session.connect(Arc::clone(config)).await?;
    // Some servers keep the ticket back until they have something to say; a farewell is.
    stream.shutdown().await.doing("after the handshake")?;
    tokio::time::timeout(Duration::from_secs(5), verdict(&mut stream))
        .await
        .map_err(|_| Failure::new("no word within 5 s after the handshake"))??;
    Ok(stream
        .get_ref()
        .1
        .handshake_kind()
        .unwrap_or(HandshakeKind::Full))
}

/// Until the ticket is here or the server has said farewell; an error when it says that it does not know us.
async fn verdict(stream: &mut TlsStream<TcpStream>) -> Result<(), Failure> {
    poll_fn(|context| {
        let mut byte = [0];
        let read = Pin::new(&mut *stream).poll_read(context, &mut ReadBuf::new(&mut byte));
        if stream.get_ref().1.tls13_tickets_received() > 0 {
            return Poll::Ready(Ok(()));
        }
        read.map(|read| read.doing("after the handshake"))
    })
    .await
}
