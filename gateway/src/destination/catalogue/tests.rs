//! Lists from files and from a server on loopback that does what servers of lists do wrong.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::BoxFuture;
use masugata_policy::Timestamp;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::super::feeds::{Connect, FeedReport};
use super::*;
use crate::capability::{Clock, SystemClock, SystemEntropy};
use crate::config::egress::{DomainPattern, FeedEffect, FeedFormat, FeedTrust};

struct Noon;

impl Clock for Noon {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(1_795_000_000_000)
    }
    fn monotonic(&self) -> std::time::Instant {
        SystemClock.monotonic()
    }
}

/// Everything that a report said.
type Told = Arc<Mutex<Vec<String>>>;

fn environment(connect: Arc<dyn Connect>) -> (FeedEnvironment, Told) {
    let told = Told::default();
    let heard = Arc::clone(&told);
    let environment = FeedEnvironment {
        clock: Arc::new(Noon),
        entropy: Arc::new(SystemEntropy::default()),
        connect,
        report: Arc::new(move |report| {
            heard.lock().unwrap().push(match report {
                FeedReport::Loaded { feed, entries, .. } => format!("{feed} loaded {entries}"),
                FeedReport::Refused { feed, fault } => format!("{feed} refused: {fault}"),
                FeedReport::Unreachable { feed, .. } => format!("{feed} unreachable"),
            });
        }),
    };
    (environment, told)
}

fn no_network() -> FeedEnvironment {
    struct Nowhere;
    impl Connect for Nowhere {
        fn connect(&self, _: Box<str>, _: u16) -> BoxFuture<'static, std::io::Result<TcpStream>> {
            unreachable!()
        }
    }
    environment(Arc::new(Nowhere)).0
}

fn feed(name: &str, source: FeedSource) -> FeedSpec {
    FeedSpec {
        name: name.to_owned(),
        source,
        format: FeedFormat::Plain,
        categories: vec![name.to_owned()],
        effect: FeedEffect::Block,
        max_bytes: 100_000,
        required: true,
        alert: false,
        max_shrink: 50,
    }
}

fn file(directory: &Path, name: &str, text: &str) -> FeedSpec {
    let path = directory.join(name);
    std::fs::write(&path, text).unwrap();
    let trust = FeedTrust::Unsigned;
    feed(name, FeedSource::File { path, trust })
}

fn build(specs: &[FeedSpec]) -> Arc<Catalogue> {
    Catalogue::build(specs, &[], &[], None, None, &no_network()).unwrap()
}

fn categories(lists: &Lists, host: &str) -> Vec<String> {
    let found = lists.find(host, false);
    found.categories.iter().map(ToString::to_string).collect()
}

#[test]
fn lists_of_all_formats_answer_together_and_name_their_versions() {
    let dir = tempfile::tempdir().unwrap();
    let mut hosts = file(dir.path(), "malware", "0.0.0.0 one.example bad.example\n");
    hosts.format = FeedFormat::Hosts;
    let mut adguard = file(
        dir.path(),
        "ads",
        "||ads.example^\n||bad.example^\n||gone.example^\n||gone.example^$badfilter\n",
    );
    adguard.format = FeedFormat::Adguard;
    let mut rpz = file(
        dir.path(),
        "zone",
        "bad.example CNAME .\n*.deep.example CNAME .\n32.1.2.0.192.rpz-ip CNAME .\n",
    );
    rpz.format = FeedFormat::Rpz;
    let mut plain = file(dir.path(), "c2", "c2.example\n192.0.2.0/24\n");
    plain.alert = true;
    let catalogue = build(&[hosts, adguard, rpz, plain]);
    let lists = catalogue.lists();
    assert!(lists.ready());
    assert_eq!(
        categories(&lists, "bad.example"),
        ["ads", "malware", "zone"]
    );
    assert_eq!(categories(&lists, "www.bad.example"), ["ads"]);
    assert_eq!(categories(&lists, "x.deep.example"), ["zone"]);
    assert!(categories(&lists, "deep.example").is_empty());
    assert!(categories(&lists, "gone.example").is_empty());
    let found = lists.find("www.c2.example", false);
    assert!(found.alert);
    assert_eq!(found.domain.as_deref(), Some("c2.example"));
    let version = catalogue.status()[3].version.clone().unwrap();
    assert_eq!(*found.feeds, [format!("c2@{version}").into()]);
    assert_eq!(version.len(), 12);
    // Addresses, as a literal and behind a name.
    let found = lists.find("192.0.2.1", true);
    assert_eq!(found.categories.len(), 2);
    assert!(found.domain.is_none());
    assert_eq!(
        lists
            .of_address_behind("x.example", "192.0.2.9".parse().unwrap())
            .categories
            .len(),
        1
    );
    assert!(
        lists
            .of_address_behind("x.example", "198.51.100.1".parse().unwrap())
            .categories
            .is_empty()
    );
}

