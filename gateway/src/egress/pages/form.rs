//! The form in which somebody says what a refused destination is needed for, as it comes back.
//!
//! It changes what a device may reach, so it must come from our own page, filled in on that device: the browser vouches for
//! the page (`Origin`, `Sec-Fetch-Site`), and a token that only our page for this device contains vouches for itself.

use std::fmt;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::request::Parts;
use http::{HeaderMap, HeaderName, header};
use masugata_policy::Timestamp;

use super::super::refusals::Refusal;
use crate::capability::Entropy;
use crate::denial::DenialReason;

/// Bytes of the longest form that is read.
pub const LONGEST: usize = 8 * 1024;

/// Characters of a reason.
pub const FEWEST_LETTERS: usize = 5;
pub const MOST_LETTERS: usize = 500;

/// Makes and knows the tokens of our forms; new with each start of the gateway.
pub struct FormKey(hmac::Key);

impl FormKey {
    pub fn new(entropy: &dyn Entropy) -> Self {
        let mut secret = [0; 32];
        entropy.fill(&mut secret);
        Self(hmac::Key::new(hmac::HMAC_SHA256, &secret))
    }

    /// The token of a page shown to `device` now. It counts for an hour at least.
    pub fn token(&self, device: &str, now: Timestamp) -> String {
        let tag = hmac::sign(&self.0, &message(device, hour(now)));
        URL_SAFE_NO_PAD.encode(tag)
    }

    /// Whether it made that token for such a page, not long ago.
    pub(crate) fn knows(&self, token: &str, device: &str, now: Timestamp) -> bool {
        let Ok(tag) = URL_SAFE_NO_PAD.decode(token) else {
            return false;
        };
        let hours = [hour(now), hour(now).saturating_sub(1)];
        let of = |hour: &i64| hmac::verify(&self.0, &message(device, *hour), &tag).is_ok();
        hours.iter().any(of)
    }
}

impl fmt::Debug for FormKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("FormKey")
    }
}

fn hour(now: Timestamp) -> i64 {
    now.as_seconds().div_euclid(3600)
}

fn message(device: &str, hour: i64) -> Vec<u8> {
    // The hour has a fixed length, so that no two pairs give the same bytes.
    let mut message = b"masugata reason form 1\0".to_vec();
    message.extend_from_slice(&hour.to_be_bytes());
    message.extend_from_slice(device.as_bytes());
    message
}

/// What somebody needs a destination for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// As in the refusal: a registrable domain, or a host that has none.
    pub domain: Box<str>,
    /// One line.
    pub text: String,
}

impl Reason {
    /// For the record; `user` is the principal id, where one is known.
    pub fn detail(&self, device: &str, user: Option<&str>) -> String {
        let user = user.unwrap_or("-");
        let Self { domain, text } = self;
        format!("device={device} user={user} domain={domain} reason={text}")
    }
}

/// Why a form does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Another site sent it.
    Foreign,
    /// It cannot be read.
    Malformed,
    /// The page was shown too long ago, to another device, or by another gateway.
    Expired,
    /// Fewer letters than [`FEWEST_LETTERS`].
    TooShort,
    /// More letters than [`MOST_LETTERS`].
    TooLong,
    /// Nothing of that name asks this device for a reason.
    NotAsked,
}

/// A form that does not count, and what was written so that it need not be written again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    pub fault: Fault,
    pub draft: Option<Reason>,
}

impl From<Fault> for Refused {
    fn from(fault: Fault) -> Self {
        Self { fault, draft: None }
    }
}

/// Reads the form of a request to `authority` (host, and port if there was one) from `device`, which was refused `refusals`.
///
/// # Errors
/// [`Refused`]; nothing was changed.
pub fn read(
    head: &Parts,
    authority: &str,
    body: &[u8],
    key: &FormKey,
    device: &str,
    refusals: &[Refusal],
    now: Timestamp,
) -> Result<Reason, Refused> {
    if !is_our_own(&head.headers, authority) {
        return Err(Fault::Foreign.into());
    }
    if !is_form(&head.headers) || body.len() > LONGEST {
        return Err(Fault::Malformed.into());
    }
    let fields = Fields::of(body).ok_or(Fault::Malformed)?;
    let reason = Reason {
        domain: fields.domain.into(),
        text: one_line(&fields.text),
    };
    let letters = reason.text.chars().count();
    let fault = if !key.knows(&fields.token, device, now) {
        Some(Fault::Expired)
    } else if !refusals.iter().any(|refusal| asks_for(refusal, &reason)) {
        return Err(Fault::NotAsked.into());
    } else if letters < FEWEST_LETTERS {
        Some(Fault::TooShort)
    } else if letters > MOST_LETTERS {
        Some(Fault::TooLong)
    } else {
        None
    };
    match fault {
        None => Ok(reason),
        Some(fault) => Err(Refused {
            fault,
            draft: Some(reason),
        }),
    }
}

