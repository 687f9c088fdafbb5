//! The register of worker processes, which only tells people why a job waits.

use rules::id::WorkerId;
use rules::queue::{Kind, Pool};
use sqlx::PgConnection;

use crate::Result;

/// How long ago a worker may have been seen that counts as there, in seconds: three of its beats.
pub const SEEN_WITHIN_S: i32 = 30;

/// A worker process as others see it.
#[derive(Debug, Clone)]
pub struct Worker {
    /// Drawn anew at each start.
    pub id: WorkerId,
    /// A name for people: host and process.
    pub name: String,
    /// Which pools it serves.
    pub pools: Vec<Pool>,
    /// Which kinds it has handlers for.
    pub kinds: Vec<Kind>,
    /// How many jobs it runs at once.
    pub slots: u32,
}

/// Enters the worker, or notes that it is still there.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn beat(conn: &mut PgConnection, worker: &Worker) -> Result<()> {
    let pools: Vec<i32> = worker.pools.iter().map(|p| p.id()).collect();
    let kinds: Vec<&str> = worker.kinds.iter().map(|k| k.as_str()).collect();
    sqlx::query!(
        "insert into job_worker (id, name, pid, version, pools, kinds, slots) values ($1, $2, $3, $4, $5, $6, $7)
        on conflict (id) do update set seen_at = now()",
        worker.id.0,
        worker.name,
        i32::try_from(std::process::id()).unwrap_or(i32::MAX),
        env!("CARGO_PKG_VERSION"),
        &pools,
        &kinds as &[&str],
        i32::try_from(worker.slots).unwrap_or(i32::MAX),
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Takes the worker out of the register.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn leave(conn: &mut PgConnection, id: WorkerId) -> Result<()> {
    sqlx::query!("delete from job_worker where id = $1", id.0).execute(conn).await?;
    Ok(())
}
