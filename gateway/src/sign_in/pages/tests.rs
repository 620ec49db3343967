//! What holds for every page: that it can be used without seeing, and that nothing in it is anybody's markup but ours.

use std::collections::HashSet;

use base64::Engine as _;
use jiff::tz::TimeZone;

use super::samples::{Sample, all, brand, look};
use super::*;

/// Tags of a page in order: name, attributes as written, and the text up to the next tag.
struct Tag<'a> {
    name: &'a str,
    attributes: &'a str,
    text: &'a str,
}

impl<'a> Tag<'a> {
    fn of(page: &'a str) -> Vec<Self> {
        let page = page.split_once("<body").unwrap().1;
        let tags = page.split('<').skip(1).filter(|it| !it.starts_with('/'));
        tags.map(|tag| {
            let (inside, text) = tag.split_once('>').unwrap();
            let (name, attributes) = inside.split_once(' ').unwrap_or((inside, ""));
            Self {
                name,
                attributes,
                text,
            }
        })
        .collect()
    }

    fn get(&self, name: &str) -> Option<&'a str> {
        let attributes = self.attributes;
        let start = format!("{name}=\"");
        let at = attributes
            .match_indices(&start)
            .find(|(at, _)| *at == 0 || attributes.as_bytes().get(at - 1) == Some(&b' '))?;
        let rest = &attributes[at.0 + start.len()..];
        rest.split_once('"').map(|(value, _)| value)
    }

    fn has(&self, word: &str) -> bool {
        self.attributes.split(' ').any(|it| it == word)
    }
}

