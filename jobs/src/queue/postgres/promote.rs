//! Moves due jobs to ready. Every worker does it, so that a dead scheduler delays schedules only.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::Result;
use crate::crash::{self, Point};

/// The most jobs in one statement.
pub const BATCH: i32 = 500;

/// What a promotion did.
#[derive(Debug, Clone)]
pub struct Promoted {
    /// How many were moved. [`BATCH`] means that there may be more.
    pub count: i32,
    /// Their pools.
    pub woken: Vec<i32>,
    /// Where the next call may start: at the last one promoted, or before the first whose order key somebody held.
    pub last: Option<DateTime<Utc>>,
    /// When the next one falls due.
    pub next: Option<DateTime<Utc>>,
    /// The database's clock, to turn `next` into a wait.
    pub now: DateTime<Utc>,
}

/// Promotes jobs that fell due after `after`; with none, every one that is due. It waits for nobody's lock: those whose
/// order key another transaction holds are left for the next call.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn promote(conn: &mut PgConnection, after: Option<DateTime<Utc>>) -> Result<Promoted> {
    crash::at(Point::PromoteAsking);
    let row = sqlx::query!(
        r#"select promoted as "promoted!", woken as "woken!", last_run_at, next_run_at, now() as "now!"
        from job_promote_v2(coalesce($1, '-infinity'::timestamptz), $2)"#,
        after,
        BATCH
    )
    .fetch_one(conn)
    .await?;
    crash::at(Point::PromoteMoved);
    Ok(Promoted {
        count: row.promoted,
        woken: row.woken,
        last: row.last_run_at,
        next: row.next_run_at,
        now: row.now,
    })
}
