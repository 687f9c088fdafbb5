//! What dies on the way, by process and signal: nothing accepted is lost, nothing is done twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use jobs::db::PgPool;
use jobs::payload::noop::Noop;
use jobs::queue::{NewJob, enqueue};
use rustix::process::Signal;
use tests::{Database, Millrace, Postgres, fault, wait};

/// How long work may take to go on after a fault has ended, on a machine that is busy with everything else
/// in this suite. How long it took is printed: ten seconds are promised, on a machine of its own.
const BACK_WITHIN: Duration = Duration::from_secs(60);

/// How long everything may take to be done: a dead worker's leases run out after 30 seconds, twice over,
/// on a slow machine.
const DONE_WITHIN: Duration = Duration::from_secs(150);

fn worker(database: &Database) -> Millrace {
    Millrace::start(&["worker", "--pools", "maintenance"], &[("DATABASE_URL", database.url())])
}

/// Enqueues until told to stop, through every fault, and counts what was accepted: what committed.
async fn offer(db: PgPool, accepted: Arc<AtomicU64>, stop: Arc<AtomicBool>) {
    let mut number = 0u64;
    while !stop.load(Ordering::Relaxed) {
        number += 1;
        let job = Noop { sleep_ms: 5, settles: number.is_multiple_of(2), ..Noop::default() };
        let job =
            NewJob::of(&job).unwrap().unique(format!("offer-{number}"), Some(Duration::from_secs(3600)));
        // The answer to a commit may be lost with the server: the uniqueness key tells whether it came
        // through, so a repetition makes no second job.
        loop {
            let put = tokio::time::timeout(Duration::from_secs(3), async {
                let mut conn = db.acquire().await.map_err(jobs::Error::from)?;
                enqueue(&mut conn, std::slice::from_ref(&job)).await
            });
            if matches!(put.await, Ok(Ok(_))) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        accepted.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn count(db: &PgPool, what: &str) -> Option<u64> {
    let statement = format!("select count(*) from {what}");
    let count: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(statement)).fetch_one(db).await.ok()?;
    u64::try_from(count).ok()
}

/// Waits until some more is done than was.
async fn work_goes_on(db: &PgPool) {
    let before = count(db, "job_history").await.unwrap_or_default();
    let began = Instant::now();
    wait::until_within(BACK_WITHIN, "work goes on", || async {
        count(db, "job_history").await.is_some_and(|now| now > before + 20)
    })
    .await;
    println!("work went on within {} ms", began.elapsed().as_millis());
}

/// Waits until all is done, and holds the books: accepted = finished, each once, none dead or left.
async fn all_is_done_once(what: &str, db: &PgPool, accepted: u64) {
    wait::until_within(DONE_WITHIN, "all is done", || async {
        count(db, "job").await == Some(0) && count(db, "job_history").await.is_some_and(|n| n >= accepted)
    })
    .await;
    let finished = count(db, "job_history").await.unwrap();
    let distinct = count(db, "(select distinct job_id from job_history) x").await.unwrap();
    let dead = count(db, "job_dead").await.unwrap();
    println!("{what}: accepted {accepted}, finished {finished}, twice {}, dead {dead}", finished - distinct);
    assert_eq!((finished, distinct, dead), (accepted, accepted, 0));
    for table in ["job_ready", "job_scheduled", "job_blocked", "job_lease", "job_attempt"] {
        assert_eq!(count(db, table).await, Some(0), "{table}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_killed_in_a_loop_lose_nothing() {
    let database = Database::new().await;
    let db = database.pool().await;
    let accepted = Arc::new(AtomicU64::new(0));
    let stop = Arc::new(AtomicBool::new(false));
    let offering = tokio::spawn(offer(database.pool().await, Arc::clone(&accepted), Arc::clone(&stop)));
    let mut victims = [worker(&database), worker(&database)];
    // One of them is only put to sleep, past its leases, and comes back to work that is no longer its own.
    let sleeper = worker(&database);
    work_goes_on(&db).await;
    sleeper.signal(Signal::STOP);
    for round in 0..6 {
        let victim = &mut victims[round % 2];
        victim.kill();
        work_goes_on(&db).await;
        *victim = worker(&database);
    }
    stop.store(true, Ordering::Relaxed);
    offering.await.unwrap();
    wait::until_within(DONE_WITHIN, "the sleeper's leases were taken back", || async {
        // As if the time of its leases had passed; those of the killed run out by themselves.
        let away = "update job_lease set lease_until = now() - interval '1 second'
            where worker_id in (select id from job_worker where pid = $1)";
        let pid = i32::try_from(sleeper.pid()).unwrap();
        sqlx::query(away).bind(pid).execute(&db).await.is_ok_and(|done| done.rows_affected() == 0)
    })
    .await;
    sleeper.signal(Signal::CONT);
    all_is_done_once("workers killed", &db, accepted.load(Ordering::Relaxed)).await;
    for mut worker in victims.into_iter().chain([sleeper]) {
        assert!(worker.stop(Duration::from_secs(30)).await.success(), "{}", worker.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_killed_under_load_costs_seconds_never_work() {
    let own = Postgres::own().await;
    let database = Database::on(&own.postgres).await;
    let db = database.pool().await;
    let accepted = Arc::new(AtomicU64::new(0));
    let stop = Arc::new(AtomicBool::new(false));
    let offering = tokio::spawn(offer(database.pool().await, Arc::clone(&accepted), Arc::clone(&stop)));
    let mut worker = worker(&database);
    work_goes_on(&db).await;
    for _ in 0..3 {
        fault::kill_postgres(&own);
        own.restart().await;
        work_goes_on(&db).await;
    }
    stop.store(true, Ordering::Relaxed);
    offering.await.unwrap();
    all_is_done_once("postgres killed", &db, accepted.load(Ordering::Relaxed)).await;
    assert!(worker.is_running(), "{}", worker.log());
    assert!(worker.stop(Duration::from_secs(30)).await.success(), "{}", worker.log());
}
