//! The pages of the provider: signing in, first link, factors. Every page is what the state of its ceremony says; every
//! POST changes that state and leads back to a page with GET, so that reloading sends nothing twice.
//!
//! A POST counts when the browser says that a page of ours sent it, its cookie leads to the ceremony, and the page's token
//! was not used before. Nothing secret is in an address. Whether a name exists is told by nothing here.

pub(crate) mod answer;
pub(crate) mod ceremony;
mod date;
mod factors;
mod factors_view;
pub(crate) mod finish;
mod notice;
mod passkey;
pub(crate) mod script;
mod sign_in;
pub(crate) mod text;
pub(crate) mod told;
mod view;
mod welcome;

use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, header};
use maud::{Markup, html};
use secrecy::SecretString;

use crate::Language;
use crate::openid::params::Params;
use crate::provider::{Asking, Dressed, Provider};

use ceremony::{Barred, Ceremony, From, NewCeremony, Step};
use notice::Notice;
use text::words;
use told::Trouble;

const FORM: &str = "application/x-www-form-urlencoded";

/// A form that was taken.
pub(crate) struct Posted {
    pub(crate) params: Params,
    /// As it was when the form came.
    pub(crate) ceremony: Ceremony,
}

/// What a page is made of, before it gets its frame.
pub(crate) struct Sheet {
    pub(crate) title: &'static str,
    pub(crate) body: Markup,
    pub(crate) script: bool,
    pub(crate) wide: bool,
}

impl Provider {
    /// Whatever a person sees or sends.
    pub(crate) async fn page(&self, asking: &Asking<'_>, path: &str) -> Response<Bytes> {
        if asking.caller.device.is_none_or(str::is_empty) {
            return self.trouble(asking, Trouble::NoDevice, StatusCode::FORBIDDEN);
        }
        if asking.method == Method::GET {
            return match path {
                "/welcome" if asking.ceremony_id().is_none() => self.welcome(asking),
                "/factors" | "/factors/totp" => self.factors(asking, path),
                _ => self.show(asking, path),
            };
        }
        if !asking.is_same_origin(&self.origin) {
            return self.trouble(asking, Trouble::Foreign, StatusCode::FORBIDDEN);
        }
        if let Some(call) = path.strip_prefix("/passkey/") {
            return self.passkey_call(asking, call).await;
        }
        let posted = match self.posted(asking) {
            Ok(posted) => posted,
            Err(refusal) => return refusal,
        };
        match path {
            "/password" => self.check_password(asking, &posted).await,
            "/code" => self.check_code(asking, &posted).await,
            "/recovery" => self.check_recovery(asking, &posted).await,
            "/cancel" => self.cancel(asking, &posted),
            "/welcome" => self.open_link(asking, &posted),
            "/welcome/password" => self.first_password(asking, &posted).await,
            "/recovery-codes/kept" => self.codes_kept(asking, &posted),
            _ => self.change_factors(asking, path, &posted).await,
        }
    }

    /// Begins a ceremony and leads to its page.
    pub(crate) fn begin(&self, asking: &Asking<'_>, new: NewCeremony) -> Response<Bytes> {
        if asking.caller.device.is_none_or(str::is_empty) {
            return self.trouble(asking, Trouble::NoDevice, StatusCode::FORBIDDEN);
        }
        let path = path_of(&new.step);
        let (id, cookie) = self.ceremonies.begin(asking.from(), new, &*self.random);
        answer::with_cookie(answer::see(&address(path, &id)), cookie.as_ref())
    }