fn asks_for(refusal: &Refusal, reason: &Reason) -> bool {
    refusal.reason == DenialReason::ReasonNeeded && refusal.domain == reason.domain
}

/// The browser says that a page of ours sent it. A request without either field is no browser's, or an old one's.
pub(crate) fn is_our_own(headers: &HeaderMap, authority: &str) -> bool {
    let site = single(headers, &HeaderName::from_static("sec-fetch-site"));
    let origin = single(headers, &header::ORIGIN);
    let same_site = match site {
        Field::Absent => None,
        Field::One(site) => Some(site == "same-origin"),
        Field::Unclear => Some(false),
    };
    let same_origin = match origin {
        Field::Absent => None,
        Field::One(origin) => {
            let host = authority.strip_suffix(":443").unwrap_or(authority);
            let rest = origin.strip_prefix("https://");
            Some(rest.is_some_and(|rest| rest.eq_ignore_ascii_case(host)))
        }
        Field::Unclear => Some(false),
    };
    match (same_site, same_origin) {
        (None, None) => false,
        (site, origin) => site.unwrap_or(true) && origin.unwrap_or(true),
    }
}

enum Field<'a> {
    Absent,
    One(&'a str),
    Unclear,
}

fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Field<'a> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Field::Absent,
        (Some(value), None) => value.to_str().map_or(Field::Unclear, Field::One),
        (Some(_), Some(_)) => Field::Unclear,
    }
}

pub(crate) fn is_form(headers: &HeaderMap) -> bool {
    let Field::One(kind) = single(headers, &header::CONTENT_TYPE) else {
        return false;
    };
    let essence = kind.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/x-www-form-urlencoded")
}

#[derive(Default)]
struct Fields {
    token: String,
    domain: String,
    text: String,
}

impl Fields {
    /// `None` when one is missing, is there twice, or is no text.
    fn of(body: &[u8]) -> Option<Self> {
        let body = std::str::from_utf8(body).ok()?;
        let (mut token, mut domain, mut text) = (None, None, None);
        for pair in body.split('&') {
            let (name, value) = pair.split_once('=')?;
            let slot = match name {
                "token" => &mut token,
                "domain" => &mut domain,
                "text" => &mut text,
                _ => continue,
            };
            if slot.replace(decoded(value)?).is_some() {
                return None;
            }
        }
        Some(Self {
            token: token?,
            domain: domain?,
            text: text?,
        })
    }
}

