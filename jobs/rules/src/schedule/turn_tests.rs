//! Ticks are fired in order, none twice, and none is lost unseen, whatever was missed.

use proptest::prelude::*;

use super::*;
use crate::schedule::{Draft, When};

fn at(second: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000 + second, 0).unwrap()
}

fn every(seconds: i64) -> Timing {
    When::Every { seconds, from: at(0) }.timing().unwrap()
}

fn cron(line: &str) -> Timing {
    let draft = Draft { cron: Some(line), time_zone: Some("America/St_Johns"), ..Draft::default() };
    When::read(&draft, at(0)).unwrap().timing().unwrap()
}

fn seconds(times: &[DateTime<Utc>]) -> Vec<i64> {
    times.iter().map(|time| (*time - at(0)).num_seconds()).collect()
}

#[test]
fn what_is_late_within_the_grace_is_fired_whatever_the_catch_up() {
    for catch_up in [CatchUp::Skip, CatchUp::Once, CatchUp::All(5)] {
        let done = turn(&every(20), at(0), at(60), catch_up, 100);
        assert_eq!((seconds(&done.fire), done.passed, done.next), (vec![0, 20, 40, 60], None, Some(at(80))));
    }
    let early = turn(&every(20), at(20), at(19), CatchUp::Skip, 100);
    assert_eq!((early.fire.len(), early.next), (0, Some(at(20))));
}

#[test]
fn what_was_missed_is_skipped_or_made_up_for_once_or_each_up_to_a_cap() {
    // A tick each hundred seconds; from the first to 900 all but that are missed.
    let of = |catch_up| turn(&every(100), at(0), at(905), catch_up, 100);
    let passed = |first, last, count| Some(Passed { first: at(first), last: at(last), count, more: false });
    let skip = of(CatchUp::Skip);
    assert_eq!((seconds(&skip.fire), skip.passed), (vec![900], passed(0, 800, 9)));
    let once = of(CatchUp::Once);
    assert_eq!((seconds(&once.fire), once.passed), (vec![800, 900], passed(0, 700, 8)));
    let all = of(CatchUp::All(3));
    assert_eq!((seconds(&all.fire), all.passed), (vec![600, 700, 800, 900], passed(0, 500, 6)));
    let more = of(CatchUp::All(100));
    assert_eq!((more.fire.len(), more.passed, more.next), (10, None, Some(at(1_000))));
}

#[test]
fn a_year_of_seconds_is_counted_to_its_bound_only() {
    let year = 365 * 86_400;
    for timing in [every(1), cron("* * * * * *")] {
        let done = turn(&timing, at(0), at(year), CatchUp::All(CATCH_UP_MAX), 1_000);
        assert_eq!(done.fire.len(), CATCH_UP_MAX as usize + GRACE_S as usize + 1);
        let passed = done.passed.unwrap();
        assert_eq!((passed.first, passed.count, passed.more), (at(0), COUNTED_MAX, true));
        assert_eq!(passed.last, at(year - GRACE_S - i64::from(CATCH_UP_MAX) - 1));
        assert_eq!(done.next, Some(at(year + 1)));
    }
}

#[test]
fn one_that_is_due_once_is_made_up_for_or_told_as_missed() {
    let once = When::Once(at(0)).timing().unwrap();
    let skip = turn(&once, at(0), at(86_400), CatchUp::Skip, 10);
    assert_eq!((skip.fire.len(), skip.passed.map(|p| p.count), skip.next), (0, Some(1), None));
    let late = turn(&once, at(0), at(86_400), CatchUp::Once, 10);
    assert_eq!((late.fire, late.passed, late.next), (vec![at(0)], None, None));
    let now = turn(&once, at(0), at(1), CatchUp::Skip, 10);
    assert_eq!((now.fire, now.next), (vec![at(0)], None));
}

proptest! {
    #[test]
    fn ticks_are_fired_in_order_once_and_each_is_fired_or_counted(
        step in 1i64..200,
        pauses in proptest::collection::vec(0i64..400, 1..20),
        room in 1usize..8,
        policy in 0u32..7,
    ) {
        let catch_up = match policy {
            0 => CatchUp::Skip,
            1 => CatchUp::Once,
            cap => CatchUp::All(cap),
        };
        let timing = every(step);
        let (mut now, mut due) = (at(0), at(0));
        let mut fired = Vec::new();
        let mut counted = 0;
        for pause in pauses {
            now += TimeDelta::seconds(pause);
            let done = turn(&timing, due, now, catch_up, room);
            prop_assert!(done.fire.len() <= room);
            if let Some(passed) = done.passed {
                prop_assert!(!passed.more && passed.first >= due && passed.last >= passed.first);
                prop_assert!(passed.last < now - TimeDelta::seconds(GRACE_S));
                prop_assert!(done.fire.first().is_none_or(|first| passed.last < *first));
                counted += passed.count as i64;
            }
            fired.extend(done.fire);
            due = done.next.unwrap();
        }
        prop_assert!(fired.is_sorted() && fired.windows(2).all(|two| two[0] < two[1]));
        prop_assert!(fired.last().is_none_or(|last| *last < due && *last <= now));
        prop_assert_eq!(fired.len() as i64 + counted, (due - at(0)).num_seconds() / step, "none is lost unseen");
    }

    #[test]
    fn a_tick_is_found_from_both_sides(offset in 0i64..20_000_000, line in prop_oneof![
        Just("*/7 * * * *"), Just("0 3 * * *"), Just("30 1 * * SUN"), Just("15 */6 1 * *"), Just("*/20 * * * * *")]) {
        let timing = cron(line);
        let time = at(offset);
        let next = timing.next_after(time).unwrap();
        prop_assert!(next > time);
        prop_assert_eq!(timing.next_from(next), Some(next));
        prop_assert_eq!(timing.last_before(next + TimeDelta::milliseconds(1), time), Some(next));
        prop_assert!(timing.last_before(next, time).is_none_or(|before| before == time));
        prop_assert_eq!(timing.next_from(time + TimeDelta::milliseconds(1)), Some(next));
    }
}
