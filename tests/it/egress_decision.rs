//! The second door: what policies say about destinations, and what they can tell apart.

use http::StatusCode;
use masugata_tests::{
    ProxyClient, TestGateway, TestGatewayBuilder, Upstream, assert_denied, decision_of,
};

const EVERYWHERE: &str = r#"@id("everywhere")
permit (principal in Masugata::Group::"employees", action, resource is Masugata::Destination);
"#;

fn both(client: &ProxyClient) -> [ProxyClient; 2] {
    [client.clone(), client.clone().h2()]
}

/// A door with these policies that leads to `site.example` and `crm.example`.
async fn open(
    policy: &str,
    egress: &str,
    build: impl FnOnce(TestGatewayBuilder) -> TestGatewayBuilder,
) -> (TestGateway, Upstream) {
    let site = Upstream::hello().await;
    let builder = TestGateway::new()
        .device("tablet", "")
        .egress(egress)
        .policy(policy)
        .origin("site.example", site.address)
        .origin("crm.example", site.address);
    let gateway = build(builder).start().await;
    (gateway, site)
}

fn plain(builder: TestGatewayBuilder) -> TestGatewayBuilder {
    builder
}

/// `crm.example` is a service of that level.
fn crm(builder: TestGatewayBuilder) -> TestGatewayBuilder {
    builder.config(
        "[[egress.service]]\nname = \"crm\"\nhosts = [\".crm.example\"]\nlevel = \"internal\"\n\
         groups = [\"cloud-services\"]",
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn unlisted_is_denied() {
    let apps = r#"@id("apps") permit (principal, action, resource is Masugata::App);"#;
    let (gateway, site) = open(apps, "", plain).await;
    for client in both(&gateway.proxy()) {
        let answer = client.refused("site.example:443").await;
        assert_denied(&answer, "no-permit");
        assert_eq!(answer.status, StatusCode::FORBIDDEN);
        assert_denied(&client.get("http://site.example/").await, "no-permit");
    }
    assert_eq!(site.count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_by_level_opens_a_service_of_that_level_and_no_unlisted_site() {
    let level = r#"@id("internal") permit (principal in Masugata::Group::"employees", action, resource in Masugata::Level::"internal");"#;
    let (gateway, _site) = open(level, "", crm).await;
    for client in both(&gateway.proxy()) {
        client.connect("crm.example:80").await.unwrap();
        assert_denied(&client.refused("site.example:80").await, "no-permit");
    }
    let group = r#"@id("approved") permit (principal in Masugata::Group::"employees", action, resource in Masugata::AppGroup::"cloud-services");"#;
    gateway.set_policy(group).await;
    for client in both(&gateway.proxy()) {
        client.connect("crm.example:80").await.unwrap();
        assert_denied(&client.refused("site.example:80").await, "no-permit");
    }
    gateway.completions(8).await;
    let records = gateway.records().await;
    let permitted = records
        .iter()
        .find(|record| record["type"] == "decision" && record["decision"] == "permitted")
        .unwrap();
    assert_eq!(permitted["destination"]["service"], "crm");
    assert_eq!(permitted["destination"]["level"], "internal");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_category_forbid_beats_a_grant() {
    let policy = format!(
        "{EVERYWHERE}@id(\"no-threats\") @reason_en(\"known to spread malware\")\n\
         forbid (principal, action, resource in Masugata::Category::\"malware\");"
    );
    let (gateway, site) = open(&policy, "", |builder| {
        builder.file("threats.txt", "site.example\n").config(
            "[[egress.feed]]\nname = \"threats\"\nfile = \"threats.txt\"\nformat = \"plain\"\n\
             categories = [\"malware\"]",
        )
    })
    .await;
    for client in both(&gateway.proxy()) {
        client.connect("crm.example:80").await.unwrap();
        let answer = client.refused("site.example:80").await;
        assert_denied(&answer, "forbidden");
        assert!(
            answer.text().contains("known to spread malware"),
            "{}",
            answer.text()
        );
        assert_denied(&client.refused("www.site.example:80").await, "forbidden");
    }
    assert_eq!(site.count(), 0);
    gateway.completions(6).await;
    let records = gateway.records().await;
    let refused = records
        .iter()
        .find(|record| record["decision"] == "denied")
        .unwrap();
    assert_eq!(
        refused["destination"]["categories"][0], "malware",
        "{refused}"
    );
    let feed = refused["destination"]["feeds"][0].as_str().unwrap();
    assert!(feed.starts_with("threats@"), "{feed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn observe_lets_through_what_no_policy_permits_and_says_so_but_never_threats() {
    let policy = r#"@id("no-addresses") forbid (principal, action, resource is Masugata::Destination) when { resource.address };"#;
    let (gateway, _site) = open(policy, "mode = \"observe\"", plain).await;
    for client in both(&gateway.proxy()) {
        client.connect("site.example:80").await.unwrap();
        assert_denied(&client.refused("192.0.2.1:80").await, "forbidden");
    }
    gateway.completions(4).await;
    let records = gateway.records().await;
    for decision in records.iter().filter(|record| record["type"] == "decision") {
        let observed = decision["destination"]["observed"] == true;
        assert_eq!(observed, decision["decision"] == "permitted", "{decision}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn policy_can_ask_for_a_token_where_a_certificate_is_not_enough() {
    let policy = format!(
        "{EVERYWHERE}@id(\"token\") @challenge(\"mfa\")\n\
         forbid (principal, action, resource is Masugata::Destination)\n\
         unless {{ context.authentication.credential == Masugata::Credential::\"token\" }};"
    );
    let (gateway, _site) = open(&policy, "", plain).await;
    for client in both(&gateway.proxy()) {
        let answer = client.refused("site.example:80").await;
        assert_denied(&answer, "assurance-insufficient");
        assert_eq!(answer.status, StatusCode::PROXY_AUTHENTICATION_REQUIRED);
        let challenge = answer.header("proxy-authenticate").unwrap();
        assert!(
            challenge.contains("insufficient_user_authentication"),
            "{challenge}"
        );
        let token = gateway.token("ada").sign();
        client
            .token(token)
            .connect("site.example:80")
            .await
            .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_permit_without_resource_does_not_load_beside_egress() {
    let refused = TestGateway::new()
        .egress("")
        .policy(r#"@id("all") permit (principal, action, resource);"#)
        .try_start()
        .await;
    let Err(error) = refused else {
        panic!("the whole Internet would be open");
    };
    let text = error.to_string();
    assert!(text.contains("resource is Masugata::App"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_hosts_of_one_class_are_one_decision() {
    let (gateway, _site) = open(
        r#"@id("apps") permit (principal, action, resource is Masugata::App);"#,
        "",
        plain,
    )
    .await;
    let session = gateway.proxy().h2().session().await;
    for number in 0..1000 {
        let answer = session
            .connect(&format!("host-{number}.number-{number}.example:443"))
            .await;
        assert!(answer.is_err());
    }
    let (_status, page) = gateway.admin("GET", "/metrics").await;
    let fresh = "masugata_decisions_total{kind=\"fresh\"} ";
    let fresh: u64 = page
        .lines()
        .find_map(|line| line.strip_prefix(fresh))
        .unwrap()
        .parse()
        .unwrap();
    assert!(fresh <= 4, "{fresh} fresh decisions");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_that_denies_ends_what_it_permitted_and_nothing_else() {
    let everywhere = EVERYWHERE;
    let (gateway, _site) = open(everywhere, "", crm).await;
    let client = gateway.proxy();
    let mut site = client.connect("site.example:80").await.unwrap();
    let crm = client.connect("crm.example:80").await.unwrap();
    let level = r#"@id("internal") permit (principal in Masugata::Group::"employees", action, resource in Masugata::Level::"internal");"#;
    gateway.set_policy(level).await;
    masugata_tests::within_reason("the cut", site.ended()).await;
    let answer = crm.http_get("crm.example").await;
    assert!(answer.ends_with("hello"), "{answer}");
    let completions = gateway.completions(2).await;
    let cut: Vec<_> = completions
        .iter()
        .filter(|completion| completion["cause"] == "no-permit")
        .collect();
    assert_eq!(cut.len(), 1, "{completions:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_not_resolved_before_it_is_permitted() {
    let apps = r#"@id("apps") permit (principal, action, resource is Masugata::App);"#;
    let (gateway, _site) = open(apps, "", plain).await;
    let answer = gateway.proxy().refused("127.0.0.1:443").await;
    assert_denied(&answer, "no-permit");
    gateway.set_policy(EVERYWHERE).await;
    let answer = gateway.proxy().refused("127.0.0.1:443").await;
    assert_denied(&answer, "destination-prohibited");
    let records = gateway.records().await;
    let decision = decision_of(&records, &answer);
    assert_eq!(decision["detail"], "loopback", "{decision}");
}
