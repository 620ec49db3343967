//! Bytes as somebody else would send them: a client that writes what it likes, and an app that answers what it likes.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::client::TlsStream;

use crate::client::Client;
use crate::proxy::ProxyClient;

/// Longer than anything takes on a busy machine; reached only by a test that fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// One TLS connection, spoken to byte by byte.
pub struct Wire(TlsStream<TcpStream>);

impl Client {
    /// A connection for bytes of one's own.
    pub async fn wire(&self, app: &str) -> Wire {
        Wire(self.stream(app).await.expect("a TLS connection"))
    }

    /// A WebSocket that is open, to a [`RawUpstream::websocket`].
    pub async fn tunnel(&self, app: &str, token: Option<&str>) -> Wire {
        let mut wire = self.wire(app).await;
        let token = token
            .map(|token| format!("authorization: Bearer {token}\r\n"))
            .unwrap_or_default();
        wire.send(format!(
            "GET / HTTP/1.1\r\nhost: {}\r\n{token}{WEBSOCKET}\r\n",
            self.host(app)
        ))
        .await;
        let head = wire.head().await;
        assert!(
            head.starts_with("HTTP/1.1 101"),
            "{head}{}",
            wire.rest().await
        );
        wire.echoes().await;
        wire
    }
}

impl ProxyClient {
    /// A connection to the proxy for bytes of one's own.
    pub async fn wire(&self) -> Wire {
        Wire(self.stream().await.expect("a TLS connection"))
    }
}

impl Wire {
    /// The connection itself.
    pub fn into_inner(self) -> TlsStream<TcpStream> {
        self.0
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).await.unwrap();
        self.0.flush().await.unwrap();
    }

    /// As [`Wire::send`], where the other side may have gone already.
    pub async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.0.write_all(bytes.as_ref()).await.is_ok() && self.0.flush().await.is_ok()
    }

    /// The next head, with its empty line.
    pub async fn head(&mut self) -> String {
        head(&mut self.0).await
    }

    /// Exactly so many bytes.
    pub async fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        let read = tokio::time::timeout(PATIENCE, self.0.read_exact(&mut bytes));
        read.await.expect("bytes in time").unwrap();
        bytes
    }

    /// What goes through an open tunnel comes back.
    pub async fn echoes(&mut self) {
        self.send("ping").await;
        assert_eq!(self.bytes(4).await, b"ping");
    }

    /// What comes until the other side ends the connection, in whatever way.
    pub async fn rest(&mut self) -> String {
        let mut bytes = Vec::new();
        let read = tokio::time::timeout(PATIENCE, self.0.read_to_end(&mut bytes));
        let _how = read.await.expect("an end in time");
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

async fn head(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut bytes = Vec::new();
    let read = async {
        while !bytes.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => bytes.push(byte),
                Err(_) => break,
            }
        }
    };
    let in_time = tokio::time::timeout(PATIENCE, read).await.is_ok();
    let head = String::from_utf8_lossy(&bytes).into_owned();
    assert!(in_time, "no whole head in time, only {head:?}");
    head
}

/// An app that answers each head with bytes of the test's choice, and echoes what follows an upgrade.
pub struct RawUpstream {
    pub address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Drop for RawUpstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl RawUpstream {
    /// `answer` is given the head.
    pub async fn new(answer: impl Fn(&str) -> String + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let (answer, seen) = (Arc::new(answer), Arc::clone(&heads));
        let task = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (answer, seen) = (Arc::clone(&answer), Arc::clone(&seen));
                tokio::spawn(async move {
                    loop {
                        let head = head(&mut stream).await;
                        if head.is_empty() {
                            return;
                        }
                        seen.lock().unwrap().push(head.clone());
                        let answer = answer(&head);
                        if stream.write_all(answer.as_bytes()).await.is_err() {
                            return;
                        }
                        if answer.starts_with("HTTP/1.1 101") {
                            let (mut reader, mut writer) = stream.split();
                            let _ = tokio::io::copy(&mut reader, &mut writer).await;
                            return;
                        }
                    }
                });
            }
        });
        Self {
            address,
            heads,
            task,
        }
    }

    /// Agrees to every WebSocket, and answers everything else with `hello`.
    pub async fn websocket() -> Self {
        Self::new(|head| {
            let lower = head.to_ascii_lowercase();
            match lower.lines().find_map(|line| line.strip_prefix("upgrade: ")) {
                // The key of RFC 6455 §1.3, which the tests send.
                Some(protocol) => format!(
                    "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: {protocol}\r\n\
                     sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
                ),
                None => "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello".to_owned(),
            }
        })
        .await
    }

    /// Every head so far.
    pub fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

/// The fields of a WebSocket handshake with the key of RFC 6455 §1.3.
pub const WEBSOCKET: &str = "connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
                             sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
