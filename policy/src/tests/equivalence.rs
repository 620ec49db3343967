//! The two promises that make decisions cheap, against the slow obvious version: a reused decision is the fresh one, and
//! a sliced decision is that of the whole set.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use cedar_policy::{Authorizer, Context, Entities};
use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::decide::Verdict;
use crate::entities::Parties;
use crate::facts::Facts;
use crate::posture::{DevicePosture, Observation, PostureAttribute, PostureSource, PostureValue};
use crate::request::{
    Action, App, Authentication, Credential, Device, DeviceKind, Level, NetworkNames, Ownership,
    Principal, PrincipalKind,
};
use crate::schema::schema;
use crate::testing::{AT, Asked, Site, site};
use crate::time::{Now, Timestamp};
use crate::{CloudService, Deny, Permit, PolicySet, PolicySource};

const PRINCIPALS: &[&str] = &[
    "principal",
    "principal is Masugata::User",
    "principal is Masugata::Service",
    "principal == Masugata::User::\"corp/ada\"",
    "principal == Masugata::Service::\"corp/ada\"",
    "principal in Masugata::Group::\"hr\"",
    "principal in Masugata::Group::\"ops\"",
    "principal in Masugata::Role::\"hr\"",
    "principal in Masugata::User::\"corp/bob\"",
    "principal is Masugata::User in Masugata::Group::\"ops\"",
    "principal is Masugata::Service in Masugata::Role::\"auditor\"",
];

const ACTIONS: &[&str] = &[
    "action",
    "action == Masugata::Action::\"read\"",
    "action == Masugata::Action::\"connect\"",
    "action in Masugata::Action::\"use\"",
    "action in Masugata::Action::\"modify\"",
    "action in Masugata::Action::\"write\"",
    "action in [Masugata::Action::\"delete\", Masugata::Action::\"read\"]",
];

/// Conditions that need to know which kind of resource is meant; the others go with every head.
const OF_APPS: &[&str] = &["resource.level ==", "resource.name"];

const RESOURCES: &[&str] = &[
    "resource",
    "resource is Masugata::App",
    "resource == Masugata::App::\"wiki\"",
    "resource in Masugata::App::\"payroll\"",
    "resource in Masugata::AppGroup::\"tools\"",
    "resource in Masugata::AppGroup::\"wiki\"",
    "resource in Masugata::Level::\"internal\"",
    "resource in Masugata::Level::\"confidential\"",
    "resource is Masugata::App in Masugata::AppGroup::\"hr-apps\"",
    "resource is Masugata::Destination",
    "resource == Masugata::Destination::\"app.box.com\"",
    "resource in Masugata::Destination::\"192.0.2.7\"",
    "resource in Masugata::Domain::\"box.com\"",
    "resource in Masugata::Domain::\"app.box.com\"",
    "resource is Masugata::Destination in Masugata::Domain::\"evil.test\"",
    "resource in Masugata::Category::\"c2\"",
    "resource is Masugata::Destination in Masugata::Category::\"files\"",
    "resource in Masugata::CloudService::\"box-corp\"",
    "resource is Masugata::Destination in Masugata::AppGroup::\"tools\"",
    "resource is Masugata::Destination in Masugata::Level::\"internal\"",
];

