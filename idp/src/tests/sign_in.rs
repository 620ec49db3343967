//! Signing in: forms, tokens, cookies, and what strangers learn.

use serde_json::json;

use super::openid::attribute;
use super::*;

#[tokio::test]
async fn a_code_of_the_app_is_the_second_step() {
    let world = World::new();
    let (browser, key) = world.person_with_app("ada").await;
    let page = browser.begin(&[("acr_values", "mfa")]).await;
    let before = browser.cookie.borrow().clone();
    let page = browser
        .fill(
            &page,
            "/id/password",
            &[("name", "ada"), ("password", SHORT)],
        )
        .await;
    assert!(page.body.contains("Enter the code"), "{}", page.body);
    // The password was proved: a cookie that was planted before is worth nothing.
    assert_ne!(*browser.cookie.borrow(), before);
    let page = browser.fill(&page, "/id/code", &[("code", "000000")]).await;
    assert!(page.body.contains("That is not right"), "{}", page.body);
    let right = code(&key, world.now.get());
    let answer = browser.fill(&page, "/id/code", &[("code", &right)]).await;
    let claims = world.exchange(&answer.code()).await.claims();
    assert_eq!(claims["acr"], "mfa");
    assert_eq!(claims["amr"], json!(["pwd", "otp", "mfa"]));
}

#[tokio::test]
async fn a_recovery_code_stands_in_for_the_app_once() {
    let world = World::new();
    let token = world.invite("ada").await;
    let browser = world.browser();
    let page = browser.open("/id/welcome").await;
    let page = browser
        .fill(&page, "/id/welcome", &[("token", &token)])
        .await;
    let app = code(&page.key(), world.now.get());
    let page = browser
        .fill(
            &page,
            "/id/welcome/password",
            &[("password", SHORT), ("code", &app)],
        )
        .await;
    let (_, list) = page.body.split_once("id=\"codes\"").unwrap();
    let (_, first) = list.split_once("<li>").unwrap();
    let recovery = first.split('<').next().unwrap().to_owned();
    for is_first in [true, false] {
        let page = browser.begin(&[]).await;
        let page = browser
            .fill(
                &page,
                "/id/password",
                &[("name", "ada"), ("password", SHORT)],
            )
            .await;
        let path = format!("/id/recovery?c={}", page.field("c"));
        let page = browser.open(&path).await;
        let answer = browser
            .fill(&page, "/id/recovery", &[("code", &recovery)])
            .await;
        if is_first {
            assert_eq!(world.exchange(&answer.code()).await.claims()["acr"], "mfa");
        } else {
            assert!(answer.body.contains("That is not right"), "{}", answer.body);
        }
    }
}

#[tokio::test]
async fn strangers_do_not_learn_which_names_exist() {
    let world = World::new();
    world.person("ada").await;
    world.invite("not-yet").await;
    let mut pages = Vec::new();
    for name in ["ada", "nobody", "not-yet", "", "x y z", "<script>"] {
        let browser = world.browser();
        let page = browser.begin(&[]).await;
        let c = page.field("c");
        let form = [
            ("c", c.as_str()),
            ("form", &page.field("form")),
            ("name", name),
            ("password", "wrong wrong wrong"),
        ];
        let answer = browser.post("/id/password", &form).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER);
        assert!(answer.headers.get("set-cookie").is_none());
        let page = browser.open(&answer.location()).await;
        assert!(!page.body.contains("<script>"));
        let token = page.field("form");
        let shown = if name == "<script>" {
            "&lt;script&gt;"
        } else {
            name
        };
        pages.push(
            page.body
                .replace(&c, "C")
                .replace(&token, "FORM")
                .replace(&format!("value=\"{shown}\""), "value=\"NAME\""),
        );
    }
    for page in &pages {
        assert_eq!(page, &pages[0]);
    }
}

