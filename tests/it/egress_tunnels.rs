//! Tunnels of the second door while they are open: what they carry, who may hold how many, and what ends them.

mod cuts;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{Method, StatusCode};
use masugata::egress::password::{PasswordKey, Sealed};
use masugata_policy::{Authentication, Principal, PrincipalKind, Timestamp};
use masugata_tests::{
    Behaviour, Origin, Origins, Pki, ProxyClient, SmallDisk, TestGateway, TestGatewayBuilder,
    TokenIssuer, Tunnel, Upstream, assert_denied, days, eventually, hours, minutes, seconds,
    within_reason,
};
use secrecy::ExposeSecret as _;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const SITE: &str = "site.example:80";

/// A door that looks at its tunnels every second. `laptop` and `tablet` are ada's, `kiosk` is nobody's.
fn door(egress: &str) -> TestGatewayBuilder {
    TestGateway::new()
        .device("tablet", "")
        .device("kiosk", "owner = \"\"")
        .egress(&format!(
            "recheck = \"1s\"\nbounds.drain = \"1s\"\n{egress}"
        ))
}

/// The door, and an echo behind it.
async fn open(
    egress: &str,
    build: impl FnOnce(TestGatewayBuilder) -> TestGatewayBuilder,
) -> (TestGateway, Origin) {
    let echo = Origins::plain(Behaviour::Echo).await;
    let builder = door(egress)
        .origin("site.example", echo.address)
        .origin("other.example", echo.address);
    (build(builder).start().await, echo)
}

fn plain(builder: TestGatewayBuilder) -> TestGatewayBuilder {
    builder
}

/// Over both protocols.
fn both(client: &ProxyClient) -> [ProxyClient; 2] {
    [client.clone(), client.clone().h2()]
}

fn of(gateway: &TestGateway, device: &str) -> ProxyClient {
    gateway.stranger().device(&gateway.device(device))
}

/// Somebody, and where to.
type Way = (ProxyClient, &'static str);

async fn all(ways: &[Way]) -> Vec<Tunnel> {
    let mut tunnels = Vec::new();
    for (client, target) in ways {
        for client in both(client) {
            let mut tunnel = client.connect(target).await.unwrap();
            tunnel.echoes().await;
            tunnels.push(tunnel);
        }
    }
    tunnels
}

/// What the administrators' listener says of tunnels.
async fn listed(gateway: &TestGateway) -> Value {
    let (status, body) = gateway.admin("GET", "/tunnels").await;
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).unwrap()
}

