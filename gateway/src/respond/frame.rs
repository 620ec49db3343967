//! What all pages have in common: head, style, header with the company's name and logo, help desk and footer. No script
//! but our own from our own host, and nothing fetched from elsewhere.

use std::fmt;

use super::brand::Brand;
use super::logo::LOGO_PATH;
use super::negotiate::Language;

/// A whole page around `body`, which is markup; everything else is text.
pub(crate) struct Framed<'a> {
    pub(crate) language: Language,
    pub(crate) brand: &'a Brand,
    pub(crate) host: Host,
    pub(crate) title: &'a str,
    /// The address of the same page in the other language, where it is cheap to have one.
    pub(crate) other_language: Option<&'a str>,
    /// Scripts of ours, by path; the policy must allow them.
    pub(crate) scripts: &'a [&'a str],
    /// For pages that show lists.
    pub(crate) wide: bool,
    pub(crate) body: &'a dyn fmt::Display,
    pub(crate) footer: &'a str,
}

/// Whose name stands in the address bar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Host {
    /// One that we serve, where the logo is to be had.
    Ours,
    /// Somebody's on the Internet, in whose place we answer.
    Abroad,
}

impl fmt::Display for Framed<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "<!doctype html>\n<html lang=\"{language}\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n\
             <meta name=\"robots\" content=\"noindex\">\n<title>{title} – {organisation}</title>\n\
             <style>{style}</style>\n",
            language = self.language.tag(),
            title = Escaped(self.title),
            organisation = Escaped(self.brand.organisation()),
            style = self.brand.style(),
        )?;
        for script in self.scripts {
            writeln!(out, "<script src=\"{}\" defer></script>", Escaped(script))?;
        }
        let wide = if self.wide { " class=\"wide\"" } else { "" };
        write!(out, "</head>\n<body{wide}>\n")?;
        self.write_header(out)?;
        write!(out, "<main id=\"main\">\n{}</main>\n", self.body)?;
        self.write_footer(out)?;
        out.write_str("</body>\n</html>\n")
    }
}

impl Framed<'_> {
    fn write_header(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.other_language.is_some() {
            // Only where the header has something to skip.
            let skip = match self.language {
                Language::English => "Skip to the content",
                Language::Japanese => "本文へ移動",
            };
            writeln!(out, "<a class=\"skip\" href=\"#main\">{skip}</a>")?;
        }
        out.write_str("<header>")?;
        if self.host == Host::Ours && self.brand.has_logo() {
            // The name stands beside it, so it says nothing by itself.
            write!(out, "<img class=\"logo\" src=\"{LOGO_PATH}\" alt=\"\">")?;
        }
        let organisation = Escaped(self.brand.organisation());
        write!(out, "<span>{organisation}</span>")?;
        if let Some(address) = self.other_language {
            let (tag, name) = match self.language {
                Language::English => ("ja", "日本語"),
                Language::Japanese => ("en", "English"),
            };
            write!(
                out,
                "<a class=\"tongue\" href=\"{}\" hreflang=\"{tag}\" lang=\"{tag}\">{name}</a>",
                Escaped(address)
            )?;
        }
        out.write_str("</header>\n")
    }

    fn write_footer(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("<footer>")?;
        if let Some(contact) = self.brand.contact() {
            let (label, colon) = match self.language {
                Language::English => ("Help desk", ": "),
                Language::Japanese => ("お問い合わせ先", "："),
            };
            write!(
                out,
                "<p>{label}{colon}<strong>{}</strong></p>",
                Whole(contact)
            )?;
        }
        if !self.footer.is_empty() {
            write!(out, "<p>{}</p>", Escaped(self.footer))?;
        }
        out.write_str("</footer>\n")
    }
}

/// Text in which telephone numbers are not broken at the end of a line.
struct Whole<'a>(&'a str);

impl fmt::Display for Whole<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for word in self.0.split_inclusive(' ') {
            let number = |it: char| it.is_ascii_digit() || "+-()".contains(it);
            if word.contains('-') && word.len() <= 24 && word.trim_end().chars().all(number) {
                write!(out, "<span class=\"whole\">{}</span>", Escaped(word))?;
            } else {
                Escaped(word).fmt(out)?;
            }
        }
        Ok(())
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
    fn telephone_numbers_stay_in_one_line() {
        let contact = Whole("IT <desk> 03-1234-5678 / it-help@example.com");
        assert_eq!(
            contact.to_string(),
            "IT &lt;desk&gt; <span class=\"whole\">03-1234-5678 </span>/ it-help@example.com"
        );
    }

    #[test]
    fn text_stays_text() {
        assert_eq!(
            Escaped("<a href=\"x\" id='y'>&amp;あ</a>").to_string(),
            "&lt;a href=&quot;x&quot; id=&#39;y&#39;&gt;&amp;amp;あ&lt;/a&gt;"
        );
    }
}
