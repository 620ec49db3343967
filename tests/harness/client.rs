//! A client that proves its device and carries a token: real TLS, HTTP/1.1 or HTTP/2.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{AUTHORIZATION, HOST};
use http::{HeaderMap, Method, Request, StatusCode, Version};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use crate::pki::{Device, Pki};

/// A WebSocket through the gateway.
pub type WebSocket = tokio_tungstenite::WebSocketStream<TlsStream<TcpStream>>;
pub use tokio_tungstenite::tungstenite::Error as WebSocketError;

/// A whole response.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub trailers: Option<HeaderMap>,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
    /// `code` of a problem document.
    pub fn denial_code(&self) -> Option<String> {
        let problem: serde_json::Value = serde_json::from_slice(&self.body).ok()?;
        Some(problem.get("code")?.as_str()?.to_owned())
    }
}

/// How to ask; cheap to clone and change. Clones share the tickets of their TLS sessions.
#[derive(Clone)]
pub struct Client {
    address: SocketAddr,
    tls: Arc<ClientConfig>,
    handshake: Handshake,
    domain: String,
    token: Option<String>,
    headers: Vec<(String, String)>,
}

impl Client {
    pub(crate) fn new(address: SocketAddr, pki: &Arc<Pki>) -> Self {
        let handshake = Handshake {
            root: Arc::clone(pki),
            device: None,
            alpn: b"http/1.1",
            versions: rustls::DEFAULT_VERSIONS,
        };
        Self {
            address,
            tls: handshake.config(),
            handshake,
            domain: "corp.test".into(),
            token: None,
            headers: vec![],
        }
    }

    /// With a device certificate.
    pub fn device(mut self, device: &Device) -> Self {
        self.handshake.device = Some(device.clone());
        self.anew()
    }
    /// HTTP/2.
    pub fn h2(mut self) -> Self {
        self.handshake.alpn = b"h2";
        self.anew()
    }
    /// TLS 1.2 and nothing newer.
    pub fn tls12(mut self) -> Self {
        static ONLY: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS12];
        self.handshake.versions = ONLY;
        self.anew()
    }
    /// Believes server certificates of this CA instead of the gateway's first.
    pub fn trusting(mut self, pki: &Arc<Pki>) -> Self {
        self.handshake.root = Arc::clone(pki);
        self.anew()
    }
    /// Without any ticket of an earlier session.
    pub fn anew(mut self) -> Self {
        self.tls = self.handshake.config();
        self
    }
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }
    /// The host name of an app in these tests.
    pub fn host(&self, app: &str) -> String {
        format!("{app}.{}", self.domain)
    }

    /// A WebSocket to an app.
    ///
    /// # Errors
    /// The handshake's, with the response where there was one.
    pub async fn websocket(&self, app: &str, path: &str) -> Result<WebSocket, WebSocketError> {
        let stream = self.stream(app).await?;
        let url = format!("wss://{}{path}", self.host(app));
        let mut request = url.into_client_request()?;
        if let Some(token) = &self.token {
            let value = format!("Bearer {token}").parse().unwrap();
            request.headers_mut().insert(AUTHORIZATION, value);
        }
        let (socket, _response) = client_async(request, stream).await?;
        Ok(socket)
    }

    /// GET on a connection of its own.
    pub async fn get(&self, app: &str, path: &str) -> Answer {
        self.request(app, Method::GET, path, "").await
    }
    /// POST on a connection of its own.
    pub async fn post(&self, app: &str, path: &str, body: &str) -> Answer {
        self.request(app, Method::POST, path, body).await
    }
    pub async fn request(&self, app: &str, method: Method, path: &str, body: &str) -> Answer {
        self.session(app).await.request(method, path, body).await
    }

    /// A connection to keep.
    pub async fn session(&self, app: &str) -> Session {
        self.try_session(app).await.expect("a TLS connection")
    }

    /// TLS alone, for tests that write bytes of their own.
    ///
    /// # Errors
    /// Whatever the handshake said.
    pub async fn stream(&self, app: &str) -> std::io::Result<TlsStream<TcpStream>> {
        let tcp = TcpStream::connect(self.address).await?;
        tcp.set_nodelay(true)?;
        let name = ServerName::try_from(self.host(app)).unwrap();
        TlsConnector::from(Arc::clone(&self.tls))
            .connect(name, tcp)
            .await
    }

    /// # Errors
    /// Whatever the handshake said.
    pub async fn try_session(&self, app: &str) -> std::io::Result<Session> {
        let stream = self.stream(app).await?;
        let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let io = TokioIo::new(stream);
        let sender = if http2 {
            let (sender, connection) = http2::handshake(TokioExecutor::new(), io)
                .await
                .map_err(std::io::Error::other)?;
            tokio::spawn(connection);
            Sender::Http2(sender)
        } else {
            let (sender, connection) = http1::handshake(io).await.map_err(std::io::Error::other)?;
            tokio::spawn(connection.with_upgrades());
            Sender::Http1(sender)
        };
        let host = self.host(app);
        Ok(Session {
            sender,
            host,
            token: self.token.clone(),
            headers: self.headers.clone(),
        })
    }
}

