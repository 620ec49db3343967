//! A form that somebody sent when their session was over: what they typed is given back on a page, to be sent once more when
//! they have signed in in another tab. Nothing of it is kept here.
//!
//! Only for forms of the app itself: of a form that another site made the browser send, one click of the person would make
//! a request of the app's own.

use bytes::Bytes;
use http::request::Parts;
use http::{Response, header};
use hyper::body::Incoming;

use super::collect;
use super::fields::{Fields, decoded};
use super::pages::{self, Entries, KeptForm, Look};
use crate::egress::pages::form;
use crate::framing;

/// Bytes of a form that is given back.
const LONGEST: usize = 64 * 1024;

/// What is known of a form before it is read.
pub(crate) struct Posted {
    same_origin: bool,
    encoding: Option<Encoding>,
}

enum Encoding {
    Urlencoded,
    Multipart { boundary: String },
}

impl Posted {
    pub(crate) fn of(head: &Parts) -> Self {
        let written = framing::parse(head).map(|target| target.written.to_owned());
        Self {
            same_origin: written.is_ok_and(|written| form::is_our_own(&head.headers, &written)),
            encoding: encoding(head),
        }
    }
}

fn encoding(head: &Parts) -> Option<Encoding> {
    if form::is_form(&head.headers) {
        return Some(Encoding::Urlencoded);
    }
    let mut kinds = head.headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(kind), None) = (kinds.next(), kinds.next()) else {
        return None;
    };
    let (essence, parameters) = kind.to_str().ok()?.split_once(';')?;
    if !essence.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    let boundary = parameters.trim().strip_prefix("boundary=")?;
    // RFC 2046 §5.1.1; browsers write letters, digits and hyphens, and nothing else behind it.
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"'()+_,-./:=?".contains(&byte);
    let fits = (1..=70).contains(&boundary.len()) && boundary.bytes().all(plain);
    fits.then(|| Encoding::Multipart {
        boundary: boundary.to_owned(),
    })
}

/// The page. `action` is the absolute address to which the form was sent.
pub(crate) async fn kept(
    look: &Look<'_>,
    (app, action, sign_in): (&str, &str, &str),
    posted: &Posted,
    body: Option<Incoming>,
) -> Response<Bytes> {
    let fields = match (&posted.encoding, body) {
        (Some(encoding), Some(body)) if posted.same_origin => {
            let body = collect(body, LONGEST).await;
            body.and_then(|body| read(encoding, &body))
        }
        _ => None,
    };
    let multipart = matches!(posted.encoding, Some(Encoding::Multipart { .. }));
    let entries = match &fields {
        Some(fields) => Entries::Kept {
            action,
            multipart,
            fields,
        },
        None => Entries::GoBack,
    };
    pages::kept_form(
        look,
        &KeptForm {
            app,
            sign_in,
            entries,
        },
    )
}

type Pairs = Vec<(String, String)>;

/// The fields in their order. `None`: not all of it can be given back exactly.
fn read(encoding: &Encoding, body: &[u8]) -> Option<Pairs> {
    let pairs = match encoding {
        Encoding::Urlencoded => Fields::parse(std::str::from_utf8(body).ok()?)?.into_pairs(),
        Encoding::Multipart { boundary } => parts(body, boundary)?,
    };
    // A hidden field without a name is not sent, no page can hold a NUL, and a browser would fill in `_charset_` itself.
    let given_back = |(name, value): &(String, String)| {
        !name.is_empty()
            && !name.contains('\0')
            && !value.contains('\0')
            && !name.eq_ignore_ascii_case("_charset_")
            && has_whole_lines(name)
            && has_whole_lines(value)
    };
    pairs.iter().all(given_back).then_some(pairs)
}

/// Lines end with CRLF, as browsers send them; a page would make others the same.
fn has_whole_lines(text: &str) -> bool {
    let rest = text.replace("\r\n", "");
    !rest.contains(['\r', '\n'])
}