fn every(check: impl Fn(&Sample, &[Tag<'_>])) {
    for sample in all(&brand(None, Some([0xe6, 0, 0x33]))) {
        check(&sample, &Tag::of(sample.text()));
    }
}

#[test]
fn a_page_says_its_language_and_has_one_title_and_one_main_part() {
    every(|sample, tags| {
        let name = sample.name;
        let start = format!("<!doctype html>\n<html lang=\"{}\">", sample.language.tag());
        assert!(sample.text().starts_with(&start), "{name}");
        let count = |tag: &str| tags.iter().filter(|it| it.name == tag).count();
        assert_eq!((count("h1"), count("main")), (1, 1), "{name}");
        let h1 = tags.iter().find(|it| it.name == "h1").unwrap();
        let title = sample.text().split_once("<title>").unwrap().1;
        assert!(title.starts_with(h1.text), "{name}: {}", h1.text);
    });
}

#[test]
fn headings_are_in_order() {
    every(|sample, tags| {
        let mut before = 0;
        for tag in tags {
            let Some(level) = tag
                .name
                .strip_prefix('h')
                .and_then(|it| it.parse::<u8>().ok())
            else {
                continue;
            };
            assert!(
                level <= before + 1,
                "{}: h{level} after h{before}",
                sample.name
            );
            before = level;
        }
        assert!(before > 0);
    });
}

#[test]
fn every_input_has_a_label() {
    every(|sample, tags| {
        let labels: HashSet<&str> = tags
            .iter()
            .filter(|it| it.name == "label")
            .filter_map(|it| it.get("for"))
            .collect();
        for tag in tags {
            let hidden = tag.get("type") == Some("hidden") || tag.has("hidden");
            if !matches!(tag.name, "input" | "textarea" | "select") || hidden {
                continue;
            }
            let labelled = tag.get("id").is_some_and(|id| labels.contains(id));
            assert!(labelled, "{}: {}", sample.name, tag.attributes);
        }
        for tag in tags.iter().filter(|it| matches!(it.name, "button" | "a")) {
            let named = !tag.text.trim().is_empty() || tag.get("aria-label").is_some();
            // A tile's name stands in the first element within it.
            let tile = sample
                .text()
                .contains(&format!("<a {}><span>", tag.attributes));
            assert!(named || tile, "{}: {}", sample.name, tag.attributes);
        }
    });
}

#[test]
fn ids_are_given_once_and_what_is_referred_to_exists() {
    every(|sample, tags| {
        let mut ids = HashSet::new();
        for id in tags.iter().filter_map(|it| it.get("id")) {
            assert!(ids.insert(id), "{}: {id}", sample.name);
        }
        for tag in tags {
            let fragment = tag.get("href").and_then(|it| it.strip_prefix('#'));
            let described = ["aria-labelledby", "aria-describedby"].map(|it| tag.get(it));
            let named = described
                .into_iter()
                .flatten()
                .flat_map(str::split_whitespace);
            for id in fragment.into_iter().chain(named) {
                assert!(ids.contains(id), "{}: {id}", sample.name);
            }
        }
    });
}

#[test]
fn focus_goes_in_the_order_of_the_text() {
    every(|sample, tags| {
        for tag in tags {
            assert_ne!(tag.get("autofocus"), Some(""), "{}", sample.name);
            let index = tag.get("tabindex").map(|it| it.parse::<i32>().unwrap());
            assert!(index.is_none_or(|index| index <= 0), "{}", sample.name);
        }
    });
}

#[test]
fn pictures_have_a_text_even_if_it_is_empty() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("logo.svg");
    std::fs::write(&file, "<svg xmlns=\"http://www.w3.org/2000/svg\"/>").unwrap();
    for sample in all(&brand(Some(&file), None)) {
        let tags = Tag::of(sample.text());
        let pictures: Vec<_> = tags.iter().filter(|it| it.name == "img").collect();
        assert_eq!(pictures.len(), 1, "{}", sample.name);
        assert!(pictures.iter().all(|it| it.get("alt").is_some()));
    }
}

// Attack: names, notes and addresses that are markup, in whatever page shows them.
#[test]
fn nothing_written_elsewhere_becomes_markup() {
    every(|sample, tags| {
        let text = sample.text();
        for hostile in [
            "<i>",
            "<b>",
            "<ada>",
            "<tablet>",
            "<working>",
            "<平日>",
            "<Co>",
            "</textarea><script",
            "secret detail",
        ] {
            assert!(!text.contains(hostile), "{}: {hostile}", sample.name);
        }
        for tag in tags {
            let mut words = tag.attributes.split(' ');
            let handler = words.any(|it| it.starts_with("on") && it.contains('='));
            assert!(!handler && tag.get("style").is_none(), "{}", sample.name);
            assert!(
                tag.name != "script" && tag.name != "style",
                "{}",
                sample.name
            );
        }
        assert!(!text.contains("javascript:"), "{}", sample.name);
    });
}

#[test]
fn a_page_may_what_it_needs_and_is_kept_by_nobody() {
    every(|sample, _| {
        let name = sample.name;
        let headers = sample.response.headers();
        let policy = headers["content-security-policy"].to_str().unwrap();
        let style = sample.text().split_once("<style>").unwrap().1;
        let style = style.split_once("</style>").unwrap().0;
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, style.as_bytes());
        let hash = base64::engine::general_purpose::STANDARD.encode(digest);
        assert!(
            policy.contains(&format!("style-src 'sha256-{hash}'")),
            "{name}"
        );
        let scripts = sample.text().contains("<script src=\"/.masugata/");
        assert_eq!(policy.contains("script-src"), scripts, "{name}: {policy}");
        assert_eq!(
            scripts,
            name.starts_with("kept") || name == "signed-in",
            "{name}"
        );
        let forms = sample.text().contains("<form");
        assert!(!forms || !policy.contains("form-action 'none'"), "{name}");
        assert_eq!(headers["cache-control"], "no-store");
        assert_eq!(headers["x-content-type-options"], "nosniff");
        assert_eq!(headers["referrer-policy"], "same-origin");
        assert!(policy.contains("frame-ancestors 'none'"));
    });
}

#[test]
fn every_page_names_the_help_desk() {
    every(|sample, _| assert!(sample.text().contains("03-1234-5678"), "{}", sample.name));
}

