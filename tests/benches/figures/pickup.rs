//! How long a job waits for an idle worker.

use std::time::{Duration, Instant};

use jobs::payload::noop::Noop;
use jobs::queue::{NewJob, Wake, enqueue};
use rules::queue::Pool;
use tests::{Database, Hands};
use tokio_util::sync::CancellationToken;
use workers::WorkerConfig;

use crate::enqueue::clear;

/// Jobs offered per second.
const RATE: u32 = 200;

/// For how long.
const SPAN: Duration = Duration::from_secs(15);

/// Measures and prints. The clock is the database's: from the beginning of the transaction that enqueues
/// to the beginning of the one that claims, and to that of the one that acknowledges.
pub(crate) async fn measure(database: &Database) {
    println!("## Pickup at {RATE} jobs a second, one idle worker\n");
    println!("| | p50 ms | p95 ms | p99 ms | most ms |\n| --- | --- | --- | --- | --- |");
    // The enqueuer is another process in spirit: its wake-ups go through Postgres.
    let config = WorkerConfig::of_pools(vec![Pool::Maintenance], 32, Duration::from_secs(5));
    let hands = Hands::with(database.pool().await, config);
    let shutdown = CancellationToken::new();
    let wake = Wake::start(&database.pool().await, &shutdown);
    let pool = database.pool().await;
    let job = NewJob::of(&Noop::default()).unwrap();
    let began = Instant::now();
    let mut due = tokio::time::interval(Duration::from_secs(1) / RATE);
    while began.elapsed() < SPAN {
        due.tick().await;
        let mut conn = pool.acquire().await.unwrap();
        wake.send(&enqueue(&mut conn, std::slice::from_ref(&job)).await.unwrap());
    }
    let mut conn = database.connect().await;
    loop {
        let left: bool =
            sqlx::query_scalar("select exists (select from job)").fetch_one(&mut conn).await.unwrap();
        if !left {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for (what, column) in [("enqueue to claim", "started_at"), ("enqueue to acknowledgement", "finished_at")]
    {
        let statement = format!(
            "select percentile_disc(array[0.5, 0.95, 0.99, 1.0]) within group (order by extract(epoch from {column} - created_at)::float8 * 1000) from job_history"
        );
        let ms: Vec<f64> =
            sqlx::query_scalar(sqlx::AssertSqlSafe(statement)).fetch_one(&mut conn).await.unwrap();
        println!("| {what} | {:.2} | {:.2} | {:.2} | {:.2} |", ms[0], ms[1], ms[2], ms[3]);
    }
    println!();
    hands.stop().await;
    shutdown.cancel();
    clear(database).await;
}
