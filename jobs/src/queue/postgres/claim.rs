//! Claims jobs for a worker: one statement for all its pools and every kind that it knows.

use rules::id::{JobId, LeaseToken, TenantId, WorkerId};
use rules::queue::{Kind, LEASE_MS, Pool, Priority};
use serde_json::value::RawValue;
use sqlx::PgConnection;
use tokio_util::sync::CancellationToken;

use crate::Result;
use crate::queue::Attempt;

/// Up to which position each priority of a pool was claimed before: entries at or before it are not
/// looked at, so that a claim never walks over the dead ones that a held transaction keeps.
pub type Marks = [i64; Priority::ALL.len()];

/// What a claim asks of one pool.
#[derive(Debug, Clone, Copy)]
pub struct Want {
    /// The pool.
    pub pool: Pool,
    /// The most jobs wanted: the free slots.
    pub limit: i32,
    /// Where to start.
    pub marks: Marks,
}

/// A claimed job and where it stood.
#[derive(Debug)]
pub struct Claimed {
    /// The attempt to make.
    pub attempt: Attempt,
    /// Its position, from which the next mark is taken.
    pub pos: i64,
}

/// Leases jobs to a worker: best priority first, oldest first. The commit does not wait for the disk:
/// a claim that a crash of Postgres undoes is claimed again, and the random token fences the loser.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn claim(
    conn: &mut PgConnection,
    worker: WorkerId,
    kinds: &[Kind],
    wants: &[Want],
) -> Result<Vec<Claimed>> {
    let kinds: Vec<&str> = kinds.iter().map(|k| k.as_str()).collect();
    let pools: Vec<i32> = wants.iter().map(|w| w.pool.id()).collect();
    let limits: Vec<i32> = wants.iter().map(|w| w.limit).collect();
    let marks: Vec<i64> = wants.iter().flat_map(|w| w.marks).collect();
    let rows = sqlx::query!(
        r#"select c.job_id as "id!", c.token as "token!", c.pool_id as "pool_id!", c.priority as "priority!", c.pos as "pos!",
            c.ready_at as "ready_at!", c.attempt as "attempt!", c.crashes as "crashes!", c.max_attempts as "max_attempts!",
            c.kind as "kind!", c.tenant_id, c.trace_parent, c.created_at as "created_at!", now() as "now!", c.payload as "payload!: sqlx::types::Json<Box<RawValue>>"
        from (select set_config('synchronous_commit', 'off', true)) s, job_claim_v1($1, $2, $3, $4, $5, $6) c"#,
        worker.0,
        LEASE_MS,
        &kinds as &[&str],
        &pools,
        &limits,
        &marks,
    )
    .fetch_all(conn)
    .await?;
    let mut claimed: Vec<Claimed> = rows
        .into_iter()
        .filter_map(|row| {
            // The statement returns only kinds and pools that were asked for.
            let kind = row.kind.parse().ok()?;
            let pool = Pool::from_id(row.pool_id)?;
            let priority = Priority::ALL.into_iter().find(|p| *p as i16 == row.priority)?;
            let attempt = Attempt {
                id: JobId(row.id),
                token: LeaseToken(row.token),
                kind,
                pool,
                tenant: row.tenant_id.map(TenantId),
                priority,
                payload: row.payload.0,
                attempt: row.attempt.unsigned_abs(),
                crashes: row.crashes.unsigned_abs(),
                max_attempts: row.max_attempts.unsigned_abs(),
                trace_parent: row.trace_parent,
                created_at: row.created_at,
                ready_at: row.ready_at,
                claimed_at: row.now,
                cancel: CancellationToken::new(),
            };
            Some(Claimed { attempt, pos: row.pos })
        })
        .collect();
    claimed.sort_by_key(|c| (c.attempt.priority, c.pos));
    Ok(claimed)
}