/// What the client brings to a handshake.
#[derive(Clone)]
struct Handshake {
    root: Arc<Pki>,
    device: Option<Device>,
    alpn: &'static [u8],
    versions: &'static [&'static rustls::SupportedProtocolVersion],
}

impl Handshake {
    fn config(&self) -> Arc<ClientConfig> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(self.root.root()).unwrap();
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(self.versions)
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match &self.device {
            Some(device) => builder
                .with_client_auth_cert(device.chain(), device.key())
                .unwrap(),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![self.alpn.to_vec()];
        Arc::new(config)
    }
}

enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

/// One connection.
pub struct Session {
    sender: Sender,
    host: String,
    token: Option<String>,
    headers: Vec<(String, String)>,
}

impl Session {
    /// Another token from now on.
    pub fn set_token(&mut self, token: impl Into<String>) {
        self.token = Some(token.into());
    }

    /// Another host from now on, on the same connection.
    pub fn set_host(&mut self, host: impl Into<String>) {
        self.host = host.into();
    }

    pub async fn get(&mut self, path: &str) -> Answer {
        self.request(Method::GET, path, "").await
    }

    pub async fn request(&mut self, method: Method, path: &str, body: &str) -> Answer {
        let request = self
            .build(method, path)
            .body(Full::new(Bytes::from(body.to_owned())))
            .unwrap();
        self.send(request).await.expect("an answer")
    }

    /// A request with host, token and headers in place.
    pub fn build(&self, method: Method, path: &str) -> http::request::Builder {
        let mut builder = Request::builder().method(method);
        builder = match self.sender {
            Sender::Http1(_) => builder.uri(path).header(HOST, &self.host),
            Sender::Http2(_) => builder
                .uri(format!("https://{}{path}", self.host))
                .version(Version::HTTP_2),
        };
        if let Some(token) = &self.token {
            builder = builder.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        for (name, value) in &self.headers {
            builder = builder.header(name, value);
        }
        builder
    }

    /// # Errors
    /// When the connection broke before the answer was whole.
    pub async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<Answer, hyper::Error> {
        let (head, body) = self.open(request).await?.into_parts();
        let collected = body.collect().await?;
        let trailers = collected.trailers().cloned();
        Ok(Answer {
            status: head.status,
            headers: head.headers,
            body: collected.to_bytes(),
            trailers,
        })
    }

    /// The response with its body still to be read.
    ///
    /// # Errors
    /// When the connection broke before the head arrived.
    pub async fn open(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<http::Response<Incoming>, hyper::Error> {
        match &mut self.sender {
            Sender::Http1(sender) => {
                sender.ready().await?;
                sender.send_request(request).await
            }
            Sender::Http2(sender) => {
                sender.ready().await?;
                sender.send_request(request).await
            }
        }
    }
}
