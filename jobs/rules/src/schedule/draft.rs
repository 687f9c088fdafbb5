//! Reads when somebody wants a schedule to be due, and says everything that is wrong with it.

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};

use super::cron::CronTimes;
use super::timing::{Kind, Timing};
use super::zone::zone;
use super::{HORIZON_DAYS, INTERVAL_MAX_S, INTERVAL_MIN_S};

/// The zone of a cron line that names none.
const DEFAULT_ZONE: &str = "UTC";

/// One thing that is wrong with what somebody wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The field, as the API names it.
    pub field: &'static str,
    /// The reason and the remedy.
    pub message: String,
}

impl Fault {
    /// A fault of a field.
    pub fn new(field: &'static str, message: impl Into<String>) -> Self {
        Self { field, message: message.into() }
    }
}

/// What somebody wants, as they said it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Draft<'a> {
    /// A cron line.
    pub cron: Option<&'a str>,
    /// The time zone of its wall clock.
    pub time_zone: Option<&'a str>,
    /// So many seconds apart.
    pub interval_s: Option<i64>,
    /// The only tick, or with an interval the first.
    pub at: Option<DateTime<Utc>>,
}

/// When a schedule is due, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum When {
    /// By a cron line, by the wall clock of a time zone.
    Cron {
        /// The line.
        line: String,
        /// The zone's name.
        zone: String,
    },
    /// So many seconds apart, from a time on.
    Every {
        /// How many.
        seconds: i64,
        /// The first tick.
        from: DateTime<Utc>,
    },
    /// Once.
    Once(DateTime<Utc>),
}

impl When {
    /// Reads a draft at this time. A whole number of seconds is kept of `at`.
    ///
    /// # Errors
    /// All faults at once; one that would never be due is one.
    pub fn read(draft: &Draft<'_>, now: DateTime<Utc>) -> Result<Self, Vec<Fault>> {
        let when = Self::of(draft, now)?;
        when.comes(now)?;
        Ok(when)
    }

    /// Reads a draft of what was due as `before`: an interval that stays goes on from where it began, though its
    /// beginning is not said again, and a time that has passed may stay.
    ///
    /// # Errors
    /// As [`When::read`].
    pub fn reread(draft: &Draft<'_>, now: DateTime<Utc>, before: &Self) -> Result<Self, Vec<Fault>> {
        let mut draft = *draft;
        if let Self::Every { seconds, from } = before
            && draft.interval_s == Some(*seconds)
        {
            draft.at = draft.at.or(Some(*from));
        }
        let when = Self::of(&draft, now)?;
        if when != *before {
            when.comes(now)?;
        }
        Ok(when)
    }

    /// Refuses what is never due after this time.
    ///
    /// # Errors
    /// The field that says so.
    pub fn comes(&self, now: DateTime<Utc>) -> Result<(), Vec<Fault>> {
        let timing = self.timing().map_err(|fault| vec![fault])?;
        timing.next_after(now).map(|_| ()).ok_or_else(|| vec![self.never(now)])
    }

    fn of(draft: &Draft<'_>, now: DateTime<Utc>) -> Result<Self, Vec<Fault>> {
        let mut faults = Vec::new();
        if draft.cron.is_none() && draft.time_zone.is_some() {
            faults.push(Fault::new("timeZone", "is that of a cron line; leave it out, or give `cron`"));
        }
        let at = draft.at.map(|at| at.trunc_subsecs(0));
        if let Some(at) = at.filter(|at| (*at - now).num_days().abs() > HORIZON_DAYS) {
            let most = HORIZON_DAYS / 366;
            faults
                .push(Fault::new("at", format!("is {at}, more than {most} years away; take a nearer time")));
        }
        let when = match (draft.cron, draft.interval_s, at) {
            (Some(line), None, None) => {
                let zone = draft.time_zone.unwrap_or(DEFAULT_ZONE).to_owned();
                Some(Self::Cron { line: line.trim().to_owned(), zone })
            }
            (None, Some(seconds), from) => {
                match bound("intervalSeconds", seconds, (INTERVAL_MIN_S, INTERVAL_MAX_S)) {
                    Ok(_) => {
                        let from = from.unwrap_or_else(|| now.trunc_subsecs(0) + TimeDelta::seconds(seconds));
                        Some(Self::Every { seconds, from })
                    }
                    Err(fault) => {
                        faults.push(fault);
                        None
                    }
                }
            }
            (None, None, Some(at)) => Some(Self::Once(at)),
            (None, None, None) => {
                faults.push(Fault::new(
                    "cron",
                    "is not given, nor `intervalSeconds` or `at`; give one of them",
                ));
                None
            }
            (Some(_), _, _) => {
                let other = if draft.interval_s.is_some() { "intervalSeconds" } else { "at" };
                faults.push(Fault::new(
                    other,
                    "is given beside `cron`; a schedule has one of them, take the other away",
                ));
                None
            }
        };
        when.filter(|_| faults.is_empty()).ok_or(faults)
    }

    /// When the ticks are.
    ///
    /// # Errors
    /// What is wrong with the line or the zone.
    pub fn timing(&self) -> Result<Timing, Fault> {
        Ok(Timing(match self {
            Self::Cron { line, zone: name } => {
                let zone = zone(name).map_err(|told| Fault::new("timeZone", told))?;
                let times = CronTimes::read(line, zone).map_err(|told| Fault::new("cron", told))?;
                Kind::Cron(Box::new(times))
            }
            Self::Every { seconds, from } => Kind::Every((*seconds).max(INTERVAL_MIN_S), from.timestamp()),
            Self::Once(at) => Kind::Once(at.timestamp()),
        }))
    }

    /// Why it is never due.
    fn never(&self, now: DateTime<Utc>) -> Fault {
        match self {
            Self::Cron { line, .. } => Fault::new(
                "cron",
                format!(
                    "is `{line}`, which never comes true; no day of any month is such a day, name another"
                ),
            ),
            Self::Every { .. } | Self::Once(_) => Fault::new(
                "at",
                format!("is in the past, for it is {} now; take a time to come", now.trunc_subsecs(0)),
            ),
        }
    }
}

/// Holds a number to its bounds.
///
/// # Errors
/// A fault of the field that tells both.
pub fn bound(field: &'static str, value: i64, (least, most): (i64, i64)) -> Result<i64, Fault> {
    if (least..=most).contains(&value) {
        Ok(value)
    } else {
        Err(Fault::new(field, format!("is {value}; it must lie between {least} and {most}")))
    }
}

#[cfg(test)]
#[path = "draft_tests.rs"]
mod tests;
