//! The scheduler's settings.

use std::time::Duration;

use jobs::config::Reader;

/// For how many days finished jobs are kept, unless configured otherwise.
pub const HISTORY_KEEP_DAYS: i32 = 14;

/// For how many days runs that ended are kept with their logs, unless configured otherwise.
pub const RUN_KEEP_DAYS: i32 = 30;

/// For how many days notices that came to their end are kept, unless configured otherwise. A delivery
/// sent again is known for so long; senders give up within days.
pub const NOTICE_KEEP_DAYS: i32 = 30;

/// For how many days operations on machines that ended are kept, unless configured otherwise: what was done
/// to a machine is asked for long after.
pub const OPERATION_KEEP_DAYS: i32 = 90;

/// For how many days dead letters are kept, unless configured otherwise: long enough for somebody to come
/// back from a long absence, mend the cause and redrive them.
pub const DEAD_LETTER_KEEP_DAYS: i32 = 90;

/// For how many days what checks of machines found is kept, unless configured otherwise.
pub const HEALTH_KEEP_DAYS: i32 = 7;

/// For how many days firings of schedules that ended are kept, unless configured otherwise: as long as the runs that
/// they started.
pub const FIRING_KEEP_DAYS: i32 = 30;
/// For how many hours events are kept for those who connect again, unless configured otherwise: a night, and the
/// morning after.
pub const EVENT_KEEP_HOURS: i32 = 24;

/// For how many days ahead the history has partitions, unless configured otherwise: without any scheduler
/// for so long, finished jobs still find their day.
pub const HISTORY_AHEAD_DAYS: i32 = 14;

/// For how many whole months audit entries are kept, unless configured otherwise.
pub const AUDIT_KEEP_MONTHS: i32 = 12;

/// How long the lease of a leader that died keeps the others waiting, in seconds, unless configured
/// otherwise.
pub const LEASE_S: u64 = 15;

/// How the scheduler works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchedulerConfig {
    /// For how many whole days finished jobs are kept.
    pub history_keep_days: i32,
    /// For how many days runs that ended are kept.
    pub run_keep_days: i32,
    /// For how many days notices that came to their end are kept.
    pub notice_keep_days: i32,
    /// For how many days operations on machines that ended are kept.
    pub operation_keep_days: i32,
    /// For how many days dead letters are kept, and the notices that they need.
    pub dead_letter_keep_days: i32,
    /// For how many days what checks of machines found is kept.
    pub health_keep_days: i32,
    /// For how many days firings of schedules that ended are kept.
    pub firing_keep_days: i32,
    /// For how many hours events are kept for those who connect again.
    pub event_keep_hours: i32,
    /// For how many days ahead partitions are made; 7 at least.
    pub history_ahead_days: i32,
    /// For how many whole months audit entries are kept.
    pub audit_keep_months: i32,
    /// How long a lease lasts unless renewed. It is renewed at a third of this.
    pub lease: Duration,
}

impl Default for SchedulerConfig {
    fn default() -> Self {
        Self {
            history_keep_days: HISTORY_KEEP_DAYS,
            run_keep_days: RUN_KEEP_DAYS,
            notice_keep_days: NOTICE_KEEP_DAYS,
            operation_keep_days: OPERATION_KEEP_DAYS,
            dead_letter_keep_days: DEAD_LETTER_KEEP_DAYS,
            health_keep_days: HEALTH_KEEP_DAYS,
            firing_keep_days: FIRING_KEEP_DAYS,
            event_keep_hours: EVENT_KEEP_HOURS,
            history_ahead_days: HISTORY_AHEAD_DAYS,
            audit_keep_months: AUDIT_KEEP_MONTHS,
            lease: Duration::from_secs(LEASE_S),
        }
    }
}

impl SchedulerConfig {
    /// Reads `HISTORY_KEEP_DAYS`, `RUN_KEEP_DAYS`, `NOTICE_KEEP_DAYS`, `OPERATION_KEEP_DAYS`,
    /// `DEAD_LETTER_KEEP_DAYS`, `HEALTH_KEEP_DAYS`, `FIRING_KEEP_DAYS`, `EVENT_KEEP_HOURS`,
    /// `HISTORY_AHEAD_DAYS`, `AUDIT_KEEP_MONTHS` and `SCHEDULER_LEASE_S`.
    pub fn read(reader: &mut Reader<'_>) -> Self {
        Self {
            history_keep_days: reader.number("HISTORY_KEEP_DAYS", HISTORY_KEEP_DAYS, 1..=3650),
            run_keep_days: reader.number("RUN_KEEP_DAYS", RUN_KEEP_DAYS, 1..=3650),
            notice_keep_days: reader.number("NOTICE_KEEP_DAYS", NOTICE_KEEP_DAYS, 1..=3650),
            operation_keep_days: reader.number("OPERATION_KEEP_DAYS", OPERATION_KEEP_DAYS, 1..=3650),
            dead_letter_keep_days: reader.number("DEAD_LETTER_KEEP_DAYS", DEAD_LETTER_KEEP_DAYS, 1..=3650),
            health_keep_days: reader.number("HEALTH_KEEP_DAYS", HEALTH_KEEP_DAYS, 1..=3650),
            firing_keep_days: reader.number("FIRING_KEEP_DAYS", FIRING_KEEP_DAYS, 1..=3650),
            event_keep_hours: reader.number("EVENT_KEEP_HOURS", EVENT_KEEP_HOURS, 1..=720),
            history_ahead_days: reader.number("HISTORY_AHEAD_DAYS", HISTORY_AHEAD_DAYS, 7..=60),
            audit_keep_months: reader.number("AUDIT_KEEP_MONTHS", AUDIT_KEEP_MONTHS, 1..=240),
            lease: reader.seconds("SCHEDULER_LEASE_S", LEASE_S, 3..=300),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_within_their_ranges() {
        let mut reader = Reader::new(&|_| None);
        assert_eq!(SchedulerConfig::read(&mut reader), SchedulerConfig::default());
        assert!(reader.finish().is_ok());
    }

    #[test]
    fn fewer_than_seven_days_ahead_are_refused() {
        let look_up = |name: &str| (name == "HISTORY_AHEAD_DAYS").then(|| "6".to_owned());
        let mut reader = Reader::new(&look_up);
        SchedulerConfig::read(&mut reader);
        assert!(reader.finish().unwrap_err().to_string().contains("`HISTORY_AHEAD_DAYS` is `6`"));
    }
}
