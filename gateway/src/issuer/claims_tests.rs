//! Tests of `claims`: each check with the values just inside and just outside.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::issuer::testing::{self, START, claims_with, now};

fn header(token_type: Option<&str>) -> Header {
    Header {
        algorithm: "ES256".to_owned(),
        key_id: None,
        token_type: token_type.map(Into::into),
    }
}

fn accept_as(
    issuer: &config::Issuer,
    token_type: Option<&str>,
    claims: &Value,
) -> Result<Identity, CredentialError> {
    accept(
        &Arc::new(issuer.clone()),
        &Arc::default(),
        [0; 32],
        &header(token_type),
        claims.as_object().unwrap(),
        None,
        now(),
    )
}

fn accept_with(changes: Value) -> Result<Identity, CredentialError> {
    accept_as(
        &testing::issuer_config(),
        Some("at+jwt"),
        &claims_with(changes),
    )
}

fn fault(changes: Value) -> CredentialError {
    accept_with(changes.clone())
        .map(|_| panic!("accepted {changes}"))
        .unwrap_err()
}

fn wrong(name: &str) -> CredentialError {
    TokenFault::Claim(name.into()).into()
}

fn missing(name: &str) -> CredentialError {
    TokenFault::ClaimMissing(name.into()).into()
}

#[test]
fn good_claims_become_an_identity() {
    let identity = accept_with(json!({"sid": "s1"})).unwrap();
    let principal = identity.principal();
    assert_eq!(principal.id(), "corp/ada");
    assert_eq!(principal.issuer(), "corp");
    assert_eq!(principal.kind(), PrincipalKind::User);
    assert_eq!(principal.name(), Some("Ada"));
    assert_eq!(principal.groups(), ["finance".into()]);
    assert_eq!(principal.roles(), ["approver".into()]);
    assert_eq!(identity.issuer(), "corp");
    assert_eq!(identity.subject(), "ada");
    assert_eq!(identity.token_id(), Some("t1"));
    assert_eq!(identity.session_id(), Some("s1"));
    assert_eq!(identity.client_id(), Some("cli"));
    assert_eq!(identity.issued_at(), Timestamp::from_seconds(START - 10));
    assert_eq!(identity.expires_at(), Timestamp::from_seconds(START + 300));
    assert_eq!(identity.certificate_thumbprint(), None);
    let authentication = identity.authentication();
    assert!(authentication.multi_factor);
    assert!(!authentication.multi_factor_out_of_band);
    assert!(!authentication.phishing_resistant);
    assert!(!authentication.certificate_bound);
    assert_eq!(authentication.acr.as_deref(), Some("1"));
    assert_eq!(
        authentication.authenticated_at,
        Some(Timestamp::from_seconds(START - 60))
    );
}

#[test]
fn required_claims_are_required() {
    for name in ["sub", "exp", "iat", "aud", "jti", "client_id"] {
        assert_eq!(fault(json!({ name: null })), missing(name), "{name}");
    }
    for name in ["sub", "jti", "client_id", "acr", "sid"] {
        for value in [
            json!(""),
            json!(1),
            json!(true),
            json!([]),
            json!({}),
            json!("a\nb"),
        ] {
            assert_eq!(fault(json!({ name: value })), wrong(name), "{name}");
        }
        let long = "x".repeat(257);
        assert_eq!(
            fault(json!({ name: long })),
            TokenFault::TooLarge(name.into()).into()
        );
    }
}

#[test]
fn the_authorized_party_may_name_the_client() {
    let identity = accept_with(json!({"client_id": null, "azp": "web"})).unwrap();
    assert_eq!(identity.client_id(), Some("web"));
}

#[test]
fn instants_are_numbers_and_nothing_else() {
    for name in ["exp", "iat", "nbf", "auth_time"] {
        for value in [
            json!(START.to_string()),
            json!(-1),
            json!(-1.5),
            json!(1e30),
            json!(u64::MAX),
            json!(i64::MAX),
            json!(LAST_SECOND + 1),
            json!(true),
            json!([START]),
            json!({}),
        ] {
            assert_eq!(fault(json!({ name: value })), wrong(name), "{name} {value}");
        }
    }
    // `Value::Null` as a claim, which the helper cannot write.
    let mut claims = testing::good_claims();
    claims["exp"] = Value::Null;
    assert_eq!(
        accept_as(&testing::issuer_config(), Some("at+jwt"), &claims).unwrap_err(),
        wrong("exp")
    );
}

#[test]
fn fractions_of_seconds_are_read() {
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let exp = START as f64 + 100.5;
    let identity = accept_with(json!({ "exp": exp })).unwrap();
    assert_eq!(
        identity.expires_at(),
        Timestamp::from_millis(START * 1000 + 100_500)
    );
}

