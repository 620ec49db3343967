//! Stands between the socket and hyper's HTTP/1.1 server and lets through only what [`Inspector`] has seen whole.
//!
//! A head that will not pass is replaced by a small valid one with the method `REFUSED`, so that refusals take the same
//! way as all requests: the service answers, the record is written, hyper closes. Nothing after it is ever delivered.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use http::request::Parts;
use http::{Method, Version, header};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::stream::{Inspector, Stop};
use super::{Limits, Violation};

/// The method of the request that stands in for a refused one. A client that sends it is refused as well.
const REFUSED: &str = "REFUSED";
/// What a refused client may still send before we stop reading it. Unread bytes would make the kernel reset the
/// connection, and the answer would be lost on its way.
const DISCARD: usize = 256 * 1024;
/// How long we go on listening to a client that was answered before it had sent everything (RFC 9112 §9.6): closed at
/// once, it would see a broken connection and never the answer that says why.
const LINGER: Duration = Duration::from_secs(5);
/// What is read ahead, to notice that the client has left, while nobody has decided on a change of protocol.
const AHEAD: usize = 16 * 1024;

/// See the module's first lines. Reads without a copy as long as requests arrive in one piece.
#[derive(Debug)]
pub struct Guarded<IO> {
    io: IO,
    inspector: Inspector,
    shared: Arc<Shared>,
    /// Bytes that hyper has not seen; empty on the fast path.
    held: BytesMut,
    /// How many of `held` may be delivered.
    ready: usize,
    end: End,
    /// Set once we have said our last word to a client that may still be talking.
    linger: Option<Pin<Box<Sleep>>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Open,
    /// The client has sent its last byte.
    Finished,
    /// After the replaced head: how much was thrown away since.
    Refused(usize),
    /// In the middle of a body.
    Broken(Violation),
}

#[derive(Debug, Default)]
struct Shared {
    violation: OnceLock<Violation>,
    /// A head has begun to arrive and is not whole.
    partial: AtomicBool,
    switch: Mutex<Switch>,
}

#[derive(Debug, Default)]
struct Switch {
    decision: Option<bool>,
    waiting: Option<Waker>,
}

impl Shared {
    fn switch(&self) -> std::sync::MutexGuard<'_, Switch> {
        self.switch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn decide(&self, release: bool) {
        let waiting = {
            let mut switch = self.switch();
            switch.decision = Some(release);
            switch.waiting.take()
        };
        if let Some(waker) = waiting {
            waker.wake();
        }
    }
}

/// The service's end of a [`Guarded`] connection; clones are the same.
#[derive(Clone, Debug)]
pub struct Handle(Arc<Shared>);

impl Handle {
    /// Ask this first of every request: if it stands in for a refused one, why that was refused.
    pub fn refusal(&self, head: &Parts) -> Option<Violation> {
        let reserved = head.method.as_str() == REFUSED;
        reserved.then(|| {
            self.violation()
                .unwrap_or(Violation::malformed("reserved method"))
        })
    }

    /// Whether a head has begun to arrive and is not whole yet: for whoever bounds how long that may take.
    pub fn head_is_partial(&self) -> bool {
        self.0.partial.load(Ordering::Relaxed)
    }

    /// What was wrong on this connection; also set when a body was cut off.
    pub fn violation(&self) -> Option<Violation> {
        self.0.violation.get().copied()
    }

    /// Ask this of every request, before anything else may end it: `Some` if it asks for another protocol. What the client
    /// sends behind it waits until the answer is [released](Switching::release) or dropped; if nobody asks, for ever.
    pub fn switching(&self, head: &Parts) -> Option<Switching> {
        let upgrade =
            head.version == Version::HTTP_11 && head.headers.contains_key(header::UPGRADE);
        (upgrade || head.method == Method::CONNECT).then(|| Switching(Some(Arc::clone(&self.0))))
    }
}

/// A change of protocol that was asked for. Dropped, it is declined, and requests go on.
#[derive(Debug)]
#[must_use = "dropping it declines"]
pub struct Switching(Option<Arc<Shared>>);

impl Switching {
    /// From here on bytes pass unexamined. Call it before the 101 (or the 2xx to CONNECT) is sent.
    pub fn release(mut self) {
        if let Some(shared) = self.0.take() {
            shared.decide(true);
        }
    }
}

