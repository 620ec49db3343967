//! Reads `application/x-www-form-urlencoded` (WHATWG URL §5.1), strictly: of a query of ours or a form of ours, where what
//! is not valid is not mended and what is there twice is nothing.

/// Names and values, decoded, in their order.
pub(crate) struct Fields(Vec<(String, String)>);

/// More than any of our forms has.
const MOST: usize = 1000;

impl Fields {
    /// `None`: broken percent-encoding, no UTF-8, or far too many.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut fields = Vec::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            if fields.len() >= MOST {
                return None;
            }
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            fields.push((decoded(name)?, decoded(value)?));
        }
        Some(Self(fields))
    }

    /// The value, if the field is there once.
    pub(crate) fn one(&self, name: &str) -> Option<&str> {
        let mut found = self.0.iter().filter(|(known, _)| known == name);
        match (found.next(), found.next()) {
            (Some((_, value)), None) => Some(value),
            _ => None,
        }
    }

    pub(crate) fn into_pairs(self) -> Vec<(String, String)> {
        self.0
    }
}

/// A name or a value.
pub(crate) fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
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

/// A path with a query of these.
pub(crate) fn link(path: &str, fields: &[(&str, &str)]) -> String {
    let mut query = url::form_urlencoded::Serializer::new(format!("{path}?"));
    for (name, value) in fields {
        query.append_pair(name, value);
    }
    query.finish()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_there_twice_is_nothing() {
        let fields = Fields::parse("a=1&b=2&a=3&&c").unwrap();
        assert_eq!((fields.one("a"), fields.one("b")), (None, Some("2")));
        assert_eq!((fields.one("c"), fields.one("d")), (Some(""), None));
    }

    #[test]
    fn what_is_not_valid_is_not_mended() {
        for text in ["a=%", "a=%4", "a=%zz", "%ff=1", "a=%c3%28"] {
            assert!(Fields::parse(text).is_none(), "{text}");
        }
        let many = vec!["a=1"; MOST + 1].join("&");
        assert!(Fields::parse(&many).is_none());
    }

    proptest! {
        #[test]
        fn what_was_sent_is_what_is_read(pairs in proptest::collection::vec((".*", ".*"), 0..8)) {
            let borrowed: Vec<(&str, &str)> = pairs.iter().map(|(name, value)| (&**name, &**value)).collect();
            let link = link("/x", &borrowed);
            prop_assert!(link.is_ascii());
            let read = Fields::parse(link.split_once('?').unwrap().1).unwrap().into_pairs();
            // An empty name and value write themselves as `=`, which is kept.
            prop_assert_eq!(read, pairs);
        }

        #[test]
        fn no_text_makes_it_stumble(text in ".*") {
            let _ = Fields::parse(&text);
        }
    }
}