/// Every fact, and every way in which facts can be spoken of. `OVERFLOW` fails at run time for some facts only.
const CONDITIONS: &[&str] = &[
    "true",
    "context.device.id == \"d1\"",
    "context.device.kind == Masugata::DeviceKind::\"laptop\"",
    "context.device.ownership == Masugata::Ownership::\"company\"",
    "context.device.owned_by_principal",
    "context.device.shared",
    "context.device.groups.contains(\"field\")",
    "context.device.groups.containsAny([\"field\", \"kiosk\"])",
    "context.device.posture has disk_encrypted && context.device.posture.disk_encrypted",
    "context.device.posture has firewall_enabled",
    "context.device.posture has managed && !context.device.posture.managed",
    "context.device.posture has os_version.major && context.device.posture.os_version.major > 12",
    "context.device.posture has compliant || context.device.posture has edr_running",
    "context.device.posture == context.device.posture",
    "[context.device].contains(context.device)",
    "(if context.authentication.multi_factor then context.time else context.time).hour > 12",
    "context.authentication.multi_factor",
    "context.authentication.phishing_resistant",
    "context.authentication.certificate_bound",
    "context.authentication has acr && context.authentication.acr == \"aal2\"",
    "context.authentication.methods.contains(\"hwk\")",
    "context.authentication has age_minutes && context.authentication.age_minutes < 3",
    "context.authentication has age_minutes && context.authentication.age_minutes == 1",
    "context.network.address.isInRange(ip(\"192.0.2.0/24\"))",
    "context.network.address.isLoopback()",
    "context.network.address == ip(\"2001:db8::1\")",
    "context.network.names.contains(\"office\")",
    "context.network.names.containsAll([\"office\", \"vpn\"])",
    "context.network.names.isEmpty()",
    "context.time.hour >= 9 && context.time.hour < 18",
    "context.time.minute_of_day < 577",
    "[Masugata::Weekday::\"saturday\", Masugata::Weekday::\"monday\"].contains(context.time.weekday)",
    "context.time.date <= datetime(\"2026-11-23\")",
    "context.time.date.durationSince(datetime(\"2026-11-20\")) > duration(\"3d\")",
    "context.request.method == \"POST\"",
    "context.request.host == \"wiki.example\"",
    "context.request.path like \"/docs/*\"",
    "[context.request.path].contains(\"/docs/a\")",
    "context.request.path == \"/docs/a\" || context.request.host like \"*.example\"",
    "principal has name && principal.name == \"Ada\"",
    "principal.issuer == \"corp\"",
    "principal in Masugata::Group::\"ops\" && context.request.path == \"/\"",
    "resource.level == Masugata::Level::\"confidential\"",
    "resource.name == \"wiki\"",
    "resource in [Masugata::Level::\"internal\", Masugata::Level::\"public\"]",
    "action in Masugata::Action::\"modify\"",
    "context.time.hour + 9223372036854775800 > 0",
    "context.time.minute_of_day + 9223372036854775230 > 0 && context.authentication.multi_factor",
    "context.network.names.isEmpty() || context.time.hour * 9223372036854775807 > 0",
    "Masugata::User::\"corp/bob\".issuer == \"corp\"",
    "context.authentication.credential == Masugata::Credential::\"certificate\"",
    "context.request.reason_given",
    "resource is Masugata::Destination && resource.host like \"*.box.com\"",
    "resource is Masugata::Destination && [resource.host].contains(\"evil.test\")",
    "resource is Masugata::Destination && resource.port == 443",
    "resource is Masugata::Destination && resource.address",
    "resource is Masugata::Destination && resource has domain && resource.domain == \"box.com\"",
    "resource is Masugata::Destination && resource has domain",
    "resource has service && resource.service == \"box-corp\"",
    "resource has tenant && resource.tenant == \"corp\"",
    "resource has level && resource.level == Masugata::Level::\"internal\"",
    "resource == Masugata::Destination::\"a.b.evil.test\"",
    "resource is Masugata::Destination && [Masugata::Destination::\"evil.test\", Masugata::Destination::\"box.com\"].contains(resource)",
    "resource in [Masugata::Category::\"c2\", Masugata::Category::\"news\"] || resource in Masugata::Domain::\"evil.test\"",
    "resource in Masugata::Domain::\"b.evil.test\"",
    "(if context.authentication.multi_factor then resource else resource) in Masugata::Domain::\"com\"",
    "{a: resource}.a in Masugata::CloudService::\"dropbox\"",
];

#[derive(Clone, Debug)]
struct Rule {
    forbids: bool,
    head: (usize, usize, usize),
    when: Vec<(bool, usize)>,
    challenge: usize,
}

fn rule() -> impl Strategy<Value = Rule> {
    let head = (0..PRINCIPALS.len(), 0..ACTIONS.len(), 0..RESOURCES.len());
    let wide = prop_oneof![
        3 => head,
        2 => Just((0, 0, 0)),
        1 => (Just(0), Just(3), 0..RESOURCES.len()),
    ];
    let timed: Vec<usize> = (0..CONDITIONS.len())
        .filter(|each| {
            let condition = CONDITIONS[*each];
            ["posture", "age_minutes", "time"]
                .iter()
                .any(|word| condition.contains(word))
        })
        .collect();
    let condition = prop_oneof![0..CONDITIONS.len(), select(timed)];
    let when = prop::collection::vec((any::<bool>(), condition), 0..3);
    (prop::bool::weighted(0.35), wide, when, 0..4_usize).prop_map(
        |(forbids, head, when, challenge)| Rule {
            forbids,
            head,
            when,
            challenge,
        },
    )
}

