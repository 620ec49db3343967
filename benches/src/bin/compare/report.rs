//! The table that people read and the file that programs read.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use serde_json::json;

use crate::failure::{Doing as _, Failure};
use crate::machine::Machine;
use crate::measure::{CONNECTIONS, Extent, H2, Results, SHAKERS, TIMETABLE, TRANSFERS, Values};
use crate::proxy::Found;

/// Key in `Values`, what it is, decimals.
const ROWS: &[(&str, &str, usize)] = &[
    ("h1-cost", "HTTP/1.1: CPU s per 100,000 requests", 2),
    ("h1-user", "of which not in the kernel", 2),
    ("h1-rate", "HTTP/1.1: requests/s", 0),
    ("h2-cost", "HTTP/2: CPU s per 100,000 requests", 2),
    ("h2-rate", "HTTP/2: requests/s", 0),
    ("p50", "latency p50, ms", 2),
    ("p90", "latency p90, ms", 2),
    ("p99", "latency p99, ms", 2),
    ("p99.9", "latency p99.9, ms", 2),
    (
        "latency-cost",
        "at that rate: CPU s per 100,000 requests",
        2,
    ),
    ("full-cost", "full handshakes per CPU s (X25519)", 0),
    ("full-rate", "full handshakes/s (X25519)", 0),
    ("resumed-cost", "resumed handshakes per CPU s (X25519)", 0),
    ("resumed-rate", "resumed handshakes/s (X25519)", 0),
    (
        "hybrid-cost",
        "full handshakes per CPU s (X25519MLKEM768)",
        0,
    ),
    ("hybrid-rate", "full handshakes/s (X25519MLKEM768)", 0),
    ("download-rate", "download, MB/s", 0),
    ("download-cost", "download, CPU s per GB", 2),
    ("upload-rate", "upload, MB/s", 0),
    ("upload-cost", "upload, CPU s per GB", 2),
    ("memory-empty", "memory (PSS) without connections, MiB", 1),
    ("memory-idle", "memory (PSS) with idle connections, MiB", 1),
    ("memory-each", "memory per idle connection, KiB", 1),
    ("resident-empty", "RSS without connections, MiB", 1),
    ("resident-idle", "RSS with idle connections, MiB", 1),
];

/// Prints Markdown: medians, and in parentheses what that is of the first column's.
pub(crate) fn print(
    machine: &Machine,
    found: &Found,
    extent: &Extent,
    results: &Results,
) -> Result<(), Failure> {
    let mut output = std::io::stdout().lock();
    output.write_all(text(machine, found, extent, results).as_bytes())?;
    Ok(output.flush()?)
}

fn text(machine: &Machine, found: &Found, extent: &Extent, results: &Results) -> String {
    let Machine {
        processor,
        cores,
        memory_gib,
        kernel,
        tcp,
        load_before,
        date,
    } = machine;
    let mut text = format!(
        "{date}: {processor}, {cores} cores, {memory_gib} GiB, Linux {kernel} (TCP {tcp}), loopback; load average before: \
         {load_before:.2}.\n{} workers each; TLS 1.3, TLS_AES_128_GCM_SHA256, P-256 certificates. Median of {} rounds \
         (± half the range, in per cent); × is the ratio to the first column.\n\
         HTTP/1.1: {CONNECTIONS} connections; HTTP/2: {} connections with {} streams; latency: {} requests/s over \
         {TIMETABLE} connections; handshakes: {SHAKERS} at once; bodies: {TRANSFERS} at once, {} MiB each way; idle: {} \
         connections.\n\n",
        extent.workers,
        extent.rounds,
        H2.0,
        H2.1,
        extent.rate,
        extent.bulk >> 20,
        extent.idle,
    );
    text += "| |";
    for proxy in &found.present {
        text += &format!(" {} {} |", proxy.name, proxy.version);
    }
    text += "\n|---|";
    text += &"---:|".repeat(found.present.len());
    text += "\n";
    for (key, label, decimals) in ROWS {
        let cells: Vec<_> = results
            .values
            .iter()
            .map(|rounds| Summary::of(rounds, key))
            .collect();
        if cells.iter().all(Option::is_none) {
            continue;
        }
        let measure = cells.first().copied().flatten();
        text += &format!("| {label} |");
        for (column, cell) in cells.iter().enumerate() {
            text += &format!(
                " {} |",
                cell_text(*cell, measure.filter(|_| column > 0), *decimals)
            );
        }
        text += "\n";
    }
    for name in &found.absent {
        text += &format!("\n{name}: not installed here, not measured.\n");
    }
    for failure in &results.failures {
        text += &format!("\nNot measured: {failure}\n");
    }
    text
}

