//! SCIM 2.0 (RFC 7643, RFC 7644): another system provisions people and groups, and takes them away again. What Entra ID and
//! Okta send is taken as they send it; what is not understood is refused, never half done.
//!
//! A request is judged in this order: address, token, what it asks for. Changes are made one at a time, are carried out even
//! if nobody waits for the answer, count before the answer is sent, and may be sent again.

mod attributes;
mod change;
mod documents;
mod error;
mod filter;
mod group;
mod keys;
mod patch;
mod query;
mod render;
#[cfg(test)]
mod tests;
mod user;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, IF_MATCH, IF_NONE_MATCH};
use http::request::Parts;
use http::{HeaderMap, HeaderName, Method, Response, StatusCode};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};

use crate::audit::event::Actor;
use crate::audit::trail::Facts;
use crate::capability::Entropy;
use crate::config::sign_in::{Scim, ScimUser};
use crate::control::desk::{Desk, Note};
use crate::denial::{Denial, DenialReason};
use crate::exchange::Exchange;
use crate::gateway::Shared;
use crate::issuer::parse_object;
use crate::limits::lockout::{self, Failed, Source};
use crate::people::{Basis, Group, People, Person};
use crate::state::State;

use attributes::Attributes;
use error::{Kind, ScimError};
use filter::Filter;
pub(crate) use keys::Keys;
use query::Query;
use render::Wanted;

/// Bytes of the longest body.
const LONGEST: usize = 1024 * 1024;

/// How long a body may take to arrive.
const PATIENCE: Duration = Duration::from_secs(15);

const BASE: &str = "/scim/v2";

/// Answers on `scim.host`, where nothing else is. `client` is the client's address as the gateway believes it.
///
/// # Errors
/// A [`Denial`] for whoever may not ask at all; everything else is answered in the protocol's own words.
pub(crate) async fn answer(
    shared: &Arc<Shared>,
    state: &State,
    exchange: Box<Exchange>,
    facts: &mut Facts,
) -> Result<Response<Bytes>, Denial> {
    let (Some(scim), Some(keys)) = (&state.config.scim, &state.scim) else {
        return Err(DenialReason::RouteNotFound.into());
    };
    let (client, _) = state.client_address(&exchange.connection, &exchange.head.headers);
    check_address(scim, client)?;
    let now = exchange.received_at;
    authenticate(shared, keys, &exchange, client, facts).await?;
    let Exchange {
        id,
        connection,
        head,
        body,
        ..
    } = *exchange;
    if !matches!(head.method, Method::GET | Method::HEAD) && !shared.auditor.healthy() {
        return Err(DenialReason::AuditUnavailable.into());
    }
    let desk = shared.desk(state);
    let people = desk.people.clone().ok_or(DenialReason::Internal)?;
    let basis = Basis::of(&state.config).ok_or(DenialReason::Internal)?;
    let own = state.config.identity_provider.as_ref();
    let clerk = Arc::new(Clerk {
        people,
        built_in: own.is_some_and(|own| own.name == *basis.issuer),
        issuer: basis.issuer,
        user: basis.user,
        base: format!("{}{BASE}", state.config.ingress.origin_of(&scim.host)),
        note: Note {
            at: now,
            by: Actor::Scim,
            client: Some(connection.remote),
            request: Some(id),
            detail: None,
        },
        entropy: Arc::clone(&shared.entropy),
        desk,
    });
    let body = body.into_inner().ok_or(DenialReason::Internal)?;
    let collected = Limited::new(body, LONGEST).collect();
    let body = match tokio::time::timeout(PATIENCE, collected).await {
        Ok(Ok(collected)) => collected.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => return Ok(too_large().response()),
        Ok(Err(_)) | Err(_) => return Err(DenialReason::RequestMalformed.into()),
    };
    let response = clerk.answer(Request::of(head, body)).await;
    shared.metrics.scim_answered(response.status());
    Ok(response)
}

fn too_large() -> ScimError {
    let detail = format!("the body has more than {LONGEST} bytes");
    ScimError::new(StatusCode::PAYLOAD_TOO_LARGE, detail)
}

