//! Destinations: what is told apart, what is opened by which words, and what never is.

use std::sync::Arc;

use crate::request::Level;
use crate::testing::{Asked, Site, asked, set, site};
use crate::{Challenge, CloudService, Deny, DenyCause, Held, Permit, PolicySet};

fn ask(set: &PolicySet, site: &Site) -> Result<Permit, Deny> {
    let asked = asked().to(set, site);
    set.decide(&asked.request(), asked.now)
}

fn opens(set: &PolicySet, site: &Site) -> bool {
    ask(set, site).is_ok()
}

fn listed(host: &str, categories: &[&str]) -> Site {
    Site {
        categories: categories.iter().copied().map(Arc::from).collect(),
        ..site(host)
    }
}

fn of_service(host: &str, service: CloudService) -> Site {
    Site {
        service: Some(Arc::new(service)),
        ..site(host)
    }
}

const NO_GROUPS: [&str; 0] = [];

#[test]
fn what_no_policy_names_is_one_class() {
    let set = set(
        r#"@id("all") permit(principal, action, resource is Masugata::Destination);
           @id("c2") forbid(principal, action, resource in Masugata::Category::"c2");
           @id("box") forbid(principal, action, resource in Masugata::Domain::"box.com");"#,
    );
    let revision = |site: &Site| set.place(&site.whereto()).revision();
    let unknown = revision(&site("www.example.com"));
    let other = Site {
        port: 80,
        domain: Some("example.net"),
        ..listed("example.net", &["news"])
    };
    assert_eq!(unknown, revision(&other));
    assert_eq!(unknown, revision(&site("notbox.com")));
    assert_ne!(
        unknown,
        revision(&listed("www.example.com", &["c2", "news"]))
    );
    assert_ne!(unknown, revision(&site("192.0.2.7")), "an address");
    assert_ne!(unknown, revision(&site("box.com")));
    assert_eq!(revision(&site("a.b.box.com")), revision(&site("box.com")));
    assert_eq!(
        revision(&listed("a.test", &["c2"])),
        revision(&listed("b.test", &["c2", "news"]))
    );
}

#[test]
fn one_hundred_thousand_hosts_of_one_class_are_one_decision() {
    let set = set(
        r#"@id("all") permit(principal, action, resource is Masugata::Destination);
           @id("box") forbid(principal, action, resource in Masugata::Domain::"box.com");"#,
    );
    let (asked, mut site) = (asked(), site(""));
    for number in 0..100_000 {
        site.host = format!("host-{number}.example");
        let asked = asked.to(&set, &site);
        assert!(set.decide(&asked.request(), asked.now).is_ok());
    }
    assert_eq!(set.take_counts(), (1, 99_999));
}

#[test]
fn a_flood_of_hosts_that_policies_read_does_not_grow_the_memory_without_bound() {
    let set = set(
        r#"@id("all") permit(principal, action, resource is Masugata::Destination)
             when { resource.host like "*.example" };"#,
    );
    let mut site = site("");
    for number in 0..100_000 {
        site.host = format!("host-{number}.{}.example", "x".repeat(60));
        set.place(&site.whereto());
    }
    assert!(set.placer.weight() <= 16 << 20);
}

