//! Hands: claim, act, report.
//!
//! One process serves any set of pools. A fetcher claims for all of them in one statement, an apalis
//! worker per pool runs the handlers, a settler acknowledges in batches, a renewer keeps the leases and
//! an upkeeper promotes what falls due and rescues what dead workers hold. None of them ends on a
//! database error.

mod absence;
mod astray;
mod backend;
pub mod config;
pub mod context;
mod due;
mod fetch;
mod gather;
mod handle;
mod heir;
mod held;
mod host;
pub mod hypervisor;
mod in_place;
mod late;
mod load;
mod mark;
mod perform;
mod pool;
mod registry;
mod renew;
mod rescue;
mod settle;
mod upkeep;

use std::sync::Arc;
use std::time::Instant;

use jobs::Result;
use jobs::queue::Wake;
use rules::id::WorkerId;
use rules::queue::Pool;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use config::{HostConfig, WorkerConfig};
pub use context::Context;
pub use host::Hosts;
pub use in_place::perform_in_place;
pub use registry::handled;

use crate::due::Due;
use crate::heir::Heirs;
use crate::held::Held;
use crate::settle::Desk;

/// Works until the shutdown, then hands back what has not begun, lets what has begun finish within the
/// grace, and acknowledges the last of it.
///
/// # Errors
/// None while running: faults of the database are waited out. Kept for what a later start may refuse.
pub async fn run(config: WorkerConfig, context: Context, shutdown: CancellationToken) -> Result<()> {
    let worker = WorkerId(uuid::Uuid::new_v4());
    let served: Vec<&str> = config.hosts.iter().map(|host| host.name.as_str()).collect();
    let (pools, served) =
        (config.pools.iter().map(Pool::to_string).collect::<Vec<_>>().join(","), served.join(","));
    tracing::info!(worker.id = %worker, pools, hosts = served, "worker started");
    let hosts = Hosts::register(&context.db, &context.wake, &config.hosts, &shutdown).await;
    let context =
        Arc::new(Context { hosts, thresholds: config.thresholds, wildcard: config.wildcard, ..context });
    let posts = config.posts(&context.hosts);
    let held = Arc::new(Held::new(&posts));
    // A host's pools are opened by whoever comes to hold the host.
    for post in posts.iter().filter(|post| !matches!(post.pool, Pool::Host(..))) {
        held.open(post.pool, true);
    }

    // What must outlive the handlers, so that their results are written and their leases kept.
    let stopped = CancellationToken::new();
    let mut behind = JoinSet::new();
    let (feeds, inlets) = pool::inlets(&posts);
    let (settler, reports) = settle::channel();
    let heirs = Heirs::new(worker, &feeds);
    let desk =
        Desk { context: Arc::clone(&context), held: Arc::clone(&held), heirs, shutdown: shutdown.clone() };
    let settling = tokio::spawn(settle::run(desk, reports));
    behind.spawn(renew::run(Arc::clone(&context), Arc::clone(&held), worker, posts.clone(), stopped.clone()));
    behind.spawn(renew::watch(Arc::clone(&held), stopped.clone()));
    behind.spawn(host::expire(Arc::clone(&context), Arc::clone(&held), stopped.clone()));
    for hold in context.hosts.all() {
        let (context, held, hold) = (Arc::clone(&context), Arc::clone(&held), Arc::clone(hold));
        behind.spawn(host::keep(context, held, hold, shutdown.clone(), stopped.clone()));
    }
    behind.spawn(Wake::listen(context.wake.clone(), context.db.clone(), stopped.clone()));

    // What ends with the shutdown.
    let mut ahead = JoinSet::new();
    let due = Arc::new(Due::new(Instant::now()));
    ahead.spawn(upkeep::run(Arc::clone(&context), Arc::clone(&due), shutdown.clone()));
    let pools = pool::start(inlets, &context, &held, &settler, &shutdown);
    let hands = (Arc::clone(&context), Arc::clone(&held));
    let fetching = fetch::run(hands.0, hands.1, due, settler.clone(), worker, feeds, shutdown.clone());
    ahead.spawn(fetching);

    shutdown.cancelled().await;
    held.close_all();
    pool::drain(pools, config.grace, &held).await;
    while ahead.join_next().await.is_some() {}
    drop(settler);
    if let Err(error) = settling.await {
        tracing::error!(%error, "the settler ended badly; what it held is rescued when its leases run out");
    }
    stopped.cancel();
    while behind.join_next().await.is_some() {}
    renew::leave(&context, worker).await;
    tracing::info!(worker.id = %worker, "worker stopped");
    Ok(())
}
