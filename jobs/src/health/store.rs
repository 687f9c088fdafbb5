//! Keeps which checks are made of machines, and shows what they found.

use chrono::{DateTime, Utc};
use rules::health::{Check, DEFAULT_INTERVAL_S, Status};
use rules::id::{MachineId, TenantId};
use rules::machine::Wanted;
use rules::queue::HostNo;
use sqlx::PgConnection;
use uuid::Uuid;

use super::ask::Asked;
use super::report::store::sum_up;
use crate::{Error, Listing, Result};

/// How a machine is as a whole.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct HealthView {
    /// The machine.
    pub machine_id: Uuid,
    /// Its name.
    pub machine: String,
    /// The name of its host.
    pub host: String,
    /// The name of its [`rules::health::Status`].
    pub status: String,
    /// Why, unless it is healthy.
    pub reason: Option<String>,
    /// Since when.
    pub since: Option<DateTime<Utc>>,
}

/// A check of a machine, and what it found last.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct CheckView {
    /// The name of the [`Check`].
    pub name: String,
    /// Whether it is made by itself.
    pub enabled: bool,
    /// How often, in seconds.
    pub interval_s: i32,
    /// When it is put into the queue next; none while the machine is parked or its host does not answer.
    pub due_at: Option<DateTime<Utc>>,
    /// Its job that waits or runs.
    pub job_id: Option<i64>,
    /// READY, SCHEDULED, BLOCKED or LEASED, where there is such a job.
    pub job_state: Option<String>,
    /// The name of the [`rules::health::Verdict`]; none before the first.
    pub verdict: Option<String>,
    /// Why.
    pub detail: Option<String>,
    /// What was read.
    pub figures: Option<serde_json::Value>,
    /// When.
    pub checked_at: Option<DateTime<Utc>>,
    /// Since when the verdict is this one.
    pub since: Option<DateTime<Utc>>,
    /// How long the reading took, in milliseconds.
    pub took_ms: Option<i32>,
}

/// What a check found once.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct ResultView {
    /// Its place in the history.
    pub id: i64,
    /// The name of the [`Check`].
    pub name: String,
    /// The name of the verdict.
    pub verdict: String,
    /// Why.
    pub detail: String,
    /// What was read.
    pub figures: serde_json::Value,
    /// When.
    pub at: DateTime<Utc>,
    /// How long the reading took, in milliseconds.
    pub took_ms: i32,
}

/// How often a check of a machine found what, among what is kept.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Tally {
    /// The name of the [`Check`].
    pub name: String,
    /// How often it was healthy.
    pub healthy: i64,
    /// How often it was a warning.
    pub warning: i64,
    /// How often it was critical.
    pub critical: i64,
    /// How often nobody knew.
    pub unknown: i64,
    /// How long a reading took on average, in milliseconds.
    pub average_ms: f64,
    /// The oldest of what is kept.
    pub oldest_at: DateTime<Utc>,
}

/// Where a machine's checks are made, and what it shall be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) host_no: HostNo,
    pub(super) wanted: Wanted,
}

/// Where a tenant's machine is.
///
/// # Errors
/// NotFound when the tenant has no such machine, or it is destroyed.
pub(super) async fn place(conn: &mut PgConnection, tenant: TenantId, id: MachineId) -> Result<Place> {
    let row = sqlx::query!(
        "select o.no, m.wanted from machine m join host o on o.id = m.host_id
        where m.tenant_id = $1 and m.id = $2 and m.destroyed_at is null",
        tenant.0,
        id.0
    )
    .fetch_optional(conn)
    .await?
    .ok_or_else(|| absent(id))?;
    Ok(Place {
        host_no: HostNo::new(row.no).ok_or_else(|| Error::internal("a host's number is out of range"))?,
        wanted: Wanted::from_name(&row.wanted)
            .ok_or_else(|| Error::internal(format!("`{}` is no wanted state", row.wanted)))?,
    })
}

