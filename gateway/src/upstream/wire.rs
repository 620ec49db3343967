//! One HTTP/1.1 connection to a server, and the handful of HTTP/2 connections that requests share.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use hyper::client::conn::{http1, http2};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio::time::Sleep;

use super::server::Server;
use super::upload::RequestBody;

/// What hyper calls a connection future.
pub(super) type Driving = Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>;

/// An HTTP/1.1 connection. Kept in one box for its whole life, so that moving it costs a pointer.
pub(crate) struct Wire {
    pub(super) sender: http1::SendRequest<RequestBody>,
    driver: Driver,
    /// Outlives requests: pushing back the deadline of a registered timer needs neither lock nor allocation.
    pub(crate) timer: Option<Pin<Box<Sleep>>>,
    /// The pool's tick at which it was put away.
    pub(super) idle_since: u64,
    /// It has carried a request before, so the server may have closed it meanwhile.
    pub(crate) reused: bool,
}

/// Who polls the connection.
enum Driver {
    /// Whoever polls the exchange: one task for both sides, no wake-ups between them.
    Inline(Driving),
    /// A task, because upload and download go on at the same time and neither may hold up the other.
    Spawned(AbortHandle),
    Gone,
}

impl Wire {
    pub(super) fn new(sender: http1::SendRequest<RequestBody>, driving: Driving) -> Box<Self> {
        Box::new(Self {
            sender,
            driver: Driver::Inline(driving),
            timer: Some(Box::pin(tokio::time::sleep(Duration::from_secs(1)))),
            idle_since: 0,
            reused: false,
        })
    }

    /// Moves the connection on; true when its progress does not wake us otherwise.
    pub(crate) fn drive(&mut self, cx: &mut Context<'_>) -> bool {
        match &mut self.driver {
            Driver::Inline(driving) => {
                if driving.as_mut().poll(cx).is_ready() {
                    self.driver = Driver::Gone;
                }
                true
            }
            Driver::Spawned(_) => false,
            Driver::Gone => true,
        }
    }

    pub(crate) fn is_inline(&self) -> bool {
        !matches!(self.driver, Driver::Spawned(_))
    }

    /// Gives the connection a task of its own, which ends with this wire.
    pub(crate) fn detach(&mut self) {
        if let Driver::Inline(driving) = std::mem::replace(&mut self.driver, Driver::Gone) {
            self.driver = Driver::Spawned(tokio::spawn(driving).abort_handle());
        }
    }

    /// Gives the connection a task that outlives this wire: it is about to become a tunnel.
    pub(crate) fn release_to_upgrade(&mut self) {
        if let Driver::Inline(driving) = std::mem::replace(&mut self.driver, Driver::Gone) {
            tokio::spawn(driving);
        }
    }

    /// Polls once without anybody to wake; true when the next request may be sent.
    ///
    /// The wakers of the request before are replaced on the way: otherwise the next user of this connection would wake
    /// a task that has nothing to do with it.
    pub(super) fn settle(&mut self) -> bool {
        let Driver::Inline(driving) = &mut self.driver else {
            return false;
        };
        let mut nobody = Context::from_waker(Waker::noop());
        if driving.as_mut().poll(&mut nobody).is_ready() {
            self.driver = Driver::Gone;
            return false;
        }
        self.sender.is_ready()
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if let Driver::Spawned(task) = &self.driver {
            task.abort();
        }
    }
}

impl fmt::Debug for Wire {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Wire")
            .field("reused", &self.reused)
            .finish_non_exhaustive()
    }
}

/// An HTTP/2 connection and what is known of it.
pub(crate) struct Multiplexed {
    pub(super) sender: http2::SendRequest<RequestBody>,
    pub(super) facts: Arc<Http2Facts>,
}

