//! TLS server configurations. One for each way of asking for device certificates; hosts are told apart by server name.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::NoServerSessionStorage;
use rustls::time_provider::TimeProvider;

use crate::bundle::DeviceAuthorities;
use crate::error::CertError;
use crate::profile::Profile;
use crate::store::ServerCertificates;
use crate::tickets::Tickets;
use crate::verify::DeviceVerifier;

/// Whether a handshake asks for a device certificate.
#[derive(Clone, Debug)]
pub enum ClientAuth {
    /// Not asked for.
    Off,
    /// Asked for; a client without one gets through as `Peer::Anonymous`, a client with a bad one does not.
    Optional(Arc<DeviceAuthorities>),
    /// Without a good one there is no connection.
    Required(Arc<DeviceAuthorities>),
}

/// What a server configuration is made of.
#[derive(Debug)]
pub struct ServerOptions<'a> {
    /// Versions, suites, groups, signature algorithms.
    pub profile: Profile,
    /// Offer X25519MLKEM768; ignored by the high profile.
    pub hybrid: bool,
    /// Chosen by server name.
    pub certificates: Arc<ServerCertificates>,
    /// Device certificates.
    pub client_auth: ClientAuth,
    /// ALPN protocol names, most wanted first.
    pub alpn: &'a [&'a [u8]],
    /// Says what is valid now.
    pub time: Arc<dyn TimeProvider>,
}

/// Makes a configuration with ticket keys of its own: no session begun under any other, earlier or beside it, is
/// resumed. So call it anew whenever trust changes, and share the result among connections of one mode only.
///
/// No early data, no session cache, one ticket for each TLS 1.3 handshake, and the server's order of suites.
///
/// # Errors
/// `CertError::Tls` when the clock has no time or there is no randomness.
pub fn server_config(options: ServerOptions<'_>) -> Result<Arc<ServerConfig>, CertError> {
    let tickets = Tickets::new(Arc::clone(&options.time))
        .ok_or(CertError::Tls(rustls::Error::FailedToGetCurrentTime))?;
    let builder =
        ServerConfig::builder_with_details(options.profile.provider(options.hybrid), options.time)
            .with_protocol_versions(options.profile.versions())
            .map_err(CertError::Tls)?;
    let builder = match options.client_auth {
        ClientAuth::Off => builder.with_no_client_auth(),
        ClientAuth::Optional(authorities) => {
            builder.with_client_cert_verifier(Arc::new(DeviceVerifier::new(authorities, false)))
        }
        ClientAuth::Required(authorities) => {
            builder.with_client_cert_verifier(Arc::new(DeviceVerifier::new(authorities, true)))
        }
    };
    let mut config = builder.with_cert_resolver(options.certificates);
    config.alpn_protocols = options.alpn.iter().map(|name| name.to_vec()).collect();
    config.ignore_client_order = true;
    // Tickets are stateless, so that memory does not grow with clients.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = Arc::new(tickets);
    config.send_tls13_tickets = 1;
    config.max_early_data_size = 0;
    // Without it a certificate shown in one TLS 1.2 session could be replayed into another (RFC 7627 §1).
    config.require_ems = true;
    Ok(Arc::new(config))
}
