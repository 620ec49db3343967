//! PATCH (RFC 7644 §3.5.2), as Entra ID and Okta send it: operations one after the other, all of them or none.

use serde_json::Value;

use super::attributes::{Attributes, object};
use super::error::{Kind, ScimError};
use super::filter::Path;

const SCHEMA: &str = "urn:ietf:params:scim:api:messages:2.0:PatchOp";

/// Operations in one request.
const MOST: usize = 1_000;

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Add,
    Replace,
    Remove,
}

/// One change of one attribute.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Operation {
    pub(super) verb: Verb,
    pub(super) path: Path,
    /// Absent only when something is removed.
    pub(super) value: Option<Value>,
    /// The request named no path: the attribute came as a member of an object, perhaps of a whole resource.
    pub(super) spread: bool,
}

/// The operations of a request's body, in order.
pub(super) fn read(mut body: Attributes) -> Result<Vec<Operation>, ScimError> {
    body.check_schema(SCHEMA)?;
    let Some(Value::Array(operations)) = body.take("operations") else {
        let detail = "`Operations` is not a list";
        return Err(ScimError::of(Kind::InvalidSyntax, detail));
    };
    if operations.is_empty() || operations.len() > MOST {
        let detail = format!("`Operations` has none or more than {MOST}");
        return Err(ScimError::of(Kind::InvalidSyntax, detail));
    }
    let mut read = Vec::with_capacity(operations.len());
    for operation in operations {
        one(object("Operations", operation)?, &mut read)?;
    }
    Ok(read)
}

fn one(mut operation: Attributes, read: &mut Vec<Operation>) -> Result<(), ScimError> {
    let verb = match operation.take("op") {
        Some(Value::String(verb)) => verb.to_ascii_lowercase(),
        _ => return Err(ScimError::of(Kind::InvalidSyntax, "`op` is missing")),
    };
    let verb = match verb.as_str() {
        "add" => Verb::Add,
        "replace" => Verb::Replace,
        "remove" => Verb::Remove,
        _ => {
            let detail = "`op` is none of add, replace, remove";
            return Err(ScimError::of(Kind::InvalidSyntax, detail));
        }
    };
    let value = operation.take("value");
    match (operation.take("path"), value) {
        (Some(Value::String(path)), value) if !path.is_empty() => {
            if verb != Verb::Remove && value.is_none() {
                return Err(ScimError::value("`value` is missing"));
            }
            read.push(Operation {
                verb,
                path: Path::parse(&path)?,
                value,
                spread: false,
            });
            Ok(())
        }
        // §3.5.2.2: what is removed has to be named.
        (None | Some(Value::Null), _) if verb == Verb::Remove => {
            let detail = "what to remove is not named";
            Err(ScimError::of(Kind::NoTarget, detail))
        }
        (None | Some(Value::Null), Some(Value::Object(members))) => {
            for (name, value) in members {
                read.push(Operation {
                    verb,
                    path: Path::parse(&name)?,
                    value: Some(value),
                    spread: true,
                });
            }
            Ok(())
        }
        (None | Some(Value::Null), _) => {
            Err(ScimError::value("`value` without a path is no object"))
        }
        (Some(_), _) => Err(ScimError::of(Kind::InvalidPath, "`path` is not a path")),
    }
}