#[tokio::test]
async fn a_locked_person_is_told_how_long() {
    let world = World::new();
    world.person("ada").await;
    let browser = world.browser();
    let mut page = browser.begin(&[]).await;
    for _ in 0..20 {
        page = browser
            .fill(
                &page,
                "/id/password",
                &[("name", "ada"), ("password", "wrong wrong wrong")],
            )
            .await;
        if page.body.contains("15 minutes") {
            break;
        }
        world.pass(40);
    }
    assert!(page.body.contains("Wait 15 minutes"), "{}", page.body);
    assert!(page.body.contains("role=\"alert\""));
    // The right password does not help, and does not show.
    let page = browser.sign_in(&page, "ada").await;
    assert!(page.body.contains("Too many attempts"), "{}", page.body);
}

#[tokio::test]
async fn a_post_counts_only_from_a_page_of_ours() {
    let world = World::new();
    let browser = world.person("ada").await;
    for (site, origin) in [
        (None, None),
        (Some("cross-site"), None),
        (Some("same-site"), None),
        (Some("none"), None),
        (Some("cross-site"), Some(ORIGIN)),
        (Some("same-origin"), Some("https://evil.example")),
        (None, Some("https://evil.example")),
        (None, Some("null")),
        (None, Some("https://login.example.com")),
    ] {
        browser.site.set(Some("same-origin"));
        browser.origin.set(None);
        let page = browser.begin(&[]).await;
        browser.site.set(site);
        browser.origin.set(origin);
        let answer = browser.sign_in(&page, "ada").await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{site:?} {origin:?}");
        assert!(answer.headers.get("refresh").is_none());
        let call = json!({"c": page.field("c"), "form": page.field("form")});
        let answer = browser.call("/id/passkey/options", &call).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{site:?} {origin:?}");
    }
    for (site, origin) in [
        (Some("same-origin"), Some(ORIGIN)),
        (Some("same-origin"), Some("null")),
        (None, Some(ORIGIN)),
    ] {
        browser.site.set(site);
        browser.origin.set(origin);
        let page = browser.begin(&[]).await;
        let answer = browser.sign_in(&page, "ada").await;
        assert!(answer.told("code").is_some(), "{site:?} {origin:?}");
    }
}

#[tokio::test]
async fn a_post_needs_the_token_of_its_page_and_its_cookie() {
    let world = World::new();
    let browser = world.person("ada").await;
    let page = browser.begin(&[]).await;
    let (c, form) = (page.field("c"), page.field("form"));
    let send = async |browser: &Browser<'_>, c: &str, form: &str| {
        let form = [
            ("c", c),
            ("form", form),
            ("name", "ada"),
            ("password", PASSWORD),
        ];
        browser.post("/id/password", &form).await.status
    };
    assert_eq!(send(&browser, &c, "").await, StatusCode::FORBIDDEN);
    assert_eq!(
        send(&browser, &c, &"x".repeat(43)).await,
        StatusCode::FORBIDDEN
    );
    assert_eq!(send(&browser, "", &form).await, StatusCode::FORBIDDEN);
    // Another browser, with a ceremony of its own.
    let other = world.browser();
    let theirs = other.begin(&[]).await;
    assert_eq!(send(&other, &c, &form).await, StatusCode::FORBIDDEN);
    assert_eq!(
        send(&other, &theirs.field("c"), &form).await,
        StatusCode::FORBIDDEN
    );
    assert_eq!(
        send(&browser, &theirs.field("c"), &theirs.field("form")).await,
        StatusCode::FORBIDDEN
    );
    // The cookie on another device.
    let mut stolen = world.browser();
    stolen.device = "elsewhere";
    *stolen.cookie.borrow_mut() = browser.cookie.borrow().clone();
    assert_eq!(send(&stolen, &c, &form).await, StatusCode::FORBIDDEN);
    assert_eq!(send(&browser, &c, &form).await, StatusCode::OK);
}

