//! The statements of firings.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use futures::TryStreamExt;
use rules::id::{FiringId, JobId, RunId, ScheduleId, TenantId};
use serde::Serialize;
use sqlx::PgConnection;
use uuid::Uuid;

use super::FiringState;
use crate::db::{Filling, MAX_FETCHED, Slice};
use crate::{Error, Result};

/// A firing as people see it.
#[derive(Debug, Clone, Serialize)]
pub struct Firing {
    /// Its id.
    pub id: Uuid,
    /// The schedule.
    pub schedule_id: Uuid,
    /// SCHEDULED or MANUAL.
    pub trigger_type: String,
    /// The tick, or when somebody asked; of ticks that were missed, the first.
    pub tick_at: DateTime<Utc>,
    /// What it has come to, see [`FiringState`].
    pub state: String,
    /// Which attempt, from 1.
    pub attempt: i32,
    /// The run that the last attempt started.
    pub run_id: Option<Uuid>,
    /// Who asked for it.
    pub asked_by: Option<String>,
    /// When it was entered.
    pub fired_at: DateTime<Utc>,
    /// When the last attempt's run was started.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub ended_at: Option<DateTime<Utc>>,
    /// From the start of its last run to the end, in milliseconds.
    pub duration_ms: Option<i64>,
    /// How many ticks were missed, where it is MISSED.
    pub missed: Option<i32>,
    /// The last of the ticks that were missed.
    pub missed_until: Option<DateTime<Utc>>,
    /// Why it came to that.
    pub result: Option<String>,
}

/// An attempt of a firing, and what its schedule allows.
#[derive(Debug, Clone)]
pub struct Attempted {
    /// The firing.
    pub id: FiringId,
    /// Whose it is.
    pub tenant: TenantId,
    /// Which attempt, from 1.
    pub attempt: i32,
    /// How many further ones there may be; none where the schedule is gone or disabled.
    pub retries: i32,
    /// The wait before the next, in seconds.
    pub retry_delay_s: i32,
    /// How long a run may take, in seconds.
    pub timeout_s: i32,
    /// Whether its run was cancelled because it took too long.
    pub timed_out: bool,
}

/// A firing that is to be entered.
#[derive(Debug, Clone)]
pub struct NewFiring {
    /// Its id.
    pub id: FiringId,
    /// Whose it is.
    pub tenant: TenantId,
    /// The schedule.
    pub schedule: ScheduleId,
    /// The tick.
    pub tick: DateTime<Utc>,
    /// How many ticks were missed, and the last of them, where it tells that.
    pub missed: Option<(u32, DateTime<Utc>)>,
}

/// Enters firings of ticks, but none of a tick that has one; answers which were entered.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn enter(conn: &mut PgConnection, new: &[NewFiring]) -> Result<Vec<FiringId>> {
    let ids: Vec<Uuid> = new.iter().map(|f| f.id.0).collect();
    let tenants: Vec<Uuid> = new.iter().map(|f| f.tenant.0).collect();
    let schedules: Vec<Uuid> = new.iter().map(|f| f.schedule.0).collect();
    let ticks: Vec<DateTime<Utc>> = new.iter().map(|f| f.tick).collect();
    let missed: Vec<Option<i32>> =
        new.iter().map(|f| f.missed.map(|(count, _)| i32::try_from(count).unwrap_or(i32::MAX))).collect();
    let until: Vec<Option<DateTime<Utc>>> = new.iter().map(|f| f.missed.map(|(_, last)| last)).collect();
    let rows = sqlx::query_scalar!(
        "insert into schedule_firing (id, tenant_id, schedule_id, trigger_type, tick_at, state, missed, missed_until, ended_at)
        select n.id, n.tenant, n.schedule, 'SCHEDULED', n.tick, case when n.missed is null then 'QUEUED' else 'MISSED' end,
            n.missed, n.until, case when n.missed is not null then now() end
        from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::timestamptz[], $5::integer[], $6::timestamptz[])
            n(id, tenant, schedule, tick, missed, until)
        on conflict (schedule_id, tick_at) where trigger_type = 'SCHEDULED' do nothing returning id",
        &ids,
        &tenants,
        &schedules,
        &ticks,
        &missed as &[Option<i32>],
        &until as &[Option<DateTime<Utc>>],
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(FiringId).collect())
}

