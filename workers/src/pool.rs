//! One apalis worker per pool: slots, parallel handlers, drain.

use std::sync::Arc;
use std::time::Duration;

use apalis_core::task::data::Data;
use apalis_core::worker::builder::WorkerBuilder;
use jobs::queue::StopReason;
use rules::queue::Pool;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::backend::{Claims, Slotted};
use crate::config::WorkerConfig;
use crate::context::Context;
use crate::fetch::Feed;
use crate::held::Held;
use crate::perform::perform;
use crate::settle::Settler;

/// How long handlers get to stop after they were told to, when the grace is over.
const STOP_WITHIN: Duration = Duration::from_secs(2);

/// What a handler call needs.
#[derive(Clone)]
struct Hands {
    context: Arc<Context>,
    held: Arc<Held>,
    settler: Settler,
}

/// Starts a worker for each pool and tells where to feed it.
pub(crate) fn start(
    config: &WorkerConfig,
    context: &Arc<Context>,
    held: &Arc<Held>,
    settler: &Settler,
    shutdown: &CancellationToken,
) -> (Vec<Feed>, JoinSet<()>) {
    let mut running = JoinSet::new();
    let mut feeds = Vec::new();
    for pool in &config.pools {
        let (to, from) = mpsc::unbounded_channel();
        let claims = Claims::new(from, config.slots, Arc::clone(held), settler.clone());
        let hands = Hands { context: Arc::clone(context), held: Arc::clone(held), settler: settler.clone() };
        feeds.push(Feed { pool: *pool, to });
        running.spawn(work(*pool, claims, hands, shutdown.clone()));
    }
    (feeds, running)
}

/// Waits for the pools to end. When the grace is over, what still runs is stopped and handed back.
pub(crate) async fn drain(mut pools: JoinSet<()>, grace: Duration, held: &Held) {
    let all_ended = async { while pools.join_next().await.is_some() {} };
    if tokio::time::timeout(grace, all_ended).await.is_ok() {
        return;
    }
    tracing::warn!("the grace is over; jobs that still run are handed back");
    held.stop_all(StopReason::Shutdown);
    let all_ended = async { while pools.join_next().await.is_some() {} };
    if tokio::time::timeout(STOP_WITHIN, all_ended).await.is_err() {
        tracing::error!("some jobs did not stop; their leases will run out");
    }
}

async fn work(pool: Pool, claims: Claims, hands: Hands, shutdown: CancellationToken) {
    let worker = WorkerBuilder::new(pool.as_str()).backend(claims).data(hands).build(handle);
    let ended = worker.run_until(async move {
        shutdown.cancelled().await;
        Ok::<(), std::io::Error>(())
    });
    if let Err(error) = ended.await {
        tracing::error!(%pool, %error, "a pool ended badly; what it held is rescued when its leases run out");
    }
}

/// Runs each handler as a task of its own: apalis drives all of a worker's on one, where a handler that
/// computes would keep the others waiting.
async fn handle(task: Slotted, hands: Data<Hands>) {
    let hands = Hands::clone(&hands);
    let running = tokio::spawn(async move {
        let Slotted { attempt, slot } = task;
        perform(&hands.context, &hands.held, &hands.settler, attempt).await;
        drop(slot);
    });
    if let Err(error) = running.await {
        tracing::error!(%error, "a handler's task ended badly; its lease will run out");
    }
}
