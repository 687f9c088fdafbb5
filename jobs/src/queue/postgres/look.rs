//! Reads jobs for people: one with the reason why it waits, or a page of them.

use std::sync::LazyLock;

use chrono::{DateTime, Utc};
use rules::id::{JobId, TenantId};
use rules::queue::{Kind, State};
use rules::{kept, nearest};
use sqlx::PgConnection;

pub use super::why::why;
use crate::db::{MAX_FETCHED, Slice, slice};
use crate::{Error, Listing, Result};

/// A job as people see it, whatever its state.
#[derive(Debug, Clone, serde::Serialize)]
pub struct JobView {
    /// Its id.
    pub id: i64,
    /// The name of its [`State`].
    pub state: String,
    /// Its kind's wire name.
    pub kind: String,
    /// Its queue's name.
    pub queue: String,
    /// Whose work it is.
    pub tenant_id: Option<uuid::Uuid>,
    /// 0 urgent to 3 low.
    pub priority: i16,
    /// Attempts made.
    pub attempt: i16,
    /// Workers that died under it.
    pub crashes: i16,
    /// When it was enqueued.
    pub created_at: DateTime<Utc>,
    /// When it falls due, for one that waits for a time.
    pub run_at: Option<DateTime<Utc>>,
    /// When its attempt began.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
    /// How long its last attempt ran.
    pub run_ms: Option<i32>,
    /// The worker that has or had it.
    pub worker_id: Option<uuid::Uuid>,
    /// Why it is dead.
    pub error: Option<String>,
    /// The W3C `traceparent` of what caused it.
    pub trace_parent: Option<String>,
    /// Its payload.
    pub payload: serde_json::Value,
}

/// A failed attempt.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct FailedAttempt {
    /// Which one it was.
    pub attempt: i16,
    /// Whether its worker died.
    pub crashed: bool,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// How long it ran.
    pub run_ms: i32,
    /// Who made it.
    pub worker_id: uuid::Uuid,
    /// What went wrong.
    pub error: String,
}

/// What a page shows. Without a state, all are shown.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Only this tenant's.
    pub tenant: Option<TenantId>,
    /// Only those in this state.
    pub state: Option<State>,
    /// Only this kind.
    pub kind: Option<String>,
    /// Only those with a smaller id: the last id of the page before.
    pub before: Option<i64>,
    /// Only those with this id or a larger one.
    pub from: Option<i64>,
    /// Only those of kinds that are not the house's own upkeep ([`Kind::is_upkeep`]), which is no tenant's.
    pub without_upkeep: bool,
}

/// A page of jobs, newest first.
///
/// # Errors
/// Invalid for a kind that does not exist, Unavailable when nobody answers.
pub async fn page(conn: &mut PgConnection, filter: &Filter, limit: i64) -> Result<Slice<JobView>> {
    let page = match filter.tenant {
        Some(tenant) => of_tenant(conn, tenant, filter, limit).await?,
        None => of_all(conn, filter, limit).await?,
    };
    match &filter.kind {
        // Jobs of a kind that only another version knows are shown like all others.
        Some(kind) if page.is_empty() => known(kind).map(|()| page),
        Some(_) | None => Ok(page),
    }
}

/// The kinds that a page leaves out.
fn hidden(filter: &Filter) -> Option<&'static [&'static str]> {
    static UPKEEP: LazyLock<Vec<&str>> =
        LazyLock::new(|| Kind::ALL.into_iter().filter(|kind| kind.is_upkeep()).map(Kind::as_str).collect());
    filter.without_upkeep.then(|| UPKEEP.as_slice())
}

