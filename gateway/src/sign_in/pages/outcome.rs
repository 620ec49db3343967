//! How a sign-in failed, and the end of a session.

use bytes::Bytes;
use http::{Response, StatusCode};
use maud::html;

use super::text as t;
use super::{Look, Page, numbers};
use crate::respond::Powers;
use crate::sign_in::fault::{Fault, OwnFault};

/// A sign-in that goes no further. `again`: a link that begins anew, where that may help.
pub(crate) fn error(look: &Look<'_>, fault: &Fault, again: Option<&str>) -> Response<Bytes> {
    let say = |both| look.say(both);
    let (title, text) = match fault {
        Fault::Provider(error) => {
            let words = error.words(look.language());
            (words.title, words.text)
        }
        Fault::Own(fault) => {
            let (title, text) = t::own_fault(*fault);
            (say(title), say(text))
        }
    };
    let again = again.filter(|_| fault.may_try_again());
    // Whoever could not sign in may be signed in all the same, from before.
    let home = match fault {
        Fault::Own(OwnFault::SignedOut | OwnFault::AccountDisabled) => None,
        Fault::Own(_) | Fault::Provider(_) => Some(look.link("/")),
    };
    let body = html! {
        h1 { (title) }
        div.do role="alert" {
            h2 { (say(t::REMEDY)) }
            p { (text) }
        }
        div.acts {
            @if let Some(again) = again { a.button href=(look.link(again)) { (say(t::TRY_AGAIN)) } }
            @if let Some(home) = home { a.button.second href=(home) { (say(t::TO_MY_PAGE)) } }
        }
        (numbers(look, fault.code()))
    };
    look.clone().without_switch().answer(&Page {
        status: fault.status(),
        title,
        powers: Powers::Still,
        scripts: &[],
        wide: false,
        body,
        footer: say(t::QUOTE_NUMBERS),
    })
}

/// What becomes of the session that the provider has of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AtProvider<'a> {
    /// There is none, or it has ended.
    Ended,
    /// The browser goes on to `link`, where it ends; the caller has set the header `Refresh`.
    Next { label: &'a str, link: &'a str },
    /// The provider of that label cannot be told.
    NotTold { label: &'a str },
}

/// Nobody is signed in any more.
pub(crate) fn signed_out(look: &Look<'_>, provider: AtProvider<'_>) -> Response<Bytes> {
    let say = |both| look.say(both);
    let body = html! {
        h1 { (say(t::OUT_TITLE)) }
        p { (say(t::OUT_TEXT)) }
        @match provider {
            AtProvider::Ended => {}
            AtProvider::Next { label, link } => {
                div.note role="status" {
                    p { (say(t::OUT_NEXT)) }
                    p { a href=(link) { (say(t::OUT_GO)) } " (" (label) ")" }
                }
            }
            AtProvider::NotTold { label } => {
                div.do role="alert" {
                    h2 { (say(t::OUT_NOT_TOLD_TITLE)) }
                    p { (say(t::OUT_NOT_TOLD)) }
                    dl.plain { dt { (say(t::OUT_AT)) } dd { (label) } }
                }
            }
        }
        div.acts { a.button.second href=(look.link("/")) { (say(t::TRY_AGAIN)) } }
    };
    look.answer(&Page {
        status: StatusCode::OK,
        title: say(t::OUT_TITLE),
        powers: Powers::Still,
        scripts: &[],
        wide: false,
        body,
        footer: "",
    })
}
