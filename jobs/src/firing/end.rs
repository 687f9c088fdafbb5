//! Ends firings: by how their runs ended, by what kept a run from starting, by the death of their jobs.

use std::time::Duration;

use rules::dag::RunEnd;
use rules::id::{FiringId, RunId};
use rules::queue::Kind;
use sqlx::PgConnection;

use super::FiringState;
use super::store::{self, Attempted};
use crate::Result;
use crate::payload::schedule::ScheduleFire;
use crate::queue::{DeadJob, Enqueued, NewJob, enqueue};

/// The most characters of a result that are kept.
const RESULT_CHARS_MAX: usize = 2_000;

/// Tells the firing of a run how the run ended, in the transaction of its end; nothing where no firing started it. Of
/// one that failed and has attempts left, the next is put into the queue.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn run_ended(
    conn: &mut PgConnection,
    run: RunId,
    end: RunEnd,
    error: Option<&str>,
) -> Result<Vec<Enqueued>> {
    let Some(attempted) = store::of_run(conn, run).await? else { return Ok(Vec::new()) };
    match end {
        RunEnd::Completed => finish(conn, attempted.id, FiringState::Success, None).await,
        RunEnd::Failed => failed(conn, &attempted, error.unwrap_or("the run failed")).await,
        RunEnd::Cancelled if attempted.timed_out => {
            let told = format!("the run took longer than {} seconds and was cancelled", attempted.timeout_s);
            failed(conn, &attempted, &told).await
        }
        RunEnd::Cancelled => {
            finish(conn, attempted.id, FiringState::Cancelled, Some("the run was cancelled")).await
        }
    }
}

/// Ends an attempt of a firing badly: the next is put into the queue if the schedule allows one, or the firing ends.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn failed(conn: &mut PgConnection, attempted: &Attempted, why: &str) -> Result<Vec<Enqueued>> {
    let result = short(why);
    if attempted.attempt > attempted.retries {
        return finish(conn, attempted.id, FiringState::Failure, Some(&result)).await;
    }
    let wait = Duration::from_secs(u64::from(attempted.retry_delay_s.unsigned_abs()));
    let job = NewJob::of(&ScheduleFire { firing_id: attempted.id })?.tenant(attempted.tenant).after(wait);
    let enqueued = enqueue(conn, &[job]).await?;
    store::again(conn, attempted.id, enqueued.first().map(|e| e.id), &result).await?;
    Ok(enqueued)
}

/// Tells a firing that its job died. Jobs of other kinds are none of its business.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn job_died(conn: &mut PgConnection, kind: Kind, dead: &DeadJob) -> Result<()> {
    if kind == Kind::ScheduleFire
        && let Ok(job) = serde_json::from_value::<ScheduleFire>(dead.payload.clone())
    {
        let told = short(&format!("its job died: {}", dead.error));
        drop(finish(conn, job.firing_id, FiringState::Failure, Some(&told)).await?);
    }
    Ok(())
}

async fn finish(
    conn: &mut PgConnection,
    firing: FiringId,
    state: FiringState,
    result: Option<&str>,
) -> Result<Vec<Enqueued>> {
    store::finish(conn, firing, state, result).await?;
    Ok(Vec::new())
}

fn short(text: &str) -> String {
    text.chars().take(RESULT_CHARS_MAX).collect()
}
