use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::Duration;

use masugata_policy::Timestamp;
use serde_json::Value;
use tempfile::TempDir;

use super::*;
use crate::audit::event::Operation;
use crate::audit::fixtures::{
    HandClock, NOW, PATIENCE, config, connection, eventually, lines, place,
};
use crate::audit::writer::LOST;
use crate::capability::Clock;
use crate::config::OnOverflow;

struct Bench {
    _directory: TempDir,
    log: PathBuf,
    clock: Arc<HandClock>,
    auditor: Auditor,
}

impl Bench {
    fn new() -> Self {
        let (directory, log) = place();
        let clock = HandClock::new();
        let auditor = Auditor::open(&config(&log), Arc::clone(&clock) as Arc<dyn Clock>).unwrap();
        Self {
            _directory: directory,
            log,
            clock,
            auditor,
        }
    }

    fn trail(&self) -> Trail {
        open(&self.auditor, &*self.clock)
    }

    fn lines(&self) -> Vec<Value> {
        assert!(self.auditor.flush(PATIENCE));
        lines(&self.log)
    }

    /// What the two lines of the only exchange say.
    #[track_caller]
    fn told(&self) -> (Value, Value) {
        let lines = self.lines();
        assert_eq!(lines.len(), 2, "{lines:#?}");
        assert_eq!(lines[0]["type"], "decision");
        assert_eq!(lines[1]["type"], "completion");
        assert_eq!(lines[0]["request_id"], lines[1]["request_id"]);
        (lines[0].clone(), lines[1].clone())
    }
}

fn open(auditor: &Auditor, clock: &dyn Clock) -> Trail {
    Trail::open(
        auditor,
        Opening {
            request: RequestId(9),
            generation: 3,
            connection: connection(),
            method: Method::GET,
            uri: "/x".parse().unwrap(),
            started: clock.monotonic(),
        },
    )
}

#[test]
fn a_permit_and_its_end_are_two_lines() {
    let bench = Bench::new();
    let mut trail = bench.trail();
    trail.facts.host = Some("hr.corp.example".into());
    trail.permitted(Arc::new(["p1".into()]), None).unwrap();
    let completion = trail.into_completion();
    completion.received(10);
    completion.sent(20);
    completion.sent(22);
    completion.answered(StatusCode::CREATED);
    completion.upstream(&"10.0.0.9:80".into(), 2);
    bench.clock.advance(Duration::from_millis(1500));
    completion.end(Outcome::Completed);
    let (decision, end) = bench.told();
    assert_eq!(decision["decision"], "permitted");
    assert_eq!(decision["host"], "hr.corp.example");
    assert_eq!(decision["policies"][0], "p1");
    assert_eq!(end["outcome"], "completed");
    assert_eq!(end["status"], 201);
    assert_eq!(end["bytes_received"], 10);
    assert_eq!(end["bytes_sent"], 42);
    assert_eq!(end["upstream"], "10.0.0.9:80");
    assert_eq!(end["attempts"], 2);
    assert_eq!(end["duration_ms"], 1500.0);
}

#[test]
fn a_denial_tells_what_was_known_and_is_completed_like_a_permit() {
    let bench = Bench::new();
    let mut trail = bench.trail();
    trail.facts.action = Some(Action::Delete);
    let denial = Denial::new(DenialReason::PostureStale).with_detail("edr_running");
    trail.denied(&denial);
    let completion = trail.into_completion();
    completion.answered(StatusCode::FORBIDDEN);
    completion.end(Outcome::Completed);
    let (decision, end) = bench.told();
    assert_eq!(decision["decision"], "denied");
    assert_eq!(decision["code"], "posture-stale");
    assert_eq!(decision["stage"], "posture");
    assert_eq!(decision["detail"], "edr_running");
    assert_eq!(decision["action"], "delete");
    assert_eq!(end["status"], 403);
}

#[test]
fn a_client_that_leaves_before_the_decision_is_on_record() {
    let bench = Bench::new();
    drop(bench.trail());
    let (decision, end) = bench.told();
    assert_eq!(decision["decision"], "abandoned");
    assert_eq!(end["outcome"], "client-gone");
    assert!(end.get("status").is_none());
}

#[test]
fn a_client_that_leaves_after_the_decision_is_on_record() {
    let bench = Bench::new();
    let mut trail = bench.trail();
    trail.permitted(Arc::default(), None).unwrap();
    drop(trail);
    let (decision, end) = bench.told();
    assert_eq!(decision["decision"], "permitted");
    assert_eq!(end["outcome"], "client-gone");
}

#[test]
fn a_client_that_leaves_during_the_answer_is_on_record() {
    let bench = Bench::new();
    let mut trail = bench.trail();
    trail.permitted(Arc::default(), None).unwrap();
    let completion = trail.into_completion();
    let other = Arc::clone(&completion);
    drop(completion);
    assert_eq!(bench.lines().len(), 1, "somebody still carries its bytes");
    other.answered(StatusCode::OK);
    drop(other);
    let (_, end) = bench.told();
    assert_eq!(end["outcome"], "client-gone");
    assert_eq!(end["status"], 200);
}

