//! How fast jobs go in: one by one from ten clients, and many at once.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use jobs::payload::noop::Noop;
use jobs::queue::{NewJob, enqueue};
use sqlx::postgres::PgPoolOptions;
use tests::Database;

use crate::baseline::Limits;

/// Clients, each with a connection of its own.
const CLIENTS: u32 = 10;

/// How long each way is measured.
const SPAN: Duration = Duration::from_secs(5);

/// Jobs per call when many are enqueued at once.
const BULK: usize = 1_000;

fn job() -> NewJob {
    NewJob::of(&Noop { note: "ballast".into(), ..Noop::default() }).unwrap()
}

#[derive(Clone, Copy)]
enum Way {
    Alone,
    InTransaction,
    Unique,
}

/// Measures and prints.
pub(crate) async fn measure(database: &Database, limits: &Limits) {
    println!("## Enqueue\n");
    println!("| what | per second | of the bare insert |\n| --- | --- | --- |");
    for (way, what) in [
        (Way::Alone, "one job, a statement of its own, 10 clients"),
        (Way::InTransaction, "one job, begin and commit around it, 10 clients"),
        (Way::Unique, "one job with a uniqueness key, a statement of its own, 10 clients"),
    ] {
        let rate = one_by_one(database, way).await;
        println!("| {what} | {rate:.0} | {:.2} |", rate / limits.insert);
        clear(database).await;
    }
    let rate = bulk(database).await;
    println!("| {BULK} jobs per call, 1 client | {rate:.0} | |\n");
    clear(database).await;
}

async fn one_by_one(database: &Database, way: Way) -> f64 {
    let pool = PgPoolOptions::new()
        .min_connections(CLIENTS)
        .max_connections(CLIENTS)
        .connect(database.url())
        .await
        .unwrap();
    let count = AtomicU64::new(0);
    let began = Instant::now();
    let clients = (0..CLIENTS).map(|_| async {
        let mut conn = pool.acquire().await.unwrap();
        while began.elapsed() < SPAN {
            let number = count.fetch_add(1, Ordering::Relaxed);
            match way {
                Way::Alone => drop(enqueue(&mut conn, &[job()]).await.unwrap()),
                Way::Unique => {
                    drop(enqueue(&mut conn, &[job().unique(number.to_string(), None)]).await.unwrap());
                }
                Way::InTransaction => {
                    let mut tx = sqlx::Connection::begin(&mut *conn).await.unwrap();
                    drop(enqueue(&mut tx, &[job()]).await.unwrap());
                    tx.commit().await.unwrap();
                }
            }
        }
    });
    futures::future::join_all(clients).await;
    count.load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64()
}

async fn bulk(database: &Database) -> f64 {
    let mut conn = database.connect().await;
    let jobs: Vec<NewJob> = (0..BULK).map(|_| job()).collect();
    let began = Instant::now();
    let mut count = 0;
    while began.elapsed() < SPAN {
        count += enqueue(&mut conn, &jobs).await.unwrap().len();
    }
    count as f64 / began.elapsed().as_secs_f64()
}

/// Empties the queue between two measurements.
pub(crate) async fn clear(database: &Database) {
    let mut conn = database.connect().await;
    sqlx::raw_sql("truncate job, job_ready, job_scheduled, job_lease, job_unique, job_attempt, job_history")
        .execute(&mut conn)
        .await
        .unwrap();
}
