//! How resources, lists and answers look (RFC 7644 §3.4, §3.9, §3.14).

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, LOCATION};
use http::{HeaderValue, Response, StatusCode};
use serde_json::{Map, Value, json};

use super::error::ScimError;
use super::query::Query;
use crate::people::{Group, Person};

/// An answer with a document.
pub(super) fn answer(status: StatusCode, document: &Value) -> Response<Bytes> {
    // What is in memory always serialises.
    let mut response = Response::new(serde_json::to_vec(document).unwrap_or_default().into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/scim+json"),
    );
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// An answer with one resource, its version and, for a new one, its address.
pub(super) fn one(
    status: StatusCode,
    resource: &Value,
    version: u64,
    place: Option<&str>,
) -> Response<Bytes> {
    let mut response = answer(status, resource);
    if let Ok(tag) = HeaderValue::try_from(tag(version)) {
        response.headers_mut().insert(ETAG, tag);
    }
    if let Some(Ok(place)) = place.map(HeaderValue::try_from) {
        response.headers_mut().insert(LOCATION, place);
    }
    response
}

/// An answer without any content.
pub(super) fn empty(status: StatusCode) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A page of those that were found.
pub(super) fn list(total: usize, from: usize, resources: Vec<Value>) -> Response<Bytes> {
    let document = json!({
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:ListResponse"],
        "totalResults": total,
        "startIndex": from,
        "itemsPerPage": resources.len(),
        "Resources": resources,
    });
    answer(StatusCode::OK, &document)
}

/// The entity tag of a version. Weak: what a resource shows of others may change without it.
pub(super) fn tag(version: u64) -> String {
    format!("W/\"{version}\"")
}

/// What every resource has.
pub(super) struct Common<'a> {
    id: &'a str,
    created: i64,
    modified: i64,
    version: u64,
}

/// Users and groups.
pub(super) trait Resource {
    fn common(&self) -> Common<'_>;
}

impl<'a> Common<'a> {
    pub(super) fn of(resource: &'a impl Resource) -> Self {
        resource.common()
    }
}

impl Resource for Person {
    fn common(&self) -> Common<'_> {
        Common {
            id: &self.id,
            created: self.created,
            modified: self.modified,
            version: self.version,
        }
    }
}

impl Resource for Group {
    fn common(&self) -> Common<'_> {
        Common {
            id: &self.id,
            created: self.created,
            modified: self.modified,
            version: self.version,
        }
    }
}

/// The members that all resources share.
pub(super) fn resource(
    schema: &str,
    kind: &str,
    base: &str,
    common: Common<'_>,
) -> Map<String, Value> {
    let Common {
        id,
        created,
        modified,
        version,
    } = common;
    let mut resource = Map::new();
    resource.insert("schemas".to_owned(), json!([schema]));
    resource.insert("id".to_owned(), json!(id));
    let meta = json!({
        "resourceType": kind,
        "created": time(created),
        "lastModified": time(modified),
        "location": format!("{base}/{kind}s/{id}"),
        "version": tag(version),
    });
    resource.insert("meta".to_owned(), meta);
    resource
}

fn time(millis: i64) -> String {
    jiff::Timestamp::from_millisecond(millis)
        .unwrap_or(jiff::Timestamp::UNIX_EPOCH)
        .to_string()
}

/// `attributes` and `excludedAttributes` (§3.9). Names are in lower case and without their schema.
#[derive(Clone, Debug, Default)]
pub(super) enum Wanted {
    #[default]
    Everything,
    Only(Vec<String>),
    Without(Vec<String>),
}

impl Wanted {
    pub(super) fn of(query: &Query) -> Result<Self, ScimError> {
        let names = |text: &str| {
            let names = text.split(',').map(|name| {
                let name = name.trim().to_ascii_lowercase();
                // `urn:…:User:userName`: what follows the last colon.
                let bare = name.rsplit(':').next().unwrap_or_default();
                bare.to_owned()
            });
            names.filter(|name| !name.is_empty()).collect()
        };
        match (&query.attributes, &query.excluded) {
            (None, None) => Ok(Self::Everything),
            (Some(only), None) => Ok(Self::Only(names(only))),
            (None, Some(without)) => Ok(Self::Without(names(without))),
            (Some(_), Some(_)) => Err(ScimError::value(
                "`attributes` and `excludedAttributes` exclude each other",
            )),
        }
    }

    /// Whether an attribute (or a part of it) is to be sent.
    pub(super) fn asks(&self, attribute: &str) -> bool {
        match self {
            Self::Everything => true,
            Self::Only(names) => names.iter().any(|name| {
                let head = name.split('.').next().unwrap_or_default();
                head == attribute
            }),
            Self::Without(names) => !names.iter().any(|name| name == attribute),
        }
    }

    /// Leaves out what is not asked for and what has no value. `id` and `schemas` always stay.
    pub(super) fn cut(&self, resource: Map<String, Value>) -> Value {
        let mut kept = Map::new();
        for (name, value) in resource {
            let lower = name.to_ascii_lowercase();
            let always = lower == "id" || lower == "schemas";
            if !always && !self.asks(&lower) {
                continue;
            }
            let value = self.parts(&lower, value);
            if !is_empty(&value) {
                kept.insert(name, value);
            }
        }
        Value::Object(kept)
    }

    fn parts(&self, attribute: &str, value: Value) -> Value {
        let asks = |part: &str| {
            let whole = format!("{attribute}.{}", part.to_ascii_lowercase());
            match self {
                Self::Everything => true,
                Self::Only(names) => names.iter().any(|name| *name == whole || name == attribute),
                Self::Without(names) => !names.contains(&whole),
            }
        };
        if attribute == "schemas" {
            return value;
        }
        match value {
            Value::Object(parts) => {
                let parts = parts.into_iter();
                let parts = parts.filter(|(part, value)| asks(part) && !value.is_null());
                Value::Object(parts.collect())
            }
            Value::Array(values) => {
                let values = values.into_iter();
                Value::Array(values.map(|value| self.parts(attribute, value)).collect())
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value,
        }
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(values) => values.is_empty(),
        Value::Object(parts) => parts.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}
