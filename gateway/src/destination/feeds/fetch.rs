//! Fetching a list: one GET over TLS, streamed to its end. No redirect, no compression, no proxy.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ACCEPT_ENCODING, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, ETAG, HOST, HeaderName,
    IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED, USER_AGENT,
};
use http::{Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;

use super::Connect;
use crate::capability::Clock;
use crate::issuer::WallTime;

/// Until TLS stands.
const CONNECT: Duration = Duration::from_secs(15);
/// From one piece to the next, the head included.
const IDLE: Duration = Duration::from_secs(30);
/// The whole list. 256 MiB at 4 Mbit/s.
const TOTAL: Duration = Duration::from_secs(10 * 60);
/// Longest signature; real ones have 300 bytes.
const MAX_SIGNATURE: u64 = 4096;

/// Why a list could not be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    #[error("the URL is not one")]
    Url,
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
    #[error("more than {0} bytes")]
    TooLarge(u64),
    #[error("cut short: {got} of {announced} bytes")]
    CutShort { got: u64, announced: u64 },
    #[error("no answer in time")]
    TimedOut,
    #[error("it cannot be written down: {0}")]
    Disk(String),
}

/// Where a list is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    host: Box<str>,
    port: u16,
    authority: Box<str>,
    path: Box<str>,
    query: Option<Box<str>>,
}

impl Location {
    /// Reads an https URL, as the configuration has checked it.
    pub fn parse(url: &str) -> Result<Self, FetchError> {
        let uri: Uri = url.parse().map_err(|_| FetchError::Url)?;
        let authority = uri.authority().ok_or(FetchError::Url)?;
        if uri.scheme_str() != Some("https") || authority.as_str().contains('@') {
            return Err(FetchError::Url);
        }
        let host = authority.host().trim_matches(['[', ']']);
        let path = uri.path();
        Ok(Self {
            host: host.into(),
            port: authority.port_u16().unwrap_or(443),
            authority: authority.as_str().into(),
            path: if path.is_empty() { "/" } else { path }.into(),
            query: uri.query().map(Into::into),
        })
    }

    /// Where its signature is: the same path and `.minisig`, the same query.
    pub fn signature(&self) -> Self {
        Self {
            path: format!("{}.minisig", self.path).into(),
            ..self.clone()
        }
    }

    fn target(&self) -> String {
        match &self.query {
            Some(query) => format!("{}?{query}", self.path),
            None => self.path.to_string(),
        }
    }
}

/// What the last answer said about itself, to ask for something newer only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Validators {
    pub etag: Option<String>,
    pub last_modified: Option<String>,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// 304: what we have is what there is.
    Unchanged,
    New(Validators),
}

/// Where the pieces of an answer go.
pub trait Take: Send {
    /// # Errors
    /// [`FetchError::Disk`].
    fn take(&mut self, piece: Bytes) -> impl Future<Output = Result<(), FetchError>> + Send;
}

impl Take for Vec<u8> {
    async fn take(&mut self, piece: Bytes) -> Result<(), FetchError> {
        self.extend_from_slice(&piece);
        Ok(())
    }
}

/// To somebody who writes them down elsewhere, because disks are slow.
impl Take for mpsc::Sender<Bytes> {
    async fn take(&mut self, piece: Bytes) -> Result<(), FetchError> {
        let gone = |_| FetchError::Disk("the writer has given up".to_owned());
        self.send(piece).await.map_err(gone)
    }
}

/// How to reach the server of one list.
#[derive(Clone)]
pub struct Transport {
    tls: TlsConnector,
}

impl std::fmt::Debug for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Transport")
    }
}