#[tokio::test]
async fn a_form_counts_once() {
    let world = World::new();
    let browser = world.person("ada").await;
    let page = browser.begin(&[]).await;
    let wrong = [("name", "ada"), ("password", "wrong wrong wrong")];
    browser.fill(&page, "/id/password", &wrong).await;
    // The old page again, by the back button: not taken, and where to go on.
    let again = browser.sign_in(&page, "ada").await;
    assert_eq!(again.status, StatusCode::FORBIDDEN);
    assert!(again.body.contains("was used already"), "{}", again.body);
    let id = page.field("c");
    assert!(again.body.contains(&format!("/id/sign-in?c={id}")));
    let page = browser.open(&format!("/id/sign-in?c={id}")).await;
    assert!(browser.sign_in(&page, "ada").await.told("code").is_some());
    // And after the end there is nothing to go on with.
    let over = browser.sign_in(&page, "ada").await;
    assert_eq!(over.status, StatusCode::FORBIDDEN);
    assert!(over.headers.get("refresh").is_none());
}

#[tokio::test]
async fn a_planted_cookie_is_worth_nothing() {
    let world = World::new();
    world.person("ada").await;
    let (attacker, victim) = (world.browser(), world.browser());
    let planted = attacker.begin(&[]).await;
    *victim.cookie.borrow_mut() = attacker.cookie.borrow().clone();
    let page = victim
        .open(&format!("/id/sign-in?c={}", planted.field("c")))
        .await;
    assert!(victim.sign_in(&page, "ada").await.told("code").is_some());
    assert_ne!(*victim.cookie.borrow(), *attacker.cookie.borrow());
    let seen = attacker
        .get(&format!("/id/sign-in?c={}", planted.field("c")))
        .await;
    assert_eq!(seen.status, StatusCode::GONE);
    // A value of the attacker's own making is never taken over.
    *victim.cookie.borrow_mut() = Some("of-my-own-making".to_owned());
    victim.begin(&[]).await;
    assert_ne!(victim.cookie.borrow().as_deref(), Some("of-my-own-making"));
}

#[tokio::test]
async fn a_page_is_over_after_half_an_hour() {
    let world = World::new();
    let browser = world.person("ada").await;
    let page = browser.begin(&[]).await;
    world.pass(30 * 60);
    let answer = browser.sign_in(&page, "ada").await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    assert!(answer.body.contains("This page is over"), "{}", answer.body);
}

