//! A small browser: a cookie jar with the rules that matter, redirects followed one by one, `Sec-Fetch-*` and `Origin` as
//! browsers send them, and the device's certificate for the gateway only.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{COOKIE, HeaderMap, LOCATION, SET_COOKIE};
use http::{Method, Request, StatusCode, Uri};
use http_body_util::Full;

use crate::client::{Answer, Client};
use crate::gateway::TestGateway;
use crate::pki::{Device, Pki};

/// More than any sign-in takes; a loop ends here.
const MOST_HOPS: usize = 20;

/// One person's browser on one device.
#[derive(Clone)]
pub struct Browser {
    pki: Arc<Pki>,
    gateway: SocketAddr,
    device: Option<Device>,
    /// By host, then by name. Clones have jars of their own: a copy is a thief's.
    jar: BTreeMap<String, BTreeMap<String, Cookie>>,
    language: String,
    /// Cookies that were not taken, as `name: why`.
    pub refused: Vec<String>,
}

/// A cookie in the jar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cookie {
    pub value: String,
    /// Everything after the value, as it was sent.
    pub attributes: String,
}

/// What was shown in the end, and how it came to that.
#[derive(Clone, Debug)]
pub struct Page {
    pub url: String,
    pub answer: Answer,
    /// Each answer on the way: address, status, and where it led.
    pub hops: Vec<(String, StatusCode, Option<String>)>,
}

/// A form of a page.
#[derive(Clone, Debug, Default)]
pub struct Form {
    pub action: String,
    pub method: String,
    pub fields: Vec<(String, String)>,
}

/// How something is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Navigate,
    /// `fetch()` from a page.
    Cors,
}

/// One request.
struct Ask<'a> {
    method: Method,
    url: &'a str,
    body: Option<(&'a str, &'a [u8])>,
    mode: Mode,
    /// `Sec-Fetch-Site`, worked out over the whole chain of redirects.
    site: &'static str,
    /// The page that it comes from, as an origin.
    from: Option<&'a str>,
}

impl TestGateway {
    /// A browser on that device, with nothing in its jar.
    pub fn browser(&self, device: &str) -> Browser {
        Browser {
            pki: Arc::clone(self.pki()),
            gateway: self.address(),
            device: Some(self.device(device)),
            jar: BTreeMap::new(),
            language: "en".to_owned(),
            refused: Vec::new(),
        }
    }
}

impl Browser {
    /// The same jar on another device, or on none: a thief's.
    pub fn on(mut self, device: Option<Device>) -> Self {
        self.device = device;
        self
    }
    pub fn language(mut self, language: &str) -> Self {
        language.clone_into(&mut self.language);
        self
    }

    /// A cookie, as another page of the same host could not see it but a thief can.
    pub fn cookie(&self, host: &str, name: &str) -> Option<&Cookie> {
        self.jar.get(host)?.get(name)
    }
    /// Plants a cookie.
    pub fn set_cookie(&mut self, host: &str, name: &str, value: &str) {
        let cookie = Cookie {
            value: value.to_owned(),
            attributes: String::new(),
        };
        let jar = self.jar.entry(host.to_owned()).or_default();
        jar.insert(name.to_owned(), cookie);
    }
    pub fn forget(&mut self, host: &str) {
        self.jar.remove(host);
    }

    /// Types an address, and follows to the end.
    pub async fn open(&mut self, url: &str) -> Page {
        self.follow(Method::GET, url, None, None).await
    }

    /// Follows a link on a page of `from` (an origin).
    pub async fn click(&mut self, from: &str, url: &str) -> Page {
        self.follow(Method::GET, url, None, Some(from)).await
    }

    /// One step of [`Browser::open`]: redirects are shown, not followed.
    pub async fn step(&mut self, url: &str) -> Answer {
        self.ask(Ask {
            method: Method::GET,
            url,
            body: None,
            mode: Mode::Navigate,
            site: "none",
            from: None,
        })
        .await
    }

    /// Sends a form from a page of `from` (an origin), and follows.
    pub async fn post(&mut self, from: &str, url: &str, fields: &[(&str, &str)]) -> Page {
        let body = pairs(fields);
        let kind = "application/x-www-form-urlencoded";
        let content = Some((kind, body.as_bytes()));
        self.follow(Method::POST, url, content, Some(from)).await
    }

    /// Sends a form of a page that is shown, with more or other fields.
    pub async fn submit(&mut self, page: &Page, form: &Form, more: &[(&str, &str)]) -> Page {
        let url = resolve(&page.url, &form.action);
        let mut fields: Vec<(&str, &str)> = form
            .fields
            .iter()
            .filter(|(name, _)| more.iter().all(|(other, _)| other != name))
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        fields.extend(more);
        let from = origin(&page.url);
        if form.method.eq_ignore_ascii_case("post") {
            self.post(&from, &url, &fields).await
        } else {
            let url = format!("{url}?{}", pairs(&fields));
            self.click(&from, &url).await
        }
    }

