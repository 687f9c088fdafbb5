//! Sees to firings whose runs take longer than their schedules allow, to those whose end was not told, and to those that
//! wait for jobs which are gone.

use rules::dag::{RunEnd, Status};
use rules::id::{FiringId, RunId, TenantId};
use sqlx::PgConnection;

use crate::dag::start::cancel;
use crate::firing::late::store::{self as late, Overdue};
use crate::firing::store as firings;
use crate::firing::{self, FiringState};
use crate::queue::Enqueued;
use crate::{Code, Result};

/// The most firings that one transaction sees to.
pub const OVERDUE_BATCH: i64 = 100;

/// Cancels runs that took too long; of those that have ended, as a worker of an older version ends them without a word
/// to the firing, and of those that are gone, the firing ends. Answers how many there were, and the jobs.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn see_to_overdue(conn: &mut PgConnection) -> Result<(usize, Vec<Enqueued>)> {
    let overdue = late::overdue(conn, OVERDUE_BATCH).await?;
    let mut enqueued = Vec::new();
    for one in &overdue {
        enqueued.extend(see_to(conn, one).await?);
    }
    Ok((overdue.len(), enqueued))
}

/// Ends firings that wait for a job which is gone: it was cancelled, or died with nobody telling them. Answers how many
/// were looked at.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn see_to_waiting(conn: &mut PgConnection) -> Result<usize> {
    let held = late::waiting(conn, OVERDUE_BATCH).await?;
    for jobless in late::jobless(conn, &held).await? {
        let told = if jobless.dead {
            "its job died; redrive it, or fire the schedule anew"
        } else {
            "its job is gone, as one that was cancelled is; fire the schedule anew"
        };
        firings::finish(conn, FiringId(jobless.id), FiringState::Failure, Some(told)).await?;
    }
    Ok(held.len())
}

async fn see_to(conn: &mut PgConnection, overdue: &Overdue) -> Result<Vec<Enqueued>> {
    let (id, run) = (FiringId(overdue.id), RunId(overdue.run_id));
    let Some(name) = overdue.status.as_deref() else {
        let told = Some("its run was removed before anybody told how it ended");
        firings::finish(conn, id, FiringState::Failure, told).await?;
        return Ok(Vec::new());
    };
    let end = match Status::from_name(name) {
        Some(Status::Completed) => RunEnd::Completed,
        Some(Status::Failed) => RunEnd::Failed,
        Some(Status::Cancelled) => RunEnd::Cancelled,
        Some(Status::Pending | Status::Running) => return stop(conn, overdue).await,
        // Only a later version can have put it into that, and knows what to do. The others wait for nobody.
        None => {
            tracing::error!(run.id = %run, status = name, "a run that took too long has an unknown status");
            return Ok(Vec::new());
        }
    };
    firing::run_ended(conn, run, end, overdue.error.as_deref()).await
}

/// Cancels a run that takes too long.
async fn stop(conn: &mut PgConnection, overdue: &Overdue) -> Result<Vec<Enqueued>> {
    let id = FiringId(overdue.id);
    // Whoever cancels a run tells its firing, which must know by then why.
    late::set_timed_out(conn, id, true).await?;
    let (run, tenant) = (RunId(overdue.run_id), TenantId(overdue.tenant_id));
    match cancel(conn, run, tenant, "its schedule, for it took too long").await {
        // It has just ended by itself.
        Err(error) if error.code == Code::Conflict => {
            late::set_timed_out(conn, id, false).await?;
            Ok(Vec::new())
        }
        other => other,
    }
}
