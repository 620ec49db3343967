//! My page: my apps, my device, where I am signed in, how I sign in.

use bytes::Bytes;
use http::{Response, StatusCode};
use masugata_policy::{PostureFault, Timestamp};
use maud::{Markup, html};

use super::text as t;
use super::{Look, Page};
use crate::connection::Door;
use crate::inventory::{Inventory, Lookup};
use crate::respond::{self, Powers};
use crate::session::SessionView;
use crate::sign_in::my_apps::{AppCard, Refusal};
use crate::sign_in::my_device::{Fact, FactState, MyDevice, name_of};

/// Where a session's end is posted: fields `token`, and `session` (an id, or [`OTHERS`]).
const END_PATH: &str = "/sessions/end";
/// All sessions of the person but this one.
pub(crate) const OTHERS: &str = "others";
/// Where a sign-out is posted: field `token`.
const SIGN_OUT_PATH: &str = "/sign-out";

/// What a person's own page shows.
pub(crate) struct MyPage<'a> {
    /// A name to show; else the principal's id.
    pub(crate) name: &'a str,
    pub(crate) email: Option<&'a str>,
    /// Where they signed in, in the configuration's words.
    pub(crate) provider: &'a str,
    pub(crate) apps: &'a [AppCard],
    pub(crate) device: &'a MyDevice,
    /// The current one is that with the id `current`.
    pub(crate) sessions: &'a [SessionView],
    pub(crate) current: &'a str,
    /// Says what people call the devices of their sessions.
    pub(crate) inventory: &'a Inventory,
    /// What the built-in provider knows; `None`: the account is kept by another.
    pub(crate) factors: Option<Factors<'a>>,
    /// The hidden field `token` of the forms: POST `/sign-out`, and POST `/sessions/end` with the field `session` (the id).
    pub(crate) token: &'a str,
    pub(crate) notice: Option<MyNotice>,
}

/// How somebody of the built-in provider can sign in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Factors<'a> {
    /// The page where they are changed.
    pub(crate) link: &'a str,
    pub(crate) passkeys: usize,
    pub(crate) password: bool,
    /// An authenticator app.
    pub(crate) codes: bool,
    /// Unused ones.
    pub(crate) recovery_codes: usize,
}

/// What was done on the page before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MyNotice {
    SessionEnded,
    OthersEnded,
    AlreadyEnded,
    /// The form's token did not count.
    Expired,
}

pub(crate) fn my_page(look: &Look<'_>, my: &MyPage<'_>) -> Response<Bytes> {
    let say = |both| look.say(both);
    let sections = [
        ("apps", t::APPS),
        ("device", t::DEVICE),
        ("sessions", t::SESSIONS),
        ("factors", t::FACTORS),
    ];
    let body = html! {
        h1 { (say(t::MINE_TITLE)) }
        p { (look.lead(t::MINE_SIGNED_IN_AS)) strong { (my.name) }
            @if let Some(email) = my.email.filter(|email| *email != my.name) { " (" (email) ")" } }
        @if let Some(notice) = my.notice { (said(look, notice)) }
        nav.jump aria-label=(say(t::MINE_SECTIONS)) {
            ul {
                @for (id, title) in sections {
                    li { a href={ "#" (id) } { (say(title)) } }
                }
            }
        }
        (apps(look, my))
        (device(look, my.device))
        (sessions(look, my))
        (factors(look, my))
        section aria-labelledby="out" {
            h2 #out { (say(t::SIGN_OUT)) }
            form method="post" action=(look.link(SIGN_OUT_PATH)) {
                input type="hidden" name="token" value=(my.token);
                button.second { (say(t::SIGN_OUT)) }
            }
        }
    };
    look.answer(&Page {
        status: match my.notice {
            Some(MyNotice::Expired) => StatusCode::FORBIDDEN,
            Some(MyNotice::AlreadyEnded) => StatusCode::NOT_FOUND,
            Some(MyNotice::SessionEnded | MyNotice::OthersEnded) | None => StatusCode::OK,
        },
        title: say(t::MINE_TITLE),
        // Signing out leads to the provider.
        powers: Powers::Leading,
        scripts: &[],
        wide: true,
        body,
        footer: say(t::MINE_FOOTER),
    })
}

fn said(look: &Look<'_>, notice: MyNotice) -> Markup {
    let (words, class, role) = match notice {
        MyNotice::SessionEnded => (t::SESSION_ENDED, "note good", "status"),
        MyNotice::OthersEnded => (t::SESSIONS_ENDED, "note good", "status"),
        MyNotice::AlreadyEnded => (t::SESSION_GONE, "note", "status"),
        MyNotice::Expired => (t::SESSION_FORM_OLD, "note bad", "alert"),
    };
    html! { div class=(class) role=(role) { p { (look.say(words)) } } }
}

