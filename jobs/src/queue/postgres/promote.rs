//! Moves due jobs to ready. Every worker does it, so that a dead scheduler delays schedules only.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::Result;

/// The most jobs in one statement.
pub const BATCH: i32 = 500;

/// What a promotion did.
#[derive(Debug, Clone)]
pub struct Promoted {
    /// How many fell due. [`BATCH`] means that there may be more.
    pub count: i32,
    /// Their pools.
    pub woken: Vec<i32>,
    /// The time of the last one promoted: where the next call may start.
    pub last: Option<DateTime<Utc>>,
    /// When the next one falls due.
    pub next: Option<DateTime<Utc>>,
    /// The database's clock, to turn `next` into a wait.
    pub now: DateTime<Utc>,
}

/// Promotes jobs that fell due after `after`; with none, every one that is due.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn promote(conn: &mut PgConnection, after: Option<DateTime<Utc>>) -> Result<Promoted> {
    let row = sqlx::query!(
        r#"select promoted as "promoted!", woken as "woken!", last_run_at, next_run_at, now() as "now!"
        from job_promote_v1(coalesce($1, '-infinity'::timestamptz), $2)"#,
        after,
        BATCH
    )
    .fetch_one(conn)
    .await?;
    Ok(Promoted {
        count: row.promoted,
        woken: row.woken,
        last: row.last_run_at,
        next: row.next_run_at,
        now: row.now,
    })
}
