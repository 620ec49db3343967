//! The demo's own Internet: a few sites on loopback that the proxy can reach by name, with real TLS from the demo's
//! authority. They say which of them answered, and nothing else.

use std::sync::Arc;
use std::time::Duration;

use http::header::{CONTENT_TYPE, HOST};
use http::{HeaderValue, Request, Response, Version};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use masugata_certs::Issued;
use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::DemoError;

/// A site, and what the tour says of it.
pub(super) struct Site {
    pub(super) name: &'static str,
    pub(super) host: &'static str,
    pub(super) url: &'static str,
    pub(super) what: &'static str,
}

pub(super) const SITES: [Site; 6] = [
    Site {
        name: "approved",
        host: "crm.cloud.test",
        url: "https://crm.cloud.test/",
        what: "A cloud service that the company has approved: 200",
    },
    Site {
        name: "unapproved",
        host: "files.unapproved.test",
        url: "https://files.unapproved.test/",
        what: "One that it has not: 403 no-permit",
    },
    Site {
        name: "threat",
        host: "c2.threat.test",
        url: "https://c2.threat.test/",
        what: "One on a list of threats: 403 forbidden, and an alert in the record",
    },
    Site {
        name: "reason",
        host: "share.files.test",
        url: "https://share.files.test/",
        what: "One that shares files: 403 reason-needed, until the page below is told what for",
    },
    Site {
        name: "private",
        host: "rebind.cloud.test",
        url: "https://rebind.cloud.test/",
        what: "One whose name leads into a private network: 403 destination-prohibited",
    },
    Site {
        name: "plain",
        host: "plain.cloud.test",
        url: "http://plain.cloud.test/",
        what: "One without TLS: 200",
    },
];

/// See the module's first lines.
pub(super) struct Internet(TlsAcceptor);

impl Internet {
    pub(super) fn open(certificate: &Issued) -> Result<Self, DemoError> {
        let unreadable = |_error| rustls::Error::General("a certificate of our own".into());
        let chain = CertificateDer::pem_slice_iter(certificate.certificate_pem.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .map_err(unreadable)?;
        let key = PrivateKeyDer::from_pem_slice(certificate.key.expose_pem().as_bytes())
            .map_err(unreadable)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self(Arc::new(config).into()))
    }

    /// Serves until `stop`.
    pub(super) async fn serve(self, tls: TcpListener, plain: TcpListener, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                accepted = tls.accept() => match accepted {
                    Ok((stream, _peer)) => {
                        let acceptor = self.0.clone();
                        until(stop.clone(), async move {
                            if let Ok(stream) = acceptor.accept(stream).await {
                                speak(stream).await;
                            }
                        });
                    }
                    Err(_error) => tokio::time::sleep(Duration::from_millis(50)).await,
                },
                accepted = plain.accept() => match accepted {
                    Ok((stream, _peer)) => until(stop.clone(), speak(stream)),
                    Err(_error) => tokio::time::sleep(Duration::from_millis(50)).await,
                },
            }
        }
    }
}

fn until(stop: CancellationToken, serving: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(async move {
        tokio::select! {
            () = serving => {}
            () = stop.cancelled() => {}
        }
    });
}

async fn speak(stream: impl AsyncRead + AsyncWrite + Unpin) {
    // Whoever leaves early leaves: there is nobody to tell.
    let _ = http1::Builder::new()
        .serve_connection(
            TokioIo::new(stream),
            service_fn(async |request| Ok::<_, std::convert::Infallible>(answer(&request))),
        )
        .await;
}

fn answer(request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let host = request
        .headers()
        .get(HOST)
        .and_then(|host| host.to_str().ok())
        .unwrap_or("?");
    let version = match request.version() {
        Version::HTTP_10 => "1.0",
        _ => "1.1",
    };
    let text = format!(
        "This is {host}, as far as the demo's Internet goes. It was asked for {} over HTTP/{version}.\n",
        request.uri().path()
    );
    let mut response = Response::new(Full::new(text.into()));
    response.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
}
