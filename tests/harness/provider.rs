//! An OpenID provider on loopback, over TLS with a certificate of the test's CA and with the test's clock. It signs in
//! whoever the test says, without a page in between, and every answer can be bent: that is how attacks are written.
//!
//! ```ignore
//! let builder = TestGateway::new();
//! let provider = FakeProvider::new(&builder, "corp").await;
//! let gateway = builder.provider(&provider).app("wiki", upstream.address).start().await;
//! provider.bend(Bend::IdToken, |claims| claims["nonce"] = "another".into());
//! ```

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, LOCATION};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use serde_json::{Value, json};

use crate::browser::{pairs, query_of};
use crate::clock::TestClock;
use crate::gateway::TestGatewayBuilder;
use crate::tokens::TokenIssuer;
use crate::upstream::{Upstream, UpstreamAnswer};

/// An answer that a test may change before it goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bend {
    /// The discovery document.
    Discovery,
    /// The JWKS.
    Keys,
    /// Parameters with which the browser is sent back; texts. Without `code` none is handed out.
    Redirect,
    /// The header of ID and logout tokens.
    Header,
    /// The claims of ID tokens.
    IdToken,
    /// A signed token, one text: to be cut, signed anew, or exchanged.
    Signed,
    /// The answer of the token endpoint.
    Token,
    /// The answer of the UserInfo endpoint.
    UserInfo,
    /// The claims of logout tokens.
    Logout,
}

/// A request that came.
#[derive(Clone, Debug)]
pub struct Asked {
    pub path: String,
    /// Of the query or the form.
    pub parameters: BTreeMap<String, String>,
    pub authorization: Option<String>,
}

/// Ends with the value.
pub struct FakeProvider {
    /// The name of its issuer in the configuration.
    pub name: String,
    pub issuer: String,
    pub client_id: String,
    pub client_secret: String,
    upstream: Upstream,
    state: Arc<Mutex<State>>,
}

type Change = Arc<dyn Fn(&mut Value) + Send + Sync>;

struct State {
    issuer: String,
    client_id: String,
    client_secret: String,
    clock: Arc<TestClock>,
    keys: TokenIssuer,
    /// Claims of whoever sits at the browser.
    person: Value,
    /// When they last proved who they are; absent: anew at each request.
    session_since: Option<i64>,
    bends: BTreeMap<Bend, Change>,
    broken: BTreeMap<String, StatusCode>,
    codes: BTreeMap<String, Grant>,
    refresh: BTreeMap<String, Grant>,
    pushed: BTreeMap<String, BTreeMap<String, String>>,
    asked: Vec<Asked>,
    count: u64,
}

/// What a code or refresh token stands for.
#[derive(Clone)]
struct Grant {
    person: Value,
    asked: BTreeMap<String, String>,
    authenticated_at: i64,
}

impl FakeProvider {
    /// With one person, `ada`, in the group `employees`, who uses two factors.
    pub async fn new(builder: &TestGatewayBuilder, name: &str) -> Self {
        let state = Arc::new(Mutex::new(State {
            issuer: String::new(),
            client_id: format!("client-{name}"),
            client_secret: format!("planted-secret-of-{name}"),
            clock: builder.shared_clock(),
            keys: TokenIssuer::new("", "", &format!("{name}-key-1")),
            person: person("ada", &["employees"]),
            session_since: None,
            bends: BTreeMap::new(),
            broken: BTreeMap::new(),
            codes: BTreeMap::new(),
            refresh: BTreeMap::new(),
            pushed: BTreeMap::new(),
            asked: Vec::new(),
            count: 0,
        }));
        let tls = builder
            .pki()
            .server_config(&["localhost", "127.0.0.1"], &[b"http/1.1"], false);
        let serving = Arc::clone(&state);
        let upstream = Upstream::tls(tls, move |request| {
            let state = Arc::clone(&serving);
            async move { answer(&state, request).await }
        })
        .await;
        let issuer = format!("https://localhost:{}", upstream.address.port());
        let mut locked = state.lock().unwrap();
        locked.issuer.clone_from(&issuer);
        let (client_id, client_secret) = (locked.client_id.clone(), locked.client_secret.clone());
        drop(locked);
        Self {
            name: name.to_owned(),
            issuer,
            client_id,
            client_secret,
            upstream,
            state,
        }
    }

