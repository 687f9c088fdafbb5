//! Fires schedules whose ticks are due, and sees to firings whose runs take too long or whose jobs are gone.

use jobs::schedule::{OVERDUE_BATCH, fire_due, see_to_overdue, see_to_waiting};
use jobs::{Result, metrics};

use crate::duty::Context;

/// The most batches of each in one round; what is left is due at the next. With the bounds of a batch this is what
/// schedules may cost at most, however many are due however often.
const ROUNDS_MAX: usize = 5;

/// Each batch is one transaction: the firings, their jobs and when the schedules are due next.
pub(crate) async fn perform(context: &Context) -> Result<()> {
    fire(context).await?;
    end_overdue(context).await?;
    end_jobless(context).await
}

/// Until nothing is due: of a batch that is not full there may be more, for each tenant has its share alone.
async fn fire(context: &Context) -> Result<()> {
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
    }
    Ok(())
}

async fn end_overdue(context: &Context) -> Result<()> {
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

async fn end_jobless(context: &Context) -> Result<()> {
    for _ in 0..ROUNDS_MAX {
        let mut tx = jobs::db::begin(&context.db).await?;
        let looked = see_to_waiting(&mut tx).await?;
        if looked == 0 {
            tx.rollback().await?;
            break;
        }
        context.fence(&mut tx).await?;
        tx.commit().await?;
        if looked < usize::try_from(OVERDUE_BATCH).unwrap_or(usize::MAX) {
            break;
        }
    }
    Ok(())
}
