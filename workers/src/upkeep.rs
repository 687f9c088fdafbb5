//! What every worker does for all: promotes what falls due, rescues what dead workers hold.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use jobs::dag::patrol::left_behind;
use jobs::db::CALL_TIMEOUT;
use jobs::db::patience::{Patience, bounded, jitter};
use jobs::queue::postgres::promote::{BATCH, Promoted, promote};
use tokio_util::sync::CancellationToken;

use crate::context::Context;
use crate::due::Due;
use crate::handle;
use crate::rescue;
use crate::settle::make_history;

/// How often every due entry is looked for, not only those after the last promotion: a transaction that
/// took long to commit may have left one behind.
const SWEEP_EVERY: Duration = Duration::from_secs(10);

/// How often the next days of history are looked for; the scheduler makes them long before.
const HISTORY_EVERY: Duration = Duration::from_secs(3_600);

/// How often expired leases and stranded runs are looked for.
const LOOK_EVERY: Duration = Duration::from_secs(3);

/// Keeps up until the shutdown.
pub(crate) async fn run(context: Arc<Context>, due: Arc<Due>, shutdown: CancellationToken) {
    // Handlers that settle themselves need a place for what they finish, whatever the scheduler does.
    make_history(&context).await;
    let mut history_made = Instant::now();
    let mut patience = Patience::default();
    let mut swept = Instant::now();
    // Whether the last sweep was full, so that there may be more.
    let mut sweep_on = false;
    let mut look_at = Instant::now();
    while !shutdown.is_cancelled() {
        if sweep_on || swept.elapsed() >= SWEEP_EVERY {
            swept = Instant::now();
            // From the beginning: a sweep that fails is the next one's to make good.
            sweep_on = match bounded(CALL_TIMEOUT, promote_after(&context, None)).await {
                Ok(promoted) => promoted.count >= BATCH,
                Err(error) => {
                    tracing::warn!(%error, "sweeping for due jobs failed; trying again later");
                    false
                }
            };
        }
        let mut wait = due.wait(Instant::now());
        if wait.is_zero() {
            wait = match bounded(CALL_TIMEOUT, promote_due(&context, &due)).await {
                Ok(()) => {
                    patience.reset();
                    due.wait(Instant::now())
                }
                Err(error) => {
                    tracing::warn!(%error, "promoting due jobs failed; trying again");
                    patience.next_wait()
                }
            };
        }
        if sweep_on {
            wait = Duration::ZERO;
        }
        if history_made.elapsed() >= HISTORY_EVERY {
            make_history(&context).await;
            history_made = Instant::now();
        }
        if Instant::now() >= look_at {
            look_at = Instant::now() + LOOK_EVERY.mul_f64(0.75 + 0.5 * jitter());
            if let Err(error) = look_around(&context).await {
                tracing::warn!(%error, "looking for work that was left behind failed; trying again");
                wait = wait.max(patience.next_wait());
            }
        }
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = tokio::time::sleep(wait.min(look_at.saturating_duration_since(Instant::now()))) => {}
            () = due.moved.notified() => {}
        }
    }
}

async fn promote_due(context: &Context, due: &Due) -> jobs::Result<()> {
    let began = Instant::now();
    let promoted = promote_after(context, due.after()).await?;
    due.promoted(&promoted, began);
    Ok(())
}

async fn promote_after(context: &Context, after: Option<DateTime<Utc>>) -> jobs::Result<Promoted> {
    let mut conn = context.db.acquire().await?;
    let promoted = promote(&mut conn, after).await?;
    context.wake.pools(&promoted.woken);
    Ok(promoted)
}

/// Asks in one statement whether anything was left behind, and takes it up only then.
async fn look_around(context: &Context) -> jobs::Result<()> {
    let left = bounded(CALL_TIMEOUT, async {
        let mut conn = context.db.acquire().await?;
        left_behind(&mut conn).await
    })
    .await?;
    if left.leases {
        bounded(CALL_TIMEOUT, rescue::run(context)).await?;
    }
    if left.runs {
        bounded(CALL_TIMEOUT, handle::upkeep(context)).await?;
    }
    if left.sweeps {
        bounded(CALL_TIMEOUT, handle::sweep::look_for_abandoned(context)).await?;
    }
    Ok(())
}
