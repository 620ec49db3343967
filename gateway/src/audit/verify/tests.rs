use std::fs;
use std::sync::OnceLock;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::audit::checkpoint::path as checkpoint_path;
use crate::audit::fixtures::{PATIENCE, completion, full_decision, open, operation, place};

/// A log of 13 lines with its checkpoint at the end: the log's bytes, the checkpoint's.
fn original() -> &'static (Vec<u8>, Vec<u8>) {
    static ORIGINAL: OnceLock<(Vec<u8>, Vec<u8>)> = OnceLock::new();
    ORIGINAL.get_or_init(|| {
        let (_directory, log) = place();
        let auditor = open(&log);
        auditor.operation(operation("started"));
        for request in 0..6 {
            auditor.decided(full_decision()).unwrap();
            auditor.completed(completion(request));
        }
        assert!(auditor.close(PATIENCE));
        (
            fs::read(&log).unwrap(),
            fs::read(checkpoint_path(&log)).unwrap(),
        )
    })
}

fn lines_of(bytes: &[u8]) -> Vec<Vec<u8>> {
    bytes
        .split_inclusive(|byte| *byte == b'\n')
        .map(<[u8]>::to_vec)
        .collect()
}

fn put(bytes: &[u8], checkpoint: Option<&[u8]>) -> (TempDir, PathBuf) {
    let (directory, log) = place();
    fs::write(&log, bytes).unwrap();
    if let Some(checkpoint) = checkpoint {
        fs::write(checkpoint_path(&log), checkpoint).unwrap();
    }
    (directory, log)
}

/// What is found in these lines, with the original's checkpoint.
fn found_in(lines: &[Vec<u8>]) -> Vec<(u64, &'static str)> {
    let (_directory, log) = put(&lines.concat(), Some(&original().1));
    let report = verify(&[log], None).unwrap();
    report
        .findings
        .iter()
        .map(|finding| (finding.line, finding.fault.code()))
        .collect()
}

#[test]
fn the_original_is_intact() {
    assert_eq!(found_in(&lines_of(&original().0)), []);
}

#[test]
fn an_edited_line_is_named() {
    let mut lines = lines_of(&original().0);
    let text = String::from_utf8(lines[5].clone()).unwrap();
    lines[5] = text.replace("corp/ada", "corp/eve").into_bytes();
    assert_eq!(found_in(&lines), [(6, "changed")]);
}

#[test]
fn an_edited_line_with_a_fitting_hash_shows_at_the_next() {
    let mut lines = lines_of(&original().0);
    let before = Record::parse(&lines[4][..lines[4].len() - 1]).unwrap().hash;
    let (content, _) = unseal(&lines[5][..lines[5].len() - 1]).unwrap();
    let edited = String::from_utf8(content.to_vec())
        .unwrap()
        .replace("corp/ada", "corp/eve");
    let hash = before.followed_by(edited.as_bytes());
    lines[5] = format!("{edited},\"hash\":\"{hash}\"}}\n").into_bytes();
    assert_eq!(found_in(&lines), [(7, "changed")]);
}

#[test]
fn removed_lines_are_named() {
    let mut lines = lines_of(&original().0);
    lines.drain(3..5);
    let (_directory, log) = put(&lines.concat(), Some(&original().1));
    let report = verify(&[log], None).unwrap();
    assert_eq!(report.faults, 1);
    assert_eq!(
        report.files[0].checkpoint,
        Some(13),
        "the end is where it was"
    );
    assert_eq!(report.findings[0].line, 4);
    assert_eq!(report.findings[0].seq, Some(6));
    assert_eq!(
        report.findings[0].fault,
        Fault::Missing { first: 4, last: 5 }
    );
}

#[test]
fn a_missing_beginning_is_named() {
    let mut lines = lines_of(&original().0);
    lines.remove(0);
    assert_eq!(found_in(&lines)[0], (1, "beginning-missing"));
}

#[test]
fn repeated_and_moved_lines_are_named() {
    let mut lines = lines_of(&original().0);
    lines.insert(5, lines[4].clone());
    assert_eq!(found_in(&lines)[0], (6, "displaced"));
    let mut lines = lines_of(&original().0);
    lines.swap(3, 6);
    let found = found_in(&lines);
    assert_eq!(found[0], (4, "missing"));
    assert_eq!(found[1], (5, "displaced"));
}

#[test]
fn an_inserted_line_of_another_kind_is_named_alone() {
    let mut lines = lines_of(&original().0);
    lines.insert(5, b"hello\n".to_vec());
    // Every later place moves, and the checkpoint's too; that is one fault and not two.
    assert_eq!(found_in(&lines), [(6, "not-a-record")]);
}

#[test]
fn a_compressed_file_is_not_called_broken() {
    let (_directory, log) = put(b"\x1f\x8b\x08\0anything\nat all\n", None);
    let error = verify(&[log], None).unwrap_err();
    assert!(error.to_string().contains("it is compressed"), "{error}");
}

#[test]
fn a_cut_end_shows_against_the_checkpoint_and_only_there() {
    let lines = lines_of(&original().0);
    assert_eq!(found_in(&lines[..9]), [(9, "cut")]);
    assert_eq!(found_in(&[]), [(0, "cut")]);
    let (_directory, log) = put(&lines[..9].concat(), None);
    assert!(
        verify(&[log], None).unwrap().is_intact(),
        "as the document says"
    );
}

#[test]
fn a_log_computed_anew_shows_against_the_checkpoint() {
    let (_directory, log) = place();
    let auditor = open(&log);
    for request in 0..13 {
        auditor.completed(completion(request));
    }
    assert!(auditor.close(PATIENCE));
    fs::write(checkpoint_path(&log), &original().1).unwrap();
    let report = verify(&[log], None).unwrap();
    assert_eq!(report.findings[0].fault.code(), "rewritten");
}

