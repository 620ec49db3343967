//! What an app is told about the caller comes from the gateway alone: whatever a client says of itself in our words, or
//! in those of other proxies, is gone however it is spelled, and what we say is signed (RFC 9110 §7.6, RFC 7239).

use http::Method;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use masugata_tests::{Client, Seen, TestGateway, Upstream, assert_denied, seconds};
use serde_json::{Value, json};

const FORGED: &str = "forged";

/// Fields by which some app behind some proxy is told who asks, from where, or what for.
const CLAIMS: &[&str] = &[
    "Masugata-Assertion",
    "MASUGATA-ASSERTION",
    "masugata-assertion",
    "mAsUgAtA-aSsErTiOn",
    "Masugata-User",
    "Masugata-Anything-Else",
    "Masugata",
    "X-Masugata-User",
    "X-Masugata-Assertion",
    "Forwarded",
    "FORWARDED",
    "X-Forwarded-For",
    "x-forwarded-FOR",
    "X-Forwarded-Host",
    "X-Forwarded-Proto",
    "X-Forwarded-Port",
    "X-Forwarded-Prefix",
    "X-Forwarded-Server",
    "X-Forwarded-Scheme",
    "X-Forwarded-Ssl",
    "X-Forwarded-User",
    "X-Forwarded-Email",
    "X-Forwarded-Groups",
    "X-Forwarded-Client-Cert",
    "X-Forwarded-Tls-Client-Cert",
    "X-Real-IP",
    "X-Client-IP",
    "X-Cluster-Client-IP",
    "True-Client-IP",
    "CF-Connecting-IP",
    "Cf-Access-Jwt-Assertion",
    "Client-Cert",
    "Client-Cert-Chain",
    "X-Client-Cert",
    "X-Client-Cert-Dn",
    "X-SSL-Client-Cert",
    "X-SSL-Client-Verify",
    "SSL-Client-Cert",
    "SSL-Client-Verify",
    "X-Request-ID",
    "Remote-User",
    "Remote-Groups",
    "X-Remote-User",
    "X-Remote-Group",
    "X-Auth-Request-User",
    "X-Auth-Request-Email",
    "X-WebAuth-User",
    "X-Pomerium-Jwt-Assertion",
    "X-authentik-username",
    "X-Goog-IAP-JWT-Assertion",
    "X-Goog-Authenticated-User-Email",
    "X-Amzn-Oidc-Data",
    "X-Amzn-Mtls-Clientcert",
    "X-MS-CLIENT-PRINCIPAL",
    "X-MS-CLIENT-PRINCIPAL-NAME",
    "X-ARR-ClientCert",
    "Proxy-Authorization",
    "Proxy-Connection",
    "Proxy",
    "Keep-Alive",
    "Upgrade",
    "HTTP2-Settings",
];

async fn wiki() -> (Upstream, TestGateway) {
    let upstream = Upstream::hello().await;
    let gateway = TestGateway::new()
        .app("wiki", upstream.address)
        .start()
        .await;
    (upstream, gateway)
}

