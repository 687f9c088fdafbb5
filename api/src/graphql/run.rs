//! Runs: started, watched, cancelled.

use async_graphql::connection::Connection;
use async_graphql::{ComplexObject, Context, Enum, ID, Json, Object, Result, SimpleObject};
use chrono::{DateTime, Utc};
use jobs::awaited::NodeWaits;
use jobs::dag::log::Line;
use jobs::dag::start::{self, Start};
use jobs::dag::store::{self, RunView};
use jobs::workflow::store as workflows;
use rules::access::InTenant;
use rules::dag::Status;
use rules::id::{RunId, TenantId, WorkflowId};
use serde_json::Value;
use uuid::Uuid;

use super::loader::{LogOf, WaitsOf, look_up};
use super::page::Page;
use super::scope::{app, enter, parse, trace_parent};
use crate::audit;
use crate::auth::SignedIn;
use crate::error::Fault;

/// Where a run stands.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
#[graphql(name = "RunStatus", remote = "Status")]
pub(crate) enum StatusName {
    /// It is accepted and has not begun.
    Pending,
    /// It is under way.
    Running,
    /// It ended well.
    Completed,
    /// It ended badly.
    Failed,
    /// It was stopped.
    Cancelled,
}

/// One execution of a workflow.
#[derive(SimpleObject)]
#[graphql(complex)]
pub(crate) struct Run {
    /// Its id.
    id: ID,
    #[graphql(skip)]
    tenant: TenantId,
    /// The workflow.
    workflow_id: ID,
    /// The version that it executes, whatever is saved meanwhile.
    workflow_version: i32,
    /// Where it stands.
    status: StatusName,
    /// What it started with.
    input: Json<Value>,
    /// What it ended with.
    output: Option<Json<Value>>,
    /// Why it failed.
    error: Option<String>,
    /// The key under which it was started.
    idempotency_key: Option<String>,
    /// Who or what started it.
    started_by: String,
    /// When it was accepted.
    created_at: DateTime<Utc>,
    /// When its first step was made.
    started_at: Option<DateTime<Utc>>,
    /// When it ended.
    finished_at: Option<DateTime<Utc>>,
}

/// A line of a run's log.
#[derive(SimpleObject)]
pub(crate) struct RunLogLine {
    /// Its place, from 1.
    seq: i32,
    /// When it was written.
    at: DateTime<Utc>,
    /// What happened, such as `node.succeeded`.
    event: String,
    /// The node that it concerns.
    node: Option<String>,
    /// The details of what happened.
    entry: Json<Value>,
    /// Under which variable later nodes see the output.
    output_variable: Option<String>,
    /// What the node gave.
    output: Option<Json<Value>>,
}

/// Something for which a node of a run waits.
#[derive(SimpleObject)]
pub(crate) struct RunWait {
    /// The node.
    node: String,
    /// The machine of which it ordered something.
    machine_id: ID,
    /// The operation for whose end it waits; none where it waits for a check.
    operation_id: Option<ID>,
    /// The check for which it waits.
    check_name: Option<String>,
    /// Since when. It waits until its timeout, and fails then.
    since: DateTime<Utc>,
    /// The reason for programs, such as HOST_NOT_HELD, IN_LINE or RUNNING.
    code: String,
    /// The reason for people.
    why: String,
}

impl From<NodeWaits> for RunWait {
    fn from(w: NodeWaits) -> Self {
        Self {
            node: w.node,
            machine_id: w.machine_id.into(),
            operation_id: w.operation_id.map(Into::into),
            check_name: w.check_name,
            since: w.since,
            code: w.why.code().into(),
            why: w.why.to_string(),
        }
    }
}

/// What came of starting a run.
#[derive(SimpleObject)]
pub(crate) struct ExecutePayload {
    /// The run: a new one, or the one already there under the idempotency key.
    run: Run,
    /// Whether it was there already, and nothing was started.
    existing: bool,
}

impl TryFrom<RunView> for Run {
    type Error = Fault;

    fn try_from(r: RunView) -> Result<Self, Fault> {
        let status = Status::from_name(&r.status)
            .ok_or_else(|| jobs::Error::internal(format!("a run has the unknown status `{}`", r.status)))?;
        Ok(Self {
            id: r.id.into(),
            tenant: TenantId(r.tenant_id),
            workflow_id: r.workflow_id.into(),
            workflow_version: r.workflow_version,
            status: status.into(),
            input: Json(r.input),
            output: r.output.map(Json),
            error: r.error,
            idempotency_key: r.idempotency_key,
            started_by: r.started_by,
            created_at: r.created_at,
            started_at: r.started_at,
            finished_at: r.finished_at,
        })
    }
}

impl From<Line> for RunLogLine {
    fn from(line: Line) -> Self {
        let event = line.entry.get("type").and_then(Value::as_str).unwrap_or("unknown").to_owned();
        Self {
            seq: line.seq,
            at: line.at,
            event,
            node: line.node_id,
            entry: Json(line.entry),
            output_variable: line.output_variable,
            output: line.output.map(Json),
        }
    }
}