    /// What a script on a page of `from` fetches; nothing is followed.
    pub async fn fetch(&mut self, from: &str, method: Method, url: &str, json: &str) -> Answer {
        let body = (!json.is_empty()).then_some(("application/json", json.as_bytes()));
        self.ask(Ask {
            method,
            url,
            body,
            mode: Mode::Cors,
            site: site(Some(from), url),
            from: Some(from),
        })
        .await
    }

    async fn follow(
        &mut self,
        mut method: Method,
        url: &str,
        mut body: Option<(&str, &[u8])>,
        from: Option<&str>,
    ) -> Page {
        let mut url = url.to_owned();
        let mut worst = site(from, &url);
        let mut hops = Vec::new();
        loop {
            let answer = self
                .ask(Ask {
                    method: method.clone(),
                    url: &url,
                    body,
                    mode: Mode::Navigate,
                    site: worst,
                    from,
                })
                .await;
            let to = answer
                .headers
                .get(LOCATION)
                .filter(|_| answer.status.is_redirection())
                .map(|to| resolve(&url, to.to_str().unwrap()));
            hops.push((url.clone(), answer.status, to.clone()));
            let Some(to) = to else {
                return Page { url, answer, hops };
            };
            assert!(hops.len() < MOST_HOPS, "redirected in a circle: {hops:#?}");
            // A redirect through another site taints what follows (Fetch, "Sec-Fetch-Site").
            if from.is_some() {
                let next = site(Some(&origin(&url)), &to);
                worst = match (worst, next) {
                    ("cross-site", _) | (_, "cross-site") => "cross-site",
                    ("same-site", _) | (_, "same-site") => "same-site",
                    _ => "same-origin",
                };
            }
            if !matches!(answer.status.as_u16(), 307 | 308) {
                method = Method::GET;
                body = None;
            }
            url = to;
        }
    }

    async fn ask(&mut self, ask: Ask<'_>) -> Answer {
        let uri: Uri = ask.url.parse().unwrap();
        assert_eq!(uri.scheme_str(), Some("https"), "{}", ask.url);
        let host = uri.host().unwrap().to_owned();
        let authority = uri.authority().unwrap().as_str().to_owned();
        let ours = host.ends_with(".corp.test");
        let address = if ours {
            self.gateway
        } else {
            SocketAddr::from(([127, 0, 0, 1], uri.port_u16().unwrap_or(443)))
        };
        let mut client = Client::of(address, self.pki.root(), &host);
        // A browser offers its certificate where it is asked for one of that CA; nobody else asks here.
        if let Some(device) = self.device.as_ref().filter(|_| ours) {
            client = client.device(device);
        }
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let mut builder = Request::builder()
            .method(ask.method.clone())
            .uri(path)
            .header("host", authority)
            .header("accept-language", &self.language)
            .header("sec-fetch-site", ask.site);
        builder = match ask.mode {
            Mode::Navigate => builder
                .header("accept", "text/html,application/xhtml+xml,*/*;q=0.8")
                .header("sec-fetch-mode", "navigate")
                .header("sec-fetch-dest", "document")
                .header("sec-fetch-user", "?1"),
            Mode::Cors => builder
                .header("accept", "*/*")
                .header("sec-fetch-mode", "cors")
                .header("sec-fetch-dest", "empty"),
        };
        if let Some(from) = ask.from.filter(|_| ask.method != Method::GET) {
            builder = builder.header("origin", from);
        }
        let cookies = self.cookies_for(&host, &ask);
        if !cookies.is_empty() {
            builder = builder.header(COOKIE, cookies);
        }
        let mut content = Bytes::new();
        if let Some((kind, body)) = ask.body {
            builder = builder.header("content-type", kind);
            content = Bytes::copy_from_slice(body);
        }
        let mut session = match client.try_session("").await {
            Ok(session) => session,
            Err(error) => panic!("{}: no connection: {error}", ask.url),
        };
        let request = builder.body(Full::new(content)).unwrap();
        let answer = session.send(request).await.expect("an answer");
        self.take_cookies(&host, &answer.headers);
        answer
    }