/// Every value that reached the app, with its field.
fn forged(seen: &Seen) -> Vec<String> {
    let found = seen
        .headers
        .iter()
        .filter(|(_, value)| String::from_utf8_lossy(value.as_bytes()).contains(FORGED));
    found.map(|(name, _)| name.to_string()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_claim_of_a_client_reaches_the_app_however_it_is_spelled() {
    let (upstream, gateway) = wiki().await;
    for name in CLAIMS {
        let client = gateway.ada().header(name, FORGED).header(name, FORGED);
        let answer = client.get("wiki", "/").await;
        assert_eq!(answer.status.as_u16(), 200, "{name}: {}", answer.text());
        assert_eq!(forged(&upstream.last()), Vec::<String>::new(), "{name}");
    }
    // h2 has no connection-specific fields at all, and no upper case.
    for name in CLAIMS
        .iter()
        .filter(|name| !["Upgrade", "Keep-Alive", "Proxy-Connection"].contains(name))
    {
        let client = gateway.ada().h2().header(name, FORGED);
        let answer = client.get("wiki", "/").await;
        assert_eq!(answer.status.as_u16(), 200, "{name}: {}", answer.text());
        assert_eq!(forged(&upstream.last()), Vec::<String>::new(), "{name}");
    }
}

/// CGI, WSGI and many frameworks read `Masugata_Assertion` as `Masugata-Assertion`.
#[tokio::test(flavor = "multi_thread")]
async fn twins_with_underscores_are_refused() {
    let (upstream, gateway) = wiki().await;
    for name in [
        "Masugata_Assertion",
        "masugata-_assertion",
        "X_Forwarded_For",
        "x-forwarded_for",
        "Content_Length",
        "any_thing",
    ] {
        for client in [gateway.ada(), gateway.ada().h2()] {
            let answer = client.header(name, FORGED).get("wiki", "/").await;
            assert_denied(&answer, "request-ambiguous");
            assert_eq!(answer.status.as_u16(), 400);
        }
    }
    assert_eq!(upstream.count(), 0);
}

/// `Connection` may take away what is for one hop, and nothing that we say (RFC 9110 §7.6.1).
#[tokio::test(flavor = "multi_thread")]
async fn connection_takes_away_what_it_names_but_never_ours() {
    let (upstream, gateway) = wiki().await;
    let ours = [
        "masugata-assertion",
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-forwarded-host",
        "forwarded",
        "via",
        "x-request-id",
        "host",
    ];
    for connection in [
        ours.join(", "),
        format!("{},close", ours.join(",").to_uppercase()),
        format!("keep-alive, {}", ours.join(" , ")),
    ] {
        let answer = gateway
            .ada()
            .header("connection", &connection)
            .header("connection", "x-private, cookie2")
            .header("x-private", FORGED)
            .header("cookie2", FORGED)
            .header("x-kept", "kept")
            .get("wiki", "/")
            .await;
        assert_eq!(answer.status.as_u16(), 200, "{}", answer.text());
        let seen = upstream.last();
        for name in ours {
            assert!(seen.one(name).is_some(), "{name} after `{connection}`");
        }
        assert_eq!(forged(&seen), Vec::<String>::new());
        assert_eq!(seen.one("x-kept").as_deref(), Some("kept"));
        assert!(!seen.headers.contains_key("connection"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_app_learns_who_asked_how_and_for_which_host() {
    let (upstream, gateway) = wiki().await;
    for client in [gateway.ada(), gateway.ada().h2()] {
        client.get("wiki", "/").await;
        let seen = upstream.last();
        assert_eq!(seen.one("x-forwarded-for").as_deref(), Some("127.0.0.1"));
        assert_eq!(seen.one("x-forwarded-proto").as_deref(), Some("https"));
        assert_eq!(
            seen.one("x-forwarded-host").as_deref(),
            Some("wiki.corp.test")
        );
        assert_eq!(
            seen.one("forwarded").as_deref(),
            Some("for=127.0.0.1;host=\"wiki.corp.test\";proto=https")
        );
        assert_eq!(seen.one("x-request-id").unwrap().len(), 32);
        assert!(!seen.headers.contains_key("authorization"));
    }
    let ids: Vec<_> = upstream
        .seen()
        .iter()
        .map(|seen| seen.one("x-request-id").unwrap())
        .collect();
    let records = gateway.records().await;
    for id in ids {
        let about: Vec<_> = records
            .iter()
            .filter(|record| record["request_id"] == id.as_str())
            .collect();
        assert_eq!(about.len(), 2, "{id}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trusted_forwarder_is_believed_about_the_address_and_nothing_else() {
    let upstream = Upstream::hello().await;
    let gateway = TestGateway::new()
        .app("wiki", upstream.address)
        .ingress("trusted_forwarders = [\"127.0.0.0/8\"]")
        .config("[[network]]\nname = \"abroad\"\nranges = [\"198.51.100.0/24\"]")
        .policy(
            "@id(\"home\") permit (principal, action, resource);\n\
             @id(\"abroad\") forbid (principal, action, resource) when { context.network.names.contains(\"abroad\") };",
        )
        .start()
        .await;
    let via = |address: &str| {
        gateway
            .ada()
            .header("x-forwarded-for", address)
            .header("x-forwarded-proto", "https")
            .header("masugata-assertion", FORGED)
            .header("x-forwarded-client-cert", FORGED)
            .header("x-remote-user", FORGED)
    };
    let answer = via("192.0.2.7").get("wiki", "/").await;
    assert_eq!(answer.status.as_u16(), 200, "{}", answer.text());
    let seen = upstream.last();
    assert_eq!(
        seen.one("x-forwarded-for").as_deref(),
        Some("192.0.2.7, 127.0.0.1")
    );
    assert!(
        seen.one("forwarded")
            .unwrap()
            .ends_with("for=127.0.0.1;host=\"wiki.corp.test\";proto=https")
    );
    assert_eq!(forged(&seen), Vec::<String>::new());
    assert_denied(&via("198.51.100.9").get("wiki", "/").await, "forbidden");
    // What the client put in front of its own address is not looked at, in either direction.
    assert_eq!(
        via("198.51.100.9, 192.0.2.7")
            .get("wiki", "/")
            .await
            .status
            .as_u16(),
        200
    );
    assert_denied(
        &via("192.0.2.7, 198.51.100.9").get("wiki", "/").await,
        "forbidden",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_cannot_choose_its_network() {
    let upstream = Upstream::hello().await;
    let gateway = TestGateway::new()
        .app("wiki", upstream.address)
        .config("[[network]]\nname = \"office\"\nranges = [\"192.0.2.0/24\"]")
        .policy("@id(\"office\") permit (principal, action, resource) when { context.network.names.contains(\"office\") };")
        .start()
        .await;
    for (name, value) in [
        ("x-forwarded-for", "192.0.2.7"),
        ("forwarded", "for=192.0.2.7"),
        ("x-real-ip", "192.0.2.7"),
        ("true-client-ip", "192.0.2.7"),
    ] {
        assert_denied(
            &gateway.ada().header(name, value).get("wiki", "/").await,
            "no-permit",
        );
    }
}

async fn published(client: &Client, app: &str) -> JwkSet {
    let answer = client.get(app, "/.well-known/masugata/jwks.json").await;
    assert_eq!(answer.status.as_u16(), 200);
    assert!(answer.header("content-type").unwrap().contains("json"));
    serde_json::from_slice(&answer.body).unwrap()
}

/// As an app would: by the published keys, its own name as audience, no leeway worth the name.
fn verified(keys: &JwkSet, assertion: &str, audience: &str) -> Value {
    let header = jsonwebtoken::decode_header(assertion).unwrap();
    assert_eq!(header.alg, Algorithm::ES256);
    let key = keys
        .find(&header.kid.unwrap())
        .expect("the key is published");
    let mut rules = Validation::new(Algorithm::ES256);
    rules.set_audience(&[audience]);
    rules.set_issuer(&["masugata"]);
    rules.set_required_spec_claims(&["exp", "nbf", "aud", "iss", "sub"]);
    rules.validate_nbf = true;
    // The tests' clock is moved by hand.
    rules.validate_exp = false;
    rules.validate_nbf = false;
    jsonwebtoken::decode::<Value>(assertion, &DecodingKey::from_jwk(key).unwrap(), &rules)
        .unwrap()
        .claims
}

#[tokio::test(flavor = "multi_thread")]
async fn the_assertion_is_signed_for_one_app_and_says_who_asked_on_which_device() {
    let (wiki, files) = (Upstream::hello().await, Upstream::hello().await);
    let gateway = TestGateway::new()
        .app("wiki", wiki.address)
        .app_with(
            "files",
            "confidential",
            files.address,
            "audience = \"https://files.internal\"",
        )
        .start()
        .await;
    let token = gateway
        .token("ada")
        .claim("acr", "gold")
        .claim("roles", json!(["editor"]))
        .sign();
    let ada = gateway.ada().token(token);
    // Whoever wants the keys needs no credential, only a connection.
    let keys = published(&gateway.client().device(&gateway.device("laptop")), "wiki").await;
    assert_eq!(keys.keys.len(), 1);
    let now = gateway.clock.seconds();
    ada.get("wiki", "/").await;
    ada.h2().request("files", Method::POST, "/", "x").await;
    let said = verified(
        &keys,
        &wiki.last().one("masugata-assertion").unwrap(),
        "wiki",
    );
    assert_eq!(said["sub"], "corp/ada");
    assert_eq!(said["name"], "ada");
    assert_eq!(said["principal_kind"], "user");
    assert_eq!(said["groups"], json!(["employees"]));
    assert_eq!(said["roles"], json!(["editor"]));
    assert_eq!(said["level"], "internal");
    assert_eq!(said["acr"], "gold");
    assert_eq!(said["amr"], json!(["otp", "pwd"]));
    assert_eq!(said["auth_time"], now);
    assert_eq!(
        said["device"],
        json!({ "id": "laptop", "kind": "laptop", "ownership": "company" })
    );
    let (issued, expires) = (said["iat"].as_i64().unwrap(), said["exp"].as_i64().unwrap());
    assert!((now..=now + 5).contains(&issued), "{said}");
    assert!(expires > issued && expires - issued <= 60, "{said}");
    assert!(said["nbf"].as_i64().unwrap() <= issued);
    let other = files.last().one("masugata-assertion").unwrap();
    let said = verified(&keys, &other, "https://files.internal");
    assert_eq!(said["level"], "confidential");
}

/// An app is never handed one that has less than a moment to live, and never one of another person.
#[tokio::test(flavor = "multi_thread")]
async fn assertions_are_renewed_in_time_and_never_outlive_the_token() {
    let (upstream, gateway) = wiki().await;
    let keys = published(&gateway.ada(), "wiki").await;
    let token = gateway
        .token("ada")
        .claim("exp", gateway.clock.seconds() + 70)
        .sign();
    let ada = gateway.ada().token(token);
    let mut last_expiry = 0;
    for step in 0..6 {
        let answer = ada.get("wiki", "/").await;
        assert_eq!(
            answer.status.as_u16(),
            200,
            "step {step}: {}",
            answer.text()
        );
        let said = verified(
            &keys,
            &upstream.last().one("masugata-assertion").unwrap(),
            "wiki",
        );
        let (now, expires) = (gateway.clock.seconds(), said["exp"].as_i64().unwrap());
        assert!(expires > now, "step {step}");
        assert!(expires <= now + 60, "step {step}");
        last_expiry = expires;
        gateway.clock.advance(seconds(10));
    }
    assert!(last_expiry <= gateway.clock.seconds() + 40);
    gateway
        .ada()
        .token(gateway.token("ben").sign())
        .get("wiki", "/")
        .await;
    let said = verified(
        &keys,
        &upstream.last().one("masugata-assertion").unwrap(),
        "wiki",
    );
    assert_eq!(said["sub"], "corp/ben");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_survive_a_reload_so_that_apps_need_not_ask_again() {
    let (upstream, gateway) = wiki().await;
    let keys = published(&gateway.ada(), "wiki").await;
    gateway.gateway().reload().await.unwrap();
    gateway.ada().get("wiki", "/").await;
    verified(
        &keys,
        &upstream.last().one("masugata-assertion").unwrap(),
        "wiki",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_itself_is_forwarded_only_where_that_is_written() {
    let (kept, given) = (Upstream::hello().await, Upstream::hello().await);
    let gateway = TestGateway::new()
        .app("kept", kept.address)
        .app_with(
            "given",
            "internal",
            given.address,
            "forward_authorization = true",
        )
        .start()
        .await;
    gateway.ada().get("kept", "/").await;
    gateway.ada().get("given", "/").await;
    assert!(!kept.last().headers.contains_key("authorization"));
    assert!(
        given
            .last()
            .one("authorization")
            .unwrap()
            .starts_with("Bearer ")
    );
}

// RFC 9110 §7.6.3
#[tokio::test(flavor = "multi_thread")]
async fn via_names_us_on_both_ways_by_a_pseudonym() {
    let (upstream, gateway) = wiki().await;
    for (client, version) in [(gateway.ada(), "1.1"), (gateway.ada().h2(), "2.0")] {
        let answer = client
            .header("via", "1.0 fred, 1.1 p.example")
            .get("wiki", "/")
            .await;
        let asked = upstream.last().one("via").unwrap();
        let (others, ours) = asked.rsplit_once(", ").unwrap();
        assert_eq!(others, "1.0 fred, 1.1 p.example");
        assert!(ours.starts_with(&format!("{version} masugata-")), "{asked}");
        let back = answer.header("via").unwrap();
        assert!(back.starts_with("1.1 masugata-"), "{back}");
        assert!(!back.contains("127.0.0.1") && !back.contains("corp.test"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_was_here_before_is_refused() {
    let (upstream, gateway) = wiki().await;
    let pseudonym = gateway.ada().get("wiki", "/").await.header("via").unwrap()[4..].to_owned();
    assert_eq!(upstream.count(), 1);
    for via in [
        format!("1.1 {pseudonym}"),
        format!("HTTP/1.1 {pseudonym} (comment)"),
        format!("1.0 fred, 2.0 {pseudonym}, 1.1 other"),
        format!("1.1 {}", pseudonym.to_uppercase()),
    ] {
        let answer = gateway.ada().header("via", &via).get("wiki", "/").await;
        assert_denied(&answer, "loop-detected");
        assert_eq!(answer.status.as_u16(), 508);
        assert!(
            answer
                .header("proxy-status")
                .unwrap()
                .contains("proxy_loop_detected"),
            "{answer:?}"
        );
    }
    assert_eq!(upstream.count(), 1);
    // Another of our kind in front is no loop.
    let other = gateway
        .ada()
        .header("via", "1.1 masugata-0123456789abcdef")
        .get("wiki", "/")
        .await;
    assert_eq!(other.status.as_u16(), 200);
}

/// Configured to forward to itself, it says so after one round and does not run in circles.
#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_is_its_own_upstream_notices() {
    let builder = TestGateway::new().raw_app(
        "name = \"loop\"\nlevel = \"internal\"\nhosts = [\"loop.corp.test\"]\nforward_authorization = true\n\
         upstream.servers = [\"https://127.0.0.1:1\"]\nupstream.tls.authority = \"ca.pem\"\n\
         upstream.tls.server_name = \"loop.corp.test\"\n\
         upstream.tls.client_certificate = { chain = \"laptop.pem\", key = \"laptop.key\" }",
    );
    let laptop = builder.pki().device("laptop");
    std::fs::write(
        builder.directory().join("laptop.pem"),
        &laptop.certificate_pem,
    )
    .unwrap();
    std::fs::write(builder.directory().join("laptop.key"), &laptop.key_pem).unwrap();
    let gateway = builder.start().await;
    let config = gateway.read("masugata.toml");
    let own = format!("https://{}", gateway.address());
    gateway.write(
        "masugata.toml",
        &config.replace("https://127.0.0.1:1", &own),
    );
    gateway.gateway().reload().await.unwrap();
    for client in [gateway.ada(), gateway.ada().h2()] {
        let answer = client.get("loop", "/").await;
        assert_denied(&answer, "loop-detected");
        assert_eq!(answer.status.as_u16(), 508);
    }
    let records = gateway.records().await;
    let decisions = records
        .iter()
        .filter(|record| record["type"] == "decision")
        .count();
    assert_eq!(decisions, 4);
}

/// Cookies of ours are not for apps; those of apps pass.
#[tokio::test(flavor = "multi_thread")]
async fn our_own_cookies_stay_here() {
    let (upstream, gateway) = wiki().await;
    let cookie = "a=1; __Host-Masugata=secret; b=2; __SECURE-masugata-x=secret";
    gateway
        .ada()
        .header("cookie", cookie)
        .get("wiki", "/")
        .await;
    assert_eq!(upstream.last().one("cookie").as_deref(), Some("a=1; b=2"));
}
