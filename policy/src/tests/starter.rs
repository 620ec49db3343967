//! The starter set in `deploy/policies`, as a small company would use it.

use std::sync::Arc;
use std::time::Duration;

use crate::posture::{DevicePosture, PostureAttribute, PostureValue};
use crate::request::{
    Action, App, Authentication, Device, DeviceKind, Level, Ownership, Principal, PrincipalKind,
};
use crate::testing::{AT, Asked, Site, asked, full_posture, laptop, observed, site, user};
use crate::time::Now;
use crate::{Challenge, CloudService, Deny, DenyCause, PolicySet, PolicySource};

const FILES: [(&str, &str); 6] = [
    (
        "apps.cedar",
        include_str!("../../../deploy/policies/apps.cedar"),
    ),
    (
        "confidential.cedar",
        include_str!("../../../deploy/policies/confidential.cedar"),
    ),
    (
        "egress.cedar",
        include_str!("../../../deploy/policies/egress.cedar"),
    ),
    (
        "internal.cedar",
        include_str!("../../../deploy/policies/internal.cedar"),
    ),
    (
        "public.cedar",
        include_str!("../../../deploy/policies/public.cedar"),
    ),
    (
        "services.cedar",
        include_str!("../../../deploy/policies/services.cedar"),
    ),
];

fn starter() -> PolicySet {
    let sources = FILES.map(|(name, text)| PolicySource { name, text });
    PolicySet::load(&sources).unwrap_or_else(|error| panic!("{error}"))
}

fn app(name: &str, level: Level, groups: &[&str]) -> Arc<App> {
    Arc::new(App::new(name, level, groups.iter().copied()))
}

fn payroll() -> Arc<App> {
    app("payroll", Level::Confidential, &["hr-apps"])
}

/// Ada of HR opens the payroll app.
fn at_payroll() -> Asked {
    Asked {
        app: payroll(),
        ..asked()
    }
}

fn denied(asked: &Asked) -> Deny {
    starter().decide(&asked.request(), asked.now).unwrap_err()
}

fn permitted(asked: &Asked) -> bool {
    starter().decide(&asked.request(), asked.now).is_ok()
}

fn signed_in(multi_factor: bool, resistant: bool, minutes_ago: u64) -> Arc<Authentication> {
    let none: [&str; 0] = [];
    let at = AT.minus(Duration::from_secs(minutes_ago * 60));
    Arc::new(Authentication::new(
        multi_factor,
        resistant,
        None,
        none,
        Some(at),
        false,
    ))
}

fn device(kind: DeviceKind, ownership: Ownership, posture: DevicePosture) -> Arc<Device> {
    let none: [&str; 0] = [];
    Arc::new(Device::new("d", kind, ownership, None, none, posture))
}

#[test]
fn it_loads_without_warnings() {
    assert_eq!(starter().warnings(), []);
}

#[test]
fn whoever_meets_the_conditions_gets_in() {
    assert!(permitted(&asked()));
    assert!(permitted(&at_payroll()));
    for action in Action::ALL {
        let asked = Asked {
            action,
            ..at_payroll()
        };
        assert!(permitted(&asked), "{action:?}");
    }
}

#[test]
fn public_apps_ask_for_nothing_but_enrolment_and_membership() {
    let menu = Asked {
        app: app("menu", Level::Public, &[]),
        device: device(
            DeviceKind::Phone,
            Ownership::Personal,
            DevicePosture::default(),
        ),
        authentication: signed_in(false, false, 10_000),
        ..asked()
    };
    assert!(permitted(&menu));
    let contractor = Asked {
        principal: user("corp/cai", &["contractors"]),
        ..menu.clone()
    };
    assert!(permitted(&contractor));
    let stranger = Asked {
        principal: user("corp/eve", &[]),
        ..menu
    };
    assert_eq!(denied(&stranger).cause, DenyCause::NoPermit);
}

