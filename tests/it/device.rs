//! The device behind a connection: certificates asked for by host, and what happens to them while connections are open.

use std::sync::Arc;

use masugata_tests::{Client, Pki, TestGateway, Upstream, assert_denied, days, decision_of, hours};
use serde_json::Value;

#[tokio::test(flavor = "multi_thread")]
async fn hosts_require_ask_for_or_ignore_a_certificate() {
    let upstream = Upstream::hello().await;
    let gateway = TestGateway::new()
        .app("closed", upstream.address)
        .app("asking", upstream.address)
        .config(
            "[[ingress.client_certificate]]\nhosts = [\"asking.corp.test\"]\nmode = \"optional\"\n\
             [[ingress.client_certificate]]\nhosts = [\"plain.corp.test\"]\nmode = \"off\"",
        )
        .start()
        .await;
    let stranger = gateway.client().token(gateway.token("ada").sign());
    assert!(is_refused(&stranger, "closed").await);
    assert!(is_refused(&stranger.clone().tls12(), "closed").await);
    let code = "device-certificate-missing";
    assert_denied(&stranger.get("asking", "/").await, code);
    assert_eq!(gateway.ada().get("closed", "/").await.status, 200);
    assert_eq!(gateway.ada().get("asking", "/").await.status, 200);
    // No app can be there; what is public is for everybody.
    assert_denied(&gateway.ada().get("plain", "/").await, "route-not-found");
    let keys = stranger.get("plain", "/.well-known/masugata/jwks.json");
    assert_eq!(keys.await.status, 200);
    assert_eq!(upstream.seen().len(), 2);
    gateway.records().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_of_strangers_and_outdated_ones_get_no_connection() {
    let upstream = Upstream::hello().await;
    let gateway = TestGateway::new()
        .ingress("client_certificates = \"optional\"")
        .app("wiki", upstream.address)
        .start()
        .await;
    let forged = gateway.ada().device(&gateway.pki().forge("laptop"));
    assert!(is_refused(&forged, "wiki").await);
    let short = gateway.ada().device(&gateway.pki().issue("laptop", 1));
    assert_eq!(short.get("wiki", "/").await.status, 200);
    gateway.clock.advance(days(2));
    assert!(is_refused(&short.anew(), "wiki").await);
    // Of somebody else's key there is only the certificate.
    let mut thief = gateway.device("laptop");
    thief.key_pem = gateway.pki().forge("laptop").key_pem;
    let thief = std::panic::AssertUnwindSafe(|| gateway.client().device(&thief));
    assert!(
        std::panic::catch_unwind(thief).is_err(),
        "our own rustls refuses to try"
    );
    assert_eq!(upstream.seen().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resumed_session_does_not_outlive_its_certificate() {
    for tls12 in [false, true] {
        let (gateway, _upstream) = wiki().await;
        let brief = gateway.client().device(&gateway.pki().issue("laptop", 1));
        let brief = if tls12 { brief.tls12() } else { brief };
        // Tickets live for six hours; the certificate has three left.
        gateway.clock.advance(hours(21));
        let brief = brief.token(
            gateway
                .token("ada")
                .claim("exp", in_half_a_day(&gateway))
                .sign(),
        );
        assert_eq!(brief.get("wiki", "/").await.status, 200);
        assert_eq!(brief.get("wiki", "/").await.status, 200);
        gateway.clock.advance(hours(4));
        if let Ok(mut session) = brief.try_session("wiki").await {
            let request = session.build(http::Method::GET, "/");
            let request = request.body(Default::default()).unwrap();
            if let Ok(answer) = session.send(request).await {
                assert_denied(&answer, "device-certificate-expired");
            }
        }
        let records = gateway.records().await;
        let resumed = decisions(&records).filter(|it| it["connection"]["resumed"] == true);
        assert!(resumed.count() >= 1, "resumption was tried");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_reaches_open_connections_and_resumed_sessions() {
    let upstream = Upstream::hello().await;
    let builder = TestGateway::new().app("wiki", upstream.address);
    let empty = builder.pki().revocation_list(&[], 30, 1);
    let gateway = builder
        .device("other", "")
        .file("ca.crl", &empty)
        .start()
        .await;
    let old = gateway.ada().tls12();
    let new = gateway.ada().h2();
    let mut open = gateway.ada().session("wiki").await;
    let mut open_h2 = new.session("wiki").await;
    for _ in 0..2 {
        assert_eq!(old.get("wiki", "/").await.status, 200);
        assert_eq!(new.get("wiki", "/").await.status, 200);
    }
    assert_eq!(open.get("/").await.status, 200);
    assert_eq!(open_h2.get("/").await.status, 200);

    let list = gateway
        .pki()
        .revocation_list(&[&gateway.device("laptop")], 30, 2);
    gateway.write("ca.crl", &list);
    gateway.reload().await;
    let code = "device-certificate-revoked";
    assert_denied(&open.get("/").await, code);
    assert_denied(&open_h2.get("/").await, code);
    assert_denied(&old.get("wiki", "/").await, code);
    assert_denied(&new.get("wiki", "/").await, code);
    // As does one that resumes a session made after the revocation.
    assert_denied(&new.get("wiki", "/").await, code);
    let other = gateway.ada().device(&gateway.device("other"));
    assert_eq!(other.get("wiki", "/").await.status, 200);

    let records = gateway.records().await;
    let resumed = records
        .iter()
        .filter(|record| record["connection"]["resumed"] == true);
    assert!(resumed.count() >= 2, "resumption was tried");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_overdue_list_refuses_everybody_unless_told_otherwise() {
    for (keys, permitted) in [("", false), ("refuse_on_expired_list = false", true)] {
        let upstream = Upstream::hello().await;
        let builder = TestGateway::new().app("wiki", upstream.address);
        let revoked = builder.pki().device("stolen");
        let list = builder.pki().revocation_list(&[&revoked], 1, 1);
        let gateway = builder
            .device("stolen", "")
            .trust(keys)
            .file("ca.crl", &list)
            .start()
            .await;
        assert_eq!(gateway.ada().get("wiki", "/").await.status, 200);
        gateway.clock.advance(days(2));
        let code = "device-certificate-revoked";
        let answer = gateway.ada().get("wiki", "/").await;
        if permitted {
            assert_eq!(answer.status, 200);
        } else {
            assert_denied(&answer, code);
        }
        // Old revocations are better than none.
        let stolen = gateway.ada().device(&revoked);
        assert_denied(&stolen.get("wiki", "/").await, code);

        let fresh = gateway.pki().revocation_list(&[&revoked], 30, 2);
        gateway.write("ca.crl", &fresh);
        gateway.reload().await;
        assert_eq!(gateway.ada().get("wiki", "/").await.status, 200);
        let records = gateway.records().await;
        if !permitted {
            let detail = &decision_of(&records, &answer)["detail"];
            assert_eq!(detail, "revocation list is overdue");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_inventory_counts_for_the_next_request_of_an_open_connection() {
    let (gateway, _upstream) = wiki().await;
    let good = gateway.read("devices.toml");
    let mut session = gateway.ada().session("wiki").await;
    let mut session_h2 = gateway.ada().h2().session("wiki").await;
    let state =
        |state: &str| good.replace("[[device]]", &format!("[[device]]\nstate = \"{state}\""));
    let twin = format!("{good}{}", good.replace("id = \"laptop\"", "id = \"twin\""));
    let nobody = good.replace("spiffe://test/device/laptop", "spiffe://test/device/x");
    for (rows, code) in [
        (state("suspended"), Some("device-suspended")),
        (state("lost"), Some("device-suspended")),
        (state("retired"), Some("device-suspended")),
        (state("active"), None),
        (twin, Some("device-ambiguous")),
        (nobody, Some("device-unknown")),
        (good.clone(), None),
    ] {
        gateway.write("devices.toml", &rows);
        gateway.reload().await;
        for session in [&mut session, &mut session_h2] {
            let answer = session.get("/").await;
            assert_eq!(answer.denial_code().as_deref(), code, "{}", answer.text());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_server_certificate_serves_new_connections_and_drops_none() {
    let (gateway, _upstream) = wiki().await;
    let mut session = gateway.ada().session("wiki").await;
    let mut session_h2 = gateway.ada().h2().session("wiki").await;
    assert_eq!(session.get("/").await.status, 200);
    assert_eq!(session_h2.get("/").await.status, 200);
    let before = presented(&gateway.ada(), "wiki").await;

    let (chain, key) = gateway.pki().server(&["*.corp.test"], 90);
    gateway.write("server.pem", &chain);
    gateway.write("server.key", &key);
    gateway.reload().await;
    assert_eq!(session.get("/").await.status, 200);
    assert_eq!(session_h2.get("/").await.status, 200);
    let after = presented(&gateway.ada(), "wiki").await;
    assert_ne!(before, after);

    // One whose key is another's is not taken; the one in force stays.
    let (stray, _key) = gateway.pki().server(&["*.corp.test"], 90);
    gateway.write("server.pem", &stray);
    gateway.gateway().reload().await.unwrap_err();
    assert_eq!(presented(&gateway.ada(), "wiki").await, after);
    assert_eq!(session.get("/").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_authority_is_taken_up_without_dropping_a_connection() {
    let (gateway, _upstream) = wiki().await;
    let mut session = gateway.ada().session("wiki").await;
    assert_eq!(session.get("/").await.status, 200);
    let second = Arc::new(Pki::new(gateway.clock.seconds()));
    let newcomer = gateway.ada().device(&second.device("laptop"));
    assert!(is_refused(&newcomer, "wiki").await);
    let both = format!("{}{}", gateway.read("ca.pem"), second.authority_pem());
    gateway.write("ca.pem", &both);
    gateway.reload().await;
    assert_eq!(newcomer.get("wiki", "/").await.status, 200);
    assert_eq!(gateway.ada().get("wiki", "/").await.status, 200);
    assert_eq!(session.get("/").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_withdrawn_authority_vouches_for_nobody_any_more() {
    let (gateway, _upstream) = wiki().await;
    let second = Arc::new(Pki::new(gateway.clock.seconds()));
    let both = format!("{}{}", gateway.read("ca.pem"), second.authority_pem());
    gateway.write("ca.pem", &both);
    gateway.reload().await;
    let newcomer = gateway.ada().device(&second.device("laptop"));
    let mut old = gateway.ada().session("wiki").await;
    let mut old_h2 = gateway.ada().h2().session("wiki").await;
    let mut new = newcomer.session("wiki").await;
    for session in [&mut old, &mut old_h2, &mut new] {
        assert_eq!(session.get("/").await.status, 200);
    }
    gateway.write("ca.pem", &second.authority_pem());
    gateway.reload().await;
    assert!(is_refused(&gateway.ada(), "wiki").await);
    assert_eq!(newcomer.get("wiki", "/").await.status, 200);
    assert_eq!(new.get("/").await.status, 200, "its authority stays");
    for session in [&mut old, &mut old_h2] {
        assert_denied(&session.get("/").await, "device-certificate-revoked");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_name_chooses_among_server_certificates() {
    let upstream = Upstream::hello().await;
    let builder = TestGateway::new()
        .app("wiki", upstream.address)
        .app("shop", upstream.address);
    let (chain, key) = builder.pki().server(&["shop.corp.test"], 90);
    let gateway = builder
        .file("shop.pem", &chain)
        .file("shop.key", &key)
        .config("[[ingress.certificate]]\nchain = \"shop.pem\"\nkey = \"shop.key\"")
        .start()
        .await;
    assert_eq!(gateway.ada().get("wiki", "/").await.status, 200);
    assert_eq!(gateway.ada().get("shop", "/").await.status, 200);
    let wiki = presented(&gateway.ada(), "wiki").await;
    let shop = presented(&gateway.ada(), "shop").await;
    assert_ne!(wiki, shop);
    assert!(String::from_utf8_lossy(&shop).contains("shop.corp.test"));
    assert!(!String::from_utf8_lossy(&wiki).contains("shop.corp.test"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_asks_for_its_own_host_only() {
    let upstream = Upstream::hello().await;
    let gateway = TestGateway::new()
        .app("closed", upstream.address)
        .app("asking", upstream.address)
        .config(
            "[[ingress.client_certificate]]\nhosts = [\"asking.corp.test\"]\nmode = \"optional\"",
        )
        .start()
        .await;
    // Whoever was not asked for a certificate does not get to where one is required, by any spelling of the host.
    for client in [gateway.client(), gateway.client().h2()] {
        let mut session = client.session("asking").await;
        for host in [
            "closed.corp.test",
            "CLOSED.corp.test",
            "closed.corp.test.",
            "closed.corp.test:443",
        ] {
            session.set_host(host);
            let answer = session.get("/").await;
            assert_ne!(answer.status, 200);
            assert_denied(&answer, "misdirected");
        }
        session.set_host("ASKING.corp.test");
        let answer = session.get("/").await;
        assert_denied(&answer, "device-certificate-missing");
    }
    assert!(upstream.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_profile_rules_over_versions_and_groups() {
    let (gateway, _upstream) = wiki().await;
    assert_eq!(gateway.ada().get("wiki", "/").await.status, 200);
    assert_eq!(gateway.ada().tls12().get("wiki", "/").await.status, 200);
    let records = gateway.records().await;
    let seen: Vec<&Value> = decisions(&records).map(|it| &it["connection"]).collect();
    assert_eq!(seen[0]["tls_version"], "TLSv1.3");
    assert_eq!(seen[0]["key_exchange_group"], "X25519MLKEM768");
    assert_eq!(seen[1]["tls_version"], "TLSv1.2");
    assert_ne!(seen[1]["key_exchange_group"], "X25519MLKEM768");

    let upstream = Upstream::hello().await;
    let high = TestGateway::new()
        .ingress("tls_profile = \"cryptrec-high\"")
        .app("wiki", upstream.address)
        .start()
        .await;
    assert_eq!(high.ada().get("wiki", "/").await.status, 200);
    assert!(is_refused(&high.ada().tls12(), "wiki").await);
    let records = high.records().await;
    let seen: Vec<&Value> = decisions(&records).map(|it| &it["connection"]).collect();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0]["tls_version"], "TLSv1.3");
    let suite = seen[0]["cipher_suite"].as_str().unwrap();
    assert_eq!(suite, "TLS_AES_256_GCM_SHA384");
    assert_ne!(seen[0]["key_exchange_group"], "X25519MLKEM768");

    let upstream = Upstream::hello().await;
    let classic = TestGateway::new()
        .ingress("hybrid_key_exchange = false")
        .app("wiki", upstream.address)
        .start()
        .await;
    assert_eq!(classic.ada().get("wiki", "/").await.status, 200);
    let records = classic.records().await;
    let decision = decisions(&records).next().unwrap();
    assert_eq!(decision["connection"]["key_exchange_group"], "x25519");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_comes_back_has_its_rights_back() {
    let (gateway, _upstream) = wiki().await;
    let mut session = gateway.ada().session("wiki").await;
    gateway.edit("devices.toml", "[[device]]", "[[device]]\nstate = \"lost\"");
    gateway.reload().await;
    assert_denied(&session.get("/").await, "device-suspended");
    gateway.edit("devices.toml", "state = \"lost\"", "state = \"active\"");
    gateway.reload().await;
    assert_eq!(session.get("/").await.status, 200);
    gateway.clock.advance(hours(2));
    assert_denied(&session.get("/").await, "credential-expired");
}

async fn wiki() -> (TestGateway, Upstream) {
    let upstream = Upstream::hello().await;
    let gateway = TestGateway::new().app("wiki", upstream.address).start();
    (gateway.await, upstream)
}

/// No request gets through: TLS 1.3 tells a client only after its side of the handshake is over.
async fn is_refused(client: &Client, app: &str) -> bool {
    match client.try_session(app).await {
        Err(_) => true,
        Ok(mut session) => {
            let request = session.build(http::Method::GET, "/");
            let request = request.body(Default::default()).unwrap();
            session.send(request).await.is_err()
        }
    }
}

async fn presented(client: &Client, app: &str) -> Vec<u8> {
    let stream = client.stream(app).await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

fn decisions(records: &[Value]) -> impl Iterator<Item = &Value> {
    records.iter().filter(|record| record["type"] == "decision")
}

fn in_half_a_day(gateway: &TestGateway) -> i64 {
    gateway.clock.seconds() + 12 * 3600 - 60
}