/// A value of `application/x-www-form-urlencoded` (WHATWG URL §5.1), strictly: what is not valid is not mended.
fn decoded(value: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                let (high, low) = (digit()?, digit()?);
                u8::try_from(high * 16 + low).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

/// White space and control characters become single spaces: a reason is one line in the record.
fn one_line(text: &str) -> String {
    let words = text.split(|letter: char| letter.is_whitespace() || letter.is_control());
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use http::Request;
    use proptest::prelude::*;

    use super::*;
    use crate::denial::Denial;
    use crate::exchange::RequestId;

    const NOW: Timestamp = Timestamp::from_seconds(1_795_426_868);
    const HERE: &str = "why.corp.example:8443";

    struct Fixed(u8);

    impl Entropy for Fixed {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(self.0);
        }
    }

    fn key() -> FormKey {
        FormKey::new(&Fixed(7))
    }

    fn refusals() -> Vec<Refusal> {
        let of = |reason, host, domain| {
            Refusal::of(&Denial::new(reason), host, 443, domain, RequestId(1), NOW)
        };
        vec![
            of(DenialReason::ReasonNeeded, "app.box.com", Some("box.com")),
            of(DenialReason::Forbidden, "evil.test", Some("evil.test")),
        ]
    }

    fn head(fields: &[(&str, &str)]) -> Parts {
        let mut request = Request::post("/reason");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    const OURS: [(&str, &str); 3] = [
        ("origin", "https://why.corp.example:8443"),
        ("sec-fetch-site", "same-origin"),
        ("content-type", "application/x-www-form-urlencoded"),
    ];

    fn sent(fields: &[(&str, &str)], body: &str) -> Result<Reason, Fault> {
        let read = read(
            &head(fields),
            HERE,
            body.as_bytes(),
            &key(),
            "laptop-1",
            &refusals(),
            NOW,
        );
        read.map_err(|refused| refused.fault)
    }

    fn body(domain: &str, text: &str) -> String {
        let token = key().token("laptop-1", NOW);
        format!("token={token}&domain={domain}&text={text}")
    }

    #[test]
    fn a_reason_from_our_page_counts() {
        let reason = sent(
            &OURS,
            &body("box.com", "%E8%A6%8B%E7%A9%8D%E6%9B%B8+to%0D%0Apartner"),
        );
        let reason = reason.unwrap();
        assert_eq!(reason.text, "見積書 to partner");
        assert_eq!(
            reason.detail("laptop-1", Some("corp/ada")),
            "device=laptop-1 user=corp/ada domain=box.com reason=見積書 to partner"
        );
    }

    // Attack: another site has the browser send the form, with the device's certificate.
    #[test]
    fn a_form_from_another_site_does_not_count() {
        let form = OURS[2];
        for fields in [
            &[form][..],
            &[form, ("origin", "https://evil.test")],
            &[form, ("origin", "null")],
            &[form, ("origin", "https://why.corp.example")],
            &[form, ("origin", "http://why.corp.example:8443")],
            &[form, ("origin", "https://why.corp.example:8443.evil.test")],
            &[form, ("sec-fetch-site", "cross-site")],
            &[form, ("sec-fetch-site", "same-site"), OURS[0]],
            &[form, ("sec-fetch-site", "none"), OURS[0]],
            &[form, OURS[1], ("origin", "https://evil.test")],
            &[form, OURS[0], ("origin", "https://evil.test")],
            &[form, OURS[1], ("sec-fetch-site", "cross-site")],
        ] {
            let sent = sent(fields, &body("box.com", "because+I+must"));
            assert_eq!(sent, Err(Fault::Foreign), "{fields:?}");
        }
        assert!(sent(&[form, OURS[0]], &body("box.com", "because+I+must")).is_ok());
        assert!(sent(&[form, OURS[1]], &body("box.com", "because+I+must")).is_ok());
    }

    #[test]
    fn the_usual_port_is_not_in_an_origin() {
        for authority in ["why.corp.example", "why.corp.example:443"] {
            let headers = head(&[("origin", "https://why.corp.example")]).headers;
            assert!(is_our_own(&headers, authority));
        }
    }

    #[test]
    fn a_token_is_of_one_device_one_gateway_and_not_for_ever() {
        let token = key().token("laptop-1", NOW);
        let later = |seconds: i64| Timestamp::from_seconds(NOW.as_seconds() + seconds);
        assert!(key().knows(&token, "laptop-1", later(3600)));
        assert!(!key().knows(&token, "laptop-1", later(7200)));
        assert!(!key().knows(&token, "laptop-1", later(-3600)));
        assert!(!key().knows(&token, "laptop-2", NOW));
        assert!(!FormKey::new(&Fixed(8)).knows(&token, "laptop-1", NOW));
        assert!(!key().knows("", "laptop-1", NOW));
        let forged = "token=AAAA&domain=box.com&text=because+I+must";
        assert_eq!(sent(&OURS, forged), Err(Fault::Expired));
    }

    #[test]
    fn a_reason_is_given_only_for_what_asks_this_device_for_one() {
        for domain in ["evil.test", "app.box.com", "com", "", "other.example"] {
            let sent = sent(&OURS, &body(domain, "because+I+must"));
            assert_eq!(sent, Err(Fault::NotAsked), "{domain}");
        }
    }

    #[test]
    fn a_reason_has_some_letters_and_not_too_many() {
        let text = |text: &str| sent(&OURS, &body("box.com", text)).map(|_| ());
        assert_eq!(text("++a+b+"), Err(Fault::TooShort));
        assert_eq!(text(&"a".repeat(501)), Err(Fault::TooLong));
        assert_eq!(text(&"%E3%81%82".repeat(500)), Ok(()));
    }

    #[test]
    fn what_was_written_comes_back_with_the_fault() {
        let head = head(&OURS);
        let body = body("box.com", "abc");
        let read = read(
            &head,
            HERE,
            body.as_bytes(),
            &key(),
            "laptop-1",
            &refusals(),
            NOW,
        );
        assert_eq!(read.unwrap_err().draft.unwrap().text, "abc");
    }

    #[test]
    fn what_is_no_form_is_not_mended() {
        let good = body("box.com", "because+I+must");
        for bad in [
            good.replace("text=", "text=%"),
            good.replace("text=", "text=%zz"),
            good.replace("text=", "text=%ff"),
            good.replace("text=", "texts="),
            format!("{good}&domain=evil.test"),
            format!("{good}&x"),
            String::new(),
            format!("{good}{}", "x".repeat(LONGEST)),
        ] {
            assert_eq!(sent(&OURS, &bad), Err(Fault::Malformed), "{bad:.80}");
        }
        let json = [OURS[0], OURS[1], ("content-type", "application/json")];
        assert_eq!(sent(&json, &good), Err(Fault::Malformed));
        assert_eq!(sent(&OURS[..2], &good), Err(Fault::Malformed));
    }

    proptest! {
        #[test]
        fn no_body_breaks_the_reader(body in any::<Vec<u8>>(), text in "[a-z%+&=0-9]{0,60}") {
            let _ = Fields::of(&body);
            let _ = Fields::of(text.as_bytes());
        }

        #[test]
        fn a_reason_is_one_line_whatever_is_written(text in any::<String>()) {
            let line = one_line(&text);
            prop_assert!(!line.chars().any(char::is_control));
            prop_assert!(!line.contains("  ") && line.trim() == line);
        }
    }
}