async fn of_all(conn: &mut PgConnection, filter: &Filter, limit: i64) -> Result<Slice<JobView>> {
    let rows = sqlx::query_as!(
        JobView,
        r#"select v.id as "id!", v.state as "state!", v.kind as "kind!", q.name as queue, v.tenant_id, v.priority as "priority!",
            v.attempt as "attempt!", v.crashes as "crashes!", v.created_at as "created_at!", v.run_at, v.started_at, v.finished_at,
            v.run_ms, v.worker_id, v.error, v.trace_parent, v.payload as "payload!"
        from (
            (select j.id, 'READY' as state, j.kind, j.queue_id, j.tenant_id, j.priority, t.attempt, t.crashes, j.created_at,
                null::timestamptz as run_at, null::timestamptz as started_at, null::timestamptz as finished_at, null::integer as run_ms,
                null::uuid as worker_id, null::text as error, j.trace_parent, j.payload
            from job_ready t join job j on j.id = t.job_id
            where coalesce($1, 'READY') = 'READY' and t.job_id < $2 and t.job_id >= $5 and ($3::text is null or j.kind = $3) and ($6::text[] is null or j.kind <> all($6))
            order by t.job_id desc limit $4)
            union all
            (select j.id, 'SCHEDULED', j.kind, j.queue_id, j.tenant_id, j.priority, t.attempt, t.crashes, j.created_at,
                t.run_at, null, null, null,
                null, null, j.trace_parent, j.payload
            from job_scheduled t join job j on j.id = t.job_id
            where coalesce($1, 'SCHEDULED') = 'SCHEDULED' and t.job_id < $2 and t.job_id >= $5 and ($3::text is null or j.kind = $3) and ($6::text[] is null or j.kind <> all($6))
            order by t.job_id desc limit $4)
            union all
            (select j.id, 'BLOCKED', j.kind, j.queue_id, j.tenant_id, j.priority, t.attempt, t.crashes, j.created_at,
                null, null, null, null,
                null, null, j.trace_parent, j.payload
            from job_blocked t join job j on j.id = t.job_id
            where coalesce($1, 'BLOCKED') = 'BLOCKED' and t.job_id < $2 and t.job_id >= $5 and ($3::text is null or j.kind = $3) and ($6::text[] is null or j.kind <> all($6))
            order by t.job_id desc limit $4)
            union all
            (select j.id, 'LEASED', j.kind, j.queue_id, j.tenant_id, j.priority, t.attempt, t.crashes, j.created_at,
                null, t.leased_at, null, null,
                t.worker_id, null, j.trace_parent, j.payload
            from job_lease t join job j on j.id = t.job_id
            where coalesce($1, 'LEASED') = 'LEASED' and t.job_id < $2 and t.job_id >= $5 and ($3::text is null or j.kind = $3) and ($6::text[] is null or j.kind <> all($6))
            order by t.job_id desc limit $4)
            union all
            (select t.job_id, 'DEAD', t.kind, t.queue_id, t.tenant_id, t.priority, t.attempt, t.crashes, t.created_at,
                null, null, t.died_at, null, null, t.error, t.trace_parent, t.payload
            from job_dead t
            where coalesce($1, 'DEAD') = 'DEAD' and t.job_id < $2 and t.job_id >= $5 and ($3::text is null or t.kind = $3) and ($6::text[] is null or t.kind <> all($6))
            order by t.job_id desc limit $4)
            union all
            (select t.job_id, case t.outcome when 0 then 'DONE' else 'CANCELLED' end, t.kind, t.queue_id, t.tenant_id, t.priority, t.attempt, t.crashes,
                t.created_at, null, t.started_at, t.finished_at, t.run_ms, t.worker_id, null, t.trace_parent, t.payload
            from job_history t
            where ($1::text is null or ($1 = 'DONE' and t.outcome = 0) or ($1 = 'CANCELLED' and t.outcome = 4))
                and t.job_id < $2 and t.job_id >= $5 and ($3::text is null or t.kind = $3) and ($6::text[] is null or t.kind <> all($6))
            order by t.job_id desc limit $4)
        ) v join job_queue q on q.id = v.queue_id
        order by v.id desc limit $4"#,
        filter.state.map(State::as_str),
        filter.before.unwrap_or(i64::MAX),
        filter.kind,
        limit.clamp(1, MAX_FETCHED),
        filter.from.unwrap_or(i64::MIN),
        hidden(filter) as Option<&[&str]>,
    )
    .fetch(conn);
    slice(rows, |job| kept::bytes(&job.payload)).await
}

