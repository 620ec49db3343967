//! TLS towards upstreams: whom we trust, and who we are. How it is verified lives in `masugata_certs`.

use std::path::Path;
use std::sync::Arc;

use masugata_certs::{CertError, ClientIdentity, ClientOptions, Profile, Roots};
use rustls::ClientConfig;
use rustls::time_provider::TimeProvider;
use rustls_pki_types::ServerName;
use secrecy::{ExposeSecret, SecretSlice};

use super::error::UpstreamError;
use crate::config::{UpstreamProtocol, UpstreamTls};

/// What every TLS connection to an upstream keeps to: the same profile as our own door, and our own clock.
#[derive(Clone, Debug)]
pub struct TlsTerms {
    pub profile: Profile,
    /// Offer X25519MLKEM768.
    pub hybrid: bool,
    pub time: Arc<dyn TimeProvider>,
}

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
    terms: &TlsTerms,
) -> Result<TlsSettings, UpstreamError> {
    let requests: &[&[u8]] = match protocol {
        UpstreamProtocol::Auto => &[b"h2", b"http/1.1"],
        UpstreamProtocol::Http1 => &[b"http/1.1"],
        UpstreamProtocol::Http2 => &[b"h2"],
    };
    let upgrades: &[&[u8]] = match protocol {
        UpstreamProtocol::Auto | UpstreamProtocol::Http1 => &[b"http/1.1"],
        UpstreamProtocol::Http2 => &[b"h2"],
    };
    Ok(TlsSettings {
        requests: client_config(tls, files, requests, terms)?,
        upgrades: client_config(tls, files, upgrades, terms)?,
    })
}

fn client_config(
    tls: &UpstreamTls,
    files: &TlsFiles,
    alpn: &[&[u8]],
    terms: &TlsTerms,
) -> Result<Arc<ClientConfig>, UpstreamError> {
    let roots = match &files.authority {
        _ if tls.insecure => Roots::Insecure,
        Some(pem) => Roots::Pem(pem),
        None => system_roots()?,
    };
    let identity = match (&files.chain, &files.key) {
        (Some(chain), Some(key)) => Some(ClientIdentity {
            chain_pem: chain,
            key_pem: key.expose_secret(),
        }),
        _ => None,
    };
    masugata_certs::client_config(ClientOptions {
        profile: terms.profile,
        hybrid: terms.hybrid,
        roots,
        identity,
        alpn,
        time: Arc::clone(&terms.time),
    })
    .map_err(|error| at_fault(tls, files, &error))
}

/// The library does not know files: if the CA file can be read by itself, what is wrong is our own certificate.
fn at_fault(tls: &UpstreamTls, files: &TlsFiles, error: &CertError) -> UpstreamError {
    let readable = |pem: &Vec<u8>| masugata_certs::certificates(pem).is_ok();
    match (&tls.authority, &tls.client_certificate) {
        (Some(path), _) if !files.authority.as_ref().is_some_and(readable) => {
            UpstreamError::file(path, error.to_string())
        }
        (_, Some(pair)) if files.chain.as_ref().is_some_and(readable) => {
            UpstreamError::file(&pair.key, error.to_string())
        }
        (_, Some(pair)) => UpstreamError::file(&pair.chain, error.to_string()),
        (Some(path), None) => UpstreamError::file(path, error.to_string()),
        (None, None) => UpstreamError::plain(error.to_string()),
    }
}

/// The system's CAs.
///
/// # Errors
/// When it has none.
pub(crate) fn system_roots() -> Result<Roots<'static>, UpstreamError> {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "a system root certificate cannot be read");
    }
    if found.certs.is_empty() {
        return Err(UpstreamError::plain(
            "this system has no root certificates; name the upstream's CA with `authority`",
        ));
    }
    Ok(Roots::System(found.certs))
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
