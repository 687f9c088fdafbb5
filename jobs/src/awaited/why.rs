//! Says for what the nodes of a run wait, and why that has not come.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use rules::id::{JobId, RunId};
use rules::machine::WhyWaits;
use rules::queue::Why;
use sqlx::PgConnection;
use uuid::Uuid;

use super::store;
use crate::Result;
use crate::queue::postgres::why::whys;

/// What a node of a run waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeWaits {
    /// The run.
    pub run: RunId,
    /// The node.
    pub node: String,
    /// The machine of which it ordered something.
    pub machine_id: Uuid,
    /// The operation for whose end it waits; none where it waits for a check.
    pub operation_id: Option<Uuid>,
    /// The name of the [`rules::health::Check`] for which it waits.
    pub check_name: Option<String>,
    /// Since when.
    pub since: DateTime<Utc>,
    /// Why that has not come.
    pub why: WhyWaits,
}

/// For what the nodes of these runs wait, the longest wait of each first.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn waits(conn: &mut PgConnection, runs: &[RunId]) -> Result<Vec<NodeWaits>> {
    let rows = store::of_runs(conn, runs).await?;
    let jobs: Vec<i64> = rows.iter().filter_map(|row| row.job_id).collect();
    let mut told: HashMap<JobId, Why> = whys(conn, &jobs).await?.into_iter().collect();
    let waits = rows.into_iter().map(|row| NodeWaits {
        why: WhyWaits::of(row.job_id.and_then(|job| told.remove(&JobId(job)))),
        run: RunId(row.run_id),
        node: row.node_id,
        machine_id: row.machine_id,
        operation_id: row.operation_id,
        check_name: row.check_name,
        since: row.since,
    });
    Ok(waits.collect())
}
