//! The few HTTP/2 connections of `masugata connect` to its gateway: made when needed, shared, made anew when they are
//! lost or the certificate has been renewed.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use http::uri::Authority;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use masugata_certs::{ClientIdentity, ClientOptions, Profile, Roots};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use secrecy::{ExposeSecret as _, SecretSlice};
use tokio_rustls::TlsConnector;

use super::body::Outgoing;
use crate::upstream::{race, system_roots};

/// Streams on one connection before another is made; gateways allow 256.
const STREAMS: usize = 100;
/// Connections, however many streams there are.
const CONNECTIONS: usize = 16;
/// Name, address, TLS and HTTP/2 together.
const CONNECT_PATIENCE: Duration = Duration::from_secs(15);
/// A silent gateway is asked whether it is there; a laptop that has slept finds out at once.
const PING: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(10));
/// Receive windows, bytes.
const STREAM_WINDOW: u32 = 1024 * 1024;
const CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;
/// How often a request that was not sent is tried on another connection.
const ATTEMPTS: usize = 3;

/// Why the gateway did not answer.
#[derive(Debug, thiserror::Error)]
pub(in crate::cli) enum Trouble {
    #[error("{0}")]
    Local(String),
    #[error("the gateway cannot be reached: {0}")]
    Unreachable(io::Error),
    #[error("the gateway did not answer in time")]
    TimedOut,
    #[error("no TLS with the gateway: {0}")]
    Tls(io::Error),
    #[error("the gateway does not speak HTTP/2 here; is this its egress port?")]
    NoHttp2,
    #[error("the connection to the gateway was lost: {}", root_of(.0))]
    Lost(hyper::Error),
}

/// What lies at the bottom: that the gateway wants another certificate, most likely, which TLS 1.3 tells late.
fn root_of(error: &hyper::Error) -> String {
    let mut root: &dyn std::error::Error = error;
    while let Some(source) = root.source() {
        root = source;
    }
    root.to_string()
}

impl Trouble {
    pub(in crate::cli) fn status(&self) -> StatusCode {
        match self {
            Self::Local(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::TimedOut => StatusCode::GATEWAY_TIMEOUT,
            Self::Unreachable(_) | Self::Tls(_) | Self::NoHttp2 | Self::Lost(_) => {
                StatusCode::BAD_GATEWAY
            }
        }
    }

    /// RFC 9209 §2.3.
    pub(in crate::cli) fn proxy_status(&self) -> &'static str {
        match self {
            Self::Local(_) => "proxy_configuration_error",
            Self::Unreachable(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                "connection_refused"
            }
            Self::Unreachable(_) => "destination_unavailable",
            Self::TimedOut => "connection_timeout",
            Self::Tls(_) => "tls_protocol_error",
            Self::NoHttp2 => "http_protocol_error",
            Self::Lost(_) => "connection_terminated",
        }
    }
}

/// What proves who we are, and who the gateway is.
#[derive(Debug)]
pub(in crate::cli) struct Files {
    pub(in crate::cli) authority: Option<PathBuf>,
    pub(in crate::cli) certificate: PathBuf,
    pub(in crate::cli) key: PathBuf,
}

/// When the files were last written.
type Stamp = [Option<SystemTime>; 3];

impl Files {
    fn stamp(&self) -> Stamp {
        let written = |path: &Path| {
            std::fs::metadata(path)
                .and_then(|file| file.modified())
                .ok()
        };
        [
            self.authority.as_deref().and_then(written),
            written(&self.certificate),
            written(&self.key),
        ]
    }

    fn tls(&self) -> Result<Arc<ClientConfig>, String> {
        let read = |path: &Path| {
            std::fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
        };
        let authority = self.authority.as_deref().map(read).transpose()?;
        let roots = match &authority {
            Some(pem) => Roots::Pem(pem),
            None => system_roots().map_err(|_| {
                "this system has no root certificates; name the gateway's CA with `--ca`".to_owned()
            })?,
        };
        let chain = read(&self.certificate)?;
        let key = SecretSlice::from(read(&self.key)?);
        masugata_certs::client_config(ClientOptions {
            profile: Profile::CryptrecRecommended,
            hybrid: true,
            roots,
            identity: Some(ClientIdentity {
                chain_pem: &chain,
                key_pem: key.expose_secret(),
            }),
            alpn: &[b"h2"],
            time: Arc::new(rustls::time_provider::DefaultTimeProvider),
        })
        .map_err(|error| {
            format!(
                "cannot use {} with {}: {error}",
                self.certificate.display(),
                self.key.display()
            )
        })
    }
}

/// See the module's first lines.
pub(in crate::cli) struct Gateway {
    host: Box<str>,
    port: u16,
    name: ServerName<'static>,
    files: Files,
    connections: Mutex<Vec<Connection>>,
    /// One attempt at a time: those who wait will share its result.
    connecting: tokio::sync::Mutex<()>,
}

struct Connection {
    sender: SendRequest<Outgoing>,
    uses: Arc<()>,
    stamp: Stamp,
}

/// Counts as a stream of its connection while it lives.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Use(Arc<()>);

