//! Looks after the checks of machines: takes in what became of machines, and puts what is due into the queue.

use jobs::Result;
use jobs::db::patience::jitter;
use jobs::health::schedule::{enqueue_due, follow};

use crate::duty::Context;

/// The most machines, or checks, that one transaction takes.
const BATCH: i64 = 500;

/// The most batches of each at once; what is left is due at the next round.
const ROUNDS_MAX: usize = 20;

/// Takes in first, so that no check is put into the queue of a machine that was switched off.
pub(crate) async fn perform(context: &Context) -> Result<()> {
    for _ in 0..ROUNDS_MAX {
        let mut tx = jobs::db::begin(&context.db).await?;
        let followed = follow(&mut tx, BATCH).await?;
        if followed == 0 {
            tx.rollback().await?;
            break;
        }
        context.fence(&mut tx).await?;
        tx.commit().await?;
        tracing::debug!(machines = followed, "took in what became of machines");
        if (followed as i64) < BATCH {
            break;
        }
    }
    for _ in 0..ROUNDS_MAX {
        let mut tx = jobs::db::begin(&context.db).await?;
        // The workers find them by their polls: nobody waits for a check that fell due.
        let put = enqueue_due(&mut tx, BATCH, jitter).await?;
        if put.due == 0 {
            tx.rollback().await?;
            break;
        }
        context.fence(&mut tx).await?;
        tx.commit().await?;
        let new = put.enqueued.iter().filter(|job| !job.existing).count();
        tracing::debug!(checks = put.due, new, "put checks into the queue");
        if (put.due as i64) < BATCH {
            break;
        }
    }
    Ok(())
}
