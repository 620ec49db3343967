//! Fixed names, the system, and name servers of our own that speak DNS over TLS and HTTPS.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use masugata_certs::{Authority, Profile, Validity};
use masugata_policy::Timestamp;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::capability::SystemClock;

/// Real time, moved ahead by hand.
#[derive(Default)]
struct Ahead(AtomicU64);

impl Clock for Ahead {
    fn now(&self) -> Timestamp {
        SystemClock.now()
    }
    fn monotonic(&self) -> Instant {
        SystemClock.monotonic() + Duration::from_secs(self.0.load(Ordering::Relaxed))
    }
}

fn environment(clock: &Arc<Ahead>) -> Environment {
    Environment {
        clock: Arc::clone(clock) as Arc<dyn Clock>,
        terms: TlsTerms {
            profile: Profile::CryptrecRecommended,
            hybrid: true,
            time: Arc::new(rustls::time_provider::DefaultTimeProvider),
        },
    }
}

fn system() -> config::Resolver {
    config::Resolver {
        kind: ResolverKind::System,
        timeout: Duration::from_secs(5),
        ipv6: true,
    }
}

fn fixed(host: &str, addresses: &[(&str, Option<u16>)]) -> StaticName {
    StaticName {
        host: host.to_owned(),
        addresses: addresses
            .iter()
            .map(|(address, port)| (address.parse().unwrap(), *port))
            .collect(),
    }
}

/// A name server: answers A with 192.0.2.1 and .2, AAAA with 2001:db8::1, names that begin with `none` with NXDOMAIN,
/// and keeps quiet about `silent`.
struct NameServer {
    address: SocketAddr,
    authority: tempfile::NamedTempFile,
    asked: Arc<AtomicUsize>,
    types: Arc<Mutex<Vec<u16>>>,
    ttl: Arc<AtomicU32>,
}

async fn name_server(http: bool) -> NameServer {
    let now = SystemClock.now().as_seconds();
    let ca = Authority::create("Names CA", Validity::days(now, 30), &[1; 16]).unwrap();
    let issued = ca
        .issue_server(&["dns.test"], Validity::days(now, 7), &[2; 16])
        .unwrap();
    let chain = CertificateDer::pem_slice_iter(issued.certificate_pem.as_bytes())
        .map(Result::unwrap)
        .collect();
    let key = PrivateKeyDer::from_pem_slice(issued.key.expose_pem().as_bytes()).unwrap();
    let mut tls = rustls::ServerConfig::builder_with_provider(Arc::new(
        rustls::crypto::aws_lc_rs::default_provider(),
    ))
    .with_safe_default_protocol_versions()
    .unwrap()
    .with_no_client_auth()
    .with_single_cert(chain, key)
    .unwrap();
    if http {
        tls.alpn_protocols = vec![b"h2".to_vec()];
    }
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let authority = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(authority.path(), ca.certificate_pem()).unwrap();
    let server = NameServer {
        address: listener.local_addr().unwrap(),
        authority,
        asked: Arc::default(),
        types: Arc::default(),
        ttl: Arc::new(AtomicU32::new(60)),
    };
    let (asked, types, ttl) = (
        Arc::clone(&server.asked),
        Arc::clone(&server.types),
        Arc::clone(&server.ttl),
    );
    let answer = Arc::new(move |question: &[u8]| {
        asked.fetch_add(1, Ordering::SeqCst);
        types.lock().unwrap().push(kind_of(question));
        answer_to(question, ttl.load(Ordering::SeqCst))
    });
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (acceptor, answer) = (acceptor.clone(), Arc::clone(&answer));
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    return;
                };
                if http {
                    let service = service_fn(|request: hyper::Request<Incoming>| {
                        let answer = Arc::clone(&answer);
                        async move {
                            assert_eq!(request.uri().path(), "/ask");
                            let question = request.into_body().collect().await.unwrap().to_bytes();
                            let Some(bytes) = answer(&question) else {
                                return std::future::pending().await;
                            };
                            let response = http::Response::builder()
                                .header("content-type", "application/dns-message")
                                .body(Full::new(Bytes::from(bytes)));
                            Ok::<_, std::convert::Infallible>(response.unwrap())
                        }
                    });
                    let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                    return;
                }
                while let Ok(length) = stream.read_u16().await {
                    let mut question = vec![0; usize::from(length)];
                    stream.read_exact(&mut question).await.unwrap();
                    let Some(bytes) = answer(&question) else {
                        continue;
                    };
                    let length = u16::try_from(bytes.len()).unwrap();
                    stream.write_u16(length).await.unwrap();
                    stream.write_all(&bytes).await.unwrap();
                    stream.flush().await.unwrap();
                }
            });
        }
    });
    server
}

