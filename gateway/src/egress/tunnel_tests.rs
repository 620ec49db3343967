//! Tunnels over real sockets: a door that permits everything, clients over HTTP/1.1 and HTTP/2, origins of bytes.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioExecutor;
use masugata_policy::{PolicySet, PolicySource, PolicyVersion, Principal, PrincipalKind};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::super::tunnels::{Full, TunnelBounds};
use super::*;
use crate::audit::fixtures::Watched;
use crate::forward::{CutOff, Lease};

/// A lease that a test can end; it remembers what it was told.
#[derive(Default)]
struct Tether {
    denied: AtomicBool,
    asked: AtomicUsize,
    carried: AtomicUsize,
    refused: Mutex<Vec<DenialReason>>,
    cut_off: CancellationToken,
}

impl Lease for Tether {
    fn check(&self) -> Result<(), DenialReason> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if self.denied.load(Ordering::SeqCst) {
            Err(DenialReason::DeviceSuspended)
        } else {
            Ok(())
        }
    }
    fn cut_off(&self) -> CutOff {
        Box::pin(self.cut_off.clone().cancelled_owned())
    }
    fn is_carried(&self) {
        self.carried.fetch_add(1, Ordering::SeqCst);
    }
    fn refused(&self, reason: DenialReason) {
        self.refused.lock().unwrap().push(reason);
    }
}

fn version() -> PolicyVersion {
    let source = PolicySource {
        name: "all.cedar",
        text: r#"@id("all") permit (principal, action, resource);"#,
    };
    PolicySet::load(&[source]).unwrap().version().clone()
}

fn bounds() -> TunnelBounds {
    TunnelBounds {
        total: 10_000,
        per_device: 10_000,
        recheck: Duration::from_secs(30),
        idle: Duration::from_secs(900),
        lifetime: None,
    }
}

fn terms(tls: bool) -> TunnelTerms {
    TunnelTerms {
        tls,
        is_address: false,
        ech: Ech::Refuse,
        hello_timeout: Duration::from_secs(10),
    }
}

/// The gateway side: every CONNECT leads to one origin.
struct World {
    door: SocketAddr,
    tunnels: Arc<Tunnels>,
    tether: Arc<Tether>,
    watched: Arc<Watched>,
    changed: watch::Sender<u64>,
    stop: CancellationToken,
}

#[derive(Clone, Copy)]
struct Setting {
    origin: SocketAddr,
    http2: bool,
    tls: bool,
}

async fn world(setting: Setting, bounds: TunnelBounds, terms: TunnelTerms) -> World {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (changed, hears) = watch::channel(0);
    let world = World {
        door: listener.local_addr().unwrap(),
        tunnels: Tunnels::new(bounds),
        tether: Arc::default(),
        watched: Arc::new(Watched::new()),
        changed,
        stop: CancellationToken::new(),
    };
    tokio::spawn(Arc::clone(&world.tunnels).sweep(hears, world.stop.clone()));
    let (tunnels, tether, watched) = (
        Arc::clone(&world.tunnels),
        Arc::clone(&world.tether),
        Arc::clone(&world.watched),
    );
    let version = version();
    let principal = Arc::new(Principal::new(
        PrincipalKind::User,
        "corp/ada",
        "corp",
        None,
        ["staff"],
        Vec::<Box<str>>::new(),
    ));
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (tunnels, tether, watched) = (
                Arc::clone(&tunnels),
                Arc::clone(&tether),
                Arc::clone(&watched),
            );
            let (version, principal, terms) =
                (version.clone(), Arc::clone(&principal), terms.clone());
            let service = service_fn(move |request: Request<Incoming>| {
                let (head, _) = request.into_parts();
                let (tunnels, tether, watched) = (
                    Arc::clone(&tunnels),
                    Arc::clone(&tether),
                    Arc::clone(&watched),
                );
                let (version, principal, terms) =
                    (version.clone(), Arc::clone(&principal), terms.clone());
                async move {
                    let reservation = match tunnels.try_reserve("laptop") {
                        Ok(reservation) => reservation,
                        Err(_) => {
                            let mut refused = Response::new(Body::full("full"));
                            *refused.status_mut() = StatusCode::TOO_MANY_REQUESTS;
                            return Ok::<_, Infallible>(refused);
                        }
                    };
                    let entry = Entry {
                        reservation,
                        lease: tether,
                        principal,
                        host: "box.example".into(),
                        port: 443,
                        policy: version,
                    };
                    let upstream = TcpStream::connect(setting.origin).await.unwrap();
                    let trail = Arc::clone(&watched.trail);
                    Ok(open(head, upstream, terms, trail, &tunnels, entry).unwrap())
                }
            });
            let io = TokioIo::new(stream);
            tokio::spawn(async move {
                if setting.http2 {
                    let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                        .max_concurrent_streams(10_000)
                        .serve_connection(io, service)
                        .await;
                } else {
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(io, service)
                        .with_upgrades()
                        .await;
                }
            });
        }
    });
    world
}

