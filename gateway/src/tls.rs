//! From a socket to a [`Connection`]: the server name chooses certificate and client-certificate mode, the handshake
//! proves both sides (measure H-3), and what was proved is read once.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use masugata_certs::{
    CertError, ClientAuth, DeviceAuthorities, Peer, ServerCertificates, ServerOptions,
};
use rustls::ServerConfig;
use rustls::server::Acceptor;
use rustls_pki_types::{CertificateDer, UnixTime};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use crate::audit::handshakes::Refusal;
use crate::config::ClientCertificateMode;
use crate::connection::{Connection, Door, Protocol, TlsFacts};
use crate::gateway::Shared;
use crate::metrics::HandshakeFailure;
use crate::state::State;

/// A connection after its handshake.
pub(crate) type Stream = TlsStream<TcpStream>;

/// One TLS configuration per client-certificate mode. Each has a ticket key of its own, made anew with every state, so
/// that no session outlives the trust it was made under or is resumed where more is asked.
#[derive(Debug)]
pub(crate) struct TlsConfigs {
    required: Arc<ServerConfig>,
    optional: Arc<ServerConfig>,
    off: Arc<ServerConfig>,
    certificates: Arc<ServerCertificates>,
}

impl TlsConfigs {
    pub(crate) fn build<'a>(
        options: impl Fn(ClientAuth) -> ServerOptions<'a>,
        authorities: &Arc<DeviceAuthorities>,
        certificates: Arc<ServerCertificates>,
    ) -> Result<Self, CertError> {
        Ok(Self {
            certificates,
            required: masugata_certs::server_config(options(ClientAuth::Required(Arc::clone(
                authorities,
            ))))?,
            optional: masugata_certs::server_config(options(ClientAuth::Optional(Arc::clone(
                authorities,
            ))))?,
            off: masugata_certs::server_config(options(ClientAuth::Off))?,
        })
    }

    fn of(&self, mode: ClientCertificateMode) -> Arc<ServerConfig> {
        Arc::clone(match mode {
            ClientCertificateMode::Required => &self.required,
            ClientCertificateMode::Optional => &self.optional,
            ClientCertificateMode::Off => &self.off,
        })
    }
}

/// Application protocols, in order of preference.
pub(crate) const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Both sides proved; what comes next is HTTP.
///
/// # Errors
/// Why nothing can be asked on such a connection.
pub(crate) async fn accept(
    shared: &Shared,
    state: &State,
    door: Door,
    stream: TcpStream,
    remote: SocketAddr,
    local: SocketAddr,
) -> Result<(Stream, Connection), Box<Refused>> {
    let refused = |error, server_name, certificate| {
        Box::new(Refused {
            failure: cause(&error),
            error,
            remote,
            local,
            server_name,
            certificate,
        })
    };
    let start = LazyConfigAcceptor::new(Acceptor::default(), stream)
        .await
        .map_err(|error| refused(error, None, None))?;
    let hello = start.client_hello();
    let server_name: Option<Box<str>> = hello
        .server_name()
        .map(|name| name.trim_end_matches('.').to_ascii_lowercase().into());
    if !state.tls.certificates.answers(server_name.as_deref()) {
        let nobody = NobodyHere {
            asked: server_name.is_some(),
        };
        let mut stream = start.io;
        let _gone = stream.write_all(&nobody.alert()).await;
        let_go(stream).await;
        return Err(refused(io::Error::other(nobody), server_name, None));
    }
    let mode = state.client_certificates(door, server_name.as_deref());
    let mut accepting = start.into_stream(state.tls.of(mode)).into_fallible();
    let mut certificate = None;
    let accepted = poll_fn(|cx| {
        let polled = Pin::new(&mut accepting).poll(cx);
        // Left by the verifier within this poll.
        certificate = masugata_certs::take_refused().or(certificate.take());
        polled
    });
    let stream = match accepted.await {
        Ok(stream) => stream,
        Err((error, stream)) => {
            let_go(stream).await;
            return Err(refused(error, server_name, certificate));
        }
    };
    let (_, session) = stream.get_ref();
    let now = UnixTime::since_unix_epoch(Duration::from_secs(
        u64::try_from(shared.clock.now().as_seconds()).unwrap_or(0),
    ));
    // A certificate that verified and still names no single device: the client is told so, by a refusal.
    let (peer, identity_problem) = match masugata_certs::peer_of(session, now) {
        Ok(peer) => (peer, None),
        Err(error) => (Peer::Anonymous, Some(error)),
    };
    let tls = facts(session, server_name, mode);
    let id = shared.next_connection_id();
    Ok((
        stream,
        Connection {
            id,
            door,
            remote,
            local,
            peer,
            identity_problem,
            tls,
            vouched: AtomicU64::new(state.trust),
        },
    ))
}

