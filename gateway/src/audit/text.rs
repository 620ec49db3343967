//! How texts and times are put into a line, so that a hostile one can neither end the line nor deceive its reader.

use std::io;

use masugata_policy::Timestamp;
use serde::{Serialize, Serializer};
use serde_json::ser::Formatter;

/// Escapes, beyond what JSON demands, every character that moves the cursor, hides itself or reverses its neighbours:
/// a terminal or an editor then shows a line as what it is.
pub(super) struct Guarded;

impl Formatter for Guarded {
    fn write_string_fragment<W>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()>
    where
        W: ?Sized + io::Write,
    {
        if fragment.bytes().all(|byte| byte < 0x7f) {
            return writer.write_all(fragment.as_bytes());
        }
        let mut rest = fragment;
        while let Some((at, character)) = rest.char_indices().find(|(_, c)| is_deceptive(*c)) {
            let (plain, tail) = rest.split_at(at);
            writer.write_all(plain.as_bytes())?;
            for unit in character.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
            rest = tail.get(character.len_utf8()..).unwrap_or_default();
        }
        writer.write_all(rest.as_bytes())
    }
}

/// Controls (C0 is JSON's own business), bidirectional controls (UAX #9), separators, invisible and tag characters.
pub(crate) fn is_deceptive(character: char) -> bool {
    matches!(
        character,
        '\u{7f}'..='\u{9f}'
            | '\u{ad}'
            | '\u{61c}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'
    )
}

/// How much of a text or list is kept.
#[derive(Clone, Copy)]
pub(super) struct Caps {
    /// Bytes of a path or a query.
    pub(super) path: usize,
    /// Bytes of any other text.
    pub(super) text: usize,
    /// Bytes of a list's element.
    pub(super) element: usize,
    /// Elements of a list.
    pub(super) list: usize,
}

impl Caps {
    pub(super) const USUAL: Self = Self {
        path: 4096,
        text: 1024,
        element: 256,
        list: 64,
    };
    /// With these even a record of nothing but characters that need six bytes each stays within a line.
    pub(super) const TIGHT: Self = Self {
        path: 512,
        text: 128,
        element: 64,
        list: 4,
    };
}

/// Cuts to size, and remembers what was cut.
pub(super) struct Cutter {
    pub(super) caps: Caps,
    /// Names of the fields that are not whole.
    pub(super) cut: Vec<&'static str>,
}

impl Cutter {
    pub(super) fn new(caps: Caps) -> Self {
        Self {
            caps,
            cut: Vec::new(),
        }
    }

    pub(super) fn path<'a>(&mut self, field: &'static str, value: &'a str) -> &'a str {
        self.within(field, value, self.caps.path)
    }

    pub(super) fn text<'a>(&mut self, field: &'static str, value: &'a str) -> &'a str {
        self.within(field, value, self.caps.text)
    }

    pub(super) fn list<'a, T: AsRef<str>>(
        &mut self,
        field: &'static str,
        items: &'a [T],
    ) -> Texts<'a, T> {
        let Caps { element, list, .. } = self.caps;
        let kept = items.get(..list).unwrap_or(items);
        if kept.len() < items.len() || kept.iter().any(|item| item.as_ref().len() > element) {
            self.cut.push(field);
        }
        Texts {
            items: kept,
            element,
        }
    }

    fn within<'a>(&mut self, field: &'static str, value: &'a str, limit: usize) -> &'a str {
        if value.len() > limit {
            self.cut.push(field);
        }
        head_of(value, limit)
    }
}

/// A list of texts, each cut to `element` bytes.
pub(super) struct Texts<'a, T> {
    items: &'a [T],
    element: usize,
}

impl<T> Texts<'_, T> {
    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }
}

impl<T: AsRef<str>> Texts<'_, T> {
    pub(super) fn iter(&self) -> impl Iterator<Item = &str> {
        self.items
            .iter()
            .map(|item| head_of(item.as_ref(), self.element))
    }
}

impl<T: AsRef<str>> Serialize for Texts<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

/// At most `limit` bytes, never half a character.
pub(super) fn head_of(value: &str, limit: usize) -> &str {
    value
        .get(..value.floor_char_boundary(limit))
        .unwrap_or_default()
}

/// RFC 3339 in UTC with milliseconds, e.g. `2026-04-01T09:00:00.000Z`. Computed by hand: three of these go into a line,
/// and a general formatter costs as much as the rest of it.
#[derive(Clone, Copy)]
pub(super) struct Stamp([u8; 24]);

/// The first and the last instant, in milliseconds, that have a form in RFC 3339.
const FIRST: i64 = -62_167_219_200_000;
const LAST: i64 = 253_402_300_799_999;

