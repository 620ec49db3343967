//! Programs on their way out: `masugata connect`, curl and git as processes of their own, set up as `masugata setup` says.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::{SinkExt as _, StreamExt as _};
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use masugata_tests::{
    Behaviour, Finished, Origin, Origins, Pki, Prepared, Process, Program, TestGateway, Upstream,
    eventually, masugata, minutes, skipped, within_reason,
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;

/// Approved sites, and nothing else.
const APPROVED: &str = r#"@id("approved")
permit (principal in Masugata::Group::"employees", action == Masugata::Action::"connect",
        resource is Masugata::Destination in Masugata::AppGroup::"cloud-services");
"#;
const SERVICE: &str = "[[egress.service]]\nname = \"site\"\nhosts = [\".site.example\"]\n\
                       groups = [\"cloud-services\"]\n";

/// Three sites, one of them without TLS, and a door that leads to nothing else.
struct World {
    gateway: TestGateway,
    origins: Origins,
    secure: Origin,
    plain: Upstream,
    /// Serves what is in `home`.
    _files: Upstream,
    /// Where the programs are at home, with the files that the instructions name.
    home: TempDir,
}

impl World {
    async fn new() -> Self {
        let plain = Upstream::hello().await;
        let door = TestGateway::new()
            .device("tablet", "")
            .device("kiosk", "owner = \"\"")
            .egress("why_host = \"proxy.localhost\"\npassword_key = \"password.key\"")
            .file("password.key", &STANDARD.encode([7; 32]))
            .policy(APPROVED)
            .origin("plain.site.example", plain.address);
        let origins = Origins::new(door.clock().seconds());
        let secure = origins.tls(&["site.example"], Behaviour::Http).await;
        let home = tempfile::tempdir().unwrap();
        let files = files(&origins, home.path()).await;
        let gateway = door
            .origin("site.example", secure.address)
            .origin("git.site.example", files.address)
            .config(SERVICE)
            .start()
            .await;
        let world = Self {
            gateway,
            origins,
            secure,
            plain,
            _files: files,
            home,
        };
        world.install("laptop");
        let pki = world.gateway.pki();
        std::fs::write(world.at("ca.pem"), pki.authority_pem()).unwrap();
        std::fs::write(world.at("sites.pem"), world.origins.authority_pem()).unwrap();
        world
    }

    fn at(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// Puts a device's certificate and key where programs look for them.
    fn install(&self, device: &str) {
        install(self.gateway.pki(), device, self.home.path());
    }

    fn door(&self) -> String {
        format!("localhost:{}", self.gateway.egress_address().port())
    }

    /// `masugata connect`, and where it listens.
    async fn connect(&self, more: &[&str]) -> (Process, SocketAddr) {
        // A name that not every system looks up as what it is.
        let door = self.door().replace("localhost", "proxy.localhost");
        connect(self.home.path(), &door, more).await
    }

    /// What `masugata setup` prints for a client, as it would be on this machine: with its files where they are here.
    fn instructions(&self, client: &str) -> String {
        let config = self.gateway.path("masugata.toml");
        let config = config.to_str().unwrap();
        let said = masugata(["setup", client, "-c", config, "--language", "en"]);
        assert_eq!(said.code, Some(0), "{}", said.err);
        said.out
            .replace("proxy.corp.test:0", &self.door())
            .replace("/etc/masugata", self.home.path().to_str().unwrap())
    }

    fn program(&self, name: &'static str) -> Option<Program> {
        Program::find(name, self.home.path())
    }

    /// curl with the file that the instructions say.
    fn curl(&self) -> Option<Program> {
        let file = printed(&self.instructions("curl"), "~/.curlrc");
        std::fs::write(self.at(".curlrc"), file).unwrap();
        self.program("curl")
    }

    /// Whether nobody has asked the gateway for anything so far.
    async fn undecided(&self) -> bool {
        // What was asked before this is on record before it.
        self.gateway.proxy().refused("marker.example:443").await;
        self.decisions("marker.example", 1).await;
        let records = self.gateway.records_so_far().into_iter();
        let decisions = records.filter(|record| record["type"] == "decision");
        decisions.count() == 1
    }

    /// The decisions on record about a host, oldest first, once there are so many.
    async fn decisions(&self, host: &str, count: usize) -> Vec<Value> {
        let about = || -> Vec<Value> {
            let records = self.gateway.records_so_far().into_iter();
            let decisions = records.filter(|record| record["type"] == "decision");
            decisions
                .filter(|record| record["destination"]["host"] == host)
                .collect()
        };
        let what = format!("{count} decisions about {host}");
        eventually(&what, async || about().len() >= count).await;
        about()
    }
}

/// A site with TLS that serves the files of a directory.
async fn files(origins: &Origins, root: &Path) -> Upstream {
    let root = root.to_owned();
    let config = origins.server_config(&["git.site.example"]);
    Upstream::tls(config, move |request: Request<Incoming>| {
        let read = std::fs::read(root.join(request.uri().path().trim_start_matches('/')));
        async move {
            let mut answer = Upstream::text("");
            match read {
                Ok(bytes) => *answer.body_mut() = Full::from(bytes).boxed(),
                Err(_) => *answer.status_mut() = StatusCode::NOT_FOUND,
            }
            answer
        }
    })
    .await
}

fn install(pki: &Pki, device: &str, directory: &Path) {
    let device = pki.device(device);
    for (name, content) in [
        ("device.pem", device.certificate_pem),
        ("device.key", device.key_pem),
    ] {
        let new = directory.join("new");
        std::fs::write(&new, content).unwrap();
        std::fs::rename(new, directory.join(name)).unwrap();
    }
}

async fn connect(home: &Path, gateway: &str, more: &[&str]) -> (Process, SocketAddr) {
    let file = |name: &str| home.join(name).to_str().unwrap().to_owned();
    let (ca, cert, key) = (file("ca.pem"), file("device.pem"), file("device.key"));
    let mut arguments = vec!["connect", "--gateway", gateway, "--listen", "127.0.0.1:0"];
    arguments.extend(["--ca", &ca, "--cert", &cert, "--key", &key]);
    arguments.extend(more);
    let mut process = Process::start(arguments);
    process.until_out("ready: http://").await;
    let said = process.out();
    let address = said.split_whitespace().nth(1).unwrap();
    let address = address.strip_prefix("http://").unwrap().parse().unwrap();
    (process, address)
}

/// The file of that name in what `masugata setup` printed.
fn printed(instructions: &str, name: &str) -> String {
    let start = format!("--- {name}\n");
    let (_, rest) = instructions
        .split_once(&start)
        .unwrap_or_else(|| panic!("no {name} in:\n{instructions}"));
    let (file, _) = rest.split_once("\n\n").unwrap_or((rest, ""));
    format!("{}\n", file.trim_end())
}

/// Everything that is said in return.
async fn ask(proxy: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(proxy).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    let _ = within_reason("the end of an answer", read).await;
    String::from_utf8_lossy(&answer).into_owned()
}

/// CONNECT and its answer; with the connection, when that is a tunnel.
async fn tunnel_with(
    proxy: SocketAddr,
    target: &str,
    more: &str,
) -> Result<TcpStream, (u16, String)> {
    let mut stream = TcpStream::connect(proxy).await.unwrap();
    let request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{more}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    let whole = async {
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
    };
    within_reason("the head of an answer", whole).await;
    let mut head = String::from_utf8(head).unwrap();
    let status = head[9..12].parse().unwrap();
    if status == 200 {
        return Ok(stream);
    }
    // Its length is known, or the connection ends.
    let length = head.to_lowercase();
    let length = length.split("content-length: ").nth(1).unwrap();
    let length: usize = length.split("\r\n").next().unwrap().parse().unwrap();
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.unwrap();
    head.push_str(&String::from_utf8(body).unwrap());
    Err((status, head))
}

async fn tunnel(proxy: SocketAddr, target: &str) -> Result<TcpStream, (u16, String)> {
    tunnel_with(proxy, target, "").await
}

async fn http_through(mut tunnel: TcpStream, host: &str) -> String {
    let request = format!("GET / HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    tunnel.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let read = tunnel.read_to_string(&mut answer);
    within_reason("an answer", read).await.unwrap();
    answer
}

fn code_of(answer: &str) -> Option<String> {
    let (_, body) = answer.split_once("\r\n\r\n")?;
    let problem: Value = serde_json::from_str(body).ok()?;
    Some(problem["code"].as_str()?.to_owned())
}

fn status_of(answer: &str) -> &str {
    answer.get(9..12).unwrap_or(answer)
}

fn plain_get(more: &str) -> String {
    format!(
        "GET http://plain.site.example/a?b HTTP/1.1\r\nHost: plain.site.example\r\n{more}Connection: close\r\n\r\n"
    )
}

// masugata connect

#[tokio::test(flavor = "multi_thread")]
async fn the_local_proxy_carries_tunnels_and_pages_with_the_certificate_of_the_device() {
    let world = World::new().await;
    let (_connect, proxy) = world.connect(&[]).await;
    let through = tunnel(proxy, "plain.site.example:80").await.unwrap();
    let answer = http_through(through, "plain.site.example").await;
    assert!(answer.ends_with("hello"), "{answer}");
    let page = ask(proxy, &plain_get("")).await;
    assert!(page.ends_with("hello"), "{page}");
    assert_eq!(world.plain.last().uri, "/a?b");
    let decisions = world.decisions("plain.site.example", 2).await;
    let kinds: Vec<_> = decisions
        .iter()
        .map(|decision| {
            assert_eq!(decision["device"]["id"], "laptop", "{decision}");
            assert_eq!(decision["principal"]["id"], "corp/ada", "{decision}");
            decision["destination"]["kind"].as_str().unwrap()
        })
        .collect();
    assert_eq!(kinds.len(), 2);
    assert_eq!(kinds[0], "tunnel");
    assert_ne!(kinds[1], "tunnel");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_comes_through_the_local_proxy_with_its_words() {
    let world = World::new().await;
    let (_connect, proxy) = world.connect(&[]).await;
    for (target, code) in [
        ("files.other.example", "no-permit"),
        ("site.example:22", "destination-port-refused"),
    ] {
        let port = if target.contains(':') { "" } else { ":443" };
        let (status, answer) = tunnel_with(
            proxy,
            &format!("{target}{port}"),
            "Accept: application/json\r\n",
        )
        .await
        .unwrap_err();
        assert_eq!(status, 403, "{answer}");
        assert_eq!(code_of(&answer).as_deref(), Some(code), "{answer}");
        let lower = answer.to_lowercase();
        assert!(lower.contains("proxy-status: masugata; error="), "{answer}");
        let page = ask(
            proxy,
            &format!(
                "GET http://{target}/ HTTP/1.1\r\nHost: x\r\nAccept: application/json\r\nConnection: close\r\n\r\n"
            ),
        )
        .await;
        assert_eq!(status_of(&page), "403", "{page}");
        assert_eq!(code_of(&page).as_deref(), Some(code), "{page}");
        assert!(page.to_lowercase().contains("proxy-status: masugata;"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_is_away_is_told_from_a_gateway_that_is() {
    let world = World::new().await;
    let (_connect, proxy) = world.connect(&[]).await;
    // Permitted by its service, and its name is nobody's.
    let (status, answer) = tunnel(proxy, "nobody.site.example:443").await.unwrap_err();
    assert!((500..600).contains(&status), "{answer}");
    let lower = answer.to_lowercase();
    assert!(lower.contains("proxy-status: masugata; error="), "{answer}");
    assert!(!lower.contains("masugata-connect"), "{answer}");
}

/// `masugata proxy-password` for a device of the world, as a process.
fn proxy_password(world: &World, device: &str, more: &[&str]) -> Finished {
    let config = world.gateway.path("masugata.toml");
    let certificate = world.at("device.pem");
    let mut arguments = vec![
        "proxy-password",
        "-c",
        config.to_str().unwrap(),
        "--device",
        device,
        "--certificate",
        certificate.to_str().unwrap(),
    ];
    arguments.extend(more);
    masugata(arguments)
}

fn basic(password: &str) -> String {
    let pair = STANDARD.encode(format!("x:{password}"));
    format!("Proxy-Authorization: Basic {pair}\r\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_answers_the_407_that_comes_through_the_local_proxy() {
    let world = World::new().await;
    world.install("kiosk");
    let (_connect, proxy) = world.connect(&[]).await;
    const TARGET: &str = "plain.site.example:80";
    let (status, answer) = tunnel(proxy, TARGET).await.unwrap_err();
    assert_eq!(status, 407, "{answer}");
    let lower = answer.to_lowercase();
    assert!(
        lower.contains("proxy-authenticate: bearer realm=\"masugata\""),
        "{answer}"
    );
    assert!(
        lower.contains("proxy-authenticate: basic realm=\"masugata\""),
        "{answer}"
    );
    let page = ask(proxy, &plain_get("")).await;
    assert_eq!(status_of(&page), "407", "{page}");

    let made = proxy_password(
        &world,
        "kiosk",
        &["--user", "corp/bob", "--group", "employees"],
    );
    assert_eq!(made.code, Some(0), "{}", made.err);
    assert!(made.err.contains("corp/bob on kiosk, until "), "{made:?}");
    let password = made.out.trim_end();
    assert!(!made.err.contains(password), "only where it is asked for");
    let with = basic(password);
    tunnel_with(proxy, TARGET, &with).await.unwrap();
    let page = ask(proxy, &plain_get(&with)).await;
    assert!(page.ends_with("hello"), "{page}");
    let seen = world.plain.last();
    assert_eq!(seen.all("proxy-authorization"), [""; 0]);
    let decisions = world.decisions("plain.site.example", 4).await;
    assert_eq!(decisions.last().unwrap()["principal"]["id"], "corp/bob");
    // On another device it is worth nothing.
    world.install("tablet");
    let (status, answer) = tunnel_with(proxy, TARGET, &with).await.unwrap_err();
    assert_eq!(status, 407, "{answer}");
}

/// `masugata proxy-password --from` this gateway, with what is installed.
async fn asked_for_a_password(world: &World, token: &str) -> Finished {
    std::fs::write(world.at("token"), token).unwrap();
    let from = format!("https://proxy.localhost:{}", world.gateway.address().port());
    let mut arguments = vec!["proxy-password".to_owned(), "--from".to_owned(), from];
    for (option, file) in [
        ("--ca", "ca.pem"),
        ("--cert", "device.pem"),
        ("--key", "device.key"),
        ("--token-file", "token"),
    ] {
        let file = world.at(file).to_str().unwrap().to_owned();
        arguments.extend([option.to_owned(), file]);
    }
    // The gateway that is asked runs on this runtime.
    tokio::task::spawn_blocking(move || masugata(arguments))
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_makes_a_password_for_a_token_and_says_why_it_does_not() {
    let world = World::new().await;
    world.install("kiosk");
    let thumbprint = world.gateway.device("kiosk").thumbprint;
    let token = world.gateway.token("bob").bound_to(&thumbprint).sign();
    let made = asked_for_a_password(&world, &format!("{token}\n")).await;
    assert_eq!(made.code, Some(0), "{}", made.err);
    assert!(made.err.contains("corp/bob on kiosk, until "), "{made:?}");
    let (_connect, proxy) = world.connect(&[]).await;
    let with = basic(made.out.trim_end());
    tunnel_with(proxy, "plain.site.example:80", &with)
        .await
        .unwrap();

    let stolen = world.gateway.token("bob").sign();
    for (token, code) in [
        (stolen.as_str(), "credential-not-bound"),
        ("nonsense", "credential-invalid"),
    ] {
        let refused = asked_for_a_password(&world, token).await;
        assert_eq!(refused.code, Some(2), "{refused:?}");
        assert!(refused.out.is_empty(), "{refused:?}");
        assert!(refused.err.contains(code), "{refused:?}");
        assert!(refused.err.contains("\nhelp: "), "{refused:?}");
        let owner = refused.err.contains("registered in your name");
        assert_eq!(owner, code == "credential-not-bound", "{refused:?}");
        assert!(!refused.err.contains(token), "{refused:?}");
    }
    let empty = asked_for_a_password(&world, "a\nb").await;
    assert!(empty.err.contains("holds no token"), "{empty:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_file_is_read_for_each_request() {
    let world = World::new().await;
    world.install("kiosk");
    let token = world.at("token");
    std::fs::write(&token, "garbage\n").unwrap();
    let file = token.to_str().unwrap().to_owned();
    let (_connect, proxy) = world.connect(&["--token-file", &file]).await;
    let (status, answer) = tunnel(proxy, "plain.site.example:80").await.unwrap_err();
    assert_eq!(status, 407, "{answer}");
    let good = world.gateway.token("bob").sign();
    std::fs::write(&token, format!("{good}\n")).unwrap();
    tunnel(proxy, "plain.site.example:80").await.unwrap();
    // In place of what the program says.
    let page = ask(proxy, &plain_get("Proxy-Authorization: Bearer mine\r\n")).await;
    assert!(page.ends_with("hello"), "{page}");
    std::fs::remove_file(&token).unwrap();
    let page = ask(proxy, &plain_get("")).await;
    assert_eq!(status_of(&page), "500", "{page}");
    assert!(page.contains("cannot read"), "{page}");
    assert!(!page.contains(&good));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_certificate_counts_from_the_next_request_on_and_tunnels_go_on() {
    let world = World::new().await;
    let (_connect, proxy) = world.connect(&[]).await;
    let old = tunnel(proxy, "plain.site.example:80").await.unwrap();
    // Half replaced, as while a tool writes one file after the other.
    let tablet = world.gateway.device("tablet");
    std::fs::write(world.at("device.pem"), &tablet.certificate_pem).unwrap();
    let page = ask(proxy, &plain_get("")).await;
    assert_eq!(status_of(&page), "500", "{page}");
    assert!(page.contains("cannot use"), "{page}");
    assert!(!page.contains("PRIVATE"), "{page}");
    std::fs::write(world.at("device.key"), &tablet.key_pem).unwrap();
    let page = ask(proxy, &plain_get("")).await;
    assert!(page.ends_with("hello"), "{page}");
    let decisions = world.decisions("plain.site.example", 2).await;
    let devices: Vec<_> = decisions
        .iter()
        .map(|decision| decision["device"]["id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(devices, ["laptop", "tablet"]);
    let answer = http_through(old, "plain.site.example").await;
    assert!(answer.ends_with("hello"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_nobody_vouches_for_gets_no_further_than_the_local_proxy() {
    let world = World::new().await;
    let forged = world.gateway.pki().forge("laptop");
    std::fs::write(world.at("device.pem"), &forged.certificate_pem).unwrap();
    std::fs::write(world.at("device.key"), &forged.key_pem).unwrap();
    let (_connect, proxy) = world.connect(&[]).await;
    let (status, answer) = tunnel(proxy, "plain.site.example:80").await.unwrap_err();
    assert_eq!(status, 502, "{answer}");
    assert!(
        answer.to_lowercase().contains("masugata-connect; error="),
        "{answer}"
    );
    assert_eq!(world.plain.count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_others_vouch_for_is_told_nothing() {
    let world = World::new().await;
    std::fs::write(world.at("ca.pem"), world.origins.authority_pem()).unwrap();
    let (_connect, proxy) = world.connect(&[]).await;
    let (status, answer) = tunnel_with(proxy, "plain.site.example:80", &basic("secret"))
        .await
        .unwrap_err();
    assert_eq!(status, 502, "{answer}");
    assert!(answer.contains("tls_protocol_error"), "{answer}");
    assert!(world.undecided().await);
}

/// Whatever is behind a name that stays: connections go where it leads now.
struct Detour {
    address: SocketAddr,
    to: Arc<Mutex<SocketAddr>>,
}

impl Detour {
    async fn new(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let to = Arc::new(Mutex::new(to));
        let now = Arc::clone(&to);
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let to = *now.lock().unwrap();
                tokio::spawn(async move {
                    // A dropped connection is what clients see of a gateway that is not there.
                    let Ok(mut far) = TcpStream::connect(to).await else {
                        return;
                    };
                    let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                });
            }
        });
        Self { address, to }
    }
}

async fn prepared_door(site: SocketAddr) -> Prepared {
    TestGateway::new()
        // Its tunnels do not end by themselves.
        .ingress("bounds.drain = \"1s\"")
        .egress("bounds.drain = \"1s\"")
        .origin("site.example", site)
        .prepare()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_starts_again_is_found_again() {
    let site = Upstream::hello().await;
    let prepared = prepared_door(site.address).await;
    let mut first = Process::run(&prepared.config()).await;
    let detour = Detour::new(first.egress().await).await;
    install(prepared.pki(), "laptop", prepared.directory.path());
    let door = format!("localhost:{}", detour.address.port());
    let (_connect, proxy) = connect(prepared.directory.path(), &door, &[]).await;
    let mut cut = tunnel(proxy, "site.example:80").await.unwrap();
    for signal in ["TERM", "KILL"] {
        first.signal(signal);
        first.ended().await;
        let mut rest = Vec::new();
        let _ = within_reason("the cut", cut.read_to_end(&mut rest)).await;
        assert!(rest.is_empty());
        let (status, answer) = tunnel(proxy, "site.example:80").await.unwrap_err();
        assert_eq!(status, 502, "{answer}");
        first = Process::run(&prepared.config()).await;
        *detour.to.lock().unwrap() = first.egress().await;
        // At once: it is the first request that finds it.
        cut = tunnel(proxy, "site.example:80").await.unwrap();
    }
    let answer = http_through(cut, "site.example").await;
    assert!(answer.ends_with("hello"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_local_proxy_is_for_this_machine_only() {
    let world = World::new().await;
    let file = |name: &str| world.at(name).to_str().unwrap().to_owned();
    let door = world.door();
    let run = |gateway: &str, listen: &str, cert: &str| {
        let (ca, key) = (file("ca.pem"), file("device.key"));
        let mut arguments = vec!["connect", "--gateway", gateway, "--listen", listen];
        arguments.extend(["--ca", &ca, "--cert", cert, "--key", &key]);
        masugata(arguments)
    };
    let cert = file("device.pem");
    for listen in [
        "0.0.0.0:0",
        "[::]:0",
        "192.0.2.1:0",
        "[::ffff:0.0.0.0]:0",
        "169.254.1.1:0",
    ] {
        let refused = run(&door, listen, &cert);
        assert_eq!(refused.code, Some(2), "{listen}: {refused:?}");
        assert!(refused.err.contains("is not loopback"), "{refused:?}");
        assert!(refused.out.is_empty(), "{refused:?}");
    }
    for (gateway, cert, says) in [
        ("localhost", &*cert, "names no port"),
        ("localhost:1", "/nowhere/device.pem", "cannot read"),
        ("localhost:1", &*file("sites.pem"), "cannot use"),
    ] {
        let refused = run(gateway, "127.0.0.1:0", cert);
        assert_eq!(refused.code, Some(2), "{refused:?}");
        assert!(refused.err.contains(says), "{refused:?}");
    }
    let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let taken = other.local_addr().unwrap().to_string();
    let refused = run(&door, &taken, &cert);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.err.contains("cannot listen on"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_in_a_browser_cannot_use_the_local_proxy() {
    let world = World::new().await;
    let (_connect, proxy) = world.connect(&[]).await;
    let port = proxy.port();
    for request in [
        format!("GET / HTTP/1.1\r\nHost: localhost:{port}\r\nOrigin: https://evil.example\r\n\r\n"),
        // A name that the page's owner has bent to loopback.
        format!("GET /x HTTP/1.1\r\nHost: plain.site.example:{port}\r\n\r\n"),
        "GET / HTTP/1.1\r\nHost: plain.site.example\r\n\r\n".to_owned(),
        // What a form can post, with another request as its text.
        format!(
            "POST / HTTP/1.1\r\nHost: localhost:{port}\r\nOrigin: https://evil.example\r\n\
             Content-Type: text/plain\r\nContent-Length: {}\r\n\r\n{}",
            plain_get("").len(),
            plain_get("")
        ),
        format!(
            "OPTIONS / HTTP/1.1\r\nHost: localhost:{port}\r\nOrigin: https://evil.example\r\n\
             Access-Control-Request-Method: CONNECT\r\n\
             Access-Control-Request-Private-Network: true\r\n\r\n"
        ),
        format!(
            "GET / HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        ),
        // HTTP/2 without TLS.
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
        "GET https://site.example/ HTTP/1.1\r\nHost: site.example\r\n\r\n".to_owned(),
        // TLS, as a browser tries first.
        "\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}\u{0}\u{1}\r\n\r\n".to_owned(),
    ] {
        let answer = ask(proxy, &request).await.to_lowercase();
        assert!(
            answer.is_empty() || answer.starts_with("http/1.1 400"),
            "{request}: {answer}"
        );
        assert!(answer.matches("http/1.1 ").count() <= 1, "{answer}");
        assert!(!answer.contains("access-control-"), "{answer}");
    }
    assert_eq!(world.plain.count(), 0);
    assert_eq!(world.secure.seen().connections, 0);
    assert!(world.undecided().await, "nothing of it reached the gateway");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_goes_through_the_local_proxy_by_connect() {
    let site = Upstream::websocket_echo().await;
    let gateway = TestGateway::new()
        .egress("")
        .origin("site.example", site.address)
        .start()
        .await;
    let home = tempfile::tempdir().unwrap();
    install(gateway.pki(), "laptop", home.path());
    std::fs::write(home.path().join("ca.pem"), gateway.pki().authority_pem()).unwrap();
    let door = format!("localhost:{}", gateway.egress_address().port());
    let (_connect, proxy) = connect(home.path(), &door, &[]).await;
    let through = tunnel(proxy, "site.example:80").await.unwrap();
    let (mut socket, _) = tokio_tungstenite::client_async("ws://site.example/", through)
        .await
        .unwrap();
    for size in [1, 70_000] {
        let message = Message::text("x".repeat(size));
        socket.send(message.clone()).await.unwrap();
        let echo = within_reason("the echo", socket.next()).await;
        assert_eq!(echo.unwrap().unwrap(), message);
    }
    // The decision goes on to hold, or it is cut.
    gateway.edit(
        "devices.toml",
        "id = \"laptop\"",
        "id = \"laptop\"\nstate = \"lost\"",
    );
    gateway.reload().await;
    let end = within_reason("the cut", async {
        while let Some(Ok(_)) = socket.next().await {}
    });
    end.await;
    let (status, answer) = tunnel(proxy, "site.example:80").await.unwrap_err();
    assert_eq!(status, 403, "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_local_proxy_ends_when_it_is_told_to() {
    let world = World::new().await;
    for signal in ["TERM", "INT"] {
        let (mut connect, proxy) = world.connect(&[]).await;
        let mut open = tunnel(proxy, "plain.site.example:80").await.unwrap();
        connect.signal(signal);
        let status = connect.ended().await;
        assert_eq!(status.code(), Some(0), "{}", connect.err());
        let mut rest = Vec::new();
        let _ = within_reason("the end", open.read_to_end(&mut rest)).await;
        assert!(TcpStream::connect(proxy).await.is_err());
    }
    // The gateway knows that they are over.
    world.gateway.completions(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_bodies_stream_through_the_local_proxy_both_ways() {
    const MANY: usize = 6 * 1024 * 1024;
    let site = Upstream::new(|request: Request<Incoming>| async move {
        let bytes = request.into_body().collect().await.unwrap().to_bytes();
        let sum: usize = bytes.iter().map(|byte| usize::from(*byte)).sum();
        Upstream::text(&format!("{} {sum} {}", bytes.len(), "x".repeat(MANY)))
    })
    .await;
    let gateway = TestGateway::new()
        .egress("")
        .origin("site.example", site.address)
        .start()
        .await;
    let home = tempfile::tempdir().unwrap();
    install(gateway.pki(), "laptop", home.path());
    std::fs::write(home.path().join("ca.pem"), gateway.pki().authority_pem()).unwrap();
    let door = format!("localhost:{}", gateway.egress_address().port());
    let (_connect, proxy) = connect(home.path(), &door, &[]).await;
    let mut request = String::from(
        "POST http://site.example/ HTTP/1.1\r\nHost: site.example\r\nTransfer-Encoding: chunked\r\n\
         Connection: close\r\n\r\n",
    );
    for _ in 0..MANY / 65536 {
        write!(request, "10000\r\n{}\r\n", "\u{1}".repeat(65536)).unwrap();
    }
    request.push_str("0\r\n\r\n");
    let answer = ask(proxy, &request).await;
    assert_eq!(status_of(&answer), "200");
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(body.contains(&format!("{MANY} {MANY} xxx")));
    assert!(body.len() > MANY);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_can_be_read_in_two_ways_is_one_request_or_none() {
    let world = World::new().await;
    let (_connect, proxy) = world.connect(&[]).await;
    let smuggled =
        "GET http://plain.site.example/smuggled HTTP/1.1\r\nHost: plain.site.example\r\n\r\n";
    for head in [
        format!(
            "Content-Length: {}\r\nTransfer-Encoding: chunked\r\n",
            smuggled.len() + 5
        ),
        "Transfer-Encoding: chunked, identity\r\n".to_owned(),
        "Transfer-Encoding: identity\r\nContent-Length: 5\r\n".to_owned(),
        "Content-Length: 5\r\nContent-Length: 6\r\n".to_owned(),
        "Content-Length: +5\r\n".to_owned(),
        "Transfer-Encoding : chunked\r\n".to_owned(),
    ] {
        let request = format!(
            "POST http://plain.site.example/first HTTP/1.1\r\nHost: plain.site.example\r\n{head}\r\n0\r\n\r\n{smuggled}"
        );
        let mut stream = TcpStream::connect(proxy).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        let _ = within_reason("the end", stream.read_to_end(&mut answer)).await;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        // With both lengths, the chunks count (RFC 9112 §6.3), and what follows them is the program's own second request.
        let both = head.contains("Content-Length") && head.contains(": chunked");
        for seen in world.plain.seen() {
            assert!(
                both || seen.uri == "/first",
                "{head}: {}\n{answer}",
                seen.uri
            );
            assert!(
                seen.one("content-length").is_none() || seen.one("transfer-encoding").is_none()
            );
        }
    }
}

// curl and git

#[tokio::test(flavor = "multi_thread")]
async fn curl_goes_out_as_the_instructions_say() {
    let world = World::new().await;
    let Some(curl) = world.curl() else { return };
    let sites = world.at("sites.pem");
    let sites = sites.to_str().unwrap();
    let opened = curl
        .run(["-sS", "--cacert", sites, "https://site.example/deep"])
        .await;
    assert_eq!(opened.code, Some(0), "{}", opened.err);
    assert!(
        opened.out.starts_with("GET /deep HTTP/1.1"),
        "{}",
        opened.out
    );
    assert_eq!(world.secure.seen().names, ["site.example"]);
    let plain = curl.run(["-sS", "http://plain.site.example/"]).await;
    assert_eq!(plain.out, "hello", "{}", plain.err);

    let refused = curl
        .run(["-sSi", "--cacert", sites, "https://files.other.example/"])
        .await;
    assert_eq!(refused.code, Some(56), "{refused:?}");
    assert!(refused.err.contains("403"), "{}", refused.err);
    let lower = refused.out.to_lowercase();
    assert!(lower.contains("proxy-status: masugata; error="), "{lower}");
    let refused = curl.run(["-sS", "http://files.other.example/"]).await;
    assert!(refused.out.contains("no-permit"), "{refused:?}");
    assert_eq!(world.decisions("files.other.example", 2).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_without_the_devices_certificate_or_the_gateways_ca_gets_nowhere() {
    let world = World::new().await;
    let Some(curl) = world.program("curl") else {
        return;
    };
    let file = |name: &str| world.at(name).to_str().unwrap().to_owned();
    let proxy = format!("https://{}", world.door());
    let strange = curl
        .run([
            "-qsS",
            "-x",
            &proxy,
            "--proxy-cacert",
            &file("ca.pem"),
            "http://plain.site.example/",
        ])
        .await;
    assert_ne!(strange.code, Some(0), "{strange:?}");
    let (ca, cert, key) = (file("sites.pem"), file("device.pem"), file("device.key"));
    let wrong = curl
        .run([
            "-qsS",
            "-x",
            &proxy,
            "--proxy-cacert",
            &ca,
            "--proxy-cert",
            &cert,
            "--proxy-key",
            &key,
            "http://plain.site.example/",
        ])
        .await;
    assert_eq!(wrong.code, Some(60), "{wrong:?}");
    assert_eq!(world.plain.count(), 0);
    assert!(world.undecided().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_goes_out_over_http2() {
    let world = World::new().await;
    let Some(curl) = world.curl() else { return };
    let help = curl.run(["-q", "--help", "proxy"]).await;
    if !help.out.contains("--proxy-http2") {
        skipped("this curl does not speak HTTP/2 to proxies");
        return;
    }
    let sites = world.at("sites.pem");
    let sites = sites.to_str().unwrap();
    let opened = curl
        .run([
            "-sSv",
            "--proxy-http2",
            "--cacert",
            sites,
            "https://site.example/",
        ])
        .await;
    assert_eq!(opened.code, Some(0), "{}", opened.err);
    assert!(opened.out.starts_with("GET / HTTP/1.1"), "{}", opened.out);
    assert!(
        opened.err.contains("CONNECT tunnel: HTTP/2 negotiated"),
        "{}",
        opened.err
    );
    let refused = curl
        .run(["-sS", "--proxy-http2", "https://files.other.example/"])
        .await;
    // It does not say which status it was.
    assert_eq!(refused.code, Some(56), "{refused:?}");
    assert_eq!(world.decisions("files.other.example", 1).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_signs_in_with_a_proxy_password_or_a_token() {
    let world = World::new().await;
    world.install("kiosk");
    let Some(curl) = world.curl() else { return };
    let url = "http://plain.site.example/";
    let asked = curl
        .run(["-sS", "-o", "/dev/null", "-w", "%{http_code}", url])
        .await;
    assert_eq!(asked.out, "407", "{asked:?}");
    let made = proxy_password(
        &world,
        "kiosk",
        &[
            "--user",
            "corp/bob",
            "--group",
            "employees",
            "--lifetime",
            "1h",
        ],
    );
    assert_eq!(made.code, Some(0), "{}", made.err);
    let user = format!("x:{}", made.out.trim_end());
    let sites = world.at("sites.pem");
    let sites = sites.to_str().unwrap();
    // At once, and after being asked for it.
    for way in ["--proxy-basic", "--proxy-anyauth"] {
        for url in [url, "https://site.example/"] {
            let opened = curl
                .run(["-sS", "-f", way, "-U", &user, "--cacert", sites, url])
                .await;
            assert_eq!(opened.code, Some(0), "{way} {url}: {opened:?}");
        }
    }
    let bearer = format!(
        "Proxy-Authorization: Bearer {}",
        world.gateway.token("bob").sign()
    );
    let opened = curl
        .run([
            "-sS",
            "-f",
            "--proxy-header",
            &bearer,
            "--cacert",
            sites,
            "https://site.example/",
        ])
        .await;
    assert_eq!(opened.code, Some(0), "{opened:?}");
    assert!(!world.secure.seen().text().to_lowercase().contains("proxy-"));
    // The hour is over.
    world.gateway.clock.advance(minutes(61));
    let late = curl
        .run([
            "-sS",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
            "-U",
            &user,
            url,
        ])
        .await;
    assert_eq!(late.out, "407", "{late:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_use_the_local_proxy_by_the_variables_of_the_instructions() {
    let world = World::new().await;
    let Some(mut curl) = world.program("curl") else {
        return;
    };
    let (_connect, proxy) = world.connect(&[]).await;
    let environment = printed(&world.instructions("connect"), "environment");
    for line in environment.lines() {
        let (name, value) = line.split_once('=').unwrap();
        curl = curl.with(name, value.replace("127.0.0.1:3128", &proxy.to_string()));
    }
    let sites = world.at("sites.pem");
    let sites = sites.to_str().unwrap();
    let opened = curl
        .run(["-qsS", "--cacert", sites, "https://site.example/"])
        .await;
    assert_eq!(opened.code, Some(0), "{}", opened.err);
    let plain = curl.run(["-qsS", "http://plain.site.example/"]).await;
    assert_eq!(plain.out, "hello", "{}", plain.err);
    let refused = curl.run(["-qsS", "https://files.other.example/"]).await;
    assert_eq!(refused.code, Some(56), "{refused:?}");
}

/// A repository of one commit in the directory that `git.site.example` serves.
async fn repository(git: &Program) {
    for arguments in [
        vec!["init", "-q", "-b", "main", "work"],
        vec!["-C", "work", "commit", "-q", "--allow-empty", "-m", "first"],
        vec!["clone", "-q", "--bare", "work", "repository.git"],
        vec!["-C", "repository.git", "update-server-info"],
    ] {
        let mut all = vec!["-c", "user.name=Ada", "-c", "user.email=ada@corp.test"];
        all.extend(arguments);
        let done = git.run(all).await;
        assert_eq!(done.code, Some(0), "{}", done.err);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn git_clones_as_the_instructions_say() {
    let world = World::new().await;
    let Some(git) = world.program("git") else {
        return;
    };
    repository(&git).await;
    let sites = world.at("sites.pem");
    let git = git
        .with("GIT_SSL_CAINFO", sites.to_str().unwrap())
        .with("GIT_TERMINAL_PROMPT", "0");
    let clone = async |git: &Program, host: &str, into: &str| {
        let url = format!("https://{host}/repository.git");
        git.run(["clone", "-q", &url, into]).await
    };
    let without = clone(&git, "git.site.example", "without").await;
    assert_ne!(
        without.code,
        Some(0),
        "the name exists for the gateway only"
    );

    let file = printed(&world.instructions("git"), "~/.gitconfig");
    std::fs::write(world.at(".gitconfig"), file).unwrap();
    let cloned = clone(&git, "git.site.example", "cloned").await;
    assert_eq!(cloned.code, Some(0), "{}", cloned.err);
    let log = git.run(["-C", "cloned", "log", "--format=%s"]).await;
    assert_eq!(log.out, "first\n");
    let refused = clone(&git, "git.other.example", "refused").await;
    assert_eq!(refused.code, Some(128), "{refused:?}");
    assert!(refused.err.contains("403"), "{}", refused.err);

    // The same by way of the local proxy.
    std::fs::remove_file(world.at(".gitconfig")).unwrap();
    let (_connect, proxy) = world.connect(&[]).await;
    let git = git.with("https_proxy", format!("http://{proxy}"));
    let cloned = clone(&git, "git.site.example", "again").await;
    assert_eq!(cloned.code, Some(0), "{}", cloned.err);
    let refused = clone(&git, "git.other.example", "refused").await;
    assert_eq!(refused.code, Some(128), "{refused:?}");
    let decisions = world.decisions("git.site.example", 2).await;
    assert!(
        decisions
            .iter()
            .all(|decision| decision["device"]["id"] == "laptop")
    );
}

// What is printed

#[tokio::test(flavor = "multi_thread")]
async fn instructions_say_what_each_client_needs() {
    let prepared = TestGateway::new()
        .egress("why_host = \"why.corp.test\"")
        .config(
            "[egress.pac]\nhost = \"pac.corp.test\"\n\
             [[egress.pac.file]]\nname = \"staff\"\nproxied = [\".example\"]\n\
             [[egress.pac.file]]\nname = \"guests\"\neverything = true",
        )
        .prepare();
    let config = prepared.config();
    let config = config.to_str().unwrap();
    let text = prepared.read("masugata.toml");
    let text = text.replacen(
        "listen = [\"127.0.0.1:0\"]\nname",
        "listen = [\"127.0.0.1:8443\"]\nname",
        1,
    );
    prepared.write("masugata.toml", &text);
    let listed = masugata(["setup"]);
    assert_eq!(listed.code, Some(0));
    let clients: Vec<_> = listed
        .out
        .lines()
        .filter_map(|line| {
            line.strip_prefix("masugata setup ")?
                .split_whitespace()
                .next()
        })
        .collect();
    let wanted = [
        ("chrome", "AutoSelectCertificateForUrls"),
        ("edge", "AutoSelectCertificateForUrls"),
        ("firefox", "AutoConfigURL"),
        ("macos", "masugata connect"),
        ("windows", "masugata connect"),
        ("ios", "HTTP2RelayURL"),
        ("android", "com.android.chrome"),
        ("curl", "proxy-cert"),
        ("git", "proxySSLCert"),
        ("pip", "127.0.0.1:3128"),
        ("npm", "127.0.0.1:3128"),
        ("apt", "127.0.0.1:3128"),
        ("docker", "127.0.0.1:3128"),
        ("connect", "masugata connect --gateway proxy.corp.test:8443"),
    ];
    assert_eq!(clients, wanted.map(|(client, _)| client));
    for (client, word) in wanted {
        for language in ["en", "ja"] {
            let said = masugata(["setup", client, "-c", config, "--language", language]);
            assert_eq!(said.code, Some(0), "{client}: {}", said.err);
            assert!(said.out.contains(word), "{client}: {}", said.out);
            assert!(
                said.out.contains("https://why.corp.test"),
                "{client}: {}",
                said.out
            );
            assert!(said.err.is_empty(), "{}", said.err);
            assert_eq!(language == "en", said.out.is_ascii(), "{client} {language}");
        }
    }
    for (pac, says) in [(None, "staff.pac"), (Some("guests"), "guests.pac")] {
        let mut arguments = vec!["setup", "chrome", "-c", config];
        arguments.extend(pac.iter().flat_map(|pac| ["--pac", pac]));
        let said = masugata(arguments);
        assert!(said.out.contains("https://pac.corp.test"), "{}", said.out);
        assert!(said.out.contains(says), "{}", said.out);
        assert!(
            said.out.contains("https://proxy.corp.test:8443"),
            "{}",
            said.out
        );
    }
    for arguments in [
        &["setup", "chrome", "-c", config, "--pac", "nobody"][..],
        &["setup", "netscape", "-c", config],
        &["setup", "chrome", "-c", "/nowhere/masugata.toml"],
    ] {
        let refused = masugata(arguments);
        assert_eq!(refused.code, Some(2), "{refused:?}");
        assert!(refused.out.is_empty(), "{refused:?}");
    }
    let other = TestGateway::new().prepare();
    let refused = masugata(["setup", "chrome", "-c", other.config().to_str().unwrap()]);
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(refused.err.contains("[egress]"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_report_of_destinations_says_what_the_programs_did() {
    let world = World::new().await;
    let (_connect, proxy) = world.connect(&[]).await;
    for _ in 0..2 {
        let through = tunnel(proxy, "plain.site.example:80").await.unwrap();
        http_through(through, "plain.site.example").await;
    }
    ask(proxy, &plain_get("")).await;
    tunnel(proxy, "files.other.example:443").await.unwrap_err();
    world.install("tablet");
    tunnel(proxy, "www.other.example:443").await.unwrap_err();
    world.gateway.completions(3).await;
    let log = world.gateway.path("audit.jsonl");
    let log = log.to_str().unwrap().to_owned();
    let report = |more: &[&str]| {
        let mut arguments = vec!["audit", "destinations", "--json", &log];
        arguments.extend(more);
        let made = masugata(arguments);
        assert_eq!(made.code, Some(0), "{made:?}");
        serde_json::from_str::<Value>(&made.out).unwrap_or_else(|_| panic!("{}", made.out))
    };
    let rows = report(&[]);
    let row = |rows: &Value, domain: &str| {
        let found: Vec<_> = rows
            .as_array()
            .unwrap()
            .iter()
            .filter(|row| row["destination"] == domain)
            .cloned()
            .collect();
        assert_eq!(found.len(), 1, "{domain}: {rows}");
        found[0].clone()
    };
    let site = row(&rows, "site.example");
    assert_eq!(site["requests"], 3, "{site}");
    assert_eq!(site["refused"], 0, "{site}");
    assert!(site["bytes"].as_u64().unwrap() > 0, "{site}");
    let other = row(&rows, "other.example");
    assert_eq!(other["requests"], 2, "{other}");
    assert_eq!(other["refused"], 2, "{other}");
    assert_eq!(other["devices"], 2, "{other}");
    let by_device = report(&["--by", "device"]);
    let devices: Vec<_> = by_device
        .as_array()
        .unwrap()
        .iter()
        .filter(|row| row["destination"] == "other.example")
        .map(|row| row["device"].as_str().unwrap())
        .collect();
    assert_eq!(devices, ["laptop", "tablet"]);
    assert_eq!(report(&["--by", "group"]).as_array().unwrap().len(), 2);
    let table = masugata(["audit", "destinations", "--by", "user", &log]);
    assert_eq!(table.code, Some(0));
    assert!(table.out.contains("corp/ada"), "{}", table.out);
    let none = report(&["--since", "1s"]);
    assert!(none.as_array().unwrap().len() <= 2);
    let missing = masugata(["audit", "destinations", "/nowhere/audit.jsonl"]);
    assert_eq!(missing.code, Some(2), "{missing:?}");
}
