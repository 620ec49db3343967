//! Hosts on which the gateway itself answers for the second door: proxy auto-configuration, and *why was this blocked?*

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
