//! Keeps the rows of runs: entered once, stepped by whoever holds them, read by people.

use chrono::{DateTime, Utc};
use rules::id::{RunId, TenantId, WorkflowId};
use rules::kept;
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::db::{MAX_FETCHED, Slice, slice};
use crate::{Error, Listing, Result};

/// How long a letter may lie before its run is looked after, in seconds: whoever put it there does it at once.
const LETTER_LIES_S: i32 = 2;

/// How long a run may stand unbegun before somebody else begins it, in seconds.
const UNBEGUN_S: i32 = 60;

/// A run that is to be started.
#[derive(Debug, Clone)]
pub struct NewRun<'a> {
    /// Its id.
    pub id: RunId,
    /// Whose it is.
    pub tenant: TenantId,
    /// The workflow.
    pub workflow: WorkflowId,
    /// The version that it pins.
    pub workflow_version: i32,
    /// What it starts with.
    pub input: &'a Value,
    /// At most one run of the workflow under this key.
    pub idempotency_key: Option<&'a str>,
    /// The W3C `traceparent` of what caused it.
    pub trace_parent: Option<&'a str>,
    /// Who or what started it.
    pub started_by: &'a str,
}

/// A run as people see it.
#[derive(Debug, Clone)]
pub struct RunView {
    /// Its id.
    pub id: Uuid,
    /// Whose it is.
    pub tenant_id: Uuid,
    /// The workflow.
    pub workflow_id: Uuid,
    /// The version that it pins.
    pub workflow_version: i32,
    /// PENDING, RUNNING, COMPLETED, FAILED or CANCELLED.
    pub status: String,
    /// What it started with.
    pub input: Value,
    /// What it ended with.
    pub output: Option<Value>,
    /// Why it failed.
    pub error: Option<String>,
    /// The key under which it was started.
    pub idempotency_key: Option<String>,
    /// Who or what started it.
    pub started_by: String,
    /// When it was accepted.
    pub created_at: DateTime<Utc>,
    /// When its first step was made.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
}

/// A run as its driver holds it, locked until the transaction ends.
#[derive(Debug, Clone)]
pub struct Locked {
    /// Whose it is.
    pub tenant_id: Uuid,
    /// The workflow.
    pub workflow_id: Uuid,
    /// The version that it pins.
    pub workflow_version: i32,
    /// Guards the step.
    pub version: i64,
    /// The last line of its log.
    pub last_seq: i32,
    /// The fold of its log; none before the first step.
    pub state: Option<Value>,
    /// Its status.
    pub status: String,
    /// What it starts with.
    pub input: Value,
    /// The trace that it belongs to.
    pub trace_parent: Option<String>,
    /// Who or what started it.
    pub started_by: String,
}

/// What a step leaves in the run's row.
#[derive(Debug, Clone)]
pub struct Stepped<'a> {
    /// The version on which the step was decided.
    pub version: i64,
    /// The new last line of the log.
    pub last_seq: i32,
    /// The new fold.
    pub state: &'a Value,
    /// The new status.
    pub status: &'a str,
    /// What it ended with.
    pub output: Option<&'a Value>,
    /// Why it failed.
    pub error: Option<&'a str>,
}

/// Enters a run, unless one with its idempotency key is there; tells whether it was entered.
///
/// # Errors
/// Invalid for a key beyond its bounds.
pub async fn insert(conn: &mut PgConnection, run: &NewRun<'_>) -> Result<bool> {
    let done = sqlx::query!(
        "insert into run (id, tenant_id, workflow_id, workflow_version, input, idempotency_key, trace_parent, started_by)
        values ($1, $2, $3, $4, $5, $6, $7, $8)
        on conflict (workflow_id, idempotency_key) where idempotency_key is not null do nothing",
        run.id.0,
        run.tenant.0,
        run.workflow.0,
        run.workflow_version,
        run.input,
        run.idempotency_key,
        run.trace_parent,
        run.started_by
    )
    .execute(conn)
    .await
    .map_err(|e| match e.as_database_error().and_then(|d| d.constraint()) {
        Some("run_idempotency_key_check") => {
            Error::invalid("the idempotency key must have between 1 and 255 characters")
        }
        _ => e.into(),
    })?;
    Ok(done.rows_affected() == 1)
}

/// The run under an idempotency key, and whether it was started with this very input.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn by_key(
    conn: &mut PgConnection,
    workflow: WorkflowId,
    key: &str,
    input: &Value,
) -> Result<Option<(RunId, bool)>> {
    let row = sqlx::query!(
        r#"select id, input = $3 as "same!" from run where workflow_id = $1 and idempotency_key = $2"#,
        workflow.0,
        key,
        input
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|r| (RunId(r.id), r.same)))
}

/// Takes hold of a run, unless somebody else has it or it does not exist.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn lock(conn: &mut PgConnection, id: RunId) -> Result<Option<Locked>> {
    let row = sqlx::query_as!(
        Locked,
        "select tenant_id, workflow_id, workflow_version, version, last_seq, state, status, input, trace_parent, started_by
        from run where id = $1 for update skip locked",
        id.0
    )
    .fetch_optional(conn)
    .await?;
    Ok(row)
}

