//! From an accepted socket to served requests: admission, PROXY protocol, TLS, HTTP, and letting go in time.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use http::{Request, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1::UpgradeableConnection;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use socket2::{Domain, Protocol as SocketProtocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Bounds;
use crate::connection::{Connection, Protocol};
use crate::framing::{self, Guarded, Handle};
use crate::gateway::Shared;
use crate::limits::admission::HandshakeSlot;
use crate::metrics::{HandshakeFailure, RefusedConnection};
use crate::pipeline;
use crate::proxy_protocol;
use crate::tls::{self, Stream};

/// How connections learn that it is time to go, and how the gateway learns that they went.
#[derive(Clone, Debug, Default)]
pub(crate) struct Drain {
    begun: CancellationToken,
    cut: CancellationToken,
    connections: TaskTracker,
}

impl Drain {
    pub(crate) fn begin(&self) {
        self.begun.cancel();
        self.connections.close();
    }
    /// No new connections are accepted any more.
    pub(crate) fn has_begun(&self) -> bool {
        self.begun.is_cancelled()
    }
    /// Ends what is still there.
    pub(crate) fn cut(&self) {
        self.cut.cancel();
    }
    pub(crate) async fn finished(&self) {
        self.connections.wait().await;
    }
}

/// A listening socket with a backlog that survives a burst of sign-ins.
pub(crate) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(SocketProtocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // `[::]` must not silently take over what `0.0.0.0` was configured for.
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(4096)?;
    TcpListener::from_std(socket.into())
}

