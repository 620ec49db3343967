//! The code flow, and everything that can be wrong with it.

use super::*;

#[tokio::test]
async fn a_person_signs_in_and_the_client_learns_who() {
    let world = World::new();
    let browser = world.person("ada").await;
    world.pass(7);
    let page = browser.begin(&[]).await;
    let answer = browser.sign_in(&page, "ada").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.told("state").as_deref(), Some("the state"));
    assert_eq!(answer.told("iss"), Some(format!("{ORIGIN}/id")));
    let tokens = world.exchange(&answer.code()).await;
    assert_eq!(tokens.status, StatusCode::OK, "{}", tokens.body);
    assert_eq!(tokens.header("cache-control"), "no-store");
    let claims = tokens.claims();
    let now = world.now.get() / 1000;
    assert_eq!(claims["iss"], format!("{ORIGIN}/id"));
    assert_eq!(claims["sub"], "ada");
    assert_eq!(claims["aud"], "gateway");
    assert_eq!(claims["nonce"], "the nonce");
    assert_eq!(claims["acr"], "pwd");
    assert_eq!(claims["amr"], serde_json::json!(["pwd"]));
    assert_eq!(claims["auth_time"], now);
    assert_eq!(claims["iat"], now);
    assert_eq!(claims["exp"], now + 300);
    assert_eq!(claims["groups"], serde_json::json!(["staff"]));
    assert_eq!(claims["email"], "ada@example.com");
    assert!(claims.get("sid").is_none());
    let access = tokens.json()["access_token"].as_str().unwrap().to_owned();
    // OpenID Connect Core §3.1.3.6: half of the hash.
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, access.as_bytes());
    assert_eq!(
        claims["at_hash"],
        URL_SAFE_NO_PAD.encode(&hash.as_ref()[..16])
    );
    let info = userinfo(&world, &access).await;
    assert_eq!(info.json()["sub"], "ada");
    world.pass(301);
    assert_eq!(
        userinfo(&world, &access).await.status,
        StatusCode::UNAUTHORIZED
    );
}

async fn userinfo(world: &World, access: &str) -> Answer {
    let request = Request::get("/id/userinfo")
        .header("authorization", format!("Bearer {access}"))
        .body(Bytes::new())
        .unwrap();
    world.ask(request).await
}

async fn a_code<'a>(world: &'a World) -> (Browser<'a>, String) {
    let browser = world.person("ada").await;
    let page = browser.begin(&[]).await;
    let code = browser.sign_in(&page, "ada").await.code();
    (browser, code)
}

#[tokio::test]
async fn a_code_used_twice_takes_back_what_it_gave() {
    let world = World::new();
    let (_, code) = a_code(&world).await;
    let tokens = world.exchange(&code).await.json();
    let access = tokens["access_token"].as_str().unwrap();
    let again = world.exchange(&code).await;
    assert_eq!(again.status, StatusCode::BAD_REQUEST);
    assert_eq!(again.json()["error"], "invalid_grant");
    assert_eq!(
        userinfo(&world, access).await.status,
        StatusCode::UNAUTHORIZED
    );
}

#[tokio::test]
async fn a_code_is_worth_nothing_without_verifier_address_and_client() {
    for change in [
        ("code_verifier", ""),
        (
            "code_verifier",
            "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXX",
        ),
        // The challenge itself: `plain` is not a method here.
        ("code_verifier", CHALLENGE),
        ("redirect_uri", ""),
        (
            "redirect_uri",
            "https://login.example.com:8443/callback/other",
        ),
        ("code", "x"),
    ] {
        let world = World::new();
        let (_, code) = a_code(&world).await;
        let mut form = exchange_form(&code);
        form.retain(|(name, _)| *name != change.0);
        form.push(change);
        let answer = world.as_client("/id/token", &form).await;
        assert_eq!(answer.json()["error"], "invalid_grant", "{change:?}");
        if change.0 != "code" {
            // Whoever guesses has one guess.
            let answer = world.exchange(&code).await;
            assert_eq!(answer.json()["error"], "invalid_grant", "{change:?}");
        }
    }
}

#[tokio::test]
async fn a_code_is_over_after_a_minute() {
    let world = World::new();
    let (_, code) = a_code(&world).await;
    world.pass(60);
    assert_eq!(world.exchange(&code).await.json()["error"], "invalid_grant");
}

#[tokio::test]
async fn a_code_of_a_disabled_account_is_void() {
    let world = World::new();
    let (_, code) = a_code(&world).await;
    let accounts = world.provider.accounts();
    accounts
        .disable("ada", Actor::Administrator, world.now.get())
        .await
        .unwrap();
    assert_eq!(world.exchange(&code).await.json()["error"], "invalid_grant");
}

