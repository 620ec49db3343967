//! Rate limits (GCRA): so many requests per period and key, with a burst.
//!
//! An app's limits are picked once, when a configuration is loaded; a request of an app without limits costs one
//! comparison. Order: all limits in `enforce` mode that concern the request are tested; if one refuses, the others get
//! back what they had given, and the client hears the longest wait. Limits in `observe` mode count only what was
//! admitted, so that they show what they would do if they were enforced.

use std::hash::{BuildHasher, Hash, Hasher};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use governor::clock::Clock as Pace;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::{Quota, RateLimiter};
use http::Method;

use super::prefix::AddressPrefix;
use super::store::KeyStore;
use crate::capability::{Clock, Entropy};
use crate::config::{Limit, LimitKey, LimitMode};
use crate::denial::{Denial, DenialReason};
use crate::metrics::{LimitMetrics, Metrics};

/// Keys that one limit tells apart at a time (about 4 MB). Further ones share one bucket until earlier ones are settled.
pub const MAX_KEYS: usize = 100_000;

/// How often [`Limits::purge`] should run. Frees the keys that are as good as unused.
pub const PURGE_INTERVAL: Duration = Duration::from_secs(5);

/// Above this the arithmetic on nanoseconds would come near its end. No limit means a slower pace or a longer memory.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// All rate limits of one configuration.
#[derive(Debug)]
pub struct Limits {
    rules: Vec<Arc<Rule>>,
    hasher: ahash::RandomState,
}

/// The limits that concern one app; made when a configuration is loaded.
#[derive(Clone, Debug)]
pub struct AppLimits {
    app: Arc<str>,
    enforced: Arc<[Arc<Rule>]>,
    observed: Arc<[Arc<Rule>]>,
    hasher: ahash::RandomState,
}

/// Whose request it is.
#[derive(Clone, Copy, Debug)]
pub struct LimitSubject<'a> {
    /// The client.
    pub address: IpAddr,
    /// The inventory id; empty when there is no device. All requests without one are counted together.
    pub device: &'a str,
    /// The principal's id; empty when there is none.
    pub principal: &'a str,
    pub method: &'a Method,
}

/// A limit refused the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exceeded {
    /// The limit that asks for the longest wait.
    pub limit: Arc<str>,
    /// After this, and not before, one more request will be admitted.
    pub retry_after: Duration,
}

impl From<Exceeded> for Denial {
    fn from(exceeded: Exceeded) -> Self {
        Self::new(DenialReason::QuotaExceeded)
            .with_retry_after(exceeded.retry_after)
            .with_detail(format!("limit `{}`", exceeded.limit))
    }
}

impl Limits {
    /// Prepares `limits`. What `previous` has counted stays where key, pace and burst of a limit are unchanged.
    pub fn build(
        limits: &[Limit],
        previous: Option<&Self>,
        clock: &Arc<dyn Clock>,
        entropy: &dyn Entropy,
        metrics: &Metrics,
    ) -> Self {
        let rules = limits.iter().map(|limit| {
            let kept = previous
                .and_then(|previous| previous.bucket(&limit.name))
                .filter(|bucket| bucket.counts_like(limit));
            let bucket =
                kept.unwrap_or_else(|| Arc::new(Bucket::new(limit, clock, metrics, MAX_KEYS)));
            Arc::new(Rule {
                bucket,
                apps: limit.apps.clone(),
                methods: limit.methods.clone(),
                mode: limit.mode,
            })
        });
        Self {
            rules: rules.collect(),
            // Carried over, or the old buckets could not be found again.
            hasher: previous.map_or_else(|| super::keyed_hasher(entropy), |p| p.hasher.clone()),
        }
    }

    /// The limits that concern `app`. Keep the answer beside the route.
    pub fn for_app(&self, app: &str) -> AppLimits {
        let concerning = |mode: LimitMode| {
            self.rules
                .iter()
                .filter(|rule| rule.mode == mode && rule.concerns_app(app))
                .map(Arc::clone)
                .collect()
        };
        AppLimits {
            app: app.into(),
            enforced: concerning(LimitMode::Enforce),
            observed: concerning(LimitMode::Observe),
            hasher: self.hasher.clone(),
        }
    }

