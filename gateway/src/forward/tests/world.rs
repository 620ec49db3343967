//! What the tests stand on: a gateway that permits everything, upstreams that say what they are told, plain clients.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::uri::{Authority, Scheme};
use http::{HeaderValue, Request, Response, Version};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use masugata_certs::Profile;
use masugata_policy::Level;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::super::{AppForward, Body, ForwardError, Instance, Lease, Outbound, forward};
use crate::audit::fixtures;
use crate::audit::trail::CompletionTrail;
use crate::capability::SystemEntropy;
use crate::config::{
    App, Backend, ClientCertificateMode, HeaderEdits, HostHeader, PassiveHealth, Requirements,
    Timeouts, Upstream, UpstreamProtocol, UpstreamServer, UpstreamTls,
};
use crate::connection::{Connection, Peer, Protocol, TlsFacts};
use crate::denial::DenialReason;
use crate::exchange::RequestId;
use crate::upstream::TlsTerms;

/// A lease that a test can end.
#[derive(Clone, Default)]
pub(super) struct Tether(pub(super) Arc<AtomicBool>);

impl Lease for Tether {
    fn check(&self) -> Result<(), DenialReason> {
        if self.0.load(Ordering::Relaxed) {
            Err(DenialReason::DeviceSuspended)
        } else {
            Ok(())
        }
    }
}

/// A completion on a record of its own, which goes with it.
pub(super) fn trail() -> Arc<CompletionTrail> {
    fixtures::trail()
}

pub(super) fn instance() -> Arc<Instance> {
    Arc::new(Instance::new(
        Arc::new(SystemEntropy::default()),
        TlsTerms {
            profile: Profile::CryptrecRecommended,
            hybrid: true,
            time: Arc::new(rustls::time_provider::DefaultTimeProvider),
        },
    ))
}

pub(super) fn upstream(addresses: &[SocketAddr]) -> Upstream {
    Upstream {
        servers: addresses
            .iter()
            .map(|address| UpstreamServer {
                scheme: Scheme::HTTP,
                authority: Authority::try_from(address.to_string()).unwrap(),
            })
            .collect(),
        protocol: UpstreamProtocol::Auto,
        tls: UpstreamTls {
            authority: None,
            client_certificate: None,
            server_name: None,
            insecure: false,
        },
        rewrite_prefix: None,
        host_header: HostHeader::Preserve,
        health: None,
        passive: PassiveHealth {
            failures: 3,
            ejection: Duration::from_secs(10),
        },
        retries: 1,
        max_connections: 100,
        max_idle: 10,
        idle_timeout: Duration::from_secs(30),
    }
}

pub(super) fn app(upstream: Upstream) -> App {
    App {
        name: "app".to_owned(),
        level: Level::Internal,
        groups: Vec::new(),
        hosts: vec!["app.example".to_owned()],
        path_prefix: "/".to_owned(),
        requirements: Requirements {
            multi_factor: false,
            phishing_resistant: false,
            max_authentication_age: None,
            acr_values: Vec::new(),
            certificate_bound: false,
            posture: Vec::new(),
            issuers: Vec::new(),
        },
        backend: Backend::Proxy(upstream),
        request_headers: HeaderEdits::default(),
        response_headers: HeaderEdits::default(),
        max_body_bytes: None,
        timeouts: Timeouts {
            connect: Duration::from_secs(5),
            response_header: Duration::from_secs(10),
            idle: Duration::from_secs(10),
            total: None,
        },
        upgrades: true,
        audience: "app".to_owned(),
        forward_authorization: false,
    }
}

/// Prepares an app for forwarding.
pub(super) fn prepared(app: &App) -> Arc<AppForward> {
    let Backend::Proxy(upstream) = &app.backend else {
        panic!("no upstream");
    };
    AppForward::build(app, upstream, &instance(), None).unwrap()
}

/// The gateway side of a test.
pub(super) struct Gateway {
    pub(super) address: SocketAddr,
    pub(super) app: Arc<AppForward>,
    pub(super) tether: Tether,
    /// Codes of errors, in order.
    pub(super) errors: Arc<Mutex<Vec<&'static str>>>,
}

pub(super) async fn gateway(app: &App) -> Gateway {
    start(app, Protocol::Http1, false).await
}

/// A gateway in front of something that is prepared already.
pub(super) async fn gateway_to(app: Arc<AppForward>) -> Gateway {
    start_with(app, Protocol::Http1, false).await
}

pub(super) async fn http2_gateway(app: &App) -> Gateway {
    start(app, Protocol::Http2, false).await
}

pub(super) async fn behind_a_trusted_forwarder(app: &App) -> Gateway {
    start(app, Protocol::Http1, true).await
}

async fn start(app: &App, protocol: Protocol, trusted: bool) -> Gateway {
    start_with(prepared(app), protocol, trusted).await
}