fn text_of(number: usize, rule: &Rule) -> String {
    let (principal, action, resource) = rule.head;
    let challenge = match rule.challenge {
        1 if rule.forbids => "@challenge(\"mfa\")",
        2 if rule.forbids => "@challenge(\"fresh\")",
        3 => "@reason_en(\"because\")",
        _ => "",
    };
    let effect = if rule.forbids { "forbid" } else { "permit" };
    let mut text = format!(
        "@id(\"p{number}\") {challenge} {effect}({}, {}, {})",
        PRINCIPALS[principal], ACTIONS[action], RESOURCES[resource]
    );
    for (holds, condition) in &rule.when {
        let word = if *holds { "when" } else { "unless" };
        text.push_str(&format!(" {word} {{ {} }}", CONDITIONS[*condition]));
    }
    text.push_str(";\n");
    text
}

/// A set of those rules that load: some combinations can never apply, which is an error.
fn loaded(rules: &[Rule]) -> Option<PolicySet> {
    let texts: Vec<String> = (0..).zip(rules).map(|(n, rule)| text_of(n, rule)).collect();
    let load = |texts: &[String]| {
        let text = texts.concat();
        PolicySet::load(&[PolicySource {
            name: "random.cedar",
            text: &text,
        }])
    };
    match load(&texts) {
        Ok(set) => Some(set),
        Err(error) => {
            let bad: Vec<usize> = error.problems.iter().filter_map(|each| each.line).collect();
            let lines = (1..).zip(texts);
            let good = lines.filter(|(line, _)| !bad.contains(line));
            let good: Vec<String> = good.map(|(_, text)| text).collect();
            (!good.is_empty()).then(|| load(&good).expect("the bad ones are gone"))
        }
    }
}

fn principal() -> impl Strategy<Value = Arc<Principal>> {
    let groups = prop::sample::subsequence(vec!["hr", "ops", "wiki"], 0..=3);
    let roles = prop::sample::subsequence(vec!["hr", "auditor"], 0..=2);
    let kind = select(vec![
        PrincipalKind::User,
        PrincipalKind::User,
        PrincipalKind::Service,
    ]);
    let name = select(vec![None, Some("Ada")]);
    (
        kind,
        select(vec!["corp/ada", "corp/bob"]),
        name,
        groups,
        roles,
    )
        .prop_map(|(kind, id, name, groups, roles)| {
            Arc::new(Principal::new(kind, id, "corp", name, groups, roles))
        })
}

fn observation() -> impl Strategy<Value = Option<(i64, u64, bool)>> {
    prop::option::of((-300..300_i64, select(vec![0, 60, 180, 3600]), any::<bool>()))
}

fn device() -> impl Strategy<Value = Arc<Device>> {
    let posture = prop::array::uniform13(observation());
    let groups = prop::sample::subsequence(vec!["field", "kiosk"], 0..=2);
    let owner = select(vec![None, Some("corp/ada"), Some("corp/bob")]);
    let kind = select(DeviceKind::ALL.to_vec());
    let ownership = select(Ownership::ALL.to_vec());
    (
        select(vec!["d1", "d2"]),
        kind,
        ownership,
        owner,
        groups,
        posture,
    )
        .prop_map(|(id, kind, ownership, owner, groups, seen)| {
            let posture = PostureAttribute::ALL.into_iter().zip(seen).fold(
                DevicePosture::default(),
                |posture, (attribute, seen)| match seen {
                    Some(seen) => posture.with(attribute, observed(attribute, seen)),
                    None => posture,
                },
            );
            Arc::new(Device::new(id, kind, ownership, owner, groups, posture))
        })
}

fn observed(
    attribute: PostureAttribute,
    (seconds, max_age, flag): (i64, u64, bool),
) -> Observation {
    let value = if attribute == PostureAttribute::OsVersion {
        PostureValue::Version(if flag { 14 } else { 11 }, 0, 1)
    } else {
        PostureValue::Flag(flag)
    };
    Observation {
        value,
        source: PostureSource::Agent,
        observed_at: Timestamp::from_seconds(AT.as_seconds() + seconds),
        max_age: Duration::from_secs(max_age),
    }
}

