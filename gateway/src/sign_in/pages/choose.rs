//! Where to sign in, when several providers fit: by e-mail address, or from a list.

use bytes::Bytes;
use http::{Response, StatusCode};
use maud::html;

use super::text as t;
use super::{Look, Page};
use crate::respond::Powers;

/// One of several providers.
pub(crate) struct Choice<'a> {
    pub(crate) label: &'a str,
    /// Begins the sign-in there.
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
    /// What was typed, when it leads nowhere.
    pub(crate) unknown: Option<&'a str>,
}

/// What is wrong with an address that leads nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum EmailFault {
    /// It is no address.
    NotAnAddress,
    /// No provider has its domain.
    Unknown,
}

impl EmailFault {
    fn of(typed: &str) -> Self {
        let parts = typed.trim().rsplit_once('@');
        if parts.is_some_and(|(name, domain)| !name.is_empty() && domain.contains('.')) {
            Self::Unknown
        } else {
            Self::NotAnAddress
        }
    }
}

pub(crate) fn chooser(look: &Look<'_>, chooser: &Chooser<'_>) -> Response<Bytes> {
    let say = |both| look.say(both);
    let alone = chooser.choices.is_empty();
    let typed = chooser.by_email.as_ref().and_then(|form| form.unknown);
    let fault = typed.map(|typed| match (EmailFault::of(typed), alone) {
        (EmailFault::NotAnAddress, _) => t::CHOOSE_NO_ADDRESS,
        (EmailFault::Unknown, false) => t::CHOOSE_UNKNOWN,
        (EmailFault::Unknown, true) => t::CHOOSE_UNKNOWN_ONLY,
    });
    let described = if fault.is_some() {
        "email-fault email-help"
    } else {
        "email-help"
    };
    let body = html! {
        h1 { (say(t::CHOOSE_TITLE)) }
        @if let Some(app) = chooser.app { p { (look.lead(t::CHOOSE_FOR)) strong { (app) } } }
        @if let Some(form) = &chooser.by_email {
            form method="get" action="/choose" {
                @for (name, value) in form.carried {
                    input type="hidden" name=(name) value=(value);
                }
                @if let Some(language) = look.chosen_language() {
                    input type="hidden" name="lang" value=(language);
                }
                label for="email" { (say(t::CHOOSE_EMAIL)) }
                p.help #email-help { (say(t::CHOOSE_EMAIL_HELP)) }
                @if let Some(fault) = fault {
                    p.fault #email-fault role="alert" { (say(fault)) }
                }
                input #email type="email" name="email" value=[typed] required maxlength="254"
                    autocomplete="username" inputmode="email" autocapitalize="none" spellcheck="false"
                    aria-describedby=(described) aria-invalid=[fault.map(|_| "true")];
                button { (say(t::CHOOSE_NEXT)) }
            }
        }
        @if !alone {
            @if chooser.by_email.is_some() {
                section {
                    h2 { (say(t::CHOOSE_LIST)) }
                    (list(look, chooser))
                }
            } @else {
                p { (say(t::CHOOSE_LIST_ONLY)) }
                (list(look, chooser))
            }
        }
    };
    look.answer(&Page {
        status: if fault.is_some() {
            StatusCode::BAD_REQUEST
        } else {
            StatusCode::OK
        },
        title: say(t::CHOOSE_TITLE),
        powers: Powers::Leading,
        scripts: &[],
        wide: false,
        body,
        footer: "",
    })
}

fn list(look: &Look<'_>, chooser: &Chooser<'_>) -> maud::Markup {
    html! {
        ul.tiles {
            @for choice in chooser.choices {
                li { a href=(look.link(&choice.link)) { (choice.label) } }
            }
        }
    }
}
