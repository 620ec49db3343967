//! The user: which tokens count, on which certificate, for which app, and for how long.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use masugata_tests::{Client, TestGateway, TokenIssuer, Upstream, assert_denied, hours, minutes};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn each_class_of_bad_token_has_its_code() {
    let upstream = Upstream::hello().await;
    let gateway = TestGateway::new()
        .app("wiki", upstream.address)
        .config("[lockout]\nfree_failures = 99\nlock_after = 100")
        .start()
        .await;
    let now = gateway.clock.seconds();
    let good = || gateway.token("ada");
    let impostor = TokenIssuer::new("https://idp.test", "masugata", "key-1");
    let secret = gateway.issuer.jwks().to_string();
    let mut tampered = good().sign();
    tampered.replace_range(40..41, if &tampered[40..41] == "A" { "B" } else { "A" });
    let (head, _signature) = tampered.rsplit_once('.').unwrap();
    let unsigned = format!("{head}.");
    let none = jws(
        &json!({ "alg": "none", "typ": "at+jwt" }),
        &claims(now),
        b"",
    );
    let hmac = jws(
        &json!({ "alg": "HS256", "typ": "at+jwt", "kid": "key-1" }),
        &claims(now),
        hmac_sha256(secret.as_bytes(), &claims(now)).as_slice(),
    );
    let invalid = "credential-invalid";
    let expired = "credential-expired";
    for (what, token, code) in [
        ("garbage", "garbage".into(), invalid),
        ("three empty parts", "..".into(), invalid),
        ("an encrypted token", "e30.a.b.c.d".into(), invalid),
        ("alg none", none, invalid),
        ("alg confusion with the public key", hmac, invalid),
        ("tampered claims", tampered, invalid),
        ("no signature", unsigned, invalid),
        (
            "another's signature under our key's name",
            impostor.token("ada", &["employees"], now).sign(),
            invalid,
        ),
        (
            "an unknown key",
            good().header("kid", "key-9").sign(),
            invalid,
        ),
        (
            "an embedded key",
            good().header("jwk", json!({})).header("kid", "mine").sign(),
            invalid,
        ),
        (
            "another algorithm's name",
            good().header("alg", "ES384").sign(),
            invalid,
        ),
        (
            "an extension",
            good()
                .header("crit", json!(["b64"]))
                .header("b64", false)
                .sign(),
            invalid,
        ),
        (
            "an ID token's type",
            good().header("typ", "JWT").sign(),
            invalid,
        ),
        (
            "another issuer",
            good().claim("iss", "https://evil.test").sign(),
            invalid,
        ),
        (
            "nearly our issuer",
            good().claim("iss", "https://idp.test/").sign(),
            invalid,
        ),
        (
            "another audience",
            good().claim("aud", "mail").sign(),
            invalid,
        ),
        ("no audience", good().without("aud").sign(), invalid),
        ("nobody", good().without("sub").sign(), invalid),
        ("without end", good().without("exp").sign(), invalid),
        ("without beginning", good().without("iat").sign(), invalid),
        (
            "an end in words",
            good().claim("exp", "tomorrow").sign(),
            invalid,
        ),
        (
            "too long a life",
            good().claim("exp", now + 13 * 3600).sign(),
            invalid,
        ),
        (
            "a sign-in of tomorrow",
            good().claim("auth_time", now + 86_400).sign(),
            invalid,
        ),
        (
            "over",
            good()
                .claim("iat", now - 7200)
                .claim("exp", now - 3600)
                .sign(),
            expired,
        ),
        (
            "over by more than the leeway",
            good()
                .claim("iat", now - 3600)
                .claim("exp", now - 30)
                .sign(),
            expired,
        ),
        ("not yet", good().claim("nbf", now + 600).sign(), expired),
        (
            "issued tomorrow",
            good().claim("iat", now + 600).sign(),
            expired,
        ),
        (
            "bound by another method",
            good().claim("cnf", json!({ "jkt": "x" })).sign(),
            "credential-not-bound",
        ),
        (
            "bound to nothing",
            good().claim("cnf", json!({})).sign(),
            "credential-not-bound",
        ),
        (
            "without any end of its own",
            "x".repeat(17 * 1024),
            "credential-malformed",
        ),
    ] {
        let client = on_laptop(&gateway).token(&*token);
        let answer = client.get("wiki", "/").await;
        assert_eq!(
            answer.denial_code().as_deref(),
            Some(code),
            "{what}: {}",
            answer.text()
        );
        // The second time from memory, and no better.
        let answer = client.h2().get("wiki", "/").await;
        assert_eq!(answer.denial_code().as_deref(), Some(code), "{what}, again");
    }
    assert!(upstream.seen().is_empty());
    assert_eq!(gateway.ada().get("wiki", "/").await.status, 200);
    gateway.records().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn exactly_one_bearer_token_is_expected() {
    let (gateway, upstream) = wiki().await;
    let token = gateway.token("ada").sign();
    for value in [
        "Basic YWRhOmFkYQ==",
        "Bearer",
        "Bearer ",
        "DPoP x",
        "",
        "Bearer a b",
    ] {
        let client = on_laptop(&gateway).header("authorization", value);
        let answer = client.get("wiki", "/").await;
        assert_ne!(answer.status, 200, "`{value}`");
        let code = answer.denial_code().unwrap();
        assert!(
            ["credential-malformed", "credential-invalid"].contains(&code.as_str()),
            "`{value}`: {code}"
        );
    }
    let twice = on_laptop(&gateway)
        .token(&*token)
        .header("authorization", &format!("Bearer {token}"));
    assert_denied(&twice.get("wiki", "/").await, "credential-malformed");
    assert_denied(&twice.h2().get("wiki", "/").await, "credential-malformed");
    // Neither the query nor a cookie is a place for a token.
    let elsewhere = on_laptop(&gateway).header("cookie", &format!("access_token={token}"));
    let path = format!("/?access_token={token}");
    assert_denied(&elsewhere.get("wiki", &path).await, "credential-missing");
    assert!(upstream.seen().is_empty());
    // The scheme's name has no case (RFC 9110 §11.1).
    let lower = on_laptop(&gateway).header("authorization", &format!("bearer {token}"));
    assert_eq!(lower.get("wiki", "/").await.status, 200);
    assert!(!upstream.last().headers.contains_key("authorization"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_remembered_token_is_dropped_by_a_key_rotation() {
    let (gateway, _upstream) = wiki().await;
    let mut session = gateway.ada().session("wiki").await;
    assert_eq!(session.get("/").await.status, 200);
    assert_eq!(session.get("/").await.status, 200);
    let next = TokenIssuer::new("https://idp.test", "masugata", "key-2");
    let both: Vec<Value> = [&gateway.issuer, &next]
        .iter()
        .map(|issuer| issuer.jwks()["keys"][0].clone())
        .collect();
    gateway.write("jwks.json", &json!({ "keys": both }).to_string());
    gateway.reload().await;
    assert_eq!(
        session.get("/").await.status,
        200,
        "both keys are published"
    );
    gateway.write("jwks.json", &next.jwks().to_string());
    gateway.reload().await;
    assert_denied(&session.get("/").await, "credential-invalid");
    let token = next.token("ada", &["employees"], gateway.clock.seconds());
    session.set_token(token.sign());
    assert_eq!(session.get("/").await.status, 200);
    // The same name for another key does not bring the old token back.
    let twin = TokenIssuer::new("https://idp.test", "masugata", "key-1");
    gateway.write("jwks.json", &twin.jwks().to_string());
    gateway.reload().await;
    assert_denied(&session.get("/").await, "credential-invalid");
    assert_denied(&gateway.ada().get("wiki", "/").await, "credential-invalid");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_remembered_token_is_weighed_by_the_configuration_in_force() {
    let (gateway, _upstream) = wiki().await;
    let mut session = gateway.ada().session("wiki").await;
    assert_eq!(session.get("/").await.status, 200);
    gateway.edit(
        "masugata.toml",
        "audiences = [\"masugata\"]",
        "audiences = [\"other\"]",
    );
    gateway.reload().await;
    assert_denied(&session.get("/").await, "credential-invalid");
    gateway.edit(
        "masugata.toml",
        "audiences = [\"other\"]",
        "audiences = [\"masugata\"]",
    );
    gateway.reload().await;
    assert_eq!(session.get("/").await.status, 200);
    gateway.edit(
        "masugata.toml",
        "issuer = \"https://idp.test\"",
        "issuer = \"https://new.test\"",
    );
    gateway.reload().await;
    assert_denied(&session.get("/").await, "credential-invalid");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_remembered_token_ends_when_it_says() {
    let (gateway, _upstream) = wiki().await;
    let mut session = gateway.ada().session("wiki").await;
    assert_eq!(session.get("/").await.status, 200);
    gateway.clock.advance(hours(1));
    assert_eq!(session.get("/").await.status, 200, "within the leeway");
    gateway.clock.advance(minutes(1));
    assert_denied(&session.get("/").await, "credential-expired");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bound_token_counts_on_its_certificate_only() {
    let upstream = Upstream::hello().await;
    let gateway = TestGateway::new()
        .device("phone", "")
        .app("wiki", upstream.address)
        .app_with(
            "vault",
            "internal",
            upstream.address,
            "require.certificate_bound = true",
        )
        .start()
        .await;
    let laptop = gateway.device("laptop");
    let bound = gateway.token("ada").bound_to(&laptop.thumbprint).sign();
    let rightful = on_laptop(&gateway).token(&*bound);
    let thief = gateway
        .client()
        .device(&gateway.device("phone"))
        .token(&*bound);
    for app in ["wiki", "vault"] {
        assert_eq!(rightful.get(app, "/").await.status, 200);
        assert_denied(&thief.get(app, "/").await, "credential-not-bound");
        // What is remembered for one certificate does not count on another.
        assert_eq!(rightful.get(app, "/").await.status, 200);
        assert_denied(&thief.get(app, "/").await, "credential-not-bound");
    }
    // A renewed certificate of the same device is another certificate.
    let renewed = gateway
        .client()
        .device(&gateway.pki().issue("laptop", 30))
        .token(&*bound);
    assert_denied(&renewed.get("wiki", "/").await, "credential-not-bound");
    // The app demands what the token does not have.
    assert_eq!(gateway.ada().get("wiki", "/").await.status, 200);
    assert_denied(
        &gateway.ada().get("vault", "/").await,
        "credential-not-bound",
    );
    let records = gateway.records().await;
    assert!(
        records
            .iter()
            .any(|it| it["authentication"]["certificate_bound"] == true)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn assurance_is_demanded_by_app_and_the_challenge_says_how() {
    let upstream = Upstream::hello().await;
    let gateway = TestGateway::new()
        .issuer_keys("acr_multi_factor = [\"urn:corp:mfa\"]")
        .app_with("lax", "internal", upstream.address, "require.multi_factor = false")
        .app_with(
            "strict",
            "internal",
            upstream.address,
            "require.max_authentication_age = \"10m\"\nrequire.acr_values = [\"urn:corp:mfa\", \"phr\"]",
        )
        .app_with(
            "passkey",
            "confidential",
            upstream.address,
            "require.phishing_resistant = true\nrequire.acr_values = [\"phr\"]",
        )
        .issuer_keys("acr_phishing_resistant = [\"phr\"]")
        .start()
        .await;
    let code = "assurance-insufficient";
    let now = gateway.clock.seconds();
    let with = |token: String| on_laptop(&gateway).token(token);
    let weak = with(gateway.token("ada").password_only().sign());
    assert_eq!(weak.get("lax", "/").await.status, 200);
    let answer = weak.get("strict", "/").await;
    assert_denied(&answer, code);
    let challenge = answer.header("www-authenticate").unwrap();
    assert!(
        challenge.contains("acr_values=\"urn:corp:mfa phr\""),
        "{challenge}"
    );
    assert!(challenge.contains("max_age=\"600\""), "{challenge}");
    assert_eq!(answer.status, 401);

    let by_class = gateway
        .token("ada")
        .password_only()
        .claim("acr", "urn:corp:mfa");
    assert_eq!(with(by_class.sign()).get("strict", "/").await.status, 200);
    let old = gateway.token("ada").claim("auth_time", now - 601).sign();
    assert_denied(&with(old).get("strict", "/").await, code);
    let timeless = gateway.token("ada").without("auth_time").sign();
    assert_denied(&with(timeless).get("strict", "/").await, code);
    // It grows old while it is remembered.
    let mut session = gateway.ada().session("strict").await;
    assert_eq!(session.get("/").await.status, 200);
    gateway.clock.advance(minutes(11));
    assert_denied(&session.get("/").await, code);

    assert_denied(&gateway.ada().get("passkey", "/").await, code);
    let passkey = gateway.token("ada").claim("acr", "phr").sign();
    assert_eq!(with(passkey).get("passkey", "/").await.status, 200);
    // Who has sent nothing is told at once what to bring.
    let answer = on_laptop(&gateway).get("passkey", "/").await;
    assert_denied(&answer, "credential-missing");
    assert!(
        answer
            .header("www-authenticate")
            .unwrap()
            .contains("acr_values=\"phr\"")
    );
    gateway.records().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_issuer_speaks_for_its_own_people_and_apps_choose_among_issuers() {
    let upstream = Upstream::hello().await;
    let partner = TokenIssuer::new("https://partner.test", "masugata", "key-1");
    let gateway = TestGateway::new()
        .app("wiki", upstream.address)
        .app_with("own", "internal", upstream.address, "require.issuers = [\"corp\"]")
        .file("partner.json", &partner.jwks().to_string())
        .config(
            "[[issuer]]\nname = \"partner\"\nissuer = \"https://partner.test\"\naudiences = [\"masugata\"]\n\
             jwks_file = \"partner.json\"\nclaims.group_prefix = \"partner:\"",
        )
        .policy(
            r#"@id("ours") permit (principal in Masugata::Group::"employees", action, resource);
               @id("theirs") permit (principal in Masugata::Group::"partner:employees", action == Masugata::Action::"read", resource);"#,
        )
        .start()
        .await;
    let now = gateway.clock.seconds();
    let guest = on_laptop(&gateway).token(partner.token("ada", &["employees"], now).sign());
    assert_eq!(guest.get("wiki", "/").await.status, 200);
    assert_denied(&guest.post("wiki", "/", "").await, "no-permit");
    assert_denied(&guest.get("own", "/").await, "credential-invalid");
    assert_eq!(gateway.ada().post("wiki", "/", "").await.status, 200);
    assert_eq!(gateway.ada().get("own", "/").await.status, 200);
    // A partner's key does not sign for us, whatever it is called.
    let forged = partner
        .token("ada", &["employees"], now)
        .claim("iss", "https://idp.test");
    let forged = on_laptop(&gateway).token(forged.sign());
    assert_denied(&forged.get("wiki", "/").await, "credential-invalid");
    let metadata = gateway.client().device(&gateway.device("laptop"));
    let wiki = metadata
        .get("wiki", "/.well-known/oauth-protected-resource")
        .await
        .json();
    let own = metadata
        .get("own", "/.well-known/oauth-protected-resource")
        .await
        .json();
    assert_eq!(
        wiki["authorization_servers"],
        json!(["https://idp.test", "https://partner.test"])
    );
    assert_eq!(own["authorization_servers"], json!(["https://idp.test"]));
    let records = gateway.records().await;
    let ids: Vec<&Value> = records.iter().map(|it| &it["principal"]["id"]).collect();
    assert!(ids.contains(&&json!("partner/ada")) && ids.contains(&&json!("corp/ada")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_account_is_known_by_its_certificate_alone() {
    let upstream = Upstream::hello().await;
    let gateway = TestGateway::new()
        .device("robot", "kind = \"server\"")
        .app_with("files", "internal", upstream.address, "require.multi_factor = false")
        .app("wiki", upstream.address)
        .config("[[service]]\nname = \"backup\"\ndevice = \"robot\"\ngroups = [\"robots\"]")
        .policy(
            r#"@id("robots-read") permit (principal in Masugata::Group::"robots", action == Masugata::Action::"read", resource);
               @id("people") permit (principal is Masugata::User, action, resource);"#,
        )
        .start()
        .await;
    let robot = gateway.client().device(&gateway.device("robot"));
    assert_eq!(robot.get("files", "/").await.status, 200);
    assert_denied(&robot.post("files", "/", "x").await, "no-permit");
    // One factor is not enough where two are demanded.
    assert_denied(&robot.get("wiki", "/").await, "assurance-insufficient");
    // A bad token is not rescued by a good certificate, and a good one counts instead of it.
    let guess = robot.clone().token("guess");
    assert_denied(&guess.get("files", "/").await, "credential-invalid");
    let person = robot.clone().token(gateway.token("ada").sign());
    assert_eq!(person.post("files", "/", "x").await.status, 200);
    // Other devices have no account.
    assert_denied(
        &on_laptop(&gateway).get("files", "/").await,
        "credential-missing",
    );
    // The account ends with a reload.
    let mut session = robot.session("files").await;
    assert_eq!(session.get("/").await.status, 200);
    gateway.edit("masugata.toml", "device = \"robot\"", "device = \"laptop\"");
    gateway.reload().await;
    assert_denied(&session.get("/").await, "credential-missing");
    let records = gateway.records().await;
    let services = records
        .iter()
        .filter(|it| it["principal"]["kind"] == "service");
    assert!(services.count() >= 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_is_found_where_the_challenge_says() {
    let upstream = Upstream::hello().await;
    let sub = format!(
        "name = \"sub\"\nlevel = \"internal\"\nhosts = [\"wiki.corp.test\"]\npath_prefix = \"/sub/app\"\n\
         upstream.servers = [\"http://{}\"]\nrequire.certificate_bound = true",
        upstream.address
    );
    let gateway = TestGateway::new()
        .app("wiki", upstream.address)
        .raw_app(&sub)
        .start()
        .await;
    let client = on_laptop(&gateway);
    let origin = |client: &Client| format!("https://{}", client.host("wiki"));
    for (path, well_known, resource, bound) in [
        ("/", "/.well-known/oauth-protected-resource", "", false),
        (
            "/sub/app/x",
            "/.well-known/oauth-protected-resource/sub/app",
            "/sub/app",
            true,
        ),
    ] {
        let answer = client.get("wiki", path).await;
        let challenge = answer.header("www-authenticate").unwrap();
        let url = format!("{}{well_known}", origin(&client));
        assert!(
            challenge.contains(&format!("resource_metadata=\"{url}\"")),
            "{challenge}"
        );
        let document = client.get("wiki", well_known).await;
        assert_eq!(document.status, 200);
        assert_eq!(document.header("content-type"), Some("application/json"));
        let document = document.json();
        // RFC 9728 §3.3: the resource must be the one whose metadata was asked for.
        assert_eq!(
            document["resource"],
            format!("{}{resource}", origin(&client))
        );
        assert_eq!(
            document["authorization_servers"],
            json!(["https://idp.test"])
        );
        assert_eq!(document["bearer_methods_supported"], json!(["header"]));
        assert_eq!(
            document["tls_client_certificate_bound_access_tokens"],
            bound
        );
    }
    assert!(upstream.seen().is_empty());
    gateway.records().await;
}

async fn wiki() -> (TestGateway, Upstream) {
    let upstream = Upstream::hello().await;
    let gateway = TestGateway::new().app("wiki", upstream.address).start();
    (gateway.await, upstream)
}

fn on_laptop(gateway: &TestGateway) -> Client {
    gateway.client().device(&gateway.device("laptop"))
}

fn claims(now: i64) -> Value {
    json!({
        "iss": "https://idp.test", "aud": "masugata", "sub": "ada", "client_id": "tests", "jti": "1",
        "iat": now, "exp": now + 3600, "auth_time": now, "groups": ["employees"], "amr": ["pwd", "otp"],
    })
}

fn jws(header: &Value, claims: &Value, signature: &[u8]) -> String {
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    format!(
        "{}.{}.{}",
        encode(header.to_string().as_bytes()),
        encode(claims.to_string().as_bytes()),
        encode(signature)
    )
}

fn hmac_sha256(key: &[u8], claims: &Value) -> Vec<u8> {
    use aws_lc_rs::hmac;
    let header = json!({ "alg": "HS256", "typ": "at+jwt", "kid": "key-1" });
    let message = jws(&header, claims, b"");
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    hmac::sign(&key, message.trim_end_matches('.').as_bytes())
        .as_ref()
        .to_vec()
}

/// Whoever may type any address into a profile would be whoever has that address here.
#[tokio::test(flavor = "multi_thread")]
async fn an_unverified_address_is_nobody() {
    let upstream = Upstream::hello().await;
    let gateway = TestGateway::new()
        .app("wiki", upstream.address)
        .issuer_keys("claims.user = \"email\"")
        .start()
        .await;
    let status = async |verified: Option<bool>| {
        let mut token = gateway.token("eve").claim("email", "ada@corp.test");
        if let Some(verified) = verified {
            token = token.claim("email_verified", verified);
        }
        let client = gateway.client().device(&gateway.device("laptop"));
        client.token(token.sign()).get("wiki", "/").await.status
    };
    assert_eq!(status(Some(true)).await, 200);
    assert_eq!(status(Some(false)).await, 401);
    assert_eq!(status(None).await, 401);
    gateway.edit(
        "masugata.toml",
        "claims.user = \"email\"",
        "claims.user = \"email\"\nclaims.require_verified_email = false",
    );
    gateway.reload().await;
    assert_eq!(status(None).await, 200);
    assert_eq!(status(Some(false)).await, 401);
}
