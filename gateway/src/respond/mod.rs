//! Answers that the gateway gives itself: refusals, and failures of the apps behind it; as a page for people and as
//! `application/problem+json` for programs, in Japanese or English.
//!
//! The client learns the code, the request id, one sentence and what to do. Policy names and details stay in the record.

mod brand;
mod frame;
mod logo;
mod negotiate;
mod page;
mod problem;
mod proxy_status;
mod site;
mod style;
mod text;

#[cfg(test)]
mod tests;

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};

pub use negotiate::{Format, Language, Preferences};

use masugata_policy::{Guidance, PostureFault};

use crate::connection::Door;
use crate::denial::{Denial, DenialReason};
use crate::exchange::RequestId;
use page::Page;
use text::Words;

pub use brand::Brand;
pub(crate) use brand::Powers;
pub(crate) use frame::{Escaped, Framed, Host};
use problem::Problem;
pub(crate) use text::{of_posture, posture_name, posture_remedy};

/// An app or a site that did not answer as it should, in the words of its record.
#[derive(Clone, Copy, Debug)]
pub struct UpstreamFailure {
    /// The stable code, kebab-case.
    pub code: &'static str,
    /// 408, 502, 503 or 504.
    pub status: StatusCode,
    /// An error type of RFC 9209 §2.3, e.g. `connection_timeout`.
    pub error: &'static str,
    pub retry_after: Option<Duration>,
}

/// The answer to a refused request. `challenge` are the `WWW-Authenticate` fields of a 401; a 401 without one gets a plain
/// `Bearer`, because RFC 9110 §15.5.2 demands one. At the egress it is a 407 with `Proxy-Authenticate` (§15.5.8), since a
/// `WWW-Authenticate` would be taken for the origin's.
pub fn denial(
    denial: &Denial,
    preferences: Preferences,
    id: RequestId,
    brand: &Brand,
    challenge: Vec<HeaderValue>,
    door: Door,
) -> Response<Bytes> {
    let reason = denial.reason;
    let language = preferences.language;
    let words = words_of(reason, language, door);
    let guidance = Guided::of(denial.guidance.as_deref(), language);
    let setting = denial.posture.map(|fault| Setting::of(fault, language));
    let mut response = render(
        &Answer {
            status: status_at(door, reason),
            code: reason.code(),
            kind: "denial",
            title: words.title,
            what: guidance.reason.unwrap_or(words.what),
            remedy: guidance.remedy.unwrap_or(words.remedy),
            setting,
            retry_after: denial.retry_after,
            error: proxy_status::error_type(reason),
        },
        preferences,
        id,
        (brand, host_at(door)),
    );
    demand(response.status(), response.headers_mut(), challenge);
    denial_headers(response.headers_mut(), reason, preferences, door);
    response
}

/// The status of a refusal as the client of a door is told it.
pub(crate) fn status_at(door: Door, reason: DenialReason) -> StatusCode {
    match (door, reason.status()) {
        // RFC 9110 §15.5.8: a program with no better one left must hear what would be taken, and a person who mistyped a
        // password be asked for it again.
        (Door::Egress, _) if reason == DenialReason::CredentialMalformed => {
            StatusCode::PROXY_AUTHENTICATION_REQUIRED
        }
        (Door::Egress, StatusCode::UNAUTHORIZED) => StatusCode::PROXY_AUTHENTICATION_REQUIRED,
        // RFC 9110 §15.5.20: a proxy never says 421.
        (Door::Egress, StatusCode::MISDIRECTED_REQUEST) => StatusCode::BAD_REQUEST,
        (_, status) => status,
    }
}

/// In whose place a door answers.
fn host_at(door: Door) -> Host {
    match door {
        Door::Ingress => Host::Ours,
        Door::Egress => Host::Abroad,
    }
}

fn words_of(reason: DenialReason, language: Language, door: Door) -> Words {
    let of_site = match door {
        Door::Ingress => None,
        Door::Egress => site::of_denial(reason, language),
    };
    of_site.unwrap_or_else(|| text::of_denial(reason, language))
}

