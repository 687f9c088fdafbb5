//! Fires schedules whose ticks are due, and sees to firings whose runs take too long.

use jobs::schedule::{OVERDUE_BATCH, SCHEDULES_BATCH, fire_due, see_to_overdue};
use jobs::{Result, metrics};

use crate::duty::Context;

/// The most batches of each in one round; what is left is due at the next. With the bounds of a batch this is what
/// schedules may cost at most, however many are due however often.
const ROUNDS_MAX: usize = 5;

/// Each batch is one transaction: the firings, their jobs and when the schedules are due next.
pub(crate) async fn perform(context: &Context) -> Result<()> {
    for _ in 0..ROUNDS_MAX {
        let mut tx = jobs::db::begin(&context.db).await?;
        // The workers find the jobs by their polls.
        let fired = fire_due(&mut tx).await?;
        if fired.due == 0 {
            tx.rollback().await?;
            break;
        }
        context.fence(&mut tx).await?;
        tx.commit().await?;
        metrics::schedules_fired(&fired.late_s, fired.missed);
        tracing::debug!(
            schedules = fired.turned,
            firings = fired.enqueued.len(),
            missed = fired.missed,
            "fired schedules"
        );
        if fired.due < usize::try_from(SCHEDULES_BATCH).unwrap_or(usize::MAX) && fired.turned == fired.due {
            break;
        }
    }
    for _ in 0..ROUNDS_MAX {
        let mut tx = jobs::db::begin(&context.db).await?;
        let (late, cancelled) = see_to_overdue(&mut tx).await?;
        if late == 0 {
            tx.rollback().await?;
            break;
        }
        context.fence(&mut tx).await?;
        tx.commit().await?;
        tracing::debug!(
            firings = late,
            jobs = cancelled.len(),
            "saw to runs of schedules that take too long"
        );
        if late < usize::try_from(OVERDUE_BATCH).unwrap_or(usize::MAX) {
            break;
        }
    }
    Ok(())
}
