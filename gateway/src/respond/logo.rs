//! The company's logo: read and checked at load, served by us, never fetched from elsewhere.
//!
//! An SVG is a document that could carry scripts. It is shown in `<img>`, which runs none, and served under a policy that
//! allows none; but somebody could open it by itself in a browser with other ideas, so one that contains more than a
//! drawing does not load.

use std::path::Path;

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode, header};

/// Where it is, on every host of the first door.
pub(crate) const LOGO_PATH: &str = "/.masugata/logo";

/// Bytes of the largest file.
pub(crate) const LARGEST: usize = 64 * 1024;

/// See the module's first lines.
#[derive(Debug)]
pub(crate) struct Logo {
    content: Bytes,
    kind: &'static str,
    tag: HeaderValue,
}

/// Why a file cannot be the logo.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LogoError {
    #[error("cannot read the file: {0}")]
    Unreadable(#[from] std::io::Error),
    #[error("the logo has {0} bytes; at most {LARGEST} are served")]
    TooLarge(usize),
    #[error("the logo is neither SVG nor PNG")]
    Unknown,
    #[error("the SVG has {0}, which a drawing does not need")]
    NotADrawing(String),
    #[error("the SVG cannot be read: {0}")]
    Malformed(&'static str),
}

impl LogoError {
    /// A way forward.
    pub(crate) fn help(&self) -> &'static str {
        match self {
            Self::Unreadable(_) => "check that it exists and that masugata may read it",
            Self::TooLarge(_) => "make it smaller: it is shown 36 pixels high",
            Self::Unknown => "save it as SVG or PNG",
            Self::NotADrawing(_) | Self::Malformed(_) => {
                "save it as plain (optimised) SVG with text turned into paths, or as PNG"
            }
        }
    }
}

impl Logo {
    /// Reads and checks the file.
    ///
    /// # Errors
    /// [`LogoError`]: too large, neither SVG nor PNG, or an SVG that is more than a drawing.
    pub(crate) fn load(file: &Path) -> Result<Self, LogoError> {
        let size = std::fs::metadata(file)?.len();
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        if size > LARGEST {
            return Err(LogoError::TooLarge(size));
        }
        Self::of(std::fs::read(file)?)
    }

    fn of(content: Vec<u8>) -> Result<Self, LogoError> {
        if content.len() > LARGEST {
            return Err(LogoError::TooLarge(content.len()));
        }
        let kind = if is_png(&content) {
            "image/png"
        } else {
            let text = std::str::from_utf8(&content).map_err(|_error| LogoError::Unknown)?;
            check_drawing(text)?;
            "image/svg+xml"
        };
        let print = digest::digest(&digest::SHA256, &content);
        let tag = format!("\"{}\"", URL_SAFE_NO_PAD.encode(print));
        Ok(Self {
            tag: HeaderValue::try_from(tag).map_err(|_error| LogoError::Unknown)?,
            content: content.into(),
            kind,
        })
    }

