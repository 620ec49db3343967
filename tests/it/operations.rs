//! The program as operators run it: signals, exit codes, drains, crashes, and what it logs and records about them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use http::Method;
use http_body_util::Empty;
use masugata_tests::{
    Prepared, Process, TestGateway, TestGatewayBuilder, Upstream, assert_denied, eventually,
    http_get, masugata, within_reason,
};
use serde_json::Value;
use tokio::sync::Notify;

const NOBODY: &str = "@id(\"nobody\") forbid (principal, action, resource);";

fn wiki(upstream: &Upstream) -> TestGatewayBuilder {
    TestGateway::new().app("wiki", upstream.address)
}

fn operations(prepared: &Prepared, kind: &str) -> Vec<String> {
    let records = prepared.records();
    let found = records.iter().filter(|record| record["operation"] == kind);
    found
        .map(|record| record["detail"].as_str().unwrap().to_owned())
        .collect()
}

async fn recorded(prepared: &Prepared, kind: &str, count: usize) {
    eventually(kind, async || operations(prepared, kind).len() == count).await;
}

fn verify(prepared: &Prepared) {
    let log = prepared.path("audit.jsonl");
    let verified = masugata(["audit".as_ref(), "verify".as_ref(), log.as_os_str()]);
    assert_eq!(verified.code, Some(0), "{verified:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hangup_puts_changed_files_in_force_and_drops_nobody() {
    let upstream = Upstream::hello().await;
    let prepared = wiki(&upstream).prepare();
    let mut process = Process::run(&prepared.config()).await;
    let ada = prepared.ada(process.ingress().await);
    let mut kept = ada.session("wiki").await;
    assert_eq!(kept.get("/").await.text(), "hello");
    prepared.write("policies/test.cedar", NOBODY);
    process.signal("HUP");
    recorded(&prepared, "reloaded", 1).await;
    process.until_err("reloaded").await;
    // The same connection, under the new rules.
    assert_denied(&kept.get("/").await, "forbidden");
    assert_denied(&ada.get("wiki", "/").await, "forbidden");
}

/// Each file, broken in its own way, while the program serves.
#[tokio::test(flavor = "multi_thread")]
async fn broken_files_change_nothing_and_are_told_of_by_name() {
    let upstream = Upstream::hello().await;
    let prepared = wiki(&upstream).prepare();
    let mut process = Process::run(&prepared.config()).await;
    let ada = prepared.ada(process.ingress().await);
    let admin = process.admin().await;
    let (other_chain, _) = prepared.pki().server(&["*.corp.test"], 30);
    let broken = [
        ("masugata.toml", "policies = [".to_owned(), "masugata.toml"),
        (
            "masugata.toml",
            prepared
                .read("masugata.toml")
                .replace("level = \"internal\"", "levle = \"internal\""),
            "levle",
        ),
        (
            "masugata.toml",
            prepared
                .read("masugata.toml")
                .replacen("127.0.0.1:0", "127.0.0.1:1", 1),
            "ingress.listen",
        ),
        (
            "policies/test.cedar",
            "permit (principal".into(),
            "test.cedar",
        ),
        (
            "policies/test.cedar",
            "@id(\"x\") permit (principal, action, resource) when { context.no_such_thing };"
                .into(),
            "test.cedar",
        ),
        ("devices.toml", "[[device]]\nid = 3".into(), "devices.toml"),
        ("server.pem", "nothing".into(), "server.pem"),
        ("server.pem", other_chain, "server"),
        (
            "server.key",
            "-----BEGIN PRIVATE KEY-----\nbm90aGluZw==\n-----END PRIVATE KEY-----\n".into(),
            "server.key",
        ),
        ("ca.pem", "".into(), "ca.pem"),
        ("jwks.json", "{\"keys\": 3}".into(), "jwks.json"),
    ];
    for (number, (file, content, named)) in broken.iter().enumerate() {
        let good = prepared.read(file);
        // In the same moment a change that is fine: it must not slip in alone.
        let policy = prepared.read("policies/test.cedar");
        if !file.starts_with("policies") {
            prepared.write("policies/test.cedar", NOBODY);
        }
        prepared.write(file, content);
        process.signal("HUP");
        recorded(&prepared, "reload-refused", number + 1).await;
        let why = operations(&prepared, "reload-refused").pop().unwrap();
        assert!(why.contains(named), "{file}: {why}");
        assert!(
            process
                .err()
                .contains("not reloaded, the configuration in force stays"),
            "{}",
            process.err()
        );
        let answer = ada.get("wiki", "/").await;
        assert_eq!(answer.text(), "hello", "{file}");
        prepared.write(file, &good);
        prepared.write("policies/test.cedar", &policy);
    }
    let page = http_get(admin, "/metrics", "localhost").await.text();
    let refused = format!(
        "masugata_reloads_total{{result=\"refused\"}} {}",
        broken.len()
    );
    assert!(page.contains(&refused), "{page}");
    // Repaired, everything is as before.
    process.signal("HUP");
    recorded(&prepared, "reloaded", 1).await;
    assert_eq!(ada.get("wiki", "/").await.text(), "hello");
    process.signal("TERM");
    assert_eq!(process.ended().await.code(), Some(0));
    verify(&prepared);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_watched_and_certificates_change_without_dropping_anybody() {
    let upstream = Upstream::hello().await;
    let prepared = wiki(&upstream).watching().prepare();
    let mut process = Process::run(&prepared.config()).await;
    let ada = prepared.ada(process.ingress().await);
    let mut kept = ada.session("wiki").await;
    assert_eq!(kept.get("/").await.text(), "hello");
    let shown = async || {
        let stream = ada.clone().anew().stream("wiki").await.unwrap();
        stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
    };
    let before = shown().await;
    let (chain, key) = prepared.pki().server(&["*.corp.test"], 30);
    // One after the other, as tools do: between the two nothing fits, and nothing changes.
    prepared.write("server.pem", &chain);
    prepared.write("server.key", &key);
    eventually("the new certificate is shown", async || {
        shown().await != before
    })
    .await;
    assert_eq!(kept.get("/").await.text(), "hello");
    prepared.write("policies/test.cedar", NOBODY);
    eventually("the new policy holds", async || {
        ada.get("wiki", "/").await.status == 403
    })
    .await;
    assert_denied(&kept.get("/").await, "forbidden");
}

/// Holds every request until told.
async fn holding() -> (Upstream, Arc<Notify>) {
    let go_on = Arc::new(Notify::new());
    let told = Arc::clone(&go_on);
    let upstream = Upstream::new(move |request: http::Request<hyper::body::Incoming>| {
        let told = Arc::clone(&told);
        async move {
            if request.uri().path() == "/hold" {
                told.notified().await;
            }
            Upstream::text("hello")
        }
    })
    .await;
    (upstream, go_on)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_termination_lets_requests_finish_and_takes_no_new_ones() {
    let (upstream, go_on) = holding().await;
    let prepared = wiki(&upstream).ingress("bounds.drain = \"10m\"").prepare();
    let mut process = Process::run(&prepared.config()).await;
    let (ingress, admin) = (process.ingress().await, process.admin().await);
    let ada = prepared.ada(ingress);
    assert_eq!(http_get(admin, "/readyz", "localhost").await.status, 200);
    let mut held = Vec::new();
    for client in [ada.clone(), ada.clone().h2()] {
        held.push(tokio::spawn(
            async move { client.get("wiki", "/hold").await },
        ));
    }
    let mut idle = ada.clone().h2().session("wiki").await;
    assert_eq!(idle.get("/").await.text(), "hello");
    eventually("both are held", async || upstream.count() == 3).await;
    process.signal("TERM");
    eventually("no connection is taken", async || {
        ada.try_session("wiki").await.is_err()
    })
    .await;
    let ready = http_get(admin, "/readyz", "localhost").await;
    assert_eq!(ready.status, 503, "{}", ready.text());
    assert!(ready.text().contains("stopping"), "{}", ready.text());
    assert_eq!(http_get(admin, "/livez", "localhost").await.status, 200);
    assert!(process.is_running());
    go_on.notify_waiters();
    for answer in held {
        assert_eq!(
            within_reason("an answer", answer).await.unwrap().text(),
            "hello"
        );
    }
    assert_eq!(process.ended().await.code(), Some(0));
    assert_eq!(operations(&prepared, "stopped").len(), 1);
    masugata_tests::assert_paired(&prepared.records());
    verify(&prepared);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_finish_in_time_is_cut_and_recorded() {
    let (upstream, _go_on) = holding().await;
    let prepared = wiki(&upstream)
        .ingress("bounds.drain = \"300ms\"")
        .prepare();
    let mut process = Process::run(&prepared.config()).await;
    let ada = prepared.ada(process.ingress().await);
    let held = tokio::spawn(async move {
        let mut session = ada.session("wiki").await;
        let request = session
            .build(Method::GET, "/hold")
            .body(Empty::<bytes::Bytes>::new())
            .unwrap();
        session.send_any(request).await
    });
    eventually("it is held", async || upstream.count() == 1).await;
    process.signal("INT");
    assert_eq!(process.ended().await.code(), Some(0));
    assert!(within_reason("the end", held).await.unwrap().is_err());
    let records = prepared.records();
    masugata_tests::assert_paired(&records);
    let completion = records
        .iter()
        .find(|record| record["type"] == "completion")
        .unwrap();
    assert!(completion["outcome"] == "shut-down", "{completion}");
    verify(&prepared);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_under_load_leaves_a_record_that_verifies() {
    let upstream = Upstream::hello().await;
    let prepared = wiki(&upstream).prepare();
    let answered = Arc::new(AtomicUsize::new(0));
    for round in 0..3 {
        let mut process = Process::run(&prepared.config()).await;
        let ada = prepared.ada(process.ingress().await);
        let stop = Arc::new(AtomicBool::new(false));
        let before = answered.load(Ordering::SeqCst);
        let load: Vec<_> = (0..8)
            .map(|number| {
                let (ada, stop, answered) = (ada.clone(), Arc::clone(&stop), Arc::clone(&answered));
                tokio::spawn(async move {
                    let client = if number % 2 == 0 { ada } else { ada.h2() };
                    while !stop.load(Ordering::SeqCst) {
                        let Ok(mut session) = client.try_session("wiki").await else {
                            return;
                        };
                        for _ in 0..20 {
                            let request = session
                                .build(Method::GET, "/")
                                .body(Empty::<bytes::Bytes>::new())
                                .unwrap();
                            match session.send_any(request).await {
                                Ok(answer) if answer.status == 200 => {
                                    answered.fetch_add(1, Ordering::SeqCst);
                                }
                                Ok(answer) => panic!("{}", answer.text()),
                                Err(_) => return,
                            }
                        }
                    }
                })
            })
            .collect();
        eventually("there is load", async || {
            answered.load(Ordering::SeqCst) > before + 200
        })
        .await;
        process.signal("KILL");
        process.ended().await;
        stop.store(true, Ordering::SeqCst);
        for client in load {
            within_reason("the clients notice", client).await.unwrap();
        }
        if round == 1 {
            // As a crash of the whole machine does: half a line.
            let mut log = std::fs::OpenOptions::new()
                .append(true)
                .open(prepared.path("audit.jsonl"))
                .unwrap();
            std::io::Write::write_all(&mut log, b"{\"v\":1,\"seq\":99999,\"time\":\"20").unwrap();
        }
    }
    let mut process = Process::run(&prepared.config()).await;
    let ada = prepared.ada(process.ingress().await);
    assert_eq!(ada.get("wiki", "/").await.text(), "hello");
    process.signal("TERM");
    assert_eq!(process.ended().await.code(), Some(0));
    verify(&prepared);
    assert_eq!(operations(&prepared, "started").len(), 4);
    assert!(!operations(&prepared, "recovered").is_empty());
    // Nobody can take a line away afterwards.
    let log = prepared.read("audit.jsonl");
    let lines: Vec<_> = log.lines().collect();
    let without: Vec<_> = lines
        .iter()
        .enumerate()
        .filter(|(number, _)| *number != 5)
        .map(|(_, line)| *line)
        .collect();
    prepared.write("audit.jsonl", &format!("{}\n", without.join("\n")));
    let file = prepared.path("audit.jsonl");
    let verified = masugata(["audit".as_ref(), "verify".as_ref(), file.as_os_str()]);
    assert_eq!(verified.code, Some(1), "{verified:?}");
    assert!(
        verified.out.contains(":6") || verified.out.contains("line 6"),
        "{}",
        verified.out
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_gateway_does_not_write_into_the_same_record() {
    let upstream = Upstream::hello().await;
    let prepared = wiki(&upstream).prepare();
    let mut process = Process::run(&prepared.config()).await;
    let config = prepared.config();
    let second = masugata(["run".as_ref(), "-c".as_ref(), config.as_os_str()]);
    assert_eq!(second.code, Some(1), "{second:?}");
    assert!(second.err.contains("audit"), "{}", second.err);
    assert!(process.is_running());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_keeps_it_from_starting_is_said_with_the_exit_code() {
    let upstream = Upstream::hello().await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let prepared = wiki(&upstream)
        .ingress(&format!("listen = [\"{}\"]", taken.local_addr().unwrap()))
        .prepare();
    let run = |prepared: &Prepared| {
        masugata(["run".as_ref(), "-c".as_ref(), prepared.config().as_os_str()])
    };
    let ended = run(&prepared);
    assert_eq!(ended.code, Some(1));
    assert!(
        ended
            .err
            .contains(&format!("cannot listen on {}", taken.local_addr().unwrap())),
        "{}",
        ended.err
    );
    let prepared = wiki(&upstream).policy("permit").prepare();
    let ended = run(&prepared);
    assert_eq!(ended.code, Some(2));
    assert!(ended.err.contains("test.cedar"), "{}", ended.err);
    let prepared = wiki(&upstream).prepare();
    prepared.write(
        "masugata.toml",
        &prepared
            .read("masugata.toml")
            .replace("audit.jsonl", "no/such/directory/audit.jsonl"),
    );
    let ended = run(&prepared);
    assert!(matches!(ended.code, Some(1 | 2)), "{ended:?}");
    assert!(ended.err.contains("no/such/directory"), "{}", ended.err);
    let ended = masugata(["run", "-c", "/no/such/file.toml"]);
    assert_eq!(ended.code, Some(2));
    assert!(ended.err.contains("/no/such/file.toml"), "{}", ended.err);
    assert_eq!(masugata(["run", "--no-such-flag"]).code, Some(2));
    assert_eq!(masugata(["serve"]).code, Some(2));
}

/// Everything that must never be seen, planted; then everything that can be logged, logged.
#[tokio::test(flavor = "multi_thread")]
async fn logs_are_json_lines_without_secrets_at_every_level() {
    let upstream = Upstream::hello().await;
    let prepared = TestGateway::new()
        .app_with(
            "wiki",
            "internal",
            upstream.address,
            "request_headers.set = { X-Api-Key = \"planted-api-key\" }\nupgrades = true",
        )
        .runtime("log_format = \"json\"\nlog_level = \"trace\"")
        .prepare();
    let mut process =
        Process::start(["run".as_ref(), "-c".as_ref(), prepared.config().as_os_str()]);
    let ingress = process.ingress().await;
    let ada = prepared.ada(ingress);
    let token = prepared
        .issuer
        .token("ada", &["employees"], prepared.clock.seconds())
        .sign();
    let named = ada
        .clone()
        .token(token.clone())
        .header("cookie", "session=planted-cookie")
        .header("x-note", "\u{202e}planted");
    assert_eq!(
        named.get("wiki", "/?reset=planted-query").await.text(),
        "hello"
    );
    let forged = format!("{}x", &token[..token.len() - 4]);
    assert_eq!(
        ada.clone()
            .token(forged.clone())
            .get("wiki", "/")
            .await
            .status,
        401
    );
    ada.clone()
        .h2()
        .token("planted-nonsense")
        .get("wiki", "/")
        .await;
    ada.raw("wiki", b"GET / HTTP/1.1\r\nHost: wiki.corp.test\r\nAuthorization: Bearer planted-raw\r\nX: a\x1b[2J\r\n\r\n").await;
    ada.raw("wiki", b"\x16\x03\x01 planted").await;
    let _ = masugata_tests::Client::new(ingress, prepared.pki())
        .try_session("wiki")
        .await;
    // A key that is none, which an error may be tempted to quote.
    let key = prepared.read("server.key");
    prepared.write("server.key", &key.replace("PRIVATE KEY", "PRIVATE KEYS"));
    process.signal("HUP");
    process.until_err("not reloaded").await;
    process.signal("TERM");
    assert_eq!(process.ended().await.code(), Some(0));
    let log = process.err();
    for line in log.lines() {
        let parsed: Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        for member in ["timestamp", "level", "message"] {
            assert!(parsed[member].is_string(), "{line}");
        }
    }
    let body: Vec<_> = key.lines().filter(|line| !line.contains("-----")).collect();
    let secrets = [
        "planted",
        &token[..],
        &forged[..],
        &token[token.len() - 40..],
    ];
    let record = prepared.read("audit.jsonl");
    for (place, text) in [
        ("log", &log),
        ("output", &process.out()),
        ("record", &record),
    ] {
        for secret in secrets.iter().chain(&body) {
            assert!(!text.contains(secret), "{secret} in the {place}");
        }
        assert!(
            !text.contains('\u{1b}'),
            "an escape sequence in the {place}"
        );
    }
    assert!(log.contains("not reloaded"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_level_follows_a_reload() {
    let upstream = Upstream::hello().await;
    let prepared = wiki(&upstream).runtime("log_level = \"error\"").prepare();
    let mut process =
        Process::start(["run".as_ref(), "-c".as_ref(), prepared.config().as_os_str()]);
    eventually("it serves", async || {
        std::fs::metadata(prepared.path("audit.jsonl")).is_ok()
            && !operations(&prepared, "started").is_empty()
    })
    .await;
    let config = prepared.read("masugata.toml");
    prepared.write(
        "masugata.toml",
        &config.replace("log_level = \"error\"", "log_level = \"info\""),
    );
    process.signal("HUP");
    recorded(&prepared, "reloaded", 1).await;
    process.signal("HUP");
    process.until_err("reloaded").await;
}
