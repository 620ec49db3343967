//! One accepted client connection: who is on the other side, and what TLS agreed on.

use std::net::SocketAddr;
use std::sync::atomic::AtomicU64;

pub use masugata_certs::{IdentityError, Peer, VerifiedPeer};

use crate::config::ClientCertificateMode;

/// Which way somebody came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Door {
    /// The reverse proxy in front of apps.
    Ingress,
    /// The forward proxy to the Internet.
    Egress,
}

/// Facts that hold for as long as the connection does; shared by all its requests.
#[derive(Debug)]
pub struct Connection {
    /// Counts up from 1 since start; joins records of one connection.
    pub id: u64,
    pub door: Door,
    /// The client, after the `PROXY` protocol where that is spoken.
    pub remote: SocketAddr,
    /// Our own side.
    pub local: SocketAddr,
    /// The device, if it proved itself.
    pub peer: Peer,
    /// Why a certificate that verified names no single device; such a connection has no device.
    pub identity_problem: Option<IdentityError>,
    /// What TLS negotiated.
    pub tls: TlsFacts,
    /// Which set of device CAs last vouched for the peer; others are asked when they come into force.
    pub vouched: AtomicU64,
}

/// What TLS negotiated, in words ready for records.
#[derive(Debug)]
pub struct TlsFacts {
    /// Lower case, without a trailing dot; `None` when the client sent no server name.
    pub server_name: Option<Box<str>>,
    /// What the handshake asked of the client, which is what hosts served here may rely on.
    pub client_certificate: ClientCertificateMode,
    /// `TLSv1.3` or `TLSv1.2`.
    pub version: &'static str,
    /// IANA name, e.g. `TLS_AES_128_GCM_SHA256`.
    pub suite: &'static str,
    /// IANA name, e.g. `X25519MLKEM768`; empty when resumed without one.
    pub group: &'static str,
    /// The session was resumed from a ticket.
    pub resumed: bool,
    pub protocol: Protocol,
}

/// What ALPN chose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Http1,
    Http2,
}

impl Connection {
    /// The verified device certificate, if there is one.
    pub fn device(&self) -> Option<&VerifiedPeer> {
        match &self.peer {
            Peer::Verified(peer) => Some(peer),
            Peer::Anonymous => None,
        }
    }
}
