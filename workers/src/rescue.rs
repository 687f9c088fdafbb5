//! Takes back what dead workers hold: at once what is to run again, and what is not as locks allow.

use std::time::{Duration, Instant};

use jobs::crash::{self, Point};
use jobs::db::patience::jitter;
use jobs::metrics;
use jobs::queue::hurry;
use jobs::queue::postgres::rescue::{Rescued, doomed, rescue, rescue_ending};
use jobs::{Code, Result};

use crate::context::Context;
use crate::handle;

/// How long doomed jobs are ended one by one before the next look: each may wait for a lock for a quarter of a second,
/// and what falls due meanwhile waits for the end of the round.
const ROUND: Duration = Duration::from_millis(500);

/// Takes expired leases back. Somebody's lock on an order key or on a machine keeps only the jobs waiting that end and
/// need it, until the next look.
pub(crate) async fn run(context: &Context) -> Result<()> {
    let mut tx = jobs::db::begin(&context.db).await?;
    crash::at(Point::RescueBegun);
    let Some(rescued) = rescue(&mut tx).await? else { return Ok(()) };
    let mut doomed = doomed(&mut tx).await?;
    tx.commit().await?;
    crash::at(Point::RescueCommitted);
    tell(context, &rescued);
    match end(context, &doomed).await {
        Err(error) if is_held(&error) => {}
        done => return done,
    }
    // Not always from the same one: those that wait must not keep the others from being tried.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a length")]
    let first = (jitter() * doomed.len() as f64) as usize % doomed.len();
    doomed.rotate_left(first);
    let began = Instant::now();
    for job in doomed {
        if began.elapsed() >= ROUND {
            break;
        }
        match end(context, &[job]).await {
            Err(error) if is_held(&error) => {
                tracing::warn!(job.id = job, %error, "a job whose worker died cannot be ended yet; trying again");
            }
            done => done?,
        }
    }
    Ok(())
}

fn is_held(error: &jobs::Error) -> bool {
    error.code == Code::Interrupted
}

/// Ends these, and tells whoever waits for them, in one transaction.
async fn end(context: &Context, jobs: &[i64]) -> Result<()> {
    if jobs.is_empty() {
        return Ok(());
    }
    let mut tx = jobs::db::begin(&context.db).await?;
    crash::at(Point::EndingBegun);
    hurry(&mut tx).await?;
    crash::at(Point::EndingHurried);
    handle::before_deaths(&mut tx, jobs).await?;
    crash::at(Point::EndingHeld);
    let rescued = rescue_ending(&mut tx, jobs).await?;
    let woken = handle::jobs_died(&mut tx, &rescued.dead).await?;
    crash::at(Point::EndingTold);
    tx.commit().await?;
    crash::at(Point::EndingCommitted);
    tell(context, &rescued);
    context.wake.send(&woken);
    Ok(())
}

/// Says what was taken back, and wakes who may have got work by it.
fn tell(context: &Context, rescued: &Rescued) {
    if rescued.count > 0 {
        metrics::leases_expired(u64::from(rescued.count.unsigned_abs()));
        for dead in &rescued.dead {
            metrics::job_died(&dead.kind);
            handle::tell_death(dead);
        }
        tracing::warn!(
            jobs = rescued.count,
            poison = rescued.dead.len(),
            "took back jobs of workers that died or lost touch"
        );
    }
    context.wake.pools(&rescued.woken);
}