/// The length of the first question's name.
fn name_length(question: &[u8]) -> usize {
    question[12..].iter().position(|byte| *byte == 0).unwrap() + 1
}

fn kind_of(question: &[u8]) -> u16 {
    let at = 12 + name_length(question);
    u16::from_be_bytes([question[at], question[at + 1]])
}

fn answer_to(question: &[u8], ttl: u32) -> Option<Vec<u8>> {
    let end = 12 + name_length(question) + 4;
    let name = &question[13..];
    if name.starts_with(b"silent") {
        return None;
    }
    let missing = name.starts_with(b"none");
    let data: Vec<Vec<u8>> = match kind_of(question) {
        _ if missing => Vec::new(),
        1 => vec![vec![192, 0, 2, 1], vec![192, 0, 2, 2]],
        28 => vec![
            "2001:db8::1"
                .parse::<std::net::Ipv6Addr>()
                .unwrap()
                .octets()
                .to_vec(),
        ],
        _ => Vec::new(),
    };
    let mut bytes = question[..2].to_vec();
    bytes.extend([0x81, if missing { 0x83 } else { 0x80 }, 0, 1, 0]);
    bytes.push(u8::try_from(data.len()).unwrap());
    bytes.extend([0, 0, 0, 0]);
    bytes.extend(&question[12..end]);
    for data in data {
        bytes.extend([0xc0, 12]);
        bytes.extend(kind_of(question).to_be_bytes());
        bytes.extend([0, 1]);
        bytes.extend(ttl.to_be_bytes());
        bytes.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
        bytes.extend(data);
    }
    Some(bytes)
}

fn asking(server: &NameServer, http: bool, ipv6: bool) -> config::Resolver {
    let servers = DnsServers {
        addresses: vec![server.address],
        server_name: "dns.test".to_owned(),
        authority: Some(server.authority.path().to_owned()),
    };
    config::Resolver {
        kind: if http {
            ResolverKind::Https {
                servers,
                path: "/ask".to_owned(),
            }
        } else {
            ResolverKind::Tls(servers)
        },
        timeout: Duration::from_secs(5),
        ipv6,
    }
}

