//! What people see while they sign in, and on their own page. Each function makes a whole answer; what happens before and
//! after is the caller's business.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use masugata_policy::{Device, Guidance, Level, Now, PostureFault};
use maud::{Markup, html};

use super::fault::Fault;
use crate::denial::DenialReason;
use crate::exchange::RequestId;
use crate::respond::{Brand, Preferences};
use crate::session::SessionView;

/// What every page needs to know.
#[derive(Clone, Copy)]
pub(crate) struct Look<'a> {
    pub(crate) brand: &'a Brand,
    pub(crate) preferences: Preferences,
    pub(crate) request: RequestId,
    /// Times are shown in the company's zone.
    pub(crate) now: Now,
}

/// A sign-in that goes no further. `again`: a link that begins anew, where that may help.
pub(crate) fn error(look: &Look<'_>, fault: &Fault, again: Option<&str>) -> Response<Bytes> {
    let body = html! {
        h1 { (fault.code()) }
        @if let Some(again) = again { p { a href=(again) { "Sign in" } } }
        p { code { (look.request) } }
    };
    page(look, fault.status(), "Sign-in", &body)
}

/// One of several providers.
pub(crate) struct Choice<'a> {
    pub(crate) label: &'a str,
    /// Begins the sign-in there. A link, because `form-action` would forbid being sent on to the provider.
    pub(crate) link: String,
}

/// Several providers fit.
pub(crate) struct Chooser<'a> {
    /// What the person wants to open; `None`: their own page.
    pub(crate) app: Option<&'a str>,
    pub(crate) choices: &'a [Choice<'a>],
    /// Ask for an e-mail address, which names the provider: a GET form to `/choose` with the field `email` and these.
    pub(crate) by_email: Option<ByEmail<'a>>,
}

/// See [`Chooser::by_email`].
pub(crate) struct ByEmail<'a> {
    /// Hidden fields: name and value.
    pub(crate) carried: &'a [(&'static str, String)],
    /// What was typed, when no provider is known for it.
    pub(crate) unknown: Option<&'a str>,
}

/// Where to sign in?
pub(crate) fn chooser(look: &Look<'_>, chooser: &Chooser<'_>) -> Response<Bytes> {
    let body = html! {
        h1 { "Sign in" @if let Some(app) = chooser.app { " – " (app) } }
        ul { @for choice in chooser.choices { li { a href=(choice.link) { (choice.label) } } } }
        @if let Some(by_email) = &chooser.by_email {
            form method="get" action="/choose" {
                @for (name, value) in by_email.carried { input type="hidden" name=(name) value=(value); }
                label { "E-mail" input type="email" name="email" value=(by_email.unknown.unwrap_or("")); }
                button { "Next" }
            }
        }
    };
    page(look, StatusCode::OK, "Sign in", &body)
}

/// An app as My page shows it.
pub(crate) struct AppCard {
    pub(crate) name: Arc<str>,
    /// Absolute; `None` where it has no exact host to lead to.
    pub(crate) link: Option<String>,
    pub(crate) level: Level,
    /// Why it would not open now.
    pub(crate) refused: Option<Refusal>,
}

/// Why an app would not open now.
pub(crate) struct Refusal {
    pub(crate) reason: DenialReason,
    pub(crate) guidance: Option<Arc<Guidance>>,
    pub(crate) posture: Option<PostureFault>,
    /// Opening it leads through a stronger or fresher sign-in, after which it would (so it is shown as a link).
    pub(crate) step_up: bool,
}

/// What a person's own page shows.
pub(crate) struct MyPage<'a> {
    /// A name to show; else the principal's id.
    pub(crate) name: &'a str,
    pub(crate) email: Option<&'a str>,
    /// Where they signed in, in the configuration's words.
    pub(crate) provider: &'a str,
    pub(crate) apps: &'a [AppCard],
    pub(crate) device: &'a Device,
    /// What is wrong with the device for any of the apps, without repetition.
    pub(crate) device_faults: &'a [PostureFault],
    /// The current one is that with the id `current`.
    pub(crate) sessions: &'a [SessionView],
    pub(crate) current: &'a str,
    /// The page of passkeys, password and codes, where the built-in provider has the account.
    pub(crate) factors: Option<&'a str>,
    /// The hidden field `token` of the forms: POST `/sign-out`, and POST `/sessions/end` with the field `session` (the id).
    pub(crate) token: &'a str,
}

