//! `masugata audit`: for those who review the record.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::destinations::{self, DestinationsArgs};
use crate::audit::chain::{Hash, Head};
use crate::audit::verify::{Finding, Report, Summary, verify};

/// Nothing is wrong.
const INTACT: u8 = 0;
/// Changed, cut or damaged.
const BROKEN: u8 = 1;
/// Used wrongly, or a file cannot be read.
const UNREADABLE: u8 = 2;

/// What can be done with the audit log.
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// Check that no line of the audit log was changed, removed, inserted or moved
    Verify(VerifyArgs),
    /// Report which destinations on the Internet were asked for, by whom and how much
    Destinations(DestinationsArgs),
}

/// Every line states a hash over its own bytes and, through the line before, over all earlier ones. Beside the log,
/// `<FILE>.head` says how far it had come at the last flush, so that a missing end shows, too. A log may be checked while it is
/// being written.
///
/// Exit codes: 0 nothing is wrong, 1 changed or damaged, 2 wrong usage or unreadable.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  masugata audit verify /var/log/masugata/audit.jsonl
  masugata audit verify audit.jsonl.2 audit.jsonl.1 audit.jsonl
  zcat audit.jsonl.3.gz | masugata audit verify -")]
pub struct VerifyArgs {
    /// Log files in the order in which they were written, oldest first; `-` is standard input
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Hash (64 hex digits) that the first line must follow, noted earlier or kept elsewhere
    #[arg(long, value_name = "HASH", value_parser = parse_hash)]
    pub from_hash: Option<Hash>,
    /// Print one JSON object instead of text
    #[arg(long)]
    pub json: bool,
}

fn parse_hash(text: &str) -> Result<Hash, String> {
    Hash::parse(text.as_bytes()).ok_or_else(|| "a hash has 64 hex digits, in lower case".to_owned())
}

/// Runs a command, writes to `out`, and returns the exit code.
pub fn run(command: &AuditCommand, out: &mut dyn Write) -> u8 {
    let args = match command {
        AuditCommand::Verify(args) => args,
        AuditCommand::Destinations(args) => return destinations::run(args, out),
    };
    let written = match verify(&args.files, args.from_hash) {
        Ok(report) if args.json => write_json(&report, out).map(|()| code(&report)),
        Ok(report) => write_text(&report, out).map(|()| code(&report)),
        Err(error) if args.json => {
            writeln!(out, "{}", json!({"ok": false, "error": error.to_string()}))
                .map(|()| UNREADABLE)
        }
        Err(error) => writeln!(out, "error: {error}").map(|()| UNREADABLE),
    };
    written.unwrap_or(UNREADABLE)
}

fn code(report: &Report) -> u8 {
    if report.is_intact() { INTACT } else { BROKEN }
}

fn write_text(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    for finding in &report.findings {
        write_finding(finding, out)?;
    }
    let hidden = report.faults.saturating_sub(report.findings.len() as u64);
    if hidden > 0 {
        writeln!(out, "… and {hidden} more")?;
    }
    for summary in &report.files {
        write_summary(summary, out)?;
    }
    if report.is_intact() {
        let lines: u64 = report.files.iter().map(|summary| summary.lines).sum();
        writeln!(
            out,
            "intact: {lines} lines, {}",
            Shown(report.files.last().map(|file| file.head))
        )
    } else {
        writeln!(out, "BROKEN: {} found", report.faults)
    }
}

fn write_finding(finding: &Finding, out: &mut dyn Write) -> io::Result<()> {
    write!(out, "{}:{}: ", finding.file.display(), finding.line)?;
    if let Some(seq) = finding.seq {
        write!(out, "seq {seq}, ")?;
    }
    writeln!(out, "byte {}: {}", finding.offset, finding.fault)
}

