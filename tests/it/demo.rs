//! `masugata demo`: what a newcomer sees first, as printed, and what scripts rely on.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use futures_util::{SinkExt as _, StreamExt as _};
use http::Method;
use http_body_util::BodyExt as _;
use masugata_tests::{
    Answer, Client, Device, Process, ProxyClient, assert_denied, fed, masugata, within_reason,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_tungstenite::tungstenite::Message;

struct Demo {
    process: Process,
    told: Value,
}

impl Demo {
    async fn start(directory: &Path) -> Self {
        let directory = directory.to_str().unwrap();
        let mut process = Process::start([
            "demo",
            "--dir",
            directory,
            "--port",
            "0",
            "--egress-port",
            "0",
            "--admin-port",
            "0",
        ]);
        process.until_out("\nready\n").await;
        let text = std::fs::read_to_string(Path::new(directory).join("demo.json")).unwrap();
        Self {
            process,
            told: serde_json::from_str(&text).unwrap(),
        }
    }
    async fn stop(mut self) {
        self.process.signal("TERM");
        assert_eq!(
            self.process.ended().await.code(),
            Some(0),
            "{}",
            self.process.err()
        );
    }
    fn text(&self, pointer: &str) -> String {
        self.told
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_else(|| panic!("{pointer} in {:#}", self.told))
            .to_owned()
    }
    fn file(&self, pointer: &str) -> String {
        std::fs::read_to_string(self.text(pointer)).unwrap()
    }
    fn root(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.file("/ca_cert").as_bytes()).unwrap()
    }
    fn address(&self, pointer: &str) -> SocketAddr {
        let url = self.text(pointer);
        let port = url.rsplit(':').next().unwrap().parse().unwrap();
        SocketAddr::from((Ipv4Addr::LOCALHOST, port))
    }
    fn client(&self) -> Client {
        Client::of(self.address("/ingress_url"), self.root(), "localhost")
    }
    fn device(&self, device: &str) -> Device {
        Device {
            certificate_pem: self.file(&format!("/devices/{device}/cert")),
            key_pem: self.file(&format!("/devices/{device}/key")),
            serial: self.text(&format!("/devices/{device}/serial")),
            thumbprint: [0; 32],
        }
    }
    fn proxy(&self, device: &str) -> ProxyClient {
        ProxyClient::of(self.address("/egress_url"), self.root(), "localhost")
            .device(&self.device(device))
    }
    fn as_they_are(&self, device: &str, token: &str) -> Client {
        self.client()
            .device(&self.device(device))
            .token(self.file(&format!("/tokens/{token}")).trim())
    }
}