/// Says of firings which job starts the run of each.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn given(conn: &mut PgConnection, jobs: &[(FiringId, JobId)]) -> Result<()> {
    let (ids, jobs): (Vec<Uuid>, Vec<i64>) = jobs.iter().map(|(firing, job)| (firing.0, job.0)).unzip();
    sqlx::query!(
        "update schedule_firing f set job_id = n.job from unnest($1::uuid[], $2::bigint[]) n(id, job) where f.id = n.id",
        &ids,
        &jobs
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Enters a firing that somebody asks for, whose run this job starts.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn enter_asked(
    conn: &mut PgConnection,
    id: FiringId,
    tenant: TenantId,
    schedule: ScheduleId,
    by: &str,
    job: Option<JobId>,
) -> Result<()> {
    sqlx::query!(
        "insert into schedule_firing (id, tenant_id, schedule_id, trigger_type, tick_at, asked_by, job_id)
        values ($1, $2, $3, 'MANUAL', date_trunc('milliseconds', now()), $4, $5)",
        id.0,
        tenant.0,
        schedule.0,
        by,
        job.map(|j| j.0)
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// One firing of a tenant's.
///
/// # Errors
/// NotFound when the tenant has no such firing.
pub async fn get(conn: &mut PgConnection, tenant: TenantId, id: FiringId) -> Result<Firing> {
    let found = sqlx::query_as!(
        Firing,
        r#"select id, schedule_id, trigger_type, tick_at, state, attempt, run_id, asked_by, fired_at, started_at, ended_at,
            (extract(epoch from ended_at - started_at) * 1000)::bigint as duration_ms, missed, missed_until, result
        from schedule_firing where tenant_id = $1 and id = $2"#,
        tenant.0,
        id.0
    )
    .fetch_optional(conn)
    .await?;
    found.ok_or_else(|| Error::not_found(format!("there is no firing `{id}`")))
}

/// A page of a schedule's firings, newest first, older than the given one.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn by_schedule(
    conn: &mut PgConnection,
    tenant: TenantId,
    schedule: ScheduleId,
    before: Option<FiringId>,
    limit: i64,
) -> Result<Slice<Firing>> {
    let mut found = by_schedules(conn, tenant, &[schedule.0], before, limit).await?;
    Ok(found.remove(&schedule).unwrap_or_else(|| Vec::new().into()))
}

/// The same page of the firings of several schedules, which share the bytes of one page. A schedule without any has none.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn by_schedules(
    conn: &mut PgConnection,
    tenant: TenantId,
    schedules: &[Uuid],
    before: Option<FiringId>,
    limit: i64,
) -> Result<HashMap<ScheduleId, Slice<Firing>>> {
    let mut rows = sqlx::query_as!(
        Firing,
        r#"select f.id, f.schedule_id, f.trigger_type, f.tick_at, f.state, f.attempt, f.run_id, f.asked_by, f.fired_at,
            f.started_at, f.ended_at, (extract(epoch from f.ended_at - f.started_at) * 1000)::bigint as duration_ms,
            f.missed, f.missed_until, f.result
        from unnest($2::uuid[]) s(id)
        cross join lateral (
            select * from schedule_firing x
            where x.tenant_id = $1 and x.schedule_id = s.id and ($3::uuid is null or x.id < $3)
            order by x.id desc limit $4) f
        order by f.schedule_id, f.id desc"#,
        tenant.0,
        schedules,
        before.map(|f| f.0),
        limit.clamp(1, MAX_FETCHED)
    )
    .fetch(conn);
    let mut found: HashMap<ScheduleId, Filling<Firing>> = HashMap::new();
    while let Some(firing) = rows.try_next().await? {
        let bytes = firing.result.as_ref().map_or(0, String::len);
        let of = ScheduleId(firing.schedule_id);
        found.entry(of).or_insert_with(|| Filling::one_of(schedules.len())).put(firing, bytes);
    }
    Ok(found.into_iter().map(|(schedule, filling)| (schedule, filling.into())).collect())
}

/// Lets a firing wait again that ended because this job of its died: whoever redrives the job wants its run. A job that
/// has done its work does not come back, so that of no other firing the job is the one here.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn reopen(conn: &mut PgConnection, tenant: TenantId, id: FiringId, job: JobId) -> Result<()> {
    sqlx::query!(
        "update schedule_firing set state = 'QUEUED', ended_at = null, result = null
        where tenant_id = $1 and id = $2 and state = 'FAILURE' and job_id = $3",
        tenant.0,
        id.0,
        job.0
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Takes hold of a firing whose job waits, with its schedule; none where it does not wait any more.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn queued(
    conn: &mut PgConnection,
    tenant: TenantId,
    id: FiringId,
) -> Result<Option<(Attempted, ScheduleId)>> {
    let row = sqlx::query!(
        r#"select f.schedule_id, f.attempt, f.timed_out, case when s.disabled then 0 else s.retries end as "retries?",
            s.retry_delay_s as "retry_delay_s?", s.timeout_s as "timeout_s?"
        from schedule_firing f left join schedule s on s.tenant_id = f.tenant_id and s.id = f.schedule_id
        where f.tenant_id = $1 and f.id = $2 and f.state = 'QUEUED' for update of f"#,
        tenant.0,
        id.0
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|r| {
        let attempted = Attempted {
            id,
            tenant,
            attempt: r.attempt,
            retries: r.retries.unwrap_or_default(),
            retry_delay_s: r.retry_delay_s.unwrap_or(1),
            timeout_s: r.timeout_s.unwrap_or(1),
            timed_out: r.timed_out,
        };
        (attempted, ScheduleId(r.schedule_id))
    }))
}

/// Takes hold of the firing whose run this is; none where no firing started it, or it has ended.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn of_run(conn: &mut PgConnection, run: RunId) -> Result<Option<Attempted>> {
    let row = sqlx::query!(
        r#"select f.id, f.tenant_id, f.attempt, f.timed_out, case when s.disabled then 0 else s.retries end as "retries?",
            s.retry_delay_s as "retry_delay_s?", s.timeout_s as "timeout_s?"
        from schedule_firing f left join schedule s on s.tenant_id = f.tenant_id and s.id = f.schedule_id
        where f.run_id = $1 and f.state = 'STARTED' for update of f"#,
        run.0
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|r| Attempted {
        id: FiringId(r.id),
        tenant: TenantId(r.tenant_id),
        attempt: r.attempt,
        retries: r.retries.unwrap_or_default(),
        retry_delay_s: r.retry_delay_s.unwrap_or(1),
        timeout_s: r.timeout_s.unwrap_or(1),
        timed_out: r.timed_out,
    }))
}