#[test]
fn an_international_name_is_found_by_its_one_spelling() {
    let dir = tempfile::tempdir().unwrap();
    let lists = build(&[file(dir.path(), "c2", "日本語.jp\n")]).lists();
    assert_eq!(categories(&lists, "www.xn--wgv71a119e.jp"), ["c2"]);
}

#[test]
fn allowing_lists_take_all_categories_away_but_not_what_is_important() {
    let dir = tempfile::tempdir().unwrap();
    let one = file(dir.path(), "one", "bad.example\ngood.bad.example\n");
    let mut two = file(
        dir.path(),
        "two",
        "||bad.example^\n||must.bad.example^$important\n",
    );
    two.format = FeedFormat::Adguard;
    let mut allow = file(dir.path(), "allow", "=good.bad.example\nmust.bad.example\n");
    allow.effect = FeedEffect::Allow;
    allow.categories.clear();
    let lists = build(&[one, two, allow]).lists();
    assert!(categories(&lists, "good.bad.example").is_empty());
    // An exemption for a host is none for what is below it.
    assert_eq!(categories(&lists, "x.good.bad.example"), ["one", "two"]);
    assert_eq!(categories(&lists, "must.bad.example"), ["two"]);
    assert_eq!(categories(&lists, "bad.example"), ["one", "two"]);
}

#[test]
fn what_is_allowed_by_name_is_allowed_wherever_it_lies() {
    let dir = tempfile::tempdir().unwrap();
    let ranges = file(dir.path(), "ranges", "192.0.2.0/24\n");
    let mut must = file(dir.path(), "must", "||192.0.2.7^$important\n");
    must.format = FeedFormat::Adguard;
    let mut own = file(dir.path(), "own", "||198.51.100.1^\n@@||good.example^\n");
    own.format = FeedFormat::Adguard;
    let mut allow = file(dir.path(), "allow", "good.example\n");
    allow.effect = FeedEffect::Allow;
    allow.categories.clear();
    let lists = build(&[ranges, must, own, allow]).lists();
    let at = |host: &str, ip: &str| -> Vec<String> {
        let found = lists.of_address_behind(host, ip.parse().unwrap());
        found.categories.iter().map(ToString::to_string).collect()
    };
    assert_eq!(at("other.example", "192.0.2.1"), ["ranges"]);
    assert!(at("www.good.example", "192.0.2.1").is_empty());
    assert_eq!(at("good.example", "192.0.2.7"), ["must"]);
    assert_eq!(at("other.example", "198.51.100.1"), ["own"]);
    assert_eq!(at("192.0.2.1", "192.0.2.1"), ["ranges"]);
}

// Attack: an unsigned blocking list that exempts what other lists name.
#[test]
fn an_exemption_inside_a_list_counts_for_that_list_only() {
    let dir = tempfile::tempdir().unwrap();
    let c2 = file(dir.path(), "c2", "bad.example\n");
    let mut ads = file(dir.path(), "ads", "||bad.example^\n@@||bad.example^\n");
    ads.format = FeedFormat::Adguard;
    let lists = build(&[c2, ads]).lists();
    assert_eq!(categories(&lists, "bad.example"), ["c2"]);
}