#[derive(Clone, Copy)]
pub(crate) struct Summary {
    median: f64,
    /// Half the range, relative to the median.
    spread: f64,
}

impl Summary {
    pub(crate) fn of(rounds: &[Values], key: &str) -> Option<Self> {
        let mut values: Vec<f64> = rounds
            .iter()
            .filter_map(|values| values.get(key).copied())
            .collect();
        values.sort_by(f64::total_cmp);
        let (least, most) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let upper = *values.get(middle)?;
        let lower = if values.len().is_multiple_of(2) {
            *values.get(middle - 1)?
        } else {
            upper
        };
        let median = f64::midpoint(lower, upper);
        let spread = if median == 0.0 {
            0.0
        } else {
            (most - least) / 2.0 / median
        };
        Some(Self { median, spread })
    }
}

pub(crate) fn cell_text(
    cell: Option<Summary>,
    measure: Option<Summary>,
    decimals: usize,
) -> String {
    let Some(Summary { median, spread }) = cell else {
        return "–".into();
    };
    let mut text = format!("{} ±{:.0}%", grouped(median, decimals), spread * 100.0);
    if let Some(measure) = measure.filter(|measure| measure.median > 0.0) {
        text += &format!(" ({:.2}×)", median / measure.median);
    }
    text
}

/// `12,345.6`.
fn grouped(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    let (whole, fraction) = text
        .split_once('.')
        .map_or((text.as_str(), None), |(a, b)| (a, Some(b)));
    let mut grouped = String::new();
    for (index, digit) in whole.chars().enumerate() {
        let left = whole.len() - index;
        if index > 0 && left.is_multiple_of(3) && !grouped.ends_with('-') {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    fraction.map_or(grouped.clone(), |fraction| format!("{grouped}.{fraction}"))
}

/// Every value of every round.
pub(crate) fn write_json(
    path: &Path,
    machine: &Machine,
    found: &Found,
    extent: &Extent,
    results: &Results,
) -> Result<(), Failure> {
    let proxies: Vec<_> = found
        .present
        .iter()
        .zip(&results.values)
        .map(|(proxy, rounds)| json!({ "proxy": proxy, "rounds": rounds }))
        .collect();
    let document = json!({
        "machine": machine, "extent": extent, "proxies": proxies, "absent": found.absent, "failures": results.failures,
    });
    fs::write(path, serde_json::to_string_pretty(&document)?).doing(path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounds(values: &[f64]) -> Vec<Values> {
        values
            .iter()
            .map(|&value| Values::from([("p50", value)]))
            .collect()
    }

    #[test]
    fn the_median_is_what_counts() {
        let summary = Summary::of(&rounds(&[3.0, 100.0, 1.0]), "p50").unwrap();
        assert!((summary.median - 3.0).abs() < f64::EPSILON);
        let summary = Summary::of(&rounds(&[4.0, 2.0]), "p50").unwrap();
        assert!((summary.median - 3.0).abs() < f64::EPSILON);
    }

    #[test]
    fn what_was_not_measured_is_a_dash() {
        assert_eq!(cell_text(Summary::of(&rounds(&[]), "p50"), None, 2), "–");
    }

    #[test]
    fn long_numbers_are_grouped() {
        assert_eq!(grouped(1_234_567.0, 0), "1,234,567");
        assert_eq!(grouped(123.456, 1), "123.5");
        assert_eq!(grouped(1000.0, 2), "1,000.00");
    }

    #[test]
    fn every_row_has_a_key_of_its_own() {
        let keys: std::collections::BTreeSet<_> = ROWS.iter().map(|(key, _, _)| key).collect();
        assert_eq!(keys.len(), ROWS.len());
    }
}