    fn cookies_for(&self, host: &str, ask: &Ask<'_>) -> String {
        let jar = self.jar.get(host).into_iter().flatten();
        let sent = jar.filter(|(_, cookie)| {
            let same_site = attribute(&cookie.attributes, "samesite").unwrap_or("lax");
            match same_site.to_ascii_lowercase().as_str() {
                "none" => true,
                "strict" => ask.site != "cross-site",
                // Lax: from other sites only with navigations by GET.
                _ => {
                    ask.site != "cross-site"
                        || (ask.mode == Mode::Navigate && ask.method == Method::GET)
                }
            }
        });
        let sent: Vec<_> = sent
            .map(|(name, cookie)| format!("{name}={}", cookie.value))
            .collect();
        sent.join("; ")
    }

    fn take_cookies(&mut self, host: &str, headers: &HeaderMap) {
        for line in headers.get_all(SET_COOKIE) {
            let line = line.to_str().unwrap();
            let (pair, attributes) = line.split_once(';').unwrap_or((line, ""));
            let (name, value) = pair.trim().split_once('=').unwrap();
            if let Some(why) = host_prefix_fault(name, attributes) {
                self.refused.push(format!("{name}: {why}"));
                continue;
            }
            let jar = self.jar.entry(host.to_owned()).or_default();
            let age = attribute(attributes, "max-age").and_then(|age| age.parse::<i64>().ok());
            if age.is_some_and(|age| age <= 0) {
                jar.remove(name);
                continue;
            }
            let cookie = Cookie {
                value: value.to_owned(),
                attributes: attributes.trim().to_owned(),
            };
            jar.insert(name.to_owned(), cookie);
        }
    }
}

/// RFC 6265bis §4.1.3.2.
fn host_prefix_fault(name: &str, attributes: &str) -> Option<&'static str> {
    if !name.starts_with("__Host-") {
        return None;
    }
    if attribute(attributes, "secure").is_none() {
        Some("is not Secure")
    } else if attribute(attributes, "domain").is_some() {
        Some("has a Domain")
    } else if attribute(attributes, "path") != Some("/") {
        Some("has another Path than /")
    } else {
        None
    }
}

fn attribute<'a>(attributes: &'a str, name: &str) -> Option<&'a str> {
    attributes.split(';').find_map(|part| {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        key.trim()
            .eq_ignore_ascii_case(name)
            .then_some(value.trim())
    })
}

impl Page {
    pub fn status(&self) -> u16 {
        self.answer.status.as_u16()
    }
    pub fn text(&self) -> String {
        self.answer.text()
    }
    /// Where the browser has been on the way, hosts only.
    pub fn hosts(&self) -> Vec<String> {
        let host = |url: &String| {
            let uri: Uri = url.parse().unwrap();
            uri.host().unwrap().to_owned()
        };
        self.hops.iter().map(|(url, ..)| host(url)).collect()
    }
    /// The forms of the page, in order.
    pub fn forms(&self) -> Vec<Form> {
        forms(&self.text())
    }
    /// The form whose action has this in it.
    #[track_caller]
    pub fn form(&self, action: &str) -> Form {
        let forms = self.forms();
        let found = forms.iter().find(|form| form.action.contains(action));
        found
            .unwrap_or_else(|| panic!("no form for {action} in {forms:#?}\n{}", self.text()))
            .clone()
    }
}

/// As far as pages of ours go: attributes in double quotes, no markup inside them.
fn forms(html: &str) -> Vec<Form> {
    let mut forms = Vec::new();
    let mut parts = html.split("<form");
    parts.next();
    for part in parts {
        let inside = part.split("</form").next().unwrap_or_default();
        let (head, body) = inside.split_once('>').unwrap_or((inside, ""));
        let mut form = Form {
            action: value_of(head, "action").unwrap_or_default(),
            method: value_of(head, "method").unwrap_or_else(|| "get".to_owned()),
            fields: Vec::new(),
        };
        for tag in ["<input", "<button", "<textarea"] {
            for field in body.split(tag).skip(1) {
                let (attributes, rest) = field.split_once('>').unwrap_or((field, ""));
                let Some(name) = value_of(attributes, "name") else {
                    continue;
                };
                let value = if tag == "<textarea" {
                    unescape(rest.split("</textarea").next().unwrap_or_default())
                } else {
                    value_of(attributes, "value").unwrap_or_default()
                };
                form.fields.push((name, value));
            }
        }
        forms.push(form);
    }
    forms
}

fn value_of(attributes: &str, name: &str) -> Option<String> {
    let start = format!(" {name}=\"");
    let (_, rest) = attributes.split_once(&start)?;
    rest.split('"').next().map(unescape)
}

fn unescape(text: &str) -> String {
    text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&#39;", "'")
        .replace("&amp;", "&")
}

/// `https://host:port`.
pub fn origin(url: &str) -> String {
    let uri: Uri = url.parse().unwrap();
    format!("https://{}", uri.authority().unwrap())
}

