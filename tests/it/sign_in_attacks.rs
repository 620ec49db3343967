//! What attackers try with sign-ins and sessions: providers that lie or are mixed up, answers that come twice, forms of
//! other pages, planted cookies, accounts that are closed while they are in use.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderValue, Method};
use masugata_tests::{
    Bend, Browser, FakeProvider, Page, SCIM_TOKEN, TestGateway, TokenIssuer, Upstream, days,
    eventually, minutes, person,
};
use serde_json::{Value, json};

const WIKI: &str = "https://wiki.corp.test/page?q=1";
const MINE: &str = "https://login.corp.test/";
const LOGIN: &str = "login.corp.test";
const COOKIE: &str = "__Host-masugata";

/// An internal app `wiki`, a device `phone` beside `laptop`, one provider.
async fn world() -> (TestGateway, FakeProvider, Upstream) {
    let upstream = Upstream::hello().await;
    let builder = TestGateway::new();
    let provider = FakeProvider::new(&builder, "staff").await;
    let builder = builder.app("wiki", upstream.address).device("phone", "");
    let gateway = builder.provider(&provider).start().await;
    (gateway, provider, upstream)
}

#[track_caller]
fn assert_shown(page: &Page) {
    assert_eq!(page.status(), 200, "{:#?}\n{}", page.hops, page.text());
}

async fn code_at(browser: &mut Browser, url: &str) -> Option<String> {
    let origin = masugata_tests::origin(url);
    let answer = browser.fetch(&origin, Method::GET, url, "").await;
    answer.denial_code()
}

/// What is on record about people of that kind, once there is as much.
async fn people(gateway: &TestGateway, event: &str, count: usize) -> Vec<Value> {
    let of = |record: &Value| record["type"] == "person" && record["event"] == event;
    let found = || -> Vec<Value> { gateway.records_so_far().into_iter().filter(of).collect() };
    eventually(&format!("{count} {event}"), async || found().len() >= count).await;
    found()
}

fn claims_of(token: &Value) -> Value {
    let middle = token.as_str().unwrap().split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(middle).unwrap()).unwrap()
}

