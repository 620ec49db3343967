//! Durations (`30s`) and sizes (`64KiB`): a whole number and a unit, nothing implied, nothing that overflows.

use std::time::Duration;

use super::{Fault, Written};

const DURATION_HELP: &str =
    "write a whole number and one of `ms`, `s`, `m`, `h`, `d`, as in `\"30s\"`";
const SIZE_HELP: &str =
    "write a whole number and one of `B`, `KiB`, `MiB`, `GiB`, as in `\"64KiB\"`";

/// Ten years; more is a slip, and deadlines computed from it would leave the range of the clock.
const LONGEST: Duration = Duration::from_secs(3650 * 24 * 60 * 60);

/// Units from the largest, each with its milliseconds.
const DURATION_UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1000),
    ("ms", 1),
];

/// Units from the largest, each with its bytes.
const SIZE_UNITS: [(&str, u64); 4] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
];

impl Written for Duration {
    const KIND: &'static str = "duration";
    const EXAMPLE: &'static str = "30s";
    const PATTERN: &'static str = "^[0-9]+(ms|s|m|h|d)$";

    fn parse(text: &str) -> Result<Self, Fault> {
        let millis = amount(text, &DURATION_UNITS, "duration", DURATION_HELP)?;
        let duration = Duration::from_millis(millis);
        if duration > LONGEST {
            return Err(Fault::new(
                "is longer than ten years",
                "write at most `\"3650d\"`",
            ));
        }
        Ok(duration)
    }
}

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

impl Written for Size {
    const KIND: &'static str = "size";
    const EXAMPLE: &'static str = "64KiB";
    const PATTERN: &'static str = "^[0-9]+(B|KiB|MiB|GiB)$";

    fn parse(text: &str) -> Result<Self, Fault> {
        let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
        let binary = match unit {
            "K" | "k" | "KB" | "kB" | "kb" | "kib" | "Ki" => Some("KiB"),
            "M" | "m" | "MB" | "mb" | "mib" | "Mi" => Some("MiB"),
            "G" | "g" | "GB" | "gb" | "gib" | "Gi" => Some("GiB"),
            _ => None,
        };
        if let Some(binary) = binary {
            let number = text.strip_suffix(unit).unwrap_or_default();
            return Err(Fault::new(
                format!("has the unit `{unit}`, which means different things to different people"),
                format!("write `\"{number}{binary}\"` (1 KiB is 1024 bytes)"),
            ));
        }
        amount(text, &SIZE_UNITS, "size", SIZE_HELP).map(Self)
    }
}

/// A quantity that may also be written `unlimited`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unlimited<T>(pub Option<T>);

impl Written for Unlimited<Duration> {
    const KIND: &'static str = "duration-or-unlimited";
    const EXAMPLE: &'static str = "30s";
    const PATTERN: &'static str = "^([0-9]+(ms|s|m|h|d)|unlimited)$";

    fn parse(text: &str) -> Result<Self, Fault> {
        or_unlimited(text)
    }
}

impl Written for Unlimited<Size> {
    const KIND: &'static str = "size-or-unlimited";
    const EXAMPLE: &'static str = "100MiB";
    const PATTERN: &'static str = "^([0-9]+(B|KiB|MiB|GiB)|unlimited)$";

    fn parse(text: &str) -> Result<Self, Fault> {
        or_unlimited(text)
    }
}

fn or_unlimited<T: Written>(text: &str) -> Result<Unlimited<T>, Fault> {
    if text == "unlimited" {
        return Ok(Unlimited(None));
    }
    T::parse(text)
        .map(|value| Unlimited(Some(value)))
        .map_err(|fault| Fault::new(fault.why, format!("{}, or `\"unlimited\"`", fault.help)))
}

/// Digits, then one unit; in multiples of the smallest.
fn amount(text: &str, units: &[(&str, u64)], noun: &str, help: &str) -> Result<u64, Fault> {
    let digits_end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, unit) = text.split_at_checked(digits_end).unwrap_or((text, ""));
    if digits.is_empty() {
        return Err(Fault::new(format!("is not a {noun}"), help));
    }
    if unit.is_empty() {
        return Err(Fault::new("has no unit", help));
    }
    let Some((_, multiple)) = units.iter().find(|(name, _)| *name == unit) else {
        return Err(Fault::new(format!("is not a {noun}"), help));
    };
    digits
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(*multiple))
        .ok_or_else(|| Fault::new("is too large a number", help))
}

