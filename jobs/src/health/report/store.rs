//! The statements of whoever makes a check.

use std::time::Duration;

use rules::health::{Check, Finding, IN_FLIGHT_PER_MACHINE, Standing, Status, Verdict, overall, standing};
use rules::id::{HostId, JobId, MachineId, TenantId};
use rules::machine::{Seen, Wanted};
use serde_json::Value;
use sqlx::PgConnection;

use crate::lease::Claim;
use crate::{Error, Result};

/// For how long a check holds its slot unless it gives it back before, in milliseconds: longer than any check
/// may take, so that no two hold one.
const HOLD_MS: i32 = 30_000;

/// A check that is to be made.
#[derive(Debug, Clone, PartialEq)]
pub struct Task {
    /// Whose machine it is.
    pub tenant: TenantId,
    /// What the machine shall be.
    pub wanted: Wanted,
    /// Whether an operation on it waits or is under way.
    pub is_busy: bool,
    /// What the same check read before.
    pub previous: Option<Previous>,
}

/// What a check read before.
#[derive(Debug, Clone, PartialEq)]
pub struct Previous {
    /// The figures.
    pub figures: Value,
    /// How long ago, by the database's clock.
    pub age: Duration,
}

/// What came of beginning a check.
#[derive(Debug, Clone, PartialEq)]
pub enum Begun {
    /// It is to be made.
    Task(Box<Task>),
    /// As many as may are being made: of the machine, or in all.
    Full,
    /// The machine is destroyed.
    Gone,
    /// It is on another host.
    Elsewhere,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// The machine.
    pub machine: MachineId,
    /// The check.
    pub check: Check,
    /// The finding.
    pub finding: Finding,
    /// What was read.
    pub figures: Value,
    /// How long that took.
    pub took: Duration,
}

/// What came of keeping what a check found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recorded {
    /// It is kept.
    Kept,
    /// The machine is destroyed.
    Gone,
    /// It is on another host.
    Elsewhere,
    /// The host is not held under this epoch: roll back.
    Lost,
}

/// Begins a check, if as many as may are not being made already. The same job may begin again.
///
/// # Errors
/// Internal when what is stored does not read back; Unavailable when nobody answers.
pub async fn begin(
    conn: &mut PgConnection,
    job: JobId,
    machine: MachineId,
    check: Check,
    host: HostId,
) -> Result<Begun> {
    let row = sqlx::query!(
        r#"select became as "became!", tenant_id, wanted, is_busy, figures, figures_age_ms from health_begin_v1($1, $2, $3, $4, $5, $6)"#,
        job.0,
        machine.0,
        check.as_str(),
        host.0,
        IN_FLIGHT_PER_MACHINE,
        HOLD_MS
    )
    .fetch_one(conn)
    .await?;
    match row.became.as_str() {
        "begun" => {}
        "full" => return Ok(Begun::Full),
        "elsewhere" => return Ok(Begun::Elsewhere),
        _ => return Ok(Begun::Gone),
    }
    let odd = || Error::internal(format!("machine {machine} does not read back"));
    let age = row.figures_age_ms.and_then(|ms| u64::try_from(ms).ok()).map(Duration::from_millis);
    Ok(Begun::Task(Box::new(Task {
        tenant: TenantId(row.tenant_id.ok_or_else(odd)?),
        wanted: row.wanted.as_deref().and_then(Wanted::from_name).ok_or_else(odd)?,
        is_busy: row.is_busy.unwrap_or(false),
        previous: row.figures.zip(age).map(|(figures, age)| Previous { figures, age }),
    })))
}

/// Keeps what a check found, gives its slot back, and says how the machine is as a whole. The machine's health
/// is held until the commit.
///
/// # Errors
/// Internal when what is stored does not read back; Unavailable when nobody answers.
pub async fn record(
    conn: &mut PgConnection,
    job: JobId,
    host: HostId,
    claim: &Claim,
    found: &Found,
) -> Result<Recorded> {
    let row = sqlx::query_scalar!(
        r#"select health_record_v1($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) as "became!""#,
        job.0,
        found.machine.0,
        found.check.as_str(),
        host.0,
        claim.holder,
        claim.epoch,
        found.finding.verdict.as_str(),
        found.finding.detail,
        found.figures,
        i32::try_from(found.took.as_millis()).unwrap_or(i32::MAX)
    )
    .fetch_one(&mut *conn)
    .await?;
    match row.as_str() {
        "recorded" => {}
        "gone" => return Ok(Recorded::Gone),
        "elsewhere" => return Ok(Recorded::Elsewhere),
        _ => return Ok(Recorded::Lost),
    }
    sum_up(conn, found.machine).await?;
    Ok(Recorded::Kept)
}

/// Says how a machine is as a whole, by what each check that is made of it found last.
///
/// # Errors
/// As [`record`].
pub(in crate::health) async fn sum_up(conn: &mut PgConnection, machine: MachineId) -> Result<()> {
    let rows = sqlx::query!(
        r#"select m.wanted, m.seen, h.host_answers, c.name as "name?", s.verdict as "verdict?", s.detail as "detail?"
        from machine_health h join machine m on m.id = h.machine_id
        left join health_check c on c.machine_id = h.machine_id and c.enabled
        left join health_snapshot s on s.machine_id = c.machine_id and s.name = c.name
        where h.machine_id = $1 order by c.name"#,
        machine.0
    )
    .fetch_all(&mut *conn)
    .await?;
    let Some(first) = rows.first() else { return Ok(()) };
    let odd = || Error::internal(format!("machine {machine} does not read back"));
    let wanted = Wanted::from_name(&first.wanted).ok_or_else(odd)?;
    let seen = Seen::from_name(&first.seen).ok_or_else(odd)?;
    let standing = standing(wanted, seen, first.host_answers);
    let mut found: Vec<(Check, Verdict)> = Vec::new();
    let mut told: Vec<(Verdict, String)> = Vec::new();
    for row in &rows {
        let (Some(name), Some(verdict)) = (&row.name, &row.verdict) else { continue };
        let verdict = Verdict::from_name(verdict).ok_or_else(odd)?;
        found.push((name.parse().map_err(Error::internal)?, verdict));
        told.push((verdict, format!("{name}: {}", row.detail.as_deref().unwrap_or_default())));
    }
    let status = overall(standing, &found);
    let worst = match status {
        Status::Warning => Some(Verdict::Warning),
        Status::Critical => Some(Verdict::Critical),
        Status::Unknown => Some(Verdict::Unknown),
        Status::Healthy | Status::Parked => None,
    };
    let reason: Vec<String> =
        told.into_iter().filter(|(verdict, _)| Some(*verdict) == worst).map(|(_, told)| told).collect();
    let reason = match standing {
        // What the schedule says of it stands.
        Standing::Parked | Standing::Unheard => return Ok(()),
        Standing::Due => (!reason.is_empty()).then(|| reason.join("; ")),
    };
    set_status(conn, machine, status, reason.as_deref()).await
}

async fn set_status(
    conn: &mut PgConnection,
    machine: MachineId,
    status: Status,
    reason: Option<&str>,
) -> Result<()> {
    sqlx::query!(
        "update machine_health set since = case when status = $2 then since else now() end, status = $2, reason = $3
        where machine_id = $1 and (status, reason) is distinct from ($2, $3)",
        machine.0,
        status.as_str(),
        reason
    )
    .execute(conn)
    .await?;
    Ok(())
}
