//! Handles `letter.sweep`: takes dead letters batch by batch, no faster than was asked for.

use std::time::{Duration, Instant};

use jobs::Result;
use jobs::payload::letter::LetterSweep;
use jobs::queue::{Attempt, finish};
use jobs::sweep::{fail_abandoned, go_on};
use rules::queue::Outcome;

use super::Handled;
use crate::context::Context;

/// How long a sweep keeps its slot before it stands in line again.
const SHIFT: Duration = Duration::from_secs(10);

/// Goes on with a sweep from where it has come. Each batch is a transaction of its own, and the last one that of the
/// acknowledgement. Where its rate holds it back it gives its slot up until then.
pub(crate) async fn sweep(context: &Context, attempt: &Attempt) -> Result<Handled> {
    let began = Instant::now();
    let job: LetterSweep = attempt.payload()?;
    loop {
        let mut tx = jobs::db::begin(&context.db).await?;
        let went = go_on(&mut tx, attempt, job.sweep_id).await?;
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
        let shift_over = (began.elapsed() >= SHIFT).then_some(Duration::ZERO);
        if let Some(after) = went.wait.or(shift_over) {
            return Ok(Handled::Outcome(Outcome::Snooze { after }));
        }
    }
}

/// Says with sweeps whose job is gone that they do not go on.
pub(crate) async fn look_for_abandoned(context: &Context) -> Result<()> {
    let mut conn = context.db.acquire().await?;
    fail_abandoned(&mut conn).await?;
    Ok(())
}
