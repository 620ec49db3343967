//! A reader for the few DER structures that must be taken apart by hand: what a signature covers, and otherName values.
//! Definite, minimal lengths only (X.690 §10.1); everything else is `None`.

/// One element: tag octet, whole encoding, content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Element<'a> {
    pub(crate) tag: u8,
    pub(crate) whole: &'a [u8],
    pub(crate) content: &'a [u8],
}

pub(crate) const BIT_STRING: u8 = 0x03;
pub(crate) const OCTET_STRING: u8 = 0x04;
pub(crate) const OBJECT_IDENTIFIER: u8 = 0x06;
pub(crate) const UTF8_STRING: u8 = 0x0c;
pub(crate) const SEQUENCE: u8 = 0x30;
pub(crate) const CONTEXT_0: u8 = 0xa0;

/// Walks over concatenated elements.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next element, or `None` at the end and on anything that is not DER.
    pub(crate) fn next(&mut self) -> Option<Element<'a>> {
        let (&tag, after_tag) = self.rest.split_first()?;
        let (content, rest) = split_length(after_tag)?;
        let length = self.rest.len().checked_sub(rest.len())?;
        let whole = self.rest.get(..length)?;
        self.rest = rest;
        Some(Element {
            tag,
            whole,
            content,
        })
    }

    /// The next element, if it has this tag.
    pub(crate) fn expect(&mut self, tag: u8) -> Option<Element<'a>> {
        let mut ahead = *self;
        let element = ahead.next().filter(|element| element.tag == tag)?;
        *self = ahead;
        Some(element)
    }
}

/// The only element in `bytes`, if it has this tag.
pub(crate) fn sole(bytes: &[u8], tag: u8) -> Option<Element<'_>> {
    let mut reader = Reader::new(bytes);
    let element = reader.expect(tag)?;
    reader.is_empty().then_some(element)
}

/// The content of a BIT STRING without unused bits.
pub(crate) fn octets_of_bits(content: &[u8]) -> Option<&[u8]> {
    match content.split_first() {
        Some((0, octets)) => Some(octets),
        Some(_) | None => None,
    }
}

fn split_length(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    if first < 0x80 {
        return rest.split_at_checked(usize::from(first));
    }
    let count = usize::from(first & 0x7f);
    if count == 0 || count > 4 {
        return None;
    }
    let (digits, rest) = rest.split_at_checked(count)?;
    let length = digits
        .iter()
        .fold(0usize, |sum, digit| sum << 8 | usize::from(*digit));
    let minimal = digits.first() != Some(&0) && length >= 0x80;
    if minimal {
        rest.split_at_checked(length)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_and_long_lengths_are_read() {
        let mut bytes = vec![0x04, 0x81, 0x80];
        bytes.extend([7; 0x80]);
        bytes.extend([0x04, 0x01, 9]);
        let mut reader = Reader::new(&bytes);
        assert_eq!(reader.next().unwrap().content, [7; 0x80]);
        assert_eq!(reader.next().unwrap().whole, [0x04, 0x01, 9]);
        assert!(reader.is_empty() && reader.next().is_none());
    }

    #[test]
    fn indefinite_padded_and_overlong_lengths_are_refused() {
        for bytes in [
            &[0x30, 0x80, 0, 0][..],
            &[0x04, 0x81, 1, 9],
            &[0x04, 0x82, 0, 0x80],
            &[0x04, 5, 1],
            &[0x04, 0x85, 1, 1, 1, 1, 1],
            &[4],
        ] {
            assert_eq!(Reader::new(bytes).next(), None, "{bytes:02x?}");
        }
    }

    #[test]
    fn bytes_after_the_sole_element_are_refused() {
        assert!(sole(&[0x04, 1, 9], OCTET_STRING).is_some());
        assert!(sole(&[0x04, 1, 9, 0], OCTET_STRING).is_none());
    }

    proptest::proptest! {
        #[test]
        fn no_input_panics_and_elements_lie_within_it(bytes: Vec<u8>) {
            let mut reader = Reader::new(&bytes);
            let mut seen = 0;
            while let Some(element) = reader.next() {
                seen += element.whole.len();
                proptest::prop_assert!(element.whole.ends_with(element.content));
            }
            proptest::prop_assert!(seen <= bytes.len());
        }
    }
}
