//! What operators and users do to jobs and queues: cancel, pause, resume, retry, redrive.

use chrono::{DateTime, SecondsFormat, Utc};
use rules::id::JobId;
use rules::nearest;
use rules::queue::Kind;
use sqlx::PgConnection;

use crate::crash::{self, Point};
use crate::{Error, Listing, Result};

/// What a cancellation came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cancel {
    /// It waited and is cancelled. The pools were given work by it, when it was the head of a key.
    Cancelled(Vec<i32>),
    /// It runs; its handler is told at the next renewal. Give [`Hint::Cancelled`](super::super::wake::Hint)
    /// after the commit to make that now.
    Cancelling,
    /// It has ended before.
    Ended,
}

/// Cancels a job on somebody's wish, waiting or running.
///
/// # Errors
/// NotFound for an unknown job; Conflict for a kind that somebody waits for; Unavailable when nobody
/// answers.
pub async fn cancel(conn: &mut PgConnection, id: JobId) -> Result<Cancel> {
    let kind = live_kind(conn, id).await?.and_then(|kind| kind.parse::<Kind>().ok());
    if let Some((kind, instead)) = kind.and_then(|k| Some((k, k.instead_of_cancelling()?))) {
        return Err(Error::conflict(format!(
            "job {id} is a `{kind}`, which somebody waits for; {instead} instead"
        )));
    }
    end(conn, id).await?.ok_or_else(|| unknown(id))
}

/// Cancels a job of whatever kind: for whoever waits for it and has stopped waiting. One that nobody knows
/// any more has ended: the history keeps it for some days only.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn withdraw(conn: &mut PgConnection, id: JobId) -> Result<Cancel> {
    Ok(end(conn, id).await?.unwrap_or(Cancel::Ended))
}

/// Cancels a job; none when it is unknown. Where a job is stands outside the wall between tenants, and what it
/// is behind it: one that this caller does not see must not be taken from its place and then be nowhere.
async fn end(conn: &mut PgConnection, id: JobId) -> Result<Option<Cancel>> {
    if live_kind(conn, id).await?.is_none() {
        return Ok(has_ended(conn, id).await?.then_some(Cancel::Ended));
    }
    let row = sqlx::query!(r#"select became as "became!", woken as "woken!" from job_cancel_v1($1)"#, id.0)
        .fetch_one(conn)
        .await?;
    Ok(match row.became.as_str() {
        "cancelled" => Some(Cancel::Cancelled(row.woken)),
        "cancelling" => Some(Cancel::Cancelling),
        "ended" => Some(Cancel::Ended),
        _ => None,
    })
}

async fn has_ended(conn: &mut PgConnection, id: JobId) -> Result<bool> {
    let row = sqlx::query!(
        r#"select exists (select from job_history where job_id = $1) or exists (select from job_dead where job_id = $1) as "ended!""#,
        id.0
    )
    .fetch_one(conn)
    .await?;
    Ok(row.ended)
}

async fn live_kind(conn: &mut PgConnection, id: JobId) -> Result<Option<String>> {
    let row = sqlx::query!("select kind from job where id = $1", id.0).fetch_optional(conn).await?;
    Ok(row.map(|r| r.kind))
}

/// The kind and the payload of a job that has not ended; none of any other.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn live(conn: &mut PgConnection, id: JobId) -> Result<Option<(String, serde_json::Value)>> {
    let row = sqlx::query!("select kind, payload from job where id = $1", id.0).fetch_optional(conn).await?;
    Ok(row.map(|r| (r.kind, r.payload)))
}

/// Pauses a queue: what runs goes on, nothing more is claimed. Pausing again changes nothing.
///
/// # Errors
/// NotFound for an unknown queue.
pub async fn pause(conn: &mut PgConnection, queue: &str, by: &str) -> Result<()> {
    let done = sqlx::query!(
        "update job_queue set paused_at = coalesce(paused_at, now()), paused_by = coalesce(paused_by, $2) where name = $1",
        queue,
        by
    )
    .execute(&mut *conn)
    .await?;
    if done.rows_affected() == 1 { Ok(()) } else { Err(unknown_queue(conn, queue).await?) }
}

/// Resumes a queue. Give [`Hint::Resumed`](super::super::wake::Hint) after the commit.
///
/// # Errors
/// NotFound for an unknown queue.
pub async fn resume(conn: &mut PgConnection, queue: &str) -> Result<()> {
    let done = sqlx::query!("update job_queue set paused_at = null, paused_by = null where name = $1", queue)
        .execute(&mut *conn)
        .await?;
    if done.rows_affected() == 1 { Ok(()) } else { Err(unknown_queue(conn, queue).await?) }
}