    /// Forgets keys whose bucket is full again. Off the request path, every [`PURGE_INTERVAL`]; holds a sixteenth of
    /// one limit at a time, for a fraction of a millisecond.
    pub fn purge(&self) {
        for rule in &self.rules {
            let limiter = &rule.bucket.limiter;
            limiter.retain_recent();
            rule.bucket.metrics.keys.set(limiter.len());
        }
    }

    fn bucket(&self, name: &str) -> Option<Arc<Bucket>> {
        let rule = self.rules.iter().find(|rule| &*rule.bucket.name == name)?;
        Some(Arc::clone(&rule.bucket))
    }
}

impl AppLimits {
    /// Counts the request. `Ok` names the limits in `observe` mode that would have refused it (no allocation when
    /// there are none).
    ///
    /// # Errors
    /// [`Exceeded`] when a limit in `enforce` mode refuses; then no limit has counted the request.
    pub fn admit(&self, subject: &LimitSubject<'_>) -> Result<Vec<Arc<str>>, Exceeded> {
        let mut taken = 0_u64;
        let mut refusal: Option<Exceeded> = None;
        for (index, rule) in self.concerning(&self.enforced, subject) {
            match rule.bucket.take(self.key(rule, subject)) {
                Ok(()) => taken |= bit(index),
                Err(wait) if refusal.as_ref().is_none_or(|r| r.retry_after < wait) => {
                    refusal = Some(Exceeded {
                        limit: Arc::clone(&rule.bucket.name),
                        retry_after: wait,
                    });
                }
                Err(_) => {}
            }
        }
        let Some(refusal) = refusal else {
            return Ok(self.observe(subject));
        };
        self.give_back(taken, subject);
        for rule in self
            .enforced
            .iter()
            .filter(|r| r.bucket.name == refusal.limit)
        {
            rule.bucket.metrics.exceeded.increment();
        }
        Err(refusal)
    }

    fn observe(&self, subject: &LimitSubject<'_>) -> Vec<Arc<str>> {
        let mut exceeded = Vec::new();
        for (_, rule) in self.concerning(&self.observed, subject) {
            if rule.bucket.take(self.key(rule, subject)).is_err() {
                rule.bucket.metrics.observed.increment();
                exceeded.push(Arc::clone(&rule.bucket.name));
            }
        }
        exceeded
    }

    fn give_back(&self, taken: u64, subject: &LimitSubject<'_>) {
        for (index, rule) in self.concerning(&self.enforced, subject) {
            if taken & bit(index) != 0 {
                rule.bucket.give_back(self.key(rule, subject));
            }
        }
    }

    fn concerning<'a>(
        &self,
        rules: &'a [Arc<Rule>],
        subject: &LimitSubject<'_>,
    ) -> impl Iterator<Item = (usize, &'a Rule)> {
        rules
            .iter()
            .map(|rule| &**rule)
            .enumerate()
            .filter(|(_, rule)| rule.methods.is_empty() || rule.methods.contains(subject.method))
    }

    /// What is counted together, as 64 bits. Strings end with a byte that UTF-8 does not have, so no two lists of parts
    /// read the same; and the seed is secret, so nobody can aim at another's bucket.
    fn key(&self, rule: &Rule, subject: &LimitSubject<'_>) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        for part in &rule.bucket.key {
            match part {
                LimitKey::Address => AddressPrefix::from(subject.address).hash(&mut hasher),
                LimitKey::Device => subject.device.hash(&mut hasher),
                LimitKey::Principal => subject.principal.hash(&mut hasher),
                LimitKey::App => self.app.hash(&mut hasher),
            }
        }
        hasher.finish()
    }
}

