//! `masugata connect` between a local program and a gateway of bytes, over real TLS and HTTP/2.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioExecutor;
use masugata_certs::{Authority as Ca, DeviceSubject, Validity};
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::capability::{Clock as _, SystemClock};

/// What the gateway was asked.
#[derive(Clone, Debug)]
struct Asked {
    line: String,
    headers: HashMap<String, String>,
    body: Vec<u8>,
}

struct World {
    directory: TempDir,
    tls: TlsAcceptor,
    gateway: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    connections: Arc<AtomicUsize>,
    /// Dropped, the gateway's connections end.
    running: tokio_util::sync::CancellationToken,
}

impl World {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let now = SystemClock.now().as_seconds();
        let ca = Ca::create("CA", Validity::days(now, 30), &[1; 16]).unwrap();
        let server = ca
            .issue_server(&["localhost"], Validity::days(now, 7), &[2; 16])
            .unwrap();
        let subject = DeviceSubject {
            spiffe_id: Some("spiffe://test/device/laptop"),
            common_name: "laptop",
            ..DeviceSubject::default()
        };
        let device = ca
            .issue_device(subject, Validity::days(now, 7), &[3; 16])
            .unwrap();
        for (file, text) in [
            ("ca.pem", ca.certificate_pem()),
            ("laptop.pem", &device.certificate_pem),
            ("laptop.key", &device.key.expose_pem()),
        ] {
            std::fs::write(directory.path().join(file), text).unwrap();
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = rustls::RootCertStore::empty();
        let root = CertificateDer::from_pem_slice(ca.certificate_pem().as_bytes()).unwrap();
        roots.add(root).unwrap();
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        let chain = CertificateDer::pem_slice_iter(server.certificate_pem.as_bytes())
            .map(Result::unwrap)
            .collect();
        let key = PrivateKeyDer::from_pem_slice(server.key.expose_pem().as_bytes()).unwrap();
        let mut tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier.build().unwrap())
            .with_single_cert(chain, key)
            .unwrap();
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let mut world = Self {
            directory,
            tls: TlsAcceptor::from(Arc::new(tls)),
            gateway: "127.0.0.1:0".parse().unwrap(),
            asked: Arc::default(),
            connections: Arc::default(),
            running: tokio_util::sync::CancellationToken::new(),
        };
        world.start().await;
        world
    }

    /// Starts the gateway, at the same place as before.
    async fn start(&mut self) {
        let listener = TcpListener::bind(self.gateway).await.unwrap();
        self.gateway = listener.local_addr().unwrap();
        self.running = tokio_util::sync::CancellationToken::new();
        let (tls, asked, connections, running) = (
            self.tls.clone(),
            Arc::clone(&self.asked),
            Arc::clone(&self.connections),
            self.running.clone(),
        );
        tokio::spawn(async move {
            loop {
                let (stream, _) = tokio::select! {
                    accepted = listener.accept() => accepted.unwrap(),
                    () = running.cancelled() => return,
                };
                let (tls, asked, running) = (tls.clone(), Arc::clone(&asked), running.clone());
                connections.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(async move {
                    let Ok(stream) = tls.accept(stream).await else {
                        return;
                    };
                    let service = service_fn(move |request| respond(request, Arc::clone(&asked)));
                    let serving = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                        .serve_connection(TokioIo::new(stream), service);
                    tokio::select! {
                        _ = serving => {}
                        () = running.cancelled() => {}
                    }
                });
            }
        });
    }

    fn arguments(&self, more: &[&str]) -> Arguments {
        #[derive(Debug, clap::Parser)]
        struct Line {
            #[command(flatten)]
            arguments: Arguments,
        }
        let file = |name: &str| self.directory.path().join(name).display().to_string();
        let mut words: Vec<String> = ["connect", "--gateway"].map(str::to_owned).to_vec();
        words.push(format!("localhost:{}", self.gateway.port()));
        for (flag, name) in [
            ("--ca", "ca.pem"),
            ("--cert", "laptop.pem"),
            ("--key", "laptop.key"),
        ] {
            words.extend([flag.to_owned(), file(name)]);
        }
        words.extend(more.iter().map(|word| word.replace('@', &file(""))));
        <Line as clap::Parser>::try_parse_from(words)
            .unwrap()
            .arguments
    }

    /// A local proxy that goes through this gateway.
    async fn proxy(&self, more: &[&str]) -> SocketAddr {
        let proxy = Arc::new(Proxy::prepare(&self.arguments(more)).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { serve(&proxy, &listener).await });
        address
    }

    fn last(&self) -> Asked {
        self.asked.lock().unwrap().last().unwrap().clone()
    }
}

