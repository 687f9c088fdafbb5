//! Keeps operations, and tells why one has not begun.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use rules::id::{JobId, MachineId, OperationId, TenantId};
use rules::machine::WhyWaits;
use rules::queue::Why;
use sqlx::PgConnection;
use uuid::Uuid;

use super::NewOperation;
use crate::machine::Machine;
use crate::queue::postgres::why::whys;
use crate::{Error, Result};

/// An operation as people see it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Operation {
    /// Its id.
    pub id: Uuid,
    /// Whose it is.
    pub tenant_id: Uuid,
    /// The machine.
    pub machine_id: Uuid,
    /// The name of the action.
    pub action: String,
    /// The snapshot that it acts with.
    pub snapshot_id: Option<Uuid>,
    /// The name of its [`rules::machine::OperationState`].
    pub state: String,
    /// The number that it got when it was asked for.
    pub generation: i64,
    /// Its job.
    pub job_id: Option<i64>,
    /// Why, where nobody asked.
    pub reason: Option<String>,
    /// Why it failed.
    pub error: Option<String>,
    /// The operation that took its place.
    pub superseded_by: Option<Uuid>,
    /// Who asked.
    pub requested_by: String,
    /// When it was asked for.
    pub created_at: DateTime<Utc>,
    /// When it began.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub ended_at: Option<DateTime<Utc>>,
}

/// An operation that has not ended, and why it has not begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// The operation.
    pub id: Uuid,
    /// The name of the action.
    pub action: String,
    /// Its job.
    pub job_id: Option<i64>,
    /// When it was asked for.
    pub created_at: DateTime<Utc>,
    /// Why it has not begun.
    pub why: WhyWaits,
}

