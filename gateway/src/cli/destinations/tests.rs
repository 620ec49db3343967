use clap::Parser;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// 2026-04-02T09:00:00Z
const NOW: Timestamp = Timestamp::from_seconds(1_775_120_400);

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: DestinationsArgs,
}

fn decided(id: u32, time: &str, to: Value, decision: &str, who: (&str, &[&str], &str)) -> String {
    let (person, groups, device) = who;
    json!({
        "v": 1, "seq": id, "time": time, "type": "decision", "request_id": format!("{id:032x}"),
        "decision": decision, "door": "egress", "destination": to,
        "principal": {"kind": "user", "id": person, "issuer": "corp", "groups": groups},
        "device": {"id": device, "kind": "laptop", "ownership": "company", "groups": ["field"]},
    })
    .to_string()
}

fn completed(id: u32, received: u64, sent: u64) -> String {
    json!({
        "v": 1, "seq": 1, "time": "2026-04-01T09:00:05.000Z", "type": "completion",
        "request_id": format!("{id:032x}"), "outcome": "completed", "bytes_received": received, "bytes_sent": sent,
    })
    .to_string()
}

fn record() -> String {
    let ada = ("corp/ada", &["hr", "staff"][..], "laptop-1");
    let bob = ("corp/bob", &["staff"][..], "laptop-2");
    let crm = json!({"host": "app.crm.example", "port": 443, "domain": "crm.example", "service": "crm", "lists": 1});
    let files = json!({"host": "up.files.example", "port": 443, "domain": "files.example", "categories": ["file-sharing"], "observed": true, "lists": 1});
    let threat = json!({"host": "198.51.100.7", "port": 443, "address": true, "lists": 1});
    let today = "2026-04-02T08:00:00.000Z";
    [
        r#"{"v":1,"seq":1,"time":"2026-04-01T09:00:00.000Z","type":"operation","operation":"started"}"#.to_owned(),
        decided(1, "2026-04-01T08:59:59.000Z", crm.clone(), "permitted", ada),
        completed(1, 1000, 500),
        decided(2, today, crm.clone(), "permitted", ada),
        decided(3, today, crm, "permitted", bob),
        completed(3, 2_000_000, 48_576),
        completed(2, 24, 0),
        decided(4, today, files, "permitted", bob),
        decided(5, today, threat, "denied", bob),
        completed(5, 0, 700),
        completed(99, 5, 5),
        r#"{"type":"decision","app":{"name":"hr"}}"#.to_owned(),
        "{\"type\":\"decision\",\"destination\":{ torn".to_owned(),
    ]
    .join("\n")
}

fn ran(text: &str, options: &[&str]) -> (u8, String) {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("audit.jsonl");
    std::fs::write(&log, text).unwrap();
    let log = log.to_str().unwrap();
    let arguments = ["destinations"].into_iter().chain(options.iter().copied());
    let cli = Cli::try_parse_from(arguments.chain([log])).unwrap();
    let mut out = Vec::new();
    let code = run_at(&cli.args, NOW, &mut out);
    (code, String::from_utf8(out).unwrap())
}