async fn start_with(app: Arc<AppForward>, protocol: Protocol, trusted: bool) -> Gateway {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gateway = Gateway {
        address: listener.local_addr().unwrap(),
        app,
        tether: Tether::default(),
        errors: Arc::default(),
    };
    let (app, tether, errors) = (
        Arc::clone(&gateway.app),
        gateway.tether.clone(),
        Arc::clone(&gateway.errors),
    );
    tokio::spawn(async move {
        loop {
            let (stream, remote) = listener.accept().await.unwrap();
            let connection = connection(remote, protocol);
            let (app, tether, errors) = (Arc::clone(&app), tether.clone(), Arc::clone(&errors));
            let service = service_fn(move |request: Request<Incoming>| {
                let (head, body) = request.into_parts();
                let outbound = Outbound {
                    head,
                    body,
                    app: Arc::clone(&app),
                    connection: Arc::clone(&connection),
                    client_address: remote.ip(),
                    request_id: RequestId(0xabc),
                    assertion: Some(HeaderValue::from_static("signed")),
                    from_trusted_forwarder: trusted,
                    trail: trail(),
                    lease: Arc::new(tether.clone()),
                };
                let errors = Arc::clone(&errors);
                async move { Ok::<_, std::convert::Infallible>(told(forward(outbound).await, &errors)) }
            });
            let io = TokioIo::new(stream);
            tokio::spawn(async move {
                match protocol {
                    Protocol::Http1 => {
                        let _ = hyper::server::conn::http1::Builder::new()
                            .timer(TokioTimer::new())
                            .serve_connection(io, service)
                            .with_upgrades()
                            .await;
                    }
                    Protocol::Http2 => {
                        let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                            .enable_connect_protocol()
                            .serve_connection(io, service)
                            .await;
                    }
                }
            });
        }
    });
    gateway
}

fn told(
    result: Result<Response<Body>, ForwardError>,
    errors: &Mutex<Vec<&'static str>>,
) -> Response<Body> {
    result.unwrap_or_else(|error| {
        errors.lock().unwrap().push(error.code());
        Response::builder()
            .status(error.status())
            .header("x-code", error.code())
            .body(Body::full(error.code()))
            .unwrap()
    })
}

fn connection(remote: SocketAddr, protocol: Protocol) -> Arc<Connection> {
    Arc::new(Connection {
        id: 1,
        door: crate::connection::Door::Ingress,
        remote,
        local: remote,
        peer: Peer::Anonymous,
        identity_problem: None,
        vouched: std::sync::atomic::AtomicU64::default(),
        tls: TlsFacts {
            server_name: None,
            client_certificate: ClientCertificateMode::Off,
            version: "TLSv1.3",
            suite: "TLS_AES_128_GCM_SHA256",
            group: "X25519",
            resumed: false,
            protocol,
        },
    })
}

/// An upstream of bytes: `serve` gets each connection with its number, from zero.
pub(super) async fn raw<F, Fut>(serve: F) -> SocketAddr
where
    F: Fn(usize, TcpStream) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut number = 0;
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(serve(number, stream));
            number += 1;
        }
    });
    address
}

/// What an upstream of [`fixed`] saw.
#[derive(Clone, Default)]
pub(super) struct Seen {
    pub(super) connections: Arc<AtomicUsize>,
    pub(super) requests: Arc<Mutex<Vec<String>>>,
}

impl Seen {
    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub(super) fn heads(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    pub(super) fn last(&self) -> String {
        self.heads().pop().unwrap_or_default()
    }
}

/// An upstream that answers every request head with the same bytes, on as many as come on a connection.
pub(super) async fn fixed(answer: &'static str) -> (SocketAddr, Seen) {
    let seen = Seen::default();
    let kept = seen.clone();
    let address = raw(move |_, mut stream| {
        let seen = seen.clone();
        async move {
            seen.connections.fetch_add(1, Ordering::SeqCst);
            while let Some(head) = read_head(&mut stream).await {
                seen.requests.lock().unwrap().push(head);
                if stream.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
        }
    })
    .await;
    (address, kept)
}

/// Reads up to and with the empty line; nothing behind it.
pub(super) async fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let byte = stream.read_u8().await.ok()?;
        head.push(byte);
    }
    Some(String::from_utf8(head).unwrap())
}

/// Reads until `end` has been seen.
pub(super) async fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut text = Vec::new();
    while !text.ends_with(end.as_bytes()) {
        match stream.read_u8().await {
            Ok(byte) => text.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8(text).unwrap()
}

/// Sends bytes and reads until the gateway closes; requests should say `connection: close`.
pub(super) async fn talk(gateway: &Gateway, request: &str) -> String {
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer))
        .await
        .expect("the gateway closes");
    String::from_utf8_lossy(&answer).into_owned()
}

/// A GET that closes afterwards.
pub(super) async fn get(gateway: &Gateway, path: &str) -> String {
    talk(
        gateway,
        &format!("GET {path} HTTP/1.1\r\nhost: app.example\r\nconnection: close\r\n\r\n"),
    )
    .await
}

/// An HTTP/2 client connected to the gateway.
pub(super) async fn http2_client<B>(gateway: &Gateway) -> hyper::client::conn::http2::SendRequest<B>
where
    B: hyper::body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let stream = TcpStream::connect(gateway.address).await.unwrap();
    let (sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    sender
}

/// An upstream that speaks HTTP/2 without TLS.
pub(super) async fn h2c<F, Fut, B>(serve: F) -> SocketAddr
where
    F: Fn(Request<Incoming>) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Response<B>> + Send + 'static,
    B: hyper::body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    raw(move |_, stream| {
        let serve = serve.clone();
        async move {
            let service = service_fn(move |request| {
                let answer = serve(request);
                async move { Ok::<_, std::convert::Infallible>(answer.await) }
            });
            let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .enable_connect_protocol()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        }
    })
    .await
}

pub(super) fn http2_only(address: SocketAddr) -> Upstream {
    Upstream {
        protocol: UpstreamProtocol::Http2,
        ..upstream(&[address])
    }
}

/// A request for an HTTP/2 client.
pub(super) fn request<B>(method: &str, path: &str, body: B) -> Request<B> {
    Request::builder()
        .method(method)
        .uri(format!("https://app.example{path}"))
        .version(Version::HTTP_2)
        .body(body)
        .unwrap()
}

pub(super) async fn collected(response: Response<Incoming>) -> (Response<()>, Bytes) {
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    (Response::from_parts(parts, ()), bytes)
}
