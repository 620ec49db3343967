//! Requests as Entra ID and Okta send them, and as an attacker with a stolen token would.

use std::path::Path as FilePath;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use masugata_idp::{Accounts, LockoutRules, Settings};
use masugata_policy::{Authentication, Principal, PrincipalKind, Timestamp};
use serde_json::{Value, json};

use super::*;
use crate::audit::event::{Person as Event, PersonKind};
use crate::capability::SystemEntropy;
use crate::control::accounts::Chance;
use crate::people::Standing;
use crate::session::{Asked, Beginning, Secrets, Sessions};

/// Ids that differ, in order.
#[derive(Default)]
struct Counting(AtomicU64);

impl Entropy for Counting {
    fn fill(&self, bytes: &mut [u8]) {
        let next = self.0.fetch_add(1, Ordering::Relaxed) + 1;
        bytes.fill(0);
        for (byte, digit) in bytes.iter_mut().rev().zip(next.to_le_bytes()) {
            *byte = digit;
        }
    }
}

struct World {
    _directory: tempfile::TempDir,
    people: Arc<People>,
    sessions: Arc<Sessions>,
    accounts: Option<Accounts>,
    recorded: Arc<Mutex<Vec<Event>>>,
    user: ScimUser,
    ids: Arc<Counting>,
}

impl World {
    fn new(user: ScimUser) -> Self {
        Self::with(user, |_| None)
    }

    fn built_in() -> Self {
        Self::with(ScimUser::UserName, |directory| {
            let settings = Settings {
                origin: "https://login.corp.example".to_owned(),
                organisation: "Corp".to_owned(),
                link_lifetime: Duration::from_secs(3600),
                passwords: true,
                breached: None,
                lockout: LockoutRules {
                    free_failures: 3,
                    first_delay: Duration::from_secs(1),
                    max_delay: Duration::from_secs(60),
                    lock_after: 10,
                    lock: Duration::from_secs(900),
                    window: Duration::from_secs(3600),
                },
            };
            let random = Arc::new(Chance(Arc::new(SystemEntropy::default())));
            let nobody = Arc::new(|_| {});
            Some(Accounts::open(directory, settings, random, nobody).unwrap())
        })
    }

    fn with(user: ScimUser, accounts: impl FnOnce(&FilePath) -> Option<Accounts>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let entropy = Arc::new(SystemEntropy::default());
        let basis = Basis {
            issuer: "corp".into(),
            user,
            group_prefix: Box::default(),
        };
        let people = People::open(directory.path(), Some(basis), &*entropy).unwrap();
        let sessions = Sessions::open(directory.path(), entropy).unwrap();
        Self {
            people: Arc::new(people),
            sessions: Arc::new(sessions),
            accounts: accounts(directory.path()),
            recorded: Arc::default(),
            user,
            ids: Arc::default(),
            _directory: directory,
        }
    }

    fn clerk(&self) -> Arc<Clerk> {
        let recorded = Arc::clone(&self.recorded);
        Arc::new(Clerk {
            people: Arc::clone(&self.people),
            desk: Desk {
                people: Some(Arc::clone(&self.people)),
                sessions: Some(Arc::clone(&self.sessions)),
                accounts: self.accounts.clone(),
                record: Arc::new(move |event| recorded.lock().unwrap().push(event)),
                operation: Arc::new(|_, _| {}),
                changed: Arc::new(|| {}),
                generation: 1,
            },
            issuer: "corp".into(),
            user: self.user,
            built_in: self.accounts.is_some(),
            base: "https://scim.corp.example/scim/v2".to_owned(),
            note: Note {
                at: Timestamp::from_seconds(1_800_000_000),
                by: Actor::Scim,
                client: None,
                request: None,
                detail: None,
            },
            entropy: Arc::clone(&self.ids) as Arc<dyn Entropy>,
        })
    }