/// Accepts until draining begins.
pub(crate) async fn accept(shared: Arc<Shared>, listener: TcpListener) {
    loop {
        let accepted = tokio::select! {
            () = shared.drain.begun.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, remote)) => admit(&shared, stream, remote),
            Err(error) => {
                // Out of file descriptors, mostly: give connections a moment to end instead of spinning.
                tracing::error!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

fn admit(shared: &Arc<Shared>, stream: TcpStream, remote: SocketAddr) {
    let handshake = match shared.admission.handshake(remote.ip()) {
        Ok(handshake) => handshake,
        Err(refusal) => {
            shared.metrics.connection_refused(refusal.into());
            tracing::debug!(%remote, ?refusal, "connection refused");
            return;
        }
    };
    let drain = shared.drain.clone();
    let shared = Arc::clone(shared);
    let connection = serve(shared, stream, remote, handshake);
    drain.connections.spawn(connection);
}

async fn serve(
    shared: Arc<Shared>,
    stream: TcpStream,
    remote: SocketAddr,
    handshake: HandshakeSlot,
) {
    let state = shared.state();
    let bounds = state.config.ingress.bounds.clone();
    let cut = shared.drain.cut.clone();
    let established = async {
        stream.set_nodelay(true).map_err(Refused::Handshake)?;
        let local = stream.local_addr().map_err(Refused::Handshake)?;
        let (stream, remote) = if state.speaks_proxy_protocol(remote.ip()) {
            match proxy_protocol::read(stream).await {
                Ok((stream, source)) => (stream, source.unwrap_or(remote)),
                Err(error) => return Err(Refused::ProxyProtocol(error)),
            }
        } else {
            (stream, remote)
        };
        tls::accept(&shared, &state, stream, remote, local)
            .await
            .map_err(Refused::Handshake)
    };
    let established = tokio::select! {
        established = tokio::time::timeout(bounds.handshake_timeout, established) => established,
        () = cut.cancelled() => return,
    };
    // Not kept for the life of the connection: a reload must be able to drop the old state.
    drop(state);
    let (stream, connection) = match established {
        Ok(Ok(established)) => established,
        Ok(Err(Refused::Handshake(error))) => {
            shared.metrics.handshake_failed(tls::cause(&error));
            tracing::debug!(%remote, %error, "no TLS connection");
            return;
        }
        Ok(Err(Refused::ProxyProtocol(error))) => {
            shared
                .metrics
                .connection_refused(RefusedConnection::ProxyProtocol);
            tracing::debug!(%remote, %error, "no PROXY protocol header");
            return;
        }
        Err(_elapsed) => {
            shared.metrics.handshake_failed(HandshakeFailure::TimedOut);
            tracing::debug!(%remote, "TLS handshake took too long");
            return;
        }
    };
    let handshakes = &shared.metrics;
    if connection.tls.resumed {
        &handshakes.handshakes_resumed
    } else {
        &handshakes.handshakes_full
    }
    .increment();
    let _slot = handshake.established();
    let _open = shared.metrics.connections.enter();
    let connection = Arc::new(connection);
    tokio::select! {
        () = speak(&shared, stream, &connection, &bounds) => {}
        () = cut.cancelled() => {}
    }
}

/// Why a connection ended before it was one.
enum Refused {
    ProxyProtocol(io::Error),
    Handshake(io::Error),
}

async fn speak(
    shared: &Arc<Shared>,
    stream: Stream,
    connection: &Arc<Connection>,
    bounds: &Bounds,
) {
    let result = match connection.tls.protocol {
        Protocol::Http1 => http1(shared, stream, connection, bounds).await,
        Protocol::Http2 => http2(shared, stream, connection, bounds).await,
    };
    if let Err(error) = result {
        tracing::debug!(connection = connection.id, %error, "connection ended");
    }
}

async fn http1(
    shared: &Arc<Shared>,
    stream: Stream,
    connection: &Arc<Connection>,
    bounds: &Bounds,
) -> Result<(), hyper::Error> {
    let (guarded, guard) = Guarded::new(stream, framing::Limits::of(bounds));
    let activity = Arc::new(Activity::default());
    let service = {
        let (shared, connection) = (Arc::clone(shared), Arc::clone(connection));
        let (activity, guard) = (Arc::clone(&activity), guard.clone());
        service_fn(move |request: Request<Incoming>| {
            let (head, body) = request.into_parts();
            let violation = guard.refusal(&head);
            let switching = guard.switching(&head);
            let busy = activity.begin();
            let request = Request::from_parts(head, body);
            let answer = pipeline::serve(
                Arc::clone(&shared),
                Arc::clone(&connection),
                request,
                violation,
            );
            async move {
                let response = answer.await;
                drop(busy);
                if let Some(switching) = switching
                    && response.status() == StatusCode::SWITCHING_PROTOCOLS
                {
                    switching.release();
                }
                Ok::<_, Infallible>(response)
            }
        })
    };
    // No header timeout of hyper's: it would reset a timer for every request; `Activity` does with one wake-up per tick.
    let serving = http1::Builder::new()
        .max_headers(bounds.header_count)
        .max_buf_size(bounds.header_bytes.max(8192))
        .half_close(true)
        .serve_connection(TokioIo::new(guarded), service)
        .with_upgrades();
    let watch = Watch::new(bounds, activity, Some(guard));
    drive(
        shared,
        serving,
        UpgradeableConnection::graceful_shutdown,
        watch,
    )
    .await
}

async fn http2(
    shared: &Arc<Shared>,
    stream: Stream,
    connection: &Arc<Connection>,
    bounds: &Bounds,
) -> Result<(), hyper::Error> {
    let activity = Arc::new(Activity::default());
    let service = {
        let (shared, connection) = (Arc::clone(shared), Arc::clone(connection));
        let activity = Arc::clone(&activity);
        service_fn(move |request: Request<Incoming>| {
            let busy = activity.begin();
            let answer =
                pipeline::serve(Arc::clone(&shared), Arc::clone(&connection), request, None);
            async move {
                let response = answer.await;
                drop(busy);
                Ok::<_, Infallible>(response)
            }
        })
    };
    let serving = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(bounds.concurrent_streams)
        .max_header_list_size(u32::try_from(bounds.header_bytes).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(20)
        .max_local_error_reset_streams(128)
        .max_send_buf_size(64 * 1024)
        .initial_stream_window_size(256 * 1024)
        .initial_connection_window_size(1024 * 1024)
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(20))
        .enable_connect_protocol()
        .serve_connection(TokioIo::new(stream), service);
    let watch = Watch::new(bounds, activity, None);
    drive(shared, serving, http2::Connection::graceful_shutdown, watch).await
}

/// Serves a connection to its end, asking it to finish when the gateway drains or nothing was asked for too long.
async fn drive<C>(
    shared: &Shared,
    serving: C,
    finish: impl Fn(Pin<&mut C>),
    mut watch: Watch,
) -> Result<(), hyper::Error>
where
    C: Future<Output = Result<(), hyper::Error>>,
{
    tokio::pin!(serving);
    let mut draining = false;
    loop {
        tokio::select! {
            biased;
            result = &mut serving => return result,
            () = shared.drain.begun.cancelled(), if !draining => {
                draining = true;
                finish(serving.as_mut());
            }
            verdict = watch.tick() => match verdict {
                Tick::Fine => {}
                Tick::Idle => finish(serving.as_mut()),
                Tick::Stuck => return Ok(()),
            },
        }
    }
}

/// Whether requests are being answered on a connection, and how many there were.
#[derive(Debug, Default)]
struct Activity {
    in_flight: AtomicU32,
    begun: AtomicU64,
}

impl Activity {
    fn begin(self: &Arc<Self>) -> Busy {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        self.begun.fetch_add(1, Ordering::Relaxed);
        Busy(Arc::clone(self))
    }
}

struct Busy(Arc<Activity>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

enum Tick {
    Fine,
    /// Nothing asked for longer than the keep-alive time.
    Idle,
    /// A request head has been arriving for longer than its time.
    Stuck,
}

/// One slow timer per connection in place of several per request. Precise to one tick, which is enough for both limits.
struct Watch {
    activity: Arc<Activity>,
    guard: Option<Handle>,
    interval: tokio::time::Interval,
    keep_alive_ticks: u32,
    idle_ticks: u32,
    last: (u64, bool),
}

impl Watch {
    fn new(bounds: &Bounds, activity: Arc<Activity>, guard: Option<Handle>) -> Self {
        let period = bounds
            .header_timeout
            .min(bounds.keep_alive)
            .max(Duration::from_millis(100));
        let mut interval = tokio::time::interval(period);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        interval.reset();
        let keep_alive_ticks = u32::try_from(
            bounds
                .keep_alive
                .as_millis()
                .div_ceil(period.as_millis().max(1)),
        )
        .unwrap_or(u32::MAX);
        Self {
            activity,
            guard,
            interval,
            keep_alive_ticks,
            idle_ticks: 0,
            last: (0, false),
        }
    }

    async fn tick(&mut self) -> Tick {
        self.interval.tick().await;
        let begun = self.activity.begun.load(Ordering::Relaxed);
        let busy = self.activity.in_flight.load(Ordering::Relaxed) > 0;
        let partial = !busy && self.guard.as_ref().is_some_and(Handle::head_is_partial);
        let (last_begun, last_partial) = std::mem::replace(&mut self.last, (begun, partial));
        let quiet = begun == last_begun && !busy;
        self.idle_ticks = if quiet {
            self.idle_ticks.saturating_add(1)
        } else {
            0
        };
        if quiet && partial && last_partial {
            Tick::Stuck
        } else if self.idle_ticks >= self.keep_alive_ticks {
            self.idle_ticks = 0;
            Tick::Idle
        } else {
            Tick::Fine
        }
    }
}
