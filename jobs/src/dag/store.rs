//! Keeps runs: the row, the log that only grows, the inbox.

use chrono::{DateTime, Utc};
use futures::TryStreamExt;
use rules::id::{RunId, TenantId, WorkflowId};
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{Error, Result};

/// The most runs or log lines on one page: a hundred, and one that tells whether there are more.
pub const MAX_PAGE: i64 = 101;

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

/// A line of a run's log.
#[derive(Debug, Clone)]
pub struct Line {
    /// Its place, from 1.
    pub seq: i32,
    /// When it was written.
    pub at: DateTime<Utc>,
    /// The node that it concerns.
    pub node_id: Option<String>,
    /// The entry in its stored form.
    pub entry: Value,
    /// Under which variable scripts see its output.
    pub output_variable: Option<String>,
    /// The output.
    pub output: Option<Value>,
}

/// A line that is to be written.
#[derive(Debug, Clone)]
pub struct NewLine {
    /// Its place.
    pub seq: i32,
    /// The node that it concerns.
    pub node_id: Option<String>,
    /// The entry in its stored form.
    pub entry: Value,
    /// Under which variable scripts see its output.
    pub output_variable: Option<String>,
    /// The output.
    pub output: Option<Value>,
    /// The job that was enqueued with it.
    pub job_id: Option<i64>,
}

/// Something that a run has still to take in.
#[derive(Debug, Clone)]
pub struct Letter {
    /// Its place in the inbox.
    pub id: i64,
    /// The change in its stored form.
    pub change: Value,
    /// The output that comes with it.
    pub output: Option<Value>,
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
        "select tenant_id, workflow_id, workflow_version, version, last_seq, state, status, input, trace_parent
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

/// What nodes of a run put out, in the order in which they ended: for the end nodes, whose outputs make the run's.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn outputs_of(conn: &mut PgConnection, id: RunId, nodes: &[&str]) -> Result<Vec<Value>> {
    let rows = sqlx::query!(
        r#"select output as "output!" from run_log
        where run_id = $1 and node_id = any($2) and output is not null order by seq"#,
        id.0,
        nodes as &[&str]
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|r| r.output).collect())
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

/// Adds lines to the log. A place that is taken is a fault: two steps were made on one version.
///
/// # Errors
/// Conflict when a place is taken, Unavailable when nobody answers.
pub async fn append(conn: &mut PgConnection, id: RunId, lines: &[NewLine]) -> Result<()> {
    let seqs: Vec<i32> = lines.iter().map(|l| l.seq).collect();
    let nodes: Vec<Option<&str>> = lines.iter().map(|l| l.node_id.as_deref()).collect();
    let entries: Vec<&Value> = lines.iter().map(|l| &l.entry).collect();
    let variables: Vec<Option<&str>> = lines.iter().map(|l| l.output_variable.as_deref()).collect();
    let outputs: Vec<Option<&Value>> = lines.iter().map(|l| l.output.as_ref()).collect();
    let jobs: Vec<Option<i64>> = lines.iter().map(|l| l.job_id).collect();
    sqlx::query!(
        "insert into run_log (run_id, seq, node_id, entry, output_variable, output, job_id)
        select $1, * from unnest($2::integer[], $3::text[], $4::jsonb[], $5::text[], $6::jsonb[], $7::bigint[])",
        id.0,
        &seqs,
        &nodes as &[Option<&str>],
        &entries as &[&Value],
        &variables as &[Option<&str>],
        &outputs as &[Option<&Value>],
        &jobs as &[Option<i64>],
    )
    .execute(conn)
    .await
    .map_err(|e| match e.as_database_error().and_then(|d| d.constraint()) {
        Some("run_log_pkey") => Error::conflict(format!("run `{id}` was stepped by somebody else meanwhile")),
        _ => e.into(),
    })?;
    Ok(())
}

/// Lines of a run's log after `after`, in order.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn log(conn: &mut PgConnection, id: RunId, after: i32, limit: i64) -> Result<Vec<Line>> {
    let rows = sqlx::query_as!(
        Line,
        "select seq, at, node_id, entry, output_variable, output from run_log
        where run_id = $1 and seq > $2 order by seq limit $3",
        id.0,
        after,
        limit
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}