#[test]
fn services_keep_their_categories_and_are_no_imitations() {
    let dir = tempfile::tempdir().unwrap();
    let mut allow = file(dir.path(), "allow", "box.example\n");
    allow.effect = FeedEffect::Allow;
    allow.categories.clear();
    let service = ServiceSpec {
        name: "box".to_owned(),
        hosts: vec![
            DomainPattern {
                name: "box.example".to_owned(),
                below: true,
            },
            DomainPattern {
                name: "g00gle.com".to_owned(),
                below: true,
            },
        ],
        level: None,
        tenant: None,
        groups: Vec::new(),
        categories: vec!["file-sharing".to_owned()],
        ports: vec![8443],
    };
    let build = |previous| {
        let protect = ["corp-name.example".to_owned()];
        Catalogue::build(
            &[allow.clone()],
            std::slice::from_ref(&service),
            &protect,
            None,
            previous,
            &no_network(),
        )
        .unwrap()
    };
    let catalogue = build(None);
    let lists = catalogue.lists();
    assert_eq!(categories(&lists, "a.box.example"), ["file-sharing"]);
    let found = lists.find("a.box.example", false).service.unwrap();
    assert_eq!((found.policy.name(), &*found.ports), ("box", &[8443][..]));
    assert_eq!(categories(&lists, "g00gle.com"), ["file-sharing"]);
    assert_eq!(categories(&lists, "g0ogle.com"), ["look-alike"]);
    assert_eq!(categories(&lists, "corp-narne.example"), ["look-alike"]);
    assert_eq!(categories(&lists, "dns.google"), ["doh"]);
    assert_eq!(categories(&lists, "mask.icloud.com"), ["private-relay"]);
    assert!(Arc::ptr_eq(&catalogue, &build(Some(&catalogue))));
}

#[test]
fn an_exempt_name_is_no_imitation() {
    let dir = tempfile::tempdir().unwrap();
    let mut allow = file(dir.path(), "allow", "g00gle.com\n");
    allow.effect = FeedEffect::Allow;
    allow.categories.clear();
    assert!(categories(&build(&[allow]).lists(), "www.g00gle.com").is_empty());
}

#[test]
fn a_file_that_is_missing_or_no_list_does_not_load() {
    let dir = tempfile::tempdir().unwrap();
    let mut gone = file(dir.path(), "gone", "a.example\n");
    let FeedSource::File { path, .. } = &mut gone.source else {
        unreachable!()
    };
    *path = dir.path().join("nowhere");
    let empty = file(dir.path(), "empty", "# nothing\n");
    let page = file(dir.path(), "page", "<html>\n<body>\n");
    let mut unsigned = file(dir.path(), "unsigned", "a.example\n");
    let FeedSource::File { trust, .. } = &mut unsigned.source else {
        unreachable!()
    };
    *trust = FeedTrust::Minisign(Signer::new(1).public());
    let good = file(dir.path(), "good", "a.example\n");
    let specs = [gone, empty, page, unsigned, good];
    let problems = Catalogue::build(&specs, &[], &[], None, None, &no_network()).unwrap_err();
    let told: Vec<_> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(told.len(), 4, "{told:?}");
    assert!(told[0].starts_with("list `gone` cannot be read"));
    assert_eq!(told[1], "list `empty` has no entries");
    assert_eq!(
        told[2],
        "list `page` makes no sense in 2 of 2 lines, first in line 1"
    );
    assert_eq!(told[3], "list `unsigned` has no signature");
}

#[test]
fn a_changed_file_is_read_again_and_a_shrunk_one_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let spec = file(
        dir.path(),
        "c2",
        "a.example\nb.example\nc.example\nd.example\n",
    );
    let first = build(std::slice::from_ref(&spec));
    let again = |previous| {
        Catalogue::build(
            std::slice::from_ref(&spec),
            &[],
            &[],
            None,
            Some(previous),
            &no_network(),
        )
    };
    file(dir.path(), "c2", "new.example\nb.example\nc.example\n");
    let second = again(&first).unwrap();
    assert_eq!(categories(&second.lists(), "new.example"), ["c2"]);
    assert_eq!(second.lists().version(), first.lists().version() + 1);
    file(dir.path(), "c2", "a.example\n");
    let problems = again(&second).unwrap_err();
    assert_eq!(
        problems[0].to_string(),
        "list `c2` has 1 entries, and had 3 before"
    );
}

