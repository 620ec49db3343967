//! For whom an answer is written: a person or a program, in Japanese or English (RFC 9110 §12).

use http::request::Parts;
use http::{HeaderMap, HeaderName, Method, Version, header};

/// What the client would like; taken from its head before that is consumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preferences {
    pub format: Format,
    pub language: Language,
    /// The answer must have no content (HEAD).
    pub head_only: bool,
    /// `Connection` means something in the answer.
    pub http1: bool,
    /// A gRPC call, whose client looks for the status of one.
    pub grpc: bool,
}

/// Who reads the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A person: HTML.
    Page,
    /// A program: RFC 9457.
    Problem,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    Japanese,
    English,
}

impl Language {
    /// BCP 47.
    pub fn tag(self) -> &'static str {
        match self {
            Self::Japanese => "ja",
            Self::English => "en",
        }
    }
}

impl Preferences {
    /// Reads `Accept`, `Accept-Language` and `Sec-Fetch-Mode`.
    pub fn of(head: &Parts) -> Self {
        Self {
            format: format_of(&head.headers),
            language: language_of(&head.headers),
            head_only: head.method == Method::HEAD,
            http1: head.version < Version::HTTP_2,
            grpc: head
                .headers
                .get(header::CONTENT_TYPE)
                .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc")),
        }
    }
}

static SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

/// A page for whoever navigates, or names HTML and wants it no less than JSON; `*/*` alone is a program.
fn format_of(headers: &HeaderMap) -> Format {
    if headers
        .get(&SEC_FETCH_MODE)
        .is_some_and(|mode| mode == "navigate")
    {
        return Format::Page;
    }
    let (mut html, mut json) = (0, 0);
    for (range, weight) in weighted(headers, &header::ACCEPT) {
        if is_any(range, &["text/html", "application/xhtml+xml"]) {
            html = html.max(weight);
        } else if is_any(range, &["application/problem+json", "application/json"]) {
            json = json.max(weight);
        }
    }
    if html > 0 && html >= json {
        Format::Page
    } else {
        Format::Problem
    }
}

/// The language with the greater weight; the one written first when they weigh the same; English when neither is named.
fn language_of(headers: &HeaderMap) -> Language {
    let mut best = (0, Language::English);
    for (range, weight) in weighted(headers, &header::ACCEPT_LANGUAGE) {
        let primary = range.split('-').next().unwrap_or_default();
        let language = match primary {
            _ if primary.eq_ignore_ascii_case("ja") => Language::Japanese,
            _ if primary.eq_ignore_ascii_case("en") => Language::English,
            _ => continue,
        };
        if weight > best.0 {
            best = (weight, language);
        }
    }
    best.1
}

fn is_any(range: &str, names: &[&str]) -> bool {
    names.iter().any(|name| range.eq_ignore_ascii_case(name))
}

/// Ranges with their weight in thousandths. A weight that cannot be read counts as nothing.
fn weighted<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = (&'a str, u16)> {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .take(64)
        .map(|item| {
            let mut parts = item.split(';').map(str::trim);
            let range = parts.next().unwrap_or_default();
            let weight =
                parts.find_map(|it| it.strip_prefix("q=").or_else(|| it.strip_prefix("Q=")));
            (range, weight.map_or(1000, parse_weight))
        })
}

fn parse_weight(text: &str) -> u16 {
    let weight = match text.split_once('.') {
        None => text.parse::<u16>().ok().and_then(|it| it.checked_mul(1000)),
        Some((whole, thousandths)) if thousandths.len() <= 3 => {
            let digits = format!("{whole}{thousandths:0<3}");
            digits.parse().ok()
        }
        Some(_) => None,
    };
    weight.filter(|it| *it <= 1000).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn prefer(fields: &[(&str, &str)]) -> (Format, Language) {
        let mut request = Request::builder();
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let it = Preferences::of(&request.body(()).unwrap().into_parts().0);
        (it.format, it.language)
    }

    #[test]
    fn browsers_get_pages_and_programs_get_documents() {
        let chrome = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8";
        for (accept, format) in [
            (chrome, Format::Page),
            ("text/html", Format::Page),
            ("TEXT/HTML;q=0.1", Format::Page),
            ("text/html;q=0", Format::Problem),
            ("application/json, text/html;q=0.9", Format::Problem),
            ("application/json;q=0.8, text/html", Format::Page),
            ("*/*", Format::Problem),
            ("application/grpc", Format::Problem),
            ("", Format::Problem),
        ] {
            assert_eq!(prefer(&[("accept", accept)]).0, format, "{accept}");
        }
        assert_eq!(prefer(&[]).0, Format::Problem);
        assert_eq!(
            prefer(&[("sec-fetch-mode", "navigate"), ("accept", "*/*")]).0,
            Format::Page
        );
    }

    #[test]
    fn the_language_follows_the_weights() {
        for (accept, language) in [
            ("ja", Language::Japanese),
            ("ja-JP,en;q=0.9", Language::Japanese),
            ("en,ja", Language::English),
            ("ja,en", Language::Japanese),
            ("fr,en;q=0.3,ja;q=0.4", Language::Japanese),
            ("JA;q=0.5,en-GB;q=0.50", Language::Japanese),
            ("ja;q=0", Language::English),
            ("ja;q=x,en;q=0.1", Language::English),
            ("ja;q=1.5", Language::English),
            ("ja;q=99999999", Language::English),
            ("fr", Language::English),
            ("*", Language::English),
            ("jam", Language::English),
        ] {
            assert_eq!(
                prefer(&[("accept-language", accept)]).1,
                language,
                "{accept}"
            );
        }
    }
}
