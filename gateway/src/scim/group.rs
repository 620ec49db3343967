//! Groups (RFC 7643 §4.2): a name and the people in it. Groups in groups are not taken: what a policy grants a group must
//! not depend on who may put another group into it.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::attributes::{Attributes, object, required, text};
use super::error::{Kind, ScimError};
use super::filter::{Clause, Operand};
use super::patch::{Operation, Verb};
use super::render::Wanted;
use super::user::read_only;
use crate::people::{Group, folded};

pub(super) const SCHEMA: &str = "urn:ietf:params:scim:schemas:core:2.0:Group";

/// What can be searched for.
pub(super) const SEARCHABLE: &[&str] = &[
    "id",
    "displayname",
    "externalid",
    "members",
    "members.value",
];

/// Puts what a POST or PUT says into `group`. Who is in it is not changed by saying nothing about it.
pub(super) fn read(group: &mut Group, mut body: Attributes) -> Result<(), ScimError> {
    body.check_schema(SCHEMA)?;
    group.display_name = required("displayName", body.take("displayname"))?;
    group.external_id = text("externalId", body.take("externalid"))?;
    if let Some(members) = body.take("members") {
        group.members = ids(members)?;
    }
    Ok(())
}

/// Makes one change. Adding whoever is there and removing whoever is not succeed: a request that comes twice, or late, does
/// what it says.
pub(super) fn apply(group: &mut Group, operation: Operation) -> Result<(), ScimError> {
    let Operation {
        verb,
        path,
        value,
        spread,
    } = operation;
    let plain = path.filter.is_none() && path.sub.is_none();
    let given = value.clone().filter(|_| verb != Verb::Remove);
    match &*path.attribute {
        "displayname" if plain => group.display_name = required("displayName", given)?,
        "externalid" if plain => group.external_id = text("externalId", given)?,
        "members" if plain => match (verb, value) {
            (Verb::Add, value) => group.members.extend(ids(value.unwrap_or_default())?),
            (Verb::Replace, value) => group.members = ids(value.unwrap_or_default())?,
            (Verb::Remove, None | Some(Value::Null)) => group.members.clear(),
            // As Entra ID writes it.
            (Verb::Remove, Some(gone)) => {
                for id in ids(gone)? {
                    group.members.remove(&id);
                }
            }
        },
        "members" if path.sub.is_none() && verb == Verb::Remove => {
            let only = |clause: &Clause| &*clause.attribute == "value";
            let filter = path.filter.filter(|filter| filter.holds(only));
            let gone = filter.as_ref().and_then(|filter| filter.wants("value"));
            let gone = gone.ok_or_else(|| {
                let detail = "members are told apart by `value`";
                ScimError::of(Kind::InvalidPath, detail)
            })?;
            group.members.remove(gone);
        }
        attribute @ ("id" | "meta" | "schemas") => {
            return read_only(attribute, &group.id, value, spread);
        }
        _ => {
            let detail = "the path names nothing of a group that can be changed so";
            return Err(ScimError::of(Kind::InvalidPath, detail));
        }
    }
    Ok(())
}

/// Whether a comparison holds.
pub(super) fn matches(group: &Group, clause: &Clause) -> bool {
    let Operand::Text(wanted) = &clause.operand else {
        return false;
    };
    match &*clause.attribute {
        "id" => group.id == *wanted,
        "displayname" => folded(&group.display_name) == folded(wanted),
        "externalid" => group.external_id.as_ref() == Some(wanted),
        "members" | "members.value" => group.members.contains(wanted),
        _ => false,
    }
}

/// The resource as it is sent; `display` names a member.
pub(super) fn render(
    group: &Group,
    display: impl Fn(&str) -> Option<Box<str>>,
    base: &str,
    wanted: &Wanted,
) -> Value {
    let common = super::render::Common::of(group);
    let mut resource: Map<String, Value> = super::render::resource(SCHEMA, "Group", base, common);
    resource.insert("displayName".to_owned(), json!(group.display_name));
    resource.insert("externalId".to_owned(), json!(group.external_id));
    if wanted.asks("members") {
        let member = |id: &str| {
            json!({
                "value": id,
                "display": display(id),
                "$ref": format!("{base}/Users/{id}"),
                "type": "User",
            })
        };
        let members: Vec<Value> = group.members.iter().map(|id| member(id)).collect();
        resource.insert("members".to_owned(), json!(members));
    }
    wanted.cut(resource)
}

/// Who is meant by a list of members, one member, or nothing.
fn ids(value: Value) -> Result<BTreeSet<Box<str>>, ScimError> {
    let values = match value {
        Value::Null => return Ok(BTreeSet::new()),
        Value::Array(values) => values,
        one @ (Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_)) => {
            vec![one]
        }
    };
    let id = |value: Value| match value {
        Value::String(id) => Ok(id.into()),
        other @ (Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::Array(_)
        | Value::Object(_)) => required("members.value", object("members", other)?.take("value")),
    };
    values.into_iter().map(id).collect()
}
