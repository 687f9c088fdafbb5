//! Takes back what dead workers hold.

use rules::queue::MAX_CRASHES;
use sqlx::PgConnection;

use crate::Result;
use crate::queue::postgres::ack::{DeadJob, dead_jobs};

/// The most leases in one statement.
const BATCH: i32 = 1_000;

/// What a rescue did.
#[derive(Debug, Clone, Default)]
pub struct Rescued {
    /// How many leases had run out.
    pub count: i32,
    /// Jobs that turned out to be poison.
    pub dead: Vec<DeadJob>,
    /// Pools that got work by it.
    pub woken: Vec<i32>,
}

/// The jobs that the next [`rescue`] of this transaction lets die; nothing is written, so that whoever needs to hold
/// something before they do still can. None when another process is at it: what it holds is not to be waited for.
/// The right to rescue is this transaction's until its end.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn doomed(conn: &mut PgConnection) -> Result<Option<Vec<i64>>> {
    if !alone(conn).await? {
        return Ok(None);
    }
    let rows = sqlx::query_scalar!(
        "select job_id from job_lease where lease_until < now() and crashes + 1 >= $1",
        MAX_CRASHES
    )
    .fetch_all(conn)
    .await?;
    Ok(Some(rows))
}

/// Takes expired leases back, by the database's clock alone. Returns nothing when another process is at
/// it: the scan grows with dead rows, so one at a time is enough.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn rescue(conn: &mut PgConnection) -> Result<Rescued> {
    if !alone(conn).await? {
        return Ok(Rescued::default());
    }
    let row = sqlx::query!(
        r#"select rescued as "rescued!", died as "died!", woken as "woken!" from job_rescue_v2($1, $2)"#,
        BATCH,
        MAX_CRASHES
    )
    .fetch_one(&mut *conn)
    .await?;
    let dead = if row.died.is_empty() { Vec::new() } else { dead_jobs(conn, &row.died).await? };
    Ok(Rescued { count: row.rescued, dead, woken: row.woken })
}

/// Whether no other transaction is rescuing now; holds the right until the transaction ends.
async fn alone(conn: &mut PgConnection) -> Result<bool> {
    let row = sqlx::query!(r#"select pg_try_advisory_xact_lock(hashtext('millrace.rescue')) as "alone!""#)
        .fetch_one(conn)
        .await?;
    Ok(row.alone)
}
