//! Handles `schedule.fire`: starts the run of a firing, in one transaction with the acknowledgement.

use std::time::Instant;

use jobs::payload::schedule::ScheduleFire;
use jobs::queue::{Attempt, finish};
use jobs::schedule::begin;
use jobs::{Error, Result, metrics};

use super::Handled;
use crate::context::Context;

/// Starts the run, or keeps with the firing why there is none.
pub(crate) async fn fire(context: &Context, attempt: &Attempt) -> Result<Handled> {
    let began = Instant::now();
    let job: ScheduleFire = attempt.payload()?;
    let tenant = attempt
        .tenant
        .ok_or_else(|| Error::invalid(format!("`{}` job {} names no tenant", attempt.kind, attempt.id)))?;
    let mut tx = jobs::db::begin(&context.db).await?;
    let trace = attempt.trace_parent.as_deref();
    let begun =
        begin(&mut tx, &context.graphs, tenant, job.firing_id, attempt.id, context.wildcard, trace).await?;
    let woken = finish(&mut tx, attempt, began.elapsed()).await?;
    tx.commit().await?;
    context.wake.send(&begun.enqueued);
    context.wake.pools(&woken);
    if let Some(run) = begun.run {
        tracing::debug!(run.id = %run, firing.id = %job.firing_id, "a schedule started a run");
    }
    if begun.run.is_some() || begun.refused {
        metrics::schedule_start(begun.run.is_some());
    }
    Ok(Handled::Settled)
}
