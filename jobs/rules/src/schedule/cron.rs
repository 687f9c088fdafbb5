//! Cron lines: read by croner, and walked by days, so that every search ends.

use chrono::{DateTime, Datelike, Utc};
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::tz::TimeZone;

use super::clock::Stretch;
use super::{CRON_BYTES_MAX, HORIZON_DAYS};

const DAY_S: i64 = 86_400;

/// The fields of a line with five, each with how many values it can have: a step beyond says something else than
/// it means.
const FIELDS: [(&str, u32); 5] =
    [("minute", 60), ("hour", 24), ("day of the month", 31), ("month", 12), ("day of the week", 7)];

/// As [`FIELDS`], before them in a line with six.
const SECOND: (&str, u32) = ("second", 60);

/// A cron line in its time zone.
#[derive(Debug, Clone)]
pub(super) struct CronTimes {
    cron: Cron,
    zone: TimeZone,
    /// The hours, minutes and seconds that it names, ascending.
    hours: Vec<i64>,
    minutes: Vec<i64>,
    seconds: Vec<i64>,
    /// Whether it holds in every hour of the day.
    hourly: bool,
}

impl CronTimes {
    /// Reads a line of five fields, or of six with seconds before them, or a word such as `@daily`.
    ///
    /// # Errors
    /// The reason and the remedy.
    pub(super) fn read(line: &str, zone: TimeZone) -> Result<Self, String> {
        if line.len() > CRON_BYTES_MAX {
            return Err(format!("has {} bytes; a cron line has at most {CRON_BYTES_MAX}", line.len()));
        }
        let parser = CronParser::builder().seconds(Seconds::Optional).year(Year::Disallowed).build();
        let cron = sound(line).and_then(|()| parser.parse(line).map_err(|_| refused(&parser, line)))?;
        let values = |first: u16, last: u16, matches: &dyn Fn(u32) -> bool| {
            (first..=last).filter(|n| matches(u32::from(*n))).map(i64::from).collect::<Vec<_>>()
        };
        let pattern = &cron.pattern;
        let hours = values(0, 23, &|n| pattern.hour_match(n).unwrap_or(false));
        let minutes = values(0, 59, &|n| pattern.minute_match(n).unwrap_or(false));
        let seconds = values(0, 59, &|n| pattern.second_match(n).unwrap_or(false));
        let hourly = hours.len() == 24;
        Ok(Self { cron, zone, hours, minutes, seconds, hourly })
    }

    /// The first tick after a time, both in seconds since 1970; none when none comes within the horizon.
    pub(super) fn next_after(&self, time: i64) -> Option<i64> {
        self.next_until(time, time.saturating_add(HORIZON_DAYS * DAY_S))
    }

    /// The first tick after a time and before another.
    pub(super) fn next_until(&self, time: i64, end: i64) -> Option<i64> {
        let mut after = time;
        while after + 1 < end {
            let stretch = Stretch::at(&self.zone, after.saturating_add(1));
            let last = stretch.until.min(end) - 1;
            let (shown, shifted) = self.shown(&stretch);
            let shown =
                self.first(shown.0.max(after + 1 + stretch.offset), shown.1.min(last + stretch.offset));
            let shifted = self.first(
                shifted.0.max(after + 1 + stretch.offset_before),
                shifted.1.min(last + stretch.offset_before),
            );
            let found = [shown.map(|at| at - stretch.offset), shifted.map(|at| at - stretch.offset_before)];
            if let Some(found) = found.into_iter().flatten().min() {
                return Some(found);
            }
            after = last;
        }
        None
    }

    /// The last tick before a time, and not before another.
    pub(super) fn last_before(&self, time: i64, not_before: i64) -> Option<i64> {
        let mut before = time;
        while before > not_before {
            let stretch = Stretch::at(&self.zone, before.saturating_sub(1));
            let first = stretch.from.max(not_before);
            let (shown, shifted) = self.shown(&stretch);
            let shown =
                self.last(shown.0.max(first + stretch.offset), shown.1.min(before - 1 + stretch.offset));
            let shifted = self.last(
                shifted.0.max(first + stretch.offset_before),
                shifted.1.min(before - 1 + stretch.offset_before),
            );
            let found = [shown.map(|at| at - stretch.offset), shifted.map(|at| at - stretch.offset_before)];
            if let Some(found) = found.into_iter().flatten().max() {
                return Some(found);
            }
            before = first;
        }
        None
    }

    /// What the wall clock shows within a stretch that counts, and what it skipped before that does, each from the
    /// first to the last second; the former read with the stretch's offset, the latter with that before it.
    ///
    /// A line that holds in every hour counts each time that the clock shows, both of a doubled one. Any other
    /// counts a doubled one once, the first time, and a skipped one as much later as the clock was put forward.
    fn shown(&self, stretch: &Stretch) -> ((i64, i64), (i64, i64)) {
        const NOTHING: (i64, i64) = (i64::MAX, i64::MIN);
        let (begin, end) = (stretch.from + stretch.offset, stretch.until.saturating_add(stretch.offset) - 1);
        if self.hourly {
            return ((begin, end), NOTHING);
        }
        let (skipped, beyond) = stretch.skipped();
        ((stretch.doubled().1.max(begin), end), (skipped, beyond - 1))
    }

    /// The first second of the wall clock that the line names, from one to another.
    fn first(&self, from: i64, to: i64) -> Option<i64> {
        if from > to {
            return None;
        }
        let mut day = from.div_euclid(DAY_S);
        let mut second = from.rem_euclid(DAY_S);
        while day * DAY_S + second <= to {
            if let Some((_, next)) = self.unnamed_month(day) {
                (day, second) = (next, 0);
                continue;
            }
            if self.holds_on(day)
                && let Some(found) = self.first_of_day(second)
            {
                return Some(day * DAY_S + found).filter(|at| *at <= to);
            }
            (day, second) = (day + 1, 0);
        }
        None
    }