/// A run as a node's job looks at it, held by nobody.
#[derive(Debug, Clone)]
pub struct Glimpse {
    /// Whose it is.
    pub tenant_id: Uuid,
    /// The workflow.
    pub workflow_id: Uuid,
    /// The version that it pins.
    pub workflow_version: i32,
    /// Its status.
    pub status: String,
    /// What it starts with.
    pub input: Value,
    /// The database's clock.
    pub now: DateTime<Utc>,
}

/// Looks at a run without taking hold of it.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn glimpse(conn: &mut PgConnection, id: RunId) -> Result<Option<Glimpse>> {
    let row = sqlx::query_as!(
        Glimpse,
        r#"select tenant_id, workflow_id, workflow_version, status, input, now() as "now!" from run where id = $1"#,
        id.0
    )
    .fetch_optional(conn)
    .await?;
    Ok(row)
}

/// Keeps a run from ending until the transaction does, and tells its status and the database's clock; none
/// where there is no such run. Steps of others wait for whoever holds it, so do not hold it for long.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn hold(conn: &mut PgConnection, id: RunId) -> Result<Option<(String, DateTime<Utc>)>> {
    let row = sqlx::query!(r#"select status, now() as "now!" from run where id = $1 for share"#, id.0)
        .fetch_optional(conn)
        .await?;
    Ok(row.map(|r| (r.status, r.now)))
}

/// Saves a step: compare and swap on the version. Tells whether it was saved.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn save(conn: &mut PgConnection, id: RunId, step: &Stepped<'_>) -> Result<bool> {
    let done = sqlx::query!(
        "update run set version = version + 1, last_seq = $3, state = $4, status = $5,
            output = coalesce($6, output), error = coalesce($7, error), started_at = coalesce(started_at, now()),
            finished_at = case when $5 in ('COMPLETED', 'FAILED', 'CANCELLED') then coalesce(finished_at, now()) end
        where id = $1 and version = $2",
        id.0,
        step.version,
        step.last_seq,
        step.state,
        step.status,
        step.output,
        step.error
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// The trace that a run belongs to, if it has one; nothing when there is no such run.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn trace(conn: &mut PgConnection, id: RunId) -> Result<Option<Option<String>>> {
    let row = sqlx::query!("select trace_parent from run where id = $1", id.0).fetch_optional(conn).await?;
    Ok(row.map(|r| r.trace_parent))
}

/// A run that was left lying.
#[derive(Debug, Clone)]
pub struct Stranded {
    /// The run.
    pub id: Uuid,
    /// Whose it is.
    pub tenant_id: Uuid,
    /// The trace that it belongs to.
    pub trace_parent: Option<String>,
}

/// Runs that were left lying: their inbox, by somebody who died before looking after it; or unbegun,
/// because the job that would have begun them is dead.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn stranded(conn: &mut PgConnection, limit: i64) -> Result<Vec<Stranded>> {
    let rows = sqlx::query_as!(
        Stranded,
        r#"select s.id as "id!", s.tenant_id as "tenant_id!", s.trace_parent from (
            (select distinct r.id, r.tenant_id, r.trace_parent from run_inbox i join run r on r.id = i.run_id
            where i.created_at < now() - $2::integer * interval '1 second' and (i.aside_until is null or i.aside_until <= now()) limit $1)
            union
            (select id, tenant_id, trace_parent from run
            where status = 'PENDING' and created_at < now() - $3::integer * interval '1 second' order by created_at limit $1)
        ) s limit $1"#,
        limit,
        LETTER_LIES_S,
        UNBEGUN_S
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}

/// One run of a tenant.
///
/// # Errors
/// NotFound when the tenant has no such run.
pub async fn get(conn: &mut PgConnection, id: RunId, tenant: TenantId) -> Result<RunView> {
    let found = sqlx::query_as!(
        RunView,
        "select id, tenant_id, workflow_id, workflow_version, status, input, output, error, idempotency_key, started_by, created_at, started_at, finished_at
        from run where id = $1 and tenant_id = $2",
        id.0,
        tenant.0
    )
    .fetch_optional(conn)
    .await?;
    found.ok_or_else(|| Error::not_found(format!("there is no run `{id}`")).listed_in(Listing::Runs))
}

/// A page of a tenant's runs, newest first, beginning after `before`.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn page(
    conn: &mut PgConnection,
    tenant: TenantId,
    workflow: Option<WorkflowId>,
    status: Option<&str>,
    before: Option<RunId>,
    limit: i64,
) -> Result<Slice<RunView>> {
    let rows = sqlx::query_as!(
        RunView,
        "select id, tenant_id, workflow_id, workflow_version, status, input, output, error, idempotency_key, started_by, created_at, started_at, finished_at
        from run
        where tenant_id = $1 and ($2::uuid is null or workflow_id = $2) and ($3::text is null or status = $3) and ($4::uuid is null or id < $4)
        order by id desc limit $5",
        tenant.0,
        workflow.map(|w| w.0),
        status,
        before.map(|b| b.0),
        limit.clamp(1, MAX_FETCHED)
    )
    .fetch(conn);
    slice(rows, |r| kept::bytes(&r.input) + r.output.as_ref().map_or(0, kept::bytes)).await
}
