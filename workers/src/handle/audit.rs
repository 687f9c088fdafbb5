//! Handles `audit.flush`: puts what was noted, and what the job brings along, into the chains of the audit.

use std::time::Instant;

use jobs::audit::{flush, store};
use jobs::payload::audit::AuditFlush;
use jobs::queue::postgres::enqueue::enqueue;
use jobs::queue::{Attempt, NewJob, finish};

use super::Handled;
use crate::context::Context;

/// Chains all that there is, in the transaction of its acknowledgement, so that nothing is written twice. Where there
/// is more than fits in one, another job goes on.
pub(crate) async fn flush_all(context: &Context, attempt: &Attempt) -> jobs::Result<Handled> {
    let began = Instant::now();
    let payload: AuditFlush = attempt.payload()?;
    let mut tx = jobs::db::begin(&context.db).await?;
    if !payload.entries.is_empty() {
        store::take_in(&mut tx, &payload.entries).await?;
    }
    let flushed = flush(&mut tx).await?;
    let next = if flushed.more { vec![NewJob::of(&AuditFlush::default())?] } else { Vec::new() };
    let next = enqueue(&mut tx, &next).await?;
    let woken = finish(&mut tx, attempt, began.elapsed()).await?;
    tx.commit().await?;
    jobs::metrics::audit_chained(flushed.entries as u64);
    context.wake.pools(&woken);
    context.wake.send(&next);
    Ok(Handled::Settled)
}
