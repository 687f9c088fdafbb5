//! What a worker asks of Postgres that has nothing to do.

use std::time::{Duration, Instant};

use rules::queue::Pool;
use tests::{Database, Hands};
use workers::WorkerConfig;

use crate::cost;

/// How long the worker idles.
const SPAN: Duration = Duration::from_secs(20);

/// Queues that are there the second time.
const QUEUES: i32 = 1_000;

/// Measures and prints.
pub(crate) async fn measure(database: &Database) {
    println!("## An idle worker, all pools\n");
    println!(
        "| queues | commits a second | of these the server's own, without a worker |\n| --- | --- | --- |"
    );
    for queues in [4, QUEUES] {
        let mut conn = database.connect().await;
        sqlx::query(
            "insert into job_queue (name, pool_id) select 'idle-' || n, 4 from generate_series(5, $1::integer) n",
        )
        .bind(queues)
        .execute(&mut conn)
        .await
        .unwrap();
        // Autovacuum and the readings themselves commit too.
        let own = commits(database).await;
        let config =
            WorkerConfig::of_pools(Pool::FIXED.to_vec(), workers::config::SLOTS, Duration::from_secs(5));
        let hands = Hands::with(database.pool().await, config);
        println!("| {queues} | {:.2} | {own:.2} |", commits(database).await);
        hands.stop().await;
        sqlx::query("delete from job_queue where name like 'idle-%'").execute(&mut conn).await.unwrap();
    }
    println!();
}

/// Commits a second while nobody does anything.
async fn commits(database: &Database) -> f64 {
    let before = cost::read(database).await;
    let began = Instant::now();
    tokio::time::sleep(SPAN).await;
    cost::read(database).await.commits_per_second(before, began.elapsed())
}
