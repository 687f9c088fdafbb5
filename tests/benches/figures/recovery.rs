//! How long after a fault's end jobs are done at the full rate again: Postgres killed, a worker killed, the
//! leading scheduler killed, each by SIGKILL, under a steady load.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use jobs::db::PgPool;
use jobs::payload::noop::Noop;
use jobs::queue::{NewJob, enqueue};
use tests::{Database, Millrace, Own, fault};
use uuid::Uuid;

/// Jobs a second that come in all the time.
const RATE: usize = 400;

/// How often they come in.
const EVERY: Duration = Duration::from_millis(50);

/// Over how long a rate is taken.
const WINDOW: Duration = Duration::from_millis(500);

/// The part of the load that counts as the full rate.
const FULL: f64 = 0.9;

/// How long one look at the database or one batch may take before it is tried again.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is given up on.
const LONGEST: Duration = Duration::from_secs(60);

/// How often each fault is made.
const ROUNDS: usize = 5;

/// Measures and prints.
pub(crate) async fn measure(own: &Own) {
    let database = Database::on(&own.postgres).await;
    let stop = Arc::new(AtomicBool::new(false));
    let offering = tokio::spawn(offer(database.pool().await, Arc::clone(&stop)));
    let db = database.pool().await;
    let worker =
        || Millrace::start(&["worker", "--pools", "maintenance"], &[("DATABASE_URL", database.url())]);
    let scheduler = || Millrace::start(&["scheduler"], &[("DATABASE_URL", database.url())]);
    let mut workers = [worker(), worker()];
    let mut schedulers = [scheduler(), scheduler()];
    full_rate(&db, Instant::now()).await;
    println!("## Back at the full rate after a fault\n");
    println!(
        "{RATE} jobs a second come in, two workers do them. The full rate: {FULL} of it over {} ms.\n",
        WINDOW.as_millis()
    );
    println!(
        "| fault | seconds from its end to the full rate, median of {ROUNDS} (least to most) |\n| --- | --- |"
    );

    let mut took = Vec::new();
    for _ in 0..ROUNDS {
        fault::kill_postgres(own);
        own.restart().await;
        took.push(full_rate(&db, Instant::now()).await);
    }
    print("kill -9 of Postgres; its end is when it answers again", took);

    let mut took = Vec::new();
    for round in 0..ROUNDS {
        let victim = &mut workers[round % 2];
        victim.kill();
        // The other one carries on alone; nothing is started in the meantime.
        took.push(full_rate(&db, Instant::now()).await);
        *victim = worker();
        full_rate(&db, Instant::now()).await;
    }
    print("SIGKILL of one of two workers; its end is the kill", took);

    let (mut took, mut led) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let first = leader(&db, None).await;
        // Each says its id when it starts.
        let name = first.to_string();
        let place = schedulers.iter().position(|scheduler| scheduler.log().contains(&name)).unwrap();
        schedulers[place].kill();
        let killed = Instant::now();
        took.push(full_rate(&db, killed).await);
        leader(&db, Some(first)).await;
        led.push(killed.elapsed().as_secs_f64());
        schedulers[place] = scheduler();
        schedulers[place].printed("scheduler started").await;
    }
    print("SIGKILL of the leading scheduler; its end is the kill", took);
    print("… until another scheduler leads", led);
    println!();

    stop.store(true, Ordering::Relaxed);
    offering.await.unwrap();
    for process in workers.iter_mut().chain(&mut schedulers) {
        process.kill();
    }
}

/// Puts in jobs at a steady pace, through every fault.
async fn offer(db: PgPool, stop: Arc<AtomicBool>) {
    let batch = usize::try_from(EVERY.as_millis()).unwrap() * RATE / 1_000;
    let jobs: Vec<NewJob> = (0..batch).map(|_| NewJob::of(&Noop::default()).unwrap()).collect();
    let mut pace = tokio::time::interval(EVERY);
    pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while !stop.load(Ordering::Relaxed) {
        pace.tick().await;
        let put = tokio::time::timeout(PATIENCE, async {
            let mut conn = db.acquire().await.map_err(jobs::Error::from)?;
            enqueue(&mut conn, &jobs).await
        });
        // A server that is down takes none; what it misses is not made up for.
        drop(put.await);
    }
}

/// Seconds from `since` to the beginning of the first window in which jobs were done at the full rate.
async fn full_rate(db: &PgPool, since: Instant) -> f64 {
    let mut seen: VecDeque<(Instant, i64)> = VecDeque::new();
    loop {
        assert!(since.elapsed() < LONGEST, "the rate never came back");
        let looked = tokio::time::timeout(
            PATIENCE,
            sqlx::query_scalar("select count(*) from job_history").fetch_one(db),
        );
        if let Ok(Ok(done)) = looked.await {
            seen.push_back((Instant::now(), done));
        }
        while let (Some((first, before)), Some((last, after))) = (seen.front(), seen.back()) {
            let span = last.duration_since(*first);
            if span < WINDOW {
                break;
            }
            if (after - before) as f64 >= FULL * RATE as f64 * span.as_secs_f64() {
                return first.duration_since(since).as_secs_f64();
            }
            seen.pop_front();
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// Who leads, once somebody else does than before.
async fn leader(db: &PgPool, before: Option<Uuid>) -> Uuid {
    let began = Instant::now();
    loop {
        assert!(began.elapsed() < LONGEST, "nobody leads");
        let holder: Result<Uuid, _> =
            sqlx::query_scalar("select holder from lease where name = 'scheduler' and lease_until > now()")
                .fetch_one(db)
                .await;
        if let Ok(holder) = holder
            && Some(holder) != before
        {
            return holder;
        }
        tokio::time::sleep(EVERY).await;
    }
}

fn print(fault: &str, mut seconds: Vec<f64>) {
    seconds.sort_by(f64::total_cmp);
    let (least, most) = (seconds[0], seconds[seconds.len() - 1]);
    println!("| {fault} | {:.1} ({least:.1} to {most:.1}) |", seconds[seconds.len() / 2]);
}
