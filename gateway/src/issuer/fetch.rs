//! Asking an issuer: one request, one answer, small and quick, or an error; over the network, or within this process.
//!
//! Addresses come from the configuration, or from a discovery document that was fetched by this code and names the
//! configured issuer; never from a token. No proxy, no redirect, no plain HTTP except to this very machine.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH,
    CONTENT_TYPE, HOST, USER_AGENT,
};
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body::Body;
use http_body_util::{BodyExt as _, Full, Limited};
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
pub(crate) struct Location {
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
pub(crate) enum LocationFault {
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
    pub(crate) fn parse(url: &str) -> Result<Self, LocationFault> {
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
    pub(crate) fn is_secure(&self) -> bool {
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

    /// Whether both are on the same server, reached alike.
    pub(crate) fn same_server(&self, other: &Self) -> bool {
        self.secure == other.secure
            && self.port == other.port
            && self.host.eq_ignore_ascii_case(&other.host)
    }

    /// The path, without the query.
    pub(crate) fn path(&self) -> &str {
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
pub(crate) enum FetchError {
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

/// A provider that lives in this process: the built-in one.
pub trait Local: Send + Sync + 'static {
    /// Answers a request with an origin-form target and a `Host`, as one that came over the network.
    fn answer(&self, request: Request<Bytes>) -> LocalAnswer<'_>;
}

/// See [`Local::answer`].
pub type LocalAnswer<'a> = Pin<Box<dyn Future<Output = Response<Bytes>> + Send + 'a>>;

/// How to reach one issuer.
#[derive(Clone)]
pub(crate) struct Transport {
    way: Way,
    timeout: Duration,
}

#[derive(Clone)]
enum Way {
    Network(TlsConnector),
    /// `None`: configured, and not running.
    Local(Option<Arc<dyn Local>>),
}

/// What is asked, apart from where.
pub(crate) struct Question {
    method: Method,
    authorization: Option<HeaderValue>,
    form: Option<Bytes>,
}

impl Question {
    /// For a document.
    pub(crate) fn get() -> Self {
        Self {
            method: Method::GET,
            authorization: None,
            form: None,
        }
    }

    /// With a form (`application/x-www-form-urlencoded`).
    pub(crate) fn post(form: impl Into<Bytes>) -> Self {
        Self {
            method: Method::POST,
            authorization: None,
            form: Some(form.into()),
        }
    }

    /// With credentials; kept out of everything that is written down.
    pub(crate) fn with_authorization(mut self, mut value: HeaderValue) -> Self {
        value.set_sensitive(true);
        self.authorization = Some(value);
        self
    }

    fn request(self, location: &Location) -> Result<Request<Bytes>, FetchError> {
        let mut request = Request::builder()
            .method(self.method)
            .uri(&*location.target)
            .header(HOST, &*location.authority)
            .header(ACCEPT, "application/json")
            .header(ACCEPT_ENCODING, "identity")
            .header(USER_AGENT, concat!("masugata/", env!("CARGO_PKG_VERSION")));
        if let Some(value) = self.authorization {
            request = request.header(AUTHORIZATION, value);
        }
        if let Some(form) = &self.form {
            request = request
                .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
                .header(CONTENT_LENGTH, form.len());
        }
        request
            .body(self.form.unwrap_or_default())
            .map_err(|error| FetchError::Http(error.to_string()))
    }
}

/// What came back, whatever the status.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) content_type: Option<HeaderValue>,
    pub(crate) body: Bytes,
}

impl Transport {
    /// A transport that trusts `roots` and gives each exchange `timeout`.
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
            way: Way::Network(TlsConnector::from(Arc::new(config))),
            timeout,
        })
    }

    /// A transport that stays in this process.
    pub(super) fn local(provider: Option<Arc<dyn Local>>, timeout: Duration) -> Self {
        Self {
            way: Way::Local(provider),
            timeout,
        }
    }

    /// How long one exchange may take.
    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Whether nothing leaves this process.
    pub(crate) fn is_local(&self) -> bool {
        matches!(self.way, Way::Local(_))
    }