    /// The answer to a request for it.
    pub(crate) fn answer(&self, head: &Parts) -> Response<Bytes> {
        let mut response = Response::new(Bytes::new());
        let known = head.headers.get_all(header::IF_NONE_MATCH).iter();
        if known.into_iter().any(|tag| tag == self.tag) {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        } else if head.method != Method::HEAD {
            *response.body_mut() = self.content.clone();
        }
        let headers = response.headers_mut();
        headers.insert(header::ETAG, self.tag.clone());
        for (name, value) in [
            (header::CONTENT_TYPE, self.kind),
            (header::CACHE_CONTROL, "public, max-age=300"),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (
                header::CONTENT_SECURITY_POLICY,
                "default-src 'none'; style-src 'unsafe-inline'; sandbox",
            ),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        headers.insert(
            "cross-origin-resource-policy",
            HeaderValue::from_static("same-origin"),
        );
        response
    }
}

/// Signature and first chunk (PNG §5.2, §11.2.2).
fn is_png(content: &[u8]) -> bool {
    let rest = content.strip_prefix(b"\x89PNG\r\n\x1a\n");
    rest.is_some_and(|rest| rest.starts_with(b"\0\0\0\rIHDR"))
}

/// What a drawing is made of. Not among them: `script`, `foreignObject`, `image`, `a`, `animate`, `set`.
const ELEMENTS: [&str; 25] = [
    "svg",
    "g",
    "path",
    "rect",
    "circle",
    "ellipse",
    "line",
    "polyline",
    "polygon",
    "text",
    "tspan",
    "defs",
    "linearGradient",
    "radialGradient",
    "stop",
    "clipPath",
    "mask",
    "pattern",
    "marker",
    "title",
    "desc",
    "use",
    "symbol",
    "style",
    "switch",
];

/// A drawing in UTF-8: known elements, no handlers, no references but to its own parts, no document type (and so no
/// entities), no instructions. Not a full XML parser: whatever it does not understand is refused.
fn check_drawing(text: &str) -> Result<(), LogoError> {
    let mut rest = text.strip_prefix('\u{feff}').unwrap_or(text).trim_start();
    if let Some(declaration) = rest.strip_prefix("<?xml ") {
        let (declared, after) = declaration.split_once("?>").ok_or(OPEN)?;
        let lower = declared.to_ascii_lowercase();
        if lower.contains("encoding") && !lower.contains("utf-8") {
            return Err(LogoError::NotADrawing(
                "another encoding than UTF-8".to_owned(),
            ));
        }
        rest = after;
    }
    let mut seen_root = false;
    let mut in_style = false;
    while let Some((before, tag)) = rest.split_once('<') {
        if in_style {
            check_style(before)?;
        }
        if let Some(comment) = tag.strip_prefix("!--") {
            rest = comment.split_once("-->").ok_or(OPEN)?.1;
            continue;
        }
        if tag.starts_with('!') || tag.starts_with('?') {
            let found = "a document type, a CDATA section or an instruction";
            return Err(LogoError::NotADrawing(found.to_owned()));
        }
        let (closes, tag) = tag
            .strip_prefix('/')
            .map_or((false, tag), |tag| (true, tag));
        let end = tag.find(|it: char| it.is_ascii_whitespace() || it == '/' || it == '>');
        let (name, after) = tag.split_at(end.ok_or(OPEN)?);
        if !ELEMENTS.contains(&name) {
            let found = if seen_root || name.contains(':') {
                LogoError::NotADrawing(format!("an element `{}`", shortened(name)))
            } else {
                LogoError::Unknown
            };
            return Err(found);
        }
        if !seen_root && name != "svg" {
            return Err(LogoError::Unknown);
        }
        seen_root = true;
        let (empty, after) = check_attributes(after)?;
        in_style = name == "style" && !closes && !empty;
        rest = after;
    }
    if seen_root {
        Ok(())
    } else {
        Err(LogoError::Unknown)
    }
}

const OPEN: LogoError = LogoError::Malformed("something is not closed");

/// Up to the end of the tag; whether it has no content, and what follows.
fn check_attributes(mut rest: &str) -> Result<(bool, &str), LogoError> {
    loop {
        rest = rest.trim_start();
        if let Some(after) = rest.strip_prefix("/>") {
            return Ok((true, after));
        }
        if let Some(after) = rest.strip_prefix('>') {
            return Ok((false, after));
        }
        let (name, after) = rest.split_once('=').ok_or(OPEN)?;
        let name = name.trim_end();
        let plain = |it: char| it.is_ascii_alphanumeric() || "-_:.".contains(it);
        if name.is_empty() || !name.chars().all(plain) {
            return Err(LogoError::Malformed("a tag is not understood"));
        }
        let after = after.trim_start();
        let quote = after.chars().next().filter(|it| matches!(it, '"' | '\''));
        let quote = quote.ok_or(LogoError::Malformed("a value has no quotes"))?;
        let (value, after) = after
            .strip_prefix(quote)
            .and_then(|after| after.split_once(quote))
            .ok_or(OPEN)?;
        check_attribute(name, value)?;
        rest = after;
    }
}

fn check_attribute(name: &str, value: &str) -> Result<(), LogoError> {
    let lower = name.to_ascii_lowercase();
    // Only declares a prefix; its value is a name and not an address.
    if lower == "xmlns" || lower.starts_with("xmlns:") {
        return Ok(());
    }
    let local = lower.rsplit(':').next().unwrap_or(&lower);
    if local.starts_with("on") {
        return Err(LogoError::NotADrawing(format!(
            "a handler `{}`",
            shortened(name)
        )));
    }
    if matches!(local, "href" | "src" | "base") && !value.trim().starts_with('#') {
        return Err(LogoError::NotADrawing(
            "a reference to something outside of it".to_owned(),
        ));
    }
    // A character reference can hide what is looked for here.
    if value.contains("&#") {
        return Err(LogoError::NotADrawing("a character reference".to_owned()));
    }
    check_style(value)
}

/// CSS, or a value that may be: no address but that of a part of the drawing.
fn check_style(text: &str) -> Result<(), LogoError> {
    let lower = text.to_ascii_lowercase();
    let elsewhere =
        || LogoError::NotADrawing("a style that refers to something outside of it".to_owned());
    // Escapes and comments can hide the words; `&` is the beginning of a reference to a character.
    if lower.contains('\\')
        || lower.contains("/*")
        || lower.contains("@import")
        || lower.contains("image")
    {
        return Err(elsewhere());
    }
    for (at, found) in lower.match_indices("url") {
        let rest = lower
            .get(at + found.len()..)
            .unwrap_or_default()
            .trim_start();
        let Some(address) = rest.strip_prefix('(') else {
            continue;
        };
        let address =
            address.trim_start_matches(|it: char| it.is_whitespace() || matches!(it, '"' | '\''));
        if !address.starts_with('#') {
            return Err(elsewhere());
        }
    }
    Ok(())
}

fn shortened(name: &str) -> String {
    name.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    const GOOD: &str = r##"<?xml version="1.0" encoding="UTF-8"?>
<!-- made by hand -->
<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="0 0 120 24">
  <title>Kura</title>
  <style>.a { fill: url(#g) } .b { fill: #0b3d91 }</style>
  <defs><linearGradient id="g"><stop offset="0" stop-color="#fff"/></linearGradient></defs>
  <path class="a" d="M0 0h24v24H0z"/><use xlink:href="#x" href='#x'/>
  <rect style="fill:url('#g')" width="4" height="4" />
</svg>
"##;

    fn load(text: &str) -> Result<Logo, LogoError> {
        Logo::of(text.as_bytes().to_vec())
    }

    fn with(inside: &str) -> Result<Logo, LogoError> {
        load(&format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\">{inside}</svg>"
        ))
    }

    #[test]
    fn a_drawing_is_served_as_one() {
        let logo = load(GOOD).unwrap();
        let head = Request::get(LOGO_PATH).body(()).unwrap().into_parts().0;
        let answer = logo.answer(&head);
        assert_eq!(answer.headers()["content-type"], "image/svg+xml");
        assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
        assert_eq!(
            answer.headers()["content-security-policy"],
            "default-src 'none'; style-src 'unsafe-inline'; sandbox"
        );
        assert_eq!(answer.body(), GOOD.as_bytes());
        let again = Request::get(LOGO_PATH).header("if-none-match", &logo.tag);
        let answer = logo.answer(&again.body(()).unwrap().into_parts().0);
        assert_eq!(answer.status(), StatusCode::NOT_MODIFIED);
        assert!(answer.body().is_empty());
    }

    #[test]
    fn a_png_is_known_by_its_first_chunk() {
        let png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01";
        assert_eq!(Logo::of(png.to_vec()).unwrap().kind, "image/png");
        for bad in [&b"\x89PNG"[..], b"\xff\xd8\xff\xe0", b"GIF89a", b""] {
            assert!(matches!(Logo::of(bad.to_vec()), Err(LogoError::Unknown)));
        }
    }

    // Attack: a logo that acts when somebody opens it by itself.
    #[test]
    fn what_is_more_than_a_drawing_does_not_load() {
        for inside in [
            "<script>alert(1)</script>",
            "<SCRIPT>alert(1)</SCRIPT>",
            "<svg:script>alert(1)</svg:script>",
            "<x:script xmlns:x=\"http://www.w3.org/2000/svg\">alert(1)</x:script>",
            "<g onload=\"alert(1)\"/>",
            "<g ONLOAD='alert(1)'/>",
            "<g\nonload\n=\n'alert(1)'/>",
            "<a href=\"javascript:alert(1)\"><text>x</text></a>",
            "<use href=\"https://evil.test/x.svg#a\"/>",
            "<use xlink:href=\"data:image/svg+xml;base64,AA\"/>",
            "<use x:href=\" //evil.test/#a\"/>",
            "<image href=\"#a\"/>",
            "<foreignObject><p>x</p></foreignObject>",
            "<animate attributeName=\"href\" to=\"javascript:alert(1)\"/>",
            "<set attributeName=\"onload\" to=\"alert(1)\"/>",
            "<style>@import 'https://evil.test/x.css';</style>",
            "<style>a{background:url(https://evil.test/x)}</style>",
            "<style>a{background:\\75rl(https://evil.test/x)}</style>",
            "<style>a{background:ur/**/l(https://evil.test/x)}</style>",
            "<style>a{background:image-set('https://evil.test/x' 1x)}</style>",
            "<rect fill=\"url(https://evil.test/x#a)\"/>",
            "<rect fill=\"url( 'https://evil.test/x#a')\"/>",
            "<rect fill=\"&#117;rl(https://evil.test/x#a)\"/>",
            "<g xml:base=\"https://evil.test/\"/>",
            "<![CDATA[<script>alert(1)</script>]]>",
            "<?xml-stylesheet href=\"https://evil.test/x.css\"?>",
            "<g/onload=alert(1)>",
            "<g a=b>",
            "<g a=\"",
            "<g",
        ] {
            assert!(with(inside).is_err(), "{inside}");
        }
        for whole in [
            "<!DOCTYPE svg [<!ENTITY x \"y\">]><svg/>",
            "<?xml version=\"1.0\" encoding=\"UTF-7\"?><svg/>",
            "<html><svg/></html>",
            "<g><svg/></g>",
            "svg",
            "",
        ] {
            assert!(load(whole).is_err(), "{whole}");
        }
    }

    #[test]
    fn a_large_file_is_not_read_into_pages() {
        let large = vec![b' '; LARGEST + 1];
        assert!(matches!(Logo::of(large), Err(LogoError::TooLarge(_))));
    }
}