    async fn raw(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Response<Bytes> {
        let uri: http::Uri = path.parse().unwrap();
        let mut request = http::Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        self.clerk().answer(Request::of(head, body.into())).await
    }

    async fn ask(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let kind = [("content-type", "application/scim+json; charset=utf-8")];
        let path = format!("/scim/v2{path}");
        let body = if body.is_null() {
            Vec::new()
        } else {
            body.to_string().into_bytes()
        };
        let response = self.raw(method, &path, &kind, body).await;
        let document = serde_json::from_slice(response.body()).unwrap_or_default();
        (response.status().as_u16(), document)
    }

    async fn get(&self, path: &str) -> Value {
        let (status, document) = self.ask("GET", path, Value::Null).await;
        assert_eq!(status, 200, "{path}: {document}");
        document
    }

    async fn patch(&self, path: &str, operations: Value) -> (u16, Value) {
        let schemas = ["urn:ietf:params:scim:api:messages:2.0:PatchOp"];
        let body = json!({ "schemas": schemas, "Operations": operations });
        self.ask("PATCH", path, body).await
    }

    /// A new user's id.
    async fn user(&self, name: &str) -> String {
        let (status, user) = self.ask("POST", "/Users", new_user(name)).await;
        assert_eq!(status, 201, "{user}");
        user["id"].as_str().unwrap().to_owned()
    }

    async fn group(&self, name: &str, members: &[&str]) -> String {
        let members: Vec<Value> = members.iter().map(|id| json!({ "value": id })).collect();
        let body = json!({ "schemas": [group::SCHEMA], "displayName": name, "members": members });
        let (status, group) = self.ask("POST", "/Groups", body).await;
        assert_eq!(status, 201, "{group}");
        group["id"].as_str().unwrap().to_owned()
    }

    async fn signed_in(&self, user: &str) -> Arc<crate::session::Session> {
        let id = format!("corp/{user}");
        let none: [&str; 0] = [];
        let beginning = Beginning {
            principal: Arc::new(Principal::new(
                PrincipalKind::User,
                &id,
                "corp",
                None,
                none,
                none,
            )),
            authentication: Arc::new(Authentication::new(true, true, None, ["hwk"], None, true)),
            issuer: "corp".into(),
            issuer_url: "https://id.corp.example".into(),
            subject: user.into(),
            provider_session: None,
            email: None,
            user_name: Some(user.into()),
            device: "LT-1".into(),
            thumbprint: [1; 32],
            asked: Asked::default(),
            secrets: Secrets::default(),
            refresh_at: None,
        };
        let now = Timestamp::from_seconds(1_799_999_000);
        let began = self
            .sessions
            .begin("wiki.corp.example", beginning, None, now);
        began.await.unwrap().0
    }

    fn kinds(&self) -> Vec<&'static str> {
        let events = std::mem::take(&mut *self.recorded.lock().unwrap());
        events.iter().map(|event| event.kind.as_str()).collect()
    }

    fn standing(&self, user: &str) -> Standing {
        self.people.standing(&format!("corp/{user}"))
    }

    fn groups_of(&self, user: &str) -> Vec<String> {
        match self.standing(user) {
            Standing::Active { groups } => groups
                .iter()
                .flat_map(|it| it.iter())
                .map(|it| it.to_string())
                .collect(),
            other @ (Standing::Unknown | Standing::Inactive) => panic!("{other:?}"),
        }
    }
}

/// As Entra ID sends it.
fn new_user(name: &str) -> Value {
    json!({
        "schemas": [user::SCHEMA, "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"],
        "externalId": format!("ext-{name}"),
        "userName": name,
        "active": true,
        "emails": [{ "primary": true, "type": "work", "value": format!("{name}@corp.example") }],
        "meta": { "resourceType": "User" },
        "name": { "formatted": "given family", "familyName": "family", "givenName": "given" },
        "title": "forgotten",
    })
}

