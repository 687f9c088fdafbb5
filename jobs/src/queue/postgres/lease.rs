//! Keeps leases alive, in batches; the answer is also how a handler learns of a cancellation.

use std::collections::BTreeMap;

use rules::id::{JobId, LeaseToken};
use rules::queue::LEASE_MS;
use sqlx::PgConnection;

use crate::Result;

/// What a renewal told of one lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renewed {
    /// Ours for another [`LEASE_MS`].
    Held,
    /// Ours, and somebody wants the job to stop.
    CancelRequested,
    /// Not ours any more.
    Lost,
}

/// Renews leases and tells what became of each, in the order given.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn renew(conn: &mut PgConnection, leases: &[(JobId, LeaseToken)]) -> Result<Vec<Renewed>> {
    let by_id: BTreeMap<i64, uuid::Uuid> = leases.iter().map(|(id, token)| (id.0, token.0)).collect();
    let ids: Vec<i64> = by_id.keys().copied().collect();
    let tokens: Vec<uuid::Uuid> = by_id.values().copied().collect();
    let rows = sqlx::query!(
        r#"select job_id as "id!", cancel_requested as "cancel!" from job_renew_v1($1, $2, $3)"#,
        &ids,
        &tokens,
        LEASE_MS
    )
    .fetch_all(conn)
    .await?;
    let held: BTreeMap<i64, bool> = rows.into_iter().map(|r| (r.id, r.cancel)).collect();
    Ok(leases
        .iter()
        .map(|(id, token)| match held.get(&id.0) {
            // Of two attempts of one job only the one that was sent can be held.
            Some(cancel) if by_id.get(&id.0) == Some(&token.0) => {
                if *cancel {
                    Renewed::CancelRequested
                } else {
                    Renewed::Held
                }
            }
            _ => Renewed::Lost,
        })
        .collect())
}
