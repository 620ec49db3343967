//! Changing factors: who may, and what a thief may not.

use serde_json::json;

use super::openid::attribute;
use super::*;

const START: &str = "/start?to=https%3A%2F%2Flogin.example.com%3A8443%2Fid%2Ffactors&need=";

#[tokio::test]
async fn only_who_signed_in_freshly_sees_their_factors() {
    let world = World::new();
    let browser = world.person("ada").await;
    assert_eq!(
        browser.get("/id/factors").await.location(),
        format!("{START}fresh")
    );
    browser.keep_session("ada", &["pwd"]);
    let page = browser.open("/id/factors").await;
    assert!(page.body.contains("How you sign in"), "{}", page.body);
    world.pass(601);
    assert_eq!(
        browser.get("/id/factors").await.location(),
        format!("{START}fresh")
    );
    // The page from before changes nothing any more.
    let form = [("password", "nine purple otters swim")];
    let answer = browser.fill(&page, "/id/factors/password", &form).await;
    assert_eq!(answer.location(), format!("{START}fresh"));
    let call = json!({"c": page.field("c"), "form": attribute(&page, "data-form")});
    let answer = browser.call("/id/passkey/new", &call).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_password_alone_changes_nothing_where_there_is_more() {
    let world = World::new();
    let (browser, _) = world.person_with_app("ada").await;
    browser.keep_session("ada", &["pwd", "otp", "mfa"]);
    let page = browser.open("/id/factors").await;
    browser.keep_session("ada", &["pwd"]);
    let answer = browser.get("/id/factors").await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    assert!(answer.body.contains("need=multi-factor"), "{}", answer.body);
    let call = json!({"c": page.field("c"), "form": page.field("form")});
    assert_eq!(
        browser.call("/id/passkey/new", &call).await.status,
        StatusCode::FORBIDDEN
    );
    let answer = browser.fill(&page, "/id/factors/totp/remove", &[]).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    assert!(world.provider.accounts().get("ada").unwrap().totp);
}

#[tokio::test]
async fn the_page_of_one_person_changes_nothing_of_another() {
    let world = World::new();
    let browser = world.person("ada").await;
    world.person("bob").await;
    browser.keep_session("ada", &["pwd"]);
    let page = browser.open("/id/factors").await;
    browser.keep_session("bob", &["pwd"]);
    let before = world.provider.accounts().get("bob").unwrap();
    let form = [("password", "nine purple otters swim")];
    let answer = browser.fill(&page, "/id/factors/password", &form).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    let call = json!({"c": page.field("c"), "form": attribute(&page, "data-form")});
    assert_eq!(
        browser.call("/id/passkey/new", &call).await.status,
        StatusCode::FORBIDDEN
    );
    assert_eq!(world.provider.accounts().get("bob").unwrap(), before);
}

#[tokio::test]
async fn a_password_is_changed_and_a_weak_one_is_not() {
    let world = World::new();
    let browser = world.person("ada").await;
    browser.keep_session("ada", &["pwd"]);
    let page = browser.open("/id/factors").await;
    let page = browser
        .fill(&page, "/id/factors/password", &[("password", "short")])
        .await;
    assert!(page.body.contains("too short"), "{}", page.body);
    let page = browser
        .fill(
            &page,
            "/id/factors/password",
            &[("password", "nine purple otters swim")],
        )
        .await;
    assert!(
        page.body.contains("The password was changed"),
        "{}",
        page.body
    );
    // Said once.
    let page = browser.open("/id/factors").await;
    assert!(!page.body.contains("The password was changed"));
    let kinds: Vec<_> = world
        .told
        .lock()
        .unwrap()
        .iter()
        .map(|it| it.kind)
        .collect();
    assert!(kinds.contains(&EventKind::PasswordChanged), "{kinds:?}");
}

#[tokio::test]
async fn a_code_app_is_set_up_and_taken_away() {
    let world = World::new();
    let browser = world.person("ada").await;
    browser.keep_session("ada", &["pwd"]);
    let page = browser.open("/id/factors").await;
    let page = browser.fill(&page, "/id/factors/totp", &[]).await;
    assert!(page.body.contains("<svg"), "{}", page.body);
    let page = browser
        .fill(&page, "/id/factors/totp/confirm", &[("code", "000000")])
        .await;
    assert!(page.body.contains("The code is not right"), "{}", page.body);
    let right = code(&page.key(), world.now.get());
    let answer = browser
        .fill(&page, "/id/factors/totp/confirm", &[("code", &right)])
        .await;
    // From now on the password alone is not enough to be here.
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    browser.keep_session("ada", &["pwd", "otp", "mfa"]);
    let page = browser.open("/id/factors").await;
    assert!(
        page.body.contains("The code app is set up"),
        "{}",
        page.body
    );
    let page = browser.fill(&page, "/id/factors/totp/remove", &[]).await;
    assert!(
        page.body.contains("The code app was removed"),
        "{}",
        page.body
    );
}

#[tokio::test]
async fn the_last_way_in_stays() {
    let world = World::new();
    let browser = world.person("ada").await;
    browser.keep_session("ada", &["pwd"]);
    let page = browser.open("/id/factors").await;
    let page = browser
        .fill(&page, "/id/factors/password/remove", &[])
        .await;
    assert!(page.body.contains("Nothing would be left"), "{}", page.body);
}

#[tokio::test]
async fn new_recovery_codes_are_shown_and_then_one_is_back() {
    let world = World::new();
    let browser = world.person("ada").await;
    browser.keep_session("ada", &["pwd"]);
    let page = browser.open("/id/factors").await;
    let page = browser.fill(&page, "/id/factors/recovery-codes", &[]).await;
    assert!(
        page.body.contains("Keep these recovery codes"),
        "{}",
        page.body
    );
    let page = browser.fill(&page, "/id/recovery-codes/kept", &[]).await;
    assert!(page.body.contains("How you sign in"), "{}", page.body);
}

#[tokio::test]
async fn a_disabled_account_changes_nothing() {
    let world = World::new();
    let browser = world.person("ada").await;
    browser.keep_session("ada", &["pwd"]);
    let page = browser.open("/id/factors").await;
    let accounts = world.provider.accounts();
    accounts
        .disable("ada", Actor::Administrator, world.now.get())
        .await
        .unwrap();
    assert_eq!(
        browser.get("/id/factors").await.status,
        StatusCode::FORBIDDEN
    );
    let answer = browser
        .fill(
            &page,
            "/id/factors/password",
            &[("password", "nine purple otters swim")],
        )
        .await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
}