impl Drop for Switching {
    fn drop(&mut self) {
        if let Some(shared) = self.0.take() {
            shared.decide(false);
        }
    }
}

impl<IO> Guarded<IO> {
    /// Guards a connection on which nothing has been read.
    pub fn new(io: IO, limits: Limits) -> (Self, Handle) {
        let shared = Arc::<Shared>::default();
        let guarded = Self {
            io,
            inspector: Inspector::new(limits),
            shared: Arc::clone(&shared),
            held: BytesMut::new(),
            ready: 0,
            end: End::Open,
            linger: None,
        };
        (guarded, Handle(shared))
    }

    /// The connection itself, for its facts.
    pub fn get_ref(&self) -> &IO {
        &self.io
    }

    /// Delivers what is ready; false when nothing is.
    fn deliver(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        let amount = self.ready.min(buf.remaining());
        let Some(front) = self.held.get(..amount).filter(|front| !front.is_empty()) else {
            return false;
        };
        buf.put_slice(front);
        self.held.advance(amount);
        self.ready -= amount;
        if self.held.is_empty() {
            // An idle connection keeps no buffer.
            self.held = BytesMut::new();
        }
        true
    }

    /// Inspects what is held beyond `ready`; true when the inspector waits for a decision.
    fn inspect_held(&mut self) -> bool {
        let unseen = self.held.get(self.ready..).unwrap_or_default();
        let (passed, stop) = self.inspector.advance(unseen);
        self.ready += passed;
        self.conclude(stop)
    }

    /// Acts on the inspector's last word; what did not pass is in `held`, behind `ready`.
    fn conclude(&mut self, stop: Stop) -> bool {
        match stop {
            Stop::More => false,
            Stop::Switch => true,
            Stop::Refused(violation) => {
                let _ = self.shared.violation.set(violation);
                let refused = self.held.split_off(self.ready);
                append_substitute(&mut self.held, &refused);
                self.ready = self.held.len();
                self.end = End::Refused(0);
                false
            }
            Stop::Broken(violation) => {
                let _ = self.shared.violation.set(violation);
                self.held.truncate(self.ready);
                self.end = End::Broken(violation);
                false
            }
        }
    }

    /// True once the decision is made and carried out.
    fn poll_decision(&mut self, cx: &Context<'_>) -> bool {
        let decision = {
            let mut switch = self.shared.switch();
            if switch.decision.is_none() {
                switch.waiting = Some(cx.waker().clone());
            }
            switch.decision.take()
        };
        match decision {
            Some(true) => self.inspector.release(),
            Some(false) => self.inspector.decline(),
            None => return false,
        }
        true
    }
}

