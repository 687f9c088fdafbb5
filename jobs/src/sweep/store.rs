//! The statements of sweeps.

use std::time::Duration;

use chrono::{DateTime, Utc};
use rules::id::{JobId, LeaseToken, SweepId, TenantId};
use rules::queue::letter::Letters;
use rules::queue::sweep::{Pace, SweepAction, SweepState};
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use crate::db::{MAX_FETCHED, Slice};
use crate::{Error, Result};

/// How many abandoned sweeps one call says it of.
const ABANDONED_BATCH: i64 = 100;

/// A sweep as people see it.
#[derive(Debug, Clone, serde::Serialize)]
pub struct SweepView {
    /// Its id.
    pub id: Uuid,
    /// Whose letters it takes; none for those of all tenants.
    pub tenant_id: Option<Uuid>,
    /// The name of its [`SweepAction`].
    pub action: String,
    /// Which letters it takes.
    pub letters: Json<Letters>,
    /// How many attempts each gets; none for as many as its kind has.
    pub attempts: Option<i16>,
    /// How many it takes in a second, at most.
    pub rate: i16,
    /// The name of its [`SweepState`].
    pub state: String,
    /// The job that does it.
    pub job_id: i64,
    /// How many there were to take when it began.
    pub matched: i64,
    /// Whether these were all; otherwise there were more.
    pub matched_complete: bool,
    /// The job up to which all is decided.
    pub reached: i64,
    /// How many were redriven or discarded.
    pub done: i64,
    /// How many could not be.
    pub refused: i64,
    /// Why the first of these could not be.
    pub refusal: Option<String>,
    /// Why it does not go on.
    pub error: Option<String>,
    /// Who asked for it.
    pub asked_by: String,
    /// When.
    pub asked_at: DateTime<Utc>,
    /// Who stopped it.
    pub ended_by: Option<String>,
    /// When it ended.
    pub ended_at: Option<DateTime<Utc>>,
}

impl SweepView {
    /// What it does.
    ///
    /// # Errors
    /// Internal for what only another version knows.
    pub fn action(&self) -> Result<SweepAction> {
        self.action.parse().map_err(Error::internal)
    }

    /// What has become of it.
    ///
    /// # Errors
    /// As [`SweepView::action`].
    pub fn state(&self) -> Result<SweepState> {
        self.state.parse().map_err(Error::internal)
    }
}

