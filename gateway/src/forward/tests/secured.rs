//! TLS to upstreams: who is believed, who is not, and what is shown to them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use http::Response;
use http::uri::Scheme;
use http_body_util::Full;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::PrivatePkcs8KeyDer;
use tempfile::TempDir;
use tokio_rustls::TlsAcceptor;

use super::super::AppForward;
use super::world::*;
use crate::config::{CertificateFiles, Upstream, UpstreamProtocol};

/// A CA and what it has issued, as files.
struct Authority {
    dir: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { dir, issuer }
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    fn issue(&self, name: &str, usage: ExtendedKeyUsagePurpose) -> (rcgen::Certificate, KeyPair) {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }

    fn client_files(&self) -> CertificateFiles {
        let (certificate, key) = self.issue("gateway", ExtendedKeyUsagePurpose::ClientAuth);
        let chain = self.dir.path().join("client.pem");
        let key_file = self.dir.path().join("client.key");
        std::fs::write(&chain, certificate.pem()).unwrap();
        std::fs::write(&key_file, key.serialize_pem()).unwrap();
        CertificateFiles {
            chain,
            key: key_file,
        }
    }
}

/// An HTTPS server for `name`, over HTTP/1.1 or HTTP/2 by ALPN; says which. With `clients` it wants a certificate.
async fn https(authority: &Authority, name: &str, alpn: &[&[u8]], clients: bool) -> SocketAddr {
    let (certificate, key) = authority.issue(name, ExtendedKeyUsagePurpose::ServerAuth);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = if clients {
        let mut roots = RootCertStore::empty();
        roots.add(authority.issuer.der().clone()).unwrap();
        builder.with_client_cert_verifier(
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .build()
                .unwrap(),
        )
    } else {
        builder.with_no_client_auth()
    };
    let mut config = builder
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        )
        .unwrap();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    raw(move |_, stream| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(stream) = acceptor.accept(stream).await else {
                return;
            };
            let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            let service = hyper::service::service_fn(move |_| async move {
                let said = if http2 { "over h2" } else { "over h1" };
                Ok::<_, std::convert::Infallible>(Response::new(Full::new(Bytes::from(said))))
            });
            let io = TokioIo::new(stream);
            if http2 {
                let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                    .serve_connection(io, service)
                    .await;
            } else {
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(io, service)
                    .await;
            }
        }
    })
    .await
}

fn encrypted(address: SocketAddr, host: &str, authority: Option<PathBuf>) -> Upstream {
    let mut upstream = upstream(&[address]);
    upstream.servers[0].scheme = Scheme::HTTPS;
    upstream.servers[0].authority = format!("{host}:{}", address.port()).parse().unwrap();
    upstream.tls.authority = authority;
    upstream
}

async fn answer_of(upstream: Upstream) -> String {
    let gateway = gateway(&app(upstream)).await;
    get(&gateway, "/").await
}

#[tokio::test]
async fn a_known_authority_and_the_right_name_are_believed() {
    let ca = Authority::new();
    let address = https(&ca, "localhost", &[b"http/1.1"], false).await;
    let answer = answer_of(encrypted(address, "localhost", Some(ca.file()))).await;
    assert!(answer.ends_with("over h1"), "{answer}");
}

#[tokio::test]
async fn http2_is_negotiated_where_both_can_and_nothing_else_is_configured() {
    let ca = Authority::new();
    let address = https(&ca, "localhost", &[b"h2", b"http/1.1"], false).await;
    let auto = encrypted(address, "localhost", Some(ca.file()));
    let http1 = Upstream {
        protocol: UpstreamProtocol::Http1,
        ..auto.clone()
    };
    assert!(answer_of(auto).await.ends_with("over h2"));
    assert!(answer_of(http1).await.ends_with("over h1"));
}

#[tokio::test]
async fn http2_that_is_configured_but_not_offered_is_an_error() {
    let ca = Authority::new();
    let address = https(&ca, "localhost", &[], false).await;
    let answer = answer_of(Upstream {
        protocol: UpstreamProtocol::Http2,
        ..encrypted(address, "localhost", Some(ca.file()))
    })
    .await;
    assert!(answer.contains("upstream-protocol"), "{answer}");
}

