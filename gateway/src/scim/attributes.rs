//! JSON objects as SCIM has them: names are compared without case, values are bounded, what is not known is left alone.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::error::{Kind, ScimError};

/// Characters of a name or an identifier.
const LONGEST: usize = 256;

/// The members of an object, by name in lower case.
pub(super) struct Attributes(BTreeMap<String, Value>);

impl Attributes {
    /// # Errors
    /// A name that is there twice in two spellings: nobody can say which one counts.
    pub(super) fn of(object: Map<String, Value>) -> Result<Self, ScimError> {
        let mut members = BTreeMap::new();
        for (name, value) in object {
            if members.insert(name.to_ascii_lowercase(), value).is_some() {
                let twice = "an attribute is there twice";
                return Err(ScimError::of(Kind::InvalidSyntax, twice));
            }
        }
        Ok(Self(members))
    }

    /// `None` where it is missing; `null` is there.
    pub(super) fn take(&mut self, name: &str) -> Option<Value> {
        self.0.remove(name)
    }

    /// `schemas` must name what this is (RFC 7643 §3).
    pub(super) fn check_schema(&mut self, schema: &str) -> Result<(), ScimError> {
        let named = match self.take("schemas") {
            Some(Value::Array(names)) => names
                .iter()
                .filter_map(Value::as_str)
                .any(|name| name.eq_ignore_ascii_case(schema)),
            _ => false,
        };
        if named {
            return Ok(());
        }
        let detail = format!("`schemas` does not name `{schema}`");
        Err(ScimError::of(Kind::InvalidSyntax, detail))
    }
}

/// An object from a value, or the complaint that `what` is none.
pub(super) fn object(what: &str, value: Value) -> Result<Attributes, ScimError> {
    match value {
        Value::Object(object) => Attributes::of(object),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Err(ScimError::value(format!("`{what}` is not an object")))
        }
    }
}

/// A text; `None` where it is missing, `null` or empty, which mean the same (RFC 7643 §2.5).
pub(super) fn text(what: &str, value: Option<Value>) -> Result<Option<Box<str>>, ScimError> {
    let text = match value {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(text)) => text,
        Some(Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
            return Err(ScimError::value(format!("`{what}` is not a string")));
        }
    };
    if text.chars().any(char::is_control) {
        let detail = format!("`{what}` holds control characters");
        return Err(ScimError::value(detail));
    }
    if text.chars().count() > LONGEST {
        let detail = format!("`{what}` has more than {LONGEST} characters");
        return Err(ScimError::value(detail));
    }
    let text = text.trim();
    Ok((!text.is_empty()).then(|| text.into()))
}

/// A text that must be there.
pub(super) fn required(what: &str, value: Option<Value>) -> Result<Box<str>, ScimError> {
    text(what, value)?.ok_or_else(|| ScimError::value(format!("`{what}` is missing")))
}

/// A boolean, also as Entra ID writes it: `"False"`.
pub(super) fn flag(what: &str, value: &Value) -> Result<bool, ScimError> {
    match value {
        Value::Bool(flag) => return Ok(*flag),
        Value::String(text) if text.eq_ignore_ascii_case("true") => return Ok(true),
        Value::String(text) if text.eq_ignore_ascii_case("false") => return Ok(false),
        Value::Null | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {}
    }
    Err(ScimError::value(format!("`{what}` is not a boolean")))
}
