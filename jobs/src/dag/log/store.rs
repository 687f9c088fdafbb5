//! Keeps the lines of runs' logs, and reads from them what nodes put out and which jobs they were given.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use futures::TryStreamExt;
use rules::id::RunId;
use rules::kept;
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::db::{Filling, MAX_FETCHED, Slice};
use crate::{Error, Result};

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
pub async fn page(conn: &mut PgConnection, id: RunId, after: i32, limit: i64) -> Result<Slice<Line>> {
    let mut found = pages(conn, &[id], after, limit).await?;
    Ok(found.remove(&id).unwrap_or_else(|| Vec::new().into()))
}

/// The same page of the logs of several runs, which share the bytes of one page. A run without such lines has none.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn pages(
    conn: &mut PgConnection,
    runs: &[RunId],
    after: i32,
    limit: i64,
) -> Result<HashMap<RunId, Slice<Line>>> {
    let ids: Vec<Uuid> = runs.iter().map(|run| run.0).collect();
    let mut rows = sqlx::query!(
        r#"select r.id as "run_id!", l.seq, l.at, l.node_id, l.entry, l.output_variable, l.output
        from unnest($1::uuid[]) r(id)
        cross join lateral (
            select * from run_log x where x.run_id = r.id and x.seq > $2 order by x.seq limit $3) l
        order by r.id, l.seq"#,
        &ids,
        after,
        limit.clamp(1, MAX_FETCHED)
    )
    .fetch(conn);
    let mut found: HashMap<RunId, Filling<Line>> = HashMap::new();
    while let Some(row) = rows.try_next().await? {
        let line = Line {
            seq: row.seq,
            at: row.at,
            node_id: row.node_id,
            entry: row.entry,
            output_variable: row.output_variable,
            output: row.output,
        };
        let bytes = kept::bytes(&line.entry) + line.output.as_ref().map_or(0, kept::bytes);
        found.entry(RunId(row.run_id)).or_insert_with(|| Filling::one_of(runs.len())).put(line, bytes);
    }
    Ok(found.into_iter().map(|(run, filling)| (run, filling.into())).collect())
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
