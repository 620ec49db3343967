//! For how long an answer stands: civil time, and the instants around `now` between which no fact that the policies
//! mention changes because time passes. Both ends count, since a wall clock can be set back.

use crate::facts::Facts;
use crate::posture::{Observation, PostureAttribute};
use crate::request::{Authentication, Device};
use crate::time::{Now, Timestamp};

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// From the first instant to the one after the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    from: Timestamp,
    until: Timestamp,
}

impl Window {
    const ALWAYS: Self = Self {
        from: Timestamp::from_millis(i64::MIN),
        until: Timestamp::MAX,
    };

    /// The longest window around `now` in which none of `facts` changes. Leaves the zone's next transition aside: that
    /// belongs to the [`Now`] of each question.
    pub(crate) fn around(
        now: Now,
        facts: Facts,
        device: &Device,
        authentication: &Authentication,
    ) -> Self {
        let mut window = Self::ALWAYS;
        for attribute in PostureAttribute::ALL {
            if facts.any(Facts::posture(attribute))
                && let Some(seen) = device.posture().observation(attribute)
            {
                window.cut(now.at, seen.observed_at.minus(Observation::MAX_SKEW));
                window.cut(now.at, seen.fresh_until());
            }
        }
        if facts.any(Facts::AGE)
            && let Some(proved_at) = authentication.authenticated_at
        {
            window.cut_age(now.at, proved_at);
        }
        if facts.any(Facts::MINUTE) {
            window.cut_civil(now, MINUTE);
        }
        if facts.any(Facts::HOUR) {
            window.cut_civil(now, HOUR);
        }
        if facts.any(Facts::WEEKDAY.and(Facts::DATE)) {
            window.cut_civil(now, DAY);
        }
        window
    }

    /// Whether `at` lies in it.
    pub(crate) fn contains(&self, at: Timestamp) -> bool {
        self.from <= at && at < self.until
    }

    /// The instant after its last.
    pub(crate) fn until(&self) -> Timestamp {
        self.until
    }

    /// Something changes at `edge`.
    fn cut(&mut self, now: Timestamp, edge: Timestamp) {
        if edge <= now {
            self.from = self.from.max(edge);
        } else {
            self.until = self.until.min(edge);
        }
    }

    fn cut_age(&mut self, now: Timestamp, proved_at: Timestamp) {
        self.cut(now, proved_at.minus(Observation::MAX_SKEW));
        let age = age_minutes(now, proved_at).unwrap_or(0);
        let edge = |minutes: i64| {
            let millis = minutes.saturating_mul(MINUTE);
            Timestamp::from_millis(proved_at.as_millis().saturating_add(millis))
        };
        // The age is 0 before the proof as well, so its first minute has no lower edge but the one above.
        if age > 0 {
            self.cut(now, edge(age));
        }
        self.cut(now, edge(age.saturating_add(1)));
    }

    fn cut_civil(&mut self, now: Now, unit: i64) {
        let offset = i64::from(now.utc_offset_seconds).saturating_mul(1000);
        let local = now.at.as_millis().saturating_add(offset);
        let begin = local.div_euclid(unit).saturating_mul(unit);
        let instant = |local: i64| Timestamp::from_millis(local.saturating_sub(offset));
        self.cut(now.at, instant(begin));
        self.cut(now.at, instant(begin.saturating_add(unit)));
    }
}

/// Whole minutes since `proved_at`, rounded down; 0 for one slightly ahead of our clock, `None` for one further ahead
/// than clocks differ: believing that would let a wrong date stay fresh for years.
pub(crate) fn age_minutes(now: Timestamp, proved_at: Timestamp) -> Option<i64> {
    if now < proved_at.minus(Observation::MAX_SKEW) {
        return None;
    }
    let millis = now.as_millis().saturating_sub(proved_at.as_millis());
    Some(millis.max(0) / MINUTE)
}

/// The clock and calendar on the company's wall.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Civil {
    pub(crate) hour: i64,
    pub(crate) minute_of_day: i64,
    pub(crate) weekday: &'static str,
    pub(crate) year: i64,
    pub(crate) month: i64,
    pub(crate) day: i64,
}