/// What time it is for the database.
pub(super) async fn now(conn: &mut PgConnection) -> Result<DateTime<Utc>> {
    Ok(sqlx::query_scalar!(r#"select now() as "now!""#).fetch_one(conn).await?)
}

/// Has whoever else begins a sweep of a tenant, or of all tenants at once, wait until this one is committed.
pub(super) async fn begin_alone(conn: &mut PgConnection, tenant: Option<TenantId>) -> Result<()> {
    sqlx::query!(
        "select pg_advisory_xact_lock(hashtextextended(concat('letter_sweep ', $1::uuid), 0))",
        tenant.map(|t| t.0)
    )
    .fetch_one(conn)
    .await?;
    Ok(())
}

/// How many are open of a tenant, or of all tenants at once.
pub(super) async fn open(conn: &mut PgConnection, tenant: Option<TenantId>) -> Result<i64> {
    let open = sqlx::query_scalar!(
        r#"select count(*) as "open!" from letter_sweep where tenant_id is not distinct from $1 and ended_at is null"#,
        tenant.map(|t| t.0)
    )
    .fetch_one(conn)
    .await?;
    Ok(open)
}

/// Enters one that has done nothing yet.
pub(super) async fn insert(conn: &mut PgConnection, new: &SweepView) -> Result<()> {
    sqlx::query!(
        "insert into letter_sweep (id, tenant_id, action, filter, attempts, rate, job_id, matched, matched_complete, asked_by, asked_at)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        new.id,
        new.tenant_id,
        new.action,
        serde_json::to_value(&new.letters).map_err(Error::internal)?,
        new.attempts,
        new.rate,
        new.job_id,
        new.matched,
        new.matched_complete,
        new.asked_by,
        new.asked_at,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// A sweep; with a tenant, only if it is that tenant's.
///
/// # Errors
/// NotFound when there is none, or it belongs to another tenant.
pub async fn get(conn: &mut PgConnection, tenant: Option<TenantId>, id: SweepId) -> Result<SweepView> {
    let found = sqlx::query_as!(
        SweepView,
        r#"select id, tenant_id, action, filter as "letters: Json<Letters>", attempts, rate, state, job_id, matched,
            matched_complete, reached, done, refused, refusal, error, asked_by, asked_at, ended_by, ended_at
        from letter_sweep where id = $1 and ($2::uuid is null or tenant_id = $2)"#,
        id.0,
        tenant.map(|t| t.0)
    )
    .fetch_optional(conn)
    .await?;
    found.ok_or_else(|| unknown(id))
}

/// The same, locked until the end of the transaction, with what it took of late: one batch at a time, and none beside a
/// cancellation.
///
/// # Errors
/// As [`get`].
pub(super) async fn hold(
    conn: &mut PgConnection,
    tenant: Option<TenantId>,
    id: SweepId,
) -> Result<(SweepView, Pace)> {
    let held = sqlx::query!(
        r#"select (extract(epoch from clock_timestamp() - second_at) * 1000)::bigint as since_ms, second_taken
        from letter_sweep where id = $1 and ($2::uuid is null or tenant_id = $2) for update"#,
        id.0,
        tenant.map(|t| t.0)
    )
    .fetch_optional(&mut *conn)
    .await?
    .ok_or_else(|| unknown(id))?;
    let since = held.since_ms.and_then(|ms| u64::try_from(ms).ok()).map(Duration::from_millis);
    let taken = u16::try_from(held.second_taken).unwrap_or_default();
    Ok((get(conn, tenant, id).await?, Pace { since, taken }))
}

fn unknown(id: SweepId) -> Error {
    Error::not_found(format!("there is no sweep of dead letters `{id}`"))
}

/// Sweeps, newest first.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn page(
    conn: &mut PgConnection,
    tenant: Option<TenantId>,
    before: Option<SweepId>,
    limit: i64,
) -> Result<Slice<SweepView>> {
    let rows = sqlx::query_as!(
        SweepView,
        r#"select id, tenant_id, action, filter as "letters: Json<Letters>", attempts, rate, state, job_id, matched,
            matched_complete, reached, done, refused, refusal, error, asked_by, asked_at, ended_by, ended_at
        from letter_sweep where ($1::uuid is null or tenant_id = $1) and ($2::uuid is null or id < $2)
        order by id desc limit $3"#,
        tenant.map(|t| t.0),
        before.map(|id| id.0),
        limit.clamp(1, MAX_FETCHED)
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into())
}

/// Whether the attempt still holds its lease; it does until the end of the transaction then.
pub(super) async fn leased(conn: &mut PgConnection, job: JobId, token: LeaseToken) -> Result<bool> {
    let held = sqlx::query_scalar!(
        "select job_id from job_lease where job_id = $1 and token = $2 and lease_until > now() for key share",
        job.0,
        token.0
    )
    .fetch_optional(conn)
    .await?;
    Ok(held.is_some())
}

/// Notes what a batch came to, up to where all is decided, and how many were taken in the second under way, which may begin
/// with this batch.
pub(super) async fn went(
    conn: &mut PgConnection,
    sweep: &SweepView,
    begins_second: bool,
    in_second: u16,
) -> Result<()> {
    sqlx::query!(
        "update letter_sweep set state = 'RUNNING', error = null, reached = $2, done = $3, refused = $4, refusal = $5,
            second_at = case when $6 then clock_timestamp() else second_at end, second_taken = $7
        where id = $1",
        sweep.id,
        sweep.reached,
        sweep.done,
        sweep.refused,
        sweep.refusal,
        begins_second,
        i16::try_from(in_second).unwrap_or(i16::MAX)
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Ends it, or says why it does not go on.
pub(super) async fn stop(
    conn: &mut PgConnection,
    id: SweepId,
    state: SweepState,
    error: Option<&str>,
    by: Option<&str>,
) -> Result<()> {
    sqlx::query!(
        "update letter_sweep set state = $2, error = coalesce($3, error), ended_by = $4,
            ended_at = case when $2 = 'FAILED' then null else now() end
        where id = $1 and state in ('RUNNING', 'FAILED')",
        id.0,
        state.as_str(),
        error,
        by
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Says with those whose job is gone why they do not go on; tells which.
pub(super) async fn fail_abandoned(conn: &mut PgConnection) -> Result<Vec<Uuid>> {
    let failed = sqlx::query_scalar!(
        "update letter_sweep s set state = 'FAILED', error = coalesce(
            (select 'its job ' || d.job_id || ' died: ' || d.error || '; redrive that job and it goes on' from job_dead d where d.job_id = s.job_id),
            'its job ' || s.job_id || ' is gone; stop this sweep, and begin one anew for what is left')
        where s.id = any(array(
            select o.id from letter_sweep o
            where not exists (select from job j where j.id = o.job_id)
                and (o.state = 'RUNNING' or o.state = 'FAILED' and o.error not like '% is gone; %'
                    and not exists (select from job_dead d where d.job_id = o.job_id)) limit $1 for update skip locked))
        returning s.id",
        ABANDONED_BATCH
    )
    .fetch_all(conn)
    .await?;
    Ok(failed)
}

/// Locks those of these letters that still are some which died before then, in the order of their ids; tells of which kind
/// each is.
pub(super) async fn hold_letters(
    conn: &mut PgConnection,
    tenant: Option<TenantId>,
    until: DateTime<Utc>,
    ids: &[i64],
) -> Result<Vec<(i64, String)>> {
    let rows = sqlx::query!(
        "select job_id, kind from job_dead
        where job_id = any($1) and died_at < $2 and ($3::uuid is null or tenant_id = $3)
        order by job_id for update",
        ids,
        until,
        tenant.map(|t| t.0)
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (row.job_id, row.kind)).collect())
}

/// What became of one that was to be redriven.
pub(super) struct Redriven {
    pub(super) id: i64,
    pub(super) became: String,
    pub(super) woken: Vec<i32>,
}

/// Gives each of these as many more attempts as stand beside it.
pub(super) async fn redrive(conn: &mut PgConnection, ids: &[i64], attempts: &[i16]) -> Result<Vec<Redriven>> {
    let rows = sqlx::query_as!(
        Redriven,
        r#"select id as "id!", became as "became!", woken as "woken!" from job_redrive_many_v1($1, $2)"#,
        ids,
        attempts
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}

/// The kind of a dead letter, locked; with a tenant, only if it is that tenant's.
pub(super) async fn letter(
    conn: &mut PgConnection,
    tenant: Option<TenantId>,
    id: JobId,
) -> Result<Option<String>> {
    let kind = sqlx::query_scalar!(
        "select kind from job_dead where job_id = $1 and ($2::uuid is null or tenant_id = $2) for update",
        id.0,
        tenant.map(|t| t.0)
    )
    .fetch_optional(conn)
    .await?;
    Ok(kind)
}

/// Gives a dead letter another payload.
pub(super) async fn edit(conn: &mut PgConnection, id: JobId, payload: &serde_json::Value) -> Result<()> {
    sqlx::query!("update job_dead set payload = $2 where job_id = $1", id.0, payload).execute(conn).await?;
    Ok(())
}