fn authentication() -> impl Strategy<Value = Arc<Authentication>> {
    let acr = select(vec![None, Some("aal1"), Some("aal2")]);
    let amr = prop::sample::subsequence(vec!["hwk", "pwd", "otp"], 0..=3);
    let proved = prop::option::of(-400..400_i64);
    (
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
        acr,
        amr,
        proved,
    )
        .prop_map(|(factors, resistant, bound, acr, amr, proved)| {
            let at = proved.map(|seconds| Timestamp::from_seconds(AT.as_seconds() + seconds));
            Arc::new(Authentication::new(factors, resistant, acr, amr, at, bound))
        })
}

fn app() -> impl Strategy<Value = Arc<App>> {
    let groups = prop::sample::subsequence(vec!["tools", "hr-apps", "wiki"], 0..=3);
    let level = select(Level::ALL.to_vec());
    (select(vec!["wiki", "payroll"]), level, groups)
        .prop_map(|(name, level, groups)| Arc::new(App::new(name, level, groups)))
}

/// Instants around minute, hour and day boundaries, with offsets that jump as at a change of the clocks.
fn now() -> impl Strategy<Value = Now> {
    let near = -400_000..400_000_i64;
    let boundary = (select(vec![0_i64, 1140, 8340, -34_860, 51_540]), -2..3_i64)
        .prop_map(|(seconds, millis)| (seconds - 8) * 1000 + millis);
    let at = prop_oneof![3 => near, 2 => boundary];
    let offset = select(vec![0, 0, 9 * 3600, 3600, -3600, 20_700]);
    let transition = prop_oneof![Just(i64::MAX), -1000..100_000_i64];
    (at, offset, transition).prop_map(|(millis, utc_offset_seconds, ahead)| {
        let at = AT.as_millis() + millis;
        Now {
            at: Timestamp::from_millis(at),
            utc_offset_seconds,
            offset_holds_until: Timestamp::from_millis(at.saturating_add(ahead)),
        }
    })
}

const HOSTS: &[(&str, Option<&str>)] = &[
    ("app.box.com", Some("box.com")),
    ("box.com", Some("box.com")),
    ("notbox.com", Some("notbox.com")),
    ("evil.test", Some("evil.test")),
    ("a.b.evil.test", Some("evil.test")),
    ("com", None),
    ("-", None),
    ("192.0.2.7", None),
    ("2001:db8::7", None),
];

fn services() -> &'static [Option<Arc<CloudService>>] {
    static SERVICES: LazyLock<Vec<Option<Arc<CloudService>>>> = LazyLock::new(|| {
        let service = |name: &str, level, tenant, groups: &[&str]| {
            let groups = groups.iter().copied();
            Some(Arc::new(CloudService::new(name, level, tenant, groups)))
        };
        vec![
            None,
            None,
            service("box-corp", Some(Level::Internal), Some("corp"), &["tools"]),
            service("box-corp", Some(Level::Public), None, &["wiki", "hr-apps"]),
            service("dropbox", None, None, &[]),
        ]
    });
    &SERVICES
}

fn place() -> impl Strategy<Value = Option<Site>> {
    let categories = prop::sample::subsequence(vec!["c2", "files", "news"], 0..=3);
    let service = select(services().to_vec());
    let there = (
        select(HOSTS.to_vec()),
        select(vec![443, 80, 8443]),
        categories,
        service,
    );
    let there = there.prop_map(|((host, domain), port, categories, service)| Site {
        port,
        domain,
        categories: categories.into_iter().map(Arc::from).collect(),
        service,
        ..site(host)
    });
    prop::option::weighted(0.6, there)
}

/// A question, and where to if not to the app.
#[derive(Clone, Debug)]
struct Open {
    asked: Asked,
    site: Option<Site>,
}

impl Open {
    fn to(&self, set: &PolicySet) -> Asked {
        match &self.site {
            Some(site) => self.asked.to(set, site),
            None => self.asked.clone(),
        }
    }

    /// With a destination of which nothing is left out.
    fn wholly(&self, set: &PolicySet) -> Asked {
        let site = self.site.as_ref();
        let destination = site.map(|site| set.placer.whole().place(&site.whereto()));
        Asked {
            destination,
            ..self.to(set)
        }
    }
}

