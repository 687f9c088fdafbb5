//! Handles `listener.event` and `listener.action`: a notice's transform, then each of its actions.
//!
//! Both read the listener as it is now, not as it was when the notice came, so that what failed succeeds
//! when it is tried again after a fix.

use std::sync::Arc;
use std::time::Instant;

use jobs::dag::start::{Start, execute};
use jobs::db::PgConnection;
use jobs::listener::notice::store as notices;
use jobs::listener::notice::{ActionState, Notice, NoticeState};
use jobs::listener::{Listener, buffer, get};
use jobs::payload::listener::{ListenerAction, ListenerEvent};
use jobs::queue::{Attempt, DeadJob, Enqueued, NewJob, enqueue, finish};
use jobs::{Code, Error, Result, metrics};
use rules::id::{ListenerId, NoticeId, RunId, TenantId};
use rules::listener::{Act, Action, Pipeline, check, check_size};
use rules::queue::{Kind, Outcome};
use serde_json::Value;
use tracing::Span;
use tracing::field::display;

use super::Handled;
use super::script::counted;
use crate::context::Context;

/// What a notice says, or its action, whose listener was deleted before it was worked on.
const GONE: &str = "its listener was deleted";

/// Runs a notice's transform and enqueues its actions; with that it acknowledges its own job.
pub(crate) async fn event(context: &Context, attempt: &Attempt) -> Result<Handled> {
    let began = Instant::now();
    let payload: ListenerEvent = attempt.payload()?;
    let tenant = tenant(attempt)?;
    let mut conn = context.db.acquire().await?;
    let found = load(&mut conn, tenant, payload.notice_id).await?;
    drop(conn);
    let Some((notice, listener)) = found else { return gone(context, attempt, began).await };
    let pipeline = listener.pipeline()?;
    let transformed = match pipeline.transform {
        None => None,
        Some(code) => match transform(context, code, notice.event).await? {
            Ok(event) => Some(event),
            Err(error) => return Ok(Handled::Outcome(Outcome::Retry { error, after: None })),
        },
    };
    let dropped = transformed == Some(Value::Null);
    let state = if dropped { NoticeState::Dropped } else { NoticeState::Dispatched };
    let enabled: Vec<&Action> = pipeline.actions.iter().filter(|a| a.enabled && !dropped).collect();
    let mut tx = jobs::db::begin(&context.db).await?;
    notices::settle(&mut tx, payload.notice_id, payload.replay, state, transformed.as_ref()).await?;
    let enqueued = fan_out(&mut tx, attempt, tenant, &payload, &enabled).await?;
    let woken = finish(&mut tx, attempt, began.elapsed()).await?;
    tx.commit().await?;
    context.wake.stir();
    context.wake.send(&enqueued);
    context.wake.pools(&woken);
    if dropped {
        metrics::notice_dropped("transform");
        tracing::info!("a transform dropped its notice");
    }
    Ok(Handled::Settled)
}

/// Ends a job of a listener that was deleted: there is nothing that it could do, now or later.
async fn gone(context: &Context, attempt: &Attempt, began: Instant) -> Result<Handled> {
    let mut tx = jobs::db::begin(&context.db).await?;
    match attempt.kind {
        Kind::ListenerAction => {
            let ListenerAction { notice_id, action_id, replay } = attempt.payload()?;
            let (state, why) = (ActionState::Skipped, Some(GONE));
            notices::settle_action(&mut tx, notice_id, replay, action_id, state, None, why).await?;
        }
        _ => {
            let ListenerEvent { notice_id, replay } = attempt.payload()?;
            notices::drop_for(&mut tx, notice_id, replay, GONE).await?;
        }
    }
    let woken = finish(&mut tx, attempt, began.elapsed()).await?;
    tx.commit().await?;
    context.wake.pools(&woken);
    if attempt.kind == Kind::ListenerEvent {
        metrics::notice_dropped("listener_deleted");
    }
    tracing::info!("a listener was deleted before its notice was worked on");
    Ok(Handled::Settled)
}