#[test]
fn a_domain_is_the_name_and_everything_below_it() {
    let set =
        set(r#"@id("box") permit(principal, action, resource in Masugata::Domain::"box.com");"#);
    assert!(opens(&set, &site("box.com")));
    assert!(opens(&set, &site("a.b.box.com")));
    for host in [
        "com",
        "notbox.com",
        "box.com.evil.test",
        "box.example",
        ".com",
    ] {
        assert!(!opens(&set, &site(host)), "{host}");
    }
}

#[test]
fn another_spelling_of_a_host_does_not_get_past_a_forbid() {
    let set = set(
        r#"@id("all") permit(principal, action, resource is Masugata::Destination);
           @id("box") forbid(principal, action, resource in Masugata::Domain::"box.com");
           @id("host") forbid(principal, action, resource == Masugata::Destination::"evil.test");"#,
    );
    for host in [
        "BOX.com",
        "box.com.",
        "a.Box.Com.",
        "EVIL.test",
        "evil.test.",
    ] {
        assert!(!opens(&set, &site(host)), "{host}");
    }
}

#[test]
fn the_parts_of_an_address_are_no_domains() {
    let set = set(
        r#"@id("odd") permit(principal, action, resource in Masugata::Domain::"2.example");
           @id("one") permit(principal, action, resource == Masugata::Destination::"192.0.2.7");"#,
    );
    assert!(opens(&set, &site("192.0.2.7")));
    assert!(!opens(&set, &site("192.0.2.8")));
    let pretended = Site {
        address: true,
        ..site("1.2.example")
    };
    assert!(!opens(&set, &pretended));
}

#[test]
fn a_group_or_level_opens_apps_and_services_but_no_unlisted_site() {
    for resource in [
        r#"resource in Masugata::AppGroup::"tools""#,
        r#"resource in Masugata::Level::"internal""#,
    ] {
        let set = set(&format!(
            r#"@id("x") permit(principal, action, {resource});"#
        ));
        let asked = asked();
        assert!(
            set.decide(&asked.request(), asked.now).is_ok(),
            "{resource}"
        );
        let known = CloudService::new("crm", Some(Level::Internal), None, ["tools"]);
        assert!(opens(&set, &of_service("crm.example", known)), "{resource}");
        let other = CloudService::new("crm", Some(Level::Public), None, NO_GROUPS);
        assert!(
            !opens(&set, &of_service("crm.example", other)),
            "{resource}"
        );
        assert!(!opens(&set, &site("crm.example")), "{resource}");
    }
}

#[test]
fn a_grant_for_apps_opens_no_destination_and_the_other_way_round() {
    let tools = || CloudService::new("crm", None, None, ["tools"]);
    let apps = set(
        r#"@id("x") permit(principal, action, resource is Masugata::App in Masugata::AppGroup::"tools");
           @id("y") permit(principal, action, resource is Masugata::App);"#,
    );
    assert!(!opens(&apps, &of_service("crm.example", tools())));
    let services = set(
        r#"@id("x") permit(principal, action, resource is Masugata::Destination in Masugata::AppGroup::"tools");
           @id("y") permit(principal, action, resource is Masugata::Destination);"#,
    );
    let asked = asked();
    assert!(services.decide(&asked.request(), asked.now).is_err());
    assert!(opens(&services, &of_service("crm.example", tools())));
}

#[test]
fn an_app_and_a_destination_of_one_name_are_not_confused() {
    let set = set(r#"@id("x") permit(principal, action, resource == Masugata::App::"wiki");"#);
    assert!(!opens(&set, &site("wiki")));
    let service = CloudService::new("wiki", None, None, ["wiki"]);
    assert!(!opens(&set, &of_service("wiki", service)));
}

#[test]
fn a_category_forbid_beats_a_grant() {
    let set = set(
        r#"@id("all") permit(principal, action, resource in Masugata::AppGroup::"tools");
           @id("c2") forbid(principal, action, resource in Masugata::Category::"c2");"#,
    );
    let tools = || CloudService::new("crm", None, None, ["tools"]);
    assert!(opens(&set, &of_service("crm.example", tools())));
    let bad = Site {
        categories: vec!["c2".into(), "c2".into()],
        ..of_service("crm.example", tools())
    };
    let deny = ask(&set, &bad).unwrap_err();
    assert_eq!(deny.cause, DenyCause::Forbidden);
    assert_eq!(deny.policies.len(), 1);
}

#[test]
fn observing_lets_through_what_no_policy_permits_and_says_so_but_nothing_forbidden() {
    let set = set(
        r#"@id("hr") permit(principal in Masugata::Group::"hr", action, resource in Masugata::Domain::"hr.example");
           @id("c2") forbid(principal, action, resource in Masugata::Category::"c2");
           @id("odd") forbid(principal, action, resource in Masugata::Category::"odd")
             when { context.time.hour + 9223372036854775807 > 0 };"#,
    );
    let observe = |site: &Site| {
        let asked = asked().to(&set, site);
        set.decide_observing(&asked.request(), asked.now)
    };
    for _ in 0..2 {
        let permit = observe(&site("news.example")).unwrap();
        assert!(permit.is_observed() && permit.policies().is_empty());
        assert_eq!(permit.version(), set.version());
        let permit = observe(&site("hr.example")).unwrap();
        assert!(!permit.is_observed() && permit.policies().len() == 1);
        let deny = observe(&listed("news.example", &["c2"])).unwrap_err();
        assert_eq!(deny.cause, DenyCause::Forbidden);
        let deny = observe(&listed("news.example", &["odd"])).unwrap_err();
        assert_eq!(deny.cause, DenyCause::EvaluationFailed);
        // What was observed does not become permitted.
        assert!(!opens(&set, &site("news.example")));
    }
}

#[test]
fn a_destination_of_another_policy_set_is_denied() {
    let open = r#"@id("all") permit(principal, action, resource is Masugata::Destination);"#;
    let before = set(open);
    let after = set(&format!(
        r#"{open} @id("box") forbid(principal, action, resource in Masugata::Domain::"box.com");"#
    ));
    let asked = asked().to(&before, &site("box.com"));
    assert!(before.decide(&asked.request(), asked.now).is_ok());
    for decision in [
        after.decide(&asked.request(), asked.now),
        after.decide_fresh(&asked.request(), asked.now),
        after.decide_observing(&asked.request(), asked.now),
    ] {
        assert_eq!(decision.unwrap_err().cause, DenyCause::EvaluationFailed);
    }
}

#[test]
fn a_permit_holds_the_destination() {
    let set = set(r#"@id("all") permit(principal, action, resource is Masugata::Destination);"#);
    let asked = asked().to(&set, &site("example.com"));
    let permit = set.decide(&asked.request(), asked.now).unwrap();
    assert!(permit.app().is_none());
    let Held::Destination(held) = permit.resource() else {
        panic!("an app")
    };
    assert!(Arc::ptr_eq(held, asked.destination.as_ref().unwrap()));
}

#[test]
fn a_reason_is_asked_for_last_and_lifts_the_forbid() {
    let files = r#"@id("all") permit(principal, action, resource is Masugata::Destination);
        @id("files") @challenge("reason") forbid(principal, action, resource in Masugata::Category::"files")
          unless { context.request.reason_given };"#;
    let mfa = r#"@id("mfa") @challenge("fresh") forbid(principal, action, resource is Masugata::Destination)
          unless { context.authentication.certificate_bound };"#;
    let site = listed("files.example", &["files"]);
    let reasonable = set(files);
    let deny = ask(&reasonable, &site).unwrap_err();
    assert_eq!(deny.challenge, Some(Challenge::Reason));
    let given = Asked {
        reason_given: true,
        ..asked().to(&reasonable, &site)
    };
    assert!(reasonable.decide(&given.request(), given.now).is_ok());
    let both = set(&format!("{files}{mfa}").replace("certificate_bound", "multi_factor == false"));
    let deny = ask(&both, &site).unwrap_err();
    assert_eq!(deny.challenge, Some(Challenge::Fresh));
}

#[test]
fn a_permit_without_a_resource_opens_everything_and_is_found() {
    let set = set(r#"@id("a") permit(principal, action, resource);
@id("b") permit(principal, action == Masugata::Action::"read", resource);
@id("c") permit(principal, action in Masugata::Action::"use", resource) when { context.device.shared };
@id("d") permit(principal, action, resource is Masugata::App);
@id("e") permit(principal, action, resource is Masugata::Destination);
@id("f") forbid(principal, action, resource);"#);
    let found: Vec<String> = set
        .opens_everything()
        .iter()
        .map(ToString::to_string)
        .collect();
    insta::assert_snapshot!(found.join("\n\n"), @r"
    the permit `a` names no resource, and so opens the whole Internet
      --> test.cedar:1
    help: write `resource is Masugata::App`, or `resource is Masugata::Destination` if the Internet is meant

    the permit `c` names no resource, and so opens the whole Internet
      --> test.cedar:3
    help: write `resource is Masugata::App`, or `resource is Masugata::Destination` if the Internet is meant
    ");
}

#[test]
fn domains_that_policies_mention_are_told() {
    let set = set(
        r#"@id("a") permit(principal, action, resource in Masugata::Domain::"box.com");
           @id("b") permit(principal, action, resource is Masugata::Destination)
             when { resource in [Masugata::Domain::"co.jp", Masugata::Domain::"box.com"] };"#,
    );
    let mut domains = set.mentioned_domains();
    domains.sort_unstable();
    assert_eq!(domains, ["box.com", "co.jp"]);
}
