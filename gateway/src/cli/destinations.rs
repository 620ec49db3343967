//! `masugata audit destinations`: which clouds are used, by whom and how much, from the record (measure B-3, shadow IT).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};
use masugata_policy::Timestamp;
use serde::{Deserialize, Serialize};

use crate::capability::{Clock, SystemClock};
use crate::config::text::Written;

/// The report is made.
const DONE: u8 = 0;
/// A file cannot be read.
const UNREADABLE: u8 = 2;

/// One row for each registrable domain that somebody asked for at the egress: how often, how often it was refused or merely
/// observed, how many people and devices, how many bytes. Only complete lines of the record are read; `masugata audit verify`
/// says whether they are genuine.
///
/// Exit codes: 0 the report is made, 2 wrong usage or unreadable.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  masugata audit destinations --since 7d /var/log/masugata/audit.jsonl
  masugata audit destinations --by group audit.jsonl.1 audit.jsonl
  zcat audit.jsonl.3.gz | masugata audit destinations --by user --json -")]
pub struct DestinationsArgs {
    /// Log files, oldest first; `-` is standard input
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// A row for each domain and user, device or group of the user
    #[arg(long, value_name = "WHOM", value_enum)]
    pub by: Option<By>,
    /// Only what was asked for within this time, such as `12h` or `7d`
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub since: Option<Duration>,
    /// Print a JSON array instead of a table
    #[arg(long)]
    pub json: bool,
}

/// Whom a row is about, beside the domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum By {
    User,
    Device,
    Group,
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    <Duration as Written>::parse(text)
        .map_err(|_| "write a number and a unit: `12h`, `7d`".to_owned())
}

/// Makes the report, writes it to `out`, and returns the exit code.
pub(super) fn run(args: &DestinationsArgs, out: &mut dyn Write) -> u8 {
    run_at(args, SystemClock.now(), out)
}

fn run_at(args: &DestinationsArgs, now: Timestamp, out: &mut dyn Write) -> u8 {
    let from = args.since.map(|since| now.minus(since));
    let mut report = Report::new(args.by, from);
    for file in &args.files {
        if let Err(error) = read(file, &mut report) {
            let name = Plain(&file.to_string_lossy()).to_string();
            let _ = writeln!(out, "error: cannot read `{name}`: {error}");
            return UNREADABLE;
        }
    }
    let written = if args.json {
        report.write_json(out)
    } else {
        report.write_text(out)
    };
    written.map_or(UNREADABLE, |()| DONE)
}

fn read(file: &Path, report: &mut Report) -> io::Result<()> {
    let mut lines: Box<dyn BufRead> = if file == Path::new("-") {
        Box::new(io::stdin().lock())
    } else {
        Box::new(BufReader::new(File::open(file)?))
    };
    let mut line = Vec::new();
    loop {
        line.clear();
        if lines.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        report.line(&line);
    }
}

/// The members that matter here; see `docs/audit-log.md`.
#[derive(Deserialize)]
struct Line {
    r#type: String,
    time: String,
    request_id: Option<String>,
    decision: Option<String>,
    destination: Option<Destination>,
    principal: Option<Named>,
    device: Option<Named>,
    #[serde(default)]
    bytes_received: u64,
    #[serde(default)]
    bytes_sent: u64,
}

#[derive(Deserialize)]
struct Destination {
    host: String,
    domain: Option<String>,
    service: Option<String>,
    #[serde(default)]
    categories: Vec<String>,
    #[serde(default)]
    observed: bool,
}

#[derive(Deserialize)]
struct Named {
    id: String,
    #[serde(default)]
    groups: Vec<String>,
}

/// What is counted of one domain, or of one domain and one of [`By`].
#[derive(Debug, Default)]
struct Row {
    requests: u64,
    refused: u64,
    observed: u64,
    people: BTreeSet<u32>,
    devices: BTreeSet<u32>,
    bytes: u64,
    last: String,
    services: BTreeSet<String>,
    categories: BTreeSet<String>,
}

struct Report {
    by: Option<By>,
    from: Option<Timestamp>,
    /// By domain, and whom.
    rows: BTreeMap<(String, Option<String>), Row>,
    /// Decisions whose completion is still to come.
    open: HashMap<String, Vec<(String, Option<String>)>, ahash::RandomState>,
    /// People and devices are counted by number: a name is kept once.
    names: HashMap<String, u32, ahash::RandomState>,
    lines: u64,
    unreadable: u64,
}