impl Stamp {
    /// Years outside 0 to 9999 have no form in RFC 3339; they become its first or last instant.
    pub(super) fn new(at: Timestamp) -> Self {
        let millis = at.as_millis().clamp(FIRST, LAST);
        let (day, of_day) = (millis.div_euclid(86_400_000), millis.rem_euclid(86_400_000));
        let (year, month, day) = civil(day);
        let mut text = *b"0000-00-00T00:00:00.000Z";
        for (at, width, value) in [
            (0, 4, year),
            (5, 2, month),
            (8, 2, day),
            (11, 2, of_day / 3_600_000),
            (14, 2, of_day / 60_000 % 60),
            (17, 2, of_day / 1000 % 60),
            (20, 3, of_day % 1000),
        ] {
            let mut value = value;
            for slot in text.iter_mut().skip(at).take(width).rev() {
                *slot = b'0' + u8::try_from(value % 10).unwrap_or(0);
                value /= 10;
            }
        }
        Self(text)
    }

    pub(super) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// Stamps of instants that are mostly within the same second.
#[derive(Default)]
pub(super) struct Stamps(Option<(i64, Stamp)>);

impl Stamps {
    pub(super) fn of(&mut self, at: Timestamp) -> Stamp {
        let millis = at.as_millis();
        let second = millis.div_euclid(1000);
        if let Some((known, stamp)) = &mut self.0
            && *known == second
            && let Some([hundreds, tens, units]) = stamp.0.get_mut(20..23)
        {
            let of_second = millis.rem_euclid(1000);
            let digit = |unit: i64| b'0' + u8::try_from(of_second / unit % 10).unwrap_or(0);
            (*hundreds, *tens, *units) = (digit(100), digit(10), digit(1));
            return *stamp;
        }
        let stamp = Stamp::new(at);
        // One that was clamped is not of its second.
        self.0 = (FIRST..=LAST).contains(&millis).then_some((second, stamp));
        stamp
    }
}

impl Serialize for Stamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// Year, month and day of a day counted from 1970-01-01, in the proleptic Gregorian calendar. Years are taken to begin
/// in March, so that the leap day is a year's last and month lengths follow one formula.
fn civil(day: i64) -> (i64, i64, i64) {
    // From 0000-03-01, in whole 400-year spans.
    let day = day + 719_468;
    let (span, of_span) = (day.div_euclid(146_097), day.rem_euclid(146_097));
    let year = (of_span - of_span / 1460 + of_span / 36_524 - of_span / 146_096) / 365;
    let of_year = of_span - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let of_month = of_year - (153 * month + 2) / 5 + 1;
    let shifted = if month < 10 { month + 3 } else { month - 9 };
    (
        span * 400 + year + i64::from(shifted <= 2),
        shifted,
        of_month,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(value: &str) -> String {
        let mut bytes = Vec::new();
        let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, Guarded);
        value.serialize(&mut serializer).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_text_can_not_end_its_line_or_its_string() {
        assert_eq!(
            written("a\r\n{\"seq\":9}\0\u{1b}[2J\\"),
            r#""a\r\n{\"seq\":9}\u0000\u001b[2J\\""#
        );
    }

    #[test]
    fn a_text_can_not_turn_or_hide_what_follows() {
        assert_eq!(
            written("\u{202e}gpj\u{2066}\u{85}\u{2028}\u{200b}\u{7f}\u{e0041}日本"),
            r#""\u202egpj\u2066\u0085\u2028\u200b\u007f\udb40\udc41日本""#
        );
    }

    #[test]
    fn cutting_keeps_characters_whole_and_says_so() {
        let mut cutter = Cutter::new(Caps {
            path: 4,
            ..Caps::TIGHT
        });
        assert_eq!(cutter.path("path", "/日本"), "/日");
        assert_eq!(cutter.path("query", "/abc"), "/abc");
        assert_eq!(cutter.cut, ["path"]);
    }

    #[test]
    fn instants_without_a_form_are_clamped() {
        assert_eq!(
            Stamp::new(Timestamp::MAX).as_str(),
            "9999-12-31T23:59:59.999Z"
        );
        assert_eq!(
            Stamp::new(Timestamp::from_millis(i64::MIN)).as_str(),
            "0000-01-01T00:00:00.000Z"
        );
    }

    proptest! {
        #[test]
        fn a_kept_second_gives_the_same_stamps(
            around in prop::sample::select(vec![FIRST, LAST, 0, 1_775_034_000_000]),
            offsets in prop::collection::vec(-2500_i64..2500, 0..20),
        ) {
            let mut stamps = Stamps::default();
            for offset in offsets {
                let at = Timestamp::from_millis(around + offset);
                let (kept, new) = (stamps.of(at), Stamp::new(at));
                prop_assert_eq!(kept.as_str(), new.as_str());
            }
        }

        #[test]
        fn every_text_is_read_back_unchanged(value in any::<String>()) {
            let text = written(&value);
            prop_assert!(!text.contains(|c: char| c.is_control() || is_deceptive(c)));
            prop_assert_eq!(serde_json::from_str::<String>(&text).unwrap(), value);
        }

        #[test]
        fn instants_are_written_as_a_calendar_library_writes_them(
            millis in -62_167_219_200_000_i64..253_402_300_799_999
        ) {
            let expected = jiff::Timestamp::from_millisecond(millis).unwrap();
            let written = Stamp::new(Timestamp::from_millis(millis));
            prop_assert_eq!(written.as_str(), format!("{expected:.3}"));
        }
    }
}