/// A statement of its own, so that each table has its index of the tenant's whatever plan the session has come to.
/// Leases are as few as there are slots: those of a tenant are looked for among all of them, and not among all that
/// the tenant has waiting.
async fn of_tenant(
    conn: &mut PgConnection,
    tenant: TenantId,
    filter: &Filter,
    limit: i64,
) -> Result<Slice<JobView>> {
    let rows = sqlx::query_as!(
        JobView,
        r#"select v.id as "id!", v.state as "state!", v.kind as "kind!", q.name as queue, v.tenant_id, v.priority as "priority!",
            v.attempt as "attempt!", v.crashes as "crashes!", v.created_at as "created_at!", v.run_at, v.started_at, v.finished_at,
            v.run_ms, v.worker_id, v.error, v.trace_parent, v.payload as "payload!"
        from (
            (select j.id, 'LEASED' as state, j.kind, j.queue_id, j.tenant_id, j.priority, t.attempt, t.crashes, j.created_at,
                null::timestamptz as run_at, t.leased_at as started_at, null::timestamptz as finished_at, null::integer as run_ms,
                t.worker_id, null::text as error, j.trace_parent, j.payload
            from job_lease t join job j on j.id = t.job_id
            where $1 = 'LEASED' and t.job_id < $2 and t.job_id >= $5 and j.tenant_id = $6 and ($3::text is null or j.kind = $3)
            order by t.job_id desc limit $4)
            union all
            (select j.id, t.state, j.kind, j.queue_id, j.tenant_id, j.priority, t.attempt, t.crashes, j.created_at,
                t.run_at, t.leased_at, null, null, t.worker_id, null, j.trace_parent, j.payload
            from job j cross join lateral (
                select 'READY' as state, attempt, crashes, null::timestamptz as run_at, null::timestamptz as leased_at, null::uuid as worker_id
                from job_ready where job_id = j.id
                union all select 'SCHEDULED', attempt, crashes, run_at, null, null from job_scheduled where job_id = j.id
                union all select 'BLOCKED', attempt, crashes, null, null, null from job_blocked where job_id = j.id
                union all select 'LEASED', attempt, crashes, null, leased_at, worker_id from job_lease where job_id = j.id
            ) t
            where j.tenant_id = $6 and coalesce($1, t.state) = t.state and $1 is distinct from 'LEASED'
                and (j.tenant_id, j.id) < ($6, $2) and (j.tenant_id, j.id) >= ($6, $5) and ($3::text is null or j.kind = $3)
            order by j.id desc limit $4)
            union all
            (select t.job_id, 'DEAD', t.kind, t.queue_id, t.tenant_id, t.priority, t.attempt, t.crashes, t.created_at,
                null, null, t.died_at, null, null, t.error, t.trace_parent, t.payload
            from job_dead t
            where coalesce($1, 'DEAD') = 'DEAD' and t.tenant_id = $6 and (t.tenant_id, t.job_id) < ($6, $2) and (t.tenant_id, t.job_id) >= ($6, $5) and ($3::text is null or t.kind = $3)
            order by t.job_id desc limit $4)
            union all
            (select t.job_id, case t.outcome when 0 then 'DONE' else 'CANCELLED' end, t.kind, t.queue_id, t.tenant_id, t.priority, t.attempt, t.crashes,
                t.created_at, null, t.started_at, t.finished_at, t.run_ms, t.worker_id, null, t.trace_parent, t.payload
            from job_history t
            where ($1::text is null or ($1 = 'DONE' and t.outcome = 0) or ($1 = 'CANCELLED' and t.outcome = 4))
                and t.tenant_id = $6 and (t.tenant_id, t.job_id) < ($6, $2) and (t.tenant_id, t.job_id) >= ($6, $5) and ($3::text is null or t.kind = $3)
            order by t.job_id desc limit $4)
        ) v join job_queue q on q.id = v.queue_id
        order by v.id desc limit $4"#,
        filter.state.map(State::as_str),
        filter.before.unwrap_or(i64::MAX),
        filter.kind,
        limit.clamp(1, MAX_FETCHED),
        filter.from.unwrap_or(i64::MIN),
        tenant.0,
    )
    .fetch(conn);
    slice(rows, |job| kept::bytes(&job.payload)).await
}

/// Refuses a kind that does not exist: an empty page would hide the slip.
pub(super) fn known(kind: &str) -> Result<()> {
    if Kind::ALL.iter().any(|known| known.as_str() == kind) {
        return Ok(());
    }
    let instead = nearest::instead(kind, &Kind::ALL.map(Kind::as_str), "there is none");
    Err(Error::invalid(format!("there are no jobs of a kind `{kind}`; {instead}")))
}

/// One job, whatever its state; with a tenant, only if it is that tenant's.
///
/// # Errors
/// NotFound when there is none, or it belongs to another tenant.
pub async fn job(conn: &mut PgConnection, id: JobId, tenant: Option<TenantId>) -> Result<JobView> {
    // Bounded on both sides, or what is not there would be looked for in all of the history.
    let (from, before) = (Some(id.0), Some(id.0.saturating_add(1)));
    let filter = Filter { tenant, from, before, ..Filter::default() };
    page(conn, &filter, 1)
        .await?
        .rows
        .into_iter()
        .find(|j| j.id == id.0)
        .ok_or_else(|| Error::not_found(format!("there is no job {id}")).listed_in(Listing::Jobs))
}

/// Every failed attempt of a job, oldest first.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn attempts(conn: &mut PgConnection, id: JobId) -> Result<Vec<FailedAttempt>> {
    Ok(attempts_of(conn, &[id.0]).await?.pop().map(|(_, attempts)| attempts).unwrap_or_default())
}

/// The failed attempts of each of these jobs, oldest first.
///
/// # Errors
/// Internal when what is stored does not read back; Unavailable when nobody answers.
pub async fn attempts_of(conn: &mut PgConnection, ids: &[i64]) -> Result<Vec<(JobId, Vec<FailedAttempt>)>> {
    let rows = sqlx::query!(
        r#"select i.id as "id!", coalesce(
            (select d.attempts from job_dead d where d.job_id = i.id),
            (select h.attempts from job_history h where h.job_id = i.id limit 1),
            (select jsonb_agg(to_jsonb(a) order by a.recorded_at) from job_attempt a where a.job_id = i.id),
            '[]') as "attempts!"
        from unnest($1::bigint[]) i(id)"#,
        ids
    )
    .fetch_all(conn)
    .await?;
    let read = |attempts| serde_json::from_value(attempts).map_err(Error::internal);
    rows.into_iter().map(|row| Ok((JobId(row.id), read(row.attempts)?))).collect()
}
