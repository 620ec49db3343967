//! Answers for people: one self-contained HTML page, without script, without anything fetched from elsewhere.

use std::fmt;
use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::negotiate::Language;

/// What a page says. All text is escaped on its way out.
#[derive(Debug)]
pub(super) struct Page<'a> {
    pub(super) language: Language,
    pub(super) organisation: &'a str,
    pub(super) contact: Option<&'a str>,
    pub(super) title: &'a str,
    pub(super) what: &'a str,
    pub(super) remedy: &'a str,
    /// The posture attribute at fault, and how to put it right if it is bad.
    pub(super) setting: Option<(&'a str, Option<&'a str>)>,
    /// Seconds after which it is worth trying again.
    pub(super) retry_after: Option<u64>,
    pub(super) status: u16,
    pub(super) code: &'a str,
    pub(super) request_id: &'a str,
}

/// `Content-Security-Policy` of every page: nothing but our own style, which is named by its hash.
pub(super) static POLICY: LazyLock<String> = LazyLock::new(|| {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, STYLE.as_bytes());
    format!(
        "default-src 'none'; style-src 'sha256-{}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        STANDARD.encode(digest)
    )
});

const STYLE: &str = "\
:root{color-scheme:light dark;--ground:#f4f5f7;--sheet:#fff;--ink:#1c2230;--soft:#555d6e;--line:#d9dde5;--mark:#8a5a00;--box:#fdf6e7}
@media(prefers-color-scheme:dark){:root{--ground:#14171d;--sheet:#1d222b;--ink:#e9ecf2;--soft:#a9b1c0;--line:#363d4a;--mark:#f0c36b;--box:#2a2619}}
*{box-sizing:border-box}
body{margin:0;min-height:100vh;display:flex;flex-direction:column;background:var(--ground);color:var(--ink);\
font:1rem/1.7 system-ui,-apple-system,'Segoe UI','Hiragino Sans','Yu Gothic UI','Noto Sans CJK JP','Noto Sans JP',sans-serif;\
overflow-wrap:anywhere;line-break:strict}
header,main,footer{width:100%;max-width:40rem;margin:0 auto;padding:0 1.25rem}
header,footer{padding:0 2.3rem}
header{padding-top:1.5rem;padding-bottom:1rem;font-weight:600;color:var(--soft)}
main{background:var(--sheet);border:1px solid var(--line);border-radius:.75rem;padding:2rem 2.25rem 1.75rem}
h1{margin:0 0 .75rem;font-size:1.5rem;line-height:1.4;text-wrap:balance;word-break:auto-phrase}
h2{margin:0 0 .25rem;font-size:1rem;color:var(--mark)}
p{margin:0 0 1rem}
p,footer{word-break:auto-phrase}
.do{margin:1.5rem 0;padding:1rem 1.25rem .25rem;background:var(--box);border-left:.25rem solid var(--mark);border-radius:.25rem}
.do p{margin-bottom:.75rem}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.25rem 1.25rem;margin:1.5rem 0 0;padding-top:1.25rem;border-top:1px solid var(--line);font-size:.9rem}
dt{color:var(--soft)}
dd{margin:0}
code{font:.875rem/1.6 ui-monospace,Consolas,Menlo,monospace;user-select:all}
footer{padding-top:1rem;padding-bottom:2rem;font-size:.85rem;color:var(--soft)}
@media(max-width:44rem){header,footer{padding-left:1.25rem;padding-right:1.25rem}main{border-width:1px 0;border-radius:0;padding:1.5rem 1.25rem}h1{font-size:1.3rem}}
@media(max-width:26rem){dl{grid-template-columns:1fr;gap:0}dd{margin-bottom:.5rem}}
";

/// The labels around the text.
struct Labels {
    remedy: &'static str,
    contact: &'static str,
    code: &'static str,
    request: &'static str,
    footer: &'static str,
}

fn labels(language: Language) -> Labels {
    match language {
        Language::English => Labels {
            remedy: "What you can do",
            contact: "Help desk",
            code: "Code",
            request: "Request number",
            footer: "If you ask for help, please give the code and the request number.",
        },
        Language::Japanese => Labels {
            remedy: "対処方法",
            contact: "お問い合わせ先",
            code: "コード",
            request: "リクエスト番号",
            footer: "お問い合わせの際は、コードとリクエスト番号をお伝えください。",
        },
    }
}

impl fmt::Display for Page<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let labels = labels(self.language);
        write!(
            out,
            "<!doctype html>\n<html lang=\"{language}\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n\
             <meta name=\"robots\" content=\"noindex\">\n<title>{title} – {organisation}</title>\n\
             <style>{STYLE}</style>\n</head>\n<body>\n<header>{organisation}</header>\n<main>\n\
             <h1>{title}</h1>\n<p>{what}</p>\n",
            language = self.language.tag(),
            title = Escaped(self.title),
            organisation = Escaped(self.organisation),
            what = Escaped(self.what),
        )?;
        self.write_remedy(out, &labels)?;
        self.write_facts(out, &labels)?;
        write!(
            out,
            "</main>\n<footer>{}</footer>\n</body>\n</html>\n",
            labels.footer
        )
    }
}

