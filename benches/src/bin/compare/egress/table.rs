//! The table of the way out that people read, and the file that programs read.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use serde_json::json;

use super::Arguments;
use super::course::{IDLE_STREAMS, LOOPS, STREAMS};
use super::peer::Peer;
use crate::failure::{Doing as _, Failure};
use crate::machine::Machine;
use crate::measure::Results;
use crate::report::{Summary, cell_text};

/// Key in `Values`, what it is, decimals.
const ROWS: &[(&str, &str, usize)] = &[
    (
        "connect-cost",
        "handshake, CONNECT, close: tunnels per CPU s",
        0,
    ),
    ("connect-rate", "the same, tunnels/s", 0),
    (
        "stream-cost",
        "CONNECT over HTTP/2 connections that stay: tunnels per CPU s",
        0,
    ),
    ("stream-rate", "the same, tunnels/s", 0),
    ("down1-rate", "download, one tunnel, MB/s", 0),
    ("down1-cost", "download, one tunnel, CPU s per GB", 2),
    ("up1-rate", "upload, one tunnel, MB/s", 0),
    ("up1-cost", "upload, one tunnel, CPU s per GB", 2),
    ("down16-rate", "download, 16 tunnels, MB/s", 0),
    ("down16-cost", "download, 16 tunnels, CPU s per GB", 2),
    ("up16-rate", "upload, 16 tunnels, MB/s", 0),
    ("up16-cost", "upload, 16 tunnels, CPU s per GB", 2),
    (
        "downh2-rate",
        "download, 16 tunnels in one HTTP/2 connection, MB/s",
        0,
    ),
    (
        "downh2-cost",
        "download, 16 tunnels in one HTTP/2 connection, CPU s per GB",
        2,
    ),
    (
        "uph2-rate",
        "upload, 16 tunnels in one HTTP/2 connection, MB/s",
        0,
    ),
    (
        "uph2-cost",
        "upload, 16 tunnels in one HTTP/2 connection, CPU s per GB",
        2,
    ),
    (
        "list-seconds",
        "blocked names: longer until it serves, s",
        2,
    ),
    ("list-cpu", "blocked names: CPU s to load", 2),
    ("list-memory", "RSS with the names, MiB", 1),
    ("list-later", "the same, after the tunnels below, MiB", 1),
    ("list-peak", "most that was resident, MiB", 1),
    ("list-each", "memory per name, bytes", 1),
    (
        "listed-cost",
        "with the names: handshake, CONNECT, close per CPU s",
        0,
    ),
    ("listed-rate", "the same, tunnels/s", 0),
    (
        "listed-stream-cost",
        "with the names: CONNECT over HTTP/2 per CPU s",
        0,
    ),
    ("listed-stream-rate", "the same, tunnels/s (HTTP/2)", 0),
    ("empty-memory", "RSS without tunnels, MiB", 1),
    ("idle-memory", "RSS with idle tunnels, MiB", 1),
    ("idle-each", "memory per idle tunnel, KiB", 1),
    ("idle-h2-memory", "RSS with as many over HTTP/2, MiB", 1),
    ("idle-h2-each", "memory per idle tunnel over HTTP/2, KiB", 1),
];

/// Prints Markdown: medians, and in parentheses what that is of the first column's.
pub(super) fn print(
    machine: &Machine,
    peers: &[Peer],
    arguments: &Arguments,
    results: &Results,
) -> Result<(), Failure> {
    let mut output = std::io::stdout().lock();
    output.write_all(text(machine, peers, arguments, results).as_bytes())?;
    Ok(output.flush()?)
}

fn text(machine: &Machine, peers: &[Peer], arguments: &Arguments, results: &Results) -> String {
    let Machine {
        processor,
        cores,
        memory_gib,
        kernel,
        tcp,
        load_before,
        date,
    } = machine;
    let Arguments {
        rounds,
        bulk,
        names,
        idle,
        workers,
        ..
    } = arguments;
    let (connections, streams) = STREAMS;
    let mut text = format!(
        "{date}: {processor}, {cores} cores, {memory_gib} GiB, Linux {kernel} (TCP {tcp}), loopback; load average before: \
         {load_before:.2}.\nMasugata with {workers} workers, squid with its one process; TLS 1.3, TLS_AES_128_GCM_SHA256, \
         X25519, P-256 certificates, no resumption. Median of {rounds} rounds (± half the range, in per cent); × is the \
         ratio to the first column.\nTunnels opened and closed: {LOOPS} at once, over HTTP/2 {connections} connections \
         with {streams} each; {bulk} MiB each way; {names} blocked names; {idle} idle tunnels, over HTTP/2 {IDLE_STREAMS} \
         in a connection.\n\n| |",
    );
    for peer in peers {
        let version = peer.version.as_deref().unwrap_or("not installed");
        text += &format!(" {} {version} |", peer.name);
    }
    text += "\n|---|";
    text += &"---:|".repeat(peers.len());
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
            let measure = measure.filter(|_| column > 0);
            text += &format!(" {} |", cell_text(*cell, measure, *decimals));
        }
        text += "\n";
    }
    for failure in &results.failures {
        text += &format!("\nNot measured: {failure}\n");
    }
    text
}

/// Every value of every round.
pub(super) fn write_json(
    path: &Path,
    machine: &Machine,
    peers: &[Peer],
    arguments: &Arguments,
    results: &Results,
) -> Result<(), Failure> {
    let proxies: Vec<_> = peers
        .iter()
        .zip(&results.values)
        .map(|(peer, rounds)| json!({ "proxy": peer, "rounds": rounds }))
        .collect();
    let document = json!({
        "machine": machine, "extent": arguments, "proxies": proxies, "failures": results.failures,
    });
    fs::write(path, serde_json::to_string_pretty(&document)?).doing(path.display())
}
