//! *Why was this blocked?* Browsers do not show the body of a failed CONNECT, so this page shows a device its own last
//! refusals, with what to do about each; as JSON to programs.

use std::fmt;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use masugata_policy::{Now, Timestamp};
use serde::Serialize;

use super::super::refusals::{Refusal, Refusals};
use super::form::{FEWEST_LETTERS, Fault, FormKey, MOST_LETTERS, Reason, Refused};
use super::{answer, setup};
use crate::connection::Door;
use crate::denial::DenialReason;
use crate::respond::{self, Brand, Escaped, Format, Framed, Host, Language, Powers, Preferences};

/// Where forms are sent, on the page's own host.
pub const REASON_PATH: &str = "/reason";

/// What the page needs to know.
#[derive(Clone, Copy, Debug)]
pub struct Why<'a> {
    pub brand: &'a Brand,
    /// Whose refusals are shown; proved by its certificate.
    pub device: &'a str,
    pub refusals: &'a Refusals,
    pub form: &'a FormKey,
    /// Times are shown in this zone.
    pub now: Now,
}

/// The page. `refused` is a form that did not count: it is said above, and what was written is kept.
pub fn page(why: &Why<'_>, refused: Option<&Refused>, preferences: Preferences) -> Response<Bytes> {
    let refusals = why.refusals.of(why.device);
    let status = refused.map_or(StatusCode::OK, |refused| match refused.fault {
        Fault::Foreign | Fault::Expired => StatusCode::FORBIDDEN,
        Fault::Malformed | Fault::TooShort | Fault::TooLong | Fault::NotAsked => {
            StatusCode::BAD_REQUEST
        }
    });
    let content = match preferences.format {
        Format::Page => {
            let body = Body {
                why,
                refusals: &refusals,
                refused,
                words: words(preferences.language),
                language: preferences.language,
            };
            let framed = Framed {
                language: preferences.language,
                brand: why.brand,
                host: Host::Ours,
                title: body.words.title,
                other_language: None,
                scripts: &[],
                wide: false,
                body: &body,
                footer: body.words.footer,
            };
            ("text/html; charset=utf-8", framed.to_string().into_bytes())
        }
        Format::Problem => ("application/json", listed(&refusals, preferences.language)),
    };
    answer(
        status,
        content,
        why.brand.policy(Powers::Forms),
        preferences,
    )
}

/// The answer to a form that counts: back to the page, where reloading sends nothing again.
pub fn taken() -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::SEE_OTHER;
    let headers = response.headers_mut();
    headers.insert(header::LOCATION, HeaderValue::from_static("/"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
    response
}

/// One refusal, for programs.
#[derive(Serialize)]
struct Item<'a> {
    time: String,
    host: &'a str,
    port: u16,
    code: &'static str,
    what: &'a str,
    remedy: &'a str,
    times: u32,
    request_id: String,
}

fn listed(refusals: &[Refusal], language: Language) -> Vec<u8> {
    let items: Vec<Item<'_>> = refusals
        .iter()
        .map(|refusal| {
            let said = said(refusal, language);
            Item {
                time: instant(refusal.at).to_string(),
                host: &refusal.host,
                port: refusal.port,
                code: refusal.reason.code(),
                what: said.what,
                remedy: said.remedy,
                times: refusal.times,
                request_id: refusal.request.to_string(),
            }
        })
        .collect();
    // Strings and numbers always serialise.
    let mut document = serde_json::to_vec(&items).unwrap_or_default();
    document.push(b'\n');
    document
}

fn said(refusal: &Refusal, language: Language) -> respond::Said<'_> {
    let guidance = refusal.guidance.as_deref();
    respond::said(
        refusal.reason,
        guidance,
        refusal.posture,
        language,
        Door::Egress,
    )
}

fn instant(at: Timestamp) -> jiff::Timestamp {
    jiff::Timestamp::from_millisecond(at.as_millis()).unwrap_or(jiff::Timestamp::UNIX_EPOCH)
}

struct Words {
    title: &'static str,
    intro: &'static str,
    none: &'static str,
    remedy: &'static str,
    write_here: &'static str,
    label: &'static str,
    send: &'static str,
    open_until: &'static str,
    device: &'static str,
    code: &'static str,
    request: &'static str,
    setup: &'static str,
    footer: &'static str,
}