async fn usual(origin: SocketAddr, http2: bool, tls: bool) -> World {
    let setting = Setting { origin, http2, tls };
    world(setting, bounds(), terms(setting.tls)).await
}

fn connect_request() -> Request<Empty<Bytes>> {
    Request::builder()
        .method(Method::CONNECT)
        .uri("box.example:443")
        .body(Empty::new())
        .unwrap()
}

/// A client's end of a tunnel.
async fn tunnel(world: &World, http2: bool) -> TokioIo<Upgraded> {
    let io = TokioIo::new(TcpStream::connect(world.door).await.unwrap());
    let response = if http2 {
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), io)
                .await
                .unwrap();
        tokio::spawn(connection);
        sender.send_request(connect_request()).await.unwrap()
    } else {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
        tokio::spawn(connection.with_upgrades());
        sender.send_request(connect_request()).await.unwrap()
    };
    assert_eq!(response.status(), 200);
    assert!(response.headers().get("content-length").is_none());
    assert!(response.headers().get("transfer-encoding").is_none());
    TokioIo::new(hyper::upgrade::on(response).await.unwrap())
}

/// What an origin does with a connection; it counts them and keeps what they sent.
#[derive(Clone, Default)]
struct Origin {
    seen: Arc<Mutex<Vec<u8>>>,
    connections: Arc<AtomicUsize>,
}

impl Origin {
    /// Sends everything back, and at the end of it `.`.
    async fn echo(&self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let origin = self.clone();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                origin.connections.fetch_add(1, Ordering::SeqCst);
                let seen = Arc::clone(&origin.seen);
                tokio::spawn(async move {
                    let mut bytes = [0; 512];
                    while let Ok(read @ 1..) = stream.read(&mut bytes).await {
                        seen.lock().unwrap().extend(&bytes[..read]);
                        if stream.write_all(&bytes[..read]).await.is_err() {
                            return;
                        }
                    }
                    let _ = stream.write_all(b".").await;
                    let _ = stream.shutdown().await;
                });
            }
        });
        address
    }

    fn seen(&self) -> Vec<u8> {
        self.seen.lock().unwrap().clone()
    }
}

/// Waits for something that another task does; fails the test when it takes too long.
async fn eventually<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    for _ in 0..2000 {
        if let Some(found) = found() {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("never came true: {what}");
}

async fn completion(world: &World) -> Value {
    eventually("the completion is written", || world.watched.completion()).await
}

/// Everything that still comes, and whether it ended in order.
async fn rest(client: &mut TokioIo<Upgraded>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = client.read_to_end(&mut bytes).await;
    bytes
}

fn hello(host: &str) -> Vec<u8> {
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(
        rustls::crypto::aws_lc_rs::default_provider(),
    ))
    .with_safe_default_protocol_versions()
    .unwrap()
    .with_root_certificates(rustls::RootCertStore::empty())
    .with_no_client_auth();
    let name = host.to_owned().try_into().unwrap();
    let mut client = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();
    bytes
}

