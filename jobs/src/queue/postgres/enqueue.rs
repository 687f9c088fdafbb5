//! Puts jobs in the queue, in the caller's transaction, one or many.

use rules::id::JobId;
use sqlx::{PgConnection, PgPool};

use super::copy;
use crate::crash::{self, Point};
use crate::db::begin;
use crate::queue::Enqueued;
use crate::queue::new_job::{Due, NewJob};
use crate::{Error, Result};

/// The most jobs in one call.
pub const MAX_BATCH: usize = 10_000;

/// From how many plain jobs on a copy pays for its further round trips.
const COPY_FROM: usize = 100;

/// Puts jobs in the queue, or finds those already there under the same uniqueness keys. Takes the
/// caller's connection, so that a job exists if and only if its cause does. The answer is in the order
/// of the jobs; pass it to [`Wake::send`](crate::queue::Wake::send) after the commit.
///
/// All or none of them come to be. A single job without keys or a time is one plain statement; the rest goes
/// through one function. Many that need no transaction of the caller's are put in faster by [`enqueue_all`].
///
/// # Errors
/// Invalid for a key or batch beyond its bound, Unavailable when nobody answers.
pub async fn enqueue(conn: &mut PgConnection, jobs: &[NewJob]) -> Result<Vec<Enqueued>> {
    check(jobs)?;
    crash::at(Point::EnqueueAsking);
    let enqueued = match jobs {
        [] => Vec::new(),
        [job] if job.is_plain() => vec![new(one(conn, job).await?, job)],
        any => of_any_sort(conn, any).await?,
    };
    crash::at(Point::EnqueueWritten);
    Ok(enqueued)
}

/// Puts many jobs in the queue in a transaction of their own, all or none: plain ones by COPY, where the role may
/// copy into tables that have row policies. What it does
/// goes to its end even if the caller does not wait for it: a copy that is dropped half-way leaves its
/// connection out of step with the server, and its next user would read another's answer.
///
/// # Errors
/// As [`enqueue`]; when the commit's answer is lost, the jobs may be there all the same.
pub async fn enqueue_all(db: &PgPool, jobs: Vec<NewJob>) -> Result<Vec<Enqueued>> {
    check(&jobs)?;
    let db = db.clone();
    let putting = tokio::spawn(async move {
        let mut tx = begin(&db).await?;
        crash::at(Point::EnqueueBegun);
        let copied = if jobs.len() >= COPY_FROM && jobs.iter().all(NewJob::is_plain) {
            copy::into(&mut tx, &jobs).await?
        } else {
            None
        };
        let enqueued = match copied {
            Some(ids) => ids.into_iter().zip(&jobs).map(|(id, job)| new(id, job)).collect(),
            None => enqueue(&mut tx, &jobs).await?,
        };
        tx.commit().await?;
        crash::at(Point::EnqueueCommitted);
        Ok(enqueued)
    });
    putting.await.map_err(Error::internal)?
}

fn check(jobs: &[NewJob]) -> Result<()> {
    if jobs.len() > MAX_BATCH {
        return Err(Error::invalid(format!(
            "{} jobs in one call; at most {MAX_BATCH} are taken",
            jobs.len()
        )));
    }
    let now = chrono::Utc::now();
    jobs.iter().try_for_each(|job| job.check(now))
}

fn new(id: i64, job: &NewJob) -> Enqueued {
    Enqueued { id: JobId(id), existing: false, pool: job.queue.pool_id }
}

/// One job without keys, due now: both of its rows in one statement.
async fn one(conn: &mut PgConnection, job: &NewJob) -> Result<i64> {
    let row = sqlx::query!(
        r#"with j as (
            insert into job (pool_id, queue_id, priority, max_attempts, kind, tenant_id, trace_parent, payload)
            values ($1, $2, $3, $4, $5, $6, $7, $8::text::jsonb) returning id
        )
        insert into job_ready (job_id, pool_id, queue_id, priority, attempt, crashes, kind)
        select id, $1, $2, $3, 0, 0, $5 from j returning job_id"#,
        job.queue.pool_id,
        job.queue.id,
        job.priority as i16,
        i16::try_from(job.max_attempts).unwrap_or(i16::MAX),
        job.kind.as_str(),
        job.tenant.map(|t| t.0),
        job.trace_parent,
        job.payload,
    )
    .fetch_one(conn)
    .await?;
    Ok(row.job_id)
}

/// Jobs with keys and times, or some of them.
async fn of_any_sort(conn: &mut PgConnection, jobs: &[NewJob]) -> Result<Vec<Enqueued>> {
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
    Ok(row
        .ids
        .into_iter()
        .zip(row.existing)
        .zip(jobs)
        .map(|((id, existing), job)| Enqueued { id: JobId(id), existing, pool: job.queue.pool_id })
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
