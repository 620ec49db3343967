//! The decision: 5 to 10,000 policies, reused and fresh. Policies that do not concern the app must not cost time, and neither
//! must the number of destinations: a million hosts that policies cannot tell apart are one decision.

#![expect(
    clippy::unwrap_used,
    reason = "a benchmark that cannot be set up has nothing to measure"
)]

mod setup;

use std::fmt::Write as _;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use masugata_policy::{
    Action, NetworkNames, Now, PolicySet, PolicySource, Request, RequestFacts, Resource, Timestamp,
    Whereto,
};

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

fn decide(criterion: &mut Criterion) {
    let parties = setup::parties(20, NOW);
    let networks: NetworkNames = Arc::new([Box::from("office")]);
    let request = Request {
        principal: &parties.principal,
        device: &parties.device,
        authentication: &parties.authentication,
        action: Action::Read,
        resource: Resource::App(&parties.app),
        facts: RequestFacts {
            method: "GET",
            host: "app-0.example",
            path: "/reports/2027/q1",
            address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 17)),
            networks: &networks,
            reason_given: false,
        },
    };
    let mut group = criterion.benchmark_group("decide");
    for count in [5, 100, 1_000, 10_000] {
        let text = policies(count);
        let set = PolicySet::load(&[PolicySource {
            name: "bench.cedar",
            text: &text,
        }])
        .unwrap();
        assert_eq!(set.len(), count);
        let now = Now::utc(NOW);
        set.decide(&request, now).unwrap();
        group.bench_function(BenchmarkId::new("reused", count), |bencher| {
            bencher.iter(|| set.decide(black_box(&request), now));
        });
        group.bench_function(BenchmarkId::new("fresh", count), |bencher| {
            bencher.iter(|| set.decide_fresh(black_box(&request), now));
        });
    }
    group.finish();
}

/// A million distinct hosts, each in one of nine classes: what a company's people open in a day or two.
fn destinations(criterion: &mut Criterion) {
    const HOSTS: usize = 1_000_000;
    let parties = setup::parties(20, NOW);
    let networks: NetworkNames = Arc::new([Box::from("office")]);
    let set = PolicySet::load(&[PolicySource {
        name: "bench.cedar",
        text: EGRESS,
    }])
    .unwrap();
    let hosts: Vec<String> = (0..HOSTS)
        .map(|index| format!("host-{index}.site-{}.example", index % 1000))
        .collect();
    let categories: [Vec<Arc<str>>; 9] =
        std::array::from_fn(|index| vec![Arc::from(format!("category-{index}"))]);
    let mut visits = hosts.iter().zip(categories.iter().cycle()).cycle();
    let mut group = criterion.benchmark_group("destinations");
    group.bench_function("placed and decided", |bencher| {
        bencher.iter(|| {
            let (host, categories) = visits.next().unwrap();
            let destination = set.place(&Whereto {
                host,
                port: 443,
                address: false,
                domain: None,
                categories,
                service: None,
            });
            let request = Request {
                principal: &parties.principal,
                device: &parties.device,
                authentication: &parties.authentication,
                action: Action::Connect,
                resource: Resource::Destination(&destination),
                facts: RequestFacts {
                    method: "CONNECT",
                    host,
                    path: "",
                    address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 17)),
                    networks: &networks,
                    reason_given: false,
                },
            };
            set.decide(black_box(&request), Now::utc(NOW)).is_ok()
        });
    });
    group.finish();
    let (fresh, _reused) = set.take_counts();
    assert!(fresh <= 9, "{fresh} fresh decisions for nine classes");
}

const EGRESS: &str = r#"
@id("open") permit (principal in Masugata::Group::"group-1", action, resource is Masugata::Destination);
@id("named") forbid (principal, action, resource in Masugata::Domain::"blocked.example");
@id("health") forbid (principal, action, resource is Masugata::Destination)
unless { context.device.posture has disk_encrypted && context.device.posture.disk_encrypted };
@id("listed") forbid (principal, action, resource is Masugata::Destination)
when { resource in [
  Masugata::Category::"category-0", Masugata::Category::"category-1", Masugata::Category::"category-2",
  Masugata::Category::"category-3", Masugata::Category::"category-4", Masugata::Category::"category-5",
  Masugata::Category::"category-6", Masugata::Category::"category-7", Masugata::Category::"category-8"
] && context.device.shared };
"#;

/// Five shapes in turn, as in a company: a grant to a group, a grant of an app group, and three conditions. Each five
/// concern an app of their own, the first five the one that is asked for.
fn policies(count: usize) -> String {
    let mut text = String::new();
    for index in 0..count {
        let (app, group) = (index / 5, index / 5 % 50);
        match index % 5 {
            0 => write!(
                text,
                "@id(\"p{index}\") permit (principal in Masugata::Group::\"group-{group}\", \
                 action in Masugata::Action::\"use\", resource == Masugata::App::\"app-{app}\");"
            ),
            1 => write!(
                text,
                "@id(\"p{index}\") permit (principal in Masugata::Role::\"auditor\", \
                 action == Masugata::Action::\"read\", resource in Masugata::AppGroup::\"app-group-{app}\");"
            ),
            2 => write!(
                text,
                "@id(\"p{index}\") forbid (principal, action, resource == Masugata::App::\"app-{app}\") \
                 unless {{ context.authentication.multi_factor }};"
            ),
            3 => write!(
                text,
                "@id(\"p{index}\") forbid (principal is Masugata::User, action, \
                 resource == Masugata::App::\"app-{app}\") unless {{ context.device.posture has disk_encrypted && \
                 context.device.posture.disk_encrypted }};"
            ),
            _ => write!(
                text,
                "@id(\"p{index}\") permit (principal in Masugata::Group::\"night-{group}\", action, \
                 resource == Masugata::App::\"app-{app}\") when {{ context.network.names.contains(\"office\") && \
                 context.time.hour >= 8 && context.time.hour < 20 }};"
            ),
        }
        .unwrap();
        text.push('\n');
    }
    text
}

criterion_group! { name = benches; config = setup::short(); targets = decide, destinations }
criterion_main!(benches);
