//! Users (RFC 7643 §4.1): what is taken from a request, and what is given back. Only the attributes named here are kept;
//! the others of the standard are accepted and forgotten, `password` with them.

use serde_json::{Value, json};

use super::attributes::{self, Attributes, object, required, text};
use super::error::{Kind, ScimError};
use super::filter::{Clause, Filter, Operand};
use super::patch::{Operation, Verb};
use super::render::Wanted;
use crate::people::{Email, Group, Person, folded};

pub(super) const SCHEMA: &str = "urn:ietf:params:scim:schemas:core:2.0:User";

/// What can be searched for.
pub(super) const SEARCHABLE: &[&str] = &[
    "id",
    "username",
    "externalid",
    "displayname",
    "active",
    "emails",
    "emails.value",
];

/// Addresses of one person.
const MOST_EMAILS: usize = 20;

/// Attributes of the standard that are not kept.
const FORGOTTEN: &[&str] = &[
    "addresses",
    "entitlements",
    "ims",
    "locale",
    "nickname",
    "password",
    "phonenumbers",
    "photos",
    "preferredlanguage",
    "profileurl",
    "roles",
    "timezone",
    "title",
    "usertype",
    "x509certificates",
];

const ENTERPRISE: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:user";

/// Puts what a POST or PUT says into `person`. Whether somebody is active is not changed by saying nothing about it: a
/// request that forgets the word must not bring back whom another one deactivated.
pub(super) fn read(person: &mut Person, mut body: Attributes) -> Result<(), ScimError> {
    body.check_schema(SCHEMA)?;
    person.user_name = required("userName", body.take("username"))?;
    person.external_id = text("externalId", body.take("externalid"))?;
    if let Some(active) = body.take("active") {
        person.active = attributes::flag("active", &active)?;
    }
    person.display_name = text("displayName", body.take("displayname"))?;
    clear_name(person);
    if let Some(name) = body.take("name").filter(|name| !name.is_null()) {
        read_name(person, name)?;
    }
    person.emails = match body.take("emails") {
        Some(emails) => read_emails(emails)?,
        None => Vec::new(),
    };
    Ok(())
}

/// Makes one change.
pub(super) fn apply(person: &mut Person, operation: Operation) -> Result<(), ScimError> {
    let Operation {
        verb,
        path,
        value,
        spread,
    } = operation;
    let value = value.filter(|_| verb != Verb::Remove);
    let attribute = &*path.attribute;
    if attribute == "emails" {
        return apply_emails(
            person,
            verb,
            path.filter.as_ref(),
            path.sub.as_deref(),
            value,
        );
    }
    let plain = path.filter.is_none() && path.sub.is_none();
    match attribute {
        "username" if plain => person.user_name = required("userName", value)?,
        "externalid" if plain => person.external_id = text("externalId", value)?,
        "displayname" if plain => person.display_name = text("displayName", value)?,
        "active" if plain => {
            let value = value.ok_or_else(|| ScimError::value("`active` is missing"))?;
            person.active = attributes::flag("active", &value)?;
        }
        "name" if path.filter.is_none() => match (path.sub.as_deref(), value) {
            (Some(sub), value) => set_name(person, sub, value)?,
            (None, Some(value)) if !value.is_null() => read_name(person, value)?,
            (None, _) => clear_name(person),
        },
        "id" | "groups" | "meta" | "schemas" => {
            return read_only(attribute, &person.id, value, spread);
        }
        forgotten if FORGOTTEN.contains(&forgotten) || forgotten.starts_with(ENTERPRISE) => {}
        _ => {
            let detail = "the path names no attribute of a user";
            return Err(ScimError::of(Kind::InvalidPath, detail));
        }
    }
    Ok(())
}

/// What only we write. Somebody who sends back a whole resource may repeat it.
pub(super) fn read_only(
    attribute: &str,
    id: &str,
    value: Option<Value>,
    spread: bool,
) -> Result<(), ScimError> {
    let same_id = value.as_ref().and_then(Value::as_str) == Some(id);
    if spread && (attribute != "id" || same_id) {
        return Ok(());
    }
    let detail = format!("`{attribute}` cannot be written");
    Err(ScimError::of(Kind::Mutability, detail))
}