fn write_summary(summary: &Summary, out: &mut dyn Write) -> io::Result<()> {
    write!(out, "{}: {} lines", summary.file.display(), summary.lines)?;
    if let (Some(first), Some(last)) = (&summary.first_time, &summary.last_time) {
        write!(out, ", {first} to {last}")?;
    }
    writeln!(out)?;
    if let Some(before) = summary.follows {
        writeln!(out, "  follows an earlier file: {}", Shown(Some(before)))?;
    }
    if summary.remainder > 0 {
        writeln!(
            out,
            "  {} bytes after the last whole line: being written just now, or torn by a crash",
            summary.remainder
        )?;
    }
    match summary.checkpoint {
        Some(seq) => writeln!(out, "  checkpoint: whole up to seq {seq}"),
        None => writeln!(
            out,
            "  checkpoint: none for these lines; a missing end shows only in the file that follows"
        ),
    }
}

struct Shown(Option<Head>);

impl std::fmt::Display for Shown {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(head) => write!(formatter, "seq {}, hash {}", head.sequence, head.hash),
            None => formatter.write_str("nothing"),
        }
    }
}

fn write_json(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let head = |head: Head| json!({"seq": head.sequence, "hash": head.hash.to_string()});
    let files: Vec<Value> = report
        .files
        .iter()
        .map(|file| {
            json!({
                "file": file.file.to_string_lossy(),
                "lines": file.lines,
                "first_seq": file.first_seq,
                "first_time": file.first_time,
                "last_time": file.last_time,
                "follows": file.follows.map(head),
                "head": head(file.head),
                "bytes_after_last_line": file.remainder,
                "checkpoint_seq": file.checkpoint,
            })
        })
        .collect();
    let findings: Vec<Value> = report
        .findings
        .iter()
        .map(|finding| {
            json!({
                "file": finding.file.to_string_lossy(),
                "line": finding.line,
                "seq": finding.seq,
                "offset": finding.offset,
                "code": finding.fault.code(),
                "message": finding.fault.to_string(),
            })
        })
        .collect();
    let value = json!({
        "ok": report.is_intact(),
        "faults": report.faults,
        "files": files,
        "findings": findings,
    });
    writeln!(out, "{value}")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(subcommand)]
        command: AuditCommand,
    }

    const LINES: &str = concat!(
        r#"{"v":1,"seq":1,"time":"2026-04-01T09:00:00.000Z","type":"operation","operation":"started"}"#,
        "\n",
        r#"{"v":1,"seq":2,"time":"2026-04-01T09:00:01.000Z","type":"operation","operation":"reloaded"}"#,
        "\n",
        r#"{"v":1,"seq":3,"time":"2026-04-01T09:00:02.000Z","type":"operation","operation":"stopped"}"#,
    );

    /// Runs `verify` on `text` as the file `audit.jsonl`.
    fn ran(text: &str, options: &[&str]) -> (u8, String) {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("audit.jsonl");
        std::fs::write(&log, text).unwrap();
        ran_on(&log, options)
    }

    fn ran_on(log: &Path, options: &[&str]) -> (u8, String) {
        let arguments = ["audit", "verify"]
            .into_iter()
            .chain(options.iter().copied());
        let mut arguments: Vec<_> = arguments.map(std::ffi::OsString::from).collect();
        arguments.push(log.into());
        let cli = Cli::try_parse_from(arguments).unwrap();
        let mut out = Vec::new();
        let code = run(&cli.command, &mut out);
        let directory = log.parent().unwrap().display().to_string();
        let text = String::from_utf8(out).unwrap();
        (code, text.replace(&format!("{directory}/"), ""))
    }

    fn chained() -> String {
        let mut buffer = Vec::new();
        let mut hash = Hash::GENESIS;
        for line in LINES.lines() {
            let start = buffer.len();
            buffer.extend_from_slice(line.as_bytes());
            hash = crate::audit::chain::seal(&mut buffer, start, hash);
        }
        String::from_utf8(buffer).unwrap()
    }

    #[test]
    fn an_intact_log_reads_like_this() {
        let (code, text) = ran(&chained(), &[]);
        assert_eq!(code, 0);
        insta::assert_snapshot!(text, @r#"
    audit.jsonl: 3 lines, 2026-04-01T09:00:00.000Z to 2026-04-01T09:00:02.000Z
      checkpoint: none for these lines; a missing end shows only in the file that follows
    intact: 3 lines, seq 3, hash e22c5b72c730e96f99d7841f79d06c170411a9d262a9bc2dc7c261f61b58ef4b
    "#);
    }

    #[test]
    fn a_changed_log_reads_like_this() {
        let (code, text) = ran(&chained().replace("reloaded", "whatever"), &[]);
        assert_eq!(code, 1);
        insta::assert_snapshot!(text, @r#"
    audit.jsonl:2: seq 2, byte 165: changed, or the line before it was: it states hash 302d78063c33ee28ee6f17932cc77d38a5d3a8bdd5596424e62be0026903bf66, but its content gives 98b1db95da42d312a6507cb6e3464c5fe1124e69923036625fdd1a77dbc1205d
    audit.jsonl: 3 lines, 2026-04-01T09:00:00.000Z to 2026-04-01T09:00:02.000Z
      checkpoint: none for these lines; a missing end shows only in the file that follows
    BROKEN: 1 found
    "#);
    }

    #[test]
    fn a_log_with_a_line_removed_reads_like_this() {
        let text: String = chained()
            .lines()
            .step_by(2)
            .flat_map(|line| [line, "\n"])
            .collect();
        let (code, text) = ran(&text, &[]);
        assert_eq!(code, 1);
        insta::assert_snapshot!(text, @r#"
    audit.jsonl:2: seq 3, byte 165: the line before it, seq 2, is missing
    audit.jsonl: 2 lines, 2026-04-01T09:00:00.000Z to 2026-04-01T09:00:02.000Z
      checkpoint: none for these lines; a missing end shows only in the file that follows
    BROKEN: 1 found
    "#);
    }

    #[test]
    fn programs_get_the_same_as_json() {
        let (code, text) = ran(&chained().replace("reloaded", "whatever"), &["--json"]);
        assert_eq!(code, 1);
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["ok"], false);
        assert_eq!(value["findings"][0]["code"], "changed");
        assert_eq!(value["findings"][0]["line"], 2);
        assert_eq!(value["files"][0]["head"]["seq"], 3);
    }

    #[test]
    fn a_hash_noted_earlier_must_fit() {
        let hash = "ab".repeat(32);
        assert_eq!(ran(&chained(), &["--from-hash", &hash]).0, 1);
        assert_eq!(ran(&chained(), &["--from-hash", &"0".repeat(64)]).0, 0);
        assert!(Cli::try_parse_from(["audit", "verify", "--from-hash", "zz", "x"]).is_err());
    }

    #[test]
    fn what_can_not_be_read_is_neither_intact_nor_broken() {
        let directory = tempfile::tempdir().unwrap();
        let missing = directory.path().join("missing");
        let (code, text) = ran_on(&missing, &[]);
        assert_eq!(code, 2);
        assert!(text.starts_with("error: cannot read `missing`"), "{text}");
        assert_eq!(ran_on(directory.path(), &["--json"]).0, 2);
        assert!(Cli::try_parse_from(["audit", "verify"]).is_err());
    }

    #[test]
    fn a_time_in_a_forged_line_can_not_move_the_cursor() {
        let text = chained().replace(
            "2026-04-01T09:00:00.000Z",
            r"\u001b[2J\u202e000000000000000",
        );
        for options in [&[][..], &["--json"]] {
            let (_, text) = ran(&text, options);
            assert!(!text.contains(['\u{1b}', '\u{202e}']), "{text}");
            assert!(!text.contains("000000000000000"), "{text}");
        }
    }
}
