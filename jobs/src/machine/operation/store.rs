//! Keeps operations, and tells why one has not begun.

use chrono::{DateTime, Utc};
use rules::id::{JobId, MachineId, OperationId, TenantId};
use rules::machine::{ActionName, OperationState, Pending, Reach, WaitFacts, WhyWaits};
use rules::queue::{Facts, State, Why};
use sqlx::PgConnection;
use uuid::Uuid;

use super::NewOperation;
use crate::queue::postgres::worker::SEEN_WITHIN_S;
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
    /// The name of its [`OperationState`].
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

/// Enters an operation.
///
/// # Errors
/// Unavailable when nobody answers.
pub(in crate::machine) async fn insert(
    conn: &mut PgConnection,
    new: &NewOperation<'_>,
    state: OperationState,
    generation: i64,
    job: Option<JobId>,
    superseded_by: Option<OperationId>,
) -> Result<()> {
    sqlx::query!(
        "insert into machine_operation (id, tenant_id, machine_id, action, snapshot_id, state, generation, job_id, reason, superseded_by, requested_by, ended_at)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, case when $12 then now() end)",
        new.id.0,
        new.tenant.0,
        new.machine.0,
        new.action.name().as_str(),
        new.action.snapshot().map(|s| s.0),
        state.as_str(),
        generation,
        job.map(|j| j.0),
        new.reason,
        superseded_by.map(|o| o.0),
        new.by,
        state.has_ended(),
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// What was asked of a machine and has not ended, in the order in which it is done.
///
/// # Errors
/// Unavailable when nobody answers.
pub(in crate::machine) async fn pending(conn: &mut PgConnection, machine: MachineId) -> Result<Vec<Pending>> {
    let rows = sqlx::query!(
        "select id, action, state from machine_operation where machine_id = $1 and ended_at is null order by generation",
        machine.0
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(Pending {
                id: OperationId(row.id),
                action: row.action.parse::<ActionName>().map_err(Error::internal)?,
                state: OperationState::from_name(&row.state)
                    .ok_or_else(|| Error::internal(format!("`{}` is no state of an operation", row.state)))?,
            })
        })
        .collect()
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
    .ok_or_else(|| Error::not_found(format!("there is no operation `{id}`")))
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
        r#"select o.id, o.action, o.job_id, o.created_at, h.draining_at is not null as "draining!", coalesce(e.lease_until > now(), false) as "held!", h.reach,
            case when r.job_id is not null then 'READY' when s.job_id is not null then 'SCHEDULED'
                when b.job_id is not null then 'BLOCKED' when l.job_id is not null then 'LEASED' end as state,
            coalesce(q.paused_at is not null, false) as "paused!", s.run_at as "run_at?", coalesce(s.reason = 1, false) as "retrying!",
            (select k.head_id from job_key k where k.key = j.order_key) as key_head,
            exists (select from job_worker w where j.pool_id = any(w.pools) and w.seen_at > now() - $2::integer * interval '1 second') as "served!",
            exists (select from job_worker w where j.pool_id = any(w.pools) and j.kind = any(w.kinds) and w.seen_at > now() - $2::integer * interval '1 second') as "known!",
            (select count(*) from (select from job_ready x where x.pool_id = r.pool_id and (x.priority, x.pos) < (r.priority, r.pos) limit 10000) y) as "ahead!"
        from machine_operation o
        join machine m on m.id = o.machine_id
        join host h on h.id = m.host_id
        left join lease e on e.name = 'host:' || h.id::text
        left join job j on j.id = o.job_id
        left join job_queue q on q.id = j.queue_id
        left join job_ready r on r.job_id = j.id
        left join job_scheduled s on s.job_id = j.id
        left join job_blocked b on b.job_id = j.id
        left join job_lease l on l.job_id = j.id
        where o.machine_id = $1 and o.ended_at is null
        order by o.generation"#,
        machine.0,
        SEEN_WITHIN_S
    )
    .fetch_all(conn)
    .await?;
    let waiting = rows.into_iter().map(|row| {
        let job = row.state.as_deref().and_then(State::from_name).and_then(|state| {
            Why::of(&Facts {
                state,
                queue_paused: row.paused,
                pool_served: row.served,
                kind_known: row.known,
                key_head: row.key_head,
                run_at: row.run_at,
                retrying: row.retrying,
                ahead: row.ahead,
            })
        });
        let facts = WaitFacts {
            draining: row.draining,
            held: row.held,
            reach: Reach::from_name(&row.reach).unwrap_or(Reach::Unreachable),
            job,
        };
        Waiting {
            id: row.id,
            action: row.action,
            job_id: row.job_id,
            created_at: row.created_at,
            why: WhyWaits::of(&facts),
        }
    });
    Ok(waiting.collect())
}
