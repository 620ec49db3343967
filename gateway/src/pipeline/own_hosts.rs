//! Hosts of the first door on which the gateway itself answers for the second: proxy auto-configuration for programs, and
//! *why was this blocked?* for people, with how to set programs up and passwords for those that need one.

mod password;
mod people;

use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode};
use http_body_util::{BodyExt as _, Limited};

use super::authenticate;
use crate::audit::trail::Facts;
use crate::denial::{Denial, DenialReason};
use crate::destination::pac::CONTENT_TYPE as CONTENT_TYPE_OF_PAC;
use crate::egress::pages::{form, setup, why};
use crate::egress::setup::SetupFacts;
use crate::exchange::Exchange;
use crate::framing;
use crate::gateway::Shared;
use crate::respond::Preferences;
use crate::state::{EgressState, State};
pub(super) use people::{Own, answer as own};

/// A proxy auto-configuration file, if that is what was asked for. Public: a browser asks before it can show anything.
pub(super) fn pac(egress: &EgressState, head: &Parts, host: &str) -> Option<Response<Bytes>> {
    let pac = egress.config.pac.as_ref().filter(|pac| pac.host == host)?;
    if head.method != Method::GET && head.method != Method::HEAD {
        return None;
    }
    let name = head.uri.path().strip_prefix('/')?.strip_suffix(".pac")?;
    let place = pac.files.iter().position(|file| file.name == name)?;
    let script = egress.pac.get(place)?;
    let known = head.headers.get_all(IF_NONE_MATCH).iter();
    let mut response = Response::new(Bytes::new());
    if known.into_iter().any(|known| names(known, &script.tag)) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    } else {
        *response.body_mut() = script.text.clone();
        response
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE_OF_PAC));
    }
    let headers = response.headers_mut();
    headers.insert(ETAG, script.tag.clone());
    headers.insert(
        CACHE_CONTROL,
        HeaderValue::from_static("public, max-age=300"),
    );
    Some(response)
}

/// RFC 9110 §13.1.2: a list of tags, compared weakly, or a star.
fn names(list: &HeaderValue, tag: &HeaderValue) -> bool {
    list.as_bytes().split(|byte| *byte == b',').any(|one| {
        let one = one.trim_ascii();
        one == b"*" || one.strip_prefix(b"W/").unwrap_or(one) == tag.as_bytes()
    })
}

/// How long the form may take to arrive.
const PATIENCE: Duration = Duration::from_secs(10);

/// Answers on `why_host`. A device sees its own refusals and nobody else's; no policy is asked, because whoever is refused
/// everything must still be told why.
pub(super) async fn why(
    shared: &Shared,
    state: &State,
    egress: &EgressState,
    exchange: Box<Exchange>,
    facts: &mut Facts,
) -> Result<Response<Bytes>, Denial> {
    let Exchange {
        connection,
        head,
        body,
        received_at: now,
        ..
    } = *exchange;
    let body = body.into_inner().ok_or(DenialReason::Internal)?;
    let device = authenticate::device::establish(state, &connection, now)?;
    facts.device = Some(device.clone());
    let device = device.id();
    let preferences = Preferences::of(&head);
    let page = why::Why {
        brand: &state.brand,
        device,
        refusals: &egress.refusals,
        form: &egress.form,
        now: state.zone.now(now),
    };
    let reads = head.method == Method::GET || head.method == Method::HEAD;
    match (head.uri.path(), &head.method) {
        ("/", _) if reads => return Ok(why::page(&page, None, preferences)),
        (why::REASON_PATH, &Method::POST) => {}
        (password::PATH, &Method::POST) => {
            let asked = password::Asked {
                connection: &connection,
                headers: &head.headers,
                now,
            };
            return password::issue(shared, state, egress, &asked, facts).await;
        }
        ("/" | why::REASON_PATH | password::PATH, _) => {
            return Err(DenialReason::MethodNotAllowed.into());
        }
        (path, _) => {
            let asked = setup::asked(path).ok_or(DenialReason::RouteNotFound)?;
            if !reads {
                return Err(DenialReason::MethodNotAllowed.into());
            }
            return set_up(state, egress, asked, head.uri.query(), preferences);
        }
    }
    let collected = Limited::new(body, form::LONGEST).collect();
    let body = match tokio::time::timeout(PATIENCE, collected).await {
        Ok(Ok(collected)) => collected.to_bytes(),
        Ok(Err(_)) | Err(_) => return Err(DenialReason::RequestMalformed.into()),
    };
    let written = framing::parse(&head)?.written;
    let refusals = egress.refusals.of(device);
    match form::read(&head, written, &body, &egress.form, device, &refusals, now) {
        Ok(reason) => {
            egress.refusals.give_reason(device, &reason.domain, now);
            let owner = authenticate::owner_of(state, &connection);
            let user = owner.map(|owner| owner.id());
            shared.record("reason-given", reason.detail(device, user));
            Ok(why::taken())
        }
        Err(refused) => Ok(why::page(&page, Some(&refused), preferences)),
    }
}

/// How programs are told to come through this door.
fn set_up(
    state: &State,
    egress: &EgressState,
    asked: setup::Asked,
    query: Option<&str>,
    preferences: Preferences,
) -> Result<Response<Bytes>, Denial> {
    let file = query.and_then(|query| query.strip_prefix("pac="));
    let facts = SetupFacts::of(&state.config, file).ok_or(DenialReason::RouteNotFound)?;
    let files = egress.config.pac.iter().flat_map(|pac| &pac.files);
    let files: Vec<&str> = files.map(|file| file.name.as_str()).collect();
    let page = setup::Setup {
        brand: &state.brand,
        facts: &facts,
        files: &files,
        file,
    };
    Ok(setup::page(&page, asked, preferences))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_found_in_any_list() {
        let tag = HeaderValue::from_static("\"a1\"");
        for list in ["\"a1\"", "W/\"a1\"", "\"b2\", \"a1\"", "*"] {
            assert!(names(&HeaderValue::from_static(list), &tag), "{list}");
        }
        for list in ["", "a1", "\"a10\"", "\"b2\""] {
            assert!(!names(&HeaderValue::from_static(list), &tag), "{list}");
        }
    }
}