/// A reference on a page, as an absolute address.
fn resolve(base: &str, reference: &str) -> String {
    if reference.starts_with("https://") || reference.starts_with("http://") {
        return reference.to_owned();
    }
    if let Some(rest) = reference.strip_prefix("//") {
        return format!("https://{rest}");
    }
    let start = origin(base);
    let path = base.strip_prefix(&start).unwrap_or("/");
    let path = path.split('?').next().unwrap_or("/");
    if reference.is_empty() {
        return format!("{start}{path}");
    }
    if reference.starts_with('?') {
        return format!("{start}{path}{reference}");
    }
    if reference.starts_with('/') {
        return format!("{start}{reference}");
    }
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    format!("{start}/{}/{reference}", folder.trim_start_matches('/'))
}

/// What a browser says about where a request comes from. Everything below `corp.test` is one site.
fn site(from: Option<&str>, to: &str) -> &'static str {
    let Some(from) = from else { return "none" };
    let to = origin(to);
    let domain = |origin: &str| {
        let uri: Uri = origin.parse().unwrap();
        let host = uri.host().unwrap_or_default().to_owned();
        if host.ends_with(".corp.test") {
            "corp.test".to_owned()
        } else {
            host
        }
    };
    if from == to {
        "same-origin"
    } else if domain(from) == domain(&to) {
        "same-site"
    } else {
        "cross-site"
    }
}

/// `application/x-www-form-urlencoded`.
pub fn pairs(fields: &[(&str, &str)]) -> String {
    let encode = |text: &str| {
        let mut out = String::new();
        for byte in text.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                    out.push(char::from(byte));
                }
                b' ' => out.push('+'),
                _ => out.push_str(&format!("%{byte:02X}")),
            }
        }
        out
    };
    let fields: Vec<_> = fields
        .iter()
        .map(|(name, value)| format!("{}={}", encode(name), encode(value)))
        .collect();
    fields.join("&")
}

/// And back; the last of several values counts.
pub fn query_of(text: &str) -> BTreeMap<String, String> {
    let decode = |text: &str| {
        let mut bytes = Vec::new();
        let mut rest = text.bytes();
        while let Some(byte) = rest.next() {
            match byte {
                b'+' => bytes.push(b' '),
                b'%' => {
                    let digits = [rest.next(), rest.next()].map(Option::unwrap_or_default);
                    let digits = String::from_utf8_lossy(&digits).into_owned();
                    bytes.push(u8::from_str_radix(&digits, 16).unwrap_or(b'?'));
                }
                byte => bytes.push(byte),
            }
        }
        String::from_utf8_lossy(&bytes).into_owned()
    };
    text.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_read_as_pages_of_ours_write_them() {
        let html = "<form class=\"x\" method=\"post\" action=\"/sign-out\"><input type=\"hidden\" name=\"token\" \
                    value=\"a&amp;b\"><button name=\"all\" value=\"1\">x</button></form>";
        let [form] = forms(html).try_into().unwrap();
        assert_eq!(
            (form.action.as_str(), form.method.as_str()),
            ("/sign-out", "post")
        );
        assert_eq!(
            form.fields,
            [("token", "a&b"), ("all", "1")].map(|(a, b)| (a.to_owned(), b.to_owned()))
        );
    }

    #[test]
    fn references_lead_where_browsers_go() {
        let base = "https://a.corp.test/x/y?z=1";
        for (reference, address) in [
            ("/b?c", "https://a.corp.test/b?c"),
            ("b", "https://a.corp.test/x/b"),
            ("", "https://a.corp.test/x/y"),
            ("?q=2", "https://a.corp.test/x/y?q=2"),
            ("//evil.example/", "https://evil.example/"),
            ("https://evil.example/", "https://evil.example/"),
        ] {
            assert_eq!(resolve(base, reference), address, "{reference}");
        }
    }

    #[test]
    fn a_host_cookie_that_breaks_the_rules_is_not_taken() {
        assert!(host_prefix_fault("__Host-a", " Secure; Path=/").is_none());
        assert!(host_prefix_fault("__Host-a", " Path=/").is_some());
        assert!(host_prefix_fault("__Host-a", " Secure; Path=/x").is_some());
        assert!(host_prefix_fault("__Host-a", " Secure; Path=/; Domain=corp.test").is_some());
    }

    #[test]
    fn queries_survive_being_written() {
        let fields = [("a b", "ü&="), ("c", "")];
        let read = query_of(&pairs(&fields));
        assert_eq!(read["a b"], "ü&=");
        assert_eq!(read["c"], "");
    }
}
