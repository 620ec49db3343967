//! Origins on "the Internet" of a test: local servers with a CA of their own, which remember what came.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use aws_lc_rs::rand;
use masugata_certs::{Authority, Validity};
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// The CA of all origins of one test; gateways and devices know nothing of it.
pub struct Origins {
    authority: Authority,
    now: i64,
}

/// What an origin does with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// Answers each HTTP/1.1 request: 200, and its head as the body.
    Http,
    /// Sends back what it gets.
    Echo,
    /// Reads to the end of the client's side, says how many bytes that were, and ends.
    Count,
    /// Says `hello`, ends its side, and goes on reading.
    Farewell,
    /// Reads and says nothing.
    Silent,
    /// Breaks the connection off after the first byte.
    Reset,
}

/// What came to an origin.
#[derive(Clone, Debug, Default)]
pub struct OriginSeen {
    /// TCP connections.
    pub connections: usize,
    /// Names in ClientHellos, in order; empty for none.
    pub names: Vec<String>,
    /// Everything that clients sent, inside TLS where that is spoken.
    pub bytes: Vec<u8>,
}

impl OriginSeen {
    /// `bytes` as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

/// A running origin; it ends with this value.
pub struct Origin {
    pub address: SocketAddr,
    seen: Arc<Mutex<OriginSeen>>,
    accepting: JoinHandle<()>,
}

impl Origin {
    /// What has come so far.
    pub fn seen(&self) -> OriginSeen {
        self.seen.lock().unwrap().clone()
    }
    pub fn port(&self) -> u16 {
        self.address.port()
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn serial() -> [u8; 16] {
    let mut serial = [0; 16];
    rand::fill(&mut serial).unwrap();
    serial
}

impl Origins {
    /// A CA for origins whose certificates are valid around `now`, in seconds since the epoch.
    pub fn new(now: i64) -> Self {
        let validity = Validity::days(now, 3650);
        let authority = Authority::create("Origins CA", validity, &serial()).unwrap();
        Self { authority, now }
    }

    /// The CA's certificate, in PEM.
    pub fn authority_pem(&self) -> String {
        self.authority.certificate_pem().to_owned()
    }

    /// What clients of these origins believe.
    pub fn roots(&self) -> RootCertStore {
        let pem = self.authority.certificate_pem();
        let mut roots = RootCertStore::empty();
        let root = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
        roots.add(root).unwrap();
        roots
    }

    /// An origin that speaks TLS under these names.
    pub async fn tls(&self, names: &[&str], behaviour: Behaviour) -> Origin {
        start(behaviour, Some(self.acceptor(names, &[b"http/1.1"]))).await
    }

    /// TLS under these names, with these protocols.
    pub(crate) fn acceptor(&self, names: &[&str], alpn: &[&[u8]]) -> TlsAcceptor {
        let mut config = self.server_config(names);
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        TlsAcceptor::from(Arc::new(config))
    }

    /// TLS under these names, for origins of another kind; HTTP/1.1 only.
    pub fn server_config(&self, names: &[&str]) -> ServerConfig {
        let issued = self
            .authority
            .issue_server(names, Validity::days(self.now, 365), &serial())
            .unwrap();
        let chain = CertificateDer::pem_slice_iter(issued.certificate_pem.as_bytes())
            .map(Result::unwrap)
            .collect();
        let key = PrivateKeyDer::from_pem_slice(issued.key.expose_pem().as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config
    }

    /// An origin without TLS.
    pub async fn plain(behaviour: Behaviour) -> Origin {
        start(behaviour, None).await
    }
}

async fn start(behaviour: Behaviour, tls: Option<TlsAcceptor>) -> Origin {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Arc::<Mutex<OriginSeen>>::default();
    let kept = Arc::clone(&seen);
    let accepting = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            seen.lock().unwrap().connections += 1;
            let (seen, tls) = (Arc::clone(&seen), tls.clone());
            tokio::spawn(async move {
                if behaviour == Behaviour::Reset {
                    // Closed with something unread, it is reset.
                    let _ = stream.peek(&mut [0]).await;
                    return;
                }
                let Some(tls) = tls else {
                    return behave(stream, behaviour, &seen).await;
                };
                let Ok(stream) = tls.accept(stream).await else {
                    return;
                };
                let name = stream.get_ref().1.server_name().unwrap_or_default();
                seen.lock().unwrap().names.push(name.to_owned());
                behave(stream, behaviour, &seen).await;
            });
        }
    });
    Origin {
        address,
        seen: kept,
        accepting,
    }
}

async fn behave<S>(mut stream: S, behaviour: Behaviour, seen: &Mutex<OriginSeen>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    if behaviour == Behaviour::Farewell {
        let _ = stream.write_all(b"hello").await;
        let _ = stream.shutdown().await;
    }
    let mut head = Vec::new();
    let mut count = 0;
    let mut bytes = vec![0; 16 * 1024];
    while let Ok(read @ 1..) = stream.read(&mut bytes).await {
        let bytes = &bytes[..read];
        seen.lock().unwrap().bytes.extend_from_slice(bytes);
        count += read;
        let written = match behaviour {
            Behaviour::Echo => stream.write_all(bytes).await,
            Behaviour::Http => {
                head.extend_from_slice(bytes);
                answer_heads(&mut stream, &mut head).await
            }
            Behaviour::Count | Behaviour::Farewell | Behaviour::Silent | Behaviour::Reset => Ok(()),
        };
        if written.is_err() || stream.flush().await.is_err() {
            return;
        }
    }
    if behaviour == Behaviour::Count {
        let _ = stream.write_all(count.to_string().as_bytes()).await;
    }
    let _ = stream.shutdown().await;
}

/// Answers every whole head in `head`, and takes it out. Requests with content are answered, but their content is taken
/// for part of the next head.
async fn answer_heads<S: AsyncWrite + Unpin>(
    stream: &mut S,
    head: &mut Vec<u8>,
) -> std::io::Result<()> {
    while let Some(end) = head.windows(4).position(|four| four == b"\r\n\r\n") {
        let rest = head.split_off(end + 4);
        let whole = std::mem::replace(head, rest);
        let fields = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n",
            whole.len()
        );
        stream.write_all(fields.as_bytes()).await?;
        stream.write_all(&whole).await?;
    }
    Ok(())
}
