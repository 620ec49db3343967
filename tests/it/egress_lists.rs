//! The second door: what lists say decides, where lists come from, and which of them are believed.

use std::fmt::Write as _;

use http::StatusCode;
use masugata_tests::{
    ListServer, Origins, ProxyClient, Signer, TestGateway, TestGatewayBuilder, Tunnel, Upstream,
    assert_denied, eventually, hours, masugata, minutes, seconds, within_reason,
};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Everything is open but what is on a list of a bad sort.
const POLICY: &str = r#"
@id("internet")
permit (principal in Masugata::Group::"employees", action, resource is Masugata::Destination);
@id("bad")
forbid (principal, action, resource in Masugata::Category::"bad");
@id("c2")
forbid (principal, action, resource in Masugata::Category::"c2");
@id("imitations")
forbid (principal, action, resource in Masugata::Category::"look-alike");
@id("scripts")
forbid (principal, action, resource in Masugata::Category::"mixed-script");
"#;

const LIST: &str = "/c2.txt";

fn both(client: &ProxyClient) -> [ProxyClient; 2] {
    [client.clone(), client.clone().h2()]
}

fn door() -> TestGatewayBuilder {
    TestGateway::new()
        .policy(POLICY)
        .egress("lists_directory = \"lists\"")
        .file("lists/.keep", "")
}

/// Names that lead to the site, whatever lists say.
fn leading_to(builder: TestGatewayBuilder, names: &[&str], site: &Upstream) -> TestGatewayBuilder {
    names
        .iter()
        .fold(builder, |builder, name| builder.origin(name, site.address))
}

/// A list in a file.
fn file(name: &str, format: &str, more: &str) -> String {
    let file = format!("[[egress.feed]]\nname = \"{name}\"\nfile = \"{name}.txt\"");
    let categories = if more.contains("allow") {
        ""
    } else {
        "categories = [\"bad\"]"
    };
    format!("{file}\nformat = \"{format}\"\n{categories}\n{more}\n")
}

/// Whether a host is let through, or why not.
async fn verdict(client: &ProxyClient, host: &str) -> String {
    match client.connect(&format!("{host}:80")).await {
        Ok(_tunnel) => "open".to_owned(),
        Err(answer) => answer.denial_code().unwrap_or_default(),
    }
}

fn operations(gateway: &TestGateway, kind: &str) -> Vec<String> {
    let records = gateway.records_so_far().into_iter();
    let of_kind = records.filter(|record| record["operation"] == kind);
    of_kind
        .map(|record| record["detail"].as_str().unwrap_or_default().to_owned())
        .collect()
}

/// Those operations, once there are so many: the record is written a little later than things happen.
async fn at_least(gateway: &TestGateway, kind: &str, count: usize) -> Vec<String> {
    eventually(&format!("{count} times {kind}"), async || {
        operations(gateway, kind).len() >= count
    })
    .await;
    operations(gateway, kind)
}

