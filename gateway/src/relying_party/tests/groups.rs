//! Who a person is and in which groups: from the token, UserInfo, Microsoft Graph and the file of names.

use std::sync::Arc;

use serde_json::{Value, json};

use super::world::{World, changed, raw, wanted};
use crate::config::sign_in::Overage;
use crate::issuer::testing::START;
use crate::relying_party::{Provider, SignInError, SignedIn, proof};

#[tokio::test]
async fn groups_have_names() {
    let world = World::with(|plan| {
        let file = plan.directory.join("groups.toml");
        std::fs::write(&file, "g1 = \"finance\"\n").unwrap();
        plan.client.group_names = Some(file);
        plan.issuer.claims.group_prefix = "corp:".into();
    })
    .await;
    let changes = json!({"groups": ["g1", "g2"]});
    let signed_in = world.sign_in(wanted(), changes).await.ok().unwrap();
    let expected: [Box<str>; 2] = ["corp:finance".into(), "corp:g2".into()];
    assert_eq!(signed_in.principal.groups(), expected);
    // The same person with an access token is in the same groups.
    let claims = json!({
        "iss": world.config.issuer, "aud": "https://apps.example", "sub": "ada", "client_id": "cli",
        "jti": "t", "iat": START, "exp": START + 60, "groups": ["g1", "g2"],
    });
    let token = world.signer.token(&claims);
    let identity = world
        .issuers
        .verify(&token, None, world.now())
        .await
        .unwrap();
    assert_eq!(identity.principal().groups(), expected);
    assert_eq!(identity.principal().id(), signed_in.principal.id());
}

#[tokio::test]
async fn userinfo_adds_what_the_token_lacks() {
    let world = World::with(|plan| plan.client.userinfo = true).await;
    let userinfo = json!({
        "sub": "ada", "groups": ["g7"], "name": "Other", "email": "x@example.com", "acr": "phr",
        "email_verified": true,
    });
    world.server.answer("/userinfo", &userinfo.to_string());
    let changes = json!({"groups": null, "email_verified": null});
    let signed_in = world.sign_in(wanted(), changes).await.ok().unwrap();
    assert_eq!(signed_in.principal.groups(), ["g7".into()]);
    assert_eq!(signed_in.principal.name(), Some("Ada"));
    assert_eq!(
        signed_in.email, None,
        "the token's address, with UserInfo's word for another"
    );
    assert!(!signed_in.authentication.phishing_resistant);
    let (head, _) = world.server.last_request("/userinfo");
    assert!(head.contains("authorization: Bearer access\r\n"));
}

fn left_out() -> Value {
    json!({"groups": null, "_claim_names": {"groups": "src1"},
        "_claim_sources": {"src1": {"endpoint": "https://evil.example/"}}})
}

#[tokio::test]
async fn too_many_groups_are_refused_or_asked_for() {
    for changes in [left_out(), json!({"groups": null, "hasgroups": true})] {
        let world = World::new().await;
        assert_eq!(world.fault(changes).await.code(), "groups-left-out");
    }

    let world = World::with(|plan| plan.client.overage = Overage::UserInfo).await;
    let whole = json!({"sub": "ada", "groups": ["a", "b"]});
    world.server.answer("/userinfo", &whole.to_string());
    let signed_in = world.sign_in(wanted(), left_out()).await.ok().unwrap();
    assert_eq!(signed_in.principal.groups(), ["a".into(), "b".into()]);
    for lacking in [
        json!({"sub": "ada"}),
        json!({"sub": "ada", "groups": ["a"], "_claim_names": {"groups": "s"}}),
    ] {
        world.server.answer("/userinfo", &lacking.to_string());
        assert_eq!(world.fault(left_out()).await.code(), "groups-left-out");
    }
}

async fn with_graph(pages: &[Value]) -> (World, Arc<Provider>) {
    let world = World::with(|plan| plan.client.overage = Overage::MicrosoftGraph).await;
    let base = format!("http://127.0.0.1:{}", world.server.address.port());
    for (number, page) in pages.iter().enumerate() {
        let path = match number {
            0 => "/v1.0/me/transitiveMemberOf".to_owned(),
            number => format!("/v1.0/page{number}"),
        };
        let page = page.to_string().replace("BASE", &base);
        world.server.answer(&path, &page);
    }
    let known = world.provider();
    let provider = Provider {
        issuer: Arc::clone(&known.issuer),
        client: known.client.clone(),
        proof: proof::Proof::Local,
        transport: known.transport.clone(),
        entropy: Arc::clone(&known.entropy),
        tables: Arc::default(),
        graph: format!("{base}/v1.0").into(),
    };
    (world, Arc::new(provider))
}