/// Says that a firing's run was started, and until when it may take.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn started(conn: &mut PgConnection, id: FiringId, run: RunId, timeout_s: i32) -> Result<()> {
    sqlx::query!(
        "update schedule_firing set state = 'STARTED', run_id = $2, started_at = now(), timed_out = false, result = null,
            deadline_at = now() + $3::integer * interval '1 second'
        where id = $1",
        id.0,
        run.0,
        timeout_s
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Lets a firing wait for its next attempt, which this job makes, with what the last came to.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn again(conn: &mut PgConnection, id: FiringId, job: Option<JobId>, result: &str) -> Result<()> {
    sqlx::query!(
        "update schedule_firing set state = 'QUEUED', attempt = attempt + 1, run_id = null, started_at = null,
            deadline_at = null, job_id = $2, result = $3
        where id = $1",
        id.0,
        job.map(|j| j.0),
        result
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Ends a firing that has not ended; tells whether it did.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn finish(
    conn: &mut PgConnection,
    id: FiringId,
    state: FiringState,
    result: Option<&str>,
) -> Result<bool> {
    let done = sqlx::query!(
        "update schedule_firing set state = $2, result = $3, ended_at = now(), deadline_at = null
        where id = $1 and ended_at is null",
        id.0,
        state.as_str(),
        result
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}
