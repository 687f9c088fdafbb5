//! How fast one worker empties a full queue of jobs that do nothing.

use std::time::{Duration, Instant};

use jobs::payload::noop::Noop;
use jobs::queue::{NewJob, enqueue};
use rules::queue::Pool;
use tests::{Database, Hands};
use workers::WorkerConfig;

use crate::baseline::Limits;
use crate::enqueue::clear;

/// Jobs in the queue.
const JOBS: usize = 100_000;

/// Runs, of which the median is told.
const RUNS: usize = 5;

/// Measures and prints.
pub(crate) async fn measure(database: &Database, limits: &Limits) {
    println!("## Drain of {JOBS} no-op jobs, one worker, default settings\n");
    println!(
        "| slots | per second, median of {RUNS} (least to most) | of the bare claim and delete |\n| --- | --- | --- |"
    );
    for slots in [workers::config::SLOTS, 256] {
        let mut rates = Vec::new();
        for _ in 0..RUNS {
            rates.push(drain(database, slots).await);
            clear(database).await;
        }
        rates.sort_by(f64::total_cmp);
        let median = rates[RUNS / 2];
        println!(
            "| {slots} | {median:.0} ({:.0} to {:.0}) | {:.2} |",
            rates[0],
            rates[RUNS - 1],
            median / limits.drain
        );
    }
    println!();
}

async fn drain(database: &Database, slots: u32) -> f64 {
    let mut conn = database.connect().await;
    let job = NewJob::of(&Noop { note: "ballast".into(), ..Noop::default() }).unwrap();
    for _ in 0..JOBS / 10_000 {
        drop(enqueue(&mut conn, &vec![job.clone(); 10_000]).await.unwrap());
    }
    sqlx::raw_sql("checkpoint").execute(&mut conn).await.ok();
    let config = WorkerConfig::of_pools(vec![Pool::Maintenance], slots, Duration::from_secs(5));
    let began = Instant::now();
    let hands = Hands::with(database.pool().await, config);
    loop {
        let left: bool =
            sqlx::query_scalar("select exists (select from job)").fetch_one(&mut conn).await.unwrap();
        if !left {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let rate = JOBS as f64 / began.elapsed().as_secs_f64();
    hands.stop().await;
    rate
}
