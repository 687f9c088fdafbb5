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
    /// Somebody holds the machine just now: ask again.
    Busy,
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

/// An operation that is to begin, and under which hold of which host.
#[derive(Debug, Clone)]
pub struct Beginning {
    /// The operation.
    pub operation: OperationId,
    /// The host.
    pub host: HostId,
    /// The hold.
    pub claim: Claim,
}

/// Begins operations, or goes on with them; answers in their order.
///
/// # Errors
/// Internal when what is stored does not read back; Unavailable when nobody answers.
pub async fn begin(conn: &mut PgConnection, beginnings: &[Beginning]) -> Result<Vec<Begun>> {
    let operations: Vec<_> = beginnings.iter().map(|b| b.operation.0).collect();
    let hosts: Vec<_> = beginnings.iter().map(|b| b.host.0).collect();
    let holders: Vec<_> = beginnings.iter().map(|b| b.claim.holder).collect();
    let epochs: Vec<_> = beginnings.iter().map(|b| b.claim.epoch).collect();
    let rows = sqlx::query_as!(
        BegunRow,
        r#"select became as "became!", tenant_id, machine_id, action, snapshot_id, stage, asked_ms, generation, reason, wanted, spec
        from machine_begin_many_v1($1, $2, $3, $4)"#,
        &operations,
        &hosts,
        &holders,
        &epochs
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter().zip(beginnings).map(|(row, beginning)| row.read(beginning.operation)).collect()
}

/// What came of beginning an operation, as it is answered; all but the first is there when it was begun.
struct BegunRow {
    became: String,
    tenant_id: Option<uuid::Uuid>,
    machine_id: Option<uuid::Uuid>,
    action: Option<String>,
    snapshot_id: Option<uuid::Uuid>,
    stage: Option<i16>,
    asked_ms: Option<i64>,
    generation: Option<i64>,
    reason: Option<String>,
    wanted: Option<String>,
    spec: Option<serde_json::Value>,
}

impl BegunRow {
    fn read(self, operation: OperationId) -> Result<Begun> {
        match self.became.as_str() {
            "begun" => {}
            "ended" => return Ok(Begun::Ended),
            "elsewhere" => return Ok(Begun::Elsewhere),
            "stale" => return Ok(Begun::Stale),
            "busy" => return Ok(Begun::Busy),
            _ => return Ok(Begun::Lost),
        }
        let odd = || Error::internal(format!("operation {operation} does not read back"));
        let action = self.action.ok_or_else(odd)?;
        let asked_ms = self.asked_ms.and_then(|ms| u64::try_from(ms).ok()).unwrap_or(0);
        Ok(Begun::Task(Box::new(Task {
            id: operation,
            tenant: TenantId(self.tenant_id.ok_or_else(odd)?),
            machine: MachineId(self.machine_id.ok_or_else(odd)?),
            action: Action::read(&action, self.snapshot_id.map(SnapshotId)).map_err(Error::internal)?,
            stage: self.stage.and_then(Stage::from_code).ok_or_else(odd)?,
            asked_for: Duration::from_millis(asked_ms),
            generation: self.generation.ok_or_else(odd)?,
            reason: self.reason,
            wanted: self.wanted.as_deref().and_then(Wanted::from_name).ok_or_else(odd)?,
            spec: serde_json::from_value(self.spec.ok_or_else(odd)?).map_err(Error::internal)?,
        })))
    }
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

/// An operation that is to end.
#[derive(Debug, Clone)]
pub struct Ending {
    /// The operation.
    pub operation: OperationId,
    /// The host that performed it.
    pub host: HostId,
    /// The hold under which it did.
    pub claim: Claim,
    /// Why it failed; none when it did not.
    pub error: Option<String>,
    /// What was seen last; its `applied` is not looked at.
    pub sight: Sight,
}

/// What came of ending an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settled {
    /// It ended. Otherwise nothing was written: another took its place, the host is another's, or it is busy.
    pub ended: bool,
    /// Somebody waits for that, and is to be told in the same transaction.
    pub awaited: bool,
    /// Somebody holds the machine just now: ask again.
    pub busy: bool,
}

/// Ends operations; answers in their order.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn settle(conn: &mut PgConnection, endings: &[Ending]) -> Result<Vec<Settled>> {
    let operations: Vec<_> = endings.iter().map(|e| e.operation.0).collect();
    let hosts: Vec<_> = endings.iter().map(|e| e.host.0).collect();
    let holders: Vec<_> = endings.iter().map(|e| e.claim.holder).collect();
    let epochs: Vec<_> = endings.iter().map(|e| e.claim.epoch).collect();
    let errors: Vec<_> = endings.iter().map(|e| e.error.as_deref()).collect();
    let seen: Vec<_> = endings.iter().map(|e| e.sight.seen.as_str()).collect();
    let reasons: Vec<_> = endings.iter().map(|e| e.sight.reason.as_deref()).collect();
    let drifts: Vec<_> = endings.iter().map(|e| e.sight.drift.as_deref()).collect();
    let settled = sqlx::query_as!(
        Settled,
        r#"select became = 'settled' as "ended!", awaited as "awaited!", became = 'busy' as "busy!"
        from machine_settle_many_v1($1, $2, $3, $4, $5, $6, $7, $8)"#,
        &operations,
        &hosts,
        &holders,
        &epochs,
        &errors as &[Option<&str>],
        &seen as &[&str],
        &reasons as &[Option<&str>],
        &drifts as &[Option<&str>]
    )
    .fetch_all(conn)
    .await?;
    Ok(settled)
}

/// Whether a machine was made: its creation succeeded, be it that nobody remembers, or came so far that its guest may have
/// run, or anything else since succeeded that needs a machine that is there. From then on its disks are somebody's.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn was_made(conn: &mut PgConnection, machine: MachineId) -> Result<bool> {
    let made = sqlx::query_scalar!(
        r#"select not exists (select from machine_operation o where o.machine_id = $1 and o.action = 'CREATE')
            or exists (select from machine_operation o where o.machine_id = $1 and o.action <> 'DESTROY'
                and (o.state = 'SUCCEEDED' or o.action = 'CREATE' and o.stage >= $2)) as "made!""#,
        machine.0,
        Stage::Acted as i16
    )
    .fetch_one(conn)
    .await?;
    Ok(made)
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