/// A handshake that came to nothing.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) error: io::Error,
    pub(crate) failure: HandshakeFailure,
    remote: SocketAddr,
    local: SocketAddr,
    server_name: Option<Box<str>>,
    /// The client's, where it was refused for that; proves nothing.
    certificate: Option<CertificateDer<'static>>,
}

impl Refused {
    /// Puts on record what we refused; a client that left, or that refuses us, was not refused.
    pub(crate) fn record(&self, shared: &Shared, generation: u64) {
        if let Some(cause) = self.word() {
            let refusal = Refusal {
                at: shared.clock.now(),
                generation,
                client: self.remote,
                local: self.local,
                cause,
                server_name: self.server_name.as_deref(),
                certificate: self.certificate.as_ref(),
            };
            shared.strangers.refused(&shared.auditor, refusal);
        }
    }

    fn word(&self) -> Option<&'static str> {
        match self.failure {
            HandshakeFailure::CertificateRefused => match tls_error(&self.error) {
                Some(rustls::Error::InvalidCertificate(error)) => {
                    Some(masugata_certs::refusal_word(error))
                }
                Some(_) | None => Some(self.failure.as_str()),
            },
            HandshakeFailure::CertificateMissing
            | HandshakeFailure::NameUnknown
            | HandshakeFailure::NothingInCommon
            | HandshakeFailure::Malformed => Some(self.failure.as_str()),
            HandshakeFailure::TimedOut
            | HandshakeFailure::ClientGone
            | HandshakeFailure::RefusedByClient => None,
        }
    }
}

/// No certificate of ours is for the client.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("no certificate for the server name, or for none")]
struct NobodyHere {
    asked: bool,
}

impl NobodyHere {
    /// rustls would say `access_denied`. RFC 6066 §3 wants `unrecognized_name` (112), RFC 8446 §9.2 `missing_extension`
    /// (109) where there is no name. Nothing is encrypted before our first message, so the record is plain: alert, version
    /// as in TLS 1.2, two bytes, fatal.
    fn alert(self) -> [u8; 7] {
        let description = if self.asked { 112 } else { 109 };
        [21, 3, 3, 0, 2, 2, description]
    }
}

/// How long, and for how many kilobytes, a refused client is listened to.
const LINGER: (Duration, u32) = (Duration::from_secs(1), 64);

/// Ends a connection so that the client can read why. In TLS 1.3 it has sent its first request by the time we refuse its
/// certificate; closing with that unread would send a reset, and many clients then show no reason but "connection lost".
async fn let_go(mut stream: TcpStream) {
    let _ = stream.shutdown().await;
    let (patience, kilobytes) = LINGER;
    let drain = async {
        let mut rest = [0; 1024];
        for _ in 0..kilobytes {
            if !matches!(stream.read(&mut rest).await, Ok(1..)) {
                return;
            }
        }
    };
    let _ = tokio::time::timeout(patience, drain).await;
}

/// Why a handshake failed, as metrics tell it.
fn cause(error: &io::Error) -> HandshakeFailure {
    use rustls::{AlertDescription, Error};
    let nobody = error
        .get_ref()
        .is_some_and(|inner| inner.is::<NobodyHere>());
    if nobody {
        return HandshakeFailure::NameUnknown;
    }
    match tls_error(error) {
        Some(Error::NoCertificatesPresented) => HandshakeFailure::CertificateMissing,
        Some(Error::InvalidCertificate(_)) => HandshakeFailure::CertificateRefused,
        // Rustls says `General` when no certificate fits the client's suites.
        Some(Error::PeerIncompatible(_) | Error::General(_)) => HandshakeFailure::NothingInCommon,
        Some(Error::AlertReceived(
            AlertDescription::CloseNotify | AlertDescription::UserCanceled,
        )) => HandshakeFailure::ClientGone,
        Some(Error::AlertReceived(_)) => HandshakeFailure::RefusedByClient,
        Some(_) => HandshakeFailure::Malformed,
        None => HandshakeFailure::ClientGone,
    }
}

fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>())
}

fn facts(
    session: &rustls::ServerConnection,
    server_name: Option<Box<str>>,
    client_certificate: ClientCertificateMode,
) -> TlsFacts {
    let suite = session.negotiated_cipher_suite();
    let group = session.negotiated_key_exchange_group();
    TlsFacts {
        server_name,
        client_certificate,
        version: session
            .protocol_version()
            .map_or("", masugata_certs::version_name),
        suite: suite.map_or("", |suite| masugata_certs::suite_name(suite.suite())),
        group: group.map_or("", |group| masugata_certs::group_name(group.name())),
        resumed: session.handshake_kind() == Some(rustls::HandshakeKind::Resumed),
        protocol: if session.alpn_protocol() == Some(b"h2") {
            Protocol::Http2
        } else {
            Protocol::Http1
        },
    }
}