#[tokio::test]
async fn bytes_go_both_ways_and_each_side_may_end_first() {
    for http2 in [false, true] {
        let origin = Origin::default();
        let world = usual(origin.echo().await, http2, false).await;
        let mut client = tunnel(&world, http2).await;
        client.write_all(b"ping").await.unwrap();
        let mut bytes = [0; 4];
        client.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"ping");
        assert_eq!(world.tunnels.len(), 1);
        let named: Vec<_> = world.tunnels.by_destination(9);
        assert_eq!(named, [("box.example".into(), 1)]);
        // Half closed, the other direction still carries.
        client.shutdown().await.unwrap();
        assert_eq!(rest(&mut client).await, b".");
        let record = completion(&world).await;
        assert_eq!(record["outcome"], "completed", "{record}");
        assert_eq!(record["bytes_received"], 4);
        assert_eq!(record["bytes_sent"], 5);
        assert!(
            record["upstream"]
                .as_str()
                .unwrap()
                .starts_with("127.0.0.1:")
        );
        eventually("it is off the list", || {
            world.tunnels.is_empty().then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn large_transfers_arrive_whole_past_a_reader_that_is_slow() {
    for http2 in [false, true] {
        let origin = Origin::default();
        let world = usual(origin.echo().await, http2, false).await;
        let client = tunnel(&world, http2).await;
        let sent: Vec<u8> = (0..3_000_000_u32)
            .map(|number| (number % 251) as u8)
            .collect();
        let (mut reader, mut writer) = tokio::io::split(client);
        let bytes = sent.clone();
        tokio::spawn(async move {
            writer.write_all(&bytes).await.unwrap();
            writer.shutdown().await.unwrap();
        });
        let mut received = Vec::new();
        let mut some = vec![0; 100_000];
        while let Ok(read @ 1..) = reader.read(&mut some).await {
            received.extend(&some[..read]);
            tokio::task::yield_now().await;
        }
        assert_eq!(received.pop(), Some(b'.'));
        assert!(received == sent);
        let record = completion(&world).await;
        assert_eq!(record["bytes_received"], 3_000_000);
        assert_eq!(record["bytes_sent"], 3_000_001);
    }
}

#[tokio::test]
async fn a_hello_for_the_host_goes_through_however_it_comes() {
    for http2 in [false, true] {
        let origin = Origin::default();
        let world = usual(origin.echo().await, http2, true).await;
        let mut client = tunnel(&world, http2).await;
        let hello = hello("box.example");
        for byte in &hello {
            assert_eq!(origin.seen(), b"", "nothing goes out before the verdict");
            client.write_all(&[*byte]).await.unwrap();
            client.flush().await.unwrap();
        }
        let mut echoed = vec![0; hello.len()];
        client.read_exact(&mut echoed).await.unwrap();
        assert!(echoed == hello && origin.seen() == hello);
        client.write_all(b"and more").await.unwrap();
        client.shutdown().await.unwrap();
        assert_eq!(rest(&mut client).await, b"and more.");
    }
}

#[tokio::test]
async fn a_hello_for_another_host_is_cut_with_an_alert_and_the_origin_sees_nothing() {
    for http2 in [false, true] {
        let origin = Origin::default();
        let world = usual(origin.echo().await, http2, true).await;
        let mut client = tunnel(&world, http2).await;
        client.write_all(&hello("evil.example")).await.unwrap();
        assert_eq!(rest(&mut client).await, ACCESS_DENIED);
        let record = completion(&world).await;
        assert_eq!(record["cause"], "sni-mismatch", "{record}");
        assert_eq!(origin.seen(), b"");
        assert_eq!(
            *world.tether.refused.lock().unwrap(),
            [DenialReason::SniMismatch]
        );
        let cuts: Vec<_> = world.tunnels.cuts().collect();
        assert_eq!(cuts, [(DenialReason::SniMismatch, 1)]);
    }
}

#[tokio::test]
async fn what_is_not_tls_is_cut_and_the_origin_sees_nothing() {
    for bytes in [
        b"GET / HTTP/1.1\r\n\r\n".as_slice(),
        b"SSH-2.0-x\r\n",
        b"\x16\x03",
    ] {
        let origin = Origin::default();
        let world = usual(origin.echo().await, false, true).await;
        let mut client = tunnel(&world, false).await;
        client.write_all(bytes).await.unwrap();
        client.shutdown().await.unwrap();
        assert_eq!(rest(&mut client).await, b"");
        assert_eq!(completion(&world).await["cause"], "tunnel-not-tls");
        assert_eq!(origin.seen(), b"");
    }
}

#[tokio::test]
async fn silence_is_not_tls_either_and_leaving_is_leaving() {
    let origin = Origin::default();
    let setting = Setting {
        origin: origin.echo().await,
        http2: false,
        tls: true,
    };
    let short = TunnelTerms {
        hello_timeout: Duration::from_millis(30),
        ..terms(true)
    };
    let silent = world(setting, bounds(), short).await;
    let mut client = tunnel(&silent, false).await;
    assert_eq!(rest(&mut client).await, b"");
    assert_eq!(completion(&silent).await["cause"], "tunnel-not-tls");

    let left = world(setting, bounds(), terms(true)).await;
    drop(tunnel(&left, false).await);
    assert_eq!(completion(&left).await["outcome"], "client-gone");
}

#[tokio::test]
async fn a_change_cuts_what_is_now_denied_at_once_and_leaves_the_rest() {
    for http2 in [false, true] {
        let origin = Origin::default();
        let world = usual(origin.echo().await, http2, false).await;
        let mut client = tunnel(&world, http2).await;
        client.write_all(b"x").await.unwrap();
        client.read_u8().await.unwrap();
        world.changed.send(1).unwrap();
        let tether = Arc::clone(&world.tether);
        eventually("it is asked", || {
            (tether.asked.load(Ordering::SeqCst) > 0).then_some(())
        })
        .await;
        client.write_all(b"y").await.unwrap();
        client.read_u8().await.unwrap();
        assert!(world.tether.carried.load(Ordering::SeqCst) > 0);
        world.tether.denied.store(true, Ordering::SeqCst);
        world.changed.send(2).unwrap();
        assert_eq!(rest(&mut client).await, b"");
        let record = completion(&world).await;
        assert_eq!(record["cause"], "device-suspended", "{record}");
        assert_eq!(
            *world.tether.refused.lock().unwrap(),
            [DenialReason::DeviceSuspended]
        );
    }
}

#[tokio::test]
async fn without_a_change_it_is_asked_again_all_the_same() {
    let origin = Origin::default();
    let setting = Setting {
        origin: origin.echo().await,
        http2: false,
        tls: false,
    };
    let often = TunnelBounds {
        recheck: SHORT,
        ..bounds()
    };
    let world = world(setting, often, terms(false)).await;
    let mut client = tunnel(&world, false).await;
    world.tether.denied.store(true, Ordering::SeqCst);
    assert_eq!(rest(&mut client).await, b"");
    assert_eq!(completion(&world).await["cause"], "device-suspended");
}

const SHORT: Duration = Duration::from_millis(60);

#[tokio::test]
async fn silence_and_age_end_it() {
    let origin = Origin::default();
    let setting = Setting {
        origin: origin.echo().await,
        http2: true,
        tls: false,
    };
    for (bounds, code) in [
        (
            TunnelBounds {
                idle: SHORT,
                ..bounds()
            },
            "idle-timeout",
        ),
        (
            TunnelBounds {
                lifetime: Some(SHORT),
                ..bounds()
            },
            "total-timeout",
        ),
    ] {
        let world = world(setting, bounds, terms(false)).await;
        let mut client = tunnel(&world, true).await;
        assert_eq!(rest(&mut client).await, b"");
        assert_eq!(completion(&world).await["cause"], code);
    }
}

#[tokio::test]
async fn new_bounds_hold_for_tunnels_that_are_open() {
    let origin = Origin::default();
    let world = usual(origin.echo().await, false, false).await;
    let mut client = tunnel(&world, false).await;
    world.tunnels.set_bounds(TunnelBounds {
        lifetime: Some(Duration::ZERO),
        ..bounds()
    });
    world.changed.send(1).unwrap();
    assert_eq!(rest(&mut client).await, b"");
    assert_eq!(completion(&world).await["cause"], "total-timeout");
}

#[tokio::test]
async fn stopping_ends_all_and_admits_none() {
    let origin = Origin::default();
    let world = usual(origin.echo().await, false, false).await;
    let mut client = tunnel(&world, false).await;
    world.stop.cancel();
    assert_eq!(rest(&mut client).await, b"");
    assert_eq!(completion(&world).await["outcome"], "shut-down");
    assert_eq!(world.tunnels.try_reserve("x").unwrap_err(), Full::Gateway);
    assert_eq!(world.tunnels.cuts().count(), 0);
}

#[tokio::test]
async fn a_gateway_that_can_wait_no_longer_ends_them_between_two_walks() {
    for http2 in [false, true] {
        let origin = Origin::default();
        let world = usual(origin.echo().await, http2, true).await;
        let mut client = tunnel(&world, http2).await;
        world.tether.cut_off.cancel();
        assert_eq!(rest(&mut client).await, b"");
        assert_eq!(completion(&world).await["outcome"], "shut-down");
        assert!(world.tether.refused.lock().unwrap().is_empty());
    }
}

#[tokio::test]
async fn an_origin_that_breaks_off_is_told_from_a_client_that_leaves() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.peek(&mut [0]).await.unwrap();
            // Closed with a reset.
            socket2::SockRef::from(&stream)
                .set_linger(Some(Duration::ZERO))
                .unwrap();
        }
    });
    let world = usual(origin, false, false).await;
    let mut client = tunnel(&world, false).await;
    client.write_all(b"x").await.unwrap();
    assert_eq!(rest(&mut client).await, b"");
    assert_eq!(completion(&world).await["cause"], "upstream-closed");
}

