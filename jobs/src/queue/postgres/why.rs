//! Reads why live jobs wait.

use rules::id::JobId;
use rules::machine::Reach;
use rules::queue::{Delay, Facts, Pool, Standing, State, Why};
use sqlx::PgConnection;

use super::worker::SEEN_WITHIN_S;
use crate::Result;

/// What stands in `job_scheduled.reason`.
const FAILED: i16 = 1;
const PUT_OFF: i16 = 2;

/// Why a live job waits; none when it has ended or does not exist.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn why(conn: &mut PgConnection, id: JobId) -> Result<Option<Why>> {
    Ok(whys(conn, &[id.0]).await?.pop().map(|(_, why)| why))
}

/// Why each of these jobs waits; nothing of those that have ended or do not exist.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn whys(conn: &mut PgConnection, ids: &[i64]) -> Result<Vec<(JobId, Why)>> {
    let rows = sqlx::query!(
        r#"select j.id as "id!", j.pool_id as "pool_id!",
            case when r.job_id is not null then 'READY' when s.job_id is not null then 'SCHEDULED'
                when b.job_id is not null then 'BLOCKED' when l.job_id is not null then 'LEASED' end as state,
            q.paused_at is not null as "paused!", s.run_at as "run_at?", coalesce(s.run_at <= now(), false) as "due!", s.reason as "delay?",
            (select k.head_id from job_key k where k.key = j.order_key) as key_head,
            exists (select from job_worker w where j.pool_id = any(w.pools) and w.seen_at > now() - $2::integer * interval '1 second') as "served!",
            exists (select from job_worker w where j.pool_id = any(w.pools) and j.kind = any(w.kinds) and w.seen_at > now() - $2::integer * interval '1 second') as "known!",
            (select count(*) from (
                select from job_ready x where x.pool_id = r.pool_id and (x.priority, x.pos) < (r.priority, r.pos) limit 10000) y) as "ahead!",
            h.name as "host?", case when j.queue_id = j.pool_id then h.draining_at end as "draining_at?", h.reach as "reach?", h.reach_since as "reach_since?", h.stranger is not null as "stranger!",
            coalesce(e.lease_until > now(), false) as "held!", e.lease_until as "left_at?"
        from job j
        join job_queue q on q.id = j.queue_id
        left join job_ready r on r.job_id = j.id
        left join job_scheduled s on s.job_id = j.id
        left join job_blocked b on b.job_id = j.id
        left join job_lease l on l.job_id = j.id
        left join host h on j.pool_id >= 1000000 and h.no = (j.pool_id - 1000000) / 2
        left join lease e on e.name = 'host:' || h.id::text
        where j.id = any($1)"#,
        ids,
        SEEN_WITHIN_S
    )
    .fetch_all(conn)
    .await?;
    let told = rows.into_iter().filter_map(|row| {
        let host = match (Pool::from_id(row.pool_id), row.host) {
            (Some(Pool::Host(_, class)), Some(host)) => Some(Standing {
                host,
                class,
                draining_at: row.draining_at,
                held: row.held,
                left_at: row.left_at,
                stranger: row.stranger,
                reach: row.reach.as_deref().and_then(Reach::from_name).unwrap_or(Reach::Unreachable),
                reach_since: row.reach_since,
            }),
            _ => None,
        };
        let facts = Facts {
            state: row.state.as_deref().and_then(State::from_name)?,
            queue_paused: row.paused,
            pool_served: row.served,
            kind_known: row.known,
            key_head: row.key_head,
            host,
            run_at: row.run_at,
            due: row.due,
            delay: match row.delay {
                Some(FAILED) => Delay::Failed,
                Some(PUT_OFF) => Delay::PutOff,
                _ => Delay::Asked,
            },
            ahead: row.ahead,
        };
        Some((JobId(row.id), Why::of(&facts)?))
    });
    Ok(told.collect())
}
