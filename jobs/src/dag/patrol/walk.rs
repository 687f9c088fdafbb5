//! Finds runs that wait for a job which is gone, such as one that an operator cancelled, and tells them.

use rules::dag::{Change, Entry, wire};
use rules::id::{RunId, TenantId};
use sqlx::PgConnection;
use uuid::Uuid;

use super::store;
use crate::dag::start::tell;
use crate::queue::Enqueued;
use crate::{Error, Result};

/// How many runs one call looks at: each few seconds some, round and round.
const BATCH: i64 = 50;

/// How far the patrol has come. It begins anew when it has seen all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Beat(Uuid);

impl Default for Beat {
    fn default() -> Self {
        Self(Uuid::nil())
    }
}

/// Looks at the next runs under way, and fails each node whose job is gone and left no word.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn patrol(conn: &mut PgConnection, beat: Beat) -> Result<(Beat, Vec<Enqueued>)> {
    let runs = store::running(conn, beat.0, BATCH).await?;
    let next = match runs.last() {
        Some(last) if runs.len() as i64 == BATCH => Beat(*last),
        Some(_) | None => Beat::default(),
    };
    let mut told = Vec::new();
    for lost in store::lost(conn, &runs).await? {
        let (node, attempt, what) = match wire::read_entry(&lost.entry).map_err(Error::internal)? {
            Entry::NodeDispatched { node, attempt } => (node, attempt, "its job was cancelled"),
            Entry::NodeSuspended { node, attempt, .. } => (node, attempt, "its wake-up was cancelled"),
            // Other lines wait for no job.
            Entry::RunStarted
            | Entry::NodeSucceeded { .. }
            | Entry::NodeRetried { .. }
            | Entry::NodeFailed { .. }
            | Entry::NodeSkipped { .. }
            | Entry::NodeCancelled { .. }
            | Entry::CancelRequested { .. }
            | Entry::RunFinished { .. } => continue,
        };
        tracing::warn!(run.id = %lost.run_id, node, attempt, "a run waits for a job that is gone; its node fails");
        let change = Change::Failed { node, attempt, error: what.into(), again: false };
        told.extend(tell(conn, RunId(lost.run_id), TenantId(lost.tenant_id), &change).await?);
    }
    Ok((next, told))
}