/// Whoever asks from elsewhere learns nothing, not even that there is something.
fn check_address(scim: &Scim, client: IpAddr) -> Result<(), Denial> {
    let from = &scim.addresses;
    if from.is_empty() || from.iter().any(|range| range.contains(&client)) {
        return Ok(());
    }
    let denial = Denial::new(DenialReason::RouteNotFound);
    Err(denial.with_detail("not an address that may provision people"))
}

async fn authenticate(
    shared: &Shared,
    keys: &Keys,
    exchange: &Exchange,
    client: IpAddr,
    facts: &mut Facts,
) -> Result<(), Denial> {
    let token = bearer(&exchange.head.headers)?;
    // Before the lock is looked at: a stranger at the same address must not keep out whoever has the token.
    if keys.has(token) {
        return Ok(());
    }
    let (source, instant) = (Source::Address(client.into()), shared.clock.monotonic());
    shared.lockout.check(&source, instant)?;
    let denial = match &keys.issuers {
        None => Denial::new(DenialReason::CredentialInvalid).with_detail("not a token of SCIM"),
        Some(issuers) => {
            // Not bound to a certificate: there is none on this host.
            match Box::pin(issuers.verify(token, None, exchange.received_at)).await {
                Ok(identity) => {
                    facts.principal = Some(Arc::clone(identity.principal()));
                    facts.authentication = Some(Arc::clone(identity.authentication()));
                    return Ok(());
                }
                Err(error) => Denial::from(error),
            }
        }
    };
    if lockout::counts_as_failure(denial.reason)
        && let Failed::Locked(time) = shared.lockout.failed(&source, instant)
    {
        shared.record("locked-out", format!("{source} for {} s", time.as_secs()));
    }
    Err(denial)
}

/// The one token of a request (RFC 6750 §2.1).
fn bearer(headers: &HeaderMap) -> Result<&str, Denial> {
    let malformed =
        |what: &'static str| Denial::new(DenialReason::CredentialMalformed).with_detail(what);
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().ok_or(DenialReason::CredentialMissing)?;
    if values.next().is_some() {
        return Err(malformed("more than one credential"));
    }
    let text = value.to_str().ok();
    let (scheme, token) = text
        .and_then(|text| text.split_once(' '))
        .ok_or_else(|| malformed("not a bearer token"))?;
    let token = token.trim_matches(' ');
    if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() {
        return Err(malformed("not a bearer token"));
    }
    Ok(token)
}

/// A request that may be made.
struct Request {
    method: Method,
    path: String,
    query: Option<String>,
    headers: HeaderMap,
    body: Bytes,
}

impl Request {
    fn of(head: Parts, body: Bytes) -> Self {
        Self {
            method: head.method,
            path: head.uri.path().to_owned(),
            query: head.uri.query().map(str::to_owned),
            headers: head.headers,
            body,
        }
    }

