//! The numbers that bound schedules.

/// How long after its time a tick is still fired as if in time, in seconds. What is older was missed, and the
/// schedule's catch-up decides. Longer than it takes until another scheduler leads.
pub const GRACE_S: i64 = 60;

/// The most missed ticks that a schedule may make up for.
pub const CATCH_UP_MAX: u32 = 100;

/// The most missed ticks of one turn that are counted; of more it is said that there were more.
pub const COUNTED_MAX: u32 = 1_000;

/// The longest cron line, in bytes.
pub const CRON_BYTES_MAX: usize = 256;

/// The longest name of a time zone, in bytes.
pub const ZONE_BYTES_MAX: usize = 64;

/// How far ahead a tick is sought, in days: 29 February on a given day of the week can be forty years away, where
/// a leap year is left out. What is not due within is never due.
pub const HORIZON_DAYS: i64 = 41 * 366;

/// The shortest interval, in seconds.
pub const INTERVAL_MIN_S: i64 = 1;

/// The longest interval, in seconds: a leap year.
pub const INTERVAL_MAX_S: i64 = 366 * 86_400;

/// The most of the next ticks that a preview tells.
pub const PREVIEW_MAX: usize = 100;

/// The shortest and the longest time that the run of a firing may take, in seconds.
pub const TIMEOUT_S: (i64, i64) = (1, 30 * 86_400);

/// How long the run of a firing may take unless said otherwise, in seconds.
pub const TIMEOUT_DEFAULT_S: i64 = 300;

/// The most further attempts of a firing whose run failed.
pub const RETRIES_MAX: i64 = 20;

/// The shortest and the longest wait before a further attempt, in seconds.
pub const RETRY_DELAY_S: (i64, i64) = (1, 86_400);

/// The wait before a further attempt unless said otherwise, in seconds.
pub const RETRY_DELAY_DEFAULT_S: i64 = 60;

/// The most schedules of one tenant.
pub const SCHEDULES_PER_TENANT_MAX: i64 = 1_000;

/// The longest description, in characters.
pub const DESCRIPTION_CHARS_MAX: usize = 2_000;
