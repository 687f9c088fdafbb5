//! Performs nodes that order something of a machine: what they order, the wait for its end and the
//! acknowledgement are one transaction, so that nothing is ordered twice.

use std::time::Instant;

use chrono::{DateTime, TimeDelta, Utc};
use jobs::awaited::{self, Awaited, Waiter};
use jobs::dag::drive::{self, Arrival};
use jobs::dag::store::{self, Glimpse};
use jobs::db::PgConnection;
use jobs::machine::operation::store as operations;
use jobs::machine::snapshot::{self, Ask};
use jobs::machine::{NewMachine, Request, Requested, create, request};
use jobs::payload::run::RunNode;
use jobs::queue::{Attempt, Enqueued, finish};
use jobs::workflow::store::author;
use jobs::{Code, Error, Result, access, health};
use rules::dag::{Change, Node, Order, OrderTask, SnapshotAct};
use rules::id::{MachineId, OperationId, SnapshotId, TenantId, WorkflowId};
use rules::machine::{Action, ActionName, OperationState};
use rules::queue::Outcome;
use serde_json::Value;

use super::Handled;
use super::run::{failed, moved_on, settle};
use crate::context::Context;

/// The most operations that took one another's place before one is found that will be done.
const MAX_FOLLOWED: usize = 16;

/// What was ordered.
enum Given {
    Operation(Requested, MachineId),
    Check(Vec<Enqueued>, Awaited),
}

/// A node that is performed.
pub(super) struct Place<'a> {
    pub(super) job: &'a RunNode,
    pub(super) seen: &'a Glimpse,
    pub(super) node: &'a Node,
    pub(super) task: &'a OrderTask,
}

/// Orders what a node says, and lets the node wait for its end.
pub(super) async fn order(
    context: &Context,
    attempt: &Attempt,
    began: Instant,
    place: &Place<'_>,
    ctx: &Value,
) -> Result<Handled> {
    let (job, run) = (place.job, place.job.run_id);
    let order = match place.task.ordered.fill(ctx) {
        Ok(order) => order,
        Err(error) => return settle(context, attempt, began, run, Some(failed(job, error, false))).await,
    };
    let mut tx = jobs::db::begin(&context.db).await?;
    let Some((status, now)) = store::hold(&mut tx, run).await? else {
        return Err(Error::not_found(format!("there is no run `{run}`")));
    };
    if drive::has_ended(&status) {
        tx.rollback().await?;
        return Ok(Handled::Outcome(Outcome::Done));
    }
    let given = match give(context, &mut tx, attempt, place, order).await {
        Ok(given) => given,
        Err(error) => {
            let again = match error.code {
                // Nothing that is wrong with the order: whoever cannot answer now may later.
                Code::Unavailable | Code::Interrupted | Code::Internal => return Err(error),
                Code::Conflict | Code::Exhausted => true,
                Code::NotFound | Code::Invalid | Code::Denied => false,
            };
            tx.rollback().await?;
            return settle(context, attempt, began, run, Some(failed(job, error.to_string(), again))).await;
        }
    };
    let awaited = match &given {
        Given::Operation(requested, machine) => {
            Awaited::Operation(followed(&mut tx, requested.operation).await?, *machine)
        }
        Given::Check(_, awaited) => *awaited,
    };
    let tenant = TenantId(place.seen.tenant_id);
    let waiter = Waiter { run, tenant, node: job.node_id.clone(), attempt: job.attempt };
    awaited::wait(&mut tx, &waiter, awaited).await?;
    let arrival = suspended(place, now);
    let moved = drive::deliver(&mut tx, &context.graphs, run, arrival).await?;
    let woken = finish(&mut tx, attempt, began.elapsed()).await?;
    tx.commit().await?;
    context.wake.pools(&woken);
    match given {
        Given::Operation(requested, _) => requested.tell(&context.wake),
        Given::Check(enqueued, _) => context.wake.send(&enqueued),
    }
    moved_on(context, run, &moved).await;
    Ok(Handled::Settled)
}

/// The node waits until it is told, or until its time is over.
fn suspended(place: &Place<'_>, now: DateTime<Utc>) -> Arrival {
    let seconds = i64::try_from(place.node.policy.timeout_s).unwrap_or(i64::MAX);
    let until = now + TimeDelta::try_seconds(seconds).unwrap_or_default();
    let change = Change::Suspended { node: place.job.node_id.clone(), attempt: place.job.attempt, until };
    Arrival { change, output: None }
}

/// Gives an order with the rights that the workflow's author has now.
async fn give(
    context: &Context,
    tx: &mut PgConnection,
    attempt: &Attempt,
    place: &Place<'_>,
    order: Order,
) -> Result<Given> {
    let tenant = TenantId(place.seen.tenant_id);
    let workflow = WorkflowId(place.seen.workflow_id);
    let author = author(tx, workflow, place.seen.workflow_version).await?;
    access::may(tx, tenant, &author, "the workflow", place.task.ordered.needs(), context.wildcard).await?;
    let by = format!("run:{}", place.job.run_id);
    let trace_parent = attempt.trace_parent.as_deref();
    match order {
        Order::Create { spec, department, host } => {
            let new =
                NewMachine { tenant, department, host: host.as_deref(), spec: &spec, by: &by, trace_parent };
            let (machine, requested) = create(tx, &new).await?;
            Ok(Given::Operation(requested, machine))
        }
        Order::Act(name, machine) => {
            let action = action(name)?;
            let wish = Request { tenant, machine, action, by: &by, reason: None, trace_parent };
            Ok(Given::Operation(request(tx, &wish).await?, machine))
        }
        Order::Snapshot { act, machine, name, description } => {
            let requested = match act {
                SnapshotAct::Create => {
                    snapshot::create(tx, tenant, machine, &name, &description, &by, trace_parent).await?.1
                }
                SnapshotAct::Restore => {
                    snapshot::ask(tx, tenant, machine, &name, Ask::Revert, &by, trace_parent).await?
                }
                SnapshotAct::Delete => {
                    snapshot::ask(tx, tenant, machine, &name, Ask::Delete, &by, trace_parent).await?
                }
            };
            Ok(Given::Operation(requested, machine))
        }
        Order::Check(check, machine) => {
            let (_, enqueued) = health::ask(tx, tenant, machine, &[check], trace_parent).await?;
            Ok(Given::Check(enqueued, Awaited::Check(machine, check)))
        }
    }
}

fn action(name: ActionName) -> Result<Action> {
    Action::read(name.as_str(), None::<SnapshotId>).map_err(Error::internal)
}

/// The operation that will be done in place of this one: the same may have been asked for just before.
async fn followed(conn: &mut PgConnection, id: OperationId) -> Result<OperationId> {
    let mut current = id;
    for _ in 0..MAX_FOLLOWED {
        let known = operations::get(conn, None, current).await?;
        match (OperationState::from_name(&known.state), known.superseded_by) {
            (Some(OperationState::Superseded), Some(next)) => current = OperationId(next),
            _ => return Ok(current),
        }
    }
    Ok(current)
}
