//! The provider as a browser and its client see it: a cookie jar, forms taken from pages, a clock moved by hand.

mod factors;
mod openid;
mod passkeys;
mod sign_in;

use std::cell::{Cell, RefCell};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use secrecy::ExposeSecret as _;
use serde_json::Value;
use tempfile::TempDir;
use url::form_urlencoded;

use crate::accounts::tests::{CHEAP, Chance, NOW, ORIGIN, open_with, settings};
use crate::factors::tests::{code_of as code, read_base32};
use crate::*;

pub(super) const CALLBACK: &str = "https://login.example.com:8443/callback/people";
/// RFC 7636, appendix B.
pub(super) const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
pub(super) const PASSWORD: &str = "seven lilac tractors hum";
pub(super) const SHORT: &str = "vK7lilac2q";

struct Plain;

impl Dress for Plain {
    fn page(&self, page: Dressed<'_>, status: StatusCode) -> Response<Bytes> {
        let html = format!(
            "<html lang={}><title>{}</title>{}",
            page.language.tag(),
            page.title,
            page.body.into_string()
        );
        let mut response = Response::new(Bytes::from(html));
        *response.status_mut() = status;
        response
    }
}

pub(super) struct World {
    pub(super) provider: Provider,
    pub(super) now: Cell<i64>,
    pub(super) told: Arc<Mutex<Vec<AccountEvent>>>,
    _directory: TempDir,
}

/// Account, when, how.
pub(super) type Session = (String, i64, Vec<Box<str>>);

/// What a person holds.
pub(super) struct Browser<'a> {
    pub(super) world: &'a World,
    pub(super) cookie: RefCell<Option<String>>,
    pub(super) device: &'static str,
    pub(super) session: RefCell<Option<Session>>,
    pub(super) site: Cell<Option<&'static str>>,
    pub(super) origin: Cell<Option<&'static str>>,
}

pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: http::HeaderMap,
    pub(super) body: String,
}

impl World {
    pub(super) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let told = Arc::new(Mutex::new(Vec::new()));
        let events: event::Events = {
            let told = told.clone();
            Arc::new(move |event| told.lock().unwrap().push(event))
        };
        let setup = Setup {
            issuer: format!("{ORIGIN}/id"),
            directory: directory.path().to_owned(),
            redirect_uris: vec![CALLBACK.to_owned()],
            client_id: "gateway".to_owned(),
            settings: settings(),
            dress: Arc::new(Plain),
            random: Arc::new(Chance::default()),
            events,
        };
        let provider = Provider::open_with(setup, NOW, |path, settings, _, events| {
            open_with(path, settings, CHEAP, events)
        })
        .unwrap();
        Self {
            provider,
            now: Cell::new(NOW),
            told,
            _directory: directory,
        }
    }

    pub(super) fn pass(&self, seconds: i64) {
        self.now.set(self.now.get() + seconds * 1000);
    }

    pub(super) fn browser(&self) -> Browser<'_> {
        Browser {
            world: self,
            cookie: RefCell::new(None),
            device: "laptop",
            session: RefCell::new(None),
            site: Cell::new(Some("same-origin")),
            origin: Cell::new(None),
        }
    }

    /// An account with a first link.
    pub(super) async fn invite(&self, user: &str) -> String {
        let new = NewAccount {
            user: user.to_owned(),
            display_name: format!("{user} Example"),
            email: Some(format!("{user}@example.com")),
            groups: vec!["staff".to_owned()],
            external_id: None,
        };
        let accounts = self.provider.accounts();
        let by = Actor::Administrator;
        accounts.add(new, by, self.now.get()).await.unwrap();
        let link = accounts.link(user, by, self.now.get()).await.unwrap();
        link.token.expose_secret().to_owned()
    }

    /// Somebody with a long password.
    pub(super) async fn person(&self, user: &str) -> Browser<'_> {
        let token = self.invite(user).await;
        let browser = self.browser();
        browser.set_up(&token, PASSWORD, false).await;
        browser
    }

    /// Somebody with a short password and a code app, whose key comes along.
    pub(super) async fn person_with_app(&self, user: &str) -> (Browser<'_>, Vec<u8>) {
        let token = self.invite(user).await;
        let browser = self.browser();
        let key = browser.set_up(&token, SHORT, true).await;
        // The code that set it up is used.
        self.pass(60);
        (browser, key)
    }

    pub(super) async fn ask(&self, request: Request<Bytes>) -> Answer {
        let caller = Caller {
            device: None,
            language: Language::English,
            signed_in: None,
            now: self.now.get(),
        };
        Answer::of(self.provider.answer(request, caller).await)
    }

    /// As the gateway does, in process.
    pub(super) async fn as_client(&self, path: &str, form: &[(&str, &str)]) -> Answer {
        let secret = self.provider.client_secret().expose_secret();
        let credentials = STANDARD.encode(format!("gateway:{secret}"));
        let request = Request::post(path)
            .header("content-type", "application/x-www-form-urlencoded")
            .header("authorization", format!("Basic {credentials}"))
            .body(encode(form))
            .unwrap();
        self.ask(request).await
    }

    pub(super) async fn exchange(&self, code: &str) -> Answer {
        self.as_client("/id/token", &exchange_form(code)).await
    }
}

