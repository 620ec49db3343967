//! A program that goes to the Internet through the gateway: tunnels over HTTP/1.1 and HTTP/2, and `http://` requests.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{HOST, HeaderName, PROXY_AUTHORIZATION};
use http::{Method, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::upgrade::Upgraded;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::body::AnyBody;
use crate::client::{Answer, Client};
use crate::pki::{Device, Pki};
use crate::raw::RawAnswer;

/// Where the proxy is, in the names of the test's CA.
const NAME: &str = "proxy";

/// How to ask; cheap to clone and change.
#[derive(Clone)]
pub struct ProxyClient {
    client: Client,
    headers: Vec<(String, String)>,
}

/// Bytes to a destination and back. Dropped, it is closed.
pub struct Tunnel {
    io: TokioIo<Upgraded>,
    /// The status that opened it.
    pub status: StatusCode,
    /// HTTP/2 connections end with their last sender.
    _sender: Sender,
}

/// A connection to the proxy, to ask more than once. Clones ask on the same connection.
#[derive(Clone)]
pub struct ProxySession {
    sender: Sender,
    headers: Vec<(String, String)>,
}

#[derive(Clone)]
enum Sender {
    Http1(Arc<tokio::sync::Mutex<http1::SendRequest<AnyBody>>>),
    Http2(http2::SendRequest<AnyBody>),
}

impl ProxyClient {
    /// Without device and credentials.
    pub fn new(address: SocketAddr, pki: &Arc<Pki>) -> Self {
        Self {
            client: Client::new(address, pki),
            headers: vec![],
        }
    }

    /// At `proxy.<domain>`, with a certificate of that root.
    pub fn of(address: SocketAddr, root: CertificateDer<'static>, domain: &str) -> Self {
        Self {
            client: Client::of(address, root, domain),
            headers: vec![],
        }
    }

    pub fn device(mut self, device: &Device) -> Self {
        self.client = self.client.device(device);
        self
    }
    /// HTTP/2 to the proxy.
    pub fn h2(mut self) -> Self {
        self.client = self.client.h2();
        self
    }
    /// Another field of every request.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }
    /// A bearer token for the proxy.
    pub fn token(self, token: impl AsRef<str>) -> Self {
        let value = format!("Bearer {}", token.as_ref());
        self.header(PROXY_AUTHORIZATION.as_str(), &value)
    }
    /// A password for the proxy.
    pub fn password(self, user: &str, password: &str) -> Self {
        let pair = STANDARD.encode(format!("{user}:{password}"));
        self.header(PROXY_AUTHORIZATION.as_str(), &format!("Basic {pair}"))
    }

    /// # Errors
    /// Whatever the handshake said.
    pub async fn try_session(&self) -> io::Result<ProxySession> {
        let stream = self.client.stream(NAME).await?;
        let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let io = TokioIo::new(stream);
        let sender = if http2 {
            let (sender, connection) = http2::handshake(TokioExecutor::new(), io)
                .await
                .map_err(io::Error::other)?;
            tokio::spawn(connection);
            Sender::Http2(sender)
        } else {
            let (sender, connection) = http1::handshake(io).await.map_err(io::Error::other)?;
            tokio::spawn(connection.with_upgrades());
            Sender::Http1(Arc::new(tokio::sync::Mutex::new(sender)))
        };
        Ok(ProxySession {
            sender,
            headers: self.headers.clone(),
        })
    }

    pub async fn session(&self) -> ProxySession {
        self.try_session().await.expect("a TLS connection")
    }

    /// A tunnel on a connection of its own, or the refusal.
    ///
    /// # Errors
    /// The answer, when there is no tunnel.
    pub async fn connect(&self, authority: &str) -> Result<Tunnel, Answer> {
        self.session().await.connect(authority).await
    }

    /// The refusal of a tunnel.
    ///
    /// # Panics
    /// When there is a tunnel.
    pub async fn refused(&self, authority: &str) -> Answer {
        match self.connect(authority).await {
            Ok(_) => panic!("a tunnel to {authority}"),
            Err(answer) => answer,
        }
    }

    /// GET of an `http://` URL.
    pub async fn get(&self, url: &str) -> Answer {
        self.session().await.send(Method::GET, url, "").await
    }

    /// Bytes of the test's own, after the TLS handshake with the proxy.
    pub async fn raw(&self, bytes: &[u8]) -> RawAnswer {
        self.client.raw(NAME, bytes).await
    }

    /// The TLS connection to the proxy alone.
    ///
    /// # Errors
    /// Whatever the handshake said.
    pub async fn stream(&self) -> io::Result<TlsStream<tokio::net::TcpStream>> {
        self.client.stream(NAME).await
    }
}

impl ProxySession {
    /// Another field of every request from now on.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }
    /// Another user from now on, on the same connection.
    pub fn token(mut self, token: impl AsRef<str>) -> Self {
        self.headers
            .retain(|(name, _)| name != PROXY_AUTHORIZATION.as_str());
        let value = format!("Bearer {}", token.as_ref());
        self.header(PROXY_AUTHORIZATION.as_str(), &value)
    }

    pub fn is_http2(&self) -> bool {
        matches!(self.sender, Sender::Http2(_))
    }

    /// A tunnel, or the refusal. Over HTTP/1.1 the connection is then used up.
    ///
    /// # Errors
    /// The answer, when there is no tunnel.
    pub async fn connect(&self, authority: &str) -> Result<Tunnel, Answer> {
        let response = self.open(Method::CONNECT, authority, "").await;
        let status = response.status();
        if !status.is_success() {
            return Err(whole(response).await);
        }
        let upgraded = hyper::upgrade::on(response).await.expect("a tunnel");
        Ok(Tunnel {
            io: TokioIo::new(upgraded),
            status,
            _sender: self.sender.clone(),
        })
    }

    /// An `http://` URL.
    pub async fn send(&self, method: Method, url: &str, body: &str) -> Answer {
        whole(self.open(method, url, body).await).await
    }

    /// A WebSocket as RFC 8441 asks for one.
    ///
    /// # Errors
    /// Whatever keeps it from being asked, or the answer from arriving.
    pub async fn extended_connect(&self, host: &str) -> Result<StatusCode, hyper::Error> {
        let Sender::Http2(sender) = &self.sender else {
            panic!("only over HTTP/2");
        };
        let mut sender = sender.clone();
        let mut request = Request::builder()
            .method(Method::CONNECT)
            .uri(format!("https://{host}/"))
            .body(boxed(Full::new(Bytes::new())))
            .expect("a request");
        request
            .extensions_mut()
            .insert(hyper::ext::Protocol::from_static("websocket"));
        sender.ready().await?;
        Ok(sender.send_request(request).await?.status())
    }

    async fn open(&self, method: Method, target: &str, body: &str) -> Response<Incoming> {
        let request = Request::builder()
            .method(method)
            .uri(target)
            .body(Full::new(Bytes::from(body.to_owned())))
            .expect("a request");
        self.ask(request).await.expect("an answer")
    }

    /// Any request, with the session's fields and, where it has none, `Host`; the answer's body is still to be read.
    ///
    /// # Errors
    /// When the connection broke before the head arrived.
    pub async fn ask<B>(&self, request: Request<B>) -> Result<Response<Incoming>, hyper::Error>
    where
        B: Body<Data = Bytes> + Send + Sync + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let mut request = request.map(boxed);
        let host = request.uri().authority().expect("an authority").to_string();
        let fields = request.headers_mut();
        if matches!(self.sender, Sender::Http1(_)) && !fields.contains_key(HOST) {
            fields.insert(HOST, host.parse().expect("a host"));
        }
        for (name, value) in &self.headers {
            let name: HeaderName = name.parse().expect("a name");
            fields.append(name, value.parse().expect("a value"));
        }
        match &self.sender {
            Sender::Http1(sender) => {
                let mut sender = sender.lock().await;
                sender.ready().await?;
                let sending = sender.send_request(request);
                drop(sender);
                sending.await
            }
            Sender::Http2(sender) => {
                let mut sender = sender.clone();
                sender.ready().await?;
                sender.send_request(request).await
            }
        }
    }

    /// As `ask`, and the whole answer.
    ///
    /// # Errors
    /// When the connection broke before the answer was whole.
    pub async fn send_any<B>(&self, request: Request<B>) -> Result<Answer, hyper::Error>
    where
        B: Body<Data = Bytes> + Send + Sync + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (head, body) = self.ask(request).await?.into_parts();
        let collected = body.collect().await?;
        let trailers = collected.trailers().cloned();
        Ok(Answer {
            status: head.status,
            headers: head.headers,
            body: collected.to_bytes(),
            trailers,
        })
    }
}