/// What a refusal says to a person; the policy's own words before ours.
#[derive(Debug)]
pub(crate) struct Said<'a> {
    pub(crate) title: &'static str,
    pub(crate) what: &'a str,
    /// The posture attribute at fault, and how to put it right if it is bad.
    pub(crate) setting: Option<(String, Option<&'static str>)>,
    pub(crate) remedy: &'a str,
}

/// For pages that list refusals; the same words as in the answer that was refused.
pub(crate) fn said(
    reason: DenialReason,
    guidance: Option<&Guidance>,
    posture: Option<PostureFault>,
    language: Language,
    door: Door,
) -> Said<'_> {
    let words = words_of(reason, language, door);
    let guided = Guided::of(guidance, language);
    let setting = posture.map(|fault| Setting::of(fault, language));
    Said {
        title: words.title,
        what: guided.reason.unwrap_or(words.what),
        setting: setting.map(|setting| (setting.said, setting.remedy)),
        remedy: guided.remedy.unwrap_or(words.remedy),
    }
}

/// The answer when the app, or at the egress the site, failed; see [`UpstreamFailure`].
pub fn upstream_failure(
    failure: &UpstreamFailure,
    preferences: Preferences,
    id: RequestId,
    brand: &Brand,
    door: Door,
) -> Response<Bytes> {
    let of = match door {
        Door::Ingress => text::of_failure,
        Door::Egress => site::of_failure,
    };
    let words = of(failure.status, failure.code, preferences.language);
    render(
        &Answer {
            status: failure.status,
            code: failure.code,
            kind: "failure",
            title: words.title,
            what: words.what,
            remedy: words.remedy,
            setting: None,
            retry_after: failure.retry_after,
            error: failure.error,
        },
        preferences,
        id,
        (brand, host_at(door)),
    )
}

/// The texts of a policy's author: in the reader's language, else in the other, else none.
struct Guided<'a> {
    reason: Option<&'a str>,
    remedy: Option<&'a str>,
}

impl<'a> Guided<'a> {
    fn of(guidance: Option<&'a Guidance>, language: Language) -> Self {
        let Some(guidance) = guidance else {
            return Self {
                reason: None,
                remedy: None,
            };
        };
        let pick = |english: &'a Option<Box<str>>, japanese: &'a Option<Box<str>>| {
            let (first, second) = match language {
                Language::English => (english, japanese),
                Language::Japanese => (japanese, english),
            };
            first
                .as_deref()
                .or(second.as_deref())
                .filter(|text| !text.trim().is_empty())
        };
        Self {
            reason: pick(&guidance.reason_en, &guidance.reason_ja),
            remedy: pick(&guidance.remedy_en, &guidance.remedy_ja),
        }
    }
}

struct Answer<'a> {
    status: StatusCode,
    code: &'static str,
    kind: &'a str,
    title: &'a str,
    what: &'a str,
    remedy: &'a str,
    setting: Option<Setting>,
    retry_after: Option<Duration>,
    error: &'a str,
}

/// A posture attribute at fault.
struct Setting {
    word: &'static str,
    said: String,
    /// Only for what is bad: what was not reported, or too long ago, may well be in order.
    remedy: Option<&'static str>,
}

impl Setting {
    fn of(fault: PostureFault, language: Language) -> Self {
        let attribute = fault.attribute();
        Self {
            word: attribute.as_str(),
            said: text::of_posture(fault, language),
            remedy: match fault {
                PostureFault::Failing(_) => Some(text::posture_remedy(attribute, language)),
                PostureFault::Missing(_) | PostureFault::Stale(_) => None,
            },
        }
    }
}

