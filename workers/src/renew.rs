//! Keeps the leases of this process, learns of cancellations, and says that the worker is there.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jobs::db::CALL_TIMEOUT;
use jobs::db::patience::{bounded, jitter};
use jobs::metrics;
use jobs::queue::StopReason;
use jobs::queue::postgres::lease::{Renewed, renew};
use jobs::queue::postgres::worker::{self, Worker};
use jobs::queue::wake::Hint;
use rules::id::WorkerId;
use rules::queue::RENEW_EVERY_MS;
use tokio_util::sync::CancellationToken;

use crate::astray::hand_back;
use crate::config::Post;
use crate::context::Context;
use crate::held::Held;
use crate::registry;

/// The most leases in one statement.
const BATCH: usize = 1_000;

/// How often expiring leases are looked for, and how soon a failed renewal is repeated.
const WATCH_EVERY: Duration = Duration::from_secs(1);

/// Renews until told that nothing is held any more.
pub(crate) async fn run(
    context: Arc<Context>,
    held: Arc<Held>,
    id: WorkerId,
    posts: Vec<Post>,
    stopped: CancellationToken,
) {
    let me = Worker {
        id,
        name: name(),
        pools: posts.iter().map(|post| post.pool).collect(),
        kinds: registry::handled(),
        slots: posts.iter().fold(0, |sum, post| sum.saturating_add(post.slots)),
    };
    let mut hints = context.wake.subscribe();
    let mut next = Instant::now();
    while !stopped.is_cancelled() {
        if Instant::now() >= next {
            let renewed = renew_all(&context, &held).await;
            let here = bounded(CALL_TIMEOUT, beat(&context, &me)).await;
            let back = hand_back(&context, &held, id).await;
            for error in [renewed.err(), here.err(), back.err()].into_iter().flatten() {
                tracing::warn!(%error, "renewing leases failed; trying again");
                next = Instant::now() + WATCH_EVERY;
            }
            if next <= Instant::now() {
                next = Instant::now() + Duration::from_millis(RENEW_EVERY_MS).mul_f64(0.9 + 0.2 * jitter());
            }
        }
        tokio::select! {
            () = stopped.cancelled() => {}
            () = tokio::time::sleep(next.saturating_duration_since(Instant::now())) => {}
            hint = hints.recv() => if matches!(hint, Ok(Hint::Cancelled) | Err(_)) {
                next = Instant::now();
            },
        }
    }
}

/// Stops handlers whose leases are about to run out, until told that nothing is held any more. A task of
/// its own: it must not wait for the calls that fail to renew them.
pub(crate) async fn watch(held: Arc<Held>, stopped: CancellationToken) {
    while !stopped.is_cancelled() {
        let lost = held.stop_expiring(Instant::now());
        if lost > 0 {
            metrics::leases_lost(lost as u64);
            tracing::error!(jobs = lost, "leases ran out unrenewed; their handlers were stopped");
        }
        tokio::select! {
            () = stopped.cancelled() => {}
            () = tokio::time::sleep(WATCH_EVERY) => {}
        }
    }
}

/// Takes the worker out of the register; if that fails, its row is pruned later.
pub(crate) async fn leave(context: &Context, id: WorkerId) {
    let left = bounded(CALL_TIMEOUT, async {
        let mut conn = context.db.acquire().await?;
        worker::leave(&mut conn, id).await
    });
    if let Err(error) = left.await {
        tracing::debug!(%error, "the worker's row stays until it is pruned");
    }
}

/// Renews every lease; the last failure, if there was one, comes after all were tried.
async fn renew_all(context: &Context, held: &Held) -> jobs::Result<()> {
    let all = held.all();
    let mut failed = Ok(());
    for leases in all.chunks(BATCH) {
        let sent = Instant::now();
        let told = bounded(CALL_TIMEOUT, async {
            let mut conn = context.db.acquire().await?;
            renew(&mut conn, leases).await
        });
        let told = match told.await {
            Ok(told) => told,
            // What ails this batch need not ail the next.
            Err(error) => {
                failed = Err(error);
                continue;
            }
        };
        for ((id, token), told) in leases.iter().zip(told) {
            match told {
                Renewed::Held => held.renewed(*id, *token, sent),
                Renewed::CancelRequested => {
                    held.renewed(*id, *token, sent);
                    held.stop(*id, *token, StopReason::Cancelled);
                }
                Renewed::Settling => {}
                Renewed::Lost => {
                    if held.lose(*id, *token) {
                        metrics::leases_lost(1);
                        tracing::warn!(job.id = %id, "a lease was lost: another took the job back or it was ended; its handler was stopped");
                    }
                }
            }
        }
    }
    failed
}

async fn beat(context: &Context, me: &Worker) -> jobs::Result<()> {
    let mut conn = context.db.acquire().await?;
    worker::beat(&mut conn, me).await
}

fn name() -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    format!("{host}:{}", std::process::id())
}