fn apps(look: &Look<'_>, my: &MyPage<'_>) -> Markup {
    let say = |both| look.say(both);
    let (open, closed): (Vec<&AppCard>, Vec<&AppCard>) =
        my.apps.iter().partition(|app| app.leads_on());
    html! {
        section aria-labelledby="apps" {
            h2 #apps { (say(t::APPS)) }
            @if open.is_empty() {
                p { (say(t::APPS_NONE)) }
            } @else {
                ul.tiles { @for app in open { li { (tile(look, app)) } } }
            }
            @if !closed.is_empty() {
                h3 { (say(t::APPS_CLOSED)) }
                ul.rows {
                    @for app in closed {
                        @if let Some(refused) = &app.refused {
                            li { (refusal(look, app, refused)) }
                        }
                    }
                }
            }
        }
    }
}

fn tile(look: &Look<'_>, app: &AppCard) -> Markup {
    let say = |both| look.say(both);
    let inside = html! {
        span { (app.name) }
        span.badge { (say(t::level(app.level))) }
        @if app.refused.is_some() {
            span.soft { (say(t::APPS_STRONGER)) }
        }
    };
    html! {
        @if let Some(url) = &app.link {
            a href=(url) { (inside) }
        } @else {
            span.tile { (inside) span.soft { (say(t::APPS_PATTERN)) } }
        }
    }
}

fn refusal(look: &Look<'_>, app: &AppCard, refused: &Refusal) -> Markup {
    let said = respond::said(
        refused.reason,
        refused.guidance.as_deref(),
        refused.posture,
        look.language(),
        Door::Ingress,
    );
    html! {
        div {
            p { strong { (app.name) } " "
                span.badge.bad { (look.say(t::APPS_CLOSED_BADGE)) } }
            p { (said.what) }
            @if let Some((setting, _)) = &said.setting { p { strong { (setting) } } }
            // How a setting is put right stands once, below.
            @if refused.posture.is_some() {
                p { a href="#device" { (look.say(t::APPS_SEE_DEVICE)) } }
            } @else {
                p.soft { (said.remedy) }
            }
        }
    }
}

fn device(look: &Look<'_>, device: &MyDevice) -> Markup {
    let say = |both| look.say(both);
    let faults: Vec<&Fact> = device.faults().collect();
    html! {
        section aria-labelledby="device" {
            h2 #device { (say(t::DEVICE)) }
            dl.plain {
                dt { (say(t::DEVICE_NAME)) } dd { (device.name) }
                dt { (say(t::DEVICE_KIND)) }
                dd { (say(t::kind(device.kind))) (comma(look)) (say(t::ownership(device.ownership))) }
                dt { (say(t::DEVICE_NUMBER)) } dd { code { (device.id) } }
                dt { (say(t::DEVICE_SEEN)) }
                dd {
                    @if let Some(at) = device.last_seen { (look.time(at)) }
                    @else { (say(t::DEVICE_NEVER)) }
                }
            }
            @if faults.is_empty() {
                p { span.badge.good { (say(t::fact(FactState::Good))) } " " (say(t::DEVICE_GOOD)) }
            } @else {
                div.do {
                    h3 { (say(t::REMEDY)) }
                    p { (say(t::DEVICE_BAD)) }
                    ul { @for fact in faults { (fault(look, fact)) } }
                }
            }
            @if !device.facts.is_empty() {
                details {
                    summary { (say(t::DEVICE_FACTS)) }
                    ul.rows { @for fact in &device.facts { (known(look, fact)) } }
                }
            }
        }
    }
}