fn part(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_bent_signs_nobody_in_and_is_on_record() {
    let (gateway, provider, _upstream) = world().await;
    type Change = fn(&mut Value);
    let mixed_up = "answer-of-another-provider";
    let invalid = "id-token-invalid";
    let cases: [(&str, Bend, Change, &str); 13] = [
        (
            "another issuer's answer",
            Bend::Redirect,
            |it| it["iss"] = "https://evil.test".into(),
            mixed_up,
        ),
        (
            "nobody's answer",
            Bend::Redirect,
            |it| {
                it.as_object_mut().unwrap().remove("iss");
            },
            mixed_up,
        ),
        (
            "another nonce",
            Bend::IdToken,
            |it| it["nonce"] = "another".into(),
            invalid,
        ),
        (
            "no nonce",
            Bend::IdToken,
            |it| {
                it.as_object_mut().unwrap().remove("nonce");
            },
            invalid,
        ),
        (
            "another client's token",
            Bend::IdToken,
            |it| it["aud"] = "client-other".into(),
            invalid,
        ),
        (
            "a token for two",
            Bend::IdToken,
            |it| it["aud"] = json!([it["aud"], "client-other"]),
            invalid,
        ),
        (
            "another issuer's token",
            Bend::IdToken,
            |it| it["iss"] = "https://evil.test".into(),
            invalid,
        ),
        (
            "a token of yesterday",
            Bend::IdToken,
            |it| {
                it["iat"] = (it["iat"].as_i64().unwrap() - 86_400).into();
                it["exp"] = (it["exp"].as_i64().unwrap() - 86_400).into();
            },
            invalid,
        ),
        (
            "another access token's hash",
            Bend::IdToken,
            |it| it["at_hash"] = "AAAAAAAAAAAAAAAAAAAAAA".into(),
            invalid,
        ),
        (
            "an unsigned token",
            Bend::Signed,
            |it| {
                let header = part(&json!({ "alg": "none", "typ": "JWT" }));
                *it = format!("{header}.{}.", part(&claims_of(it))).into();
            },
            invalid,
        ),
        (
            "a token without its signature",
            Bend::Signed,
            |it| {
                let (rest, _) = it.as_str().unwrap().rsplit_once('.').unwrap();
                *it = format!("{rest}.").into();
            },
            invalid,
        ),
        (
            "a token signed again",
            Bend::Signed,
            |it| {
                let impostor = TokenIssuer::new("", "", "staff-key-1");
                let header = json!({ "alg": "ES256", "typ": "JWT", "kid": "staff-key-1" });
                *it = impostor.sign(&header, &claims_of(it)).into();
            },
            invalid,
        ),
        (
            "a key of its own",
            Bend::Signed,
            |it| {
                let impostor = TokenIssuer::new("", "", "mine");
                let jwk = impostor.jwks()["keys"][0].clone();
                let header = json!({ "alg": "ES256", "typ": "JWT", "kid": "mine", "jwk": jwk });
                *it = impostor.sign(&header, &claims_of(it)).into();
            },
            invalid,
        ),
    ];
    let count = cases.len();
    for (what, bend, change, code) in cases {
        provider.bend(bend, change);
        let mut browser = gateway.browser("laptop");
        let page = browser.open(WIKI).await;
        assert_eq!(page.status(), 403, "{what}: {:#?}", page.hops);
        assert!(page.text().contains(code), "{what}: {}", page.text());
        assert!(
            page.url
                .starts_with("https://login.corp.test/callback/staff"),
            "{what}"
        );
        for host in [LOGIN, "wiki.corp.test"] {
            assert!(browser.cookie(host, COOKIE).is_none(), "{what}");
        }
        provider.straighten();
    }
    let records = people(&gateway, "sign-in", count).await;
    for record in &records {
        assert!(
            record["principal"].is_null(),
            "a claim is nobody yet: {record}"
        );
        assert_eq!(record["device"], "laptop");
    }
    let mut browser = gateway.browser("laptop");
    assert_shown(&browser.open(WIKI).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_are_too_old_sign_nobody_in_and_new_ones_are_fetched() {
    let (gateway, provider, _upstream) = world().await;
    assert_shown(&gateway.browser("laptop").open(MINE).await);
    // A new key is found by its name, and the old one is gone.
    provider.rotate();
    gateway.clock.advance(minutes(10));
    assert_shown(&gateway.browser("laptop").open(MINE).await);
    // What was published long ago counts no more when nobody confirms it.
    provider.breaks("/jwks", 500);
    gateway.clock.advance(days(2));
    let mut browser = gateway.browser("laptop");
    let page = browser.open(MINE).await;
    assert_eq!(page.status(), 503, "{:#?}\n{}", page.hops, page.text());
    assert!(
        page.text().contains("provider-unavailable"),
        "{}",
        page.text()
    );
    assert!(browser.cookie(LOGIN, COOKIE).is_none());
    provider.straighten();
    gateway.clock.advance(minutes(10));
    assert_shown(&browser.open(MINE).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_counts_once_and_only_at_its_own_provider() {
    let upstream = Upstream::hello().await;
    let builder = TestGateway::new();
    let staff = FakeProvider::new(&builder, "staff").await;
    let other = FakeProvider::new(&builder, "other").await;
    let builder = builder.app_with(
        "wiki",
        "internal",
        upstream.address,
        "require.issuers = [\"staff\"]",
    );
    let gateway = builder.provider(&staff).provider(&other).start().await;
    let mut browser = gateway.browser("laptop");
    // Brought to the other provider's address: not even used up in silence.
    let start = go(&mut browser, WIKI).await;
    let authorize = go(&mut browser, &start).await;
    let callback = go(&mut browser, &authorize).await;
    let elsewhere = callback.replace("/callback/staff", "/callback/other");
    let answer = browser.step(&elsewhere).await;
    assert_eq!(answer.status, 403);
    assert!(
        answer.text().contains("attempt-unknown"),
        "{}",
        answer.text()
    );
    assert!(other.asked("/token").is_empty() && staff.asked("/token").is_empty());
    // The right way, and once more.
    let page = browser.open(WIKI).await;
    assert_shown(&page);
    let callback = page
        .hops
        .iter()
        .find(|(url, ..)| url.contains("/callback/"));
    let callback = callback.unwrap().0.clone();
    let before = browser.cookie(LOGIN, COOKIE).unwrap().clone();
    let answer = browser.step(&callback).await;
    assert_eq!(answer.status, 403);
    assert!(answer.header("set-cookie").is_none());
    assert_eq!(
        staff.asked("/token").len(),
        1,
        "its code is not shown again"
    );
    assert_eq!(browser.cookie(LOGIN, COOKIE), Some(&before));
    assert_shown(&browser.open(WIKI).await);
    // HEAD uses up nothing, begins nothing.
    for path in ["/start", "/callback/staff?state=x&code=y"] {
        let url = format!("https://login.corp.test{path}");
        let answer = browser
            .fetch("https://login.corp.test", Method::HEAD, &url, "")
            .await;
        assert_eq!(answer.status, 405, "{path}");
    }
}

/// Where one step leads.
async fn go(browser: &mut Browser, url: &str) -> String {
    let answer = browser.step(url).await;
    let to = answer.header("location");
    to.unwrap_or_else(|| panic!("{url}: {} {}", answer.status, answer.text()))
        .to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_begins_with_a_secret_that_nobody_knew_before() {
    let (gateway, provider, _upstream) = world().await;
    let planted = "A".repeat(43);
    let mut victim = gateway.browser("laptop");
    for host in [LOGIN, "wiki.corp.test"] {
        for name in [COOKIE, "__Host-masugata-attempt", "__Host-masugata-start"] {
            victim.set_cookie(host, name, &planted);
        }
    }
    assert_shown(&victim.open(WIKI).await);
    for host in [LOGIN, "wiki.corp.test"] {
        assert_ne!(
            victim.cookie(host, COOKIE).unwrap().value,
            planted,
            "{host}"
        );
    }
    let mut attacker = gateway.browser("laptop");
    attacker.set_cookie("wiki.corp.test", COOKIE, &planted);
    let code = code_at(&mut attacker, WIKI).await;
    assert_eq!(code.as_deref(), Some("credential-expired"));
    // One host's secret is none at another.
    let of_wiki = victim
        .cookie("wiki.corp.test", COOKIE)
        .unwrap()
        .value
        .clone();
    attacker.set_cookie(LOGIN, COOKIE, &of_wiki);
    assert_eq!(
        code_at(&mut attacker, MINE).await.as_deref(),
        Some("credential-missing")
    );
    // Signing in again gives new ones, and the old ones are worth nothing.
    let old = victim.clone();
    gateway.clock.advance(minutes(61));
    provider.signed_in_since(None);
    assert_shown(&victim.open(WIKI).await);
    for host in [LOGIN, "wiki.corp.test"] {
        assert_ne!(
            victim.cookie(host, COOKIE),
            old.cookie(host, COOKIE),
            "{host}"
        );
    }
    let mut old = old;
    assert_eq!(
        code_at(&mut old, WIKI).await.as_deref(),
        Some("credential-expired")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_says_no_later_ends_the_session() {
    let upstream = Upstream::hello().await;
    let builder = TestGateway::new();
    let provider = FakeProvider::new(&builder, "staff").await;
    let builder = builder.app("wiki", upstream.address);
    let builder = builder.provider_with(&provider, "", "refresh = true");
    let gateway = builder.start().await;
    let mut browser = gateway.browser("laptop");
    assert_shown(&browser.open(WIKI).await);
    // One that cannot be asked ends nothing.
    provider.breaks("/token", 503);
    let asked = provider.asked("/token").len();
    gateway.clock.advance(minutes(6));
    eventually("the provider is asked again", async || {
        provider.asked("/token").len() > asked
    })
    .await;
    assert_shown(&browser.open(WIKI).await);
    provider.straighten();
    provider.revoke();
    gateway.clock.advance(minutes(2));
    let ended = people(&gateway, "session-ended", 1).await;
    assert_eq!(ended[0]["provider"], "staff");
    assert_eq!(
        code_at(&mut browser, WIKI).await.as_deref(),
        Some("credential-expired")
    );
    let text = gateway.read("audit.jsonl");
    assert!(!text.contains("refresh-") && !text.contains(&provider.client_secret));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_two_providers_is_chosen_by_link_or_by_address() {
    let upstream = Upstream::hello().await;
    let builder = TestGateway::new();
    let staff = FakeProvider::new(&builder, "staff").await;
    let partners = FakeProvider::new(&builder, "partners").await;
    partners.person(person("pat", &["employees"]));
    let builder = builder
        .app("wiki", upstream.address)
        .app_with(
            "pay",
            "internal",
            upstream.address,
            "require.issuers = [\"staff\"]",
        )
        .provider_with(
            &staff,
            "",
            "label = \"Our staff\"\nemail_domains = [\"corp.test\"]",
        )
        .provider_with(&partners, "", "label = \"Partners\"");
    let gateway = builder.start().await;
    let mut browser = gateway.browser("laptop");
    let page = browser.open(WIKI).await;
    assert_shown(&page);
    assert!(page.text().contains("Our staff") && page.text().contains("Partners"));
    let form = page.form("/choose");
    let lost = browser
        .submit(&page, &form, &[("email", "x@evil.test")])
        .await;
    assert_eq!(lost.status(), 400, "{}", lost.text());
    let there = browser
        .submit(&page, &form, &[("email", "Ada@Corp.Test")])
        .await;
    assert_shown(&there);
    assert_eq!(there.url, WIKI);
    assert_eq!(
        (staff.asked("/token").len(), partners.asked("/token").len()),
        (1, 0)
    );
    // By link, and nobody's link leads to a provider that the app does not take.
    let mut other = gateway.browser("laptop");
    let page = other.open(WIKI).await;
    let text = page.text();
    let link = text
        .split("href=\"")
        .find(|part| part.contains("provider=partners"))
        .unwrap();
    let link = link.split('"').next().unwrap().replace("&amp;", "&");
    let there = other
        .click(
            "https://login.corp.test",
            &format!("https://login.corp.test{link}"),
        )
        .await;
    assert_shown(&there);
    let start = go(&mut other, "https://pay.corp.test/").await;
    for name in ["partners", "corp", "nobody"] {
        let answer = other.step(&format!("{start}&provider={name}")).await;
        assert_eq!(answer.status, 404, "{name}: {}", answer.text());
        assert!(answer.header("location").is_none(), "{name}");
    }
    let records = people(&gateway, "sign-in", 2).await;
    assert_eq!(records[1]["principal"], "partners/pat");
}

#[tokio::test(flavor = "multi_thread")]
async fn my_page_ends_one_session_all_others_and_nobody_elses() {
    let (gateway, provider, _upstream) = world().await;
    let mut laptop = gateway.browser("laptop");
    assert_shown(&laptop.open(WIKI).await);
    let (mut phone, mut third) = (gateway.browser("phone"), gateway.browser("phone"));
    assert_shown(&phone.open(WIKI).await);
    provider.person(person("bob", &["employees"]));
    let mut bob = gateway.browser("phone");
    assert_shown(&bob.open(WIKI).await);
    provider.person(person("ada", &["employees"]));
    let bobs = people(&gateway, "sign-in", 3).await[2]["session"].clone();
    let mine = laptop.open(MINE).await;
    let form = mine.form("/sessions/end");
    // Somebody else's session, by its number.
    let page = laptop
        .submit(&mine, &form, &[("session", bobs.as_str().unwrap())])
        .await;
    assert_eq!(page.status(), 404, "{}", page.text());
    assert_shown(&bob.open(WIKI).await);
    // CSRF: other pages, no token, and another person's token.
    let theirs = bob.open(MINE).await;
    let theirs = theirs.form("/sign-out").fields[0].1.clone();
    let target = form
        .fields
        .iter()
        .find(|(name, _)| name == "session")
        .unwrap()
        .1
        .clone();
    let token = form
        .fields
        .iter()
        .find(|(name, _)| name == "token")
        .unwrap()
        .1
        .clone();
    let end = "https://login.corp.test/sessions/end";
    for (from, token) in [
        ("https://evil.test", token.as_str()),
        ("https://wiki.corp.test", token.as_str()),
        ("https://login.corp.test", ""),
        ("https://login.corp.test", theirs.as_str()),
    ] {
        laptop
            .post(from, end, &[("token", token), ("session", &target)])
            .await;
        let page = phone.open(WIKI).await;
        assert_eq!((page.hops.len(), page.status()), (1, 200), "{from}");
    }
    // One …
    assert_shown(&laptop.submit(&mine, &form, &[]).await);
    assert_eq!(
        code_at(&mut phone, WIKI).await.as_deref(),
        Some("credential-expired")
    );
    assert_shown(&bob.open(WIKI).await);
    // … and all others.
    assert_shown(&phone.open(WIKI).await);
    assert_shown(&third.open(WIKI).await);
    let mine = laptop.open(MINE).await;
    let forms = mine.forms();
    let mut all = forms
        .iter()
        .filter(|form| form.action.contains("/sessions/end"));
    assert_shown(&laptop.submit(&mine, all.next_back().unwrap(), &[]).await);
    for browser in [&mut phone, &mut third] {
        assert_eq!(
            code_at(browser, WIKI).await.as_deref(),
            Some("credential-expired")
        );
    }
    for browser in [&mut laptop, &mut bob] {
        assert_eq!(code_at(browser, WIKI).await, None);
    }
    let ended = people(&gateway, "session-ended", 3).await;
    assert_eq!(ended.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_is_closed_loses_its_session_and_its_live_tokens() {
    let upstream = Upstream::hello().await;
    let builder = TestGateway::new();
    let provider = FakeProvider::new(&builder, "staff").await;
    let builder = builder.app("wiki", upstream.address);
    let keys = "audiences = [\"masugata\"]";
    let builder = builder.provider_with(&provider, keys, "").scim("staff");
    let gateway = builder.start().await;
    let mut browser = gateway.browser("laptop");
    assert_shown(&browser.open(WIKI).await);
    provider.bend(Bend::Header, |header| header["typ"] = "at+jwt".into());
    let now = gateway.clock.seconds();
    let token = provider.sign(&json!({
        "iss": provider.issuer, "aud": "masugata", "sub": "ada", "iat": now, "exp": now + 3000,
        "auth_time": now, "amr": ["pwd", "otp"], "groups": ["employees"], "client_id": "cli", "jti": "cli-1",
    }));
    provider.straighten();
    let program = gateway
        .client()
        .device(&gateway.device("laptop"))
        .token(token);
    let answer = program.get("wiki", "/").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let scim = gateway
        .client()
        .header("authorization", &format!("Bearer {SCIM_TOKEN}"))
        .header("content-type", "application/scim+json");
    let closed = json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"],
        "userName": "ada@corp.test", "externalId": "ada", "active": false,
    });
    let answer = scim
        .request("scim", Method::POST, "/scim/v2/Users", &closed.to_string())
        .await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    assert_eq!(
        code_at(&mut browser, WIKI).await.as_deref(),
        Some("credential-expired")
    );
    let answer = program.get("wiki", "/").await;
    assert_eq!(
        answer.denial_code().as_deref(),
        Some("account-disabled"),
        "{}",
        answer.text()
    );
    // And cannot come back by signing in, though the provider knows nothing of it.
    let page = browser.open(WIKI).await;
    assert_eq!(page.status(), 403, "{:#?}\n{}", page.hops, page.text());
    assert!(page.text().contains("account-disabled"), "{}", page.text());
    assert_eq!(
        code_at(&mut browser, WIKI).await.as_deref(),
        Some("credential-expired")
    );
    let refused = people(&gateway, "sign-in", 2).await;
    assert_eq!(refused[1]["code"], "account-disabled");
    assert_eq!(refused[1]["principal"], "staff/ada", "{}", refused[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_can_neither_plant_nor_read_our_cookies() {
    let upstream = Upstream::new(|_| async {
        let mut answer = Upstream::text("hello");
        for cookie in [
            "__Host-masugata=planted; Secure; Path=/",
            "  __Host-masugata-start=planted; Secure; Path=/",
            "__Host-masugata-attempt=planted; Secure; Path=/",
            "__Host-masugata-id=planted; Secure; Path=/",
            "basket=7; Path=/",
        ] {
            let value = HeaderValue::from_static(cookie);
            answer.headers_mut().append("set-cookie", value);
        }
        answer
    })
    .await;
    let builder = TestGateway::new();
    let provider = FakeProvider::new(&builder, "staff").await;
    let builder = builder.app("wiki", upstream.address).provider(&provider);
    let gateway = builder.start().await;
    let mut browser = gateway.browser("laptop");
    assert_shown(&browser.open(WIKI).await);
    let before = browser.cookie("wiki.corp.test", COOKIE).unwrap().clone();
    assert_shown(&browser.open(WIKI).await);
    assert_eq!(browser.cookie("wiki.corp.test", COOKIE), Some(&before));
    for name in ["__Host-masugata-attempt", "__Host-masugata-id"] {
        assert!(browser.cookie("wiki.corp.test", name).is_none(), "{name}");
    }
    let start = browser.cookie("wiki.corp.test", "__Host-masugata-start");
    assert_ne!(start.map(|it| it.value.as_str()), Some("planted"));
    assert_eq!(
        browser.cookie("wiki.corp.test", "basket").unwrap().value,
        "7"
    );
    assert_eq!(upstream.last().all("cookie"), ["basket=7"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_level_has_its_own_patience() {
    let upstream = Upstream::hello().await;
    let builder = TestGateway::new();
    let provider = FakeProvider::new(&builder, "staff").await;
    let builder = builder
        .app("wiki", upstream.address)
        .app_with("news", "public", upstream.address, "")
        .app_with("books", "confidential", upstream.address, "");
    let gateway = builder.provider(&provider).start().await;
    let mut browser = gateway.browser("laptop");
    let at = |app: &str| format!("https://{app}.corp.test/");
    for app in ["wiki", "news", "books"] {
        assert_shown(&browser.open(&at(app)).await);
    }
    let expired = Some("credential-expired".to_owned());
    gateway.clock.advance(minutes(20));
    assert_eq!(code_at(&mut browser, &at("books")).await, expired);
    assert_eq!(code_at(&mut browser, &at("wiki")).await, None);
    // Being used elsewhere does not open it again.
    assert_eq!(code_at(&mut browser, &at("books")).await, expired);
    gateway.clock.advance(minutes(61));
    assert_eq!(code_at(&mut browser, &at("wiki")).await, expired);
    assert_eq!(code_at(&mut browser, &at("news")).await, None);
    gateway.clock.advance(days(8));
    assert_eq!(code_at(&mut browser, &at("news")).await, expired);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_record_says_that_it_was_a_session() {
    let (gateway, _provider, _upstream) = world().await;
    let mut browser = gateway.browser("laptop");
    assert_shown(&browser.open(WIKI).await);
    let gateway = gateway.restart().await;
    let value = browser
        .cookie("wiki.corp.test", COOKIE)
        .unwrap()
        .value
        .clone();
    let mut later = gateway.browser("laptop");
    later.set_cookie("wiki.corp.test", COOKIE, &value);
    assert_shown(&later.open(WIKI).await);
    let records = gateway.records().await;
    let known: Vec<&Value> = records
        .iter()
        .filter(|record| record["type"] == "decision" && record["decision"] == "permitted")
        .map(|record| &record["authentication"]["credential"])
        .filter(|credential| !credential.is_null())
        .collect();
    assert!(known.len() >= 2, "before and after the restart: {known:?}");
    assert!(known.iter().all(|it| **it == "session"), "{known:?}");
}
