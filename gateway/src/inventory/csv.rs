//! CSV: the same rows as in TOML, with dotted column names. Read into the shape of the TOML file, so that one schema, one
//! checker and one set of messages serve both.

use std::fmt::Write as _;

use serde_json::Value;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::raw;
use crate::config::text::quoted;
use crate::config::{INVENTORY_SCHEMA, Report, describe, fit, suggestion};

/// A column: its name, the path of keys it fills, and the schema of what stands in it.
struct Column {
    name: String,
    path: Vec<String>,
    schema: &'static Value,
    required: bool,
    description: String,
}

/// Every column there can be, in the order of the documentation.
fn columns() -> Vec<Column> {
    let mut columns = Vec::new();
    if let Some(device) = INVENTORY_SCHEMA.pointer("/properties/device/items") {
        collect(device, &mut Vec::new(), &mut columns);
    }
    columns
}

fn collect(schema: &'static Value, path: &mut Vec<String>, columns: &mut Vec<Column>) {
    let short = schema.get("x-short").and_then(Value::as_str);
    let required = schema.get("required").and_then(Value::as_array);
    for (key, inner) in schema
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        path.push(key.clone());
        if inner.get("properties").is_some() {
            collect(inner, path, columns);
        } else {
            // `posture.managed` is the value of that attribute; `posture.managed.source` its source.
            let is_value = short == Some(key.as_str());
            let shown = path.len().saturating_sub(usize::from(is_value));
            let name = path
                .iter()
                .take(shown)
                .map(String::as_str)
                .collect::<Vec<_>>()
                .join(".");
            let text = if is_value { schema } else { inner }.get("description");
            columns.push(Column {
                name,
                path: path.clone(),
                schema: inner,
                required: path.len() == 1
                    && required.is_some_and(|keys| keys.iter().any(|one| one == key)),
                description: text.and_then(Value::as_str).unwrap_or_default().to_owned(),
            });
        }
        path.pop();
    }
}

/// The rows of a CSV file. `None` after problems that leave nothing to judge.
pub(super) fn read(text: &str, report: &mut Report<'_>) -> Option<raw::File> {
    let mut reader = csv::ReaderBuilder::new()
        .flexible(true)
        .trim(csv::Trim::All)
        .from_reader(text.as_bytes());
    let all = columns();
    let chosen = header(&mut reader, &all, report)?;
    let mut devices = DeArray::new();
    let mut record = csv::StringRecord::new();
    loop {
        let start = offset(reader.position().byte());
        match reader.read_record(&mut record) {
            Ok(false) => break,
            Ok(true) => {}
            Err(error) => {
                let at = error
                    .position()
                    .map_or(start, |position| offset(position.byte()));
                report.error(
                    at,
                    "this row is not CSV",
                    "is a quotation mark left open?".to_owned(),
                );
                break;
            }
        }
        let at = record
            .position()
            .map_or(start, |position| offset(position.byte()));
        // Line breaks before a row belong to nobody.
        let blank = text
            .get(at..)
            .map_or(0, |rest| rest.len() - rest.trim_start().len());
        let at = at.saturating_add(blank);
        if record.len() > chosen.len() {
            let message = format!(
                "this row has {} cells, and the header {}",
                record.len(),
                chosen.len()
            );
            report.error(at, message, "quote cells that hold commas".to_owned());
            continue;
        }
        devices.push(Spanned::new(
            at..at,
            DeValue::Table(row(&record, &chosen, at)),
        ));
    }
    let mut root = DeTable::new();
    root.insert(
        Spanned::new(0..0, "device".into()),
        Spanned::new(0..0, DeValue::Array(devices)),
    );
    fit(Spanned::new(0..0, root), &INVENTORY_SCHEMA, report)
}

fn offset(byte: u64) -> usize {
    usize::try_from(byte).unwrap_or(usize::MAX)
}

