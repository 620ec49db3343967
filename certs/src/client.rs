//! TLS client configurations, for connections to upstreams and identity providers.

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::ServerCertVerifier;
use rustls::client::{ResolvesClientCert, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::sign::SingleCertAndKey;
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;

use crate::error::CertError;
use crate::insecure::BelieveAnyServer;
use crate::profile::Profile;
use crate::store::certified_key;

/// Whom to believe that a server is who it says.
#[derive(Debug)]
pub enum Roots<'a> {
    /// The system's CAs, as the caller read them. Single ones that cannot be read are passed over.
    System(Vec<CertificateDer<'static>>),
    /// Exactly the CAs in a PEM text.
    Pem(&'a [u8]),
    /// Anybody. The connection is private from onlookers and open to impostors.
    Insecure,
}

/// The certificate shown to a server that asks for one.
pub struct ClientIdentity<'a> {
    /// PEM, leaf first.
    pub chain_pem: &'a [u8],
    /// PEM.
    pub key_pem: &'a [u8],
}

/// What a client configuration is made of.
#[derive(Debug)]
pub struct ClientOptions<'a> {
    /// Versions, suites, groups, signature algorithms.
    pub profile: Profile,
    /// Offer X25519MLKEM768; ignored by the high profile.
    pub hybrid: bool,
    /// Whom to believe.
    pub roots: Roots<'a>,
    /// Our own certificate.
    pub identity: Option<ClientIdentity<'a>>,
    /// ALPN protocol names, most wanted first.
    pub alpn: &'a [&'a [u8]],
    /// Says what is valid now.
    pub time: Arc<dyn TimeProvider>,
}

/// Makes a configuration with a session memory of its own. No early data: it could be replayed (RFC 8446 §8).
///
/// # Errors
/// When the roots are empty or unreadable, or the identity's chain and key do not pass the checks of
/// `ServerCertificates::load`.
pub fn client_config(options: ClientOptions<'_>) -> Result<Arc<ClientConfig>, CertError> {
    let provider = options.profile.provider(options.hybrid);
    let verifier = verifier(options.roots, &provider, options.profile)?;
    let builder = ClientConfig::builder_with_details(provider, options.time)
        .with_protocol_versions(options.profile.versions())
        .map_err(CertError::Tls)?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match options.identity {
        Some(identity) => {
            let key = certified_key(identity.chain_pem, identity.key_pem, options.profile)?;
            let resolver: Arc<dyn ResolvesClientCert> = Arc::new(SingleCertAndKey::from(key));
            builder.with_client_cert_resolver(resolver)
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = options.alpn.iter().map(|name| name.to_vec()).collect();
    config.enable_early_data = false;
    config.require_ems = true;
    Ok(Arc::new(config))
}

fn verifier(
    roots: Roots<'_>,
    provider: &Arc<CryptoProvider>,
    profile: Profile,
) -> Result<Arc<dyn ServerCertVerifier>, CertError> {
    let mut store = RootCertStore::empty();
    match roots {
        Roots::Insecure => {
            return Ok(Arc::new(BelieveAnyServer {
                algorithms: profile.algorithms(),
            }));
        }
        Roots::System(certificates) => {
            store.add_parsable_certificates(certificates);
        }
        Roots::Pem(pem) => {
            for (position, der) in (1..).zip(crate::pem::certificates(pem)?) {
                store
                    .add(der)
                    .map_err(|_| CertError::Malformed { position })?;
            }
        }
    }
    let built =
        WebPkiServerVerifier::builder_with_provider(Arc::new(store), Arc::clone(provider)).build();
    // The only way to fail without revocation lists is to have no roots.
    built
        .map(|verifier| verifier as Arc<dyn ServerCertVerifier>)
        .map_err(|_| CertError::NoCertificate)
}

impl fmt::Debug for ClientIdentity<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ClientIdentity")
            .finish_non_exhaustive()
    }
}