/// A duration as it would be written: the largest unit that leaves a whole number.
pub fn duration_text(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if millis == 0 {
        return "0s".to_owned();
    }
    whole(millis, &DURATION_UNITS)
}

/// A size as it would be written.
pub fn size_text(bytes: u64) -> String {
    if bytes == 0 {
        return "0B".to_owned();
    }
    whole(bytes, &SIZE_UNITS)
}

fn whole(amount: u64, units: &[(&str, u64)]) -> String {
    units
        .iter()
        .find(|(_, multiple)| amount.is_multiple_of(*multiple))
        .map_or_else(
            || amount.to_string(),
            |(unit, multiple)| format!("{}{unit}", amount / multiple),
        )
}

/// The least and most that the schema accepts for a quantity, as written there (`x-least`, `x-most`).
pub(crate) struct Bounds<'a> {
    pub(crate) least: Option<&'a str>,
    pub(crate) most: Option<&'a str>,
}

impl Bounds<'_> {
    /// Whether `text`, already known to be of `kind`, lies within.
    pub(crate) fn check(&self, kind: &str, text: &str) -> Result<(), Fault> {
        let measure = |text: &str| -> Option<u64> {
            if kind.starts_with("duration") {
                let duration = Duration::parse(text).ok()?;
                u64::try_from(duration.as_millis()).ok()
            } else {
                Size::parse(text).ok().map(|size| size.0)
            }
        };
        // `unlimited` has no measure; where it may be written it is meant.
        let Some(given) = measure(text) else {
            return Ok(());
        };
        if let Some(least) = self.least
            && measure(least).is_some_and(|bound| given < bound)
        {
            let help = format!("write at least `\"{least}\"`");
            return Err(Fault::new("is too little", help));
        }
        if let Some(most) = self.most
            && measure(most).is_some_and(|bound| given > bound)
        {
            return Err(Fault::new(
                "is too much",
                format!("write at most `\"{most}\"`"),
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_read_in_their_units() {
        let read = |text| Duration::parse(text).unwrap();
        assert_eq!(read("250ms"), Duration::from_millis(250));
        assert_eq!(read("30s"), Duration::from_secs(30));
        assert_eq!(read("5m"), Duration::from_secs(300));
        assert_eq!(read("12h"), Duration::from_secs(43_200));
        assert_eq!(read("7d"), Duration::from_secs(604_800));
    }

    #[test]
    fn what_is_not_plainly_a_quantity_is_refused() {
        for text in [
            "",
            "s",
            "30",
            "-1s",
            "+1s",
            " 30s",
            "30s ",
            "30 s",
            "1.5h",
            "1h30m",
            "30S",
            "30sec",
            "٣s",
            "18446744073709551616s",
            "18446744073709551615d",
            "3651d",
        ] {
            assert!(Duration::parse(text).is_err(), "{text}");
        }
        for text in [
            "",
            "64",
            "64K",
            "64kb",
            "64MB",
            "1.5MiB",
            "-1B",
            "99999999999999GiB",
            "unlimited",
        ] {
            assert!(Size::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn unlimited_must_be_written_exactly() {
        assert_eq!(
            Unlimited::<Size>::parse("unlimited").unwrap(),
            Unlimited(None)
        );
        assert!(Unlimited::<Size>::parse("Unlimited").is_err());
        assert!(Unlimited::<Size>::parse("").is_err());
        assert!(Unlimited::<Duration>::parse("infinity").is_err());
    }

    proptest! {
        #[test]
        fn a_duration_survives_being_written(millis in 0_u64..315_360_000_000) {
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(Duration::parse(&duration_text(duration)).unwrap(), duration);
        }

        #[test]
        fn a_size_survives_being_written(bytes: u64) {
            prop_assert_eq!(Size::parse(&size_text(bytes)).unwrap(), Size(bytes));
        }

        #[test]
        fn no_text_makes_a_quantity_parser_fail_otherwise_than_by_a_fault(text: String) {
            let _ = Duration::parse(&text);
            let _ = Size::parse(&text);
            let _ = Unlimited::<Duration>::parse(&text);
        }
    }
}