/// The column of each cell; `None` within for columns that are unknown, which have been reported.
fn header<'c>(
    reader: &mut csv::Reader<&[u8]>,
    all: &'c [Column],
    report: &mut Report<'_>,
) -> Option<Vec<Option<&'c Column>>> {
    let names = match reader.headers() {
        Ok(names) => names.clone(),
        Err(_) => {
            report.error(0, "the header row is not CSV", None);
            return None;
        }
    };
    let mut chosen: Vec<Option<&Column>> = Vec::with_capacity(names.len());
    for name in &names {
        // A byte order mark, as spreadsheets write it, is no part of the first name.
        let name = name.trim_start_matches('\u{feff}');
        let column = all.iter().find(|column| column.name == name);
        if column.is_none() {
            let help = suggestion(name, all.iter().map(|column| column.name.as_str()));
            report.error(0, format!("unknown column {}", quoted(name)), help);
        } else if chosen.iter().flatten().any(|other| other.name == name) {
            report.error(
                0,
                format!("a second column {}", quoted(name)),
                "one of the two can go".to_owned(),
            );
        }
        chosen.push(column);
    }
    let mut complete = true;
    for column in all.iter().filter(|column| column.required) {
        if !chosen
            .iter()
            .flatten()
            .any(|other| other.name == column.name)
        {
            let message = format!("there is no column `{}`", column.name);
            report.error(0, message, describe(column.schema));
            complete = false;
        }
    }
    // Without it every row would be told the same.
    complete.then_some(chosen)
}

fn row(record: &csv::StringRecord, chosen: &[Option<&Column>], at: usize) -> DeTable<'static> {
    let mut table = DeTable::new();
    for (cell, column) in record.iter().zip(chosen) {
        if let Some(column) = column
            && !cell.is_empty()
        {
            insert(&mut table, &column.path, value(cell, column.schema, at), at);
        }
    }
    table
}

fn insert(table: &mut DeTable<'static>, path: &[String], value: DeValue<'static>, at: usize) {
    let Some((key, rest)) = path.split_first() else {
        return;
    };
    if rest.is_empty() {
        table.insert(
            Spanned::new(at..at, key.clone().into()),
            Spanned::new(at..at, value),
        );
        return;
    }
    if !table.contains_key(key.as_str()) {
        let empty = DeValue::Table(DeTable::new());
        table.insert(
            Spanned::new(at..at, key.clone().into()),
            Spanned::new(at..at, empty),
        );
    }
    if let Some(DeValue::Table(inner)) = table.get_mut(key.as_str()).map(Spanned::get_mut) {
        insert(inner, rest, value, at);
    }
}

/// A cell as the value that its schema expects; what does not convert stays text, and the checker says so.
fn value(cell: &str, schema: &Value, at: usize) -> DeValue<'static> {
    match (schema.get("type").and_then(Value::as_str), cell) {
        (Some("array"), _) => {
            let parts = cell
                .split(';')
                .map(str::trim)
                .filter(|part| !part.is_empty());
            DeValue::Array(
                parts
                    .map(|part| Spanned::new(at..at, DeValue::String(part.to_owned().into())))
                    .collect(),
            )
        }
        (Some("boolean"), "true" | "TRUE" | "True") => DeValue::Boolean(true),
        (Some("boolean"), "false" | "FALSE" | "False") => DeValue::Boolean(false),
        _ => DeValue::String(cell.to_owned().into()),
    }
}

/// The columns, as a Markdown table.
pub fn reference() -> String {
    let mut out = String::from("| column | meaning |\n|---|---|\n");
    for column in columns() {
        let parts = column.path.len();
        // Each attribute has three more columns; one line explains them for all.
        if parts == 3 && column.path.last().is_some_and(|key| key != "value") {
            continue;
        }
        let must = if column.required { " Required." } else { "" };
        let _ = writeln!(
            out,
            "| `{}` | {}{must} |",
            column.name,
            column.description.replace('|', r"\|")
        );
    }
    out.push_str(
        "| `posture.<attribute>.source`, `.observed_at`, `.max_age` | For one attribute, instead of the columns `source`, \
         `observed_at` and `max_age`. |\n",
    );
    out
}