/// Changes one row of the inventory.
fn change_row(gateway: &TestGateway, device: &str, from: &str, to: &str) {
    let text = gateway.read("devices.toml");
    let id = format!("id = \"{device}\"");
    let mut changed = false;
    let rows: Vec<String> = text
        .split("[[device]]\n")
        .map(|row| {
            if !row.starts_with(&id) {
                return row.to_owned();
            }
            changed = row.contains(from);
            row.replace(from, to)
        })
        .collect();
    assert!(changed, "`{from}` is not in the row of {device}:\n{text}");
    gateway.write("devices.toml", &rows.join("[[device]]\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_and_configuration_change_without_cutting_anybody() {
    let (gateway, _echo) = open("", plain).await;
    let mut tunnels = all(&[(gateway.proxy(), SITE), (of(&gateway, "tablet"), SITE)]).await;
    let session = gateway.proxy().h2().session().await;
    tunnels.push(session.connect(SITE).await.unwrap());
    let shown = async || {
        let stream = gateway.proxy().stream().await.unwrap();
        stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
    };
    let before = shown().await;
    let (chain, key) = gateway.pki().server(&["*.corp.test"], 30);
    gateway.write("server.pem", &chain);
    gateway.write("server.key", &key);
    gateway.edit(
        "masugata.toml",
        "recheck = \"1s\"",
        "recheck = \"2s\"\nrefusals_per_device = 3\ntimeouts.connect = \"3s\"\ntunnels = 77",
    );
    gateway.edit(
        "policies/test.cedar",
        "@id(\"internet\")",
        "@id(\"the-internet\")",
    );
    change_row(
        &gateway,
        "tablet",
        "\"employees\"",
        "\"employees\", \"night\"",
    );
    gateway.reload().await;
    assert_ne!(shown().await, before);
    for tunnel in &mut tunnels {
        tunnel.echoes().await;
    }
    // Old connections carry new tunnels, under the new rules.
    session
        .connect(SITE)
        .await
        .unwrap_or_else(|answer| panic!("{}", answer.text()));
    assert!(
        gateway
            .records_so_far()
            .iter()
            .all(|record| record["outcome"] != "cut")
    );
    let after = gateway.reload().await;
    let () = after;
    for tunnel in &mut tunnels {
        tunnel.echoes().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn administrators_see_whose_tunnels_lead_where_under_which_policies() {
    let (gateway, _echo) = open("", plain).await;
    assert_eq!(listed(&gateway).await["open"], 0);
    let token = gateway.token("bob").sign();
    let mut tunnels = all(&[
        (gateway.proxy(), SITE),
        (of(&gateway, "kiosk").token(token), "other.example:80"),
    ])
    .await;
    let view = listed(&gateway).await;
    assert_eq!(view["open"], 4, "{view}");
    let line = |user: &str| {
        let lines = view["tunnels"].as_array().unwrap().iter();
        let line = lines.clone().find(|line| line["user"] == user);
        line.unwrap_or_else(|| panic!("{view}")).clone()
    };
    let (ada, bob) = (line("corp/ada"), line("corp/bob"));
    assert_eq!(ada["device"], "laptop", "{ada}");
    assert_eq!(ada["host"], "site.example", "{ada}");
    assert_eq!(ada["port"], 80, "{ada}");
    assert_eq!(ada["open"], 2, "{ada}");
    assert_eq!(bob["device"], "kiosk", "{bob}");
    assert_eq!(bob["host"], "other.example", "{bob}");
    // The version is that of the decisions on record.
    let records = gateway.records_so_far();
    let version = &records
        .iter()
        .find(|record| record["type"] == "decision")
        .unwrap()["policy_version"];
    assert!(version.is_string(), "{records:?}");
    assert_eq!(ada["policy"], *version, "{ada}");
    tunnels.clear();
    eventually("none is left", async || listed(&gateway).await["open"] == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_both_ways_and_duration_are_on_record() {
    let site = Origins::plain(Behaviour::Count).await;
    let gateway = door("").origin("site.example", site.address).start().await;
    for client in both(&gateway.proxy()) {
        let mut tunnel = client.connect(SITE).await.unwrap();
        tunnel.write_all(&vec![7; 123_456]).await.unwrap();
        tunnel.flush().await.unwrap();
        eventually("all is there", async || {
            site.seen().bytes.len() % 123_456 == 0 && !site.seen().bytes.is_empty()
        })
        .await;
        gateway.clock.advance(seconds(3));
        tunnel.shutdown().await.unwrap();
        let mut answer = String::new();
        within_reason("the answer", tunnel.read_to_string(&mut answer))
            .await
            .unwrap();
        assert_eq!(answer, "123456");
    }
    for end in gateway.completions(2).await {
        assert_eq!(end["outcome"], "completed", "{end}");
        assert_eq!(end["bytes_received"], 123_456, "{end}");
        assert_eq!(end["bytes_sent"], 6, "{end}");
        assert_eq!(end["duration_ms"].as_f64(), Some(3000.0), "{end}");
        assert_eq!(end["upstream"], site.address.to_string(), "{end}");
    }
    gateway.records().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_that_has_said_all_can_still_be_talked_to() {
    let site = Origins::plain(Behaviour::Farewell).await;
    let gateway = door("").origin("site.example", site.address).start().await;
    for client in both(&gateway.proxy()) {
        let before = site.seen().bytes.len();
        let mut tunnel = client.connect(SITE).await.unwrap();
        let mut said = String::new();
        within_reason("its farewell", tunnel.read_to_string(&mut said))
            .await
            .unwrap();
        assert_eq!(said, "hello");
        tunnel.write_all(b"still here").await.unwrap();
        tunnel.flush().await.unwrap();
        eventually("it hears", async || site.seen().bytes.len() == before + 10).await;
        tunnel.shutdown().await.unwrap();
    }
    for end in gateway.completions(2).await {
        assert_eq!(end["outcome"], "completed", "{end}");
        assert_eq!(end["bytes_received"], 10, "{end}");
        assert_eq!(end["bytes_sent"], 5, "{end}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_that_breaks_off_is_told_from_a_client_that_leaves() {
    let (rude, echo) = (
        Origins::plain(Behaviour::Reset).await,
        Origins::plain(Behaviour::Echo).await,
    );
    let gateway = door("")
        .origin("rude.example", rude.address)
        .origin("site.example", echo.address)
        .start()
        .await;
    for (number, client) in both(&gateway.proxy()).into_iter().enumerate() {
        let session = client.session().await;
        let mut broken = session.connect("rude.example:80").await.unwrap();
        broken.write_all(b"x").await.unwrap();
        let _ = broken.flush().await;
        within_reason("its end", broken.ended()).await;
        let end = gateway.completions(number * 2 + 1).await.pop().unwrap();
        assert_eq!(end["outcome"], "upstream-failed", "{end}");
        assert_eq!(end["cause"], "upstream-closed", "{end}");

        let session = client.session().await;
        let mut left = session.connect(SITE).await.unwrap();
        left.echoes().await;
        drop((left, session));
        let end = gateway.completions(number * 2 + 2).await.pop().unwrap();
        // HTTP/2 resets the stream; TCP ends, and a half-closed tunnel is none to be cut.
        let known = ["client-gone", "completed"];
        assert!(known.contains(&end["outcome"].as_str().unwrap()), "{end}");
    }
    eventually("nothing is left", async || {
        listed(&gateway).await["open"] == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_stream_that_is_reset_leaves_the_others_of_its_connection_alone() {
    let (gateway, _echo) = open("", plain).await;
    let session = gateway.proxy().h2().session().await;
    let mut kept = session.connect(SITE).await.unwrap();
    for number in 1..=20 {
        let mut brief = session.connect(SITE).await.unwrap();
        brief.echoes().await;
        drop(brief);
        gateway.completions(number).await;
    }
    kept.echoes().await;
    assert_eq!(listed(&gateway).await["open"], 1);
}

/// Bytes that nobody would produce by chance: the position, hashed a little.
fn pattern(from: usize, length: usize) -> Vec<u8> {
    (from..from + length)
        .map(|at| (at.wrapping_mul(2_654_435_761) >> 7).to_le_bytes()[0])
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn large_transfers_both_ways_at_once_arrive_whole() {
    const PIECE: usize = 64 * 1024;
    const PIECES: usize = 192;
    let site = Upstream::connections(|mut stream: TcpStream| async move {
        let (mut reader, mut writer) = stream.split();
        let _ = tokio::io::copy(&mut reader, &mut writer).await;
        let _ = writer.shutdown().await;
    })
    .await;
    let gateway = door("").origin("site.example", site.address).start().await;
    let sums = async |client: ProxyClient| {
        let tunnel = client.connect(SITE).await.unwrap();
        let (mut reader, mut writer) = tokio::io::split(tunnel);
        let sending = tokio::spawn(async move {
            let mut sum = Context::new(&SHA256);
            for piece in 0..PIECES {
                let bytes = pattern(piece * PIECE, PIECE);
                sum.update(&bytes);
                writer.write_all(&bytes).await.unwrap();
            }
            writer.shutdown().await.unwrap();
            sum.finish()
        });
        let (mut sum, mut length) = (Context::new(&SHA256), 0);
        let mut bytes = vec![0; 48 * 1024];
        loop {
            let read = within_reason("more", reader.read(&mut bytes))
                .await
                .unwrap();
            if read == 0 {
                break;
            }
            length += read;
            sum.update(&bytes[..read]);
        }
        assert_eq!(length, PIECE * PIECES);
        assert_eq!(
            sending.await.unwrap().as_ref(),
            sum.finish().as_ref(),
            "the same bytes in the same order"
        );
    };
    let [http1, http2] = both(&gateway.proxy());
    tokio::join!(sums(http1), sums(http2));
    for end in gateway.completions(2).await {
        assert_eq!(end["bytes_received"], PIECE * PIECES, "{end}");
        assert_eq!(end["bytes_sent"], PIECE * PIECES, "{end}");
        assert_eq!(end["outcome"], "completed", "{end}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_stops_its_origin_and_nobody_else() {
    /// More than all buffers on the way together.
    const MUCH: u64 = 96 * 1024 * 1024;
    let told = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&told);
    let flood = Upstream::connections(move |mut stream: TcpStream| {
        let count = Arc::clone(&count);
        async move {
            let bytes = vec![b'x'; 64 * 1024];
            while stream.write_all(&bytes).await.is_ok() {
                count.fetch_add(bytes.len() as u64, Ordering::SeqCst);
            }
        }
    })
    .await;
    let echo = Origins::plain(Behaviour::Echo).await;
    let gateway = door("")
        .origin("flood.example", flood.address)
        .origin("site.example", echo.address)
        .start()
        .await;
    for client in both(&gateway.proxy()) {
        told.store(0, Ordering::SeqCst);
        let session = client.session().await;
        let mut unread = session.connect("flood.example:80").await.unwrap();
        let last = AtomicU64::new(u64::MAX);
        let still = AtomicU64::new(0);
        eventually("the origin has to wait", async || {
            let now = told.load(Ordering::SeqCst);
            let quiet = last.swap(now, Ordering::SeqCst) == now && now > 0;
            let looks = if quiet {
                still.fetch_add(1, Ordering::SeqCst)
            } else {
                still.store(0, Ordering::SeqCst);
                0
            };
            assert!(now < MUCH, "{now} bytes are kept for nobody");
            looks > 15
        })
        .await;
        // Neighbours are not held up, on the same HTTP/2 connection neither.
        let neighbour = if session.is_http2() {
            session.connect(SITE).await
        } else {
            client.connect(SITE).await
        };
        neighbour.unwrap().echoes().await;
        let mut bytes = vec![0; 1024 * 1024];
        for _ in 0..8 {
            within_reason("what was kept", unread.read_exact(&mut bytes))
                .await
                .unwrap();
            assert!(bytes.iter().all(|byte| *byte == b'x'));
        }
        drop(unread);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_idle_tunnels_are_held_over_few_connections_and_each_still_works() {
    let (gateway, _echo) = open("", plain).await;
    let mut tunnels = Vec::new();
    let mut sessions = Vec::new();
    for _ in 0..4 {
        let session = gateway.proxy().h2().session().await;
        for _ in 0..125 {
            tunnels.push(session.connect(SITE).await.unwrap());
        }
        sessions.push(session);
    }
    assert_eq!(listed(&gateway).await["open"], 500);
    // Longer than a connection without a request is kept, if it holds no tunnel.
    gateway.clock.advance(minutes(30));
    for tunnel in &mut tunnels {
        tunnel.echoes().await;
    }
    gateway.edit(
        "policies/test.cedar",
        "resource is Masugata::Destination",
        "resource is Masugata::App",
    );
    gateway.reload().await;
    for tunnel in &mut tunnels {
        within_reason("the cut", tunnel.ended()).await;
    }
    let ends = gateway.completions(500).await;
    assert!(ends.iter().all(|end| end["cause"] == "no-permit"));
    assert_eq!(listed(&gateway).await["open"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_holds_so_many_tunnels_and_others_are_not_hurt() {
    let (gateway, _echo) = open("tunnels_per_device = 2", plain).await;
    let mut held = all(&[(gateway.proxy(), SITE)]).await;
    for client in both(&gateway.proxy()) {
        let answer = client.refused(SITE).await;
        assert_denied(&answer, "quota-exceeded");
        assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
    }
    // Whoever signs in on it: the device is what counts.
    let bob = gateway.proxy().token(gateway.token("bob").sign());
    assert_denied(&bob.refused(SITE).await, "quota-exceeded");
    // Requests that are no tunnels are not counted.
    assert_ne!(
        gateway.proxy().get("http://nowhere.example/").await.status,
        StatusCode::TOO_MANY_REQUESTS
    );
    let _others = all(&[(of(&gateway, "tablet"), SITE)]).await;
    held.pop();
    eventually("a place is free", async || {
        listed(&gateway).await["open"] == 3
    })
    .await;
    held.push(gateway.proxy().connect(SITE).await.unwrap());
    // Less is allowed now: what is open stays open.
    gateway.edit(
        "masugata.toml",
        "tunnels_per_device = 2",
        "tunnels_per_device = 1",
    );
    gateway.reload().await;
    for tunnel in &mut held {
        tunnel.echoes().await;
    }
    assert_denied(&gateway.proxy().refused(SITE).await, "quota-exceeded");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_gateway_says_that_it_is_full() {
    let (gateway, _echo) = open("tunnels = 3", plain).await;
    let mut held = all(&[(gateway.proxy(), SITE)]).await;
    held.push(of(&gateway, "tablet").connect(SITE).await.unwrap());
    for client in both(&of(&gateway, "tablet")) {
        let answer = client.refused(SITE).await;
        assert_denied(&answer, "overloaded");
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    }
    held.clear();
    eventually("there is room", async || {
        of(&gateway, "tablet").connect(SITE).await.is_ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_opens_so_many_tunnels_in_a_while_on_whatever_device() {
    let (gateway, _echo) = open("", |builder| {
        builder.config(
            "[[limit]]\nname = \"calm\"\nkey = [\"principal\"]\nrequests = 2\nperiod = \"1m\"",
        )
    })
    .await;
    let _held = all(&[(gateway.proxy(), SITE)]).await;
    let answer = of(&gateway, "tablet").refused(SITE).await;
    assert_denied(&answer, "quota-exceeded");
    assert_eq!(answer.header("retry-after"), Some("30"));
    let bob = of(&gateway, "kiosk").token(gateway.token("bob").sign());
    bob.connect(SITE).await.unwrap();
    gateway.clock.advance(seconds(30));
    of(&gateway, "tablet").connect(SITE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_carries_so_many_tunnels_at_once_and_the_next_one_waits() {
    let (gateway, echo) = open("bounds.concurrent_streams = 3", plain).await;
    let session = gateway.proxy().h2().session().await;
    // The first answer brings the settings.
    session.connect(SITE).await.unwrap();
    eventually("none is open", async || listed(&gateway).await["open"] == 0).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(session.connect(SITE).await.unwrap());
    }
    let waiting = tokio::spawn({
        let session = session.clone();
        async move { session.connect(SITE).await.map(|_| ()).is_ok() }
    });
    for tunnel in &mut held {
        tunnel.echoes().await;
    }
    assert_eq!(listed(&gateway).await["open"], 3);
    assert_eq!(echo.seen().connections, 4);
    held.pop();
    assert!(within_reason("its turn", waiting).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn places_are_given_back_by_whatever_does_not_become_a_tunnel() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = nobody.local_addr().unwrap();
    drop(nobody);
    let (gateway, _echo) = open("tunnels_per_device = 1", |builder| {
        builder.origin("closed.example", address)
    })
    .await;
    for client in both(&gateway.proxy()) {
        for target in [
            "closed.example:80",
            "127.0.0.1:80",
            "closed.example:80",
            "nowhere.invalid:80",
        ] {
            let answer = client.refused(target).await;
            assert_ne!(answer.status, StatusCode::TOO_MANY_REQUESTS, "{target}");
        }
        client.connect(SITE).await.unwrap();
        eventually("it is gone", async || listed(&gateway).await["open"] == 0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_ends_a_tunnel_and_talking_keeps_it() {
    let (gateway, _echo) = open("timeouts.idle = \"3s\"", plain).await;
    for client in both(&gateway.proxy()) {
        let mut silent = client.connect(SITE).await.unwrap();
        let mut talking = client.connect(SITE).await.unwrap();
        let ended = within_reason("the end", silent.ended());
        let mut ended = std::pin::pin!(ended);
        loop {
            tokio::select! {
                biased;
                () = &mut ended => break,
                () = talking.echoes() => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
        talking.echoes().await;
        drop(talking);
    }
    let ends = gateway.completions(4).await;
    let timed: Vec<_> = ends
        .iter()
        .filter(|end| end["outcome"] == "timed-out")
        .collect();
    assert_eq!(timed.len(), 2, "{ends:?}");
    assert!(
        timed.iter().all(|end| end["cause"] == "idle-timeout"),
        "{timed:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_that_never_rests_ends_with_its_time() {
    let (gateway, _echo) = open("timeouts.total = \"1s\"\ntimeouts.connect = \"1s\"", plain).await;
    for client in both(&gateway.proxy()) {
        let mut tunnel = client.connect(SITE).await.unwrap();
        let talking = async {
            let mut back = [0; 4];
            while tunnel.write_all(b"ping").await.is_ok() && tunnel.flush().await.is_ok() {
                if tunnel.read_exact(&mut back).await.is_err() {
                    break;
                }
            }
        };
        within_reason("the end", talking).await;
    }
    for end in gateway.completions(2).await {
        assert_eq!(end["outcome"], "timed-out", "{end}");
        assert_eq!(end["cause"], "total-timeout", "{end}");
        assert!(end["bytes_sent"].as_u64() > Some(0), "{end}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_lets_tunnels_finish_takes_no_new_ones_and_then_cuts() {
    let echo = Origins::plain(Behaviour::Echo).await;
    let gateway = TestGateway::new()
        .egress("bounds.drain = \"3s\"")
        .ingress("bounds.drain = \"10m\"")
        .origin("site.example", echo.address)
        .start()
        .await;
    let http2 = gateway.proxy().h2().session().await;
    let mut finishing = http2.connect(SITE).await.unwrap();
    let mut staying = vec![http2.connect(SITE).await.unwrap()];
    staying.push(gateway.proxy().connect(SITE).await.unwrap());
    let newcomer = gateway.proxy();
    let stopping = tokio::spawn(gateway.shutdown());
    eventually("no connection is taken", async || {
        newcomer.try_session().await.is_err()
    })
    .await;
    // It goes on for a while, and ends well.
    finishing.echoes().await;
    finishing.shutdown().await.unwrap();
    within_reason("its end", finishing.ended()).await;
    for tunnel in &mut staying {
        within_reason("the cut", tunnel.ended()).await;
    }
    let directory = within_reason("the stop", stopping).await.unwrap();
    let text = std::fs::read_to_string(directory.path().join("audit.jsonl")).unwrap();
    let records: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    masugata_tests::assert_paired(&records);
    let mut outcomes: Vec<_> = records
        .iter()
        .filter(|record| record["type"] == "completion")
        .map(|record| record["outcome"].as_str().unwrap())
        .collect();
    outcomes.sort_unstable();
    assert_eq!(outcomes, ["completed", "shut-down", "shut-down"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_record_no_tunnel_is_opened_and_those_that_are_open_go_on() {
    let Some(disk) = SmallDisk::mount(512) else {
        return;
    };
    let echo = Origins::plain(Behaviour::Echo).await;
    let gateway = TestGateway::new()
        .on_disk(&disk)
        .egress("bounds.drain = \"1s\"")
        .origin("site.example", echo.address)
        .start()
        .await;
    let mut held = all(&[(gateway.proxy(), SITE)]).await;
    disk.fill();
    let session = gateway.proxy().h2().session().await;
    eventually("a refusal", async || session.connect(SITE).await.is_err()).await;
    let connections = echo.seen().connections;
    for client in both(&gateway.proxy()) {
        assert_denied(&client.refused(SITE).await, "audit-unavailable");
        let page = client.get("http://site.example/").await;
        assert_denied(&page, "audit-unavailable");
    }
    assert_eq!(echo.seen().connections, connections, "nobody was reached");
    for tunnel in &mut held {
        tunnel.echoes().await;
    }
    disk.make_room();
    eventually("recovery", async || session.connect(SITE).await.is_ok()).await;
    drop((held, session));
    gateway.records().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_downloaded_without_a_tunnel_is_held_to_its_decision_too() {
    let events = Upstream::events().await;
    let gateway = door("")
        .origin("site.example", events.address)
        .start()
        .await;
    let mut streams = Vec::new();
    for client in both(&gateway.proxy()) {
        let session = client.session().await;
        let request = http::Request::builder()
            .method(Method::GET)
            .uri("http://site.example/events")
            .body(http_body_util::Empty::new())
            .unwrap();
        let response = session.ask(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        streams.push((response.into_body(), session));
    }
    change_row(&gateway, "laptop", "\"employees\"", "\"guests\"");
    gateway.reload().await;
    for (body, _session) in streams {
        let rest = within_reason("the cut", http_body_util::BodyExt::collect(body)).await;
        assert!(rest.is_err(), "cut off, not ended");
    }
    for end in gateway.completions(2).await {
        assert_eq!(end["outcome"], "cut", "{end}");
        assert_eq!(end["cause"], "no-permit", "{end}");
    }
}
