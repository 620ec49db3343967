//! Passkeys through the pages, with an authenticator in software in place of the browser's.

use serde_json::json;

use crate::factors::tests::soft_key::SoftKey;

use super::openid::attribute;
use super::*;

impl Browser<'_> {
    /// What the script of `page` does with a passkey.
    async fn ceremony(&self, page: &Answer, key: &mut SoftKey, paths: [&str; 2]) -> Answer {
        let (c, form) = (attribute(page, "data-c"), attribute(page, "data-form"));
        let asked = self.call(paths[0], &json!({"c": c, "form": form})).await;
        assert_eq!(asked.status, StatusCode::OK, "{}", asked.body);
        let answer = if paths[0].ends_with("new") {
            key.create(&asked.body)
        } else {
            key.sign(&asked.body)
        };
        let credential: Value = serde_json::from_str(&answer).unwrap();
        let body = json!({"c": c, "form": form, "name": "laptop", "credential": credential});
        self.call(paths[1], &body).await
    }

    async fn create(&self, page: &Answer, key: &mut SoftKey) -> Answer {
        let paths = ["/id/passkey/new", "/id/passkey/add"];
        self.ceremony(page, key, paths).await
    }

    async fn use_key(&self, page: &Answer, key: &mut SoftKey) -> Answer {
        let paths = ["/id/passkey/options", "/id/passkey/verify"];
        self.ceremony(page, key, paths).await
    }
}

impl World {
    /// Somebody with a passkey and nothing else; and one of their recovery codes.
    async fn person_with_passkey(&self, user: &str) -> (Browser<'_>, SoftKey, String) {
        let token = self.invite(user).await;
        let (browser, mut key) = (self.browser(), SoftKey::new());
        let page = browser.open("/id/welcome").await;
        let page = browser
            .fill(&page, "/id/welcome", &[("token", &token)])
            .await;
        let made = browser.create(&page, &mut key).await;
        let page = browser.open(&to(&made)).await;
        let (_, list) = page.body.split_once("id=\"codes\"").unwrap();
        let (_, first) = list.split_once("<li>").unwrap();
        let recovery = first.split('<').next().unwrap().to_owned();
        let page = browser.fill(&page, "/id/recovery-codes/kept", &[]).await;
        assert!(page.body.contains("You are ready"), "{}", page.body);
        (browser, key, recovery)
    }
}

fn to(answer: &Answer) -> String {
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    answer.json()["to"].as_str().unwrap().to_owned()
}

fn code_in(address: &str) -> String {
    assert!(address.starts_with(&format!("{CALLBACK}?")), "{address}");
    let url = url::Url::parse(address).unwrap();
    let mut pairs = url.query_pairs();
    pairs
        .find(|(name, _)| name == "code")
        .unwrap()
        .1
        .into_owned()
}

#[tokio::test]
async fn a_passkey_is_phishing_resistant_and_multi_factor() {
    let world = World::new();
    let (browser, mut key, _) = world.person_with_passkey("ada").await;
    let page = browser.begin(&[("claims", ESSENTIAL_PHR)]).await;
    let before = browser.cookie.borrow().clone();
    let answer = browser.use_key(&page, &mut key).await;
    assert_ne!(*browser.cookie.borrow(), before);
    let claims = world.exchange(&code_in(&to(&answer))).await.claims();
    assert_eq!(claims["sub"], "ada");
    assert_eq!(claims["acr"], "phr");
    let amr: Vec<&str> = claims["amr"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it.as_str().unwrap())
        .collect();
    assert!(amr.contains(&"mfa") && amr.contains(&"pop") && amr.contains(&"hwk"));
    // The session that the gateway makes of it is as good.
    browser.keep_session("ada", &amr);
    let answer = browser
        .get(&browser.address(&[("claims", ESSENTIAL_PHR), ("prompt", "none")]))
        .await;
    assert!(answer.told("code").is_some());
}

