//! The company's time zone, asked for every decision and looked up only at its transitions.

use std::sync::Arc;

use arc_swap::ArcSwap;
use jiff::tz::TimeZone;
use masugata_policy::{Now, Timestamp};

/// See the module's first line.
#[derive(Debug)]
pub(crate) struct Zone {
    zone: TimeZone,
    /// The offset found last, with the time for which it holds.
    span: ArcSwap<Span>,
}

#[derive(Clone, Copy, Debug)]
struct Span {
    from: Timestamp,
    until: Timestamp,
    offset_seconds: i32,
}

impl Zone {
    pub(crate) fn new(zone: TimeZone) -> Self {
        let never = Span {
            from: Timestamp::MAX,
            until: Timestamp::MAX,
            offset_seconds: 0,
        };
        Self {
            zone,
            span: ArcSwap::from_pointee(never),
        }
    }

    /// `at` with the zone's offset.
    pub(crate) fn now(&self, at: Timestamp) -> Now {
        let known = **self.span.load();
        let span = if known.from <= at && at < known.until {
            known
        } else {
            self.look_up(at)
        };
        Now {
            at,
            utc_offset_seconds: span.offset_seconds,
            offset_holds_until: span.until,
        }
    }

    /// What a wall clock showed at `at`: `2026-11-23 18:41`.
    pub(crate) fn wall(&self, at: Timestamp) -> String {
        let instant = jiff::Timestamp::from_millisecond(at.as_millis())
            .unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        let civil = self.zone.to_datetime(instant);
        civil.strftime("%Y-%m-%d %H:%M").to_string()
    }

    fn look_up(&self, at: Timestamp) -> Span {
        let instant = jiff::Timestamp::from_millisecond(at.as_millis())
            .unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        let until = self
            .zone
            .following(instant)
            .next()
            .map_or(Timestamp::MAX, |transition| {
                Timestamp::from_millis(transition.timestamp().as_millisecond())
            });
        let span = Span {
            from: at,
            until,
            offset_seconds: self.zone.to_offset(instant).seconds(),
        };
        self.span.store(Arc::new(span));
        span
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokyo_has_one_offset_and_new_york_changes_on_time() {
        let tokyo = Zone::new(TimeZone::get("Asia/Tokyo").unwrap());
        let now = tokyo.now(Timestamp::from_seconds(1_790_000_000));
        assert_eq!(
            (now.utc_offset_seconds, now.offset_holds_until),
            (9 * 3600, Timestamp::MAX)
        );

        let new_york = Zone::new(TimeZone::get("America/New_York").unwrap());
        // 2026-11-01 06:00 UTC: 02:00 EDT becomes 01:00 EST.
        let transition = Timestamp::from_seconds(1_793_512_800);
        let before = new_york.now(Timestamp::from_millis(transition.as_millis() - 1));
        assert_eq!(
            (before.utc_offset_seconds, before.offset_holds_until),
            (-4 * 3600, transition)
        );
        assert_eq!(new_york.now(transition).utc_offset_seconds, -5 * 3600);
        // The clock may also go back.
        assert_eq!(
            new_york
                .now(Timestamp::from_seconds(1_790_000_000))
                .utc_offset_seconds,
            -4 * 3600
        );
    }
}
