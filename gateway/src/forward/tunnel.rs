//! Bytes both ways after an upgrade, until both sides have ended, a limit runs out or the lease does.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Lease;
use super::watch::Watch;
use crate::audit::event::Outcome;
use crate::audit::trail::CompletionTrail;

/// Read at once, bytes. On the stack: an idle tunnel holds no buffer.
const CHUNK: usize = 8 * 1024;

/// Copies between client and upstream and says how it ended.
pub(super) async fn run<D, U>(
    mut downstream: D,
    mut upstream: U,
    mut watch: Watch,
    trail: &Arc<CompletionTrail>,
    lease: &dyn Lease,
) -> Outcome
where
    D: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    let mut up = Half::default();
    let mut down = Half::default();
    let mut moved = false;
    std::future::poll_fn(|cx| {
        let sent = up.poll(cx, &mut downstream, &mut upstream, |bytes| {
            moved = true;
            trail.received(bytes);
        });
        let received = down.poll(cx, &mut upstream, &mut downstream, |bytes| {
            moved = true;
            trail.sent(bytes);
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
    .await
}

/// Which end of a direction failed.
#[derive(Clone, Copy, Debug)]
enum Broken {
    Reader,
    Writer,
}

/// One direction.
#[derive(Default)]
struct Half {
    /// Read but not taken by the writer; empty, and without memory, most of the time.
    rest: Vec<u8>,
    written: usize,
    unflushed: bool,
    ended: bool,
    done: bool,
}

impl Half {
    fn poll<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut R,
        writer: &mut W,
        mut count: impl FnMut(u64),
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
            let mut chunk = [MaybeUninit::uninit(); CHUNK];
            let mut buffer = ReadBuf::uninit(&mut chunk);
            match Pin::new(&mut *reader).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Broken::Reader)),
                Poll::Pending => {
                    if self.unflushed {
                        ready!(Pin::new(&mut *writer).poll_flush(cx))
                            .map_err(|_| Broken::Writer)?;
                        self.unflushed = false;
                    }
                    return Poll::Pending;
                }
            }
            let bytes = buffer.filled();
            if bytes.is_empty() {
                self.ended = true;
                continue;
            }
            count(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
            self.unflushed = true;
            let taken = match Pin::new(&mut *writer).poll_write(cx, bytes) {
                Poll::Ready(Ok(taken)) => taken,
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Broken::Writer)),
                Poll::Pending => 0,
            };
            self.rest
                .extend_from_slice(bytes.get(taken..).unwrap_or_default());
        }
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