/// The value of a metric without its timestamp, by the beginning of its line.
async fn metric(gateway: &TestGateway, name: &str) -> Option<u64> {
    let (_status, page) = gateway.admin("GET", "/metrics").await;
    page.lines()
        .find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

fn decisions(records: &[Value]) -> impl Iterator<Item = &Value> {
    records.iter().filter(|record| record["type"] == "decision")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_every_format_decides_at_the_door() {
    const NAMES: [&str; 6] = [
        "bad.example",
        "www.bad.example",
        "one.example",
        "www.one.example",
        "below.example",
        "www.below.example",
    ];
    let (open, shut) = ("open", "forbidden");
    for (format, list, verdicts) in [
        (
            "plain",
            "# why\nbad.example\n=one.example ; this one\n*.below.example\n",
            [shut, shut, shut, open, open, shut],
        ),
        (
            "hosts",
            "127.0.0.1 localhost\r\n0.0.0.0 bad.example one.example # two\r\n::1 www.below.example\r\n",
            [shut, open, shut, open, open, shut],
        ),
        (
            "adguard",
            "! Title: bad\n||bad.example^\n|one.example^\n||*.below.example^\nsite.example##.banner\n",
            [shut, shut, shut, open, open, shut],
        ),
        (
            "rpz",
            "$TTL 300\n@ SOA ns.rpz.test. host.rpz.test. (1 2 3\n 4 5)\n NS ns.rpz.test.\n\
             bad.example CNAME .\n*.bad.example CNAME .\none.example 300 IN CNAME *.\n\
             *.below.example CNAME rpz-drop.\n",
            [shut, shut, shut, open, open, shut],
        ),
    ] {
        let site = Upstream::hello().await;
        let gateway = leading_to(door(), &NAMES, &site)
            .file("list.txt", list)
            .config(&file("list", format, ""))
            .start()
            .await;
        for client in both(&gateway.proxy()) {
            for (name, expected) in NAMES.iter().zip(verdicts) {
                assert_eq!(verdict(&client, name).await, expected, "{format}: {name}");
            }
            let plain = client.get("http://bad.example/").await;
            assert_denied(&plain, "forbidden");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lists_say_of_addresses_counts_for_literals_and_for_names_that_lie_there() {
    let site = Upstream::hello().await;
    let elsewhere = format!("127.0.0.2:{}", site.address.port());
    let gateway = leading_to(door(), &["site.example", "allowed.example"], &site)
        .origin("lies.example", elsewhere.parse().unwrap())
        .file(
            "ranges.txt",
            "127.0.0.2\n8.8.4.0/24\n2606:4700::/32\n[2620:fe::fe]\n",
        )
        .config(&file("ranges", "plain", ""))
        .file(
            "zone.txt",
            "32.1.1.1.1.rpz-ip CNAME .\n24.0.9.9.9.rpz-ip CNAME .\n",
        )
        .config(&file("zone", "rpz", ""))
        .start()
        .await;
    for client in both(&gateway.proxy()) {
        for address in [
            "8.8.4.4",
            "[2606:4700::1111]",
            "[2620:fe::fe]",
            "1.1.1.1",
            "9.9.9.9",
            // By name: what it leads to is known only later.
            "lies.example",
        ] {
            assert_eq!(verdict(&client, address).await, "forbidden", "{address}");
        }
        assert_eq!(verdict(&client, "site.example").await, "open");
        let plain = client.get("http://lies.example/").await;
        assert_denied(&plain, "forbidden");
    }
    assert_eq!(site.count(), 0);
    let records = gateway.records().await;
    let lies = decisions(&records)
        .find(|record| record["destination"]["host"] == "lies.example")
        .unwrap();
    assert_eq!(lies["destination"]["categories"][0], "bad", "{lies}");
    let feed = lies["destination"]["feeds"][0].as_str().unwrap();
    assert!(feed.starts_with("ranges@"), "{feed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn allow_beats_block_except_what_is_important() {
    let names = [
        "bad.example",
        "good.bad.example",
        "x.good.bad.example",
        "must.bad.example",
        "lies.example",
    ];
    let site = Upstream::hello().await;
    let gateway = leading_to(door(), &names, &site)
        .file("one.txt", "bad.example\n127.0.0.0/8\n")
        .config(&file("one", "plain", ""))
        .file("two.txt", "||bad.example^\n||must.bad.example^$important\n")
        .config(&file("two", "adguard", ""))
        .file(
            "own.txt",
            "=good.bad.example\nmust.bad.example\nlies.example\n",
        )
        .config(&file("own", "plain", "effect = \"allow\""))
        .start()
        .await;
    let client = gateway.proxy();
    for (name, expected) in [
        ("bad.example", "forbidden"),
        ("good.bad.example", "open"),
        // Of that host only.
        ("x.good.bad.example", "forbidden"),
        ("must.bad.example", "forbidden"),
        // Its name is allowed, so it is wherever that lies.
        ("lies.example", "open"),
    ] {
        assert_eq!(verdict(&client, name).await, expected, "{name}");
    }
}

// Attack: whoever writes a list of advertisers opens what the list of malware names.
#[tokio::test(flavor = "multi_thread")]
async fn an_exception_in_a_blocking_list_opens_that_list_only() {
    let site = Upstream::hello().await;
    let names = [
        "bad.example",
        "ad.example",
        "www.ad.example",
        "zone.example",
    ];
    let gateway = leading_to(door(), &names, &site)
        .file("c2.txt", "bad.example\nzone.example\n")
        .config(&file("c2", "plain", ""))
        .file(
            "ads.txt",
            "||bad.example^\n@@||bad.example^$important\n||ad.example^\n@@|www.ad.example^\n",
        )
        .config(&file("ads", "adguard", ""))
        .file("zone.txt", "zone.example CNAME rpz-passthru.\n")
        .config(&file("zone", "rpz", ""))
        .start()
        .await;
    let client = gateway.proxy();
    for (name, expected) in [
        ("bad.example", "forbidden"),
        ("zone.example", "forbidden"),
        ("ad.example", "forbidden"),
        ("www.ad.example", "open"),
    ] {
        assert_eq!(verdict(&client, name).await, expected, "{name}");
    }
    let records = gateway.records().await;
    let bad = decisions(&records)
        .find(|record| record["destination"]["host"] == "bad.example")
        .unwrap();
    let feeds = bad["destination"]["feeds"].as_array().unwrap();
    assert_eq!(feeds.len(), 1, "only the one that says so: {feeds:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_international_name_is_one_however_it_is_written() {
    let site = Upstream::hello().await;
    let names = [
        "xn--wgv71a119e.jp",
        "xn--e1afmkfd.example",
        "xn--bcher-kva.example",
    ];
    let gateway = leading_to(door(), &names, &site)
        .file(
            "list.txt",
            "日本語。JP\nXN--E1AFMKFD.example\nBÜCHER.example\n",
        )
        .config(&file("list", "plain", ""))
        .start()
        .await;
    let client = gateway.proxy();
    for name in [
        "xn--wgv71a119e.jp",
        "WWW.XN--WGV71A119E.JP",
        "xn--wgv71a119e.jp.",
        "xn--e1afmkfd.example",
        "xn--bcher-kva.example",
    ] {
        assert_eq!(verdict(&client, name).await, "forbidden", "{name}");
    }
    // On the wire a name has one spelling only.
    for name in ["日本語.jp", "b%C3%BCcher.example", "bücher.example"] {
        let request =
            format!("CONNECT {name}:80 HTTP/1.1\r\nhost: {name}\r\nconnection: close\r\n\r\n");
        let answer = client.raw(request.as_bytes()).await;
        assert_eq!(answer.status(), Some(400), "{name}: {}", answer.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn imitations_are_found_unless_a_list_allows_them() {
    let site = Upstream::hello().await;
    let names = [
        "corp-name.example",
        "www.corp-name.example",
        "rnicrosoft.com",
        "google.co.jp",
        "g00gle.com",
    ];
    let gateway = leading_to(door(), &names, &site)
        .egress("lists_directory = \"lists\"\nprotect = [\"corp-name.example\"]")
        .file("own.txt", "rnicrosoft.com\n")
        .config(&file("own", "plain", "effect = \"allow\""))
        .start()
        .await;
    let client = gateway.proxy();
    for (name, expected) in [
        ("www.corp-name.example", "open"),
        ("corp-narne.example", "forbidden"),
        // Our own name elsewhere, and somebody's at home in another country.
        ("login.corp-name.top", "forbidden"),
        ("google.co.jp", "open"),
        ("g00gle.com", "forbidden"),
        // `gооgle`, Cyrillic in the middle.
        ("xn--ggle-55da.com", "forbidden"),
        ("rnicrosoft.com", "open"),
    ] {
        assert_eq!(verdict(&client, name).await, expected, "{name}");
    }
    let records = gateway.records().await;
    let seen = decisions(&records)
        .find(|record| record["destination"]["host"] == "corp-narne.example")
        .unwrap();
    let destination = &seen["destination"];
    assert_eq!(destination["categories"][0], "look-alike", "{seen}");
    assert_eq!(destination["feeds"][0], "look-alike@corp-name.example");
}

/// A gateway that fetches its lists, and what there is around it.
struct World {
    gateway: TestGateway,
    lists: ListServer,
    site: Upstream,
}

/// Names that lead to the site.
const NAMES: [&str; 4] = [
    "good.example",
    "bad.example",
    "new.example",
    "other.example",
];

/// A feed of `c2` from [`LIST`].
fn fetched(name: &str, path: &str, more: &str) -> String {
    format!(
        "[[egress.feed]]\nname = \"{name}\"\nurl = \"https://lists.example{path}\"\nformat = \"plain\"\n\
         categories = [\"c2\"]\nauthority = \"origins.pem\"\n{more}\n"
    )
}

/// `shelve` puts lists on the server before the gateway starts.
async fn world(feeds: &str, shelve: impl FnOnce(&ListServer)) -> World {
    let builder = door().device("kiosk", "owner = \"\"");
    let origins = Origins::new(builder.clock().seconds());
    let lists = ListServer::start(&origins, &["lists.example"]).await;
    shelve(&lists);
    let site = Upstream::hello().await;
    let gateway = leading_to(builder, &NAMES, &site)
        .origin("lists.example", lists.address)
        .file("origins.pem", &origins.authority_pem())
        .config(feeds)
        .start()
        .await;
    World {
        gateway,
        lists,
        site,
    }
}

impl World {
    /// A host becomes what it should be.
    async fn becomes(&self, host: &str, expected: &str) {
        let client = self.gateway.proxy();
        eventually(&format!("{host} becomes {expected}"), async || {
            verdict(&client, host).await == expected
        })
        .await;
    }

    /// Moves the clock and waits until the list has been asked for again.
    async fn asked_again(&self, path: &str, after: std::time::Duration) {
        let before = self.lists.asked(path).len();
        self.gateway.clock.advance(after);
        eventually("the list is asked for", async || {
            self.lists.asked(path).len() > before
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_fetched_signed_pinned_or_trusted_for_their_server() {
    let signer = Signer::new(1);
    let list = "bad.example\n";
    let sha256: String = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, b"new.example\n")
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let feeds = [
        fetched(
            "signed",
            "/signed.txt",
            &format!("minisign_key = \"{}\"", signer.public()),
        ),
        fetched(
            "pinned",
            "/pinned.txt?v=1",
            &format!("sha256 = \"{sha256}\""),
        ),
        fetched("loose", "/loose.txt", "unsigned = true"),
    ]
    .concat();
    let world = world(&feeds, |lists| {
        lists.serve("/signed.txt", list);
        lists.serve("/signed.txt.minisig", &signer.sign(list, 1_700_000_000));
        lists.serve("/pinned.txt?v=1", "new.example\n");
        lists.serve("/loose.txt", "other.example\n");
    })
    .await;
    for host in ["bad.example", "new.example", "other.example"] {
        world.becomes(host, "forbidden").await;
    }
    assert_eq!(
        verdict(&world.gateway.proxy(), "good.example").await,
        "open"
    );
    // One question for each, in the words of a list reader: no compression, no conditions yet.
    let head = world.lists.asked("/signed.txt").remove(0).to_lowercase();
    assert!(head.contains("accept-encoding: identity"), "{head}");
    assert!(!head.contains("if-none-match"), "{head}");
    let told = at_least(&world.gateway, "feed-loaded", 3).await;
    assert_eq!(told.len(), 3, "{told:?}");
    let short = &sha256[..12];
    let pinned = format!("feed=pinned version={short} entries=1");
    assert!(told.contains(&pinned), "{told:?}");
    // The version is in the records of requests.
    let records = world.gateway.records().await;
    let refused = decisions(&records)
        .find(|record| {
            record["destination"]["host"] == "new.example"
                && record["decision"] == "denied"
                && record["reason"] != "lists-unavailable"
        })
        .unwrap();
    assert_eq!(
        refused["destination"]["feeds"][0],
        format!("pinned@{short}")
    );
    assert!(
        refused["destination"]["lists"].as_u64().unwrap() > 1,
        "{refused}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn until_a_required_list_is_there_nothing_is_let_through() {
    let world = world(&fetched("c2", LIST, "unsigned = true"), |_| ()).await;
    for client in both(&world.gateway.proxy()) {
        for host in ["good.example", "bad.example"] {
            let answer = client.refused(&format!("{host}:80")).await;
            assert_denied(&answer, "lists-unavailable");
            assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
            let told = answer.header("proxy-status").unwrap();
            assert!(told.contains("error=proxy_internal_error"), "{told}");
        }
        let plain = client.get("http://good.example/").await;
        assert_denied(&plain, "lists-unavailable");
    }
    assert_eq!(world.site.count(), 0);
    // Asked again soon, not after the whole hour.
    eventually("the first question", async || {
        !world.lists.asked(LIST).is_empty()
    })
    .await;
    world.lists.serve(LIST, "bad.example\n");
    world.asked_again(LIST, seconds(31)).await;
    world.becomes("bad.example", "forbidden").await;
    assert_eq!(
        verdict(&world.gateway.proxy(), "good.example").await,
        "open"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn observing_does_not_make_up_for_a_missing_list_and_a_list_can_be_optional() {
    let feeds = fetched("c2", LIST, "unsigned = true");
    let optional = world(&format!("{feeds}required = false\n"), |_| ()).await;
    assert_eq!(
        verdict(&optional.gateway.proxy(), "bad.example").await,
        "open"
    );
    eventually("the first question", async || {
        !optional.lists.asked(LIST).is_empty()
    })
    .await;
    optional.lists.serve(LIST, "bad.example\n");
    optional.asked_again(LIST, seconds(31)).await;
    optional.becomes("bad.example", "forbidden").await;

    let observing = world(&feeds, |_| ()).await;
    let gateway = &observing.gateway;
    gateway.edit(
        "masugata.toml",
        "[egress]\n",
        "[egress]\nmode = \"observe\"\n",
    );
    gateway.reload().await;
    assert_eq!(
        verdict(&gateway.proxy(), "good.example").await,
        "lists-unavailable"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_asked_for_again_on_schedule_and_fetched_when_it_is_new() {
    let feed = fetched("c2", LIST, "unsigned = true\nrefresh = \"2h\"");
    let world = world(&feed, |lists| {
        lists.serve_with(LIST, "ETag: \"1\"\r\n", "bad.example\n");
    })
    .await;
    world.becomes("bad.example", "forbidden").await;
    assert_eq!(world.lists.asked(LIST).len(), 1);
    world.gateway.clock.advance(minutes(119));
    assert_eq!(
        verdict(&world.gateway.proxy(), "bad.example").await,
        "forbidden"
    );
    world.asked_again(LIST, minutes(2)).await;
    let asked = world.lists.asked(LIST);
    assert_eq!(asked.len(), 2, "{asked:?}");
    assert!(
        asked[1].to_lowercase().contains("if-none-match: \"1\""),
        "{asked:?}"
    );
    world
        .lists
        .serve_with(LIST, "ETag: \"2\"\r\n", "bad.example\nnew.example\n");
    world.asked_again(LIST, hours(2)).await;
    world.becomes("new.example", "forbidden").await;
    let gateway = &world.gateway;
    let told = at_least(gateway, "feed-loaded", 2).await;
    assert_eq!(told.len(), 2, "304 is no news: {told:?}");
    assert_eq!(
        metric(gateway, "masugata_list_entries{feed=\"c2\"}").await,
        Some(2)
    );
    assert_eq!(
        metric(gateway, "masugata_feed_age_seconds{feed=\"c2\"}").await,
        Some(0)
    );
    gateway.clock.advance(minutes(5));
    let age = metric(gateway, "masugata_feed_age_seconds{feed=\"c2\"}").await;
    assert_eq!(age, Some(300));
    let records = world.gateway.records().await;
    let versions: Vec<_> = decisions(&records)
        .filter_map(|record| record["destination"]["lists"].as_u64())
        .collect();
    assert!(
        versions.is_sorted() && versions.first() < versions.last(),
        "{versions:?}"
    );
}

/// 200 with fields and a body as they are.
fn answer(fields: &str, body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\n{fields}\r\n{body}")
}

fn sized(body: &str) -> String {
    answer(&format!("Content-Length: {}\r\n", body.len()), body)
}

/// A captive portal, in the formatting that such pages have.
const PORTAL: &str = "<!DOCTYPE html>\n<html>\n<head>\n<title>Hotel Wi-Fi</title>\n\
    <script>\nlocation.href = \"https://portal.example/login\";\n</script>\n</head>\n<body>\n\
    Please sign in.\n</body>\n</html>\n";

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_good_leaves_the_last_good_copy_also_after_a_restart() {
    let many = |first: &str| {
        (0..50).fold(format!("{first}\n"), |mut list, number| {
            writeln!(list, "bad{number}.example").unwrap();
            list
        })
    };
    let dated = |day: u8, list: &str| {
        let date = format!("Last-Modified: Mon, {day:02} Nov 2026 00:00:00 GMT\r\n");
        answer(&format!("{date}Content-Length: {}\r\n", list.len()), list)
    };
    let feed = fetched("c2", LIST, "unsigned = true\nmax_bytes = \"16KiB\"");
    let world = world(&feed, |lists| {
        lists.raw(LIST, dated(16, &many("bad.example")))
    })
    .await;
    world.becomes("bad.example", "forbidden").await;
    let huge = "new.example\n".repeat(2000);
    let refused = |what: &str| format!("feed=c2 {what}");
    let fetch = |what: &str| refused(&format!("could not be fetched: {what}"));
    for (what, bytes, told) in [
        (
            "cut short",
            answer("Content-Length: 900\r\n", "new.example\n"),
            Some(fetch("cut short: 12 of 900 bytes")),
        ),
        (
            "broken chunks",
            answer("Transfer-Encoding: chunked\r\n", "ff\r\nnew.example\n"),
            None,
        ),
        (
            "huge, and it does not say so",
            answer(
                "Transfer-Encoding: chunked\r\n",
                &format!("{:x}\r\n{huge}\r\n0\r\n\r\n", huge.len()),
            ),
            Some(fetch("more than 16384 bytes")),
        ),
        (
            "huge, and it says so",
            answer("Content-Length: 16385\r\n", ""),
            Some(fetch("more than 16384 bytes")),
        ),
        ("empty", sized(""), Some(refused("has no entries"))),
        (
            "comments",
            sized("# nothing today\n"),
            Some(refused("has no entries")),
        ),
        (
            "a captive portal",
            sized(PORTAL),
            Some(refused("makes no sense in 12 of 12 lines, first in line 1")),
        ),
        (
            "shrunk",
            sized("new.example\n"),
            Some(refused("has 1 entries, and had 51 before")),
        ),
        (
            "older",
            dated(9, &many("new.example")),
            Some(refused("is older than the one in use")),
        ),
        (
            "compressed",
            answer("Content-Encoding: gzip\r\nContent-Length: 2\r\n", "\u{1f}x"),
            Some(fetch("a compressed answer that was not asked for")),
        ),
        (
            "a redirect",
            format!(
                "HTTP/1.1 302 Found\r\nLocation: https://lists.example/other.txt\r\nContent-Length: 12\r\n\r\n{}",
                "new.example\n"
            ),
            None,
        ),
        (
            "not found, with a list for a body",
            format!(
                "HTTP/1.1 404 Not Found\r\nContent-Length: {}\r\n\r\n{}",
                many("new.example").len(),
                many("new.example")
            ),
            None,
        ),
        ("no HTTP", "220 lists.example ESMTP\r\n".to_owned(), None),
        ("nothing", String::new(), None),
    ] {
        let before = operations(&world.gateway, "feed-refused").len();
        world.lists.raw(LIST, bytes);
        world.asked_again(LIST, hours(1)).await;
        if let Some(told) = told {
            eventually(&format!("{what} is told of"), async || {
                operations(&world.gateway, "feed-refused").len() > before
            })
            .await;
            let last = operations(&world.gateway, "feed-refused").pop();
            assert_eq!(last.as_deref(), Some(&*told), "{what}");
        }
        let client = world.gateway.proxy();
        assert_eq!(verdict(&client, "bad.example").await, "forbidden", "{what}");
        assert_eq!(verdict(&client, "new.example").await, "open", "{what}");
    }
    assert!(world.lists.asked("/other.txt").is_empty(), "no redirects");
    assert_eq!(operations(&world.gateway, "feed-loaded").len(), 1);

    // Nobody is there, and it is a new day.
    world.lists.remove(LIST);
    world.gateway.clock.advance(hours(20));
    let World {
        gateway,
        lists,
        site,
    } = world;
    let world = World {
        gateway: gateway.restart().await,
        lists,
        site,
    };
    let client = world.gateway.proxy();
    assert_eq!(verdict(&client, "bad.example").await, "forbidden");
    assert_eq!(verdict(&client, "good.example").await, "open");
    // And when it is there again, it goes on from what was known.
    world.lists.raw(LIST, dated(9, &many("new.example")));
    world.asked_again(LIST, hours(1)).await;
    eventually("the older one is refused", async || {
        operations(&world.gateway, "feed-refused")
            .last()
            .is_some_and(|told| told.contains("older"))
    })
    .await;
    world.lists.raw(LIST, dated(23, &many("new.example")));
    world.asked_again(LIST, hours(1)).await;
    world.becomes("new.example", "forbidden").await;
    assert_eq!(verdict(&world.gateway.proxy(), "bad.example").await, "open");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signature_is_believed_and_nothing_else() {
    let (signer, stranger) = (Signer::new(1), Signer::new(2));
    let feed = fetched(
        "c2",
        LIST,
        &format!("minisign_key = \"{}\"", signer.public()),
    );
    let world = world(&feed, |lists| lists.serve(LIST, "bad.example\n")).await;
    let refused = async |count: usize| {
        eventually("a refusal on record", async || {
            operations(&world.gateway, "feed-refused").len() >= count
        })
        .await;
        operations(&world.gateway, "feed-refused").pop().unwrap()
    };
    // Without signature it is none, and nothing is let through.
    assert_eq!(refused(1).await, "feed=c2 has no signature");
    let client = world.gateway.proxy();
    assert_eq!(verdict(&client, "good.example").await, "lists-unavailable");
    let minisig = "/c2.txt.minisig";
    let list = "bad.example\n";
    let now = world.gateway.clock.seconds();
    let mut tries = 1;
    for (list, signature, told) in [
        ("new.example\n", signer.sign(list, now), "signature"),
        (list, stranger.sign(list, now), "signature"),
        (list, "untrusted comment: none\n".to_owned(), "signature"),
        (list, PORTAL.to_owned(), "signature"),
    ] {
        world.lists.serve(LIST, list);
        world.lists.serve(minisig, &signature);
        world.asked_again(LIST, hours(1)).await;
        tries += 1;
        let last = refused(tries).await;
        assert!(last.contains(told), "{last}");
        assert_eq!(verdict(&client, "good.example").await, "lists-unavailable");
    }
    world.lists.serve(minisig, &signer.sign(list, now));
    world.asked_again(LIST, hours(1)).await;
    world.becomes("bad.example", "forbidden").await;
    // Attack: an older list, rightly signed, that does not know the newest names.
    let old = "good.example\n";
    world.lists.serve(LIST, old);
    world.lists.serve(minisig, &signer.sign(old, now - 1));
    world.asked_again(LIST, hours(1)).await;
    assert_eq!(
        refused(tries + 1).await,
        "feed=c2 is older than the one in use"
    );
    assert_eq!(verdict(&client, "bad.example").await, "forbidden");
    assert_eq!(verdict(&client, "good.example").await, "open");
}

// Attack: whoever can write to the directory of copies, but has no key.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_somebody_changed_is_not_believed_after_a_restart() {
    let signer = Signer::new(1);
    let feed = fetched(
        "c2",
        LIST,
        &format!("minisign_key = \"{}\"", signer.public()),
    );
    let list = "bad.example\n";
    let world = world(&feed, |lists| {
        lists.serve(LIST, list);
        lists.serve("/c2.txt.minisig", &signer.sign(list, 1_700_000_000));
    })
    .await;
    world.becomes("bad.example", "forbidden").await;
    world.lists.remove(LIST);
    let copy = world.gateway.path("lists/c2.list");
    let mut bytes = std::fs::read(&copy).unwrap();
    let at = bytes.len() - list.len();
    bytes[at] = b'd';
    std::fs::write(&copy, bytes).unwrap();
    let World {
        gateway,
        lists,
        site,
    } = world;
    let world = World {
        gateway: gateway.restart().await,
        lists,
        site,
    };
    let client = world.gateway.proxy();
    assert_eq!(verdict(&client, "bad.example").await, "lists-unavailable");
    assert_eq!(verdict(&client, "good.example").await, "lists-unavailable");
    world.lists.serve(LIST, list);
    eventually("a question", async || world.lists.asked(LIST).len() >= 2).await;
    world.asked_again(LIST, hours(1)).await;
    world.becomes("bad.example", "forbidden").await;
}

// Attack: a URL, or what its name leads to, that is a way inside.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_lists_is_reached_like_any_destination_and_only_with_its_name() {
    let builder = door();
    let origins = Origins::new(builder.clock().seconds());
    let others = Origins::new(builder.clock().seconds());
    let unnamed = ListServer::start(&origins, &["other.example"]).await;
    let private = ListServer::start(&origins, &["lists.example"]).await;
    for (server, authority, reach) in [
        // Nothing lets a private address be reached.
        (&private, &origins, false),
        // A certificate of another name, of another authority.
        (&unnamed, &origins, true),
        (&private, &others, true),
    ] {
        server.serve(LIST, "bad.example\n");
        let gateway = door()
            .file("origins.pem", &authority.authority_pem())
            .config(&fetched("c2", LIST, "unsigned = true"))
            .config(&format!(
                "[[egress.address]]\nhost = \"lists.example\"\naddresses = [\"{}\"]",
                server.address
            ));
        let gateway = if reach {
            gateway.config(&format!(
                "[[egress.reach]]\nhosts = [\"lists.example\"]\nranges = [\"127.0.0.0/8\"]\nports = [{}]",
                server.address.port()
            ))
        } else {
            gateway
        };
        let gateway = gateway.start().await;
        gateway.clock.advance(hours(1));
        let client = gateway.proxy();
        for _ in 0..5 {
            assert_eq!(verdict(&client, "bad.example").await, "lists-unavailable");
            gateway.clock.advance(hours(1));
        }
        assert!(server.asked(LIST).is_empty());
    }
}

/// A tunnel to an upstream that sends back what comes.
async fn echoing(client: &ProxyClient, host: &str) -> Tunnel {
    let mut tunnel = client.connect(&format!("{host}:80")).await.unwrap();
    assert!(echoes(&mut tunnel).await);
    tunnel
}

async fn echoes(tunnel: &mut Tunnel) -> bool {
    let mut back = [0; 4];
    tunnel.write_all(b"ping").await.is_ok()
        && tunnel.read_exact(&mut back).await.is_ok()
        && back == *b"ping"
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_list_cuts_what_it_names_and_nothing_else_and_raises_the_alarm() {
    let builder = door();
    let origins = Origins::new(builder.clock().seconds());
    let lists = ListServer::start(&origins, &["lists.example"]).await;
    lists.serve(LIST, "other.example\n");
    let site = Origins::plain(masugata_tests::Behaviour::Echo).await;
    let gateway = NAMES
        .iter()
        .fold(builder, |builder, name| builder.origin(name, site.address))
        // Nothing but the list itself makes anybody look in time.
        .egress("lists_directory = \"lists\"\nrecheck = \"30s\"")
        .origin("lists.example", lists.address)
        .file("origins.pem", &origins.authority_pem())
        .config(&fetched("c2", LIST, "unsigned = true\nalert = true"))
        .start()
        .await;
    let client = gateway.proxy();
    eventually("the door is open", async || {
        verdict(&client, "good.example").await == "open"
    })
    .await;
    let mut list = "other.example\n".to_owned();
    let hosts = ["bad.example", "new.example"];
    for (round, (client, host)) in both(&client).iter().zip(hosts).enumerate() {
        let mut bad = echoing(client, host).await;
        let mut good = echoing(client, "good.example").await;
        writeln!(list, "{host}").unwrap();
        lists.serve(LIST, &list);
        gateway.clock.advance(hours(1));
        within_reason("the cut", bad.ended()).await;
        assert!(echoes(&mut good).await, "nobody names it");
        eventually("the alert", async || {
            operations(&gateway, "alert").len() > round
        })
        .await;
        let alerts = operations(&gateway, "alert");
        assert_eq!(alerts.len(), round + 1, "{alerts:?}");
        let begin = format!("device=laptop user=corp/ada host={host} category=c2 feed=c2@");
        assert!(alerts[round].starts_with(&begin), "{alerts:?}");
    }
    let cut = metric(&gateway, "masugata_tunnels_cut_total{reason=\"forbidden\"}").await;
    assert_eq!(cut, Some(2));
    eventually("both cuts on record", async || {
        let records = gateway.records_so_far();
        let cut = records
            .iter()
            .filter(|record| record["type"] == "completion" && record["cause"] == "forbidden");
        cut.count() == 2
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hit_on_an_alerting_list_names_the_device_whatever_is_decided() {
    let site = Upstream::hello().await;
    let gateway = leading_to(door(), &["watched.example", "quiet.example"], &site)
        .device("kiosk", "owner = \"\"")
        .origin(
            "lies.example",
            format!("127.0.0.2:{}", site.address.port())
                .parse()
                .unwrap(),
        )
        .file(
            "c2.txt",
            "c2.example\nhome.example\nodd.example\n127.0.0.2\n",
        )
        .config(&file("c2", "plain", "alert = true").replace("\"bad\"", "\"c2\""))
        .file("watch.txt", "watched.example\n")
        .config(&file("watch", "plain", "alert = true").replace("\"bad\"", "\"watched\""))
        .file("quiet.txt", "quiet.example\n")
        .config(&file("quiet", "plain", "").replace("\"bad\"", "\"quiet\""))
        .start()
        .await;
    let laptop = gateway.proxy();
    assert_eq!(verdict(&laptop, "c2.example").await, "forbidden");
    // Permitted, and still an alert.
    assert_eq!(
        verdict(&laptop.clone().h2(), "watched.example").await,
        "open"
    );
    assert_eq!(verdict(&laptop, "quiet.example").await, "open");
    // By its address.
    assert_denied(&laptop.get("http://lies.example/").await, "forbidden");
    // What calls home has no credentials, and no use for port 443.
    let kiosk = gateway.stranger().device(&gateway.device("kiosk"));
    assert_eq!(verdict(&kiosk, "home.example").await, "credential-missing");
    let odd = laptop.refused("www.odd.example:4444").await;
    assert_denied(&odd, "destination-port-refused");
    let expected = [
        "device=laptop user=corp/ada host=c2.example category=c2 feed=c2@",
        "device=laptop user=corp/ada host=watched.example category=watched feed=watch@",
        "device=laptop user=corp/ada host=lies.example category=c2 feed=c2@",
        "device=kiosk user=- host=home.example category=c2 feed=c2@",
        "device=laptop user=corp/ada host=www.odd.example category=c2 feed=c2@",
    ];
    eventually("all alerts on record", async || {
        operations(&gateway, "alert").len() >= expected.len()
    })
    .await;
    let alerts = operations(&gateway, "alert");
    assert_eq!(alerts.len(), expected.len(), "{alerts:?}");
    for (alert, begin) in alerts.iter().zip(expected) {
        assert!(alert.starts_with(begin), "{alert}");
    }
    // Once an hour for each device and site, however often it tries.
    for _ in 0..3 {
        verdict(&laptop, "www.c2.example").await;
    }
    assert_eq!(
        metric(&gateway, "masugata_alerts_total{feed=\"c2\"}").await,
        Some(4)
    );
    gateway.clock.advance(minutes(61));
    verdict(&laptop, "www.c2.example").await;
    assert_eq!(
        metric(&gateway, "masugata_alerts_total{feed=\"c2\"}").await,
        Some(5)
    );
    assert_eq!(
        metric(&gateway, "masugata_alerts_total{feed=\"watch\"}").await,
        Some(1)
    );
    let records = gateway.records().await;
    let odd = masugata_tests::decision_of(&records, &odd);
    assert_eq!(odd["device"]["id"], "laptop", "{odd}");
    let alert = records.iter().find(|record| record["operation"] == "alert");
    assert_eq!(alert.unwrap()["type"], "operation");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_go_on_while_a_big_list_is_loaded() {
    const ENTRIES: usize = 200_000;
    let world = world(&fetched("c2", LIST, "unsigned = true"), |lists| {
        lists.serve(LIST, "bad.example\n");
    })
    .await;
    world.becomes("bad.example", "forbidden").await;
    let mut big = "bad.example\nnew.example\n".to_owned();
    for number in 0..ENTRIES {
        writeln!(big, "host-{number}.evil-{}.example", number % 977).unwrap();
    }
    world.lists.serve(LIST, &big);
    world.gateway.clock.advance(hours(1));
    // The old lists answer until the new ones do, and never nobody.
    let sessions = world.gateway.proxy().h2();
    let mut meanwhile = 0;
    within_reason("the new list", async {
        loop {
            assert_eq!(verdict(&sessions, "good.example").await, "open");
            assert_eq!(verdict(&sessions, "bad.example").await, "forbidden");
            match &*verdict(&sessions, "new.example").await {
                "open" => meanwhile += 1,
                "forbidden" => break,
                other => panic!("{other}"),
            }
        }
    })
    .await;
    assert!(meanwhile > 0, "requests were decided while it was read");
    let last = format!("host-{}.evil-{}.example", ENTRIES - 1, (ENTRIES - 1) % 977);
    for host in ["host-0.evil-0.example", &last, "www.host-7.evil-7.example"] {
        assert_eq!(verdict(&sessions, host).await, "forbidden", "{host}");
    }
    let entries = metric(&world.gateway, "masugata_list_entries{feed=\"c2\"}").await;
    assert_eq!(entries, Some(ENTRIES as u64 + 2));
    // A reload that has nothing to do with lists leaves them alone.
    world.gateway.set_policy(&format!("{POLICY}\n")).await;
    let before = world.lists.asked(LIST).len();
    assert_eq!(verdict(&sessions, &last).await, "forbidden");
    assert_eq!(world.lists.asked(LIST).len(), before);
    let told = at_least(&world.gateway, "feed-loaded", 2).await;
    assert_eq!(told.len(), 2, "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_read_again_when_it_changes_and_a_bad_one_is_told() {
    let site = Upstream::hello().await;
    let gateway = leading_to(door(), &NAMES, &site)
        .file("list.txt", "bad.example\n")
        .config(&file("list", "plain", ""))
        .watching()
        .start()
        .await;
    let client = gateway.proxy();
    assert_eq!(verdict(&client, "bad.example").await, "forbidden");
    gateway.write("list.txt", "new.example\nother.example\n");
    eventually("the new file", async || {
        verdict(&client, "new.example").await == "forbidden"
    })
    .await;
    assert_eq!(verdict(&client, "bad.example").await, "open");
    gateway.write("list.txt", &format!("good.example\n\n{PORTAL}"));
    eventually("the refusal", async || {
        operations(&gateway, "reload-refused")
            .last()
            .is_some_and(|told| {
                told.contains("list `list` makes no sense in 12 of 13 lines, first in line 3")
            })
    })
    .await;
    assert_eq!(verdict(&client, "new.example").await, "forbidden");
    assert_eq!(verdict(&client, "good.example").await, "open");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_came_while_another_was_broken_is_taken_up_later() {
    let feeds = [
        fetched("c2", LIST, "unsigned = true"),
        file("own", "plain", ""),
    ]
    .concat();
    let builder = door();
    let origins = Origins::new(builder.clock().seconds());
    let lists = ListServer::start(&origins, &["lists.example"]).await;
    lists.serve_with(LIST, "ETag: \"1\"\r\n", "bad.example\n");
    let site = Upstream::hello().await;
    let gateway = leading_to(builder, &NAMES, &site)
        .origin("lists.example", lists.address)
        .file("origins.pem", &origins.authority_pem())
        .file("own.txt", "own.example\n")
        .config(&feeds)
        .start()
        .await;
    let world = World {
        gateway,
        lists,
        site,
    };
    world.becomes("bad.example", "forbidden").await;
    // Somebody is in the middle of editing.
    world.gateway.write("own.txt", "<<<<<<<\n");
    world
        .lists
        .serve_with(LIST, "ETag: \"2\"\r\n", "new.example\n");
    world.asked_again(LIST, hours(1)).await;
    eventually("the refusal", async || {
        let told = operations(&world.gateway, "feed-refused");
        told.iter().any(|told| told.starts_with("feed=own "))
    })
    .await;
    assert_eq!(
        verdict(&world.gateway.proxy(), "bad.example").await,
        "forbidden"
    );
    // From now on the server says that what we have is the newest.
    world.gateway.write("own.txt", "own.example\n");
    world.asked_again(LIST, seconds(31)).await;
    world.becomes("new.example", "forbidden").await;
    assert_eq!(verdict(&world.gateway.proxy(), "bad.example").await, "open");
    let told = at_least(&world.gateway, "feed-loaded", 2).await;
    assert_eq!(told.len(), 2, "{told:?}");
}

// Attack: a server that accepts and says nothing, to keep other lists from coming.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_keeps_us_waiting_does_not_hold_up_other_lists() {
    let silent = Origins::plain(masugata_tests::Behaviour::Silent).await;
    let builder = door();
    let origins = Origins::new(builder.clock().seconds());
    let lists = ListServer::start(&origins, &["lists.example"]).await;
    lists.serve(LIST, "bad.example\n");
    let slow = fetched("slow", LIST, "unsigned = true\nrequired = false");
    let site = Upstream::hello().await;
    let gateway = leading_to(builder, &NAMES, &site)
        .origin("slow.example", silent.address)
        .origin("lists.example", lists.address)
        .file("origins.pem", &origins.authority_pem())
        .config(&slow.replace("lists.example", "slow.example"))
        .config(&fetched("c2", LIST, "unsigned = true"))
        .start()
        .await;
    eventually("the slow one is asked", async || {
        silent.seen().connections > 0
    })
    .await;
    let world = World {
        gateway,
        lists,
        site,
    };
    world.becomes("bad.example", "forbidden").await;
    world.lists.serve(LIST, "bad.example\nnew.example\n");
    world.asked_again(LIST, hours(1)).await;
    world.becomes("new.example", "forbidden").await;
    assert_eq!(silent.seen().connections, 1, "it is still waited for");
}

// A required list that was there is not missed because its copy has gone: it is fetched again.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_is_lost_while_others_change_closes_nothing() {
    let feeds = [
        fetched("c2", LIST, "unsigned = true\nrefresh = \"7d\""),
        fetched("other", "/other.txt", "unsigned = true"),
    ]
    .concat();
    let world = world(&feeds, |lists| {
        lists.serve_with(LIST, "ETag: \"1\"\r\n", "bad.example\n");
        lists.serve("/other.txt", "other.example\n");
    })
    .await;
    world.becomes("bad.example", "forbidden").await;
    world.becomes("other.example", "forbidden").await;
    std::fs::remove_file(world.gateway.path("lists/c2.list")).unwrap();
    world.lists.remove(LIST);
    world
        .lists
        .serve("/other.txt", "other.example\nnew.example\n");
    world.asked_again("/other.txt", hours(1)).await;
    eventually("the loss is told", async || {
        let told = operations(&world.gateway, "feed-refused");
        told.iter().any(|told| told.starts_with("feed=c2 "))
    })
    .await;
    // Its server is away as well: everything stays as it was.
    let client = world.gateway.proxy();
    assert_eq!(verdict(&client, "bad.example").await, "forbidden");
    assert_eq!(verdict(&client, "good.example").await, "open");
    assert_eq!(verdict(&client, "new.example").await, "open");
    world
        .lists
        .serve_with(LIST, "ETag: \"1\"\r\n", "bad.example\n");
    world.asked_again("/other.txt", hours(1)).await;
    world.becomes("new.example", "forbidden").await;
    assert_eq!(verdict(&client, "bad.example").await, "forbidden");
    assert!(world.gateway.path("lists/c2.list").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn administrators_see_how_lists_stand() {
    let feeds = [
        fetched("c2", LIST, "unsigned = true"),
        fetched("later", "/later.txt", "unsigned = true\nrequired = false"),
        file("own", "plain", ""),
    ]
    .concat();
    let slips = format!("{}<html>\n", "own.example\n".repeat(10));
    let builder = door().file("own.txt", &slips);
    let origins = Origins::new(builder.clock().seconds());
    let lists = ListServer::start(&origins, &["lists.example"]).await;
    lists.serve(LIST, "bad.example\nnew.example\n");
    let gateway = builder
        .origin("lists.example", lists.address)
        .file("origins.pem", &origins.authority_pem())
        .config(&feeds)
        .start()
        .await;
    let shown = async || -> Vec<Value> {
        let (status, body) = gateway.admin("GET", "/lists").await;
        assert_eq!(status, 200);
        let body: Value = serde_json::from_str(&body).unwrap();
        body["lists"].as_array().unwrap().clone()
    };
    eventually("both have been asked for", async || {
        let shown = shown().await;
        shown[0]["version"].is_string() && shown[1]["fault"] != "has not been fetched yet"
    })
    .await;
    let now = jiff::Timestamp::from_second(gateway.clock.seconds()).unwrap();
    let [c2, later, own] = shown().await.try_into().unwrap();
    assert_eq!(c2["name"], "c2");
    assert_eq!(c2["entries"], 2);
    assert_eq!(c2["required"], true);
    assert!(c2["fault"].is_null(), "{c2}");
    let checked: jiff::Timestamp = c2["checked_at"].as_str().unwrap().parse().unwrap();
    assert!((checked - now).as_secs().abs() <= 1, "{c2}");
    assert!(later["version"].is_null(), "{later}");
    let fault = later["fault"].as_str().unwrap();
    assert!(fault.contains("404"), "{fault}");
    assert_eq!(own["bad_lines"], 1);
    assert_eq!(own["first_bad_line"], 11);
    assert!(own["checked_at"].is_null());
}

#[tokio::test(flavor = "multi_thread")]
async fn check_shows_how_lists_stand_and_changes_nothing() {
    let slips = format!("{}<html>\nco.jp\n", "a.example\n".repeat(20));
    let prepared = door()
        .file("good.txt", "bad.example\n198.51.100.0/24\n")
        .config(&file("good", "plain", ""))
        .file("slips.txt", &slips)
        .config(&file("slips", "plain", ""))
        .file("rules.txt", "||bad.example^\n||x.example^$client=me\n")
        .config(&file("rules", "adguard", ""))
        .config(
            &fetched("c2", LIST, "unsigned = true").replace("authority = \"origins.pem\"\n", ""),
        )
        // What a running gateway is fetching.
        .file("lists/.c2.1-0.new", "half")
        .prepare();
    let checked = check(&prepared);
    assert_eq!(checked.code, Some(0), "{checked:?}");
    let lists: Vec<_> = checked
        .out
        .lines()
        .skip_while(|line| *line != "Lists")
        .collect();
    for (line, parts) in lists.iter().skip(1).zip([
        &["good", "2 entries, version "][..],
        &[
            "slips",
            "20 entries",
            "2 lines make no sense, first line 21",
        ],
        &["rules", "1 entry", "1 line says what a list cannot"],
        &[
            "c2",
            "has not been fetched yet; until it is there, nothing is let through",
        ],
    ]) {
        for part in parts {
            assert!(line.contains(part), "no `{part}` in {line}");
        }
    }
    assert!(prepared.path("lists/.c2.1-0.new").exists());
}

fn check(prepared: &masugata_tests::Prepared) -> masugata_tests::Finished {
    masugata([
        "check".as_ref(),
        "-c".as_ref(),
        prepared.config().as_os_str(),
    ])
}

#[tokio::test(flavor = "multi_thread")]
async fn check_says_which_list_is_bad_and_where() {
    let many = "a.example\n".repeat(200);
    let prepared = door()
        .file("page.txt", &format!("# list\n\n{PORTAL}"))
        .config(&file("page", "plain", ""))
        .file("empty.txt", "# nothing\n")
        .config(&file("empty", "hosts", ""))
        .file("real.txt", "93.184.215.14 good.example\n")
        .config(&file("real", "hosts", ""))
        .file("large.txt", &many)
        .config(&file("large", "plain", "max_bytes = \"1KiB\""))
        .file("signed.txt", "a.example\n")
        .file("signed.txt.minisig", &Signer::new(2).sign("a.example\n", 1))
        .config(&file(
            "signed",
            "plain",
            &format!("minisign_key = \"{}\"", Signer::new(1).public()),
        ))
        .file("pinned.txt", "a.example\n")
        .config(&file(
            "pinned",
            "plain",
            &format!("sha256 = \"{}\"", "0".repeat(64)),
        ))
        .prepare();
    let checked = check(&prepared);
    assert_eq!(checked.code, Some(2), "{checked:?}");
    for told in [
        "list `page` makes no sense in 12 of 12 lines, first in line 3",
        "list `empty` has no entries",
        "list `real` makes no sense in 1 of 1 lines, first in line 1",
        "list `large` is larger than 1024 bytes",
        "list `signed` has a signature that is not good",
        "list `pinned` is not the one whose SHA-256 is configured",
    ] {
        assert!(checked.err.contains(told), "no `{told}`:\n{}", checked.err);
    }

    let prepared = door()
        .config(&file("gone", "plain", ""))
        .config("[[egress.feed]]\nname = \"loose\"\nurl = \"https://lists.example/x\"\nformat = \"plain\"\ncategories = [\"c2\"]")
        .config("[[egress.feed]]\nname = \"open\"\nurl = \"https://lists.example/y\"\nformat = \"plain\"\neffect = \"allow\"\nunsigned = true")
        .prepare();
    let checked = check(&prepared);
    assert_eq!(checked.code, Some(2), "{checked:?}");
    for told in [
        "gone.txt",
        "nothing proves that this list is what its makers wrote",
        "a list that takes categories away must be signed or pinned",
    ] {
        assert!(checked.err.contains(told), "no `{told}`:\n{}", checked.err);
    }
}