/// My page.
pub(crate) fn my_page(look: &Look<'_>, my: &MyPage<'_>) -> Response<Bytes> {
    let body = html! {
        h1 { (my.name) }
        ul { @for app in my.apps { li {
            @match &app.link { Some(link) => { a href=(link) { (app.name) } } None => { (app.name) } }
            " " (app.level.as_str())
            @if let Some(refusal) = &app.refused { " " code { (refusal.reason.code()) } }
        } } }
        p { "Device: " (my.device.id()) }
        ul { @for session in my.sessions { li {
            (session.device)
            @if session.id == my.current { " (this one)" }
            form method="post" action="/sessions/end" {
                input type="hidden" name="token" value=(my.token);
                input type="hidden" name="session" value=(session.id);
                button { "End" }
            }
        } } }
        @if let Some(factors) = my.factors { p { a href=(factors) { "Passkeys and passwords" } } }
        form method="post" action="/sign-out" {
            input type="hidden" name="token" value=(my.token);
            button { "Sign out" }
        }
    };
    page(look, StatusCode::OK, "My page", &body)
}

/// Nobody is signed in any more. `provider`: its label and where the browser goes on to be signed out there, too; the caller
/// has set the header `Refresh`, and the page says the same with a link.
pub(crate) fn signed_out(look: &Look<'_>, provider: Option<(&str, &str)>) -> Response<Bytes> {
    let body = html! {
        h1 { "Signed out" }
        @if let Some((label, link)) = provider { p { a href=(link) { "Sign out at " (label) } } }
        p { a href="/" { "Sign in" } }
    };
    page(look, StatusCode::OK, "Signed out", &body)
}

/// A form that somebody sent when their session was over, or not strong enough.
pub(crate) struct KeptForm<'a> {
    pub(crate) app: &'a str,
    /// Signs in, in a new tab (`target="_blank" rel="noopener"`).
    pub(crate) sign_in: &'a str,
    pub(crate) entries: Entries<'a>,
}

/// What became of what was typed.
pub(crate) enum Entries<'a> {
    /// To be sent again to `action` (an absolute address) as hidden fields, in this order.
    Kept {
        action: &'a str,
        /// `multipart/form-data`; otherwise urlencoded.
        multipart: bool,
        fields: &'a [(String, String)],
    },
    /// It cannot be kept (files, too large, no text): say how to go back, where browsers have it still, and send it again.
    GoBack,
}

/// Your entries are kept: status 401. Its form goes to the app itself, which may send the browser anywhere:
/// `form-action 'self' https:`.
pub(crate) fn kept_form(look: &Look<'_>, kept: &KeptForm<'_>) -> Response<Bytes> {
    let body = html! {
        h1 { "Your entries are kept" }
        p { a href=(kept.sign_in) target="_blank" rel="noopener" { "Sign in" } }
        @match &kept.entries {
            Entries::Kept { action, multipart, fields } => {
                form method="post" action=(action) enctype=[multipart.then_some("multipart/form-data")] {
                    @for (name, value) in *fields {
                        // Hidden fields keep line breaks; a text field would not.
                        input type="hidden" name=(name) value=(value);
                    }
                    button { "Send" }
                }
            }
            Entries::GoBack => { p { "Go back and send it again." } }
        }
    };
    page(look, StatusCode::UNAUTHORIZED, "Sign in", &body)
}

/// For the tab in which somebody signed in because of [`kept_form`]: close it, and go back to the other.
pub(crate) fn signed_in_elsewhere(look: &Look<'_>) -> Response<Bytes> {
    let body = html! { h1 { "Signed in" } p { "Close this tab and go back to the other one." } };
    page(look, StatusCode::OK, "Signed in", &body)
}

fn page(look: &Look<'_>, status: StatusCode, title: &str, body: &Markup) -> Response<Bytes> {
    let language = look.preferences.language.tag();
    let text = html! {
        (maud::DOCTYPE)
        html lang=(language) { head { meta charset="utf-8"; title { (title) } } body { main { (body) } } }
    };
    let mut response = Response::new(Bytes::from(text.into_string()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    crate::respond::negotiated_headers(headers, look.preferences);
    for (name, value) in [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        // With `no-referrer` browsers say `Origin: null` on the page's own forms (Fetch §3.2), which then do not count.
        (header::REFERRER_POLICY, "same-origin"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; base-uri 'none'; form-action 'self' https:; frame-ancestors 'none'",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}