fn texts(found: io::Result<Vec<SocketAddr>>) -> Vec<String> {
    found.unwrap().iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn fixed_names_come_first_and_may_replace_the_port() {
    let names = [
        fixed(
            "crm.cloud.test",
            &[("127.0.0.1", Some(9443)), ("::1", None)],
        ),
        fixed("192.0.2.7", &[("127.0.0.2", None)]),
    ];
    let resolver = Resolver::build(&system(), &names, None, &environment(&Arc::default())).unwrap();
    assert_eq!(
        texts(resolver.resolve("crm.cloud.test", 443).await),
        ["127.0.0.1:9443", "[::1]:443"]
    );
    assert_eq!(
        texts(resolver.resolve("192.0.2.7", 80).await),
        ["127.0.0.2:80"]
    );
}

#[tokio::test]
async fn addresses_are_their_own_answer() {
    let resolver = Resolver::build(&system(), &[], None, &environment(&Arc::default())).unwrap();
    for (host, text) in [
        ("10.0.0.1", "10.0.0.1:443"),
        ("[2001:db8::1]", "[2001:db8::1]:443"),
        ("2001:db8::1", "[2001:db8::1]:443"),
        ("[::ffff:10.0.0.1]", "[::ffff:10.0.0.1]:443"),
    ] {
        assert_eq!(texts(resolver.resolve(host, 443).await), [text]);
    }
}

#[test]
fn other_spellings_of_addresses_are_none() {
    for host in [
        "0x7f.1",
        "2130706433",
        "127.1",
        "0177.0.0.1",
        "[::1",
        "fe80::1%1",
    ] {
        assert_eq!(literal(host), None, "{host}");
    }
}

#[tokio::test]
async fn the_system_is_asked_for_absolute_names() {
    let resolver = Resolver::build(&system(), &[], None, &environment(&Arc::default())).unwrap();
    let error = resolver.resolve("no.such.name.invalid", 443).await;
    assert_eq!(error.unwrap_err().kind(), io::ErrorKind::NotFound);
}

#[tokio::test]
async fn name_servers_are_asked_over_tls_and_over_https() {
    for http in [false, true] {
        let server = name_server(http).await;
        let config = asking(&server, http, true);
        let resolver = Resolver::build(&config, &[], None, &environment(&Arc::default())).unwrap();
        assert_eq!(
            texts(resolver.resolve("box.example", 443).await),
            ["[2001:db8::1]:443", "192.0.2.1:443", "192.0.2.2:443"]
        );
        let mut types = server.types.lock().unwrap().clone();
        types.sort_unstable();
        assert_eq!(types, [1, 28], "A and AAAA, and no HTTPS records");
    }
}

#[tokio::test]
async fn without_ipv6_it_is_not_asked_for() {
    let server = name_server(false).await;
    let config = asking(&server, false, false);
    let resolver = Resolver::build(&config, &[], None, &environment(&Arc::default())).unwrap();
    assert_eq!(
        texts(resolver.resolve("box.example", 443).await),
        ["192.0.2.1:443", "192.0.2.2:443"]
    );
    assert_eq!(*server.types.lock().unwrap(), [1]);
}

#[tokio::test]
async fn a_name_without_addresses_is_told_from_a_server_that_fails() {
    let server = name_server(false).await;
    let clock = Arc::default();
    let mut config = asking(&server, false, true);
    let resolver = Resolver::build(&config, &[], None, &environment(&clock)).unwrap();
    let error = resolver.resolve("none.example", 443).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);

    config.timeout = Duration::from_millis(100);
    let resolver = Resolver::build(&config, &[], None, &environment(&clock)).unwrap();
    let error = resolver.resolve("silent.example", 443).await.unwrap_err();
    assert_ne!(error.kind(), io::ErrorKind::NotFound);
}