/// Beyond 64 limits for one app, nothing is given back: only narrower.
fn bit(index: usize) -> u64 {
    u32::try_from(index)
        .ok()
        .and_then(|index| 1_u64.checked_shl(index))
        .unwrap_or(0)
}

/// A bucket and whom it concerns.
#[derive(Debug)]
struct Rule {
    bucket: Arc<Bucket>,
    apps: Vec<String>,
    methods: Vec<Method>,
    mode: LimitMode,
}

impl Rule {
    fn concerns_app(&self, app: &str) -> bool {
        self.apps.is_empty() || self.apps.iter().any(|name| name == app)
    }
}

/// What has been counted under one name.
#[derive(Debug)]
struct Bucket {
    name: Arc<str>,
    key: Vec<LimitKey>,
    requests: u32,
    period: Duration,
    burst: u32,
    /// Time that one request is worth.
    interval: Nanos,
    limiter: RateLimiter<u64, KeyStore, HandedClock, NoOpMiddleware<Nanos>>,
    store: KeyStore,
    metrics: Arc<LimitMetrics>,
}

impl Bucket {
    fn new(limit: &Limit, clock: &Arc<dyn Clock>, metrics: &Metrics, max_keys: usize) -> Self {
        let metrics = metrics.limit(&limit.name);
        let quota = quota(limit);
        let store = KeyStore::new(max_keys, Arc::clone(&metrics));
        let clock = HandedClock {
            origin: clock.monotonic(),
            clock: Arc::clone(clock),
        };
        Self {
            name: limit.name.as_str().into(),
            key: limit.key.clone(),
            requests: limit.requests,
            period: limit.period,
            burst: limit.burst,
            interval: quota.replenish_interval().into(),
            limiter: RateLimiter::new(quota, store.clone(), clock),
            store,
            metrics,
        }
    }

    fn counts_like(&self, limit: &Limit) -> bool {
        self.key == limit.key
            && self.requests == limit.requests
            && self.period == limit.period
            && self.burst == limit.burst
    }

    fn take(&self, key: u64) -> Result<(), Duration> {
        let now = self.limiter.clock().now();
        self.limiter
            .check_key(&key)
            .map_err(|not_until| not_until.wait_time_from(now))
    }

    fn give_back(&self, key: u64) {
        self.store.refund(key, self.interval);
    }
}

/// The pace and the burst, within what the limiter can count in nanoseconds.
fn quota(limit: &Limit) -> Quota {
    let interval = (limit.period / limit.requests.max(1)).clamp(Duration::from_nanos(1), LONGEST);
    let longest_burst = LONGEST.as_nanos() / interval.as_nanos().max(1);
    let burst = limit
        .burst
        .min(u32::try_from(longest_burst).unwrap_or(u32::MAX));
    Quota::with_period(interval)
        // Unreachable, as `interval` is positive; the narrowest there is.
        .unwrap_or_else(|| Quota::per_hour(NonZeroU32::MIN))
        .allow_burst(NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN))
}

/// The limiter's clock: ours, in nanoseconds since the bucket was made.
struct HandedClock {
    clock: Arc<dyn Clock>,
    origin: Instant,
}

impl std::fmt::Debug for HandedClock {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("HandedClock")
            .finish_non_exhaustive()
    }
}

