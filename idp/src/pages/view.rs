//! How the pages look: markup, checked when we compile. The gateway's frame brings the style; see there for the classes.

use maud::{Markup, PreEscaped, html};
use secrecy::{ExposeSecret as _, SecretString};

use crate::Language;
use crate::factors::TotpOffer;
use crate::openid::level::Level;

use super::ceremony::{Ceremony, Step};
use super::text::{Words, words};
use super::told::{Trouble, of_trouble};
use super::{Sheet, address, hidden, said};

pub(crate) fn sign_in(ceremony: &Ceremony, language: Language, passwords: bool, now: i64) -> Sheet {
    let w = words(language);
    // With a password one comes only to where a passkey is made.
    let only_passkey = ceremony
        .asked
        .as_ref()
        .is_some_and(|asked| asked.essential && asked.level == Some(Level::PhishingResistant));
    let with_password = passwords;
    let body = html! {
        h1 { (w.sign_in) }
        (said(ceremony.notice, language, now))
        (passkey_box(w, ceremony, &Kind::SIGN_IN, html! {
            p { (w.passkey_lead) }
            @if !with_password {
                (name_field(w, ceremony, false))
            }
        }))
        @if with_password {
            section aria-labelledby="with-password" {
                h2 id="with-password" { (w.or_password) }
                @if only_passkey { p { (w.password_only_phr) } }
                form method="post" action="/id/password" {
                    (hidden(ceremony))
                    (name_field(w, ceremony, true))
                    label for="password" { (w.password) }
                    input id="password" name="password" type="password" required
                        maxlength="1024" autocomplete="current-password"
                        aria-invalid=[ceremony.invalid()] aria-describedby=[ceremony.notice.map(|_| "notice")];
                    button.second type="submit" { (w.password_button) }
                }
            }
        }
        p { a href=(address("/recovery", &ceremony.id)) { (w.lost_passkey) } }
    };
    sheet(w.sign_in, body, true)
}

/// `webauthn` lets the browser offer passkeys as it offers saved names.
fn name_field(w: &Words, ceremony: &Ceremony, required: bool) -> Markup {
    html! {
        label for="name" { (w.name) }
        input id="name" name="name" type="text" required[required] maxlength="128" value=(ceremony.name)
            autocomplete="username webauthn" autocapitalize="none" spellcheck="false";
    }
}

pub(crate) fn code(ceremony: &Ceremony, language: Language, recovery: bool, now: i64) -> Sheet {
    let w = words(language);
    let title = if recovery {
        w.recovery_title
    } else {
        w.code_title
    };
    let body = html! {
        h1 { (title) }
        (said(ceremony.notice, language, now))
        @if recovery {
            p { (w.recovery_lead_code) }
            form method="post" action="/id/recovery" {
                (hidden(ceremony))
                (recovery_field(w, ceremony))
                button type="submit" { (w.go_ahead) }
            }
            p { a href=(address("/code", &ceremony.id)) { (w.use_code) } }
        } @else {
            p { (w.code_lead) }
            form method="post" action="/id/code" {
                (hidden(ceremony))
                (code_field(w, ceremony, true))
                button type="submit" { (w.go_ahead) }
            }
            p { a href=(address("/recovery", &ceremony.id)) { (w.use_recovery) } }
        }
        p { a href=(address("/sign-in", &ceremony.id)) { (w.start_over) } }
    };
    sheet(title, body, false)
}

fn code_field(w: &Words, ceremony: &Ceremony, required: bool) -> Markup {
    html! {
        label for="code" { (w.code) }
        input.digits id="code" name="code" type="text" inputmode="numeric" required[required]
            maxlength="12" autocomplete="one-time-code"
            aria-invalid=[ceremony.invalid().filter(|_| required)]
            aria-describedby=[ceremony.notice.map(|_| "notice")];
    }
}

fn recovery_field(w: &Words, ceremony: &Ceremony) -> Markup {
    html! {
        label for="code" { (w.recovery_code) }
        input id="code" name="code" type="text" required maxlength="64"
            autocomplete="off" autocapitalize="none" spellcheck="false"
            aria-invalid=[ceremony.invalid()] aria-describedby=[ceremony.notice.map(|_| "notice")];
    }
}

