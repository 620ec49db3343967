//! What this service can do and which attributes it keeps (RFC 7643 §5 to §7).

use serde_json::{Value, json};

use super::{group, query, user};

pub(super) fn service_provider_config(base: &str) -> Value {
    json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig"],
        "patch": { "supported": true },
        "bulk": { "supported": false, "maxOperations": 0, "maxPayloadSize": 0 },
        "filter": { "supported": true, "maxResults": query::MOST },
        "changePassword": { "supported": false },
        "sort": { "supported": false },
        "etag": { "supported": true },
        "authenticationSchemes": [{
            "type": "oauthbearertoken",
            "name": "OAuth bearer token",
            "description": "A token in the Authorization header (RFC 6750)",
            "specUri": "https://www.rfc-editor.org/info/rfc6750",
            "primary": true,
        }],
        "meta": {
            "resourceType": "ServiceProviderConfig",
            "location": format!("{base}/ServiceProviderConfig"),
        },
    })
}

pub(super) fn resource_types(base: &str) -> Vec<Value> {
    let kind = |name: &str, schema: &str| {
        json!({
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:ResourceType"],
            "id": name,
            "name": name,
            "endpoint": format!("/{name}s"),
            "schema": schema,
            "meta": {
                "resourceType": "ResourceType",
                "location": format!("{base}/ResourceTypes/{name}"),
            },
        })
    };
    vec![kind("User", user::SCHEMA), kind("Group", group::SCHEMA)]
}

pub(super) fn schemas(base: &str) -> Vec<Value> {
    let text = |name: &str| attribute(name, "string", &[]);
    let flag = |name: &str| attribute(name, "boolean", &[]);
    let user = vec![
        with(
            text("userName"),
            json!({ "required": true, "uniqueness": "server" }),
        ),
        text("externalId"),
        text("displayName"),
        flag("active"),
        attribute(
            "name",
            "complex",
            &[text("formatted"), text("givenName"), text("familyName")],
        ),
        with(
            attribute(
                "emails",
                "complex",
                &[text("value"), text("type"), flag("primary")],
            ),
            json!({ "multiValued": true }),
        ),
        with(
            attribute("groups", "complex", &[text("value"), text("display")]),
            json!({ "multiValued": true, "mutability": "readOnly" }),
        ),
    ];
    let group = vec![
        with(
            text("displayName"),
            json!({ "required": true, "uniqueness": "server" }),
        ),
        text("externalId"),
        with(
            attribute(
                "members",
                "complex",
                &[text("value"), text("display"), text("type")],
            ),
            json!({ "multiValued": true }),
        ),
    ];
    let schema = |name: &str, id: &str, attributes: Vec<Value>| {
        json!({
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:Schema"],
            "id": id,
            "name": name,
            "attributes": attributes,
            "meta": { "resourceType": "Schema", "location": format!("{base}/Schemas/{id}") },
        })
    };
    vec![
        schema("User", user::SCHEMA, user),
        schema("Group", group::SCHEMA, group),
    ]
}

fn attribute(name: &str, kind: &str, parts: &[Value]) -> Value {
    let mut attribute = json!({
        "name": name,
        "type": kind,
        "multiValued": false,
        "required": false,
        "caseExact": name == "externalId" || name == "value",
        "mutability": "readWrite",
        "returned": "default",
        "uniqueness": "none",
    });
    if !parts.is_empty() {
        attribute = with(attribute, json!({ "subAttributes": parts }));
    }
    attribute
}

fn with(mut attribute: Value, more: Value) -> Value {
    if let (Some(attribute), Value::Object(more)) = (attribute.as_object_mut(), more) {
        attribute.extend(more);
    }
    attribute
}
