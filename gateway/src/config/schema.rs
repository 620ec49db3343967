//! The JSON Schema of the files and the reference made from it.

use std::fmt::Write as _;
use std::sync::LazyLock;

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

use super::raw;
use crate::inventory;

/// The schema of the configuration file, without references and without `null`, which TOML does not have.
pub(crate) static CONFIG: LazyLock<Value> = LazyLock::new(of::<raw::Config>);

/// The schema of the inventory file.
pub(crate) static INVENTORY: LazyLock<Value> = LazyLock::new(of::<inventory::raw::File>);

fn of<T: JsonSchema>() -> Value {
    let mut schema = SchemaSettings::draft2020_12()
        .with(|settings| settings.inline_subschemas = true)
        .into_generator()
        .into_root_schema_for::<T>()
        .to_value();
    tidy(&mut schema);
    schema
}

/// The JSON Schema of the configuration, as `deploy/masugata.schema.json` holds it.
pub fn schema() -> String {
    let mut schema = CONFIG.clone();
    if let Some(root) = schema.as_object_mut() {
        root.insert("title".into(), "Masugata configuration".into());
    }
    let mut text = serde_json::to_string_pretty(&schema).unwrap_or_default();
    text.push('\n');
    text
}

/// Takes `null` out of types and alternatives, and line breaks out of descriptions.
fn tidy(value: &mut Value) {
    if let Some(object) = value.as_object_mut() {
        if let Some(Value::Array(types)) = object.get_mut("type") {
            types.retain(|kind| kind != "null");
            if let [only] = types.as_slice() {
                let only = only.clone();
                object.insert("type".into(), only);
            }
        }
        merge_alternative(object);
        // The keyword, not a key of that name.
        if object.get("format").is_some_and(Value::is_string) {
            object.remove("format");
        }
        // Every property's own table is a new `default: null` otherwise.
        if object.get("default").is_some_and(Value::is_null) {
            object.remove("default");
        }
        if let Some(Value::String(text)) = object.get_mut("description") {
            *text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        }
        object.values_mut().for_each(tidy);
    } else if let Some(array) = value.as_array_mut() {
        array.iter_mut().for_each(tidy);
    }
}

/// `anyOf: [X, null]` becomes X; what stands beside it wins over what stands in it.
fn merge_alternative(object: &mut Map<String, Value>) {
    let Some(Value::Array(alternatives)) = object.get("anyOf") else {
        return;
    };
    let mut kept: Vec<_> = alternatives
        .iter()
        .filter(|one| one.get("type").and_then(Value::as_str) != Some("null"))
        .cloned()
        .collect();
    if let (Some(Value::Object(inner)), true) = (kept.pop(), kept.is_empty()) {
        object.remove("anyOf");
        for (key, value) in inner {
            object.entry(key).or_insert(value);
        }
    }
}

/// The reference of the configuration and the inventory, Markdown, as `docs/configuration.md` holds it.
pub fn reference() -> String {
    let mut out = String::from(INTRODUCTION);
    tables(&mut out, &CONFIG, "", false);
    out.push_str(INVENTORY_INTRODUCTION);
    tables(&mut out, &INVENTORY, "", false);
    out.push_str(CSV);
    out.push_str(&inventory::csv_reference());
    out
}

const INTRODUCTION: &str = "\
# Configuration

<!-- Made from the doc comments in `gateway/src/config/raw/`; a test keeps it so. `MASUGATA_BLESS=1 cargo test -p masugata
documents` writes it anew. -->

One TOML file, `masugata.toml`, and the files it names. `masugata check -c masugata.toml` reads all of them and reports
everything that is wrong at once, with file, line, column and a way forward. `deploy/masugata.schema.json` lets editors
complete and check it; put `#:schema masugata.schema.json` in the first line where your editor knows that.

- Relative paths are relative to the directory of the file that names them.
- Durations are a whole number and a unit: `250ms`, `30s`, `5m`, `12h`, `7d`.
- Sizes are a whole number and a unit: `512B`, `64KiB`, `10MiB`, `1GiB`.
- Unknown keys are errors. Empty lists are errors where one could take them for \"everybody\".
- The configuration holds paths of keys, never keys; values under `request_headers.set` are shown and logged nowhere.

An example to start from is `deploy/example/masugata.toml`.

## The file
";

const INVENTORY_INTRODUCTION: &str = "
# Device inventory

A file that `devices.inventory` names, `.toml` or `.csv`; read anew when it changes. A certificate is looked up by the
identity it carries; one that no row has gives no rights, and one that two rows have takes the rights of both, which
`masugata check` reports. Posture attributes are dated: an absent one and one older than its `max_age` never pass.

## The file
";

const CSV: &str = "
## As CSV

A header row, then one row for each device. Lists are separated by `;`. An empty cell is the same as an absent key.
Columns may stand in any order, and unknown columns are errors.

