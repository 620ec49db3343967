//! What all pages have in common: head, style, header and footer. No script, and nothing fetched from elsewhere.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::negotiate::Language;

pub(super) const STYLE: &str = "\
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

/// `Content-Security-Policy` for a page with our style and `more` of it: nothing else, each named by its hash.
pub(crate) fn policy(more: &str, form_action: &str) -> String {
    let style = [STYLE, more].concat();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, style.as_bytes());
    format!(
        "default-src 'none'; style-src 'sha256-{}'; base-uri 'none'; form-action {form_action}; frame-ancestors 'none'",
        STANDARD.encode(digest)
    )
}

/// A whole page around `body`, which is markup; everything else is text.
pub(crate) struct Framed<'a> {
    pub(crate) language: Language,
    pub(crate) organisation: &'a str,
    pub(crate) title: &'a str,
    /// After our own; [`policy`] must be told the same.
    pub(crate) style: &'static str,
    pub(crate) body: &'a dyn fmt::Display,
    pub(crate) footer: &'a str,
}

impl fmt::Display for Framed<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "<!doctype html>\n<html lang=\"{language}\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n\
             <meta name=\"robots\" content=\"noindex\">\n<title>{title} – {organisation}</title>\n\
             <style>{STYLE}{more}</style>\n</head>\n<body>\n<header>{organisation}</header>\n<main>\n\
             {body}</main>\n<footer>{footer}</footer>\n</body>\n</html>\n",
            language = self.language.tag(),
            title = Escaped(self.title),
            organisation = Escaped(self.organisation),
            more = self.style,
            body = self.body,
            footer = Escaped(self.footer),
        )
    }
}

/// Text as text, whatever is in it.
pub(crate) struct Escaped<'a>(pub(crate) &'a str);

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
}
