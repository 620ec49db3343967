//! Reading the record as an auditor would: the chain, and one decision and one completion for every request.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use masugata::audit::verify::verify;
use serde_json::Value;
use tempfile::TempDir;

use crate::client::Answer;

/// Every line follows from the one before it.
#[track_caller]
pub fn verify_chain(file: &Path) {
    let report = verify(&[file.to_owned()], None).unwrap();
    assert!(report.faults == 0, "{:#?}", report.findings);
    let summary = report.files.last().unwrap();
    assert_eq!(summary.remainder, 0, "the last line is not whole");
}

/// Exactly one decision and, after it, exactly one completion for each request.
#[track_caller]
pub fn assert_paired(records: &[Value]) {
    let mut requests = BTreeMap::<&str, Vec<&str>>::new();
    for record in records {
        // What happened to people may name the request that it happened with.
        let of_request = record["type"] != "person";
        if let Some(id) = record["request_id"].as_str().filter(|_| of_request) {
            let kinds = requests.entry(id).or_default();
            kinds.push(record["type"].as_str().unwrap());
        }
    }
    for (id, kinds) in requests {
        assert_eq!(kinds, ["decision", "completion"], "request {id}");
    }
}

/// The decision about the request that was refused with `answer`.
#[track_caller]
pub fn decision_of<'a>(records: &'a [Value], answer: &Answer) -> &'a Value {
    record_of(records, "decision", answer)
}

/// The completion of the request that was refused with `answer`.
#[track_caller]
pub fn end_of<'a>(records: &'a [Value], answer: &Answer) -> &'a Value {
    record_of(records, "completion", answer)
}

#[track_caller]
fn record_of<'a>(records: &'a [Value], kind: &str, answer: &Answer) -> &'a Value {
    let id = answer.json()["request_id"].clone();
    records
        .iter()
        .find(|record| record["type"] == kind && record["request_id"] == id)
        .unwrap_or_else(|| panic!("no {kind} of request {id}"))
}

/// A file system of its own, which can be filled; unmounted at the end.
pub struct SmallDisk(TempDir);

impl SmallDisk {
    /// `None` where mounting is not permitted.
    pub fn mount(kibibytes: u32) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={kibibytes}k"), "small"])
            .arg(directory.path())
            .status();
        status
            .is_ok_and(|status| status.success())
            .then_some(Self(directory))
    }
    pub fn path(&self) -> &Path {
        self.0.path()
    }
    /// Takes all the room there is.
    pub fn fill(&self) {
        use std::io::Write as _;
        let mut file = std::fs::File::create(self.0.path().join("filler")).unwrap();
        while file.write_all(&[b'x'; 512]).is_ok() {}
    }
    /// Gives it back.
    pub fn make_room(&self) {
        std::fs::remove_file(self.0.path().join("filler")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}