#[test]
fn the_first_decision_and_the_first_end_count() {
    let bench = Bench::new();
    let mut trail = bench.trail();
    trail.permitted(Arc::default(), None).unwrap();
    assert_eq!(trail.permitted(Arc::default(), None), Err(Unavailable));
    trail.denied(&Denial::new(DenialReason::BodyTooLarge));
    let completion = trail.into_completion();
    completion.end(Outcome::Cut(DenialReason::BodyTooLarge));
    completion.end(Outcome::Completed);
    drop(completion);
    let (decision, end) = bench.told();
    assert_eq!(decision["decision"], "permitted");
    assert_eq!(end["outcome"], "cut");
    assert_eq!(end["cause"], "body-too-large");
}

#[test]
fn many_that_end_it_at_once_write_one_line() {
    let bench = Bench::new();
    let mut trail = bench.trail();
    trail.permitted(Arc::default(), None).unwrap();
    let completion = trail.into_completion();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            let completion = Arc::clone(&completion);
            scope.spawn(move || completion.end(Outcome::ShutDown));
        }
    });
    drop(completion);
    assert_eq!(bench.told().1["outcome"], "shut-down");
}

#[test]
fn a_panic_before_the_decision_is_a_denial_and_no_departure() {
    let bench = Bench::new();
    let trail = bench.trail();
    let panicked = catch_unwind(AssertUnwindSafe(move || {
        let _trail = trail;
        panic!("planted");
    }));
    assert!(panicked.is_err());
    let (decision, end) = bench.told();
    assert_eq!(decision["code"], "internal");
    assert_eq!(end["outcome"], "cut");
    assert_eq!(end["cause"], "internal");
}

#[test]
fn a_panic_after_the_permit_leaves_the_permit_and_says_cut() {
    let bench = Bench::new();
    let mut trail = bench.trail();
    trail.permitted(Arc::default(), None).unwrap();
    let completion = trail.into_completion();
    let panicked = catch_unwind(AssertUnwindSafe(move || {
        let _completion = completion;
        panic!("planted");
    }));
    assert!(panicked.is_err());
    let (decision, end) = bench.told();
    assert_eq!(decision["decision"], "permitted");
    assert_eq!(end["outcome"], "cut");
}

#[test]
fn completing_without_a_decision_is_recorded_as_a_defect() {
    let bench = Bench::new();
    bench.trail().into_completion().end(Outcome::Completed);
    let (decision, _) = bench.told();
    assert_eq!(decision["code"], "internal");
}

#[test]
fn without_room_nothing_is_permitted_but_everything_is_counted() {
    let (_directory, log) = place();
    let clock = HandClock::new();
    let auditor = Auditor::open(&config(&log), Arc::clone(&clock) as Arc<dyn Clock>).unwrap();
    assert!(auditor.close(PATIENCE));
    let mut trail = open(&auditor, &*clock);
    trail.facts.host = Some("hr.corp.example".into());
    assert_eq!(trail.permitted(Arc::default(), None), Err(Unavailable));
    assert_eq!(
        trail.facts.host.as_deref(),
        Some("hr.corp.example"),
        "the denial tells the same"
    );
    trail.denied(&Denial::new(DenialReason::AuditUnavailable));
    assert!(trail.is_decided());
    trail.into_completion().end(Outcome::Completed);
    assert_eq!(auditor.counters().refused.load(Ordering::Relaxed), 1);
    assert_eq!(auditor.counters().lost.load(Ordering::Relaxed), 2);
    assert_eq!(lines(&log).len(), 0);
}

/// Holds the writer up when it asks for the time, for as long as the gate is held.
struct GatedClock {
    inner: Arc<HandClock>,
    gate: Arc<Mutex<()>>,
    /// The writer stands there.
    waits: AtomicBool,
}

impl Clock for GatedClock {
    fn now(&self) -> Timestamp {
        self.inner.now()
    }
    fn monotonic(&self) -> Instant {
        let is_writer = std::thread::current().name() == Some("audit");
        if is_writer && self.gate.try_lock().is_err() {
            self.waits.store(true, Ordering::Release);
            drop(self.gate.lock());
        }
        self.inner.monotonic()
    }
}

fn reloaded() -> Operation {
    Operation {
        at: NOW,
        generation: 1,
        kind: "reloaded",
        detail: String::new(),
        policy_version: None,
    }
}

#[test]
fn an_exchange_without_room_is_counted_whole_when_dropping_is_configured() {
    let (_directory, log) = place();
    let gate = Arc::new(Mutex::new(()));
    let clock = Arc::new(GatedClock {
        inner: HandClock::new(),
        gate: Arc::clone(&gate),
        waits: AtomicBool::new(false),
    });
    let mut config = config(&log);
    config.on_overflow = OnOverflow::DropAndCount;
    config.queue = 1;
    let auditor = Auditor::open(&config, Arc::clone(&clock) as Arc<dyn Clock>).unwrap();
    let held = gate.lock().unwrap();
    auditor.operation(reloaded());
    eventually("held up", || clock.waits.load(Ordering::Acquire));
    // It may have written that one before it asked for the time.
    let before = if auditor.depth() == 0 {
        auditor.operation(reloaded());
        2
    } else {
        1
    };
    assert_eq!(auditor.depth(), 1, "the only place is taken");

    let mut trail = open(&auditor, &*clock);
    trail.permitted(Arc::default(), None).unwrap();
    trail.into_completion().end(Outcome::Completed);
    drop(held);
    assert!(auditor.close(PATIENCE));
    let lines = lines(&log);
    assert_eq!(lines.len(), before + 1, "{lines:#?}");
    assert_eq!(lines[before]["operation"], LOST);
    assert_eq!(lines[before]["lost_decisions"], 1);
    assert_eq!(lines[before]["lost_completions"], 1);
}