/// Notes the actions and enqueues a job for each.
async fn fan_out(
    conn: &mut PgConnection,
    attempt: &Attempt,
    tenant: TenantId,
    payload: &ListenerEvent,
    actions: &[&Action],
) -> Result<Vec<Enqueued>> {
    let ids: Vec<_> = actions.iter().map(|action| action.id.0).collect();
    let kinds: Vec<_> = actions.iter().map(|action| action.act.kind()).collect();
    notices::queue_actions(conn, payload.notice_id, payload.replay, &ids, &kinds).await?;
    let jobs: Result<Vec<NewJob>> = actions
        .iter()
        .map(|action| {
            let ListenerEvent { notice_id, replay } = *payload;
            let job = NewJob::of(&ListenerAction { notice_id, action_id: action.id, replay })?;
            Ok(job.tenant(tenant).priority(attempt.priority).trace(attempt.trace_parent.clone()))
        })
        .collect();
    enqueue(conn, &jobs?).await
}

/// What the transform makes of an event, or why it does not: in the inner result, for the job's log.
async fn transform(context: &Context, code: String, event: Value) -> Result<Result<Value, String>> {
    let sandbox = Arc::clone(&context.sandbox);
    let ran = tokio::task::spawn_blocking(move || counted(|| sandbox.run(&code, &[("event", event)])));
    Ok(match ran.await.map_err(Error::internal)?? {
        Ok(event) => {
            let refused = check(&event).map_err(|why| why.to_string());
            match refused.and_then(|()| check_size(&event).map_err(|why| why.to_string())) {
                Ok(()) => Ok(event),
                Err(why) => Err(format!("the transform's result cannot be kept: {why}")),
            }
        }
        Err(error) => Err(format!("the transform failed: {error}")),
    })
}

/// Performs one action; its effect and the acknowledgement of its job are one transaction.
pub(crate) async fn action(context: &Context, attempt: &Attempt) -> Result<Handled> {
    let began = Instant::now();
    let payload: ListenerAction = attempt.payload()?;
    let tenant = tenant(attempt)?;
    let mut tx = jobs::db::begin(&context.db).await?;
    let Some((notice, listener)) = load(&mut tx, tenant, payload.notice_id).await? else {
        tx.rollback().await?;
        return gone(context, attempt, began).await;
    };
    let pipeline = listener.pipeline()?;
    let action = pipeline.action(payload.action_id).filter(|action| action.enabled);
    let mut enqueued = Vec::new();
    let (state, run) = match action.map(|action| &action.act) {
        None => (ActionState::Skipped, None),
        Some(act) => match perform(context, &mut tx, attempt, &payload, &notice, act).await {
            Ok((run, jobs)) => {
                enqueued = jobs;
                (ActionState::Done, run)
            }
            Err(error) => {
                tx.rollback().await?;
                return failed(error);
            }
        },
    };
    let ListenerAction { notice_id, action_id, replay } = payload;
    notices::settle_action(&mut tx, notice_id, replay, action_id, state, run, None).await?;
    let woken = finish(&mut tx, attempt, began.elapsed()).await?;
    tx.commit().await?;
    context.wake.stir();
    context.wake.send(&enqueued);
    context.wake.pools(&woken);
    // A replay's age says how long somebody took to ask for it.
    if let Some(action) = action.filter(|_| replay == 0) {
        // By the database's clock until the claim, and by ours from there.
        let waited = (attempt.claimed_at - notice.received_at).to_std().unwrap_or_default();
        metrics::webhook_delivered(action.act.kind(), waited + began.elapsed());
    }
    Ok(Handled::Settled)
}