#[ComplexObject]
impl Run {
    /// What happened to it, in order.
    async fn log(
        &self,
        ctx: &Context<'_>,
        first: Option<i32>,
        after: Option<String>,
    ) -> Result<Connection<String, RunLogLine>, Fault> {
        let page = Page::<i32>::read("runLog", first, after.as_deref())?;
        let id = parse::<RunId>(&self.id, "id")?;
        let asked = LogOf(self.tenant, id, page.after.unwrap_or_default(), page.limit());
        let lines = look_up(ctx, asked).await?.unwrap_or_else(|| Vec::new().into());
        Ok(page.of(lines, |l| l.seq, RunLogLine::from))
    }

    /// For what its nodes wait that ordered something of machines, and why that has not come.
    async fn waits(&self, ctx: &Context<'_>) -> Result<Vec<RunWait>, Fault> {
        let id = parse::<RunId>(&self.id, "id")?;
        let waits = look_up(ctx, WaitsOf(self.tenant, id)).await?;
        Ok(waits.unwrap_or_default().into_iter().map(Into::into).collect())
    }
}

/// What can be read of runs.
#[derive(Default)]
pub(crate) struct RunQuery;

/// What can be done with runs.
#[derive(Default)]
pub(crate) struct RunMutation;

#[Object]
impl RunQuery {
    /// One run.
    #[graphql(guard = "SignedIn")]
    async fn run(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Needed, save for an API key.")] tenant: Option<ID>,
        id: ID,
    ) -> Result<Run, Fault> {
        let id = parse::<RunId>(&id, "id")?;
        let mut conn = app(ctx).db.acquire().await?;
        let scope = enter(ctx, &mut conn, tenant.as_ref(), InTenant::Look).await?;
        store::get(&mut conn, id, scope.tenant).await?.try_into()
    }

    /// A tenant's runs, newest first.
    #[graphql(guard = "SignedIn")]
    async fn runs(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Needed, save for an API key.")] tenant: Option<ID>,
        #[graphql(desc = "Only those of this workflow.")] workflow: Option<ID>,
        status: Option<StatusName>,
        first: Option<i32>,
        after: Option<String>,
    ) -> Result<Connection<String, Run>, Fault> {
        let page = Page::<Uuid>::read("runs", first, after.as_deref())?;
        let workflow = workflow.map(|id| parse::<WorkflowId>(&id, "workflow")).transpose()?;
        let status = status.map(|s| Status::from(s).as_str());
        let mut conn = app(ctx).db.acquire().await?;
        let scope = enter(ctx, &mut conn, tenant.as_ref(), InTenant::Look).await?;
        let before = page.after.map(RunId);
        let rows = store::page(&mut conn, scope.tenant, workflow, status, before, page.limit()).await?;
        // An unknown workflow is told; an empty page would hide it.
        if let Some(workflow) = workflow.filter(|_| rows.is_empty()) {
            workflows::get(&mut conn, workflow, scope.tenant).await?;
        }
        page.try_of(rows, |r| r.id, Run::try_from)
    }
}

#[Object]
impl RunMutation {
    /// Starts a run of a workflow's latest version, and answers at once. The same idempotency key with
    /// the same input finds the run that was started before.
    #[graphql(guard = "SignedIn")]
    async fn execute_workflow(
        &self,
        ctx: &Context<'_>,
        tenant: Option<ID>,
        workflow: ID,
        #[graphql(desc = "`{}` unless given.")] input: Option<Json<Value>>,
        #[graphql(desc = "At most one run of the workflow under this key, 1 to 255 characters.")]
        idempotency_key: Option<String>,
    ) -> Result<ExecutePayload, Fault> {
        let workflow = parse::<WorkflowId>(&workflow, "workflow")?;
        let input = input.map_or_else(|| serde_json::json!({}), |input| input.0);
        let mut tx = audit::begin(ctx).await?;
        let scope = enter(ctx, &mut tx, tenant.as_ref(), InTenant::Work).await?;
        let wanted = Start {
            tenant: scope.tenant,
            workflow,
            input: &input,
            idempotency_key: idempotency_key.as_deref(),
            started_by: &scope.by.to_string(),
            trace_parent: trace_parent(ctx),
        };
        let started = start::execute(&mut tx, &app(ctx).graphs, &wanted).await?;
        let run = store::get(&mut tx, started.run, scope.tenant).await?.try_into()?;
        tx.commit().await?;
        app(ctx).wake().send(&started.enqueued);
        Ok(ExecutePayload { run, existing: started.existing })
    }

    /// Asks a run to stop. What it has done stays in its log.
    #[graphql(guard = "SignedIn")]
    async fn cancel_run(&self, ctx: &Context<'_>, tenant: Option<ID>, id: ID) -> Result<Run, Fault> {
        let id = parse::<RunId>(&id, "id")?;
        let mut tx = audit::begin(ctx).await?;
        let scope = enter(ctx, &mut tx, tenant.as_ref(), InTenant::Work).await?;
        let enqueued = start::cancel(&mut tx, id, scope.tenant, &scope.by.to_string()).await?;
        let run = store::get(&mut tx, id, scope.tenant).await?.try_into()?;
        tx.commit().await?;
        app(ctx).wake().send(&enqueued);
        Ok(run)
    }
}
