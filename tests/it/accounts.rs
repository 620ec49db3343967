//! The built-in provider through the front door: the first link, a password with a code, and what is refused.

use aws_lc_rs::hmac;
use bytes::Bytes;
use http::Method;
use http_body_util::Full;
use masugata_tests::{Browser, Page, TestGateway, Upstream, eventually, query_of, seconds};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const WIKI: &str = "https://wiki.corp.test/page?q=1";
const LOGIN: &str = "https://login.corp.test";
const PASSWORD: &str = "correct horse battery";
const COOKIE: &str = "__Host-masugata";

async fn world() -> (TestGateway, Upstream) {
    let upstream = Upstream::hello().await;
    let builder = TestGateway::new()
        .app("wiki", upstream.address)
        .accounts("");
    let builder = builder
        .device("phone", "")
        .device("lost", "state = \"lost\"");
    (builder.start().await, upstream)
}

/// What an administrator asks with `masugata user` and `masugata session`.
async fn control(gateway: &TestGateway, request: Value) -> Value {
    let path = gateway.path("store/control.sock");
    let mut stream = tokio::net::UnixStream::connect(path).await.unwrap();
    let call = json!({ "version": 1, "through": null, "request": request });
    stream
        .write_all(format!("{call}\n").as_bytes())
        .await
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert!(
        answer["done"].is_object() || answer["done"].is_array(),
        "{answer}"
    );
    answer["done"].clone()
}

/// An account, and the token of its first link.
async fn invited(gateway: &TestGateway, name: &str) -> String {
    let request = json!({ "user-add": {
        "name": name, "display_name": null, "email": format!("{name}@corp.test"), "groups": ["employees"],
    }});
    let done = control(gateway, request).await;
    let link = done["link"].as_str().unwrap();
    let token = link.strip_prefix("https://login.corp.test/id/welcome#");
    token.unwrap_or_else(|| panic!("{link}")).to_owned()
}

#[track_caller]
fn assert_shown(page: &Page) {
    assert_eq!(page.status(), 200, "{:#?}\n{}", page.hops, page.text());
}

/// Opens a first link, as a browser without scripts would: the token is pasted.
async fn open_link(browser: &mut Browser, token: &str) -> Page {
    let page = browser.open(&format!("{LOGIN}/id/welcome")).await;
    assert_shown(&page);
    let form = page.form("/id/welcome");
    browser.submit(&page, &form, &[("token", token)]).await
}

/// Somebody with a password and a code app: its key.
async fn enrolled(gateway: &TestGateway, browser: &mut Browser, name: &str) -> Vec<u8> {
    let token = invited(gateway, name).await;
    enrolled_by(gateway, browser, &token).await
}

async fn enrolled_by(gateway: &TestGateway, browser: &mut Browser, token: &str) -> Vec<u8> {
    let page = open_link(browser, token).await;
    assert_shown(&page);
    let text = page.text();
    let (_, key) = text.split_once("secret=").unwrap();
    let key: String = key
        .chars()
        .take_while(char::is_ascii_alphanumeric)
        .collect();
    let key = base32(&key);
    let form = page.form("/id/welcome/password");
    let code = totp(&key, gateway.clock.seconds());
    let page = browser
        .submit(&page, &form, &[("password", PASSWORD), ("code", &code)])
        .await;
    assert_shown(&page);
    let form = page.form("/id/recovery-codes/kept");
    assert_shown(&browser.submit(&page, &form, &[]).await);
    // A code counts once.
    gateway.clock.advance(seconds(60));
    key
}

/// From the page that asks for a name to where the person wanted to be.
async fn sign_in(gateway: &TestGateway, browser: &mut Browser, name: &str, key: &[u8]) -> Page {
    let page = browser.open(WIKI).await;
    let page = try_password(browser, &page, name, PASSWORD).await;
    let form = page.form("/id/code");
    let code = totp(key, gateway.clock.seconds());
    let page = browser.submit(&page, &form, &[("code", &code)]).await;
    browser.click(LOGIN, &onward(&page)).await
}

async fn try_password(browser: &mut Browser, page: &Page, name: &str, password: &str) -> Page {
    let form = page.form("/id/password");
    browser
        .submit(page, &form, &[("name", name), ("password", password)])
        .await
}

/// Where a page leads by itself.
#[track_caller]
fn onward(page: &Page) -> String {
    let refresh = page.answer.header("refresh");
    let refresh = refresh.unwrap_or_else(|| panic!("{:#?}\n{}", page.hops, page.text()));
    let (_, to) = refresh.split_once("url=").unwrap();
    if to.starts_with('/') {
        format!("{LOGIN}{to}")
    } else {
        to.to_owned()
    }
}