    /// The tables of the configuration, with more keys of `[issuer.sign_in]`.
    pub(crate) fn table(&self, keys: &str, sign_in: &str) -> String {
        format!(
            "[[issuer]]\nname = \"{}\"\nissuer = \"{}\"\nalgorithms = [\"ES256\"]\n{keys}\n\
             discovery = {{ authority = \"ca.pem\" }}\n\
             [issuer.sign_in]\nclient_id = \"{}\"\nclient_secret_file = \"{}\"\n{sign_in}\n",
            self.name,
            self.issuer,
            self.client_id,
            self.secret_file()
        )
    }

    pub(crate) fn secret_file(&self) -> String {
        format!("{}.secret", self.name)
    }

    /// `localhost:port`, as a browser knows it.
    pub fn authority(&self) -> String {
        format!("localhost:{}", self.upstream.address.port())
    }

    /// Who sits at the browser from now on, with these claims.
    pub fn person(&self, claims: Value) {
        self.state.lock().unwrap().person = claims;
    }

    /// One claim of them.
    pub fn claim(&self, name: &str, value: impl Into<Value>) {
        self.state.lock().unwrap().person[name] = value.into();
    }

    /// They have a session here since then, in seconds, and are not asked again unless the request demands it.
    pub fn signed_in_since(&self, since: Option<i64>) {
        self.state.lock().unwrap().session_since = since;
    }

    /// Changes an answer from now on.
    pub fn bend(&self, answer: Bend, change: impl Fn(&mut Value) + Send + Sync + 'static) {
        let mut state = self.state.lock().unwrap();
        state.bends.insert(answer, Arc::new(change));
    }

    /// Tells the truth again.
    pub fn straighten(&self) {
        let mut state = self.state.lock().unwrap();
        state.bends.clear();
        state.broken.clear();
    }

    /// Answers on this path with nothing but that status.
    pub fn breaks(&self, path: &str, status: u16) {
        let status = StatusCode::from_u16(status).unwrap();
        let mut state = self.state.lock().unwrap();
        state.broken.insert(path.to_owned(), status);
    }

    /// Signs with another key from now on; the old one is no longer published.
    pub fn rotate(&self) {
        let mut state = self.state.lock().unwrap();
        state.count += 1;
        let id = format!("{}-key-{}", self.name, state.count + 1);
        state.keys = TokenIssuer::new("", "", &id);
    }

    /// All refresh tokens are void: the account is disabled.
    pub fn revoke(&self) {
        self.state.lock().unwrap().refresh.clear();
    }

    /// Every request so far, or those of one path.
    pub fn asked(&self, path: &str) -> Vec<Asked> {
        let state = self.state.lock().unwrap();
        let of_path = |asked: &&Asked| path.is_empty() || asked.path == path;
        state.asked.iter().filter(of_path).cloned().collect()
    }

    /// A logout token (OpenID Connect Back-Channel Logout §2.4) for a subject, a session, or both.
    pub fn logout_token(&self, subject: Option<&str>, session: Option<&str>) -> String {
        let mut state = self.state.lock().unwrap();
        state.count += 1;
        let now = state.clock.seconds();
        let mut claims = json!({
            "iss": state.issuer, "aud": state.client_id, "iat": now, "exp": now + 120,
            "jti": format!("logout-{}", state.count),
            "events": { "http://schemas.openid.net/event/backchannel-logout": {} },
        });
        if let Some(subject) = subject {
            claims["sub"] = subject.into();
        }
        if let Some(session) = session {
            claims["sid"] = session.into();
        }
        state.bent(Bend::Logout, &mut claims);
        state.sign("logout+jwt", &claims)
    }