fn boxed<B>(body: B) -> AnyBody
where
    B: Body<Data = Bytes> + Send + Sync + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    body.map_err(Into::into).boxed()
}

async fn whole(response: Response<Incoming>) -> Answer {
    let (head, body) = response.into_parts();
    let collected = body.collect().await.expect("a body");
    let trailers = collected.trailers().cloned();
    Answer {
        status: head.status,
        headers: head.headers,
        body: collected.to_bytes(),
        trailers,
    }
}

impl Tunnel {
    /// TLS with the destination, as the host that the certificate must have.
    ///
    /// # Errors
    /// What the handshake said.
    pub async fn tls(
        self,
        host: &str,
        root: CertificateDer<'static>,
    ) -> io::Result<TlsStream<Self>> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(root).map_err(io::Error::other)?;
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(rustls::DEFAULT_VERSIONS)
            .map_err(io::Error::other)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        TlsConnector::from(Arc::new(config))
            .connect(name, self)
            .await
    }

    /// GET / over HTTP/1.1 as it comes, and everything that is said in return.
    pub async fn http_get(mut self, host: &str) -> String {
        let request = format!("GET / HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        self.write_all(request.as_bytes())
            .await
            .expect("a way there");
        let mut answer = String::new();
        self.read_to_string(&mut answer).await.expect("an answer");
        answer
    }

    /// What goes through comes back: for a destination that echoes.
    pub async fn echoes(&mut self) {
        self.write_all(b"ping").await.expect("a way there");
        self.flush().await.expect("a way there");
        let mut back = [0; 4];
        let read = crate::within_reason("an echo", self.read_exact(&mut back));
        read.await.expect("a way back");
        assert_eq!(&back, b"ping");
    }

    /// Whether the other side ends it; what it still says is thrown away.
    pub async fn ended(&mut self) {
        let mut rest = [0; 1024];
        while let Ok(1..) = self.read(&mut rest).await {}
    }
}

impl AsyncRead for Tunnel {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Tunnel {
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
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
