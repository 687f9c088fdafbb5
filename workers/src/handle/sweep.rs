//! Handles `letter.sweep`: takes dead letters batch by batch, no faster than was asked for.

use std::time::{Duration, Instant};

use jobs::payload::letter::LetterSweep;
use jobs::queue::{Attempt, finish};
use jobs::sweep::go_on;
use jobs::{Code, Result};
use rules::queue::Outcome;
use rules::queue::sweep::pause;

use super::Handled;
use crate::context::Context;

/// How long a sweep keeps its slot before it stands in line again.
const SHIFT: Duration = Duration::from_secs(10);

/// Goes on with a sweep from where it has come. Each batch is a transaction of its own, and the last one that of the
/// acknowledgement.
pub(crate) async fn sweep(context: &Context, attempt: &Attempt) -> Result<Handled> {
    let began = Instant::now();
    let job: LetterSweep = attempt.payload()?;
    loop {
        let batch_began = Instant::now();
        let mut tx = jobs::db::begin(&context.db).await?;
        let went = match go_on(&mut tx, attempt, job.sweep_id).await {
            // Keys are taken in the order of the letters, which may be another one's order turned around.
            Err(error) if error.code == Code::Interrupted => {
                tx.rollback().await?;
                tracing::info!(sweep.id = %job.sweep_id, %error, "a batch of a sweep was in somebody's way; it is taken again");
                return Ok(Handled::Outcome(Outcome::Snooze { after: Duration::from_secs(1) }));
            }
            went => went?,
        };
        if went.over {
            let woken = finish(&mut tx, attempt, began.elapsed()).await?;
            tx.commit().await?;
            context.wake.pools(&went.woken);
            context.wake.pools(&woken);
            tracing::info!(sweep.id = %job.sweep_id, "a sweep of dead letters is over");
            return Ok(Handled::Settled);
        }
        tx.commit().await?;
        context.wake.pools(&went.woken);
        let wait = pause(went.rate, went.taken, batch_began.elapsed());
        if began.elapsed() + wait > SHIFT {
            return Ok(Handled::Outcome(Outcome::Snooze { after: wait }));
        }
        tokio::time::sleep(wait).await;
    }
}