/// What stands between two words of one line.
fn comma(look: &Look<'_>) -> &'static str {
    match look.language() {
        respond::Language::English => ", ",
        respond::Language::Japanese => "、",
    }
}

fn fault(look: &Look<'_>, fact: &Fact) -> Markup {
    let language = look.language();
    let remedy = match fact.state {
        FactState::Off => respond::posture_remedy(fact.attribute, language),
        FactState::Stale | FactState::Missing | FactState::Good => look.say(t::DEVICE_REPORT),
    };
    let said = match fact.state {
        FactState::Off | FactState::Good => PostureFault::Failing(fact.attribute),
        FactState::Stale => PostureFault::Stale(fact.attribute),
        FactState::Missing => PostureFault::Missing(fact.attribute),
    };
    html! {
        li {
            strong { (respond::of_posture(said, language)) } " " (remedy)
            br;
            span.soft { (look.say(t::DEVICE_FOR))
                (if language == respond::Language::English { ": " } else { "：" })
                (fact.closes.join(comma(look))) }
        }
    }
}

fn known(look: &Look<'_>, fact: &Fact) -> Markup {
    let class = match fact.state {
        FactState::Good => "badge good",
        FactState::Off => "badge bad",
        FactState::Stale | FactState::Missing => "badge idle",
    };
    html! {
        li {
            div {
                p { (respond::posture_name(fact.attribute, look.language())) }
                @if let Some(at) = fact.seen_at {
                    p.soft { (look.say(t::DEVICE_REPORTED)) " " (look.time(at)) }
                }
            }
            span class=(class) { (look.say(t::fact(fact.state))) }
        }
    }
}

fn sessions(look: &Look<'_>, my: &MyPage<'_>) -> Markup {
    let say = |both| look.say(both);
    let is_this = |session: &&SessionView| session.id == my.current;
    let (this, others): (Vec<_>, Vec<_>) = my.sessions.iter().partition(is_this);
    html! {
        section aria-labelledby="sessions" {
            h2 #sessions { (say(t::SESSIONS)) }
            @if !others.is_empty() { p.soft { (say(t::SESSIONS_HELP)) } }
            ul.rows {
                @for session in this { li { (session_row(look, my, session, true)) } }
                @for session in &others {
                    li {
                        (session_row(look, my, session, false))
                        (end(look, my.token, &session.id, html! {
                            button.danger aria-label={
                                (say(t::SESSION_END_OF)) " " (device_name(my.inventory, session))
                            } { (say(t::SESSION_END)) }
                        }))
                    }
                }
            }
            @if others.len() > 1 {
                (end(look, my.token, OTHERS, html! {
                    button.danger { (say(t::SESSIONS_END_OTHERS)) }
                }))
            }
        }
    }
}

fn session_row(look: &Look<'_>, my: &MyPage<'_>, session: &SessionView, this: bool) -> Markup {
    let say = |both| look.say(both);
    let time = |millis| look.time(Timestamp::from_millis(millis));
    html! {
        div {
            p { strong { (device_name(my.inventory, session)) } " "
                @if this { span.badge.good { (say(t::SESSION_THIS)) } } }
            p.soft {
                span { (say(t::SESSION_SINCE)) " " (time(session.signed_in_at)) }
                " "
                span { (say(t::SESSION_USED)) " " (time(session.last_used)) }
            }
        }
    }
}

/// The inventory may have lost it by now.
fn device_name<'a>(inventory: &'a Inventory, session: &'a SessionView) -> &'a str {
    match inventory.find(&session.device) {
        Lookup::Found(record) => name_of(record),
        Lookup::Unknown | Lookup::Ambiguous => &session.device,
    }
}

fn end(look: &Look<'_>, token: &str, session: &str, button: Markup) -> Markup {
    html! {
        form method="post" action=(look.link(END_PATH)) {
            input type="hidden" name="token" value=(token);
            input type="hidden" name="session" value=(session);
            (button)
        }
    }
}

fn factors(look: &Look<'_>, my: &MyPage<'_>) -> Markup {
    let say = |both| look.say(both);
    html! {
        section aria-labelledby="factors" {
            h2 #factors { (say(t::FACTORS)) }
            @if let Some(factors) = my.factors {
                (summary(look, factors))
                p { a.button.second href=(look.link(factors.link)) { (say(t::FACTORS_CHANGE)) } }
            } @else {
                p { (look.lead(t::FACTORS_ELSEWHERE)) strong { (my.provider) } }
            }
        }
    }
}

fn summary(look: &Look<'_>, factors: Factors<'_>) -> Markup {
    let say = |both| look.say(both);
    let set = |is_set: bool| {
        say(if is_set {
            t::FACTORS_SET
        } else {
            t::FACTORS_UNSET
        })
    };
    html! {
        dl.plain {
            dt { (say(t::FACTORS_PASSKEYS)) }
            dd { @if factors.passkeys == 0 { (say(t::FACTORS_NO_PASSKEY)) } @else { (factors.passkeys) } }
            dt { (say(t::FACTORS_PASSWORD)) } dd { (set(factors.password)) }
            dt { (say(t::FACTORS_CODES)) } dd { (set(factors.codes)) }
            dt { (say(t::FACTORS_RECOVERY)) } dd { (factors.recovery_codes) }
        }
        @match factors.passkeys {
            0 => p { (say(t::FACTORS_ADVISE_FIRST)) },
            1 => p { (say(t::FACTORS_ADVISE_SECOND)) },
            _ => {}
        }
    }
}
