//! From an accepted socket to served requests: admission, PROXY protocol, TLS, HTTP, and letting go in time.

mod beside;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use http::{Method, Request, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1::UpgradeableConnection;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use socket2::{Domain, Protocol as SocketProtocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::config::Bounds;
use crate::connection::{Connection, Door, Protocol};
use crate::forward::CutOff;
use crate::framing::{self, Guarded, Handle};
use crate::gateway::Shared;
use crate::limits::admission::{AdmissionRefusal, ConnectionSlot, HandshakeSlot};
use crate::metrics::{Entered, HandshakeFailure, RefusedConnection};
use crate::pipeline;
use crate::proxy_protocol;
use crate::state::State;
use crate::tls::{self, Stream};
use beside::{Bell, First};

/// How connections learn that it is time to go, and how the gateway learns that they went.
#[derive(Clone, Debug, Default)]
pub(crate) struct Drain {
    begun: CancellationToken,
    ingress_cut: CancellationToken,
    egress_cut: CancellationToken,
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
    /// Ends what is still there behind a door.
    pub(crate) fn cut(&self, door: Door) {
        self.cut_of(door).cancel();
    }
    /// What is still there behind a door must end.
    pub(crate) fn is_cut(&self, door: Door) -> bool {
        self.cut_of(door).is_cancelled()
    }
    fn cut_of(&self, door: Door) -> &CancellationToken {
        match door {
            Door::Ingress => &self.ingress_cut,
            Door::Egress => &self.egress_cut,
        }
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
pub(crate) async fn accept(shared: Arc<Shared>, listener: TcpListener, door: Door) {
    loop {
        let accepted = tokio::select! {
            () = shared.drain.begun.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, remote)) => admit(&shared, stream, remote, door),
            Err(error) => {
                // Out of file descriptors, mostly: give connections a moment to end instead of spinning.
                tracing::error!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

fn admit(shared: &Arc<Shared>, stream: TcpStream, remote: SocketAddr, door: Door) {
    let admission = shared.admission(door);
    let admitted = if shared.state().speaks_proxy_protocol(remote.ip()) {
        admission.behind_proxy()
    } else {
        admission.handshake(remote.ip())
    };
    let handshake = match admitted {
        Ok(handshake) => handshake,
        Err(refusal) => {
            shared.metrics.connection_refused(refusal.into());
            tracing::debug!(%remote, ?refusal, "connection refused");
            return;
        }
    };
    let drain = shared.drain.clone();
    let shared = Arc::clone(shared);
    let connection = serve(shared, stream, remote, handshake, door);
    drain.connections.spawn(connection);
}

async fn serve(
    shared: Arc<Shared>,
    stream: TcpStream,
    remote: SocketAddr,
    handshake: HandshakeSlot,
    door: Door,
) {
    // Boxed: what the handshake needs is gone once it is over, and most connections are idle most of the time.
    let speaking = Box::pin(establish(shared, stream, remote, handshake, door)).await;
    if let Some(speaking) = speaking {
        speaking.await;
    }
}

/// From a socket to what then serves it; `None` when it did not come to that.
async fn establish(
    shared: Arc<Shared>,
    stream: TcpStream,
    remote: SocketAddr,
    handshake: HandshakeSlot,
    door: Door,
) -> Option<Speaking> {
    let state = shared.state();
    let bounds = state.bounds(door).clone();
    let generation = state.generation;
    let established = tokio::time::timeout(
        bounds.handshake_timeout,
        shake_hands(&shared, &state, stream, remote, handshake, door),
    );
    let established = tokio::select! {
        established = established => established,
        () = shared.drain.cut_of(door).cancelled() => return None,
    };
    let (stream, connection, handshake) = match established {
        Ok(Ok(established)) => established,
        Ok(Err(Refused::Handshake(refused))) => {
            shared.metrics.handshake_failed(refused.failure);
            tracing::debug!(%remote, error = %refused.error, "no TLS connection");
            refused.record(&shared, generation);
            return None;
        }
        Ok(Err(Refused::Socket(error))) => {
            shared
                .metrics
                .handshake_failed(HandshakeFailure::ClientGone);
            tracing::debug!(%remote, %error, "no TLS connection");
            return None;
        }
        Ok(Err(Refused::Admission(refusal))) => {
            shared.metrics.connection_refused(refusal.into());
            tracing::debug!(%remote, ?refusal, "connection refused");
            return None;
        }
        Ok(Err(Refused::ProxyProtocol(error))) => {
            shared
                .metrics
                .connection_refused(RefusedConnection::ProxyProtocol);
            tracing::debug!(%remote, %error, "no PROXY protocol header");
            return None;
        }
        Err(_elapsed) => {
            shared.metrics.handshake_failed(HandshakeFailure::TimedOut);
            tracing::debug!(%remote, "TLS handshake took too long");
            return None;
        }
    };
    let handshakes = &shared.metrics;
    if connection.tls.resumed {
        &handshakes.handshakes_resumed
    } else {
        &handshakes.handshakes_full
    }
    .increment();
    let activity = Arc::new(Activity {
        shared: Arc::downgrade(&shared),
        in_flight: AtomicUsize::new(0),
        begun: AtomicU64::new(0),
        carried: AtomicU64::new(0),
        cut: shared.drain.cut_of(door).clone(),
        _slot: handshake.established(),
        _open: shared.metrics.connections.enter(),
        _tracked: shared.drain.connections.token(),
    });
    Some(match connection.tls.protocol {
        Protocol::Http1 => http1(shared, stream, Arc::new(connection), &bounds, activity),
        Protocol::Http2 => http2(shared, stream, Arc::new(connection), &bounds, activity),
    })
}

async fn shake_hands(
    shared: &Shared,
    state: &State,
    stream: TcpStream,
    remote: SocketAddr,
    mut handshake: HandshakeSlot,
    door: Door,
) -> Result<(Stream, Connection, HandshakeSlot), Refused> {
    stream.set_nodelay(true).map_err(Refused::Socket)?;
    let local = stream.local_addr().map_err(Refused::Socket)?;
    let (stream, remote) = if state.speaks_proxy_protocol(remote.ip()) {
        let (stream, source) = proxy_protocol::read(stream)
            .await
            .map_err(Refused::ProxyProtocol)?;
        if let Some(source) = source {
            handshake
                .belongs_to(source.ip())
                .map_err(Refused::Admission)?;
        }
        (stream, source.unwrap_or(remote))
    } else {
        (stream, remote)
    };
    let (stream, connection) = tls::accept(shared, state, door, stream, remote, local)
        .await
        .map_err(Refused::Handshake)?;
    Ok((stream, connection, handshake))
}

/// Why a connection ended before it was one.
enum Refused {
    Admission(AdmissionRefusal),
    ProxyProtocol(io::Error),
    Socket(io::Error),
    Handshake(Box<tls::Refused>),
}

/// Serves a connection to its end. Boxed by those who make it, so that neither protocol carries the room of the other;
/// their requests are boxed as well, because hyper keeps room for one on every connection and moves it about.
type Speaking = Pin<Box<dyn Future<Output = ()> + Send>>;

fn http1(
    shared: Arc<Shared>,
    stream: Stream,
    connection: Arc<Connection>,
    bounds: &Bounds,
    activity: Arc<Activity>,
) -> Speaking {
    let id = connection.id;
    let (guarded, guard) = Guarded::new(stream, framing::Limits::of(bounds));
    let service = {
        let shared = Arc::clone(&shared);
        let (activity, guard) = (Arc::clone(&activity), guard.clone());
        service_fn(move |request: Request<Incoming>| {
            let (head, body) = request.into_parts();
            let violation = guard.refusal(&head);
            let switching = guard.switching(&head);
            let connect = head.method == Method::CONNECT;
            let answer = Box::pin(pipeline::serve(
                Arc::clone(&shared),
                Arc::clone(&connection),
                activity.begin(),
                head,
                body,
                violation,
            ));
            async move {
                let response = answer.await;
                let status = response.status();
                // RFC 9110 §9.3.6: any 2xx to CONNECT begins the tunnel.
                let switched = if connect {
                    status.is_success()
                } else {
                    status == StatusCode::SWITCHING_PROTOCOLS
                };
                if let Some(switching) = switching.filter(|_| switched) {
                    switching.release();
                }
                Ok::<_, Infallible>(response)
            }
        })
    };
    // No header timeout of hyper's: it would reset a timer for every request; `Activity` does with one wake-up per tick.
    let mut builder = http1::Builder::new();
    builder.max_buf_size(bounds.header_bytes.max(8192));
    // The guard has counted them before; told a number, hyper allocates for it with every request.
    if bounds.header_count > HYPER_FIELDS {
        builder.max_headers(bounds.header_count);
    }
    let serving = builder
        .serve_connection(TokioIo::new(guarded), service)
        .with_upgrades();
    let watch = Watch::new(bounds, activity, Some(guard));
    Box::pin(drive(
        shared,
        id,
        Box::pin(serving),
        UpgradeableConnection::graceful_shutdown,
        watch,
    ))
}

/// Fields that hyper has room for on the stack.
const HYPER_FIELDS: usize = 100;

fn http2(
    shared: Arc<Shared>,
    stream: Stream,
    connection: Arc<Connection>,
    bounds: &Bounds,
    activity: Arc<Activity>,
) -> Speaking {
    let (id, door) = (connection.id, connection.door);
    let service = {
        let shared = Arc::clone(&shared);
        let activity = Arc::clone(&activity);
        service_fn(move |request: Request<Incoming>| {
            let (head, body) = request.into_parts();
            let answer = Box::pin(pipeline::serve(
                Arc::clone(&shared),
                Arc::clone(&connection),
                activity.begin(),
                head,
                body,
                None,
            ));
            async move { Ok::<_, Infallible>(answer.await) }
        })
    };
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(bounds.concurrent_streams)
        // Twice what is let through: what is merely too large gets an answer and a record; h2 leaves none.
        .max_header_list_size(u32::try_from(bounds.header_bytes * 2).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(20)
        .max_local_error_reset_streams(128)
        .max_send_buf_size(64 * 1024)
        .initial_stream_window_size(256 * 1024)
        .initial_connection_window_size(connection_window(door))
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(20));
    // RFC 8441. A proxy is asked for plain tunnels; WebSockets go through those.
    if door == Door::Ingress {
        builder.enable_connect_protocol();
    }
    let serving = builder.serve_connection(TokioIo::new(stream), service);
    let watch = Watch::new(bounds, activity, None);
    Box::pin(drive(
        shared,
        id,
        Box::pin(serving),
        http2::Connection::graceful_shutdown,
        watch,
    ))
}

/// Bytes that a client may send before we take any, over all its streams. At the egress a stalled tunnel holds up to one
/// stream's window, and must not stall its neighbours.
fn connection_window(door: Door) -> u32 {
    match door {
        Door::Ingress => 1024 * 1024,
        Door::Egress => 8 * 1024 * 1024,
    }
}

/// Serves a connection to its end, asking it to finish when the gateway drains or nothing was asked for too long.
async fn drive<C>(
    shared: Arc<Shared>,
    id: u64,
    mut serving: Pin<Box<C>>,
    finish: impl Fn(Pin<&mut C>),
    mut watch: Watch,
) where
    C: Future<Output = Result<(), hyper::Error>>,
{
    let cut = watch.activity.cut.clone();
    let mut bell = Bell::default();
    let mut draining = false;
    let mut last_word: Option<Pin<Box<Sleep>>> = None;
    loop {
        let first = {
            let rare = pin!(async {
                tokio::select! {
                    biased;
                    () = cut.cancelled() => Call::End,
                    () = shared.drain.begun.cancelled(), if !draining => Call::Drain,
                    () = passed(&mut last_word) => Call::LastWord,
                    verdict = watch.tick() => match verdict {
                        Tick::Fine => Call::Nothing,
                        Tick::Idle => Call::Leave,
                        Tick::Stuck => Call::End,
                    },
                }
            });
            beside::first(serving.as_mut(), rare, &mut bell).await
        };
        let call = match first {
            First::Rare(call) => call,
            First::Often(ended) => {
                if let Err(error) = ended {
                    tracing::debug!(connection = id, %error, "connection ended");
                }
                return;
            }
        };
        match call {
            Call::Nothing => continue,
            Call::End => return,
            Call::LastWord if watch.is_untouched() => return,
            Call::LastWord => {
                last_word = None;
                continue;
            }
            Call::Drain => draining = true,
            Call::Leave => {}
        }
        finish(serving.as_mut());
        last_word = Some(Box::pin(tokio::time::sleep(LAST_WORD)));
    }
}

/// What ends a connection from outside, or nearly.
enum Call {
    Nothing,
    /// The gateway drains.
    Drain,
    /// Nothing was asked for too long.
    Leave,
    LastWord,
    End,
}

async fn passed(time: &mut Option<Pin<Box<Sleep>>>) {
    match time {
        Some(time) => time.await,
        None => std::future::pending().await,
    }
}

/// hyper waits for a first request however it is asked to finish; a client that has not sent one has this long for it.
const LAST_WORD: Duration = Duration::from_secs(1);

/// What goes on on a connection, and the place it takes. A tunnel that a connection has become keeps both: it must not
/// slip out of the caps and out of sight of a stop by changing its protocol.
pub(crate) struct Activity {
    // Weak: a stream that outlives the gateway must not keep it alive.
    shared: Weak<Shared>,
    in_flight: AtomicUsize,
    begun: AtomicU64,
    /// Signs that somebody was able to look at an exchange.
    carried: AtomicU64,
    cut: CancellationToken,
    _slot: ConnectionSlot,
    _open: Entered,
    _tracked: TaskTrackerToken,
}

impl Activity {
    fn begin(self: &Arc<Self>) -> Busy {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        self.begun.fetch_add(1, Ordering::Relaxed);
        Busy(Arc::clone(self))
    }

    fn look(&self) -> Look {
        Look {
            busy: self.in_flight.load(Ordering::Relaxed) > 0,
            begun: self.begun.load(Ordering::Relaxed),
            carried: self.carried.load(Ordering::Relaxed),
        }
    }
}

/// One exchange, from its head until the last byte of its answer is given away.
pub(crate) struct Busy(Arc<Activity>);

impl Busy {
    /// The gateway, while there is one.
    pub(crate) fn shared(&self) -> Option<Arc<Shared>> {
        self.0.shared.upgrade()
    }

    /// See [`crate::forward::Lease::is_carried`].
    pub(crate) fn is_carried(&self) {
        self.0.carried.fetch_add(1, Ordering::Relaxed);
    }

    /// See [`crate::forward::Lease::cut_off`].
    pub(crate) fn cut_off(&self) -> CutOff {
        Box::pin(self.0.cut.clone().cancelled_owned())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tick {
    Fine,
    /// Nothing asked for longer than the keep-alive time.
    Idle,
    /// A request head has been arriving for longer than its time, or the client takes nothing of what it asked for, or
    /// it was told to leave and does not.
    Stuck,
}

/// How long a client may take nothing at all of its answers. Nobody asks their leases meanwhile, and they hold
/// connections to apps.
const TAKES_NOTHING: Duration = Duration::from_secs(60);

/// What a connection looked like at one tick.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Look {
    busy: bool,
    begun: u64,
    carried: u64,
}

/// One slow timer per connection in place of several per request. Precise to one tick, which is enough for its limits.
struct Watch {
    activity: Arc<Activity>,
    guard: Option<Handle>,
    interval: tokio::time::Interval,
    verdicts: Verdicts,
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
        Self {
            activity,
            guard,
            interval,
            verdicts: Verdicts::new(bounds.keep_alive, period),
        }
    }

    /// Nothing was ever asked for on this connection.
    fn is_untouched(&self) -> bool {
        self.activity.begun.load(Ordering::Relaxed) == 0
    }

    async fn tick(&mut self) -> Tick {
        self.interval.tick().await;
        let look = self.activity.look();
        let head_is_partial = self.guard.as_ref().is_some_and(Handle::head_is_partial);
        self.verdicts.next(look, !look.busy && head_is_partial)
    }
}

/// Judges one look after the other.
struct Verdicts {
    keep_alive_ticks: u32,
    patience_ticks: u32,
    idle_ticks: u32,
    untaken_ticks: u32,
    told_to_leave: bool,
    last: Look,
    was_partial: bool,
}

impl Verdicts {
    fn new(keep_alive: Duration, period: Duration) -> Self {
        let ticks = |time: Duration| {
            u32::try_from(time.as_millis().div_ceil(period.as_millis().max(1))).unwrap_or(u32::MAX)
        };
        Self {
            keep_alive_ticks: ticks(keep_alive),
            patience_ticks: ticks(TAKES_NOTHING.max(keep_alive)),
            idle_ticks: 0,
            untaken_ticks: 0,
            told_to_leave: false,
            last: Look::default(),
            was_partial: false,
        }
    }

    fn next(&mut self, look: Look, partial: bool) -> Tick {
        let last = std::mem::replace(&mut self.last, look);
        let was_partial = std::mem::replace(&mut self.was_partial, partial);
        let asked = look.begun != last.begun;
        let quiet = !asked && !look.busy;
        let untaken = look.busy && !asked && look.carried == last.carried;
        count(&mut self.idle_ticks, quiet);
        count(&mut self.untaken_ticks, untaken);
        self.told_to_leave &= quiet;
        if quiet && partial && was_partial || self.untaken_ticks >= self.patience_ticks {
            return Tick::Stuck;
        }
        if self.idle_ticks < self.keep_alive_ticks {
            return Tick::Fine;
        }
        self.idle_ticks = 0;
        if std::mem::replace(&mut self.told_to_leave, true) {
            Tick::Stuck
        } else {
            Tick::Idle
        }
    }
}

fn count(ticks: &mut u32, goes_on: bool) {
    *ticks = if goes_on { ticks.saturating_add(1) } else { 0 };
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_secs(15);
    const KEEP_ALIVE: Duration = Duration::from_secs(75);

    fn verdicts(looks: impl IntoIterator<Item = Look>) -> Vec<Tick> {
        let mut verdicts = Verdicts::new(KEEP_ALIVE, TICK);
        looks
            .into_iter()
            .map(|look| verdicts.next(look, false))
            .collect()
    }

    #[test]
    fn a_client_that_was_told_to_leave_and_stays_is_left() {
        let verdicts = verdicts([Look::default(); 10]);
        let told: Vec<usize> = (1..)
            .zip(&verdicts)
            .filter_map(|(at, tick)| (*tick != Tick::Fine).then_some(at))
            .collect();
        assert_eq!(told, [5, 10]);
        assert_eq!(verdicts.last(), Some(&Tick::Stuck));
    }

    #[test]
    fn a_client_that_takes_nothing_of_its_answer_is_left() {
        let look = Look {
            busy: true,
            begun: 1,
            carried: 0,
        };
        let verdicts = verdicts([look; 6]);
        assert_eq!(verdicts.last(), Some(&Tick::Stuck));
        assert!(verdicts.iter().take(5).all(|tick| *tick == Tick::Fine));
    }

    #[test]
    fn a_stream_that_is_silent_but_carried_goes_on() {
        let looks = (0..100).map(|carried| Look {
            busy: true,
            begun: 1,
            carried,
        });
        assert!(verdicts(looks).iter().all(|tick| *tick == Tick::Fine));
    }

    #[test]
    fn a_head_that_dribbles_is_cut_at_its_second_tick() {
        let mut verdicts = Verdicts::new(KEEP_ALIVE, TICK);
        assert_eq!(verdicts.next(Look::default(), true), Tick::Fine);
        assert_eq!(verdicts.next(Look::default(), true), Tick::Stuck);
    }
}