/// A minisign key; the format is a few bytes around Ed25519 and BLAKE2b.
struct Signer {
    pair: Ed25519KeyPair,
}

impl Signer {
    fn new(seed: u8) -> Self {
        Self {
            pair: Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap(),
        }
    }

    fn public(&self) -> String {
        let mut key = b"Ed\x01\x02\x03\x04\x05\x06\x07\x08".to_vec();
        key.extend_from_slice(self.pair.public_key().as_ref());
        STANDARD.encode(key)
    }

    fn sign(&self, content: &[u8], comment: &str) -> String {
        let signature = self.pair.sign(&blake2b(content));
        let mut line = b"ED\x01\x02\x03\x04\x05\x06\x07\x08".to_vec();
        line.extend_from_slice(signature.as_ref());
        let mut global = signature.as_ref().to_vec();
        global.extend_from_slice(comment.as_bytes());
        format!(
            "untrusted comment: test\n{}\ntrusted comment: {comment}\n{}\n",
            STANDARD.encode(line),
            STANDARD.encode(self.pair.sign(&global))
        )
    }
}

/// BLAKE2b-512 without a key (RFC 7693), for signing in tests only.
fn blake2b(content: &[u8]) -> [u8; 64] {
    const IV: [u64; 8] = [
        0x6a09_e667_f3bc_c908,
        0xbb67_ae85_84ca_a73b,
        0x3c6e_f372_fe94_f82b,
        0xa54f_f53a_5f1d_36f1,
        0x510e_527f_ade6_82d1,
        0x9b05_688c_2b3e_6c1f,
        0x1f83_d9ab_fb41_bd6b,
        0x5be0_cd19_137e_2179,
    ];
    const SIGMA: [[usize; 16]; 10] = [
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
        [14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3],
        [11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4],
        [7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8],
        [9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13],
        [2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9],
        [12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11],
        [13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10],
        [6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5],
        [10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0],
    ];
    const LANES: [[usize; 4]; 8] = [
        [0, 4, 8, 12],
        [1, 5, 9, 13],
        [2, 6, 10, 14],
        [3, 7, 11, 15],
        [0, 5, 10, 15],
        [1, 6, 11, 12],
        [2, 7, 8, 13],
        [3, 4, 9, 14],
    ];
    let mut state = IV;
    state[0] ^= 0x0101_0000 ^ 64;
    let mut chunks: Vec<&[u8]> = content.chunks(128).collect();
    if chunks.is_empty() {
        chunks.push(&[]);
    }
    let mut count = 0_u128;
    for (index, chunk) in chunks.iter().enumerate() {
        count += chunk.len() as u128;
        let mut block = [0; 128];
        block[..chunk.len()].copy_from_slice(chunk);
        let words: Vec<u64> = block
            .chunks(8)
            .map(|b| u64::from_le_bytes(b.try_into().unwrap()))
            .collect();
        let mut v = [0; 16];
        v[..8].copy_from_slice(&state);
        v[8..].copy_from_slice(&IV);
        v[12] ^= count as u64;
        v[13] ^= (count >> 64) as u64;
        if index + 1 == chunks.len() {
            v[14] = !v[14];
        }
        for round in 0..12 {
            for (lane, [a, b, c, d]) in LANES.into_iter().enumerate() {
                let [x, y] = [
                    words[SIGMA[round % 10][2 * lane]],
                    words[SIGMA[round % 10][2 * lane + 1]],
                ];
                v[a] = v[a].wrapping_add(v[b]).wrapping_add(x);
                v[d] = (v[d] ^ v[a]).rotate_right(32);
                v[c] = v[c].wrapping_add(v[d]);
                v[b] = (v[b] ^ v[c]).rotate_right(24);
                v[a] = v[a].wrapping_add(v[b]).wrapping_add(y);
                v[d] = (v[d] ^ v[a]).rotate_right(16);
                v[c] = v[c].wrapping_add(v[d]);
                v[b] = (v[b] ^ v[c]).rotate_right(63);
            }
        }
        for index in 0..8 {
            state[index] ^= v[index] ^ v[index + 8];
        }
    }
    let mut out = [0; 64];
    for (bytes, word) in out.chunks_mut(8).zip(state) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    out
}