/// Enters an operation in whose place another stands, which was asked for before it.
///
/// # Errors
/// Unavailable when nobody answers.
pub(in crate::machine) async fn insert_superseded(
    conn: &mut PgConnection,
    new: &NewOperation<'_>,
    generation: i64,
    by: OperationId,
) -> Result<()> {
    sqlx::query!(
        "insert into machine_operation (id, tenant_id, machine_id, action, snapshot_id, state, generation, reason, superseded_by, requested_by, ended_at)
        values ($1, $2, $3, $4, $5, 'SUPERSEDED', $6, $7, $8, $9, now())",
        new.id.0,
        new.tenant.0,
        new.machine.0,
        new.action.name().as_str(),
        new.action.snapshot().map(|s| s.0),
        generation,
        new.reason,
        by.0,
        new.by,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Lets another operation take the place of one that has not ended. Returns its job, if it has one.
///
/// # Errors
/// Unavailable when nobody answers.
pub(in crate::machine) async fn supersede(
    conn: &mut PgConnection,
    id: OperationId,
    by: OperationId,
) -> Result<Option<JobId>> {
    let job = sqlx::query_scalar!(
        "update machine_operation set state = 'SUPERSEDED', superseded_by = $2, ended_at = now() where id = $1 and ended_at is null returning job_id",
        id.0,
        by.0
    )
    .fetch_optional(conn)
    .await?;
    Ok(job.flatten().map(JobId))
}

/// Records that nobody knows what the machine of an operation is, where this was begun and was the last to act on
/// it: what it set going may come into effect unseen. The next look at the machine's host says what it is. Call it
/// where an operation ends with nobody having looked, and hold the machine.
///
/// # Errors
/// Unavailable when nobody answers.
pub(in crate::machine) async fn lose_sight(conn: &mut PgConnection, id: OperationId) -> Result<()> {
    sqlx::query!(
        "update machine m set seen = 'UNKNOWN', seen_reason = 'an operation ended before anybody saw what came of it', seen_at = now()
        from machine_operation o
        where o.id = $1 and o.started_at is not null and m.id = o.machine_id and m.applied = o.generation and m.destroyed_at is null",
        id.0
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// A tenant's operation; without a tenant, anybody's.
///
/// # Errors
/// NotFound when the tenant has no such operation.
pub async fn get(conn: &mut PgConnection, tenant: Option<TenantId>, id: OperationId) -> Result<Operation> {
    sqlx::query_as!(
        Operation,
        "select id, tenant_id, machine_id, action, snapshot_id, state, generation, job_id, reason, error, superseded_by, requested_by, created_at, started_at, ended_at
        from machine_operation where ($1::uuid is null or tenant_id = $1) and id = $2",
        tenant.map(|t| t.0),
        id.0
    )
    .fetch_optional(conn)
    .await?
    .ok_or_else(|| absent(id))
}

/// A tenant's operation with its machine, as both are now.
///
/// # Errors
/// NotFound when the tenant has no such operation.
pub async fn with_machine(
    conn: &mut PgConnection,
    tenant: TenantId,
    id: OperationId,
) -> Result<(Operation, Machine)> {
    let r = sqlx::query!(
        "select o.action, o.snapshot_id, o.state, o.generation, o.job_id, o.reason, o.error, o.superseded_by, o.requested_by,
            o.created_at, o.started_at, o.ended_at, m.id as machine_id, m.department_id, m.host_id, h.name as host, m.name, m.spec, m.wanted,
            m.seen, m.seen_reason, m.seen_at, m.drift, m.generation as machine_generation, m.created_by, m.created_at as machine_created_at,
            m.destroyed_at
        from machine_operation o join machine m on m.id = o.machine_id join host h on h.id = m.host_id
        where o.tenant_id = $1 and o.id = $2",
        tenant.0,
        id.0
    )
    .fetch_optional(conn)
    .await?
    .ok_or_else(|| absent(id))?;
    let operation = Operation {
        id: id.0,
        tenant_id: tenant.0,
        machine_id: r.machine_id,
        action: r.action,
        snapshot_id: r.snapshot_id,
        state: r.state,
        generation: r.generation,
        job_id: r.job_id,
        reason: r.reason,
        error: r.error,
        superseded_by: r.superseded_by,
        requested_by: r.requested_by,
        created_at: r.created_at,
        started_at: r.started_at,
        ended_at: r.ended_at,
    };
    let machine = Machine {
        id: r.machine_id,
        tenant_id: tenant.0,
        department_id: r.department_id,
        host_id: r.host_id,
        host: r.host,
        name: r.name,
        spec: r.spec,
        wanted: r.wanted,
        seen: r.seen,
        seen_reason: r.seen_reason,
        seen_at: r.seen_at,
        drift: r.drift,
        generation: r.machine_generation,
        created_by: r.created_by,
        created_at: r.machine_created_at,
        destroyed_at: r.destroyed_at,
    };
    Ok((operation, machine))
}

fn absent(id: OperationId) -> Error {
    Error::not_found(format!("there is no operation `{id}`"))
}

/// A page of a machine's operations, newest first, older than the given one.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn page(
    conn: &mut PgConnection,
    machine: MachineId,
    before: Option<OperationId>,
    limit: i64,
) -> Result<Vec<Operation>> {
    let rows = sqlx::query_as!(
        Operation,
        "select id, tenant_id, machine_id, action, snapshot_id, state, generation, job_id, reason, error, superseded_by, requested_by, created_at, started_at, ended_at
        from machine_operation where machine_id = $1 and ($2::uuid is null or id < $2) order by id desc limit $3",
        machine.0,
        before.map(|o| o.0),
        limit
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}

/// Why the operations of a machine that have not ended have not begun, in the order in which they are done.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn why(conn: &mut PgConnection, machine: MachineId) -> Result<Vec<Waiting>> {
    let rows = sqlx::query!(
        "select id, action, job_id, created_at from machine_operation where machine_id = $1 and ended_at is null order by generation",
        machine.0
    )
    .fetch_all(&mut *conn)
    .await?;
    let jobs: Vec<i64> = rows.iter().filter_map(|row| row.job_id).collect();
    let mut told: HashMap<JobId, Why> = whys(conn, &jobs).await?.into_iter().collect();
    let waiting = rows.into_iter().map(|row| Waiting {
        id: row.id,
        action: row.action,
        job_id: row.job_id,
        created_at: row.created_at,
        why: WhyWaits::of(row.job_id.and_then(|job| told.remove(&JobId(job)))),
    });
    Ok(waiting.collect())
}