fn words(language: Language) -> Words {
    match language {
        Language::English => Words {
            title: "Why was this blocked?",
            intro: "What was refused to this device lately, the newest first. Nobody else sees this list here.",
            none: "Nothing was refused to this device lately. Try again what did not work, then reload this page.",
            remedy: "What you can do",
            write_here: "Say here what you need it for, then try again.",
            label: "What do you need it for?",
            send: "Send the reason",
            open_until: "You gave a reason. Try again; it counts until",
            device: "Device",
            code: "Code",
            request: "Request number",
            setup: "How to set up browsers and programs",
            footer: "If you ask for help, please give the code and the request number. Reasons are recorded.",
        },
        Language::Japanese => Words {
            title: "なぜブロックされたのですか？",
            intro: "この端末で最近拒否された接続です。新しいものから順に表示しています。ほかの人の端末からは見えません。",
            none: "この端末で最近拒否された接続はありません。うまくいかなかった操作をもう一度試してから、このページを再読み込みしてください。",
            remedy: "対処方法",
            write_here: "ここに利用目的を入力してから、もう一度お試しください。",
            label: "利用目的",
            send: "送信する",
            open_until: "利用目的を受け付けました。もう一度お試しください。有効期限：",
            device: "端末",
            code: "コード",
            request: "リクエスト番号",
            setup: "ブラウザーやソフトウェアの設定方法",
            footer: "お問い合わせの際は、コードとリクエスト番号をお伝えください。入力された利用目的は記録されます。",
        },
    }
}

fn of_fault(fault: Fault, language: Language) -> String {
    match (fault, language) {
        (Fault::Foreign, Language::English) => {
            "The reason did not come from this page and was not taken. Please write it here.".into()
        }
        (Fault::Foreign, Language::Japanese) => {
            "このページ以外から送信されたため、受け付けませんでした。このページで入力してください。".into()
        }
        (Fault::Malformed, Language::English) => {
            "What was sent could not be read. Please try again.".into()
        }
        (Fault::Malformed, Language::Japanese) => {
            "送信された内容を読み取れませんでした。もう一度お試しください。".into()
        }
        (Fault::Expired, Language::English) => {
            "The page was open for too long. Please send the reason once more.".into()
        }
        (Fault::Expired, Language::Japanese) => {
            "ページを開いてから時間が経ちすぎています。もう一度送信してください。".into()
        }
        (Fault::TooShort, Language::English) => {
            format!("Please write at least {FEWEST_LETTERS} letters.")
        }
        (Fault::TooShort, Language::Japanese) => {
            format!("{FEWEST_LETTERS} 文字以上で入力してください。")
        }
        (Fault::TooLong, Language::English) => {
            format!("Please write at most {MOST_LETTERS} letters.")
        }
        (Fault::TooLong, Language::Japanese) => {
            format!("{MOST_LETTERS} 文字以内で入力してください。")
        }
        (Fault::NotAsked, Language::English) => {
            "This site does not ask for a reason any more, or none would help. Look at the list below.".into()
        }
        (Fault::NotAsked, Language::Japanese) => {
            "このサイトは利用目的の入力を求めていないか、入力しても利用できません。下の一覧を確認してください。".into()
        }
    }
}

struct Body<'a> {
    why: &'a Why<'a>,
    refusals: &'a [Refusal],
    refused: Option<&'a Refused>,
    words: Words,
    language: Language,
}

impl fmt::Display for Body<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = &self.words;
        writeln!(out, "<h1>{}</h1>", words.title)?;
        if let Some(refused) = self.refused {
            let said = of_fault(refused.fault, self.language);
            let said = Escaped(&said);
            writeln!(
                out,
                "<div class=\"do\" role=\"alert\">\n<p>{said}</p>\n</div>"
            )?;
        }
        let intro = if self.refusals.is_empty() {
            words.none
        } else {
            words.intro
        };
        writeln!(out, "<p>{intro}</p>")?;
        for (place, refusal) in self.refusals.iter().enumerate() {
            let earlier = self.refusals.get(..place).unwrap_or_default();
            self.write_refusal(out, refusal, earlier)?;
        }
        self.write_facts(out)
    }
}

