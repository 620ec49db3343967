//! Checks a parsed file against its schema and takes out what does not fit, so that every misspelt key, wrong type and
//! malformed value is reported and the rest can still be read and judged.
//!
//! Serde alone stops at the first error. The schema is the one made from the documented types, so what this accepts,
//! what editors suggest and what the reference says cannot drift apart.

use serde_json::{Map, Value};
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::nearest::{nearest, suggestion};
use super::report::Report;
use super::text::{Bounds, Fault, check_of, quoted, refused_word};

/// Removes from `table` whatever `schema` does not accept, and reports each.
pub(crate) fn prune(table: &mut Spanned<DeTable<'_>>, schema: &Value, report: &mut Report<'_>) {
    let span = table.span();
    let mut shape = Shape {
        root: schema,
        report,
    };
    shape.table(table.get_mut(), span.start, schema, &Place::default());
}

struct Shape<'s, 'r, 't> {
    root: &'s Value,
    report: &'r mut Report<'t>,
}

/// A table, in the words of the file: `[app.upstream]` of `payroll`.
#[derive(Clone, Default)]
struct Place {
    path: String,
    repeated: bool,
    owner: Option<String>,
}

impl Place {
    fn below(&self, key: &str, repeated: bool) -> Self {
        let path = if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        };
        Self {
            path,
            repeated,
            owner: self.owner.clone(),
        }
    }

    fn header(&self) -> String {
        match (self.path.is_empty(), self.repeated) {
            (true, _) => "the file".to_owned(),
            (false, true) => format!("`[[{}]]`", self.path),
            (false, false) => format!("`[{}]`", self.path),
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.header())?;
        match &self.owner {
            Some(owner) if !self.path.is_empty() => write!(formatter, " of {}", quoted(owner)),
            _ => Ok(()),
        }
    }
}

