//! Handles `health.check`: takes a slot, reads, judges, and keeps what was found.
//!
//! The verdict is kept with the acknowledgement in one transaction. A host that cannot be spoken to makes the
//! finding unknown: nothing is tried again, for the next check comes anyhow.

use std::time::{Duration, Instant};

use jobs::awaited;
use jobs::db::{PgConnection, Postgres, Transaction};
use jobs::health;
use jobs::health::report::store;
use jobs::health::report::{Begun, Found, Recorded, Task};
use jobs::payload::health::HealthCheck;
use jobs::queue::{Attempt, DeadJob, Enqueued, finish};
use jobs::{Code, Error, Result, metrics};
use rules::health::{Check, Finding, Verdict};
use rules::id::MachineId;
use rules::queue::{Kind, Outcome};
use serde_json::json;
use tracing::Span;
use tracing::field::display;

use super::Handled;
use super::reading::{Reading, read};
use crate::context::Context;
use crate::host::Hold;

/// When a check comes back that found no slot, a half more or less.
const NO_SLOT_WAIT: Duration = Duration::from_millis(500);

/// Checks one thing of a machine.
pub(crate) async fn check(context: &Context, attempt: &Attempt) -> Result<Handled> {
    let began = Instant::now();
    let payload: HealthCheck = attempt.payload()?;
    let check = payload.check().map_err(|unknown| Error::invalid(unknown.to_string()))?;
    let Some(hold) = context.hosts.of(attempt.pool) else {
        return Err(Error::internal(format!(
            "`{}` jobs are claimed for a host that is not served",
            attempt.kind
        )));
    };
    // Not held for long enough: whoever holds the host claims it again.
    let Some(permit) = hold.permit() else { return Ok(Handled::Outcome(Outcome::Released)) };
    let machine = payload.machine_id;
    Span::current().record("machine.id", display(machine));
    let mut tx = jobs::db::begin(&context.db).await?;
    let begun = store::begin(&mut tx, attempt.id, machine, check, hold.id).await?;
    let task = match begun {
        Begun::Task(task) => *task,
        Begun::Full => {
            tx.rollback().await?;
            return Ok(Handled::Outcome(Outcome::Snooze { after: jobs::db::patience::about(NO_SLOT_WAIT) }));
        }
        Begun::Gone => {
            tx.rollback().await?;
            return gone(context, attempt, machine, check, began).await;
        }
        Begun::Elsewhere => {
            tx.rollback().await?;
            return follow(context, attempt, machine, check, began).await;
        }
    };
    tx.commit().await?;
    let over = permit.over.clone();
    let reading = tokio::select! {
        biased;
        // Another worker may take the host from now on, and makes the check anew.
        () = over.cancelled() => return Ok(Handled::Outcome(Outcome::Released)),
        reading = find(context, hold, machine, check, &task) => reading,
    };
    let found =
        Found { machine, check, finding: reading.finding, figures: reading.figures, took: began.elapsed() };
    keep(context, attempt, hold, &found, began).await
}

/// Reads and judges, within the check's time.
async fn find(context: &Context, hold: &Hold, machine: MachineId, check: Check, task: &Task) -> Reading {
    let reading = read(hold.hypervisor().as_ref(), machine, check, task, &context.thresholds);
    match tokio::time::timeout(check.within(), reading).await {
        Ok(reading) => reading,
        Err(_) => Reading::without_figures(Finding::new(
            Verdict::Unknown,
            format!("its host did not answer within {} s", check.within().as_secs()),
        )),
    }
}

