//! The fenced statements of whoever holds a host.

use std::time::Duration;

use rules::id::{HostId, MachineId, OperationId, SnapshotId, TenantId};
use rules::machine::{Action, Seen, Spec, Stage, Wanted};
use rules::queue::Kind;
use sqlx::PgConnection;

use crate::lease::Claim;
use crate::{Error, Result};

/// An operation that was begun, with all that is needed to perform it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// The operation.
    pub id: OperationId,
    /// Whose machine it is.
    pub tenant: TenantId,
    /// The machine.
    pub machine: MachineId,
    /// What is to be done.
    pub action: Action,
    /// How far it has come.
    pub stage: Stage,
    /// How long ago the guest was asked to switch itself off; zero when it was not.
    pub asked_for: Duration,
    /// The number that it got when it was asked for.
    pub generation: i64,
    /// Why it is done, where nobody asked for it.
    pub reason: Option<String>,
    /// What the machine shall be.
    pub wanted: Wanted,
    /// What it is made of.
    pub spec: Spec,
}

/// What came of beginning an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begun {
    /// It is to be performed.
    Task(Box<Task>),
    /// Nothing is left to do: it has ended, another took its place, or it is gone.
    Ended,
    /// Its machine is on another host.
    Elsewhere,
    /// A later operation has acted on the machine.
    Stale,
    /// The host is not held under this epoch.
    Lost,
}

/// What was seen of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sight {
    /// The machine.
    pub machine: MachineId,
    /// What was recorded as applied before the look.
    pub applied: i64,
    /// What was seen.
    pub seen: Seen,
    /// Why it is so, as far as its host tells.
    pub reason: Option<String>,
    /// How that differs from what is wanted.
    pub drift: Option<String>,
}

/// A machine as a listing compares it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// The machine.
    pub machine: MachineId,
    /// Whose it is.
    pub tenant: TenantId,
    /// What it shall be.
    pub wanted: Wanted,
    /// What it was seen to be.
    pub seen: Seen,
    /// The generation of the operation that last acted.
    pub applied: i64,
    /// Whether an operation is under way.
    pub busy: bool,
    /// Whether nobody knows what became of the operation that was to make it: it may never have been there.
    pub unmade: bool,
}

/// Begins an operation, or goes on with it.
///
/// # Errors
/// Internal when what is stored does not read back; Unavailable when nobody answers.
pub async fn begin(
    conn: &mut PgConnection,
    operation: OperationId,
    host: HostId,
    claim: &Claim,
) -> Result<Begun> {
    let row = sqlx::query!(
        r#"select became as "became!", tenant_id, machine_id, action, snapshot_id, stage, asked_ms, generation, reason, wanted, spec
        from machine_begin_v1($1, $2, $3, $4)"#,
        operation.0,
        host.0,
        claim.holder,
        claim.epoch
    )
    .fetch_one(conn)
    .await?;
    match row.became.as_str() {
        "begun" => {}
        "ended" => return Ok(Begun::Ended),
        "elsewhere" => return Ok(Begun::Elsewhere),
        "stale" => return Ok(Begun::Stale),
        _ => return Ok(Begun::Lost),
    }
    let odd = || Error::internal(format!("operation {operation} does not read back"));
    let action = row.action.ok_or_else(odd)?;
    let asked_ms = row.asked_ms.and_then(|ms| u64::try_from(ms).ok()).unwrap_or(0);
    Ok(Begun::Task(Box::new(Task {
        id: operation,
        tenant: TenantId(row.tenant_id.ok_or_else(odd)?),
        machine: MachineId(row.machine_id.ok_or_else(odd)?),
        action: Action::read(&action, row.snapshot_id.map(SnapshotId)).map_err(Error::internal)?,
        stage: row.stage.and_then(Stage::from_code).ok_or_else(odd)?,
        asked_for: Duration::from_millis(asked_ms),
        generation: row.generation.ok_or_else(odd)?,
        reason: row.reason,
        wanted: row.wanted.as_deref().and_then(Wanted::from_name).ok_or_else(odd)?,
        spec: serde_json::from_value(row.spec.ok_or_else(odd)?).map_err(Error::internal)?,
    })))
}

/// Notes how far an operation has come. False when it may not go on.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn note(
    conn: &mut PgConnection,
    operation: OperationId,
    host: HostId,
    claim: &Claim,
    stage: Stage,
) -> Result<bool> {
    let may = sqlx::query_scalar!(
        r#"select machine_note_v1($1, $2, $3, $4, $5) as "may!""#,
        operation.0,
        host.0,
        claim.holder,
        claim.epoch,
        stage as i16
    )
    .fetch_one(conn)
    .await?;
    Ok(may)
}

