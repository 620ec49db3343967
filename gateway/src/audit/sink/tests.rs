use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc::SyncSender;

use super::*;
use crate::audit::chain::Hash;
use crate::audit::event::Outcome;
use crate::audit::fixtures::{
    HandClock, PATIENCE, completion, config, decision, eventually, lines, open, operation, place,
};
use crate::audit::flush::{Flushed, Job};
use crate::audit::verify::{Report, verify};
use crate::audit::writer::{CHECKPOINT_MISSING, LOST, RECOVERED, RESUMED, ROTATED};

fn checked(files: &[&Path]) -> Report {
    let files: Vec<PathBuf> = files.iter().map(|file| (*file).to_owned()).collect();
    verify(&files, None).unwrap()
}

#[track_caller]
fn assert_intact(files: &[&Path]) -> Report {
    let report = checked(files);
    assert!(report.is_intact(), "{:#?}", report.findings);
    report
}

fn write_one(log: &Path, request: u128) {
    let auditor = open(log);
    auditor.decided(decision(request)).unwrap();
    auditor.completed(completion(request));
    assert!(auditor.close(PATIENCE));
}

fn operations(log: &Path, kind: &str) -> Vec<serde_json::Value> {
    lines(log)
        .into_iter()
        .filter(|line| line["operation"] == kind)
        .collect()
}

#[test]
fn what_is_taken_is_written_in_order_and_chained() {
    let (_directory, log) = place();
    let auditor = open(&log);
    auditor.operation(operation("started"));
    auditor.decided(decision(1)).unwrap();
    auditor.completed(completion(1));
    assert!(auditor.flush(PATIENCE));
    assert_eq!(auditor.depth(), 0);
    let report = assert_intact(&[&log]);
    assert_eq!(report.files[0].lines, 3);
    assert_eq!(report.files[0].head, auditor.head());
    assert_eq!(report.files[0].checkpoint, Some(3));
    assert_eq!(auditor.counters().written.load(Ordering::Relaxed), 3);
    let bytes = auditor.counters().bytes.load(Ordering::Relaxed);
    assert_eq!(bytes, fs::metadata(&log).unwrap().len());
}

#[test]
fn many_threads_write_every_event_once_and_each_threads_in_its_order() {
    let (_directory, log) = place();
    let auditor = open(&log);
    std::thread::scope(|scope| {
        for thread in 0..8_u128 {
            let auditor = auditor.clone();
            scope.spawn(move || {
                for number in 0..250 {
                    let request = thread << 64 | number;
                    auditor.decided(decision(request)).unwrap();
                    auditor.completed(completion(request));
                }
            });
        }
    });
    assert!(auditor.close(PATIENCE));
    assert_eq!(assert_intact(&[&log]).files[0].lines, 4000);
    let mut seen = [(); 8].map(|()| Vec::new());
    for line in lines(&log) {
        let id = u128::from_str_radix(line["request_id"].as_str().unwrap(), 16).unwrap();
        let kind = line["type"].as_str().unwrap().to_owned();
        seen[usize::try_from(id >> 64).unwrap()].push((id & 0xffff, kind));
    }
    for thread in seen {
        let expected: Vec<_> = (0..250)
            .flat_map(|number| {
                [
                    (number, "decision".to_owned()),
                    (number, "completion".to_owned()),
                ]
            })
            .collect();
        assert_eq!(thread, expected);
    }
}

#[test]
fn the_chain_goes_on_after_a_restart() {
    let (_directory, log) = place();
    write_one(&log, 1);
    write_one(&log, 2);
    let report = assert_intact(&[&log]);
    assert_eq!(report.files[0].lines, 4);
    assert_eq!(report.files[0].head.sequence, 4);
}

#[test]
fn an_auditor_that_is_only_dropped_still_writes_what_it_took() {
    let (_directory, log) = place();
    let auditor = open(&log);
    auditor.decided(decision(1)).unwrap();
    drop(auditor);
    eventually("written", || {
        fs::read(&log).is_ok_and(|bytes| bytes.ends_with(b"\n"))
    });
    eventually("unlocked", || {
        Auditor::open(&config(&log), HandClock::new()).is_ok()
    });
    assert_intact(&[&log]);
}

