//! Keeps who waits for what, and leaves word for them.

use chrono::{DateTime, Utc};
use rules::health::Check;
use rules::id::{MachineId, OperationId, RunId, TenantId};
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{Error, Result};

/// A node of a run that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiter {
    /// The run.
    pub run: RunId,
    /// Whose it is.
    pub tenant: TenantId,
    /// The node.
    pub node: String,
    /// Which attempt of it.
    pub attempt: u16,
}

/// What a node waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Awaited {
    /// The end of an operation on a machine.
    Operation(OperationId, MachineId),
    /// The end of a check of a machine.
    Check(MachineId, Check),
}

/// A waiter as it is stored.
struct Row {
    run_id: Uuid,
    node_id: String,
    attempt: i16,
    tenant_id: Uuid,
}

impl From<Row> for Waiter {
    fn from(row: Row) -> Self {
        Self {
            run: RunId(row.run_id),
            tenant: TenantId(row.tenant_id),
            node: row.node_id,
            attempt: row.attempt.unsigned_abs(),
        }
    }
}

/// Lets a node wait. Whoever calls holds what is awaited, so that its end cannot come in between.
///
/// # Errors
/// Conflict when this attempt of the node waits already.
pub async fn wait(conn: &mut PgConnection, waiter: &Waiter, awaited: Awaited) -> Result<()> {
    let (operation, machine, check) = match awaited {
        Awaited::Operation(operation, machine) => (Some(operation.0), machine, None),
        Awaited::Check(machine, check) => (None, machine, Some(check.as_str())),
    };
    let done = sqlx::query!(
        "insert into run_waiter (run_id, node_id, attempt, tenant_id, operation_id, machine_id, check_name)
        values ($1, $2, $3, $4, $5, $6, $7) on conflict (run_id, node_id, attempt) do nothing",
        waiter.run.0,
        waiter.node,
        i16::try_from(waiter.attempt).unwrap_or(i16::MAX),
        waiter.tenant.0,
        operation,
        machine.0,
        check
    )
    .execute(conn)
    .await?;
    if done.rows_affected() == 1 {
        Ok(())
    } else {
        Err(Error::conflict(format!("node `{}` of run `{}` waits already", waiter.node, waiter.run)))
    }
}

/// Takes away those who wait for these operations, each with what it waited for.
///
/// # Errors
/// Unavailable when nobody answers.
pub(super) async fn take_for_operations(
    conn: &mut PgConnection,
    ids: &[OperationId],
) -> Result<Vec<(OperationId, Waiter)>> {
    let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    let rows = sqlx::query!(
        r#"delete from run_waiter where operation_id = any($1)
        returning operation_id as "operation_id!", run_id, node_id, attempt, tenant_id"#,
        &ids
    )
    .fetch_all(conn)
    .await?;
    let waiter = |run_id, node_id, attempt, tenant_id| Row { run_id, node_id, attempt, tenant_id }.into();
    Ok(rows
        .into_iter()
        .map(|r| (OperationId(r.operation_id), waiter(r.run_id, r.node_id, r.attempt, r.tenant_id)))
        .collect())
}

/// Takes away those who wait for a check.
///
/// # Errors
/// Unavailable when nobody answers.
pub(super) async fn take_for_check(
    conn: &mut PgConnection,
    machine: MachineId,
    check: Check,
) -> Result<Vec<Waiter>> {
    let rows = sqlx::query_as!(
        Row,
        "delete from run_waiter where machine_id = $1 and check_name = $2 returning run_id, node_id, attempt, tenant_id",
        machine.0,
        check.as_str()
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(Waiter::from).collect())
}

/// How an operation ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) id: Uuid,
    pub(super) state: String,
    pub(super) error: Option<String>,
    /// The action of the operation that took its place.
    pub(super) instead: Option<String>,
    /// What a node puts out of it.
    pub(super) output: Value,
}

