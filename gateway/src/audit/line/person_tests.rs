use std::collections::BTreeSet;
use std::sync::Arc;

use masugata_policy::Authentication;
use serde_json::Value;

use super::super::{Head, write_event};
use crate::audit::event::{Actor, Event, Person, PersonKind};
use crate::audit::fixtures::NOW;
use crate::audit::fragments::Fragments;
use crate::exchange::RequestId;

/// With everything that such a line can have.
pub(in crate::audit::line) fn person() -> Person {
    let text = |text: &str| Some(text.into());
    let authentication = Authentication::new(
        true,
        true,
        Some("phr"),
        ["hwk", "user", "mfa"],
        Some(NOW),
        false,
    );
    Person {
        at: NOW,
        generation: 3,
        kind: PersonKind::SignIn,
        failure: None,
        by: Actor::Person,
        principal: text("accounts/ada"),
        name: text("Ada Lovelace"),
        issuer: text("accounts"),
        session: text("5f1c9a2e"),
        factors: vec!["hwk".into(), "user".into(), "mfa".into()],
        authentication: Some(Arc::new(authentication)),
        app: text("payroll"),
        device: text("LT-0042"),
        thumbprint: Some([0xab; 32]),
        client: Some("203.0.113.5:50222".parse().unwrap()),
        request: Some(RequestId(0x42)),
        detail: None,
    }
}

pub(in crate::audit::line) fn line_of(person: Person) -> String {
    let mut buffer = Vec::new();
    write_event(
        &mut buffer,
        Head::GENESIS,
        &Event::Person(Box::new(person)),
        false,
        &mut Fragments::default(),
    );
    String::from_utf8(buffer).unwrap()
}

/// One that has every member at once.
pub(in crate::audit::line) fn fullest() -> Person {
    Person {
        kind: PersonKind::SessionStolen,
        failure: Some("credential-not-bound"),
        by: Actor::Provider("corp".into()),
        detail: Some("x".repeat(9000).into()),
        ..person()
    }
}

#[test]
fn a_sign_in_reads_like_this() {
    insta::assert_snapshot!(line_of(person()), @r##"{"v":1,"seq":1,"time":"2026-04-01T09:00:00.000Z","type":"person","log":"authentication","generation":3,"event":"sign-in","outcome":"success","by":"person","request_id":"00000000000000000000000000000042","principal":"accounts/ada","name":"Ada Lovelace","issuer":"accounts","session":"5f1c9a2e","factors":["hwk","user","mfa"],"authentication":{"multi_factor":true,"phishing_resistant":true,"acr":"phr","amr":["hwk","mfa","user"],"authenticated_at":"2026-04-01T09:00:00.000Z","age_seconds":0,"certificate_bound":false,"credential":"token"},"app":"payroll","device":"LT-0042","thumbprint":"abababababababababababababababababababababababababababababababab","client_address":"203.0.113.5","hash":"8a38c43423df612be3e41f90188068067bf776e9f02945fe197ec9f70ae07889"}"##);
}

#[test]
fn a_failed_sign_in_reads_like_this() {
    let failed = Person {
        failure: Some("id-token-invalid"),
        principal: None,
        session: None,
        authentication: None,
        factors: Vec::new(),
        name: Some("ada@corp.example\u{202e}\n".into()),
        detail: Some("the nonce is another one".into()),
        ..person()
    };
    insta::assert_snapshot!(line_of(failed), @r##"{"v":1,"seq":1,"time":"2026-04-01T09:00:00.000Z","type":"person","log":"authentication","generation":3,"event":"sign-in","outcome":"failure","code":"id-token-invalid","by":"person","request_id":"00000000000000000000000000000042","name":"ada@corp.example\u202e\n","issuer":"accounts","app":"payroll","device":"LT-0042","thumbprint":"abababababababababababababababababababababababababababababababab","client_address":"203.0.113.5","detail":"the nonce is another one","hash":"e8fd9b373326be9e48d93cdcc72624e19a7cf9cd2cd6dc62fcd27191cdc6ccac"}"##);
}

#[test]
fn a_stolen_session_reads_like_this() {
    let stolen = Person {
        kind: PersonKind::SessionStolen,
        failure: Some("credential-not-bound"),
        by: Actor::Gateway,
        ..person()
    };
    insta::assert_snapshot!(line_of(stolen), @r##"{"v":1,"seq":1,"time":"2026-04-01T09:00:00.000Z","type":"person","log":"authentication","generation":3,"event":"session-stolen","outcome":"failure","code":"credential-not-bound","alert":true,"by":"gateway","request_id":"00000000000000000000000000000042","principal":"accounts/ada","name":"Ada Lovelace","issuer":"accounts","session":"5f1c9a2e","factors":["hwk","user","mfa"],"authentication":{"multi_factor":true,"phishing_resistant":true,"acr":"phr","amr":["hwk","mfa","user"],"authenticated_at":"2026-04-01T09:00:00.000Z","age_seconds":0,"certificate_bound":false,"credential":"token"},"app":"payroll","device":"LT-0042","thumbprint":"abababababababababababababababababababababababababababababababab","client_address":"203.0.113.5","hash":"acbed39e6bf6441263136dc272202cbb2c5d1f68122143db7c4dde14e6cb0c19"}"##);
}

#[test]
fn what_others_did_to_an_account_says_who() {
    let by = |by| {
        let line = line_of(Person {
            kind: PersonKind::AccountDisabled,
            by,
            ..person()
        });
        let line: Value = serde_json::from_str(&line).unwrap();
        (line["by"].clone(), line["provider"].clone())
    };
    assert_eq!(by(Actor::Scim), ("scim".into(), Value::Null));
    assert_eq!(
        by(Actor::Administrator),
        ("administrator".into(), Value::Null)
    );
    let provider = by(Actor::Provider("corp".into()));
    assert_eq!(provider, ("provider".into(), "corp".into()));
}

#[test]
fn every_kind_has_a_word_and_a_log_of_its_own() {
    let words: BTreeSet<_> = PersonKind::ALL.iter().map(|kind| kind.as_str()).collect();
    assert_eq!(words.len(), PersonKind::ALL.len());
    for kind in PersonKind::ALL {
        let line: Value = serde_json::from_str(&line_of(Person { kind, ..person() })).unwrap();
        assert_eq!(line["event"], kind.as_str());
        assert_eq!(line["log"], kind.log());
        assert_eq!(line.get("alert").is_some(), kind.is_alert());
    }
}

// Attack: a name of a megabyte, or one that ends the line, hides what comes after it.
#[test]
fn no_text_of_a_person_ends_or_bursts_a_line() {
    let long = "\"\n\u{202e}".repeat(400_000);
    let text = || Some(long.as_str().into());
    let line = line_of(Person {
        name: text(),
        detail: text(),
        principal: text(),
        issuer: text(),
        app: text(),
        device: text(),
        factors: vec![long.as_str().into(); 100],
        ..person()
    });
    assert!(line.len() <= 60 * 1024, "{}", line.len());
    assert_eq!(line.matches('\n').count(), 1);
    let line: Value = serde_json::from_str(&line).unwrap();
    assert!(
        line["truncated"]
            .as_array()
            .is_some_and(|cut| !cut.is_empty())
    );
}