    /// The last one.
    fn last(&self, from: i64, to: i64) -> Option<i64> {
        if from > to {
            return None;
        }
        let mut day = to.div_euclid(DAY_S);
        let mut second = to.rem_euclid(DAY_S);
        while day * DAY_S + second >= from {
            if let Some((first, _)) = self.unnamed_month(day) {
                (day, second) = (first - 1, DAY_S - 1);
                continue;
            }
            if self.holds_on(day)
                && let Some(found) = self.last_of_day(second)
            {
                return Some(day * DAY_S + found).filter(|at| *at >= from);
            }
            (day, second) = (day - 1, DAY_S - 1);
        }
        None
    }

    /// Of a month that the line does not name, the first day and that of the next month; none of any other. A line that
    /// names one month is sought month by month, and not day by day.
    fn unnamed_month(&self, day: i64) -> Option<(i64, i64)> {
        let date = date_of(day)?;
        if self.cron.pattern.month_match(date.month()).unwrap_or(false) {
            return None;
        }
        let first = day - i64::from(date.day0());
        // No month is longer than this, and none half as short.
        let within_next = first + 31;
        Some((first, within_next - i64::from(date_of(within_next)?.day0())))
    }

    /// Whether the line names this day, counted from 1970.
    fn holds_on(&self, day: i64) -> bool {
        let Some(date) = date_of(day) else { return false };
        let pattern = &self.cron.pattern;
        pattern.month_match(date.month()).unwrap_or(false)
            && pattern.day_match(date.year(), date.month(), date.day()).unwrap_or(false)
    }

    /// The first second of a day from this one on.
    fn first_of_day(&self, from: i64) -> Option<i64> {
        let (hour, minute, second) = (from / 3_600, from / 60 % 60, from % 60);
        for h in self.hours.iter().filter(|h| **h >= hour) {
            let least = if *h == hour { minute } else { 0 };
            for m in self.minutes.iter().filter(|m| **m >= least) {
                let least = if *h == hour && *m == minute { second } else { 0 };
                if let Some(s) = self.seconds.iter().find(|s| **s >= least) {
                    return Some(h * 3_600 + m * 60 + s);
                }
            }
        }
        None
    }

    /// The last second of a day up to this one.
    fn last_of_day(&self, to: i64) -> Option<i64> {
        let (hour, minute, second) = (to / 3_600, to / 60 % 60, to % 60);
        for h in self.hours.iter().rev().filter(|h| **h <= hour) {
            let most = if *h == hour { minute } else { 59 };
            for m in self.minutes.iter().rev().filter(|m| **m <= most) {
                let most = if *h == hour && *m == minute { second } else { 59 };
                if let Some(s) = self.seconds.iter().rev().find(|s| **s <= most) {
                    return Some(h * 3_600 + m * 60 + s);
                }
            }
        }
        None
    }
}

fn date_of(day: i64) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp(day.saturating_mul(DAY_S), 0)
}

/// Refuses what a line can say and would mean something else than it says.
fn sound(line: &str) -> Result<(), String> {
    let fields = line.split_whitespace().collect::<Vec<_>>();
    for (field, (name, values)) in fields.iter().zip(named(fields.len())) {
        if field.split(',').any(str::is_empty) {
            return Err(format!(
                "names nothing between two commas of the {name}, `{}`; take one away",
                short(field)
            ));
        }
        let steps = field.split(',').filter_map(|part| part.split_once('/'));
        for step in steps.filter_map(|(_, step)| step.parse::<u32>().ok()) {
            if step >= values {
                return Err(format!(
                    "has the step {step} in the {name}, `{}`, which has {values} values; take a smaller one",
                    short(field)
                ));
            }
        }
    }
    Ok(())
}

/// Which field of a line is wrong, and what may stand there.
fn refused(parser: &CronParser, line: &str) -> String {
    let fields = line.split_whitespace().collect::<Vec<_>>();
    if !matches!(fields.len(), 5 | 6) {
        return format!(
            "is `{}`, which has {} fields; a cron line has five (minute, hour, day of the month, month, day of the \
             week), or six with the second before them",
            short(line),
            fields.len()
        );
    }
    let named = named(fields.len());
    for (place, (name, _)) in named.iter().enumerate() {
        let mut alone = vec!["*"; fields.len()];
        alone[place] = fields[place];
        if let Err(error) = parser.parse(&alone.join(" ")) {
            let reason = error.to_string();
            let reason = reason.rsplit(": ").next().unwrap_or_default().trim_end_matches('.').to_lowercase();
            let range = match *name {
                "second" | "minute" => "0 to 59",
                "hour" => "0 to 23",
                "day of the month" => "1 to 31, or `L` for the last",
                "month" => "1 to 12, or JAN to DEC",
                _ => "0 to 7, or SUN to SAT",
            };
            return format!("has the {name} `{}` ({reason}); it may be {range}", short(fields[place]));
        }
    }
    format!("is `{}`, which is no cron line; `0 7 * * MON-FRI` is one", short(line))
}

fn named(fields: usize) -> Vec<(&'static str, u32)> {
    let second = (fields == 6).then_some(SECOND);
    second.into_iter().chain(FIELDS).collect()
}

/// As much of a line as a message repeats.
fn short(text: &str) -> String {
    const SHOWN_CHARS: usize = 40;
    let shown: String = text.chars().take(SHOWN_CHARS).collect();
    if shown.len() < text.len() { format!("{shown}…") } else { shown }
}

#[cfg(test)]
#[path = "cron_tests.rs"]
mod tests;
