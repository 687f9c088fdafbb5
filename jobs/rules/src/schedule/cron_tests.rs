//! Ticks of cron lines against a naive reading of them, over the changes of many clocks.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use jiff::civil;
use jiff::tz::{AmbiguousOffset, db};
use proptest::prelude::*;

use super::*;

/// Zones that put their clocks forward and back at different times and by different lengths, and one that does not.
const ZONES: [&str; 8] = [
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "America/St_Johns",
    "Africa/Casablanca",
    "America/Santiago",
    "Pacific/Apia",
    "UTC",
];

/// The longest that a search may take, unoptimised and on a busy machine.
const SEARCH_MAX: Duration = Duration::from_secs(3);

fn second(time: &str) -> i64 {
    time.parse::<DateTime<Utc>>().unwrap().timestamp()
}

fn told(second: i64) -> String {
    DateTime::from_timestamp(second, 0).unwrap().to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}

fn times(line: &str, zone: &str) -> CronTimes {
    CronTimes::read(line, db().get(zone).unwrap()).unwrap_or_else(|e| panic!("{line}: {e}"))
}

fn ticks(times: &CronTimes, from: i64, until: i64) -> Vec<i64> {
    let mut all = Vec::new();
    let mut at = from - 1;
    while let Some(next) = times.next_after(at).filter(|next| *next < until) {
        all.push(next);
        at = next;
    }
    all
}