#[test]
fn places_are_counted_per_device_and_in_all_and_given_back() {
    let tunnels = Tunnels::new(TunnelBounds {
        total: 3,
        per_device: 2,
        ..bounds()
    });
    let one = tunnels.try_reserve("laptop").unwrap();
    let _two = tunnels.try_reserve("laptop").unwrap();
    assert_eq!(tunnels.try_reserve("laptop").unwrap_err(), Full::Device);
    let _three = tunnels.try_reserve("phone").unwrap();
    assert_eq!(tunnels.try_reserve("tablet").unwrap_err(), Full::Gateway);
    drop(one);
    assert!(tunnels.try_reserve("laptop").is_ok());
    assert_eq!(Full::Device.reason(), DenialReason::QuotaExceeded);
    assert_eq!(Full::Gateway.reason(), DenialReason::Overloaded);
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// What a tunnel costs. Both ends are in this process and are counted with it; run it alone, in release mode, with
/// `--ignored --nocapture`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "it measures"]
async fn five_thousand_idle_tunnels() {
    // Over HTTP/1.1 each takes four descriptors of this process, of which there are 20,000 as a rule.
    for (http2, count) in [(true, 5000), (false, 4000)] {
        let origin = Origin::default();
        let world = usual(origin.echo().await, http2, false).await;
        let before = resident_kib();
        let mut clients = Vec::new();
        if http2 {
            // As a browser does: a few connections with many tunnels each.
            for _ in 0..count / 100 {
                let io = TokioIo::new(TcpStream::connect(world.door).await.unwrap());
                let (mut sender, connection) =
                    hyper::client::conn::http2::handshake(TokioExecutor::new(), io)
                        .await
                        .unwrap();
                tokio::spawn(connection);
                for _ in 0..100 {
                    let response = sender.send_request(connect_request()).await.unwrap();
                    clients.push(TokioIo::new(hyper::upgrade::on(response).await.unwrap()));
                }
            }
        } else {
            for _ in 0..count {
                clients.push(tunnel(&world, false).await);
            }
        }
        for client in &mut clients {
            client.write_all(b"x").await.unwrap();
            client.read_u8().await.unwrap();
        }
        assert_eq!(world.tunnels.len(), count);
        let after = resident_kib();
        let asked = world.tether.asked.load(Ordering::SeqCst);
        let began = tokio::time::Instant::now();
        world.changed.send(1).unwrap();
        eventually("all are asked", || {
            (world.tether.asked.load(Ordering::SeqCst) >= asked + count).then_some(())
        })
        .await;
        println!(
            "http2 {http2}: {} B per tunnel with client and origin; a walk over {count} took {:?}; entry {} B",
            (after - before) * 1024 / count as u64,
            began.elapsed(),
            size_of::<super::super::tunnels::Live>(),
        );
        drop(clients);
        eventually("all are gone", || world.tunnels.is_empty().then_some(())).await;
    }
}

#[test]
fn a_tunnel_is_small() {
    let carrying = |downstream: OnUpgrade,
                    upstream: TcpStream,
                    trail: &'static CompletionTrail,
                    registered: &'static Registered| {
        carry(downstream, upstream, terms(true), trail, registered)
    };
    fn size_of_output<A, B, C, D, F>(_: impl Fn(A, B, C, D) -> F) -> usize {
        size_of::<F>()
    }
    let task = size_of_output(carrying);
    let entry = size_of::<super::super::tunnels::Live>();
    println!("a tunnel's task {task} B, its entry {entry} B");
    assert!(task + entry <= 1024, "{task} + {entry}");
}
