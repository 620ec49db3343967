//! What the other steps of a request cost, each by itself: reading the head, finding the app, the token, the assertion
//! and the record.

#![expect(
    clippy::unwrap_used,
    reason = "a benchmark that cannot be set up has nothing to measure"
)]

mod setup;

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use http::request::Parts;
use http::{Method, Request, Uri};
use masugata::assertion::{AssertionSigner, Facts};
use masugata::audit::Auditor;
use masugata::audit::event::{Completion, Decision, Outcome, Verdict};
use masugata::capability::{Clock, SystemClock, SystemEntropy};
use masugata::config::{self, ClaimNames, ClientCertificateMode, KeySource, OnOverflow};
use masugata::connection::{Connection, Protocol, TlsFacts};
use masugata::exchange::RequestId;
use masugata::framing;
use masugata::issuer::Issuers;
use masugata::routes::{Route, RouteTable};
use masugata_certs::Peer;
use masugata_policy::{Action, Timestamp};
use masugata_tests::TokenIssuer;

fn head() -> Parts {
    let request = Request::builder()
        .uri("/reports/2027/q1?sort=name")
        .header("host", "app-7.example")
        .header(
            "user-agent",
            "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
        )
        .header(
            "accept",
            "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
        )
        .header("accept-language", "ja,en;q=0.5")
        .header("accept-encoding", "gzip, deflate, br, zstd")
        .header("cookie", "session=3f1c2a; theme=dark")
        .header("authorization", "Bearer eyJhbGciOiJFUzI1NiJ9.e30.c2ln");
    request.body(()).unwrap().into_parts().0
}

fn reading(criterion: &mut Criterion) {
    let head = head();
    criterion.bench_function("head: target, fields and path", |bencher| {
        bencher.iter(|| framing::parse(black_box(&head)).unwrap().path.len());
    });
    let hosts: Vec<[String; 1]> = (0..100)
        .map(|index| [format!("app-{index}.example")])
        .collect();
    let routes = hosts.iter().zip(0..).map(|(hosts, service)| Route {
        hosts,
        prefix: "/",
        service,
    });
    let table: RouteTable<usize> = RouteTable::build(routes).unwrap();
    criterion.bench_function("route: 100 apps", |bencher| {
        bencher.iter(|| {
            table
                .resolve(black_box("app-7.example"), black_box("/reports/2027/q1"))
                .copied()
        });
    });
}

fn token(criterion: &mut Criterion) {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let directory = tempfile::tempdir().unwrap();
    let issuer = TokenIssuer::new("https://idp.test", "masugata", "key-1");
    let jwks = directory.path().join("jwks.json");
    std::fs::write(&jwks, issuer.jwks().to_string()).unwrap();
    let configured = [configured_issuer(KeySource::File(jwks))];
    let file = directory.path().join("masugata.toml");
    let issuers = Issuers::build(
        &configured,
        &file,
        None,
        None,
        &clock,
        &SystemEntropy::default(),
    )
    .unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let now = clock.now();
    let groups = ["employees", "engineering", "tokyo", "on-call"];
    let token = issuer.token("ada", &groups, now.as_seconds()).sign();
    let thumbprint = [7; 32];
    runtime
        .block_on(issuers.verify(&token, Some(&thumbprint), now))
        .unwrap();
    criterion.bench_function("token: seen before", |bencher| {
        bencher.iter(|| {
            issuers
                .cached(black_box(&token), Some(&thumbprint), now)
                .unwrap()
        });
    });
    criterion.bench_function("token: verified (ES256)", |bencher| {
        bencher.iter_batched(
            || issuer.token("ada", &groups, now.as_seconds()).sign(),
            |token| {
                runtime
                    .block_on(issuers.verify(&token, Some(&thumbprint), now))
                    .unwrap()
            },
            criterion::BatchSize::SmallInput,
        );
    });
}

fn configured_issuer(keys: KeySource) -> config::Issuer {
    config::Issuer {
        name: "corp".into(),
        issuer: "https://idp.test".into(),
        audiences: vec!["masugata".into()],
        algorithms: vec![jsonwebtoken::Algorithm::ES256],
        keys,
        token_types: vec!["at+jwt".into()],
        claims: ClaimNames {
            user: "sub".into(),
            require_verified_email: true,
            name: "name".into(),
            groups: "groups".into(),
            roles: "roles".into(),
            group_prefix: String::new(),
        },
        acr_multi_factor: Vec::new(),
        acr_phishing_resistant: Vec::new(),
        multi_factor_out_of_band: false,
        leeway: Duration::from_secs(30),
        max_token_lifetime: Duration::from_secs(12 * 3600),
        sign_in: None,
    }
}

