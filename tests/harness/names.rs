//! A name server over TLS or HTTPS that says what the test wants, and another thing the next time if it wants.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::origins::Origins;

const NAME: &str = "dns.test";
const PATH: &str = "/dns-query";

/// What is said about a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// These, of the family that was asked for.
    Addresses(Vec<IpAddr>),
    /// An alias, and its addresses.
    Alias(&'static str, Vec<IpAddr>),
    /// There is no such name.
    Absent,
    /// The server has failed.
    Failure,
    /// Nothing, ever.
    Silence,
}

impl Reply {
    /// [`Self::Addresses`], in text.
    pub fn at(addresses: &[&str]) -> Self {
        Self::Addresses(parsed(addresses))
    }

    /// [`Self::Alias`], in text.
    pub fn alias(name: &'static str, addresses: &[&str]) -> Self {
        Self::Alias(name, parsed(addresses))
    }
}

fn parsed(addresses: &[&str]) -> Vec<IpAddr> {
    addresses.iter().map(|it| it.parse().unwrap()).collect()
}

/// Answers do not last longer than the gateway makes them. Ends with this value.
pub struct NameServer {
    pub address: SocketAddr,
    https: bool,
    asked: Arc<Mutex<Vec<String>>>,
    accepting: JoinHandle<()>,
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

type Knows = dyn Fn(&str, usize) -> Reply + Send + Sync;

struct Zone {
    knows: Box<Knows>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl NameServer {
    /// `knows` is given a name in lower case without its final dot, and how often the gateway has looked it up before (exact
    /// where only IPv4 is asked for).
    pub async fn start(
        origins: &Origins,
        https: bool,
        knows: impl Fn(&str, usize) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let alpn: &[&[u8]] = if https { &[b"h2"] } else { &[] };
        let acceptor = origins.acceptor(&[NAME], alpn);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let zone = Arc::new(Zone {
            knows: Box::new(knows),
            asked: Arc::clone(&asked),
        });
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, zone) = (acceptor.clone(), Arc::clone(&zone));
                tokio::spawn(async move {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        if https {
                            over_https(stream, &zone).await;
                        } else {
                            over_tls(stream, &zone).await;
                        }
                    }
                });
            }
        });
        Self {
            address,
            https,
            asked,
            accepting,
        }
    }

    /// `[egress.resolver]` with this server; `origins.pem` is the CA.
    pub fn config(&self, more: &str) -> String {
        let mode = if self.https { "https" } else { "tls" };
        let path = if self.https {
            format!("path = \"{PATH}\"\n")
        } else {
            String::new()
        };
        format!(
            "[egress.resolver]\nmode = \"{mode}\"\nservers = [\"{}\"]\nserver_name = \"{NAME}\"\n\
             authority = \"origins.pem\"\n{path}{more}",
            self.address
        )
    }

    /// How often the A records of `name` were asked for.
    pub fn asked(&self, name: &str) -> usize {
        let asked = self.asked.lock().unwrap();
        asked.iter().filter(|known| *known == name).count()
    }

    /// How many questions there were, whatever about.
    pub fn questions(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

// RFC 8484.
async fn over_https<S>(stream: S, zone: &Arc<Zone>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(|request: hyper::Request<Incoming>| {
        let zone = Arc::clone(zone);
        async move {
            assert_eq!(request.uri().path(), PATH);
            let question = request.into_body().collect().await.unwrap().to_bytes();
            let Some(answer) = zone.answer(&question) else {
                return std::future::pending().await;
            };
            let response = http::Response::builder()
                .header("content-type", "application/dns-message")
                .body(Full::new(Bytes::from(answer)));
            Ok::<_, std::convert::Infallible>(response.unwrap())
        }
    });
    let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

// RFC 7858.
async fn over_tls<S>(mut stream: S, zone: &Zone)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    while let Ok(length) = stream.read_u16().await {
        let mut question = vec![0; usize::from(length)];
        if stream.read_exact(&mut question).await.is_err() {
            return;
        }
        let Some(answer) = zone.answer(&question) else {
            continue;
        };
        let mut framed = u16::try_from(answer.len()).unwrap().to_be_bytes().to_vec();
        framed.extend(answer);
        if stream.write_all(&framed).await.is_err() || stream.flush().await.is_err() {
            return;
        }
    }
}

const A: u16 = 1;
const AAAA: u16 = 28;
const CNAME: u16 = 5;

impl Zone {
    /// A DNS message (RFC 1035 §4) in answer to one with one question; nothing to keep quiet.
    fn answer(&self, question: &[u8]) -> Option<Vec<u8>> {
        let (name, end) = name_of(question);
        let kind = u16::from_be_bytes([question[end], question[end + 1]]);
        let before = {
            let mut asked = self.asked.lock().unwrap();
            let before = asked.iter().filter(|known| **known == name).count();
            if kind == A {
                asked.push(name.clone());
                before
            } else {
                // Asked beside A, which has mostly come already.
                before.saturating_sub(1)
            }
        };
        let reply = (self.knows)(&name, before);
        let (code, alias, addresses) = match reply {
            Reply::Silence => return None,
            Reply::Absent => (3, None, Vec::new()),
            Reply::Failure => (2, None, Vec::new()),
            Reply::Addresses(addresses) => (0, None, addresses),
            Reply::Alias(alias, addresses) => (0, Some(alias), addresses),
        };
        let mut records = Vec::new();
        let mut owner = vec![0xc0, 12];
        if let Some(alias) = alias {
            let target = labels(alias);
            record(&mut records, &owner, CNAME, &target);
            owner = target;
        }
        let mut count = u16::from(alias.is_some());
        for address in addresses {
            let data = match address {
                IpAddr::V4(address) if kind == A => address.octets().to_vec(),
                IpAddr::V6(address) if kind == AAAA => address.octets().to_vec(),
                IpAddr::V4(_) | IpAddr::V6(_) => continue,
            };
            record(&mut records, &owner, kind, &data);
            count += 1;
        }
        let mut message = question[..2].to_vec();
        message.extend([0x81, 0x80 | code, 0, 1]);
        message.extend(count.to_be_bytes());
        message.extend([0, 0, 0, 0]);
        message.extend(&question[12..end + 4]);
        message.extend(records);
        Some(message)
    }
}

fn record(message: &mut Vec<u8>, owner: &[u8], kind: u16, data: &[u8]) {
    message.extend(owner);
    message.extend(kind.to_be_bytes());
    message.extend([0, 1]);
    // Used once, and then asked for again.
    message.extend([0, 0, 0, 0]);
    message.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
    message.extend(data);
}

fn labels(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.split('.') {
        bytes.push(u8::try_from(label.len()).unwrap());
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes
}

/// The name in a question, and where its type begins.
fn name_of(question: &[u8]) -> (String, usize) {
    let (mut at, mut labels) = (12, Vec::new());
    while question[at] != 0 {
        let length = usize::from(question[at]);
        let label = &question[at + 1..=at + length];
        labels.push(String::from_utf8_lossy(label).to_ascii_lowercase());
        at += length + 1;
    }
    (labels.join("."), at + 1)
}
