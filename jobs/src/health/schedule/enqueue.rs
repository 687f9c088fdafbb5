//! Puts checks that fell due into the queues of their machines' hosts.

use rules::health::next_after;
use rules::queue::Priority;
use sqlx::PgConnection;

use super::store::{self, PutOff};
use crate::Result;
use crate::health::job::job;
use crate::queue::{Enqueued, enqueue};

/// What was put into the queue.
#[derive(Debug)]
#[must_use = "wake the workers after the commit"]
pub struct Put {
    /// How many checks were due.
    pub due: usize,
    /// Their jobs.
    pub enqueued: Vec<Enqueued>,
}

/// Puts checks that are due by the database's clock into the queue, the most overdue first, and says when each
/// is due next. One whose last job still waits is not put there again. `chance` gives numbers in `0.0..1.0`.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn enqueue_due(
    conn: &mut PgConnection,
    limit: i64,
    mut chance: impl FnMut() -> f64,
) -> Result<Put> {
    let due = store::due(conn, limit).await?;
    let jobs = due
        .iter()
        .map(|due| job(due.tenant, due.machine, due.check, due.host_no, Priority::Low))
        .collect::<Result<Vec<_>>>()?;
    let enqueued = enqueue(conn, &jobs).await?;
    let put_off: Vec<PutOff> = due
        .iter()
        .zip(&enqueued)
        .map(|(due, job)| PutOff {
            machine: due.machine,
            check: due.check,
            job: job.id,
            by: next_after(due.interval_s, chance()),
        })
        .collect();
    store::put_off(conn, &put_off).await?;
    Ok(Put { due: due.len(), enqueued })
}