fn assertion(criterion: &mut Criterion) {
    let now = SystemClock.now();
    let config = config::Assertion {
        issuer: "masugata".into(),
        key: None,
        lifetime: Duration::from_secs(60),
    };
    let signer = AssertionSigner::build(&config, None, now, &SystemEntropy::default()).unwrap();
    let parties = setup::parties(8, now);
    let facts = Facts {
        principal: &parties.principal,
        device: &parties.device,
        authentication: &parties.authentication,
        app: &parties.app,
        audience: "app-0",
        credential_until: Timestamp::MAX,
    };
    criterion.bench_function("assertion: reused", |bencher| {
        bencher.iter(|| signer.header_for(black_box(&facts), now).unwrap());
    });
    let mut later = now;
    criterion.bench_function("assertion: signed (ES256)", |bencher| {
        bencher.iter(|| {
            later = later.plus(Duration::from_secs(3600));
            signer.header_for(black_box(&facts), later).unwrap()
        });
    });
}

/// Records handed over before the writer is waited for; the queue holds them all.
const BATCH: u64 = 2_000;

fn audit(criterion: &mut Criterion) {
    let directory = tempfile::tempdir().unwrap();
    let config = config::Audit {
        file: directory.path().join("audit.jsonl"),
        queue: 10_000,
        on_overflow: OnOverflow::Refuse,
        sync_interval: Duration::from_secs(60),
        query: false,
    };
    let auditor = Auditor::open(&config, Arc::new(SystemClock)).unwrap();
    let record = Recorded::new();
    criterion.bench_function("record: two events handed over", |bencher| {
        bencher.iter_custom(|requests| {
            in_batches(requests, |count| {
                let spent = record.hand_over(&auditor, count);
                assert!(auditor.flush(Duration::from_secs(30)));
                spent
            })
        });
    });
    criterion.bench_function(
        "record: two events handed over, serialised, chained, written",
        |bencher| {
            bencher.iter_custom(|requests| {
                in_batches(requests, |count| {
                    let start = begin();
                    record.hand_over(&auditor, count);
                    assert!(auditor.flush(Duration::from_secs(30)));
                    start.elapsed()
                })
            });
        },
    );
    auditor.close(Duration::from_secs(30));
}

fn in_batches(mut requests: u64, run: impl Fn(u64) -> Duration) -> Duration {
    let mut spent = Duration::ZERO;
    while requests > 0 {
        let count = requests.min(BATCH);
        spent += run(count);
        requests -= count;
    }
    spent
}

/// Facts of a request, to be recorded over and over.
struct Recorded {
    parties: setup::Parties,
    connection: Arc<Connection>,
    uri: Uri,
    policies: Arc<[Box<str>]>,
    upstream: Arc<str>,
    now: Timestamp,
}

impl Recorded {
    fn new() -> Self {
        let now = SystemClock.now();
        Self {
            parties: setup::parties(8, now),
            connection: Arc::new(Connection {
                id: 1,
                door: masugata::connection::Door::Ingress,
                remote: ([192, 0, 2, 17], 50_000).into(),
                local: ([192, 0, 2, 1], 443).into(),
                peer: Peer::Anonymous,
                identity_problem: None,
                tls: TlsFacts {
                    server_name: Some("app-0.example".into()),
                    client_certificate: ClientCertificateMode::Required,
                    version: "TLSv1.3",
                    suite: "TLS_AES_128_GCM_SHA256",
                    group: "X25519MLKEM768",
                    resumed: false,
                    protocol: Protocol::Http1,
                },
                vouched: std::sync::atomic::AtomicU64::new(0),
            }),
            uri: Uri::from_static("/reports/2027/q1"),
            policies: Arc::new([Box::from("internal-for-employees")]),
            upstream: "http://192.0.2.80:8080".into(),
            now,
        }
    }

    fn hand_over(&self, auditor: &Auditor, count: u64) -> Duration {
        let start = begin();
        for index in 0..count {
            let request = RequestId(u128::from(index));
            auditor.decided(self.decision(request)).unwrap();
            auditor.completed(self.completion(request));
        }
        start.elapsed()
    }

    fn decision(&self, request: RequestId) -> Decision {
        Decision {
            at: self.now,
            request,
            generation: 1,
            connection: Arc::clone(&self.connection),
            method: Method::GET,
            uri: self.uri.clone(),
            host: Some("app-0.example".into()),
            app: Some(Arc::clone(&self.parties.app)),
            destination: None,
            action: Some(Action::Read),
            principal: Some(Arc::clone(&self.parties.principal)),
            authentication: Some(Arc::clone(&self.parties.authentication)),
            device: Some(Arc::clone(&self.parties.device)),
            verdict: Verdict::Permitted {
                policies: Arc::clone(&self.policies),
                version: None,
            },
            observed_limits: Vec::new(),
        }
    }

    fn completion(&self, request: RequestId) -> Completion {
        Completion {
            at: self.now,
            request,
            generation: 1,
            outcome: Outcome::Completed,
            status: Some(200),
            bytes_received: 0,
            bytes_sent: 1024,
            duration: Duration::from_micros(700),
            upstream: Some(Arc::clone(&self.upstream)),
            attempts: 1,
            ech: false,
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a benchmark reads the real clock"
)]
fn begin() -> Instant {
    Instant::now()
}

criterion_group! { name = benches; config = setup::short(); targets = reading, token, assertion, audit }
criterion_main!(benches);
