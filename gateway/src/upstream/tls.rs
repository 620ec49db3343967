//! TLS towards upstreams: whom we trust, who we are, and the one way to trust anybody, which must be written out.

use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

use secrecy::{ExposeSecret, SecretSlice};

use super::error::UpstreamError;
use crate::config::{UpstreamProtocol, UpstreamTls};

/// Client settings for one group: one for requests, one for upgrades, which need HTTP/1.1.
#[derive(Clone, Debug)]
pub(super) struct TlsSettings {
    pub(super) requests: Arc<ClientConfig>,
    pub(super) upgrades: Arc<ClientConfig>,
}

/// The files a definition names, as they were when it was loaded.
#[derive(Debug, Default)]
pub(super) struct TlsFiles {
    pub(super) authority: Option<Vec<u8>>,
    pub(super) chain: Option<Vec<u8>>,
    pub(super) key: Option<SecretSlice<u8>>,
}

impl TlsFiles {
    pub(super) fn read(tls: &UpstreamTls) -> Result<Self, UpstreamError> {
        let client = tls.client_certificate.as_ref();
        Ok(Self {
            authority: tls.authority.as_deref().map(read).transpose()?,
            chain: client.map(|files| read(&files.chain)).transpose()?,
            key: client
                .map(|files| read(&files.key).map(SecretSlice::from))
                .transpose()?,
        })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, UpstreamError> {
    std::fs::read(path)
        .map_err(|error| UpstreamError::file(path, format!("cannot be read: {error}")))
}

/// Builds the settings. Nothing is fetched; system roots are read from disk.
pub(super) fn settings(
    tls: &UpstreamTls,
    files: &TlsFiles,
    protocol: UpstreamProtocol,
) -> Result<TlsSettings, UpstreamError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| UpstreamError::plain(error.to_string()))?;
    let builder = if tls.insecure {
        builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyCertificate::new(&provider)))
    } else {
        builder.with_root_certificates(roots(tls, files)?)
    };
    let mut config = match (&tls.client_certificate, &files.chain, &files.key) {
        (Some(paths), Some(chain), Some(key)) => {
            let chain = certificates(&paths.chain, chain)?;
            let key = PrivateKeyDer::from_pem_slice(key.expose_secret())
                .map_err(|_| UpstreamError::file(&paths.key, "holds no private key in PEM"))?;
            builder.with_client_auth_cert(chain, key).map_err(|_| {
                UpstreamError::file(&paths.key, "does not belong to the client certificate")
            })?
        }
        _ => builder.with_no_client_auth(),
    };
    let http1 = b"http/1.1".to_vec();
    config.alpn_protocols = match protocol {
        UpstreamProtocol::Auto => vec![b"h2".to_vec(), http1.clone()],
        UpstreamProtocol::Http1 => vec![http1.clone()],
        UpstreamProtocol::Http2 => vec![b"h2".to_vec()],
    };
    let mut upgrades = config.clone();
    if protocol != UpstreamProtocol::Http2 {
        upgrades.alpn_protocols = vec![http1];
    }
    Ok(TlsSettings {
        requests: Arc::new(config),
        upgrades: Arc::new(upgrades),
    })
}

fn roots(tls: &UpstreamTls, files: &TlsFiles) -> Result<RootCertStore, UpstreamError> {
    let mut roots = RootCertStore::empty();
    if let (Some(path), Some(pem)) = (&tls.authority, &files.authority) {
        for certificate in certificates(path, pem)? {
            roots
                .add(certificate)
                .map_err(|error| UpstreamError::file(path, format!("holds a bad CA: {error}")))?;
        }
        return Ok(roots);
    }
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "a system root certificate cannot be read");
    }
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        return Err(UpstreamError::plain(
            "this system has no root certificates; name the upstream's CA with `authority`",
        ));
    }
    Ok(roots)
}

fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, UpstreamError> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| UpstreamError::file(path, format!("is not PEM: {error}")))?;
    if found.is_empty() {
        return Err(UpstreamError::file(path, "holds no certificate"));
    }
    Ok(found)
}

/// Whose name the certificate must carry.
pub(super) fn server_name(
    tls: &UpstreamTls,
    host: &str,
) -> Result<ServerName<'static>, UpstreamError> {
    let name = tls.server_name.as_deref().unwrap_or(host);
    let bare = name
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(name);
    ServerName::try_from(bare.to_owned())
        .map_err(|_| UpstreamError::plain(format!("`{name}` is not a server name")))
}

/// `insecure = true`: any certificate, but the handshake must still be signed with its key.
#[derive(Debug)]
struct AnyCertificate {
    algorithms: WebPkiSupportedAlgorithms,
}

impl AnyCertificate {
    fn new(provider: &CryptoProvider) -> Self {
        Self {
            algorithms: provider.signature_verification_algorithms,
        }
    }
}

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