fn open() -> impl Strategy<Value = Open> {
    (
        question(),
        place(),
        any::<bool>(),
        select(Credential::ALL.to_vec()),
    )
        .prop_map(|(asked, site, reason_given, credential)| {
            let old = &asked.authentication;
            let authentication = Authentication::new(
                old.multi_factor,
                old.phishing_resistant,
                old.acr.as_deref(),
                old.amr.iter().cloned(),
                old.authenticated_at,
                old.certificate_bound,
            );
            let authentication = Arc::new(authentication.with_credential(credential));
            let asked = Asked {
                reason_given,
                authentication,
                ..asked
            };
            Open { asked, site }
        })
}

fn question() -> impl Strategy<Value = Asked> {
    let http = (
        select(vec!["GET", "POST"]),
        select(vec!["wiki.example", "other"]),
        select(vec!["/", "/docs/a", "/docs/b"]),
    );
    let address = select(vec![
        "192.0.2.1",
        "::ffff:192.0.2.1",
        "127.0.0.1",
        "2001:db8::1",
    ]);
    let networks = prop::sample::subsequence(vec!["office", "vpn"], 0..=2);
    let parties = (principal(), device(), authentication(), app());
    let action = select(Action::ALL.to_vec());
    (parties, action, http, address, networks, now()).prop_map(
        |((principal, device, authentication, app), action, http, address, networks, now)| Asked {
            principal,
            device,
            authentication,
            action,
            app,
            destination: None,
            reason_given: false,
            method: http.0.to_owned(),
            host: http.1.to_owned(),
            path: http.2.to_owned(),
            address: address.parse().unwrap(),
            networks: names(&networks),
            now,
        },
    )
}

fn names(names: &[&str]) -> NetworkNames {
    names.iter().map(|name| Box::from(*name)).collect()
}

/// Mostly little differs from one request to the next, and mostly the time.
fn difference() -> impl Strategy<Value = u32> {
    (any::<u32>(), any::<u32>(), any::<u32>(), any::<bool>()).prop_map(|(a, b, c, time)| {
        if time { 1 << 15 } else { a & b & (c | 0xff) }
    })
}

/// Takes from `next` some of what differs; what is left stays the same value, as it does between requests.
fn changed(open: Open, next: Open, what: u32) -> Open {
    let bit = |index: u32| what & (1 << index) != 0;
    let Open {
        mut asked,
        mut site,
    } = open;
    if bit(16) {
        site = next.site;
    }
    let next = next.asked;
    if bit(17) {
        asked.reason_given = next.reason_given;
    }
    if bit(0) && bit(1) {
        asked.principal = next.principal;
    }
    if bit(2) && bit(3) {
        asked.device = next.device;
    }
    if bit(4) && bit(5) {
        asked.authentication = next.authentication;
    }
    if bit(6) && bit(7) {
        asked.app = next.app;
    }
    if bit(8) {
        asked.action = next.action;
    }
    if bit(9) {
        asked.method = next.method;
    }
    if bit(10) {
        asked.host = next.host;
    }
    if bit(11) {
        asked.path = next.path;
    }
    if bit(12) {
        asked.address = next.address;
    }
    if bit(13) {
        asked.networks = next.networks;
    }
    if bit(14) {
        asked.now = next.now;
    } else if bit(15) {
        asked.now.at = next.now.at;
    }
    Open { asked, site }
}

/// Everything that can be seen of a decision.
fn seen(decision: &Result<Permit, Deny>) -> String {
    match decision {
        Ok(permit) => format!(
            "permit {:?} until {:?} for {} {} {} {:?} {:?}",
            permit.policies(),
            permit.holds_until(),
            permit.principal().revision(),
            permit.device().revision(),
            permit.authentication().revision(),
            permit.action(),
            permit.app().map(|app| app.revision()),
        ),
        Err(deny) => format!(
            "{:?} {:?} {:?} {:?}",
            deny.cause, deny.policies, deny.challenge, deny.guidance
        ),
    }
}