/// A recovery code without a password before it.
pub(crate) fn recover(ceremony: &Ceremony, language: Language, now: i64) -> Sheet {
    let w = words(language);
    let body = html! {
        h1 { (w.recovery_title) }
        (said(ceremony.notice, language, now))
        p { (w.recovery_lead_name) }
        form method="post" action="/id/recovery" {
            (hidden(ceremony))
            label for="name" { (w.name) }
            input id="name" name="name" type="text" required maxlength="128" value=(ceremony.name)
                autocomplete="username" autocapitalize="none" spellcheck="false";
            (recovery_field(w, ceremony))
            button type="submit" { (w.go_ahead) }
        }
        p.soft { (w.recovery_none) }
        p { a href=(address("/sign-in", &ceremony.id)) { (w.back_to_sign_in) } }
    };
    sheet(w.recovery_title, body, false)
}

/// Signed in, and it is not enough.
pub(crate) fn unmet(ceremony: &Ceremony, language: Language) -> Sheet {
    let w = words(language);
    let body = html! {
        h1 { (w.unmet_title) }
        p { (w.unmet_what) }
        div.do { p { (w.unmet_remedy) } }
        div.acts {
            a.button href="/id/factors" { (w.unmet_factors) }
            form method="post" action="/id/cancel" {
                (hidden(ceremony))
                button.second type="submit" { (w.unmet_back) }
            }
        }
    };
    sheet(w.unmet_title, body, false)
}

/// Waits for the token of a first link, which the script takes from the address.
pub(crate) fn link(ceremony: &Ceremony, language: Language, now: i64) -> Sheet {
    let w = words(language);
    let body = html! {
        h1 { (w.welcome_title) }
        (said(ceremony.notice, language, now))
        @if ceremony.notice.is_none() { p { (w.link_lead) } }
        form method="post" action="/id/welcome" data-first-link {
            (hidden(ceremony))
            p.help id="link-help" { (w.link_no_script) }
            label for="token" { (w.link_token) }
            input id="token" name="token" type="text" required maxlength="512" aria-describedby="link-help"
                autocomplete="off" autocapitalize="none" spellcheck="false";
            button.second type="submit" { (w.go_ahead) }
        }
    };
    sheet(w.welcome_title, body, true)
}

/// A first factor is chosen.
pub(crate) fn welcome(
    ceremony: &Ceremony,
    language: Language,
    offer: Option<&TotpOffer>,
    now: i64,
) -> Sheet {
    let w = words(language);
    let account = ceremony.step.account().unwrap_or_default();
    // Whoever had something to correct in the second form finds it open.
    let is_open = ceremony.notice.is_some();
    let body = html! {
        h1 { (w.welcome_title) }
        (said(ceremony.notice, language, now))
        p { (w.welcome_lead) }
        dl.plain { dt { (w.your_name) } dd { code { (account) } } }
        (passkey_box(w, ceremony, &Kind::CREATE, passkey_name(w)))
        @if let Some(offer) = offer {
            details open[is_open] {
                summary { (w.password_instead) }
                form method="post" action="/id/welcome/password" {
                    (hidden(ceremony))
                    // Password managers keep name and password together.
                    input type="text" name="username" value=(account) autocomplete="username" readonly hidden;
                    p.help id="rules" { (w.password_rules) }
                    label for="password" { (w.new_password) }
                    input id="password" name="password" type="password" required maxlength="1024"
                        autocomplete="new-password" aria-describedby="rules";
                    details open[is_open] {
                        summary { (w.with_code_app) }
                        (totp(w, offer))
                        (code_field(w, ceremony, false))
                    }
                    button.second type="submit" { (w.set_password) }
                }
            }
        }
    };
    sheet(w.welcome_title, body, true)
}

pub(crate) fn passkey_name(w: &Words) -> Markup {
    html! {
        label for="passkey-name" { (w.passkey_name) }
        p.help id="passkey-name-help" { (w.passkey_name_help) }
        input id="passkey-name" type="text" maxlength="64" autocomplete="off" aria-describedby="passkey-name-help";
    }
}

/// What the script does in a box.
pub(crate) struct Kind {
    mode: &'static str,
    options: &'static str,
    finish: &'static str,
    name_field: &'static str,
}