#[test]
fn domains_are_counted_and_the_most_used_come_first() {
    let (code, text) = ran(&record(), &[]);
    assert_eq!(code, 0);
    insta::assert_snapshot!(text, @r"
    destination    requests  refused  observed  people  devices    bytes  known as
    crm.example           3        0         0       2        2  2.0 MiB  crm
    198.51.100.7          1        1         0       1        1    700 B  -
    files.example         1        0         1       1        1      0 B  file-sharing
    5 requests to 3 destinations
    1 line could not be read; `masugata audit verify` says more
    ");
}

#[test]
fn a_domain_is_told_apart_by_user_device_and_group() {
    insta::assert_snapshot!(ran(&record(), &["--by", "user"]).1, @r"
    destination    user      requests  refused  observed  people  devices    bytes  known as
    crm.example    corp/ada         2        0         0       1        1  1.5 KiB  crm
    198.51.100.7   corp/bob         1        1         0       1        1    700 B  -
    crm.example    corp/bob         1        0         0       1        1  2.0 MiB  crm
    files.example  corp/bob         1        0         1       1        1      0 B  file-sharing
    5 requests to 3 destinations
    1 line could not be read; `masugata audit verify` says more
    ");
    let devices = ran(&record(), &["--by", "device"]).1;
    assert!(
        devices.contains("\ncrm.example    laptop-1         2"),
        "{devices}"
    );
    let groups = ran(&record(), &["--by", "group"]).1;
    // Ada is in two groups and counts in both; the sum below counts her requests once.
    assert!(
        groups.contains("\ncrm.example    staff         3        0         0       2"),
        "{groups}"
    );
    assert!(
        groups.contains("\ncrm.example    hr            2        0         0       1"),
        "{groups}"
    );
    assert!(
        groups.contains("\n5 requests to 3 destinations"),
        "{groups}"
    );
}

#[test]
fn what_is_older_is_left_out() {
    let (_, all) = ran(&record(), &["--since", "7d", "--json"]);
    let (_, since) = ran(&record(), &["--since", "24h", "--json"]);
    let requests = |text: &str| serde_json::from_str::<Value>(text).unwrap()[0]["requests"].clone();
    assert_eq!((requests(&all), requests(&since)), (3.into(), 2.into()));
}

#[test]
fn programs_get_the_same_as_json() {
    let (code, text) = ran(&record(), &["--json", "--by", "user"]);
    assert_eq!(code, 0);
    let rows: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(rows.as_array().unwrap().len(), 4);
    assert_eq!(
        rows[0],
        json!({
            "destination": "crm.example", "user": "corp/ada", "requests": 2, "refused": 0, "observed": 0, "people": 1,
            "devices": 1, "bytes": 1524, "last": "2026-04-02T08:00:00.000Z", "services": ["crm"], "categories": [],
        })
    );
}

#[test]
fn a_record_without_destinations_says_so() {
    let (code, text) = ran("", &[]);
    assert_eq!(code, 0);
    assert!(text.ends_with("0 requests to 0 destinations\n"), "{text}");
    assert_eq!(ran("", &["--json"]).1, "[]\n");
}

#[test]
fn what_cannot_be_read_is_told() {
    let cli = Cli::try_parse_from(["destinations", "/nowhere/audit.jsonl"]).unwrap();
    let mut out = Vec::new();
    assert_eq!(run_at(&cli.args, NOW, &mut out), 2);
    assert!(out.starts_with(b"error: cannot read `/nowhere/audit.jsonl`"));
    assert!(Cli::try_parse_from(["destinations", "--since", "soon", "x"]).is_err());
    assert!(Cli::try_parse_from(["destinations"]).is_err());
}

// Attack: a name in the record moves the cursor of whoever reviews it, or hides its row.
#[test]
fn no_name_can_move_the_cursor() {
    let evil = "corp/\u{1b}[2J\u{202e}ada\n\u{200b}";
    let to = json!({"host": "a\u{7f}\r.example", "port": 443});
    let line = decided(
        1,
        "2026-04-01T09:00:00.000Z",
        to,
        "permitted",
        (evil, &[evil], evil),
    );
    for by in ["user", "device", "group"] {
        for json in [&[][..], &["--json"]] {
            let (_, text) = ran(&line, &[&["--by", by], json].concat());
            let bad = ['\u{1b}', '\u{202e}', '\u{200b}', '\u{7f}', '\r'];
            assert!(!text.contains(bad), "{text:?}");
        }
    }
}

#[test]
fn sizes_are_in_units_that_people_use() {
    let sizes = [0, 1023, 1024, 1_048_576, 5_000_000_000, u64::MAX];
    let shown = sizes.map(|size| Size(size).to_string()).join(", ");
    assert_eq!(shown, "0 B, 1023 B, 1.0 KiB, 1.0 MiB, 4.7 GiB, 16.0 EiB");
}

proptest! {
    #[test]
    fn no_line_breaks_the_reader(line in any::<Vec<u8>>(), text in "[{}\":a-z,0-9]{0,80}") {
        let mut report = Report::new(Some(By::Group), Some(NOW));
        report.line(&line);
        report.line(text.as_bytes());
        report.line(format!("{{\"type\":\"completion\",\"destination\":{{{text}").as_bytes());
    }
}