#[test]
fn the_wrong_group_has_no_permit() {
    let colleague = Asked {
        device: device(DeviceKind::Laptop, Ownership::Company, full_posture()),
        principal: user("corp/bob", &["employees", "engineering"]),
        ..at_payroll()
    };
    assert_eq!(denied(&colleague).cause, DenyCause::NoPermit);
}

#[test]
fn a_password_alone_is_asked_for_more() {
    for start in [asked(), at_payroll()] {
        let weak = Asked {
            authentication: signed_in(false, false, 10),
            ..start
        };
        let deny = denied(&weak);
        assert_eq!(deny.cause, DenyCause::Forbidden);
        assert_eq!(deny.challenge, Some(Challenge::MultiFactor));
        assert!(deny.guidance.reason_ja.is_some() && deny.guidance.remedy_en.is_some());
    }
}

#[test]
fn an_old_sign_in_is_asked_to_be_repeated_for_confidential_apps() {
    let at_after = |resistant, minutes| Asked {
        authentication: signed_in(true, resistant, minutes),
        ..at_payroll()
    };
    assert!(permitted(&at_after(false, 239)));
    assert_eq!(
        denied(&at_after(false, 240)).challenge,
        Some(Challenge::Fresh)
    );
    assert!(permitted(&at_after(true, 719)));
    assert_eq!(
        denied(&at_after(true, 720)).challenge,
        Some(Challenge::Fresh)
    );
}

#[test]
fn each_missing_or_bad_posture_attribute_is_named_with_a_remedy() {
    for (attribute, policy) in [
        (
            PostureAttribute::DiskEncrypted,
            "confidential-needs-disk-encryption",
        ),
        (
            PostureAttribute::FirewallEnabled,
            "confidential-needs-firewall",
        ),
        (
            PostureAttribute::ScreenLock,
            "confidential-needs-screen-lock",
        ),
        (
            PostureAttribute::PatchesCurrent,
            "confidential-needs-patches",
        ),
    ] {
        let off = observed(PostureValue::Flag(false), AT);
        let long_ago = observed(
            PostureValue::Flag(true),
            AT.minus(Duration::from_secs(7200)),
        );
        for seen in [off, long_ago] {
            let asked = Asked {
                device: laptop(full_posture().with(attribute, seen)),
                ..at_payroll()
            };
            let deny = denied(&asked);
            assert_eq!(*deny.policies, [Box::from(policy)]);
            assert_eq!(deny.challenge, None);
            let texts = &deny.guidance;
            assert!(texts.remedy_ja.is_some() && texts.remedy_en.is_some());
        }
    }
}

#[test]
fn a_private_device_may_enter_internal_apps_when_it_is_managed_and_never_confidential_ones() {
    let private = device(DeviceKind::Phone, Ownership::Personal, full_posture());
    let unmanaged = full_posture().with(
        PostureAttribute::Managed,
        observed(PostureValue::Flag(false), AT),
    );
    let unmanaged = device(DeviceKind::Phone, Ownership::Personal, unmanaged);
    let on = |device: &Arc<Device>, app: Arc<App>| Asked {
        device: Arc::clone(device),
        app,
        ..asked()
    };
    assert!(permitted(&on(&private, asked().app)));
    assert!(!permitted(&on(&unmanaged, asked().app)));
    let deny = denied(&on(&private, payroll()));
    assert_eq!(
        *deny.policies,
        [Box::from("confidential-needs-company-device")]
    );
}