impl Transport {
    /// # Errors
    /// The TLS library refuses the settings.
    pub fn new(roots: RootCertStore, clock: Arc<dyn Clock>) -> Result<Self, rustls::Error> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_details(provider, Arc::new(WallTime(clock)))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            tls: TlsConnector::from(Arc::new(config)),
        })
    }

    /// Streams a list of at most `most` bytes to `out`.
    ///
    /// # Errors
    /// Anything but a 200 with a whole body, or a 304 to a conditional question, in time.
    pub async fn list(
        &self,
        way: &dyn Connect,
        location: &Location,
        known: &Validators,
        most: u64,
        out: &mut impl Take,
    ) -> Result<Fetched, FetchError> {
        tokio::time::timeout(TOTAL, self.exchange(way, location, known, most, out))
            .await
            .unwrap_or(Err(FetchError::TimedOut))
    }

    /// Text of the signature of a list; `None` where there is none.
    ///
    /// # Errors
    /// As [`Self::list`].
    pub async fn signature(
        &self,
        way: &dyn Connect,
        of: &Location,
    ) -> Result<Option<String>, FetchError> {
        let mut text = Vec::new();
        let fetched = self
            .list(
                way,
                &of.signature(),
                &Validators::default(),
                MAX_SIGNATURE,
                &mut text,
            )
            .await;
        match fetched {
            Ok(_) => Ok(String::from_utf8(text).ok()),
            Err(FetchError::Status(StatusCode::NOT_FOUND)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn exchange(
        &self,
        way: &dyn Connect,
        location: &Location,
        known: &Validators,
        most: u64,
        out: &mut impl Take,
    ) -> Result<Fetched, FetchError> {
        let http = |error: hyper::Error| FetchError::Http(with_sources(&error));
        let stream = tokio::time::timeout(CONNECT, self.connect(way, location))
            .await
            .unwrap_or(Err(FetchError::TimedOut))?;
        let (mut sender, connection) = http1::Builder::new()
            .max_buf_size(64 * 1024)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(http)?;
        let request = request(location, known)?;
        let mut connection = pin!(connection);
        let mut answer = pin!(async {
            let response = tokio::time::timeout(IDLE, sender.send_request(request))
                .await
                .map_err(|_| FetchError::TimedOut)?
                .map_err(http)?;
            receive(response, known, most, out).await
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

    async fn connect(
        &self,
        way: &dyn Connect,
        location: &Location,
    ) -> Result<tokio_rustls::client::TlsStream<tokio::net::TcpStream>, FetchError> {
        let stream = way
            .connect(location.host.clone(), location.port)
            .await
            .map_err(|error| FetchError::Connect(error.to_string()))?;
        let name = ServerName::try_from(location.host.to_string())
            .map_err(|error| FetchError::Tls(error.to_string()))?;
        self.tls
            .connect(name, stream)
            .await
            .map_err(|error| FetchError::Tls(error.to_string()))
    }
}

fn request(location: &Location, known: &Validators) -> Result<Request<Empty<Bytes>>, FetchError> {
    let mut request = Request::get(location.target())
        .header(HOST, &*location.authority)
        .header(ACCEPT_ENCODING, "identity")
        .header(USER_AGENT, concat!("masugata/", env!("CARGO_PKG_VERSION")))
        .header(CONNECTION, "close");
    // RFC 9110 §13.1.3: the date is not looked at where there is a tag.
    if let Some(etag) = &known.etag {
        request = request.header(IF_NONE_MATCH, etag);
    } else if let Some(date) = &known.last_modified {
        request = request.header(IF_MODIFIED_SINCE, date);
    }
    request
        .body(Empty::new())
        .map_err(|error| FetchError::Http(error.to_string()))
}

async fn receive(
    response: Response<Incoming>,
    known: &Validators,
    most: u64,
    out: &mut impl Take,
) -> Result<Fetched, FetchError> {
    let conditional = known.etag.is_some() || known.last_modified.is_some();
    match response.status() {
        StatusCode::OK => {}
        StatusCode::NOT_MODIFIED if conditional => return Ok(Fetched::Unchanged),
        // A redirect is a status like any other: where lists come from is not for the answer to say.
        other => return Err(FetchError::Status(other)),
    }
    let text = |name: HeaderName| {
        let value = response.headers().get(name)?.to_str().ok()?;
        (value.len() <= 256).then(|| value.to_owned())
    };
    if text(CONTENT_ENCODING).is_some_and(|coding| coding != "identity") {
        return Err(FetchError::Encoding);
    }
    let announced: Option<u64> = text(CONTENT_LENGTH).and_then(|length| length.parse().ok());
    if announced.is_some_and(|announced| announced > most) {
        return Err(FetchError::TooLarge(most));
    }
    let validators = Validators {
        etag: text(ETAG),
        last_modified: text(LAST_MODIFIED),
    };
    let mut body = response.into_body();
    let mut got = 0_u64;
    loop {
        let frame = tokio::time::timeout(IDLE, body.frame())
            .await
            .map_err(|_| FetchError::TimedOut)?;
        let frame = match frame {
            None => break,
            Some(Ok(frame)) => frame,
            Some(Err(error)) => {
                return Err(announced.map_or_else(
                    || FetchError::Http(with_sources(&error)),
                    |announced| FetchError::CutShort { got, announced },
                ));
            }
        };
        if let Ok(data) = frame.into_data() {
            got = got.saturating_add(u64::try_from(data.len()).unwrap_or(u64::MAX));
            if got > most {
                return Err(FetchError::TooLarge(most));
            }
            out.take(data).await?;
        }
    }
    Ok(Fetched::New(validators))
}

fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_lies_beside_its_list() {
        let location = Location::parse("https://lists.example:8443/a/c2.txt?key=1").unwrap();
        assert_eq!(location.target(), "/a/c2.txt?key=1");
        assert_eq!(location.signature().target(), "/a/c2.txt.minisig?key=1");
        assert_eq!(&*Location::parse("https://[::1]/").unwrap().host, "::1");
        for bad in ["http://a.example/", "https://u@a.example/", "/x", ""] {
            assert_eq!(Location::parse(bad), Err(FetchError::Url), "{bad}");
        }
    }

    #[test]
    fn only_something_newer_is_asked_for() {
        let location = Location::parse("https://lists.example/c2.txt").unwrap();
        let known = Validators {
            etag: Some("\"x\"".to_owned()),
            last_modified: Some("Mon, 23 Nov 2026 00:00:00 GMT".to_owned()),
        };
        let request = request(&location, &known).unwrap();
        assert_eq!(request.headers()[IF_NONE_MATCH], "\"x\"");
        assert!(!request.headers().contains_key(IF_MODIFIED_SINCE));
    }
}
