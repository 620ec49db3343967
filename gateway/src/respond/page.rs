//! Answers for people: one self-contained HTML page, without script, without anything fetched from elsewhere.

use std::fmt;

use super::brand::Brand;
use super::frame::{Escaped, Framed, Host};
use super::negotiate::Language;

/// What a page says. All text is escaped on its way out.
#[derive(Debug)]
pub(super) struct Page<'a> {
    pub(super) language: Language,
    pub(super) brand: &'a Brand,
    pub(super) host: Host,
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

/// The labels around the text.
struct Labels {
    remedy: &'static str,
    code: &'static str,
    request: &'static str,
    footer: &'static str,
}

fn labels(language: Language) -> Labels {
    match language {
        Language::English => Labels {
            remedy: "What you can do",
            code: "Code",
            request: "Request number",
            footer: "If you ask for help, please give the code and the request number.",
        },
        Language::Japanese => Labels {
            remedy: "対処方法",
            code: "コード",
            request: "リクエスト番号",
            footer: "お問い合わせの際は、コードとリクエスト番号をお伝えください。",
        },
    }
}

impl fmt::Display for Page<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let body = Body(self);
        let framed = Framed {
            language: self.language,
            brand: self.brand,
            host: self.host,
            title: self.title,
            other_language: None,
            scripts: &[],
            wide: false,
            body: &body,
            footer: labels(self.language).footer,
        };
        framed.fmt(out)
    }
}

/// What stands between header and footer.
struct Body<'a, 'b>(&'a Page<'b>);

impl fmt::Display for Body<'_, '_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(page) = self;
        let labels = labels(page.language);
        writeln!(
            out,
            "<h1>{}</h1>\n<p>{}</p>",
            Escaped(page.title),
            Escaped(page.what)
        )?;
        page.write_remedy(out, &labels)?;
        page.write_facts(out, &labels)
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
