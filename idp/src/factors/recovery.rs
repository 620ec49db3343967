//! Recovery codes: 80 random bits each, written in Crockford's base 32 (no I, L, O, U) in groups of four, so that they can
//! be copied from paper. Only keyed hashes are stored.

use secrecy::SecretString;
use zeroize::Zeroizing;

use crate::accounts::text::narrow;
use crate::random::{self, Random};

/// How many somebody gets at a time.
pub(crate) const COUNT: usize = 10;
const BYTES: usize = 10;
const LETTERS: usize = 16;
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// One code: what is shown, and what is hashed.
pub(crate) fn make(random: &dyn Random) -> (SecretString, Zeroizing<[u8; LETTERS]>) {
    let bytes = Zeroizing::new(random::bytes::<BYTES>(random));
    let mut plain = Zeroizing::new([b'0'; LETTERS]);
    for (letter, value) in plain.iter_mut().zip(in_fives(&*bytes)) {
        *letter = ALPHABET.get(usize::from(value)).copied().unwrap_or(b'0');
    }
    let mut shown = String::with_capacity(LETTERS + 3);
    for (index, letter) in plain.iter().enumerate() {
        if index > 0 && index % 4 == 0 {
            shown.push('-');
        }
        shown.push(char::from(*letter));
    }
    (shown.into(), plain)
}

/// What is hashed of a code as somebody typed it: small letters, full-width ones, spaces, hyphens and the letters that look
/// like digits are all understood.
pub(crate) fn read(typed: &str) -> Option<Zeroizing<[u8; LETTERS]>> {
    if typed.len() > 160 {
        return None;
    }
    let mut plain = Zeroizing::new([0; LETTERS]);
    let mut places = plain.iter_mut();
    for character in Zeroizing::new(narrow(typed)).chars() {
        let letter = match character.to_ascii_uppercase() {
            '-' | '\u{2010}'..='\u{2015}' | '\u{30fc}' | '\u{2212}' => continue,
            space if space.is_whitespace() => continue,
            'O' => b'0',
            'I' | 'L' => b'1',
            other => u8::try_from(other).ok().filter(|b| ALPHABET.contains(b))?,
        };
        *places.next()? = letter;
    }
    if places.next().is_some() {
        return None;
    }
    Some(plain)
}

/// The bits of `bytes` in groups of five, first bit first, the last group filled up with zeros.
pub(crate) fn in_fives(bytes: &[u8]) -> impl Iterator<Item = u8> + '_ {
    (0..(bytes.len() * 8).div_ceil(5)).map(|group| {
        (0..5).fold(0, |value, bit| {
            let at = group * 5 + bit;
            let byte = bytes.get(at / 8).copied().unwrap_or(0);
            (value << 1) | ((byte >> (7 - at % 8)) & 1)
        })
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use secrecy::ExposeSecret;

    use super::*;

    struct Fixed(Vec<u8>);

    impl Random for Fixed {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.copy_from_slice(&self.0[..bytes.len()]);
        }
    }

    #[test]
    fn codes_come_in_groups_of_four() {
        let (shown, plain) = make(&Fixed(vec![0xff; 10]));
        assert_eq!(shown.expose_secret(), "ZZZZ-ZZZZ-ZZZZ-ZZZZ");
        assert_eq!(&*plain, b"ZZZZZZZZZZZZZZZZ");
    }

    #[test]
    fn letters_that_look_like_digits_are_digits() {
        let wanted = read("0110-0000-0000-0001").unwrap();
        for typed in [
            "oIlO-oooo-0000-000l",
            "０１１０００００００００ー０００１",
            " 0110 0000 0000 0001 ",
        ] {
            assert_eq!(read(typed).unwrap(), wanted, "{typed}");
        }
        for typed in [
            "",
            "0110-0000-0000-000",
            "0110-0000-0000-0001-0",
            "U110-0000-0000-0001",
            "é110000000000001",
        ] {
            assert!(read(typed).is_none(), "{typed}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_again(bytes in proptest::collection::vec(any::<u8>(), 10), lower in any::<bool>()) {
            let (shown, plain) = make(&Fixed(bytes));
            let typed = shown.expose_secret().to_owned();
            let typed = if lower { typed.to_lowercase() } else { typed };
            prop_assert_eq!(read(&typed).unwrap(), plain);
        }

        #[test]
        fn odd_text_is_no_code_and_no_panic(typed in "\\PC{0,200}") {
            let _ = read(&typed);
        }
    }
}
