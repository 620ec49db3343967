//! Decisions stay cheap. Counts rather than times, so that a busy machine cannot fail them; one ignored test prints times.

use std::time::{Duration, Instant};

use crate::testing::{Asked, asked, set, user};
use crate::time::Now;
use crate::{PolicySet, PolicySource};

/// `count` policies for other apps and people around the few that concern [`asked`].
fn crowded(count: usize) -> PolicySet {
    let mut text = String::from(
        r#"@id("employees") permit(principal in Masugata::Group::"employees", action, resource in Masugata::Level::"internal");
           @id("disk") forbid(principal, action, resource in Masugata::Level::"internal")
             unless { context.device.posture has disk_encrypted && context.device.posture.disk_encrypted };
           @id("mfa") forbid(principal, action, resource == Masugata::App::"wiki")
             unless { context.authentication.multi_factor };"#,
    );
    for number in 0..count {
        text.push_str(&format!(
            r#"@id("app-{number}") permit(principal in Masugata::Group::"g{number}", action, resource == Masugata::App::"a{number}");
               @id("path-{number}") permit(principal in Masugata::Group::"g{number}", action, resource)
                 when {{ context.request.path like "/p{number}/*" }};"#
        ));
    }
    set(&text)
}

#[test]
fn policies_for_others_are_not_evaluated_and_their_facts_not_read() {
    let asked = asked();
    let explanation = crowded(50).explain(&asked.request(), asked.now);
    let considered: Vec<&str> = explanation
        .considered
        .iter()
        .map(|each| &*each.policy)
        .collect();
    assert_eq!(considered, ["employees", "disk", "mfa"]);
    assert_eq!(
        explanation.facts,
        [
            "context.authentication.multi_factor",
            "context.device.posture.disk_encrypted"
        ]
    );
}

#[test]
fn people_with_the_same_rights_share_a_slice() {
    let set = crowded(3);
    let slice = |principal: &str, groups: &[&str]| {
        let asked = Asked {
            principal: user(principal, groups),
            ..asked()
        };
        let prepared = set.prepare(&asked.request()).unwrap();
        std::sync::Arc::as_ptr(&prepared.slice)
    };
    let ada = slice("corp/ada", &["employees"]);
    assert_eq!(ada, slice("corp/bob", &["employees", "unheard-of"]));
    assert_ne!(ada, slice("corp/cai", &["employees", "g1"]));
}

#[test]
fn a_flood_of_paths_does_not_grow_the_memory_without_bound() {
    let set = set(
        r#"@id("docs") permit(principal, action, resource) when { context.request.path like "/docs/*" };"#,
    );
    let mut asked = asked();
    for number in 0..12_000 {
        asked.path = format!("/docs/{number}/{}", "x".repeat(8000));
        assert!(set.decide(&asked.request(), asked.now).is_ok());
    }
    assert!(set.memo.weight() <= crate::reuse::Memo::ANSWER_BYTES);
}

#[test]
#[ignore = "prints times for people; run with --release --nocapture"]
#[expect(clippy::disallowed_methods, reason = "this measures")]
fn times() {
    let timed = |name: &str, rounds: u32, work: &mut dyn FnMut()| {
        let best = (0..5)
            .map(|_| {
                let start = Instant::now();
                (0..rounds).for_each(|_| work());
                start.elapsed() / rounds
            })
            .min();
        println!("{name:40} {:?}", best.unwrap_or(Duration::ZERO));
    };
    let shared: Vec<std::sync::Arc<u8>> = (0..5).map(std::sync::Arc::new).collect();
    timed(
        "for comparison: 5 Arc clones, dropped",
        200_000,
        &mut || {
            let clone = |each: usize| shared.get(each).cloned();
            std::hint::black_box((clone(0), clone(1), clone(2), clone(3), clone(4)));
        },
    );
    for count in [0, 500, 5000] {
        let start = Instant::now();
        let set = crowded(count);
        println!("{} policies: load {:?}", set.len(), start.elapsed());
        let asked = asked();
        let (request, now) = (asked.request(), asked.now);
        assert!(set.decide(&request, now).is_ok());
        timed("reused", 200_000, &mut || {
            std::hint::black_box(set.decide(&request, now).is_ok());
        });
        timed("fresh, all prepared anew", 2000, &mut || {
            std::hint::black_box(set.decide_fresh(&request, now).is_ok());
        });
        let mut at = now.at;
        timed("device changed", 2000, &mut || {
            at = at.plus(Duration::from_millis(1));
            let asked = Asked {
                device: crate::testing::laptop(crate::testing::full_posture()),
                ..asked.clone()
            };
            std::hint::black_box(set.decide(&asked.request(), Now::utc(at)).is_ok());
        });
    }
    let groups: Vec<String> = (0..100).map(|number| format!("group-{number}")).collect();
    let groups: Vec<&str> = groups.iter().map(String::as_str).collect();
    let set = crowded(0);
    let asked = Asked {
        principal: user("corp/ada", &groups),
        ..asked()
    };
    timed("fresh, 100 groups", 2000, &mut || {
        std::hint::black_box(set.decide_fresh(&asked.request(), asked.now).is_ok());
    });
    let text = "@id(\"x\") permit(principal, action, resource) when { context.request.path == context.request.host || context.network.names.isEmpty() && context.time.minute_of_day > 0 && context.network.address.isLoopback() };";
    let wide = PolicySet::load(&[PolicySource { name: "x", text }]).unwrap();
    timed("reused, reads all of the request", 200_000, &mut || {
        std::hint::black_box(wide.decide(&asked.request(), asked.now).is_ok());
    });
}