/// An action that fails is tried again whatever the reason, for a fix may come; faults of ours and of the
/// database are left to the worker.
fn failed(error: Error) -> Result<Handled> {
    match error.code {
        Code::Unavailable | Code::Interrupted | Code::Internal => Err(error),
        Code::NotFound | Code::Invalid | Code::Conflict | Code::Denied | Code::Exhausted => {
            Ok(Handled::Outcome(Outcome::Retry { error: error.to_string(), after: None }))
        }
    }
}

async fn perform(
    context: &Context,
    conn: &mut PgConnection,
    attempt: &Attempt,
    payload: &ListenerAction,
    notice: &Notice,
    act: &Act,
) -> Result<(Option<RunId>, Vec<Enqueued>)> {
    let tenant = TenantId(notice.tenant_id);
    let listener = ListenerId(notice.listener_id);
    // Sent through again meanwhile, the notice holds what that pass made of it.
    let earlier = if payload.replay == notice.replay {
        None
    } else {
        notices::event_of_pass(conn, payload.notice_id, payload.replay).await?
    };
    let event = earlier.as_ref().or(notice.transformed.as_ref()).unwrap_or(&notice.event);
    match act {
        Act::SaveToBuffer { buffer: name, retention } => {
            buffer::store::insert(conn, tenant, listener, name, payload.notice_id, event).await?;
            buffer::store::prune(conn, listener, name, *retention).await?;
            Ok((None, Vec::new()))
        }
        Act::TriggerWorkflow { workflow, input } => {
            let input = Pipeline::fill(input, event).map_err(Error::invalid)?;
            let ListenerAction { notice_id, action_id, replay } = *payload;
            let start = Start {
                tenant,
                workflow: *workflow,
                input: &input,
                idempotency_key: Some(&format!("notice:{notice_id}:{action_id}:{replay}")),
                started_by: &format!("listener:{listener}"),
                trace_parent: attempt.trace_parent.as_deref(),
            };
            let started = execute(conn, &context.graphs, &start).await?;
            Span::current().record("run.id", display(started.run));
            Ok((Some(started.run), started.enqueued))
        }
    }
}

/// Tells the notice or the action whose job died.
pub(crate) async fn died(conn: &mut PgConnection, kind: Kind, dead: &DeadJob) -> Result<()> {
    match kind {
        Kind::ListenerEvent => {
            let Ok(payload) = serde_json::from_value::<ListenerEvent>(dead.payload.clone()) else {
                return Ok(());
            };
            notices::bury(conn, payload.notice_id, payload.replay, &dead.error).await
        }
        Kind::ListenerAction => {
            let Ok(payload) = serde_json::from_value::<ListenerAction>(dead.payload.clone()) else {
                return Ok(());
            };
            let ListenerAction { notice_id, action_id, replay } = payload;
            let error = Some(dead.error.as_str());
            notices::settle_action(conn, notice_id, replay, action_id, ActionState::Dead, None, error).await
        }
        Kind::RunNode
        | Kind::RunAdvance
        | Kind::RunWake
        | Kind::ScheduleFire
        | Kind::AuditFlush
        | Kind::MachineOperate
        | Kind::HostReconcile
        | Kind::HealthCheck
        | Kind::LetterSweep
        | Kind::Noop => Ok(()),
    }
}

/// The notice and who heard it; none when the listener was deleted, with which its notices go.
async fn load(conn: &mut PgConnection, tenant: TenantId, id: NoticeId) -> Result<Option<(Notice, Listener)>> {
    let notice = match notices::get(conn, tenant, id).await {
        Err(error) if error.code == Code::NotFound => return Ok(None),
        notice => notice?,
    };
    match get(conn, tenant, ListenerId(notice.listener_id)).await {
        Err(error) if error.code == Code::NotFound => Ok(None),
        listener => Ok(Some((notice, listener?))),
    }
}

fn tenant(attempt: &Attempt) -> Result<TenantId> {
    attempt
        .tenant
        .ok_or_else(|| Error::invalid(format!("`{}` job {} names no tenant", attempt.kind, attempt.id)))
}