    /// The page of a ceremony, as its state says.
    fn show(&self, asking: &Asking<'_>, path: &str) -> Response<Bytes> {
        let Some(ceremony) = self.current(asking) else {
            return self.trouble(asking, Trouble::Over, StatusCode::GONE);
        };
        if !fits(&ceremony.step, path) {
            return answer::see(&address(path_of(&ceremony.step), &ceremony.id));
        }
        let language = asking.language(&ceremony);
        let sheet = match (&ceremony.step, path) {
            (Step::SignIn, "/recovery") => view::recover(&ceremony, language, asking.now()),
            (Step::SignIn, _) | (Step::Code { .. }, "/sign-in") => {
                view::sign_in(&ceremony, language, self.accounts.passwords(), asking.now())
            }
            (Step::Code { .. }, path) => {
                view::code(&ceremony, language, path == "/recovery", asking.now())
            }
            (Step::Unmet { .. }, _) => view::unmet(&ceremony, language),
            (Step::Link, _) => view::link(&ceremony, language, asking.now()),
            (Step::Welcome { .. }, _) => {
                let offer = self.offer(asking, &ceremony);
                view::welcome(&ceremony, language, offer.as_deref(), asking.now())
            }
            (Step::Codes { codes, .. }, _) => view::codes(&ceremony, codes, language),
            (Step::Ready { .. }, _) => view::ready(language),
            (Step::Factors { .. }, _) => return answer::see("/id/factors"),
        };
        self.dressed(
            asking,
            language,
            sheet,
            Some((path, &ceremony.id)),
            StatusCode::OK,
        )
    }

    /// The ceremony that the address names, in the language that it asks for.
    pub(crate) fn current(&self, asking: &Asking<'_>) -> Option<Ceremony> {
        let query = asking.uri.query().unwrap_or_default();
        let params = Params::parse(query.as_bytes()).ok()?;
        let wanted = params.text("lang").and_then(Language::of_tag);
        self.ceremonies
            .at(asking.from(), params.text("c")?, |ceremony| {
                ceremony.language = wanted.or(ceremony.language);
                ceremony.clone()
            })
    }

    /// Takes a form.
    #[expect(
        clippy::result_large_err,
        reason = "the error is the answer, once per request"
    )]
    fn posted(&self, asking: &Asking<'_>) -> Result<Posted, Response<Bytes>> {
        let malformed = || self.trouble(asking, Trouble::Foreign, StatusCode::BAD_REQUEST);
        if !asking.is_of_type(FORM) {
            return Err(malformed());
        }
        let params = Params::parse(asking.body).map_err(|_| malformed())?;
        let id = params.or_empty("c");
        let taken =
            self.ceremonies
                .take_form(asking.from(), id, params.or_empty("form"), &*self.random);
        match taken {
            Ok(ceremony) => Ok(Posted { params, ceremony }),
            Err(Barred::Unknown) => Err(self.trouble(asking, Trouble::Over, StatusCode::FORBIDDEN)),
            Err(Barred::Stale) => Err(self.stale(asking, id)),
        }
    }

    /// Back to the page of the ceremony, with something to say, or to the one of its next step.
    pub(crate) fn next(
        &self,
        asking: &Asking<'_>,
        id: &str,
        change: impl FnOnce(&mut Ceremony),
    ) -> Response<Bytes> {
        match self.moved(asking, id, change) {
            Some(address) => answer::see(&address),
            None => self.trouble(asking, Trouble::Over, StatusCode::GONE),
        }
    }

    /// Likewise, and the browser gets a new cookie: the person has proved something.
    pub(crate) fn next_renewed(
        &self,
        asking: &Asking<'_>,
        id: &str,
        change: impl FnOnce(&mut Ceremony),
    ) -> Response<Bytes> {
        let Some(address) = self.moved(asking, id, change) else {
            return self.trouble(asking, Trouble::Over, StatusCode::GONE);
        };
        let cookie = self.renewed(asking);
        answer::with_cookie(answer::see(&address), cookie.as_ref())
    }

    pub(crate) fn moved(
        &self,
        asking: &Asking<'_>,
        id: &str,
        change: impl FnOnce(&mut Ceremony),
    ) -> Option<String> {
        self.ceremonies.at(asking.from(), id, |ceremony| {
            change(ceremony);
            address(path_of(&ceremony.step), &ceremony.id)
        })
    }

    pub(crate) fn renewed(&self, asking: &Asking<'_>) -> Option<SecretString> {
        self.ceremonies.renew(asking.from(), &*self.random)
    }

    /// There is no page, and this is why.
    pub(crate) fn trouble(
        &self,
        asking: &Asking<'_>,
        trouble: Trouble,
        status: StatusCode,
    ) -> Response<Bytes> {
        let language = asking.caller.language;
        let sheet = view::trouble(trouble, language, "/", words(language).to_start);
        self.dressed(asking, language, sheet, None, status)
    }

    pub(crate) fn nothing_here(&self, asking: &Asking<'_>) -> Response<Bytes> {
        self.trouble(asking, Trouble::NothingHere, StatusCode::NOT_FOUND)
    }

    /// The form was used; where it goes on.
    fn stale(&self, asking: &Asking<'_>, id: &str) -> Response<Bytes> {
        let Some(step) = self
            .ceremonies
            .at(asking.from(), id, |ceremony| ceremony.step.clone())
        else {
            return self.trouble(asking, Trouble::Over, StatusCode::FORBIDDEN);
        };
        let language = asking.caller.language;
        let to = address(path_of(&step), id);
        let sheet = view::trouble(Trouble::Stale, language, &to, words(language).go_on);
        self.dressed(asking, language, sheet, None, StatusCode::FORBIDDEN)
    }

    /// Puts a sheet into the gateway's frame.
    pub(crate) fn dressed(
        &self,
        asking: &Asking<'_>,
        language: Language,
        sheet: Sheet,
        at: Option<(&str, &str)>,
        status: StatusCode,
    ) -> Response<Bytes> {
        let other = at.map(|(path, id)| {
            let tag = match language {
                Language::English => Language::Japanese.tag(),
                Language::Japanese => Language::English.tag(),
            };
            format!("{}&lang={tag}", address(path, id))
        });
        let script = [script::ADDRESS.as_str()];
        let page = Dressed {
            language,
            title: sheet.title,
            body: sheet.body,
            scripts: if sheet.script { &script } else { &[] },
            wide: sheet.wide,
            other_language: other.as_deref(),
        };
        let mut response = asking.face.dress.page(page, status);
        // Pages carry tokens; whatever the frame says, nobody keeps them.
        response
            .headers_mut()
            .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }

    /// A page that leads away at once. Not a redirect: after a form, browsers hold the whole way to the app against
    /// `form-action`, and the app is on another host.
    pub(crate) fn leads_to(
        &self,
        asking: &Asking<'_>,
        language: Language,
        to: &str,
    ) -> Response<Bytes> {
        let sheet = view::done(language, to);
        let mut response = self.dressed(asking, language, sheet, None, StatusCode::OK);
        if let Ok(mut value) = HeaderValue::try_from(format!("0;url={to}")) {
            value.set_sensitive(true);
            response.headers_mut().insert(header::REFRESH, value);
        }
        response
    }
}

