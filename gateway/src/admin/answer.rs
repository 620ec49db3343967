//! From a request head to an answer; no sockets here.

use std::net::IpAddr;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HOST, X_CONTENT_TYPE_OPTIONS};
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderValue, Method, Response, StatusCode};
use http_body_util::Full;
use serde_json::{Map, Value, json};

use super::{AdminView, Check};
use crate::metrics;

/// Required on every change. A page in a browser cannot add it without a preflight, which is answered with 405.
pub(super) const CHANGE_HEADER: &str = "masugata-admin";

pub(super) type Answer = Response<Full<Bytes>>;

/// Answers `head`, which came in on the socket address `local`.
pub(super) fn answer(view: &dyn AdminView, head: &Parts, local: IpAddr) -> Answer {
    let answered = concerns_us(head, local)
        .and_then(|()| Endpoint::resolve(&head.method, head.uri.path()))
        .and_then(|endpoint| endpoint.answer(view, head, local));
    let mut answer = answered.unwrap_or_else(Refusal::into_answer);
    let headers = answer.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}

/// The host must be an address literal of ours, or `localhost`: a name can be made to point here, a literal cannot. The
/// port may be another, because people come through tunnels.
fn concerns_us(head: &Parts, local: IpAddr) -> Result<(), Refusal> {
    let mut hosts = head.headers.get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return Err(Refusal::new(
            StatusCode::BAD_REQUEST,
            "exactly one host is needed",
        ));
    };
    let host = Authority::try_from(host.as_bytes()).ok();
    // RFC 9112 §3.2.2: in the absolute form, the target's authority is what counts. Neither may be foreign.
    let target = head.uri.authority();
    if !host.as_ref().is_some_and(|host| is_ours(host, local))
        || target.is_some_and(|target| !is_ours(target, local))
    {
        let detail = "use `localhost` or the address that the gateway listens on as host";
        return Err(Refusal::new(StatusCode::MISDIRECTED_REQUEST, detail));
    }
    Ok(())
}

fn is_ours(authority: &Authority, local: IpAddr) -> bool {
    // User information would be odd at best.
    if authority.as_str().contains('@') {
        return false;
    }
    let host = authority.host();
    if host.eq_ignore_ascii_case("localhost") {
        return true;
    }
    let literal = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(host);
    literal.parse::<IpAddr>().is_ok_and(|address| {
        let address = address.to_canonical();
        address.is_loopback() || address == local.to_canonical()
    })
}

enum Endpoint<'a> {
    Live,
    Ready,
    Metrics,
    Configuration,
    Lockouts,
    Tunnels,
    Lists,
    LiftLockout(&'a str),
}

impl<'a> Endpoint<'a> {
    fn resolve(method: &Method, path: &'a str) -> Result<Self, Refusal> {
        let read = *method == Method::GET || *method == Method::HEAD;
        let (endpoint, allowed, permitted) = match path {
            "/livez" => (Self::Live, "GET, HEAD", read),
            "/readyz" => (Self::Ready, "GET, HEAD", read),
            "/metrics" => (Self::Metrics, "GET, HEAD", read),
            "/config" => (Self::Configuration, "GET, HEAD", read),
            "/lockouts" => (Self::Lockouts, "GET, HEAD", read),
            "/tunnels" => (Self::Tunnels, "GET, HEAD", read),
            "/lists" => (Self::Lists, "GET, HEAD", read),
            other => {
                let key = other.strip_prefix("/lockouts/").filter(|key| is_key(key));
                let lift = key.map(Self::LiftLockout).ok_or_else(unknown_path)?;
                (lift, "DELETE", *method == Method::DELETE)
            }
        };
        if permitted {
            return Ok(endpoint);
        }
        let detail = format!("allowed here: {allowed}");
        let mut refusal = Refusal::new(StatusCode::METHOD_NOT_ALLOWED, detail);
        refusal.allow = Some(allowed);
        Err(refusal)
    }