#[tokio::test]
async fn an_answer_for_another_site_or_without_the_person_is_refused() {
    let world = World::new();
    let (browser, mut key, _) = world.person_with_passkey("ada").await;
    let page = browser.begin(&[]).await;
    key.origin = "https://login.example.com.evil.example".to_owned();
    let answer = browser.use_key(&page, &mut key).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    assert!(
        answer.json()["error"]
            .as_str()
            .unwrap()
            .contains("could not be verified")
    );
    key.origin = ORIGIN.to_owned();
    key.verifies = false;
    assert_eq!(
        browser.use_key(&page, &mut key).await.status,
        StatusCode::FORBIDDEN
    );
    key.verifies = true;
    // The page is as good as before.
    assert!(to(&browser.use_key(&page, &mut key).await).contains("code="));
}

#[tokio::test]
async fn an_answer_counts_once_and_in_the_browser_that_asked() {
    let world = World::new();
    let (browser, mut key, _) = world.person_with_passkey("ada").await;
    let ask = async |browser: &Browser<'_>, page: &Answer| {
        let body = json!({"c": attribute(page, "data-c"), "form": attribute(page, "data-form")});
        browser.call("/id/passkey/options", &body).await.body
    };
    let verify = async |browser: &Browser<'_>, page: &Answer, credential: &str| {
        let credential: Value = serde_json::from_str(credential).unwrap();
        let body = json!({"c": attribute(page, "data-c"), "form": attribute(page, "data-form"), "credential": credential});
        browser.call("/id/passkey/verify", &body).await
    };
    let page = browser.begin(&[]).await;
    let signed = key.sign(&ask(&browser, &page).await);
    // Caught, and used in the thief's own browser.
    let thief = world.browser();
    let theirs = thief.begin(&[]).await;
    ask(&thief, &theirs).await;
    assert_eq!(
        verify(&thief, &theirs, &signed).await.status,
        StatusCode::FORBIDDEN
    );
    assert_eq!(
        verify(&thief, &page, &signed).await.status,
        StatusCode::FORBIDDEN
    );
    assert_eq!(
        verify(&browser, &page, &signed).await.status,
        StatusCode::OK
    );
    let page = browser.begin(&[]).await;
    ask(&browser, &page).await;
    assert_eq!(
        verify(&browser, &page, &signed).await.status,
        StatusCode::FORBIDDEN
    );
    // Without having asked at all.
    let page = browser.begin(&[]).await;
    assert_eq!(
        verify(&browser, &page, &signed).await.status,
        StatusCode::FORBIDDEN
    );
}

#[tokio::test]
async fn a_password_alone_adds_no_passkey_to_one_who_has_one() {
    let world = World::new();
    let (browser, _, _) = world.person_with_passkey("ada").await;
    browser.keep_session("ada", &["hwk", "pop", "user", "mfa"]);
    let page = browser.open("/id/factors").await;
    let page = browser
        .fill(&page, "/id/factors/password", &[("password", PASSWORD)])
        .await;
    assert!(
        page.body.contains("The password was changed"),
        "{}",
        page.body
    );
    for amr in [&["pwd"][..], &["pwd", "otp", "mfa"]] {
        browser.keep_session("ada", amr);
        let answer = browser.get("/id/factors").await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN);
        assert!(
            answer.body.contains("need=phishing-resistant"),
            "{}",
            answer.body
        );
        let call = json!({"c": attribute(&page, "data-c"), "form": attribute(&page, "data-form")});
        for path in ["/id/passkey/new", "/id/passkey/add"] {
            assert_eq!(
                browser.call(path, &call).await.status,
                StatusCode::FORBIDDEN
            );
        }
    }
    // And where the app asks for the passkey, the password does not do.
    let page = browser.begin(&[("acr_values", "phr")]).await;
    let page = browser.sign_in(&page, "ada").await;
    assert!(
        page.body.contains("Sign in with your passkey"),
        "{}",
        page.body
    );
}

