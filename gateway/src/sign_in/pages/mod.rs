//! What people see while they sign in, and afterwards of their apps, device and sessions. Each function makes a whole
//! answer; nothing here decides or changes anything.

mod choose;
mod kept;
mod mine;
mod outcome;
mod scripts;
mod text;

#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode, header};
use masugata_policy::Timestamp;
use maud::{Markup, html};

pub(crate) use choose::{ByEmail, Choice, Chooser, chooser};
pub(crate) use kept::{Entries, KeptForm, kept_form, signed_in_elsewhere};
pub(crate) use mine::{Factors, MyNotice, MyPage, OTHERS, my_page};
pub(crate) use outcome::{AtProvider, error, signed_out};
pub(crate) use scripts::asset;
use text::Both;

use crate::exchange::RequestId;
use crate::respond::{self, Brand, Framed, Host, Language, Powers, Preferences};
use crate::state::{State, Zone};

/// To whom a page is shown: in which language, with whose name on it.
#[derive(Clone)]
pub(crate) struct Look<'a> {
    brand: &'a Brand,
    zone: &'a Zone,
    preferences: Preferences,
    request: RequestId,
    /// The language was chosen on a page of ours, and stays in its links.
    chosen: bool,
    /// Where the same page is in the other language.
    other_language: Option<String>,
}

impl<'a> Look<'a> {
    /// For whoever asked with `head` on the sign-in host. `?lang=ja` and `?lang=en` count before `Accept-Language`.
    pub(crate) fn at_sign_in(state: &'a State, head: &Parts, request: RequestId) -> Self {
        Self::of(&state.brand, &state.zone, head, request)
    }

    /// For whoever asked an app.
    pub(crate) fn at_app(state: &'a State, preferences: Preferences, request: RequestId) -> Self {
        Self {
            brand: &state.brand,
            zone: &state.zone,
            preferences,
            request,
            chosen: false,
            other_language: None,
        }
    }

    fn of(brand: &'a Brand, zone: &'a Zone, head: &Parts, request: RequestId) -> Self {
        let mut preferences = Preferences::of(head);
        let chosen = language_of(head.uri.query().unwrap_or_default());
        if let Some(language) = chosen {
            preferences.language = language;
        }
        let other = in_other_language(head, preferences.language);
        Self {
            brand,
            zone,
            preferences,
            request,
            chosen: chosen.is_some(),
            other_language: (head.method == Method::GET).then_some(other),
        }
    }

    /// For pages whose address counts once: it must not be asked for again, in whatever language.
    #[must_use]
    pub(crate) fn without_switch(mut self) -> Self {
        self.other_language = None;
        self
    }

    pub(crate) fn language(&self) -> Language {
        self.preferences.language
    }

    /// A path on this host, in the language that was chosen.
    pub(crate) fn link(&self, path: &str) -> String {
        if !self.chosen {
            return path.to_owned();
        }
        let joint = if path.contains('?') { '&' } else { '?' };
        let tag = self.preferences.language.tag();
        match path.split_once('#') {
            Some((path, fragment)) => format!("{path}{joint}lang={tag}#{fragment}"),
            None => format!("{path}{joint}lang={tag}"),
        }
    }

    /// For forms that go by GET, whose address cannot carry it.
    fn chosen_language(&self) -> Option<&'static str> {
        self.chosen.then(|| self.preferences.language.tag())
    }

    fn say(&self, both: Both) -> &'static str {
        both.of(self.preferences.language)
    }

    /// What a value follows: in Japanese the colon is wide enough.
    fn lead(&self, both: Both) -> String {
        match self.preferences.language {
            Language::English => format!("{} ", both.0),
            Language::Japanese => both.1.to_owned(),
        }
    }

    /// A time on the company's wall.
    fn time(&self, at: Timestamp) -> Markup {
        let instant = jiff::Timestamp::from_millisecond(at.as_millis());
        let instant = instant.unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        html! { time datetime=(instant) { (self.zone.wall(at)) } }
    }

    fn answer(&self, page: &Page<'_>) -> Response<Bytes> {
        let framed = Framed {
            language: self.preferences.language,
            brand: self.brand,
            host: Host::Ours,
            title: page.title,
            other_language: self.other_language.as_deref(),
            scripts: page.scripts,
            wide: page.wide,
            body: &page.body.0,
            footer: page.footer,
        };
        let content = framed.to_string();
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = page.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(content.len()));
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/html; charset=utf-8"),
        );
        respond::negotiated_headers(headers, self.preferences);
        // With `no-referrer` browsers say `Origin: null` on the page's own forms (Fetch §3.2), which then do not count.
        headers.insert(
            header::REFERRER_POLICY,
            HeaderValue::from_static("same-origin"),
        );
        let policy = self.brand.policy(page.powers);
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
        headers.insert(
            "cross-origin-opener-policy",
            HeaderValue::from_static("same-origin"),
        );
        if !self.preferences.head_only {
            *response.body_mut() = Bytes::from(content);
        }
        response
    }
}

/// What a page puts into the frame.
struct Page<'a> {
    status: StatusCode,
    title: &'a str,
    powers: Powers,
    scripts: &'a [&'a str],
    wide: bool,
    body: Markup,
    footer: &'a str,
}

fn language_of(query: &str) -> Option<Language> {
    query.split('&').find_map(|pair| match pair {
        "lang=ja" => Some(Language::Japanese),
        "lang=en" => Some(Language::English),
        _ => None,
    })
}

/// The path and query of `head`, with the language changed.
fn in_other_language(head: &Parts, language: Language) -> String {
    let other = match language {
        Language::English => Language::Japanese,
        Language::Japanese => Language::English,
    };
    let query = head.uri.query().unwrap_or_default();
    let kept = query
        .split('&')
        .filter(|pair| !pair.is_empty() && !pair.starts_with("lang="));
    let mut address = format!("{}?lang={}", head.uri.path(), other.tag());
    for pair in kept {
        address.push('&');
        address.push_str(pair);
    }
    address
}

/// What could be quoted to the help desk.
fn numbers(look: &Look<'_>, code: &str) -> Markup {
    html! {
        dl {
            dt { (look.say(text::CODE)) }
            dd { code { (code) } }
            dt { (look.say(text::REQUEST)) }
            dd { code { (look.request) } }
        }
    }
}
