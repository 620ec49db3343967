//! Signing in with a browser, from the first click to the last: redirects, hand-over, step-up, posted forms, signing out,
//! and what thieves and senders of links try.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use http::Method;
use masugata_tests::{Browser, FakeProvider, TestGateway, Upstream, pairs, person, query_of};
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

const WIKI: &str = "https://wiki.corp.test/page?q=1";
const LOGIN: &str = "login.corp.test";
const COOKIE: &str = "__Host-masugata";

struct World {
    gateway: TestGateway,
    provider: FakeProvider,
    upstream: Upstream,
}

/// A public app `news`, an internal one `wiki`, a confidential one `books` that wants two factors just now, a second device
/// `phone`.
async fn world(policy: &str) -> World {
    let upstream = Upstream::hello().await;
    let builder = TestGateway::new();
    let provider = FakeProvider::new(&builder, "staff").await;
    let mut builder = builder
        .app("wiki", upstream.address)
        .app_with(
            "news",
            "public",
            upstream.address,
            "[app.require]\nmulti_factor = false\n",
        )
        .app_with(
            "books",
            "confidential",
            upstream.address,
            "[app.require]\nmulti_factor = true\nmax_authentication_age = \"5m\"\n",
        )
        .device("phone", "")
        .provider(&provider);
    if !policy.is_empty() {
        builder = builder.policy(policy);
    }
    World {
        gateway: builder.start().await,
        provider,
        upstream,
    }
}

async fn signed_in(world: &World) -> Browser {
    let mut browser = world.gateway.browser("laptop");
    let page = browser.open(WIKI).await;
    assert_eq!(page.status(), 200, "{:#?}\n{}", page.hops, page.text());
    browser
}

