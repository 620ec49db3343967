//! Guessed, changed, borrowed and misplaced credentials.

use super::*;

/// What `masugata proxy-password` would print for `bob` on `kiosk`.
fn password(gateway: &TestGateway) -> String {
    let key = PasswordKey::read(&gateway.path("password.key")).unwrap();
    let groups = ["employees"];
    let bob = Principal::new(
        PrincipalKind::User,
        "corp/bob",
        "corp",
        None,
        groups,
        [""; 0],
    );
    let proved = Authentication::new(false, false, None, ["pop"], None, true);
    let now = Timestamp::from_seconds(gateway.clock.seconds());
    let thumbprint = gateway.device("kiosk").thumbprint;
    let sealed = Sealed::new(&bob, &proved, &thumbprint, now, now.plus(hours(8))).unwrap();
    key.seal(&sealed).expose_secret().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_whole_and_unchanged_or_it_is_none() {
    let (gateway, site) = open("").await;
    let kiosk = of(&gateway, "kiosk");
    let good = password(&gateway);
    let token = gateway.token("bob").sign();
    let swapped = {
        let mut bytes = good.clone().into_bytes();
        let at = bytes.len() / 2;
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        String::from_utf8(bytes).unwrap()
    };
    let cases = [
        ("truncated", good[..good.len() - 1].to_owned()),
        ("half", good[..good.len() / 2].to_owned()),
        ("prolonged", format!("{good}A")),
        ("tampered", swapped),
        ("upper case", good.to_uppercase()),
        ("empty", String::new()),
        ("a token", token.clone()),
        ("huge", "A".repeat(40_000)),
    ];
    for (name, wrong) in cases {
        for client in both(&kiosk) {
            let answer = client.password("bob", &wrong).refused(SITE).await;
            let code = answer.denial_code().unwrap();
            assert!(
                code.starts_with("credential-") || code == "locked-out",
                "{name}: {code}"
            );
            assert!(!answer.text().contains(&good[..12]), "{name}");
        }
        gateway.clock.advance(hours(1));
    }
    assert_eq!(site.seen().connections, 0);
    gateway.records().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_in_the_wrong_place_or_twice_are_none() {
    let rules = "[lockout]\nfree_failures = 99\nlock_after = 100";
    let site = Origins::plain(Behaviour::Silent).await;
    let gateway = door("")
        .origin("site.example", site.address)
        .config(rules)
        .start()
        .await;
    let kiosk = of(&gateway, "kiosk");
    let (good, token) = (password(&gateway), gateway.token("bob").sign());
    let pair = STANDARD.encode(format!("bob:{good}"));
    for (name, fields) in [
        (
            "two bearers",
            vec![
                ("proxy-authorization", format!("Bearer {token}")),
                ("proxy-authorization", format!("Bearer {token}")),
            ],
        ),
        (
            "bearer and basic",
            vec![
                ("proxy-authorization", format!("Bearer {token}")),
                ("proxy-authorization", format!("Basic {pair}")),
            ],
        ),
        (
            "both in one",
            vec![(
                "proxy-authorization",
                format!("Bearer {token}, Basic {pair}"),
            )],
        ),
        (
            "token behind Basic",
            vec![("proxy-authorization", format!("Basic {token}"))],
        ),
        (
            "token as password",
            vec![(
                "proxy-authorization",
                format!("Basic {}", STANDARD.encode(format!("bob:{token}"))),
            )],
        ),
        (
            "password behind Bearer",
            vec![("proxy-authorization", format!("Bearer {good}"))],
        ),
        (
            "password as user",
            vec![(
                "proxy-authorization",
                format!("Basic {}", STANDARD.encode(format!("{good}:"))),
            )],
        ),
        (
            "no colon",
            vec![(
                "proxy-authorization",
                format!("Basic {}", STANDARD.encode(&good)),
            )],
        ),
        (
            "not coded",
            vec![("proxy-authorization", format!("Basic bob:{good}"))],
        ),
        (
            "nothing behind Basic",
            vec![("proxy-authorization", "Basic".to_owned())],
        ),
        (
            "another scheme",
            vec![("proxy-authorization", format!("Negotiate {pair}"))],
        ),
        (
            "digest",
            vec![("proxy-authorization", "Digest username=\"bob\"".to_owned())],
        ),
        (
            "in Authorization",
            vec![("authorization", format!("Basic {pair}"))],
        ),
        (
            "in a cookie",
            vec![("cookie", format!("proxy-authorization=Basic {pair}"))],
        ),
        (
            "in another field",
            vec![("x-proxy-authorization", format!("Basic {pair}"))],
        ),
    ] {
        for client in both(&kiosk) {
            let client = fields
                .iter()
                .fold(client, |client, (field, value)| client.header(field, value));
            let answer = client.refused(SITE).await;
            let code = answer.denial_code().unwrap();
            assert!(code.starts_with("credential-"), "{name}: {code}");
            // Told what would be taken, so that a program can try that and a person is asked again.
            assert_eq!(answer.status, StatusCode::PROXY_AUTHENTICATION_REQUIRED);
            let offered = answer.headers.get_all("proxy-authenticate").iter();
            let offered: Vec<_> = offered.map(|value| value.to_str().unwrap()).collect();
            assert!(offered[0].starts_with("Bearer"), "{name}: {offered:?}");
            assert!(offered[1].starts_with("Basic"), "{name}: {offered:?}");
        }
    }
    // In the target: the target is none.
    let head = format!("CONNECT bob:x@{SITE} HTTP/1.1\r\nhost: {SITE}\r\n\r\n");
    assert_eq!(kiosk.raw(head.as_bytes()).await.status(), Some(400));
    assert_eq!(site.seen().connections, 0);
    // A bad credential is not made up for by whose device it is.
    let own = gateway.proxy().password("ada", "guess");
    assert!(
        own.refused(SITE)
            .await
            .denial_code()
            .unwrap()
            .starts_with("credential-")
    );
    let fine = kiosk.header(
        "proxy-authorization",
        &format!("basic  {}", pair.trim_end_matches('=')),
    );
    fine.connect(SITE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bound_token_of_another_device_is_refused_and_a_guesser_locks_itself_out_only() {
    let rules = "[lockout]\nfree_failures = 0\nlock_after = 3\nlock = \"10m\"";
    let site = Origins::plain(Behaviour::Silent).await;
    let gateway = door("")
        .origin("site.example", site.address)
        .config(rules)
        .start()
        .await;
    let laptop = gateway.device("laptop");
    let bound = gateway.token("ada").bound_to(&laptop.thumbprint).sign();
    let kiosk = of(&gateway, "kiosk");
    assert_denied(
        &kiosk.clone().token(&bound).refused(SITE).await,
        "credential-not-bound",
    );
    gateway.proxy().token(&bound).connect(SITE).await.unwrap();
    // Guesses at bob's password, from a device that is not his.
    let guess = of(&gateway, "tablet").password("bob", "guess");
    eventually("a lock", async || {
        gateway.clock.advance(Duration::from_secs(20));
        guess.refused(SITE).await.denial_code().as_deref() == Some("locked-out")
    })
    .await;
    let answer = guess.refused(SITE).await;
    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(answer.header("retry-after").is_some());
    // Bob, on his, notices nothing; the owner of the guessing device needs no credential to be guessed.
    kiosk
        .password("bob", &password(&gateway))
        .connect(SITE)
        .await
        .unwrap();
    of(&gateway, "tablet").connect(SITE).await.unwrap();
}