/// Shared by an HTTP/2 connection's task and its users.
pub(crate) struct Http2Facts {
    streams: AtomicUsize,
    /// What the peer's SETTINGS allow at once.
    limit: AtomicUsize,
    /// The peer offers extended CONNECT (RFC 8441 §3).
    extended_connect: AtomicBool,
    pub(super) last_used: AtomicU64,
    task: Mutex<Option<Waker>>,
}

/// Streams per connection beyond which another connection is opened, whatever the peer allows.
const STREAMS_PER_CONNECTION: usize = 200;

impl Http2Facts {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            streams: AtomicUsize::new(0),
            limit: AtomicUsize::new(100),
            extended_connect: AtomicBool::new(false),
            last_used: AtomicU64::new(0),
            task: Mutex::new(None),
        })
    }

    pub(super) fn streams(&self) -> usize {
        self.streams.load(Ordering::Relaxed)
    }

    pub(super) fn has_room(&self) -> bool {
        self.streams()
            < self
                .limit
                .load(Ordering::Relaxed)
                .min(STREAMS_PER_CONNECTION)
    }

    pub(crate) fn offers_extended_connect(&self) -> bool {
        self.extended_connect.load(Ordering::Acquire)
    }

    /// Has the connection's task look at the peer's settings.
    pub(crate) fn refresh(&self) {
        let waker = self
            .task
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// The task of an HTTP/2 connection.
pub(super) struct Http2Task<F> {
    pub(super) connection: F,
    pub(super) facts: Arc<Http2Facts>,
    /// Whose connections it occupies one of until it ends. Weak, or the server and its connection would keep each other.
    pub(super) server: Weak<Server>,
}

/// The questions that hyper answers on the connection, not on its sender.
pub(super) trait Http2Connection: Future<Output = hyper::Result<()>> + Unpin {
    fn extended_connect(&self) -> bool;
    fn stream_limit(&self) -> usize;
}

impl<T, E> Http2Connection for http2::Connection<T, RequestBody, E>
where
    Self: Future<Output = hyper::Result<()>>,
    T: hyper::rt::Read + hyper::rt::Write + Unpin + 'static,
    E: hyper::rt::bounds::Http2ClientConnExec<RequestBody, T> + Unpin,
{
    fn extended_connect(&self) -> bool {
        self.is_extended_connect_protocol_enabled()
    }

    fn stream_limit(&self) -> usize {
        self.current_max_send_streams()
    }
}

impl<F: Http2Connection> Future for Http2Task<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.connection).poll(cx);
        let facts = &this.facts;
        facts
            .extended_connect
            .store(this.connection.extended_connect(), Ordering::Release);
        facts
            .limit
            .store(this.connection.stream_limit(), Ordering::Relaxed);
        let mut task = facts.task.lock().unwrap_or_else(PoisonError::into_inner);
        match &*task {
            Some(known) if known.will_wake(cx.waker()) => {}
            _ => *task = Some(cx.waker().clone()),
        }
        polled.map(|_| ())
    }
}

impl<F> Drop for Http2Task<F> {
    fn drop(&mut self) {
        if let Some(server) = self.server.upgrade() {
            server.give_back_connection();
        }
    }
}

/// One stream of an HTTP/2 connection.
pub(crate) struct Stream {
    pub(super) sender: http2::SendRequest<RequestBody>,
    pub(crate) facts: Arc<Http2Facts>,
}

impl Stream {
    pub(super) fn open(connection: &Multiplexed, tick: u64) -> Self {
        connection.facts.streams.fetch_add(1, Ordering::Relaxed);
        connection.facts.last_used.store(tick, Ordering::Relaxed);
        Self {
            sender: connection.sender.clone(),
            facts: Arc::clone(&connection.facts),
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.facts.streams.fetch_sub(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Stream").finish_non_exhaustive()
    }
}

/// A socket, with TLS or without.
#[derive(Debug)]
pub(super) enum Socket {
    Plain(TcpStream),
    Tls(Box<tokio_rustls::client::TlsStream<TcpStream>>),
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