    /// The body as an object that names nothing twice.
    fn object(&self) -> Result<Attributes, ScimError> {
        let kind = self.headers.get(CONTENT_TYPE);
        let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        let known = ["application/scim+json", "application/json"];
        if !known.iter().any(|known| kind.eq_ignore_ascii_case(known)) {
            let detail = "send application/scim+json";
            return Err(ScimError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
        }
        let object = parse_object(&self.body).ok_or_else(|| {
            let detail = "the body is no JSON object, or names a member twice";
            ScimError::of(Kind::InvalidSyntax, detail)
        })?;
        Attributes::of(object)
    }

    /// Whether one of the tags in that field is of this version; `None` without the field.
    fn names(&self, field: &HeaderName, version: u64) -> Option<bool> {
        let mut values = self.headers.get_all(field).iter().peekable();
        values.peek()?;
        let tag = render::tag(version);
        let bare = tag.trim_start_matches("W/");
        Some(values.any(|list| {
            let list = list.to_str().unwrap_or_default();
            list.split(',')
                .map(str::trim)
                .any(|one| one == "*" || one.strip_prefix("W/").unwrap_or(one) == bare)
        }))
    }

    /// Nobody changed it since whoever asks has seen it (RFC 7644 §3.14).
    fn check_version(&self, version: u64) -> Result<(), ScimError> {
        if self.names(&IF_MATCH, version) == Some(false) {
            let detail = "it was changed meanwhile";
            return Err(ScimError::new(StatusCode::PRECONDITION_FAILED, detail));
        }
        Ok(())
    }
}

/// Whoever carries out one request.
struct Clerk {
    desk: Desk,
    people: Arc<People>,
    /// Whose people are provisioned.
    issuer: Box<str>,
    user: ScimUser,
    /// The issuer is the built-in provider: people get accounts.
    built_in: bool,
    /// Where resources are.
    base: String,
    note: Note,
    entropy: Arc<dyn Entropy>,
}

/// What of a request's path says which resource is meant.
enum Place<'a> {
    Users(Option<&'a str>),
    Groups(Option<&'a str>),
}

impl Clerk {
    async fn answer(self: Arc<Self>, request: Request) -> Response<Bytes> {
        let done = match request.method {
            Method::GET | Method::HEAD => {
                tokio::task::spawn_blocking(move || self.look(&request)).await
            }
            // A task of its own: what is begun is carried through when the client goes away.
            _ => tokio::spawn(async move { self.change(&request).await }).await,
        };
        let answer = done.unwrap_or_else(|error| Err(ScimError::internal(&error)));
        answer.unwrap_or_else(|error| error.response())
    }

    fn place<'r>(&self, request: &'r Request) -> Result<Place<'r>, ScimError> {
        let rest = request.path.strip_prefix(BASE);
        let rest = rest.and_then(|rest| rest.strip_prefix('/'));
        let (kind, id) = match rest.map(|rest| rest.split_once('/').unwrap_or((rest, ""))) {
            Some((kind, "")) => (kind, None),
            Some((kind, id)) => (kind, Some(id)),
            None => return Err(ScimError::not_found()),
        };
        match kind {
            "Users" => Ok(Place::Users(id)),
            "Groups" => Ok(Place::Groups(id)),
            "Me" | "Bulk" => {
                let detail = "this is not supported";
                Err(ScimError::new(StatusCode::NOT_IMPLEMENTED, detail))
            }
            _ => Err(ScimError::not_found()),
        }
    }

    fn look(&self, request: &Request) -> Result<Response<Bytes>, ScimError> {
        let query = Query::parse(request.query.as_deref())?;
        if let Some(document) = self.document(request, &query)? {
            return Ok(document);
        }
        let wanted = Wanted::of(&query)?;
        match self.place(request)? {
            Place::Users(None) => self.users(&query, &wanted),
            Place::Groups(None) => self.groups(&query, &wanted),
            Place::Users(Some(id)) => {
                let found = self.people.turn().person(&self.issuer, id);
                let person = found.ok_or_else(ScimError::not_found)?;
                if request.names(&IF_NONE_MATCH, person.version) == Some(true) {
                    return Ok(render::empty(StatusCode::NOT_MODIFIED));
                }
                Ok(self.one_user(StatusCode::OK, &person, &wanted))
            }
            Place::Groups(Some(id)) => {
                let found = self.people.turn().group(&self.issuer, id);
                let group = found.ok_or_else(ScimError::not_found)?;
                if request.names(&IF_NONE_MATCH, group.version) == Some(true) {
                    return Ok(render::empty(StatusCode::NOT_MODIFIED));
                }
                Ok(self.one_group(StatusCode::OK, &group, &wanted))
            }
        }
    }

