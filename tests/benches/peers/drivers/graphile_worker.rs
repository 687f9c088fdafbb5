//! The Rust port of Graphile Worker, set as its own benchmark sets it.
//!
//! A drain: 500 at once, a local queue of 5,000, a poll every 5 ms, completions gathered for 5 ms. An idle worker: 24 at
//! once, no local queue, nothing gathered.

#[path = "../play.rs"]
mod play;
#[path = "../verbs.rs"]
mod verbs;

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use graphile_worker::{
    Database, IntoTaskHandlerResult, JobSpec, LocalQueueConfig, RawJobSpec, TaskHandler, WorkerContext,
    WorkerOptions, WorkerUtils,
};
use serde::{Deserialize, Serialize};

use verbs::{Peer, Tally, now_us};

const SCHEMA: &str = "graphile_worker";

static DONE: AtomicU64 = AtomicU64::new(0);
static BEGAN: Mutex<Option<Vec<(u64, u64)>>> = Mutex::new(None);

#[derive(Clone, Serialize, Deserialize)]
struct Noop {
    id: u64,
}

impl TaskHandler for Noop {
    const IDENTIFIER: &'static str = "noop";

    async fn run(self, _context: WorkerContext) -> impl IntoTaskHandlerResult {
        if let Some(began) = &mut *BEGAN.lock().unwrap() {
            began.push((self.id, now_us()));
        }
        DONE.fetch_add(1, Ordering::Relaxed);
        Ok::<(), String>(())
    }
}

struct Graphile {
    db: Database,
}

impl Graphile {
    fn utils(&self) -> WorkerUtils {
        WorkerUtils::new(self.db.clone(), SCHEMA)
    }

    fn worker(&self) -> WorkerOptions {
        WorkerOptions::default().database(self.db.clone()).schema(SCHEMA).define_job::<Noop>()
    }
}

impl Peer for Graphile {
    type Client = WorkerUtils;
    const CONNECTIONS: u32 = 20;

    async fn open(url: &str, connections: u32) -> Self {
        let pool = sqlx::postgres::PgPoolOptions::new()
            .min_connections(connections.min(10))
            .max_connections(connections)
            .test_before_acquire(false);
        Self { db: pool.connect(url).await.unwrap().into() }
    }

    async fn setup(&self) {
        self.utils().migrate().await.unwrap();
    }

    async fn client(&self) -> WorkerUtils {
        self.utils()
    }

    async fn one(client: &mut WorkerUtils, number: u64) -> u64 {
        client.add_job(Noop { id: number }, JobSpec::default()).await.unwrap();
        number
    }

    async fn many(&self, numbers: Range<u64>) {
        let raw = |id| RawJobSpec {
            identifier: Noop::IDENTIFIER.into(),
            payload: serde_json::json!({ "id": id }),
            spec: JobSpec::default(),
        };
        self.utils().add_raw_jobs(&numbers.map(raw).collect::<Vec<_>>()).await.unwrap();
    }

    async fn drain(&self, jobs: u64, limit: Duration) -> Tally {
        let began = Instant::now();
        let worker = self
            .worker()
            .concurrency(500)
            .poll_interval(Duration::from_millis(5))
            .complete_job_batch_delay(Duration::from_millis(5))
            .local_queue(LocalQueueConfig::default().with_size(5_000).with_queue_count(1));
        let worker = Arc::new(worker.init().await.unwrap());
        let running = tokio::spawn({
            let worker = Arc::clone(&worker);
            async move { worker.run().await }
        });
        while DONE.load(Ordering::Relaxed) < jobs && began.elapsed() < limit {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let done = DONE.load(Ordering::Relaxed);
        if done < jobs {
            return Tally { jobs: done, seconds: began.elapsed().as_secs_f64(), cut: true };
        }
        // Its end writes the last completions.
        worker.request_shutdown();
        running.await.unwrap().unwrap();
        Tally { jobs: done, seconds: began.elapsed().as_secs_f64(), cut: false }
    }

    async fn idle(&self, jobs: u64, limit: Duration, ready: fn()) -> Vec<(u64, u64)> {
        *BEGAN.lock().unwrap() = Some(Vec::new());
        let worker = self.worker().concurrency(24).poll_interval(Duration::from_secs(1));
        let worker = worker.init().await.unwrap();
        tokio::spawn(async move { worker.run().await });
        // It does not tell when it listens.
        tokio::time::sleep(Duration::from_secs(1)).await;
        ready();
        let began = Instant::now();
        while DONE.load(Ordering::Relaxed) < jobs && began.elapsed() < limit {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        BEGAN.lock().unwrap().take().unwrap()
    }
}

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    play::play::<Graphile>(&arguments).await;
}