#[tokio::test]
async fn a_user_is_made_found_changed_and_removed() {
    let world = World::new(ScimUser::UserName);
    let (status, made) = world.ask("POST", "/Users", new_user("ada")).await;
    assert_eq!(status, 201);
    insta::assert_json_snapshot!(made, @r#"
    {
      "schemas": [
        "urn:ietf:params:scim:schemas:core:2.0:User"
      ],
      "id": "00000000000000000000000000000001",
      "meta": {
        "resourceType": "User",
        "created": "2027-01-15T08:00:00Z",
        "lastModified": "2027-01-15T08:00:00Z",
        "location": "https://scim.corp.example/scim/v2/Users/00000000000000000000000000000001",
        "version": "W/\"1\""
      },
      "userName": "ada",
      "externalId": "ext-ada",
      "active": true,
      "name": {
        "formatted": "given family",
        "givenName": "given",
        "familyName": "family"
      },
      "emails": [
        {
          "value": "ada@corp.example",
          "type": "work",
          "primary": true
        }
      ]
    }
    "#);
    let place = format!("/Users/{}", made["id"].as_str().unwrap());
    assert_eq!(world.get(&place).await, made);
    let found = world.get("/Users?filter=userName%20eq%20%22ADA%22").await;
    assert_eq!(found["totalResults"], 1);
    assert_eq!(found["Resources"][0], made);
    assert_eq!(
        world.get("/Users?filter=externalId+eq+%22ext-ada%22").await["totalResults"],
        1
    );
    assert_eq!(
        world.get("/Users?filter=userName+eq+%22grace%22").await["totalResults"],
        0
    );
    let mut changed = new_user("ada");
    changed["displayName"] = json!("Ada");
    let (status, user) = world.ask("PUT", &place, changed).await;
    assert_eq!((status, &user["displayName"]), (200, &json!("Ada")));
    assert_eq!(user["meta"]["version"], "W/\"2\"");
    let (status, _) = world.ask("DELETE", &place, Value::Null).await;
    assert_eq!(status, 204);
    assert_eq!(world.ask("GET", &place, Value::Null).await.0, 404);
    assert_eq!(world.ask("DELETE", &place, Value::Null).await.0, 404);
    assert_eq!(world.standing("ada"), Standing::Inactive);
    assert_eq!(
        world.kinds(),
        ["account-created", "account-changed", "account-removed"]
    );
}

#[tokio::test]
async fn deactivation_ends_sessions_whoever_words_it() {
    let world = World::new(ScimUser::UserName);
    for (name, operations) in [
        (
            "entra",
            json!([{ "op": "Replace", "path": "active", "value": "False" }]),
        ),
        (
            "entra-old",
            json!([{ "op": "Replace", "value": { "active": "false" } }]),
        ),
        (
            "okta",
            json!([{ "op": "replace", "value": { "active": false } }]),
        ),
        (
            "added",
            json!([{ "op": "Add", "path": "Active", "value": false }]),
        ),
        (
            "urn",
            json!([{ "op": "replace", "path": format!("{}:active", user::SCHEMA), "value": false }]),
        ),
    ] {
        let id = world.user(name).await;
        let session = world.signed_in(name).await;
        // However the issuer writes the name.
        let other = world.signed_in(&name.to_uppercase()).await;
        world.kinds();
        let (status, user) = world
            .patch(&format!("/Users/{id}"), operations.clone())
            .await;
        assert_eq!(
            (status, &user["active"]),
            (200, &json!(false)),
            "{name}: {user}"
        );
        assert!(session.is_ended() && other.is_ended(), "{name}");
        assert_eq!(world.standing(name), Standing::Inactive);
        let kinds = world.kinds();
        assert_eq!(
            kinds,
            ["session-ended", "session-ended", "account-disabled"],
            "{name}"
        );
        // Once more: nothing is different, and nothing new is told.
        let again = world.patch(&format!("/Users/{id}"), operations).await;
        assert_eq!(again, (200, user));
        assert!(world.kinds().is_empty());
    }
}

#[tokio::test]
async fn a_put_that_forgets_active_brings_nobody_back() {
    let world = World::new(ScimUser::UserName);
    let id = world.user("ada").await;
    let place = format!("/Users/{id}");
    world
        .patch(
            &place,
            json!([{ "op": "replace", "path": "active", "value": false }]),
        )
        .await;
    let mut body = new_user("ada");
    body.as_object_mut().unwrap().remove("active");
    let (status, user) = world.ask("PUT", &place, body).await;
    assert_eq!((status, &user["active"]), (200, &json!(false)));
    assert_eq!(world.standing("ada"), Standing::Inactive);
}

#[tokio::test]
async fn who_is_deactivated_is_not_made_anew_beside_it() {
    let world = World::new(ScimUser::ExternalId);
    let id = world.user("ada").await;
    world
        .patch(
            &format!("/Users/{id}"),
            json!([{ "op": "replace", "path": "active", "value": false }]),
        )
        .await;
    for (name, external) in [
        ("ada", "other"),
        ("ADA", "other"),
        ("ada2", "ext-ada"),
        ("ada2", "EXT-ADA"),
    ] {
        let mut body = new_user(name);
        body["externalId"] = json!(external);
        let (status, error) = world.ask("POST", "/Users", body).await;
        assert_eq!(
            (status, &error["scimType"]),
            (409, &json!("uniqueness")),
            "{name}"
        );
    }
    assert_eq!(world.standing("ext-ada"), Standing::Inactive);
    let mut body = new_user("grace");
    body.as_object_mut().unwrap().remove("externalId");
    let (status, error) = world.ask("POST", "/Users", body).await;
    assert_eq!((status, &error["scimType"]), (400, &json!("invalidValue")));
}

#[tokio::test]
async fn a_renamed_person_loses_what_the_old_name_had_open() {
    let world = World::new(ScimUser::UserName);
    let id = world.user("ada").await;
    let session = world.signed_in("ada").await;
    world
        .patch(
            &format!("/Users/{id}"),
            json!([{ "op": "replace", "path": "userName", "value": "ada.byron" }]),
        )
        .await;
    assert!(session.is_ended());
    assert_eq!(world.standing("ada"), Standing::Inactive);
    assert!(matches!(
        world.standing("ada.byron"),
        Standing::Active { .. }
    ));
}

#[tokio::test]
async fn patches_of_users_do_what_they_say() {
    let world = World::new(ScimUser::UserName);
    let id = world.user("ada").await;
    let place = format!("/Users/{id}");
    let (status, user) = world
        .patch(
            &place,
            json!([
                { "op": "Add", "path": "displayName", "value": "Ada" },
                { "op": "Replace", "path": "name.givenName", "value": "Augusta" },
                { "op": "Replace", "path": "emails[type eq \"work\"].value", "value": "a@corp.example" },
                { "op": "Add", "path": "emails[type eq \"home\"].value", "value": "h@home.example" },
                { "op": "Remove", "path": "name.formatted" },
                { "op": "Add", "path": "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department", "value": "x" },
                { "op": "Replace", "value": { "name.familyName": "King", "nickName": "A", "externalId": "7" } },
            ]),
        )
        .await;
    assert_eq!(status, 200, "{user}");
    assert_eq!(user["displayName"], "Ada");
    assert_eq!(
        user["name"],
        json!({ "givenName": "Augusta", "familyName": "King" })
    );
    assert_eq!(
        user["emails"],
        json!([
            { "value": "a@corp.example", "type": "work", "primary": true },
            { "value": "h@home.example", "type": "home", "primary": false },
        ])
    );
    assert_eq!(user["externalId"], "7");
    assert!(user.get("nickName").is_none() && !user.to_string().contains("department"));
    let (status, user) = world
        .patch(
            &place,
            json!([{ "op": "remove", "path": "emails[type eq \"home\"]" }]),
        )
        .await;
    assert_eq!((status, user["emails"].as_array().unwrap().len()), (200, 1));
}

#[tokio::test]
async fn a_patch_is_done_whole_or_not_at_all() {
    let world = World::new(ScimUser::UserName);
    let id = world.user("ada").await;
    let place = format!("/Users/{id}");
    let before = world.get(&place).await;
    for (operation, kind) in [
        (
            json!({ "op": "replace", "path": "shoeSize", "value": 1 }),
            "invalidPath",
        ),
        (
            json!({ "op": "replace", "path": "id", "value": "x" }),
            "mutability",
        ),
        (
            json!({ "op": "replace", "path": "groups", "value": [{ "value": "x" }] }),
            "mutability",
        ),
        (
            json!({ "op": "replace", "value": { "id": "x" } }),
            "mutability",
        ),
        (
            json!({ "op": "replace", "path": "active", "value": "maybe" }),
            "invalidValue",
        ),
        (
            json!({ "op": "remove", "path": "userName" }),
            "invalidValue",
        ),
        (json!({ "op": "remove", "path": "active" }), "invalidValue"),
        (json!({ "op": "remove" }), "noTarget"),
        (
            json!({ "op": "move", "path": "active", "value": true }),
            "invalidSyntax",
        ),
        (
            json!({ "op": "replace", "path": "active[", "value": true }),
            "invalidPath",
        ),
        (
            json!({ "op": "replace", "path": "emails.value", "value": "x" }),
            "invalidPath",
        ),
        (
            json!({ "op": "replace", "path": "userName", "value": "a\nb" }),
            "invalidValue",
        ),
        (
            json!({ "op": "replace", "path": "userName", "value": "a".repeat(257) }),
            "invalidValue",
        ),
        (json!({ "op": "replace", "value": "x" }), "invalidValue"),
    ] {
        let first = json!({ "op": "replace", "path": "displayName", "value": "changed" });
        let (status, error) = world.patch(&place, json!([first, operation.clone()])).await;
        assert_eq!(
            (status, &error["scimType"]),
            (400, &json!(kind)),
            "{operation}"
        );
    }
    assert_eq!(world.get(&place).await, before);
    assert_eq!(world.patch(&place, json!([])).await.0, 400);
    let bare = world
        .ask("PATCH", &place, json!({ "Operations": [] }))
        .await;
    assert_eq!(bare.0, 400);
}

#[tokio::test]
async fn groups_change_what_people_may_as_they_are_patched() {
    let world = World::new(ScimUser::UserName);
    let (ada, grace) = (world.user("ada").await, world.user("grace").await);
    let id = world.group("finance", &[&ada]).await;
    let place = format!("/Groups/{id}");
    assert_eq!(world.groups_of("ada"), ["finance"]);
    assert!(world.groups_of("grace").is_empty());
    let epoch = world.sessions.epoch();
    // Entra ID.
    let add = json!([{ "op": "Add", "path": "members", "value": [{ "value": grace }] }]);
    let (status, group) = world.patch(&place, add.clone()).await;
    assert_eq!(
        (status, group["members"].as_array().unwrap().len()),
        (200, 2)
    );
    assert!(world.sessions.epoch() > epoch, "leases are asked again");
    assert_eq!(world.patch(&place, add).await, (200, group));
    let old = json!([{ "op": "Remove", "path": "members", "value": [{ "value": grace }] }]);
    world.patch(&place, old).await;
    assert!(world.groups_of("grace").is_empty());
    // Okta.
    let rename = json!([{ "op": "replace", "value": { "id": id, "displayName": "Finance" } }]);
    let (status, group) = world.patch(&place, rename).await;
    assert_eq!((status, &group["displayName"]), (200, &json!("Finance")));
    assert_eq!(world.groups_of("ada"), ["Finance"]);
    let gone = json!([{ "op": "remove", "path": format!("members[value eq \"{ada}\"]") }]);
    assert_eq!(world.patch(&place, gone.clone()).await.0, 200);
    assert_eq!(world.patch(&place, gone).await.0, 200, "late or twice");
    assert!(world.groups_of("ada").is_empty());
    let set = json!([{ "op": "replace", "path": "members", "value": [{ "value": ada }, { "value": grace }] }]);
    world.patch(&place, set).await;
    assert_eq!(world.groups_of("grace"), ["Finance"]);
    let found = format!(
        "/Groups?filter=id+eq+%22{id}%22+and+members+eq+%22{ada}%22&excludedAttributes=members"
    );
    let found = world.get(&found).await;
    assert_eq!(found["totalResults"], 1);
    assert!(found["Resources"][0].get("members").is_none());
    assert_eq!(
        world.get(&format!("/Users/{ada}")).await["groups"][0]["display"],
        "Finance"
    );
    assert_eq!(world.ask("DELETE", &place, Value::Null).await.0, 204);
    assert!(world.groups_of("ada").is_empty());
}

#[tokio::test]
async fn groups_take_people_only_and_only_those_who_are_here() {
    let world = World::new(ScimUser::UserName);
    let ada = world.user("ada").await;
    let id = world.group("finance", &[]).await;
    let place = format!("/Groups/{id}");
    for stranger in [
        &id,
        "nobody",
        "../Users/1",
        &ada.to_uppercase().replace('0', "O"),
    ] {
        let add = json!([{ "op": "add", "path": "members", "value": [{ "value": ada }, { "value": stranger }] }]);
        let (status, error) = world.patch(&place, add).await;
        assert_eq!(
            (status, &error["scimType"]),
            (400, &json!("invalidValue")),
            "{stranger}"
        );
    }
    assert!(world.groups_of("ada").is_empty());
    let (status, _) = world
        .ask(
            "POST",
            "/Groups",
            json!({ "schemas": [group::SCHEMA], "displayName": "FINANCE" }),
        )
        .await;
    assert_eq!(status, 409);
}

#[tokio::test]
async fn a_hundred_thousand_members_are_refused() {
    let world = World::new(ScimUser::UserName);
    let members: Vec<Value> = (0..100_000)
        .map(|number| json!(format!("{number:032x}")))
        .collect();
    let body = json!({ "schemas": [group::SCHEMA], "displayName": "all", "members": members });
    let (status, _) = world.ask("POST", "/Groups", body).await;
    assert_eq!(status, 507);
    assert_eq!(world.get("/Groups").await["totalResults"], 0);
}

// Attack: the token of a provisioning system is no administrator's: what is not an attribute here is not written.
#[tokio::test]
async fn unknown_attributes_are_neither_kept_nor_obeyed() {
    let world = World::new(ScimUser::UserName);
    let mut body = new_user("ada");
    for (name, value) in [
        ("id", json!("chosen")),
        ("issuer", json!("other")),
        ("version", json!(99)),
        ("created", json!(0)),
        ("groups", json!([{ "value": "admins" }])),
        ("roles", json!([{ "value": "root" }])),
        ("password", json!("hunter2hunter2")),
        ("meta", json!({ "version": "W/\"9\"" })),
    ] {
        body[name] = value;
    }
    let (status, user) = world.ask("POST", "/Users", body).await;
    assert_eq!(status, 201);
    assert_eq!(user["id"], "00000000000000000000000000000001");
    assert_eq!(user["meta"]["version"], "W/\"1\"");
    let text = user.to_string();
    for word in ["admins", "root", "hunter2", "other", "chosen"] {
        assert!(!text.contains(word), "{word}");
    }
    assert_eq!(world.standing("ada"), Standing::Active { groups: None });
}

#[tokio::test]
async fn ids_of_other_kinds_and_paths_lead_nowhere() {
    let world = World::new(ScimUser::UserName);
    let user = world.user("ada").await;
    let group = world.group("finance", &[]).await;
    for path in [
        format!("/Users/{group}"),
        format!("/Groups/{user}"),
        format!("/Users/{user}/"),
        format!("/Users/{user}/x"),
        "/Users/..%2fGroups".to_owned(),
        "/Users/../ServiceProviderConfig".to_owned(),
        "/users".to_owned(),
        "/".to_owned(),
        String::new(),
        "/Users%00".to_owned(),
    ] {
        for method in ["GET", "DELETE", "PATCH"] {
            let (status, _) = world.ask(method, &path, Value::Null).await;
            assert_eq!(status, 404, "{method} {path}");
        }
    }
    assert!(matches!(world.standing("ada"), Standing::Active { .. }));
    for (method, path, status) in [
        ("POST", format!("/Users/{user}"), 405),
        ("DELETE", "/Users".to_owned(), 405),
        ("POST", "/Bulk".to_owned(), 501),
        ("GET", "/Me".to_owned(), 501),
    ] {
        assert_eq!(
            world.ask(method, &path, Value::Null).await.0,
            status,
            "{method} {path}"
        );
    }
    let elsewhere = world.raw("GET", "/Users", &[], Vec::new()).await;
    assert_eq!(elsewhere.status(), 404);
}

#[tokio::test]
async fn versions_are_compared_where_they_are_named() {
    let world = World::new(ScimUser::UserName);
    let id = world.user("ada").await;
    let path = format!("/scim/v2/Users/{id}");
    let patch = json!({
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
        "Operations": [{ "op": "replace", "path": "displayName", "value": "x" }],
    });
    let send = async |tag: &str| {
        let headers = [("content-type", "application/json"), ("if-match", tag)];
        let body = patch.to_string().into_bytes();
        world.raw("PATCH", &path, &headers, body).await
    };
    assert_eq!(send("W/\"7\"").await.status(), 412);
    let done = send("W/\"7\", W/\"1\"").await;
    assert_eq!(
        (done.status(), &done.headers()["etag"]),
        (StatusCode::OK, &"W/\"2\"".parse().unwrap())
    );
    assert_eq!(send("W/\"1\"").await.status(), 412);
    assert_eq!(send("*").await.status(), 200);
    let known = world
        .raw("GET", &path, &[("if-none-match", "W/\"2\"")], Vec::new())
        .await;
    assert_eq!(known.status(), 304);
    let gone = world
        .raw("DELETE", &path, &[("if-match", "W/\"1\"")], Vec::new())
        .await;
    assert_eq!(gone.status(), 412);
}

#[tokio::test]
async fn lists_come_in_pages() {
    let world = World::new(ScimUser::UserName);
    for number in 0..7 {
        world.user(&format!("u{number}")).await;
    }
    let names = |page: &Value| -> Vec<String> {
        let all = page["Resources"].as_array().unwrap().iter();
        all.map(|user| user["userName"].as_str().unwrap().to_owned())
            .collect()
    };
    let page = world.get("/Users?startIndex=3&count=2").await;
    assert_eq!(names(&page), ["u2", "u3"]);
    assert_eq!(
        (
            &page["totalResults"],
            &page["startIndex"],
            &page["itemsPerPage"]
        ),
        (&json!(7), &json!(3), &json!(2))
    );
    assert_eq!(
        names(&world.get("/Users?startIndex=-5&count=1").await),
        ["u0"]
    );
    assert!(names(&world.get("/Users?count=0").await).is_empty());
    assert!(names(&world.get("/Users?count=-1").await).is_empty());
    assert!(names(&world.get("/Users?startIndex=99999999999").await).is_empty());
    assert_eq!(names(&world.get("/Users?count=1000").await).len(), 7);
    for wrong in [
        "startIndex=x",
        "count=1e9",
        "count=1&count=2",
        "attributes=id&excludedAttributes=id",
        "filter=userName+pr",
    ] {
        assert_eq!(
            world
                .ask("GET", &format!("/Users?{wrong}"), Value::Null)
                .await
                .0,
            400,
            "{wrong}"
        );
    }
    let brief = world
        .get("/Users?count=1&attributes=userName,name.givenName")
        .await;
    insta::assert_json_snapshot!(brief["Resources"][0], @r#"
    {
      "schemas": [
        "urn:ietf:params:scim:schemas:core:2.0:User"
      ],
      "id": "00000000000000000000000000000001",
      "userName": "u0",
      "name": {
        "givenName": "given"
      }
    }
    "#);
}

#[tokio::test]
async fn bodies_are_read_strictly() {
    let world = World::new(ScimUser::UserName);
    let schema = user::SCHEMA;
    let twice = format!(r#"{{"schemas":["{schema}"],"userName":"a","userName":"b"}}"#);
    let spelled =
        format!(r#"{{"schemas":["{schema}"],"userName":"a","active":false,"Active":true}}"#);
    let bare = r#"{"userName":"a"}"#.to_owned();
    let deep = "[".repeat(200);
    for body in [
        twice,
        spelled,
        bare,
        deep,
        String::new(),
        "[]".to_owned(),
        "\u{0}".to_owned(),
    ] {
        let headers = [("content-type", "application/scim+json")];
        let answer = world
            .raw(
                "POST",
                "/scim/v2/Users",
                &headers,
                body.clone().into_bytes(),
            )
            .await;
        assert_eq!(answer.status(), 400, "{body}");
        assert_eq!(answer.headers()["content-type"], "application/scim+json");
    }
    for kind in ["text/plain", "application/x-www-form-urlencoded", ""] {
        let body = new_user("a").to_string().into_bytes();
        let answer = world
            .raw("POST", "/scim/v2/Users", &[("content-type", kind)], body)
            .await;
        assert_eq!(answer.status(), 415, "{kind}");
    }
    assert_eq!(world.get("/Users").await["totalResults"], 0);
}

#[tokio::test]
async fn what_is_supported_is_said() {
    let world = World::new(ScimUser::UserName);
    let config = world.get("/ServiceProviderConfig").await;
    assert_eq!(
        (&config["bulk"]["supported"], &config["patch"]["supported"]),
        (&json!(false), &json!(true))
    );
    assert_eq!(world.get("/ResourceTypes").await["totalResults"], 2);
    assert_eq!(
        world.get("/ResourceTypes/Group").await["endpoint"],
        "/Groups"
    );
    assert_eq!(
        world.get(&format!("/Schemas/{}", user::SCHEMA)).await["name"],
        "User"
    );
    assert_eq!(world.ask("GET", "/Schemas/x", Value::Null).await.0, 404);
    assert_eq!(
        world
            .ask("GET", "/Schemas?filter=id+eq+%22x%22", Value::Null)
            .await
            .0,
        403
    );
}

#[tokio::test]
async fn the_built_in_provider_gets_accounts() {
    let world = World::built_in();
    let accounts = world.accounts.clone().unwrap();
    let id = world.user("Ada").await;
    let place = format!("/Users/{id}");
    let account = accounts.get("ada").unwrap();
    assert_eq!(
        (account.email.as_deref(), account.external_id.as_deref()),
        (Some("Ada@corp.example"), Some("ext-Ada"))
    );
    let group = world.group("finance", &[&id]).await;
    assert_eq!(*accounts.get("ada").unwrap().groups, ["finance".into()]);
    let session = world.signed_in("ada").await;
    let (status, _) = world
        .patch(
            &place,
            json!([{ "op": "replace", "path": "active", "value": "False" }]),
        )
        .await;
    assert_eq!(status, 200);
    assert!(session.is_ended() && !accounts.get("ada").unwrap().active);
    assert_eq!(world.standing("ada"), Standing::Inactive);
    world
        .patch(
            &place,
            json!([{ "op": "replace", "path": "active", "value": "True" }]),
        )
        .await;
    assert!(accounts.get("ada").unwrap().active);
    // An administrator disables it, too: what does not speak of it does not undo that.
    accounts
        .disable("ada", masugata_idp::Actor::Administrator, 0)
        .await
        .unwrap();
    world
        .patch(
            &place,
            json!([{ "op": "replace", "path": "displayName", "value": "Ada L" }]),
        )
        .await;
    let account = accounts.get("ada").unwrap();
    assert!(!account.active && &*account.display_name == "Ada L");
    let (status, error) = world
        .patch(
            &place,
            json!([{ "op": "replace", "path": "userName", "value": "eve" }]),
        )
        .await;
    assert_eq!((status, &error["scimType"]), (400, &json!("mutability")));
    assert_eq!(
        world
            .ask("DELETE", &format!("/Groups/{group}"), Value::Null)
            .await
            .0,
        204
    );
    assert!(accounts.get("ada").unwrap().groups.is_empty());
    assert_eq!(world.ask("DELETE", &place, Value::Null).await.0, 204);
    assert!(accounts.get("ada").is_none());
    // Names are never given out again.
    let (status, error) = world.ask("POST", "/Users", new_user("ada")).await;
    assert_eq!((status, &error["scimType"]), (409, &json!("uniqueness")));
    // Somebody whom an administrator made is taken over.
    let new = masugata_idp::NewAccount {
        user: "grace".to_owned(),
        ..Default::default()
    };
    accounts
        .add(new, masugata_idp::Actor::Administrator, 0)
        .await
        .unwrap();
    world.user("grace").await;
    assert_eq!(
        accounts.get("grace").unwrap().external_id.as_deref(),
        Some("ext-grace")
    );
}

#[test]
fn one_bearer_token_is_read_and_nothing_else() {
    let read = |values: &[&str]| {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, value.parse().unwrap());
        }
        bearer(&headers)
            .map(str::to_owned)
            .map_err(|denial| denial.reason)
    };
    assert_eq!(read(&["Bearer abc"]), Ok("abc".to_owned()));
    assert_eq!(read(&["bearer  abc "]), Ok("abc".to_owned()));
    assert_eq!(read(&[]), Err(DenialReason::CredentialMissing));
    for wrong in [
        &["Basic abc"][..],
        &["Bearer"],
        &["Bearer "],
        &["abc"],
        &["Bearer a", "Bearer b"],
    ] {
        assert_eq!(
            read(wrong),
            Err(DenialReason::CredentialMalformed),
            "{wrong:?}"
        );
    }
}

#[test]
fn other_addresses_are_told_that_there_is_nothing() {
    let scim = |addresses: &[&str]| Scim {
        host: "scim.corp.example".to_owned(),
        issuer: "corp".to_owned(),
        tokens: Vec::new(),
        token_issuer: None,
        addresses: addresses
            .iter()
            .map(|range| range.parse().unwrap())
            .collect(),
        user: ScimUser::UserName,
    };
    let from = |scim: &Scim, client: &str| {
        let checked = check_address(scim, client.parse().unwrap());
        checked.map_err(|denial| denial.reason)
    };
    assert_eq!(from(&scim(&[]), "203.0.113.9"), Ok(()));
    let some = scim(&["203.0.113.0/24", "2001:db8::/32"]);
    assert_eq!(from(&some, "203.0.113.9"), Ok(()));
    assert_eq!(from(&some, "2001:db8::9"), Ok(()));
    assert_eq!(
        from(&some, "198.51.100.9"),
        Err(DenialReason::RouteNotFound)
    );
}

#[tokio::test]
async fn group_changes_name_who_joined_and_left() {
    let world = World::new(ScimUser::UserName);
    let (ada, grace) = (world.user("ada").await, world.user("grace").await);
    let id = world.group("finance", &[&ada]).await;
    world.recorded.lock().unwrap().clear();
    let set = json!([{ "op": "replace", "path": "members", "value": [{ "value": grace }] }]);
    world.patch(&format!("/Groups/{id}"), set).await;
    let events = world.recorded.lock().unwrap();
    let [event] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!(event.kind, PersonKind::AccountChanged);
    assert_eq!(event.by, Actor::Scim);
    assert_eq!(
        event.detail.as_deref(),
        Some("group `finance` changed; joined (1): grace; left (1): ada")
    );
}