    /// About the service itself.
    fn document(
        &self,
        request: &Request,
        query: &Query,
    ) -> Result<Option<Response<Bytes>>, ScimError> {
        let rest = request.path.strip_prefix(BASE).unwrap_or_default();
        let listed = |documents: Vec<serde_json::Value>| {
            // RFC 7644 §4: a filter there must not be ignored.
            if query.filter.is_some() {
                let detail = "these are not searched";
                return Err(ScimError::new(StatusCode::FORBIDDEN, detail));
            }
            Ok(Some(render::list(documents.len(), 1, documents)))
        };
        let named = |documents: Vec<serde_json::Value>, id: &str| {
            let of_id = |document: &&serde_json::Value| {
                let named = document.get("id").and_then(serde_json::Value::as_str);
                named.is_some_and(|named| named.eq_ignore_ascii_case(id))
            };
            let found = documents.iter().find(of_id);
            let found = found.ok_or_else(ScimError::not_found)?;
            Ok(Some(render::answer(StatusCode::OK, found)))
        };
        match rest {
            "/ServiceProviderConfig" => {
                let document = documents::service_provider_config(&self.base);
                Ok(Some(render::answer(StatusCode::OK, &document)))
            }
            "/ResourceTypes" => listed(documents::resource_types(&self.base)),
            "/Schemas" => listed(documents::schemas(&self.base)),
            rest => match (
                rest.strip_prefix("/ResourceTypes/"),
                rest.strip_prefix("/Schemas/"),
            ) {
                (Some(id), _) => named(documents::resource_types(&self.base), id),
                (_, Some(id)) => named(documents::schemas(&self.base), id),
                (None, None) => Ok(None),
            },
        }
    }

    fn users(&self, query: &Query, wanted: &Wanted) -> Result<Response<Bytes>, ScimError> {
        let filter = query.filter.as_deref();
        let filter = filter
            .map(|filter| Filter::parse(filter, user::SEARCHABLE))
            .transpose()?;
        let turn = self.people.turn();
        let found: Vec<Arc<Person>> = match &filter {
            None => turn.persons(&self.issuer).cloned().collect(),
            Some(filter) => {
                let holds =
                    |person: &Arc<Person>| filter.holds(|clause| user::matches(person, clause));
                // What provisioning systems ask before each change need not be looked for among all.
                if let Some(name) = filter.wants("username") {
                    let found = turn.person_named(&self.issuer, name);
                    found.into_iter().filter(holds).collect()
                } else if let Some(id) = filter.wants("id") {
                    let found = turn.person(&self.issuer, id);
                    found.into_iter().filter(holds).collect()
                } else {
                    let all = turn.persons(&self.issuer);
                    all.filter(|person| holds(person)).cloned().collect()
                }
            }
        };
        let page = found.iter().skip(query.from - 1).take(query.count);
        let page = page.map(|person| {
            let groups = || turn.groups_of(&person.id);
            user::render(person, groups, &self.base, wanted)
        });
        Ok(render::list(found.len(), query.from, page.collect()))
    }

    fn groups(&self, query: &Query, wanted: &Wanted) -> Result<Response<Bytes>, ScimError> {
        let filter = query.filter.as_deref();
        let filter = filter
            .map(|filter| Filter::parse(filter, group::SEARCHABLE))
            .transpose()?;
        let turn = self.people.turn();
        let holds = |it: &&Arc<Group>| {
            let filter = filter.as_ref();
            filter.is_none_or(|filter| filter.holds(|clause| group::matches(it, clause)))
        };
        let found: Vec<Arc<Group>> = turn.groups(&self.issuer).filter(holds).cloned().collect();
        let display = |id: &str| {
            let person = turn.person(&self.issuer, id);
            person.map(|person| person.user_name.clone())
        };
        let page = found.iter().skip(query.from - 1).take(query.count);
        let page = page.map(|it| group::render(it, display, &self.base, wanted));
        Ok(render::list(found.len(), query.from, page.collect()))
    }

    fn one_user(&self, status: StatusCode, person: &Person, wanted: &Wanted) -> Response<Bytes> {
        let place = format!("{}/Users/{}", self.base, person.id);
        let groups = || self.people.turn().groups_of(&person.id);
        let user = user::render(person, groups, &self.base, wanted);
        let place = (status == StatusCode::CREATED).then_some(&*place);
        render::one(status, &user, person.version, place)
    }

    fn one_group(&self, status: StatusCode, it: &Group, wanted: &Wanted) -> Response<Bytes> {
        let place = format!("{}/Groups/{}", self.base, it.id);
        let turn = self.people.turn();
        let display = |id: &str| {
            let person = turn.person(&self.issuer, id);
            person.map(|person| person.user_name.clone())
        };
        let group = group::render(it, display, &self.base, wanted);
        let place = (status == StatusCode::CREATED).then_some(&*place);
        render::one(status, &group, it.version, place)
    }