#[tokio::test]
async fn a_name_server_with_another_name_is_not_believed_and_nobody_else_is_asked() {
    let server = name_server(false).await;
    let mut config = asking(&server, false, true);
    let ResolverKind::Tls(servers) = &mut config.kind else {
        panic!();
    };
    servers.server_name = "other.test".to_owned();
    let resolver = Resolver::build(&config, &[], None, &environment(&Arc::default())).unwrap();
    let error = resolver.resolve("box.example", 443).await.unwrap_err();
    assert_ne!(error.kind(), io::ErrorKind::NotFound);
    assert_eq!(server.asked.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn an_answer_counts_as_long_as_it_says_within_bounds() {
    let server = name_server(false).await;
    let clock = Arc::<Ahead>::default();
    let config = asking(&server, false, false);
    let resolver = Resolver::build(&config, &[], None, &environment(&clock)).unwrap();
    let asked = || server.asked.load(Ordering::SeqCst);
    for (ttl, still, no_longer) in [(60, 55, 61), (0, 8, 11), (1_000_000, 3500, 3601)] {
        server.ttl.store(ttl, Ordering::SeqCst);
        let host = format!("t{ttl}.example");
        resolver.resolve(&host, 443).await.unwrap();
        let before = asked();
        clock.0.fetch_add(still, Ordering::Relaxed);
        resolver.resolve(&host, 443).await.unwrap();
        assert_eq!(asked(), before, "{ttl}");
        clock.0.fetch_add(no_longer - still, Ordering::Relaxed);
        resolver.resolve(&host, 443).await.unwrap();
        assert_eq!(asked(), before + 1, "{ttl}");
    }
}

#[tokio::test]
async fn a_name_that_is_being_asked_about_is_asked_once() {
    let server = name_server(false).await;
    let config = asking(&server, false, false);
    let resolver = Resolver::build(&config, &[], None, &environment(&Arc::default())).unwrap();
    let many: Vec<_> = (0..50)
        .map(|_| {
            let resolver = Arc::clone(&resolver);
            tokio::spawn(async move { resolver.resolve("box.example", 443).await.unwrap() })
        })
        .collect();
    for one in many {
        assert_eq!(one.await.unwrap().len(), 2);
    }
    assert_eq!(server.asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn whoever_stops_waiting_does_not_keep_others_from_the_answer() {
    let server = name_server(false).await;
    let config = asking(&server, false, false);
    let resolver = Resolver::build(&config, &[], None, &environment(&Arc::default())).unwrap();
    {
        let first = resolver.resolve("box.example", 443);
        let mut first = std::pin::pin!(first);
        // Polled once, so that it is the one who asks.
        assert!(futures_util::poll!(first.as_mut()).is_pending());
    }
    assert_eq!(resolver.resolve("box.example", 443).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_reload_keeps_answers_unless_the_source_is_another() {
    let server = name_server(false).await;
    let environment = environment(&Arc::default());
    let config = asking(&server, false, false);
    let first = Resolver::build(&config, &[], None, &environment).unwrap();
    first.resolve("box.example", 443).await.unwrap();
    let same = Resolver::build(&config, &[], Some(&first), &environment).unwrap();
    assert!(Arc::ptr_eq(&first, &same));
    let names = [fixed("a.test", &[("127.0.0.1", None)])];
    let more = Resolver::build(&config, &names, Some(&same), &environment).unwrap();
    more.resolve("box.example", 443).await.unwrap();
    assert_eq!(server.asked.load(Ordering::SeqCst), 1);
    let other = asking(&server, false, true);
    let other = Resolver::build(&other, &names, Some(&more), &environment).unwrap();
    other.resolve("box.example", 443).await.unwrap();
    assert_eq!(server.asked.load(Ordering::SeqCst), 3);
}

#[test]
fn it_is_built_outside_a_runtime_and_says_which_file_is_at_fault() {
    let environment = environment(&Arc::default());
    let mut config = config::Resolver {
        kind: ResolverKind::Tls(DnsServers {
            addresses: vec!["127.0.0.1:853".parse().unwrap()],
            server_name: "dns.test".to_owned(),
            authority: Some("/no/such/file.pem".into()),
        }),
        ..system()
    };
    let error = Resolver::build(&config, &[], None, &environment).unwrap_err();
    assert_eq!(error.path.unwrap(), Path::new("/no/such/file.pem"));
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "nothing").unwrap();
    let ResolverKind::Tls(servers) = &mut config.kind else {
        panic!();
    };
    servers.authority = Some(file.path().to_owned());
    let error = Resolver::build(&config, &[], None, &environment).unwrap_err();
    assert_eq!(error.path.unwrap(), file.path());
    let now = SystemClock.now().as_seconds();
    let ca = Authority::create("Names CA", Validity::days(now, 30), &[1; 16]).unwrap();
    std::fs::write(file.path(), ca.certificate_pem()).unwrap();
    assert!(Resolver::build(&config, &[], None, &environment).is_ok());
}

#[test]
fn few_of_many_addresses_are_kept_and_of_both_families() {
    let v6 = (1..40).map(|last| IpAddr::from([0x2606, 0, 0, 0, 0, 0, 0, last]));
    let v4 = [IpAddr::from([1, 1, 1, 1]), IpAddr::from([1, 1, 1, 1])];
    let kept = in_order(v6.chain(v4).collect());
    assert_eq!(kept.len(), ADDRESSES);
    assert_eq!(kept.iter().filter(|address| address.is_ipv4()).count(), 1);
}
