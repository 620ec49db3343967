//! From a socket to a [`Connection`]: the server name chooses certificate and client-certificate mode, the handshake
//! proves both sides (measure H-3), and what was proved is read once.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use masugata_certs::{CertError, ClientAuth, DeviceAuthorities, Peer, ServerOptions};
use rustls::ServerConfig;
use rustls::server::Acceptor;
use rustls_pki_types::UnixTime;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use crate::config::ClientCertificateMode;
use crate::connection::{Connection, Protocol, TlsFacts};
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
}

impl TlsConfigs {
    pub(crate) fn build<'a>(
        options: impl Fn(ClientAuth) -> ServerOptions<'a>,
        authorities: &Arc<DeviceAuthorities>,
    ) -> Result<Self, CertError> {
        Ok(Self {
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
/// Whatever the handshake or the client said; nothing can be asked on such a connection.
pub(crate) async fn accept(
    shared: &Shared,
    state: &State,
    stream: TcpStream,
    remote: SocketAddr,
    local: SocketAddr,
) -> io::Result<(Stream, Connection)> {
    let start = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
    let hello = start.client_hello();
    let server_name: Option<Box<str>> = hello
        .server_name()
        .map(|name| name.trim_end_matches('.').to_ascii_lowercase().into());
    let mode = state.host_modes.mode(server_name.as_deref());
    let accepting = start.into_stream(state.tls.of(mode));
    let stream = match accepting.into_fallible().await {
        Ok(stream) => stream,
        Err((error, stream)) => {
            let_go(stream).await;
            return Err(error);
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
            door: crate::connection::Door::Ingress,
            remote,
            local,
            peer,
            identity_problem,
            tls,
            vouched: AtomicU64::new(state.trust),
        },
    ))
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
pub(crate) fn cause(error: &io::Error) -> HandshakeFailure {
    use rustls::{AlertDescription, Error};
    let tls = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<Error>());
    match tls {
        Some(Error::NoCertificatesPresented) => HandshakeFailure::CertificateMissing,
        Some(Error::InvalidCertificate(_)) => HandshakeFailure::CertificateRefused,
        // Rustls says `General` when no certificate has the name that was asked for, or none fits the client's suites.
        Some(Error::PeerIncompatible(_) | Error::General(_)) => HandshakeFailure::NothingInCommon,
        Some(Error::AlertReceived(
            AlertDescription::CloseNotify | AlertDescription::UserCanceled,
        )) => HandshakeFailure::ClientGone,
        Some(Error::AlertReceived(_)) => HandshakeFailure::RefusedByClient,
        Some(_) => HandshakeFailure::Malformed,
        None => HandshakeFailure::ClientGone,
    }
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