#[test]
fn leeway_is_exact() {
    let issuer = testing::issuer_config();
    let at = |claims: &Value, millis: i64| {
        accept(
            &Arc::new(issuer.clone()),
            &Arc::default(),
            [0; 32],
            &header(Some("at+jwt")),
            claims.as_object().unwrap(),
            None,
            Timestamp::from_millis(millis),
        )
        .map(|_| ())
    };
    let claims = claims_with(json!({"iat": 1000, "nbf": 1100, "exp": 1200, "auth_time": null}));
    assert_eq!(at(&claims, 969_999), Err(TimeFault::IssuedInFuture.into()));
    assert_eq!(at(&claims, 970_000), Err(TimeFault::NotYet.into()));
    assert_eq!(at(&claims, 1_069_999), Err(TimeFault::NotYet.into()));
    assert_eq!(at(&claims, 1_070_000), Ok(()));
    assert_eq!(at(&claims, 1_229_999), Ok(()));
    assert_eq!(at(&claims, 1_230_000), Err(TimeFault::Over.into()));
}

#[test]
fn a_token_may_not_live_longer_than_configured() {
    assert!(accept_with(json!({"iat": START, "exp": START + 3600})).is_ok());
    assert_eq!(
        fault(json!({"iat": START, "exp": START + 3601})),
        TokenFault::Lifetime.into()
    );
    assert_eq!(fault(json!({"iat": START, "exp": START})), wrong("exp"));
    assert_eq!(fault(json!({"iat": START, "exp": START - 1})), wrong("exp"));
}

#[test]
fn a_future_authentication_is_not_fresh_but_wrong() {
    assert!(accept_with(json!({"auth_time": START + 30})).is_ok());
    let unknown = accept_with(json!({"auth_time": 0})).unwrap();
    assert_eq!(unknown.authentication().authenticated_at, None);
    assert_eq!(fault(json!({"auth_time": START + 31})), wrong("auth_time"));
}

#[test]
fn one_audience_must_be_ours_exactly() {
    assert!(accept_with(json!({"aud": ["other", "https://apps.example"]})).is_ok());
    for audience in [
        json!("https://apps.example/"),
        json!("https://APPS.example"),
        json!(["other"]),
        json!("https://apps.example https://other"),
    ] {
        assert_eq!(
            fault(json!({ "aud": audience })),
            TokenFault::Audience.into()
        );
    }
    for audience in [
        json!(1),
        json!({}),
        json!([["https://apps.example"]]),
        json!([1]),
        json!(""),
    ] {
        assert_eq!(fault(json!({ "aud": audience })), wrong("aud"));
    }
    assert_eq!(fault(json!({"aud": []})), missing("aud"));
}

#[test]
fn only_configured_types_are_accepted() {
    let mut issuer = testing::issuer_config();
    let good = testing::good_claims();
    for accepted in [
        "at+jwt",
        "AT+JWT",
        "application/at+jwt",
        "Application/AT+jwt",
    ] {
        assert!(
            accept_as(&issuer, Some(accepted), &good).is_ok(),
            "{accepted}"
        );
    }
    for other in [
        Some("JWT"),
        Some("application/jwt"),
        Some(""),
        Some("logout+jwt"),
        Some("dpop+jwt"),
        Some("application/application/at+jwt"),
        Some("text/at+jwt"),
        Some("absent"),
        None,
    ] {
        assert!(
            matches!(
                accept_as(&issuer, other, &good),
                Err(CredentialError::Invalid(TokenFault::Type(_)))
            ),
            "{other:?}"
        );
    }
    issuer.token_types = vec!["jwt".into(), "absent".into()];
    assert!(accept_as(&issuer, Some("JWT"), &good).is_ok());
    assert!(accept_as(&issuer, None, &good).is_ok());
    assert!(accept_as(&issuer, Some("absent"), &good).is_err());
    // Only RFC 9068 tokens must have these.
    let lean = claims_with(json!({"jti": null, "client_id": null}));
    assert!(accept_as(&issuer, Some("JWT"), &lean).is_ok());
}

#[test]
fn id_tokens_are_not_access_tokens_unless_configured() {
    let mut issuer = testing::issuer_config();
    issuer.token_types = vec!["jwt".into()];
    for mark in [
        json!({"nonce": "n"}),
        json!({"at_hash": "h"}),
        json!({"c_hash": "h"}),
        json!({"typ": "ID"}),
        json!({"typ": "Refresh"}),
        json!({"typ": "Bearer", "at_hash": "h"}),
    ] {
        let claims = claims_with(mark);
        assert_eq!(
            accept_as(&issuer, Some("JWT"), &claims).unwrap_err(),
            TokenFault::NotAccessToken.into()
        );
        let mut willing = issuer.clone();
        willing.token_types.push("id-token".into());
        assert!(accept_as(&willing, Some("JWT"), &claims).is_ok());
    }
    let keycloak = claims_with(json!({"typ": "Bearer", "nonce": "n"}));
    assert!(accept_as(&issuer, Some("JWT"), &keycloak).is_ok());
}

