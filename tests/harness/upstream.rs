//! A programmable app behind the gateway, which remembers what it was asked.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use http::header::{
    CONNECTION, CONTENT_TYPE, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE,
};
use http::{HeaderMap, Method, Request, Response, Uri, Version};
use http_body::{Body, Frame};
use http_body_util::{BodyExt as _, Full, combinators::BoxBody};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

/// What a request looked like when it arrived behind the gateway.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: Method,
    pub uri: Uri,
    pub version: Version,
    pub headers: HeaderMap,
    /// How many certificates the gateway showed.
    pub certificates: usize,
}

impl Seen {
    /// All values of a field.
    pub fn all(&self, name: &str) -> Vec<String> {
        let values = self.headers.get_all(name).iter();
        values
            .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
            .collect()
    }
    /// The one value of a field; nothing when it is absent or there twice.
    pub fn one(&self, name: &str) -> Option<String> {
        let mut all = self.all(name);
        let one = all.pop();
        if all.is_empty() { one } else { None }
    }
}

/// What an upstream answers.
pub type UpstreamAnswer = Response<BoxBody<Bytes, Infallible>>;
type Answer = UpstreamAnswer;
type Answering = Pin<Box<dyn Future<Output = Answer> + Send>>;
type Program = Arc<dyn Fn(Request<Incoming>) -> Answering + Send + Sync>;

/// An app on loopback; ends with the value.
pub struct Upstream {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    task: JoinHandle<()>,
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Upstream {
    /// Answers every request with 200 and `hello`, after reading its body.
    pub async fn hello() -> Self {
        Self::new(|request: Request<Incoming>| async move {
            let _ = request.into_body().collect().await;
            Self::text("hello")
        })
        .await
    }

    /// Sends a server-sent event at once and then ten a second, for as long as somebody listens.
    pub async fn events() -> Self {
        Self::new(|_request: Request<Incoming>| async move {
            let (sender, receiver) = mpsc::channel(1);
            tokio::spawn(async move {
                let mut ticks = tokio::time::interval(Duration::from_millis(100));
                loop {
                    ticks.tick().await;
                    let event = Bytes::from_static(b"data: tick\n\n");
                    if sender.send(event).await.is_err() {
                        return;
                    }
                }
            });
            let mut answer = Response::new(Fed(receiver).boxed());
            let kind = HeaderValue::from_static("text/event-stream");
            answer.headers_mut().insert(CONTENT_TYPE, kind);
            answer
        })
        .await
    }

    /// Accepts WebSockets and sends every message back.
    pub async fn websocket_echo() -> Self {
        Self::new(|request: Request<Incoming>| async move { accept(request) }).await
    }

    /// The same inside TLS.
    pub async fn websocket_echo_tls(config: rustls::ServerConfig) -> Self {
        Self::tls(config, |request: Request<Incoming>| async move {
            accept(request)
        })
        .await
    }

    /// Speaks HTTP/1.1, with upgrades.
    pub async fn new<F, A>(program: F) -> Self
    where
        F: Fn(Request<Incoming>) -> A + Send + Sync + 'static,
        A: Future<Output = Answer> + Send + 'static,
    {
        Self::start(program, Speaks::Http1).await
    }

    /// Speaks HTTP/2 with prior knowledge.
    pub async fn h2c<F, A>(program: F) -> Self
    where
        F: Fn(Request<Incoming>) -> A + Send + Sync + 'static,
        A: Future<Output = Answer> + Send + 'static,
    {
        Self::start(program, Speaks::Http2).await
    }

    /// Speaks TLS, and the protocol that ALPN chooses.
    pub async fn tls<F, A>(config: rustls::ServerConfig, program: F) -> Self
    where
        F: Fn(Request<Incoming>) -> A + Send + Sync + 'static,
        A: Future<Output = Answer> + Send + 'static,
    {
        Self::start(program, Speaks::Tls(TlsAcceptor::from(Arc::new(config)))).await
    }

    /// Does with each connection what the test says; nothing is remembered.
    pub async fn connections<F, A>(serve: F) -> Self
    where
        F: Fn(TcpStream) -> A + Send + Sync + 'static,
        A: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream));
            }
        });
        Self {
            address,
            seen: Arc::default(),
            task,
        }
    }

    async fn start<F, A>(program: F, speaks: Speaks) -> Self
    where
        F: Fn(Request<Incoming>) -> A + Send + Sync + 'static,
        A: Future<Output = Answer> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let program: Program = Arc::new(move |request| Box::pin(program(request)));
        let record = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                let (program, record) = (Arc::clone(&program), Arc::clone(&record));
                let speaks = speaks.clone();
                tokio::spawn(async move {
                    match speaks {
                        Speaks::Http1 => serve(stream, false, 0, program, record).await,
                        Speaks::Http2 => serve(stream, true, 0, program, record).await,
                        Speaks::Tls(acceptor) => {
                            let Ok(stream) = acceptor.accept(stream).await else {
                                return;
                            };
                            let session = stream.get_ref().1;
                            let http2 = session.alpn_protocol() == Some(b"h2");
                            let shown = session.peer_certificates().map_or(0, <[_]>::len);
                            serve(stream, http2, shown, program, record).await;
                        }
                    }
                });
            }
        });
        Self {
            address,
            seen,
            task,
        }
    }

    /// Everything asked so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// The last request, which must exist.
    pub fn last(&self) -> Seen {
        self.seen().pop().expect("the upstream was asked")
    }

    /// How often it was asked.
    pub fn count(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    pub fn text(body: &str) -> Answer {
        Response::new(Full::new(Bytes::from(body.to_owned())).boxed())
    }
}