fn files(directory: &Path) -> BTreeMap<PathBuf, u32> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            let mode = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
            found.insert(path, mode);
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn people_have_links_and_secrets_that_only_their_owner_can_read() {
    let directory = TempDir::new().unwrap();
    let demo = Demo::start(directory.path()).await;
    let origin = demo.text("/sign_in_url");
    assert!(origin.starts_with("https://login.localhost:") && origin.ends_with('/'));
    let remembered: Vec<_> = ["ada", "ben", "chie"]
        .map(|user| {
            let link = demo.text(&format!("/users/{user}/link"));
            let token = link.strip_prefix(&format!("{origin}id/welcome#")).unwrap();
            assert_eq!(token.len(), 43);
            let password = demo.text(&format!("/users/{user}/password"));
            assert!(password.len() >= 15, "{password}");
            let totp = demo.text(&format!("/users/{user}/totp_secret"));
            assert!(!totp.contains(' '), "{totp}");
            (link, password, totp)
        })
        .into();
    let printed = demo.process.out();
    assert!(printed.contains(&remembered[0].0), "{printed}");
    for (_, password, totp) in &remembered {
        assert!(!printed.contains(password) && !printed.contains(totp));
    }
    let at = |name: &str| directory.path().join(name);
    for (name, mode) in [
        ("people.json", 0o600),
        ("demo.json", 0o600),
        ("store", 0o700),
    ] {
        let found = std::fs::metadata(at(name)).unwrap().permissions().mode();
        assert_eq!(found & 0o777, mode, "{name}");
    }
    demo.stop().await;

    let again = Demo::start(directory.path()).await;
    for (user, (link, password, totp)) in ["ada", "ben", "chie"].iter().zip(&remembered) {
        assert_ne!(
            &again.text(&format!("/users/{user}/link")),
            link,
            "a new link"
        );
        assert_eq!(&again.text(&format!("/users/{user}/password")), password);
        assert_eq!(&again.text(&format!("/users/{user}/totp_secret")), totp);
    }
    again.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn demo_json_says_where_everything_is_before_ready_is_printed() {
    let directory = TempDir::new().unwrap();
    let demo = Demo::start(&directory.path().join("made/by/it")).await;
    let keys: Vec<_> = demo.told.as_object().unwrap().keys().cloned().collect();
    for key in [
        "ingress_url",
        "admin_url",
        "ca_cert",
        "config",
        "audit_log",
        "devices",
        "tokens",
        "apps",
        "egress_url",
        "pac_url",
        "why_url",
        "internet",
    ] {
        assert!(keys.iter().any(|known| known == key), "{key}");
    }
    assert!(demo.text("/ingress_url").starts_with("https://localhost:"));
    assert!(demo.text("/admin_url").starts_with("http://127.0.0.1:"));
    for pointer in ["/ca_cert", "/config", "/audit_log"] {
        let path = PathBuf::from(demo.text(pointer));
        assert!(path.is_absolute() && path.exists(), "{pointer}");
    }
    let devices = demo.told["devices"].as_object().unwrap();
    assert_eq!(devices.len(), 3);
    for (name, device) in devices {
        for key in ["cert", "key"] {
            assert!(
                Path::new(device[key].as_str().unwrap()).exists(),
                "{name}.{key}"
            );
        }
        let serial = device["serial"].as_str().unwrap();
        assert!(
            serial.len() >= 16 && serial.bytes().all(|byte| byte.is_ascii_hexdigit()),
            "{serial}"
        );
    }
    for (name, token) in demo.told["tokens"].as_object().unwrap() {
        let text = std::fs::read_to_string(token.as_str().unwrap()).unwrap();
        assert_eq!(text.trim().split('.').count(), 3, "{name}");
    }
    let mut levels: Vec<_> = demo.told["apps"]
        .as_object()
        .unwrap()
        .values()
        .map(|app| {
            assert!(app["url"].as_str().unwrap().starts_with("https://"));
            app["level"].as_str().unwrap()
        })
        .collect();
    levels.sort_unstable();
    assert_eq!(levels, ["confidential", "internal", "public"]);
    // Whatever holds a secret is for its owner alone.
    let all = files(directory.path());
    let mut keys = 0;
    for (path, mode) in &all {
        let content = std::fs::read_to_string(path).unwrap_or_default();
        if content.contains("PRIVATE KEY") || path.extension().is_some_and(|it| it == "jwt") {
            assert_eq!(mode & 0o077, 0, "{}", path.display());
            keys += 1;
        }
    }
    assert!(keys >= 9, "{all:?}");
    let admin: SocketAddr = demo.text("/admin_url")["http://".len()..].parse().unwrap();
    assert_eq!(
        masugata_tests::http_get(admin, "/readyz", "localhost")
            .await
            .status,
        200
    );
    demo.stop().await;
}

/// The five requests that are printed, made as they are printed.
#[tokio::test(flavor = "multi_thread")]
async fn the_printed_requests_do_what_is_printed() {
    let directory = TempDir::new().unwrap();
    let mut demo = Demo::start(directory.path()).await;
    let printed = demo.process.out();
    for text in [
        "curl",
        "200",
        "401 assurance-insufficient",
        "403 posture-stale",
        "403 no-permit",
        "No device certificate",
        "audit verify",
    ] {
        assert!(printed.contains(text), "no `{text}`:\n{printed}");
    }
    for client in [
        demo.as_they_are("laptop", "ada"),
        demo.as_they_are("laptop", "ada").h2(),
    ] {
        let answer = client.get("payroll", "/api/echo").await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.json()["assertion"]["sub"], "demo/ada");
    }
    let answer = demo
        .as_they_are("laptop", "ada-password-only")
        .get("payroll", "/")
        .await;
    assert_denied(&answer, "assurance-insufficient");
    assert_eq!(answer.status, 401);
    assert!(
        answer
            .header("www-authenticate")
            .unwrap()
            .contains("insufficient_user_authentication"),
        "{answer:?}"
    );
    let answer = demo
        .as_they_are("stale-laptop", "ada")
        .get("payroll", "/")
        .await;
    assert_denied(&answer, "posture-stale");
    assert!(!answer.json()["remedy"].as_str().unwrap().is_empty());
    assert_denied(
        &demo.as_they_are("laptop", "ben").get("payroll", "/").await,
        "no-permit",
    );
    let bare = demo.client().token(demo.file("/tokens/ada").trim());
    let refused: Result<Answer, String> = match bare.try_session("payroll").await {
        Err(error) => Err(error.to_string()),
        // With TLS 1.3 the client learns of it with its first read.
        Ok(mut session) => {
            let request = session
                .build(Method::GET, "/")
                .body(http_body_util::Empty::<bytes::Bytes>::new())
                .unwrap();
            session
                .send_any(request)
                .await
                .map_err(|error| format!("{error:?}"))
        }
    };
    let error = refused.expect_err("no certificate, no connection");
    assert!(
        error.contains("CertificateRequired")
            || error.contains("ChannelClosed")
            || error.contains("closed")
            || error.contains("reset"),
        "{error}"
    );
    // curl itself, where there is one, exactly as printed.
    if std::process::Command::new("curl")
        .arg("--version")
        .output()
        .is_ok()
    {
        for (number, expected) in [("1.", "200"), ("2.", "401"), ("3.", "403"), ("4.", "403")] {
            let start = printed.find(&format!("\n{number} ")).unwrap();
            let lines: Vec<_> = printed[start + 1..].lines().skip(1).take(2).collect();
            let ran = std::process::Command::new("sh")
                .args([
                    "-c",
                    &format!(
                        "cd '{}' && {}",
                        directory.path().display(),
                        lines.join("\n")
                    ),
                ])
                .output()
                .unwrap();
            let answer = String::from_utf8_lossy(&ran.stdout);
            let status = answer.split(' ').nth(1).unwrap_or_default();
            assert_eq!(
                status,
                expected,
                "{}\n{answer}{}",
                lines.join("\n"),
                String::from_utf8_lossy(&ran.stderr)
            );
        }
    }
    let log = demo.text("/audit_log");
    demo.process.signal("TERM");
    demo.process.ended().await;
    assert_eq!(masugata(["audit", "verify", &log]).code, Some(0));
    assert!(
        std::fs::read_to_string(log)
            .unwrap()
            .contains("posture-stale")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_apps_behind_it_show_what_passes() {
    let directory = TempDir::new().unwrap();
    let demo = Demo::start(directory.path()).await;
    let ada = demo.as_they_are("laptop", "ada");
    // All three levels, the public one also with a password alone.
    for app in ["", "portal", "projects", "payroll"] {
        let page = ada.get(app, "/").await;
        assert_eq!(page.status, 200, "{app}: {}", page.text());
        assert!(
            page.header("content-type")
                .unwrap()
                .starts_with("text/html")
        );
        assert!(page.text().contains("demo/ada"), "{app}");
    }
    let weak = demo.as_they_are("laptop", "ada-password-only");
    assert_eq!(weak.get("", "/").await.status, 200);
    assert_eq!(weak.get("projects", "/").await.status, 401);
    for client in [ada.clone(), ada.clone().h2()] {
        let answer = client
            .post("projects", "/api/echo?q=1", "こんにちは")
            .await
            .json();
        assert_eq!(
            (&answer["method"], &answer["body"], &answer["query"]),
            (&"POST".into(), &"こんにちは".into(), &"q=1".into())
        );
        let answer = client
            .request("projects", Method::PUT, "/upload", &"x".repeat(100_000))
            .await;
        assert_eq!(
            (answer.status.as_u16(), &answer.json()["bytes"]),
            (201, &100_000.into())
        );
        let answer = client.get("projects", "/download?bytes=300000").await;
        assert_eq!(answer.body.len(), 300_000);
        // Events one by one.
        let mut session = client.session("projects").await;
        let request = session
            .build(Method::GET, "/events?count=3&interval=10")
            .body(http_body_util::Empty::<bytes::Bytes>::new())
            .unwrap();
        let answer = session.open_any(request).await.unwrap();
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        let events = within_reason("events", answer.into_body().collect())
            .await
            .unwrap()
            .to_bytes();
        assert_eq!(
            String::from_utf8_lossy(&events)
                .matches("event: tick")
                .count(),
            3
        );
        // An upload in pieces.
        let (feed, body) = fed();
        let request = session.build(Method::POST, "/upload").body(body).unwrap();
        tokio::spawn(async move {
            for _ in 0..10 {
                feed.data(vec![0; 1000]).await;
            }
        });
        assert_eq!(
            session.send_any(request).await.unwrap().json()["bytes"],
            10_000
        );
    }
    let mut socket = ada.websocket("projects", "/ws").await.unwrap();
    socket.send(Message::text("hello")).await.unwrap();
    assert_eq!(
        within_reason("an echo", socket.next())
            .await
            .unwrap()
            .unwrap(),
        Message::text("hello")
    );
    socket.close(None).await.unwrap();
    demo.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_it_made_once_it_uses_again() {
    let directory = TempDir::new().unwrap();
    let demo = Demo::start(directory.path()).await;
    let before: Vec<_> = ["/ca_cert", "/devices/laptop/cert", "/devices/laptop/key"]
        .map(|it| demo.file(it))
        .into();
    let serials =
        ["laptop", "stale-laptop"].map(|name| demo.text(&format!("/devices/{name}/serial")));
    let old = demo.as_they_are("laptop", "ada");
    assert_eq!(old.get("payroll", "/").await.status, 200);
    let old_token = demo.file("/tokens/ada");
    demo.stop().await;
    // What a person has changed stays, whatever the ports are.
    let config = directory.path().join("masugata.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    let mine =
        format!("{text}\n# mine\n[[network]]\nname = \"lab\"\nranges = [\"192.0.2.0/24\"]\n");
    std::fs::write(&config, &mine).unwrap();
    let policy = directory.path().join("policies/mine.cedar");
    std::fs::write(&policy, "@id(\"mine\") forbid (principal, action, resource) when { context.network.names.contains(\"lab\") };").unwrap();

    let demo = Demo::start(directory.path()).await;
    let after: Vec<_> = ["/ca_cert", "/devices/laptop/cert", "/devices/laptop/key"]
        .map(|it| demo.file(it))
        .into();
    assert_eq!(before, after);
    assert_eq!(
        serials,
        ["laptop", "stale-laptop"].map(|name| demo.text(&format!("/devices/{name}/serial")))
    );
    assert!(std::fs::read_to_string(&config).unwrap().contains("# mine"));
    assert!(policy.exists());
    // Yesterday's token is as good as today's.
    let ada = demo.as_they_are("laptop", "ada");
    assert_eq!(ada.get("payroll", "/").await.status, 200);
    assert_eq!(
        ada.token(old_token.trim()).get("payroll", "/").await.status,
        200
    );
    let log = demo.text("/audit_log");
    demo.stop().await;
    assert_eq!(masugata(["audit", "verify", &log]).code, Some(0));
    assert_eq!(
        std::fs::read_to_string(log)
            .unwrap()
            .matches("\"operation\":\"started\"")
            .count(),
        2
    );
}

/// The application's port of last time is taken: it takes another, and nothing breaks.
#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_of_the_application_is_no_reason_to_stop() {
    let directory = TempDir::new().unwrap();
    let demo = Demo::start(directory.path()).await;
    let app: SocketAddr = demo.text("/app_address").parse().unwrap();
    demo.stop().await;
    let _taken = std::net::TcpListener::bind(app).unwrap();
    let demo = Demo::start(directory.path()).await;
    let answer = demo.as_they_are("laptop", "ada").get("payroll", "/").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    demo.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_listens_on_loopback_or_not_at_all() {
    let directory = TempDir::new().unwrap();
    let demo = Demo::start(directory.path()).await;
    demo.stop().await;
    let config = directory.path().join("masugata.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    // A port that nobody gets: it is refused before it is asked for.
    let mut listens = ["0.0.0.0:1", "0.0.0.0:2"].into_iter();
    let edited: Vec<_> = text
        .lines()
        .map(|line| match line.starts_with("listen = [") {
            true => match listens.next() {
                Some(address) => format!("listen = [\"{address}\"] # everybody"),
                None => line.to_owned(),
            },
            false => line.to_owned(),
        })
        .collect();
    std::fs::write(&config, format!("{}\n# edited\n", edited.join("\n"))).unwrap();
    let refused = masugata([
        "demo",
        "--dir",
        directory.path().to_str().unwrap(),
        "--port",
        "0",
        "--admin-port",
        "0",
    ]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.err.contains("loopback"), "{}", refused.err);
    assert!(!refused.out.contains("ready"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_is_named_with_the_way_out() {
    let directory = TempDir::new().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let directory = directory.path().to_str().unwrap();
    let refused = masugata([
        "demo",
        "--dir",
        directory,
        "--port",
        &port,
        "--admin-port",
        "0",
    ]);
    assert_eq!(refused.code, Some(1));
    assert!(
        refused.err.contains(&port) && refused.err.contains("--port"),
        "{}",
        refused.err
    );
    let refused = masugata([
        "demo",
        "--dir",
        directory,
        "--port",
        "0",
        "--admin-port",
        &port,
    ]);
    assert!(refused.err.contains("--admin-port"), "{}", refused.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_way_out_of_the_demo_does_what_it_prints() {
    let directory = TempDir::new().unwrap();
    let demo = Demo::start(directory.path()).await;
    let site = |name: &str| {
        let url = demo.text(&format!("/internet/{name}"));
        let host = url.strip_prefix("https://").unwrap_or(&url);
        host.trim_end_matches('/').to_owned()
    };
    let ada = demo.proxy("ada-laptop");
    for proxy in [ada.clone(), ada.clone().h2()] {
        let approved = site("approved");
        let tunnel = proxy.connect(&format!("{approved}:443")).await.unwrap();
        let mut tls = tunnel.tls(&approved, demo.root()).await.unwrap();
        let request = format!("GET / HTTP/1.1\r\nhost: {approved}\r\nconnection: close\r\n\r\n");
        tls.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        tls.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(answer.contains(&approved), "{answer}");
        for (name, code) in [
            ("unapproved", "no-permit"),
            ("threat", "forbidden"),
            ("reason", "reason-needed"),
            ("private", "destination-prohibited"),
        ] {
            let refused = proxy.refused(&format!("{}:443", site(name))).await;
            assert_denied(&refused, code);
        }
        let plain = proxy.get(&demo.text("/internet/plain")).await;
        assert_eq!(plain.status.as_u16(), 200, "{}", plain.text());
    }
    let shared = demo.proxy("laptop");
    let approved = format!("{}:443", site("approved"));
    assert_denied(&shared.refused(&approved).await, "credential-missing");
    let password = masugata([
        "proxy-password",
        "--config",
        &demo.text("/config"),
        "--device",
        "laptop-1",
        "--certificate",
        &demo.text("/devices/laptop/cert"),
        "--user",
        "demo/ben",
        "--group",
        "employees",
    ]);
    assert_eq!(password.code, Some(0), "{}", password.err);
    let ben = shared.password("ben", password.out.trim());
    ben.connect(&approved).await.unwrap();

    let pac = demo.client().get("pac", "/staff.pac").await;
    assert!(pac.text().contains("FindProxyForURL"), "{}", pac.text());
    let why = demo.as_they_are("ada-laptop", "ada").get("why", "/").await;
    for name in ["unapproved", "threat", "reason", "private"] {
        assert!(why.text().contains(&site(name)), "{}", why.text());
    }
    let log = demo.text("/audit_log");
    assert!(demo.file("/audit_log").contains("\"operation\":\"alert\""));
    demo.stop().await;
    let verified = masugata(["audit", "verify", &log]);
    assert_eq!(verified.code, Some(0), "{}", verified.err);
}