/// Ends an operation, with the error when it failed, and with what was seen last (the sight's `applied` is
/// not looked at). False when another took its place or the host is another's: the caller rolls back.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn settle(
    conn: &mut PgConnection,
    operation: OperationId,
    host: HostId,
    claim: &Claim,
    error: Option<&str>,
    sight: &Sight,
) -> Result<bool> {
    let became = sqlx::query_scalar!(
        r#"select machine_settle_v1($1, $2, $3, $4, $5, $6, $7, $8, $9) as "became!""#,
        operation.0,
        host.0,
        claim.holder,
        claim.epoch,
        error.is_none(),
        error,
        sight.seen.as_str(),
        sight.reason,
        sight.drift
    )
    .fetch_one(conn)
    .await?;
    Ok(became == "settled")
}

/// Holds the machine of an operation until the transaction ends.
///
/// # Errors
/// Unavailable when nobody answers.
pub(super) async fn hold(conn: &mut PgConnection, operation: OperationId) -> Result<()> {
    sqlx::query!(
        "select m.id from machine m where m.id = (select o.machine_id from machine_operation o where o.id = $1) for update",
        operation.0
    )
    .fetch_optional(conn)
    .await?;
    Ok(())
}

/// Holds the machines whose operations these jobs perform until the transaction ends: before their jobs die, since
/// whoever asks something of a machine holds it before he comes to the order key of its jobs.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn hold_of_jobs(conn: &mut PgConnection, jobs: &[i64]) -> Result<()> {
    sqlx::query!(
        "select m.id from machine m where m.id = any(array(
            select o.machine_id from job j
            join machine_operation o on o.id = case when j.kind = $2 then (j.payload->>'operation_id')::uuid end
            where j.id = any($1)))
        order by m.id for update",
        jobs,
        Kind::MachineOperate.as_str()
    )
    .fetch_all(conn)
    .await?;
    Ok(())
}

/// Ends, as failed, an operation whose job can do nothing for it any more. Returns whether it had not ended.
///
/// # Errors
/// Unavailable when nobody answers.
pub(super) async fn fail(conn: &mut PgConnection, operation: OperationId, error: &str) -> Result<bool> {
    let failed = sqlx::query_scalar!(r#"select machine_fail_v1($1, $2) as "failed!""#, operation.0, error)
        .fetch_one(conn)
        .await?;
    Ok(failed)
}

/// Every machine recorded on a host and not destroyed, or those of them that are named.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn recorded(
    conn: &mut PgConnection,
    host: HostId,
    only: Option<&[uuid::Uuid]>,
) -> Result<Vec<Recorded>> {
    let rows = sqlx::query!(
        r#"select m.id, m.tenant_id, m.wanted, m.seen, m.applied,
            exists (select from machine_operation o where o.machine_id = m.id and o.ended_at is null) as "busy!",
            m.seen = 'UNKNOWN' and (m.applied = 0 or exists (
                select from machine_operation o where o.machine_id = m.id and o.generation = m.applied and o.action in ('CREATE', 'DEFINE'))) as "unmade!"
        from machine m where m.host_id = $1 and m.destroyed_at is null and ($2::uuid[] is null or m.id = any($2)) order by m.id"#,
        host.0,
        only
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|row| {
            let odd = || Error::internal(format!("machine {} does not read back", row.id));
            Ok(Recorded {
                machine: MachineId(row.id),
                tenant: TenantId(row.tenant_id),
                wanted: Wanted::from_name(&row.wanted).ok_or_else(odd)?,
                seen: Seen::from_name(&row.seen).ok_or_else(odd)?,
                applied: row.applied,
                busy: row.busy,
                unmade: row.unmade,
            })
        })
        .collect()
}

/// Which of these machines are recorded elsewhere, or destroyed: a host that still knows them must forget.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn foreign(
    conn: &mut PgConnection,
    host: HostId,
    machines: &[uuid::Uuid],
) -> Result<Vec<(MachineId, i64)>> {
    let rows = sqlx::query!(
        "select id, generation from machine where id = any($2) and (host_id <> $1 or destroyed_at is not null)",
        host.0,
        machines
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (MachineId(row.id), row.generation)).collect())
}

/// Writes what was seen of machines outside of any operation; those on which an operation has acted since
/// or acts now are passed over. None when the host is not held under this epoch: the caller rolls back.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn seen(
    conn: &mut PgConnection,
    host: HostId,
    claim: &Claim,
    sights: &[Sight],
) -> Result<Option<u32>> {
    let ids: Vec<_> = sights.iter().map(|s| s.machine.0).collect();
    let applied: Vec<_> = sights.iter().map(|s| s.applied).collect();
    let seen: Vec<_> = sights.iter().map(|s| s.seen.as_str()).collect();
    let reasons: Vec<_> = sights.iter().map(|s| s.reason.as_deref()).collect();
    let drifts: Vec<_> = sights.iter().map(|s| s.drift.as_deref()).collect();
    let written = sqlx::query_scalar!(
        r#"select machine_seen_v1($1, $2, $3, $4, $5, $6, $7, $8) as "written!""#,
        host.0,
        claim.holder,
        claim.epoch,
        &ids,
        &applied,
        &seen as &[&str],
        &reasons as &[Option<&str>],
        &drifts as &[Option<&str>]
    )
    .fetch_one(conn)
    .await?;
    Ok(u32::try_from(written).ok())
}
