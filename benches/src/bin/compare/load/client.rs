//! TLS clients: one suite, one group, the device's certificate.

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider, kx_group};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{Group, Specification};
use crate::failure::{Doing as _, Failure};
use crate::fixture::HOST;

/// Everything needed to connect.
pub(crate) struct Session {
    pub(crate) target: SocketAddr,
    pub(crate) token: String,
    specification: Specification,
    config: Arc<ClientConfig>,
}

impl Session {
    pub(crate) fn new(specification: &Specification) -> Result<Self, Failure> {
        let config = configuration(specification, true, Resumption::disabled())?;
        Ok(Self {
            target: specification.target,
            token: fs::read_to_string(specification.directory.join("token"))?,
            specification: specification.clone(),
            config: Arc::new(config),
        })
    }

    /// Never resumes.
    pub(crate) fn config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.config)
    }

    /// With a memory of its own for tickets.
    pub(crate) fn resuming(&self) -> Result<Arc<ClientConfig>, Failure> {
        let resumption = Resumption::in_memory_sessions(8);
        Ok(Arc::new(configuration(
            &self.specification,
            true,
            resumption,
        )?))
    }

    pub(crate) fn without_certificate(&self) -> Result<Arc<ClientConfig>, Failure> {
        Ok(Arc::new(configuration(
            &self.specification,
            false,
            Resumption::disabled(),
        )?))
    }

    /// Offers only h2.
    pub(crate) fn http2(&self) -> Arc<ClientConfig> {
        let mut config = ClientConfig::clone(&self.config);
        config.alpn_protocols = vec![b"h2".to_vec()];
        Arc::new(config)
    }

    /// Connects with `config`.
    pub(crate) async fn connect(
        &self,
        config: Arc<ClientConfig>,
    ) -> Result<TlsStream<TcpStream>, Failure> {
        let stream = TcpStream::connect(self.target).await.doing("connect")?;
        stream.set_nodelay(true)?;
        TlsConnector::from(config)
            .connect(server_name()?, stream)
            .await
            .doing("handshake")
    }
}

pub(crate) fn server_name() -> Result<ServerName<'static>, Failure> {
    Ok(ServerName::try_from(HOST)?)
}

fn configuration(
    specification: &Specification,
    with_certificate: bool,
    resumption: Resumption,
) -> Result<ClientConfig, Failure> {
    let path = |name: &str| specification.directory.join(name);
    let mut provider = default_provider();
    provider.cipher_suites = vec![cipher_suite::TLS13_AES_128_GCM_SHA256];
    provider.kx_groups = vec![match specification.group {
        Group::X25519 => kx_group::X25519,
        Group::X25519MlKem768 => kx_group::X25519MLKEM768,
    }];
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(path("ca.pem"))?)?;
    let builder = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots);
    let mut config = if with_certificate {
        let chain = vec![CertificateDer::from_pem_file(path("device.pem"))?];
        builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(path("device.key"))?)?
    } else {
        builder.with_no_client_auth()
    };
    config.resumption = resumption;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