impl Body<'_> {
    fn write_refusal(
        &self,
        out: &mut fmt::Formatter<'_>,
        refusal: &Refusal,
        earlier: &[Refusal],
    ) -> fmt::Result {
        let words = &self.words;
        let said = said(refusal, self.language);
        let host = Escaped(&refusal.host);
        write!(out, "<article>\n<h2>{host}")?;
        if refusal.port != 443 {
            write!(out, ":{}", refusal.port)?;
        }
        let (at, iso) = (self.local(refusal.at), instant(refusal.at));
        write!(
            out,
            "</h2>\n<p class=\"when\"><time datetime=\"{iso}\">{at}</time>"
        )?;
        if refusal.times > 1 {
            write!(out, " (×{})", refusal.times)?;
        }
        let (title, what) = (Escaped(said.title), Escaped(said.what));
        writeln!(out, "</p>\n<p><strong>{title}</strong><br>{what}</p>")?;
        if let Some((setting, _)) = &said.setting {
            writeln!(out, "<p><strong>{}</strong></p>", Escaped(setting))?;
        }
        writeln!(out, "<div class=\"do\">\n<h3>{}</h3>", words.remedy)?;
        if let Some((_, Some(remedy))) = said.setting {
            writeln!(out, "<p>{}</p>", Escaped(remedy))?;
        }
        let asks = refusal.reason == DenialReason::ReasonNeeded;
        let guided = refusal.guidance.as_deref();
        let guided = guided.is_some_and(|it| it.remedy_en.is_some() || it.remedy_ja.is_some());
        // Our own words send people to this page, where they are already.
        let remedy = if asks && !guided {
            words.write_here
        } else {
            said.remedy
        };
        writeln!(out, "<p>{}</p>", Escaped(remedy))?;
        let asked =
            |other: &Refusal| other.reason == refusal.reason && other.domain == refusal.domain;
        if asks && !earlier.iter().any(asked) {
            self.write_form(out, &refusal.domain)?;
        }
        write!(
            out,
            "</div>\n<dl>\n<dt>{}</dt><dd><code>{}</code></dd>\n<dt>{}</dt><dd><code>{}</code></dd>\n</dl>\n</article>\n",
            words.code,
            refusal.reason.code(),
            words.request,
            refusal.request
        )
    }

    fn write_form(&self, out: &mut fmt::Formatter<'_>, domain: &str) -> fmt::Result {
        let (words, why) = (&self.words, self.why);
        let now = why.now.at;
        if let Some(until) = why.refusals.reason_until(why.device, domain, now) {
            let until = self.local(until);
            return writeln!(out, "<p><strong>{} {until}</strong></p>", words.open_until);
        }
        let draft = self.refused.and_then(|refused| refused.draft.as_ref());
        let draft = draft.filter(|draft: &&Reason| *draft.domain == *domain);
        write!(
            out,
            "<form method=\"post\" action=\"{REASON_PATH}\">\n\
             <input type=\"hidden\" name=\"token\" value=\"{token}\">\n\
             <input type=\"hidden\" name=\"domain\" value=\"{domain}\">\n\
             <label>{label} ({domain})\n\
             <textarea name=\"text\" rows=\"3\" required minlength=\"{FEWEST_LETTERS}\" maxlength=\"{MOST_LETTERS}\">{text}</textarea></label>\n\
             <button>{send}</button>\n</form>\n",
            token = why.form.token(why.device, now),
            domain = Escaped(domain),
            label = words.label,
            text = Escaped(draft.map_or("", |draft| &draft.text)),
            send = words.send,
        )
    }

    fn write_facts(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (words, why) = (&self.words, self.why);
        let device = Escaped(why.device);
        write!(
            out,
            "<dl>\n<dt>{}</dt><dd><code>{device}</code></dd>\n",
            words.device
        )?;
        writeln!(out, "</dl>")?;
        writeln!(
            out,
            "<p><a href=\"{}\">{}</a></p>",
            setup::PATH,
            words.setup
        )
    }

    /// On the company's wall: `2026-11-23 18:41`.
    fn local(&self, at: Timestamp) -> impl fmt::Display {
        let offset = jiff::tz::Offset::from_seconds(self.why.now.utc_offset_seconds);
        let offset = offset.unwrap_or(jiff::tz::Offset::UTC);
        offset
            .to_datetime(instant(at))
            .strftime("%Y-%m-%d %H:%M")
            .to_string()
    }
}

#[cfg(test)]
mod tests;