#[test]
fn event_and_logout_tokens_are_never_credentials() {
    let mut issuer = testing::issuer_config();
    issuer.token_types = vec!["jwt".into(), "id-token".into()];
    let logout =
        claims_with(json!({"events": {"http://schemas.openid.net/event/backchannel-logout": {}}}));
    assert_eq!(
        accept_as(&issuer, Some("JWT"), &logout).unwrap_err(),
        TokenFault::NotAccessToken.into()
    );
}

#[test]
fn a_bound_token_needs_its_certificate() {
    let ours = [7; 32];
    let bound = claims_with(json!({"cnf": {"x5t#S256": testing::encode(ours)}}));
    let present = |thumbprint: Option<&[u8; 32]>| {
        accept(
            &Arc::new(testing::issuer_config()),
            &Arc::default(),
            [0; 32],
            &header(Some("at+jwt")),
            bound.as_object().unwrap(),
            thumbprint,
            now(),
        )
    };
    let identity = present(Some(&ours)).unwrap();
    assert!(identity.authentication().certificate_bound);
    assert_eq!(identity.certificate_thumbprint(), Some(&ours));
    assert_eq!(
        present(Some(&[8; 32])).unwrap_err(),
        BindingFault::OtherCertificate.into()
    );
    assert_eq!(
        present(None).unwrap_err(),
        BindingFault::NoCertificate.into()
    );
}

#[test]
fn bindings_that_cannot_be_checked_are_refused() {
    let thumbprint = testing::encode([7; 32]);
    for confirmation in [
        json!({"jkt": "x"}),
        json!({"jwk": {}}),
        json!({"kid": "k"}),
        json!({"x5t#S256": thumbprint, "jkt": "x"}),
        json!({"X5T#S256": thumbprint}),
    ] {
        assert_eq!(
            fault(json!({ "cnf": confirmation })),
            BindingFault::UnknownMethod.into()
        );
    }
    for confirmation in [
        json!({}),
        json!("x"),
        json!([]),
        json!({"x5t#S256": 1}),
        json!({"x5t#S256": ""}),
        json!({"x5t#S256": format!("{thumbprint}=")}),
        json!({"x5t#S256": testing::encode([7; 31])}),
        json!({"x5t#S256": testing::encode([7; 33])}),
        json!({"x5t#S256": "07".repeat(32)}),
    ] {
        assert_eq!(
            fault(json!({ "cnf": confirmation })),
            BindingFault::Unreadable.into()
        );
    }
}

#[test]
fn the_user_may_be_another_claim() {
    let mut issuer = testing::issuer_config();
    issuer.claims.user = "email".into();
    let accept_email = |changes| accept_as(&issuer, Some("at+jwt"), &claims_with(changes));
    let identity =
        accept_email(json!({"email": "ada@corp.example", "email_verified": true})).unwrap();
    assert_eq!(identity.principal().id(), "corp/ada@corp.example");
    assert_eq!(identity.subject(), "ada");
    assert!(accept_email(json!({"email": "a@b", "email_verified": "true"})).is_ok());
    assert_eq!(accept_email(json!({})).unwrap_err(), missing("email"));
}

#[test]
fn an_address_counts_only_when_its_provider_says_that_it_is_verified() {
    let mut issuer = testing::issuer_config();
    for (user, claims) in [
        ("email", json!({"email": "a@b"})),
        ("person.email", json!({"person": {"email": "a@b"}})),
        (
            "person.email",
            json!({"person": {"email": "a@b"}, "email_verified": true}),
        ),
    ] {
        issuer.claims.user = user.into();
        let claims = claims_with(claims);
        issuer.claims.require_verified_email = true;
        let refusal = accept_as(&issuer, Some("at+jwt"), &claims).unwrap_err();
        assert_eq!(refusal, TokenFault::EmailUnverified.into(), "{user}");
        issuer.claims.require_verified_email = false;
        assert!(
            accept_as(&issuer, Some("at+jwt"), &claims).is_ok(),
            "{user}"
        );
    }
    issuer.claims.user = "email".into();
    for required in [true, false] {
        issuer.claims.require_verified_email = required;
        for word in [
            json!(false),
            json!("false"),
            json!(1),
            json!(null),
            json!("TRUE"),
        ] {
            let claims = claims_with(json!({"email": "a@b", "email_verified": word}));
            if word.is_null() && !required {
                continue;
            }
            assert_eq!(
                accept_as(&issuer, Some("at+jwt"), &claims).unwrap_err(),
                TokenFault::EmailUnverified.into(),
                "{word}"
            );
        }
    }
}

