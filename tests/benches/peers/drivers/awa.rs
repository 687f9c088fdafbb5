//! awa with its queue storage, set as its own benchmark sets it.
//!
//! 256 workers (24 where it idles), a poll every 50 ms, leases rotated every 50 ms, 40 connections; all else as by default. One
//! by one by its ordinary call, many by its copy.

#[path = "../play.rs"]
mod play;
#[path = "../verbs.rs"]
mod verbs;

use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use awa::{Client, InsertOpts, JobArgs, QueueConfig, QueueStorage, QueueStorageConfig, migrations};
use awa_worker::{JobContext, JobError, JobResult, TransitionWorkerRole, Worker};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;

use verbs::{Peer, Tally, now_us};

/// How long it may take to end.
const END: Duration = Duration::from_secs(3);
/// How long its last completions may take to be counted.
const COUNTED: Duration = Duration::from_secs(20);

static DONE: AtomicU64 = AtomicU64::new(0);
static BEGAN: Mutex<Option<Vec<(u64, u64)>>> = Mutex::new(None);

#[derive(Debug, Serialize, Deserialize)]
struct Noop {
    id: u64,
}

impl JobArgs for Noop {
    fn kind() -> &'static str {
        "noop"
    }
}

struct NoopWorker;

#[async_trait::async_trait]
impl Worker for NoopWorker {
    fn kind(&self) -> &'static str {
        "noop"
    }

    async fn perform(&self, context: &JobContext) -> Result<JobResult, JobError> {
        if let Some(began) = &mut *BEGAN.lock().unwrap() {
            began.push((context.job.args["id"].as_u64().unwrap(), now_us()));
        }
        DONE.fetch_add(1, Ordering::Relaxed);
        Ok(JobResult::Completed)
    }
}

struct Awa {
    db: PgPool,
    store: QueueStorage,
}

impl Awa {
    fn worker(&self, workers: u32) -> Client {
        let queue = QueueConfig {
            max_workers: workers,
            poll_interval: Duration::from_millis(50),
            claimers: 1,
            ..QueueConfig::default()
        };
        Client::builder(self.db.clone())
            .queue("default", queue)
            .queue_storage(QueueStorageConfig::default(), Duration::from_secs(1), Duration::from_millis(50))
            .transition_role(TransitionWorkerRole::QueueStorageTarget)
            .register_worker(NoopWorker)
            .build()
            .unwrap()
    }
}

impl Peer for Awa {
    type Client = PgPool;
    const CONNECTIONS: u32 = 40;

    async fn open(url: &str, connections: u32) -> Self {
        let pool = sqlx::postgres::PgPoolOptions::new()
            .min_connections(connections.min(10))
            .max_connections(connections)
            .test_before_acquire(false);
        Self {
            db: pool.connect(url).await.unwrap(),
            store: QueueStorage::new(QueueStorageConfig::default()).unwrap(),
        }
    }

    async fn setup(&self) {
        migrations::run(&self.db).await.unwrap();
        self.store.install(&self.db).await.unwrap();
    }

    async fn client(&self) -> PgPool {
        self.db.clone()
    }

    async fn one(client: &mut PgPool, number: u64) -> u64 {
        awa::insert_with(&*client, &Noop { id: number }, InsertOpts::default()).await.unwrap();
        number
    }

    async fn many(&self, numbers: Range<u64>) {
        let jobs: Vec<_> = numbers
            .map(|id| awa::model::insert::params_with(&Noop { id }, InsertOpts::default()).unwrap())
            .collect();
        self.store.enqueue_params_copy(&self.db, &jobs).await.unwrap();
    }

    async fn drain(&self, jobs: u64, limit: Duration) -> Tally {
        let began = Instant::now();
        let worker = self.worker(256);
        worker.start().await.unwrap();
        while DONE.load(Ordering::Relaxed) < jobs && began.elapsed() < limit {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let done = DONE.load(Ordering::Relaxed);
        let cut = done < jobs;
        // Its handlers return before their completion is committed; its own count tells of that.
        let ended = || async { self.store.queue_counts(&self.db, "default").await.unwrap().terminal as u64 };
        while !cut && ended().await < jobs && began.elapsed() < limit + COUNTED {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let seconds = began.elapsed().as_secs_f64();
        worker.shutdown(END).await;
        Tally { jobs: done, seconds, cut }
    }

    async fn idle(&self, jobs: u64, limit: Duration, ready: fn()) -> Vec<(u64, u64)> {
        *BEGAN.lock().unwrap() = Some(Vec::new());
        let worker = self.worker(24);
        worker.start().await.unwrap();
        // It does not tell when it listens.
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        ready();
        let began = Instant::now();
        while DONE.load(Ordering::Relaxed) < jobs && began.elapsed() < limit {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let began = BEGAN.lock().unwrap().take().unwrap();
        worker.shutdown(END).await;
        began
    }
}

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    play::play::<Awa>(&arguments).await;
}
