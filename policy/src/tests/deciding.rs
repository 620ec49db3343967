//! What is permitted, what is denied, why, and for how long.

use std::sync::Arc;
use std::time::Duration;

use crate::posture::{DevicePosture, PostureAttribute, PostureValue};
use crate::request::{Action, App, Authentication, Level, Principal, PrincipalKind};
use crate::testing::{AT, Asked, asked, full_posture, laptop, observed, set, user};
use crate::time::{Now, Timestamp};
use crate::{Challenge, Deny, DenyCause, Effect, Outcome, Permit, PolicySet};

const EVERYBODY: &str = r#"@id("everybody") permit(principal, action, resource);"#;
/// Adding anything to it overflows, which the validator cannot foresee.
const OVERFLOWS: &str = "context.time.hour + 9223372036854775807 > 0";

fn decide(set: &PolicySet, asked: &Asked) -> Result<Permit, Deny> {
    set.decide(&asked.request(), asked.now)
}

fn named(ids: &[&str]) -> Arc<[Box<str>]> {
    ids.iter().map(|id| Box::from(*id)).collect()
}

#[test]
fn what_no_policy_permits_is_denied() {
    let set = set(
        r#"@id("hr") permit(principal in Masugata::Group::"hr", action, resource);
           @id("never") forbid(principal, action, resource) when { context.device.id == "x" };"#,
    );
    let stranger = Asked {
        principal: user("corp/eve", &["employees"]),
        ..asked()
    };
    let deny = decide(&set, &stranger).unwrap_err();
    assert_eq!(deny.cause, DenyCause::NoPermit);
    assert!(deny.policies.is_empty());
    assert_eq!(deny.challenge, None);
    assert_eq!(&deny.version, set.version());
}

