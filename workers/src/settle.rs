//! Gathers what attempts came to and acknowledges it in batches.
//!
//! While one acknowledgement is on its way the next batch gathers, so batches are large exactly when
//! there is much to acknowledge, and a single one never waits.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jobs::db::CALL_TIMEOUT;
use jobs::db::patience::{Patience, bounded};
use jobs::metrics;
use jobs::queue::postgres::{ack, partition};
use jobs::queue::{Ack, Settled, settle};
use rules::id::{JobId, LeaseToken};
use rules::queue::{LEASE_MS, Outcome};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::context::Context;
use crate::handle;
use crate::held::Held;

/// The most acknowledgements in one statement.
const BATCH: usize = 500;

/// How many days of history to make when a worker finds none: the scheduler makes more.
const DAYS_AHEAD: i32 = 2;

/// Something to acknowledge.
pub(crate) struct Report {
    pub(crate) ack: Ack,
    /// The job may die by it, and somebody may wait for that: then both happen in one transaction.
    pub(crate) may_die: bool,
}

/// Where reports go. The settler ends when the last of them is dropped.
pub(crate) type Settler = mpsc::UnboundedSender<Report>;

/// Starts the settler.
pub(crate) fn start(context: Arc<Context>, held: Arc<Held>) -> (Settler, JoinHandle<()>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (sender, tokio::spawn(run(context, held, receiver)))
}

async fn run(context: Arc<Context>, held: Arc<Held>, mut reports: mpsc::UnboundedReceiver<Report>) {
    let mut batch = Vec::with_capacity(BATCH);
    while reports.recv_many(&mut batch, BATCH).await > 0 {
        let (dying, plain): (Vec<Report>, Vec<Report>) = batch.drain(..).partition(|r| r.may_die);
        for group in [plain, dying] {
            let acks: Vec<Ack> = group.into_iter().map(|r| r.ack).collect();
            if !acks.is_empty() {
                settle_group(&context, &held, &acks).await;
            }
        }
    }
}

/// Acknowledges one group, through faults of the database, until it is written or its leases are over.
async fn settle_group(context: &Context, held: &Held, acks: &[Ack]) {
    let began = Instant::now();
    let mut patience = Patience::default();
    loop {
        match bounded(CALL_TIMEOUT, settle_once(context, acks)).await {
            Ok(settled) => {
                conclude(context, held, acks, &settled);
                return;
            }
            Err(error) if began.elapsed() > give_up_after(&error) => {
                tracing::error!(%error, jobs = acks.len(), "results could not be written while their leases lasted; the jobs will run again");
                for ack in acks {
                    held.astray.give_up(ack.id, ack.token, Instant::now());
                    held.release(ack.id, ack.token);
                }
                return;
            }
            // What cannot be written must not keep others from being written.
            Err(error) if !error.is_transient() && acks.len() > 1 => {
                tracing::error!(%error, cause = ?error, jobs = acks.len(), "a batch was refused; acknowledging one by one");
                make_history(context).await;
                for ack in acks {
                    Box::pin(settle_group(context, held, std::slice::from_ref(ack))).await;
                }
                return;
            }
            Err(error) => {
                let wait = patience.next_wait();
                tracing::warn!(%error, cause = ?error, jobs = acks.len(), "acknowledging failed; trying again");
                if !error.is_transient() {
                    make_history(context).await;
                }
                tokio::time::sleep(wait).await;
            }
        }
    }
}

/// How long a result is worth trying to write: while the lease could last, and for a fault that no time
/// mends a few tries.
fn give_up_after(error: &jobs::Error) -> Duration {
    let lease = Duration::from_millis(LEASE_MS.unsigned_abs().into());
    if error.is_transient() { lease * 2 } else { lease / 15 }
}

async fn settle_once(context: &Context, acks: &[Ack]) -> jobs::Result<Settled> {
    if acks.iter().all(|a| matches!(a.outcome, Outcome::Done)) {
        let mut conn = context.db.acquire().await?;
        return settle(&mut conn, acks).await;
    }
    let mut tx = jobs::db::begin(&context.db).await?;
    let settled = settle(&mut tx, acks).await?;
    let woken = handle::jobs_died(&mut tx, &settled.dead).await?;
    tx.commit().await?;
    context.wake.send(&woken);
    Ok(settled)
}

/// A missing day of history is the one lasting fault that a worker can mend itself: the scheduler makes
/// days ahead, and may have been gone for longer than it looked ahead.
pub(crate) async fn make_history(context: &Context) {
    let made = bounded(CALL_TIMEOUT, async {
        let mut conn = context.db.acquire().await?;
        partition::ensure_days(&mut conn, DAYS_AHEAD).await
    })
    .await;
    match made {
        Ok(0) => {}
        Ok(days) => tracing::warn!(days, "made missing days of history; is a scheduler running?"),
        Err(error) => tracing::warn!(%error, "missing days of history could not be made"),
    }
}

fn conclude(context: &Context, held: &Held, acks: &[Ack], settled: &Settled) {
    metrics::stale_acks(settled.stale.len() as u64);
    for id in &settled.stale {
        tracing::warn!(job.id = %id, "an attempt ended after its lease was lost; its result was not taken");
    }
    for dead in &settled.dead {
        metrics::job_died(&dead.kind);
        handle::tell_death(dead);
    }
    for ack in acks {
        let kind = held.release(ack.id, ack.token);
        let ended = matches!(ack.outcome, Outcome::Done | Outcome::Cancelled);
        if let Some(kind) = kind.filter(|_| ended && !settled.stale.contains(&ack.id)) {
            metrics::job_finished(kind, &ack.outcome);
        }
    }
    context.wake.pools(&settled.woken);
}

/// Hands back an attempt that has not begun.
pub(crate) fn released(id: JobId, token: LeaseToken) -> Report {
    let ack = ack::Ack { id, token, outcome: Outcome::Released, delay: Duration::ZERO, ran: Duration::ZERO };
    Report { ack, may_die: false }
}
