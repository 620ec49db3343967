//! A million domains: how much memory they take, how long they take to load, and what a look-up costs.

#![expect(
    clippy::unwrap_used,
    reason = "a benchmark that cannot be set up has nothing to measure"
)]

use std::fmt::Write as _;
use std::hint::black_box;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use masugata::capability::{SystemClock, SystemEntropy};
use masugata::config::egress::{Feed, FeedEffect, FeedFormat, FeedSource, FeedTrust};
use masugata::destination::feeds::SystemConnect;
use masugata::destination::{Catalogue, FeedEnvironment};

const NAMES: usize = 1_000_000;
/// Hosts that are asked for in turn, so that the table does not sit in the cache.
const HOSTS: usize = 65_536;

fn destinations(criterion: &mut Criterion) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("list.txt");
    write_list(&path);
    let build = || {
        let environment = FeedEnvironment {
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy::default()),
            connect: Arc::new(SystemConnect),
            report: Arc::new(|_| ()),
        };
        Catalogue::build(&[feed(&path)], &[], &[], None, None, &environment).unwrap()
    };
    let lists = build().lists();
    let bytes = lists.bytes();
    let names = lists.names();
    let mut out = std::io::stdout();
    writeln!(
        out,
        "{names} names in {bytes} bytes: {}.{:02} bytes each",
        bytes / names,
        bytes * 100 / names % 100
    )
    .unwrap();

    let listed: Vec<_> = (0..HOSTS)
        .map(|n| format!("www.cdn.{}", name(n * 13 % NAMES)))
        .collect();
    let others: Vec<_> = (0..HOSTS)
        .map(|n| format!("www.cdn.site{n}.co.jp"))
        .collect();
    assert!(
        !lists
            .find(listed.first().unwrap(), false)
            .categories
            .is_empty()
    );
    assert!(
        lists
            .find(others.first().unwrap(), false)
            .categories
            .is_empty()
    );
    let mut group = criterion.benchmark_group("destinations");
    for (what, hosts) in [("listed", &listed), ("not-listed", &others)] {
        let mut at = 0;
        group.bench_function(what, |bencher| {
            bencher.iter(|| {
                at = (at + 1) % HOSTS;
                lists.find(black_box(hosts.get(at).map_or("", String::as_str)), false)
            });
        });
    }
    group.sample_size(10);
    group.bench_function("load-a-million", |bencher| bencher.iter(build));
    group.finish();
}

fn name(n: usize) -> String {
    format!(
        "bad-{:x}.{}.example",
        n.wrapping_mul(2_654_435_761) % 0xffff_ffff,
        n % 977
    )
}

fn write_list(path: &Path) {
    let mut text = String::new();
    for n in 0..NAMES {
        let _ = writeln!(text, "{}", name(n));
    }
    std::fs::write(path, text).unwrap();
}

fn feed(path: &Path) -> Feed {
    Feed {
        name: "million".to_owned(),
        source: FeedSource::File {
            path: path.to_path_buf(),
            trust: FeedTrust::Unsigned,
        },
        format: FeedFormat::Plain,
        categories: vec!["malware".to_owned()],
        effect: FeedEffect::Block,
        max_bytes: u64::MAX,
        required: true,
        alert: false,
        max_shrink: 100,
    }
}

criterion_group!(benches, destinations);
criterion_main!(benches);
