//! Fetching an issuer's documents: one GET, one answer, small and quick, or an error.
//!
//! Addresses come from the configuration, or from a discovery document that was fetched by this code and names the
//! configured issuer; never from a token. No proxy, no redirect, no plain HTTP except to this very machine.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, CONNECTION, CONTENT_ENCODING, HOST, USER_AGENT};
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject as _};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::capability::Clock;

/// Longest document that is read, bytes. Real key sets have a few KiB.
const MAX_DOCUMENT_BYTES: usize = 256 * 1024;

/// A place that may be fetched from: `https`, or `http` on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Location {
    secure: bool,
    /// Without brackets.
    host: Box<str>,
    port: u16,
    /// As sent in `Host`.
    authority: Box<str>,
    /// Path and query.
    target: Box<str>,
}

/// Why an address is not fetched from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum LocationFault {
    #[error("not an absolute URL")]
    Syntax,
    #[error("a URL with user information")]
    UserInformation,
    #[error("neither `https` nor `http` on this machine")]
    Insecure,
}

impl Location {
    /// Reads a URL.
    /// # Errors: it is none, or one that must not be fetched from.
    pub(super) fn parse(url: &str) -> Result<Self, LocationFault> {
        let uri: Uri = url.parse().map_err(|_| LocationFault::Syntax)?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(LocationFault::Syntax);
        };
        if authority.as_str().contains('@') {
            return Err(LocationFault::UserInformation);
        }
        if url.contains('#') || authority.host().is_empty() {
            return Err(LocationFault::Syntax);
        }
        let host = authority.host().trim_matches(['[', ']']);
        let secure = match scheme {
            "https" => true,
            "http" if is_this_machine(host) => false,
            _ => return Err(LocationFault::Insecure),
        };
        let port = authority
            .port_u16()
            .unwrap_or(if secure { 443 } else { 80 });
        let target = uri.path_and_query().map_or("/", |target| target.as_str());
        Ok(Self {
            secure,
            host: host.into(),
            port,
            authority: authority.as_str().into(),
            target: target.into(),
        })
    }

    /// Whether TLS protects it.
    pub(super) fn is_secure(&self) -> bool {
        self.secure
    }

    /// Where plain HTTP goes. Names are not looked up: a name server could say that `localhost` is elsewhere.
    fn on_this_machine(&self) -> Vec<SocketAddr> {
        let addresses = match self.host.parse::<IpAddr>() {
            Ok(address) => vec![address],
            Err(_) => vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
        };
        addresses
            .into_iter()
            .map(|address| SocketAddr::new(address, self.port))
            .collect()
    }

    /// The same server, another path.
    pub(super) fn with_target(&self, target: &str) -> Self {
        Self {
            target: target.into(),
            ..self.clone()
        }
    }

    /// The path, without the query.
    pub(super) fn path(&self) -> &str {
        self.target
            .split_once('?')
            .map_or(&*self.target, |(path, _)| path)
    }
}

/// A loopback address, or a name that means one (RFC 6761 §6.3).
fn is_this_machine(host: &str) -> bool {
    match host.parse::<IpAddr>() {
        Ok(address) => address.is_loopback(),
        Err(_) => {
            let lower = host.to_ascii_lowercase();
            lower == "localhost" || lower.ends_with(".localhost")
        }
    }
}

/// Why a document could not be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum FetchError {
    #[error("no connection: {0}")]
    Connect(String),
    #[error("TLS: {0}")]
    Tls(String),
    #[error("HTTP: {0}")]
    Http(String),
    #[error("status {0}")]
    Status(StatusCode),
    #[error("a compressed answer that was not asked for")]
    Encoding,
    #[error("an answer of more than 256 KiB")]
    TooLarge,
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
}

/// How to reach one issuer.
#[derive(Clone)]
pub(super) struct Transport {
    tls: TlsConnector,
    timeout: Duration,
}

impl Transport {
    /// A transport that trusts `roots` and gives each document `timeout`.
    /// # Errors: the TLS library refuses the settings.
    pub(super) fn new(
        roots: RootCertStore,
        timeout: Duration,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, rustls::Error> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_details(provider, Arc::new(WallTime(clock)))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            tls: TlsConnector::from(Arc::new(config)),
            timeout,
        })
    }

    /// How long one document may take.
    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Fetches one document.
    /// # Errors: anything but a 200 with a body of at most 256 KiB, in time.
    pub(super) async fn document(&self, location: &Location) -> Result<Bytes, FetchError> {
        tokio::time::timeout(self.timeout, self.fetch(location))
            .await
            .unwrap_or(Err(FetchError::TimedOut(self.timeout)))
    }

    async fn fetch(&self, location: &Location) -> Result<Bytes, FetchError> {
        let connect = |error: std::io::Error| FetchError::Connect(error.to_string());
        if !location.secure {
            let stream = TcpStream::connect(&*location.on_this_machine()).await;
            return exchange(stream.map_err(connect)?, location).await;
        }
        let stream = TcpStream::connect((&*location.host, location.port))
            .await
            .map_err(connect)?;
        let name = ServerName::try_from(location.host.to_string())
            .map_err(|error| FetchError::Tls(error.to_string()))?;
        let stream = self
            .tls
            .connect(name, stream)
            .await
            .map_err(|error| FetchError::Tls(error.to_string()))?;
        exchange(stream, location).await
    }
}