/// Whether a comparison holds.
pub(super) fn matches(person: &Person, clause: &Clause) -> bool {
    let same = |is: &str, wanted: &str| folded(is) == folded(wanted);
    match (&*clause.attribute, &clause.operand) {
        ("id", Operand::Text(id)) => person.id == *id,
        ("username", Operand::Text(name)) => same(&person.user_name, name),
        ("externalid", Operand::Text(id)) => person.external_id.as_ref() == Some(id),
        ("displayname", Operand::Text(name)) => {
            let shown = person.display_name.as_deref();
            shown.is_some_and(|shown| same(shown, name))
        }
        ("emails" | "emails.value", Operand::Text(address)) => {
            let mut all = person.emails.iter();
            all.any(|email| same(&email.value, address))
        }
        ("active", Operand::Flag(active)) => person.active == *active,
        _ => false,
    }
}

/// The resource as it is sent.
pub(super) fn render(
    person: &Person,
    groups: impl FnOnce() -> Vec<std::sync::Arc<Group>>,
    base: &str,
    wanted: &Wanted,
) -> Value {
    let mut user = super::render::resource(SCHEMA, "User", base, super::render::Common::of(person));
    let name = json!({
        "formatted": person.formatted_name,
        "givenName": person.given_name,
        "familyName": person.family_name,
    });
    let email = |email: &Email| json!({ "value": email.value, "type": email.kind, "primary": email.primary });
    let emails: Vec<Value> = person.emails.iter().map(email).collect();
    let groups: Vec<Value> = if wanted.asks("groups") {
        let of = |group: &std::sync::Arc<Group>| {
            json!({
                "value": group.id,
                "display": group.display_name,
                "$ref": format!("{base}/Groups/{}", group.id),
                "type": "direct",
            })
        };
        groups().iter().map(of).collect()
    } else {
        Vec::new()
    };
    user.insert("userName".to_owned(), json!(person.user_name));
    user.insert("externalId".to_owned(), json!(person.external_id));
    user.insert("displayName".to_owned(), json!(person.display_name));
    user.insert("active".to_owned(), json!(person.active));
    user.insert("name".to_owned(), name);
    user.insert("emails".to_owned(), json!(emails));
    user.insert("groups".to_owned(), json!(groups));
    wanted.cut(user)
}

fn read_name(person: &mut Person, name: Value) -> Result<(), ScimError> {
    let mut name = object("name", name)?;
    for sub in ["formatted", "givenname", "familyname"] {
        if let Some(value) = name.take(sub) {
            set_name(person, sub, Some(value))?;
        }
    }
    Ok(())
}

fn set_name(person: &mut Person, sub: &str, value: Option<Value>) -> Result<(), ScimError> {
    let place = match sub {
        "formatted" => &mut person.formatted_name,
        "givenname" => &mut person.given_name,
        "familyname" => &mut person.family_name,
        "middlename" | "honorificprefix" | "honorificsuffix" => return Ok(()),
        _ => {
            let detail = "the path names no part of a name";
            return Err(ScimError::of(Kind::InvalidPath, detail));
        }
    };
    *place = text("name", value)?;
    Ok(())
}

fn clear_name(person: &mut Person) {
    person.formatted_name = None;
    person.given_name = None;
    person.family_name = None;
}

fn read_emails(value: Value) -> Result<Vec<Email>, ScimError> {
    let values = match value {
        Value::Null => return Ok(Vec::new()),
        Value::Array(values) => values,
        one @ (Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_)) => {
            vec![one]
        }
    };
    if values.len() > MOST_EMAILS {
        return Err(too_many_emails());
    }
    let mut emails = Vec::new();
    for value in values {
        let mut email = object("emails", value)?;
        // Entra ID sends those that it does not know with no value.
        let Some(address) = text("emails.value", email.take("value"))? else {
            continue;
        };
        let primary = email.take("primary").filter(|value| !value.is_null());
        emails.push(Email {
            value: address,
            kind: text("emails.type", email.take("type"))?,
            primary: match primary {
                Some(primary) => attributes::flag("emails.primary", &primary)?,
                None => false,
            },
        });
    }
    if emails.iter().filter(|email| email.primary).count() > 1 {
        return Err(ScimError::value("more than one address is primary"));
    }
    Ok(emails)
}

fn too_many_emails() -> ScimError {
    ScimError::value(format!("`emails` has more than {MOST_EMAILS}"))
}