impl Shape<'_, '_, '_> {
    fn table(&mut self, table: &mut DeTable<'_>, at: usize, schema: &Value, place: &Place) {
        let none = Map::new();
        let known = schema
            .get("properties")
            .and_then(Value::as_object)
            .unwrap_or(&none);
        let open = schema
            .get("additionalProperties")
            .filter(|extra| extra.is_object());
        let keys: Vec<(String, usize)> = table
            .iter()
            .map(|(key, _)| (key.get_ref().to_string(), key.span().start))
            .collect();
        let mut meant = Vec::new();
        for (key, key_at) in keys {
            let kept = match (known.get(&key), open) {
                (Some(inner), _) => self.entry(table, &key, inner, place),
                (None, Some(inner)) => {
                    self.free_key(&key, key_at, schema, place)
                        && self.entry(table, &key, inner, place)
                }
                (None, None) => {
                    meant.extend(self.unknown_key(&key, key_at, known, place));
                    false
                }
            };
            if !kept {
                table.remove(key.as_str());
                meant.push(key);
            }
        }
        self.missing_keys(table, at, schema, known, place, &meant);
    }

    fn entry(&mut self, table: &mut DeTable<'_>, key: &str, schema: &Value, place: &Place) -> bool {
        table
            .get_mut(key)
            .is_some_and(|value| self.value(value, schema, key, place))
    }

    /// A key whose names are the author's own (headers, attributes).
    fn free_key(&mut self, key: &str, at: usize, schema: &Value, place: &Place) -> bool {
        let Some(names) = schema.get("propertyNames") else {
            return true;
        };
        match text_fault(key, names, "") {
            None => true,
            Some(fault) => {
                let message = format!("{} in {place} {}", quoted(key), fault.why);
                self.report.error(at, message, fault.help);
                false
            }
        }
    }

    /// Reports, and returns what was probably meant, so that it is not reported as missing too.
    fn unknown_key(
        &mut self,
        key: &str,
        at: usize,
        known: &Map<String, Value>,
        place: &Place,
    ) -> Option<String> {
        let names = known.keys().map(String::as_str);
        let near = nearest(key, names.clone()).map(str::to_owned);
        let elsewhere = match near {
            Some(_) => None,
            None => self.elsewhere(key, place),
        };
        let help = elsewhere.or_else(|| suggestion(key, names));
        self.report
            .error(at, format!("unknown key {} in {place}", quoted(key)), help);
        near
    }

    /// TOML's classic trap: a key written after a table header belongs to that table.
    fn elsewhere(&self, key: &str, place: &Place) -> Option<String> {
        let mut homes = Vec::new();
        collect_homes(self.root, key, &Place::default(), &mut homes);
        let home = homes
            .iter()
            .find(|home| place.path.starts_with(&home.path))
            .or(match homes.as_slice() {
                [only] => Some(only),
                _ => None,
            })?;
        if place.path.is_empty() {
            return Some(format!("it belongs under {}", home.header()));
        }
        Some(format!(
            "it belongs to {}; a key written after {} belongs to that table, so move it before",
            home.header(),
            place.header()
        ))
    }

    fn missing_keys(
        &mut self,
        table: &DeTable<'_>,
        at: usize,
        schema: &Value,
        known: &Map<String, Value>,
        place: &Place,
        meant: &[String],
    ) {
        let required = schema
            .get("required")
            .and_then(Value::as_array)
            .into_iter()
            .flatten();
        for key in required.filter_map(Value::as_str) {
            if table.contains_key(key) || meant.iter().any(|known| known == key) {
                continue;
            }
            let what = known.get(key).map(|schema| (schema, describe(schema)));
            let message = match what {
                Some((schema, _)) if is_table(schema) => {
                    format!(
                        "{place} has no {}",
                        place.below(key, is_list(schema)).header()
                    )
                }
                _ => format!("{place} has no `{key}`"),
            };
            let help = what.map(|(schema, help)| match is_table(schema) {
                true => format!("there one writes {help}"),
                false => help,
            });
            self.report.error(at, message, help);
        }
    }

    /// Whether the value may stay.
    fn value(
        &mut self,
        value: &mut Spanned<DeValue<'_>>,
        schema: &Value,
        key: &str,
        place: &Place,
    ) -> bool {
        let span = value.span();
        let at = span.start;
        if let Some((name, inner)) = short_form(value, schema) {
            let fits = self.value(value, inner, key, place);
            if fits {
                wrap(value, name);
            }
            return fits;
        }
        if text_kind(schema) == Some("instant")
            && let DeValue::Datetime(instant) = value.get_ref()
        {
            let text = instant.to_string();
            *value = Spanned::new(span, DeValue::String(text.into()));
        }
        match (schema.get("type").and_then(Value::as_str), value.get_mut()) {
            (Some("object"), DeValue::Table(table)) => {
                let mut below = place.below(key, false);
                below.owner = owner_of(table).or(below.owner);
                self.table(table, at, schema, &below);
                true
            }
            (Some("array"), DeValue::Array(array)) => self.array(array, at, schema, key, place),
            (Some("string"), DeValue::String(text)) => self.text(text, at, schema, key, place),
            (Some("integer"), DeValue::Integer(number)) => {
                let number = i64::from_str_radix(number.as_str(), number.radix()).ok();
                self.integer(number, at, schema, key, place)
            }
            (Some("boolean"), DeValue::Boolean(_)) => true,
            (expected, found) => {
                self.mismatch(expected.unwrap_or_default(), found, at, schema, key, place);
                false
            }
        }
    }

    fn array(
        &mut self,
        array: &mut DeArray<'_>,
        at: usize,
        schema: &Value,
        key: &str,
        place: &Place,
    ) -> bool {
        let null = Value::Null;
        let items = schema.get("items").unwrap_or(&null);
        if array.is_empty() && schema.get("minItems").is_some() {
            let message = format!("`{key}` in {place} is empty");
            self.report
                .error(at, message, "name at least one".to_owned());
            return false;
        }
        let kept = std::mem::replace(array, DeArray::new())
            .into_iter()
            .filter_map(|mut item| {
                let item_at = item.span().start;
                let fits = if let DeValue::Table(table) = item.get_mut()
                    && is_table(items)
                {
                    let mut below = place.below(key, true);
                    below.owner = owner_of(table).or(below.owner);
                    self.table(table, item_at, items, &below);
                    true
                } else {
                    self.value(&mut item, items, key, place)
                };
                fits.then_some(item)
            })
            .collect();
        *array = kept;
        true
    }

    fn text(&mut self, text: &str, at: usize, schema: &Value, key: &str, place: &Place) -> bool {
        let Some(fault) = text_fault(text, schema, key) else {
            return true;
        };
        let shown = if is_secret(schema) {
            "the text".to_owned()
        } else {
            quoted(text).to_string()
        };
        let message = format!("{shown} for `{key}` in {place} {}", fault.why);
        self.report.error(at, message, fault.help);
        false
    }

    fn integer(
        &mut self,
        number: Option<i64>,
        at: usize,
        schema: &Value,
        key: &str,
        place: &Place,
    ) -> bool {
        let bound = |name| schema.get(name).and_then(Value::as_i64);
        let (least, most) = (bound("minimum"), bound("maximum"));
        if let Some(listed) = schema.get("enum").and_then(Value::as_array) {
            if number.is_some_and(|number| listed.contains(&Value::from(number))) {
                return true;
            }
            let words: Vec<_> = listed.iter().map(|value| format!("`{value}`")).collect();
            let message = format!("`{key}` in {place} is not one of the numbers it may be");
            self.report
                .error(at, message, format!("write one of {}", words.join(", ")));
            return false;
        }
        let inside = number.is_some_and(|number| {
            least.is_none_or(|least| number >= least) && most.is_none_or(|most| number <= most)
        });
        if !inside {
            let shown =
                number.map_or_else(|| "the number".to_owned(), |number| format!("`{number}`"));
            let help = match (least, most) {
                (Some(least), Some(most)) => Some(format!("write a number from {least} to {most}")),
                _ => None,
            };
            let message = format!("{shown} for `{key}` in {place} is outside of what is accepted");
            self.report.error(at, message, help);
        }
        inside
    }

    fn mismatch(
        &mut self,
        expected: &str,
        found: &DeValue<'_>,
        at: usize,
        schema: &Value,
        key: &str,
        place: &Place,
    ) {
        let shown = if is_secret(schema) {
            String::new()
        } else {
            scalar_text(found)
                .map(|text| format!(" {}", quoted(&text)))
                .unwrap_or_default()
        };
        let message = format!(
            "`{key}` in {place} is {}{shown}, and should be {}",
            with_article(found.type_str()),
            expected_text(expected, schema)
        );
        // Help repeats what was written, which a secret's must not.
        let help = (!is_secret(schema))
            .then(|| mismatch_help(expected, found, schema, key, place))
            .flatten();
        self.report.error(at, message, help);
    }
}