#[tokio::test]
async fn only_the_client_exchanges_and_pushes() {
    let world = World::new();
    let (_, code) = a_code(&world).await;
    let secret = world.provider.client_secret().expose_secret().to_owned();
    let with =
        |id: &str, secret: &str| format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")));
    for path in ["/id/token", "/id/par"] {
        for credentials in [
            String::new(),
            with("gateway", ""),
            with("gateway", "x"),
            with("other", &secret),
            with("", &secret),
            format!("Bearer {secret}"),
        ] {
            let request = Request::post(path)
                .header("content-type", "application/x-www-form-urlencoded")
                .header("authorization", &credentials)
                .body(encode(&exchange_form(&code)))
                .unwrap();
            let answer = world.ask(request).await;
            assert_eq!(
                answer.status,
                StatusCode::UNAUTHORIZED,
                "{path} {credentials}"
            );
            assert_eq!(answer.json()["error"], "invalid_client");
        }
    }
    let mut posted = exchange_form(&code);
    posted.extend([("client_id", "gateway"), ("client_secret", secret.as_str())]);
    let both = world.as_client("/id/token", &posted).await;
    assert_eq!(both.json()["error"], "invalid_client");
    let request = Request::post("/id/token")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(encode(&posted))
        .unwrap();
    assert_eq!(world.ask(request).await.status, StatusCode::OK);
}

#[tokio::test]
async fn the_token_endpoint_says_what_is_wrong() {
    let world = World::new();
    for (form, error) in [
        (&[("grant_type", "password")][..], "unsupported_grant_type"),
        (&[("grant_type", "refresh_token")], "unsupported_grant_type"),
        (&[("code", "x")], "invalid_request"),
        (
            &[("grant_type", "a"), ("grant_type", "b")],
            "invalid_request",
        ),
        (&[("grant_type", "authorization_code")], "invalid_grant"),
    ] {
        let answer = world.as_client("/id/token", form).await;
        assert_eq!(answer.json()["error"], error, "{form:?}");
    }
}