impl Report {
    fn new(by: Option<By>, from: Option<Timestamp>) -> Self {
        Self {
            by,
            from,
            rows: BTreeMap::new(),
            open: HashMap::default(),
            names: HashMap::default(),
            lines: 0,
            unreadable: 0,
        }
    }

    fn line(&mut self, line: &[u8]) {
        // Most lines are about apps, and need not be read to the end to know that.
        let concerns = |word: &[u8]| line.windows(word.len()).any(|part| part == word);
        let completion = concerns(br#""type":"completion""#);
        if !completion && !concerns(br#""destination":{"#) {
            return;
        }
        if completion && self.open.is_empty() {
            return;
        }
        let Ok(line) = serde_json::from_slice::<Line>(line) else {
            self.unreadable += 1;
            return;
        };
        match line.r#type.as_str() {
            "decision" => self.decision(line),
            "completion" => self.completion(&line),
            _ => {}
        }
    }

    fn decision(&mut self, line: Line) {
        let Some(to) = line.destination else { return };
        if self.from.is_some_and(|from| !is_since(&line.time, from)) {
            return;
        }
        self.lines += 1;
        let denied = line.decision.as_deref() == Some("denied");
        let person = line
            .principal
            .as_ref()
            .map(|principal| self.number(&principal.id));
        let device = line.device.as_ref().map(|device| self.number(&device.id));
        let domain = to.domain.unwrap_or(to.host);
        let keys: Vec<_> = whom(self.by, line.principal.as_ref(), line.device.as_ref())
            .into_iter()
            .map(|whom| (domain.clone(), whom))
            .collect();
        for key in &keys {
            let row = self.rows.entry(key.clone()).or_default();
            row.requests += 1;
            row.refused += u64::from(denied);
            row.observed += u64::from(to.observed);
            row.people.extend(person);
            row.devices.extend(device);
            row.services.extend(to.service.clone());
            row.categories.extend(to.categories.iter().cloned());
            if row.last < line.time {
                row.last.clone_from(&line.time);
            }
        }
        if let Some(id) = line.request_id {
            self.open.insert(id, keys);
        }
    }

    fn completion(&mut self, line: &Line) {
        let keys = line.request_id.as_ref().and_then(|id| self.open.remove(id));
        for key in keys.unwrap_or_default() {
            if let Some(row) = self.rows.get_mut(&key) {
                let bytes = line.bytes_received.saturating_add(line.bytes_sent);
                row.bytes = row.bytes.saturating_add(bytes);
            }
        }
    }

    fn number(&mut self, name: &str) -> u32 {
        let next = u32::try_from(self.names.len()).unwrap_or(u32::MAX);
        if let Some(known) = self.names.get(name) {
            return *known;
        }
        self.names.insert(name.to_owned(), next);
        next
    }

