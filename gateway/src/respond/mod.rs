//! Answers that the gateway gives itself: refusals, and failures of the apps behind it; as a page for people and as
//! `application/problem+json` for programs, in Japanese or English.
//!
//! The client learns the code, the request id, one sentence and what to do. Policy names and details stay in the record.

mod negotiate;
mod page;
mod problem;
mod proxy_status;
mod text;

#[cfg(test)]
mod tests;

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};

pub use negotiate::{Format, Language, Preferences};

use masugata_policy::PostureFault;

use crate::config::Pages;
use crate::denial::{Denial, DenialReason};
use crate::exchange::RequestId;
use page::{POLICY, Page};
use problem::Problem;

/// An app that did not answer as it should, in the words of its record.
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

/// The answer to a refused request. `challenge` is the `WWW-Authenticate` of a 401; a 401 without one gets a plain
/// `Bearer`, because RFC 9110 §15.5.2 demands one.
pub fn denial(
    denial: &Denial,
    preferences: Preferences,
    id: RequestId,
    pages: &Pages,
    challenge: Option<HeaderValue>,
) -> Response<Bytes> {
    let reason = denial.reason;
    let language = preferences.language;
    let words = text::of_denial(reason, language);
    let guidance = Guided::of(denial, language);
    let setting = denial.posture.map(|fault| Setting::of(fault, language));
    let mut response = render(
        &Answer {
            status: reason.status(),
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
        pages,
    );
    denial_headers(response.headers_mut(), reason, preferences, challenge);
    response
}

/// The answer when the app failed; see [`UpstreamFailure`].
pub fn upstream_failure(
    failure: &UpstreamFailure,
    preferences: Preferences,
    id: RequestId,
    pages: &Pages,
) -> Response<Bytes> {
    let words = text::of_failure(failure.status, failure.code, preferences.language);
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
        pages,
    )
}

/// The texts of a policy's author: in the reader's language, else in the other, else none.
struct Guided<'a> {
    reason: Option<&'a str>,
    remedy: Option<&'a str>,
}

impl<'a> Guided<'a> {
    fn of(denial: &'a Denial, language: Language) -> Self {
        let Some(guidance) = denial.guidance.as_deref() else {
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
    pages: &Pages,
) -> Response<Bytes> {
    let request_id = id.to_string();
    let retry_after = answer.retry_after.map(whole_seconds);
    let setting = answer.setting.as_ref();
    let (content_type, content) = match preferences.format {
        Format::Page => {
            let page = Page {
                language: preferences.language,
                organisation: &pages.organisation,
                contact: pages.contact.as_deref(),
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
                contact: pages.contact.as_deref(),
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
    common_headers(headers, preferences);
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
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502 | 503 | 504 => 14,
        _ => 2,
    }
}

fn common_headers(headers: &mut HeaderMap, preferences: Preferences) {
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CONTENT_LANGUAGE, preferences.language.tag()),
        (header::VARY, "accept, accept-language, sec-fetch-mode"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if preferences.format == Format::Page {
        let policy = HeaderValue::from_str(&POLICY);
        headers.insert(
            header::CONTENT_SECURITY_POLICY,
            policy.unwrap_or(HeaderValue::from_static("default-src 'none'")),
        );
    }
}

fn denial_headers(
    headers: &mut HeaderMap,
    reason: DenialReason,
    preferences: Preferences,
    challenge: Option<HeaderValue>,
) {
    let demanded =
        (reason.status() == StatusCode::UNAUTHORIZED).then_some(HeaderValue::from_static("Bearer"));
    if let Some(challenge) = challenge.or(demanded) {
        headers.insert(header::WWW_AUTHENTICATE, challenge);
    }
    // RFC 9110 §15.5.6 demands it.
    if reason.status() == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(
            header::ALLOW,
            HeaderValue::from_static("GET, HEAD, OPTIONS, POST, PUT, PATCH, DELETE"),
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