    /// Signs anything with the key of the moment.
    pub fn sign(&self, claims: &Value) -> String {
        self.state.lock().unwrap().sign("JWT", claims)
    }
}

/// The claims of somebody who uses two factors.
pub fn person(user: &str, groups: &[&str]) -> Value {
    json!({
        "sub": user, "name": user, "email": format!("{user}@corp.test"), "email_verified": true,
        "preferred_username": user, "groups": groups, "amr": ["pwd", "otp"],
        "sid": format!("{user}-at-the-provider"),
    })
}

impl State {
    fn bent(&self, answer: Bend, value: &mut Value) {
        if let Some(change) = self.bends.get(&answer) {
            change(value);
        }
    }

    fn sign(&self, kind: &str, claims: &Value) -> String {
        let id = self.keys.jwks()["keys"][0]["kid"].clone();
        let mut header = json!({ "alg": "ES256", "typ": kind, "kid": id });
        self.bent(Bend::Header, &mut header);
        let mut signed = Value::String(self.keys.sign(&header, claims));
        self.bent(Bend::Signed, &mut signed);
        signed.as_str().unwrap_or_default().to_owned()
    }

    fn number(&mut self, what: &str) -> String {
        self.count += 1;
        format!("{what}-{}-of-{}", self.count, self.client_id)
    }

    fn discovery(&self) -> Value {
        let at = |path: &str| format!("{}{path}", self.issuer);
        let mut document = json!({
            "issuer": self.issuer,
            "authorization_endpoint": at("/authorize"),
            "token_endpoint": at("/token"),
            "jwks_uri": at("/jwks"),
            "userinfo_endpoint": at("/userinfo"),
            "end_session_endpoint": at("/end-session"),
            "pushed_authorization_request_endpoint": at("/par"),
            "response_types_supported": ["code"],
            "response_modes_supported": ["query"],
            "subject_types_supported": ["public"],
            "grant_types_supported": ["authorization_code", "refresh_token"],
            "scopes_supported": ["openid", "profile", "email", "offline_access"],
            "id_token_signing_alg_values_supported": ["ES256"],
            "code_challenge_methods_supported": ["S256"],
            "token_endpoint_auth_methods_supported":
                ["client_secret_basic", "client_secret_post", "private_key_jwt"],
            "authorization_response_iss_parameter_supported": true,
            "backchannel_logout_supported": true,
            "backchannel_logout_session_supported": true,
            "claims_parameter_supported": true,
        });
        self.bent(Bend::Discovery, &mut document);
        document
    }

    /// Nobody is asked anything: the person agrees, and goes back.
    fn authorize(&mut self, mut asked: BTreeMap<String, String>) -> UpstreamAnswer {
        if let Some(pushed) = asked.get("request_uri") {
            // RFC 9126 §4: what was pushed counts, and once.
            let Some(parameters) = self.pushed.remove(pushed) else {
                return text(StatusCode::BAD_REQUEST, "no such request_uri");
            };
            asked = parameters;
        }
        let (Some(back), Some(state)) = (asked.get("redirect_uri"), asked.get("state")) else {
            return text(StatusCode::BAD_REQUEST, "redirect_uri or state is missing");
        };
        let (back, state) = (back.clone(), state.clone());
        let now = self.clock.seconds();
        let anew = asked.get("prompt").is_some_and(|prompt| prompt == "login");
        let max_age = asked.get("max_age").and_then(|age| age.parse::<i64>().ok());
        let since = self
            .session_since
            .filter(|since| !anew && max_age.is_none_or(|most| now - since <= most));
        let code = self.number("code");
        let grant = Grant {
            person: self.person.clone(),
            asked,
            authenticated_at: since.unwrap_or(now),
        };
        let mut parameters = json!({ "code": code, "state": state, "iss": self.issuer });
        self.bent(Bend::Redirect, &mut parameters);
        if parameters["code"] == code.as_str() {
            self.codes.insert(code, grant);
        }
        let query: Vec<_> = parameters
            .as_object()
            .into_iter()
            .flatten()
            .filter_map(|(name, value)| Some((name.as_str(), value.as_str()?)))
            .collect();
        redirect(&format!("{back}?{}", pairs(&query)))
    }