async fn respond(
    mut request: Request<Incoming>,
    asked: Arc<Mutex<Vec<Asked>>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let upgrade = hyper::upgrade::on(&mut request);
    let (head, body) = request.into_parts();
    let is_connect = head.method == Method::CONNECT;
    let body = if is_connect {
        Vec::new()
    } else {
        body.collect()
            .await
            .map(|body| body.to_bytes().to_vec())
            .unwrap_or_default()
    };
    asked.lock().unwrap().push(Asked {
        line: format!("{} {}", head.method, head.uri),
        headers: head
            .headers
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
            .collect(),
        body,
    });
    let host = head.uri.host().unwrap_or_default();
    let refusal = |status: u16, name: &str, value: &str| {
        Ok(Response::builder()
            .status(status)
            .header(name, value)
            .header("content-type", "application/problem+json")
            .body(Full::new(Bytes::from_static(b"{\"code\":\"no-permit\"}")))
            .unwrap())
    };
    match host {
        "denied.example" => {
            return refusal(403, "proxy-status", "masugata; error=http_request_denied");
        }
        "who.example" => return refusal(407, "proxy-authenticate", "Bearer realm=\"masugata\""),
        _ => {}
    }
    if is_connect {
        tokio::spawn(async move {
            let Ok(upgraded) = upgrade.await else { return };
            let (mut reader, mut writer) = tokio::io::split(TokioIo::new(upgraded));
            let _ = tokio::io::copy(&mut reader, &mut writer).await;
            let _ = writer.write_all(b".").await;
            let _ = writer.shutdown().await;
        });
        return Ok(Response::new(Full::default()));
    }
    Ok(Response::new(Full::new(Bytes::from_static(b"the page"))))
}