#[test]
fn a_line_that_is_being_written_is_no_fault() {
    let mut bytes = original().0.clone();
    bytes.extend_from_slice(b"{\"v\":1,\"seq\":14,");
    let (_directory, log) = put(&bytes, Some(&original().1));
    let report = verify(&[log], None).unwrap();
    assert!(report.is_intact());
    assert_eq!(report.files[0].remainder, 16);
}

#[test]
fn an_endless_line_takes_no_endless_memory() {
    let mut bytes = lines_of(&original().0);
    bytes.insert(2, vec![b'x'; 5 * 1024 * 1024]);
    bytes[2].push(b'\n');
    assert_eq!(found_in(&bytes)[0], (3, "not-a-record"));
}

#[test]
fn a_hash_kept_elsewhere_is_held_against_the_first_line() {
    let (_directory, log) = put(&original().0, None);
    let files = [log];
    assert!(verify(&files, Some(Hash::GENESIS)).unwrap().is_intact());
    let other = Hash::GENESIS.followed_by(b"x");
    assert!(!verify(&files, Some(other)).unwrap().is_intact());
}

#[test]
fn a_line_in_the_middle_can_not_begin_a_chain_of_its_own() {
    // What an attacker would like: cut lines out, and let a made-up `rotated` say that this is how it was.
    let mut lines = lines_of(&original().0);
    let previous = Record::parse(&lines[7][..lines[7].len() - 1]).unwrap().hash;
    let content = format!(
        "{{\"v\":1,\"seq\":9,\"type\":\"operation\",\"operation\":\"rotated\",\"previous_seq\":8,\"previous_hash\":\"{previous}\""
    );
    let hash = previous.followed_by(content.as_bytes());
    lines[8] = format!("{content},\"hash\":\"{hash}\"}}\n").into_bytes();
    lines.drain(4..8);
    assert_eq!(found_in(&lines)[0], (5, "missing"));
}

#[test]
fn findings_are_bounded_and_the_rest_counted() {
    let (_directory, log) = put(&b"x\n".repeat(1000), None);
    let report = verify(&[log], None).unwrap();
    assert_eq!(report.findings.len(), FINDINGS_KEPT);
    assert_eq!(report.faults, 1000);
}

#[derive(Clone, Debug)]
enum Mutation {
    Flip(prop::sample::Index, u8),
    Delete(prop::sample::Index),
    Swap(prop::sample::Index, prop::sample::Index),
    Repeat(prop::sample::Index, prop::sample::Index),
    CutAfter(prop::sample::Index),
    CutInside(prop::sample::Index),
    InsertByte(prop::sample::Index, u8),
    DeleteByte(prop::sample::Index),
}

impl Mutation {
    fn any() -> impl Strategy<Value = Self> {
        let index = any::<prop::sample::Index>;
        prop_oneof![
            4 => (index(), 1_u8..).prop_map(|(at, by)| Self::Flip(at, by)),
            1 => index().prop_map(Self::Delete),
            1 => (index(), index()).prop_map(|(a, b)| Self::Swap(a, b)),
            1 => (index(), index()).prop_map(|(a, b)| Self::Repeat(a, b)),
            1 => index().prop_map(Self::CutAfter),
            1 => index().prop_map(Self::CutInside),
            2 => (index(), any::<u8>()).prop_map(|(at, byte)| Self::InsertByte(at, byte)),
            2 => index().prop_map(Self::DeleteByte),
        ]
    }

    fn apply(&self, bytes: &[u8]) -> Vec<u8> {
        let mut lines = lines_of(bytes);
        let mut bytes = bytes.to_vec();
        let (length, count) = (bytes.len(), lines.len());
        match self {
            Self::Flip(at, by) => bytes[at.index(length)] ^= by,
            Self::InsertByte(at, byte) => bytes.insert(at.index(length), *byte),
            Self::DeleteByte(at) => drop(bytes.remove(at.index(length))),
            Self::CutInside(at) => bytes.truncate(at.index(length)),
            Self::CutAfter(line) => bytes = lines[..line.index(count)].concat(),
            Self::Delete(line) => {
                lines.remove(line.index(count));
                bytes = lines.concat();
            }
            Self::Swap(a, b) => {
                lines.swap(a.index(count), b.index(count));
                bytes = lines.concat();
            }
            Self::Repeat(line, at) => {
                let line = lines[line.index(count)].clone();
                lines.insert(at.index(count + 1), line);
                bytes = lines.concat();
            }
        }
        bytes
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_single_change_is_found(mutation in Mutation::any()) {
        let (bytes, checkpoint) = original();
        let changed = mutation.apply(bytes);
        prop_assume!(changed != *bytes);
        let (_directory, log) = put(&changed, Some(checkpoint));
        prop_assert!(!verify(&[log], None).unwrap().is_intact());
    }

    #[test]
    fn any_change_of_the_checkpoint_is_found(at in any::<prop::sample::Index>(), by in 1_u8..) {
        let (bytes, checkpoint) = original();
        let mut changed = checkpoint.clone();
        // The line feed at its end carries nothing.
        let at = at.index(changed.len() - 1);
        changed[at] ^= by;
        let (_directory, log) = put(bytes, Some(&changed));
        prop_assert!(!verify(&[log], None).unwrap().is_intact());
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        let (_directory, log) = put(&bytes, None);
        let compressed = bytes.starts_with(&[0x1f, 0x8b]);
        prop_assert_eq!(verify(&[log], None).is_err(), compressed);
    }
}