pub(super) fn exchange_form(code: &str) -> Vec<(&'static str, &str)> {
    vec![
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", CALLBACK),
        ("code_verifier", VERIFIER),
    ]
}

pub(super) fn encode(form: &[(&str, &str)]) -> Bytes {
    let mut encoded = form_urlencoded::Serializer::new(String::new());
    Bytes::from(encoded.extend_pairs(form).finish())
}

/// A good request, with changes.
pub(super) fn authorize<'a>(changes: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut form = vec![
        ("client_id", "gateway"),
        ("redirect_uri", CALLBACK),
        ("response_type", "code"),
        ("scope", "openid profile email groups"),
        ("state", "the state"),
        ("nonce", "the nonce"),
        ("code_challenge", CHALLENGE),
        ("code_challenge_method", "S256"),
    ];
    for change in changes {
        form.retain(|(name, _)| *name != change.0);
        form.push(*change);
    }
    form
}

pub(super) const ESSENTIAL_PHR: &str =
    r#"{"id_token":{"acr":{"essential":true,"values":["phr"]}}}"#;

impl<'a> Browser<'a> {
    async fn send(&self, request: http::request::Builder, body: Bytes) -> Answer {
        let mut request = request;
        if let Some(cookie) = &*self.cookie.borrow() {
            request = request.header("cookie", format!("x=y; __Host-masugata-id={cookie}"));
        }
        if let Some(site) = self.site.get() {
            request = request.header("sec-fetch-site", site);
        }
        if let Some(origin) = self.origin.get() {
            request = request.header("origin", origin);
        }
        let session = self.session.borrow().clone();
        let caller = Caller {
            device: Some(self.device),
            language: Language::English,
            signed_in: session.as_ref().map(|(account, at, amr)| SignedInAs {
                account,
                authenticated_at: *at,
                amr,
            }),
            now: self.world.now.get(),
        };
        let request = request.body(body).unwrap();
        let answer = Answer::of(self.world.provider.answer(request, caller).await);
        if let Some(set) = answer.headers.get(header::SET_COOKIE) {
            let set = set.to_str().unwrap();
            assert!(
                set.ends_with("; Path=/; Secure; HttpOnly; SameSite=Lax"),
                "{set}"
            );
            let value = set.strip_prefix("__Host-masugata-id=").unwrap();
            *self.cookie.borrow_mut() = value.split(';').next().map(str::to_owned);
        }
        answer
    }

    pub(super) async fn get(&self, path: &str) -> Answer {
        self.send(Request::get(path), Bytes::new()).await
    }

    /// With redirects to our own pages.
    pub(super) async fn open(&self, path: &str) -> Answer {
        let mut answer = self.get(path).await;
        while answer.status == StatusCode::SEE_OTHER && answer.location().starts_with("/id/") {
            answer = self.get(&answer.location()).await;
        }
        answer
    }

    pub(super) async fn post(&self, path: &str, form: &[(&str, &str)]) -> Answer {
        let request =
            Request::post(path).header("content-type", "application/x-www-form-urlencoded");
        self.send(request, encode(form)).await
    }

    pub(super) async fn call(&self, path: &str, body: &Value) -> Answer {
        let request = Request::post(path).header("content-type", "application/json");
        self.send(request, Bytes::from(body.to_string())).await
    }

