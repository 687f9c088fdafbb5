//! Puts jobs in the queue, in the caller's transaction, one or many.

use rules::id::JobId;
use sqlx::PgConnection;

use crate::queue::Enqueued;
use crate::queue::new_job::{Due, NewJob};
use crate::{Error, Result};

/// The most jobs in one call.
pub const MAX_BATCH: usize = 10_000;

/// Puts jobs in the queue, or finds those already there under the same uniqueness keys. Takes the
/// caller's connection, so that a job exists if and only if its cause does. The answer is in the order
/// of the jobs; pass it to [`Wake::send`](crate::queue::Wake::send) after the commit.
///
/// # Errors
/// Invalid for a key or batch beyond its bound, Unavailable when nobody answers.
pub async fn enqueue(conn: &mut PgConnection, jobs: &[NewJob]) -> Result<Vec<Enqueued>> {
    if jobs.is_empty() {
        return Ok(Vec::new());
    }
    if jobs.len() > MAX_BATCH {
        return Err(Error::invalid(format!(
            "{} jobs in one call; at most {MAX_BATCH} are taken",
            jobs.len()
        )));
    }
    jobs.iter().try_for_each(NewJob::check)?;
    let columns = Columns::of(jobs);
    let row = sqlx::query!(
        r#"select ids as "ids!", existing as "existing!" from job_enqueue_v1($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)"#,
        &columns.queues,
        &columns.pools,
        &columns.kinds as &[&str],
        &columns.priorities,
        &columns.tenants as &[Option<uuid::Uuid>],
        &columns.delays_ms as &[Option<i64>],
        &columns.run_ats as &[Option<chrono::DateTime<chrono::Utc>>],
        &columns.max_attempts,
        &columns.order_keys as &[Option<String>],
        &columns.unique_keys as &[Option<String>],
        &columns.keeps_ms as &[Option<i64>],
        &columns.traces as &[Option<&str>],
        &columns.payloads as &[&str],
    )
    .fetch_one(conn)
    .await?;
    let pools = jobs.iter().map(|j| j.queue.pool_id);
    Ok(row
        .ids
        .into_iter()
        .zip(row.existing)
        .zip(pools)
        .map(|((id, existing), pool)| Enqueued { id: JobId(id), existing, pool })
        .collect())
}

/// The jobs as the parallel arrays that the statement takes.
#[derive(Default)]
struct Columns<'a> {
    queues: Vec<i32>,
    pools: Vec<i32>,
    kinds: Vec<&'a str>,
    priorities: Vec<i16>,
    tenants: Vec<Option<uuid::Uuid>>,
    delays_ms: Vec<Option<i64>>,
    run_ats: Vec<Option<chrono::DateTime<chrono::Utc>>>,
    max_attempts: Vec<i16>,
    order_keys: Vec<Option<String>>,
    unique_keys: Vec<Option<String>>,
    keeps_ms: Vec<Option<i64>>,
    traces: Vec<Option<&'a str>>,
    payloads: Vec<&'a str>,
}

impl<'a> Columns<'a> {
    fn of(jobs: &'a [NewJob]) -> Self {
        let mut columns = Self::default();
        for job in jobs {
            columns.queues.push(job.queue.id);
            columns.pools.push(job.queue.pool_id);
            columns.kinds.push(job.kind.as_str());
            columns.priorities.push(job.priority as i16);
            columns.tenants.push(job.tenant.map(|t| t.0));
            let (delay, run_at) = match job.due {
                Due::Now => (None, None),
                Due::After(delay) => (Some(whole_ms(delay)), None),
                Due::At(time) => (None, Some(time)),
            };
            columns.delays_ms.push(delay);
            columns.run_ats.push(run_at);
            columns.max_attempts.push(i16::try_from(job.max_attempts).unwrap_or(i16::MAX));
            columns.order_keys.push(job.stored_order_key());
            columns.unique_keys.push(job.stored_unique_key());
            columns.keeps_ms.push(job.unique.as_ref().and_then(|(_, keep)| *keep).map(whole_ms));
            columns.traces.push(job.trace_parent.as_deref());
            columns.payloads.push(&job.payload);
        }
        columns
    }
}

pub(super) fn whole_ms(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
