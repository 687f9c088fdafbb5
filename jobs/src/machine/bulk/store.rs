//! The statements by which the same is asked of many machines.

use chrono::{DateTime, Utc};
use rules::id::{JobId, MachineId, OperationId, TenantId};
use rules::machine::Pending;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::machine::operation::NewOperation;
use crate::machine::store::{Held, HeldRow};
use crate::queue::{Enqueued, NewJob};
use crate::{Error, Result};

/// An operation that was entered with its job.
#[derive(Debug)]
pub(super) struct Entered {
    pub(super) job: Enqueued,
    pub(super) generation: i64,
    pub(super) at: DateTime<Utc>,
}

/// Holds those of these machines that are the tenant's and not destroyed until the transaction ends, and tells what was
/// asked of each and has not ended; in the order of their ids.
///
/// # Errors
/// Internal when what is stored does not read back; Unavailable when nobody answers.
pub(super) async fn hold(
    conn: &mut PgConnection,
    tenant: TenantId,
    machines: &[MachineId],
) -> Result<Vec<(MachineId, Held, Vec<Pending>)>> {
    let machines: Vec<Uuid> = machines.iter().map(|machine| machine.0).collect();
    let rows = sqlx::query!(
        r#"select machine_id as "machine_id!", no as "no!", draining, wanted, generation, ids, actions, states
        from machine_hold_many_v1($1, $2)"#,
        tenant.0,
        &machines
    )
    .fetch_all(conn)
    .await?;
    let read = rows.into_iter().map(|r| {
        let (machine, no, draining) = (MachineId(r.machine_id), r.no, r.draining);
        let (wanted, generation, ids) = (r.wanted, r.generation, r.ids);
        let row = HeldRow { no, draining, wanted, generation, ids, actions: r.actions, states: r.states };
        let (held, pending) = Held::read(row)?;
        Ok((machine, held, pending))
    });
    read.collect()
}

/// Enters operations on machines that are held, with their jobs, and says what each machine shall be. All ask the same,
/// and their jobs differ in what they are about alone.
///
/// # Errors
/// Invalid for a job that cannot be kept; Internal for none; Unavailable when nobody answers.
pub(super) async fn ask(
    conn: &mut PgConnection,
    rows: &[(NewOperation<'_>, Held)],
    jobs: &[NewJob],
) -> Result<Vec<Entered>> {
    let nobody = || Error::internal("nothing is asked of anybody");
    let (one, _) = rows.first().ok_or_else(nobody)?;
    let keyed = jobs.iter().map(NewJob::keyed).collect::<Result<Vec<_>>>()?;
    let alike = keyed.first().ok_or_else(nobody)?;
    let operations: Vec<Uuid> = rows.iter().map(|(row, _)| row.id.0).collect();
    let machines: Vec<Uuid> = rows.iter().map(|(row, _)| row.machine.0).collect();
    let wanted: Vec<&str> = rows.iter().map(|(row, held)| held.shall_be(row.action).as_str()).collect();
    let queues: Vec<i32> = keyed.iter().map(|job| job.queue).collect();
    let pools: Vec<i32> = keyed.iter().map(|job| job.pool).collect();
    let keys: Vec<&str> = keyed.iter().map(|job| job.order_key.as_str()).collect();
    let payloads: Vec<&str> = keyed.iter().map(|job| job.payload).collect();
    let entered = sqlx::query!(
        r#"select job_id as "job_id!", generation as "generation!", asked_at as "asked_at!"
        from machine_ask_many_v1($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)"#,
        &operations,
        one.tenant.0,
        &machines,
        one.action.name().as_str(),
        &wanted as &[&str],
        one.by,
        one.reason,
        &queues,
        &pools,
        alike.kind,
        alike.priority,
        alike.max_attempts,
        &keys as &[&str],
        alike.trace_parent,
        &payloads as &[&str]
    )
    .fetch_all(conn)
    .await?;
    let each = entered.into_iter().zip(&keyed).map(|(row, job)| Entered {
        job: job.enqueued(JobId(row.job_id)),
        generation: row.generation,
        at: row.asked_at,
    });
    Ok(each.collect())
}

/// Enters operations in whose places others stand, each with its machine's generation and the other, which was asked for
/// before it. Returns when that was.
///
/// # Errors
/// Unavailable when nobody answers.
pub(super) async fn join(
    conn: &mut PgConnection,
    rows: &[(NewOperation<'_>, i64, OperationId)],
) -> Result<DateTime<Utc>> {
    let (one, ..) = rows.first().ok_or_else(|| Error::internal("nobody joins anybody"))?;
    let operations: Vec<Uuid> = rows.iter().map(|(row, ..)| row.id.0).collect();
    let machines: Vec<Uuid> = rows.iter().map(|(row, ..)| row.machine.0).collect();
    let generations: Vec<i64> = rows.iter().map(|(_, generation, _)| *generation).collect();
    let others: Vec<Uuid> = rows.iter().map(|(.., other)| other.0).collect();
    let at = sqlx::query_scalar!(
        "insert into machine_operation (id, tenant_id, machine_id, action, state, generation, reason, superseded_by, requested_by, ended_at)
        select x.id, $2, x.machine, $3, 'SUPERSEDED', x.generation, $4, x.other, $5, now()
        from unnest($1::uuid[], $6::uuid[], $7::bigint[], $8::uuid[]) x(id, machine, generation, other)
        returning created_at",
        &operations,
        one.tenant.0,
        one.action.name().as_str(),
        one.reason,
        one.by,
        &machines,
        &generations,
        &others
    )
    .fetch_all(conn)
    .await?;
    at.into_iter().next().ok_or_else(|| Error::internal("nobody joined anybody"))
}
