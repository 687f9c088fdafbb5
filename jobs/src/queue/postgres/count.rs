//! Counts for the whole installation. They read every live entry: for the scheduler's leader, operators
//! and pages, never for the hot path.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::worker::SEEN_WITHIN_S;
use crate::Result;

/// What stands in one queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueDepth {
    /// Its row.
    pub id: i32,
    /// Its name.
    pub name: String,
    /// Its pool's name.
    pub pool: String,
    /// Since when it is paused.
    pub paused_at: Option<DateTime<Utc>>,
    /// Who paused it.
    pub paused_by: Option<String>,
    /// May be claimed now.
    pub ready: i64,
    /// Wait for a time.
    pub scheduled: i64,
    /// Wait behind their order key.
    pub blocked: i64,
    /// Are held by workers.
    pub leased: i64,
    /// Are dead letters.
    pub dead: i64,
    /// Since when the oldest ready one may be claimed.
    pub oldest_ready_at: Option<DateTime<Utc>>,
    /// Workers seen within [`SEEN_WITHIN_S`] that serve its pool: one that was killed counts until then.
    pub workers: i64,
    /// For how many seconds the longest silent of these gave no sign of life; more than ten say that it may be gone.
    pub silent_s: Option<i64>,
}

/// Every queue with its depth, by name.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn queues(conn: &mut PgConnection) -> Result<Vec<QueueDepth>> {
    let rows = sqlx::query_as!(
        QueueDepth,
        r#"select q.id, q.name, p.name as pool, q.paused_at, q.paused_by,
            coalesce(r.n, 0) as "ready!", coalesce(s.n, 0) as "scheduled!", coalesce(b.n, 0) as "blocked!",
            coalesce(l.n, 0) as "leased!", coalesce(d.n, 0) as "dead!", r.oldest as oldest_ready_at,
            coalesce(w.n, 0) as "workers!", w.silent_s
        from job_queue q
        join job_pool p on p.id = q.pool_id
        left join (select queue_id, count(*) as n, min(ready_at) as oldest from job_ready group by queue_id) r on r.queue_id = q.id
        left join lateral (
            select count(*) as n, extract(epoch from now() - min(x.seen_at))::bigint as silent_s from job_worker x
            where q.pool_id = any(x.pools) and x.seen_at > now() - $1::integer * interval '1 second') w on true
        left join (select queue_id, count(*) as n from job_scheduled group by queue_id) s on s.queue_id = q.id
        left join (select queue_id, count(*) as n from job_blocked group by queue_id) b on b.queue_id = q.id
        left join (select queue_id, count(*) as n from job_lease group by queue_id) l on l.queue_id = q.id
        left join (select queue_id, count(*) as n from job_dead group by queue_id) d on d.queue_id = q.id
        -- Those of hosts that are removed are kept for what names them.
        where not exists (select from host h where h.removed_at is not null and q.pool_id in (1000000 + 2 * h.no, 1000001 + 2 * h.no))
        order by q.name"#,
        SEEN_WITHIN_S
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}

/// Jobs that no worker of their pool knows, by kind. A pool without any worker is told of as such, not here.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn unknown_kinds(conn: &mut PgConnection) -> Result<Vec<(String, i64)>> {
    let rows = sqlx::query!(
        r#"select r.kind, count(*) as "count!" from job_ready r
        where exists (select from job_worker w where r.pool_id = any(w.pools) and w.seen_at > now() - $1::integer * interval '1 second')
        and not exists (select from job_worker w where r.kind = any(w.kinds) and r.pool_id = any(w.pools) and w.seen_at > now() - $1::integer * interval '1 second')
        group by r.kind"#,
        SEEN_WITHIN_S
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|r| (r.kind, r.count)).collect())
}

/// When the oldest dead letter died.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn oldest_dead_at(conn: &mut PgConnection) -> Result<Option<DateTime<Utc>>> {
    let died_at = sqlx::query_scalar!("select min(died_at) from job_dead").fetch_one(conn).await?;
    Ok(died_at)
}

/// When the longest silent worker of each pool gave its last sign of life. A worker that died stays entered
/// for a while.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn last_heartbeats(conn: &mut PgConnection) -> Result<Vec<(String, DateTime<Utc>)>> {
    let rows = sqlx::query!(
        r#"select p.name, min(w.seen_at) as "seen_at!" from job_worker w join job_pool p on p.id = any(w.pools) group by p.name"#
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (row.name, row.seen_at)).collect())
}
