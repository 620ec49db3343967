//! A CONNECT tunnel from the 200 to its last byte.
//!
//! On the ports of TLS not one byte of the client goes out before its hello has been judged. Afterwards bytes are copied
//! and counted, nothing else: who may go on is asked by [`super::tunnels`], which cuts.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::Response;
use http::request::Parts;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::hello::{Expected, LONGEST, Peek, Seen, Verdict};
use super::tunnels::{Entry, Registered, Tunnels};
use crate::audit::event::Outcome;
use crate::audit::trail::CompletionTrail;
use crate::config::egress::Ech;
use crate::denial::DenialReason;
use crate::forward::tunnel::{Broken, Half};
use crate::forward::{Body, ForwardError};

/// What a client is told whose hello is for another host, in its own language: a fatal alert `access_denied`
/// (RFC 8446 §6.2), in the clear, as before any handshake.
const ACCESS_DENIED: [u8; 7] = [21, 3, 3, 0, 2, 2, 49];
/// How long it may take to be told.
const PARTING: Duration = Duration::from_secs(1);

/// What a tunnel keeps to beside its lease.
#[derive(Clone, Debug)]
pub struct TunnelTerms {
    /// The port is one of `tls_ports`: it must begin with a ClientHello for the host.
    pub tls: bool,
    /// The host is an address.
    pub is_address: bool,
    pub ech: Ech,
    pub hello_timeout: Duration,
}

/// Answers a CONNECT request whose destination has been connected to. The tunnel goes on in a task of its own, tells the
/// trail which address it has, its bytes and how it ended, and is on the list meanwhile.
///
/// # Errors
/// `UpgradeNotAllowed` when the connection that the request came on cannot become a tunnel.
pub fn open(
    mut request: Parts,
    upstream: TcpStream,
    terms: TunnelTerms,
    trail: Arc<CompletionTrail>,
    tunnels: &Arc<Tunnels>,
    entry: Entry,
) -> Result<Response<Body>, ForwardError> {
    let downstream = request
        .extensions
        .remove::<OnUpgrade>()
        .ok_or(ForwardError::UpgradeNotAllowed)?;
    if let Ok(address) = upstream.peer_addr() {
        trail.upstream(&address.to_string().into(), 1);
    }
    let registered = tunnels.register(entry);
    tokio::spawn(async move {
        // The gateway may stop between two walks of the sweeper.
        let cut_off = registered.entry().lease.cut_off();
        let outcome = tokio::select! {
            biased;
            () = cut_off => Outcome::ShutDown,
            outcome = carry(downstream, upstream, terms, &trail, &registered) => outcome,
        };
        if let Outcome::Cut(reason) = outcome {
            registered.entry().refused(reason);
        }
        trail.end(outcome);
    });
    // RFC 9110 §9.3.6: neither length nor coding in the answer.
    Ok(Response::new(Body::empty()))
}

async fn carry(
    downstream: OnUpgrade,
    mut upstream: TcpStream,
    terms: TunnelTerms,
    trail: &CompletionTrail,
    registered: &Registered,
) -> Outcome {
    let mut downstream = match or_cut(registered, downstream).await {
        Ok(Ok(upgraded)) => TokioIo::new(upgraded),
        Ok(Err(_)) => return Outcome::ClientGone,
        Err(outcome) => return outcome,
    };
    let mut first = Vec::new();
    if terms.tls {
        // Boxed: what only the beginning needs should not be carried to the end.
        let peeking = Box::pin(peek(&mut downstream, &terms, trail, registered));
        first = match or_cut(registered, peeking).await {
            Ok(Ok(first)) => first,
            Ok(Err(outcome)) | Err(outcome) => {
                Box::pin(part(&mut downstream, outcome)).await;
                return outcome;
            }
        };
    }
    copy(&mut downstream, &mut upstream, first, trail, registered).await
}

/// The future's answer, unless the tunnel is cut before.
async fn or_cut<F: Future>(registered: &Registered, future: F) -> Result<F::Output, Outcome> {
    let mut future = std::pin::pin!(future);
    poll_fn(|cx| match registered.poll_cut(cx) {
        Poll::Ready(outcome) => Poll::Ready(Err(outcome)),
        Poll::Pending => future.as_mut().poll(cx).map(Ok),
    })
    .await
}