/// A server of lists: raw answers by path.
struct Server {
    address: SocketAddr,
    answers: Arc<Mutex<HashMap<String, Vec<u8>>>>,
    asked: Arc<AtomicUsize>,
    authority: std::path::PathBuf,
    directory: tempfile::TempDir,
}

impl Server {
    async fn start() -> Self {
        let key = rcgen::generate_simple_self_signed(["lists.example".to_owned()]).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let authority = directory.path().join("ca.pem");
        std::fs::write(&authority, key.cert.pem()).unwrap();
        let private =
            rustls_pki_types::PrivateKeyDer::try_from(key.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![key.cert.der().clone()], private)
            .unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            answers: Arc::default(),
            asked: Arc::default(),
            authority,
            directory,
        };
        let (answers, asked) = (Arc::clone(&server.answers), Arc::clone(&server.asked));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, answers, asked) =
                    (acceptor.clone(), Arc::clone(&answers), Arc::clone(&asked));
                tokio::spawn(async move {
                    let Ok(mut stream) = acceptor.accept(stream).await else {
                        return;
                    };
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        match stream.read_u8().await {
                            Ok(byte) => head.push(byte),
                            Err(_) => return,
                        }
                    }
                    asked.fetch_add(1, Ordering::SeqCst);
                    let head = String::from_utf8(head).unwrap();
                    let path = head.split(' ').nth(1).unwrap().to_owned();
                    let conditional = head.to_lowercase().contains("if-none-match: \"same\"");
                    let answer = answers.lock().unwrap().get(&path).cloned();
                    let answer = match answer {
                        Some(_) if conditional => b"HTTP/1.1 304 Not Modified\r\n\r\n".to_vec(),
                        Some(answer) => answer,
                        None => b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_vec(),
                    };
                    let _ = stream.write_all(&answer).await;
                    let _ = stream.shutdown().await;
                });
            }
        });
        server
    }

    fn raw(&self, path: &str, answer: impl Into<Vec<u8>>) {
        self.answers
            .lock()
            .unwrap()
            .insert(path.to_owned(), answer.into());
    }

    fn serve(&self, path: &str, body: &str) {
        self.raw(
            path,
            format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            ),
        );
    }

    fn feed(&self, trust: FeedTrust) -> FeedSpec {
        feed(
            "c2",
            FeedSource::Https {
                url: "https://lists.example/c2.txt".to_owned(),
                trust,
                authority: Some(self.authority.clone()),
                refresh: Duration::from_secs(3600),
            },
        )
    }

    fn build(&self, spec: &FeedSpec) -> (Arc<Catalogue>, Told) {
        struct There(SocketAddr);
        impl Connect for There {
            fn connect(
                &self,
                host: Box<str>,
                port: u16,
            ) -> BoxFuture<'static, std::io::Result<TcpStream>> {
                assert_eq!((&*host, port), ("lists.example", 443));
                Box::pin(TcpStream::connect(self.0))
            }
        }
        let (environment, told) = environment(Arc::new(There(self.address)));
        let directory = Some(self.directory.path());
        let catalogue = Catalogue::build(
            std::slice::from_ref(spec),
            &[],
            &[],
            directory,
            None,
            &environment,
        );
        (catalogue.unwrap(), told)
    }
}

fn last(told: &Told) -> String {
    told.lock().unwrap().last().cloned().unwrap_or_default()
}

#[tokio::test]
async fn a_list_is_fetched_kept_and_there_after_a_restart() {
    let server = Server::start().await;
    let spec = server.feed(FeedTrust::Unsigned);
    let (catalogue, told) = server.build(&spec);
    assert!(!catalogue.lists().ready());
    assert_eq!(catalogue.lists().missing(), ["c2".into()]);
    server.serve("/c2.txt", "bad.example\n");
    assert!(catalogue.refresh().await);
    assert!(catalogue.lists().ready());
    assert_eq!(categories(&catalogue.lists(), "www.bad.example"), ["c2"]);
    assert_eq!(last(&told), "c2 loaded 1");
    let status = &catalogue.status()[0];
    assert!(status.fault.is_none() && status.checked_at.is_some() && status.loaded_at.is_some());
    let (again, _) = server.build(&spec);
    assert_eq!(categories(&again.lists(), "bad.example"), ["c2"]);
    // The same content again is nothing new.
    let version = catalogue.lists().version();
    assert!(!catalogue.refresh().await);
    assert_eq!(catalogue.lists().version(), version);
}