/// Gives a dead job `attempts` more attempts under its own id; its history stays with it. Returns the
/// pools to wake after the commit.
///
/// # Errors
/// NotFound when it is not among the dead, Conflict when another job holds its uniqueness key, live or by the time for
/// which the key is kept, or when its death ended what it was for.
pub async fn redrive(conn: &mut PgConnection, id: JobId, attempts: u16) -> Result<Vec<i32>> {
    let kind = sqlx::query_scalar!("select kind from job_dead where job_id = $1", id.0)
        .fetch_optional(&mut *conn)
        .await?;
    if let Some(instead) = kind.and_then(|kind| kind.parse::<Kind>().ok()?.instead_of_redriving()) {
        return Err(Error::conflict(format!(
            "job {id} cannot be redriven: {instead}, and discard this dead letter"
        )));
    }
    crash::at(Point::RedriveLooked);
    let attempts = i16::try_from(attempts.max(1)).unwrap_or(i16::MAX);
    let row = sqlx::query!(
        r#"select became as "became!", woken as "woken!" from job_redrive_v2($1, $2)"#,
        id.0,
        attempts
    )
    .fetch_one(conn)
    .await?;
    crash::at(Point::RedriveWritten);
    match row.became.as_str() {
        "redriven" => Ok(row.woken),
        "unique_taken" => Err(Error::conflict(format!(
            "job {id} cannot be redriven: another job holds its uniqueness key; wait until that one has ended and the \
             key is no longer kept for it, or discard this dead letter"
        ))),
        _ => Err(Error::not_found(format!("job {id} is not among the dead letters"))
            .listed_in(Listing::DeadLetters)),
    }
}

/// Decides that a dead job is not to be done: it leaves the dead letters and stands in the history as cancelled, with
/// every attempt.
///
/// # Errors
/// NotFound when it is not among the dead.
pub async fn discard(conn: &mut PgConnection, id: JobId) -> Result<()> {
    if discard_all(conn, &[id.0]).await? == 1 {
        return Ok(());
    }
    Err(Error::not_found(format!("job {id} is not among the dead letters")).listed_in(Listing::DeadLetters))
}

/// The same for those of these that are dead letters; tells how many were.
///
/// # Errors
/// Unavailable when nobody answers.
pub(crate) async fn discard_all(conn: &mut PgConnection, ids: &[i64]) -> Result<u64> {
    let done = sqlx::query!(
        "with gone as (delete from job_dead where job_id = any($1) returning *)
        insert into job_history (job_id, created_at, run_ms, queue_id, priority, attempt, crashes, outcome, kind,
            tenant_id, trace_parent, payload, attempts)
        select job_id, created_at, 0, queue_id, priority, attempt, crashes, 4, kind, tenant_id, trace_parent, payload,
            attempts from gone",
        ids
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected())
}

/// Makes a job due now that waits for its next attempt, or was put off by its handler. Returns the pools to wake
/// after the commit.
///
/// # Errors
/// Conflict when it waits for no time, or for one that whoever enqueued it has set: a delay that is cut short is
/// not the delay that a workflow says.
pub async fn hasten(conn: &mut PgConnection, id: JobId) -> Result<Vec<i32>> {
    if let Some(delayed) = delayed(conn, id).await? {
        return Err(Error::conflict(format!(
            "job {id} is a `{}` that is not to begin before {}, as whoever enqueued it says, and not one that waits for \
             its next attempt; let its time come, or {} instead",
            delayed.kind,
            delayed.until.to_rfc3339_opts(SecondsFormat::Secs, true),
            delayed.kind.parse::<Kind>().ok().and_then(Kind::instead_of_cancelling).unwrap_or("cancel it"),
        )));
    }
    let row =
        sqlx::query!(r#"select found_it as "found_it!", woken as "woken!" from job_hasten_v1($1)"#, id.0)
            .fetch_one(&mut *conn)
            .await?;
    if row.found_it {
        return Ok(row.woken);
    }
    let state = super::look::job(conn, id, None).await?.state.to_lowercase();
    Err(Error::conflict(format!(
        "job {id} is {state}; only one that waits for its next attempt, or a dead letter, can be tried again now"
    )))
}

/// Tells of delayed jobs that they are further attempts of what failed, whose attempts are counted elsewhere.
///
/// # Errors
/// Unavailable when nobody answers.
pub(crate) async fn mark_retries(conn: &mut PgConnection, ids: &[i64]) -> Result<()> {
    sqlx::query!("update job_scheduled set reason = 1 where job_id = any($1)", ids).execute(conn).await?;
    Ok(())
}

/// A job that its maker wants to begin later.
struct Delayed {
    kind: String,
    until: DateTime<Utc>,
}

/// The job, if it waits for the time that was set when it was enqueued. Locked, so that it stays so.
async fn delayed(conn: &mut PgConnection, id: JobId) -> Result<Option<Delayed>> {
    let delayed = sqlx::query_as!(
        Delayed,
        "select kind, run_at as until from job_scheduled where job_id = $1 and reason = 0 for update",
        id.0
    )
    .fetch_optional(conn)
    .await?;
    Ok(delayed)
}

fn unknown(id: JobId) -> Error {
    Error::not_found(format!("there is no job {id}")).listed_in(Listing::Jobs)
}

/// What is said of a queue that does not exist: a pool's name is taken for one most often.
async fn unknown_queue(conn: &mut PgConnection, queue: &str) -> Result<Error> {
    let known = sqlx::query!(
        "select q.name, p.name as pool from job_queue q join job_pool p on p.id = q.pool_id order by q.name"
    )
    .fetch_all(conn)
    .await?;
    let told = match known.iter().find(|k| k.pool == queue) {
        Some(own) => format!("`{queue}` is a pool, and `{}` is the queue of it", own.name),
        None => {
            let names: Vec<&str> = known.iter().map(|k| k.name.as_str()).collect();
            nearest::instead(queue, &names, "there is none")
        }
    };
    Ok(Error::not_found(format!("there is no queue `{queue}`; {told}")).listed_in(Listing::Queues))
}
