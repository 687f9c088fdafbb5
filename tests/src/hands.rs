//! Workers inside the test's process, on the test's database.

use std::time::Duration;

use jobs::db::PgPool;
use jobs::db::wall::DbRole;
use jobs::queue::Wake;
use rules::queue::Pool;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use workers::{Context, WorkerConfig};

use crate::Database;

/// A worker process' inside, without the process.
pub struct Hands {
    /// Wakes these workers.
    pub wake: Wake,
    shutdown: CancellationToken,
    running: JoinHandle<jobs::Result<()>>,
}

impl Hands {
    /// Starts workers for these pools with few slots and a short grace, as the role of workers.
    ///
    /// # Panics
    /// When the database cannot be reached.
    pub async fn start(database: &Database, pools: &[Pool]) -> Self {
        let config = WorkerConfig::of_pools(pools.to_vec(), 8, Duration::from_secs(5));
        Self::with(database.pool_as(DbRole::Worker).await, config)
    }

    /// Starts workers as configured.
    pub fn with(db: PgPool, config: WorkerConfig) -> Self {
        let shutdown = CancellationToken::new();
        let wake = Wake::start(&db, &CancellationToken::new());
        let context = Context::new(db, wake.clone());
        let running = tokio::spawn(workers::run(config, context, shutdown.clone()));
        Self { wake, shutdown, running }
    }

    /// Stops as a signal would, and waits for the end.
    ///
    /// # Panics
    /// When the workers end badly.
    pub async fn stop(self) {
        self.shutdown.cancel();
        self.running.await.expect("the workers do not panic").expect("the workers end well");
    }
}
