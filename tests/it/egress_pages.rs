//! Hosts on which the gateway itself answers for the second door: proxy auto-configuration, *why was this blocked?*, how to
//! set programs up, and passwords for those that need one.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{Method, StatusCode};
use masugata_tests::{Client, TestGateway, TestGatewayBuilder, Upstream, assert_denied, hours};

const REASONS: &str = r#"@id("everywhere")
permit (principal in Masugata::Group::"employees", action, resource is Masugata::Destination);
@id("reason") @challenge("reason")
forbid (principal, action, resource is Masugata::Destination) unless { context.request.reason_given };
"#;

fn door(policy: &str) -> TestGatewayBuilder {
    TestGateway::new()
        .device("tablet", "")
        .egress("why_host = \"why.corp.test\"")
        .policy(policy)
        .config(
            "[egress.pac]\nhost = \"pac.corp.test\"\n\
             [[egress.pac.file]]\nname = \"staff\"\nproxied = [\".box.com\"]\nelsewhere = \"direct\"",
        )
}

fn laptop(gateway: &TestGateway) -> Client {
    gateway.client().device(&gateway.device("laptop"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pac_file_is_given_to_everybody_with_its_tag() {
    let gateway = door(REASONS).start().await;
    for client in [gateway.client(), gateway.client().h2()] {
        let answer = client.get("pac", "/staff.pac").await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        assert_eq!(
            answer.header("content-type"),
            Some("application/x-ns-proxy-autoconfig")
        );
        assert!(answer.text().contains("FindProxyForURL"));
        let tag = answer.header("etag").unwrap().to_owned();
        let again = client
            .clone()
            .header("if-none-match", &tag)
            .get("pac", "/staff.pac")
            .await;
        assert_eq!(again.status, StatusCode::NOT_MODIFIED);
        assert!(again.body.is_empty());
        assert_denied(&client.get("pac", "/other.pac").await, "route-not-found");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pac_file_may_name_a_proxy_of_its_own() {
    let gateway = door(REASONS)
        .config(
            "[[egress.pac.file]]\nname = \"local\"\nproxied = [\".box.com\"]\nproxies = [\"PROXY 127.0.0.1:3128\"]",
        )
        .start()
        .await;
    for (file, proxy) in [
        ("staff", "\"HTTPS proxy.corp.test:"),
        ("local", "\"PROXY 127.0.0.1:3128\""),
    ] {
        let script = gateway.client().get("pac", &format!("/{file}.pac")).await;
        let wanted = format!("var gateway = {proxy}");
        assert!(script.text().contains(&wanted), "{}", script.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_sees_its_own_refusals_only() {
    let gateway = door(REASONS).start().await;
    gateway.proxy().refused("files.example:443").await;
    let page = laptop(&gateway).get("why", "/").await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(page.text().contains("files.example"), "{}", page.text());
    let tablet = gateway.client().device(&gateway.device("tablet"));
    let other = tablet.get("why", "/").await;
    assert!(!other.text().contains("files.example"), "{}", other.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reason_opens_for_hours_on_that_device_only() {
    let site = Upstream::hello().await;
    let gateway = door(REASONS)
        .origin("files.example", site.address)
        .start()
        .await;
    let proxy = gateway.proxy();
    assert_denied(&proxy.refused("files.example:80").await, "reason-needed");
    let browser = laptop(&gateway).header("accept", "text/html");
    let page = browser.get("why", "/").await;
    // With `no-referrer` browsers send the form with `Origin: null`.
    assert_eq!(page.header("referrer-policy"), Some("same-origin"));
    let page = page.text();
    let token = page
        .split("name=\"token\" value=\"")
        .nth(1)
        .and_then(|rest| rest.split('\"').next())
        .unwrap_or_else(|| panic!("no form:\n{page}"));
    let form = format!("domain=files.example&text=quarterly+figures&token={token}");
    let send = |origin: &str| {
        let client = laptop(&gateway)
            .header("origin", origin)
            .header("content-type", "application/x-www-form-urlencoded");
        let form = form.clone();
        async move { client.request("why", Method::POST, "/reason", &form).await }
    };
    assert_eq!(
        send("https://evil.example").await.status,
        StatusCode::FORBIDDEN
    );
    assert_denied(&proxy.refused("files.example:80").await, "reason-needed");
    assert_eq!(
        send("https://why.corp.test").await.status,
        StatusCode::SEE_OTHER
    );
    proxy.connect("files.example:80").await.unwrap();
    let tablet = gateway
        .stranger()
        .device(&gateway.device("tablet"))
        .token(gateway.token("ada").sign());
    assert_denied(&tablet.refused("files.example:80").await, "reason-needed");
    gateway.clock.advance(hours(8));
    assert_denied(&proxy.refused("files.example:80").await, "reason-needed");
    let records = gateway.records().await;
    let given = records
        .iter()
        .find(|record| record["operation"] == "reason-given" || record["kind"] == "reason-given")
        .unwrap_or_else(|| panic!("{records:?}"));
    assert!(
        given["detail"]
            .as_str()
            .unwrap()
            .contains("quarterly figures"),
        "{given}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_refusal_says_where_people_are_told_why() {
    let gateway = door(REASONS).start().await;
    for proxy in [gateway.proxy(), gateway.proxy().h2()] {
        let refused = proxy.refused("files.example:443").await;
        assert_denied(&refused, "reason-needed");
        let help = refused.header("link").unwrap();
        assert!(help.starts_with("<https://why.corp.test"), "{help}");
        assert!(help.ends_with("/>; rel=\"help\""), "{help}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn known_devices_are_told_how_to_set_programs_up() {
    let gateway = door(REASONS).start().await;
    for client in [laptop(&gateway), laptop(&gateway).h2()] {
        let list = client.get("why", "/setup").await;
        assert_eq!(list.status, StatusCode::OK);
        assert!(list.text().contains("/setup/git"), "{}", list.text());
        let text = client.get("why", "/setup/curl").await.text();
        assert!(text.contains("proxy-cert"), "{text}");
        let browser = client.clone().header("accept", "text/html");
        let page = browser.get("why", "/setup/chrome?pac=staff").await;
        assert!(page.text().contains("/staff.pac"), "{}", page.text());
        for nowhere in ["/setup/chrome?pac=none", "/setup/lynx"] {
            assert_denied(&client.get("why", nowhere).await, "route-not-found");
        }
        assert_denied(
            &client.post("why", "/setup", "").await,
            "method-not-allowed",
        );
    }
}

/// With passwords, and a device that is nobody's.
async fn with_passwords(site: &Upstream) -> TestGateway {
    door(REASONS)
        .device("kiosk", "owner = \"\"")
        .egress("why_host = \"why.corp.test\"\npassword_key = \"password.key\"\npassword_lifetime = \"2h\"")
        .file("password.key", &STANDARD.encode([7; 32]))
        .policy(
            r#"@id("passwords") permit (principal in Masugata::Group::"employees", action, resource is Masugata::Destination)
            when { context.authentication.credential == Masugata::Credential::"password" };"#,
        )
        .origin("site.example", site.address)
        .start()
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_worth_a_password_on_the_device_that_asks() {
    let site = Upstream::hello().await;
    let gateway = with_passwords(&site).await;
    let kiosk = gateway.device("kiosk");
    let token = gateway.token("bob").bound_to(&kiosk.thumbprint).sign();
    let client = gateway.client().device(&kiosk).h2().token(token);
    let answer = client.post("why", "/proxy-password", "").await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let issued = answer.json();
    assert_eq!(issued["user"], "corp/bob");
    assert_eq!(issued["device"], "kiosk");
    let password = issued["password"].as_str().unwrap().to_owned();
    let proxy = gateway.stranger().device(&kiosk).password("x", &password);
    proxy.connect("site.example:80").await.unwrap();
    let other = gateway.stranger().device(&gateway.device("tablet"));
    let other = other.password("x", &password);
    assert_denied(
        &other.refused("site.example:80").await,
        "credential-not-bound",
    );
    gateway.clock.advance(hours(2));
    assert_denied(
        &proxy.refused("site.example:80").await,
        "credential-expired",
    );
    let records = gateway.records().await;
    let text = serde_json::to_string(&records).unwrap();
    assert!(text.contains("proxy-password-issued"), "{text}");
    assert!(text.contains("device=kiosk user=corp/bob until="), "{text}");
    assert!(!text.contains(&password), "the password is on record");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_counts_anywhere_is_worth_a_password_to_the_owner_of_the_device_only() {
    let site = Upstream::hello().await;
    let gateway = with_passwords(&site).await;
    let ask = |device: &str, user: &str| {
        let client = gateway.client().device(&gateway.device(device));
        let client = client.token(gateway.token(user).sign());
        async move { client.post("why", "/proxy-password", "").await }
    };
    let owner = ask("laptop", "ada").await;
    assert_eq!(owner.status, StatusCode::OK, "{}", owner.text());
    for (device, user) in [("laptop", "bob"), ("kiosk", "ada")] {
        let answer = ask(device, user).await;
        assert_denied(&answer, "credential-not-bound");
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_password_without_a_token_or_where_there_are_none() {
    let site = Upstream::hello().await;
    let gateway = with_passwords(&site).await;
    let client = laptop(&gateway);
    let missing = client.post("why", "/proxy-password", "").await;
    assert_denied(&missing, "credential-missing");
    assert!(missing.header("www-authenticate").is_some());
    let guess = client.clone().token("guess");
    let guess = guess.post("why", "/proxy-password", "").await;
    assert_denied(&guess, "credential-invalid");
    let read = client.get("why", "/proxy-password").await;
    assert_denied(&read, "method-not-allowed");

    let without = door(REASONS).start().await;
    let client = laptop(&without).token(without.token("ada").sign());
    let answer = client.post("why", "/proxy-password", "").await;
    assert_denied(&answer, "route-not-found");
}
