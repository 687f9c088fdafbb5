//! One apalis worker per pool: slots, parallel handlers, drain.

use std::sync::Arc;
use std::time::Duration;

use apalis::prelude::{Data, Monitor, ParallelizeExt, WorkerBuilder};
use jobs::queue::StopReason;
use rules::queue::Pool;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::backend::{Claims, Inlet, Slotted};
use crate::config::Post;
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

/// Opens each pool's way in, before anybody works on it.
pub(crate) fn inlets(posts: &[Post]) -> (Vec<Feed>, Vec<(Pool, Arc<Inlet>)>) {
    let way = |post: &Post| {
        let (to, from) = mpsc::unbounded_channel();
        (Feed { pool: post.pool, to }, (post.pool, Inlet::new(from, post.slots)))
    };
    posts.iter().map(way).unzip()
}

/// Starts a worker for each pool.
pub(crate) fn start(
    inlets: Vec<(Pool, Arc<Inlet>)>,
    context: &Arc<Context>,
    held: &Arc<Held>,
    settler: &Settler,
    shutdown: &CancellationToken,
) -> JoinSet<()> {
    let mut running = JoinSet::new();
    for (pool, inlet) in inlets {
        let hands = Hands { context: Arc::clone(context), held: Arc::clone(held), settler: settler.clone() };
        running.spawn(work(pool, inlet, hands, shutdown.clone()));
    }
    running
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

/// Serves one pool until the shutdown. The monitor starts a worker that broke again, for its pool goes on
/// being claimed for. Each pool has a monitor of its own, and with it a task of its own.
async fn work(pool: Pool, inlet: Arc<Inlet>, hands: Hands, shutdown: CancellationToken) {
    let monitor = Monitor::new()
        .should_restart(move |_, error| {
            tracing::error!(%pool, %error, "a pool's worker broke; it is started again");
            true
        })
        .register(move |_| {
            WorkerBuilder::new(pool.as_str())
                .backend(Claims::new(&inlet, &hands.held, &hands.settler))
                .data(hands.clone())
                // A task for each: on the worker's own, a handler that computes would keep the others waiting.
                .parallelize(tokio::spawn)
                .build(handle)
        });
    let ended = monitor.run_with_signal(async move {
        shutdown.cancelled().await;
        Ok(())
    });
    if let Err(error) = ended.await {
        tracing::error!(%pool, %error, "a pool ended badly; what it held is rescued when its leases run out");
    }
}

async fn handle(task: Slotted, hands: Data<Hands>) {
    let Slotted { attempt, slot } = task;
    perform(&hands.context, &hands.held, &hands.settler, attempt).await;
    drop(slot);
}