#[derive(Clone)]
enum Speaks {
    Http1,
    Http2,
    Tls(TlsAcceptor),
}

async fn serve<IO>(
    stream: IO,
    http2: bool,
    certificates: usize,
    program: Program,
    record: Arc<Mutex<Vec<Seen>>>,
) where
    IO: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        record.lock().unwrap().push(Seen {
            method: request.method().clone(),
            uri: request.uri().clone(),
            version: request.version(),
            headers: request.headers().clone(),
            certificates,
        });
        let answer = program(request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let io = TokioIo::new(stream);
    if http2 {
        let _ = http2::Builder::new(TokioExecutor::new())
            .enable_connect_protocol()
            .serve_connection(io, service)
            .await;
    } else {
        let _ = http1::Builder::new()
            .serve_connection(io, service)
            .with_upgrades()
            .await;
    }
}

/// A body that is fed while it is read.
struct Fed(mpsc::Receiver<Bytes>);

impl Body for Fed {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0
            .poll_recv(cx)
            .map(|data| data.map(|data| Ok(Frame::data(data))))
    }
}

/// Answers the handshake of a WebSocket, and then echoes.
fn accept(mut request: Request<Incoming>) -> Answer {
    let Some(key) = request.headers().get(SEC_WEBSOCKET_KEY) else {
        return Upstream::text("not a WebSocket");
    };
    let accept = derive_accept_key(key.as_bytes());
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let Ok(io) = upgrade.await else { return };
        let socket = WebSocketStream::from_raw_socket(TokioIo::new(io), Role::Server, None).await;
        echo(socket).await;
    });
    Response::builder()
        .status(101)
        .header(CONNECTION, "upgrade")
        .header(UPGRADE, "websocket")
        .header(SEC_WEBSOCKET_ACCEPT, accept)
        .body(Full::new(Bytes::new()).boxed())
        .unwrap()
}

async fn echo<S>(mut socket: WebSocketStream<S>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    while let Some(Ok(message)) = socket.next().await {
        if (message.is_text() || message.is_binary()) && socket.send(message).await.is_err() {
            return;
        }
    }
}