/// The verdict of the whole set, on every fact, with everything validated against the schema.
fn whole(set: &PolicySet, asked: &Asked) -> String {
    let policies = set.policies.iter().map(|policy| policy.policy.clone());
    let policies = cedar_policy::PolicySet::from_policies(policies).unwrap();
    let parties = Parties::new(
        &asked.principal,
        asked.action,
        asked.request().resource,
        None,
    )
    .unwrap();
    let request = parties
        .ask(Facts::ALL, &asked.request(), asked.now)
        .unwrap();
    let context: Context = request.context().unwrap().clone();
    let (principal, action) = (parties.principal.clone(), parties.action.clone());
    let request = cedar_policy::Request::new(
        principal,
        action,
        parties.resource.clone(),
        context,
        Some(schema()),
    )
    .unwrap();
    let entities = Entities::from_entities(parties.entities, Some(schema())).unwrap();
    let response = Authorizer::new().is_authorized(&request, &policies, &entities);
    match set.verdict(&response) {
        Verdict::Permit(grant) => format!("permit {:?}", grant.policies),
        Verdict::Deny(deny) => seen(&Err(deny)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn a_reused_decision_is_the_fresh_one(
        rules in prop::collection::vec(rule(), 1..12),
        first in open(),
        steps in prop::collection::vec((open(), difference(), any::<Index>(), any::<bool>()), 60),
    ) {
        let Some(set) = loaded(&rules) else { return Ok(()) };
        let mut history = vec![first];
        for (next, what, from, back) in steps {
            // Often from the last question, sometimes from an old one: people, tabs and clocks go back and forth.
            let base = if back { from.get(&history) } else { history.last().unwrap() };
            let open = changed(base.clone(), next, what);
            let asked = open.to(&set);
            let reused = set.decide(&asked.request(), asked.now);
            let again = set.decide(&asked.request(), asked.now);
            let fresh = set.decide_fresh(&asked.request(), asked.now);
            prop_assert_eq!(seen(&reused), seen(&fresh));
            prop_assert_eq!(seen(&again), seen(&fresh));
            let wholly = open.wholly(&set);
            let whole = set.decide_fresh(&wholly.request(), wholly.now);
            prop_assert_eq!(seen(&again), seen(&whole));
            history.push(open);
        }
    }

    #[test]
    fn a_sliced_decision_is_that_of_the_whole_set(
        rules in prop::collection::vec(rule(), 1..16),
        questions in prop::collection::vec(open(), 12),
    ) {
        let Some(set) = loaded(&rules) else { return Ok(()) };
        for open in questions {
            let asked = open.to(&set);
            let sliced = match set.decide_fresh(&asked.request(), asked.now) {
                Ok(permit) => format!("permit {:?}", permit.policies()),
                Err(deny) => seen(&Err(deny)),
            };
            prop_assert_eq!(sliced, whole(&set, &open.wholly(&set)));
        }
    }

    #[test]
    fn a_permit_stands_until_it_says(
        rules in prop::collection::vec(rule(), 1..8),
        open in open(),
        later in 0.0..1.0_f64,
    ) {
        let Some(set) = loaded(&rules) else { return Ok(()) };
        let asked = open.to(&set);
        let Ok(permit) = set.decide_fresh(&asked.request(), asked.now) else { return Ok(()) };
        let end = permit.holds_until().as_millis().min(asked.now.at.as_millis() + 200_000_000);
        let span = end - asked.now.at.as_millis();
        if span <= 0 {
            return Ok(());
        }
        let at = asked.now.at.as_millis() + ((span - 1) as f64 * later) as i64;
        for at in [at, end - 1] {
            let now = Now { at: Timestamp::from_millis(at), ..asked.now };
            let then = set.decide_fresh(&asked.request(), now);
            prop_assert_eq!(then.map(|permit| permit.policies().clone()).ok(), Some(permit.policies().clone()));
        }
    }
}

#[test]
fn every_condition_of_the_generator_loads_by_itself() {
    for (number, condition) in CONDITIONS.iter().enumerate() {
        let of_apps = OF_APPS.iter().any(|start| condition.starts_with(start));
        let resource = if of_apps {
            "resource is Masugata::App"
        } else if condition.starts_with("resource is Masugata::Destination") {
            "resource is Masugata::Destination"
        } else {
            "resource"
        };
        let text = format!(
            "@id(\"p{number}\") permit(principal, action, {resource}) when {{ {condition} }};"
        );
        crate::testing::set(&text);
    }
}
