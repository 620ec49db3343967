//! How the page of one's own factors looks.

use maud::{Markup, html};

use crate::Language;
use crate::accounts::{Account, PasskeyView};
use crate::factors::TotpOffer;
use crate::openid::level::Level;

use super::ceremony::Ceremony;
use super::date::day;
use super::text::{Words, words};
use super::view::{Kind, passkey_box, passkey_name, sheet, totp};
use super::{Sheet, address, hidden, said};

/// All factors of `account`.
pub(crate) fn all(
    ceremony: &Ceremony,
    account: &Account,
    passwords: bool,
    language: Language,
    now: i64,
) -> Sheet {
    let w = words(language);
    let body = html! {
        nav { a href="/" { (w.my_page) } }
        h1 { (w.factors_title) }
        (said(ceremony.notice, language, now))
        p { (w.factors_lead) }
        section aria-labelledby="passkeys" {
            h2 id="passkeys" { (w.passkeys) }
            @if account.passkeys.is_empty() {
                p { (w.passkeys_none) }
            } @else {
                ul.rows {
                    @for passkey in &account.passkeys { (row(w, ceremony, passkey)) }
                }
            }
            h3 { (w.add_passkey) }
            (passkey_box(w, ceremony, &Kind::CREATE, passkey_name(w)))
        }
        @if passwords {
            (password(w, ceremony, account))
            (app(w, ceremony, account))
        }
        section aria-labelledby="recovery" {
            h2 id="recovery" { (w.recovery_codes) }
            p { (w.recovery_left) " " (account.recovery_codes) }
            form method="post" action="/id/factors/recovery-codes" {
                (hidden(ceremony))
                p.help id="recovery-help" { (w.recovery_new_help) }
                button.second type="submit" aria-describedby="recovery-help" { (w.recovery_new) }
            }
        }
    };
    Sheet {
        wide: true,
        ..sheet(w.factors_title, body, true)
    }
}

fn row(w: &Words, ceremony: &Ceremony, passkey: &PasskeyView) -> Markup {
    let name_id = format!("name-{}", passkey.id);
    let title_id = format!("passkey-{}", passkey.id);
    let field = |field: &'static str, value: &str| html! { input type="hidden" name=(field) value=(value); };
    html! {
        li {
            div {
                h3 id=(title_id) { (passkey.name) }
                p.soft {
                    (w.added) " " (day(passkey.added_at)) " · "
                    @if let Some(at) = passkey.used_at { (w.last_used) " " (day(at)) }
                    @else { (w.never_used) }
                    " · "
                    @if passkey.synced { (w.synced) } @else { (w.this_only) }
                }
                details {
                    summary { (w.rename) }
                    form method="post" action="/id/factors/passkey/rename" {
                        (hidden(ceremony))
                        (field("passkey", &passkey.id))
                        label for=(name_id) { (w.new_name) }
                        input id=(name_id) name="name" type="text" required maxlength="64"
                            value=(passkey.name) autocomplete="off";
                        button.second type="submit" { (w.save) }
                    }
                }
            }
            form method="post" action="/id/factors/passkey/remove" {
                (hidden(ceremony))
                (field("passkey", &passkey.id))
                button.danger type="submit" aria-describedby=(title_id) { (w.remove) }
            }
        }
    }
}

fn password(w: &Words, ceremony: &Ceremony, account: &Account) -> Markup {
    let has = account.password_set_at.is_some();
    let label = if has {
        w.password_change
    } else {
        w.password_add
    };
    html! {
        section aria-labelledby="own-password" {
            h2 id="own-password" { (w.password) }
            p { @if has { (w.password_have) } @else { (w.password_have_not) } }
            details {
                summary { (label) }
                form method="post" action="/id/factors/password" {
                    (hidden(ceremony))
                    input type="text" name="username" value=(account.id) autocomplete="username" readonly hidden;
                    p.help id="rules" { (w.password_rules_alone) }
                    label for="password" { (w.new_password) }
                    input id="password" name="password" type="password" required maxlength="1024"
                        autocomplete="new-password" aria-describedby="rules";
                    button.second type="submit" { (label) }
                }
            }
            @if has {
                form method="post" action="/id/factors/password/remove" {
                    (hidden(ceremony))
                    button.danger type="submit" { (w.password_remove) }
                }
            }
        }
    }
}

fn app(w: &Words, ceremony: &Ceremony, account: &Account) -> Markup {
    html! {
        @if account.password_set_at.is_some() {
            section aria-labelledby="code-app" {
                h2 id="code-app" { (w.code_app) }
                p { @if account.totp { (w.code_app_have) } @else { (w.code_app_have_not) } }
                div.acts {
                    form method="post" action="/id/factors/totp" {
                        (hidden(ceremony))
                        button.second type="submit" {
                            @if account.totp { (w.code_app_replace) } @else { (w.code_app_add) }
                        }
                    }
                    @if account.totp {
                        form method="post" action="/id/factors/totp/remove" {
                            (hidden(ceremony))
                            button.danger type="submit" { (w.code_app_remove) }
                        }
                    }
                }
            }
        }
    }
}

/// A new code app, to be confirmed.
pub(crate) fn code_app(
    ceremony: &Ceremony,
    offer: &TotpOffer,
    language: Language,
    now: i64,
) -> Sheet {
    let w = words(language);
    let body = html! {
        nav { a href=(address("/factors", &ceremony.id)) { (w.factors_title) } }
        h1 { (w.code_app_add) }
        (said(ceremony.notice, language, now))
        (totp(w, offer))
        form method="post" action="/id/factors/totp/confirm" {
            (hidden(ceremony))
            label for="code" { (w.code) }
            input.digits id="code" name="code" type="text" inputmode="numeric" required
                maxlength="12" autocomplete="one-time-code";
            button type="submit" { (w.go_ahead) }
        }
    };
    sheet(w.code_app_add, body, false)
}

/// Signed in, but not with the strongest factor.
pub(crate) fn stronger(language: Language, level: Level, to: &str) -> Sheet {
    let w = words(language);
    let label = match level {
        Level::PhishingResistant => w.stronger_passkey,
        Level::MultiFactor | Level::Password => w.stronger_code,
    };
    let body = html! {
        nav { a href="/" { (w.my_page) } }
        h1 { (w.stronger_title) }
        p { (w.stronger_what) }
        div.acts { a.button href=(to) { (label) } }
        p.soft { (w.stronger_lost) }
    };
    sheet(w.stronger_title, body, false)
}