#[test]
fn confidential_apps_open_on_ones_own_device_or_a_shared_one() {
    let of = |owner: Option<&str>, app: Arc<App>| {
        let none: [&str; 0] = [];
        let (kind, company) = (DeviceKind::Laptop, Ownership::Company);
        Asked {
            device: Arc::new(Device::new("d", kind, company, owner, none, full_posture())),
            app,
            ..asked()
        }
    };
    assert!(permitted(&of(Some("corp/ada"), payroll())));
    assert!(permitted(&of(None, payroll())));
    assert!(permitted(&of(Some("corp/bob"), asked().app)), "internal");
    for other in ["corp/bob", "corp/Ada", "other/ada", "ada"] {
        let deny = denied(&of(Some(other), payroll()));
        assert_eq!(*deny.policies, [Box::from("confidential-needs-own-device")]);
        assert!(deny.guidance.remedy_en.is_some() && deny.challenge.is_none());
    }
}

#[test]
fn contractors_work_by_day() {
    let at = |hours: i64| Asked {
        principal: user("corp/cai", &["contractors"]),
        app: app("tickets", Level::Internal, &["contractor-apps"]),
        now: Now::utc(AT.plus(Duration::from_secs(hours.unsigned_abs() * 3600))),
        device: laptop(PostureAttribute::ALL.into_iter().fold(
            DevicePosture::default(),
            |posture, attribute| {
                let mut seen = observed(PostureValue::Flag(true), AT);
                seen.max_age = Duration::from_secs(30 * 86_400);
                posture.with(attribute, seen)
            },
        )),
        ..asked()
    };
    assert!(permitted(&at(0)), "Monday, 9:41");
    assert_eq!(
        *denied(&at(13)).policies,
        [Box::from("contractors-work-by-day")]
    );
    assert_eq!(
        *denied(&at(5 * 24)).policies,
        [Box::from("contractors-work-by-day")]
    );
    let wiki = Asked {
        app: asked().app,
        ..at(0)
    };
    assert_eq!(denied(&wiki).cause, DenyCause::NoPermit);
}

#[test]
fn auditors_look_and_do_not_touch() {
    let none: [&str; 0] = [];
    let kind = PrincipalKind::User;
    let auditor = Principal::new(kind, "corp/ann", "corp", None, none, ["auditor"]);
    let books = Asked {
        device: device(DeviceKind::Laptop, Ownership::Company, full_posture()),
        principal: Arc::new(auditor),
        app: app("books", Level::Confidential, &["finance-apps"]),
        ..asked()
    };
    assert!(permitted(&books));
    let writing = Asked {
        action: Action::Write,
        ..books
    };
    assert_eq!(denied(&writing).cause, DenyCause::NoPermit);
}

#[test]
fn a_stolen_service_certificate_is_worth_nothing_on_a_laptop() {
    let none: [&str; 0] = [];
    let kind = PrincipalKind::Service;
    let service = Principal::new(kind, "probe", "certificate", None, ["monitoring"], none);
    let on_server = Asked {
        principal: Arc::new(service),
        app: app("wiki", Level::Internal, &["monitored-apps"]),
        device: device(
            DeviceKind::Server,
            Ownership::Company,
            DevicePosture::default(),
        ),
        ..asked()
    };
    assert!(permitted(&on_server));
    let on_laptop = Asked {
        device: laptop(full_posture()),
        ..on_server
    };
    let deny = denied(&on_laptop);
    assert_eq!(
        *deny.policies,
        [Box::from("services-only-on-company-servers")]
    );
}

const OPEN: PolicySource<'_> = PolicySource {
    name: "egress-open.cedar",
    text: include_str!("../../../deploy/policies/optional/egress-open.cedar"),
};

fn opened() -> PolicySet {
    let sources = FILES.map(|(name, text)| PolicySource { name, text });
    let sources = [&sources[..], &[OPEN]].concat();
    PolicySet::load(&sources).unwrap_or_else(|error| panic!("{error}"))
}

fn listed(host: &str, category: &str) -> Site {
    Site {
        categories: vec![category.into()],
        ..site(host)
    }
}

fn service(level: Option<Level>, groups: &[&str], categories: &[&str]) -> Site {
    let service = CloudService::new("crm", level, None, groups.iter().copied());
    Site {
        service: Some(Arc::new(service)),
        categories: categories.iter().copied().map(Arc::from).collect(),
        ..site("crm.example")
    }
}