#[test]
fn a_closed_record_takes_no_decision() {
    let (_directory, log) = place();
    let auditor = open(&log);
    assert!(auditor.healthy());
    assert!(auditor.close(PATIENCE));
    assert!(!auditor.healthy());
    assert_eq!(auditor.decided(decision(1)), Err(Unavailable));
    assert_eq!(auditor.noted(decision(1)), Kept::Counted);
    assert!(!auditor.flush(PATIENCE));
}

#[test]
fn a_second_writer_is_refused() {
    let (directory, log) = place();
    let auditor = open(&log);
    let second = Auditor::open(&config(&log), HandClock::new());
    assert!(matches!(second, Err(AuditError::InUse(_))));
    // Under another name it is the same file.
    let alias = directory.path().join("alias.jsonl");
    fs::hard_link(&log, &alias).unwrap();
    let second = Auditor::open(&config(&alias), HandClock::new());
    assert!(matches!(second, Err(AuditError::InUse(_))));
    assert!(auditor.close(PATIENCE));
    drop(auditor);
    open(&log);
}

#[test]
fn a_path_that_is_no_file_is_refused() {
    let (directory, _) = place();
    let log = directory.path().join("link");
    std::os::unix::fs::symlink("/dev/null", &log).unwrap();
    let opened = Auditor::open(&config(&log), HandClock::new());
    assert!(matches!(opened, Err(AuditError::NotAFile(_))));
    let opened = Auditor::open(&config(&directory.path().join("no/such")), HandClock::new());
    assert!(matches!(opened, Err(AuditError::Io { .. })));
}

#[test]
fn the_log_is_not_for_everybody() {
    use std::os::unix::fs::PermissionsExt;
    let (directory, log) = place();
    write_one(&log, 1);
    for entry in fs::read_dir(directory.path()).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o027, 0, "{:?} {mode:o}", entry.path());
    }
}

// A queue without a writer: what is admitted stays.

fn without_writer(queue: usize, on_overflow: OnOverflow) -> (Auditor, impl Sized) {
    let mut config = config(Path::new("unused"));
    config.queue = queue;
    config.on_overflow = on_overflow;
    let (sender, receiver) = unbounded_channel();
    let shared = Arc::new(Shared::new(&config, HandClock::new(), Head::GENESIS));
    (
        Auditor(Arc::new(Front {
            shared,
            queue: sender,
        })),
        receiver,
    )
}

#[test]
fn a_full_queue_refuses_permits_and_still_takes_completions() {
    let (auditor, _receiver) = without_writer(2, OnOverflow::Refuse);
    assert_eq!(auditor.decided(decision(1)), Ok(Kept::Recorded));
    assert!(auditor.healthy());
    assert_eq!(auditor.decided(decision(2)), Ok(Kept::Recorded));
    assert_eq!(auditor.decided(decision(3)), Err(Unavailable));
    assert!(!auditor.healthy());
    auditor.completed(completion(1));
    auditor.completed(completion(2));
    assert_eq!(auditor.depth(), 4);
    assert_eq!(auditor.noted(decision(4)), Kept::Counted);
    assert_eq!(auditor.counters().refused.load(Ordering::Relaxed), 1);
    assert_eq!(auditor.counters().lost.load(Ordering::Relaxed), 1);
}

#[test]
fn denials_leave_room_for_permits() {
    let (auditor, _receiver) = without_writer(8, OnOverflow::Refuse);
    for number in 0..100 {
        auditor.noted(decision(number));
    }
    assert_eq!(auditor.depth(), 6);
    assert_eq!(auditor.decided(decision(101)), Ok(Kept::Recorded));
    assert_eq!(auditor.decided(decision(102)), Ok(Kept::Recorded));
    assert_eq!(auditor.decided(decision(103)), Err(Unavailable));
}

#[test]
fn a_full_queue_lets_through_and_counts_when_that_is_configured() {
    let (auditor, _receiver) = without_writer(1, OnOverflow::DropAndCount);
    assert_eq!(auditor.decided(decision(1)), Ok(Kept::Recorded));
    assert_eq!(auditor.decided(decision(2)), Ok(Kept::Counted));
    assert_eq!(auditor.depth(), 1);
    assert_eq!(auditor.counters().lost.load(Ordering::Relaxed), 1);
}