";

/// One section per table, depth first, in the order of the source.
fn tables(out: &mut String, schema: &Value, path: &str, repeated: bool) {
    let none = Map::new();
    let properties = schema
        .get("properties")
        .and_then(Value::as_object)
        .unwrap_or(&none);
    let required: Vec<&str> = schema
        .get("required")
        .and_then(Value::as_array)
        .map(|keys| keys.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    if !path.is_empty() {
        let header = if repeated {
            format!("[[{path}]]")
        } else {
            format!("[{path}]")
        };
        let _ = write!(out, "\n## `{header}`\n");
    }
    if let Some(text) = schema.get("description").and_then(Value::as_str) {
        let _ = write!(out, "\n{text}\n");
    }
    let (nested, plain): (Vec<_>, Vec<_>) = properties
        .iter()
        .partition(|(_, schema)| table_of(schema).is_some());
    if !plain.is_empty() {
        out.push_str("\n| key | value | default | meaning |\n|---|---|---|---|\n");
    }
    for (key, schema) in plain {
        let default = if required.contains(&key.as_str()) {
            "required".to_owned()
        } else {
            schema
                .get("default")
                .map(|value| format!("`{value}`"))
                .unwrap_or_default()
        };
        let meaning = schema
            .get("description")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let _ = writeln!(
            out,
            "| `{key}` | {} | {default} | {} |",
            kind_text(schema),
            escape(meaning)
        );
    }
    for (key, schema) in nested {
        let below = if path.is_empty() {
            key.clone()
        } else {
            format!("{path}.{key}")
        };
        if let Some((inner, repeated)) = table_of(schema) {
            // The field's own description says more about the place than the type's.
            let mut inner = inner.clone();
            if let (Some(object), Some(text)) = (inner.as_object_mut(), schema.get("description")) {
                object.insert("description".into(), text.clone());
            }
            tables(out, &inner, &below, repeated);
        }
    }
}

/// The schema of a table with known keys, and whether there may be several.
fn table_of(schema: &Value) -> Option<(&Value, bool)> {
    let (inner, repeated) = match schema.get("items") {
        Some(items) => (items, true),
        None => (schema, false),
    };
    let keys = inner
        .get("properties")
        .filter(|_| inner.get("x-short").is_none());
    keys.map(|_| (inner, repeated))
}

fn kind_text(schema: &Value) -> String {
    if let Some(name) = schema.get("x-short").and_then(Value::as_str) {
        let bare = schema.get("properties").and_then(|keys| keys.get(name));
        return format!("{}, or a table", bare.map(kind_text).unwrap_or_default());
    }
    if let Some(words) = schema.get("oneOf").and_then(Value::as_array) {
        let listed: Vec<_> = words
            .iter()
            .filter_map(|word| {
                let meaning = word.get("description")?.as_str()?;
                Some(format!(
                    "`\"{}\"` ({})",
                    word.get("const")?.as_str()?,
                    escape(meaning)
                ))
            })
            .collect();
        return listed.join(", ");
    }
    if let Some(numbers) = schema.get("enum").and_then(Value::as_array) {
        let listed: Vec<_> = numbers.iter().map(ToString::to_string).collect();
        return listed.join(", ");
    }
    match schema.get("type").and_then(Value::as_str) {
        Some("array") => match schema.get("items") {
            Some(items) => format!("list of: {}", kind_text(items)),
            None => "list".to_owned(),
        },
        Some("object") => match schema.get("additionalProperties") {
            Some(values) => format!("table of: {}", kind_text(values)),
            None => "table".to_owned(),
        },
        Some("integer") => format!("number{}", range(schema, "minimum", "maximum")),
        Some("boolean") => "`true` or `false`".to_owned(),
        _ => {
            let kind = schema
                .get("x-kind")
                .and_then(Value::as_str)
                .unwrap_or("text");
            let example = schema
                .get("examples")
                .and_then(|all| all.get(0))
                .and_then(Value::as_str);
            let example = match example {
                Some(text) if !kind.starts_with("duration") && !kind.starts_with("size") => {
                    format!(", as in `\"{text}\"`")
                }
                _ => String::new(),
            };
            let bounds = range(schema, "x-least", "x-most");
            format!("{}{bounds}{example}", kind.replace('-', " "))
        }
    }
}

fn range(schema: &Value, least: &str, most: &str) -> String {
    let bound = |name| {
        schema.get(name).map(|value| {
            value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned)
        })
    };
    match (bound(least), bound(most)) {
        (Some(least), Some(most)) => format!(", {least} to {most}"),
        (Some(least), None) if least != "0" => format!(", at least {least}"),
        (None, Some(most)) => format!(", at most {most}"),
        _ => String::new(),
    }
}