fn mismatch_help(
    expected: &str,
    found: &DeValue<'_>,
    schema: &Value,
    key: &str,
    place: &Place,
) -> Option<String> {
    let repeated = || place.below(key, true).header();
    match (expected, found) {
        ("array", DeValue::Table(_)) => Some(format!(
            "write {}, with two brackets: there may be several",
            repeated()
        )),
        ("object", DeValue::Array(_)) => Some(format!(
            "write {}, with one bracket: there is one",
            place.below(key, false).header()
        )),
        ("array", DeValue::String(text)) => {
            Some(format!("write `{key} = [\"{}\"]`", text.escape_default()))
        }
        ("string", DeValue::Integer(number)) => match text_kind(schema) {
            Some(kind) if kind.starts_with("duration") => {
                Some(format!("write the unit, as in `{key} = \"{number}s\"`"))
            }
            Some(kind) if kind.starts_with("size") => Some(format!(
                "write the unit, as in `{key} = \"{number}B\"` or `\"…MiB\"`"
            )),
            _ => Some(format!("write `{key} = \"{number}\"`")),
        },
        ("integer" | "boolean", DeValue::String(text)) => {
            let bare: &str = text;
            let fits = matches!(bare, "true" | "false") || bare.parse::<i64>().is_ok();
            fits.then(|| format!("leave out the quotes: `{key} = {bare}`"))
        }
        _ => None,
    }
}

/// What is wrong with a text, by its kind, its words and its bounds.
fn text_fault(text: &str, schema: &Value, key: &str) -> Option<Fault> {
    if let Some(words) = words(schema) {
        if words.contains(&text) {
            return None;
        }
        if let Some(reason) = refused_word(key, text) {
            return Some(Fault::new("is not accepted", reason));
        }
        let help = suggestion(text, words).unwrap_or_default();
        return Some(Fault::new("is not a word known here", help));
    }
    let kind = text_kind(schema)?;
    if let Err(fault) = check_of(kind)?(text) {
        return Some(fault);
    }
    let bound = |name| schema.get(name).and_then(Value::as_str);
    let bounds = Bounds {
        least: bound("x-least"),
        most: bound("x-most"),
    };
    bounds.check(kind, text).err()
}