/// Keeps what was found, and acknowledges the job, in one transaction.
async fn keep(
    context: &Context,
    attempt: &Attempt,
    hold: &Hold,
    found: &Found,
    began: Instant,
) -> Result<Handled> {
    let Some(permit) = hold.permit() else { return Ok(Handled::Outcome(Outcome::Released)) };
    let mut tx = jobs::db::begin(&context.db).await?;
    match store::record(&mut tx, attempt.id, hold.id, &permit.claim, found).await? {
        Recorded::Kept => {}
        Recorded::Gone => {
            tx.rollback().await?;
            return gone(context, attempt, found.machine, found.check, began).await;
        }
        Recorded::Elsewhere => {
            tx.rollback().await?;
            return follow(context, attempt, found.machine, found.check, began).await;
        }
        Recorded::Lost => {
            tx.rollback().await?;
            return Ok(Handled::Outcome(Outcome::Released));
        }
    }
    let told = json!({
        "machineId": found.machine, "checkName": found.check.as_str(), "verdict": found.finding.verdict.as_str(),
        "detail": found.finding.detail, "figures": found.figures,
    });
    let told = awaited::check_ended(&mut tx, found.machine, found.check, Ok(told)).await?;
    let woken = finish(&mut tx, attempt, began.elapsed()).await?;
    let handled = end(context, tx, &woken, &told).await?;
    metrics::health_checked(found.check, found.finding.verdict);
    Ok(handled)
}

/// Ends the transaction in which the job was acknowledged, and wakes whoever has something to do by it.
async fn end(
    context: &Context,
    tx: Transaction<'_, Postgres>,
    woken: &[i32],
    told: &[Enqueued],
) -> Result<Handled> {
    tx.commit().await?;
    context.wake.stir();
    context.wake.pools(woken);
    context.wake.send(told);
    Ok(Handled::Settled)
}

/// Tells those who wait for a check of a machine that is destroyed.
async fn gone(
    context: &Context,
    attempt: &Attempt,
    machine: MachineId,
    check: Check,
    began: Instant,
) -> Result<Handled> {
    let mut tx = jobs::db::begin(&context.db).await?;
    let error = Err("its machine is destroyed".to_owned());
    // The job's key first: whoever asks for this check meanwhile, and so waits for its end, is told as well.
    let woken = finish(&mut tx, attempt, began.elapsed()).await?;
    let told = awaited::check_ended(&mut tx, machine, check, error).await?;
    end(context, tx, &woken, &told).await
}

/// Tells those who wait for a check that its job died.
pub(crate) async fn died(conn: &mut PgConnection, kind: Kind, dead: &DeadJob) -> Result<Vec<Enqueued>> {
    if kind == Kind::HealthCheck
        && let Ok(payload) = serde_json::from_value::<HealthCheck>(dead.payload.clone())
        && let Ok(check) = payload.check()
    {
        return awaited::check_ended(conn, payload.machine_id, check, Err(dead.error.clone())).await;
    }
    Ok(Vec::new())
}

/// Has a machine that was moved meanwhile checked where it is now: this job ends, and one there begins.
async fn follow(
    context: &Context,
    attempt: &Attempt,
    machine: MachineId,
    check: Check,
    began: Instant,
) -> Result<Handled> {
    let Some(tenant) = attempt.tenant else { return Ok(Handled::Outcome(Outcome::Done)) };
    let mut tx = jobs::db::begin(&context.db).await?;
    // In this order, as everybody: the machine's health, then the keys of its jobs.
    health::hold(&mut tx, tenant, machine).await?;
    // Before the other is enqueued, which would otherwise find this one under its key.
    let woken = finish(&mut tx, attempt, began.elapsed()).await?;
    let trace = attempt.trace_parent.as_deref();
    let enqueued: Vec<Enqueued> = match health::ask(&mut tx, tenant, machine, &[check], trace).await {
        Ok((_, enqueued)) => enqueued,
        // Destroyed meanwhile, or about to be.
        Err(error) if matches!(error.code, Code::NotFound | Code::Conflict) => {
            awaited::check_ended(&mut tx, machine, check, Err(error.to_string())).await?
        }
        Err(error) => return Err(error),
    };
    end(context, tx, &woken, &enqueued).await
}