/// RFC 7578, as browsers write it and no other way. `None` also where there is a file.
fn parts(body: &[u8], boundary: &str) -> Option<Pairs> {
    let text = std::str::from_utf8(body).ok()?;
    let delimiter = format!("\r\n--{boundary}");
    let mut rest = text.strip_prefix(delimiter.trim_start())?;
    let mut pairs = Vec::new();
    loop {
        if let Some(end) = rest.strip_prefix("--") {
            return matches!(end, "" | "\r\n").then_some(pairs);
        }
        let part = rest.strip_prefix("\r\n")?;
        let (part, next) = part.split_once(&delimiter)?;
        rest = next;
        let (head, value) = part.split_once("\r\n\r\n")?;
        match entry(head)? {
            Entry::Text(name) => pairs.push((name, value.to_owned())),
            Entry::File if value.is_empty() => {}
            Entry::File => return None,
        }
    }
}

enum Entry {
    Text(String),
    /// No file was chosen, or what it holds cannot be given back.
    File,
}

fn entry(head: &str) -> Option<Entry> {
    let mut lines = head.split("\r\n");
    let (field, rest) = lines.next()?.split_once(':')?;
    if !field.eq_ignore_ascii_case("content-disposition") {
        return None;
    }
    let rest = rest.trim_start().strip_prefix("form-data; name=\"")?;
    let (name, rest) = rest.split_once('"')?;
    match (rest, lines.next(), lines.next()) {
        ("", None, None) => Some(Entry::Text(unescaped(name)?)),
        ("; filename=\"\"", Some(_content_type), None) => Some(Entry::File),
        _ => None,
    }
}

