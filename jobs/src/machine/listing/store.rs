//! What is recorded of machines, as a look at their host compares it, and what the look found.

use rules::id::{HostId, MachineId, TenantId};
use rules::machine::{Seen, Wanted};
use sqlx::PgConnection;

use crate::lease::Claim;
use crate::machine::report::Sight;
use crate::{Error, Result};

/// A machine as a listing compares it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// The machine.
    pub machine: MachineId,
    /// Where it is recorded.
    pub host: HostId,
    /// Whose it is.
    pub tenant: TenantId,
    /// What it shall be.
    pub wanted: Wanted,
    /// What it was seen to be.
    pub seen: Seen,
    /// How that differs from what is wanted, as it was recorded.
    pub drift: Option<String>,
    /// The generation of the operation that last acted.
    pub applied: i64,
    /// Whether an operation is under way or waits.
    pub busy: bool,
    /// Whether one is under way.
    pub acting: bool,
    /// Whether nobody knows what became of the operation that was to make it: it may never have been there.
    pub unmade: bool,
}

impl Recorded {
    /// Whether what is seen of it is to be recorded: an operation under way does that itself, and one that waits keeps
    /// nobody from knowing what the machine is. One that still is to be made is not missed.
    pub fn is_to_be_seen(&self) -> bool {
        !(self.acting || self.busy && self.unmade)
    }

    /// Whether a look that found this would record nothing: it is known, and no drift is recorded of a machine of which
    /// something else was asked.
    pub fn is_known(&self, seen: Seen, drift: Option<&str>) -> bool {
        self.seen == seen && (self.busy || self.drift.as_deref() == drift)
    }
}

/// Every machine recorded on a host and not destroyed.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn recorded(conn: &mut PgConnection, host: HostId) -> Result<Vec<Recorded>> {
    let rows = sqlx::query_as!(
        RecordedRow,
        r#"select m.id, m.host_id, m.tenant_id, m.wanted, m.seen, m.drift, m.applied,
            exists (select from machine_operation o where o.machine_id = m.id and o.ended_at is null) as "busy!",
            exists (select from machine_operation o where o.machine_id = m.id and o.ended_at is null and o.state = 'RUNNING') as "acting!",
            m.seen = 'UNKNOWN' and (m.applied = 0 or exists (
                select from machine_operation o where o.machine_id = m.id and o.generation = m.applied and o.action in ('CREATE', 'DEFINE'))) as "unmade!"
        from machine m where m.host_id = $1 and m.destroyed_at is null order by m.id"#,
        host.0
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(RecordedRow::read).collect()
}

/// Those of these machines that are recorded and not destroyed, whatever their host.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn recorded_of(conn: &mut PgConnection, machines: &[uuid::Uuid]) -> Result<Vec<Recorded>> {
    let rows = sqlx::query_as!(
        RecordedRow,
        r#"select id as "id!", host_id as "host_id!", tenant_id as "tenant_id!", wanted as "wanted!", seen as "seen!", drift,
            applied as "applied!", busy as "busy!", acting as "acting!", unmade as "unmade!"
        from machine_recorded_v1($1)"#,
        machines
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(RecordedRow::read).collect()
}

struct RecordedRow {
    id: uuid::Uuid,
    host_id: uuid::Uuid,
    tenant_id: uuid::Uuid,
    wanted: String,
    seen: String,
    drift: Option<String>,
    applied: i64,
    busy: bool,
    acting: bool,
    unmade: bool,
}

impl RecordedRow {
    fn read(self) -> Result<Recorded> {
        let odd = || Error::internal(format!("machine {} does not read back", self.id));
        Ok(Recorded {
            machine: MachineId(self.id),
            host: HostId(self.host_id),
            tenant: TenantId(self.tenant_id),
            wanted: Wanted::from_name(&self.wanted).ok_or_else(odd)?,
            seen: Seen::from_name(&self.seen).ok_or_else(odd)?,
            drift: self.drift,
            applied: self.applied,
            busy: self.busy,
            acting: self.acting,
            unmade: self.unmade,
        })
    }
}

/// A machine that a host knows and that is not recorded there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Foreign {
    /// The machine.
    pub machine: MachineId,
    /// Whose it is.
    pub tenant: TenantId,
    /// The last that was asked of it.
    pub generation: i64,
    /// Whether it is destroyed; otherwise it is recorded on another host.
    pub destroyed: bool,
}

/// Which of these machines are recorded elsewhere, or destroyed: a host that still knows them must forget.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn foreign(conn: &mut PgConnection, host: HostId, machines: &[uuid::Uuid]) -> Result<Vec<Foreign>> {
    let rows = sqlx::query!(
        r#"select id, tenant_id, generation, destroyed_at is not null as "destroyed!" from machine where id = any($2) and (host_id <> $1 or destroyed_at is not null)"#,
        host.0,
        machines
    )
    .fetch_all(conn)
    .await?;
    let foreign = rows.into_iter().map(|row| Foreign {
        machine: MachineId(row.id),
        tenant: TenantId(row.tenant_id),
        generation: row.generation,
        destroyed: row.destroyed,
    });
    Ok(foreign.collect())
}

/// Keeps a machine from being brought to another host until this transaction ends; false when it is being brought to
/// one right now.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn stays_away(conn: &mut PgConnection, machine: MachineId) -> Result<bool> {
    let row = sqlx::query!(
        r#"select pg_try_advisory_xact_lock(hashtextextended('machine.place ' || $1::uuid, 0)) as "kept!""#,
        machine.0
    )
    .fetch_one(conn)
    .await?;
    Ok(row.kept)
}

/// Waits until nothing is being removed from a host that this machine left, and keeps that so until this transaction
/// ends.
///
/// # Errors
/// Unavailable when nobody answers, or the removal takes too long.
pub async fn may_come(conn: &mut PgConnection, machine: MachineId) -> Result<()> {
    sqlx::query!(
        "select pg_advisory_xact_lock(hashtextextended('machine.place ' || $1::uuid, 0))",
        machine.0
    )
    .execute(conn)
    .await?;
    Ok(())
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