fn render(
    answer: &Answer<'_>,
    preferences: Preferences,
    id: RequestId,
    (brand, host): (&Brand, Host),
) -> Response<Bytes> {
    let request_id = id.to_string();
    let retry_after = answer.retry_after.map(whole_seconds);
    let setting = answer.setting.as_ref();
    let (content_type, content) = match preferences.format {
        Format::Page => {
            let page = Page {
                language: preferences.language,
                brand,
                host,
                title: answer.title,
                what: answer.what,
                remedy: answer.remedy,
                setting: setting.map(|it| (it.said.as_str(), it.remedy)),
                retry_after,
                status: answer.status.as_u16(),
                code: answer.code,
                request_id: &request_id,
            };
            ("text/html; charset=utf-8", page.to_string().into_bytes())
        }
        Format::Problem => {
            let problem = Problem {
                r#type: format!("urn:masugata:{}:{}", answer.kind, answer.code),
                title: answer.title,
                status: answer.status.as_u16(),
                detail: answer.what,
                code: answer.code,
                request_id: &request_id,
                remedy: setting.and_then(|it| it.remedy).unwrap_or(answer.remedy),
                attribute: setting.map(|it| it.word),
                retry_after,
                contact: brand.contact(),
            };
            ("application/problem+json", problem.render())
        }
    };
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = answer.status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(content.len()));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    if let Some(seconds) = retry_after {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    headers.insert(
        "proxy-status",
        proxy_status::field(answer.error, answer.code),
    );
    if preferences.grpc {
        headers.insert("grpc-status", HeaderValue::from(grpc_status(answer.status)));
        headers.insert("grpc-message", HeaderValue::from_static(answer.code));
    }
    common_headers(headers, brand, preferences);
    // RFC 9110 §9.3.2: HEAD gets the fields of GET.
    if !preferences.head_only {
        *response.body_mut() = Bytes::from(content);
    }
    response
}

/// "HTTP to gRPC Status Code Mapping" of the gRPC project. Most clients do it themselves; some need to be told.
fn grpc_status(status: StatusCode) -> u16 {
    match status.as_u16() {
        400 => 13,
        401 | 407 => 16,
        403 => 7,
        404 => 12,
        429 | 502 | 503 | 504 => 14,
        _ => 2,
    }
}

fn common_headers(headers: &mut HeaderMap, brand: &Brand, preferences: Preferences) {
    negotiated_headers(headers, preferences);
    if preferences.format == Format::Page {
        let policy = brand.policy(Powers::Still);
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
}

/// What every answer of ours carries whose form the client could choose.
pub(crate) fn negotiated_headers(headers: &mut HeaderMap, preferences: Preferences) {
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CONTENT_LANGUAGE, preferences.language.tag()),
        (header::VARY, "accept, accept-language, sec-fetch-mode"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

/// Says what is missing, in the field that goes with the status.
fn demand(status: StatusCode, headers: &mut HeaderMap, challenge: Vec<HeaderValue>) {
    let (name, demanded) = match status {
        StatusCode::PROXY_AUTHENTICATION_REQUIRED => (header::PROXY_AUTHENTICATE, true),
        StatusCode::UNAUTHORIZED => (header::WWW_AUTHENTICATE, true),
        _ => (header::WWW_AUTHENTICATE, false),
    };
    if challenge.is_empty() && demanded {
        headers.append(name, HeaderValue::from_static("Bearer"));
        return;
    }
    for value in challenge {
        headers.append(name.clone(), value);
    }
}

fn denial_headers(
    headers: &mut HeaderMap,
    reason: DenialReason,
    preferences: Preferences,
    door: Door,
) {
    // Beside another status than 407 it would be read as the origin's.
    if door == Door::Egress {
        headers.remove(header::WWW_AUTHENTICATE);
    }
    // RFC 9110 §15.5.6 demands it.
    if reason.status() == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(
            header::ALLOW,
            HeaderValue::from_static(match door {
                Door::Ingress => "GET, HEAD, OPTIONS, POST, PUT, PATCH, DELETE",
                Door::Egress => "CONNECT, GET, HEAD, OPTIONS, POST, PUT, PATCH, DELETE",
            }),
        );
    }
    // Whoever sent what cannot be read for certain may mean something else by what follows.
    let unsure = matches!(
        reason,
        DenialReason::RequestMalformed
            | DenialReason::RequestAmbiguous
            | DenialReason::HeaderTooLarge
    );
    if unsure && preferences.http1 {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
}

/// Rounded up: whoever comes back after it should not be early.
fn whole_seconds(duration: Duration) -> u64 {
    let part = u64::from(duration.subsec_nanos() > 0);
    duration.as_secs().saturating_add(part).max(1)
}