impl Gateway {
    /// # Errors
    /// What is wrong with the arguments, for the user.
    pub(in crate::cli) fn new(authority: &Authority, files: Files) -> Result<Self, String> {
        let host = authority.host();
        let bare = host
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .unwrap_or(host);
        let port = authority.port_u16().ok_or_else(|| {
            format!("`{authority}` names no port\nhelp: write `--gateway {host}:8443`")
        })?;
        let name = ServerName::try_from(bare.to_owned())
            .map_err(|_| format!("`{host}` is not a host name"))?;
        // Looked at now, so that a wrong file is said at once.
        files.tls()?;
        Ok(Self {
            host: bare.into(),
            port,
            name,
            files,
            connections: Mutex::default(),
            connecting: tokio::sync::Mutex::new(()),
        })
    }

    /// Sends a request. One that was not sent, or has no body and was lost, is tried again on another connection.
    pub(in crate::cli) async fn send(
        &self,
        mut request: Request<Outgoing>,
    ) -> Result<(Response<Incoming>, Use), Trouble> {
        let spare = Spare::of(&request);
        let mut attempt = 1;
        loop {
            let (mut sender, held) = self.connection().await?;
            let mut failure = match sender.try_send_request(request).await {
                Ok(response) => return Ok((response, held)),
                Err(failure) => failure,
            };
            let again = failure
                .take_message()
                .or_else(|| spare.as_ref().map(Spare::request));
            match again {
                Some(again) if attempt < ATTEMPTS => request = again,
                Some(_) | None => return Err(Trouble::Lost(failure.into_error())),
            }
            self.forget(&held);
            attempt += 1;
        }
    }

    /// The connection with the least to do, or a new one.
    async fn connection(&self) -> Result<(SendRequest<Outgoing>, Use), Trouble> {
        let stamp = self.files.stamp();
        if let Some(found) = self.known(&stamp) {
            return Ok(found);
        }
        let _alone = self.connecting.lock().await;
        if let Some(found) = self.known(&stamp) {
            return Ok(found);
        }
        let sender = tokio::time::timeout(CONNECT_PATIENCE, self.connect())
            .await
            .map_err(|_elapsed| Trouble::TimedOut)??;
        let connection = Connection {
            sender: sender.clone(),
            uses: Arc::new(()),
            stamp,
        };
        let held = Use(Arc::clone(&connection.uses));
        lock(&self.connections).push(connection);
        Ok((sender, held))
    }

    fn known(&self, stamp: &Stamp) -> Option<(SendRequest<Outgoing>, Use)> {
        let mut connections = lock(&self.connections);
        // With an old certificate, only what goes on there goes on.
        connections
            .retain(|connection| !connection.sender.is_closed() && connection.stamp == *stamp);
        let best = connections
            .iter()
            .min_by_key(|connection| Arc::strong_count(&connection.uses))?;
        // The pool itself holds one.
        if Arc::strong_count(&best.uses) > STREAMS && connections.len() < CONNECTIONS {
            return None;
        }
        Some((best.sender.clone(), Use(Arc::clone(&best.uses))))
    }

    fn forget(&self, held: &Use) {
        lock(&self.connections).retain(|connection| !Arc::ptr_eq(&connection.uses, &held.0));
    }

    async fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        if is_localhost(&self.host) {
            return Ok(vec![
                (Ipv4Addr::LOCALHOST, self.port).into(),
                (Ipv6Addr::LOCALHOST, self.port).into(),
            ]);
        }
        let found = tokio::net::lookup_host((&*self.host, self.port)).await?;
        Ok(found.collect())
    }

    async fn connect(&self) -> Result<SendRequest<Outgoing>, Trouble> {
        let tls = self.files.tls().map_err(Trouble::Local)?;
        let stream = race(self.addresses().await?).await?;
        let stream = TlsConnector::from(tls)
            .connect(self.name.clone(), stream)
            .await
            .map_err(Trouble::Tls)?;
        if stream.get_ref().1.alpn_protocol() != Some(b"h2".as_slice()) {
            return Err(Trouble::NoHttp2);
        }
        let (interval, patience) = PING;
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .keep_alive_interval(interval)
            .keep_alive_timeout(patience)
            .keep_alive_while_idle(true)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(Trouble::Lost)?;
        tokio::spawn(connection);
        Ok(sender)
    }
}

/// This very machine, which many systems look up in DNS all the same (RFC 6761 §6.3).
fn is_localhost(host: &str) -> bool {
    let last = host.trim_end_matches('.').rsplit('.').next();
    last.is_some_and(|label| label.eq_ignore_ascii_case("localhost"))
}

/// A request that can be made again.
struct Spare {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
}

impl Spare {
    fn of(request: &Request<Outgoing>) -> Option<Self> {
        let harmless = request.method() == Method::CONNECT || request.method().is_idempotent();
        (harmless && request.body().is_end_stream()).then(|| Self {
            method: request.method().clone(),
            uri: request.uri().clone(),
            headers: request.headers().clone(),
        })
    }

    fn request(&self) -> Request<Outgoing> {
        let mut request = Request::new(Outgoing::Empty);
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.version_mut() = http::Version::HTTP_2;
        *request.headers_mut() = self.headers.clone();
        request
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that can panic runs under this lock.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_below_localhost_are_this_machine() {
        for host in ["localhost", "proxy.localhost", "Proxy.LocalHost."] {
            assert!(is_localhost(host), "{host}");
        }
        for host in ["localhost.example", "notlocalhost", "127.0.0.1", ""] {
            assert!(!is_localhost(host), "{host}");
        }
    }
}
