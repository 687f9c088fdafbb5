//! What others do to runs: start one, cancel one, tell one that its job died, find those left lying.

use rules::dag::limits::MAX_INPUT_BYTES;
use rules::dag::{Change, wire};
use rules::id::{RunId, TenantId, WorkflowId};
use rules::kept;
use rules::listener::{BadNotice, NOTICE_DEPTH_MAX, check};
use rules::queue::Kind;
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use super::drive::has_ended;
use super::graphs::Graphs;
use super::inbox;
use super::store::{self, NewRun};
use crate::payload::run::{RunAdvance, RunNode, RunWake};
use crate::queue::{DeadJob, Enqueued, NewJob, enqueue};
use crate::workflow::store as workflows;
use crate::{Error, Result};

/// The most runs that one sweep picks up.
const SWEEP_BATCH: i64 = 100;

/// What `started_by` of a run begins with that a schedule started.
pub const BY_SCHEDULE: &str = "schedule:";

/// A run that somebody wants.
#[derive(Debug, Clone)]
pub struct Start<'a> {
    /// Whose it is.
    pub tenant: TenantId,
    /// The workflow, of which the latest version is pinned.
    pub workflow: WorkflowId,
    /// What it starts with.
    pub input: &'a Value,
    /// At most one run of the workflow under this key, 1 to 255 characters.
    pub idempotency_key: Option<&'a str>,
    /// Who or what starts it.
    pub started_by: &'a str,
    /// The W3C `traceparent` of what caused it.
    pub trace_parent: Option<&'a str>,
}

/// What came of a [`Start`].
#[derive(Debug)]
#[must_use = "pass `enqueued` to `Wake::send` after the commit"]
pub struct Started {
    /// The run: a new one, or the one already there under the key.
    pub run: RunId,
    /// Whether it was there already.
    pub existing: bool,
    /// The jobs that let it begin.
    pub enqueued: Vec<Enqueued>,
}

/// Starts a run, or finds the one already there under the same key.
///
/// # Errors
/// NotFound for an unknown workflow; Conflict when it is disabled, or the key was used with another
/// input; Invalid with every fault of the input.
pub async fn execute(conn: &mut PgConnection, graphs: &Graphs, start: &Start<'_>) -> Result<Started> {
    let workflow = workflows::get(conn, start.workflow, start.tenant).await?;
    if let Some(found) = find(conn, start).await? {
        return Ok(found);
    }
    if workflow.disabled_at.is_some() {
        return Err(Error::conflict(format!(
            "workflow `{}` is disabled; enable it to start runs",
            start.workflow
        )));
    }
    let bytes = kept::bytes(start.input);
    if bytes > MAX_INPUT_BYTES {
        return Err(Error::invalid(format!(
            "the input has {bytes} bytes once its numbers are written out; a run takes at most {MAX_INPUT_BYTES}; send less"
        )));
    }
    check(start.input).map_err(|refused| {
        Error::invalid(match refused {
            BadNotice::TooDeep => {
                format!("the input nests more than {NOTICE_DEPTH_MAX} levels; send it flatter")
            }
            BadNotice::Nul => "a text in the input holds the character U+0000; send it without".into(),
        })
    })?;
    let graph = graphs.get(conn, start.workflow, workflow.version).await?;
    graph.check_input(start.input).map_err(|faults| {
        let all: Vec<String> = faults.iter().map(ToString::to_string).collect();
        Error::invalid(format!("the input does not fit the workflow's schema: {}", all.join("; ")))
    })?;
    let run = RunId(Uuid::now_v7());
    let new = NewRun {
        id: run,
        tenant: start.tenant,
        workflow: start.workflow,
        workflow_version: workflow.version,
        input: start.input,
        idempotency_key: start.idempotency_key,
        trace_parent: start.trace_parent,
        started_by: start.started_by,
    };
    if !store::insert(conn, &new).await? {
        // Another transaction used the key between the look and the insert, and has committed.
        return find(conn, start).await?.ok_or_else(|| {
            Error::conflict("another request with this idempotency key is under way; try again")
        });
    }
    let job = advance_job(run, start.tenant, start.trace_parent.map(str::to_owned))?;
    let enqueued = enqueue(conn, &[job]).await?;
    Ok(Started { run, existing: false, enqueued })
}