#[tokio::test]
async fn passkeys_are_added_named_and_removed_but_for_the_last() {
    let world = World::new();
    let (browser, mut key, _) = world.person_with_passkey("ada").await;
    browser.keep_session("ada", &["hwk", "pop", "user", "mfa"]);
    let page = browser.open("/id/factors").await;
    let known = browser.create(&page, &mut key).await;
    assert_eq!(known.status, StatusCode::FORBIDDEN);
    let page = browser
        .fill(
            &page,
            "/id/factors/passkey/remove",
            &[("passkey", &page.field("passkey"))],
        )
        .await;
    assert!(page.body.contains("Nothing would be left"), "{}", page.body);
    let added = browser.create(&page, &mut SoftKey::new()).await;
    let page = browser.open(&to(&added)).await;
    assert!(page.body.contains("The passkey was added"), "{}", page.body);
    let first = page.field("passkey");
    let form = [("passkey", first.as_str()), ("name", "<b>phone</b>")];
    let page = browser
        .fill(&page, "/id/factors/passkey/rename", &form)
        .await;
    assert!(
        page.body.contains("&lt;b&gt;phone&lt;/b&gt;"),
        "{}",
        page.body
    );
    let page = browser
        .fill(&page, "/id/factors/passkey/remove", &[("passkey", &first)])
        .await;
    assert!(
        page.body.contains("The passkey was removed"),
        "{}",
        page.body
    );
    assert_eq!(
        world.provider.accounts().get("ada").unwrap().passkeys.len(),
        1
    );
    let page = browser
        .fill(&page, "/id/factors/passkey/remove", &[("passkey", "other")])
        .await;
    assert!(page.body.contains("not there any more"), "{}", page.body);
}

#[tokio::test]
async fn a_recovery_code_leads_to_a_new_passkey_and_on_to_the_app() {
    let world = World::new();
    let (_, _, recovery) = world.person_with_passkey("ada").await;
    let (browser, mut key) = (world.browser(), SoftKey::new());
    let page = browser.begin(&[("claims", ESSENTIAL_PHR)]).await;
    let path = format!("/id/recovery?c={}", attribute(&page, "data-c"));
    for (name, code) in [("ada", "WRONG-CODE"), ("nobody", recovery.as_str())] {
        let page = browser.open(&path).await;
        let page = browser
            .fill(&page, "/id/recovery", &[("name", name), ("code", code)])
            .await;
        assert!(page.body.contains("That is not right"), "{}", page.body);
    }
    let page = browser.open(&path).await;
    let page = browser
        .fill(
            &page,
            "/id/recovery",
            &[("name", "ada"), ("code", &recovery)],
        )
        .await;
    assert!(page.body.contains("Create a passkey"), "{}", page.body);
    let made = browser.create(&page, &mut key).await;
    let page = browser.open(&to(&made)).await;
    let answer = browser.fill(&page, "/id/recovery-codes/kept", &[]).await;
    let claims = world.exchange(&answer.code()).await.claims();
    assert_eq!(
        (&claims["sub"], &claims["acr"]),
        (&json!("ada"), &json!("phr"))
    );
}

#[tokio::test]
async fn a_passkey_is_not_made_by_whoever_only_signs_in() {
    let world = World::new();
    let browser = world.person("ada").await;
    let page = browser.begin(&[]).await;
    let call = json!({"c": attribute(&page, "data-c"), "form": attribute(&page, "data-form")});
    for path in ["/id/passkey/new", "/id/passkey/add"] {
        assert_eq!(
            browser.call(path, &call).await.status,
            StatusCode::FORBIDDEN
        );
    }
    let page = browser.open("/id/welcome").await;
    let call = json!({"c": page.field("c"), "form": page.field("form")});
    for path in [
        "/id/passkey/new",
        "/id/passkey/options",
        "/id/passkey/verify",
    ] {
        assert_eq!(
            browser.call(path, &call).await.status,
            StatusCode::FORBIDDEN
        );
    }
}