impl Pace for HandedClock {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        let elapsed = self
            .clock
            .monotonic()
            .saturating_duration_since(self.origin);
        Nanos::new(u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX / 2))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::limits::by_hand::{FixedEntropy, HandClock};

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_burst_passes_and_the_next_request_waits_for_its_turn() {
        let bench = Bench::new(&[limit("pages", &[LimitKey::Principal], 2, SECOND, 3)]);
        let ada = subject("192.0.2.1", "laptop", "corp/ada");
        for _ in 0..3 {
            assert_eq!(bench.admit(&ada), Ok(vec![]));
        }
        let refused = bench.admit(&ada).unwrap_err();
        assert_eq!(refused.retry_after, SECOND / 2);
        bench.clock.advance(refused.retry_after);
        assert_eq!(bench.admit(&ada), Ok(vec![]));
    }

    #[test]
    fn one_millisecond_before_its_time_is_too_early() {
        let bench = Bench::new(&[limit("pages", &[LimitKey::Principal], 1, SECOND, 1)]);
        let ada = subject("192.0.2.1", "laptop", "corp/ada");
        bench.admit(&ada).unwrap();
        bench.clock.advance(Duration::from_millis(999));
        assert_eq!(
            bench.admit(&ada).unwrap_err().retry_after,
            Duration::from_millis(1)
        );
    }

    #[test]
    fn only_what_the_key_names_is_counted_together() {
        let bench = Bench::new(&[limit("pages", &[LimitKey::Device], 1, SECOND, 1)]);
        bench
            .admit(&subject("192.0.2.1", "laptop", "corp/ada"))
            .unwrap();
        assert!(
            bench
                .admit(&subject("192.0.2.9", "laptop", "corp/grace"))
                .is_err()
        );
        assert!(
            bench
                .admit(&subject("192.0.2.1", "phone", "corp/ada"))
                .is_ok()
        );
    }

    #[test]
    fn parts_of_a_key_do_not_run_into_each_other() {
        let key = [LimitKey::Device, LimitKey::Principal];
        let bench = Bench::new(&[limit("pages", &key, 1, SECOND, 1)]);
        bench.admit(&subject("192.0.2.1", "ab", "c")).unwrap();
        assert!(bench.admit(&subject("192.0.2.1", "a", "bc")).is_ok());
    }

    #[test]
    fn an_ipv6_client_cannot_walk_through_its_64_for_more() {
        let bench = Bench::new(&[limit("pages", &[LimitKey::Address], 1, SECOND, 1)]);
        bench.admit(&subject("2001:db8::1", "", "")).unwrap();
        assert!(bench.admit(&subject("2001:db8::2", "", "")).is_err());
    }

    #[test]
    fn a_refusal_costs_nothing_in_other_limits() {
        let bench = Bench::new(&[
            limit("shared", &[LimitKey::App], 10, SECOND, 10),
            limit("own", &[LimitKey::Principal], 1, SECOND, 1),
        ]);
        let greedy = subject("192.0.2.1", "laptop", "corp/mallory");
        bench.admit(&greedy).unwrap();
        for _ in 0..100 {
            assert_eq!(&*bench.admit(&greedy).unwrap_err().limit, "own");
        }
        // Nine of the shared ten are left for everybody else.
        for index in 0..9 {
            let name = format!("corp/{index}");
            assert!(bench.admit(&subject("192.0.2.1", "laptop", &name)).is_ok());
        }
    }

    #[test]
    fn the_longest_wait_is_told() {
        let bench = Bench::new(&[
            limit("second", &[LimitKey::Principal], 1, SECOND, 1),
            limit("minute", &[LimitKey::Principal], 1, 60 * SECOND, 1),
        ]);
        let ada = subject("192.0.2.1", "laptop", "corp/ada");
        bench.admit(&ada).unwrap();
        let refused = bench.admit(&ada).unwrap_err();
        assert_eq!(
            (&*refused.limit, refused.retry_after),
            ("minute", 60 * SECOND)
        );
    }

    #[test]
    fn an_observing_limit_lets_through_and_says_so() {
        let mut trial = limit("trial", &[LimitKey::Principal], 1, SECOND, 1);
        trial.mode = LimitMode::Observe;
        let bench = Bench::new(&[trial]);
        let ada = subject("192.0.2.1", "laptop", "corp/ada");
        assert_eq!(bench.admit(&ada), Ok(vec![]));
        assert_eq!(bench.admit(&ada), Ok(vec!["trial".into()]));
        assert_eq!(bench.metrics.limit("trial").observed.value(), 1);
    }

    #[test]
    fn apps_and_methods_narrow_whom_a_limit_concerns() {
        let mut writes = limit("writes", &[LimitKey::Principal], 1, SECOND, 1);
        writes.apps = vec!["payroll".into()];
        writes.methods = vec![Method::POST];
        let bench = Bench::new(&[writes]);
        let other = bench.limits.for_app("wiki");
        let reading = subject("192.0.2.1", "laptop", "corp/ada");
        let writing = LimitSubject {
            method: &Method::POST,
            ..reading
        };
        for _ in 0..5 {
            assert!(bench.admit(&reading).is_ok());
            assert!(other.admit(&writing).is_ok());
        }
        assert!(bench.admit(&writing).is_ok());
        assert!(bench.admit(&writing).is_err());
    }

    #[test]
    fn a_reload_forgets_nothing_where_the_pace_is_the_same() {
        let rules = [limit("pages", &[LimitKey::Principal], 1, SECOND, 1)];
        let mut bench = Bench::new(&rules);
        let ada = subject("192.0.2.1", "laptop", "corp/ada");
        bench.admit(&ada).unwrap();
        bench.reload(&rules);
        assert!(bench.admit(&ada).is_err());
        bench.reload(&[limit("pages", &[LimitKey::Principal], 2, SECOND, 1)]);
        assert!(bench.admit(&ada).is_ok());
    }

    #[test]
    fn invented_keys_neither_grow_memory_nor_win_anything() {
        let bench = Bench::new(&[]);
        let rule = limit("pages", &[LimitKey::Principal], 1, SECOND, 1);
        let clock: Arc<dyn Clock> = bench.clock.clone();
        let bucket = Bucket::new(&rule, &clock, &bench.metrics, 160);
        let hasher = crate::limits::keyed_hasher(&FixedEntropy);
        let admitted = (0..10_000_u32)
            .filter(|name| bucket.take(hasher.hash_one(name)).is_ok())
            .count();
        assert!(bucket.limiter.len() <= 160);
        // At most one for each key that found room, and one for all the others together.
        assert!(admitted <= 161, "{admitted}");
        assert!(bench.metrics.limit("pages").overflowed.value() >= 9_000);
    }

    #[test]
    fn room_is_made_once_keys_are_settled() {
        let bench = Bench::new(&[limit("pages", &[LimitKey::Principal], 1, SECOND, 1)]);
        for index in 0..1_000 {
            let name = format!("corp/{index}");
            bench.admit(&subject("192.0.2.1", "", &name)).unwrap();
        }
        bench.limits.purge();
        assert_eq!(bench.metrics.limit("pages").keys.value(), 1_000);
        bench.clock.advance(3 * SECOND);
        bench.limits.purge();
        assert_eq!(bench.metrics.limit("pages").keys.value(), 0);
    }

    #[test]
    fn numbers_from_the_far_end_neither_overflow_nor_open_the_door() {
        let rules = [
            limit("slow", &[LimitKey::Principal], 1, Duration::MAX, u32::MAX),
            limit(
                "fast",
                &[LimitKey::Principal],
                u32::MAX,
                Duration::from_nanos(1),
                u32::MAX,
            ),
            limit("none", &[LimitKey::Principal], 0, Duration::ZERO, 0),
        ];
        let bench = Bench::new(&rules);
        let ada = subject("192.0.2.1", "laptop", "corp/ada");
        assert!(bench.admit(&ada).is_ok());
        assert!(bench.admit(&ada).is_err());
    }

    #[test]
    fn many_threads_get_no_more_than_the_burst() {
        let bench = Bench::new(&[limit("pages", &[LimitKey::App], 1, 1_000 * SECOND, 500)]);
        let admitted = std::sync::atomic::AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        if bench.admit(&subject("192.0.2.1", "", "")).is_ok() {
                            admitted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        assert_eq!(admitted.into_inner(), 500);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// Against buckets that fill drop by drop.
        #[test]
        fn it_agrees_with_leaking_buckets(
            paces in proptest::collection::vec((1_u32..5, 1_u64..4, 1_u32..5), 1..4),
            steps in proptest::collection::vec((0_u64..900, 0_usize..3, proptest::bool::weighted(0.1)), 1..200),
        ) {
            let rules: Vec<_> = paces.iter().enumerate().map(|(index, &(requests, seconds, burst))| {
                let key = if index == 0 { [LimitKey::App] } else { [LimitKey::Principal] };
                limit(&format!("rule {index}"), &key, requests, Duration::from_secs(seconds), burst)
            }).collect();
            let bench = Bench::new(&rules);
            let mut model: Vec<Vec<Drops>> = rules.iter().map(|rule| vec![Drops::full(rule); 3]).collect();
            for (wait, person, purge) in steps {
                let wait = Duration::from_millis(wait);
                bench.clock.advance(wait);
                for drops in model.iter_mut().flatten() {
                    drops.drip(wait);
                }
                if purge {
                    bench.limits.purge();
                }
                let expected = Drops::take_from_all(&mut model, person);
                let name = person.to_string();
                let answer = bench.admit(&subject("192.0.2.1", "", &name));
                prop_assert_eq!(answer.map_err(|exceeded| exceeded.retry_after).map(|_| ()), expected);
            }
        }
    }

    /// The slow, obvious version: credit in nanoseconds, filled as time passes.
    #[derive(Clone)]
    struct Drops {
        credit: Duration,
        capacity: Duration,
        price: Duration,
    }

    impl Drops {
        fn full(rule: &Limit) -> Self {
            let price = rule.period / rule.requests;
            let capacity = price * rule.burst;
            Self {
                credit: capacity,
                capacity,
                price,
            }
        }

        fn drip(&mut self, elapsed: Duration) {
            self.credit = (self.credit + elapsed).min(self.capacity);
        }

        fn take_from_all(model: &mut [Vec<Self>], person: usize) -> Result<(), Duration> {
            let mut touched: Vec<&mut Self> = model
                .iter_mut()
                .enumerate()
                .map(|(index, drops)| &mut drops[if index == 0 { 0 } else { person }])
                .collect();
            let longest = touched
                .iter()
                .map(|d| d.price.saturating_sub(d.credit))
                .max()
                .unwrap();
            if longest > Duration::ZERO {
                return Err(longest);
            }
            for drops in &mut touched {
                drops.credit -= drops.price;
            }
            Ok(())
        }
    }

    struct Bench {
        limits: Limits,
        app: AppLimits,
        clock: Arc<HandClock>,
        metrics: Arc<Metrics>,
    }

    impl Bench {
        fn new(rules: &[Limit]) -> Self {
            let clock = Arc::new(HandClock::default());
            let metrics = Metrics::new();
            let shared: Arc<dyn Clock> = clock.clone();
            let limits = Limits::build(rules, None, &shared, &FixedEntropy, &metrics);
            let app = limits.for_app("payroll");
            Self {
                limits,
                app,
                clock,
                metrics,
            }
        }

        fn reload(&mut self, rules: &[Limit]) {
            let clock: Arc<dyn Clock> = self.clock.clone();
            self.limits = Limits::build(
                rules,
                Some(&self.limits),
                &clock,
                &FixedEntropy,
                &self.metrics,
            );
            self.app = self.limits.for_app("payroll");
        }

        fn admit(&self, subject: &LimitSubject<'_>) -> Result<Vec<Arc<str>>, Exceeded> {
            self.app.admit(subject)
        }
    }

    fn limit(name: &str, key: &[LimitKey], requests: u32, period: Duration, burst: u32) -> Limit {
        Limit {
            name: name.into(),
            key: key.to_vec(),
            apps: vec![],
            methods: vec![],
            requests,
            period,
            burst,
            mode: LimitMode::Enforce,
        }
    }

    fn subject<'a>(address: &str, device: &'a str, principal: &'a str) -> LimitSubject<'a> {
        LimitSubject {
            address: address.parse().unwrap(),
            device,
            principal,
            method: &Method::GET,
        }
    }
}
