//! When a schedule is due: by a cron line, at an interval, or once.

use chrono::{DateTime, SubsecRound, Utc};

use super::HORIZON_DAYS;
use super::cron::CronTimes;

/// When a schedule is due.
#[derive(Debug, Clone)]
pub struct Timing(pub(super) Kind);

#[derive(Debug, Clone)]
pub(super) enum Kind {
    Cron(Box<CronTimes>),
    /// So many seconds apart; one of them, or where they begin, is at the second.
    Every(i64, i64),
    Once(i64),
}

impl Timing {
    /// The first tick after a time; none when there is none, or not for as long as is looked.
    pub fn next_after(&self, time: DateTime<Utc>) -> Option<DateTime<Utc>> {
        // Ticks are whole seconds, so that what is after a fraction is after its second.
        self.next(time.timestamp()).and_then(moment)
    }

    /// The first tick at a time or after it.
    pub fn next_from(&self, time: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let whole = time.trunc_subsecs(0) == time;
        self.next(time.timestamp() - i64::from(whole)).and_then(moment)
    }

    /// The next ticks after a time, so many at most. Those of a cron line are sought for [`HORIZON_DAYS`] in all, so that
    /// many that are rare cost no more than one that never comes.
    pub fn upcoming(&self, time: DateTime<Utc>, count: usize) -> Vec<DateTime<Utc>> {
        let end = time.timestamp().saturating_add(HORIZON_DAYS * 86_400);
        let next = |after: i64| match &self.0 {
            Kind::Cron(cron) => cron.next_until(after, end),
            Kind::Every(..) | Kind::Once(_) => self.next(after),
        };
        std::iter::successors(next(time.timestamp()), |tick| next(*tick))
            .take(count)
            .filter_map(moment)
            .collect()
    }

    /// The last tick before a time, and not before another.
    pub fn last_before(&self, time: DateTime<Utc>, not_before: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let fraction = time.trunc_subsecs(0) != time;
        let (time, least) = (time.timestamp() + i64::from(fraction), not_before.timestamp());
        let found = match &self.0 {
            Kind::Cron(cron) => cron.last_before(time, least),
            Kind::Every(every, from) => {
                Some((time - 1 - from).div_euclid(*every) * every + from).filter(|at| at >= from)
            }
            Kind::Once(at) => (*at < time).then_some(*at),
        };
        found.filter(|at| *at >= least).and_then(moment)
    }

    fn next(&self, after: i64) -> Option<i64> {
        match &self.0 {
            Kind::Cron(cron) => cron.next_after(after),
            Kind::Every(_, from) if after < *from => Some(*from),
            Kind::Every(every, from) => Some((after - from).div_euclid(*every) * every + every + from),
            Kind::Once(at) => (after < *at).then_some(*at),
        }
    }
}

fn moment(second: i64) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp(second, 0)
}