/// Reads and judges the hello; gives back everything that was read.
async fn peek<D: AsyncRead + Unpin>(
    downstream: &mut D,
    terms: &TunnelTerms,
    trail: &CompletionTrail,
    registered: &Registered,
) -> Result<Vec<u8>, Outcome> {
    let host = Arc::clone(&registered.entry().host);
    let expected = Expected {
        host: &host,
        is_address: terms.is_address,
        ech: terms.ech,
    };
    let mut bytes = Vec::with_capacity(2048);
    let mut peek = Peek::default();
    let reading = async {
        loop {
            match peek.look(&bytes) {
                Seen::Hello(hello) => match hello.judge(expected) {
                    Ok(Verdict::Matches) => return Ok(()),
                    Ok(Verdict::Encrypted) => {
                        trail.ech();
                        return Ok(());
                    }
                    Err(reason) => return Err(Outcome::Cut(reason)),
                },
                Seen::NotTls => return Err(Outcome::Cut(DenialReason::TunnelNotTls)),
                Seen::More => {}
            }
            let room = LONGEST.saturating_sub(bytes.len()).min(4096);
            let mut more = (&mut *downstream).take(u64::try_from(room).unwrap_or_default());
            match more.read_buf(&mut bytes).await {
                // It has said all it will: nothing, or half a hello.
                Ok(0) if bytes.is_empty() => return Err(Outcome::ClientGone),
                Ok(0) => return Err(Outcome::Cut(DenialReason::TunnelNotTls)),
                Ok(read) => {
                    let read = u64::try_from(read).unwrap_or_default();
                    registered.moved(read);
                    trail.received(read);
                }
                Err(_) => return Err(Outcome::ClientGone),
            }
        }
    };
    match tokio::time::timeout(terms.hello_timeout, reading).await {
        Ok(judged) => judged.map(|()| bytes),
        Err(_elapsed) => Err(Outcome::Cut(DenialReason::TunnelNotTls)),
    }
}

/// Tells a client whose hello was understood why it ends here.
async fn part<D: AsyncRead + AsyncWrite + Unpin>(downstream: &mut D, outcome: Outcome) {
    let alert: &[u8] = match outcome {
        Outcome::Cut(DenialReason::SniMismatch) => &ACCESS_DENIED,
        Outcome::Cut(_)
        | Outcome::Completed
        | Outcome::ClientGone
        | Outcome::UpstreamFailed(_)
        | Outcome::TimedOut(_)
        | Outcome::ShutDown => &[],
    };
    let telling = async {
        downstream.write_all(alert).await?;
        downstream.shutdown().await?;
        // Given up with something unread (early data), the connection or stream is reset, and the alert is lost.
        let mut unread = [0; 1024];
        while !alert.is_empty() && downstream.read(&mut unread).await? > 0 {}
        io::Result::Ok(())
    };
    let _gone = tokio::time::timeout(PARTING, telling).await;
}

async fn copy<D, U>(
    downstream: &mut D,
    upstream: &mut U,
    first: Vec<u8>,
    trail: &CompletionTrail,
    registered: &Registered,
) -> Outcome
where
    D: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    let mut up = Half::starting_with(first);
    let mut down = Half::default();
    poll_fn(|cx| {
        if let Poll::Ready(outcome) = registered.poll_cut(cx) {
            return Poll::Ready(outcome);
        }
        let sent = up.poll(cx, downstream, upstream, |bytes| {
            let length = u64::try_from(bytes.len()).unwrap_or_default();
            registered.moved(length);
            trail.received(length);
        });
        let received = down.poll(cx, upstream, downstream, |bytes| {
            let length = u64::try_from(bytes.len()).unwrap_or_default();
            registered.moved(length);
            trail.sent(length);
        });
        // What the reader of one direction meets, the writer of the other meets too: either names the side.
        match (sent, received) {
            (Poll::Ready(Err(Broken::Reader)), _) | (_, Poll::Ready(Err(Broken::Writer))) => {
                Poll::Ready(Outcome::ClientGone)
            }
            (Poll::Ready(Err(Broken::Writer)), _) | (_, Poll::Ready(Err(Broken::Reader))) => {
                Poll::Ready(Outcome::UpstreamFailed("upstream-closed"))
            }
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => Poll::Ready(Outcome::Completed),
            (Poll::Ready(Ok(())) | Poll::Pending, Poll::Ready(Ok(())) | Poll::Pending) => {
                Poll::Pending
            }
        }
    })
    .await
}

impl fmt::Debug for Registered {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.entry().fmt(formatter)
    }
}

#[cfg(test)]
#[path = "tunnel_tests.rs"]
mod tests;