    fn push(&mut self, asked: &Asked) -> UpstreamAnswer {
        if let Err(refusal) = self.client(asked) {
            return refusal;
        }
        let uri = format!("urn:ietf:params:oauth:request_uri:{}", self.number("par"));
        self.pushed.insert(uri.clone(), asked.parameters.clone());
        answer_json(
            StatusCode::CREATED,
            &json!({ "request_uri": uri, "expires_in": 60 }),
        )
    }

    /// The client is who it says. A `private_key_jwt` is believed here; its form is for tests to look at in `asked`.
    #[expect(clippy::result_large_err, reason = "an answer of a test's provider")]
    fn client(&self, asked: &Asked) -> Result<(), UpstreamAnswer> {
        let form = |name: &str| asked.parameters.get(name).map(String::as_str);
        let basic = STANDARD.encode(format!("{}:{}", self.client_id, self.client_secret));
        let known = asked.authorization.as_deref() == Some(&format!("Basic {basic}"))
            || (form("client_id") == Some(&self.client_id)
                && form("client_secret") == Some(&self.client_secret))
            || form("client_assertion").is_some();
        if known {
            Ok(())
        } else {
            Err(refusal(StatusCode::UNAUTHORIZED, "invalid_client"))
        }
    }

    fn token(&mut self, asked: &Asked) -> UpstreamAnswer {
        if let Err(refusal) = self.client(asked) {
            return refusal;
        }
        let form = |name: &str| asked.parameters.get(name).cloned().unwrap_or_default();
        let grant = match form("grant_type").as_str() {
            "authorization_code" => {
                let Some(grant) = self.codes.remove(&form("code")) else {
                    return refusal(StatusCode::BAD_REQUEST, "invalid_grant");
                };
                let of_request = |name: &str| grant.asked.get(name).cloned().unwrap_or_default();
                let challenge =
                    URL_SAFE_NO_PAD.encode(digest(&SHA256, form("code_verifier").as_bytes()));
                let same = of_request("code_challenge") == challenge
                    && of_request("code_challenge_method") == "S256"
                    && of_request("redirect_uri") == form("redirect_uri");
                if !same {
                    return refusal(StatusCode::BAD_REQUEST, "invalid_grant");
                }
                grant
            }
            "refresh_token" => match self.refresh.remove(&form("refresh_token")) {
                Some(grant) => grant,
                None => return refusal(StatusCode::BAD_REQUEST, "invalid_grant"),
            },
            _ => return refusal(StatusCode::BAD_REQUEST, "unsupported_grant_type"),
        };
        let (access, refresh) = (self.number("access"), self.number("refresh"));
        let id_token = self.id_token(&grant, &access);
        self.refresh.insert(refresh.clone(), grant);
        let mut answer = json!({
            "access_token": access, "token_type": "Bearer", "expires_in": 300,
            "id_token": id_token, "refresh_token": refresh,
        });
        self.bent(Bend::Token, &mut answer);
        answer_json(StatusCode::OK, &answer)
    }

    fn id_token(&self, grant: &Grant, access: &str) -> String {
        let now = self.clock.seconds();
        let mut claims = grant.person.clone();
        claims["iss"] = self.issuer.as_str().into();
        claims["aud"] = self.client_id.as_str().into();
        claims["iat"] = now.into();
        claims["exp"] = (now + 300).into();
        claims["auth_time"] = grant.authenticated_at.into();
        if let Some(nonce) = grant.asked.get("nonce") {
            claims["nonce"] = nonce.as_str().into();
        }
        let hash = digest(&SHA256, access.as_bytes());
        claims["at_hash"] = URL_SAFE_NO_PAD.encode(&hash.as_ref()[..16]).into();
        if let Some(acr) = wanted_acr(&grant.asked) {
            claims["acr"] = acr.into();
        }
        self.bent(Bend::IdToken, &mut claims);
        self.sign("JWT", &claims)
    }