#[test]
fn many_at_once_never_share_the_last_place() {
    let (auditor, _receiver) = without_writer(100, OnOverflow::Refuse);
    let taken = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for number in 0..50 {
                    if auditor.decided(decision(number)).is_ok() {
                        taken.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    assert!(taken.load(Ordering::Relaxed) <= 100);
    assert_eq!(auditor.depth(), taken.load(Ordering::Relaxed));
}

// A full disk.

#[test]
fn a_device_that_is_always_full_refuses_permits_and_keeps_what_was_taken() {
    let file = OpenOptions::new().append(true).open("/dev/full").unwrap();
    let log = LogFile::new(Path::new("/dev/full"), file).unwrap();
    let start = Start {
        head: Head::GENESIS,
        continues: false,
        unchecked: false,
        set_aside: None,
        lock: None,
    };
    let config = config(Path::new("/dev/full"));
    let auditor = Auditor::start(&config, HandClock::new(), log, start, Flusher::start).unwrap();
    assert_eq!(auditor.decided(decision(1)), Ok(Kept::Recorded));
    eventually("unhealthy", || !auditor.healthy());
    assert_eq!(auditor.decided(decision(2)), Err(Unavailable));
    auditor.completed(completion(1));
    assert_eq!(
        auditor.noted(decision(3)),
        Kept::Recorded,
        "there is room in memory"
    );
    assert_eq!(auditor.depth(), 3);
    assert!(auditor.counters().failures.load(Ordering::Relaxed) > 0);
    assert!(!auditor.flush(Duration::from_millis(50)));
    assert!(
        !auditor.close(Duration::from_millis(300)),
        "says that events are lost"
    );
    assert_eq!(auditor.head(), Head::GENESIS);
}

/// A file system of 64 KiB, unmounted at the end.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// `None` where mounting is not permitted.
    fn mount() -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=64k", "masugata-test"])
            .arg(directory.path())
            .stderr(Stdio::null())
            .status();
        if status.is_ok_and(|status| status.success()) {
            return Some(Self(directory));
        }
        println!("skipped: mounting a small file system is not permitted here");
        None
    }

    fn ballast(&self) -> PathBuf {
        self.0.path().join("ballast")
    }

    /// Leaves no byte free; the last page is taken byte by byte.
    fn fill(&self) {
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.ballast())
            .unwrap();
        while file.write(&[0; 512]).is_ok_and(|written| written > 0) {}
    }

    fn empty(&self) {
        fs::remove_file(self.ballast()).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[test]
fn a_full_disk_refuses_then_recovers_by_itself_and_loses_nothing_it_took() {
    let Some(disk) = SmallDisk::mount() else {
        return;
    };
    let log = disk.0.path().join("audit.jsonl");
    let clock = HandClock::new();
    let auditor = Auditor::open(&config(&log), Arc::clone(&clock) as Arc<dyn Clock>).unwrap();
    auditor.decided(decision(0)).unwrap();
    assert!(auditor.flush(PATIENCE));
    disk.fill();
    let mut taken = 1;
    eventually("refused", || {
        match auditor.decided(decision(taken)) {
            Ok(_) => taken += 1,
            Err(Unavailable) => return true,
        }
        false
    });
    // Those that were let in before end as usual.
    for request in 0..taken {
        auditor.completed(completion(request));
    }
    std::thread::sleep(RETRY * 2);
    assert!(!auditor.healthy());
    assert_eq!(auditor.decided(decision(999)), Err(Unavailable));
    let report = assert_intact(&[&log]);
    assert_eq!(
        report.files[0].remainder, 0,
        "no half line while the disk is full"
    );
    let during = report.files[0].lines;

    disk.empty();
    clock.advance(Duration::from_secs(90));
    eventually("healthy", || auditor.healthy());
    auditor.decided(decision(1000)).unwrap();
    assert!(auditor.close(PATIENCE));
    let report = assert_intact(&[&log]);
    assert!(report.files[0].lines > during);
    let lines = lines(&log);
    for kind in ["decision", "completion"] {
        for request in 0..taken {
            let id = format!("{request:032x}");
            let found = lines
                .iter()
                .filter(|line| line["request_id"] == id && line["type"] == kind);
            assert_eq!(found.count(), 1, "{kind} {request}");
        }
    }
    let resumed = operations(&log, RESUMED);
    assert_eq!(resumed.len(), 1);
    assert_eq!(resumed[0]["log"], "event");
    assert!(
        resumed[0]["detail"]
            .as_str()
            .unwrap()
            .starts_with("could not be written for 90000 ms")
    );
    assert!(
        !lines
            .iter()
            .any(|line| line["request_id"] == format!("{:032x}", 999))
    );
}

#[test]
fn a_full_disk_with_dropping_configured_says_afterwards_how_much_is_missing() {
    let Some(disk) = SmallDisk::mount() else {
        return;
    };
    let log = disk.0.path().join("audit.jsonl");
    let mut config = config(&log);
    config.on_overflow = OnOverflow::DropAndCount;
    config.queue = 5;
    let auditor = Auditor::open(&config, HandClock::new()).unwrap();
    auditor.operation(operation("started"));
    assert!(auditor.flush(PATIENCE));
    disk.fill();
    let mut counted = 0;
    for request in 0..500 {
        match auditor.decided(decision(request)) {
            Ok(Kept::Recorded) => {}
            Ok(Kept::Counted) => counted += 1,
            Err(Unavailable) => panic!("nobody is refused"),
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    assert!(counted > 0);
    assert!(auditor.depth() <= 5, "memory stays bounded");
    disk.empty();
    eventually("healthy", || auditor.healthy());
    assert!(auditor.close(PATIENCE));
    assert_intact(&[&log]);
    let lost: u64 = operations(&log, LOST)
        .iter()
        .map(|line| line["lost_decisions"].as_u64().unwrap())
        .sum();
    assert_eq!(lost, counted);
    let written = lines(&log)
        .iter()
        .filter(|line| line["type"] == "decision")
        .count() as u64;
    assert_eq!(written + lost, 500, "what is not there is counted");
}

#[test]
fn moving_the_log_to_another_disk_ends_a_full_disk_without_losing_what_was_taken() {
    let Some(disk) = SmallDisk::mount() else {
        return;
    };
    let log = disk.0.path().join("audit.jsonl");
    let auditor = open(&log);
    for request in 0..20 {
        auditor.decided(decision(request)).unwrap();
    }
    assert!(auditor.flush(PATIENCE));
    disk.fill();
    let mut taken = 20;
    eventually("refused", || {
        match auditor.decided(decision(taken)) {
            Ok(_) => taken += 1,
            Err(Unavailable) => return true,
        }
        false
    });
    let (_directory, moved) = place();
    fs::copy(&log, &moved).unwrap();
    fs::remove_file(&log).unwrap();
    eventually("healthy", || auditor.healthy());
    assert!(auditor.close(PATIENCE));
    assert_intact(&[&moved, &log]);
    let written = |log| {
        lines(log)
            .iter()
            .filter(|line| line["type"] == "decision")
            .count()
    };
    assert_eq!((written(&moved) + written(&log)) as u128, taken);
}

// Crashes.

#[test]
fn a_torn_last_line_is_set_aside_and_put_on_record() {
    let (directory, log) = place();
    write_one(&log, 1);
    let torn = br#"{"v":1,"seq":3,"time":"2026-04-"#;
    let mut file = OpenOptions::new().append(true).open(&log).unwrap();
    file.write_all(torn).unwrap();
    write_one(&log, 2);
    let report = assert_intact(&[&log]);
    assert_eq!(report.files[0].lines, 5);
    let recovered = operations(&log, RECOVERED);
    assert_eq!(recovered.len(), 1);
    assert_eq!(recovered[0]["seq"], 3);
    assert_eq!(recovered[0]["set_aside_bytes"], torn.len());
    assert_eq!(recovered[0]["set_aside_file"], "audit.jsonl.torn-3");
    let copy = fs::read(directory.path().join("audit.jsonl.torn-3")).unwrap();
    assert_eq!(copy, torn);
}

#[test]
fn lines_after_the_checkpoint_count_and_damage_after_it_is_set_aside() {
    let (directory, log) = place();
    write_one(&log, 1);
    let checkpoint = fs::read(checkpoint::path(&log)).unwrap();
    write_one(&log, 2);
    // As after a power cut: the checkpoint is older, the last line came to be zeros.
    fs::write(checkpoint::path(&log), checkpoint).unwrap();
    let mut bytes = fs::read(&log).unwrap();
    let length = bytes.len();
    bytes[length - 300..].fill(0);
    bytes.push(b'\n');
    fs::write(&log, &bytes).unwrap();
    write_one(&log, 3);
    let report = assert_intact(&[&log]);
    // Two, the one that held, the remark, two.
    assert_eq!(report.files[0].lines, 6);
    assert!(directory.path().join("audit.jsonl.torn-4").exists());
    assert_eq!(operations(&log, RECOVERED).len(), 1);
}

#[test]
fn an_earlier_copy_of_torn_bytes_is_never_overwritten() {
    let (directory, log) = place();
    write_one(&log, 1);
    let earlier = directory.path().join("audit.jsonl.torn-3");
    fs::write(&earlier, "earlier").unwrap();
    let mut file = OpenOptions::new().append(true).open(&log).unwrap();
    file.write_all(b"torn").unwrap();
    write_one(&log, 2);
    assert_eq!(fs::read(&earlier).unwrap(), b"earlier");
    let copy = directory.path().join("audit.jsonl.torn-3.2");
    assert_eq!(fs::read(copy).unwrap(), b"torn");
}

#[test]
fn a_log_that_was_cut_below_its_checkpoint_is_not_gone_over() {
    let (_directory, log) = place();
    write_one(&log, 1);
    write_one(&log, 2);
    let bytes = fs::read(&log).unwrap();
    let end = bytes.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    fs::write(&log, &bytes[..end]).unwrap();
    let error = Auditor::open(&config(&log), HandClock::new()).unwrap_err();
    assert!(matches!(error, AuditError::Cut { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("masugata audit verify"), "{text}");
    assert!(text.contains("audit.jsonl.head` away"), "{text}");
    assert_eq!(
        fs::read(&log).unwrap(),
        &bytes[..end],
        "evidence is not touched"
    );
}

#[test]
fn a_log_that_was_computed_anew_is_not_gone_over() {
    let (_directory, log) = place();
    write_one(&log, 1);
    let (_elsewhere, forged) = place();
    write_one(&forged, 7);
    fs::copy(&forged, &log).unwrap();
    let error = Auditor::open(&config(&log), HandClock::new()).unwrap_err();
    assert!(
        matches!(error, AuditError::Rewritten { sequence: 2, .. }),
        "{error}"
    );
}

#[test]
fn without_a_checkpoint_the_whole_log_has_to_verify() {
    let (_directory, log) = place();
    write_one(&log, 1);
    fs::remove_file(checkpoint::path(&log)).unwrap();
    write_one(&log, 2);
    assert_intact(&[&log]);
    assert_eq!(operations(&log, CHECKPOINT_MISSING).len(), 1);

    let text = fs::read_to_string(&log).unwrap();
    fs::write(&log, text.replacen("GET", "PUT", 1)).unwrap();
    fs::remove_file(checkpoint::path(&log)).unwrap();
    let error = Auditor::open(&config(&log), HandClock::new()).unwrap_err();
    assert!(
        matches!(
            error,
            AuditError::Broken {
                line: 1,
                offset: 0,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn a_checkpoint_that_is_none_stops_the_start() {
    let (_directory, log) = place();
    write_one(&log, 1);
    fs::write(checkpoint::path(&log), "{}").unwrap();
    let error = Auditor::open(&config(&log), HandClock::new()).unwrap_err();
    assert!(
        matches!(error, AuditError::CheckpointInvalid { .. }),
        "{error}"
    );
}

#[test]
fn a_foreign_file_is_not_taken_for_a_log() {
    let (_directory, log) = place();
    fs::write(&log, "dear diary\n").unwrap();
    let error = Auditor::open(&config(&log), HandClock::new()).unwrap_err();
    assert!(
        matches!(error, AuditError::Broken { line: 1, .. }),
        "{error}"
    );
}

const VICTIM: &str = "MASUGATA_TEST_AUDIT_LOG";

/// Not a test by itself: the process that the next one kills.
#[test]
fn writes_until_killed() {
    let Some(log) = std::env::var_os(VICTIM) else {
        return;
    };
    let mut config = config(Path::new(&log));
    config.sync_interval = Duration::from_millis(20);
    let auditor = Auditor::open(&config, Arc::new(crate::capability::SystemClock)).unwrap();
    for request in 0.. {
        if auditor.decided(decision(request)).is_ok() {
            auditor.completed(completion(request));
        } else {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

#[test]
fn a_process_killed_under_load_leaves_a_log_that_verifies_and_goes_on() {
    let (_directory, log) = place();
    for round in 0..3 {
        let mut victim = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "audit::sink::tests::writes_until_killed"])
            .env(VICTIM, &log)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let before = fs::metadata(&log).map_or(0, |metadata| metadata.len());
        eventually("under way", || {
            fs::metadata(&log).is_ok_and(|metadata| metadata.len() > before + 200_000)
        });
        victim.kill().unwrap();
        victim.wait().unwrap();
        let report = assert_intact(&[&log]);
        assert!(report.files[0].lines > 100, "round {round}");
        write_one(&log, 1);
        assert_intact(&[&log]);
    }
}

// Rotation.

fn one_more(auditor: &Auditor, request: u128) {
    auditor.decided(decision(request)).unwrap();
    assert!(auditor.flush(PATIENCE));
}

#[test]
fn a_log_that_was_moved_away_is_followed_by_a_new_file_in_the_same_chain() {
    let (directory, log) = place();
    let auditor = open(&log);
    one_more(&auditor, 1);
    let moved = directory.path().join("audit.jsonl.1");
    fs::rename(&log, &moved).unwrap();
    auditor.reopen();
    one_more(&auditor, 2);
    assert!(auditor.close(PATIENCE));
    assert_eq!(auditor.counters().rotations.load(Ordering::Relaxed), 1);
    let report = assert_intact(&[&moved, &log]);
    assert_eq!(report.files[0].lines, 1);
    assert_eq!(report.files[1].lines, 2);
    let first = &lines(&log)[0];
    assert_eq!(first["operation"], ROTATED);
    assert_eq!(first["seq"], 2);
    assert_eq!(first["previous_seq"], 1);
    assert_eq!(
        first["previous_hash"],
        report.files[0].head.hash.to_string()
    );
    // Each alone is a part that says so; in the wrong order they do not fit.
    assert_eq!(assert_intact(&[&log]).files[0].follows.unwrap().sequence, 1);
    assert_intact(&[&moved]);
    assert!(!checked(&[&log, &moved]).is_intact());
}

#[test]
fn an_idle_writer_notices_by_itself_that_its_log_was_moved() {
    let (directory, log) = place();
    let auditor = open(&log);
    one_more(&auditor, 1);
    fs::rename(&log, directory.path().join("audit.jsonl.1")).unwrap();
    eventually("begun anew", || {
        fs::metadata(&log).is_ok_and(|found| found.len() > 0)
    });
}

#[test]
fn rotation_while_stopped_goes_on_in_the_same_chain() {
    let (directory, log) = place();
    write_one(&log, 1);
    let moved = directory.path().join("audit.jsonl.1");
    fs::rename(&log, &moved).unwrap();
    write_one(&log, 2);
    assert_intact(&[&moved, &log]);
    // Killed after the rotation, before a checkpoint: the checkpoint still tells of the old file.
    let newer = directory.path().join("audit.jsonl.2");
    let checkpoint = fs::read(checkpoint::path(&log)).unwrap();
    fs::rename(&log, &newer).unwrap();
    write_one(&log, 3);
    fs::write(checkpoint::path(&log), checkpoint).unwrap();
    assert_intact(&[&moved, &newer, &log]);
    write_one(&log, 4);
    assert_intact(&[&moved, &newer, &log]);
}

#[test]
fn a_process_killed_between_rotation_and_flush_can_start_again() {
    for emptied in [false, true] {
        let (directory, log) = place();
        let mut config = config(&log);
        config.sync_interval = Duration::from_secs(5);
        let auditor = Auditor::open(&config, HandClock::new()).unwrap();
        let written = || auditor.counters().written.load(Ordering::Relaxed);
        one_more(&auditor, 1);
        auditor.decided(decision(2)).unwrap();
        eventually("written, not flushed", || written() == 2);
        let moved = directory.path().join("audit.jsonl.1");
        if emptied {
            fs::copy(&log, &moved).unwrap();
            let file = OpenOptions::new().write(true).open(&log).unwrap();
            file.set_len(0).unwrap();
        } else {
            fs::rename(&log, &moved).unwrap();
        }
        auditor.reopen();
        eventually("rotated", || written() == 3);
        auditor.decided(decision(3)).unwrap();
        eventually("written, not flushed", || written() == 4);
        // What a killed process leaves behind, in another place.
        let (_elsewhere, left) = place();
        fs::copy(&log, &left).unwrap();
        fs::copy(checkpoint::path(&log), checkpoint::path(&left)).unwrap();
        write_one(&left, 4);
        assert_intact(&[&moved, &left]);
    }
}

#[test]
fn a_file_with_content_in_the_logs_place_is_left_alone_and_nothing_is_lost() {
    let (directory, log) = place();
    let auditor = open(&log);
    one_more(&auditor, 1);
    let moved = directory.path().join("audit.jsonl.1");
    fs::rename(&log, &moved).unwrap();
    fs::write(&log, "somebody's notes\n").unwrap();
    one_more(&auditor, 2);
    assert_eq!(fs::read(&log).unwrap(), b"somebody's notes\n");
    assert_eq!(lines(&moved).len(), 2);
    fs::remove_file(&log).unwrap();
    one_more(&auditor, 3);
    assert!(auditor.close(PATIENCE));
    assert_intact(&[&moved, &log]);
}

#[test]
fn a_log_emptied_in_place_goes_on_in_the_same_chain() {
    let (directory, log) = place();
    let auditor = open(&log);
    one_more(&auditor, 1);
    let copy = directory.path().join("copy");
    fs::copy(&log, &copy).unwrap();
    OpenOptions::new()
        .write(true)
        .open(&log)
        .unwrap()
        .set_len(0)
        .unwrap();
    one_more(&auditor, 2);
    assert!(auditor.close(PATIENCE));
    assert_intact(&[&copy, &log]);
}

#[test]
fn a_stranger_that_writes_into_the_log_is_put_on_record_and_spoils_no_line() {
    let (_directory, log) = place();
    let auditor = open(&log);
    one_more(&auditor, 1);
    let mut file = OpenOptions::new().append(true).open(&log).unwrap();
    file.write_all(b"half a line of somebody else").unwrap();
    one_more(&auditor, 2);
    assert!(auditor.close(PATIENCE));
    let report = checked(&[&log]);
    assert_eq!(report.faults, 1, "{:#?}", report.findings);
    assert_eq!(report.findings[0].line, 2);
    let text = fs::read_to_string(&log).unwrap();
    assert!(
        text.lines()
            .nth(2)
            .unwrap()
            .contains("\"operation\":\"altered\"")
    );
}

#[test]
fn syncs_come_at_most_once_per_interval() {
    let (_directory, log) = place();
    let clock = HandClock::new();
    let mut config = config(&log);
    config.sync_interval = Duration::from_secs(5);
    let auditor = Auditor::open(&config, Arc::clone(&clock) as Arc<dyn Clock>).unwrap();
    let written = || auditor.counters().written.load(Ordering::Relaxed);
    let syncs = || auditor.counters().syncs.load(Ordering::Relaxed);
    for request in 0..5 {
        auditor.decided(decision(request)).unwrap();
        eventually("written", || written() == request as u64 + 1);
    }
    assert_eq!(syncs(), 0);
    clock.advance(Duration::from_secs(5));
    eventually("synced", || syncs() == 1);
    assert_eq!(checked(&[&log]).files[0].checkpoint, Some(5));
}

/// A log whose flushes end when the test says so.
struct HeldFlush {
    auditor: Auditor,
    clock: Arc<HandClock>,
    jobs: std::sync::mpsc::Receiver<Job>,
    results: SyncSender<Flushed>,
    log: PathBuf,
    _directory: tempfile::TempDir,
}

impl HeldFlush {
    fn open() -> Self {
        let (directory, log) = place();
        let clock = HandClock::new();
        let mut config = config(&log);
        config.sync_interval = Duration::from_secs(1);
        let (flusher, jobs, results) = Flusher::by_hand();
        let start = Start {
            head: Head::GENESIS,
            continues: false,
            unchecked: false,
            set_aside: None,
            lock: None,
        };
        let auditor = Auditor::start(
            &config,
            Arc::clone(&clock) as Arc<dyn Clock>,
            LogFile::open(&log).unwrap(),
            start,
            |_| Ok(flusher),
        );
        Self {
            auditor: auditor.unwrap(),
            clock,
            jobs,
            results,
            log,
            _directory: directory,
        }
    }

    fn write(&self, request: u128) {
        self.auditor.decided(decision(request)).unwrap();
    }

    fn await_written(&self, lines: u64) {
        let written = || self.auditor.counters().written.load(Ordering::Relaxed);
        eventually("written", || written() == lines);
    }

    /// Begins a flush of one line.
    fn begin(&self) -> Job {
        self.write(1);
        self.await_written(1);
        self.clock.advance(Duration::from_secs(1));
        self.jobs.recv_timeout(PATIENCE).unwrap()
    }

    fn end(&self, flushed: Flushed) {
        self.results.send(flushed).unwrap();
        self.auditor.0.shared.unpark();
    }
}

#[test]
fn a_slow_flush_holds_up_no_line_and_vouches_only_for_those_before_it() {
    let held = HeldFlush::open();
    let job = held.begin();
    held.write(2);
    held.await_written(2);
    assert_eq!(job.checkpoint.head.sequence, 1);
    held.end(job.run());
    let syncs = || held.auditor.counters().syncs.load(Ordering::Relaxed);
    eventually("flushed", || syncs() == 1);
    assert_eq!(checked(&[&held.log]).files[0].checkpoint, Some(1));
    // What was written meanwhile has its turn.
    held.clock.advance(Duration::from_secs(1));
    let job = held.jobs.recv_timeout(PATIENCE).unwrap();
    assert_eq!(job.checkpoint.head.sequence, 2);
    held.end(job.run());
    assert!(held.auditor.close(PATIENCE));
    assert_eq!(assert_intact(&[&held.log]).files[0].checkpoint, Some(2));
}

#[test]
fn a_flush_that_does_not_end_holds_up_the_lines_after_it() {
    let held = HeldFlush::open();
    let job = held.begin();
    held.write(2);
    held.await_written(2);
    held.clock.advance(Duration::from_secs(5));
    held.write(3);
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(held.auditor.counters().written.load(Ordering::Relaxed), 2);
    held.end(job.run());
    held.await_written(3);
    // The next one is due at once.
    held.end(held.jobs.recv_timeout(PATIENCE).unwrap().run());
    assert!(held.auditor.close(PATIENCE));
    assert_intact(&[&held.log]);
}

#[test]
fn a_flush_that_fails_refuses_permits_until_one_succeeds() {
    let held = HeldFlush::open();
    let _job = held.begin();
    held.end(Flushed {
        synced: Err(std::io::Error::other("gone")),
        vouched: Ok(()),
    });
    // The next attempt is the writer's own, and succeeds.
    eventually("recovered", || {
        operations(&held.log, "writing-resumed").len() == 1
    });
    eventually("healthy", || held.auditor.healthy());
    held.write(2);
    assert!(held.auditor.close(PATIENCE));
    assert_intact(&[&held.log]);
    assert_eq!(held.auditor.counters().failures.load(Ordering::Relaxed), 1);
}

#[test]
fn the_record_stays_intact_for_a_reader_while_it_is_written() {
    let (_directory, log) = place();
    let auditor = open(&log);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for request in 0..3000 {
                let _ = auditor.decided(decision(request));
            }
            done.store(true, Ordering::Relaxed);
        });
        while !done.load(Ordering::Relaxed) {
            assert_intact(&[&log]);
        }
    });
    assert!(auditor.close(PATIENCE));
    assert_ne!(assert_intact(&[&log]).files[0].head.hash, Hash::GENESIS);
}

#[test]
fn every_outcome_has_its_word() {
    let (_directory, log) = place();
    let auditor = open(&log);
    let outcomes = [
        (Outcome::Completed, "completed"),
        (Outcome::ClientGone, "client-gone"),
        (Outcome::UpstreamFailed("connect"), "upstream-failed"),
        (Outcome::TimedOut("idle"), "timed-out"),
        (Outcome::ShutDown, "shut-down"),
    ];
    for (outcome, _) in outcomes {
        auditor.completed(Completion {
            outcome,
            ..completion(1)
        });
    }
    assert!(auditor.close(PATIENCE));
    for (line, (_, word)) in lines(&log).iter().zip(outcomes) {
        assert_eq!(line["outcome"], word);
    }
}