#[tokio::test]
async fn other_kinds_of_bodies_are_not_read() {
    let world = World::new();
    let browser = world.person("ada").await;
    let page = browser.begin(&[]).await;
    let (c, form) = (page.field("c"), page.field("form"));
    let body = encode(&[
        ("c", &c),
        ("form", &form),
        ("name", "ada"),
        ("password", PASSWORD),
    ]);
    let plain = Request::post("/id/password").header("content-type", "text/plain");
    let answer = browser.send(plain, body.clone()).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    let call = json!({"c": c, "form": form}).to_string();
    let plain = Request::post("/id/passkey/options").header("content-type", "text/plain");
    let answer = browser.send(plain, call.into()).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    let huge =
        Request::post("/id/password").header("content-type", "application/x-www-form-urlencoded");
    let answer = browser.send(huge, vec![b'x'; 70_000].into()).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    let long = "x".repeat(20_000);
    let answer = browser.post("/id/password", &[("password", &long)]).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn without_a_device_there_is_no_page() {
    let world = World::new();
    for path in ["/id/welcome", "/id/factors", "/id/sign-in?c=x"] {
        let answer = world
            .ask(Request::get(path).body(Bytes::new()).unwrap())
            .await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{path}");
    }
    let address = world.browser().address(&[]);
    let answer = world
        .ask(Request::get(address).body(Bytes::new()).unwrap())
        .await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_disabled_account_loses_what_was_half_done() {
    let world = World::new();
    let token = world.invite("ada").await;
    let browser = world.browser();
    let page = browser.open("/id/welcome").await;
    let page = browser
        .fill(&page, "/id/welcome", &[("token", &token)])
        .await;
    let accounts = world.provider.accounts();
    accounts
        .disable("ada", Actor::Administrator, world.now.get())
        .await
        .unwrap();
    let answer = browser
        .fill(&page, "/id/welcome/password", &[("password", PASSWORD)])
        .await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN, "{}", answer.body);
}

#[tokio::test]
async fn a_first_link_is_used_once_and_a_wrong_one_opens_nothing() {
    let world = World::new();
    let token = world.invite("ada").await;
    let browser = world.browser();
    let page = browser.open("/id/welcome").await;
    let page = browser
        .fill(&page, "/id/welcome", &[("token", "wrong")])
        .await;
    assert!(
        page.body.contains("This link does not count"),
        "{}",
        page.body
    );
    browser.set_up(&token, PASSWORD, false).await;
    let page = browser.open("/id/welcome").await;
    let page = browser
        .fill(&page, "/id/welcome", &[("token", &token)])
        .await;
    assert!(
        page.body.contains("This link does not count"),
        "{}",
        page.body
    );
}

#[tokio::test]
async fn a_weak_first_password_is_said_to_be_weak_and_the_code_app_stays() {
    let world = World::new();
    let token = world.invite("ada").await;
    let browser = world.browser();
    let page = browser.open("/id/welcome").await;
    let page = browser
        .fill(&page, "/id/welcome", &[("token", &token)])
        .await;
    let key = page.key();
    for (password, words) in [
        (SHORT, "at least 15 characters"),
        ("aaaaaaaaaaaaaaaaaaaa", "easy to guess"),
    ] {
        let page_again = browser
            .open(&format!("/id/welcome?c={}", page.field("c")))
            .await;
        let page_again = browser
            .fill(
                &page_again,
                "/id/welcome/password",
                &[("password", password)],
            )
            .await;
        assert!(page_again.body.contains(words), "{}", page_again.body);
        assert_eq!(page_again.key(), key);
    }
}

#[tokio::test]
async fn recovery_codes_are_gone_once_they_are_kept() {
    let world = World::new();
    let token = world.invite("ada").await;
    let browser = world.browser();
    let page = browser.open("/id/welcome").await;
    let page = browser
        .fill(&page, "/id/welcome", &[("token", &token)])
        .await;
    let page = browser
        .fill(&page, "/id/welcome/password", &[("password", PASSWORD)])
        .await;
    let path = format!("/id/recovery-codes?c={}", page.field("c"));
    // A reload does not lose them.
    assert!(browser.open(&path).await.body.contains("id=\"codes\""));
    browser.fill(&page, "/id/recovery-codes/kept", &[]).await;
    assert!(!browser.open(&path).await.body.contains("id=\"codes\""));
}

#[tokio::test]
async fn pages_come_in_the_language_that_was_asked_for() {
    let world = World::new();
    let browser = world.browser();
    let page = browser.begin(&[("ui_locales", "ja")]).await;
    assert!(page.body.contains("lang=ja"));
    assert!(page.body.contains("パスキーでサインイン"), "{}", page.body);
    let path = format!("/id/sign-in?c={}&lang=en", page.field("c"));
    assert!(
        browser
            .open(&path)
            .await
            .body
            .contains("Sign in with a passkey")
    );
    let path = format!("/id/sign-in?c={}", page.field("c"));
    assert!(
        browser
            .open(&path)
            .await
            .body
            .contains("Sign in with a passkey")
    );
}

#[tokio::test]
async fn options_for_a_passkey_tell_nothing_about_names() {
    let world = World::new();
    world.person("ada").await;
    let browser = world.browser();
    let page = browser.begin(&[]).await;
    for name in ["ada", "nobody", ""] {
        let call = json!({"c": attribute(&page, "data-c"), "form": attribute(&page, "data-form"), "name": name});
        let answer = browser.call("/id/passkey/options", &call).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        let options = &answer.json()["publicKey"];
        assert_eq!(options["rpId"], "login.example.com");
        assert_eq!(options["userVerification"], "required");
        let listed = options["allowCredentials"].as_array().map_or(0, Vec::len);
        assert_eq!(listed == 0, name.is_empty());
    }
    // The page is still good for a password.
    let page = browser.sign_in(&page, "ada").await;
    assert!(page.told("code").is_some());
}
