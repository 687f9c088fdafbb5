//! Keeps leases alive, in batches; the answer is also how a handler learns of a cancellation.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::Duration;

use rules::id::{JobId, LeaseToken, WorkerId};
use rules::queue::LEASE_MS;
use sqlx::PgConnection;

use crate::Result;
use crate::queue::postgres::enqueue::whole_ms;

/// What a renewal told of one lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renewed {
    /// Ours for another [`LEASE_MS`].
    Held,
    /// Ours, and somebody wants the job to stop.
    CancelRequested,
    /// Ours, and another transaction is at it: most likely it is being acknowledged. Not extended.
    Settling,
    /// Not ours any more.
    Lost,
}

/// Renews leases and tells what became of each, in the order given.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn renew(conn: &mut PgConnection, leases: &[(JobId, LeaseToken)]) -> Result<Vec<Renewed>> {
    let mut told: BTreeMap<(JobId, LeaseToken), Renewed> = BTreeMap::new();
    let mut rest: Vec<(JobId, LeaseToken)> = leases.to_vec();
    while !rest.is_empty() {
        // The statement wants each id once. A process can hold two attempts of one job, an old, lost one
        // and its successor; they go one after the other.
        let mut round: BTreeMap<JobId, LeaseToken> = BTreeMap::new();
        rest.retain(|(id, token)| match round.entry(*id) {
            Entry::Vacant(free) => {
                free.insert(*token);
                false
            }
            Entry::Occupied(_) => true,
        });
        told.extend(renew_distinct(conn, &round).await?);
    }
    Ok(leases.iter().map(|lease| told.get(lease).copied().unwrap_or(Renewed::Lost)).collect())
}

async fn renew_distinct(
    conn: &mut PgConnection,
    leases: &BTreeMap<JobId, LeaseToken>,
) -> Result<Vec<((JobId, LeaseToken), Renewed)>> {
    let ids: Vec<i64> = leases.keys().map(|id| id.0).collect();
    let tokens: Vec<uuid::Uuid> = leases.values().map(|token| token.0).collect();
    let rows = sqlx::query!(
        r#"select job_id as "id!", cancel_requested as "cancel!", renewed as "renewed!" from job_renew_v1($1, $2, $3)"#,
        &ids,
        &tokens,
        LEASE_MS
    )
    .fetch_all(conn)
    .await?;
    let told = rows.into_iter().filter_map(|row| {
        let id = JobId(row.id);
        let renewed = match (row.renewed, row.cancel) {
            (false, _) => Renewed::Settling,
            (true, true) => Renewed::CancelRequested,
            (true, false) => Renewed::Held,
        };
        Some(((id, *leases.get(&id)?), renewed))
    });
    Ok(told.collect())
}

/// Leases of a worker that were handed out this long ago or longer, by the database's clock, other than
/// of these jobs: to find those that the worker does not know of.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn others(
    conn: &mut PgConnection,
    worker: WorkerId,
    known: &[i64],
    older_than: Duration,
    limit: i64,
) -> Result<Vec<(JobId, LeaseToken)>> {
    let rows = sqlx::query!(
        "select job_id, token from job_lease
        where worker_id = $1 and leased_at < now() - $2::bigint * interval '1 millisecond' and job_id <> all($3)
        order by job_id limit $4",
        worker.0,
        whole_ms(older_than),
        known,
        limit
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (JobId(row.job_id), LeaseToken(row.token))).collect())
}