    /// The most used first.
    fn sorted(&self) -> Vec<(&(String, Option<String>), &Row)> {
        let mut rows: Vec<_> = self.rows.iter().collect();
        rows.sort_by(|(one, left), (other, right)| {
            right
                .requests
                .cmp(&left.requests)
                .then_with(|| one.cmp(other))
        });
        rows
    }

    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut table = vec![self.heading()];
        for ((domain, whom), row) in self.sorted() {
            let mut cells = vec![Plain(domain).to_string()];
            if self.by.is_some() {
                cells.push(
                    whom.as_deref()
                        .map_or_else(|| "-".to_owned(), |whom| Plain(whom).to_string()),
                );
            }
            let services = row.services.iter().chain(&row.categories);
            let kinds: Vec<String> = services.map(|name| Plain(name).to_string()).collect();
            cells.extend([
                row.requests.to_string(),
                row.refused.to_string(),
                row.observed.to_string(),
                row.people.len().to_string(),
                row.devices.len().to_string(),
                Size(row.bytes).to_string(),
                if kinds.is_empty() {
                    "-".to_owned()
                } else {
                    kinds.join(" ")
                },
            ]);
            table.push(cells);
        }
        let names = if self.by.is_some() { 2 } else { 1 };
        write_table(&table, names, out)?;
        writeln!(
            out,
            "{} requests to {} destinations",
            self.lines,
            self.domains()
        )?;
        if self.unreadable > 0 {
            let lines = if self.unreadable == 1 {
                "line"
            } else {
                "lines"
            };
            let hint = "`masugata audit verify` says more";
            writeln!(out, "{} {lines} could not be read; {hint}", self.unreadable)?;
        }
        Ok(())
    }

    fn heading(&self) -> Vec<String> {
        let whom = self.by.map(|by| match by {
            By::User => "user",
            By::Device => "device",
            By::Group => "group",
        });
        let counts = [
            "requests", "refused", "observed", "people", "devices", "bytes", "known as",
        ];
        let words = ["destination"].into_iter().chain(whom).chain(counts);
        words.map(str::to_owned).collect()
    }

    fn domains(&self) -> usize {
        let domains = self.rows.keys().map(|(domain, _)| domain);
        domains.collect::<BTreeSet<_>>().len()
    }

    fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        #[derive(Serialize)]
        struct Shown<'a> {
            destination: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            user: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            device: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            group: Option<&'a str>,
            requests: u64,
            refused: u64,
            observed: u64,
            people: usize,
            devices: usize,
            bytes: u64,
            last: &'a str,
            services: &'a BTreeSet<String>,
            categories: &'a BTreeSet<String>,
        }
        let rows: Vec<Shown<'_>> = self
            .sorted()
            .into_iter()
            .map(|((domain, whom), row)| {
                let whom_if = |by: By| whom.as_deref().filter(|_| self.by == Some(by));
                Shown {
                    destination: domain,
                    user: whom_if(By::User),
                    device: whom_if(By::Device),
                    group: whom_if(By::Group),
                    requests: row.requests,
                    refused: row.refused,
                    observed: row.observed,
                    people: row.people.len(),
                    devices: row.devices.len(),
                    bytes: row.bytes,
                    last: &row.last,
                    services: &row.services,
                    categories: &row.categories,
                }
            })
            .collect();
        crate::audit::write_guarded(out, &rows)?;
        writeln!(out)
    }
}

/// Whom the rows of a request are about. Somebody without groups, or nobody at all, still has one.
fn whom(by: Option<By>, person: Option<&Named>, device: Option<&Named>) -> Vec<Option<String>> {
    let id = |named: Option<&Named>| vec![named.map(|named| named.id.clone())];
    match by {
        None => vec![None],
        Some(By::User) => id(person),
        Some(By::Device) => id(device),
        Some(By::Group) => {
            let groups = person
                .map(|person| person.groups.as_slice())
                .unwrap_or_default();
            let distinct: BTreeSet<&String> = groups.iter().collect();
            let mut groups: Vec<_> = distinct.into_iter().cloned().map(Some).collect();
            if groups.is_empty() {
                groups.push(None);
            }
            groups
        }
    }
}

/// A time that cannot be read is within: leaving a line out would hide it.
fn is_since(time: &str, from: Timestamp) -> bool {
    let at = time.parse::<jiff::Timestamp>();
    at.map_or(true, |at| at.as_millisecond() >= from.as_millis())
}

/// Columns: names to the left, numbers to the right, the last as it is.
fn write_table(table: &[Vec<String>], names: usize, out: &mut dyn Write) -> io::Result<()> {
    let columns = table.first().map_or(0, Vec::len);
    let width = |column: usize| {
        let cells = table.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for row in table {
        for (place, (cell, width)) in row.iter().zip(&widths).enumerate() {
            if place + 1 == columns {
                writeln!(out, "{cell}")?;
            } else if place < names {
                write!(out, "{cell:<width$}  ")?;
            } else {
                write!(out, "{cell:>width$}  ")?;
            }
        }
    }
    Ok(())
}

/// A name from the record for a terminal: whatever could move its cursor or deceive its reader is a `?`.
struct Plain<'a>(&'a str);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for letter in self.0.chars().take(200) {
            let plain = !letter.is_control() && !crate::audit::is_deceptive(letter);
            fmt::Write::write_char(out, if plain { letter } else { '?' })?;
        }
        Ok(())
    }
}

/// Bytes, for people.
struct Size(u64);

impl fmt::Display for Size {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        if self.0 < 1024 {
            return write!(out, "{} B", self.0);
        }
        let (mut value, mut unit) = (self.0 as f64 / 1024.0, "KiB");
        for larger in units.into_iter().skip(1) {
            if value < 1024.0 {
                break;
            }
            (value, unit) = (value / 1024.0, larger);
        }
        write!(out, "{value:.1} {unit}")
    }
}

#[cfg(test)]
mod tests;