    /// Sends a form of `page`, and follows to the next page of ours.
    pub(super) async fn fill(&self, page: &Answer, path: &str, form: &[(&str, &str)]) -> Answer {
        let (c, token) = (page.field("c"), page.field("form"));
        let mut all = vec![("c", c.as_str()), ("form", token.as_str())];
        all.extend_from_slice(form);
        let answer = self.post(path, &all).await;
        if answer.status == StatusCode::SEE_OTHER && answer.location().starts_with("/id/") {
            return self.open(&answer.location()).await;
        }
        answer
    }

    /// The sign-in page.
    pub(super) async fn begin(&self, changes: &[(&str, &str)]) -> Answer {
        self.open(&self.address(changes)).await
    }

    pub(super) fn address(&self, changes: &[(&str, &str)]) -> String {
        let query = encode(&authorize(changes));
        format!("/id/authorize?{}", std::str::from_utf8(&query).unwrap())
    }

    /// From the page to the code.
    pub(super) async fn sign_in(&self, page: &Answer, user: &str) -> Answer {
        self.fill(
            page,
            "/id/password",
            &[("name", user), ("password", PASSWORD)],
        )
        .await
    }

    /// First link to first password; the code app's key, if there is one.
    pub(super) async fn set_up(&self, token: &str, password: &str, app: bool) -> Vec<u8> {
        let page = self.open("/id/welcome").await;
        let page = self.fill(&page, "/id/welcome", &[("token", token)]).await;
        assert!(page.body.contains("Create a passkey"), "{}", page.body);
        let key = page.key();
        let code = code(&key, self.world.now.get());
        let mut form = vec![("password", password)];
        if app {
            form.push(("code", &code));
        }
        let page = self.fill(&page, "/id/welcome/password", &form).await;
        assert!(
            page.body.contains("Keep these recovery codes"),
            "{}",
            page.body
        );
        let page = self.fill(&page, "/id/recovery-codes/kept", &[]).await;
        assert!(page.body.contains("You are ready"), "{}", page.body);
        key
    }

    /// The gateway keeps a session of this kind.
    pub(super) fn keep_session(&self, user: &str, amr: &[&str]) {
        let amr = amr.iter().map(|method| (*method).into()).collect();
        *self.session.borrow_mut() = Some((user.to_owned(), self.world.now.get(), amr));
    }
}

impl Answer {
    fn of(response: Response<Bytes>) -> Self {
        let (head, body) = response.into_parts();
        Self {
            status: head.status,
            headers: head.headers,
            body: String::from_utf8(body.to_vec()).unwrap(),
        }
    }

    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |it| it.to_str().unwrap())
    }

    pub(super) fn location(&self) -> String {
        self.header("location").to_owned()
    }

    /// Where it leads to: by redirect or by the page that follows a form.
    pub(super) fn leads_to(&self) -> url::Url {
        let refresh = self.header("refresh").strip_prefix("0;url=");
        let location = self.location();
        let to = refresh.unwrap_or(&location);
        assert!(
            to.starts_with(&format!("{CALLBACK}?")),
            "{to} {}",
            self.body
        );
        url::Url::parse(to).unwrap()
    }

    pub(super) fn told(&self, name: &str) -> Option<String> {
        let url = self.leads_to();
        let mut pairs = url.query_pairs();
        pairs
            .find(|(other, _)| other == name)
            .map(|(_, value)| value.into_owned())
    }

    pub(super) fn code(&self) -> String {
        self.told("code").unwrap()
    }

    /// A hidden field of the first form.
    pub(super) fn field(&self, name: &str) -> String {
        let start = format!("name=\"{name}\" value=\"");
        let rest = self.body.split_once(&start);
        let Some((_, rest)) = rest else {
            panic!("no `{name}` in {} {}", self.status, self.body)
        };
        rest.split('"').next().unwrap().to_owned()
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// The claims of the ID token.
    pub(super) fn claims(&self) -> Value {
        let value = self.json();
        let token = value["id_token"]
            .as_str()
            .unwrap_or_else(|| panic!("{}", self.body));
        let claims = token.split('.').nth(1).unwrap();
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap()
    }

    /// The key of the code app that is shown.
    pub(super) fn key(&self) -> Vec<u8> {
        let (_, rest) = self.body.split_once("secret=").unwrap();
        let text: String = rest
            .chars()
            .take_while(char::is_ascii_alphanumeric)
            .collect();
        read_base32(&text)
    }
}