/// How these operations ended, with their machines as they are now.
///
/// # Errors
/// Unavailable when nobody answers.
pub(super) async fn ended(conn: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<Ended>> {
    let rows = sqlx::query_as!(
        Ended,
        r#"select o.id, o.state, o.error, (select x.action from machine_operation x where x.id = o.superseded_by) as instead,
            jsonb_build_object('operationId', o.id, 'action', o.action, 'state', o.state, 'startedAt', o.started_at, 'endedAt', o.ended_at,
                'machineId', m.id, 'name', m.name, 'host', h.name, 'seen', m.seen) as "output!"
        from machine_operation o join machine m on m.id = o.machine_id join host h on h.id = m.host_id where o.id = any($1)"#,
        ids
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}

/// A word for a run.
#[derive(Debug)]
pub(super) struct Word {
    pub(super) run: RunId,
    pub(super) change: Value,
    pub(super) output: Option<Value>,
}

/// Puts words into the inboxes of their runs, in order; tells of which runs: those that there are and that have
/// not ended.
///
/// # Errors
/// Unavailable when nobody answers.
pub(super) async fn leave_words(conn: &mut PgConnection, words: &[Word]) -> Result<Vec<RunId>> {
    let runs: Vec<_> = words.iter().map(|word| word.run.0).collect();
    let changes: Vec<_> = words.iter().map(|word| word.change.clone()).collect();
    let outputs: Vec<_> = words.iter().map(|word| word.output.clone()).collect();
    let rows = sqlx::query_scalar!(
        "insert into run_inbox (run_id, change, output)
        select r.id, w.change, w.output
        from unnest($1::uuid[], $2::jsonb[], $3::jsonb[]) with ordinality as w(run_id, change, output, place)
        join run r on r.id = w.run_id and r.finished_at is null order by w.place
        returning run_id",
        &runs,
        &changes,
        &outputs as &[Option<Value>]
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(RunId).collect())
}

/// The next runs after one of which nodes wait, those that have ended or are gone among them.
///
/// # Errors
/// Unavailable when nobody answers.
pub(super) async fn waiting(conn: &mut PgConnection, after: Uuid, limit: i64) -> Result<Vec<Uuid>> {
    let rows = sqlx::query_scalar!(
        "select distinct run_id from run_waiter where run_id > $1 order by run_id limit $2",
        after,
        limit
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}

/// A waiter that nobody will tell any more.
#[derive(Debug)]
pub(super) struct Missed {
    pub(super) run_id: Uuid,
    pub(super) node_id: String,
    pub(super) attempt: i16,
    pub(super) tenant_id: Uuid,
    /// The operation that it waits for; none where it waits for a check.
    pub(super) operation_id: Option<Uuid>,
}

impl Missed {
    pub(super) fn waiter(self) -> Waiter {
        let Self { run_id, node_id, attempt, tenant_id, operation_id: _ } = self;
        Row { run_id, node_id, attempt, tenant_id }.into()
    }
}

/// Takes away those of these runs' waiters whose operation has ended or is gone, whose check has no job any
/// more, or whose run has ended. One statement, hence one moment: who ends what is awaited takes its waiters
/// away in the same transaction. Those that somebody has in hand are passed by.
///
/// # Errors
/// Unavailable when nobody answers.
pub(super) async fn take_missed(conn: &mut PgConnection, runs: &[Uuid], limit: i64) -> Result<Vec<Missed>> {
    let rows = sqlx::query_as!(
        Missed,
        "with missed as materialized (
            select w.run_id, w.node_id, w.attempt from run_waiter w
            where w.run_id = any($1) and (
                not exists (select from run r where r.id = w.run_id and r.finished_at is null)
                or w.operation_id is not null
                    and not exists (select from machine_operation o where o.id = w.operation_id and o.ended_at is null)
                or w.check_name is not null
                    and not exists (select from job_unique u join job j on j.id = u.job_id where
                            u.key = w.tenant_id || ':health.check:' || w.machine_id || ':' || w.check_name))
            limit $2 for update skip locked
        )
        delete from run_waiter w using missed m
        where w.run_id = m.run_id and w.node_id = m.node_id and w.attempt = m.attempt
        returning w.run_id, w.node_id, w.attempt, w.tenant_id, w.operation_id",
        runs,
        limit
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}

/// What a node of a run waits for.
#[derive(Debug)]
pub(super) struct Awaits {
    pub(super) run_id: Uuid,
    pub(super) node_id: String,
    pub(super) machine_id: Uuid,
    pub(super) operation_id: Option<Uuid>,
    pub(super) check_name: Option<String>,
    pub(super) since: DateTime<Utc>,
    /// The job that does what it waits for, as far as it is known.
    pub(super) job_id: Option<i64>,
}

/// What the nodes of these runs wait for, the longest wait first.
///
/// # Errors
/// Unavailable when nobody answers.
pub(super) async fn of_runs(conn: &mut PgConnection, runs: &[RunId]) -> Result<Vec<Awaits>> {
    let ids: Vec<Uuid> = runs.iter().map(|run| run.0).collect();
    let rows = sqlx::query_as!(
        Awaits,
        r#"select w.run_id, w.node_id, w.machine_id, w.operation_id, w.check_name, w.created_at as since, coalesce(o.job_id, u.job_id) as "job_id?"
        from run_waiter w
        left join machine_operation o on o.id = w.operation_id
        left join job_unique u on u.key = w.tenant_id || ':health.check:' || w.machine_id || ':' || w.check_name
        where w.run_id = any($1) order by w.created_at, w.node_id"#,
        &ids
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}