fn escape(text: &str) -> String {
    text.replace('|', r"\|")
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;
    use crate::config::text::check_of;

    fn visit(schema: &Value, path: &str, see: &mut dyn FnMut(&str, &Value)) {
        see(path, schema);
        let properties = schema.get("properties").and_then(Value::as_object);
        for (key, inner) in properties.into_iter().flatten() {
            visit(inner, &format!("{path}.{key}"), see);
        }
        for key in ["items", "additionalProperties", "propertyNames"] {
            if let Some(inner) = schema.get(key).filter(|inner| inner.is_object()) {
                visit(inner, &format!("{path}[]"), see);
            }
        }
    }

    #[test]
    fn every_option_is_documented() {
        for schema in [&*CONFIG, &*INVENTORY] {
            visit(schema, "", &mut |path, schema| {
                let documented = schema
                    .get("description")
                    .and_then(Value::as_str)
                    .is_some_and(|text| text.len() > 5);
                assert!(
                    documented || path.ends_with("[]"),
                    "{path} has no documentation"
                );
            });
        }
    }

    #[test]
    fn every_optional_scalar_names_its_default_or_says_what_absence_means() {
        const SAYS: [&str; 5] = [
            "Not written",
            "Instead of",
            "Optional",
            "Put before",
            "shown on every",
        ];
        let mut open = Vec::new();
        for schema in [&*CONFIG, &*INVENTORY] {
            visit(schema, "", &mut |path, schema| {
                let required = |key: &str| {
                    let listed = schema.get("required").and_then(Value::as_array);
                    listed.is_some_and(|keys| keys.iter().any(|one| one == key))
                };
                let keys = schema.get("properties").and_then(Value::as_object);
                for (key, inner) in keys.into_iter().flatten() {
                    let table = inner
                        .get("properties")
                        .or_else(|| inner.get("items")?.get("properties"));
                    let text = inner
                        .get("description")
                        .and_then(Value::as_str)
                        .unwrap_or_default();
                    let told = table.is_some()
                        || inner.get("additionalProperties").is_some()
                        || inner.get("default").is_some()
                        || required(key)
                        || SAYS.iter().any(|words| text.contains(words));
                    if !told {
                        open.push(format!("{path}.{key}"));
                    }
                }
            });
        }
        assert!(
            open.is_empty(),
            "these leave open what happens without them: {open:?}"
        );
    }

    #[test]
    fn every_default_is_one_that_could_be_written() {
        visit(&CONFIG, "", &mut |path, schema| {
            let Some(default) = schema.get("default") else {
                return;
            };
            let texts: Vec<&Value> = default
                .as_array()
                .map_or_else(|| vec![default], |list| list.iter().collect());
            let kind = schema.get("items").unwrap_or(schema);
            for text in texts.into_iter().filter_map(Value::as_str) {
                let words = crate::config::shape::words(kind);
                let check = kind
                    .get("x-kind")
                    .and_then(Value::as_str)
                    .and_then(check_of);
                let fits = match (words, check) {
                    (Some(words), _) => words.contains(&text),
                    (None, Some(check)) => check(text).is_ok(),
                    (None, None) => true,
                };
                assert!(fits, "{path}: {text}");
            }
        });
    }

    #[test]
    fn every_kind_has_its_parser_and_every_example_passes_it() {
        for schema in [&*CONFIG, &*INVENTORY] {
            visit(schema, "", &mut |path, schema| {
                let Some(kind) = schema.get("x-kind").and_then(Value::as_str) else {
                    return;
                };
                let check =
                    check_of(kind).unwrap_or_else(|| panic!("{path}: no parser for {kind}"));
                for example in schema
                    .get("examples")
                    .and_then(Value::as_array)
                    .into_iter()
                    .flatten()
                {
                    assert_eq!(check(example.as_str().unwrap()), Ok(()), "{path}");
                }
            });
        }
    }

    #[test]
    fn the_schema_has_no_null_and_closes_every_table() {
        let text = schema();
        assert!(!text.contains("\"null\"") && !text.contains("$ref"));
        visit(&CONFIG, "", &mut |path, schema| {
            if schema.get("properties").is_some() {
                assert_eq!(
                    schema.get("additionalProperties"),
                    Some(&Value::Bool(false)),
                    "{path}"
                );
            }
        });
    }

    #[test]
    fn documents_are_what_the_code_says() {
        let top: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        for (name, text) in [
            ("deploy/masugata.schema.json", schema()),
            ("docs/configuration.md", reference()),
        ] {
            let path = top.join(name);
            if std::env::var_os("MASUGATA_BLESS").is_some() {
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(&path, &text).unwrap();
            }
            let kept = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(
                kept == text,
                "{name} is out of date: run `MASUGATA_BLESS=1 cargo test -p masugata documents`"
            );
        }
    }
}
