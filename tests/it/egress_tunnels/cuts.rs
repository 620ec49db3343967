//! What ends a tunnel that was permitted: every fact behind the decision, when it changes, and nothing else.

use super::*;

/// Opens tunnels of both protocols both ways, and says for which reason the `doomed` ones are cut by the change. The
/// `spared` ones go on.
async fn cut_by(
    gateway: &TestGateway,
    doomed: &[Way],
    spared: &[Way],
    change: impl AsyncFnOnce(),
) -> String {
    let (mut doomed, mut spared) = (all(doomed).await, all(spared).await);
    change().await;
    for tunnel in &mut doomed {
        within_reason("the cut", tunnel.ended()).await;
    }
    let ends = gateway.completions(doomed.len()).await;
    for tunnel in &mut spared {
        tunnel.echoes().await;
    }
    eventually("the others are still on the list", async || {
        listed(gateway).await["open"] == spared.len()
    })
    .await;
    assert_eq!(ends.len(), doomed.len(), "{ends:?}");
    let cause = &ends[0]["cause"];
    for end in &ends {
        assert_eq!(end["outcome"], "cut", "{end}");
        assert_eq!(end["status"], 200, "{end}");
        assert_eq!(end["cause"], *cause, "{end}");
        // One ping each way.
        assert_eq!(end["bytes_received"], 4, "{end}");
        assert_eq!(end["bytes_sent"], 4, "{end}");
    }
    let cause = cause.as_str().unwrap().to_owned();
    let (_status, metrics) = gateway.admin("GET", "/metrics").await;
    let count = doomed.len();
    let line = format!("masugata_tunnels_cut_total{{reason=\"{cause}\"}} {count}");
    assert!(metrics.contains(&line), "{metrics}");
    cause
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_certificate_loses_its_tunnels_and_another_device_of_the_same_owner_does_not() {
    let (gateway, _echo) = open("", |builder| {
        let empty = builder.pki().revocation_list(&[], 30, 1);
        builder.file("ca.crl", &empty)
    })
    .await;
    let cause = cut_by(
        &gateway,
        &[(gateway.proxy(), SITE)],
        &[(of(&gateway, "tablet"), SITE)],
        async || {
            let lost = gateway.device("laptop");
            let list = gateway.pki().revocation_list(&[&lost], 30, 2);
            gateway.write("ca.crl", &list);
            gateway.reload().await;
        },
    )
    .await;
    assert_eq!(cause, "device-certificate-revoked");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_ends_ends_its_tunnels() {
    let (gateway, _echo) = open("", plain).await;
    let short = gateway.pki().issue("laptop", 1);
    let cause = cut_by(
        &gateway,
        &[(gateway.stranger().device(&short), SITE)],
        &[(gateway.proxy(), SITE)],
        async || gateway.clock.advance(days(1) + hours(1)),
    )
    .await;
    assert_eq!(cause, "device-certificate-expired");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_leaves_the_inventory_loses_its_tunnels() {
    let (gateway, _echo) = open("", plain).await;
    let cause = cut_by(
        &gateway,
        &[(gateway.proxy(), SITE)],
        &[(of(&gateway, "tablet"), SITE)],
        async || {
            change_row(&gateway, "laptop", "id = \"laptop\"", "id = \"laptop-2\"");
            change_row(
                &gateway,
                "laptop-2",
                &Pki::identity("laptop"),
                "spiffe://test/device/new",
            );
            gateway.reload().await;
        },
    )
    .await;
    assert_eq!(cause, "device-unknown");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_changes_hands_loses_its_owners_tunnels_and_not_those_of_tokens() {
    let (gateway, _echo) = open("", plain).await;
    let token = gateway.token("bob").sign();
    let cause = cut_by(
        &gateway,
        &[(gateway.proxy(), SITE)],
        &[
            (gateway.proxy().token(token), SITE),
            (of(&gateway, "tablet"), SITE),
        ],
        async || {
            change_row(&gateway, "laptop", "corp/ada", "corp/bob");
            gateway.reload().await;
        },
    )
    .await;
    assert_eq!(cause, "credential-invalid");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_who_leaves_the_group_that_opens_a_site_loses_the_tunnels_there() {
    let (gateway, _echo) = open("", plain).await;
    let cause = cut_by(
        &gateway,
        &[(gateway.proxy(), SITE)],
        &[(of(&gateway, "tablet"), SITE)],
        async || {
            change_row(&gateway, "laptop", "\"employees\"", "\"guests\"");
            gateway.reload().await;
        },
    )
    .await;
    assert_eq!(cause, "no-permit");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_posture_that_goes_bad_ends_tunnels_at_once() {
    let (gateway, _echo) = open("require.posture = [\"disk_encrypted\"]", plain).await;
    let cause = cut_by(
        &gateway,
        &[(gateway.proxy(), SITE)],
        &[(of(&gateway, "tablet"), SITE)],
        async || {
            change_row(
                &gateway,
                "laptop",
                "posture.disk_encrypted = true",
                "posture.disk_encrypted = false",
            );
            gateway.reload().await;
        },
    )
    .await;
    assert_eq!(cause, "posture-failing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_posture_that_nobody_confirms_ends_tunnels_by_itself() {
    let require = "require.posture = [\"firewall_enabled\"]\nrequire.posture_max_age = \"10m\"";
    let (gateway, _echo) = open(require, plain).await;
    let cause = cut_by(
        &gateway,
        &[(gateway.proxy(), SITE)],
        &[(of(&gateway, "tablet"), SITE)],
        async || {
            gateway.clock.advance(minutes(8));
            let text = gateway.read("devices.toml");
            let old = text
                .lines()
                .find(|line| line.starts_with("observed_at"))
                .unwrap();
            let now = jiff::Timestamp::from_second(gateway.clock.seconds()).unwrap();
            change_row(&gateway, "tablet", old, &format!("observed_at = \"{now}\""));
            gateway.reload().await;
            // Nothing else happens: no reload, no list.
            gateway.clock.advance(minutes(3));
        },
    )
    .await;
    assert_eq!(cause, "posture-stale");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_ends_ends_its_tunnels_and_not_its_neighbours_on_the_same_connection() {
    let (gateway, _echo) = open("", plain).await;
    let short = gateway
        .token("bob")
        .claim("exp", gateway.clock.seconds() + 300);
    let session = gateway.proxy().h2().session().await;
    let mut doomed = session
        .clone()
        .token(short.sign())
        .connect(SITE)
        .await
        .unwrap();
    let token = gateway.token("bob").sign();
    let mut spared = session.clone().token(token).connect(SITE).await.unwrap();
    let mut owner = session.connect(SITE).await.unwrap();
    // The minute by which clocks may differ is over, too.
    gateway.clock.advance(minutes(6));
    within_reason("the cut", doomed.ended()).await;
    let ends = gateway.completions(1).await;
    assert_eq!(ends[0]["cause"], "credential-expired");
    spared.echoes().await;
    owner.echoes().await;
    // The connection itself is as good as before.
    session
        .connect(SITE)
        .await
        .unwrap_or_else(|answer| panic!("{}", answer.text()))
        .echoes()
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_its_issuer_withdraws_ends_the_tunnels_of_its_tokens() {
    let (gateway, _echo) = open("", plain).await;
    let token = gateway.token("bob").sign();
    let cause = cut_by(
        &gateway,
        &[(of(&gateway, "kiosk").token(token), SITE)],
        &[(gateway.proxy(), SITE)],
        async || {
            let other = TokenIssuer::new("https://idp.test", "masugata", "key-2");
            gateway.write("jwks.json", &other.jwks().to_string());
            gateway.reload().await;
        },
    )
    .await;
    assert_eq!(cause, "credential-invalid");
}

/// What `masugata proxy-password` would print for `bob` on `kiosk`.
fn password(gateway: &TestGateway, lifetime: Duration) -> String {
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
    let sealed = Sealed::new(&bob, &proved, &thumbprint, now, now.plus(lifetime)).unwrap();
    key.seal(&sealed).expose_secret().to_owned()
}

async fn with_passwords() -> (TestGateway, Origin) {
    open("password_key = \"password.key\"", |builder| {
        builder.file("password.key", &STANDARD.encode([7; 32]))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_ends_ends_its_tunnels() {
    let (gateway, _echo) = with_passwords().await;
    let kiosk = of(&gateway, "kiosk");
    let short = kiosk
        .clone()
        .password("bob", &password(&gateway, minutes(5)));
    let long = kiosk.password("bob", &password(&gateway, hours(2)));
    let cause = cut_by(&gateway, &[(short, SITE)], &[(long, SITE)], async || {
        gateway.clock.advance(minutes(5));
    })
    .await;
    assert_eq!(cause, "credential-expired");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_password_key_ends_the_tunnels_of_all_passwords_and_the_same_key_ends_none() {
    let (gateway, _echo) = with_passwords().await;
    let bob = of(&gateway, "kiosk").password("bob", &password(&gateway, hours(2)));
    let mut kept = bob.connect(SITE).await.unwrap();
    gateway.write("password.key", &STANDARD.encode([7; 32]));
    gateway.reload().await;
    // Decided again before this one was opened.
    let mut owners = gateway.proxy().connect(SITE).await.unwrap();
    kept.echoes().await;
    gateway.write("password.key", &STANDARD.encode([8; 32]));
    gateway.reload().await;
    within_reason("the cut", kept.ended()).await;
    let ends = gateway.completions(1).await;
    assert_eq!(ends[0]["cause"], "credential-invalid");
    assert_denied(&bob.refused(SITE).await, "credential-invalid");
    owners.echoes().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_comes_to_name_a_host_ends_its_tunnels_only() {
    let policy = "@id(\"everywhere\")\n\
         permit (principal, action, resource is Masugata::Destination);\n\
         @id(\"no-threats\")\n\
         forbid (principal, action, resource in Masugata::Category::\"malware\");";
    let (gateway, _echo) = open("", |builder| {
        builder
            .policy(policy)
            .file("threats.txt", "bad.example\n")
            .config(
                "[[egress.feed]]\nname = \"threats\"\nfile = \"threats.txt\"\nformat = \"plain\"\n\
                 categories = [\"malware\"]",
            )
    })
    .await;
    let cause = cut_by(
        &gateway,
        &[(gateway.proxy(), SITE)],
        &[(gateway.proxy(), "other.example:80")],
        async || {
            gateway.write("threats.txt", "bad.example\nsite.example\n");
            gateway.reload().await;
        },
    )
    .await;
    assert_eq!(cause, "forbidden");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_or_a_range_that_is_closed_ends_the_tunnels_there() {
    let (gateway, _echo) = open("ports = [80, 443, 8080]", plain).await;
    let cause = cut_by(
        &gateway,
        &[(gateway.proxy(), "site.example:8080")],
        &[(gateway.proxy(), SITE)],
        async || {
            gateway.edit("masugata.toml", "ports = [80, 443, 8080]", "ports = [80]");
            gateway.reload().await;
        },
    )
    .await;
    assert_eq!(cause, "destination-port-refused");

    let (gateway, _echo) = open("", plain).await;
    let cause = cut_by(
        &gateway,
        &[(gateway.proxy(), SITE)],
        &[(gateway.proxy(), "other.example:80")],
        async || {
            gateway.edit(
                "masugata.toml",
                "hosts = [\"site.example\"]",
                "hosts = [\"elsewhere.example\"]",
            );
            gateway.reload().await;
        },
    )
    .await;
    assert_eq!(cause, "destination-prohibited");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_only_observed_is_cut_when_the_company_begins_to_enforce() {
    let policy = "@id(\"other\")\n\
         permit (principal, action, resource is Masugata::Destination)\n\
         when { resource.host == \"other.example\" };";
    let (gateway, _echo) = open("mode = \"observe\"", |builder| builder.policy(policy)).await;
    let cause = cut_by(
        &gateway,
        &[(gateway.proxy(), SITE)],
        &[(gateway.proxy(), "other.example:80")],
        async || {
            gateway.edit("masugata.toml", "mode = \"observe\"", "mode = \"enforce\"");
            gateway.reload().await;
        },
    )
    .await;
    assert_eq!(cause, "no-permit");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_that_has_not_said_its_hello_is_cut_as_well() {
    let (gateway, echo) = open("hello_timeout = \"1m\"", plain).await;
    let session = gateway.proxy().h2().session().await;
    let mut tunnel = session.connect("site.example:443").await.unwrap();
    change_row(
        &gateway,
        "laptop",
        "id = \"laptop\"",
        "id = \"laptop\"\nstate = \"lost\"",
    );
    gateway.reload().await;
    within_reason("the cut", tunnel.ended()).await;
    let ends = gateway.completions(1).await;
    assert_eq!(ends[0]["cause"], "device-suspended");
    assert!(echo.seen().bytes.is_empty());
}