/// Sends bytes, says that there are no more, and reads everything.
async fn exchange(proxy: SocketAddr, bytes: &str) -> String {
    let mut stream = TcpStream::connect(proxy).await.unwrap();
    stream.write_all(bytes.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

async fn tunnel(proxy: SocketAddr, host: &str) -> TcpStream {
    let mut stream = TcpStream::connect(proxy).await.unwrap();
    let request = format!("CONNECT {host}:443 HTTP/1.1\r\nHost: {host}:443\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let head = read_head(&mut stream).await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(!head.to_lowercase().contains("content-length"), "{head}");
    stream
}

#[tokio::test]
async fn tunnels_and_pages_go_through_one_connection() {
    let world = World::new().await;
    let proxy = world.proxy(&[]).await;
    for _ in 0..3 {
        let mut stream = tunnel(proxy, "box.example").await;
        stream.write_all(b"hello").await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer, "hello.");
        assert_eq!(world.last().line, "CONNECT box.example:443");
    }
    let page = exchange(
        proxy,
        "POST http://plain.example/a?b=c HTTP/1.1\r\nHost: evil.example\r\nProxy-Connection: keep-alive\r\n\
         Connection: close, x-hop\r\nX-Hop: 1\r\nAuthorization: Basic abc\r\nContent-Length: 4\r\n\r\nbody",
    )
    .await;
    assert!(
        page.starts_with("HTTP/1.1 200 ") && page.ends_with("the page"),
        "{page}"
    );
    let asked = world.last();
    assert_eq!(asked.line, "POST http://plain.example/a?b=c");
    assert_eq!(asked.body, b"body");
    assert_eq!(asked.headers["authorization"], "Basic abc");
    for gone in [
        "host",
        "connection",
        "proxy-connection",
        "x-hop",
        "proxy-authorization",
    ] {
        assert!(!asked.headers.contains_key(gone), "{gone}");
    }
    assert_eq!(world.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn refusals_come_back_as_the_gateway_wrote_them() {
    let world = World::new().await;
    let proxy = world.proxy(&[]).await;
    for (host, status, field) in [
        (
            "denied.example",
            "403",
            "proxy-status: masugata; error=http_request_denied",
        ),
        (
            "who.example",
            "407",
            "proxy-authenticate: Bearer realm=\"masugata\"",
        ),
    ] {
        for request in [
            format!("CONNECT {host}:443 HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"),
            format!("GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"),
        ] {
            let answer = exchange(proxy, &request).await;
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {status} ")),
                "{answer}"
            );
            assert!(answer.contains(field), "{answer}");
            assert!(answer.contains("application/problem+json"), "{answer}");
            assert!(answer.ends_with("{\"code\":\"no-permit\"}"), "{answer}");
        }
    }
}

#[tokio::test]
async fn pages_in_a_browser_get_nothing_and_lose_their_connection() {
    let world = World::new().await;
    let proxy = world.proxy(&[]).await;
    for request in [
        // A page that calls us by address, or by a name that it has bent to loopback.
        "GET / HTTP/1.1\r\nHost: 127.0.0.1:3128\r\nOrigin: https://evil.example\r\n\r\n",
        "GET /secret HTTP/1.1\r\nHost: evil.example:3128\r\n\r\n",
        // The question before a request into a private network.
        "OPTIONS / HTTP/1.1\r\nHost: localhost:3128\r\nAccess-Control-Request-Private-Network: true\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: localhost:3128\r\n\r\n",
        // A form whose content looks like another request.
        "POST / HTTP/1.1\r\nHost: localhost:3128\r\nContent-Type: text/plain\r\nContent-Length: 55\r\n\r\n\
         CONNECT box.example:443 HTTP/1.1\r\nHost: box.example\r\n\r\n",
        // A WebSocket.
        "GET / HTTP/1.1\r\nHost: localhost:3128\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        "GET https://box.example/ HTTP/1.1\r\nHost: box.example\r\n\r\n",
        "GET ftp://box.example/ HTTP/1.1\r\nHost: box.example\r\n\r\n",
        "GET http://user:pw@box.example/ HTTP/1.1\r\nHost: box.example\r\n\r\n",
        "CONNECT box.example HTTP/1.1\r\nHost: box.example\r\n\r\n",
    ] {
        let answer = exchange(proxy, request).await.to_lowercase();
        assert!(answer.starts_with("http/1.1 400 "), "{request}: {answer}");
        assert_eq!(answer.matches("http/1.1").count(), 1, "{request}: {answer}");
        assert!(!answer.contains("access-control"), "{answer}");
    }
    assert!(world.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_lost_gateway_is_found_again() {
    let mut world = World::new().await;
    let proxy = world.proxy(&[]).await;
    drop(tunnel(proxy, "box.example").await);
    world.running.cancel();
    let gone = exchange(
        proxy,
        "CONNECT a.example:443 HTTP/1.1\r\nConnection: close\r\n\r\n",
    )
    .await;
    assert!(gone.starts_with("HTTP/1.1 502 "), "{gone}");
    assert!(
        gone.contains("proxy-status: masugata-connect; error="),
        "{gone}"
    );
    world.start().await;
    drop(tunnel(proxy, "box.example").await);
}

#[tokio::test]
async fn many_tunnels_take_more_than_one_connection() {
    let world = World::new().await;
    let proxy = world.proxy(&[]).await;
    let mut tunnels = Vec::new();
    for _ in 0..105 {
        tunnels.push(tunnel(proxy, "box.example").await);
    }
    assert_eq!(world.connections.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_token_is_read_for_each_request_and_replaces_what_the_program_says() {
    let world = World::new().await;
    let token = world.directory.path().join("token");
    std::fs::write(&token, "first\n").unwrap();
    let proxy = world.proxy(&["--token-file", "@token"]).await;
    drop(tunnel(proxy, "box.example").await);
    assert_eq!(world.last().headers["proxy-authorization"], "Bearer first");
    std::fs::write(&token, "second\n").unwrap();
    let request = "GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\nProxy-Authorization: Basic eDp5\r\n\
                   Connection: close\r\n\r\n";
    exchange(proxy, request).await;
    assert_eq!(world.last().headers["proxy-authorization"], "Bearer second");

    let without = world.proxy(&[]).await;
    exchange(without, request).await;
    assert_eq!(world.last().headers["proxy-authorization"], "Basic eDp5");
}

#[tokio::test]
async fn a_renewed_certificate_is_used_for_what_comes_next() {
    let world = World::new().await;
    let proxy = world.proxy(&[]).await;
    let mut old = tunnel(proxy, "box.example").await;
    let certificate = world.directory.path().join("laptop.pem");
    let file = std::fs::File::options()
        .append(true)
        .open(&certificate)
        .unwrap();
    let later = std::time::UNIX_EPOCH + Duration::from_secs(2_000_000_000);
    file.set_modified(later).unwrap();
    drop(tunnel(proxy, "box.example").await);
    assert_eq!(world.connections.load(Ordering::SeqCst), 2);
    old.write_all(b"still").await.unwrap();
    let mut bytes = [0; 5];
    old.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"still");
}

#[tokio::test]
async fn it_says_what_is_wrong_with_its_arguments() {
    let world = World::new().await;
    let fault = |more: &[&str]| Proxy::prepare(&world.arguments(more)).err().unwrap();
    for address in ["0.0.0.0:3128", "[::]:3128", "192.0.2.1:3128"] {
        assert!(fault(&["--listen", address]).contains("is not loopback"));
    }
    assert!(Proxy::prepare(&world.arguments(&["--listen", "[::1]:3128"])).is_ok());
    assert!(fault(&["--token-file", "@missing"]).contains("cannot read"));
    std::fs::write(world.directory.path().join("laptop.key"), "nothing").unwrap();
    assert!(fault(&[]).contains("cannot use"));
}

#[tokio::test]
async fn a_gateway_with_another_name_is_not_believed() {
    let world = World::new().await;
    let mut arguments = world.arguments(&[]);
    arguments.gateway = format!("127.0.0.1:{}", world.gateway.port())
        .parse()
        .unwrap();
    let proxy = Arc::new(Proxy::prepare(&arguments).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { serve(&proxy, &listener).await });
    let request = "CONNECT box.example:443 HTTP/1.1\r\nProxy-Authorization: Basic eDp5\r\nConnection: close\r\n\r\n";
    let answer = exchange(address, request).await;
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    assert!(answer.contains("error=tls_protocol_error"), "{answer}");
    assert!(world.asked.lock().unwrap().is_empty());
}