/// RFC 6238: six digits, thirty seconds, SHA-1.
fn totp(key: &[u8], now: i64) -> String {
    let counter = now.div_euclid(30).to_be_bytes();
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key);
    let tag = hmac::sign(&key, &counter);
    let tag = tag.as_ref();
    let at = usize::from(tag[19] & 15);
    let number = u32::from_be_bytes(tag[at..at + 4].try_into().unwrap()) & 0x7fff_ffff;
    format!("{:06}", number % 1_000_000)
}

/// RFC 4648 §6, without padding.
fn base32(text: &str) -> Vec<u8> {
    let (mut bits, mut count, mut bytes) = (0_u32, 0, Vec::new());
    for letter in text.bytes() {
        let value = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'2'..=b'7' => letter - b'2' + 26,
            other => panic!("{other}"),
        };
        bits = (bits << 5) | u32::from(value);
        count += 5;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count).to_le_bytes()[0]);
        }
    }
    bytes
}

async fn people(gateway: &TestGateway, event: &str, count: usize) -> Vec<Value> {
    let of = |record: &Value| record["type"] == "person" && record["event"] == event;
    let found = || -> Vec<Value> { gateway.records_so_far().into_iter().filter(of).collect() };
    eventually(&format!("{count} {event}"), async || found().len() >= count).await;
    found()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_link_a_password_and_a_code_lead_to_the_app() {
    let (gateway, upstream) = world().await;
    let mut browser = gateway.browser("laptop");
    let key = enrolled(&gateway, &mut browser, "ada").await;
    let page = sign_in(&gateway, &mut browser, "ada", &key).await;
    assert_shown(&page);
    assert_eq!(page.url, WIKI);
    assert!(browser.refused.is_empty(), "{:?}", browser.refused);
    assert!(upstream.last().all("cookie").is_empty());
    let record = people(&gateway, "sign-in", 1).await;
    let record = record.iter().find(|it| it["app"] == "wiki").unwrap();
    assert_eq!(record["principal"], "accounts/ada");
    let text = gateway.read("audit.jsonl");
    assert!(!text.contains(PASSWORD), "no secret goes on record");
    // My page knows the account.
    let mine = browser.open(LOGIN).await;
    assert_shown(&mine);
    assert!(mine.text().contains("/id/factors"), "{}", mine.text());
    assert_shown(&browser.open(&format!("{LOGIN}/id/factors")).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_link_opens_once_and_not_for_ever() {
    let (gateway, _upstream) = world().await;
    let mut browser = gateway.browser("laptop");
    let token = invited(&gateway, "ada").await;
    for wrong in ["", "x", &"A".repeat(43)] {
        let page = open_link(&mut browser, wrong).await;
        let _asks_again = page.form("/id/welcome");
    }
    let late = invited(&gateway, "bob").await;
    // Until there is a factor it opens again: mail programs and second thoughts do not lock anybody out …
    let mut thief = gateway.browser("phone");
    let before = open_link(&mut thief, &token).await;
    let form = before.form("/id/welcome/password");
    let key = enrolled_by(&gateway, &mut browser, &token).await;
    // … and then never: neither the page that was open elsewhere, nor the link.
    let page = thief
        .submit(&before, &form, &[("password", "of the thief's own")])
        .await;
    assert!(
        !page.text().contains("/id/recovery-codes/kept"),
        "{}",
        page.text()
    );
    let page = open_link(&mut thief, &token).await;
    assert!(
        !page.text().contains("/id/welcome/password"),
        "{}",
        page.text()
    );
    let mut owner = gateway.browser("laptop");
    assert_shown(&sign_in(&gateway, &mut owner, "ada", &key).await);
    gateway.clock.advance(masugata_tests::hours(73));
    let page = open_link(&mut browser, &late).await;
    assert!(
        !page.text().contains("/id/welcome/password"),
        "{}",
        page.text()
    );
    let text = gateway.read("audit.jsonl");
    assert!(!text.contains(&token) && !text.contains(&late));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guesser_is_told_to_wait_and_learns_no_names() {
    let (gateway, _upstream) = world().await;
    let mut browser = gateway.browser("laptop");
    let key = enrolled(&gateway, &mut browser, "ada").await;
    let mut guesser = gateway.browser("phone");
    let mut page = guesser.open(WIKI).await;
    for _ in 0..20 {
        page = try_password(&mut guesser, &page, "ada", "wrong wrong wrong").await;
        assert_shown(&page);
        if page.text().contains("Too many attempts failed. Wait") {
            break;
        }
        gateway.clock.advance(seconds(40));
    }
    let told = page.text().contains("Too many attempts failed. Wait");
    assert!(told, "{}", page.text());
    assert!(page.text().contains("role=\"alert\""));
    // The right one does not show while the wait lasts.
    let page = try_password(&mut guesser, &page, "ada", PASSWORD).await;
    assert!(!page.text().contains("/id/code"), "{}", page.text());
    let locked = people(&gateway, "locked-out", 1).await;
    assert!(!locked[0].to_string().contains(PASSWORD));
    // Whoever guesses from a device of their own keeps nobody else out.
    let page = sign_in(&gateway, &mut browser, "ada", &key).await;
    assert_shown(&page);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_post_of_the_sign_in_host_needs_a_page_of_ours() {
    let (gateway, _upstream) = world().await;
    let mut browser = gateway.browser("laptop");
    let key = enrolled(&gateway, &mut browser, "ada").await;
    assert_shown(&sign_in(&gateway, &mut browser, "ada", &key).await);
    let factors = browser.open(&format!("{LOGIN}/id/factors")).await;
    let form = factors.form("/id/factors/");
    let of_page = |name: &str| {
        let found = form.fields.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.clone()).unwrap_or_default()
    };
    let (c, token) = (of_page("c"), of_page("form"));
    let before = browser.cookie("login.corp.test", COOKIE).unwrap().clone();
    for path in [
        "/sign-out",
        "/sessions/end",
        "/id/password",
        "/id/code",
        "/id/recovery",
        "/id/cancel",
        "/id/welcome",
        "/id/welcome/password",
        "/id/recovery-codes/kept",
        "/id/factors/password",
        "/id/factors/password/remove",
        "/id/factors/totp",
        "/id/factors/totp/confirm",
        "/id/factors/totp/remove",
        "/id/factors/recovery-codes",
        "/id/factors/passkey/rename",
        "/id/factors/passkey/remove",
        "/id/passkey/options",
        "/id/passkey/verify",
        "/id/passkey/new",
        "/id/passkey/add",
        "/id/token",
        "/id/par",
    ] {
        let url = format!("{LOGIN}{path}");
        for (from, c, token) in [
            // From another app, with all cookies and a token that leaked …
            ("https://wiki.corp.test", c.as_str(), token.as_str()),
            // … and from our own pages, without a token or with a wrong one.
            (LOGIN, c.as_str(), ""),
            (LOGIN, "", token.as_str()),
            (LOGIN, c.as_str(), "AAAA"),
        ] {
            let fields = [
                ("c", c),
                ("form", token),
                ("token", token),
                ("session", "others"),
            ];
            let page = browser.post(from, &url, &fields).await;
            assert!(
                (400..404).contains(&page.status()),
                "{from} {path}: {}",
                page.status()
            );
            assert!(page.answer.header("refresh").is_none(), "{from} {path}");
            let call = json!({ "c": c, "form": token }).to_string();
            let answer = browser.fetch(from, Method::POST, &url, &call).await;
            let status = answer.status.as_u16();
            assert!((400..404).contains(&status), "{from} {path}: {status}");
        }
        // Another site's form comes without cookies: it is a stranger's.
        let mut copy = browser.clone();
        copy.post("https://evil.test", &url, &[("c", &c), ("form", &token)])
            .await;
    }
    assert_eq!(browser.cookie("login.corp.test", COOKIE), Some(&before));
    let page = browser.open(WIKI).await;
    assert_eq!(
        (page.hops.len(), page.status()),
        (1, 200),
        "{:#?}",
        page.hops
    );
    // The factors are as they were: the old way in is the way in.
    gateway.clock.advance(seconds(60));
    let mut again = gateway.browser("laptop");
    assert_shown(&sign_in(&gateway, &mut again, "ada", &key).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_is_for_the_gateway_only_and_counts_once() {
    let (gateway, _upstream) = world().await;
    let mut browser = gateway.browser("laptop");
    let key = enrolled(&gateway, &mut browser, "ada").await;
    let page = sign_in(&gateway, &mut browser, "ada", &key).await;
    assert_shown(&page);
    let (callback, ..) = page
        .hops
        .iter()
        .find(|(url, ..)| url.contains("/callback/"))
        .unwrap();
    let query = query_of(callback.split_once('?').unwrap().1);
    let back = callback.split_once('?').unwrap().0;
    let fields = [
        ("grant_type", "authorization_code"),
        ("code", &*query["code"]),
        ("redirect_uri", back),
        ("client_id", "masugata"),
        ("code_verifier", &*"a".repeat(43)),
    ];
    let url = format!("{LOGIN}/id/token");
    let answer = browser.post(LOGIN, &url, &fields).await;
    assert_eq!(answer.status(), 401, "{}", answer.text());
    assert!(answer.text().contains("invalid_client"));
    let guessed = [&fields[..], &[("client_secret", "masugata")]].concat();
    assert_eq!(browser.post(LOGIN, &url, &guessed).await.status(), 401);
    assert_eq!(
        browser.step(callback).await.status,
        403,
        "the answer was used"
    );
    let answer = browser.step(&format!("{LOGIN}/id/userinfo")).await;
    assert_eq!(answer.status, 401);
    // Answers go to the gateway's own address, whatever is asked for.
    let authorize = page
        .hops
        .iter()
        .find(|(url, ..)| url.contains("/callback/"));
    assert!(
        authorize
            .unwrap()
            .0
            .starts_with("https://login.corp.test/callback/accounts?")
    );
    for to in [
        "https://evil.test/",
        "https://login.corp.test/callback/accounts/",
        "https://login.corp.test.evil.test/callback/accounts",
        "https://wiki.corp.test/callback/accounts",
    ] {
        let query = masugata_tests::pairs(&[
            ("client_id", "masugata"),
            ("redirect_uri", to),
            ("response_type", "code"),
            ("scope", "openid"),
            ("code_challenge_method", "S256"),
            ("code_challenge", &"A".repeat(43)),
            ("state", "s"),
        ]);
        let answer = browser.step(&format!("{LOGIN}/id/authorize?{query}")).await;
        assert_eq!(answer.status, 400, "{to}");
        assert!(answer.header("location").is_none() && answer.header("refresh").is_none());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_device_of_ours_nobody_can_even_try() {
    let (gateway, _upstream) = world().await;
    // No certificate: no connection.
    let refused = match gateway.client().try_session("login").await {
        Err(_) => true,
        Ok(mut session) => {
            let request = session.build(Method::GET, "/id/jwks");
            let request = request.body(Full::new(Bytes::new())).unwrap();
            session.send(request).await.is_err()
        }
    };
    assert!(refused, "the sign-in host asks for a certificate");
    for (device, code) in [("lost", "device-suspended"), ("unlisted", "device-unknown")] {
        let mut browser = gateway.browser(device);
        for path in [
            "/",
            "/start",
            "/id/jwks",
            "/id/.well-known/openid-configuration",
            "/id/sign-in",
            "/id/welcome",
            "/id/authorize",
        ] {
            let url = format!("{LOGIN}{path}");
            let answer = browser.fetch(LOGIN, Method::GET, &url, "").await;
            assert_eq!(
                answer.denial_code().as_deref(),
                Some(code),
                "{device} {path}"
            );
        }
        let url = format!("{LOGIN}/id/password");
        let answer = browser.fetch(LOGIN, Method::POST, &url, "{}").await;
        assert_eq!(answer.denial_code().as_deref(), Some(code), "{device}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_account_is_out_at_once_and_stays_out() {
    let (gateway, _upstream) = world().await;
    let mut browser = gateway.browser("laptop");
    let key = enrolled(&gateway, &mut browser, "ada").await;
    assert_shown(&sign_in(&gateway, &mut browser, "ada", &key).await);
    control(&gateway, json!({ "user-disable": "ada" })).await;
    let answer = browser
        .fetch("https://wiki.corp.test", Method::GET, WIKI, "")
        .await;
    assert_eq!(answer.denial_code().as_deref(), Some("credential-expired"));
    gateway.clock.advance(seconds(60));
    let page = browser.open(WIKI).await;
    let page = try_password(&mut browser, &page, "ada", PASSWORD).await;
    assert!(page.answer.header("refresh").is_none());
    if page.text().contains("/id/code") {
        let code = totp(&key, gateway.clock.seconds());
        let form = page.form("/id/code");
        let page = browser.submit(&page, &form, &[("code", &code)]).await;
        assert!(page.answer.header("refresh").is_none(), "{}", page.text());
    }
    let answer = browser
        .fetch("https://wiki.corp.test", Method::GET, WIKI, "")
        .await;
    assert_eq!(answer.status, 401);
    let disabled = people(&gateway, "account-disabled", 1).await;
    assert_eq!(disabled[0]["principal"], "accounts/ada", "{}", disabled[0]);
}