impl Civil {
    pub(crate) fn at(now: Now) -> Self {
        let offset = i64::from(now.utc_offset_seconds).saturating_mul(1000);
        let local = now.at.as_millis().saturating_add(offset);
        let minute_of_day = local.rem_euclid(DAY) / MINUTE;
        let days = local.div_euclid(DAY);
        let (year, month, day) = date_of(days);
        Self {
            hour: minute_of_day / 60,
            minute_of_day,
            weekday: weekday_of(days),
            year,
            month,
            day,
        }
    }
}

fn weekday_of(days: i64) -> &'static str {
    // 1970-01-01 was a Thursday.
    match days.rem_euclid(7) {
        0 => "thursday",
        1 => "friday",
        2 => "saturday",
        3 => "sunday",
        4 => "monday",
        5 => "tuesday",
        _ => "wednesday",
    }
}

/// Proleptic Gregorian year, month and day. Years are counted from March, so that the leap day comes last, in cycles of
/// 400 years, which all have the same 146,097 days; 719,468 days lie between 0000-03-01 and 1970-01-01.
fn date_of(days: i64) -> (i64, i64, i64) {
    let days = days.saturating_add(719_468);
    let (cycle, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = cycle * 400 + year + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::posture::{DevicePosture, PostureSource, PostureValue};
    use crate::request::{DeviceKind, Ownership};

    // 2026-11-23T09:41:08Z, a Monday.
    const AT: i64 = 1_795_426_868_000;
    const JST: i32 = 9 * 3600;

    fn now(millis: i64, utc_offset_seconds: i32) -> Now {
        Now {
            at: Timestamp::from_millis(millis),
            utc_offset_seconds,
            offset_holds_until: Timestamp::MAX,
        }
    }

    fn device(posture: DevicePosture) -> Device {
        let none: [&str; 0] = [];
        Device::new(
            "d",
            DeviceKind::Laptop,
            Ownership::Company,
            None,
            none,
            posture,
        )
    }

    fn proved(authenticated_at: Option<i64>) -> Authentication {
        let none: [&str; 0] = [];
        let at = authenticated_at.map(Timestamp::from_millis);
        Authentication::new(true, false, None, none, at, false)
    }

    #[test]
    fn civil_time_is_that_of_the_zone() {
        let utc = Civil::at(now(AT, 0));
        assert_eq!((utc.year, utc.month, utc.day), (2026, 11, 23));
        assert_eq!(
            (utc.hour, utc.minute_of_day, utc.weekday),
            (9, 581, "monday")
        );
        let tokyo = Civil::at(now(AT + 6 * HOUR, JST));
        assert_eq!((tokyo.year, tokyo.month, tokyo.day), (2026, 11, 24));
        assert_eq!((tokyo.hour, tokyo.weekday), (0, "tuesday"));
        let kathmandu = Civil::at(now(0, 5 * 3600 + 45 * 60));
        assert_eq!(kathmandu.minute_of_day, 345);
    }

    #[test]
    fn the_calendar_knows_leap_years_and_days_before_the_epoch() {
        assert_eq!(date_of(0), (1970, 1, 1));
        assert_eq!(date_of(-1), (1969, 12, 31));
        assert_eq!(date_of(11_016), (2000, 2, 29));
        assert_eq!(date_of(11_017), (2000, 3, 1));
        assert_eq!(date_of(19_782), (2024, 2, 29));
        assert_eq!(date_of(47_540), (2100, 2, 28));
        assert_eq!(date_of(47_541), (2100, 3, 1));
        assert_eq!(weekday_of(-1), "wednesday");
    }

    #[test]
    fn the_calendar_counts_every_day_for_a_thousand_years() {
        let mut expected = (1600, 1, 1);
        for days in -135_140..230_000 {
            assert_eq!(date_of(days), expected);
            let (year, month, day) = expected;
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let length = match month {
                2 => 28 + i64::from(leap),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            expected = match (day == length, month == 12) {
                (false, _) => (year, month, day + 1),
                (true, false) => (year, month + 1, 1),
                (true, true) => (year + 1, 1, 1),
            };
        }
    }

    #[test]
    fn without_facts_of_time_an_answer_stands_for_ever() {
        let facts = Facts::DEVICE_KIND.and(Facts::REQUEST_PATH);
        let window = Window::around(
            now(AT, JST),
            facts,
            &device(DevicePosture::default()),
            &proved(None),
        );
        assert_eq!(window, Window::ALWAYS);
    }

    #[test]
    fn a_posture_attribute_counts_from_just_before_it_was_seen_until_it_is_stale() {
        let seen = Observation {
            value: PostureValue::Flag(true),
            source: PostureSource::Mdm,
            observed_at: Timestamp::from_millis(AT),
            max_age: Duration::from_secs(3600),
        };
        let attribute = PostureAttribute::DiskEncrypted;
        let device = device(DevicePosture::default().with(attribute, seen));
        let window = Window::around(
            now(AT, 0),
            Facts::posture(attribute),
            &device,
            &proved(None),
        );
        assert_eq!(window.from, Timestamp::from_millis(AT - 60_000));
        assert_eq!(window.until, Timestamp::from_millis(AT + HOUR));
        let other = Facts::posture(PostureAttribute::Managed);
        assert_eq!(
            Window::around(now(AT, 0), other, &device, &proved(None)),
            Window::ALWAYS
        );
    }

    #[test]
    fn a_proof_dated_far_ahead_has_no_age() {
        let at = Timestamp::from_millis(AT);
        assert_eq!(
            age_minutes(at, Timestamp::from_millis(AT + 60_000)),
            Some(0)
        );
        assert_eq!(age_minutes(at, Timestamp::from_millis(AT + 60_001)), None);
        assert_eq!(
            age_minutes(at, Timestamp::from_millis(AT - 119_999)),
            Some(1)
        );
        assert_eq!(age_minutes(at, Timestamp::MAX), None);
    }

    proptest! {
        /// The windows against the slow obvious version: a fact is the same at both ends, and another just outside,
        /// or the window goes on for ever on that side.
        #[test]
        fn a_window_is_as_long_as_its_facts_stay_and_no_longer(
            shift in -3 * DAY..3 * DAY,
            offset in prop::sample::select(vec![0, JST, -3600, 20_700, -12_600]),
            ago in -10 * MINUTE..10 * MINUTE,
            which in 0..5_usize,
        ) {
            let (fact, value): (Facts, fn(Now, i64) -> String) = match which {
                0 => (Facts::MINUTE, |now, _| format!("{}", Civil::at(now).minute_of_day)),
                1 => (Facts::HOUR, |now, _| format!("{}", Civil::at(now).hour)),
                2 => (Facts::WEEKDAY, |now, _| Civil::at(now).weekday.to_owned()),
                3 => (Facts::DATE, |now, _| format!("{}", Civil::at(now).day)),
                _ => (Facts::AGE, |now, proved_at| {
                    format!("{:?}", age_minutes(now.at, Timestamp::from_millis(proved_at)))
                }),
            };
            let moment = now(AT + shift, offset);
            let proved_at = AT + shift - ago;
            let window = Window::around(
                moment,
                fact,
                &device(DevicePosture::default()),
                &proved(Some(proved_at)),
            );
            prop_assert!(window.contains(moment.at));
            let here = value(moment, proved_at);
            let at = |instant: Timestamp, by: i64| {
                value(now(instant.as_millis() + by, offset), proved_at)
            };
            if window.from != Window::ALWAYS.from {
                prop_assert_eq!(at(window.from, 0), here.clone());
                prop_assert_ne!(at(window.from, -1), here.clone());
            }
            if window.until != Timestamp::MAX {
                prop_assert_eq!(at(window.until, -1), here.clone());
                prop_assert_ne!(at(window.until, 0), here);
            }
        }

        #[test]
        fn no_instant_is_too_far_away(at in any::<i64>(), offset in any::<i32>(), proved_at in any::<i64>()) {
            let moment = now(at, offset);
            let _ = Civil::at(moment);
            let seen = Observation {
                value: PostureValue::Flag(true),
                source: PostureSource::Agent,
                observed_at: Timestamp::from_millis(proved_at),
                max_age: Duration::MAX,
            };
            let posture = DevicePosture::default().with(PostureAttribute::Managed, seen);
            let window = Window::around(moment, Facts::ALL, &device(posture), &proved(Some(proved_at)));
            prop_assert!(window.from <= moment.at);
        }
    }
}