    fn answer(self, view: &dyn AdminView, head: &Parts, local: IpAddr) -> Result<Answer, Refusal> {
        match self {
            Self::Live => Ok(content(StatusCode::OK, JSON, r#"{"alive":true}"#)),
            Self::Ready => Ok(ready(&view.readiness())),
            Self::Metrics => Ok(content(
                StatusCode::OK,
                metrics::CONTENT_TYPE,
                view.metrics(),
            )),
            Self::Configuration => Ok(json_answer(StatusCode::OK, &view.configuration())),
            Self::Lockouts => Ok(json_answer(
                StatusCode::OK,
                &json!({ "lockouts": view.lockouts() }),
            )),
            Self::Tunnels => {
                let hosts = local.to_canonical().is_loopback();
                Ok(json_answer(StatusCode::OK, &view.tunnels(hosts)))
            }
            Self::Lists => Ok(json_answer(
                StatusCode::OK,
                &json!({ "lists": view.lists() }),
            )),
            Self::LiftLockout(key) => lift(view, head, key),
        }
    }
}

fn is_key(key: &str) -> bool {
    (1..=32).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

fn unknown_path() -> Refusal {
    let detail = "there are /livez, /readyz, /metrics, /config, /lockouts, /tunnels and /lists";
    Refusal::new(StatusCode::NOT_FOUND, detail)
}

fn ready(checks: &[Check]) -> Answer {
    let ready = !checks.is_empty() && checks.iter().all(|check| check.problem.is_none());
    let listed: Map<String, Value> = checks
        .iter()
        .map(|check| {
            (
                check.name.into(),
                check.problem.as_deref().unwrap_or("ok").into(),
            )
        })
        .collect();
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    json_answer(status, &json!({ "ready": ready, "checks": listed }))
}

fn lift(view: &dyn AdminView, head: &Parts, key: &str) -> Result<Answer, Refusal> {
    if head
        .headers
        .get(CHANGE_HEADER)
        .is_none_or(|value| value != "1")
    {
        let detail = "a change needs the header `Masugata-Admin: 1`";
        return Err(Refusal::new(StatusCode::FORBIDDEN, detail));
    }
    if view.lift_lockout(key) {
        return Ok(content(StatusCode::NO_CONTENT, JSON, ""));
    }
    Err(Refusal::new(
        StatusCode::NOT_FOUND,
        "no lockout has this key; it may have ended",
    ))
}

const JSON: &str = "application/json";

fn json_answer(status: StatusCode, value: &Value) -> Answer {
    content(status, JSON, value.to_string())
}

fn content(status: StatusCode, media_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    if status != StatusCode::NO_CONTENT {
        let media_type = HeaderValue::from_static(media_type);
        answer.headers_mut().insert(CONTENT_TYPE, media_type);
    }
    answer
}

/// An RFC 9457 problem.
struct Refusal {
    status: StatusCode,
    detail: String,
    allow: Option<&'static str>,
}

impl Refusal {
    fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            status,
            detail: detail.into(),
            allow: None,
        }
    }

    fn into_answer(self) -> Answer {
        let problem = json!({
            "type": "about:blank",
            "title": self.status.canonical_reason().unwrap_or_default(),
            "status": self.status.as_u16(),
            "detail": self.detail,
        });
        let mut answer = content(self.status, "application/problem+json", problem.to_string());
        if let Some(allow) = self.allow {
            answer
                .headers_mut()
                .insert(ALLOW, HeaderValue::from_static(allow));
        }
        answer
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn literals_of_ours_are_ours() {
        for host in [
            "localhost",
            "LocalHost:9180",
            "127.0.0.1",
            "127.0.0.1:1",
            "127.9.9.9",
            "[::1]:80",
        ] {
            assert!(ours(host, "127.0.0.1"), "{host}");
        }
        assert!(ours("10.1.2.3:9180", "10.1.2.3"));
        assert!(ours("[2001:db8::1]", "2001:db8::1"));
        assert!(ours("10.1.2.3", "::ffff:10.1.2.3"));
    }

    #[test]
    fn names_that_an_attacker_can_point_here_are_not() {
        for host in [
            "evil.example",
            "localhost.evil.example",
            "localhost.",
            "127.0.0.1.evil.example",
            "127.0.0.1@evil.example",
            "evil.example@127.0.0.1",
            "10.9.9.9",
            "0.0.0.0",
            "[::]",
            "0x7f000001",
            "2130706433",
            "127.1",
        ] {
            assert!(!ours(host, "127.0.0.1"), "{host}");
        }
    }

    proptest! {
        #[test]
        fn no_path_is_answered_that_is_not_listed(path in "/[ -~]{0,40}") {
            let known = [
                "/livez", "/readyz", "/metrics", "/config", "/lockouts", "/tunnels", "/lists",
            ];
            prop_assume!(!known.contains(&path.as_str()));
            let reading = Endpoint::resolve(&Method::GET, &path);
            prop_assert!(reading.is_err());
        }
    }

    fn ours(host: &str, local: &str) -> bool {
        Authority::try_from(host).is_ok_and(|host| is_ours(&host, local.parse().unwrap()))
    }
}
