//! A form that was posted when its session had ended: what was typed is kept in a page, until the person has signed in in
//! another tab and sends it again. Both pages stand on the app's own host; nothing of the form is stored by us.

use bytes::Bytes;
use http::{Response, StatusCode};
use maud::html;

use super::text as t;
use super::{Look, Page, scripts};
use crate::respond::Powers;

/// A form that somebody sent when their session was over, or not strong enough.
pub(crate) struct KeptForm<'a> {
    pub(crate) app: &'a str,
    /// Signs in, in a new tab.
    pub(crate) sign_in: &'a str,
    pub(crate) entries: Entries<'a>,
}

/// What became of what was typed.
pub(crate) enum Entries<'a> {
    /// To be sent again to `action` (path and query) as hidden fields, in this order.
    Kept {
        action: &'a str,
        /// `multipart/form-data`; otherwise urlencoded.
        multipart: bool,
        fields: &'a [(String, String)],
    },
    /// It cannot be kept (files, too large, no text); browsers still have it, and send it again when the page is reloaded.
    GoBack,
}

/// The answer is 401: programs must not take it for the app's.
pub(crate) fn kept_form(look: &Look<'_>, kept: &KeptForm<'_>) -> Response<Bytes> {
    let say = |both| look.say(both);
    let (second, ready) = match kept.entries {
        Entries::Kept { .. } => (t::KEPT_SECOND, t::KEPT_READY),
        Entries::GoBack => (t::KEPT_RELOAD, t::KEPT_READY_RELOAD),
    };
    let body = html! {
        h1 { (say(t::KEPT_TITLE)) }
        p { (look.lead(t::KEPT_APP)) strong { (kept.app) } }
        p { (say(t::KEPT_TEXT)) }
        ol {
            li { (say(t::KEPT_FIRST)) }
            li { (say(second)) }
        }
        div role="status" {
            div.note.good #signed-in hidden { p { strong { (say(ready)) } } }
        }
        div.acts {
            a.button #sign-in href=(kept.sign_in) target="_blank" rel="noopener" {
                (say(t::KEPT_SIGN_IN))
            }
            @if let Entries::Kept { action, multipart, fields } = kept.entries {
                form method="post" action=(action) enctype=[multipart.then_some("multipart/form-data")] {
                    @for (name, value) in fields {
                        (hidden(name, value))
                    }
                    button.second #send { (say(t::KEPT_SEND)) }
                }
            }
        }
        p.soft { (say(t::KEPT_DO_NOT_CLOSE)) }
    };
    look.clone().without_switch().answer(&Page {
        status: StatusCode::UNAUTHORIZED,
        title: say(t::KEPT_TITLE),
        powers: Powers::Scripted,
        scripts: &[scripts::TABS],
        wide: false,
        body,
        footer: "",
    })
}

/// A value of a hidden `input` keeps its line breaks, but `textarea` is what browsers normalise as they did before.
fn hidden(name: &str, value: &str) -> maud::Markup {
    html! {
        @if value.contains(['\r', '\n']) {
            // The first line break after the tag does not belong to the content (HTML §13.1.2.6).
            textarea name=(name) hidden aria-hidden="true" { "\n" (value) }
        } @else {
            input type="hidden" name=(name) value=(value);
        }
    }
}

/// For the tab in which the person signed in; it tells the waiting one.
pub(crate) fn signed_in_elsewhere(look: &Look<'_>) -> Response<Bytes> {
    let say = |both| look.say(both);
    let body = html! {
        h1 { (say(t::THERE_TITLE)) }
        p { (say(t::THERE_TEXT)) }
        p { a href="/" { (say(t::THERE_OPEN)) } }
    };
    look.clone().without_switch().answer(&Page {
        status: StatusCode::OK,
        title: say(t::THERE_TITLE),
        powers: Powers::Scripted,
        scripts: &[scripts::TABS],
        wide: false,
        body,
        footer: "",
    })
}