#[tokio::test]
async fn only_something_newer_is_fetched() {
    let server = Server::start().await;
    let (catalogue, _) = server.build(&server.feed(FeedTrust::Unsigned));
    server.raw(
        "/c2.txt",
        "HTTP/1.1 200 OK\r\nETag: \"same\"\r\nContent-Length: 12\r\n\r\nbad.example\n",
    );
    assert!(catalogue.refresh().await);
    server.serve("/c2.txt", "other.example\n");
    assert!(!catalogue.refresh().await);
    assert_eq!(categories(&catalogue.lists(), "bad.example"), ["c2"]);
}

#[tokio::test]
async fn what_is_not_good_leaves_the_last_good_copy() {
    let server = Server::start().await;
    let spec = server.feed(FeedTrust::Unsigned);
    let (catalogue, told) = server.build(&spec);
    let many: String = (0..100).map(|n| format!("bad{n}.example\n")).collect();
    server.raw("/c2.txt", format!("HTTP/1.1 200 OK\r\nLast-Modified: Mon, 23 Nov 2026 00:00:00 GMT\r\nContent-Length: {}\r\n\r\n{many}", many.len()));
    assert!(catalogue.refresh().await);
    let huge = "a.example\n".repeat(20_000);
    for (what, answer, fault) in [
        (
            "cut short",
            "HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\nbad1.example\n".to_owned(),
            "refused: could not be fetched: cut short: 13 of 900 bytes",
        ),
        (
            "broken chunks",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nbad1.example\n".to_owned(),
            "unreachable",
        ),
        (
            "huge",
            format!(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{huge}\r\n0\r\n\r\n",
                huge.len()
            ),
            "refused: could not be fetched: more than 100000 bytes",
        ),
        (
            "huge and says so",
            "HTTP/1.1 200 OK\r\nContent-Length: 100001\r\n\r\n".to_owned(),
            "refused: could not be fetched: more than 100000 bytes",
        ),
        (
            "empty",
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_owned(),
            "refused: has no entries",
        ),
        (
            "a page",
            "HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n<html></html>".to_owned(),
            "refused: makes no sense in 1 of 1 lines, first in line 1",
        ),
        (
            "shrunk",
            "HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\nbad1.example\n".to_owned(),
            "refused: has 1 entries, and had 100 before",
        ),
        (
            "older",
            format!(
                "HTTP/1.1 200 OK\r\nLast-Modified: Sun, 22 Nov 2026 00:00:00 GMT\r\nContent-Length: {}\r\n\r\n{many}",
                many.len()
            ),
            "refused: is older than the one in use",
        ),
        (
            "a redirect",
            "HTTP/1.1 302 Found\r\nLocation: https://evil.example/\r\nContent-Length: 0\r\n\r\n"
                .to_owned(),
            "unreachable",
        ),
        (
            "compressed",
            "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx".to_owned(),
            "refused: could not be fetched: a compressed answer that was not asked for",
        ),
        (
            "gone",
            "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_owned(),
            "unreachable",
        ),
        (
            "unasked 304",
            "HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n".to_owned(),
            "unreachable",
        ),
    ] {
        server.raw("/c2.txt", answer);
        assert!(!catalogue.refresh().await, "{what}");
        assert_eq!(last(&told), format!("c2 {fault}"), "{what}");
        assert_eq!(
            categories(&catalogue.lists(), "bad7.example"),
            ["c2"],
            "{what}"
        );
        assert!(catalogue.status()[0].fault.is_some(), "{what}");
    }
    let (again, _) = server.build(&spec);
    assert_eq!(categories(&again.lists(), "bad7.example"), ["c2"]);
    let left: Vec<_> = std::fs::read_dir(server.directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left.len(), 2, "{left:?}");
}

