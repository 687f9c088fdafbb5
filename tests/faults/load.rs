//! The load that goes on through every fault: jobs with numbers, each offered until it is accepted, and the look
//! at how many are done.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use jobs::config::DatabaseConfig;
use jobs::db::PgPool;
use jobs::payload::noop::Noop;
use jobs::queue::{NewJob, Wake, enqueue};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Jobs a second that come in.
pub(crate) const RATE: u64 = 200;

/// How often they come in.
const EVERY: Duration = Duration::from_millis(50);

/// How long a batch's enqueue may take before it is offered again.
const PATIENCE: Duration = Duration::from_secs(3);

/// How long a job takes.
const JOB: Duration = Duration::from_millis(5);

/// How long a job takes that takes long.
const LONG_JOB: Duration = Duration::from_secs(2);

/// One job of so many does, where some do.
const LONG_EVERY: u64 = 21;

/// One job of so many stands behind others under an order key.
const ORDERED_EVERY: u64 = 20;

/// How many order keys there are.
const KEYS: u64 = 20;

/// Over how long a rate is taken.
const WINDOW: Duration = Duration::from_millis(500);

/// The part of the load that counts as the full rate.
const FULL: f64 = 0.9;

/// What is given up on.
const LONGEST: Duration = Duration::from_secs(120);

/// What the jobs are like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sort {
    /// Half of them acknowledge themselves in a transaction of their own.
    Mixed,
    /// As mixed, and some take long enough to be at work twice at once.
    Long,
    /// Their worker acknowledges all of them.
    Plain,
}

/// Jobs that come in at a steady pace.
pub(crate) struct Load {
    accepted: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    running: JoinHandle<()>,
}

impl Load {
    /// Begins.
    pub(crate) async fn start(url: &str, sort: Sort) -> Self {
        let config = DatabaseConfig { url: url.to_owned().into(), connections: 4 };
        let db = jobs::db::connect(&config).await.unwrap();
        let accepted = Arc::new(AtomicU64::new(0));
        let stop = Arc::new(AtomicBool::new(false));
        let running = tokio::spawn(offer(db, sort, Arc::clone(&accepted), Arc::clone(&stop)));
        Self { accepted, stop, running }
    }

    /// No load any more.
    pub(crate) fn none() -> Self {
        let running = tokio::spawn(async {});
        Self { accepted: Arc::default(), stop: Arc::default(), running }
    }

    /// How many were accepted so far.
    pub(crate) fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Ends when the batch under way was accepted; tells how many were.
    pub(crate) async fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.running.await.unwrap();
        self.accepted.load(Ordering::Relaxed)
    }
}

fn job(number: u64, sort: Sort) -> NewJob {
    let settles = sort != Sort::Plain && number.is_multiple_of(2);
    let takes = if sort == Sort::Long && number.is_multiple_of(LONG_EVERY) { LONG_JOB } else { JOB };
    let sleep_ms = u64::try_from(takes.as_millis()).unwrap();
    let payload = Noop { sleep_ms, settles, note: number.to_string(), ..Noop::default() };
    // The answer to a commit may be lost with the server: the key tells whether it came through, so that a
    // repetition makes no second job.
    let job =
        NewJob::of(&payload).unwrap().unique(format!("offer-{number}"), Some(Duration::from_secs(3_600)));
    if number.is_multiple_of(ORDERED_EVERY) {
        return job.ordered(format!("line-{}", number / ORDERED_EVERY % KEYS));
    }
    job
}

async fn offer(db: PgPool, sort: Sort, accepted: Arc<AtomicU64>, stop: Arc<AtomicBool>) {
    let ended = CancellationToken::new();
    let wake = Wake::start(&db, &ended);
    let batch = u64::try_from(EVERY.as_millis()).unwrap() * RATE / 1_000;
    let mut pace = tokio::time::interval(EVERY);
    // What a fault kept away is not made up for.
    pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut next = 1;
    while !stop.load(Ordering::Relaxed) {
        pace.tick().await;
        let jobs: Vec<NewJob> = (next..next + batch).map(|number| job(number, sort)).collect();
        loop {
            let put = tokio::time::timeout(PATIENCE, async {
                let mut conn = db.acquire().await.map_err(jobs::Error::from)?;
                enqueue(&mut conn, &jobs).await
            });
            if let Ok(Ok(enqueued)) = put.await {
                wake.send(&enqueued);
                break;
            }
            tokio::time::sleep(EVERY).await;
        }
        next += batch;
        accepted.store(next - 1, Ordering::Relaxed);
    }
    ended.cancel();
}

/// The full rate, in jobs a second.
pub(crate) const fn full() -> f64 {
    FULL * RATE as f64
}

/// How many jobs a second are done over the time that follows.
pub(crate) async fn rate(db: &PgPool, over: Duration) -> f64 {
    let (before, began) = (done(db).await.unwrap_or_default(), Instant::now());
    tokio::time::sleep(over).await;
    let more = done(db).await.unwrap_or_default() - before;
    more as f64 / began.elapsed().as_secs_f64()
}

/// Seconds from `since` to the beginning of the first window in which jobs were done at a rate, in jobs a second; none
/// when it never came back.
pub(crate) async fn back_at(db: &PgPool, since: Instant, wanted: f64) -> Option<f64> {
    let mut seen: VecDeque<(Instant, i64)> = VecDeque::new();
    while since.elapsed() < LONGEST {
        if let Some(done) = done(db).await {
            seen.push_back((Instant::now(), done));
        }
        while let (Some((first, before)), Some((last, after))) = (seen.front(), seen.back()) {
            let span = last.duration_since(*first);
            if span < WINDOW {
                break;
            }
            if (after - before) as f64 >= wanted * span.as_secs_f64() {
                return Some(first.duration_since(since).as_secs_f64());
            }
            seen.pop_front();
        }
        tokio::time::sleep(EVERY).await;
    }
    None
}

/// How many effects there are, where the database answers.
pub(crate) async fn done(db: &PgPool) -> Option<i64> {
    let count = sqlx::query_scalar("select count(*) from ledger.effect").fetch_one(db);
    tokio::time::timeout(PATIENCE, count).await.ok()?.ok()
}
