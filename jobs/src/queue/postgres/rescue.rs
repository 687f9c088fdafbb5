//! Takes back what dead workers hold.

use rules::queue::MAX_CRASHES;
use sqlx::PgConnection;

use crate::Result;
use crate::crash::{self, Point};
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

/// Takes expired leases of jobs back that are to run again, by the database's clock alone, and waits for nobody.
/// None when another process is at it: the scan grows with dead rows, so one at a time is enough. The right to
/// rescue is this transaction's until its end.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn rescue(conn: &mut PgConnection) -> Result<Option<Rescued>> {
    if !alone(conn).await? {
        return Ok(None);
    }
    crash::at(Point::RescueAlone);
    let row = sqlx::query!(
        r#"select rescued as "rescued!", woken as "woken!" from job_rescue_living_v2($1, $2)"#,
        BATCH,
        MAX_CRASHES
    )
    .fetch_one(&mut *conn)
    .await?;
    crash::at(Point::RescueTaken);
    Ok(Some(Rescued { count: row.rescued, dead: Vec::new(), woken: row.woken }))
}

/// The jobs that are not to run again although their leases ran out, since too many workers died under them or they
/// were to be cancelled. Those are for [`rescue_ending`].
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn doomed(conn: &mut PgConnection) -> Result<Vec<i64>> {
    let rows = sqlx::query_scalar!(
        "select job_id from job_lease where lease_until < now() and (cancel_requested or crashes + 1 >= $1) limit $2",
        MAX_CRASHES,
        i64::from(BATCH)
    )
    .fetch_all(conn)
    .await?;
    crash::at(Point::RescueLooked);
    Ok(rows)
}

/// Ends the [`doomed`] among these, whose order keys it waits for: whoever calls it bounds the wait
/// ([`hurry`](super::ack::hurry)) and holds before what must be held before a job dies.
///
/// # Errors
/// Interrupted when a key was held for too long, Unavailable when nobody answers.
pub async fn rescue_ending(conn: &mut PgConnection, jobs: &[i64]) -> Result<Rescued> {
    let row = sqlx::query!(
        r#"select rescued as "rescued!", died as "died!", woken as "woken!" from job_rescue_ending_v1($1, $2)"#,
        jobs,
        MAX_CRASHES
    )
    .fetch_one(&mut *conn)
    .await?;
    crash::at(Point::EndingWritten);
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
