//! Sees to firings whose runs take longer than their schedules allow, and to those whose end was not told.

use rules::dag::{RunEnd, Status};
use rules::id::{FiringId, RunId, TenantId};
use sqlx::PgConnection;

use crate::dag::start::cancel;
use crate::firing::store::{self as firings, Overdue};
use crate::firing::{self, FiringState};
use crate::queue::Enqueued;
use crate::{Code, Error, Result};

/// The most firings that one transaction sees to.
pub const OVERDUE_BATCH: i64 = 100;

/// Cancels runs that took too long; of those that have ended, as a worker of an older version ends them without a word
/// to the firing, and of those that are gone, the firing ends. Answers how many there were, and the jobs.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn see_to_overdue(conn: &mut PgConnection) -> Result<(usize, Vec<Enqueued>)> {
    let late = firings::overdue(conn, OVERDUE_BATCH).await?;
    let mut enqueued = Vec::new();
    for overdue in &late {
        enqueued.extend(see_to(conn, overdue).await?);
    }
    Ok((late.len(), enqueued))
}

async fn see_to(conn: &mut PgConnection, overdue: &Overdue) -> Result<Vec<Enqueued>> {
    let (run, tenant) = (RunId(overdue.run_id), TenantId(overdue.tenant_id));
    let status = match overdue.status.as_deref() {
        None => {
            let told = Some("its run was removed before anybody told how it ended");
            firings::finish(conn, FiringId(overdue.id), FiringState::Failure, told).await?;
            return Ok(Vec::new());
        }
        Some(name) => Status::from_name(name)
            .ok_or_else(|| Error::internal(format!("a run has the unknown status `{name}`")))?,
    };
    let end = match status {
        Status::Completed => RunEnd::Completed,
        Status::Failed => RunEnd::Failed,
        Status::Cancelled => RunEnd::Cancelled,
        Status::Pending | Status::Running => {
            return match cancel(conn, run, tenant, "its schedule, for it took too long").await {
                // It has just ended, and told its firing.
                Err(error) if error.code == Code::Conflict => Ok(Vec::new()),
                other => other,
            };
        }
    };
    firing::run_ended(conn, run, end, overdue.error.as_deref()).await
}