/// WHATWG HTML, "multipart/form-data encoding algorithm": only these three are escaped in names.
fn unescaped(name: &str) -> Option<String> {
    let mut plain = String::with_capacity(name.len());
    let mut rest = name;
    while let Some((before, after)) = rest.split_once('%') {
        plain.push_str(before);
        let escape = ["22", "0D", "0A"]
            .into_iter()
            .find(|code| after.starts_with(code));
        match escape {
            Some(code) => {
                plain.push_str(&decoded(&format!("%{code}"))?);
                rest = after.strip_prefix(code)?;
            }
            None => {
                plain.push('%');
                rest = after;
            }
        }
    }
    plain.push_str(rest);
    Some(plain)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn urlencoded(body: &str) -> Option<Pairs> {
        read(&Encoding::Urlencoded, body.as_bytes())
    }

    fn multipart(body: &str) -> Option<Pairs> {
        let boundary = "----WebKitFormBoundaryAbC".to_owned();
        read(&Encoding::Multipart { boundary }, body.as_bytes())
    }

    fn pairs(pairs: &[(&str, &str)]) -> Option<Pairs> {
        let pairs = pairs.iter();
        Some(
            pairs
                .map(|(name, value)| ((*name).into(), (*value).into()))
                .collect(),
        )
    }

    #[test]
    fn fields_are_given_back_in_their_order() {
        assert_eq!(
            urlencoded("title=%E8%A6%8B%E7%A9%8D&text=a%0D%0Ab&tag=1&tag=2&empty="),
            pairs(&[
                ("title", "見積"),
                ("text", "a\r\nb"),
                ("tag", "1"),
                ("tag", "2"),
                ("empty", ""),
            ])
        );
    }

    #[test]
    fn so_are_parts_and_files_that_nobody_chose_are_none() {
        let body = "------WebKitFormBoundaryAbC\r\nContent-Disposition: form-data; name=\"a%22b\"\r\n\r\none\r\ntwo\r\n\
            ------WebKitFormBoundaryAbC\r\nContent-Disposition: form-data; name=\"file\"; filename=\"\"\r\n\
            Content-Type: application/octet-stream\r\n\r\n\r\n------WebKitFormBoundaryAbC--\r\n";
        assert_eq!(multipart(body), pairs(&[("a\"b", "one\r\ntwo")]));
        let chosen = body.replace("\r\n\r\n\r\n---", "\r\n\r\nbytes\r\n---");
        assert_eq!(multipart(&chosen), None);
        assert_eq!(
            multipart(&body.replace("filename=\"\"", "filename=\"a.txt\"")),
            None
        );
        assert_eq!(multipart(body.strip_suffix("--\r\n").unwrap()), None);
        assert_eq!(multipart(&format!("x{body}")), None);
    }

    #[test]
    fn what_a_page_cannot_give_back_is_not_kept() {
        for body in [
            "=nameless",
            "a=%00",
            "a%00=b",
            "a=%0A",
            "a=%0Db",
            "_charset_=x",
            "a=%ff",
        ] {
            assert_eq!(urlencoded(body), None, "{body}");
        }
    }

    fn posted(fields: &[(&str, &str)]) -> Posted {
        let mut request = http::Request::post("/form").header("host", "app.example");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        Posted::of(&request.body(()).unwrap().into_parts().0)
    }

    // Attack: another site posts a form, and the person is asked to confirm it on a page of the app's own host.
    #[test]
    fn a_form_of_another_site_is_never_given_back() {
        let kind = ("content-type", "application/x-www-form-urlencoded");
        assert!(posted(&[kind, ("sec-fetch-site", "same-origin")]).same_origin);
        assert!(posted(&[kind, ("origin", "https://app.example")]).same_origin);
        for fields in [
            &[kind][..],
            &[kind, ("sec-fetch-site", "cross-site")],
            &[kind, ("sec-fetch-site", "same-site")],
            &[kind, ("sec-fetch-site", "none")],
            &[kind, ("origin", "https://evil.test")],
            &[kind, ("origin", "null")],
            &[
                kind,
                ("sec-fetch-site", "same-origin"),
                ("origin", "https://evil.test"),
            ],
        ] {
            assert!(!posted(fields).same_origin, "{fields:?}");
        }
    }

    #[test]
    fn only_encodings_that_browsers_use_for_text_are_read() {
        let encoding = |kind: &str| posted(&[("content-type", kind)]).encoding;
        assert!(matches!(
            encoding("application/x-www-form-urlencoded"),
            Some(Encoding::Urlencoded)
        ));
        assert!(encoding("multipart/form-data; boundary=----WebKitFormBoundaryAbC").is_some());
        for kind in [
            "text/plain",
            "application/json",
            "multipart/form-data",
            "multipart/form-data; boundary=",
            "multipart/form-data; boundary=\"a b\"",
            "multipart/form-data; boundary=a; charset=x",
        ] {
            assert!(encoding(kind).is_none(), "{kind}");
        }
    }

    fn text() -> impl Strategy<Value = String> {
        proptest::collection::vec(prop_oneof![Just("\r\n".to_owned()), "[^\0\r\n]{0,6}"], 0..4)
            .prop_map(|parts| parts.concat())
    }

    proptest! {
        #[test]
        fn what_was_sent_is_what_is_given_back(
            sent in proptest::collection::vec(("[^\0\r\n]{1,8}", text()), 0..6)
        ) {
            prop_assume!(sent.iter().all(|(name, _)| !name.eq_ignore_ascii_case("_charset_")));
            let body = sent.iter().fold(
                url::form_urlencoded::Serializer::new(String::new()),
                |mut body, (name, value)| { body.append_pair(name, value); body },
            ).finish();
            prop_assert_eq!(urlencoded(&body), Some(sent.clone()));
            let mut body = String::new();
            for (name, value) in &sent {
                let name = name.replace('"', "%22");
                body += &format!("------WebKitFormBoundaryAbC\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
            }
            body += "------WebKitFormBoundaryAbC--\r\n";
            // A name with a percent sign and digits cannot be told from an escaped one; browsers do not escape it either.
            let plain = sent.iter().all(|(name, _)| !name.contains('%'));
            prop_assume!(plain);
            prop_assert_eq!(multipart(&body), Some(sent));
        }

        #[test]
        fn no_bytes_make_it_stumble(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&Encoding::Urlencoded, &body);
            let _ = read(&Encoding::Multipart { boundary: "b".into() }, &body);
        }
    }
}
