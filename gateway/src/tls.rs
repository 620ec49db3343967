//! From a socket to a [`Connection`]: the server name chooses certificate and client-certificate mode, the handshake
//! proves both sides (measure H-3), and what was proved is read once.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use masugata_certs::{ClientAuth, DeviceAuthorities, ServerCertificates, ServerOptions};
use rustls::ServerConfig;
use rustls::server::Acceptor;
use tokio::net::TcpStream;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use crate::config::ClientCertificateMode;
use crate::connection::{Connection, Protocol, TlsFacts};
use crate::gateway::Shared;
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
    pub(crate) fn build(
        options: &dyn Fn(ClientAuth) -> ServerOptions,
        authorities: &Arc<DeviceAuthorities>,
    ) -> Result<Self, masugata_certs::CertError> {
        Ok(Self {
            required: masugata_certs::server_config(options(ClientAuth::Required(Arc::clone(authorities))))?,
            optional: masugata_certs::server_config(options(ClientAuth::Optional(Arc::clone(authorities))))?,
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

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandshakeError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("the client certificate names no single device: {0}")]
    Identity(#[from] masugata_certs::IdentityError),
}

pub(crate) async fn accept(
    shared: &Shared,
    state: &State,
    stream: TcpStream,
    remote: SocketAddr,
    local: SocketAddr,
) -> Result<(Stream, Connection), HandshakeError> {
    let start = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
    let server_name: Option<Box<str>> =
        start.client_hello().server_name().map(|name| name.trim_end_matches('.').to_ascii_lowercase().into());
    let mode = state.host_modes.mode(server_name.as_deref());
    let stream = start.into_stream(state.tls.of(mode)).await?;
    let (_, session) = stream.get_ref();
    let peer = masugata_certs::peer_of(session)?;
    let tls = facts(session, server_name, mode);
    let connection = Connection { id: shared.next_connection_id(), remote, local, peer, tls };
    Ok((stream, connection))
}

fn facts(
    session: &rustls::ServerConnection,
    server_name: Option<Box<str>>,
    client_certificate: ClientCertificateMode,
) -> TlsFacts {
    let version = match session.protocol_version() {
        Some(rustls::ProtocolVersion::TLSv1_3) => "TLSv1.3",
        Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2",
        Some(_) | None => "unknown",
    };
    TlsFacts {
        server_name,
        client_certificate,
        version,
        suite: session.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str()).unwrap_or(""),
        group: session.negotiated_key_exchange_group().and_then(|group| group.name().as_str()).unwrap_or(""),
        resumed: session.handshake_kind() == Some(rustls::HandshakeKind::Resumed),
        protocol: if session.alpn_protocol() == Some(b"h2") { Protocol::Http2 } else { Protocol::Http1 },
    }
}

/// What `State::build` needs to make the configurations.
pub(crate) struct Material {
    pub(crate) certificates: Arc<ServerCertificates>,
    pub(crate) authorities: Arc<DeviceAuthorities>,
}