/// Holds a machine's health until the transaction ends, so that no check of it begins or ends meanwhile. One
/// that the schedule does not know yet is entered so that it will.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn hold(conn: &mut PgConnection, tenant: TenantId, id: MachineId) -> Result<()> {
    sqlx::query!(
        "insert into machine_health (machine_id, tenant_id, reason, wanted, seen, host_answers)
        values ($1, $2, 'it was not checked yet', '', '', true) on conflict (machine_id) do update set machine_id = excluded.machine_id",
        id.0,
        tenant.0
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Holds the checks of a machine until the transaction ends, so that the schedule passes them by.
///
/// # Errors
/// Unavailable when nobody answers.
pub(super) async fn hold_checks(conn: &mut PgConnection, id: MachineId) -> Result<()> {
    sqlx::query!("select name from health_check where machine_id = $1 order by name for update", id.0)
        .fetch_all(conn)
        .await?;
    Ok(())
}

/// Notes which jobs make checks.
///
/// # Errors
/// Unavailable when nobody answers.
pub(super) async fn note_jobs(conn: &mut PgConnection, id: MachineId, asked: &[Asked]) -> Result<()> {
    let names: Vec<&str> = asked.iter().map(|a| a.check.as_str()).collect();
    let jobs: Vec<i64> = asked.iter().map(|a| a.job.0).collect();
    sqlx::query!(
        "update health_check c set job_id = n.job from unnest($2::text[], $3::bigint[]) n(name, job)
        where c.machine_id = $1 and c.name = n.name",
        id.0,
        &names as &[&str],
        &jobs
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// How a machine is as a whole, destroyed ones included; of one that was never checked, unknown. Without a
/// tenant, anybody's.
///
/// # Errors
/// NotFound when the tenant has no such machine.
pub async fn get(conn: &mut PgConnection, tenant: Option<TenantId>, id: MachineId) -> Result<HealthView> {
    sqlx::query_as!(
        HealthView,
        r#"select m.id as machine_id, m.name as machine, o.name as host, coalesce(h.status, 'UNKNOWN') as "status!",
            case when h.machine_id is null then case when m.destroyed_at is null then 'it was not checked yet' else 'it is destroyed' end else h.reason end as reason,
            h.since as "since?"
        from machine m join host o on o.id = m.host_id left join machine_health h on h.machine_id = m.id
        where ($1::uuid is null or m.tenant_id = $1) and m.id = $2"#,
        tenant.map(|t| t.0),
        id.0
    )
    .fetch_optional(conn)
    .await?
    .ok_or_else(|| absent(id))
}

/// The checks of a machine with what they found last, by name.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn checks(conn: &mut PgConnection, id: MachineId) -> Result<Vec<CheckView>> {
    let rows = sqlx::query_as!(
        CheckView,
        r#"select c.name, c.enabled, c.interval_s, case when c.enabled and isfinite(c.due_at) then c.due_at end as due_at,
            j.id as "job_id?", case when r.job_id is not null then 'READY' when d.job_id is not null then 'SCHEDULED'
                when b.job_id is not null then 'BLOCKED' when l.job_id is not null then 'LEASED' end as job_state,
            s.verdict as "verdict?", s.detail as "detail?", s.figures as "figures?", s.checked_at as "checked_at?", s.since as "since?", s.took_ms as "took_ms?"
        from health_check c
        left join health_snapshot s on s.machine_id = c.machine_id and s.name = c.name
        left join job j on j.id = c.job_id
        left join job_ready r on r.job_id = j.id
        left join job_scheduled d on d.job_id = j.id
        left join job_blocked b on b.job_id = j.id
        left join job_lease l on l.job_id = j.id
        where c.machine_id = $1 order by c.name"#,
        id.0
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}

/// A page of what checks of a machine found, newest first, before the given place.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn history(
    conn: &mut PgConnection,
    id: MachineId,
    check: Option<Check>,
    before: Option<i64>,
    limit: i64,
) -> Result<Vec<ResultView>> {
    let rows = sqlx::query_as!(
        ResultView,
        "select id, name, verdict, detail, figures, at, took_ms from health_result
        where machine_id = $1 and ($2::text is null or name = $2) and ($3::bigint is null or id < $3) order by id desc limit $4",
        id.0,
        check.map(Check::as_str),
        before,
        limit
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}

/// How often each check of a machine found what, among what is kept.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn tally(conn: &mut PgConnection, id: MachineId) -> Result<Vec<Tally>> {
    let rows = sqlx::query_as!(
        Tally,
        r#"select name, count(*) filter (where verdict = 'HEALTHY') as "healthy!", count(*) filter (where verdict = 'WARNING') as "warning!",
            count(*) filter (where verdict = 'CRITICAL') as "critical!", count(*) filter (where verdict = 'UNKNOWN') as "unknown!",
            avg(took_ms)::float8 as "average_ms!", min(at) as "oldest_at!"
        from health_result where machine_id = $1 group by name order by name"#,
        id.0
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}

/// Says whether and how often a check of a tenant's machine is made by itself; what is not given stays. Made
/// more often, it is due within the new interval.
///
/// # Errors
/// NotFound when the tenant has no such machine, or it is destroyed.
pub async fn set(
    conn: &mut PgConnection,
    tenant: TenantId,
    id: MachineId,
    check: Check,
    enabled: Option<bool>,
    interval_s: Option<u32>,
) -> Result<()> {
    place(conn, tenant, id).await?;
    hold(conn, tenant, id).await?;
    sqlx::query!(
        "insert into health_check as c (machine_id, tenant_id, name, enabled, interval_s, due_at)
        values ($1, $2, $3, coalesce($4::boolean, true), coalesce($5::integer, $6::integer), now())
        on conflict (machine_id, name) do update set enabled = coalesce($4::boolean, c.enabled), interval_s = coalesce($5::integer, c.interval_s),
            due_at = case when isfinite(c.due_at) then least(c.due_at, now() + coalesce($5::integer, c.interval_s) * interval '1 second') else c.due_at end",
        id.0,
        tenant.0,
        check.as_str(),
        enabled,
        interval_s.map(|s| i32::try_from(s).unwrap_or(i32::MAX)),
        i32::try_from(DEFAULT_INTERVAL_S).unwrap_or(i32::MAX)
    )
    .execute(&mut *conn)
    .await?;
    sum_up(conn, id).await
}

/// Has every check of a tenant's machines put into the queue at the schedule's next round. Returns how many;
/// those of parked machines are not among them.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn hasten(conn: &mut PgConnection, tenant: TenantId) -> Result<u64> {
    // Locked in order, as the schedule locks many: the update alone would take them as it finds them.
    let done = sqlx::query!(
        "with due as materialized (
            select c.machine_id, c.name from machine_health h join health_check c on c.machine_id = h.machine_id
            where h.tenant_id = $1 and c.enabled and isfinite(c.due_at) order by c.machine_id, c.name for update of c
        )
        update health_check c set due_at = least(c.due_at, now()) from due d where c.machine_id = d.machine_id and c.name = d.name",
        tenant.0
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected())
}

/// How many machines have each status; a tenant's, or everybody's.
///
/// # Errors
/// Internal when what is stored does not read back; Unavailable when nobody answers.
pub async fn count(conn: &mut PgConnection, tenant: Option<TenantId>) -> Result<Vec<(Status, i64)>> {
    let rows = sqlx::query!(
        r#"select status, count(*) as "count!" from machine_health where ($1::uuid is null or tenant_id = $1) group by status order by status"#,
        tenant.map(|t| t.0)
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|row| {
            let status = Status::from_name(&row.status)
                .ok_or_else(|| Error::internal(format!("`{}` is no status of a machine", row.status)))?;
            Ok((status, row.count))
        })
        .collect()
}

fn absent(id: MachineId) -> Error {
    Error::not_found(format!("there is no machine `{id}`")).listed_in(Listing::Machines)
}