#[tokio::test]
async fn a_stranger_s_certificate_is_refused() {
    let ca = Authority::new();
    let stranger = Authority::new();
    let address = https(&stranger, "localhost", &[b"http/1.1"], false).await;
    let answer = answer_of(encrypted(address, "localhost", Some(ca.file()))).await;
    assert!(answer.starts_with("HTTP/1.1 502"), "{answer}");
    assert!(answer.contains("x-code: upstream-certificate"), "{answer}");
}

#[tokio::test]
async fn another_name_is_refused_unless_it_is_the_one_configured() {
    let ca = Authority::new();
    let address = https(&ca, "inner.example", &[b"http/1.1"], false).await;
    let mut upstream = encrypted(address, "localhost", Some(ca.file()));
    let answer = answer_of(upstream.clone()).await;
    assert!(answer.contains("upstream-certificate"), "{answer}");
    upstream.tls.server_name = Some("inner.example".to_owned());
    assert!(answer_of(upstream).await.ends_with("over h1"));
}

#[tokio::test]
async fn the_system_roots_do_not_know_a_private_authority() {
    let ca = Authority::new();
    let address = https(&ca, "localhost", &[b"http/1.1"], false).await;
    let gateway_app = app(encrypted(address, "localhost", None));
    let crate::config::Backend::Proxy(upstream) = &gateway_app.backend else {
        panic!()
    };
    // A machine without any roots says so at load instead.
    if AppForward::build(&gateway_app, upstream, &instance(), None).is_ok() {
        let gateway = gateway(&gateway_app).await;
        let answer = get(&gateway, "/").await;
        assert!(answer.contains("upstream-certificate"), "{answer}");
    }
}

#[tokio::test]
async fn only_what_is_written_out_as_insecure_is_not_checked() {
    let stranger = Authority::new();
    let address = https(&stranger, "whoever", &[b"http/1.1"], false).await;
    let mut upstream = encrypted(address, "localhost", None);
    upstream.tls.insecure = true;
    assert!(answer_of(upstream).await.ends_with("over h1"));
}

#[tokio::test]
async fn a_client_certificate_is_shown_to_an_upstream_that_asks() {
    let ca = Authority::new();
    let address = https(&ca, "localhost", &[b"http/1.1"], true).await;
    let mut upstream = encrypted(address, "localhost", Some(ca.file()));
    let without = answer_of(upstream.clone()).await;
    assert!(without.starts_with("HTTP/1.1 502"), "{without}");
    upstream.tls.client_certificate = Some(ca.client_files());
    assert!(answer_of(upstream).await.ends_with("over h1"));
}

#[tokio::test]
async fn a_file_that_is_missing_or_wrong_is_named_at_load() {
    let ca = Authority::new();
    let address = "127.0.0.1:1".parse().unwrap();
    let missing = ca.dir.path().join("missing.pem");
    let wrong = ca.dir.path().join("wrong.pem");
    std::fs::write(&wrong, "not a certificate").unwrap();
    for (file, message) in [(missing, "cannot be read"), (wrong, "no certificate found")] {
        let configured = app(encrypted(address, "localhost", Some(file.clone())));
        let crate::config::Backend::Proxy(upstream) = &configured.backend else {
            panic!()
        };
        let error = AppForward::build(&configured, upstream, &instance(), None).unwrap_err();
        assert_eq!(error.path, Some(file));
        assert!(error.message.contains(message), "{}", error.message);
    }
}

#[tokio::test]
async fn a_changed_file_makes_a_new_group() {
    let ca = Authority::new();
    let configured = app(encrypted(
        "127.0.0.1:1".parse().unwrap(),
        "localhost",
        Some(ca.file()),
    ));
    let crate::config::Backend::Proxy(upstream) = &configured.backend else {
        panic!()
    };
    let first = AppForward::build(&configured, upstream, &instance(), None).unwrap();
    let same = AppForward::build(&configured, upstream, &instance(), Some(first.group())).unwrap();
    assert!(Arc::ptr_eq(first.group(), same.group()));
    std::fs::write(ca.file(), Authority::new().issuer.pem()).unwrap();
    let changed =
        AppForward::build(&configured, upstream, &instance(), Some(first.group())).unwrap();
    assert!(!Arc::ptr_eq(first.group(), changed.group()));
}