/// Every minute that a wall clock can be asked for, and what each means.
fn naive(times: &CronTimes, from: i64, until: i64) -> Vec<i64> {
    let mut found = BTreeSet::new();
    for minute in (from - 2 * DAY_S).div_euclid(60)..(until + 2 * DAY_S).div_euclid(60) {
        let shown = DateTime::<Utc>::from_timestamp(minute * 60, 0).unwrap();
        if !times.cron.is_time_matching(&shown).unwrap() {
            continue;
        }
        let clock =
            civil::date(1970, 1, 1).at(0, 0, 0, 0).saturating_add(jiff::SignedDuration::from_mins(minute));
        let at = |offset: jiff::tz::Offset| offset.to_timestamp(clock).unwrap().as_second();
        match times.zone.to_ambiguous_timestamp(clock).offset() {
            AmbiguousOffset::Unambiguous { offset } => {
                found.insert(at(offset));
            }
            AmbiguousOffset::Gap { before, .. } => {
                if !times.hourly {
                    found.insert(at(before));
                }
            }
            AmbiguousOffset::Fold { before, after } => {
                found.insert(at(before));
                if times.hourly {
                    found.insert(at(after));
                }
            }
        }
    }
    found.into_iter().filter(|at| (from..until).contains(at)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn ticks_are_those_of_a_naive_reading_in_every_zone(
        zone in 0..ZONES.len(),
        // Days of 2026 and 2027, and of 2011, in which Apia left out a day.
        day in prop_oneof![0i64..730, (-5_500i64..-5_400)],
        minutes in prop_oneof![Just("*"), Just("*/15"), Just("0,30"), Just("59"), Just("5-20/5")],
        hours in prop_oneof![Just("*"), Just("0-23"), Just("2"), Just("*/2"), Just("1,2,3"), Just("0"), Just("23")],
        days in prop_oneof![Just("* * *"), Just("* * SUN"), Just("L * *"), Just("1-7 * +SUN"), Just("29 2 *"), Just("15W * *")],
    ) {
        let times = times(&format!("{minutes} {hours} {days}"), ZONES[zone]);
        let from = second("2026-01-01T00:00:00Z") + day * DAY_S;
        let until = from + 3 * DAY_S;
        let wanted = naive(&times, from, until);
        prop_assert_eq!(ticks(&times, from, until), wanted.clone());
        let mut back = Vec::new();
        let mut at = until;
        while let Some(last) = times.last_before(at, from) {
            back.push(last);
            at = last;
        }
        back.reverse();
        prop_assert_eq!(back, wanted);
    }

    #[test]
    fn no_line_whatever_it_says_takes_long_or_panics(line in "[-*/,#LW?+@A-Za-z0-9 ]{0,40}|\\PC{0,40}", zone in 0..ZONES.len()) {
        let began = Instant::now();
        if let Ok(times) = CronTimes::read(&line, db().get(ZONES[zone]).unwrap()) {
            let from = second("2026-11-22T00:00:00Z");
            if let Some(next) = times.next_after(from) {
                prop_assert!(next > from);
                prop_assert_eq!(times.last_before(next + 1, from), Some(next));
            }
        }
        prop_assert!(began.elapsed() < SEARCH_MAX, "{line} took {:?}", began.elapsed());
    }
}

#[test]
fn a_skipped_time_comes_later_and_a_doubled_one_comes_once() {
    let of = |line: &str, zone: &str, from: &str, until: &str| -> Vec<String> {
        ticks(&times(line, zone), second(from), second(until)).into_iter().map(told).collect()
    };
    // Berlin: on 29 March 2026 two o'clock is followed by three; on 25 October three by two.
    let spring = ("2026-03-28T12:00:00Z", "2026-03-30T12:00:00Z");
    let autumn = ("2026-10-24T12:00:00Z", "2026-10-26T12:00:00Z");
    assert_eq!(
        of("30 2 * * *", "Europe/Berlin", spring.0, spring.1),
        ["2026-03-29T01:30:00Z", "2026-03-30T00:30:00Z"],
        "half past two is not shown: half past three"
    );
    assert_eq!(
        of("30 2 * * *", "Europe/Berlin", autumn.0, autumn.1),
        ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"],
        "half past two is shown twice: the first"
    );
    assert_eq!(of("30 * * * *", "Europe/Berlin", "2026-10-25T00:00:00Z", "2026-10-25T03:00:00Z").len(), 3);
    assert_eq!(of("30 * * * *", "Europe/Berlin", "2026-03-29T00:00:00Z", "2026-03-29T03:00:00Z").len(), 3);
    // Lord Howe changes by half an hour.
    assert_eq!(
        of("15 2 4 10 *", "Australia/Lord_Howe", "2026-10-03T00:00:00Z", "2026-10-05T00:00:00Z"),
        ["2026-10-03T15:45:00Z"]
    );
    // Apia left out 30 December 2011.
    assert_eq!(
        of("0 8 30,31 12 *", "Pacific/Apia", "2011-12-28T00:00:00Z", "2012-01-02T00:00:00Z"),
        ["2011-12-30T18:00:00Z"]
    );
}

#[test]
fn the_29th_of_february_is_found_however_far_and_the_30th_never() {
    let from = second("2026-11-22T00:00:00Z");
    let next = |line: &str| times(line, "Europe/Berlin").next_after(from).map(told);
    assert_eq!(next("0 0 29 2 *").as_deref(), Some("2028-02-28T23:00:00Z"));
    assert_eq!(next("0 12 29 2 +MON").as_deref(), Some("2044-02-29T11:00:00Z"));
    // 2100 is no leap year: from one Friday the 29th to the next are forty years.
    let friday = times("0 0 29 2 +FRI", "UTC");
    let far = friday.next_after(second("2072-03-01T00:00:00Z"));
    assert!(far.is_some(), "within the horizon");
    for never in ["0 0 30 2 *", "0 0 31 2,4,6,9,11 *", "0 0 31 2 +MON#5", "0 0 * * L"] {
        let began = Instant::now();
        assert_eq!(next(never), None, "{never}");
        assert!(began.elapsed() < SEARCH_MAX, "{never} took {:?}", began.elapsed());
    }
}

#[test]
fn a_wrong_line_names_its_field_the_reason_and_the_remedy() {
    let refused = |line: &str| CronTimes::read(line, TimeZone::UTC).unwrap_err();
    for (line, field, says) in [
        ("60 * * * *", "minute `60`", "0 to 59"),
        ("0 24 * * *", "hour `24`", "0 to 23"),
        ("0 0 32 * *", "day of the month `32`", "1 to 31"),
        ("0 0 * 13 *", "month `13`", "1 to 12"),
        ("0 0 * * 8", "day of the week `8`", "0 to 7"),
        ("99 0 0 * * *", "second `99`", "0 to 59"),
        ("0 0 * FOO *", "month `FOO`", "JAN"),
        ("5-1 * * * *", "minute `5-1`", "0 to 59"),
        ("1-5/0 * * * *", "minute `1-5/0`", "0 to 59"),
        ("*/61 * * * *", "step 61 in the minute", "smaller"),
        ("1,,2 * * * *", "two commas of the minute", "take one away"),
        ("* * * *", "has 4 fields", "five"),
        ("0 0 1 1 * * 2030", "has 7 fields", "five"),
        ("", "has 0 fields", "five"),
        ("@reboot", "has 1 fields", "five"),
        ("99999999999999999999 * * * *", "minute", "0 to 59"),
    ] {
        let told = refused(line);
        assert!(told.contains(field) && told.contains(says), "{line}: {told}");
    }
    assert!(refused(&"1,".repeat(10_000)).contains("at most 256"));
    assert!(refused(&"é".repeat(120)).len() < 300);
    for line in ["@daily", "0 7 * * MON-FRI", "*/5 * * * * *", "0 0 L * *", "0 9 ? * 5L"] {
        assert!(CronTimes::read(line, TimeZone::UTC).is_ok(), "{line}");
    }
}

#[test]
fn many_that_are_rare_are_sought_within_one_horizon() {
    use crate::schedule::{HORIZON_DAYS, Timing};
    let of = |line: &str| {
        Timing(super::super::timing::Kind::Cron(Box::new(CronTimes::read(line, TimeZone::UTC).unwrap())))
    };
    let now = DateTime::from_timestamp(1_790_000_000, 0).unwrap();
    // Each is 28 years after the one before it: a hundred of them would be sought for three thousand years.
    let found = of("0 0 29 2 +MON").upcoming(now, 100);
    assert!((1..=2).contains(&found.len()), "{found:?}");
    assert!(found.iter().all(|tick| (*tick - now).num_days() <= HORIZON_DAYS), "{found:?}");
    assert_eq!(of("0 0 29 2 *").upcoming(now, 100).len(), 10);
    assert!(of("0 0 30 2 *").upcoming(now, 100).is_empty());
    assert_eq!(of("* * * * *").upcoming(now, 100).len(), 100);
}

#[test]
fn a_month_that_is_not_named_is_passed_over_whole() {
    for line in ["0 0 29 2 *", "30 5 1 3 *", "0 0 31 12 *", "0 12 * 1,6 *", "0 0 L 2 *"] {
        let times = CronTimes::read(line, TimeZone::UTC).unwrap();
        let day = |day: i64| (times.unnamed_month(day), date_of(day).unwrap());
        for at in 20_000..22_000 {
            let (passed, date) = day(at);
            let Some((first, next)) = passed else { continue };
            assert!(first <= at && at < next, "{line} {date}");
            assert_eq!(
                (date_of(first).unwrap().day0(), date_of(next).unwrap().day0()),
                (0, 0),
                "{line} {date}"
            );
            assert!((28..=31).contains(&(next - first)), "{line} {date}");
            assert!((first..next).all(|day| !times.holds_on(day)), "{line} {date}");
        }
    }
}
