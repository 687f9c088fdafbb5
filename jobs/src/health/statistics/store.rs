//! Counts checks where there are few of them: by queues, leases and the ends of indices, never by what was found.

use chrono::{DateTime, Utc};
use rules::queue::Kind;
use sqlx::PgConnection;

use crate::Result;
use crate::lease::SCHEDULER;

/// How the checks of the whole installation are getting on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statistics {
    /// Hosts, each of which has a queue for its checks.
    pub hosts: i64,
    /// Hosts whose queue holds a check, or of which one is being made.
    pub hosts_at_work: i64,
    /// Checks that are being made.
    pub running: i64,
    /// Checks that wait for their turn.
    pub pending: i64,
    /// Checks that were put off for moments, or failed and are tried again.
    pub put_off: i64,
    /// Findings kept since midnight UTC: the span of their numbers, which is too large by those that were undone.
    pub found_today: i64,
    /// Checks that died since midnight UTC.
    pub died_today: i64,
    /// Machines that are checked by themselves: the parked ones are not among them.
    pub machines: i64,
    /// When a check found something last.
    pub last_at: Option<DateTime<Utc>>,
    /// When the next is put into its queue; a time that has passed is now.
    pub next_at: Option<DateTime<Utc>>,
    /// Whether a scheduler leads, which puts checks into their queues.
    pub scheduled: bool,
    /// Whether any host is served by a worker, which makes them.
    pub served: bool,
}

/// How the checks of the whole installation are getting on. Whoever asks sees all tenants.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn statistics(conn: &mut PgConnection) -> Result<Statistics> {
    let row = sqlx::query_as!(
        Statistics,
        r#"with today as (select date_trunc('day', now() at time zone 'utc') at time zone 'utc' as begins),
        waiting as materialized (select pool_id from job_ready where pool_id >= 1000000 and kind = $1),
        leased as materialized (select pool_id from job_lease where kind = $1)
        select
            (select count(*) from host where removed_at is null) as "hosts!",
            (select count(*) from (select pool_id from waiting union select pool_id from leased) x) as "hosts_at_work!",
            (select count(*) from leased) as "running!",
            (select count(*) from waiting) as "pending!",
            -- They come back within seconds: nothing further ahead need be looked at.
            (select count(*) from job_scheduled where run_at < now() + interval '1 minute' and kind = $1) as "put_off!",
            coalesce((select max(id) from health_result)
                - (select id from health_result where at >= (select begins from today) order by at limit 1) + 1, 0) as "found_today!",
            (select count(*) from job_dead where died_at >= (select begins from today) and kind = $1) as "died_today!",
            (select count(*) from machine_health where status <> 'PARKED') as "machines!",
            (select max(at) from health_result) as last_at,
            (select nullif(min(due_at), 'infinity') from health_check where enabled) as next_at,
            exists (select from lease where name = $2 and lease_until > now()) as "scheduled!",
            exists (select from lease where name like 'host:%' and lease_until > now()) as "served!""#,
        Kind::HealthCheck.as_str(),
        SCHEDULER
    )
    .fetch_one(conn)
    .await?;
    Ok(row)
}
