//! Executes one attempt in the caller's task: for those who test a handler.

use std::time::Instant;

use jobs::Result;
use jobs::queue::{Attempt, Stale, settle};
use rules::queue::Outcome;

use crate::context::Context;
use crate::handle;
use crate::held::Held;
use crate::perform::{conduct, report};

/// Calls the handler of an attempt that was claimed, bounded and caught as by a worker, and acknowledges what it came
/// to; none where the handler has done so itself, in its own transaction. Nothing renews its lease meanwhile.
///
/// # Errors
/// Conflict when the lease was lost, Unavailable when nobody answers.
pub async fn perform_in_place(context: &Context, attempt: &Attempt) -> Result<Option<Outcome>> {
    let began = Instant::now();
    let Some(outcome) = conduct(context, &Held::new(&[]), attempt).await else { return Ok(None) };
    let ack = report(attempt, outcome.clone(), began.elapsed()).ack;
    let mut tx = jobs::db::begin(&context.db).await?;
    handle::before_deaths(&mut tx, &[ack.id.0]).await?;
    let settled = settle(&mut tx, &[ack]).await?;
    if !settled.stale.is_empty() {
        return Err(Stale(attempt.id).into());
    }
    let woken = handle::jobs_died(&mut tx, &settled.dead).await?;
    tx.commit().await?;
    context.wake.send(&woken);
    context.wake.pools(&settled.woken);
    Ok(Some(outcome))
}
