//! The second door: who comes in, with which credentials, and what it says to whoever asks for something else.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use masugata::egress::password::{PasswordKey, Sealed};
use masugata_policy::{Authentication, Principal, PrincipalKind, Timestamp};
use masugata_tests::{
    ProxyClient, TestGateway, TestGatewayBuilder, Upstream, assert_denied, decision_of, eventually,
    hours, minutes, within_reason,
};
use secrecy::ExposeSecret as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const SITE: &str = "site.example:80";

fn door() -> TestGatewayBuilder {
    TestGateway::new()
        .device("kiosk", "owner = \"\"")
        .egress("")
}

/// A site, and a door that leads to it.
async fn open() -> (TestGateway, Upstream) {
    let site = Upstream::hello().await;
    let gateway = door().origin("site.example", site.address).start().await;
    (gateway, site)
}

/// Over both protocols.
fn both(client: &ProxyClient) -> [ProxyClient; 2] {
    [client.clone(), client.clone().h2()]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_is_opened_over_http1_and_over_http2() {
    let (gateway, site) = open().await;
    for client in both(&gateway.proxy()) {
        let tunnel = client.connect(SITE).await.unwrap();
        assert_eq!(tunnel.status, StatusCode::OK);
        let answer = tunnel.http_get("site.example").await;
        assert!(answer.ends_with("hello"), "{answer}");
    }
    assert_eq!(site.count(), 2);
    gateway.completions(2).await;
    let records = gateway.records().await;
    let decisions: Vec<_> = records
        .iter()
        .filter(|record| record["type"] == "decision")
        .collect();
    assert_eq!(decisions.len(), 2);
    for decision in decisions {
        assert_eq!(decision["door"], "egress");
        assert_eq!(decision["decision"], "permitted", "{decision}");
        assert_eq!(decision["destination"]["host"], "site.example");
        assert_eq!(decision["destination"]["port"], 80);
        assert_eq!(decision["destination"]["kind"], "tunnel");
        let addresses = &decision["destination"]["addresses"];
        assert_eq!(addresses[0], site.address.to_string(), "{decision}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_goes_through_as_it_is() {
    let gateway = door();
    let config = gateway
        .pki()
        .server_config(&["site.corp.test"], &[b"http/1.1"], false);
    let site = Upstream::tls(config, |_request| async { Upstream::text("sealed") }).await;
    let gateway = gateway.origin("site.corp.test", site.address).start().await;
    for client in both(&gateway.proxy()) {
        let tunnel = client.connect("site.corp.test:443").await.unwrap();
        let mut tls = tunnel
            .tls("site.corp.test", gateway.pki().root())
            .await
            .unwrap();
        tls.write_all(b"GET / HTTP/1.1\r\nhost: site.corp.test\r\nconnection: close\r\n\r\n")
            .await
            .unwrap();
        let mut answer = String::new();
        tls.read_to_string(&mut answer).await.unwrap();
        assert!(answer.ends_with("sealed"), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_without_certificate_gets_no_connection() {
    let (gateway, site) = open().await;
    for client in both(&gateway.stranger()) {
        let refused = async {
            // In TLS 1.3 the refusal comes after the client's side of the handshake.
            let mut stream = client.stream().await?;
            stream
                .write_all(b"CONNECT site.example:80 HTTP/1.1\r\nhost: site.example:80\r\n\r\n")
                .await?;
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await?;
            std::io::Result::Ok(answer)
        };
        let error = within_reason("a refusal", refused).await.unwrap_err();
        assert!(error.to_string().contains("CertificateRequired"), "{error}");
    }
    assert_eq!(site.count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_is_known_by_the_certificate_alone() {
    let (gateway, _site) = open().await;
    gateway.proxy().connect(SITE).await.unwrap();
    gateway.completions(1).await;
    let records = gateway.records().await;
    let decision = records
        .iter()
        .find(|record| record["type"] == "decision")
        .unwrap();
    assert_eq!(decision["principal"]["id"], "corp/ada", "{decision}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_without_owner_is_asked_for_credentials_with_407() {
    let (gateway, site) = open().await;
    let kiosk = gateway.stranger().device(&gateway.device("kiosk"));
    for client in both(&kiosk) {
        let answer = client.refused(SITE).await;
        assert_eq!(answer.status, StatusCode::PROXY_AUTHENTICATION_REQUIRED);
        assert_denied(&answer, "credential-missing");
        assert_eq!(
            answer.header("proxy-authenticate"),
            Some("Bearer realm=\"masugata\"")
        );
        assert_eq!(answer.header("www-authenticate"), None);
        let plain = client.get("http://site.example/").await;
        assert_eq!(plain.status, StatusCode::PROXY_AUTHENTICATION_REQUIRED);
    }
    assert_eq!(site.count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bearer_token_in_proxy_authorization_counts_and_in_authorization_does_not() {
    let (gateway, _site) = open().await;
    let kiosk = gateway.stranger().device(&gateway.device("kiosk"));
    let token = gateway.token("bob").sign();
    for client in both(&kiosk) {
        client.clone().token(&token).connect(SITE).await.unwrap();
        let elsewhere = client.header("authorization", &format!("Bearer {token}"));
        assert_denied(&elsewhere.refused(SITE).await, "credential-missing");
    }
    // Somebody else's certificate does not make up for a bad token.
    let bad = gateway.proxy().token("garbage");
    let answer = bad.refused(SITE).await;
    assert_denied(&answer, "credential-invalid");
    assert_eq!(answer.status, StatusCode::PROXY_AUTHENTICATION_REQUIRED);
    let challenge = answer.header("proxy-authenticate").unwrap();
    assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
}

/// With a key for passwords.
async fn open_with_passwords(more: &str) -> (TestGateway, Upstream) {
    let site = Upstream::hello().await;
    let gateway = TestGateway::new()
        .device("kiosk", "owner = \"\"")
        .device("tablet", "owner = \"\"")
        .egress("password_key = \"password.key\"")
        .file("password.key", &STANDARD.encode([7; 32]))
        .origin("site.example", site.address)
        .config(more)
        .start()
        .await;
    (gateway, site)
}

/// What `masugata proxy-password` would print for `bob` on a device.
fn password(gateway: &TestGateway, device: &str, lifetime: Duration) -> String {
    let key = PasswordKey::read(&gateway.path("password.key")).unwrap();
    let bob = Principal::new(
        PrincipalKind::User,
        "corp/bob",
        "corp",
        None,
        ["employees"],
        [""; 0],
    );
    let proved = Authentication::new(false, false, None, ["pop"], None, true);
    let now = Timestamp::from_seconds(gateway.clock.seconds());
    let thumbprint = gateway.device(device).thumbprint;
    let sealed = Sealed::new(&bob, &proved, &thumbprint, now, now.plus(lifetime)).unwrap();
    key.seal(&sealed).expose_secret().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_counts_on_the_device_it_was_made_for() {
    let (gateway, _site) = open_with_passwords("").await;
    let password = password(&gateway, "kiosk", hours(8));
    let kiosk = gateway.stranger().device(&gateway.device("kiosk"));
    for client in both(&kiosk) {
        let client = client.password("whoever", &password);
        client.connect(SITE).await.unwrap();
    }
    let missing = kiosk.refused(SITE).await;
    let challenges: Vec<_> = missing
        .headers
        .get_all("proxy-authenticate")
        .iter()
        .collect();
    assert_eq!(
        challenges,
        [
            "Bearer realm=\"masugata\"",
            "Basic realm=\"masugata\", charset=\"UTF-8\""
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_of_another_device_is_refused() {
    let (gateway, _site) = open_with_passwords("").await;
    let password = password(&gateway, "kiosk", hours(8));
    let tablet = gateway.stranger().device(&gateway.device("tablet"));
    let answer = tablet.password("bob", &password).refused(SITE).await;
    assert_denied(&answer, "credential-not-bound");
    assert_eq!(answer.status, StatusCode::PROXY_AUTHENTICATION_REQUIRED);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_password_is_refused_with_407() {
    let (gateway, _site) = open_with_passwords("").await;
    let password = password(&gateway, "kiosk", minutes(5));
    let kiosk = gateway.stranger().device(&gateway.device("kiosk"));
    let client = kiosk.password("bob", &password);
    client.connect(SITE).await.unwrap();
    gateway.clock.advance(minutes(5));
    let answer = client.refused(SITE).await;
    assert_denied(&answer, "credential-expired");
    assert_eq!(answer.status, StatusCode::PROXY_AUTHENTICATION_REQUIRED);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_counts_towards_the_lockout() {
    let rules = "[lockout]\nfree_failures = 0\nlock_after = 2\nlock = \"5m\"";
    let (gateway, _site) = open_with_passwords(rules).await;
    let kiosk = gateway.stranger().device(&gateway.device("kiosk"));
    let guess = kiosk.clone().password("bob", "guess");
    assert_denied(&guess.refused(SITE).await, "credential-malformed");
    gateway.clock.advance(minutes(1));
    assert_denied(&guess.refused(SITE).await, "credential-malformed");
    let locked = guess.refused(SITE).await;
    assert_denied(&locked, "locked-out");
    // The lock holds up guesses, tokens too, and not what nobody can guess.
    let token = gateway.token("bob").sign();
    let token = kiosk.clone().token(token).refused(SITE).await;
    assert_denied(&token, "locked-out");
    let good = password(&gateway, "kiosk", hours(1));
    kiosk.password("bob", &good).connect(SITE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn proxy_authorization_never_reaches_the_origin_and_authorization_does() {
    let (gateway, site) = open().await;
    let client = gateway
        .proxy()
        .token(gateway.token("ada").sign())
        .header("authorization", "Bearer for-the-site");
    for client in both(&client) {
        let answer = client.get("http://site.example/x?y").await;
        assert_eq!(answer.text(), "hello");
        let seen = site.last();
        assert_eq!(
            seen.one("authorization").as_deref(),
            Some("Bearer for-the-site")
        );
        assert_eq!(seen.all("proxy-authorization"), [""; 0]);
        assert_eq!(seen.one("host").as_deref(), Some("site.example"));
        assert_eq!(seen.uri, "/x?y");
        for ours in [
            "masugata-assertion",
            "x-forwarded-for",
            "forwarded",
            "x-request-id",
        ] {
            assert_eq!(seen.all(ours), [""; 0], "{ours}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_form_request_is_told_that_this_is_a_proxy() {
    let (gateway, site) = open().await;
    let answer = gateway
        .proxy()
        .raw(b"GET / HTTP/1.1\r\nhost: site.example\r\naccept: application/json\r\n\r\n")
        .await;
    assert_eq!(answer.status(), Some(400), "{}", answer.text());
    assert_eq!(answer.code().as_deref(), Some("request-malformed"));
    let over_http2 = gateway.proxy().h2().get("https://site.example/").await;
    assert_denied(&over_http2, "request-malformed");
    assert_eq!(site.count(), 0);
    let records = gateway.records().await;
    let details = records
        .iter()
        .filter_map(|record| record["detail"].as_str());
    assert_eq!(
        details
            .filter(|detail| detail.contains("this is a proxy"))
            .count(),
        2,
        "{records:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn connect_without_port_is_malformed() {
    let (gateway, site) = open().await;
    for target in [
        "site.example",
        "site.example:0",
        "site.example:99999",
        ":80",
    ] {
        let request = format!("CONNECT {target} HTTP/1.1\r\nhost: {target}\r\n\r\n");
        let answer = gateway.proxy().raw(request.as_bytes()).await;
        assert_eq!(answer.status(), Some(400), "{target}: {}", answer.text());
    }
    assert_eq!(site.count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_nobody_opened_is_refused() {
    let (gateway, site) = open().await;
    for client in both(&gateway.proxy()) {
        for target in ["site.example:25", "site.example:22", "site.example:8080"] {
            assert_denied(&client.refused(target).await, "destination-port-refused");
        }
    }
    assert_eq!(site.count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn extended_connect_is_refused() {
    let (gateway, site) = open().await;
    let session = gateway.proxy().h2().session().await;
    assert!(
        session.extended_connect("site.example").await.is_err(),
        "the setting is not offered, so the client does not even ask"
    );
    assert_eq!(site.count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn misdirected_is_never_said_here() {
    let (gateway, _site) = open().await;
    // The connection is for `proxy.corp.test`, everything on it is for somebody else.
    for client in both(&gateway.proxy()) {
        let session = client.session().await;
        for host in ["site.example", "wiki.corp.test", "nowhere.example"] {
            let answer = session
                .send(http::Method::GET, &format!("http://{host}/"), "")
                .await;
            assert_ne!(answer.status, StatusCode::MISDIRECTED_REQUEST);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn early_client_bytes_wait_for_the_decision() {
    let (gateway, site) = open().await;
    let early = b"CONNECT site.example:80 HTTP/1.1\r\nhost: site.example:80\r\n\r\n\
                  GET /early HTTP/1.1\r\nhost: site.example\r\nconnection: close\r\n\r\n";
    let answer = gateway.proxy().raw(early).await;
    assert!(
        answer.text().starts_with("HTTP/1.1 200"),
        "{}",
        answer.text()
    );
    assert!(answer.text().ends_with("hello"), "{}", answer.text());
    assert_eq!(site.last().uri, "/early");

    // Refused, what follows is another request to the proxy, or nothing.
    let refused = b"CONNECT site.example:25 HTTP/1.1\r\nhost: site.example:25\r\n\r\n\
                    GET /early HTTP/1.1\r\nhost: site.example\r\nconnection: close\r\n\r\n";
    let answer = gateway.proxy().raw(refused).await;
    assert!(
        answer.text().starts_with("HTTP/1.1 403"),
        "{}",
        answer.text()
    );
    assert_eq!(site.count(), 1, "nothing of it reached the site");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_on_record_with_its_destination() {
    let gateway = door()
        .policy("@id(\"apps\") permit (principal, action, resource is Masugata::App);")
        .start()
        .await;
    let answer = gateway.proxy().refused("Box.Example.:443").await;
    assert_denied(&answer, "no-permit");
    let records = gateway.records().await;
    let decision = decision_of(&records, &answer);
    assert_eq!(decision["door"], "egress");
    assert_eq!(decision["destination"]["host"], "box.example");
    assert_eq!(decision["destination"]["domain"], "box.example");
    assert_eq!(decision["device"]["id"], "laptop");
    assert!(
        decision["destination"].get("addresses").is_none(),
        "not resolved"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_device_loses_its_tunnels() {
    let site = Upstream::websocket_echo().await;
    let gateway = door()
        .egress("recheck = \"1s\"")
        .origin("site.example", site.address)
        .start()
        .await;
    for client in both(&gateway.proxy()) {
        let mut tunnel = client.connect(SITE).await.unwrap();
        gateway.edit(
            "devices.toml",
            "id = \"laptop\"",
            "id = \"laptop\"\nstate = \"lost\"",
        );
        gateway.reload().await;
        within_reason("the cut", tunnel.ended()).await;
        gateway.edit("devices.toml", "\nstate = \"lost\"", "");
        gateway.reload().await;
    }
    eventually("both cuts on record", async || {
        let records = gateway.records_so_far();
        let cut = records.iter().filter(|record| {
            record["type"] == "completion" && record["cause"] == "device-suspended"
        });
        cut.count() == 2
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_is_not_enrolled_is_unknown_here_too() {
    let (gateway, _site) = open().await;
    let foreign = gateway.stranger().device(&gateway.device("somebody"));
    assert_denied(&foreign.refused(SITE).await, "device-unknown");
}

/// What the record says of the end of the only tunnel.
async fn cause(gateway: &TestGateway) -> String {
    let completions = gateway.completions(1).await;
    completions[0]["cause"].as_str().unwrap_or_default().into()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_for_one_host_does_not_carry_a_handshake_with_another() {
    for http2 in [false, true] {
        let gateway = door();
        let config = gateway
            .pki()
            .server_config(&["other.corp.test"], &[b"http/1.1"], false);
        let site = Upstream::tls(config, |_request| async { Upstream::text("sealed") }).await;
        let gateway = gateway.origin("site.corp.test", site.address).start().await;
        let client = both(&gateway.proxy())[usize::from(http2)].clone();
        let tunnel = client.connect("site.corp.test:443").await.unwrap();
        let root = gateway.pki().root();
        assert!(tunnel.tls("other.corp.test", root).await.is_err());
        assert_eq!(cause(&gateway).await, "sni-mismatch");
        assert_eq!(site.count(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_text_on_the_port_of_tls_is_cut() {
    for http2 in [false, true] {
        let (gateway, site) = open().await;
        let client = both(&gateway.proxy())[usize::from(http2)].clone();
        let mut tunnel = client.connect("site.example:443").await.unwrap();
        tunnel
            .write_all(b"GET / HTTP/1.1\r\nhost: site.example\r\n\r\n")
            .await
            .unwrap();
        within_reason("the cut", tunnel.ended()).await;
        assert_eq!(cause(&gateway).await, "tunnel-not-tls");
        assert_eq!(site.count(), 0, "not one byte of it reached the site");
    }
}