#[tokio::test]
async fn a_signed_list_is_believed_by_its_signature_and_never_goes_back() {
    let server = Server::start().await;
    let signer = Signer::new(7);
    let spec = server.feed(FeedTrust::Minisign(signer.public()));
    let (catalogue, told) = server.build(&spec);
    let put = |text: &str, signature: Option<String>| {
        server.serve("/c2.txt", text);
        match signature {
            Some(signature) => server.serve("/c2.txt.minisig", &signature),
            None => drop(server.answers.lock().unwrap().remove("/c2.txt.minisig")),
        }
    };
    put("bad.example\n", None);
    assert!(!catalogue.refresh().await);
    assert_eq!(last(&told), "c2 refused: has no signature");
    assert!(!catalogue.lists().ready());
    let at = |text: &str, time: u32| {
        Some(signer.sign(text.as_bytes(), &format!("timestamp:{time}\tfile:c2.txt")))
    };
    put("bad.example\n", at("bad.example\n", 100));
    assert!(catalogue.refresh().await, "{told:?}");
    for (text, signature, fault) in [
        ("evil.example\n", at("bad.example\n", 200), "signature"),
        (
            "evil.example\n",
            Some(Signer::new(8).sign(b"evil.example\n", "timestamp:200")),
            "signature",
        ),
        ("old.example\n", at("old.example\n", 99), "older"),
        (
            "old.example\n",
            Some(signer.sign(b"old.example\n", "no date")),
            "older",
        ),
    ] {
        put(text, signature);
        assert!(!catalogue.refresh().await);
        assert!(last(&told).contains(fault), "{}", last(&told));
    }
    put("new.example\n", at("new.example\n", 101));
    assert!(catalogue.refresh().await);
    assert_eq!(categories(&catalogue.lists(), "new.example"), ["c2"]);
    let (again, _) = server.build(&spec);
    assert_eq!(categories(&again.lists(), "new.example"), ["c2"]);
}

// Attack: whoever can write to the directory of copies, but has no key.
#[tokio::test]
async fn a_copy_is_verified_again_when_it_is_read() {
    let server = Server::start().await;
    let signer = Signer::new(7);
    let spec = server.feed(FeedTrust::Minisign(signer.public()));
    let (catalogue, _) = server.build(&spec);
    server.serve("/c2.txt", "bad.example\n");
    server.serve(
        "/c2.txt.minisig",
        &signer.sign(b"bad.example\n", "timestamp:1"),
    );
    assert!(catalogue.refresh().await);
    let path = super::super::feeds::store::path_of(server.directory.path(), "c2");
    let mut copy = std::fs::read(&path).unwrap();
    let end = copy.len() - 5;
    copy[end] = b'x';
    std::fs::write(&path, copy).unwrap();
    let (again, _) = server.build(&spec);
    assert!(!again.lists().ready());
    assert!(
        again.status()[0]
            .fault
            .as_deref()
            .unwrap()
            .contains("signature")
    );
}

#[tokio::test]
async fn the_schedule_fetches_at_once_and_ends_with_its_catalogue() {
    let server = Server::start().await;
    server.serve("/c2.txt", "bad.example\n");
    let (catalogue, _) = server.build(&server.feed(FeedTrust::Unsigned));
    let (sender, mut changes) = tokio::sync::mpsc::unbounded_channel();
    let other = sender.clone();
    catalogue.start(move || sender.send(()).unwrap());
    catalogue.start(move || other.send(()).unwrap());
    changes.recv().await.unwrap();
    assert!(catalogue.lists().ready());
    drop(catalogue);
    // The task held the other end.
    assert!(changes.recv().await.is_none());
    assert_eq!(server.asked.load(Ordering::SeqCst), 1);
}

#[test]
fn nothing_is_said_of_a_host_that_nobody_lists() {
    let found = build(&[]).lists().find("www.example.com", false);
    assert!(
        found.categories.is_empty()
            && found.feeds.is_empty()
            && found.service.is_none()
            && !found.alert
    );
    assert_eq!(found.domain.as_deref(), Some("example.com"));
}