#[test]
fn a_permit_holds_the_request_and_names_all_policies_that_matched_in_order() {
    let set = set(r#"@id("z") permit(principal, action, resource);
           @id("a") permit(principal, action, resource) when { context.device.owned_by_principal };
           @id("m") permit(principal, action, resource) when { context.request.path == "/other" };"#);
    let asked = asked();
    let permit = decide(&set, &asked).unwrap();
    assert_eq!(permit.policies(), &named(&["a", "z"]));
    assert!(Arc::ptr_eq(permit.principal(), &asked.principal));
    assert!(Arc::ptr_eq(permit.device(), &asked.device));
    assert!(Arc::ptr_eq(permit.authentication(), &asked.authentication));
    assert!(Arc::ptr_eq(permit.app().unwrap(), &asked.app));
    assert_eq!(permit.action(), Action::Read);
    assert_eq!(permit.version(), set.version());
}

#[test]
fn a_reused_permit_holds_the_new_request_and_not_the_old_one() {
    let set = set(EVERYBODY);
    let first = asked();
    decide(&set, &first).unwrap();
    let second = Asked {
        device: laptop(DevicePosture::default()),
        authentication: Arc::new(Authentication::new(
            false,
            false,
            None,
            ["pwd"],
            None,
            false,
        )),
        ..first.clone()
    };
    let permit = decide(&set, &second).unwrap();
    assert!(Arc::ptr_eq(permit.device(), &second.device));
    assert!(Arc::ptr_eq(permit.authentication(), &second.authentication));
}

#[test]
fn forbid_wins() {
    let set = set(r#"@id("everybody") permit(principal, action, resource);
           @id("b") forbid(principal, action, resource);
           @id("a") forbid(principal, action in Masugata::Action::"use", resource);"#);
    let deny = decide(&set, &asked()).unwrap_err();
    assert_eq!(deny.cause, DenyCause::Forbidden);
    assert_eq!(deny.policies, named(&["a", "b"]));
}

#[test]
fn an_erroring_forbid_denies() {
    let set = set(&format!(
        r#"{EVERYBODY} @id("broken") @challenge("mfa") @reason_en("r")
           forbid(principal, action, resource) when {{ {OVERFLOWS} }};"#
    ));
    let deny = decide(&set, &asked()).unwrap_err();
    assert_eq!(deny.cause, DenyCause::EvaluationFailed);
    assert_eq!(deny.policies, named(&["broken"]));
    assert_eq!(deny.challenge, None, "signing in again would not repair it");
    assert_eq!(deny.guidance.reason_en.as_deref(), Some("r"));
}

#[test]
fn an_erroring_forbid_is_reported_even_beside_one_that_matched() {
    let set = set(&format!(
        r#"@id("broken") forbid(principal, action, resource) when {{ {OVERFLOWS} }};
           @id("step-up") @challenge("mfa") forbid(principal, action, resource);"#
    ));
    let deny = decide(&set, &asked()).unwrap_err();
    assert_eq!(deny.cause, DenyCause::EvaluationFailed);
    assert_eq!(deny.policies, named(&["broken", "step-up"]));
    assert_eq!(deny.challenge, None);
}

#[test]
fn an_erroring_permit_is_skipped() {
    let broken =
        format!(r#"@id("broken") permit(principal, action, resource) when {{ {OVERFLOWS} }};"#);
    let deny = decide(&set(&broken), &asked()).unwrap_err();
    assert_eq!(deny.cause, DenyCause::NoPermit);
    let permit = decide(&set(&format!("{broken}{EVERYBODY}")), &asked()).unwrap();
    assert_eq!(permit.policies(), &named(&["everybody"]));
}

#[test]
fn an_attribute_of_an_entity_written_in_a_policy_is_unknown_and_fails_closed() {
    let set = set(&format!(
        r#"{EVERYBODY} @id("odd") forbid(principal, action, resource)
           when {{ Masugata::User::"corp/bob".id == "corp/bob" }};"#
    ));
    let deny = decide(&set, &asked()).unwrap_err();
    assert_eq!(deny.cause, DenyCause::EvaluationFailed);
}

#[test]
fn a_challenge_is_given_only_when_meeting_it_is_all_that_is_missing() {
    let with = |forbids: &str| {
        let set = set(&format!("{EVERYBODY}{forbids}"));
        decide(&set, &asked()).unwrap_err().challenge
    };
    let mfa = r#"@id("a") @challenge("mfa") forbid(principal, action, resource);"#;
    let fresh = r#"@id("b") @challenge("fresh") forbid(principal, action, resource);"#;
    let passkey =
        r#"@id("c") @challenge("phishing_resistant") forbid(principal, action, resource);"#;
    let plain = r#"@id("d") forbid(principal, action, resource);"#;
    let idle = r#"@id("e") forbid(principal, action, resource) when { context.device.id == "" };"#;
    assert_eq!(with(mfa), Some(Challenge::MultiFactor));
    assert_eq!(with(fresh), Some(Challenge::Fresh));
    assert_eq!(with(&[mfa, fresh].concat()), Some(Challenge::MultiFactor));
    let all = [passkey, mfa, fresh].concat();
    assert_eq!(with(&all), Some(Challenge::PhishingResistant));
    assert_eq!(with(&[all.as_str(), plain].concat()), None);
    assert_eq!(with(&[mfa, idle].concat()), Some(Challenge::MultiFactor));
}

#[test]
fn guidance_is_that_of_the_first_policy_with_texts() {
    let set = set(
        r#"@id("c") @reason_en("third") forbid(principal, action, resource);
           @id("b") @reason_ja("二番目") @remedy_ja("直す") forbid(principal, action, resource);
           @id("a") forbid(principal, action, resource);"#,
    );
    let guidance = decide(&set, &asked()).unwrap_err().guidance;
    assert_eq!(guidance.reason_ja.as_deref(), Some("二番目"));
    assert_eq!(guidance.remedy_ja.as_deref(), Some("直す"));
    assert_eq!(guidance.reason_en, None);
}

#[test]
fn posture_counts_only_while_it_is_fresh() {
    let set = set(r#"@id("encrypted") permit(principal, action, resource)
           when { context.device.posture has disk_encrypted && context.device.posture.disk_encrypted };"#);
    let mut asked = asked();
    let permit = decide(&set, &asked).unwrap();
    let stale = AT.plus(Duration::from_secs(3600));
    assert_eq!(permit.holds_until(), stale);
    asked.now = Now::utc(Timestamp::from_millis(stale.as_millis() - 1));
    assert!(decide(&set, &asked).is_ok());
    asked.now = Now::utc(stale);
    assert!(decide(&set, &asked).is_err());
    asked.now = Now::utc(AT);
    assert!(decide(&set, &asked).is_ok(), "the clock was set back");
    asked.now = Now::utc(AT.minus(Duration::from_secs(61)));
    assert!(decide(&set, &asked).is_err(), "dated in the future");
}

#[test]
fn turning_off_disk_encryption_closes_at_once_what_asks_for_it() {
    let set = set(
        r#"@id("public") permit(principal, action, resource in Masugata::Level::"public");
           @id("secret") permit(principal, action, resource in Masugata::Level::"confidential")
           when { context.device.posture has disk_encrypted && context.device.posture.disk_encrypted };"#,
    );
    let none: [&str; 0] = [];
    let secret = Arc::new(App::new("payroll", Level::Confidential, none));
    let public = Arc::new(App::new("menu", Level::Public, none));
    let good = Asked {
        app: secret,
        ..asked()
    };
    assert!(decide(&set, &good).is_ok());
    let off = observed(PostureValue::Flag(false), AT);
    let bad = Asked {
        device: laptop(full_posture().with(PostureAttribute::DiskEncrypted, off)),
        ..good.clone()
    };
    assert!(decide(&set, &bad).is_err());
    assert!(decide(&set, &good).is_ok());
    assert!(decide(&set, &Asked { app: public, ..bad }).is_ok());
}

#[test]
fn a_client_that_comes_over_ipv6_mapped_ipv4_is_in_the_ipv4_range() {
    let set = set(r#"@id("office") permit(principal, action, resource)
           when { context.network.address.isInRange(ip("192.0.2.0/24")) };"#);
    for address in ["192.0.2.9", "::ffff:192.0.2.9"] {
        let asked = Asked {
            address: address.parse().unwrap(),
            ..asked()
        };
        assert!(decide(&set, &asked).is_ok(), "{address}");
    }
    let elsewhere = Asked {
        address: "2001:db8::9".parse().unwrap(),
        ..asked()
    };
    assert!(decide(&set, &elsewhere).is_err());
}

#[test]
fn a_change_of_the_clocks_ends_a_permit_that_reads_the_hour() {
    let set = set(
        r#"@id("morning") permit(principal, action, resource) when { context.time.hour < 10 };"#,
    );
    let transition = AT.plus(Duration::from_secs(60));
    let mut asked = asked();
    asked.now = Now {
        at: AT,
        utc_offset_seconds: 0,
        offset_holds_until: transition,
    };
    assert_eq!(decide(&set, &asked).unwrap().holds_until(), transition);
    // 09:41 has become 10:41.
    asked.now.utc_offset_seconds = 3600;
    assert!(decide(&set, &asked).is_err());
}

#[test]
fn a_permit_that_reads_no_time_stands_for_ever() {
    let permit = decide(&set(EVERYBODY), &asked()).unwrap();
    assert_eq!(permit.holds_until(), Timestamp::MAX);
}

#[test]
fn a_service_is_not_the_user_of_the_same_name() {
    let set =
        set(r#"@id("ada") permit(principal == Masugata::User::"corp/ada", action, resource);"#);
    let none: [&str; 0] = [];
    let kind = PrincipalKind::Service;
    let service = Principal::new(kind, "corp/ada", "certificate", None, none, none);
    let asked = asked();
    assert!(decide(&set, &asked).is_ok());
    let impostor = Asked {
        principal: Arc::new(service),
        ..asked
    };
    assert!(decide(&set, &impostor).is_err());
}

#[test]
fn a_group_is_not_the_role_of_the_same_name() {
    let set =
        set(r#"@id("auditors") permit(principal in Masugata::Role::"auditor", action, resource);"#);
    let none: [&str; 0] = [];
    let kind = PrincipalKind::User;
    let with = |groups: &[&str], roles: &[&str]| {
        let groups = groups.iter().copied();
        let principal = Principal::new(kind, "corp/a", "corp", None, groups, roles.iter().copied());
        let asked = Asked {
            principal: Arc::new(principal),
            ..asked()
        };
        decide(&set, &asked).is_ok()
    };
    assert!(with(&none, &["auditor"]));
    assert!(!with(&["auditor"], &none));
}

/// An attacker who can choose a name must not be able to write policy syntax with it.
#[test]
fn quotes_in_names_are_not_syntax() {
    let set =
        set(r#"@id("ada") permit(principal == Masugata::User::"corp/ada", action, resource);"#);
    for id in [
        r#"corp/eve" || "corp/ada"#,
        r#"corp/ada\u{0}"#,
        "corp/ada\0",
        "corp/ada ",
        "corp/Ada",
    ] {
        let asked = Asked {
            principal: user(id, &[]),
            ..asked()
        };
        assert!(decide(&set, &asked).is_err(), "{id:?}");
    }
}

/// A reused answer must not leak from one path to another, whatever the hash.
#[test]
fn each_path_has_its_own_answer() {
    let set = set(
        r#"@id("docs") permit(principal, action, resource) when { context.request.path like "/docs/*" };"#,
    );
    for round in 0..3 {
        for number in 0..200 {
            let allowed = Asked {
                path: format!("/docs/{number}"),
                ..asked()
            };
            let denied = Asked {
                path: format!("/admin/{number}"),
                ..asked()
            };
            assert!(decide(&set, &allowed).is_ok(), "{round} {number}");
            assert!(decide(&set, &denied).is_err(), "{round} {number}");
        }
    }
}

/// Method and host are kept apart, not glued together: ("GE", "Thost") is not ("GET", "host").
#[test]
fn neighbouring_facts_do_not_run_into_each_other() {
    let set = set(r#"@id("one") permit(principal, action, resource)
           when { context.request.method == "GET" && context.request.host == "wiki.example" };"#);
    let good = asked();
    assert!(decide(&set, &good).is_ok());
    let shifted = Asked {
        method: "GETw".to_owned(),
        host: "iki.example".to_owned(),
        ..good
    };
    assert!(decide(&set, &shifted).is_err());
}

#[test]
fn an_explanation_names_what_was_considered_and_what_became_of_it() {
    let set = set(&format!(
        r#"@id("everybody") permit(principal, action, resource);
           @id("hr-only") permit(principal in Masugata::Group::"finance", action, resource);
           @id("writing") forbid(principal, action == Masugata::Action::"write", resource);
           @id("old") forbid(principal, action, resource)
             when {{ context.authentication has age_minutes && context.authentication.age_minutes > 60 }};
           @id("night") forbid(principal, action, resource) when {{ context.time.hour < 24 }};
           @id("broken") permit(principal, action, resource) when {{ {OVERFLOWS} }};"#
    ));
    let asked = asked();
    let explanation = set.explain(&asked.request(), asked.now);
    assert_eq!(
        explanation.decision.unwrap_err().policies,
        named(&["night"])
    );
    let seen: Vec<(&str, usize, Effect, &Outcome)> = explanation
        .considered
        .iter()
        .map(|each| (&*each.policy, each.line, each.effect, &each.outcome))
        .collect();
    assert_eq!(seen[0], ("everybody", 1, Effect::Permit, &Outcome::Matched));
    assert_eq!(seen[1], ("old", 4, Effect::Forbid, &Outcome::NotMatched));
    assert_eq!(seen[2], ("night", 6, Effect::Forbid, &Outcome::Matched));
    assert_eq!((seen[3].0, seen[3].1), ("broken", 7));
    assert!(matches!(seen[3].3, Outcome::Failed(why) if why.contains("overflow")));
    assert_eq!(seen.len(), 4);
    assert_eq!(
        explanation.facts,
        ["context.authentication.age_minutes", "context.time.hour"]
    );
}
