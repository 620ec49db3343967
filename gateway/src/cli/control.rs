//! What `masugata user` and `masugata session` share: asking, and showing what comes back.

use std::path::Path;
use std::process::ExitCode;

use serde_json::Value;

use super::printer::Printer;
use crate::config::Config;
use crate::control::client::{self, Silence};
use crate::control::offline;
use crate::control::request::{ControlRequest, Refusal};
use crate::gateway::Capabilities;

/// Has it done, by the running gateway or here.
pub(super) fn ask(
    config: &Path,
    request: ControlRequest,
    printer: &mut Printer,
) -> Result<Value, ExitCode> {
    let loaded = match Config::load(config) {
        Ok(loaded) => loaded,
        Err(error) => return Err(printer.fail(2, error.to_string())),
    };
    let Some(store) = &loaded.config.store else {
        let help = "write `store`, and [sign_in] with [identity_provider] for accounts of your own";
        let message = "there are no accounts and no sessions in this configuration";
        return Err(printer.fail(2, format!("error: {message}\nhelp: {help}")));
    };
    let done = match client::ask(store, request.clone()) {
        Ok(answer) => answer,
        Err(Silence::Nobody) => {
            offline::run(&loaded.config, store, request, Capabilities::default())
        }
        Err(silence @ Silence::Io { .. }) => {
            let help = "run it as the user that the gateway runs as, or as root";
            Err(Refusal::new(silence.to_string()).with_help(help))
        }
    };
    done.map_err(|refusal| printer.fail(1, complaint(&refusal)))
}

/// In the words of all commands.
pub(super) fn complaint(refusal: &Refusal) -> String {
    let help = refusal.help.as_ref();
    let help = help.map(|help| format!("\nhelp: {help}"));
    format!("error: {}{}", refusal.message, help.unwrap_or_default())
}

/// For people: RFC 3339 to the second.
pub(super) fn time(value: Option<&Value>) -> String {
    let at = value.and_then(Value::as_i64);
    let at = at.and_then(|at| jiff::Timestamp::from_second(at.div_euclid(1000)).ok());
    at.map_or_else(|| "-".to_owned(), |at| at.to_string())
}

/// A member's text; empty where there is none.
pub(super) fn text<'v>(value: &'v Value, member: &str) -> &'v str {
    value
        .get(member)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

pub(super) fn flag(value: &Value, member: &str) -> bool {
    value
        .get(member)
        .and_then(Value::as_bool)
        .unwrap_or_default()
}

/// A member's texts.
pub(super) fn texts<'v>(value: &'v Value, member: &str) -> Vec<&'v str> {
    let values = value.get(member).and_then(Value::as_array);
    let values = values.map(Vec::as_slice).unwrap_or_default();
    values.iter().filter_map(Value::as_str).collect()
}

pub(super) fn rows(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// Columns as wide as what is in them, the last as it comes. Nothing in it can move the cursor.
pub(super) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = head.iter().map(|cell| cell.chars().count()).collect();
    let rows: Vec<Vec<String>> = rows
        .iter()
        .map(|row| row.iter().map(|cell| plain(cell)).collect())
        .collect();
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let head: Vec<String> = head.iter().map(|cell| (*cell).to_owned()).collect();
    let mut lines = Vec::new();
    for row in std::iter::once(&head).chain(&rows) {
        let cells = row.iter().zip(&widths);
        let line: Vec<String> = cells
            .map(|(cell, width)| format!("{cell:<width$}", width = *width))
            .collect();
        lines.push(line.join("  ").trim_end().to_owned());
    }
    lines.join("\n")
}

/// Without anything that a terminal would obey.
pub(super) fn plain(text: &str) -> String {
    let harmless = |character: char| {
        if character.is_control() {
            '?'
        } else {
            character
        }
    };
    text.chars().map(harmless).collect()
}

/// As programs read it.
pub(super) fn json(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}