/// What scripts of a run see of it: each output under its variable, in order; the later one wins. None
/// when they have more than `limit` bytes; what is too much is not even read.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn outputs(
    conn: &mut PgConnection,
    id: RunId,
    limit: usize,
) -> Result<Option<Vec<(String, Value)>>> {
    let mut rows = sqlx::query!(
        r#"select output_variable as "variable!", coalesce(output, 'null')::text as "output!" from run_log
        where run_id = $1 and output_variable is not null order by seq"#,
        id.0
    )
    .fetch(conn);
    let (mut found, mut left) = (Vec::new(), limit);
    while let Some(row) = rows.try_next().await? {
        let Some(rest) = left.checked_sub(row.output.len()) else { return Ok(None) };
        left = rest;
        found.push((row.variable, serde_json::from_str(&row.output).map_err(Error::internal)?));
    }
    Ok(Some(found))
}

/// Puts something into a run's inbox.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn post(conn: &mut PgConnection, id: RunId, change: &Value, output: Option<&Value>) -> Result<()> {
    sqlx::query!("insert into run_inbox (run_id, change, output) values ($1, $2, $3)", id.0, change, output)
        .execute(conn)
        .await?;
    Ok(())
}

/// Empties a run's inbox, oldest first. Only whoever holds the run may.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn take_inbox(conn: &mut PgConnection, id: RunId, limit: i64) -> Result<Vec<Letter>> {
    let mut rows = sqlx::query_as!(
        Letter,
        "delete from run_inbox where id = any(array(select id from run_inbox where run_id = $1 order by id limit $2))
        returning id, change, output",
        id.0,
        limit
    )
    .fetch_all(conn)
    .await?;
    rows.sort_by_key(|l| l.id);
    Ok(rows)
}

/// Whether something lies in a run's inbox.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn has_mail(conn: &mut PgConnection, id: RunId) -> Result<bool> {
    let row = sqlx::query!(r#"select exists (select from run_inbox where run_id = $1) as "has!""#, id.0)
        .fetch_one(conn)
        .await?;
    Ok(row.has)
}

/// The jobs that nodes of a run were last given, whether they still live or not.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn jobs_of(conn: &mut PgConnection, id: RunId, nodes: &[&str]) -> Result<Vec<i64>> {
    let rows = sqlx::query!(
        r#"select distinct on (node_id) job_id as "job_id!" from run_log
        where run_id = $1 and node_id = any($2) and job_id is not null order by node_id, seq desc"#,
        id.0,
        nodes as &[&str]
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|r| r.job_id).collect())
}

/// Runs that were left lying: their inbox, by somebody who died before looking after it; or unbegun,
/// because the job that would have begun them is dead.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn stranded(conn: &mut PgConnection, limit: i64) -> Result<Vec<(RunId, TenantId)>> {
    let rows = sqlx::query!(
        r#"select s.id as "id!", s.tenant_id as "tenant_id!" from (
            (select distinct r.id, r.tenant_id from run_inbox i join run r on r.id = i.run_id
            where i.created_at < now() - interval '2 seconds' limit $1)
            union
            (select id, tenant_id from run
            where status = 'PENDING' and created_at < now() - interval '1 minute' order by created_at limit $1)
        ) s limit $1"#,
        limit
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|r| (RunId(r.id), TenantId(r.tenant_id))).collect())
}

/// One run of a tenant.
///
/// # Errors
/// NotFound when the tenant has no such run.
pub async fn get(conn: &mut PgConnection, id: RunId, tenant: TenantId) -> Result<RunView> {
    let found = sqlx::query_as!(
        RunView,
        "select id, workflow_id, workflow_version, status, input, output, error, idempotency_key, started_by, created_at, started_at, finished_at
        from run where id = $1 and tenant_id = $2",
        id.0,
        tenant.0
    )
    .fetch_optional(conn)
    .await?;
    found.ok_or_else(|| Error::not_found(format!("there is no run `{id}`")))
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
) -> Result<Vec<RunView>> {
    let rows = sqlx::query_as!(
        RunView,
        "select id, workflow_id, workflow_version, status, input, output, error, idempotency_key, started_by, created_at, started_at, finished_at
        from run
        where tenant_id = $1 and ($2::uuid is null or workflow_id = $2) and ($3::text is null or status = $3) and ($4::uuid is null or id < $4)
        order by id desc limit $5",
        tenant.0,
        workflow.map(|w| w.0),
        status,
        before.map(|b| b.0),
        limit.clamp(1, MAX_PAGE)
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}