fn apply_emails(
    person: &mut Person,
    verb: Verb,
    filter: Option<&Filter>,
    sub: Option<&str>,
    value: Option<Value>,
) -> Result<(), ScimError> {
    let mut emails = std::mem::take(&mut person.emails);
    match (filter, sub, verb) {
        (None, None, Verb::Remove) => emails.clear(),
        (None, None, Verb::Replace) => emails = read_emails(value.unwrap_or_default())?,
        (None, None, Verb::Add) => {
            for new in read_emails(value.unwrap_or_default())? {
                if new.primary {
                    emails.iter_mut().for_each(|email| email.primary = false);
                }
                emails.retain(|email| email.value != new.value || email.kind != new.kind);
                emails.push(new);
            }
        }
        (None, Some(_), _) => {
            let detail = "which of the addresses is meant is not said";
            return Err(ScimError::of(Kind::InvalidPath, detail));
        }
        (Some(filter), None, Verb::Remove) => {
            check_filter(filter)?;
            emails.retain(|email| !filter.holds(|clause| is_email(email, clause)));
        }
        (Some(filter), sub, verb) => {
            check_filter(filter)?;
            if !emails
                .iter()
                .any(|email| filter.holds(|it| is_email(email, it)))
            {
                if verb == Verb::Remove {
                    person.emails = emails;
                    return Ok(());
                }
                // Entra ID describes what it wants to have, whether it is there or not.
                emails.push(described(filter)?);
            }
            let value = value.unwrap_or_default();
            for email in &mut emails {
                if filter.holds(|clause| is_email(email, clause)) {
                    set_email(email, sub, &value)?;
                }
            }
            emails.retain(|email| !email.value.is_empty());
        }
    }
    if emails.len() > MOST_EMAILS {
        return Err(too_many_emails());
    }
    if emails.iter().filter(|email| email.primary).count() > 1 {
        return Err(ScimError::value("more than one address is primary"));
    }
    person.emails = emails;
    Ok(())
}

fn check_filter(filter: &Filter) -> Result<(), ScimError> {
    let known = |clause: &Clause| matches!(&*clause.attribute, "type" | "value" | "primary");
    if filter.holds(known) {
        return Ok(());
    }
    let detail = "addresses can be told apart by type, value and primary";
    Err(ScimError::of(Kind::InvalidPath, detail))
}

fn is_email(email: &Email, clause: &Clause) -> bool {
    match (&*clause.attribute, &clause.operand) {
        ("type", Operand::Text(kind)) => {
            let is = email.kind.as_deref();
            is.is_some_and(|is| is.eq_ignore_ascii_case(kind))
        }
        ("value", Operand::Text(address)) => email.value.eq_ignore_ascii_case(address),
        ("primary", Operand::Flag(primary)) => email.primary == *primary,
        _ => false,
    }
}

/// An address of which a filter says everything but what it is.
fn described(filter: &Filter) -> Result<Email, ScimError> {
    let mut email = Email::default();
    for clause in &filter.0 {
        match (&*clause.attribute, &clause.operand) {
            ("type", Operand::Text(kind)) => {
                email.kind = text("emails.type", Some(Value::from(&**kind)))?;
            }
            ("value", Operand::Text(address)) => {
                email.value = required("emails.value", Some(Value::from(&**address)))?;
            }
            ("primary", Operand::Flag(primary)) => email.primary = *primary,
            _ => return Err(ScimError::of(Kind::NoTarget, "there is no such address")),
        }
    }
    Ok(email)
}

/// `value` is of the part `sub`, or an object of several.
fn set_email(email: &mut Email, sub: Option<&str>, value: &Value) -> Result<(), ScimError> {
    match sub {
        Some("value") => {
            email.value = text("emails.value", Some(value.clone()))?.unwrap_or_default();
        }
        Some("type") => email.kind = text("emails.type", Some(value.clone()))?,
        Some("primary") => {
            email.primary = !value.is_null() && attributes::flag("emails.primary", value)?;
        }
        Some("display") => {}
        Some(_) => {
            let detail = "the path names no part of an address";
            return Err(ScimError::of(Kind::InvalidPath, detail));
        }
        None => {
            let mut parts = object("emails", value.clone())?;
            for part in ["value", "type", "primary"] {
                if let Some(value) = parts.take(part) {
                    set_email(email, Some(part), &value)?;
                }
            }
        }
    }
    Ok(())
}