async fn exchange<S>(stream: S, location: &Location) -> Result<Bytes, FetchError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let http = |error: hyper::Error| FetchError::Http(error.to_string());
    let request = Request::get(&*location.target)
        .header(HOST, &*location.authority)
        .header(ACCEPT, "application/json")
        .header(ACCEPT_ENCODING, "identity")
        .header(USER_AGENT, concat!("masugata/", env!("CARGO_PKG_VERSION")))
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| FetchError::Http(error.to_string()))?;
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(64 * 1024)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(http)?;
    let mut connection = pin!(connection);
    let mut answer = pin!(async {
        let response = sender.send_request(request).await.map_err(http)?;
        read(response).await
    });
    let mut open = true;
    loop {
        tokio::select! {
            document = &mut answer => return document,
            // Its error, if any, reaches `answer` too.
            _ = &mut connection, if open => open = false,
        }
    }
}

async fn read(response: http::Response<hyper::body::Incoming>) -> Result<Bytes, FetchError> {
    // A redirect is a status like any other: where to fetch from is not for the answer to say.
    if response.status() != StatusCode::OK {
        return Err(FetchError::Status(response.status()));
    }
    if response
        .headers()
        .get(CONTENT_ENCODING)
        .is_some_and(|coding| coding != "identity")
    {
        return Err(FetchError::Encoding);
    }
    Limited::new(response.into_body(), MAX_DOCUMENT_BYTES)
        .collect()
        .await
        .map(|body| body.to_bytes())
        .map_err(|error| {
            if error.is::<http_body_util::LengthLimitError>() {
                FetchError::TooLarge
            } else {
                FetchError::Http(error.to_string())
            }
        })
}

/// Reads the CA certificates of a PEM file's text.
/// # Errors: a sentence about what is wrong with it.
pub(crate) fn roots_from_pem(pem: &[u8]) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| format!("not PEM: {error}"))?;
        roots
            .add(certificate)
            .map_err(|error| format!("not a CA certificate: {error}"))?;
    }
    if roots.is_empty() {
        return Err("no certificate in it".to_owned());
    }
    Ok(roots)
}

/// The system's roots. Unreadable ones are skipped: that only narrows whom we trust.
pub(crate) fn system_roots() -> RootCertStore {
    let native = rustls_native_certs::load_native_certs();
    for error in &native.errors {
        tracing::debug!(%error, "a system root certificate is skipped");
    }
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(native.certs);
    roots
}

/// Certificates of those we fetch from are judged by the gateway's clock.
pub(crate) struct WallTime(pub(crate) Arc<dyn Clock>);

impl rustls::time_provider::TimeProvider for WallTime {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = u64::try_from(self.0.now().as_seconds()).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
    }
}

impl std::fmt::Debug for WallTime {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("WallTime")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tls_or_this_machine_may_be_fetched_from() {
        for url in [
            "https://id.example/realms/a",
            "https://id.example:8443",
            "http://localhost:8080/realms/a",
            "http://id.localhost:8080/realms/a",
            "http://127.0.0.1",
            "http://[::1]:1/x?y=z",
        ] {
            assert!(Location::parse(url).is_ok(), "{url}");
        }
        for (url, fault) in [
            ("http://id.example", LocationFault::Insecure),
            ("http://169.254.169.254/latest", LocationFault::Insecure),
            ("http://localhost.evil.example", LocationFault::Insecure),
            ("http://10.0.0.1", LocationFault::Insecure),
            ("http://127.0.0.1.evil.example", LocationFault::Insecure),
            ("http://evillocalhost", LocationFault::Insecure),
            ("file:///etc/passwd", LocationFault::Syntax),
            ("ftp://id.example/x", LocationFault::Insecure),
            ("/relative", LocationFault::Syntax),
            ("", LocationFault::Syntax),
            ("https://a@id.example", LocationFault::UserInformation),
            ("https://id.example#x", LocationFault::Syntax),
            ("https://id example/", LocationFault::Syntax),
        ] {
            assert_eq!(Location::parse(url), Err(fault), "{url}");
        }
    }

    #[test]
    fn a_location_knows_its_parts() {
        let location = Location::parse("https://[2001:db8::1]:8443/a/b?c=d").unwrap();
        assert_eq!(&*location.host, "2001:db8::1");
        assert_eq!(location.port, 8443);
        assert_eq!(&*location.authority, "[2001:db8::1]:8443");
        assert_eq!(location.path(), "/a/b");
        assert!(location.is_secure());
    }

    #[test]
    fn plain_http_never_leaves_this_machine() {
        for url in [
            "http://localhost:8080",
            "http://id.localhost:8080",
            "http://127.0.0.9",
            "http://[::1]",
        ] {
            let addresses = Location::parse(url).unwrap().on_this_machine();
            assert!(addresses.iter().all(|address| address.ip().is_loopback()));
            assert!(!addresses.is_empty());
        }
    }

    #[test]
    fn a_root_file_without_certificates_is_refused() {
        assert!(roots_from_pem(b"").is_err());
        assert!(roots_from_pem(b"hello").is_err());
    }
}