impl Asking<'_> {
    pub(crate) fn from(&self) -> From<'_> {
        From {
            cookie: answer::cookie(self.headers),
            device: self.caller.device.unwrap_or_default(),
            now: self.caller.now,
        }
    }

    pub(crate) fn language(&self, ceremony: &Ceremony) -> Language {
        ceremony.language.unwrap_or(self.caller.language)
    }

    fn ceremony_id(&self) -> Option<String> {
        let params = Params::parse(self.uri.query()?.as_bytes()).ok()?;
        params.text("c").map(str::to_owned)
    }
}

/// A page of a ceremony.
pub(crate) fn address(path: &str, id: &str) -> String {
    format!("/id{path}?c={id}")
}

/// Where a step is shown.
pub(crate) fn path_of(step: &Step) -> &'static str {
    match step {
        Step::SignIn | Step::Unmet { .. } => "/sign-in",
        Step::Code { .. } => "/code",
        Step::Link | Step::Welcome { .. } | Step::Ready { .. } => "/welcome",
        Step::Codes { .. } => "/recovery-codes",
        Step::Factors { .. } => "/factors",
    }
}

fn fits(step: &Step, path: &str) -> bool {
    let is_signing_in = matches!(step, Step::SignIn | Step::Code { .. });
    let is_beside = is_signing_in && (path == "/recovery" || path == "/sign-in");
    is_beside || path == path_of(step)
}

/// What is said at the top.
pub(crate) fn said(notice: Option<Notice>, language: Language, now: i64) -> Markup {
    html! {
        @if let Some(notice) = notice {
            @if notice.is_good() {
                div.note.good id="notice" role="status" { p { (told::of_notice(notice, language, now)) } }
            } @else {
                div.note.bad id="notice" role="alert" { p { (told::of_notice(notice, language, now)) } }
            }
        }
    }
}

/// What every form carries.
pub(crate) fn hidden(ceremony: &Ceremony) -> Markup {
    html! {
        input type="hidden" name="c" value=(ceremony.id);
        input type="hidden" name="form" value=(ceremony.form);
    }
}