impl Kind {
    const SIGN_IN: Self = Self {
        mode: "get",
        options: "/id/passkey/options",
        finish: "/id/passkey/verify",
        name_field: "name",
    };
    pub(crate) const CREATE: Self = Self {
        mode: "create",
        options: "/id/passkey/new",
        finish: "/id/passkey/add",
        name_field: "passkey-name",
    };

    fn label(&self, w: &Words) -> &'static str {
        if self.mode == "get" {
            w.passkey_button
        } else {
            w.make_passkey
        }
    }
}

/// A button for a passkey, hidden until the script is there, and all the words that the script may have to say.
pub(crate) fn passkey_box(w: &Words, ceremony: &Ceremony, kind: &Kind, inside: Markup) -> Markup {
    html! {
        div data-passkey data-mode=(kind.mode) data-options=(kind.options) data-finish=(kind.finish)
            data-c=(ceremony.id) data-form=(ceremony.form) data-name-field=(kind.name_field)
            data-waiting=(w.passkey_waiting) data-cancelled=(w.passkey_cancelled)
            data-unsupported=(w.passkey_unsupported) data-exists=(w.passkey_exists)
            data-unreachable=(w.unreachable) {
            (inside)
            button.full type="button" data-start hidden { (kind.label(w)) }
            p.help data-says role="status" aria-live="polite" {}
            noscript { p { (w.passkey_no_script) } }
        }
    }
}

/// Picture, key and link of a code app.
pub(crate) fn totp(w: &Words, offer: &TotpOffer) -> Markup {
    html! {
        p { (w.code_app_lead) }
        div.qr role="img" aria-label=(w.code_app_qr) {
            // Made by us from the secret; an element without style or script.
            (PreEscaped(offer.qr_svg.expose_secret()))
        }
        dl.plain { dt { (w.code_app_key) } dd { code { (offer.secret.expose_secret()) } } }
        p { a href=(offer.uri.expose_secret()) { (w.code_app_open) } }
    }
}

pub(crate) fn codes(ceremony: &Ceremony, codes: &[SecretString], language: Language) -> Sheet {
    let w = words(language);
    let body = html! {
        h1 { (w.codes_title) }
        p { (w.codes_lead) }
        @if let Step::Codes { account, .. } = &ceremony.step {
            dl.plain { dt { (w.your_name) } dd { code { (account) } } }
        }
        ul.codes id="codes" aria-label=(w.codes_list) {
            @for code in codes { li { (code.expose_secret()) } }
        }
        div.acts {
            button.second type="button" data-copy="codes" data-says="says" data-done=(w.copied)
                data-failed=(w.not_copied) hidden { (w.copy) }
            button.second type="button" data-print hidden { (w.print) }
        }
        p.help id="says" role="status" aria-live="polite" {}
        form method="post" action="/id/recovery-codes/kept" {
            (hidden(ceremony))
            button type="submit" { (w.codes_kept) }
        }
    };
    sheet(w.codes_title, body, true)
}

pub(crate) fn ready(language: Language) -> Sheet {
    let w = words(language);
    let body = html! {
        h1 { (w.ready_title) }
        p { (w.ready_lead) }
        div.acts { a.button href="/" { (w.ready_button) } }
    };
    sheet(w.ready_title, body, false)
}

/// On the way to the client.
pub(crate) fn done(language: Language, to: &str) -> Sheet {
    let w = words(language);
    let body = html! {
        h1 { (w.done_title) }
        p { (w.done_lead) }
        div.acts { a.button href=(to) { (w.done_link) } }
    };
    sheet(w.done_title, body, false)
}

pub(crate) fn trouble(
    trouble: Trouble,
    language: Language,
    to: &str,
    label: &'static str,
) -> Sheet {
    let (title, what) = of_trouble(trouble, language);
    let body = html! {
        h1 { (title) }
        p { (what) }
        div.acts { a.button href=(to) { (label) } }
    };
    sheet(title, body, false)
}

pub(crate) fn sheet(title: &'static str, body: Markup, script: bool) -> Sheet {
    Sheet {
        title,
        body,
        script,
        wide: false,
    }
}