#[tokio::test]
async fn nobody_is_led_to_an_address_that_is_not_the_clients() {
    let world = World::new();
    let browser = world.person("ada").await;
    browser.keep_session("ada", &["pwd"]);
    for change in [
        ("redirect_uri", "https://evil.example/"),
        (
            "redirect_uri",
            "https://login.example.com:8443/callback/people/../x",
        ),
        (
            "redirect_uri",
            "https://login.example.com:8443/callback/people?x",
        ),
        ("redirect_uri", ""),
        ("client_id", "other"),
        ("client_id", ""),
        ("request_uri", "urn:ietf:params:oauth:request_uri:unknown"),
        ("pad", &"x".repeat(5000)),
    ] {
        let answer = browser.get(&browser.address(&[change])).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{change:?}");
        assert!(answer.headers.get("location").is_none());
        assert!(!answer.body.contains("evil"), "{}", answer.body);
    }
    let twice = browser.address(&[]) + "&redirect_uri=https%3A%2F%2Fevil.example";
    assert_eq!(browser.get(&twice).await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn other_faults_are_told_to_the_client() {
    let world = World::new();
    let browser = world.browser();
    for (change, error) in [
        (("response_type", "token"), "unsupported_response_type"),
        (("code_challenge", ""), "invalid_request"),
        (("code_challenge_method", "plain"), "invalid_request"),
        (("scope", "email"), "invalid_scope"),
        (("request", "x"), "request_not_supported"),
        (
            ("request_uri", "https://evil.example/x"),
            "request_uri_not_supported",
        ),
        (
            (
                "claims",
                r#"{"id_token":{"acr":{"essential":true,"value":"gold"}}}"#,
            ),
            "unmet_authentication_requirements",
        ),
    ] {
        let answer = browser.get(&browser.address(&[change])).await;
        assert_eq!(answer.told("error").as_deref(), Some(error), "{change:?}");
        assert_eq!(answer.told("state").as_deref(), Some("the state"));
        assert_eq!(answer.told("iss"), Some(format!("{ORIGIN}/id")));
    }
}

#[tokio::test]
async fn a_pushed_request_is_used_once_and_soon() {
    let world = World::new();
    let browser = world.person("ada").await;
    let push = async || {
        let pushed = world.as_client("/id/par", &authorize(&[])).await;
        assert_eq!(pushed.status, StatusCode::CREATED, "{}", pushed.body);
        assert_eq!(pushed.json()["expires_in"], 60);
        let uri = pushed.json()["request_uri"].as_str().unwrap().to_owned();
        format!("/id/authorize?client_id=gateway&request_uri={uri}")
    };
    let address = push().await;
    let page = browser.open(&address).await;
    assert!(browser.sign_in(&page, "ada").await.told("code").is_some());
    assert_eq!(browser.get(&address).await.status, StatusCode::BAD_REQUEST);
    let address = push().await;
    world.pass(60);
    assert_eq!(browser.get(&address).await.status, StatusCode::BAD_REQUEST);
    let other = push().await.replace("gateway", "other");
    assert_eq!(browser.get(&other).await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn what_is_wrong_with_a_pushed_request_is_told_at_once() {
    let world = World::new();
    for (change, error) in [
        (("redirect_uri", "https://evil.example/"), "invalid_request"),
        (("response_type", "token"), "unsupported_response_type"),
        (("request_uri", "urn:x"), "request_uri_not_supported"),
        (("client_id", "other"), "invalid_client"),
    ] {
        let answer = world.as_client("/id/par", &authorize(&[change])).await;
        assert_eq!(answer.json()["error"], error, "{change:?}");
    }
}

#[tokio::test]
async fn a_session_is_enough_while_it_is_what_was_asked_for() {
    let world = World::new();
    let browser = world.person("ada").await;
    browser.keep_session("ada", &["pwd"]);
    world.pass(100);
    let good: [&[(&str, &str)]; 4] = [
        &[],
        &[("max_age", "100")],
        &[("prompt", "none")],
        &[("acr_values", "pwd mfa")],
    ];
    for changes in good {
        let answer = browser.get(&browser.address(changes)).await;
        let tokens = world.exchange(&answer.code()).await;
        // When the person proved it, not when the code was given.
        assert_eq!(tokens.claims()["auth_time"], world.now.get() / 1000 - 100);
    }
    let more: [&[(&str, &str)]; 6] = [
        &[("max_age", "99")],
        &[("max_age", "0")],
        &[("prompt", "login")],
        &[("acr_values", "mfa")],
        &[("claims", ESSENTIAL_PHR)],
        &[("claims", r#"{"id_token":{"sub":{"value":"bob"}}}"#)],
    ];
    for changes in more {
        let answer = browser.get(&browser.address(changes)).await;
        assert!(
            answer.location().starts_with("/id/sign-in?c="),
            "{changes:?}"
        );
    }
    let answer = browser
        .get(&browser.address(&[("prompt", "none"), ("max_age", "99")]))
        .await;
    assert_eq!(answer.told("error").as_deref(), Some("login_required"));
}

#[tokio::test]
async fn without_a_session_prompt_none_asks_nothing() {
    let world = World::new();
    let browser = world.browser();
    let answer = browser.get(&browser.address(&[("prompt", "none")])).await;
    assert_eq!(answer.told("error").as_deref(), Some("login_required"));
    assert!(answer.headers.get("set-cookie").is_none());
}

#[tokio::test]
async fn the_session_of_a_disabled_account_is_none() {
    let world = World::new();
    let browser = world.person("ada").await;
    browser.keep_session("ada", &["pwd"]);
    let accounts = world.provider.accounts();
    accounts
        .disable("ada", Actor::Administrator, world.now.get())
        .await
        .unwrap();
    let answer = browser.get(&browser.address(&[])).await;
    assert!(answer.location().starts_with("/id/sign-in?c="));
    let page = browser.open(&answer.location()).await;
    let page = browser.sign_in(&page, "ada").await;
    assert!(
        page.body.contains("This account is disabled"),
        "{}",
        page.body
    );
}

#[tokio::test]
async fn signing_in_again_satisfies_max_age_zero() {
    let world = World::new();
    let browser = world.person("ada").await;
    let page = browser.begin(&[("max_age", "0")]).await;
    assert!(browser.sign_in(&page, "ada").await.told("code").is_some());
}

#[tokio::test]
async fn an_essential_context_that_cannot_be_reached_is_an_error() {
    let world = World::new();
    let (browser, key) = world.person_with_app("ada").await;
    let claims = r#"{"id_token":{"acr":{"essential":true,"values":["phr"]}}}"#;
    let page = browser.begin(&[("claims", claims)]).await;
    assert!(
        page.body.contains("accepts only a passkey"),
        "{}",
        page.body
    );
    let form = [
        ("name", "ada"),
        ("password", SHORT),
        ("c", &query_id(&page)),
        ("form", &form_token(&page)),
    ];
    let answer = browser.post("/id/password", &form).await;
    let page = browser.open(&answer.location()).await;
    let code = code(&key, world.now.get());
    let page = browser.fill(&page, "/id/code", &[("code", &code)]).await;
    assert!(
        page.body.contains("This application needs more"),
        "{}",
        page.body
    );
    let answer = browser.fill(&page, "/id/cancel", &[]).await;
    assert_eq!(
        answer.told("error").as_deref(),
        Some("unmet_authentication_requirements")
    );
}

#[tokio::test]
async fn whoever_is_signed_in_and_has_nothing_better_is_not_asked_for_the_same_again() {
    let world = World::new();
    let (browser, _key) = world.person_with_app("ada").await;
    browser.keep_session("ada", &["pwd", "otp", "mfa"]);
    let claims = r#"{"id_token":{"acr":{"essential":true,"values":["phr"]}}}"#;
    let page = browser.begin(&[("claims", claims)]).await;
    assert!(
        page.body.contains("This application needs more"),
        "{}",
        page.body
    );
    assert!(page.body.contains("/id/factors"), "{}", page.body);
}

fn query_id(page: &Answer) -> String {
    attribute(page, "data-c")
}

fn form_token(page: &Answer) -> String {
    attribute(page, "data-form")
}

pub(super) fn attribute(page: &Answer, name: &str) -> String {
    let start = format!("{name}=\"");
    let (_, rest) = page.body.split_once(&start).unwrap();
    rest.split('"').next().unwrap().to_owned()
}

#[tokio::test]
async fn a_voluntary_context_that_cannot_be_reached_is_seen_in_the_token() {
    let world = World::new();
    let browser = world.person("ada").await;
    let page = browser.begin(&[("acr_values", "phr")]).await;
    let code = browser.sign_in(&page, "ada").await.code();
    assert_eq!(world.exchange(&code).await.claims()["acr"], "pwd");
}

#[tokio::test]
async fn another_person_than_was_asked_for_gets_no_code() {
    let world = World::new();
    let browser = world.person("ada").await;
    let claims = r#"{"id_token":{"sub":{"value":"bob"}}}"#;
    let page = browser.begin(&[("claims", claims)]).await;
    let page = browser.sign_in(&page, "ada").await;
    assert!(
        page.body.contains("asks for somebody else"),
        "{}",
        page.body
    );
}

#[tokio::test]
async fn discovery_names_what_is_there_and_only_get_reads_it() {
    let world = World::new();
    let get = |path: &str| Request::get(path).body(Bytes::new()).unwrap();
    let document = world.ask(get("/id/.well-known/openid-configuration")).await;
    // The order of members depends on what else is built beside this crate.
    insta::with_settings!({ sort_maps => true }, {
        insta::assert_json_snapshot!("discovery", document.json());
    });
    let keys = world.ask(get("/id/jwks")).await.json();
    assert_eq!(keys["keys"].as_array().unwrap().len(), 1);
    assert!(keys["keys"][0].get("d").is_none());
    for (path, allow) in [
        ("/id/jwks", "GET"),
        ("/id/authorize", "GET"),
        ("/id/factors", "GET, POST"),
    ] {
        let request = Request::delete(path).body(Bytes::new()).unwrap();
        let answer = world.ask(request).await;
        assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(answer.header("allow"), allow);
    }
    for path in ["/id/token", "/id/par", "/id/password", "/id/passkey/verify"] {
        let answer = world.ask(get(path)).await;
        assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(answer.header("allow"), "POST");
    }
    for path in [
        "/id/",
        "/id/nothing",
        "/id/authorize/",
        "/id//token",
        "/elsewhere",
    ] {
        assert_eq!(world.ask(get(path)).await.status, StatusCode::NOT_FOUND);
    }
}

#[tokio::test]
async fn the_script_is_kept_by_its_hash() {
    let world = World::new();
    let get = |path: &str| Request::get(path);
    let page = world.browser().begin(&[]).await;
    assert_eq!(page.status, StatusCode::OK);
    let address = crate::pages::script::ADDRESS.as_str();
    let script = world.ask(get(address).body(Bytes::new()).unwrap()).await;
    assert!(script.header("cache-control").contains("immutable"));
    assert_eq!(
        script.header("content-type"),
        "text/javascript; charset=utf-8"
    );
    let tag = script.header("etag").to_owned();
    let other = get("/id/assets/passkey.js?v=other")
        .body(Bytes::new())
        .unwrap();
    assert_eq!(world.ask(other).await.header("cache-control"), "no-cache");
    let known = get(address)
        .header("if-none-match", tag)
        .body(Bytes::new())
        .unwrap();
    assert_eq!(world.ask(known).await.status, StatusCode::NOT_MODIFIED);
}