    async fn change(&self, request: &Request) -> Result<Response<Bytes>, ScimError> {
        let wanted = Wanted::of(&Query::parse(request.query.as_deref())?)?;
        let place = self.place(request)?;
        // One after the other: what is read here is still so when it is written.
        let _turn = self.people.one_at_a_time().await;
        match (&request.method, place) {
            (&Method::POST, Place::Users(None)) => {
                let mut person = self.new_person();
                user::read(&mut person, request.object()?)?;
                let person = self.put_person(None, person).await?;
                Ok(self.one_user(StatusCode::CREATED, &person, &wanted))
            }
            (&Method::POST, Place::Groups(None)) => {
                let mut group = self.new_group();
                group::read(&mut group, request.object()?)?;
                let group = self.put_group(None, group).await?;
                Ok(self.one_group(StatusCode::CREATED, &group, &wanted))
            }
            (method, Place::Users(Some(id))) => {
                let issuer = self.issuer.clone();
                let id: Box<str> = id.into();
                let found = self
                    .in_turn(move |turn| Ok(turn.person(&issuer, &id)))
                    .await?;
                let before = found.ok_or_else(ScimError::not_found)?;
                request.check_version(before.version)?;
                let mut after = Person::clone(&before);
                match *method {
                    Method::PUT => user::read(&mut after, request.object()?)?,
                    Method::PATCH => {
                        for operation in patch::read(request.object()?)? {
                            user::apply(&mut after, operation)?;
                        }
                    }
                    Method::DELETE => {
                        self.remove_person(before).await?;
                        return Ok(render::empty(StatusCode::NO_CONTENT));
                    }
                    _ => return Err(not_allowed()),
                }
                let person = self.put_person(Some(before), after).await?;
                Ok(self.one_user(StatusCode::OK, &person, &wanted))
            }
            (method, Place::Groups(Some(id))) => {
                let issuer = self.issuer.clone();
                let id: Box<str> = id.into();
                let found = self
                    .in_turn(move |turn| Ok(turn.group(&issuer, &id)))
                    .await?;
                let before = found.ok_or_else(ScimError::not_found)?;
                request.check_version(before.version)?;
                let mut after = Group::clone(&before);
                match *method {
                    Method::PUT => group::read(&mut after, request.object()?)?,
                    Method::PATCH => {
                        for operation in patch::read(request.object()?)? {
                            group::apply(&mut after, operation)?;
                        }
                    }
                    Method::DELETE => {
                        self.remove_group(before).await?;
                        return Ok(render::empty(StatusCode::NO_CONTENT));
                    }
                    _ => return Err(not_allowed()),
                }
                let group = self.put_group(Some(before), after).await?;
                Ok(self.one_group(StatusCode::OK, &group, &wanted))
            }
            (_, Place::Users(None) | Place::Groups(None)) => Err(not_allowed()),
        }
    }

    fn new_person(&self) -> Person {
        let now = self.note.at.as_millis();
        Person {
            id: self.new_id(),
            issuer: self.issuer.clone(),
            user_name: Box::default(),
            external_id: None,
            active: true,
            display_name: None,
            formatted_name: None,
            given_name: None,
            family_name: None,
            emails: Vec::new(),
            created: now,
            modified: now,
            version: 1,
        }
    }

    fn new_group(&self) -> Group {
        let now = self.note.at.as_millis();
        Group {
            id: self.new_id(),
            issuer: self.issuer.clone(),
            display_name: Box::default(),
            external_id: None,
            members: std::collections::BTreeSet::new(),
            created: now,
            modified: now,
            version: 1,
        }
    }

    /// 128 random bits: never given twice, and says nothing.
    fn new_id(&self) -> Box<str> {
        let mut bytes = [0; 16];
        self.entropy.fill(&mut bytes);
        format!("{:032x}", u128::from_be_bytes(bytes)).into()
    }
}

fn not_allowed() -> ScimError {
    let detail = "that cannot be done with this";
    ScimError::new(StatusCode::METHOD_NOT_ALLOWED, detail)
}