/// What is on record about people of that kind, once there is anything.
async fn people(gateway: &TestGateway, event: &str) -> Vec<serde_json::Value> {
    let mut found = Vec::new();
    for _ in 0..40 {
        let records = gateway.records_so_far();
        let of =
            |record: &serde_json::Value| record["type"] == "person" && record["event"] == event;
        found = records.into_iter().filter(of).collect();
        if !found.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_is_led_to_its_provider_and_back_to_where_it_was() {
    let world = world("").await;
    let mut browser = world.gateway.browser("laptop");
    let page = browser.open(WIKI).await;
    assert_eq!(page.status(), 200, "{:#?}\n{}", page.hops, page.text());
    assert_eq!(page.url, WIKI);
    assert_eq!(
        page.hosts(),
        [
            "wiki.corp.test",
            LOGIN,
            "localhost",
            LOGIN,
            "wiki.corp.test",
            "wiki.corp.test"
        ]
    );
    assert!(browser.refused.is_empty(), "{:?}", browser.refused);
    for host in [LOGIN, "wiki.corp.test"] {
        let cookie = browser.cookie(host, COOKIE).unwrap();
        let attributes = cookie.attributes.to_ascii_lowercase();
        for needed in ["secure", "httponly", "samesite=lax", "path=/"] {
            assert!(attributes.contains(needed), "{attributes}");
        }
        assert!(!attributes.contains("domain") && !attributes.contains("max-age"));
    }
    // The app hears who it is, and sees no cookie of ours.
    let seen = world.upstream.last();
    assert!(seen.all("cookie").is_empty(), "{:?}", seen.all("cookie"));
    assert!(seen.one("masugata-assertion").is_some());
    // A second app asks nobody anything.
    let asked = world.provider.asked("/authorize").len();
    world.provider.signed_in_since(None);
    let page = browser.open("https://books.corp.test/").await;
    assert_eq!(page.status(), 200, "{:#?}\n{}", page.hops, page.text());
    assert_eq!(world.provider.asked("/authorize").len(), asked);
    let records = people(&world.gateway, "sign-in").await;
    assert_eq!(records.len(), 1);
    assert_eq!(records[0]["principal"], "staff/ada");
    assert_eq!(records[0]["app"], "wiki");
    let text = world.gateway.read("audit.jsonl");
    let secret = &browser.cookie(LOGIN, COOKIE).unwrap().value;
    assert!(!text.contains(secret), "no secret goes on record");
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_are_told_and_not_redirected() {
    let world = world("").await;
    let mut browser = world.gateway.browser("laptop");
    let answer = browser
        .fetch("https://wiki.corp.test", Method::GET, WIKI, "")
        .await;
    assert_eq!(answer.status, 401);
    assert_eq!(answer.denial_code().as_deref(), Some("credential-missing"));
    assert!(
        answer
            .header("www-authenticate")
            .unwrap()
            .starts_with("Bearer")
    );
    assert!(answer.header("set-cookie").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_was_left_alone_leads_through_the_provider_again() {
    let world = world("").await;
    let mut browser = signed_in(&world).await;
    let before = browser.cookie("wiki.corp.test", COOKIE).unwrap().clone();
    world.gateway.clock.advance(Duration::from_secs(61 * 60));
    let answer = browser
        .fetch("https://wiki.corp.test", Method::GET, WIKI, "")
        .await;
    assert_eq!(answer.denial_code().as_deref(), Some("credential-expired"));
    let page = browser.open(WIKI).await;
    assert_eq!(page.status(), 200, "{:#?}\n{}", page.hops, page.text());
    assert!(page.hosts().contains(&"localhost".to_owned()));
    assert_ne!(browser.cookie("wiki.corp.test", COOKIE), Some(&before));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_wants_more_gets_a_step_up_with_new_cookies() {
    let world = world("").await;
    world.provider.claim("amr", vec!["pwd"]);
    let mut browser = world.gateway.browser("laptop");
    let page = browser.open("https://news.corp.test/").await;
    assert_eq!(page.status(), 200, "{:#?}\n{}", page.hops, page.text());
    let before = browser.cookie(LOGIN, COOKIE).unwrap().clone();
    // Not given: no loop, and nobody is signed in more than before.
    let page = browser.open("https://books.corp.test/").await;
    assert_eq!(page.status(), 403, "{:#?}\n{}", page.hops, page.text());
    assert!(page.text().contains("assurance-unmet"), "{}", page.text());
    assert_eq!(browser.cookie(LOGIN, COOKIE), Some(&before));
    world.provider.claim("amr", vec!["pwd", "otp"]);
    let page = browser.open("https://books.corp.test/").await;
    assert_eq!(page.status(), 200, "{:#?}\n{}", page.hops, page.text());
    assert_eq!(page.url, "https://books.corp.test/");
    assert_ne!(browser.cookie(LOGIN, COOKIE), Some(&before));
    assert_eq!(people(&world.gateway, "step-up").await.len(), 2);
    // The old secret of the sign-in host is dead.
    let mut old = browser.clone();
    old.set_cookie(LOGIN, COOKIE, &before.value);
    let answer = old
        .fetch(
            "https://login.corp.test",
            Method::GET,
            "https://login.corp.test/",
            "",
        )
        .await;
    assert_eq!(answer.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_wants_a_fresh_proof_gets_one_and_no_circle() {
    let policy = r#"
        @id("employees")
        permit (principal in Masugata::Group::"employees", action, resource);
        @id("strong")
        @challenge("phishing_resistant")
        forbid (principal, action, resource == Masugata::App::"wiki")
        unless { context.authentication.phishing_resistant };
    "#;
    let world = world(policy).await;
    let mut browser = world.gateway.browser("laptop");
    let page = browser.open(WIKI).await;
    // The provider cannot: a page says so, after one attempt.
    assert_eq!(page.status(), 403, "{:#?}\n{}", page.hops, page.text());
    assert!(page.hops.len() < 12, "{:#?}", page.hops);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_typed_is_given_back_after_signing_in() {
    let world = world("").await;
    let mut browser = signed_in(&world).await;
    world.gateway.clock.advance(Duration::from_secs(61 * 60));
    let (app, url) = ("https://wiki.corp.test", "https://wiki.corp.test/save?x=1");
    let typed = [
        ("title", "見積 <\"&>"),
        ("text", "one\r\ntwo"),
        ("tag", "1"),
        ("tag", "2"),
    ];
    let page = browser.post(app, url, &typed).await;
    assert_eq!(page.status(), 401, "{}", page.text());
    let count = world.upstream.count();
    let form = page.form("/save");
    assert_eq!(form.action, url);
    // A page has other line breaks than what is sent.
    let plain = |text: &str| text.trim_start_matches('\n').replace("\r\n", "\n");
    let mut given: Vec<(String, String)> = form.fields.clone();
    for (_, value) in &mut given {
        *value = plain(value);
    }
    let mut was: Vec<(String, String)> = typed
        .iter()
        .map(|(name, value)| ((*name).to_owned(), plain(value)))
        .collect();
    given.sort();
    was.sort();
    assert_eq!(given, was);
    let link = page.text();
    let link = link
        .split("href=\"")
        .find(|part| part.starts_with("https://login"))
        .unwrap();
    let link = link.split('"').next().unwrap().replace("&amp;", "&");
    let there = browser.click(app, &link).await;
    assert_eq!(there.url, "https://wiki.corp.test/.masugata/signed-in");
    assert_eq!(there.status(), 200);
    assert_eq!(world.upstream.count(), count, "the app saw nothing yet");
    let sent = browser.submit(&page, &form, &[]).await;
    assert_eq!(sent.status(), 200);
    assert_eq!(world.upstream.count(), count + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_of_another_site_is_not_given_back() {
    let world = world("").await;
    let mut browser = world.gateway.browser("laptop");
    let url = "https://wiki.corp.test/transfer";
    let page = browser
        .post("https://evil.test", url, &[("to", "mallory")])
        .await;
    assert_eq!(page.status(), 401);
    assert!(!page.text().contains("mallory"), "{}", page.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn signing_out_is_for_the_whole_family_and_needs_our_own_form() {
    let world = world("").await;
    let mut browser = signed_in(&world).await;
    let mine = browser.open("https://login.corp.test/").await;
    assert_eq!(mine.status(), 200, "{:#?}\n{}", mine.hops, mine.text());
    let form = mine.form("/sign-out");
    let out = "https://login.corp.test/sign-out";
    // CSRF: another site, another app, no token, an old one.
    let token = form
        .fields
        .iter()
        .find(|(name, _)| name == "token")
        .unwrap()
        .1
        .clone();
    for (from, token) in [
        ("https://evil.test", token.as_str()),
        ("https://wiki.corp.test", token.as_str()),
        ("https://login.corp.test", ""),
        ("https://login.corp.test", "AAAA"),
    ] {
        let page = browser.post(from, out, &[("token", token)]).await;
        // With a form from another site comes no cookie at all.
        let refused = page.status() == if from.contains("evil") { 200 } else { 403 };
        assert!(
            refused || page.status() == 400,
            "{from} {token}: {}",
            page.status()
        );
        let page = browser.open(WIKI).await;
        assert_eq!((page.hops.len(), page.status()), (1, 200), "{from} {token}");
    }
    let page = browser.submit(&mine, &form, &[]).await;
    assert_eq!(page.status(), 200, "{}", page.text());
    assert!(
        page.answer
            .header("refresh")
            .unwrap()
            .contains("/end-session")
    );
    let answer = browser
        .fetch("https://wiki.corp.test", Method::GET, WIKI, "")
        .await;
    assert_eq!(answer.denial_code().as_deref(), Some("credential-expired"));
    assert_eq!(people(&world.gateway, "sign-out").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_can_have_a_button_to_sign_out() {
    let world = world("").await;
    let mut browser = signed_in(&world).await;
    let out = "https://wiki.corp.test/.masugata/sign-out";
    let page = browser.post("https://evil.test", out, &[]).await;
    assert_eq!(page.status(), 403);
    assert_eq!(browser.open(WIKI).await.status(), 200);
    let page = browser.post("https://wiki.corp.test", out, &[]).await;
    assert_eq!(page.url, "https://login.corp.test/signed-out");
    let mine = browser
        .fetch(
            "https://login.corp.test",
            Method::GET,
            "https://login.corp.test/",
            "",
        )
        .await;
    assert_eq!(mine.status, 401, "signed out everywhere in this browser");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stolen_cookie_ends_the_session_and_sounds_an_alarm() {
    let world = world("").await;
    let mut owner = signed_in(&world).await;
    let mut thief = owner.clone().on(Some(world.gateway.device("phone")));
    let answer = thief
        .fetch("https://wiki.corp.test", Method::GET, WIKI, "")
        .await;
    assert_eq!(
        answer.denial_code().as_deref(),
        Some("credential-not-bound")
    );
    let answer = owner
        .fetch("https://wiki.corp.test", Method::GET, WIKI, "")
        .await;
    assert_eq!(answer.denial_code().as_deref(), Some("credential-expired"));
    let alarms = people(&world.gateway, "session-stolen").await;
    assert_eq!(alarms.len(), 1);
    assert_eq!(
        (&alarms[0]["alert"], &alarms[0]["device"]),
        (&true.into(), &"laptop".into())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stolen_cookie_without_any_certificate_ends_the_session_too() {
    let upstream = Upstream::hello().await;
    let builder = TestGateway::new();
    let provider = FakeProvider::new(&builder, "staff").await;
    let gateway = builder
        .app("wiki", upstream.address)
        .ingress("client_certificates = \"optional\"")
        .provider(&provider)
        .start()
        .await;
    let mut owner = gateway.browser("laptop");
    assert_eq!(owner.open(WIKI).await.status(), 200);
    let mut thief = owner.clone().on(None);
    let answer = thief
        .fetch("https://wiki.corp.test", Method::GET, WIKI, "")
        .await;
    assert_eq!(
        answer.denial_code().as_deref(),
        Some("device-certificate-missing")
    );
    let answer = owner
        .fetch("https://wiki.corp.test", Method::GET, WIKI, "")
        .await;
    assert_eq!(answer.denial_code().as_deref(), Some("credential-expired"));
    let alarms = people(&gateway, "session-stolen").await;
    assert_eq!(alarms.len(), 1);
    assert!(alarms[0]["thumbprint"].is_null());
}

// Login CSRF and fixation: the victim's browser must not end up in a session that somebody else began.
#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_somebody_else_began_signs_nobody_in() {
    let world = world("").await;
    let mut attacker = world.gateway.browser("phone");
    let mut victim = world.gateway.browser("laptop");
    // Begun by the attacker, opened by the victim: at the very start …
    let start = attacker
        .step(WIKI)
        .await
        .header("location")
        .unwrap()
        .to_owned();
    let page = victim.open(&start).await;
    assert_eq!(page.status(), 403, "{:#?}", page.hops);
    assert!(victim.cookie("wiki.corp.test", COOKIE).is_none());
    // … at the answer of the provider …
    let authorize = attacker
        .step(&start)
        .await
        .header("location")
        .unwrap()
        .to_owned();
    let callback = attacker
        .step(&authorize)
        .await
        .header("location")
        .unwrap()
        .to_owned();
    let mut victim = world.gateway.browser("laptop");
    assert_eq!(victim.step(&callback).await.status, 403);
    assert!(victim.cookie(LOGIN, COOKIE).is_none());
    // … and at the hand-over.
    let mut attacker = world.gateway.browser("laptop");
    let start = attacker
        .step(WIKI)
        .await
        .header("location")
        .unwrap()
        .to_owned();
    let authorize = attacker
        .step(&start)
        .await
        .header("location")
        .unwrap()
        .to_owned();
    let callback = attacker
        .step(&authorize)
        .await
        .header("location")
        .unwrap()
        .to_owned();
    let hand_over = attacker
        .step(&callback)
        .await
        .header("location")
        .unwrap()
        .to_owned();
    assert!(hand_over.starts_with("https://wiki.corp.test/.masugata/session?code="));
    let mut victim = world.gateway.browser("laptop");
    assert_eq!(victim.step(&hand_over).await.status, 403);
    assert!(victim.cookie("wiki.corp.test", COOKIE).is_none());
    assert_eq!(attacker.step(&hand_over).await.status, 403, "used up");
    // A planted cookie is not taken for one of ours.
    let mut fixed = world.gateway.browser("laptop");
    fixed.set_cookie("wiki.corp.test", COOKIE, &"A".repeat(43));
    let page = fixed.open(WIKI).await;
    assert_eq!(page.status(), 200, "{:#?}", page.hops);
    assert_ne!(
        fixed.cookie("wiki.corp.test", COOKIE).unwrap().value,
        "A".repeat(43)
    );
}

// Attack: a link to our sign-in that ends elsewhere.
#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_leads_nowhere_else() {
    let world = world("").await;
    let mut browser = signed_in(&world).await;
    let bind = "A".repeat(43);
    for to in [
        "https://evil.test/",
        "https://wiki.corp.test@evil.test/",
        "https://wiki.corp.test.evil.test/",
        "https://wiki.corp.test:444/",
        "http://wiki.corp.test/",
        "//evil.test",
        "https://wiki.corp.test//evil.test",
        "https://wiki.corp.test/\\evil.test",
        "javascript:alert(1)",
    ] {
        let query = pairs(&[("to", to), ("bind", &bind)]);
        let answer = browser
            .step(&format!("https://login.corp.test/start?{query}"))
            .await;
        assert_eq!(answer.status, 400, "{to}");
        assert!(answer.header("location").is_none(), "{to}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_signs_nobody_out() {
    let World { gateway, .. } = {
        let world = world("").await;
        let mut browser = signed_in(&world).await;
        let World {
            gateway,
            provider,
            upstream,
        } = world;
        let gateway = gateway.restart().await;
        let jar = browser
            .cookie("wiki.corp.test", COOKIE)
            .unwrap()
            .value
            .clone();
        browser = gateway.browser("laptop");
        browser.set_cookie("wiki.corp.test", COOKIE, &jar);
        let page = browser.open(WIKI).await;
        assert_eq!(page.hops.len(), 1, "{:#?}", page.hops);
        assert_eq!(page.status(), 200);
        World {
            gateway,
            provider,
            upstream,
        }
    };
    drop(gateway);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_out_at_the_provider_ends_the_session_here() {
    let world = world("").await;
    let mut browser = signed_in(&world).await;
    let notice = world.provider.logout_token(Some("ada"), None);
    let back = world.gateway.client();
    let send = |token: String| {
        let body = pairs(&[("logout_token", &token)]);
        let client = back
            .clone()
            .header("content-type", "application/x-www-form-urlencoded");
        async move {
            client
                .request("signals", Method::POST, "/backchannel-logout/staff", &body)
                .await
        }
    };
    assert_eq!(send("nonsense".into()).await.status, 400);
    let answer = send(notice.clone()).await;
    assert_eq!(
        (answer.status.as_u16(), answer.header("cache-control")),
        (200, Some("no-store"))
    );
    assert_eq!(send(notice).await.status, 400, "replayed");
    let answer = browser
        .fetch("https://wiki.corp.test", Method::GET, WIKI, "")
        .await;
    assert_eq!(answer.denial_code().as_deref(), Some("credential-expired"));
    let records = people(&world.gateway, "session-ended").await;
    assert_eq!(
        (records.len(), &records[0]["provider"]),
        (1, &"staff".into())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_is_cut_within_moments_of_its_session() {
    let upstream = Upstream::websocket_echo().await;
    let wiki = Upstream::hello().await;
    let builder = TestGateway::new();
    let provider = FakeProvider::new(&builder, "staff").await;
    let gateway = builder
        .app_with("chat", "internal", upstream.address, "upgrades = true")
        .app("wiki", wiki.address)
        .provider(&provider)
        .start()
        .await;
    let mut browser = gateway.browser("laptop");
    assert_eq!(browser.open(WIKI).await.status(), 200);
    let page = browser
        .open("https://chat.corp.test/.masugata/signed-in")
        .await;
    assert_eq!(page.status(), 200);
    // An upstream that only speaks WebSocket answers no page; the hand-over still leaves its cookie.
    let _page = browser.open("https://chat.corp.test/").await;
    let cookie = browser
        .cookie("chat.corp.test", COOKIE)
        .unwrap()
        .value
        .clone();
    let client = gateway.client().device(&gateway.device("laptop"));
    let stream = client.stream("chat").await.unwrap();
    let mut request = "wss://chat.corp.test/".into_client_request().unwrap();
    let cookie = format!("{COOKIE}={cookie}").parse().unwrap();
    request.headers_mut().insert("cookie", cookie);
    let (mut socket, _) = client_async(request, stream).await.unwrap();
    socket.send(Message::text("hello")).await.unwrap();
    assert_eq!(
        socket.next().await.unwrap().unwrap(),
        Message::text("hello")
    );
    let out = "https://wiki.corp.test/.masugata/sign-out";
    browser.post("https://wiki.corp.test", out, &[]).await;
    let closed = tokio::time::timeout(Duration::from_secs(5), async {
        while let Some(Ok(message)) = socket.next().await {
            if message.is_close() {
                return;
            }
        }
    });
    closed.await.expect("cut");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_person_in_the_same_browser_is_somebody_else() {
    let world = world("").await;
    let mut browser = signed_in(&world).await;
    world.provider.person(person("bob", &["employees"]));
    let start = browser.step("https://books.corp.test/").await;
    let query = query_of(start.header("location").unwrap().split_once('?').unwrap().1);
    assert_eq!(query["to"], "https://books.corp.test/");
    world.gateway.clock.advance(Duration::from_secs(6 * 60));
    let page = browser.open("https://books.corp.test/").await;
    assert_eq!(page.status(), 200, "{:#?}\n{}", page.hops, page.text());
    let ended = people(&world.gateway, "session-ended").await;
    assert_eq!(
        (ended.len(), &ended[0]["principal"]),
        (1, &"staff/ada".into())
    );
    let answer = browser
        .fetch("https://wiki.corp.test", Method::GET, WIKI, "")
        .await;
    assert_eq!(answer.denial_code().as_deref(), Some("credential-expired"));
}

// The page asks the policies as the app itself would be asked: from where the client is, also behind a forwarder.
#[tokio::test(flavor = "multi_thread")]
async fn my_page_lists_what_would_open_from_where_the_client_is() {
    let upstream = Upstream::hello().await;
    let builder = TestGateway::new();
    let provider = FakeProvider::new(&builder, "staff").await;
    let gateway = builder
        .app("wiki", upstream.address)
        .ingress("trusted_forwarders = [\"127.0.0.1/32\"]")
        .config("[[network]]\nname = \"office\"\nranges = [\"192.0.2.0/24\"]")
        .policy(
            "@id(\"office\") permit (principal, action, resource)\n\
             when { context.network.names.contains(\"office\") };",
        )
        .provider(&provider)
        .start()
        .await;
    let mut browser = gateway.browser("laptop");
    let page = browser.open(&format!("https://{LOGIN}/")).await;
    assert_eq!(page.status(), 200, "{:#?}\n{}", page.hops, page.text());
    assert!(!page.text().contains("https://wiki.corp.test/"));
    let cookie = &browser.cookie(LOGIN, COOKIE).unwrap().value;
    for (address, listed) in [("192.0.2.1", true), ("198.51.100.1", false)] {
        let answer = gateway
            .client()
            .device(&gateway.device("laptop"))
            .header("cookie", &format!("{COOKIE}={cookie}"))
            .header("accept", "text/html")
            .header("x-forwarded-for", address)
            .get("login", "/")
            .await;
        assert_eq!(answer.status, 200);
        let page = answer.text();
        assert_eq!(
            page.contains("https://wiki.corp.test/"),
            listed,
            "{address}"
        );
    }
}