async fn find(conn: &mut PgConnection, start: &Start<'_>) -> Result<Option<Started>> {
    let Some(key) = start.idempotency_key else { return Ok(None) };
    match store::by_key(conn, start.workflow, key, start.input).await? {
        None => Ok(None),
        Some((run, true)) => Ok(Some(Started { run, existing: true, enqueued: Vec::new() })),
        Some((run, false)) => Err(Error::conflict(format!(
            "the idempotency key `{key}` was used with another input, for run `{run}`; use a new key for new input"
        ))),
    }
}

/// Asks a run to stop. What it has done stays in its log.
///
/// # Errors
/// NotFound when the tenant has no such run; Conflict when it has ended.
pub async fn cancel(
    conn: &mut PgConnection,
    run: RunId,
    tenant: TenantId,
    by: &str,
) -> Result<Vec<Enqueued>> {
    let seen = store::get(conn, run, tenant).await?;
    if has_ended(&seen.status) {
        return Err(Error::conflict(format!("run `{run}` has ended already, as {}", seen.status)));
    }
    tell(conn, run, tenant, &Change::CancelRequested { by: by.into() }).await
}

/// Tells a run that a job of its died, so that it does not wait for it for ever. Jobs of other kinds are
/// none of its business.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn job_died(conn: &mut PgConnection, kind: Kind, dead: &DeadJob) -> Result<Vec<Enqueued>> {
    let Some(tenant) = dead.tenant else { return Ok(Vec::new()) };
    let (run, change) = match kind {
        Kind::RunNode => {
            let Some(node) = read::<RunNode>(dead) else { return Ok(Vec::new()) };
            let error = format!("its job died: {}", dead.error);
            (node.run_id, Change::Failed { node: node.node_id, attempt: node.attempt, error, again: false })
        }
        Kind::RunWake => {
            let Some(wake) = read::<RunWake>(dead) else { return Ok(Vec::new()) };
            (wake.run_id, Change::TimerFired { node: wake.node_id, attempt: wake.attempt })
        }
        // Its inbox is still there, or the run is unbegun: the sweep finds it.
        Kind::RunAdvance => return Ok(Vec::new()),
        Kind::ListenerEvent
        | Kind::ListenerAction
        | Kind::ScheduleFire
        | Kind::AuditFlush
        | Kind::MachineOperate
        | Kind::HostReconcile
        | Kind::HealthCheck
        | Kind::LetterSweep
        | Kind::Noop => return Ok(Vec::new()),
    };
    tell(conn, run, tenant, &change).await
}

/// Lets runs move on whose inbox was left lying by somebody who died.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn sweep(conn: &mut PgConnection) -> Result<Vec<Enqueued>> {
    let stranded = store::stranded(conn, SWEEP_BATCH).await?;
    let jobs = stranded.into_iter().map(|lying| {
        let (run, tenant) = (RunId(lying.id), TenantId(lying.tenant_id));
        // One at a time is enough, and the next sweep would find the run again.
        Ok(advance_job(run, tenant, lying.trace_parent)?.unique(run.to_string(), None))
    });
    let jobs: Vec<NewJob> = jobs.collect::<Result<_>>()?;
    enqueue(conn, &jobs).await
}

/// Leaves a letter for a run, and a job that lets it move on by it; nothing where the run is gone. The job is
/// of the run's own trace, whoever tells it.
pub(in crate::dag) async fn tell(
    conn: &mut PgConnection,
    run: RunId,
    tenant: TenantId,
    change: &Change,
) -> Result<Vec<Enqueued>> {
    let Some(trace) = store::trace(conn, run).await? else { return Ok(Vec::new()) };
    inbox::post(conn, run, &wire::write_change(change), None).await?;
    enqueue(conn, &[advance_job(run, tenant, trace)?]).await
}

fn advance_job(run: RunId, tenant: TenantId, trace: Option<String>) -> Result<NewJob> {
    Ok(NewJob::of(&RunAdvance { run_id: run })?.tenant(tenant).trace(trace))
}

/// The payload of a dead job. One that cannot be read must not keep the job from being buried.
fn read<P: serde::de::DeserializeOwned>(dead: &DeadJob) -> Option<P> {
    serde_json::from_value(dead.payload.clone())
        .inspect_err(|error| {
            tracing::error!(job.id = %dead.id, %error, "a dead job cannot be read, so its run cannot be told");
        })
        .ok()
}