impl Page<'_> {
    fn write_remedy(&self, out: &mut fmt::Formatter<'_>, labels: &Labels) -> fmt::Result {
        if let Some((setting, _)) = self.setting {
            writeln!(out, "<p><strong>{}</strong></p>", Escaped(setting))?;
        }
        write!(out, "<div class=\"do\">\n<h2>{}</h2>\n", labels.remedy)?;
        if let Some((_, Some(remedy))) = self.setting {
            writeln!(out, "<p>{}</p>", Escaped(remedy))?;
        }
        writeln!(out, "<p>{}</p>", Escaped(self.remedy))?;
        if let Some(seconds) = self.retry_after {
            writeln!(out, "<p>{}</p>", Wait(seconds, self.language))?;
        }
        out.write_str("</div>\n")
    }

    fn write_facts(&self, out: &mut fmt::Formatter<'_>, labels: &Labels) -> fmt::Result {
        out.write_str("<dl>\n")?;
        if let Some(contact) = self.contact {
            writeln!(
                out,
                "<dt>{}</dt><dd>{}</dd>",
                labels.contact,
                Escaped(contact)
            )?;
        }
        write!(
            out,
            "<dt>{}</dt><dd><code>{}</code> ({})</dd>\n<dt>{}</dt><dd><code>{}</code></dd>\n</dl>\n",
            labels.code,
            Escaped(self.code),
            self.status,
            labels.request,
            Escaped(self.request_id)
        )
    }
}

/// How long to wait, in words.
struct Wait(u64, Language);

impl fmt::Display for Wait {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, minutes) = (self.0, self.0.div_ceil(60));
        match self.1 {
            Language::English if seconds == 1 => {
                out.write_str("It is worth trying again in 1 second.")
            }
            Language::English if seconds < 120 => {
                write!(out, "It is worth trying again in {seconds} seconds.")
            }
            Language::English => write!(out, "It is worth trying again in {minutes} minutes."),
            Language::Japanese if seconds < 120 => {
                write!(out, "{seconds} 秒後にもう一度お試しください。")
            }
            Language::Japanese => write!(out, "{minutes} 分後にもう一度お試しください。"),
        }
    }
}

/// Text as text, whatever is in it.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        while let Some((at, found)) = rest.char_indices().find(|(_, it)| "&<>\"'".contains(*it)) {
            let (before, after) = rest.split_at(at);
            out.write_str(before)?;
            out.write_str(match found {
                '&' => "&amp;",
                '<' => "&lt;",
                '>' => "&gt;",
                '"' => "&quot;",
                _ => "&#39;",
            })?;
            rest = after.strip_prefix(found).unwrap_or_default();
        }
        out.write_str(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stays_text() {
        assert_eq!(
            Escaped("<a href=\"x\" id='y'>&amp;あ</a>").to_string(),
            "&lt;a href=&quot;x&quot; id=&#39;y&#39;&gt;&amp;amp;あ&lt;/a&gt;"
        );
    }

    #[test]
    fn waiting_is_told_in_units_that_people_use() {
        assert_eq!(
            Wait(1, Language::English).to_string(),
            "It is worth trying again in 1 second."
        );
        assert_eq!(
            Wait(90, Language::Japanese).to_string(),
            "90 秒後にもう一度お試しください。"
        );
        assert_eq!(
            Wait(121, Language::English).to_string(),
            "It is worth trying again in 3 minutes."
        );
    }

    /// WCAG 2.1 §1.4.3 asks for 4.5 between text and its ground.
    #[test]
    fn text_stands_out_in_light_and_dark() {
        for (start, end) in [(":root{", "}"), ("dark){:root{", "}}")] {
            let block = STYLE
                .split_once(start)
                .unwrap()
                .1
                .split_once(end)
                .unwrap()
                .0;
            let colour = |name: &str| {
                let value = block.split_once(&format!("--{name}:#")).unwrap().1;
                let digits: String = value.chars().take_while(char::is_ascii_hexdigit).collect();
                luminance(&digits)
            };
            for (text, ground) in [
                ("ink", "sheet"),
                ("ink", "box"),
                ("soft", "ground"),
                ("soft", "sheet"),
                ("mark", "box"),
            ] {
                let (one, two) = (colour(text), colour(ground));
                let contrast = (one.max(two) + 0.05) / (one.min(two) + 0.05);
                assert!(contrast >= 4.5, "{text} on {ground}: {contrast}");
            }
        }
    }

    fn luminance(digits: &str) -> f64 {
        let full: String = match digits.len() {
            3 => digits.chars().flat_map(|digit| [digit, digit]).collect(),
            _ => digits.to_owned(),
        };
        let part = |at: usize| {
            let value = f64::from(u8::from_str_radix(&full[at..at + 2], 16).unwrap()) / 255.0;
            if value <= 0.03928 {
                value / 12.92
            } else {
                ((value + 0.055) / 1.055).powf(2.4)
            }
        };
        0.2126 * part(0) + 0.7152 * part(2) + 0.0722 * part(4)
    }
}
