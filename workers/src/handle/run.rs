//! Handles the jobs of a run: performs a node, lets the run move on, wakes a node that waits.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jobs::dag::drive::{self, Arrival, Moved};
use jobs::dag::store::{self, Glimpse};
use jobs::dag::{inbox, log};
use jobs::payload::run::{RunAdvance, RunNode, RunWake};
use jobs::queue::wake::Hint;
use jobs::queue::{Attempt, finish};
use jobs::{Error, Result};
use rules::dag::limits::MAX_CONTEXT_BYTES;
use rules::dag::{Change, Status, Task};
use rules::id::{RunId, WorkflowId};
use rules::queue::Outcome;
use serde_json::{Map, Value};

use super::Handled;
use super::order::{Place, order};
use super::task::perform;
use crate::context::Context;

/// Performs one node and takes its result into the run, in one transaction with the acknowledgement.
pub(crate) async fn node(context: &Context, attempt: &Attempt) -> Result<Handled> {
    let began = Instant::now();
    let job: RunNode = attempt.payload()?;
    tracing::debug!("performing a node");
    let mut conn = context.db.acquire().await?;
    let Some(seen) = store::glimpse(&mut conn, job.run_id).await? else {
        return Err(Error::not_found(format!("there is no run `{}`", job.run_id)));
    };
    if drive::has_ended(&seen.status) {
        return Ok(Handled::Outcome(Outcome::Done));
    }
    let graph = context.graphs.get(&mut conn, WorkflowId(seen.workflow_id), seen.workflow_version).await?;
    let outputs = log::outputs(&mut conn, job.run_id, MAX_CONTEXT_BYTES).await?;
    // Nothing is held while the node does its work.
    drop(conn);
    let Some(outputs) = outputs else {
        let error = format!(
            "what the nodes before it gave has more than {MAX_CONTEXT_BYTES} bytes, which `ctx` holds at most"
        );
        return settle(context, attempt, began, job.run_id, Some(failed(&job, error, false))).await;
    };
    let ctx = context_of(outputs, &seen);
    let place = graph
        .place(&job.node_id)
        .ok_or_else(|| Error::invalid(format!("the workflow has no node `{}`", job.node_id)))?;
    let node = graph.node(place);
    if let Task::Order(task) = &node.task {
        let place = Place { job: &job, seen: &seen, node, task };
        return order(context, attempt, began, &place, &ctx).await;
    }
    let limit = Duration::from_secs(node.policy.timeout_s);
    let sandbox = Arc::clone(&context.sandbox);
    let working = perform(sandbox, Arc::clone(&graph), place, ctx, seen.now, job.attempt);
    let arrival = match tokio::time::timeout(limit, working).await {
        Ok(arrival) => arrival?,
        Err(_) => failed(&job, node.policy.timed_out(), true),
    };
    settle(context, attempt, began, job.run_id, Some(arrival)).await
}

/// Lets a run move on by what lies in its inbox; a new one begins.
pub(crate) async fn advance(context: &Context, attempt: &Attempt) -> Result<Handled> {
    let job: RunAdvance = attempt.payload()?;
    settle(context, attempt, Instant::now(), job.run_id, None).await
}

/// Ends the waiting of a node.
pub(crate) async fn wake(context: &Context, attempt: &Attempt) -> Result<Handled> {
    let job: RunWake = attempt.payload()?;
    let change = Change::TimerFired { node: job.node_id, attempt: job.attempt };
    settle(context, attempt, Instant::now(), job.run_id, Some(Arrival { change, output: None })).await
}

/// Acknowledges the job and moves its run, in one transaction.
pub(super) async fn settle(
    context: &Context,
    attempt: &Attempt,
    began: Instant,
    run: RunId,
    arrival: Option<Arrival>,
) -> Result<Handled> {
    let mut tx = jobs::db::begin(&context.db).await?;
    let moved = match arrival {
        Some(arrival) => drive::deliver(&mut tx, &context.graphs, run, arrival).await?,
        None => drive::advance(&mut tx, &context.graphs, run).await?.unwrap_or_default(),
    };
    // Last, so that the lease's row is locked for a moment only: renewals pass by what is locked.
    let woken = finish(&mut tx, attempt, began.elapsed()).await?;
    tx.commit().await?;
    context.wake.pools(&woken);
    moved_on(context, run, &moved).await;
    Ok(Handled::Settled)
}

/// Tells of a step after its commit, and looks whether more is to be taken in.
pub(super) async fn moved_on(context: &Context, run: RunId, moved: &Moved) {
    tell(context, moved);
    // From here on the job is done; what is left lying is found by the sweep.
    if let Err(error) = look_after(context, run).await {
        tracing::debug!(%error, "the inbox could not be looked into; the sweep will");
    }
}

/// Looks into the inbox after a commit, until it is empty or somebody else holds the run, who will look.
async fn look_after(context: &Context, run: RunId) -> Result<()> {
    loop {
        let mut conn = context.db.acquire().await?;
        if !inbox::has_mail(&mut conn, run).await? {
            return Ok(());
        }
        drop(conn);
        let mut tx = jobs::db::begin(&context.db).await?;
        let Some(moved) = drive::advance(&mut tx, &context.graphs, run).await? else {
            return Ok(());
        };
        tx.commit().await?;
        tell(context, &moved);
    }
}

fn tell(context: &Context, moved: &Moved) {
    context.wake.stir();
    context.wake.send(&moved.enqueued);
    if moved.stopping {
        context.wake.hint(Hint::Cancelled);
    }
    if moved.began {
        tracing::debug!("the run began");
    }
    if let Some(end) = moved.ended {
        tracing::debug!(run.status = Status::from(end).as_str(), "the run ended");
    }
    moved.count();
}

/// What scripts and templates see as `ctx`: the input, and each output under its variable.
fn context_of(outputs: Vec<(String, Value)>, seen: &Glimpse) -> Value {
    let mut ctx = Map::new();
    ctx.insert("input".into(), seen.input.clone());
    ctx.extend(outputs);
    Value::Object(ctx)
}

pub(super) fn failed(job: &RunNode, error: String, again: bool) -> Arrival {
    let change = Change::Failed { node: job.node_id.clone(), attempt: job.attempt, error, again };
    Arrival { change, output: None }
}