fn goes(set: &PolicySet, asked: &Asked, site: &Site) -> Result<(), Deny> {
    let asked = asked.to(set, site);
    set.decide(&asked.request(), asked.now).map(|_| ())
}

#[test]
fn employees_reach_approved_services_and_nothing_else() {
    let (set, ada) = (starter(), asked());
    let approved = service(None, &["cloud-services"], &[]);
    assert!(goes(&set, &ada, &approved).is_ok());
    let deny = goes(&set, &ada, &site("news.example")).unwrap_err();
    assert_eq!(deny.cause, DenyCause::NoPermit);
    let known = service(None, &["somewhere"], &[]);
    assert_eq!(
        goes(&set, &ada, &known).unwrap_err().cause,
        DenyCause::NoPermit
    );
    let contractor = Asked {
        principal: user("corp/con", &["contractors"]),
        ..asked()
    };
    assert!(goes(&set, &contractor, &approved).is_err());
    assert!(set.opens_everything().is_empty());
}

#[test]
fn the_open_choice_opens_what_nothing_forbids_to_employees_only() {
    let (set, ada) = (opened(), asked());
    assert!(goes(&set, &ada, &site("news.example")).is_ok());
    let contractor = Asked {
        principal: user("corp/con", &["contractors"]),
        ..asked()
    };
    assert!(goes(&set, &contractor, &site("news.example")).is_err());
    assert!(set.opens_everything().is_empty());
}

#[test]
fn harm_is_forbidden_whatever_else_permits_it() {
    for set in [starter(), opened()] {
        let categories = [
            "malware",
            "phishing",
            "c2",
            "look-alike",
            "mixed-script",
            "doh",
            "private-relay",
        ];
        for category in categories {
            for site in [
                listed("bad.example", category),
                service(None, &["cloud-services"], &[category]),
            ] {
                let deny = goes(&set, &asked(), &site).unwrap_err();
                assert_eq!(deny.cause, DenyCause::Forbidden, "{category}");
                assert_eq!(deny.challenge, None);
                assert!(deny.guidance.reason_ja.is_some() && deny.guidance.remedy_en.is_some());
            }
        }
        let deny = goes(&set, &asked(), &site("198.51.100.7")).unwrap_err();
        assert_eq!(*deny.policies, [Box::from("no-address-literals")]);
    }
}

#[test]
fn a_device_that_reports_nothing_reaches_nothing() {
    let silent = Asked {
        device: laptop(DevicePosture::default()),
        ..asked()
    };
    let approved = service(None, &["cloud-services"], &[]);
    let deny = goes(&starter(), &silent, &approved).unwrap_err();
    assert_eq!(*deny.policies, [Box::from("egress-needs-reported-device")]);
}

#[test]
fn file_sharing_that_is_not_approved_asks_for_a_reason_which_opens_it() {
    for set in [starter(), opened()] {
        let files = listed("files.example", "file-sharing");
        let deny = goes(&set, &asked(), &files).unwrap_err();
        assert_eq!(deny.challenge, Some(Challenge::Reason));
        let given = Asked {
            reason_given: true,
            ..asked()
        };
        assert!(goes(&set, &given, &files).is_ok());
        let approved = service(None, &["cloud-services"], &["file-sharing"]);
        assert!(goes(&set, &asked(), &approved).is_ok());
    }
}

#[test]
fn a_service_with_a_level_is_guarded_like_an_app_of_that_level() {
    let set = starter();
    let internal = service(Some(Level::Internal), &[], &[]);
    assert!(goes(&set, &asked(), &internal).is_ok());
    let owner = Asked {
        authentication: signed_in(false, false, 5),
        ..asked()
    };
    let deny = goes(&set, &owner, &internal).unwrap_err();
    assert_eq!(deny.challenge, Some(Challenge::MultiFactor));
}