impl<IO: AsyncRead + Unpin> Guarded<IO> {
    /// Reads into `buf` and passes what may pass; the rest is held.
    fn poll_more(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<bool>> {
        let start = buf.filled().len();
        std::task::ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        let fresh = buf.filled().get(start..).unwrap_or_default();
        if fresh.is_empty() {
            self.end = End::Finished;
            return Poll::Ready(Ok(false));
        }
        if !self.held.is_empty() {
            self.held.extend_from_slice(fresh);
            buf.set_filled(start);
            self.inspect_held();
            return Poll::Ready(Ok(false));
        }
        let (passed, stop) = self.inspector.advance(fresh);
        if let Some(rest) = fresh.get(passed..).filter(|rest| !rest.is_empty()) {
            self.held.extend_from_slice(rest);
        }
        buf.set_filled(start + passed);
        self.conclude(stop);
        Poll::Ready(Ok(passed > 0))
    }

    /// Keeps what arrives meanwhile, within bounds; an error or an end that comes before any byte is passed on.
    fn poll_ahead(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        while self.end == End::Open && self.held.len() < AHEAD {
            let start = buf.filled().len();
            std::task::ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
            let fresh = buf.filled().get(start..).unwrap_or_default();
            if fresh.is_empty() {
                self.end = End::Finished;
            }
            self.held.extend_from_slice(fresh);
            buf.set_filled(start);
        }
        if self.end == End::Finished && self.held.is_empty() {
            Poll::Ready(Ok(()))
        } else {
            Poll::Pending
        }
    }

    /// Throws away what a refused client still sends. Never ready: hyper would take an end for a client that has left,
    /// and drop the answer.
    fn poll_discard(&mut self, cx: &mut Context<'_>, mut discarded: usize) -> Poll<io::Result<()>> {
        let mut space = [0; 4096];
        while discarded < DISCARD {
            let mut sink = ReadBuf::new(&mut space);
            match Pin::new(&mut self.io).poll_read(cx, &mut sink) {
                Poll::Ready(Ok(())) if !sink.filled().is_empty() => {
                    discarded += sink.filled().len();
                    self.end = End::Refused(discarded);
                }
                Poll::Ready(_) => {
                    self.end = End::Refused(DISCARD);
                    break;
                }
                Poll::Pending => break,
            }
        }
        Poll::Pending
    }
}

impl<IO: AsyncRead + Unpin> Guarded<IO> {
    /// Throws away what arrives until the client ends, too, or its time is over.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let over = self
            .linger
            .as_mut()
            .is_none_or(|time| time.as_mut().poll(cx).is_ready());
        if over {
            return Poll::Ready(Ok(()));
        }
        let mut space = [0; 16 * 1024];
        // Others have their turn after so many.
        for _ in 0..16 {
            let mut sink = ReadBuf::new(&mut space);
            match std::task::ready!(Pin::new(&mut self.io).poll_read(cx, &mut sink)) {
                Ok(()) if !sink.filled().is_empty() => {}
                Ok(()) | Err(_) => return Poll::Ready(Ok(())),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Guarded<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = self.poll_passed(cx, buf);
        let partial = self.ready == 0 && !self.held.is_empty() && self.end == End::Open;
        self.shared.partial.store(partial, Ordering::Relaxed);
        polled
    }
}

impl<IO: AsyncRead + Unpin> Guarded<IO> {
    fn poll_passed(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self;
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        loop {
            if this.deliver(buf) {
                return Poll::Ready(Ok(()));
            }
            match this.end {
                End::Refused(discarded) => return this.poll_discard(cx, discarded),
                End::Broken(violation) => {
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, violation)));
                }
                End::Open | End::Finished => {}
            }
            if this.inspector.is_switching() {
                if !this.poll_decision(cx) {
                    return this.poll_ahead(cx, buf);
                }
                this.inspect_held();
                continue;
            }
            if this.end == End::Finished {
                // What is held now is half a head: nobody asked for anything.
                return Poll::Ready(Ok(()));
            }
            if this.inspector.is_transparent() && this.held.is_empty() {
                return Pin::new(&mut this.io).poll_read(cx, buf);
            }
            if std::task::ready!(this.poll_more(cx, buf))? {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Guarded<IO> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.linger.is_none() {
            std::task::ready!(Pin::new(&mut self.io).poll_shutdown(cx))?;
            let may_be_talking = match self.end {
                End::Open => self.inspector.is_in_body(),
                End::Refused(_) | End::Broken(_) => true,
                End::Finished => false,
            };
            if !may_be_talking {
                return Poll::Ready(Ok(()));
            }
            self.linger = Some(Box::pin(tokio::time::sleep(LINGER)));
        }
        self.poll_linger(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

/// The request that stands in for a refused one. What decides between a page and a document, and its language, is taken
/// over from the refused head where it is plain; nothing else is.
fn append_substitute(out: &mut BytesMut, refused: &[u8]) {
    const COURTESIES: [&[u8]; 3] = [b"accept", b"accept-language", b"sec-fetch-mode"];
    out.extend_from_slice(REFUSED.as_bytes());
    out.extend_from_slice(b" / HTTP/1.1\r\nhost: refused.invalid\r\nconnection: close\r\n");
    for courtesy in COURTESIES {
        if let Some(value) = plain_value(refused, courtesy) {
            out.extend_from_slice(courtesy);
            out.extend_from_slice(b": ");
            out.extend_from_slice(value);
            out.extend_from_slice(b"\r\n");
        }
    }
    out.extend_from_slice(b"\r\n");
}

fn plain_value<'a>(head: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let value = head.split(|byte| *byte == b'\n').find_map(|line| {
        let (start, rest) = line.split_at_checked(name.len())?;
        start.eq_ignore_ascii_case(name).then_some(())?;
        rest.strip_prefix(b":")
    })?;
    let value = value.trim_ascii();
    let plain = value.len() <= 256 && value.iter().all(|byte| (0x20..0x7F).contains(byte));
    plain.then_some(value)
}

#[cfg(test)]
mod tests;
