//! The wall clock of a time zone, as stretches of time within which it runs evenly.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Before the first time that is asked for, and after the last: years 1 and 9999, in seconds since 1970.
const EVER: (i64, i64) = (-62_135_596_800, 253_402_207_200);

/// A stretch of time within which the clock is not put forward or back. Times are seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stretch {
    /// Its first second.
    pub(super) from: i64,
    /// The first second after it.
    pub(super) until: i64,
    /// How far the wall clock is before UTC, in seconds.
    pub(super) offset: i64,
    /// How far it was before `from`.
    pub(super) offset_before: i64,
}

impl Stretch {
    /// The stretch with this time.
    pub(super) fn at(zone: &TimeZone, time: i64) -> Self {
        let time = time.clamp(EVER.0, EVER.1);
        let offset = |at: i64| i64::from(zone.to_offset(stamp(at)).seconds());
        let from = zone.preceding(stamp(time + 1)).next().map(|t| t.timestamp().as_second());
        let until = zone.following(stamp(time)).next().map(|t| t.timestamp().as_second());
        Self {
            from: from.unwrap_or(EVER.0),
            until: until.unwrap_or(EVER.1),
            offset: offset(time),
            offset_before: from.map_or_else(|| offset(time), |from| offset(from - 1)),
        }
    }

    /// What the wall clock showed twice, the second time at the beginning of this stretch: from this to that second
    /// of the wall clock, and the same twice where there is nothing of the kind.
    pub(super) fn doubled(&self) -> (i64, i64) {
        let begin = self.from.saturating_add(self.offset);
        (begin, self.from.saturating_add(self.offset_before).max(begin))
    }

    /// What the wall clock never showed when it was put forward at the beginning of this stretch.
    pub(super) fn skipped(&self) -> (i64, i64) {
        let begin = self.from.saturating_add(self.offset_before);
        (begin, self.from.saturating_add(self.offset).max(begin))
    }
}

fn stamp(second: i64) -> Timestamp {
    Timestamp::from_second(second.clamp(EVER.0 - 1, EVER.1 + 1)).unwrap_or(Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use jiff::tz::db;

    use super::*;

    fn at(zone: &str, time: &str) -> Stretch {
        Stretch::at(&db().get(zone).unwrap(), time.parse::<Timestamp>().unwrap().as_second())
    }

    #[test]
    fn a_stretch_goes_from_one_change_of_the_clock_to_the_next() {
        let summer = at("Europe/Berlin", "2026-07-01T00:00:00Z");
        assert_eq!((summer.offset, summer.offset_before), (7_200, 3_600));
        assert_eq!(summer.skipped().1 - summer.skipped().0, 3_600);
        assert_eq!(summer.doubled().0, summer.doubled().1);
        let winter = at("Europe/Berlin", "2026-10-25T01:00:00Z");
        assert_eq!((winter.from, winter.offset), (summer.until, 3_600));
        assert_eq!(winter.doubled().1 - winter.doubled().0, 3_600);
        let always = at("UTC", "2026-07-01T00:00:00Z");
        assert_eq!((always.from, always.until, always.offset), (EVER.0, EVER.1, 0));
        let half = at("Australia/Lord_Howe", "2026-10-04T00:00:00Z");
        assert_eq!(half.skipped().1 - half.skipped().0, 1_800);
    }
}