async fn sign_in_with_graph(pages: &[Value]) -> Result<SignedIn, SignInError> {
    let (world, provider) = with_graph(pages).await;
    let (attempt, asked) = world.begin(wanted()).await;
    world.grant(&world.sign(&changed(world.claims(&asked), left_out())));
    let query = world.answer(&asked);
    provider.complete(attempt, &query, world.now()).await
}

#[tokio::test]
async fn graph_is_read_to_its_last_page() {
    let signed_in = sign_in_with_graph(&[
        json!({"value": [
            {"@odata.type": "#microsoft.graph.group", "id": "a"},
            {"@odata.type": "#microsoft.graph.directoryRole", "id": "role"},
        ], "@odata.nextLink": "BASE/v1.0/page1"}),
        json!({"value": [{"id": "b"}]}),
    ])
    .await;
    let groups = signed_in.ok().unwrap().principal.groups().to_vec();
    assert_eq!(groups, ["a".into(), "b".into()]);
}

#[tokio::test]
async fn graph_neither_leads_elsewhere_nor_on_for_ever() {
    for (pages, code) in [
        (
            vec![json!({"value": [], "@odata.nextLink": "https://evil.example/v1.0/page1"})],
            "provider-unavailable",
        ),
        (
            vec![
                json!({"value": [], "@odata.nextLink": "BASE/v1.0/page1"}),
                json!({"value": [], "@odata.nextLink": "BASE/v1.0/page1"}),
            ],
            "groups-left-out",
        ),
        (vec![json!({"value": "x"})], "provider-unavailable"),
        (vec![json!({"value": [{"id": 1}]})], "provider-unavailable"),
        (
            vec![
                json!({"value": (0..1001).map(|id| json!({"id": id.to_string()})).collect::<Vec<_>>()}),
            ],
            "groups-left-out",
        ),
        (vec![], "provider-unavailable"),
    ] {
        let fault = sign_in_with_graph(&pages).await.err().unwrap();
        assert_eq!(fault.code(), code, "{pages:.200?}");
    }
}

#[tokio::test]
async fn userinfo_of_somebody_else_is_refused() {
    let world = World::with(|plan| plan.client.userinfo = true).await;
    for (answer, code) in [
        (r#"{"sub":"eve","groups":["admins"]}"#, "subject-mismatch"),
        (r#"{"groups":["admins"]}"#, "subject-mismatch"),
        ("[]", "provider-unavailable"),
        (r#"{"sub":"ada","sub":"ada"}"#, "provider-unavailable"),
    ] {
        world.server.answer("/userinfo", answer);
        assert_eq!(world.fault(json!({})).await.code(), code, "{answer}");
    }
    let html = raw("200 OK", "content-type: text/html\r\n", r#"{"sub":"ada"}"#);
    world.server.answer_raw("/userinfo", html);
    assert_eq!(world.fault(json!({})).await.code(), "provider-unavailable");
    world.server.answer("/userinfo", r#"{"sub":"ada"}"#);
    assert!(world.sign_in(wanted(), json!({})).await.is_ok());
}

#[tokio::test]
async fn another_tenant_is_refused() {
    let world = World::with(|plan| {
        plan.client.required_claims = vec![("tid".into(), "ours".into())];
    })
    .await;
    for changes in [
        json!({}),
        json!({"tid": "theirs"}),
        json!({"tid": ["ours"]}),
        json!({"tid": "Ours"}),
    ] {
        assert_eq!(
            world.fault(changes.clone()).await.code(),
            "not-admitted",
            "{changes}"
        );
    }
    assert!(
        world
            .sign_in(wanted(), json!({"tid": "ours"}))
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn an_address_that_nobody_verified_is_not_the_person_s() {
    let world = World::new().await;
    for changes in [
        json!({"email_verified": false}),
        json!({"email_verified": null}),
        json!({"email_verified": 1}),
    ] {
        let signed_in = world.sign_in(wanted(), changes.clone()).await.ok().unwrap();
        assert_eq!(signed_in.email, None, "{changes}");
    }
}
