//! Days for people. In UTC, as `YYYY-MM-DD`; our script writes them as the browser's place and language have them.

use maud::{Markup, html};

const DAY: i64 = 24 * 60 * 60 * 1000;

/// A `time` element for milliseconds since 1970.
pub(crate) fn day(at: i64) -> Markup {
    let (year, month, day) = civil(at.div_euclid(DAY));
    let seconds = at.rem_euclid(DAY) / 1000;
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let date = format!("{year:04}-{month:02}-{day:02}");
    html! {
        time datetime=(format!("{date}T{hour:02}:{minute:02}:{second:02}Z")) { (date) }
    }
}

/// Days since 1970 to the Gregorian calendar, counting years from March so that the leap day comes last.
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    (era * 400 + year + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_the_calendar() {
        for (days, date) in [
            (0, (1970, 1, 1)),
            (-1, (1969, 12, 31)),
            (59, (1970, 3, 1)),
            (11_016, (2000, 2, 29)),
            (19_782, (2024, 2, 29)),
            (20_781, (2026, 11, 24)),
        ] {
            assert_eq!(civil(days), date);
        }
    }

    #[test]
    fn a_time_is_readable_by_people_and_scripts() {
        let html = day(20_781 * DAY + 3_723_000).into_string();
        assert_eq!(
            html,
            r#"<time datetime="2026-11-24T01:02:03Z">2026-11-24</time>"#
        );
    }
}