    /// Whether both lead to the same provider in this process.
    pub(super) fn is_local_to(&self, provider: Option<&Arc<dyn Local>>) -> bool {
        match (&self.way, provider) {
            (Way::Local(Some(ours)), Some(other)) => Arc::ptr_eq(ours, other),
            (Way::Local(None), None) => true,
            (Way::Local(_) | Way::Network(_), _) => false,
        }
    }

    /// Fetches one document.
    /// # Errors: anything but a 200 with a body of at most 256 KiB, in time.
    pub(super) async fn document(&self, location: &Location) -> Result<Bytes, FetchError> {
        let answer = self.send(location, Question::get()).await?;
        // A redirect is a status like any other: where to fetch from is not for the answer to say.
        if answer.status == StatusCode::OK {
            Ok(answer.body)
        } else {
            Err(FetchError::Status(answer.status))
        }
    }

    /// Asks, and reads the answer whole. Redirects are answers; nobody here follows them.
    /// # Errors: no answer, or one that is compressed or longer than 256 KiB, or too late.
    pub(crate) async fn send(
        &self,
        location: &Location,
        question: Question,
    ) -> Result<Answer, FetchError> {
        let request = question.request(location)?;
        let answer = async {
            match &self.way {
                Way::Network(tls) => over_network(tls, location, request).await,
                Way::Local(Some(provider)) => {
                    read(provider.answer(request).await.map(Full::new)).await
                }
                Way::Local(None) => Err(FetchError::Connect(
                    "the built-in provider is not running".to_owned(),
                )),
            }
        };
        tokio::time::timeout(self.timeout, answer)
            .await
            .unwrap_or(Err(FetchError::TimedOut(self.timeout)))
    }
}

async fn over_network(
    tls: &TlsConnector,
    location: &Location,
    request: Request<Bytes>,
) -> Result<Answer, FetchError> {
    let connect = |error: std::io::Error| FetchError::Connect(error.to_string());
    if !location.secure {
        let stream = TcpStream::connect(&*location.on_this_machine()).await;
        return exchange(stream.map_err(connect)?, request).await;
    }
    let stream = TcpStream::connect((&*location.host, location.port))
        .await
        .map_err(connect)?;
    let name = ServerName::try_from(location.host.to_string())
        .map_err(|error| FetchError::Tls(error.to_string()))?;
    let stream = tls
        .connect(name, stream)
        .await
        .map_err(|error| FetchError::Tls(error.to_string()))?;
    exchange(stream, request).await
}

async fn exchange<S>(stream: S, mut request: Request<Bytes>) -> Result<Answer, FetchError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let http = |error: hyper::Error| FetchError::Http(error.to_string());
    request
        .headers_mut()
        .insert(CONNECTION, HeaderValue::from_static("close"));
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(64 * 1024)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(http)?;
    let mut connection = pin!(connection);
    let mut answer = pin!(async {
        let response = sender
            .send_request(request.map(Full::new))
            .await
            .map_err(http)?;
        read(response).await
    });
    let mut open = true;
    loop {
        tokio::select! {
            answer = &mut answer => return answer,
            // Its error, if any, reaches `answer` too.
            _ = &mut connection, if open => open = false,
        }
    }
}

async fn read<B>(response: Response<B>) -> Result<Answer, FetchError>
where
    B: Body<Data = Bytes>,
    B::Error: std::error::Error + Send + Sync + 'static,
{
    if response
        .headers()
        .get(CONTENT_ENCODING)
        .is_some_and(|coding| coding != "identity")
    {
        return Err(FetchError::Encoding);
    }
    let status = response.status();
    let content_type = response.headers().get(CONTENT_TYPE).cloned();
    let body = Limited::new(response.into_body(), MAX_DOCUMENT_BYTES)
        .collect()
        .await
        .map(|body| body.to_bytes())
        .map_err(|error| {
            if error.is::<http_body_util::LengthLimitError>() {
                FetchError::TooLarge
            } else {
                FetchError::Http(error.to_string())
            }
        })?;
    Ok(Answer {
        status,
        content_type,
        body,
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
