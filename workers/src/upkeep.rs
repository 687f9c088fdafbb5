//! What every worker does for all: promotes what falls due, rescues what dead workers hold.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use jobs::db::CALL_TIMEOUT;
use jobs::db::patience::{Patience, bounded, jitter};
use jobs::metrics;
use jobs::queue::postgres::promote::{BATCH, promote};
use jobs::queue::postgres::rescue::rescue;
use tokio_util::sync::CancellationToken;

use crate::context::Context;
use crate::handle;
use crate::settle::make_history;

/// How late a due job may be promoted when nobody knew of it, at most.
const PROMOTE_EVERY: Duration = Duration::from_secs(1);

/// How often every due entry is looked for, not only those after the last promotion: a transaction that
/// took long to commit may have left one behind.
const SWEEP_EVERY: Duration = Duration::from_secs(10);

/// How often the next days of history are looked for; the scheduler makes them long before.
const HISTORY_EVERY: Duration = Duration::from_secs(3_600);

/// How often expired leases are looked for.
const RESCUE_EVERY: Duration = Duration::from_secs(3);

/// How far behind the last promotion the next one starts: for entries that committed late.
const TRAIL: chrono::TimeDelta = chrono::TimeDelta::seconds(2);

/// Keeps up until the shutdown.
pub(crate) async fn run(context: Arc<Context>, shutdown: CancellationToken) {
    // Handlers that settle themselves need a place for what they finish, whatever the scheduler does.
    make_history(&context).await;
    let mut history_made = Instant::now();
    let mut patience = Patience::default();
    let mut mark: Option<DateTime<Utc>> = None;
    let mut swept = Instant::now();
    let mut rescue_at = Instant::now();
    while !shutdown.is_cancelled() {
        if swept.elapsed() >= SWEEP_EVERY {
            swept = Instant::now();
            // Apart from the mark, which stands: a sweep that fails must not make every call a sweep.
            if let Err(error) = bounded(CALL_TIMEOUT, promote_once(&context, &mut None)).await {
                tracing::warn!(%error, "sweeping for due jobs failed; trying again later");
            }
        }
        let mut wait = match bounded(CALL_TIMEOUT, promote_once(&context, &mut mark)).await {
            Ok(wait) => {
                patience.reset();
                wait
            }
            Err(error) => {
                tracing::warn!(%error, "promoting due jobs failed; trying again");
                patience.next_wait()
            }
        };
        if history_made.elapsed() >= HISTORY_EVERY {
            make_history(&context).await;
            history_made = Instant::now();
        }
        if Instant::now() >= rescue_at {
            rescue_at = Instant::now() + RESCUE_EVERY.mul_f64(0.75 + 0.5 * jitter());
            if let Err(error) = bounded(CALL_TIMEOUT, rescue_once(&context)).await {
                tracing::warn!(%error, "rescuing expired leases failed; trying again");
                wait = wait.max(patience.next_wait());
            }
            if let Err(error) = bounded(CALL_TIMEOUT, handle::upkeep(&context)).await {
                tracing::warn!(%error, "sweeping for stranded work failed; trying again");
            }
        }
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// Promotes a batch and tells how long to wait for the next.
async fn promote_once(context: &Context, mark: &mut Option<DateTime<Utc>>) -> jobs::Result<Duration> {
    let mut conn = context.db.acquire().await?;
    let promoted = promote(&mut conn, *mark).await?;
    context.wake.pools(&promoted.woken);
    if let Some(last) = promoted.last {
        *mark = Some(last - TRAIL);
    }
    if promoted.count >= BATCH {
        return Ok(Duration::ZERO);
    }
    let due_in = promoted.next.map(|next| (next - promoted.now).to_std().unwrap_or_default());
    let poll = PROMOTE_EVERY.mul_f64(0.75 + 0.25 * jitter());
    Ok(due_in.map_or(poll, |due| due.min(poll)))
}

/// Takes expired leases back, and tells whoever waits for a job that turned out to be poison.
async fn rescue_once(context: &Context) -> jobs::Result<()> {
    let mut tx = jobs::db::begin(&context.db).await?;
    let rescued = rescue(&mut tx).await?;
    let woken = handle::jobs_died(&mut tx, &rescued.dead).await?;
    tx.commit().await?;
    if rescued.count > 0 {
        metrics::leases_expired(u64::from(rescued.count.unsigned_abs()));
        rescued.dead.iter().for_each(|dead| metrics::job_died(&dead.kind));
        tracing::warn!(
            jobs = rescued.count,
            poison = rescued.dead.len(),
            "took back jobs of workers that died or lost touch"
        );
    }
    context.wake.pools(&rescued.woken);
    context.wake.send(&woken);
    Ok(())
}