/// `{ value = … }` may be written as the bare value where the schema says so: the key left out, and its schema.
fn short_form<'s>(value: &Spanned<DeValue<'_>>, schema: &'s Value) -> Option<(&'s str, &'s Value)> {
    let name = schema.get("x-short")?.as_str()?;
    let inner = schema.get("properties")?.get(name)?;
    (!value.get_ref().is_table()).then_some((name, inner))
}

fn wrap(value: &mut Spanned<DeValue<'_>>, name: &str) {
    let span = value.span();
    let bare = std::mem::replace(value.get_mut(), DeValue::Boolean(false));
    let mut table = DeTable::new();
    table.insert(
        Spanned::new(span.clone(), name.to_owned().into()),
        Spanned::new(span, bare),
    );
    *value.get_mut() = DeValue::Table(table);
}

fn collect_homes(schema: &Value, key: &str, place: &Place, homes: &mut Vec<Place>) {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
        return;
    };
    if properties.contains_key(key) {
        homes.push(place.clone());
    }
    for (name, inner) in properties {
        let repeated = is_list(inner);
        let table = if repeated {
            inner.get("items").unwrap_or(inner)
        } else {
            inner
        };
        collect_homes(table, key, &place.below(name, repeated), homes);
    }
}

fn owner_of(table: &DeTable<'_>) -> Option<String> {
    ["name", "id"]
        .iter()
        .find_map(|key| table.get(*key)?.get_ref().as_str().map(str::to_owned))
}

/// The words of an enumerated string.
pub(crate) fn words(schema: &Value) -> Option<Vec<&str>> {
    let listed = schema.get("oneOf")?.as_array()?;
    Some(
        listed
            .iter()
            .filter_map(|word| word.get("const")?.as_str())
            .collect(),
    )
}

fn text_kind(schema: &Value) -> Option<&str> {
    schema.get("x-kind").and_then(Value::as_str)
}

fn is_secret(schema: &Value) -> bool {
    schema.get("x-secret").is_some()
}

fn is_list(schema: &Value) -> bool {
    schema.get("type").and_then(Value::as_str) == Some("array")
}

/// A table, or a list of tables.
fn is_table(schema: &Value) -> bool {
    let inner = if is_list(schema) {
        schema.get("items").unwrap_or(schema)
    } else {
        schema
    };
    inner.get("type").and_then(Value::as_str) == Some("object")
}

/// The first sentence of the documentation, and the words.
pub(crate) fn describe(schema: &Value) -> String {
    let text = schema
        .get("description")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let sentence = text
        .split(". ")
        .next()
        .unwrap_or_default()
        .trim_end_matches('.');
    let mut help = sentence.to_owned();
    if let Some(first) = help.get(..1).map(str::to_ascii_lowercase) {
        help.replace_range(..1, &first);
    }
    if let Some(words) = words(schema) {
        let listed: Vec<_> = words.iter().map(|word| format!("`{word}`")).collect();
        help = format!("{help}: {}", listed.join(", "));
    }
    help
}

fn scalar_text(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => Some(number.to_string()),
        DeValue::Float(number) => Some(number.to_string()),
        DeValue::Boolean(truth) => Some(truth.to_string()),
        DeValue::Datetime(instant) => Some(instant.to_string()),
        DeValue::Array(_) | DeValue::Table(_) => None,
    }
}

fn with_article(kind: &str) -> String {
    match kind {
        "boolean" => "a truth value".to_owned(),
        "integer" => "a number".to_owned(),
        "float" => "a fraction".to_owned(),
        "array" => "a list".to_owned(),
        "datetime" => "a date".to_owned(),
        other => format!("a {other}"),
    }
}

fn expected_text(expected: &str, schema: &Value) -> String {
    match expected {
        "array" if is_table(schema) => "a list of tables".to_owned(),
        "array" => "a list".to_owned(),
        "object" => "a table".to_owned(),
        "integer" => "a whole number".to_owned(),
        "boolean" => "`true` or `false`".to_owned(),
        _ => match text_kind(schema) {
            Some("duration" | "duration-or-unlimited") => "a duration in quotes".to_owned(),
            Some("size" | "size-or-unlimited") => "a size in quotes".to_owned(),
            _ => "a text in quotes".to_owned(),
        },
    }
}
