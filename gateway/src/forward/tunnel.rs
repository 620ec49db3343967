//! Bytes both ways after an upgrade, until both sides have ended, a limit runs out or the lease does.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};

use super::Lease;
use super::watch::Watch;
use super::websocket::{Frames, Goodbye};
use crate::audit::event::Outcome;
use crate::audit::trail::CompletionTrail;
use crate::denial::DenialReason;

/// Read at once, bytes. Measured over TLS: towards HTTP/1.1 the size makes no difference, towards HTTP/2 64 KiB costs a
/// third less CPU time per byte than 8 KiB. Only what a slow reader has not taken is kept by the tunnel itself.
const CHUNK: usize = 64 * 1024;

thread_local! {
    /// One per thread, lent to whoever reads: an idle tunnel holds no buffer.
    static LENT: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// How long a client is listened to after a goodbye, and for how many bytes: closed with something unread, the connection
/// would be reset, and the goodbye lost.
const PARTING: (Duration, usize) = (Duration::from_secs(1), 64 * 1024);

/// How a tunnel ended, and what the client of a WebSocket can be told about it.
pub(super) struct Ended {
    pub(super) outcome: Outcome,
    pub(super) goodbye: Option<Goodbye>,
}

/// Copies between client and upstream. `frames`: what is carried is a WebSocket.
pub(super) async fn run<D, U>(
    downstream: &mut D,
    mut upstream: U,
    mut watch: Watch,
    (trail, lease): (&Arc<CompletionTrail>, &dyn Lease),
    mut frames: Option<Frames>,
) -> Ended
where
    D: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    let mut up = Half::default();
    let mut down = Half::default();
    let mut moved = false;
    let mut cut_off = lease.cut_off();
    let outcome = std::future::poll_fn(|cx| {
        if cut_off.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Outcome::ShutDown);
        }
        let sent = up.poll(cx, downstream, &mut upstream, |bytes| {
            moved = true;
            trail.received(length(bytes));
        });
        let received = down.poll(cx, &mut upstream, downstream, |bytes| {
            moved = true;
            trail.sent(length(bytes));
            if let Some(frames) = &mut frames {
                frames.follow(bytes);
            }
        });
        // What the reader of one direction meets, the writer of the other meets too: either names the side.
        match (&sent, &received) {
            (Poll::Ready(Err(Broken::Reader)), _) | (_, Poll::Ready(Err(Broken::Writer))) => {
                return Poll::Ready(Outcome::ClientGone);
            }
            (Poll::Ready(Err(Broken::Writer)), _) | (_, Poll::Ready(Err(Broken::Reader))) => {
                return Poll::Ready(Outcome::UpstreamFailed("upstream-closed"));
            }
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => return Poll::Ready(Outcome::Completed),
            (Poll::Ready(Ok(())) | Poll::Pending, Poll::Ready(Ok(())) | Poll::Pending) => {}
        }
        while let Poll::Ready(passed) = watch.poll_step(cx) {
            if let Err(error) = watch.judge(passed, std::mem::take(&mut moved), lease) {
                return Poll::Ready(error.outcome());
            }
        }
        Poll::Pending
    })
    .await;
    let may_speak = down.is_clear() && frames.is_some_and(|frames| frames.is_between());
    let goodbye = match outcome {
        Outcome::ShutDown | Outcome::Cut(DenialReason::Overloaded) => Some(Goodbye::GoingAway),
        Outcome::Cut(_) => Some(Goodbye::PolicyViolation),
        Outcome::Completed
        | Outcome::ClientGone
        | Outcome::UpstreamFailed(_)
        | Outcome::TimedOut(_) => None,
    };
    Ended {
        outcome,
        goodbye: goodbye.filter(|_| may_speak),
    }
}