#[test]
fn every_form_that_changes_something_carries_the_token() {
    every(|sample, _| {
        if !sample.name.starts_with("my-page") {
            return;
        }
        for form in sample.text().split("<form method=\"post\"").skip(1) {
            let form = form.split_once("</form>").unwrap().0;
            assert!(form.contains("name=\"token\" value=\"token-&quot;of-this-session\""));
        }
    });
}

#[test]
fn one_cannot_end_this_session_by_its_row() {
    every(|sample, _| {
        assert!(!sample.text().contains("name=\"session\" value=\"a1\""));
        if sample.name == "my-page" {
            for id in ["b2", "c3", "others"] {
                let field = format!("name=\"session\" value=\"{id}\"");
                assert!(sample.text().contains(&field), "{id}");
            }
        }
    });
}

#[test]
fn the_language_that_was_chosen_stays_in_links() {
    let (brand, zone) = (brand(None, None), Zone::new(TimeZone::UTC));
    let chosen = look(&brand, &zone, "/choose?to=x&lang=ja&lang=en", "en");
    assert_eq!(chosen.language(), Language::Japanese);
    assert_eq!(chosen.link("/"), "/?lang=ja");
    assert_eq!(chosen.link("/start?to=x"), "/start?to=x&lang=ja");
    assert_eq!(chosen.link("/#apps"), "/?lang=ja#apps");
    assert_eq!(
        chosen.other_language.as_deref(),
        Some("/choose?lang=en&to=x")
    );
    let accepted = look(&brand, &zone, "/choose?to=x&lang=fr", "ja");
    assert_eq!(accepted.language(), Language::Japanese);
    assert_eq!(accepted.link("/start?to=x"), "/start?to=x");
}

#[test]
fn what_counts_once_is_not_linked_to_in_another_language() {
    every(|sample, _| {
        if sample.name.starts_with("error") || sample.name.starts_with("kept") {
            assert!(!sample.text().contains("hreflang"), "{}", sample.name);
        }
    });
}

#[test]
fn what_was_typed_in_several_lines_is_sent_as_it_was() {
    every(|sample, _| {
        if sample.name == "kept" {
            let kept = "\"note\" hidden aria-hidden=\"true\">\n\nline one\r\nline two &lt;/textarea&gt;&lt;script&gt;</textarea>";
            assert!(sample.text().contains(kept), "{}", sample.text());
        }
    });
}

#[test]
fn times_are_those_of_the_wall() {
    every(|sample, _| {
        if sample.name == "my-page" {
            let wall = "<time datetime=\"2026-11-23T09:20:00Z\">2026-11-23 18:20</time>";
            assert!(sample.text().contains(wall));
        }
    });
}

#[test]
fn scripts_are_there_and_only_those() {
    let asked = |method: Method, path: &str| asset(&method, path);
    let script = asked(Method::GET, scripts::TABS).unwrap();
    assert_eq!(
        script.headers()["content-type"],
        "text/javascript; charset=utf-8"
    );
    assert!(!script.body().is_empty());
    assert!(
        asked(Method::HEAD, scripts::TABS)
            .unwrap()
            .body()
            .is_empty()
    );
    assert!(asked(Method::POST, scripts::TABS).is_none());
    assert!(asked(Method::GET, "/.masugata/assets/../tabs.js").is_none());
    assert!(asked(Method::GET, "/.masugata/assets/").is_none());
}

#[test]
fn head_gets_no_content() {
    let (brand, zone) = (brand(None, None), Zone::new(TimeZone::UTC));
    let head = http::Request::head("/signed-out").body(()).unwrap();
    let look = Look::of(&brand, &zone, &head.into_parts().0, RequestId(1));
    let page = signed_out(&look, AtProvider::Ended);
    assert!(page.body().is_empty());
    assert_ne!(page.headers()["content-length"], "0");
}