#[test]
fn identifiers_cannot_deceive_their_reader() {
    for subject in ["a\u{0}b", "a\r\nb", "\u{202e}ada", "a\u{2066}b", "a\u{85}b"] {
        assert_eq!(
            fault(json!({ "sub": subject })),
            wrong("sub"),
            "{subject:?}"
        );
    }
    let identity = accept_with(json!({"name": " A\u{202e}d\na\u{7} "})).unwrap();
    assert_eq!(identity.principal().name(), Some("Ada"));
    let identity = accept_with(json!({"sub": "山田"})).unwrap();
    assert_eq!(identity.principal().id(), "corp/山田");
}

#[test]
fn groups_and_roles_come_from_where_the_configuration_says() {
    let mut issuer = testing::issuer_config();
    issuer.claims.groups = "https://app.example/groups".into();
    issuer.claims.roles = "resource_access.my.client.roles".into();
    issuer.claims.group_prefix = "partner:".into();
    let claims = claims_with(json!({
        "https://app.example/groups": "finance",
        "resource_access": {"my.client": {"roles": ["b", "a", "b"]}},
    }));
    let identity = accept_as(&issuer, Some("at+jwt"), &claims).unwrap();
    assert_eq!(identity.principal().groups(), ["partner:finance".into()]);
    assert_eq!(
        identity.principal().roles(),
        ["partner:a".into(), "partner:b".into()]
    );
}

#[test]
fn groups_of_wrong_shape_are_refused_not_ignored() {
    for groups in [
        json!(1),
        json!({}),
        json!([1]),
        json!(["a", null]),
        json!([["a"]]),
        json!([""]),
    ] {
        assert_eq!(fault(json!({ "groups": groups })), wrong("groups"));
    }
    let many: Vec<String> = (0..1001).map(|number| number.to_string()).collect();
    assert!(accept_with(json!({ "groups": many[..1000] })).is_ok());
    assert_eq!(
        fault(json!({ "groups": many })),
        TokenFault::TooLarge("groups".into()).into()
    );
}

#[test]
fn groups_that_were_left_out_refuse_the_token() {
    for overage in [
        json!({"groups": null, "_claim_names": {"groups": "src1"}, "_claim_sources": {"src1": {}}}),
        json!({"groups": null, "hasgroups": true}),
        json!({"groups": null, "hasgroups": "true"}),
    ] {
        assert_eq!(fault(overage), TokenFault::Overage("groups".into()).into());
    }
    assert!(accept_with(json!({"_claim_names": {"other": "src1"}})).is_ok());
}

#[test]
fn methods_may_be_one_string() {
    let identity = accept_with(json!({"amr": "mfa"})).unwrap();
    assert!(identity.authentication().multi_factor);
    assert_eq!(fault(json!({"amr": {"0": "mfa"}})), wrong("amr"));
    assert_eq!(fault(json!({"amr": [1]})), wrong("amr"));
    assert_eq!(fault(json!({"acr": 2})), wrong("acr"));
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::hash_map(
                prop_oneof![Just("x5t#S256".to_owned()), "[a-z.]{1,6}"],
                inner,
                0..4
            )
            .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn no_claim_of_any_shape_panics(
        name in prop_oneof![
            Just("exp"), Just("iat"), Just("nbf"), Just("auth_time"), Just("aud"), Just("sub"), Just("cnf"),
            Just("groups"), Just("realm_access"), Just("amr"), Just("acr"), Just("acrs"), Just("name"),
            Just("_claim_names"), Just("typ"), Just("email_verified"),
        ],
        value in any_json(),
    ) {
        let mut claims = testing::good_claims();
        claims[name] = value;
        let _ = accept_as(&testing::issuer_config(), Some("at+jwt"), &claims);
    }

    #[test]
    fn whatever_is_accepted_is_within_its_times(iat in 0..4_000_000_000_i64, life in 1..10_000_i64, nbf in 0..4_000_000_000_i64) {
        let claims = claims_with(json!({"iat": iat, "exp": iat + life, "nbf": nbf, "auth_time": null}));
        if let Ok(identity) = accept_as(&testing::issuer_config(), Some("at+jwt"), &claims) {
            prop_assert!(life <= 3600);
            prop_assert!(iat - 30 <= START && nbf - 30 <= START && START < iat + life + 30);
            prop_assert!(identity.is_usable(now()));
        }
    }
}