/// Ends a WebSocket whose frames are whole.
pub(super) async fn part<D>(mut downstream: D, goodbye: Goodbye)
where
    D: AsyncRead + AsyncWrite + Unpin,
{
    let (patience, limit) = PARTING;
    let parting = async {
        downstream.write_all(&goodbye.frame()).await?;
        downstream.flush().await?;
        downstream.shutdown().await?;
        let mut left = limit;
        let mut unread = [0; 1024];
        while let read @ 1.. = downstream.read(&mut unread).await? {
            left = left.saturating_sub(read);
            if left == 0 {
                break;
            }
        }
        io::Result::Ok(())
    };
    let _gone = tokio::time::timeout(patience, parting).await;
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

/// Which end of a direction failed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Broken {
    Reader,
    Writer,
}

/// What one read came to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Moved {
    Something,
    Nothing,
}

/// One direction.
#[derive(Default)]
pub(crate) struct Half {
    /// Read but not taken by the writer; empty, and without memory, most of the time.
    rest: Vec<u8>,
    written: usize,
    unflushed: bool,
    ended: bool,
    done: bool,
}

impl Half {
    /// A direction of which these bytes have been read already.
    pub(crate) fn starting_with(first: Vec<u8>) -> Self {
        Self {
            rest: first,
            ..Self::default()
        }
    }

    /// Everything that was read has been taken, and more may follow.
    fn is_clear(&self) -> bool {
        self.rest.is_empty() && !self.ended
    }

    /// Moves what can be moved; ready when the reader has ended and the writer knows. `follow` is shown what was read.
    pub(crate) fn poll<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut R,
        writer: &mut W,
        mut follow: impl FnMut(&[u8]),
    ) -> Poll<Result<(), Broken>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        loop {
            if self.done {
                return Poll::Ready(Ok(()));
            }
            if self.written < self.rest.len() {
                ready!(self.write_rest(cx, writer)).map_err(|_| Broken::Writer)?;
                continue;
            }
            if self.ended {
                ready!(Pin::new(&mut *writer).poll_shutdown(cx)).map_err(|_| Broken::Writer)?;
                self.done = true;
                continue;
            }
            let mut chunk = LENT.take();
            chunk.resize(CHUNK, 0);
            let moved = self.pass(cx, &mut chunk, reader, writer, &mut follow);
            LENT.set(chunk);
            if moved? == Moved::Nothing {
                if self.unflushed {
                    ready!(Pin::new(&mut *writer).poll_flush(cx)).map_err(|_| Broken::Writer)?;
                    self.unflushed = false;
                }
                return Poll::Pending;
            }
        }
    }

    /// Reads once and hands on what the writer takes; the rest is kept.
    fn pass<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        chunk: &mut [u8],
        reader: &mut R,
        writer: &mut W,
        follow: &mut impl FnMut(&[u8]),
    ) -> Result<Moved, Broken>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let mut buffer = ReadBuf::new(chunk);
        match Pin::new(reader).poll_read(cx, &mut buffer) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(_)) => return Err(Broken::Reader),
            Poll::Pending => return Ok(Moved::Nothing),
        }
        let bytes = buffer.filled();
        if bytes.is_empty() {
            self.ended = true;
            return Ok(Moved::Something);
        }
        follow(bytes);
        self.unflushed = true;
        let taken = match Pin::new(writer).poll_write(cx, bytes) {
            Poll::Ready(Ok(taken)) => taken,
            Poll::Ready(Err(_)) => return Err(Broken::Writer),
            Poll::Pending => 0,
        };
        self.rest
            .extend_from_slice(bytes.get(taken..).unwrap_or_default());
        Ok(Moved::Something)
    }

    fn write_rest<W: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        writer: &mut W,
    ) -> Poll<io::Result<()>> {
        let rest = self.rest.get(self.written..).unwrap_or_default();
        let taken = ready!(Pin::new(writer).poll_write(cx, rest))?;
        if taken == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.written = self.written.saturating_add(taken);
        if self.written >= self.rest.len() {
            self.rest = Vec::new();
            self.written = 0;
        }
        Poll::Ready(Ok(()))
    }
}