    fn userinfo(&self) -> UpstreamAnswer {
        let mut claims = self.person.clone();
        self.bent(Bend::UserInfo, &mut claims);
        answer_json(StatusCode::OK, &claims)
    }
}

/// The first value that was asked for, in whichever way: this provider can do everything.
fn wanted_acr(asked: &BTreeMap<String, String>) -> Option<String> {
    if let Some(values) = asked.get("acr_values") {
        return values.split(' ').next().map(str::to_owned);
    }
    let claims: Value = serde_json::from_str(asked.get("claims")?).ok()?;
    let wanted = ["acr", "acrs"].map(|name| claims["id_token"][name].clone());
    let wanted = wanted.into_iter().find(Value::is_object)?;
    let one = wanted["values"].get(0).unwrap_or(&wanted["value"]);
    one.as_str().map(str::to_owned)
}

async fn answer(state: &Mutex<State>, request: Request<Incoming>) -> UpstreamAnswer {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes());
    let body = body.unwrap_or_default();
    let mut parameters = query_of(head.uri.query().unwrap_or_default());
    if head.method == Method::POST {
        parameters.extend(query_of(&String::from_utf8_lossy(&body)));
    }
    let authorization = head.headers.get(AUTHORIZATION);
    let asked = Asked {
        path: head.uri.path().to_owned(),
        parameters,
        authorization: authorization.and_then(|value| value.to_str().ok().map(str::to_owned)),
    };
    let mut state = state.lock().unwrap();
    state.asked.push(asked.clone());
    if let Some(status) = state.broken.get(&asked.path) {
        return text(*status, "broken by the test");
    }
    match asked.path.as_str() {
        "/.well-known/openid-configuration" => answer_json(StatusCode::OK, &state.discovery()),
        "/jwks" => {
            let mut keys = state.keys.jwks();
            state.bent(Bend::Keys, &mut keys);
            answer_json(StatusCode::OK, &keys)
        }
        "/authorize" => state.authorize(asked.parameters),
        "/par" => state.push(&asked),
        "/token" => state.token(&asked),
        "/userinfo" => state.userinfo(),
        "/end-session" => {
            state.session_since = None;
            match asked.parameters.get("post_logout_redirect_uri") {
                Some(back) => {
                    let state = asked.parameters.get("state");
                    let query = state.map(|state| format!("?{}", pairs(&[("state", state)])));
                    redirect(&format!("{back}{}", query.unwrap_or_default()))
                }
                None => text(StatusCode::OK, "signed out"),
            }
        }
        _ => text(StatusCode::NOT_FOUND, "nothing here"),
    }
}

fn full(response: http::response::Builder, body: impl Into<Bytes>) -> UpstreamAnswer {
    response.body(Full::new(body.into()).boxed()).unwrap()
}

fn text(status: StatusCode, text: &'static str) -> UpstreamAnswer {
    let response = Response::builder().status(status);
    full(response.header(CONTENT_TYPE, "text/plain"), text)
}

fn redirect(to: &str) -> UpstreamAnswer {
    let response = Response::builder().status(StatusCode::SEE_OTHER);
    full(response.header(LOCATION, to), "")
}

fn answer_json(status: StatusCode, value: &Value) -> UpstreamAnswer {
    let response = Response::builder()
        .status(status)
        .header(CONTENT_TYPE, "application/json")
        .header(CACHE_CONTROL, "no-store");
    full(response, value.to_string())
}

fn refusal(status: StatusCode, error: &str) -> UpstreamAnswer {
    answer_json(status, &json!({ "error": error }))
}
